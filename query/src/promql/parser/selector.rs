//! Selectors, and the lists of labels of groupings.

use super::error::ParseError;
use super::token::Kind;
use super::{Parser, literal};
use crate::logql::units::quote;
use crate::promql::ast::{BinaryOp, Edges, Expr, MatchOp, Matcher, Node, Span, VectorSelector};

/// The label that a metric's name is.
const NAME: &str = "__name__";

const LABEL_MATCHING: &str = "label matching";
const GROUPING: &str = "grouping opts";

impl Parser<'_> {
    /// `name`, `{matchers}` or both.
    pub(super) fn vector_selector(&mut self) -> Result<Expr, ParseError> {
        let token = self.token();
        let name = token.kind.names_metric().then(|| self.text_of(token.span).to_owned());
        if name.is_some() {
            self.advance();
        } else if token.kind != Kind::LeftBrace {
            return Err(self.unexpected());
        }
        let mut matchers = if self.accept(Kind::LeftBrace) { self.matchers()? } else { Vec::new() };
        matchers.extend(name.clone().map(named));
        let selector = VectorSelector { name, matchers, offset: None, at: None, edges: Edges::default() };
        Ok(Expr { node: Node::Vector(selector), span: self.span_from(token.span.start) })
    }

    /// After `{`, up to `}`.
    fn matchers(&mut self) -> Result<Vec<Matcher>, ParseError> {
        let mut matchers = Vec::new();
        if self.accept(Kind::RightBrace) {
            return Ok(matchers);
        }
        loop {
            matchers.push(self.matcher()?);
            let comma = self.accept(Kind::Comma);
            if self.accept(Kind::RightBrace) {
                return Ok(matchers);
            }
            if !comma {
                return Err(self.unexpected_in(LABEL_MATCHING, "\",\" or \"}\""));
            }
        }
    }

    /// `label="value"`, `"label"="value"`, or `"metric name"`.
    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let token = self.token();
        let text = self.text_of(token.span);
        let name = match token.kind {
            Kind::Identifier => text.to_owned(),
            Kind::Text => literal::unquote(text),
            _ => return Err(self.unexpected_in(LABEL_MATCHING, "identifier or \"}\"")),
        };
        self.advance();
        let op = match self.peek() {
            Kind::Equal => MatchOp::Equal,
            Kind::Operator(BinaryOp::Ne) => MatchOp::NotEqual,
            Kind::Regex => MatchOp::Regex,
            Kind::NotRegex => MatchOp::NotRegex,
            _ if token.kind == Kind::Text => return Ok(named(name)),
            _ => return Err(self.unexpected_in(LABEL_MATCHING, "label matching operator")),
        };
        self.advance();
        let value = self.token();
        if value.kind != Kind::Text {
            return Err(self.unexpected_in(LABEL_MATCHING, "string"));
        }
        self.advance();
        let span = Span { start: token.span.start, end: value.span.end };
        Matcher::new(name, op, literal::unquote(self.text_of(value.span)))
            .map_err(|error| ParseError::new(span, error.to_string()))
    }

    /// `(a, "b", c)`, may be empty, may end with a comma.
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<String>, ParseError> {
        if !self.accept(Kind::LeftParen) {
            return Err(self.unexpected_in(GROUPING, "\"(\""));
        }
        let mut labels = Vec::new();
        if self.accept(Kind::RightParen) {
            return Ok(labels);
        }
        loop {
            labels.push(self.grouping_label()?);
            let comma = self.accept(Kind::Comma);
            if self.accept(Kind::RightParen) {
                return Ok(labels);
            }
            if !comma {
                return Err(self.unexpected_in(GROUPING, "\",\" or \")\""));
            }
        }
    }

    fn grouping_label(&mut self) -> Result<String, ParseError> {
        let token = self.token();
        let text = self.text_of(token.span);
        let label = match token.kind {
            Kind::Text => literal::unquote(text),
            kind if kind.names_label() => text.to_owned(),
            _ => return Err(self.unexpected_in(GROUPING, "label")),
        };
        if label.is_empty() {
            return Err(ParseError::new(token.span, format!("invalid label name for grouping: {}", quote(&label))));
        }
        self.advance();
        Ok(label)
    }
}

/// The matcher that a metric's name stands for.
fn named(name: String) -> Matcher {
    Matcher { name: NAME.to_owned(), op: MatchOp::Equal, value: name, regex: None }
}
