//! The examples of the RFCs, with their keys.

use super::*;

/// The payload of a compact JWS by the key of an example. The text of the RFC states its `alg`.
fn payload(token: &str, jwk: &Value) -> Result<String, String> {
    verify_compact(token, jwk, now())
        .map(|payload| String::from_utf8(payload).unwrap())
        .map_err(|error| error.to_string())
}

/// The example verifies. With one bit of its signature, payload or header changed, it does not.
fn verifies(token: &str, jwk: &Value, expected: &str) {
    assert_eq!(payload(token, jwk).as_deref(), Ok(expected));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[0] ^= 1;
    assert_eq!(
        payload(&format!("{message}.{}", segment(bytes)), jwk).unwrap_err(),
        "token_signature"
    );
    let (header, _) = message.split_once('.').unwrap();
    assert_eq!(payload(&format!("{header}.e30.{signature}"), jwk).unwrap_err(), "token_signature");
}

/// RFC 7515 appendix A: the claims of A.1 to A.3 and A.5, with their line breaks.
const JOE: &str =
    "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
const JOE_SEGMENT: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

#[test]
fn rfc_7515_a_1_hs256() {
    let jwk = json!({ "kty": "oct", "alg": "HS256",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" });
    let token = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE_SEGMENT}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    verifies(&token, &jwk, JOE);
}

#[test]
fn rfc_7515_a_2_rs256() {
    let jwk = json!({ "kty": "RSA", "alg": "RS256", "e": "AQAB",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" });
    let token = format!(
        "eyJhbGciOiJSUzI1NiJ9.{JOE_SEGMENT}.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    verifies(&token, &jwk, JOE);
}

#[test]
fn rfc_7515_a_3_es256() {
    let jwk = json!({ "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.{JOE_SEGMENT}.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    );
    verifies(&token, &jwk, JOE);
}

#[test]
fn rfc_7515_a_4_es512() {
    let jwk = json!({ "kty": "EC", "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2" });
    verifies(
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        &jwk,
        "Payload",
    );
}

#[test]
fn rfc_7515_a_5_unsecured_and_a_6_json_are_not_taken() {
    let jwk = json!({ "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let unsecured = format!("eyJhbGciOiJub25lIn0.{JOE_SEGMENT}.");
    assert_eq!(payload(&unsecured, &jwk).unwrap_err(), "token_malformed");
    let flattened = json!({ "payload": JOE_SEGMENT, "protected": "eyJhbGciOiJFUzI1NiJ9",
        "header": { "kid": "e9bc097a-ce51-4036-9562-d2ade882db0d" },
        "signature": "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q" });
    assert_eq!(payload(&flattened.to_string(), &jwk).unwrap_err(), "token_malformed");
    // Appendix E: a critical extension that is not supported.
    let critical = r#"{"alg":"none","crit":["http://example.com/UNDEFINED"],"http://example.com/UNDEFINED":true}"#;
    let token = format!("{}.RkFJTA.", segment(critical));
    assert_eq!(payload(&token, &jwk).unwrap_err(), "token_malformed");
}

/// RFC 7520 section 4: the payload of figure 7.
const FRODO: &str = "It\u{2019}s a dangerous business, Frodo, going out your door. You step onto the road, and if you don't keep your feet, there\u{2019}s no knowing where you might be swept off to.";
/// Figure 4, a key of 2048 bits.
const BILBO_N: &str = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";

fn rfc_7520(header: &str, signature: &str) -> String {
    format!("{}.{}.{signature}", segment(header), segment(FRODO))
}

fn bilbo(alg: &str) -> Value {
    json!({ "kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "alg": alg, "n": BILBO_N, "e": "AQAB" })
}

#[test]
fn rfc_7520_4_1_rs256() {
    let token = rfc_7520(
        r#"{"alg":"RS256","kid":"bilbo.baggins@hobbiton.example"}"#,
        "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg",
    );
    verifies(&token, &bilbo("RS256"), FRODO);
    // The same key with another algorithm refuses it.
    assert_eq!(payload(&token, &bilbo("PS256")).unwrap_err(), "token_algorithm");
}

#[test]
fn rfc_7520_4_2_ps384() {
    let token = rfc_7520(
        r#"{"alg":"PS384","kid":"bilbo.baggins@hobbiton.example"}"#,
        "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
    );
    verifies(&token, &bilbo("PS384"), FRODO);
}

#[test]
fn rfc_7520_4_3_es512() {
    let jwk = json!({ "kty": "EC", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "crv": "P-521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1" });
    let token = rfc_7520(
        r#"{"alg":"ES512","kid":"bilbo.baggins@hobbiton.example"}"#,
        "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
    );
    verifies(&token, &jwk, FRODO);
}

#[test]
fn rfc_7520_4_4_hs256_and_4_5_detached() {
    let jwk = json!({ "kty": "oct", "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037", "use": "sig", "alg": "HS256",
        "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg" });
    let header = r#"{"alg":"HS256","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037"}"#;
    let signature = "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0";
    verifies(&rfc_7520(header, signature), &jwk, FRODO);
    // The content is detached, so the signed bytes are not in the token.
    let detached = format!("{}..{signature}", segment(header));
    assert_eq!(payload(&detached, &jwk).unwrap_err(), "token_signature");
}

#[test]
fn rfc_8037_a_4_ed25519() {
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    verifies(
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        &jwk,
        "Example of Ed25519 signing",
    );
}

#[test]
fn rfc_8037_a_1_private_key_signs_what_its_public_part_verifies() {
    let key = json!({ "kty": "OKP", "crv": "Ed25519",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let config = config(&json!({ "keys": [{ "alg": "EdDSA", "key": key }] }));
    let claims = json!({ "sub": "42" }).as_object().unwrap().clone();
    let token = Signer::new(Arc::clone(&config))
        .unwrap()
        .issue(claims, IssueOptions::default(), now())
        .unwrap()
        .token;
    assert!(Verifier::new(config).verify(&token, now()).is_ok());
}
