//! The calls of the request path, made by Node-API itself.
//!
//! The code that `#[napi]` generates records the borrowed values of each call, since it also serves
//! asynchronous functions, and calls Node-API twice for each text. That costs more than most of
//! these calls (`docs/internals/architecture.md` has the figures). Here a call borrows only while
//! it runs, and no JavaScript runs meanwhile.
//!
//! This is the only file with unsafe code of our own. `call.d.ts` documents its calls in place of
//! the generated types.

#![expect(unsafe_code, reason = "Node-API is a C interface")]

use std::cell::RefCell;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::slice;

use napi::bindgen_prelude::{JsObjectValue, Object};
use napi::sys;
use napi_derive::napi;

use super::answer::DecideOutput;
use super::{requests, slots};

/// Adds the calls to the addon's exports, and keeps panics from printing request data.
#[napi(module_exports)]
pub fn add_calls(mut exports: Object<'_>) -> napi::Result<()> {
    crate::panics::install_hook();
    let mut add = |name: &CStr, call| exports.create_c_named_method(name, call);
    add(c"decide", call!(requests::decide: stack, head, extras))?;
    add(c"resumeWithCallbacks", call!(requests::resume_with_callbacks: ticket, keys))?;
    add(c"resumeWithCertificate", call!(requests::resume_with_certificate: ticket, fingerprint))?;
    add(c"resumeWithIdentity", call!(requests::resume_with_identity: ticket, json, failure))?;
    add(c"resumeWithResource", call!(requests::resume_with_resource: ticket, json, failure))?;
    add(c"decideBody", call!(requests::decide_body: ticket, body))?;
    add(c"readParts", call!(requests::read_parts: ticket, chunk))?;
    add(c"decideParts", call!(requests::decide_parts: ticket))?;
    add(c"acceptsBody", call!(requests::accepts_body: stack, body))?;
    add(c"refuseBody", call!(requests::refuse_body: ticket, why))?;
    add(c"resumeAfterDelay", call!(requests::resume_after_delay: ticket))?;
    add(c"resumeWithStore", call!(requests::resume_with_store: ticket))?;
    add(c"abandon", call!(requests::abandon: ticket))?;
    add(c"finished", call!(requests::finished: receipt, failed))?;
    add(c"judgeResponse", call!(requests::judge_response: stack, status, body))
}

/// A Node-API function that calls `$function` with the named arguments.
macro_rules! call {
    ($function:path: $($argument:ident),+) => {{
        extern "C" fn call(env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
            // SAFETY: Node-API calls this, on the thread of `env`, with the values that it has made
            // for this call.
            unsafe {
                run(env, info, |[$($argument),+]| {
                    Some($function($(Argument::read(&Value { env, value: $argument })?),+).write(env))
                })
            }
        }
        call
    }};
}
use call;

/// Runs one call: `work` reads its arguments and writes its answer, and returns `None` for an
/// invalid argument. A panic becomes a JavaScript error.
///
/// # Safety
///
/// `env` and `info` are those of the running Node-API callback.
unsafe fn run<const N: usize>(
    env: sys::napi_env,
    info: sys::napi_callback_info,
    work: impl FnOnce([sys::napi_value; N]) -> Option<sys::napi_value>,
) -> sys::napi_value {
    let called = catch_unwind(AssertUnwindSafe(|| {
        let mut count = N;
        let mut arguments = [null_mut(); N];
        // SAFETY: there is room for `count` arguments; missing ones are filled with `undefined`.
        let status = unsafe {
            sys::napi_get_cb_info(
                env,
                info,
                &raw mut count,
                arguments.as_mut_ptr(),
                null_mut(),
                null_mut(),
            )
        };
        if status == sys::Status::napi_ok { work(arguments) } else { None }
    }));
    let why = match called {
        Ok(Some(answer)) => return answer,
        Ok(None) => c"the core was called with something else than it takes",
        Err(_) => c"the core panicked",
    };
    // SAFETY: both are texts that end with a zero.
    unsafe { sys::napi_throw_error(env, c"ERR_INTERNAL".as_ptr(), why.as_ptr()) };
    null_mut()
}

/// A value of the running call.
struct Value {
    env: sys::napi_env,
    value: sys::napi_value,
}

/// An argument type of a call.
trait Argument<'v>: Sized {
    /// Reads it; `None` for a value of another type.
    fn read(value: &'v Value) -> Option<Self>;
}

impl Argument<'_> for u32 {
    fn read(value: &Value) -> Option<Self> {
        let mut number = 0;
        // SAFETY: the value belongs to the running call.
        let status = unsafe { sys::napi_get_value_uint32(value.env, value.value, &raw mut number) };
        (status == sys::Status::napi_ok).then_some(number)
    }
}

/// A number of `slots.rs`.
impl Argument<'_> for u64 {
    fn read(value: &Value) -> Option<Self> {
        let mut number = 0.0;
        // SAFETY: the value belongs to the running call.
        let status = unsafe { sys::napi_get_value_double(value.env, value.value, &raw mut number) };
        (status == sys::Status::napi_ok).then(|| slots::from_js(number)).flatten()
    }
}

impl Argument<'_> for bool {
    fn read(value: &Value) -> Option<Self> {
        let mut truth = false;
        // SAFETY: the value belongs to the running call.
        let status = unsafe { sys::napi_get_value_bool(value.env, value.value, &raw mut truth) };
        (status == sys::Status::napi_ok).then_some(truth)
    }
}

