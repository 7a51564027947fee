//! One run of a group: its rules one after the other, as of one time.
//!
//! What recording rules and alerts write is gathered, and appended before a rule that may read it, or at the end. Changes
//! of state are gathered for a moment too: they, and what the notifier needs to know of them, are one transaction;
//! then they are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use storage::metrics::MetricBatchBuilder;

use super::document::{self, Change, STATE, StateDocument};
use super::records;
use super::series::{ALERTS, Writing};
use super::watched::{Health, Running, Watched};
use super::{Ruler, lanes::Lane};
use crate::alert::evaluate::{Reader, Sample};
use crate::alert::history::{self, Record};
use crate::alert::labelling::{self, Place};
use crate::alert::rule::{Alerting, Query, Verdict};
use crate::alert::state::{self, Event, Outcome, Phase, RuleState};
use crate::alert::{Alert, AlertContext};

/// Changes of state wait so long for others to be committed with.
const TOGETHER: Duration = Duration::from_millis(200);
/// Samples are appended when there are so many bytes of them.
const BATCH_BYTES: usize = 4 << 20;

/// A run.
pub(super) struct Pass<'p> {
    ruler: &'p Ruler,
    running: &'p Running,
    at_ms: i64,
    /// As of when expressions are evaluated.
    place: Place,
    reader: Reader,
    lane: Lane,
    batch: MetricBatchBuilder,
    /// The metrics in the batch.
    in_batch: BTreeSet<String>,
    changed: Vec<Changed>,
    changed_since: Instant,
    errors: Vec<Record>,
    /// Firing alerts of which the notifier is told again.
    again: Vec<Alert>,
}

struct Changed {
    watched: Arc<Watched>,
    after: RuleState,
    events: Vec<Event>,
}

impl<'p> Pass<'p> {
    /// A run of a group for a time, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the server is not ready.
    pub(super) fn new(ruler: &'p Ruler, running: &'p Running, at_ms: i64) -> Result<Self, String> {
        Ok(Self {
            reader: Reader::new(&ruler.app, &running.tenant, ruler.settings.timeout)?,
            place: Place {
                at_ms: at_ms - running.query_offset_ms,
                external_url: Arc::clone(&ruler.settings.external_url),
                external_labels: ruler.external_labels(),
            },
            ruler,
            running,
            at_ms,
            lane: ruler.lanes.of(running),
            batch: MetricBatchBuilder::default(),
            in_batch: BTreeSet::new(),
            changed: Vec::new(),
            changed_since: Instant::now(),
            errors: Vec::new(),
            again: Vec::new(),
        })
    }

    /// Evaluates every rule, unless the group is stopped meanwhile.
    pub(super) async fn run(mut self) {
        for watched in &self.running.rules {
            if self.running.stop.is_cancelled() {
                break;
            }
            self.rule(watched).await;
            if self.has_transitions() && self.changed_since.elapsed() > TOGETHER {
                self.commit().await;
            }
        }
        self.append_samples().await;
        self.commit().await;
        if let Some(notifier) = self.ruler.notifier() {
            notifier.accept(&self.running.tenant, std::mem::take(&mut self.again));
        }
        self.ruler.record(&self.running.tenant, &self.errors, None).await;
    }

    async fn rule(&mut self, watched: &Arc<Watched>) {
        let rule = &watched.rule;
        if self.may_read_batch(&rule.query) || self.batch.bytes() > BATCH_BYTES {
            self.append_samples().await;
        }
        let began_ns = self.ruler.app.clock.now_ns();
        let began = Instant::now();
        let samples = {
            let _place = self.ruler.lanes.enter(self.lane).await;
            self.reader.samples(&rule.query, &rule.expr, self.place.at_ms).await
        };
        let outcome = match rule.alerting() {
            Some(alerting) => self.alerting(watched, alerting, samples).await,
            None => samples.and_then(|samples| self.recording(watched, &samples)),
        };
        let took = began.elapsed();
        let stats = &self.ruler.stats;
        stats.evaluations.fetch_add(1, Ordering::Relaxed);
        stats.rule_duration.observe(took);
        if let Err(why) = &outcome {
            stats.failures.fetch_add(1, Ordering::Relaxed);
            self.errors.push(records::failed(self.running, rule, why, self.at_ms));
        }
        let mut status = watched.status();
        status.health = if outcome.is_ok() { Health::Ok } else { Health::Err };
        status.last_error = outcome.err().unwrap_or_default();
        (status.last_evaluation_ns, status.took) = (began_ns, took);
    }

    fn recording(&mut self, watched: &Watched, samples: &[Sample]) -> Result<(), String> {
        let mut status = watched.status();
        let mut writing = Writing::new(&mut self.batch, self.place.at_ms);
        let outcome = writing.recorded(&watched.rule, samples, self.running.group.limit);
        status.written = writing.finish(&status.written);
        self.in_batch.insert(watched.rule.name.clone());
        outcome
    }

