//! CLUSTER: the topology as Redis Cluster clients read it.
//!
//! Every core of every node is a master on a port of its own and owns the buckets of the groups it leads at the moment. There
//! are no replicas in these answers: a client keeps one role per address, and each address is a master. Where no leader is
//! known, the buckets are told to belong to the answering node, which holds what it gets until there is one; so the 16384
//! are always covered, and only CLUSTER INFO says how many have no leader.

use super::{ConnectionConfig, ServerConfig};
use crate::binary::{Topology, TopologyNode};
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::plan::{Refusal, Work, wrong_arity};
use crate::resp::reply::Writer;
use core::fmt::Write;
use core::ops::RangeInclusive;
use std::net::{IpAddr, SocketAddr};
use synod_types::limits::BUCKET_COUNT;
use synod_types::{Bucket, ClusterId, CoreId, NodeId, bucket_of};

/// Stands in CLUSTER NODES for the port of a bus that does not exist.
const NO_BUS_PORT: u16 = 0;

/// A question about the cluster that the topology answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterQuery {
    ask: ClusterAsk,
    /// Where the client reached this node: told instead of an address that means "every interface".
    reached_at: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClusterAsk {
    Slots,
    Shards,
    Nodes,
    Info,
    MyId,
    Links,
}

/// What a CLUSTER command comes to.
pub(super) enum Parsed {
    /// The topology is needed.
    Ask(ClusterQuery),
    /// The bucket of a key.
    KeySlot(u16),
    /// The keys of a bucket are to be looked through.
    Work(Work),
    /// An error line.
    Refused(Refusal),
    /// No such subcommand.
    Unknown,
}

/// Reads `CLUSTER subcommand …`.
pub(super) fn parse(config: &ConnectionConfig, args: &Args<'_>) -> Parsed {
    let sub = args.get(1).to_ascii_lowercase();
    let asks = [
        (&b"slots"[..], ClusterAsk::Slots),
        (b"shards", ClusterAsk::Shards),
        (b"nodes", ClusterAsk::Nodes),
        (b"info", ClusterAsk::Info),
        (b"myid", ClusterAsk::MyId),
        (b"myshardid", ClusterAsk::MyId),
        (b"links", ClusterAsk::Links),
    ];
    let wanted = match sub.as_slice() {
        b"keyslot" | b"countkeysinslot" => 3,
        b"getkeysinslot" => 4,
        name if asks.iter().any(|(known, _)| *known == name) => 2,
        _ => return Parsed::Unknown,
    };
    if args.len() != wanted {
        return Parsed::Refused(wrong_arity(&format!("cluster|{}", String::from_utf8_lossy(&sub))));
    }
    if let Some((_, ask)) = asks.iter().find(|(known, _)| *known == sub) {
        let reached_at =
            config.local_address.parse::<SocketAddr>().map_or(String::new(), |at| at.ip().to_string());
        return Parsed::Ask(ClusterQuery { ask: *ask, reached_at });
    }
    if sub == b"keyslot" {
        return Parsed::KeySlot(bucket_of(args.get(2)).get());
    }
    let of_slot = match args.len() {
        3 => count_of_slot(args.get(2)),
        _ => keys_of_slot(args.get(2), args.get(3)),
    };
    of_slot.map_or_else(Parsed::Refused, Parsed::Work)
}

/// `CLUSTER COUNTKEYSINSLOT slot`
fn count_of_slot(slot: &[u8]) -> Result<Work, Refusal> {
    let bucket = bucket(integer(slot)?).ok_or("ERR Invalid slot")?;
    Ok(Work::Slot { bucket, keys_max: None })
}

/// `CLUSTER GETKEYSINSLOT slot count`
fn keys_of_slot(slot: &[u8], count: &[u8]) -> Result<Work, Refusal> {
    let (slot, count) = (integer(slot)?, integer(count)?);
    match (bucket(slot), u64::try_from(count)) {
        (Some(bucket), Ok(count)) => Ok(Work::Slot { bucket, keys_max: Some(count) }),
        _ => Err("ERR Invalid slot or number of keys".into()),
    }
}

