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

/// The head of a request as the shim writes it, in this order and separated by newlines, which no HTTP parser lets into
/// a value: number of lines, method, target, socket address, address that Express decided on (may be empty), letters of
/// [`Flags`], route pattern (may be empty), place of the route among the application's routes (may be empty), then header
/// names and values in turn.
const FIXED_LINES: usize = 8;

/// Facts about a request that only its host knows.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the facts are independent of each other")]
struct Flags {
    /// `s`: the socket is a TLS socket.
    tls: bool,
    /// `b`: a body follows.
    body: bool,
    /// `r`: something has changed method or URL, so that the router reads another request than this one.
    rewritten: bool,
    /// `c`: the parser may have dropped headers, since there were as many as it keeps.
    cut: bool,
    /// `o`: the protocol version is older than HTTP/1.1.
    old: bool,
    /// `u`: `guard.upgrade` asks, about a handshake whose socket the application takes over.
    handshake: bool,
}

impl Flags {
    /// `None` where a letter is unknown: host and core then disagree about what it means.
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
                _ => return None,
            }
        }
        Some(flags)
    }
}

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
        "transfer-encoding" => 1 << 10,
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
    place: Span,
    /// Names in lower case, values without surrounding blanks.
    headers: Vec<(Span, Span)>,
    /// Which of [`single`] it has.
    singles: u16,
    /// The canonical path, where it is not the one that was sent.
    decoded_path: Option<String>,
    client: Option<IpAddr>,
    /// Whether a proxy has said who the client is, in words that are no address.
    client_unreadable: bool,
    secure: bool,
    flags: Flags,
}

/// Which proxies may speak for a client: `trustedProxies`.
#[derive(Debug, Default, Clone)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

impl TrustedProxies {
    /// The networks in CIDR form; a single address is a network of one. `unix`: whether a peer without an address, as one
    /// on a Unix socket, is a proxy too.
    #[must_use]
    pub fn new(networks: Vec<IpNet>, unix: bool) -> Self {
        Self { networks, unix }
    }

    fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.map_or(self.unix, |address| self.contains(address))
    }
}

