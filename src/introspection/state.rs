//! The questions of one endpoint: those that wait for their turn, those in flight, and the answers.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::answer::AskError;
use super::breaker::Breaker;
use super::config::Endpoint;
use super::table::{Digest, Table};
use super::{GRACE, MAX_IN_FLIGHT, MAX_WAITING, Unavailable};
use crate::clock::micros;
use crate::store::Reply;

/// The most questions in flight about tokens that were not active before.
pub(super) const MAX_NEW_IN_FLIGHT: usize = 48;
/// A question that failed is not repeated for this time.
const FAILED_FOR: Duration = Duration::from_secs(1);
const MAX_ACTIVE: usize = 16_384;
const MAX_ACTIVE_BYTES: usize = 16 << 20;
pub(super) const MAX_REFUSED: usize = 4096;
const MAX_REFUSED_BYTES: usize = 2 << 20;

pub(super) type Replies = Vec<Reply<()>>;

pub(super) struct State<T> {
    pub(super) active: Table<Entry<T>>,
    pub(super) refused: Table<Entry<T>>,
    /// Questions that wait for their turn or are in flight.
    pub(super) flights: HashMap<Digest, Pending<T>>,
    /// Answered questions that a request still holds: its answer is there for it whatever leaves
    /// the tables.
    pub(super) held: HashMap<Digest, Weak<Flight<T>>>,
    pub(super) lanes: [Lane<T>; 2],
    pub(super) in_flight: HashMap<u32, InFlight<T>>,
    pub(super) number: u32,
    pub(super) breaker: Breaker,
    pub(super) fault: Option<AskError>,
    pub(super) answered_us: Option<u64>,
    pub(super) closed: bool,
}

/// Tokens of one kind.
pub(super) struct Lane<T> {
    pub(super) queue: VecDeque<Arc<Flight<T>>>,
    pub(super) in_flight: usize,
    pub(super) waiting: usize,
}

pub(super) struct Pending<T> {
    pub(super) flight: Arc<Flight<T>>,
    pub(super) replies: Vec<Reply<()>>,
}

pub(super) struct InFlight<T> {
    /// `None` for a probe.
    pub(super) flight: Option<Arc<Flight<T>>>,
    pub(super) started_us: u64,
}

/// A question about one token.
pub(crate) struct Flight<T> {
    pub(super) key: Digest,
    pub(super) token: Box<str>,
    pub(super) kind: TokenKind,
    pub(super) queued_us: u64,
    pub(super) entry: OnceLock<Arc<Entry<T>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// It was active a while ago.
    Known,
    New,
}

pub(super) struct Entry<T> {
    pub(super) outcome: Outcome<T>,
    pub(super) until_us: u64,
}

pub(super) enum Outcome<T> {
    Judged(Arc<T>),
    Unavailable(Unavailable),
}

impl<T> Lane<T> {
    pub(super) fn pop_late(&mut self, now_us: u64, timeout_us: u64) -> Option<Arc<Flight<T>>> {
        let is_late = now_us >= self.queue.front()?.queued_us.saturating_add(timeout_us);
        if is_late { self.queue.pop_front() } else { None }
    }
}

impl<T> State<T> {
    pub(super) fn new() -> Self {
        let lane = || Lane { queue: VecDeque::new(), in_flight: 0, waiting: 0 };
        Self {
            active: Table::new(MAX_ACTIVE, MAX_ACTIVE_BYTES),
            refused: Table::new(MAX_REFUSED, MAX_REFUSED_BYTES),
            flights: HashMap::new(),
            held: HashMap::new(),
            lanes: [lane(), lane()],
            in_flight: HashMap::new(),
            number: 0,
            breaker: Breaker::new(),
            fault: None,
            answered_us: None,
            closed: false,
        }
    }

    /// An answer that may still be used.
    pub(super) fn fresh(&self, key: &Digest, now_us: u64) -> Option<Arc<Entry<T>>> {
        let held = || self.held.get(key)?.upgrade()?.entry.get().cloned();
        let known = [self.active.get(key), self.refused.get(key)].into_iter().flatten().cloned();
        known.chain(held()).find(|entry| now_us < entry.until_us)
    }

    pub(super) fn lane(&mut self, kind: TokenKind) -> &mut Lane<T> {
        let [known, new] = &mut self.lanes;
        match kind {
            TokenKind::Known => known,
            TokenKind::New => new,
        }
    }

    /// The next question that may begin. Tokens that were active come first.
    pub(super) fn next(&mut self) -> Option<Arc<Flight<T>>> {
        if self.breaker.is_open() {
            return None;
        }
        let [known, new] = &mut self.lanes;
        if known.in_flight + new.in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        known.queue.pop_front().or_else(|| {
            if new.in_flight < MAX_NEW_IN_FLIGHT { new.queue.pop_front() } else { None }
        })
    }

    /// Takes the question of this number out of those in flight.
    pub(super) fn land(&mut self, number: u32) -> Option<InFlight<T>> {
        let question = self.in_flight.remove(&number)?;
        if let Some(flight) = &question.flight {
            let lane = self.lane(flight.kind);
            lane.in_flight = lane.in_flight.saturating_sub(1);
        }
        Some(question)
    }

    /// Ends a question, and returns the requests that wait for it.
    pub(super) fn end(&mut self, flight: &Flight<T>, entry: Arc<Entry<T>>) -> Replies {
        let Some(Pending { flight: known, replies }) = self.flights.remove(&flight.key) else {
            return Vec::new();
        };
        let lane = self.lane(flight.kind);
        lane.waiting = lane.waiting.saturating_sub(replies.len());
        // It was empty: a question ends once.
        let _ = known.entry.set(entry);
        if self.held.len() >= 2 * MAX_WAITING {
            self.held.retain(|_, flight| flight.strong_count() > 0);
        }
        self.held.insert(flight.key, Arc::downgrade(&known));
        replies
    }

    /// Drops questions that have not begun in time.
    pub(super) fn drop_late(&mut self, now_us: u64, timeout_us: u64) -> Replies {
        let mut done = Vec::new();
        for kind in [TokenKind::Known, TokenKind::New] {
            while let Some(flight) = self.lane(kind).pop_late(now_us, timeout_us) {
                done.extend(self.end(&flight, unavailable(Unavailable::Busy, now_us)));
            }
        }
        done
    }

    /// Drops all questions that have not begun.
    pub(super) fn drop_all(&mut self, now_us: u64) -> Replies {
        let mut done = Vec::new();
        for kind in [TokenKind::Known, TokenKind::New] {
            for flight in std::mem::take(&mut self.lane(kind).queue) {
                done.extend(self.end(&flight, unavailable(Unavailable::Failing, now_us)));
            }
        }
        done
    }

    pub(super) fn wake_us(&self, endpoint: &Endpoint) -> Option<u64> {
        let lost = self.in_flight.values().map(|question| {
            question.started_us.saturating_add(micros(endpoint.timeout + GRACE) + 1)
        });
        let queued = self.lanes.iter().filter_map(|lane| lane.queue.front());
        let late = queued.map(|flight| flight.queued_us.saturating_add(micros(endpoint.timeout)));
        lost.chain(late).chain(self.breaker.wake_us()).min()
    }
}

pub(super) fn unavailable<T>(why: Unavailable, now_us: u64) -> Arc<Entry<T>> {
    let until_us = now_us.saturating_add(micros(FAILED_FOR));
    Arc::new(Entry { outcome: Outcome::Unavailable(why), until_us })
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        f.write_str("Flight")
    }
}
