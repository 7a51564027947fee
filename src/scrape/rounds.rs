//! The rounds of one target: wait, ask, read, report, hand over the batch; never two at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use storage::Clock;
use storage::metrics::{MetricBatch, MetricBatchBuilder};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::append::{self, Appended};
use super::cache::SeriesCache;
use super::client::{Answer, AskError, Asked, HttpClient};
use super::config::Job;
use super::report::{self, Report};
use super::target::{Health, Status, Target};

/// Where batches go: it keeps them, or says why not.
pub(crate) type Sink = Arc<dyn Fn(MetricBatch) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A body may be so long when the job says nothing.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// Timers are late by a little each time; times that are equally far apart take less room.
const TOLERANCE: Duration = Duration::from_millis(2);
/// Bodies above this are read on a thread of their own.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// What the rounds of every target share.
#[derive(Clone)]
pub(crate) struct Means {
    /// Where batches go.
    pub(crate) sink: Sink,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// Moves the rounds of this server against those of others.
    pub(crate) seed: u64,
}

/// One target on its rounds.
pub(super) struct Rounds {
    pub(super) job: Arc<Job>,
    pub(super) target: Arc<Target>,
    pub(super) client: Arc<HttpClient>,
    pub(super) means: Means,
    pub(super) cache: SeriesCache,
    /// Why its scrapes fail whatever it answers.
    pub(super) forced: watch::Receiver<Option<String>>,
    pub(super) stop: CancellationToken,
}

/// What is left of a target's rounds.
pub(super) struct Ended {
    pub(super) cache: SeriesCache,
    /// When the next scrape would have been.
    pub(super) next: tokio::time::Instant,
    pub(super) was_scraped: bool,
}