impl Request {
    /// Reads the head as the shim wrote it. The path isn't judged yet ([`Request::canonicalise`] does that), so that
    /// even a refusal of a bad path has its CORS headers.
    ///
    /// # Errors
    /// 400 where the head isn't what a parser of HTTP gives, a security header stands twice, or the end of the body can be
    /// read in two ways; 431 where there are more headers than the parser keeps.
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
            client_unreadable: client.is_none() && !express.is_empty(),
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
            head,
        };
        request.check_framing()?;
        request.believe_proxies(peer, trusted);
        Ok(request)
    }

    /// Refuses what leaves it open which headers there are and where the body ends (RFC 9112 section 6.3): an
    /// intermediary may have read them in another way.
    fn check_framing(&self) -> Result<(), Refusal> {
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

    /// Refuses a request whose view is not the one that others have of it: the router, or the proxy in front.
    ///
    /// # Errors
    /// 400 `malformed_request` for a method with lower-case letters: routers disagree about them. 400
    /// `malformed_forwarded_for` where a trusted proxy names a client that is no address. 500 `url_rewritten` where
    /// method or URL were changed after the request came.
    pub fn check_view(&self) -> Result<(), Refusal> {
        if self.method().bytes().any(|byte| byte.is_ascii_lowercase()) {
            return Err(malformed("the method must be in upper case"));
        }
        if self.flags.handshake && self.flags.body {
            return Err(malformed("a handshake can't have a body"));
        }
        if self.client_unreadable {
            let why = "X-Forwarded-For names a client that is no IP address";
            return Err(Refusal::new(400, "malformed_forwarded_for", why));
        }
        if self.flags.rewritten {
            let why = "the request was changed on its way and can't be judged";
            return Err(Refusal::new(500, "url_rewritten", why));
        }
        Ok(())
    }

    /// Lets trusted proxies say who the client is and whether the request came over TLS: the rightmost address in
    /// `X-Forwarded-For` that is no trusted proxy is the client, since everything left of it is the client's own word.
    fn believe_proxies(&mut self, peer: Option<IpAddr>, trusted: &TrustedProxies) {
        if trusted.is_empty() {
            // Express's own `trust proxy` has decided already.
            self.client = self.client.or(peer);
            return;
        }
        self.client = peer;
        self.client_unreadable = false;
        if !trusted.trusts(peer) {
            return;
        }
        let mut client = Some(peer);
        'walk: for (name, value) in self.headers.iter().rev() {
            if self.text(name) != "x-forwarded-for" {
                continue;
            }
            for hop in self.text(value).rsplit(',') {
                // Whoever this is must not be taken for the proxy that has written it.
                let address = parse_address(hop.trim());
                client = address.map(Some);
                if !address.is_some_and(|address| trusted.contains(address)) {
                    break 'walk;
                }
            }
        }
        self.client_unreadable = client.is_none();
        self.client = client.flatten();
        self.secure = match self.header("x-forwarded-proto") {
            Some(proto) => proto.eq_ignore_ascii_case("https"),
            None => self.secure,
        };
    }

    /// Judges the target and splits the path into decoded segments. A trailing slash is the same path without it.
    ///
    /// # Errors
    /// 400 `malformed_path` for everything that another reader may read differently: an empty segment, a dot segment,
    /// an encoded slash, backslash or NUL, a bad percent encoding, text that isn't UTF-8, a fragment, absolute-form.
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

    /// The decoded segments of the canonical path. None of them holds a slash, so that the path says where they are.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let path = self.path().strip_prefix('/').unwrap_or_default();
        let path = path.strip_suffix('/').unwrap_or(path);
        path.split('/').filter(|segment| !segment.is_empty())
    }

    /// The route pattern, where the stack is mounted on a route: `/users/:id`, as the router that holds it has it. The
    /// path where that router is mounted is text of the client and no part of it.
    #[must_use]
    pub fn route(&self) -> Option<&str> {
        Some(self.text(&self.route)).filter(|route| !route.is_empty())
    }

    /// The route pattern together with its place among the application's routes, which tells routes of one pattern in two
    /// routers apart. Nothing in it is text of the client.
    #[must_use]
    pub fn route_id(&self) -> Option<&str> {
        self.route().map(|_| self.text(&(self.route.start..self.place.end)))
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

    /// Whether a body follows (RFC 9112 section 6, RFC 9113 section 8.1).
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.flags.body
    }

    /// Whether it is the handshake of another protocol, about which `guard.upgrade` asks.
    #[must_use]
    pub fn is_handshake(&self) -> bool {
        self.flags.handshake
    }

    /// Whether it asks to go on with another protocol, such as WebSocket (RFC 9110 section 7.8).
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
        let has = |wanted: &str| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let body = has("content-length").is_some_and(|(_, length)| *length != "0")
            || has("transfer-encoding").is_some();
        let flags = if body { "b" } else { "" };
        let fixed = ["", method, target, peer, "", flags, "", ""];
        let mut lines: Vec<String> = fixed.map(str::to_owned).to_vec();
        for (name, value) in headers {
            lines.push((*name).into());
            lines.push((*value).into());
        }
        lines[0] = lines.len().to_string();
        lines.join("\n")
    }

    fn get(target: &str, peer: &str, headers: &[(&str, &str)], trusted: &[&str]) -> Request {
        let trusted =
            TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()).collect(), false);
        Request::read(head("GET", target, peer, headers), &trusted).unwrap()
    }

    fn segments(target: &str) -> Option<Vec<String>> {
        let mut request = get(target, "192.0.2.1", &[], &[]);
        request.canonicalise().ok().map(|()| request.segments().map(str::to_owned).collect())
    }

    #[test]
    fn a_path_is_read_one_way_or_refused() {
        for (target, wanted) in [
            ("/", vec![]),
            ("/api/v1/users", vec!["api", "v1", "users"]),
            ("/api/v1/users/", vec!["api", "v1", "users"]),
            ("/api/v1/users?path=../x//y", vec!["api", "v1", "users"]),
            ("/caf%C3%A9/%7Euser", vec!["café", "~user"]),
            ("/a/%252f", vec!["a", "%2f"]),
        ] {
            assert_eq!(
                segments(target),
                Some(wanted.into_iter().map(str::to_owned).collect()),
                "{target}"
            );
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
        for nonsense in
            ["1.2.3.4, nonsense, 10.0.0.2", "nonsense", "", "1.2.3.4, ", "192.0.2", "[::1"]
        {
            let request = get("/", "10.0.0.1", &[("X-Forwarded-For", nonsense)], &["10.0.0.0/8"]);
            assert_eq!(request.client(), None, "{nonsense}");
            assert_eq!(request.check_view().unwrap_err().code, "malformed_forwarded_for");
        }
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
    fn the_peer_of_a_unix_socket_speaks_for_a_client_where_it_is_trusted() {
        let forwarded = [("X-Forwarded-For", "192.0.2.1, 198.51.100.7")];
        let read = |trusted: &TrustedProxies, headers| {
            Request::read(head("GET", "/", "", headers), trusted).unwrap()
        };
        let unix = TrustedProxies::new(Vec::new(), true);
        assert_eq!(read(&unix, &forwarded).client().unwrap().to_string(), "198.51.100.7");
        assert_eq!(read(&unix, &[]).client(), None);
        let network = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], false);
        assert_eq!(read(&network, &forwarded).client(), None);
        assert!(read(&network, &forwarded).check_view().is_ok());
    }

    #[test]
    fn a_request_that_two_readers_could_read_differently_is_refused() {
        let read = |method: &str, flags: &str, headers: &[(&str, &str)]| {
            let mut lines = vec!["", method, "/", "192.0.2.1", "", flags, "", ""];
            for (name, value) in headers {
                lines.extend([*name, *value]);
            }
            let count = lines.len().to_string();
            lines[0] = &count;
            let request = Request::read(lines.join("\n"), &TrustedProxies::default())?;
            request.check_view().map(|()| request)
        };
        let code = |method, flags, headers: &[(&str, &str)]| {
            read(method, flags, headers).map_or_else(|refusal| refusal.code, |_| "pass")
        };
        assert_eq!(code("GET", "", &[]), "pass");
        assert_eq!(code("M-SEARCH", "s", &[]), "pass");
        for method in ["get", "Post", "delete"] {
            assert_eq!(code(method, "", &[]), "malformed_request");
        }
        assert_eq!(code("GET", "c", &[]), "too_many_headers");
        assert_eq!(code("GET", "r", &[]), "url_rewritten");
        assert_eq!(code("GET", "x", &[]), "malformed_request");
        assert_eq!(code("GET", "ub", &[]), "malformed_request");
        let chunked = ("Transfer-Encoding", "chunked");
        assert_eq!(code("POST", "b", &[chunked]), "pass");
        assert_eq!(code("POST", "bo", &[chunked]), "malformed_request");
        assert_eq!(code("POST", "b", &[chunked, ("Content-Length", "3")]), "malformed_request");
        assert_eq!(code("POST", "b", &[chunked, chunked]), "duplicate_header");
        assert_eq!(
            code("POST", "b", &[("Transfer-Encoding", "gzip, chunked")]),
            "malformed_request"
        );
    }

    #[test]
    fn a_route_is_its_pattern_and_its_place() {
        let head = "8\nGET\n/a/b\n192.0.2.1\n\n\n/:id\n1.0".to_owned();
        let request = Request::read(head, &TrustedProxies::default()).unwrap();
        assert_eq!((request.route(), request.route_id()), (Some("/:id"), Some("/:id\n1.0")));
        let head = "8\nGET\n/a/b\n192.0.2.1\n\n\n\n".to_owned();
        let request = Request::read(head, &TrustedProxies::default()).unwrap();
        assert_eq!((request.route(), request.route_id()), (None, None));
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
            }
        }
    }
}
