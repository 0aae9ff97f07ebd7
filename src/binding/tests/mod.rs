//! Proofs and bindings: accepted ones, and a table of those that must be refused.

mod bound;

use crate::binding::{
    Confirmation, Proof, ProofError, ProofRequest, ProofUrl, Thumbprint, read_proof,
};
use crate::net::TrustedProxies;
use crate::request::Request;
use crate::request::tests::head;
use crate::token::tests::*;

const URL: &str = "https://api.example.com/v1/orders";
const TOKEN: &str = "a.b.c";
const AHEAD_US: u64 = 10_000_000;

fn url() -> ProofUrl {
    ProofUrl::read(URL).unwrap()
}

fn ath(token: &str) -> String {
    segment(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()))
}

/// The claims of a good proof, replaced or extended by `more`; `"\0gone"` removes one.
fn proof_claims(more: &Value) -> Value {
    let mut claims =
        json!({ "jti": "p-1", "htm": "POST", "htu": URL, "iat": NOW_S, "ath": ath(TOKEN) });
    for (name, value) in more.as_object().unwrap() {
        if value == "\0gone" {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// The public key of the test data, reduced to the type and numbers of the key.
fn public_jwk(pair: &str) -> Value {
    let mut jwk = key(pair, "publicJwk");
    for name in ["alg", "kid", "use", "key_ops"] {
        jwk.as_object_mut().unwrap().remove(name);
    }
    jwk
}

fn proof_header(alg: &str, pair: &str) -> Value {
    json!({ "typ": "dpop+jwt", "alg": alg, "jwk": public_jwk(pair) })
}

pub(super) fn proof(more: &Value) -> String {
    let header = proof_header("ES256", "p256").to_string();
    signed_as(&header, &proof_claims(more), jsonwebtoken::Algorithm::ES256, "p256")
}

/// Verifies a proof at a server where those made until `forgotten_until_us` may have been used.
pub(super) fn judge_after(
    text: &str,
    now: Now,
    forgotten_until_us: u64,
) -> Result<Proof, ProofError> {
    let url = url();
    let request = ProofRequest {
        method: "POST",
        url: Some(&url),
        token: TOKEN,
        now,
        ahead_us: AHEAD_US,
        forgotten_until_us,
    };
    read_proof(text, &request)
}

pub(super) fn judge_at(text: &str, now: Now) -> Result<Proof, ProofError> {
    judge_after(text, now, 0)
}

pub(super) fn judge(text: &str) -> Result<Proof, ProofError> {
    judge_at(text, now())
}

#[test]
fn the_examples_of_rfc_9449_verify_at_their_time() {
    const HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
    // Section 7.1.
    let text = format!(
        "{HEADER}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
    );
    let url = ProofUrl::read("https://resource.example.org/protectedresource").unwrap();
    let request = |seconds| ProofRequest {
        method: "GET",
        url: Some(&url),
        token: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU",
        now: at(seconds),
        ahead_us: AHEAD_US,
        forgotten_until_us: 0,
    };
    let proof = read_proof(&text, &request(1_562_262_620)).unwrap();
    // Section 6.1.
    let bound = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
    assert_eq!(Confirmation::read(&bound).unwrap().key, Some(proof.key));
    assert_eq!(read_proof(&text, &request(1_562_262_679)), Err(ProofError::Time));
    // Section 5: this proof is for the authorization server and has no `ath`.
    let text = format!(
        "{HEADER}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    );
    let url = ProofUrl::read("https://server.example.com/token").unwrap();
    let request = ProofRequest { method: "POST", url: Some(&url), ..request(1_562_262_620) };
    assert_eq!(read_proof(&text, &request), Err(ProofError::Claims));
}

#[test]
fn the_certificate_of_rfc_8705_has_the_thumbprint_of_rfc_8705() {
    use base64::engine::general_purpose::STANDARD;
    // Appendix A.
    let der = STANDARD
        .decode("MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAxODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwIDSQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOVbUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=")
        .unwrap();
    let bound = json!({ "x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0" });
    let wanted = Confirmation::read(&bound).unwrap().certificate.unwrap();
    assert_eq!(wanted, Thumbprint::of(&der));
    let fingerprint: Vec<String> =
        wanted.as_bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(Thumbprint::from_fingerprint(&fingerprint.join(":")), Some(wanted));
    for bad in [
        "",
        ":",
        "AA",
        &fingerprint[1..].join(":"),
        &fingerprint.join(""),
        &format!("{}:AA", fingerprint.join(":")),
    ] {
        assert_eq!(Thumbprint::from_fingerprint(bad), None, "{bad}");
    }
}

#[test]
fn a_proof_by_any_asymmetric_algorithm_is_taken_and_its_key_named() {
    use jsonwebtoken::Algorithm as Jwt;
    for (name, alg) in [
        ("RS256", Jwt::RS256),
        ("RS512", Jwt::RS512),
        ("PS256", Jwt::PS256),
        ("PS384", Jwt::PS384),
        ("ES256", Jwt::ES256),
        ("ES384", Jwt::ES384),
        ("EdDSA", Jwt::EdDSA),
        ("Ed25519", Jwt::EdDSA),
    ] {
        let pair = pair_of(name);
        let header = proof_header(name, pair).to_string();
        let text = signed_as(&header, &proof_claims(&json!({})), alg, pair);
        let proof = judge(&text).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        // An independent implementation of RFC 7638: the crate `jsonwebtoken`.
        let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(public_jwk(pair)).unwrap();
        let wanted = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap();
        assert_eq!(Some(proof.key), Thumbprint::from_base64url(&wanted), "{name}");
    }
}

#[test]
fn no_other_claims_make_a_proof() {
    let gone = "\0gone";
    let long = "x".repeat(257);
    let cases: Vec<(ProofError, Vec<Value>)> = vec![
        (
            ProofError::Claims,
            vec![
                json!({ "jti": gone }),
                json!({ "jti": "" }),
                json!({ "jti": 5 }),
                json!({ "jti": null }),
                json!({ "jti": long }),
                json!({ "htm": gone }),
                json!({ "htm": ["POST"] }),
                json!({ "htu": gone }),
                json!({ "htu": { "a": URL } }),
                json!({ "iat": gone }),
                json!({ "iat": NOW_S.to_string() }),
                json!({ "iat": NOW_S * 1000 }),
                json!({ "iat": -1 }),
                json!({ "iat": null }),
                json!({ "ath": gone }),
                json!({ "ath": null }),
                json!({ "nonce": 7 }),
                json!({ "exp": "later" }),
            ],
        ),
        (
            ProofError::Method,
            vec![
                json!({ "htm": "GET" }),
                json!({ "htm": "post" }),
                json!({ "htm": "POST " }),
                json!({ "htm": "" }),
            ],
        ),
        (
            ProofError::Time,
            vec![
                json!({ "iat": NOW_S - 61 }),
                json!({ "iat": NOW_S + 11 }),
                json!({ "iat": 0 }),
                json!({ "exp": NOW_S }),
                json!({ "nbf": NOW_S + 11 }),
            ],
        ),
        (
            ProofError::Token,
            vec![
                json!({ "ath": ath("a.b.d") }),
                json!({ "ath": "" }),
                json!({ "ath": TOKEN }),
                json!({ "ath": format!("{}=", ath(TOKEN)) }),
                json!({ "ath": ath(TOKEN).to_lowercase() }),
            ],
        ),
        (ProofError::Malformed, vec![json!({ "uid": 9_007_199_254_740_993_u64 })]),
    ];
    for (fault, cases) in cases {
        for more in cases {
            assert_eq!(judge(&proof(&more)), Err(fault), "{more}");
        }
    }
}

#[test]
fn a_proof_for_any_other_url_is_refused() {
    for htu in [
        "https://api.example.com/v1/orders/",
        "https://api.example.com/v1/order",
        "https://api.example.com/V1/orders",
        "https://api.example.com/v1%2Forders",
        "https://api.example.com/v1/./orders",
        "https://api.example.com/v1/x/../orders",
        "https://api.example.com/v1/%2e/orders",
        "https://api.example.com//v1/orders",
        "https://api.example.com/",
        "https://api.example.com",
        "https://api.example.com./v1/orders",
        "https://api.example.com:8443/v1/orders",
        "https://api.example.com:80/v1/orders",
        "https://api.example.com:0/v1/orders",
        "https://api.example.com:65979/v1/orders",
        "https://api.example.com:443:443/v1/orders",
        "https://www.api.example.com/v1/orders",
        "https://example.com/v1/orders",
        "https://api.example.com.evil.example/v1/orders",
        "https://evil.example/https://api.example.com/v1/orders",
        "https://user@api.example.com/v1/orders",
        "https://api.example.com@evil.example/v1/orders",
        "https://evil.example\\@api.example.com/v1/orders",
        "http://api.example.com/v1/orders",
        "http://api.example.com:443/v1/orders",
        "ftp://api.example.com/v1/orders",
        "//api.example.com/v1/orders",
        "/v1/orders",
        "api.example.com/v1/orders",
        "https:/api.example.com/v1/orders",
        "https:///v1/orders",
        " https://api.example.com/v1/orders",
        "https://api.example.com/v1/orders ",
        "https://api.example.com/v1/orders\n",
        "https://api.ex\u{e4}mple.com/v1/orders",
        "https://api.example.com/v1/orders%",
        "https://api.example.com/v1/orders%zz",
        "https://?/v1/orders",
        "",
    ] {
        assert_eq!(judge(&proof(&json!({ "htu": htu }))), Err(ProofError::Url), "{htu}");
    }
}

#[test]
fn spellings_of_one_url_and_times_within_the_window_are_taken() {
    for more in [
        json!({}),
        json!({ "htu": "HTTPS://API.example.COM:443/v1/orders" }),
        json!({ "htu": "https://api.example.com:/v1/orders" }),
        json!({ "htu": "https://api.example.com/%761/order%73" }),
        json!({ "htu": "https://api.example.com/v1/orders?page=2#top" }),
        json!({ "iat": NOW_S - 60 }),
        json!({ "iat": NOW_S + 10 }),
        json!({ "iat": 1_799_999_999.5 }),
        json!({ "exp": NOW_S + 1, "nbf": NOW_S }),
        json!({ "jti": "x".repeat(256) }),
        json!({ "nonce": "n" }),
        json!({ "other": [1, 2] }),
    ] {
        assert!(judge(&proof(&more)).is_ok(), "{more}");
    }
}

#[test]
fn no_other_header_makes_a_proof() {
    let sign = |header: &Value| {
        signed_as(
            &header.to_string(),
            &proof_claims(&json!({})),
            jsonwebtoken::Algorithm::ES256,
            "p256",
        )
    };
    let with = |more: Value| {
        let mut header = proof_header("ES256", "p256");
        header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    let jwk_with = |more: Value| {
        let mut header = proof_header("ES256", "p256");
        header["jwk"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        header
    };
    assert!(judge(&sign(&with(json!({})))).is_ok());
    let private = key("p256", "privateJwk");
    for (fault, header) in [
        (ProofError::Type, with(json!({ "typ": "JWT" }))),
        (ProofError::Type, with(json!({ "typ": "at+jwt" }))),
        (ProofError::Type, with(json!({ "typ": "DPoP+JWT" }))),
        (ProofError::Type, with(json!({ "typ": "application/dpop+jwt" }))),
        (ProofError::Type, json!({ "alg": "ES256", "jwk": public_jwk("p256") })),
        (ProofError::Malformed, with(json!({ "typ": null }))),
        (ProofError::Algorithm, with(json!({ "alg": "none" }))),
        (ProofError::Algorithm, with(json!({ "alg": "NONE" }))),
        (ProofError::Algorithm, with(json!({ "alg": "" }))),
        (ProofError::Algorithm, with(json!({ "alg": "es256" }))),
        (ProofError::Algorithm, with(json!({ "alg": "ES256K" }))),
        (ProofError::Algorithm, with(json!({ "alg": "HS256" }))),
        (ProofError::Key, with(json!({ "alg": "ES384" }))),
        (ProofError::Key, with(json!({ "alg": "RS256" }))),
        (ProofError::Key, with(json!({ "alg": "EdDSA" }))),
        (ProofError::Key, json!({ "typ": "dpop+jwt", "alg": "ES256" })),
        (ProofError::Key, with(json!({ "jwk": null }))),
        (ProofError::Key, with(json!({ "jwk": [] }))),
        (ProofError::Key, with(json!({ "jwk": {} }))),
        (ProofError::Key, with(json!({ "jwk": public_jwk("p256").to_string() }))),
        (ProofError::Key, with(json!({ "jwk": private }))),
        (ProofError::Key, jwk_with(json!({ "d": "AA" }))),
        (ProofError::Key, jwk_with(json!({ "k": "AA" }))),
        (ProofError::Key, jwk_with(json!({ "oth": [] }))),
        (ProofError::Key, jwk_with(json!({ "kty": "oct" }))),
        (ProofError::Key, jwk_with(json!({ "kty": "RSA" }))),
        (ProofError::Key, jwk_with(json!({ "crv": "P-384" }))),
        (ProofError::Key, jwk_with(json!({ "crv": "secp256k1" }))),
        (ProofError::Key, jwk_with(json!({ "use": "enc" }))),
        (ProofError::Key, jwk_with(json!({ "key_ops": ["sign"] }))),
        (ProofError::Key, jwk_with(json!({ "alg": "ES384" }))),
        (ProofError::Key, jwk_with(json!({ "x": "AA" }))),
        (ProofError::Key, jwk_with(json!({ "x": segment([0; 32]), "y": segment([0; 32]) }))),
        (
            ProofError::Signature,
            json!({ "typ": "dpop+jwt", "alg": "RS256", "jwk": public_jwk("rsa") }),
        ),
        (
            ProofError::Signature,
            json!({ "typ": "dpop+jwt", "alg": "EdDSA", "jwk": public_jwk("ed25519") }),
        ),
        (ProofError::Malformed, with(json!({ "crit": ["exp"] }))),
        (ProofError::Malformed, with(json!({ "b64": false }))),
        (ProofError::Malformed, with(json!({ "pad": "x".repeat(1024) }))),
    ] {
        assert_eq!(judge(&sign(&header)), Err(fault), "{header}");
    }
    // Other references to a key in the header are ignored.
    assert!(
        judge(&sign(&with(json!({ "jku": "https://evil.example", "x5c": [], "kid": "x" }))))
            .is_ok()
    );
    // A secret is not a public key, even if it has signed the message.
    let header = json!({ "typ": "dpop+jwt", "alg": "HS256", "jwk": { "kty": "oct", "k": segment(secret()) } });
    let message = format!(
        "{}.{}",
        segment(header.to_string()),
        segment(proof_claims(&json!({})).to_string())
    );
    let text = hmac_sign(&message, hmac::HMAC_SHA256, secret().as_bytes());
    assert_eq!(judge(&text), Err(ProofError::Algorithm));
}

#[test]
fn a_proof_has_one_text() {
    let good = proof(&json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let twice = r#"{"typ":"dpop+jwt","alg":"ES256","alg":"ES256","jwk":{}}"#;
    for bad in [
        String::new(),
        "a.b.c".to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{good}."),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}, {good}"),
        format!("{header}..{signature}"),
        format!("{}.{payload}.{signature}", segment(twice)),
        format!("{header}.{payload}.{}", "A".repeat(9000)),
    ] {
        assert!(matches!(judge(&bad), Err(ProofError::Malformed | ProofError::Signature)), "{bad}");
    }
    let zeros = format!("{message}.{}", segment([0; 64]));
    assert_eq!(judge(&zeros), Err(ProofError::Signature), "CVE-2022-21449");
    assert_eq!(
        judge(&format!(
            "{header}.{}.{signature}",
            segment(proof_claims(&json!({ "jti": "other" })).to_string())
        )),
        Err(ProofError::Signature)
    );
}

#[test]
fn the_url_of_a_request_is_what_its_host_and_path_say() {
    let of = |target: &str, host: &str, proto: Option<&str>| {
        let mut headers = vec![("Host", host)];
        headers.extend(proto.map(|proto| ("X-Forwarded-Proto", proto)));
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], false);
        let request = Request::read(head("GET", target, "10.0.0.1", &headers), &trusted).unwrap();
        ProofUrl::of(&request)
    };
    let read = |htu: &str| ProofUrl::read(htu);
    assert_eq!(of("/v1/orders?a=b", "api.example.com", Some("https")), Some(url()));
    assert_eq!(of("/v1/orders", "API.EXAMPLE.COM:443", Some("https")), Some(url()));
    assert_eq!(of("/v1/orders", "api.example.com", None), read("http://api.example.com/v1/orders"));
    assert_eq!(of("/caf%c3%a9/%7Eu", "h:8080", None), read("http://h:8080/caf%C3%A9/~u"));
    assert_eq!(of("/", "[::1]:80", None), read("http://[::1]"));
    assert_ne!(of("/", "[::1]:81", None), read("http://[::1]"));
    assert_ne!(of("/", "api.example.com.", None), read("http://api.example.com/"));
    for host in ["", ":443", "a b", "user@host", "a,b", "h:x", "h:99999"] {
        assert_eq!(of("/", host, None), None, "{host}");
    }
}

proptest::proptest! {
    #[test]
    fn no_proof_panics(text in "\\PC{0,80}|[A-Za-z0-9_.=-]{0,200}", htu in "\\PC{0,40}|https?://[a-z%0-9/.:@\\[\\]-]{0,40}") {
        let _ = judge(&text);
        if let Some(url) = ProofUrl::read(&htu) {
            proptest::prop_assert_eq!(ProofUrl::read(&htu.to_uppercase()).is_some(), true, "{:?}", url);
        }
    }
}
