//! The options of a run: one struct for the command line, for the library and for the report, which repeats
//! them.

use crate::duration::parse_duration;
use crate::error::LoadError;
use crate::keys::KeysDist;
use crate::offer::RATE_USUAL;
use crate::sizes::ValueSizes;
use crate::slo::Slo;
use crate::value;
use crate::workload::{Kind, Mix, Ycsb};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use synod_net::access::Secret;
use synod_types::limits;

/// A switch spelled `on` or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// When requests are planned in the open loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// At equal intervals.
    #[default]
    Constant,
    /// As a Poisson process of the same mean rate.
    Poisson,
}

/// What the target speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// The binary protocol of Synod: sessions, versions, and requests that go to their leader.
    #[default]
    Binary,
    /// RESP, as Redis speaks it: GET and SET, pipelined.
    Resp,
}

/// Everything a run is told. `Options::default()` is what `synod bench` runs, except for the targets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Nodes of a running cluster, host:port, one or more; the rest of the cluster is learned from them
    #[arg(long, value_name = "HOST:PORT[,…]", value_delimiter = ',')]
    pub target: Vec<String>,
    /// What the target speaks; with resp any server that knows GET and SET, and every target holds all keys
    #[arg(long, value_enum, default_value = "binary")]
    pub protocol: Protocol,
    /// The password that the target wants, if any; no flag sets it, and no report has it
    #[arg(skip)]
    #[serde(skip)]
    pub password: Option<Secret>,
    /// Requests per second that are planned in the open loop; without it 20000, or what a probe of two
    /// seconds says that the target can hold
    #[arg(long, value_name = "PER_S")]
    pub rate: Option<u64>,
    /// Offer 20000 requests per second without a probe, even if the target cannot hold them
    #[arg(long)]
    pub no_probe: bool,
    /// When requests are planned in the open loop
    #[arg(long, value_enum, default_value = "constant")]
    pub arrivals: Arrivals,
    /// Length of each measured phase: 15, 1.5s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Load before each measured phase that is not in the table
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub warmup: Duration,
    /// Connections in all, spread over the nodes; at least one goes to each core of each node
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    pub connections: u32,
    /// Requests one connection may have outstanding; in the closed loop, connections times this are kept
    /// outstanding
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    pub inflight: u32,
    /// Closed loop: the next request leaves when a reply comes, and no rate is offered
    #[arg(long)]
    pub closed: bool,
    /// Bytes of a value: 4096, uniform:A:B, zipfian:A:B, or weights like 100:0.5,4096:0.5
    #[arg(long, value_name = "SIZES", default_value = "4096")]
    pub value_size: ValueSizes,
    /// Share of reads, 0 to 1, in one mixed phase; without it a phase of writes and then a phase of reads are
    /// run
    #[arg(long, value_name = "SHARE")]
    pub read_share: Option<f64>,
    /// A mix of YCSB by name, with the key distribution that belongs to it
    #[arg(long, value_enum, conflicts_with = "read_share")]
    pub workload: Option<Ycsb>,
    /// Search the highest rate that holds the objectives of --slo, beginning with --rate (20000)
    #[arg(long, conflicts_with = "closed")]
    pub find_max: bool,
    /// What --find-max must hold: p50, p90, p99 or p999 with a limit, such as p99=10ms; several with commas
    #[arg(long, value_name = "P=TIME[,…]", value_delimiter = ',')]
    pub slo: Vec<Slo>,
    /// Least length of one step of --find-max, after a warm-up of at most a second
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub step: Duration,
    /// The lowest rate that --find-max tries, in requests per second
    #[arg(long, value_name = "PER_S", default_value_t = 100)]
    pub floor: u64,
    /// Keys; every one is written once before the load begins
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    pub keys: u32,
    /// How keys are drawn: uniform, zipfian or zipfian:THETA, latest or latest:THETA,
    /// hotspot:FRACTION_KEYS:FRACTION_OPS; without it uniform, or what the workload says
    #[arg(long, value_name = "NAME")]
    pub keys_dist: Option<KeysDist>,
    /// What the name of every key begins with
    #[arg(long, value_name = "TEXT", default_value = "load:")]
    pub key_prefix: String,
    /// Client sessions, by which a retried write is executed once
    #[arg(long, value_enum, default_value = "on")]
    pub sessions: Switch,
    /// Do not read every written key back at the end
    #[arg(long)]
    pub no_audit: bool,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Generator threads
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub threads: u32,
    /// How long a request is retried before its outcome counts as unknown
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
    /// A connection that owes replies and stays silent this long is given up and made anew
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub stall: Duration,
    /// How long the cluster may take to become ready, and to answer all of the audit
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub patience: Duration,
    /// Write the report as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one HTML page with plots to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the latencies of each second and operation to this file, an HdrHistogram V2 interval log
    #[arg(long, value_name = "FILE")]
    pub hdr: Option<PathBuf>,
    /// Write every operation to this file, one JSON object per line, for a linearizability checker
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Directory whose filesystem the report names
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Durability mode that the report names; asked of the cluster when not given
    #[arg(long, value_name = "NAME")]
    pub durability: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: Vec::new(),
            protocol: Protocol::Binary,
            password: None,
            rate: None,
            no_probe: false,
            arrivals: Arrivals::Constant,
            duration: Duration::from_secs(15),
            warmup: Duration::from_secs(2),
            connections: 32,
            inflight: 64,
            closed: false,
            value_size: ValueSizes::default(),
            read_share: None,
            keys: 100_000,
            find_max: false,
            slo: Vec::new(),
            step: Duration::from_secs(5),
            floor: 100,
            workload: None,
            keys_dist: None,
            key_prefix: "load:".to_owned(),
            sessions: Switch::On,
            no_audit: false,
            seed: 1,
            threads: 1,
            timeout: Duration::from_secs(10),
            stall: Duration::from_secs(5),
            patience: Duration::from_secs(60),
            json: None,
            html: None,
            hdr: None,
            history: None,
            data_dir: None,
            durability: None,
        }
    }
}

