//! The command line. Flags of `serve` are settings: they end in the same place as the file and the environment.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Logs of a fleet of services: durable in, searchable at once.
///
/// Without a command, `farol` serves. Try it:
///
///   farol serve --data ./farol-data
///   farol import /var/log/*.log
///   farol query '{filename=~".+"} |= "error"' --since 7d
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, args_conflicts_with_subcommands = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Settings of the server, when no command is given.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server (what happens without a command, too).
    Serve(ServeArgs),
    /// Send log files to a server: plain text, JSON lines, .gz, .zst, or - for standard input.
    Import(ImportArgs),
    /// Ask a server a LogQL query and print the answer.
    Query(QueryArgs),
    /// Follow new records that match a LogQL query.
    Tail(TailArgs),
    /// Say everything that is wrong with the configuration, without starting.
    CheckConfig(CheckConfigArgs),
    /// Check every file of a data folder that no server has open.
    Verify(VerifyArgs),
    /// Check rule files, run their unit tests, or try them on stored data.
    #[command(subcommand)]
    Rules(RulesCommand),
}

/// What to do with rule files.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Say everything that is wrong with rule files, each mistake with its line.
    Check(RulesCheckArgs),
    /// Run unit tests of rules, as promtool does; lines may be given beside series.
    Test(RulesTestArgs),
    /// Say when alerts would have fired on what a server has stored.
    Backtest(RulesBacktestArgs),
}

/// In which language the rules of groups are that do not say theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RulesLanguage {
    /// Over metrics.
    Promql,
    /// Over logs, as in Loki's rule files.
    Logql,
    /// Over logs.
    Sql,
}

/// Arguments of `rules check`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 if nothing is wrong, 1 if something is, 3 if only lints found something and \
                        --lint-fatal is set.")]
pub(crate) struct RulesCheckArgs {
    /// Rule files; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print the files with short forms (slo) written out, instead of what was found.
    #[arg(long)]
    pub(crate) expand: bool,
    /// Do not look for duplicates and odd names.
    #[arg(long)]
    pub(crate) no_lint: bool,
    /// What the lints find is a failure.
    #[arg(long)]
    pub(crate) lint_fatal: bool,
    /// The language of groups that do not say theirs.
    #[arg(long, value_enum, default_value_t = RulesLanguage::Promql)]
    pub(crate) language: RulesLanguage,
}

/// Arguments of `rules test`.
#[derive(Debug, Args)]
pub(crate) struct RulesTestArgs {
    /// Unit-test files in promtool's format.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Run only tests whose name matches this regular expression (may be repeated).
    #[arg(long, value_name = "REGEX")]
    pub(crate) run: Vec<String>,
    /// The language of groups that do not say theirs.
    #[arg(long, value_enum, default_value_t = RulesLanguage::Promql)]
    pub(crate) language: RulesLanguage,
}

/// Arguments of `rules backtest`.
#[derive(Debug, Args)]
pub(crate) struct RulesBacktestArgs {
    /// Rule files; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How far back to begin (6h, 7d).
    #[arg(long, default_value = "1d", value_name = "DURATION", conflicts_with = "from")]
    pub(crate) since: String,
    /// From when: 2026-11-23T16:00:00Z, or seconds or nanoseconds since 1970.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Until when [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// The language of groups that do not say theirs.
    #[arg(long, value_enum, default_value_t = RulesLanguage::Promql)]
    pub(crate) language: RulesLanguage,
    /// Whose data.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Where settings come from, and those that are often set.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServeArgs {
    /// Configuration file (TOML). Its keys are described in docs/configuration.md.
    #[arg(long, env = "FAROL_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Folder that holds all data; made if it is not there [default: farol-data].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Address of the HTTP API [default: 127.0.0.1:7600].
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<String>,
    /// Address of OTLP/HTTP, or off [default: 127.0.0.1:4318].
    #[arg(long, value_name = "ADDR|off")]
    pub(crate) otlp_http: Option<String>,
    /// Address of OTLP/gRPC, or off [default: 127.0.0.1:4317].
    #[arg(long, value_name = "ADDR|off")]
    pub(crate) otlp_grpc: Option<String>,
    /// Delete records that are older than this (30d, 1y), or off to keep them [default: off].
    #[arg(long, value_name = "DURATION|off")]
    pub(crate) retention: Option<String>,
    /// Memory for everything together (4GiB), or auto for half of the machine's [default: auto].
    #[arg(long, value_name = "SIZE|auto")]
    pub(crate) memory: Option<String>,
    /// Listen where other machines reach it, although nobody has to log in.
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,
    /// Log format, text or json [default: text].
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Log level: error, warn, info, debug, trace, or directives as info,storage=debug [default: info].
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Any other setting by its key: --set query.timeout=2m (may be repeated).
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) set: Vec<(String, String)>,
}

/// Arguments of `check-config`.
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {
    /// The settings to check, as for `serve`.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
    /// Print the whole configuration that results, as TOML.
    #[arg(long)]
    pub(crate) print: bool,
}

