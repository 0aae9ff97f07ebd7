//! The commands of the product, with the answers of Redis 7. A property test compares them with a
//! real server; see `tests.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;

use super::keys::{Data, EntryId, Keys, Name, Stored, Stream};

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const NO_FLOAT: &str = "ERR value is not a valid float";
const SYNTAX: &str = "ERR syntax error";

/// The answer to a command, or the text of an error.
pub(super) type Answer = Result<Value, String>;

/// Whether the command may change a key: a replica refuses it then.
pub(super) fn writes(name: &[u8]) -> bool {
    !matches!(
        &name.to_ascii_uppercase()[..],
        b"GET"
            | b"HGET"
            | b"HMGET"
            | b"HLEN"
            | b"ZSCORE"
            | b"ZCARD"
            | b"ZCOUNT"
            | b"PTTL"
            | b"TIME"
            | b"ZRANGEBYSCORE"
            | b"ZREVRANGEBYSCORE"
            | b"ZREVRANGE"
            | b"XRANGE"
            | b"XREAD"
            | b"INFO"
            | b"PING"
            | b"SCRIPT"
            | b"WAIT"
            | b"KEYS"
    )
}

/// Runs a command at `now_us` of the server's wall clock.
pub(super) fn run(keys: &mut Keys, now_us: u64, arguments: &[Name]) -> Answer {
    let Some((name, rest)) = arguments.split_first() else { return Err(SYNTAX.to_owned()) };
    let at = At { keys, now_us, now_ms: now_us / 1000 };
    let rest: Vec<&[u8]> = rest.iter().map(Vec::as_slice).collect();
    at.run(&name.to_ascii_uppercase(), &rest)
}

struct At<'k> {
    keys: &'k mut Keys,
    now_us: u64,
    now_ms: u64,
}

