//! The operation of a request.

use serde_json::{Map, Value, json};

use super::{document, found, read};
use crate::openapi::{Api, Match};

/// An API with these operations, `METHOD /path`.
fn api(operations: &[&str]) -> Result<Api, crate::error::ConfigError> {
    let mut paths = Map::new();
    for operation in operations {
        let (method, path) = operation.split_once(' ').unwrap();
        let names = path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
        let parameters: Vec<Value> = names
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method.to_ascii_lowercase()] = json!({ "parameters": parameters, "responses": {} });
    }
    read(&document("3.1.0", &Value::Object(paths)))
}

#[test]
fn literal_segments_come_before_templates() {
    let api = api(&[
        "GET /",
        "GET /users",
        "POST /users",
        "GET /users/me",
        "GET /users/{id}",
        "DELETE /users/{id}",
        "GET /users/{id}/posts/{post}",
        "GET /files/{name}.json",
        "GET /files/{name}",
        "POST /orders/{id}:cancel",
        "HEAD /ping",
        "GET /caf%C3%A9",
    ])
    .unwrap();
    for (request, wanted) in [
        ("GET /", "GET /"),
        ("GET /users", "GET /users"),
        ("GET /users/", "GET /users"),
        ("HEAD /users", "GET /users"),
        ("HEAD /ping", "HEAD /ping"),
        ("GET /ping", "405 HEAD"),
        ("GET /users/me", "GET /users/me"),
        // The less literal path has the method, and the application's router would choose it too.
        ("DELETE /users/me", "DELETE /users/{id} id=me"),
        ("GET /users/7?id=8", "GET /users/{id} id=7"),
        ("GET /users/a%20b", "GET /users/{id} id=a b"),
        ("GET /users/7/posts/9", "GET /users/{id}/posts/{post} id=7 post=9"),
        ("PUT /users/7", "405 DELETE, GET, HEAD"),
        ("PUT /users/me", "405 DELETE, GET, HEAD"),
        ("GET /files/a.json", "GET /files/{name}.json name=a"),
        ("GET /files/.json", "GET /files/{name} name=.json"),
        ("GET /files/a.txt", "GET /files/{name} name=a.txt"),
        ("POST /orders/7:cancel", "POST /orders/{id}:cancel id=7"),
        ("POST /orders/7", "404"),
        ("GET /caf%c3%a9", "GET /caf%C3%A9"),
        ("GET /nope", "404"),
        ("GET /users/7/posts", "404"),
        ("OPTIONS /users", "405 GET, HEAD, POST"),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        assert_eq!(found(&api, method, target), wanted, "{request}");
    }
}

#[test]
fn no_spelling_of_a_path_goes_around_its_rules() {
    let api = api(&["GET /users/{id}", "GET /admin/users"]).unwrap();
    for (target, wanted) in [
        ("/ADMIN/Users", "GET /admin/users"),
        ("/Users/Me", "GET /users/{id} id=Me"),
        ("/%61dmin/users/", "malformed_path"),
        ("/users/%37", "malformed_path"),
        ("/admin//users", "malformed_path"),
        ("/users/../admin/users", "malformed_path"),
        ("/users/%2e%2e/admin/users", "malformed_path"),
        ("/users/7%2fadmin", "malformed_path"),
        ("/users/7%5cadmin", "malformed_path"),
        ("/users/%00", "malformed_path"),
        ("//admin/users", "malformed_path"),
        ("http://x/admin/users", "malformed_path"),
        ("/admin/users%zz", "malformed_path"),
    ] {
        assert_eq!(found(&api, "GET", target), wanted, "{target}");
    }
}

