//! Histories of sessions and revocations, with an exact limit.

mod tests;
mod watch;

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::json;

use super::faults::Fault;
use super::history::{Kind, Promise, Step, Violation};
use super::process::{Login, Process};
use super::service::{Service, one_of};
use super::world::World;
use crate::engine::refresh::RefreshError;
use watch::Watch;

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
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
}

#[derive(Debug)]
pub(super) struct Sessions {
    service: Arc<Service>,
    tokens: Mutex<Vec<String>>,
    logins: Mutex<Vec<Login>>,
    watch: Watch,
}

impl Kind for Sessions {
    type Act = Act;
    const NAME: &'static str = "sessions";
    const PROMISES: &'static [Promise] = watch::PROMISES;

    fn config(seed: u64) -> (serde_json::Value, usize) {
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
        (config, 3)
    }

    fn draw(world: &World) -> Step<Act> {
        let number = || usize::try_from(world.roll(64)).unwrap_or_default();
        let (a, b) = (number(), number());
        Step::Act(match world.roll(40) {
            0..=4 => Act::Issue(a),
            5..=13 => Act::Request(a, b),
            14..=18 => Act::Revoke(a, b),
            19..=20 => Act::LogIn(a),
            21..=23 => Act::Refresh(a, b),
            24 => Act::LogOut(a, b),
            25..=26 => Act::Burst(b),
            27 => Act::Block(a, b),
            28 => Act::Unblock(a, b),
            _ => return Step::Fault(Fault::draw(world)),
        })
    }

    fn begin(service: Arc<Service>, _seed: u64) -> Self {
        let watch = Watch::new(&service);
        Self { service, tokens: Mutex::default(), logins: Mutex::default(), watch }
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
            Act::Burst(client) => self.burst(client).await,
            Act::Block(process, client) | Act::Unblock(process, client) => {
                let blocks = matches!(act, Act::Block(..));
                // What comes of it is asked for in histories of limits.
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
        let logins = self.logins.lock().len();
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
        // An address of its own: limits are asked elsewhere.
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
        let world = &self.service.world;
        let began_us = world.true_us();
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
}

fn address(client: usize) -> String {
    format!("192.0.2.{}", client % 4 + 1)
}