/// Which server to talk to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The server's HTTP address.
    #[arg(long, alias = "url", env = "FAROL_SERVER", default_value = "http://127.0.0.1:7600", value_name = "URL")]
    pub(crate) server: String,
    /// Whose data it is (sent as X-Scope-OrgID).
    #[arg(long, env = "FAROL_TENANT", value_name = "NAME")]
    pub(crate) tenant: Option<String>,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "Every file becomes a stream with the labels filename, job (the file's name without its \
                        ending) and those of --label. A line's time and level are taken from the line where they \
                        are recognised (ISO 8601, syslog, dpkg, nginx and Apache access logs, seconds since 1970); \
                        else the time is that of the line before, or the file's.")]
pub(crate) struct ImportArgs {
    /// Files to send; - is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// A label for all records, as name=value (may be repeated).
    #[arg(short, long = "label", value_name = "NAME=VALUE", value_parser = key_and_value)]
    pub(crate) labels: Vec<(String, String)>,
    /// What the lines are; auto looks at the first of them.
    #[arg(long, value_enum, default_value_t = ImportFormat::Auto)]
    pub(crate) format: ImportFormat,
    /// Keep going: send lines as they are added to the files, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Join lines that begin with white space to the line before them (stack traces).
    #[arg(short, long)]
    pub(crate) multiline: bool,
    /// Lines in a request.
    #[arg(long, default_value_t = 5000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) batch: u32,
    /// How often a request is tried again before giving up, waiting longer each time.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) retries: u32,
    /// No progress bar.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Where to send.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What the lines of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImportFormat {
    /// Text, or JSON when the first line is an object.
    Auto,
    /// Plain text.
    Text,
    /// One JSON object a line.
    Json,
}

/// Arguments of `query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The query, in LogQL: '{service_name="checkout"} |= "timeout"'.
    #[arg(value_name = "QUERY")]
    pub(crate) query: String,
    /// The query is PromQL, of metrics: 'sum by (job) (rate(http_requests_total[5m]))'. Every series is printed.
    #[arg(long, conflicts_with_all = ["limit", "forward"])]
    pub(crate) promql: bool,
    /// How far back to look (15m, 7d).
    #[arg(long, default_value = "1h", value_name = "DURATION", conflicts_with = "from")]
    pub(crate) since: String,
    /// From when: 2026-11-23T16:00:00Z, or seconds or nanoseconds since 1970.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Until when [default: now].
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Most lines to print.
    #[arg(short = 'n', long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: u32,
    /// Distance of the points of a metric query (30s, 5m) [default: a 250th of the time].
    #[arg(long, value_name = "DURATION")]
    pub(crate) step: Option<String>,
    /// Say on standard error what the query looked at: parts and rows considered and read, bytes, time.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Oldest first, and the oldest --limit lines.
    #[arg(long)]
    pub(crate) forward: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
    /// When to colour.
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub(crate) color: When,
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// Arguments of `tail`.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// The query, in LogQL; it must select lines.
    #[arg(value_name = "LOGQL")]
    pub(crate) query: String,
    /// Begin this far back.
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    pub(crate) since: String,
    /// Most lines to print of what was there before.
    #[arg(short = 'n', long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: u32,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = OutputFormat::Text)]
    pub(crate) output: OutputFormat,
    /// When to colour.
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub(crate) color: When,
    /// Whom to ask.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people: time, labels, line.
    Text,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The data folder.
    #[arg(long, default_value = "farol-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
}

impl ServeArgs {
    /// The flags that were given, as key and text.
    pub(crate) fn settings(&self) -> Vec<(String, String)> {
        let named = [
            ("data", &self.data),
            ("http", &self.http),
            ("otlp_http", &self.otlp_http),
            ("otlp_grpc", &self.otlp_grpc),
            ("storage.retention", &self.retention),
            ("memory.total", &self.memory),
            ("log.format", &self.log_format),
            ("log.level", &self.log_level),
        ];
        let mut settings: Vec<(String, String)> =
            named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?))).collect();
        if self.allow_unauthenticated {
            settings.push(("allow_unauthenticated".to_owned(), "true".to_owned()));
        }
        settings.extend(self.set.iter().cloned());
        settings
    }
}

/// Reads `key=value`.
fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as name=value".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_the_default() {
        let cli = Cli::parse_from(["farol", "--data", "d", "--set", "query.timeout=2m"]);
        assert!(cli.command.is_none());
        let settings = cli.serve.settings();
        let expected = [("data", "d"), ("query.timeout", "2m")];
        assert_eq!(settings, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    /// Every flag that sets a key sets one that is there.
    #[test]
    fn flags_name_keys() {
        let cli = Cli::parse_from([
            "farol",
            "serve",
            "--data",
            "d",
            "--http",
            "127.0.0.1:1",
            "--otlp-http",
            "off",
            "--otlp-grpc",
            "off",
            "--retention",
            "30d",
            "--memory",
            "4GiB",
            "--allow-unauthenticated",
            "--log-format",
            "json",
            "--log-level",
            "debug",
        ]);
        let Some(Command::Serve(args)) = cli.command else { panic!("serve") };
        assert_eq!(args.settings().len(), 9);
        crate::config::load(None, [], &args.settings(), 8 << 30).unwrap();
    }
}
