//! Stream selectors and pipelines.

use crate::logql::ast::{
    CompareOp, Comparison, Conversion, Extraction, LabelChoice, LabelFilter, LabelFormat, LabelFormatValue, LineFilter,
    LineFilterKind, LineOperand, LogExpr, Logfmt, MatchOp, Matcher, Stage, Unwrap,
};
use crate::logql::error::ParseError;
use crate::logql::lexer::Token;
use crate::logql::pipeline::{check_pattern, check_regexp};
use crate::logql::units::parse_float;
use crate::regexp::RegexError;

use super::Parser;

/// Which [`Matcher`] constructor applies.
type NewMatcher = fn(&str, MatchOp, &str) -> Result<Matcher, RegexError>;

impl Parser {
    /// `{...}` and the stages after it.
    pub(super) fn log_expr(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        self.stages(&mut stages)?;
        Ok(LogExpr { matchers, stages })
    }

    pub(super) fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        if self.accept("}") {
            return Ok(matchers);
        }
        loop {
            if matchers.is_empty() && !matches!(self.peek(), Token::Identifier(_)) {
                return Err(self.unexpected("IDENTIFIER or }"));
            }
            let name = self.identifier()?;
            matchers.push(self.matcher(&name, Matcher::new)?);
            if !self.accept(",") {
                break;
            }
        }
        if !self.accept("}") {
            return Err(self.unexpected("} or ,"));
        }
        Ok(matchers)
    }

    /// The operator and text after a label's name.
    fn matcher(&mut self, name: &str, new: NewMatcher) -> Result<Matcher, ParseError> {
        let op = match self.peek() {
            Token::Word("=") => MatchOp::Equal,
            Token::Word("!=") => MatchOp::NotEqual,
            Token::Word("=~") => MatchOp::Regex,
            Token::Word("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected("= or != or =~ or !~")),
        };
        self.advance();
        let place = self.place();
        let value = self.text()?;
        new(name, op, &value).map_err(|error| ParseError::at(place, error.to_string()))
    }

    /// Stages, up to what is none; `| unwrap` is left to the caller.
    pub(super) fn stages(&mut self, stages: &mut Vec<Stage>) -> Result<(), ParseError> {
        loop {
            if let Token::Word(word @ ("|=" | "|~" | "|>" | "!=" | "!~" | "!>")) = *self.peek() {
                self.line_filters(word, stages)?;
            } else if self.peek_is("|") && !self.unwrap_follows() {
                self.advance();
                stages.push(self.stage()?);
            } else {
                return Ok(());
            }
        }
    }

    fn unwrap_follows(&self) -> bool {
        matches!(self.tokens.get(self.at + 1), Some((Token::Word("unwrap"), _)))
    }

    /// One filter; when negated, one for each operand, since none of them may be found.
    fn line_filters(&mut self, operator: &str, stages: &mut Vec<Stage>) -> Result<(), ParseError> {
        self.advance();
        let kind = match operator {
            "|=" | "!=" => LineFilterKind::Contains,
            "|~" | "!~" => LineFilterKind::Regex,
            _ => LineFilterKind::Pattern,
        };
        let mut operands = vec![self.line_operand()?];
        while self.accept("or") {
            self.chain()?;
            operands.push(self.line_operand()?);
        }
        let negated = operator.starts_with('!');
        let filter = |operands| Stage::LineFilter(LineFilter { kind, negated, operands });
        if negated {
            stages.extend(operands.into_iter().map(|operand| filter(vec![operand])));
        } else {
            stages.push(filter(operands));
        }
        Ok(())
    }

    fn line_operand(&mut self) -> Result<LineOperand, ParseError> {
        if self.peek_is("ip") { Ok(LineOperand::Ip(self.ip()?)) } else { Ok(LineOperand::Text(self.text()?)) }
    }

    /// `ip("...")`.
    fn ip(&mut self) -> Result<String, ParseError> {
        self.expect("ip")?;
        self.expect("(")?;
        let pattern = self.text()?;
        self.expect(")")?;
        Ok(pattern)
    }

    /// After `|`.
    fn stage(&mut self) -> Result<Stage, ParseError> {
        let Token::Word(word) = *self.peek() else {
            return match self.peek() {
                Token::Identifier(_) => Ok(Stage::LabelFilter(self.label_filter()?)),
                _ => Err(self.unexpected("")),
            };
        };
        if word == "(" {
            return Ok(Stage::LabelFilter(self.label_filter()?));
        }
        let stage_from = self.at;
        self.advance();
        Ok(match word {
            "json" => Stage::Json(self.extractions()?),
            "logfmt" => Stage::Logfmt(self.logfmt()?),
            "pattern" => {
                let pattern = self.text()?;
                check_pattern(&pattern).map_err(ParseError::whole)?;
                Stage::Pattern(pattern)
            }
            "regexp" => {
                let regex = self.text()?;
                check_regexp(&regex).map_err(ParseError::whole)?;
                Stage::Regexp(regex)
            }
            "unpack" => Stage::Unpack,
            "decolorize" => Stage::Decolorize,
            "line_format" => Stage::LineFormat(self.text()?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "keep" => Stage::Keep(self.label_choices()?),
            "drop" => Stage::Drop(self.label_choices()?),
            _ => {
                self.at = stage_from;
                return Err(self.unexpected(""));
            }
        })
    }

    fn logfmt(&mut self) -> Result<Logfmt, ParseError> {
        let mut logfmt = Logfmt::default();
        while let Token::Flag(flag) = *self.peek() {
            self.advance();
            match flag {
                "--strict" => logfmt.strict = true,
                _ => logfmt.keep_empty = true,
            }
        }
        logfmt.extractions = self.extractions()?;
        Ok(logfmt)
    }

    fn extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let mut extractions = Vec::new();
        if !matches!(self.peek(), Token::Identifier(_)) {
            return Ok(extractions);
        }
        loop {
            let name = self.identifier()?;
            let expression = if self.accept("=") { self.text()? } else { name.clone() };
            extractions.push(Extraction { name, expression });
            if !self.accept(",") {
                return Ok(extractions);
            }
        }
    }

    fn label_formats(&mut self) -> Result<Vec<LabelFormat>, ParseError> {
        let mut formats = Vec::new();
        loop {
            let name = self.identifier()?;
            self.expect("=")?;
            let value = match self.peek().clone() {
                Token::Identifier(source) => LabelFormatValue::Rename(source),
                Token::Text(template) => LabelFormatValue::Template(template),
                _ => return Err(self.unexpected("STRING or IDENTIFIER")),
            };
            self.advance();
            formats.push(LabelFormat { name, value });
            if !self.accept(",") {
                return Ok(formats);
            }
        }
    }

    fn label_choices(&mut self) -> Result<Vec<LabelChoice>, ParseError> {
        let mut choices = Vec::new();
        loop {
            let name = self.identifier()?;
            choices.push(match self.peek() {
                Token::Word("=" | "!=" | "=~" | "!~") => LabelChoice::Matches(self.matcher(&name, Matcher::new)?),
                _ => LabelChoice::Name(name),
            });
            if !self.accept(",") {
                return Ok(choices);
            }
        }
    }

    /// A condition. As in Loki's grammar `and` binds tighter than `or`, and a comma or a mere space takes everything
    /// that follows as its right side.
    pub(super) fn label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        self.label_filter_above(0)
    }

    fn label_filter_above(&mut self, floor: u8) -> Result<LabelFilter, ParseError> {
        let mut left = self.label_condition()?;
        loop {
            let (precedence, is_or) = match self.peek() {
                Token::Word("or") => (1, true),
                Token::Word("and") => (2, false),
                Token::Word(",") | Token::Word("(") | Token::Identifier(_) => {
                    self.chain()?;
                    self.accept(",");
                    let right = self.nested(|p| p.label_filter_above(0))?;
                    return Ok(LabelFilter::And(Box::new(left), Box::new(right)));
                }
                _ => return Ok(left),
            };
            if precedence <= floor {
                return Ok(left);
            }
            self.chain()?;
            self.advance();
            let right = self.label_filter_above(precedence)?;
            let (left_box, right) = (Box::new(left), Box::new(right));
            left = if is_or { LabelFilter::Or(left_box, right) } else { LabelFilter::And(left_box, right) };
        }
    }

    fn label_condition(&mut self) -> Result<LabelFilter, ParseError> {
        if self.accept("(") {
            let inner = self.nested(|p| p.label_filter_above(0))?;
            self.expect(")")?;
            return Ok(inner);
        }
        let name = self.identifier()?;
        let Token::Word(operator) = *self.peek() else { return Err(self.unexpected("")) };
        let next = self.tokens.get(self.at + 1).map(|(token, _)| token);
        if matches!(operator, "=~" | "!~") || (matches!(operator, "=" | "!=") && matches!(next, Some(Token::Text(_)))) {
            return Ok(LabelFilter::Text(self.matcher(&name, Matcher::in_pipeline)?));
        }
        if matches!(operator, "=" | "!=") && matches!(next, Some(Token::Word("ip"))) {
            self.advance();
            let pattern = self.ip()?;
            return Ok(LabelFilter::Ip { name: name.into(), negated: operator == "!=", pattern });
        }
        let op = match operator {
            "=" | "==" => CompareOp::Equal,
            "!=" => CompareOp::NotEqual,
            ">" => CompareOp::Greater,
            ">=" => CompareOp::GreaterOrEqual,
            "<" => CompareOp::Less,
            "<=" => CompareOp::LessOrEqual,
            _ => return Err(self.unexpected("")),
        };
        self.advance();
        self.quantity(&name, op)
    }

    /// The right side of a comparison.
    fn quantity(&mut self, name: &str, op: CompareOp) -> Result<LabelFilter, ParseError> {
        let name = name.into();
        match *self.peek() {
            Token::Duration(value) => {
                self.advance();
                Ok(LabelFilter::Duration(Comparison { name, op, value }))
            }
            Token::Bytes(value) => {
                self.advance();
                Ok(LabelFilter::Bytes(Comparison { name, op, value }))
            }
            _ => Ok(LabelFilter::Number(Comparison { name, op, value: self.literal()? })),
        }
    }

    /// A number with an optional sign.
    pub(super) fn literal(&mut self) -> Result<f64, ParseError> {
        let negative = self.accept("-");
        if !negative {
            self.accept("+");
        }
        let Token::Number(text) = self.peek() else { return Err(self.unexpected("NUMBER")) };
        let value = parse_float(text)
            .map_err(|error| ParseError::at(self.place(), format!("unable to parse literal as a float: {error}")))?;
        self.advance();
        Ok(if negative { -value } else { value })
    }

    /// `| unwrap ...` and the label filters after it.
    pub(super) fn unwrap(&mut self) -> Result<Option<Unwrap>, ParseError> {
        if !(self.peek_is("|") && self.unwrap_follows()) {
            return Ok(None);
        }
        self.advance();
        self.advance();
        let conversion = match self.peek() {
            Token::Word("bytes") => Conversion::Bytes,
            Token::Word("duration") => Conversion::Duration,
            Token::Word("duration_seconds") => Conversion::DurationSeconds,
            _ => Conversion::Number,
        };
        let label = if conversion == Conversion::Number {
            self.identifier()?
        } else {
            self.advance();
            self.expect("(")?;
            let label = self.identifier()?;
            self.expect(")")?;
            label
        };
        let mut filters = Vec::new();
        while self.accept("|") {
            filters.push(self.label_filter()?);
        }
        Ok(Some(Unwrap { label: label.into(), conversion, filters }))
    }
}
