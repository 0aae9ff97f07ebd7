//! A revoked token stays refused for as long as it could be accepted, and no longer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, json};

use super::*;
use crate::clock::Now;
use crate::error::ConfigCode;
use crate::keys::Algorithm;
use crate::token::{Claims, Fingerprint, IssueOptions, Signer, TokenConfig, Verified, Verifier};

const NOW_S: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Now {
    Now::at_unix_us(seconds * 1_000_000)
}

fn now() -> Now {
    at(NOW_S)
}

fn list() -> Revocations {
    Revocations::new(Duration::from_secs(DAY))
}

fn token(jti: &str) -> Verified {
    Verified {
        claims: Claims::default(),
        issuer: Arc::from("i"),
        subject: Some("42".to_owned()),
        id: Some(jti.to_owned()),
        session: Some("s1".to_owned()),
        issued_at: NOW_S,
        expires_at: NOW_S + 900,
        key_id: Some(Arc::from("k1")),
        alg: Some(Algorithm::Es256),
        confirmation: None,
        fingerprint: Fingerprint::of_jti(jti),
        text_fingerprint: None,
    }
}

#[test]
fn a_revoked_token_is_refused_and_its_sibling_is_not() {
    let list = list();
    assert_eq!(list.check(&token("a")), Ok(()));
    list.revoke_token("a", Some(NOW_S + 900), now()).unwrap();
    let revoked =
        crate::bearer::TokenError::from(list.check(&token("a")).unwrap_err()).to_refusal();
    assert_eq!((revoked.status, revoked.code), (401, "token_revoked"));
    assert_eq!(list.check(&token("b")), Ok(()));
}

#[test]
fn a_cleared_list_refuses_nothing_and_goes_on() {
    let list = list();
    list.revoke_token("a", Some(NOW_S + 900), now()).unwrap();
    list.revoke_subject("42", None, now()).unwrap();
    list.revoke_session("s1", None, now()).unwrap();
    list.revoke_key("k1").unwrap();
    list.clear();
    assert_eq!(list.check(&token("a")), Ok(()));
    assert_eq!(list.counts(), Counts::default());
    list.revoke_token("a", Some(NOW_S + 900), now()).unwrap();
    assert!(list.check(&token("a")).is_err());
    assert_eq!(list.counts().tokens, 1);
}

#[test]
fn a_revocation_outlives_the_token_by_the_clock_tolerance_and_then_leaves() {
    let list = list();
    list.revoke_token("a", Some(NOW_S + 900), now()).unwrap();
    list.sweep(at(NOW_S + 900 + 59));
    assert!(list.check(&token("a")).is_err());
    list.sweep(at(NOW_S + 900 + 120));
    assert_eq!(list.counts(), Counts::default());
    assert_eq!(list.check(&token("a")), Ok(()));
}

#[test]
fn an_expiry_that_is_wrong_does_not_undo_a_revocation() {
    // The caller guesses the expiry, somewhat too late or too early: the revocation is found all
    // the same.
    let list = list();
    list.revoke_token("a", Some(NOW_S + 3_600), now()).unwrap();
    list.revoke_token("b", None, now()).unwrap();
    assert!(list.check(&token("a")).is_err() && list.check(&token("b")).is_err());
    // A second call with an earlier expiry does not shorten the first.
    list.revoke_token("a", Some(NOW_S + 1), now()).unwrap();
    list.sweep(at(NOW_S + 3_000));
    assert!(list.check(&token("a")).is_err());
    assert_eq!(list.counts().tokens, 2);
}

#[test]
fn times_that_are_none_are_errors_and_not_silence() {
    let list = list();
    for bad in [0, 900, NOW_S * 1000, u64::MAX] {
        assert_eq!(list.revoke_token("a", Some(bad), now()), Err(RevokeError::NotSeconds));
        assert_eq!(list.revoke_subject("42", Some(bad), now()), Err(RevokeError::NotSeconds));
        assert_eq!(list.revoke_session("s1", Some(bad), now()), Err(RevokeError::NotSeconds));
    }
    assert_eq!(list.revoke_subject("42", Some(NOW_S + 1), now()), Err(RevokeError::Future));
    for empty in [
        list.revoke_token("", None, now()),
        list.revoke_subject("", None, now()),
        list.revoke_session("", None, now()),
        list.revoke_key(""),
    ] {
        assert_eq!(empty, Err(RevokeError::Empty));
    }
}

