//! A tenant's stored metrics as a [`Source`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use storage::Labels;
use storage::metrics::{LabelMatcher, MetricSnapshot, Selection, Wanted};

use super::{Samples, SeriesSet, Source};
use crate::budget::Budget;
use crate::error::QueryError;
use crate::promql::ast::{MatchOp, Matcher};

/// What a series takes beside its labels' text: its places in parts and in lists.
const SERIES_BYTES: usize = 96;
/// What a label takes beside its text.
const LABEL_BYTES: usize = 32;

/// Reads a snapshot, within a query's budget, and counts what it reads.
#[derive(Debug)]
pub struct Stored<'s> {
    snapshot: &'s MetricSnapshot,
    budget: &'s Budget,
    read: Read,
}

/// What was looked at.
#[derive(Debug)]
struct Read {
    segments: AtomicU64,
    series: AtomicU64,
    samples: AtomicU64,
    first: AtomicI64,
    last: AtomicI64,
}

impl<'s> Stored<'s> {
    /// A snapshot, to be read by one query.
    pub fn new(snapshot: &'s MetricSnapshot, budget: &'s Budget) -> Self {
        let read = Read {
            segments: AtomicU64::new(0),
            series: AtomicU64::new(0),
            samples: AtomicU64::new(0),
            first: AtomicI64::new(i64::MAX),
            last: AtomicI64::new(i64::MIN),
        };
        Self { snapshot, budget, read }
    }

    /// Segments that selections looked into; one that two selections look into counts twice.
    pub fn segments(&self) -> u64 {
        self.read.segments.load(Ordering::Relaxed)
    }

    /// Series that selectors left.
    pub fn series(&self) -> u64 {
        self.read.series.load(Ordering::Relaxed)
    }

    /// Samples that were read.
    pub fn samples(&self) -> u64 {
        self.read.samples.load(Ordering::Relaxed)
    }

    /// From when to when selectors looked, in milliseconds, both inside: what lies outside changes no answer. Without any
    /// selector the end is before the start.
    pub fn reach(&self) -> (i64, i64) {
        (self.read.first.load(Ordering::Relaxed), self.read.last.load(Ordering::Relaxed))
    }

    fn reaches(&self, start: i64, end: i64) {
        self.read.first.fetch_min(start, Ordering::Relaxed);
        self.read.last.fetch_max(end, Ordering::Relaxed);
    }
}

impl Source for Stored<'_> {
    fn select(&self, matchers: &[Matcher], start: i64, end: i64) -> Result<Box<dyn SeriesSet + '_>, QueryError> {
        self.budget.check()?;
        self.reaches(start, end);
        let selection = self.snapshot.select(&label_matchers(matchers), start, end)?;
        let labels = selection.labels();
        self.budget.take(labels.iter().map(|labels| series_bytes(labels)).sum::<usize>() as u64)?;
        self.read.segments.fetch_add(selection.segment_count() as u64, Ordering::Relaxed);
        self.read.series.fetch_add(labels.len() as u64, Ordering::Relaxed);
        Ok(Box::new(StoredSeries { selection, samples: &self.read.samples }))
    }

    fn resolution_ms(&self, start: i64, end: i64) -> i64 {
        self.reaches(start, end);
        i64::from(self.snapshot.resolution_ms(start, end))
    }
}

fn series_bytes(labels: &Labels) -> usize {
    SERIES_BYTES + labels.iter().map(|(name, value)| name.len() + value.len() + LABEL_BYTES).sum::<usize>()
}

#[derive(Debug)]
struct StoredSeries<'s> {
    selection: Selection,
    samples: &'s AtomicU64,
}

impl SeriesSet for StoredSeries<'_> {
    fn labels(&self) -> &[Arc<Labels>] {
        self.selection.labels()
    }

    fn read(
        &self,
        series: Range<usize>,
        each: &mut dyn FnMut(usize, &Samples) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut count = 0;
        let read = self.selection.read(series, |at, samples| {
            count += samples.len() as u64;
            each(at, samples)
        });
        self.samples.fetch_add(count, Ordering::Relaxed);
        read
    }
}

/// The matchers of a selector as the store's index answers them: what can only be a few values is looked up, what
/// begins with a text is looked for among the values that do.
pub fn label_matchers(matchers: &[Matcher]) -> Vec<LabelMatcher> {
    let mut all = Vec::with_capacity(matchers.len());
    for matcher in matchers {
        let mut add = |wanted| all.push(LabelMatcher { name: matcher.name.clone(), wanted });
        let exact = matcher.regex.as_ref().and_then(|regex| regex.exact_values());
        let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect();
        match (matcher.op, exact) {
            (MatchOp::Equal, _) => add(Wanted::Is(matcher.value.clone())),
            (MatchOp::NotEqual, _) => add(Wanted::IsNot(matcher.value.clone())),
            (MatchOp::Regex, Some(values)) => add(Wanted::OneOf(owned(values))),
            (MatchOp::NotRegex, Some(values)) => values.into_iter().for_each(|not| add(Wanted::IsNot(not.to_owned()))),
            (op, None) => add(passes(op, matcher)),
        }
    }
    all
}

fn passes(op: MatchOp, matcher: &Matcher) -> Wanted {
    let prefix = match (op, &matcher.regex) {
        (MatchOp::Regex, Some(regex)) => regex.prefix().to_owned(),
        _ => String::new(),
    };
    let matcher = matcher.clone();
    Wanted::Passes { prefix, test: Arc::new(move |value| matcher.matches(value)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::promql::parser::parse_selector;

    #[track_caller]
    fn becomes(selector: &str, expected: &str) {
        let matchers = label_matchers(&parse_selector(selector).unwrap());
        assert_eq!(format!("{matchers:?}"), expected);
    }

    #[test]
    fn regexes_become_values_and_prefixes() {
        becomes(r#"{a="b",c!=""}"#, r#"[a="b", c!=""]"#);
        becomes(r#"{a=~"b|cd?|"}"#, "[a=~...]");
        becomes(r#"{a=~"b|c",x="1"}"#, r#"[a=["b", "c"], x="1"]"#);
        becomes(r#"{a!~"b|c",x="1"}"#, r#"[a!="b", a!="c", x="1"]"#);
        becomes(r#"{a=~"web-.+",x="1"}"#, "[a=~web-..., x=\"1\"]");
        becomes(r#"{a=~"(?i)web.*",x="1"}"#, "[a=~..., x=\"1\"]");
        becomes(r#"{a!~"web.*",x="1"}"#, "[a=~..., x=\"1\"]");
    }

    #[test]
    fn the_test_is_the_matchers() {
        let wanted = &label_matchers(&parse_selector(r#"{a!~"web.*",x="1"}"#).unwrap())[0];
        assert!(wanted.matches("db") && wanted.matches("") && !wanted.matches("web-1"));
    }
}
