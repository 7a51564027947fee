//! The notation of series in scripts: `metric{label="value"} 1 2+3x4 _ stale {{count:5 buckets:[5]}}x3`.

use storage::Labels;
use storage::metrics::{Histogram, ResetHint, STALE_NAN_BITS, Span};

use crate::logql::units::parse_prometheus_duration;
use crate::promql::ast::MatchOp;
use crate::promql::histogram;
use crate::promql::parser::parse_selector;

/// No sequence of a script is longer.
const VALUES_MAX: usize = 1 << 20;

/// One place in a sequence.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    /// `_`: no sample.
    Omitted,
    Float(f64),
    Histogram {
        histogram: Box<Histogram>,
        /// The hint was written out, so it is to be compared.
        hint_is_set: bool,
    },
}

/// A series and its values.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) items: Vec<Item>,
}

/// Parses `metric{labels} values`.
pub(super) fn parse_series(line: &str) -> Result<Series, String> {
    let (metric, values) = line.split_at(metric_end(line));
    let labels = parse_metric(metric)?;
    let mut text = Text { rest: values };
    let mut items = Vec::new();
    while text.spaces()? {
        text.item(&mut items)?;
        if items.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
    }
    Ok(Series { labels, items })
}

/// Parses one histogram, as `{{count:2 sum:3 buckets:[2]}}`.
///
/// # Errors
/// What is wrong with how it is written.
pub fn parse_histogram(text: &str) -> Result<Histogram, String> {
    let mut rest = Text { rest: text.trim() };
    let (histogram, _) = rest.histogram()?;
    rest.end()?;
    Ok(histogram)
}

/// Parses `metric{labels}`; labels with an empty value do not count.
///
/// # Errors
/// What is wrong with how it is written.
pub fn parse_metric(text: &str) -> Result<Labels, String> {
    let matchers = parse_selector(text.trim()).map_err(|error| error.to_string())?;
    if let Some(other) = matchers.iter().find(|matcher| matcher.op != MatchOp::Equal) {
        return Err(format!("label {} of a series is given with {}", other.name, other.op.as_str()));
    }
    let given = matchers.into_iter().filter(|matcher| !matcher.value.is_empty());
    Ok(Labels::new(given.map(|matcher| (matcher.name, matcher.value))))
}

/// Where the labels end: at the first space outside of braces and quotes, or behind the closing brace.
fn metric_end(line: &str) -> usize {
    let (mut in_braces, mut quote, mut escaped) = (false, None, false);
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') if in_braces => quote = Some(c),
            (None, '{') => in_braces = true,
            (None, '}') => return at + 1,
            (None, c) if c.is_whitespace() && !in_braces => return at,
            _ => {}
        }
    }
    line.len()
}

/// The offsets of a line `metric@st offsets`, in milliseconds: of each sample how long before it counting began.
pub(super) fn parse_starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for item in text.split_whitespace() {
        start_item(item, &mut starts).map_err(|why| format!("start timestamp {item:?}: {why}"))?;
    }
    Ok(starts)
}

fn start_item(item: &str, starts: &mut Vec<Option<i64>>) -> Result<(), String> {
    let mut text = Text { rest: item };
    if text.accept("_") {
        let times = if text.accept("x") { text.count()? } else { 1 };
        starts.extend(std::iter::repeat_n(None, times));
        return text.end();
    }
    let mut at = text.duration()?;
    let negative = text.rest.starts_with('-');
    let step = if text.accept("+") || text.accept("-") { text.duration()? } else { 0 };
    let step = if negative { -step } else { step };
    let times = if text.accept("x") { text.count()? } else { 0 };
    for _ in 0..=times {
        starts.push(Some(at));
        at += step;
    }
    text.end()
}

/// What is still to be read.
struct Text<'a> {
    rest: &'a str,
}

