//! Tokens that their issuer is asked about: who is asked, and what an answer is worth.

use super::*;
use crate::introspection::AnswerHead;

/// A verifier, and an endpoint that answers at once.
struct World {
    config: Arc<TokenConfig>,
    verifier: Verifier,
}

fn endpoint(more: &Value) -> Value {
    let mut options =
        json!({ "url": "https://id.example/introspect", "clientId": "api", "clientSecret": "b" });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options
}

/// Options of an issuer that is asked about all tokens.
fn alone(introspection: &Value, more: &Value) -> World {
    let mut options = options(more);
    options["introspection"] = endpoint(introspection);
    World::new(&options)
}

impl World {
    fn new(options: &Value) -> Self {
        let config = Arc::new(TokenConfig::parse("jwt", options).unwrap());
        Self { verifier: Verifier::new(Arc::clone(&config)), config }
    }

    fn issuer(&self) -> &Issuer {
        self.config.introspecting().unwrap().0
    }

    /// Whether the issuer would be asked about this token.
    fn asks(&self, token: &str) -> bool {
        let judged = self.verifier.verify_bound_or_wait(token, now());
        matches!(judged, Err(VerifyError::Introspecting(_)))
    }

    fn judge(&self, token: &str, answer: &Value, now: Now) -> Result<Arc<Verified>, TokenError> {
        let Err(VerifyError::Introspecting(wait)) = self.verifier.verify_bound_or_wait(token, now)
        else {
            panic!("nobody is asked");
        };
        let introspections = self.config.introspecting().unwrap().1;
        let question = introspections.due(now).0.remove(0);
        let head = AnswerHead { status: 200, content_type: Some("application/json".into()) };
        let body = answer.to_string();
        self.issuer().introspected(question.number, Ok((&head, body.as_bytes())), now);
        let judged = self.verifier.verify_bound(token, now);
        drop(wait);
        judged
    }
}

/// An answer about a good token, with `changes`; `null` leaves a member out.
fn answer(changes: &Value) -> Value {
    let mut answer = json!({
        "active": true, "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "client_id": "shop", "scope": "read",
        "iat": NOW_S - 10, "exp": NOW_S + 600, "token_type": "Bearer", "jti": "j1",
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            answer.as_object_mut().unwrap().remove(name);
        } else {
            answer[name] = value.clone();
        }
    }
    answer
}

#[test]
fn an_active_token_for_this_api_is_an_identity() {
    let verified =
        alone(&json!({}), &json!({})).judge("opaque", &answer(&json!({})), now()).unwrap();
    assert_eq!(verified.subject.as_deref(), Some("ada"));
    assert_eq!((verified.issued_at, verified.expires_at), (NOW_S - 10, NOW_S + 600));
    assert_eq!((&*verified.issuer, verified.alg, &verified.key_id), (ISSUER, None, &None));
    assert_eq!(verified.claims.map()["scope"], json!("read"));
    assert_eq!(verified.fingerprint, Fingerprint::of_jti("j1"));
    assert_eq!(verified.text_fingerprint, Some(Fingerprint::of_jti("opaque")));
}

