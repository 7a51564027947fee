//! OTLP's `AnyValue` and `KeyValue`, read in place.

use std::borrow::Cow;
use std::fmt::Write as _;

use storage::Value;

use crate::decoded::DecodeError;
use crate::protobuf::Fields;

/// An `AnyValue`; arrays and maps are still packed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Any<'a> {
    Empty,
    Str(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(&'a [u8]),
    Map(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> Any<'a> {
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let mut any = Self::Empty;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            any = match field {
                1 => Self::Str(value.bytes()?),
                2 => Self::Bool(value.number()? != 0),
                3 => Self::Int(value.number()? as i64),
                4 => Self::Double(f64::from_bits(value.number()?)),
                5 => Self::Array(value.bytes()?),
                6 => Self::Map(value.bytes()?),
                7 => Self::Bytes(value.bytes()?),
                _ => any,
            };
        }
        Ok(any)
    }

    /// As text: strings as they are, everything else as JSON would have it.
    pub(crate) fn text(self, nesting: usize) -> Result<Cow<'a, str>, DecodeError> {
        Ok(match self {
            Self::Empty => Cow::Borrowed(""),
            Self::Str(s) => String::from_utf8_lossy(s),
            Self::Bool(b) => Cow::Borrowed(if b { "true" } else { "false" }),
            Self::Int(i) => Cow::Owned(i.to_string()),
            Self::Double(d) => Cow::Owned(Value::Double(d).to_string()),
            Self::Bytes(b) => Cow::Owned(Value::Bytes(b).to_string()),
            Self::Array(_) | Self::Map(_) => {
                let mut json = String::new();
                self.json(&mut json, nesting)?;
                Cow::Owned(json)
            }
        })
    }

    fn json(self, out: &mut String, nesting: usize) -> Result<(), DecodeError> {
        if nesting == 0 {
            return Err(DecodeError::malformed("a value is nested too deeply"));
        }
        match self {
            Self::Empty => out.push_str("null"),
            Self::Str(s) => json_string(&String::from_utf8_lossy(s), out),
            Self::Bytes(b) => json_string(&Value::Bytes(b).to_string(), out),
            Self::Double(d) if !d.is_finite() => json_string(&Value::Double(d).to_string(), out),
            Self::Bool(_) | Self::Int(_) | Self::Double(_) => out.push_str(&self.text(1)?),
            Self::Array(packed) => {
                out.push('[');
                let mut fields = Fields::of(packed);
                let mut comma = "";
                while let Some((field, value)) = fields.next()? {
                    if field == 1 {
                        out.push_str(comma);
                        Any::read(value.bytes()?)?.json(out, nesting - 1)?;
                        comma = ",";
                    }
                }
                out.push(']');
            }
            Self::Map(packed) => {
                out.push('{');
                let mut comma = "";
                each_pair(packed, 1, |key, value| {
                    out.push_str(comma);
                    json_string(&String::from_utf8_lossy(key), out);
                    out.push(':');
                    comma = ",";
                    value.json(out, nesting - 1)
                })?;
                out.push('}');
            }
        }
        Ok(())
    }
}

fn json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Calls `take` with each `KeyValue` in field `wanted` of a message.
pub(crate) fn each_pair<'a>(
    message: &'a [u8],
    wanted: u32,
    mut take: impl FnMut(&'a [u8], Any<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        if field == wanted {
            let (key, any) = pair(value.bytes()?)?;
            take(key, any)?;
        }
    }
    Ok(())
}

/// A `KeyValue`.
pub(crate) fn pair(message: &[u8]) -> Result<(&[u8], Any<'_>), DecodeError> {
    let (mut key, mut any): (&[u8], _) = (b"", Any::Empty);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => key = value.bytes()?,
            2 => any = Any::read(value.bytes()?)?,
            _ => {}
        }
    }
    Ok((key, any))
}
