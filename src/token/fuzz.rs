//! The body of the fuzz target for tokens. It is here so that the tests run it too.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::bearer::TokenError;
use crate::bearer::credentials;
use crate::binding::{ProofRequest, ProofUrl, read_proof};
use crate::clock::Now;
use crate::json::object;
use crate::token::config::TokenConfig;
use crate::token::verify::Verifier;

/// Feeds `data` to every reader of a request's token or proof. No reader may panic, and no token or
/// proof may be accepted.
///
/// # Panics
///
/// If an unsigned token or a proof passes, or if the two JSON readers differ.
pub fn fuzz_token(data: &[u8]) {
    static VERIFIER: OnceLock<Option<Verifier>> = OnceLock::new();
    let Ok(text) = std::str::from_utf8(data) else { return };
    let verifier = VERIFIER.get_or_init(|| {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok()?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let options = json!({ "issuer": "fuzz", "audience": "fuzz", "secret": secret });
        TokenConfig::parse("jwt", &options).ok().map(|config| Verifier::new(Arc::new(config)))
    });
    let Some(verifier) = verifier else { return };
    let now = Now::at_unix_us(1_800_000_000_000_000);
    let _ = credentials(text);
    let (map, members) = (object::read_object(text), object::read_members(text));
    assert_eq!(map.is_ok(), members.is_ok(), "one reader takes what the other refuses");
    let denial = verifier.verify(text, now).map(|_| ()).err();
    assert!(denial.is_some(), "a token passed that nobody signed");
    let _ = denial.as_ref().map(TokenError::to_refusal);
    let _ = verifier.revocable(text, now);
    let _ = ProofUrl::read(text);
    let asked = ProofRequest {
        method: "GET",
        url: None,
        token: text,
        now,
        ahead_us: 0,
        forgotten_until_us: 0,
    };
    assert!(read_proof(text, &asked).is_err(), "a proof passed that is for no URL");
}
