//! The functions that Loki gives to `line_format` and `label_format`: what they take, and what they answer.

use std::collections::BTreeMap;

use super::decimal;
use super::signature::Kind::{Any, Float, Int, Text, Time as Moment};
use super::signature::{Arguments, Signature};
use super::strings;
use super::time::Time;
use super::value::{Value, from_json};
use crate::logql::units::{parse_bytes, parse_float, parse_go_duration};
use crate::regexp::compile;

/// What the functions see of a log record.
pub trait Record {
    /// The fields of `.`.
    fn labels(&self) -> &BTreeMap<String, String>;
    /// `__line__`.
    fn line(&self) -> &str;
    /// `__timestamp__`, nanoseconds since 1970.
    fn timestamp(&self) -> i64;
    /// `now`, nanoseconds since 1970.
    fn now(&self) -> i64;
}

/// Loki's functions.
pub const FUNCTIONS: &[Signature] = &[
    ("__line__", &[], None),
    ("__timestamp__", &[], None),
    ("ToLower", &[Text], None),
    ("ToUpper", &[Text], None),
    ("Replace", &[Text, Text, Text, Int], None),
    ("Trim", &[Text, Text], None),
    ("TrimLeft", &[Text, Text], None),
    ("TrimRight", &[Text, Text], None),
    ("TrimPrefix", &[Text, Text], None),
    ("TrimSuffix", &[Text, Text], None),
    ("TrimSpace", &[Text], None),
    ("regexReplaceAll", &[Text, Text, Text], None),
    ("regexReplaceAllLiteral", &[Text, Text, Text], None),
    ("count", &[Text, Text], None),
    ("urldecode", &[Text], None),
    ("urlencode", &[Text], None),
    ("bytes", &[Text], None),
    ("duration", &[Text], None),
    ("duration_seconds", &[Text], None),
    ("unixEpoch", &[Moment], None),
    ("unixEpochMillis", &[Moment], None),
    ("unixEpochNanos", &[Moment], None),
    ("toDateInZone", &[Text, Text, Text], None),
    ("unixToTime", &[Text], None),
    ("alignLeft", &[Int, Text], None),
    ("alignRight", &[Int, Text], None),
    ("b64dec", &[Text], None),
    ("b64enc", &[Text], None),
    ("lower", &[Text], None),
    ("upper", &[Text], None),
    ("title", &[Text], None),
    ("trunc", &[Int, Text], None),
    ("substr", &[Int, Int, Text], None),
    ("contains", &[Text, Text], None),
    ("hasPrefix", &[Text, Text], None),
    ("hasSuffix", &[Text, Text], None),
    ("indent", &[Int, Text], None),
    ("nindent", &[Int, Text], None),
    ("replace", &[Text, Text, Text], None),
    ("repeat", &[Int, Text], None),
    ("trim", &[Text], None),
    ("trimAll", &[Text, Text], None),
    ("trimSuffix", &[Text, Text], None),
    ("trimPrefix", &[Text, Text], None),
    ("int", &[Any], None),
    ("float64", &[Any], None),
    ("add", &[], Some(Any)),
    ("sub", &[Any, Any], None),
    ("mul", &[Any], Some(Any)),
    ("div", &[Any, Any], None),
    ("mod", &[Any, Any], None),
    ("addf", &[], Some(Any)),
    ("subf", &[Any], Some(Any)),
    ("mulf", &[Any], Some(Any)),
    ("divf", &[Any], Some(Any)),
    ("max", &[Any], Some(Any)),
    ("min", &[Any], Some(Any)),
    ("maxf", &[Any], Some(Any)),
    ("minf", &[Any], Some(Any)),
    ("ceil", &[Any], None),
    ("floor", &[Any], None),
    ("round", &[Any, Int], Some(Float)),
    ("fromJson", &[Text], None),
    ("date", &[Text, Any], None),
    ("toDate", &[Text, Text], None),
    ("now", &[], None),
    ("default", &[Any], Some(Any)),
];