/// Most keys of a run. The ledger holds every key in memory; with more keys it would be larger than 2 GiB.
pub const KEYS_MAX: u32 = 16_000_000;
/// Highest offered rate in requests per second. A schedule in nanoseconds cannot space more of them.
pub const RATE_MAX: u64 = 10_000_000;
/// Most connections of a run.
pub const CONNECTIONS_MAX: u32 = 1024;
/// Most generator threads of a run.
pub const THREADS_MAX: u32 = 64;
/// Longest phase: schedules count nanoseconds, and a run must end.
pub const PHASE_MAX: Duration = Duration::from_secs(24 * 3600);

impl Options {
    /// The mix of each measured phase, in order.
    pub fn mixes(&self) -> Vec<Mix> {
        match (self.workload, self.read_share) {
            (Some(ycsb), _) => vec![Mix::Ycsb(ycsb)],
            (None, Some(share)) => vec![Mix::ReadShare(share)],
            (None, None) => vec![Mix::Only(Kind::Write), Mix::Only(Kind::Read)],
        }
    }
    /// The rate that is wanted in the open loop.
    pub fn rate_asked(&self) -> u64 {
        self.rate.unwrap_or(RATE_USUAL)
    }
    /// Whether a probe may lower the rate: nobody named one.
    pub fn wants_probe(&self) -> bool {
        self.rate.is_none() && !self.no_probe && !self.closed && !self.find_max
    }
    /// How keys are drawn.
    pub fn keys_dist(&self) -> KeysDist {
        self.keys_dist.unwrap_or_else(|| self.workload.map_or(KeysDist::Uniform, Ycsb::keys_dist))
    }
    /// Checks that a run with these options is possible; the error says in one sentence what to change.
    pub fn check(&self) -> Result<(), LoadError> {
        self.check_phases()?;
        self.check_requests()?;
        self.check_spans()
    }

    /// The target, the rate, and the parts of the run.
    fn check_phases(&self) -> Result<(), LoadError> {
        if self.target.is_empty() {
            return refuse("no target: give --target host:port of at least one node".into());
        }
        if let Some(bad) = self.target.iter().find(|target| !is_host_and_port(target)) {
            return refuse(format!("--target {bad:?} is not host:port"));
        }
        let rate = self.rate_asked();
        if !self.closed && !(1..=RATE_MAX).contains(&rate) {
            return refuse(format!("--rate {rate} is outside 1..={RATE_MAX} requests per second"));
        }
        if self.duration.is_zero() || self.duration > PHASE_MAX {
            return refuse(format!(
                "--duration {:?} is not more than 0 and at most 24h; give a time with a unit, such as 15s",
                self.duration
            ));
        }
        if self.find_max == self.slo.is_empty() {
            return refuse(
                "--find-max and --slo go together: give for example --find-max --slo p99=10ms".into(),
            );
        }
        if self.find_max && self.closed {
            return refuse(
                "--find-max offers rates, which --closed does not have: leave one of them out".into(),
            );
        }
        self.check_search()?;
        if self.warmup > PHASE_MAX {
            return refuse(format!(
                "--warmup {:?} is more than 24h; give a time with a unit, such as 2s",
                self.warmup
            ));
        }
        Ok(())
    }

