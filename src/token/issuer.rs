//! The options of one issuer: its name, its keys, and the rules for its tokens.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::MAX_TOLERANCE;
use crate::clock::micros;
use crate::config::options::Options;
use crate::error::{ConfigCode, ConfigError};
use crate::introspection::{Endpoint, Introspection};
use crate::keys::LeftOut;
use crate::keys::algorithm::{Algorithm, Family};
use crate::keys::key_options::{SetOrigin, algorithm_at, keys, plain_text, secret_key};
use crate::keys::ring::KeyRing;
use crate::remote_keys::{RemoteKeys, Source, parse_stale_for};
use crate::rotation::{Rotation, RotationConfig};
use crate::token::config::{MAX_MAX_LIFETIME, bare_typ};
use crate::token::introspected::Introspections;
use crate::token::issuer_keys::IssuerKeys;
use crate::token::required::{RequiredClaim, check_binding};
use crate::token::spiffe::TrustDomain;
use crate::token::tenants::Tenants;

/// Options that must be set for each issuer separately.
pub(super) const OF_ONE: [&str; 15] = [
    "issuer",
    "audience",
    "claims",
    "dedicatedIssuer",
    "tenants",
    "iat",
    "subject",
    "secret",
    "keys",
    "jwks",
    "discovery",
    "preset",
    "staleFor",
    "rotation",
    "introspection",
];
/// All options of an issuer.
pub(super) const KNOWN: [&str; 19] = [
    "issuer",
    "audience",
    "claims",
    "dedicatedIssuer",
    "tenants",
    "iat",
    "subject",
    "secret",
    "keys",
    "jwks",
    "discovery",
    "preset",
    "staleFor",
    "rotation",
    "introspection",
    "algorithms",
    "typ",
    "clockTolerance",
    "maxLifetime",
];
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(10);
const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer, from its options:
///
/// - `issuer`: string, required: the exact `iss`
/// - `audience`: string or list of strings, required: one of them must be in `aud`; or `false`,
///   where `claims` or `dedicatedIssuer` stands in for it
/// - `claims`: object: claims that a token must have, see [`RequiredClaim`]
/// - `dedicatedIssuer`: `true`: the issuer issues tokens for this API alone, default false
/// - `tenants`: list of tenants or `'any'`, for an `issuer` with `{tenantid}` in it
/// - `iat`: `'optional'`: tokens without `iat` are taken
/// - `subject`: `'lenient'`: `sub` may be a whole number, and an empty one counts as none
/// - `secret`: string or Buffer of at least 32, 48 or 64 bytes for HS256 (default), HS384, HS512
/// - `keys`: list of `{ kid?, alg, key, notBefore?, notAfter? }`, where `key` is PEM text, a Buffer
///   or a JWK
/// - `jwks`: a JWK set with public keys, or its URL, or `{ url, headers?, allowHttp? }`
/// - `discovery`: `true` or `'oauth'`: the issuer's metadata names the URL of its keys
/// - `preset`: `'vault'` or `'spiffe'`
/// - `staleFor`: duration from 10 m to 24 h, default 1 h: how long keys from a URL are used while
///   it gives none
/// - `rotation`: keys that are made here, see [`RotationConfig`]
/// - `introspection`: how the issuer is asked about opaque tokens, see [`Endpoint`]
/// - `algorithms`: list: no key may have another algorithm
/// - `typ`: string: the `typ` that a header must have. Without it: none, `JWT` or `at+jwt`
/// - `clockTolerance`: duration up to 60 s, default 10 s
/// - `maxLifetime`: duration from 1 s to 366 d, default 24 h: `exp - iat` is at most that
///
/// There must be a key: one or more of `secret`, `keys` and a set in `jwks`, or a URL in `jwks`, or
/// `discovery`; or `rotation`; or `introspection`, which may stand beside keys too. Beside a URL or
/// `discovery` only a `secret` may stand: an issuer that changes from one to the other signs with
/// both for a while.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "the fields are called as the options are")]
pub struct Issuer {
    pub(super) issuer: Arc<str>,
    /// `None` where something else binds a token to this API.
    pub(super) audience: Option<Vec<String>>,
    /// The audience with a slash more or less at its end, if it is the URL of `jwt.resource`:
    /// clients write either (RFC 8707).
    pub(super) audience_alias: Option<String>,
    pub(super) claims: Vec<RequiredClaim>,
    /// Where `issuer` is a template.
    pub(super) tenants: Option<Tenants>,
    pub(super) is_iat_optional: bool,
    pub(super) is_lenient_subject: bool,
    pub(super) keys: IssuerKeys,
    /// How it is asked about tokens.
    pub(super) introspection: Option<Arc<Introspections>>,
    /// The keys of a set in the options that can't be used.
    left_out: Vec<LeftOut>,
    /// Lower case, without `application/`. Issued tokens have it as their `typ`.
    pub(super) typ: Option<String>,
    pub(super) tolerance_us: u64,
    pub(super) max_lifetime_us: u64,
    /// The rules of JWT-SVIDs apply to tokens of this trust domain.
    pub(super) spiffe: Option<TrustDomain>,
}

