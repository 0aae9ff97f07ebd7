//! Checks the strength of keys when the guard is built: later checks cannot make up for a weak key.
//!
//! An HMAC secret can be guessed offline from one token, and cracking tools first try words,
//! repeats and sequences (OWASP JWT cheat sheet, "Weak token secret"). So a secret must be as long
//! as its hash (RFC 7518 section 3.2), and its bits are counted at the cost of such a tool.

use crate::keys::algorithm::Algorithm;

/// A command that generates a good secret.
pub(crate) fn secret_command(bytes: usize) -> String {
    format!(
        "make one with: node -e \"console.log(require('crypto').randomBytes({bytes}).toString('base64url'))\""
    )
}

/// The weakness of an HMAC secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeakSecret {
    Short,
    Guessable,
}

/// The required bits for each byte of the minimum length. The minimum among 20,000 random secrets
/// of 32 characters was 2.3 bits a byte in hexadecimal, 2.7 in letters and digits and 4.1 as bytes,
/// so no random secret is refused.
const LEAST_BITS_A_BYTE: f64 = 2.0;
/// Bytes beyond this are ignored: a good secret passes long before.
const JUDGED_BYTES: usize = 256;

/// Checks a secret for `algorithm`.
pub(crate) fn judge_secret(secret: &[u8], algorithm: Algorithm) -> Result<(), WeakSecret> {
    let least = algorithm.least_secret_bytes();
    if secret.len() < least {
        return Err(WeakSecret::Short);
    }
    #[expect(clippy::cast_precision_loss, reason = "at most 64")]
    let wanted = least as f64 * LEAST_BITS_A_BYTE;
    if bits(secret) < wanted { Err(WeakSecret::Guessable) } else { Ok(()) }
}

/// An estimate of the bits that a guesser needs for `secret`: the cheapest way to compose it from
/// single characters, repeats of earlier bytes, sequences and common words.
pub(crate) fn bits(secret: &[u8]) -> f64 {
    const REPEAT: f64 = 8.0;
    const SEQUENCE: f64 = 8.0;
    // People do not choose words at random, so a word costs less than the 8 bits of a random
    // choice.
    const KNOWN_WORD: f64 = 5.0;
    const ANY_WORD: f64 = 13.0;
    let secret = secret.get(..JUDGED_BYTES).unwrap_or(secret);
    let lower: Vec<u8> = secret.iter().map(u8::to_ascii_lowercase).collect();
    let plain: Vec<u8> = lower.iter().copied().map(unleet).collect();
    let literal = entropy_a_byte(secret);
    let words: Vec<&str> = WORDS.split_ascii_whitespace().collect();
    let mut cheapest = vec![f64::INFINITY; secret.len() + 1];
    if let Some(first) = cheapest.first_mut() {
        *first = 0.0;
    }
    for at in 0..secret.len() {
        let here = cheapest.get(at).copied().unwrap_or(f64::INFINITY);
        let mut step = |len: usize, cost: f64| {
            // A match of a given length also covers every shorter one.
            for len in 1..=len {
                if let Some(slot) = cheapest.get_mut(at + len) {
                    *slot = slot.min(here + cost);
                }
            }
        };
        step(1, literal);
        let repeat = longest_repeat(&lower, at);
        if repeat >= 3 {
            step(repeat, REPEAT);
        }
        let sequence = sequence_at(&lower, at);
        if sequence >= 3 {
            step(sequence, SEQUENCE);
        }
        let word = known_word_at(&words, &lower, at).max(known_word_at(&words, &plain, at));
        if word > 0 {
            step(word + separator_at(&lower, at + word), KNOWN_WORD);
        }
        let word = spoken_word_at(secret, at);
        if word > 0 {
            step(word + separator_at(&lower, at + word), ANY_WORD);
        }
    }
    cheapest.last().copied().unwrap_or_default()
}

/// The Shannon entropy of the bytes by their frequencies, in bits a byte.
fn entropy_a_byte(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "at most JUDGED_BYTES")]
    let total = bytes.len() as f64;
    let of = |count: u32| f64::from(count) / total;
    counts.into_iter().filter(|count| *count > 0).map(|count| -of(count) * of(count).log2()).sum()
}

/// The number of bytes from `at` that repeat earlier bytes at any position, overlaps included.
fn longest_repeat(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    (0..at)
        .map(|start| {
            let earlier = bytes.get(start..).unwrap_or_default();
            earlier.iter().zip(rest).take_while(|(a, b)| a == b).count()
        })
        .max()
        .unwrap_or(0)
}

