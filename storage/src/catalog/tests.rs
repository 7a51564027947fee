//! The catalog: commits, damage, and what recovery makes of every state.
#![allow(clippy::unwrap_used, reason = "tests")]
