//! Where the query of a rule can be looked at, as of a time.

use crate::alert::rule::{Language, Rule};

/// The query's answer at a time, in milliseconds since 1970.
pub(super) fn query(external_url: &str, rule: &Rule, at_ms: i64) -> String {
    let path = match rule.query.language() {
        Language::Promql => "api/v1/query",
        Language::Logql => "loki/api/v1/query",
        Language::Sql => "farol/api/v1/sql",
    };
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("query", &rule.expr);
    if rule.query.language() != Language::Sql {
        form.append_pair("time", &format!("{}.{:03}", at_ms.div_euclid(1000), at_ms.rem_euclid(1000)));
    }
    format!("{}/{path}?{}", external_url.trim_end_matches('/'), form.finish())
}
