//! One server: its connection, its own circuit breaker, its clock, and the processes that use it.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::config::Address;
use super::connection::{Connection, first_of};
use super::wire::{Command, Reply, Versioned, expiry};
use crate::clock::Now;
use crate::store::error::StoreError;
use crate::store::fault::OutageCause;
use crate::store::runtime::{BACKOFF, CONNECT_TIMEOUT, HEARTBEAT, PROBE, SILENCE_MS, jittered};
use crate::store::status::Status;

/// After this much silence a process is no longer counted.
const SILENCE_US: u64 = SILENCE_MS * 1000;
/// How often the clock is read in the first second, to find the start of its seconds soon.
const FIRST_READINGS: u32 = 16;
/// Readings differ by less than this unless the clock was set. Used proofs are remembered for 10 s
/// longer than necessary.
const STEP_US: u64 = 5_000_000;
/// The random id of a process.
type Process = [u8; 8];
/// Bytes of a process in the list of live ones: its id, and the time of its last heartbeat in
/// microseconds.
const PROCESS: usize = 16;
/// The most processes that are counted.
const MAX_PROCESSES: usize = 4096;

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    address: Address,
    /// The part of the server's address in [`Server::weight`].
    seed: u64,
    /// The key of the list of live processes.
    live_key: Vec<u8>,
    status: Status,
    clock: Mutex<Clock>,
    link: watch::Sender<Option<Connection>>,
}

/// A clock that can be read in whole seconds only, so a reading is up to a second behind. Of many
/// readings, the one with the largest offset came soonest after the start of a second. It is the
/// nearest to the truth, and nearly the same for every process.
#[derive(Debug, Default)]
struct Clock(VecDeque<i64>);

impl Clock {
    /// The number of readings that are remembered: those of the last minute.
    const READINGS: usize = 32;

    /// The offset of the server's clock from the local monotonic clock, after one more reading:
    /// `second`, received at `received`.
    fn read(&mut self, second: u64, received: Now) -> Option<i64> {
        let second_us = i64::try_from(second.checked_mul(1_000_000)?).ok()?;
        if self.0.len() == Self::READINGS {
            self.0.pop_front();
        }
        self.0.push_back(second_us.checked_sub_unsigned(received.mono_us)?);
        self.0.iter().max().copied()
    }
}

impl Server {
    pub(super) fn new(address: Address, prefix: &str) -> Self {
        let name = address.to_string();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
        let seed = digest.as_ref().first_chunk().copied().map_or(0, u64::from_le_bytes);
        Self {
            address,
            seed,
            live_key: format!("{prefix}live").into_bytes(),
            status: Status::default(),
            clock: Mutex::default(),
            link: watch::channel(None).0,
        }
    }

    /// Its state.
    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// The time on its clock.
    pub(super) fn now_us(&self) -> u64 {
        self.status.clock(Now::read()).unix_us
    }

    /// The score of this server for a subject: the server with the highest score gets it. So adding
    /// or removing one server moves the subjects of that server alone (rendezvous hashing).
    pub(super) fn weight(&self, subject: &[u8; 16]) -> u64 {
        let [one, two] = [0, 8].map(|at| {
            subject
                .get(at..)
                .and_then(|half| half.first_chunk())
                .map_or(0, |half| u64::from_le_bytes(*half))
        });
        mix(mix(self.seed ^ one) ^ two)
    }

    /// Sends commands in one batch. Returns one reply for each.
    pub(super) async fn exchange(&self, commands: Vec<Command>) -> Result<Vec<Reply>, StoreError> {
        if !self.status.is_available() {
            return Err(StoreError::Unavailable);
        }
        let mut watch = Watch { server: self, answered: false, fault: OutageCause::Timeout };
        let mut link = self.link.subscribe();
        let link = link.wait_for(Option::is_some).await.ok().and_then(|link| link.clone());
        let link = link.ok_or(StoreError::Unavailable)?;
        let Some(replies) = link.exchange(commands).await else {
            watch.fault = link.fault();
            return Err(StoreError::Unavailable);
        };
        match refusal(&replies) {
            Some(fault) => watch.fault = fault,
            None => watch.answered = true,
        }
        Ok(replies)
    }

    fn note_failure(&self, fault: OutageCause) {
        self.status.blame(fault);
        if self.status.failed() {
            self.status.lost();
            if let Some(link) = self.link.borrow().as_ref() {
                link.give_up();
            }
        }
    }

