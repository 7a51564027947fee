//! Walks protobuf messages in place: fields borrow from the body, unknown ones are passed over.

use crate::decoded::DecodeError;

/// A field's value, as the wire has it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Wire<'a> {
    #[inline]
    pub(crate) fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(DecodeError::malformed("proto: wrong wire type for a length-delimited field")),
        }
    }

    /// Any number as 64 bits.
    #[inline]
    pub(crate) fn number(self) -> Result<u64, DecodeError> {
        match self {
            Self::Varint(n) | Self::Fixed64(n) => Ok(n),
            Self::Fixed32(n) => Ok(u64::from(n)),
            Self::Bytes(_) => Err(DecodeError::malformed("proto: wrong wire type for a number")),
        }
    }

    #[inline]
    pub(crate) fn double(self) -> Result<f64, DecodeError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(DecodeError::malformed("proto: wrong wire type for a double")),
        }
    }

    /// `sint32` and `sint64`.
    pub(crate) fn zigzag(self) -> Result<i64, DecodeError> {
        Ok(unzigzag(self.number()?))
    }

    /// Of a repeated number: each one of a packed run, or the one that came alone.
    pub(crate) fn each_varint(self, mut take: impl FnMut(u64)) -> Result<(), DecodeError> {
        match self {
            Self::Bytes(packed) => {
                let mut run = Fields::of(packed);
                while !run.rest.is_empty() {
                    take(run.varint()?);
                }
            }
            one => take(one.number()?),
        }
        Ok(())
    }

    /// As [`Wire::each_varint`], of 64-bit numbers and doubles.
    pub(crate) fn each_fixed64(self, mut take: impl FnMut(u64)) -> Result<(), DecodeError> {
        match self {
            Self::Bytes(packed) => {
                let mut run = Fields::of(packed);
                while !run.rest.is_empty() {
                    take(u64::from_le_bytes(run.array()?));
                }
            }
            Self::Fixed64(one) => take(one),
            _ => return Err(DecodeError::malformed("proto: wrong wire type for a 64-bit number")),
        }
        Ok(())
    }
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The fields of a message, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message, whole: message.len() }
    }

    /// The next field: its number and value; `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).ok().filter(|&f| f != 0).ok_or_else(|| self.bad("illegal tag"))?;
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(self.bad(&format!("illegal wireType {other}"))),
        };
        Ok(Some((field, value)))
    }

    /// The next field if it is number 1 and holds two texts, 1 and 2, all shorter than 128 bytes: a label as every sender
    /// writes it.
    #[inline]
    pub(crate) fn next_short_pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let [0x0A, pair_bytes @ 0..=0x7F, 0x0A, name_bytes @ 0..=0x7F, rest @ ..] = self.rest else { return None };
        let (name, rest) = rest.split_at_checked(usize::from(*name_bytes))?;
        let [0x12, value_bytes @ 0..=0x7F, rest @ ..] = rest else { return None };
        let (value, rest) = rest.split_at_checked(usize::from(*value_bytes))?;
        if usize::from(*pair_bytes) != name.len() + value.len() + 4 {
            return None;
        }
        self.rest = rest;
        Some((name, value))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let Some((&byte, rest)) = self.rest.split_first() else { return Err(self.bad("unexpected EOF")) };
            self.rest = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.bad("integer overflow"))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.bad("unexpected EOF"))?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::malformed("proto: unexpected EOF"))
    }

    #[cold]
    fn bad(&self, what: &str) -> DecodeError {
        DecodeError::malformed(format!(
            "proto: {what} at byte {} of a message of {}",
            self.whole - self.rest.len(),
            self.whole
        ))
    }
}
