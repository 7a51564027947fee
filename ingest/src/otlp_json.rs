//! OTLP logs, JSON: the protobuf JSON mapping with OTLP's exceptions (hex identifiers, integer enums). The body is brought
//! into the protobuf form and decoded by [`crate::otlp_logs`], so that both mean the same.

use serde_json::{Map, Value};

use crate::decoded::{DecodeError, Decoded};
use crate::limits::Limits;
use crate::otlp_logs;

/// Decodes a request. `now_ns` is the arrival time, for records that have none.
///
/// # Errors
/// `Malformed` when the body is no JSON or no such message; then nothing of it is taken.
pub fn decode(body: &[u8], limits: &Limits, now_ns: i64) -> Result<Decoded, DecodeError> {
    let value: Value = serde_json::from_slice(body).map_err(|e| DecodeError::malformed(format!("JSON: {e}")))?;
    let Value::Object(request) = value else {
        return Err(DecodeError::malformed("JSON: the request must be an object"));
    };
    let mut out = Vec::with_capacity(body.len());
    each(&request, ["resourceLogs", "resource_logs"], "resourceLogs", |entry| {
        message(&mut out, 1, |out| resource_logs(entry, out))
    })?;
    otlp_logs::decode(&out, limits, now_ns)
}

type Object = Map<String, Value>;

fn resource_logs(entry: &Object, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if let Some(resource) = object(entry, ["resource", "resource"])? {
        message(out, 1, |out| attributes(resource, 1, out))?;
    }
    each(entry, ["scopeLogs", "scope_logs"], "scopeLogs", |scope_logs| {
        message(out, 2, |out| {
            if let Some(scope) = object(scope_logs, ["scope", "scope"])? {
                message(out, 1, |out| {
                    text(scope, ["name", "name"], 1, out)?;
                    text(scope, ["version", "version"], 2, out)?;
                    attributes(scope, 3, out)?;
                    number(scope, ["droppedAttributesCount", "dropped_attributes_count"], 4, out)
                })?;
            }
            each(scope_logs, ["logRecords", "log_records"], "logRecords", |record| {
                message(out, 2, |out| log_record(record, out))
            })
        })
    })
}

fn log_record(record: &Object, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    number(record, ["timeUnixNano", "time_unix_nano"], 1, out)?;
    severity(record, out)?;
    text(record, ["severityText", "severity_text"], 3, out)?;
    if let Some(body) = get(record, ["body", "body"]) {
        message(out, 5, |out| any(body, out))?;
    }
    attributes(record, 6, out)?;
    number(record, ["droppedAttributesCount", "dropped_attributes_count"], 7, out)?;
    number(record, ["flags", "flags"], 8, out)?;
    identifier(record, ["traceId", "trace_id"], 9, out)?;
    identifier(record, ["spanId", "span_id"], 10, out)?;
    number(record, ["observedTimeUnixNano", "observed_time_unix_nano"], 11, out)?;
    text(record, ["eventName", "event_name"], 12, out)
}

fn attributes(of: &Object, field: u32, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    each(of, ["attributes", "attributes"], "attributes", |pair| message(out, field, |out| key_value(pair, out)))
}

fn key_value(pair: &Object, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    text(pair, ["key", "key"], 1, out)?;
    match get(pair, ["value", "value"]) {
        Some(value) => message(out, 2, |out| any(value, out)),
        None => Ok(()),
    }
}

