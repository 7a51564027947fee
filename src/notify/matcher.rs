//! Matchers: what picks alerts by their labels, in routes, silences, inhibitions and filters.
//!
//! Two ways to write them are read, as in Alertmanager: names of any characters with quotes where needed, and, where that
//! does not fit, the older one in which a value without quotes may hold anything but a comma.

use std::collections::BTreeMap;
use std::fmt;

use regex::Regex;

/// Labels of an alert.
pub(crate) type Labels = BTreeMap<String, String>;

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl Comparison {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One matcher. A label that is not there has the empty value.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    /// The label.
    pub(crate) name: String,
    /// What it is compared with.
    pub(crate) value: String,
    /// How.
    pub(crate) comparison: Comparison,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.value, self.comparison) == (&other.name, &other.value, other.comparison)
    }
}

impl Matcher {
    /// A matcher.
    ///
    /// # Errors
    /// When the value is to be a regular expression and is none.
    pub(crate) fn new(name: &str, comparison: Comparison, value: &str) -> Result<Self, String> {
        let is_regex = matches!(comparison, Comparison::Regex | Comparison::NotRegex);
        let compile = || Regex::new(&format!("^(?:{value})$"));
        let regex = is_regex.then(compile).transpose().map_err(|error| {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{value:?} is no regular expression: {why}")
        })?;
        Ok(Self { name: name.to_owned(), value: value.to_owned(), comparison, regex })
    }

    /// Whether labels fit.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        match self.comparison {
            Comparison::Equal => value == self.value,
            Comparison::NotEqual => value != self.value,
            Comparison::Regex => self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
            Comparison::NotRegex => !self.regex.as_ref().is_some_and(|regex| regex.is_match(value)),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.chars().any(is_reserved) {
            f.write_str(&quote(&self.name))?;
        } else {
            f.write_str(&self.name)?;
        }
        write!(f, "{}{}", self.comparison.as_str(), quote(&self.value))
    }
}

/// Whether labels fit all of the matchers.
pub(crate) fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

/// `{a="b",c=~"d"}`.
pub(crate) fn show_all(matchers: &[Matcher]) -> String {
    let shown: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", shown.join(","))
}

/// Labels as Alertmanager's group keys show them: `{a="b", c="d"}`.
pub(crate) fn show_labels(labels: &Labels) -> String {
    let shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
    format!("{{{}}}", shown.join(", "))
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Reads one or more matchers: `a="b"`, `{a="b", c!~"d"}`.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn parse(text: &str) -> Result<Vec<Matcher>, String> {
    parse_quoting(text).or_else(|why| {
        let trimmed = text.trim();
        let inner = match (trimmed.strip_prefix('{'), trimmed.strip_suffix('}')) {
            (Some(rest), _) => rest.strip_suffix('}'),
            (None, None) => Some(trimmed),
            (None, Some(_)) => None,
        };
        let parts = inner.map(split_at_commas).unwrap_or_default();
        let matchers: Option<Result<Vec<Matcher>, String>> =
            (!parts.is_empty()).then(|| parts.into_iter().map(|part| parse_plain(part, &why)).collect());
        matchers.unwrap_or(Err(why))
    })
}

fn is_reserved(c: char) -> bool {
    c.is_whitespace() || "{}!=~,\\\"'`".contains(c)
}

/// The newer way.
fn parse_quoting(text: &str) -> Result<Vec<Matcher>, String> {
    let bad = |what: &str| format!("bad matcher format: {text}: {what}");
    let mut rest = text.trim();
    let in_braces = rest.starts_with('{');
    rest = rest.strip_prefix('{').unwrap_or(rest);
    let mut matchers = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('}') {
            break;
        }
        let (name, after) = token(rest).ok_or_else(|| bad("the name of a label is expected"))?;
        let (comparison, after) = comparison(after.trim_start()).ok_or_else(|| bad("expected one of = != =~ !~"))?;
        let (value, after) = token(after.trim_start()).ok_or_else(|| bad("a value is expected"))?;
        matchers.push(Matcher::new(&name, comparison, &value)?);
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() || rest.starts_with('}') => {}
            None => return Err(bad("a comma is expected")),
        }
    }
    let closed = rest.strip_prefix('}');
    match (in_braces, closed) {
        (true, Some(rest)) if rest.trim().is_empty() => Ok(matchers),
        (false, None) if !matchers.is_empty() => Ok(matchers),
        (false, None) => Err(bad("no matcher")),
        _ => Err(bad("braces do not match")),
    }
}

