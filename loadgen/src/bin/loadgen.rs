//! `loadgen`: load for a running cluster. Exit status 0: the run is complete and found no fault. 1:
//! verification or audit failed, the run could not be done, or a comparison exceeded its limit. 2: the
//! command line is not valid. 14: the host is too noisy for the figure of `--find-max`.

#![forbid(unsafe_code)]

use clap::Parser;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use synod_loadgen::compare::compare;
use synod_loadgen::{
    LoadError, NOISY_HOST_EXIT, Options, Progress, Report, password_of_environment, run, write_files,
};

/// Offers load to a running Synod cluster at a fixed rate, measures latency from the planned send time,
/// verifies every read, and checks at the end that no acknowledged write is missing.
///
/// Exit status: 0 no fault; 1 a fault, or the run could not be done; 2 the command line is not valid; 14 the
/// host is too noisy for the figure of --find-max.
///
/// A password that the target wants is taken from the variable SYNOD_PASSWORD.
#[derive(Parser, Debug)]
#[command(name = "loadgen", version, args_conflicts_with_subcommands = true)]
struct Line {
    #[command(subcommand)]
    ask: Option<CommandLine>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Subcommand, Debug)]
enum CommandLine {
    /// Compare two reports, with a 95 % interval for each ratio
    Compare(CompareArgs),
}

#[derive(clap::Args, Debug)]
struct CompareArgs {
    /// JSON report of the first run
    a: PathBuf,
    /// JSON report of the second run
    b: PathBuf,
    /// Fail when the p99 of an operation is with confidence more than this many times as long in the second
    /// run
    #[arg(long, value_name = "RATIO")]
    fail_above: Option<f64>,
}

fn main() -> ExitCode {
    let Line { ask, mut options } = Line::parse();
    if let Some(CommandLine::Compare(args)) = ask {
        return match show_comparison(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err((status, error)) => {
                eprintln!("loadgen: {error}");
                ExitCode::from(status)
            }
        };
    }
    options.password = password_of_environment();
    match measure(&options) {
        Ok(report) if !report.passed() => ExitCode::from(1),
        Ok(report) => match report.noise() {
            None => ExitCode::SUCCESS,
            Some(noise) => {
                eprintln!("loadgen: host too noisy: {noise}");
                ExitCode::from(NOISY_HOST_EXIT)
            }
        },
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn show_comparison(args: &CompareArgs) -> Result<(), (u8, String)> {
    if args.fail_above.is_some_and(|limit| !(limit.is_finite() && limit > 0.0)) {
        return Err((2, "--fail-above must be a ratio above 0, such as 1.1".into()));
    }
    let compared = compare(&read_report(&args.a)?, &read_report(&args.b)?);
    say(compared.table().trim_end());
    let slower = args.fail_above.map(|limit| (limit, compared.slower_than(limit)));
    match slower {
        Some((limit, slower)) if !slower.is_empty() => {
            Err((1, format!("p99 is more than {limit} times as long: {}", slower.join(", "))))
        }
        _ => Ok(()),
    }
}

fn read_report(path: &Path) -> Result<Report, (u8, String)> {
    let refuse = |why: String| (2, format!("{} is not a report of loadgen: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
}

fn measure(options: &Options) -> Result<Report, LoadError> {
    let mut show = |progress: &Progress| say(&progress.line());
    let report = run(options, &mut show)?;
    say("");
    say(report.table().trim_end());
    write_files(&report, options)?;
    Ok(report)
}

/// Prints a line. Errors are ignored: if the reader of a pipe is gone, the run continues.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
