//! The handlers of the HTTP APIs, one file a resource.

pub(crate) mod admin;
pub(crate) mod alertmanager;
pub(crate) mod buildinfo;
pub(crate) mod export;
pub(crate) mod health;
pub(crate) mod loki;
pub(crate) mod metrics;
pub(crate) mod params;
pub(crate) mod probes;
pub(crate) mod prometheus;
pub(crate) mod push;
pub(crate) mod rules;
pub(crate) mod sql;
