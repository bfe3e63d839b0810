//! `bench-harness compare`: Synod, Redis and etcd under the same load on this machine, in alternation.
//!
//! ```text
//!   round 1: A B C    round 2: B C A    round 3: C A B      each from fresh data, alone on the machine
//! ```
//! A ratio is taken within a round, and the median of the rounds is shown: a disturbance of the machine in
//! one round affects all systems in it.

mod options;
mod report;
mod system;

pub use options::CompareOptions;

use crate::etcd;
use crate::figures::Figures;
use crate::output::{describe_machine, write_json};
use crate::servers::{NodesSpec, Persistence, Servers, version};
use report::{Comparison, Entrant};
use std::path::Path;
use synod::bench;
use synod::node::RunError;
use synod::refusal::Refusal;
use synod::stop::Stop;
use synod_loadgen::{Options as LoadOptions, Protocol};
use system::System;

/// Nodes of a replicated system.
const NODES: u16 = 3;
/// Runs the comparison; returns an error also if a completed run found a fault.
pub fn compare(options: &CompareOptions, stop: &Stop) -> Result<(), RunError> {
    options.load(Vec::new(), Protocol::Binary).check()?;
    let mut entrants = entrants(options)?;
    println!("{}", heading(options));
    let count = entrants.len();
    for round in 0..options.rounds as usize {
        for place in 0..count {
            let entrant = &mut entrants[(round + place) % count];
            if entrant.absent.is_some() {
                continue;
            }
            println!("round {} of {}: {}", round + 1, options.rounds, entrant.system.name());
            let found = visit(options, entrant.system, stop);
            if stop.requested() {
                return Err(RunError::Failed("interrupted".to_owned()));
            }
            match &found {
                Ok(figures) => println!("  {}", figures.line()),
                Err(error) => println!("  FAILED: {error}"),
            }
            entrant.rounds.push(found.map_err(|error| error.to_string()));
        }
    }
    let comparison = Comparison::new(options, entrants);
    println!("\n{}", comparison.text());
    if let Some(path) = &options.json {
        write_json(path, &comparison)?;
    }
    let faults = comparison.faults();
    if faults.is_empty() { Ok(()) } else { Err(RunError::Failed(faults.join("\n"))) }
}

fn heading(options: &CompareOptions) -> String {
    format!(
        "bench-harness compare: {} connections x {} requests, {} keys, values of {} B; {} s of each phase after \
         {} s; {}",
        options.connections,
        options.inflight,
        options.keys,
        options.value_size,
        options.duration.as_secs_f64(),
        options.warmup.as_secs_f64(),
        describe_machine(&options.tools.dir),
    )
}

/// The systems that take part, and those that would if they were installed.
fn entrants(options: &CompareOptions) -> Result<Vec<Entrant>, RunError> {
    let mut entrants: Vec<Entrant> = Vec::new();
    for &system in &options.systems {
        if entrants.iter().any(|entrant| entrant.system == system) {
            continue;
        }
        let version = match system {
            System::Synod | System::SynodResp => {
                let binary = options.tools.synod().map_err(Refusal::Usage)?;
                version(&binary, "--version")
            }
            System::Redis | System::RedisMemory => version(&options.tools.redis_server, "--version"),
            System::Etcd => version(&options.etcd, "--version"),
        };
        let absent = version.is_none().then(|| match system.package() {
            Some(package) => format!("not installed (apt package {package})"),
            None => "does not start".to_owned(),
        });
        entrants.push(Entrant { system, version, absent, rounds: Vec::new() });
    }
    Ok(entrants)
}

/// Starts a system, loads it, and ends it.
fn visit(options: &CompareOptions, system: System, stop: &Stop) -> Result<Figures, RunError> {
    let tools = &options.tools;
    let mut servers = match system {
        System::Synod | System::SynodResp => {
            let load = options.load(Vec::new(), Protocol::Binary).0;
            let value_bytes = u64::from(options.keys) * u64::from(options.value_size);
            Servers::synod(tools, &NodesSpec { nodes: NODES, load, value_bytes, leaders_follow: false })
        }
        System::Redis => Servers::redis(tools, Persistence::Always),
        System::RedisMemory => Servers::redis(tools, Persistence::Memory),
        System::Etcd => Servers::etcd(Path::new(&options.etcd), tools),
    }?;
    synod::bench::calm(&tools.dir, stop)?;
    let target = servers.targets();
    let found = match system {
        System::Etcd => etcd::load(&options.load(target, Protocol::Binary).0, stop),
        System::Synod => run_generator(options.load(target, Protocol::Binary).0, stop, &mut servers),
        System::SynodResp | System::Redis | System::RedisMemory => {
            run_generator(options.load(target, Protocol::Resp).0, stop, &mut servers)
        }
    };
    match found {
        Ok(figures) => servers.end().map(|()| figures),
        Err(error) if stop.requested() => Err(error),
        Err(error) => {
            Err(RunError::Failed(format!("{error}; the servers' last lines:\n{}", servers.tails())))
        }
    }
}

fn run_generator(load: LoadOptions, stop: &Stop, servers: &mut Servers) -> Result<Figures, RunError> {
    let report = bench::load(load, stop, |_| {}, || servers.death())?;
    Ok(Figures::from(&report))
}
