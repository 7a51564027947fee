//! The syntax tree of LogQL: every form that Loki's grammar knows, with regexes and numbers already checked.
//!
//! The parser builds it, [`super::format`] turns it back into text, the engine plans and runs it. Two trees are
//! equal when they mean the same text. Times are nanoseconds.

use std::fmt;
use std::sync::Arc;

use crate::regexp::{AnchoredRegex, RegexError};

/// A query: one that answers lines, or one that answers numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// `{app="x"} |= "y"`.
    Log(LogExpr),
    /// `sum(rate({app="x"}[5m]))`.
    Metric(MetricExpr),
}

/// A stream selector and what is done to each line of those streams.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogExpr {
    /// All must match a stream's labels. At least one does not match the empty value.
    pub matchers: Vec<Matcher>,
    /// In the order they were written.
    pub stages: Vec<Stage>,
}

/// How a [`Matcher`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A comparison of one label with a text or an anchored regex; a label that is missing counts as empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label.
    pub name: Arc<str>,
    /// The comparison.
    pub op: MatchOp,
    /// Text, or regex as written.
    pub value: Arc<str>,
    regex: Option<AnchoredRegex>,
}

impl Matcher {
    /// Of a stream selector, `keep` or `drop`. Compiles the regex, if it is one.
    ///
    /// # Errors
    /// When the regex is none.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, RegexError> {
        Self::with(name, op, value, AnchoredRegex::new)
    }

    /// Of a label filter: there, `.` does not match a newline.
    ///
    /// # Errors
    /// When the regex is none.
    pub fn in_pipeline(name: &str, op: MatchOp, value: &str) -> Result<Self, RegexError> {
        Self::with(name, op, value, AnchoredRegex::single_line)
    }

    fn with(
        name: &str,
        op: MatchOp,
        value: &str,
        compile: impl Fn(&str) -> Result<AnchoredRegex, RegexError>,
    ) -> Result<Self, RegexError> {
        let regex = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(compile(value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Self { name: name.into(), op, value: value.into(), regex })
    }

    /// Whether a label of this value passes.
    pub fn matches(&self, value: &str) -> bool {
        match (&self.regex, self.op) {
            (None, MatchOp::NotEqual) => *self.value != *value,
            (None, _) => *self.value == *value,
            (Some(regex), MatchOp::NotRegex) => !regex.is_match(value),
            (Some(regex), _) => regex.is_match(value),
        }
    }

    /// Whether a missing label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// The values that can pass, when they are few and known: those of `=`, or of a regex that is a plain alternation.
    pub fn exact_values(&self) -> Option<Vec<&str>> {
        match (&self.regex, self.op) {
            (None, MatchOp::Equal) => Some(vec![&self.value]),
            (Some(regex), MatchOp::Regex) => regex.exact_values(),
            _ => None,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

/// One step of a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// `|= "x"`, `!~ "a" or "b"`, `|> "<_> x"`, `|= ip("10.0.0.0/8")`.
    LineFilter(LineFilter),
    /// `| json`, or `| json a="b.c[0]"` with the fields to take.
    Json(Vec<Extraction>),
    /// `| logfmt`, or with the fields to take.
    Logfmt(Logfmt),
    /// `| pattern "<ip> - <_>"`.
    Pattern(String),
    /// `| regexp "(?P<a>.+)"`.
    Regexp(String),
    /// `| unpack`.
    Unpack,
    /// `| decolorize`.
    Decolorize,
    /// `| status >= 500 and level = "error"`.
    LabelFilter(LabelFilter),
    /// `| line_format "{{.a}}"`: a Go template.
    LineFormat(String),
    /// `| label_format a=b, c="{{.d}}"`.
    LabelFormat(Vec<LabelFormat>),
    /// `| keep a, b="x"`.
    Keep(Vec<LabelChoice>),
    /// `| drop a, b=~"x"`.
    Drop(Vec<LabelChoice>),
}

/// A filter on the line. Without `negated`, one of the operands must be found; with it there is one operand, which
/// must not be.
#[derive(Debug, Clone, PartialEq)]
pub struct LineFilter {
    /// How the texts are compared.
    pub kind: LineFilterKind,
    /// `!=`, `!~`, `!>`.
    pub negated: bool,
    /// One, or several when written with `or`.
    pub operands: Vec<LineOperand>,
}

/// How a [`LineFilter`] compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFilterKind {
    /// `|=`, `!=`: is a substring.
    Contains,
    /// `|~`, `!~`: a regex is found anywhere.
    Regex,
    /// `|>`, `!>`: a pattern with `<_>` for anything.
    Pattern,
}

/// What a [`LineFilter`] looks for.
#[derive(Debug, Clone, PartialEq)]
pub enum LineOperand {
    /// A text, regex or pattern.
    Text(String),
    /// `ip("...")`: an address, a range or a network in CIDR form.
    Ip(String),
}

/// `name="expression"` of `json` and `logfmt`; a bare `name` means `name="name"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extraction {
    /// The label that is made.
    pub name: String,
    /// Where the value comes from.
    pub expression: String,
}