#[test]
fn active_is_not_enough() {
    use TokenError::{Claims, Type};
    let kind = |name| Claims(ClaimError::Kind(name));
    let missing = |name| Claims(ClaimError::Missing(name));
    let jkt = json!({ "jkt": "0".repeat(43) });
    for (changes, error) in [
        (json!({ "active": false }), TokenError::Inactive),
        (json!({ "aud": "another-api" }), TokenError::Audience),
        (json!({ "aud": ["another-api", "third"] }), TokenError::Audience),
        (json!({ "aud": [] }), TokenError::Audience),
        (json!({ "aud": null }), missing("aud")),
        (json!({ "aud": 5 }), kind("aud")),
        (json!({ "aud": [AUDIENCE, 5] }), kind("aud")),
        (json!({ "iss": "https://evil.example" }), TokenError::Issuer),
        (json!({ "iss": format!("{ISSUER}/") }), TokenError::Issuer),
        (json!({ "iss": [ISSUER] }), kind("iss")),
        (json!({ "iss": null }), missing("iss")),
        (json!({ "exp": NOW_S - 11 }), Claims(ClaimError::Order)),
        (json!({ "iat": NOW_S - 100, "exp": NOW_S - 10 }), TokenError::Expired),
        (json!({ "exp": "never" }), kind("exp")),
        (json!({ "exp": (NOW_S + 600) * 1000 }), Claims(ClaimError::Milliseconds("exp"))),
        (json!({ "exp": NOW_S + 90_000 }), TokenError::Lifetime),
        (json!({ "nbf": NOW_S + 60 }), TokenError::NotYetValid),
        (json!({ "nbf": true }), kind("nbf")),
        (json!({ "iat": NOW_S + 60 }), TokenError::NotYetValid),
        (json!({ "iat": null }), missing("iat")),
        (json!({ "iat": null, "exp": null }), missing("iat")),
        (json!({ "exp": null, "iat": NOW_S - 90_000 }), TokenError::Expired),
        (json!({ "exp": null, "nbf": NOW_S + 60 }), TokenError::NotYetValid),
        (json!({ "sub": 7 }), kind("sub")),
        (json!({ "sub": "" }), kind("sub")),
        (json!({ "jti": 7 }), kind("jti")),
        (json!({ "sid": "" }), kind("sid")),
        (json!({ "token_type": null }), missing("token_type")),
        (json!({ "token_type": "refresh_token" }), Type),
        (json!({ "token_type": "N_A" }), Type),
        (json!({ "token_type": "DPoP" }), Type),
        (json!({ "token_type": "Bearer", "cnf": jkt }), Type),
        (json!({ "token_type": ["Bearer"] }), kind("token_type")),
        (json!({ "cnf": {} }), Claims(ClaimError::Confirmation)),
        (json!({ "cnf": { "jwk": {} } }), Claims(ClaimError::Confirmation)),
        (json!({ "cnf": "x" }), Claims(ClaimError::Confirmation)),
    ] {
        let judged = alone(&json!({}), &json!({})).judge("opaque", &answer(&changes), now());
        assert_eq!(judged.unwrap_err(), error, "{changes}");
    }
}

#[test]
fn tokens_of_another_client_or_tenant_are_refused_where_claims_bind_them() {
    let options = json!({ "audience": false, "claims": { "client_id": "shop", "/org/id": "o1" } });
    let judge =
        |changes: Value| alone(&json!({}), &options).judge("opaque", &answer(&changes), now());
    assert!(judge(json!({ "aud": null, "org": { "id": "o1" } })).is_ok());
    for changes in [
        json!({ "aud": null, "org": { "id": "o1" }, "client_id": "other" }),
        json!({ "aud": null, "org": { "id": "o1" }, "client_id": null }),
        json!({ "aud": null, "org": { "id": "o2" } }),
        json!({ "aud": null }),
        json!({ "org": { "id": "o1" } }),
    ] {
        assert!(judge(changes.clone()).is_err(), "{changes}");
    }
}

#[test]
fn what_a_provider_leaves_out_is_taken_by_name_alone() {
    let lax = json!({ "iss": "optional", "tokenType": "optional" });
    let judge = |options: &Value, changes: Value| {
        alone(&lax, options).judge("opaque", &answer(&changes), now())
    };
    assert!(judge(&json!({}), json!({ "iss": null, "token_type": null })).is_ok());
    // What is there must still be right.
    assert_eq!(
        judge(&json!({}), json!({ "iss": "https://evil.example" })).unwrap_err(),
        TokenError::Issuer
    );
    assert_eq!(judge(&json!({}), json!({ "token_type": "mac" })).unwrap_err(), TokenError::Type);
    let iat = json!({ "iat": "optional" });
    assert!(judge(&iat, json!({ "iat": null })).is_ok());
    assert!(judge(&iat, json!({ "iat": null, "exp": null })).is_ok());
    let without_subject = judge(&json!({}), json!({ "sub": null })).unwrap();
    assert_eq!(without_subject.subject, None);
}

