//! Histories of sessions and revocations, with an exact limit.

mod tests;
mod watch;

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Duration, sleep};

use super::faults::Fault;
use super::history::{Kind, Promise, Step, Violation};
use super::process::{Login, Process};
use super::service::{Service, one_of};
use super::world::World;
use crate::guard::refresh::RefreshError;
use watch::Watch;

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Issue(usize),
    Request(usize, usize),
    Revoke(usize, usize),
    LogIn(usize),
    Refresh(usize, usize),
    LogOut(usize, usize),
    /// A used refresh token is presented.
    Replay(usize, usize),
    /// Requests of one client, one after the other, at all processes.
    Burst(usize),
    Block(usize, usize),
    Unblock(usize, usize),
}

/// The parameters that depend on the seed.
#[derive(Debug, Clone, Copy)]
struct Plan {
    reuse_window: Duration,
    /// Access tokens live for a minute, and refresh tokens are used again long after that.
    is_long: bool,
}

impl Plan {
    fn of(seed: u64) -> Self {
        let reuse_window =
            Duration::from_secs([0, 0, 2, 10][usize::from(seed.to_le_bytes()[0]) % 4]);
        Self { reuse_window, is_long: seed % 16 >= 14 }
    }
}

/// Longer than the retention of any data that belongs to access tokens alone.
const LONG: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Sessions {
    service: Arc<Service>,
    tokens: Mutex<Vec<String>>,
    logins: Mutex<Vec<Login>>,
    /// Refresh tokens that were used, each with its login.
    used: Mutex<Vec<Login>>,
    plan: Plan,
    watch: Watch,
}

impl Kind for Sessions {
    type Act = Act;
    const NAME: &'static str = "sessions";
    const PROMISES: &'static [Promise] = watch::PROMISES;

    fn config(seed: u64) -> (serde_json::Value, usize) {
        let min_replicas = u64::from(seed.is_multiple_of(3));
        let plan = Plan::of(seed);
        let mut config = json!({
            "jwt": {
                "issuer": "https://id.example", "audience": "api",
                "secret": "k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV",
                "refresh": { "reuseWindow": format!("{}s", plan.reuse_window.as_secs()) },
            },
            "rateLimit": {
                "name": "api", "limit": 5, "window": "1m", "exact": true, "onStoreFailure": "closed",
            },
            "store": { "redis": { "minReplicas": min_replicas } },
        });
        if plan.is_long {
            config["jwt"]["maxLifetime"] = "1m".into();
        }
        (config, 3)
    }

    fn draw(world: &World) -> Step<Act> {
        let number = || usize::try_from(world.roll(64)).unwrap_or_default();
        let (a, b) = (number(), number());
        Step::Act(match world.roll(43) {
            0..=4 => Act::Issue(a),
            5..=13 => Act::Request(a, b),
            14..=18 => Act::Revoke(a, b),
            19..=20 => Act::LogIn(a),
            21..=23 => Act::Refresh(a, b),
            24 => Act::LogOut(a, b),
            25..=26 => Act::Burst(b),
            27 => Act::Block(a, b),
            28 => Act::Unblock(a, b),
            29..=30 => Act::Replay(a, b),
            _ => return Step::Fault(draw_fault(world)),
        })
    }

    fn begin(service: Arc<Service>, seed: u64) -> Self {
        let plan = Plan::of(seed);
        let watch = Watch::new(&service, plan.reuse_window);
        Self {
            service,
            tokens: Mutex::default(),
            logins: Mutex::default(),
            used: Mutex::default(),
            plan,
            watch,
        }
    }

    async fn act(self: Arc<Self>, act: Act) {
        match act {
            Act::Issue(process) => {
                let token = self.process(process).issue("ada");
                self.tokens.lock().push(token);
            }
            Act::Request(process, token) => {
                if let Some(token) = one_of(&self.tokens, token) {
                    self.request(&self.process(process), &token).await;
                }
            }
            Act::Revoke(process, token) => {
                if let Some(token) = one_of(&self.tokens, token) {
                    self.revoke(&self.process(process), &token).await;
                }
            }
            Act::LogIn(process) => {
                if let Ok(login) = self.process(process).log_in("ada").await {
                    self.keep(&login);
                    self.logins.lock().push(login);
                }
            }
            Act::Refresh(process, login) => self.refresh(&self.process(process), login).await,
            Act::LogOut(process, login) => {
                if let Some(login) = one_of(&self.logins, login) {
                    let process = self.process(process);
                    self.watch.ending(&login.session);
                    if process.log_out(&login.session).await.is_ok() {
                        self.watch.ended(&login.session, process.number);
                    }
                }
            }
            Act::Replay(process, used) => self.replay(&self.process(process), used).await,
            Act::Burst(client) => self.burst(client).await,
            Act::Block(process, client) | Act::Unblock(process, client) => {
                let blocks = matches!(act, Act::Block(..));
                // Its effect is checked in histories of limits.
                let _ = self.process(process).block(&address(client), blocks).await;
            }
        }
    }

