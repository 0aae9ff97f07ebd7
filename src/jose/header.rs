//! The members of a token's header that select its key.

/// The relevant members of a header. `jwk`, `jku`, `x5u` and `x5c` are deliberately missing: a
/// token cannot bring its own key.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
}
