//! Keys that an issuer publishes at a URL (RFC 7517 section 5), kept up to date.
//!
//! It stops these failures:
//!
//! - The service goes down with its issuer (node-jwks-rsa #385).
//! - The service keeps trusting a key that its issuer has withdrawn (jwks-rsa-java #69).
//! - Tokens with made-up `kid`s make the service flood its issuer (go-oidc #482), or delay honest
//!   requests.
//! - An attacker redirects the service to other keys.
//!
//! The JavaScript host makes the fetch, with the network settings of the application (proxies,
//! authorities). This module decides on time and request ([`RemoteKeys::due`]) and validates the
//! answer ([`RemoteKeys::answered`]). A lookup of a known key never waits. It takes only the lock
//! of the ring, which is held just long enough to swap a pointer.
//!
//! # The result for a token
//!
//! - The issuer has returned no keys yet, or none for longer than `staleFor`: every token waits for
//!   the fetch in flight. If that fails, the answer is 503.
//! - The issuer has returned keys within `staleFor`: a token with a known key is verified at once.
//!   A token with an unknown key waits if a fetch is in flight or may begin, and is verified then.
//!
//! A wait ends with the fetch, and after [`TIMEOUT`] at the latest. At most [`MAX_WAITING`] tokens
//! wait at one time; the others are verified with the keys that are loaded. The answer is 503 and
//! not 401, since a 401 makes a client discard a good token.
//!
//! A new set replaces the previous one as a whole. A key that is missing in it is refused from then
//! on, also for cached tokens: the key itself is marked as withdrawn.

mod document;
mod fault;
mod schedule;
mod source;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::{Mutex, RwLock};

pub use fault::FetchError;
pub(crate) use source::{RequestHeaders, Source, parse_stale_for, request_to, vault_issuer};

use self::schedule::{Flight, Schedule, What};
use crate::clock::{Now, micros};
use crate::jose::Header;
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::keys::key_options::SetOrigin;
use crate::keys::ring::KeyRing;
use crate::keys::{KeyError, LeftOut};
use crate::store::Reply;

/// The maximum time that a token waits for its issuer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of tokens that wait for one issuer.
pub(crate) const MAX_WAITING: usize = 256;

/// The keys of one issuer. All methods take `&self` and are safe to call from many threads.
pub struct RemoteKeys {
    source: Source,
    allowed: Option<Vec<Algorithm>>,
    set: SetOrigin,
    stale_for: Duration,
    ring: RwLock<Arc<KeyRing>>,
    /// The end of the ring's validity on the monotonic clock; 0 before the first set.
    usable_until_us: AtomicU64,
    state: Mutex<State>,
    random: RandomState,
}

struct State {
    schedule: Schedule,
    /// The URL of the set; `None` until the metadata is read.
    set_url: Option<String>,
    /// The validators of the last good set.
    etag: Option<String>,
    last_modified: Option<String>,
    /// SHA-256 of the last good set: an identical set is not parsed again.
    digest: Option<[u8; 32]>,
    refresh_hint: Option<Duration>,
    fetched_us: Option<u64>,
    fault: Option<FetchError>,
    /// The keys of the last good set that can't be used.
    left_out: Vec<LeftOut>,
    /// Whether they are still to be reported.
    has_news: bool,
    reported: RemoteState,
    /// Whether a warning was sent since the last recovery.
    alarmed: bool,
    waiting: PendingReplies,
    closed: bool,
}

/// The waiting receivers, each with its deadline.
type PendingReplies = Vec<(u64, Reply<()>)>;

/// The state of an issuer's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// No keys were fetched yet.
    NotReady,
    /// The last fetch succeeded.
    Fresh,
    /// The last fetch failed, and the keys of an earlier one are in use.
    Failing,
    /// The keys are too old to be used.
    Stale,
}

/// The status of an issuer's keys, for monitoring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatus {
    /// The state.
    pub state: RemoteState,
    /// The number of keys.
    pub keys: usize,
    /// The time since the issuer last confirmed these keys; `None` for never.
    pub age: Option<Duration>,
    /// The error of the last fetch; `None` if it succeeded.
    pub fault: Option<FetchError>,
}

/// A fetch for the host to make: a GET, without redirects, of at most 256 KiB and within five
/// seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Identifies the fetch. The host returns it with the answer.
    pub number: u32,
    /// The URL.
    pub url: String,
    /// Request headers.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