    async fn alerting(
        &mut self,
        watched: &Arc<Watched>,
        alerting: &Alerting,
        samples: Result<Vec<Sample>, String>,
    ) -> Result<(), String> {
        let rule = &watched.rule;
        let outcome = match samples {
            Ok(samples)
                if samples.is_empty() && alerting.no_data != Verdict::Ok && self.has_no_data(&rule.query).await =>
            {
                Ok(Outcome::NoData)
            }
            Ok(samples) => labelling::candidates(&self.reader, rule, samples, &self.place).await.map(Outcome::Holds),
            Err(why) => Err(why),
        };
        let limit = self.running.group.limit;
        let outcome = match outcome {
            Ok(Outcome::Holds(candidates)) if limit > 0 && candidates.len() > limit => {
                Err(format!("exceeded limit of {limit} with {} alerts", candidates.len()))
            }
            other => other,
        };
        let error = outcome.as_ref().err().cloned();
        let before = watched.status().state.clone();
        let own = labelling::own_labels(rule);
        let step = |outcome| state::step(alerting, &before, outcome, &own, self.at_ms);
        let stepped = step(outcome.unwrap_or_else(Outcome::Failed));
        let (stepped, error) = match stepped {
            Ok(stepped) => (Some(stepped), error),
            Err(duplicate) => (step(Outcome::Failed(duplicate.to_string())).ok(), Some(duplicate.to_string())),
        };
        if let Some((mut after, mut events)) = stepped {
            self.add_lines(watched, alerting, &mut after, &mut events).await;
            self.write_alerts(watched, &after);
            self.tell_again(watched, &after);
            if after != before {
                self.change(Changed { watched: Arc::clone(watched), after, events });
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// An expression that gives nothing has no data if what it compares is not there either.
    async fn has_no_data(&self, query: &Query) -> bool {
        let Some(compared) = query.compared() else { return true };
        let _place = self.ruler.lanes.enter(self.lane).await;
        self.reader.samples(&compared, "", self.place.at_ms).await.is_ok_and(|samples| samples.is_empty())
    }

    /// Alerts that begin to fire get the last lines that match.
    async fn add_lines(&self, watched: &Watched, alerting: &Alerting, after: &mut RuleState, events: &mut [Event]) {
        let Query::Logql(expr) = &watched.rule.query else { return };
        if alerting.lines == 0 {
            return;
        }
        for event in events.iter_mut().filter(|event| event.instance.phase == Phase::Firing) {
            let _place = self.ruler.lanes.enter(self.lane).await;
            let found = self.reader.lines(expr, &event.instance.series, self.place.at_ms, alerting.lines).await;
            match found {
                Ok(lines) => event.instance.lines = lines,
                Err(error) => tracing::warn!(rule = watched.rule.name, "the matching lines cannot be read: {error}"),
            }
            if let Some(same) = after.instances.iter_mut().find(|instance| instance.labels == event.instance.labels) {
                same.lines.clone_from(&event.instance.lines);
            }
        }
    }

    fn write_alerts(&mut self, watched: &Watched, after: &RuleState) {
        let mut status = watched.status();
        let mut writing = Writing::new(&mut self.batch, self.place.at_ms);
        writing.alerts(after);
        let written = writing.finish(&status.written);
        if self.batch.bytes() > 0 {
            self.in_batch.extend(ALERTS.map(str::to_owned));
        }
        status.written = written;
    }

    /// What fires is told again now and then, with what is told about it now.
    fn tell_again(&mut self, watched: &Watched, after: &RuleState) {
        let mut status = watched.status();
        let due = |told: Option<&i64>| told.is_none_or(|told| self.at_ms - told >= self.ruler.settings.resend_ms);
        for instance in after.instances.iter().filter(|instance| instance.phase == Phase::Firing) {
            if instance.fired_at_ms != Some(self.at_ms) && due(status.told_ms.get(&instance.labels)) {
                status.told_ms.insert(instance.labels.clone(), self.at_ms);
                self.again.push(self.ruler.alert(self.running, &watched.rule, instance, self.at_ms));
            }
        }
        status
            .told_ms
            .retain(|labels, _| after.instances.binary_search_by(|instance| instance.labels.cmp(labels)).is_ok());
    }

    fn change(&mut self, changed: Changed) {
        if !self.has_transitions() {
            self.changed_since = Instant::now();
        }
        self.changed.push(changed);
    }

    fn has_transitions(&self) -> bool {
        self.changed.iter().any(|changed| !changed.events.is_empty())
    }

    fn may_read_batch(&self, query: &Query) -> bool {
        if self.in_batch.is_empty() {
            return false;
        }
        match query.metric_names() {
            Some(names) => names.iter().any(|name| self.in_batch.contains(*name)),
            None => true,
        }
    }

    async fn append_samples(&mut self) {
        let batch = std::mem::take(&mut self.batch).finish();
        self.in_batch.clear();
        if batch.is_empty() {
            return;
        }
        let samples = batch.len() as u64;
        let Ok(house) = self.ruler.app.house() else { return };
        match house.store.append_metrics(&self.running.tenant, batch, None).await {
            Ok(_) => {
                self.ruler.stats.samples.fetch_add(samples, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(group = self.running.group.key.name, "{samples} samples of rules are lost: {error}");
            }
        }
        if let Ok(reader) = Reader::new(&self.ruler.app, &self.running.tenant, self.ruler.settings.timeout) {
            self.reader = reader;
        }
    }

    /// Keeps the changes of state, and tells of them. What cannot be kept did not happen: the next run finds it again.
    async fn commit(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return;
        }
        let (tenant, notifier) = (&self.running.tenant, self.ruler.notifier());
        let mut changes = Vec::new();
        let mut alerts = Vec::new();
        for one in &changed {
            changes.push(self.keep(one));
            alerts.extend(
                one.events
                    .iter()
                    .filter(|event| is_told(event))
                    .map(|event| self.ruler.alert(self.running, &one.watched.rule, &event.instance, self.at_ms)),
            );
        }
        changes.extend(notifier.iter().flat_map(|notifier| notifier.stage(tenant, &alerts)));
        if let Err(error) = self.ruler.committer.commit(changes).await {
            self.ruler.stats.commit_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(group = self.running.group.key.name, "changes of alerts cannot be kept: {error}");
            return;
        }
        for one in changed {
            let transitions = one.events.len() as u64;
            self.ruler.stats.transitions.fetch_add(transitions, Ordering::Relaxed);
            let records: Vec<Record> = one
                .events
                .iter()
                .map(|event| records::changed(self.running, &one.watched.rule, event, self.at_ms))
                .collect();
            let key = records::key(&one.watched.rule.id, self.at_ms);
            self.ruler.record(tenant, &records, Some(&key)).await;
            let mut status = one.watched.status();
            let fired = one.events.iter().filter(|event| event.instance.phase == Phase::Firing);
            status.told_ms.extend(fired.map(|event| (event.instance.labels.clone(), self.at_ms)));
            status.state = one.after;
        }
        if let Some(notifier) = notifier {
            notifier.accept(tenant, alerts);
        }
    }

    fn keep(&self, changed: &Changed) -> storage::DocumentChange {
        let (rule, tenant) = (&changed.watched.rule, &self.running.tenant);
        if changed.after.instances.is_empty() && changed.events.is_empty() {
            return document::delete(STATE, tenant, rule.id.clone());
        }
        let kept = StateDocument {
            namespace: self.running.group.key.namespace.clone(),
            group: self.running.group.key.name.clone(),
            rule: rule.name.clone(),
            at_ms: self.at_ms,
            state: changed.after.clone(),
            changes: changed.events.iter().map(Change::from).collect(),
        };
        document::put(STATE, tenant, rule.id.clone(), &kept)
    }
}

/// The notifier hears of what fires, and of the end of that.
fn is_told(event: &Event) -> bool {
    event.instance.phase == Phase::Firing || event.from == Phase::Firing
}

impl Ruler {
    /// An alert as the notifier takes it.
    pub(super) fn alert(
        &self,
        running: &Running,
        rule: &crate::alert::rule::Rule,
        instance: &state::Instance,
        at_ms: i64,
    ) -> Alert {
        let offset_at = at_ms - running.query_offset_ms;
        let mut labels = self.external_labels().as_ref().clone();
        labels.extend(instance.labels.clone());
        Alert {
            labels,
            annotations: instance.annotations.clone(),
            starts_at_ms: instance.fired_at_ms.unwrap_or(instance.active_since_ms),
            ends_at_ms: instance.resolved_at_ms,
            updated_at_ms: at_ms,
            generator_url: super::link::query(&self.settings.external_url, rule, offset_at),
            context: Some(AlertContext {
                rule_id: rule.id.clone(),
                expr: rule.expr.clone(),
                language: rule.query.language().as_str().to_owned(),
                value: instance.value,
                threshold: rule.query.threshold(&rule.expr),
                active_since_ms: instance.active_since_ms,
                lines: instance.lines.clone(),
            }),
        }
    }

    /// Keeps records of what happened. That it cannot is told, and changes nothing else.
    pub(super) async fn record(&self, tenant: &storage::Tenant, records: &[Record], key: Option<&str>) {
        let Ok(house) = self.app.house() else { return };
        if let Err(error) = history::append(&house.store, tenant, records, key).await {
            tracing::error!("the history of alerts lacks {} records: {error}", records.len());
        }
    }
}
