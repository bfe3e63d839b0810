//! `bench-harness compare`: Synod, Redis and etcd under the same load on this machine, in alternation.
//!
//! ```text
//!   round 1: A B C    round 2: B C A    round 3: C A B      each from fresh data, alone on the machine
//! ```
//! A ratio is taken within a round and the median of the rounds is shown: what the machine does to one round it does to all
//! systems in it.

mod report;
mod system;

use system::System;

use crate::etcd;
use crate::figures::Figures;
use crate::servers::{NodesSpec, Persistence, Servers, Tools, version};
use report::{Comparison, Entrant};
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod::bench;
use synod::node::RunError;
use synod::refusal::Refusal;
use synod::stop::Stop;
use synod_loadgen::{Options as LoadOptions, Protocol, parse_duration};

/// Nodes of a replicated system.
const NODES: u16 = 3;
/// A key has at most one write under way; with fewer keys per request than this, the load would be about waiting for keys.
const KEYS_PER_REQUEST_MIN: u32 = 2;

/// What is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct CompareOptions {
    /// What is compared
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = System::ALL)]
    systems: Vec<System>,
    /// How often each system is measured
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measured phase
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    duration: Duration,
    /// Load before each measured phase that is not in the table
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Connections in all
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    connections: u32,
    /// Requests under way on each connection
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    inflight: u32,
    /// Keys; every one is written before the load begins
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    keys: u32,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    value_size: u32,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The etcd server
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    etcd: PathBuf,
    /// Write everything as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    tools: Tools,
}

/// Runs the comparison; an error is also one that was done and found a fault.
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
        crate::write_json(path, &comparison)?;
    }
    let faults = comparison.faults();
    if faults.is_empty() { Ok(()) } else { Err(RunError::Failed(faults.join("\n"))) }
}

impl CompareOptions {
    /// Where the data of the servers is.
    pub fn dir(&self) -> &Path {
        &self.tools.dir
    }

    /// The load, the same for all.
    fn load(&self, target: Vec<String>, protocol: Protocol) -> Load {
        Load(LoadOptions {
            target,
            protocol,
            closed: true,
            duration: self.duration,
            warmup: self.warmup,
            connections: self.connections,
            inflight: self.inflight,
            keys: self.keys,
            value_size: self.value_size.into(),
            seed: self.seed,
            ..LoadOptions::default()
        })
    }
}

struct Load(LoadOptions);

impl Load {
    /// Whether it can be done, before anything is started for it.
    fn check(mut self) -> Result<(), Refusal> {
        let under_way = self.0.connections.saturating_mul(self.0.inflight);
        if self.0.keys / KEYS_PER_REQUEST_MIN < under_way {
            return Err(Refusal::Usage(format!(
                "--keys {} is less than {KEYS_PER_REQUEST_MIN} for each of the {under_way} requests under way",
                self.0.keys
            )));
        }
        // The servers' addresses take this place.
        self.0.target = vec!["127.0.0.1:1".to_owned()];
        self.0.check().map_err(|error| Refusal::Usage(error.to_string()))
    }
}

fn heading(options: &CompareOptions) -> String {
    format!(
        "bench-harness compare: {} connections x {} requests, {} keys, values of {} B; {} s of each phase after {} s; {}",
        options.connections,
        options.inflight,
        options.keys,
        options.value_size,
        options.duration.as_secs_f64(),
        options.warmup.as_secs_f64(),
        crate::describe_machine(&options.tools.dir),
    )
}

/// Who takes part, and who would if it were installed.
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

/// Starts a system, loads it, ends it.
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
