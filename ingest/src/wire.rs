//! Protobuf on the wire, written by hand: for tests.

pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field that is a varint.
pub(crate) fn number(field: u64, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, field << 3);
    varint(&mut out, number);
    out
}

/// A field that is a `sint32` or `sint64`.
pub(crate) fn zigzag(field: u64, signed: i64) -> Vec<u8> {
    number(field, (signed << 1 ^ signed >> 63) as u64)
}

/// A field of 64 bits.
pub(crate) fn fixed64(field: u64, number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, field << 3 | 1);
    out.extend(number.to_le_bytes());
    out
}

/// A field that is a double.
pub(crate) fn double(field: u64, number: f64) -> Vec<u8> {
    fixed64(field, number.to_bits())
}

/// A field of bytes: a text, or a message.
pub(crate) fn bytes(field: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut out = Vec::new();
    varint(&mut out, field << 3 | 2);
    varint(&mut out, content.len() as u64);
    out.extend(content);
    out
}

/// A field that is a message of fields.
#[allow(clippy::needless_pass_by_value, reason = "the fields are made in place")]
pub(crate) fn message<const N: usize>(field: u64, fields: [Vec<u8>; N]) -> Vec<u8> {
    bytes(field, fields.concat())
}

/// A field of packed varints.
pub(crate) fn packed(field: u64, numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut out = Vec::new();
    numbers.into_iter().for_each(|number| varint(&mut out, number));
    bytes(field, out)
}

/// A field of packed 64-bit numbers.
pub(crate) fn packed_fixed64(field: u64, numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    bytes(field, numbers.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<u8>>())
}

/// A field of packed doubles.
pub(crate) fn packed_doubles(field: u64, numbers: impl IntoIterator<Item = f64>) -> Vec<u8> {
    packed_fixed64(field, numbers.into_iter().map(f64::to_bits))
}
