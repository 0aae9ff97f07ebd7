//! The options of the token layer, validated once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::bearer::TokenSources;
use crate::config::options::{Options, Switch};
use crate::error::{ConfigCode, ConfigError};
use crate::keys::seal::SealKey;
use crate::session;
use crate::session::RefreshConfig;
use crate::token::cache::Cache;
use crate::token::introspected::Introspections;
use crate::token::issuer::{self, Issuer};
use crate::token::resource::ProtectedResource;

/// Options beside `issuers` that apply to all issuers.
const OF_ALL: [&str; 8] =
    ["from", "maxTokenSize", "resource", "dpop", "dpopNonce", "optional", "cache", "refresh"];
const MAX_ISSUERS: usize = 32;
/// The largest value of `maxLifetime`.
pub const MAX_MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The options of the token layer. Only [`TokenConfig::parse`] creates it.
#[derive(Debug)]
pub struct TokenConfig {
    /// Each has a unique name. There is at least one, if `jwt` is on.
    pub(crate) issuers: Vec<Arc<Issuer>>,
    pub(super) cache: Option<Cache>,
    /// The places where a request may carry a token.
    pub(crate) presentation: TokenSources,
    /// The API as an OAuth protected resource.
    pub resource: Option<ProtectedResource>,
    /// Whether a request without a token passes as anonymous. A bad token is always refused.
    pub optional: Optionality,
    /// The options of refresh tokens; `None` disables them.
    pub refresh: Option<RefreshConfig>,
    /// The secrets that seal session records. Empty: they are derived from the signing keys.
    pub(super) seal_keys: Vec<Arc<SealKey>>,
}

/// Whether a request needs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Optionality {
    /// It does.
    #[default]
    No,
    /// Without a token it is anonymous. An invalid token is refused.
    Yes,
    /// As `Yes`, and a cookie whose token is no longer valid counts as none, and is cleared.
    Lenient,
}

impl Optionality {
    /// Reads `optional`: a boolean or `'lenient'`.
    pub fn read(options: &Options<'_>) -> Result<Option<Self>, ConfigError> {
        match options.get("optional") {
            None => Ok(None),
            Some(Value::Bool(false)) => Ok(Some(Self::No)),
            Some(Value::Bool(true)) => Ok(Some(Self::Yes)),
            Some(Value::String(text)) if text == "lenient" => Ok(Some(Self::Lenient)),
            Some(_) => Err(options.invalid("optional", "must be true, false or 'lenient'")),
        }
    }
}

impl TokenConfig {
    /// Parses the option `jwt`, an object: the options of one issuer, as [`Issuer`] has them, or
    /// `issuers`, a list of 1 to 32 such objects; and
    ///
    /// - `from`: list of `'header'`, `{ header }`, `{ cookie }`, `{ query }`: where a token is
    ///   looked for, default `['header']`
    /// - `resource`: the URL of this API, or the options of [`ProtectedResource`]
    /// - `maxTokenSize`: size from 1 kb to 32 kb, default 8 kb
    /// - `dpop`: `'off'`, `'if-bound'` (default) or `'required'`: which tokens need a proof (RFC
    ///   9449)
    /// - `dpopNonce`: `true` or `{ secret?, lifetime? }`: proofs need a nonce of ours, default
    ///   false
    /// - `cache`: `{ maxBytes }` from 64 kb to 1024 mb, default 8 mb, for tokens that were
    ///   verified; or `false`
    /// - `optional`: whether a request without a token passes, default false
    /// - `refresh`: refresh tokens: `true` or the options of [`RefreshConfig`]
    ///
    /// Beside `issuers`, `algorithms`, `typ`, `clockTolerance` and `maxLifetime` apply to each that
    /// does not set them itself.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let known: Vec<&str> =
            issuer::KNOWN.iter().chain(&["issuers"]).chain(&OF_ALL).copied().collect();
        let options = Options::read(path, value, &known)?;
        let resource = ProtectedResource::parse(&options)?;
        let audience = resource.as_ref().map(ProtectedResource::url);
        let issuers = match options.list("issuers")? {
            None => vec![Arc::new(Issuer::parse(&options, None, audience)?)],
            Some(items) => several(&options, items, audience)?,
        };
        let presentation = TokenSources::parse(&options)?;
        let optional = Optionality::read(&options)?.unwrap_or_default();
        if optional == Optionality::Lenient && presentation.cookie_names().next().is_none() {
            return Err(options
                .invalid("optional", "is 'lenient', which is about cookies, and `from` has none")
                .suggest("write true, or add { cookie: '__Host-token' } to `from`"));
        }
        Ok(Self {
            issuers,
            cache: cache(&options)?,
            presentation,
            resource,
            optional,
            refresh: RefreshConfig::parse(&options.path_of("refresh"), options.get("refresh"))?,
            seal_keys: session::secrets(&options.path_of("refresh"), options.get("refresh"))?,
        })
    }

    /// The issuer that is asked about tokens, and whether about all of them.
    pub(super) fn introspecting(&self) -> Option<(&Arc<Issuer>, &Arc<Introspections>, bool)> {
        let found =
            self.issuers.iter().find_map(|issuer| Some((issuer, issuer.introspection.as_ref()?)));
        let (issuer, introspection) = found?;
        let is_alone = self.issuers.len() == 1 && !issuer.has_keys();
        Some((issuer, introspection, is_alone))
    }

    /// For a guard whose identities are no tokens: no issuer, and no place to look for a token.
    #[must_use]
    pub fn without_issuers() -> Self {
        Self {
            issuers: Vec::new(),
            cache: None,
            presentation: TokenSources::nowhere(),
            resource: None,
            optional: Optionality::No,
            refresh: None,
            seal_keys: Vec::new(),
        }
    }

    /// The issuers, in the configured order.
    pub fn issuers(&self) -> impl Iterator<Item = &Issuer> {
        self.issuers.iter().map(AsRef::as_ref)
    }
}

