//! `NodeSetup`: everything a node needs to run, resolved and checked. It is the argument of `runtime::run`.
//!
//! It stands between the command line and the runtime. It holds no socket and no executor; of the disk it
//! holds only the locked data directory.

use crate::config::choice::{Durability, Redirect};
use crate::config::facts::ClusterFacts;
use crate::exit::Exit;
use crate::identity::{DataDir, HeardBook, Identity, PeerBook, Pins, SecretBook};
use crate::refusal::Refusal;
use crate::stop::Stop;
use crate::voice::VoiceOptions;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use synod_net::access::Access;
use synod_shard::{Leadership, Timing};
use synod_types::{Boot, CoreId, Nanos, NodeId};

/// A node of the cluster, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// The address where others reach it: an IP address or a host name.
    pub host: String,
    /// The client port that its cores share.
    pub client_port: u16,
    /// Core j also listens for clients on this port plus j; 0 if cores have no client ports of their own.
    pub core_port_base: u16,
    /// Core j listens for peers on this port plus j.
    pub peer_port: u16,
    /// Its number of cores, the same on all members.
    pub cores: u16,
}

impl Member {
    /// The client port of one core; `None` if cores have no port of their own.
    pub fn core_port(&self, core: CoreId) -> Option<u16> {
        assert!(core.get() < self.cores, "no such core");
        // The configuration check ensures that the last core's port is at most 65535.
        (self.core_port_base != 0).then(|| self.core_port_base + core.get())
    }
    /// The most direct client port of one core: its own port, or the shared one if the core has no port of
    /// its own.
    pub fn client_port_of(&self, core: CoreId) -> u16 {
        self.core_port(core).unwrap_or(self.client_port)
    }
    /// The peer port of one core.
    pub fn peer_port(&self, core: CoreId) -> u16 {
        assert!(core.get() < self.cores, "no such core");
        self.peer_port + core.get()
    }
    /// The current address of one core's peer port. Looks host names up and so may block; an IP address never
    /// blocks.
    pub fn peer_addr(&self, core: CoreId) -> io::Result<SocketAddr> {
        resolve(&self.host, self.peer_port(core))
    }
    /// The current address of its shared client port. May block like [`Member::peer_addr`].
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

/// Options that may differ from node to node and from start to start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeOptions {
    /// Protocol timing. The lease and the drift in it are cluster facts.
    pub timing: Timing,
    /// The point at which a write counts as done.
    pub durability: Durability,
    /// Whether Redis clients are redirected to a key's leader or served through this node.
    pub redirect: Redirect,
    /// When leadership moves without a failure.
    pub leadership: Leadership,
    /// Size of one core's slab cache in bytes.
    pub cache_bytes: usize,
    /// Size of a log segment in bytes.
    pub segment_bytes: u64,
    /// Number of segments per core that `format` writes in advance.
    pub reserve_segments: u32,
    /// Maximum number of open client connections per core.
    pub connections_max: usize,
    /// Seconds of silence after which a client's machine is probed; 0 for never.
    pub tcp_keepalive_s: u32,
    /// Payload bytes that may wait in one group; beyond that the group answers busy.
    pub pending_bytes_max: usize,
    /// Bytes of clients' commands that one core has under way before it reads no more.
    pub command_bytes_max: usize,
    /// Bytes that the clients of one core share for what they have sent and what waits to be sent to them.
    pub client_bytes_max: usize,
    /// How long a command may be incomplete.
    pub command_limit: Nanos,
    /// How long a planned stop may take for handing over and letting clients go.
    pub drain_limit: Nanos,
    /// Maximum number of one group's slots in flight.
    pub pipeline_slots: u64,
    /// The clients that the node admits.
    pub access: Access,
    /// What the node tells its operator, and how.
    pub voice: VoiceOptions,
}

/// A node, ready to run.
#[derive(Debug)]
pub struct NodeSetup {
    /// The data directory, open and locked by this process until the setup is dropped.
    pub data: DataDir,
    /// This start.
    pub boot: Boot,
    /// The incarnations of the other nodes seen so far.
    pub peer_book: Arc<PeerBook>,
    /// The log positions that other nodes have reported.
    pub heard: Arc<HeardBook>,
    /// The secrets that nodes prove to each other; `None` for a node that is a cluster by itself.
    pub peer_secrets: Option<Arc<SecretBook>>,
    /// The founding members with their addresses, this node included, ascending by id.
    pub members: Vec<Member>,
    /// The address to listen on, for clients and peers alike.
    pub listen: IpAddr,
    /// All other options.
    pub options: NodeOptions,
    /// Raised when the process is told to stop.
    pub stop: Stop,
}

impl NodeSetup {
    /// The identity of this node.
    pub fn identity(&self) -> &Identity {
        self.data.identity()
    }
    /// The cluster's immutable facts.
    pub fn facts(&self) -> &ClusterFacts {
        &self.identity().facts
    }
    /// The hash that goes into peer handshakes. Peers with another hash are refused.
    pub fn facts_hash(&self) -> u64 {
        self.facts().hash64()
    }
    /// This node's id.
    pub fn node(&self) -> NodeId {
        self.identity().node
    }
    /// The number of cores of this node.
    pub fn cores(&self) -> u16 {
        self.identity().cores
    }
    /// The CPUs that the cores are bound to.
    pub fn pins(&self) -> &Pins {
        &self.identity().pins
    }
    /// This node's entry in the member list.
    pub fn own(&self) -> &Member {
        self.members
            .iter()
            .find(|member| member.id == self.node())
            // The founders include this node (checked when synod.id is read) and the members are the founders
            // (checked against the configuration), so this cannot fail.
            .expect("a node is a member of its own cluster")
    }
    /// The other members.
    pub fn peers(&self) -> impl Iterator<Item = &Member> {
        let node = self.node();
        self.members.iter().filter(move |member| member.id != node)
    }
    /// The directory of `core`'s log.
    pub fn core_dir(&self, core: CoreId) -> PathBuf {
        self.data.core_dir(core)
    }
    /// Every address this node listens on, with its purpose.
    pub fn listeners(&self) -> Vec<Listener> {
        listeners(&self.members, self.node(), self.listen)
    }
    /// The line that tells a parent process (and a person) that this node serves. The runtime prints it once
    /// all listeners accept and the logs are replayed.
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
    /// Prints [`NodeSetup::serving_line`]. A write error is ignored: a node does not stop because its output
    /// is not read.
    pub fn announce(&self) {
        use std::io::Write;
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{}", self.serving_line()).and_then(|()| out.flush());
    }
}

/// The beginning of the line that a serving node prints.
pub const SERVING_MARK: &str = "synod serving";

/// One port a node listens on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// The address.
    pub addr: SocketAddr,
    /// Its purpose.
    pub role: ListenerRole,
}

/// The purpose of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerRole {
    /// Clients of any core.
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

/// Every port that `node` of `members` opens on `listen`. A node without peers opens no peer ports.
///
/// # Panics
/// When `node` is not a member.
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

/// The reason why a node does not start, or has stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It never started, and nothing was touched.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// It started and failed.
    #[error("{0}")]
    Failed(String),
    /// It ended in another way that has an exit code of its own.
    #[error("{why}")]
    Ended {
        /// The exit code.
        exit: Exit,
        /// The reason, in one sentence.
        why: String,
    },
}

impl RunError {
    /// The exit code of the process.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused(refusal) => refusal.exit(),
            Self::Failed(_) => Exit::Failed,
            Self::Ended { exit, .. } => *exit,
        }
    }
}
