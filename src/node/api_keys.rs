//! `guard.apiKeys`: new keys, and their digests. `revoke.rs` revokes them.

use napi_derive::napi;
use serde_json::json;

use super::guard::{ErrorPayload, guard_of, write};
use crate::guard::Tokens;
use crate::identity::ApiKeys;

/// The option `apiKeys` of a guard.
pub(super) fn keys_of(tokens: &Tokens) -> Result<&ApiKeys, ErrorPayload> {
    tokens.sources.api_keys.as_ref().ok_or_else(missing)
}

fn missing() -> ErrorPayload {
    ErrorPayload::new(
        "ERR_MISSING_OPTION",
        "`apiKeys` must be set on the guard to work with API keys",
    )
}

/// Makes a key with `prefix`, by default the first one of the option. Returns
/// `{key, digest, id}`.
#[napi(catch_unwind)]
pub fn api_key_create(guard: f64, prefix: Option<String>) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let keys = keys_of(opened.tokens.as_ref().ok_or_else(missing)?)?;
        let made = keys.create(prefix.as_deref()).map_err(|_| {
            ErrorPayload::new("ERR_INTERNAL", "the operating system gives no random bytes")
        })?;
        let made = made.ok_or_else(|| {
            let why = "`options.prefix` must be one of `apiKeys.prefix`";
            ErrorPayload::new("ERR_INVALID_ARGUMENT", why)
        })?;
        Ok(json!({ "key": made.key, "digest": made.digest, "id": made.id }))
    })())
}

/// The digest of a key.
#[napi(catch_unwind)]
pub fn api_key_digest(guard: f64, key: String) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let keys = keys_of(opened.tokens.as_ref().ok_or_else(missing)?)?;
        let digest = keys.digest(&key).map_err(|_| {
            let why =
                "`key` must be an API key of this guard: its prefix, form and checksum must fit";
            ErrorPayload::new("ERR_INVALID_ARGUMENT", why)
        })?;
        Ok(digest.into())
    })())
}
