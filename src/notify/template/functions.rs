//! Alertmanager's functions.

use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use chrono::{NaiveDateTime, Offset, TimeZone};
use query::template::Kind::{Any, Text, Time as Moment};
use query::template::{Arguments, Signature, Time, Value, check_built};

use super::objects::ALERT_FIELDS;
use crate::notify::data::{NO_END, show_time};

/// What templates may call.
pub(super) const ALL: &[&[Signature]] = &[SIGNATURES];

const SIGNATURES: &[Signature] = &[
    ("toUpper", &[Text], None),
    ("toLower", &[Text], None),
    ("title", &[Text], None),
    ("trimSpace", &[Text], None),
    ("join", &[Text, Any], None),
    ("match", &[Text, Text], None),
    ("safeHtml", &[Text], None),
    ("safeUrl", &[Text], None),
    ("urlUnescape", &[Text], None),
    ("reReplaceAll", &[Text, Text, Text], None),
    ("stringSlice", &[], Some(Text)),
    ("routeLabels", &[Text], None),
    ("date", &[Text, Moment], None),
    ("tz", &[Text, Moment], None),
    ("now", &[], None),
    ("since", &[Moment], None),
    ("humanizeDuration", &[Any], None),
    ("toDate", &[Text, Text], None),
    ("mustToDate", &[Text, Text], None),
    ("toJson", &[Any], None),
    ("base64encode", &[Text], None),
    ("base64decode", &[Text], None),
    ("list", &[], Some(Any)),
    ("append", &[Any], Some(Any)),
    ("dict", &[], Some(Any)),
];

/// Calls a function; `now_ms` is when the message was made, so that a second try says the same.
pub(super) fn call(name: &str, values: &[Value], now_ms: i64) -> Result<Value, String> {
    let a = Arguments(values);
    Ok(match name {
        "toUpper" => Value::text(a.text(0).to_uppercase()),
        "toLower" => Value::text(a.text(0).to_lowercase()),
        "title" => Value::text(title(a.text(0))),
        "trimSpace" => Value::text(a.text(0).trim()),
        "join" => Value::text(list_of_texts(a.any(1))?.join(a.text(0))),
        "match" => Value::Bool(regex(a.text(0))?.is_match(a.text(1))),
        "safeHtml" => Value::Html(a.text(0).into()),
        "safeUrl" => Value::text(a.text(0)),
        "urlUnescape" => Value::text(unescape(a.text(0))),
        "reReplaceAll" => Value::text(regex(a.text(0))?.replace_all(a.text(2), a.text(1)).into_owned()),
        "stringSlice" | "list" => built(values.to_vec())?,
        "append" => match a.any(0) {
            Value::List(list) => built(list.iter().chain(values.get(1..).unwrap_or_default()).cloned().collect())?,
            other => return Err(format!("append takes a list, not {}", other.type_name())),
        },
        "dict" => dict(values)?,
        "routeLabels" => Value::text(""),
        "date" => Value::text(a.time(1).format(a.text(0))),
        "tz" => Value::Time(in_zone(a.text(0), a.time(1))?),
        "now" => Value::Time(Time::utc(now_ms.saturating_mul(1_000_000))),
        "since" => Value::Duration(now_ms.saturating_mul(1_000_000).saturating_sub(a.time(0).ns)),
        "humanizeDuration" => Value::text(humanize(a.any(0))?),
        "toDate" => Value::Time(to_date(a.text(0), a.text(1)).unwrap_or_else(|_| Time::utc(i64::MIN))),
        "mustToDate" => Value::Time(to_date(a.text(0), a.text(1))?),
        "toJson" => Value::text(to_json(a.any(0)).to_string()),
        "base64encode" => Value::text(BASE64_URL_SAFE.encode(a.text(0))),
        "base64decode" => {
            let bytes = BASE64_URL_SAFE.decode(a.text(0)).map_err(|error| error.to_string())?;
            Value::text(String::from_utf8_lossy(&bytes).into_owned())
        }
        other => return Err(format!("function {other:?} not defined")),
    })
}

fn built(values: Vec<Value>) -> Result<Value, String> {
    check_built(&values)?;
    Ok(Value::List(Rc::new(values)))
}

fn dict(values: &[Value]) -> Result<Value, String> {
    if !values.len().is_multiple_of(2) {
        return Err("dict takes names and values by turns: an even number of them".to_owned());
    }
    check_built(values)?;
    let mut map = BTreeMap::new();
    for pair in values.chunks_exact(2) {
        let [Value::Text(name), value] = pair else { return Err("the names of a dict must be texts".to_owned()) };
        map.insert(name.to_string(), value.clone());
    }
    Ok(Value::Map(Rc::new(map)))
}

fn list_of_texts(value: &Value) -> Result<Vec<String>, String> {
    let content = if let Value::Object(object) = value { object.content() } else { value.clone() };
    let Value::List(list) = content else { return Err(format!("join takes a list, not {}", value.type_name())) };
    let text = |item: &Value| match item {
        Value::Text(text) | Value::Html(text) => Ok(text.to_string()),
        other => Err(format!("join takes a list of texts, not of {}", other.type_name())),
    };
    list.iter().map(text).collect()
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::Regex::new(pattern).map_err(|_| format!("{pattern:?} is no regular expression"))
}

