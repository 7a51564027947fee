//! Functions on texts, as Go's `strings` and `net/url` and the sprig library have them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The longest text that a function makes.
const BYTES_MAX: usize = 16 << 20;

/// `strings.Title`: the first letter of each word in upper case.
pub(super) fn title(text: &str) -> String {
    let mut after_separator = true;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if after_separator {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        after_separator = !(c.is_alphanumeric() || c == '_') && (c.is_ascii() || c.is_whitespace());
    }
    out
}

/// The first letter of each word in upper case, where an apostrophe or a point inside does not end a word;
/// the rest as it is.
pub(super) fn title_words(text: &str) -> String {
    let (mut inside, mut joined) = (false, false);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let is_letter = c.is_alphanumeric() || c == '_';
        if is_letter && !inside {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        // One mark between two letters joins them.
        let joins = inside && !joined && matches!(c, '\'' | '’' | '.' | ':');
        (inside, joined) = (is_letter || joins, joins);
    }
    out
}

/// Bytes as text, as Go shows them: U+FFFD for each byte that is not UTF-8, not for each letter that is cut in two.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// Bytes `start..end` of a text.
fn bytes(text: &str, start: usize, end: usize) -> Result<String, String> {
    match text.as_bytes().get(start..end) {
        Some(part) => Ok(text_of(part)),
        None if end > text.len() => {
            Err(format!("runtime error: slice bounds out of range [:{end}] with length {}", text.len()))
        }
        None => Err(format!("runtime error: slice bounds out of range [{start}:{end}]")),
    }
}

/// sprig's `trunc`: the first `count` bytes, or with a negative count the last.
pub(super) fn trunc(count: i64, text: &str) -> Result<String, String> {
    let length = text.len() as i64;
    if count < 0 && length + count > 0 {
        return bytes(text, (length + count) as usize, text.len());
    }
    if count >= 0 && length > count { bytes(text, 0, count as usize) } else { Ok(text.to_owned()) }
}

/// sprig's `substr`.
pub(super) fn substr(start: i64, end: i64, text: &str) -> Result<String, String> {
    let as_index = |n: i64| usize::try_from(n).map_err(|_| format!("runtime error: slice bounds out of range [:{n}]"));
    if start < 0 {
        return bytes(text, 0, as_index(end)?);
    }
    let end = if end < 0 || end > text.len() as i64 { text.len() } else { as_index(end)? };
    bytes(text, as_index(start)?, end)
}

/// Pads or cuts on the right, in characters.
pub(super) fn align_left(count: i64, text: &str) -> Result<String, String> {
    let length = text.chars().count();
    let Ok(count) = usize::try_from(count) else { return Ok(text.to_owned()) };
    if count > length {
        return Ok(text.to_owned() + &repeat(" ", (count - length) as i64)?);
    }
    Ok(text.chars().take(count).collect())
}

/// Pads or cuts on the left, in characters.
pub(super) fn align_right(count: i64, text: &str) -> Result<String, String> {
    let length = text.chars().count();
    let Ok(count) = usize::try_from(count) else { return Ok(text.to_owned()) };
    if count > length {
        return Ok(repeat(" ", (count - length) as i64)? + text);
    }
    Ok(text.chars().skip(length - count).collect())
}

/// `strings.Repeat`, within bounds.
pub(super) fn repeat(text: &str, count: i64) -> Result<String, String> {
    let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count")?;
    if text.len().saturating_mul(count) > BYTES_MAX {
        return Err("strings: Repeat output length overflow".to_owned());
    }
    Ok(text.repeat(count))
}

/// Spaces before each line.
pub(super) fn indent(spaces: i64, text: &str) -> Result<String, String> {
    let pad = repeat(" ", spaces)?;
    if pad.len().saturating_mul(text.len()) > BYTES_MAX << 6 {
        return Err("the text is too long".to_owned());
    }
    Ok(pad.clone() + &text.replace('\n', &format!("\n{pad}")))
}

/// `strings.Replace`: the first `count`, or with a negative count all.
pub(super) fn replace(text: &str, old: &str, new: &str, count: i64) -> Result<String, String> {
    if (text.len() + 1).saturating_mul(new.len()) > BYTES_MAX << 6 {
        return Err("the text is too long".to_owned());
    }
    Ok(match usize::try_from(count) {
        Ok(count) => text.replacen(old, new, count),
        Err(_) => text.replace(old, new),
    })
}

/// The characters of a cut set.
pub(super) fn cut(set: &str) -> Vec<char> {
    set.chars().collect()
}

/// `url.QueryEscape`.
pub(super) fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `url.QueryUnescape`.
pub(super) fn url_decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = text.get(at..at + 2).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let Some(value) = digits.and_then(|d| u8::from_str_radix(d, 16).ok()) else {
                    let end = (at + 2).min(text.len());
                    return Err(format!("invalid URL escape {:?}", String::from_utf8_lossy(&bytes[at - 1..end])));
                };
                out.push(value);
                at += 2;
            }
            other => out.push(other),
        }
    }
    Ok(text_of(&out))
}

pub(super) fn base64_encode(text: &str) -> String {
    STANDARD.encode(text)
}

/// Padding may be missing; what is wrong is said in place of the text.
pub(super) fn base64_decode(text: &str) -> String {
    let mut padded = text.to_owned();
    let rest = text.len() % 4;
    if rest > 1 {
        padded.push_str(if rest == 2 { "==" } else { "=" });
    }
    match STANDARD.decode(&padded) {
        Ok(bytes) => text_of(&bytes),
        Err(base64::DecodeError::InvalidByte(at, _)) => format!("illegal base64 data at input byte {at}"),
        Err(_) => format!("illegal base64 data at input byte {}", padded.len()),
    }
}

/// `template.HTMLEscapeString`.
pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push(char::REPLACEMENT_CHARACTER),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            other => out.push(other),
        }
    }
    out
}

/// `template.JSEscapeString`.
pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            other => out.push(other),
        }
    }
    out
}
