//! How OTLP metrics become Prometheus's, as settings.

use ingest::delta::DeltaSettings;
use ingest::otlp_metrics::{OtlpMetricsOptions, PromotedAttributes, TranslationStrategy};
use serde::{Deserialize, Serialize};

use super::text::{Names, Span};

/// How OTLP metrics become Prometheus's. Most names are those of Prometheus's `otlp` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OtlpMetricsConfig {
    /// How names are brought over.
    pub(crate) translation_strategy: TranslationStrategy,
    /// Resource attributes that become labels of every series.
    pub(crate) promote_resource_attributes: Names,
    /// All of them do, but those of `ignore_resource_attributes`.
    pub(crate) promote_all_resource_attributes: bool,
    /// Those that do not, where all others do.
    pub(crate) ignore_resource_attributes: Names,
    /// `target_info` has the attributes as labels too that `job` and `instance` are made of.
    pub(crate) keep_identifying_resource_attributes: bool,
    /// Name, version, schema and attributes of the scope become labels of every series.
    pub(crate) promote_scope_metadata: bool,
    /// Histograms of explicit bounds become native ones with custom buckets.
    pub(crate) convert_histograms_to_nhcb: bool,
    /// Whether there is a series `target_info` for each resource.
    pub(crate) target_info: bool,
    /// What is done with points that say how much was added since the last one.
    pub(crate) deltas: DeltaMode,
    /// Streams of deltas that are added up at once.
    pub(crate) delta_streams_max: usize,
    /// A stream of deltas that is silent for so long is forgotten.
    pub(crate) delta_idle: Span,
}

/// What is done with points that say how much was added since the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeltaMode {
    /// They are added up, so that they read like any counter.
    Accumulate,
    /// They are kept as they are.
    Keep,
}

impl Default for OtlpMetricsConfig {
    fn default() -> Self {
        let deltas = DeltaSettings::default();
        Self {
            translation_strategy: TranslationStrategy::default(),
            promote_resource_attributes: Names::default(),
            promote_all_resource_attributes: false,
            ignore_resource_attributes: Names::default(),
            keep_identifying_resource_attributes: false,
            promote_scope_metadata: false,
            convert_histograms_to_nhcb: false,
            target_info: true,
            deltas: DeltaMode::Accumulate,
            delta_streams_max: deltas.streams_max,
            delta_idle: Span(std::time::Duration::from_millis(deltas.idle_ms_max.unsigned_abs())),
        }
    }
}

impl OtlpMetricsConfig {
    /// For the decoder.
    pub(crate) fn options(&self) -> OtlpMetricsOptions {
        OtlpMetricsOptions {
            translation: self.translation_strategy,
            promote_resource_attributes: match self.promote_all_resource_attributes {
                true => PromotedAttributes::AllBut(self.ignore_resource_attributes.0.clone()),
                false => PromotedAttributes::Only(self.promote_resource_attributes.0.clone()),
            },
            keep_identifying_resource_attributes: self.keep_identifying_resource_attributes,
            promote_scope_metadata: self.promote_scope_metadata,
            convert_histograms_to_nhcb: self.convert_histograms_to_nhcb,
            without_target_info: !self.target_info,
        }
    }

    /// For what adds deltas up.
    pub(crate) fn deltas(&self) -> DeltaSettings {
        DeltaSettings {
            streams_max: self.delta_streams_max,
            idle_ms_max: i64::try_from(self.delta_idle.0.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// What is wrong between values that are well-formed each.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.promote_all_resource_attributes && !self.promote_resource_attributes.0.is_empty() {
            let what = "otlp_metrics.promote_resource_attributes: all are promoted already; name what is not to be in \
                        otlp_metrics.ignore_resource_attributes";
            mistakes.push(what.to_owned());
        }
        if !self.promote_all_resource_attributes && !self.ignore_resource_attributes.0.is_empty() {
            let what = "otlp_metrics.ignore_resource_attributes: only has a meaning with \
                        otlp_metrics.promote_all_resource_attributes";
            mistakes.push(what.to_owned());
        }
        mistakes
    }
}
