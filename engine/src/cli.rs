//! The command line: the commands, their flags, and what each of them runs.
//!
//! A command that does not end well prints one sentence on standard error and ends with a code of its own
//! ([`crate::exit`]). docs/cli.md describes every command and flag; a test compares it with the tree here.

use crate::bench::{self, BenchOptions};
use crate::clientcmd::{self, SetOptions, Target};
use crate::config::row::Row;
use crate::config::settings::{self, CLIENT_PORT, DATA_DIR, LOG_FORMAT, LOG_LEVEL, ROWS};
use crate::config::{Config, Flags, spelling, variables};
use crate::dev::{self, DevOptions};
use crate::examples;
use crate::exit::Exit;
use crate::explaincmd;
use crate::manual::{self, Shell};
use crate::node::RunError;
use crate::output;
use crate::refusal::Refusal;
use crate::secretcmd;
use crate::serve;
use crate::statuscmd::{self, StatusForm, StatusOptions};
use clap::{Arg, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use synod_loadgen::{parse_duration, password_of_environment};
use synod_types::limits::TTL_MS_MAX;
use synod_types::{Condition, Consistency};

/// A timeout of more than a day for one answer is taken for a typing error.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A replicated key-value store that loses nothing it has acknowledged.
#[derive(Parser, Debug)]
#[command(name = "synod", version, arg_required_else_help = true, after_help = examples::of_synod())]
struct Cli {
    #[command(subcommand)]
    command: CommandLine,
}

#[derive(Subcommand, Debug)]
enum CommandLine {
    /// Make a data directory that of a new node.
    #[command(after_help = examples::FORMAT)]
    Format(NodeArgs),
    /// Run a node; without a configuration, a cluster of one in ./synod-data.
    #[command(after_help = examples::SERVE)]
    Serve(NodeArgs),
    /// Run a cluster for development on this machine: three node processes, data kept.
    #[command(after_help = examples::DEV)]
    Dev(DevArgs),
    /// Start a durable cluster on this machine, load it, show the result and clean up.
    #[command(after_help = examples::BENCH)]
    Bench(Box<BenchArgs>),
    /// Print the value of a key; without such a key, exit code 3.
    #[command(after_help = examples::GET)]
    Get(GetArgs),
    /// Set a key; says OK once the write is durable on a quorum.
    #[command(after_help = examples::SET)]
    Set(SetArgs),
    /// Remove keys; prints how many there were.
    #[command(after_help = examples::DEL)]
    Del(DelArgs),
    /// Show every node and every group of a running cluster.
    #[command(after_help = examples::STATUS)]
    Status(StatusArgs),
    /// Show settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show or replace the secret that the nodes of a cluster share.
    #[command(subcommand)]
    Secret(Box<SecretCommand>),
    /// Print the completions of a shell.
    #[command(after_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them.
    #[command(after_help = examples::MAN)]
    Man(ManArgs),
}

impl CommandLine {
    /// Whether the command depends on the environment, so that a misspelt variable must be refused.
    fn reads_variables(&self) -> bool {
        !matches!(self, Self::Completions(_) | Self::Man(_) | Self::Config(ConfigCommand::Keys))
    }
}

#[derive(Args, Debug)]
struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
struct ManArgs {
    /// The command whose page is printed, such as `config explain`; without it the page of synod itself.
    #[arg(conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct StatusArgs {
    /// One JSON object instead of the table; docs/cli.md lists its fields.
    #[arg(long)]
    json: bool,
    /// Whether the cluster is healthy: exit code 0 or 9, and one line that says why not.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    target: TargetArgs,
}

impl From<&StatusArgs> for StatusOptions {
    fn from(args: &StatusArgs) -> Self {
        let form = match (args.json, args.check) {
            (true, _) => StatusForm::Json,
            (false, true) => StatusForm::OneLine,
            (false, false) => StatusForm::Table,
        };
        Self { form, is_check: args.check }
    }
}

#[derive(Subcommand, Debug)]
enum SecretCommand {
    /// Print it, and the previous one on a second line while both are accepted.
    #[command(after_help = examples::SECRET_SHOW)]
    Show(NodeArgs),
    /// Make a new one and print it for the other nodes; the old one is accepted too, until `retire`.
    #[command(after_help = examples::SECRET_ROTATE)]
    Rotate(RotateArgs),
    /// Accept only the current one; for when every node has it.
    #[command(after_help = examples::SECRET_RETIRE)]
    Retire(NodeArgs),
}

#[derive(Args, Debug)]
struct RotateArgs {
    /// Take the secret in this file, or on standard input (-), instead of a new one.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Every setting as file key, flag and variable, with its default.
    #[command(after_help = examples::CONFIG_KEYS)]
    Keys,
    /// The settings in force for these arguments, and where each comes from.
    #[command(after_help = examples::CONFIG_EXPLAIN)]
    Explain(ExplainArgs),
}

#[derive(Args, Debug)]
struct ExplainArgs {
    /// One JSON object instead of the table; docs/cli.md lists its fields.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Args, Debug)]
struct DevArgs {
    /// Directory for configurations and data.
    #[arg(long, value_name = "DIR", default_value = DATA_DIR.row.default.text())]
    dir: PathBuf,
    /// Client port of the first node; the next ones follow, peers are 10000 above.
    #[arg(long, value_name = "PORT", default_value_t = CLIENT_PORT.default_value())]
    base_port: u16,
    /// Number of nodes, 1 to 9.
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: u16,
    /// Cores of each node.
    #[arg(long, value_name = "N", default_value_t = 1)]
    cores: u16,
    /// Which events the nodes write, such as info,peer=debug [default: info].
    #[arg(long, value_name = "LEVELS", env = "SYNOD_LOG_LEVEL")]
    log_level: Option<String>,
    /// How they write them: text or json [default: text].
    #[arg(long, value_name = "FORMAT", env = "SYNOD_LOG_FORMAT")]
    log_format: Option<String>,
    /// A further setting for every node, such as cluster.groups=32; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<SettingArg>,
}

#[derive(Args, Debug)]
struct BenchArgs {
    /// Directory for the cluster while it runs; deleted at the end if this command made it.
    #[arg(long, value_name = "DIR", default_value = "target/synod-bench")]
    dir: PathBuf,
    /// Number of nodes, 1 to 9.
    #[arg(long, value_name = "N", default_value_t = 3)]
    nodes: u16,
    /// Cores of each node [default: CPUs / nodes, at least 1].
    #[arg(long, value_name = "N")]
    cores: Option<u16>,
    /// Leave the data at the end.
    #[arg(long)]
    keep: bool,
    /// A further setting for every node, such as cluster.groups=32; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<SettingArg>,
    #[command(flatten, next_help_heading = "Load")]
    load: synod_loadgen::Options,
}

/// Which running cluster is meant.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
struct TargetArgs {
    /// Nodes of the cluster, one or more; the rest is learned from them.
    #[arg(
        long,
        value_name = "HOST:PORT[,…]",
        value_delimiter = ',',
        env = "SYNOD_TARGET",
        default_value = "127.0.0.1:6379"
    )]
    target: Vec<String>,
    /// How long to wait for an answer: 10, 500ms, 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_timeout)]
    timeout: Duration,
}

