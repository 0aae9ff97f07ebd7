//! Threads for work that waits for a file system: the thread of JavaScript must not.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;

use parking_lot::Mutex;

/// So many file systems may hang before the others wait, too.
const MAX_THREADS: usize = 4;
/// A look at a file waits at most this many others; beyond that, nothing works any more.
const MAX_WAITING: usize = 10_000;

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    running: usize,
    waiting: VecDeque<Job>,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { running: 0, waiting: VecDeque::new() });

/// Runs `job` on another thread, soon. `false` where none can be had; `job` is dropped then. The
/// threads end when there is nothing to do.
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
        // One that panics takes no thread with it. Whoever waits for it gets no answer of it.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}
