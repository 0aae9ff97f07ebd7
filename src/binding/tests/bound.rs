//! Bindings of tokens, nonces, and used proofs.

use std::time::Duration;

use crate::binding::tests::{judge, judge_after, judge_at, proof};
use crate::binding::{
    ClockRollback, Confirmation, Freshness, Nonces, Proof, ProofError, ProofId, ReplayCache,
    ReplayStep, Thumbprint, Use,
};
use crate::store::{MemoryConfig, MemoryStore};
use crate::token::tests::*;

#[test]
fn a_binding_that_is_not_understood_is_none() {
    let thumbprint = segment([7; 32]);
    assert!(Confirmation::read(&json!({ "jkt": thumbprint })).is_some());
    let both = json!({ "jkt": thumbprint, "x5t#S256": thumbprint });
    assert_eq!(Confirmation::read(&both).unwrap().name(), "dpop+mtls");
    for bad in [
        json!(null),
        json!({}),
        json!([]),
        json!("x"),
        json!({ "jkt": "x" }),
        json!({ "jkt": null }),
        json!({ "jkt": segment([7; 31]) }),
        json!({ "jkt": format!("{thumbprint}=") }),
        json!({ "jkt": [thumbprint] }),
        json!({ "JKT": thumbprint }),
        json!({ "x5t": thumbprint }),
        json!({ "x5t#s256": thumbprint }),
        json!({ "jwk": {} }),
        json!({ "kid": "a" }),
        json!({ "jkt": thumbprint, "kid": "a" }),
    ] {
        assert_eq!(Confirmation::read(&bad), None, "{bad}");
    }
}

#[test]
fn a_bound_token_is_no_bearer_token() {
    let verifier = with_secret();
    let token = hs256_claims(&claims_with(&json!({ "cnf": { "jkt": segment([7; 32]) } })));
    assert_eq!(denial(&verifier, &token), TokenError::Bound);
    // Nor when it is cached.
    assert!(verifier.verify_bound(&token, now()).is_ok());
    assert_eq!(denial(&verifier, &token), TokenError::Bound);
}

fn nonces(options: &Value) -> Nonces {
    let config = config(&json!({ "secret": secret(), "dpopNonce": options }));
    let Ok(config) = Arc::try_unwrap(config) else { panic!("shared") };
    config.presentation.nonces.unwrap()
}

#[test]
fn a_nonce_is_good_for_its_time_in_every_process_with_its_secret() {
    let agreed = json!({ "secret": "Zq4vT8mK2pXw9RbN6yLsGd3hJf7cUeAa", "lifetime": "10m" });
    let (here, there) = (nonces(&agreed), nonces(&agreed));
    let nonce = here.current(now());
    let later = |seconds| there.judge(&nonce, at(NOW_S + seconds));
    // Spans of five minutes; this second is the first of a span.
    assert_eq!(
        [later(0), later(299), later(300), later(599), later(600)],
        [
            Freshness::Current,
            Freshness::Current,
            Freshness::Aging,
            Freshness::Aging,
            Freshness::Unknown,
        ]
    );
    assert_eq!(there.judge(&nonce, at(NOW_S - 1)), Freshness::Aging, "by a clock that is ahead");
    assert_eq!(there.judge(&nonce, at(NOW_S - 301)), Freshness::Unknown);
    let other = nonces(&json!({ "secret": "Aq4vT8mK2pXw9RbN6yLsGd3hJf7cUeAb", "lifetime": "10m" }));
    assert_eq!(other.judge(&nonce, now()), Freshness::Unknown);
    // The MAC covers the span: a nonce of a longer lifetime is invalid for a shorter one.
    let shorter =
        nonces(&json!({ "secret": "Zq4vT8mK2pXw9RbN6yLsGd3hJf7cUeAa", "lifetime": "10s" }));
    assert_eq!(shorter.judge(&nonce, now()), Freshness::Unknown);
    for forged in [
        "",
        ".",
        "0",
        nonce.strip_prefix(|_| true).unwrap(),
        &format!("{nonce}A"),
        &nonce.to_lowercase(),
    ] {
        assert_eq!(here.judge(forged, now()), Freshness::Unknown, "{forged}");
    }
    let (one, two) = (nonces(&json!(true)), nonces(&json!({})));
    assert_eq!(one.judge(&two.current(now()), now()), Freshness::Current, "one secret per process");
}

