//! The reasons to refuse a token, and the answers to the client: the texts and headers of RFC 6750
//! section 3 and RFC 9449 section 7.1.

use std::borrow::Cow;
use std::sync::Arc;

use super::credentials::Scheme;
use crate::binding::{ALGORITHMS, ProofError};
use crate::introspection::Unavailable;
use crate::jose::Malformed;
use crate::refusal::Refusal;

/// The reason why the token layer refuses a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// No token came, or the scheme of the credentials is not `Bearer`.
    Missing,
    /// It is no compact JWS that the strict reader takes.
    Malformed(Malformed),
    /// Its `exp` has passed.
    Expired,
    /// Its `nbf` or `iat` is in the future.
    NotYetValid,
    /// No key of the issuer made its signature.
    Signature,
    /// Its `iss` is not a configured issuer.
    Issuer,
    /// It is of a tenant that is not in `tenants`.
    Tenant,
    /// None of its `aud` is a configured audience.
    Audience,
    /// A claim is missing or has the wrong type.
    Claims(ClaimError),
    /// Its `alg` differs from the algorithm of the key.
    Algorithm,
    /// Its `kid` is no key of ours.
    Key,
    /// Its key is outside of its time, or was withdrawn.
    KeyTime,
    /// It has another `typ`.
    Type,
    /// Its lifetime exceeds `maxLifetime`.
    Lifetime,
    /// It was revoked.
    Revoked,
    /// The keys of its issuer are not loaded yet or too old, so the token cannot be verified.
    KeysUnavailable,
    /// It is not active according to its issuer, or not one of its tokens.
    Inactive,
    /// It is unknown whether it is active: its issuer gives no clear answer, or too many requests
    /// wait for one.
    IntrospectionUnavailable(Unavailable),
    /// More than one token came, for example in the header and in a cookie, or in two cookies of
    /// one name.
    Ambiguous,
    /// It is bound to a key, and the request does not prove possession of that key.
    Bound,
    /// It is bound to a certificate (RFC 8705), and the connection has another one or none.
    Certificate,
    /// It is bound to no key although it must be: it came with the scheme `DPoP`, or `jwt.dpop` is
    /// `required`.
    Unbound,
    /// Its proof is missing or invalid.
    Proof(ProofError),
    /// Its proof was used before.
    Replayed,
    /// Its proof lacks a nonce of this server, or the nonce is too old.
    Nonce,
}

