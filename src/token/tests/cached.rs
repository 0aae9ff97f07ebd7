//! A token that was verified before is still asked everything that can change.

use super::*;
use crate::token::cache::{Cache, Entry};
use crate::token::reader::Compact;

fn guard(more: &Value) -> (Verifier, Signer) {
    let config = Arc::new(TokenConfig::parse("jwt", &options(more)).unwrap());
    (Verifier::new(Arc::clone(&config)), Signer::new(config).unwrap())
}

fn issue(signer: &Signer, sub: &str) -> String {
    let claims = json!({ "sub": sub }).as_object().unwrap().clone();
    signer.issue(claims, IssueOptions::default(), now()).unwrap().token
}

#[test]
fn a_known_token_expires_and_is_not_valid_before_its_time() {
    let (verifier, signer) = guard(&json!({ "secret": secret() }));
    let token = issue(&signer, "ada");
    let first = verifier.verify(&token, now()).unwrap();
    let again = verifier.verify(&token, now()).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the second look is at what the first one found");
    assert_eq!(verifier.verify(&token, at(NOW_S + 911)).unwrap_err(), TokenDenial::Expired);
    assert_eq!(verifier.verify(&token, at(NOW_S - 60)).unwrap_err(), TokenDenial::NotYetValid);
    assert!(verifier.verify(&token, now()).is_ok());
}

#[test]
fn a_known_token_dies_with_its_key() {
    let key = json!({ "kid": "a", "alg": "ES256", "key": key("p256", "privatePem"), "notAfter": NOW_S + 60 });
    let (verifier, signer) = guard(&json!({ "keys": [key] }));
    let token = issue(&signer, "ada");
    assert!(verifier.verify(&token, now()).is_ok());
    assert_eq!(verifier.verify(&token, at(NOW_S + 60)).unwrap_err(), TokenDenial::Key);
}

#[test]
fn a_token_that_differs_from_a_known_one_in_one_character_is_not_known() {
    let (verifier, signer) = guard(&json!({ "secret": secret() }));
    let token = issue(&signer, "ada");
    verifier.verify(&token, now()).unwrap();
    for at in 0..token.len() {
        let mut other = token.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        assert!(
            verifier.verify(&String::from_utf8(other).unwrap(), now()).is_err(),
            "character {at}"
        );
    }
}

#[test]
fn the_cache_keeps_to_its_size_and_can_be_switched_off() {
    let (verifier, signer) = guard(&json!({ "secret": secret(), "cache": false }));
    let token = issue(&signer, "ada");
    let first = verifier.verify(&token, now()).unwrap();
    assert!(!Arc::ptr_eq(&first, &verifier.verify(&token, now()).unwrap()));

    let known = first;
    let cache = Cache::new(64 << 10);
    let times = crate::token::claims::Times { issued: 0, expires: 0, not_before: None };
    let issuer = Arc::clone(&config(&json!({ "secret": secret() })).issuers[0]);
    let header = Compact::read(&token).unwrap().header;
    let key = issuer.keys.choose(&header, now(), false).unwrap();
    for i in 0..2_000 {
        let (token, known) = (format!("token {i}"), Arc::clone(&known));
        cache.put(Entry::new(&token, known, times, Arc::clone(&key), Arc::clone(&issuer)));
        assert!(cache.bytes() <= 64 << 10);
    }
    assert!(cache.get("token 1999").is_some());
}
