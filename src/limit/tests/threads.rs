use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{at, check, limiter, request};
use crate::limit::Subject;
use crate::net::ClientKey;

#[test]
fn many_threads_together_get_exactly_the_limit() {
    for algorithm in ["gcra", "fixed-window", "sliding-window"] {
        let limiter = limiter(
            &json!({ "name": "api", "limit": 5000, "window": "60s", "algorithm": algorithm }),
        );
        let client = ClientKey::parse("203.0.113.7");
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if check(&limiter, &request(&client), at(0)).allowed {
                            admitted.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 5000, "{algorithm}");
    }
}

#[test]
fn threads_that_share_some_of_their_policies_neither_over_admit_nor_wait_for_ever() {
    let limiter = limiter(&json!([
        { "name": "user", "limit": 700, "window": "1h", "key": "user" },
        { "name": "ip", "limit": 100_000, "window": "1h" },
        { "name": "route", "limit": 2_000, "window": "1h", "key": "route" },
    ]));
    let client = ClientKey::parse("203.0.113.7");
    let users = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = users
            .iter()
            .map(|user| {
                let subject = Subject { user: Some(user), ..request(&client) };
                let limiter = &limiter;
                scope.spawn(move || {
                    (0..1500).filter(|_| check(limiter, &subject, at(0)).allowed).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts.iter().sum::<usize>(), 2_000);
    // A refused request costs the users nothing.
    for (user, count) in users.iter().zip(counts) {
        let left = limiter.get("user", &[user], at(0)).unwrap().remaining;
        assert_eq!(left, 700 - count as u64);
    }
}