/// A quoted text, or a run of characters that need no quotes.
fn token(text: &str) -> Option<(String, &str)> {
    if let Some(inner) = text.strip_prefix('"') {
        let mut escaped = false;
        for (at, c) in inner.char_indices() {
            match c {
                '"' if !escaped => {
                    let (quoted, rest) = inner.split_at_checked(at)?;
                    return Some((unescape(quoted)?, rest.strip_prefix('"')?));
                }
                _ => escaped = c == '\\' && !escaped,
            }
        }
        return None;
    }
    let (run, rest) = text.split_at_checked(text.find(is_reserved).unwrap_or(text.len()))?;
    (!run.is_empty()).then(|| (run.to_owned(), rest))
}

fn comparison(text: &str) -> Option<(Comparison, &str)> {
    [("=~", Comparison::Regex), ("!~", Comparison::NotRegex), ("!=", Comparison::NotEqual), ("=", Comparison::Equal)]
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, text.strip_prefix(sign)?)))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next()? {
            'n' => plain.push('\n'),
            't' => plain.push('\t'),
            'r' => plain.push('\r'),
            c @ ('"' | '\\') => plain.push(c),
            // A backslash of a regular expression, as in "\.".
            c => plain.extend(['\\', c]),
        }
    }
    Some(plain)
}

/// The older way: a name, a comparison, and all that follows.
fn parse_plain(text: &str, why: &str) -> Result<Matcher, String> {
    let at = text.find(['=', '!']).ok_or_else(|| why.to_owned())?;
    let (name, rest) = text.split_at_checked(at).ok_or_else(|| why.to_owned())?;
    let name = name.trim();
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == ':')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    let (comparison, value) = comparison(rest).filter(|_| is_name(name)).ok_or_else(|| why.to_owned())?;
    let value = value.trim();
    let value = match value.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').and_then(unescape).ok_or_else(|| why.to_owned())?,
        None => unescape(value).filter(|_| !value.ends_with('"')).ok_or_else(|| why.to_owned())?,
    };
    Matcher::new(name, comparison, &value)
}

fn split_at_commas(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                parts.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    parts.extend(text.get(start..).filter(|part| !part.trim().is_empty()));
    parts
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(show_all(&parse(text).unwrap()), shown, "{text}");
    }

    #[test]
    fn both_ways_are_read() {
        check(r#"foo="bar""#, r#"{foo="bar"}"#);
        check("foo=bar", r#"{foo="bar"}"#);
        check(r#"{foo=~"b.*", baz != "a\"b"}"#, r#"{foo=~"b.*",baz!="a\"b"}"#);
        check(r#" foo !~ bar , "ü ö"=🙂 "#, r#"{foo!~"bar","ü ö"="🙂"}"#);
        check("{}", "{}");
        check("{a=b,}", r#"{a="b"}"#);
        check("foo=", r#"{foo=""}"#);
        check("foo=~^(a|b)=c$", r#"{foo=~"^(a|b)=c$"}"#);
        check("foo=a b", r#"{foo="a b"}"#);
        check(r#"foo=~"a\.b""#, r#"{foo=~"a\\.b"}"#);
        check("foo=bar!,x=~y z", r#"{foo="bar!",x=~"y z"}"#);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "foo", "=bar", r#"foo="bar"#, "{foo=bar", "foo=bar}", "foo=~(", "1a=b c", "a==b d\""] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn labels_fit_or_do_not() {
        let labels: Labels = [("a".to_owned(), "x1".to_owned())].into();
        for (text, fits) in [
            ("a=x1", true),
            ("a!=x1", false),
            ("a=~x", false),
            ("a=~x.", true),
            ("a!~x.", false),
            (r#"b="""#, true),
            ("b!~.+", true),
            ("b=~.+", false),
        ] {
            assert_eq!(all_match(&parse(text).unwrap(), &labels), fits, "{text}");
        }
        assert_eq!(show_labels(&labels), r#"{a="x1"}"#);
    }
}
