//! A Synod cluster, made as `synod bench` makes it.

use super::waiting::READY_LIMIT;
use std::path::{Path, PathBuf};
use synod::bench::{BenchOptions, cluster_spec};
use synod::config::Flags;
use synod::config::settings::{CACHE_MIB, LEADERSHIP};
use synod::node::RunError;
use synod::supervise::{Cluster, Maker};
use synod_loadgen::Options as LoadOptions;

/// The cluster to start.
#[derive(Clone, Debug)]
pub struct NodesSpec {
    /// Number of nodes.
    pub nodes: u16,
    /// The load that its log space is reserved for.
    pub load: LoadOptions,
    /// The total size of all values. The cache of each node has room for them, as the other servers hold them
    /// in memory.
    pub value_bytes: u64,
    /// Whether leaders move to the node that clients use.
    pub leaders_follow: bool,
}

/// Room for all values and their cells: in the worst case, cells for values of one size are larger than the
/// values by a fourth. The result is at least a node's default.
fn cache_mib(value_bytes: u64) -> u64 {
    (value_bytes / 4 * 5).div_ceil(1 << 20).max(CACHE_MIB.default_value())
}

/// A running cluster. Dropping it ends the nodes and deletes their data.
pub struct Nodes {
    cluster: Option<Cluster>,
}

impl Nodes {
    /// Starts the cluster, and waits until every group has a leader and leaders are evenly spread.
    pub fn start(binary: PathBuf, dir: &Path, spec: &NodesSpec) -> Result<Self, RunError> {
        let options = BenchOptions {
            dir: dir.to_owned(),
            nodes: spec.nodes,
            cores: None,
            keep: false,
            settings: Flags::from([
                (CACHE_MIB.row.name, cache_mib(spec.value_bytes).to_string()),
                (LEADERSHIP.row.name, if spec.leaders_follow { "follow" } else { "balance" }.to_owned()),
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
    /// A sentence about the first node that has ended, if there is one.
    pub fn death(&mut self) -> Option<String> {
        self.get().death()
    }
    /// The last output lines of every node.
    pub fn tails(&self) -> String {
        self.cluster.as_ref().map(Cluster::tails).unwrap_or_default()
    }
    /// Ends the nodes and deletes their data; returns an error also if a node did not end cleanly.
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