/// A kind of issuer with rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preset {
    Vault,
    Spiffe,
}

impl Issuer {
    /// Parses the options of one issuer. With several issuers, `common` has the options that they
    /// share.
    pub(super) fn parse(
        options: &Options<'_>,
        common: Option<&Options<'_>>,
        resource: Option<&str>,
    ) -> Result<Self, ConfigError> {
        // An option of the issuer overrides the shared one.
        let of = |key: &str| match common {
            Some(common) if !options.has(key) && common.has(key) => common,
            _ => options,
        };
        let preset =
            options.one_of("preset", &[("vault", Preset::Vault), ("spiffe", Preset::Spiffe)])?;
        let name = name(options)?;
        let spiffe = match preset {
            Some(Preset::Spiffe) => Some(TrustDomain::parse(&options.path_of("issuer"), name)?),
            _ => None,
        };
        let issuer = match preset {
            Some(Preset::Vault) => {
                crate::remote_keys::vault_issuer(&options.path_of("issuer"), name)?
            }
            _ => name.to_owned(),
        };
        let claims = RequiredClaim::parse_all(options)?;
        let audience = audience(options, &claims, resource)?;
        let tenants = Tenants::parse(options, &issuer)?;
        check_conflicts(options, tenants.is_some(), spiffe.is_some())?;
        let listed = of("algorithms");
        let mut allowed = algorithms(listed)?;
        if spiffe.is_some() {
            allowed = Some(svid_algorithms(&listed.path_of("algorithms"), allowed)?);
        }
        let set = if spiffe.is_some() { SetOrigin::Bundle } else { SetOrigin::Public };
        let introspection = introspection(options, tenants.is_some())?;
        let discovers = preset == Some(Preset::Vault);
        let (keys, left_out) = match Source::parse(options, &issuer, discovers)? {
            None if introspection.is_some() && !has_keys(options) => {
                check_keyless(options)?;
                (IssuerKeys::Introspected, Vec::new())
            }
            None => {
                if options.has("staleFor") {
                    return Err(options
                        .invalid("staleFor", "is about keys from a URL, and there is none")
                        .suggest("leave it out"));
                }
                own_keys(options, allowed.as_deref(), set, of("maxLifetime"))?
            }
            Some(_) if options.has("rotation") => {
                return Err(ConfigError::new(
                    ConfigCode::ConflictingOptions,
                    options.path_of("rotation"),
                    "makes keys here, and the issuer's are at a URL",
                )
                .suggest("leave one of them out"));
            }
            Some(source) => {
                let usable = |alg: &Algorithm| alg.family() != Family::Hmac;
                if allowed.as_ref().is_some_and(|allowed| !allowed.iter().any(usable)) {
                    return Err(ConfigError::new(
                        ConfigCode::ConflictingOptions,
                        listed.path_of("algorithms"),
                        "has no algorithm of a public key, and keys from a URL are public",
                    ));
                }
                let stale_for = parse_stale_for(options)?;
                let secret = secret_beside(options, allowed.as_deref())?;
                let public = Arc::new(RemoteKeys::new(source, allowed, set, stale_for));
                (IssuerKeys::Remote(public, secret), Vec::new())
            }
        };
        let typ = typ(of("typ"))?;
        if let (Some(_), true) =
            (&spiffe, typ.as_deref().is_some_and(|typ| typ != "jwt" && typ != "jose"))
        {
            return Err(of("typ")
                .invalid("typ", "must be 'JWT' or 'JOSE' for a JWT-SVID")
                .suggest("leave it out"));
        }
        let tolerance =
            of("clockTolerance").duration("clockTolerance", Duration::ZERO..=MAX_TOLERANCE)?;
        let lifetime = max_lifetime(of("maxLifetime"))?;
        Ok(Self {
            issuer: Arc::from(issuer),
            audience,
            audience_alias: resource
                .filter(|_| !options.has("audience"))
                .map(|url| url.strip_suffix('/').map_or_else(|| format!("{url}/"), str::to_owned)),
            claims,
            tenants,
            is_iat_optional: options
                .one_of("iat", &[("required", false), ("optional", true)])?
                .unwrap_or(false),
            is_lenient_subject: options
                .one_of("subject", &[("strict", false), ("lenient", true)])?
                .unwrap_or(false),
            keys,
            introspection,
            left_out,
            typ,
            tolerance_us: micros(tolerance.unwrap_or(DEFAULT_TOLERANCE)),
            max_lifetime_us: micros(lifetime),
            spiffe,
        })
    }