/// The fault in the claims of a token whose signature is good. It holds the name of the claim,
/// never its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// The claim is required and missing.
    Missing(&'static str),
    /// The claim has another type than RFC 7519 requires.
    Kind(&'static str),
    /// A time in milliseconds. `NumericDate` is in seconds.
    Milliseconds(&'static str),
    /// `exp` is not after `iat`.
    Order,
    /// `cnf` binds the token to something that is not understood.
    Confirmation,
    /// A claim that `claims` of the issuer asks for is missing.
    Absent(Arc<str>),
    /// A claim that `claims` of the issuer asks for has another value.
    Mismatch(Arc<str>),
    /// `tid` is another tenant than the one in `iss`.
    Tenant,
}

impl TokenError {
    /// Whether it is unknown if the token is good. That is no fault of the token.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::IntrospectionUnavailable(_))
    }

    /// The stable code, e.g. `token_expired`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.row().1
    }

    /// The answer to the client: an RFC 9457 problem and the challenge of RFC 6750 section 3.
    #[must_use]
    pub fn to_refusal(&self) -> Refusal {
        self.to_refusal_by(Scheme::Bearer)
    }

    /// As [`Self::to_refusal`], with the challenge of the scheme that the client has used or should
    /// use. For a faulty proof the challenge is always `DPoP`.
    #[must_use]
    pub fn to_refusal_by(&self, scheme: Scheme) -> Refusal {
        let (status, code, error) = self.row();
        let detail = self.detail();
        if status == 503 {
            // No challenge: another token would not help, and the client must keep this one.
            return Refusal::new(status, code, detail)
                .because(self.reason())
                .header("Retry-After", "1");
        }
        let scheme = match self {
            Self::Bound | Self::Unbound | Self::Proof(_) | Self::Replayed | Self::Nonce => {
                Scheme::Dpop
            }
            _ => scheme,
        };
        // RFC 6750 section 3.1: the challenge names no error if no token came.
        let error = error.map(|error| (error, &*detail));
        let challenge = challenge(scheme, error, &[]);
        Refusal::new(status, code, detail)
            .because(self.reason())
            .header("WWW-Authenticate", challenge)
    }

    /// Why, in one word and no value, for the operator: `claim_missing:aud`. The client gets the
    /// code alone.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Malformed(form) => form.reason(),
            Self::Claims(fault) => return fault.reason(),
            Self::Issuer => "issuer_unknown",
            Self::Tenant => "tenant_unknown",
            Self::Audience => "audience_mismatch",
            Self::Algorithm => "alg_not_of_key",
            Self::Key => "kid_unknown",
            Self::KeyTime => "key_not_in_time",
            Self::Type => "typ_mismatch",
            Self::Lifetime => "lifetime_over_max",
            Self::Proof(fault) => fault.reason(),
            Self::Certificate => "certificate_mismatch",
            Self::IntrospectionUnavailable(Unavailable::Failing) => "introspection_failing",
            Self::IntrospectionUnavailable(Unavailable::Busy) => "introspection_busy",
            other => other.code(),
        })
    }

    /// The single table of status, code and `error` of RFC 6750.
    const fn row(&self) -> (u16, &'static str, Option<&'static str>) {
        const INVALID: Option<&str> = Some("invalid_token");
        const PROOF: Option<&str> = Some("invalid_dpop_proof");
        match self {
            Self::Missing => (401, "token_missing", None),
            Self::Malformed(_) => (401, "token_malformed", INVALID),
            Self::Expired => (401, "token_expired", INVALID),
            Self::NotYetValid => (401, "token_not_yet_valid", INVALID),
            Self::Signature => (401, "token_signature", INVALID),
            Self::Issuer | Self::Tenant => (401, "token_issuer", INVALID),
            Self::Audience => (401, "token_audience", INVALID),
            Self::Claims(_) => (401, "token_claims", INVALID),
            Self::Algorithm => (401, "token_algorithm", INVALID),
            Self::Key | Self::KeyTime => (401, "token_key", INVALID),
            Self::Type => (401, "token_type", INVALID),
            Self::Lifetime => (401, "token_lifetime", INVALID),
            Self::Revoked => (401, "token_revoked", INVALID),
            Self::KeysUnavailable => (503, "issuer_unavailable", None),
            Self::Inactive => (401, "token_inactive", INVALID),
            Self::IntrospectionUnavailable(_) => (503, "introspection_unavailable", None),
            Self::Ambiguous => (400, "token_ambiguous", Some("invalid_request")),
            Self::Bound | Self::Certificate => (401, "token_bound", INVALID),
            Self::Unbound => (401, "token_unbound", INVALID),
            Self::Proof(_) => (401, "dpop_proof", PROOF),
            Self::Replayed => (401, "dpop_replayed", PROOF),
            Self::Nonce => (401, "dpop_nonce", Some("use_dpop_nonce")),
        }
    }

    fn detail(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Missing => "a bearer token is required",
            Self::Malformed(_) => "the token is malformed",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
            Self::Signature => "the signature of the token is not valid",
            Self::Issuer | Self::Tenant => "the token is from another issuer",
            Self::Audience => "the token is for another audience",
            Self::Algorithm => "the token is signed with another algorithm than its key is for",
            Self::Key | Self::KeyTime => "the key of the token is not known",
            Self::Type => "the token is of another type",
            Self::Lifetime => "the token lives longer than is allowed",
            Self::Revoked => "the token was revoked",
            Self::KeysUnavailable => "the keys of the token's issuer are not known at the moment",
            Self::Inactive => "the token is not active",
            Self::IntrospectionUnavailable(_) => {
                "nobody can say at the moment whether the token is active, try again soon"
            }
            Self::Ambiguous => "send one token in one place",
            Self::Bound => "the token is bound to a key of its bearer, which nothing proves here",
            Self::Certificate => "the token is bound to another client certificate than this",
            Self::Unbound => "the token is not bound to a key, so no DPoP proof can go with it",
            Self::Proof(fault) => fault.detail(),
            Self::Replayed => "the DPoP proof was used before",
            Self::Nonce => "the DPoP proof needs the nonce of the header DPoP-Nonce",
            Self::Claims(fault) => return fault.detail(),
        })
    }
}

