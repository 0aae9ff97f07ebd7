//! What a token says its bearer is and may do: the one reader of scopes, roles and plans.
//!
//! The attack: two layers read one claim in two ways. A token with `role: ["admin"]` passed
//! `guard.require({ role })` and got no tier of its limits, and a policy saw a third thing. Whoever
//! reads such a claim, reads it here.
//!
//! Each claim may be a string or a list of strings. What is neither is no word: a number in a list,
//! an object.

use serde_json::{Map, Value};

/// `scope` as OAuth has it (RFC 8693 section 4.2), else `scp` as others write it. Spaces separate,
/// in lists, too.
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

/// What a tier of a limit may be named after: `role`, `roles` and `plan`.
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
            // One that is there and says nothing is not made up for by the other.
            (json!({ "scope": "", "scp": "a" }), &[]),
            (json!({ "scope": null, "scp": "a" }), &[]),
        ] {
            assert_eq!(scopes(claims(&written)), wanted, "{written}");
        }
    }
}
