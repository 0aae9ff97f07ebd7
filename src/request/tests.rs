use super::*;
use proptest::prelude::*;

/// The head as the shim would write it.
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

/// The segments, decoded and as sent.
fn segments(target: &str) -> Option<(Vec<String>, Vec<String>)> {
    let mut request = get(target, "192.0.2.1", &[], &[]);
    request.canonicalise(PathForms::default()).ok()?;
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

/// The segments, decoded and as sent, of a path that may have the forms `slashes` and `empties`.
fn formed(target: &str, slashes: bool, empties: bool) -> Option<(Vec<String>, Vec<String>)> {
    let mut request = get(target, "192.0.2.1", &[], &[]);
    let forms = PathForms { encoded_slashes: slashes, empty_segments: empties };
    request.canonicalise(forms).ok()?;
    let decoded = request.segments().map(str::to_owned).collect();
    Some((decoded, request.raw_segments().map(str::to_owned).collect()))
}

#[test]
fn an_encoded_slash_is_part_of_its_segment_where_it_may_be_sent() {
    for (target, decoded, raw) in [
        ("/f/a%2Fb", "f a/b", "f a%2Fb"),
        ("/f/a%2fb%2F/c/", "f a/b/ c", "f a%2fb%2F c"),
        ("/f/https%3A%2F%2Fe.org%2Fx", "f https://e.org/x", "f https%3A%2F%2Fe.org%2Fx"),
        ("/f/a%2F..b%2F...%2Fc;d", "f a/..b/.../c;d", "f a%2F..b%2F...%2Fc;d"),
        ("/f/a%2Fb%2520c", "f a/b%20c", "f a%2Fb%2520c"),
        ("/f/a%2Fb/%252F", "f a/b %2F", "f a%2Fb %252F"),
    ] {
        let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(formed(target, true, false), Some((list(decoded), list(raw))), "{target}");
        assert_eq!(formed(target, false, true), None, "{target}");
    }
    for target in [
        "/f/%2F",
        "/f/%2Fetc%2Fpasswd",
        "/f/..%2Fa",
        "/f/a%2F..",
        "/f/a%2F..%2F..%2Fb",
        "/f/a%2F%2e%2E%2Fb",
        "/f/a%2F.%2Fb",
        "/f/.%2Fa",
        "/f/..;x%2Fa",
        "/f/a%2F..;x",
        "/f/a%2F;/..",
        "/f/a%2Fb%5Cc",
        "/f/a%2F..%5C",
        r"/f/a%2Fb\c",
        "/f/a%2F%00",
        "/f/a%2F%0d%0a",
        "/f/a%2F%252e%252e%252fb",
        "/f/a%2Fb%252Fc",
        "/f/a%2Fb%255cc",
        "/f/a%2F%61dmin",
        "/f/a%2F%ff",
        "/f/a%2F%2",
        "/f/a%2Fb//c",
        "/f/./a%2Fb",
        "/f/%2e%2e/a%2Fb",
    ] {
        assert_eq!(formed(target, true, false), None, "{target}");
    }
}

#[test]
fn an_empty_segment_is_a_segment_where_it_may_be_sent() {
    for (target, raw) in
        [("/p//a", "p||a"), ("/p///a/", "p|||a"), ("/p/a//b%20c", "p|a||b%20c"), ("/p/a", "p|a")]
    {
        let raw: Vec<String> = raw.split('|').map(str::to_owned).collect();
        let decoded = raw.iter().map(|segment| segment.replace("%20", " ")).collect();
        assert_eq!(formed(target, false, true), Some((decoded, raw)), "{target}");
    }
    for target in [
        "/p//",
        "/p/a//",
        "/p///",
        "/p//../a",
        "/p//./a",
        "/p//%2e%2e/a",
        "/p//a%2Fb",
        r"/p//\a",
        "/p//%5Ca",
    ] {
        assert_eq!(formed(target, false, true), None, "{target}");
    }
}

#[test]
fn a_router_that_may_merge_slashes_gets_no_empty_segment() {
    let mut lines = head("GET", "/p//a", "192.0.2.1", &[]);
    lines = lines.replacen("192.0.2.1\n\n\n", "192.0.2.1\n\nm\n", 1);
    let mut request = Request::read(lines, &TrustedProxies::default()).unwrap();
    let forms = PathForms { encoded_slashes: true, empty_segments: true };
    assert_eq!(request.canonicalise(forms).unwrap_err().code, "malformed_path");
}

#[test]
fn limits_read_such_a_path_as_the_most_lenient_reader() {
    let path = |target| {
        let mut request = get(target, "192.0.2.1", &[], &[]);
        let forms = PathForms { encoded_slashes: true, empty_segments: true };
        request.canonicalise(forms).unwrap();
        request.path().to_owned()
    };
    assert_eq!(path("/p//login"), "/p/login");
    assert_eq!(path("/p/x%2Flogin"), "/p/x/login");
    assert_eq!(path("/p//x%2Flogin/"), "/p/x/login");
    assert_eq!(path("/p/login/"), "/p/login");
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
    for nonsense in ["1.2.3.4, nonsense, 10.0.0.2", "nonsense", "", "1.2.3.4, ", "192.0.2", "[::1"]
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
fn an_address_has_nothing_but_a_port_behind_it() {
    for (text, wanted) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("[192.0.2.1]", "192.0.2.1"),
        ("[192.0.2.1]:65535", "192.0.2.1"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:1", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%eth0]:80", "fe80::1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
    ] {
        assert_eq!(parse_address(text).map(|address| address.to_string()).as_deref(), Some(wanted));
    }
    for text in [
        "[127.0.0.1]x",
        "[9.9.9.9]junk",
        "[::1]80",
        "[::1]:",
        "[::1]:x",
        "[::1]:+80",
        "[::1]:123456",
        "[::1]]",
        "[[::1]]",
        "[::1",
        "::1]",
        "192.0.2.1:",
        "192.0.2.1:x",
        "192.0.2.1:+80",
        "192.0.2.1:80:80",
        "192.0.2.1:123456",
        "192.0.2.1%x",
    ] {
        assert_eq!(parse_address(text), None, "{text}");
    }
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
    assert_eq!(code("GET", "g", &[]), "malformed_request");
    assert_eq!(code("GET", "r", &[]), "url_rewritten");
    assert_eq!(code("GET", "x", &[]), "malformed_request");
    assert_eq!(code("GET", "ub", &[]), "malformed_request");
    let chunked = ("Transfer-Encoding", "chunked");
    assert_eq!(code("POST", "b", &[chunked]), "pass");
    assert_eq!(code("POST", "bo", &[chunked]), "malformed_request");
    assert_eq!(code("POST", "b", &[chunked, ("Content-Length", "3")]), "malformed_request");
    assert_eq!(code("POST", "b", &[chunked, chunked]), "duplicate_header");
    assert_eq!(code("POST", "b", &[("Transfer-Encoding", "gzip, chunked")]), "malformed_request");
}

#[test]
fn a_route_is_its_pattern_and_its_place() {
    let head = "8\nGET\n/a/b\n192.0.2.1\n\n\n/:id\n1.0".to_owned();
    let request = Request::read(head, &TrustedProxies::default()).unwrap();
    assert_eq!((request.route(), request.route_id()), (Some("/:id"), Some("/:id\n1.0")));
    let head = "8\nGET\n/a/b\n192.0.2.1\n\n\n/:id\n".to_owned();
    let request = Request::read(head, &TrustedProxies::default()).unwrap();
    assert_eq!((request.route(), request.route_id()), (Some("/:id"), Some("/:id")));
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
fn the_scheme_is_the_one_that_the_first_trusted_proxy_wrote() {
    let secure = |headers: &[(&str, &str)]| get("/", "10.0.0.1", headers, &["10.0.0.0/8"]).secure();
    let proto = |text| secure(&[("X-Forwarded-Proto", text)]);
    for text in
        ["https", "HTTPS", "https,http", "https , http", "Https,http,http", ", https", "wss"]
    {
        assert!(proto(text), "{text}");
    }
    for text in ["http", "http,https", "", ",", "https:", "\"https\"", "httpsx", "ws"] {
        assert!(!proto(text), "{text}");
    }
    let lines =
        |first, second| secure(&[("X-Forwarded-Proto", first), ("x-forwarded-proto", second)]);
    assert!(lines("https", "http"));
    assert!(!lines("http", "https"));
    // The first entry is the client's own: it stands left of what the proxies wrote.
    let chain =
        |addresses, text| secure(&[("X-Forwarded-For", addresses), ("X-Forwarded-Proto", text)]);
    assert!(!chain("192.0.2.1", "https, http"));
    assert!(chain("192.0.2.1", "http, https"));
    assert!(chain("192.0.2.1, 10.0.0.2", "http, https, http"));
    assert!(!chain("192.0.2.9, 192.0.2.1, 10.0.0.2", "https, http, http"));
    assert!(chain("192.0.2.1, 10.0.0.2", "https"));
    assert!(chain("10.0.0.3, 10.0.0.2", "https, http"));
}

#[test]
fn what_a_peer_that_is_not_trusted_forwards_is_ignored_and_noted() {
    for headers in [
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")],
        [("X-Forwarded-Host", "a"), ("X-Forwarded-Host", "b, c")],
        [("X-Forwarded-For", "odd"), ("X-Forwarded-Proto", "https,,")],
        [("Forwarded", "for=\"[::1]:x"), ("Forwarded", "proto=https")],
    ] {
        let request = get("/", "192.0.2.1", &headers, &["10.0.0.0/8"]);
        assert!(request.check_view().is_ok() && !request.secure());
        assert_eq!(request.client().unwrap().to_string(), "192.0.2.1");
        assert_eq!(request.has_outside_proxy(), headers[0].0 == "X-Forwarded-For");
    }
    assert!(
        !get("/", "10.0.0.1", &[("X-Forwarded-For", "192.0.2.1")], &["10.0.0.0/8"])
            .has_outside_proxy()
    );
}

#[test]
fn a_security_header_that_stands_twice_is_refused() {
    for name in ["Host", "authorization", "Content-Type", "ORIGIN", "Content-Length"] {
        let head =
            head("GET", "/", "192.0.2.1", &[(name, "a"), ("x", "y"), (&name.to_lowercase(), "a")]);
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
        let read = Request::read(format!("{count}\n{text}"), &TrustedProxies::default());
        if let Ok(mut request) = read && request.canonicalise(PathForms::default()).is_ok() {
            prop_assert!(request.segments().all(|segment| !segment.is_empty() && segment != ".." && !segment.contains('/')));
            prop_assert_eq!(request.segments().count(), request.raw_segments().count());
        }
    }

    #[test]
    fn a_path_of_any_form_is_one_path_for_all_readers_and_stays_below_its_prefix(
        rest in proptest::collection::vec(
            prop_oneof![
                Just("/"), Just("%2F"), Just("%2f"), Just("."), Just("%2e"), Just("%2E"), Just("%25"),
                Just("2F"), Just("2e"), Just("%5C"), Just("\\"), Just(";"), Just("a"), Just("B"),
                Just("%61"), Just("%C3%A9"), Just("%"), Just("%00"), Just("?"), Just("#"),
            ],
            0..9,
        ),
        slashes: bool,
        empties: bool,
    ) {
        let target = format!("/f/{}", rest.concat());
        let strict = segments(&target);
        let Some((decoded, raw)) = formed(&target, slashes, empties) else {
            prop_assert_eq!(strict, None, "a form only adds to what is taken");
            return Ok(());
        };
        // The router's reading: the path as sent, with or without its last slash.
        let sent = target.split('?').next().unwrap_or_default();
        let sent = sent.strip_suffix('/').unwrap_or(sent);
        prop_assert_eq!(format!("/{}", raw.join("/")), sent);
        let each: Vec<String> =
            raw.iter().map(|raw| decode_segment(raw).unwrap().into_owned()).collect();
        prop_assert_eq!(&decoded, &each);
        // A reader that decodes the whole path and resolves it.
        let whole = decoded.join("/");
        for part in whole.split('/') {
            prop_assert!(!matches!(part, "." | "..") && !part.contains('\\'), "{}", target);
        }
        prop_assert!(slashes || decoded.iter().all(|segment| !segment.contains('/')));
        prop_assert!(empties || raw.iter().all(|segment| !segment.is_empty()));
        if let Some(strict) = strict {
            prop_assert_eq!(strict, (decoded, raw));
        }
    }
}