impl At<'_> {
    fn run(mut self, name: &[u8], rest: &[&[u8]]) -> Answer {
        match (name, rest) {
            (b"PING", []) => Ok(Value::SimpleString("PONG".to_owned())),
            (b"TIME", []) => Ok(self.time()),
            (b"GET", [key]) => self.get(key),
            (b"SET", [key, value, options @ ..]) => self.set(key, value, options),
            (b"DEL", [_, ..]) => {
                let gone = rest.iter().filter(|key| self.delete(key)).count();
                Ok(int(gone))
            }
            (b"PEXPIRE", [key, span]) => self.expire(key, span),
            (b"PTTL", [key]) => Ok(self.left(key)),
            (b"FLUSHALL", []) => {
                self.keys.clear();
                Ok(Value::Okay)
            }
            (b"KEYS", [b"*"]) => {
                let names: Vec<Name> = self.keys.names().cloned().collect();
                let now_ms = self.now_ms;
                let alive = names.into_iter().filter(|key| self.keys.get(key, now_ms).is_some());
                Ok(Value::Array(alive.map(Value::BulkString).collect()))
            }
            _ if name.starts_with(b"H") => self.run_hash(name, rest),
            _ if name.starts_with(b"Z") => self.run_sorted(name, rest),
            _ if name.starts_with(b"X") => self.run_stream(name, rest),
            _ => Err(format!("ERR unknown command '{}'", String::from_utf8_lossy(name))),
        }
    }

    fn time(&self) -> Value {
        let text = |number: u64| Value::BulkString(number.to_string().into_bytes());
        Value::Array(vec![text(self.now_us / 1_000_000), text(self.now_us % 1_000_000)])
    }

    fn delete(&mut self, key: &[u8]) -> bool {
        self.keys.get(key, self.now_ms).is_some() && self.keys.remove(key)
    }

    fn get(&mut self, key: &[u8]) -> Answer {
        match self.keys.get(key, self.now_ms) {
            None => Ok(Value::Nil),
            Some(Stored { data: Data::Text(text), .. }) => Ok(Value::BulkString(text.to_vec())),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8], mut options: &[&[u8]]) -> Answer {
        let (mut until_ms, mut only_new) = (None, false);
        loop {
            match options {
                [] => break,
                [b"NX", rest @ ..] => (only_new, options) = (true, rest),
                [b"PX", span, rest @ ..] => {
                    let span = integer(span)?;
                    if span <= 0 {
                        return Err("ERR invalid expire time in 'set' command".to_owned());
                    }
                    until_ms = Some(self.now_ms.saturating_add_signed(span));
                    options = rest;
                }
                _ => return Err(SYNTAX.to_owned()),
            }
        }
        if only_new && self.keys.get(key, self.now_ms).is_some() {
            return Ok(Value::Nil);
        }
        self.keys.put(key, Data::Text(value.into()), until_ms);
        Ok(Value::Okay)
    }

    fn expire(&mut self, key: &[u8], span: &[u8]) -> Answer {
        let span = integer(span)?;
        let until_ms = self.now_ms.saturating_add_signed(span);
        let Some(stored) = self.keys.get_mut(key, self.now_ms) else { return Ok(int(0)) };
        stored.until_ms = Some(until_ms);
        if span <= 0 {
            self.keys.remove(key);
        }
        Ok(int(1))
    }

    fn left(&mut self, key: &[u8]) -> Value {
        let now_ms = self.now_ms;
        match self.keys.get(key, now_ms) {
            None => Value::Int(-2),
            Some(Stored { until_ms: None, .. }) => Value::Int(-1),
            Some(Stored { until_ms: Some(until_ms), .. }) => {
                Value::Int(i64::try_from(until_ms - now_ms).unwrap_or(i64::MAX))
            }
        }
    }

    fn run_hash(&mut self, name: &[u8], rest: &[&[u8]]) -> Answer {
        let [key, arguments @ ..] = rest else { return Err(SYNTAX.to_owned()) };
        let fields = match self.keys.get(key, self.now_ms) {
            None => Arc::default(),
            Some(Stored { data: Data::Hash(fields), .. }) => Arc::clone(fields),
            Some(_) => return Err(WRONG_TYPE.to_owned()),
        };
        let value = |field: &&[u8]| match fields.get(*field) {
            Some(value) => Value::BulkString(value.clone()),
            None => Value::Nil,
        };
        match (name, arguments) {
            (b"HLEN", []) => Ok(int(fields.len())),
            (b"HGET", [field]) => Ok(value(field)),
            (b"HMGET", [_, ..]) => Ok(Value::Array(arguments.iter().map(value).collect())),
            (b"HSET", [_, ..]) => {
                let (mut all, mut new) = (fields, 0);
                for pair in arguments.chunks(2) {
                    let [field, value] = pair else { return Err(SYNTAX.to_owned()) };
                    let all = Arc::make_mut(&mut all);
                    new += usize::from(all.insert(field.to_vec(), value.to_vec()).is_none());
                }
                self.put_or_remove(key, Data::Hash(all));
                Ok(int(new))
            }
            (b"HDEL", [_, ..]) => {
                let mut left = BTreeMap::clone(&fields);
                let gone = arguments.iter().filter(|field| left.remove(**field).is_some()).count();
                if gone > 0 {
                    self.put_or_remove(key, Data::Hash(Arc::new(left)));
                }
                Ok(int(gone))
            }
            _ => Err(SYNTAX.to_owned()),
        }
    }

    /// Replaces the value and keeps its expiry; an empty value is removed.
    fn put_or_remove(&mut self, key: &[u8], data: Data) {
        let is_empty = match &data {
            Data::Hash(fields) => fields.is_empty(),
            Data::Sorted(members) => members.is_empty(),
            Data::Text(_) | Data::Stream(_) => false,
        };
        let until_ms = self.keys.get(key, self.now_ms).and_then(|stored| stored.until_ms);
        if is_empty {
            self.keys.remove(key);
        } else {
            self.keys.put(key, data, until_ms);
        }
    }

    fn run_sorted(&mut self, name: &[u8], rest: &[&[u8]]) -> Answer {
        let [key, arguments @ ..] = rest else { return Err(SYNTAX.to_owned()) };
        let members = match self.keys.get(key, self.now_ms) {
            None => Arc::default(),
            Some(Stored { data: Data::Sorted(members), .. }) => Arc::clone(members),
            Some(_) => return Err(WRONG_TYPE.to_owned()),
        };
        match (name, arguments) {
            (b"ZCARD", []) => Ok(int(members.len())),
            (b"ZSCORE", [member]) => {
                Ok(members.get(*member).map_or(Value::Nil, |score| score_text(*score)))
            }
            (b"ZCOUNT", [from, to]) => Ok(int(within(&members, from, to)?.len())),
            (b"ZADD", [_, _, ..]) => {
                let (mut all, mut new) = (members, 0);
                for pair in arguments.chunks(2) {
                    let [score, member] = pair else { return Err(SYNTAX.to_owned()) };
                    let all = Arc::make_mut(&mut all);
                    new += usize::from(all.insert(member.to_vec(), float(score)?).is_none());
                }
                self.put_or_remove(key, Data::Sorted(all));
                Ok(int(new))
            }
            (b"ZREM", [_, ..]) => Ok(self.drop_members(key, &members, arguments)),
            (b"ZREMRANGEBYSCORE", [from, to]) => {
                let gone = within(&members, from, to)?;
                let gone: Vec<&[u8]> = gone.iter().map(|(member, _)| member.as_slice()).collect();
                Ok(self.drop_members(key, &members, &gone))
            }
            (b"ZRANGEBYSCORE", [from, to, options @ ..]) => {
                page(within(&members, from, to)?, options)
            }
            (b"ZREVRANGEBYSCORE", [to, from, options @ ..]) => {
                let mut found = within(&members, from, to)?;
                found.reverse();
                page(found, options)
            }
            _ => Err(SYNTAX.to_owned()),
        }
    }

    fn drop_members(&mut self, key: &[u8], members: &BTreeMap<Name, f64>, gone: &[&[u8]]) -> Value {
        let mut left = members.clone();
        let count = gone.iter().filter(|member| left.remove(**member).is_some()).count();
        if count > 0 {
            self.put_or_remove(key, Data::Sorted(Arc::new(left)));
        }
        int(count)
    }

    fn run_stream(&mut self, name: &[u8], rest: &[&[u8]]) -> Answer {
        match (name, rest) {
            (b"XADD", [key, b"*", fields @ ..]) if fields.len() >= 2 => {
                let mut shared = self.stream(key)?.unwrap_or_default();
                let stream = Arc::make_mut(&mut shared);
                let id = next_id(stream.last, self.now_ms);
                stream.last = id;
                stream.entries.insert(id, fields.iter().map(|field| field.to_vec()).collect());
                let until_ms = self.keys.get(key, self.now_ms).and_then(|stored| stored.until_ms);
                self.keys.put(key, Data::Stream(shared), until_ms);
                Ok(Value::BulkString(id_text(id)))
            }
            (b"XDEL", [key, ids @ ..]) => {
                let Some(mut stream) = self.stream(key)? else { return Ok(int(0)) };
                let mut gone = 0;
                for id in ids {
                    let entries = &mut Arc::make_mut(&mut stream).entries;
                    gone += usize::from(entries.remove(&entry_id(id)?).is_some());
                }
                if gone > 0 {
                    let until_ms =
                        self.keys.get(key, self.now_ms).and_then(|stored| stored.until_ms);
                    self.keys.put(key, Data::Stream(stream), until_ms);
                }
                Ok(int(gone))
            }
            (b"XRANGE", [key, from, to, b"COUNT", count]) => {
                let (from, to) = (range_bound(from, 0)?, range_bound(to, u64::MAX)?);
                let count = usize::try_from(integer(count)?).unwrap_or(0);
                let stream = self.stream(key)?.unwrap_or_default();
                let entries = stream.entries.iter();
                let found = entries.filter(|(id, _)| (from..=to).contains(*id)).take(count);
                Ok(Value::Array(found.map(|(id, fields)| entry(*id, fields)).collect()))
            }
            (b"XREAD", [b"COUNT", count, options @ ..]) => {
                // The sender has waited by now.
                let blocks = options.first().is_some_and(|word| *word == b"BLOCK");
                let options = if blocks { &options[2..] } else { options };
                let [b"STREAMS", key, after] = options else { return Err(SYNTAX.to_owned()) };
                let count = usize::try_from(integer(count)?).unwrap_or(0);
                let after = entry_id(after)?;
                let stream = self.stream(key)?.unwrap_or_default();
                let behind = stream.entries.range(after..).filter(|(id, _)| **id > after);
                let found: Vec<Value> =
                    behind.take(count).map(|(id, fields)| entry(*id, fields)).collect();
                if found.is_empty() {
                    return Ok(Value::Nil);
                }
                let of_key = vec![Value::BulkString(key.to_vec()), Value::Array(found)];
                Ok(Value::Array(vec![Value::Array(of_key)]))
            }
            _ => Err(SYNTAX.to_owned()),
        }
    }

    fn stream(&mut self, key: &[u8]) -> Result<Option<Arc<Stream>>, String> {
        match self.keys.get(key, self.now_ms) {
            None => Ok(None),
            Some(Stored { data: Data::Stream(stream), .. }) => Ok(Some(Arc::clone(stream))),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        }
    }
}

