//! Making, changing and ending silences.

use storage::Tenant;
use xxhash_rust::xxh3::xxh3_128;

use super::Alertmanager;
use super::document::put_silence;
use super::silence::{Silence, SilenceState, SilenceText};
use crate::error::{ApiError, Kind};

/// Silences of one tenant, those that are over included.
const SILENCES_MAX: usize = 10_000;
/// A silence that is over is forgotten after five days, as in Alertmanager.
const KEPT_MS: i64 = 5 * 86_400_000;

impl Alertmanager {
    /// All silences, those that are over for less than five days included.
    pub(crate) fn silences(&self, tenant: &Tenant) -> Vec<Silence> {
        let state = self.state();
        state.get(tenant).map(|state| state.silences.values().cloned().collect()).unwrap_or_default()
    }

    /// One silence.
    pub(crate) fn silence(&self, tenant: &Tenant, id: &str) -> Option<Silence> {
        self.state().get(tenant)?.silences.get(id).cloned()
    }

    /// Makes a silence, or changes the one whose id is given: one that is over, or is about other alerts then, ends, and a new
    /// one takes its place. Returns the id. It is on disk then.
    ///
    /// # Errors
    /// `NotFound` when there is none with the id, `BadRequest` when it is wrong in itself.
    pub(crate) async fn set_silence(&self, tenant: &Tenant, mut text: SilenceText) -> Result<String, ApiError> {
        let _committing = self.committing.lock().await;
        let now_ms = self.now_ms();
        let before = match text.id.as_str() {
            "" => None,
            id => Some(self.silence(tenant, id).ok_or_else(|| ApiError::new(Kind::NotFound, "silence not found"))?),
        };
        let mut changes = Vec::new();
        let mut ended = None;
        text.updated_at_ms = now_ms;
        if let Some(before) = before {
            if can_change(&before, &text, now_ms) {
                // What holds already has begun when it did.
                if before.state(now_ms) == SilenceState::Active {
                    text.starts_at_ms = before.text.starts_at_ms;
                }
            } else {
                if before.state(now_ms) != SilenceState::Expired {
                    let over = end(before, now_ms);
                    changes.push(put_silence(tenant, &over.text));
                    ended = Some(over);
                }
                text.id = String::new();
            }
        }
        if text.id.is_empty() {
            // One that is made now cannot have begun before.
            text.starts_at_ms = text.starts_at_ms.max(now_ms);
            text.id = new_id(&text, self.clock.now_ns());
        }
        let silence = Silence::new(text).map_err(ApiError::bad_request)?;
        let old = self.forgotten(tenant, now_ms)?;
        changes.extend(old.iter().map(|id| storage::DocumentChange::Delete {
            kind: super::document::SILENCE,
            tenant: tenant.clone(),
            id: id.clone(),
        }));
        changes.push(put_silence(tenant, &silence.text));
        self.store.apply_documents(&changes).await?;
        let id = silence.text.id.clone();
        let mut state = self.state();
        let silences = &mut state.entry(tenant.clone()).or_default().silences;
        silences.retain(|id, _| !old.contains(id));
        silences.extend(ended.into_iter().chain([silence]).map(|silence| (silence.text.id.clone(), silence)));
        self.wake.notify_one();
        Ok(id)
    }

    /// Ends a silence now. One that is over already stays as it is.
    ///
    /// # Errors
    /// `NotFound` when there is none with the id.
    pub(crate) async fn expire_silence(&self, tenant: &Tenant, id: &str) -> Result<(), ApiError> {
        let _committing = self.committing.lock().await;
        let now_ms = self.now_ms();
        let silence = self.silence(tenant, id).ok_or_else(|| ApiError::new(Kind::NotFound, "silence not found"))?;
        if silence.state(now_ms) == SilenceState::Expired {
            return Ok(());
        }
        let over = end(silence, now_ms);
        self.store.apply_documents(&[put_silence(tenant, &over.text)]).await?;
        self.state().entry(tenant.clone()).or_default().silences.insert(id.to_owned(), over);
        Ok(())
    }

    /// The ids of silences that are over for long, and go when another is made.
    fn forgotten(&self, tenant: &Tenant, now_ms: i64) -> Result<Vec<String>, ApiError> {
        let state = self.state();
        let Some(state) = state.get(tenant) else { return Ok(Vec::new()) };
        let is_old = |silence: &&Silence| silence.text.ends_at_ms + KEPT_MS < now_ms;
        let old: Vec<String> = state.silences.values().filter(is_old).map(|silence| silence.text.id.clone()).collect();
        if state.silences.len() - old.len() >= SILENCES_MAX {
            return Err(ApiError::bad_request(format!("there are {SILENCES_MAX} silences already")));
        }
        Ok(old)
    }
}

/// What is said of other alerts, or of the past, is another silence.
fn can_change(before: &Silence, after: &SilenceText, now_ms: i64) -> bool {
    let mut matchers = [before.text.matchers.clone(), after.matchers.clone()];
    matchers.iter_mut().for_each(|list| list.sort());
    let [old, new] = matchers;
    let is_same = old == new && before.text.recurrence == after.recurrence;
    match before.state(now_ms) {
        _ if !is_same => false,
        SilenceState::Active => after.starts_at_ms == before.text.starts_at_ms && after.ends_at_ms >= now_ms,
        SilenceState::Pending if before.text.starts_at_ms <= now_ms => after.ends_at_ms >= now_ms,
        SilenceState::Pending => after.starts_at_ms >= now_ms,
        SilenceState::Expired => false,
    }
}

fn end(mut silence: Silence, now_ms: i64) -> Silence {
    let text = &mut silence.text;
    // One that has not begun never does.
    text.starts_at_ms = text.starts_at_ms.min(now_ms);
    text.ends_at_ms = now_ms;
    text.updated_at_ms = now_ms;
    silence
}

/// A UUID that nobody else has: of what is silenced, by whom, and when to the nanosecond.
fn new_id(text: &SilenceText, now_ns: i64) -> String {
    let hash = xxh3_128(format!("{now_ns} {text:?}").as_bytes());
    let (a, b) = ((hash >> 64) as u64, hash as u64);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xFFFF,
        a & 0xFFF,
        0x8000 | ((b >> 48) & 0x3FFF),
        b & 0xFFFF_FFFF_FFFF
    )
}
