//! The stream in Redis: the commands, and the validation of their answers.

use redis::{Cmd, Pipeline, Value};

use super::entry::{Entry, Id};
use super::replica::{COMPACT_PAGE, Cursor, READ_PAGE, Read};
use crate::store::StoreError;

/// The name of the one field of an entry.
const FIELD: &str = "v";

const OWN: &str = "local kept = redis.pcall('XRANGE', KEYS[1], '-', '+', 'COUNT', 1) \
    if kept.err and string.find(kept.err, 'WRONGTYPE', 1, true) then redis.call('DEL', KEYS[1]) end";

/// How long a process holds the restore lock after each step.
pub(super) const RESTORE_LOCK_MS: u64 = 3_000;

/// The keys of a service's revocations. They are in one slot of a cluster.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) stream: String,
    /// The lock of the process that publishes lost entries.
    pub(super) restoring: String,
    /// The lock of the process that compacts the stream in this minute.
    pub(super) compacting: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let stream = format!("{prefix}{{rev}}");
        Self {
            restoring: format!("{stream}:restoring"),
            compacting: format!("{stream}:compacting"),
            stream,
        }
    }

    pub(super) fn add(&self, entry: &Entry) -> Cmd {
        let mut add = Cmd::new();
        // Without random bytes, two entries with one id may be indistinguishable.
        let nonce = crate::random::number().unwrap_or_default().to_be_bytes();
        add.arg("XADD").arg(&self.stream).arg("*").arg(FIELD).arg(entry.written(nonce));
        add
    }

    /// The commands that read the entries after `cursor` and block up to `block_ms` for them.
    ///
    /// 1. A write that changes nothing. Only a primary that may take writes accepts it. A replica
    ///    would also answer reads, but with data of an unknown age.
    /// 2. The read.
    /// 3. A look-up of the entry at `cursor`. It comes after the wait: the stream may be lost and
    ///    begin again meanwhile, and then the entries read do not follow the cursor.
    pub(super) fn read(&self, cursor: &Cursor, block_ms: Option<u64>) -> Pipeline {
        let mut ask = Pipeline::new();
        ask.cmd("XDEL").arg(&self.stream).arg("0-1");
        let at = cursor.id.to_string();
        ask.cmd("XREAD").arg("COUNT").arg(READ_PAGE);
        if let Some(block_ms) = block_ms {
            ask.arg("BLOCK").arg(block_ms);
        }
        ask.arg("STREAMS").arg(&self.stream).arg(&at);
        ask.cmd("XRANGE").arg(&self.stream).arg(&at).arg(&at).arg("COUNT").arg(1);
        ask
    }

    /// The commands that read the first `count` entries, the server's clock, and whether a process
    /// is publishing lost entries.
    pub(super) fn head(&self, count: usize) -> Pipeline {
        let mut ask = Pipeline::new();
        ask.cmd("XRANGE").arg(&self.stream).arg("-").arg("+").arg("COUNT").arg(count);
        ask.cmd("TIME");
        ask.cmd("PTTL").arg(&self.restoring);
        ask
    }

    pub(super) fn compaction_head(&self) -> Pipeline {
        self.head(COMPACT_PAGE + 1)
    }

    /// Deletes the key of the stream if it holds another type.
    pub(super) fn own(&self) -> Cmd {
        let mut own = Cmd::new();
        own.arg("EVAL").arg(OWN).arg(1).arg(&self.stream);
        own
    }

    pub(super) fn delete(&self, ids: &[Id]) -> Cmd {
        let mut delete = Cmd::new();
        delete.arg("XDEL").arg(&self.stream);
        for id in ids {
            delete.arg(id.to_string());
        }
        delete
    }

    /// Takes `lock` for a time, unless it is held.
    pub(super) fn lock(lock: &str, ms: u64) -> Cmd {
        let mut set = Cmd::new();
        set.arg("SET").arg(lock).arg("1").arg("NX").arg("PX").arg(ms);
        set
    }

    /// Extends a lock that is held.
    pub(super) fn keep(lock: &str, ms: u64) -> Cmd {
        let mut set = Cmd::new();
        set.arg("SET").arg(lock).arg("1").arg("PX").arg(ms);
        set
    }

    /// The remaining time of a lock; see [`Lock::read`].
    pub(super) fn held(lock: &str) -> Cmd {
        let mut held = Cmd::new();
        held.arg("PTTL").arg(lock);
        held
    }

    pub(super) fn unlock(lock: &str) -> Cmd {
        let mut delete = Cmd::new();
        delete.arg("DEL").arg(lock);
        delete
    }
}

