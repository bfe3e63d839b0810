//! `NodeSetup`: everything a node needs to run, resolved and checked; what `runtime::run` is given.
//!
//! Between the command line and the runtime. Holds no socket, no executor; of the disk it holds only the locked directory.

use crate::config::facts::ClusterFacts;
use crate::config::{Durability, Leadership, Redirect};
use crate::identity::{DataDir, HeardBook, Identity, PeerBook, Pins, SecretBook};
use crate::refusal::Refusal;
use crate::stop::Stop;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use synod_net::access::Access;
use synod_shard::Timing;
use synod_types::{Boot, CoreId, NodeId};

/// A node of the cluster as the configuration describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Where others reach it: an IP address or a name.
    pub host: String,
    /// The port shared by its cores.
    pub client_port: u16,
    /// Core j also listens for clients on this plus j; 0 for no such ports.
    pub core_port_base: u16,
    /// Core j listens for peers on this plus j.
    pub peer_port: u16,
    /// Its number of cores; equal on all members.
    pub cores: u16,
}

impl Member {
    /// The client port of one core; `None` when cores have no port of their own.
    pub fn core_port(&self, core: CoreId) -> Option<u16> {
        assert!(core.get() < self.cores, "no such core");
        // Checked in the configuration: the last core's port is a port.
        (self.core_port_base != 0).then(|| self.core_port_base + core.get())
    }
    /// The port by which clients reach one core most directly: its own, or the shared one where it has none or no neighbour.
    pub fn client_port_of(&self, core: CoreId) -> u16 {
        if self.cores == 1 { self.client_port } else { self.core_port(core).unwrap_or(self.client_port) }
    }
    /// The peer port of one core.
    pub fn peer_port(&self, core: CoreId) -> u16 {
        assert!(core.get() < self.cores, "no such core");
        self.peer_port + core.get()
    }
    /// Where the peer port of one core is now. Looks names up, so it may block; an IP address never does.
    pub fn peer_addr(&self, core: CoreId) -> io::Result<SocketAddr> {
        resolve(&self.host, self.peer_port(core))
    }
    /// Where its shared client port is now. May block like [`Member::peer_addr`].
    pub fn client_addr(&self) -> io::Result<SocketAddr> {
        resolve(&self.host, self.client_port)
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    (host, port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("the name {host} has no address")))
}

/// What may differ from node to node and from start to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeOptions {
    /// Protocol timing; lease and drift in it are the cluster's facts.
    pub timing: Timing,
    /// When a write counts as done.
    pub durability: Durability,
    /// Whether Redis clients are sent to a key's leader or served through this node.
    pub redirect: Redirect,
    /// Whether leaders go where their groups are asked for.
    pub leadership: Leadership,
    /// Slab cache of one core, bytes.
    pub cache_bytes: usize,
    /// A log segment, bytes.
    pub segment_bytes: u64,
    /// Segments of one core that `format` writes in advance.
    pub reserve_segments: u32,
    /// Open client connections of one core.
    pub connections_max: usize,
    /// Payload bytes that may wait in one group before it answers busy.
    pub pending_bytes_max: usize,
    /// Slots of one group in flight.
    pub pipeline_slots: u64,
    /// Whom the node lets in.
    pub access: Access,
}

/// A node, ready to run.
#[derive(Debug)]
pub struct NodeSetup {
    /// The data directory, open and locked for this process until the setup is dropped.
    pub data: DataDir,
    /// This start.
    pub boot: Boot,
    /// The incarnations of other nodes met so far.
    pub peer_book: Arc<PeerBook>,
    /// What other nodes have said of their logs.
    pub heard: Arc<HeardBook>,
    /// What the nodes prove to each other; none for a node that is its own cluster.
    pub peer_secrets: Option<Arc<SecretBook>>,
    /// The founding members with their addresses, this node among them, ascending by id.
    pub members: Vec<Member>,
    /// The address to listen on; clients and peers alike.
    pub listen: IpAddr,
    /// Everything else.
    pub options: NodeOptions,
    /// Raised when the process is told to stop.
    pub stop: Stop,
}

