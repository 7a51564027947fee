//! How OTLP becomes Prometheus.

use serde::Deserialize;

use super::names::TranslationStrategy;

/// How OTLP becomes Prometheus. The names of the settings are those of Prometheus's `otlp` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtlpMetricsOptions {
    /// How names are brought over.
    pub translation: TranslationStrategy,
    /// Resource attributes that become labels of every series.
    pub promote_resource_attributes: PromotedAttributes,
    /// `target_info` has `service.name`, `service.namespace` and `service.instance.id` as labels too.
    pub keep_identifying_resource_attributes: bool,
    /// The scope's name, version, schema and attributes become labels of every series (`otel_scope_...`).
    pub promote_scope_metadata: bool,
    /// Histograms of explicit bounds become native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// No `target_info` is made.
    pub without_target_info: bool,
}

/// Which resource attributes become labels of every series.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum PromotedAttributes {
    /// These.
    Only(Vec<String>),
    /// All but these.
    AllBut(Vec<String>),
}

impl Default for PromotedAttributes {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}
