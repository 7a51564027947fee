//! Prometheus's remote write 2.0: `io.prometheus.write.v2.Request`, walked in place.
//!
//! Texts are in one table, and everything else refers to it. What is refused is refused as in 1.0; besides, a series that
//! refers to a text that is not there, that has both samples and histograms, or neither.

use rustc_hash::FxHashSet;
use storage::metrics::MetricKind;

use crate::decoded::{DecodeError, DecodeErrorKind, DecodedMetrics, RefusalReason};
use crate::gather::{Gather, NAME, Refused};
use crate::limits::Limits;
use crate::native;
use crate::protobuf::Fields;

/// Decodes a request that is unpacked already. `now_ns` is the arrival time, for exemplars that have none.
///
/// # Errors
/// `Malformed` when it is no such message, `TooLarge` when it says too much; then nothing of it is taken.
pub fn decode_message(message: &[u8], limits: &Limits, now_ns: i64) -> Result<DecodedMetrics, DecodeError> {
    let mut request = Request {
        symbols: symbols(message, limits)?,
        // A series of one sample and eight labels takes about 40 bytes, and 250 when its texts are written out.
        gather: Gather::new(limits, message.len() / 40, message.len() * 4),
        refs: Vec::new(),
        seen: FxHashSet::default(),
        told: FxHashSet::default(),
        position: 0,
        now: now_ns / 1_000_000,
    };
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        if field == 5 {
            request.time_series(value.bytes()?)?;
            request.position += 1;
        }
    }
    request.gather.finish()
}

fn symbols<'a>(message: &'a [u8], limits: &Limits) -> Result<Vec<&'a [u8]>, DecodeError> {
    let mut symbols: Vec<&[u8]> = Vec::new();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        if field != 4 {
            continue;
        }
        symbols.push(value.bytes()?);
        if symbols.len() * size_of::<&[u8]>() > limits.metric_batch_bytes_max {
            let message = format!("the request has more than {} symbols", symbols.len());
            return Err(DecodeError { kind: DecodeErrorKind::TooLarge, message });
        }
    }
    match symbols.first() {
        Some(first) if !first.is_empty() => Err(DecodeError::malformed("the first symbol must be the empty text")),
        _ => Ok(symbols),
    }
}

#[derive(Debug)]
struct Request<'a, 'l> {
    symbols: Vec<&'a [u8]>,
    gather: Gather<'l>,
    /// The labels of the series that is being read, as references.
    refs: Vec<u32>,
    /// References of the names of series whose metadata were looked at.
    seen: FxHashSet<u32>,
    /// Names of the metrics whose metadata were told.
    told: FxHashSet<&'a [u8]>,
    /// The number of the series in the request.
    position: usize,
    now: i64,
}

/// What a series has beside its labels.
#[derive(Debug, Default)]
struct Contents<'a> {
    samples: usize,
    histograms: usize,
    metadata: &'a [u8],
    /// When counting began, as senders said it before each sample did.
    created: i64,
}

