//! Rules about sources that were sending and have stopped, as expressions of the group's language: so everything that
//! can be done with an expression can be done with them.
//!
//! - PromQL: the seconds since the last sample of each source, of all that sent one within `forget`, where they are more
//!   than `after`.
//! - LogQL: how many lines each source sent within `forget`, of those that sent none within `after`.

use super::Language;
use super::yaml::SilentSourceYaml;
use crate::scrape::Lapse;

/// The expression.
///
/// # Errors
/// When the times do not fit together, or there is no such rule in that language.
pub(super) fn expression(source: &SilentSourceYaml, language: Language) -> Result<String, String> {
    let selector = source.selector.value.trim();
    let (after, forget) = (source.after, source.forget);
    if after == Lapse::default() {
        return Err("silent_source: after must be longer than 0".to_owned());
    }
    if forget <= after {
        return Err(format!("silent_source: forget ({forget}) must be longer than after ({after})"));
    }
    let names = source.by.as_ref().map(|by| by.join(", "));
    match language {
        Language::Promql => {
            let grouping = names.map_or_else(|| "without (__name__)".to_owned(), |names| format!("by ({names})"));
            let seconds = after.0.as_secs_f64();
            Ok(format!("time() - max {grouping} (ts_of_last_over_time({selector}[{forget}])) > {seconds}"))
        }
        Language::Logql => {
            let count = |span: Lapse| match &names {
                Some(names) => format!("sum by ({names}) (count_over_time({selector}[{span}]))"),
                None => format!("count_over_time({selector}[{span}])"),
            };
            Ok(format!("{} unless {}", count(forget), count(after)))
        }
        Language::Sql => Err("silent_source: there is none in SQL; use promql or logql".to_owned()),
    }
}
