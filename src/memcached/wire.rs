//! The needed part of the classic text protocol: `gets`, `add`, `cas` and `stats`. Every Memcached
//! server and proxy supports it.
//!
//! Reading is strict. A reply that does not match its command exactly is a [`ProtocolError`], and
//! the connection is given up: a reply matched with the wrong command would mix up the counts of
//! two subjects.

use crate::store::fault::OutageCause;

/// The longest line of a reply, without its end.
const MAX_LINE: usize = 2048;
/// The longest value, which is Memcached's own default limit.
const MAX_VALUE: usize = 1 << 20;
/// The longest reply to `stats`.
const MAX_STATS: usize = 1 << 16;
/// Memcached treats a longer time to live as an instant in Unix seconds.
const LONGEST_SPAN: u64 = 30 * 86_400;
/// The flags of all items of this package.
const FLAGS: u32 = 0;

/// The bytes after a value.
const TAIL: &[u8] = b"\r\nEND\r\n";

/// A command to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// The bytes to send.
    pub(super) bytes: Vec<u8>,
    /// The expected kind of reply.
    pub(super) expect: Expect,
}

/// The kind of reply to a command, unless the server refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    /// The value of this key, or none.
    Value(Vec<u8>),
    /// Whether a value was stored.
    Stored,
    /// The server's clock.
    Time,
}

/// A value with its version for `cas`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Versioned {
    pub(super) value: Vec<u8>,
    pub(super) version: u64,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// To `gets`.
    Value(Option<Versioned>),
    /// To `add` and `cas`.
    Stored,
    /// To `add` and `cas`: another process was faster.
    Conflict,
    /// To `stats`: Unix seconds.
    Time(u64),
    /// The server failed to execute the command: `SERVER_ERROR`.
    Refused(OutageCause),
}

/// A reply that does not match its command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProtocolError;

impl Command {
    /// Reads a value and its version.
    pub(super) fn gets(key: &[u8]) -> Self {
        let bytes = [b"gets ", key, b"\r\n"].concat();
        Self { bytes, expect: Expect::Value(key.to_vec()) }
    }

    /// Stores a value over the version that was read, or only if there is none.
    pub(super) fn store(key: &[u8], value: &[u8], expiry: u64, version: Option<u64>) -> Self {
        let name: &[u8] = if version.is_some() { b"cas " } else { b"add " };
        let mut bytes = Vec::with_capacity(key.len() + value.len() + 64);
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(format!(" {FLAGS} {expiry} {}", value.len()).as_bytes());
        if let Some(version) = version {
            bytes.extend_from_slice(format!(" {version}").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
        Self { bytes, expect: Expect::Stored }
    }

    /// Reads the server's clock.
    pub(super) fn time() -> Self {
        Self { bytes: b"stats\r\n".to_vec(), expect: Expect::Time }
    }
}

/// The expiry of an item that must live for `span_us` and not much longer.
///
/// 1. Zero would mean forever. The server counts in ticks of a second and its last one may be two
///    seconds old, so two are added.
/// 2. Beyond 30 days the number is an instant on the server's clock (`server_s`).
/// 3. From 2038 on, an instant does not fit its 32 bits and would lie in the past: such an item
///    lives for 30 days.
pub(super) fn expiry(span_us: u64, server_s: u64) -> u64 {
    let span = span_us.div_ceil(1_000_000) + 2;
    if span <= LONGEST_SPAN {
        return span;
    }
    let instant = server_s.saturating_add(span).saturating_add(2);
    if i32::try_from(instant).is_ok() { instant } else { LONGEST_SPAN }
}

/// Reads a reply from the front of the received bytes: the reply and its length, or `None` if it is
/// incomplete.
pub(super) fn read(bytes: &[u8], expect: &Expect) -> Result<Option<(Reply, usize)>, ProtocolError> {
    let Some((first, length)) = line(bytes)? else { return Ok(None) };
    if first.starts_with(b"SERVER_ERROR ") {
        let is_full = first.starts_with(b"SERVER_ERROR out of memory");
        let fault = if is_full { OutageCause::Memory } else { OutageCause::Error };
        return Ok(Some((Reply::Refused(fault), length)));
    }
    match expect {
        Expect::Stored => match first {
            b"STORED" => Ok(Some((Reply::Stored, length))),
            b"NOT_STORED" | b"EXISTS" | b"NOT_FOUND" => Ok(Some((Reply::Conflict, length))),
            _ => Err(ProtocolError),
        },
        Expect::Value(_) if first == b"END" => Ok(Some((Reply::Value(None), length))),
        Expect::Value(key) => value(bytes, first, length, key),
        Expect::Time => time(bytes),
    }
}

/// The line at the front without its end, and its length including the end.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    let within = bytes.get(..MAX_LINE + 2).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', within) else {
        return if within.len() < bytes.len() { Err(ProtocolError) } else { Ok(None) };
    };
    let line = within.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(ProtocolError)?;
    Ok(Some((line, end + 1)))
}

