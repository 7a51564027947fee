//! Operators, calls, aggregations and literals.

use super::error::ParseError;
use super::token::{Keyword, Kind, QueryWord};
use super::{Parser, literal};
use crate::logql::units::quote;
use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, Grouping, Node, Span, VectorMatching,
};
use crate::promql::functions::signature;

/// How strongly an operator binds.
pub(super) fn strength(op: BinaryOp) -> u8 {
    use BinaryOp as B;
    match op {
        B::Or => 1,
        B::And | B::Unless => 2,
        B::Eq | B::Ne | B::Lt | B::Le | B::Gt | B::Ge | B::TrimUpper | B::TrimLower => 3,
        B::Add | B::Sub => 4,
        B::Mul | B::Div | B::Mod | B::Atan2 => SIGN,
        B::Pow => POWER,
    }
}

/// `^` binds strongest, and to the right.
pub(super) const POWER: u8 = 6;
/// Signs bind as `*` does: `-2 ^ 2` is `-(2 ^ 2)`.
pub(super) const SIGN: u8 = 5;

/// Whether what waits for an operand of strength `waiting` gets it before an operator of strength `next`.
pub(super) fn goes_first(waiting: u8, next: u8) -> bool {
    waiting > next || (waiting == next && next != POWER)
}

/// What waits for an operand on its right.
enum Waiting {
    Sign { negative: bool, start: usize },
    Operator { left: Box<Expr>, op: BinaryOp, bool_result: bool, matching: Box<VectorMatching> },
}

impl Waiting {
    fn strength(&self) -> u8 {
        match self {
            Self::Sign { .. } => SIGN,
            Self::Operator { op, .. } => strength(*op),
        }
    }

    fn with(self, operand: Expr) -> Expr {
        match self {
            Self::Sign { negative, start } => signed(negative, start, operand),
            Self::Operator { left, op, bool_result, matching } => {
                let span = Span { start: left.span.start, end: operand.span.end };
                let (right, matching) = (Box::new(operand), Some(*matching));
                Expr { node: Node::Binary(Binary { op, left, right, bool_result, matching }), span }
            }
        }
    }
}

