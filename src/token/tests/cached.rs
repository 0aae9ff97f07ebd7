//! A cached token is checked again for everything that can change.

use super::*;
use crate::jose::Compact;
use crate::token::cache::{Cache, Entry};

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
    assert_eq!(verifier.verify(&token, at(NOW_S + 911)).unwrap_err(), TokenError::Expired);
    assert_eq!(verifier.verify(&token, at(NOW_S - 60)).unwrap_err(), TokenError::NotYetValid);
    assert!(verifier.verify(&token, now()).is_ok());
}

#[test]
fn a_known_token_dies_with_its_key() {
    let key = json!({ "kid": "a", "alg": "ES256", "key": key("p256", "privatePem"), "notAfter": NOW_S + 60 });
    let (verifier, signer) = guard(&json!({ "keys": [key] }));
    let token = issue(&signer, "ada");
    assert!(verifier.verify(&token, now()).is_ok());
    assert_eq!(verifier.verify(&token, at(NOW_S + 60)).unwrap_err(), TokenError::KeyTime);
}

#[test]
fn a_key_whose_time_is_to_come_verifies_nothing_and_signs_nothing_before() {
    let of = |kid: &str, pair: &str, more: Value| {
        let mut key = json!({ "kid": kid, "alg": "ES256", "key": key(pair, "privatePem") });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    };
    let mut old = of("old", "p256", json!({ "notAfter": NOW_S + 120 }));
    let mut new = of("new", "p384", json!({ "notBefore": NOW_S + 60 }));
    new["alg"] = json!("ES384");
    let (verifier, signer) = guard(&json!({ "keys": [old.clone(), new.clone()] }));
    let by = |s: u64| signer.issue(Map::new(), IssueOptions::default(), at(s)).unwrap().token;
    let (by_old, by_new) = (by(NOW_S), by(NOW_S + 60));
    let kid = |token: &str| verifier.verify(token, at(NOW_S + 60)).unwrap().key_id.clone().unwrap();
    assert_eq!((&*kid(&by_old), &*kid(&by_new)), ("old", "new"));
    // Both are cached now, and the period of each key still applies.
    assert_eq!(verifier.verify(&by_new, at(NOW_S + 59)).unwrap_err(), TokenError::KeyTime);
    assert_eq!(verifier.verify(&by_old, at(NOW_S + 120)).unwrap_err(), TokenError::KeyTime);
    assert!(verifier.verify(&by_new, at(NOW_S + 120)).is_ok());

    // Without names, the two keys are indistinguishable.
    for key in [&mut old, &mut new] {
        key.as_object_mut().unwrap().remove("kid");
    }
    let error = TokenConfig::parse("jwt", &options(&json!({ "keys": [old, new] }))).unwrap_err();
    assert!(error.to_string().contains("must have a kid"), "{error}");
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
    let times = crate::token::claims::Times {
        issued_us: 0,
        expires_us: 0,
        has_iat: true,
        not_before_us: None,
    };
    let issuer = Arc::clone(&config(&json!({ "secret": secret() })).issuers[0]);
    let header = Compact::read(&token, 8192).unwrap().header;
    let key = issuer.keys.choose(&header, now(), false).unwrap();
    for i in 0..2_000 {
        let (token, known) = (format!("token {i}"), Arc::clone(&known));
        let entry = Entry::new(&token, known, times, Arc::clone(&key), Arc::clone(&issuer));
        cache.put(Arc::new(entry));
        assert!(cache.bytes() <= 64 << 10);
    }
    assert!(cache.get("token 1999").is_some());
}
