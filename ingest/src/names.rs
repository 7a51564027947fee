//! Names as queries use them: Loki's rules for OTLP, so that `http.method` is `http_method` everywhere.

use std::borrow::Cow;

use storage::{Labels, Stream};

use crate::limits::Limits;

/// Loki's list of labels that a missing `service_name` is taken from, best first.
const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// OTLP resource attributes that become stream labels, as in Loki's default configuration.
pub(crate) const INDEX_ATTRIBUTES: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// Every character but letters, digits, `_` and `:` becomes `_`; a digit at the start gets `key_` before it.
pub fn normalise(name: &str) -> Cow<'_, str> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b':';
    let digit_first = name.as_bytes().first().is_some_and(u8::is_ascii_digit);
    if !digit_first && !name.is_empty() && name.bytes().all(good) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 4);
    if digit_first {
        out.push_str("key_");
    }
    out.extend(name.chars().map(|c| if c.is_ascii() && good(c as u8) { c } else { '_' }));
    if out.is_empty() {
        out.push('_');
    }
    Cow::Owned(out)
}

/// A stream from its labels and resource attributes; `service_name` is added where it is missing.
///
/// # Errors
/// What is too many or too long.
pub(crate) fn stream(
    mut labels: Vec<(String, String)>,
    resource: Vec<(String, String)>,
    limits: &Limits,
) -> Result<Stream, String> {
    labels.retain(|(_, value)| !value.is_empty());
    if !labels.iter().any(|(name, _)| name == "service_name") {
        let found = SERVICE_LABELS.iter().find_map(|wanted| labels.iter().find(|(name, _)| name == wanted));
        let service = found.map_or("unknown_service", |(_, value)| value).to_owned();
        labels.push(("service_name".to_owned(), service));
    }
    // The added label does not count.
    if labels.len() > limits.labels_max + 1 {
        return Err(format!("a stream has {} labels, {} are allowed", labels.len() - 1, limits.labels_max));
    }
    for (name, value) in &labels {
        if name.len() > limits.label_name_bytes_max {
            let head: String = name.chars().take(40).collect();
            return Err(format!(
                "label name '{head}...' has {} bytes, {} are allowed",
                name.len(),
                limits.label_name_bytes_max
            ));
        }
        if value.len() > limits.label_value_bytes_max {
            return Err(format!(
                "the value of label '{name}' has {} bytes, {} are allowed",
                value.len(),
                limits.label_value_bytes_max
            ));
        }
    }
    Ok(Stream::new(Labels::new(labels), Labels::new(resource)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_labels() {
        for (name, label) in [
            ("http.method", "http_method"),
            ("ok_1", "ok_1"),
            ("1st", "key_1st"),
            ("é-x", "__x"),
            ("", "_"),
            ("a:b", "a:b"),
        ] {
            assert_eq!(normalise(name), label);
        }
    }

    #[test]
    fn every_stream_has_a_service_name() {
        let of = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            stream(labels, Vec::new(), &Limits::default()).map(|s| s.labels().to_string())
        };
        assert_eq!(of(&[("job", "j"), ("app", "a")]).as_deref(), Ok(r#"{app="a", job="j", service_name="a"}"#));
        assert_eq!(of(&[]).as_deref(), Ok(r#"{service_name="unknown_service"}"#));
        assert_eq!(of(&[("x", "")]).as_deref(), Ok(r#"{service_name="unknown_service"}"#));
        assert!(of(&[("x", &"v".repeat(3000))]).is_err());
    }
}
