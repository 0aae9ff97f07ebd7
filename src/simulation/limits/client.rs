//! A client with its own key, whose clock is right.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::super::process::Process;
use super::super::redis::EPOCH_US;

#[derive(Debug)]
pub(crate) struct Client {
    pair: Ed25519KeyPair,
    token: String,
    /// The value of its header `Authorization`.
    pub(crate) authorization: String,
    /// The number of proofs so far: two proofs of one moment must differ.
    made: AtomicU64,
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Client {
    /// A client with a token that `process` has issued.
    pub(crate) fn new(process: &Process) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("it is a seed");
        let x = text(pair.public_key());
        let named = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let jkt = text(digest(&SHA256, named.as_bytes()));
        let mut claims = Map::from_iter([("sub".to_owned(), Value::from("ada"))]);
        claims.insert("cnf".to_owned(), json!({ "jkt": jkt }));
        let token = process.issue_with(claims);
        Self { pair, authorization: format!("DPoP {token}"), token, made: AtomicU64::default() }
    }

    /// Sends a proof to a process and returns the code of the answer.
    pub(crate) async fn show(&self, process: &Process, proof: &str) -> &'static str {
        let headers = [("Authorization", self.authorization.as_str()), ("DPoP", proof)];
        process.ask_for("/proof", "192.0.2.1", &headers).await.0.code()
    }

    /// A proof made at `true_us`, for a request that a process sees as `GET /proof`.
    pub(crate) fn proof(&self, true_us: u64, nonce: Option<&str>) -> String {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": text(self.pair.public_key()) });
        let header = json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": jwk });
        let made_us = EPOCH_US + true_us;
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut claims = json!({
            "jti": format!("p-{number}"), "htm": "GET", "htu": "http://api.example/proof",
            "iat": made_us / 1_000_000, "ath": text(digest(&SHA256, self.token.as_bytes())),
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = nonce.into();
        }
        let signed = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        let signature = text(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
