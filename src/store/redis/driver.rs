//! Carries questions to the servers and answers back, on the store's thread.
//!
//! One task keeps a connection and shows by a write, every two seconds, that the servers take writes. Another takes
//! what was asked since it last looked and sends it as one pipeline. Five failures in a row, or a connection that
//! breaks, open the circuit breaker: nobody asks until the first task has written again.

use std::future::Future;
use std::sync::Arc;

use redis::{Pipeline, RedisError, Value};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connect::{Connector, Link};
use super::script::{By, Call, Part, Scripts, calls, proofs_key, read};
use crate::clock::Now;
use crate::store::ask::{Action, Answer, Ask, Question, Waiter};
use crate::store::config::MemoryConfig;
use crate::store::error::StoreError;
use crate::store::runtime::{BACKOFF, BEAT, PROBE, SILENCE_MS, jittered};
use crate::store::shared::Backend;
use crate::store::status::Status;

const LIVE: &str = include_str!("lua/live.lua");
const BEGAN: &str = concat!(include_str!("lua/proofs.lua"), include_str!("lua/began.lua"));

struct Driver {
    connector: Arc<Connector>,
    scripts: Scripts,
    status: Arc<Status>,
    link: watch::Sender<Option<Link>>,
    broken: Notify,
}

impl Backend for Arc<Connector> {
    const KIND: &'static str = "redis";

    fn digest(&self) -> [u8; 32] {
        self.config().digest
    }

    fn local(&self) -> &MemoryConfig {
        &self.config().local
    }

    fn processes(&self) -> u32 {
        self.config().processes
    }

    fn run(
        self,
        status: Arc<Status>,
        asks: UnboundedReceiver<Vec<Ask>>,
    ) -> impl Future<Output = ()> + Send + 'static {
        run(self, status, asks)
    }

    fn connector(&self) -> Option<Arc<Connector>> {
        Some(Arc::clone(self))
    }
}

async fn run(
    connector: Arc<Connector>,
    status: Arc<Status>,
    mut asks: UnboundedReceiver<Vec<Ask>>,
) {
    let scripts = Scripts::new(&connector.config().prefix);
    let (link, _) = watch::channel(None);
    let driver = Arc::new(Driver { connector, scripts, status, link, broken: Notify::new() });
    let keeper = tokio::spawn(keep_connected(Arc::clone(&driver)));
    while let Some(mut batch) = asks.recv().await {
        while let Ok(more) = asks.try_recv() {
            batch.extend(more);
        }
        if !driver.connector.is_cluster() {
            tokio::spawn(carry(Arc::clone(&driver), batch));
            continue;
        }
        // The nodes of a cluster fail one by one: no question waits for the node of another.
        for ask in batch {
            tokio::spawn(carry(Arc::clone(&driver), vec![ask]));
        }
    }
    keeper.abort();
}

