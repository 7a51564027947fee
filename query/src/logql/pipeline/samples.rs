//! The pipeline of a metric query: what a record counts, and for which series.

use super::demand::Demand;
use super::error_kind::SAMPLE;
use super::label_filter::Condition;
use super::row::{DUPLICATE_SUFFIX, GroupBy, PRESERVE_ERROR_LABEL, Row};
use super::{Pipeline, Step, steps};
use crate::logql::ast::{Conversion, Grouping, MatchOp, RangeAggregation, RangeOp, VectorAggregation};
use crate::logql::error::ParseError;
use crate::logql::units::{parse_bytes, parse_float, parse_go_duration};
use crate::logql::vector::is_pushed_down;

/// What one record is worth.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// 1.
    Line,
    /// The length of the line.
    Bytes,
    /// The number in a label, and how it is read.
    Label(String, Conversion),
}

/// Runs records through the stages of a range aggregation and says what each counts.
#[derive(Debug, Clone)]
pub struct SampleExtractor {
    pipeline: Pipeline,
    value: SampleValue,
    filters: Vec<Condition>,
    group_by: GroupBy,
}

impl SampleExtractor {
    /// For `range`, directly under `outer` if that is what it stands in: the grouping of a `sum` over a count, rate or
    /// sum is applied to records already, as in Loki (the outer aggregation then finds its series as they are).
    ///
    /// # Errors
    /// When the text of a stage is malformed.
    pub fn new(range: &RangeAggregation, outer: Option<&VectorAggregation>) -> Result<Self, ParseError> {
        let grouping = effective_grouping(range, outer);
        let mut stages = steps(&range.log.stages)?;
        if let Some(unwrap) = &range.unwrap
            && stages.iter().all(|stage| matches!(stage, Step::Line(_) | Step::Filter(_)))
        {
            stages.retain(|stage| !asks_for_presence(stage, &unwrap.label));
        }
        let filters = range.unwrap.iter().flat_map(|u| &u.filters).map(Condition::new);
        let filters = filters.collect::<Result<Vec<_>, _>>().map_err(ParseError::whole)?;
        let value = match (&range.unwrap, range.op) {
            (Some(unwrap), _) => SampleValue::Label(unwrap.label.to_string(), unwrap.conversion),
            (None, RangeOp::BytesOverTime | RangeOp::BytesRate) => SampleValue::Bytes,
            (None, _) => SampleValue::Line,
        };
        let group_by = group_by(range, grouping.as_ref());
        let demand = demand(&stages, &filters, &value, &group_by);
        Ok(Self { pipeline: Pipeline { stages, demand }, value, filters, group_by })
    }

    /// The stages before the number is taken.
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// What a record is worth.
    pub fn value(&self) -> &SampleValue {
        &self.value
    }

    /// How records are grouped into series.
    pub fn group_by(&self) -> &GroupBy {
        &self.group_by
    }

    /// Runs all stages; the number, or `None` if the record is filtered out or has none. A record with an error that
    /// the query does not ask about must fail the query: see [`Self::fatal_error`].
    pub fn extract(&self, row: &mut Row<'_>) -> Option<f64> {
        self.pipeline.run(row).then(|| self.finish(row))?
    }

    /// As [`Self::extract`], for a row that passed [`Pipeline::leading_line_filters`] already.
    pub fn extract_after(&self, row: &mut Row<'_>) -> Option<f64> {
        self.pipeline.run_after(row).then(|| self.finish(row))?
    }

    fn finish(&self, row: &mut Row<'_>) -> Option<f64> {
        let value = match &self.value {
            SampleValue::Line => 1.0,
            SampleValue::Bytes => row.line().len() as f64,
            SampleValue::Label(label, conversion) => {
                let text = row.get(label).filter(|text| !text.is_empty())?;
                match convert(&text, *conversion) {
                    Ok(value) => value,
                    Err(details) => {
                        drop(text);
                        row.set_error(SAMPLE, Some(details));
                        0.0
                    }
                }
            }
        };
        self.filters.iter().all(|filter| filter.holds(row)).then_some(value)
    }

    /// Whether a row that passed [`Pipeline::leading_line_filters`] passes everything else, whatever number it has.
    pub(crate) fn passes_after(&self, row: &mut Row<'_>) -> bool {
        self.pipeline.run_after(row) && self.filters.iter().all(|filter| filter.holds(row))
    }

    /// Whether records with errors may come through: the query asks about errors.
    pub(crate) fn keeps_errors(&self) -> bool {
        self.pipeline.demand.keeps_errors()
    }

