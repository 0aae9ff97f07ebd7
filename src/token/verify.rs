//! Verifies a token and returns its identity.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use crate::bearer::TokenError;
use crate::bearer::TokenSources;
use crate::binding::Confirmation;
use crate::clock::Now;
use crate::introspection::Unavailable;
use crate::jose::{Compact, MAX_TOKEN_SIZE, Malformed};
use crate::json::object;
use crate::keys::KeyError;
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::remote_keys::RemoteKeys;
use crate::session::RefreshToken;
use crate::token::cache::Entry;
use crate::token::claims::{self, Registered, Times};
use crate::token::config::{TokenConfig, bare_typ};
use crate::token::introspected::{self, IntrospectionWait};
use crate::token::issuer::Issuer;
use crate::token::resource::ProtectedResource;
use crate::token::tenants;

/// The 128 bits that identify a token for revocation.
///
/// They are a digest of the `jti`. Without a `jti`, they are a digest of header and payload as
/// sent. The signature is left out on purpose: with ECDSA every holder of a token can compute a
/// second valid signature for it (`s` and `n - s`), which would escape the revocation. Header and
/// payload have one spelling each: the reader accepts only canonical base64url, and a change to
/// either breaks the signature.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of every token with this `jti`.
    #[must_use]
    pub fn of_jti(jti: &str) -> Self {
        Self::of(b"jti\0", jti)
    }

    /// The fingerprint of an identity that is no token and has no `jti`, by the value of another
    /// claim.
    #[must_use]
    pub(crate) fn of_identity(claim: &str, value: &str) -> Self {
        Self::of(b"identity\0", &format!("{claim}\0{value}"))
    }

    pub(super) fn of_signing_input(signing_input: &str) -> Self {
        Self::of(b"jws\0", signing_input)
    }

    fn of(domain: &[u8], text: &str) -> Self {
        // In one piece: feeding a digest in parts allocates a context on the heap first.
        let whole = [domain, text.as_bytes()].concat();
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(digest::digest(&digest::SHA256, &whole).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Omit the bytes: logs have many readers.
        f.write_str("Fingerprint")
    }
}

/// The claims of a token that passed every check: their text, and a map that is built on first use.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    text: String,
    map: OnceLock<Map<String, Value>>,
}

impl Claims {
    /// Expects a text that the strict reader has accepted.
    pub(crate) fn new(text: String) -> Self {
        Self { text, map: OnceLock::new() }
    }

    /// The claims as in the token: strict JSON that `JSON.parse` reads to the same value.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.text
    }

    /// All claims.
    #[must_use]
    pub fn map(&self) -> &Map<String, Value> {
        // Both readers accept the same texts, so the default is never used.
        self.map.get_or_init(|| object::read_object(&self.text).unwrap_or_default())
    }
}

/// An identity that passed every check: that of a token, or of [`crate::identity`]. It shares
/// nothing with another one.
#[derive(Debug, Clone)]
pub struct Verified {
    /// All claims.
    pub claims: Claims,
    /// The issuer as configured: its `iss`, the template of it, or its SPIFFE trust domain. For an
    /// identity that is no token, the name of its source.
    pub issuer: Arc<str>,
    /// `sub`.
    pub subject: Option<String>,
    /// `jti`.
    pub id: Option<String>,
    /// `sid`.
    pub session: Option<String>,
    /// `iat` in seconds, rounded down; 0 without one.
    pub issued_at: u64,
    /// `exp` in seconds, rounded up; 0 without one, which only an identity that is no token may
    /// lack. For an introspected token without `exp`, the end that `maxLifetime` sets.
    pub expires_at: u64,
    /// The `kid` of the key that verified it, as configured.
    pub key_id: Option<Arc<str>>,
    /// The algorithm of that key; `None` for an identity that is no JWT, and for a token that its
    /// issuer was asked about.
    pub alg: Option<Algorithm>,
    /// The fingerprint that revokes the token.
    pub fingerprint: Fingerprint,
    /// The fingerprint of its text, if its issuer was asked about it: either revokes it.
    pub text_fingerprint: Option<Fingerprint>,
    /// The key or certificate that it is bound to; `None` for a plain bearer token.
    pub confirmation: Option<Confirmation>,
}

