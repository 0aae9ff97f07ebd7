//! Limits of concurrent requests: `concurrent`.
//!
//! The attack: requests that are few but slow or heavy, such as reports and searches, or that are
//! made slow on purpose, until all workers and connections of the service are taken. A limit in
//! time admits them.
//!
//! A request takes a slot when all its limits admit it, and releases it once: when its response is
//! over, when its connection is closed, or when a later layer has refused it. Ownership enforces
//! this: [`ConcurrencyPermit`] releases its slot when it is dropped, so no way out of this crate
//! forgets a slot or releases it twice.
//!
//! In this process slots are counted (`store/in_flight_slots.rs`). In a shared store each slot has
//! its own name and expiry, which this process extends while the request lives
//! (`shared_store/slots.rs`). So the slots of a dead process expire, and releasing a name twice
//! frees no other slot. Every slot of a shared store is counted here too, so that this process has
//! its own count when the store becomes unavailable.
//!
//! The number of slots is not part of a key: when `limits.set` changes it, taken slots still count.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::config::{Cost, LimitPolicy, Tier, key, name, scope, tiers_with};
use super::exceed::{Count, OnExceed, conflict, exactness};
use crate::config::options::{Options, describe};
use crate::error::ConfigError;
use crate::quota::StoreCommand;
use crate::quota::algorithm::{Algorithm, Rule};
use crate::shared_store::{SharedSlot, SharedStore};
use crate::store::{Key, Locked, MemoryStore};

const MOST: u64 = 1_000_000;
const TIMEOUT: Duration = Duration::from_secs(60);
const MIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// Options for limits in time, and the reason why they have no meaning here.
const IN_TIME: &[(&str, &str)] = &[
    ("limit", "counts requests in a time, `concurrent` those that are under way"),
    ("window", "is the time that `limit` counts in, and `concurrent` has none"),
    ("burst", "is for limits in time: `concurrent` is all that there may be at once"),
    ("algorithm", "is for limits in time: slots are simply counted"),
    ("cost", "is for limits in time: each request takes one slot"),
    ("count", "is for limits in time: each request gives its slot back, however it ends"),
    ("exact", "is for limits in time: a shared store is asked for each slot in any case"),
    ("maxDelay", "is about requests that wait, and none waits for a slot"),
    ("maxDelayed", "is about requests that wait, and none waits for a slot"),
];

/// The policy of options with `concurrent`.
pub(super) fn parse(options: &Options<'_>) -> Result<LimitPolicy, ConfigError> {
    for (option, why) in IN_TIME {
        if options.has(option) {
            let fix = "leave it out, or write a limit of its own: a list may have both";
            return Err(conflict(options.path_of(option), *why).suggest(fix));
        }
    }
    if options.get("onExceed").and_then(Value::as_str) == Some("delay") {
        let why = "is 'delay', but nobody knows when a slot comes free";
        return Err(
            conflict(options.path_of("onExceed"), why).suggest("write 'reject' or 'shadow'")
        );
    }
    let on_exceed = OnExceed::parse(options, Algorithm::InFlight)?;
    let (_, on_failure) = exactness(options, Count::All, on_exceed)?;
    let span = options.duration("timeout", MIN_TIMEOUT..=MAX_TIMEOUT)?.unwrap_or(TIMEOUT);
    let own = rule(options, span)?;
    Ok(LimitPolicy {
        name: name(options)?,
        cost: Cost::Fixed(1),
        key: key(options)?,
        tiers: applied(tiers(options, span)?, on_exceed),
        scope: scope(options)?,
        rule: on_exceed.apply(own),
        // No slot can be reserved ahead of time.
        exact: true,
        on_failure,
        count: Count::All,
        on_exceed,
    })
}

/// `policy` with the figures that were passed to `guard.limits.set`.
pub(super) fn changed(policy: &LimitPolicy, value: &Value) -> Result<LimitPolicy, ConfigError> {
    if value.get("limit").is_some() {
        let why = "can't be given to a limit of requests under way";
        return Err(conflict("policy.limit", why).suggest("write `concurrent`"));
    }
    let options = Options::read("policy", value, &["name", "concurrent", "tiers"])?;
    let span = Duration::from_micros(policy.rule.window_us());
    let own = rule(&options, span)?;
    let tiers = match options.get("tiers") {
        None => policy.tiers.clone(),
        Some(_) => applied(tiers(&options, span)?, policy.on_exceed),
    };
    Ok(LimitPolicy { rule: policy.on_exceed.apply(own), tiers, ..policy.clone() })
}

fn applied(tiers: Vec<Tier>, on_exceed: OnExceed) -> Vec<Tier> {
    tiers.into_iter().map(|tier| Tier { rule: on_exceed.apply(tier.rule), ..tier }).collect()
}

fn tiers(options: &Options<'_>, span: Duration) -> Result<Vec<Tier>, ConfigError> {
    tiers_with(options, "{ pro: { concurrent: 100 } }", &["concurrent"], |tier| rule(tier, span))
}

fn rule(options: &Options<'_>, span: Duration) -> Result<Rule, ConfigError> {
    let why = "how many requests may be under way at once";
    let given = options.require("concurrent", why)?;
    let number = given.as_u64().filter(|number| (1..=MOST).contains(number));
    let Some(most) = number.and_then(|number| u32::try_from(number).ok()) else {
        let wanted = format!("must be a whole number from 1 to {MOST}");
        return Err(options.invalid(
            "concurrent",
            if given.is_number() { wanted } else { format!("{wanted}, not {}", describe(given)) },
        ));
    };
    Ok(Rule::new(Algorithm::InFlight, most, span, most))
}

impl LimitPolicy {
    /// Whether it counts requests in flight.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.rule.is_in_flight()
    }
}

impl Rule {
    /// Whether it counts requests in flight.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        self.algorithm() == Algorithm::InFlight
    }

    /// The number of slots, and the milliseconds after which a slot that is not renewed is freed.
    pub(super) fn slots(&self) -> (u32, u32) {
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        (narrow(self.limit()), narrow(self.window_us() / 1000))
    }
}

/// A slot in this process, released when this is dropped. Don't drop it while its key is locked.
#[derive(Debug)]
pub(super) struct LocalSlot {
    store: Arc<MemoryStore>,
    key: Key,
    count: u64,
}

impl LocalSlot {
    /// Takes a slot of `key` in `store`, to which `locked` belongs.
    pub(super) fn take(store: &Arc<MemoryStore>, locked: &mut Locked<'_>, key: Key) -> Self {
        Self { store: Arc::clone(store), key, count: locked.begins(&key) }
    }
}

impl Drop for LocalSlot {
    fn drop(&mut self) {
        self.store.ended(&self.key, self.count);
    }
}

/// The slot of a request in flight. Dropping it releases the slot.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    /// Held as long as this permit.
    _local: LocalSlot,
    shared: Option<SharedSlot>,
}

impl ConcurrencyPermit {
    pub(super) fn new(local: LocalSlot, shared: Option<SharedSlot>) -> Self {
        Self { _local: local, shared }
    }

    /// Releases the slot. `Some` is the command to send to a shared store, possibly with others.
    #[must_use]
    pub fn give_back(self) -> Option<(Arc<SharedStore>, StoreCommand)> {
        self.shared.and_then(SharedSlot::give_back)
    }
}
