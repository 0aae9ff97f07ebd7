//! The one thread that talks to shared stores. It starts with the first such store of the process,
//! serves all JavaScript threads, and does not keep the process alive.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::{AbortHandle, JoinHandle};

/// How often a process sends a heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// After this much silence, in milliseconds, a process is no longer counted.
pub(crate) const SILENCE_MS: u64 = 7_000;
/// The longest that a probe may take. It may be slower than a request would wait for.
pub(crate) const PROBE: Duration = Duration::from_millis(500);
/// The longest that a connection may take to open. No request waits for it.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The delay between attempts to connect: the first one, and the longest.
pub(crate) const BACKOFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));

/// The most threads that resolve names at once.
const MAX_NAME_LOOKUPS: usize = 8;

/// Runs `task` on the store thread. `false`: the thread can't be started, so nothing will ever
/// answer.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) -> bool {
    static RUNTIME: OnceLock<Option<Handle>> = OnceLock::new();
    #[cfg(test)]
    let Err(task) = crate::simulation::spawn(task) else { return true };
    let Some(handle) = RUNTIME.get_or_init(start) else { return false };
    handle.spawn(task);
    true
}

/// Runs `task` on the store thread, beside the task of the caller.
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
    // One thread is enough: it waits for sockets nearly all of the time, and a second one would
    // cost each answer a hand-over.
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

    /// Whether the task has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Up to a quarter more or less, so that processes which start or fail together spread out.
pub(crate) fn jittered(span: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter.
    let _ = crate::random::fill(&mut byte);
    span * 3 / 4 + span * u32::from(byte[0]) / 512
}