/// Connects, and connects again, for ever.
async fn keep_connected(driver: Arc<Driver>) {
    let process = process_name();
    let mut pause = BACKOFF.0;
    loop {
        if let Some(mut link) = driver.connect(&process).await {
            pause = BACKOFF.0;
            driver.link.send_replace(Some(link.clone()));
            driver.status.recovered();
            while timeout(jittered(BEAT), driver.broken.notified()).await.is_err() {
                if !driver.beat(&mut link, &process).await {
                    break;
                }
            }
        }
        driver.status.lost();
        driver.link.send_replace(None);
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}

impl Driver {
    async fn connect(&self, process: &str) -> Option<Link> {
        let patience = self.connector.config().timeout.max(PROBE);
        let mut link = self.connector.connect(Some(patience)).await.ok()?;
        for command in self.scripts.load() {
            // A user who may not load scripts may still run them.
            drop(timeout(PROBE, link.command(&command)).await);
        }
        self.beat(&mut link, process).await.then_some(link)
    }

    /// Writes a sign of life; `false` where it did not arrive. Before it is known that a server is
    /// there, it is known since when it remembers proofs.
    async fn beat(&self, link: &mut Link, process: &str) -> bool {
        if self.status.keeps_proofs() {
            let mut command = redis::cmd("EVAL");
            command.arg(BEGAN).arg(1).arg(proofs_key(&self.connector.config().prefix));
            if !matches!(timeout(PROBE, link.command(&command)).await, Ok(Ok(Value::Int(1)))) {
                return false;
            }
        }
        let mut command = redis::cmd("EVAL");
        command
            .arg(LIVE)
            .arg(1)
            .arg(format!("{}live", self.connector.config().prefix))
            .arg(process)
            .arg(SILENCE_MS);
        let sent = Now::read();
        let Ok(Ok(Value::Array(values))) = timeout(PROBE, link.command(&command)).await else {
            return false;
        };
        let [Value::Int(time), Value::Int(alive)] = values.as_slice() else { return false };
        if let (Ok(time), Ok(alive)) = (u64::try_from(*time), u32::try_from(*alive)) {
            self.status.observe(time, sent);
            self.status.count_instances(alive);
        }
        true
    }

    /// A failure that says nothing about the connection.
    fn note_failure(&self) {
        if self.status.failed() {
            self.note_loss();
        }
    }

    /// The connection is no good any more: nobody is to wait for it from now on.
    fn note_loss(&self) {
        self.status.lost();
        self.broken.notify_one();
    }

    /// The connection, or the one that is being made.
    async fn linked(&self) -> Option<Link> {
        let mut link = self.link.subscribe();
        link.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Sends a batch and tells everyone who asked, within the store's timeout.
async fn carry(driver: Arc<Driver>, batch: Vec<Ask>) {
    let deadline = Instant::now() + driver.connector.config().timeout;
    let (questions, waiters): (Vec<Question>, Vec<Waiter>) =
        batch.into_iter().map(|ask| (ask.question, ask.waiter)).unzip();
    let error = match timeout_at(deadline, converse(&driver, &questions)).await {
        Ok(Ok(answers)) => {
            return Waiter::tell_all(waiters.into_iter().zip(answers));
        }
        Ok(Err(error)) => error,
        Err(_) => {
            driver.note_failure();
            StoreError::Timeout
        }
    };
    Waiter::tell_all(waiters.into_iter().map(|waiter| (waiter, Err(error))));
}

/// One answer for each question, or a fault that all of them met.
async fn converse(
    driver: &Arc<Driver>,
    questions: &[Question],
) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
    if !driver.status.is_available() {
        return Err(StoreError::Unavailable);
    }
    let mut link = driver.linked().await.ok_or(StoreError::Unavailable)?;
    let calls = calls(questions, driver.connector.is_cluster());
    let sent = Now::read();
    let mut replies = driver.exchange(&mut link, calls.iter(), questions, By::Digest).await?;
    let unknown: Vec<usize> =
        (0..).zip(&replies).filter(|(_, reply)| is_unknown(reply)).map(|(i, _)| i).collect();
    if !unknown.is_empty() {
        let again = unknown.iter().filter_map(|i| calls.get(*i));
        let known_now = driver.exchange(&mut link, again, questions, By::Text).await?;
        for (i, reply) in unknown.into_iter().zip(known_now) {
            if let Some(place) = replies.get_mut(i) {
                *place = reply;
            }
        }
    }
    let results = read(&calls, &replies, questions);
    if let Some(Ok(answer)) = results.answers.first()
        && let Some(standing) = answer.standings.first()
        && standing.now_us > 0
    {
        driver.status.observe(standing.now_us, sent);
    }
    give_back(driver, questions, results.to_refund);
    if results.answers.iter().all(Result::is_ok) {
        driver.status.succeeded();
    } else {
        driver.note_failure();
    }
    Ok(results.answers)
}

impl Driver {
    /// Sends calls as one pipeline; one reply for each.
    async fn exchange<'c>(
        &self,
        link: &mut Link,
        calls: impl Iterator<Item = &'c Call>,
        questions: &[Question],
        by: By,
    ) -> Result<Vec<Value>, StoreError> {
        let mut pipeline = Pipeline::new();
        for call in calls {
            pipeline.add_command(self.scripts.command(call, questions, by));
        }
        link.send_apart(&pipeline).await.map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &RedisError) -> StoreError {
        if error.is_timeout() {
            self.note_failure();
            return StoreError::Timeout;
        }
        let is_lost =
            error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error();
        // A cluster that has lost a node has others, and finds the one that takes its place.
        if is_lost && !self.connector.is_cluster() {
            self.note_loss();
        } else {
            self.note_failure();
        }
        StoreError::Unavailable
    }
}

/// In a cluster each subject is judged by itself. Where one refuses, what the others have charged is given back; until
/// that arrives, they are a request short.
fn give_back(driver: &Arc<Driver>, questions: &[Question], charged: Vec<Part>) {
    let refund = |part: Part| {
        let subjects = questions.get(part.question)?.subjects.get(part.subjects)?.to_vec();
        // A place is given back by its owner, who knows what to do where that is lost.
        if subjects.is_empty() {
            return None;
        }
        let question = Question::about(Action::Refund, subjects);
        // Nobody waits for it.
        Some(Ask { question, waiter: Waiter::new(Box::new(drop)) })
    };
    let refunds: Vec<Ask> = charged.into_iter().filter_map(refund).collect();
    if !refunds.is_empty() {
        tokio::spawn(carry(Arc::clone(driver), refunds));
    }
}

fn is_unknown(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

fn process_name() -> String {
    let mut bytes = [0; 8];
    // Processes that could not tell themselves apart would count as one.
    let _ = getrandom::fill(&mut bytes);
    format!("{:x}-{:016x}", std::process::id(), u64::from_le_bytes(bytes))
}
