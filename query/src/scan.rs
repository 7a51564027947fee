//! What of a snapshot a log selector can match: parts, streams and row ranges, pruned by everything that storage knows.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use storage::patterns::{PatternTable, Verdict};
use storage::{AttributeSelection, Part, Predicate, Projection, Snapshot, StorageError, Stream, TimeRange};

use crate::engine::Context;
use crate::error::QueryError;
use crate::logql::format::stage_line;
use crate::logql::literals::required;
use crate::logql::pipeline::DUPLICATE_SUFFIX;
use crate::logql::{LabelFilter, LineFilter, LineFilterKind, LineOperand, LogExpr, MatchOp, Matcher, Stage, literals};
use crate::metadata::{LEVEL, OBSERVED, PATTERN, RowsView};
use crate::parallel::{for_each, in_turn};
use crate::regexp::literal_of;
use crate::stats::Counters;

/// So many parts are pruned by one thread where time and streams alone decide.
const PARTS_IN_TURN: usize = 64;
/// The disk is told so many parts ahead what will be read.
pub(crate) const PARTS_AHEAD: usize = 16;
/// Patterns are asked where at most one row in so many is left open by them.
const OPEN_ONE_IN: u64 = 20;

/// A part with what is wanted of it.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    pub(crate) part: Part,
    /// For each of the part's streams.
    pub(crate) wanted: Vec<bool>,
    /// Ascending row ranges that can match.
    pub(crate) ranges: Vec<Range<u32>>,
    /// For each pattern of the part, whether its lines pass the leading line filters; `None` where lines must be read.
    pub(crate) verdicts: Option<Arc<Vec<Verdict>>>,
    /// Attributes of which a row must have one of the values.
    equalities: Vec<(Arc<str>, Vec<String>)>,
}

impl Selected {
    /// The same, without what patterns say.
    pub(crate) fn undecided(&self) -> Self {
        Self { verdicts: None, ..self.clone() }
    }

    /// The same, as if the rows that patterns let pass were not there.
    pub(crate) fn open_alone(&self) -> Self {
        let never = |verdict: &Verdict| if *verdict == Verdict::Perhaps { Verdict::Perhaps } else { Verdict::Never };
        let verdicts = self.verdicts.as_ref().map(|verdicts| Arc::new(verdicts.iter().map(never).collect()));
        Self { verdicts, ..self.clone() }
    }

    /// Leaves the rows of `selected` that have the values that filters ask for by `=`, without looking up labels.
    pub(crate) fn keep_equal(&self, view: &RowsView<'_>, selected: &mut Vec<u32>) {
        for (key, values) in &self.equalities {
            match view.column(key) {
                Some(column) => column.keep_equal(values, selected),
                None => selected.clear(),
            }
        }
    }
}

/// Prunes a snapshot for `log` in `time`, all parts at once. Rows that remain are to be checked for time, text and
/// attributes; streams are exact. In the order of the snapshot. With `by_patterns`, for who has no other use of the text
/// than the leading line filters, patterns are asked about these.
pub(crate) fn select(
    context: &Context<'_>,
    snapshot: &Snapshot,
    log: &LogExpr,
    time: &TimeRange,
    by_patterns: bool,
) -> Result<Vec<Selected>, QueryError> {
    let has_patterns = by_patterns && matches!(log.stages.first(), Some(Stage::LineFilter(_)));
    let parts = &snapshot.parts;
    let candidate = |found: &mut Vec<(usize, Candidate)>, number: usize, part: &Part| {
        context.budget.check()?;
        found.extend(Candidate::of(part, log, time, context.counters).map(|candidate| (number, candidate)));
        Ok(())
    };
    let candidates = in_order(match parts.len() <= PARTS_IN_TURN {
        true => in_turn(parts, Vec::new, candidate)?,
        false => for_each(context.threads(), parts, Vec::new, candidate)?,
    });
    let announce = |candidate: &Candidate| {
        candidate.part.announce_prune(&candidate.predicate);
        if has_patterns {
            candidate.part.announce_patterns();
        }
    };
    candidates.iter().take(PARTS_AHEAD).for_each(announce);
    let prune = |found: &mut Vec<(usize, Selected)>, number: usize, one: &Candidate| {
        context.budget.check()?;
        candidates.get(number + PARTS_AHEAD).iter().for_each(|next| announce(next));
        if let Some(mut selected) = one.prune(context.counters)? {
            if has_patterns {
                selected.verdicts = verdicts(log, &selected.part)?.map(Arc::new);
            }
            found.push((number, selected));
        }
        Ok(())
    };
    Ok(in_order(match log.stages.is_empty() && candidates.len() <= PARTS_IN_TURN {
        true => in_turn(&candidates, Vec::new, prune)?,
        false => for_each(context.threads(), &candidates, Vec::new, prune)?,
    }))
}

