//! Reads the configuration from its three places and collects every mistake on the way.
//!
//! All three places are brought to the same form, a TOML tree of text; the tree of the defaults says which keys
//! there are. Each value is then tried on its own, so that one wrong value does not hide the next.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use toml::{Table, Value};

use super::Config;

/// Environment variables that belong to Farol and are no key of the configuration.
const OTHER_VARIABLES: [&str; 4] = ["FAROL_CONFIG", "FAROL_SERVER", "FAROL_TENANT", "FAROL_BINARY"];

/// A configuration, and what is odd but not wrong about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The configuration.
    pub(crate) config: Config,
    /// Environment variables that begin with `FAROL_` and set nothing. Not mistakes: Kubernetes makes such names.
    pub(crate) ignored_variables: Vec<String>,
}

/// Everything that is wrong, in the order of the places and keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(pub(crate) Vec<String>);

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} mistake{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

/// Reads the file, lays the environment over it, then the flags (`key`, text).
///
/// # Errors
/// All mistakes, from unreadable values to values that do not fit together.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(String, String)],
    machine_bytes: u64,
) -> Result<Loaded, Mistakes> {
    let mut mistakes = Vec::new();
    let mut settings: Vec<(String, String, Value)> = Vec::new();
    if let Some(path) = file {
        match read_file(path) {
            Ok(table) => flatten("", table, &mut |key, value| settings.push((key.clone(), key, value))),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let keys = keys();
    let mut ignored_variables = Vec::new();
    let by_name: BTreeMap<String, &String> = keys.keys().map(|key| (environment_name(key), key)).collect();
    let mut variables: Vec<(String, String)> =
        environment.into_iter().filter(|(name, _)| name.starts_with("FAROL_")).collect();
    variables.sort();
    for (name, text) in variables {
        match by_name.get(&name) {
            Some(key) => settings.push((name, (*key).clone(), typed(&keys[*key], &text))),
            None if OTHER_VARIABLES.contains(&name.as_str()) => {}
            None => ignored_variables.push(name),
        }
    }
    for (key, text) in flags {
        let value = keys.get(key).map_or_else(|| Value::String(text.clone()), |default| typed(default, text));
        settings.push((format!("--{key}"), key.clone(), value));
    }
    let config = apply(settings, &keys, &mut mistakes);
    mistakes.extend(config.validate(machine_bytes));
    if mistakes.is_empty() { Ok(Loaded { config, ignored_variables }) } else { Err(Mistakes(mistakes)) }
}

/// Every key with its default, sorted.
pub(super) fn keys() -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    flatten("", default_table(), &mut |key, value| {
        keys.insert(key, value);
    });
    keys
}

/// The environment variable of a key: `storage.size_max` is `FAROL_STORAGE_SIZE_MAX`.
pub(super) fn environment_name(key: &str) -> String {
    format!("FAROL_{}", key.replace('.', "_").to_uppercase())
}

/// A value as one writes it in an environment variable or a flag.
#[cfg(test)]
pub(super) fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn default_table() -> Table {
    Table::try_from(Config::default()).unwrap_or_default()
}

fn read_file(path: &Path) -> Result<Table, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(0, |span| text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1);
        format!("{} line {line}: {}", path.display(), e.message())
    })
}

/// Calls `each` with the dotted key and the value of every leaf.
fn flatten(prefix: &str, table: Table, each: &mut impl FnMut(String, Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, each),
            leaf => each(key, leaf),
        }
    }
}

