//! A strict reader of one JSON object (RFC 8259), for the header and the claims of a token.
//!
//! `serde_json` keeps the last of two members with one name, and another reader of the same token
//! may keep the first: two views of one identity. Here a duplicate name is a fault at every level,
//! however it is spelt (`"\u0072ole"` is `role`). So are `__proto__`, lone surrogates, and integers
//! that JavaScript can't represent exactly. An accepted text means the same in Rust and after
//! `JSON.parse`.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

/// The maximum nesting of a header or of claims.
pub(crate) const MAX_DEPTH: usize = 16;
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The text is not a JSON object that this reader accepts. No details are needed: a program signed
/// the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotStrictJson;

type Read<T> = Result<T, NotStrictJson>;

/// Reads `text` as one JSON object with nothing around it but whitespace.
pub(crate) fn read_object(text: &str) -> Read<Map<String, Value>> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_whitespace();
    if reader.next() != Some(b'{') {
        return Err(NotStrictJson);
    }
    let object = reader.object(1)?;
    reader.skip_whitespace();
    if reader.at == text.len() { Ok(object) } else { Err(NotStrictJson) }
}

/// Accepts and refuses exactly the same texts as [`read_object`], but builds no map: most claims
/// are only passed on.
pub(crate) fn read_members(text: &str) -> Read<Members<'_>> {
    let mut reader = Reader { text, at: 0 };
    reader.skip_whitespace();
    reader.expect(b'{')?;
    let members = reader.members(1)?;
    reader.skip_whitespace();
    if reader.at == text.len() { Ok(Members(members)) } else { Err(NotStrictJson) }
}

/// The members of one object, copied only if necessary.
#[derive(Debug)]
pub(crate) struct Members<'a>(Vec<Member<'a>>);

type Member<'a> = (Cow<'a, str>, Shallow<'a>);

/// A value, parsed only at its top level.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shallow<'a> {
    /// A string, unescaped.
    Text(Cow<'a, str>),
    Number(Number),
    /// The text of a list or an object, already validated.
    Nested(&'a str),
    /// `true`, `false` or `null`.
    Word,
}

impl<'a> Members<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&Shallow<'a>> {
        self.0.iter().find(|member| member.0 == name).map(|member| &member.1)
    }
}

impl Shallow<'_> {
    pub(crate) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The parsed list or object.
    pub(crate) fn nested(&self) -> Option<Value> {
        let Self::Nested(text) = self else { return None };
        Reader { text, at: 0 }.value(0).ok()
    }
}

/// Up to this many members are compared pairwise.
const FEW: usize = 16;

