//! What `.` is, and what can be asked of it.

use std::rc::Rc;

use query::template::{Object, Struct, Time, Value};

use crate::notify::data::{AlertData, Data};
use crate::notify::matcher::Labels;

/// The least of all moments stands for Go's zero time.
const NO_TIME_NS: i64 = i64::MIN;

/// The fields of an alert, in the order in which it is shown.
pub(super) const ALERT_FIELDS: [&str; 7] =
    ["Status", "Labels", "Annotations", "StartsAt", "EndsAt", "GeneratorURL", "Fingerprint"];

/// `.`
pub(super) fn data(data: &Data) -> Value {
    Struct::value(
        "*template.Data",
        [
            ("Receiver", Value::text(data.receiver.as_str())),
            ("Status", Value::text(data.status())),
            ("Alerts", Alerts::value(data.alerts.iter().map(alert).collect())),
            ("GroupLabels", Pairs::value(&data.group_labels)),
            ("CommonLabels", Pairs::value(&data.common_labels)),
            ("CommonAnnotations", Pairs::value(&data.common_annotations)),
            ("RouteLabels", Pairs::value(&Labels::new())),
            ("NotificationReason", Value::text("")),
            ("ExternalURL", Value::text(data.external_url.as_str())),
        ],
    )
}

fn alert(alert: &AlertData) -> Value {
    let context = &alert.context;
    let time = |ms: Option<i64>| Value::Time(Time::utc(ms.map_or(NO_TIME_NS, |ms| ms.saturating_mul(1_000_000))));
    let text = |text: &str| Value::text(text);
    let number = |value: f64| format!("{value}");
    let line = |(ns, line): &(i64, String)| format!("{} {line}", Time::utc(*ns).format("15:04:05.000"));
    let lines: Vec<String> = context.lines.iter().map(line).collect();
    Struct::value(
        "template.Alert",
        [
            ("Status", text(alert.status())),
            ("Labels", Pairs::value(&alert.labels)),
            ("Annotations", Pairs::value(&alert.annotations)),
            ("StartsAt", time(Some(alert.starts_at_ms))),
            ("EndsAt", time(alert.ends_at_ms)),
            ("GeneratorURL", text(&alert.generator_url)),
            ("Fingerprint", text(&alert.fingerprint())),
            // What only alerts of this server's own rules have.
            ("Value", text(&context.value.map(number).unwrap_or_default())),
            ("Threshold", text(context.threshold.as_deref().unwrap_or_default())),
            ("Expr", text(&context.expr)),
            ("Language", text(&context.language)),
            ("ActiveSince", time((context.active_since_ms != 0).then_some(context.active_since_ms))),
            ("Lines", texts(lines)),
            ("SilenceURL", text(&alert.silence_url)),
            ("RunbookURL", text(alert.annotations.get("runbook_url").map_or("", String::as_str))),
        ],
    )
}

fn texts(texts: impl IntoIterator<Item = String>) -> Value {
    Value::list(texts.into_iter().map(Value::text))
}

fn no_arguments(name: &str, arguments: &[Value], value: Value) -> Result<Value, String> {
    match arguments {
        [] => Ok(value),
        given => Err(format!("wrong number of args for {name}: want 0 got {}", given.len())),
    }
}

/// Alerts in order.
#[derive(Debug)]
struct Alerts(Rc<Vec<Value>>);

impl Alerts {
    fn value(alerts: Vec<Value>) -> Value {
        Value::object(Self(Rc::new(alerts)))
    }

    fn of(&self, status: &str) -> Value {
        let has = |alert: &&Value| match alert {
            Value::Object(object) => {
                matches!(object.member("Status", &[]), Some(Ok(Value::Text(text))) if &*text == status)
            }
            _ => false,
        };
        Self::value(self.0.iter().filter(has).cloned().collect())
    }
}

impl Object for Alerts {
    fn type_name(&self) -> &str {
        "template.Alerts"
    }

    fn member(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let status = match name {
            "Firing" => "firing",
            "Resolved" => "resolved",
            _ => return None,
        };
        Some(no_arguments(name, arguments, self.of(status)))
    }

    fn content(&self) -> Value {
        Value::List(Rc::clone(&self.0))
    }

    fn show(&self) -> String {
        let show = |alert: &Value| if let Value::Object(alert) = alert { alert.show() } else { String::new() };
        let shown: Vec<String> = self.0.iter().map(show).collect();
        format!("[{}]", shown.join(" "))
    }
}

/// Labels or annotations, by name.
#[derive(Debug)]
struct Pairs(Rc<Labels>);

impl Pairs {
    fn value(labels: &Labels) -> Value {
        Value::object(Self(Rc::new(labels.clone())))
    }

    /// By name, with the alert's before all.
    fn sorted(&self) -> Vec<(String, String)> {
        let mut pairs: Vec<(String, String)> = self.0.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
        pairs.sort_by_key(|(name, _)| name != "alertname");
        pairs
    }
}

impl Object for Pairs {
    fn type_name(&self) -> &str {
        "template.KV"
    }

    fn member(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        Some(match name {
            "SortedPairs" => no_arguments(name, arguments, SortedPairs::value(self.sorted())),
            "Names" => no_arguments(name, arguments, texts(self.sorted().into_iter().map(|(name, _)| name))),
            "Values" => no_arguments(name, arguments, texts(self.sorted().into_iter().map(|(_, value)| value))),
            "Remove" => match arguments {
                [Value::List(names)] => {
                    let is_named = |label: &str| names.iter().any(|n| matches!(n, Value::Text(n) if &**n == label));
                    let kept = self.0.iter().filter(|(label, _)| !is_named(label));
                    Ok(Self::value(&kept.map(|(n, v)| (n.clone(), v.clone())).collect()))
                }
                _ => Err("Remove takes a list of names, as of stringSlice".to_owned()),
            },
            label => no_arguments(label, arguments, Value::text(self.0.get(label).map_or("", String::as_str))),
        })
    }

    fn content(&self) -> Value {
        Value::Texts(Rc::clone(&self.0))
    }

    fn show(&self) -> String {
        SortedPairs(self.sorted()).show()
    }
}

/// Labels or annotations in order.
#[derive(Debug)]
struct SortedPairs(Vec<(String, String)>);

impl SortedPairs {
    fn value(pairs: Vec<(String, String)>) -> Value {
        Value::object(Self(pairs))
    }
}

impl Object for SortedPairs {
    fn type_name(&self) -> &str {
        "template.Pairs"
    }

    fn member(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        Some(match name {
            "Names" => no_arguments(name, arguments, texts(self.0.iter().map(|(name, _)| name.clone()))),
            "Values" => no_arguments(name, arguments, texts(self.0.iter().map(|(_, value)| value.clone()))),
            _ => return None,
        })
    }

    fn content(&self) -> Value {
        let text = |text: &String| Value::text(text.as_str());
        let pair = |(name, value): &(String, String)| {
            Struct::value("template.Pair", [("Name", text(name)), ("Value", text(value))])
        };
        Value::list(self.0.iter().map(pair))
    }

    fn show(&self) -> String {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
    }
}
