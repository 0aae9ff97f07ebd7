//! The response headers of draft-ietf-httpapi-ratelimit-headers-11. `header_fields.rs` has those of
//! earlier drafts.
//!
//! Both fields are Lists of Strings with parameters (RFC 9651 section 3.1):
//!
//! ```text
//! RateLimit-Policy: "api";q=100;w=60, "daily";q=1000;w=86400
//! RateLimit: "api";r=99;t=1, "daily";r=998;t=86
//! ```
//!
//! * `q` is the limit.
//! * `w` is the window in whole seconds. It is left out for any other window, since a rounded value
//!   would be wrong.
//! * `qu` is the unit of `q`, for requests in flight.
//! * `r` is the remaining quota.
//! * `t` is the whole seconds until `r` grows. It is left out if the quota is full.
//!
//! A policy's name needs no escaping: the configuration refuses quotes and backslashes in it.

use crate::quota::algorithm::Rule;

const SECOND_US: u64 = 1_000_000;

/// The item of `RateLimit-Policy` for one policy. Written once, when the limiter is built.
pub(super) fn policy_item(name: &str, rule: &Rule) -> String {
    let mut item = String::new();
    push_name(&mut item, name);
    item.push_str(";q=");
    push_number(&mut item, rule.limit());
    if rule.is_in_flight() {
        item.push_str(";qu=\"concurrent-requests\"");
    } else if let Some(seconds) = window_seconds(rule) {
        item.push_str(";w=");
        push_number(&mut item, seconds);
    }
    item
}

/// The window in whole seconds; `None` for any other one, and for requests in flight.
pub(super) fn window_seconds(rule: &Rule) -> Option<u64> {
    let is_whole = !rule.is_in_flight() && rule.window_us().is_multiple_of(SECOND_US);
    is_whole.then(|| rule.window_us() / SECOND_US)
}

/// Adds the item of `RateLimit` for one policy.
pub(super) fn push_limit(out: &mut String, name: &str, remaining: u64, reset_s: u64) {
    separate(out);
    push_name(out, name);
    out.push_str(";r=");
    push_number(out, remaining);
    if reset_s > 0 {
        out.push_str(";t=");
        push_number(out, reset_s);
    }
}

/// Adds a finished item.
pub(super) fn push_item(out: &mut String, item: &str) {
    separate(out);
    out.push_str(item);
}

/// Whole seconds, rounded up, so that a client that retries after them is never too early.
pub(super) fn seconds(micros: u64) -> u64 {
    micros.div_ceil(SECOND_US)
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push_str(", ");
    }
}

fn push_name(out: &mut String, name: &str) {
    out.push('"');
    out.push_str(name);
    out.push('"');
}

/// Faster than `write!`, which goes through `fmt::Arguments`.
pub(crate) fn push_number(out: &mut String, number: u64) {
    out.push_str(itoa::Buffer::new().format(number));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::algorithm::Algorithm;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_policy_is_written_as_draft_11_has_it() {
        let rule = |ms| Rule::new(Algorithm::Gcra, 100, Duration::from_millis(ms), 20);
        assert_eq!(policy_item("api", &rule(60_000)), r#""api";q=100;w=60"#);
        assert_eq!(policy_item("api", &rule(1_500)), r#""api";q=100"#);
        let in_flight = Rule::new(Algorithm::InFlight, 20, Duration::from_secs(60), 20);
        assert_eq!(policy_item("api", &in_flight), r#""api";q=20;qu="concurrent-requests""#);
    }

    #[test]
    fn limits_are_a_list_and_say_nothing_about_a_reset_that_never_comes() {
        let mut out = String::new();
        push_limit(&mut out, "api", 99, 1);
        push_limit(&mut out, "daily", 1000, 0);
        assert_eq!(out, r#""api";r=99;t=1, "daily";r=1000"#);
    }

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!((seconds(0), seconds(1), seconds(1_000_000), seconds(1_000_001)), (0, 1, 1, 2));
    }

    proptest! {
        #[test]
        fn numbers_are_written_in_decimal(number: u64) {
            let mut out = String::new();
            push_number(&mut out, number);
            prop_assert_eq!(out, number.to_string());
        }
    }
}
