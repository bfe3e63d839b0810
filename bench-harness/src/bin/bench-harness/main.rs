//! `bench-harness`: Synod beside other servers on this machine. Exit status 0: done and found sound. 1: something failed or
//! contradicted what was acknowledged. 2: the command line asks for something that cannot be.

mod compare;
mod etcd;
mod figures;
mod redis_benchmark;
mod servers;
mod stats;
mod table;

use clap::Parser;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;
use synod::node::RunError;
use synod::preflight;
use synod::stop::Stop;

/// The allocator of the load generator in `synod bench`, so that figures of both can be compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Synod beside other servers on this machine, in alternation, each alone and from fresh data.
#[derive(Parser, Debug)]
#[command(name = "bench-harness", version, arg_required_else_help = true, disable_help_subcommand = true)]
enum Ask {
    /// Synod, Redis and etcd under the same load generator: SET and GET, and a table of ratios
    Compare(compare::CompareOptions),
    /// The redis-benchmark tool against Synod and against Redis: a table of ratios
    RedisBenchmark(redis_benchmark::RedisBenchmarkOptions),
}

fn main() -> ExitCode {
    let ask = Ask::parse();
    let stop = Stop::on_signals();
    let result =
        stop.map_err(|error| RunError::Failed(format!("cannot take signals: {error}"))).and_then(|stop| {
            match &ask {
                Ask::Compare(options) => done_in(options.dir(), compare::compare(options, &stop)),
                Ask::RedisBenchmark(options) => {
                    done_in(options.dir(), redis_benchmark::redis_benchmark(options, &stop))
                }
            }
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-harness: {error}");
            ExitCode::from(match error {
                RunError::Refused(_) => 2,
                RunError::Failed(_) => 1,
            })
        }
    }
}

/// Removes the directory above the servers' own, which are gone by now, unless something else is in it.
fn done_in<T>(dir: &Path, result: T) -> T {
    // Fails where there is something else, or nothing at all: both as it should be.
    let _ = std::fs::remove_dir(dir);
    result
}

/// The machine, the filesystem of the data, and a warning where figures would mean nothing.
fn describe_machine(dir: &Path) -> String {
    // The directory may not be there yet; one above it is.
    let existing = std::path::absolute(dir).unwrap_or_default();
    let existing = existing.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let filesystem =
        preflight::filesystem(existing).map_or_else(|error| error.to_string(), |found| found.to_string());
    let warning = if cfg!(debug_assertions) { "; WARNING: not a release build" } else { "" };
    format!("{}; {filesystem}{warning}", preflight::describe_machine())
}

fn write_json(path: &Path, what: &impl Serialize) -> Result<(), RunError> {
    let text = serde_json::to_string_pretty(what).expect("plain data with text keys");
    std::fs::write(path, text + "\n")
        .map_err(|error| RunError::Failed(format!("cannot write {}: {error}", path.display())))
}
