//! What follows an expression: ranges and subqueries, `offset`, `@`, `anchored` and `smoothed`.

use super::Parser;
use super::error::ParseError;
use super::token::{Keyword, Kind, QueryWord};
use crate::promql::ast::{At, Duration, Edges, Expr, MatrixSelector, Node, Span, Subquery};

const LENGTH: &str = "number, duration, step(), or range()";

impl Parser<'_> {
    pub(super) fn modifiers(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            let token = self.token();
            match token.kind {
                Kind::LeftBracket => expr = self.range(expr)?,
                Kind::At => self.at(&mut expr)?,
                Kind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                Kind::Keyword(Keyword::Anchored) => {
                    self.advance();
                    set_edges(&mut expr, Edges::Anchored, "anchored")?;
                }
                Kind::Keyword(Keyword::Smoothed) => {
                    self.advance();
                    set_edges(&mut expr, Edges::Smoothed, "smoothed")?;
                }
                _ => return Ok(expr),
            }
            expr.span = self.span_from(expr.span.start);
        }
    }

    /// `[range]` or `[range:step]`.
    fn range(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let bracket = self.advance().span;
        self.chain(bracket)?;
        let range = self.within("subquery or range selector", LENGTH, Self::positive_duration)?;
        let node = match self.peek() {
            Kind::RightBracket => {
                self.advance();
                matrix(expr.node, range).map_err(|message| ParseError::new(self.span_from(bracket.start), message))?
            }
            Kind::Colon => {
                self.advance();
                let step = match self.peek() {
                    Kind::RightBracket => None,
                    _ => {
                        let expected = "number, duration, step(), range(), or \"]\"";
                        Some(self.within("subquery selector", expected, Self::positive_duration)?)
                    }
                };
                if !self.accept(Kind::RightBracket) {
                    return Err(self.unexpected_in("subquery selector", "\"]\""));
                }
                return Ok(Expr {
                    span: expr.span,
                    node: Node::Subquery(Subquery { expr: Box::new(expr), range, step, offset: None, at: None }),
                });
            }
            _ => return Err(self.unexpected_in("subquery or range", "\":\" or \"]\"")),
        };
        Ok(Expr { node, span: expr.span })
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.advance();
        let offset = self.within("offset", LENGTH, Self::offset_duration)?;
        let place = match &mut expr.node {
            Node::Vector(selector) => &mut selector.offset,
            Node::Matrix(matrix) => &mut matrix.selector.offset,
            Node::Subquery(subquery) => &mut subquery.offset,
            _ => return Err(misplaced("offset", expr.span)),
        };
        if place.is_some() {
            return Err(ParseError::new(expr.span, "offset may not be set multiple times"));
        }
        // An offset of nothing is none.
        *place = Some(offset).filter(|offset| *offset != Duration::Constant(0));
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.advance();
        let at = self.within("@", "timestamp", Self::point_in_time)?;
        let at = match at {
            PointInTime::Seconds(seconds) => At::Time(milliseconds(seconds, expr.span)?),
            PointInTime::Start => At::Start,
            PointInTime::End => At::End,
        };
        let place = match &mut expr.node {
            Node::Vector(selector) => &mut selector.at,
            Node::Matrix(matrix) => &mut matrix.selector.at,
            Node::Subquery(subquery) => &mut subquery.at,
            _ => return Err(misplaced("@", expr.span)),
        };
        if place.is_some() {
            return Err(ParseError::new(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        *place = Some(at);
        Ok(())
    }

    fn point_in_time(&mut self) -> Result<PointInTime, ParseError> {
        Ok(match self.accept_query_word(&[QueryWord::Start, QueryWord::End])? {
            Some(QueryWord::Start) => PointInTime::Start,
            Some(_) => PointInTime::End,
            None => PointInTime::Seconds(self.signed_number()?),
        })
    }
}

enum PointInTime {
    Seconds(f64),
    Start,
    End,
}

/// Rounded as Prometheus rounds them.
fn milliseconds(seconds: f64, span: Span) -> Result<i64, ParseError> {
    // Within an i64, although it is the seconds that are compared.
    if seconds.is_nan() || seconds.abs() >= 9_223_372_036_854_775_808.0 {
        let shown = match seconds {
            s if s.is_nan() => "NaN".to_owned(),
            s if s.is_infinite() => (if s > 0.0 { "+Inf" } else { "-Inf" }).to_owned(),
            s => format!("{s:.6}"),
        };
        return Err(ParseError::new(span, format!("timestamp out of bounds for @ modifier: {shown}")));
    }
    Ok((seconds * 1_000.0).round() as i64)
}

fn misplaced(modifier: &str, span: Span) -> ParseError {
    let message = format!(
        "{modifier} modifier must be preceded by an instant vector selector or range vector selector or a subquery"
    );
    ParseError::new(span, message)
}

fn matrix(node: Node, range: Duration) -> Result<Node, &'static str> {
    match node {
        Node::Vector(selector) if selector.offset.is_some() => Err("no offset modifiers allowed before range"),
        Node::Vector(selector) if selector.at.is_some() => Err("no @ modifiers allowed before range"),
        Node::Vector(selector) => Ok(Node::Matrix(MatrixSelector { selector, range })),
        _ => Err("ranges only allowed for vector selectors"),
    }
}

fn set_edges(expr: &mut Expr, edges: Edges, word: &str) -> Result<(), ParseError> {
    let wrong = match &mut expr.node {
        Node::Vector(selector) | Node::Matrix(MatrixSelector { selector, .. }) => {
            if selector.edges == Edges::Extrapolated || selector.edges == edges {
                selector.edges = edges;
                return Ok(());
            }
            "anchored and smoothed modifiers cannot be used together".to_owned()
        }
        Node::Subquery(_) => format!("{word} modifier is not supported for subqueries"),
        _ => format!("{word} modifier not implemented"),
    };
    Err(ParseError::new(expr.span, wrong))
}