/// Every word with a capital, and the rest of it small.
fn title(text: &str) -> String {
    let mut in_word = false;
    text.chars()
        .flat_map(|c| {
            let begins = !in_word;
            in_word = c.is_alphanumeric() || (in_word && c == '\'');
            let cased: Vec<char> = if begins { c.to_uppercase().collect() } else { c.to_lowercase().collect() };
            cased
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let pair = format!("x={}", text.replace('&', "%26"));
    url::form_urlencoded::parse(pair.as_bytes()).next().map_or_else(String::new, |(_, value)| value.into_owned())
}

fn in_zone(name: &str, time: &Time) -> Result<Time, String> {
    let zone: chrono_tz::Tz = name.parse().map_err(|_| format!("unknown time zone {name}"))?;
    let utc = chrono::DateTime::from_timestamp_nanos(time.ns).naive_utc();
    let there = zone.from_utc_datetime(&utc);
    Ok(Time { ns: time.ns, offset: there.offset().fix().local_minus_utc(), zone: there.format("%Z").to_string() })
}

/// The layouts that name a whole day, or a day and a time.
fn to_date(layout: &str, text: &str) -> Result<Time, String> {
    let format =
        [("2006", "%Y"), ("01", "%m"), ("02", "%d"), ("15", "%H"), ("04", "%M"), ("05", "%S"), ("Z07:00", "%:z")];
    let format = format.iter().fold(layout.to_owned(), |format, (go, ours)| format.replace(go, ours));
    let bad = || format!("parsing time {text:?} as {layout:?}: it does not fit");
    if format.contains("%:z") {
        let time = chrono::DateTime::parse_from_str(&text.replace('Z', "+00:00"), &format).map_err(|_| bad())?;
        return Ok(Time::utc(time.timestamp_nanos_opt().ok_or_else(bad)?));
    }
    let with_time = NaiveDateTime::parse_from_str(text, &format);
    let time = with_time.or_else(|_| chrono::NaiveDate::parse_from_str(text, &format).map(NaiveDateTime::from));
    Ok(Time::utc(time.map_err(|_| bad())?.and_utc().timestamp_nanos_opt().ok_or_else(bad)?))
}

/// Seconds as people say them: `1h 2m 3s`, `12.5s`, `3ms`.
fn humanize(value: &Value) -> Result<String, String> {
    let seconds = match value {
        Value::Int(number) | Value::Long(number) => *number as f64,
        Value::Float(number) => *number,
        Value::Duration(ns) => *ns as f64 / 1e9,
        Value::Text(text) => text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?,
        other => return Err(format!("humanizeDuration takes seconds, not {}", other.type_name())),
    };
    if !seconds.is_finite() {
        return Ok(seconds.to_string());
    }
    let (sign, size) = (if seconds < 0.0 { "-" } else { "" }, seconds.abs());
    if size == 0.0 {
        return Ok("0s".to_owned());
    }
    if size < 1.0 {
        let (unit, factor) = [("ms", 1e3), ("us", 1e6), ("ns", 1e9)]
            .into_iter()
            .find(|(_, factor)| size * factor >= 1.0)
            .unwrap_or(("ns", 1e9));
        return Ok(format!("{sign}{}{unit}", four_digits(size * factor)));
    }
    let whole = size as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    Ok(match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(size)),
        (0, 0, _) => format!("{sign}{minutes}m {}s", whole % 60),
        (0, ..) => format!("{sign}{hours}h {minutes}m {}s", whole % 60),
        _ => format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60),
    })
}

fn four_digits(number: f64) -> String {
    let digits = 3 - (number.log10().floor() as i32).clamp(0, 3);
    let text = format!("{number:.*}", digits.unsigned_abs() as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil | Value::Labels => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) | Value::Long(value) | Value::Duration(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::Text(text) | Value::Html(text) => (**text).into(),
        Value::Time(time) if time.ns == i64::MIN => NO_END.into(),
        Value::Time(time) => show_time(time.ns / 1_000_000).into(),
        Value::Texts(map) => serde_json::json!(**map),
        Value::Map(map) => map.iter().map(|(name, value)| (name.clone(), to_json(value))).collect(),
        Value::List(list) => list.iter().map(to_json).collect::<Vec<_>>().into(),
        Value::Object(object) => match object.type_name() {
            "template.Alert" => {
                let member = |name: &str| object.member(name, &[]).and_then(Result::ok).unwrap_or(Value::Nil);
                ALERT_FIELDS.iter().map(|name| (small_first(name), to_json(&member(name)))).collect()
            }
            "template.Pair" => serde_json::Value::Null,
            _ => match object.content() {
                Value::Nil => object.show().into(),
                content => to_json(&content),
            },
        },
    }
}

fn small_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said() {
        for (seconds, said) in [
            (0.0, "0s"),
            (0.0031, "3.1ms"),
            (12.5, "12.5s"),
            (61.0, "1m 1s"),
            (-3_661.0, "-1h 1m 1s"),
            (90_061.0, "1d 1h 1m 1s"),
        ] {
            assert_eq!(humanize(&Value::Float(seconds)).unwrap(), said);
        }
    }

    #[test]
    fn texts_are_changed() {
        assert_eq!(title("hIGH cpu-load isn't"), "High Cpu-Load Isn't");
        assert_eq!(unescape("a%20b+c&d"), "a b c&d");
        let time = to_date("2006-01-02 15:04", "2026-11-28 12:30").unwrap();
        assert_eq!(in_zone("Europe/Berlin", &time).unwrap().format("15:04 MST"), "13:30 CET");
        assert!(to_date("2006-01-02", "x").is_err());
    }
}
