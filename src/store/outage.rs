//! Operator warnings about a shared store: one when it goes away and one when it is back, however
//! often the connection comes and goes in between.
//!
//! There are no callbacks. The caller polls `Status::notice`, which judges the state at that
//! moment.

use crate::clock::Now;
use crate::store::fault::OutageCause;

/// No new outage is reported for this long after the last report of one.
const QUIET_US: u64 = 60_000_000;
/// The store is reported as back after it answered for this long.
const STEADY_US: u64 = 2_000_000;

/// A warning for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreNotice {
    /// The code of the warning.
    pub code: &'static str,
    /// The text after the kind of the store.
    pub text: String,
}

impl StoreNotice {
    /// Whether it reports the end of an outage. It is of no use to a receiver without the start.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.code == BACK
    }
}

const AWAY: &str = "GUARD_STORE_AWAY";
const BACK: &str = "GUARD_STORE_BACK";
/// The store answers more slowly than a request waits for it.
pub(crate) const FAR: &str = "GUARD_STORE_FAR";
/// The store may drop keys when its memory is full.
pub(crate) const EVICTS: &str = "GUARD_STORE_EVICTS";

/// The reported outages of a store.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// When the last report of an outage was made; 0 for never.
    told_us: u64,
    is_away: bool,
    /// Since when the store answers, while a reported outage is not yet reported as over.
    steady_us: Option<u64>,
    /// The last warning and its number.
    last: Option<(u64, StoreNotice)>,
    /// The warnings about how the store is set up: at most one for each code.
    advice: Vec<StoreNotice>,
}

impl Outages {
    /// The last warning, with a number that rises. `away` is the number of servers that are away.
    pub(crate) fn look(
        &mut self,
        away: u32,
        fault: Option<OutageCause>,
        now: Now,
    ) -> Option<(u64, StoreNotice)> {
        if away > 0 {
            self.steady_us = None;
            let quiet = self.told_us != 0 && now.mono_us < self.told_us.saturating_add(QUIET_US);
            if !self.is_away && !quiet {
                self.is_away = true;
                self.told_us = now.mono_us;
                self.notify(AWAY, away_text(away, fault));
            }
        } else if self.is_away {
            let since = *self.steady_us.get_or_insert(now.mono_us);
            if now.mono_us.saturating_sub(since) >= STEADY_US {
                self.is_away = false;
                self.steady_us = None;
                self.notify(BACK, "answers again".to_owned());
            }
        }
        self.last.clone()
    }

    /// Adds a warning about how the store is set up, unless there is one with this code.
    pub(crate) fn advise(&mut self, code: &'static str, text: String) {
        if self.advice.iter().all(|notice| notice.code != code) {
            self.advice.push(StoreNotice { code, text });
        }
    }

    /// The warnings about how the store is set up, in the order of their discovery.
    pub(crate) fn advice(&self) -> &[StoreNotice] {
        &self.advice
    }

    fn notify(&mut self, code: &'static str, text: String) {
        let number = self.last.as_ref().map_or(0, |(number, _)| *number) + 1;
        self.last = Some((number, StoreNotice { code, text }));
    }
}

fn away_text(away: u32, fault: Option<OutageCause>) -> String {
    let why = fault.map_or_else(|| "it does not answer".to_owned(), |fault| fault.to_string());
    if away == 1 {
        format!("is not available: {why}")
    } else {
        format!("is not available on {away} servers: {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Option<OutageCause> = Some(OutageCause::ConnectionRefused);

    /// The new warnings at each of these seconds, given the number of servers away.
    fn told(seen: &[(u64, u32)]) -> Vec<(u64, &'static str)> {
        let mut outages = Outages::default();
        let mut known = 0;
        let mut told = Vec::new();
        for (second, away) in seen {
            let now = Now::at_unix_us(second * 1_000_000 + 1);
            if let Some((number, notice)) = outages.look(*away, REFUSED, now)
                && number > known
            {
                known = number;
                told.push((*second, notice.code));
            }
        }
        told
    }

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_has_ended() {
        let seen = [(0, 0), (1, 1), (2, 1), (90, 1), (91, 0), (92, 0), (93, 0), (94, 0)];
        assert_eq!(told(&seen), [(1, AWAY), (93, BACK)]);
    }

    #[test]
    fn a_store_that_comes_and_goes_is_told_of_once_a_minute() {
        let flaps: Vec<(u64, u32)> =
            (1..=180).map(|second| (second, u32::from(second % 6 < 2))).collect();
        let told = told(&flaps);
        let away = told.iter().filter(|(_, code)| *code == AWAY).count();
        assert_eq!((away, told.len()), (3, 6), "{told:?}");
        let within_a_second: Vec<(u64, u32)> =
            (1..=180).map(|second| (second, u32::from(second % 2 == 1))).collect();
        assert_eq!(super::tests::told(&within_a_second), [(1, AWAY)]);
    }

    #[test]
    fn an_outage_that_begins_in_the_quiet_minute_is_told_at_its_end() {
        let seen = [(1, 1), (2, 0), (4, 0), (5, 1), (60, 1), (62, 1), (63, 0), (65, 0)];
        assert_eq!(told(&seen), [(1, AWAY), (4, BACK), (62, AWAY), (65, BACK)]);
    }

    #[test]
    fn the_text_has_the_cause_and_how_many_servers_are_away() {
        let text = |away, fault| {
            let told = Outages::default().look(away, fault, Now::at_unix_us(1));
            told.map(|(_, notice)| notice.text).unwrap()
        };
        assert_eq!(
            text(1, REFUSED),
            "is not available: the connection is refused; nothing listens there"
        );
        assert_eq!(
            text(2, Some(OutageCause::Slots)),
            "is not available on 2 servers: nobody serves some slots of the cluster"
        );
        assert_eq!(text(1, None), "is not available: it does not answer");
    }
}