    /// The exact `iss` of its tokens; for the preset `spiffe` the trust domain,
    /// `spiffe://example.org`. Revocations of this issuer are stored under this name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.issuer
    }

    /// Each of its audiences; none where something else binds its tokens to this API.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        self.audience.as_deref().unwrap_or_default()
    }

    /// Whether one `iss` could be of both issuers.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        if self.spiffe.is_some() || other.spiffe.is_some() {
            return false;
        }
        match (&self.tenants, &other.tenants) {
            (None, None) => false,
            (Some(_), None) => self.is_named(&other.issuer),
            (None, Some(_)) => other.is_named(&self.issuer),
            (Some(one), Some(two)) => one.overlaps(two),
        }
    }

    /// Whether tokens with this `iss` are its own.
    #[must_use]
    pub fn is_named(&self, iss: &str) -> bool {
        match &self.tenants {
            Some(tenants) => tenants.tenant(iss).is_some(),
            None => *self.issuer == *iss,
        }
    }

    /// The keys of its set that can't be used, and why.
    #[must_use]
    pub fn left_out(&self) -> Vec<LeftOut> {
        self.remote().map_or_else(|| self.left_out.clone(), |remote| remote.left_out())
    }

    /// The allowed clock skew: `clockTolerance`.
    #[must_use]
    pub const fn tolerance(&self) -> Duration {
        Duration::from_micros(self.tolerance_us)
    }

    /// The maximum time between `iat` and `exp`.
    #[must_use]
    pub const fn max_lifetime(&self) -> Duration {
        Duration::from_micros(self.max_lifetime_us)
    }

    /// The keys that are fetched from a URL; `None` if the options contain the keys.
    #[must_use]
    pub fn remote(&self) -> Option<&Arc<RemoteKeys>> {
        match &self.keys {
            IssuerKeys::Fixed(_) | IssuerKeys::Rotating(..) | IssuerKeys::Introspected => None,
            IssuerKeys::Remote(remote, _) => Some(remote),
        }
    }

    /// How it is asked about tokens; `None` if it is not.
    pub(crate) const fn introspection(&self) -> Option<&Arc<Introspections>> {
        self.introspection.as_ref()
    }

    /// Whether it has keys, or may get some.
    #[must_use]
    pub const fn has_keys(&self) -> bool {
        self.keys.verify_any()
    }

    /// The rotating keys, if the issuer has them.
    #[must_use]
    pub fn rotation(&self) -> Option<&Arc<Rotation>> {
        self.keys.rotation()
    }

    /// The number of keys now.
    #[must_use]
    pub fn key_count(&self) -> usize {
        match &self.keys {
            IssuerKeys::Fixed(ring) => ring.len(),
            IssuerKeys::Remote(remote, secret) => remote.key_count() + secret.len(),
            IssuerKeys::Rotating(rotation, ring) => rotation.len() + ring.len(),
            IssuerKeys::Introspected => 0,
        }
    }
}