/// `VALUE <key> <flags> <bytes> <version>`, the bytes, `END`.
fn value(
    bytes: &[u8],
    first: &[u8],
    head: usize,
    key: &[u8],
) -> Result<Option<(Reply, usize)>, ProtocolError> {
    let mut words = first.split(|byte| *byte == b' ');
    if words.next() != Some(b"VALUE") || words.next() != Some(key) {
        return Err(ProtocolError);
    }
    let mut next = || words.next().and_then(number).ok_or(ProtocolError);
    let (_flags, size, version) = (next()?, next()?, next()?);
    let size = usize::try_from(size).ok().filter(|size| *size <= MAX_VALUE).ok_or(ProtocolError)?;
    if words.next().is_some() {
        return Err(ProtocolError);
    }
    let rest = bytes.get(head..).unwrap_or_default();
    let Some((value, tail)) = rest.split_at_checked(size) else { return Ok(None) };
    let known = tail.get(..TAIL.len()).unwrap_or(tail);
    if !TAIL.starts_with(known) {
        return Err(ProtocolError);
    }
    if known.len() < TAIL.len() {
        return Ok(None);
    }
    let reply = Reply::Value(Some(Versioned { value: value.to_vec(), version }));
    Ok(Some((reply, head + size + TAIL.len())))
}

/// Lines of `STAT <name> <value>`, one of them for `time`, then `END`.
fn time(bytes: &[u8]) -> Result<Option<(Reply, usize)>, ProtocolError> {
    let mut time = None;
    let mut at = 0;
    while let Some((line, length)) = line(bytes.get(at..).unwrap_or_default())? {
        at += length;
        if at > MAX_STATS {
            return Err(ProtocolError);
        }
        if line == b"END" {
            return time.map(|time| Some((Reply::Time(time), at))).ok_or(ProtocolError);
        }
        let stat = line.strip_prefix(b"STAT ").ok_or(ProtocolError)?;
        if let Some(digits) = stat.strip_prefix(b"time ") {
            time = Some(number(digits).ok_or(ProtocolError)?);
        }
    }
    if bytes.len() > MAX_STATS { Err(ProtocolError) } else { Ok(None) }
}