/// Calls one of [`FUNCTIONS`] for a record.
///
/// # Errors
/// When the function refuses its arguments, in its own words.
pub fn call(name: &str, values: &[Value], record: &dyn Record) -> Result<Value, String> {
    let a = Arguments(values);
    if let Some(result) = text_function(name, &a) {
        return result.map(Value::text);
    }
    if let Some(result) = number_function(name, values) {
        return result;
    }
    Ok(match name {
        "__line__" => Value::text(record.line()),
        "__timestamp__" => Value::Time(Time::utc(record.timestamp())),
        "now" => Value::Time(Time::utc(record.now())),
        "contains" => Value::Bool(a.text(1).contains(a.text(0))),
        "hasPrefix" => Value::Bool(a.text(1).starts_with(a.text(0))),
        "hasSuffix" => Value::Bool(a.text(1).ends_with(a.text(0))),
        "count" => Value::Int(regex(a.text(0))?.find_iter(a.text(1).as_bytes()).count() as i64),
        "bytes" => Value::Float(parse_bytes(a.text(0))? as f64),
        "duration" | "duration_seconds" => Value::Float(parse_go_duration(a.text(0))? as f64 / 1e9),
        "fromJson" => from_json(a.text(0)),
        "default" => {
            let given = a.any(1);
            if given.is_true(record.labels().len()) { given.clone() } else { a.any(0).clone() }
        }
        "toDate" => Value::Time(parse_time(a.text(0), "UTC", a.text(1))),
        "toDateInZone" => Value::Time(parse_time(a.text(0), a.text(1), a.text(2))),
        "unixToTime" => Value::Time(unix_to_time(a.text(0))?),
        other => return Err(format!("{other:?} is not a defined function")),
    })
}

fn regex(pattern: &str) -> Result<regex::bytes::Regex, String> {
    compile(pattern).map_err(|error| error.to_string())
}

/// Functions that answer a text.
fn text_function(name: &str, a: &Arguments<'_>) -> Option<Result<String, String>> {
    let (first, second) = (a.text(0), a.text(1));
    Some(Ok(match name {
        "ToLower" | "lower" => first.to_lowercase(),
        "ToUpper" | "upper" => first.to_uppercase(),
        "Trim" => first.trim_matches(&strings::cut(second)[..]).to_owned(),
        "TrimLeft" => first.trim_start_matches(&strings::cut(second)[..]).to_owned(),
        "TrimRight" => first.trim_end_matches(&strings::cut(second)[..]).to_owned(),
        "TrimPrefix" => first.strip_prefix(second).unwrap_or(first).to_owned(),
        "TrimSuffix" => first.strip_suffix(second).unwrap_or(first).to_owned(),
        "TrimSpace" | "trim" => first.trim().to_owned(),
        "trimAll" => second.trim_matches(&strings::cut(first)[..]).to_owned(),
        "trimPrefix" => second.strip_prefix(first).unwrap_or(second).to_owned(),
        "trimSuffix" => second.strip_suffix(first).unwrap_or(second).to_owned(),
        "title" => strings::title(first),
        "urlencode" => strings::url_encode(first),
        "b64enc" => strings::base64_encode(first),
        "b64dec" => strings::base64_decode(first),
        "unixEpoch" => a.time(0).ns.div_euclid(1_000_000_000).to_string(),
        "unixEpochMillis" => a.time(0).ns.div_euclid(1_000_000).to_string(),
        "unixEpochNanos" => a.time(0).ns.to_string(),
        "urldecode" => return Some(strings::url_decode(first)),
        "Replace" => return Some(strings::replace(first, second, a.text(2), a.int(3))),
        "replace" => return Some(strings::replace(a.text(2), first, second, -1)),
        "trunc" => return Some(strings::trunc(a.int(0), second)),
        "substr" => return Some(strings::substr(a.int(0), a.int(1), a.text(2))),
        "alignLeft" => return Some(strings::align_left(a.int(0), second)),
        "alignRight" => return Some(strings::align_right(a.int(0), second)),
        "indent" => return Some(strings::indent(a.int(0), second)),
        "nindent" => return Some(strings::indent(a.int(0), second).map(|text| format!("\n{text}"))),
        "repeat" => return Some(strings::repeat(second, a.int(0))),
        "regexReplaceAll" | "regexReplaceAllLiteral" => {
            return Some(regex(first).map(|regex| {
                let (text, new) = (second.as_bytes(), a.text(2).as_bytes());
                let replaced = if name == "regexReplaceAll" {
                    regex.replace_all(text, new)
                } else {
                    regex.replace_all(text, regex::bytes::NoExpand(new))
                };
                String::from_utf8_lossy(&replaced).into_owned()
            }));
        }
        "date" => match a.any(1) {
            Value::Time(time) => Time::utc(time.ns).format(first),
            Value::Int(seconds) | Value::Long(seconds) => {
                Time::utc(seconds.saturating_mul(1_000_000_000)).format(first)
            }
            _ => return Some(Err("wrong type for value; expected time.Time".to_owned())),
        },
        _ => return None,
    }))
}

