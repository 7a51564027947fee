//! A script as a list of commands.

use regex::Regex;
use storage::Labels;

use super::answer::Times;
use super::series::{Item, Series, parse_metric, parse_series, parse_starts};
use crate::logql::units::{parse_float, parse_prometheus_duration};

/// A command and its line, from 1.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) kind: CommandKind,
}

#[derive(Debug)]
pub(super) enum CommandKind {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
}

/// Samples, one every `step` milliseconds.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) step: i64,
    /// Classic histograms become native ones with custom buckets, beside themselves.
    pub(super) with_nhcb: bool,
    pub(super) series: Vec<LoadedSeries>,
}

#[derive(Debug)]
pub(super) struct LoadedSeries {
    pub(super) series: Series,
    /// Empty, or of each item the start of counting, in milliseconds relative to the sample.
    pub(super) starts: Vec<Option<i64>>,
}

/// A query, and what is expected of it. Times are milliseconds.
#[derive(Debug)]
pub(super) struct Eval {
    pub(super) expr: String,
    pub(super) times: Times,
    /// The answer of an instant query is a range vector with these times.
    pub(super) range_vector: Option<(i64, i64, i64)>,
    pub(super) ordered: bool,
    pub(super) fail: Option<Text>,
    pub(super) warnings: Notes,
    pub(super) infos: Notes,
    pub(super) string: Option<String>,
    pub(super) scalar: Option<f64>,
    pub(super) series: Vec<ExpectedSeries>,
}

#[derive(Debug)]
pub(super) struct ExpectedSeries {
    /// From 1, among the expected series.
    pub(super) position: usize,
    pub(super) labels: Labels,
    pub(super) items: Vec<Item>,
}

/// What a message must be.
#[derive(Debug)]
pub(super) enum Text {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Text {
    pub(super) fn matches(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(text) => text == message,
            Self::Matching(regex) => regex.is_match(message),
        }
    }
}

/// What is expected of the warnings, or of the infos.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// There is at least one.
    pub(super) some: bool,
    /// There is none.
    pub(super) none: bool,
    /// Each is there, and no others.
    pub(super) texts: Vec<Text>,
}

/// Splits a script into commands.
///
/// # Errors
/// The first line that is wrong, with its number.
pub(super) fn parse(script: &str) -> Result<Vec<Command>, String> {
    let mut lines = Lines { lines: script.lines().map(uncommented).collect(), at: 0 };
    let mut commands = Vec::new();
    while let Some(line) = lines.next_any() {
        if line.is_empty() {
            continue;
        }
        let number = lines.at;
        let kind = command(line, &mut lines).map_err(|why| format!("line {}: {why}", lines.at))?;
        commands.push(Command { line: number, kind });
    }
    Ok(commands)
}

fn uncommented(line: &str) -> &str {
    let line = line.trim();
    if line.starts_with('#') { "" } else { line }
}

struct Lines<'a> {
    lines: Vec<&'a str>,
    /// Index of the next; number of the one before it.
    at: usize,
}

impl<'a> Lines<'a> {
    fn next_any(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.at)?;
        self.at += 1;
        Some(line)
    }

    /// The next line of the same command: up to an empty one.
    fn next_of_block(&mut self) -> Option<&'a str> {
        self.lines.get(self.at).filter(|line| !line.is_empty())?;
        self.next_any()
    }
}

fn command(line: &str, lines: &mut Lines<'_>) -> Result<CommandKind, String> {
    let (name, rest) = split_word(line);
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "clear" => Ok(CommandKind::Clear),
        "load" | "load_with_nhcb" => load(rest, name != "load", lines).map(CommandKind::Load),
        _ => match name.strip_prefix("eval") {
            Some(mode) => Ok(CommandKind::Eval(Box::new(eval(mode, rest, lines)?))),
            None => Err(format!("{name:?} is no command")),
        },
    }
}

/// The first word, and what follows it.
fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    (word, rest.trim_start())
}

fn milliseconds(duration: &str) -> Result<i64, String> {
    parse_prometheus_duration(duration).map(|nanoseconds| nanoseconds / 1_000_000)
}

fn load(step: &str, with_nhcb: bool, lines: &mut Lines<'_>) -> Result<Load, String> {
    let mut load = Load { step: milliseconds(step)?, with_nhcb, series: Vec::new() };
    let mut pending: Option<(Labels, Vec<Option<i64>>)> = None;
    while let Some(line) = lines.next_of_block() {
        if let (Some(metric), offsets) = (split_word(line).0.strip_suffix("@st"), split_word(line).1) {
            if pending.replace((parse_metric(metric)?, parse_starts(offsets)?)).is_some() {
                return Err("a line @st without its samples".to_owned());
            }
            continue;
        }
        let series = parse_series(line)?;
        let starts = match pending.take() {
            Some((labels, _)) if labels != series.labels => return Err("a line @st of another series".to_owned()),
            Some((_, starts)) if starts.len() != series.items.len() => {
                return Err(format!("{} start timestamps for {} samples", starts.len(), series.items.len()));
            }
            Some((_, starts)) => starts,
            None => Vec::new(),
        };
        load.series.push(LoadedSeries { series, starts });
    }
    if pending.is_some() {
        return Err("a line @st without its samples".to_owned());
    }
    Ok(load)
}

