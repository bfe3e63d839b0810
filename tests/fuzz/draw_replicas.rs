//! `fuzz_replicas`: runs whole replicas under scripts drawn from seeds, without a fuzzer: for any length of
//! time, on any compiler.
//!
//! ```text
//!   fuzz_replicas --minutes 20                 seeds from 0 on, until the time is over or one fails
//!   fuzz_replicas --from 5000 --minutes 20     seeds from 5000 on
//!   fuzz_replicas --seed 17 --trace            one seed, told step by step
//!   fuzz_replicas --seed 17 --write FILE       its bytes, for the corpus
//!   fuzz_replicas --file FILE --trace          bytes that a fuzzer found
//! ```
//! A failure is a panic, after which the seed is printed.

#![forbid(unsafe_code)]

use clap::Parser;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use synod_tests::fuzz::{drawn, replicas, replicas_told};

/// Runs whole replicas under random scripts.
#[derive(Parser)]
#[command(about)]
struct Arguments {
    /// One seed.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of many seeds.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How long, minutes.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// Bytes instead of a seed.
    #[arg(long, conflicts_with = "seed")]
    file: Option<PathBuf>,
    /// Print every step.
    #[arg(long)]
    trace: bool,
    /// Write the seed's bytes to a file instead of running them.
    #[arg(long, requires = "seed")]
    write: Option<PathBuf>,
}

static SEED: AtomicU64 = AtomicU64::new(0);

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let run_bytes = |data: &[u8]| {
        if arguments.trace { replicas_told(data, &mut |what| println!("{what}")) } else { replicas(data) }
    };
    if let Some(file) = &arguments.file {
        run_bytes(&std::fs::read(file)?);
        return Ok(());
    }
    if let (Some(seed), Some(file)) = (arguments.seed, &arguments.write) {
        return Ok(std::fs::write(file, drawn(seed))?);
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        eprintln!("replay: fuzz_replicas --seed {} --trace", SEED.load(Ordering::Relaxed));
    }));
    let run = |seed| {
        SEED.store(seed, Ordering::Relaxed);
        run_bytes(&drawn(seed));
    };
    if let Some(seed) = arguments.seed {
        run(seed);
        return Ok(());
    }
    let (begun, limit) = (Instant::now(), Duration::from_secs(60 * arguments.minutes));
    let mut seed = arguments.from;
    while begun.elapsed() < limit {
        run(seed);
        seed += 1;
    }
    println!("seeds {}..{seed} hold, {} s", arguments.from, begun.elapsed().as_secs());
    Ok(())
}