/// The number of bytes from `at` that ascend or descend by one, or stay equal: `abcd`, `4321`,
/// `\0\0\0`.
fn sequence_at(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let [first, second, ..] = rest else { return 0 };
    let step = second.wrapping_sub(*first);
    if !matches!(step, 0 | 1 | 255) {
        return 0;
    }
    1 + rest
        .iter()
        .zip(rest.iter().skip(1))
        .take_while(|(a, b)| b.wrapping_sub(**a) == step)
        .count()
}

fn known_word_at(words: &[&str], bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    words
        .iter()
        .filter(|word| rest.starts_with(word.as_bytes()))
        .map(|word| word.len())
        .max()
        .unwrap_or(0)
}

/// A separator belongs to the word before it.
fn separator_at(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes.get(at).is_some_and(|byte| b" -_.,:/+".contains(byte)))
}

/// The length of a pronounceable run of letters that stands alone, with at most one leading
/// capital: probably a word of some language.
fn spoken_word_at(bytes: &[u8], at: usize) -> usize {
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    let rest = bytes.get(at..).unwrap_or_default();
    let capital = usize::from(rest.first().is_some_and(u8::is_ascii_uppercase));
    if before
        .is_some_and(|byte| byte.is_ascii_uppercase() || capital == 0 && byte.is_ascii_lowercase())
    {
        return 0;
    }
    let word =
        capital + rest.iter().skip(capital).take_while(|byte| byte.is_ascii_lowercase()).count();
    let letters = rest.get(..word).unwrap_or_default();
    let vowel = |byte: &u8| b"aeiouy".contains(&byte.to_ascii_lowercase());
    let spoken = letters.iter().any(vowel) && !letters.split(vowel).any(|run| run.len() > 3);
    if (4..=14).contains(&word) && spoken { word } else { 0 }
}

/// `p4$$w0rd` is `password`.
fn unleet(byte: u8) -> u8 {
    match byte {
        b'0' => b'o',
        b'1' | b'!' => b'i',
        b'3' => b'e',
        b'4' | b'@' => b'a',
        b'5' | b'$' => b's',
        b'7' => b't',
        other => other,
    }
}

/// Words that are common in hand-written secrets.
const WORDS: &str = "secret key keys jwt token tokens password passwd passphrase pass pwd change changeme changethis \
    me this that please replace your you my mine our super very ultra mega top long short strong weak safe secure \
    security private public shared signing sign signature verify hmac sha256 sha512 hs256 hs512 rs256 auth \
    authentication authorization access refresh session cookie login logout user users username admin administrator \
    root guest test tests testing tester example sample demo dummy default placeholder foo bar baz qux lorem ipsum \
    dolor hello world welcome letmein dragon monkey dog cat quick brown fox jumps over lazy football baseball master shadow sunshine princess iloveyou love \
    god money summer winter spring autumn monday friday january app apps application api apis server service backend \
    frontend client web site website node nodejs express react angular next nest java javascript typescript python \
    rust docker kubernetes database mongo mongodb postgres mysql redis company corp inc dev devel development \
    developer stage staging prod production local localhost env environment config configuration value string \
    random generated generate base64 bytes byte bits bit char chars character characters minimum least must be at \
    should more than the and for with from not use used using only is in of to an it as do never ever commit git \
    github qwertyuiop qwerty asdfghjkl asdfgh zxcvbnm zxcvbn 1q2w3e4r 1qaz2wsx qazwsx abc123 deadbeef cafebabe \
    feedface badcafe correct horse battery staple 123456789 1234567890 000 111 2020 2021 2022 2023 2024 2025 2026 2027";

/// The weakness of an RSA public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeakRsa {
    Size,
    Exponent,
    Roca,
    Modulus,
}

/// Checks an RSA public key: `n` and `e` are big-endian without leading zeros.
pub(crate) fn judge_rsa(n: &[u8], e: &[u8]) -> Result<(), WeakRsa> {
    let (Some(first), Some(last)) = (n.first(), n.last()) else { return Err(WeakRsa::Size) };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if !(2048..=8192).contains(&bits) {
        return Err(WeakRsa::Size);
    }
    // e = 1 makes every message its own signature; an even e has no inverse.
    if e.last().is_none_or(|byte| byte % 2 == 0) || e == [1] {
        return Err(WeakRsa::Exponent);
    }
    // A product of two large primes has no small factor.
    if last % 2 == 0 || SMALL_PRIMES.into_iter().any(|prime| remainder(n, prime) == 0) {
        return Err(WeakRsa::Modulus);
    }
    if SMALL_PRIMES.into_iter().all(|prime| is_power_of_65537(remainder(n, prime), prime)) {
        return Err(WeakRsa::Roca);
    }
    Ok(())
}

