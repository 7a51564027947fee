//! InfluxDB's line protocol: `measurement,tag=value field=1,other=2i 1700000000000000000`.
//!
//! A field becomes a series of the name `measurement_field`, tags become its labels, and so does the database, as `db`, as in
//! VictoriaMetrics. Booleans are 1 and 0. Text is no sample: a field of text is taken when it holds a number and passed over
//! when it does not. A line that cannot be read is refused alone, in InfluxDB's words.

mod line;

use crate::decoded::{DecodeError, DecodedMetrics, RefusalReason};
use crate::gather::{Gather, NAME, Refused};
use crate::limits::Limits;
use line::{Line, Lines};

/// What the address of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfluxOptions {
    /// What times are counted in.
    pub precision: Precision,
    /// The label `db` of all series that have no such tag; empty for none.
    pub database: String,
}

/// What times are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Precision {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl Precision {
    /// The precision of this name, as version 1 or 2 has it; without one, nanoseconds.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "" | "ns" | "n" => Self::Nanoseconds,
            "us" | "u" | "µ" => Self::Microseconds,
            "ms" => Self::Milliseconds,
            "s" => Self::Seconds,
            "m" => Self::Minutes,
            "h" => Self::Hours,
            _ => return None,
        })
    }

    fn milliseconds(self, time: i64) -> i64 {
        match self {
            Self::Nanoseconds => time.div_euclid(1_000_000),
            Self::Microseconds => time.div_euclid(1_000),
            Self::Milliseconds => time,
            Self::Seconds => time.saturating_mul(1_000),
            Self::Minutes => time.saturating_mul(60_000),
            Self::Hours => time.saturating_mul(3_600_000),
        }
    }
}

/// Decodes a body. Lines without a time get `now_ns`. Refusals have the numbers of the lines, from 1.
///
/// # Errors
/// `TooLarge` when it says too much; then nothing of it is taken.
pub fn decode(
    body: &[u8],
    options: &InfluxOptions,
    limits: &Limits,
    now_ns: i64,
) -> Result<DecodedMetrics, DecodeError> {
    let mut gather = Gather::new(limits, body.len() / 40, body.len());
    let mut name = Vec::new();
    let mut lines = Lines::of(body);
    while let Some((number, line)) = lines.next() {
        match line {
            Ok(line) => samples(&mut gather, &mut name, number, &line, options, now_ns)?,
            Err(why) => gather.refuse(number, 1, (RefusalReason::Malformed, why)),
        }
    }
    gather.finish()
}

fn samples(
    gather: &mut Gather<'_>,
    name: &mut Vec<u8>,
    number: usize,
    line: &Line<'_>,
    options: &InfluxOptions,
    now_ns: i64,
) -> Result<(), DecodeError> {
    let time = line.time.map_or(now_ns.div_euclid(1_000_000), |time| options.precision.milliseconds(time));
    for (field, value) in &line.fields {
        let Some(value) = value else { continue };
        name.clear();
        name.extend_from_slice(&line.measurement);
        name.push(b'_');
        name.extend_from_slice(field);
        match series(gather, name, line, &options.database) {
            Ok(series) => gather.sample(number, series, time, *value, 0),
            Err(why) => gather.refuse(number, 1, why),
        }
        gather.check_size()?;
    }
    Ok(())
}

fn series(gather: &mut Gather<'_>, name: &[u8], line: &Line<'_>, database: &str) -> Result<u32, Refused> {
    gather.begin_series();
    gather.label(NAME.as_bytes(), name);
    let mut has_database = database.is_empty();
    for (tag, value) in &line.tags {
        has_database |= tag.as_ref() == b"db";
        gather.label(tag, value);
    }
    if !has_database {
        gather.label(b"db", database.as_bytes());
    }
    gather.end_series()
}

#[cfg(test)]
mod tests;