impl From<TargetArgs> for Target {
    fn from(args: TargetArgs) -> Self {
        Self { addresses: args.target, timeout: args.timeout, password: password_of_environment() }
    }
}

#[derive(Args, Debug)]
struct GetArgs {
    /// The key.
    key: OsString,
    /// How fresh the answer must be: by the leader's lease, or confirmed by a quorum.
    #[arg(long, value_enum, default_value = "linearizable")]
    consistency: ConsistencyArg,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ConsistencyArg {
    /// The leader under its lease, else like quorum.
    Linearizable,
    /// Always confirmed by a quorum: trusts no clock.
    Quorum,
}

#[derive(Args, Debug)]
struct SetArgs {
    /// The key.
    key: OsString,
    /// The value; read from standard input if left out.
    value: Option<OsString>,
    /// Expire after this long, more than 0: 10, 500ms, 2m.
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    ex: Option<Duration>,
    /// Only if the key does not exist.
    #[arg(long, conflicts_with = "xx")]
    nx: bool,
    /// Only if the key exists.
    #[arg(long)]
    xx: bool,
    #[command(flatten)]
    target: TargetArgs,
}

#[derive(Args, Debug)]
struct DelArgs {
    /// The keys.
    #[arg(required = true)]
    keys: Vec<OsString>,
    #[command(flatten)]
    target: TargetArgs,
}

/// The argument of `--set`. It may be a password, although a password is refused there.
#[derive(Clone)]
struct SettingArg {
    name: &'static str,
    word: String,
}

impl fmt::Debug for SettingArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, settings::shown(self.name, &self.word))
    }
}

