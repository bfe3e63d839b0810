//! `sim`: runs simulations by seed, in parallel, and stops at the first one that breaks an invariant.
//!
//! ```text
//!   sim --seed 42                   one run, parameters first, summary last
//!   sim --seed 42 --trace           every event
//!   sim --seeds 0..2000 --jobs 2    many; the first failure is reported with its replay command, exit 1
//!   sim --seeds 0..1000 --canary half-quorum   a known bug is planted: exit 0 if it is found, else 1
//! ```

#![forbid(unsafe_code)]

use clap::Parser;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use synod_shard::Canary;
use synod_tests::check::coverage::Coverage;
use synod_tests::sim::{
    Eyes, Failure, FaultKind, Options, Params, Summary, report, run, run_gray, run_partition,
};

/// Simulates clusters by seed.
#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// One seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// A range of seeds, `from..to`.
    #[arg(long, value_parser = parse_range, default_value = "0..100")]
    seeds: Range<u64>,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Simulated seconds with faults.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// A known bug to plant.
    #[arg(long, value_parser = parse_canary)]
    canary: Option<Canary>,
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Instead of random faults: one lasting partition after another, of this kind.
    #[arg(long, value_parser = parse_partition)]
    partition: Option<FaultKind>,
    /// Instead of random faults: gray failures, one at a time. A client of a node that is up gets no error.
    #[arg(long)]
    gray: bool,
    /// Judge by what clients see only (to test the faults themselves, with a canary).
    #[arg(long)]
    clients_only: bool,
    /// Print what the runs have met.
    #[arg(long)]
    coverage: bool,
    /// Go on after a failure and count them (needs a build whose panics unwind for failed assertions).
    #[arg(long)]
    keep_going: bool,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is written from..to")?;
    let number = |part: &str| part.parse::<u64>().map_err(|error| format!("{part:?}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() { Err("the range is empty".to_owned()) } else { Ok(range) }
}

fn parse_partition(text: &str) -> Result<FaultKind, String> {
    let kinds = [FaultKind::Isolate, FaultKind::OneWay, FaultKind::Star, FaultKind::Chain];
    let found = kinds.into_iter().find(|kind| kind.name() == text);
    let names = || kinds.map(FaultKind::name).join(", ");
    found.ok_or_else(|| format!("no such partition; there are {}", names()))
}

fn parse_canary(text: &str) -> Result<Canary, String> {
    let found = report::CANARIES.iter().find(|(name, _)| *name == text);
    let names = || report::CANARIES.map(|(name, _)| name).join(", ");
    found.map(|(_, canary)| *canary).ok_or_else(|| format!("no such canary; there are {}", names()))
}

/// The totals over all seeds.
#[derive(Default)]
struct Totals {
    runs: u64,
    failures: Vec<(u64, Box<Failure>)>,
    acknowledged: u64,
    slots: u64,
    simulated: u64,
    least_acknowledged: Option<u64>,
    coverage: Coverage,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = match arguments.seed {
        Some(seed) => seed..seed + 1,
        None => arguments.seeds.clone(),
    };
    if arguments.seed.is_some() {
        println!("{}", Params::derive(options(&arguments, seeds.start)));
    }
    let started = Instant::now();
    let totals = run_all(&arguments, seeds.clone());
    let simulated = totals.simulated / 1_000_000_000;
    println!(
        "{} runs, {} failed; {simulated} simulated s in {:.1} s; {} operations acknowledged (least in a run: {}), \
         {} slots",
        totals.runs,
        totals.failures.len(),
        started.elapsed().as_secs_f64(),
        totals.acknowledged,
        totals.least_acknowledged.unwrap_or(0),
        totals.slots,
    );
    if arguments.coverage {
        print!("{}", totals.coverage);
    }
    for (seed, failure) in &totals.failures {
        let first = failure.violation.detail.lines().next().unwrap_or_default();
        println!("  seed {seed}: [{}] {first}", failure.violation.invariant);
    }
    match (arguments.canary, totals.failures.is_empty()) {
        (Some(canary), false) => {
            println!("caught canary {canary:?} with seed {}", totals.failures[0].0);
            ExitCode::SUCCESS
        }
        (Some(canary), true) => {
            println!("canary {canary:?} was not caught");
            ExitCode::FAILURE
        }
        (None, clean) => ExitCode::from(u8::from(!clean)),
    }
}

fn options(arguments: &Arguments, seed: u64) -> Options {
    Options {
        seed,
        seconds: arguments.seconds,
        canary: arguments.canary,
        trace: arguments.trace,
        eyes: if arguments.clients_only { Eyes::Clients } else { Eyes::All },
    }
}

fn run_all(arguments: &Arguments, seeds: Range<u64>) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let options = options(arguments, seed);
                    let result = match arguments.partition {
                        _ if arguments.gray => run_gray(options),
                        Some(kind) => run_partition(options, kind),
                        None => run(options),
                    };
                    let failed = result.is_err();
                    // A poisoned lock means that another thread's report panicked: there is no sensible way
                    // to go on.
                    let mut totals = totals.lock().expect("no thread panics while it holds the totals");
                    totals.add(arguments, seed, result);
                    if failed && !arguments.keep_going {
                        next.store(seeds.end, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    totals.into_inner().expect("no thread panics while it holds the totals")
}

impl Totals {
    fn add(&mut self, arguments: &Arguments, seed: u64, result: Result<Summary, Box<Failure>>) {
        self.runs += 1;
        match result {
            Ok(summary) => {
                self.acknowledged += summary.acknowledged;
                self.slots += summary.slots as u64;
                self.simulated += summary.simulated;
                self.coverage.add(&summary.coverage);
                let least = self.least_acknowledged.unwrap_or(u64::MAX).min(summary.acknowledged);
                self.least_acknowledged = Some(least);
                if arguments.seed.is_some() {
                    println!("{summary:?}");
                }
            }
            Err(failure) => {
                if !arguments.keep_going || arguments.seed.is_some() {
                    print!("{}", failure.report);
                }
                self.failures.push((seed, failure));
            }
        }
    }
}
