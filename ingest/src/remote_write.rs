//! Prometheus's remote write 1.0: `prometheus.WriteRequest` as a snappy block, walked in place.
//!
//! A series whose labels are none (no name, a name twice, no UTF-8) is refused alone, and so is a sample or histogram that
//! makes no sense. Numbers keep their bits, so that stale markers go through. [`v2`] is the protocol's next version.

pub mod v2;

use storage::metrics::MetricKind;

use crate::decoded::{DecodeError, DecodedMetrics};
use crate::gather::Gather;
use crate::limits::Limits;
use crate::native;
use crate::protobuf::Fields;
use crate::snappy;

/// Decodes a request. `now_ns` is the arrival time, for exemplars of series without a sample that have no time.
///
/// # Errors
/// `Malformed` when it is no such message, `TooLarge` when it unpacks to too much; then nothing of it is taken.
pub fn decode(body: &[u8], limits: &Limits, now_ns: i64) -> Result<DecodedMetrics, DecodeError> {
    decode_message(&snappy::unpack(body, limits)?, limits, now_ns)
}

/// Decodes a request that is unpacked already: see [`decode`].
///
/// # Errors
/// As [`decode`].
pub fn decode_message(message: &[u8], limits: &Limits, now_ns: i64) -> Result<DecodedMetrics, DecodeError> {
    // A series of one sample and eight labels takes about 250 bytes.
    let mut gather = Gather::new(limits, message.len() / 200, message.len() - message.len() / 8);
    let mut position = 0;
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => {
                time_series(&mut gather, value.bytes()?, position, now_ns)?;
                position += 1;
            }
            3 => metadata(&mut gather, value.bytes()?)?,
            _ => {}
        }
    }
    gather.finish()
}

fn time_series(gather: &mut Gather<'_>, message: &[u8], position: usize, now_ns: i64) -> Result<(), DecodeError> {
    gather.begin_series();
    let mut fields = Fields::of(message);
    while let Some((name, value)) = fields.next_short_pair() {
        gather.label(name, value);
    }
    // Labels come first, but nothing says that they must.
    let mut rest = fields;
    let mut labels_are_first = true;
    while let Some((field, value)) = fields.next()? {
        if field == 1 {
            let (name, value) = label(value.bytes()?)?;
            gather.label(name, value);
            if labels_are_first {
                rest = fields;
            }
        } else {
            labels_are_first = false;
        }
    }
    if labels_are_first {
        // It has no sample.
        return Ok(());
    }
    match gather.end_series() {
        Ok(series) => samples(gather, rest, position, series, now_ns / 1_000_000),
        Err(why) => {
            let mut samples = 0;
            while let Some((field, _)) = rest.next()? {
                samples += usize::from(matches!(field, 2 | 4));
            }
            gather.refuse(position, samples, why);
            Ok(())
        }
    }
}

fn samples(
    gather: &mut Gather<'_>,
    mut fields: Fields<'_>,
    position: usize,
    series: u32,
    now: i64,
) -> Result<(), DecodeError> {
    let mut last = now;
    while let Some((field, value)) = fields.next()? {
        gather.check_size()?;
        match field {
            2 => {
                let (value, time) = sample(value.bytes()?)?;
                gather.sample(position, series, time, value, 0);
                last = time;
            }
            3 => exemplar(gather, value.bytes()?, position, series, last)?,
            4 => match native::read(value.bytes()?)? {
                Ok(read) => {
                    last = read.time;
                    gather.histogram(position, series, read.time, read.start, read.histogram);
                }
                Err(why) => gather.refuse(position, 1, why),
            },
            _ => {}
        }
    }
    Ok(())
}

/// A `Label`: its name and its value.
pub(crate) fn label(message: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (mut name, mut content): (&[u8], &[u8]) = (b"", b"");
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => name = value.bytes()?,
            2 => content = value.bytes()?,
            _ => {}
        }
    }
    Ok((name, content))
}

#[inline]
fn sample(message: &[u8]) -> Result<(f64, i64), DecodeError> {
    let (mut number, mut time) = (0.0, 0);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => number = value.double()?,
            2 => time = value.number()? as i64,
            _ => {}
        }
    }
    Ok((number, time))
}

fn exemplar(
    gather: &mut Gather<'_>,
    message: &[u8],
    position: usize,
    series: u32,
    now: i64,
) -> Result<(), DecodeError> {
    let (mut labels, mut number, mut time) = (Vec::new(), 0.0, 0);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            // One more than may be is enough to refuse it.
            1 if labels.len() <= gather.limits.series_labels_max => labels.push(label(value.bytes()?)?),
            2 => number = value.double()?,
            3 => time = value.number()? as i64,
            _ => {}
        }
    }
    gather.exemplar(position, series, if time == 0 { now } else { time }, number, &labels);
    Ok(())
}

fn metadata(gather: &mut Gather<'_>, message: &[u8]) -> Result<(), DecodeError> {
    let (mut kind, mut name, mut help, mut unit): (_, &[u8], &[u8], &[u8]) = (MetricKind::Unknown, b"", b"", b"");
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => kind = MetricKind::from_u8(u8::try_from(value.number()?).unwrap_or_default()),
            2 => name = value.bytes()?,
            4 => help = value.bytes()?,
            5 => unit = value.bytes()?,
            _ => {}
        }
    }
    gather.metadata(name, kind, help, unit);
    gather.check_size()
}

#[cfg(test)]
mod tests;
