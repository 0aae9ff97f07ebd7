//! A sealed record is read as it was written, at its own location, and no other bytes are accepted.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::keys::seal::{SEAL_BYTES, SealKey, Seals};
use crate::session::record::{MAX_RECORD_BYTES, Where};

const LIFETIME: Duration = Duration::from_secs(300);

fn seals(issuer: &str, secret: &str) -> Seals {
    let key = SealKey::derive(secret.as_bytes(), "HS256").unwrap();
    Seals::new(Arc::from(issuer), vec![key]).unwrap()
}

fn place(session: &str) -> Where<'static> {
    Where { prefix: "shop:", place: FamilyKey::of("issuer", session) }
}

fn config() -> RefreshConfig {
    RefreshConfig { lifetime: LIFETIME, ..RefreshConfig::default() }
}

fn opened(session: &str, kept: &[u8]) -> (RefreshToken, Family) {
    let token = RefreshToken::first(FamilyKey::of("issuer", session)).unwrap();
    let kept = [&[0; 16], kept].concat();
    let family = Family::open(token.opening(session, kept), &config(), 1_000_000);
    (token, family)
}

/// Uses `token` a second after the login.
fn used(family: &mut Family, token: &RefreshToken) -> Outcome {
    family.present(&token.presentation([0; 16]).unwrap(), &config(), 60_000_000, 2_000_000)
}

#[test]
fn a_record_is_good_at_its_own_place_alone() {
    let (_, family) = opened("mine", br#"{"sub":"ada"}"#);
    let ours = seals("issuer", "a");
    let record = family.seal(&place("mine"), &ours).unwrap();
    assert!(Family::unseal(&record, &place("mine"), &ours) == Some(family));
    let read = |at: &Where<'_>, seals: &Seals| Family::unseal(&record, at, seals).is_some();
    assert!(!read(&place("another"), &ours), "another session");
    assert!(!read(&Where { prefix: "bank:", ..place("mine") }, &ours), "another prefix");
    assert!(!read(&place("mine"), &seals("another", "a")), "another issuer");
    assert!(!read(&place("mine"), &seals("issuer", "b")), "another key");
}

#[test]
fn a_record_of_every_state_is_read_as_it_was_written() {
    let ours = seals("issuer", "a");
    let (token, mut family) = opened("mine", b"kept");
    let same = |family: &Family| {
        let record = family.seal(&place("mine"), &ours).unwrap();
        assert!(Family::unseal(&record, &place("mine"), &ours).as_ref() == Some(family));
        record
    };
    let first = same(&family);
    assert!(matches!(used(&mut family, &token), Outcome::Next { .. }));
    assert_ne!(same(&family), first);
    assert!(matches!(used(&mut family, &token), Outcome::Next { .. }), "within the window");
    let Outcome::Next { salt, .. } = used(&mut family, &token) else { panic!("no successor") };
    assert!(matches!(used(&mut family, &token.successor(&salt)), Outcome::Next { .. }));
    assert!(matches!(used(&mut family, &token), Outcome::Reused { .. }));
    let ended = same(&family);
    assert!(!ended.windows(4).any(|part| part == b"kept"), "an ended family keeps nothing");
}

#[test]
fn a_record_that_would_be_too_long_is_not_made_and_not_read() {
    let ours = seals("issuer", "a");
    let sealed = |kept: usize| opened("mine", &vec![b'k'; kept]).1.seal(&place("mine"), &ours);
    let most = MAX_RECORD_BYTES - sealed(0).unwrap().len();
    assert_eq!(sealed(most).map(|record| record.len()), Some(MAX_RECORD_BYTES));
    assert_eq!(sealed(most + 1), None);
    let name = "s".repeat(usize::from(u16::MAX) + 1);
    assert_eq!(opened(&name, b"").1.seal(&place(&name), &ours), None);
    assert!(Family::unseal(&vec![0; MAX_RECORD_BYTES + 1], &place("mine"), &ours).is_none());
}

/// Bytes that the servers seal and that are not a record of this version.
fn sealed(body: &[u8], seals: &Seals) -> Vec<u8> {
    let at = place("mine");
    let parts: [&[u8]; 4] = [b"keepstone session record", at.prefix.as_bytes(), &at.place.0, body];
    [body, &seals.seal(&parts).unwrap()].concat()
}

proptest! {
    #[test]
    fn a_record_that_was_changed_anywhere_is_none(
        kept in proptest::collection::vec(any::<u8>(), 0..60), place_of: prop::sample::Index, bit in 0u8..8,
    ) {
        let ours = seals("issuer", "a");
        let (token, mut family) = opened("mine", &kept);
        used(&mut family, &token);
        let mut record = family.seal(&place("mine"), &ours).unwrap();
        let at = place_of.index(record.len());
        record[at] ^= 1 << bit;
        prop_assert!(Family::unseal(&record, &place("mine"), &ours).is_none());
    }

    #[test]
    fn a_cut_or_longer_record_is_none(cut in 1usize..200, more in any::<u8>()) {
        let ours = seals("issuer", "a");
        let record = opened("mine", b"kept").1.seal(&place("mine"), &ours).unwrap();
        let cut = record.len().saturating_sub(cut);
        prop_assert!(Family::unseal(&record[..cut], &place("mine"), &ours).is_none());
        let longer = [&record[..], &[more]].concat();
        prop_assert!(Family::unseal(&longer, &place("mine"), &ours).is_none());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_with_and_without_a_seal(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), lives in 0u8..3, used in 0u8..3, length in 0u16..40,
    ) {
        let ours = seals("issuer", "a");
        prop_assert!(Family::unseal(&bytes, &place("mine"), &ours).is_none());
        let _ = Family::unseal(&sealed(&bytes, &ours), &place("mine"), &ours);
        // The same for bytes in the form of a record.
        let body = [&[2, lives][..], &[7; 64], &[used], &length.to_be_bytes(), &bytes].concat();
        if let Some(family) = Family::unseal(&sealed(&body, &ours), &place("mine"), &ours) {
            let again = family.seal(&place("mine"), &ours).unwrap();
            prop_assert_eq!(again.len(), body.len() + SEAL_BYTES);
        }
    }
}
