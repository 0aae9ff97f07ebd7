//! Connections of processes to servers. Commands on one connection arrive in order, after some
//! time; between connections there is no order. A command may run after its sender has stopped
//! waiting for the answer.

use std::sync::Arc;
use std::time::Duration;

use redis::{Arg, Cmd, RedisError, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::redis::{Name, Server};
use super::world::{World, running_process};

/// A connection; a clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    sent: UnboundedSender<Request>,
    patience: Option<Duration>,
}

type Answers = Result<Vec<Value>, RedisError>;

#[derive(Debug)]
struct Request {
    commands: Vec<Vec<Name>>,
    answer: oneshot::Sender<Answers>,
}

/// Connects the running process to its primary; `None` outside of a simulation.
pub(crate) fn connect(
    patience: Option<Duration>,
) -> Option<impl Future<Output = Result<Connection, RedisError>>> {
    let world = World::current()?;
    let process = running_process();
    Some(async move {
        let server = *world.primary.lock();
        sleep(world.delay()).await;
        world.reachable(process, server).await;
        sleep(world.delay()).await;
        if !world.servers.lock()[server].is_alive {
            return Err(io(std::io::ErrorKind::ConnectionRefused));
        }
        let (sent, requests) = unbounded_channel();
        let run = world.servers.lock()[server].run_number();
        // A part of the network: it continues when the process dies.
        tokio::spawn(serve(world, process, server, run, requests));
        Ok(Connection { sent, patience })
    })
}

impl Connection {
    /// Sends commands together; returns one value for each.
    pub(crate) async fn send(&self, commands: impl Iterator<Item = &Cmd>) -> Answers {
        let commands = commands.map(arguments).collect();
        let (answer, told) = oneshot::channel();
        let closed = || io(std::io::ErrorKind::ConnectionReset);
        self.sent.send(Request { commands, answer }).map_err(|_| closed())?;
        let told = async { told.await.unwrap_or_else(|_| Err(closed())) };
        match self.patience {
            None => told.await,
            Some(patience) => timeout(patience, told)
                .await
                .unwrap_or_else(|_| Err(io(std::io::ErrorKind::TimedOut))),
        }
    }

    /// Sends one command.
    pub(crate) async fn send_one(&self, command: &Cmd) -> Result<Value, RedisError> {
        Ok(self.send(std::iter::once(command)).await?.remove(0))
    }
}

fn arguments(command: &Cmd) -> Vec<Name> {
    let text = |argument| match argument {
        Arg::Simple(text) => Vec::from(text),
        _ => b"0".to_vec(),
    };
    command.args_iter().map(text).collect()
}

fn io(kind: std::io::ErrorKind) -> RedisError {
    std::io::Error::from(kind).into()
}

/// The server's end of a connection. It ends with the server, and is randomly reset.
async fn serve(
    world: Arc<World>,
    process: usize,
    server: usize,
    run: u64,
    mut requests: UnboundedReceiver<Request>,
) {
    let mut written = 0;
    while let Some(Request { commands, answer }) = requests.recv().await {
        sleep(world.delay()).await;
        world.reachable(process, server).await;
        if world.resets() {
            return;
        }
        let mut values = Vec::with_capacity(commands.len());
        for command in &commands {
            let Some(value) = world.serve(server, run, command, &mut written).await else {
                return;
            };
            values.push(value);
        }
        if world.resets() {
            return;
        }
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            sleep(world.delay()).await;
            world.reachable(process, server).await;
            // The receiver may have stopped waiting.
            let _ = answer.send(Ok(values));
        });
    }
}

impl World {
    /// Waits until the connection is open: lost packets are sent again.
    async fn reachable(&self, process: usize, server: usize) {
        loop {
            let changed = self.changed.notified();
            if self.reaches(process, server) {
                return;
            }
            changed.await;
        }
    }

    /// Runs one command at a server; `None` if the server died meanwhile.
    async fn serve(
        &self,
        server: usize,
        run: u64,
        command: &[Name],
        written: &mut usize,
    ) -> Option<Value> {
        loop {
            let changed = self.changed.notified();
            {
                let mut servers = self.servers.lock();
                let server = &mut servers[server];
                if !server.is_alive || server.run_number() != run {
                    return None;
                }
                if !server.hangs {
                    break;
                }
            }
            changed.await;
        }
        match &command[0][..] {
            b"WAIT" => return Some(self.replicated(server, command, *written).await),
            b"XREAD" => {
                if let Some(block) = command.iter().position(|word| word == b"BLOCK") {
                    let ms = String::from_utf8_lossy(&command[block + 1]).parse().unwrap_or(0);
                    self.grows(server, run, command, Duration::from_millis(ms)).await;
                }
            }
            _ => {}
        }
        let true_us = self.true_us();
        let mut servers = self.servers.lock();
        let server = &mut servers[server];
        if !server.is_alive || server.run_number() != run {
            return None;
        }
        let before = server.written();
        let answer = server.run(true_us, command);
        if server.written() > before {
            *written = server.written();
            self.changed.notify_waiters();
        }
        Some(answer.unwrap_or_else(|text| error(&text)))
    }

    /// Waits until there is an entry to read, at most for `span`.
    async fn grows(&self, server: usize, run: u64, command: &[Name], span: Duration) {
        let deadline = Instant::now() + span;
        let mut seen = None;
        loop {
            let changed = self.changed.notified();
            {
                let true_us = self.true_us();
                let mut servers = self.servers.lock();
                let server: &mut Server = &mut servers[server];
                if !server.is_alive || server.run_number() != run {
                    return;
                }
                let is_new = seen.replace(server.written()) != Some(server.written());
                if is_new && server.run(true_us, command) != Ok(Value::Nil) {
                    return;
                }
            }
            if timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    /// `WAIT`: the number of replicas that have the writes of this connection.
    async fn replicated(&self, server: usize, command: &[Name], written: usize) -> Value {
        let number = |i: usize| String::from_utf8_lossy(&command[i]).parse::<u64>().unwrap_or(0);
        let (wanted, ms) = (number(1), number(2));
        let deadline = Instant::now() + Duration::from_millis(ms);
        loop {
            let changed = self.changed.notified();
            let count = self.replicas_with(server, written);
            if count >= wanted {
                return Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
            }
            if timeout_at(deadline, changed).await.is_err() {
                let count = self.replicas_with(server, written);
                return Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }
}

fn error(text: &str) -> Value {
    redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).expect("an error is a value")
}
