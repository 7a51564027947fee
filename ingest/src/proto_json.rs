//! Protobuf's JSON form brought into its binary form, after tables of what messages have; with OTLP's exceptions (hex
//! identifiers, enums as numbers). Fields that are not in a table are passed over, and so are those that are null.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Map, Value};

use crate::decoded::DecodeError;

/// What a message has, in the order in which it is written.
pub(crate) type Message = [Field];

/// A field of a message.
#[derive(Debug)]
pub(crate) struct Field {
    /// As JSON has it; with underscores it is taken too.
    name: &'static str,
    number: u32,
    kind: Kind,
}

/// What a field holds.
#[derive(Debug)]
pub(crate) enum Kind {
    Text,
    /// An identifier, as hex digits.
    Hex,
    /// Bytes, as base64.
    Base64,
    Bool,
    /// A whole number, as a number or as text.
    Integer,
    /// `sint32` and `sint64`.
    ZigZag,
    /// `fixed64` and `sfixed64`.
    Fixed64,
    Double,
    /// A number, or one of these names.
    Enum(fn(&str) -> u64),
    One(&'static Message),
    Many(&'static Message),
    Integers,
    Fixed64s,
    Doubles,
}

/// A field of a table.
pub(crate) const fn field(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind }
}

/// Brings a body that is a message into the binary form.
///
/// # Errors
/// `Malformed` when it is no JSON or no such message.
pub(crate) fn to_protobuf(body: &[u8], message: &Message) -> Result<Vec<u8>, DecodeError> {
    let value: Value = serde_json::from_slice(body).map_err(|e| DecodeError::malformed(format!("JSON: {e}")))?;
    let Value::Object(object) = value else { return Err(wrong("the request", "an object")) };
    let mut out = Vec::with_capacity(body.len());
    put_message(&object, message, &mut out)?;
    Ok(out)
}

fn put_message(object: &Map<String, Value>, message: &Message, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let has_underscores = object.keys().any(|key| key.contains('_'));
    for field in message {
        let found = match object.get(field.name) {
            None if has_underscores => {
                object.iter().find(|(key, _)| is_with_underscores(key, field.name)).map(|(_, v)| v)
            }
            found => found,
        };
        if let Some(value) = found.filter(|value| !value.is_null()) {
            put_field(field, value, out)?;
        }
    }
    Ok(())
}

fn put_field(field: &Field, value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let (name, number) = (field.name, field.number);
    match &field.kind {
        Kind::Text => put_bytes(out, number, text(value, name)?.as_bytes()),
        Kind::Hex => put_bytes(out, number, &hex(text(value, name)?).ok_or_else(|| wrong(name, "hex digits"))?),
        Kind::Base64 => {
            let encoded = text(value, name)?.trim_end_matches('=').replace('-', "+").replace('_', "/");
            put_bytes(out, number, &STANDARD_NO_PAD.decode(encoded).map_err(|_| wrong(name, "base64"))?);
        }
        Kind::Bool => {
            let Value::Bool(b) = value else { return Err(wrong(name, "true or false")) };
            put_varint(out, number, u64::from(*b));
        }
        Kind::Integer => put_varint(out, number, integer(value, name)?),
        Kind::ZigZag => {
            let signed = integer(value, name)? as i64;
            put_varint(out, number, (signed << 1 ^ signed >> 63) as u64);
        }
        Kind::Fixed64 => put_fixed64(out, number, integer(value, name)?),
        Kind::Double => put_fixed64(out, number, double(value, name)?.to_bits()),
        Kind::Enum(named) => {
            put_varint(out, number, value.as_str().map_or_else(|| integer(value, name), |text| Ok(named(text)))?);
        }
        Kind::One(message) => {
            let Value::Object(object) = value else { return Err(wrong(name, "an object")) };
            put_nested(object, message, number, out)?;
        }
        Kind::Many(message) => {
            for entry in array(value, name)? {
                let Value::Object(object) = entry else { return Err(wrong(name, "an array of objects")) };
                put_nested(object, message, number, out)?;
            }
        }
        Kind::Integers => {
            let mut packed = Vec::new();
            array(value, name)?.iter().try_for_each(|v| integer(v, name).map(|n| varint(&mut packed, n)))?;
            put_bytes(out, number, &packed);
        }
        Kind::Fixed64s => {
            let packed: Result<Vec<[u8; 8]>, _> =
                array(value, name)?.iter().map(|v| integer(v, name).map(u64::to_le_bytes)).collect();
            put_bytes(out, number, packed?.as_flattened());
        }
        Kind::Doubles => {
            let packed: Result<Vec<[u8; 8]>, _> =
                array(value, name)?.iter().map(|v| double(v, name).map(f64::to_le_bytes)).collect();
            put_bytes(out, number, packed?.as_flattened());
        }
    }
    Ok(())
}

fn put_nested(
    object: &Map<String, Value>,
    message: &Message,
    number: u32,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut inner = Vec::new();
    put_message(object, message, &mut inner)?;
    put_bytes(out, number, &inner);
    Ok(())
}

/// Whether `key` is `name` as protobuf's own files write it: `time_unix_nano` for `timeUnixNano`.
fn is_with_underscores(key: &str, name: &str) -> bool {
    let mut key = key.bytes();
    let is_same = name.bytes().all(|wanted| match key.next() {
        Some(b'_') => key.next().is_some_and(|next| next.to_ascii_uppercase() == wanted),
        next => next == Some(wanted),
    });
    is_same && key.next().is_none()
}

fn array<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], DecodeError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(name, "an array"))
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, DecodeError> {
    value.as_str().ok_or_else(|| wrong(name, "a string"))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
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

fn put_bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    tag(out, number, 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) {
    tag(out, number, 0);
    varint(out, value);
}

fn put_fixed64(out: &mut Vec<u8>, number: u32, bits: u64) {
    tag(out, number, 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    varint(out, u64::from(number << 3 | wire));
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
    use crate::wire::{bytes, double, fixed64, message, number, packed, packed_doubles, packed_fixed64, zigzag};

    static INNER: [Field; 1] = [field("aName", 1, Kind::Text)];
    static OUTER: [Field; 13] = [
        field("text", 1, Kind::Text),
        field("id", 2, Kind::Hex),
        field("raw", 3, Kind::Base64),
        field("isSo", 4, Kind::Bool),
        field("count", 5, Kind::Integer),
        field("offset", 6, Kind::ZigZag),
        field("timeUnixNano", 7, Kind::Fixed64),
        field("value", 8, Kind::Double),
        field("kind", 9, Kind::Enum(|name| if name == "KIND_TWO" { 2 } else { 0 })),
        field("one", 10, Kind::One(&INNER)),
        field("many", 11, Kind::Many(&INNER)),
        field("counts", 12, Kind::Integers),
        field("bounds", 13, Kind::Doubles),
    ];
    static FIXED: [Field; 1] = [field("counts", 1, Kind::Fixed64s)];

    #[test]
    fn every_kind_of_field() {
        let body = br#"{"text":"t","id":"0aFF","raw":"AQI=","is_so":true,"count":"-1","offset":-3,"time_unix_nano":"7",
            "value":"-Infinity","kind":"KIND_TWO","one":{"aName":"x","other":[1]},"many":[{"a_name":"y"},{}],"counts":[1,"300"],
            "bounds":[0.5,"NaN"],"unknown":{"x":1}}"#;
        let expected = [
            bytes(1, "t"),
            bytes(2, [0x0A, 0xFF]),
            bytes(3, [1, 2]),
            number(4, 1),
            number(5, u64::MAX),
            zigzag(6, -3),
            fixed64(7, 7),
            double(8, f64::NEG_INFINITY),
            number(9, 2),
            message(10, [bytes(1, "x")]),
            message(11, [bytes(1, "y")]),
            bytes(11, ""),
            packed(12, [1, 300]),
            packed_doubles(13, [0.5, f64::NAN]),
        ];
        assert_eq!(to_protobuf(body, &OUTER).unwrap(), expected.concat());
        assert_eq!(to_protobuf(br#"{"counts":["1",2]}"#, &FIXED).unwrap(), packed_fixed64(1, [1, 2]));
        assert_eq!(to_protobuf(br#"{"text":null,"kind":9}"#, &OUTER).unwrap(), number(9, 9));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, wanted) in [
            (r#"{"#, "JSON: EOF while parsing an object at line 1 column 1"),
            (r#"[]"#, "JSON: the request must be an object"),
            (r#"{"text":1}"#, "JSON: text must be a string"),
            (r#"{"id":"0a0"}"#, "JSON: id must be hex digits"),
            (r#"{"raw":"!"}"#, "JSON: raw must be base64"),
            (r#"{"isSo":1}"#, "JSON: isSo must be true or false"),
            (r#"{"count":1.5}"#, "JSON: count must be an integer"),
            (r#"{"value":"x"}"#, "JSON: value must be a number"),
            (r#"{"one":[]}"#, "JSON: one must be an object"),
            (r#"{"many":{}}"#, "JSON: many must be an array"),
            (r#"{"many":[1]}"#, "JSON: many must be an array of objects"),
        ] {
            assert_eq!(to_protobuf(body.as_bytes(), &OUTER).unwrap_err().message, wanted);
        }
    }
}
