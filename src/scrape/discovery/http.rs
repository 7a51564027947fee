//! `http_sd_configs`: groups of targets as JSON from a URL, asked again and again.

use std::sync::Arc;

use super::{Finder, Group, groups_of};
use crate::scrape::client::{Asked, HttpClient};
use crate::scrape::config::HttpDiscovery;

/// The longest list of targets.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Asks at once, then after every refresh interval. Ends when nobody listens any more.
pub(crate) async fn watch_url(settings: HttpDiscovery, client: Arc<HttpClient>, finder: Finder) {
    let mut sent: Option<Vec<Group>> = None;
    loop {
        let asked = tokio::select! {
            asked = ask(&settings, &client) => asked,
            () = finder.found.closed() => return,
        };
        match asked {
            Ok(groups) if sent.as_ref() != Some(&groups) => {
                if !finder.send(groups.clone()).await {
                    return;
                }
                sent = Some(groups);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(job = finder.job, "ask {} for targets: {error}", settings.url),
        }
        tokio::select! {
            () = tokio::time::sleep(settings.refresh_interval) => {}
            () = finder.found.closed() => return,
        }
    }
}

async fn ask(settings: &HttpDiscovery, client: &HttpClient) -> Result<Vec<Group>, String> {
    let seconds = settings.refresh_interval.as_secs_f64().to_string();
    let asked = Asked {
        url: &settings.url,
        headers: &[("accept", "application/json"), ("x-prometheus-refresh-interval-seconds", &seconds)],
        gzip: true,
        body_bytes_max: BODY_BYTES_MAX,
        timeout: settings.refresh_interval,
    };
    let answer = client.get(&asked).await.map_err(|error| error.to_string())?;
    let media_type = answer.content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(format!("the answer is {:?}, not application/json", answer.content_type));
    }
    let text = std::str::from_utf8(&answer.body).map_err(|_| "the answer is not UTF-8".to_owned())?;
    groups_of(text, true, &settings.url, "__meta_url")
}