fn several(
    options: &Options<'_>,
    items: &[Value],
    audience: Option<&str>,
) -> Result<Vec<Arc<Issuer>>, ConfigError> {
    let path = options.path_of("issuers");
    for key in issuer::OF_ONE {
        if options.has(key) {
            let error = ConfigError::new(
                ConfigCode::ConflictingOptions,
                options.path_of(key),
                "can't stand beside `issuers`",
            );
            return Err(error.suggest("write it in the issuer that it belongs to"));
        }
    }
    if items.is_empty() || items.len() > MAX_ISSUERS {
        return Err(ConfigError::invalid(path, format!("must have 1 to {MAX_ISSUERS} issuers")));
    }
    let mut issuers: Vec<Arc<Issuer>> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let path = format!("{path}[{i}]");
        if let Some(key) = OF_ALL.into_iter().find(|key| item.get(key).is_some()) {
            let at = format!("{path}.{key}");
            return Err(ConfigError::new(
                ConfigCode::UnknownOption,
                at,
                "is not an option of one issuer",
            )
            .suggest("write it beside `issuers`"));
        }
        let own = Options::read(path.as_str(), item, &issuer::KNOWN)?;
        let issuer = Issuer::parse(&own, Some(options), audience)?;
        if issuers.iter().any(|other| other.name() == issuer.name()) {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                own.path_of("issuer"),
                "is there twice",
            )
            .suggest("give all of an issuer's keys and audiences in one place"));
        }
        if issuers.iter().any(|other| other.overlaps(&issuer)) {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                own.path_of("issuer"),
                "can be the issuer of tokens of another one in the list",
            )
            .suggest("let no template with {tenantid} cover the name of another issuer"));
        }
        if issuer.introspection.is_some()
            && issuers.iter().any(|other| other.introspection.is_some())
        {
            return Err(ConfigError::new(
                ConfigCode::ConflictingOptions,
                own.path_of("introspection"),
                "is there twice: an opaque token does not say whom to ask",
            )
            .suggest("ask one issuer, and verify the JWTs of the others with their keys"));
        }
        issuers.push(Arc::new(issuer));
    }
    Ok(issuers)
}

fn cache(options: &Options<'_>) -> Result<Option<Cache>, ConfigError> {
    const DEFAULT: u64 = 8 << 20;
    let max_bytes = match Switch::read(options, "cache") {
        Switch::Off => return Ok(None),
        Switch::Absent => None,
        Switch::On(value) => Options::read(options.path_of("cache"), value, &["maxBytes"])?
            .size("maxBytes", 64 << 10..=1 << 30)?,
    };
    Ok(Some(Cache::new(usize::try_from(max_bytes.unwrap_or(DEFAULT)).unwrap_or(usize::MAX))))
}

/// A `typ` without the prefix `application/`, which is optional (RFC 7515 section 4.1.9).
pub(super) fn bare_typ(typ: &str) -> &str {
    const PREFIX: &str = "application/";
    match typ.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => typ,
    }
}
