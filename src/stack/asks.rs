//! What a stack asks of its host, known before any request.

use super::Stack;
use crate::payload::Schemas;
use crate::policy::PolicySet;

impl Stack {
    /// Whether it checks requests of other origins.
    #[must_use]
    pub fn has_cors(&self) -> bool {
        self.cors.is_some()
    }

    /// Whether the application's own function decides about origins.
    #[must_use]
    pub fn asks_origin(&self) -> bool {
        self.cors.as_ref().is_some_and(|cors| cors.has_function())
    }

    /// Whether a schema or the policy reads the route's parameters.
    #[must_use]
    pub fn wants_params(&self) -> bool {
        self.schemas.as_ref().is_some_and(Schemas::wants_params)
            || self.policy.is_some()
                && self.guard.policy.as_ref().is_some_and(PolicySet::reads_params)
    }

    /// Whether there are schemas for answers.
    #[must_use]
    pub fn wants_response(&self) -> bool {
        self.responses.is_some()
    }

    /// Whether it has a shadow limit.
    #[must_use]
    pub fn has_shadow(&self) -> bool {
        self.limiter.as_ref().is_some_and(|limiter| limiter.current().has_shadow())
    }
}
