//! Evaluates a rule for a request.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use regorus::{Engine, LimitError, Value};

use super::config::{Limits, PolicyConfig, rule_path};
use super::decision::{FaultKind, Outcome};
use super::input::{Budget, InputParts, InputPlan, convert};
use super::load;
use super::resource::ResourceAnswer;
use super::scan::Scan;
use super::{builtins, cache};
use crate::clock::Now;
use crate::error::ConfigError;
use crate::refusal::Refusal;

/// The maximum number of engines per thread. A process has one or two sets; more exist only during
/// a reload or in a test.
const ENGINES_PER_THREAD: usize = 8;

/// Checked modules and data. They never change; clones share them.
#[derive(Clone)]
pub struct PolicySet {
    inner: Arc<Inner>,
}

struct Inner {
    id: u64,
    policy: String,
    /// The template for every thread's own engine. It never evaluates.
    engine: Engine,
    scan: Scan,
    plan: InputPlan,
    limits: Limits,
    prints: bool,
    /// Whether its result may change with time.
    reads_time: bool,
    /// Whether the same input always gets the same result and is likely to repeat.
    repeats: bool,
    query: Arc<str>,
}

/// A rule of one [`PolicySet`] that was checked to exist and to deny by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryId {
    set: u64,
    rule: Arc<str>,
}

struct ThreadEngine {
    id: u64,
    set: Weak<Inner>,
    engine: Engine,
}

thread_local! {
    /// An engine is `&mut` during an evaluation and stays warm, so each thread has its own. The
    /// most recent one is last.
    static ENGINES: RefCell<Vec<ThreadEngine>> = const { RefCell::new(Vec::new()) };
}

