//! A service: its processes and their environment.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};

use super::faults::Troubles;
use super::process::Process;
use super::world::World;

/// A primary and its replicas.
pub(super) const SERVERS: usize = 3;

/// The service while a history is played.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) world: Arc<World>,
    config: serde_json::Value,
    processes: Mutex<Vec<Process>>,
    pub(super) troubles: Mutex<Troubles>,
}

impl Service {
    /// Starts `processes` processes with the same options.
    pub(super) fn start(world: &Arc<World>, config: serde_json::Value, processes: usize) -> Self {
        let start = || Process::start(world, config.clone());
        Self {
            processes: Mutex::new((0..processes).map(|_| start()).collect()),
            troubles: Mutex::default(),
            config,
            world: Arc::clone(world),
        }
    }

    /// Waits until every process may decide about tokens, for ten seconds at most.
    pub(super) async fn be_ready(&self) {
        for _ in 0..100 {
            if self.processes().iter().all(Process::is_ready) {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub(super) fn processes(&self) -> Vec<Process> {
        self.processes.lock().clone()
    }

    /// Whether the primary answers and every process reaches it.
    pub(super) fn is_well(&self) -> bool {
        let primary = *self.world.primary.lock();
        let answers = {
            let servers = self.world.servers.lock();
            servers[primary].is_alive && !servers[primary].hangs
        };
        let reaches = |process: &Process| self.world.reaches(process.number, primary);
        answers && self.processes().iter().all(reaches)
    }

    /// The process at an index, modulo the number of processes.
    pub(super) fn process(&self, number: usize) -> Process {
        let processes = self.processes.lock();
        processes[number % processes.len()].clone()
    }

    /// A process dies, and another one starts in its place.
    pub(super) fn replace(&self, number: usize) {
        let next = Process::start(&self.world, self.config.clone());
        let started = (self.world.true_us(), next.number);
        let mut processes = self.processes.lock();
        let place = number % processes.len();
        let killed = std::mem::replace(&mut processes[place], next);
        drop(processes);
        killed.kill();
        let now_us = self.world.true_us();
        let mut troubles = self.troubles.lock();
        troubles.unreliable.push((now_us, killed.number));
        troubles.died.push((now_us, killed.number));
        troubles.started.push(started);
    }

    /// One more process starts: it has no data except that of the servers.
    pub(super) async fn add_process(&self) {
        let late = Process::start(&self.world, self.config.clone());
        self.troubles.lock().started.push((self.world.true_us(), late.number));
        self.processes.lock().push(late);
        self.be_ready().await;
    }

    /// Repairs everything and waits: all steps end, and every bound of seconds passes.
    pub(super) async fn heal(&self, begun: &[JoinHandle<()>]) {
        let world = &self.world;
        // The last fault must happen before the repair.
        sleep(Duration::from_millis(1)).await;
        self.changed();
        for process in self.processes() {
            for server in 0..SERVERS {
                world.cut_off(process.number, server, false);
            }
        }
        for server in 0..SERVERS {
            world.change(server, |server| (server.hangs, server.is_held) = (false, false));
        }
        for _ in 0..60 {
            if begun.iter().all(JoinHandle::is_finished) {
                break;
            }
            sleep(Duration::from_millis(250)).await;
        }
        let primary = *world.primary.lock();
        world.change(primary, |server| server.is_alive = true);
        self.changed();
        sleep(Duration::from_secs(7)).await;
    }
}

/// The item of a list at an index, modulo its length.
pub(super) fn one_of<T: Clone>(list: &Mutex<Vec<T>>, number: usize) -> Option<T> {
    let list = list.lock();
    (!list.is_empty()).then(|| list[number % list.len()].clone())
}
