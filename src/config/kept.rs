//! What is kept, beyond one rule for all: rules of single tenants, and fewer samples of old days.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{OrOff, Size, Span};

/// What is kept of one tenant, of all signals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantKept {
    /// Whose.
    pub(crate) tenant: String,
    /// In the place of `storage.retention`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retention: Option<OrOff<Span>>,
    /// The tenant's part of `storage.size_max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size_max: Option<OrOff<Size>>,
}

/// Fewer samples of days that are over for so long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Downsample {
    /// Since the end of the day.
    pub(crate) after: Span,
    /// One sample is kept for each.
    pub(crate) resolution: Span,
}

impl TenantKept {
    /// For the store, in which `retention` counts for all others.
    pub(super) fn kept(&self, retention: OrOff<Span>) -> storage::Kept {
        storage::Kept {
            retention: self.retention.unwrap_or(retention).set().map(|span| span.0),
            size_bytes_max: self.size_max.and_then(|size| size.set().map(|size| size.0)),
        }
    }

    /// What is wrong with it.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Err(e) = storage::Tenant::new(&self.tenant) {
            mistakes.push(format!("storage.tenants: {e}"));
        }
        if let Some(OrOff::Set(span)) = self.retention
            && span.0 < Duration::from_secs(3600)
        {
            mistakes.push(format!("storage.tenants: retention {span} of {:?} is too short: at least 1h", self.tenant));
        }
        mistakes
    }
}

impl Downsample {
    /// For the store.
    pub(super) fn rule(&self) -> storage::Downsampling {
        storage::Downsampling {
            after_ns: i64::try_from(self.after.0.as_nanos()).unwrap_or(i64::MAX),
            resolution_ms: u32::try_from(self.resolution.0.as_millis()).unwrap_or(u32::MAX),
        }
    }

    /// What is wrong with it.
    pub(super) fn mistake(&self) -> Option<String> {
        let seconds = self.resolution.0.as_secs_f64();
        let fits = (1.0..=86_400.0).contains(&seconds) && 86_400.0 % seconds == 0.0;
        let resolution = self.resolution;
        (!fits).then(|| {
            format!("storage.downsample: resolution {resolution} does not cut a day into equal spans of 1s or more")
        })
    }
}
