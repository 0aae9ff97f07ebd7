//! One connection to one server, used by many tasks at once. Commands are sent as they come.
//! Replies arrive in the order of the commands, so each is matched with its receiver.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot, watch};

use super::wire::{Command, Expect, Reply, read};
use crate::store::fault::OutageCause;
use crate::store::tcp;

/// The most bytes of one read.
const CHUNK: usize = 16 * 1024;

/// A connection; a clone is the same one.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    commands: UnboundedSender<RoundTrip>,
    given_up: Arc<Notify>,
    /// Closes together with the connection.
    open: watch::Receiver<()>,
    /// The fault in the received bytes.
    fault: Arc<OnceLock<OutageCause>>,
}

/// Commands that are sent together, and the receiver of their replies.
#[derive(Debug)]
struct RoundTrip {
    bytes: Vec<u8>,
    waiting: PendingReplies,
}

#[derive(Debug)]
struct PendingReplies {
    expected: VecDeque<Expect>,
    replies: Vec<Reply>,
    tell: oneshot::Sender<Vec<Reply>>,
}

/// The receivers, in the order of the commands.
type Queue = Mutex<VecDeque<PendingReplies>>;

impl Connection {
    /// Connects. The connection lives until it breaks, is given up, or its last clone is dropped.
    pub(super) async fn open(host: &str, port: u16) -> io::Result<Self> {
        let stream = tcp::connect(host, port).await?;
        let (commands, receiver) = unbounded_channel();
        let given_up = Arc::new(Notify::new());
        let (closing, open) = watch::channel(());
        let end = Arc::clone(&given_up);
        let fault = Arc::new(OnceLock::new());
        let noted = Arc::clone(&fault);
        tokio::spawn(async move {
            let queue = Queue::default();
            let reading = read_all(&stream, &queue, &noted);
            let work = first_of(write_all(&stream, receiver, &queue), reading);
            first_of(work, end.notified()).await;
            // Dropping the queue completes the receivers that still wait.
            drop(queue);
            drop(closing);
        });
        Ok(Self { commands, given_up, open, fault })
    }

    /// Why the connection ended.
    pub(super) fn fault(&self) -> OutageCause {
        self.fault.get().copied().unwrap_or(OutageCause::Network)
    }

    /// Sends commands in one batch. Returns one reply for each, or `None` if the connection is
    /// gone. It has no timeout: if a caller drops the future, its replies are still read, so all
    /// others stay matched.
    pub(super) async fn exchange(&self, commands: Vec<Command>) -> Option<Vec<Reply>> {
        let (tell, told) = oneshot::channel();
        let mut bytes = Vec::with_capacity(commands.iter().map(|one| one.bytes.len()).sum());
        let mut expected = VecDeque::with_capacity(commands.len());
        for command in commands {
            bytes.extend_from_slice(&command.bytes);
            expected.push_back(command.expect);
        }
        let replies = Vec::with_capacity(expected.len());
        let waiting = PendingReplies { expected, replies, tell };
        self.commands.send(RoundTrip { bytes, waiting }).ok()?;
        told.await.ok()
    }

    /// Waits until it is closed.
    pub(super) async fn closed(&mut self) {
        while self.open.changed().await.is_ok() {}
    }

    pub(super) fn is_closed(&self) -> bool {
        self.open.has_changed().is_err()
    }

    /// Closes it: commands in flight get no reply.
    pub(super) fn give_up(&self) {
        self.given_up.notify_one();
    }
}

