//! Every algorithm, with keys from PEM and JWK, against two other implementations.

use super::*;
use crate::keys::Algorithm;

const PAIRS: [&str; 11] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
];

fn keys(alg: &str, form: &str) -> Value {
    json!({ "keys": [{ "alg": alg, "key": key(pair_of(alg), form) }] })
}

fn issue(config: &Arc<TokenConfig>) -> String {
    let signer = Signer::new(Arc::clone(config)).unwrap();
    let claims = json!({ "sub": "42" }).as_object().unwrap().clone();
    signer.issue(claims, IssueOptions::default(), now()).unwrap().token
}

#[test]
fn tokens_that_node_signed_are_verified_by_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let alg = algorithm.name();
        let token = testdata()["tokens"][alg].as_str().unwrap();
        let all: Vec<Value> = if alg.starts_with("HS") {
            vec![json!({ "secret": secret(), "algorithms": [alg] })]
        } else {
            ["publicPem", "privatePem", "publicJwk", "privateJwk"]
                .map(|form| keys(alg, form))
                .into()
        };
        for options in all {
            let verified = verifier(&options)
                .verify(token, now())
                .unwrap_or_else(|denial| panic!("{alg}: {denial:?}"));
            assert_eq!(verified.alg, Some(algorithm));
            assert_eq!(verified.claims.map()["name"], "Zoë 😀");
        }
    }
}

#[test]
fn what_is_issued_with_a_private_key_in_any_form_its_public_key_verifies_in_any_form() {
    for alg in PAIRS {
        for private in ["privatePem", "privateJwk"] {
            let config = config(&keys(alg, private));
            let token = issue(&config);
            let published = Signer::new(config).unwrap().jwks(now());
            let forms =
                [keys(alg, "publicPem"), keys(alg, "publicJwk"), json!({ "jwks": published })];
            for options in forms {
                assert_eq!(
                    verifier(&options).verify(&token, now()).map(|v| v.alg.unwrap().name()),
                    Ok(alg),
                    "{private}"
                );
            }
        }
    }
}

#[test]
fn every_secret_algorithm_verifies_what_it_issued() {
    for alg in ["HS256", "HS384", "HS512"] {
        let config = config(&json!({ "secret": secret(), "algorithms": [alg] }));
        let token = issue(&config);
        assert_eq!(Verifier::new(config).verify(&token, now()).unwrap().alg.unwrap().name(), alg);
    }
}

#[test]
fn our_verdict_on_a_signature_is_the_one_of_jsonwebtoken() {
    use jsonwebtoken::DecodingKey;
    for alg in PAIRS.into_iter().filter(|alg| !["ES512", "Ed25519"].contains(alg)) {
        let pair = pair_of(alg);
        let pem = key(pair, "publicPem");
        let pem = pem.as_str().unwrap().as_bytes();
        let oracle = match pair {
            "rsa" => DecodingKey::from_rsa_pem(pem),
            "ed25519" => DecodingKey::from_ed_pem(pem),
            _ => DecodingKey::from_ec_pem(pem),
        };
        let oracle = oracle.unwrap();
        let algorithm = alg.parse().unwrap();
        let ours = verifier(&keys(alg, "publicPem"));
        let token = testdata()["tokens"][alg].as_str().unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let good = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for at in 0..good.len().min(80) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            let theirs = jsonwebtoken::crypto::verify(
                &segment(&bytes),
                message.as_bytes(),
                &oracle,
                algorithm,
            );
            assert_eq!(theirs.ok(), Some(false), "{alg} byte {at}");
            assert_eq!(
                denial(&ours, &format!("{message}.{}", segment(bytes))),
                TokenError::Signature
            );
        }
        assert!(
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &oracle, algorithm)
                .unwrap()
        );
        assert!(ours.verify(token, now()).is_ok());
    }
}

#[test]
fn a_key_takes_tokens_of_its_own_algorithm_alone() {
    for of_key in Algorithm::ALL.map(Algorithm::name) {
        let options = if of_key.starts_with("HS") {
            json!({ "secret": secret(), "algorithms": [of_key] })
        } else {
            keys(of_key, "publicPem")
        };
        let verifier = verifier(&options);
        for of_token in Algorithm::ALL.map(Algorithm::name).into_iter().filter(|alg| *alg != of_key)
        {
            let token = testdata()["tokens"][of_token].as_str().unwrap();
            assert_eq!(denial(&verifier, token), TokenError::Algorithm, "{of_key} took {of_token}");
            // The same token with the `alg` of the key in its header.
            let (_, rest) = token.split_once('.').unwrap();
            let renamed = format!("{}.{rest}", segment(format!(r#"{{"alg":"{of_key}"}}"#)));
            assert_eq!(
                denial(&verifier, &renamed),
                TokenError::Signature,
                "{of_key} took {of_token}"
            );
        }
    }
}
