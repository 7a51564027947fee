//! Farol's own figures, as Prometheus reads them: text format 0.0.4.

mod process;

use std::fmt::Write;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use storage::{Stats, Tenant};

use crate::alert::ruler::Ruler;
use crate::api::push::Door;
use crate::app::App;
use crate::notify::Alertmanager;
use crate::notify::KindStats;
use crate::telemetry::{Histogram, ServerStats};

/// `GET /metrics`.
pub(crate) async fn render(State(app): State<App>) -> Response {
    let mut page = Page::default();
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
    page.gauge("farol_build_info", "The version that runs.", &[(version.to_owned(), 1.0)]);
    let started = app.started_ns as f64 / 1e9;
    process::render(&mut page, started);
    let loaded = match app.stats.reloaded_s.load(Ordering::Relaxed) {
        0 => started,
        seconds => seconds as f64,
    };
    let is_good = f64::from(u8::from(!app.stats.reload_failed.load(Ordering::Relaxed)));
    page.gauge(
        "farol_config_last_reload_successful",
        "Whether settings could be read the last time.",
        &[bare(is_good)],
    );
    page.gauge(
        "farol_config_last_reload_success_timestamp_seconds",
        "When settings were last read without a mistake, in seconds since 1970.",
        &[bare(loaded)],
    );
    requests(&mut page, &app.stats);
    queries(&mut page, &app.stats);
    if let Ok(notifier) = app.notifier() {
        notifications(&mut page, notifier);
    }
    if let Ok(house) = app.house() {
        store(&mut page, house.store.stats());
        let in_flight = house.admission.in_flight() as f64;
        let streams = app.deltas.streams() as f64;
        page.gauge("farol_delta_streams", "Streams of OTLP deltas that are being added up.", &[bare(streams)]);
        page.gauge("farol_ingest_in_flight_bytes", "Bytes of requests that are being taken in.", &[bare(in_flight)]);
        let memory = house.engine.memory_used() as f64;
        page.gauge("farol_query_memory_bytes", "Bytes that running queries hold.", &[bare(memory)]);
    }
    if let Ok(ruler) = app.ruler() {
        rules(&mut page, ruler);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.0).into_response()
}

fn notifications(page: &mut Page, notifier: &Alertmanager) {
    let stats = &notifier.stats;
    for (name, help, counter) in [
        ("farol_alerts_received_total", "Alerts that came, from rules and from outside.", &stats.alerts_received),
        ("farol_alerts_invalid_total", "Alerts from outside that were refused.", &stats.alerts_invalid),
    ] {
        page.counter(name, help, &[bare(read(counter))]);
    }
    let waiting = notifier.waiting() as f64;
    page.gauge("farol_notifications_waiting", "Notifications that wait for their targets.", &[bare(waiting)]);
    let is_good = stats.reload.lock().unwrap_or_else(PoisonError::into_inner).0;
    let help = "Whether the configuration of notifications could be read the last time.";
    page.gauge("farol_notifications_config_last_reload_successful", help, &[bare(f64::from(u8::from(is_good)))]);
    let label = |kind: &str| format!("integration=\"{}\"", escape(kind));
    let by_kind = |value: fn(&KindStats) -> u64| stats.kinds(|kind, stats| (label(kind), value(stats) as f64));
    for (name, help, value) in [
        ("farol_notifications_queued_total", "Notifications queued.", (|s| s.queued) as fn(&KindStats) -> u64),
        ("farol_notifications_delivered_total", "Notifications that arrived.", |s| s.delivered),
        ("farol_notifications_given_up_total", "Notifications that were given up.", |s| s.given_up),
        ("farol_notification_attempts_total", "Tries to deliver a notification.", |s| s.attempts),
        ("farol_notification_attempts_failed_total", "Tries that failed.", |s| s.failed),
    ] {
        page.counter(name, help, &by_kind(value));
    }
    page.head("farol_notification_latency_seconds", "How long a try took.", "histogram");
    for (labels, (cumulative, sum, count)) in stats.kinds(|kind, stats| (label(kind), stats.latency.read())) {
        page.buckets("farol_notification_latency_seconds", &labels, cumulative, sum, count);
    }
}

/// Labels (as text, may be empty) and value.
type Sample = (String, f64);

fn bare(value: f64) -> Sample {
    (String::new(), value)
}