/// The result of [`Verifier::revocable`]: enough to revoke a token, expired or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocable {
    /// The fingerprint to revoke.
    pub fingerprint: Fingerprint,
    /// `exp` in seconds, rounded up; `None` if only the `jti` was given.
    pub expires_at: Option<u64>,
    /// The issuer of the token; `None` if only the `jti` was given.
    pub issuer: Option<Arc<str>>,
}

/// The reason why a token has no identity.
#[derive(Debug)]
pub enum VerifyError {
    /// The token is refused.
    Denied(TokenError),
    /// The token may be good: a fetch of its issuer's keys is in flight.
    Pending(Arc<RemoteKeys>),
    /// The token may be good: its issuer is being asked.
    Introspecting(IntrospectionWait),
}

impl VerifyError {
    /// The reason to refuse, for a caller that does not wait.
    #[must_use]
    pub fn denial(self) -> TokenError {
        match self {
            Self::Denied(denial) => denial,
            Self::Pending(_) => TokenError::KeysUnavailable,
            Self::Introspecting(_) => TokenError::IntrospectionUnavailable(Unavailable::Failing),
        }
    }
}

impl From<Malformed> for VerifyError {
    fn from(form: Malformed) -> Self {
        Self::Denied(TokenError::Malformed(form))
    }
}

impl From<KeyError> for VerifyError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unknown => Self::Denied(TokenError::Key),
            KeyError::Time => Self::Denied(TokenError::KeyTime),
            KeyError::Algorithm => Self::Denied(TokenError::Algorithm),
            KeyError::Unavailable => Self::Denied(TokenError::KeysUnavailable),
        }
    }
}

impl From<TokenError> for VerifyError {
    fn from(denial: TokenError) -> Self {
        Self::Denied(denial)
    }
}

/// Verifies tokens. Cheap to clone; safe to share between threads.
#[derive(Debug, Clone)]
pub struct Verifier {
    config: Arc<TokenConfig>,
}

impl Verifier {
    /// A verifier with these options.
    #[must_use]
    pub fn new(config: Arc<TokenConfig>) -> Self {
        Self { config }
    }