impl ClaimError {
    fn reason(&self) -> Cow<'static, str> {
        Cow::Owned(match self {
            Self::Missing(claim) => format!("claim_missing:{claim}"),
            Self::Absent(claim) => format!("claim_missing:{claim}"),
            Self::Kind(claim) => format!("claim_kind:{claim}"),
            Self::Milliseconds(claim) => format!("claim_milliseconds:{claim}"),
            Self::Mismatch(claim) => format!("claim_mismatch:{claim}"),
            Self::Order => return Cow::Borrowed("claim_order:exp"),
            Self::Confirmation => return Cow::Borrowed("claim_kind:cnf"),
            Self::Tenant => return Cow::Borrowed("claim_mismatch:tid"),
        })
    }

    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Missing(claim) => format!("the claim {claim} is missing").into(),
            Self::Kind(claim) => format!("the claim {claim} is not of the right kind").into(),
            Self::Milliseconds(claim) => {
                format!("the claim {claim} must be in seconds and looks like milliseconds").into()
            }
            Self::Order => "the claim exp must be after iat".into(),
            Self::Confirmation => "the claim cnf is not understood".into(),
            // The names are of the options: what an issuer must be asked for stays with the
            // operator.
            Self::Absent(_) | Self::Mismatch(_) | Self::Tenant => {
                "the token is for another client or tenant".into()
            }
        }
    }
}

/// The value of `WWW-Authenticate` (RFC 9110 section 11.6.1): `error` with its description, then
/// `more` parameters. The values must not need escaping.
pub(crate) fn challenge(
    scheme: Scheme,
    error: Option<(&str, &str)>,
    more: &[(&str, &str)],
) -> String {
    let mut text = match scheme {
        Scheme::Bearer => "Bearer realm=\"api\"".to_owned(),
        Scheme::Dpop => format!("DPoP realm=\"api\", algs=\"{ALGORITHMS}\""),
        Scheme::Other(name) => format!("{name} realm=\"api\""),
    };
    let error = error.map(|(error, detail)| [("error", error), ("error_description", detail)]);
    for (name, value) in error.iter().flatten().chain(more) {
        for part in [", ", name, "=\"", value, "\""] {
            text.push_str(part);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(denial: &TokenError) -> (u16, String) {
        let refusal = denial.to_refusal();
        assert_eq!(refusal.headers[0].0, "WWW-Authenticate");
        (refusal.status, refusal.headers[0].1.clone())
    }

    #[test]
    fn without_a_token_the_challenge_names_no_error() {
        assert_eq!(challenge(&TokenError::Missing), (401, "Bearer realm=\"api\"".to_owned()));
    }

    #[test]
    fn a_bad_token_is_invalid_token_and_two_of_them_are_invalid_request() {
        assert_eq!(
            challenge(&TokenError::Expired),
            (
                401,
                "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"the token has expired\""
                    .to_owned()
            )
        );
        let (status, text) = challenge(&TokenError::Ambiguous);
        assert_eq!(status, 400);
        assert!(text.contains("error=\"invalid_request\""), "{text}");
    }

    #[test]
    fn the_description_stays_within_the_characters_of_rfc_6750() {
        for denial in [
            TokenError::Malformed(Malformed::Form),
            TokenError::Claims(ClaimError::Tenant),
            TokenError::Claims(ClaimError::Milliseconds("exp")),
            TokenError::Claims(ClaimError::Kind("aud")),
            TokenError::Algorithm,
            TokenError::Inactive,
            TokenError::Ambiguous,
            TokenError::Bound,
            TokenError::Certificate,
            TokenError::Unbound,
            TokenError::Proof(ProofError::Claims),
            TokenError::Replayed,
            TokenError::Nonce,
        ] {
            let detail = denial.detail();
            assert!(
                detail.bytes().all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)),
                "{detail}"
            );
        }
    }
}