/// Most texts fit in here: they are then read in one call, and copied once more.
const SCRATCH: usize = 8192;

thread_local! {
    static SCRATCH_TEXT: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

impl Argument<'_> for String {
    fn read(value: &Value) -> Option<Self> {
        let short = SCRATCH_TEXT.with_borrow_mut(|scratch| {
            let length = value.text(scratch)?;
            // A text that fills it up to the last character may be truncated.
            let read = scratch.get(..length).filter(|_| length + 4 < SCRATCH);
            Some(read.and_then(|text| str::from_utf8(text).ok()).map(str::to_owned))
        });
        if let Some(text) = short? {
            return Some(text);
        }
        let mut length = 0;
        // SAFETY: the value belongs to the running call; without a buffer, only its length is
        // returned.
        let status = unsafe {
            sys::napi_get_value_string_utf8(value.env, value.value, null_mut(), 0, &raw mut length)
        };
        // One more, for the zero at the end.
        let mut text = vec![0; length + 1];
        let length = (status == sys::Status::napi_ok).then(|| value.text(&mut text))??;
        text.truncate(length);
        String::from_utf8(text).ok()
    }
}

impl Argument<'_> for Option<String> {
    fn read(value: &Value) -> Option<Self> {
        let mut kind = sys::ValueType::napi_undefined;
        // SAFETY: the value belongs to the running call.
        let status = unsafe { sys::napi_typeof(value.env, value.value, &raw mut kind) };
        match kind {
            _ if status != sys::Status::napi_ok => None,
            sys::ValueType::napi_undefined | sys::ValueType::napi_null => Some(None),
            _ => String::read(value).map(Some),
        }
    }
}

impl<'v> Argument<'v> for &'v [u8] {
    fn read(value: &'v Value) -> Option<Self> {
        let mut bytes = null_mut();
        let mut length = 0;
        // SAFETY: the value belongs to the running call.
        let status = unsafe {
            sys::napi_get_buffer_info(value.env, value.value, &raw mut bytes, &raw mut length)
        };
        if status != sys::Status::napi_ok {
            return None;
        }
        // An empty one may have no address.
        if length == 0 || bytes.is_null() {
            return Some(&[]);
        }
        // SAFETY: Node-API has returned their address and number. The argument keeps them alive
        // until the call is over, and no JavaScript runs before that.
        Some(unsafe { slice::from_raw_parts(bytes.cast::<u8>(), length) })
    }
}

impl Value {
    /// Copies as much of a text as fits into `into`. Returns its length in bytes, or `None` if it
    /// is not a text. Lone surrogates become U+FFFD.
    fn text(&self, into: &mut [u8]) -> Option<usize> {
        let mut length = 0;
        // SAFETY: the value belongs to the running call, and there is room for this many bytes.
        let status = unsafe {
            sys::napi_get_value_string_utf8(
                self.env,
                self.value,
                into.as_mut_ptr().cast(),
                into.len(),
                &raw mut length,
            )
        };
        (status == sys::Status::napi_ok).then_some(length)
    }
}

/// An answer type of a call.
trait Answer {
    /// Converts it to a JavaScript value.
    ///
    /// # Safety
    ///
    /// `env` is that of the running Node-API callback.
    unsafe fn write(self, env: sys::napi_env) -> sys::napi_value;
}

/// `undefined`.
impl Answer for () {
    unsafe fn write(self, _: sys::napi_env) -> sys::napi_value {
        null_mut()
    }
}

impl Answer for bool {
    unsafe fn write(self, env: sys::napi_env) -> sys::napi_value {
        let mut value = null_mut();
        // SAFETY: `env` is that of the running call. If it fails, the value stays `undefined`.
        unsafe { sys::napi_get_boolean(env, self, &raw mut value) };
        value
    }
}

impl Answer for String {
    unsafe fn write(self, env: sys::napi_env) -> sys::napi_value {
        let mut value = null_mut();
        let length = self.len().cast_signed();
        // SAFETY: `env` is that of the running call, and `length` is the length of the text. ASCII
        // needs no decoder. If it fails, as for a text of 512 MB, a JavaScript error is pending.
        unsafe {
            if self.is_ascii() {
                sys::napi_create_string_latin1(env, self.as_ptr().cast(), length, &raw mut value);
            } else {
                sys::napi_create_string_utf8(env, self.as_ptr().cast(), length, &raw mut value);
            }
        }
        value
    }
}

impl Answer for DecideOutput {
    unsafe fn write(self, env: sys::napi_env) -> sys::napi_value {
        match self {
            // SAFETY: as for any text.
            Self::Lines(lines) => unsafe { lines.write(env) },
            Self::Waits(ticket) => {
                let mut value = null_mut();
                // SAFETY: `env` is that of the running call.
                unsafe { sys::napi_create_int64(env, ticket.cast_signed(), &raw mut value) };
                value
            }
        }
    }
}

/// `undefined` for an absent value: the cheapest answer.
impl<A: Answer> Answer for Option<A> {
    unsafe fn write(self, env: sys::napi_env) -> sys::napi_value {
        match self {
            // SAFETY: as for the value itself.
            Some(answer) => unsafe { answer.write(env) },
            None => null_mut(),
        }
    }
}
