//! The world of a history: clocks, random numbers, servers, and their connections to the processes.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use super::redis::{EPOCH_US, Server};
use crate::binding::ClockRollback;
use crate::clock::{Now, micros};

thread_local! {
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
    static PROCESS: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The whole environment of the code under test.
#[derive(Debug)]
pub(crate) struct World {
    began: Instant,
    dice: Mutex<u64>,
    /// No message is late, and no connection is reset.
    is_calm: AtomicBool,
    pub(crate) servers: Mutex<Vec<Server>>,
    processes: Mutex<Vec<Host>>,
    /// Notified after a write, a repair, a wake-up or a promotion.
    pub(crate) changed: Notify,
    /// The server that processes connect to.
    pub(crate) primary: Mutex<usize>,
}

/// The error of a clock that runs too fast or too slow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Drift {
    ppm: i64,
    since_us: u64,
    before_us: i64,
}

impl Drift {
    pub(crate) fn at(&self, true_us: u64) -> i64 {
        let went_us = i64::try_from(true_us.saturating_sub(self.since_us)).unwrap_or(0);
        self.before_us + went_us.saturating_mul(self.ppm) / 1_000_000
    }

    /// From now on it runs fast by `ppm` parts per million.
    pub(crate) fn change(&mut self, ppm: i64, true_us: u64) {
        *self = Self { ppm, since_us: true_us, before_us: self.at(true_us) };
    }
}

/// The environment of one process.
#[derive(Debug, Default)]
struct Host {
    skew_us: i64,
    drift: Drift,
    tasks: Vec<AbortHandle>,
    /// The servers that it can't reach.
    cut_off: Vec<usize>,
    /// Its record of clock rollbacks. It outlives the history, as it outlives everything in a real
    /// process.
    set_back: OnceLock<&'static ClockRollback>,
}

impl World {
    /// A world on this thread until the guard is dropped, with `servers` of which the first is the
    /// primary.
    pub(crate) fn begin(seed: u64, servers: usize) -> (Arc<Self>, Ending) {
        let servers = (0..servers).map(|i| Server::new(i as u64 + 1, i == 0)).collect();
        let world = Arc::new(Self {
            began: Instant::now(),
            dice: Mutex::new(seed),
            is_calm: AtomicBool::new(false),
            servers: Mutex::new(servers),
            processes: Mutex::default(),
            changed: Notify::new(),
            primary: Mutex::new(0),
        });
        WORLD.set(Some(Arc::clone(&world)));
        for replica in 0..world.servers.lock().len() {
            tokio::spawn(replicate(Arc::clone(&world), replica));
        }
        (world, Ending)
    }

    /// A world without random faults: only those of the history happen.
    pub(crate) fn begin_calm(seed: u64, servers: usize) -> (Arc<Self>, Ending) {
        let (world, ending) = Self::begin(seed, servers);
        world.is_calm.store(true, Ordering::Relaxed);
        (world, ending)
    }

    /// Whether a connection is reset now.
    pub(super) fn resets(&self) -> bool {
        !self.is_calm.load(Ordering::Relaxed) && self.once_in(2_000)
    }

    /// A world without servers, for random numbers only; it needs no runtime.
    pub(super) fn chance(seed: u64) -> Self {
        Self {
            began: Instant::now(),
            dice: Mutex::new(seed),
            is_calm: AtomicBool::new(false),
            servers: Mutex::default(),
            processes: Mutex::default(),
            changed: Notify::new(),
            primary: Mutex::new(0),
        }
    }

    /// The world of this thread.
    pub(super) fn current() -> Option<Arc<Self>> {
        WORLD.with_borrow(Clone::clone)
    }

    /// Microseconds since the beginning.
    pub(crate) fn true_us(&self) -> u64 {
        micros(self.began.elapsed())
    }

