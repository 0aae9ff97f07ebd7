//! The document that a policy reads as `input`, version 1. Only the members that the modules read
//! are built.
//!
//! | field | value |
//! |---|---|
//! | `method`, `effective_method` | as sent; with `HEAD` read as `GET` |
//! | `path`, `decoded_path`, `raw_path` | segments as sent; segments decoded; the path as sent |
//! | `route`, `params` | the route's pattern, if known; its parameters |
//! | `query` | name to list of values |
//! | `headers` | lower-case name to value; without credentials; repeated ones joined with `, ` |
//! | `user` | the verified claims, or null |
//! | `token` | `{ issuer, jti, exp, alg, kid }` of the verified identity, or null |
//! | `client` | `{ ip }` |
//! | `rate` | `{ limit, remaining, reset }`, if a limit was consulted |
//! | `time` | `{ now_ns }`, the request's instant |
//! | `body` | the checked JSON body, if there is one |
//! | `resource` | the object that the application names, or null; absent if it is not asked |

use std::borrow::Cow;
use std::collections::BTreeMap;

use regorus::Value;
use serde_json::{Map, Value as Json};

use super::cache::Writer;
use super::config::Limits;
use super::load::CREDENTIAL_HEADERS;
use super::needs::Need;
use crate::clock::Now;
use crate::net::percent::form_decoded;
use crate::net::query::{check_names, fills_other, has_brackets};
use crate::refusal::Refusal;

/// A query string, parsed or not.
#[derive(Debug, Clone, Copy)]
pub enum QueryPart<'a> {
    /// Decoded names and values, in their order.
    Pairs(&'a [(Cow<'a, str>, Cow<'a, str>)]),
    /// The text after the `?`, `application/x-www-form-urlencoded`. It is decoded only if the
    /// policy reads it.
    Raw(&'a str),
}

/// The parts of a verified token that a policy may read.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenView<'a> {
    /// Its issuer as configured, or the name of its source if it is no token.
    pub issuer: Option<&'a str>,
    /// The token's id.
    pub jti: Option<&'a str>,
    /// The expiry, in seconds since the Unix epoch.
    pub exp: Option<u64>,
    /// The algorithm of its signature.
    pub alg: Option<&'a str>,
    /// The key that signed it.
    pub kid: Option<&'a str>,
}

/// The client's rate limit status.
#[derive(Debug, Clone, Copy, Default)]
pub struct RateView {
    /// Requests per window.
    pub limit: u64,
    /// Requests left.
    pub remaining: u64,
    /// Seconds until the full limit is available again.
    pub reset: u64,
}

/// A request with the results of the earlier layers. All fields are borrowed, and only the parts
/// that the policy reads are copied.
#[derive(Debug, Clone, Copy)]
pub struct InputParts<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The segments of the path as sent. A router compares these.
    pub path: &'a [&'a str],
    /// The same segments decoded.
    pub decoded_path: &'a [&'a str],
    /// The path as sent.
    pub raw_path: &'a str,
    /// The route's pattern, `/users/:id`.
    pub route: Option<&'a str>,
    /// The route's parameters.
    pub params: &'a [(&'a str, &'a str)],
    /// The query string.
    pub query: QueryPart<'a>,
    /// Header names, in any case, and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// The claims of a verified token; `None` for an anonymous request.
    pub user: Option<&'a Map<String, Json>>,
    /// The verified token.
    pub token: Option<TokenView<'a>>,
    /// The client's address.
    pub client_ip: &'a str,
    /// The rate limit that was consulted.
    pub rate: Option<RateView>,
    /// The checked JSON body.
    pub body: Option<&'a Json>,
    /// The resource that the application names, null if it has none; `None` if it is not asked.
    pub resource: Option<&'a Json>,
}