#[test]
fn a_slash_at_the_end_that_a_strict_router_minds_chooses_no_other_rules() {
    let api = api(&[
        "GET /pets",
        "GET /{x}/",
        "GET /cats/",
        "POST /dogs",
        "GET /pets/{id}",
        "GET /pets/mine/",
    ])
    .unwrap();
    for (target, wanted) in [
        ("/pets", "GET /pets"),
        ("/cats/", "GET /cats/"),
        // A strict router runs the handler of `/{x}/`, others that of `/pets`.
        ("/pets/", "malformed_path"),
        ("/PETS/", "malformed_path"),
        ("/pets/mine", "malformed_path"),
        ("/pets/mine/", "GET /pets/mine/"),
        // A strict router runs no handler.
        ("/cats", "GET /cats/"),
        ("/birds", "GET /{x}/ x=birds"),
        ("/dogs", "GET /{x}/ x=dogs"),
        ("/pets/7/", "GET /pets/{id} id=7"),
        ("/pets/7/?a=/", "GET /pets/{id} id=7"),
    ] {
        assert_eq!(found(&api, "GET", target), wanted, "{target}");
    }
}

#[test]
fn literal_text_is_compared_as_it_was_sent_and_values_are_decoded() {
    let api = api(&[
        "GET /files/{name}.json",
        "GET /files/{name}",
        "GET /orders/{id}:preview",
        "GET /orders/{id}",
        "GET /a-b",
        "GET /{any}",
        "GET /caf%C3%A9/{id}",
        "GET /x/a%2Eb",
    ])
    .unwrap();
    for (target, wanted) in [
        ("/files/secret.json", "GET /files/{name}.json name=secret"),
        ("/files/a%40b.json", "GET /files/{name}.json name=a@b"),
        ("/files/a%2Etxt", "GET /files/{name} name=a.txt"),
        ("/orders/7:preview", "GET /orders/{id}:preview id=7"),
        ("/orders/urn%3A7", "GET /orders/{id} id=urn:7"),
        ("/caf%c3%a9/%C3%BC", "GET /caf%C3%A9/{id} id=ü"),
        ("/x/a%2eb", "GET /x/a%2Eb"),
        // Express treats these as other paths than a router that decodes first.
        ("/files/secret%2Ejson", "malformed_path"),
        ("/files/secret%2ejson", "malformed_path"),
        ("/orders/7%3Apreview", "malformed_path"),
        ("/a%2Db", "malformed_path"),
        ("/x/a.b", "malformed_path"),
    ] {
        assert_eq!(found(&api, "GET", target), wanted, "{target}");
    }
}

#[test]
fn a_path_that_a_router_may_take_for_another_one_is_refused() {
    let api = api(&[
        "GET /users/me",
        "GET /users/{id}",
        "GET /api/users/me",
        "GET /api/users/{id}",
        "GET /reports/latest",
        "GET /files/v.{ext}",
        "GET /files/{name}",
    ])
    .unwrap();
    for (target, wanted) in [
        ("/users/me", "GET /users/me"),
        // A case-sensitive router runs the handler of `/users/{id}`.
        ("/users/ME", "malformed_path"),
        // With or without regard to case, a router runs this handler or none.
        ("/API/users/me", "GET /api/users/me"),
        ("/Users/me", "GET /users/me"),
        ("/Reports/LATEST", "GET /reports/latest"),
        ("/files/v.gz", "GET /files/v.{ext} ext=gz"),
        // In Express 4, a parameter after a dot matches no dot.
        ("/files/v.tar.gz", "malformed_path"),
    ] {
        assert_eq!(found(&api, "GET", target), wanted, "{target}");
    }
}

