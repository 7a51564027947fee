//! Durations, byte sizes and floats as Go, Prometheus and Loki read and write them, down to the error texts that
//! end up in `__error_details__`.

use std::fmt::Write as _;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Prometheus' form: whole numbers with `y w d h m s ms`, each at most once and in that order. In nanoseconds.
///
/// # Errors
/// With Prometheus' message.
pub fn parse_prometheus_duration(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, i64); 7] =
        [("y", 365 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", HOUR), ("m", MINUTE), ("s", SECOND), ("ms", 1_000_000)];
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let invalid = || format!("not a valid duration string: {}", quote(text));
    let (mut rest, mut next_unit, mut total) = (text, 0, 0_i64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        if number.is_empty() || unit.is_empty() {
            return Err(invalid());
        }
        let unknown = || format!("unknown unit {} in duration {}", quote(unit), quote(text));
        let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(unknown)?;
        if at < next_unit {
            return Err(invalid());
        }
        let product = number.parse::<i64>().ok().and_then(|n| n.checked_mul(UNITS[at].1));
        total = product.and_then(|p| total.checked_add(p)).ok_or("duration out of range")?;
        (rest, next_unit) = (tail, at + 1);
    }
    Ok(total)
}

/// Go's `time.ParseDuration`: `1h30m`, `-1.5s`, `100µs`. In nanoseconds.
///
/// # Errors
/// With Go's message.
pub fn parse_go_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (whole, after) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let (fraction, after) = match after.strip_prefix('.') {
            Some(tail) => tail.split_at(tail.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, tail) = after.split_at(unit_end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let scale = match unit {
            "ns" => 1_u64,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND as u64,
            "m" => MINUTE as u64,
            "h" => HOUR as u64,
            _ => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
        };
        let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| invalid())? };
        let mut nanoseconds = whole.checked_mul(scale).filter(|&n| n <= 1 << 63).ok_or_else(invalid)?;
        nanoseconds += fraction_of(fraction, scale);
        total = total.checked_add(nanoseconds).filter(|&n| n <= 1 << 63).ok_or_else(invalid)?;
        rest = tail;
    }
    match (negative, i64::try_from(total)) {
        (false, Ok(total)) => Ok(total),
        (true, _) => Ok((total as i64).wrapping_neg()),
        (false, Err(_)) => Err(invalid()),
    }
}

/// `0.digits * scale`, rounded down, as Go computes it.
fn fraction_of(digits: &str, scale: u64) -> u64 {
    let (mut value, mut divisor) = (0_u64, 1_f64);
    for digit in digits.bytes().take(18) {
        value = value * 10 + u64::from(digit - b'0');
        divisor *= 10.0;
    }
    (value as f64 * (scale as f64 / divisor)) as u64
}

/// A duration in a query: Prometheus' form, else Go's.
pub fn parse_duration(text: &str) -> Option<i64> {
    parse_prometheus_duration(text).or_else(|_| parse_go_duration(text)).ok()
}

