//! What an operator is told when a shared store goes away and when it is back: once for an outage,
//! however often its connection comes and goes meanwhile.
//!
//! Nobody is called: who wants to tell it looks now and then, and the state is judged as it is
//! then.

use crate::clock::Now;
use crate::store::fault::OutageCause;

/// Of outages that follow each other sooner than this, one is told.
const QUIET_US: u64 = 60_000_000;
/// It is back once it has answered for so long.
const STEADY_US: u64 = 2_000_000;

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreNotice {
    /// The code of the warning.
    pub code: &'static str,
    /// What it says of the store, whose kind stands before it.
    pub text: String,
}

impl StoreNotice {
    /// Whether it says that all is well: nobody has to hear that who has heard of no outage.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.code == BACK
    }
}

const AWAY: &str = "GUARD_STORE_AWAY";
const BACK: &str = "GUARD_STORE_BACK";

/// The outages of a store, as far as they were told.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// When the outage that was told last began to be told; 0 for never.
    told_us: u64,
    is_away: bool,
    /// Since when it answers, while an outage that was told is not told to be over.
    steady_us: Option<u64>,
    /// The last that is to be told.
    last: Option<(u64, StoreNotice)>,
}

impl Outages {
    /// The last that is to be told, with a number that rises. `away`: how many of its servers are.
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

    /// What is told at each of these seconds, with how many servers are away then.
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
