//! `synod status`: every node and every group of a running cluster, as each node sees them; and whether the
//! cluster is healthy.
//!
//! ```text
//!   Client ─▶ Cluster (what was heard) ─┬▶ table, for people
//!                                       ├▶ JSON, for programs (docs/cli.md lists the fields)
//!                                       └▶ faults ─▶ --check: one line and an exit code
//! ```

use crate::clientcmd::{Target, failed};
use crate::exit::Exit;
use crate::node::RunError;
use crate::output;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use synod_net::binary::{
    GROUPS_NOT_READY, GroupRole, GroupState, NodeStatus, PEER_REFUSED, REFUSED_BY_PEER, Topology,
    TopologyGroup,
};
use synod_net::client::Client;
use synod_net::peer::LinkRefusal;
use synod_types::NodeId;

/// The form in which the status is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusForm {
    /// A table.
    Table,
    /// One JSON object.
    Json,
    /// One line that says whether the cluster is healthy.
    OneLine,
}

/// The options of `synod status`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusOptions {
    /// What is printed.
    pub form: StatusForm,
    /// Whether the exit code says if the cluster is healthy.
    pub is_check: bool,
}

/// Prints the state of every node and every group.
///
/// # Errors
/// When no node answers; and, for a check, when the cluster is not healthy.
pub fn status(target: &Target, options: StatusOptions) -> Result<(), RunError> {
    let begin = Instant::now();
    let mut client = target.connect()?;
    let cluster = Cluster::ask(&mut client, || target.timeout.saturating_sub(begin.elapsed()))?;
    let text = match options.form {
        StatusForm::Table => cluster.table(),
        StatusForm::Json => format!("{}\n", cluster.json()),
        StatusForm::OneLine => match cluster.faults().as_slice() {
            [] => format!("{}\n", cluster.summary()),
            _ => String::new(), // the end of the command says why not
        },
    };
    output::write(text.as_bytes())?;
    let faults = cluster.faults();
    if options.is_check && !faults.is_empty() {
        return Err(RunError::Ended {
            exit: Exit::Unhealthy,
            why: format!("not healthy: {}", faults.join("; ")),
        });
    }
    Ok(())
}

/// A link between two members that one of them refuses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Refused {
    node: NodeId,
    by: NodeId,
    reason: u16,
}

impl Refused {
    /// The reason in words, about the refused node.
    fn why(&self) -> String {
        LinkRefusal::of_code(self.reason)
            .map_or_else(|| format!("for reason {}", self.reason), |refusal| refusal.to_string())
    }

    fn sentence(&self) -> String {
        format!("{} is refused by {}: {}", self.node, self.by, self.why())
    }
}

/// What one node answered.
struct NodeReport {
    node: NodeId,
    address: String,
    status: Result<NodeStatus, String>,
}

impl NodeReport {
    fn answer(&self) -> Option<&NodeStatus> {
        self.status.as_ref().ok()
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.answer().map_or(&[][..], |status| &status.counters);
        counters.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }

    /// The links of this node that are refused, as it tells.
    fn refused(&self) -> impl Iterator<Item = Refused> {
        let counters = self.answer().map_or(&[][..], |status| &status.counters);
        counters.iter().filter_map(|(name, reason)| {
            let id = |prefix: &str| name.strip_prefix(prefix)?.parse().ok().map(NodeId::new);
            let (node, by) = match (id(PEER_REFUSED), id(REFUSED_BY_PEER)) {
                (Some(peer), _) => (peer, self.node),
                (None, Some(peer)) => (self.node, peer),
                (None, None) => return None,
            };
            Some(Refused { node, by, reason: u16::try_from(*reason).ok()? })
        })
    }

    fn leads(&self, group: &TopologyGroup) -> bool {
        self.answer().is_some_and(|status| {
            status
                .groups
                .iter()
                .any(|state| state.group == group.group && state.role == GroupRole::Leader && state.serving)
        })
    }
}

/// A node is given this long to answer, even if no time is left.
const SHARE_MIN: Duration = Duration::from_millis(100);

