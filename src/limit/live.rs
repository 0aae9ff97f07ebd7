//! A limiter whose limits change while the guard runs: `guard.limits.set`.
//!
//! A change is a notice of the store (`src/store/notices.rs`), so that a shared store carries it to
//! all processes. It holds for limits that were configured as the changed one was: a deploy that
//! writes other figures wins over what was set before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::Value;

use super::config::LimitPolicy;
use super::limiter::Limiter;
use super::subject::shared_tag;
use crate::error::ConfigError;
use crate::store::Notice;

/// What holds at the moment.
#[derive(Debug)]
struct Current {
    policies: Vec<LimitPolicy>,
    limiter: Arc<Limiter>,
}

/// The limiter of a stack, as it is at the moment.
#[derive(Debug)]
pub struct ReloadableLimiter {
    /// As they were configured, and the limiter that was built of them.
    policies: Vec<LimitPolicy>,
    first: Arc<Limiter>,
    current: RwLock<Current>,
    /// How many changes it knows of.
    seen: AtomicU64,
}

impl ReloadableLimiter {
    /// A limiter that was built of `policies`.
    #[must_use]
    pub fn new(policies: Vec<LimitPolicy>, limiter: Limiter) -> Self {
        let first = Arc::new(limiter);
        let current = Current { policies: policies.clone(), limiter: Arc::clone(&first) };
        Self { policies, first, current: RwLock::new(current), seen: AtomicU64::new(0) }
    }

    /// The limits as they were configured.
    #[must_use]
    pub fn policies(&self) -> &[LimitPolicy] {
        &self.policies
    }

    /// The limiter with what was changed up to now.
    #[must_use]
    pub fn current(&self) -> Arc<Limiter> {
        let changes = self.first.store().notices().changes();
        if changes == 0 {
            // Mostly nothing is ever changed, and nobody takes the lock.
            return Arc::clone(&self.first);
        }
        if self.seen.load(Ordering::Acquire) == changes {
            return Arc::clone(&self.current.read().limiter);
        }
        let mut current = self.current.write();
        let notices = self.first.store().notices();
        // Read first: a change that comes now is seen the next time.
        let changes = notices.changes();
        let as_said = |policy: &LimitPolicy| {
            let said = notices.policy(&policy.name, mark(policy));
            // What this version does not take was checked by another one.
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

    /// The notice that changes the limit which `value` names, or `None` where there is none of this
    /// name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn change(&self, name: &str, value: &Value) -> Result<Option<Notice>, ConfigError> {
        let Some(policy) = self.policies.iter().find(|policy| policy.name == name) else {
            return Ok(None);
        };
        policy.changed(value)?;
        Ok(Some(Notice::policy(name, mark(policy), value)))
    }
}

/// Tells policies apart that were configured differently.
fn mark(policy: &LimitPolicy) -> u32 {
    shared_tag(&[format!("{policy:?}").as_bytes()])
}