/// Text as the kind of value that the default has.
fn typed(default: &Value, text: &str) -> Value {
    let read = match default {
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        // A list, as the file has it.
        Value::Array(_) => format!("list = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("list")),
        _ => None,
    };
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Lays one setting after the other over the defaults; a wrong one is reported and left out.
fn apply(settings: Vec<(String, String, Value)>, keys: &BTreeMap<String, Value>, mistakes: &mut Vec<String>) -> Config {
    let mut table = default_table();
    let mut config = Config::default();
    for (source, key, value) in settings {
        if !keys.contains_key(&key) {
            mistakes.push(format!("{source}: there is no such key{}", suggestion(&key, keys)));
            continue;
        }
        let mut tried = table.clone();
        let shown = value.to_string();
        insert(&mut tried, &key, value);
        match Config::deserialize_table(tried.clone()) {
            Ok(good) => (table, config) = (tried, good),
            Err(why) if why.contains(&shown) => mistakes.push(format!("{source}: {why}")),
            Err(why) => mistakes.push(format!("{source}: {shown}: {why}")),
        }
    }
    config
}

impl Config {
    fn deserialize_table(table: Table) -> Result<Self, String> {
        table.try_into().map_err(|e: toml::de::Error| e.message().trim().to_owned())
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            if let Value::Table(inner) = table.entry(head).or_insert_with(|| Value::Table(Table::new())) {
                insert(inner, rest, value);
            }
        }
    }
}

/// The key that was probably meant.
fn suggestion(key: &str, keys: &BTreeMap<String, Value>) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let close =
        keys.keys().map(|known| (distance(key, known).min(distance(&last(key), &last(known)) + 1), known)).min();
    match close {
        Some((steps, known)) if steps <= 3 => format!(": did you mean {known}?"),
        _ => String::new(),
    }
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Write;

    use super::super::{OrOff, Size};
    use super::*;

    fn load_text(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(file.as_bytes()).unwrap();
        load(Some(on_disk.path()), pairs(environment), &pairs(flags), 8 << 30)
    }

    #[test]
    fn lists_of_rules_are_read() {
        let file = "[storage]\nretention = \"90d\"\ndownsample = [{ after = \"30d\", resolution = \"5m\" }]\n";
        let own =
            "[{ tenant = \"a\", retention = \"7d\" }, { tenant = \"b\", retention = \"off\", size_max = \"1GiB\" }]";
        let config = load_text(file, &[("FAROL_STORAGE_TENANTS", own)], &[]).unwrap().config;
        let store = config.store(&config.memory.shares(8 << 30));
        assert_eq!(store.downsampling[0].resolution_ms, 300_000);
        let days = |kept: &storage::Kept| kept.retention.map(|span| span.as_secs() / 86_400);
        let kept: Vec<_> =
            store.tenants.iter().map(|(t, kept)| (t.as_str(), days(kept), kept.size_bytes_max)).collect();
        assert_eq!(kept, [("a", Some(7), None), ("b", None, Some(1 << 30))]);
        let file =
            "[storage]\ndownsample = [{ after = \"1d\", resolution = \"7m\" }]\ntenants = [{ tenant = \"/\" }]\n";
        let mistakes = load_text(file, &[], &[]).unwrap_err().0;
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }

    #[test]
    fn flags_win_over_the_environment_over_the_file() {
        let file = "http = \"127.0.0.1:1\"\nconnections_max = 7\n[storage]\nmemtable_size = \"32MiB\"\n";
        let environment = [("FAROL_STORAGE_MEMTABLE_SIZE", "64MiB"), ("FAROL_HTTP", "127.0.0.1:2"), ("OTHER", "x")];
        let loaded = load_text(file, &environment, &[("http", "127.0.0.1:3"), ("otlp_grpc", "off")]).unwrap();
        assert_eq!(loaded.config.http.port(), 3);
        assert_eq!(loaded.config.storage.memtable_size, Size(64 << 20));
        assert_eq!(loaded.config.connections_max, 7);
        assert_eq!(loaded.config.otlp_grpc, OrOff::Off);
    }

    #[test]
    fn every_mistake_is_listed_at_once() {
        let file = "htpp = \"x\"\nhttp = 5\n[storage]\nretention = \"soon\"\n[query]\nentries_max = \"many\"\n";
        let environment = [("FAROL_ALLOW_UNAUTHENTICATED", "perhaps"), ("FAROL_PORT", "tcp://10.0.0.1:7600")];
        let Mistakes(mistakes) = load_text(file, &environment, &[("otlp_http", "0.0.0.0:4318")]).unwrap_err();
        let expected = [
            "htpp: there is no such key: did you mean http?",
            "http: ",
            "query.entries_max: ",
            "storage.retention: \"soon\" is no span of time",
            "FAROL_ALLOW_UNAUTHENTICATED: ",
            "otlp_http: 0.0.0.0:4318 can be reached",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for part in expected {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(part)), "{part} not in {mistakes:#?}");
        }
    }

    #[test]
    fn a_broken_file_is_named_with_its_line() {
        let Mistakes(mistakes) = load_text("http = \"127.0.0.1:1\"\nwhat\n", &[], &[]).unwrap_err();
        assert!(mistakes[0].contains("line 2"), "{mistakes:?}");
    }

    #[test]
    fn foreign_variables_are_reported_and_do_no_harm() {
        let loaded = load_text("", &[("FAROL_PORT", "tcp://x"), ("FAROL_SERVER", "http://y")], &[]).unwrap();
        assert_eq!(loaded.ignored_variables, ["FAROL_PORT"]);
    }
}
