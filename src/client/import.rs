//! `farol import`: log files into a server, over its own protocols, with retries that count once.
//!
//! Every request has an idempotency key made of the file, the place in it and the content: when an answer is lost,
//! or the command is run again on the same file, the server takes each request once.

mod batch;
mod input;
mod recognise;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use serde::Deserialize;
use storage::{Clock, SystemClock};

use crate::cli::{ImportArgs, ImportFormat};
use crate::client::http::{Client, Post};
use batch::{Batch, JsonBatch, TextBatch};
use input::{Found, Input};

/// How often growing files are looked at.
const FOLLOW_PAUSE: Duration = Duration::from_millis(250);
/// Refused lines of which the reason is printed; of more, only the number.
const REFUSED_SHOWN: usize = 10;

/// What was done.
#[derive(Debug, Default)]
struct Tally {
    lines: u64,
    refused: u64,
    requests: u64,
}

/// A file with what is gathered of it.
struct Import {
    input: Input,
    batch: Box<dyn Batch>,
    line_number: u64,
}

/// The answer of the JSON lines door.
#[derive(Debug, Deserialize)]
struct JsonLinesAnswer {
    #[serde(default)]
    refused: Vec<RefusedLine>,
    #[serde(default)]
    refused_count: u64,
}

#[derive(Debug, Deserialize)]
struct RefusedLine {
    line: usize,
    reason: String,
}

/// Sends every file; with `--follow`, until it is interrupted.
///
/// # Errors
/// When a file cannot be read, or the server does not take a request for good.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    crate::telemetry::init_client();
    let client = Client::new(&args.server);
    let bar = progress_bar(args);
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut followed = Vec::new();
    for path in &args.files {
        let input = Input::open(path, &bar)?;
        bar.set_message(input.name.clone());
        let mut import = Import::new(input, args)?;
        import.send_all(&client, args, &mut tally)?;
        if import.input.can_grow() {
            followed.push(import);
        }
    }
    bar.finish_and_clear();
    let Tally { lines, refused, requests } = tally;
    eprintln!(
        "{} lines ({}) in {:.1} s, {} requests, {} refused",
        HumanCount(lines),
        HumanBytes(bar.position()),
        started.elapsed().as_secs_f64(),
        HumanCount(requests),
        HumanCount(refused),
    );
    if args.follow && !followed.is_empty() {
        follow(&mut followed, &client, args)?;
    }
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn follow(imports: &mut [Import], client: &Client, args: &ImportArgs) -> anyhow::Result<ExitCode> {
    eprintln!("following {} file(s): interrupt to end", imports.len());
    let mut tally = Tally::default();
    loop {
        for import in imports.iter_mut() {
            import.send_all(client, args, &mut tally)?;
            if import.input.follow_rotation(&ProgressBar::hidden())? {
                import.line_number = 0;
                import.send_all(client, args, &mut tally)?;
            }
        }
        std::thread::sleep(FOLLOW_PAUSE);
    }
}

impl Import {
    fn new(mut input: Input, args: &ImportArgs) -> anyhow::Result<Self> {
        let mut labels =
            vec![("filename".to_owned(), input.filename.clone()), ("job".to_owned(), input.job().to_owned())];
        for (name, value) in &args.labels {
            labels.retain(|(known, _)| known != name);
            labels.push((name.clone(), value.clone()));
        }
        let first = input.next_line(args.follow)?;
        let now = SystemClock.now_ns();
        let is_json = match (args.format, &first) {
            (ImportFormat::Text, _) => false,
            (ImportFormat::Json, _) => true,
            (ImportFormat::Auto, Found::Line(line)) => line.trim_ascii_start().starts_with(b"{"),
            (ImportFormat::Auto, Found::End) => false,
        };
        let lines_max = args.batch as usize;
        let batch: Box<dyn Batch> = if is_json {
            Box::new(JsonBatch::new(&labels, lines_max))
        } else {
            let default_time = input.modified.unwrap_or(now);
            Box::new(TextBatch::new(&labels, default_time, now, (lines_max, args.multiline)))
        };
        let mut import = Self { input, batch, line_number: 0 };
        if let Found::Line(line) = first {
            import.add(&line);
        }
        Ok(import)
    }

    /// Sends all that is there.
    fn send_all(&mut self, client: &Client, args: &ImportArgs, tally: &mut Tally) -> anyhow::Result<()> {
        while let Found::Line(line) = self.input.next_line(args.follow)? {
            // A full batch is sent when the next line is there, which may belong to the last record.
            if self.batch.is_full() {
                self.send(client, args, tally)?;
            }
            self.add(&line);
            if self.input.may_wait() {
                self.send(client, args, tally)?;
            }
        }
        self.send(client, args, tally)
    }

    fn add(&mut self, line: &[u8]) {
        self.line_number += 1;
        if !line.is_empty() {
            self.batch.add(&String::from_utf8_lossy(line), self.line_number);
        }
    }

    fn send(&mut self, client: &Client, args: &ImportArgs, tally: &mut Tally) -> anyhow::Result<()> {
        if self.batch.lines() == 0 {
            return Ok(());
        }
        let request = self.batch.take();
        let key = self.idempotency_key(&request.body);
        let post = Post { path: &request.path, content_type: request.content_type, body: &request.body, key: &key };
        let answer = client
            .post(&post, args.retries)
            .with_context(|| format!("{} up to line {}", self.input.name, self.line_number))?;
        let refused = self.report_refused(&answer, &request.numbers)?;
        tally.requests += 1;
        tally.lines += request.lines as u64 - refused;
        tally.refused += refused;
        Ok(())
    }

    /// Prints which lines the server did not take. How many they were.
    fn report_refused(&self, answer: &str, numbers: &[u64]) -> anyhow::Result<u64> {
        if answer.trim().is_empty() {
            return Ok(0);
        }
        let answer: JsonLinesAnswer = serde_json::from_str(answer).context("read the server's answer")?;
        for refused in answer.refused.iter().take(REFUSED_SHOWN) {
            let Some(number) = refused.line.checked_sub(1).and_then(|at| numbers.get(at)) else {
                bail!("the server refused line {} of a request of {}", refused.line, numbers.len());
            };
            eprintln!("{}:{number}: refused: {}", self.input.name, refused.reason);
        }
        Ok(answer.refused_count)
    }

    /// The same for the same lines at the same place of the same file.
    fn idempotency_key(&self, body: &[u8]) -> String {
        let hash = |seed: u64| {
            let mut hasher = DefaultHasher::new();
            (seed, &self.input.filename, self.line_number, body).hash(&mut hasher);
            hasher.finish()
        };
        // Standard input has no place that could come again.
        let run = if self.input.modified.is_none() { std::process::id() } else { 0 };
        format!("import-{run}-{:016x}{:016x}", hash(1), hash(2))
    }
}

fn progress_bar(args: &ImportArgs) -> ProgressBar {
    if args.quiet {
        return ProgressBar::hidden();
    }
    let sizes = args.files.iter().map(|path| std::fs::metadata(path).ok().map(|about| about.len()));
    let bar = match sizes.sum::<Option<u64>>() {
        Some(bytes) => ProgressBar::new(bytes),
        None => ProgressBar::new_spinner(),
    };
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}
