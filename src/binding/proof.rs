//! A `DPoP` proof in, the key that made it out (RFC 9449 section 4.3).

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

/// How old a proof may be.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// No `jti` is longer than this many bytes.
const MAX_ID: usize = 256;
/// What the challenge says of algorithms: all that are not symmetric.
pub const ALGORITHMS: &str = "ES256 ES384 ES512 EdDSA Ed25519 PS256 PS384 PS512 RS256 RS384 RS512";

/// What a proof is judged against.
#[derive(Debug, Clone, Copy)]
pub struct ProofRequest<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its URL; `None` where it has no usable `Host`, so that no proof can be for it.
    pub url: Option<&'a ProofUrl>,
    /// The token that comes with the proof.
    pub token: &'a str,
    /// When.
    pub now: Now,
    /// How far the clock of the proof's maker may be ahead.
    pub ahead_us: u64,
    /// Up to when proofs may have been used that nobody remembers: what
    /// [`crate::binding::ClockRollback`] says.
    pub forgotten_until_us: u64,
}

/// What stands for a proof among those that were used: no two have the same unless they are by one
/// key and have one `jti`.
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

/// A proof that is good but for its `nonce`, and for having been used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that made it.
    pub key: Thumbprint,
    /// What it is remembered by.
    pub id: ProofId,
    /// When it was made at the earliest, in microseconds since the epoch: its `iat`, or when its
    /// nonce was given.
    pub made_us: u64,
    /// Its `nonce`.
    pub nonce: Option<String>,
}

/// Why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no `DPoP` header.
    Missing,
    /// It is no compact JWS that the strict reader takes.
    Malformed,
    /// Its `typ` is not `dpop+jwt`.
    Type,
    /// Its `alg` is none, symmetric or not known.
    Algorithm,
    /// Its `jwk` is missing, private, weak, or not for its `alg`.
    Key,
    /// Its signature is not by its own key.
    Signature,
    /// A claim is missing or of the wrong kind.
    Claims,
    /// Its `htm` is not the method of the request.
    Method,
    /// Its `htu` is not the URL of the request.
    Url,
    /// It was not made just now.
    Time,
    /// Its `ath` is not the digest of the token.
    Token,
    /// It is by another key than the one that the token is bound to.
    Binding,
}

impl ProofError {
    /// One word for the operator.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "dpop_missing",
            Self::Malformed => "dpop_malformed",
            Self::Type => "dpop_typ",
            Self::Algorithm => "dpop_alg",
            Self::Key => "dpop_jwk",
            Self::Signature => "dpop_signature",
            Self::Claims => "dpop_claims",
            Self::Method => "dpop_htm",
            Self::Url => "dpop_htu",
            Self::Time => "dpop_iat",
            Self::Token => "dpop_ath",
            Self::Binding => "dpop_key_not_of_token",
        }
    }

    /// What the client is told.
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

/// Takes the value of the header `DPoP` and says whose key made it, or why it is refused.
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

/// When it was made. `exp` and `nbf` need not be there, but what they say counts.
fn check_time(claims: &Map<String, Value>, request: &ProofRequest<'_>) -> Result<u64, ProofError> {
    let time = |name: &str| {
        let Some(value) = claims.get(name) else { return Ok(None) };
        let date = value.as_number().and_then(|number| jose::date(number).ok());
        date.map(Some).ok_or(ProofError::Claims)
    };
    let made = time("iat")?.ok_or(ProofError::Claims)?;
    let now_us = request.now.unix_us;
    let soon = now_us.saturating_add(request.ahead_us);
    // One made ahead of the clock as it was may have been taken then.
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

/// RFC 7638 section 3. The reader of keys has made sure that each of these members has one
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
    /// What its key is counted by.
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
