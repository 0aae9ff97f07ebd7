//! Verifies a `DPoP` proof and returns the key that made it (RFC 9449 section 4.3).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::binding::confirmation::Thumbprint;
use crate::binding::url::ProofUrl;
use crate::clock::{Now, micros};
use crate::jose::{self, Compact};
use crate::keys::algorithm::{Algorithm, Family};
use crate::keys::jwk;
use crate::keys::key::Key;

/// The maximum age of a proof.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// The maximum length of a `jti` in bytes.
const MAX_ID: usize = 256;
/// The algorithms in the challenge: all asymmetric ones.
pub const ALGORITHMS: &str = "ES256 ES384 ES512 EdDSA Ed25519 PS256 PS384 PS512 RS256 RS384 RS512";

/// The request that a proof is checked against.
#[derive(Debug, Clone, Copy)]
pub struct ProofRequest<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its URL; `None` without a usable `Host`: then no proof matches.
    pub url: Option<&'a ProofUrl>,
    /// The token that comes with the proof.
    pub token: &'a str,
    /// The instant of the request.
    pub now: Now,
    /// The allowed lead of the clock of the proof's maker.
    pub ahead_us: u64,
    /// Proofs made until this time may have been used without a record: see
    /// [`crate::binding::ClockRollback`].
    pub forgotten_until_us: u64,
}

/// Identifies a proof in the list of used proofs. Two proofs have the same id only if they have the
/// same key and the same `jti`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProofId([u8; 16]);

impl ProofId {
    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

#[cfg(test)]
impl From<[u8; 16]> for ProofId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for ProofId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofId")
    }
}

/// A valid proof. Its `nonce` and its earlier use are not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that made it.
    pub key: Thumbprint,
    /// Its id in the list of used proofs.
    pub id: ProofId,
    /// The earliest time at which it was made, in microseconds since the epoch: its `iat`, or the
    /// time of its nonce.
    pub made_us: u64,
    /// Its `nonce`.
    pub nonce: Option<String>,
}

/// The reason to refuse a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no `DPoP` header.
    Missing,
    /// The strict reader rejects it as a compact JWS.
    Malformed,
    /// Its `typ` is not `dpop+jwt`.
    Type,
    /// Its `alg` is `none`, symmetric or unknown.
    Algorithm,
    /// Its `jwk` is missing, private, weak, or does not fit its `alg`.
    Key,
    /// Its own key did not make its signature.
    Signature,
    /// A claim is missing or has the wrong type.
    Claims,
    /// Its `htm` is not the method of the request.
    Method,
    /// Its `htu` is not the URL of the request.
    Url,
    /// Its times do not show that it was made recently.
    Time,
    /// Its `ath` is not the digest of the token.
    Token,
    /// Its key is not the one that the token is bound to.
    Binding,
}

impl ProofError {
    /// The description of the error for the client.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Missing => "a DPoP proof is required in the header DPoP",
            Self::Malformed => "the DPoP proof is malformed",
            Self::Type => "the typ of the DPoP proof must be dpop+jwt",
            Self::Algorithm => "the alg of the DPoP proof must be one of the algs named here",
            Self::Key => "the jwk of the DPoP proof must be a public key that fits its alg",
            Self::Signature => "the signature of the DPoP proof is not valid",
            Self::Claims => {
                "the DPoP proof needs jti (1 to 256 bytes), htm, htu, iat and ath, each of its kind"
            }
            Self::Method => "the htm of the DPoP proof is not the method of the request",
            Self::Url => "the htu of the DPoP proof is not the URL of the request",
            Self::Time => "the iat of the DPoP proof is not recent",
            Self::Token => "the ath of the DPoP proof is not the digest of the token",
            Self::Binding => "the DPoP proof is by another key than the token is bound to",
        }
    }
}

