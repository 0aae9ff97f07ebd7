//! Signing keys that change by themselves: the shim has the timer and the application's functions.

use napi_derive::napi;
use serde_json::{Value, json};

use super::manage::{Answer, Failure, engine, write};
use super::tokens::tokens_of;
use crate::clock::Now;
use crate::token::{Rotation, RotationError, Turn};

fn with_rotation(guard: f64, run: impl FnOnce(&Rotation) -> Answer) -> String {
    write((|| {
        let engine = engine(guard)?;
        let error =
            || Failure::new("ERR_MISSING_OPTION", "`jwt.rotation` must be set on the guard");
        run(tokens_of(&engine)?.rotation().ok_or_else(error)?)
    })())
}

impl From<RotationError> for Failure {
    fn from(error: RotationError) -> Self {
        Self(json!({ "code": "ERR_KEY_STORAGE", "status": 503, "message": error.to_string() }))
    }
}

fn turned(turn: Turn) -> Value {
    json!({ "save": turn.save, "kid": turn.kid, "from": turn.from_s, "notice": turn.notice })
}

/// Looks at the key file and changes what is due; with `force` the next key is to sign. Answers
/// `{kid, from, notice}`, or null where callbacks keep the keys.
#[napi(catch_unwind)]
pub fn rotation_tick(guard: f64, force: bool) -> String {
    with_rotation(guard, |rotation| {
        Ok(rotation.tick(&Now::read, force)?.map_or(Value::Null, turned))
    })
}

/// Takes what the application has loaded, or `null` for nothing. Answers `{save, kid, from,
/// notice}`: what must be saved, and then be handed in here again, before it counts.
#[napi(catch_unwind)]
pub fn rotation_take(guard: f64, loaded: Option<String>, force: bool) -> String {
    with_rotation(guard, |rotation| {
        Ok(turned(rotation.take(loaded.as_deref(), Now::read(), force)?))
    })
}
