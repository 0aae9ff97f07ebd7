//! The value of an `Authorization` header that carries a token.

use super::denial::{TokenError, challenge};
use crate::jose::Malformed;

/// The scheme that a token is presented with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// The bearer may use the token without a proof (RFC 6750).
    Bearer,
    /// The token comes with a proof that its owner uses it (RFC 9449).
    Dpop,
    /// Not a token: the name of the scheme for a challenge.
    Other(&'static str),
}

impl Scheme {
    /// The challenge for a request without a credential of this scheme (RFC 9110 section 11.6.1).
    #[must_use]
    pub fn challenge(self) -> String {
        challenge(self, None, &[])
    }
}

/// The scheme and the token in the value of an `Authorization` header (RFC 6750 section 2.1, RFC
/// 9449 section 7.1).
///
/// Credentials of another scheme are [`TokenError::Missing`]; a scheme that is followed by
/// anything but spaces and one token is [`TokenError::Malformed`].
pub fn credentials(value: &str) -> Result<(Scheme, &str), TokenError> {
    let (name, token) = value.split_once(' ').unwrap_or((value, ""));
    let scheme = if name.eq_ignore_ascii_case("bearer") {
        Scheme::Bearer
    } else if name.eq_ignore_ascii_case("dpop") {
        Scheme::Dpop
    } else {
        return Err(TokenError::Missing);
    };
    // RFC 9110 section 11.4: one or more spaces.
    let token = token.trim_start_matches(' ');
    if !is_token68(token) {
        return Err(TokenError::Malformed(Malformed::Credentials));
    }
    Ok((scheme, token))
}

/// Whether a text has the form of a bearer token (RFC 6750 section 2.1, `b64token`).
pub(crate) fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let allowed = |byte: u8| TOKEN68.get(usize::from(byte)).is_some_and(|allowed| *allowed);
    !body.is_empty() && body.bytes().all(allowed)
}

/// The bytes that are allowed in front of the padding.
const TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "below 256")]
        {
            let char = byte as u8;
            table[byte] = char.is_ascii_alphanumeric()
                || matches!(char, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_authorization_header_is_read_as_rfc_6750_says() {
        for good in ["Bearer a.b-c_~+/", "bearer abc", "BEARER abc==", "Bearer   abc"] {
            let token = good.rsplit_once(' ').unwrap().1;
            assert_eq!(credentials(good), Ok((Scheme::Bearer, token)), "{good}");
        }
        assert_eq!(credentials("DPoP abc"), Ok((Scheme::Dpop, "abc")));
        for other in ["Basic dXNlcg==", "", "Bearerabc", "Bearer\tabc", " Bearer abc"] {
            assert_eq!(credentials(other), Err(TokenError::Missing), "{other}");
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer abc ",
            "Bearer a b",
            "Bearer =",
            "Bearer a=b",
            "Bearer a,b",
            "Bearer \u{e9}",
        ] {
            assert_eq!(
                credentials(bad),
                Err(TokenError::Malformed(Malformed::Credentials)),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,80}|[A-Za-z0-9_.=-]{0,200}") {
            let _ = credentials(&text);
        }
    }
}
