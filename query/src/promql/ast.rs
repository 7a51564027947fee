//! PromQL as a tree. Times and durations are milliseconds.

use std::sync::Arc;

use crate::regexp::{AnchoredRegex, RegexError};

/// Where in the query's text an expression stands: bytes from `start` up to `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// An expression and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it stands.
    pub span: Span,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A number.
    Number(f64),
    /// A number written as a duration, in seconds: `1h` is 3600.
    Duration(f64),
    /// A string.
    String(String),
    /// `metric{label="value"}` with its modifiers.
    Vector(VectorSelector),
    /// `selector[5m]`.
    Matrix(MatrixSelector),
    /// `expr[5m:1m]`.
    Subquery(Subquery),
    /// `name(arguments)`.
    Call(Call),
    /// `sum by (a) (expr)`.
    Aggregate(Aggregate),
    /// `left op right`.
    Binary(Binary),
    /// `-expr`; `+expr` is there for the sake of formatting.
    Unary {
        /// `-` and not `+`.
        negative: bool,
        /// What it applies to.
        expr: Box<Expr>,
    },
    /// `(expr)`.
    Paren(Box<Expr>),
}

/// What an expression evaluates to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number a step.
    Scalar,
    /// A string.
    String,
    /// At most one sample of each series a step.
    Vector,
    /// A range of samples of each series.
    Matrix,
}

impl ValueType {
    /// As Prometheus writes it in its error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// As the `resultType` of an answer.
    pub fn result_type(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// A length of time in a query: a constant, or an expression of constants, `step()`, `range()` and the like.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// Milliseconds.
    Constant(i64),
    /// An expression of numbers (seconds) and durations, evaluated once the step and range of the query are known.
    Expr(DurationExpr, Span),
}

/// Duration arithmetic (Prometheus's experimental duration expressions). Every value is in seconds.
#[derive(Debug, Clone, PartialEq)]
pub enum DurationExpr {
    /// Seconds, written as a number (`false`) or as a duration (`true`). A sign before it is part of it.
    Number(f64, bool),
    /// The step of the query; 0 for instant queries.
    Step,
    /// The range of the query, its end less its start; 0 for instant queries.
    Range,
    /// `-x`; of a number, the sign is the number's.
    Negative(Box<DurationExpr>),
    /// One of `+ - * / % ^`. What divides is no constant zero.
    Binary(char, Box<DurationExpr>, Box<DurationExpr>),
    /// The lesser.
    Min(Box<DurationExpr>, Box<DurationExpr>),
    /// The greater.
    Max(Box<DurationExpr>, Box<DurationExpr>),
    /// In parentheses, for the sake of formatting.
    Paren(Box<DurationExpr>),
}

/// How a label is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends.
    Regex,
    /// `!~`, anchored at both ends.
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

/// One matcher of a selector. A series without the label counts as having it empty.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// The label; the metric's name is `__name__`.
    pub name: String,
    /// How.
    pub op: MatchOp,
    /// The value, or the regular expression as written.
    pub value: String,
    /// The compiled expression, of the two regex operators.
    pub regex: Option<Arc<AnchoredRegex>>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Matcher {
    /// A matcher of that label.
    ///
    /// # Errors
    /// When the value is no regular expression although the operator wants one.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, RegexError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Arc::new(AnchoredRegex::new(&value)?)),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// Whether a value (empty: none) matches.
    pub fn matches(&self, value: &str) -> bool {
        let by_regex = || self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => by_regex(),
            MatchOp::NotRegex => !by_regex(),
        }
    }
}

/// A point in time given with `@`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// Milliseconds since 1970.
    Time(i64),
    /// `@ start()`.
    Start,
    /// `@ end()`.
    End,
}

/// How a selector looks at the edges of a range (Prometheus's extended range selectors).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Edges {
    /// Samples inside of the range only, extrapolated.
    #[default]
    Extrapolated,
    /// `anchored`: the last sample before the range counts as standing at its start.
    Anchored,
    /// `smoothed`: values at the edges are interpolated.
    Smoothed,
}

