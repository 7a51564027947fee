//! Metric queries: aggregations, operators and literals, with the checks that Loki makes of them.

use crate::logql::ast::{
    BinaryExpr, BinaryOp, Expr, GroupSide, Grouping, LabelReplace, LogExpr, Matching, MatchingLabels, MetricExpr,
    RangeAggregation, RangeOp, Unwrap, VectorAggregation, VectorOp,
};
use crate::logql::error::ParseError;
use crate::logql::format::precedence;
use crate::logql::lexer::{Place, Token};
use crate::logql::units::parse_float;
use crate::logql::vector::scalar_operation;
use crate::regexp::AnchoredRegex;

use super::Parser;

/// A log selection over a range, as it stands inside a range aggregation.
#[derive(Default)]
struct LogRange {
    log: LogExpr,
    range_ns: Option<i64>,
    offset_ns: i64,
    unwrap: Option<Unwrap>,
}

impl Parser {
    pub(super) fn expr(&mut self) -> Result<Expr, ParseError> {
        self.binary(0)
    }

    /// Operators that bind tighter than `floor`.
    fn binary(&mut self, floor: u8) -> Result<Expr, ParseError> {
        let mut left = self.operand()?;
        loop {
            let Some((op, precedence)) = self.binary_operator() else { return Ok(left) };
            if precedence <= floor {
                return Ok(left);
            }
            self.chain()?;
            let place = self.place();
            self.advance();
            let return_bool = self.accept("bool");
            let matching = self.matching()?;
            // `^` is right associative.
            let right =
                if op == BinaryOp::Pow { self.nested(|p| p.binary(precedence - 1))? } else { self.binary(precedence)? };
            let (left_side, right_side) = (side(left, "left", op, place)?, side(right, "right", op, place)?);
            left = Expr::Metric(combine(op, return_bool, matching, left_side, right_side));
        }
    }

    fn binary_operator(&self) -> Option<(BinaryOp, u8)> {
        let Token::Word(word) = self.peek() else { return None };
        let op = BinaryOp::from_name(word)?;
        Some((op, precedence(op)))
    }

    fn matching(&mut self) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if self.accept("on") {
            matching.labels = Some(MatchingLabels::On(self.label_list()?));
        } else if self.accept("ignoring") {
            matching.labels = Some(MatchingLabels::Ignoring(self.label_list()?));
        } else {
            return Ok(matching);
        }
        if self.accept("group_left") {
            matching.group = Some(GroupSide::Left);
        } else if self.accept("group_right") {
            matching.group = Some(GroupSide::Right);
        }
        if matching.group.is_some() && self.peek_is("(") {
            matching.include = self.label_list()?;
        }
        if matching.group.is_none() && matching.labels == Some(MatchingLabels::Ignoring(Vec::new())) {
            matching.labels = None;
        }
        Ok(matching)
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        match *self.peek() {
            Token::Word("{") => Ok(Expr::Log(self.log_expr()?)),
            Token::Word("(") => {
                self.advance();
                let inner = self.nested(|p| p.binary(0))?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Word("+" | "-") | Token::Number(_) => Ok(Expr::Metric(MetricExpr::Literal(self.literal()?))),
            Token::Word("vector") => Ok(Expr::Metric(self.vector_literal()?)),
            Token::Word("label_replace") => Ok(Expr::Metric(self.nested(Self::label_replace)?)),
            Token::RangeOp(op) => Ok(Expr::Metric(self.range_aggregation(op)?)),
            Token::VectorOp(op) => Ok(Expr::Metric(self.nested(|p| p.vector_aggregation(op))?)),
            _ => Err(self.unexpected("")),
        }
    }

    fn vector_literal(&mut self) -> Result<MetricExpr, ParseError> {
        self.expect("vector")?;
        self.expect("(")?;
        if !matches!(self.peek(), Token::Number(_)) {
            return Err(self.unexpected("NUMBER"));
        }
        let value = self.literal()?;
        self.expect(")")?;
        Ok(MetricExpr::VectorLiteral(value))
    }

