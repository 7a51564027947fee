//! A forgiving walk over JSON text without building a tree: values stay slices of the line.
//!
//! It accepts and refuses what Loki's JSON library does: what follows the outermost object is not looked at, a
//! number is anything that starts like one, a skipped value is only scanned for its end.

use std::borrow::Cow;

/// Why a text is no JSON object, in the words of Loki's library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonError {
    Json,
    String,
    Array,
    Object,
    UnknownValue,
    Escape,
}

impl JsonError {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "Malformed JSON error",
            Self::String => "Value is string, but can't find closing '\"' symbol",
            Self::Array => "Value is array, but can't find closing ']' symbol",
            Self::Object => "Value looks like object, but can't find closing '}' symbol",
            Self::UnknownValue => "Unknown value type",
            Self::Escape => "Encountered an invalid escape sequence in a string",
        }
    }
}

/// A value as it stands in the text; a string without its quotes, with its escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonValue<'l> {
    String(&'l str),
    Number(&'l str),
    Boolean(&'l str),
    Null,
    Object(&'l str),
    Array(&'l str),
}

/// Where a walk over members goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walk {
    On,
    Stop,
}

/// Calls `member` with each key (unescaped) and value of an object, in order, until it says stop.
///
/// # Errors
/// Where the text stops to be JSON; the members before have been visited.
pub(crate) fn each_member<'l>(
    text: &'l str,
    member: &mut dyn FnMut(Cow<'l, str>, JsonValue<'l>) -> Result<Walk, JsonError>,
) -> Result<Walk, JsonError> {
    let mut at = token(text, 0).ok_or(JsonError::Object)?;
    if byte(text, at) != b'{' {
        return Err(JsonError::Object);
    }
    at = token(text, at + 1).ok_or(JsonError::Json)?;
    loop {
        let Some((key, value_at)) = key(text, at)? else { return Ok(Walk::On) };
        let (value, after) = value(text, value_at)?;
        if member(key, value)? == Walk::Stop {
            return Ok(Walk::Stop);
        }
        match next_member(text, after)? {
            Some(next) => at = next,
            None => return Ok(Walk::On),
        }
    }
}

/// The key at `at` and where its value starts; `None` at the closing brace.
fn key(text: &str, at: usize) -> Result<Option<(Cow<'_, str>, usize)>, JsonError> {
    match byte(text, at) {
        b'"' => {}
        b'}' => return Ok(None),
        _ => return Err(JsonError::Object),
    }
    let (end, escaped) = string_end(text, at + 1).ok_or(JsonError::Json)?;
    let raw = slice(text, at + 1, end);
    let key = if escaped { Cow::Owned(unescape(raw).ok_or(JsonError::Escape)?) } else { Cow::Borrowed(raw) };
    let colon = token(text, end + 1).ok_or(JsonError::Json)?;
    if byte(text, colon) != b':' {
        return Err(JsonError::Json);
    }
    Ok(Some((key, colon + 1)))
}

/// Behind a value: where the next key is; `None` at the closing brace.
fn next_member(text: &str, after: usize) -> Result<Option<usize>, JsonError> {
    let at = token(text, after).ok_or(JsonError::Array)?;
    match byte(text, at) {
        b'}' => Ok(None),
        b',' => token(text, at + 1).ok_or(JsonError::Array).map(Some),
        _ => Err(JsonError::Object),
    }
}

/// Where the value of a member of the object at `from` starts. What comes behind it is not looked at, so the object
/// may be cut off there.
pub(crate) fn member_start(text: &str, from: usize, wanted: &str) -> Option<usize> {
    let mut at = token(text, from).filter(|&at| byte(text, at) == b'{')?;
    at = token(text, at + 1)?;
    loop {
        let (key, value_at) = key(text, at).ok()??;
        if key == wanted {
            return Some(value_at);
        }
        at = next_member(text, value(text, value_at).ok()?.1).ok()??;
    }
}

/// Where an element of the array at `from` starts.
pub(crate) fn element_start(text: &str, from: usize, wanted: usize) -> Option<usize> {
    let mut at = token(text, from).filter(|&at| byte(text, at) == b'[')?;
    for _ in 0..wanted {
        at = token(text, value(text, at + 1).ok()?.1).filter(|&at| byte(text, at) == b',')?;
    }
    let start = token(text, at + 1)?;
    (byte(text, start) != b']').then_some(start)
}

fn byte(text: &str, at: usize) -> u8 {
    text.as_bytes().get(at).copied().unwrap_or_default()
}

fn slice(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_default()
}

/// The next byte that is no white space.
fn token(text: &str, from: usize) -> Option<usize> {
    let rest = text.as_bytes().get(from..)?;
    rest.iter().position(|b| !matches!(b, b' ' | b'\n' | b'\r' | b'\t')).map(|n| from + n)
}

/// Where the closing quote of a string is, and whether a backslash is before it.
fn string_end(text: &str, from: usize) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let (mut at, mut escaped) = (from, false);
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// The value at `from`, and where it ends.
pub(crate) fn value(text: &str, from: usize) -> Result<(JsonValue<'_>, usize), JsonError> {
    let at = token(text, from).ok_or(JsonError::Json)?;
    match byte(text, at) {
        b'"' => {
            let (end, _) = string_end(text, at + 1).ok_or(JsonError::String)?;
            Ok((JsonValue::String(slice(text, at + 1, end)), end + 1))
        }
        b'[' => {
            let end = block_end(text, at, b'[', b']').ok_or(JsonError::Array)?;
            Ok((JsonValue::Array(slice(text, at, end)), end))
        }
        b'{' => {
            let end = block_end(text, at, b'{', b'}').ok_or(JsonError::Object)?;
            Ok((JsonValue::Object(slice(text, at, end)), end))
        }
        first => {
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            let is_end = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
            let end = at + rest.iter().position(is_end).unwrap_or(rest.len());
            let word = slice(text, at, end);
            let value = match (first, word) {
                (_, "true" | "false") => JsonValue::Boolean(word),
                (_, "null") => JsonValue::Null,
                (b'0'..=b'9' | b'-', _) => JsonValue::Number(word),
                _ => return Err(JsonError::UnknownValue),
            };
            Ok((value, end))
        }
    }
}

/// Behind the bracket that closes the one at `from`; brackets in strings do not count.
fn block_end(text: &str, from: usize, open: u8, close: u8) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (from, 0_usize);
    loop {
        at += memchr::memchr3(b'"', open, close, bytes.get(at..)?)?;
        let found = bytes[at];
        if found == b'"' {
            at = string_end(text, at + 1)?.0;
        } else if found == open {
            depth += 1;
        } else {
            depth -= 1;
            if depth == 0 {
                return Some(at + 1);
            }
        }
        at += 1;
    }
}

/// A string's text: escapes resolved, the replacement character (never a legal label value) as a space. What is
/// malformed is empty.
pub(crate) fn text_of(raw: &str) -> Cow<'_, str> {
    let plain = !raw.contains(['\\', char::REPLACEMENT_CHARACTER]);
    if plain {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(unescape(raw).unwrap_or_default().replace(char::REPLACEMENT_CHARACTER, " "))
}

/// Resolves escapes.
pub(crate) fn unescape(raw: &str) -> Option<String> {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let c = escape.chars().next()?;
        let mut used = 1;
        out.push(match c {
            '"' | '\\' | '/' => c,
            'b' => '\x08',
            'f' => '\x0C',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = hex(escape.get(1..5)?)?;
                used = 5;
                if (0xD800..=0xDFFF).contains(&high) {
                    let low = hex(escape.get(5..)?.strip_prefix("\\u")?.get(..4)?)?;
                    if low < 0xDC00 {
                        return None;
                    }
                    used = 11;
                    let code = 0x10000_u32.wrapping_add((high.wrapping_sub(0xD800)) << 10).wrapping_add(low - 0xDC00);
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                } else {
                    char::from_u32(high)?
                }
            }
            _ => return None,
        });
        rest = escape.get(used..)?;
    }
    out.push_str(rest);
    Some(out)
}

