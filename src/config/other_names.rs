//! The names that options have in other packages, and what to write here instead. Users who come
//! from one of them write its names first, and the spelling check finds nothing near them.

/// For each kind of object, an option that only it has; then the names of others, and the advice.
/// "did you mean `x`?" applies to an option of the object itself.
const OTHER_NAMES: &[(&str, &[(&str, &str)])] = &[
    // The guard itself.
    (
        "trustedProxies",
        &[
            ("helmet", "did you mean `headers`?"),
            ("contentSecurityPolicy", "write it as `headers: { csp: { directives } }`"),
            ("csp", "write it as `headers: { csp: { directives } }`"),
            ("hsts", "write it as `headers: { hsts }`"),
            ("origin", "write it as `cors: { origins: ['https://app.example.com'] }`"),
            ("origins", "write it as `cors: { origins: ['https://app.example.com'] }`"),
            ("trustProxy", "did you mean `trustedProxies`?"),
            ("trust proxy", "did you mean `trustedProxies`?"),
            ("limiter", "did you mean `rateLimit`?"),
            ("rateLimiter", "did you mean `rateLimit`?"),
            ("limit", "write it as `rateLimit: { name, limit, window }`"),
            ("windowMs", "write it as `rateLimit: { name, limit, window: '60s' }`"),
            ("redis", "write it as `store: { redis: 'redis://127.0.0.1:6379' }`"),
            ("memcached", "write it as `store: { memcached: ['127.0.0.1:11211'] }`"),
            ("auth", "did you mean `jwt`?"),
            ("token", "did you mean `jwt`?"),
            ("tokens", "did you mean `jwt`?"),
            ("secret", "write it as `jwt: { issuer, audience, secret }`"),
            ("issuer", "write it as `jwt: { issuer, audience }`, with keys"),
            ("audience", "write it as `jwt: { issuer, audience }`, with keys"),
            ("jwks", "write it as `jwt: { issuer, audience, jwks }`"),
            ("unless", "did you mean `public`?"),
            ("skip", "did you mean `public`?"),
            ("publicPaths", "did you mean `public`?"),
            ("publicRoutes", "did you mean `public`?"),
            ("permitAll", "did you mean `public`?"),
            ("allowAnonymous", "did you mean `public`?"),
            ("blacklist", "did you mean `revocation`? For addresses it is `clients: { block }`"),
            ("denylist", "did you mean `revocation`? For addresses it is `clients: { block }`"),
            ("opa", "did you mean `policy`?"),
            ("rego", "did you mean `policy`?"),
            ("policies", "write it as `policy: { policies: { 'authz.rego': source }, query }`"),
            ("body", "write it on the route: `guard.securityStack({ body: schema })`"),
            ("schema", "write it on the route: `guard.securityStack({ body: schema })`"),
            ("validate", "write it on the route: `guard.securityStack({ body: schema })`"),
            ("bodyLimit", "write it as `payload: { maxBytes }`"),
            ("logger", "did you mean `log`?"),
        ],
    ),
    // A limit: express-rate-limit, rate-limiter-flexible, express-slow-down.
    (
        "onExceed",
        &[
            ("max", "did you mean `limit`?"),
            ("points", "did you mean `limit`?"),
            ("tokensPerInterval", "did you mean `limit`?"),
            ("windowMs", "did you mean `window`? It takes a text with a unit: '60s'"),
            ("duration", "did you mean `window`? It takes a text with a unit: '60s'"),
            ("interval", "did you mean `window`? It takes a text with a unit: '60s'"),
            ("timeWindow", "did you mean `window`? It takes a text with a unit: '60s'"),
            ("keyGenerator", "did you mean `key`?"),
            (
                "keyPrefix",
                "limits are kept apart by `name`; a prefix of all keys is `store.redis.prefix`",
            ),
            (
                "prefix",
                "limits are kept apart by `name`; a prefix of all keys is `store.redis.prefix`",
            ),
            ("ipv6Subnet", "write it on the guard: `ipv6Prefix: 56`"),
            ("store", "write it on the guard: `store: { redis: 'redis://127.0.0.1:6379' }`"),
            ("storeClient", "write it on the guard: `store: { redis: 'redis://127.0.0.1:6379' }`"),
            ("skip", "`methods` and `paths` say which requests it counts"),
            ("skipSuccessfulRequests", "write `count: 'failed'`"),
            ("skipFailedRequests", "write `count: 'succeeded'`"),
            ("delayMs", "write `onExceed: 'delay'` with `maxDelay`"),
            ("delayAfter", "write `onExceed: 'delay'` with `maxDelay`"),
            ("maxDelayMs", "did you mean `maxDelay`?"),
            ("execEvenly", "write `onExceed: 'delay'` with `maxDelay`"),
            ("passOnStoreError", "did you mean `onStoreFailure`?"),
            (
                "standardHeaders",
                "write it on the guard: `rateLimitHeaders: 'draft-6'`, `'draft-7'` or `'draft-8'`",
            ),
            ("legacyHeaders", "write it on the guard: `rateLimitHeaders: 'x-ratelimit'`"),
            ("headers", "write it on the guard: `rateLimitHeaders: 'x-ratelimit'`"),
            (
                "message",
                "leave it out: a refusal is a problem document with the code `rate_limited`",
            ),
            ("statusCode", "leave it out: a refusal is a 429 with the code `rate_limited`"),
            (
                "handler",
                "leave it out: a refusal is a problem document with the code `rate_limited`",
            ),
        ],
    ),
    // CORS: cors, rs/cors, Spring.
    (
        "exposeHeaders",
        &[
            ("allowedHeaders", "did you mean `requestHeaders`?"),
            ("allowHeaders", "did you mean `requestHeaders`?"),
            ("headers", "did you mean `requestHeaders`?"),
            ("allowedOriginPatterns", "did you mean `origins`?"),
            ("allowCredentials", "did you mean `credentials`?"),
            ("supportsCredentials", "did you mean `credentials`?"),
            ("optionsSuccessStatus", "leave it out: an allowed preflight gets 204"),
            ("preflightContinue", "leave it out: the guard answers preflights"),
        ],
    ),
    // Tokens: jsonwebtoken, express-jwt, passport-jwt, jwks-rsa, express-oauth2-jwt-bearer.
    (
        "audience",
        &[
            ("aud", "did you mean `audience`?"),
            ("iss", "did you mean `issuer`?"),
            ("publicKey", "write `keys: [{ kid, alg, key }]`"),
            ("privateKey", "write `keys: [{ kid, alg, key }]`"),
            ("key", "write `keys: [{ kid, alg, key }]`"),
            ("secretOrKey", "did you mean `secret`? Other keys are `keys: [{ kid, alg, key }]`"),
            (
                "secretOrPublicKey",
                "did you mean `secret`? Other keys are `keys: [{ kid, alg, key }]`",
            ),
            (
                "secretOrPrivateKey",
                "did you mean `secret`? Other keys are `keys: [{ kid, alg, key }]`",
            ),
            ("secretOrKeyProvider", "write `jwks` with the URL of the issuer's keys"),
            ("jwksUri", "did you mean `jwks`?"),
            ("jwks_uri", "did you mean `jwks`?"),
            ("jwksUrl", "did you mean `jwks`?"),
            ("issuerBaseURL", "write `issuer` with `discovery: true`"),
            (
                "expiresIn",
                "write it as an option of `guard.tokens.issue`; the longest accepted is `maxLifetime`",
            ),
            ("maxAge", "did you mean `maxLifetime`? By route it is `guard.require({ maxAge })`"),
            ("clockSkew", "did you mean `clockTolerance`?"),
            ("leeway", "did you mean `clockTolerance`?"),
            ("ignoreExpiration", "leave it out: an expired token is always refused"),
            ("algorithm", "did you mean `algorithms`?"),
            ("tokenSigningAlg", "did you mean `algorithms`?"),
            ("credentialsRequired", "did you mean `optional`?"),
            ("required", "did you mean `optional`?"),
            ("getToken", "did you mean `from`? It names headers, cookies and query parameters"),
            (
                "jwtFromRequest",
                "did you mean `from`? It names headers, cookies and query parameters",
            ),
            ("cookie", "write `from: ['header', { cookie: '__Host-token' }]`"),
            ("header", "write `from: [{ header: 'x-token' }]`"),
            ("requestProperty", "leave it out: the claims are `req.user`"),
            ("isRevoked", "use `guard.revoke.token`, `subject` and `session`"),
            ("scope", "write it on the route: `guard.require({ scope })`"),
            ("scopes", "write it on the route: `guard.require({ scope })`"),
            ("roles", "write it on the route: `guard.require({ role })`"),
        ],
    ),
    // A route: the guard's own options.
    (
        "responseHeaders",
        &[
            ("profile", "write it as `responseHeaders: { profile: 'web' }`"),
            ("csp", "write it as `responseHeaders: { csp: { directives } }`"),
            ("contentSecurityPolicy", "write it as `responseHeaders: { csp: { directives } }`"),
            ("hsts", "write it as `responseHeaders: { hsts }`"),
            ("rateLimitHeaders", "write it on the guard, for all its limits"),
        ],
    ),
    // Response headers: helmet.
    (
        "hsts",
        &[
            (
                "profile",
                "write it on the guard: `profile: 'web'`; for some routes it is in `guard.headers` \
                 and `responseHeaders`",
            ),
            ("contentSecurityPolicy", "did you mean `csp`?"),
            ("strictTransportSecurity", "did you mean `hsts`?"),
            ("frameguard", "did you mean `frameOptions`?"),
            ("xFrameOptions", "did you mean `frameOptions`?"),
            ("crossOriginEmbedderPolicy", "did you mean `coep`?"),
            ("crossOriginOpenerPolicy", "did you mean `coop`?"),
            ("crossOriginResourcePolicy", "did you mean `corp`?"),
            ("noSniff", "leave it out: `X-Content-Type-Options: nosniff` is always sent"),
            (
                "xContentTypeOptions",
                "leave it out: `X-Content-Type-Options: nosniff` is always sent",
            ),
            (
                "hidePoweredBy",
                "leave it out: `X-Powered-By` is always removed; other headers are `remove`",
            ),
            (
                "xPoweredBy",
                "leave it out: `X-Powered-By` is always removed; other headers are `remove`",
            ),
            ("originAgentCluster", "leave it out: the profile 'web' sends it"),
            ("xssFilter", "leave it out: browsers have given the header up"),
            ("xXssProtection", "leave it out: browsers have given the header up"),
            ("ieNoOpen", "leave it out: browsers have given the header up"),
            ("xDownloadOptions", "leave it out: browsers have given the header up"),
            ("dnsPrefetchControl", "leave it out, or set the header in a handler of your own"),
            (
                "permittedCrossDomainPolicies",
                "leave it out, or set the header in a handler of your own",
            ),
        ],
    ),
    // Bodies: body-parser.
    (
        "maxNodes",
        &[
            ("limit", "did you mean `maxBytes`?"),
            ("maxSize", "did you mean `maxBytes`?"),
            ("maxBodySize", "did you mean `maxBytes`?"),
            ("depth", "did you mean `maxDepth`?"),
            ("parameterLimit", "did you mean `maxKeys`?"),
            ("extended", "leave it out: a form's fields are texts and lists of texts"),
            ("strict", "leave it out: JSON is always read strictly"),
            ("type", "did you mean `types`?"),
            ("allErrors", "leave it out: a refusal names up to 20 faults"),
            (
                "coerceTypes",
                "leave it out: forms, queries and parameters are converted, JSON never is",
            ),
            ("removeAdditional", "leave it out: undeclared members are refused"),
        ],
    ),
    // The schemas of a route, where a schema itself was given.
    (
        "onResponse",
        &[
            ("type", SCHEMA),
            ("properties", SCHEMA),
            ("required", SCHEMA),
            ("$schema", SCHEMA),
            ("anyOf", SCHEMA),
            ("allOf", SCHEMA),
            ("~standard", SCHEMA),
            ("_def", SCHEMA),
            ("_zod", SCHEMA),
            ("schema", "did you mean `body`?"),
            ("json", "did you mean `body`?"),
            ("querystring", "did you mean `query`?"),
            ("path", "did you mean `params`?"),
            ("scope", "write it as `require: { scope }`"),
            ("roles", "write it as `require: { role }`"),
        ],
    ),
];

const SCHEMA: &str = "name the part of the request that the schema is for: { body: schema }";

/// The advice for `word`, the name of an option of another package, in an object with the options
/// `known`.
pub(super) fn advice(word: &str, known: &[&str]) -> Option<&'static str> {
    let of_object = OTHER_NAMES.iter().filter(|(only, _)| known.contains(only));
    let mut names = of_object.flat_map(|(_, names)| *names);
    names.find(|(name, _)| *name == word).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_advice_is_for_an_option_that_exists() {
        for known in [
            crate::config::guard::GUARD_OPTIONS.as_slice(),
            crate::config::guard::ROUTE_OPTIONS.as_slice(),
            crate::config::guard::SCHEMA_OPTIONS.as_slice(),
        ] {
            for option in known {
                assert_eq!(advice(option, known), None, "{option}");
            }
        }
    }

    #[test]
    fn every_name_is_listed_once_for_each_object() {
        for (only, names) in OTHER_NAMES {
            let mut seen: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            seen.sort_unstable();
            let count = seen.len();
            seen.dedup();
            assert_eq!(seen.len(), count, "{only}");
        }
    }
}
