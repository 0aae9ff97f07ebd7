//! The security requirements of an operation: `security` (`OpenAPI` 3.1.1 section 4.8.30).
//!
//! The items of the list are alternatives; all schemes of one item must be met. `{}` is an
//! alternative that demands nothing; an empty list demands nothing at all. A scheme that the
//! package can't enforce itself must be mapped by an option: an operation is never left open
//! silently.

use serde_json::{Map, Value, json};

use super::config::{OpenApiConfig, SchemeUse, Undeclared};
use super::document::{At, Document, child, object, text};
use crate::config::options::{did_you_mean, nearest};
use crate::error::faults::fault;
use crate::error::{ConfigCode, ConfigError};
use crate::net::is_token;

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// A token that the guard verifies, with all of these scopes.
    Token {
        /// The scopes.
        scopes: Vec<String>,
    },
    /// The consent of a function of the application.
    Function {
        /// The name of the scheme.
        scheme: String,
        /// The scopes or roles of the scheme.
        scopes: Vec<String>,
    },
}

/// The requirements of an operation.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Security {
    /// One of these must be met in full; an empty list demands nothing.
    pub(crate) alternatives: Vec<Vec<Demand>>,
    /// The authentication schemes of `WWW-Authenticate`, for a request that meets no alternative.
    pub(crate) challenges: Vec<String>,
    /// The names of API keys in the query.
    query_keys: Vec<String>,
    /// Whether a token of the guard may be sent, to the guard or to another verifier.
    may_have_token: bool,
}

impl Security {
    /// Names of the query besides its parameters, with their schemas. `tokens` are the names under
    /// which a token of the guard may come. Every reader of a query skips them; for an operation
    /// without token authentication such a name is undeclared.
    pub(crate) fn query_names(
        &self,
        tokens: &[String],
        undeclared: Undeclared,
    ) -> Map<String, Value> {
        let keys = self.query_keys.iter().filter(|key| !tokens.contains(key));
        let keys = keys.map(|key| (key.clone(), json!({ "type": "string" })));
        let asks_none = !self.may_have_token && undeclared == Undeclared::Refuse;
        let is_refused = |name: &&String| asks_none && !self.query_keys.contains(name);
        let refused =
            tokens.iter().filter(is_refused).map(|name| (name.clone(), Value::Bool(false)));
        keys.chain(refused).collect()
    }
}

struct Scheme {
    use_of: Option<SchemeUse>,
    challenge: String,
    query_key: Option<String>,
    kind: &'static str,
}

const FIELDS: &[&str] =
    &["type", "description", "name", "in", "scheme", "bearerFormat", "flows", "openIdConnectUrl"];

/// Refuses a mapping for a scheme that the document does not have.
pub(crate) fn judge_names(
    document: Document<'_>,
    config: &OpenApiConfig,
) -> Result<(), ConfigError> {
    let names = scheme_names(document);
    match config.security.keys().find(|name| !names.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let path = format!("options.security.{name}");
            let error = ConfigError::new(
                ConfigCode::UnknownOption,
                path,
                "is no security scheme of the document",
            );
            Err(if names.is_empty() { error } else { error.suggest(did_you_mean(name, &names)) })
        }
    }
}

