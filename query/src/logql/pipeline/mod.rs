//! Pipelines: what a query does to each record.
//!
//! A [`Pipeline`] is built once from the stages of a query and shared by all threads; a [`Row`] carries one record
//! through it. [`SampleExtractor`] does the same for metric queries and ends in a number. Stage by stage the rules
//! are Loki's, those for names that collide, for errors and for what is parsed at all included.

mod demand;
mod error_kind;
mod format_line;
mod ip;
mod json;
mod json_scan;
mod label_filter;
mod labels;
mod line_filter;
mod logfmt;
mod pattern;
mod regexp_parser;
mod row;
mod samples;
mod sanitize;

use super::ast::{LabelChoice, Stage};
use super::error::ParseError;
use super::format::stage_line;
use crate::template::{Template, loki};
use demand::Demand;
use json::JsonExpressions;
use label_filter::Condition;
use labels::LabelFormatter;
pub use line_filter::LineMatcher;
use logfmt::LogfmtParser;
use pattern::PatternParser;
pub(crate) use pattern::line_texts;
use regexp_parser::RegexpParser;
pub use row::{
    Category, DUPLICATE_SUFFIX, ERROR_DETAILS_LABEL, ERROR_LABEL, GroupBy, Metadata, NoMetadata, PRESERVE_ERROR_LABEL,
    Row,
};
pub use samples::{SampleExtractor, SampleValue};
pub(crate) use sanitize::append as append_name;

/// The stages of a query, ready to run.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    stages: Vec<Step>,
    demand: Demand,
}

/// One stage.
#[derive(Debug, Clone)]
enum Step {
    Line(LineMatcher),
    Json,
    JsonExpressions(JsonExpressions),
    Logfmt(LogfmtParser),
    Pattern(PatternParser),
    Regexp(RegexpParser),
    Unpack,
    Decolorize,
    Filter(Condition),
    FormatLine(Template),
    FormatLabels(LabelFormatter),
    Keep(Vec<LabelChoice>),
    Drop(Vec<LabelChoice>),
}

impl Pipeline {
    /// For a log query, which shows all labels.
    ///
    /// # Errors
    /// When the text of a stage (a regex, pattern, template, path) is malformed.
    pub fn new(stages: &[Stage]) -> Result<Self, ParseError> {
        Ok(Self { stages: steps(stages)?, demand: Demand::All })
    }

    /// True if records come out as they went in.
    pub fn is_noop(&self) -> bool {
        self.stages.is_empty()
    }

    /// The line filters that come before anything else: they can run on the text alone, and [`Self::run_after`] goes
    /// on behind them.
    pub fn leading_line_filters(&self) -> impl Iterator<Item = &LineMatcher> {
        self.stages.iter().map_while(|step| if let Step::Line(filter) = step { Some(filter) } else { None })
    }

    /// True if there is nothing but line filters: neither labels nor the line change.
    pub fn only_filters_lines(&self) -> bool {
        self.stages.iter().all(|step| matches!(step, Step::Line(_)))
    }

    /// True if there is nothing but filters: neither labels nor the line change, and all line filters lead.
    pub(crate) fn only_filters(&self) -> bool {
        self.stages.iter().all(|step| matches!(step, Step::Line(_) | Step::Filter(_)))
    }

    /// Whether something behind the leading line filters can drop a record.
    pub(crate) fn drops_after_leading(&self) -> bool {
        let mut rest = self.stages.iter().skip_while(|step| matches!(step, Step::Line(_)));
        rest.any(|step| matches!(step, Step::Line(_) | Step::Filter(_)))
    }

    /// Whether any stage looks at the line.
    pub(crate) fn reads_line(&self) -> bool {
        !self.stages.iter().all(|step| matches!(step, Step::Filter(_) | Step::Keep(_) | Step::Drop(_)))
    }

    /// Runs all stages. False if the record is filtered out.
    pub fn run(&self, row: &mut Row<'_>) -> bool {
        self.stages.iter().all(|step| step.run(row, &self.demand))
    }

    /// Runs what comes after [`Self::leading_line_filters`].
    pub fn run_after(&self, row: &mut Row<'_>) -> bool {
        let mut rest = self.stages.iter().skip_while(|step| matches!(step, Step::Line(_)));
        rest.all(|step| step.run(row, &self.demand))
    }