impl PolicySet {
    /// Loads and checks the modules. An [`InvalidPolicy`](crate::error::ConfigCode::InvalidPolicy)
    /// error has `file:line:col` in its text.
    pub fn compile(config: &PolicyConfig) -> Result<Self, ConfigError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let mut loaded = load::load(config)?;
        load::entrypoint(&loaded.scan, &format!("{}.query", config.path), &config.query)?;
        load::prepare(&mut loaded.engine, &config.path, &config.query)?;
        let plan = InputPlan::new(&loaded.scan.needs);
        Ok(Self {
            inner: Arc::new(Inner {
                id: NEXT.fetch_add(1, Ordering::Relaxed),
                policy: config.path.clone(),
                engine: loaded.engine,
                reads_time: plan.reads_time() || cache::asks_time(&loaded.scan),
                repeats: plan.repeats() && cache::is_pure(&loaded.scan),
                plan,
                scan: loaded.scan,
                limits: config.limits,
                prints: loaded.prints,
                query: Arc::from(config.query.as_str()),
            }),
        })
    }

    /// The rule of the configuration.
    #[must_use]
    pub fn default_query(&self) -> QueryId {
        QueryId { set: self.inner.id, rule: Arc::clone(&self.inner.query) }
    }

    /// Another rule, for one route: `path` is the option that names it, `query` is as in
    /// [`PolicyConfig::parse`].
    pub fn query(&self, path: &str, query: &str) -> Result<QueryId, ConfigError> {
        let query = rule_path(path, query)?;
        load::entrypoint(&self.inner.scan, path, &query)?;
        load::prepare(&mut self.inner.engine.clone(), &self.inner.policy, &query)?;
        Ok(QueryId { set: self.inner.id, rule: Arc::from(query) })
    }

    /// Whether any module reads `input.body`. If not, the policy can be evaluated before the body
    /// is read.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.inner.plan.reads_body()
    }

    /// Whether any module reads `input.params`.
    #[must_use]
    pub fn reads_params(&self) -> bool {
        self.inner.plan.reads_params()
    }

    /// Whether any module reads `input.resource`.
    #[must_use]
    pub fn reads_resource(&self) -> bool {
        self.inner.plan.reads_resource()
    }

    /// The resource in an answer of the application.
    ///
    /// # Errors
    /// The outcome for a request without a usable answer: never [`Outcome::Allow`].
    pub fn read_resource(&self, answer: ResourceAnswer) -> Result<serde_json::Value, Outcome> {
        answer.read(&self.inner.limits)
    }

    /// Whether any module reads `input.headers`.
    #[must_use]
    pub fn reads_headers(&self) -> bool {
        self.inner.plan.reads_headers()
    }

    /// Whether a module reads the decoded segments of the path.
    #[must_use]
    pub fn reads_decoded_path(&self) -> bool {
        self.inner.plan.reads_decoded_path()
    }

    /// Whether any module reads `input.client`.
    #[must_use]
    pub fn reads_client(&self) -> bool {
        self.inner.plan.reads_client()
    }

    /// Whether any module reads the time. If so, its result may change at any moment.
    #[must_use]
    pub fn reads_time(&self) -> bool {
        self.inner.reads_time
    }

    /// Refuses a query string that the policy reads and that Express may read differently.
    ///
    /// # Errors
    /// 400, with the code of the fault.
    pub fn check_query(&self, query: &str) -> Result<(), Refusal> {
        if query.is_empty() { Ok(()) } else { self.inner.plan.check_query(query) }
    }

    /// Members of `input` that the modules read but that do not exist, such as a misspelt
    /// `input.usr`.
    #[must_use]
    pub fn unknown_input(&self) -> &[String] {
        self.inner.plan.unknown()
    }

    /// Evaluates `query` for a request. It never panics, and only [`Outcome::Allow`] lets the
    /// request pass.
    pub fn evaluate(&self, query: &QueryId, input: &InputParts<'_>, now: Now) -> Outcome {
        let Inner { id, plan, limits, .. } = &*self.inner;
        let remembers = self.inner.repeats && query.set == *id;
        let key = remembers
            .then(|| cache::key(*id, &query.rule, |out| plan.write(input, now, limits, out)))
            .flatten();
        if let Some(known) = key.and_then(cache::get) {
            return known;
        }
        let input = match plan.build(input, now, limits) {
            Ok(input) => input,
            Err(error) => return Outcome::denied(error.reason()),
        };
        let outcome = self.ask(query, input, now);
        if let Some(key) = key {
            cache::put(key, &outcome);
        }
        outcome
    }

    /// Evaluates `query` for a hand-made input: for tests of a policy and for decisions that are
    /// not about requests.
    pub fn evaluate_json(&self, query: &QueryId, input: &serde_json::Value, now: Now) -> Outcome {
        let limits = &self.inner.limits;
        match convert(input, &mut Budget::new(limits), limits.depth) {
            Ok(input) => self.ask(query, input, now),
            Err(error) => Outcome::denied(error.reason()),
        }
    }

    fn ask(&self, query: &QueryId, input: Value, now: Now) -> Outcome {
        if query.set != self.inner.id {
            return Outcome::fault(FaultKind::ForeignQuery);
        }
        let mut engine = self.take_engine();
        builtins::set_now(now);
        let answer = catch_unwind(AssertUnwindSafe(|| {
            engine.set_input(input);
            let value = engine.eval_rule(query.rule.to_string());
            // The input may hold personal data, so it must not outlive the request in an idle
            // engine.
            engine.set_input(Value::Undefined);
            if self.inner.prints {
                drop(engine.take_prints());
            }
            value.map(|value| Outcome::read(&value))
        }));
        match answer {
            Ok(Ok(outcome)) => {
                self.keep_engine(engine);
                outcome
            }
            // After an error the engine is discarded: regorus leaves scopes and `with` replacements
            // behind.
            Ok(Err(error)) => {
                let limit = error.downcast_ref::<LimitError>();
                let text = error.to_string();
                // If a function exceeded the limit, only the text of the error remains.
                let timed_out = matches!(limit, Some(LimitError::TimeLimitExceeded { .. }))
                    || text.contains("time limit");
                let kind = if timed_out { FaultKind::TimeLimit } else { FaultKind::Evaluation };
                Outcome::Fault { kind, place: load::place(&text).map(str::to_owned) }
            }
            Err(_) => Outcome::Fault { kind: FaultKind::Panic, place: crate::panics::take_place() },
        }
    }

    fn take_engine(&self) -> Engine {
        let id = self.inner.id;
        let kept = ENGINES.try_with(|engines| {
            let mut engines = engines.borrow_mut();
            let at = engines.iter().rposition(|kept| kept.id == id)?;
            Some(engines.remove(at).engine)
        });
        kept.ok().flatten().unwrap_or_else(|| self.inner.engine.clone())
    }

    fn keep_engine(&self, engine: Engine) {
        let kept = ThreadEngine { id: self.inner.id, set: Arc::downgrade(&self.inner), engine };
        // While a thread ends, its engines are gone.
        let _ = ENGINES.try_with(|engines| {
            let mut engines = engines.borrow_mut();
            engines.retain(|kept| kept.set.strong_count() > 0);
            if engines.len() >= ENGINES_PER_THREAD {
                engines.remove(0);
            }
            engines.push(kept);
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Other threads drop theirs at their next evaluation.
        let id = self.id;
        let _ = ENGINES.try_with(|engines| {
            if let Ok(mut engines) = engines.try_borrow_mut() {
                engines.retain(|kept| kept.id != id);
            }
        });
    }
}

impl fmt::Debug for PolicySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicySet")
            .field("query", &self.inner.query)
            .field("rules", &self.inner.scan.rules.len())
            .finish_non_exhaustive()
    }
}