impl<'a> Request<'a, '_> {
    fn time_series(&mut self, message: &'a [u8]) -> Result<(), DecodeError> {
        let contents = self.contents(message)?;
        let (samples, histograms) = (contents.samples, contents.histograms);
        let series = match (samples, histograms) {
            (0, 0) => Err((RefusalReason::Malformed, "the series has neither samples nor histograms".to_owned())),
            (1.., 1..) => Err((RefusalReason::Malformed, "the series has both samples and histograms".to_owned())),
            _ => self.series(),
        };
        match series {
            Ok(series) => {
                self.metadata(contents.metadata)?;
                self.values(message, series, contents.created)
            }
            Err(why) => {
                self.gather.refuse(self.position, samples + histograms, why);
                Ok(())
            }
        }
    }

    fn contents(&mut self, message: &'a [u8]) -> Result<Contents<'a>, DecodeError> {
        let mut contents = Contents::default();
        self.refs.clear();
        let refs = &mut self.refs;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => value.each_varint(|number| refs.push(reference(number)))?,
                2 => contents.samples += 1,
                3 => contents.histograms += 1,
                5 => contents.metadata = value.bytes()?,
                6 => contents.created = value.number()? as i64,
                _ => {}
            }
        }
        Ok(contents)
    }

    /// The series of `refs`.
    fn series(&mut self) -> Result<u32, Refused> {
        let (pairs, rest) = self.refs.as_chunks::<2>();
        if !rest.is_empty() {
            return Err((RefusalReason::Reference, format!("{} label references are no pairs", self.refs.len())));
        }
        self.gather.begin_series();
        for &[name, value] in pairs {
            let (name, value) = pair(&self.symbols, name, value)?;
            self.gather.label(name, value);
        }
        self.gather.end_series()
    }

    fn values(&mut self, message: &'a [u8], series: u32, created: i64) -> Result<(), DecodeError> {
        let position = self.position;
        let mut last = self.now;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            self.gather.check_size()?;
            match field {
                2 => {
                    let sample = sample(value.bytes()?)?;
                    last = sample.time;
                    self.gather.sample(position, series, sample.time, sample.value, or(sample.start, created));
                }
                3 => match native::read(value.bytes()?)? {
                    Ok(read) => {
                        last = read.time;
                        let start = or(read.start, created);
                        self.gather.histogram(position, series, read.time, start, read.histogram);
                    }
                    Err(why) => self.gather.refuse(position, 1, why),
                },
                4 => self.exemplar(value.bytes()?, series, last)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn exemplar(&mut self, message: &[u8], series: u32, now: i64) -> Result<(), DecodeError> {
        let mut refs: Vec<u32> = Vec::new();
        // More than may be is enough to refuse it.
        let refs_max = 2 * self.gather.limits.series_labels_max + 2;
        let (mut number, mut time) = (0.0, 0);
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => value.each_varint(|number| {
                    if refs.len() < refs_max {
                        refs.push(reference(number));
                    }
                })?,
                2 => number = value.double()?,
                3 => time = value.number()? as i64,
                _ => {}
            }
        }
        let (pairs, rest) = refs.as_chunks::<2>();
        let labels: Result<Vec<_>, Refused> = match rest {
            [] => pairs.iter().map(|&[name, value]| pair(&self.symbols, name, value)).collect(),
            _ => Err((RefusalReason::Reference, "the label references of an exemplar are no pairs".to_owned())),
        };
        let time = if time == 0 { now } else { time };
        match labels {
            Ok(labels) => self.gather.exemplar(self.position, series, time, number, &labels),
            Err(why) => self.gather.refuse(self.position, 0, why),
        }
        Ok(())
    }

    /// Tells what the metric of `refs` is, once a request.
    fn metadata(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        let is_name = |reference: u32| self.symbols.get(reference as usize) == Some(&NAME.as_bytes());
        let named = self.refs.as_chunks::<2>().0.iter().find(|[name, _]| is_name(*name));
        let Some(&[_, name]) = named.filter(|_| !message.is_empty()) else { return Ok(()) };
        if !self.seen.insert(name) {
            return Ok(());
        }
        let (mut kind, mut help, mut unit) = (MetricKind::Unknown, 0, 0);
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => kind = MetricKind::from_u8(u8::try_from(value.number()?).unwrap_or_default()),
                3 => help = reference(value.number()?),
                4 => unit = reference(value.number()?),
                _ => {}
            }
        }
        let text = |reference: u32| self.symbols.get(reference as usize).copied().unwrap_or_default();
        let (name, help, unit) = (family(text(name), kind), text(help), text(unit));
        let is_said = kind != MetricKind::Unknown || !help.is_empty() || !unit.is_empty();
        if is_said && self.told.insert(name) {
            self.gather.metadata(name, kind, help, unit);
        }
        self.gather.check_size()
    }
}

/// A number that is no reference refers to nothing.
fn reference(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn or(start: i64, created: i64) -> i64 {
    if start == 0 { created } else { start }
}

fn pair<'a>(symbols: &[&'a [u8]], name: u32, value: u32) -> Result<(&'a [u8], &'a [u8]), Refused> {
    match (symbols.get(name as usize), symbols.get(value as usize)) {
        (Some(name), Some(value)) => Ok((name, value)),
        _ => {
            let reference = if (name as usize) < symbols.len() { value } else { name };
            let why = format!("a label refers to the symbol {reference}, there are {}", symbols.len());
            Err((RefusalReason::Reference, why))
        }
    }
}

/// The name under which a series' metric is described: the series of a classic histogram or a summary have one.
fn family(name: &[u8], kind: MetricKind) -> &[u8] {
    let endings: &[&str] = match kind {
        MetricKind::Histogram | MetricKind::Summary => &["_bucket", "_sum", "_count"],
        MetricKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        _ => &[],
    };
    endings.iter().find_map(|ending| name.strip_suffix(ending.as_bytes())).unwrap_or(name)
}

#[derive(Debug, Default)]
struct Sample {
    value: f64,
    time: i64,
    /// When counting began; 0 when that is not said.
    start: i64,
}

#[inline]
fn sample(message: &[u8]) -> Result<Sample, DecodeError> {
    let mut sample = Sample::default();
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => sample.value = value.double()?,
            2 => sample.time = value.number()? as i64,
            3 => sample.start = value.number()? as i64,
            _ => {}
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests;
