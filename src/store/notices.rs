//! Runtime overrides of all guards over one store: the listed clients, and the limits with changed
//! figures. A shared store distributes them to the other processes. Each process keeps a copy, so
//! no request waits for them.
//!
//! A notice is a name and a text with an end. A later notice of the same name replaces it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::Value;

use crate::clients::{Entry, ListAction, ListCapacityError, ListedClient, Lists};
use crate::net::Cidr;
use crate::quota::SubjectKey;

/// This process's copy of a store's notices.
#[derive(Debug, Default)]
pub struct RuntimeOverrides {
    /// The listed clients.
    pub lists: Lists,
    /// The changed limits by name: the mark of the configuration that a change is for, and the new
    /// figures.
    policies: RwLock<BTreeMap<String, (u32, Value)>>,
    /// The number of changes to limits.
    changes: AtomicU64,
}

/// A notice on its way to a shared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub(crate) name: String,
    pub(crate) text: String,
    /// Its lifetime in milliseconds.
    pub(crate) ms: u64,
}

/// A changed limit holds for 400 days, unless its configuration changes before.
const POLICY_MS: u64 = 400 * 86_400_000;
/// The most changed limits of one store.
const MAX_POLICIES: usize = 10_000;
/// Bounds of the text and the name of a changed limit; real ones are shorter.
const MAX_POLICY: usize = 64 << 10;
const MAX_NAME: usize = 512;
/// A removal lasts at least this long, even if neither this process nor the store has the entry.
/// Another process may have it, and would publish it again.
pub const BURIED_MS: u64 = 24 * 60 * 60 * 1000;
/// The longest reason of a block, in bytes.
pub const MAX_REASON: usize = 200;
/// The longest listing: 400 days, and one day for clocks that differ.
const MAX_US: u64 = 401 * 86_400_000_000;
/// The text that removes an earlier notice of the same name. It lasts at least as long as that
/// notice would have, as far as this process or the store has it, and at least [`BURIED_MS`].
pub(crate) const GONE: &str = "gone";

impl Notice {
    /// The notice that lists a client for `ms` milliseconds.
    #[must_use]
    pub fn listed(who: ListedClient, standing: ListAction, reason: &str, ms: u64) -> Self {
        let text = match standing {
            ListAction::Allowed => format!("allow {reason}"),
            ListAction::Blocked => format!("block {reason}"),
        };
        Self { name: name_of(who), text, ms }
    }

    /// The notice that changes a limit, if its configuration has this mark.
    #[must_use]
    pub fn policy(name: &str, mark: u32, value: &Value) -> Self {
        let text = format!("policy {mark:08x} {value}");
        Self { name: format!("p:{name}"), text, ms: POLICY_MS }
    }
}

impl RuntimeOverrides {
    /// The notice that removes a client from the lists.
    #[must_use]
    pub fn unlisted(&self, who: ListedClient, now_us: u64) -> Notice {
        let until_us = self.lists.until(who).unwrap_or_default().min(now_us.saturating_add(MAX_US));
        let ms = until_us.saturating_sub(now_us).div_ceil(1000).max(BURIED_MS);
        Notice { name: name_of(who), text: GONE.to_owned(), ms }
    }

    /// Applies a notice.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn apply(&self, notice: &Notice, now_us: u64) -> Result<(), ListCapacityError> {
        let until_us = now_us.saturating_add(notice.ms.saturating_mul(1000));
        self.take(&notice.name, &notice.text, until_us, now_us).map(drop)
    }

    /// Applies a notice that holds until `until_us`, on the monotonic clock like `now_us`. `false`:
    /// it can't be read, because a later version wrote it, and is left alone.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn take(
        &self,
        name: &str,
        text: &str,
        until_us: u64,
        now_us: u64,
    ) -> Result<bool, ListCapacityError> {
        if let Some(policy) = name.strip_prefix("p:") {
            return Ok(self.take_policy(policy, text));
        }
        let Some(who) = who_of(name) else { return Ok(false) };
        let (kind, reason) = text.split_once(' ').unwrap_or((text, ""));
        let is_reason = reason.len() <= MAX_REASON && !reason.chars().any(char::is_control);
        let (standing, reason) = match kind {
            // No guard writes such a notice, so it neither admits nor unblocks a client.
            "allow" if !is_reason || until_us > now_us.saturating_add(MAX_US) => return Ok(false),
            "allow" => (ListAction::Allowed, reason),
            "block" => (ListAction::Blocked, if is_reason { reason } else { "" }),
            GONE => {
                self.lists.remove(who);
                return Ok(true);
            }
            _ => return Ok(false),
        };
        if until_us <= now_us {
            self.lists.remove(who);
            return Ok(true);
        }
        let entry = Entry { standing, until_us, reason: Arc::from(reason) };
        self.lists.put(who, entry, now_us).map(|()| true)
    }
}

