//! The functions of PromQL: what they take and what they answer. Behind the parser's type check and the evaluator.

use super::ast::ValueType;
use ValueType::{Matrix, Scalar, String, Vector};

/// What a function takes and answers.
#[derive(Debug, PartialEq, Eq)]
pub struct Signature {
    /// As it is called.
    pub name: &'static str,
    /// The types of its arguments. Of those beyond, the last one's.
    pub args: &'static [ValueType],
    /// 0: exactly these arguments. Else the last one may be left out or come up to so many times, without limit if
    /// negative.
    pub variadic: i32,
    /// What it answers.
    pub returns: ValueType,
    /// Prometheus may still change it, and has it behind a flag.
    pub experimental: bool,
}

impl Signature {
    const fn variadic(mut self, variadic: i32) -> Self {
        self.variadic = variadic;
        self
    }

    const fn experimental(mut self) -> Self {
        self.experimental = true;
        self
    }

    /// The fewest arguments.
    pub fn args_min(&self) -> usize {
        self.args.len() - usize::from(self.variadic != 0)
    }

    /// The most arguments; `None` without limit.
    pub fn args_max(&self) -> Option<usize> {
        match self.variadic {
            0 => Some(self.args.len()),
            more => usize::try_from(more).ok().map(|more| self.args.len() - 1 + more),
        }
    }

    /// The type of an argument, counted from 0; `None` of one too many.
    pub fn arg_type(&self, index: usize) -> Option<ValueType> {
        let beyond = if self.variadic == 0 { None } else { self.args.last() };
        self.args.get(index).or(beyond).copied()
    }
}

/// The function of that name. Names are case-sensitive.
pub fn signature(name: &str) -> Option<&'static Signature> {
    SIGNATURES.binary_search_by(|s| s.name.cmp(name)).ok().and_then(|at| SIGNATURES.get(at))
}

/// Every function, by name.
pub fn signatures() -> &'static [Signature] {
    &SIGNATURES
}

const fn of(name: &'static str, args: &'static [ValueType], returns: ValueType) -> Signature {
    Signature { name, args, variadic: 0, returns, experimental: false }
}

