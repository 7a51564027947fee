//! One resource a file.

pub(crate) mod buildinfo;
pub(crate) mod health;
