//! Numbers for people: with prefixes, as durations, as moments. After Prometheus's `humanize` functions.

use std::collections::BTreeMap;

use super::super::printf::sprintf;
use super::{Time, Value};
use crate::logql::units::quote;

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// The number that a value is, or that a text says.
pub(super) fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) | Value::Long(value) => Ok(*value as f64),
        Value::Duration(ns) => Ok(*ns as f64 / 1e9),
        Value::Text(text) => crate::logql::units::parse_float(text)
            .map_err(|_| format!("strconv.ParseFloat: parsing {}: invalid syntax", quote(text))),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Four significant digits.
fn four(value: f64) -> String {
    sprintf("%.4g", &[Value::Float(value)], &BTreeMap::new())
}

/// Divided by `step` while it is that large, with the prefix of the last division.
fn shrunk(mut value: f64, step: f64, prefixes: [&'static str; 8]) -> String {
    let mut last = "";
    for prefix in prefixes {
        if value.abs() < step {
            break;
        }
        (last, value) = (prefix, value / step);
    }
    four(value) + last
}

/// Multiplied by 1000 while it is below one.
fn grown(mut value: f64) -> String {
    let mut last = "";
    for prefix in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        (last, value) = (prefix, value * 1000.0);
    }
    four(value) + last
}

/// `1.235M`, `120m`.
pub(super) fn si(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    if value.abs() >= 1.0 {
        return shrunk(value, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"]);
    }
    grown(value)
}

/// `1.177Mi`.
pub(super) fn binary(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    shrunk(value, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
}

/// Of seconds: `1d 2h 3m 4s`, `12.35s`, `123.5ms`.
pub(super) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value != 0.0 && value.abs() < 1.0 {
        return grown(value) + "s";
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let whole = value.abs() as u64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four(value.abs())),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, ..) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}

/// `12.35%`.
pub(super) fn percentage(value: f64) -> String {
    four(value * 100.0) + "%"
}

/// The moment so many seconds after 1970, in whole milliseconds.
pub(super) fn time(seconds: f64) -> Result<Time, String> {
    if !seconds.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let ns = seconds * 1e9;
    // The bound is 2^63, which is a float.
    if ns >= i64::MAX as f64 || ns < i64::MIN as f64 {
        let shown = Value::Float(seconds).show(&BTreeMap::new());
        return Err(format!("{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"));
    }
    Ok(Time::utc(ns as i64 / 1_000_000 * 1_000_000))
}

/// `2015-06-23 13:19:44.128 +0000 UTC`.
pub(super) fn timestamp(value: f64) -> Result<String, String> {
    if value.is_finite() { Ok(time(value)?.show()) } else { Ok(four(value)) }
}
