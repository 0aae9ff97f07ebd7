//! A cached token is never accepted beyond its validity: random histories against a model that
//! records only events.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::revocation::Revocations;

const TOLERANCE_S: u64 = 10;
/// The end of the first key's period of use.
const END_OF_A: u64 = NOW_S + 300;
const SUBJECTS: [&str; 2] = ["ada", "bob"];
const SESSIONS: [&str; 2] = ["s1", "s2"];
const KEYS: [&str; 2] = ["a", "b"];

/// The properties of a token, the only input of the model.
#[derive(Debug, Clone)]
struct Known {
    text: String,
    key: usize,
    subject: usize,
    session: Option<usize>,
    id: Option<String>,
    issued: u64,
    expires: u64,
}

fn tokens() -> &'static [Known] {
    static TOKENS: OnceLock<Vec<Known>> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let mut tokens = Vec::new();
        for i in 0..24_usize {
            let (key, subject) = (i % 2, (i / 2) % 2);
            let session = [None, Some(0), Some(1)][(i / 4) % 3];
            // Two tokens with one `jti` are revoked together, and they have the same expiry.
            let id = (i % 3 != 0).then(|| format!("t{}", i / 2));
            let issued = NOW_S + 40 * (i as u64 % 4);
            let expires = NOW_S + 200 + 100 * (i as u64 / 2 % 6);
            let mut more =
                json!({ "sub": SUBJECTS[subject], "iat": issued, "exp": expires, "n": i });
            if let Some(session) = session {
                more["sid"] = SESSIONS[session].into();
            }
            if let Some(id) = &id {
                more["jti"] = id.as_str().into();
            }
            let header =
                json!({ "alg": (["ES256", "EdDSA"][key]), "kid": (KEYS[key]) }).to_string();
            let alg = [jsonwebtoken::Algorithm::ES256, jsonwebtoken::Algorithm::EdDSA][key];
            let text = signed_as(&header, &claims_with(&more), alg, ["p256", "ed25519"][key]);
            tokens.push(Known { text, key, subject, session, id, issued, expires });
        }
        tokens
    })
}

/// Three configurations of a service: both keys, the second key alone, and another audience.
fn configs() -> &'static [Value; 3] {
    static CONFIGS: OnceLock<[Value; 3]> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let a = json!({ "kid": "a", "alg": "ES256", "key": key("p256", "publicJwk"), "notAfter": END_OF_A });
        let b = json!({ "kid": "b", "alg": "EdDSA", "key": key("ed25519", "publicJwk") });
        let both = json!({ "keys": [a, b] });
        [both.clone(), json!({ "keys": [b] }), {
            let mut other = both;
            other["audience"] = "another-app".into();
            other
        }]
    })
}

#[derive(Debug, Clone)]
enum Op {
    Verify(usize),
    RevokeToken(usize),
    RevokeSession(usize),
    RevokeSubject(usize),
    RevokeKey(usize),
    Advance(u64),
    Sweep,
    Configure(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..24_usize).prop_map(Op::Verify),
        2 => (0..24_usize).prop_map(Op::RevokeToken),
        1 => (0..2_usize).prop_map(Op::RevokeSession),
        1 => (0..2_usize).prop_map(Op::RevokeSubject),
        1 => (0..2_usize).prop_map(Op::RevokeKey),
        4 => (0..90_u64).prop_map(Op::Advance),
        1 => Just(Op::Sweep),
        1 => (0..3_usize).prop_map(Op::Configure),
    ]
}

/// The recorded events. The model never forgets one.
#[derive(Debug, Default)]
struct Model {
    tokens: BTreeSet<usize>,
    ids: BTreeSet<String>,
    sessions: BTreeSet<usize>,
    subjects: [Option<u64>; 2],
    keys: BTreeSet<usize>,
    config: usize,
}

impl Model {
    fn takes(&self, i: usize, second: u64) -> bool {
        let token = &tokens()[i];
        let in_time = token.issued <= second + TOLERANCE_S && second < token.expires + TOLERANCE_S;
        let key_lives = token.key == 1 || self.config == 0 && second < END_OF_A;
        let revoked = self.tokens.contains(&i)
            || token.id.as_ref().is_some_and(|id| self.ids.contains(id))
            || token.session.is_some_and(|session| self.sessions.contains(&session))
            || self.subjects[token.subject].is_some_and(|before| token.issued <= before)
            || self.keys.contains(&token.key);
        in_time && key_lives && self.config != 2 && !revoked
    }
}

fn verifier_of(config: usize, cached: bool) -> Verifier {
    let mut options = configs()[config].clone();
    if !cached {
        options["cache"] = false.into();
    }
    verifier(&options)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_is_taken_after_its_time_its_key_its_revocation_or_its_configuration(ops in prop::collection::vec(op(), 1..120)) {
        let revocations = Revocations::new(Duration::from_secs(24 * 60 * 60));
        let mut model = Model::default();
        let (mut cached, mut uncached) = (verifier_of(0, true), verifier_of(0, false));
        let mut second = NOW_S;
        for op in ops {
            let now = at(second);
            match op {
                Op::Verify(i) => {
                    let token = &tokens()[i];
                    for verifier in [&cached, &uncached] {
                        let verified = verifier.verify(&token.text, now);
                        let taken = verified.as_ref().is_ok_and(|v| revocations.check(v).is_ok());
                        prop_assert_eq!(taken, model.takes(i, second), "token {} at {}: {:?}", i, second - NOW_S, verified.err());
                        if let Ok(verified) = verified {
                            prop_assert_eq!(&verified.claims.map()["n"], &json!(i), "another token's claims");
                        }
                    }
                }
                Op::RevokeToken(i) => {
                    // A token without a valid key and issuer revokes nothing.
                    if let Ok(found) = cached.revocable_token(&tokens()[i].text, now) {
                        revocations.revoke_fingerprint(found.fingerprint, found.expires_at, now).unwrap();
                        match &tokens()[i].id {
                            Some(id) => model.ids.insert(id.clone()),
                            None => model.tokens.insert(i),
                        };
                    }
                }
                Op::RevokeSession(i) => {
                    revocations.revoke_session(SESSIONS[i], None, now).unwrap();
                    model.sessions.insert(i);
                }
                Op::RevokeSubject(i) => {
                    revocations.revoke_subject(SUBJECTS[i], None, now).unwrap();
                    model.subjects[i] = model.subjects[i].max(Some(second));
                }
                Op::RevokeKey(i) => {
                    revocations.revoke_key(KEYS[i]).unwrap();
                    model.keys.insert(i);
                }
                Op::Advance(seconds) => second += seconds,
                Op::Sweep => revocations.sweep(now),
                Op::Configure(i) => {
                    model.config = i;
                    (cached, uncached) = (verifier_of(i, true), verifier_of(i, false));
                }
            }
        }
        // After every history, all tokens end.
        for (i, token) in tokens().iter().enumerate() {
            let later = at(second.max(NOW_S + 800) + TOLERANCE_S);
            prop_assert!(cached.verify(&token.text, later).is_err(), "token {}", i);
        }
    }
}
