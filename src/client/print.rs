//! How records and samples are printed: for people, as JSON lines, or as CSV.

use std::io::{self, IsTerminal, Write};

use chrono::{DateTime, Local, SecondsFormat, Utc};
use serde_json::{Map, Value, json};

use crate::cli::{OutputFormat, When};

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// One record of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    /// Labels of its stream and structured metadata.
    pub(crate) labels: Map<String, Value>,
    /// The text.
    pub(crate) line: String,
}

/// Prints records one after the other.
pub(crate) struct Printer<W> {
    out: W,
    format: OutputFormat,
    colour: bool,
    has_header: bool,
}

impl Printer<io::BufWriter<io::Stdout>> {
    /// To standard output.
    pub(crate) fn stdout(format: OutputFormat, when: When) -> Self {
        let colour = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Self::new(io::BufWriter::new(io::stdout()), format, colour)
    }
}

impl<W: Write> Printer<W> {
    fn new(out: W, format: OutputFormat, colour: bool) -> Self {
        Self { out, format, colour, has_header: false }
    }

    /// Prints a record.
    ///
    /// # Errors
    /// When the output is closed.
    pub(crate) fn line(&mut self, record: &Line) -> io::Result<()> {
        match self.format {
            OutputFormat::Text => {
                let colour = self.colour.then(|| level_colour(&record.labels));
                let (dim, reset) = if self.colour { (DIM, RESET) } else { ("", "") };
                let time = local_time(record.time);
                let labels = short_labels(&record.labels);
                writeln!(self.out, "{dim}{time} {labels}{reset} {}{}{reset}", colour.unwrap_or(""), record.line)
            }
            OutputFormat::Json => {
                let object = json!({"time": utc_time(record.time), "labels": record.labels, "line": record.line});
                writeln!(self.out, "{object}")
            }
            OutputFormat::Csv => {
                self.header("time,labels,line")?;
                let labels = csv_field(&label_set(&record.labels));
                writeln!(self.out, "{},{labels},{}", utc_time(record.time), csv_field(&record.line))
            }
        }
    }

    /// Prints a sample of a series.
    ///
    /// # Errors
    /// When the output is closed.
    pub(crate) fn sample(&mut self, time: i64, labels: &Map<String, Value>, value: &str) -> io::Result<()> {
        match self.format {
            OutputFormat::Text => {
                let (dim, reset) = if self.colour { (DIM, RESET) } else { ("", "") };
                writeln!(self.out, "{dim}{} {}{reset} {value}", local_time(time), label_set(labels))
            }
            OutputFormat::Json => {
                writeln!(self.out, "{}", json!({"time": utc_time(time), "labels": labels, "value": value}))
            }
            OutputFormat::Csv => {
                self.header("time,labels,value")?;
                writeln!(self.out, "{},{},{value}", utc_time(time), csv_field(&label_set(labels)))
            }
        }
    }

    /// Writes out what is gathered.
    ///
    /// # Errors
    /// When the output is closed.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn header(&mut self, names: &str) -> io::Result<()> {
        if !std::mem::replace(&mut self.has_header, true) {
            writeln!(self.out, "{names}")?;
        }
        Ok(())
    }
}

/// True when nobody reads the output any more (`farol query ... | head`), which is no failure.
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn utc_time(time: i64) -> String {
    DateTime::from_timestamp_nanos(time).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

fn local_time(time: i64) -> String {
    let utc: DateTime<Utc> = DateTime::from_timestamp_nanos(time);
    utc.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// Every label: `{a="x", b="y"}`.
fn label_set(labels: &Map<String, Value>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// What tells a person where a record comes from.
fn short_labels(labels: &Map<String, Value>) -> String {
    let source = ["service_name", "app", "job", "filename"].iter().find_map(|name| labels.get(*name)?.as_str());
    let level = ["detected_level", "level"].iter().find_map(|name| labels.get(*name)?.as_str());
    match (source, level) {
        (Some(source), Some(level)) => format!("{level:<5} {source}"),
        (Some(source), None) => source.to_owned(),
        _ => label_set(labels),
    }
}

fn level_colour(labels: &Map<String, Value>) -> &'static str {
    match labels.get("detected_level").or_else(|| labels.get("level")).and_then(Value::as_str) {
        Some("fatal" | "critical") => "\x1b[1;31m",
        Some("error") => "\x1b[31m",
        Some("warn" | "warning") => "\x1b[33m",
        Some("debug" | "trace") => DIM,
        _ => "",
    }
}

/// RFC 4180.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn printed(format: OutputFormat, colour: bool, line: &str) -> String {
        let labels = json!({"job": "a", "detected_level": "error"}).as_object().unwrap().clone();
        let mut printer = Printer::new(Vec::new(), format, colour);
        printer.line(&Line { time: 1_500_000_000, labels, line: line.to_owned() }).unwrap();
        String::from_utf8(printer.out).unwrap()
    }

    #[test]
    fn records_are_printed_in_each_format() {
        assert!(printed(OutputFormat::Text, false, "x").ends_with(".500 error a x\n"));
        assert!(printed(OutputFormat::Text, true, "x").ends_with("\x1b[31mx\x1b[0m\n"));
        assert_eq!(
            printed(OutputFormat::Json, false, "x\""),
            "{\"labels\":{\"detected_level\":\"error\",\"job\":\"a\"},\"line\":\"x\\\"\",\"time\":\"1970-01-01T00:00:01.500000000Z\"}\n"
        );
        assert_eq!(
            printed(OutputFormat::Csv, false, "x,\"y\""),
            "time,labels,line\n1970-01-01T00:00:01.500000000Z,\"{detected_level=\"\"error\"\", job=\"\"a\"\"}\",\"x,\"\"y\"\"\"\n"
        );
    }
}
