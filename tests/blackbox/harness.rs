//! Starts and stops the binary under test and speaks HTTP to it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a start, a stop or an answer may take before the test gives up. No test asserts a time below it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder for one test's data, removed at its end.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.path().join("server.log")
    }
}

/// A running server. Dropped without [`Server::stop`], it is killed.
pub(crate) struct Server {
    child: Child,
    url: String,
    log: PathBuf,
    agent: ureq::Agent,
}

/// Status and body of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body of an answer that must be a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        self
    }
}

/// The binary with `arguments`, before it is started.
pub(crate) fn farol(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farol"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

impl Server {
    /// Its HTTP address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn start(folder: &Folder) -> Self {
        Self::start_with(folder, &[])
    }

    pub(crate) fn start_with(folder: &Folder, arguments: &[&str]) -> Self {
        let port = free_port();
        let log = File::options().create(true).append(true).open(folder.log()).expect("log file");
        let child = farol(&["serve", "--otlp-http", "off", "--otlp-grpc", "off"])
            .arg("--data")
            .arg(folder.data())
            .arg("--http")
            .arg(format!("127.0.0.1:{port}"))
            .args(arguments)
            .stdout(log.try_clone().expect("log handle"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        let mut server =
            Self { child, url: format!("http://127.0.0.1:{port}"), log: folder.log(), agent: config.into() };
        server.wait_ready();
        server
    }

    fn wait_ready(&mut self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(code) = self.child.try_wait().expect("child state") {
                panic!("the server ended with {code}: {}", self.log_text());
            }
            if self.agent.get(format!("{}/ready", self.url)).call().is_ok_and(|r| r.status() == 200) {
                return;
            }
            sleep(Duration::from_millis(20));
        }
        panic!("not ready: {}", self.log_text());
    }

    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.get_as("default", path, query)
    }

    pub(crate) fn get_as(&self, tenant: &str, path: &str, query: &[(&str, &str)]) -> Answer {
        let request = self.agent.get(format!("{}{path}", self.url)).header("X-Scope-OrgID", tenant);
        answer(query.iter().fold(request, |r, (k, v)| r.query(k, v)).call())
    }

    pub(crate) fn post(
        &self,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let request = self.agent.post(format!("{}{path}", self.url)).header("Content-Type", content_type);
        answer(headers.iter().fold(request, |r, (k, v)| r.header(*k, *v)).send(body.as_ref()))
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        answer(self.agent.delete(format!("{}{path}", self.url)).call())
    }

    pub(crate) fn post_json(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.post(path, "application/json", headers, body.to_string())
    }

    /// Everything received goes into segments, and compaction runs until nothing is left.
    pub(crate) fn flush(&self) {
        self.post("/farol/api/v1/admin/flush?compact=true", "application/json", &[], "").ok();
    }

    /// The lines of a LogQL query over all time, oldest first.
    #[track_caller]
    pub(crate) fn lines(&self, query: &str) -> Vec<String> {
        self.lines_as("default", query)
    }

    #[track_caller]
    pub(crate) fn lines_as(&self, tenant: &str, query: &str) -> Vec<String> {
        let parameters = [
            ("query", query),
            ("start", "0"),
            ("end", "4000000000000000000"),
            ("limit", "5000"),
            ("direction", "forward"),
        ];
        let answer = self.get_as(tenant, "/loki/api/v1/query_range", &parameters).ok().json();
        let mut entries: Vec<(i128, String)> = Vec::new();
        for stream in answer["data"]["result"].as_array().expect("streams") {
            for value in stream["values"].as_array().expect("values") {
                let time = value[0].as_str().and_then(|t| t.parse().ok()).expect("a time in nanoseconds");
                entries.push((time, value[1].as_str().expect("a line").to_owned()));
            }
        }
        entries.sort_by_key(|(time, _)| *time);
        entries.into_iter().map(|(_, line)| line).collect()
    }

    /// Address and port of the HTTP API.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// SIGHUP.
    pub(crate) fn reload(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg("-HUP").arg(pid).status().expect("kill command").success());
    }

    /// SIGTERM; the exit code must be 0 and the log without a warning that `expected` does not name.
    #[track_caller]
    pub(crate) fn stop(mut self, expected: &[&str]) {
        let pid = i32::try_from(self.child.id()).expect("pid");
        Command::new("kill").arg("-TERM").arg(pid.to_string()).status().expect("kill command");
        let begun = Instant::now();
        loop {
            if let Some(code) = self.child.try_wait().expect("child state") {
                assert_eq!(code.code(), Some(0), "exit code; log: {}", self.log_text());
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "did not stop: {}", self.log_text());
            sleep(Duration::from_millis(20));
        }
        let log = self.log_text();
        let unexpected: Vec<&str> = log
            .lines()
            .filter(|l| l.contains(" WARN ") || l.contains(" ERROR ") || l.contains("panicked"))
            .filter(|l| !expected.iter().any(|e| l.contains(e)))
            .collect();
        assert!(unexpected.is_empty(), "unexpected in the log: {unexpected:#?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `kill` and `stop`; the error of a second kill says just that.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = result.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().expect("a body");
    Answer { status, body: String::from_utf8_lossy(&body).into_owned(), headers }
}

/// Every file below `folder`, by name.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