/// The state of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    Free,
    Held,
    /// Its remaining time is longer than any process takes it for: the clock was set back, and the
    /// holder may be gone.
    Stuck,
}

impl Lock {
    /// Reads the answer to [`Keys::held`], for a lock that is taken for `most_ms`.
    pub(super) fn read(left: &Value, most_ms: u64) -> Self {
        match left {
            Value::Int(-1) => Self::Stuck,
            Value::Int(ms) => match u64::try_from(*ms) {
                Ok(ms) if ms > most_ms => Self::Stuck,
                Ok(_) => Self::Held,
                Err(_) => Self::Free,
            },
            _ => Self::Free,
        }
    }
}

/// The first entries of a stream.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) entries: Vec<(Id, Option<Entry>)>,
    pub(super) server_ms: u64,
    pub(super) restoring: bool,
}

/// Reads the answers to [`Keys::read`] after `cursor`.
pub(super) fn read_answer(answers: Vec<Value>, cursor: &Cursor) -> Result<Read, StoreError> {
    let [deleted, read, at_cursor] = three(answers)?;
    if !matches!(deleted, Value::Int(_)) {
        return Err(StoreError::Refused);
    }
    let at_cursor = listed(at_cursor)?;
    let is_same = |(id, fields): &(Id, Value)| {
        *id == cursor.id && value_of(fields) == Some(&cursor.written[..])
    };
    let is_whole = at_cursor.first().is_some_and(is_same);
    let listed = match read {
        Value::Nil => Vec::new(),
        // The read names one stream: RESP2 answers with a list of pairs, RESP3 with a map.
        Value::Array(streams) => match <[Value; 1]>::try_from(streams) {
            Ok([Value::Array(stream)]) => match <[Value; 2]>::try_from(stream) {
                Ok([_, list]) => listed(list)?,
                Err(_) => return Err(StoreError::Refused),
            },
            _ => return Err(StoreError::Refused),
        },
        Value::Map(streams) => match <[(Value, Value); 1]>::try_from(streams) {
            Ok([(_, list)]) => listed(list)?,
            Err(_) => return Err(StoreError::Refused),
        },
        _ => return Err(StoreError::Refused),
    };
    let end = listed.last().map(|(id, fields)| Cursor {
        id: *id,
        written: value_of(fields).unwrap_or_default().to_vec(),
    });
    Ok(Read { is_whole, entries: said_by(&listed), end })
}

/// Reads the answers to [`Keys::head`].
pub(super) fn head_answer(answers: Vec<Value>) -> Result<Head, StoreError> {
    let [first, time, restoring] = three(answers)?;
    let Value::Array(time) = time else { return Err(StoreError::Refused) };
    let number = |value: &Value| match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let (Some(seconds), Some(micros)) =
        (time.first().and_then(number), time.get(1).and_then(number))
    else {
        return Err(StoreError::Refused);
    };
    Ok(Head {
        entries: said_by(&listed(first)?),
        server_ms: seconds.saturating_mul(1_000).saturating_add(micros / 1_000),
        restoring: Lock::read(&restoring, RESTORE_LOCK_MS) == Lock::Held,
    })
}

/// Reads the answer to [`Keys::add`].
pub(super) fn id_answer(answer: &Value) -> Result<Id, StoreError> {
    match answer {
        Value::BulkString(id) => Id::parse(id),
        _ => None,
    }
    .ok_or(StoreError::Refused)
}

fn three(answers: Vec<Value>) -> Result<[Value; 3], StoreError> {
    if answers.iter().any(|answer| matches!(answer, Value::ServerError(_))) {
        return Err(StoreError::Refused);
    }
    <[Value; 3]>::try_from(answers).map_err(|_| StoreError::Refused)
}