#[test]
fn a_token_that_is_over_takes_no_room() {
    let list = list();
    list.revoke_token("a", Some(NOW_S - 600), now()).unwrap();
    assert_eq!(list.counts().tokens, 0);
}

#[test]
fn an_expiry_in_the_far_future_takes_room_no_longer_than_a_token_can_live() {
    let list = list();
    list.revoke_token("a", Some(NOW_S * 2), now()).unwrap();
    list.sweep(at(NOW_S + DAY));
    assert!(list.check(&token("a")).is_err());
    list.sweep(at(NOW_S + DAY + 300));
    assert_eq!(list.counts().tokens, 0);
}

#[test]
fn a_subject_s_tokens_up_to_a_moment_are_refused_and_later_ones_are_not() {
    let list = list();
    list.revoke_subject("42", None, now()).unwrap();
    let issued = |issued_at| Verified { issued_at, ..token("a") };
    assert!(list.check(&issued(NOW_S - 100)).is_err());
    assert!(list.check(&issued(NOW_S)).is_err());
    assert_eq!(list.check(&issued(NOW_S + 1)), Ok(()));
    assert_eq!(list.check(&Verified { subject: Some("43".to_owned()), ..token("a") }), Ok(()));
    // An earlier moment does not undo a later one.
    list.revoke_subject("42", Some(NOW_S - 5_000), now()).unwrap();
    assert!(list.check(&issued(NOW_S)).is_err());
    list.sweep(at(NOW_S + DAY));
    assert!(list.check(&issued(NOW_S)).is_err());
    list.sweep(at(NOW_S + DAY + 300));
    assert_eq!(list.counts().subjects, 0);
}

#[test]
fn who_changes_a_password_is_logged_out_everywhere_and_logged_in_within_the_same_second() {
    let options = json!({ "issuer": "i", "audience": "a", "secret": "q83vEjRWeJCrze8SNFZ4kFo7mRzV0yGf", "clockTolerance": "0s" });
    let config = Arc::new(TokenConfig::parse("jwt", &options).unwrap());
    let (signer, verifier) =
        (Signer::new(Arc::clone(&config)).unwrap(), Verifier::new(Arc::clone(&config)));
    let list = Revocations::new(config.issuers().next().unwrap().max_lifetime());
    let login = || {
        let claims = json!({ "sub": "42" }).as_object().unwrap().clone();
        let options = IssueOptions { after: list.subject_before("42"), ..IssueOptions::default() };
        signer.issue(claims, options, now()).unwrap().token
    };
    let old = login();
    list.revoke_subject("42", None, now()).unwrap();
    let new = login();
    let next = at(NOW_S + 1);
    let verdict = |token: &str| list.check(&verifier.verify(token, next).unwrap());
    assert!(verdict(&old).is_err());
    assert_eq!(verdict(&new), Ok(()));
}

#[test]
fn a_login_between_two_logouts_everywhere_of_one_second_is_refused() {
    let list = list();
    let issued = |issued_at| Verified { issued_at, ..token("a") };
    let login = || issued(NOW_S.max(list.subject_before("42").unwrap() + 1));
    for _ in 0..3 {
        list.revoke_subject("42", None, now()).unwrap();
        let login = login();
        assert_eq!(list.check(&login), Ok(()));
        list.revoke_subject("42", None, now()).unwrap();
        assert!(list.check(&login).is_err());
    }
    // A time from a clock that was far ahead does not grow further.
    list.revoke_subject("43", None, at(NOW_S + 7_200)).unwrap();
    list.revoke_subject("43", None, now()).unwrap();
    assert_eq!(list.subject_before("43"), Some(NOW_S + 7_200));
}