fn int(count: usize) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn integer(bytes: &[u8]) -> Result<i64, String> {
    text_of(bytes).parse().map_err(|_| NO_INTEGER.to_owned())
}

fn float(bytes: &[u8]) -> Result<f64, String> {
    let number: f64 = text_of(bytes).parse().map_err(|_| NO_FLOAT.to_owned())?;
    if number.is_nan() { Err(NO_FLOAT.to_owned()) } else { Ok(number) }
}

/// Formats a score as Redis does, with up to 17 digits.
pub(super) fn number_text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number.fract() == 0.0 && number.abs() < 1e17 {
        format!("{number:.0}")
    } else {
        format!("{number}")
    }
}

fn score_text(score: f64) -> Value {
    Value::BulkString(number_text(score).into_bytes())
}

/// A bound of scores; with `(` it is exclusive.
fn bound(text: &[u8]) -> Result<(f64, bool), String> {
    let problem = |_| "ERR min or max is not a float".to_owned();
    match text {
        b"-inf" => Ok((f64::NEG_INFINITY, true)),
        b"+inf" | b"inf" => Ok((f64::INFINITY, true)),
        [b'(', rest @ ..] => Ok((float(rest).map_err(problem)?, false)),
        text => Ok((float(text).map_err(problem)?, true)),
    }
}