fn read(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn requests(page: &mut Page, stats: &ServerStats) {
    let routes = stats.routes.lock().unwrap_or_else(PoisonError::into_inner);
    let by_status = routes.iter().flat_map(|(route, stats)| {
        let sample = move |(status, count): (&u16, &u64)| {
            (format!("route=\"{}\",status=\"{status}\"", escape(route)), *count as f64)
        };
        stats.by_status.iter().map(sample)
    });
    page.counter("farol_http_requests_total", "HTTP requests answered.", &by_status.collect::<Vec<_>>());
    page.head("farol_http_request_duration_seconds", "How long HTTP requests took.", "histogram");
    for (route, stats) in routes.iter() {
        let label = format!("route=\"{}\"", escape(route));
        page.histogram("farol_http_request_duration_seconds", &label, &stats.durations);
    }
    drop(routes);
    page.gauge("farol_http_requests_running", "HTTP requests being answered.", &[bare(read(&stats.running))]);
    page.gauge("farol_connections", "Connections open.", &[bare(read(&stats.connections))]);
    page.gauge("farol_tails", "Tails open.", &[bare(read(&stats.tails))]);
    let accepted = stats.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let each = |value: fn(&crate::telemetry::Accepted) -> u64| -> Vec<Sample> {
        accepted.iter().map(|(door, sum)| (labels_of(*door), value(sum) as f64)).collect()
    };
    page.counter("farol_ingest_records_total", "Records stored, by protocol.", &each(|sum| sum.records));
    page.counter(
        "farol_ingest_received_bytes_total",
        "Bytes of bodies as they were sent.",
        &each(|sum| sum.bytes_sent),
    );
    page.counter("farol_ingest_bytes_total", "Bytes of bodies after decompression.", &each(|sum| sum.bytes));
    page.counter(
        "farol_ingest_duplicate_requests_total",
        "Requests whose idempotency key had been seen.",
        &each(|sum| sum.duplicates),
    );
    let refused = stats.refused.lock().unwrap_or_else(PoisonError::into_inner);
    let refused: Vec<Sample> = refused
        .iter()
        .map(|((door, reason), count)| (format!("{},reason=\"{}\"", labels_of(*door), escape(reason)), *count as f64))
        .collect();
    page.counter("farol_ingest_refused_total", "Records and whole requests refused, by reason.", &refused);
}

fn labels_of(door: Door) -> String {
    format!("protocol=\"{}\",signal=\"{}\"", door.protocol, door.signal)
}

fn queries(page: &mut Page, stats: &ServerStats) {
    let queries = &stats.queries;
    page.head("farol_query_duration_seconds", "How long queries ran.", "histogram");
    page.histogram("farol_query_duration_seconds", "", &queries.durations);
    for (name, help, counter) in [
        ("farol_query_failures_total", "Queries that failed.", &queries.failed),
        ("farol_query_parts_total", "Segments and memtables in the time range of queries.", &queries.parts),
        ("farol_query_parts_pruned_total", "Of these, ruled out without reading a row.", &queries.parts_pruned),
        ("farol_query_rows_considered_total", "Rows that indexes left for queries.", &queries.rows_considered),
        ("farol_query_rows_read_total", "Rows that queries read.", &queries.rows_read),
        ("farol_query_read_bytes_total", "Bytes of text that queries read.", &queries.bytes_read),
    ] {
        page.counter(name, help, &[bare(read(counter))]);
    }
}

fn rules(page: &mut Page, ruler: &Ruler) {
    let stats = &ruler.stats;
    for (name, help, counter) in [
        ("farol_rule_evaluations_total", "Evaluations of rules.", &stats.evaluations),
        ("farol_rule_evaluation_failures_total", "Evaluations of rules that failed.", &stats.failures),
        ("farol_rule_group_runs_total", "Runs of groups of rules.", &stats.runs),
        ("farol_rule_group_runs_late_total", "Runs that began more than 5 s after their time.", &stats.late),
        ("farol_rule_group_runs_missed_total", "Runs that fell out: the one before took too long.", &stats.missed),
        ("farol_rule_samples_total", "Samples that rules wrote.", &stats.samples),
        ("farol_rule_alert_transitions_total", "Changes of the state of alerts.", &stats.transitions),
        (
            "farol_rule_commit_failures_total",
            "Changes that could not be kept; they are tried again.",
            &stats.commit_failures,
        ),
    ] {
        page.counter(name, help, &[bare(read(counter))]);
    }
    let ((groups, rules), (pending, firing)) = (ruler.counts(), ruler.alert_counts());
    page.gauge("farol_rule_groups", "Groups of rules.", &[bare(groups as f64)]);
    page.gauge("farol_rules", "Rules.", &[bare(rules as f64)]);
    let alerts = [("state=\"pending\"", pending), ("state=\"firing\"", firing)];
    let alerts = alerts.map(|(labels, count)| (labels.to_owned(), count as f64));
    page.gauge("farol_rule_alerts", "Alerts, by state.", &alerts);
    page.gauge("farol_rule_files_broken", "Rule files that are broken.", &[bare(read(&stats.broken_files))]);
    for (name, help, histogram) in [
        ("farol_rule_group_lag_seconds", "How long after its time a run began.", &stats.lag),
        ("farol_rule_group_duration_seconds", "How long a run of a group took.", &stats.run_duration),
        ("farol_rule_duration_seconds", "How long an evaluation of a rule took.", &stats.rule_duration),
    ] {
        page.head(name, help, "histogram");
        page.histogram(name, "", histogram);
    }
}

fn store(page: &mut Page, stats: &Stats) {
    for (name, help, counter) in [
        ("farol_batches_total", "Batches stored.", &stats.batches),
        ("farol_duplicate_batches_total", "Batches that were there already, by their key.", &stats.duplicates),
        ("farol_overloaded_total", "Batches refused because too much waits to be written.", &stats.overloaded),
        ("farol_disk_full_total", "Batches refused because the disk is full.", &stats.disk_full),
        ("farol_journal_failures_total", "Writes of the journal that failed.", &stats.journal_failures),
        ("farol_flush_failures_total", "Flushes that failed; they are tried again.", &stats.flush_failures),
        ("farol_compaction_failures_total", "Compactions that failed.", &stats.compaction_failures),
        ("farol_segments_expired_total", "Segments removed by retention.", &stats.segments_expired),
        ("farol_quarantined_total", "Damaged files moved into the quarantine.", &stats.quarantined),
        ("farol_replayed_frames_total", "Journal frames replayed at the start.", &stats.replayed_frames),
    ] {
        page.counter(name, help, &[bare(read(counter))]);
    }
    for (name, help, gauge) in [
        ("farol_journal_bytes", "Bytes of all journal files.", &stats.journal_bytes),
        ("farol_memtable_bytes", "Memory of records that are not yet in segments.", &stats.memtable_bytes),
        ("farol_memtable_records", "Records that are not yet in segments.", &stats.memtable_records),
        ("farol_segments", "Segments.", &stats.segments),
    ] {
        page.gauge(name, help, &[bare(read(gauge))]);
    }
    for (name, help, histogram) in [
        ("farol_journal_sync_duration_seconds", "One write and sync of the journal.", &stats.journal_sync),
        ("farol_flush_duration_seconds", "One flush of a memtable into segments.", &stats.flush),
        ("farol_compaction_duration_seconds", "One compaction.", &stats.compaction),
    ] {
        page.head(name, help, "histogram");
        page.buckets(name, "", histogram.cumulative(), histogram.sum_s(), histogram.count());
    }
    let (logs, samples) = (stats.accepted(), stats.accepted_samples());
    page.counter(
        "farol_tenant_records_total",
        "Records and samples accepted.",
        &by_tenant(&logs, &samples, |row| row.1),
    );
    page.counter(
        "farol_tenant_bytes_total",
        "Bytes accepted, as held in memory.",
        &by_tenant(&logs, &samples, |row| row.2),
    );
    let (logs, samples) = (stats.stored(), stats.stored_metrics());
    page.gauge("farol_stored_records", "Records and samples in segments.", &by_tenant(&logs, &samples, |row| row.1));
    page.gauge("farol_stored_bytes", "Bytes of segments.", &by_tenant(&logs, &samples, |row| row.2));
}

/// A tenant, how many records it has, and how many bytes they are.
type OfTenant = (Tenant, u64, u64);

fn by_tenant(logs: &[OfTenant], metrics: &[OfTenant], value: fn(&OfTenant) -> u64) -> Vec<Sample> {
    let each = |rows: &[OfTenant], signal: &str| -> Vec<Sample> {
        let label = |tenant: &Tenant| format!("tenant=\"{}\",signal=\"{signal}\"", escape(tenant.as_str()));
        rows.iter().map(|row| (label(&row.0), value(row) as f64)).collect()
    };
    [each(logs, "logs"), each(metrics, "metrics")].concat()
}

/// The page as it is written.
#[derive(Debug, Default)]
struct Page(String);

/// Writing to a `String` does not fail, so the results of `write!` are not looked at.
impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn counter(&mut self, name: &str, help: &str, samples: &[Sample]) {
        self.head(name, help, "counter");
        samples.iter().for_each(|(labels, value)| self.sample(name, labels, *value));
    }

    fn gauge(&mut self, name: &str, help: &str, samples: &[Sample]) {
        self.head(name, help, "gauge");
        samples.iter().for_each(|(labels, value)| self.sample(name, labels, *value));
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let (cumulative, sum, count) = histogram.read();
        self.buckets(name, labels, cumulative, sum, count);
    }

    fn buckets(&mut self, name: &str, labels: &str, cumulative: Vec<(f64, u64)>, sum: f64, count: u64) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, below) in cumulative {
            let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(self.0, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count as f64);
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_text_format() {
        let mut page = Page::default();
        page.counter("a_total", "A.", &[("x=\"1\"".to_owned(), 2.0), bare(0.5)]);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2));
        page.histogram("h", "", &histogram);
        assert!(page.0.starts_with("# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 2\na_total 0.5\n"));
        assert!(page.0.contains("h_bucket{le=\"0.001\"} 0\nh_bucket{le=\"0.0025\"} 1\n"), "{}", page.0);
        assert!(page.0.ends_with("h_bucket{le=\"+Inf\"} 1\nh_sum 0.002\nh_count 1\n"));
        assert_eq!(escape("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
