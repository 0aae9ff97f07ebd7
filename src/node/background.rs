//! Threads for work that waits for a file system: the JavaScript thread must not block.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;

use parking_lot::Mutex;

/// The number of file systems that may hang before others have to wait, too.
const MAX_THREADS: usize = 4;
/// The most jobs that may wait. A longer queue means that no file system works any more.
const MAX_WAITING: usize = 10_000;

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    running: usize,
    waiting: VecDeque<Job>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { running: 0, waiting: VecDeque::new() });

/// Runs `job` on another thread, soon. Returns `false` if no thread is available, and drops `job`.
/// The threads end when there is nothing to do.
pub(super) fn run(job: impl FnOnce() + Send + 'static) -> bool {
    let mut pool = POOL.lock();
    if pool.waiting.len() >= MAX_WAITING {
        return false;
    }
    if pool.running < MAX_THREADS {
        let thread = Builder::new().name("keepstone-files".to_owned());
        if thread.spawn(work).is_ok() {
            pool.running += 1;
        } else if pool.running == 0 {
            return false;
        }
    }
    pool.waiting.push_back(Box::new(job));
    true
}

fn work() {
    loop {
        let job = {
            let mut pool = POOL.lock();
            let Some(job) = pool.waiting.pop_front() else {
                pool.running -= 1;
                return;
            };
            job
        };
        // A job that panics does not end its thread. The receiver of its result gets none.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}