fn any(value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let Value::Object(value) = value else { return Err(wrong("value", "an object")) };
    let Some((kind, content)) = value.iter().find(|(_, content)| !content.is_null()) else { return Ok(()) };
    match kind.as_str() {
        "stringValue" | "string_value" => bytes(out, 1, string(content, kind)?.as_bytes()),
        "boolValue" | "bool_value" => {
            let Value::Bool(b) = content else { return Err(wrong(kind, "true or false")) };
            tag(out, 2, 0);
            varint(out, u64::from(*b));
        }
        "intValue" | "int_value" => {
            tag(out, 3, 0);
            varint(out, integer(content, kind)?);
        }
        "doubleValue" | "double_value" => {
            tag(out, 4, 1);
            out.extend_from_slice(&double(content, kind)?.to_le_bytes());
        }
        "arrayValue" | "array_value" => {
            let Value::Object(array) = content else { return Err(wrong(kind, "an object")) };
            message(out, 5, |out| match array.get("values") {
                Some(Value::Array(values)) => values.iter().try_for_each(|v| message(out, 1, |out| any(v, out))),
                None | Some(Value::Null) => Ok(()),
                Some(_) => Err(wrong("values", "an array")),
            })?;
        }
        "kvlistValue" | "kvlist_value" => {
            let Value::Object(list) = content else { return Err(wrong(kind, "an object")) };
            message(out, 6, |out| {
                each(list, ["values", "values"], "values", |pair| message(out, 1, |out| key_value(pair, out)))
            })?;
        }
        "bytesValue" | "bytes_value" => {
            use base64::Engine as _;
            let encoded = string(content, kind)?.trim_end_matches('=').replace('-', "+").replace('_', "/");
            let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
            bytes(out, 7, &engine.decode(encoded).map_err(|_| wrong(kind, "base64"))?);
        }
        _ => {}
    }
    Ok(())
}

fn severity(record: &Object, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    const NAMES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    let key = ["severityNumber", "severity_number"];
    if let Some(Value::String(name)) = get(record, key)
        && let Some(short) = name.strip_prefix("SEVERITY_NUMBER_")
    {
        let base = short.trim_end_matches(|c: char| c.is_ascii_digit());
        let step: u64 = short.strip_prefix(base).and_then(|digit| digit.parse().ok()).unwrap_or(1);
        let at = NAMES.iter().position(|n| *n == base);
        tag(out, 2, 0);
        varint(out, at.map_or(0, |at| at as u64 * 4 + step));
        return Ok(());
    }
    number(record, key, 2, out)
}

fn get<'a>(of: &'a Object, names: [&str; 2]) -> Option<&'a Value> {
    names.iter().find_map(|name| of.get(*name)).filter(|value| !value.is_null())
}

fn object<'a>(of: &'a Object, names: [&str; 2]) -> Result<Option<&'a Object>, DecodeError> {
    match get(of, names) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(wrong(names[0], "an object")),
    }
}

fn each(
    of: &Object,
    names: [&str; 2],
    name: &str,
    mut take: impl FnMut(&Object) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    match get(of, names) {
        None => Ok(()),
        Some(Value::Array(entries)) => entries.iter().try_for_each(|entry| match entry {
            Value::Object(entry) => take(entry),
            _ => Err(wrong(name, "an array of objects")),
        }),
        Some(_) => Err(wrong(name, "an array")),
    }
}

fn text(of: &Object, names: [&str; 2], field: u32, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if let Some(value) = get(of, names) {
        bytes(out, field, string(value, names[0])?.as_bytes());
    }
    Ok(())
}

fn number(of: &Object, names: [&str; 2], field: u32, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if let Some(value) = get(of, names) {
        tag(out, field, 0);
        varint(out, integer(value, names[0])?);
    }
    Ok(())
}

fn identifier(of: &Object, names: [&str; 2], field: u32, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let Some(value) = get(of, names) else { return Ok(()) };
    let hex = string(value, names[0])?;
    let digits: Option<Vec<u8>> = hex.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|d| d.len() % 2 == 0).ok_or_else(|| wrong(names[0], "hex digits"))?;
    bytes(out, field, &digits.chunks_exact(2).map(|two| two[0] << 4 | two[1]).collect::<Vec<u8>>());
    Ok(())
}

fn string<'a>(value: &'a Value, name: &str) -> Result<&'a str, DecodeError> {
    value.as_str().ok_or_else(|| wrong(name, "a string"))
}

