//! One request, one view: method, path, client address and headers are computed once, here, and
//! every layer, limiter, schema and policy uses the same ones.
//!
//! It stops path confusion (`//admin`, `%2e%2e`, `%2f`: the router and the policy must not read two
//! different paths), duplicate security headers (the two sides of a proxy may use different ones),
//! and forged client addresses.

mod forwarded;

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use crate::net::TrustedProxies;
use crate::refusal::Refusal;
use forwarded::parse_address;

/// The head of a request as the shim writes it, in this order and separated by newlines, which no
/// HTTP parser allows in a value: number of lines, method, target, socket address, address that
/// Express decided on (may be empty), letters of [`Flags`], route pattern (may be empty), position
/// of the route among the application's routes (may be empty), then alternating header names and
/// values.
const FIXED_LINES: usize = 8;

/// Facts about a request that only its host can determine.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the facts are independent of each other")]
struct Flags {
    /// `s`: the socket is a TLS socket.
    tls: bool,
    /// `b`: a body follows.
    body: bool,
    /// `r`: the method or URL was changed, so that the router reads another request than this one.
    rewritten: bool,
    /// `c`: the parser may have dropped headers, since it reached its maximum.
    cut: bool,
    /// `o`: the protocol version is older than HTTP/1.1.
    old: bool,
    /// `g`: the client has reset its connection, so that its address is unknown.
    gone: bool,
    /// `u`: a call of `guard.upgrade`, for a handshake whose socket the application takes over.
    handshake: bool,
    /// `p`: another parser has read the body and left its result.
    parsed: bool,
    /// `m`: the router may take two slashes for one.
    merging: bool,
}

impl Flags {
    /// `None` for an unknown letter: host and core disagree about the format.
    fn read(letters: &str) -> Option<Self> {
        let mut flags = Self::default();
        for letter in letters.bytes() {
            match letter {
                b's' => flags.tls = true,
                b'b' => flags.body = true,
                b'r' => flags.rewritten = true,
                b'c' => flags.cut = true,
                b'o' => flags.old = true,
                b'u' => flags.handshake = true,
                b'g' => flags.gone = true,
                b'p' => flags.parsed = true,
                b'm' => flags.merging = true,
                _ => return None,
            }
        }
        Some(flags)
    }
}

/// Headers that decide about security, as bits. A duplicate one is refused, since two readers may
/// use different values. The bits of a request also show which of them are missing, without a
/// search through all names.
fn single(name: &str) -> u16 {
    match name {
        "host" => 1,
        "authorization" => 1 << 1,
        "content-type" => 1 << 2,
        "content-length" => 1 << 3,
        "content-encoding" => 1 << 4,
        "origin" => 1 << 5,
        "dpop" => 1 << 6,
        "sec-fetch-site" => 1 << 7,
        "transfer-encoding" => 1 << 8,
        _ => 0,
    }
}

/// Forms of a path that are refused unless the guard's `paths` name its route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PathForms {
    /// `%2F` inside of a segment.
    pub encoded_slashes: bool,
    /// Two slashes in a row.
    pub empty_segments: bool,
}

type Span = Range<usize>;

/// How a proxy names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// By its address, or not at all.
    Clear,
    /// By a text that is not an address.
    Unreadable,
    /// Perhaps, and it is unknown whether to trust it.
    InDoubt,
    /// As a peer that is not trusted.
    Outside,
}

/// A request, owned, with everything in it as ranges of one string.
#[derive(Debug)]
pub struct Request {
    head: String,
    method: Span,
    target: Span,
    path_end: usize,
    route: Span,
    place: Span,
    /// Names in lower case, values without surrounding blanks.
    headers: Vec<(Span, Span)>,
    /// The headers of [`single`] that it has.
    singles: u16,
    /// The canonical path, if it differs from the path as sent.
    decoded_path: Option<String>,
    /// The decoded segments, if the canonical path does not determine them.
    decoded_segments: Option<Vec<String>>,
    client: Option<IpAddr>,
    naming: Naming,
    secure: bool,
    flags: Flags,
}

