//! Families of refresh tokens in Redis, one key each. A record is read, decided here by [`Family`],
//! and replaced by a script if it is still the record that was read. A record is trusted only with
//! a valid seal.
//!
//! A refresh is not part of a request's way through the layers. So it has its own connection, made
//! on the first use, and a longer timeout than a limit.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::clock::micros;
use crate::keys::{SEAL_BYTES, Seals};
use crate::redis::{Connector, Link, Script, store_error};
use crate::session::{
    Family, FamilyKey, MAX_RECORD_BYTES, NewFamily, Outcome, RefreshAttempt, RefreshConfig, Where,
};
use crate::store::error::{Reply, Replying, StoreError};
use crate::store::runtime;

const READ: &str = include_str!("lua/read.lua");
const CHANGE: &str = include_str!("lua/change.lua");
/// The maximum number of tries when other callers change the record in between.
const MAX_TRIES: usize = 8;
/// In seconds since 1970.
const YEAR_9999: u64 = 253_402_300_800;
/// The timeout of a call.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The timeout of an answer. A slower connection is closed.
const ANSWER: Duration = Duration::from_millis(800);

/// Families that processes share.
#[derive(Debug)]
pub struct RedisFamilies {
    connector: Arc<Connector>,
    /// Locked while connecting, so that concurrent calls share the connection.
    link: Mutex<Option<Link>>,
    read: Script,
    change: Script,
}

impl RedisFamilies {
    /// The families at these servers, under their prefix. The first call connects.
    #[must_use]
    pub fn new(connector: &Arc<Connector>) -> Arc<Self> {
        Arc::new(Self {
            connector: Arc::clone(connector),
            link: Mutex::new(None),
            read: Script::new(READ),
            change: Script::new(CHANGE),
        })
    }

    /// Begins a family, which replaces the earlier family of its session. As with the other calls,
    /// the reply is called once, on the store's thread. After an error it is unknown whether the
    /// call took effect.
    pub fn open(
        self: &Arc<Self>,
        opening: NewFamily,
        config: RefreshConfig,
        seals: Seals,
        reply: Reply<()>,
    ) {
        self.spawn(reply, move |families| async move {
            let place = opening.place;
            let (now_us, _) = families.read(place).await?;
            let family = Family::open(opening, &config, now_us);
            let record = family.seal(&families.at(place), &seals).ok_or(StoreError::Refused)?;
            let mut command = redis::cmd("SET");
            command.arg(families.key(place)).arg(record).arg("PX").arg(family.left_ms(now_us));
            match families.send(&command).await.map_err(|error| store_error(&error))? {
                Value::Okay => Ok(()),
                _ => Err(StoreError::Refused),
            }
        });
    }

    /// Uses a token; see [`Family::present`]. A retry after an error gets the same answer as a
    /// first try would, as long as the reuse window is open.
    pub fn present(
        self: &Arc<Self>,
        presented: RefreshAttempt,
        config: RefreshConfig,
        remembered: Duration,
        seals: Seals,
        reply: Reply<Outcome>,
    ) {
        self.spawn(reply, move |families| async move {
            // A caller that loses the race finds the token used; then there is usually nothing to
            // change.
            for _ in 0..MAX_TRIES {
                let (now_us, record) = families.read(presented.place).await?;
                let Some(record) = record else { return Ok(Outcome::Unknown) };
                let at = families.at(presented.place);
                let Some(before) = Family::unseal(&record, &at, &seals) else {
                    return Ok(Outcome::Unsealed);
                };
                let mut family = before.clone();
                let outcome = family.present(&presented, &config, micros(remembered), now_us);
                if family == before
                    || families.change(&record, &family, &seals, now_us, &at).await?
                {
                    return Ok(outcome);
                }
            }
            Err(StoreError::Overloaded)
        });
    }

    /// Ends a family.
    pub fn close(self: &Arc<Self>, place: FamilyKey, reply: Reply<()>) {
        self.spawn(reply, move |families| async move {
            let mut command = redis::cmd("DEL");
            command.arg(families.key(place));
            let (answer, lasts) = if families.connector.config().min_replicas > 0 {
                families.connector.write_lasting(&command).await
            } else {
                families.send(&command).await.map(|answer| (answer, true))
            }
            .map_err(|error| store_error(&error))?;
            match answer {
                Value::Int(_) if lasts => Ok(()),
                Value::Int(_) => Err(StoreError::NotReplicated),
                _ => Err(StoreError::Refused),
            }
        });
    }

