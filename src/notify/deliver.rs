//! Delivery: takes messages out of the queue, one at a time for each group and target, so that what is said of a group comes
//! in order. Targets do not wait for one another, and groups do not, but that a target takes only so many at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::Serialize;
use storage::{DocumentChange, Tenant};
use tokio::sync::Semaphore;

use super::Alertmanager;
use super::config::Integration;
use super::data::Data;
use super::document::{Held, Queued, THREAD, change_thread};
use super::message::Message;
use super::retry;
use super::target::{HttpTarget, Request, Target};
use crate::alert::Alert;
use crate::scrape::client::{Reply, Told};

/// The alert that says that a message was given up.
const FAILED: &str = "FarolNotificationFailed";
/// So much of an answer stands in an error.
const ANSWER_MAX: usize = 200;
/// How long a commit waits that cannot be made.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);

/// A try to deliver a message, as it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Attempt {
    /// Who was to be told.
    pub(crate) receiver: String,
    /// In which way, such as `slack/0`.
    pub(crate) integration: String,
    /// Of which group.
    pub(crate) group_key: String,
    /// Stands for the message.
    pub(crate) key: String,
    /// Why there was a message, such as `new_alerts`.
    pub(crate) reason: String,
    /// `firing` or `resolved`.
    pub(crate) status: String,
    /// The names of the alerts.
    pub(crate) alerts: Vec<String>,
    /// Which try it was.
    pub(crate) attempt: u32,
    /// `delivered`, `failed`, `given_up` or `dropped`.
    pub(crate) outcome: &'static str,
    /// What the target answered.
    pub(crate) status_code: Option<u16>,
    /// How long it took.
    pub(crate) latency_ms: u64,
    /// What went wrong; without secrets.
    pub(crate) error: Option<String>,
}

/// Why a try failed.
#[derive(Debug)]
struct Failure {
    why: String,
    status_code: Option<u16>,
    retry_after: Option<Duration>,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, status_code: None, retry_after: None }
    }
}

/// Receiver and integration.
type LaneKey = (String, String);
/// Whose, which target, and which group.
type ConversationKey = (Tenant, LaneKey, String);

/// One target: how many messages it takes, and until when it wants to be left alone.
#[derive(Debug)]
struct Lane {
    places: Semaphore,
    quiet_until: Mutex<Option<Instant>>,
}

/// All targets, and what waits for them.
#[derive(Debug)]
pub(crate) struct Lanes {
    places: usize,
    lanes: Mutex<BTreeMap<LaneKey, Arc<Lane>>>,
    waiting: Mutex<BTreeMap<ConversationKey, VecDeque<Queued>>>,
}

impl Lanes {
    /// Targets that take so many messages at once.
    pub(crate) fn new(places: usize) -> Self {
        Self { places, lanes: Mutex::default(), waiting: Mutex::default() }
    }

    fn of(&self, key: &LaneKey) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Lane { places: Semaphore::new(self.places), quiet_until: Mutex::default() });
        Arc::clone(lanes.entry(key.clone()).or_insert_with(new))
    }

    /// Whether nobody delivers for this group and target yet.
    fn push(&self, key: &ConversationKey, queued: Queued) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !waiting.contains_key(key);
        waiting.entry(key.clone()).or_default().push_back(queued);
        is_new
    }

    /// What is next; nothing is left when there is none.
    fn next(&self, key: &ConversationKey) -> Option<Queued> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let next = waiting.get_mut(key).and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(key);
        }
        next
    }

    /// Messages that wait, those that are being sent not counted.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values().map(VecDeque::len).sum()
    }
}

impl Lane {
    fn quiet_for(&self) -> Option<Duration> {
        let until = *self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|pause| !pause.is_zero())
    }

    fn leave_alone(&self, pause: Duration) {
        let mut until = self.quiet_until.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = Instant::now().checked_add(pause);
        *until = (*until).max(wanted);
    }
}

