//! What numbers, durations and strings stand for.

use crate::logql::units::{parse_prometheus_duration, quote};

/// The value of a number as Go reads it: decimal, hexadecimal, octal with a leading zero, `Inf`, `NaN`; `_` between
/// digits.
pub(super) fn number(text: &str) -> Result<f64, String> {
    let failed = |why: &str| format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", quote(text));
    if !underscores_stand_between_digits(text) {
        return Err(failed("invalid syntax"));
    }
    let plain = text.replace('_', "");
    if let Some(whole) = whole_number(&plain) {
        return Ok(whole as f64);
    }
    match plain.parse::<f64>() {
        Ok(value) if value.is_infinite() && !plain.eq_ignore_ascii_case("inf") => Err(failed("value out of range")),
        Ok(value) => Ok(value),
        Err(_) => Err(failed("invalid syntax")),
    }
}

fn whole_number(text: &str) -> Option<i64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text, 8),
        _ => (text, 10),
    };
    i64::from_str_radix(digits, radix).ok()
}

/// Also behind the `x` of `0x_ff`.
fn underscores_stand_between_digits(text: &str) -> bool {
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let digit = |b: Option<&u8>| b.is_some_and(|b| if hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() });
    let bytes = text.as_bytes();
    bytes.iter().enumerate().filter(|&(_, &b)| b == b'_').all(|(at, _)| {
        let after_digit = at.checked_sub(1).is_some_and(|before| digit(bytes.get(before)) || (hex && before == 1));
        after_digit && digit(bytes.get(at + 1))
    })
}

/// The seconds of a duration.
pub(super) fn duration(text: &str) -> Result<f64, String> {
    const SECOND: i64 = 1_000_000_000;
    let nanoseconds = parse_prometheus_duration(text)?;
    Ok((nanoseconds / SECOND) as f64 + (nanoseconds % SECOND) as f64 / SECOND as f64)
}

/// The text of a string literal that the lexer let through, with its quotes. What is no UTF-8 afterwards (`"\xff"`)
/// becomes U+FFFD.
pub(super) fn unquote(literal: &str) -> String {
    let Some(inside) = literal.get(1..literal.len().saturating_sub(1)) else { return String::new() };
    if literal.starts_with('`') || !inside.contains('\\') {
        return inside.to_owned();
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        rest = unescape(escape, &mut bytes);
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Adds the character that stands behind a backslash, and answers what follows it.
fn unescape<'a>(escape: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let Some(c) = escape.chars().next() else { return escape };
    let (from, to, radix) = match c {
        'x' => (1, 3, 16),
        'u' => (1, 5, 16),
        'U' => (1, 9, 16),
        '0'..='7' => (0, 3, 8),
        _ => {
            bytes.push(match c {
                'a' => 0x07,
                'b' => 0x08,
                'f' => 0x0C,
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'v' => 0x0B,
                // A quote or a backslash.
                other => u8::try_from(other).unwrap_or(b'?'),
            });
            return escape.get(c.len_utf8()..).unwrap_or_default();
        }
    };
    let code = escape.get(from..to).and_then(|digits| u32::from_str_radix(digits, radix).ok()).unwrap_or_default();
    match u8::try_from(code) {
        // `\x` and octal are bytes.
        Ok(byte) if to == 3 => bytes.push(byte),
        _ => {
            let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    escape.get(to..).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        let check = |text: &str, value: f64| assert_eq!(number(text).unwrap(), value, "{text}");
        check("5.", 5.0);
        check(".5", 0.5);
        check("0xc", 12.0);
        check("0X_1f_ff", 8191.0);
        check("0755", 493.0);
        check("08", 8.0);
        check("1_000.5_0", 1000.5);
        check("5e-3", 0.005);
        check("iNf", f64::INFINITY);
        check("9223372036854775808", 9_223_372_036_854_775_808.0);
        assert!(number("NaN").unwrap().is_nan());
        for wrong in ["1__0", "_1", "1_", "1_e5", "1e", "0x", "0xfffffffffffffffff", ".5.5", "1e400"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_strings() {
        let check = |literal: &str, text: &str| assert_eq!(unquote(literal), text, "{literal}");
        check(r#""""#, "");
        check(r#""a\"b\\""#, "a\"b\\");
        check(r"'it\'s'", "it's");
        check(r"`raw \n`", r"raw \n");
        check(r#""\a\b\f\n\r\t\v""#, "\x07\x08\x0C\n\r\t\x0B");
        check(r#""\101\x42\u00e9\U0001F680x""#, "ABé🚀x");
        check(r#""\xc3\xa9""#, "é");
        check(r#""\xff""#, "\u{FFFD}");
    }
}