/// Whether an Ed25519 public key is a point of small order. Anyone can forge signatures for such a
/// key (RFC 8032 leaves the check to the verifier, and most omit it).
pub(crate) fn has_small_order(x: &[u8]) -> bool {
    let Some((last, front)) = x.split_last() else { return false };
    // Ignore the sign of the other coordinate; non-canonical encodings are in the list.
    let last = last & 0x7f;
    SMALL_ORDER.iter().any(|point| point.split_last() == Some((&last, front)))
}

/// The points of order 1, 2, 4 and 8 without their sign, little-endian, and the non-canonical
/// encodings (numbers beyond the field) of the first ones.
const SMALL_ORDER: [[u8; 32]; 7] = {
    const fn ending(first: u8, middle: u8, last: u8) -> [u8; 32] {
        let mut point = [middle; 32];
        point[0] = first;
        point[31] = last;
        point
    }
    [
        ending(0, 0, 0),
        ending(1, 0, 0),
        ending(0xec, 0xff, 0x7f),
        ending(0xed, 0xff, 0x7f),
        ending(0xee, 0xff, 0x7f),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef,
            0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88,
            0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

/// The primes of the ROCA fingerprint (CVE-2017-15361). A modulus of the flawed Infineon library is
/// a power of 65537 modulo each of them. Any other modulus matches with a probability of 2^-27.
const SMALL_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

fn remainder(number: &[u8], by: u32) -> u32 {
    number.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % by)
}

fn is_power_of_65537(rest: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == rest {
            return true;
        }
        power = power * (65_537 % prime) % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    fn hex(bytes: &[u8]) -> String {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap();
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    #[test]
    fn a_secret_shorter_than_its_hash_is_refused() {
        for (algorithm, least) in
            [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)]
        {
            assert_eq!(judge_secret(&random(least - 1), algorithm), Err(WeakSecret::Short));
            assert_eq!(judge_secret(&random(least), algorithm), Ok(()));
        }
        assert_eq!(judge_secret(b"", Algorithm::Hs256), Err(WeakSecret::Short));
    }

    #[test]
    fn a_long_secret_that_can_be_guessed_is_refused() {
        for secret in [
            "passwordpasswordpasswordpassword",
            "your-256-bit-secret-your-256-bit-secret",
            "my-super-secret-jwt-signing-key-please-change-me",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "0123456789012345678901234567890123456789",
            "qwertyuiopasdfghjklzxcvbnm1234567890",
            "P4$$w0rd-P4$$w0rd-P4$$w0rd-P4$$w0rd",
            "correct horse battery staple correct horse",
            "The quick brown fox jumps over the lazy dog",
            "ababababababababababababababababababab",
            "changemechangemechangemechangeme1234",
            "thisisasecretthisisasecretthisisasecret",
            "JWT_SECRET_KEY_FOR_DEVELOPMENT_ONLY_2024!",
            "a string secret at least 256 bits long for tests",
            "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
            "replace-this-with-a-long-random-string-of-characters",
        ] {
            assert_eq!(
                judge_secret(secret.as_bytes(), Algorithm::Hs256),
                Err(WeakSecret::Guessable),
                "{secret}: {}",
                bits(secret.as_bytes())
            );
        }
        assert_eq!(judge_secret(&[0; 64], Algorithm::Hs512), Err(WeakSecret::Guessable));
        let counted: Vec<u8> = (0..64).collect();
        assert_eq!(judge_secret(&counted, Algorithm::Hs512), Err(WeakSecret::Guessable));
    }

    #[test]
    fn a_random_secret_passes_in_every_usual_spelling() {
        let mut lowest = f64::INFINITY;
        for _ in 0..100 {
            for secret in [
                random(32),
                hex(&random(16)).into_bytes(),
                hex(&random(32)).into_bytes(),
                URL_SAFE_NO_PAD.encode(random(24)).into_bytes(),
                URL_SAFE_NO_PAD.encode(random(32)).into_bytes(),
                STANDARD.encode(random(32)).into_bytes(),
            ] {
                lowest = lowest.min(bits(&secret));
                assert_eq!(judge_secret(&secret, Algorithm::Hs256), Ok(()), "{}", bits(&secret));
            }
            assert_eq!(judge_secret(hex(&random(32)).as_bytes(), Algorithm::Hs512), Ok(()));
            assert_eq!(judge_secret(&random(64), Algorithm::Hs512), Ok(()));
        }
        assert!(lowest > 64.0);
    }

    /// A number of 2048 bits that is a power of 65537 modulo each of the primes, like a modulus of
    /// the flawed generator.
    const ROCA: &str = "8acbd6c9bc2b944ba6530a52fc31f458b2724b0f812aa5d10a987f0142869ec4c68dec1851ae4988\
             89cefac8357e2226e5903d56c6d06421a3af44a9a8655ed26812c657c780ba2fc9e056dc6f86e0f3\
             6ff3f18868afd897c8ca01f9aace57f8798388b305abe780201c7abd6cb969a479f8e5c131850de4\
             853253fea9b37efe3f3456816ff8004698b78f93f1866615dfb30c9abccd70f888aba5aa1ead150e\
             57008be01bf3df078a4a664e842379e09af796bf9fae0de65f028367bf027a82de18ad0d2951eaa3\
             e470f421abc508bed5cca671768314a8beefe4215e440c73d6d44dd15007a2b8f1e0640640197bca\
             a1fbe11f39a6c37ee1b62e8bbabd23af";

    #[test]
    fn a_modulus_of_the_flawed_generator_is_refused_and_its_neighbour_is_not() {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap();
        let pairs = ROCA.as_bytes().chunks(2);
        let mut n: Vec<u8> = pairs
            .map(|pair| u8::try_from(16 * digit(&pair[0]) + digit(&pair[1])).unwrap())
            .collect();
        assert_eq!(n.len(), 256);
        assert_eq!(judge_rsa(&n, &[1, 0, 1]), Err(WeakRsa::Roca));
        // No neighbouring number has the fingerprint: the check refuses the pattern, not the size
        // or the last byte.
        for last in 0..=255 {
            if n[255] != last {
                let mut other = n.clone();
                other[255] = last;
                assert_ne!(judge_rsa(&other, &[1, 0, 1]), Err(WeakRsa::Roca), "{last}");
            }
        }
        n[0] ^= 1;
        assert_ne!(judge_rsa(&n, &[1, 0, 1]), Err(WeakRsa::Roca));
    }

    #[test]
    fn a_point_of_small_order_is_known_whatever_its_sign() {
        for point in SMALL_ORDER {
            let mut other = point;
            other[31] |= 0x80;
            assert!(has_small_order(&point) && has_small_order(&other));
            other[16] ^= 1;
            assert!(!has_small_order(&other));
        }
        assert!(!has_small_order(&random(32)));
        assert!(!has_small_order(&[]));
        // The base point of the curve.
        let mut base = [0x66; 32];
        base[0] = 0x58;
        assert!(!has_small_order(&base));
    }

    #[test]
    fn an_rsa_key_that_is_small_or_flawed_is_refused() {
        let odd = |len: usize| {
            let mut n = vec![0xff; len];
            // Any odd number without small factors fits; a third of the tries find one.
            loop {
                let tail = random(8);
                n[len - 8..].copy_from_slice(&tail);
                n[len - 1] |= 1;
                if SMALL_PRIMES.into_iter().all(|prime| remainder(&n, prime) != 0) {
                    return n;
                }
            }
        };
        assert_eq!(judge_rsa(&odd(256), &[1, 0, 1]), Ok(()));
        assert_eq!(judge_rsa(&odd(128), &[1, 0, 1]), Err(WeakRsa::Size));
        assert_eq!(judge_rsa(&odd(1025), &[1, 0, 1]), Err(WeakRsa::Size));
        assert_eq!(judge_rsa(&odd(256), &[1]), Err(WeakRsa::Exponent));
        assert_eq!(judge_rsa(&odd(256), &[2]), Err(WeakRsa::Exponent));
        assert_eq!(judge_rsa(&odd(256), &[]), Err(WeakRsa::Exponent));
        let mut even = odd(256);
        even[255] &= 0xfe;
        assert_eq!(judge_rsa(&even, &[3]), Err(WeakRsa::Modulus));
    }
}
