//! Scraping against servers in the same process: what reaches the sink, and what the API shows.

#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod discovery;
mod http;
mod limits;
mod rounds;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use storage::SystemClock;
use storage::metrics::{MetricBatch, is_stale, labels_of};
use tokio_util::sync::CancellationToken;

use super::*;

/// What a server answers, and what it was asked.
#[derive(Debug, Clone)]
struct Answers {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    asked: Vec<(Uri, HeaderMap)>,
}

/// A target in this process.
#[derive(Debug, Clone)]
struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
}

impl Server {
    async fn start(body: &str) -> Self {
        let answers = Arc::new(Mutex::new(Answers {
            status: StatusCode::OK,
            headers: vec![("content-type", "text/plain; version=0.0.4".to_owned())],
            body: body.as_bytes().to_vec(),
            asked: Vec::new(),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&answers));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, answers }
    }

    fn set(&self, body: &str) {
        self.change(|answers| answers.body = body.as_bytes().to_vec());
    }

    fn change(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.answers.lock().unwrap());
    }

    fn asked(&self) -> Vec<(Uri, HeaderMap)> {
        self.answers.lock().unwrap().asked.clone()
    }
}

async fn answer(State(answers): State<Arc<Mutex<Answers>>>, uri: Uri, headers: HeaderMap) -> Response {
    let mut answers = answers.lock().unwrap();
    answers.asked.push((uri, headers));
    let mut response = (answers.status, Bytes::from(answers.body.clone())).into_response();
    response.headers_mut().clear();
    for (name, value) in &answers.headers {
        response.headers_mut().insert(*name, HeaderValue::from_str(value).unwrap());
    }
    response
}

/// A manager whose batches are looked at.
struct Scraping {
    manager: Arc<ScrapeManager>,
    batches: Arc<Mutex<Vec<MetricBatch>>>,
    shutdown: CancellationToken,
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

impl Scraping {
    fn start(yaml: &str) -> Self {
        let config = config(yaml);
        let batches: Arc<Mutex<Vec<MetricBatch>>> = Arc::default();
        let into = Arc::clone(&batches);
        let sink: Sink = Arc::new(move |batch| {
            into.lock().unwrap().push(batch);
            Box::pin(async { Ok(()) })
        });
        let shutdown = CancellationToken::new();
        let own = "127.0.0.1:7600".parse().unwrap();
        let manager = ScrapeManager::start(config, own, sink, Arc::new(SystemClock), shutdown.clone());
        Self { manager, batches, shutdown }
    }

    /// Everything that came since the last look, one line a sample.
    fn take(&self) -> Vec<Vec<String>> {
        let mut batches = self.batches.lock().unwrap();
        batches.drain(..).map(|batch| lines(&batch)).collect()
    }

    /// Waits for a scrape of which `wanted` says so; the ones before are passed over.
    async fn wait_for(&self, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        let waiting = async {
            loop {
                for lines in self.take() {
                    if wanted(&lines) {
                        return lines;
                    }
                    seen.push(lines);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("it did not come: {:#?}", self.manager.targets()),
        }
    }

    /// Waits for a scrape that has a line which begins so.
    async fn wait(&self, start: &str) -> Vec<String> {
        self.wait_for(|lines| lines.iter().any(|line| line.starts_with(start))).await
    }

    /// Waits until `is_so`.
    async fn until(&self, is_so: impl Fn(&ScrapeManager) -> bool) {
        let waiting = async {
            while !is_so(&self.manager) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{:#?}", self.manager.targets());
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.manager.ended().await;
    }
}

fn config(yaml: &str) -> ScrapeConfig {
    ScrapeConfig::parse(yaml, Path::new("scrape.yml")).unwrap()
}

/// A job of one target that is scraped all the time.
fn job(target: SocketAddr, more: &str) -> String {
    format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n- job_name: j\n  \
         static_configs: [{{targets: ['{target}'], labels: {{instance: i}}}}]\n{more}"
    )
}

/// Why the last scrape of the first target failed.
fn error_of(manager: &ScrapeManager) -> String {
    let pools = manager.targets();
    pools.first().and_then(|pool| pool.seen.active.first()).map(|target| target.status().last_error).unwrap_or_default()
}

/// The samples of a batch: name, labels but those of the target, value.
fn lines(batch: &MetricBatch) -> Vec<String> {
    let name_of = |series: u32| {
        let labels: Vec<(&str, &str)> = labels_of(batch.series(series as usize).label_bytes).collect();
        let name = labels.iter().find(|(name, _)| *name == "__name__").map_or("", |(_, value)| value);
        let own = [("job", "j"), ("instance", "i")];
        let rest: Vec<String> = labels
            .iter()
            .filter(|pair| pair.0 != "__name__" && !own.contains(pair))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if rest.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", rest.join(",")) }
    };
    let value = |value: f64| if is_stale(value) { "stale".to_owned() } else { value.to_string() };
    let plain = batch.samples().map(|(series, _, v)| format!("{} {}", name_of(series), value(v)));
    let histograms =
        batch.histograms().iter().map(|h| format!("{} histogram {}", name_of(h.series), value(h.histogram.sum)));
    let mut all: Vec<String> = plain.chain(histograms).collect();
    all.sort();
    all
}

/// Without the reports of the scrape itself.
fn without_reports(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| !line.starts_with("scrape_") && !line.starts_with("up ")).collect()
}