impl Rounds {
    /// Goes on until it is stopped; a scrape that runs then is given up.
    pub(super) async fn run(mut self) -> Ended {
        let (interval, stop) = (self.target.interval.0, self.stop.clone());
        let first = tokio::time::Instant::now() + self.offset();
        let mut ticks = tokio::time::interval_at(first, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut next = first;
        let mut aligned: Option<i64> = None;
        let mut was_scraped = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                tick = ticks.tick() => next = tick + interval,
            }
            let time = self.align(&mut aligned);
            if !self.scrape(time, !was_scraped).await {
                break;
            }
            was_scraped = true;
        }
        Ended { cache: self.cache, next, was_scraped }
    }

    /// Until the first round: every target has its place in the interval, whenever it is found.
    fn offset(&self) -> Duration {
        let interval = u64::try_from(self.target.interval.0.as_nanos()).unwrap_or(u64::MAX).max(1);
        let now = self.means.clock.now_ns().rem_euclid(i64::try_from(interval).unwrap_or(i64::MAX)) as u64;
        let place = (self.target.hash() ^ self.means.seed) % interval;
        Duration::from_nanos((place + interval - now) % interval)
    }

    /// The time of a scrape in nanoseconds: that of the plan, when the timer is late by next to nothing.
    fn align(&self, aligned: &mut Option<i64>) -> i64 {
        let now = self.means.clock.now_ns();
        let interval = i64::try_from(self.target.interval.0.as_nanos()).unwrap_or(i64::MAX).max(1);
        let tolerance = i64::try_from(TOLERANCE.as_nanos()).unwrap_or(0).min(interval / 100);
        let planned = aligned.map_or(now, |last| last + (now - last).max(0) / interval * interval);
        *aligned = Some(planned);
        if (0..=tolerance).contains(&(now - planned)) { planned } else { now }
    }

    /// One scrape. False when it was given up.
    async fn scrape(&mut self, time_ns: i64, is_first: bool) -> bool {
        let started = Instant::now();
        let timestamp = time_ns.div_euclid(1_000_000);
        let forced = self.forced.borrow().clone();
        let answer = match forced {
            Some(why) => Err(AskError::Other(why)),
            None => {
                let stop = self.stop.clone();
                tokio::select! {
                    answer = self.ask() => answer,
                    () = stop.cancelled() => return false,
                }
            }
        };
        let mut report = Report::default();
        if let Err(AskError::BodySize(_)) = answer {
            report.body_bytes = -1;
        }
        let mut builder = self.read(answer, &mut report, timestamp).await;
        report.duration = started.elapsed();
        report.put(&self.job, &self.target, &mut builder, timestamp, is_first);
        if let Some(metadata) = self.cache.changed_metadata() {
            self.target.set_metadata(metadata);
        }
        self.say(&report);
        self.target.report(Status {
            health: if report.error.is_none() { Health::Up } else { Health::Down },
            last_error: report.error.unwrap_or_default(),
            last_scrape_ns: Some(time_ns),
            last_duration: report.duration,
        });
        keep(&self.means.sink, &self.target, builder.finish()).await;
        true
    }

    async fn ask(&self) -> Result<Answer, AskError> {
        let timeout = self.target.timeout.0;
        let (accept, seconds) = (self.job.accept(), timeout.as_secs_f64().to_string());
        let limit = self.job.limits.body_size;
        let asked = Asked {
            url: &self.target.url,
            headers: &[("accept", &accept), ("x-prometheus-scrape-timeout-seconds", &seconds)],
            gzip: self.job.enable_compression,
            body_bytes_max: if limit == 0 { BODY_BYTES_MAX } else { limit },
            timeout,
        };
        self.client.get(&asked).await
    }

    /// Reads an answer into a batch. Without one, or when it cannot be read, the batch only says what ended.
    async fn read(
        &mut self,
        answer: Result<Answer, AskError>,
        report: &mut Report,
        timestamp: i64,
    ) -> MetricBatchBuilder {
        self.cache.begin();
        let mut builder = MetricBatchBuilder::default();
        let answer = answer.map_err(|error| error.to_string()).and_then(|answer| {
            report.body_bytes = answer.body.len() as i64;
            // Who says nothing need not say in which language.
            let format = if answer.body.is_empty() {
                ingest::exposition::Format::Text
            } else {
                append::format_of(&answer.content_type, &self.job)?
            };
            Ok((answer.body, format))
        });
        match answer {
            Ok((body, format)) => {
                let (job, target) = (Arc::clone(&self.job), Arc::clone(&self.target));
                let mut cache = std::mem::take(&mut self.cache);
                let is_short = body.len() <= INLINE_BYTES_MAX;
                let work = move || {
                    let mut builder = MetricBatchBuilder::with_capacity(body.len() / 100, body.len() * 2);
                    let places = (job.as_ref(), target.as_ref());
                    let appended = append::append(places, &mut cache, &mut builder, (&body, format), timestamp);
                    if appended.error.is_none() {
                        cache.finish(&mut builder, timestamp);
                    } else {
                        builder = MetricBatchBuilder::default();
                        cache.fail(&mut builder, timestamp);
                    }
                    (cache, builder, appended)
                };
                let done = if is_short { Ok(work()) } else { tokio::task::spawn_blocking(work).await };
                match done {
                    Ok((cache, made, appended)) => {
                        (self.cache, builder) = (cache, made);
                        report.error.clone_from(&appended.error);
                        report.appended = appended;
                    }
                    Err(error) => report.error = Some(format!("read the answer: {error}")),
                }
            }
            Err(why) => {
                self.cache.fail(&mut builder, timestamp);
                report.error = Some(why);
            }
        }
        builder
    }

    fn say(&self, report: &Report) {
        let Appended { duplicates, out_of_bounds, .. } = report.appended;
        let (job, target) = (self.job.name.as_str(), self.target.url.as_str());
        if let Some(error) = &report.error
            && self.target.status().last_error != *error
        {
            // Once for every new reason: the API has it as long as it lasts.
            tracing::debug!(job, target, "scrape failed: {error}");
        }
        if duplicates > 0 {
            tracing::warn!(job, target, duplicates, "samples were dropped: their series have one at that time already");
        }
        if out_of_bounds > 0 {
            tracing::warn!(
                job,
                target,
                out_of_bounds,
                "samples were dropped: their time is too far ahead, or before 1970"
            );
        }
    }
}

/// Marks everything of a target that is gone as ended.
pub(super) async fn end(means: &Means, job: &Job, target: &Target, mut cache: SeriesCache, time_ns: i64) {
    let timestamp = time_ns.div_euclid(1_000_000);
    let mut builder = MetricBatchBuilder::default();
    cache.end(&mut builder, timestamp);
    report::put_ended(job, target, &mut builder, timestamp);
    keep(&means.sink, target, builder.finish()).await;
}

async fn keep(sink: &Sink, target: &Target, batch: MetricBatch) {
    if let Err(error) = sink(batch).await {
        tracing::error!(target = target.url, "what was scraped is lost: {error}");
    }
}
