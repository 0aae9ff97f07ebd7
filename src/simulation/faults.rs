//! The faults of histories of any kind.

use std::ops::Range;
use std::sync::Arc;

use tokio::time::{Duration, sleep};

use super::redis::{EPOCH_US, Server};
use super::service::{SERVERS, Service};
use super::world::World;

/// One fault, or its repair. A number selects a process by index, modulo the number of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A process dies, and another one starts in its place.
    KillProcess(usize),
    CutOff(usize),
    Heal(usize),
    SkewProcess(usize, i64),
    /// The primary hangs, or continues.
    Hang,
    Wake,
    /// Writes of the primary reach the replicas late, or not at all.
    HoldReplicas,
    ReleaseReplicas,
    /// The primary dies, and a replica takes over after this many milliseconds.
    FailOver(u64),
    /// The primary dies, and starts again after this many milliseconds: with all its data if true,
    /// or empty.
    Restart(u64, bool),
    /// The primary has lost its data, and is up at once.
    Flush,
    /// The primary is out of memory and evicts the key at this index.
    Evict(usize),
    SkewServers(i64),
    /// The wall clock of a process, or of all servers, runs fast by this many parts per million.
    DriftProcess(usize, i64),
    DriftServers(i64),
}

impl Fault {
    /// A random fault.
    pub(super) fn draw(world: &World) -> Self {
        let number = usize::try_from(world.roll(64)).unwrap_or_default();
        let skew = i64::try_from(world.roll(240_000_000)).unwrap_or(0) - 120_000_000;
        match world.roll(11) {
            0 => Self::KillProcess(number),
            1 => Self::CutOff(number),
            2..=3 => Self::Heal(number),
            4 => Self::SkewProcess(number, skew),
            5 => Self::Hang,
            6 => Self::Wake,
            7 => Self::HoldReplicas,
            8 => Self::ReleaseReplicas,
            9 => Self::FailOver(world.roll(9_000)),
            _ if number % 4 == 0 => Self::Flush,
            _ => Self::SkewServers(skew),
        }
    }
}

/// The faults so far, for the verdict. Times are microseconds since the beginning.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Processes that died or were cut off, with the time.
    pub(super) unreliable: Vec<(u64, usize)>,
    /// The times at which the servers may have lost stored data.
    pub(super) lost_us: Vec<u64>,
    /// The times at which the clocks of all servers were set, with the step.
    pub(super) clock_steps: Vec<(u64, i64)>,
    /// The times at which a process's clock was set before it had met the servers.
    pub(super) set_alone: Vec<(u64, usize)>,
    /// The start times of processes, except the first ones.
    pub(super) started: Vec<(u64, usize)>,
    /// The times at which a server evicted a live key.
    pub(super) evicted_us: Vec<u64>,
    /// The times at which processes died.
    pub(super) died: Vec<(u64, usize)>,
    /// The times at which a server, or a connection to one, failed or recovered.
    pub(super) changed_us: Vec<u64>,
    /// The spans in which any of them was away; the last one may be open.
    pub(super) away_us: Vec<(u64, Option<u64>)>,
}

impl Troubles {
    /// Whether the process has died or was cut off.
    pub(super) fn is_unreliable(&self, process: usize) -> bool {
        self.unreliable.iter().any(|(_, other)| *other == process)
    }

    /// Whether the process has died.
    pub(super) fn has_died(&self, process: usize) -> bool {
        self.died.iter().any(|(_, other)| *other == process)
    }

    /// The number of changes to servers and connections since `since_us`.
    pub(super) fn changes_since(&self, since_us: u64) -> u64 {
        self.changed_us.iter().filter(|us| **us >= since_us).count() as u64
    }

