//! Where targets come from, besides those that the settings name. Every source sends the whole of what it knows
//! whenever that changes; what it cannot read now stays as it was.

mod file;
mod http;

use std::path::Path;

use tokio::sync::mpsc;

use super::config::{GroupYaml, from_yaml, labels_of};
use super::labels::LabelMap;

pub(crate) use file::watch_files;
pub(crate) use http::watch_url;

/// Targets with labels that they share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Addresses.
    pub(crate) targets: Vec<String>,
    /// Labels of all of them.
    pub(crate) labels: LabelMap,
    /// Where it comes from, for messages.
    pub(crate) source: String,
}

impl Group {
    /// A group as it stands in a file.
    pub(crate) fn new(yaml: &GroupYaml, source: &str) -> Self {
        Self {
            targets: yaml.targets.clone().unwrap_or_default(),
            labels: yaml.labels.as_ref().map(labels_of).unwrap_or_default(),
            source: source.to_owned(),
        }
    }
}

/// What a source knows now.
#[derive(Debug)]
pub(crate) struct Found {
    /// Which source of the job.
    pub(crate) source: usize,
    /// Everything that it knows.
    pub(crate) groups: Vec<Group>,
}

/// Where a source sends what it knows.
#[derive(Debug, Clone)]
pub(crate) struct Finder {
    /// Which source of the job.
    pub(crate) source: usize,
    /// The job.
    pub(crate) job: String,
    /// Who listens.
    pub(crate) found: mpsc::Sender<Found>,
}

impl Finder {
    /// False once nobody listens.
    async fn send(&self, groups: Vec<Group>) -> bool {
        self.found.send(Found { source: self.source, groups }).await.is_ok()
    }
}

/// A list of groups, in YAML or JSON, each with a label that says where it comes from.
fn groups_of(text: &str, is_json: bool, source: &str, label: &str) -> Result<Vec<Group>, String> {
    let groups: Option<Vec<Option<GroupYaml>>> = if is_json {
        serde_json::from_str(text).map_err(|error| error.to_string())?
    } else {
        from_yaml(text, Path::new(source)).map_err(|error| error.to_string())?
    };
    let mut all = Vec::new();
    for (i, group) in groups.unwrap_or_default().into_iter().enumerate() {
        let group = group.ok_or_else(|| format!("group {i} is empty"))?;
        let mut group = Group::new(&group, &format!("{source}:{i}"));
        group.labels.set(label, source);
        all.push(group);
    }
    Ok(all)
}