fn parse_setting(text: &str) -> Result<SettingArg, String> {
    let (name, word) = text.split_once('=').ok_or("write it as KEY=VALUE, such as cluster.groups=32")?;
    let names = ROWS.iter().map(|row| row.name);
    let row = settings::find(name).ok_or_else(|| match spelling::nearest(name, names) {
        Some(meant) => format!("there is no setting {name}; did you mean {meant}?"),
        None => format!("there is no setting {name}; `synod config keys` lists them all"),
    })?;
    Ok(SettingArg { name: row.name, word: word.to_owned() })
}

/// The further settings, none of them a secret. (Not checked by the value parser: clap shows a value that its
/// parser refuses.)
fn further_settings(given: Vec<SettingArg>) -> Result<Flags, RunError> {
    let secret = |name: &str| settings::find(name).filter(|row| row.is_secret());
    match given.iter().find_map(|setting| secret(setting.name)) {
        None => Ok(given.into_iter().map(|setting| (setting.name, setting.word)).collect()),
        Some(row) => Err(RunError::Refused(Refusal::ConfigInvalid {
            place: "--set".to_owned(),
            why: format!(
                "{} is not taken from a command line, which everybody can see; set {}",
                row.name,
                row.env()
            ),
        })),
    }
}

/// The passwords that the started cluster is to require. They come from the environment only.
fn secrets_of_environment() -> Result<Flags, RunError> {
    let secrets = ROWS.iter().filter(|row| row.is_secret());
    let given = secrets.filter_map(|row| Some((row.name, row.env(), std::env::var_os(row.env())?)));
    given
        .map(|(name, variable, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(RunError::Refused(Refusal::ConfigInvalid {
                place: variable,
                why: "it is not UTF-8".to_owned(),
            })),
        })
        .collect()
}

/// The lifetime of a key. Zero is refused: the key would be deleted although the client reads OK.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text)?;
    if span.is_zero() {
        return Err("a key that expires at once is not set; use a longer time, or `synod del`".to_owned());
    }
    if span > Duration::from_millis(TTL_MS_MAX) {
        return Err(format!("{text} is too long; leave --ex out for a key that does not expire"));
    }
    Ok(span)
}

/// How long to wait for an answer.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text)?;
    if span < Duration::from_millis(1) || span > TIMEOUT_MAX {
        return Err("it must be at least 1ms and at most a day".to_owned());
    }
    Ok(span)
}

/// A configuration: a file, and a flag for every setting.
#[derive(Args, Debug)]
struct NodeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "SYNOD_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

impl NodeArgs {
    fn load(&self) -> Result<Config, Refusal> {
        Config::load(self.config.as_deref(), &self.flags)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let word = |row: &Row| matches.get_one::<String>(row.name).cloned();
        Ok(with_flags().filter_map(|(row, _)| Some((row.name, word(row)?))).collect())
    }
    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.extend(Self::from_arg_matches(matches)?);
        Ok(())
    }
}

/// One flag per setting, made from its row.
impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        with_flags().fold(command, |command, (row, flag)| {
            let arg = Arg::new(row.name).long(flag).value_name("VALUE");
            command.arg(arg.help(row.describe()).help_heading("Settings"))
        })
    }
    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The settings that have a flag, each with its flag.
fn with_flags() -> impl Iterator<Item = (&'static Row, &'static str)> {
    ROWS.iter().filter_map(|row| Some((*row, row.flag?)))
}

/// Every setting as file key, flag and variable, one line each; then the variables that are no settings.
fn list_settings() -> String {
    let setting = |row: &&Row| {
        let flag = row.flag.map_or("(no flag)".to_owned(), |flag| format!("--{flag}"));
        format!("{:<26} {flag:<22} {:<30} {}\n", row.name, row.env(), row.describe())
    };
    let other =
        |(name, meaning): &(&str, &str)| format!("{:<26} {:<22} {name:<30} {meaning}\n", "(no key)", "");
    ROWS.iter().map(setting).chain(variables::OTHERS.iter().map(other)).collect()
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not refusals; clap knows which is which. An error on a closed
            // terminal is ignored.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage.code() } else { Exit::Done.code() });
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads the output any more: the command has ended early for that reason alone.
        Err(RunError::Failed(_)) if output::is_closed() => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(format_args!("synod: {error}"));
            ExitCode::from(error.exit().code())
        }
    }
}

