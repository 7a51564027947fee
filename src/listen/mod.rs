//! The doors: how bytes of a connection become requests.

pub(crate) mod grpc;
pub(crate) mod http;