impl RuntimeOverrides {
    /// `false`: it can't be read, or there is no room for it.
    fn take_policy(&self, name: &str, text: &str) -> bool {
        if name.len() > MAX_NAME || text.len() > MAX_POLICY {
            return false;
        }
        let read = || {
            let (mark, json) = text.strip_prefix("policy ")?.split_once(' ')?;
            let mark = u32::from_str_radix(mark, 16).ok()?;
            Some((mark, serde_json::from_str(json).ok()?))
        };
        let Some(change) = read() else { return false };
        let mut policies = self.policies.write();
        if policies.len() >= MAX_POLICIES && !policies.contains_key(name) {
            return false;
        }
        if policies.get(name) != Some(&change) {
            policies.insert(name.to_owned(), change);
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        true
    }

    /// Forgets all that was applied: the limits are as they were configured.
    pub fn clear(&self) {
        self.lists.clear();
        self.policies.write().clear();
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The number of changes to limits.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The new figures of a limit whose configuration has this mark.
    #[must_use]
    pub fn policy(&self, name: &str, mark: u32) -> Option<Value> {
        let policies = self.policies.read();
        policies.get(name).filter(|(of, _)| *of == mark).map(|(_, value)| value.clone())
    }
}

fn name_of(who: ListedClient) -> String {
    use std::fmt::Write as _;
    match who {
        ListedClient::Network(network) => format!("n:{network}"),
        ListedClient::User(SubjectKey(bytes)) => {
            let mut name = "u:".to_owned();
            for byte in bytes {
                // Writing to a string can't fail.
                let _ = write!(name, "{byte:02x}");
            }
            name
        }
    }
}

fn who_of(name: &str) -> Option<ListedClient> {
    match name.split_once(':')? {
        ("n", network) => Cidr::parse(network).map(ListedClient::Network),
        ("u", hex) => u128::from_str_radix(hex, 16)
            .ok()
            .filter(|_| hex.len() == 32)
            .map(|bits| ListedClient::User(SubjectKey(bits.to_be_bytes()))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::{ClientsConfig, ListMatch};
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv6Addr};

    proptest! {
        #[test]
        fn who_is_listed_is_read_as_it_was_written(bits: u128, length in 1u8..=128, v4: bool) {
            let text = if v4 {
                let bits = u32::try_from(bits & u128::from(u32::MAX)).unwrap_or_default();
                format!("{}/{}", std::net::Ipv4Addr::from_bits(bits), length.min(32))
            } else {
                format!("{}/{length}", Ipv6Addr::from_bits(bits))
            };
            let Some(network) = Cidr::parse(&text) else { return Ok(()) };
            for who in [ListedClient::Network(network), ListedClient::User(SubjectKey(bits.to_be_bytes()))] {
                prop_assert_eq!(who_of(&name_of(who)), Some(who));
            }
        }

        #[test]
        fn any_notice_is_taken_or_left(name in ".*", text in ".*") {
            let _ = RuntimeOverrides::default().take(&name, &text, 5, 1);
        }
    }

    #[test]
    fn a_notice_takes_the_place_of_an_earlier_one_and_one_that_is_over_or_unknown_says_nothing() {
        let notices = RuntimeOverrides::default();
        let address: IpAddr = "203.0.113.7".parse().unwrap();
        let listed = |now| notices.lists.client(&ClientsConfig::default(), address, now);
        notices.take("n:203.0.113.7/32", "block too much", 100, 1).unwrap();
        assert_eq!(listed(50), ListMatch::Blocked("too much".into()));
        assert_eq!(listed(100), ListMatch::No);
        notices.take("n:203.0.113.7/32", "later thing", 200, 50).unwrap();
        assert_eq!(listed(50), ListMatch::Blocked("too much".into()));
        notices.take("n:203.0.113.7/32", "allow ", 200, 50).unwrap();
        assert_eq!(listed(150), ListMatch::Allowed);
        notices.take("n:203.0.113.7/32", "gone", 200, 150).unwrap();
        assert_eq!(listed(150), ListMatch::No);
    }

    #[test]
    fn what_no_guard_can_have_said_lets_nobody_pass_and_a_block_blocks_all_the_same() {
        let notices = RuntimeOverrides::default();
        let address: IpAddr = "203.0.113.7".parse().unwrap();
        let listed = |now| notices.lists.client(&ClientsConfig::default(), address, now);
        let take = |text: &str, until| notices.take("n:203.0.113.7/32", text, until, 1).unwrap();
        let long = "r".repeat(MAX_REASON + 1);
        take(&format!("allow {long}"), 100);
        take("allow a\u{7}b", 100);
        take("allow ", u64::MAX);
        take("allow ", 2 + MAX_US);
        assert_eq!(listed(50), ListMatch::No);
        take(&format!("block {long}"), u64::MAX);
        assert_eq!(listed(50), ListMatch::Blocked("".into()), "the reason goes to logs");
    }

    #[test]
    fn figures_that_are_too_long_to_be_some_change_nothing() {
        let notices = RuntimeOverrides::default();
        let long = format!("policy 00000001 \"{}\"", "x".repeat(MAX_POLICY));
        notices.take("p:login", &long, 5, 1).unwrap();
        notices
            .take(&format!("p:{}", "n".repeat(MAX_NAME + 1)), "policy 00000001 {}", 5, 1)
            .unwrap();
        assert_eq!(notices.changes(), 0);
        notices.take("p:login", "policy 00000001 {}", 5, 1).unwrap();
        assert_eq!(notices.changes(), 1);
    }
}