impl Default for InputParts<'_> {
    fn default() -> Self {
        Self {
            method: "",
            path: &[],
            decoded_path: &[],
            raw_path: "",
            route: None,
            params: &[],
            query: QueryPart::Pairs(&[]),
            headers: &[],
            user: None,
            token: None,
            client_ip: "",
            rate: None,
            body: None,
            resource: None,
        }
    }
}

/// The reason why no input could be built. The request causes each of them, so they deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputError {
    TooLarge,
    TooDeep,
    BadQuery,
    BadNumber,
}

impl InputError {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "the request is larger than the policy's limits.inputBytes",
            Self::TooDeep => "the request is nested deeper than the policy's limits.depth",
            Self::BadQuery => "the query string is not valid percent-encoded UTF-8",
            Self::BadNumber => "the request has a number out of range",
        }
    }
}

/// The remaining part of `limits.inputBytes`.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { bytes: limits.input_bytes }
    }

    fn take(&mut self, bytes: usize) -> Result<(), InputError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(InputError::TooLarge)?;
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<Value, InputError> {
        // Two bytes for the quotes, so that a million empty strings have a cost.
        self.take(text.len() + 2)?;
        Ok(Value::from(text))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Method,
    EffectiveMethod,
    Path,
    DecodedPath,
    RawPath,
    Route,
    Params,
    Query,
    Headers,
    User,
    Token,
    Client,
    Rate,
    Time,
    Body,
    Resource,
}

const FIELDS: [(&str, Field); 16] = [
    ("method", Field::Method),
    ("effective_method", Field::EffectiveMethod),
    ("path", Field::Path),
    ("decoded_path", Field::DecodedPath),
    ("raw_path", Field::RawPath),
    ("route", Field::Route),
    ("params", Field::Params),
    ("query", Field::Query),
    ("headers", Field::Headers),
    ("user", Field::User),
    ("token", Field::Token),
    ("client", Field::Client),
    ("rate", Field::Rate),
    ("time", Field::Time),
    ("body", Field::Body),
    ("resource", Field::Resource),
];

/// The members of a field that are read: all, or these, with prebuilt keys.
#[derive(Debug)]
enum Members {
    All,
    Only(Vec<(String, Value)>),
}

/// The parts of the input to build for a request.
#[derive(Debug)]
pub(super) struct InputPlan {
    fields: Vec<(Field, Value, Members)>,
    /// Names that the modules read and that the input does not have.
    unknown: Vec<String>,
}

impl InputPlan {
    pub(super) fn new(needs: &Need) -> Self {
        let fields = FIELDS.iter().filter_map(|(name, field)| {
            let members = match needs.member(name)?.names() {
                None => Members::All,
                Some(names) => {
                    Members::Only(names.map(|name| (name.to_owned(), Value::from(name))).collect())
                }
            };
            Some((*field, Value::from(*name), members))
        });
        let unknown = needs.names().into_iter().flatten();
        let unknown = unknown.filter(|name| !FIELDS.iter().any(|(known, _)| known == name));
        Self { fields: fields.collect(), unknown: unknown.map(str::to_owned).collect() }
    }

    pub(super) fn reads_body(&self) -> bool {
        self.reads(Field::Body)
    }

    /// Whether two requests can have the same input. With the time, a count or a body in it, they
    /// can't.
    pub(super) fn repeats(&self) -> bool {
        let once = [Field::Time, Field::Rate, Field::Body];
        !self.fields.iter().any(|(field, _, _)| once.contains(field))
    }

    pub(super) fn reads_resource(&self) -> bool {
        self.reads(Field::Resource)
    }

    pub(super) fn reads_time(&self) -> bool {
        self.reads(Field::Time)
    }

    pub(super) fn reads_params(&self) -> bool {
        self.reads(Field::Params)
    }

    pub(super) fn reads_headers(&self) -> bool {
        self.reads(Field::Headers)
    }

    pub(super) fn reads_decoded_path(&self) -> bool {
        self.reads(Field::DecodedPath)
    }

