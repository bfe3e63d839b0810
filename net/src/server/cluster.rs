//! CLUSTER: the topology as Redis Cluster clients read it.
//!
//! Every core of every node is shown as a node of its own, on a port of its own: a master that owns the
//! buckets of the groups it leads at the moment or, while it leads none, a replica (`redis_nodes`). Buckets
//! without a known leader are shown as the answering node's. So all 16384 are always covered, and only
//! CLUSTER INFO shows how many have no leader.

use super::ask::{ClusterAsk, ClusterQuery, ClusterView};
use super::config::ServerConfig;
use super::redis_nodes::{RedisNode, ShownNode, View};
use crate::resp::reply::Writer;
use core::fmt::Write;
use synod_types::limits::BUCKET_COUNT;

/// Stands in CLUSTER NODES for the port of a bus that does not exist.
const NO_BUS_PORT: u16 = 0;

/// Writes the answer.
pub(super) fn write(
    writer: &mut Writer<'_>,
    server: &ServerConfig,
    query: &ClusterQuery,
    cluster: &ClusterView,
) {
    let me = cluster
        .topology
        .node(server.info.node)
        .map_or(RedisNode::of_stranger(server.info.node), |node| RedisNode::new(node, server.core));
    let view = View::new(cluster, me, &query.reached_at);
    match &query.ask {
        ClusterAsk::Slots => write_slots(writer, &view),
        ClusterAsk::Shards => write_shards(writer, &view),
        ClusterAsk::Nodes => writer.verbatim(&nodes(&view)),
        ClusterAsk::Info => writer.verbatim(&info(&view)),
        ClusterAsk::MyId => writer.bulk(view.id(me).as_bytes()),
        // The only name of a shard is its master's.
        ClusterAsk::MyShardId => writer.bulk(view.id(view.master_of(me)).as_bytes()),
        ClusterAsk::Links => writer.array(0), // there is no cluster bus
        ClusterAsk::Replicas(id) => write_replicas(writer, &view, id),
    }
}

/// One range per group, even if adjacent groups have one master: redis-py and ioredis take a redirection of
/// one slot for a failover of its whole range, but groups move one by one.
fn write_slots(writer: &mut Writer<'_>, view: &View<'_>) {
    writer.array(view.owned.len());
    for owned in &view.owned {
        let named: Vec<&ShownNode<'_>> =
            view.shown(owned.master).into_iter().chain(view.replicas_of(owned)).collect();
        writer.array(2 + named.len());
        writer.int(i64::from(*owned.buckets.start()));
        writer.int(i64::from(*owned.buckets.end()));
        for shown in named {
            writer.array(4);
            writer.bulk(view.host(shown).as_bytes());
            writer.int(i64::from(shown.port()));
            writer.bulk(view.id(shown.redis_node).as_bytes());
            writer.array(0); // no further names
        }
    }
}

fn write_shards(writer: &mut Writer<'_>, view: &View<'_>) {
    let masters: Vec<&ShownNode<'_>> = view.nodes.iter().filter(|shown| shown.master.is_none()).collect();
    writer.array(masters.len());
    for master in masters {
        let ranges = view.ranges_of(master.redis_node);
        writer.map(2);
        writer.bulk(b"slots");
        writer.array(2 * ranges.len());
        for range in ranges {
            writer.int(i64::from(*range.start()));
            writer.int(i64::from(*range.end()));
        }
        writer.bulk(b"nodes");
        let replicas = view.nodes.iter().filter(|shown| shown.master == Some(master.redis_node));
        let members: Vec<&ShownNode<'_>> = core::iter::once(master).chain(replicas).collect();
        writer.array(members.len());
        members.iter().for_each(|shown| write_member(writer, view, shown));
    }
}

fn write_member(writer: &mut Writer<'_>, view: &View<'_>, shown: &ShownNode<'_>) {
    writer.map(7);
    let (id, host) = (view.id(shown.redis_node), view.host(shown));
    for (name, text) in [("id", id.as_str()), ("ip", host), ("endpoint", host)] {
        writer.bulk(name.as_bytes());
        writer.bulk(text.as_bytes());
    }
    let offset = i64::try_from(shown.offset).unwrap_or(i64::MAX);
    for (name, number) in [("port", i64::from(shown.port())), ("replication-offset", offset)] {
        writer.bulk(name.as_bytes());
        writer.int(number);
    }
    let role = if shown.master.is_some() { "replica" } else { "master" };
    let health = if shown.is_linked { "online" } else { "fail" };
    for (name, text) in [("role", role), ("health", health)] {
        writer.bulk(name.as_bytes());
        writer.bulk(text.as_bytes());
    }
}

fn nodes(view: &View<'_>) -> String {
    view.nodes.iter().map(|shown| node_line(view, shown) + "\n").collect()
}

/// A line of CLUSTER NODES, without its line end.
fn node_line(view: &View<'_>, shown: &ShownNode<'_>) -> String {
    let myself = if shown.redis_node == view.me { "myself," } else { "" };
    let role = if shown.master.is_some() { "slave" } else { "master" };
    // Redis says this when one node cannot reach another and no majority has agreed on the failure.
    let (suspected, link) = if shown.is_linked { ("", "connected") } else { (",fail?", "disconnected") };
    let mut line = format!(
        "{} {}:{}@{NO_BUS_PORT} {myself}{role}{suspected} {} 0 0 {} {link}",
        view.id(shown.redis_node),
        view.host(shown),
        shown.port(),
        shown.master.map_or("-".to_owned(), |master| view.id(master)),
        view.master_of(shown.redis_node).node.get(),
    );
    for range in view.ranges_of(shown.redis_node) {
        let (first, last) = (range.start(), range.end());
        // Writing to a String cannot fail.
        let _ = if first == last { write!(line, " {first}") } else { write!(line, " {first}-{last}") };
    }
    line
}

fn write_replicas(writer: &mut Writer<'_>, view: &View<'_>, id: &str) {
    match view.called(id) {
        None => writer.error(&format!("ERR Unknown node {id}")),
        Some(shown) if shown.master.is_some() => writer.error("ERR The specified node is not a master"),
        Some(master) => {
            let replicas = view.nodes.iter().filter(|shown| shown.master == Some(master.redis_node));
            let lines: Vec<String> = replicas.map(|shown| node_line(view, shown)).collect();
            writer.array(lines.len());
            lines.iter().for_each(|line| writer.bulk(line.as_bytes()));
        }
    }
}

fn info(view: &View<'_>) -> String {
    let ((led, near), all) = (view.led_counts(), usize::from(BUCKET_COUNT));
    let mut owners: Vec<RedisNode> = view.owned.iter().map(|owned| owned.master).collect();
    owners.sort_unstable();
    owners.dedup();
    let epoch = view.nodes.iter().map(|shown| shown.redis_node.node.get()).max().unwrap_or(0);
    let mut text = format!("cluster_state:{}\r\n", if led == all { "ok" } else { "fail" });
    for (name, value) in [
        ("cluster_slots_assigned", all),
        ("cluster_slots_ok", near),
        ("cluster_slots_pfail", led - near),
        ("cluster_slots_fail", all - led),
        ("cluster_known_nodes", view.nodes.len()),
        ("cluster_size", owners.len()),
        ("cluster_current_epoch", usize::from(epoch)),
        ("cluster_my_epoch", usize::from(view.master_of(view.me).node.get())),
        ("cluster_stats_messages_sent", 0),
        ("cluster_stats_messages_received", 0),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}:{value}\r\n");
    }
    text
}