    /// The steps and the lowest rate of a search.
    fn check_search(&self) -> Result<(), LoadError> {
        if self.step < Duration::from_millis(100) || self.step > PHASE_MAX {
            return refuse(format!(
                "--step {:?} is outside 100ms..=24h; give a time with a unit, such as 5s",
                self.step
            ));
        }
        if !(1..=RATE_MAX).contains(&self.floor) {
            return refuse(format!("--floor {} is outside 1..={RATE_MAX} requests per second", self.floor));
        }
        let first = self.rate_asked();
        if self.find_max && self.floor > first {
            return refuse(format!(
                "--floor {} is above {first} requests per second, where the search begins: give a lower --floor or \
                 a higher --rate",
                self.floor
            ));
        }
        Ok(())
    }

    /// The connections, and what is sent on them.
    fn check_requests(&self) -> Result<(), LoadError> {
        if !(1..=CONNECTIONS_MAX).contains(&self.connections) {
            return refuse(format!("--connections {} is outside 1..={CONNECTIONS_MAX}", self.connections));
        }
        let inflight_max = limits::SESSION_REPLIES_MAX as u32; // a small constant
        if !(1..=inflight_max).contains(&self.inflight) {
            return refuse(format!(
                "--inflight {} is outside 1..={inflight_max}, the replies a session keeps",
                self.inflight
            ));
        }
        let (least, most) = (value::HEADER_BYTES, limits::VALUE_BYTES_MAX);
        let sizes = &self.value_size;
        if (sizes.least() as usize) < least || sizes.most() as usize > most {
            return refuse(format!(
                "--value-size {} is outside {least}..={most} bytes; a value carries its key, sequence and checksum",
                self.value_size
            ));
        }
        if self.read_share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return refuse(
                "--read-share must lie between 0 and 1: 0.7 stands for 70 % reads, 30 % writes".into(),
            );
        }
        if self.read_share.is_some() && self.workload.is_some() {
            return refuse("--read-share and --workload both name a mix: give one of them".into());
        }
        if !(1..=KEYS_MAX).contains(&self.keys) {
            return refuse(format!("--keys {} is outside 1..={KEYS_MAX}", self.keys));
        }
        if self.key_prefix.len() > 128 {
            return refuse(format!(
                "--key-prefix has {} bytes, at most 128 are possible",
                self.key_prefix.len()
            ));
        }
        if !(1..=THREADS_MAX).contains(&self.threads) || self.threads > self.keys {
            return refuse(format!(
                "--threads {} is outside 1..={THREADS_MAX}, or more than the {} keys of --keys: each thread needs one",
                self.threads, self.keys
            ));
        }
        Ok(())
    }

    /// How long is waited.
    fn check_spans(&self) -> Result<(), LoadError> {
        for (name, span) in
            [("--timeout", self.timeout), ("--stall", self.stall), ("--patience", self.patience)]
        {
            if span < Duration::from_millis(1) || span > PHASE_MAX {
                return refuse(format!(
                    "{name} {span:?} is outside 1ms..=24h; give a time with a unit, such as 5s"
                ));
            }
        }
        Ok(())
    }
}

fn refuse(sentence: String) -> Result<(), LoadError> {
    Err(LoadError::Options(sentence))
}