/// `| logfmt`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Logfmt {
    /// `--strict`: a malformed pair ends the parsing with an error.
    pub strict: bool,
    /// `--keep-empty`: a key without value becomes a label with an empty value.
    pub keep_empty: bool,
    /// The fields to take; none takes all.
    pub extractions: Vec<Extraction>,
}

/// A condition on labels.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelFilter {
    /// Both hold: `and`, a comma, or a space between.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// One holds.
    Or(Box<LabelFilter>, Box<LabelFilter>),
    /// `a="x"`, `a=~"x"`.
    Text(Matcher),
    /// `a > 1.5`.
    Number(Comparison<f64>),
    /// `a > 1m30s`, in nanoseconds.
    Duration(Comparison<i64>),
    /// `a > 2KiB`.
    Bytes(Comparison<u64>),
    /// `a = ip("10.0.0.0/8")`.
    Ip {
        /// The label.
        name: Arc<str>,
        /// `!=`.
        negated: bool,
        /// The address, range or network.
        pattern: String,
    },
}

/// A label compared with a quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison<T> {
    /// The label.
    pub name: Arc<str>,
    /// The comparison.
    pub op: CompareOp,
    /// The right side.
    pub value: T,
}

/// An ordering comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CompareOp {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl CompareOp {
    /// As LogQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    /// Whether `left op right` holds; nothing but `!=` holds of NaN.
    pub fn holds<T: PartialOrd + Copy>(self, left: T, right: T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}

/// One assignment of `label_format`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFormat {
    /// The label that is set.
    pub name: String,
    /// From what.
    pub value: LabelFormatValue,
}

/// The right side of a [`LabelFormat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelFormatValue {
    /// Another label, which goes away.
    Rename(String),
    /// A Go template.
    Template(String),
}

/// An entry of `keep` and `drop`.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelChoice {
    /// The label, whatever its value.
    Name(String),
    /// The label, if its value matches.
    Matches(Matcher),
}

/// A query that answers numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricExpr {
    /// `rate({...}[5m])`: from lines to numbers; the only place where logs are read.
    Range(Box<RangeAggregation>),
    /// `sum by (a) (...)`.
    Vector(Box<VectorAggregation>),
    /// `a / b`; never of two literals, these are computed by the parser.
    Binary(Box<BinaryExpr>),
    /// `42`.
    Literal(f64),
    /// `vector(42)`: one series without labels.
    VectorLiteral(f64),
    /// `label_replace(...)`.
    LabelReplace(Box<LabelReplace>),
}

/// An aggregation of lines, or of numbers unwrapped from them, over a time range before each step.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeAggregation {
    /// What is computed.
    pub op: RangeOp,
    /// Only `quantile_over_time` has one.
    pub parameter: Option<f64>,
    /// Which lines.
    pub log: LogExpr,
    /// Which label holds the number.
    pub unwrap: Option<Unwrap>,
    /// `[5m]`.
    pub range_ns: i64,
    /// `offset 1h`, may be negative.
    pub offset_ns: i64,
    /// `by (...)` or `without (...)`.
    pub grouping: Option<Grouping>,
}

macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum $name { $($variant,)* }

        impl $name {
            /// As LogQL writes it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The one of that name, in lower case.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// What a [`RangeAggregation`] computes.
    RangeOp {
        CountOverTime = "count_over_time",
        Rate = "rate",
        RateCounter = "rate_counter",
        BytesOverTime = "bytes_over_time",
        BytesRate = "bytes_rate",
        AvgOverTime = "avg_over_time",
        SumOverTime = "sum_over_time",
        MinOverTime = "min_over_time",
        MaxOverTime = "max_over_time",
        StdvarOverTime = "stdvar_over_time",
        StddevOverTime = "stddev_over_time",
        QuantileOverTime = "quantile_over_time",
        FirstOverTime = "first_over_time",
        LastOverTime = "last_over_time",
        AbsentOverTime = "absent_over_time",
    }
}

named! {
    /// What a [`VectorAggregation`] computes.
    VectorOp {
        Sum = "sum",
        Avg = "avg",
        Max = "max",
        Min = "min",
        Count = "count",
        Stddev = "stddev",
        Stdvar = "stdvar",
        Bottomk = "bottomk",
        Topk = "topk",
        ApproxTopk = "approx_topk",
        Sort = "sort",
        SortDesc = "sort_desc",
    }
}