    /// The server's clock, and the record of a family if it exists.
    async fn read(
        self: &Arc<Self>,
        place: FamilyKey,
    ) -> Result<(u64, Option<Vec<u8>>), StoreError> {
        let limit = |command: &mut Cmd| {
            command.arg(MAX_RECORD_BYTES);
        };
        let answer = self.run(&self.read, &self.key(place), limit).await?;
        clock_and_record(answer).ok_or(StoreError::Refused)
    }

    /// Replaces the record that was read with `family`; `false` if the record is another one by
    /// now.
    async fn change(
        self: &Arc<Self>,
        read: &[u8],
        family: &Family,
        seals: &Seals,
        now_us: u64,
        at: &Where<'_>,
    ) -> Result<bool, StoreError> {
        let record = family.seal(at, seals).ok_or(StoreError::Refused)?;
        let seal = read.last_chunk::<SEAL_BYTES>().ok_or(StoreError::Refused)?;
        let arguments = |command: &mut Cmd| {
            command.arg(&seal[..]).arg(&record).arg(family.left_ms(now_us).max(1));
        };
        match self.run(&self.change, &self.key(at.place), arguments).await? {
            Value::Int(changed @ 0..=1) => Ok(changed == 1),
            _ => Err(StoreError::Refused),
        }
    }

    fn at(&self, place: FamilyKey) -> Where<'_> {
        Where { prefix: &self.connector.config().prefix, place }
    }

    fn key(&self, place: FamilyKey) -> String {
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
            if let Ok(result) = timeout(TIMEOUT, asking).await {
                return answer.give(result);
            }
            if let Ok(mut link) = families.link.try_lock()
                && !matches!(*link, Some(Link::Cluster(_)))
            {
                *link = None;
            }
            answer.give(Err(StoreError::Timeout));
        });
    }

    /// The connection. A connection attempt continues after the timeout of the call that started
    /// it: otherwise a handshake that is slower than a call would never end.
    async fn link(self: &Arc<Self>) -> Result<Link, RedisError> {
        let families = Arc::clone(self);
        let connecting = runtime::spawn_beside(async move {
            let mut kept = families.link.lock().await;
            match &*kept {
                Some(link) if !link.is_over() => Ok(link.clone()),
                _ => Ok(kept.insert(families.connector.connect(Some(ANSWER)).await?).clone()),
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
                // The primary became a replica: the next connection finds the new primary.
                || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        });
        // In a cluster one node may be away: the same connections reach the others.
        if is_broken && !matches!(link, Link::Cluster(_)) {
            *self.link.lock().await = None;
        }
        answer
    }
}

/// The server's clock in microseconds, and a record.
fn clock_and_record(answer: Value) -> Option<(u64, Option<Vec<u8>>)> {
    let Value::Array(parts) = answer else { return None };
    let [seconds, micros, record] = <[Value; 3]>::try_from(parts).ok()?;
    let record = match record {
        Value::Nil => None,
        Value::BulkString(record) => Some(record),
        _ => return None,
    };
    let (seconds, micros) = (number(&seconds, YEAR_9999)?, number(&micros, 1_000_000)?);
    Some((seconds * 1_000_000 + micros, record))
}

/// A whole number below `end`.
fn number(value: &Value, end: u64) -> Option<u64> {
    let Value::BulkString(text) = value else { return None };
    let text = std::str::from_utf8(text).ok()?;
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())??;
    (number < end).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn the_clock_and_a_record_are_read_and_nothing_else() {
        let read = |parts: [Value; 3]| clock_and_record(Value::Array(parts.into()));
        assert_eq!(read([bulk("5"), bulk("7"), Value::Nil]), Some((5_000_007, None)));
        let record = Some((0, Some(b"r".to_vec())));
        assert_eq!(read([bulk("0"), bulk("0"), bulk("r")]), record);
        for text in ["", "-1", "+1", " 1", "1.0", "1e3", "253402300800", "99999999999999999999"] {
            assert_eq!(read([bulk(text), bulk("0"), Value::Nil]), None, "{text}");
        }
        assert_eq!(read([bulk("5"), bulk("1000000"), Value::Nil]), None);
        assert_eq!(read([bulk("5"), bulk("7"), Value::Int(1)]), None);
        assert_eq!(clock_and_record(Value::Array(vec![bulk("5"), bulk("7")])), None);
        assert_eq!(clock_and_record(Value::Nil), None);
    }

    proptest! {
        #[test]
        fn any_clock_is_read_or_refused(seconds in ".{0,24}", micros in ".{0,24}") {
            let _ = clock_and_record(Value::Array(vec![bulk(&seconds), bulk(&micros), Value::Nil]));
        }
    }
}
