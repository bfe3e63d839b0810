//! A Synod cluster, made as `synod bench` makes it.

use super::READY_LIMIT;
use std::path::{Path, PathBuf};
use synod::bench::{BenchOptions, cluster_spec};
use synod::config::Flags;
use synod::node::RunError;
use synod::supervise::{Cluster, Maker};
use synod_loadgen::Options as LoadOptions;

/// What cluster is wanted.
#[derive(Clone, Debug)]
pub struct NodesSpec {
    /// Number of nodes.
    pub nodes: u16,
    /// The load that its log space is reserved for.
    pub load: LoadOptions,
    /// All values together; the cache of each node has room for them, as the other servers hold them in memory.
    pub value_bytes: u64,
    /// Whether leaders go to the node that is asked.
    pub leaders_follow: bool,
}

/// The setting for the memory that holds values.
const CACHE: &str = "node.cache_mib";
/// The setting for who leads.
const LEADERSHIP: &str = "node.leadership";
/// No less than a node has without being told.
const CACHE_MIB_MIN: u64 = 256;

/// Values of one size fill their cells badly at worst by a fourth.
fn cache_mib(value_bytes: u64) -> u64 {
    (value_bytes / 4 * 5).div_ceil(1 << 20).max(CACHE_MIB_MIN)
}

/// A running cluster. Dropping it ends the nodes and deletes their data.
pub struct Nodes {
    cluster: Option<Cluster>,
}

impl Nodes {
    /// Starts it and waits until every group has a leader, and they are spread.
    pub fn start(binary: PathBuf, dir: &Path, spec: &NodesSpec) -> Result<Self, RunError> {
        let options = BenchOptions {
            dir: dir.to_owned(),
            nodes: spec.nodes,
            cores: None,
            keep: false,
            settings: Flags::from([
                (CACHE, cache_mib(spec.value_bytes).to_string()),
                (LEADERSHIP, if spec.leaders_follow { "follow" } else { "balance" }.to_owned()),
            ]),
            load: spec.load.clone(),
        };
        let cluster = Cluster::start(dir, Maker::Harness, &cluster_spec(&options, binary))?;
        let mut nodes = Self { cluster: Some(cluster) };
        nodes.get().wait_ready(READY_LIMIT)?;
        nodes.get().wait_led(READY_LIMIT, || false)?;
        Ok(nodes)
    }

    fn get(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("held until the end")
    }

    /// `host:port` of every node.
    pub fn targets(&self) -> Vec<String> {
        let addresses = self.cluster.as_ref().map(Cluster::addresses).unwrap_or_default();
        addresses.iter().map(ToString::to_string).collect()
    }
    /// A sentence about the first node that has ended, if one has.
    pub fn death(&mut self) -> Option<String> {
        self.get().death()
    }
    /// The last lines of every node.
    pub fn tails(&self) -> String {
        self.cluster.as_ref().map(Cluster::tails).unwrap_or_default()
    }
    /// Ends the nodes and deletes their data; an error also when one did not end as it should.
    pub fn end(mut self) -> Result<(), RunError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), RunError> {
        let Some(cluster) = self.cluster.take() else { return Ok(()) };
        let (workdir, ended) = cluster.shutdown();
        workdir.remove()?;
        ended
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("bench-harness: {error}");
        }
    }
}
