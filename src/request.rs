//! One request, one view: method, path, client address and headers are computed once, here, and every layer, limiter,
//! schema and policy uses the same ones.
//!
//! What it stops: path confusion (`//admin`, `%2e%2e`, `%2f`: the router and the policy must not read two different
//! paths), duplicated security headers (each side of a proxy believes another one), and forged client addresses.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use ipnet::IpNet;

use crate::refusal::Refusal;

/// What the shim sends for a request, in this order and separated by newlines, which no HTTP parser lets into a value:
/// number of lines, method, target, socket address, address that Express decided on (may be empty), `1` for TLS,
/// route pattern (may be empty), then header names and values in turn.
const FIXED_LINES: usize = 7;

/// Headers that decide about security, as bits: one that stands twice is refused, since two readers may each take another
/// one. The bits of a request also say which of them it lacks, without a look at all names.
fn single(name: &str) -> u16 {
    match name {
        "host" => 1,
        "authorization" => 1 << 1,
        "content-type" => 1 << 2,
        "content-length" => 1 << 3,
        "content-encoding" => 1 << 4,
        "origin" => 1 << 5,
        "x-forwarded-proto" => 1 << 6,
        "x-forwarded-host" => 1 << 7,
        "dpop" => 1 << 8,
        "sec-fetch-site" => 1 << 9,
        _ => 0,
    }
}

type Span = Range<usize>;

/// A request, owned, with everything in it as ranges of one string.
#[derive(Debug)]
pub struct Request {
    head: String,
    method: Span,
    target: Span,
    path_end: usize,
    route: Span,
    /// Names in lower case, values without surrounding blanks.
    headers: Vec<(Span, Span)>,
    /// Which of [`single`] it has.
    singles: u16,
    /// The canonical path, where it is not the one that was sent.
    decoded_path: Option<String>,
    peer: Option<IpAddr>,
    client: Option<IpAddr>,
    secure: bool,
}

/// Which proxies may speak for a client: `trustedProxies`.
#[derive(Debug, Default, Clone)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The networks in CIDR form; a single address is a network of one.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Request {
    /// Reads the head as the shim wrote it. The path isn't judged yet ([`Request::canonicalise`] does that), so that
    /// even a refusal of a bad path has its CORS headers.
    ///
    /// # Errors
    /// 400 where the head isn't what a parser of HTTP gives, or a security header stands twice.
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
        let mut fixed = || Some([next()?, next()?, next()?, next()?, next()?, next()?, next()?]);
        let Some([count, method, target, peer, express, secure, route]) = fixed() else {
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
        let mut request = Self {
            path_end: memchr::memchr(b'?', text(&target).as_bytes())
                .map_or(target.end, |at| target.start + at),
            method,
            target,
            route,
            headers,
            singles,
            decoded_path: None,
            peer: parse_address(text(&peer)),
            client: parse_address(text(&express)),
            secure: text(&secure) == "1",
            head,
        };
        request.believe_proxies(trusted);
        Ok(request)
    }

    /// Lets trusted proxies say who the client is and whether the request came over TLS: the rightmost address in
    /// `X-Forwarded-For` that is no trusted proxy is the client, since everything left of it is the client's own word.
    fn believe_proxies(&mut self, trusted: &TrustedProxies) {
        let Some(peer) = self.peer else { return };
        if trusted.0.is_empty() {
            // Express's own `trust proxy` has decided already.
            self.client = self.client.or(Some(peer));
            return;
        }
        if !trusted.contains(peer) {
            self.client = Some(peer);
            return;
        }
        let mut client = peer;
        'walk: for (name, value) in self.headers.iter().rev() {
            if self.text(name) != "x-forwarded-for" {
                continue;
            }
            for hop in self.text(value).rsplit(',') {
                let Some(address) = parse_address(hop.trim()) else { break 'walk };
                client = address;
                if !trusted.contains(address) {
                    break 'walk;
                }
            }
        }
        self.client = Some(client);
        self.secure = match self.header("x-forwarded-proto") {
            Some(proto) => proto.eq_ignore_ascii_case("https"),
            None => self.secure,
        };
    }

    /// Judges the target and splits the path into decoded segments. A trailing slash is the same path without it.
    ///
    /// # Errors
    /// 400 `malformed_path` for everything that another reader may read differently: an empty segment,
    /// a dot segment, an encoded slash, backslash or NUL, an encoded letter or digit, a bad percent
    /// encoding, text that isn't UTF-8, a fragment, absolute-form.
    pub fn canonicalise(&mut self) -> Result<(), Refusal> {
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
        if !path.is_empty() || self.raw_path().len() > 1 {
            let encoded = path.contains('%');
            for raw in path.split('/') {
                let segment = decode_segment(raw)
                    .ok_or_else(|| bad("a percent encoding in the path is not UTF-8 text"))?;
                match segment.as_ref() {
                    "" => return Err(bad("the path has an empty segment")),
                    "." | ".." => return Err(bad("the path has a dot segment")),
                    text if text.contains(['/', '\\']) => {
                        return Err(bad("the path has an encoded slash or a backslash"));
                    }
                    text if text.chars().any(char::is_control) => {
                        return Err(bad("the path has a control character"));
                    }
                    _ if encoded && hides_text(raw) => {
                        return Err(bad("the path has an encoded letter or digit"));
                    }
                    text if encoded => {
                        decoded.push('/');
                        decoded.push_str(text);
                    }
                    _ => {}
                }
            }
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

    /// The canonical path: decoded, without the query. As sent until [`Request::canonicalise`] has run.
    #[must_use]
    pub fn path(&self) -> &str {
        self.decoded_path.as_deref().unwrap_or_else(|| self.raw_path())
    }

    /// The query as sent, without the question mark; empty where there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.head.get(self.path_end + 1..self.target.end).unwrap_or_default()
    }

    /// The decoded segments of the canonical path, to compare with values. None of them holds a slash,
    /// so that the path says where they are.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        split(self.path())
    }

    /// The segments as sent, as many as [`Request::segments`], to compare with the text of routes.
    /// Express does so: `/a%2Ejson` does not run the handler of `/a.json`.
    pub fn raw_segments(&self) -> impl Iterator<Item = &str> {
        split(self.raw_path())
    }

    /// The route pattern, where the stack is mounted on a route: `/users/:id`.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        Some(self.text(&self.route)).filter(|route| !route.is_empty())
    }

    /// The client's address, IPv4 also where it came in an IPv6 coat; `None` if there is none (a Unix socket).
    #[must_use]
    pub fn client(&self) -> Option<IpAddr> {
        self.client
    }

    /// Whether the client's connection is TLS: the socket's own, or what a trusted proxy says.
    #[must_use]
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// The first header of that name, in lower case.
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

    /// Whether a body follows (RFC 9112 section 6).
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.header("transfer-encoding").is_some()
            || self.content_length().is_some_and(|length| length > 0)
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

