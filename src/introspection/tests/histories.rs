//! Random histories of requests, answers and failures.

use std::collections::HashMap;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    /// Requests with this token.
    Ask(u16, u8),
    Pass(u16),
    /// Answers the n-th question in flight.
    Answer(u16, Outcome),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Active,
    Inactive,
    Fails,
    Garbled,
}

fn op() -> impl Strategy<Value = Op> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Active),
        3 => Just(Outcome::Inactive),
        1 => Just(Outcome::Fails),
        1 => Just(Outcome::Garbled),
    ];
    prop_oneof![
        4 => (0_u16..150, 1_u8..4).prop_map(|(token, requests)| Op::Ask(token, requests)),
        2 => (0_u16..1500).prop_map(Op::Pass),
        4 => (any::<u16>(), outcome).prop_map(|(question, outcome)| Op::Answer(question, outcome)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_history_never_passes_without_an_answer_and_leaves_nobody_waiting(
        ops in proptest::collection::vec(op(), 1..300),
    ) {
        let mut world = World::new(&json!({ "cacheFor": "2s", "timeout": "1s" }));
        let mut asked: Vec<Question> = Vec::new();
        // The last clear answer about each token, and when it came.
        let mut last: HashMap<String, (Outcome, u64)> = HashMap::new();
        // Each request that waits: when it began, and how often it was called back.
        let waits: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
        let token_of = |question: &Question| {
            url::form_urlencoded::parse(question.form.as_bytes()).next().unwrap().1.into_owned()
        };
        for op in ops {
            match op {
                Op::Pass(ms) => {
                    world.pass(u32::from(ms) * MS);
                    asked.extend(world.due());
                }
                Op::Ask(token, requests) => {
                    let token = format!("t{token}");
                    for _ in 0..requests {
                        let known = last.get(&token).filter(|(_, at)| world.now.mono_us < at + 2_000_000);
                        match world.find(&token) {
                            Finding::Judged(text) => {
                                let wanted = known.map(|(outcome, _)| *outcome);
                                let judged = if *text == token { Outcome::Active } else { Outcome::Inactive };
                                prop_assert_eq!(Some(judged), wanted);
                            }
                            Finding::Unavailable(_) => {}
                            Finding::Wait(flight) => {
                                let mut all = waits.lock();
                                let at = all.len();
                                all.push((world.now.mono_us, 0));
                                drop(all);
                                let waits = Arc::clone(&waits);
                                world.introspection.wait(&flight, Box::new(move |_| waits.lock()[at].1 += 1));
                            }
                        }
                    }
                    asked.extend(world.due());
                }
                Op::Answer(at, outcome) => {
                    if asked.is_empty() {
                        continue;
                    }
                    let question = asked.swap_remove(usize::from(at) % asked.len());
                    // An answer that comes too late changes nothing.
                    let is_awaited = world.introspection.state.lock().in_flight.contains_key(&question.number);
                    match outcome {
                        Outcome::Active => world.answer(&question, ACTIVE),
                        Outcome::Inactive => world.answer(&question, INACTIVE),
                        Outcome::Garbled => world.answer(&question, br#"{"active":"true"}"#),
                        Outcome::Fails => world.end(&question, Err(AskError::Network)),
                    }
                    if is_awaited && matches!(outcome, Outcome::Active | Outcome::Inactive) {
                        last.insert(token_of(&question), (outcome, world.now.mono_us));
                    }
                    asked.extend(world.due());
                }
            }
            let state = world.introspection.state.lock();
            prop_assert!(state.in_flight.len() <= MAX_IN_FLIGHT + 1);
            let mut tokens: Vec<&str> =
                state.in_flight.values().filter_map(|question| question.flight.as_ref()).map(|flight| &*flight.token).collect();
            let all = tokens.len();
            tokens.sort_unstable();
            tokens.dedup();
            prop_assert_eq!(tokens.len(), all, "two questions about one token");
            let open = waits.lock().iter().filter(|(_, called)| *called == 0).count();
            prop_assert_eq!(state.lanes.iter().map(|lane| lane.waiting).sum::<usize>(), open);
        }
        for _ in 0..40 {
            world.pass(100 * MS);
            world.due();
        }
        prop_assert!(waits.lock().iter().all(|(_, called)| *called == 1));
        prop_assert!(world.introspection.state.lock().flights.is_empty());
    }
}
