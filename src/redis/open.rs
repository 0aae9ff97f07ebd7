//! Opens a connection to one server, with bounds on its replies.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisError,
    TlsCertificates, Value,
};
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(unix)]
use tokio::net::UnixStream;

use super::bounded::Bounded;
use super::tls;
use crate::store::fault::OutageCause;
use crate::store::runtime::Task;
use crate::store::tcp;

/// A connection to one server for many tasks at once; a clone is the same connection. It closes
/// with its last clone, even if replies are missing.
#[derive(Clone)]
pub struct Connection {
    link: MultiplexedConnection,
    task: Arc<Task>,
    /// The fault in the received bytes.
    fault: Arc<OnceLock<OutageCause>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Connects. `patience` is the longest wait for a reply; `None`: forever.
    pub(super) async fn open(
        info: &ConnectionInfo,
        certificates: Option<&TlsCertificates>,
        patience: Option<Duration>,
    ) -> Result<Self, RedisError> {
        match info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let stream = tcp::connect(host, *port).await?;
                Self::begin(stream, info, patience).await
            }
            ConnectionAddr::TcpTls { host, port, .. } => {
                let stream = tcp::connect(host, *port).await?;
                let stream = tls::connect(host, stream, certificates).await?;
                Self::begin(stream, info, patience).await
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| {
                    // No server has made the socket yet.
                    let is_missing = error.kind() == io::ErrorKind::NotFound;
                    if is_missing { OutageCause::ConnectionRefused.into() } else { error }
                })?;
                Self::begin(stream, info, patience).await
            }
            _ => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        }
    }

    /// Logs in.
    async fn begin<S>(
        stream: S,
        info: &ConnectionInfo,
        patience: Option<Duration>,
    ) -> Result<Self, RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config = AsyncConnectionConfig::new().set_response_timeout(patience);
        let settings = info.redis_settings();
        let stream = Bounded::new(stream);
        let fault = stream.fault();
        let opening = MultiplexedConnection::new_with_config(settings, stream, config);
        let (link, work) = opening.await.map_err(|error| with_cause(&fault, error))?;
        let task = Arc::new(Task::of(&tokio::spawn(work)));
        Ok(Self { link, task, fault })
    }

    /// Whether it has ended: the server closed it, or it failed. Nothing can be sent on it.
    pub(super) fn is_closed(&self) -> bool {
        self.task.is_over()
    }

    /// Sends commands as one pipeline. Returns one value for each.
    pub(super) async fn send(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>, RedisError> {
        let answers = self.link.req_packed_commands(pipeline, 0, pipeline.len()).await;
        answers.map_err(|error| with_cause(&self.fault, error))
    }

    /// Sends one command.
    pub(super) async fn command(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = self.link.req_packed_command(command).await;
        answer.map_err(|error| with_cause(&self.fault, error))
    }
}

/// The error of a connection, or the cause of its end if that is more precise.
fn with_cause(fault: &OnceLock<OutageCause>, error: RedisError) -> RedisError {
    match fault.get() {
        Some(fault) if !error.is_timeout() => io::Error::from(*fault).into(),
        _ => error,
    }
}
