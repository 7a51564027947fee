//! `labels`, `label/{name}/values` and `series`: which there are.

use std::collections::BTreeSet;
use std::sync::Arc;

use ::query::promql::source::label_matchers;
use axum::extract::{Path, State};
use axum::response::Response;
use storage::Labels;
use storage::metrics::LabelMatcher;

use super::error::PromError;
use super::params::{bounds, limit, selectors};
use super::query::TRUNCATED;
use super::{Asked, answer, with_metrics};
use crate::api::params::Params;
use crate::app::App;

/// What such a request asks for.
struct Wanted {
    limit: usize,
    start: i64,
    end: i64,
    /// Series that one of them matches; without any, all.
    selectors: Vec<Vec<LabelMatcher>>,
}

impl Wanted {
    fn of(params: &Params) -> Result<Self, PromError> {
        let limit = limit(params)?;
        let (start, end) = bounds(params)?;
        let selectors = selectors(params)?.iter().map(|matchers| label_matchers(matchers)).collect();
        Ok(Self { limit, start, end, selectors })
    }

    /// The selectors, or one that takes everything.
    fn any(&self) -> Vec<&[LabelMatcher]> {
        match self.selectors.as_slice() {
            [] => vec![&[]],
            selectors => selectors.iter().map(Vec::as_slice).collect(),
        }
    }
}

/// `/api/v1/labels`.
pub(crate) async fn label_names(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    let wanted = Wanted::of(&asked.params)?;
    let budget = app.house()?.engine.budget();
    with_metrics(&app, asked.tenant, budget, move |_, snapshot, budget| {
        let mut names = BTreeSet::new();
        for matchers in wanted.any() {
            budget.check()?;
            names.extend(snapshot.label_names(matchers, wanted.start, wanted.end)?);
        }
        Ok(texts(names, wanted.limit))
    })
    .await
}

/// `/api/v1/label/{name}/values`.
pub(crate) async fn label_values(
    State(app): State<App>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Response, PromError> {
    let name = unescape(&name);
    if name.is_empty() {
        return Err(PromError::bad_data(format!("invalid label name: {name:?}")));
    }
    let wanted = Wanted::of(&asked.params)?;
    let budget = app.house()?.engine.budget();
    with_metrics(&app, asked.tenant, budget, move |_, snapshot, budget| {
        let mut values = BTreeSet::new();
        for matchers in wanted.any() {
            budget.check()?;
            values.extend(snapshot.label_values(&name, matchers, wanted.start, wanted.end)?);
        }
        Ok(texts(values, wanted.limit))
    })
    .await
}

/// `/api/v1/series`.
pub(crate) async fn series(State(app): State<App>, asked: Asked) -> Result<Response, PromError> {
    if asked.params.all("match[]").next().is_none() {
        return Err(PromError::bad_data("no match[] parameter provided"));
    }
    let wanted = Wanted::of(&asked.params)?;
    let budget = app.house()?.engine.budget();
    with_metrics(&app, asked.tenant, budget, move |_, snapshot, budget| {
        let mut found: Vec<Arc<Labels>> = Vec::new();
        for matchers in wanted.any() {
            budget.check()?;
            found.extend_from_slice(snapshot.select(matchers, wanted.start, wanted.end)?.labels());
        }
        if wanted.selectors.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
        let is_cut = found.len() > wanted.limit;
        found.truncate(wanted.limit);
        let maps: Vec<Map<'_>> = found.iter().map(|labels| Map(labels)).collect();
        Ok(answer::told(&maps, &warnings(is_cut)))
    })
    .await
}

/// Labels as an object.
struct Map<'l>(&'l Labels);

impl serde::Serialize for Map<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter())
    }
}

fn texts(all: BTreeSet<String>, limit: usize) -> Response {
    let is_cut = all.len() > limit;
    let told: Vec<String> = all.into_iter().take(limit).collect();
    answer::told(&told, &warnings(is_cut))
}

fn warnings(is_cut: bool) -> Vec<String> {
    if is_cut { vec![TRUNCATED.to_owned()] } else { Vec::new() }
}

/// A name that is no plain one comes as `U__` and its characters, others than letters and digits as `_2e_`; `__` is one
/// underscore. What is not in that form is taken as it is.
fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let Some((hex, after)) = after.split_once('_') else { return name.to_owned() };
        let Some(char) = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32) else { return name.to_owned() };
        out.push(char);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        assert_eq!(unescape("job"), "job");
        assert_eq!(unescape("U__http_2e_method"), "http.method");
        assert_eq!(unescape("U__a__b_1F600_"), "a_b😀");
        assert_eq!(unescape("U__a_zz_"), "U__a_zz_");
        assert_eq!(unescape("U__a_"), "U__a_");
    }
}