    /// A number below `end`: `SplitMix64`, by Sebastiano Vigna.
    pub(crate) fn roll(&self, end: u64) -> u64 {
        let mut dice = self.dice.lock();
        *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// True once in `times` calls, on average.
    pub(crate) fn once_in(&self, times: u64) -> bool {
        self.roll(times) == 0
    }

    /// The delay of a message: usually below 3 ms, sometimes far longer.
    pub(super) fn delay(&self) -> Duration {
        let is_late = !self.is_calm.load(Ordering::Relaxed) && self.once_in(100);
        let ms = if is_late { self.roll(200) } else { self.roll(3) };
        Duration::from_millis(ms)
    }

    pub(crate) fn add_process(&self) -> usize {
        let mut processes = self.processes.lock();
        processes.push(Host::default());
        processes.len() - 1
    }

    /// Ends all tasks of a process at once.
    pub(crate) fn kill(&self, process: usize) {
        let tasks = std::mem::take(&mut self.processes.lock()[process].tasks);
        for task in tasks {
            task.abort();
        }
    }

    /// Sets the wall clock of a process.
    pub(crate) fn skew(&self, process: usize, skew_us: i64) {
        self.processes.lock()[process].skew_us = skew_us;
    }

    /// The wall clock of a process.
    pub(crate) fn clock_us(&self, process: usize) -> u64 {
        let (true_us, host) = (self.true_us(), &self.processes.lock()[process]);
        (EPOCH_US + true_us).saturating_add_signed(host.skew_us + host.drift.at(true_us))
    }

    /// From now on the wall clock of a process runs fast by `ppm` parts per million.
    pub(crate) fn drift(&self, process: usize, ppm: i64) {
        let true_us = self.true_us();
        self.processes.lock()[process].drift.change(ppm, true_us);
    }

    pub(crate) fn reaches(&self, process: usize, server: usize) -> bool {
        !self.processes.lock()[process].cut_off.contains(&server)
    }

    /// The number of replicas that have the first `written` commands of `server`.
    pub(super) fn replicas_with(&self, server: usize, written: usize) -> u64 {
        let servers = self.servers.lock();
        let has = |(number, replica): (usize, &Server)| {
            number != server && replica.is_alive && !replica.is_primary && replica.has >= written
        };
        servers.iter().enumerate().filter(|item| has((item.0, item.1))).count() as u64
    }

    /// Promotes a replica with the data it has; processes that connect from now on reach it.
    pub(crate) fn promote(&self, replica: usize) {
        let mut servers = self.servers.lock();
        let old = std::mem::replace(&mut *self.primary.lock(), replica);
        if old == replica {
            return;
        }
        let mut promoted = std::mem::replace(&mut servers[replica], Server::new(0, false));
        promoted.take_over(&servers[old], promoted.has);
        servers[replica] = promoted;
        // The others follow the new primary and lose all later writes.
        let written = servers[replica].written();
        for (number, server) in servers.iter_mut().enumerate() {
            if number != replica {
                server.has = server.has.min(written);
            }
        }
        drop(servers);
        self.changed.notify_waiters();
    }

    /// Makes an old primary, or a restarted server, a replica of the primary.
    pub(crate) fn demote(&self, server: usize, run: u64) {
        let mut servers = self.servers.lock();
        let server = &mut servers[server];
        server.restart(run, 0);
        (server.is_primary, server.has) = (false, 0);
        drop(servers);
        self.changed.notify_waiters();
    }

    /// Changes a server, and wakes the tasks that wait for a change.
    pub(crate) fn change(&self, server: usize, change: impl FnOnce(&mut Server)) {
        change(&mut self.servers.lock()[server]);
        self.changed.notify_waiters();
    }

    /// Cuts a process off from a server, or reconnects it.
    pub(crate) fn cut_off(&self, process: usize, server: usize, is_cut: bool) {
        let mut processes = self.processes.lock();
        let servers = &mut processes[process].cut_off;
        servers.retain(|other| *other != server);
        if is_cut {
            servers.push(server);
        }
        drop(processes);
        self.changed.notify_waiters();
    }
}

/// Copies the primary's writes to a replica, until the world ends.
async fn replicate(world: Arc<World>, replica: usize) {
    loop {
        let changed = world.changed.notified();
        let is_behind = || {
            let servers = world.servers.lock();
            let (server, primary) = (&servers[replica], &servers[*world.primary.lock()]);
            let follows = !server.is_primary && server.is_alive && !server.is_held;
            (follows && primary.is_alive && server.has < primary.written())
                .then(|| primary.written())
        };
        if is_behind().is_none() {
            changed.await;
            continue;
        }
        tokio::time::sleep(world.delay()).await;
        if let Some(written) = is_behind() {
            world.change(replica, |server| server.has = written);
        }
    }
}

/// Ends the world of its thread when it is dropped.
#[must_use]
pub(crate) struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

/// The clocks of the running process; `None` outside of a simulation.
pub(crate) fn now() -> Option<Now> {
    let world = World::current()?;
    let true_us = world.true_us();
    let unix_us = PROCESS.get().map_or(EPOCH_US + true_us, |process| world.clock_us(process));
    Some(Now { unix_us, mono_us: true_us + 1 })
}

/// The clock rollbacks that the running process detected; `None` outside of a simulation.
pub(crate) fn set_back() -> Option<&'static ClockRollback> {
    let (world, process) = (World::current()?, PROCESS.get()?);
    let processes = world.processes.lock();
    Some(processes[process].set_back.get_or_init(|| Box::leak(Box::default())))
}

/// Fills `bytes` from the seed of the history; `false` outside of a simulation.
pub(crate) fn fill_random(bytes: &mut [u8]) -> bool {
    let Some(world) = World::current() else { return false };
    for byte in bytes {
        *byte = u8::try_from(world.roll(256)).unwrap_or_default();
    }
    true
}

/// Starts a task of the running process, which ends with it. `Err` outside of a simulation.
pub(crate) fn spawn<F>(task: F) -> Result<JoinHandle<F::Output>, F>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let (Some(world), Some(process)) = (World::current(), PROCESS.get()) else { return Err(task) };
    let handle = tokio::spawn(inside(process, task));
    world.processes.lock()[process].tasks.push(handle.abort_handle());
    Ok(handle)
}

/// Runs `call` as the process `process`.
pub(crate) fn as_process<T>(process: usize, call: impl FnOnce() -> T) -> T {
    let before = PROCESS.replace(Some(process));
    let answer = call();
    PROCESS.set(before);
    answer
}

/// A task that runs as the process `process`.
pub(crate) fn inside<F: Future>(process: usize, task: F) -> impl Future<Output = F::Output> {
    Inside { process, task: Box::pin(task) }
}

/// The process whose code is running.
pub(super) fn running_process() -> usize {
    PROCESS.get().expect("only a process connects")
}

struct Inside<F> {
    process: usize,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        as_process(this.process, || this.task.as_mut().poll(context))
    }
}
