//! The one thread that talks to shared stores. It is started with the first such store of the
//! process, shared by all threads of JavaScript, and holds nothing open: it ends with the process.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::{AbortHandle, JoinHandle};

/// How often a process says that it is alive.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// After how much silence, in milliseconds, it is not counted any more.
pub(crate) const SILENCE_MS: u64 = 7_000;
/// The longest that a probe may take: it may be slower than a request would wait for.
pub(crate) const PROBE: Duration = Duration::from_millis(500);
/// How long making a connection may take. No request waits for it.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between attempts to connect: at first, and at most.
pub(crate) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));

/// How many threads at most ask for the addresses of names at once.
const MAX_NAME_LOOKUPS: usize = 8;

/// Runs `task` on that thread. `false` where no thread can be had: then nothing will ever answer.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> bool {
    static RUNTIME: OnceLock<Option<Handle>> = OnceLock::new();
    #[cfg(test)]
    let Err(task) = crate::simulation::spawn(task) else { return true };
    let Some(handle) = RUNTIME.get_or_init(start) else { return false };
    handle.spawn(task);
    true
}

/// Runs `task` beside the one that runs, which is on that thread.
pub(crate) fn spawn_beside<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    #[cfg(test)]
    let task = match crate::simulation::spawn(task) {
        Ok(handle) => return handle,
        Err(task) => task,
    };
    tokio::spawn(task)
}

fn start() -> Option<Handle> {
    // One thread: it waits for sockets nearly all of the time, and a second one would cost each
    // answer a hand-over.
    let mut builder = Builder::new_current_thread();
    builder.max_blocking_threads(MAX_NAME_LOOKUPS);
    let runtime = builder.enable_all().build().ok()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("keepstone-store".to_owned()).spawn(run).ok()?;
    Some(handle)
}

/// A task that ends with its owner.
#[derive(Debug)]
pub(crate) struct Task(AbortHandle);

impl Task {
    pub(crate) fn of<T>(task: &JoinHandle<T>) -> Self {
        Self(task.abort_handle())
    }

    /// Whether it has come to its end.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Up to a quarter more or less, so that processes which start or fail together do not go on
/// together.
pub(crate) fn jittered(span: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter.
    let _ = crate::random::fill(&mut byte);
    span * 3 / 4 + span * u32::from(byte[0]) / 512
}
