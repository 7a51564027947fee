//! The targets of one job: found, made, started and stopped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::HttpClient;
use super::config::Job;
use super::departed::Departed;
use super::discovery::{Finder, Found, Group, watch_files, watch_url};
use super::labels::LabelMap;
use super::rounds::{self, Ended, Means, Rounds};
use super::target::{Made, Target};

/// Sources that change together are taken together.
const GATHER: Duration = Duration::from_millis(100);
/// How often files with targets are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// News of sources that wait to be taken.
const NEWS_MAX: usize = 16;

/// What pools share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) means: Means,
    pub(super) departed: Arc<Departed>,
    /// Everything that runs, so that the end can wait for it.
    pub(super) tasks: TaskTracker,
    /// The server ends: nothing is marked as ended, because the next start goes on.
    pub(super) shutdown: CancellationToken,
}

/// What can be seen of a job's targets.
#[derive(Debug, Default)]
pub(super) struct View(Mutex<Seen>);

/// A job's targets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Those that are scraped.
    pub(crate) active: Vec<Arc<Target>>,
    /// The labels, before the rules, of those that a rule drops; as many as are kept.
    pub(crate) dropped: Vec<LabelMap>,
    /// How many those are.
    pub(crate) dropped_count: usize,
}

impl View {
    pub(super) fn get(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, seen: Seen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}

/// A pool that runs.
#[derive(Debug)]
pub(super) struct PoolHandle {
    pub(super) job: Arc<Job>,
    pub(super) view: Arc<View>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl PoolHandle {
    /// Stops all targets and waits for that.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!(job = self.job.name, "the targets of the job ended in a panic");
        }
    }
}

struct Running {
    target: Arc<Target>,
    stop: CancellationToken,
    rounds: JoinHandle<Ended>,
}

struct Pool {
    job: Arc<Job>,
    client: Arc<HttpClient>,
    shared: Shared,
    view: Arc<View>,
    /// Targets of the same job with other settings, to go on from.
    before: HashMap<u64, Arc<Target>>,
    running: HashMap<u64, Running>,
    forced: watch::Sender<Option<String>>,
}

/// Starts a job.
pub(super) fn start(job: Arc<Job>, shared: &Shared, before: Vec<Arc<Target>>) -> PoolHandle {
    let view = Arc::new(View::default());
    let stop = shared.shutdown.child_token();
    let pool = Pool {
        client: Arc::new(HttpClient::new(job.http.clone())),
        job: Arc::clone(&job),
        shared: shared.clone(),
        view: Arc::clone(&view),
        before: before.into_iter().map(|target| (target.hash(), target)).collect(),
        running: HashMap::new(),
        forced: watch::Sender::new(None),
    };
    let task = shared.tasks.spawn(pool.run(stop.clone()));
    PoolHandle { job, view, stop, task }
}

