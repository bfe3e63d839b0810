//! The events of the shell: start and stop, links, disks, clients.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use synod_types::{CoreId, GroupId, NodeId};
use tracing::{error, info, warn};

/// Declares [`NodeEvent`] and the list of its names.
macro_rules! events {
    ($life:lifetime $($(#[$doc:meta])* $variant:ident = $name:literal {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty,)*
    })*) => {
        /// An event of the shell.
        #[derive(Clone, Copy)]
        pub enum NodeEvent<$life> {
            $($(#[$doc])* $variant { $($(#[$field_doc])* $field: $kind,)* },)*
        }

        impl NodeEvent<'_> {
            /// The names of all events, in the order of their declaration.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The name of the event, as logs have it.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }
        }
    };
}

events! {
    'a
    /// The node starts.
    NodeStarting = "node_starting" {
        /// The version of the program.
        version: &'a str,
        /// The data directory.
        data_dir: &'a Path,
        /// The cluster, in words.
        cluster: &'a str,
        /// How often the node was started, this time included.
        boot: u64,
        /// The members with their addresses.
        members: &'a str,
        /// Number of cores.
        cores: u16,
        /// Number of groups.
        groups: u16,
        /// The memory that the value caches may take.
        cache_bytes: u64,
        /// The memory that the node takes at most beside its index, caches included.
        memory_bytes_max: u64,
    }
    /// The node is about to listen.
    NodeListening = "node_listening" {
        /// Its ports, in words.
        ports: &'a str,
    }
    /// The node serves.
    NodeServing = "node_serving" {
        /// Since it was started, in milliseconds.
        took_ms: u64,
    }
    /// The node was told to stop.
    NodeStopping = "node_stopping" {
        /// The signal's name, or what else asked for it.
        cause: &'a str,
    }
    /// A core has written what it had.
    LogClosed = "log_closed" {
        /// Whether the end of the log is durable and marked.
        is_clean: bool,
        /// Groups that this core led to the end.
        led: u64,
        /// How long it took, in milliseconds.
        took_ms: u64,
    }
    /// A core of a node that is about to stop has handed over what it led.
    HandedOver = "handed_over" {
        /// Groups that it still leads.
        led: u64,
        /// How long it took, in milliseconds.
        took_ms: u64,
    }
    /// Clients are still connected though the time for a stop is over.
    ClientsLeft = "clients_left" {
        /// Their number.
        count: u64,
    }
    /// The node has stopped.
    NodeStopped = "node_stopped" {
        /// How long it took, in milliseconds.
        took_ms: u64,
    }
    /// The process ends at once.
    Fatal = "fatal" {
        /// The reason.
        why: &'a str,
    }
    /// A link to a peer is up.
    LinkUp = "link_up" {
        /// The peer.
        peer: NodeId,
        /// How long there was no link, in milliseconds; none for the first link.
        down_ms: Option<u64>,
    }
    /// A link to a peer is down.
    LinkLost = "link_lost" {
        /// The peer.
        peer: NodeId,
        /// How long it was up, in milliseconds.
        up_ms: u64,
        /// The reason.
        why: &'a str,
    }
    /// A peer answers, and something is wrong.
    LinkFailed = "link_failed" {
        /// The peer.
        peer: NodeId,
        /// What is wrong.
        why: &'a str,
    }
    /// A node that proved to be a member was refused.
    MemberRefused = "member_refused" {
        /// The node.
        peer: NodeId,
        /// The address that it came from.
        from: &'a str,
        /// The reason.
        why: &'a str,
    }
    /// A connection to a peer port was closed.
    PeerClosed = "peer_closed" {
        /// The address that it came from.
        from: &'a str,
        /// The reason.
        why: &'a str,
    }
    /// A slow client's connection was closed.
    ClientClosed = "client_closed" {
        /// The number of its connection.
        client: u64,
        /// The reason.
        why: &'a str,
    }
    /// A connection could not be accepted.
    AcceptFailed = "accept_failed" {
        /// Whose: a client's or a peer's.
        of: &'a str,
        /// The error.
        why: &'a dyn Display,
    }
    /// The file of the peers' secret has changed, and is in force.
    SecretChanged = "secret_changed" {
        /// The file.
        file: &'a Path,
    }
    /// The file of the peers' secret cannot be used: the old secret stays.
    SecretKept = "secret_kept" {
        /// The error.
        why: &'a dyn Display,
    }
    /// Others can read the file of the peers' secret.
    SecretOpen = "secret_open" {
        /// The file.
        file: &'a Path,
    }
    /// What is known of other nodes' logs was lost.
    PositionsLost = "positions_lost" {
        /// The error.
        why: &'a dyn Display,
    }
    /// What is known of other nodes' logs could not be made durable.
    PositionsNotKept = "positions_not_kept" {
        /// The error.
        why: &'a dyn Display,
    }
    /// There is no password: clients of other machines are turned away.
    ClientsTurnedAway = "clients_turned_away" {
        /// The address that is listened on.
        listen: IpAddr,
    }
    /// There is neither a password nor protected mode.
    OpenToAll = "open_to_all" {
        /// The address that is listened on.
        listen: IpAddr,
    }
    /// The log gets no further segment.
    LogShort = "log_short" {
        /// What is refused because of it, and the error.
        what: &'a str,
    }
    /// The log gets segments again.
    LogShortOver = "log_short_over" {
        /// For how long it got none.
        what: &'a str,
    }
    /// The file that notes that the log was begun cannot be written.
    LogNotBegun = "log_not_begun" {
        /// The file and the error.
        why: &'a str,
    }
    /// Bytes of the log could not be read back.
    ReadFailed = "read_failed" {
        /// The error.
        why: &'a dyn Display,
    }
    /// A turn of a core took long.
    SlowTurn = "slow_turn" {
        /// How long, and for what.
        what: &'a str,
    }
    /// A group's clock is far from the wall clocks.
    ClockSkewed = "clock_skewed" {
        /// The group.
        group: GroupId,
        /// Which group, how far, and what to do.
        what: &'a str,
    }
    /// A mark on the data directory, that it is an old copy, could not be written.
    NotCondemned = "not_condemned" {
        /// The error.
        why: &'a dyn Display,
    }
}

/// Tells the operator about an event of the node, or of one of its cores.
pub fn say(core: Option<CoreId>, event: NodeEvent<'_>) {
    let core = core.map(CoreId::get);
    match event {
        NodeEvent::NodeStarting { .. }
        | NodeEvent::NodeListening { .. }
        | NodeEvent::NodeServing { .. }
        | NodeEvent::NodeStopping { .. }
        | NodeEvent::LogClosed { .. }
        | NodeEvent::HandedOver { .. }
        | NodeEvent::ClientsLeft { .. }
        | NodeEvent::NodeStopped { .. }
        | NodeEvent::Fatal { .. }
        | NodeEvent::SlowTurn { .. }
        | NodeEvent::NotCondemned { .. } => say_of_node(core, event),
        NodeEvent::LinkUp { .. }
        | NodeEvent::LinkLost { .. }
        | NodeEvent::LinkFailed { .. }
        | NodeEvent::MemberRefused { .. }
        | NodeEvent::PeerClosed { .. }
        | NodeEvent::SecretChanged { .. }
        | NodeEvent::SecretKept { .. }
        | NodeEvent::SecretOpen { .. }
        | NodeEvent::PositionsLost { .. }
        | NodeEvent::PositionsNotKept { .. } => say_of_peers(core, event),
        _ => say_of_the_rest(core, event),
    }
}

/// Its life.
fn say_of_node(core: Option<u16>, said: NodeEvent<'_>) {
    let event = said.name();
    match said {
        NodeEvent::NodeStarting {
            version,
            data_dir,
            cluster,
            boot,
            members,
            cores,
            groups,
            cache_bytes,
            memory_bytes_max,
        } => {
            info!(
                target: "node", event, version, data_dir = %data_dir.display(), cluster, boot, members, cores, groups,
                cache_bytes, memory_bytes_max,
                "synod {version} starts on {} (start {boot} of this node): cluster {cluster}, members {members}, \
                 {cores} cores, {groups} groups, at most {} MiB of values in memory, at most {} MiB in all beside \
                 the index of keys",
                data_dir.display(), cache_bytes >> 20, memory_bytes_max >> 20
            )
        }
        NodeEvent::NodeListening { ports } => {
            info!(target: "node", event, ports, "listens for {ports}");
        }
        NodeEvent::NodeServing { took_ms } => {
            info!(target: "node", event, took_ms, "serves, {took_ms} ms after its start");
        }
        NodeEvent::NodeStopping { cause } => info!(target: "node", event, cause, "stops: {cause}"),
        NodeEvent::LogClosed { is_clean, led, took_ms } if is_clean => info!(
            target: "node", event, core, clean = true, led, took_ms,
            "has written its log and marked the end, in {took_ms} ms; {led} groups led here need another leader"
        ),
        NodeEvent::LogClosed { led, took_ms, .. } => warn!(
            target: "node", event, core, clean = false, led, took_ms,
            "gave up waiting for its disk after {took_ms} ms, which loses nothing that was acknowledged; {led} \
             groups led here need another leader"
        ),
        NodeEvent::HandedOver { led: 0, took_ms } => info!(
            target: "node", event, core, led = 0, took_ms,
            "has handed over the groups that it led, in {took_ms} ms"
        ),
        NodeEvent::HandedOver { led, took_ms } => warn!(
            target: "node", event, core, led, took_ms,
            "still leads {led} groups after {took_ms} ms: no other node takes them"
        ),
        NodeEvent::ClientsLeft { count } => warn!(
            target: "node", event, core, clients = count,
            "ends {count} client connections with requests that are not answered: the time for a stop is over"
        ),
        NodeEvent::NodeStopped { took_ms } => {
            info!(target: "node", event, took_ms, "has stopped, in {took_ms} ms");
        }
        NodeEvent::Fatal { why } => error!(target: "node", event, why, "fatal: {why}"),
        NodeEvent::SlowTurn { what } => warn!(target: "node", event, core, "{what}"),
        NodeEvent::NotCondemned { why } => error!(target: "node", event, core, why = %why, "{why}"),
        other => unreachable!("{} is not about the node's life", other.name()),
    }
}

/// Peers, and what the node knows of them.
fn say_of_peers(core: Option<u16>, said: NodeEvent<'_>) {
    let event = said.name();
    match said {
        NodeEvent::LinkUp { peer, down_ms: None } => {
            info!(target: "peer", event, core, peer = peer.get(), "linked to {peer}");
        }
        NodeEvent::LinkUp { peer, down_ms: Some(down_ms) } => info!(
            target: "peer", event, core, peer = peer.get(), down_ms,
            "linked to {peer} again, after {down_ms} ms"
        ),
        NodeEvent::LinkLost { peer, up_ms, why } => warn!(
            target: "peer", event, core, peer = peer.get(), up_ms, why,
            "lost the link to {peer}, which was up for {up_ms} ms: {why}"
        ),
        NodeEvent::LinkFailed { peer, why } => {
            warn!(target: "peer", event, core, peer = peer.get(), why, "no link to {peer}: {why}");
        }
        NodeEvent::MemberRefused { peer, from, why } => warn!(
            target: "peer", event, core, peer = peer.get(), from, why,
            "{peer}, which came from {from}, was refused: {why}"
        ),
        NodeEvent::PeerClosed { from, why } => warn!(
            target: "peer", event, core, from, why, "peer connection from {from} closed: {why}"
        ),
        NodeEvent::SecretChanged { file } => info!(
            target: "peer", event, file = %file.display(),
            "the content of {} is taken for the peers' secret now", file.display()
        ),
        NodeEvent::SecretKept { why } => {
            warn!(target: "peer", event, why = %why, "the peers' secret stays as it was: {why}");
        }
        NodeEvent::SecretOpen { file } => warn!(
            target: "peer", event, file = %file.display(),
            "others can read or write {file}, and so be any node of the cluster; chmod 600 {file}",
            file = file.display()
        ),
        NodeEvent::PositionsLost { why } => warn!(
            target: "peer", event, why = %why,
            "{why}: the known positions of other nodes' logs are forgotten, and old copies of them may not be \
             noticed"
        ),
        NodeEvent::PositionsNotKept { why } => warn!(
            target: "peer", event, why = %why,
            "the known positions of other nodes' logs are not durable: {why}"
        ),
        other => unreachable!("{} is not about peers", other.name()),
    }
}

/// Clients, the log and clocks.
fn say_of_the_rest(core: Option<u16>, said: NodeEvent<'_>) {
    let event = said.name();
    match said {
        NodeEvent::ClientClosed { client, why } => {
            warn!(target: "client", event, core, client, why, "client {client} is disconnected: {why}");
        }
        NodeEvent::AcceptFailed { of, why } => {
            warn!(target: "client", event, core, of, why = %why, "accept of a {of} failed: {why}");
        }
        NodeEvent::ClientsTurnedAway { listen } => warn!(
            target: "client", event, listen = %listen,
            "listening on {listen} without a password: clients of other machines are turned away; set \
             security.password, or security.protected_mode = \"no\" if only your own clients can reach this port"
        ),
        NodeEvent::OpenToAll { listen } => warn!(
            target: "client", event, listen = %listen,
            "listening on {listen} without a password and without protected mode: everyone that reaches it \
             reads and writes"
        ),
        NodeEvent::LogShort { what } => error!(target: "log", event, core, "{what}"),
        NodeEvent::LogShortOver { what } => info!(target: "log", event, core, "{what}"),
        NodeEvent::LogNotBegun { why } => error!(target: "log", event, core, why, "{why}"),
        NodeEvent::ReadFailed { why } => error!(target: "log", event, core, why = %why, "{why}"),
        NodeEvent::ClockSkewed { group, what } => {
            warn!(target: "clock", event, core, group = group.get(), "{what}");
        }
        other => unreachable!("{} is not about clients, the log or clocks", other.name()),
    }
}
