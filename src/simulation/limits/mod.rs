//! Histories of limits: leases, slots of concurrent requests, used proofs, runtime overrides, and
//! outages of the store.

mod client;
mod tests;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Duration, sleep};

use super::faults::Fault;
use super::history::{Kind, Promise, Step, Steps, Violation, haste};
use super::process::Process;
use super::service::{Service, one_of};
use super::world::World;
use crate::clients::ListAction;
pub(super) use client::Client;
use watch::{Asked, Made, Watch};

/// The number of processes of a service, also as its option.
const PROCESSES: u32 = 3;
/// A limit with leases: the count, and the window in milliseconds.
const LEASED: (u64, u64) = (100, 10_000);
/// Slots of concurrent requests, and the milliseconds after which a slot that is not renewed is
/// freed.
const SLOTS: (u64, u64) = (3, 8_000);
/// The values of `limits.set`; no share of one equals another one.
const FIGURES: [u64; 4] = [1009, 2027, 4001, 8009];

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Many requests of a client, this many milliseconds apart, at one process or at all.
    Flood(usize, u64, Option<usize>),
    /// Many requests of a new client: at one process up to the end of a window, at two after it.
    Turn(usize),
    /// One request of a client, under a limit that the store has to count.
    Closed(usize, usize),
    /// Two requests of a client, at two processes, in flight for this many milliseconds.
    Hold(usize, u64),
    /// A request with a new proof, and one with a used proof.
    Prove(usize),
    Replay(usize, usize),
    Block(usize, usize),
    Allow(usize, usize),
    Unlist(usize, usize),
    SetLimit(usize, usize),
    /// A request that shows the overrides of a client and of the limit.
    Look(usize, usize),
}

#[derive(Debug)]
pub(super) struct Limits {
    service: Arc<Service>,
    client: Client,
    proofs: Mutex<Vec<Made>>,
    /// Addresses that no client has used yet.
    next: AtomicU64,
    watch: Watch,
}

/// Whether the leased limit has aligned windows in the history of a seed.
fn is_aligned(seed: u64) -> bool {
    seed / 2 % 2 == 1
}

impl Kind for Limits {
    type Act = Act;
    const NAME: &'static str = "limits";
    const PROMISES: &'static [Promise] = watch::PROMISES;

    fn config(seed: u64) -> (serde_json::Value, usize) {
        let window = |ms: u64| format!("{ms}ms");
        let algorithm = if is_aligned(seed) { "fixed-window" } else { "gcra" };
        let config = json!({
            "jwt": {
                "issuer": "https://id.example", "audience": "api",
                "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV", "optional": true,
            },
            "rateLimit": [
                { "name": "leased", "limit": LEASED.0, "window": window(LEASED.1), "paths": ["/leased"],
                  "algorithm": algorithm },
                { "name": "slots", "concurrent": SLOTS.0, "timeout": window(SLOTS.1), "paths": ["/slots"] },
                { "name": "closed", "limit": 5, "window": "1m", "exact": true, "onStoreFailure": "closed",
                  "paths": ["/closed"] },
                { "name": "changed", "limit": 100, "window": "1h", "paths": ["/changed"] },
            ],
            "store": { "redis": { "processes": PROCESSES, "timeout": "25ms" } },
        });
        (config, PROCESSES as usize)
    }

    fn pause(world: &World) -> u64 {
        match world.roll(40) {
            0 => world.roll(80_000),
            1..=4 => world.roll(8_000),
            _ => world.roll(1_200),
        }
    }

    fn draw(world: &World) -> Step<Act> {
        let number = || usize::try_from(world.roll(64)).unwrap_or_default();
        let (a, b) = (number(), number());
        Step::Act(match world.roll(60) {
            0..=1 => Act::Flood(a, world.roll(20), (b % 2 == 0).then_some(b / 2)),
            2 => Act::Turn(a),
            3..=4 => Act::Closed(a, b),
            5..=14 => Act::Hold(a, world.roll(20_000)),
            15..=18 => Act::Prove(a),
            19..=24 => Act::Replay(a, b),
            25..=27 => Act::Block(a, b),
            28..=29 => Act::Allow(a, b),
            30..=31 => Act::Unlist(a, b),
            32..=34 => Act::SetLimit(a, b),
            35..=37 => Act::Look(a, b),
            _ => return Step::Fault(draw_fault(world)),
        })
    }

