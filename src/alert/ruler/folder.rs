//! Rules in folders: read at the start, when a file changes, and on SIGHUP. A file that is broken keeps what it said last,
//! and says where it is broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Ruler;
use super::watched::Origin;
use crate::alert::rule::{Language, Mistake, Mistakes, RuleGroup, parse_file};

/// How often folders are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Largest rule file.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Folders in folders are looked into this deep.
const DEPTH_MAX: usize = 8;

/// What is known of all files.
#[derive(Debug, Default)]
pub(super) struct Files(BTreeMap<PathBuf, File>);

/// A rule file.
#[derive(Debug, Default)]
struct File {
    stamp: Stamp,
    /// What it said when it was last in order.
    groups: Vec<RuleGroup>,
    /// What is wrong with it now.
    broken: Option<Mistakes>,
}

/// Changes when a file does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// A file that was found, and its text if it is to be read.
type Found = (PathBuf, Stamp, Option<Result<String, String>>);

impl Ruler {
    /// Looks at the folders until the server stops.
    pub(super) async fn watch_folders(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.stop.cancelled() => return,
            }
            self.read_folders(false).await;
        }
    }

    /// Reads the files that have changed, or all. True when every file is in order.
    pub(crate) async fn read_folders(self: &Arc<Self>, all: bool) -> bool {
        if self.settings.folders.is_empty() {
            return true;
        }
        let mut files = self.files.lock().await;
        let known: BTreeMap<PathBuf, Stamp> =
            if all { BTreeMap::new() } else { files.0.iter().map(|(path, file)| (path.clone(), file.stamp)).collect() };
        let folders = self.settings.folders.clone();
        let looked = tokio::task::spawn_blocking(move || look(&folders, &known)).await;
        let Ok((found, unreadable)) = looked else { return false };
        let is_same = !all && found.len() == files.0.len() && found.iter().all(|(_, (_, _, text))| text.is_none());
        if is_same || (unreadable && found.is_empty()) {
            return self.stats.broken_files.load(Ordering::Relaxed) == 0 && !unreadable;
        }
        let mut before = std::mem::take(&mut files.0);
        for ((path, stamp, text), language) in found.into_iter().map(|(language, found)| (found, language)) {
            let old = before.remove(&path).unwrap_or_default();
            files.0.insert(path.clone(), taken(&path, stamp, text, language, old));
        }
        if unreadable {
            // What cannot be looked at now may still be there.
            before.into_iter().for_each(|(path, file)| drop(files.0.insert(path, file)));
        }
        let broken = files.0.values().filter(|file| file.broken.is_some()).count();
        self.stats.broken_files.store(broken as u64, Ordering::Relaxed);
        let groups: Vec<RuleGroup> = files.0.values().flat_map(|file| file.groups.clone()).collect();
        self.change(&self.settings.tenant.clone(), Origin::File, |_| true, groups).await;
        broken == 0 && !unreadable
    }

    /// What is wrong with files now.
    pub(crate) async fn mistakes(&self) -> Vec<Mistake> {
        let files = self.files.lock().await;
        files.0.values().filter_map(|file| file.broken.as_ref()).flat_map(|mistakes| mistakes.0.clone()).collect()
    }
}

fn taken(path: &Path, stamp: Stamp, text: Option<Result<String, String>>, language: Language, old: File) -> File {
    let Some(text) = text else { return File { stamp, ..old } };
    let name = path.to_string_lossy();
    let parsed = match text {
        Ok(text) => parse_file(&text, &name, language),
        Err(message) => Err(Mistakes(vec![Mistake { file: name.clone().into_owned(), line: 0, message }])),
    };
    match parsed {
        Ok(groups) => File { stamp, groups, broken: None },
        Err(mistakes) => {
            if old.broken.as_ref() != Some(&mistakes) {
                tracing::error!("rules stay as they were, because the file is broken: {mistakes}");
            }
            File { stamp, groups: old.groups, broken: Some(mistakes) }
        }
    }
}

/// Every rule file, and the text of those that have changed; and whether a folder could not be looked at.
fn look(folders: &[(PathBuf, Language)], known: &BTreeMap<PathBuf, Stamp>) -> (Vec<(Language, Found)>, bool) {
    let (mut found, mut unreadable) = (Vec::new(), false);
    for (folder, language) in folders {
        let mut paths = Vec::new();
        if let Err(error) = walk(folder, DEPTH_MAX, &mut paths) {
            tracing::warn!("the folder of rules {} cannot be read: {error}", folder.display());
            unreadable = true;
        }
        paths.sort();
        for path in paths {
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let stamp = Stamp { modified: metadata.modified().ok(), bytes: metadata.len() };
            let is_known = known.get(&path) == Some(&stamp);
            let text = (!is_known).then(|| read(&path, metadata.len()));
            found.push((*language, (path, stamp, text)));
        }
    }
    (found, unreadable)
}

fn read(path: &Path, bytes: u64) -> Result<String, String> {
    if bytes > FILE_BYTES_MAX {
        return Err(format!("the file has {bytes} bytes, and at most {FILE_BYTES_MAX} are read"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("read it: {error}"))
}

/// Files that end in `.yml`, `.yaml` or `.rules`; hidden ones, and what Kubernetes keeps beside its mounts, do not count.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_rules = path.extension().is_some_and(|end| end == "yml" || end == "yaml" || end == "rules");
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() && depth > 0 {
            walk(&path, depth - 1, found)?;
        } else if is_rules {
            found.push(path);
        }
    }
    Ok(())
}
