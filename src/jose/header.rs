//! What of a token's header chooses its key.

/// The members of a header that matter. `jwk`, `jku`, `x5u` and `x5c` are not among them: a token
/// can't bring its key.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
}
