//! Runs the product's Lua scripts as a server does: with Lua 5.1, `redis.call` and `struct`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use mlua::{Error, Function, Lua, LuaString, MultiValue, Table, Value as LuaValue, Variadic};
use redis::Value;

use super::commands::{Answer, number_text};
use super::keys::Name;

/// Runs a command that a script calls.
pub(super) type Call<'c> = &'c mut dyn FnMut(&[Name]) -> Answer;

thread_local! {
    static LUA: RefCell<Option<Interpreter>> = const { RefCell::new(None) };
    static KNOWN: RefCell<HashMap<Name, Known>> = RefCell::default();
}

/// The digest of a script, and its text.
type Known = (Arc<str>, Arc<str>);

/// The cached form of a script: its digest is computed once.
pub(super) fn known(text: &[u8]) -> Known {
    KNOWN.with_borrow_mut(|digests| {
        if let Some(found) = digests.get(text) {
            return found.clone();
        }
        let script = String::from_utf8_lossy(text);
        let digest = redis::Script::new(&script).get_hash().into();
        digests.entry(text.to_vec()).insert_entry((digest, script.into())).get().clone()
    })
}

/// Scripts are compiled once per thread, for all servers.
struct Interpreter {
    lua: Lua,
    compiled: HashMap<Arc<str>, Function>,
}

/// Runs a script; its calls are passed to `call`.
pub(super) fn run(
    digest: &Arc<str>,
    text: &str,
    keys: &[Name],
    arguments: &[Name],
    call: Call<'_>,
) -> Answer {
    LUA.with_borrow_mut(|interpreter| {
        let interpreter = interpreter.get_or_insert_with(Interpreter::new);
        let compiled = interpreter.compiled(digest, text);
        let answer = compiled.and_then(|it| interpreter.run(&it, keys, arguments, call));
        answer.map_err(|error| message(&error))?
    })
}

fn message(error: &Error) -> String {
    let text = match error {
        Error::CallbackError { cause, .. } => return message(cause),
        Error::ExternalError(error) => error.to_string(),
        other => format!("ERR {other}"),
    };
    text.lines().next().unwrap_or_default().to_owned()
}

impl Interpreter {
    fn new() -> Self {
        let lua = Lua::new();
        let add = || -> mlua::Result<()> {
            let structs = lua.create_table()?;
            structs.set("pack", lua.create_function(pack)?)?;
            structs.set("unpack", lua.create_function(unpack)?)?;
            lua.globals().set("struct", structs)
        };
        add().expect("the library is there");
        Self { lua, compiled: HashMap::new() }
    }

    fn compiled(&mut self, digest: &Arc<str>, text: &str) -> mlua::Result<Function> {
        if let Some(compiled) = self.compiled.get(digest) {
            return Ok(compiled.clone());
        }
        let compiled = self.lua.load(text).into_function()?;
        self.compiled.insert(Arc::clone(digest), compiled.clone());
        Ok(compiled)
    }

    fn run(
        &self,
        script: &Function,
        keys: &[Name],
        arguments: &[Name],
        call: Call<'_>,
    ) -> mlua::Result<Answer> {
        let lua = &self.lua;
        let list = |names: &[Name]| {
            lua.create_sequence_from(
                names
                    .iter()
                    .map(|name| lua.create_string(name))
                    .collect::<mlua::Result<Vec<_>>>()?,
            )
        };
        lua.globals().set("KEYS", list(keys)?)?;
        lua.globals().set("ARGV", list(arguments)?)?;
        let call = RefCell::new(call);
        let ask = |arguments: Variadic<LuaValue>| -> Answer {
            let arguments: Vec<Name> = arguments.iter().map(argument).collect();
            (call.borrow_mut())(&arguments)
        };
        let ask = &ask;
        let answer = lua.scope(|scope| {
            let redis = lua.create_table()?;
            let call = scope.create_function(move |lua, arguments| match ask(arguments) {
                Ok(value) => to_lua(lua, value),
                Err(text) => Err(Error::external(text)),
            })?;
            redis.set("call", call)?;
            let pcall = scope.create_function(move |lua, arguments| match ask(arguments) {
                Ok(value) => to_lua(lua, value),
                Err(text) => {
                    let table = lua.create_table()?;
                    table.set("err", text)?;
                    Ok(LuaValue::Table(table))
                }
            })?;
            redis.set("pcall", pcall)?;
            lua.globals().set("redis", redis)?;
            script.call::<LuaValue>(())
        })?;
        Ok(from_lua(&answer))
    }
}

fn argument(value: &LuaValue) -> Name {
    match value {
        LuaValue::String(text) => text.as_bytes().to_vec(),
        LuaValue::Integer(number) => number.to_string().into_bytes(),
        LuaValue::Number(number) => number_text(*number).into_bytes(),
        _ => Vec::new(),
    }
}