fn is_host_and_port(target: &str) -> bool {
    target
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn good() -> Options {
        Options { target: vec!["127.0.0.1:6379".into()], ..Options::default() }
    }

    #[test]
    fn the_command_line_and_the_library_have_the_same_defaults() {
        let line = Line::try_parse_from(["loadgen"]).expect("no flag is required");
        assert_eq!(line.options, Options::default());
    }

    #[test]
    fn a_probe_is_for_the_rate_that_nobody_named() {
        let line = |flags: &[&str]| {
            let words = ["loadgen"].iter().chain(flags);
            Line::try_parse_from(words).expect("good flags").options
        };
        assert_eq!((line(&[]).wants_probe(), line(&[]).rate_asked()), (true, 20_000));
        let forced = line(&["--rate", "20000"]);
        assert_eq!((forced.wants_probe(), forced.rate_asked()), (false, 20_000));
        assert!(!line(&["--no-probe"]).wants_probe());
        assert!(!line(&["--closed"]).wants_probe());
        assert!(!line(&["--find-max", "--slo", "p99=1ms"]).wants_probe());
    }

    #[test]
    fn options_survive_json() {
        let text = serde_json::to_string(&good()).expect("plain data");
        assert_eq!(serde_json::from_str::<Options>(&text).expect("what was written"), good());
    }

    #[test]
    fn a_password_is_neither_shown_nor_written_nor_taken_from_a_line() {
        let told = Options { password: Some(Secret::new(b"Rosebud".to_vec())), ..good() };
        let text = serde_json::to_string(&told).expect("plain data");
        assert!(!text.contains("password"), "{text}");
        assert_eq!(serde_json::from_str::<Options>(&text).expect("what was written"), good());
        let shown = format!("{told:?}");
        assert!(shown.contains("password: Some(********)"), "{shown}");
        assert!(Line::try_parse_from(["loadgen", "--password", "Rosebud"]).is_err());
    }

    #[test]
    fn every_bound_is_kept() {
        assert!(good().check().is_ok());
        let refused = |change: &dyn Fn(&mut Options), word: &str| {
            let mut options = good();
            change(&mut options);
            let error = options.check().expect_err(word);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(word), "{error} does not name {word}");
        };
        refused(&|o| o.target.clear(), "target");
        refused(&|o| o.target = vec!["localhost".into()], "localhost");
        refused(&|o| o.target = vec![":80".into()], ":80");
        refused(&|o| o.target = vec!["host:0".into()], "host:0");
        refused(&|o| o.rate = Some(0), "--rate");
        refused(&|o| o.rate = Some(RATE_MAX + 1), "--rate");
        refused(&|o| o.duration = Duration::ZERO, "--duration");
        refused(&|o| o.warmup = PHASE_MAX + Duration::from_secs(1), "--warmup");
        refused(&|o| o.connections = 0, "--connections");
        refused(&|o| o.inflight = 0, "--inflight");
        refused(&|o| o.inflight = 1025, "--inflight");
        refused(&|o| o.value_size = 39.into(), "--value-size");
        refused(&|o| o.value_size = ((1 << 20) + 1).into(), "--value-size");
        refused(&|o| o.value_size = ValueSizes::Uniform(39, 100), "--value-size");
        refused(&|o| o.value_size = ValueSizes::Weights(vec![(50, 1.0), (2, 1.0)]), "--value-size");
        refused(&|o| o.read_share = Some(1.5), "--read-share");
        refused(&|o| o.read_share = Some(f64::NAN), "--read-share");
        refused(&|o| (o.read_share, o.workload) = (Some(0.5), Some(Ycsb::A)), "--workload");
        refused(&|o| o.find_max = true, "--slo");
        refused(&|o| o.slo = vec!["p99=1ms".parse().expect("good")], "--find-max");
        let slo = || vec!["p99=1ms".parse().expect("good")];
        refused(&|o| (o.find_max, o.slo, o.closed) = (true, slo(), true), "--closed");
        refused(&|o| o.step = Duration::ZERO, "--step");
        refused(&|o| o.floor = 0, "--floor");
        refused(&|o| o.floor = RATE_MAX + 1, "--floor");
        refused(&|o| (o.find_max, o.slo, o.floor) = (true, slo(), 30_000), "above 20000");
        refused(&|o| o.keys = 0, "--keys");
        refused(&|o| o.keys = KEYS_MAX + 1, "--keys");
        refused(&|o| o.key_prefix = "k".repeat(129), "--key-prefix");
        refused(&|o| o.threads = 0, "--threads");
        refused(&|o| (o.keys, o.threads) = (1, 2), "--threads");
        refused(&|o| o.timeout = Duration::ZERO, "--timeout");
        refused(&|o| o.stall = Duration::ZERO, "--stall");
        refused(&|o| o.patience = Duration::ZERO, "--patience");
        let mut closed = good();
        (closed.closed, closed.rate) = (true, Some(0));
        assert!(closed.check().is_ok(), "the closed loop offers no rate");
        let mut high = good();
        high.floor = 30_000;
        assert!(high.check().is_ok(), "without a search the floor says nothing");
    }
}
