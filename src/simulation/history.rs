//! Histories: what clients do and what goes wrong, drawn by a seed, played, and made short.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Duration, sleep};

use super::invariants::{Violation, Watch};
use super::process::{Login, Process};
use super::world::World;
use crate::engine::refresh::RefreshError;

/// How many processes a service has.
const PROCESSES: usize = 3;
/// A primary and its replicas.
const SERVERS: usize = 3;
/// What happens after a step, before the next one: up to so many milliseconds.
const LONGEST_PAUSE_MS: u64 = 1_500;

/// One thing that happens. Numbers name a process, a token or an address by its place, modulo how
/// many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Issue(usize),
    Request(usize, usize),
    Revoke(usize, usize),
    LogIn(usize),
    Refresh(usize, usize),
    LogOut(usize, usize),
    /// Requests of one client, at once, at all processes.
    Burst(usize),
    Block(usize, usize),
    Unblock(usize, usize),
    KillProcess(usize),
    CutOff(usize),
    Heal(usize),
    SkewProcess(usize, i64),
    /// The primary hangs, or goes on.
    Hang,
    Wake,
    /// What the primary writes reaches the replicas late, or not at all.
    HoldReplicas,
    ReleaseReplicas,
    /// The primary dies, and a replica takes over in so many milliseconds.
    FailOver(u64),
    /// The primary has lost what it had, and is there at once.
    Flush,
    SkewServers(i64),
}

/// Draws a history: as many steps, with pauses in milliseconds.
pub(super) fn draw(world: &World, length: usize) -> Vec<(u64, Step)> {
    (0..length)
        .map(|_| {
            let pause = if world.once_in(8) { LONGEST_PAUSE_MS * 4 } else { LONGEST_PAUSE_MS };
            (world.roll(pause), draw_step(world))
        })
        .collect()
}

fn draw_step(world: &World) -> Step {
    let number = || usize::try_from(world.roll(64)).unwrap_or_default();
    let (a, b) = (number(), number());
    let skew = i64::try_from(world.roll(240_000_000)).unwrap_or(0) - 120_000_000;
    match world.roll(40) {
        0..=4 => Step::Issue(a),
        5..=13 => Step::Request(a, b),
        14..=18 => Step::Revoke(a, b),
        19..=20 => Step::LogIn(a),
        21..=23 => Step::Refresh(a, b),
        24 => Step::LogOut(a, b),
        25..=26 => Step::Burst(b),
        27 => Step::Block(a, b),
        28 => Step::Unblock(a, b),
        29 => Step::KillProcess(a),
        30 => Step::CutOff(a),
        31..=32 => Step::Heal(a),
        33 => Step::SkewProcess(a, skew),
        34 => Step::Hang,
        35 => Step::Wake,
        36 => Step::HoldReplicas,
        37 => Step::ReleaseReplicas,
        38 => Step::FailOver(world.roll(9_000)),
        _ if b % 4 == 0 => Step::Flush,
        _ => Step::SkewServers(skew),
    }
}

/// The service while a history is played.
struct Service {
    world: Arc<World>,
    config: serde_json::Value,
    processes: Mutex<Vec<Process>>,
    tokens: Mutex<Vec<String>>,
    logins: Mutex<Vec<Login>>,
    watch: Watch,
}