impl Alertmanager {
    /// Delivers a message that is in the queue, after those of its group that wait for the same target.
    pub(super) fn deliver(self: &Arc<Self>, tenant: &Tenant, queued: Queued) {
        let lane = (queued.receiver.clone(), queued.integration.clone());
        let key = (tenant.clone(), lane, queued.thread_id());
        if self.lanes.push(&key, queued) {
            self.tasks.spawn(Arc::clone(self).converse(key));
        }
    }

    async fn converse(self: Arc<Self>, key: ConversationKey) {
        let lane = self.lanes.of(&key.1);
        while let Some(queued) = self.lanes.next(&key) {
            tokio::select! {
                () = self.try_until_done(&key.0, &queued, &lane) => {}
                () = self.stopped() => return,
            }
        }
    }

    /// What is being sent when the server stops may end; what waits does not hold the stop up.
    async fn stopped(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    async fn try_until_done(self: &Arc<Self>, tenant: &Tenant, queued: &Queued, lane: &Lane) {
        for attempt in 1.. {
            while let Some(pause) = lane.quiet_for() {
                self.pause(pause).await;
            }
            let Ok(_place) = lane.places.acquire().await else { return };
            let config = self.config();
            let Some(receiver) = config.receivers.get(&queued.receiver) else {
                return self.drop_message(tenant, queued).await;
            };
            let integration = receiver.integrations.iter().find(|integration| integration.name == queued.integration);
            let Some(integration) = integration else { return self.drop_message(tenant, queued).await };
            let begun = Instant::now();
            let tried = self.try_once(tenant, queued, integration).await;
            let latency = begun.elapsed();
            self.stats.tried(integration.kind(), latency, tried.is_ok());
            let age_ms = self.now_ms() - queued.created_ms;
            let is_given_up = u128::try_from(age_ms).is_ok_and(|age| age >= self.settings.retry_for.as_millis());
            let outcome = match &tried {
                Ok(_) => "delivered",
                Err(_) if is_given_up => "given_up",
                Err(_) => "failed",
            };
            let (status_code, error) = match &tried {
                Ok((status_code, _)) => (Some(*status_code), None),
                Err(failure) => (failure.status_code, Some(failure.why.clone())),
            };
            let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
            let told = (attempt, outcome, status_code, latency_ms, error);
            self.record(tenant, queued, told);
            let failure = match tried {
                Ok((_, thread)) => return self.finish(tenant, queued, integration, thread).await,
                Err(failure) if is_given_up => return self.give_up(tenant, queued, integration, &failure.why).await,
                Err(failure) => failure,
            };
            drop(_place);
            if let Some(pause) = failure.retry_after {
                lane.leave_alone(pause);
            }
            let pause = retry::pause(attempt, &queued.id, self.settings.retry_pause_max);
            self.pause(pause.max(failure.retry_after.unwrap_or_default())).await;
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Nothing is tried any more: the message stays in the catalog.
            () = self.stop.cancelled() => std::future::pending().await,
        }
    }

    /// The status, and where later messages belong.
    async fn try_once(
        &self,
        tenant: &Tenant,
        queued: &Queued,
        integration: &Integration,
    ) -> Result<(u16, Option<String>), Failure> {
        let config = self.config();
        let data =
            Data::new(&queued.receiver, queued.group_labels.clone(), &queued.alerts, &self.settings.external_url);
        let message = Message {
            data,
            templates: &config.templates,
            group_key: queued.group_key.clone(),
            key: queued.id.clone(),
            created_ms: queued.created_ms,
        };
        match &integration.target {
            Target::Http(target) => {
                let thread = self.store.document(THREAD, tenant, &queued.thread_id()).await;
                let thread = thread.map_err(|error| error.to_string())?.map(|document| document.bytes);
                let thread = thread.as_deref().map(String::from_utf8_lossy);
                self.send(target.as_ref(), &message, thread.as_deref()).await
            }
            Target::Email(email) => {
                let mail = email.mail(&message)?;
                let sent = email.send(mail, self.settings.delivery_timeout).await;
                sent.map(|code| (code, None)).map_err(|(status_code, why)| Failure {
                    why,
                    status_code,
                    retry_after: None,
                })
            }
        }
    }

    async fn send(
        &self,
        target: &dyn HttpTarget,
        message: &Message<'_>,
        thread: Option<&str>,
    ) -> Result<(u16, Option<String>), Failure> {
        let timeout = target.timeout().unwrap_or(self.settings.delivery_timeout);
        let (mut status, mut found) = (0, None);
        for request in target.requests(message, thread).await? {
            let mut headers = request.headers.clone();
            headers.push(("X-Farol-Notification".to_owned(), message.key.clone()));
            headers.push(("Idempotency-Key".to_owned(), message.key.clone()));
            let told = Told {
                method: request.method.clone(),
                url: &request.url,
                headers: &headers,
                body: request.body.clone().into(),
                timeout,
            };
            let reply = target.client().send(&told).await.map_err(|why| hide(&why, &request))?;
            let refusal = match reply.status {
                200..300 => target.refusal(&reply),
                _ => Some(String::new()),
            };
            if let Some(why) = refusal {
                let now = UNIX_EPOCH + Duration::from_nanos(u64::try_from(self.clock.now_ns()).unwrap_or_default());
                let retry_after = retry::told(&reply, now);
                return Err(Failure {
                    why: explain(&why, &reply, &request),
                    status_code: Some(reply.status),
                    retry_after,
                });
            }
            status = reply.status;
            found = found.or_else(|| target.thread(&reply));
        }
        Ok((status, found.filter(|_| thread.is_none())))
    }

    /// The message has arrived.
    async fn finish(&self, tenant: &Tenant, queued: &Queued, integration: &Integration, thread: Option<String>) {
        self.stats.of_kind(integration.kind(), |stats| stats.delivered += 1);
        let mut changes = vec![queued.delete(tenant)];
        let is_over = queued.alerts.iter().all(|alert| alert.ends_at_ms.is_some());
        if is_over || thread.is_some() {
            // What fires anew begins a thread of its own.
            changes.push(change_thread(tenant, queued.thread_id(), thread.as_deref().filter(|_| !is_over)));
        }
        let failure = self.failure_alert(tenant, queued);
        let now_ms = self.now_ms();
        let over = failure.map(|mut held| {
            held.alert.ends_at_ms = Some(now_ms);
            held.alert.updated_at_ms = now_ms;
            held
        });
        self.commit(tenant, over, changes).await;
    }

    /// The message is given up, and that is an alert of its own.
    async fn give_up(&self, tenant: &Tenant, queued: &Queued, integration: &Integration, why: &str) {
        self.stats.of_kind(integration.kind(), |stats| stats.given_up += 1);
        tracing::error!(
            receiver = queued.receiver,
            integration = queued.integration,
            "a notification was given up: {why}"
        );
        let now_ms = self.now_ms();
        let known = self.failure_alert(tenant, queued);
        let starts_at_ms = known.map_or(now_ms, |held| held.alert.starts_at_ms);
        let summary = format!("A notification to {} ({}) did not arrive", queued.receiver, queued.integration);
        let description = format!("Group {}: {why}", queued.group_key);
        let alert = Alert {
            labels: failure_labels(queued),
            annotations: [("summary".to_owned(), summary), ("description".to_owned(), description)].into(),
            starts_at_ms,
            updated_at_ms: now_ms,
            ..Alert::default()
        };
        self.commit(tenant, Some(Held { alert, is_timeout: false }), vec![queued.delete(tenant)]).await;
    }

    /// The configuration does not name the target any more.
    async fn drop_message(&self, tenant: &Tenant, queued: &Queued) {
        let why = "the configuration does not name this receiver and integration any more".to_owned();
        self.record(tenant, queued, (0, "dropped", None, 0, Some(why)));
        self.commit(tenant, None, vec![queued.delete(tenant)]).await;
    }

    /// Commits what came of a message, however long that takes: until then it would be sent again.
    async fn commit(&self, tenant: &Tenant, alert: Option<Held>, changes: Vec<DocumentChange>) {
        while let Err(error) = self.put(tenant, alert.iter().cloned().collect(), changes.clone()).await {
            tracing::error!("what came of a notification cannot be kept: {error}");
            tokio::time::sleep(COMMIT_PAUSE).await;
        }
    }

    /// What says that messages to the target of this one are given up, while it fires.
    fn failure_alert(&self, tenant: &Tenant, queued: &Queued) -> Option<Held> {
        let id = super::fingerprint::of(&failure_labels(queued));
        let state = self.state();
        let held = state.get(tenant)?.alerts.get(&id)?;
        (!held.alert.is_resolved_at(self.now_ms())).then(|| held.clone())
    }

    fn record(
        &self,
        tenant: &Tenant,
        queued: &Queued,
        (attempt, outcome, status_code, latency_ms, error): (u32, &'static str, Option<u16>, u64, Option<String>),
    ) {
        let fires = queued.alerts.iter().any(|alert| alert.ends_at_ms.is_none());
        let mut alerts: Vec<String> =
            queued.alerts.iter().filter_map(|alert| alert.labels.get("alertname").cloned()).collect();
        alerts.sort();
        alerts.dedup();
        let reason = serde_json::to_value(queued.reason).ok().and_then(|reason| reason.as_str().map(str::to_owned));
        let attempt = Attempt {
            receiver: queued.receiver.clone(),
            integration: queued.integration.clone(),
            group_key: queued.group_key.clone(),
            key: queued.id.clone(),
            reason: reason.unwrap_or_default(),
            status: if fires { "firing" } else { "resolved" }.to_owned(),
            alerts,
            attempt,
            outcome,
            status_code,
            latency_ms,
            error,
        };
        (self.recorder)(tenant, &attempt);
    }

    /// Messages that wait for their targets.
    pub(crate) fn waiting(&self) -> usize {
        self.lanes.waiting()
    }
}

fn failure_labels(queued: &Queued) -> super::Labels {
    let labels = [
        ("alertname", FAILED),
        ("integration", queued.integration.as_str()),
        ("receiver", queued.receiver.as_str()),
        ("severity", "critical"),
    ];
    labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What a target has against a message, with the beginning of its answer.
fn explain(why: &str, reply: &Reply, request: &Request) -> String {
    if !why.is_empty() {
        return hide(why, request);
    }
    let answer = String::from_utf8_lossy(&reply.body);
    let answer: String = answer.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(ANSWER_MAX).collect();
    let why = format!("unexpected status code {}{}{answer}", reply.status, if answer.is_empty() { "" } else { ": " });
    hide(&why, request)
}

/// Without what may be secret in a request, should a target say it back.
fn hide(text: &str, request: &Request) -> String {
    let mut secrets = vec![request.url.clone()];
    if let Ok(url) = url::Url::parse(&request.url) {
        secrets.push(url.path().to_owned());
        secrets.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
        secrets.extend(url.password().map(str::to_owned));
    }
    let values = request.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    secrets.extend(values.flat_map(|(_, value)| value.split(' ').map(str::to_owned)));
    if let Ok(body) = serde_json::from_slice::<serde_json::Value>(&request.body) {
        let keys = ["routing_key", "service_key"].into_iter().filter_map(|name| body[name].as_str());
        secrets.extend(keys.map(str::to_owned));
    }
    secrets.retain(|secret| secret.len() >= 6);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "<secret>"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_a_target_says_back_is_hidden() {
        let request = Request::json(
            "http://u:passw0rd@h/hooks/T0KEN-PART?key=qu3ryk3y".to_owned(),
            &serde_json::json!({"routing_key": "r0uting"}),
        );
        let request = request.unwrap().header("Authorization", "Bearer b34rer-token");
        let reply = Reply {
            status: 403,
            headers: Default::default(),
            body: "no T0KEN-PART qu3ryk3y b34rer-token r0uting passw0rd\n here".into(),
        };
        let said = explain("", &reply, &request);
        assert_eq!(said, "unexpected status code 403: no <secret> <secret> <secret> <secret> <secret> here");
    }
}
