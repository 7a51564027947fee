//! The settings as they stand in the file. What is not given is `None`, so that a job can take it over from `global`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::text::{Bytes, Lapse, Secret};
use crate::scrape::relabel::Action;

/// Fields that come with every HTTP client, beside those of its owner: the two cannot be nested, because unknown fields
/// are refused.
macro_rules! with_http_client {
    ($(#[$outer:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$type>,
            )*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) basic_auth: Option<BasicAuthYaml>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) authorization: Option<AuthorizationYaml>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) bearer_token: Option<Secret>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) bearer_token_file: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) tls_config: Option<TlsYaml>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) follow_redirects: Option<bool>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) enable_http2: Option<bool>,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) http_headers: Option<BTreeMap<String, HeaderYaml>>,
        }

        impl $name {
            /// The fields of the HTTP client alone.
            pub(crate) fn http_client(&self) -> HttpClientYaml {
                HttpClientYaml {
                    basic_auth: self.basic_auth.clone(),
                    authorization: self.authorization.clone(),
                    bearer_token: self.bearer_token.clone(),
                    bearer_token_file: self.bearer_token_file.clone(),
                    tls_config: self.tls_config.clone(),
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    http_headers: self.http_headers.clone(),
                }
            }
        }
    };
}

pub(crate) use with_http_client;

/// The fields of an HTTP client.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are Prometheus's")]
pub(crate) struct HttpClientYaml {
    pub(crate) basic_auth: Option<BasicAuthYaml>,
    pub(crate) authorization: Option<AuthorizationYaml>,
    pub(crate) bearer_token: Option<Secret>,
    pub(crate) bearer_token_file: Option<String>,
    pub(crate) tls_config: Option<TlsYaml>,
    pub(crate) follow_redirects: Option<bool>,
    pub(crate) enable_http2: Option<bool>,
    pub(crate) http_headers: Option<BTreeMap<String, HeaderYaml>>,
}

macro_rules! fields {
    ($(#[$outer:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$type>,
            )*
        }
    };
}

fields! {
    /// The file.
    struct FileYaml {
        global: GlobalYaml,
        scrape_configs: Vec<Option<JobYaml>>,
        scrape_config_files: Vec<String>,
    }
}

fields! {
    /// What holds for every job that does not say otherwise.
    struct GlobalYaml {
        scrape_interval: Lapse,
        scrape_timeout: Lapse,
        scrape_protocols: Vec<String>,
        evaluation_interval: Lapse,
        rule_query_offset: Lapse,
        external_labels: BTreeMap<String, String>,
        body_size_limit: Bytes,
        sample_limit: u64,
        target_limit: u64,
        label_limit: u64,
        label_name_length_limit: u64,
        label_value_length_limit: u64,
        keep_dropped_targets: u64,
        metric_name_validation_scheme: String,
        metric_name_escaping_scheme: String,
        scrape_native_histograms: bool,
        convert_classic_histograms_to_nhcb: bool,
        always_scrape_classic_histograms: bool,
        extra_scrape_metrics: bool,
    }
}

with_http_client! {
    /// One of `scrape_configs`.
    struct JobYaml {
        job_name: String,
        scrape_interval: Lapse,
        scrape_timeout: Lapse,
        scrape_protocols: Vec<String>,
        fallback_scrape_protocol: String,
        scrape_native_histograms: bool,
        #[serde(alias = "scrape_classic_histograms")]
        always_scrape_classic_histograms: bool,
        convert_classic_histograms_to_nhcb: bool,
        extra_scrape_metrics: bool,
        metrics_path: String,
        scheme: String,
        params: BTreeMap<String, Vec<String>>,
        honor_labels: bool,
        honor_timestamps: bool,
        track_timestamps_staleness: bool,
        enable_compression: bool,
        body_size_limit: Bytes,
        sample_limit: u64,
        target_limit: u64,
        label_limit: u64,
        label_name_length_limit: u64,
        label_value_length_limit: u64,
        keep_dropped_targets: u64,
        metric_name_validation_scheme: String,
        metric_name_escaping_scheme: String,
        static_configs: Vec<Option<GroupYaml>>,
        file_sd_configs: Vec<FileDiscoveryYaml>,
        http_sd_configs: Vec<HttpDiscoveryYaml>,
        relabel_configs: Vec<Option<RuleYaml>>,
        metric_relabel_configs: Vec<Option<RuleYaml>>,
    }
}

fields! {
    /// Targets with labels that they share.
    struct GroupYaml {
        targets: Vec<String>,
        labels: BTreeMap<String, String>,
    }
}

fields! {
    /// Groups of targets in files.
    struct FileDiscoveryYaml {
        files: Vec<String>,
        refresh_interval: Lapse,
    }
}

with_http_client! {
    /// Groups of targets from a URL.
    struct HttpDiscoveryYaml {
        url: String,
        refresh_interval: Lapse,
    }
}

fields! {
    /// A rule that changes labels.
    struct RuleYaml {
        source_labels: Vec<String>,
        separator: String,
        /// `regex:` without a value is the empty expression, which is not the same as none.
        #[serde(deserialize_with = "null_is_empty")]
        regex: String,
        modulus: u64,
        target_label: String,
        replacement: String,
        action: Action,
    }
}

fields! {
    /// A user with a password.
    struct BasicAuthYaml {
        username: String,
        username_file: String,
        password: Secret,
        password_file: String,
    }
}

fields! {
    /// An `Authorization` header.
    struct AuthorizationYaml {
        #[serde(rename = "type")]
        scheme: String,
        credentials: Secret,
        credentials_file: String,
    }
}

fields! {
    /// How HTTPS is spoken.
    struct TlsYaml {
        ca: String,
        ca_file: String,
        cert: String,
        cert_file: String,
        key: Secret,
        key_file: String,
        server_name: String,
        insecure_skip_verify: bool,
        min_version: String,
        max_version: String,
    }
}

fields! {
    /// A header with values of which some may be secret.
    struct HeaderYaml {
        values: Vec<String>,
        secrets: Vec<Secret>,
        files: Vec<String>,
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Option::<String>::deserialize(deserializer)?.unwrap_or_default()))
}