impl Pool {
    async fn run(mut self, stop: CancellationToken) {
        let (news, mut found) = mpsc::channel(NEWS_MAX);
        let mut groups = vec![self.job.static_groups.clone()];
        self.look_for_targets(&news, &mut groups);
        drop(news);
        self.sync(&groups).await;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(Found { source, groups: new }) = found.recv() => {
                    groups[source] = new;
                    tokio::time::sleep(GATHER).await;
                    while let Ok(Found { source, groups: new }) = found.try_recv() {
                        groups[source] = new;
                    }
                    self.sync(&groups).await;
                }
            }
        }
        let all: Vec<u64> = self.running.keys().copied().collect();
        self.stop(&all).await;
    }

    fn look_for_targets(&self, news: &mpsc::Sender<Found>, groups: &mut Vec<Vec<Group>>) {
        let mut finder = || {
            groups.push(Vec::new());
            Finder { source: groups.len() - 1, job: self.job.name.clone(), found: news.clone() }
        };
        let tasks = &self.shared.tasks;
        for settings in &self.job.file_discovery {
            tasks.spawn(watch_files(settings.clone(), LOOK_EVERY, finder()));
        }
        for settings in &self.job.http_discovery {
            let client = Arc::new(HttpClient::new(settings.http.clone()));
            tasks.spawn(watch_url(settings.clone(), client, finder()));
        }
    }

    /// Starts what is new, stops what is gone, leaves what is the same.
    async fn sync(&mut self, groups: &[Vec<Group>]) {
        let mut seen = Seen::default();
        let mut wanted: HashMap<u64, Box<Target>> = HashMap::new();
        let mut order = Vec::new();
        let dropped_max = usize::try_from(self.job.limits.dropped_targets).unwrap_or(usize::MAX);
        for group in groups.iter().flatten() {
            for address in &group.targets {
                match Target::make(&self.job, group, address) {
                    Ok(Made::Target(target)) => {
                        let hash = target.hash();
                        if wanted.insert(hash, target).is_none() {
                            order.push(hash);
                        }
                    }
                    Ok(Made::Dropped(labels)) => {
                        seen.dropped_count += 1;
                        if dropped_max == 0 || seen.dropped.len() < dropped_max {
                            seen.dropped.push(labels);
                        }
                    }
                    Err(why) => {
                        tracing::warn!(job = self.job.name, group = group.source, "{address:?} is no target: {why}");
                    }
                }
            }
        }
        let gone: Vec<u64> = self.running.keys().filter(|hash| !wanted.contains_key(hash)).copied().collect();
        self.stop(&gone).await;
        let (count, limit) = (wanted.len() as u64, self.job.limits.targets);
        let forced = (limit > 0 && count > limit)
            .then(|| format!("target_limit exceeded (number of targets: {count}, limit: {limit})"));
        self.forced.send_replace(forced);
        for hash in order {
            let Some(target) = wanted.remove(&hash) else { continue };
            match self.running.get(&hash) {
                Some(running) => running.target.found_again(&target),
                None => self.start(hash, *target),
            }
            seen.active.extend(self.running.get(&hash).map(|running| Arc::clone(&running.target)));
        }
        self.before.clear();
        self.view.set(seen);
    }

    fn start(&mut self, hash: u64, target: Target) {
        if let Some(before) = self.before.get(&hash) {
            target.take_over(before);
        }
        let target = Arc::new(target);
        let stop = CancellationToken::new();
        let rounds = Rounds {
            job: Arc::clone(&self.job),
            target: Arc::clone(&target),
            client: Arc::clone(&self.client),
            means: self.shared.means.clone(),
            cache: self.shared.departed.take_over(&target.public).unwrap_or_default(),
            forced: self.forced.subscribe(),
            stop: stop.clone(),
        };
        let rounds = self.shared.tasks.spawn(rounds.run());
        self.running.insert(hash, Running { target, stop, rounds });
    }

    async fn stop(&mut self, hashes: &[u64]) {
        let stopped: Vec<Running> = hashes.iter().filter_map(|hash| self.running.remove(hash)).collect();
        for running in &stopped {
            running.stop.cancel();
        }
        for Running { target, rounds, .. } in stopped {
            match rounds.await {
                Ok(ended) => self.depart(target, ended),
                Err(_) => tracing::error!(target = target.url, "the rounds of the target ended in a panic"),
            }
        }
    }

    /// Waits for somebody to go on with the target's series, else marks them as ended.
    fn depart(&self, target: Arc<Target>, ended: Ended) {
        let shared = self.shared.clone();
        if shared.shutdown.is_cancelled() || (!ended.was_scraped && ended.cache.is_empty()) {
            return;
        }
        let number = shared.departed.put(&target.public, ended.cache.hand_over());
        let job = Arc::clone(&self.job);
        self.shared.tasks.spawn(async move {
            let interval = target.interval.0;
            let wait = async {
                tokio::time::sleep_until(ended.next).await;
                let time = shared.means.clock.now_ns();
                // Whoever comes back would have been scraped by then.
                tokio::time::sleep(interval + interval / 10).await;
                time
            };
            let time = tokio::select! {
                time = wait => time,
                () = shared.shutdown.cancelled() => return,
            };
            if let Some(cache) = shared.departed.give_up(&target.public, number) {
                rounds::end(&shared.means, &job, &target, cache, time).await;
            }
        });
    }
}
