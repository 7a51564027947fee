//! Lengths of time: constants, and the arithmetic of `[...]` and `offset`.

use super::Parser;
use super::error::ParseError;
use super::expression::{POWER, strength};
use super::token::{Kind, QueryWord};
use crate::promql::ast::{BinaryOp, Duration, DurationExpr, Node, Span};

/// What is no constant yet, and its place.
type Found = (DurationExpr, Span);

impl Parser<'_> {
    /// Between brackets.
    pub(super) fn positive_duration(&mut self) -> Result<Duration, ParseError> {
        let (found, span) = self.duration(0)?;
        if matches!(found, DurationExpr::Number(seconds, _) if seconds <= 0.0 || seconds.is_nan()) {
            return Err(ParseError::new(span, "duration must be greater than 0"));
        }
        Ok(constant(found, span))
    }

    /// After `offset`. An operator behind a single operand belongs to the whole: `a offset 1m + 2` adds 2 to `a`.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        let start = self.token().span.start;
        let sign = self.accept_sign();
        let bare_paren = sign.is_none() && self.peek() == Kind::LeftParen;
        let two_signs = sign.is_some() && matches!(self.peek(), Kind::Operator(BinaryOp::Add | BinaryOp::Sub));
        let (found, span) = if two_signs {
            let operand = self.nested(|p| p.duration(POWER))?;
            let signed = self.signed(sign, start, operand)?;
            self.duration_after(signed, 0)?
        } else if bare_paren {
            self.duration(0)?
        } else {
            let operand = self.duration_operand()?;
            self.signed(sign, start, operand)?
        };
        Ok(constant(found, span))
    }

    /// Operands and the operators between them that bind at least so strongly.
    fn duration(&mut self, strength_min: u8) -> Result<Found, ParseError> {
        let start = self.token().span.start;
        let left = match self.accept_sign() {
            None => self.duration_operand()?,
            sign => {
                let operand = self.nested(|p| p.duration(POWER))?;
                self.signed(sign, start, operand)?
            }
        };
        self.duration_after(left, strength_min)
    }

    fn duration_after(&mut self, mut left: Found, strength_min: u8) -> Result<Found, ParseError> {
        while let Kind::Operator(op) = self.peek()
            && let Some(symbol) = symbol(op)
            && strength(op) >= strength_min
        {
            let token = self.advance();
            self.chain(token.span)?;
            let (right, right_span) = match op {
                BinaryOp::Pow => self.nested(|p| p.duration(POWER))?,
                _ => self.duration(strength(op) + 1)?,
            };
            if matches!(right, DurationExpr::Number(0.0, _)) {
                match op {
                    BinaryOp::Div => return Err(ParseError::new(token.span, "division by zero")),
                    BinaryOp::Mod => return Err(ParseError::new(token.span, "modulo by zero")),
                    _ => {}
                }
            }
            let span = Span { start: left.1.start, end: right_span.end };
            left = (DurationExpr::Binary(symbol, Box::new(left.0), Box::new(right)), span);
        }
        Ok(left)
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
                let (inner, _) = self.nested(|p| p.duration(0))?;
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
                let (left, _) = self.nested(|p| p.duration(0))?;
                self.expect(Kind::Comma)?;
                let (right, _) = self.nested(|p| p.duration(0))?;
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

    fn signed(&self, sign: Option<bool>, start: usize, (operand, span): Found) -> Result<Found, ParseError> {
        let signed = match (sign, operand) {
            (Some(true), DurationExpr::Number(seconds, written)) => DurationExpr::Number(-seconds, written),
            (Some(true), operand) => DurationExpr::Negative(Box::new(operand)),
            (_, operand) => operand,
        };
        let start = if sign.is_some() { start } else { span.start };
        in_range((signed, Span { start, end: span.end }), Span { start, end: start + 1 })
    }
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
        // Prometheus rounds to nanoseconds, and cuts them off later.
        DurationExpr::Number(seconds, _) => Duration::Constant((seconds * 1e9).round() as i64 / 1_000_000),
        found => Duration::Expr(found, span),
    }
}

fn symbol(op: BinaryOp) -> Option<char> {
    Some(match op {
        BinaryOp::Add => '+',
        BinaryOp::Sub => '-',
        BinaryOp::Mul => '*',
        BinaryOp::Div => '/',
        BinaryOp::Mod => '%',
        BinaryOp::Pow => '^',
        _ => return None,
    })
}