fn integer(text: &[u8]) -> Result<i64, Refusal> {
    parse_i64(text).ok_or(Refusal::Borrowed("ERR value is not an integer or out of range"))
}

fn bucket(slot: i64) -> Option<Bucket> {
    u16::try_from(slot).ok().filter(|slot| *slot < BUCKET_COUNT).map(Bucket::new)
}

/// One address: a core, or a node whose cores have no port of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    node: NodeId,
    core: CoreId,
}

impl Place {
    /// The core, if clients can tell it from its neighbours.
    fn new(node: &TopologyNode, core: CoreId) -> Self {
        let core = if node.has_core_ports() { core } else { CoreId::new(0) };
        Self { node: node.node, core }
    }
    /// Forty hexadecimal digits, as clients expect; the first eight tell the places of a cluster apart.
    fn id(self, cluster: ClusterId) -> String {
        format!("{:04x}{:04x}{cluster}", self.node.get(), self.core.get())
    }
}

/// The topology as seen from one connection.
struct View<'a> {
    topology: &'a Topology,
    me: Place,
    reached_at: &'a str,
}

/// Buckets in a row and who owns them.
struct Owned {
    buckets: RangeInclusive<u16>,
    place: Place,
}

impl View<'_> {
    /// All buckets, neighbours with one owner as one range.
    fn owned(&self) -> Vec<Owned> {
        let size = BUCKET_COUNT / self.topology.group_count.max(1);
        let mut all: Vec<Owned> = Vec::new();
        for group in &self.topology.groups {
            let leader = group.leader.unwrap_or(self.me.node);
            let Some(node) = self.topology.node(leader) else { continue };
            let place = Place::new(node, group.core);
            let first = (group.group.get() - 1) * size; // data groups count from 1
            let last = first + (size - 1);
            match all.last_mut() {
                Some(before) if before.place == place && before.buckets.end() + 1 == first => {
                    before.buckets = *before.buckets.start()..=last;
                }
                _ => all.push(Owned { buckets: first..=last, place }),
            }
        }
        all
    }

    /// Every address of the cluster.
    fn places(&self) -> Vec<(Place, &TopologyNode)> {
        let cores = |node: &TopologyNode| if node.has_core_ports() { node.core_count } else { 1 };
        let of = |node| (0..cores(node)).map(move |core| (Place::new(node, CoreId::new(core)), node));
        self.topology.nodes.iter().flat_map(of).collect()
    }

    fn host<'h>(&'h self, node: &'h TopologyNode) -> &'h str {
        let anywhere = node.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        if anywhere && node.node == self.me.node { self.reached_at } else { &node.host }
    }

    fn id(&self, place: Place) -> String {
        place.id(self.topology.cluster)
    }

    fn led_count(&self) -> usize {
        let size = usize::from(BUCKET_COUNT / self.topology.group_count.max(1));
        size * self.topology.groups.iter().filter(|group| group.leader.is_some()).count()
    }
}

/// Writes the answer.
pub(super) fn write(
    writer: &mut Writer<'_>,
    server: &ServerConfig,
    query: &ClusterQuery,
    topology: &Topology,
) {
    let me = topology
        .node(server.info.node)
        .map_or(Place { node: server.info.node, core: CoreId::new(0) }, |node| Place::new(node, server.core));
    let view = View { topology, me, reached_at: &query.reached_at };
    match query.ask {
        ClusterAsk::Slots => write_slots(writer, &view),
        ClusterAsk::Shards => write_shards(writer, &view),
        ClusterAsk::Nodes => writer.verbatim(&nodes(&view)),
        ClusterAsk::Info => writer.verbatim(&info(&view)),
        ClusterAsk::MyId => writer.bulk(view.id(me).as_bytes()),
        ClusterAsk::Links => writer.array(0), // there is no cluster bus
    }
}

