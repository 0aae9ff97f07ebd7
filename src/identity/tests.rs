use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::api_key::{ApiKeys, CHECKSUM_LEN, RANDOM_LEN, crc32};
use super::claims::MAX_BYTES;
use super::*;
use crate::clock::Now;
use crate::config::options::{FUNCTION, Options};
use crate::error::ConfigError;
use crate::token::Verified;

const NOW_S: u64 = 1_790_000_000;

fn now() -> Now {
    Now::at_unix_us(NOW_S * 1_000_000)
}

fn parse(options: &Value) -> Result<IdentitySources, ConfigError> {
    let options = Options::read("", options, &["identify", "apiKeys"]).unwrap();
    IdentitySources::parse(&options, true)
}

fn sources() -> IdentitySources {
    let keys = json!({ "prefix": ["acme_live", "acme"], "lookup": FUNCTION });
    parse(&json!({ "identify": FUNCTION, "apiKeys": keys })).unwrap()
}

fn keys() -> ApiKeys {
    sources().api_keys.unwrap()
}

fn new_key() -> NewKey {
    keys().create(None).unwrap().unwrap()
}

fn judge_claims(claims: &str) -> Result<std::sync::Arc<Verified>, IdentityError> {
    let sources = sources();
    sources.judge(&sources.ask_identify().unwrap(), claims, now())
}

fn judge_record(key: &str, record: &Value) -> Result<std::sync::Arc<Verified>, IdentityError> {
    let sources = sources();
    sources.judge(&sources.ask_key(key)?, &record.to_string(), now())
}

#[test]
fn the_names_of_the_sources_are_reserved_among_issuers() {
    let names = IdentitySource::ALL.map(IdentitySource::issuer);
    assert_eq!(names, crate::token::RESERVED);
    for source in IdentitySource::ALL {
        assert_eq!(IdentitySource::of_issuer(source.issuer()), Some(source));
    }
    assert_eq!(IdentitySource::of_issuer("https://id.example.com"), None);
}

#[test]
fn the_checksum_is_that_of_zlib() {
    // The check value of the catalogue of CRC algorithms.
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    assert_eq!(crc32(b""), 0);
}