named! {
    /// An operator between two metric queries.
    BinaryOp {
        Or = "or",
        And = "and",
        Unless = "unless",
        Add = "+",
        Sub = "-",
        Mul = "*",
        Div = "/",
        Mod = "%",
        Pow = "^",
        Equal = "==",
        NotEqual = "!=",
        Greater = ">",
        GreaterOrEqual = ">=",
        Less = "<",
        LessOrEqual = "<=",
    }
}

impl BinaryOp {
    /// `and`, `or`, `unless`: about which series are there, not about numbers.
    pub fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// A comparison, as an ordering.
    pub fn comparison(self) -> Option<CompareOp> {
        Some(match self {
            Self::Equal => CompareOp::Equal,
            Self::NotEqual => CompareOp::NotEqual,
            Self::Greater => CompareOp::Greater,
            Self::GreaterOrEqual => CompareOp::GreaterOrEqual,
            Self::Less => CompareOp::Less,
            Self::LessOrEqual => CompareOp::LessOrEqual,
            _ => return None,
        })
    }
}

/// `| unwrap duration(x) | __error__=""`.
#[derive(Debug, Clone, PartialEq)]
pub struct Unwrap {
    /// The label whose value is the number; it is not a label of the result.
    pub label: Arc<str>,
    /// How the value is read.
    pub conversion: Conversion,
    /// Label filters after the conversion, all of which must hold.
    pub filters: Vec<LabelFilter>,
}

/// How an unwrapped value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Conversion {
    /// A plain number.
    Number,
    /// `bytes(x)`: `4KiB`.
    Bytes,
    /// `duration(x)`: `1m30s`, in seconds.
    Duration,
    /// `duration_seconds(x)`: the same.
    DurationSeconds,
}

impl Conversion {
    /// The function's name, none for a plain number.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Number => None,
            Self::Bytes => Some("bytes"),
            Self::Duration => Some("duration"),
            Self::DurationSeconds => Some("duration_seconds"),
        }
    }
}

/// `by (a, b)` or `without (a, b)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grouping {
    /// Drop these labels instead of keeping them.
    pub without: bool,
    /// As written, in that order.
    pub labels: Vec<String>,
}

/// An aggregation across series, at each step.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorAggregation {
    /// What is computed.
    pub op: VectorOp,
    /// The `k` of `topk`, `bottomk` and `approx_topk`, at least 1.
    pub parameter: Option<i64>,
    /// Of what.
    pub inner: MetricExpr,
    /// `None` means one group of everything, as does `by ()`.
    pub grouping: Option<Grouping>,
}

/// `left op right`.
#[derive(Debug, Clone, PartialEq)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// `bool`: comparisons answer 0 and 1 instead of filtering.
    pub return_bool: bool,
    /// Which series belong together.
    pub matching: Matching,
    /// Left side.
    pub left: MetricExpr,
    /// Right side.
    pub right: MetricExpr,
}

/// Which series of two vectors belong together. The default compares all labels, one to one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    /// `on (...)` or `ignoring (...)`; `None` when neither was written.
    pub labels: Option<MatchingLabels>,
    /// `group_left`, `group_right`.
    pub group: Option<GroupSide>,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
}

/// The labels of [`Matching`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchingLabels {
    /// Only these count.
    On(Vec<String>),
    /// All but these count.
    Ignoring(Vec<String>),
}

/// Which side of a binary operation may have many series for one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum GroupSide {
    Left,
    Right,
}

/// `label_replace(inner, "target", "replacement", "source", "regex")`.
#[derive(Debug, Clone)]
pub struct LabelReplace {
    /// Of what.
    pub inner: MetricExpr,
    /// The label that is set.
    pub target: String,
    /// With `$1`, `${name}`.
    pub replacement: String,
    /// The label that is read.
    pub source: String,
    /// As written.
    pub regex: String,
    /// The compiled, anchored form of `regex`.
    pub compiled: AnchoredRegex,
}

impl PartialEq for LabelReplace {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
            && (&self.target, &self.replacement, &self.source, &self.regex)
                == (&other.target, &other.replacement, &other.source, &other.regex)
    }
}

impl MetricExpr {
    /// Calls `visit` with every range aggregation, left to right.
    pub fn each_range<'a>(&'a self, visit: &mut impl FnMut(&'a RangeAggregation)) {
        match self {
            Self::Range(range) => visit(range),
            Self::Vector(vector) => vector.inner.each_range(visit),
            Self::Binary(binary) => {
                binary.left.each_range(visit);
                binary.right.each_range(visit);
            }
            Self::LabelReplace(replace) => replace.inner.each_range(visit),
            Self::Literal(_) | Self::VectorLiteral(_) => {}
        }
    }
}
