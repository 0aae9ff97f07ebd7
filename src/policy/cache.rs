//! A cache of decisions.
//!
//! A policy is a function of its input and its data, and the data of a [`super::PolicySet`] never
//! changes. So if the modules read nothing that changes by itself (the time, a random number), the
//! same input always gets the same decision. Evaluating it again is a waste: in an interpreter, the
//! evaluation is the most expensive step of a request.
//!
//! An input is identified by a 128-bit keyed hash of all its sources. Outsiders can't target it,
//! and a collision takes about 2^64 inputs. The cache keeps neither the claims nor anything else of
//! a request, except for texts that a policy itself puts into its reasons. Faults are not cached.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use regorus::Value;
use serde_json::Value as Json;

use super::decision::Outcome;
use super::scan::Scan;

/// Functions whose result may change from call to call, or that have a side effect.
const IMPURE: [&str; 5] = ["print", "rand.intn", "time.now_ns", "trace", "uuid.rfc4122"];

/// The maximum number of cached decisions per thread. A client that always sends new inputs empties
/// the cache, and its requests cost as much as without one.
const MOST: usize = 1024;

thread_local! {
    static KNOWN: RefCell<BTreeMap<Key, Outcome>> = const { RefCell::new(BTreeMap::new()) };
}

/// The key of a decision, from the policy set, the rule and the whole input.
pub(super) type Key = u128;

/// Whether the modules always give the same result for the same input.
pub(super) fn is_pure(scan: &Scan) -> bool {
    !calls(scan, &IMPURE)
}

/// Whether the modules read the time.
pub(super) fn asks_time(scan: &Scan) -> bool {
    calls(scan, &["time.now_ns"])
}

fn calls(scan: &Scan, functions: &[&str]) -> bool {
    let is_one = |name: &[String]| functions.contains(&name.join(".").as_str());
    scan.rules
        .iter()
        .flat_map(|rule| &rule.calls)
        .any(|call| is_one(&call.name) || call.imported.as_deref().is_some_and(is_one))
}

/// The key of a decision on the input that `write` encodes; `None` if `write` returns `None`.
pub(super) fn key(
    set: u64,
    rule: &str,
    write: impl FnOnce(&mut Writer) -> Option<()>,
) -> Option<Key> {
    static KEYS: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    let (one, other) = KEYS.get_or_init(|| (RandomState::new(), RandomState::new()));
    let mut writer = Writer(Vec::with_capacity(512));
    writer.number(set);
    writer.text(rule);
    write(&mut writer)?;
    let bytes = writer.0.as_slice();
    Some(u128::from(one.hash_one(bytes)) << 64 | u128::from(other.hash_one(bytes)))
}

/// The cached decision of this thread, if there is one.
pub(super) fn get(key: Key) -> Option<Outcome> {
    KNOWN.try_with(|known| known.borrow().get(&key).cloned()).ok().flatten()
}

/// Caches a decision.
pub(super) fn put(key: Key, outcome: &Outcome) {
    if matches!(outcome, Outcome::Fault { .. }) {
        return;
    }
    // While a thread ends, its cache is gone.
    let _ = KNOWN.try_with(|known| {
        let mut known = known.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, outcome.clone());
    });
}

/// Encodes an input uniquely: different inputs have different encodings.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// The length distinguishes `["ab", "c"]` from `["a", "bc"]`.
    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Writes an optional value.
    pub(super) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.tag(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn json(&mut self, json: &Json) {
        match json {
            Json::Null => self.tag(0),
            Json::Bool(bool) => self.tag(1 + u8::from(*bool)),
            Json::Number(number) => {
                self.tag(3);
                // In the order of `super::input`, so that two numbers that differ for a policy
                // differ here.
                if let Some(number) = number.as_i64() {
                    self.tag(0);
                    self.0.extend_from_slice(&number.to_le_bytes());
                } else if let Some(number) = number.as_u64() {
                    self.tag(1);
                    self.number(number);
                } else {
                    self.tag(2);
                    self.maybe(number.as_f64(), |writer, float| writer.number(float.to_bits()));
                }
            }
            Json::String(text) => {
                self.tag(4);
                self.text(text);
            }
            Json::Array(items) => {
                self.tag(5);
                self.number(items.len() as u64);
                for item in items {
                    self.json(item);
                }
            }
            Json::Object(members) => {
                self.tag(6);
                self.number(members.len() as u64);
                for (name, member) in members {
                    self.text(name);
                    self.json(member);
                }
            }
        }
    }

    /// Kinds of values that are unknown here, such as those of a later regorus, have no key.
    pub(super) fn value(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Null => self.tag(0),
            Value::Bool(bool) => self.tag(1 + u8::from(*bool)),
            Value::Number(number) => {
                self.tag(3);
                match (number.as_u64(), number.as_i64()) {
                    (Some(number), _) => self.number(number),
                    (None, Some(negative)) => {
                        self.tag(1);
                        self.number(negative.unsigned_abs());
                    }
                    (None, None) => {
                        self.tag(2);
                        self.text(&format!("{number:?}"));
                    }
                }
            }
            Value::String(text) => {
                self.tag(4);
                self.text(text);
            }
            Value::Array(items) => {
                self.tag(5);
                self.number(items.len() as u64);
                for item in items.iter() {
                    self.value(item)?;
                }
            }
            Value::Object(members) => {
                self.tag(6);
                self.number(members.len() as u64);
                for (name, member) in members.iter() {
                    self.value(name)?;
                    self.value(member)?;
                }
            }
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(json: &str) -> Key {
        let value = Value::from_json_str(json).unwrap();
        key(1, "data.a.allow", |writer| writer.value(&value)).unwrap()
    }

    fn of_json(json: &str) -> Key {
        let value: Json = serde_json::from_str(json).unwrap();
        key(1, "data.a.allow", |writer| {
            writer.json(&value);
            Some(())
        })
        .unwrap()
    }

    fn of_nothing(set: u64, rule: &str) -> Key {
        key(set, rule, |_| Some(())).unwrap()
    }

    #[test]
    fn inputs_that_look_alike_have_keys_of_their_own() {
        let inputs = [
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "1.5",
            r#""""#,
            r#""1""#,
            "[]",
            "{}",
            "[[]]",
            r#"["ab","c"]"#,
            r#"["a","bc"]"#,
            r#"{"a":"b"}"#,
            r#"["a","b"]"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":{},"b":1}"#,
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
        ];
        for of in [of, of_json] {
            let keys: std::collections::HashSet<Key> = inputs.iter().map(|json| of(json)).collect();
            assert_eq!(keys.len(), inputs.len());
        }
        assert_ne!(of_nothing(2, "data.a.allow"), of_nothing(1, "data.a.allow"));
        assert_ne!(of_nothing(1, "data.a.other"), of_nothing(1, "data.a.allow"));
        assert_eq!(key(1, "data.a.allow", |_| None), None);
    }

    proptest! {
        #[test]
        fn two_texts_share_a_key_only_if_they_are_the_same(one in ".{0,8}", other in ".{0,8}") {
            let array = |text: &str| {
                let array = Value::from(vec![Value::from(text)]);
                key(1, "r", |writer| writer.value(&array))
            };
            prop_assert_eq!(one == other, array(&one) == array(&other));
            let json = |text: &str| of_json(&Json::from(vec![text]).to_string());
            prop_assert_eq!(one == other, json(&one) == json(&other));
        }
    }
}
