//! Go's `fmt.Sprintf`, `Sprint` and `Sprintln` for the values that templates have.

use std::collections::BTreeMap;

use crate::logql::units::quote;
use crate::number::format_float_general;

use super::value::Value;

type Labels = BTreeMap<String, String>;

/// The widest field and longest precision.
const WIDTH_MAX: usize = 100_000;

#[derive(Debug, Clone, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `Sprintf`.
pub(super) fn sprintf(format: &str, arguments: &[Value], labels: &Labels) -> String {
    let mut out = String::new();
    let mut next = arguments.iter();
    let mut reordered = false;
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(&c) = chars.peek() {
            match c {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            chars.next();
        }
        let mut number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if chars.peek() == Some(&'*') {
                chars.next();
                return match next.next() {
                    Some(Value::Int(n)) => Some(*n),
                    _ => None,
                };
            }
            let mut value = None;
            while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                value = Some((value.unwrap_or(0_i64) * 10 + i64::from(digit)).min(WIDTH_MAX as i64));
                chars.next();
            }
            value
        };
        let width = number(&mut chars);
        flags.minus |= width.is_some_and(|w| w < 0);
        flags.width = width.map(|w| (w.unsigned_abs() as usize).min(WIDTH_MAX));
        if chars.peek() == Some(&'.') {
            chars.next();
            let precision = number(&mut chars).unwrap_or(0);
            flags.precision = usize::try_from(precision).ok().map(|p| p.min(WIDTH_MAX));
        }
        if let Some(at) = index(&mut chars) {
            (next, reordered) = (arguments.get(at..).unwrap_or_default().iter(), true);
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match next.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(value) => out.push_str(&field(verb, &flags, value, labels)),
            },
        }
    }
    let extra: Vec<_> = next.filter(|_| !reordered).map(|v| format!("{}={}", v.type_name(), v.show(labels))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// `[2]` before a verb: which argument it is for, from 0.
fn index(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut ahead = chars.clone();
    if ahead.next() != Some('[') {
        return None;
    }
    let digits: String = ahead.by_ref().take_while(|c| *c != ']').take(6).collect();
    let at = digits.parse::<usize>().ok()?.checked_sub(1)?;
    *chars = ahead;
    Some(at)
}

/// `Sprint`: a space between two arguments of which none is a text.
pub(super) fn sprint(arguments: &[Value], labels: &Labels) -> String {
    let mut out = String::new();
    for (i, argument) in arguments.iter().enumerate() {
        let is_text = |v: &Value| matches!(v, Value::Text(_));
        if i > 0 && !is_text(argument) && !is_text(&arguments[i - 1]) {
            out.push(' ');
        }
        out.push_str(&argument.show(labels));
    }
    out
}

/// `Sprintln`.
pub(super) fn sprintln(arguments: &[Value], labels: &Labels) -> String {
    arguments.iter().map(|a| a.show(labels)).collect::<Vec<_>>().join(" ") + "\n"
}

fn field(verb: char, flags: &Flags, value: &Value, labels: &Labels) -> String {
    let bad = || format!("%!{verb}({}={})", value.type_name(), value.show(labels));
    match (verb, value) {
        ('v', Value::Float(v)) => float('g', flags, *v),
        ('v', Value::Int(v) | Value::Long(v)) => integer('d', flags, *v),
        ('v', Value::Text(text)) if flags.sharp => padded(flags, quote(text)),
        ('v', Value::Text(text)) | ('s', Value::Text(text)) => padded(flags, cut(flags, text)),
        ('v', other) => padded(flags, other.show(labels)),
        ('s', Value::Nil) => "%!s(<nil>)".to_owned(),
        ('s', Value::Bool(_) | Value::Int(_) | Value::Long(_) | Value::Float(_)) => bad(),
        ('s', other) => padded(flags, cut(flags, &other.show(labels))),
        ('q' | 'd' | 'f' | 'x', Value::List(items)) => {
            let fields: Vec<_> = items.iter().map(|item| field(verb, flags, item, labels)).collect();
            format!("[{}]", fields.join(" "))
        }
        ('d', Value::Duration(ns)) => integer('d', flags, *ns),
        ('T', other) => padded(flags, other.type_name().to_owned()),
        ('q', Value::Text(text)) => padded(flags, quote(&cut(flags, text))),
        ('x' | 'X', Value::Text(text)) => {
            let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
            padded(flags, if verb == 'X' { hex.to_uppercase() } else { hex })
        }
        ('t', Value::Bool(v)) => padded(flags, v.to_string()),
        ('d' | 'b' | 'o' | 'O' | 'x' | 'X', Value::Int(v) | Value::Long(v)) => integer(verb, flags, *v),
        ('c', Value::Int(v) | Value::Long(v)) => {
            let c = u32::try_from(*v).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            padded(flags, c.to_string())
        }
        ('q', Value::Int(v) | Value::Long(v)) => {
            let c = u32::try_from(*v).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            padded(flags, format!("'{c}'"))
        }
        ('U', Value::Int(v) | Value::Long(v)) => padded(flags, format!("U+{v:04X}")),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(v)) => float(verb, flags, *v),
        (_, Value::Nil) => format!("%!{verb}(<nil>)"),
        _ => bad(),
    }
}