#[test]
fn paths_that_could_be_taken_for_one_another_are_refused() {
    for operations in [
        &["GET /users/{id}", "GET /users/{name}"][..],
        &["GET /users", "GET /users/"],
        &["GET /users/", "HEAD /users"],
        &["GET /users", "GET /Users"],
        &["GET /a/{x}{y}"],
        &["GET /a/{x}-{y}{z}"],
        &["GET /a/{x}/{x}"],
        &["GET /a/{x"],
        &["GET /a/{}"],
        &["GET /a/../b"],
        &["GET /a//b"],
        &["GET /a?b=c"],
        &["GET a"],
        // No request has these paths: they are sent as `caf%C3%A9`, `a%20b` and `admin`.
        &["GET /caf\u{e9}"],
        &["GET /a b"],
        &["GET /%61dmin"],
        &["GET /a%2Eb", "GET /a.b"],
    ] {
        let error = api(operations).unwrap_err();
        assert!(error.path().starts_with("paths."), "{operations:?}: {error}");
    }
    for operations in [
        // Other methods. A request that fits two paths of one method is refused, not the document.
        &["GET /users/{id}", "DELETE /users/{name}"][..],
        &["GET /{kind}/me", "GET /users/{id}"],
        &["GET /{kind}/me", "POST /users/{id}"],
        &["GET /{kind}/me", "GET /users/{id}", "GET /users/me"],
        &["GET /files/a{x}", "GET /files/b{y}", "GET /files/{z}"],
    ] {
        assert!(api(operations).is_ok(), "{operations:?}");
    }
}

#[test]
fn a_request_that_fits_two_paths_of_which_neither_is_more_literal_is_refused() {
    let api = api(&[
        "GET /m/pins/{id}",
        "GET /m/{id}/reactions",
        "POST /{kind}/me",
        "GET /users/{id}",
        "PUT /{kind}/me",
        "PUT /users/{id}",
        "PUT /users/me",
        "GET /files/a{x}",
        "GET /files/{y}b",
        "GET /files/{z}",
    ])
    .unwrap();
    for (request, wanted) in [
        ("GET /m/pins/7", "GET /m/pins/{id} id=7"),
        ("GET /m/7/reactions", "GET /m/{id}/reactions id=7"),
        ("GET /m/pins/reactions", "unknown_route"),
        ("HEAD /m/pins/reactions", "unknown_route"),
        ("GET /m/PINS/reactions", "malformed_path"),
        // One of the two has another method.
        ("POST /users/me", "POST /{kind}/me kind=users"),
        ("GET /users/me", "GET /users/{id} id=me"),
        // A third path decides.
        ("PUT /users/me", "PUT /users/me"),
        ("GET /files/axb", "unknown_route"),
        ("GET /files/ax", "GET /files/a{x} x=x"),
        ("GET /files/xb", "GET /files/{y}b y=x"),
        ("GET /files/xx", "GET /files/{z} z=xx"),
    ] {
        let (method, target) = request.split_once(' ').unwrap();
        assert_eq!(found(&api, method, target), wanted, "{request}");
    }
}

#[test]
fn operations_of_one_path_are_told_apart_by_the_query_where_an_option_names_that() {
    let paths = json!({
        "/messages": { "post": {} },
        "/messages?beta=true": { "post": { "operationId": "beta" } },
        "/rest?method=a.b": { "get": { "operationId": "ab" } },
        "/rest?method=a.c": { "get": { "operationId": "ac" } },
        "/files/{id}": { "put": { "operationId": "plain", "parameters": [{ "name": "id", "in": "path", "required": true, "schema": {} }] } },
        "/files/{id}#link": { "put": { "operationId": "link", "parameters": [{ "name": "id", "in": "path", "required": true, "schema": {} }] } },
    });
    let document = document("3.1.0", &paths);
    let refused = read(&document).unwrap_err();
    assert_eq!(refused.faults().len(), 4, "{refused}");
    let options = json!({ "tolerate": ["path-queries", "path-fragments"] });
    let api = Api::read(&super::guard(), &document, &options).unwrap();
    let id = |method: &str, target: &str| match api.find(method, target, "") {
        Match::Operation { operation, .. } => {
            api.operations()[operation].id().unwrap_or("none").to_owned()
        }
        other => format!("{other:?}"),
    };
    for (method, target, wanted) in [
        ("POST", "/messages", "none"),
        ("POST", "/messages?beta=true", "beta"),
        ("POST", "/messages?x=1&%62eta=tr%75e", "beta"),
        // Whatever is not just this pair is for the operation without it, which has no such name.
        ("POST", "/messages?beta=false", "none"),
        ("POST", "/messages?beta=true&beta=false", "none"),
        ("GET", "/rest?method=a.c", "ac"),
        ("GET", "/rest?method=a.d", "Unknown"),
        ("GET", "/rest", "Unknown"),
        ("PUT", "/files/7", "plain"),
    ] {
        assert_eq!(id(method, target), wanted, "{method} {target}");
    }
}

