//! The attack table: tokens that must all be refused.

use super::*;
use crate::keys::Algorithm;

/// A guard with every kind of key at once: a secret and a key of each family.
fn everything() -> Verifier {
    let mut keys: Vec<Value> = ["RS256", "ES256", "ES384", "ES512", "EdDSA"]
        .into_iter()
        .map(|alg| json!({ "kid": alg, "alg": alg, "key": key(pair_of(alg), "publicPem") }))
        .collect();
    keys.push(
        json!({ "kid": "a/../b", "alg": "HS512", "key": format!("{}{}", secret(), "x9!Kq") }),
    );
    verifier(&json!({ "secret": secret(), "keys": keys }))
}

fn payload() -> String {
    Value::Object(claims()).to_string()
}

fn unsigned(header: &str, signature: &str) -> String {
    format!("{}.{}.{signature}", segment(header), segment(payload()))
}

/// The name of an attack, and its token.
type Attack = (String, String);

fn algorithm_confusion() -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    for none in ["none", "None", "NONE", "nOnE", "NoNe", "none ", "", "null"] {
        attacks.push((
            format!("alg {none}, no signature"),
            unsigned(&json!({ "alg": none }).to_string(), ""),
        ));
        attacks.push((
            format!("alg {none}, a signature"),
            unsigned(&json!({ "alg": none }).to_string(), "AAAA"),
        ));
    }
    // A public key as HMAC secret: under the `kid` of each key and without one.
    for alg in ["RS256", "ES256", "ES384", "ES512", "EdDSA"] {
        for form in ["publicPem", "publicJwk"] {
            let public = key(pair_of(alg), form);
            let text = public.as_str().map_or_else(|| public.to_string(), str::to_owned);
            for (name, hash) in [
                ("HS256", hmac::HMAC_SHA256),
                ("HS384", hmac::HMAC_SHA384),
                ("HS512", hmac::HMAC_SHA512),
            ] {
                for header in [json!({ "alg": name, "kid": alg }), json!({ "alg": name })] {
                    let message = format!("{}.{}", segment(header.to_string()), segment(payload()));
                    attacks.push((
                        format!("{form} of {alg} as {name} secret"),
                        hmac_sign(&message, hash, text.as_bytes()),
                    ));
                }
            }
        }
    }
    // A good signature under the `alg` of every other algorithm.
    for alg in Algorithm::ALL.map(Algorithm::name) {
        let token = testdata()["tokens"][alg].as_str().unwrap();
        for other in Algorithm::ALL.map(Algorithm::name).into_iter().filter(|other| *other != alg) {
            let (_, rest) = token.split_once('.').unwrap();
            attacks.push((
                format!("{alg} as {other}"),
                format!("{}.{rest}", segment(json!({ "alg": other, "kid": other }).to_string())),
            ));
        }
    }
    for name in [
        "hs256",
        "Hs256",
        "HS256 ",
        "HS-256",
        "SHA256",
        "HS256\u{0}",
        "ＨS256",
        "RSA",
        "ES256K",
        "RS1",
        "HS1",
        "A256GCM",
    ] {
        attacks
            .push((format!("alg {name}"), hs256(&json!({ "alg": name }).to_string(), &payload())));
    }
    for alg in ["5", "null", "true", "[]", "{}", r#"["HS256"]"#, r#"{"HS256":1}"#] {
        attacks.push((
            format!("alg of another kind: {alg}"),
            hs256(&format!(r#"{{"alg":{alg}}}"#), &payload()),
        ));
    }
    attacks.push(("no alg".to_owned(), hs256("{}", &payload())));
    attacks
}

fn signatures() -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    let good = hs256(HS256, &payload());
    let (message, signature) = good.rsplit_once('.').unwrap();
    for (name, secret) in [
        ("an empty secret", &b""[..]),
        ("a zero", b"\0"),
        ("the word secret", b"secret"),
        ("the kid", b"HS256"),
    ] {
        attacks
            .push((format!("signed with {name}"), hmac_sign(message, hmac::HMAC_SHA256, secret)));
    }
    for (name, bad) in [
        ("cut by one byte", segment(&URL_SAFE_NO_PAD.decode(signature).unwrap()[..31])),
        ("cut to one byte", segment(&URL_SAFE_NO_PAD.decode(signature).unwrap()[..1])),
        (
            "with a byte behind",
            segment([URL_SAFE_NO_PAD.decode(signature).unwrap(), vec![0]].concat()),
        ),
        ("all zero", segment([0; 32])),
        ("missing", String::new()),
        (
            "of the payload",
            segment(hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA256, secret().as_bytes()),
                payload().as_bytes(),
            )),
        ),
    ] {
        attacks.push((format!("signature {name}"), format!("{message}.{bad}")));
    }
    // CVE-2022-21449: r = s = 0 and neighbouring values; DER instead of r and s.
    for (alg, size) in [("ES256", 32), ("ES384", 48), ("ES512", 66)] {
        let header = json!({ "alg": alg, "kid": alg }).to_string();
        let mut one = vec![0; 2 * size];
        one[size - 1] = 1;
        one[2 * size - 1] = 1;
        for (name, bytes) in [
            ("r = s = 0", vec![0; 2 * size]),
            ("r = s = 1", one),
            ("all ones", vec![0xff; 2 * size]),
            ("empty DER", vec![0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x00]),
            ("one byte short", vec![1; 2 * size - 1]),
            ("nothing", vec![]),
        ] {
            attacks.push((format!("{alg} {name}"), unsigned(&header, &segment(bytes))));
        }
    }
    for (alg, len) in [("RS256", 256), ("EdDSA", 64)] {
        let header = json!({ "alg": alg, "kid": alg }).to_string();
        for byte in [0, 1, 0xff] {
            attacks.push((
                format!("{alg} signature of {byte}s"),
                unsigned(&header, &segment(vec![byte; len])),
            ));
        }
        attacks.push((format!("{alg} without a signature"), unsigned(&header, "")));
    }
    attacks
}