impl<'a> Text<'a> {
    fn accept(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, String> {
        Err(format!("{wanted} expected at {:?}", self.rest))
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { self.unexpected("a space") }
    }

    /// Goes over spaces, which must be there. False at the end.
    fn spaces(&mut self) -> Result<bool, String> {
        let spaces = self.take_while(char::is_whitespace);
        if spaces.is_empty() {
            self.end()?;
        }
        Ok(!self.rest.is_empty())
    }

    /// The number behind `x`.
    fn count(&mut self) -> Result<usize, String> {
        match self.take_while(|c| c.is_ascii_digit()).parse() {
            Ok(count) if count <= VALUES_MAX => Ok(count),
            _ => self.unexpected("a number of repetitions"),
        }
    }

    /// `-1m`, in milliseconds.
    fn duration(&mut self) -> Result<i64, String> {
        let negative = self.rest.starts_with('-');
        let _ = self.accept("-") || self.accept("+");
        let (number, unit) = {
            let before = self.rest;
            let digits = self.take_while(|c| c.is_ascii_digit()).len();
            let unit = self.take_while(|c| c.is_ascii_alphabetic() && c != 'x').len();
            before.split_at(digits + unit).0.split_at(digits)
        };
        let nanoseconds = parse_prometheus_duration(&format!("{number}{unit}"))?;
        let milliseconds = nanoseconds / 1_000_000;
        Ok(if negative { -milliseconds } else { milliseconds })
    }

    fn item(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        if self.accept("_") {
            let times = if self.accept("x") { self.count()? } else { 1 };
            items.extend(std::iter::repeat_n(Item::Omitted, times));
        } else if self.rest.starts_with("{{") {
            self.histograms(items)?;
        } else {
            let mut value = self.number_or_stale()?;
            let step = if self.rest.starts_with(['+', '-']) { Some(self.number()?) } else { None };
            let times = if self.accept("x") { self.count()? } else { 0 };
            for _ in 0..=times {
                items.push(Item::Float(value));
                // Not for the sake of a stale marker, whose bits an addition may change.
                value = step.map_or(value, |step| value + step);
            }
        }
        Ok(())
    }

    fn number_or_stale(&mut self) -> Result<f64, String> {
        if self.accept("stale") { Ok(f64::from_bits(STALE_NAN_BITS)) } else { self.number() }
    }

    /// A number, with a sign or without.
    fn number(&mut self) -> Result<f64, String> {
        let negative = self.rest.starts_with('-');
        let _ = self.accept("-") || self.accept("+");
        let value = self.unsigned()?;
        Ok(if negative { -value } else { value })
    }

    fn unsigned(&mut self) -> Result<f64, String> {
        for (word, value) in [("inf", f64::INFINITY), ("nan", f64::NAN)] {
            if let Some((first, rest)) = self.rest.split_at_checked(3).filter(|(w, _)| w.eq_ignore_ascii_case(word)) {
                let _ = first;
                self.rest = rest;
                return Ok(value);
            }
        }
        let all = self.rest;
        self.take_while(|c| c.is_ascii_digit() || c == '.');
        let mut end = all.len() - self.rest.len();
        if self.accept("e") || self.accept("E") {
            let _ = self.accept("+") || self.accept("-");
            if !self.take_while(|c| c.is_ascii_digit()).is_empty() {
                end = all.len() - self.rest.len();
            }
        }
        let (number, rest) = all.split_at(end);
        self.rest = rest;
        match number.parse() {
            Ok(value) => Ok(value),
            Err(_) => Text { rest: all }.unexpected("a number"),
        }
    }

    /// A histogram, alone or as the start of a sequence.
    fn histograms(&mut self, items: &mut Vec<Item>) -> Result<(), String> {
        let (base, mut hint_is_set) = self.histogram()?;
        let negative = self.rest.starts_with('-');
        let step = if self.accept("+") || self.accept("-") {
            let step = self.histogram()?;
            hint_is_set = step.1;
            Some(step.0)
        } else {
            None
        };
        let times = if self.accept("x") { self.count()? } else { 0 };
        let mut current = base;
        for at in 0..=times {
            if let Some(step) = step.as_ref().filter(|_| at > 0) {
                if current.schema > step.schema {
                    return Err(format!(
                        "a histogram of schema {} cannot grow by schema {}",
                        current.schema, step.schema
                    ));
                }
                let combine = if negative { histogram::sub } else { histogram::add };
                combine(&mut current, step).map_err(|error| error.to_string())?;
            }
            items.push(Item::Histogram { histogram: Box::new(current.clone()), hint_is_set });
        }
        Ok(())
    }

    /// `{{key:value ...}}`, and whether it gives a hint.
    fn histogram(&mut self) -> Result<(Histogram, bool), String> {
        if !self.accept("{{") {
            return self.unexpected("{{");
        }
        let (mut h, mut given) = (Histogram::default(), Vec::new());
        let (mut offset, mut negative_offset) = (0, 0);
        loop {
            self.take_while(char::is_whitespace);
            if self.accept("}}") {
                break;
            }
            let key = self.take_while(|c| c.is_ascii_alphabetic() || c == '_').to_ascii_lowercase();
            if !self.accept(":") {
                return self.unexpected("a key of a histogram and its value");
            }
            if given.contains(&key) {
                return Err(format!("the histogram has {key} twice"));
            }
            match key.as_str() {
                "schema" => h.schema = self.whole()?,
                "sum" => h.sum = self.number()?,
                "count" => h.count = self.number()?,
                "z_bucket" => h.zero_count = self.number()?,
                "z_bucket_w" => h.zero_threshold = self.number()?,
                "custom_values" => h.custom_values = self.list()?,
                "buckets" => h.positive_buckets = self.list()?,
                "offset" => offset = self.whole()?,
                "n_buckets" => h.negative_buckets = self.list()?,
                "n_offset" => negative_offset = self.whole()?,
                "counter_reset_hint" => h.reset_hint = self.hint()?,
                _ => return Err(format!("a histogram has no {key:?}")),
            }
            given.push(key);
        }
        let spans = |offset: i32, counts: &[f64]| {
            let span = Span { offset, length: counts.len() as u32 };
            if counts.is_empty() { Vec::new() } else { vec![span] }
        };
        h.positive_spans = spans(offset, &h.positive_buckets);
        h.negative_spans = spans(negative_offset, &h.negative_buckets);
        Ok((h, given.iter().any(|key| key == "counter_reset_hint")))
    }

    fn whole(&mut self) -> Result<i32, String> {
        let value = self.number()?;
        let whole = value as i32;
        if f64::from(whole) == value { Ok(whole) } else { Err(format!("{value} is no whole number")) }
    }

    /// `[1 2 3]`
    fn list(&mut self) -> Result<Vec<f64>, String> {
        if !self.accept("[") {
            return self.unexpected("[");
        }
        let mut values = Vec::new();
        loop {
            self.take_while(char::is_whitespace);
            if self.accept("]") {
                return Ok(values);
            }
            values.push(self.number()?);
        }
    }

    fn hint(&mut self) -> Result<ResetHint, String> {
        match self.take_while(|c| c.is_ascii_alphabetic() || c == '_').to_ascii_lowercase().as_str() {
            "unknown" => Ok(ResetHint::Unknown),
            "reset" => Ok(ResetHint::Reset),
            "not_reset" => Ok(ResetHint::NotReset),
            "gauge" => Ok(ResetHint::Gauge),
            other => Err(format!("{other:?} is no counter_reset_hint")),
        }
    }
}