/// Options that contradict the kind of the issuer.
fn check_conflicts(
    options: &Options<'_>,
    is_template: bool,
    is_spiffe: bool,
) -> Result<(), ConfigError> {
    if is_template && options.has("discovery") {
        let problem = "reads the metadata of one issuer, and `issuer` is a template";
        return Err(conflict(options, "discovery", problem)
            .suggest("give the URL of the keys of all tenants in `jwks`"));
    }
    let odd = ["tenants", "iat", "subject", "dedicatedIssuer"];
    match odd.into_iter().find(|key| is_spiffe && options.has(key)) {
        Some(key) => Err(conflict(options, key, "is not for JWT-SVIDs").suggest("leave it out")),
        None => Ok(()),
    }
}

fn conflict(options: &Options<'_>, key: &str, problem: &str) -> ConfigError {
    ConfigError::new(ConfigCode::ConflictingOptions, options.path_of(key), problem)
}

/// The option `introspection`.
fn introspection(
    options: &Options<'_>,
    is_template: bool,
) -> Result<Option<Arc<Introspections>>, ConfigError> {
    let Some(endpoint) = Endpoint::parse(options)? else { return Ok(None) };
    if is_template {
        let problem = "asks one issuer, and `issuer` is a template";
        return Err(conflict(options, "introspection", problem)
            .suggest("write an issuer for each tenant in `jwt.issuers`"));
    }
    if let Some(key) = ["preset", "rotation"].into_iter().find(|key| options.has(key)) {
        let problem = "is for tokens that have a signature, and `introspection` asks their issuer";
        return Err(conflict(options, key, problem).suggest("leave one of them out"));
    }
    if endpoint.takes_jwts && has_keys(options) {
        return Err(conflict(
            options,
            "introspection.jwts",
            "asks about tokens that the keys of this issuer verify",
        )
        .suggest("leave one of them out"));
    }
    let introspection = Introspection::new(endpoint).map_err(|_| {
        options.invalid("introspection", "needs random numbers, and the system gives none")
    })?;
    Ok(Some(Arc::new(introspection)))
}

fn has_keys(options: &Options<'_>) -> bool {
    ["secret", "keys", "jwks", "discovery"].into_iter().any(|key| options.has(key))
}

/// Options about keys and signatures, where an issuer has none.
fn check_keyless(options: &Options<'_>) -> Result<(), ConfigError> {
    match ["staleFor", "algorithms", "typ"].into_iter().find(|key| options.has(key)) {
        None => Ok(()),
        Some(key) => {
            let problem = "is about keys, and this issuer has none: it is asked about its tokens";
            Err(conflict(options, key, problem).suggest("leave it out"))
        }
    }
}

/// The keys of the options and, with `rotation`, the rotating keys.
fn own_keys(
    options: &Options<'_>,
    allowed: Option<&[Algorithm]>,
    set: SetOrigin,
    lifetime: &Options<'_>,
) -> Result<(IssuerKeys, Vec<LeftOut>), ConfigError> {
    let Some(value) = options.get("rotation") else {
        let (ring, left_out) = keys(options, allowed, set)?;
        return Ok((IssuerKeys::Fixed(ring), left_out));
    };
    let config = RotationConfig::parse(&options.path_of("rotation"), value, allowed)?;
    let given = ["secret", "keys", "jwks"].into_iter().any(|key| options.has(key));
    let (ring, left_out) = if given { keys(options, allowed, set)? } else { Default::default() };
    let max_lifetime = max_lifetime(lifetime)?;
    config.check_lifetime(&options.path_of("rotation"), max_lifetime)?;
    let rotation = Rotation::new(config, max_lifetime);
    Ok((IssuerKeys::Rotating(Arc::new(rotation), ring), left_out))
}

/// The `secret` of an issuer whose other keys are at a URL: one that changes from a shared secret
/// to published keys signs with both for a while.
fn secret_beside(
    options: &Options<'_>,
    allowed: Option<&[Algorithm]>,
) -> Result<KeyRing, ConfigError> {
    if !options.has("secret") {
        return Ok(KeyRing::default());
    }
    KeyRing::new(vec![secret_key(options, allowed)?])
}

fn max_lifetime(options: &Options<'_>) -> Result<Duration, ConfigError> {
    let lifetime = options.duration("maxLifetime", Duration::from_secs(1)..=MAX_MAX_LIFETIME)?;
    Ok(lifetime.unwrap_or(DEFAULT_MAX_LIFETIME))
}