/// Reads a list of entries, each with its fields. One without an id makes the list invalid.
fn listed(list: Value) -> Result<Vec<(Id, Value)>, StoreError> {
    let Value::Array(list) = list else { return Err(StoreError::Refused) };
    let entry = |value| {
        let Value::Array(parts) = value else { return None };
        let [Value::BulkString(id), fields] = <[Value; 2]>::try_from(parts).ok()? else {
            return None;
        };
        Some((Id::parse(&id)?, fields))
    };
    list.into_iter().map(entry).collect::<Option<_>>().ok_or(StoreError::Refused)
}

/// Decodes the entries; `None` for one in another form than ours.
fn said_by(listed: &[(Id, Value)]) -> Vec<(Id, Option<Entry>)> {
    listed.iter().map(|(id, fields)| (*id, value_of(fields).and_then(Entry::read))).collect()
}

/// The bytes of an entry in our form.
fn value_of(fields: &Value) -> Option<&[u8]> {
    let Value::Array(fields) = fields else { return None };
    match fields.as_slice() {
        [Value::BulkString(name), Value::BulkString(value)] if name == FIELD.as_bytes() => {
            Some(value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bulk(text: impl AsRef<[u8]>) -> Value {
        Value::BulkString(text.as_ref().to_vec())
    }

    fn entry(id: &str, value: &[u8]) -> Value {
        Value::Array(vec![bulk(id), Value::Array(vec![bulk("v"), bulk(value)])])
    }

    #[test]
    fn both_protocols_are_read() {
        let list = || Value::Array(vec![entry("5-0", &Entry::Key { name: 7 }.encode())]);
        let resp2 = Value::Array(vec![Value::Array(vec![bulk("k"), list()])]);
        let resp3 = Value::Map(vec![(bulk("k"), list())]);
        for answer in [resp2, resp3] {
            let answers = vec![Value::Int(0), answer, Value::Array(vec![])];
            let read = read_answer(answers, &Cursor::default()).unwrap();
            let id = Id { ms: 5, number: 0 };
            assert_eq!(read.entries, [(id, Some(Entry::Key { name: 7 }))]);
            assert!(!read.is_whole);
        }
    }

    #[test]
    fn an_entry_with_the_id_of_the_last_one_that_was_read_and_other_bytes_is_another_one() {
        let mark = |nonce| Entry::Mark.written([0, 0, 0, nonce]);
        let cursor = Cursor { id: Id { ms: 1, number: 1 }, written: mark(7) };
        for (id, nonce, is_same) in [("1-1", 7, true), ("1-1", 8, false), ("1-2", 7, false)] {
            let at_cursor = Value::Array(vec![entry(id, &mark(nonce))]);
            let read = read_answer(vec![Value::Int(0), Value::Nil, at_cursor], &cursor).unwrap();
            assert!(read.entries.is_empty());
            assert_eq!(read.is_whole, is_same, "{id} {nonce}");
        }
    }

    #[test]
    fn an_entry_that_is_not_ours_is_seen_and_not_skipped() {
        let fields = [
            Value::Array(vec![bulk("v"), bulk([9])]),
            Value::Array(vec![bulk("w"), bulk([0])]),
            Value::Array(vec![bulk("v"), bulk([0]), bulk("x"), bulk("y")]),
            Value::Nil,
        ];
        for fields in fields {
            let list = Value::Array(vec![Value::Array(vec![bulk("1-1"), fields])]);
            assert_eq!(said_by(&listed(list).unwrap()), [(Id { ms: 1, number: 1 }, None)]);
        }
    }

    #[test]
    fn a_lock_that_has_longer_to_go_than_anybody_takes_it_for_is_held_by_nobody() {
        let lock = |left| Lock::read(&Value::Int(left), 3_000);
        assert_eq!([-2, 0, 3_000].map(lock), [Lock::Free, Lock::Held, Lock::Held]);
        assert_eq!([-1, 3_001, i64::MAX].map(lock), [Lock::Stuck; 3]);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::BulkString),
            Just(bulk("1-1")),
            Just(bulk("v")),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec((inner.clone(), inner), 0..3).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(answers in proptest::collection::vec(values(), 0..5)) {
            let _ = read_answer(answers.clone(), &Cursor::default());
            let _ = head_answer(answers);
        }
    }
}
