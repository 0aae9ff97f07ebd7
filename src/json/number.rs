//! Numbers: the grammar of RFC 8259 section 6, and the check that JavaScript reads them unchanged.

/// The largest integer that JavaScript's doubles distinguish from both neighbours.
pub(crate) const MAX_SAFE: u64 = 9_007_199_254_740_991;
const MAX_SAFE_DOUBLE: f64 = 9_007_199_254_740_991.0;

/// A number that was read from the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scanned {
    /// A safe integer.
    Int(i64),
    /// Any other number that JavaScript reads unchanged.
    Float(f64),
    /// A valid number that JavaScript would silently change.
    Unsafe,
}

/// Reads one number from the start of `bytes` and returns its length. The error is the index of the
/// byte that breaks the grammar.
pub(crate) fn scan(bytes: &[u8]) -> Result<(Scanned, usize), usize> {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut at = start;
    let mut whole: u64 = 0;
    match bytes.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => {
            while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
                // A saturated value is unsafe, too.
                whole = whole.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                at += 1;
            }
        }
        _ => return Err(at),
    }
    let digits_end = at;
    let mut digits = whole;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        if !digit(at) {
            return Err(at);
        }
        while let Some(byte @ b'0'..=b'9') = bytes.get(at) {
            // On overflow, the digits are not used.
            digits = digits.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            at += 1;
        }
    }
    let mantissa_end = at;
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        if matches!(bytes.get(at), Some(b'+' | b'-')) {
            at += 1;
        }
        if !digit(at) {
            return Err(at);
        }
        while digit(at) {
            at += 1;
        }
    }
    if at == digits_end {
        return Ok((integer(whole, negative), at));
    }
    let has_exponent = at > mantissa_end;
    if !has_exponent && at - start <= MAX_SHORT {
        let value = short(digits, at - digits_end - 1);
        return Ok((Scanned::Float(if negative { -value } else { value }), at));
    }
    let mantissa = bytes.get(start..mantissa_end).unwrap_or_default();
    let text = bytes.get(..at).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let value = text.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    Ok((double(value, mantissa, has_exponent), at))
}

/// The maximum length of a fraction that [`short`] reads, in bytes with the point.
const MAX_SHORT: usize = 15;

/// A decimal fraction of few digits, with `places` of them after the point. The digits as an
/// integer and the power of ten are both exact as doubles, so one division rounds correctly (W. D.
/// Clinger, How to Read Floating Point Numbers Accurately, 1990).
fn short(digits: u64, places: usize) -> f64 {
    const POWERS: [f64; MAX_SHORT] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
    let digits = digits as f64;
    POWERS.get(places).map_or(f64::NAN, |power| digits / power)
}

fn integer(whole: u64, negative: bool) -> Scanned {
    match i64::try_from(whole) {
        // JavaScript reads `-0` as negative zero, which exists only as a double.
        Ok(0) if negative => Scanned::Float(-0.0),
        Ok(value) if whole <= MAX_SAFE => Scanned::Int(if negative { -value } else { value }),
        _ => Scanned::Unsafe,
    }
}

fn double(value: f64, mantissa: &[u8], has_exponent: bool) -> Scanned {
    let digits = || mantissa.iter().copied().filter(u8::is_ascii_digit);
    let underflow = value == 0.0 && digits().any(|digit| digit != b'0');
    if !value.is_finite() || underflow {
        return Scanned::Unsafe;
    }
    if value.abs() > MAX_SAFE_DOUBLE {
        // `1e22` clearly means a double. `9007199254740993.0` and `9007199254740993e0` are integers
        // in another notation, and JavaScript would change them. So the digits must be those that
        // JavaScript itself would write for the double.
        let shortest = format!("{:e}", value.abs());
        let shortest = shortest.split('e').next().unwrap_or_default().bytes();
        let shortest: Vec<u8> = shortest.filter(u8::is_ascii_digit).collect();
        let written: Vec<u8> = digits().skip_while(|digit| *digit == b'0').collect();
        let zeros = written.iter().rev().take_while(|digit| **digit == b'0').count();
        if !has_exponent || written.get(..written.len() - zeros) != Some(&shortest) {
            return Scanned::Unsafe;
        }
    }
    Scanned::Float(value)
}

/// Whether `text` is exactly one number by the grammar of JSON: no spaces, no `+`, no leading
/// zeros, no hex.
pub(crate) fn is_number(text: &str) -> bool {
    scan(text.as_bytes()).is_ok_and(|(_, len)| len == text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fraction_is_read_as_the_standard_library_reads_it(text in "-?(0|[1-9][0-9]{0,16})\\.[0-9]{1,18}") {
            let value: f64 = text.parse().unwrap();
            let (scanned, len) = scan(text.as_bytes()).unwrap();
            prop_assert_eq!(len, text.len());
            match scanned {
                Scanned::Float(read) => prop_assert_eq!(read.to_bits(), value.to_bits()),
                Scanned::Unsafe => prop_assert!(text.len() > MAX_SHORT),
                Scanned::Int(_) => prop_assert!(false, "a fraction is no integer"),
            }
        }
    }

    #[test]
    fn integers_beyond_what_a_double_tells_apart_are_unsafe_in_every_spelling() {
        for text in [
            "9007199254740992",
            "-9007199254740992",
            "9007199254740993",
            "9007199254740993.0",
            "9007199254740993e0",
            "900719925474099.3e1",
            "10000000000000000.0",
            "123456789012345678901234567890",
            "1e400",
            "-1e400",
            "1e-400",
            "0.0000000000000000000000000000001e-350",
        ] {
            assert_eq!(scan(text.as_bytes()), Ok((Scanned::Unsafe, text.len())), "{text}");
        }
    }

    #[test]
    fn what_javascript_holds_unchanged_is_accepted() {
        for (text, value) in [
            ("0", Scanned::Int(0)),
            ("-1", Scanned::Int(-1)),
            ("9007199254740991", Scanned::Int(9_007_199_254_740_991)),
            ("-9007199254740991", Scanned::Int(-9_007_199_254_740_991)),
            ("-0", Scanned::Float(-0.0)),
            ("0e400", Scanned::Float(0.0)),
            ("1.5", Scanned::Float(1.5)),
            ("1E22", Scanned::Float(1e22)),
            ("123e45", Scanned::Float(123e45)),
            ("1e23", Scanned::Float(1e23)),
            ("1.7976931348623157e308", Scanned::Float(f64::MAX)),
            ("5e-324", Scanned::Float(5e-324)),
        ] {
            assert_eq!(scan(text.as_bytes()), Ok((value, text.len())), "{text}");
        }
    }

    #[test]
    fn text_that_only_looks_like_a_number_is_none() {
        for text in [
            "", "-", "+1", "01", "1.", ".5", "1e", "0x10", " 5", "5 ", "1_000", "NaN", "Infinity",
            "٣",
        ] {
            assert!(!is_number(text), "{text}");
        }
    }
}