/// JWT-SVID specification, section 2.1: only these, so neither Ed25519 nor secrets.
fn svid_algorithms(
    path: &str,
    allowed: Option<Vec<Algorithm>>,
) -> Result<Vec<Algorithm>, ConfigError> {
    let svid = |alg: &Algorithm| matches!(alg.family(), Family::Rsa | Family::Ec);
    let Some(allowed) = allowed else {
        return Ok(Algorithm::ALL.into_iter().filter(svid).collect());
    };
    if allowed.iter().all(svid) {
        return Ok(allowed);
    }
    Err(ConfigError::invalid(
        path,
        "must be of RS256 to RS512, ES256 to ES512 and PS256 to PS512 for JWT-SVIDs",
    ))
}

fn name<'a>(options: &Options<'a>) -> Result<&'a str, ConfigError> {
    let value = options
        .require("issuer", "the `iss` of the tokens to take, such as 'https://id.example.com'")?;
    let path = options.path_of("issuer");
    let name = plain_text(&path, value)?;
    if RESERVED.contains(&name) {
        return Err(ConfigError::invalid(path, "is the name of identities that are no tokens")
            .suggest("write the `iss` of the tokens, such as 'https://id.example.com'"));
    }
    Ok(name)
}

/// The issuers of identities of other sources, in policies and revocations: see
/// `crate::identity::IdentitySource`.
pub(crate) const RESERVED: [&str; 2] = ["api-key", "identify"];

/// `audience`; `None` for `false`.
fn audience(
    options: &Options<'_>,
    claims: &[RequiredClaim],
    resource: Option<&str>,
) -> Result<Option<Vec<String>>, ConfigError> {
    let is_dedicated = options.bool("dedicatedIssuer")?.unwrap_or(false);
    // RFC 8707: tokens for a resource have its URL as their audience.
    if let (false, Some(resource)) = (options.has("audience"), resource) {
        return Ok(Some(vec![resource.to_owned()]));
    }
    let value = options.require("audience", "the `aud` that names this API, such as 'my-api'")?;
    let path = options.path_of("audience");
    if *value == Value::Bool(false) {
        return check_binding(options, claims, is_dedicated).map(|()| None);
    }
    let audience = audiences(&path, value)?;
    if is_dedicated {
        return Err(ConfigError::new(
            ConfigCode::ConflictingOptions,
            options.path_of("dedicatedIssuer"),
            "stands in for an audience, and there is one",
        )
        .suggest("leave it out, or write `audience: false`"));
    }
    Ok(Some(audience))
}

fn audiences(path: &str, value: &Value) -> Result<Vec<String>, ConfigError> {
    let Some(items) = value.as_array() else {
        return Ok(vec![plain_text(path, value)?.to_owned()]);
    };
    let mut audience: Vec<String> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        let text = plain_text(&path, item)?;
        if audience.iter().any(|other| other == text) {
            return Err(ConfigError::invalid(path, "is there twice"));
        }
        audience.push(text.to_owned());
    }
    if audience.is_empty() {
        return Err(ConfigError::invalid(path, "must name at least one audience"));
    }
    Ok(audience)
}

fn algorithms(options: &Options<'_>) -> Result<Option<Vec<Algorithm>>, ConfigError> {
    let Some(items) = options.list("algorithms")? else { return Ok(None) };
    let path = options.path_of("algorithms");
    if items.is_empty() {
        return Err(ConfigError::invalid(path, "must name at least one algorithm"));
    }
    let at = |(i, item)| algorithm_at(&format!("{path}[{i}]"), item);
    items.iter().enumerate().map(at).collect::<Result<_, _>>().map(Some)
}

fn typ(options: &Options<'_>) -> Result<Option<String>, ConfigError> {
    let Some(value) = options.get("typ") else { return Ok(None) };
    let path = options.path_of("typ");
    let text = plain_text(&path, value)?;
    let media = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-/".contains(&byte);
    if !text.bytes().all(media) || bare_typ(text).is_empty() {
        return Err(
            ConfigError::invalid(path, "must be a media type").suggest("write 'at+jwt' or 'JWT'")
        );
    }
    Ok(Some(bare_typ(text).to_ascii_lowercase()))
}
