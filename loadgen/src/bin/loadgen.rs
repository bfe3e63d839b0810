//! `loadgen`: load for a running cluster. Exit status 0: done and found sound. 1: verification or audit failed, or the run
//! could not be done. 2: the command line asks for something that cannot be.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use synod_loadgen::{LoadError, Options, Progress, Report, run};

/// Offers load to a running Synod cluster at a fixed rate, measures latency from the planned send time, verifies every
/// read, and checks at the end that no acknowledged write is missing.
#[derive(Parser, Debug)]
#[command(name = "loadgen", version)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let Line { options } = Line::parse();
    match measure(&options) {
        Ok(report) if report.passed() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn measure(options: &Options) -> Result<Report, LoadError> {
    let mut show = |progress: &Progress| say(&progress.line());
    let report = run(options, &mut show)?;
    say("");
    say(report.table().trim_end());
    if let Some(path) = &options.json {
        let written = std::fs::write(path, report.json());
        written.map_err(|source| LoadError::File { what: format!("report {}", path.display()), source })?;
    }
    Ok(report)
}

/// Prints a line; whoever reads may have left, and the run goes on.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
