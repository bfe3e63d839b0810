//! The command line: the commands and their exit codes.
//!
//! 0: done. 1: the command began and failed. 2: refused before anything was touched, with one sentence on
//! standard error.

use crate::bench::{self, BenchOptions};
use crate::clientcmd::{self, SetOptions, Target};
use crate::config::row::Row;
use crate::config::settings::{self, CLIENT_PORT, DATA_DIR, ROWS};
use crate::config::{Config, Flags, spelling};
use crate::dev::{self, DevOptions};
use crate::node::RunError;
use crate::refusal::Refusal;
use crate::secretcmd;
use crate::serve;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum};
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

/// The command was refused: nothing was touched.
pub const EXIT_REFUSED: u8 = 2;
/// The command began and failed.
pub const EXIT_FAILED: u8 = 1;

/// A replicated key-value store that answers in microseconds and loses nothing.
#[derive(Parser, Debug)]
#[command(name = "synod", version, arg_required_else_help = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: CommandLine,
}

#[derive(Subcommand, Debug)]
enum CommandLine {
    /// Make a data directory that of a new node.
    Format(NodeArgs),
    /// Run a node; without a configuration, a cluster of one in ./synod-data.
    Serve(NodeArgs),
    /// Run a cluster for development on this machine: three node processes, data kept.
    Dev(DevArgs),
    /// Start a durable cluster on this machine, load it, show the result and clean up.
    Bench(Box<BenchArgs>),
    /// Print the value of a key; without such a key, exit code 1.
    Get(GetArgs),
    /// Set a key; says OK once the write is durable on a quorum.
    Set(SetArgs),
    /// Remove keys; prints how many there were.
    Del(DelArgs),
    /// Show every node and every group of a running cluster.
    Status(TargetArgs),
    /// Show settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show or replace the secret that the nodes of a cluster share.
    #[command(subcommand)]
    Secret(Box<SecretCommand>),
}

#[derive(Subcommand, Debug)]
enum SecretCommand {
    /// Print it, and the previous one on a second line while both are accepted.
    Show(NodeArgs),
    /// Make a new one and print it for the other nodes; the old one is accepted too, until `retire`.
    Rotate(RotateArgs),
    /// Accept only the current one; for when every node has it.
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
    Keys,
    /// The settings in force for these arguments, and where each comes from.
    Explain(NodeArgs),
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
    #[command(flatten)]
    load: synod_loadgen::Options,
}

/// Which running cluster is meant.
#[derive(Args, Debug)]
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

/// Every setting as file key, flag and variable, one line each.
fn list_settings() {
    for row in ROWS {
        let flag = row.flag.map_or("(no flag)".to_owned(), |flag| format!("--{flag}"));
        println!("{:<26} {flag:<22} {:<30} {}", row.name, row.env(), row.describe());
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not refusals; clap knows which is which. An error on a closed
            // terminal is ignored.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_REFUSED) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("synod: {error}");
            ExitCode::from(match error {
                RunError::Refused(_) => EXIT_REFUSED,
                RunError::Failed(_) => EXIT_FAILED,
            })
        }
    }
}

fn run(command: CommandLine) -> Result<(), RunError> {
    match command {
        CommandLine::Format(args) => {
            let data = serve::format(&args.load()?)?;
            println!("formatted {}: {}", data.path().display(), data.identity().describe());
            Ok(())
        }
        CommandLine::Serve(args) => serve::serve(&args.load()?),
        CommandLine::Dev(args) => dev::dev(&DevOptions {
            dir: args.dir,
            base_port: args.base_port,
            nodes: args.nodes,
            cores: args.cores,
            settings: further_settings(args.settings)?.into_iter().chain(secrets_of_environment()?).collect(),
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
        CommandLine::Status(args) => clientcmd::status(&args.into()),
        CommandLine::Config(ConfigCommand::Keys) => {
            list_settings();
            Ok(())
        }
        CommandLine::Secret(command) => match *command {
            SecretCommand::Show(args) => secretcmd::show(&args.load()?),
            SecretCommand::Rotate(args) => secretcmd::rotate(&args.node.load()?, args.from.as_deref()),
            SecretCommand::Retire(args) => secretcmd::retire(&args.load()?),
        },
        CommandLine::Config(ConfigCommand::Explain(args)) => {
            print!("{}", args.load()?.explain());
            Ok(())
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

    #[test]
    fn a_time_that_is_nothing_says_what_to_do() {
        assert!(parse_ttl("0").unwrap_err().contains("synod del"));
        assert!(parse_timeout("0").unwrap_err().contains("at least 1ms"));
    }
}
