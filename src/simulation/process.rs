//! One process of a service: a guard, and the calls of an application.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};

use super::world::{World, as_process, inside};
use crate::clients::{ListAction, ListedClient};
use crate::clock::Now;
use crate::guard::refresh::{OpenError, RefreshError, Slot, Used};
use crate::guard::{Guard, Layers, RevocationList, Store};
use crate::net::Cidr;
use crate::revocation::RevokeError;
use crate::shared_store::SharedStore;
use crate::stack::Stack;
use crate::stack::{HostInput, RequestContext, Step, StoreAnswer, StoreAsk};
use crate::store::ask::Responder;
use crate::store::{Notice, Reply, StoreError};
use crate::token::{IssueError, IssueOptions};

/// The outcome of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Its handler ran.
    Passed,
    Refused(&'static str),
}

impl Outcome {
    pub(crate) fn is_passed(&self) -> bool {
        matches!(self, Self::Passed)
    }

    /// The code of a refusal, `passed` otherwise.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused(code) => code,
        }
    }
}

/// A login.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) session: String,
}

/// A running process. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) number: usize,
    world: Arc<World>,
    guard: Arc<Guard>,
    stack: Arc<Stack>,
}

impl Process {
    /// Starts a process of a service with the options `config`, which must not name a store.
    pub(crate) fn start(world: &Arc<World>, config: Value) -> Self {
        Self::start_at(world, config, 0)
    }

    /// The same, with a wall clock that is off by `skew_us`.
    pub(crate) fn start_at(world: &Arc<World>, mut config: Value, skew_us: i64) -> Self {
        // Guards of one OS process with the same store share it; these guards belong to several
        // processes.
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let started = STARTED.fetch_add(1, Ordering::Relaxed);
        let url = format!("redis://process-{started}.example:6379");
        config["store"]["redis"]["url"] = url.into();
        let number = world.add_process();
        world.skew(number, skew_us);
        let (guard, stack) = as_process(number, || {
            let guard = Arc::new(Guard::new(&config).expect("the options are right"));
            let stack = guard.stack(&json!({}), Layers::All).expect("the options are right");
            (guard, Arc::new(stack))
        });
        Self { number, world: Arc::clone(world), guard, stack }
    }

    /// The process dies, in the middle of any work.
    pub(crate) fn kill(&self) {
        self.world.kill(self.number);
    }

    fn run<T>(&self, call: impl FnOnce() -> T) -> T {
        as_process(self.number, call)
    }

    async fn within<T>(&self, task: impl Future<Output = T>) -> T {
        inside(self.number, task).await
    }

    fn shared(&self) -> &Arc<SharedStore> {
        let Store::Shared(store) = self.guard.store() else { panic!("the store is shared") };
        store
    }

    /// Whether it has read the clock of the servers.
    pub(crate) fn has_met_the_servers(&self) -> bool {
        self.shared().status().has_answered()
    }

    /// Whether it may decide about tokens.
    pub(crate) fn is_ready(&self) -> bool {
        self.run(|| {
            let tokens = self.guard.tokens.as_ref().expect("there are tokens");
            let RevocationList::Shared(list) = &tokens.revocations else { return true };
            list.freshness(Now::read()) == crate::revocation::Freshness::Fresh
        })
    }

    /// A request with this token from this address, until its handler runs or it is refused.
    pub(crate) async fn request(&self, token: Option<&str>, address: &str) -> Outcome {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let authorization = authorization.as_deref();
        let headers: Vec<_> =
            authorization.map(|text| ("Authorization", text)).into_iter().collect();
        self.ask_for("/", address, &headers).await.0
    }

    /// A request for a path, until its handler runs or it is refused, with the context that it
    /// holds then.
    pub(crate) async fn ask_for(
        &self,
        path: &str,
        address: &str,
        headers: &[(&str, &str)],
    ) -> (Outcome, RequestContext) {
        let mut lines = vec!["", "GET", path, address, "", "", "", "", "Host", "api.example"];
        lines.extend(headers.iter().flat_map(|(name, value)| [*name, *value]));
        let count = lines.len().to_string();
        lines[0] = &count;
        let head = lines.join("\n");
        self.within(async {
            let (mut x, mut step) = self.stack.before_body(head, HostInput::default(), Now::read());
            loop {
                step = match step {
                    Step::Pass { .. } => return (Outcome::Passed, x),
                    Step::Refuse(refusal) => return (Outcome::Refused(refusal.code), x),
                    Step::AskStore(ask) => {
                        let answer = self.ask(ask).await;
                        self.stack.resume_with_store(&mut x, answer, Now::read())
                    }
                    Step::Delay { ms } => {
                        sleep(Duration::from_millis(ms)).await;
                        self.stack.resume_after_delay(&mut x, Now::read())
                    }
                    other => panic!("nothing else is asked here: {other:?}"),
                };
            }
        })
        .await
    }