fn within(
    members: &BTreeMap<Name, f64>,
    from: &[u8],
    to: &[u8],
) -> Result<Vec<(Name, f64)>, String> {
    let ((least, with_least), (most, with_most)) = (bound(from)?, bound(to)?);
    let fits = |score: f64| {
        (score > least || with_least && score >= least)
            && (score < most || with_most && score <= most)
    };
    let mut found: Vec<(Name, f64)> = members
        .iter()
        .filter(|(_, score)| fits(**score))
        .map(|(member, score)| (member.clone(), *score))
        .collect();
    found.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    Ok(found)
}

fn page(mut found: Vec<(Name, f64)>, mut options: &[&[u8]]) -> Answer {
    let mut with_scores = false;
    loop {
        match options {
            [] => break,
            [b"WITHSCORES", rest @ ..] => (with_scores, options) = (true, rest),
            [b"LIMIT", skipped, count, rest @ ..] => {
                let skipped = usize::try_from(integer(skipped)?).unwrap_or(0).min(found.len());
                found.drain(..skipped);
                found.truncate(usize::try_from(integer(count)?).unwrap_or(usize::MAX));
                options = rest;
            }
            _ => return Err(SYNTAX.to_owned()),
        }
    }
    let mut list = Vec::new();
    for (member, score) in found {
        list.push(Value::BulkString(member));
        if with_scores {
            list.push(score_text(score));
        }
    }
    Ok(Value::Array(list))
}

fn next_id(last: EntryId, now_ms: u64) -> EntryId {
    if now_ms > last.0 { (now_ms, 0) } else { (last.0, last.1 + 1) }
}

fn id_text((ms, number): EntryId) -> Vec<u8> {
    format!("{ms}-{number}").into_bytes()
}

/// A bound of a range: an id, with `number` as its second part if that is missing, or one of both
/// ends.
fn range_bound(text: &[u8], number: u64) -> Result<EntryId, String> {
    match text {
        b"-" => Ok((0, 0)),
        b"+" => Ok((u64::MAX, u64::MAX)),
        _ if text.contains(&b'-') => entry_id(text),
        _ => Ok((entry_id(text)?.0, number)),
    }
}

fn entry_id(text: &[u8]) -> Result<EntryId, String> {
    let problem = || "ERR Invalid stream ID specified as stream command argument".to_owned();
    let (ms, number) = text_of(text).split_once('-').unwrap_or((text_of(text), "0"));
    let read = |text: &str| text.parse::<u64>().map_err(|_| problem());
    Ok((read(ms)?, read(number)?))
}

fn entry(id: EntryId, fields: &[Vec<u8>]) -> Value {
    let fields = fields.iter().cloned().map(Value::BulkString).collect();
    Value::Array(vec![Value::BulkString(id_text(id)), Value::Array(fields)])
}
