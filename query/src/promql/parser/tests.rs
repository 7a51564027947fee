//! The language by examples.
