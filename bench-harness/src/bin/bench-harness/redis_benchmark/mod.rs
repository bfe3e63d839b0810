//! `bench-harness redis-benchmark`: the tool that comes with Redis, against three nodes of Synod and against
//! Redis, in alternation.

mod report;
mod tool;

use crate::output::{describe_machine, write_json};
use crate::servers::{NodesSpec, Persistence, Servers, Tools, version};
use report::{Contestant, Measured, Table};
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod::node::RunError;
use synod::refusal::Refusal;
use synod::stop::Stop;
use synod_loadgen::{Options as LoadOptions, parse_duration};
use tool::Test;

/// Nodes of the Synod cluster.
const NODES: u16 = 3;
/// A run with pipelining has at most this many times the requests of one without. With `--cluster` the tool
/// reads the clock only every 250 ms: a run must be long compared to that, at any depth.
const LENGTHENED_MAX: u32 = 4;
/// The log space reserved for one second of the closed loop is enough for this many requests; see
/// `synod bench`.
const RESERVED_PER_S: u64 = 60_000;

/// What is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct RedisBenchmarkOptions {
    /// How often each server is measured
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Requests per pipeline; each depth is a row
    #[arg(long, value_name = "COUNT[,…]", value_delimiter = ',', default_values_t = [1, 16])]
    pipeline: Vec<u32>,
    /// Parallel connections
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    clients: u32,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    value_size: u32,
    /// Keys are drawn from so many
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    key_space: u32,
    /// Writes of a measurement without pipelining; of others as many times more as the pipeline is deep, but
    /// at most 4 times
    #[arg(long, value_name = "COUNT", default_value_t = 200_000,
          value_parser = clap::value_parser!(u32).range(1..=500_000_000))]
    writes: u32,
    /// Reads, likewise
    #[arg(long, value_name = "COUNT", default_value_t = 400_000,
          value_parser = clap::value_parser!(u32).range(1..=500_000_000))]
    reads: u32,
    /// A measurement that takes longer has failed
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    limit: Duration,
    /// The redis-benchmark tool
    #[arg(long, value_name = "FILE", default_value = "redis-benchmark")]
    redis_benchmark: PathBuf,
    /// Write everything as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    tools: Tools,
}

impl RedisBenchmarkOptions {
    /// The directory of the servers' data.
    pub fn dir(&self) -> &Path {
        &self.tools.dir
    }

    fn heading(&self) -> String {
        format!(
            "redis-benchmark -d {} -r {} -c {}, {} writes and {} reads each, up to {LENGTHENED_MAX} times as many \
             in pipelines; {}",
            self.value_size,
            self.key_space,
            self.clients,
            self.writes,
            self.reads,
            describe_machine(&self.tools.dir),
        )
    }

    /// All writes first, so that reads at every depth find the same share of the keys.
    fn tests(&self) -> Vec<(Test, u32)> {
        let of = |test| self.pipeline.iter().map(move |&depth| (test, depth));
        of(Test::Set).chain(of(Test::Get)).collect()
    }

    fn requests(&self, test: Test, depth: u32) -> u32 {
        let alone = match test {
            Test::Set => self.writes,
            Test::Get => self.reads,
        };
        alone * depth.min(LENGTHENED_MAX) // 2e9 at most: the tool counts in an int
    }

    /// With `--cluster` the tool draws from this many keys for each master. The servers should hold equally
    /// many keys.
    fn keys_per_tag(&self, cluster: bool) -> u32 {
        if cluster { (self.key_space / u32::from(NODES)).max(1) } else { self.key_space }
    }

    /// The cluster to start, with log space for all writes.
    fn spec(&self, contestant: Contestant) -> NodesSpec {
        let writes =
            self.pipeline.iter().map(|&depth| u64::from(self.requests(Test::Set, depth))).sum::<u64>();
        let load = LoadOptions {
            closed: true,
            value_size: self.value_size.into(),
            keys: 0,
            warmup: Duration::ZERO,
            duration: Duration::from_secs(writes / RESERVED_PER_S),
            ..LoadOptions::default()
        };
        let value_bytes = u64::from(self.key_space) * u64::from(self.value_size);
        // A user with one address for all requests would choose this.
        let leaders_follow = contestant == Contestant::SynodOneNode;
        NodesSpec { nodes: NODES, load, value_bytes, leaders_follow }
    }
}

/// Runs the comparison; returns an error also if a measurement in it failed.
pub fn redis_benchmark(options: &RedisBenchmarkOptions, stop: &Stop) -> Result<(), RunError> {
    options.tools.synod().map_err(Refusal::Usage)?;
    if options.pipeline.is_empty() || options.pipeline.contains(&0) {
        return Err(Refusal::Usage("--pipeline must be at least 1".to_owned()).into());
    }
    let tool = version(&options.redis_benchmark, "--version").ok_or_else(|| {
        Refusal::Usage(format!(
            "{} is not installed (apt package redis-tools)",
            options.redis_benchmark.display()
        ))
    })?;
    let server = version(&options.tools.redis_server, "--version");
    println!("{tool}: {}", options.heading());

    let mut table = Table::new(options.heading(), server.is_none());
    let count = Contestant::ALL.len();
    for round in 0..options.rounds as usize {
        for place in 0..count {
            let contestant = Contestant::ALL[(round + place) % count];
            if contestant == Contestant::Redis && server.is_none() {
                continue;
            }
            println!("round {} of {}: {}", round + 1, options.rounds, contestant.name());
            if let Err(error) = visit(options, contestant, round, &mut table, stop) {
                if stop.requested() {
                    return Err(error);
                }
                println!("  FAILED: {error}");
                table.failed(format!("{} in round {}: {error}", contestant.name(), round + 1));
            }
        }
    }
    println!("\n{}", table.text());
    if let Some(path) = &options.json {
        write_json(path, &table.json())?;
    }
    let failures = table.failures();
    if failures.is_empty() { Ok(()) } else { Err(RunError::Failed(failures.join("\n"))) }
}

/// Starts a server, runs every test against it, and ends it.
fn visit(
    options: &RedisBenchmarkOptions,
    contestant: Contestant,
    round: usize,
    table: &mut Table,
    stop: &Stop,
) -> Result<(), RunError> {
    let mut servers = match contestant {
        Contestant::Redis => Servers::redis(&options.tools, Persistence::Always),
        Contestant::SynodOneNode | Contestant::SynodCluster => {
            Servers::synod(&options.tools, &options.spec(contestant))
        }
    }?;
    synod::bench::calm(&options.tools.dir, stop)?;
    let target = servers.targets().remove(0);
    let cluster = contestant == Contestant::SynodCluster;
    for (test, depth) in options.tests() {
        let run = tool::Run {
            program: &options.redis_benchmark,
            target: &target,
            cluster,
            test,
            depth,
            clients: options.clients,
            value_size: options.value_size,
            key_space: options.keys_per_tag(cluster),
            requests: options.requests(test, depth),
            limit: options.limit,
        };
        match run.perform(stop, || servers.death()) {
            Ok(figures) => {
                println!(
                    "  {} -P {depth}: {:.0}/s, p99 {} ms",
                    test.name(),
                    figures.rps,
                    figures.p99_latency_ms
                );
                table.add(Measured { contestant, test, depth, round, figures });
            }
            Err(RunError::Failed(why)) if !stop.requested() => {
                let tails = servers.tails();
                return Err(RunError::Failed(format!("{why}; the servers' last lines:\n{tails}")));
            }
            Err(error) => return Err(error),
        }
    }
    servers.end()
}