/// What several threads found, by number.
fn in_order<T>(found: Vec<Vec<(usize, T)>>) -> Vec<T> {
    let mut found: Vec<(usize, T)> = found.into_iter().flatten().collect();
    found.sort_unstable_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, one)| one).collect()
}

/// A part some of whose streams are wanted.
struct Candidate {
    part: Part,
    predicate: Predicate,
}

impl Candidate {
    fn of(part: &Part, log: &LogExpr, time: &TimeRange, counters: &Counters) -> Option<Self> {
        Counters::add(&counters.parts, 1);
        let in_time = part.time_bounds().is_some_and(|(first, last)| first < time.end && last >= time.start);
        let wanted = if in_time { wanted_streams(part.streams(), &log.matchers) } else { Vec::new() };
        if !wanted.contains(&true) {
            Counters::add(&counters.parts_pruned, 1);
            return None;
        }
        let predicate = Predicate {
            time: Some(time.clone()),
            message: needles(log, part),
            attributes: equalities(log, part, &wanted),
            streams: Some(wanted),
        };
        Some(Self { part: part.clone(), predicate })
    }

    fn prune(&self, counters: &Counters) -> Result<Option<Selected>, StorageError> {
        let (ranges, left) = self.part.prune_counted(&self.predicate)?;
        Counters::add(&counters.rows_in_time, left.in_time);
        Counters::add(&counters.rows_with_values, left.with_values);
        if ranges.is_empty() {
            Counters::add(&counters.parts_pruned, 1);
            return Ok(None);
        }
        Counters::add(&counters.rows_considered, ranges.iter().map(|r| u64::from(r.end - r.start)).sum());
        Ok(Some(Selected {
            part: self.part.clone(),
            wanted: self.predicate.streams.clone().unwrap_or_default(),
            ranges,
            verdicts: None,
            equalities: self.predicate.attributes.clone(),
        }))
    }
}

/// What the part's patterns say about the leading line filters, where they decide most rows.
fn verdicts(log: &LogExpr, part: &Part) -> Result<Option<Vec<Verdict>>, StorageError> {
    let filters: Vec<&LineFilter> = log
        .stages
        .iter()
        .map_while(|stage| if let Stage::LineFilter(filter) = stage { Some(filter) } else { None })
        .collect();
    let Some(table) = part.patterns()? else { return Ok(None) };
    let mut all = vec![Verdict::Always; table.rows().len()];
    for filter in filters {
        let of_filter = filter_verdicts(filter, &table);
        // Worse is less: every filter must pass.
        all.iter_mut().zip(of_filter).for_each(|(all, one)| *all = (*all).min(one));
    }
    let (mut open, mut rows) = (0, 0);
    for (verdict, count) in all.iter().zip(table.rows()) {
        rows += u64::from(*count);
        open += if *verdict == Verdict::Perhaps { u64::from(*count) } else { 0 };
    }
    Ok((open * OPEN_ONE_IN <= rows).then_some(all))
}

fn filter_verdicts(filter: &LineFilter, table: &PatternTable) -> Vec<Verdict> {
    let perhaps = || vec![Verdict::Perhaps; table.rows().len()];
    let mut any = vec![Verdict::Never; table.rows().len()];
    for operand in &filter.operands {
        let literal = match (filter.kind, operand) {
            (LineFilterKind::Contains, LineOperand::Text(text)) => Some(text.clone()),
            (LineFilterKind::Regex, LineOperand::Text(text)) => literal_of(text),
            _ => None,
        };
        let of_operand = match literal {
            // The empty text has rules of its own.
            Some(text) if text.is_empty() => return perhaps(),
            Some(text) => table.verdicts(&text),
            // Lines without a text that every match has do not match.
            None => required(filter.kind, operand).iter().fold(perhaps(), |mut all, text| {
                let never = table.verdicts(text).into_iter().map(|verdict| verdict == Verdict::Never);
                all.iter_mut().zip(never).filter(|(_, never)| *never).for_each(|(one, _)| *one = Verdict::Never);
                all
            }),
        };
        any.iter_mut().zip(of_operand).for_each(|(any, one)| *any = (*any).max(one));
    }
    if filter.negated {
        any.iter_mut().for_each(|verdict| {
            *verdict = match verdict {
                Verdict::Never => Verdict::Always,
                Verdict::Perhaps => Verdict::Perhaps,
                Verdict::Always => Verdict::Never,
            }
        });
    }
    any
}

/// Which streams the matchers want; a missing label counts as empty.
pub(crate) fn wanted_streams(streams: &[Arc<Stream>], matchers: &[Matcher]) -> Vec<bool> {
    let fits = |stream: &Arc<Stream>| {
        matchers.iter().all(|matcher| matcher.matches(stream.labels().get(&matcher.name).unwrap_or_default()))
    };
    streams.iter().map(fits).collect()
}