impl Parser<'_> {
    /// Operands and operators. However many they are, they need no recursion.
    pub(super) fn expression(&mut self) -> Result<Expr, ParseError> {
        let mut waiting: Vec<Waiting> = Vec::new();
        loop {
            let token = self.token();
            if let Some(negative) = self.accept_sign() {
                self.chain(token.span)?;
                waiting.push(Waiting::Sign { negative, start: token.span.start });
                continue;
            }
            let mut operand = self.operand()?;
            let token = self.token();
            let Kind::Operator(op) = token.kind else {
                return Ok(waiting.into_iter().rfold(operand, |operand, waiting| waiting.with(operand)));
            };
            while let Some(waiting) = waiting.pop_if(|waiting| goes_first(waiting.strength(), strength(op))) {
                operand = waiting.with(operand);
            }
            self.advance();
            self.chain(token.span)?;
            let (bool_result, matching) = self.binary_modifiers()?;
            let (left, matching) = (Box::new(operand), Box::new(matching));
            waiting.push(Waiting::Operator { left, op, bool_result, matching });
        }
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        let expr = self.primary()?;
        self.modifiers(expr)
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let token = self.token();
        let call = self.peek_second() == Kind::LeftParen;
        match token.kind {
            Kind::Number | Kind::Duration => self.number(),
            Kind::Text => Ok(self.string()),
            Kind::LeftParen => self.paren(),
            Kind::Identifier | Kind::Query(_) if call => self.call(),
            Kind::Aggregator(op)
                if call || matches!(self.peek_second(), Kind::Keyword(Keyword::By | Keyword::Without)) =>
            {
                self.aggregate(op)
            }
            Kind::LeftBrace => self.vector_selector(),
            kind if kind.names_metric() => self.vector_selector(),
            _ => Err(self.unexpected()),
        }
    }

    fn paren(&mut self) -> Result<Expr, ParseError> {
        let start = self.advance().span.start;
        let inner = Box::new(self.nested(Self::expression)?);
        self.expect(Kind::RightParen)?;
        Ok(Expr { node: Node::Paren(inner), span: self.span_from(start) })
    }

    fn string(&mut self) -> Expr {
        let span = self.advance().span;
        Expr { node: Node::String(literal::unquote(self.text_of(span))), span }
    }

    /// A number or a duration as a number.
    pub(super) fn number(&mut self) -> Result<Expr, ParseError> {
        let token = self.token();
        let text = self.text_of(token.span);
        let node = match token.kind {
            Kind::Number => literal::number(text).map(Node::Number),
            Kind::Duration => literal::duration(text).map(Node::Duration),
            _ => return Err(self.unexpected()),
        };
        self.advance();
        Ok(Expr { node: node.map_err(|message| ParseError::new(token.span, message))?, span: token.span })
    }

    fn call(&mut self) -> Result<Expr, ParseError> {
        let token = self.advance();
        let args = self.arguments()?;
        let name = self.text_of(token.span);
        let Some(signature) = signature(name) else {
            return Err(ParseError::new(token.span, format!("unknown function with name {}", quote(name))));
        };
        Ok(Expr { node: Node::Call(Call { function: signature.name, args }), span: self.span_from(token.span.start) })
    }

    /// `(a, b)`, may be empty.
    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect(Kind::LeftParen)?;
        let mut arguments = Vec::new();
        if self.accept(Kind::RightParen) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.nested(Self::expression)?);
            let comma = self.token();
            if !self.accept(Kind::Comma) {
                break;
            }
            if matches!(self.peek(), Kind::Comma | Kind::RightParen) {
                return Err(ParseError::new(comma.span, "trailing commas not allowed in function call args"));
            }
        }
        self.expect(Kind::RightParen)?;
        Ok(arguments)
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.advance().span.start;
        let mut grouping = self.grouping()?;
        let arguments = self.within("aggregation", "", Self::arguments)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        aggregation(op, grouping, arguments, self.span_from(start))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        if self.accept_word(Keyword::By) {
            return Ok(Some(Grouping::By(self.grouping_labels()?)));
        }
        if self.accept_word(Keyword::Without) {
            return Ok(Some(Grouping::Without(self.grouping_labels()?)));
        }
        Ok(None)
    }

    /// What stands between an operator and its right side.
    fn binary_modifiers(&mut self) -> Result<(bool, VectorMatching), ParseError> {
        let bool_result = self.accept_word(Keyword::Bool);
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            on: self.accept_word(Keyword::On),
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if matching.on || self.accept_word(Keyword::Ignoring) {
            matching.labels = self.grouping_labels()?;
            let group = match self.peek() {
                Kind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                Kind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = group {
                self.advance();
                matching.cardinality = cardinality;
                if self.peek() == Kind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        if self.accept_word(Keyword::Fill) {
            matching.fill_left = Some(self.fill_value()?);
            matching.fill_right = matching.fill_left;
        } else if self.accept_word(Keyword::FillLeft) {
            matching.fill_left = Some(self.fill_value()?);
            if self.accept_word(Keyword::FillRight) {
                matching.fill_right = Some(self.fill_value()?);
            }
        } else if self.accept_word(Keyword::FillRight) {
            matching.fill_right = Some(self.fill_value()?);
            if self.accept_word(Keyword::FillLeft) {
                matching.fill_left = Some(self.fill_value()?);
            }
        }
        Ok((bool_result, matching))
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.expect(Kind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(Kind::RightParen)?;
        Ok(value)
    }

    /// A number or a duration as a number, with or without a sign.
    pub(super) fn signed_number(&mut self) -> Result<f64, ParseError> {
        let negative = self.accept_sign() == Some(true);
        match self.number()?.node {
            Node::Number(value) | Node::Duration(value) => Ok(if negative { -value } else { value }),
            _ => Ok(f64::NAN),
        }
    }

    /// `start()` or `end()`, whose parentheses must be empty.
    pub(super) fn accept_query_word(&mut self, words: &[QueryWord]) -> Result<Option<QueryWord>, ParseError> {
        let Kind::Query(word) = self.peek() else { return Ok(None) };
        if !words.contains(&word) {
            return Ok(None);
        }
        self.advance();
        self.expect(Kind::LeftParen)?;
        self.expect(Kind::RightParen)?;
        Ok(Some(word))
    }
}

/// A sign is part of a number.
fn signed(negative: bool, start: usize, expr: Expr) -> Expr {
    let span = Span { start, end: expr.span.end };
    let signed = |value: f64| if negative { -value } else { value };
    let node = match expr.node {
        Node::Number(value) => Node::Number(signed(value)),
        Node::Duration(value) => Node::Duration(signed(value)),
        _ => Node::Unary { negative, expr: Box::new(expr) },
    };
    Expr { node, span }
}

fn aggregation(
    op: AggregateOp,
    grouping: Option<Grouping>,
    mut arguments: Vec<Expr>,
    span: Span,
) -> Result<Expr, ParseError> {
    if arguments.is_empty() {
        return Err(ParseError::new(span, "no arguments for aggregate expression provided"));
    }
    let expected = 1 + usize::from(op.has_parameter());
    let given = arguments.len();
    let (Some(expr), true) = (arguments.pop(), given == expected) else {
        let message =
            format!("wrong number of arguments for aggregate expression provided, expected {expected}, got {given}");
        return Err(ParseError::new(span, message));
    };
    let parameter = arguments.pop().map(Box::new);
    let grouping = grouping.unwrap_or(Grouping::By(Vec::new()));
    Ok(Expr { node: Node::Aggregate(Aggregate { op, parameter, expr: Box::new(expr), grouping }), span })
}