impl Request {
    /// Reads the head as the shim wrote it. The path is checked later, by
    /// [`Request::canonicalise`], so that even a refusal of a bad path has its CORS headers.
    ///
    /// # Errors
    /// 400 if the head isn't the output of an HTTP parser, a security header is duplicated, or the
    /// end of the body is ambiguous; 431 if there are more headers than the parser keeps.
    pub fn read(head: String, trusted: &TrustedProxies) -> Result<Self, Refusal> {
        let mut head = head;
        let mut ends = memchr::memchr_iter(b'\n', head.as_bytes());
        let mut start = Some(0);
        // The last line ends with the text.
        let mut next = || {
            let from = start?;
            let end = ends.next();
            start = end.map(|end| end + 1);
            Some(from..end.unwrap_or(head.len()))
        };
        let mut fixed =
            || Some([next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?]);
        let Some([count, method, target, peer, express, flags, route, place]) = fixed() else {
            return Err(malformed("the request line or a header can't be read"));
        };
        let mut headers = Vec::with_capacity(16);
        let mut lines = FIXED_LINES;
        while let Some(name) = next() {
            let Some(value) = next() else {
                lines += 1;
                break;
            };
            lines += 2;
            headers.push((name, value));
        }
        let count = head.get(count).and_then(|text| text.parse::<usize>().ok());
        if count != Some(lines) || !(lines - FIXED_LINES).is_multiple_of(2) {
            return Err(malformed("a header holds a line break"));
        }

        let mut singles = 0_u16;
        for (name, value) in &mut headers {
            if let Some(name) = head.get_mut(name.clone()) {
                name.make_ascii_lowercase();
            }
            let shown = head.get(name.clone()).unwrap_or_default();
            let bit = single(shown);
            if singles & bit != 0 {
                let detail = format!("the header `{shown}` may stand only once");
                return Err(Refusal::new(400, "duplicate_header", detail));
            }
            singles |= bit;
            *value = trim(&head, value);
        }

        let text = |span: &Span| head.get(span.clone()).unwrap_or_default();
        let Some(flags) = Flags::read(text(&flags)) else {
            return Err(malformed("the request can't be read"));
        };
        let peer = parse_address(text(&peer));
        let client = parse_address(text(&express));
        let mut request = Self {
            client,
            naming: if client.is_none() && !express.is_empty() {
                Naming::Unreadable
            } else {
                Naming::Clear
            },
            secure: flags.tls,
            flags,
            path_end: memchr::memchr(b'?', text(&target).as_bytes())
                .map_or(target.end, |at| target.start + at),
            method,
            target,
            route,
            headers,
            singles,
            place,
            decoded_path: None,
            decoded_segments: None,
            head,
        };
        request.check_framing()?;
        request.believe_proxies(peer, trusted);
        Ok(request)
    }

    /// Refuses a request whose set of headers or end of body is ambiguous (RFC 9112 section 6.3):
    /// an intermediary may have read it differently.
    fn check_framing(&self) -> Result<(), Refusal> {
        if self.flags.gone {
            return Err(malformed("the client has gone away"));
        }
        if self.flags.cut {
            return Err(Refusal::new(431, "too_many_headers", "the request has too many headers"));
        }
        let Some(coding) = self.header("transfer-encoding") else { return Ok(()) };
        if self.flags.old {
            return Err(malformed("a request of HTTP/1.0 can't have Transfer-Encoding"));
        }
        if !coding.eq_ignore_ascii_case("chunked") {
            return Err(malformed("the only transfer coding that is read is chunked"));
        }
        if self.header("content-length").is_some() {
            return Err(malformed(
                "a request can't have both Transfer-Encoding and Content-Length",
            ));
        }
        Ok(())
    }

