//! Gauges, sums and summaries, and the exemplars of all kinds of points.

use super::{Decoder, Fail, Metric, Point, Shape};
use crate::decoded::DecodeError;
use crate::protobuf::Fields;

/// An `Exemplar`.
pub(super) struct ReadExemplar<'a> {
    pub(super) value: f64,
    time: u64,
    labels: Vec<(String, std::borrow::Cow<'a, str>)>,
}

impl<'a> Decoder<'a, '_> {
    /// A `NumberDataPoint`.
    pub(super) fn number(&mut self, metric: &Metric, message: &'a [u8]) -> Result<(), Fail> {
        let mut point = Point::default();
        let mut number = 0.0;
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => point.start = value.number()?,
                3 => point.time = value.number()?,
                4 => number = value.double()?,
                5 => point.exemplars.push(value.bytes()?),
                6 => number = value.number()? as i64 as f64,
                7 => self.attribute(value)?,
                8 => point.flags = value.number()?,
                _ => {}
            }
        }
        let mut times = self.begin(&point)?;
        if metric.shape == Shape::Gauge {
            // Nothing is counted.
            times.start = 0;
        }
        let series = self.series(&metric.name, None)?;
        self.sample(metric, series, times, number)?;
        for exemplar in point.exemplars {
            let read = self.read_exemplar(exemplar)?;
            self.exemplar(series, times.time, &read)?;
        }
        Ok(())
    }

    /// A `SummaryDataPoint`.
    pub(super) fn summary(&mut self, metric: &Metric, names: &[String; 3], message: &'a [u8]) -> Result<(), Fail> {
        let mut point = Point::default();
        let (mut count, mut sum) = (0, 0.0);
        let mut quantiles = Vec::new();
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => point.start = value.number()?,
                3 => point.time = value.number()?,
                4 => count = value.number()?,
                5 => sum = value.double()?,
                6 => quantiles.push(quantile(value.bytes()?)?),
                7 => self.attribute(value)?,
                8 => point.flags = value.number()?,
                _ => {}
            }
        }
        let times = self.begin(&point)?;
        let [sum_name, count_name, _] = names;
        for (name, value) in [(sum_name, sum), (count_name, count as f64)] {
            let series = self.series(name, None)?;
            self.sample(metric, series, times, value)?;
        }
        for (quantile, value) in quantiles {
            let quantile = self.bound(quantile);
            let series = self.series(&metric.name, Some(("quantile", &quantile)))?;
            self.sample(metric, series, times, value)?;
        }
        Ok(())
    }

    pub(super) fn read_exemplar(&self, message: &'a [u8]) -> Result<ReadExemplar<'a>, DecodeError> {
        let mut read = ReadExemplar { value: 0.0, time: 0, labels: Vec::new() };
        let nesting_max = self.gather.limits.nesting_max;
        let hex = |bytes: &[u8]| storage::Value::Hex(bytes).to_string().into();
        let is_set = |id: &[u8]| id.iter().any(|&byte| byte != 0);
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => read.time = value.number()?,
                3 => read.value = value.double()?,
                4 if is_set(value.bytes()?) => read.labels.push(("span_id".to_owned(), hex(value.bytes()?))),
                5 if is_set(value.bytes()?) => read.labels.push(("trace_id".to_owned(), hex(value.bytes()?))),
                6 => read.value = value.number()? as i64 as f64,
                7 if read.labels.len() <= self.gather.limits.series_labels_max => {
                    let (key, any) = crate::otlp_any::pair(value.bytes()?)?;
                    read.labels.push((String::from_utf8_lossy(key).into_owned(), any.text(nesting_max)?));
                }
                _ => {}
            }
        }
        Ok(read)
    }

    /// Adds an exemplar; one without a time has that of its point.
    pub(super) fn exemplar(&mut self, series: u32, time: i64, read: &ReadExemplar<'_>) -> Result<(), DecodeError> {
        let time = if read.time == 0 { time } else { (read.time / 1_000_000) as i64 };
        let labels: Vec<_> = read.labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        self.gather.exemplar(self.position, series, time, read.value, &labels);
        self.gather.check_size()
    }
}

/// A `ValueAtQuantile`.
fn quantile(message: &[u8]) -> Result<(f64, f64), DecodeError> {
    let (mut quantile, mut number) = (0.0, 0.0);
    let mut fields = Fields::of(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => quantile = value.double()?,
            2 => number = value.double()?,
            _ => {}
        }
    }
    Ok((quantile, number))
}
