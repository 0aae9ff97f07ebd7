//! Executes commands on the servers, on the store's thread.
//!
//! A batch is executed in rounds:
//!
//! 1. All of its records are read, with one pipeline for each server.
//! 2. Its commands are judged one after another.
//! 3. The changed records are written, with one pipeline for each server.
//!
//! If another process wrote a record meanwhile, the commands on it go into the next round. The
//! pause before it grows each time and is random, so two processes never keep the same pace.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::config::MemcachedConfig;
use super::judge::{Books, CommandRun, RecordView, Stored, Written};
use super::record_queue::{Queued, RecordQueue};
use super::server::Server;
use super::wire::{Command, Reply, expiry};
use crate::clock::{Now, micros};
use crate::quota::{CommandResult, StoreCommand, SubjectKey};
use crate::store::ask::{QueuedCommand, Responder};
use crate::store::error::StoreError;
use crate::store::record::key;
use crate::store::status::Status;

/// How often a command is judged again after its record has changed.
const RETRIES: u32 = 3;

#[derive(Debug)]
pub(super) struct Driver {
    servers: Vec<Server>,
    /// The start of the keys of subjects.
    prefix: String,
    timeout: Duration,
    status: Arc<Status>,
    lanes: Mutex<RecordQueue>,
}

/// Executes commands until all senders are gone, and keeps `status` current.
pub(crate) async fn run(
    config: MemcachedConfig,
    status: Arc<Status>,
    mut asks: UnboundedReceiver<Vec<QueuedCommand>>,
) {
    let MemcachedConfig { servers, prefix, timeout, .. } = config;
    let servers = servers.into_iter().map(|address| Server::new(address, &prefix)).collect();
    let (prefix, lanes) = (format!("{prefix}l:"), Mutex::default());
    let driver = Arc::new(Driver { servers, prefix, timeout, status, lanes });
    let mut keepers = JoinSet::new();
    for place in 0..driver.servers.len() {
        let driver = Arc::clone(&driver);
        keepers.spawn(async move {
            let Some(server) = driver.servers.get(place) else { return };
            server.keep_connected(|| driver.look_around()).await;
        });
    }
    while let Some(mut batch) = asks.recv().await {
        while let Ok(more) = asks.try_recv() {
            batch.extend(more);
        }
        offer(&driver, batch);
    }
    keepers.abort_all();
}

/// Starts the commands that can run now. The others wait for those in flight.
fn offer(driver: &Arc<Driver>, asks: Vec<QueuedCommand>) {
    let by = Instant::now() + driver.timeout;
    let dues = asks.into_iter().map(|ask| Queued { ask, by }).collect();
    let batches = driver
        .lanes
        .lock()
        .admit(dues, |subject| u32::try_from(driver.place_of(subject)).unwrap_or(0));
    for batch in batches {
        tokio::spawn(carry(Arc::clone(driver), batch));
    }
}

/// Executes a batch, each command within its timeout, then starts the commands that wait for its
/// records.
async fn carry(driver: Arc<Driver>, batch: Vec<Queued>) {
    let subjects: HashSet<SubjectKey> = batch
        .iter()
        .flat_map(|due| due.ask.question.subjects.iter().map(|ask| ask.subject))
        .collect();
    let mut cases = Vec::with_capacity(batch.len());
    let mut responders = Vec::with_capacity(batch.len());
    for Queued { ask, by } in batch {
        cases.push(CommandRun::new(ask.question));
        responders.push(Some((ask.responder, by)));
    }
    let _held = Held { driver: Arc::clone(&driver), subjects };
    let desk = Desk(Mutex::new(responders));
    let mut work = pin!(work(&driver, cases, &desk));
    while let Some(by) = desk.next() {
        if timeout_at(by, &mut work).await.is_ok() {
            break;
        }
        desk.expire(by);
    }
}

/// The records of a batch. Dropping it releases them, since the commands that wait for them have no
/// other wake-up.
struct Held {
    driver: Arc<Driver>,
    subjects: HashSet<SubjectKey>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.driver.lanes.lock().release(self.subjects.drain());
        offer(&self.driver, Vec::new());
    }
}

/// The receivers of a batch and their deadlines.
struct Desk(Mutex<Vec<Option<(Responder, Instant)>>>);