#[test]
fn a_new_key_has_the_form_that_scanners_look_for_and_passes() {
    for prefix in ["acme_live", "acme"] {
        let made = keys().create(Some(prefix)).unwrap().unwrap();
        let rest = made.key.strip_prefix(prefix).unwrap().strip_prefix('_').unwrap();
        assert_eq!(rest.len(), RANDOM_LEN + CHECKSUM_LEN);
        assert!(rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(keys().digest(&made.key).as_ref(), Ok(&made.digest));
        for text in [&made.key, &made.digest, &made.id] {
            assert_eq!(keys().id_of(text).as_ref(), Some(&made.id));
        }
    }
    assert!(keys().create(Some("other")).unwrap().is_none());
    assert_ne!(new_key().key, new_key().key);
    assert!(!format!("{:?}", new_key()).contains("acme"), "a log does not get the key");
}

#[test]
fn a_key_that_was_not_made_here_is_refused_before_anybody_is_asked() {
    let good = new_key().key;
    let swapped = |at: usize, to: char| {
        let mut chars: Vec<char> = good.chars().collect();
        chars[at] = to;
        chars.into_iter().collect::<String>()
    };
    let last = good.len() - 1;
    let other = |at: usize| if good.as_bytes()[at] == b'a' { 'b' } else { 'a' };
    for (text, wanted) in [
        (swapped(12, other(12)), IdentityError::KeyChecksum),
        (swapped(last, other(last)), IdentityError::KeyChecksum),
        (good.replace("acme_live", "acme_test"), IdentityError::KeyForm),
        (good.replace("acme_live", "acme"), IdentityError::KeyChecksum),
        (good.replace("acme_live", "ACME_LIVE"), IdentityError::KeyForm),
        (good.to_uppercase(), IdentityError::KeyForm),
        (format!("{good}0"), IdentityError::KeyForm),
        (format!(" {good}"), IdentityError::KeyForm),
        (format!("{good}\n"), IdentityError::KeyForm),
        (good.chars().take(last).collect(), IdentityError::KeyForm),
        (swapped(12, '-'), IdentityError::KeyForm),
        (swapped(12, 'é'), IdentityError::KeyForm),
        (String::new(), IdentityError::KeyForm),
        ("acme_live_".to_owned(), IdentityError::KeyForm),
        ("acme_".to_owned(), IdentityError::KeyForm),
        (format!("{good},{good}"), IdentityError::KeyForm),
    ] {
        assert_eq!(keys().digest(&text), Err(wanted), "{text:?}");
    }
}

#[test]
fn claims_become_the_identity_that_a_token_gives() {
    let claims = json!({
        "sub": "ada", "role": "admin", "sid": "s1", "iat": NOW_S - 60, "exp": NOW_S + 60, "nbf": NOW_S
    });
    let verified = judge_claims(&claims.to_string()).unwrap();
    assert_eq!(&*verified.issuer, "identify");
    assert_eq!(verified.subject.as_deref(), Some("ada"));
    assert_eq!(verified.session.as_deref(), Some("s1"));
    assert_eq!((verified.issued_at, verified.expires_at), (NOW_S - 60, NOW_S + 60));
    assert_eq!(verified.alg, None);
    assert_eq!(Value::Object(verified.claims.map().clone()), claims);
    let plain = judge_claims(r#"{"sub":"ada"}"#).unwrap();
    assert_eq!((plain.issued_at, plain.expires_at), (0, 0));
}

#[test]
fn claims_that_are_not_fully_understood_are_a_fault_of_the_application() {
    let deep = format!(r#"{{"sub":"a","x":{}1{}}}"#, "[".repeat(16), "]".repeat(16));
    let large = json!({ "sub": "a", "x": "y".repeat(MAX_BYTES) }).to_string();
    for (claims, wanted) in [
        ("[]", "form"),
        ("5", "form"),
        ("\"ada\"", "form"),
        ("true", "form"),
        ("", "form"),
        (r#"{"sub":"a"} x"#, "form"),
        (r#"{"sub":"a","sub":"b"}"#, "form"),
        (r#"{"sub":"a","__proto__":{"role":"admin"}}"#, "form"),
        (r#"{"sub":"a","id":9007199254740993}"#, "form"),
        (deep.as_str(), "form"),
        (large.as_str(), "too_large"),
        ("{}", "claim_missing:sub"),
        (r#"{"sub":""}"#, "claim_kind:sub"),
        (r#"{"sub":7}"#, "claim_kind:sub"),
        (r#"{"sub":null}"#, "claim_kind:sub"),
        (r#"{"sub":["a"]}"#, "claim_kind:sub"),
        (r#"{"sub":"a","sid":""}"#, "claim_kind:sid"),
        (r#"{"sub":"a","jti":5}"#, "claim_kind:jti"),
        (r#"{"sub":"a","exp":"never"}"#, "claim_kind:exp"),
        (r#"{"sub":"a","exp":1790000000000}"#, "claim_milliseconds:exp"),
        (r#"{"sub":"a","iat":1790000000000}"#, "claim_milliseconds:iat"),
        (r#"{"sub":"a","exp":1790000000,"iat":1790000000}"#, "claim_order:exp"),
        (r#"{"sub":"a","cnf":{"jkt":"x"}}"#, "claim_kind:cnf"),
    ] {
        let error = judge_claims(claims).unwrap_err();
        assert_eq!(error.reason(), format!("identify_result:{wanted}"), "{claims}");
        let refusal = error.to_refusal(crate::bearer::Scheme::Bearer);
        assert_eq!((refusal.status, refusal.code), (500, "internal_error"));
    }
}

#[test]
fn the_times_of_claims_are_judged() {
    let judged = |name: &str, at: u64| {
        judge_claims(&json!({ "sub": "a", name: at }).to_string()).map(|_| ())
    };
    let source = IdentitySource::Identify;
    assert_eq!(judged("exp", NOW_S), Err(IdentityError::Expired(source)));
    assert_eq!(judged("exp", NOW_S + 1), Ok(()));
    assert_eq!(judged("nbf", NOW_S + 1), Err(IdentityError::NotYetValid(source)));
    assert_eq!(judged("iat", NOW_S + 60), Ok(()));
    assert_eq!(judged("iat", NOW_S + 61), Err(IdentityError::NotYetValid(source)));
}

#[test]
fn a_login_ends_with_its_longest_life_so_that_no_revocation_lapses_before_it() {
    let options = json!({ "identify": { "claims": FUNCTION, "maxLifetime": "1h" } });
    let sources = parse(&options).unwrap();
    assert_eq!(sources.max_lifetime(IdentitySource::Identify), Duration::from_secs(3600));
    let judged = |iat: u64| {
        let claims = json!({ "sub": "a", "iat": iat }).to_string();
        sources.judge(&sources.ask_identify().unwrap(), &claims, now()).map(|_| ())
    };
    assert_eq!(judged(NOW_S - 3600), Ok(()));
    assert_eq!(judged(NOW_S - 3601), Err(IdentityError::Expired(IdentitySource::Identify)));
}

#[test]
fn a_whole_number_is_a_subject_only_where_the_option_says_so() {
    let options = json!({ "identify": { "claims": FUNCTION, "subject": "lenient" } });
    let sources = parse(&options).unwrap();
    let judge = |sub: &str| {
        let claims = format!(r#"{{"sub":{sub}}}"#);
        sources.judge(&sources.ask_identify().unwrap(), &claims, now())
    };
    assert_eq!(judge("7").unwrap().subject.as_deref(), Some("7"));
    for bad in ["-7", "7.5", "true", "\"\""] {
        assert!(judge(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_record_gives_the_claims_of_its_key() {
    let made = new_key();
    let record = json!({ "digest": made.digest, "sub": "ada", "claims": { "scope": "read" }, "exp": NOW_S + 1 });
    let verified = judge_record(&made.key, &record).unwrap();
    assert_eq!(&*verified.issuer, "api-key");
    assert_eq!(verified.id.as_deref(), Some(made.id.as_str()));
    let claims = json!({ "sub": "ada", "scope": "read", "exp": NOW_S + 1 });
    assert_eq!(Value::Object(verified.claims.map().clone()), claims);
    // The user's own claims can't choose the name that the key is revoked by.
    let other = judge_record(&made.key, &json!({ "digest": made.digest, "sub": "bob" })).unwrap();
    assert_eq!(other.fingerprint, verified.fingerprint);
}

#[test]
fn a_record_of_another_key_or_of_another_form_gives_no_identity() {
    let (made, other) = (new_key(), new_key());
    let digest = &made.digest;
    let expired = IdentityError::Expired(IdentitySource::ApiKey);
    assert_eq!(
        judge_record(&made.key, &json!({ "digest": other.digest, "sub": "a" })).unwrap_err(),
        IdentityError::KeyMismatch
    );
    assert_eq!(
        judge_record(&made.key, &json!({ "digest": digest, "sub": "a", "exp": NOW_S }))
            .unwrap_err(),
        expired
    );
    for (record, wanted) in [
        (json!({ "sub": "a" }), "claim_missing:digest"),
        (json!({ "digest": 5, "sub": "a" }), "claim_kind:digest"),
        (json!({ "digest": digest }), "claim_missing:sub"),
        (json!({ "digest": digest, "sub": "a", "expires": 1 }), "unknown_member"),
        (json!({ "digest": digest, "sub": "a", "claims": [] }), "claim_kind:claims"),
        (
            json!({ "digest": digest, "sub": "a", "claims": { "sub": "root" } }),
            "reserved_claim:sub",
        ),
        (json!({ "digest": digest, "sub": "a", "claims": { "jti": "x" } }), "reserved_claim:jti"),
        (json!({ "digest": digest, "sub": "a", "claims": { "cnf": {} } }), "claim_kind:cnf"),
        (json!({ "digest": digest, "sub": "a", "claims": { "sid": 5 } }), "claim_kind:sid"),
        (json!([digest]), "form"),
    ] {
        let reason = judge_record(&made.key, &record).unwrap_err().reason();
        assert_eq!(reason, format!("api_key_record:{wanted}"), "{record}");
    }
}

#[test]
fn options_that_are_wrong_are_refused_by_name() {
    let keys = |more: &Value| {
        let mut options = json!({ "prefix": "acme", "lookup": FUNCTION });
        options.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        json!({ "apiKeys": options })
    };
    for (options, path) in [
        (json!({ "identify": true }), "identify"),
        (json!({ "identify": { "timeout": "1s" } }), "identify.claims"),
        (json!({ "identify": { "claims": "x" } }), "identify.claims"),
        (json!({ "identify": { "claims": FUNCTION, "timeout": "2m" } }), "identify.timeout"),
        (json!({ "identify": { "claims": FUNCTION, "subject": 1 } }), "identify.subject"),
        (json!({ "apiKeys": { "lookup": FUNCTION } }), "apiKeys.prefix"),
        (json!({ "apiKeys": { "prefix": "acme" } }), "apiKeys.lookup"),
        (keys(&json!({ "prefix": "a" })), "apiKeys.prefix"),
        (keys(&json!({ "prefix": "Acme" })), "apiKeys.prefix"),
        (keys(&json!({ "prefix": "acme_" })), "apiKeys.prefix"),
        (keys(&json!({ "prefix": "acme__live" })), "apiKeys.prefix"),
        (keys(&json!({ "prefix": "1acme" })), "apiKeys.prefix"),
        (keys(&json!({ "prefix": [] })), "apiKeys.prefix"),
        (keys(&json!({ "prefix": ["acme", "acme"] })), "apiKeys.prefix[1]"),
        (keys(&json!({ "header": "a b" })), "apiKeys.header"),
        (keys(&json!({ "header": "Cookie" })), "apiKeys.header"),
        (keys(&json!({ "header": "Authorization" })), "apiKeys.header"),
        (keys(&json!({ "header": "Accept" })), "apiKeys.header"),
        (keys(&json!({ "header": "content-language" })), "apiKeys.header"),
        (keys(&json!({ "header": "Sec-Fetch-Site" })), "apiKeys.header"),
        (keys(&json!({ "header": "x-forwarded-for" })), "apiKeys.header"),
        (keys(&json!({ "header": "x-a", "scheme": "ApiKey" })), "apiKeys.header"),
        (keys(&json!({ "scheme": "Basic" })), "apiKeys.scheme"),
        (keys(&json!({ "cacheFor": "2h" })), "apiKeys.cacheFor"),
        (keys(&json!({ "cacheFor": 10 })), "apiKeys.cacheFor"),
    ] {
        assert_eq!(parse(&options).unwrap_err().path(), path, "{options}");
    }
    let ask = parse(&keys(&json!({ "cacheFor": "10s", "timeout": "1s" }))).unwrap();
    let made = ask.api_keys.as_ref().unwrap().create(None).unwrap().unwrap();
    let ask = ask.ask_key(&made.key).unwrap();
    assert_eq!(ask.timeout, Duration::from_secs(1));
    assert_eq!(ask.key, Some((made.digest, Duration::from_secs(10))));
}

proptest! {
    #[test]
    fn no_text_but_a_made_key_passes(text in "\\PC{0,80}|acme(_live)?_[0-9A-Za-z]{40,52}") {
        prop_assert!(keys().digest(&text).is_err());
        let _ = keys().id_of(&text);
    }

    #[test]
    fn every_changed_character_of_a_key_is_noticed(at in 0_usize..59, to in "[0-9A-Za-z_]") {
        let made = new_key();
        let mut changed = made.key.clone();
        changed.replace_range(at..=at, &to);
        prop_assert_eq!(keys().digest(&changed).is_ok(), changed == made.key);
    }

    #[test]
    fn no_result_makes_the_judge_panic(text in "\\PC{0,60}|\\{(\"(sub|exp|iat|sid|x)\":(\"a\"|5|1e400|null|\\[\\]),?){0,4}\\}") {
        if let Ok(verified) = judge_claims(&text) {
            prop_assert!(verified.subject.as_deref().is_some_and(|subject| !subject.is_empty()));
        }
    }
}