    /// Connects, and reconnects forever. `changed` is called when the server comes or goes, and
    /// with each heartbeat.
    pub(super) async fn keep_connected(&self, changed: impl Fn()) {
        let mut process = Process::default();
        // Without randomness all processes have the same id and count as one.
        let _ = crate::random::fill(&mut process);
        let mut pause = BACKOFF.0;
        loop {
            let fault = match self.connect(process).await {
                Ok(mut link) => {
                    pause = BACKOFF.0;
                    self.link.send_replace(Some(link.clone()));
                    self.status.connected(Now::read());
                    self.status.recovered();
                    changed();
                    let fault = self.stay(&mut link, process, &changed).await;
                    link.give_up();
                    // A failed command may have given a more precise cause.
                    fault.after(self.status.fault())
                }
                Err(fault) => fault,
            };
            self.status.lost();
            self.status.set_fault(Some(fault));
            self.link.send_replace(None);
            changed();
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn connect(&self, process: Process) -> Result<Connection, OutageCause> {
        let opening = Connection::open(&self.address.host, self.address.port);
        let opened = timeout(CONNECT_TIMEOUT, opening).await.map_err(|_| OutageCause::Timeout)?;
        let link = opened.map_err(|error| OutageCause::of_io(&error))?;
        // It may be another server by now, or have another clock.
        self.clock.lock().0.clear();
        self.beat(&link, process).await?;
        Ok(link)
    }

    /// Sends heartbeats until the connection breaks or one fails.
    async fn stay(
        &self,
        link: &mut Connection,
        process: Process,
        changed: &impl Fn(),
    ) -> OutageCause {
        for _ in 1..FIRST_READINGS {
            first_of(sleep(Duration::from_secs(1) / FIRST_READINGS), link.closed()).await;
            if link.is_closed() {
                return link.fault();
            }
            if let Err(fault) = self.read_clock(link).await {
                return fault;
            }
            changed();
        }
        loop {
            first_of(sleep(jittered(HEARTBEAT)), link.closed()).await;
            if link.is_closed() {
                return link.fault();
            }
            if let Err(fault) = self.beat(link, process).await {
                return fault;
            }
            changed();
        }
    }

    async fn read_clock(&self, link: &Connection) -> Result<(), OutageCause> {
        let replies = timeout(PROBE, ask(link, vec![Command::time()])).await;
        let replies = replies.map_err(|_| OutageCause::Timeout)??;
        match replies.as_slice() {
            [Reply::Time(second)] if self.observe(*second) => Ok(()),
            _ => Err(OutageCause::Protocol),
        }
    }

    fn observe(&self, second: u64) -> bool {
        let received = Now::read();
        let offset = self.clock.lock().read(second, received);
        let Some(now_us) = offset.and_then(|offset| received.mono_us.checked_add_signed(offset))
        else {
            return false;
        };
        let before_us = self.status.clock(received).unix_us;
        if self.status.has_answered() && now_us > before_us.saturating_add(STEP_US) {
            // Its clock was set ahead, so used proofs have expired too early.
            self.status.connected(received);
        }
        self.status.observe(now_us, received);
        true
    }

    /// Reads the clock and writes a heartbeat; an error if it could not be written.
    async fn beat(&self, link: &Connection, process: Process) -> Result<(), OutageCause> {
        let beating = async {
            let asked = vec![Command::time(), Command::gets(&self.live_key)];
            let replies = ask(link, asked).await?;
            let [Reply::Time(second), Reply::Value(known)] = replies.as_slice() else {
                return Err(OutageCause::Protocol);
            };
            if !self.observe(*second) {
                return Err(OutageCause::Protocol);
            }
            let (list, alive) = alive(known.as_ref(), process, self.now_us());
            let version = known.as_ref().map(|known| known.version);
            let store = Command::store(&self.live_key, &list, expiry(SILENCE_US, *second), version);
            // On a conflict another process was faster. The server takes writes, and the next
            // heartbeat adds this process to the list.
            match ask(link, vec![store]).await?.as_slice() {
                [Reply::Stored | Reply::Conflict] => Ok(alive),
                _ => Err(OutageCause::Protocol),
            }
        };
        let alive = timeout(PROBE, beating).await.map_err(|_| OutageCause::Timeout)??;
        self.status.count_instances(alive);
        Ok(())
    }
}

/// Sends commands; an error if one is not answered or refused.
async fn ask(link: &Connection, commands: Vec<Command>) -> Result<Vec<Reply>, OutageCause> {
    let replies = link.exchange(commands).await.ok_or_else(|| link.fault())?;
    refusal(&replies).map_or(Ok(replies), Err)
}

/// Why the server refused one of several commands.
fn refusal(replies: &[Reply]) -> Option<OutageCause> {
    replies.iter().find_map(|reply| match reply {
        Reply::Refused(fault) => Some(*fault),
        _ => None,
    })
}

/// The list of live processes with this one in it, and its length.
fn alive(known: Option<&Versioned>, process: Process, now_us: u64) -> (Vec<u8>, u32) {
    let mut list = [process.as_slice(), &now_us.to_le_bytes()].concat();
    let others = known.map_or(&[][..], |known| known.value.as_slice());
    for other in others.chunks_exact(PROCESS).take(MAX_PROCESSES) {
        let Some((name, heard)) = other.split_first_chunk::<8>() else { continue };
        let heard_us = heard.first_chunk().map_or(0, |heard| u64::from_le_bytes(*heard));
        if *name != process && heard_us.abs_diff(now_us) < SILENCE_US {
            list.extend_from_slice(other);
        }
    }
    let count = u32::try_from(list.len() / PROCESS).unwrap_or(u32::MAX);
    (list, count)
}

/// Records the outcome of an exchange, even if its future is dropped.
struct Watch<'s> {
    server: &'s Server,
    answered: bool,
    /// Why it was not answered.
    fault: OutageCause,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.answered {
            self.server.status.succeeded();
        } else {
            self.server.note_failure(self.fault);
        }
    }
}

/// The finalizer of `SplitMix64`: every bit of the input flips half of the output bits.
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}