    /// The number of spans since `since_us`, of at least `least_us`, in which a process may have
    /// been away from the servers. Spans in quick succession count as one, since reconnecting takes
    /// a moment too.
    pub(super) fn outages_since(&self, since_us: u64, least_us: u64, now_us: u64) -> u64 {
        let mut spells: Vec<(u64, u64)> = Vec::new();
        for (from_us, to_us) in &self.away_us {
            let to_us = to_us.unwrap_or(now_us);
            match spells.last_mut() {
                Some((_, end_us)) if *from_us <= *end_us + least_us => *end_us = to_us,
                _ => spells.push((*from_us, to_us)),
            }
        }
        let counts = |(from_us, to_us): &&(u64, u64)| {
            *to_us >= since_us && to_us.saturating_sub(*from_us) >= least_us
        };
        spells.iter().filter(counts).count() as u64
    }

    /// The number of times since `since_us` at which the servers may have lost data.
    pub(super) fn losses_since(&self, since_us: u64) -> u64 {
        self.lost_us.iter().filter(|us| **us >= since_us).count() as u64
    }

    /// The number of steps of the servers' clocks since `since_us`.
    pub(super) fn steps_since(&self, since_us: u64) -> u64 {
        self.clock_steps.iter().filter(|(us, _)| *us >= since_us).count() as u64
    }

    /// The start time of a process.
    pub(super) fn started_us(&self, process: usize) -> u64 {
        self.started.iter().find(|(_, number)| *number == process).map_or(0, |(us, _)| *us)
    }

    /// The lead of the servers' clock: from, to, and by how much.
    pub(super) fn skews(&self) -> impl Iterator<Item = (u64, u64, i64)> {
        let mut skew_us = 0;
        let begins = std::iter::once(&(0, 0)).chain(&self.clock_steps);
        let ends = self.clock_steps.iter().map(|(us, _)| *us).chain([u64::MAX]);
        begins.zip(ends).map(move |((from_us, by_us), to_us)| {
            skew_us += by_us;
            (*from_us, to_us, skew_us)
        })
    }

    /// The number of windows of `window_us`, by the clock of the servers, that `time` may touch.
    /// Another window begins at each step of that clock.
    pub(super) fn windows(&self, window_us: u64, time: Range<u64>) -> u64 {
        let within = |(from_us, to_us, skew_us): (u64, u64, i64)| {
            let (from_us, to_us) = (from_us.max(time.start), to_us.min(time.end));
            let window = |us: u64| (EPOCH_US + us).saturating_add_signed(skew_us) / window_us;
            (from_us <= to_us).then(|| window(to_us) - window(from_us) + 1)
        };
        self.skews().filter_map(within).sum()
    }

    /// Whether the servers may have lost data that was stored at `stored_us`.
    pub(super) fn has_lost(&self, stored_us: u64) -> bool {
        self.lost_us.iter().any(|lost_us| *lost_us >= stored_us)
    }
}

impl Service {
    pub(super) async fn go_wrong(self: Arc<Self>, fault: Fault) {
        let (world, now_us) = (&self.world, self.world.true_us());
        let primary = *world.primary.lock();
        let was_well = self.is_well();
        match fault {
            Fault::KillProcess(number) => self.replace(number),
            Fault::CutOff(number) => {
                let process = self.process(number);
                self.troubles.lock().unreliable.push((now_us, process.number));
                for server in 0..SERVERS {
                    world.cut_off(process.number, server, true);
                }
            }
            Fault::Heal(number) => {
                let process = self.process(number);
                for server in 0..SERVERS {
                    world.cut_off(process.number, server, false);
                }
            }
            Fault::SkewProcess(number, skew_us) => {
                let process = self.process(number);
                if !process.has_met_the_servers() {
                    self.troubles.lock().set_alone.push((now_us, process.number));
                }
                world.skew(process.number, skew_us);
            }
            Fault::Hang => world.change(primary, |server| server.hangs = true),
            Fault::Wake => world.change(primary, |server| server.hangs = false),
            Fault::HoldReplicas | Fault::ReleaseReplicas => {
                let holds = fault == Fault::HoldReplicas;
                for replica in (0..SERVERS).filter(|server| *server != primary) {
                    world.change(replica, |server| server.is_held = holds);
                }
            }
            Fault::FailOver(ms) => self.fail_over(ms).await,
            Fault::Restart(ms, keeps) => self.restart(ms, keeps).await,
            Fault::Flush => {
                self.data_lost();
                world.change(primary, Server::flush);
            }
            Fault::Evict(number) => {
                self.data_lost();
                self.troubles.lock().evicted_us.push(now_us);
                world.change(primary, |server| server.evict(number));
            }
            Fault::SkewServers(skew_us) => self.set_clocks(skew_us),
            Fault::DriftProcess(number, ppm) => world.drift(self.process(number).number, ppm),
            Fault::DriftServers(ppm) => {
                self.troubles.lock().clock_steps.push((now_us, 0));
                for server in 0..SERVERS {
                    world.change(server, |server| server.drift.change(ppm, now_us));
                }
            }
        }
        if !was_well || !self.is_well() {
            self.changed();
        }
    }

