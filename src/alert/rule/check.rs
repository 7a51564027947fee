//! From YAML to rules that can be evaluated. Every mistake is found in one go, in Prometheus's words where it has some.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;
use xxhash_rust::xxh3::Xxh3;

use super::yaml::{FileYaml, GroupYaml, RuleYaml};
use super::{
    Alerting, GroupKey, Language, Mistake, Mistakes, Query, Rule, RuleGroup, RuleKind, Verdict, silent_source,
};
use crate::scrape::Lapse;

/// How many lines are told when a rule does not say.
const LINES_DEFAULT: usize = 5;
/// And how many may be asked for.
const LINES_MAX: usize = 100;

/// Reads a rule file. `namespace` is its path, `language` that of groups that do not say theirs.
///
/// # Errors
/// Every mistake in it.
pub(crate) fn parse_file(text: &str, namespace: &str, language: Language) -> Result<Vec<RuleGroup>, Mistakes> {
    // A file of comments has no groups.
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim() == "---";
    if text.lines().all(is_blank) {
        return Ok(Vec::new());
    }
    let file: FileYaml = from_yaml(text).map_err(|mistake| named(vec![mistake], namespace))?;
    let (mut groups, mut mistakes, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
    for group in file.groups.iter().flatten() {
        let line = group.defined.line();
        if !names.insert(group.value.name.clone()) {
            let message = format!("groupname: {:?} is repeated in the same file", group.value.name);
            mistakes.push(Mistake { file: String::new(), line, message });
        }
        match check_group(&group.value, line, namespace, language) {
            Ok(group) => groups.push(group),
            Err(Mistakes(found)) => mistakes.extend(found),
        }
    }
    if mistakes.is_empty() { Ok(groups) } else { Err(named(mistakes, namespace)) }
}

/// The file with short forms written out, as YAML.
///
/// # Errors
/// Every mistake in it.
pub(crate) fn expand_file(text: &str, namespace: &str, language: Language) -> Result<String, Mistakes> {
    parse_file(text, namespace, language)?;
    let mut file: FileYaml = from_yaml(text).map_err(|mistake| named(vec![mistake], namespace))?;
    for group in file.groups.iter_mut().flatten() {
        let language = group.value.language.unwrap_or(language);
        let rules = group.value.rules.take().unwrap_or_default();
        let written_out = |rule: Spanned<RuleYaml>| match &rule.value.slo {
            Some(slo) => {
                let rules = super::slo::expand(&rule.value, slo, language).unwrap_or_default();
                rules.into_iter().map(super::slo::plain).collect()
            }
            None => vec![rule],
        };
        group.value.rules = Some(rules.into_iter().flat_map(written_out).collect());
    }
    serde_saphyr::to_string(&file)
        .map_err(|error| Mistakes(vec![Mistake { file: namespace.to_owned(), line: 0, message: error.to_string() }]))
}

/// Reads the YAML of one group, as Loki's ruler API takes it.
///
/// # Errors
/// Every mistake in it.
pub(crate) fn parse_group(text: &str, namespace: &str, language: Language) -> Result<RuleGroup, Mistakes> {
    let group: GroupYaml = from_yaml(text).map_err(|mistake| Mistakes(vec![mistake]))?;
    check_group(&group, 0, namespace, language)
}

fn named(mistakes: Vec<Mistake>, file: &str) -> Mistakes {
    Mistakes(mistakes.into_iter().map(|mistake| Mistake { file: file.to_owned(), ..mistake }).collect())
}

fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        let message = error.without_snippet().to_string();
        let (line, message) = match location {
            Some(at) => (at.line(), message.replace(&format!(" at line {}, column {}", at.line(), at.column()), "")),
            None => (0, message),
        };
        Mistake { file: String::new(), line, message }
    })
}