    /// The issuers whose tokens are accepted, in the configured order.
    pub fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.config.issuers()
    }

    /// The API as an OAuth protected resource, if it is one.
    #[must_use]
    pub fn resource(&self) -> Option<&ProtectedResource> {
        self.config.resource.as_ref()
    }

    /// The metadata of the resource.
    #[must_use]
    pub fn resource_document(&self) -> Option<Value> {
        Some(self.config.resource.as_ref()?.document(&self.config))
    }

    /// The places where a request may carry a token.
    #[must_use]
    pub fn presentation(&self) -> &TokenSources {
        &self.config.presentation
    }

    /// The allowed clock skew for the issuer of this token, in microseconds.
    #[must_use]
    pub fn tolerance_us(&self, verified: &Verified) -> u64 {
        let issuers = &self.config.issuers;
        let of = issuers.iter().find(|issuer| issuer.issuer == verified.issuer);
        of.map_or(0, |issuer| issuer.tolerance_us)
    }

    /// Verifies a token in compact form, without `Bearer` in front, with the keys that are loaded
    /// now.
    ///
    /// It does not check revocation: see [`crate::revocation`]. It refuses a token that is bound to
    /// a key or a certificate, since it has no proof to check: see [`Self::verify_bound`].
    pub fn verify(&self, token: &str, now: Now) -> Result<Arc<Verified>, TokenError> {
        self.verify_bound(token, now).and_then(reject_bound)
    }

    /// As [`Self::verify`], but also accepts bound tokens. The caller must check
    /// [`Verified::confirmation`].
    pub fn verify_bound(&self, token: &str, now: Now) -> Result<Arc<Verified>, TokenError> {
        self.judge(token, now, Asking::Nobody).map_err(VerifyError::denial)
    }

    /// As [`Self::verify`], but returns [`VerifyError::Pending`] if a fetch of the key is in flight
    /// or this token starts one. Then wait with [`RemoteKeys::wait`] and call again. For
    /// [`VerifyError::Introspecting`], wait with [`IntrospectionWait::wait`] and call
    /// [`Self::verify`].
    pub fn verify_or_wait(&self, token: &str, now: Now) -> Result<Arc<Verified>, VerifyError> {
        Ok(reject_bound(self.verify_bound_or_wait(token, now)?)?)
    }

    /// As [`Self::verify_or_wait`], but also accepts bound tokens, as [`Self::verify_bound`] does.
    pub fn verify_bound_or_wait(
        &self,
        token: &str,
        now: Now,
    ) -> Result<Arc<Verified>, VerifyError> {
        self.judge(token, now, Asking::Any)
    }

    fn judge(&self, token: &str, now: Now, asking: Asking) -> Result<Arc<Verified>, VerifyError> {
        if let Some((issuer, introspections)) = introspected::issuer_of(&self.config, token) {
            let may_ask = asking != Asking::Nobody;
            let max_bytes = self.config.presentation.max_token_bytes;
            return introspected::verify(issuer, introspections, token, max_bytes, now, may_ask);
        }
        Ok(Arc::clone(&self.verify_by_key(token, now, asking == Asking::Any)?.verified))
    }

    /// Verifies a token that keys verify, or finds it in the cache.
    fn verify_by_key(
        &self,
        token: &str,
        now: Now,
        may_fetch_keys: bool,
    ) -> Result<Arc<Entry>, VerifyError> {
        if let Some(known) = self.config.cache.as_ref().and_then(|cache| cache.get(token))
            // An expired key may have a successor of the same name: then the token is verified
            // again.
            && known.has_current_key(now)
        {
            claims::check_time(&known.issuer, &known.times, now)?;
            return Ok(known);
        }
        let found = self.verify_at_any_time(token, now, may_fetch_keys)?;
        claims::check_time(&found.issuer, &found.times, now)?;
        let verified = Arc::new(found.verified);
        let entry = Arc::new(Entry::new(token, verified, found.times, found.key, found.issuer));
        if let Some(cache) = &self.config.cache {
            cache.put(Arc::clone(&entry));
        }
        Ok(entry)
    }

    /// As [`Self::verify_bound`], for a token that was verified a while ago: the last answer of an
    /// issuer about it may be too old, so the result may be [`VerifyError::Introspecting`]. `kept`
    /// saves the signature from being verified at each further call, however full the cache is.
    pub fn verify_kept(
        &self,
        token: &str,
        kept: &mut KeptToken,
        now: Now,
    ) -> Result<Arc<Verified>, VerifyError> {
        if let Some(known) = &kept.0
            && known.has_current_key(now)
        {
            claims::check_time(&known.issuer, &known.times, now)?;
            return Ok(Arc::clone(&known.verified));
        }
        kept.0 = None;
        if introspected::issuer_of(&self.config, token).is_some() {
            return self.judge(token, now, Asking::AboutToken);
        }
        let known = self.verify_by_key(token, now, false)?;
        let verified = Arc::clone(&known.verified);
        kept.0 = Some(known);
        Ok(verified)
    }

    /// Finds the fingerprint to revoke for `token_or_jti`.
    ///
    /// A token must have a good signature, issuer, audience and form; it may have expired. A text
    /// without the form of a token (three segments, the first a header) counts as a bare `jti`.
    pub fn revocable(&self, token_or_jti: &str, now: Now) -> Result<Revocable, TokenError> {
        if looks_like_token(token_or_jti) {
            self.revocable_token(token_or_jti, now)
        } else {
            let fingerprint = Fingerprint::of_jti(token_or_jti);
            Ok(Revocable { fingerprint, expires_at: None, issuer: None })
        }
    }

    /// As [`Self::revocable`], for a token only. No issuer is asked about it.
    pub fn revocable_token(&self, token: &str, now: Now) -> Result<Revocable, TokenError> {
        if let Some((issuer, _)) = introspected::issuer_of(&self.config, token) {
            return Ok(Revocable {
                fingerprint: introspected::fingerprint(token),
                expires_at: None,
                issuer: Some(Arc::clone(&issuer.issuer)),
            });
        }
        let found = self.verify_at_any_time(token, now, false).map_err(VerifyError::denial)?;
        Ok(Revocable {
            fingerprint: found.verified.fingerprint,
            expires_at: Some(found.verified.expires_at),
            issuer: Some(found.verified.issuer),
        })
    }

    fn verify_at_any_time(
        &self,
        token: &str,
        now: Now,
        may_fetch_keys: bool,
    ) -> Result<VerifiedToken, VerifyError> {
        let compact = Compact::read(token, self.config.presentation.max_token_bytes)?;
        // With one issuer, the payload is decoded only after the signature is verified: without a
        // key, an attacker cannot reach the claims reader. With several, the payload must select
        // the issuer first.
        let (issuer, key, text, registered) = match self.config.issuers.as_slice() {
            [only] => {
                let key = verify_signature(only, &compact, now, may_fetch_keys)?;
                let text = compact.text()?;
                let registered = claims::check(only, &claims::read(&text)?)?;
                (only, key, text, registered)
            }
            several => {
                let text = compact.text()?;
                let claims = claims::read(&text)?;
                let issuer = claims::issuer_of(several, &claims)?;
                let key = verify_signature(issuer, &compact, now, may_fetch_keys)?;
                let registered = claims::check(issuer, &claims)?;
                (issuer, key, text, registered)
            }
        };
        let times = registered.times;
        let iss = registered.iss.as_deref().unwrap_or(&issuer.issuer);
        if !tenants::may_sign(key.issuer.as_deref(), iss, registered.tenant.as_deref()) {
            return Err(TokenError::Key.into());
        }
        let verified = identity(issuer, text, registered, &key, compact.signing_input);
        Ok(VerifiedToken { verified, times, key, issuer: Arc::clone(issuer) })
    }

    /// As [`Self::verify_bound`], but the `nbf` and `iat` of the token may be in the future.
    pub fn verify_early(&self, token: &str, now: Now) -> Result<Arc<Verified>, TokenError> {
        match self.verify_bound(token, now) {
            Err(TokenError::NotYetValid) => {
                let found = self.verify_at_any_time(token, now, false);
                found.map(|found| Arc::new(found.verified)).map_err(VerifyError::denial)
            }
            judged => judged,
        }
    }
}

