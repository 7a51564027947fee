//! OTLP in JSON: the protobuf JSON mapping with OTLP's exceptions. A body is brought into the protobuf form and decoded as
//! such, so that both mean the same.

use crate::decoded::{DecodeError, Decoded};
use crate::limits::Limits;
use crate::otlp_logs;
use crate::proto_json::{Field, Kind, field, to_protobuf};

/// Decodes a request of logs. `now_ns` is the arrival time, for records that have none.
///
/// # Errors
/// `Malformed` when the body is no JSON or no such message; then nothing of it is taken.
pub fn decode(body: &[u8], limits: &Limits, now_ns: i64) -> Result<Decoded, DecodeError> {
    otlp_logs::decode(&to_protobuf(body, &REQUEST)?, limits, now_ns)
}

static REQUEST: [Field; 1] = [field("resourceLogs", 1, Kind::Many(&RESOURCE_LOGS))];

static RESOURCE_LOGS: [Field; 2] =
    [field("resource", 1, Kind::One(&RESOURCE)), field("scopeLogs", 2, Kind::Many(&SCOPE_LOGS))];

static SCOPE_LOGS: [Field; 2] = [field("scope", 1, Kind::One(&SCOPE)), field("logRecords", 2, Kind::Many(&LOG_RECORD))];

static LOG_RECORD: [Field; 11] = [
    field("timeUnixNano", 1, Kind::Integer),
    field("severityNumber", 2, Kind::Enum(severity)),
    field("severityText", 3, Kind::Text),
    field("body", 5, Kind::One(&ANY)),
    field("attributes", 6, Kind::Many(&KEY_VALUE)),
    field("droppedAttributesCount", 7, Kind::Integer),
    field("flags", 8, Kind::Integer),
    field("traceId", 9, Kind::Hex),
    field("spanId", 10, Kind::Hex),
    field("observedTimeUnixNano", 11, Kind::Integer),
    field("eventName", 12, Kind::Text),
];

/// What all signals have.
pub(crate) static RESOURCE: [Field; 1] = [field("attributes", 1, Kind::Many(&KEY_VALUE))];

/// What all signals have.
pub(crate) static SCOPE: [Field; 4] = [
    field("name", 1, Kind::Text),
    field("version", 2, Kind::Text),
    field("attributes", 3, Kind::Many(&KEY_VALUE)),
    field("droppedAttributesCount", 4, Kind::Integer),
];

/// An attribute.
pub(crate) static KEY_VALUE: [Field; 2] = [field("key", 1, Kind::Text), field("value", 2, Kind::One(&ANY))];

static ANY: [Field; 7] = [
    field("stringValue", 1, Kind::Text),
    field("boolValue", 2, Kind::Bool),
    field("intValue", 3, Kind::Integer),
    field("doubleValue", 4, Kind::Double),
    field("arrayValue", 5, Kind::One(&ARRAY)),
    field("kvlistValue", 6, Kind::One(&KEY_VALUE_LIST)),
    field("bytesValue", 7, Kind::Base64),
];

static ARRAY: [Field; 1] = [field("values", 1, Kind::Many(&ANY))];

static KEY_VALUE_LIST: [Field; 1] = [field("values", 1, Kind::Many(&KEY_VALUE))];

/// `SEVERITY_NUMBER_WARN2` and the like.
fn severity(name: &str) -> u64 {
    const NAMES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    if let Ok(number) = name.parse() {
        return number;
    }
    let short = name.strip_prefix("SEVERITY_NUMBER_").unwrap_or_default();
    let base = short.trim_end_matches(|c: char| c.is_ascii_digit());
    let step: u64 = short.strip_prefix(base).and_then(|digit| digit.parse().ok()).unwrap_or(1);
    NAMES.iter().position(|n| *n == base).map_or(0, |at| at as u64 * 4 + step)
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