/// Plays a history; `seed` draws what the network does.
pub(super) fn play(seed: u64, steps: &[(u64, Step)]) -> Result<(), Violation> {
    super::simulate(async {
        let (world, _ending) = World::begin(seed, SERVERS);
        let min_replicas = u64::from(seed.is_multiple_of(3));
        let config = json!({
            "jwt": {
                "issuer": "https://id.example", "audience": "api",
                "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV", "refresh": true,
            },
            "rateLimit": {
                "name": "api", "limit": 5, "window": "1m", "exact": true, "onStoreFailure": "closed",
            },
            "store": { "redis": { "minReplicas": min_replicas } },
        });
        let start = || Process::start(&world, config.clone());
        let service = Arc::new(Service {
            processes: Mutex::new((0..PROCESSES).map(|_| start()).collect()),
            watch: Watch::new(&world),
            tokens: Mutex::default(),
            logins: Mutex::default(),
            config,
            world: Arc::clone(&world),
        });
        for _ in 0..100 {
            if service.processes.lock().iter().all(Process::is_ready) {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        for (pause, step) in steps {
            sleep(Duration::from_millis(*pause)).await;
            // Nobody waits for what has begun before something else does.
            tokio::spawn(Arc::clone(&service).act(*step));
        }
        service.settle().await;
        service.watch.verdict()
    })
}

impl Service {
    fn process(&self, number: usize) -> Process {
        let processes = self.processes.lock();
        processes[number % processes.len()].clone()
    }

    fn one_of<T: Clone>(list: &Mutex<Vec<T>>, number: usize) -> Option<T> {
        let list = list.lock();
        (!list.is_empty()).then(|| list[number % list.len()].clone())
    }

    async fn act(self: Arc<Self>, step: Step) {
        match step {
            Step::Issue(process) => {
                let token = self.process(process).issue("ada");
                self.tokens.lock().push(token);
            }
            Step::Request(process, token) => {
                if let Some(token) = Self::one_of(&self.tokens, token) {
                    self.request(&self.process(process), &token).await;
                }
            }
            Step::Revoke(process, token) => {
                if let Some(token) = Self::one_of(&self.tokens, token) {
                    self.revoke(&self.process(process), &token).await;
                }
            }
            Step::LogIn(process) => {
                if let Ok(login) = self.process(process).log_in("ada").await {
                    self.logins.lock().push(login);
                }
            }
            Step::Refresh(process, login) => self.refresh(&self.process(process), login).await,
            Step::LogOut(process, login) => {
                if let Some(login) = Self::one_of(&self.logins, login) {
                    let process = self.process(process);
                    self.watch.ending(&login.session);
                    if process.log_out(&login.session).await.is_ok() {
                        self.watch.ended(&login.session, process.number);
                    }
                }
            }
            Step::Burst(client) => self.burst(client).await,
            Step::Block(process, client) | Step::Unblock(process, client) => {
                let blocks = matches!(step, Step::Block(..));
                // What comes of it is asked for once all processes agree about changes.
                let _ = self.process(process).block(&address(client), blocks).await;
            }
            fault => self.go_wrong(fault).await,
        }
    }

    async fn request(&self, process: &Process, token: &str) {
        let began_us = self.world.true_us();
        // An address of its own: limits are asked elsewhere.
        let address = format!("2001:db8:{:x}::1", self.world.roll(65_536));
        let outcome = process.request(Some(token), &address).await;
        self.watch.token_answered(token, process.number, began_us, &outcome);
    }

    async fn revoke(&self, process: &Process, token: &str) {
        self.watch.revoking(token);
        let stored = process.revoke_token(token).await;
        if stored.is_ok() {
            self.watch.revoked(token, process.number);
        }
    }

    async fn refresh(&self, process: &Process, number: usize) {
        let Some(login) = Self::one_of(&self.logins, number) else { return };
        let began_us = self.world.true_us();
        let outcome = process.refresh(&login).await;
        match outcome {
            Ok(next) => {
                self.watch.refreshed(&login.session, began_us);
                let mut logins = self.logins.lock();
                if let Some(kept) = logins.iter_mut().find(|kept| kept.refresh == login.refresh) {
                    *kept = next;
                }
            }
            Err(RefreshError::Invalid | RefreshError::Reused | RefreshError::Unsealed) => {
                let is_current =
                    self.logins.lock().iter().any(|kept| kept.refresh == login.refresh);
                if is_current {
                    self.watch.session_refused(&login.session);
                }
            }
            // The token may be used up, and nobody has the next one: it has to be asked for in time.
            Err(RefreshError::Store(_)) => self.watch.refresh_unanswered(&login.session),
            Err(_) => {}
        }
    }

    /// Ten requests at once, at all processes.
    async fn burst(&self, client: usize) {
        let token = self.process(client).issue("eve");
        let address = address(client);
        let ask = |number: usize| {
            let (process, token, address) = (self.process(number), &token, &address);
            async move {
                let outcome = process.request(Some(token), address).await;
                self.watch.limited(address, &outcome);
            }
        };
        for number in 0..10 {
            ask(number).await;
        }
    }

    async fn go_wrong(&self, fault: Step) {
        let world = &self.world;
        let primary = *world.primary.lock();
        match fault {
            Step::KillProcess(number) => {
                let next = Process::start(world, self.config.clone());
                let mut processes = self.processes.lock();
                let place = number % processes.len();
                let killed = std::mem::replace(&mut processes[place], next);
                drop(processes);
                killed.kill();
                self.watch.unreliable(killed.number);
            }
            Step::CutOff(number) => {
                let process = self.process(number);
                self.watch.unreliable(process.number);
                for server in 0..SERVERS {
                    world.cut_off(process.number, server, true);
                }
            }
            Step::Heal(number) => {
                let process = self.process(number);
                for server in 0..SERVERS {
                    world.cut_off(process.number, server, false);
                }
            }
            Step::SkewProcess(number, skew_us) => world.skew(self.process(number).number, skew_us),
            Step::Hang => world.change(primary, |server| server.hangs = true),
            Step::Wake => world.change(primary, |server| server.hangs = false),
            Step::HoldReplicas | Step::ReleaseReplicas => {
                let holds = fault == Step::HoldReplicas;
                for replica in (0..SERVERS).filter(|server| *server != primary) {
                    world.change(replica, |server| server.is_held = holds);
                }
            }
            Step::FailOver(ms) => self.fail_over(ms).await,
            Step::Flush => {
                self.watch.data_lost();
                world.change(primary, super::redis::Server::flush);
            }
            Step::SkewServers(skew_us) => {
                self.watch.server_clock_set();
                for server in 0..SERVERS {
                    world.change(server, |server| server.skew_us = skew_us);
                }
            }
            _ => {}
        }
    }

    /// The replica that has most takes over; the old primary comes back as its replica.
    async fn fail_over(&self, ms: u64) {
        let world = &self.world;
        let old = *world.primary.lock();
        world.change(old, |server| server.is_alive = false);
        sleep(Duration::from_millis(ms)).await;
        let next = {
            let servers = world.servers.lock();
            if *world.primary.lock() != old {
                return;
            }
            let others = (0..SERVERS).filter(|number| *number != old);
            let next = others.max_by_key(|number| servers[*number].has);
            let Some(next) = next else { return };
            if servers[next].has < servers[old].written() {
                self.watch.data_lost();
            }
            next
        };
        world.promote(next);
        sleep(Duration::from_millis(world.roll(3_000))).await;
        let run = world.roll(u64::MAX);
        world.demote(old, run);
    }

    /// Everything is well again, and has some time. Then every promise is asked for.
    async fn settle(&self) {
        let world = &self.world;
        let running = self.processes.lock().clone();
        for process in &running {
            for server in 0..SERVERS {
                world.cut_off(process.number, server, false);
            }
        }
        for server in 0..SERVERS {
            world.change(server, |server| (server.hangs, server.is_held) = (false, false));
        }
        sleep(Duration::from_secs(15)).await;
        let primary = *world.primary.lock();
        world.change(primary, |server| server.is_alive = true);
        sleep(Duration::from_secs(5)).await;
        let (processes, tokens) = (self.processes.lock().clone(), self.tokens.lock().clone());
        for process in &processes {
            for token in &tokens {
                self.request(process, token).await;
            }
        }
        let logins = self.logins.lock().len();
        for number in 0..logins {
            self.refresh(&processes[0], number).await;
        }
    }
}

fn address(client: usize) -> String {
    format!("192.0.2.{}", client % 4 + 1)
}

/// Takes steps away as long as what remains violates the same promise.
pub(super) fn shrink(seed: u64, steps: &[(u64, Step)], violation: &Violation) -> Vec<(u64, Step)> {
    let mut steps = steps.to_vec();
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(steps.len()));
            match play(seed, &fewer) {
                Err(other) if other.promise == violation.promise => steps = fewer,
                _ => from += size,
            }
        }
        size /= 2;
    }
    steps
}