/// 64-bit integers come as strings or as numbers.
fn integer(value: &Value, name: &str) -> Result<u64, DecodeError> {
    let of_text = |text: &str| text.parse().ok().or_else(|| text.parse::<i64>().ok().map(|i| i as u64));
    let found = match value {
        Value::Number(n) => {
            let whole = |d: f64| (d.fract() == 0.0 && d.abs() < 9.0e18).then_some(d as i64 as u64);
            n.as_u64().or_else(|| n.as_i64().map(|i| i as u64)).or_else(|| n.as_f64().and_then(whole))
        }
        Value::String(text) => of_text(text),
        _ => None,
    };
    found.ok_or_else(|| wrong(name, "an integer"))
}

fn double(value: &Value, name: &str) -> Result<f64, DecodeError> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            other => other.parse().ok(),
        },
        _ => None,
    }
    .ok_or_else(|| wrong(name, "a number"))
}

fn wrong(name: &str, wanted: &str) -> DecodeError {
    DecodeError::malformed(format!("JSON: {name} must be {wanted}"))
}

fn message(
    out: &mut Vec<u8>,
    field: u32,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut inner = Vec::new();
    fill(&mut inner)?;
    bytes(out, field, &inner);
    Ok(())
}

fn bytes(out: &mut Vec<u8>, field: u32, content: &[u8]) {
    tag(out, field, 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn tag(out: &mut Vec<u8>, field: u32, wire: u32) {
    varint(out, u64::from(field << 3 | wire));
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use storage::Level;

    fn attributes_of(json: &str) -> Vec<String> {
        let decoded = decode(json.as_bytes(), &Limits::default(), 99).unwrap();
        assert!(decoded.refused.is_empty(), "{:?}", decoded.refused);
        let batch = decoded.batch;
        batch.attributes(0).map(|(key, value)| format!("{}={value}", batch.keys()[key as usize])).collect()
    }

    #[test]
    fn every_kind_of_value_survives() {
        let record = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}},{"key":"host.name","value":{"stringValue":"h"}}]},
            "scopeLogs":[{"scope":{"name":"lib"},"logRecords":[{"timeUnixNano":"5","observedTimeUnixNano":7,"severityNumber":17,"traceId":"5B8EFFF798038103D269B633813FC60C",
            "body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"boolValue":true},{}]}}}]}},
            "attributes":[{"key":"i.x","value":{"intValue":"-5"}},{"key":"d","value":{"doubleValue":0.5}},{"key":"b","value":{"bytesValue":"AQI="}},
            {"key":"m","value":{"kvlistValue":{"values":[{"key":"n.o","value":{"stringValue":"p"}}]}}},{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"q\""}]}}}],
            "unknown":{"x":[1]}}]}]}]}"#;
        assert_eq!(
            attributes_of(record),
            [
                "i_x=-5",
                "d=0.5",
                "b=AQI=",
                "m_n_o=p",
                r#"l=["q\""]"#,
                "scope_name=lib",
                "severity_number=17",
                "trace_id=5b8efff798038103d269b633813fc60c"
            ]
        );
        let batch = decode(record.as_bytes(), &Limits::default(), 99).unwrap().batch;
        assert_eq!(batch.message(0), r#"{"a":[1,true,null]}"#);
        assert_eq!((batch.timestamps(), batch.observed(), batch.level(0)), (&[5][..], &[7][..], Level::Error));
        assert_eq!(batch.streams()[0].labels().to_string(), r#"{service_name="s"}"#);
        assert_eq!(batch.streams()[0].resource().to_string(), r#"{host_name="h"}"#);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, part) in [
            ("{", "JSON"),
            ("[]", "object"),
            (r#"{"resourceLogs":5}"#, "resourceLogs must be an array"),
            (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"xyz"}]}]}]}"#, "traceId"),
            (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"aabb"}]}]}]}"#, "trace_id has 2 bytes"),
            (r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"soon"}]}]}]}"#, "timeUnixNano"),
        ] {
            let error = decode(body.as_bytes(), &Limits::default(), 1).unwrap_err();
            assert!(error.message.contains(part), "{body}: {error}");
        }
        assert!(decode(b"{}", &Limits::default(), 1).unwrap().batch.is_empty());
    }
}
