//! Calls: which function does what.

use std::sync::Arc;

use super::annotate::Note;
use super::column::{ABSENT, Column, Evaluated as Evaluation, Series};
use super::prepare::unwrapped;
use super::ranges::RangeArg;
use super::select::Of;
use super::{Evaluator, dates};
use crate::error::QueryError;
use crate::promql::ast::{Call, Expr, Node, Span};
use crate::promql::histogram;

impl Evaluator<'_> {
    pub(super) fn call(&self, call: &Call, span: Span) -> Result<Evaluation, QueryError> {
        let args = &call.args;
        if call.function == "absent_over_time" {
            return self.absent_over_time(call).map(Evaluation::Vector);
        }
        if RangeArg::of(call).is_some() {
            let mut all = Vec::new();
            self.range_call(call, &mut |series| {
                all.extend(series);
                Ok(())
            })?;
            return Ok(Evaluation::Vector(all));
        }
        match call.function {
            "time" => return Ok(Evaluation::Scalar(self.grid.times().map(|time| time as f64 / 1000.0).collect())),
            "pi" => return Ok(Evaluation::Scalar(vec![std::f64::consts::PI; self.grid.count])),
            "max_of" | "min_of" => {
                let (a, b) = (self.scalar(&args[0])?, self.scalar(&args[1])?);
                let pick = if call.function == "max_of" { maximum } else { minimum };
                return Ok(Evaluation::Scalar(a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect()));
            }
            "scalar" => return Ok(Evaluation::Scalar(self.only_float(&args[0])?)),
            _ => {}
        }
        let vector = match call.function {
            "vector" => {
                let column = Column { values: self.scalar(&args[0])?, histograms: Vec::new() };
                vec![Series { labels: Arc::default(), drop_name: false, column }]
            }
            "absent" => self.absent(&args[0])?,
            "timestamp" | "start_timestamp" => self.timestamp(call.function, &args[0])?,
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                if self.is_range {
                    self.notes.add(span, &Note::SortInRange);
                }
                self.sorted(call)?
            }
            "label_replace" => self.label_replace(args)?,
            "label_join" => self.label_join(args)?,
            "info" => self.info(args)?,
            "histogram_quantile" | "histogram_quantiles" | "histogram_fraction" => self.of_histograms(call)?,
            "histogram_count" => self.each_histogram(&args[0], |h| h.count)?,
            "histogram_sum" => self.each_histogram(&args[0], |h| h.sum)?,
            "histogram_avg" => self.each_histogram(&args[0], histogram::avg)?,
            "histogram_stddev" => self.each_histogram(&args[0], histogram::stddev)?,
            "histogram_stdvar" => self.each_histogram(&args[0], histogram::stdvar)?,
            "clamp" => self.clamped(&args[0], Some(&args[1]), Some(&args[2]))?,
            "clamp_min" => self.clamped(&args[0], Some(&args[1]), None)?,
            "clamp_max" => self.clamped(&args[0], None, Some(&args[1]))?,
            "round" => self.rounded(args)?,
            other => match (dates::function(other), number_function(other)) {
                (Some(date), _) if args.is_empty() => {
                    let values = self.grid.times().map(|time| date(time.div_euclid(1000) as f64)).collect();
                    let column = Column { values, histograms: Vec::new() };
                    vec![Series { labels: Arc::default(), drop_name: false, column }]
                }
                (Some(function), _) | (None, Some(function)) => self.each_float(&args[0], function)?,
                (None, None) => return Err(QueryError::Execution(format!("unknown function {other}"))),
            },
        };
        Ok(Evaluation::Vector(vector))
    }

    fn each_float(&self, arg: &Expr, function: impl Fn(f64) -> f64) -> Result<Vec<Series>, QueryError> {
        self.each(arg, |column| column.map_floats(&function))
    }

    fn each_histogram(
        &self,
        arg: &Expr,
        function: impl Fn(&storage::metrics::Histogram) -> f64,
    ) -> Result<Vec<Series>, QueryError> {
        self.each(arg, |column| column.map_histograms(&function))
    }

    fn each(&self, arg: &Expr, change: impl Fn(Column) -> Column) -> Result<Vec<Series>, QueryError> {
        let mut series = self.vector(arg)?;
        for one in &mut series {
            one.column = change(std::mem::take(&mut one.column));
            one.drop_name = true;
        }
        series.retain(|one| !one.column.is_empty());
        Ok(series)
    }

    /// The value of the only series with a plain one, at each step.
    fn only_float(&self, arg: &Expr) -> Result<Vec<f64>, QueryError> {
        let series = self.vector(arg)?;
        let mut found = vec![ABSENT; self.grid.count];
        for one in &series {
            for (step, known) in found.iter_mut().enumerate() {
                if one.column.is_present(step) && one.column.histogram(step).is_none() {
                    let first = super::column::is_absent(*known);
                    *known = if first { one.column.values[step] } else { f64::NAN };
                }
            }
        }
        Ok(found.into_iter().map(|value| if super::column::is_absent(value) { f64::NAN } else { value }).collect())
    }

    fn timestamp(&self, function: &str, arg: &Expr) -> Result<Vec<Series>, QueryError> {
        let of_start = function == "start_timestamp";
        let arg = unwrapped(arg);
        let mut series = match &arg.node {
            Node::Vector(selector) => self.select(selector, arg.span, if of_start { Of::Start } else { Of::Time })?,
            _ if of_start => Vec::new(),
            _ => {
                let mut series = self.vector(arg)?;
                for one in &mut series {
                    let steps = (0..self.grid.count).map(|step| match one.column.is_present(step) {
                        true => self.grid.time(step) as f64 / 1000.0,
                        false => ABSENT,
                    });
                    one.column = Column { values: steps.collect(), histograms: Vec::new() };
                }
                series
            }
        };
        series.iter_mut().for_each(|one| one.drop_name = true);
        Ok(series)
    }

    fn clamped(&self, arg: &Expr, least: Option<&Expr>, greatest: Option<&Expr>) -> Result<Vec<Series>, QueryError> {
        let bound = |expr: Option<&Expr>, open: f64| match expr {
            Some(expr) => self.scalar(expr),
            None => Ok(vec![open; self.grid.count]),
        };
        let least = bound(least, f64::NEG_INFINITY)?;
        let greatest = bound(greatest, f64::INFINITY)?;
        self.each(arg, |column| {
            let mut column = column.map_floats(|value| value);
            for (step, value) in column.values.iter_mut().enumerate() {
                if greatest[step] < least[step] {
                    *value = ABSENT;
                } else if !super::column::is_absent(*value) {
                    *value = maximum(least[step], minimum(greatest[step], *value));
                }
            }
            column
        })
    }

    fn rounded(&self, args: &[Expr]) -> Result<Vec<Series>, QueryError> {
        let to = match args.get(1) {
            Some(to) => self.scalar(to)?,
            None => vec![1.0; self.grid.count],
        };
        self.each(&args[0], |column| {
            let mut column = column.map_floats(|value| value);
            for (value, to) in column.values.iter_mut().zip(&to) {
                if !super::column::is_absent(*value) {
                    let inverse = 1.0 / to;
                    *value = (*value * inverse + 0.5).floor() / inverse;
                }
            }
            column
        })
    }
}

/// As Go's `math.Max`: NaN if one is.
pub(super) fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// As Go's `math.Min`: NaN if one is.
pub(super) fn minimum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

fn number_function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |degrees| degrees * std::f64::consts::PI / 180.0,
        "deg" => |radians| radians * 180.0 / std::f64::consts::PI,
        "sgn" => |value| match value {
            value if value < 0.0 => -1.0,
            value if value > 0.0 => 1.0,
            other => other,
        },
        _ => return None,
    })
}