    /// Refuses a request of which the router, or the proxy in front, may have another view.
    ///
    /// # Errors
    /// 400 `malformed_request` for a method with lower-case letters: routers disagree about them.
    /// 400 `malformed_forwarded_for` if a trusted proxy names a client that is not an address. 400
    /// `untrusted_proxy` for a handshake that may come from a proxy that is not configured. 500
    /// `url_rewritten` if method or URL were changed after the request arrived.
    pub fn check_view(&self) -> Result<(), Refusal> {
        if self.method().bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(malformed("the method must be in upper case"));
        }
        if self.flags.handshake && self.flags.body {
            return Err(malformed("a handshake can't have a body"));
        }
        if self.naming == Naming::Unreadable {
            let why = "X-Forwarded-For names a client that is no IP address";
            return Err(Refusal::new(400, "malformed_forwarded_for", why));
        }
        if self.naming == Naming::InDoubt {
            let why = "X-Forwarded-For came with a handshake, and no proxy is known";
            return Err(Refusal::new(400, "untrusted_proxy", why));
        }
        if self.flags.rewritten {
            let why = "the request was changed on its way and can't be judged";
            return Err(Refusal::new(500, "url_rewritten", why));
        }
        Ok(())
    }

    /// Checks the target and splits the path into decoded segments. A trailing slash adds none; see
    /// [`Request::ends_with_slash`]. `forms` are those that this path may have beside.
    ///
    /// # Errors
    /// 400 `malformed_path` for every form that another reader may interpret differently: an empty
    /// segment, a dot segment, an encoded slash, backslash or NUL, an encoded letter or digit, a
    /// bad percent encoding, text that isn't UTF-8, a fragment, absolute-form.
    pub fn canonicalise(&mut self, forms: PathForms) -> Result<(), Refusal> {
        let bad = |why: &'static str| Refusal::new(400, "malformed_path", why);
        if self.method() == "OPTIONS" && self.target() == "*" {
            return Ok(());
        }
        let target = self.target();
        if target.bytes().any(|byte| !(0x21..0x7f).contains(&byte) || byte == b'#') {
            return Err(bad("the target may hold only visible ASCII characters and no fragment"));
        }
        let Some(path) = self.raw_path().strip_prefix('/') else {
            return Err(bad("the target must be a path that starts with a slash"));
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut decoded = String::new();
        let mut used_form = false;
        // An empty last segment and a trailing slash look alike.
        let takes_empty = forms.empty_segments && !self.flags.merging && !path.ends_with('/');
        if !path.is_empty() || self.raw_path().len() > 1 {
            let encoded = path.contains('%');
            for raw in path.split('/') {
                let segment = decode_segment(raw)
                    .ok_or_else(|| bad("a percent encoding in the path is not UTF-8 text"))?;
                match segment.as_ref() {
                    "" if takes_empty => used_form = true,
                    "" => return Err(bad("the path has an empty segment")),
                    "." | ".." => return Err(bad("the path has a dot segment")),
                    text if forms.encoded_slashes && is_sound_value(text) => {
                        used_form = true;
                        if hides_text(raw) {
                            return Err(bad("the path has an encoded letter or digit"));
                        }
                        decoded.push('/');
                        decoded.push_str(text);
                    }
                    text if text.contains(['/', '\\']) => {
                        return Err(bad("the path has an encoded slash or a backslash"));
                    }
                    text if text.chars().any(char::is_control) => {
                        return Err(bad("the path has a control character"));
                    }
                    _ if encoded && hides_text(raw) => {
                        return Err(bad("the path has an encoded letter or digit"));
                    }
                    text if encoded || takes_empty => {
                        decoded.push('/');
                        decoded.push_str(text);
                    }
                    _ => {}
                }
            }
        }
        if used_form {
            let segments = path.split('/').map(decode_segment);
            let segments = segments.map(|segment| segment.unwrap_or_default().into_owned());
            self.decoded_segments = Some(segments.collect());
        }
        self.decoded_path = Some(decoded).filter(|path| !path.is_empty());
        Ok(())
    }

    fn text(&self, span: &Span) -> &str {
        self.head.get(span.clone()).unwrap_or_default()
    }

    /// The method as sent: case matters (RFC 9110 section 9.1).
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// The target as sent, query included.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// The path as sent, without the query.
    #[must_use]
    pub fn raw_path(&self) -> &str {
        self.text(&(self.target.start..self.path_end))
    }

    /// The canonical path: decoded, without the query. Before [`Request::canonicalise`], the path
    /// as sent. Where [`PathForms`] allowed it more, an encoded slash is a slash here and an empty
    /// segment is left out, as the most lenient reader has it: for limits, which match widely.
    #[must_use]
    pub fn path(&self) -> &str {
        self.decoded_path.as_deref().unwrap_or_else(|| self.raw_path())
    }

    /// The query as sent, without the question mark; empty if there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.head.get(self.path_end + 1..self.target.end).unwrap_or_default()
    }

    /// The decoded segments of the path, to compare with values: as many as
    /// [`Request::raw_segments`].
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let path = if self.decoded_segments.is_some() { "" } else { self.path() };
        self.decoded_segments.iter().flatten().map(String::as_str).chain(split(path))
    }

    /// The segments as sent, as many as [`Request::segments`], to compare with the text of routes.
    /// Express does so: `/a%2Ejson` does not run the handler of `/a.json`.
    pub fn raw_segments(&self) -> impl Iterator<Item = &str> {
        split(self.raw_path())
    }

    /// Whether the path ends with a slash: for strict routers it is another path then.
    #[must_use]
    pub fn ends_with_slash(&self) -> bool {
        self.raw_path().ends_with('/')
    }

    /// The route pattern, if the stack is mounted on a route: `/users/:id`, as in its router. The
    /// path at which that router is mounted is text of the client and is not included.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        Some(self.text(&self.route)).filter(|route| !route.is_empty())
    }

    /// The route pattern with its position among the application's routes, which distinguishes
    /// routes of the same pattern in two routers. It contains no text of the client.
    #[must_use]
    pub fn route_id(&self) -> Option<&str> {
        let route = self.route()?;
        Some(if self.place.is_empty() {
            route
        } else {
            self.text(&(self.route.start..self.place.end))
        })
    }

    /// The client's address, as IPv4 if it is IPv4-mapped; `None` if there is none (a Unix socket).
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Whether a peer that is not in `trustedProxies` sent `X-Forwarded-For`, which is ignored.
    #[must_use]
    pub(crate) fn has_outside_proxy(&self) -> bool {
        self.naming == Naming::Outside
    }

    /// Whether the client's connection is TLS, by the socket or by a trusted proxy.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// The first header of that name; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let bit = single(name);
        if bit != 0 && self.singles & bit == 0 {
            return None;
        }
        self.headers
            .iter()
            .find(|(key, _)| self.text(key) == name)
            .map(|(_, value)| self.text(value))
    }

    /// All headers, names in lower case, in the order they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (self.text(name), self.text(value)))
    }

    /// Whether a body follows (RFC 9112 section 6, RFC 9113 section 8.1).
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.flags.body
    }

    /// Whether another parser of the application has read its body and left the result.
    #[must_use]
    pub fn is_parsed(&self) -> bool {
        self.flags.parsed
    }

    /// Whether it is the handshake of another protocol, from a call of `guard.upgrade`.
    #[must_use]
    pub fn is_handshake(&self) -> bool {
        self.flags.handshake
    }

    /// Whether it requests a switch to another protocol, such as WebSocket (RFC 9110 section 7.8).
    #[must_use]
    pub fn asks_upgrade(&self) -> bool {
        self.header("upgrade").is_some()
    }

    /// The announced length of the body in bytes. Node's parser has checked its form.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }
}

