//! Lengths of time: constants, and the arithmetic of `[...]` and `offset`.

use super::Parser;
use super::error::ParseError;
use super::expression::{SIGN, goes_first, strength};
use super::token::{Kind, QueryWord};
use crate::promql::ast::{BinaryOp, Duration, DurationExpr, Node, Span};

/// What is no constant yet, and its place.
type Found = (DurationExpr, Span);

/// What waits for an operand on its right.
enum Waiting {
    Sign { negative: bool, start: usize },
    Operator { left: Found, op: BinaryOp, symbol: char, place: Span },
}

impl Waiting {
    fn strength(&self) -> u8 {
        match self {
            Self::Sign { .. } => SIGN,
            Self::Operator { op, .. } => strength(*op),
        }
    }

    fn with(self, operand: Found) -> Result<Found, ParseError> {
        let (left, op, symbol, place) = match self {
            Self::Sign { negative, start } => return signed(negative, start, operand),
            Self::Operator { left, op, symbol, place } => (left, op, symbol, place),
        };
        if matches!(operand.0, DurationExpr::Number(0.0, _)) {
            match op {
                BinaryOp::Div => return Err(ParseError::new(place, "division by zero")),
                BinaryOp::Mod => return Err(ParseError::new(place, "modulo by zero")),
                _ => {}
            }
        }
        let span = Span { start: left.1.start, end: operand.1.end };
        Ok((DurationExpr::Binary(symbol, Box::new(left.0), Box::new(operand.0)), span))
    }
}

impl Parser<'_> {
    /// Between brackets.
    pub(super) fn positive_duration(&mut self) -> Result<Duration, ParseError> {
        let (found, span) = self.duration()?;
        if matches!(found, DurationExpr::Number(seconds, _) if seconds <= 0.0 || seconds.is_nan()) {
            return Err(ParseError::new(span, "duration must be greater than 0"));
        }
        Ok(constant(found, span))
    }

    /// After `offset`. An operator behind a single operand belongs to the whole: `a offset 1m + 2` adds 2 to `a`. What
    /// begins with a parenthesis, or with two signs, is read to its end.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        let is_sign = |kind: Kind| matches!(kind, Kind::Operator(BinaryOp::Add | BinaryOp::Sub));
        let whole = match self.peek() {
            Kind::LeftParen => true,
            kind => is_sign(kind) && is_sign(self.peek_second()),
        };
        let (found, span) = if whole {
            self.duration()?
        } else {
            let start = self.token().span.start;
            match self.accept_sign() {
                None => self.duration_operand()?,
                Some(negative) => signed(negative, start, self.duration_operand()?)?,
            }
        };
        Ok(constant(found, span))
    }

    /// Operands and operators. However many they are, they need no recursion.
    fn duration(&mut self) -> Result<Found, ParseError> {
        let mut waiting: Vec<Waiting> = Vec::new();
        loop {
            let token = self.token();
            if let Some(negative) = self.accept_sign() {
                self.chain(token.span)?;
                waiting.push(Waiting::Sign { negative, start: token.span.start });
                continue;
            }
            let mut operand = self.duration_operand()?;
            let token = self.token();
            let operator = match token.kind {
                Kind::Operator(op) => op.of_durations().map(|symbol| (op, symbol)),
                _ => None,
            };
            let Some((op, symbol)) = operator else {
                return waiting.into_iter().try_rfold(operand, |operand, waiting| waiting.with(operand));
            };
            while let Some(waiting) = waiting.pop_if(|waiting| goes_first(waiting.strength(), strength(op))) {
                operand = waiting.with(operand)?;
            }
            self.advance();
            self.chain(token.span)?;
            waiting.push(Waiting::Operator { left: operand, op, symbol, place: token.span });
        }
    }

    fn duration_operand(&mut self) -> Result<Found, ParseError> {
        let start = self.token().span.start;
        let found = match self.peek() {
            Kind::Number | Kind::Duration => {
                let number = self.number()?;
                let found = match number.node {
                    Node::Duration(seconds) => DurationExpr::Number(seconds, true),
                    Node::Number(seconds) => DurationExpr::Number(seconds, false),
                    _ => return Err(self.unexpected()),
                };
                return in_range((found, number.span), number.span);
            }
            Kind::LeftParen => {
                self.advance();
                let (inner, _) = self.nested(Self::duration)?;
                self.expect(Kind::RightParen)?;
                match inner {
                    // Twice is as good as once.
                    inner @ DurationExpr::Paren(_) => inner,
                    inner => DurationExpr::Paren(Box::new(inner)),
                }
            }
            Kind::Query(word @ (QueryWord::MaxOf | QueryWord::MinOf)) => {
                self.advance();
                self.expect(Kind::LeftParen)?;
                let (left, _) = self.nested(Self::duration)?;
                self.expect(Kind::Comma)?;
                let (right, _) = self.nested(Self::duration)?;
                self.expect(Kind::RightParen)?;
                let (left, right) = (Box::new(left), Box::new(right));
                if word == QueryWord::MaxOf { DurationExpr::Max(left, right) } else { DurationExpr::Min(left, right) }
            }
            _ => match self.accept_query_word(&[QueryWord::Step, QueryWord::Range])? {
                Some(QueryWord::Step) => DurationExpr::Step,
                Some(_) => DurationExpr::Range,
                None => return Err(self.unexpected()),
            },
        };
        Ok((found, self.span_from(start)))
    }
}

/// A sign is part of a number.
fn signed(negative: bool, start: usize, (operand, span): Found) -> Result<Found, ParseError> {
    let signed = match operand {
        DurationExpr::Number(seconds, written) if negative => DurationExpr::Number(-seconds, written),
        operand if negative => DurationExpr::Negative(Box::new(operand)),
        operand => operand,
    };
    Ok((signed, Span { start, end: span.end }))
}

/// What a duration of nanoseconds in 64 bits can hold; blames `blamed` else.
fn in_range(found: Found, blamed: Span) -> Result<Found, ParseError> {
    const SECONDS_MAX: f64 = (1_u64 << 63) as f64 / 1e9;
    if matches!(found.0, DurationExpr::Number(seconds, _) if seconds.abs() > SECONDS_MAX) {
        return Err(ParseError::new(blamed, "duration out of range"));
    }
    Ok(found)
}

fn constant(found: DurationExpr, span: Span) -> Duration {
    match found {
        // Whole milliseconds, for which the seconds may be too coarse.
        DurationExpr::Number(seconds, true) => Duration::Constant((seconds * 1e3).round() as i64),
        // Prometheus rounds to nanoseconds, and cuts them off later.
        DurationExpr::Number(seconds, false) => Duration::Constant((seconds * 1e9).round() as i64 / 1_000_000),
        found => Duration::Expr(found, span),
    }
}