#[test]
fn a_token_without_exp_ends_max_lifetime_after_its_iat() {
    let world = alone(&json!({ "cacheFor": "5m" }), &json!({ "maxLifetime": "60s" }));
    let verified = world.judge("opaque", &answer(&json!({ "exp": null })), now()).unwrap();
    assert_eq!(verified.expires_at, NOW_S + 50);
    assert!(world.verifier.verify("opaque", at(NOW_S + 59)).is_ok());
    assert_eq!(world.verifier.verify("opaque", at(NOW_S + 60)).unwrap_err(), TokenError::Expired);
}

#[test]
fn an_answer_is_not_used_beyond_the_end_of_its_token() {
    let world = alone(&json!({ "cacheFor": "5m" }), &json!({}));
    world.judge("opaque", &answer(&json!({ "exp": NOW_S + 20 })), now()).unwrap();
    assert!(world.verifier.verify("opaque", at(NOW_S + 29)).is_ok());
    assert_eq!(world.verifier.verify("opaque", at(NOW_S + 30)).unwrap_err(), TokenError::Expired);
}

#[test]
fn a_bound_token_needs_its_proof() {
    let world = alone(&json!({}), &json!({}));
    let bound = json!({ "token_type": "dpop", "cnf": { "jkt": "0".repeat(43) } });
    let verified = world.judge("opaque", &answer(&bound), now()).unwrap();
    assert!(verified.confirmation.is_some_and(|bound| bound.key.is_some()));
    assert_eq!(world.verifier.verify("opaque", now()).unwrap_err(), TokenError::Bound);
}

#[test]
fn only_the_form_of_a_bearer_token_is_asked_about() {
    let world = alone(&json!({}), &json!({}));
    for token in ["a", "a.b", "ory_at_x-_~+/.y==", "eyJhbGciOiJub25lIn0.e30."] {
        assert!(world.asks(token), "{token}");
    }
    for token in ["", "=", "a b", "a=b", "a,b", "a\u{e9}", "a\"", "a%20", &"a".repeat(8193)] {
        let judged = world.verifier.verify_bound_or_wait(token, now());
        assert!(matches!(judged, Err(VerifyError::Denied(TokenError::Malformed(_)))), "{token}");
    }
}

const OTHER: &str = "https://opaque.example";

fn beside_keys(introspection: &Value) -> World {
    let jwts = options(&json!({ "secret": secret() }));
    let opaque =
        json!({ "issuer": OTHER, "audience": AUDIENCE, "introspection": endpoint(introspection) });
    World::new(&json!({ "issuers": [jwts, opaque] }))
}

fn jwt(iss: &str) -> String {
    let config = config(&json!({ "issuer": iss, "secret": secret() }));
    let claims = json!({ "sub": "ada" }).as_object().unwrap().clone();
    Signer::new(config).unwrap().issue(claims, IssueOptions::default(), now()).unwrap().token
}

#[test]
fn beside_keys_a_jwt_goes_to_no_endpoint_and_an_opaque_token_to_no_key() {
    let world = beside_keys(&json!({}));
    let good = jwt(ISSUER);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    assert_eq!(world.verifier.verify(&good, now()).unwrap().subject.as_deref(), Some("ada"));
    let other = jwt(OTHER);
    for (token, error) in [
        (format!("{signed}.{}", flipped(signature)), "token_signature"),
        (format!("{signed}."), "token_malformed"),
        (format!("{signed}.{signature}="), "token_malformed"),
        ("eyJhbGciOiJub25lIn0.e30.".to_owned(), "token_malformed"),
        // Its issuer has no keys, and is not asked about JWTs.
        (other, "token_issuer"),
    ] {
        let judged = world.verifier.verify_or_wait(&token, now()).unwrap_err();
        assert!(!matches!(judged, VerifyError::Introspecting(_)), "{token}");
        assert_eq!(judged.denial().code(), error, "{token}");
    }
    for token in ["opaque", "a.b", "a.b.c", "a.b.c.d.e", &format!("{good}.x"), signed] {
        assert!(world.asks(token), "{token}");
    }
}