fn needles(log: &LogExpr, part: &Part) -> Vec<Vec<storage::Needle>> {
    if log.stages.is_empty() {
        return Vec::new();
    }
    let names: std::cell::OnceCell<HashSet<String>> = std::cell::OnceCell::new();
    let fixed = [LEVEL, OBSERVED, PATTERN];
    let known = |name: &str| fixed.contains(&name) || names.get_or_init(|| all_names(part)).contains(name);
    literals::needles(&log.stages, &known)
}

/// Every name that a record of the part can have as a stream label, resource attribute or attribute.
fn all_names(part: &Part) -> HashSet<String> {
    let mut names: HashSet<String> = part.attribute_keys().iter().map(|key| key.to_string()).collect();
    for stream in part.streams() {
        for (name, _) in stream.labels().iter().chain(stream.resource().iter()) {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// Attributes that must have a value: from filters that come before anything that could make such a label, on names that
/// no wanted stream has itself.
fn equalities(log: &LogExpr, part: &Part, wanted: &[bool]) -> Vec<(Arc<str>, Vec<String>)> {
    let mut found = Vec::new();
    for stage in &log.stages {
        match stage {
            Stage::LineFilter(_) => {}
            Stage::LabelFilter(filter) => conjuncts(filter, &mut found),
            _ => break,
        }
    }
    found.retain(|(name, values): &(Arc<str>, Vec<String>)| {
        let of_wanted_stream = || part.streams().iter().zip(wanted).any(|(s, wanted)| *wanted && s.has_name(name));
        !values.iter().any(String::is_empty)
            && ![LEVEL, OBSERVED, PATTERN].contains(&name.as_ref())
            && !name.starts_with("__")
            && !name.ends_with(DUPLICATE_SUFFIX)
            && (!part.has_stream_name(name) || !of_wanted_stream())
    });
    found
}

fn conjuncts(filter: &LabelFilter, found: &mut Vec<(Arc<str>, Vec<String>)>) {
    match filter {
        LabelFilter::And(left, right) => {
            conjuncts(left, found);
            conjuncts(right, found);
        }
        LabelFilter::Text(matcher) if matches!(matcher.op, MatchOp::Equal | MatchOp::Regex) => {
            if let Some(values) = matcher.exact_values() {
                found.push((Arc::clone(&matcher.name), values.into_iter().map(str::to_owned).collect()));
            }
        }
        _ => {}
    }
}

/// Whether the stages could look at the pattern of a line.
pub(crate) fn names_pattern(stages: &[Stage]) -> bool {
    stages.iter().any(|stage| stage_line(stage).contains(PATTERN))
}

/// Which columns looking up `names` needs; `None` needs all, and the pattern if `pattern`.
pub(crate) fn projection(names: Option<&[&str]>, message: bool, pattern: bool) -> Projection {
    let Some(names) = names else {
        return Projection {
            run_times: false,
            observed: true,
            level: true,
            message,
            pattern,
            attributes: AttributeSelection::All,
        };
    };
    let mut keys: Vec<Arc<str>> = Vec::new();
    for name in names {
        keys.push(Arc::from(*name));
        if let Some(stem) = name.strip_suffix(DUPLICATE_SUFFIX) {
            keys.push(Arc::from(stem));
        }
    }
    keys.sort();
    keys.dedup();
    let has = |name: &str| keys.iter().any(|k| **k == *name);
    Projection {
        run_times: false,
        observed: has(OBSERVED),
        level: has(LEVEL),
        message,
        pattern: has(PATTERN),
        attributes: if keys.is_empty() { AttributeSelection::None } else { AttributeSelection::Keys(keys) },
    }
}

/// The number of each row of the ranges.
pub(crate) fn row_numbers(ranges: &[Range<u32>]) -> Vec<u32> {
    ranges.iter().cloned().flatten().collect()
}

/// Ascending rows as ranges.
pub(crate) fn ranges_of(rows: Vec<u32>) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}

/// Cuts ranges into pieces of about `rows` rows, for threads to share.
pub(crate) fn pieces(ranges: &[Range<u32>], rows: u32) -> Vec<Vec<Range<u32>>> {
    let mut pieces: Vec<Vec<Range<u32>>> = Vec::new();
    let (mut current, mut filled) = (Vec::new(), 0);
    for range in ranges {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + (rows - filled));
            current.push(start..end);
            filled += end - start;
            start = end;
            if filled >= rows {
                pieces.push(std::mem::take(&mut current));
                filled = 0;
            }
        }
    }
    if !current.is_empty() {
        pieces.push(current);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_all_rows_in_order() {
        let cut = pieces(&[0..5, 7..8, 10..22], 6);
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        assert_eq!(cut.concat(), [0..5, 7..8, 10..16, 16..22]);
        assert!(pieces(&[], 6).is_empty());
    }
}
