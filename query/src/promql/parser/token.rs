//! What the lexer makes of a text, and how error messages name it.

use crate::logql::units::quote;
use crate::promql::ast::{AggregateOp, BinaryOp, Span};

/// One token. Its text is that of its span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Identifier,
    /// An identifier with a colon in it.
    MetricIdentifier,
    Number,
    Duration,
    /// Quoted in any of the three ways.
    Text,
    /// `!=` between braces is an operator too.
    Operator(BinaryOp),
    Aggregator(AggregateOp),
    Keyword(Keyword),
    Query(QueryWord),
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    /// `=`
    Equal,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
    /// The end of the text.
    End,
    /// Where the lexer could not go on.
    Invalid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
}

/// Functions that the grammar knows: they stand for the query's times, or may be part of a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryWord {
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

/// The meaning of a word, in any case; `None` of names.
pub(super) fn word(text: &str) -> Option<Kind> {
    use AggregateOp as A;
    use BinaryOp as B;
    use Keyword as K;
    use QueryWord as Q;
    /// The longest of them.
    const BYTES_MAX: usize = "count_values".len();
    if text.len() > BYTES_MAX {
        return None;
    }
    Some(match text.to_ascii_lowercase().as_str() {
        "and" => Kind::Operator(B::And),
        "or" => Kind::Operator(B::Or),
        "unless" => Kind::Operator(B::Unless),
        "atan2" => Kind::Operator(B::Atan2),
        "sum" => Kind::Aggregator(A::Sum),
        "avg" => Kind::Aggregator(A::Avg),
        "count" => Kind::Aggregator(A::Count),
        "min" => Kind::Aggregator(A::Min),
        "max" => Kind::Aggregator(A::Max),
        "group" => Kind::Aggregator(A::Group),
        "stddev" => Kind::Aggregator(A::Stddev),
        "stdvar" => Kind::Aggregator(A::Stdvar),
        "topk" => Kind::Aggregator(A::TopK),
        "bottomk" => Kind::Aggregator(A::BottomK),
        "count_values" => Kind::Aggregator(A::CountValues),
        "quantile" => Kind::Aggregator(A::Quantile),
        "limitk" => Kind::Aggregator(A::LimitK),
        "limit_ratio" => Kind::Aggregator(A::LimitRatio),
        "offset" => Kind::Keyword(K::Offset),
        "smoothed" => Kind::Keyword(K::Smoothed),
        "anchored" => Kind::Keyword(K::Anchored),
        "by" => Kind::Keyword(K::By),
        "without" => Kind::Keyword(K::Without),
        "on" => Kind::Keyword(K::On),
        "ignoring" => Kind::Keyword(K::Ignoring),
        "group_left" => Kind::Keyword(K::GroupLeft),
        "group_right" => Kind::Keyword(K::GroupRight),
        "fill" => Kind::Keyword(K::Fill),
        "fill_left" => Kind::Keyword(K::FillLeft),
        "fill_right" => Kind::Keyword(K::FillRight),
        "bool" => Kind::Keyword(K::Bool),
        "start" => Kind::Query(Q::Start),
        "end" => Kind::Query(Q::End),
        "step" => Kind::Query(Q::Step),
        "range" => Kind::Query(Q::Range),
        "max_of" => Kind::Query(Q::MaxOf),
        "min_of" => Kind::Query(Q::MinOf),
        "inf" | "nan" => Kind::Number,
        _ => return None,
    })
}

impl Kind {
    /// Whether a metric may be called that without quotes.
    pub(super) fn names_metric(self) -> bool {
        use Keyword as K;
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregator(_) | Self::Query(_) => true,
            Self::Operator(op) => op.is_set(),
            Self::Keyword(word) => !matches!(word, K::On | K::Ignoring | K::GroupLeft | K::GroupRight | K::Bool),
            _ => false,
        }
    }

    /// Whether a label may be called that without quotes between parentheses. Between braces there are no keywords.
    pub(super) fn names_label(self) -> bool {
        match self {
            Self::Identifier | Self::MetricIdentifier | Self::Aggregator(_) | Self::Query(_) => true,
            Self::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
            Self::Keyword(word) => word != Keyword::Without,
            _ => false,
        }
    }

    /// As Prometheus's messages name a token of that text.
    pub(super) fn describe(self, text: &str) -> String {
        let clipped = || match text.char_indices().nth(10) {
            Some((end, _)) if text.len() > 10 => format!("{}...", quote(text.get(..end).unwrap_or_default())),
            _ if text.len() > 10 => format!("{}...", quote(text)),
            _ => quote(text),
        };
        match self {
            Self::End => "end of input".to_owned(),
            Self::Identifier => format!("identifier {}", quote(text)),
            Self::MetricIdentifier => format!("metric identifier {}", quote(text)),
            Self::Text => format!("string {}", clipped()),
            Self::Number => format!("number {}", clipped()),
            Self::Duration => format!("duration {}", clipped()),
            Self::Keyword(_) => format!("<{text}>"),
            Self::Aggregator(_) => format!("<aggr:{text}>"),
            Self::Operator(_) | Self::Regex | Self::NotRegex | Self::At => format!("<op:{text}>"),
            _ => clipped(),
        }
    }
}
