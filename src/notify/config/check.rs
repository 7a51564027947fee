//! From the file's fields to a configuration that cannot be wrong any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_saphyr::{Location, Spanned};

use super::yaml::{FileYaml, InhibitYaml, NamedIntervalYaml, ReceiverYaml, RouteYaml};
use super::{Config, Integration, NOBODY, NotifyConfigError, Receiver};
use crate::notify::inhibit::InhibitRule;
use crate::notify::interval::Interval;
use crate::notify::matcher::{Comparison, Matcher, parse};
use crate::notify::route::{GroupBy, Route};
use crate::notify::target::{self, Common, Target};
use crate::notify::template::Templates;
use crate::scrape::config::{Lapse, glob};

/// What Alertmanager takes when nothing is said.
pub(super) const GROUP_WAIT_MS: i64 = 30_000;
pub(super) const GROUP_INTERVAL_MS: i64 = 300_000;
pub(super) const REPEAT_INTERVAL_MS: i64 = 4 * 3_600_000;
pub(super) const RESOLVE_TIMEOUT_MS: i64 = 300_000;

/// Alertmanager's kinds of receivers that are not here.
const ABSENT_KINDS: [&str; 8] = [
    "incidentio_configs",
    "jira_configs",
    "pushover_configs",
    "sns_configs",
    "victorops_configs",
    "webex_configs",
    "wechat_configs",
    "pagertree_configs",
];

/// A mistake within one part of the file.
type Within<T> = Result<T, (Location, String)>;

pub(super) fn check(text: &str, path: &Path) -> Result<Config, NotifyConfigError> {
    let yaml: FileYaml = read(text, path)?;
    let within = |(at, why): (Location, String)| {
        NotifyConfigError(format!("{}:{}:{}: {why}", path.display(), at.line(), at.column()))
    };
    let whole = |why: String| NotifyConfigError(format!("{}: {why}", path.display()));
    let folder = path.parent().unwrap_or(Path::new(""));
    let global = yaml.global.clone().unwrap_or_default();
    let common = Common::new(&global, folder).map_err(|why| whole(format!("global: {why}")))?;
    let receivers = receivers(yaml.receivers.as_deref().unwrap_or_default(), &common).map_err(within)?;
    let intervals = intervals(&yaml).map_err(within)?;
    let root = yaml.route.as_ref().ok_or_else(|| whole("route: no routes provided".to_owned()))?;
    let route = root_route(root, &receivers, &intervals).map_err(within)?;
    let rules = yaml.inhibit_rules.iter().flatten();
    let inhibit_rules = rules.map(inhibit_rule).collect::<Within<Vec<_>>>().map_err(within)?;
    let mut files = vec![(path.to_owned(), text.to_owned())];
    files.extend(template_files(yaml.templates.as_deref().unwrap_or_default(), folder).map_err(whole)?);
    let templates = Templates::new(files.iter().skip(1)).map_err(NotifyConfigError)?;
    Ok(Config {
        route,
        receivers,
        inhibit_rules,
        intervals,
        templates,
        resolve_timeout_ms: global.resolve_timeout.map_or(RESOLVE_TIMEOUT_MS, milliseconds),
        files,
        yaml,
    })
}

/// The file that says nothing.
pub(super) fn nobody_yaml() -> FileYaml {
    let text = format!("route: {{receiver: {NOBODY}}}\nreceivers: [{{name: {NOBODY}}}]\n");
    read(&text, Path::new("default")).unwrap_or_default()
}

fn read(text: &str, path: &Path) -> Result<FileYaml, NotifyConfigError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        let message = error.without_snippet().to_string();
        NotifyConfigError(match location {
            Some(at) => {
                let place = format!(" at line {}, column {}", at.line(), at.column());
                format!("{}:{}:{}: {}", path.display(), at.line(), at.column(), explain(message.replace(&place, "")))
            }
            None => format!("{}: {}", path.display(), explain(message)),
        })
    })
}

/// Says of an unknown field what can be said; a list of all that are known would hide it.
fn explain(message: String) -> String {
    let Some(rest) = message.strip_prefix("unknown field `") else { return message };
    let field = rest.split('`').next().unwrap_or_default();
    if ABSENT_KINDS.contains(&field) {
        return format!(
            "{field}: Farol has no receiver of this kind; a webhook with a method, headers and body of your own may do"
        );
    }
    if ["proxy_url", "no_proxy", "proxy_from_environment", "proxy_connect_header", "oauth2"].contains(&field) {
        return format!("{field}: Alertmanager has this setting, Farol does not");
    }
    if field.ends_with("_configs") {
        return format!("{field}: there is no receiver of this kind");
    }
    format!("unknown field {field:?}")
}

