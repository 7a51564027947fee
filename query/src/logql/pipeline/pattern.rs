//! Patterns: `<name>` and `<_>` take what is between fixed texts. As a parser (`| pattern`) and as a line filter
//! (`|>`).

use std::borrow::Cow;

use super::demand::Demand;
use super::row::Row;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `None` for `<_>`.
    Capture(Option<String>),
}

/// A capture is `<`, a letter or `_`, letters, digits or `_`, and `>`; all else is text.
fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if let Some((name, tail)) = capture(rest) {
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Capture((name != "_").then(|| name.to_owned())));
            rest = tail;
        } else {
            text.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

fn capture(text: &str) -> Option<(&str, &str)> {
    let (name, tail) = text.strip_prefix('<')?.split_once('>')?;
    let first = name.bytes().next()?;
    let valid = !first.is_ascii_digit() && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
    valid.then_some((name, tail))
}

fn check_consecutive(parts: &[Part]) -> Result<(), String> {
    for pair in parts.windows(2) {
        if let [Part::Capture(a), Part::Capture(b)] = pair {
            let name = |c: &Option<String>| c.clone().unwrap_or_else(|| "_".to_owned());
            return Err(format!("found consecutive capture '<{}><{}>': invalid expression", name(a), name(b)));
        }
    }
    Ok(())
}

/// The pattern of a line filter.
#[derive(Debug, Clone)]
pub(crate) struct LinePattern {
    parts: Vec<Part>,
}

impl LinePattern {
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let parts = parts(pattern);
        check_consecutive(&parts)?;
        for part in &parts {
            if let Part::Capture(Some(name)) = part {
                return Err(format!("named captures are not allowed: found '<{name}>'"));
            }
        }
        Ok(Self { parts })
    }

    /// The texts follow each other with something between, the first where the pattern starts with it anywhere, and
    /// the end of the line is the end of the pattern.
    pub(crate) fn matches(&self, line: &str) -> bool {
        let Some(last) = self.parts.last() else { return line.is_empty() };
        if line.is_empty() {
            return false;
        }
        let mut rest = line;
        for (i, part) in self.parts.iter().enumerate() {
            let Part::Text(text) = part else { continue };
            match rest.find(text.as_str()) {
                None => return false,
                Some(0) if i != 0 => return false,
                Some(at) => rest = rest.get(at + text.len()..).unwrap_or_default(),
            }
        }
        matches!(last, Part::Capture(_)) != rest.is_empty()
    }
}

/// The fixed texts of a line filter's pattern, all of which a matching line contains.
pub(crate) fn line_texts(pattern: &str) -> Vec<String> {
    parts(pattern).into_iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None }).collect()
}

/// The pattern of `| pattern`.
#[derive(Debug, Clone)]
pub(crate) struct PatternParser {
    parts: Vec<Part>,
}

impl PatternParser {
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        let parts = parts(pattern);
        let names: Vec<&str> = parts
            .iter()
            .filter_map(|p| if let Part::Capture(Some(name)) = p { Some(name.as_str()) } else { None })
            .collect();
        if names.is_empty() {
            return Err("at least one capture is required".to_owned());
        }
        check_consecutive(&parts)?;
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(format!("duplicate capture name ({name}): invalid expression"));
            }
        }
        Ok(Self { parts })
    }

    pub(crate) fn process<'a>(&self, row: &mut Row<'a>, demand: &Demand) {
        if demand.is_met(row) {
            return;
        }
        row.with_line(|row, line, keep| {
            self.captures(line, |name, value| {
                let name = row.parsed_name(Cow::Owned(name.to_owned()));
                if !row.was_made(&name) && demand.wants(&name) {
                    row.set(name, keep(value));
                }
            })
        });
    }

    /// Calls `found` with each named capture. Where a text is missing, the capture before it takes the rest of the
    /// line and those after it take nothing.
    fn captures<'l>(&self, line: &'l str, mut found: impl FnMut(&str, &'l str)) {
        let mut parts = self.parts.as_slice();
        let mut rest = line;
        if let [Part::Text(text), tail @ ..] = parts {
            let Some(after) = line.strip_prefix(text.as_str()) else { return };
            (rest, parts) = (after, tail);
        }
        if line.is_empty() {
            return;
        }
        while let [Part::Capture(name), tail @ ..] = parts {
            let (value, after) = match tail {
                [Part::Text(text), ..] => match rest.split_once(text.as_str()) {
                    Some((value, after)) => (value, Some(after)),
                    None => (rest, None),
                },
                _ => (rest, None),
            };
            if let Some(name) = name {
                found(name, value);
            }
            let Some(after) = after else { return };
            rest = after;
            parts = tail.get(1..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn filters_lines() {
        let check = |pattern: &str, line: &str, passes: bool| {
            assert_eq!(LinePattern::new(pattern).unwrap().matches(line), passes, "{pattern} on {line}");
        };
        check("<_> took <_> ms", "query took 5 ms", true);
        check("<_> took <_> ms", "query took 5 ms more", false);
        check("<_> bar", "foo bar baz", false);
        check("<_> baz", "foo bar baz", true);
        check("foo <_>", "foo bar baz", true);
        check("foo <_>", "xfoo bar", true);
        check("<_> bar <_>", " bar ", false);
        check("<_>bar<_>", " bar ", true);
        check("<_>", "x", true);
        check("<_>", "", false);
        check("", "", true);
        check("", "x", false);
        check("a<b", "a<b", true);
        check("é<_>", "éé", true);
    }

    #[test]
    fn parses_captures() {
        let check = |pattern: &str, line: &str, found: &str| {
            let mut out = Vec::new();
            PatternParser::new(pattern).unwrap().captures(line, |name, value| out.push(format!("{name}={value}")));
            assert_eq!(out.join("|"), found, "{pattern} on {line}");
        };
        check("<ip> - <_> \"<method> <path>\"", "1.2.3.4 - me \"GET /x\"", "ip=1.2.3.4|method=GET|path=/x");
        check("<a> <b>", "one", "a=one");
        check("x<a>", "yz", "");
        check("<a>,<b>,<c>", "1,2", "a=1|b=2");
        check("<a>", "", "");
        check("<_>-<a>", "x-y-z", "a=y-z");
        check("<a>é<b>", "1é2", "a=1|b=2");
    }

    #[test]
    fn refuses() {
        assert_eq!(PatternParser::new("<a><b>").unwrap_err(), "found consecutive capture '<a><b>': invalid expression");
        assert_eq!(PatternParser::new("<_>").unwrap_err(), "at least one capture is required");
        assert_eq!(PatternParser::new("<a> <a>").unwrap_err(), "duplicate capture name (a): invalid expression");
        assert_eq!(LinePattern::new("<_><_>").unwrap_err(), "found consecutive capture '<_><_>': invalid expression");
        assert_eq!(LinePattern::new("<a>").unwrap_err(), "named captures are not allowed: found '<a>'");
    }
}