    fn label_replace(&mut self) -> Result<MetricExpr, ParseError> {
        self.expect("label_replace")?;
        self.expect("(")?;
        let inner = self.metric()?;
        self.expect(",")?;
        let target = self.text()?;
        self.expect(",")?;
        let replacement = self.text()?;
        self.expect(",")?;
        let source = self.text()?;
        self.expect(",")?;
        let place = self.place();
        let regex = self.text()?;
        self.expect(")")?;
        let compiled = AnchoredRegex::single_line(&regex)
            .map_err(|error| ParseError::at(place, format!("invalid regex in label_replace: {error}")))?;
        Ok(MetricExpr::LabelReplace(Box::new(LabelReplace { inner, target, replacement, source, regex, compiled })))
    }

    /// An expression where lines would be wrong.
    fn metric(&mut self) -> Result<MetricExpr, ParseError> {
        let place = self.place();
        match self.expr()? {
            Expr::Metric(metric) => Ok(metric),
            Expr::Log(_) => Err(ParseError::at(
                place,
                "syntax error: unexpected log query, expecting a metric query such as rate()",
            )),
        }
    }

    fn vector_aggregation(&mut self, op: VectorOp) -> Result<MetricExpr, ParseError> {
        let place = self.place();
        self.advance();
        let mut grouping = self.grouping()?;
        self.expect("(")?;
        let parameter = self.leading_number();
        let inner = self.metric()?;
        self.expect(")")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let parameter = vector_parameter(op, parameter.as_deref(), grouping.as_ref())
            .map_err(|message| ParseError::at(place, message))?;
        // `by ()` is the same as nothing.
        grouping = grouping.filter(|g| g.without || !g.labels.is_empty());
        Ok(MetricExpr::Vector(Box::new(VectorAggregation { op, parameter, inner, grouping })))
    }

    /// The number before a comma.
    fn leading_number(&mut self) -> Option<String> {
        let Token::Number(number) = self.peek() else { return None };
        let number = number.clone();
        if !matches!(self.tokens.get(self.at + 1), Some((Token::Word(","), _))) {
            return None;
        }
        self.advance();
        self.advance();
        Some(number)
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.peek_is("without");
        if !without && !self.peek_is("by") {
            return Ok(None);
        }
        self.advance();
        Ok(Some(Grouping { without, labels: self.label_list()? }))
    }

    fn range_aggregation(&mut self, op: RangeOp) -> Result<MetricExpr, ParseError> {
        let place = self.place();
        self.advance();
        self.expect("(")?;
        let parameter = self.leading_number();
        let found = self.nested(Self::log_range)?;
        let Some(range_ns) = found.range_ns else { return Err(self.unexpected("RANGE")) };
        self.expect(")")?;
        let grouping = self.grouping()?;
        check_range(op, parameter.as_deref(), found.unwrap.is_some(), grouping.is_some())
            .map_err(|message| ParseError::at(place, message))?;
        let parameter = match parameter {
            Some(text) => Some(
                parse_float(&text)
                    .map_err(|error| ParseError::at(place, format!("invalid parameter for operation {op}: {error}")))?,
            ),
            None => None,
        };
        let LogRange { log, offset_ns, unwrap, .. } = found;
        Ok(MetricExpr::Range(Box::new(RangeAggregation { op, parameter, log, unwrap, range_ns, offset_ns, grouping })))
    }

    /// `{...} | stages | unwrap x [5m] offset 1h`, with the range first or last, in parentheses or not.
    fn log_range(&mut self) -> Result<LogRange, ParseError> {
        if !self.accept("(") {
            let mut found =
                LogRange { log: LogExpr { matchers: self.selector()?, stages: Vec::new() }, ..<_>::default() };
            self.range_and_offset(&mut found)?;
            self.stages(&mut found.log.stages)?;
            found.unwrap = self.unwrap()?;
            self.range_and_offset(&mut found)?;
            return Ok(found);
        }
        let mut found = self.nested(Self::log_range)?;
        self.expect(")")?;
        if found.range_ns.is_none() {
            self.range_and_offset(&mut found)?;
            if found.unwrap.is_none() {
                found.unwrap = self.unwrap()?;
            }
        }
        Ok(found)
    }

