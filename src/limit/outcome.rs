//! The result of a check: for the response, for `req.guard.limits` and for the refusal.

use std::borrow::Cow;

use super::charge::{Charge, DelaySlot};
use super::in_flight::ConcurrencyPermit;
use crate::few::Few;
use crate::refusal::Refusal;

/// The state of one policy after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitState<'l> {
    /// The policy's name.
    pub name: &'l str,
    /// Requests per window, in the tier that counted.
    pub limit: u64,
    /// The window in whole seconds; `None` for another one, and for requests in flight.
    pub window_s: Option<u64>,
    /// The number of further requests of cost 1 that it would admit now.
    pub remaining: u64,
    /// Whole seconds until `remaining` grows, rounded up; 0 if the quota is full.
    pub reset_s: u64,
    /// Whether it refused the request, or would have if it is `'shadow'`.
    pub violated: bool,
    /// Whether it is `'shadow'`.
    pub shadow: bool,
    /// Whether it counts requests in flight.
    pub in_flight: bool,
}

/// The outcome of one request under all its policies.
#[derive(Debug)]
pub struct Outcome<'l> {
    /// Whether every policy admits it. If not, none has counted it.
    pub allowed: bool,
    /// The value of `RateLimit`. Empty if only shadow policies, or none, apply to the request: then
    /// send neither header.
    pub rate_limit: String,
    /// The value of `RateLimit-Policy`.
    pub rate_limit_policy: Cow<'l, str>,
    /// The value of `Retry-After` after a refusal: whole seconds, 1 or more, until all violated
    /// policies would admit the same request.
    pub retry_after: Option<u64>,
    /// The policies that apply to the request, in their order.
    pub states: Few<LimitState<'l>>,
    /// The time that the request has to wait for its turn, in microseconds; it is charged already.
    pub delay_us: u64,
    /// Its slots in the delay queues.
    pub delay_slots: Vec<DelaySlot>,
    /// The charges that may have to be refunded.
    pub charges: Vec<Charge>,
    /// Its permits of concurrent requests. Dropping them releases the slots.
    pub held: Vec<ConcurrencyPermit>,
}

impl<'l> Outcome<'l> {
    /// The names of the policies that refused.
    pub fn violated(&self) -> impl Iterator<Item = &'l str> {
        self.states.iter().filter(|state| state.violated && !state.shadow).map(|state| state.name)
    }

    /// The 429 for a request that is not allowed, with `Retry-After` (RFC 6585 section 4, RFC 9110
    /// section 10.2.3). `None` if it is allowed.
    #[must_use]
    pub fn to_refusal(&self) -> Option<Refusal> {
        if self.allowed {
            return None;
        }
        let names: Vec<&str> = self.violated().collect();
        let wait = self.retry_after.unwrap_or(1);
        let seconds = if wait == 1 { "second" } else { "seconds" };
        let refused = |state: &&LimitState<'_>| state.violated && !state.shadow;
        let crowded = self.states.iter().filter(refused).all(|state| state.in_flight);
        let detail = match names.as_slice() {
            [one] if crowded => {
                format!("too many requests of `{one}` are under way, retry in {wait} {seconds}")
            }
            [one] => format!("rate limit `{one}` is used up, retry in {wait} {seconds}"),
            many => format!(
                "rate limits `{}` are used up, retry in {wait} {seconds}",
                many.join("`, `")
            ),
        };
        let refusal = Refusal::new(429, "rate_limited", detail).by_limit(names.first().copied());
        Some(refusal.header("Retry-After", wait.to_string()))
    }
}
