//! Pruning, scan, LogQL and SQL.
