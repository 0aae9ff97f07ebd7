//! Issues tokens that the verifier of the same guard accepts.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::clock::Now;
use crate::jose::MAX_TOKEN_BYTES;
use crate::json::object;
use crate::keys::key::Key;
use crate::keys::seal::{SealKey, Seals};
use crate::rotation::Rotation;
use crate::token::claims;
use crate::token::config::TokenConfig;
use crate::token::issuer::Issuer;

const DEFAULT_EXPIRES_IN: Duration = Duration::from_secs(15 * 60);

/// The options of one new token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IssueOptions {
    /// From 1 s to `maxLifetime`. Default: 15 minutes, or `maxLifetime` if that is less.
    pub expires_in: Option<Duration>,
    /// Unix time in seconds. The `iat` of the token is at least the next second. Pass
    /// [`crate::revocation::Revocations::subject_before`] of the subject: the revocation of a "log
    /// out everywhere" then does not cover a login in the same second.
    pub after: Option<u64>,
}

/// An issued token.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The compact form.
    pub token: String,
    /// Seconds until it expires.
    pub expires_in_s: u64,
    /// Its `jti`, which can be revoked.
    pub jti: String,
    /// Its `sid`: the given one, or a random one.
    pub session: String,
    /// Its `iat`.
    pub issued_at_s: u64,
    /// Whether it is bound to a key (`cnf.jkt`) and therefore needs a proof (RFC 9449 section 5).
    pub dpop: bool,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("expires_in_s", &self.expires_in_s).finish_non_exhaustive()
    }
}

/// The reason why no token was issued. The texts name the claim or option, never its value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IssueError {
    /// There is no private key or secret, or none is usable now.
    #[error(
        "no key can sign now; give `jwt.secret`, or a private key in `jwt.keys` whose time it is"
    )]
    NoKey,
    /// Callbacks store the keys, and the keys are not loaded yet.
    #[error("the signing keys are not loaded yet; wait for `guard.ready()`")]
    NotLoaded,
    /// The caller passed a claim that only the guard sets.
    #[error("the claim `{0}` is set by the guard; leave it out")]
    Reserved(&'static str),
    /// The caller passed an `iss` or `aud` that is not the guard's own.
    #[error("the claim `{0}` must be the one of `jwt`; leave it out")]
    Foreign(&'static str),
    /// `expiresIn` is out of its range.
    #[error("`expiresIn` must be from 1s to `jwt.maxLifetime`")]
    Lifetime,
    /// The verifier would refuse the claims.
    #[error("the claims can't be issued: {0}")]
    Claims(String),
    /// The `iat` would be further in the future than the verifier accepts.
    #[error(
        "the subject is revoked up to a second that lies ahead of the clock of this process; try again later, or set the clock that is wrong: this one or that of the process that revoked it"
    )]
    Ahead,
    /// The token would exceed the size that the verifier reads.
    #[error("the token would be longer than {MAX_TOKEN_BYTES} bytes; put fewer claims into it")]
    TooLong,
    /// The system returned no random numbers.
    #[error("no random numbers are to be had")]
    Random,
}

/// Issues tokens with the newest usable key. Cheap to clone; safe to share between threads.
#[derive(Debug, Clone)]
pub struct Signer {
    config: Arc<Issuer>,
    /// Secrets that seal session records. Empty: the signing keys seal them.
    seal_keys: Vec<Arc<SealKey>>,
}

impl Signer {
    /// A signer with the keys of the first issuer of `config` that can sign, or `None` if none can.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "as `Verifier::new` takes it")]
    pub fn new(config: Arc<TokenConfig>) -> Option<Self> {
        let issuer = config.issuers.iter().find(|issuer| issuer.keys.can_sign())?;
        Some(Self { config: Arc::clone(issuer), seal_keys: config.seal_keys.clone() })
    }

