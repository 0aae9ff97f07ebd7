//! The single reader of the claims for scopes, roles and plans.
//!
//! It prevents two layers from reading one claim in two ways. A token with `role: ["admin"]` once
//! passed `guard.require({ role })` but got no tier of its limits, and a policy read a third value.
//! All layers read these claims here.
//!
//! Each claim may be a string or a list of strings. Other values are ignored: a number in a list,
//! an object.

use serde_json::{Map, Value};

/// `scope` of OAuth (RFC 8693 section 4.2), or `scp` if there is no `scope`. Spaces separate
/// scopes, also within the items of a list.
#[must_use]
pub fn scopes(claims: &Map<String, Value>) -> Vec<&str> {
    texts(claims.get("scope").or_else(|| claims.get("scp")))
        .flat_map(|text| text.split(' '))
        .filter(|scope| !scope.is_empty())
        .collect()
}

/// `role` and `roles`.
pub fn roles(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    texts(claims.get("role")).chain(texts(claims.get("roles")))
}

/// The names that select a tier of a limit: `role`, `roles` and `plan`.
#[must_use]
pub fn tiers(claims: &Map<String, Value>) -> Vec<&str> {
    roles(claims).chain(texts(claims.get("plan"))).collect()
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let one = value.and_then(Value::as_str);
    let several = value.and_then(Value::as_array).into_iter().flatten();
    one.into_iter().chain(several.filter_map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: &Value) -> &Map<String, Value> {
        value.as_object().unwrap()
    }

    #[test]
    fn a_claim_is_read_alike_as_a_string_and_as_a_list() {
        for (written, wanted) in [
            (json!({ "role": "admin" }), &["admin"][..]),
            (json!({ "role": ["admin"] }), &["admin"]),
            (json!({ "roles": "admin" }), &["admin"]),
            (json!({ "roles": ["admin", "support"] }), &["admin", "support"]),
            (json!({ "role": "a b" }), &["a b"]),
            (json!({ "role": [1, null, ["admin"], "user"] }), &["user"]),
            (json!({ "role": { "admin": true } }), &[]),
            (json!({ "plan": "admin" }), &[]),
        ] {
            let claims = claims(&written);
            assert_eq!(roles(claims).collect::<Vec<_>>(), wanted, "{written}");
        }
        for plan in [json!({ "plan": "pro" }), json!({ "plan": ["pro"] })] {
            assert_eq!(tiers(claims(&plan)), ["pro"]);
        }
        let all = json!({ "plan": ["pro"], "role": ["a"], "roles": "b" });
        assert_eq!(tiers(claims(&all)), ["a", "b", "pro"]);
    }

    #[test]
    fn scopes_are_those_of_scope_or_else_of_scp() {
        for (written, wanted) in [
            (json!({ "scope": "a b" }), &["a", "b"][..]),
            (json!({ "scope": ["a", "b c"] }), &["a", "b", "c"]),
            (json!({ "scp": "a  b" }), &["a", "b"]),
            (json!({ "scp": ["a", 1, "b"] }), &["a", "b"]),
            // An empty `scope` does not fall back to `scp`.
            (json!({ "scope": "", "scp": "a" }), &[]),
            (json!({ "scope": null, "scp": "a" }), &[]),
        ] {
            assert_eq!(scopes(claims(&written)), wanted, "{written}");
        }
    }
}
