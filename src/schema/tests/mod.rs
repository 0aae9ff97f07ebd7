mod fast_path;
mod references;
mod rules;
mod schemas;
mod vectors;

use serde_json::{Value, json};

/// The schema of the article on which the README's example is based.
pub(crate) fn create_user() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "minLength": 3, "maxLength": 20, "pattern": "^[a-zA-Z0-9]+$" },
            "email": { "type": "string", "format": "email" },
            "password": { "type": "string", "minLength": 12 }
        },
        "required": ["username", "email", "password"]
    })
}