    pub(super) fn reads_client(&self) -> bool {
        self.reads(Field::Client)
    }

    /// Refuses a query that the policy and the handler may read differently.
    pub(super) fn check_query(&self, query: &str) -> Result<(), Refusal> {
        let members = self.fields.iter().find(|(field, _, _)| *field == Field::Query);
        match members {
            None => Ok(()),
            Some((_, _, Members::All)) => check_names(query, has_brackets),
            Some((_, _, Members::Only(names))) => {
                let names = names.iter().map(|(name, _)| name.as_str());
                check_names(query, |name| fills_other(name, names.clone()))
            }
        }
    }

    fn reads(&self, wanted: Field) -> bool {
        self.fields.iter().any(|(field, _, _)| *field == wanted)
    }

    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Builds the input of one request.
    pub(super) fn build(
        &self,
        parts: &InputParts<'_>,
        now: Now,
        limits: &Limits,
    ) -> Result<Value, InputError> {
        let mut budget = Budget::new(limits);
        let mut input = BTreeMap::new();
        for (field, key, members) in &self.fields {
            if let Some(value) = build_field(*field, members, parts, now, &mut budget, limits)? {
                input.insert(key.clone(), value);
            }
        }
        Ok(Value::from(input))
    }

    /// Encodes the sources of a request's input, which is cheaper than building it. `None` if it
    /// can't be built or never repeats.
    pub(super) fn write(
        &self,
        parts: &InputParts<'_>,
        now: Now,
        limits: &Limits,
        out: &mut Writer,
    ) -> Option<()> {
        for (field, _, members) in &self.fields {
            match field {
                Field::Method => out.text(parts.method),
                Field::EffectiveMethod => out.text(effective_method(parts.method)),
                Field::Path => write_path(parts.path, out),
                Field::DecodedPath => write_path(parts.decoded_path, out),
                Field::RawPath => out.text(parts.raw_path),
                Field::Route => out.maybe(parts.route, Writer::text),
                Field::User => {
                    out.maybe(parts.user, |out, claims| write_members(claims, members, out));
                }
                Field::Token => out.maybe(parts.token, |out, token| {
                    for text in [token.issuer, token.jti, token.alg, token.kid] {
                        out.maybe(text, Writer::text);
                    }
                    out.maybe(token.exp, Writer::number);
                }),
                Field::Client => out.text(parts.client_ip),
                Field::Resource => out.maybe(parts.resource, |out, resource| match resource {
                    Json::Object(row) => write_members(row, members, out),
                    other => out.json(other),
                }),
                // A policy mostly reads a small part of these. The unread rest must not affect the
                // key.
                Field::Params | Field::Query | Field::Headers => {
                    let mut budget = Budget::new(limits);
                    let value = build_field(*field, members, parts, now, &mut budget, limits);
                    out.value(&value.ok()??)?;
                }
                Field::Rate | Field::Time | Field::Body => return None,
            }
        }
        Some(())
    }
}

fn effective_method(method: &str) -> &str {
    if method == "HEAD" { "GET" } else { method }
}

/// No tag of [`Writer::json`].
const OBJECT_TAG: u8 = 7;

fn write_path(segments: &[&str], out: &mut Writer) {
    out.number(segments.len() as u64);
    for segment in segments {
        out.text(segment);
    }
}

fn write_members(object: &Map<String, Json>, members: &Members, out: &mut Writer) {
    out.tag(OBJECT_TAG);
    match members {
        Members::All => {
            out.number(object.len() as u64);
            for (name, member) in object {
                out.text(name);
                out.json(member);
            }
        }
        Members::Only(wanted) => {
            for (name, _) in wanted {
                out.maybe(object.get(name), Writer::json);
            }
        }
    }
}

fn path(segments: &[&str], budget: &mut Budget) -> Result<Value, InputError> {
    let segments = segments.iter().map(|segment| budget.text(segment));
    Ok(Value::from(segments.collect::<Result<Vec<Value>, _>>()?))
}