/// A host in lower case, and a port where it is not the scheme's own; `None` where it is no host that a URL may have. Names
/// with and without a dot at their end are two names.
pub(crate) fn authority(text: &str, secure: bool) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"@/?#\\,".contains(&byte);
    if !text.bytes().all(plain) {
        return None;
    }
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
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

/// An address as sockets and proxies write it: with a zone, in an IPv6 coat, in brackets, with a port behind it.
fn parse_address(text: &str) -> Option<IpAddr> {
    if text.is_empty() {
        return None;
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    let bare = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _port)) => inside,
        None => text,
    };
    let bare = bare.split_once('%').map_or(bare, |(address, _zone)| address);
    bare.parse::<IpAddr>()
        .or_else(|error| {
            bare.parse::<std::net::SocketAddrV4>()
                .map(|socket| IpAddr::V4(*socket.ip()))
                .map_err(|_| error)
        })
        .ok()
        .map(|address| address.to_canonical())
}

/// The segments of a path. A slash at its end makes no difference.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').filter(|segment| !segment.is_empty())
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

/// The decoded text of a segment in an option or a document; `None` where no request can have it.
pub(crate) fn sendable(raw: &str) -> Option<Cow<'_, str>> {
    let visible = raw.bytes().all(|byte| byte.is_ascii_graphic() && !b"/\\?#".contains(&byte));
    let text = decode_segment(raw).filter(|_| visible && !hides_text(raw))?;
    let refused = text.contains(['/', '\\']) || text.chars().any(char::is_control);
    (!refused && !matches!(text.as_ref(), "." | "..")).then_some(text)
}

