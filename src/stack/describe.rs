//! What a stack asks of a request, as data: for `guard.toOpenApi`.

use serde_json::{Value, json};

use super::{BodyScope, Stack};
use crate::bearer::{DpopMode, Scheme, Source};
use crate::guard::{Exemption, TokenRequirement, Tokens};
use crate::net::TrustedProxies;
use crate::payload::PayloadConfig;
use crate::request::Request;

impl Stack {
    /// Describes the stack for requests of `method` to `path`, a path without a query:
    ///
    /// - `identity`: `'none'`, `'optional'` or `'required'`, with the exemption of the path
    /// - `credentials`: where an identity may come from, `{ tokens, isProven, apiKey, identify }`;
    ///   null if the guard has none
    /// - `scopes`: those that a token must have
    /// - `demands`: the names of its other requirements
    /// - `csrf`, `limits`, `policy`: whether such a layer runs
    /// - `body`: `{ types, isDeclared }`; null if the application handles it
    #[must_use]
    pub fn describe(&self, method: &str, path: &str) -> Value {
        let head = format!("8\n{method}\n{path}\n\n\n\n\n");
        let request = Request::read(head, &TrustedProxies::default());
        let canonical = request
            .and_then(|mut request| {
                request.canonicalise(self.guard.paths.forms(&request)).map(|()| request)
            })
            .ok();
        let exemption = canonical.map_or_else(Exemption::default, |it| self.exemption(&it));
        let identity = match self.token_for(exemption) {
            TokenRequirement::Ignore => "none",
            TokenRequirement::Optional | TokenRequirement::Lenient => "optional",
            TokenRequirement::Required => "required",
        };
        json!({
            "identity": identity,
            "credentials": self.guard.tokens.as_ref().map(credentials),
            "scopes": self.demands.scopes(),
            "demands": self.demands.others(),
            "csrf": self.csrf.is_some(),
            "limits": self.limiter.is_some() && !self.limit_ids.is_empty() && !exemption.limits,
            "policy": self.policy.is_some(),
            "body": self.payload.as_ref().map(|payload| body(payload, self.bodies)),
        })
    }
}

fn credentials(tokens: &Tokens) -> Value {
    let presentation = tokens.verifier.presentation();
    let places = presentation.sources().iter().map(|source| match source {
        Source::Header => json!({ "in": "authorization" }),
        Source::Named(name) => json!({ "in": "header", "name": name }),
        Source::Cookie(name) => json!({ "in": "cookie", "name": name }),
        Source::Query(name) => json!({ "in": "query", "name": name }),
    });
    let places: Vec<Value> = if tokens.has_issuers() { places.collect() } else { Vec::new() };
    let api_key = tokens.sources.api_keys.as_ref().map(|keys| {
        if let Some(name) = keys.header() {
            return json!({ "in": "header", "name": name });
        }
        let scheme = if keys.scheme() == Scheme::Bearer { "Bearer" } else { "ApiKey" };
        json!({ "in": "authorization", "scheme": scheme })
    });
    json!({
        "tokens": places,
        "isProven": presentation.dpop == DpopMode::Required,
        "apiKey": api_key,
        "identify": tokens.sources.identify.is_some(),
    })
}

fn body(payload: &PayloadConfig, scope: BodyScope) -> Value {
    let types = payload.types();
    let named = [("json", types.json), ("form", types.form), ("multipart", types.multipart)];
    let named: Vec<&str> =
        named.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect();
    json!({ "types": named, "isDeclared": scope == BodyScope::Declared })
}