/// As sprig's casts: what is no number is 0.
fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(int) | Value::Long(int) => *int,
        Value::Float(float) => *float as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => {
            let whole =
                text.split_once('.').filter(|(_, rest)| rest.bytes().all(|b| b == b'0')).map_or(&**text, |(w, _)| w);
            let (negative, digits) = whole.strip_prefix('-').map_or((false, whole), |rest| (true, rest));
            let digits = digits.strip_prefix('+').unwrap_or(digits);
            let radix =
                |prefix: &str, radix| digits.strip_prefix(prefix).map(|d| i64::from_str_radix(d, radix).unwrap_or(0));
            let int = radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8));
            let int = int.unwrap_or_else(|| match digits.strip_prefix('0') {
                Some(octal) if !octal.is_empty() => i64::from_str_radix(octal, 8).unwrap_or(0),
                _ => digits.parse().unwrap_or(0),
            });
            if negative { -int } else { int }
        }
        _ => 0,
    }
}

fn to_float(value: &Value) -> f64 {
    match value {
        Value::Float(float) => *float,
        Value::Text(text) => parse_float(text).unwrap_or(0.0),
        other => to_int(other) as f64,
    }
}

/// Arithmetic.
fn number_function(name: &str, values: &[Value]) -> Option<Result<Value, String>> {
    let first = values.first().unwrap_or(&Value::Nil);
    let rest = values.get(1..).unwrap_or_default();
    let ints = |start: i64, values: &[Value], op: fn(i64, i64) -> i64| {
        Ok(Value::Long(values.iter().map(to_int).fold(start, op)))
    };
    let decimals = |start: f64, values: &[Value], op: char| {
        values.iter().map(to_float).try_fold(start, |a, b| decimal::operate(a, b, op)).map(Value::Float)
    };
    let (int, float) = (to_int(first), to_float(first));
    Some(match name {
        "int" => Ok(Value::Int(int)),
        "float64" => Ok(Value::Float(float)),
        "add" => ints(0, values, i64::wrapping_add),
        "sub" => ints(int, rest, i64::wrapping_sub),
        "mul" => ints(int, rest, i64::wrapping_mul),
        "max" => ints(int, rest, i64::max),
        "min" => ints(int, rest, i64::min),
        "div" | "mod" => match to_int(rest.first().unwrap_or(&Value::Nil)) {
            0 => Err("runtime error: integer divide by zero".to_owned()),
            divisor if name == "div" => Ok(Value::Long(int.wrapping_div(divisor))),
            divisor => Ok(Value::Long(int.wrapping_rem(divisor))),
        },
        "addf" => decimals(0.0, values, '+'),
        "subf" => decimals(float, rest, '-'),
        "mulf" => decimals(float, rest, '*'),
        "divf" => decimals(float, rest, '/'),
        "maxf" => Ok(Value::Float(rest.iter().map(to_float).fold(float, f64::max))),
        "minf" => Ok(Value::Float(rest.iter().map(to_float).fold(float, f64::min))),
        "ceil" => Ok(Value::Float(float.ceil())),
        "floor" => Ok(Value::Float(float.floor())),
        "round" => {
            let round_on = rest.get(1).map_or(0.5, to_float);
            let pow = 10_f64.powf(to_float(rest.first().unwrap_or(&Value::Nil)));
            let digit = pow * float;
            let up = digit.fract() >= round_on;
            Ok(Value::Float(if up { digit.ceil() } else { digit.floor() } / pow))
        }
        _ => return None,
    })
}

/// A text in a Go layout; what does not fit is the zero time. Zones but UTC are not known yet and taken for it.
fn parse_time(layout: &str, _zone: &str, text: &str) -> Time {
    Time::parse(layout, text, |_| (0, "UTC".to_owned())).unwrap_or_else(Time::zero)
}

/// The number of digits says the unit: days, seconds, milliseconds, microseconds or nanoseconds.
fn unix_to_time(text: &str) -> Result<Time, String> {
    let fail = |why: &str| format!("unable to parse time '{text}': {why}");
    let number: i64 = text.parse().map_err(|_| {
        fail(&format!("strconv.ParseInt: parsing {}: invalid syntax", crate::logql::units::quote(text)))
    })?;
    let unit = match text.len() {
        5 => 86_400_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return Err(fail("%!w(<nil>)")),
    };
    Ok(Time::utc(number.saturating_mul(unit)))
}
