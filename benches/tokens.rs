//! What the token layer adds to a signature check: a whole uncached verification beside the bare
//! call of `aws-lc-rs` with the same key, message and signature, in turns within one process.
//! `cargo bench --bench tokens`
//!
//! A ratio is taken within each round, then the median over the rounds: what disturbs the machine
//! disturbs neighbours alike.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement of real time, and no part of the library"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keepstone::clock::Now;
use keepstone::token::{IssueOptions, Signer, TokenConfig, Verifier};
use serde_json::json;

const ROUNDS: usize = 41;
const CALLS: u32 = 400;

fn main() {
    // `cargo bench` passes flags of its own; `cargo test --benches` only wants to see it start.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let p256 = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p384 = EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let ed_pair = Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap();
    println!(
        "{ROUNDS} rounds of {CALLS} calls each; us per call, medians; ratio: median (least-greatest)"
    );
    compare(
        "RS256",
        rsa.as_der().unwrap().as_ref(),
        ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, rsa.public_key().as_ref()),
    );
    compare(
        "ES256",
        p256.to_pkcs8v1().unwrap().as_ref(),
        ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, p256.public_key().as_ref()),
    );
    compare(
        "ES384",
        p384.to_pkcs8v1().unwrap().as_ref(),
        ParsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, p384.public_key().as_ref()),
    );
    compare(
        "EdDSA",
        ed.as_ref(),
        ParsedPublicKey::new(&signature::ED25519, ed_pair.public_key().as_ref()),
    );
}

fn compare(alg: &str, pkcs8: &[u8], raw: Result<ParsedPublicKey, aws_lc_rs::error::KeyRejected>) {
    let raw = raw.unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(pkcs8)
    );
    let config = |cached: bool| {
        let mut options = json!({
            "issuer": "https://secure.myapp.com", "audience": "my-backend-app",
            "keys": [{ "kid": "2026-11", "alg": alg, "key": pem }],
        });
        if !cached {
            options["cache"] = false.into();
        }
        Arc::new(TokenConfig::parse("jwt", &options).unwrap())
    };
    let claims = json!({
        "sub": "user-42", "role": "admin", "scope": "read:users write:users", "sid": "8f14e45fceea167a5a36dedd4bea2543",
    });
    let claims = claims.as_object().unwrap().clone();
    let signer = Signer::new(config(false)).unwrap();
    let token = signer.issue(claims, IssueOptions::default(), Now::read()).unwrap().token;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (uncached, cached) = (Verifier::new(config(false)), Verifier::new(config(true)));

    let bare = || raw.verify_sig(black_box(message.as_bytes()), black_box(&signature)).is_ok();
    let whole = || uncached.verify(black_box(&token), Now::read()).is_ok();
    let again = || cached.verify(black_box(&token), Now::read()).is_ok();
    assert!(bare() && whole() && again());
    let mut rounds: Vec<[f64; 3]> = Vec::new();
    for _ in 0..=ROUNDS {
        rounds.push([time(bare), time(whole), time(again)]);
    }
    // The first round warms up.
    rounds.remove(0);
    let of = |i: usize| median(rounds.iter().map(|round| round[i]).collect());
    let mut ratios: Vec<f64> = rounds.iter().map(|round| round[1] / round[0]).collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "{alg}: aws-lc alone {:.2}, whole verification {:.2}, ratio {:.3} ({:.3}-{:.3}); known token {:.3}",
        of(0),
        of(1),
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1],
        of(2),
    );
}

/// Microseconds a call.
fn time(call: impl Fn() -> bool) -> f64 {
    let began = Instant::now();
    let mut good = 0;
    for _ in 0..CALLS {
        good += u32::from(black_box(call()));
    }
    let took = began.elapsed();
    assert_eq!(good, CALLS);
    took.as_secs_f64() * 1e6 / f64::from(CALLS)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