fn hex(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn walk(text: &str) -> (String, Option<JsonError>) {
        let mut out = Vec::new();
        let result = each_member(text, &mut |key, value| {
            out.push(match value {
                JsonValue::String(s) => format!("{key}:s{s}"),
                JsonValue::Number(s) => format!("{key}:n{s}"),
                JsonValue::Boolean(s) => format!("{key}:b{s}"),
                JsonValue::Null => format!("{key}:null"),
                JsonValue::Object(s) => format!("{key}:o{s}"),
                JsonValue::Array(s) => format!("{key}:a{s}"),
            });
            Ok(Walk::On)
        });
        (out.join("|"), result.err())
    }

    #[test]
    fn walks_members() {
        let check = |text: &str, members: &str, error: Option<JsonError>| {
            assert_eq!(walk(text), (members.to_owned(), error), "{text}");
        };
        check(
            r#"{"a":1,"b":"x","c":true,"d":null,"e":{"f":[1]},"g":[1,"]"]}"#,
            r#"a:n1|b:sx|c:btrue|d:null|e:o{"f":[1]}|g:a[1,"]"]"#,
            None,
        );
        check(r#" { "a" : -1.5e3 , } trailing"#, "a:n-1.5e3", None);
        check("{}", "", None);
        check(r#"{"a\n\"":"x\"y\\"}"#, "a\n\":sx\\\"y\\\\", None);
        check("", "", Some(JsonError::Object));
        check("[1]", "", Some(JsonError::Object));
        check("{", "", Some(JsonError::Json));
        check(r#"{"a":1"#, "a:n1", Some(JsonError::Array));
        check(r#"{"a":1,"#, "a:n1", Some(JsonError::Array));
        check(r#"{"a":1 "b":2}"#, "a:n1", Some(JsonError::Object));
        check(r#"{"a":"x"#, "", Some(JsonError::String));
        check(r#"{"a":[1"#, "", Some(JsonError::Array));
        check(r#"{"a":{"b":"}""#, "", Some(JsonError::Object));
        check(r#"{"a":nope}"#, "", Some(JsonError::UnknownValue));
        check(r#"{"a" 1}"#, "", Some(JsonError::Json));
        check(r#"{a:1}"#, "", Some(JsonError::Object));
        check(r#"{"a\q":1}"#, "", Some(JsonError::Escape));
        check(r#"{"é":"日本"}"#, "é:s日本", None);
    }

    #[test]
    fn resolves_escapes() {
        let check = |raw: &str, text: &str| assert_eq!(text_of(raw), text, "{raw}");
        check("plain é", "plain é");
        check(r#"a\"\\\/\b\f\n\r\tb"#, "a\"\\/\x08\x0C\n\r\tb");
        check(r"\u00e9\u65e5\ud83d\ude80", "é日🚀");
        check(r"x\ud83d", "");
        check(r"x\u12", "");
        check(r"x\q", "");
        check("a\u{FFFD}b", "a b");
        check(r"a\ufffdb", "a b");
    }
}