fn build_field(
    field: Field,
    members: &Members,
    parts: &InputParts<'_>,
    now: Now,
    budget: &mut Budget,
    limits: &Limits,
) -> Result<Option<Value>, InputError> {
    let value = match field {
        Field::Method => budget.text(parts.method)?,
        Field::EffectiveMethod => budget.text(effective_method(parts.method))?,
        Field::Path => path(parts.path, budget)?,
        Field::DecodedPath => path(parts.decoded_path, budget)?,
        Field::RawPath => budget.text(parts.raw_path)?,
        Field::Route => match parts.route {
            Some(route) => budget.text(route)?,
            None => return Ok(None),
        },
        Field::Params => object(parts.params.iter().copied(), members, budget)?,
        Field::Query => query(parts.query, members, budget)?,
        Field::Headers => headers(parts.headers, members, budget)?,
        Field::User => match parts.user {
            Some(claims) => members_of(claims, members, budget, limits)?,
            None => Value::Null,
        },
        Field::Token => match parts.token {
            Some(token) => token_value(token, budget)?,
            None => Value::Null,
        },
        Field::Client => {
            Value::from(BTreeMap::from([(Value::from("ip"), budget.text(parts.client_ip)?)]))
        }
        Field::Rate => match parts.rate {
            Some(RateView { limit, remaining, reset }) => Value::from(BTreeMap::from([
                (Value::from("limit"), Value::from(limit)),
                (Value::from("remaining"), Value::from(remaining)),
                (Value::from("reset"), Value::from(reset)),
            ])),
            None => return Ok(None),
        },
        Field::Time => {
            let now_ns = Value::from(now.unix_us.saturating_mul(1_000));
            Value::from(BTreeMap::from([(Value::from("now_ns"), now_ns)]))
        }
        Field::Body => match parts.body {
            Some(body) => convert(body, budget, limits.depth)?,
            None => return Ok(None),
        },
        Field::Resource => match parts.resource {
            Some(Json::Object(row)) => members_of(row, members, budget, limits)?,
            Some(other) => convert(other, budget, limits.depth)?,
            None => return Ok(None),
        },
    };
    Ok(Some(value))
}

fn object<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    members: &Members,
    budget: &mut Budget,
) -> Result<Value, InputError> {
    let mut object = BTreeMap::new();
    for (name, value) in pairs {
        if let Some(key) = key(name, members, budget)? {
            object.insert(key, budget.text(value)?);
        }
    }
    Ok(Value::from(object))
}

/// The key of a member that is read; `None` if it is not read.
fn key(name: &str, members: &Members, budget: &mut Budget) -> Result<Option<Value>, InputError> {
    match members {
        Members::All => budget.text(name).map(Some),
        Members::Only(wanted) => {
            Ok(wanted.iter().find(|(wanted, _)| wanted == name).map(|(_, key)| key.clone()))
        }
    }
}

fn query(
    query: QueryPart<'_>,
    members: &Members,
    budget: &mut Budget,
) -> Result<Value, InputError> {
    let mut lists: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    let mut add = |name: &str, value: &str| -> Result<(), InputError> {
        if let Some(key) = key(name, members, budget)? {
            lists.entry(key).or_default().push(budget.text(value)?);
        }
        Ok(())
    };
    match query {
        QueryPart::Pairs(pairs) => {
            for (name, value) in pairs {
                add(name, value)?;
            }
        }
        QueryPart::Raw(raw) => {
            for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let decoded = |text| form_decoded(text).ok_or(InputError::BadQuery);
                add(&decoded(name)?, &decoded(value)?)?;
            }
        }
    }
    Ok(Value::from(
        lists.into_iter().map(|(key, list)| (key, Value::from(list))).collect::<BTreeMap<_, _>>(),
    ))
}