#[test]
fn with_jwts_the_endpoint_judges_those_of_its_issuer_alone() {
    let world = beside_keys(&json!({ "jwts": true }));
    assert!(!world.asks(&jwt(ISSUER)));
    let own = jwt(OTHER);
    assert!(world.asks(&own));
    let good = answer(&json!({ "iss": OTHER }));
    assert!(world.judge(&own, &good, now()).is_ok());
    assert!(!world.asks(&jwt("https://third.example")));
}

#[test]
fn one_issuer_may_have_keys_for_jwts_and_an_endpoint_for_the_rest() {
    let world = alone(&json!({}), &json!({ "secret": secret() }));
    assert!(world.verifier.verify(&jwt(ISSUER), now()).is_ok());
    assert!(world.judge("opaque", &answer(&json!({})), now()).is_ok());
}

#[test]
fn a_token_is_revoked_by_its_text_without_an_answer() {
    let world = alone(&json!({}), &json!({}));
    let named = |text: &str| world.verifier.revocable(text, now()).unwrap().fingerprint;
    assert_eq!(named("opaque"), Fingerprint::of_jti("opaque"));
    // A JWT by its `jti`, or by what was signed.
    let token = jwt(ISSUER);
    let id = verifier(&json!({ "secret": secret() })).verify(&token, now()).unwrap().id.clone();
    assert_eq!(named(&token), Fingerprint::of_jti(&id.unwrap()));
    let revocable = world.verifier.revocable(&token, now()).unwrap();
    assert_eq!(revocable.issuer.as_deref(), Some(ISSUER));
    let verified = world.judge(&token, &answer(&json!({ "jti": null })), now()).unwrap();
    assert_eq!(verified.fingerprint, named(&token));
}

#[test]
fn options_that_contradict_introspection_are_refused() {
    let one = |more: Value| {
        let mut options = options(&more);
        options["introspection"] = endpoint(&more["introspection"]);
        TokenConfig::parse("jwt", &options).map(|_| ()).unwrap_err()
    };
    for (more, path) in [
        (json!({ "introspection": {}, "typ": "at+jwt" }), "jwt.typ"),
        (json!({ "introspection": {}, "algorithms": ["ES256"] }), "jwt.algorithms"),
        (json!({ "introspection": {}, "staleFor": "20m" }), "jwt.staleFor"),
        (json!({ "introspection": {}, "preset": "vault" }), "jwt.preset"),
        (json!({ "introspection": {}, "rotation": { "storage": "k" } }), "jwt.rotation"),
        (
            json!({ "introspection": { "jwts": true }, "secret": secret() }),
            "jwt.introspection.jwts",
        ),
        (
            json!({ "introspection": {}, "issuer": "https://a.example/{tenantid}", "tenants": "any" }),
            "jwt.introspection",
        ),
    ] {
        assert_eq!(one(more.clone()).path(), path, "{more}");
    }
    let issuer = |name: &str| json!({ "issuer": name, "audience": AUDIENCE, "introspection": endpoint(&json!({})) });
    let two = json!({ "issuers": [issuer("https://a.example"), issuer("https://b.example")] });
    let error = TokenConfig::parse("jwt", &two).map(|_| ()).unwrap_err();
    assert_eq!(error.path(), "jwt.issuers[1].introspection");
    let beside =
        json!({ "issuers": [issuer("https://a.example")], "introspection": endpoint(&json!({})) });
    assert_eq!(
        TokenConfig::parse("jwt", &beside).map(|_| ()).unwrap_err().path(),
        "jwt.introspection"
    );
}

/// Another signature of the same form.
fn flipped(signature: &str) -> String {
    let first = signature.chars().next().unwrap();
    let other = if first == 'A' { "B" } else { "A" };
    signature.replacen(first, other, 1)
}