    /// The labels that decide, beside line filters, whether a record passes and to which series it belongs, if there
    /// are only filters and a grouping by names.
    pub(crate) fn deciding_names(&self) -> Option<Vec<String>> {
        let groups = match &self.group_by {
            GroupBy::Nothing => &[][..],
            GroupBy::By(groups) => groups,
            GroupBy::All | GroupBy::Without(_) => return None,
        };
        if !self.pipeline.only_filters() {
            return None;
        }
        let mut names: Vec<String> = groups.to_vec();
        self.each_filter_name(&mut |name| names.push(name.to_owned()));
        let stems: Vec<String> =
            names.iter().filter_map(|name| name.strip_suffix(DUPLICATE_SUFFIX).map(str::to_owned)).collect();
        names.extend(stems);
        names.sort_unstable();
        names.dedup();
        Some(names)
    }

    /// Which metadata a record's way can look at. `None` means any.
    pub(crate) fn metadata_names(&self) -> Option<Vec<&str>> {
        let mut names = self.pipeline.metadata_names()?;
        match &self.group_by {
            GroupBy::Nothing => {}
            GroupBy::By(groups) => names.extend(groups.iter().map(String::as_str)),
            GroupBy::All | GroupBy::Without(_) => return None,
        }
        self.filters.iter().for_each(|filter| filter.each_name(&mut |name| names.push(name)));
        if let SampleValue::Label(label, _) = &self.value {
            names.push(label);
        }
        Some(names)
    }

    fn each_filter_name<'s>(&'s self, visit: &mut impl FnMut(&'s str)) {
        self.pipeline.stages.iter().for_each(|stage| stage.each_name(visit));
        self.filters.iter().for_each(|filter| filter.each_name(visit));
    }

    /// The error of a row that was extracted, if it fails the query, in Loki's words.
    pub fn fatal_error(row: &Row<'_>) -> Option<String> {
        let error = row.error()?;
        if row.get(PRESERVE_ERROR_LABEL).is_some_and(|value| value == "true") {
            return None;
        }
        let series = row.labels();
        Some(format!(
            "pipeline error: '{error}' for series: '{series}'.\n\
             Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
             To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
             The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
        ))
    }
}

/// `| x != ""` says nothing that `unwrap x` does not say: without a value there is no sample.
fn asks_for_presence(stage: &Step, label: &str) -> bool {
    matches!(stage, Step::Filter(Condition::Text(matcher))
        if *matcher.name == *label && matcher.op == MatchOp::NotEqual && matcher.value.is_empty())
}

fn convert(text: &str, conversion: Conversion) -> Result<f64, String> {
    match conversion {
        Conversion::Number => parse_float(text),
        Conversion::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
        Conversion::Duration | Conversion::DurationSeconds => parse_go_duration(text).map(seconds),
    }
}

/// Go's `Duration.Seconds`: whole seconds and the rest are added.
pub(crate) fn seconds(ns: i64) -> f64 {
    (ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9
}

fn effective_grouping(range: &RangeAggregation, outer: Option<&VectorAggregation>) -> Option<Grouping> {
    let pushed = outer.filter(|outer| is_pushed_down(range, outer));
    match pushed {
        Some(outer) => Some(outer.grouping.clone().unwrap_or_default()),
        None => range.grouping.clone(),
    }
}

fn group_by(range: &RangeAggregation, grouping: Option<&Grouping>) -> GroupBy {
    let sorted = |labels: &[String], more: Option<&str>| {
        let mut names: Vec<String> = labels.iter().cloned().chain(more.map(str::to_owned)).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    if range.op == RangeOp::AbsentOverTime {
        return GroupBy::Nothing;
    }
    let unwrapped = range.unwrap.as_ref().map(|unwrap| &*unwrap.label);
    match (grouping, unwrapped) {
        (Some(g), _) if !g.without && g.labels.is_empty() => GroupBy::Nothing,
        (Some(g), _) if !g.without => GroupBy::By(sorted(&g.labels, None)),
        // The unwrapped label is a number, not a part of the series' name.
        (g, Some(label)) => GroupBy::Without(sorted(g.map_or(&[], |g| &g.labels), Some(label))),
        (Some(g), None) if !g.labels.is_empty() => GroupBy::Without(sorted(&g.labels, None)),
        _ => GroupBy::All,
    }
}

/// What parsers must find, as Loki decides it.
fn demand(stages: &[Step], filters: &[Condition], value: &SampleValue, group_by: &GroupBy) -> Demand {
    let groups = match group_by {
        GroupBy::All | GroupBy::Without(_) => return Demand::All,
        GroupBy::Nothing => &[][..],
        GroupBy::By(groups) => groups,
    };
    let mut names: Vec<&str> = Vec::new();
    stages.iter().for_each(|stage| stage.each_name(&mut |name| names.push(name)));
    filters.iter().for_each(|filter| filter.each_name(&mut |name| names.push(name)));
    names.extend(groups.iter().map(String::as_str));
    if let SampleValue::Label(label, _) = value {
        names.push(label);
    }
    Demand::names(names)
}
