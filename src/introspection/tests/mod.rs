mod answers;
mod histories;
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::state::{MAX_NEW_IN_FLIGHT, MAX_REFUSED};
use super::*;
use crate::config::options::Options;
use crate::error::ConfigError;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn parse(value: &Value) -> Result<Option<Endpoint>, ConfigError> {
    Endpoint::parse(&Options::read("jwt", value, &["introspection"])?)
}

fn endpoint(more: &Value) -> Endpoint {
    let mut options = json!({
        "url": "https://id.example/introspect", "clientId": "api", "clientSecret": "s3cret",
    });
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    parse(&json!({ "introspection": options })).unwrap().unwrap()
}

/// An endpoint with a clock that the test moves. An active token is judged as its own text.
struct World {
    introspection: Introspection<String>,
    now: Now,
    warnings: Vec<OperatorWarning>,
}

const ACTIVE: &[u8] = br#"{"active":true}"#;
const INACTIVE: &[u8] = br#"{"active":false}"#;

impl World {
    fn new(more: &Value) -> Self {
        let introspection = Introspection::new(endpoint(more)).unwrap();
        Self { introspection, now: Now::at_unix_us(1_000_000_000), warnings: Vec::new() }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
    }

    fn find(&self, token: &str) -> Finding<String> {
        self.introspection.find(token, self.now, true)
    }

    /// The judged text; `None` if the token has to wait.
    fn judged(&self, token: &str) -> Result<Option<String>, Unavailable> {
        match self.find(token) {
            Finding::Judged(text) => Ok(Some(text.as_str().to_owned())),
            Finding::Unavailable(why) => Err(why),
            Finding::Wait(_) => Ok(None),
        }
    }

