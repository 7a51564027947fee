//! The methods of times and durations.

use chrono::{Datelike, Timelike};

use super::signature::Arguments;
use super::time::Time;
use super::value::Value;
use crate::logql::units::format_go_duration;

/// How many arguments a method of a time takes, if it exists.
fn parameters(name: &str) -> Option<usize> {
    Some(match name {
        "Format" | "Add" | "Sub" | "Before" | "After" | "Equal" => 1,
        "AddDate" => 3,
        "String" | "Unix" | "UnixMilli" | "UnixMicro" | "UnixNano" | "UTC" | "Local" | "IsZero" | "Year" | "Month"
        | "Day" | "YearDay" | "Weekday" | "Hour" | "Minute" | "Second" | "Nanosecond" => 0,
        _ => return None,
    })
}

/// A method of a time.
pub(super) fn of_time(time: &Time, name: &str, arguments: &[Value]) -> Result<Value, String> {
    let Some(wanted) = parameters(name) else {
        return Err(format!("can't evaluate field {name} in type time.Time"));
    };
    if arguments.len() != wanted {
        return Err(format!("wrong number of args for {name}: want {wanted} got {}", arguments.len()));
    }
    if wanted > 0 {
        return with_arguments(time, name, arguments);
    }
    let civil = time.civil();
    Ok(match name {
        "String" => Value::text(time.show()),
        "Unix" => Value::Long(time.ns.div_euclid(1_000_000_000)),
        "UnixMilli" => Value::Long(time.ns.div_euclid(1_000_000)),
        "UnixMicro" => Value::Long(time.ns.div_euclid(1_000)),
        "UnixNano" => Value::Long(time.ns),
        "IsZero" => Value::Bool(time.ns == i64::MIN),
        "Year" => Value::Int(i64::from(civil.year())),
        "Month" => Value::text(civil.format("%B").to_string()),
        "Day" => Value::Int(i64::from(civil.day())),
        "YearDay" => Value::Int(i64::from(civil.ordinal())),
        "Weekday" => Value::text(civil.format("%A").to_string()),
        "Hour" => Value::Int(i64::from(civil.hour())),
        "Minute" => Value::Int(i64::from(civil.minute())),
        "Second" => Value::Int(i64::from(civil.second())),
        "Nanosecond" => Value::Int(i64::from(civil.nanosecond())),
        _ => Value::Time(Time::utc(time.ns)),
    })
}

fn with_arguments(time: &Time, name: &str, arguments: &[Value]) -> Result<Value, String> {
    let wrong = |expected: &str, got: &Value| {
        Err(format!("wrong type for value; expected {expected}; got {}", got.type_name()))
    };
    Ok(match (name, arguments) {
        ("Format", [Value::Text(layout)]) => Value::text(time.format(layout)),
        ("Add", [Value::Duration(ns)]) => Value::Time(Time { ns: time.ns.saturating_add(*ns), ..time.clone() }),
        ("Sub", [Value::Time(other)]) => Value::Duration(time.ns.saturating_sub(other.ns)),
        ("Before", [Value::Time(other)]) => Value::Bool(time.ns < other.ns),
        ("After", [Value::Time(other)]) => Value::Bool(time.ns > other.ns),
        ("Equal", [Value::Time(other)]) => Value::Bool(time.ns == other.ns),
        ("AddDate", _) => {
            let a = Arguments(arguments);
            Value::Time(time.add_date(a.int(0), a.int(1), a.int(2)).ok_or("the date is out of range")?)
        }
        ("Format", [other]) => return wrong("string", other),
        ("Add", [other]) => return wrong("time.Duration", other),
        (_, [other, ..]) => return wrong("time.Time", other),
        _ => Value::Nil,
    })
}

/// A method of a duration in nanoseconds.
pub(super) fn of_duration(ns: i64, name: &str, arguments: &[Value]) -> Result<Value, String> {
    let value = match name {
        "String" => Value::text(format_go_duration(ns)),
        "Hours" => Value::Float(ns as f64 / 3.6e12),
        "Minutes" => Value::Float(ns as f64 / 6e10),
        "Seconds" => Value::Float(ns as f64 / 1e9),
        "Milliseconds" => Value::Long(ns / 1_000_000),
        "Microseconds" => Value::Long(ns / 1_000),
        "Nanoseconds" => Value::Long(ns),
        "Abs" => Value::Duration(ns.saturating_abs()),
        "Round" | "Truncate" => return to_multiple(ns, name, arguments),
        _ => return Err(format!("can't evaluate field {name} in type time.Duration")),
    };
    match arguments.len() {
        0 => Ok(value),
        given => Err(format!("wrong number of args for {name}: want 0 got {given}")),
    }
}

fn to_multiple(ns: i64, name: &str, arguments: &[Value]) -> Result<Value, String> {
    let [Value::Duration(unit) | Value::Int(unit) | Value::Long(unit)] = arguments else {
        return Err(format!("wrong number or type of args for {name}: want one time.Duration"));
    };
    if *unit <= 0 {
        return Ok(Value::Duration(ns));
    }
    let rest = ns % unit;
    let down = ns - rest;
    let up = name == "Round" && rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2);
    Ok(Value::Duration(if up { down.saturating_add(unit * ns.signum()) } else { down }))
}