    /// The issuer whose keys sign.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.config
    }

    /// Checks that a key can sign now.
    ///
    /// # Errors
    /// [`IssueError::NoKey`], or [`IssueError::NotLoaded`] if the keys rotate and are not loaded
    /// yet.
    pub fn check(&self, now: Now) -> Result<(), IssueError> {
        self.signing_key(now).map(drop)
    }

    fn signing_key(&self, now: Now) -> Result<Arc<Key>, IssueError> {
        let keys = &self.config.keys;
        keys.signing(now).ok_or(match keys.rotation() {
            Some(_) => IssueError::NotLoaded,
            None => IssueError::NoKey,
        })
    }

    /// Issues a token with `claims`. The signer adds `iss`, `aud`, `iat`, `exp` and a random `jti`,
    /// and a random `sid` if none is given.
    ///
    /// `sub` and `sid` must be strings. `iss` and `aud` may be given if they equal the configured
    /// values; `aud` may be one or several of the audiences. The header has `typ: "at+jwt"` (RFC
    /// 9068), or the value of `jwt.typ`.
    pub fn issue(
        &self,
        mut claims: Map<String, Value>,
        options: IssueOptions,
        now: Now,
    ) -> Result<Issued, IssueError> {
        let config = &*self.config;
        for name in ["iat", "exp", "jti"] {
            if claims.contains_key(name) {
                return Err(IssueError::Reserved(name));
            }
        }
        let max = config.max_lifetime();
        let expires_in = options.expires_in.unwrap_or(DEFAULT_EXPIRES_IN.min(max));
        if expires_in < Duration::from_secs(1) || expires_in > max {
            return Err(IssueError::Lifetime);
        }
        let key = self.signing_key(now)?;
        if claims.get("iss").is_some_and(|issuer| *issuer != *config.issuer) {
            return Err(IssueError::Foreign("iss"));
        }
        let ours = |value: &Value| config.audience.iter().any(|ours| value == ours);
        match claims.get("aud") {
            None => {
                let audience = match config.audience.as_slice() {
                    [one] => json!(one),
                    several => json!(several),
                };
                claims.insert("aud".to_owned(), audience);
            }
            Some(Value::Array(several)) if !several.is_empty() && several.iter().all(ours) => {}
            Some(one) if ours(one) => {}
            Some(_) => return Err(IssueError::Foreign("aud")),
        }
        let jti = random_id()?;
        let session = match claims.get("sid") {
            // The check below refuses a `sid` that is not a string.
            Some(given) => given.as_str().unwrap_or_default().to_owned(),
            None => random_id()?,
        };
        claims.entry("sid").or_insert_with(|| json!(session));
        let issued_at =
            now.unix_seconds().max(options.after.map_or(0, |after| after.saturating_add(1)));
        let expires_in_s = expires_in.as_secs();
        claims.insert("iss".to_owned(), json!(&*config.issuer));
        claims.insert("iat".to_owned(), json!(issued_at));
        claims.insert("exp".to_owned(), json!(issued_at.saturating_add(expires_in_s)));
        claims.insert("jti".to_owned(), json!(jti));
        let dpop = claims.get("cnf").is_some_and(|confirmation| confirmation.get("jkt").is_some());
        let payload = Value::Object(claims).to_string();
        // Run the checks of the verifier: a token that it would refuse is not issued.
        let unreadable = || {
            IssueError::Claims(
                "they nest too deep, or hold a number or name that is refused".to_owned(),
            )
        };
        let read = object::read_members(&payload).map_err(|_| unreadable())?;
        let begin = now
            .plus(Duration::from_secs(issued_at - now.unix_seconds()).min(Duration::from_secs(1)));
        if issued_at.saturating_mul(1_000_000) > begin.unix_us.saturating_add(config.tolerance_us) {
            return Err(IssueError::Ahead);
        }
        claims::check(config, &read)
            .and_then(|read| claims::check_time(config, &read.times, begin))
            .map_err(|denial| IssueError::Claims(denial.to_refusal().detail.to_string()))?;
        let mut header = json!({ "alg": key.algorithm.name(), "typ": config.typ.as_deref().unwrap_or("at+jwt") });
        if let (Some(kid), Some(header)) = (&key.kid, header.as_object_mut()) {
            header.insert("kid".to_owned(), json!(&**kid));
        }
        let mut token = URL_SAFE_NO_PAD.encode(header.to_string());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = key.sign(token.as_bytes()).ok_or(IssueError::NoKey)?;
        token.push('.');
        token.push_str(&signature);
        if token.len() > MAX_TOKEN_BYTES {
            return Err(IssueError::TooLong);
        }
        Ok(Issued { token, expires_in_s, jti, session, issued_at_s: issued_at, dpop })
    }

    /// The keys that seal session records at this instant; `None` while there is no key.
    #[must_use]
    pub fn seals(&self, now: Now) -> Option<Seals> {
        let keys = if self.seal_keys.is_empty() {
            self.config.keys.seals(now.unix_seconds())
        } else {
            self.seal_keys.clone()
        };
        Seals::new(Arc::clone(&self.config.issuer), keys)
    }

    /// The rotating keys, if the issuer has them.
    #[must_use]
    pub fn rotation(&self) -> Option<&Arc<Rotation>> {
        self.config.keys.rotation()
    }

    /// The public JWK set (RFC 7517 section 5) of the asymmetric keys. It includes keys whose
    /// period of use has not begun, so that other services load them before the first token. It
    /// never includes secrets.
    #[must_use]
    pub fn jwks(&self, now: Now) -> Value {
        let seconds = now.unix_seconds();
        let rotating = self.config.keys.rotation();
        let made = rotating.map(|rotation| rotation.public()).unwrap_or_default();
        let live = self.config.keys.iter().filter(|key| seconds < key.not_after);
        let keys: Vec<Value> =
            made.into_iter().chain(live.filter_map(Key::public_jwk)).map(Value::Object).collect();
        json!({ "keys": keys })
    }
}

/// 128 random bits in base64url.
fn random_id() -> Result<String, IssueError> {
    let mut bytes = [0; 16];
    crate::random::fill(&mut bytes).map_err(|_| IssueError::Random)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