fn headers(
    headers: &[(&str, &str)],
    members: &Members,
    budget: &mut Budget,
) -> Result<Value, InputError> {
    let mut values: BTreeMap<Value, String> = BTreeMap::new();
    for (name, value) in headers {
        if CREDENTIAL_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            continue;
        }
        let key = match members {
            Members::All => budget.text(&name.to_ascii_lowercase())?,
            Members::Only(wanted) => {
                match wanted.iter().find(|(wanted, _)| name.eq_ignore_ascii_case(wanted)) {
                    Some((_, key)) => key.clone(),
                    None => continue,
                }
            }
        };
        budget.take(value.len() + 2)?;
        let joined = values.entry(key);
        // RFC 9110 section 5.3: repeated fields form one list.
        joined
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(value);
            })
            .or_insert_with(|| (*value).to_owned());
    }
    Ok(Value::from(
        values
            .into_iter()
            .map(|(key, value)| (key, Value::from(value)))
            .collect::<BTreeMap<_, _>>(),
    ))
}

/// The members of an object that are read.
fn members_of(
    object: &Map<String, Json>,
    members: &Members,
    budget: &mut Budget,
    limits: &Limits,
) -> Result<Value, InputError> {
    let depth = limits.depth.saturating_sub(1);
    let mut read = BTreeMap::new();
    match members {
        Members::All => {
            for (name, member) in object {
                read.insert(budget.text(name)?, convert(member, budget, depth)?);
            }
        }
        Members::Only(wanted) => {
            for (name, key) in wanted {
                if let Some(member) = object.get(name) {
                    read.insert(key.clone(), convert(member, budget, depth)?);
                }
            }
        }
    }
    Ok(Value::from(read))
}

fn token_value(token: TokenView<'_>, budget: &mut Budget) -> Result<Value, InputError> {
    let mut value = BTreeMap::new();
    let texts =
        [("issuer", token.issuer), ("jti", token.jti), ("alg", token.alg), ("kid", token.kid)];
    for (name, text) in texts {
        if let Some(text) = text {
            value.insert(Value::from(name), budget.text(text)?);
        }
    }
    if let Some(exp) = token.exp {
        value.insert(Value::from("exp"), Value::from(exp));
    }
    Ok(Value::from(value))
}

/// A JSON value as a Rego value. Integers keep every digit. `depth` is the number of levels that
/// may follow.
pub(super) fn convert(json: &Json, budget: &mut Budget, depth: usize) -> Result<Value, InputError> {
    Ok(match json {
        Json::Null => {
            budget.take(4)?;
            Value::Null
        }
        Json::Bool(bool) => {
            budget.take(4)?;
            Value::Bool(*bool)
        }
        Json::Number(number) => {
            budget.take(8)?;
            convert_number(number)?
        }
        Json::String(text) => budget.text(text)?,
        Json::Array(items) => {
            budget.take(2)?;
            let depth = depth.checked_sub(1).ok_or(InputError::TooDeep)?;
            let items = items.iter().map(|item| convert(item, budget, depth));
            Value::from(items.collect::<Result<Vec<Value>, _>>()?)
        }
        Json::Object(members) => {
            budget.take(2)?;
            let depth = depth.checked_sub(1).ok_or(InputError::TooDeep)?;
            let mut object = BTreeMap::new();
            for (name, member) in members {
                object.insert(budget.text(name)?, convert(member, budget, depth)?);
            }
            Value::from(object)
        }
    })
}

fn convert_number(number: &serde_json::Number) -> Result<Value, InputError> {
    if let Some(number) = number.as_i64() {
        return Ok(Value::from(number));
    }
    if let Some(number) = number.as_u64() {
        return Ok(Value::from(number));
    }
    let float = number.as_f64().filter(|float| float.is_finite()).ok_or(InputError::BadNumber)?;
    Ok(Value::from(float))
}