fn to_lua(lua: &Lua, value: Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        #[expect(clippy::cast_precision_loss, reason = "as Redis does")]
        Value::Int(number) => LuaValue::Number(number as f64),
        Value::BulkString(text) => LuaValue::String(lua.create_string(text)?),
        Value::Array(items) => {
            let table = lua.create_table()?;
            for item in items {
                table.push(to_lua(lua, item)?)?;
            }
            LuaValue::Table(table)
        }
        Value::Okay => status(lua, "OK")?,
        Value::SimpleString(text) => status(lua, &text)?,
        _ => LuaValue::Boolean(false),
    })
}

fn status(lua: &Lua, text: &str) -> mlua::Result<LuaValue> {
    let table = lua.create_table()?;
    table.set("ok", text)?;
    Ok(LuaValue::Table(table))
}

fn from_lua(value: &LuaValue) -> Answer {
    Ok(match value {
        LuaValue::Boolean(true) => Value::Int(1),
        LuaValue::Integer(number) => Value::Int(*number),
        #[expect(clippy::cast_possible_truncation, reason = "as Redis does")]
        LuaValue::Number(number) => Value::Int(*number as i64),
        LuaValue::String(text) => Value::BulkString(text.as_bytes().to_vec()),
        LuaValue::Table(table) => return from_table(table),
        _ => Value::Nil,
    })
}

fn from_table(table: &Table) -> Answer {
    if let Ok(text) = table.get::<String>("err") {
        return Err(text);
    }
    if table.get::<String>("ok").is_ok() {
        return Ok(Value::Okay);
    }
    let mut items = Vec::new();
    for item in table.sequence_values::<LuaValue>() {
        items.push(from_lua(&item.map_err(|error| message(&error))?)?);
    }
    Ok(Value::Array(items))
}

/// One item of a format: an unsigned number of some bytes (`B`, `I4`), a double (`d`) or a text
/// (`c16`), all little-endian.
enum Item {
    Number(usize),
    Double,
    Text(usize),
}

fn items(format: &str) -> Vec<Item> {
    let mut rest = format.trim_start_matches('<').chars().peekable();
    let mut items = Vec::new();
    while let Some(letter) = rest.next() {
        let mut size = 0;
        while let Some(digit) = rest.peek().and_then(|letter| letter.to_digit(10)) {
            size = size * 10 + digit as usize;
            rest.next();
        }
        items.push(match letter {
            'd' => Item::Double,
            'B' => Item::Number(1),
            'I' => Item::Number(size),
            'c' => Item::Text(size),
            other => panic!("the format '{other}' is not known here"),
        });
    }
    items
}

fn pack(lua: &Lua, mut values: MultiValue) -> mlua::Result<LuaString> {
    let format: String = lua.unpack(values.pop_front().unwrap_or(LuaValue::Nil))?;
    let mut bytes = Vec::new();
    for item in items(&format) {
        let number: f64 = lua.unpack(values.pop_front().unwrap_or(LuaValue::Nil))?;
        match item {
            Item::Double => bytes.extend(number.to_le_bytes()),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "as the library does"
            )]
            Item::Number(size) => bytes.extend(&(number as i64 as u64).to_le_bytes()[..size]),
            Item::Text(_) => panic!("no script packs a text"),
        }
    }
    lua.create_string(bytes)
}

/// The values, and the position after them.
fn unpack(
    lua: &Lua,
    (format, bytes, from): (String, LuaString, Option<usize>),
) -> mlua::Result<MultiValue> {
    let bytes = bytes.as_bytes();
    let mut at = from.unwrap_or(1) - 1;
    let mut values = Vec::new();
    for item in items(&format) {
        let size = match item {
            Item::Double => 8,
            Item::Number(size) | Item::Text(size) => size,
        };
        let part = bytes.get(at..at + size);
        let part = part.ok_or_else(|| Error::external("ERR data string too short"))?;
        let mut whole = [0; 8];
        whole[..size.min(8)].copy_from_slice(&part[..size.min(8)]);
        #[expect(clippy::cast_precision_loss, reason = "numbers of four bytes")]
        values.push(match item {
            Item::Double => LuaValue::Number(f64::from_le_bytes(whole)),
            Item::Number(_) => LuaValue::Number(u64::from_le_bytes(whole) as f64),
            Item::Text(_) => LuaValue::String(lua.create_string(part)?),
        });
        at += size;
    }
    #[expect(clippy::cast_precision_loss, reason = "records are short")]
    values.push(LuaValue::Number((at + 1) as f64));
    Ok(MultiValue::from_vec(values))
}
