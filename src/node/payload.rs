//! The reader of bodies by itself, for comparing it with other readers: no request comes through here.

use napi_derive::napi;

use super::manage::write;
use crate::payload::{Format, Parts, PayloadConfig, Schemas};

/// What the payload layer reads of a body, which is JSON, or a form where `form` is set, with its defaults and without a
/// schema. Answers the value, or the error that the client would get.
#[napi(catch_unwind)]
pub fn payload_read(bytes: &[u8], form: bool) -> String {
    let parts = Parts {
        config: &PayloadConfig::default(),
        body: Some(bytes),
        format: if form { Format::Form } else { Format::Json },
        query: "",
        params: &[],
        headers: &[],
        keep_body: true,
    };
    write(match Schemas::default().check(&parts) {
        Ok(checked) => Ok(checked.body.into()),
        Err(refusal) => Err(refusal.into()),
    })
}
