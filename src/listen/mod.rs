//! The doors: how bytes of a connection become requests.

pub(crate) mod http;