    /// Requests with this token wait; returns how many of them have been answered.
    fn wait(&self, token: &str, requests: usize) -> Arc<AtomicUsize> {
        let answered = Arc::new(AtomicUsize::new(0));
        for _ in 0..requests {
            let Finding::Wait(flight) = self.find(token) else { panic!("{token} need not wait") };
            let count = Arc::clone(&answered);
            let reply = Box::new(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            self.introspection.wait(&flight, reply);
        }
        answered
    }

    fn due(&mut self) -> Vec<Question> {
        let (questions, _, notice) = self.introspection.due(self.now);
        self.warnings.extend(notice);
        questions
    }

    fn answer(&mut self, question: &Question, body: &[u8]) {
        let head = AnswerHead { status: 200, content_type: Some("application/json".to_owned()) };
        self.end(question, Ok((&head, body)));
    }

    fn end(&mut self, question: &Question, came: Result<(&AnswerHead, &[u8]), AskError>) {
        let notice =
            self.introspection.answered(question.number, came, self.now, |token, answer| {
                let is_active = matches!(answer, Answer::Active(..));
                let value = if is_active { token.to_owned() } else { "inactive".to_owned() };
                Judgement { value, is_active, bytes: 100 }
            });
        self.warnings.extend(notice);
    }

    /// Answers all questions that are due, until none is.
    fn settle(&mut self, body: &[u8]) -> usize {
        let mut asked = 0;
        loop {
            let questions = self.due();
            if questions.is_empty() {
                return asked;
            }
            for question in questions {
                asked += 1;
                self.answer(&question, body);
            }
        }
    }

    fn status(&self) -> IntrospectionStatus {
        self.introspection.status(self.now)
    }
}

#[test]
fn requests_with_one_token_wait_for_one_question() {
    let mut world = World::new(&json!({}));
    let answered = world.wait("t", 1000);
    let questions = world.due();
    assert_eq!(questions.len(), 1);
    assert_eq!(questions[0].form, "token=t&token_type_hint=access_token");
    assert_eq!((world.due().len(), world.status().waiting), (0, 1000));
    world.answer(&questions[0], ACTIVE);
    assert_eq!((answered.load(Ordering::Relaxed), world.status().waiting), (1000, 0));
    assert_eq!(world.judged("t"), Ok(Some("t".to_owned())));
}

#[test]
fn an_answer_is_used_for_cache_for_and_one_that_refuses_for_five_seconds() {
    let mut world = World::new(&json!({}));
    world.wait("good", 1);
    world.settle(ACTIVE);
    world.wait("bad", 1);
    world.settle(INACTIVE);
    world.pass(4999 * MS);
    assert_eq!(world.judged("bad"), Ok(Some("inactive".to_owned())));
    world.pass(MS);
    assert_eq!(world.judged("bad"), Ok(None));
    world.pass(4999 * MS);
    assert_eq!(world.judged("good"), Ok(Some("good".to_owned())));
    world.pass(MS);
    assert_eq!(world.judged("good"), Ok(None));
}

#[test]
fn an_answer_that_changed_replaces_the_one_before_it() {
    let mut world = World::new(&json!({ "cacheFor": "1s" }));
    for body in [ACTIVE, INACTIVE, ACTIVE] {
        world.wait("t", 1);
        world.settle(body);
        let value = if body == ACTIVE { "t" } else { "inactive" };
        assert_eq!(world.judged("t"), Ok(Some(value.to_owned())));
        world.pass(SECOND);
    }
}

#[test]
fn nothing_is_asked_where_the_caller_does_not_wait() {
    let world = World::new(&json!({}));
    let found = world.introspection.find("t", world.now, false);
    assert!(matches!(found, Finding::Unavailable(Unavailable::Failing)));
}

#[test]
fn made_up_tokens_push_no_active_token_out_and_leave_room_for_it() {
    let mut world = World::new(&json!({}));
    world.wait("honest", 1);
    world.settle(ACTIVE);
    let mut refused = 0;
    for i in 0..10_000 {
        match world.find(&format!("made-up-{i}")) {
            Finding::Unavailable(Unavailable::Busy) => refused += 1,
            Finding::Wait(_) => {}
            _ => panic!("a made-up token was judged"),
        }
    }
    assert_eq!(refused, 10_000 - MAX_WAITING);
    let flood = world.due();
    assert_eq!(flood.len(), MAX_NEW_IN_FLIGHT);
    assert_eq!(world.judged("honest"), Ok(Some("honest".to_owned())));
    // Its answer gets too old, and its question begins at once.
    world.pass(10 * SECOND);
    let answered = world.wait("honest", 1);
    world.due();
    let honest = world.due();
    assert!(honest.is_empty(), "nothing is asked twice");
    let number = world.introspection.state.lock().number;
    let asked =
        world.introspection.state.lock().in_flight.values().any(|question| {
            question.flight.as_ref().is_some_and(|flight| &*flight.token == "honest")
        });
    assert!(asked);
    // The flood was lost in time: answer whatever is in flight.
    for number in 1..=number {
        let question = Question { number, ..flood[0].clone() };
        world.answer(&question, ACTIVE);
    }
    assert_eq!(answered.load(Ordering::Relaxed), 1);
}

#[test]
fn refused_tokens_fill_their_own_table_alone() {
    let mut world = World::new(&json!({ "cacheFor": "5m" }));
    world.wait("honest", 1);
    world.settle(ACTIVE);
    for i in 0..3 * MAX_REFUSED {
        world.wait(&format!("made-up-{i}"), 1);
        world.settle(INACTIVE);
    }
    assert_eq!(world.judged("honest"), Ok(Some("honest".to_owned())));
    let state = world.introspection.state.lock();
    assert!(state.refused.sizes().0 <= MAX_REFUSED);
    assert!(state.held.len() <= 2 * MAX_WAITING);
    assert!(state.flights.is_empty());
}

#[test]
fn a_request_that_waits_gets_its_answer_though_it_left_the_table() {
    let mut world = World::new(&json!({}));
    let Finding::Wait(flight) = world.find("t") else { panic!() };
    world.settle(ACTIVE);
    world.introspection.state.lock().active.remove(&flight.key);
    assert_eq!(world.judged("t"), Ok(Some("t".to_owned())));
    drop(flight);
    assert_eq!(world.judged("t"), Ok(None));
}

#[test]
fn a_question_that_failed_is_not_repeated_at_once_and_causes_one_probe() {
    let mut world = World::new(&json!({}));
    world.wait("t", 1);
    let questions = world.due();
    world.end(&questions[0], Err(AskError::Network));
    assert_eq!(world.judged("t"), Err(Unavailable::Failing));
    // Others are still asked about.
    world.wait("u", 1);
    let questions = world.due();
    assert_eq!(questions.len(), 2);
    assert!(!questions[0].form.contains("=u&"), "the first one is the probe");
    world.answer(&questions[0], INACTIVE);
    world.answer(&questions[1], ACTIVE);
    assert_eq!(world.judged("u"), Ok(Some("u".to_owned())));
    assert_eq!((world.status().is_failing, world.warnings.len()), (false, 0));
    world.pass(SECOND);
    assert_eq!(world.judged("t"), Ok(None));
}

#[test]
fn tokens_that_make_an_endpoint_fail_do_not_make_it_look_dead() {
    let mut world = World::new(&json!({}));
    let mut probes = 0;
    for i in 0..1000 {
        world.wait(&format!("crafted-{i}"), 1);
        world.wait(&format!("honest-{i}"), 1);
        for question in world.due() {
            if question.form.contains("crafted") {
                let head = AnswerHead { status: 500, content_type: None };
                world.end(&question, Ok((&head, b"")));
            } else if question.form.contains("honest") {
                world.answer(&question, ACTIVE);
            } else {
                probes += 1;
                world.answer(&question, INACTIVE);
            }
        }
        let honest = format!("honest-{i}");
        assert_eq!(world.judged(&honest), Ok(Some(honest.clone())));
        world.pass(10 * MS);
    }
    assert!((1..=11).contains(&probes), "{probes} probes in ten seconds");
    assert!(world.warnings.is_empty());
}

#[test]
fn a_dead_endpoint_is_left_alone_and_its_end_and_return_are_published_once() {
    let mut world = World::new(&json!({}));
    world.wait("known", 1);
    world.settle(ACTIVE);
    let mut asked = 0;
    for i in 0..600 {
        for question in world.due() {
            asked += 1;
            world.end(&question, Err(AskError::Network));
        }
        let _ = world.find(&format!("new-{i}"));
        world.pass(100 * MS);
        if i < 90 {
            assert_eq!(world.judged("known"), Ok(Some("known".to_owned())), "{i}");
        }
    }
    assert!((5..=12).contains(&asked), "{asked} questions in a minute");
    assert_eq!(world.judged("new"), Err(Unavailable::Failing));
    assert!(world.status().is_failing);
    assert_eq!(world.status().fault, Some(AskError::Network));
    world.pass(30 * SECOND);
    world.settle(INACTIVE);
    assert!(!world.status().is_failing);
    let codes: Vec<&str> = world.warnings.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["GUARD_ISSUER_FAILING", "GUARD_ISSUER_RECOVERED"]);
    assert_eq!(world.judged("new"), Ok(None));
}

