//! Bounds on what a server of Redis may send.
//!
//! The `redis` crate buffers a reply until it is complete, whatever length the server announces. So
//! the bytes are counted between the socket and the crate. A connection fails when its server sends
//!
//! 1. a reply of more than [`REPLIES`] allows: bytes, values, depth, or the length of a line;
//! 2. bytes that are no reply of RESP2, the protocol in use;
//! 3. a reply without a command: each later reply would be matched with the wrong command.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::store::fault::OutageCause;

/// The bounds of one message.
struct Bounds {
    bytes: usize,
    values: usize,
    depth: usize,
    line: usize,
}

/// The largest expected reply is a page of 4,000 revocations, about half a megabyte. The map of a
/// cluster whose slots are all scattered has about 300,000 values.
const REPLIES: Bounds = Bounds { bytes: 16 << 20, values: 500_000, depth: 8, line: 8 << 10 };
/// Commands come from this process and need no bounds.
const COMMANDS: Bounds =
    Bounds { bytes: usize::MAX, values: usize::MAX, depth: 1, line: usize::MAX };
const NO_REPLY: &str = "the server sent what is no reply";
const NO_LENGTH: &str = "the server sent no length";
const TO_NOTHING: &str = "the server sent a reply to nothing";
/// Digits of a length or a number, with a sign.
const MAX_DIGITS: usize = 20;

/// A connection on which the server may send only bounded replies to commands.
pub(super) struct Bounded<S> {
    stream: S,
    replies: Messages,
    commands: Messages,
    fault: Arc<OnceLock<OutageCause>>,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        let (replies, commands) = (Messages::new(&REPLIES), Messages::new(&COMMANDS));
        Self { stream, replies, commands, fault: Arc::default() }
    }

    /// The fault in the received bytes, once there is one: the crate reports it only to the first
    /// receiver.
    pub(super) fn fault(&self) -> Arc<OnceLock<OutageCause>> {
        Arc::clone(&self.fault)
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fault = &self.fault;
        if self.replies.whole == 0
            && let Some(refusal) = refusal(bytes)
        {
            let _ = fault.set(refusal);
        }
        let invalid = |problem: &'static str| {
            let _ = fault.set(match problem {
                TO_NOTHING | NO_REPLY | NO_LENGTH => OutageCause::Protocol,
                _ => OutageCause::TooLarge,
            });
            io::Error::new(io::ErrorKind::InvalidData, problem)
        };
        self.replies.read(bytes).map_err(invalid)?;
        if self.replies.whole > self.commands.whole {
            return Err(invalid(TO_NOTHING));
        }
        Ok(())
    }
}