/// The result of using a proof in a list without a store.
fn take(used: &ReplayCache, proof: &Proof, now: Now) -> Use {
    match used.take(proof, now) {
        ReplayStep::Done(outcome) => outcome,
        ReplayStep::Ask(..) => panic!("a list in this process asks no store"),
    }
}

#[test]
fn a_proof_is_used_once_and_remembered_until_it_is_too_old() {
    let used =
        ReplayCache::in_memory(Arc::new(MemoryStore::new(MemoryConfig::DEFAULT_BYTES)), now());
    let (a, b) =
        (judge(&proof(&json!({}))).unwrap(), judge(&proof(&json!({ "jti": "p-2" }))).unwrap());
    // The `jti` counts, not the text: the holder of the key can sign any number of texts.
    let again = judge(&proof(&json!({ "iat": NOW_S - 5, "nonce": "x" }))).unwrap();
    assert!(take(&used, &a, now()) == Use::First);
    assert!(take(&used, &again, now()) == Use::Again);
    assert!(take(&used, &b, now()) == Use::First);
    // A proof made ten seconds ahead is acceptable for seventy seconds after that.
    for seconds in [0, 1, 60, 70, 129] {
        let now = now().plus(Duration::from_secs(seconds));
        assert!(take(&used, &a, now) == Use::Again, "{seconds}");
    }
}

/// The instant `seconds` after the test instant. The wall clock was set back by `by` seconds since.
fn set_back(seconds: u64, by: u64) -> Now {
    let us = |seconds| seconds * 1_000_000;
    Now { unix_us: us(NOW_S + seconds - by), mono_us: us(5 + seconds) }
}

#[test]
fn a_clock_that_is_set_back_makes_no_used_proof_good_again() {
    // Set back by more than the margin of the records, or detected only after the record has
    // expired.
    for (by, noticed) in [(71, 131), (100, 131), (100, 10), (500, 510), (500, 501)] {
        let used = ReplayCache::in_memory(Arc::new(MemoryStore::new(1 << 20)), now());
        let clock = ClockRollback::default();
        let use_up = |text: &str, now| {
            let proof = judge_after(text, now, clock.until_us(now))?;
            Ok::<_, ProofError>(take(&used, &proof, now) == Use::First)
        };
        // Made by a clock with the maximum allowed lead.
        for made in [NOW_S, NOW_S + 10] {
            let text = proof(&json!({ "iat": made, "jti": made.to_string() }));
            assert_eq!(use_up(&text, set_back(0, 0)), Ok(true));
        }
        for seconds in (noticed.max(by)..900).step_by(3) {
            let now = set_back(seconds, by);
            for made in [NOW_S, NOW_S + 10] {
                let text = proof(&json!({ "iat": made, "jti": made.to_string() }));
                assert_ne!(use_up(&text, now), Ok(true), "{by} {noticed} {seconds}");
            }
        }
    }
}

#[test]
fn proofs_are_taken_again_once_the_clock_has_caught_up() {
    let clock = ClockRollback::default();
    let fresh = |now: Now| {
        let text = proof(&json!({ "iat": now.unix_seconds() }));
        judge_after(&text, now, clock.until_us(now)).map(|_| ())
    };
    assert_eq!(fresh(set_back(0, 0)), Ok(()));
    // A correction by a few seconds does not matter.
    assert_eq!(fresh(set_back(20, 10)), Ok(()));
    // Detected at second 60 of the old clock; ten seconds more for proofs that were made ahead of
    // it.
    for (seconds, expected) in [
        (60, Err(ProofError::Time)),
        (110, Err(ProofError::Time)),
        (120, Err(ProofError::Time)),
        (121, Ok(())),
        (500, Ok(())),
    ] {
        assert_eq!(fresh(set_back(seconds, 50)), expected, "{seconds}");
    }
    // The clock is corrected, and set back once more.
    assert_eq!(fresh(set_back(501, 0)), Ok(()));
    assert_eq!(fresh(set_back(502, 50)), Err(ProofError::Time));
}