    /// The response to a request ends: its permits are released.
    pub(crate) fn end(&self, mut exchange: RequestContext) {
        self.run(|| {
            let charged = exchange.charged.take();
            let questions = charged.map(|charged| charged.settle(false, Now::read()));
            for (store, question) in questions.into_iter().flatten() {
                store.submit(vec![store.command_without_reply(question)]);
            }
        });
    }

    async fn ask(&self, ask: StoreAsk) -> StoreAnswer {
        match ask {
            StoreAsk::Revocations(list) => {
                StoreAnswer::Done(reply_of(|reply| list.refresh(reply)).await)
            }
            StoreAsk::Limits(store, question) | StoreAsk::Proof(store, question) => {
                let judged = reply_of(|reply| {
                    let ask = store.ask_for(question, Responder::new(reply));
                    store.submit(vec![ask]);
                });
                StoreAnswer::Judged(judged.await)
            }
            StoreAsk::Keys(_) | StoreAsk::Introspection(_) => panic!("no issuer is asked here"),
        }
    }

    /// A token of `subject`, with its own session.
    pub(crate) fn issue(&self, subject: &str) -> String {
        self.issue_with(claims(subject))
    }

    /// A token with these claims.
    pub(crate) fn issue_with(&self, claims: Map<String, Value>) -> String {
        self.run(|| {
            let tokens = self.guard.tokens.as_ref().expect("there are tokens");
            let signer = tokens.signer.as_ref().expect("it signs");
            let issued = signer.issue(claims, IssueOptions::default(), Now::read());
            issued.expect("it can be issued").token
        })
    }

    /// Revokes a token. `Ok` means that the store has it.
    pub(crate) async fn revoke_token(&self, token: &str) -> Result<(), StoreError> {
        let tokens = self.guard.tokens.as_ref().expect("there are tokens");
        let RevocationList::Shared(list) = &tokens.revocations else { panic!("it is shared") };
        let revoke = |reply: Reply<()>| {
            let now = Now::read();
            let revocable = tokens.verifier.revocable(token, now).expect("it is a token");
            let until = revocable.expires_at;
            list.revoke_fingerprint(revocable.fingerprint, until, now, reply).expect("it can be");
        };
        self.within(async { reply_of(revoke).await }).await
    }

    /// Revokes the tokens of a subject that were issued until now. An outer error means that
    /// nothing was done.
    pub(crate) async fn revoke_subject(
        &self,
        subject: &str,
    ) -> Result<Result<(), StoreError>, RevokeError> {
        let tokens = self.guard.tokens.as_ref().expect("there are tokens");
        let RevocationList::Shared(list) = &tokens.revocations else { panic!("it is shared") };
        self.within(async {
            let (tell, stored) = oneshot::channel();
            let reply: Reply<()> = Box::new(move |done| {
                let _ = tell.send(done);
            });
            list.revoke_subject(subject, None, Now::read(), reply)?;
            Ok(stored.await.unwrap_or(Err(StoreError::Unavailable)))
        })
        .await
    }

    /// A token of `subject` that follows its revocation, as from `guard.tokens.issue`.
    pub(crate) fn issue_after(&self, subject: &str) -> Result<String, IssueError> {
        self.run(|| {
            let tokens = self.guard.tokens.as_ref().expect("there are tokens");
            tokens.look_at_clock(Now::read());
            let after = tokens.subject_before(subject);
            let options = IssueOptions { after, ..IssueOptions::default() };
            let signer = tokens.signer.as_ref().expect("it signs");
            Ok(signer.issue(claims(subject), options, Now::read())?.token)
        })
    }

    /// Ends a session, as `guard.revoke.session` does.
    pub(crate) async fn log_out(&self, session: &str) -> Result<(), StoreError> {
        let tokens = self.guard.tokens.as_ref().expect("there are tokens");
        let RevocationList::Shared(list) = &tokens.revocations else { panic!("it is shared") };
        let refresh = tokens.refresh.as_ref().expect("there are sessions");
        self.within(async {
            reply_of(|reply| {
                list.revoke_session(session, None, Now::read(), reply).expect("it can be");
            })
            .await?;
            let close = refresh.closing(session).expect("sessions are in the store");
            reply_of(close).await
        })
        .await
    }