/// How long one of `unasked` nodes is waited for, so that those after it have as much of the time that is left.
fn share(left: Duration, unasked: usize) -> Duration {
    // No cluster has so many nodes that the number does not fit.
    (left / u32::try_from(unasked).unwrap_or(u32::MAX).max(1)).max(SHARE_MIN)
}

/// All that was heard of a cluster.
struct Cluster {
    topology: Topology,
    nodes: Vec<NodeReport>,
}

impl Cluster {
    /// Asks one node after the other, all together for little more than the time that is `left`.
    fn ask(client: &mut Client, left: impl Fn() -> Duration) -> Result<Self, RunError> {
        let topology = client.topology().map_err(|error| failed(&error))?;
        let mut nodes = Vec::with_capacity(topology.nodes.len());
        for (node, unasked) in topology.nodes.iter().zip((1..=topology.nodes.len()).rev()) {
            client.set_patience(share(left(), unasked));
            nodes.push(NodeReport {
                node: node.node,
                address: format!("{}:{}", node.host, node.port),
                status: match client.status_of(node.node) {
                    Ok(status) if status.node == node.node => Ok(status),
                    Ok(status) => Err(format!("node {} answers at this address", status.node)),
                    Err(error) => Err(error.to_string()),
                },
            });
        }
        Ok(Self { topology, nodes })
    }

    fn quorum(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    fn answering(&self) -> usize {
        self.nodes.iter().filter(|report| report.answer().is_some()).count()
    }

    /// The refused links, each once, although both of its ends may tell of it.
    fn refused(&self) -> BTreeSet<Refused> {
        self.nodes.iter().flat_map(NodeReport::refused).collect()
    }

    /// Why the cluster is not healthy; empty if it is. It is healthy when a quorum of its members answers and
    /// each group has a leader that serves and is heard by a quorum.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.answering() < self.quorum() {
            faults.push(format!(
                "{} of {} members answer, and a quorum is {}",
                self.answering(),
                self.nodes.len(),
                self.quorum()
            ));
        }
        let is_led = |group: &&TopologyGroup| self.nodes.iter().any(|report| report.leads(group));
        let unled: Vec<String> = self
            .topology
            .groups
            .iter()
            .filter(|group| !is_led(group))
            .map(|group| group.group.to_string())
            .collect();
        if !unled.is_empty() {
            faults.push(format!("no node leads and serves {}", unled.join(", ")));
        }
        for report in
            self.nodes.iter().filter(|report| report.answer().is_some_and(|status| leads_of(status) > 0))
        {
            let count = report.counter(GROUPS_NOT_READY);
            if count > 0 {
                faults.push(format!("{} leads and is not heard by a quorum ({count} groups)", report.node));
            }
        }
        if !faults.is_empty() {
            // What explains it, where something does.
            faults.extend(self.refused().iter().map(Refused::sentence));
        }
        faults
    }

    /// The line of a healthy cluster, with what is not perfect in it.
    fn summary(&self) -> String {
        let (answering, all) = (self.answering(), self.nodes.len());
        let mut line = format!(
            "healthy: {} groups are led, {answering} of {all} members answer",
            self.topology.groups.len()
        );
        for report in &self.nodes {
            if let Err(why) = &report.status {
                let _ = write!(line, "; {} does not answer: {why}", report.node);
            }
        }
        for refused in self.refused() {
            let _ = write!(line, "; {}", refused.sentence());
        }
        line
    }

    /// One line per node, then one line per refused link, then one line per group with each node's view of it.
    fn table(&self) -> String {
        // Writing into a String cannot fail.
        let mut out = String::new();
        let _ = writeln!(out, "cluster {}, {} groups", self.topology.cluster, self.topology.group_count);
        let _ = writeln!(
            out,
            "\n{:<6} {:<22} {:>10} {:>6} {:>7} {:>12} {:>8}  version",
            "node", "address", "up", "cores", "leads", "keys", "changes"
        );
        for report in &self.nodes {
            out.push_str(&line_of(report));
        }
        let refused = self.refused();
        if !refused.is_empty() {
            out.push('\n');
            refused.iter().for_each(|refused| out.push_str(&format!("{}\n", refused.sentence())));
        }

        let _ = write!(out, "\n{:<6} {:<8}", "group", "leader");
        for report in &self.nodes {
            let _ = write!(out, " {:<28}", format!("{} chosen/applied", report.node));
        }
        end_line(&mut out);
        for group in &self.topology.groups {
            let leader = group.leader.map_or("none".to_owned(), |node| node.to_string());
            let _ = write!(out, "{:<6} {leader:<8}", group.group.to_string());
            for report in &self.nodes {
                let _ = write!(out, " {:<28}", replica_of(report, group).map_or("?".to_owned(), replica));
            }
            end_line(&mut out);
        }
        out
    }

    fn json(&self) -> Value {
        let faults = self.faults();
        json!({
            "format": JSON_FORMAT,
            "cluster": self.topology.cluster.to_string(),
            "healthy": faults.is_empty(),
            "faults": faults,
            "quorum": self.quorum(),
            "nodes": self.nodes.iter().map(json_of_node).collect::<Vec<_>>(),
            "refused": self.refused().iter().map(json_of_refused).collect::<Vec<_>>(),
            "groups": self.topology.groups.iter().map(|group| self.json_of_group(group)).collect::<Vec<_>>(),
        })
    }

    fn json_of_group(&self, group: &TopologyGroup) -> Value {
        let replicas: Vec<Value> = self
            .nodes
            .iter()
            .filter_map(|report| {
                let state = replica_of(report, group)?;
                Some(json!({
                    "node": report.node.get(),
                    "core": state.core.get(),
                    "role": role(state.role),
                    "serving": state.serving,
                    "chosen": state.chosen.get(),
                    "applied": state.applied.get(),
                    "keys": state.keys,
                    "leader_changes": state.leader_changes,
                }))
            })
            .collect();
        json!({
            "group": group.group.get(),
            "leader": group.leader.map(NodeId::get),
            "led": self.nodes.iter().any(|report| report.leads(group)),
            "replicas": replicas,
        })
    }
}