/// The relevant part of an answer's head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The status.
    pub status: u16,
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Age`.
    pub age: Option<String>,
}

/// A warning for the operators of the service. Each change of state is published once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorWarning {
    /// The stable code.
    pub code: &'static str,
    /// The rest of a sentence that begins with "the issuer `name`".
    pub text: String,
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys").field("source", &self.source).finish_non_exhaustive()
    }
}

impl RemoteKeys {
    /// Keys at `source`, none of them fetched yet.
    pub(crate) fn new(
        source: Source,
        allowed: Option<Vec<Algorithm>>,
        set: SetOrigin,
        stale_for: Duration,
    ) -> Self {
        let set_url = match &source {
            Source::Set { url, .. } => Some(url.clone()),
            Source::Metadata { .. } => None,
        };
        let state = State {
            schedule: Schedule::new(set_url.is_none()),
            set_url,
            etag: None,
            last_modified: None,
            digest: None,
            refresh_hint: None,
            fetched_us: None,
            fault: None,
            left_out: Vec::new(),
            has_news: false,
            reported: RemoteState::NotReady,
            alarmed: false,
            waiting: Vec::new(),
            closed: false,
        };
        Self {
            source,
            allowed,
            set,
            stale_for,
            ring: RwLock::new(Arc::new(KeyRing::default())),
            usable_until_us: AtomicU64::new(0),
            state: Mutex::new(state),
            random: RandomState::new(),
        }
    }

    /// Whether the keys are recent enough to be used.
    pub(crate) fn is_usable(&self, now: Now) -> bool {
        now.mono_us < self.usable_until_us.load(Ordering::Acquire)
    }

    /// The one key that may have signed a token with this header at `now`. Returns `None`, only
    /// with `may_fetch_keys`, if a fetch may bring the key.
    pub(crate) fn choose(
        &self,
        header: &Header,
        now: Now,
        may_fetch_keys: bool,
    ) -> Result<Option<Arc<Key>>, KeyError> {
        if !self.is_usable(now) {
            let state = self.state.lock();
            if may_fetch_keys && state.has_room() && state.schedule.is_asking(now.mono_us) {
                return Ok(None);
            }
            return Err(KeyError::Unavailable);
        }
        let ring = Arc::clone(&self.ring.read());
        let error = match ring.choose(header, now.unix_seconds()) {
            Ok(key) => return Ok(Some(Arc::clone(key))),
            Err(error) => error,
        };
        if may_fetch_keys && self.may_become_known(header, &ring) {
            let mut state = self.state.lock();
            if state.has_room() && state.schedule.want(now.mono_us) {
                return Ok(None);
            }
        }
        Err(error)
    }

    /// Whether a fetch may bring the key for this header. False for an algorithm that none of the
    /// issuer's keys may have.
    fn may_become_known(&self, header: &Header, ring: &KeyRing) -> bool {
        let unknown = header.kid.as_deref().is_some_and(|kid| !ring.knows(kid, &header.alg));
        unknown
            && Algorithm::from_name(&header.alg).is_some_and(|alg| {
                alg.hmac().is_none()
                    && self.allowed.as_ref().is_none_or(|allowed| allowed.contains(&alg))
            })
    }

    /// Calls `reply` when the fetch in flight ends, or after [`TIMEOUT`]; at once if there is no
    /// fetch to wait for, or no room.
    pub fn wait(&self, reply: Reply<()>, now: Now) {
        let mut state = self.state.lock();
        if state.closed || !state.has_room() || !state.schedule.is_asking(now.mono_us) {
            drop(state);
            return reply(Ok(()));
        }
        let until = now.mono_us.saturating_add(micros(TIMEOUT));
        state.waiting.push((until, reply));
    }

    /// The fetch to make now, if any; the delay until the next call; and a warning.
    pub fn due(&self, now: Now) -> (Option<Fetch>, Option<Duration>, Option<OperatorWarning>) {
        let mut state = self.state.lock();
        if state.closed {
            return (None, None, None);
        }
        let lost = state.schedule.lost(now.mono_us);
        let (notice, mut done) = match lost {
            Some(number) => self.end(&mut state, number, Err(FetchError::Timeout), now),
            None => (None, Vec::new()),
        };
        let begun = state.schedule.begin(now.mono_us);
        let fetch = begun.map(|flight| self.fetch(&state, flight));
        done.extend(state.tired(now.mono_us));
        let waits = state.waiting.iter().map(|(until, _)| *until);
        let wake_us = waits.chain([state.schedule.wake_us()]).min().unwrap_or_default();
        drop(state);
        complete_waiting(done);
        (fetch, Some(Duration::from_micros(wake_us.saturating_sub(now.mono_us))), notice)
    }

    fn fetch(&self, state: &State, flight: Flight) -> Fetch {
        let accept = |types: &str| vec![(Cow::Borrowed("accept"), types.to_owned())];
        if let (What::Metadata, Source::Metadata { url, .. }) = (flight.what, &self.source) {
            let headers = accept("application/json");
            return Fetch { number: flight.number, url: url.clone(), headers };
        }
        let mut headers = accept("application/jwk-set+json, application/json");
        if flight.fresh {
            headers.push((Cow::Borrowed("cache-control"), "no-cache".to_owned()));
        }
        if let Some(etag) = &state.etag {
            headers.push((Cow::Borrowed("if-none-match"), etag.clone()));
        }
        if let Some(modified) = &state.last_modified {
            headers.push((Cow::Borrowed("if-modified-since"), modified.clone()));
        }
        if let Source::Set { headers: more, .. } = &self.source {
            headers.extend(more.0.iter().map(|(name, value)| (name.clone().into(), value.clone())));
        }
        let url = state.set_url.clone().unwrap_or_default();
        Fetch { number: flight.number, url, headers }
    }

    /// Takes the answer or error of the fetch with this number.
    pub fn answered(
        &self,
        number: u32,
        came: Result<(&Fetched, &[u8]), FetchError>,
        now: Now,
    ) -> Option<OperatorWarning> {
        let mut state = self.state.lock();
        if state.closed {
            return None;
        }
        let (notice, done) = self.end(&mut state, number, came, now);
        drop(state);
        complete_waiting(done);
        notice
    }

    fn end(
        &self,
        state: &mut State,
        number: u32,
        came: Result<(&Fetched, &[u8]), FetchError>,
        now: Now,
    ) -> (Option<OperatorWarning>, PendingReplies) {
        let Some(flight) = state.schedule.end(number) else { return (None, Vec::new()) };
        let judged = came.and_then(|(head, body)| match (flight.what, &self.source) {
            (What::Metadata, Source::Metadata { issuer, loopback, .. }) => {
                state.take_metadata(head, body, issuer, *loopback, now)
            }
            _ => self.take_set(state, head, body, now),
        });
        match judged {
            Ok(()) if flight.what == What::Metadata => {}
            Ok(()) => state.fault = None,
            Err(fault) => {
                state.schedule.failed(flight.what, self.spread(number), now.mono_us);
                state.fault = Some(fault);
            }
        }
        // The waiting tokens keep waiting between the metadata and the set that it names.
        if state.schedule.is_asking(now.mono_us) {
            return (None, Vec::new());
        }
        (self.notice(state, now), std::mem::take(&mut state.waiting))
    }

    fn take_set(
        &self,
        state: &mut State,
        head: &Fetched,
        body: &[u8],
        now: Now,
    ) -> Result<(), FetchError> {
        match head.status {
            200 => self.take_body(state, head, body)?,
            304 if state.etag.is_some() || state.last_modified.is_some() => {}
            status => return Err(FetchError::Status(status)),
        }
        state.fetched_us = Some(now.mono_us);
        let says = max_age(head).into_iter().chain(state.refresh_hint).min();
        let spread = self.spread(u32::from(head.status));
        state.schedule.succeeded(says, spread, now.mono_us);
        let until = now.mono_us.saturating_add(micros(self.stale_for));
        self.usable_until_us.store(until, Ordering::Release);
        Ok(())
    }

    fn take_body(&self, state: &mut State, head: &Fetched, body: &[u8]) -> Result<(), FetchError> {
        let sum = digest(&SHA256, body).as_ref().try_into().ok();
        if sum.is_none() || state.digest != sum {
            let set = document::read_set(body, self.allowed.as_deref(), self.set)?;
            let old = Arc::clone(&self.ring.read());
            let new = Arc::new(set.ring.in_place_of(&old));
            *self.ring.write() = Arc::clone(&new);
            old.withdraw_for(&new);
            state.has_news |= !set.left_out.is_empty() && state.left_out != set.left_out;
            state.left_out = set.left_out;
            state.digest = sum;
            state.refresh_hint = set.refresh_hint_s.map(Duration::from_secs);
        }
        state.etag.clone_from(&head.etag);
        state.last_modified.clone_from(&head.last_modified);
        Ok(())
    }

    /// A pseudo-random number from 0 to 1.
    fn spread(&self, salt: u32) -> f64 {
        let hash = self.random.hash_one((salt, self.usable_until_us.load(Ordering::Relaxed)));
        f64::from(u32::try_from(hash >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }

    fn state_now(&self, state: &State, now: Now) -> RemoteState {
        match (&state.fault, state.fetched_us) {
            (_, None) => RemoteState::NotReady,
            _ if !self.is_usable(now) => RemoteState::Stale,
            (None, _) => RemoteState::Fresh,
            (Some(_), _) => RemoteState::Failing,
        }
    }

    /// The warning to publish now. Each change is published once.
    fn notice(&self, state: &mut State, now: Now) -> Option<OperatorWarning> {
        let is = self.state_now(state, now);
        let first_fault = is == RemoteState::NotReady && state.fault.is_some();
        let told = std::mem::replace(&mut state.reported, is);
        if is == RemoteState::Fresh && std::mem::take(&mut state.has_news) {
            let keys: Vec<&str> = state.left_out.iter().map(|key| &*key.reason).collect();
            let text = format!("publishes keys that can't be used: {}", keys.join("; "));
            return Some(OperatorWarning { code: "GUARD_KEY_LEFT_OUT", text });
        }
        if is == RemoteState::Fresh {
            // A good state is published only after an alarm.
            return std::mem::take(&mut state.alarmed).then(|| OperatorWarning {
                code: "GUARD_ISSUER_RECOVERED",
                text: "gives keys again".to_owned(),
            });
        }
        if told == is && !(first_fault && state.schedule.failed_once()) {
            return None;
        }
        let why = state.fault.as_ref().map(ToString::to_string).unwrap_or_default();
        let (code, text) = match is {
            RemoteState::NotReady => (
                "GUARD_ISSUER_FAILING",
                format!("has given no keys yet: {why}; its tokens are refused with 503"),
            ),
            RemoteState::Failing | RemoteState::Fresh => (
                "GUARD_ISSUER_FAILING",
                format!(
                    "gives no keys: {why}; those that are known are used for {} more",
                    minutes(self.left(now))
                ),
            ),
            RemoteState::Stale => (
                "GUARD_ISSUER_STALE",
                format!(
                    "has given no keys for longer than `staleFor`: {why}; its tokens are refused with 503"
                ),
            ),
        };
        state.alarmed = true;
        Some(OperatorWarning { code, text })
    }

    fn left(&self, now: Now) -> Duration {
        let until = self.usable_until_us.load(Ordering::Acquire);
        Duration::from_micros(until.saturating_sub(now.mono_us))
    }

    /// The current status.
    #[must_use]
    pub fn status(&self, now: Now) -> RemoteStatus {
        let state = self.state.lock();
        let age = state.fetched_us.map(|at| Duration::from_micros(now.mono_us.saturating_sub(at)));
        RemoteStatus {
            state: self.state_now(&state, now),
            keys: self.key_count(),
            age,
            fault: state.fault.clone(),
        }
    }

    pub(crate) fn left_out(&self) -> Vec<LeftOut> {
        self.state.lock().left_out.clone()
    }

    pub(crate) fn key_count(&self) -> usize {
        self.ring.read().len()
    }

    /// Stops fetching and completes all waits.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        complete_waiting(waiting);
    }
}

impl State {
    fn take_metadata(
        &mut self,
        head: &Fetched,
        body: &[u8],
        issuer: &str,
        loopback: bool,
        now: Now,
    ) -> Result<(), FetchError> {
        if head.status != 200 {
            return Err(FetchError::Status(head.status));
        }
        let url = document::read_metadata(body, issuer, loopback)?;
        if self.set_url.as_ref() != Some(&url) {
            // The validators of the old URL do not apply to the new one.
            (self.etag, self.last_modified) = (None, None);
            self.set_url = Some(url);
        }
        self.schedule.discovered(now.mono_us);
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING && !self.closed
    }

    /// Removes and returns the waits that have timed out.
    fn tired(&mut self, now_us: u64) -> PendingReplies {
        let (tired, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(until, _)| *until <= now_us);
        self.waiting = waiting;
        tired
    }
}

fn complete_waiting(waiting: PendingReplies) {
    for (_, reply) in waiting {
        reply(Ok(()));
    }
}

fn minutes(left: Duration) -> String {
    format!("{} minutes", left.as_secs().div_ceil(60))
}

/// The freshness lifetime of an answer (RFC 9111 section 5.2.2) less its age in a cache.
fn max_age(head: &Fetched) -> Option<Duration> {
    let control = head.cache_control.as_deref()?.to_ascii_lowercase();
    let mut directives = control.split(',').map(str::trim);
    if directives.clone().any(|directive| matches!(directive, "no-store" | "no-cache")) {
        return Some(Duration::ZERO);
    }
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    let seconds: u64 = seconds.trim_matches('"').parse().ok()?;
    let age = head.age.as_deref().and_then(|age| age.trim().parse().ok()).unwrap_or(0);
    Some(Duration::from_secs(seconds.saturating_sub(age)))
}