static SIGNATURES: [Signature; 90] = [
    of("abs", &[Vector], Vector),
    of("absent", &[Vector], Vector),
    of("absent_over_time", &[Matrix], Vector),
    of("acos", &[Vector], Vector),
    of("acosh", &[Vector], Vector),
    of("asin", &[Vector], Vector),
    of("asinh", &[Vector], Vector),
    of("atan", &[Vector], Vector),
    of("atanh", &[Vector], Vector),
    of("avg_over_time", &[Matrix], Vector),
    of("ceil", &[Vector], Vector),
    of("changes", &[Matrix], Vector),
    of("clamp", &[Vector, Scalar, Scalar], Vector),
    of("clamp_max", &[Vector, Scalar], Vector),
    of("clamp_min", &[Vector, Scalar], Vector),
    of("cos", &[Vector], Vector),
    of("cosh", &[Vector], Vector),
    of("count_over_time", &[Matrix], Vector),
    of("day_of_month", &[Vector], Vector).variadic(1),
    of("day_of_week", &[Vector], Vector).variadic(1),
    of("day_of_year", &[Vector], Vector).variadic(1),
    of("days_in_month", &[Vector], Vector).variadic(1),
    of("deg", &[Vector], Vector),
    of("delta", &[Matrix], Vector),
    of("deriv", &[Matrix], Vector),
    of("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Vector).experimental(),
    of("end", &[], Scalar).experimental(),
    of("exp", &[Vector], Vector),
    of("first_over_time", &[Matrix], Vector),
    of("floor", &[Vector], Vector),
    of("histogram_avg", &[Vector], Vector),
    of("histogram_count", &[Vector], Vector),
    of("histogram_fraction", &[Scalar, Scalar, Vector], Vector),
    of("histogram_quantile", &[Scalar, Vector], Vector),
    of("histogram_quantiles", &[Vector, String, Scalar, Scalar], Vector).variadic(9).experimental(),
    of("histogram_stddev", &[Vector], Vector),
    of("histogram_stdvar", &[Vector], Vector),
    of("histogram_sum", &[Vector], Vector),
    of("hour", &[Vector], Vector).variadic(1),
    of("idelta", &[Matrix], Vector),
    of("increase", &[Matrix], Vector),
    of("info", &[Vector, Vector], Vector).variadic(1).experimental(),
    of("irate", &[Matrix], Vector),
    of("label_join", &[Vector, String, String, String], Vector).variadic(-1),
    of("label_replace", &[Vector, String, String, String, String], Vector),
    of("last_over_time", &[Matrix], Vector),
    of("ln", &[Vector], Vector),
    of("log10", &[Vector], Vector),
    of("log2", &[Vector], Vector),
    of("mad_over_time", &[Matrix], Vector).experimental(),
    of("max_of", &[Scalar, Scalar], Scalar).experimental(),
    of("max_over_time", &[Matrix], Vector),
    of("min_of", &[Scalar, Scalar], Scalar).experimental(),
    of("min_over_time", &[Matrix], Vector),
    of("minute", &[Vector], Vector).variadic(1),
    of("month", &[Vector], Vector).variadic(1),
    of("pi", &[], Scalar),
    of("predict_linear", &[Matrix, Scalar], Vector),
    of("present_over_time", &[Matrix], Vector),
    of("quantile_over_time", &[Scalar, Matrix], Vector),
    of("rad", &[Vector], Vector),
    of("range", &[], Scalar).experimental(),
    of("rate", &[Matrix], Vector),
    of("resets", &[Matrix], Vector),
    of("round", &[Vector, Scalar], Vector).variadic(1),
    of("scalar", &[Vector], Scalar),
    of("sgn", &[Vector], Vector),
    of("sin", &[Vector], Vector),
    of("sinh", &[Vector], Vector),
    of("sort", &[Vector], Vector),
    of("sort_by_label", &[Vector, String], Vector).variadic(-1).experimental(),
    of("sort_by_label_desc", &[Vector, String], Vector).variadic(-1).experimental(),
    of("sort_desc", &[Vector], Vector),
    of("sqrt", &[Vector], Vector),
    of("start", &[], Scalar).experimental(),
    of("start_timestamp", &[Vector], Vector).experimental(),
    of("stddev_over_time", &[Matrix], Vector),
    of("stdvar_over_time", &[Matrix], Vector),
    of("step", &[], Scalar).experimental(),
    of("sum_over_time", &[Matrix], Vector),
    of("tan", &[Vector], Vector),
    of("tanh", &[Vector], Vector),
    of("time", &[], Scalar),
    of("timestamp", &[Vector], Vector),
    of("ts_of_first_over_time", &[Matrix], Vector).experimental(),
    of("ts_of_last_over_time", &[Matrix], Vector).experimental(),
    of("ts_of_max_over_time", &[Matrix], Vector).experimental(),
    of("ts_of_min_over_time", &[Matrix], Vector).experimental(),
    of("vector", &[Scalar], Vector),
    of("year", &[Vector], Vector).variadic(1),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn is_searchable() {
        assert!(SIGNATURES.is_sorted_by(|a, b| a.name < b.name));
        assert!(SIGNATURES.iter().all(|s| s.variadic == 0 || !s.args.is_empty()));
        assert_eq!(signature("rate").unwrap().args, [Matrix]);
        assert!(signature("Rate").is_none());
    }

    #[test]
    fn counts_arguments() {
        let check = |name: &str, min: usize, max: Option<usize>| {
            let s = signature(name).unwrap();
            assert_eq!((s.args_min(), s.args_max()), (min, max), "{name}");
        };
        check("time", 0, Some(0));
        check("hour", 0, Some(1));
        check("round", 1, Some(2));
        check("label_join", 3, None);
        check("histogram_quantiles", 3, Some(12));
        assert_eq!(signature("label_join").unwrap().arg_type(7), Some(String));
        assert_eq!(signature("time").unwrap().arg_type(0), None);
    }
}
