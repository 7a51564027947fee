//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, of native histograms and of classic ones, whose
//! buckets are series with a label `le`.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use storage::Labels;

use super::Evaluator;
use super::annotate::Note;
use super::column::{Column, NAME, Series, filtered, with_label};
use super::labels::text;
use crate::error::QueryError;
use crate::number::format_float_general;
use crate::promql::ast::{Call, Span};
use crate::promql::histogram::{self, ClassicBucket, QuantileNote};

/// The label of a classic bucket's upper bound.
const BOUND: &str = "le";

/// What is asked of each histogram.
enum Asked {
    /// The quantiles, step by step, each with the label that it gets.
    Quantiles(Vec<(Vec<f64>, Option<String>)>),
    /// The fraction between two values, step by step.
    Fraction(Vec<f64>, Vec<f64>),
}

/// Series that are the buckets of one classic histogram.
struct Classic {
    labels: Arc<Labels>,
    buckets: Vec<(f64, usize)>,
}

impl Evaluator<'_> {
    pub(super) fn of_histograms(&self, call: &Call) -> Result<Vec<Series>, QueryError> {
        let args = &call.args;
        let (asked, vector, label) = match call.function {
            "histogram_fraction" => {
                (Asked::Fraction(self.scalar(&args[0])?, self.scalar(&args[1])?), &args[2], String::new())
            }
            "histogram_quantile" => {
                let q = self.scalar(&args[0])?;
                self.note_bad_quantiles(args[0].span, &q);
                (Asked::Quantiles(vec![(q, None)]), &args[1], String::new())
            }
            _ => {
                let mut quantiles = Vec::new();
                for arg in &args[2..] {
                    let q = self.scalar(arg)?;
                    self.note_bad_quantiles(arg.span, &q);
                    let value = open_metrics(q.first().copied().unwrap_or(f64::NAN));
                    quantiles.push((q, Some(value)));
                }
                (Asked::Quantiles(quantiles), &args[0], text(&args[1]).to_owned())
            }
        };
        let series = self.vector(vector)?;
        let classics = self.classics(&series, vector.span);
        let conflicts = self.conflicts(&series, &classics, vector.span);
        let mut out = Vec::new();
        let variants = match &asked {
            Asked::Quantiles(quantiles) => quantiles.len(),
            Asked::Fraction(..) => 1,
        };
        for variant in 0..variants {
            let named = |labels: &Arc<Labels>| match &asked {
                Asked::Quantiles(quantiles) => match &quantiles[variant].1 {
                    Some(value) => Arc::new(with_label(labels, &label, value)),
                    None => Arc::clone(labels),
                },
                Asked::Fraction(..) => Arc::clone(labels),
            };
            for (at, one) in series.iter().enumerate().filter(|(_, one)| !one.column.histograms.is_empty()) {
                let mut column = Column::absent(self.grid.count);
                for step in 0..self.grid.count {
                    let Some(h) = one.column.histogram(step).filter(|_| !conflicts.contains(&(at, step))) else {
                        continue;
                    };
                    column.values[step] = self.of_native(&asked, variant, step, h, one.name(), vector.span);
                }
                push(&mut out, named(&one.labels), column);
            }
            for classic in &classics {
                let mut column = Column::absent(self.grid.count);
                let mut buckets = Vec::with_capacity(classic.buckets.len());
                for step in 0..self.grid.count {
                    buckets.clear();
                    for &(upper, at) in &classic.buckets {
                        let own = &series[at].column;
                        if own.is_present(step) && own.histogram(step).is_none() {
                            buckets.push(ClassicBucket { upper, count: own.values[step] });
                        }
                    }
                    if !buckets.is_empty() && !self.has_native(&series, &conflicts, classic, step) {
                        column.values[step] =
                            self.of_classic(&asked, variant, step, &mut buckets, &classic.labels, vector.span);
                    }
                }
                push(&mut out, named(&classic.labels), column);
            }
        }
        Ok(out)
    }

    fn note_bad_quantiles(&self, span: Span, q: &[f64]) {
        if let Some(&q) = q.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            self.notes.add(span, &Note::InvalidQuantile(q));
        }
    }

    /// Series by the histogram that they are buckets of.
    fn classics(&self, series: &[Series], span: Span) -> Vec<Classic> {
        let mut place: FxHashMap<Labels, usize> = FxHashMap::default();
        let mut classics: Vec<Classic> = Vec::new();
        for (at, one) in series.iter().enumerate() {
            let all_native =
                (0..self.grid.count).all(|step| !one.column.is_present(step) || one.column.histogram(step).is_some());
            if all_native {
                continue;
            }
            let value = one.labels.get(BOUND).unwrap_or_default();
            let Some(upper) = bound(value) else {
                self.notes.add(span, &Note::BadBucketLabel { metric: one.name(), value });
                continue;
            };
            let labels = filtered(&one.labels, |name| name != BOUND);
            let at_class = *place.entry(labels.clone()).or_insert_with(|| {
                classics.push(Classic { labels: Arc::new(labels), buckets: Vec::new() });
                classics.len() - 1
            });
            classics[at_class].buckets.push((upper, at));
        }
        classics
    }

    /// Native histograms (series, step) beside which there is a classic one of the same labels.
    fn conflicts(&self, series: &[Series], classics: &[Classic], span: Span) -> rustc_hash::FxHashSet<(usize, usize)> {
        let mut found = rustc_hash::FxHashSet::default();
        if classics.is_empty() || series.iter().all(|one| one.column.histograms.is_empty()) {
            return found;
        }
        for (at, one) in series.iter().enumerate().filter(|(_, one)| !one.column.histograms.is_empty()) {
            let Some(classic) = classics.iter().find(|classic| classic.labels == one.labels) else { continue };
            for step in (0..self.grid.count).filter(|&step| one.column.histogram(step).is_some()) {
                let there = |&(_, at): &(f64, usize)| {
                    series[at].column.is_present(step) && series[at].column.histogram(step).is_none()
                };
                if classic.buckets.iter().any(there) {
                    self.notes.add(span, &Note::MixedClassicNative { metric: one.name() });
                    found.insert((at, step));
                }
            }
        }
        found
    }

    fn has_native(
        &self,
        series: &[Series],
        conflicts: &rustc_hash::FxHashSet<(usize, usize)>,
        classic: &Classic,
        step: usize,
    ) -> bool {
        !conflicts.is_empty()
            && conflicts.iter().any(|&(at, other)| other == step && series[at].labels == classic.labels)
    }

    fn of_native(
        &self,
        asked: &Asked,
        variant: usize,
        step: usize,
        h: &storage::metrics::Histogram,
        metric: &str,
        span: Span,
    ) -> f64 {
        match asked {
            Asked::Quantiles(quantiles) => {
                let (value, note) = histogram::quantile(quantiles[variant].0[step], h);
                match note {
                    Some(QuantileNote::NanResult) => self.notes.add(span, &Note::QuantileNanResult { metric }),
                    Some(QuantileNote::NanSkew) => self.notes.add(span, &Note::QuantileNanSkew { metric }),
                    None => {}
                }
                value
            }
            Asked::Fraction(lower, upper) => {
                let (value, ignored) = histogram::fraction(lower[step], upper[step], h);
                if ignored {
                    self.notes.add(span, &Note::FractionNan { metric });
                }
                value
            }
        }
    }

    fn of_classic(
        &self,
        asked: &Asked,
        variant: usize,
        step: usize,
        buckets: &mut Vec<ClassicBucket>,
        labels: &Labels,
        span: Span,
    ) -> f64 {
        match asked {
            Asked::Quantiles(quantiles) => {
                let found = histogram::bucket_quantile(quantiles[variant].0[step], buckets);
                if found.forced_monotonic {
                    let note = Note::ForcedMonotonicity {
                        metric: labels.get(NAME).unwrap_or_default(),
                        time: self.grid.time(step),
                        min_bucket: found.min_bucket,
                        max_bucket: found.max_bucket,
                        max_difference: found.max_difference,
                    };
                    self.notes.add(span, &note);
                }
                found.value
            }
            Asked::Fraction(lower, upper) => histogram::bucket_fraction(lower[step], upper[step], buckets),
        }
    }
}

fn push(out: &mut Vec<Series>, labels: Arc<Labels>, column: Column) {
    if !column.is_empty() {
        out.push(Series { labels, drop_name: true, column });
    }
}

/// A bound as Go's `strconv.ParseFloat` reads it.
fn bound(value: &str) -> Option<f64> {
    let plain = value.trim_start_matches(['+', '-']);
    let is_number = plain.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let is_word = ["inf", "infinity", "nan"].iter().any(|word| plain.eq_ignore_ascii_case(word));
    (is_number || is_word).then(|| value.parse().ok())?
}

/// As OpenMetrics writes a float: always with a point.
fn open_metrics(value: f64) -> String {
    let text = format_float_general(value);
    let is_plain = value.is_finite() && !text.contains(['.', 'e']);
    if is_plain { format!("{text}.0") } else { text }
}
