//! Families of refresh tokens in Redis: one key each, and one script that decides what races.
//!
//! A refresh is no part of a request's way through the layers, so it has a connection of its own, which is made when it is first
//! needed, and more patience than a limit has.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connect::{Connector, Link};
use super::script::Script;
use super::store_error;
use crate::store::error::{Reply, Replying, StoreError};
use crate::store::runtime;
use crate::token::{Opening, Outcome, Place, Presented, RefreshConfig};

const USE: &str = include_str!("lua/refresh.lua");
const OPEN: &str = include_str!("lua/refresh_open.lua");
/// The longest that a call may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest that an answer may take. A connection that is later is given up.
const ANSWER: Duration = Duration::from_millis(800);

/// Families that processes share.
#[derive(Debug)]
pub struct RedisFamilies {
    connector: Arc<Connector>,
    /// Held while it is made, so that calls at one time share it.
    link: Mutex<Option<Link>>,
    open: Script,
    present: Script,
}

impl RedisFamilies {
    /// The families at these servers, under their prefix. It connects when it is first asked.
    #[must_use]
    pub fn new(connector: &Arc<Connector>) -> Arc<Self> {
        Arc::new(Self {
            connector: Arc::clone(connector),
            link: Mutex::new(None),
            open: Script::new(OPEN),
            present: Script::new(USE),
        })
    }

    /// Begins a family. The reply, as those of the other calls, comes once, on the store's thread; an error means that
    /// nobody knows whether it was done.
    pub fn open(self: &Arc<Self>, opening: Opening, config: RefreshConfig, reply: Reply<()>) {
        self.spawn(reply, |families| async move {
            let key = families.key(opening.place);
            let idle = config.idle.unwrap_or_default();
            let arguments = |command: &mut Cmd| {
                command.arg(&opening.mark[..]).arg(&opening.current[..]);
                command.arg(ms(config.lifetime)).arg(ms(idle));
                command.arg(&opening.session).arg(&opening.kept);
            };
            match families.run(&families.open, &key, arguments).await? {
                Value::Int(1) => Ok(()),
                _ => Err(StoreError::Refused),
            }
        });
    }

    /// Uses a token; see [`crate::token::Family::present`]. Asked again after an error it answers as if it had not been
    /// asked before, as long as the window is open.
    pub fn present(
        self: &Arc<Self>,
        presented: Presented,
        config: RefreshConfig,
        remembered: Duration,
        reply: Reply<Outcome>,
    ) {
        self.spawn(reply, move |families| async move {
            let key = families.key(presented.place);
            let idle = config.idle.unwrap_or_default();
            let arguments = |command: &mut Cmd| {
                command.arg(&presented.mark[..]).arg(&presented.presented[..]);
                command.arg(&presented.salt[..]).arg(&presented.successor[..]);
                command.arg(ms(config.reuse_window)).arg(ms(idle)).arg(ms(remembered));
            };
            let answer = families.run(&families.present, &key, arguments).await?;
            outcome(answer).ok_or(StoreError::Refused)
        });
    }

    /// Ends a family.
    pub fn close(self: &Arc<Self>, place: Place, reply: Reply<()>) {
        self.spawn(reply, move |families| async move {
            let mut command = redis::cmd("DEL");
            command.arg(families.key(place));
            match families.send(&command).await.map_err(|error| store_error(&error))? {
                Value::Int(_) => Ok(()),
                _ => Err(StoreError::Refused),
            }
        });
    }

    fn key(&self, place: Place) -> String {
        format!("{}r:{}", self.connector.config().prefix, place.text())
    }

    fn spawn<T, F>(self: &Arc<Self>, reply: Reply<T>, ask: impl FnOnce(Arc<Self>) -> F)
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let answer = Replying::new(reply);
        let (families, asking) = (Arc::clone(self), ask(Arc::clone(self)));
        runtime::spawn(async move {
            if let Ok(result) = timeout(PATIENCE, asking).await {
                return answer.give(result);
            }
            if let Ok(mut link) = families.link.try_lock() {
                *link = None;
            }
            answer.give(Err(StoreError::Timeout));
        });
    }

    /// The connection. Where it has to be made, that goes on though the call that began it has no patience left: a
    /// handshake that takes longer than a call would never end otherwise.
    async fn link(self: &Arc<Self>) -> Result<Link, RedisError> {
        let families = Arc::clone(self);
        let connecting = tokio::spawn(async move {
            let mut kept = families.link.lock().await;
            match &*kept {
                Some(link) => Ok(link.clone()),
                None => Ok(kept.insert(families.connector.connect(Some(ANSWER)).await?).clone()),
            }
        });
        connecting.await.unwrap_or_else(|_| {
            Err(RedisError::from(std::io::Error::other("the connection was given up")))
        })
    }

    async fn run(
        self: &Arc<Self>,
        script: &Script,
        key: &str,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(key);
            arguments(&mut command);
            command
        };
        let answer = match self.send(&command("EVALSHA", &script.digest)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(&command("EVAL", script.text)).await
            }
            answer => answer,
        };
        answer.map_err(|error| store_error(&error))
    }

    async fn send(self: &Arc<Self>, command: &Cmd) -> Result<Value, RedisError> {
        let mut link = self.link().await?;
        let answer = link.command(command).await;
        let is_broken = answer.as_ref().is_err_and(|error| {
            error.is_io_error()
                || error.is_timeout()
                || error.is_connection_dropped()
                || error.is_unrecoverable_error()
                // A primary that became a replica: the next connection finds the new one.
                || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        });
        if is_broken {
            *self.link.lock().await = None;
        }
        answer
    }
}

fn outcome(answer: Value) -> Option<Outcome> {
    let Value::Array(parts) = answer else { return None };
    let mut parts = parts.into_iter().map(|part| match part {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    });
    match parts.next()??.as_slice() {
        b"unknown" => Some(Outcome::Unknown),
        b"next" => {
            let salt = parts.next()??.try_into().ok()?;
            Some(Outcome::Next { salt, kept: parts.next()?? })
        }
        b"reused" => Some(Outcome::Reused { session: String::from_utf8(parts.next()??).ok()? }),
        _ => None,
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
