//! The commands that are not the server: they talk to one over its network protocols, or look at its files.

pub(crate) mod check_config;