impl Desk {
    /// The next deadline.
    fn next(&self) -> Option<Instant> {
        self.0.lock().iter().flatten().map(|(_, by)| *by).min()
    }

    /// Completes a receiver; `false` if it was completed before.
    fn complete(&self, place: usize, answer: Result<CommandResult, StoreError>) -> bool {
        let responder = self.0.lock().get_mut(place).and_then(Option::take);
        responder.map(|(responder, _)| responder.complete(answer)).is_some()
    }

    /// Completes the receivers whose deadline has passed.
    fn expire(&self, now: Instant) {
        let late = |place: &mut Option<(Responder, Instant)>| place.take_if(|(_, by)| *by <= now);
        let late: Vec<_> = self.0.lock().iter_mut().filter_map(late).collect();
        for (responder, _) in late {
            responder.complete(Err(StoreError::Timeout));
        }
    }
}

/// Judges commands until all are settled, or have had too many conflicts.
async fn work(driver: &Arc<Driver>, cases: Vec<CommandRun>, desk: &Desk) {
    let mut open: Vec<(usize, CommandRun)> = cases.into_iter().enumerate().collect();
    for attempt in 0..=RETRIES {
        let begun = Now::read().mono_us;
        let subjects: HashSet<SubjectKey> = open.iter().flat_map(|(_, case)| case.open()).collect();
        let mut books = read(driver, subjects).await;
        let verdicts: Vec<_> = open.iter().map(|(_, case)| case.judge(&mut books)).collect();
        let written = write(driver, &books).await;
        let mut again = Vec::new();
        for ((place, mut case), verdict) in open.into_iter().zip(verdicts) {
            match case.settle(verdict, &written) {
                None if attempt < RETRIES => again.push((place, case)),
                answer => {
                    let answer = answer.unwrap_or(Err(StoreError::Contended));
                    close(driver, desk, place, &case, answer);
                }
            }
        }
        open = again;
        if open.is_empty() {
            return;
        }
        let round = Duration::from_micros(Now::read().mono_us.saturating_sub(begun));
        // A process that competes with many others must spread out further than they do, and still
        // answer in time.
        let most = driver.timeout / 6;
        sleep(random_part((round * (4 << (2 * attempt))).min(most))).await;
    }
}

/// Completes a command. If its request was not admitted, or its receiver timed out, gives back the
/// charges.
fn close(
    driver: &Arc<Driver>,
    desk: &Desk,
    place: usize,
    case: &CommandRun,
    answer: Result<CommandResult, StoreError>,
) {
    let admitted = answer.as_ref().is_ok_and(|answer| answer.admitted);
    if desk.complete(place, answer) && admitted {
        return;
    }
    if let Some(question) = case.refund() {
        give_back(driver, question);
    }
}

fn give_back(driver: &Arc<Driver>, question: StoreCommand) {
    // It has no receiver.
    let ask = QueuedCommand { question, responder: Responder::new(Box::new(drop)) };
    let driver = Arc::clone(driver);
    // Not at once: the batch that charged the records still holds them.
    tokio::spawn(async move { offer(&driver, vec![ask]) });
}

/// Reads records from all of their servers at once.
async fn read(driver: &Arc<Driver>, subjects: HashSet<SubjectKey>) -> Books {
    let mut by_server: HashMap<usize, Vec<SubjectKey>> = HashMap::new();
    for subject in subjects {
        by_server.entry(driver.place_of(subject)).or_default().push(subject);
    }
    let mut reading = JoinSet::new();
    for (place, subjects) in by_server {
        let driver = Arc::clone(driver);
        reading.spawn(async move {
            let commands = subjects.iter().map(|subject| Command::gets(&driver.key(subject)));
            let commands = commands.collect();
            let Some(server) = driver.servers.get(place) else { return Vec::new() };
            let replies = server.exchange(commands).await;
            let now_us = server.now_us();
            let book = |(i, subject): (usize, SubjectKey)| {
                let reply = replies.as_ref().map_err(|error| *error).map(|replies| replies.get(i));
                let book = match reply {
                    Ok(Some(Reply::Value(Some(known)))) => {
                        Ok(RecordView::read(&known.value, Some(known.version), now_us))
                    }
                    Ok(Some(Reply::Value(None))) => Ok(RecordView::read(&[], None, now_us)),
                    Ok(_) => Err(StoreError::Refused),
                    Err(error) => Err(error),
                };
                (subject, book)
            };
            subjects.into_iter().enumerate().map(book).collect::<Vec<_>>()
        });
    }
    let mut books = Books::new();
    while let Some(read) = reading.join_next().await {
        books.extend(read.unwrap_or_default());
    }
    books
}

