//! Keys that an issuer publishes at a URL (RFC 7517 section 5), kept up to date.
//!
//! What it stops: a service that goes down with its issuer (node-jwks-rsa #385); one that keeps
//! trusting a key that its issuer has withdrawn (jwks-rsa-java #69); one that a flood of tokens
//! with made-up `kid`s lets flood its issuer (go-oidc #482), or that makes honest requests wait
//! behind them; and one that can be sent elsewhere for its keys.
//!
//! The fetch itself is done by the edge, with the network settings of the application (proxies,
//! authorities); this module says when and what ([`RemoteKeys::due`]), and judges what came
//! ([`RemoteKeys::answered`]). A look at a key that is known never waits and takes no lock but that
//! of the ring, which is held for a pointer's change.
//!
//! # What becomes of a token
//!
//! - An issuer that has given no keys yet, or none for longer than `staleFor`: every token waits
//!   for the fetch on its way, and gets 503 then.
//! - One that has given keys within `staleFor`: a token with a known key is checked at once. One
//!   with an unknown key waits where a fetch is on its way or may begin, and is checked then.
//!
//! A wait ends with the fetch and after [`TIMEOUT`] at the latest, and [`MAX_WAITING`] tokens wait
//! at one time; the others are judged by what is known. 503 and not 401: a client would throw away
//! a token that is good.
//!
//! A set that was fetched takes the place of the one before it as a whole, so that a key which is
//! not in it any more is refused from that moment on, in the cache of verified tokens too: the key
//! itself says that it is withdrawn.

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
pub(crate) use source::{Source, parse_stale_for, vault_issuer};

use self::schedule::{Flight, Schedule, What};
use crate::clock::{Now, micros};
use crate::jose::Header;
use crate::keys::algorithm::Algorithm;
use crate::keys::key::Key;
use crate::keys::key_options::SetOf;
use crate::keys::ring::KeyRing;
use crate::keys::{KeyError, LeftOut};
use crate::store::Reply;

/// No token waits longer for its issuer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// So many tokens may wait for one issuer.
pub(crate) const MAX_WAITING: usize = 256;

/// The keys of one issuer. All methods take `&self` and may be called by many threads.
pub struct RemoteKeys {
    source: Source,
    allowed: Option<Vec<Algorithm>>,
    set: SetOf,
    stale_for: Duration,
    ring: RwLock<Arc<KeyRing>>,
    /// Until when the ring may be used, on the monotonic clock; 0 where there was none yet.
    usable_until_us: AtomicU64,
    state: Mutex<State>,
    random: RandomState,
}

struct State {
    schedule: Schedule,
    /// The URL of the set, once it is known.
    set_url: Option<String>,
    /// What the last good set came with.
    etag: Option<String>,
    last_modified: Option<String>,
    /// SHA-256 of the last good set: the same bytes are not read again.
    digest: Option<[u8; 32]>,
    refresh_hint: Option<Duration>,
    fetched_us: Option<u64>,
    fault: Option<FetchError>,
    /// The keys of the last good set that can't be used.
    left_out: Vec<LeftOut>,
    /// Whether they are still to be reported.
    has_news: bool,
    reported: RemoteState,
    /// Whether something bad was told since all was well.
    alarmed: bool,
    waiting: PendingReplies,
    closed: bool,
}

/// Who waits, and until when.
type PendingReplies = Vec<(u64, Reply<()>)>;

/// How an issuer's keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// None were fetched yet.
    NotReady,
    /// The last fetch was good.
    Fresh,
    /// The last fetch was not, and what is known is used.
    Failing,
    /// What is known is too old to be used.
    Stale,
}

/// How an issuer's keys are, for those who watch over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatus {
    /// How they are.
    pub state: RemoteState,
    /// How many there are.
    pub keys: usize,
    /// How long ago it was certain that these are its keys; `None` for never.
    pub age: Option<Duration>,
    /// Why the last fetch failed; `None` where it did not.
    pub fault: Option<FetchError>,
}

