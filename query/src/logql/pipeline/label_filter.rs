//! Label filters.

use super::error_kind::LABEL_FILTER;
use super::ip::IpPattern;
use super::row::Row;
use crate::logql::ast::{Comparison, LabelFilter, Matcher};
use crate::logql::units::{parse_bytes, parse_float, parse_go_duration};

/// A condition on labels, ready to run.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Text(Matcher),
    Number(Comparison<f64>),
    Duration(Comparison<i64>),
    Bytes(Comparison<u64>),
    Ip { name: String, negated: bool, pattern: IpPattern },
}

impl Condition {
    pub(crate) fn new(filter: &LabelFilter) -> Result<Self, String> {
        let both = |left: &LabelFilter, right: &LabelFilter| {
            Ok::<_, String>((Box::new(Self::new(left)?), Box::new(Self::new(right)?)))
        };
        Ok(match filter {
            LabelFilter::And(left, right) => {
                let (left, right) = both(left, right)?;
                Self::And(left, right)
            }
            LabelFilter::Or(left, right) => {
                let (left, right) = both(left, right)?;
                Self::Or(left, right)
            }
            LabelFilter::Text(matcher) => Self::Text(matcher.clone()),
            LabelFilter::Number(comparison) => Self::Number(comparison.clone()),
            LabelFilter::Duration(comparison) => Self::Duration(comparison.clone()),
            LabelFilter::Bytes(comparison) => Self::Bytes(comparison.clone()),
            LabelFilter::Ip { name, negated, pattern } => {
                Self::Ip { name: name.to_string(), negated: *negated, pattern: IpPattern::new(pattern)? }
            }
        })
    }

    /// Whether the row passes. A quantity that cannot be read lets it pass, marked with an error; a label that is
    /// missing does not compare with any quantity.
    pub(crate) fn holds(&self, row: &mut Row<'_>) -> bool {
        match self {
            // Both sides run, so that an error on the right is seen although the left fails.
            Self::And(left, right) => {
                let left = left.holds(row);
                right.holds(row) && left
            }
            Self::Or(left, right) => left.holds(row) || right.holds(row),
            Self::Text(matcher) => matcher.matches(&row.filter_value(&matcher.name)),
            Self::Number(comparison) => compare(row, comparison, parse_float),
            Self::Duration(comparison) => compare(row, comparison, parse_go_duration),
            Self::Bytes(comparison) => compare(row, comparison, parse_bytes),
            Self::Ip { name, negated, pattern } => {
                // Loki looks at what a parser finds before the line's error is known.
                (row.error().is_some() && !row.was_made(name))
                    || row.get(name).is_some_and(|value| pattern.is_in(&value) != *negated)
            }
        }
    }

    /// Calls `visit` with each label that is looked at.
    pub(crate) fn each_name<'c>(&'c self, visit: &mut impl FnMut(&'c str)) {
        match self {
            Self::And(left, right) | Self::Or(left, right) => {
                left.each_name(visit);
                right.each_name(visit);
            }
            Self::Text(matcher) => visit(&matcher.name),
            Self::Number(comparison) => visit(&comparison.name),
            Self::Duration(comparison) => visit(&comparison.name),
            Self::Bytes(comparison) => visit(&comparison.name),
            Self::Ip { name, .. } => visit(name),
        }
    }
}

fn compare<T: PartialOrd + Copy>(
    row: &mut Row<'_>,
    comparison: &Comparison<T>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> bool {
    let parsed = match row.get(&comparison.name) {
        None => return false,
        Some(value) => parse(&value),
    };
    match parsed {
        Ok(value) => comparison.op.holds(value, comparison.value),
        Err(details) => {
            if row.error().is_none() {
                row.set_error(LABEL_FILTER, Some(details));
            }
            true
        }
    }
}
