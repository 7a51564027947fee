//! Scraping: asks the targets of Prometheus's `scrape_configs` for their metrics, again and again.
//!
//! Flow: settings ([`config`]) -> sources of targets ([`discovery`]) -> targets ([`target`], after [`relabel`]) -> rounds
//! of each target ([`rounds`]): ask ([`client`]), read ([`append`]), report -> one batch a scrape, to the [`Sink`].
//! Promise: a target is never asked twice at once; a scrape that fails leaves nothing but the mark that its series ended
//! and `up` 0; a series that ends is marked once. After Prometheus's `scrape`, `discovery` and `model/relabel`.

mod append;
mod cache;
pub(crate) mod client;
pub(crate) mod config;
mod departed;
mod discovery;
mod labels;
mod manager;
mod pool;
mod relabel;
mod report;
mod rounds;
mod target;
mod tls;

pub(crate) use config::{Lapse, ScrapeConfig, ScrapeConfigError};
pub(crate) use labels::LabelMap;
pub(crate) use manager::{Own, ScrapeManager};
pub(crate) use rounds::Sink;
pub(crate) use target::{About, Target};

#[cfg(test)]
mod tests;