fn cut(flags: &Flags, text: &str) -> String {
    match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    }
}

fn padded(flags: &Flags, text: String) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if flags.minus { text + &" ".repeat(missing) } else { (if flags.zero { "0" } else { " " }).repeat(missing) + &text }
}

/// A number: zeros go behind the sign.
fn signed(flags: &Flags, negative: bool, digits: &str, zero: bool) -> String {
    let sign = match (negative, flags.plus, flags.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    let width = flags.width.unwrap_or(0);
    if zero && flags.zero && !flags.minus {
        let zeros = width.saturating_sub(digits.chars().count() + sign.len());
        return format!("{sign}{}{digits}", "0".repeat(zeros));
    }
    padded(&Flags { zero: false, ..flags.clone() }, format!("{sign}{digits}"))
}

fn integer(verb: char, flags: &Flags, value: i64) -> String {
    let n = value.unsigned_abs();
    let digits = match verb {
        'b' => format!("{n:b}"),
        'o' | 'O' => format!("{n:o}"),
        'x' => format!("{n:x}"),
        'X' => format!("{n:X}"),
        _ => n.to_string(),
    };
    let digits = match flags.precision {
        Some(precision) => format!("{}{digits}", "0".repeat(precision.saturating_sub(digits.len()))),
        None => digits,
    };
    let prefix = match verb {
        'x' if flags.sharp => "0x",
        'X' if flags.sharp => "0X",
        'O' => "0o",
        'o' if flags.sharp => "0",
        'b' if flags.sharp => "0b",
        _ => "",
    };
    signed(flags, value < 0, &format!("{prefix}{digits}"), flags.precision.is_none())
}

fn float(verb: char, flags: &Flags, value: f64) -> String {
    if !value.is_finite() {
        let text = if value.is_nan() { "NaN" } else { "Inf" };
        let plus = flags.plus || (value.is_infinite() && value > 0.0 && verb != 'x');
        return signed(&Flags { plus, zero: false, ..flags.clone() }, value < 0.0, text, false);
    }
    let n = value.abs();
    let digits = match verb {
        'f' | 'F' => format!("{n:.*}", flags.precision.unwrap_or(6)),
        'e' | 'E' => exponent(n, flags.precision.unwrap_or(6)),
        _ => match flags.precision {
            None => format_float_general(n),
            Some(precision) => general(n, precision.max(1)),
        },
    };
    let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
    signed(flags, value.is_sign_negative(), &digits, true)
}

fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%.3g`: so many significant digits, without zeros at the end.
fn general(value: f64, precision: usize) -> String {
    let scientific = exponent(value, precision - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power_number: i32 = power.parse().unwrap_or_default();
    let trim = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if power_number < -4 || power_number >= precision as i32 {
        return format!("{}e{power}", trim(mantissa));
    }
    let decimals = usize::try_from(precision as i32 - 1 - power_number).unwrap_or_default();
    trim(&format!("{value:.decimals$}"))
}