#[test]
fn a_token_is_revoked_by_its_text_after_it_was_verified() {
    let options =
        json!({ "issuer": "i", "audience": "a", "secret": "q83vEjRWeJCrze8SNFZ4kFo7mRzV0yGf" });
    let config = Arc::new(TokenConfig::parse("jwt", &options).unwrap());
    let judge = Verifier::new(Arc::clone(&config));
    let issued =
        Signer::new(config).unwrap().issue(Map::new(), IssueOptions::default(), now()).unwrap();
    let list = list();
    let revocable = judge.revocable(&issued.token, now()).unwrap();
    list.revoke_fingerprint(revocable.fingerprint, revocable.expires_at, now()).unwrap();
    let verified = judge.verify(&issued.token, now()).unwrap();
    assert!(list.check(&verified).is_err());
    assert_eq!(verified.id.as_deref(), Some(issued.jti.as_str()));
}

#[test]
fn a_session_is_refused_with_the_tokens_that_are_issued_later() {
    let list = list();
    list.revoke_session("s1", Some(NOW_S + 30 * DAY), now()).unwrap();
    let later = Verified { issued_at: NOW_S + 20 * DAY, ..token("z") };
    list.sweep(at(NOW_S + 20 * DAY));
    assert!(list.check(&later).is_err());
    list.sweep(at(NOW_S + 31 * DAY));
    assert_eq!(list.check(&later), Ok(()));
    // A moment that is too early is extended to the longest lifetime of a token.
    list.revoke_session("s1", Some(NOW_S - 5), now()).unwrap();
    list.sweep(at(NOW_S + DAY));
    assert!(list.check(&token("a")).is_err());
}

#[test]
fn an_ended_session_is_kept_as_long_as_sessions_may_go_on() {
    let list = list();
    list.keep_sessions_for(Duration::from_secs(30 * DAY));
    list.revoke_session("s1", None, now()).unwrap();
    // A failover may restore its record on any of these days.
    let later = Verified { issued_at: NOW_S + 29 * DAY, ..token("z") };
    list.sweep(at(NOW_S + 30 * DAY));
    assert!(list.check(&later).is_err() && list.is_session_revoked("s1"));
    list.sweep(at(NOW_S + 31 * DAY));
    assert!(!list.is_session_revoked("s1"));
}

/// Both clocks `by` seconds later, with the wall clock set back by `step_s`.
fn stepped(by: u64, step_s: u64) -> Now {
    Now { unix_us: (NOW_S + by - step_s) * 1_000_000, mono_us: (100 + by) * 1_000_000 }
}

#[test]
fn a_subject_is_revoked_up_to_what_a_clock_has_shown_that_was_set_back_since() {
    let issued = |issued_at| Verified { issued_at, ..token("a") };
    for step_s in [1, 5, 59] {
        let list = list();
        list.look_at_clock(stepped(0, 0));
        list.revoke_subject("42", None, stepped(1, step_s)).unwrap();
        assert!(list.check(&issued(NOW_S)).is_err(), "{step_s}");
        assert_eq!(list.check(&issued(NOW_S + 2)), Ok(()));
    }
    // After a step that is larger than clocks may differ, a login would be impossible.
    for step_s in [90, 1_200] {
        let list = list();
        list.look_at_clock(stepped(0, 0));
        let revoke = |after| list.revoke_subject("42", None, stepped(after, step_s));
        assert_eq!(revoke(1), Err(RevokeError::ClockSetBack), "{step_s}");
        assert_eq!(revoke(step_s - 65), Err(RevokeError::ClockSetBack));
        assert_eq!(list.check(&issued(NOW_S)), Ok(()));
        // `before` is explicit, or the clock has caught up.
        list.revoke_subject("42", Some(NOW_S - 1), stepped(1, step_s)).unwrap();
        assert!(list.check(&issued(NOW_S - 1)).is_err());
        revoke(step_s).unwrap();
        assert!(list.check(&issued(NOW_S)).is_err());
    }
}

#[test]
fn what_is_revoked_while_the_clock_is_set_back_is_refused_until_it_is_over() {
    let list = list();
    list.look_at_clock(stepped(0, 0));
    for (after, step_s) in [(1, 7_200), (3_600, 10_800)] {
        let back = stepped(after, step_s);
        list.revoke_token("a", Some(NOW_S + DAY + after), back).unwrap();
        list.revoke_token("b", None, back).unwrap();
        list.revoke_session("s1", None, back).unwrap();
        let other = |jti: &str| Verified { session: None, ..token(jti) };
        for later in [1, DAY / 2, DAY - 60, DAY + after] {
            list.sweep(stepped(later, 0));
            assert!(list.check(&other("a")).is_err(), "{later}");
            assert!(list.check(&other("b")).is_err(), "{later}");
            assert!(list.check(&token("z")).is_err(), "{later}");
        }
    }
}

