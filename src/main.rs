//! Farol: logs, metrics and traces in one binary.

fn main() {}