/// A token that [`Verifier::verify_kept`] has verified, for the next time.
#[derive(Debug, Default)]
pub struct KeptToken(Option<Arc<Entry>>);

/// Which questions to an issuer the verification of a token may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Nobody,
    /// For an answer about the token.
    AboutToken,
    /// For keys, too.
    Any,
}

/// Checks the signature and the `typ`, and returns the key of `issuer` that made the signature.
fn verify_signature(
    issuer: &Issuer,
    compact: &Compact<'_>,
    now: Now,
    may_fetch_keys: bool,
) -> Result<Arc<Key>, VerifyError> {
    let key = issuer.keys.choose(&compact.header, now, may_fetch_keys)?;
    if !key.verify(compact.signing_input.as_bytes(), compact.signature()) {
        return Err(TokenError::Signature.into());
    }
    check_typ(issuer, compact.header.typ.as_deref())?;
    Ok(key)
}

/// Refuses a bound token: it needs a proof.
fn reject_bound(verified: Arc<Verified>) -> Result<Arc<Verified>, TokenError> {
    if verified.confirmation.is_some() { Err(TokenError::Bound) } else { Ok(verified) }
}

/// A token whose signature and claims are good, and everything that the cache checks again.
struct VerifiedToken {
    verified: Verified,
    times: Times,
    key: Arc<Key>,
    issuer: Arc<Issuer>,
}