/// Verifies the value of the header `DPoP`.
pub fn read_proof(text: &str, request: &ProofRequest<'_>) -> Result<Proof, ProofError> {
    let (compact, header) = Compact::read_whole(text).map_err(|_| ProofError::Malformed)?;
    if compact.header.typ.as_deref() != Some("dpop+jwt") {
        return Err(ProofError::Type);
    }
    let algorithm = Algorithm::from_name(&compact.header.alg)
        .filter(|algorithm| algorithm.family() != Family::Hmac)
        .ok_or(ProofError::Algorithm)?;
    let Some(Value::Object(jwk)) = header.get("jwk") else { return Err(ProofError::Key) };
    let key = public_key(jwk, algorithm).ok_or(ProofError::Key)?;
    if !key.verify(compact.signing_input.as_bytes(), compact.signature()) {
        return Err(ProofError::Signature);
    }
    let claims = compact.claims().map_err(|_| ProofError::Malformed)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(ProofError::Claims);
    let jti = text("jti")?;
    if jti.is_empty() || jti.len() > MAX_ID {
        return Err(ProofError::Claims);
    }
    let nonce = claims.get("nonce").map(|_| text("nonce")).transpose()?;
    if text("htm")? != request.method {
        return Err(ProofError::Method);
    }
    let url = ProofUrl::read(text("htu")?).ok_or(ProofError::Url)?;
    if request.url != Some(&url) {
        return Err(ProofError::Url);
    }
    let made_us = check_time(&claims, request)?;
    let digest = digest::digest(&digest::SHA256, request.token.as_bytes());
    if text("ath")? != URL_SAFE_NO_PAD.encode(digest) {
        return Err(ProofError::Token);
    }
    let key = thumbprint(jwk).ok_or(ProofError::Key)?;
    Ok(Proof { key, id: id(&key, jti), made_us, nonce: nonce.map(str::to_owned) })
}

/// Checks the times of a proof and returns its `iat`. `exp` and `nbf` are optional, but are
/// enforced if present.
fn check_time(claims: &Map<String, Value>, request: &ProofRequest<'_>) -> Result<u64, ProofError> {
    let time = |name: &str| {
        let Some(value) = claims.get(name) else { return Ok(None) };
        let date = value.as_number().and_then(|number| jose::date(number).ok());
        date.map(Some).ok_or(ProofError::Claims)
    };
    let made = time("iat")?.ok_or(ProofError::Claims)?;
    let now_us = request.now.unix_us;
    let soon = now_us.saturating_add(request.ahead_us);
    // A proof made ahead of the old clock may have been accepted then.
    let doubtful = request.forgotten_until_us != 0
        && made <= request.forgotten_until_us.saturating_add(request.ahead_us);
    let recent = now_us <= made.saturating_add(micros(MAX_AGE));
    let fresh = made <= soon && recent && !doubtful;
    let begun = time("nbf")?.is_none_or(|from| from <= soon);
    let over = time("exp")?.is_some_and(|until| until <= now_us);
    if fresh && begun && !over { Ok(made) } else { Err(ProofError::Time) }
}

fn public_key(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Key> {
    const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
        return None;
    }
    if !jwk::algorithms("jwk", jwk).ok()?.contains(&algorithm) {
        return None;
    }
    Key::new("jwk", jwk::read("jwk", jwk, algorithm).ok()?, algorithm).ok()
}

/// The thumbprint of RFC 7638 section 3. The key reader ensures that each of these members has one
/// spelling, which JSON writes without an escape.
fn thumbprint(jwk: &Map<String, Value>) -> Option<Thumbprint> {
    let names: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "RSA" => &["e", "kty", "n"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let member = |name: &&str| Some(format!("\"{name}\":\"{}\"", jwk.get(*name)?.as_str()?));
    let members: Vec<String> = names.iter().map(member).collect::<Option<_>>()?;
    Some(Thumbprint::of(format!("{{{}}}", members.join(",")).as_bytes()))
}

fn id(key: &Thumbprint, jti: &str) -> ProofId {
    ProofId(digest_of([b"dpop proof\0", key.as_bytes(), jti.as_bytes()]))
}

impl Proof {
    /// The id under which the proofs of its key are counted.
    pub(super) fn maker(&self) -> [u8; 16] {
        digest_of([b"dpop maker\0", self.key.as_bytes(), b""])
    }
}

fn digest_of(parts: [&[u8]; 3]) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    bytes
}