#[test]
fn a_revoked_key_stays_revoked() {
    let list = list();
    list.revoke_key("k1").unwrap();
    list.sweep(at(NOW_S + 1_000 * DAY));
    assert!(list.check(&token("a")).is_err());
    assert_eq!(list.check(&Verified { key_id: Some(Arc::from("k2")), ..token("a") }), Ok(()));
    assert_eq!(list.check(&Verified { key_id: None, ..token("a") }), Ok(()));
}

#[test]
fn a_name_is_not_mistaken_for_another_kind_of_name() {
    let list = list();
    list.revoke_subject("x", None, now()).unwrap();
    list.revoke_session("y", None, now()).unwrap();
    list.revoke_key("z").unwrap();
    let other = Verified {
        subject: Some("y".to_owned()),
        session: Some("z".to_owned()),
        key_id: Some(Arc::from("x")),
        ..token("x")
    };
    assert_eq!(list.check(&other), Ok(()));
}

#[test]
fn two_hundred_thousand_revocations_are_all_kept_within_24_bytes_each_and_all_leave() {
    let list = list();
    let mut most = 0;
    for i in 0..200_000_u64 {
        let expires_at = NOW_S + 60 + (i * 7_919) % DAY;
        list.revoke_token(&i.to_string(), Some(expires_at), now()).unwrap();
        if i >= 10_000 {
            most = most.max(list.counts_per_entry_times_100());
        }
    }
    assert!(most <= 2_400, "{most}");
    assert_eq!(list.counts().tokens, 200_000);
    assert!((0..200_000_u64).all(|i| list.check(&token(&i.to_string())).is_err()));
    assert!((200_000..220_000_u64).all(|i| list.check(&token(&i.to_string())).is_ok()));
    // Half of the time later, entries that are over are gone and all others are there.
    let half = NOW_S + DAY / 2;
    list.sweep(at(half));
    for i in 0..200_000_u64 {
        let expires_at = NOW_S + 60 + (i * 7_919) % DAY;
        let revoked = list.check(&token(&i.to_string())).is_err();
        assert!(
            if expires_at + 60 >= half { revoked } else { expires_at + 180 > half || !revoked },
            "{i}"
        );
    }
    list.sweep(at(NOW_S + 2 * DAY));
    assert_eq!(list.counts(), Counts::default());
}

#[test]
fn revocations_by_many_threads_are_all_kept() {
    let list = list();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let list = &list;
            scope.spawn(move || {
                for i in 0..5_000 {
                    let jti = format!("{thread}-{i}");
                    list.revoke_token(&jti, Some(NOW_S + 900), at(NOW_S + i / 100)).unwrap();
                    assert!(list.check(&token(&jti)).is_err());
                }
            });
        }
    });
    assert_eq!(list.counts().tokens, 20_000);
}

#[test]
fn options_of_a_shared_list_are_refused_with_the_reason() {
    assert!(RevocationConfig::parse("revocation", &json!({}), false).is_ok());
    for key in ["mode", "maxStaleness", "onStale"] {
        let error = RevocationConfig::parse("revocation", &json!({ key: "x" }), false).unwrap_err();
        assert_eq!(error.code(), ConfigCode::ConflictingOptions);
        assert!(error.to_string().contains("shared store"), "{error}");
    }
    let error =
        RevocationConfig::parse("revocation", &json!({ "maxStalenes": 1 }), false).unwrap_err();
    assert_eq!(error.code(), ConfigCode::UnknownOption);
    assert!(RevocationConfig::parse("revocation", &json!("on"), false).is_err());
}

impl Revocations {
    fn counts_per_entry_times_100(&self) -> usize {
        let counts = self.counts();
        counts.token_bytes * 100 / counts.tokens
    }
}