#[test]
fn no_flood_of_proofs_makes_room_for_one_that_was_used() {
    let used = ReplayCache::in_memory(Arc::new(MemoryStore::new(1 << 20)), now());
    let first = judge(&proof(&json!({}))).unwrap();
    assert!(take(&used, &first, now()) == Use::First);
    let mut refused = 0;
    for number in 0..40_000_u32 {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let other = Proof { id: ProofId::from(bytes), ..first.clone() };
        refused += u32::from(take(&used, &other, now()) == Use::Unknown);
    }
    assert!(refused > 0, "what has no place is refused, and nothing is forgotten");
    assert!(take(&used, &first, now()) == Use::Again);
    let later = now().plus(Duration::from_secs(131));
    let third = judge(&proof(&json!({ "jti": "p-3" }))).unwrap();
    assert_eq!(take(&used, &third, later), Use::First);
}

#[test]
fn of_a_hundred_threads_with_one_proof_one_gets_it() {
    let used = ReplayCache::in_memory(Arc::new(MemoryStore::new(1 << 20)), now());
    let proof = judge(&proof(&json!({}))).unwrap();
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| usize::from(take(&used, &proof, now()) == Use::First)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 1);
}

#[test]
fn one_key_leaves_room_in_the_list_for_those_of_others() {
    let store = Arc::new(MemoryStore::new(MemoryConfig::DEFAULT_BYTES));
    let used = ReplayCache::in_memory(store, now());
    let own = judge(&proof(&json!({}))).unwrap();
    let numbered = |key: Thumbprint, number: u32| {
        let mut bytes = *key.as_bytes();
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let id = bytes.first_chunk::<16>().copied().unwrap();
        Proof { key, id: ProofId::from(id), ..own.clone() }
    };
    let greedy = Thumbprint::of(b"greedy");
    let outcomes: Vec<Use> =
        (0..150_000).map(|number| take(&used, &numbered(greedy, number), now())).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Use::First).count(), 100_000);
    assert!(outcomes[100_000..].iter().all(|outcome| *outcome == Use::TooMany));
    // The key is refused for its own limit and not because the list is full; other keys are
    // accepted.
    for number in 0..20_000 {
        assert_eq!(take(&used, &numbered(Thumbprint::of(b"other"), number), now()), Use::First);
    }
    let later = now().plus(Duration::from_secs(1));
    assert_eq!(take(&used, &numbered(greedy, 200_000), later), Use::First);
}

#[test]
fn a_proof_that_is_older_than_the_list_is_refused_and_a_new_one_passes_at_once() {
    let began = Now { unix_us: NOW_S * 1_000_000 + 400_000, mono_us: 7_000_000 };
    let used = ReplayCache::in_memory(Arc::new(MemoryStore::new(1 << 20)), began);
    let at = |made: Value, now: Now| {
        let text = proof(&json!({ "iat": made }));
        let proof = judge_at(&text, now).unwrap();
        if used.is_older(&proof, now) { Use::Forgotten } else { take(&used, &proof, now) }
    };
    let tenths = |tenths: u8| serde_json::from_str::<Value>(&format!("{NOW_S}.{tenths}")).unwrap();
    let soon = began.plus(Duration::from_millis(200));
    // Made before the list; in the same second, so possibly before; before, with an exact time.
    for made in [json!(NOW_S - 30), json!(NOW_S), tenths(3)] {
        assert_eq!(at(made, soon), Use::Forgotten);
    }
    assert_eq!(at(tenths(5), soon), Use::First);
    assert_eq!(at(json!(NOW_S + 1), began.plus(Duration::from_secs(1))), Use::Again);
    // The clock was an hour behind when the list began, and is corrected.
    let right = Now { unix_us: (NOW_S + 3600) * 1_000_000, mono_us: began.mono_us + 1_000_000 };
    assert_eq!(at(json!(NOW_S + 3590), right), Use::Forgotten);
    assert_eq!(at(json!(NOW_S + 3600), right), Use::Again);
}

#[test]
fn what_is_known_to_be_used_is_known_without_using_anything_up() {
    let used = ReplayCache::in_memory(Arc::new(MemoryStore::new(1 << 20)), now());
    let proof = judge(&proof(&json!({}))).unwrap();
    assert!(!used.knows(&proof, now()));
    assert_eq!(take(&used, &proof, now()), Use::First);
    assert!(used.knows(&proof, now()));
}