fn milliseconds(lapse: Lapse) -> i64 {
    i64::try_from(lapse.0.as_millis()).unwrap_or(i64::MAX)
}

fn receivers(yaml: &[Spanned<ReceiverYaml>], common: &Common<'_>) -> Within<BTreeMap<String, Receiver>> {
    let mut receivers = BTreeMap::new();
    for (place, receiver) in yaml.iter().enumerate() {
        let at = receiver.referenced;
        let name = receiver.value.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| (at, "receivers: missing name in receiver".to_owned()))?;
        let integrations =
            integrations(&receiver.value, common).map_err(|(at, why)| (at, format!("receiver {name:?}: {why}")))?;
        if receivers.insert(name.clone(), Receiver { place, integrations }).is_some() {
            return Err((at, format!("receivers: the name {name:?} is there twice")));
        }
    }
    Ok(receivers)
}

/// In Alertmanager's order, then those that it does not have.
fn integrations(yaml: &ReceiverYaml, common: &Common<'_>) -> Within<Vec<Arc<Integration>>> {
    let mut all = Vec::new();
    macro_rules! add {
        ($field:ident, $kind:literal, $default:literal, $new:expr) => {
            for (at, config) in yaml.$field.iter().flatten().enumerate() {
                let target: Result<Target, String> = ($new)(&config.value, common);
                let target =
                    target.map_err(|why| (config.referenced, format!("{}[{at}]: {why}", stringify!($field))))?;
                let name = format!(concat!($kind, "/{}"), at);
                let send_resolved = config.value.send_resolved.unwrap_or($default);
                all.push(Arc::new(Integration { name, send_resolved, target }));
            }
        };
    }
    add!(webhook_configs, "webhook", true, target::webhook::checked);
    add!(email_configs, "email", false, target::email::checked);
    add!(pagerduty_configs, "pagerduty", true, target::pagerduty::checked);
    add!(opsgenie_configs, "opsgenie", true, target::opsgenie::checked);
    add!(slack_configs, "slack", false, target::slack::checked);
    add!(telegram_configs, "telegram", true, target::telegram::checked);
    add!(discord_configs, "discord", true, target::discord::checked);
    add!(msteams_configs, "msteams", true, target::msteams::checked);
    add!(msteamsv2_configs, "msteamsv2", true, target::msteams::checked);
    add!(rocketchat_configs, "rocketchat", false, target::rocketchat::checked);
    add!(mattermost_configs, "mattermost", true, target::mattermost::checked);
    add!(googlechat_configs, "googlechat", true, target::googlechat::checked);
    add!(ntfy_configs, "ntfy", true, target::ntfy::checked);
    Ok(all)
}

fn intervals(yaml: &FileYaml) -> Within<BTreeMap<String, Vec<Interval>>> {
    let mut intervals = BTreeMap::new();
    let both = [("mute_time_intervals", &yaml.mute_time_intervals), ("time_intervals", &yaml.time_intervals)];
    for (field, list) in both {
        for named in list.iter().flatten() {
            let (name, read) = named_interval(field, named)?;
            if intervals.insert(name.clone(), read).is_some() {
                return Err((named.referenced, format!("{field}: the name {name:?} is there twice")));
            }
        }
    }
    Ok(intervals)
}

fn named_interval(field: &str, named: &Spanned<NamedIntervalYaml>) -> Within<(String, Vec<Interval>)> {
    let at = named.referenced;
    let name = named.value.name.clone().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| (at, format!("{field}: a name is missing")))?;
    let read = named.value.time_intervals.iter().flatten().map(Interval::new).collect::<Result<_, _>>();
    let read = read.map_err(|why| (at, format!("{field}: {name:?}: {why}")))?;
    Ok((name, read))
}

fn root_route(
    yaml: &Spanned<RouteYaml>,
    receivers: &BTreeMap<String, Receiver>,
    intervals: &BTreeMap<String, Vec<Interval>>,
) -> Within<Route> {
    let (at, root) = (yaml.referenced, &yaml.value);
    let wrong = |why: &str| Err((at, format!("route: {why}")));
    if root.receiver.as_deref().unwrap_or_default().is_empty() {
        return wrong("the root route must name a receiver");
    }
    if root.equal.is_some() || root.match_re.is_some() || root.matchers.is_some() {
        return wrong("the root route must not have matchers");
    }
    if root.mute_time_intervals.is_some() || root.active_time_intervals.is_some() {
        return wrong("the root route must not have mute_time_intervals or active_time_intervals");
    }
    if root.goes_on == Some(true) {
        return wrong("the root route cannot continue to another");
    }
    let defaults = Route { receiver: String::new(), ..Config::of_nobody().route };
    let mut route = route(yaml, &defaults, receivers, intervals)?;
    route.name_all(None, 0);
    Ok(route)
}

