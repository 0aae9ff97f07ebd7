//! Signing keys that rotate automatically: the shim has the timer and the application's functions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;

use napi_derive::napi;
use serde_json::{Value, json};

use super::background;
use super::guard::{Answer, ErrorPayload, guard_of, later, write};
use super::tokens::tokens_of;
use crate::clock::{Now, test_clock};
use crate::rotation::{Rotation, RotationError, Turn};

const NO_ROTATION: &str = "`jwt.rotation` must be set on the guard";

fn with_rotation(guard: f64, run: impl FnOnce(&Rotation) -> Answer) -> String {
    write((|| {
        let opened = guard_of(guard)?;
        let error = || ErrorPayload::new("ERR_MISSING_OPTION", NO_ROTATION);
        run(tokens_of(&opened)?.rotation().ok_or_else(error)?)
    })())
}

impl From<RotationError> for ErrorPayload {
    fn from(error: RotationError) -> Self {
        Self(json!({ "code": "ERR_KEY_STORAGE", "status": 503, "message": error.to_string() }))
    }
}

fn turned(turn: Turn) -> Value {
    json!({ "save": turn.save, "kid": turn.kid, "from": turn.from_s, "notice": turn.notice })
}

/// Reads the key file and carries out due changes; with `force` the next key is to sign. It runs on
/// another thread, since a file system may be slow and another process may hold the lock. Answers
/// `{"later": ticket}`, and then `{kid, from, notice}`, or null if callbacks store the keys.
#[napi(catch_unwind)]
pub fn rotation_tick(guard: f64, force: bool) -> String {
    let opened = match guard_of(guard) {
        Ok(opened) => opened,
        Err(error) => return write(Err(error)),
    };
    let (send, receive) = channel();
    // The other thread has no test clock.
    let ahead = test_clock::ahead();
    let look = move || {
        let error = || ErrorPayload::new("ERR_MISSING_OPTION", NO_ROTATION);
        let rotation = tokens_of(&opened)?.rotation().ok_or_else(error)?;
        Ok(rotation.tick(&|| Now::read().plus(ahead), force)?)
    };
    later(
        guard,
        move |_| {
            let turn: Result<Option<Turn>, ErrorPayload> =
                receive.try_recv().unwrap_or_else(|_| Err(no_thread()));
            write(turn.map(|turn| turn.map_or(Value::Null, turned)))
        },
        |queue, ticket| {
            let reply = queue.reply(ticket);
            let work = move || {
                // A panic answers, too: nothing was sent then.
                if let Ok(turn) = catch_unwind(AssertUnwindSafe(look)) {
                    let _ = send.send(turn);
                }
                reply(Ok(()));
            };
            if background::run(work) { Ok(()) } else { Err(no_thread()) }
        },
    )
}

fn no_thread() -> ErrorPayload {
    ErrorPayload::new("ERR_INTERNAL", "no thread could look at the key file")
}

/// Takes the text that the application has loaded, or `null` for nothing. Returns
/// `{save, kid, from, notice}`: save `save` and pass it in here again; only then does it take
/// effect.
#[napi(catch_unwind)]
pub fn rotation_take(guard: f64, loaded: Option<String>, force: bool) -> String {
    with_rotation(guard, |rotation| {
        Ok(turned(rotation.take(loaded.as_deref(), Now::read(), force)?))
    })
}
