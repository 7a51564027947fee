//! `farol query`: asks a query of LogQL or PromQL and prints the answer.

use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value};
use storage::{Clock, SystemClock};

use crate::api::params::{parse_span, parse_time};
use crate::cli::QueryArgs;
use crate::client::http::Client;
use crate::client::print::{Line, Printer, is_closed};

const SECOND_NS: i64 = 1_000_000_000;
/// Points of a PromQL query that says no step, as LogQL's have.
const STEPS: i64 = 250;

/// The answer to a query, Loki's or Prometheus's.
#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Streams(Vec<Stream>),
    Matrix(Vec<Series>),
    Vector(Vec<Sample>),
    Scalar((f64, String)),
}

/// A stream with its records, as in an answer to a query or a message of a tail.
#[derive(Debug, Deserialize)]
pub(crate) struct Stream {
    stream: Map<String, Value>,
    values: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: Map<String, Value>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    #[serde(default)]
    histograms: Vec<(f64, Value)>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    metric: Map<String, Value>,
    value: (f64, String),
}

/// Asks and prints.
///
/// # Errors
/// When the query is wrong, or the server does not answer.
pub(crate) fn run(args: &QueryArgs) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now_ns();
    let end = parse_time(args.to.as_deref().unwrap_or_default(), now).map_err(anyhow::Error::msg).context("--to")?;
    let start = match &args.from {
        Some(from) => parse_time(from, now).map_err(anyhow::Error::msg).context("--from")?,
        None => end.min(now) - parse_span(&args.since).map_err(anyhow::Error::msg).context("--since")?,
    };
    let (body, stats) = if args.promql { ask_promql(args, start, end) } else { ask_logql(args, start, end) }?;
    if args.explain {
        eprintln!("{}", stats.as_deref().unwrap_or("the server does not say what it looked at"));
    }
    let answer: Answer = serde_json::from_str(&body).context("read the server's answer")?;
    for note in answer.warnings.iter().chain(&answer.infos) {
        eprintln!("{note}");
    }
    match print(answer.data, args) {
        Err(error) if !is_closed(&error) => Err(error),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The answer's body and what the server looked at.
type Asked = anyhow::Result<(String, Option<String>)>;

fn ask_logql(args: &QueryArgs, start: i64, end: i64) -> Asked {
    let (start, end, limit) = (start.to_string(), end.to_string(), args.limit.to_string());
    let direction = if args.forward { "forward" } else { "backward" };
    let mut parameters = vec![("query", args.query.as_str()), ("start", &start), ("end", &end), ("limit", &limit)];
    parameters.push(("direction", direction));
    if let Some(step) = &args.step {
        parameters.push(("step", step));
    }
    Client::new(&args.server).get("/loki/api/v1/query_range", &parameters)
}

fn ask_promql(args: &QueryArgs, start: i64, end: i64) -> Asked {
    let step = match &args.step {
        Some(step) => step.clone(),
        None => format!("{}s", ((end - start) / STEPS / SECOND_NS).max(1)),
    };
    let seconds = |ns: i64| format!("{:.3}", ns as f64 / SECOND_NS as f64);
    let (start, end) = (seconds(start), seconds(end));
    let parameters = [("query", args.query.as_str()), ("start", &start), ("end", &end), ("step", &step)];
    Client::new(&args.server).get("/api/v1/query_range", &parameters)
}

fn print(data: Data, args: &QueryArgs) -> anyhow::Result<()> {
    let mut printer = Printer::stdout(args.output, args.color);
    match data {
        Data::Streams(streams) => {
            for line in in_order(streams, args.forward)? {
                printer.line(&line)?;
            }
        }
        Data::Matrix(series) => {
            for one in series {
                for (seconds, value) in one.values {
                    printer.sample(nanoseconds(seconds), &one.metric, &value)?;
                }
                for (seconds, histogram) in one.histograms {
                    printer.sample(nanoseconds(seconds), &one.metric, &histogram.to_string())?;
                }
            }
        }
        Data::Vector(samples) => {
            for Sample { metric, value: (seconds, value) } in samples {
                printer.sample(nanoseconds(seconds), &metric, &value)?;
            }
        }
        Data::Scalar((seconds, value)) => printer.sample(nanoseconds(seconds), &Map::new(), &value)?,
    }
    printer.flush()?;
    Ok(())
}

/// The records of all streams by time.
pub(crate) fn in_order(streams: Vec<Stream>, forward: bool) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for Stream { stream, values } in streams {
        for (time, line) in values {
            let Ok(time) = time.parse() else { bail!("the server's answer has the time {time:?}") };
            lines.push(Line { time, labels: stream.clone(), line });
        }
    }
    // Stable: records of one time stay in the server's order.
    lines.sort_by_key(|line| if forward { line.time } else { -line.time });
    Ok(lines)
}

fn nanoseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64 * 1_000_000
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_type_are_read() {
        for (result_type, result) in [
            ("streams", r#"[{"stream":{"a":"b"},"values":[["1","x"],["2","y"]]}]"#),
            ("matrix", r#"[{"metric":{},"values":[[1.5,"2"]]}]"#),
            ("matrix", r#"[{"metric":{},"histograms":[[1.5,{"count":"2","sum":"3"}]]}]"#),
            ("vector", r#"[{"metric":{"a":"b"},"value":[1,"2"]}]"#),
            ("scalar", r#"[1.5,"2"]"#),
        ] {
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"{result_type}","result":{result},"stats":{{}}}}}}"#
            );
            serde_json::from_str::<Answer>(&body).unwrap();
        }
    }

    #[test]
    fn records_are_brought_in_order() {
        let streams =
            r#"[{"stream":{"a":"1"},"values":[["3","c"],["1","a"]]},{"stream":{"a":"2"},"values":[["2","b"]]}]"#;
        let order = |forward| -> String {
            let lines = in_order(serde_json::from_str(streams).unwrap(), forward).unwrap();
            lines.into_iter().map(|line| line.line).collect()
        };
        assert_eq!((order(true).as_str(), order(false).as_str()), ("abc", "cba"));
    }
}