fn scheme_names(document: Document<'_>) -> Vec<&str> {
    let schemes = document.value.pointer("/components/securitySchemes").and_then(Value::as_object);
    schemes.into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// Reads the list at a place. `has_tokens` is true if the guard verifies tokens.
pub(crate) fn read(
    document: Document<'_>,
    at: &At<'_>,
    config: &OpenApiConfig,
    has_tokens: bool,
) -> Result<Security, ConfigError> {
    let mut security = Security::default();
    let Value::Array(alternatives) = at.value else {
        return Err(fault(&at.pointer, "must be a list of alternatives"));
    };
    for (i, alternative) in alternatives.iter().enumerate() {
        let here = child(&at.pointer, &i.to_string());
        let mut demands = Vec::new();
        for (name, scopes) in object(&here, alternative, "schemes with their scopes")? {
            let here = child(&here, name);
            let met = requirement(document, &here, (name, scopes), config, has_tokens);
            let Some((scheme, demand)) = document.note(met) else { continue };
            security.query_keys.extend(scheme.query_key);
            security.may_have_token |=
                matches!(scheme.use_of, Some(SchemeUse::Token | SchemeUse::Elsewhere));
            demands.extend(demand);
            if !security.challenges.contains(&scheme.challenge) {
                security.challenges.push(scheme.challenge);
            }
        }
        security.alternatives.push(demands);
    }
    Ok(security)
}

/// One scheme of an alternative, and what it demands of a request.
fn requirement(
    document: Document<'_>,
    here: &str,
    (name, scopes): (&str, &Value),
    config: &OpenApiConfig,
    has_tokens: bool,
) -> Result<(Scheme, Option<Demand>), ConfigError> {
    let scheme = scheme(document, here, name, config)?;
    let scopes = scope_list(here, scopes)?;
    let demand = match scheme.use_of {
        None => {
            let problem = format!(
                "demands the scheme `{name}` ({}), which can't be carried out here",
                scheme.kind
            );
            return Err(fault(here, problem).suggest(format!(
                "set `security: {{ '{name}': (req) => … }}`, or 'token' if it is a token of the guard, or false if it is checked elsewhere"
            )));
        }
        Some(SchemeUse::Token) if !has_tokens => {
            let problem =
                format!("demands a token by the scheme `{name}`, and the guard has no `jwt`");
            return Err(fault(here, problem)
                .suggest("give the guard `jwt`, or map the scheme with the option `security`"));
        }
        Some(SchemeUse::Token) => Some(Demand::Token { scopes }),
        Some(SchemeUse::Function) => Some(Demand::Function { scheme: name.to_owned(), scopes }),
        Some(SchemeUse::Elsewhere) => None,
    };
    Ok((scheme, demand))
}

fn scheme(
    document: Document<'_>,
    here: &str,
    name: &str,
    config: &OpenApiConfig,
) -> Result<Scheme, ConfigError> {
    let pointer = child("/components/securitySchemes", name);
    let Some(at) = document.at(&pointer) else {
        let error = fault(here, "names no scheme of components.securitySchemes");
        return Err(match nearest(name, &scheme_names(document)) {
            Some(name) => error.suggest(format!("did you mean `{name}`?")),
            None => error,
        });
    };
    let at = document.resolve(at)?;
    let map = object(&at.pointer, at.value, "a security scheme")?;
    document.known_fields_of(&at.pointer, map, FIELDS, &["oauth2MetadataUrl", "deprecated"]);
    let kind = text(&at.pointer, map, "type")?.unwrap_or_default();
    let (own, challenge, kind) = match kind {
        "http" => http(&at, map)?,
        "oauth2" => (Some(SchemeUse::Token), "Bearer".to_owned(), "oauth2"),
        "openIdConnect" => (Some(SchemeUse::Token), "Bearer".to_owned(), "openIdConnect"),
        "apiKey" => (None, "ApiKey".to_owned(), "apiKey"),
        "mutualTLS" => (None, "MutualTLS".to_owned(), "mutualTLS"),
        _ => {
            return Err(fault(&child(&at.pointer, "type"), "is no type of security scheme")
                .suggest("write 'http', 'apiKey', 'oauth2', 'openIdConnect' or 'mutualTLS'"));
        }
    };
    let mut query_key = None;
    if kind == "apiKey" {
        let place = text(&at.pointer, map, "in")?.unwrap_or_default();
        if !matches!(place, "query" | "header" | "cookie") {
            return Err(fault(&child(&at.pointer, "in"), "must be 'query', 'header' or 'cookie'"));
        }
        let Some(name) = text(&at.pointer, map, "name")?.filter(|name| !name.is_empty()) else {
            return Err(fault(&child(&at.pointer, "name"), "must be there"));
        };
        query_key = (place == "query").then(|| name.to_owned());
    }
    Ok(Scheme { use_of: config.security.get(name).copied().or(own), challenge, query_key, kind })
}

fn http(
    at: &At<'_>,
    map: &Map<String, Value>,
) -> Result<(Option<SchemeUse>, String, &'static str), ConfigError> {
    let name = text(&at.pointer, map, "scheme")?.unwrap_or_default();
    if !is_token(name) {
        return Err(fault(&child(&at.pointer, "scheme"), "must be there").suggest("write 'bearer'"));
    }
    if name.eq_ignore_ascii_case("bearer") {
        return Ok((Some(SchemeUse::Token), "Bearer".to_owned(), "http bearer"));
    }
    let mut challenge = name.to_ascii_lowercase();
    if let Some(first) = challenge.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Ok((None, challenge, "http"))
}

/// The same bounds as for `guard.require`.
const MAX_SCOPES: usize = 50;
const MAX_CHARS: usize = 256;

fn scope_list(here: &str, value: &Value) -> Result<Vec<String>, ConfigError> {
    let Value::Array(items) = value else {
        return Err(fault(here, "must be a list of scopes").suggest("write [] for none"));
    };
    if items.len() > MAX_SCOPES {
        return Err(fault(here, format!("must name at most {MAX_SCOPES} scopes")));
    }
    items
        .iter()
        .map(|item| {
            // RFC 6749 section 3.3. The text is copied into a header unchanged.
            let fits = |text: &&str| {
                (1..=MAX_CHARS).contains(&text.len())
                    && text.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b'\\'))
            };
            item.as_str()
                .filter(fits)
                .map(str::to_owned)
                .ok_or_else(|| fault(here, "must have names of scopes, without spaces and quotes"))
        })
        .collect()
}