    fn draw_all(world: &World) -> Steps<Self> {
        let haste = haste(world);
        // In some histories only clocks fail, or only servers: then no other fault excuses a
        // violation.
        let trouble = world.roll(3);
        let step = || match (Self::draw(world), trouble) {
            (Step::Fault(_), 1) => Step::Fault(draw_step_of_clocks(world)),
            (Step::Fault(_), 2) => Step::Fault(draw_loss(world)),
            (step, _) => step,
        };
        (0..Self::STEPS).map(|_| (Self::pause(world) / haste, step())).collect()
    }

    fn begin(service: Arc<Service>, seed: u64) -> Self {
        let client = Client::new(&service.process(0));
        let watch = Watch::new(&service, is_aligned(seed));
        Self { service, client, proofs: Mutex::default(), next: AtomicU64::new(1), watch }
    }

    async fn act(self: Arc<Self>, act: Act) {
        match act {
            Act::Flood(client, ms, process) => self.flood(client, ms, process).await,
            Act::Turn(process) => self.turn(process).await,
            Act::Closed(process, client) => {
                let process = self.service.process(process);
                self.ask(&process, "/closed", &address(client)).await;
            }
            Act::Hold(process, ms) => {
                let processes = [self.service.process(process), self.service.process(process + 1)];
                let [one, other] = &processes;
                let also = tokio::spawn({
                    let (this, other) = (Arc::clone(&self), other.clone());
                    async move { this.hold(&other, ms).await }
                });
                self.hold(one, ms).await;
                also.await.expect("no step panics");
            }
            Act::Prove(process) => self.prove(&self.service.process(process)).await,
            Act::Replay(process, proof) => {
                if let Some(proof) = one_of(&self.proofs, proof) {
                    self.replay(&self.service.process(process), &proof).await;
                }
            }
            Act::Block(process, client) => {
                self.list(process, client, Some(ListAction::Blocked)).await;
            }
            Act::Allow(process, client) => {
                self.list(process, client, Some(ListAction::Allowed)).await;
            }
            Act::Unlist(process, client) => self.list(process, client, None).await,
            Act::SetLimit(process, figure) => self.set_limit(process, figure).await,
            Act::Look(process, client) => {
                let process = self.service.process(process);
                self.look(&process, &listed(client)).await;
                self.look_at_limit(&process).await;
            }
        }
    }

    async fn settle(&self) {
        let processes = self.service.processes();
        self.comes_back(&processes).await;
        self.all_places(&processes[0]).await;
        let proofs = self.proofs.lock().clone();
        for process in &processes {
            for proof in &proofs {
                self.replay(process, proof).await;
            }
            for address in (0..4).map(listed) {
                let seen = self.look(process, &address).await;
                self.watch.settled(&address, process.number, seen);
            }
            let figure = self.look_at_limit(process).await;
            self.watch.settled("limit", process.number, figure);
        }
    }

    fn verdict(&self) -> Result<(), Violation> {
        self.watch.verdict()
    }
}

/// Clocks are set by more than any retention time; the other faults are as elsewhere.
fn draw_fault(world: &World) -> Fault {
    let number = usize::try_from(world.roll(64)).unwrap_or_default();
    let skew = i64::try_from(world.roll(400_000_000)).unwrap_or(0) - 200_000_000;
    match world.roll(12) {
        0..=1 => Fault::SkewServers(skew),
        2 => Fault::Restart(world.roll(9_000), number % 2 == 0),
        3 if number % 4 == 0 => Fault::Evict(number / 4),
        4 => Fault::KillProcess(number),
        5 => Fault::Wake,
        6 => Fault::HoldReplicas,
        7 => Fault::FailOver(world.roll(3_000)),
        _ => Fault::draw(world),
    }
}

