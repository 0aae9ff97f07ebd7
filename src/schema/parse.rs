//! Parsing with the declarations of a schema: its keys that look like operators, and its
//! sanitizers.

use crate::json::fault::{Fault, FaultCode};
use crate::json::parser::parse;
use crate::json::tape::{Document, Tape};
use crate::json::{Limits, Operators};
use crate::refusal::Refusal;
use crate::schema::Schema;
use crate::schema::declared::Origin;
use crate::schema::sanitize::sanitize;

impl Limits {
    /// Parses `bytes` strictly and hands the document to `run`. Anything but clean JSON is a
    /// refusal: 413 if it is larger than `max_bytes`, 400 otherwise. `declared` is the schema whose
    /// declared keys may look like operators.
    ///
    /// The document lives in buffers of this thread, so a small body costs no allocation.
    pub fn with_document<T>(
        &self,
        bytes: &[u8],
        declared: Option<&Schema>,
        run: impl FnOnce(&Document<'_>) -> T,
    ) -> Result<T, Refusal> {
        if bytes.len() > self.max_bytes {
            return Err(Self::too_large());
        }
        self.parsed(bytes, declared, |document, _| run(document))
            .map_err(|fault| fault.refusal("body"))
    }

    /// As [`Self::with_document`], for a text that the core wrote: the offset of a fault means
    /// nothing to the client. `run` also receives whether a sanitizer of the schema changed the
    /// document.
    pub(crate) fn with_text<T>(
        &self,
        text: &str,
        declared: Option<&Schema>,
        run: impl FnOnce(&Document<'_>, bool) -> T,
    ) -> Result<T, Fault> {
        let fault = |fault| Fault { offset: None, ..fault };
        self.read(text.as_bytes(), declared, Origin::Text, run).map_err(fault)
    }

    pub(crate) fn parsed<T>(
        &self,
        bytes: &[u8],
        declared: Option<&Schema>,
        run: impl FnOnce(&Document<'_>, bool) -> T,
    ) -> Result<T, Fault> {
        self.read(bytes, declared, Origin::Json, run)
    }

    fn read<T>(
        &self,
        bytes: &[u8],
        declared: Option<&Schema>,
        origin: Origin,
        run: impl FnOnce(&Document<'_>, bool) -> T,
    ) -> Result<T, Fault> {
        Tape::with(|tape| {
            let keys = declared.map(Schema::operator_like_keys).unwrap_or_default();
            let source = match parse(bytes, self, keys, tape) {
                Err(fault) if fault.code == FaultCode::OperatorKey => {
                    self.declared_keys(bytes, declared, origin, tape, fault)?
                }
                parsed => parsed?,
            };
            let sanitizers = declared.and_then(Schema::sanitizers);
            let changed = sanitizers.is_some_and(|shapes| sanitize(shapes, tape, source));
            Ok(run(&tape.document(source), changed))
        })
    }

    /// Parses a document anew that has a key which looks like an operator: the schema may declare
    /// it by a rule. `fault` is the one of that key.
    #[cold]
    fn declared_keys<'s>(
        &self,
        bytes: &'s [u8],
        declared: Option<&Schema>,
        origin: Origin,
        tape: &mut Tape,
        fault: Fault,
    ) -> Result<&'s str, Fault> {
        let Some(schema) = declared else { return Err(fault) };
        let Some(rules) = schema.rules_for_keys() else { return Err(fault) };
        let names = schema.operator_like_keys();
        let limits = Limits { operators: Operators::Allow, ..*self };
        let source = parse(bytes, &limits, &[], tape)?;
        let is_declared = rules.declare_keys(&tape.document(source), names, origin);
        if is_declared { Ok(source) } else { Err(fault) }
    }
}
