//! The options of a comparison.

use super::system::System;
use crate::servers::Tools;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod::refusal::Refusal;
use synod_loadgen::{Options as LoadOptions, Protocol, parse_duration};

/// A key has at most one write under way. With fewer keys per request than this, the load would mostly wait
/// for keys.
const KEYS_PER_REQUEST_MIN: u32 = 2;

/// What is asked for.
#[derive(clap::Args, Clone, Debug)]
pub struct CompareOptions {
    /// What is compared
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = System::ALL)]
    pub(super) systems: Vec<System>,
    /// How often each system is measured
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) rounds: u32,
    /// Length of each measured phase
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    pub(super) duration: Duration,
    /// Load before each measured phase that is not in the table
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(super) warmup: Duration,
    /// Connections in all
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    pub(super) connections: u32,
    /// Requests under way on each connection
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    pub(super) inflight: u32,
    /// Keys; every one is written before the load begins
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub(super) keys: u32,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub(super) value_size: u32,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// The etcd server
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    pub(super) etcd: PathBuf,
    /// Write everything as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tools: Tools,
}

impl CompareOptions {
    /// The directory of the servers' data.
    pub fn dir(&self) -> &Path {
        &self.tools.dir
    }

    /// The load, the same for all systems.
    pub(super) fn load(&self, target: Vec<String>, protocol: Protocol) -> Load {
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

/// The load of one system.
pub(super) struct Load(pub(super) LoadOptions);

impl Load {
    /// Whether the load is possible; checked before anything is started for it.
    pub(super) fn check(mut self) -> Result<(), Refusal> {
        let under_way = self.0.connections.saturating_mul(self.0.inflight);
        if self.0.keys / KEYS_PER_REQUEST_MIN < under_way {
            return Err(Refusal::Usage(format!(
                "--keys {} is less than {KEYS_PER_REQUEST_MIN} for each of the {under_way} requests under way",
                self.0.keys
            )));
        }
        // A placeholder: the servers' addresses are not known yet.
        self.0.target = vec!["127.0.0.1:1".to_owned()];
        self.0.check().map_err(|error| Refusal::Usage(error.to_string()))
    }
}