/// Clocks are set, and processes die.
fn draw_step_of_clocks(world: &World) -> Fault {
    let number = usize::try_from(world.roll(64)).unwrap_or_default();
    let skew = i64::try_from(world.roll(400_000_000)).unwrap_or(0) - 200_000_000;
    match world.roll(8) {
        0..=1 => Fault::SkewServers(skew),
        2 => Fault::SkewProcess(number, skew),
        3 => Fault::KillProcess(number),
        // No server hangs: this step does nothing except pass time.
        _ => Fault::Wake,
    }
}

/// Servers lose their data, and processes die.
fn draw_loss(world: &World) -> Fault {
    let number = usize::try_from(world.roll(64)).unwrap_or_default();
    match world.roll(16) {
        0 => Fault::Flush,
        1..=2 => Fault::FailOver(world.roll(3_000)),
        3 => Fault::Restart(world.roll(3_000), false),
        4..=5 => Fault::HoldReplicas,
        6 => Fault::ReleaseReplicas,
        7 => Fault::KillProcess(number),
        _ => Fault::Wake,
    }
}

impl Limits {
    /// Sends one request of this kind and records its outcome.
    async fn ask(&self, process: &Process, path: &'static str, address: &str) -> bool {
        let asked = Asked { path, process: process.number, began_us: self.watch.now_us() };
        let (outcome, exchange) = process.ask_for(path, address, &[]).await;
        self.watch.answered(&asked, address, &outcome, exchange.limits.first());
        process.end(exchange);
        outcome.is_passed()
    }

    async fn flood(&self, client: usize, ms: u64, at: Option<usize>) {
        for number in 0..200 {
            let process = self.service.process(at.unwrap_or(number));
            self.ask(&process, "/leased", &address(client)).await;
            sleep(Duration::from_millis(ms)).await;
        }
    }

    async fn turn(&self, process: usize) {
        let (window_us, address) = (LEASED.1 * 1000, self.unused());
        let end_us = self.watch.now_us() / window_us * window_us + window_us;
        let until = async |us: u64| {
            sleep(Duration::from_micros(us.saturating_sub(self.watch.now_us()))).await;
        };
        let (one, other) = (self.service.process(process), self.service.process(process + 1));
        until(end_us - 300_000).await;
        for _ in 0..50 {
            self.ask(&one, "/leased", &address).await;
            sleep(Duration::from_millis(4)).await;
        }
        until(end_us + 30_000).await;
        for (process, count) in [(&other, 120), (&one, 40), (&other, 40)] {
            for _ in 0..count {
                self.ask(process, "/leased", &address).await;
            }
        }
    }

    async fn hold(&self, process: &Process, ms: u64) {
        let asked =
            Asked { path: "/slots", process: process.number, began_us: self.watch.now_us() };
        let (outcome, exchange) = process.ask_for("/slots", "192.0.2.1", &[]).await;
        let began = self.watch.holds(&asked, &outcome, exchange.limits.first());
        if outcome.is_passed() {
            sleep(Duration::from_millis(ms)).await;
        }
        self.watch.ended(began);
        process.end(exchange);
    }

    async fn prove(&self, process: &Process) {
        let now_us = self.watch.now_us();
        let proof = (self.client.proof(now_us, None), now_us);
        let code = self.show(process, &proof.0).await;
        self.watch.proved(process.number, &proof, code, true);
        self.proofs.lock().push(proof);
    }

    async fn replay(&self, process: &Process, proof: &Made) {
        let code = self.show(process, &proof.0).await;
        self.watch.proved(process.number, proof, code, false);
    }