/// Why a server refuses a connection. It sends this before any command, and then closes the
/// connection.
fn refusal(first: &[u8]) -> Option<OutageCause> {
    if first.starts_with(b"-ERR max number of clients") {
        return Some(OutageCause::Connections);
    }
    first.starts_with(b"-DENIED").then_some(OutageCause::PasswordMissing)
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
        Poll::Ready(this.check(into.filled().get(before..).unwrap_or_default()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        let written = this.commands.read(bytes.get(..count).unwrap_or_default());
        Poll::Ready(written.map(|()| count).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// Follows a stream of messages without keeping their bytes.
struct Messages {
    bounds: &'static Bounds,
    /// The number of complete messages.
    whole: u64,
    at: At,
    /// The size of the incomplete message.
    bytes: usize,
    values: usize,
    /// The number of values that each open array still lacks, the outermost first.
    open: Vec<usize>,
}

/// The part that the next byte belongs to.
enum At {
    /// The type of a value.
    Type,
    /// A line of this type.
    Line(Line),
    /// A string of this many bytes, with its end.
    Bytes(usize),
}

struct Line {
    kind: u8,
    length: usize,
    digits: [u8; MAX_DIGITS],
    ends_with_return: bool,
}

type Read<T> = Result<T, &'static str>;

impl Messages {
    fn new(bounds: &'static Bounds) -> Self {
        Self { bounds, whole: 0, at: At::Type, bytes: 0, values: 0, open: Vec::new() }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Read<()> {
        while let Some(first) = bytes.first() {
            let used = match &mut self.at {
                At::Type => {
                    if !matches!(first, b'+' | b'-' | b':' | b'$' | b'*') {
                        return Err(NO_REPLY);
                    }
                    self.at = At::Line(Line::new(*first));
                    1
                }
                At::Line(line) => {
                    let (used, is_whole) = line.read(bytes, self.bounds.line)?;
                    if is_whole {
                        self.end_of_line()?;
                    }
                    used
                }
                At::Bytes(missing) => {
                    let used = bytes.len().min(*missing);
                    *missing -= used;
                    if *missing == 0 {
                        self.end_of_value();
                    }
                    used
                }
            };
            // A message that has just ended counts no more.
            if !matches!(self.at, At::Type) || !self.open.is_empty() {
                self.bytes = self.bytes.saturating_add(used);
            }
            if self.bytes > self.bounds.bytes {
                return Err("the server sent a reply that is too large");
            }
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn end_of_line(&mut self) -> Read<()> {
        let At::Line(line) = &self.at else { return Ok(()) };
        self.values += 1;
        if self.values > self.bounds.values {
            return Err("the server sent a reply of too many values");
        }
        match (line.kind, line.count()?) {
            (b'$', Some(size)) => {
                if size > self.bounds.bytes {
                    return Err("the server sent a reply that is too large");
                }
                self.at = At::Bytes(size.saturating_add(2));
            }
            (b'*', Some(count)) if count > 0 => {
                if count > self.bounds.values {
                    return Err("the server sent a reply of too many values");
                }
                if self.open.len() >= self.bounds.depth {
                    return Err("the server sent a reply that is too deep");
                }
                self.open.push(count);
                self.at = At::Type;
            }
            _ => self.end_of_value(),
        }
        Ok(())
    }

    /// A value is complete, and with it any arrays of which it is the last value.
    fn end_of_value(&mut self) {
        self.at = At::Type;
        while let Some(missing) = self.open.last_mut() {
            *missing = missing.saturating_sub(1);
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
        self.whole += 1;
        self.bytes = 0;
        self.values = 0;
    }
}

impl Line {
    fn new(kind: u8) -> Self {
        Self { kind, length: 0, digits: [0; MAX_DIGITS], ends_with_return: false }
    }

    /// How many of the bytes belong to the line, and whether it is complete.
    fn read(&mut self, bytes: &[u8], longest: usize) -> Read<(usize, bool)> {
        let end = memchr::memchr(b'\n', bytes);
        let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let is_number = matches!(self.kind, b'$' | b'*' | b':');
        if is_number {
            for (byte, place) in text.iter().zip(self.digits.iter_mut().skip(self.length)) {
                *place = *byte;
            }
        }
        self.length = self.length.saturating_add(text.len());
        // With the carriage return at its end.
        let longest = if is_number { MAX_DIGITS + 1 } else { longest };
        if self.length > longest {
            return Err("the server sent a line that is too long");
        }
        if let Some(last) = text.last() {
            self.ends_with_return = *last == b'\r';
        }
        if end.is_some() && !self.ends_with_return {
            // The line feed belongs to the text.
            self.length += 1;
            return Ok((text.len() + 1, false));
        }
        Ok((text.len() + usize::from(end.is_some()), end.is_some()))
    }

    /// The length that the line announces; `None` for no value, and for a type without length.
    fn count(&self) -> Read<Option<usize>> {
        if !matches!(self.kind, b'$' | b'*') {
            return Ok(None);
        }
        let digits = self.digits.get(..self.length.saturating_sub(1)).unwrap_or_default();
        if digits == b"-1" {
            return Ok(None);
        }
        let text = std::str::from_utf8(digits).ok();
        let count = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        count.and_then(|text| text.parse().ok()).map(Some).ok_or(NO_LENGTH)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn read(bytes: &[u8]) -> Read<u64> {
        let mut replies = Messages::new(&REPLIES);
        replies.read(bytes).map(|()| replies.whole)
    }

    #[test]
    fn replies_of_each_type_are_counted() {
        let replies = b"+OK\r\n-ERR no\r\n:-12\r\n$3\r\na\r\n\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n*2\r\n*1\r\n:1\r\n$2\r\n\r\n\r\n";
        assert_eq!(read(replies), Ok(9));
        assert_eq!(read(b"+a\nb\r\n+OK\r\n"), Ok(2));
        assert_eq!(read(b"*2\r\n:1\r\n"), Ok(0));
    }

    #[test]
    fn a_reply_has_a_size_a_depth_and_a_number_of_values() {
        assert_eq!(read(b"$16777217\r\n"), Err("the server sent a reply that is too large"));
        assert_eq!(read(b"$99999999999999999999\r\n"), Err("the server sent no length"));
        assert_eq!(read(b"*500001\r\n"), Err("the server sent a reply of too many values"));
        assert_eq!(read(&b"*1\r\n".repeat(9)), Err("the server sent a reply that is too deep"));
        let long = [b"+".as_slice(), &vec![b'a'; 8 << 10], b"\r\n"].concat();
        assert_eq!(read(&long), Err("the server sent a line that is too long"));
        assert_eq!(
            read(b":0000000000000000000001"),
            Err("the server sent a line that is too long")
        );
        // Each part is within its bound, all of them together are not.
        let many = [
            b"*5\r\n".as_slice(),
            &[b"$4194304\r\n", vec![b'a'; 4 << 20].as_slice(), b"\r\n"].concat().repeat(4),
        ]
        .concat();
        assert_eq!(read(&many), Err("the server sent a reply that is too large"));
        let many = b"*500000\r\n".repeat(2);
        let many = [many.as_slice(), &b":1\r\n".repeat(500_000)].concat();
        assert_eq!(read(&many), Err("the server sent a reply of too many values"));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in [b">2\r\n".as_slice(), b"%1\r\n", b"|1\r\n", b"HTTP/1.1 400\r\n", b"\r\n"] {
            assert_eq!(read(bytes), Err("the server sent what is no reply"));
        }
        for bytes in [b"$\r\n".as_slice(), b"$-2\r\n", b"$+1\r\n", b"*1 \r\n", b"*\xff\r\n"] {
            assert_eq!(read(bytes), Err("the server sent no length"));
        }
    }

    proptest! {
        #[test]
        fn however_replies_are_cut_they_are_counted_alike(
            bytes in "([+]O?K?\r\n|[$]2\r\n\r\n\r\n|[*][1-3]\r\n|:1?2?\r\n|[$]-1\r\n|.){0,12}",
            cut in 1usize..9,
        ) {
            let mut replies = Messages::new(&REPLIES);
            let mut pieces = bytes.as_bytes().chunks(cut);
            let cut = pieces.try_for_each(|piece| replies.read(piece)).map(|()| replies.whole);
            prop_assert_eq!(cut, read(bytes.as_bytes()));
        }

        #[test]
        fn the_crate_reads_what_is_counted(
            bytes in "([+](OK)?\r\n|[$]2\r\n\r\n\r\n|[*][0-2]\r\n|:12\r\n|[$]-1\r\n){0,12}",
        ) {
            let mut parser = redis::Parser::new();
            let mut rest = bytes.as_bytes();
            let mut whole = 0;
            while parser.parse_value(&mut rest).is_ok() {
                whole += 1;
            }
            prop_assert_eq!(read(bytes.as_bytes()), Ok(whole));
        }
    }

    async fn replies_to_nothing() -> io::Result<()> {
        let (ours, mut servers) = duplex(1024);
        let mut ours = Bounded::new(ours);
        ours.write_all(b"*1\r\n$4\r\nPING\r\n").await?;
        let mut answer = [0; 64];
        for _ in 0..2 {
            servers.write_all(b"+PONG\r\n").await?;
            assert_eq!(ours.read(&mut answer).await?, 7);
        }
        Ok(())
    }

    #[test]
    fn a_server_that_refuses_a_connection_says_why() {
        let fault_of = |bytes: &[u8]| {
            let mut stream = Bounded::new(());
            assert!(stream.check(bytes).is_err());
            stream.fault().get().copied()
        };
        for (bytes, fault) in [
            (b"-ERR max number of clients reached\r\n".as_slice(), OutageCause::Connections),
            (b"-DENIED Redis is running in protected mode\r\n", OutageCause::PasswordMissing),
            (b"+OK\r\n", OutageCause::Protocol),
            (b"$2000000000\r\n", OutageCause::TooLarge),
        ] {
            assert_eq!(fault_of(bytes), Some(fault));
        }
    }

    #[test]
    fn a_reply_to_nothing_ends_the_connection() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(replies_to_nothing()).unwrap_err();
        assert_eq!(error.to_string(), "the server sent a reply to nothing");
    }
}
