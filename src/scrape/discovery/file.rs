//! `file_sd_configs`: groups of targets in JSON and YAML files, read again when a file changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::{Finder, Group, groups_of};
use crate::scrape::config::{FileDiscovery, glob};

/// A file as it was read.
#[derive(Debug, Default)]
struct Known {
    changed: Option<(SystemTime, u64)>,
    groups: Vec<Group>,
}

/// Looks at the files every `look_every`, reads those that changed, and all after the refresh interval. Ends when nobody
/// listens any more.
///
/// It looks at times and sizes instead of asking the kernel to tell it, because that also works where a change is a new
/// symbolic link (as with Kubernetes's config maps) and on file systems of a network.
pub(crate) async fn watch_files(settings: FileDiscovery, look_every: Duration, finder: Finder) {
    let mut known: BTreeMap<PathBuf, Known> = BTreeMap::new();
    let mut sent: Option<Vec<Group>> = None;
    let mut read_all: Option<Instant> = None;
    loop {
        let is_due = read_all.is_none_or(|last| last.elapsed() >= settings.refresh_interval.max(look_every));
        if is_due {
            read_all = Some(Instant::now());
        }
        let (patterns, job) = (settings.files.clone(), finder.job.clone());
        let before = std::mem::take(&mut known);
        let Ok(now) = tokio::task::spawn_blocking(move || look(&patterns, before, is_due, &job)).await else { return };
        known = now;
        let groups: Vec<Group> = known.values().flat_map(|file| file.groups.iter().cloned()).collect();
        if sent.as_ref() != Some(&groups) {
            if !finder.send(groups.clone()).await {
                return;
            }
            sent = Some(groups);
        }
        tokio::select! {
            () = tokio::time::sleep(look_every) => {}
            () = finder.found.closed() => return,
        }
    }
}

fn look(
    patterns: &[PathBuf],
    mut before: BTreeMap<PathBuf, Known>,
    is_due: bool,
    job: &str,
) -> BTreeMap<PathBuf, Known> {
    let mut now = BTreeMap::new();
    for pattern in patterns {
        let paths = glob(pattern).unwrap_or_else(|error| {
            tracing::warn!(job, "{error}");
            Vec::new()
        });
        for path in paths {
            let mut file = before.remove(&path).unwrap_or_default();
            let changed = std::fs::metadata(&path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
            if is_due || changed != file.changed {
                match read(&path) {
                    Ok(groups) => file.groups = groups,
                    // What was read before stays.
                    Err(error) => tracing::warn!(job, "read targets from {}: {error}", path.display()),
                }
                file.changed = changed;
            }
            now.insert(path, file);
        }
    }
    now
}

fn read(path: &Path) -> Result<Vec<Group>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    groups_of(&text, is_json, &path.display().to_string(), "__meta_filepath")
}