impl NodeSetup {
    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        self.data.identity()
    }
    /// The cluster's immutable facts.
    pub fn facts(&self) -> &ClusterFacts {
        &self.identity().facts
    }
    /// What goes into peer handshakes: peers with another hash are refused.
    pub fn facts_hash(&self) -> u64 {
        self.facts().hash64()
    }
    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.identity().node
    }
    /// How many cores this node runs.
    pub fn cores(&self) -> u16 {
        self.identity().cores
    }
    /// The CPUs they are bound to.
    pub fn pins(&self) -> &Pins {
        &self.identity().pins
    }
    /// This node as a member.
    pub fn own(&self) -> &Member {
        self.members
            .iter()
            .find(|member| member.id == self.node())
            // The founders hold the own node (checked when synod.id is read) and the members are the founders (checked
            // against the configuration), so this cannot fail.
            .expect("a node is a member of its own cluster")
    }
    /// The other members.
    pub fn peers(&self) -> impl Iterator<Item = &Member> {
        let node = self.node();
        self.members.iter().filter(move |member| member.id != node)
    }
    /// Where the log of `core` is.
    pub fn core_dir(&self, core: CoreId) -> PathBuf {
        self.data.core_dir(core)
    }
    /// Every address this node listens on, with what it is for.
    pub fn listeners(&self) -> Vec<Listener> {
        listeners(&self.members, self.node(), self.listen)
    }
    /// The line that tells a parent process (and a person) that this node serves. Printed by the runtime once all listeners
    /// accept and the logs are replayed.
    pub fn serving_line(&self) -> String {
        let own = self.own();
        let mut line = format!(
            "{SERVING_MARK} {}: clients {}, peers {}, {} cores, pins {}, {} groups, cluster {}",
            self.node(),
            SocketAddr::new(self.listen, own.client_port),
            SocketAddr::new(self.listen, own.peer_port),
            self.cores(),
            self.pins(),
            self.facts().group_count,
            self.identity().cluster_label(),
        );
        if own.core_port_base != 0 {
            line.push_str(&format!(", core ports from {}", own.core_port_base));
        }
        line
    }
    /// Prints [`NodeSetup::serving_line`]. That nobody reads it is no reason to stop.
    pub fn announce(&self) {
        use std::io::Write;
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{}", self.serving_line()).and_then(|()| out.flush());
    }
}

/// How the line begins that a serving node prints.
pub const SERVING_MARK: &str = "synod serving";

/// One port a node listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The address.
    pub addr: SocketAddr,
    /// What for.
    pub role: ListenerRole,
}

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerRole {
    /// Clients, any core.
    Client,
    /// Clients of one core.
    CoreClient(CoreId),
    /// Peers of one core.
    Peer(CoreId),
}

impl fmt::Display for ListenerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("clients"),
            Self::CoreClient(core) => write!(f, "clients of core {}", core.get()),
            Self::Peer(core) => write!(f, "peers of core {}", core.get()),
        }
    }
}

/// Every port that `node` of `members` opens on `listen`. A node without peers opens none for them.
///
/// # Panics
/// When `node` is no member.
pub fn listeners(members: &[Member], node: NodeId, listen: IpAddr) -> Vec<Listener> {
    let Some(own) = members.iter().find(|member| member.id == node) else {
        panic!("{node} is not among the members");
    };
    let at = |port, role| Listener { addr: SocketAddr::new(listen, port), role };
    let mut all = vec![at(own.client_port, ListenerRole::Client)];
    for core in (0..own.cores).map(CoreId::new) {
        all.extend(own.core_port(core).map(|port| at(port, ListenerRole::CoreClient(core))));
        if members.len() > 1 {
            all.push(at(own.peer_port(core), ListenerRole::Peer(core)));
        }
    }
    all
}

/// Why a node does not run, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It never began: exit code 2, nothing touched.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It began and failed: exit code 1.
    #[error("{0}")]
    Failed(String),
}
