//! Prometheus's HTTP API, one resource a file.

pub(crate) mod targets;