    /// Which metadata [`Self::run`] can look at, not counting what is shown at the end. `None` means any: a parser or
    /// a template that asks what exists.
    pub fn metadata_names(&self) -> Option<Vec<&str>> {
        let mut names = Vec::new();
        for step in &self.stages {
            match step {
                Step::Line(_) | Step::Decolorize => {}
                Step::Filter(condition) => condition.each_name(&mut |name| names.push(name)),
                Step::FormatLine(template) if template.only_field().is_some() => names.extend(template.only_field()),
                _ => return None,
            }
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

impl Step {
    fn run(&self, row: &mut Row<'_>, demand: &Demand) -> bool {
        match self {
            Self::Line(filter) => return filter.matches(row.line()),
            Self::Filter(condition) => return condition.holds(row),
            Self::Json => json::parse_all(row, demand),
            Self::JsonExpressions(expressions) => expressions.process(row, demand),
            Self::Logfmt(parser) => parser.process(row, demand),
            Self::Pattern(parser) => parser.process(row, demand),
            Self::Regexp(parser) => parser.process(row, demand),
            Self::Unpack => json::unpack(row, demand),
            Self::Decolorize => format_line::decolorize(row),
            Self::FormatLine(template) => format_line::format_line(row, template),
            Self::FormatLabels(formatter) => formatter.process(row),
            Self::Keep(choices) => labels::keep_labels(row, choices),
            Self::Drop(choices) => labels::drop_labels(row, choices),
        }
        true
    }

    /// Calls `visit` with each label that the stage reads by name.
    fn each_name<'s>(&'s self, visit: &mut impl FnMut(&'s str)) {
        match self {
            Self::Filter(condition) => condition.each_name(visit),
            Self::FormatLine(template) => template.fields().for_each(visit),
            Self::FormatLabels(formatter) => formatter.each_name(visit),
            _ => {}
        }
    }
}

/// The stages in the order in which Loki runs them: line filters move forward to just behind the last stage before
/// them that filters labels or replaces the line (`decolorize` does not count, so a filter behind it sees colours).
pub(crate) fn reordered(stages: &[Stage]) -> Vec<&Stage> {
    let (mut ordered, mut waiting) = (Vec::with_capacity(stages.len()), Vec::new());
    for stage in stages {
        match stage {
            Stage::LineFilter(_) => ordered.push(stage),
            Stage::LabelFilter(_) | Stage::LineFormat(_) | Stage::Unpack => {
                ordered.append(&mut waiting);
                ordered.push(stage);
            }
            _ => waiting.push(stage),
        }
    }
    ordered.append(&mut waiting);
    ordered
}

/// The stages, ready to run. If all of them are filters, those of the line come first: they cost least, and a filter
/// changes nothing that another looks at.
fn steps(stages: &[Stage]) -> Result<Vec<Step>, ParseError> {
    let mut steps = reordered(stages).into_iter().map(step).collect::<Result<Vec<_>, _>>()?;
    if steps.iter().all(|step| matches!(step, Step::Line(_) | Step::Filter(_))) {
        steps.sort_by_key(|step| !matches!(step, Step::Line(_)));
    }
    Ok(steps)
}

/// Says what is wrong with the text of `| pattern`.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    PatternParser::new(pattern).map(drop).map_err(|error| format!("invalid pattern parser: {error}"))
}

/// Says what is wrong with the text of `| regexp`.
pub(crate) fn check_regexp(regex: &str) -> Result<(), String> {
    RegexpParser::new(regex).map(drop).map_err(|error| format!("invalid regexp parser: {error}"))
}

fn step(stage: &Stage) -> Result<Step, ParseError> {
    let built = match stage {
        Stage::LineFilter(filter) => LineMatcher::new(filter).map(Step::Line),
        Stage::Json(extractions) if extractions.is_empty() => Ok(Step::Json),
        Stage::Json(extractions) => JsonExpressions::new(extractions).map(Step::JsonExpressions),
        Stage::Logfmt(logfmt) => LogfmtParser::new(logfmt).map(Step::Logfmt),
        Stage::Pattern(pattern) => PatternParser::new(pattern).map(Step::Pattern),
        Stage::Regexp(regex) => RegexpParser::new(regex).map(Step::Regexp),
        Stage::Unpack => Ok(Step::Unpack),
        Stage::Decolorize => Ok(Step::Decolorize),
        Stage::LabelFilter(filter) => Condition::new(filter).map(Step::Filter),
        Stage::LineFormat(template) => Template::parse("line", template, &[loki::FUNCTIONS])
            .map(Step::FormatLine)
            .map_err(|error| format!("invalid line template: {error}")),
        Stage::LabelFormat(formats) => LabelFormatter::new(formats).map(Step::FormatLabels),
        Stage::Keep(choices) => Ok(Step::Keep(choices.clone())),
        Stage::Drop(choices) => Ok(Step::Drop(choices.clone())),
    };
    built.map_err(|error| ParseError::whole(format!("stage '{}' : {error}", stage_line(stage))))
}

#[cfg(test)]
mod tests;