/// The version of the JSON. Fields may be added under the same number; a field that goes, or means something else,
/// raises it.
const JSON_FORMAT: u32 = 1;

fn json_of_node(report: &NodeReport) -> Value {
    let status = match &report.status {
        Err(why) => {
            return json!({
                "node": report.node.get(), "address": report.address, "answers": false, "error": why,
            });
        }
        Ok(status) => status,
    };
    json!({
        "node": report.node.get(),
        "address": report.address,
        "answers": true,
        "version": status.version,
        "incarnation": status.incarnation.to_string(),
        "uptime_ms": status.uptime_ms,
        "cores": status.core_count,
        "leads": leads_of(status),
        "keys": keys_of(status),
        "leader_changes": changes_of(status),
        "log_failing": report.counter("log_failing") > 0,
        "log_full": report.counter("log_full") > 0,
    })
}

fn json_of_refused(refused: &Refused) -> Value {
    let Refused { node, by, reason } = *refused;
    json!({ "node": node.get(), "by": by.get(), "reason": reason, "why": refused.why() })
}

fn line_of(report: &NodeReport) -> String {
    let (node, address) = (report.node.to_string(), &report.address);
    let status = match &report.status {
        Err(why) => return format!("{node:<6} {address:<22} {why}\n"),
        Ok(status) => status,
    };
    let mut line = format!(
        "{node:<6} {address:<22} {:>10} {:>6} {:>7} {:>12} {:>8}  {}",
        uptime(status.uptime_ms),
        status.core_count,
        leads_of(status),
        keys_of(status),
        changes_of(status),
        status.version,
    );
    for (counter, words) in [("log_failing", "the disk fails"), ("log_full", "the disk is full")] {
        if report.counter(counter) > 0 {
            let _ = write!(line, ", {words}");
        }
    }
    line.push('\n');
    line
}

fn leads_of(status: &NodeStatus) -> usize {
    status.groups.iter().filter(|group| group.role == GroupRole::Leader).count()
}

fn keys_of(status: &NodeStatus) -> u64 {
    status.groups.iter().map(|group| group.keys).sum()
}

fn changes_of(status: &NodeStatus) -> u64 {
    status.groups.iter().map(|group| group.leader_changes).sum()
}

