//! Alerting: rules over logs and metrics, evaluated on time, whose alerts go to the notifier.

mod event;
pub(crate) mod rule;
pub(crate) mod state;

pub(crate) use event::{Alert, AlertContext};
