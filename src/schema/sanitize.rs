//! Sanitizers: a string is normalized before it is checked, if the schema requests it by keyword.
//! Nothing is escaped or made harmless: that depends on the destination, and is done there (OWASP
//! ASVS 5.0, 1.1.2).

use icu_normalizer::ComposingNormalizerBorrowed;
use serde_json::{Map, Value};

use crate::json::tape::{Item, Kind, Rec, Tape};
use crate::schema::shape::Shapes;

/// The changes to a string, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ops(u8);

const TRIM: u8 = 1;
const NFC: u8 = 2;
const LOWERCASE: u8 = 4;
const EMAIL: u8 = 8;

impl Ops {
    pub(crate) fn of(schema: &Map<String, Value>) -> Self {
        let bit = |key: &str, bit| {
            if schema.get(key) == Some(&Value::Bool(true)) { bit } else { 0 }
        };
        Self(
            bit("x-trim", TRIM)
                | bit("x-nfc", NFC)
                | bit("x-lowercase", LOWERCASE)
                | bit("x-normalize-email", EMAIL),
        )
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The normalized string; `None` if nothing changes.
    ///
    /// - trim: without the surrounding white space that JavaScript's `trim` removes
    /// - nfc: composed as in Unicode Standard Annex 15, so that one character has one spelling
    /// - lowercase: in lower case, by Unicode's rules
    /// - email: without surrounding white space, and the domain in lower case (RFC 5321 section
    ///   2.4: only the receiver interprets the part before the `@`)
    pub(crate) fn apply(self, text: &str) -> Option<String> {
        let mut now = text;
        if self.has(TRIM | EMAIL) {
            now = now.trim_matches(|char: char| {
                char.is_whitespace() && char != '\u{85}' || char == '\u{feff}'
            });
        }
        let mut owned = None;
        if self.has(NFC) {
            let nfc = ComposingNormalizerBorrowed::new_nfc();
            if !nfc.is_normalized(now) {
                owned = Some(nfc.normalize(now).into_owned());
            }
        }
        if self.has(LOWERCASE) {
            let lower = owned.as_deref().unwrap_or(now).to_lowercase();
            owned = Some(lower);
        }
        if self.has(EMAIL)
            && let Some((local, domain)) = owned.as_deref().unwrap_or(now).rsplit_once('@')
        {
            owned = Some(format!("{local}@{}", domain.to_ascii_lowercase()));
        }
        let result = owned.unwrap_or_else(|| now.to_owned());
        (result != text).then_some(result)
    }
}

/// Changes the strings of a parsed document as the schema requests. Returns whether any changed.
pub(crate) fn sanitize(shapes: &Shapes, tape: &mut Tape, source: &str) -> bool {
    walk(shapes, tape, source, 0, &[0])
}

/// `applying`: the shapes of the value at `at`. The recursion is safe: no tape is deeper than
/// `maxDepth`.
fn walk(shapes: &Shapes, tape: &mut Tape, source: &str, at: u32, applying: &[usize]) -> bool {
    let all = shapes.in_place(applying, false);
    let document = tape.document(source);
    let mut inner: Vec<(u32, Vec<usize>)> = Vec::new();
    match document.item(at) {
        Item::String(text) => {
            let ops = all.iter().fold(Ops::default(), |ops, shape| ops.and(shape.ops));
            let Some(changed) = (!ops.is_empty()).then(|| ops.apply(text)).flatten() else {
                return false;
            };
            return replace(tape, at, &changed);
        }
        Item::Object(span) => {
            for (name, value) in document.members(span) {
                let mut of_member = Vec::new();
                for shape in &all {
                    of_member.extend(shape.property(name).or_else(|| {
                        let named = shape.pattern(name).next().is_some();
                        shape.additional.filter(|_| !named)
                    }));
                }
                if !of_member.is_empty() {
                    inner.push((value, of_member));
                }
            }
        }
        Item::Array(span) => {
            for (i, value) in document.elements(span).enumerate() {
                let of_element: Vec<usize> =
                    all.iter().filter_map(|s| s.prefix.get(i).copied().or(s.items)).collect();
                if !of_element.is_empty() {
                    inner.push((value, of_element));
                }
            }
        }
        _ => {}
    }
    let mut changed = false;
    for (value, applying) in inner {
        changed |= walk(shapes, tape, source, value, &applying);
    }
    changed
}

/// Replaces a string. The new text goes into the side buffer, which holds strings that are not in
/// the source.
fn replace(tape: &mut Tape, at: u32, text: &str) -> bool {
    let start = tape.side.len();
    let (Ok(start), Ok(end)) = (u32::try_from(start), u32::try_from(start + text.len())) else {
        return false;
    };
    let Some(rec) = tape.recs.get_mut(at as usize) else { return false };
    debug_assert!(matches!(rec.kind, Kind::Plain | Kind::Escaped));
    let source = rec.offset();
    tape.side.push_str(text);
    *rec = Rec::escaped(start, end, source);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ops(schema: &Value) -> Ops {
        Ops::of(schema.as_object().unwrap())
    }

    #[test]
    fn a_string_gets_one_spelling() {
        for (schema, text, wanted) in [
            (json!({ "x-trim": true }), " \t\u{feff}a b\u{2003}\n", "a b"),
            (json!({ "x-lowercase": true }), "ÅDA", "åda"),
            (json!({ "x-nfc": true }), "A\u{30a}", "Å"),
            (json!({ "x-nfc": true, "x-lowercase": true, "x-trim": true }), " A\u{30a} ", "å"),
            (json!({ "x-normalize-email": true }), " Ada@Example.COM ", "Ada@example.com"),
            (
                json!({ "x-normalize-email": true, "x-lowercase": true }),
                "Ada@Example.COM",
                "ada@example.com",
            ),
        ] {
            assert_eq!(ops(&schema).apply(text).as_deref(), Some(wanted), "{schema}");
        }
    }

    #[test]
    fn a_string_that_has_it_already_is_left_alone() {
        let all = json!({ "x-trim": true, "x-nfc": true, "x-lowercase": true, "x-normalize-email": true });
        for text in ["", "ada@example.com", "å", "no address"] {
            assert_eq!(ops(&all).apply(text), None, "{text}");
        }
        assert!(ops(&json!({ "x-trim": false })).is_empty());
    }
}