fn forms() -> Vec<Attack> {
    let good = hs256(HS256, &payload());
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let mut attacks: Vec<Attack> = [
        ("whitespace in front", format!(" {good}")),
        ("whitespace behind", format!("{good} ")),
        ("a newline behind", format!("{good}\n")),
        ("whitespace in a segment", format!("{head}.{}.{signature}", broken(body, " "))),
        ("a line break in the signature", format!("{head}.{body}.{}", broken(signature, "\r\n"))),
        ("padding", format!("{good}=")),
        ("padding on the header", format!("{head}=.{rest}")),
        ("a plus", good.replace('-', "+").replacen('_', "/", 1) + "+"),
        ("stray bits", format!("{head}.{body}.{}", stray_bits(signature))),
        ("four segments", format!("{good}.x")),
        ("a dot behind", format!("{good}.")),
        ("a dot in front", format!(".{good}")),
        ("two segments", format!("{head}.{body}")),
        ("one segment", head.to_owned()),
        ("dots alone", "..".to_owned()),
        ("nothing", String::new()),
        ("a detached payload", format!("{head}..{signature}")),
        ("Bearer in front", format!("Bearer {good}")),
        ("quotes", format!("\"{good}\"")),
        ("a NUL behind", format!("{good}\0")),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("percent encoding", good.replace('.', "%2E")),
        ("another dot", good.replacen('.', "\u{ff0e}", 1)),
        (
            "JWS JSON form",
            json!({ "protected": head, "payload": body, "signature": signature }).to_string(),
        ),
        ("JWE form", format!("{head}.{head}.{head}.{body}.{signature}")),
        ("an expired twin in front", format!("{good},{good}")),
    ]
    .map(|(name, token)| (name.to_owned(), token))
    .into();
    let long = claims_with(&json!({ "pad": "x".repeat(7_000) }));
    attacks.push(("longer than 8 KiB".to_owned(), hs256(HS256, &long.to_string())));
    let (open, close) = ("[".repeat(40), "]".repeat(40));
    let deep = format!(r#"{},"d":{open}{close}}}"#, payload().trim_end_matches('}'));
    attacks.push(("deeper than 16".to_owned(), hs256(HS256, &deep)));
    attacks
}

/// The same bytes for a decoder that ignores the leftover bits.
fn stray_bits(segment: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (front, last) = segment.split_at(segment.len() - 1);
    let at = ALPHABET.find(last).unwrap();
    format!("{front}{}", char::from(ALPHABET.as_bytes()[at + 1]))
}

fn broken(segment: &str, by: &str) -> String {
    let (front, back) = segment.split_at(4);
    format!("{front}{by}{back}")
}

fn headers() -> Vec<Attack> {
    let jwk = key("p256", "publicJwk");
    let mut attacks: Vec<Attack> = [
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":null}"#,
        r#"{"alg":"HS256","b64":false}"#,
        r#"{"alg":"HS256","b64":true}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":5}"#,
        r#"{"alg":"HS256","typ":["JWT"]}"#,
        r#"{"alg":"HS256","typ":"JWE"}"#,
        r#"{"alg":"HS256","typ":"dpop+jwt"}"#,
        r#"{"alg":"HS256","kid":5}"#,
        r#"{"alg":"HS256","kid":null}"#,
        r#"{"alg":"HS256","kid":["ES256"]}"#,
        r#"{"alg":"HS256","kid":"unknown"}"#,
        r#"{"alg":"HS256","kid":""}"#,
        r#"{"alg":"HS256","kid":"../../../../dev/null"}"#,
        r#"{"alg":"HS256","kid":"x' UNION SELECT 'secret"}"#,
        r#"{"alg":"HS256","kid":"__proto__"}"#,
        r#"{"alg":"HS256","kid":"ES256"}"#,
        r#"{"alg":"HS256","__proto__":{"alg":"none"}}"#,
        r#"["alg","HS256"]"#,
        r#""HS256""#,
        "null",
        "{\"alg\":\"HS256\"}}",
        "{\"alg\":\"HS256\",}",
        "{\"alg\":\"HS256\"",
        "\u{feff}{\"alg\":\"HS256\"}",
        "{'alg':'HS256'}",
    ]
    .into_iter()
    .map(|header| (format!("header {header}"), hs256(header, &payload())))
    .collect();
    attacks.push(("a header that is not UTF-8".to_owned(), {
        let message =
            format!("{}.{}", segment(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}"), segment(payload()));
        hmac_sign(&message, hmac::HMAC_SHA256, secret().as_bytes())
    }));
    attacks.push((
        "a long header".to_owned(),
        hs256(&json!({ "alg": "HS256", "x": "y".repeat(1100) }).to_string(), &payload()),
    ));
    // The attacker's own key, embedded in the header and used to sign.
    let foreign = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let x = segment(aws_lc_rs::signature::KeyPair::public_key(&foreign).as_ref());
    let bring = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    for header in [
        json!({ "alg": "EdDSA", "kid": "EdDSA", "jwk": bring }),
        json!({ "alg": "EdDSA", "jwk": bring }),
        json!({ "alg": "EdDSA", "kid": "EdDSA", "jku": "https://evil.example/jwks.json" }),
        json!({ "alg": "EdDSA", "kid": "EdDSA", "x5u": "https://evil.example/cert.pem" }),
        json!({ "alg": "EdDSA", "kid": "EdDSA", "x5c": ["MIIB"] }),
        json!({ "alg": "EdDSA", "kid": x }),
    ] {
        let message = format!("{}.{}", segment(header.to_string()), segment(payload()));
        let signature = segment(foreign.sign(message.as_bytes()));
        attacks
            .push((format!("an own key with header {header}"), format!("{message}.{signature}")));
    }
    // With the public JWK as the HMAC secret.
    let message = format!("{}.{}", segment(HS256), segment(payload()));
    attacks.push((
        "a public JWK as secret".to_owned(),
        hmac_sign(&message, hmac::HMAC_SHA256, jwk["x"].as_str().unwrap().as_bytes()),
    ));
    attacks
}

fn claim_attacks() -> Vec<Attack> {
    [wrong_claims(), wrong_payloads()].concat()
}

fn wrong_claims() -> Vec<Attack> {
    let gone = "\0gone";
    [
        json!({ "iss": gone }),
        json!({ "iss": 5 }),
        json!({ "iss": {} }),
        json!({ "iss": null }),
        json!({ "iss": [ISSUER] }),
        json!({ "iss": [ISSUER, "https://evil.example"] }),
        json!({ "iss": "" }),
        json!({ "iss": format!("{ISSUER}\u{0}") }),
        json!({ "iss": format!("{ISSUER} ") }),
        json!({ "aud": gone }),
        json!({ "aud": 5 }),
        json!({ "aud": {} }),
        json!({ "aud": null }),
        json!({ "aud": true }),
        json!({ "aud": [AUDIENCE, 5] }),
        json!({ "aud": [[AUDIENCE]] }),
        json!({ "aud": { "0": AUDIENCE } }),
        json!({ "aud": "" }),
        json!({ "aud": "my-backend-app,other" }),
        json!({ "aud": "my-backend-app " }),
        json!({ "exp": gone }),
        json!({ "exp": null }),
        json!({ "exp": (NOW_S + 900).to_string() }),
        json!({ "exp": "never" }),
        json!({ "exp": true }),
        json!({ "exp": [NOW_S + 900] }),
        json!({ "exp": -1 }),
        json!({ "exp": 0 }),
        json!({ "exp": (NOW_S + 900) * 1000 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": NOW_S - 11 }),
        json!({ "exp": NOW_S }),
        json!({ "exp": 253_402_300_799_u64 }),
        json!({ "iat": gone }),
        json!({ "iat": null }),
        json!({ "iat": NOW_S.to_string() }),
        json!({ "iat": NOW_S + 60 }),
        json!({ "iat": NOW_S * 1000 }),
        json!({ "iat": -5 }),
        json!({ "iat": -0.5 }),
        json!({ "iat": NOW_S + 900 }),
        json!({ "iat": NOW_S * 1000, "exp": NOW_S * 1000 + 900 }),
        json!({ "iat": 0 }),
        json!({ "exp": NOW_S + 100_000 }),
        json!({ "nbf": NOW_S + 60 }),
        json!({ "nbf": "soon" }),
        json!({ "nbf": null }),
        json!({ "nbf": NOW_S * 1000 }),
        json!({ "sub": 7 }),
        json!({ "sub": null }),
        json!({ "sub": ["42"] }),
        json!({ "sub": "" }),
        json!({ "jti": 5 }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": {} }),
        json!({ "sid": 5 }),
        json!({ "sid": [] }),
        json!({ "cnf": { "jkt": "x" } }),
        json!({ "cnf": null }),
    ]
    .into_iter()
    .map(|more| (format!("claims {more}"), hs256_claims(&claims_with(&more))))
    .collect()
}

fn wrong_payloads() -> Vec<Attack> {
    let mut attacks = Vec::new();
    let open = payload().trim_end_matches('}').to_owned();
    for text in [
        format!("{open},\"role\":\"user\",\"role\":\"admin\"}}"),
        format!("{open},\"role\":\"user\",\"\\u0072ole\":\"admin\"}}"),
        format!("{open},\"sub\":\"1\"}}"),
        format!("{open},\"exp\":{}}}", NOW_S + 900),
        format!("{open},\"\\u0065xp\":{}}}", NOW_S + 900),
        format!("{open},\"a\":{{\"b\":1,\"b\":2}}}}"),
        format!("{open},\"__proto__\":{{\"admin\":true}}}}"),
        format!("{open},\"a\":[{{\"\\u005f_proto__\":1}}]}}"),
        format!("{open},\"uid\":9007199254740993}}"),
        format!("{open},\"n\":1e999}}"),
        format!("{open},\"n\":NaN}}"),
        format!("{open},\"n\":01}}"),
        format!("{open},\"s\":\"\\ud800\"}}"),
        format!("{open},\"s\":\"\n\"}}"),
        format!("{open},}}"),
        format!("{open}}}}}"),
        format!("{open}}} x"),
        open.clone(),
        format!("[{}]", payload()),
        "[]".to_owned(),
        "\"claims\"".to_owned(),
        "1".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        String::new(),
        format!("\u{feff}{}", payload()),
        format!("{}/**/", payload()),
    ] {
        attacks.push((format!("payload {text}"), hs256(HS256, &text)));
    }
    attacks.push(("a payload that is not UTF-8".to_owned(), {
        let message = format!("{}.{}", segment(HS256), segment(b"{\"a\":\"\xc3\"}"));
        hmac_sign(&message, hmac::HMAC_SHA256, secret().as_bytes())
    }));
    // A nested token.
    attacks.push((
        "a token in a token".to_owned(),
        hs256(r#"{"alg":"HS256","cty":"JWT"}"#, &hs256(HS256, &payload())),
    ));
    attacks
}

#[test]
fn none_of_the_attack_table_is_taken() {
    let guards = [
        everything(),
        with_secret(),
        verifier(&json!({ "keys": [{ "alg": "RS256", "key": key("rsa", "publicPem") }] })),
        verifier(&json!({ "keys": [{ "alg": "ES256", "key": key("p256", "publicJwk") }] })),
        verifier(&json!({ "keys": [{ "alg": "EdDSA", "key": key("ed25519", "publicPem") }] })),
    ];
    // The baseline of the table: the unmodified tokens are good.
    assert!(with_secret().verify(&hs256(HS256, &payload()), now()).is_ok());
    assert!(everything().verify(&hs256(HS256, &payload()), now()).is_ok());
    let attacks: Vec<Attack> =
        [algorithm_confusion(), signatures(), forms(), headers(), claim_attacks()].concat();
    assert!(attacks.len() > 450, "{}", attacks.len());
    // A lone key without `kid` accepts any `kid` as a hint, so these are attacks only if the keys
    // have names.
    let about_kid = |name: &str| name.starts_with("header") && name.contains("\"kid\":\"");
    let mut taken = Vec::new();
    for (i, guard) in guards.iter().enumerate() {
        for (name, token) in &attacks {
            if guard.verify(token, now()).is_ok() && !(i > 0 && about_kid(name)) {
                taken.push((i, name));
            }
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
}

#[test]
fn a_guard_with_one_key_without_a_name_takes_whatever_kid_a_token_has() {
    let token = hs256(r#"{"alg":"HS256","kid":"2024-01"}"#, &payload());
    assert!(with_secret().verify(&token, now()).is_ok());
    assert_eq!(denial(&everything(), &token), TokenError::Key);
}

#[test]
fn who_has_no_key_learns_nothing_about_the_claims() {
    // Each of these is refused for its signature, whatever its claims contain.
    let bad_signature = |claims: &str| {
        unsigned(HS256, &segment([1; 32])).replace(&segment(payload()), &segment(claims))
    };
    for claims in ["{}", "[]", "not json", &payload()] {
        assert_eq!(
            denial(&with_secret(), &bad_signature(claims)),
            TokenError::Signature,
            "{claims}"
        );
    }
}

#[test]
fn a_time_in_milliseconds_is_told_as_such() {
    let token = hs256_claims(&claims_with(&json!({ "exp": (NOW_S + 900) * 1000 })));
    let refusal = denial(&with_secret(), &token).to_refusal();
    assert_eq!(refusal.code, "token_claims");
    assert_eq!(refusal.detail, "the claim exp must be in seconds and looks like milliseconds");
}

#[test]
fn no_refusal_repeats_anything_of_the_token() {
    for (name, token) in claim_attacks().into_iter().chain(headers()) {
        let Err(denial) = everything().verify(&token, now()) else { panic!("{name}") };
        let refusal = format!("{:?}", denial.to_refusal());
        for word in ["evil", ISSUER, AUDIENCE, "unknown", "UNION", &token] {
            assert!(word.is_empty() || !refusal.contains(word), "{name}: {refusal}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_taken_as_a_token(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        fuzz_token(&data);
    }

    #[test]
    fn no_text_like_a_token_is_taken(text in "eyJ[A-Za-z0-9_-]{0,40}\\.eyJ[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{0,50}") {
        fuzz_token(text.as_bytes());
    }

    #[test]
    fn a_token_with_any_one_byte_changed_is_refused(at in proptest::prelude::any::<proptest::sample::Index>(), byte in 33_u8..127) {
        let mut token = hs256(HS256, &payload()).into_bytes();
        let at = at.index(token.len());
        proptest::prop_assume!(token[at] != byte);
        token[at] = byte;
        proptest::prop_assert!(with_secret().verify(std::str::from_utf8(&token).unwrap(), now()).is_err());
    }
}
