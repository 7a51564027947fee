//! The commands that are not the server: they talk to one over its network protocols, or look at its files.

pub(crate) mod check_config;
mod http;
pub(crate) mod import;
mod print;
pub(crate) mod query;
pub(crate) mod rules;
pub(crate) mod tail;
pub(crate) mod verify;