    fn range_and_offset(&mut self, found: &mut LogRange) -> Result<(), ParseError> {
        let Token::Range(range) = *self.peek() else { return Ok(()) };
        if found.range_ns.is_some() {
            return Err(self.unexpected(")"));
        }
        self.advance();
        found.range_ns = Some(range);
        if self.accept("offset") {
            let Token::Duration(offset) = *self.peek() else { return Err(self.unexpected("DURATION")) };
            self.advance();
            found.offset_ns = offset;
        }
        Ok(())
    }
}

/// A side of an operator, which must be numbers.
fn side(expr: Expr, name: &str, op: BinaryOp, place: Place) -> Result<MetricExpr, ParseError> {
    let wrong = |what: String| Err(ParseError::at(place, what));
    match expr {
        Expr::Log(_) => wrong(format!("unexpected type for {name} leg of binary operation ({op}): log query")),
        Expr::Metric(MetricExpr::Literal(value)) if op.is_set() => {
            wrong(format!("unexpected literal for {name} leg of logical/set binary operation ({op}): {value:.6}"))
        }
        Expr::Metric(metric) => Ok(metric),
    }
}

fn combine(op: BinaryOp, return_bool: bool, matching: Matching, left: MetricExpr, right: MetricExpr) -> MetricExpr {
    if let (MetricExpr::Literal(left), MetricExpr::Literal(right)) = (&left, &right) {
        return MetricExpr::Literal(scalar_operation(op, *left, *right));
    }
    MetricExpr::Binary(Box::new(BinaryExpr { op, return_bool, matching, left, right }))
}

fn vector_parameter(op: VectorOp, text: Option<&str>, grouping: Option<&Grouping>) -> Result<Option<i64>, String> {
    if matches!(op, VectorOp::Sort | VectorOp::SortDesc) && grouping.is_some_and(|g| !g.labels.is_empty()) {
        return Err("sort and sort_desc doesn't allow grouping by ".to_owned());
    }
    if !matches!(op, VectorOp::Topk | VectorOp::Bottomk | VectorOp::ApproxTopk) {
        return match text {
            Some(text) => Err(format!("unsupported parameter for operation {op}({text},")),
            None => Ok(None),
        };
    }
    let text = text.ok_or_else(|| format!("parameter required for operation {op}"))?;
    let parameter: i64 = text.parse().map_err(|_| format!("invalid parameter {op}({text},"))?;
    if parameter <= 0 {
        return Err(format!("invalid parameter (must be greater than 0) {op}({text}"));
    }
    if op == VectorOp::ApproxTopk && grouping.is_some() {
        return Err(format!("grouping not allowed for {op} aggregation"));
    }
    Ok(Some(parameter))
}

fn check_range(op: RangeOp, parameter: Option<&str>, unwrap: bool, grouping: bool) -> Result<(), String> {
    use RangeOp::{
        AbsentOverTime, AvgOverTime, BytesOverTime, BytesRate, CountOverTime, FirstOverTime, LastOverTime, MaxOverTime,
        MinOverTime, QuantileOverTime, Rate, StddevOverTime, StdvarOverTime,
    };
    match parameter {
        Some(text) if op != QuantileOverTime => {
            return Err(format!("parameter {text} not supported for operation {op}"));
        }
        None if op == QuantileOverTime => return Err(format!("parameter required for operation {op}")),
        _ => {}
    }
    let groups = matches!(
        op,
        AvgOverTime
            | StddevOverTime
            | StdvarOverTime
            | QuantileOverTime
            | MaxOverTime
            | MinOverTime
            | FirstOverTime
            | LastOverTime
    );
    if grouping && !groups {
        return Err(format!("grouping not allowed for {op} aggregation"));
    }
    let of_lines = matches!(op, BytesOverTime | BytesRate | CountOverTime | Rate | AbsentOverTime);
    let of_numbers = !matches!(op, BytesOverTime | BytesRate | CountOverTime);
    match unwrap {
        true if !of_numbers => Err(format!("invalid aggregation {op} with unwrap")),
        false if !of_lines => Err(format!("invalid aggregation {op} without unwrap")),
        _ => Ok(()),
    }
}