#[test]
fn an_endpoint_that_takes_a_made_up_token_is_asked_about_no_other() {
    let mut world = World::new(&json!({}));
    world.wait("t", 1);
    let questions = world.due();
    world.answer(&questions[0], b"<html>");
    let probe = world.due();
    world.answer(&probe[0], ACTIVE);
    assert_eq!(world.status().fault, Some(AskError::Credulous));
    assert_eq!(world.judged("u"), Err(Unavailable::Failing));
}

#[test]
fn requests_that_wait_are_answered_when_the_endpoint_is_found_dead() {
    let mut world = World::new(&json!({}));
    let waits: Vec<_> = (0..200).map(|i| world.wait(&format!("t{i}"), 2)).collect();
    let first = world.due();
    assert_eq!(first.len(), MAX_NEW_IN_FLIGHT);
    world.end(&first[0], Err(AskError::Network));
    let probe = world.due();
    world.end(&probe[0], Err(AskError::Network));
    let ended = waits.iter().map(|wait| wait.load(Ordering::Relaxed)).sum::<usize>();
    // All but those whose question is in flight.
    assert_eq!(ended, 2 * (200 - MAX_NEW_IN_FLIGHT));
    assert_eq!(world.judged("t199"), Err(Unavailable::Failing));
}

#[test]
fn nobody_waits_longer_than_twice_the_timeout_and_a_second() {
    let mut world = World::new(&json!({ "timeout": "500ms" }));
    let waits: Vec<_> = (0..500).map(|i| world.wait(&format!("t{i}"), 1)).collect();
    for _ in 0..21 {
        world.due();
        world.pass(100 * MS);
    }
    assert!(waits.iter().all(|wait| wait.load(Ordering::Relaxed) == 1));
    assert_eq!(world.status().waiting, 0);
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut world = World::new(&json!({ "timeout": "500ms" }));
    let Finding::Wait(_flight) = world.find("t") else { panic!() };
    let questions = world.due();
    world.pass(2 * SECOND);
    world.due();
    world.answer(&questions[0], ACTIVE);
    assert_eq!(world.judged("t"), Err(Unavailable::Failing));
}

#[test]
fn closing_answers_all_requests_and_asks_nothing_more() {
    let mut world = World::new(&json!({}));
    let waits = [world.wait("t", 3), world.wait("u", 2)];
    let questions = world.due();
    world.introspection.close();
    assert_eq!(waits.map(|wait| wait.load(Ordering::Relaxed)), [3, 2]);
    world.answer(&questions[0], ACTIVE);
    assert_eq!(world.judged("t"), Err(Unavailable::Failing));
    assert!(world.due().is_empty());
}

#[test]
fn neither_tokens_nor_credentials_are_shown() {
    let mut world = World::new(&json!({}));
    let Finding::Wait(flight) = world.find("the-token") else { panic!() };
    let questions = world.due();
    let shown = format!("{:?} {flight:?} {questions:?}", world.introspection);
    let basic = &questions[0].headers.iter().find(|(name, _)| name == "authorization").unwrap().1;
    for secret in ["the-token", "s3cret", basic.as_str()] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(!format!("{:?}", world.introspection.endpoint()).contains(basic.as_str()));
}