/// Whether all names are distinct.
fn are_distinct(members: &[Member<'_>]) -> bool {
    if members.len() <= FEW {
        let mut rest = members.iter();
        return std::iter::from_fn(|| rest.next().map(|one| (one, rest.clone())))
            .all(|(one, mut others)| others.all(|other| other.0 != one.0));
    }
    let mut names: Vec<&str> = members.iter().map(|member| &*member.0).collect();
    names.sort_unstable();
    names.is_sorted_by(|one, next| one != next)
}

/// Whether a byte ends the plain part of a string: a quote, a backslash, a control character.
const ENDS_PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "below 256")]
        {
            table[byte] = byte < 0x20 || byte == b'"' as usize || byte == b'\\' as usize;
        }
        byte += 1;
    }
    table
};

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Read<()> {
        if self.next() == Some(wanted) { Ok(()) } else { Err(NotStrictJson) }
    }

    fn since(&self, start: usize) -> Read<&'a str> {
        self.text.get(start..self.at).ok_or(NotStrictJson)
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// An object, starting after its opening brace, at nesting `depth`.
    fn object(&mut self, depth: usize) -> Read<Map<String, Value>> {
        if depth > MAX_DEPTH {
            return Err(NotStrictJson);
        }
        let mut members = Map::new();
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            self.skip_whitespace();
            self.expect(b'"')?;
            let name = self.text()?.into_owned();
            if name == "__proto__" {
                return Err(NotStrictJson);
            }
            self.skip_whitespace();
            self.expect(b':')?;
            let value = self.value(depth)?;
            if members.insert(name, value).is_some() {
                return Err(NotStrictJson);
            }
            self.skip_whitespace();
            match self.next() {
                Some(b',') => {}
                Some(b'}') => return Ok(members),
                _ => return Err(NotStrictJson),
            }
        }
    }

    /// As [`Self::object`], without building a map.
    fn members(&mut self, depth: usize) -> Read<Vec<Member<'a>>> {
        if depth > MAX_DEPTH {
            return Err(NotStrictJson);
        }
        self.skip_whitespace();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Vec::new());
        }
        // Room for the claims of most tokens.
        let mut members = Vec::with_capacity(FEW);
        loop {
            self.skip_whitespace();
            self.expect(b'"')?;
            let name = self.text()?;
            if name == "__proto__" {
                return Err(NotStrictJson);
            }
            self.skip_whitespace();
            self.expect(b':')?;
            members.push((name, self.shallow(depth)?));
            self.skip_whitespace();
            match self.next() {
                Some(b',') => {}
                Some(b'}') if are_distinct(&members) => return Ok(members),
                _ => return Err(NotStrictJson),
            }
        }
    }

    /// As [`Self::array`], without building a list.
    fn pass_array(&mut self, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(NotStrictJson);
        }
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.shallow(depth)?;
            self.skip_whitespace();
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(()),
                _ => return Err(NotStrictJson),
            }
        }
    }

    /// As [`Self::value`], but lists and objects are not built.
    fn shallow(&mut self, depth: usize) -> Read<Shallow<'a>> {
        self.skip_whitespace();
        let start = self.at;
        match self.next().ok_or(NotStrictJson)? {
            b'"' => self.text().map(Shallow::Text),
            b'{' => {
                self.members(depth + 1)?;
                self.since(start).map(Shallow::Nested)
            }
            b'[' => {
                self.pass_array(depth + 1)?;
                self.since(start).map(Shallow::Nested)
            }
            b't' => self.word(start, "true", Shallow::Word),
            b'f' => self.word(start, "false", Shallow::Word),
            b'n' => self.word(start, "null", Shallow::Word),
            b'-' | b'0'..=b'9' => self.number(start).map(Shallow::Number),
            _ => Err(NotStrictJson),
        }
    }

    /// A list, starting after its opening bracket, at nesting `depth`.
    fn array(&mut self, depth: usize) -> Read<Vec<Value>> {
        if depth > MAX_DEPTH {
            return Err(NotStrictJson);
        }
        let mut items = Vec::new();
        self.skip_whitespace();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_whitespace();
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(items),
                _ => return Err(NotStrictJson),
            }
        }
    }

    /// Any value inside a container at nesting `depth`.
    fn value(&mut self, depth: usize) -> Read<Value> {
        self.skip_whitespace();
        let start = self.at;
        match self.next().ok_or(NotStrictJson)? {
            b'{' => self.object(depth + 1).map(Value::Object),
            b'[' => self.array(depth + 1).map(Value::Array),
            b'"' => self.text().map(|text| Value::String(text.into_owned())),
            b't' => self.word(start, "true", Value::Bool(true)),
            b'f' => self.word(start, "false", Value::Bool(false)),
            b'n' => self.word(start, "null", Value::Null),
            b'-' | b'0'..=b'9' => self.number(start).map(Value::Number),
            _ => Err(NotStrictJson),
        }
    }

    fn word<T>(&mut self, start: usize, word: &str, value: T) -> Read<T> {
        self.at = start + word.len();
        if self.text.get(start..self.at) == Some(word) { Ok(value) } else { Err(NotStrictJson) }
    }

    fn number(&mut self, start: usize) -> Read<Number> {
        self.at = start;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        match self.next() {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.skip_digits(),
            _ => return Err(NotStrictJson),
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.since(start)?;
        // `-0` is a float to JavaScript and to `serde_json`.
        if whole && text != "-0" {
            let number: i64 = text.parse().map_err(|_| NotStrictJson)?;
            if number.unsigned_abs() > MAX_SAFE_INTEGER {
                return Err(NotStrictJson);
            }
            return Ok(number.into());
        }
        // `1e999` reads as infinity, for which `from_f64` returns `None`.
        text.parse().ok().and_then(Number::from_f64).ok_or(NotStrictJson)
    }

    fn skip_digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        self.skip_digits();
        if self.at > start { Ok(()) } else { Err(NotStrictJson) }
    }

    /// A string, starting after its opening quote, unescaped.
    fn text(&mut self) -> Read<Cow<'a, str>> {
        let plain = self.plain()?;
        if self.next() == Some(b'"') {
            // Nearly all strings: one search for the end.
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            // A backslash ended the plain part.
            text.push(self.escape()?);
            text.push_str(self.plain()?);
            if self.next() == Some(b'"') {
                return Ok(Cow::Owned(text));
            }
        }
    }

    /// The part of a string up to a quote or a backslash. One of them must follow.
    fn plain(&mut self) -> Read<&'a str> {
        let start = self.at;
        let rest = self.text.as_bytes().get(start..).ok_or(NotStrictJson)?;
        // Names and most values are too short for a faster search to pay off.
        let stops = |byte: &u8| ENDS_PLAIN.get(usize::from(*byte)).is_none_or(|stops| *stops);
        self.at = start + rest.iter().position(stops).ok_or(NotStrictJson)?;
        if self.peek() < Some(b' ') { Err(NotStrictJson) } else { self.since(start) }
    }

    fn escape(&mut self) -> Read<char> {
        Ok(match self.next().ok_or(NotStrictJson)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    let second = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&second) {
                        return Err(NotStrictJson);
                    }
                    0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                } else {
                    first
                };
                // A lone low surrogate is not a `char`.
                char::from_u32(code).ok_or(NotStrictJson)?
            }
            _ => return Err(NotStrictJson),
        })
    }

    fn hex4(&mut self) -> Read<u32> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or(NotStrictJson)?;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_twice_in_one_object_is_refused_at_every_level_and_in_every_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"role":"user","\u0072ole":"admin"}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"c":0,"b":2}]}"#,
            r#"{"":1,"":2}"#,
            r#"{"é":1,"\u00e9":2}"#,
            r#"{"😀":1,"\ud83d\ude00":2}"#,
        ] {
            assert_eq!(read_object(text), Err(NotStrictJson), "{text}");
            assert!(read_members(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_json_does_not_allow_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "[]",
            "1",
            "null",
            "\"a\"",
            "{}{}",
            "{} x",
            "\u{feff}{}",
            "{a:1}",
            "{'a':1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\":[1,]}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.1}",
            "{\"a\":+1}",
            "{\"a\":-}",
            "{\"a\":1e}",
            "{\"a\":1e+}",
            "{\"a\":0x1}",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{\"a\":1e999}",
            "{\"a\":tru}",
            "{\"a\":nulll}",
            "{\"a\":True}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\"}",
            "{\"a\":\"\\ud800\\u0041\"}",
            "{\"a\":\"",
            "{\"a\":1 \"b\":2}",
            "{/**/}",
            "{\"a\":9007199254740992}",
            "{\"a\":-9007199254740992}",
            "{\"__proto__\":{}}",
            "{\"a\":{\"\\u005f_proto__\":1}}",
            "{\u{a0}}",
        ] {
            assert_eq!(read_object(text), Err(NotStrictJson), "{text}");
            assert!(read_members(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sixteen_levels_pass_and_seventeen_do_not() {
        let nested = |levels: usize| {
            format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        assert!(read_object(&nested(MAX_DEPTH)).is_ok());
        assert!(read_object(&nested(MAX_DEPTH + 1)).is_err());
        assert!(read_object(&nested(100_000)).is_err());
        assert!(read_members(&nested(MAX_DEPTH)).is_ok());
        assert!(read_members(&nested(MAX_DEPTH + 1)).is_err());
        assert!(read_members(&nested(100_000)).is_err());
    }

    #[test]
    fn a_name_twice_among_many_is_refused_without_a_map_too() {
        for count in [2, FEW, FEW + 1, 3 * FEW] {
            let with = |last: usize| {
                let members: Vec<_> = (0..count - 1)
                    .chain([last])
                    .map(|i| format!("\"\\u006{}{i}\":{i}", i % 2 + 1))
                    .collect();
                format!("{{\"a\":{{{}}}}}", members.join(","))
            };
            assert!(read_members(&with(count)).is_ok(), "{count}");
            for twice in [0, (count - 2) / 2, count - 2] {
                assert!(read_members(&with(twice)).is_err(), "{twice} of {count}");
            }
        }
    }

    /// Checks that [`read_members`] and [`read_object`] read the same.
    fn same(text: &str) -> Result<(), TestCaseError> {
        let (map, members) = (read_object(text), read_members(text));
        prop_assert_eq!(map.is_ok(), members.is_ok(), "{}", text);
        let (Ok(map), Ok(members)) = (map, members) else { return Ok(()) };
        prop_assert_eq!(map.len(), members.0.len());
        for (name, value) in &map {
            match members.get(name).unwrap() {
                Shallow::Text(text) => prop_assert_eq!(value.as_str(), Some(&**text)),
                Shallow::Number(number) => prop_assert_eq!(value.as_number(), Some(number)),
                nested @ Shallow::Nested(_) => {
                    prop_assert_eq!(Some(value.clone()), nested.nested());
                }
                Shallow::Word => prop_assert!(value.is_boolean() || value.is_null()),
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,64}|[\\[\\]{}\",:\\\\u0-9a-fnrtE.+ -]{0,64}") {
            same(&text)?;
        }

        #[test]
        fn with_and_without_a_map_the_same_is_taken(text in "\\{(\"(a|b|\\\\u0061|__proto__)?\" ?: ?(0|-0|1\\.5|9007199254740992|1e999|true|nul|\"\\\\ud83d(\\\\ude00)?\"|\\[\\{\"a\":1,\"(a|b)\":2\\}(, ?[1\\]])?\\]|\\{\\}),?){0,3}\\}") {
            same(&text)?;
        }

        #[test]
        fn what_it_takes_serde_json_takes_too_and_reads_alike(text in "\\{(\"[ab\\\\n]{0,2}\": ?(-?[0-9]{1,3}(\\.[0-9])?(e-?[0-9])?|true|null|\"\\\\u00[0-9a-f]{2}\"|\\[1,2\\]),?){0,3}\\}") {
            if let Ok(read) = read_object(&text) {
                let other: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(Value::Object(read), other);
            }
        }

        #[test]
        fn what_serde_json_writes_it_reads(
            members in prop::collection::btree_map("\\PC{0,8}", prop_oneof![
                any::<bool>().prop_map(Value::from),
                any::<i32>().prop_map(Value::from),
                any::<f64>().prop_filter("finite", |f| f.is_finite() && f.abs() < 1e15).prop_map(Value::from),
                "\\PC{0,12}".prop_map(Value::from),
                prop::collection::vec("\\PC{0,4}", 0..4).prop_map(Value::from),
            ], 0..8)
        ) {
            let value = Value::Object(members.into_iter().filter(|(name, _)| name != "__proto__").collect());
            same(&value.to_string())?;
            let read = read_object(&value.to_string());
            prop_assert_eq!(read.map(Value::Object), Ok(value));
        }
    }
}