fn run(command: CommandLine) -> Result<(), RunError> {
    if command.reads_variables() {
        variables::check_process()?;
    }
    match command {
        CommandLine::Format(args) => {
            let config = args.load()?;
            let advice = config.declared.check_member_count()?;
            let data = serve::format(&config)?;
            if let Some(advice) = advice {
                output::complain(format_args!("synod: {advice}"));
            }
            let what = format!("formatted {}: {}\n", data.path().display(), data.identity().describe());
            output::write(what.as_bytes())
        }
        CommandLine::Serve(args) => serve::serve(&args.load()?),
        CommandLine::Dev(args) => dev::dev(&DevOptions {
            dir: args.dir,
            base_port: args.base_port,
            nodes: args.nodes,
            cores: args.cores,
            settings: [(LOG_LEVEL.row.name, args.log_level), (LOG_FORMAT.row.name, args.log_format)]
                .into_iter()
                .filter_map(|(name, word)| Some((name, word?)))
                .chain(further_settings(args.settings)?)
                .chain(secrets_of_environment()?)
                .collect(),
        }),
        CommandLine::Bench(args) => {
            let mut load = args.load;
            // A cluster that the bench starts itself requires no password.
            load.password = password_of_environment().filter(|_| !load.target.is_empty());
            bench::bench(&BenchOptions {
                dir: args.dir,
                nodes: args.nodes,
                cores: args.cores,
                keep: args.keep,
                settings: further_settings(args.settings)?,
                load,
            })
        }
        CommandLine::Get(args) => {
            let consistency = match args.consistency {
                ConsistencyArg::Linearizable => Consistency::Linearizable,
                ConsistencyArg::Quorum => Consistency::Quorum,
            };
            clientcmd::get(&args.target.into(), args.key.into_vec(), consistency)
        }
        CommandLine::Set(args) => {
            let condition = match (args.nx, args.xx) {
                (true, _) => Condition::IfAbsent,
                (false, true) => Condition::IfPresent,
                (false, false) => Condition::Always,
            };
            let (key, value) = (args.key.into_vec(), args.value.map(OsString::into_vec));
            let options = SetOptions { key, value, condition, expires_in: args.ex };
            clientcmd::set(&args.target.into(), options)
        }
        CommandLine::Del(args) => {
            let keys: Vec<Vec<u8>> = args.keys.into_iter().map(OsString::into_vec).collect();
            clientcmd::del(&args.target.into(), &keys)
        }
        CommandLine::Status(args) => {
            let options = StatusOptions::from(&args);
            statuscmd::status(&args.target.into(), options)
        }
        CommandLine::Secret(command) => match *command {
            SecretCommand::Show(args) => secretcmd::show(&args.load()?),
            SecretCommand::Rotate(args) => secretcmd::rotate(&args.node.load()?, args.from.as_deref()),
            SecretCommand::Retire(args) => secretcmd::retire(&args.load()?),
        },
        CommandLine::Completions(args) => manual::completions(Cli::command(), args.shell),
        CommandLine::Man(args) => manual::man(Cli::command(), &args.command, args.dir.as_deref()),
        CommandLine::Config(ConfigCommand::Keys) => output::write(list_settings().as_bytes()),
        CommandLine::Config(ConfigCommand::Explain(args)) => {
            explaincmd::explain(&args.node.load()?, args.json)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &str) -> bool {
        Cli::try_parse_from(words.split(' ')).is_err()
    }

    /// Every number of the command line at 0, -1, its largest value and one past it. Not covered here:
    /// settings (config/tests.rs), `bench`'s load (loadgen's options), and numbers that are refused with the
    /// whole cluster in view (tests/cli/refusals.rs).
    #[test]
    fn numbers_at_their_ends_are_taken_or_refused() {
        for (command, number, is_good) in [
            ("set k v --ex=@", "0", false),
            ("set k v --ex=@", "0ms", false),
            ("set k v --ex=@", "0.0", false),
            ("set k v --ex=@", "0.1us", true), // rounded up to a millisecond
            ("set k v --ex=@", "0.0000000001", false),
            ("set k v --ex=@", "-1", false),
            ("set k v --ex=@", "1ms", true),
            ("set k v --ex=@", "9007199254740ms", true),
            ("set k v --ex=@", "9007199254740", true),
            ("set k v --ex=@", "9007199254741", false),
            ("set k v --ex=@", "18446744073709551616", false),
            ("get k --timeout=@", "0", false),
            ("get k --timeout=@", "-1", false),
            ("get k --timeout=@", "999us", false),
            ("get k --timeout=@", "1ms", true),
            ("get k --timeout=@", "24h", true),
            ("get k --timeout=@", "86401", false),
            ("set k v --timeout=@", "0", false),
            ("del k --timeout=@", "0", false),
            ("status --timeout=@", "0", false),
            ("dev --base-port=@", "65536", false),
            ("dev --base-port=@", "-1", false),
            ("dev --nodes=@", "65536", false),
            ("dev --cores=@", "65536", false),
            ("bench --nodes=@", "65536", false),
            ("bench --cores=@", "65536", false),
        ] {
            let words = format!("synod {}", command.replace('@', number));
            assert_eq!(refused(&words), !is_good, "{words}");
        }
    }

    #[test]
    fn a_password_on_a_command_line_is_not_shown_again() {
        let flags = "--set security.password=Rosebud --set cluster.groups=4";
        for words in [format!("synod dev {flags}"), format!("synod bench {flags}")] {
            let shown = format!("{:?}", Cli::try_parse_from(words.split(' ')).unwrap());
            assert!(shown.contains("[security.password=********, cluster.groups=4]"), "{shown}");
            assert!(!shown.contains("Rosebud"), "{shown}");
        }
    }

    /// Every command of the tree with its name from the top, such as "synod config keys".
    fn commands() -> Vec<(String, Command)> {
        let mut tree = Cli::command();
        tree.build();
        let (mut all, mut open) = (Vec::new(), vec![("synod".to_owned(), tree)]);
        while let Some((name, command)) = open.pop() {
            let subs = command.get_subcommands().filter(|sub| sub.get_name() != "help");
            open.extend(subs.map(|sub| (format!("{name} {}", sub.get_name()), sub.clone())));
            all.push((name, command));
        }
        all
    }

    fn document(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        std::fs::read_to_string(path).unwrap()
    }

    /// The section of docs/cli.md about one command: from its heading to the next one.
    fn section<'d>(document: &'d str, command: &str) -> &'d str {
        let heading = format!("\n## {command}\n");
        let start = document.find(&heading).unwrap_or_else(|| panic!("docs/cli.md has no part `{command}`"));
        let rest = &document[start + heading.len()..];
        &rest[..rest.find("\n## ").unwrap_or(rest.len())]
    }

    #[test]
    fn the_document_has_every_command_flag_and_exit_code() {
        let (text, of_load) = (document("cli.md"), document("loadgen.md"));
        for (name, command) in commands().iter().filter(|(_, command)| !command.has_subcommands()) {
            let section = section(&text, name);
            for arg in command.get_arguments() {
                let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) else {
                    continue;
                };
                // The settings and the load have documents of their own.
                let is_of_load = name == "synod bench" && of_load.contains(&format!("--{long}"));
                let is_there = match arg.get_help_heading() {
                    Some("Settings") => section.contains("configuration.md"),
                    _ => section.contains(&format!("`--{long}")) || is_of_load,
                };
                assert!(is_there, "docs/cli.md does not describe --{long} of {name}");
            }
            assert!(section.contains(&format!("\n    {name}")), "docs/cli.md has no example of {name}");
        }
        for part in text.lines().filter_map(|line| line.strip_prefix("## synod")) {
            let name = format!("synod{part}");
            assert!(commands().iter().any(|(known, _)| *known == name), "docs/cli.md describes {name}");
        }
        for (exit, meaning) in Exit::TABLE {
            let row = format!("| {} | {meaning} |", exit.code());
            assert!(text.contains(&row), "docs/cli.md should have the row: {row}");
        }
    }

    #[test]
    fn every_command_says_in_one_line_what_it_is_and_gives_examples() {
        for (name, command) in commands() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.contains('\n'), "{name}: {about}");
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                command.has_subcommands() || examples.contains(&format!("  {name}")),
                "{name}: {examples}"
            );
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name}: {} says nothing", arg.get_id());
            }
        }
        let help = Cli::command().render_help().to_string();
        for (exit, meaning) in Exit::TABLE {
            assert!(help.contains(&format!("{:>4}  {meaning}", exit.code())), "{help}");
        }
    }

    #[test]
    fn a_time_that_is_nothing_says_what_to_do() {
        assert!(parse_ttl("0").unwrap_err().contains("synod del"));
        assert!(parse_timeout("0").unwrap_err().contains("at least 1ms"));
    }
}