fn eval(mode: &str, rest: &str, lines: &mut Lines<'_>) -> Result<Eval, String> {
    let (times, expr) = times(rest)?;
    let mut eval = Eval {
        expr: expr.to_owned(),
        times,
        range_vector: None,
        ordered: mode == "_ordered",
        fail: (mode == "_fail").then_some(Text::Any),
        warnings: Notes { some: mode == "_warn", ..Notes::default() },
        infos: Notes { some: mode == "_info", ..Notes::default() },
        string: None,
        scalar: None,
        series: Vec::new(),
    };
    if !matches!(mode, "" | "_ordered" | "_fail" | "_warn" | "_info") {
        return Err(format!("eval{mode} is no command"));
    }
    let mut position = 0;
    while let Some(line) = lines.next_of_block() {
        if !expectation(line, mode, &mut eval)? {
            position += 1;
            let Series { labels, items } = parse_series(line)?;
            if items.len() > 1 && matches!(eval.times, Times::Instant(_)) && eval.range_vector.is_none() {
                return Err("several values of one series are expected of an instant query".to_owned());
            }
            eval.series.retain(|before| before.labels != labels);
            eval.series.push(ExpectedSeries { position, labels, items });
        }
        if eval.scalar.is_some() {
            break;
        }
    }
    Ok(eval)
}

/// `instant at 5m expr`, `range from 0 to 5m step 1m expr`.
fn times(text: &str) -> Result<(Times, &str), String> {
    let mut rest = text;
    let mut word = || {
        let (word, after) = split_word(rest);
        rest = after;
        word
    };
    match word() {
        "instant" => {
            if word() != "at" {
                return Err("`instant at TIME QUERY` expected".to_owned());
            }
            let at = milliseconds(word())?;
            Ok((Times::Instant(at), rest))
        }
        "range" => {
            let (start, end, step) = from_to_step(&mut word)?;
            Ok((Times::Range { start, end, step }, rest))
        }
        _ => Err("`instant` or `range` expected".to_owned()),
    }
}

fn from_to_step<'a>(word: &mut impl FnMut() -> &'a str) -> Result<(i64, i64, i64), String> {
    let mut times = [0; 3];
    for (keyword, time) in ["from", "to", "step"].into_iter().zip(&mut times) {
        if word() != keyword {
            return Err("`from TIME to TIME step DURATION` expected".to_owned());
        }
        *time = milliseconds(word())?;
    }
    let [start, end, step] = times;
    if end < start { Err("the end lies before the start".to_owned()) } else { Ok((start, end, step)) }
}

/// Reads a line that is no series. False if it is one.
fn expectation(line: &str, mode: &str, eval: &mut Eval) -> Result<bool, String> {
    if eval.fail.is_some() && mode == "_fail" {
        if let Some(message) = line.strip_prefix("expected_fail_message") {
            eval.fail = Some(Text::Exactly(message.trim().to_owned()));
            return Ok(true);
        }
        if let Some(pattern) = line.strip_prefix("expected_fail_regexp") {
            eval.fail = Some(Text::Matching(regex(pattern)?));
            return Ok(true);
        }
    }
    if let Some(times) = line.strip_prefix("expect range vector") {
        let mut words = times.split_whitespace();
        let times = from_to_step(&mut || words.next().unwrap_or_default())?;
        (eval.times, eval.range_vector) = (Times::Instant(times.1), Some(times));
        return Ok(true);
    }
    if let Some(literal) = line.strip_prefix("expect string") {
        eval.string = Some(unquote(literal.trim())?);
        return Ok(true);
    }
    if split_word(line).0 == "expect" {
        expect(split_word(line).1, eval)?;
        return Ok(true);
    }
    eval.scalar = number(line);
    Ok(eval.scalar.is_some())
}

/// What follows `expect`.
fn expect(text: &str, eval: &mut Eval) -> Result<(), String> {
    let (what, how) = split_word(text);
    let message = if how.is_empty() {
        Text::Any
    } else if let Some(message) = how.strip_prefix("msg:") {
        Text::Exactly(message.trim().to_owned())
    } else if let Some(pattern) = how.strip_prefix("regex:") {
        Text::Matching(regex(pattern)?)
    } else {
        return Err(format!("`msg:` or `regex:` expected instead of {how:?}"));
    };
    match what {
        "ordered" => eval.ordered = true,
        "fail" if matches!(eval.fail, None | Some(Text::Any)) => eval.fail = Some(message),
        "fail" => return Err("several `expect fail`".to_owned()),
        "warn" => eval.warnings.texts.push(message),
        "info" => eval.infos.texts.push(message),
        "no_warn" => eval.warnings.none = true,
        "no_info" => eval.infos.none = true,
        _ => return Err(format!("`expect {what}` is not known")),
    }
    let contradicts = |notes: &Notes| notes.none && !notes.texts.is_empty();
    if contradicts(&eval.warnings) || contradicts(&eval.infos) {
        return Err(format!("`expect {what}` contradicts a line before it"));
    }
    Ok(())
}

fn regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern.trim()).map_err(|error| error.to_string())
}

/// A whole number in any base, or what Go takes for a float.
fn number(text: &str) -> Option<f64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', b'o' | b'O', ..] => (text.get(2..)?, 8),
        [b'0', b'b' | b'B', ..] => (text.get(2..)?, 2),
        [b'0', _, ..] => (text, 8),
        _ => (text, 10),
    };
    i64::from_str_radix(digits, radix).ok().map(|whole| whole as f64).or_else(|| parse_float(text).ok())
}

/// A string literal of Go.
fn unquote(literal: &str) -> Result<String, String> {
    match crate::promql::parser::parse(literal) {
        Ok(expr) => match expr.node {
            crate::promql::ast::Node::String(text) => Ok(text),
            _ => Err(format!("{literal:?} is no string literal")),
        },
        Err(error) => Err(error.to_string()),
    }
}
