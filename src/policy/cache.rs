//! Decisions that were made already.
//!
//! A policy is a function of its input and its data, and the data of a [`super::PolicySet`] never changes. So where the
//! modules ask for nothing that changes by itself (the time, a random number), the answer to the same input is the same
//! answer, and evaluating it again is a waste: with an interpreter it is the dearest step of a request.
//!
//! An input is known by a 128-bit keyed hash of all of it, which nobody outside can aim at: for two inputs to meet takes
//! about 2^64 of them. Neither the claims nor anything else of a request is kept, but for what a policy itself writes into
//! its reasons. Faults are not remembered.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

use regorus::Value;

use super::decision::Outcome;
use super::scan::Scan;

/// Functions whose answer is another one the next time, or that do something.
const IMPURE: [&str; 5] = ["print", "rand.intn", "time.now_ns", "trace", "uuid.rfc4122"];

/// Decisions that one thread remembers. Whoever sends ever new inputs makes us forget, and pays no less than before.
const MOST: usize = 1024;

thread_local! {
    static KNOWN: RefCell<BTreeMap<Key, Outcome>> = const { RefCell::new(BTreeMap::new()) };
}

/// What a decision is remembered by: the policy set, the rule and the whole input.
pub(super) type Key = u128;

/// Whether the modules always give the same answer to the same input.
pub(super) fn is_pure(scan: &Scan) -> bool {
    let impure = |name: &[String]| IMPURE.contains(&name.join(".").as_str());
    !scan
        .rules
        .iter()
        .flat_map(|rule| &rule.calls)
        .any(|call| impure(&call.name) || call.imported.as_deref().is_some_and(impure))
}

/// The key of a question.
pub(super) fn key(set: u64, rule: &str, input: &Value) -> Option<Key> {
    static KEYS: OnceLock<(RandomState, RandomState)> = OnceLock::new();
    let (one, other) = KEYS.get_or_init(|| (RandomState::new(), RandomState::new()));
    let mut hashers = Twice(one.build_hasher(), other.build_hasher());
    hashers.number(set);
    hashers.text(rule);
    hashers.value(input)?;
    Some(u128::from(hashers.0.finish()) << 64 | u128::from(hashers.1.finish()))
}

/// The decision, if it was made on this thread.
pub(super) fn get(key: Key) -> Option<Outcome> {
    KNOWN.try_with(|known| known.borrow().get(&key).cloned()).ok().flatten()
}

/// Remembers a decision.
pub(super) fn put(key: Key, outcome: &Outcome) {
    if matches!(outcome, Outcome::Fault { .. }) {
        return;
    }
    // While a thread ends there is nothing left to keep it in.
    let _ = KNOWN.try_with(|known| {
        let mut known = known.borrow_mut();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, outcome.clone());
    });
}

/// Two hashes of the same, under two keys.
struct Twice<H>(H, H);

impl<H: Hasher> Twice<H> {
    fn tag(&mut self, tag: u8) {
        self.0.write_u8(tag);
        self.1.write_u8(tag);
    }

    fn number(&mut self, number: u64) {
        self.0.write_u64(number);
        self.1.write_u64(number);
    }

    /// The length keeps `["ab", "c"]` apart from `["a", "bc"]`.
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.write(text.as_bytes());
        self.1.write(text.as_bytes());
    }

    /// Nothing that a later regorus may add is taken for something else: then there is no key.
    fn value(&mut self, value: &Value) -> Option<()> {
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
        key(1, "data.a.allow", &Value::from_json_str(json).unwrap()).unwrap()
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
        let keys: std::collections::HashSet<Key> = inputs.iter().map(|json| of(json)).collect();
        assert_eq!(keys.len(), inputs.len());
        assert_ne!(key(2, "data.a.allow", &Value::Null), key(1, "data.a.allow", &Value::Null));
        assert_ne!(key(1, "data.a.other", &Value::Null), key(1, "data.a.allow", &Value::Null));
    }

    proptest! {
        #[test]
        fn two_texts_share_a_key_only_if_they_are_the_same(one in ".{0,8}", other in ".{0,8}") {
            let array = |text: &str| Value::from(vec![Value::from(text)]);
            prop_assert_eq!(one == other, key(1, "r", &array(&one)) == key(1, "r", &array(&other)));
        }
    }
}