    async fn settle(&self) {
        self.service.add_process().await;
        let (processes, tokens) = (self.service.processes(), self.tokens.lock().clone());
        for process in &processes {
            for token in &tokens {
                self.request(process, token).await;
            }
        }
        if self.plan.is_long {
            sleep(LONG).await;
        }
        let (logins, used) = (self.logins.lock().len(), self.used.lock().len());
        // Every other one, so that some sessions continue.
        for number in (0..used).step_by(2) {
            self.replay(&processes[number % processes.len()], number).await;
        }
        for number in 0..logins {
            self.refresh(&processes[0], number).await;
        }
    }

    fn verdict(&self) -> Result<(), Violation> {
        self.watch.verdict()
    }
}

impl Sessions {
    fn process(&self, number: usize) -> Process {
        self.service.process(number)
    }

    async fn request(&self, process: &Process, token: &str) {
        let began_us = self.service.world.true_us();
        // Each request has its own address: limits are checked elsewhere.
        let address = format!("2001:db8:{:x}::1", self.service.world.roll(65_536));
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
        let Some(login) = one_of(&self.logins, number) else { return };
        let began_us = self.service.world.true_us();
        self.watch.presenting(&login);
        let outcome = process.refresh(&login).await;
        match outcome {
            Ok(next) => {
                self.watch.refreshed(&login.session, began_us);
                if self.watch.used(&login, began_us) {
                    self.used.lock().push(login.clone());
                }
                self.keep(&next);
                let mut logins = self.logins.lock();
                if let Some(kept) = logins.iter_mut().find(|kept| kept.refresh == login.refresh) {
                    *kept = next;
                }
            }
            Err(
                error @ (RefreshError::Invalid | RefreshError::Reused | RefreshError::Unsealed),
            ) => {
                let is_current =
                    self.logins.lock().iter().any(|kept| kept.refresh == login.refresh);
                if is_current {
                    self.watch.session_refused(&login);
                }
                if error == RefreshError::Reused {
                    self.watch.ending(&login.session);
                    self.watch.ended(&login.session, process.number);
                }
            }
            // The token may be used up, and its successor is lost. The client must ask again within
            // the window.
            Err(RefreshError::Store(_)) => self.watch.refresh_unanswered(&login.session),
            Err(_) => {}
        }
    }

    /// Records an access token of a session.
    fn keep(&self, login: &Login) {
        self.watch.issued(login);
        self.tokens.lock().push(login.access.clone());
    }

    async fn replay(&self, process: &Process, number: usize) {
        let Some(used) = one_of(&self.used, number) else { return };
        let began_us = self.service.world.true_us();
        self.watch.ending(&used.session);
        match process.refresh(&used).await {
            Ok(next) => {
                self.watch.replayed(&used, began_us);
                self.keep(&next);
            }
            Err(RefreshError::Reused) => self.watch.ended(&used.session, process.number),
            Err(_) => {}
        }
    }

    /// Ten requests in a row, at all processes.
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
}

/// The additional faults here: servers restart and evict keys, and clocks drift.
fn draw_fault(world: &World) -> Fault {
    let number = usize::try_from(world.roll(64)).unwrap_or_default();
    let ppm = i64::try_from(world.roll(400_000)).unwrap_or(0) - 200_000;
    match world.roll(14) {
        0 => Fault::Restart(world.roll(9_000), number % 2 == 0),
        1 if number % 2 == 0 => Fault::Evict(number / 2),
        2 => Fault::DriftProcess(number, ppm),
        3 if number % 2 == 0 => Fault::DriftServers(ppm),
        _ => Fault::draw(world),
    }
}

fn address(client: usize) -> String {
    format!("192.0.2.{}", client % 4 + 1)
}