/// Go's `Duration.String`: `1h30m0s`, `1.5s`, `100µs`, `0s`.
pub fn format_go_duration(nanoseconds: i64) -> String {
    let n = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let decimal = |n: u64, unit: u64| {
        let (whole, rest) = (n / unit, n % unit);
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        let fraction = fraction.trim_end_matches('0');
        if rest == 0 { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    match n {
        0 => "0s".to_owned(),
        n if n < 1_000 => format!("{sign}{n}ns"),
        n if n < 1_000_000 => format!("{sign}{}µs", decimal(n, 1_000)),
        n if n < 1_000_000_000 => format!("{sign}{}ms", decimal(n, 1_000_000)),
        n => {
            let (minutes, rest) = (n / MINUTE as u64, n % MINUTE as u64);
            let seconds = decimal(rest, SECOND as u64);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// Prometheus' shortest form with whole milliseconds: `1h30m`, `5m`, `1y`; Go's form when that would lose something.
pub fn format_prometheus_duration(nanoseconds: i64) -> String {
    if nanoseconds % 1_000_000 != 0 || nanoseconds < 0 {
        return format_go_duration(nanoseconds);
    }
    let mut ms = nanoseconds / 1_000_000;
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    let units = [
        ("y", 365 * DAY, true),
        ("w", 7 * DAY, true),
        ("d", DAY, false),
        ("h", HOUR, false),
        ("m", MINUTE, false),
        ("s", SECOND, false),
        ("ms", 1_000_000, false),
    ];
    for (name, unit, only_exact) in units {
        let unit = unit / 1_000_000;
        if only_exact && ms % unit != 0 {
            continue;
        }
        if ms >= unit {
            let _ = write!(out, "{}{name}", ms / unit);
            ms %= unit;
        }
    }
    out
}

/// A byte size: `5B`, `1.5KiB`, `2MB`, `3 gb`; without a unit, bytes.
///
/// # Errors
/// With the message that Loki's library has.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let number_end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ',')).unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let number = parse_float(&number.replace(',', ""))?;
    let unit = unit.trim().to_lowercase();
    let scale = match unit.as_str() {
        "" | "b" => 1_u64,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "p" | "pb" => 1_000_000_000_000_000,
        "e" | "eb" => 1_000_000_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        "pi" | "pib" => 1 << 50,
        "ei" | "eib" => 1 << 60,
        _ => return Err(format!("unhandled size name: {unit}")),
    };
    let bytes = number * scale as f64;
    if bytes >= u64::MAX as f64 { Err(format!("too large: {text}")) } else { Ok(bytes as u64) }
}

/// Loki's short form with one decimal, when it is exact; else plain bytes.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let at = (bytes.ilog10() / 3) as usize;
    let value = (bytes as f64 / 1000_f64.powi(at as i32) * 10.0 + 0.5).floor() / 10.0;
    let short = if value < 10.0 { format!("{value:.1}{}", UNITS[at]) } else { format!("{value:.0}{}", UNITS[at]) };
    if parse_bytes(&short) == Ok(bytes) { short } else { format!("{bytes}B") }
}

/// Go's `strconv.ParseFloat(text, 64)`: decimal, `inf`, `nan` in any case, hexadecimal with a `p` exponent.
///
/// # Errors
/// With Go's message.
pub fn parse_float(text: &str) -> Result<f64, String> {
    let fail = |why| format!("strconv.ParseFloat: parsing {}: {why}", quote(text));
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let first = unsigned.as_bytes().first().copied().unwrap_or_default();
    if first == b'0' && unsigned.as_bytes().get(1).is_some_and(|b| b | 0x20 == b'x') {
        let value = parse_hex_float(unsigned.get(2..).unwrap_or_default()).ok_or_else(|| fail("invalid syntax"))?;
        return Ok(if text.starts_with('-') { -value } else { value });
    }
    let value: f64 = text.parse().map_err(|_| fail("invalid syntax"))?;
    if value.is_infinite() && first.is_ascii_digit() {
        return Err(fail("value out of range"));
    }
    Ok(value)
}

fn parse_hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0_f64;
    for digit in whole.chars().chain(fraction.chars()).filter(|&c| c != '_') {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let exponent: i32 = exponent.parse().ok()?;
    Some(value * 2_f64.powi(exponent.saturating_sub(4 * fraction.len() as i32)))
}

/// Go's `strconv.Quote`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0C' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0B' => out.push_str("\\v"),
            c if is_print(c) => out.push(c),
            c if u32::from(c) < 0x80 => drop(write!(out, "\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x1_0000 => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => drop(write!(out, "\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Go's `strconv.IsPrint`, near enough: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_print(c: char) -> bool {
    // Rust escapes in `Debug` what is not printable, and grapheme extenders, which Go prints.
    c == ' '
        || (!c.is_whitespace()
            && !c.is_control()
            && (c == '"' || c == '\'' || c == '\\' || !c.escape_debug().to_string().starts_with("\\u{") || is_mark(c)))
}

fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x300..=0x36F | 0x483..=0x489 | 0x591..=0x5BD | 0x610..=0x61A | 0x64B..=0x65F
        | 0x900..=0x903 | 0x93A..=0x94F | 0xE31..=0xE3A | 0xE47..=0xE4E | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF
        | 0x20D0..=0x20FF | 0x3099..=0x309A | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F | 0xE0100..=0xE01EF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_and_out() {
        let check = |text: &str, ns: Option<i64>, go: &str, prometheus: &str| {
            assert_eq!(parse_duration(text), ns, "{text}");
            if let Some(ns) = ns {
                assert_eq!(
                    (format_go_duration(ns).as_str(), format_prometheus_duration(ns).as_str()),
                    (go, prometheus)
                );
            }
        };
        check("5m", Some(5 * MINUTE), "5m0s", "5m");
        check("1h30m", Some(90 * MINUTE), "1h30m0s", "1h30m");
        check("1d", Some(DAY), "24h0m0s", "1d");
        check("1w", Some(7 * DAY), "168h0m0s", "1w");
        check("1y2w", Some(379 * DAY), "9096h0m0s", "379d");
        check("1.5s", Some(1_500_000_000), "1.5s", "1s500ms");
        check("100us", Some(100_000), "100µs", "100µs");
        check("100µs", Some(100_000), "100µs", "100µs");
        check("-1m30s", Some(-90 * SECOND), "-1m30s", "-1m30s");
        check("1500ms", Some(1_500_000_000), "1.5s", "1s500ms");
        check("7ns", Some(7), "7ns", "7ns");
        check("0", Some(0), "0s", "0s");
        check("2h1s", Some(2 * HOUR + SECOND), "2h0m1s", "2h1s");
        check("1m1h", Some(HOUR + MINUTE), "1h1m0s", "1h1m");
        check("", None, "", "");
        check("5", None, "", "");
        check("5x", None, "", "");
        check("9999999999999999999h", None, "", "");
        assert_eq!(parse_prometheus_duration("1m1h"), Err("not a valid duration string: \"1m1h\"".to_owned()));
        assert_eq!(parse_prometheus_duration("5"), Err("not a valid duration string: \"5\"".to_owned()));
        assert_eq!(parse_prometheus_duration("1h5x"), Err("unknown unit \"x\" in duration \"1h5x\"".to_owned()));
        assert_eq!(parse_prometheus_duration("300y"), Err("duration out of range".to_owned()));
        assert_eq!(parse_go_duration("abc"), Err("time: invalid duration \"abc\"".to_owned()));
        assert_eq!(parse_go_duration("5"), Err("time: missing unit in duration \"5\"".to_owned()));
        assert_eq!(parse_go_duration("5d"), Err("time: unknown unit \"d\" in duration \"5d\"".to_owned()));
    }

    #[test]
    fn bytes_in_and_out() {
        let check = |text: &str, bytes: u64, out: &str| {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
            assert_eq!(format_bytes(bytes), out);
        };
        check("5B", 5, "5B");
        check("1KB", 1000, "1.0kB");
        check("1KiB", 1024, "1024B");
        check("1.5MB", 1_500_000, "1.5MB");
        check("42 mb", 42_000_000, "42MB");
        check("2GiB", 1 << 31, "2147483648B");
        check("12", 12, "12B");
        check("1,000", 1000, "1.0kB");
        assert_eq!(parse_bytes("x"), Err("strconv.ParseFloat: parsing \"\": invalid syntax".to_owned()));
        assert_eq!(parse_bytes("5 zb"), Err("unhandled size name: zb".to_owned()));
        assert_eq!(parse_bytes("99eb"), Err("too large: 99eb".to_owned()));
    }

    #[test]
    fn floats_as_go() {
        for (text, value) in [("1.5", 1.5), ("-1e3", -1000.0), (".5", 0.5), ("+Inf", f64::INFINITY), ("0x1p3", 8.0)] {
            assert_eq!(parse_float(text), Ok(value), "{text}");
        }
        assert!(parse_float("NaN").is_ok_and(f64::is_nan));
        for text in ["", "abc", "1_000", "0x1F", " 1", "1s", "infin"] {
            assert_eq!(parse_float(text), Err(format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax")));
        }
        assert_eq!(parse_float("1e999"), Err("strconv.ParseFloat: parsing \"1e999\": value out of range".to_owned()));
    }

    #[test]
    fn quotes_as_go() {
        assert_eq!(quote("a\"b\\\n\té🚀\u{0}\u{200b}e\u{301}'"), "\"a\\\"b\\\\\\n\\té🚀\\x00\\u200be\u{301}'\"");
    }
}
