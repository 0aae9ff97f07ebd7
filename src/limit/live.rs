//! A limiter whose limits change at runtime: `guard.limits.set`.
//!
//! A change is a notice of the store (`src/store/notices.rs`), so that a shared store carries it to
//! all processes. It applies to limits with the same configuration as the changed one: a deploy
//! with other figures overrides an earlier change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::Value;

use super::config::LimitPolicy;
use super::limiter::Limiter;
use super::subject::shared_tag;
use crate::error::ConfigError;
use crate::store::Notice;

/// The current policies and their limiter.
#[derive(Debug)]
struct Current {
    policies: Vec<LimitPolicy>,
    limiter: Arc<Limiter>,
}

/// The limiter of a stack, with its runtime changes.
#[derive(Debug)]
pub struct ReloadableLimiter {
    /// The configured policies, and the limiter built from them.
    policies: Vec<LimitPolicy>,
    first: Arc<Limiter>,
    current: RwLock<Current>,
    /// The number of changes that it has applied.
    seen: AtomicU64,
}

impl ReloadableLimiter {
    /// A limiter that was built from `policies`.
    #[must_use]
    pub fn new(policies: Vec<LimitPolicy>, limiter: Limiter) -> Self {
        let first = Arc::new(limiter);
        let current = Current { policies: policies.clone(), limiter: Arc::clone(&first) };
        Self { policies, first, current: RwLock::new(current), seen: AtomicU64::new(0) }
    }

    /// The configured limits.
    #[must_use]
    pub fn policies(&self) -> &[LimitPolicy] {
        &self.policies
    }

    /// The limiter with all changes so far.
    #[must_use]
    pub fn current(&self) -> Arc<Limiter> {
        let changes = self.first.store().notices().changes();
        if changes == 0 {
            // Usually there are no changes at all, and no lock is taken.
            return Arc::clone(&self.first);
        }
        if self.seen.load(Ordering::Acquire) == changes {
            return Arc::clone(&self.current.read().limiter);
        }
        let mut current = self.current.write();
        let notices = self.first.store().notices();
        // Read first: a change that arrives now is applied the next time.
        let changes = notices.changes();
        let as_said = |policy: &LimitPolicy| {
            let said = notices.policy(&policy.name, mark(policy));
            // A change that this version refuses was checked by another version; it is ignored.
            said.and_then(|value| policy.changed(&value).ok()).unwrap_or_else(|| policy.clone())
        };
        let policies: Vec<LimitPolicy> = self.policies.iter().map(as_said).collect();
        // The change may be about a limit of another stack.
        if policies != current.policies
            && let Ok(limiter) = current.limiter.with_policies(policies.clone())
        {
            *current = Current { policies, limiter: Arc::new(limiter) };
        }
        self.seen.store(changes, Ordering::Release);
        Arc::clone(&current.limiter)
    }

    /// The notice that changes the limit in `value`, or `None` if no limit has this name.
    ///
    /// # Errors
    /// The first invalid figure.
    pub fn change(&self, name: &str, value: &Value) -> Result<Option<Notice>, ConfigError> {
        let Some(policy) = self.policies.iter().find(|policy| policy.name == name) else {
            return Ok(None);
        };
        policy.changed(value)?;
        Ok(Some(Notice::policy(name, mark(policy), value)))
    }
}

/// Distinguishes policies of different configuration.
fn mark(policy: &LimitPolicy) -> u32 {
    shared_tag(&[format!("{policy:?}").as_bytes()])
}