fn malformed(why: &'static str) -> Refusal {
    Refusal::new(400, "malformed_request", why)
}

fn trim(head: &str, span: &Span) -> Span {
    let text = head.get(span.clone()).unwrap_or_default();
    let start = span.start + (text.len() - text.trim_ascii_start().len());
    start..start + text.trim_ascii().len()
}

/// A host in lower case, and a port if it is not the scheme's default; `None` for a host that a URL
/// can't have. A name with a trailing dot and the same name without it are different.
pub(crate) fn authority(text: &str, secure: bool) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"@/?#\\,".contains(&byte);
    if !text.bytes().all(plain) {
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address are in brackets.
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, ""),
    };
    if host.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut authority = host.to_ascii_lowercase();
    if !port.is_empty() {
        let port: u16 = port.parse().ok()?;
        if port != if secure { 443 } else { 80 } {
            authority.push(':');
            authority.push_str(&port.to_string());
        }
    }
    Some(authority)
}

/// The segments of a path. A trailing slash adds none.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    Some(path).filter(|path| !path.is_empty()).into_iter().flat_map(|path| path.split('/'))
}

/// Whether a decoded segment with a slash is a value in every reading of it: no reader that decodes
/// it once more, or takes its slashes for those of the path, gets out of the part of the tree that
/// the segment stands in.
fn is_sound_value(text: &str) -> bool {
    let is_dots = |part: &str| {
        // Some servers cut parameters off a segment: `..;a`.
        matches!(part.split(';').next(), Some("." | ".."))
    };
    let is_encoded_twice = text.as_bytes().windows(3).any(|window| {
        let [b'%', high, low] = window else { return false };
        matches!((high, low.to_ascii_lowercase()), (b'2', b'e' | b'f') | (b'5', b'c'))
    });
    text.contains('/')
        && !text.starts_with('/')
        && !text.contains(|char: char| char == '\\' || char.is_control())
        && !text.split('/').any(is_dots)
        && !is_encoded_twice
}

/// Whether an encoding stands for an ASCII letter or digit. No client needs one. It hides a word
/// from readers that do not decode (routers), but not from file servers and proxies, which do.
fn hides_text(raw: &str) -> bool {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    raw.as_bytes().windows(3).any(|window| match window {
        [b'%', high, low] => digit(high)
            .zip(digit(low))
            .and_then(|(high, low)| char::from_u32(high * 16 + low))
            .is_some_and(|decoded| decoded.is_ascii_alphanumeric()),
        _ => false,
    })
}

/// The decoded text of a segment in an option or a document; `None` if no request can have it.
pub(crate) fn sendable(raw: &str) -> Option<Cow<'_, str>> {
    let visible = raw.bytes().all(|byte| byte.is_ascii_graphic() && !b"/\\?#".contains(&byte));
    let text = decode_segment(raw).filter(|_| visible && !hides_text(raw))?;
    let refused = text.contains(['/', '\\']) || text.chars().any(char::is_control);
    (!refused && !matches!(text.as_ref(), "." | "..")).then_some(text)
}

/// Percent-decodes one segment; `None` if an encoding is broken or the result isn't UTF-8.
pub(crate) fn decode_segment(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
pub(crate) mod tests;
