//! Tokens on their way: where a request may carry one, and how a refusal of one reads.
//!
//! The form of the credentials and of the challenges is that of RFC 6750 (bearer tokens), RFC 9449
//! (`DPoP`) and RFC 9728 (`resource_metadata`). [`crate::token`] judges the token itself.

mod credentials;
mod denial;
mod presentation;
#[cfg(test)]
mod tests;

pub(crate) use credentials::is_token68;
pub use credentials::{Scheme, credentials};
pub(crate) use denial::challenge;
pub use denial::{ClaimError, TokenError};
pub use presentation::{DpopMode, PresentedToken, Source, TokenSources};
