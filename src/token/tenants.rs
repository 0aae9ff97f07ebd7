//! Issuers that differ by tenant: Microsoft Entra writes the tenant into `iss`.
//!
//! 1. `iss` is the template of `issuer` with a tenant in it, and the claim `tid` is that tenant.
//! 2. A key whose JWK has a member `issuer` signs for that issuer alone, which may be a template
//!    with the same word.
//! 3. The tenant is one of `tenants`. `'any'` takes all of them: everyone can have a tenant, so
//!    the application must judge `tid` itself.

use serde_json::Value;

use crate::bearer::{ClaimError, TokenError};
use crate::config::options::{Options, string_at};
use crate::error::{ConfigCode, ConfigError};
use crate::json::object::{Members, Shallow};
use crate::keys::key_options::plain_text;

/// Where the tenant stands in `issuer`, and in the member `issuer` of a key.
const WORD: &str = "{tenantid}";
const MAX_TENANTS: usize = 1000;

/// The tenants of an issuer.
#[derive(Debug)]
pub(super) struct Tenants {
    before: String,
    after: String,
    /// `None` for any.
    allowed: Option<Vec<String>>,
}

impl Tenants {
    /// Reads `tenants`, a list of tenants or `'any'`; `None` where `issuer` is no template.
    pub(super) fn parse(options: &Options<'_>, issuer: &str) -> Result<Option<Self>, ConfigError> {
        let conflict = |key: &str, problem: &str| {
            ConfigError::new(ConfigCode::ConflictingOptions, options.path_of(key), problem)
        };
        let Some((before, after)) = issuer.split_once(WORD) else {
            if !options.has("tenants") {
                return Ok(None);
            }
            return Err(conflict("tenants", "is about an `issuer` with {tenantid} in it")
                .suggest("write 'https://login.microsoftonline.com/{tenantid}/v2.0'"));
        };
        if before.is_empty() || after.contains(WORD) {
            return Err(ConfigError::invalid(
                options.path_of("issuer"),
                "must hold {tenantid} once, not at its start",
            ));
        }
        let value = options.require("tenants", "the tenants whose tokens to take, or 'any'")?;
        let at = options.path_of("tenants");
        let allowed = match value {
            Value::Array(items) if (1..=MAX_TENANTS).contains(&items.len()) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(i, item)| tenant_at(&format!("{at}[{i}]"), item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::String(_) if string_at(&at, value)? == "any" => None,
            _ => {
                return Err(ConfigError::invalid(
                    at,
                    format!("must be a list of 1 to {MAX_TENANTS} tenants, or 'any'"),
                ));
            }
        };
        Ok(Some(Self { before: before.to_owned(), after: after.to_owned(), allowed }))
    }

    /// Whether one `iss` could fit both templates.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let starts =
            self.before.starts_with(&*other.before) || other.before.starts_with(&*self.before);
        let ends = self.after.ends_with(&*other.after) || other.after.ends_with(&*self.after);
        starts && ends
    }

    /// The tenant of an `iss`; `None` where it is none of this issuer.
    pub(super) fn tenant<'i>(&self, iss: &'i str) -> Option<&'i str> {
        let tenant = iss.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        is_tenant(tenant).then_some(tenant)
    }

    /// Whether a token of this `iss` is one of a tenant that is taken.
    pub(super) fn check(&self, iss: &str, claims: &Members<'_>) -> Result<(), TokenError> {
        let tenant = self.tenant(iss).ok_or(TokenError::Issuer)?;
        match claims.get("tid") {
            None => return Err(TokenError::Claims(ClaimError::Missing("tid"))),
            Some(Shallow::Text(tid)) if **tid == *tenant => {}
            Some(_) => return Err(TokenError::Claims(ClaimError::Tenant)),
        }
        let is_taken = |allowed: &Vec<String>| allowed.iter().any(|other| other == tenant);
        if self.allowed.as_ref().is_none_or(is_taken) { Ok(()) } else { Err(TokenError::Tenant) }
    }
}

/// Whether a key whose JWK has this member `issuer` may sign a token of this `iss`. A template
/// stands for the tenant in `tid`.
pub(super) fn may_sign(key_issuer: Option<&str>, iss: &str, tenant: Option<&str>) -> bool {
    match (key_issuer, tenant) {
        (None, _) => true,
        (Some(of), Some(tenant)) if of.replace(WORD, tenant) == iss => true,
        (Some(of), _) => of == iss || is_entra_v1(of, iss),
    }
}

/// Whether `iss` is that of an Entra token of version 1, and `key_issuer` that of version 2 for the
/// same tenant: the same keys sign both, and name the second.
fn is_entra_v1(key_issuer: &str, iss: &str) -> bool {
    let tenant = iss.strip_prefix("https://sts.windows.net/").and_then(|end| end.strip_suffix('/'));
    let of_v2 = key_issuer
        .strip_prefix("https://login.microsoftonline.com/")
        .and_then(|end| end.strip_suffix("/v2.0"));
    tenant.zip(of_v2).is_some_and(|(tenant, of)| is_tenant(tenant) && (of == tenant || of == WORD))
}

fn tenant_at(path: &str, value: &Value) -> Result<String, ConfigError> {
    let text = plain_text(path, value)?;
    if !is_tenant(text) || text == "any" {
        return Err(ConfigError::invalid(path, "must be the id of a tenant").suggest(
            "write the claim `tid` of its tokens, such as '9188040d-6c67-4c5b-b112-36a304b66dad'",
        ));
    }
    Ok(text.to_owned())
}

fn is_tenant(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_entra_signs_both_versions_of_its_own_tenant_alone() {
        let key = "https://login.microsoftonline.com/t-1/v2.0";
        let any = "https://login.microsoftonline.com/{tenantid}/v2.0";
        for key in [key, any] {
            assert!(may_sign(Some(key), "https://sts.windows.net/t-1/", None));
            assert!(may_sign(Some(key), "https://sts.windows.net/t-1/", Some("t-1")));
            assert!(may_sign(Some(key), key, None));
        }
        for iss in [
            "https://sts.windows.net/t-2/",
            "https://sts.windows.net/t-1",
            "https://sts.windows.net//",
            "https://sts.windows.net/t-1/x/",
            "https://sts.windows.net.evil.example/t-1/",
            "http://sts.windows.net/t-1/",
            "https://login.microsoftonline.com/t-2/v2.0",
        ] {
            assert!(!may_sign(Some(key), iss, None), "{iss}");
        }
        let other = "https://login.evil.example/t-1/v2.0";
        assert!(!may_sign(Some(other), "https://sts.windows.net/t-1/", None));
    }
}