fn replica_of<'r>(report: &'r NodeReport, group: &TopologyGroup) -> Option<&'r GroupState> {
    report.answer()?.groups.iter().find(|state| state.group == group.group)
}

fn role(role: GroupRole) -> &'static str {
    match role {
        GroupRole::Leader => "leader",
        GroupRole::Candidate => "candidate",
        GroupRole::Follower => "follower",
    }
}

fn replica(state: &GroupState) -> String {
    let role = match (state.role, state.serving) {
        (GroupRole::Leader, true) => "leads",
        (GroupRole::Leader, false) => "begins to lead",
        (GroupRole::Candidate, _) => "stands",
        (GroupRole::Follower, _) => "follows",
    };
    format!("{role} {}/{}", state.chosen.get(), state.applied.get())
}

/// Ends a line of columns without the blanks after the last one.
fn end_line(out: &mut String) {
    out.truncate(out.trim_end().len());
    out.push('\n');
}

fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_net::binary::TopologyNode;
    use synod_types::{Ballot, ClusterId, CoreId, GroupId, Slot};

    fn status(id: u16, role: GroupRole) -> NodeStatus {
        let state = GroupState {
            group: GroupId::new(1),
            core: CoreId::new(0),
            role,
            serving: role == GroupRole::Leader,
            leader: Some(NodeId::new(1)),
            promised: Ballot::new(1, NodeId::new(1)),
            chosen: Slot::new(42),
            applied: Slot::new(41),
            keys: 9,
            leader_changes: 0,
        };
        NodeStatus {
            node: NodeId::new(id),
            core_count: 1,
            uptime_ms: 61_000,
            version: "0.1.0".to_owned(),
            groups: vec![state],
            ..NodeStatus::default()
        }
    }

    /// A cluster of three nodes with one group; `None` for a node that does not answer.
    fn cluster(answers: [Option<NodeStatus>; 3]) -> Cluster {
        let node = |id: u16| TopologyNode {
            node: NodeId::new(id),
            host: "127.0.0.1".to_owned(),
            port: 6378 + id,
            core_port_base: 0,
            core_count: 1,
        };
        let topology = Topology {
            cluster: ClusterId::new(7),
            epoch: 1,
            group_count: 1,
            nodes: (1..=3).map(node).collect(),
            groups: vec![TopologyGroup {
                group: GroupId::new(1),
                leader: Some(NodeId::new(1)),
                core: CoreId::new(0),
            }],
        };
        let report = |(node, answer): (&TopologyNode, Option<NodeStatus>)| NodeReport {
            node: node.node,
            address: format!("{}:{}", node.host, node.port),
            status: answer.ok_or_else(|| "not executed: no server could be reached".to_owned()),
        };
        let nodes = topology.nodes.iter().zip(answers).map(report).collect();
        Cluster { topology, nodes }
    }

    #[test]
    fn the_table_shows_every_node_and_group_and_what_is_not_known() {
        let mut second = status(2, GroupRole::Follower);
        second.counters.push(("log_full".to_owned(), 1));
        let text = cluster([Some(status(1, GroupRole::Leader)), Some(second), None]).table();
        let wanted = "\
cluster 00000000000000000000000000000007, 1 groups

node   address                        up  cores   leads         keys  changes  version
n1     127.0.0.1:6379              1m 1s      1       1            9        0  0.1.0
n2     127.0.0.1:6380              1m 1s      1       0            9        0  0.1.0, the disk is full
n3     127.0.0.1:6381         not executed: no server could be reached

group  leader   n1 chosen/applied            n2 chosen/applied            n3 chosen/applied
g1     n1       leads 42/41                  follows 42/41                ?
";
        assert_eq!(text, wanted);
    }

    #[test]
    fn nodes_that_do_not_answer_share_the_timeout() {
        let mut left = Duration::from_secs(3);
        for unasked in (1..=3).rev() {
            assert_eq!(share(left, unasked), Duration::from_secs(1));
            left -= share(left, unasked);
        }
        assert_eq!(share(Duration::from_secs(3), 1), Duration::from_secs(3), "what the others left over");
        assert_eq!(share(left, 2), SHARE_MIN, "a node that answers is heard, however late");
    }

    #[test]
    fn a_quorum_and_leaders_make_a_cluster_healthy() {
        let leader = || Some(status(1, GroupRole::Leader));
        let follower = |id| Some(status(id, GroupRole::Follower));
        assert_eq!(cluster([leader(), follower(2), follower(3)]).faults(), Vec::<String>::new());
        let one_less = cluster([leader(), follower(2), None]);
        assert_eq!(one_less.faults(), Vec::<String>::new(), "a quorum is enough");
        assert_eq!(
            one_less.summary(),
            "healthy: 1 groups are led, 2 of 3 members answer; n3 does not answer: not executed: no server could \
             be reached"
        );
        assert_eq!(cluster([leader(), None, None]).faults(), ["1 of 3 members answer, and a quorum is 2"]);
        assert_eq!(cluster([None, follower(2), follower(3)]).faults(), ["no node leads and serves g1"]);
        let mut new = status(1, GroupRole::Leader);
        new.groups[0].serving = false;
        let begins = cluster([Some(new), follower(2), follower(3)]);
        assert_eq!(begins.faults(), ["no node leads and serves g1"], "a leader that does not serve yet");
        let mut lonely = status(1, GroupRole::Leader);
        lonely.counters.push((GROUPS_NOT_READY.to_owned(), 1));
        let cut_off = cluster([Some(lonely.clone()), follower(2), None]);
        assert_eq!(cut_off.faults(), ["n1 leads and is not heard by a quorum (1 groups)"]);
        lonely.groups[0].role = GroupRole::Follower;
        let waits = cluster([Some(lonely), follower(2), follower(3)]);
        assert_eq!(
            waits.faults(),
            ["no node leads and serves g1"],
            "a follower without a leader is no fault of its own"
        );
    }

    #[test]
    fn a_refused_member_is_named_once_with_the_reason() {
        let (mut first, mut second) = (status(1, GroupRole::Leader), status(2, GroupRole::Follower));
        // n1 refuses n2 because its disk is another one, and n2 tells the same.
        first.counters.push((format!("{PEER_REFUSED}2"), 5));
        second.counters.push((format!("{REFUSED_BY_PEER}1"), 5));
        second.counters.push((format!("{PEER_REFUSED}3"), 999));
        let cluster = cluster([Some(first), Some(second), None]);
        let sentences: Vec<String> = cluster.refused().iter().map(Refused::sentence).collect();
        assert_eq!(
            sentences,
            [
                "n2 is refused by n1: the peer's node id is known with another incarnation (its disk was replaced \
                 or reset)",
                "n3 is refused by n2: for reason 999",
            ]
        );
        assert!(cluster.table().contains(&format!("\n\n{}\n{}\n\n", sentences[0], sentences[1])));
        assert!(cluster.summary().ends_with(&format!("; {}; {}", sentences[0], sentences[1])));
        let json = cluster.json();
        assert_eq!(json["refused"][0]["node"], 2);
        assert_eq!(json["refused"][0]["by"], 1);
        assert_eq!(json["refused"][0]["reason"], 5);
    }

    #[test]
    fn the_json_has_every_documented_field() {
        let cluster =
            cluster([Some(status(1, GroupRole::Leader)), Some(status(2, GroupRole::Follower)), None]);
        let json = cluster.json();
        assert_eq!((json["format"].as_u64(), json["healthy"].as_bool()), (Some(1), Some(true)));
        assert_eq!(
            (&json["nodes"][0]["answers"], &json["nodes"][2]["answers"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(json["groups"][0]["replicas"].as_array().unwrap().len(), 2, "of the nodes that answer");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
        let document = std::fs::read_to_string(path).unwrap();
        let mut open = vec![&json];
        let mut fields = BTreeSet::new();
        while let Some(value) = open.pop() {
            match value {
                Value::Object(members) => {
                    fields.extend(members.keys());
                    open.extend(members.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
        assert!(fields.len() > 20);
        for field in fields.into_iter().map(String::as_str).chain(["error", "by", "reason", "why"]) {
            assert!(document.contains(&format!("`{field}`")), "docs/cli.md does not say what {field} is");
        }
    }
}
