//! The routing tree: which receiver an alert goes to, and how its messages are grouped and timed.

use super::matcher::{Labels, Matcher, all_match, show_all};

/// What group labels are made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GroupBy {
    /// All labels: `...`.
    All,
    /// These.
    Names(Vec<String>),
}

/// A node of the tree, with what it took over from those above it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route {
    /// Its matchers and those above it; siblings with the same have the same.
    pub(crate) key: String,
    /// Stands for this node alone.
    pub(crate) id: String,
    /// Who is told.
    pub(crate) receiver: String,
    /// Which alerts, among those of the node above.
    pub(crate) matchers: Vec<Matcher>,
    /// Which alerts are told of together.
    pub(crate) group_by: GroupBy,
    /// How long a new group waits for more alerts.
    pub(crate) group_wait_ms: i64,
    /// How long a group waits before it tells of changes.
    pub(crate) group_interval_ms: i64,
    /// How long before it tells the same again.
    pub(crate) repeat_interval_ms: i64,
    /// When nobody is told, by name.
    pub(crate) mute_times: Vec<String>,
    /// When somebody is told, by name; always if there is none.
    pub(crate) active_times: Vec<String>,
    /// Whether siblings are asked too.
    pub(crate) goes_on: bool,
    /// The nodes below.
    pub(crate) routes: Vec<Self>,
}

impl Route {
    /// The routes that an alert takes: at least one, if it fits this node.
    pub(crate) fn of(&self, labels: &Labels) -> Vec<&Self> {
        if !all_match(&self.matchers, labels) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for child in &self.routes {
            let below = child.of(labels);
            let is_done = !below.is_empty() && !child.goes_on;
            found.extend(below);
            if is_done {
                break;
            }
        }
        if found.is_empty() {
            found.push(self);
        }
        found
    }

    /// The labels that alerts of one group share.
    pub(crate) fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Names(names) => {
                names.iter().filter_map(|name| labels.get(name).map(|value| (name.clone(), value.clone()))).collect()
            }
        }
    }

    /// Gives every node its key and id, which name those above it.
    pub(crate) fn name_all(&mut self, above: Option<(&str, &str)>, position: usize) {
        self.matchers.sort_by(|a, b| (&a.name, &a.value, a.comparison).cmp(&(&b.name, &b.value, b.comparison)));
        let own = show_all(&self.matchers);
        (self.key, self.id) = match above {
            Some((key, id)) => (format!("{key}/{own}"), format!("{id}/{own}/{position}")),
            None => (own.clone(), own),
        };
        for (at, child) in self.routes.iter_mut().enumerate() {
            child.name_all(Some((&self.key, &self.id)), at);
        }
    }
}