/// Writes the changed records to all of their servers at once.
async fn write(driver: &Arc<Driver>, books: &Books) -> Written {
    let mut by_server: HashMap<usize, Vec<(SubjectKey, Command)>> = HashMap::new();
    for (subject, book) in books {
        let Some((record, span_us, version)) = book.as_ref().ok().and_then(RecordView::written)
        else {
            continue;
        };
        let place = driver.place_of(*subject);
        let server_s = driver.servers.get(place).map_or(0, Server::now_us) / 1_000_000;
        let expiry = expiry(span_us, server_s);
        let command = Command::store(&driver.key(subject), &record, expiry, version);
        by_server.entry(place).or_default().push((*subject, command));
    }
    let mut writing = JoinSet::new();
    let mut written = Written::new();
    for (place, records) in by_server {
        let driver = Arc::clone(driver);
        let (subjects, commands): (Vec<SubjectKey>, Vec<Command>) = records.into_iter().unzip();
        // The result if the task fails.
        written.extend(subjects.iter().map(|subject| (*subject, Err(StoreError::Unavailable))));
        writing.spawn(async move {
            let Some(server) = driver.servers.get(place) else { return Vec::new() };
            let replies = server.exchange(commands).await;
            let stored = |(i, subject)| {
                let reply = replies.as_ref().map_err(|error| *error).map(|replies| replies.get(i));
                let stored = match reply {
                    Ok(Some(Reply::Stored)) => Ok(Stored::Yes),
                    Ok(Some(Reply::Conflict)) => Ok(Stored::No),
                    Ok(_) => Err(StoreError::Refused),
                    Err(error) => Err(error),
                };
                (subject, stored)
            };
            subjects.into_iter().enumerate().map(stored).collect::<Vec<_>>()
        });
    }
    while let Some(stored) = writing.join_next().await {
        written.extend(stored.unwrap_or_default());
    }
    written
}

impl Driver {
    /// The index of the server of a subject.
    fn place_of(&self, subject: SubjectKey) -> usize {
        let weights = self.servers.iter().map(|server| server.weight(&subject.0));
        weights.enumerate().max_by_key(|(_, weight)| *weight).map_or(0, |(place, _)| place)
    }

    fn key(&self, subject: &SubjectKey) -> Vec<u8> {
        key(&self.prefix, subject).into_bytes()
    }

    /// Publishes the combined state of the servers to other threads.
    fn look_around(&self) {
        let statuses = || self.servers.iter().map(Server::status);
        if statuses().any(Status::is_available) {
            self.status.recovered();
        } else {
            self.status.lost();
        }
        self.status.set_fault(statuses().find_map(Status::fault));
        self.status.count_away(statuses().filter(|status| !status.is_available()).count());
        // If one server lost its state, the whole store counts as having lost it.
        if let Some(last) = statuses().map(Status::connected_us).max() {
            self.status.connected(Now { unix_us: 0, mono_us: last });
        }
        self.status.count_instances(statuses().map(Status::instances).max().unwrap_or(1));
        // Of several clocks, take the one that is ahead. Local copies of other servers' records
        // then end too early, not too late.
        let now = Now::read();
        let connected = statuses().filter(|status| status.has_answered());
        if let Some(now_us) = connected.map(|status| status.clock(now).unix_us).max() {
            self.status.observe(now_us, now);
        }
    }
}

/// A random part of a span.
fn random_part(span: Duration) -> Duration {
    let mut bytes = [0; 2];
    // Without randomness there is no pause.
    let _ = crate::random::fill(&mut bytes);
    let part = micros(span).saturating_mul(u64::from(u16::from_le_bytes(bytes))) >> 16;
    Duration::from_micros(part)
}