fn identity(
    issuer: &Issuer,
    text: String,
    registered: Registered,
    key: &Key,
    signing_input: &str,
) -> Verified {
    let Registered { times, iss: _, tenant: _, confirmation, subject, id, session } = registered;
    let fingerprint = match &id {
        Some(jti) => Fingerprint::of_jti(jti),
        None => Fingerprint::of_signing_input(signing_input),
    };
    Verified {
        issuer: Arc::clone(&issuer.issuer),
        subject,
        id,
        session,
        issued_at: times.issued_us / 1_000_000,
        expires_at: times.expires_us.div_ceil(1_000_000),
        key_id: key.kid.clone(),
        alg: Some(key.algorithm),
        fingerprint,
        text_fingerprint: None,
        confirmation,
        claims: Claims::new(text),
    }
}

fn check_typ(issuer: &Issuer, typ: Option<&str>) -> Result<(), TokenError> {
    let typ = typ.map(bare_typ);
    let is = |wanted: &str| typ.is_some_and(|typ| typ.eq_ignore_ascii_case(wanted));
    let fits = match (&issuer.typ, &issuer.spiffe) {
        (Some(wanted), _) => is(wanted),
        (None, Some(_)) => typ.is_none() || is("JWT") || is("JOSE"),
        (None, None) => typ.is_none() || is("JWT") || is("at+jwt"),
    };
    if fits { Ok(()) } else { Err(TokenError::Type) }
}

/// The advice for a `text` that is neither a token nor a `jti`: a token with text around it, or a
/// refresh token. Treating it as a `jti` would revoke nothing.
#[must_use]
pub fn token_or_jti_misuse(text: &str) -> Option<&'static str> {
    let scheme = text.split_once(' ').map(|(scheme, _)| scheme);
    let is_scheme =
        |scheme: &str| scheme.eq_ignore_ascii_case("Bearer") || scheme.eq_ignore_ascii_case("DPoP");
    if scheme.is_some_and(is_scheme) {
        return Some("must be the token alone: leave out `Bearer` or `DPoP` in front of it");
    }
    let is_around = |char: char| char.is_whitespace() || matches!(char, '"' | '\'' | '`');
    if text.starts_with(is_around) || text.ends_with(is_around) {
        return Some("must be the token or `jti` alone: leave out the spaces or quotes around it");
    }
    if holds_refresh_token(text) {
        return Some(
            "must be an access token or its `jti`, not a refresh token: end its session with `guard.revoke.session(sid)`",
        );
    }
    let is_whole = looks_like_token(text) && words(text).nth(1).is_none();
    (!is_whole && holds_token(text))
        .then_some("must be the token alone: leave out what is before and after it")
}

/// The advice for a `text` that cannot name a subject, session or key: it is or contains a token.
#[must_use]
pub fn name_misuse(text: &str) -> Option<&'static str> {
    (holds_token(text) || holds_refresh_token(text))
        .then_some("must be a name, not a token: give the claim of the token that has it")
}

/// Splits a text at every character that cannot be part of a token.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|char: char| !(char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.')))
}

/// Whether the text contains a compact JWS, with or without its signature.
fn holds_token(text: &str) -> bool {
    words(text).any(|word| {
        let word = word.trim_matches('.');
        let segments: Vec<&str> = word.split('.').collect();
        let is_cut = |pair: &[&str]| pair.iter().all(|segment| segment.starts_with("eyJ"));
        segments.windows(2).any(is_cut)
            || segments.windows(3).any(|token| looks_like_token(&token.join(".")))
    })
}

fn holds_refresh_token(text: &str) -> bool {
    words(text).any(|word| RefreshToken::read(word).is_some())
}

/// Three segments, where the first is a header or starts like one.
pub(super) fn looks_like_token(text: &str) -> bool {
    text.split('.').count() == 3
        && (text.starts_with("eyJ") || Compact::read(text, MAX_TOKEN_SIZE).is_ok())
}