/// Percent-decodes one segment; `None` where an encoding is broken or the result isn't UTF-8.
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
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The head that the shim would write.
    pub(crate) fn head(method: &str, target: &str, peer: &str, headers: &[(&str, &str)]) -> String {
        let mut lines = vec![
            String::new(),
            method.into(),
            target.into(),
            peer.into(),
            String::new(),
            "0".into(),
            String::new(),
        ];
        for (name, value) in headers {
            lines.push((*name).into());
            lines.push((*value).into());
        }
        lines[0] = lines.len().to_string();
        lines.join("\n")
    }

    fn get(target: &str, peer: &str, headers: &[(&str, &str)], trusted: &[&str]) -> Request {
        let trusted = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect());
        Request::read(head("GET", target, peer, headers), &trusted).unwrap()
    }

    /// The segments, decoded and as sent.
    fn segments(target: &str) -> Option<(Vec<String>, Vec<String>)> {
        let mut request = get(target, "192.0.2.1", &[], &[]);
        request.canonicalise().ok()?;
        let decoded = request.segments().map(str::to_owned).collect();
        Some((decoded, request.raw_segments().map(str::to_owned).collect()))
    }

    #[test]
    fn a_path_is_read_one_way_or_refused() {
        for (target, decoded, raw) in [
            ("/", "", ""),
            ("/api/v1/users", "api v1 users", "api v1 users"),
            ("/api/v1/users/", "api v1 users", "api v1 users"),
            ("/api/v1/users?path=../x//y", "api v1 users", "api v1 users"),
            ("/caf%C3%A9/%7Euser", "café ~user", "caf%C3%A9 %7Euser"),
            ("/a/%252f/", "a %2f", "a %252f"),
            ("/7%3Apay/a%40b.com", "7:pay a@b.com", "7%3Apay a%40b.com"),
        ] {
            let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(segments(target), Some((list(decoded), list(raw))), "{target}");
        }
        for target in [
            "",
            "*",
            "api",
            "//",
            "//admin",
            "/api//users",
            "/api/users//",
            "/./a",
            "/a/..",
            "/a/../b",
            "/%2e%2e/a",
            "/.%2E/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/a%7f",
            "/a%zz",
            "/a%2",
            "/a%",
            "/%ff",
            "/%c0%ae",
            "/%70ublic",
            "/a/b%5A",
            "/users/%37",
            "/%ed%a0%80",
            "/a#b",
            "/a b",
            "/caf\u{e9}",
            "http://other/admin",
        ] {
            assert_eq!(segments(target), None, "{target}");
        }
    }

    #[test]
    fn a_client_address_is_the_sockets_unless_a_trusted_proxy_says_otherwise() {
        let forwarded = [("X-Forwarded-For", "6.6.6.6, 198.51.100.7, 10.0.0.9")];
        let client = |peer, headers: &[(&str, &str)], trusted: &[&str]| {
            get("/", peer, headers, trusted).client().unwrap().to_string()
        };
        assert_eq!(client("192.0.2.1", &forwarded, &[]), "192.0.2.1");
        assert_eq!(client("192.0.2.1", &forwarded, &["10.0.0.0/8"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &forwarded, &["10.0.0.0/8"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(
            client(
                "10.0.0.1",
                &[("X-Forwarded-For", "1.2.3.4, nonsense, 10.0.0.2")],
                &["10.0.0.0/8"]
            ),
            "10.0.0.2"
        );
        assert_eq!(
            client(
                "10.0.0.1",
                &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2:443")],
                &["10.0.0.0/8"]
            ),
            "2.2.2.2"
        );
        assert_eq!(client("::ffff:192.0.2.1", &[], &[]), "192.0.2.1");
    }

    #[test]
    fn only_a_trusted_proxy_says_that_a_request_is_secure() {
        let https = [("X-Forwarded-Proto", "https")];
        assert!(!get("/", "192.0.2.1", &https, &[]).secure());
        assert!(get("/", "10.0.0.1", &https, &["10.0.0.0/8"]).secure());
    }

    #[test]
    fn a_security_header_that_stands_twice_is_refused() {
        for name in ["Host", "authorization", "Content-Type", "ORIGIN", "Content-Length"] {
            let head = head(
                "GET",
                "/",
                "192.0.2.1",
                &[(name, "a"), ("x", "y"), (&name.to_lowercase(), "a")],
            );
            assert_eq!(
                Request::read(head, &TrustedProxies::default()).unwrap_err().code,
                "duplicate_header"
            );
        }
    }

    #[test]
    fn a_line_break_inside_a_value_shifts_nothing() {
        let smuggled = head("GET", "/", "192.0.2.1", &[("x", "a\nauthorization\nBearer forged")]);
        assert_eq!(Request::read(smuggled, &TrustedProxies::default()).unwrap_err().status, 400);
        let odd = head("GET\n/admin", "/", "192.0.2.1", &[("x", "y")]);
        assert_eq!(Request::read(odd, &TrustedProxies::default()).unwrap_err().status, 400);
    }

    proptest! {
        #[test]
        fn no_head_panics(text in "\\PC*(\n\\PC*){0,12}") {
            let count = text.matches('\n').count() + 2;
            if let Ok(mut request) = Request::read(format!("{count}\n{text}"), &TrustedProxies::default()) {
                let _ = request.canonicalise();
                prop_assert!(request.segments().all(|segment| !segment.is_empty() && segment != ".." && !segment.contains('/')));
                prop_assert!(request.canonicalise().is_err() || request.segments().count() == request.raw_segments().count());
            }
        }
    }
}
