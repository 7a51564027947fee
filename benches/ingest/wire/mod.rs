//! Protobuf on the wire, as far as the benches write it.
#![allow(dead_code, reason = "each bench uses what it needs")]

pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn number(out: &mut Vec<u8>, field: u64, number: u64) {
    varint(out, field << 3);
    varint(out, number);
}

pub(crate) fn fixed64(out: &mut Vec<u8>, field: u64, number: u64) {
    varint(out, field << 3 | 1);
    out.extend(number.to_le_bytes());
}

pub(crate) fn double(out: &mut Vec<u8>, field: u64, number: f64) {
    fixed64(out, field, number.to_bits());
}

pub(crate) fn bytes(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

/// Two text fields, 1 and 2.
pub(crate) fn pair(name: &str, value: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, value.as_bytes());
    out
}

/// OTLP's KeyValue with a text.
pub(crate) fn key_value(name: &str, value: &str) -> Vec<u8> {
    let mut any = Vec::new();
    bytes(&mut any, 1, value.as_bytes());
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, &any);
    out
}
