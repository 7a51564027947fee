//! `/federate`: the newest sample of each series that is selected, in the text format of `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ::query::QueryError;
use ::query::number::format_float_general;
use ::query::promql::eval::Options;
use ::query::promql::source::label_matchers;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use storage::Labels;
use storage::metrics::is_stale;

use super::error::PromError;
use super::params::selectors;
use super::{Asked, with_metrics};
use crate::app::App;
use crate::scrape::LabelMap;

const NAME: &str = "__name__";
/// Series that are read together.
const SERIES_AT_A_TIME: usize = 256;

/// `/federate`, with `match[]`. Native histograms have no form in this format and are left out.
pub(crate) async fn federate(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    const TEXT: [(HeaderName, HeaderValue); 1] =
        [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))];
    let matchers: Vec<_> = selectors(&asked.params)?.iter().map(|matchers| label_matchers(matchers)).collect();
    let end = app.clock.now_ns() / 1_000_000;
    let start = end - Options::default().lookback_ms + 1;
    let external = app.scrape()?.external_labels();
    let budget = app.house()?.engine.budget();
    with_metrics(&app, asked.tenant, budget, move |_, snapshot, budget| {
        let mut newest: BTreeMap<Arc<Labels>, (i64, f64)> = BTreeMap::new();
        for matchers in matchers {
            let selection = snapshot.select(&matchers, start, end)?;
            let all = selection.labels();
            for from in (0..all.len()).step_by(SERIES_AT_A_TIME) {
                budget.check()?;
                let run = from..all.len().min(from + SERIES_AT_A_TIME);
                selection.read(run, |at, samples| {
                    let is_histogram =
                        samples.histograms.last().map(|(row, _)| *row as usize + 1) == Some(samples.len());
                    if let (Some(&time), Some(&value)) = (samples.timestamps.last(), samples.values.last())
                        && !is_histogram
                        && !is_stale(value)
                    {
                        newest.insert(Arc::clone(&all[at]), (time, value));
                    }
                    Ok::<(), QueryError>(())
                })?;
            }
        }
        Ok((TEXT, text(&newest, &external)).into_response())
    })
    .await
}

/// Lines by name; a name's type is not known here.
fn text(newest: &BTreeMap<Arc<Labels>, (i64, f64)>, external: &LabelMap) -> String {
    let mut sorted: Vec<_> = newest.iter().collect();
    sorted.sort_by_key(|(labels, _)| labels.get(NAME).unwrap_or_default().to_owned());
    let (mut out, mut last) = (String::new(), None);
    for (labels, (time, value)) in sorted {
        let Some(name) = labels.get(NAME) else { continue };
        let is_plain = is_plain_name(name);
        if last != Some(name) {
            // Writing to memory does not fail.
            let _ = match is_plain {
                true => writeln!(out, "# TYPE {name} untyped"),
                false => writeln!(out, "# TYPE {} untyped", quoted(name)),
            };
            last = Some(name);
        }
        let mut parts: Vec<String> = if is_plain { Vec::new() } else { vec![quoted(name)] };
        let missing = external.iter().filter(|(label, _)| labels.get(label).is_none_or(str::is_empty));
        let own = labels.iter().filter(|(label, _)| *label != NAME);
        let mut pairs: Vec<(&str, &str)> = own.chain(missing).collect();
        pairs.sort_unstable();
        parts.extend(pairs.iter().map(|(label, value)| {
            let label = if is_plain_name(label) { (*label).to_owned() } else { quoted(label) };
            format!("{label}={}", quoted(value))
        }));
        let name = if is_plain { name } else { "" };
        let braces = if parts.is_empty() { String::new() } else { format!("{{{}}}", parts.join(",")) };
        let _ = writeln!(out, "{name}{braces} {} {time}", format_float_general(*value));
    }
    out
}

fn is_plain_name(name: &str) -> bool {
    let is_start = |b: u8| b.is_ascii_alphabetic() || b == b'_' || b == b':';
    name.bytes().enumerate().all(|(at, b)| is_start(b) || at > 0 && b.is_ascii_digit()) && !name.is_empty()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_grouped_by_name() {
        let series = |pairs: &[(&str, &str)]| Arc::new(Labels::new(pairs.iter().copied()));
        let newest = BTreeMap::from([
            (series(&[(NAME, "up"), ("a", "1\"")]), (5, 1.0)),
            (series(&[(NAME, "http.requests"), ("b.c", "x"), ("region", "us")]), (6, 2.5e9)),
            (series(&[(NAME, "up"), ("a", "0")]), (7, f64::INFINITY)),
        ]);
        let external = [("region", "eu")].into_iter().collect();
        assert_eq!(
            text(&newest, &external),
            "# TYPE \"http.requests\" untyped\n{\"http.requests\",\"b.c\"=\"x\",region=\"us\"} 2.5e+09 6\n\
             # TYPE up untyped\nup{a=\"0\",region=\"eu\"} +Inf 7\nup{a=\"1\\\"\",region=\"eu\"} 1 5\n"
        );
    }
}