/// A fetch that the edge is to make: a GET, without redirects, of at most 256 KiB and within five
/// seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// To be handed back with what came of it.
    pub number: u32,
    /// Where.
    pub url: String,
    /// Request headers.
    pub headers: Vec<(Cow<'static, str>, String)>,
}

/// The head of an answer: what matters of it.
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

/// Something that the people who run the service should hear of: said once for each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorWarning {
    /// The stable code.
    pub code: &'static str,
    /// What continues the sentence "the issuer `name` ...".
    pub text: String,
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys").field("source", &self.source).finish_non_exhaustive()
    }
}

impl RemoteKeys {
    /// Keys at `source`, of which nothing is known yet.
    pub(crate) fn new(
        source: Source,
        allowed: Option<Vec<Algorithm>>,
        set: SetOf,
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

    /// Whether what is known may be relied on.
    pub(crate) fn is_usable(&self, now: Now) -> bool {
        now.mono_us < self.usable_until_us.load(Ordering::Acquire)
    }

    /// The one key that a token with this header may be signed with, now; `None` where the issuer
    /// is being asked for new keys, so that the token may be good. Only with `may_ask`.
    pub(crate) fn choose(
        &self,
        header: &Header,
        now: Now,
        may_ask: bool,
    ) -> Result<Option<Arc<Key>>, KeyError> {
        if !self.is_usable(now) {
            let state = self.state.lock();
            if may_ask && state.has_room() && state.schedule.is_asking(now.mono_us) {
                return Ok(None);
            }
            return Err(KeyError::Unavailable);
        }
        let ring = Arc::clone(&self.ring.read());
        let error = match ring.choose(header, now.unix_seconds()) {
            Ok(key) => return Ok(Some(Arc::clone(key))),
            Err(error) => error,
        };
        if may_ask && self.may_become_known(header, &ring) {
            let mut state = self.state.lock();
            if state.has_room() && state.schedule.want(now.mono_us) {
                return Ok(None);
            }
        }
        Err(error)
    }

    /// Whether the issuer may have a new key for this header: not for an algorithm that no key of
    /// it may have.
    fn may_become_known(&self, header: &Header, ring: &KeyRing) -> bool {
        let unknown = header.kid.as_deref().is_some_and(|kid| !ring.knows(kid, &header.alg));
        unknown
            && Algorithm::from_name(&header.alg).is_some_and(|alg| {
                alg.hmac().is_none()
                    && self.allowed.as_ref().is_none_or(|allowed| allowed.contains(&alg))
            })
    }

    /// Calls `reply` when the fetch on its way has ended, or after [`TIMEOUT`]; at once where none
    /// is.
    pub fn wait(&self, reply: Reply<()>, now: Now) {
        let mut state = self.state.lock();
        if state.closed || !state.has_room() || !state.schedule.is_asking(now.mono_us) {
            drop(state);
            return reply(Ok(()));
        }
        let until = now.mono_us.saturating_add(micros(TIMEOUT));
        state.waiting.push((until, reply));
    }

    /// The fetch that is to be made now, if there is one, and after how long to ask again.
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

    /// Takes what came of the fetch of this number.
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
        // Between metadata and the set that it names whoever waits goes on waiting.
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

    /// From 0 to 1.
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

    /// What is to be told now: a change is told once.
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
            // Nobody has to hear that all is as it should be, but after an alarm.
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

    /// How they are.
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

    /// Fetches nothing more, and lets nobody wait.
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
            // What the old place said of its set is nothing to the new one.
            (self.etag, self.last_modified) = (None, None);
            self.set_url = Some(url);
        }
        self.schedule.discovered(now.mono_us);
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING && !self.closed
    }

    /// Those who have waited long enough.
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

/// How long an answer may be kept (RFC 9111 section 5.2.2), less the time it has lain in a cache.
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
