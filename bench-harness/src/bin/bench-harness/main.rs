//! `bench-harness`: Synod beside other servers on this machine. Exit status 0: done, and no fault found. 1: a
//! run failed or contradicted an acknowledgement. 2: the command line is invalid. 14: as in
//! `synod bench`, the host is too noisy.

mod compare;
mod etcd;
mod figures;
mod output;
mod redis_benchmark;
mod servers;
mod stats;
mod table;

use clap::Parser;
use std::path::Path;
use std::process::ExitCode;
use synod::node::RunError;
use synod::stop::Stop;

/// The allocator that the load generator has in `synod bench`, so that the figures of both can be compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Synod beside other servers on this machine, in alternation, each alone and from fresh data.
#[derive(Parser, Debug)]
#[command(name = "bench-harness", version, arg_required_else_help = true, disable_help_subcommand = true)]
enum CommandLine {
    /// Synod, Redis and etcd under the same load generator: SET and GET, and a table of ratios
    Compare(compare::CompareOptions),
    /// The redis-benchmark tool against Synod and against Redis: a table of ratios
    RedisBenchmark(redis_benchmark::RedisBenchmarkOptions),
}

fn main() -> ExitCode {
    let ask = CommandLine::parse();
    let stop = Stop::on_signals();
    let result =
        stop.map_err(|error| RunError::Failed(format!("cannot take signals: {error}"))).and_then(|stop| {
            match &ask {
                CommandLine::Compare(options) => done_in(options.dir(), compare::compare(options, &stop)),
                CommandLine::RedisBenchmark(options) => {
                    done_in(options.dir(), redis_benchmark::redis_benchmark(options, &stop))
                }
            }
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-harness: {error}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// The exit status of a command that ended so. Whatever is refused comes from the command line.
fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Refused(_) => 2,
        RunError::Failed(_) | RunError::Ended { .. } => error.exit().code(),
    }
}

/// Removes the directory above the servers' own directories, which are gone by now, unless it holds other
/// files.
fn done_in<T>(dir: &Path, result: T) -> T {
    // Fails if there are other files in it, or if it does not exist: both are fine.
    let _ = std::fs::remove_dir(dir);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod::exit::Exit;

    #[test]
    fn noise_and_failure_have_different_exit_codes() {
        let noisy = RunError::Ended { exit: Exit::NoisyHost, why: "host too noisy".to_owned() };
        assert_eq!(exit_code(&noisy), 14);
        assert_eq!(exit_code(&RunError::Failed("a run failed".to_owned())), 1);
    }
}