/// Checks a group that starts in a line.
///
/// # Errors
/// Every mistake in it.
pub(crate) fn check_group(
    group: &GroupYaml,
    line: u64,
    namespace: &str,
    language: Language,
) -> Result<RuleGroup, Mistakes> {
    let mut mistakes = Vec::new();
    let mut wrong = |line: u64, message: String| mistakes.push(Mistake { file: String::new(), line, message });
    if group.name.is_empty() {
        wrong(line, "Groupname must not be empty".to_owned());
    }
    let language = group.language.unwrap_or(language);
    let key = GroupKey { namespace: namespace.to_owned(), name: group.name.clone() };
    for name in group.labels.iter().flatten().map(|(name, _)| name).filter(|name| !is_label_name(name)) {
        wrong(line, format!("group {:?}: invalid label name: {name}", group.name));
    }
    let (mut rules, mut ids) = (Vec::new(), HashMap::new());
    for (at, rule) in group.rules.iter().flatten().enumerate() {
        let line = rule.defined.line();
        for (name, checked) in check_rules(&rule.value, line, group.labels.as_ref(), language) {
            match checked {
                Ok(mut checked) => {
                    checked.id = id(&key, &checked, &mut ids);
                    rules.push(Arc::new(checked));
                }
                Err(found) => {
                    let place = format!("group {:?}, rule {}, {name:?}", group.name, at + 1);
                    found.into_iter().for_each(|(line, message)| wrong(line, format!("{place}: {message}")));
                }
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    Ok(RuleGroup {
        key,
        interval_ms: group.interval.map_or(0, milliseconds),
        query_offset_ms: group.query_offset.map(milliseconds),
        limit: group.limit.unwrap_or(0),
        language,
        rules,
        yaml: Arc::new(group.clone()),
    })
}

/// What is wrong with a rule, each with its line.
type Wrong = Vec<(u64, String)>;

/// The rule, or those that a short form stands for, each with its name.
fn check_rules(
    rule: &RuleYaml,
    line: u64,
    group_labels: Option<&BTreeMap<String, String>>,
    language: Language,
) -> Vec<(String, Result<Rule, Wrong>)> {
    let name = |rule: &RuleYaml| rule.alert.clone().or_else(|| rule.record.clone()).unwrap_or_default();
    let Some(slo) = &rule.slo else {
        return vec![(name(rule), check_rule(rule, line, group_labels, language))];
    };
    match super::slo::expand(rule, slo, language) {
        Ok(rules) => {
            let each = rules.iter().map(|rule| (name(rule), check_rule(rule, line, group_labels, language)));
            each.collect()
        }
        Err(why) => vec![(slo.name.clone(), Err(vec![(line, why)]))],
    }
}

fn check_rule(
    rule: &RuleYaml,
    line: u64,
    group_labels: Option<&BTreeMap<String, String>>,
    language: Language,
) -> Result<Rule, Wrong> {
    let mut wrong: Wrong = Vec::new();
    let mut labels = group_labels.cloned().unwrap_or_default();
    labels.extend(rule.labels.clone().unwrap_or_default());
    for name in labels.keys().filter(|name| !is_label_name(name) || *name == "__name__") {
        wrong.push((line, format!("invalid label name: {name}")));
    }
    let kind = kind(rule, line, language, &mut wrong);
    let (expr, expr_line) = expression(rule, line, language, &mut wrong);
    let query = match Query::parse(&expr, language) {
        Ok(query) => Some(query),
        Err(why) if !expr.is_empty() => {
            wrong.push((expr_line, why));
            None
        }
        Err(_) => None,
    };
    let name = rule.alert.clone().or_else(|| rule.record.clone()).unwrap_or_default();
    match query {
        Some(query) if wrong.is_empty() => Ok(Rule { id: String::new(), name, expr, query, labels, kind, line }),
        _ => Err(wrong),
    }
}

fn kind(rule: &RuleYaml, line: u64, language: Language, wrong: &mut Wrong) -> RuleKind {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    match (given(&rule.record), given(&rule.alert)) {
        (true, true) => wrong.push((line, "only one of 'record' and 'alert' must be set".to_owned())),
        (false, false) => wrong.push((line, "one of 'record' or 'alert' must be set".to_owned())),
        (true, false) => {
            check_recording(rule, line, wrong);
            return RuleKind::Recording;
        }
        (false, true) => {}
    }
    for name in rule.annotations.iter().flatten().map(|(name, _)| name).filter(|name| !is_label_name(name)) {
        wrong.push((line, format!("invalid annotation name: {name}")));
    }
    let alert = rule.alert.as_deref().unwrap_or_default();
    for (kind, texts) in [("label", &rule.labels), ("annotation", &rule.annotations)] {
        for (name, text) in texts.iter().flatten() {
            if let Err(why) = template(alert, text) {
                wrong.push((line, format!("{kind} {name:?}: {why}")));
            }
        }
    }
    let lines = rule.lines.unwrap_or(if language == Language::Logql { LINES_DEFAULT } else { 0 });
    if lines > LINES_MAX {
        wrong.push((line, format!("lines: {lines} is too many: at most {LINES_MAX}")));
    }
    if rule.lines.is_some_and(|lines| lines > 0) && language != Language::Logql {
        wrong.push((line, "lines: only a rule in LogQL has matching lines".to_owned()));
    }
    RuleKind::Alerting(Alerting {
        for_ms: rule.hold.map_or(0, milliseconds),
        keep_firing_for_ms: rule.keep_firing_for.map_or(0, milliseconds),
        annotations: rule.annotations.clone().unwrap_or_default(),
        no_data: rule.no_data.unwrap_or(Verdict::Ok),
        on_error: rule.on_error.unwrap_or(Verdict::Keep),
        lines,
    })
}

fn template(alert: &str, text: &str) -> Result<(), String> {
    query::template::prometheus::read(&format!("__alert_{alert}"), text).map(|_| ())
}

fn check_recording(rule: &RuleYaml, line: u64, wrong: &mut Wrong) {
    let name = rule.record.as_deref().unwrap_or_default();
    if name.contains(['{', '}']) {
        wrong.push((line, format!("braces present in the recording rule name; should it be in expr?: {name}")));
    }
    for (field, given) in [
        ("for", rule.hold.is_some_and(|hold| hold != Lapse::default())),
        ("keep_firing_for", rule.keep_firing_for.is_some_and(|keep| keep != Lapse::default())),
        ("annotations", rule.annotations.as_ref().is_some_and(|annotations| !annotations.is_empty())),
        ("no_data", rule.no_data.is_some()),
        ("on_error", rule.on_error.is_some()),
        ("lines", rule.lines.is_some()),
        ("silent_source", rule.silent_source.is_some()),
    ] {
        if given {
            wrong.push((line, format!("invalid field '{field}' in recording rule")));
        }
    }
}

/// The expression and its line.
fn expression(rule: &RuleYaml, line: u64, language: Language, wrong: &mut Wrong) -> (String, u64) {
    let place = |text: &Spanned<String>| if text.defined.line() == 0 { line } else { text.defined.line() };
    match (&rule.expr, &rule.silent_source) {
        (Some(_), Some(_)) => wrong.push((line, "only one of 'expr' and 'silent_source' must be set".to_owned())),
        (Some(expr), None) if !expr.value.trim().is_empty() => return (expr.value.clone(), place(expr)),
        (None, Some(source)) => match silent_source::expression(source, language) {
            Ok(expr) => return (expr, place(&source.selector)),
            Err(why) => wrong.push((line, why)),
        },
        _ => wrong.push((line, "field 'expr' must be set in rule".to_owned())),
    }
    (String::new(), line)
}

/// Rules that cannot be told apart otherwise are counted.
fn id(key: &GroupKey, rule: &Rule, seen: &mut HashMap<u64, u64>) -> String {
    let mut hash = Xxh3::new();
    let kind = if rule.alerting().is_some() { "alert" } else { "record" };
    let labels = rule.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    for part in [key.namespace.as_str(), &key.name, kind, &rule.name].into_iter().chain(labels) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let before = seen.entry(hash.digest()).or_default();
    hash.update(&before.to_le_bytes());
    *before += 1;
    format!("{:016x}", hash.digest())
}

/// Prometheus takes every name that is UTF-8 and not empty.
fn is_label_name(name: &str) -> bool {
    !name.is_empty()
}

fn milliseconds(lapse: Lapse) -> i64 {
    i64::try_from(lapse.0.as_millis()).unwrap_or(i64::MAX)
}
