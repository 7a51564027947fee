//! Line filters: `|= != |~ !~ |> !>` and `ip()`.

use memchr::memmem::Finder;
use regex::bytes::Regex;

use super::ip::IpPattern;
use super::pattern::LinePattern;
use crate::logql::ast::{LineFilter, LineFilterKind, LineOperand};
use crate::logql::literals::required;
use crate::regexp::{compile, literal_of};

/// A line filter, ready to run.
#[derive(Debug, Clone)]
pub struct LineMatcher {
    negated: bool,
    any: Vec<Operand>,
}

#[derive(Debug, Clone)]
enum Operand {
    /// Matches every line: the empty text or regex.
    Everything,
    Contains(Box<Finder<'static>>),
    /// With a text that every match has, which is looked for first.
    Regex(Regex, Option<Box<Finder<'static>>>),
    Pattern(LinePattern),
    Ip(IpPattern),
}

impl LineMatcher {
    /// Compiles a filter.
    ///
    /// # Errors
    /// When a regex, pattern or address is malformed.
    pub(super) fn new(filter: &LineFilter) -> Result<Self, String> {
        let mut any = filter.operands.iter().map(|o| operand(filter.kind, o)).collect::<Result<Vec<_>, _>>()?;
        // As in Loki, an operand of `or` that matches every line is left out while there are others.
        if any.iter().any(|o| !matches!(o, Operand::Everything)) {
            any.retain(|o| !matches!(o, Operand::Everything));
        }
        Ok(Self { negated: filter.negated, any })
    }

    /// Whether a line passes.
    pub fn matches(&self, line: &str) -> bool {
        self.any.iter().any(|operand| operand.matches(line)) != self.negated
    }
}

fn operand(kind: LineFilterKind, operand: &LineOperand) -> Result<Operand, String> {
    let text = match operand {
        LineOperand::Ip(_) if kind != LineFilterKind::Contains => return Err("ip: invalid operation".to_owned()),
        LineOperand::Ip(pattern) => return Ok(Operand::Ip(IpPattern::new(pattern)?)),
        LineOperand::Text(text) => text,
    };
    Ok(match kind {
        LineFilterKind::Contains => contains(text),
        LineFilterKind::Regex => {
            let regex = compile(text).map_err(|error| error.to_string())?;
            let longest = required(kind, operand).into_iter().max_by_key(String::len);
            let finder = longest.map(|text| Box::new(Finder::new(&text).into_owned()));
            literal_of(text).map_or(Operand::Regex(regex, finder), |literal| contains(&literal))
        }
        LineFilterKind::Pattern => Operand::Pattern(LinePattern::new(text)?),
    })
}

fn contains(text: &str) -> Operand {
    if text.is_empty() { Operand::Everything } else { Operand::Contains(Box::new(Finder::new(text).into_owned())) }
}

impl Operand {
    fn matches(&self, line: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Contains(finder) => finder.find(line.as_bytes()).is_some(),
            Self::Regex(regex, required) => {
                required.as_ref().is_none_or(|text| text.find(line.as_bytes()).is_some())
                    && regex.is_match(line.as_bytes())
            }
            Self::Pattern(pattern) => pattern.matches(line),
            Self::Ip(ip) => ip.is_in(line),
        }
    }
}
