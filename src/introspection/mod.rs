//! Token introspection (RFC 7662): an issuer is asked whether a token is active, and whose it is.
//!
//! It stops these failures:
//!
//! - A token that its issuer has revoked goes on working.
//! - An answer that is not a clear yes counts as one: `active: "true"`, an error page, two `active`
//!   in one answer, a redirect to somewhere else.
//! - Made-up tokens make the service flood its issuer, push answers about honest tokens out of the
//!   cache, or delay honest requests.
//! - The service hammers an issuer that is down, or stops asking one that is up.
//!
//! The JavaScript host makes the request, with the network settings of the application (proxies,
//! authorities). This module decides when and about which token ([`Introspection::due`]), reads the
//! answer ([`Introspection::answered`]) and caches what the token layer makes of it.
//!
//! # The rules
//!
//! 1. An answer is used for `cacheFor` after it came, one that refuses the token for 5 s at most.
//!    A question that failed is not repeated for 1 s. There is never a pass without an answer.
//! 2. Answers that refuse tokens, which anyone can cause, have a table of their own: they push no
//!    active token out.
//! 3. One question is in flight for a token; all requests with it wait for that one.
//! 4. At most [`MAX_IN_FLIGHT`] questions are in flight, and [`MAX_WAITING`] requests wait, apart
//!    for two kinds of tokens: those that were active a while ago, and those never seen before.
//!    Beyond it the answer is 503. So a flood of made-up tokens can't keep the users out whose
//!    tokens are asked about again.
//! 5. A question that has not begun within `timeout` is dropped.
//! 6. `breaker.rs` decides when nothing is asked for a while.
//!
//! The cache holds no token: its key is a digest under a random key of this process.

mod answer;
mod breaker;
mod config;
mod state;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

pub(crate) use answer::Answer;
pub use answer::{AnswerHead, AskError};
pub(crate) use config::Endpoint;

use self::config::form_encoded;
pub(crate) use self::state::Flight;
use self::state::{Entry, InFlight, Outcome, Pending, Replies, State, TokenKind, unavailable};
use self::table::Digest;
use crate::clock::{Now, micros};
use crate::remote_keys::OperatorWarning;
use crate::store::Reply;

/// The most questions in flight.
pub(crate) const MAX_IN_FLIGHT: usize = 64;
/// The most requests that wait, and the most questions that wait for their turn, for each of the
/// two kinds of tokens.
pub(crate) const MAX_WAITING: usize = 1024;
/// The longest time for which an answer that refuses a token is used.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// How long a token is remembered as one that was active.
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);
/// The time that the host has beyond `timeout` to report a failure.
const GRACE: Duration = Duration::from_secs(1);

/// The questions to one introspection endpoint, and its answers. `T` is what the token layer makes
/// of an answer. All methods take `&self` and are safe to call from many threads.
pub(crate) struct Introspection<T> {
    endpoint: Endpoint,
    key: hmac::Key,
    state: Mutex<State<T>>,
    random: RandomState,
}

/// The reason why it is unknown whether a token is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The endpoint gives no clear answer.
    Failing,
    /// Too many tokens wait for an answer.
    Busy,
}

/// What is known about a token.
pub(crate) enum Finding<T> {
    /// The endpoint was asked a moment ago.
    Judged(Arc<T>),
    /// It can't be asked, or was not allowed to be.
    Unavailable(Unavailable),
    /// It is being asked: see [`Introspection::wait`].
    Wait(Arc<Flight<T>>),
}

/// What the token layer makes of an answer.
pub(crate) struct Judgement<T> {
    pub(crate) value: T,
    /// Whether the token is taken.
    pub(crate) is_active: bool,
    /// The size of `value`.
    pub(crate) bytes: usize,
}

/// A request for the host to make: a POST without redirects, with an answer of at most 64 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// Identifies the question. The host returns it with the answer.
    pub number: u32,
    /// The URL.
    pub url: String,
    /// Request headers.
    pub headers: Vec<(String, String)>,
    /// The body, `application/x-www-form-urlencoded`. It contains the token.
    pub form: String,
    /// How long the whole answer may take.
    pub timeout: Duration,
}

/// What is due: the questions to ask now, the delay until the next call, and a warning.
pub(crate) type Due = (Vec<Question>, Option<Duration>, Option<OperatorWarning>);

/// The status of an endpoint, for monitoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntrospectionStatus {
    /// Whether no token is asked about for now, since the endpoint gives no clear answers.
    pub is_failing: bool,
    /// The last error; `None` after a probe that succeeded.
    pub fault: Option<AskError>,
    /// The time since the last clear answer; `None` for never.
    pub age: Option<Duration>,
    /// The number of questions in flight.
    pub in_flight: usize,
    /// The number of requests that wait.
    pub waiting: usize,
}