    /// Records that a server, or a connection to one, has changed.
    pub(super) fn changed(&self) {
        let (now_us, is_well) = (self.world.true_us(), self.is_well());
        let mut troubles = self.troubles.lock();
        troubles.changed_us.push(now_us);
        match troubles.away_us.last_mut() {
            Some((_, end @ None)) if is_well => *end = Some(now_us),
            Some((_, None)) => {}
            _ if is_well => {}
            _ => troubles.away_us.push((now_us, None)),
        }
    }

    fn data_lost(&self) {
        let now_us = self.world.true_us();
        self.troubles.lock().lost_us.push(now_us);
    }

    fn set_clocks(&self, skew_us: i64) {
        let (world, now_us) = (&self.world, self.world.true_us());
        let before_us = world.servers.lock()[*world.primary.lock()].skew_us;
        self.troubles.lock().clock_steps.push((now_us, skew_us - before_us));
        for server in 0..SERVERS {
            world.change(server, |server| server.skew_us = skew_us);
        }
    }

    /// The most complete replica takes over; the old primary returns as its replica.
    async fn fail_over(&self, ms: u64) {
        let world = &self.world;
        let old = *world.primary.lock();
        world.change(old, |server| server.is_alive = false);
        self.changed();
        sleep(Duration::from_millis(ms)).await;
        let next = {
            let servers = world.servers.lock();
            if *world.primary.lock() != old {
                return;
            }
            let others = (0..SERVERS).filter(|number| *number != old);
            let next = others.max_by_key(|i| (servers[*i].is_alive, servers[*i].has));
            let Some(next) = next else { return };
            if servers[next].has < servers[old].written() {
                self.data_lost();
            }
            next
        };
        // The old primary may have been started again meanwhile: it is not a primary next to the
        // new one.
        world.change(old, |server| server.is_alive = false);
        world.promote(next);
        self.changed();
        sleep(Duration::from_millis(world.roll(3_000))).await;
        let run = world.roll(u64::MAX);
        // It may be the primary again, after another failover in between.
        if *world.primary.lock() != old {
            world.demote(old, run);
        }
    }

    async fn restart(&self, ms: u64, keeps: bool) {
        let world = &self.world;
        let primary = *world.primary.lock();
        world.change(primary, |server| server.is_alive = false);
        self.changed();
        sleep(Duration::from_millis(ms)).await;
        let is_primary = |server: &Server| server.is_primary && !server.is_alive;
        if *world.primary.lock() != primary || !is_primary(&world.servers.lock()[primary]) {
            return;
        }
        if !keeps {
            self.data_lost();
        }
        self.changed();
        let run = world.roll(u64::MAX);
        world.change(primary, |server| {
            let written = server.written();
            server.restart(run, written);
            if !keeps {
                server.flush();
            }
        });
        self.changed();
    }
}