/// `name{matchers} offset 5m @ 123`.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric's name where it stands before the braces (it is among the matchers too).
    pub name: Option<String>,
    /// Every matcher, the name's among them.
    pub matchers: Vec<Matcher>,
    /// `offset`; a negative one looks ahead.
    pub offset: Option<Duration>,
    /// `@`.
    pub at: Option<At>,
    /// `anchored` or `smoothed`.
    pub edges: Edges,
}

/// `selector[range]`. Offset, `@` and edges are the selector's.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixSelector {
    /// What is selected.
    pub selector: VectorSelector,
    /// How far back.
    pub range: Duration,
}

/// `expr[range:step] offset o @ t`.
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Box<Expr>,
    /// How far back.
    pub range: Duration,
    /// Every so often; without one the default step of the server.
    pub step: Option<Duration>,
    /// `offset`.
    pub offset: Option<Duration>,
    /// `@`.
    pub at: Option<At>,
}

/// A call of a function whose name, argument count and types have been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The function's name.
    pub function: &'static str,
    /// Its arguments.
    pub args: Vec<Expr>,
}

/// The aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    CountValues,
    Quantile,
    LimitK,
    LimitRatio,
}

impl AggregateOp {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::TopK => "topk",
            Self::BottomK => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::LimitK => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// Whether it takes a parameter before its expression.
    pub fn has_parameter(self) -> bool {
        matches!(
            self,
            Self::TopK | Self::BottomK | Self::CountValues | Self::Quantile | Self::LimitK | Self::LimitRatio
        )
    }
}

/// Labels that stay (`by`) or go (`without`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// Only these stay.
    By(Vec<String>),
    /// These go, and the name.
    Without(Vec<String>),
}

/// `op by (labels) (parameter, expr)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// What is done.
    pub op: AggregateOp,
    /// `topk`'s, `quantile`'s, ... first argument.
    pub parameter: Option<Box<Expr>>,
    /// Over what.
    pub expr: Box<Expr>,
    /// Groups; without any, `By([])`.
    pub grouping: Grouping,
}

/// The binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Unless,
    /// `</`: the observations of a histogram below a bound (Prometheus's TRIM_LOWER/TRIM_UPPER).
    TrimUpper,
    /// `>/`
    TrimLower,
}

impl BinaryOp {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// As a [`DurationExpr`] has it: one of `+ - * / % ^`.
    pub fn of_durations(self) -> Option<char> {
        Some(match self {
            Self::Add => '+',
            Self::Sub => '-',
            Self::Mul => '*',
            Self::Div => '/',
            Self::Mod => '%',
            Self::Pow => '^',
            _ => return None,
        })
    }

    /// `== != < <= > >=`.
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }

    /// `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// Which side of a match may have many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cardinality {
    /// Neither.
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// `and`, `or`, `unless`.
    ManyToMany,
}

/// How the series of two sides find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// Which side may have many.
    pub cardinality: Cardinality,
    /// `on (labels)`; else `ignoring (labels)`, and without either `ignoring ()`.
    pub on: bool,
    /// Their labels.
    pub labels: Vec<String>,
    /// Labels that `group_left (labels)` takes over from the one side.
    pub include: Vec<String>,
    /// `fill` and `fill_left`: the value of a missing left side.
    pub fill_left: Option<f64>,
    /// `fill` and `fill_right`: the value of a missing right side.
    pub fill_right: Option<f64>,
}

/// `left op matching right`.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// What is done.
    pub op: BinaryOp,
    /// Left side.
    pub left: Box<Expr>,
    /// Right side.
    pub right: Box<Expr>,
    /// `bool`.
    pub bool_result: bool,
    /// Of two vectors; `None` when a side is a scalar.
    pub matching: Option<VectorMatching>,
}