fn route(
    yaml: &Spanned<RouteYaml>,
    above: &Route,
    receivers: &BTreeMap<String, Receiver>,
    intervals: &BTreeMap<String, Vec<Interval>>,
) -> Within<Route> {
    let (at, own) = (yaml.referenced, &yaml.value);
    let wrong = |why: String| (at, format!("route: {why}"));
    let receiver = own.receiver.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| above.receiver.clone());
    if !receivers.contains_key(&receiver) {
        return Err(wrong(format!("undefined receiver {receiver:?} used in route")));
    }
    for name in own.mute_time_intervals.iter().chain(&own.active_time_intervals).flatten() {
        if !intervals.contains_key(name) {
            return Err(wrong(format!("undefined time interval {name:?} used in route")));
        }
    }
    let group_by = own.group_by.as_ref().map(|names| group_by(names)).transpose().map_err(wrong)?;
    let span = |name: &str, own: Option<Lapse>, above: i64| match own.map(milliseconds) {
        Some(0) => Err(wrong(format!("{name} cannot be zero"))),
        given => Ok(given.unwrap_or(above)),
    };
    let mut route = Route {
        key: String::new(),
        id: String::new(),
        receiver,
        matchers: all_matchers(own.equal.as_ref(), own.match_re.as_ref(), own.matchers.as_ref()).map_err(wrong)?,
        group_by: group_by.unwrap_or_else(|| above.group_by.clone()),
        group_wait_ms: own.group_wait.map_or(above.group_wait_ms, milliseconds),
        group_interval_ms: span("group_interval", own.group_interval, above.group_interval_ms)?,
        repeat_interval_ms: span("repeat_interval", own.repeat_interval, above.repeat_interval_ms)?,
        mute_times: own.mute_time_intervals.clone().unwrap_or_default(),
        active_times: own.active_time_intervals.clone().unwrap_or_default(),
        goes_on: own.goes_on.unwrap_or(false),
        routes: Vec::new(),
    };
    for child in own.routes.iter().flatten() {
        let below = self::route(child, &route, receivers, intervals)?;
        route.routes.push(below);
    }
    Ok(route)
}

fn group_by(names: &[String]) -> Result<GroupBy, String> {
    if names.iter().any(|name| name == "...") {
        return match names {
            [_] => Ok(GroupBy::All),
            _ => Err("group_by: '...' cannot stand beside names of labels".to_owned()),
        };
    }
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| name.is_empty() || !seen.insert(*name)) {
        Some(name) => Err(format!("group_by: {name:?} is there twice, or no name of a label")),
        None => Ok(GroupBy::Names(names.to_vec())),
    }
}

fn all_matchers(
    equal: Option<&BTreeMap<String, String>>,
    regex: Option<&BTreeMap<String, String>>,
    newer: Option<&Vec<String>>,
) -> Result<Vec<Matcher>, String> {
    let mut matchers = Vec::new();
    for (given, comparison) in [(equal, Comparison::Equal), (regex, Comparison::Regex)] {
        for (name, value) in given.into_iter().flatten() {
            matchers.push(Matcher::new(name, comparison, value)?);
        }
    }
    for text in newer.into_iter().flatten() {
        matchers.extend(parse(text)?);
    }
    Ok(matchers)
}

fn inhibit_rule(yaml: &Spanned<InhibitYaml>) -> Within<InhibitRule> {
    let rule = &yaml.value;
    let within = |why: String| (yaml.referenced, format!("inhibit_rules: {why}"));
    let (equal, regex, newer) =
        (rule.source_match.as_ref(), rule.source_match_re.as_ref(), rule.source_matchers.as_ref());
    let source = all_matchers(equal, regex, newer).map_err(|why| within(format!("source: {why}")))?;
    let (equal, regex, newer) =
        (rule.target_match.as_ref(), rule.target_match_re.as_ref(), rule.target_matchers.as_ref());
    let target = all_matchers(equal, regex, newer).map_err(|why| within(format!("target: {why}")))?;
    Ok(InhibitRule { source, target, equal: rule.equal.clone().unwrap_or_default() })
}

fn template_files(patterns: &[String], folder: &Path) -> Result<Vec<(PathBuf, String)>, String> {
    let mut files = Vec::new();
    for pattern in patterns {
        for file in glob(&folder.join(pattern)).map_err(|why| format!("templates: {why}"))? {
            let text = std::fs::read_to_string(&file);
            let text = text.map_err(|error| format!("templates: read {}: {error}", file.display()))?;
            files.push((file, text));
        }
    }
    Ok(files)
}