    async fn show(&self, process: &Process, proof: &str) -> &'static str {
        let asked =
            Asked { path: "/proof", process: process.number, began_us: self.watch.now_us() };
        let headers = [("Authorization", self.client.authorization.as_str()), ("DPoP", proof)];
        let (outcome, exchange) = process.ask_for("/proof", &self.unused(), &headers).await;
        self.watch.answered(&asked, "", &outcome, None);
        process.end(exchange);
        outcome.code()
    }

    async fn list(&self, process: usize, client: usize, standing: Option<ListAction>) {
        let (process, address) = (self.service.process(process), listed(client));
        let what = match standing {
            None => 0,
            Some(ListAction::Blocked) => 1,
            Some(ListAction::Allowed) => 2,
        };
        let call = self.watch.says(&address, process.number, what);
        let stored = process.list(&address, standing).await.is_ok();
        self.watch.said(&address, call, stored);
        let seen = self.look(&process, &address).await;
        self.watch.holds_here(&address, call, seen);
    }

    async fn set_limit(&self, process: usize, figure: usize) {
        let (process, figure) = (self.service.process(process), FIGURES[figure % FIGURES.len()]);
        let call = self.watch.says("limit", process.number, figure);
        let stored = process.set_limit("changed", figure).await.is_ok();
        self.watch.said("limit", call, stored);
        let seen = self.look_at_limit(&process).await;
        self.watch.holds_here("limit", call, seen);
    }

    /// The override of a client at a process: 1 for blocked, 2 for not limited.
    async fn look(&self, process: &Process, address: &str) -> Option<u64> {
        let began_us = self.watch.now_us();
        let (outcome, exchange) = process.ask_for("/changed", address, &[]).await;
        let seen = match outcome.code() {
            "client_blocked" => 1,
            "passed" if exchange.unlimited => 2,
            "passed" | "rate_limited" => 0,
            other => panic!("nothing else is said of a client: {other}"),
        };
        self.watch.looked(address, process.number, began_us, seen);
        Some(seen)
    }

    /// The figure of the limit at a process, if the store decided.
    async fn look_at_limit(&self, process: &Process) -> Option<u64> {
        for _ in 0..5 {
            let began_us = self.watch.now_us();
            let (_, exchange) = process.ask_for("/changed", &self.unused(), &[]).await;
            let seen = exchange.limits.first().map(|limit| limit.limit);
            let seen = seen.filter(|seen| *seen == 100 || FIGURES.contains(seen));
            if let Some(seen) = seen {
                self.watch.looked("limit", process.number, began_us, seen);
                return Some(seen);
            }
        }
        None
    }

    fn unused(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("2001:db8:{number:x}::1")
    }

    /// Exhausted keys recover within the time of a whole quota. If the clock of the servers was set
    /// back, that time starts with the next request.
    async fn comes_back(&self, processes: &[Process]) {
        for client in 0..2 {
            for _ in 0..20 {
                let (_, exchange) = processes[0].ask_for("/leased", &address(client), &[]).await;
                let by_store = exchange.limits.first().is_some_and(|limit| limit.limit == LEASED.0);
                processes[0].end(exchange);
                if by_store {
                    break;
                }
                sleep(Duration::from_millis(500)).await;
            }
        }
        sleep(Duration::from_millis(LEASED.1 + 1_500)).await;
        for process in processes {
            for client in 0..2 {
                let passes = self.ask(process, "/leased", &address(client)).await;
                self.watch.came_back(process.number, passes);
            }
        }
    }

    /// No slot is lost for ever: all of them can be taken at once.
    async fn all_places(&self, process: &Process) {
        sleep(Duration::from_millis(3 * SLOTS.1)).await;
        // If no process has asked for the key, slots of dead processes are freed half a timeout
        // after the next request for it.
        let (_, exchange) = process.ask_for("/slots", "192.0.2.1", &[]).await;
        process.end(exchange);
        sleep(Duration::from_millis(SLOTS.1)).await;
        let (mut held, mut counted) = (Vec::new(), 0);
        // The process may decide locally for a while, so it is asked again.
        for _ in 0..40 {
            let (outcome, exchange) = process.ask_for("/slots", "192.0.2.1", &[]).await;
            if outcome.is_passed() {
                let by_store = exchange.limits.first().is_some_and(|limit| limit.limit == SLOTS.0);
                counted += u64::from(by_store);
                held.push(exchange);
            }
            sleep(Duration::from_millis(500)).await;
        }
        self.watch.had_places(held.len() as u64, counted);
        for exchange in held {
            process.end(exchange);
        }
    }
}

fn address(client: usize) -> String {
    format!("192.0.2.{}", client % 2 + 1)
}

/// Clients with overrides.
fn listed(client: usize) -> String {
    format!("198.51.100.{}", client % 4 + 1)
}