/// A number of digits alone.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value_of(key: &[u8]) -> Expect {
        Expect::Value(key.to_vec())
    }

    fn answer(key: &str, value: &[u8], version: u64) -> Vec<u8> {
        let head = format!("VALUE {key} 0 {} {version}\r\n", value.len());
        [head.as_bytes(), value, b"\r\nEND\r\n"].concat()
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_garbage_or_too_few(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            for expect in [value_of(b"k"), Expect::Stored, Expect::Time] {
                if let Ok(Some((reply, length))) = read(&bytes, &expect) {
                    prop_assert!(length <= bytes.len());
                    prop_assert!(reply != Reply::Stored || bytes.starts_with(b"STORED\r\n"));
                }
            }
        }

        #[test]
        fn bytes_much_like_an_answer_are_no_other_value(
            at in 0usize..40, byte: u8, value in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let mut bytes = answer("k", &value, 77);
            let place = at.min(bytes.len() - 1);
            bytes[place] = byte;
            if let Ok(Some((Reply::Value(Some(read)), length))) = read(&bytes, &value_of(b"k")) {
                prop_assert!(length <= bytes.len());
                    // An empty value is contained in any bytes.
                let size = read.value.len().max(1);
                prop_assert!(read.value.is_empty() || bytes.windows(size).any(|part| part == read.value));
            }
        }

        #[test]
        fn an_answer_is_read_however_it_is_cut(
            value in proptest::collection::vec(any::<u8>(), 0..100), version: u64, more in 0usize..20,
        ) {
            let whole = answer("key", &value, version);
            let bytes = [whole.clone(), vec![b'x'; more]].concat();
            for cut in 0..whole.len() {
                prop_assert_eq!(read(&bytes[..cut], &value_of(b"key")), Ok(None));
            }
            let reply = Reply::Value(Some(Versioned { value, version }));
            prop_assert_eq!(read(&bytes, &value_of(b"key")), Ok(Some((reply, whole.len()))));
        }

        #[test]
        fn no_item_is_without_an_expiry_and_none_goes_before_its_time(
            span_us in 0u64..35_000_000_000_000, server_s in 1_700_000_000u64..2_100_000_000,
        ) {
            let expiry = expiry(span_us, server_s);
            let span_s = span_us.div_ceil(1_000_000);
            prop_assert!(expiry >= 2);
            if expiry <= LONGEST_SPAN {
                prop_assert!(expiry >= (span_s + 2).min(LONGEST_SPAN));
            } else {
                prop_assert!(expiry >= server_s + span_s && expiry <= 0x7fff_ffff);
            }
        }
    }

    #[test]
    fn what_answers_something_else_is_garbage() {
        for (bytes, expect) in [
            (&b"STORED\n"[..], Expect::Stored),
            (b"stored\r\n", Expect::Stored),
            (b"ERROR\r\n", Expect::Stored),
            (b"CLIENT_ERROR bad data chunk\r\n", Expect::Stored),
            (b"END\r\n", Expect::Stored),
            (b"STORED\r\n", value_of(b"k")),
            (b"VALUE other 0 1 1\r\nx\r\nEND\r\n", value_of(b"k")),
            (b"VALUE k 0 1\r\nx\r\nEND\r\n", value_of(b"k")),
            (b"VALUE k 0 1 1 1\r\nx\r\nEND\r\n", value_of(b"k")),
            (b"VALUE k 0 -1 1\r\nx\r\nEND\r\n", value_of(b"k")),
            (b"VALUE k 0 +1 1\r\nx\r\nEND\r\n", value_of(b"k")),
            (b"VALUE k 0 1 1\r\nxx\r\nEND\r\n", value_of(b"k")),
            (b"VALUE k 0 1 1\r\nx\r\nVALUE k 0 1 1\r\n", value_of(b"k")),
            (b"VALUE k 0 99999999 1\r\n", value_of(b"k")),
            (b"VALUE k 0 1 99999999999999999999\r\nx\r\nEND\r\n", value_of(b"k")),
            (b"END\r\n", Expect::Time),
            (b"STAT time x\r\nEND\r\n", Expect::Time),
            (b"RESET\r\n", Expect::Time),
        ] {
            assert_eq!(
                read(bytes, &expect),
                Err(ProtocolError),
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        for expect in [value_of(b"k"), Expect::Stored] {
            assert_eq!(read(&[b'x'; MAX_LINE + 3], &expect), Err(ProtocolError));
        }
        let endless = b"STAT a 1\r\n".repeat(MAX_STATS / 10 + 1);
        assert_eq!(read(&endless, &Expect::Time), Err(ProtocolError));
    }

    #[test]
    fn answers_are_what_they_say() {
        for (bytes, expect, reply) in [
            (&b"STORED\r\n"[..], Expect::Stored, Reply::Stored),
            (b"NOT_STORED\r\n", Expect::Stored, Reply::Conflict),
            (b"EXISTS\r\n", Expect::Stored, Reply::Conflict),
            (b"NOT_FOUND\r\n", Expect::Stored, Reply::Conflict),
            (
                b"SERVER_ERROR out of memory storing object\r\n",
                Expect::Stored,
                Reply::Refused(OutageCause::Memory),
            ),
            (b"END\r\n", value_of(b"k"), Reply::Value(None)),
            (
                b"STAT pid 1\r\nSTAT time 1800000000\r\nSTAT version 1 2\r\nEND\r\n",
                Expect::Time,
                Reply::Time(1_800_000_000),
            ),
        ] {
            assert_eq!(read(bytes, &expect), Ok(Some((reply, bytes.len()))));
        }
    }

    #[test]
    fn commands_are_what_the_protocol_says() {
        let text = |command: Command| String::from_utf8(command.bytes).unwrap();
        assert_eq!(text(Command::gets(b"a:l:x")), "gets a:l:x\r\n");
        assert_eq!(text(Command::store(b"k", b"v\n", 3, None)), "add k 0 3 2\r\nv\n\r\n");
        assert_eq!(text(Command::store(b"k", b"", 3, Some(9))), "cas k 0 3 0 9\r\n\r\n");
    }

    #[test]
    fn more_than_thirty_days_are_an_instant_of_the_servers_clock() {
        let days = |days: u64| days * 86_400 * 1_000_000;
        let now = 1_800_000_000;
        assert_eq!(expiry(0, now), 2);
        assert_eq!(expiry(10_000, now), 3);
        assert_eq!(expiry(days(30) - 2_000_000, now), 30 * 86_400);
        assert_eq!(expiry(days(30), now), now + 30 * 86_400 + 4);
        assert_eq!(expiry(days(400), now), now + 400 * 86_400 + 4);
        assert_eq!(expiry(days(400), 2_140_000_000), 30 * 86_400);
    }
}
