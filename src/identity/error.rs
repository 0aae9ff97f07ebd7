//! The reasons to refuse an identity that is no token, and the answers to the client.

use std::borrow::Cow;

use super::IdentitySource;
use crate::bearer::{Scheme, TokenError};
use crate::refusal::Refusal;

/// The reason why a request has no identity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The request carries none, and the route needs one.
    Missing,
    /// A token and an API key came, or two API keys.
    Ambiguous,
    /// The API key has another form, or another prefix.
    KeyForm,
    /// The checksum of the API key is wrong.
    KeyChecksum,
    /// The API key stands where a token belongs.
    KeyPlace,
    /// The application has no record of the API key.
    KeyUnknown,
    /// The record is of another API key.
    KeyMismatch,
    /// The `exp` of the claims has passed.
    Expired(IdentitySource),
    /// The `nbf` or `iat` of the claims is in the future.
    NotYetValid(IdentitySource),
    /// The identity was revoked.
    Revoked(IdentitySource),
    /// The application's function gave no result within its time.
    Timeout(IdentitySource),
    /// The application's function returned a value that is no identity. The text names the member,
    /// never its value.
    Unusable(IdentitySource, Cow<'static, str>),
}

impl IdentityError {
    /// Claims with this fault.
    pub(super) fn unusable(source: IdentitySource, fault: &TokenError) -> Self {
        Self::Unusable(source, fault.reason())
    }

    /// The answer to the client. `scheme` is that of the challenge of a 401 (RFC 9110 section
    /// 15.5.2).
    #[must_use]
    pub fn to_refusal(&self, scheme: Scheme) -> Refusal {
        let (status, code, detail) = self.row();
        let refusal = Refusal::new(status, code, detail).because(self.reason());
        match status {
            401 => refusal.header("WWW-Authenticate", scheme.challenge()),
            503 => refusal.header("Retry-After", "1"),
            _ => refusal,
        }
    }

    /// Why, in one word and no value, for the operator.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        use IdentitySource::{ApiKey, Identify};
        Cow::Borrowed(match self {
            Self::Missing => "identity_missing",
            Self::Ambiguous => "identity_ambiguous",
            Self::KeyForm => "api_key_form",
            Self::KeyChecksum => "api_key_checksum",
            Self::KeyPlace => "api_key_place",
            Self::KeyUnknown => "api_key_unknown",
            Self::KeyMismatch => "api_key_mismatch",
            Self::Expired(ApiKey) => "api_key_expired",
            Self::Expired(Identify) => "identity_expired",
            Self::NotYetValid(ApiKey) => "api_key_not_yet_valid",
            Self::NotYetValid(Identify) => "identity_not_yet_valid",
            Self::Revoked(ApiKey) => "api_key_revoked",
            Self::Revoked(Identify) => "identity_revoked",
            Self::Timeout(ApiKey) => "api_key_timeout",
            Self::Timeout(Identify) => "identify_timeout",
            Self::Unusable(ApiKey, what) => return Cow::Owned(format!("api_key_record:{what}")),
            Self::Unusable(Identify, what) => return Cow::Owned(format!("identify_result:{what}")),
        })
    }

    /// The single table of status, code and detail.
    const fn row(&self) -> (u16, &'static str, &'static str) {
        use IdentitySource::{ApiKey, Identify};
        match self {
            Self::Missing => (401, "identity_missing", "a login or a credential is required"),
            Self::Ambiguous => {
                (400, "identity_ambiguous", "send one credential: a token or an API key")
            }
            Self::KeyForm
            | Self::KeyChecksum
            | Self::KeyPlace
            | Self::KeyUnknown
            | Self::KeyMismatch
            | Self::Expired(ApiKey)
            | Self::NotYetValid(ApiKey)
            | Self::Revoked(ApiKey) => (401, "api_key_invalid", "the API key is not valid"),
            Self::Expired(Identify) | Self::NotYetValid(Identify) | Self::Revoked(Identify) => {
                (401, "identity_invalid", "the login is not valid any more")
            }
            Self::Timeout(_) => {
                (503, "identity_unavailable", "the identity can't be checked at the moment")
            }
            Self::Unusable(..) => {
                (500, "internal_error", "the identity of the request could not be read")
            }
        }
    }
}