impl<T> Introspection<T> {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        crate::random::fill(&mut key)?;
        Ok(Self {
            endpoint,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            state: Mutex::new(State::new()),
            random: RandomState::new(),
        })
    }

    /// The options.
    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What is known about a token; with `may_ask`, a question may begin.
    pub(crate) fn find(&self, token: &str, now: Now, may_ask: bool) -> Finding<T> {
        let key = self.digest(token);
        let mut state = self.state.lock();
        if let Some(entry) = state.fresh(&key, now.mono_us) {
            return match &entry.outcome {
                Outcome::Judged(value) => Finding::Judged(Arc::clone(value)),
                Outcome::Unavailable(why) => Finding::Unavailable(*why),
            };
        }
        if !may_ask || state.closed {
            return Finding::Unavailable(Unavailable::Failing);
        }
        if let Some(pending) = state.flights.get(&key) {
            let flight = Arc::clone(&pending.flight);
            let has_room = state.lane(flight.kind).waiting < MAX_WAITING;
            return if has_room {
                Finding::Wait(flight)
            } else {
                Finding::Unavailable(Unavailable::Busy)
            };
        }
        if state.breaker.is_open() {
            return Finding::Unavailable(Unavailable::Failing);
        }
        // An answer that is too old to be used still shows that the token is not made up.
        let kind = if state.active.get(&key).is_some() { TokenKind::Known } else { TokenKind::New };
        let lane = state.lane(kind);
        if lane.waiting >= MAX_WAITING || lane.queue.len() >= MAX_WAITING {
            return Finding::Unavailable(Unavailable::Busy);
        }
        let flight = Arc::new(Flight {
            key,
            token: Box::from(token),
            kind,
            queued_us: now.mono_us,
            entry: OnceLock::new(),
        });
        lane.queue.push_back(Arc::clone(&flight));
        state.flights.insert(key, Pending { flight: Arc::clone(&flight), replies: Vec::new() });
        Finding::Wait(flight)
    }

    /// Calls `reply` when there is an answer or none will come; at once if there is nothing to wait
    /// for, or no room. The caller keeps `flight` until it has looked for the answer.
    pub(crate) fn wait(&self, flight: &Flight<T>, reply: Reply<()>) {
        let mut state = self.state.lock();
        let has_room = state.lane(flight.kind).waiting < MAX_WAITING && !state.closed;
        match state.flights.get_mut(&flight.key) {
            Some(pending) if has_room && std::ptr::eq(&raw const *pending.flight, flight) => {
                pending.replies.push(reply);
                state.lane(flight.kind).waiting += 1;
            }
            _ => {
                drop(state);
                reply(Ok(()));
            }
        }
    }

    /// The questions to ask now, the delay until the next call, and a warning.
    pub(crate) fn due(&self, now: Now) -> Due {
        let mut state = self.state.lock();
        if state.closed {
            return (Vec::new(), None, None);
        }
        let mut done = Vec::new();
        let mut notice = None;
        let late_us = now.mono_us.saturating_sub(micros(self.endpoint.timeout + GRACE));
        let lost: Vec<u32> = state
            .in_flight
            .iter()
            .filter(|(_, question)| question.started_us < late_us)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            if let Some(question) = state.land(number) {
                let (told, replies) = self.failed(&mut state, question, AskError::Timeout, now);
                notice = notice.or(told);
                done.extend(replies);
            }
        }
        done.extend(state.drop_late(now.mono_us, micros(self.endpoint.timeout)));
        let mut questions = Vec::new();
        if state.breaker.begin_probe(now.mono_us) {
            match made_up_token() {
                Ok(token) => questions.push(self.ask(&mut state, &token, None, now)),
                Err(_) => notice = notice.or(self.probed(&mut state, Err(AskError::Network), now)),
            }
        }
        while let Some(flight) = state.next() {
            let token = Arc::clone(&flight);
            questions.push(self.ask(&mut state, &token.token, Some(flight), now));
        }
        let wake_us = state.wake_us(&self.endpoint);
        drop(state);
        complete(done);
        let wait = wake_us.map(|at| Duration::from_micros(at.saturating_sub(now.mono_us)));
        (questions, wait, notice)
    }

    fn ask(
        &self,
        state: &mut State<T>,
        token: &str,
        flight: Option<Arc<Flight<T>>>,
        now: Now,
    ) -> Question {
        state.number = state.number.wrapping_add(1);
        if let Some(flight) = &flight {
            state.lane(flight.kind).in_flight += 1;
        }
        state.in_flight.insert(state.number, InFlight { flight, started_us: now.mono_us });
        Question {
            number: state.number,
            url: self.endpoint.url.clone(),
            headers: self.endpoint.headers.0.clone(),
            form: format!("token={}&token_type_hint=access_token", form_encoded(token)),
            timeout: self.endpoint.timeout,
        }
    }

    /// Takes the answer or error of the question with this number. `judge` gets the token and a
    /// clear answer about it.
    pub(crate) fn answered(
        &self,
        number: u32,
        came: Result<(&AnswerHead, &[u8]), AskError>,
        now: Now,
        judge: impl FnOnce(&str, Answer<'_>) -> Judgement<T>,
    ) -> Option<OperatorWarning> {
        // It stays in flight until it is judged, so that a panic there leaves no request waiting.
        let flight = self.state.lock().in_flight.get(&number)?.flight.clone();
        let read = came.and_then(|(head, body)| answer::read(head, body));
        let Some(flight) = flight else {
            let probed = match read {
                Ok(Answer::Inactive) => Ok(()),
                Ok(Answer::Active(..)) => Err(AskError::Credulous),
                Err(error) => Err(error),
            };
            let mut state = self.state.lock();
            state.land(number)?;
            let notice = self.probed(&mut state, probed, now);
            let is_open = state.breaker.is_open();
            let done = if is_open { state.drop_all(now.mono_us) } else { Vec::new() };
            drop(state);
            complete(done);
            return notice;
        };
        let judged = read.map(|answer| judge(&flight.token, answer));
        let mut state = self.state.lock();
        let question = state.land(number)?;
        let (notice, done) = match judged {
            Ok(judgement) => (None, self.judged(&mut state, &flight, judgement, now)),
            Err(error) => self.failed(&mut state, question, error, now),
        };
        drop(state);
        complete(done);
        notice
    }

    fn judged(
        &self,
        state: &mut State<T>,
        flight: &Flight<T>,
        judgement: Judgement<T>,
        now: Now,
    ) -> Replies {
        state.answered_us = Some(now.mono_us);
        let cache_for = self.endpoint.cache_for;
        let keep = if judgement.is_active { cache_for } else { cache_for.min(REFUSED_FOR) };
        let entry = Arc::new(Entry {
            outcome: Outcome::Judged(Arc::new(judgement.value)),
            until_us: now.mono_us.saturating_add(micros(keep)),
        });
        let forgotten_us = now.mono_us.saturating_sub(micros(REMEMBERED_FOR));
        state.active.remove_while(|entry| entry.until_us < forgotten_us);
        state.refused.remove_while(|entry| entry.until_us <= now.mono_us);
        let (into, out_of) = if judgement.is_active {
            (&mut state.active, &mut state.refused)
        } else {
            (&mut state.refused, &mut state.active)
        };
        out_of.remove(&flight.key);
        into.put(flight.key, Arc::clone(&entry), judgement.bytes);
        state.end(flight, entry)
    }

    fn failed(
        &self,
        state: &mut State<T>,
        question: InFlight<T>,
        error: AskError,
        now: Now,
    ) -> (Option<OperatorWarning>, Replies) {
        let Some(flight) = question.flight else {
            let notice = self.probed(state, Err(error), now);
            return (notice, state.drop_all(now.mono_us));
        };
        state.fault = Some(error);
        state.breaker.suspect(now.mono_us);
        let entry = unavailable(Unavailable::Failing, now.mono_us);
        state.refused.put(flight.key, Arc::clone(&entry), 0);
        (None, state.end(&flight, entry))
    }

    /// Records the result of a probe.
    fn probed(
        &self,
        state: &mut State<T>,
        result: Result<(), AskError>,
        now: Now,
    ) -> Option<OperatorWarning> {
        let Err(error) = result else {
            state.answered_us = Some(now.mono_us);
            state.fault = None;
            return state.breaker.probe_succeeded(now.mono_us).then(|| OperatorWarning {
                code: "GUARD_ISSUER_RECOVERED",
                text: "answers introspection requests again".to_owned(),
            });
        };
        state.fault = Some(error);
        let spread = self.spread(state.number);
        state.breaker.probe_failed(spread, now.mono_us).then(|| OperatorWarning {
            code: "GUARD_ISSUER_FAILING",
            text: format!(
                "gives no clear answer to introspection requests: {error}; tokens that it was not asked about a moment ago are refused with 503"
            ),
        })
    }

    /// A pseudo-random number from 0 to 1.
    fn spread(&self, salt: u32) -> f64 {
        let hash = self.random.hash_one(salt);
        f64::from(u32::try_from(hash >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }

    fn digest(&self, token: &str) -> Digest {
        let tag = hmac::sign(&self.key, token.as_bytes());
        let mut digest = Digest::default();
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        digest
    }

    /// The current status.
    pub(crate) fn status(&self, now: Now) -> IntrospectionStatus {
        let state = self.state.lock();
        let since = |at| Duration::from_micros(now.mono_us.saturating_sub(at));
        IntrospectionStatus {
            is_failing: state.breaker.is_open(),
            fault: state.fault,
            age: state.answered_us.map(since),
            in_flight: state.in_flight.len(),
            waiting: state.lanes.iter().map(|lane| lane.waiting).sum(),
        }
    }

    /// Asks nothing any more, and completes all waits.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.in_flight.clear();
        for lane in &mut state.lanes {
            (lane.in_flight, lane.waiting) = (0, 0);
            lane.queue.clear();
        }
        let pending = std::mem::take(&mut state.flights);
        drop(state);
        complete(pending.into_values().flat_map(|pending| pending.replies).collect());
    }
}

/// A token that no issuer has issued.
fn made_up_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 24];
    crate::random::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn complete(replies: Replies) {
    for reply in replies {
        reply(Ok(()));
    }
}

impl<T> fmt::Debug for Introspection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection").field("url", &self.endpoint.url).finish_non_exhaustive()
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the token nor the credentials.
        f.debug_struct("Question").field("number", &self.number).finish_non_exhaustive()
    }
}