/// Sends incoming commands until all senders are gone or the connection fails.
async fn write_all(stream: &TcpStream, mut commands: UnboundedReceiver<RoundTrip>, queue: &Queue) {
    while let Some(RoundTrip { mut bytes, waiting }) = commands.recv().await {
        queue.lock().push_back(waiting);
        while let Ok(RoundTrip { bytes: more, waiting }) = commands.try_recv() {
            bytes.extend_from_slice(&more);
            queue.lock().push_back(waiting);
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            if stream.writable().await.is_err() {
                return;
            }
            match stream.try_write(rest) {
                Ok(0) => return,
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Distributes replies until the connection ends or an unexpected one arrives.
async fn read_all(stream: &TcpStream, queue: &Queue, fault: &OnceLock<OutageCause>) {
    let mut chunk = vec![0; CHUNK];
    let mut bytes: Vec<u8> = Vec::new();
    loop {
        if stream.readable().await.is_err() {
            return;
        }
        match stream.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => bytes.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        let Some(used) = hand_out(&bytes, queue) else {
            let _ = fault.set(fault_in(&bytes));
            return;
        };
        bytes.drain(..used);
    }
}

/// The cause that unexpected bytes indicate.
fn fault_in(bytes: &[u8]) -> OutageCause {
    if bytes.starts_with(b"CLIENT_ERROR unauthenticated") {
        return OutageCause::PasswordMissing;
    }
    if bytes.starts_with(b"ERROR Too many open connections") {
        return OutageCause::Connections;
    }
    OutageCause::Protocol
}

/// Distributes all complete replies. Returns their length in bytes, or `None` for an unexpected
/// reply.
fn hand_out(bytes: &[u8], queue: &Queue) -> Option<usize> {
    let mut used = 0;
    let mut queue = queue.lock();
    loop {
        let rest = bytes.get(used..).unwrap_or_default();
        let Some(waiting) = queue.front_mut() else {
            return rest.is_empty().then_some(used);
        };
        if let Some(expect) = waiting.expected.front() {
            let Some((reply, length)) = read(rest, expect).ok()? else { return Some(used) };
            used += length;
            waiting.expected.pop_front();
            waiting.replies.push(reply);
        }
        if waiting.expected.is_empty()
            && let Some(PendingReplies { replies, tell, .. }) = queue.pop_front()
        {
            // A receiver that has given up needs none.
            let _ = tell.send(replies);
        }
    }
}

/// Runs both until one of them ends.
pub(super) async fn first_of(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|context| {
        let ended =
            one.as_mut().poll(context).is_ready() || other.as_mut().poll(context).is_ready();
        if ended { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queue(expected: &[Expect]) -> (Queue, Vec<oneshot::Receiver<Vec<Reply>>>) {
        let mut told = Vec::new();
        let waiting = expected.iter().map(|expect| {
            let (tell, receiver) = oneshot::channel();
            told.push(receiver);
            PendingReplies { expected: VecDeque::from([expect.clone()]), replies: Vec::new(), tell }
        });
        (Mutex::new(waiting.collect()), told)
    }

    proptest! {
        #[test]
        fn answers_reach_those_who_asked_however_they_are_cut(cuts in proptest::collection::vec(1usize..30, 1..20)) {
            let bytes = b"STORED\r\nVALUE k 0 3 9\r\nabc\r\nEND\r\nEXISTS\r\nEND\r\n";
            let value = || Expect::Value(b"k".to_vec());
            let (queue, mut told) = queue(&[Expect::Stored, value(), Expect::Stored, value()]);
            let (mut come, mut sent) = (Vec::new(), 0);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let until = (sent + cut).min(bytes.len());
                come.extend_from_slice(&bytes[sent..until]);
                sent = until;
                let used = hand_out(&come, &queue).unwrap();
                come.drain(..used);
            }
            let replies: Vec<Reply> = told.iter_mut().map(|told| told.try_recv().unwrap().remove(0)).collect();
            prop_assert!(matches!(
                replies.as_slice(),
                [Reply::Stored, Reply::Value(Some(_)), Reply::Conflict, Reply::Value(None)]
            ));
        }

        #[test]
        fn hostile_bytes_end_the_connection_or_are_waited_on(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (queue, mut told) = queue(&[Expect::Stored]);
            let used = hand_out(&bytes, &queue);
            let stored = told[0].try_recv().is_ok_and(|replies| replies == [Reply::Stored]);
            prop_assert!(!stored || bytes.starts_with(b"STORED\r\n"));
            prop_assert!(used.is_none_or(|used| used <= bytes.len()));
        }
    }

    #[test]
    fn an_answer_that_nobody_asked_for_ends_the_connection() {
        let (queue, _told) = queue(&[Expect::Stored]);
        assert_eq!(hand_out(b"STORED\r\nSTORED\r\n", &queue), None);
    }
}