    /// Begins a session.
    pub(crate) async fn log_in(&self, subject: &str) -> Result<Login, StoreError> {
        let tokens = self.guard.tokens.as_ref().expect("there are tokens");
        let refresh = tokens.refresh.as_ref().expect("there are sessions");
        self.within(async {
            let signer = tokens.signer.as_ref().expect("it signs");
            let issued = signer.issue(claims(subject), IssueOptions::default(), Now::read());
            let issued = issued.expect("it can be issued");
            let begun = refresh.begin(claims(subject), &issued, None);
            let (token, opening) = begun.expect("there is chance");
            let (tell, stored) = oneshot::channel();
            let reply: Reply<()> = Box::new(move |done| {
                let _ = tell.send(done);
            });
            match refresh.open(opening, Now::read(), || Some(reply)) {
                None => stored.await.unwrap_or(Err(StoreError::Unavailable))?,
                Some(Ok(())) => {}
                Some(Err(OpenError::Store(error))) => return Err(error),
                Some(Err(OpenError::CapacityError(_))) => panic!("it is not full"),
            }
            Ok(Login { access: issued.token, refresh: token, session: issued.session })
        })
        .await
    }

    /// Uses a refresh token: the next pair.
    pub(crate) async fn refresh(&self, login: &Login) -> Result<Login, RefreshError> {
        let tokens = self.guard.tokens.as_ref().expect("there are tokens");
        let refresh = tokens.refresh.as_ref().expect("there are sessions");
        self.within(async {
            let now = Now::read();
            let continued = match refresh.present(tokens, &login.refresh, now) {
                Used::Now(continued) => continued?,
                Used::Ask(token) => {
                    let slot = Arc::new(Slot::default());
                    let asked =
                        reply_of(|reply| refresh.ask(&token, now, Arc::clone(&slot), reply));
                    let asked = asked.await;
                    asked.map_err(RefreshError::Store)?;
                    let outcome = slot.lock().take().expect("it was answered");
                    refresh.conclude(tokens, &token, outcome, now)?
                }
            };
            let signer = tokens.signer.as_ref().expect("it signs");
            let issued = continued.issue(signer, None, Now::read()).map_err(RefreshError::Issue)?;
            let refresh = continued.refresh_token.clone();
            Ok(Login { access: issued.token, refresh, session: issued.session })
        })
        .await
    }

    /// Blocks an address, or removes the block. `Ok` means that the store has it.
    pub(crate) async fn block(&self, address: &str, blocks: bool) -> Result<(), StoreError> {
        self.list(address, blocks.then_some(ListAction::Blocked)).await
    }

    /// Puts an address on a list, or removes it. `Ok` means that the store has it.
    pub(crate) async fn list(
        &self,
        address: &str,
        standing: Option<ListAction>,
    ) -> Result<(), StoreError> {
        let who = ListedClient::Network(Cidr::parse(address).expect("it is an address"));
        self.within(async {
            self.publish(match standing {
                Some(standing) => Notice::listed(who, standing, "", 3_600_000),
                None => self.guard.store().notices().unlisted(who, Now::read().mono_us),
            })
            .await
        })
        .await
    }

    /// Puts an address on a list for `ms` milliseconds.
    pub(crate) async fn list_for(
        &self,
        address: &str,
        standing: ListAction,
        ms: u64,
    ) -> Result<(), StoreError> {
        let who = ListedClient::Network(Cidr::parse(address).expect("it is an address"));
        self.within(self.publish(Notice::listed(who, standing, "", ms))).await
    }

    /// Changes the figures of a limit, as `guard.limits.set` does.
    pub(crate) async fn set_limit(&self, name: &str, limit: u64) -> Result<(), StoreError> {
        let change = json!({ "name": name, "limit": limit });
        let notice = self.guard.change_limit(name, &change).expect("they are right");
        self.within(self.publish(notice.expect("there is such a limit"))).await
    }

    async fn publish(&self, notice: Notice) -> Result<(), StoreError> {
        self.guard.store().notices().apply(&notice, Now::read().mono_us).expect("there is room");
        reply_of(|reply| self.shared().publish(notice, reply)).await
    }
}

fn claims(subject: &str) -> Map<String, Value> {
    Map::from_iter([("sub".to_owned(), subject.into())])
}

/// The result that a call passes to its reply. `Unavailable` if the process died meanwhile.
async fn reply_of<T: Send + 'static>(call: impl FnOnce(Reply<T>)) -> Result<T, StoreError> {
    let (tell, told) = oneshot::channel();
    call(Box::new(move |answer| {
        let _ = tell.send(answer);
    }));
    told.await.unwrap_or(Err(StoreError::Unavailable))
}
