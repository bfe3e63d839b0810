//! Three nodes of etcd. They serve once a client's first read is answered; the load waits for that.

use super::processes::Processes;
use std::path::Path;
use synod::node::RunError;
use synod::supervise::PortBlock;

const NODES: u16 = 3;
/// More than any run here needs; the default of 2 GiB would stop a long run.
const QUOTA_BYTES: u64 = 16 << 30;

/// Starts the nodes.
pub fn start(program: &Path, dir: &Path) -> Result<Processes, RunError> {
    let ports = PortBlock::reserve(2 * NODES)?;
    let base = ports.base();
    let mut processes = Processes::in_new_directory(dir, ports)?;
    for node in 0..NODES {
        let target = format!("127.0.0.1:{}", base + node);
        let data = processes.dir().join(name(node));
        let arguments = arguments(node, base, &data.display().to_string());
        processes.start(&name(node), program, &arguments, target)?;
    }
    Ok(processes)
}

fn name(node: u16) -> String {
    format!("etcd{}", node + 1)
}

/// Client ports from `base`, peer ports after them. Every setting about durability or timing is left at its
/// default.
fn arguments(node: u16, base: u16, data: &str) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", base + node);
    let peer = |node: u16| format!("http://127.0.0.1:{}", base + NODES + node);
    let cluster: Vec<_> = (0..NODES).map(|node| format!("{}={}", name(node), peer(node))).collect();
    [
        ["--name", &name(node)],
        ["--data-dir", data],
        ["--listen-client-urls", &client],
        ["--advertise-client-urls", &client],
        ["--listen-peer-urls", &peer(node)],
        ["--initial-advertise-peer-urls", &peer(node)],
        ["--initial-cluster", &cluster.join(",")],
        ["--initial-cluster-state", "new"],
        ["--quota-backend-bytes", &QUOTA_BYTES.to_string()],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_each_other_and_share_no_port() {
        let all: Vec<_> = (0..NODES).map(|node| arguments(node, 5000, "data").join(" ")).collect();
        for line in &all {
            let cluster = "--initial-cluster etcd1=http://127.0.0.1:5003,etcd2=http://127.0.0.1:5004,\
                           etcd3=http://127.0.0.1:5005 ";
            assert!(line.contains(cluster), "{line}");
        }
        assert!(all[2].contains("--listen-client-urls http://127.0.0.1:5002 "), "{}", all[2]);
        assert!(all[2].contains("--listen-peer-urls http://127.0.0.1:5005 "), "{}", all[2]);
    }
}
