//! When counting began, in OpenMetrics: `foo_created{...} 1520872607.123` is about the series `foo_total{...}`, or
//! `foo_bucket{...}`, `foo_sum{...}`, `foo_count{...}`.
//!
//! Such a line comes after those that it is about, so a body that has one is read twice.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use storage::metrics::MetricKind;

use super::text::TextParser;
use super::{Entry, SampleValue};

const SUFFIX: &str = "_created";

/// When countings began, by metric and labels.
#[derive(Debug, Default)]
pub(super) struct Starts(FxHashMap<Vec<u8>, i64>);

/// A parser of an OpenMetrics body that knows when countings began.
pub(super) fn parser(body: &[u8]) -> TextParser<'_> {
    let mut parser = TextParser::new(body, true);
    if memchr::memmem::find(body, SUFFIX.as_bytes()).is_some() {
        parser.set_starts(Starts::read(body));
    }
    parser
}

impl Starts {
    fn read(body: &[u8]) -> Self {
        let mut starts = Self::default();
        let mut parser = TextParser::new(body, true);
        loop {
            let found = match parser.next_entry() {
                Ok(None) => return starts,
                Err(error) if error.fatal => return starts,
                Err(_) => {
                    parser.skip_line();
                    continue;
                }
                Ok(Some(Entry::Sample(sample))) => match (name(sample.labels).strip_suffix(SUFFIX), sample.value) {
                    (Some(family), SampleValue::Float(seconds)) => {
                        Some((family.to_owned(), seconds, key(family, "", sample.labels)))
                    }
                    _ => None,
                },
                Ok(Some(_)) => None,
            };
            if let Some((family, seconds, key)) = found {
                let (typed, kind) = parser.family();
                if counts(kind) && typed == family {
                    starts.0.insert(key, (seconds * 1000.0) as i64);
                }
            }
        }
    }

    /// Whether a series only says when another one began.
    pub(super) fn is_about_start(&self, kind: MetricKind, labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> bool {
        counts(kind) && name(labels).ends_with(SUFFIX)
    }

    /// When the counting of a series began: milliseconds since 1970, 0 when that is not said.
    pub(super) fn of(&self, family: &str, kind: MetricKind, labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> i64 {
        if !counts(kind) || !name(labels).starts_with(family) {
            return 0;
        }
        let beside = match kind {
            MetricKind::Histogram => "le",
            MetricKind::Summary => "quantile",
            _ => "",
        };
        self.0.get(&key(family, beside, labels)).copied().unwrap_or(0)
    }
}

fn counts(kind: MetricKind) -> bool {
    matches!(kind, MetricKind::Counter | MetricKind::Histogram | MetricKind::Summary)
}

fn name<'a>(labels: &'a [(Cow<'_, str>, Cow<'_, str>)]) -> &'a str {
    labels.first().map_or("", |(_, name)| name.as_ref())
}

/// The metric and the labels but its name and `beside`, in one order.
fn key(family: &str, beside: &str, labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> Vec<u8> {
    let mut pairs: Vec<(&str, &str)> =
        labels.iter().skip(1).map(|(n, v)| (n.as_ref(), v.as_ref())).filter(|(name, _)| *name != beside).collect();
    pairs.sort_unstable();
    let mut key = Vec::with_capacity(128);
    for text in std::iter::once(family).chain(pairs.into_iter().flat_map(|(name, value)| [name, value])) {
        key.extend_from_slice(text.as_bytes());
        // No byte of UTF-8.
        key.push(0xFF);
    }
    key
}
