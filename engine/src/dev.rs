//! `synod dev`: a cluster for development, several node processes in one terminal, data kept.

use crate::config::Flags;
use crate::node::RunError;
use crate::output::println;
use crate::stop::Stop;
use crate::supervise::{Cluster, ClusterSpec, Maker, Ports};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options of `synod dev`.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// The directory of configurations and data.
    pub dir: PathBuf,
    /// The first client port.
    pub base_port: u16,
    /// Number of nodes.
    pub nodes: u16,
    /// Cores per node.
    pub cores: u16,
    /// Further settings, by key name.
    pub settings: Flags,
}

/// A node that replays a full disk may take a while; a node that takes longer than this is stuck.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Interval between two checks of the nodes.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Runs the cluster until it is told to stop.
pub fn dev(options: &DevOptions) -> Result<(), RunError> {
    let stop =
        Stop::on_signals().map_err(|error| RunError::Failed(format!("cannot take signals: {error}")))?;
    let spec = ClusterSpec {
        binary: own_binary()?,
        name: "dev".to_owned(),
        nodes: options.nodes,
        cores: options.cores,
        ports: Ports::From(options.base_port),
        cpus: Vec::new(),
        settings: options.settings.clone(),
        fresh: false,
        echo: true,
        logs: false,
    };
    let mut cluster = Cluster::start(&options.dir, Maker::Dev, &spec)?;
    cluster.wait_ready(READY_LIMIT)?;
    greet(&cluster, &options.dir);

    let mut gone = vec![false; cluster.len()];
    while !stop.wait(LOOK_INTERVAL) {
        for (index, gone) in gone.iter_mut().enumerate().filter(|(_, gone)| !**gone) {
            if let Some(how) = cluster.ended_how(index) {
                *gone = true;
                let file = cluster.config_file(index);
                println!(
                    "synod dev: node {} ended ({how}); bring it back with: synod serve --config {}",
                    cluster.members()[index].id,
                    file.display()
                );
            }
        }
        if gone.iter().all(|gone| *gone) {
            return Err(RunError::Failed("all nodes have ended".to_owned()));
        }
    }
    println!("synod dev: stopping");
    cluster.shutdown().1
}

/// This very program, for the children.
pub fn own_binary() -> Result<PathBuf, RunError> {
    std::env::current_exe()
        .map_err(|error| RunError::Failed(format!("cannot find this program's own file: {error}")))
}

fn greet(cluster: &Cluster, dir: &Path) {
    let addresses: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    println!(
        "synod dev: {} nodes serve clients on {}; data in {}",
        cluster.len(),
        addresses.join(" "),
        dir.display()
    );
    if let Some(first) = cluster.addresses().first() {
        println!(
            "synod dev: try `redis-cli -p {} set greeting hello`; ctrl-c stops all and keeps the data",
            first.port()
        );
    }
}