fn write_slots(writer: &mut Writer<'_>, view: &View<'_>) {
    let owned = view.owned();
    writer.array(owned.len());
    for range in &owned {
        writer.array(3);
        writer.int(i64::from(*range.buckets.start()));
        writer.int(i64::from(*range.buckets.end()));
        let Some(node) = view.topology.node(range.place.node) else {
            writer.array(0); // an owner is a node of the topology
            continue;
        };
        writer.array(4);
        writer.bulk(view.host(node).as_bytes());
        writer.int(i64::from(node.port_of(range.place.core)));
        writer.bulk(view.id(range.place).as_bytes());
        writer.array(0); // no further names
    }
}

fn write_shards(writer: &mut Writer<'_>, view: &View<'_>) {
    let (owned, places) = (view.owned(), view.places());
    writer.array(places.len());
    for (place, node) in places {
        let ranges: Vec<_> = owned.iter().filter(|range| range.place == place).collect();
        writer.map(2);
        writer.bulk(b"slots");
        writer.array(2 * ranges.len());
        for range in ranges {
            writer.int(i64::from(*range.buckets.start()));
            writer.int(i64::from(*range.buckets.end()));
        }
        writer.bulk(b"nodes");
        writer.array(1);
        writer.map(7);
        let (id, host) = (view.id(place), view.host(node));
        for (name, text) in [("id", id.as_str()), ("ip", host), ("endpoint", host)] {
            writer.bulk(name.as_bytes());
            writer.bulk(text.as_bytes());
        }
        for (name, number) in [("port", i64::from(node.port_of(place.core))), ("replication-offset", 0)] {
            writer.bulk(name.as_bytes());
            writer.int(number);
        }
        for (name, text) in [("role", "master"), ("health", "online")] {
            writer.bulk(name.as_bytes());
            writer.bulk(text.as_bytes());
        }
    }
}

fn nodes(view: &View<'_>) -> String {
    let owned = view.owned();
    let mut text = String::new();
    for (place, node) in view.places() {
        let flags = if place == view.me { "myself,master" } else { "master" };
        // Writing to a String cannot fail, here and below.
        let _ = write!(
            text,
            "{} {}:{}@{NO_BUS_PORT} {flags} - 0 0 {} connected",
            view.id(place),
            view.host(node),
            node.port_of(place.core),
            place.node.get(),
        );
        for range in owned.iter().filter(|range| range.place == place) {
            let (first, last) = (range.buckets.start(), range.buckets.end());
            let _ = if first == last { write!(text, " {first}") } else { write!(text, " {first}-{last}") };
        }
        text.push('\n');
    }
    text
}

fn info(view: &View<'_>) -> String {
    let (led, all) = (view.led_count(), usize::from(BUCKET_COUNT));
    let mut owners: Vec<Place> = view.owned().iter().map(|range| range.place).collect();
    owners.sort_unstable();
    owners.dedup();
    let epoch = view.topology.nodes.iter().map(|node| node.node.get()).max().unwrap_or(0);
    let mut text = format!("cluster_state:{}\r\n", if led == all { "ok" } else { "fail" });
    for (name, value) in [
        ("cluster_slots_assigned", all),
        ("cluster_slots_ok", led),
        ("cluster_slots_pfail", 0),
        ("cluster_slots_fail", all - led),
        ("cluster_known_nodes", view.places().len()),
        ("cluster_size", owners.len()),
        ("cluster_current_epoch", usize::from(epoch)),
        ("cluster_my_epoch", usize::from(view.me.node.get())),
        ("cluster_stats_messages_sent", 0),
        ("cluster_stats_messages_received", 0),
    ] {
        let _ = write!(text, "{name}:{value}\r\n");
    }
    text
}