#[test]
fn what_stands_before_the_paths_is_the_path_of_the_servers_or_an_option() {
    let paths = json!({ "/users": { "get": { "responses": {} } } });
    let with = |servers: Value, options: Value| {
        let mut document = document("3.0.0", &paths);
        document["servers"] = servers;
        Api::read(&super::guard(), &document, &options)
    };
    for (servers, options, target) in [
        (json!([{ "url": "/v1" }]), json!({}), "/v1/users"),
        (json!([{ "url": "https://api.example.com/v1/" }]), json!({}), "/v1/users"),
        (json!([{ "url": "https://api.example.com" }]), json!({}), "/users"),
        (
            json!([{ "url": "https://{host}/{base}", "variables": { "host": { "default": "x" }, "base": { "default": "v2" } } }]),
            json!({}),
            "/v2/users",
        ),
        (
            json!([{ "url": "https://a.example/v1" }, { "url": "https://b.example/v1" }]),
            json!({}),
            "/v1/users",
        ),
        (json!([{ "url": "/v1" }, { "url": "/v2" }]), json!({ "basePath": "/v2" }), "/v2/users"),
        (json!([{ "url": "/v1" }]), json!({ "basePath": "" }), "/users"),
    ] {
        let api = with(servers, options).unwrap();
        assert_eq!(found(&api, "GET", target), "GET /users", "{target}");
    }
    let api = with(json!([{ "url": "/v1" }]), json!({})).unwrap();
    assert_eq!(found(&api, "GET", "/users"), "outside");
    assert_eq!(found(&api, "GET", "/V1/nope"), "404");
    for servers in [
        json!([{ "url": "/v1" }, { "url": "/v2" }]),
        json!([{ "url": "v1" }]),
        json!([{ "url": "/{x}" }]),
        json!([{ "url": "/v1?x" }]),
        json!([{}]),
        json!({}),
    ] {
        let error = with(servers.clone(), json!({})).unwrap_err();
        assert!(error.path().starts_with("servers"), "{servers}: {error}");
    }
    assert_eq!(found(&api, "OPTIONS", "*"), "outside");
    for base in ["v1", "/v1/", "/", "/v1?x", "/{tenant}", "/a//b", "/a/..", "/a b", "/%76", "/a#b"]
    {
        let error = with(json!([]), json!({ "basePath": base })).unwrap_err();
        assert_eq!(error.path(), "options.basePath");
    }
}

#[test]
fn a_mount_that_no_path_lies_under_is_outside_of_the_document() {
    let api = api(&["GET /users/{id}", "GET /{tenant}.app/x"]).unwrap();
    let at = |target, mount| match api.find("GET", target, mount) {
        Match::Unknown => "unknown",
        Match::Outside => "outside",
        _ => "else",
    };
    for (target, mount, wanted) in [
        ("/api/users/7", "/api", "outside"),
        ("/api/users/7", "", "unknown"),
        ("/api", "/api", "outside"),
        ("/Users/7/x", "/Users", "unknown"),
        ("/users/7/x", "/users/7", "unknown"),
        ("/users/7/x/y", "/users/7/x", "outside"),
        ("/a.app/nope", "/a.app", "unknown"),
        ("/users/7", "/users", "else"),
        ("/nope", "/longer/than/the/path", "outside"),
    ] {
        assert_eq!(at(target, mount), wanted, "{target} under {mount}");
    }
}
