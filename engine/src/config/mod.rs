//! `Config`: the validated configuration of a node.
//!
//! ```toml
//! [cluster]                 # facts: fixed at format, equal on all nodes, hashed into handshakes and data directories
//! name = "demo"
//! groups = 16
//!
//! [node]                    # this node's own; cores and pins are fixed at format, the rest may change
//! id = 1
//! data_dir = "n1"
//! cores = 1
//!
//! [[members]]               # the founding members, the same list on every node
//! id = 1
//! host = "10.0.0.1"
//! client_port = 6379
//! peer_port = 16379
//! ```
//! `[timing]`, `[limits]` and `[security]` hold the rest; [`keys`] lists every setting. Each may also come from a `SYNOD_*`
//! variable and, but for passwords, from a flag: flag, then environment, then file, then default. A fact that nobody mentions is
//! taken from the data directory; one that is mentioned must agree with it.
//!
//! May not: look at the data directory or the machine. It reads one file, once.

mod claims;
pub mod facts;
pub mod keys;
pub mod limits;
mod raw;
mod values;

pub use claims::{Claims, Drawn};
pub use raw::{Flags, RawConfig, RawValue, Said};
pub use synod_net::access::Secret;

use crate::identity::secret::SECRET_FILE;
use crate::node::{Member, NodeOptions};
use crate::refusal::Refusal;
use facts::ClusterFacts;
use keys::Key;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use synod_net::access::Access;
use synod_shard::Timing;
use synod_types::Nanos;

/// When a write counts as durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// Once it is flushed on a quorum.
    #[default]
    Sync,
}

/// What becomes of a Redis client's command when another node or core leads the key's group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Redirect {
    /// It is forwarded: every client may connect anywhere.
    #[default]
    Proxy,
    /// The client is told where to go: for Redis Cluster clients, which then go there by themselves.
    Moved,
}

/// Who leads a group when nothing is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Leadership {
    /// The groups' preferred nodes, so that every node leads its share.
    #[default]
    Balance,
    /// Whoever was elected.
    Stay,
    /// The node that most of the group's requests come through, if there is one.
    Follow,
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sync")
    }
}

/// A configuration that is right in itself. Whether it fits the data directory is asked in [`Claims::verify`], whether it
/// fits the machine in `preflight`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// What it says about facts that are fixed at format.
    pub claims: Claims,
    /// Where the data is.
    pub data_dir: PathBuf,
    /// Where the peers' secret is.
    pub peer_secret_file: PathBuf,
    /// The address to listen on.
    pub listen: IpAddr,
    /// Ports of a node whose configuration lists no members.
    pub ports: OwnPorts,
    /// The rest, except that lease and drift are the cluster's ([`Config::options`]).
    tuning: Tuning,
    /// Where each value that was said came from, for `synod config explain`.
    said: Vec<(&'static Key, String, String)>,
}

/// The ports of a node that is a cluster by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnPorts {
    /// See [`Member::client_port`].
    pub client_port: u16,
    /// See [`Member::core_port_base`].
    pub core_port_base: u16,
    /// See [`Member::peer_port`].
    pub peer_port: u16,
}

/// Node settings that need nothing but themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Tuning {
    durability: Durability,
    redirect: Redirect,
    leadership: Leadership,
    cache_mib: u64,
    segment_mib: u64,
    reserve_mib: u64,
    heartbeat_ms: Said<u64>,
    election_jitter_ms: u64,
    rank_delay_ms: u64,
    resend_ms: u64,
    patience_ms: u64,
    skew_max_ms: u64,
    connections: u64,
    pending_mib: u64,
    pipeline_slots: u64,
    access: Access,
}

impl Config {
    /// Reads the file, if one is named, and gathers all sources: the process's environment and `flags`.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, Refusal> {
        let text = file
            .map(|path| {
                std::fs::read_to_string(path).map_err(|error| Refusal::ConfigUnreadable {
                    path: path.to_owned(),
                    why: error.to_string(),
                })
            })
            .transpose()?;
        // A variable that is not text cannot be one of ours.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_raw(file, RawConfig::gather(file.zip(text.as_deref()), env, flags)?)
    }

    /// Judges what was said.
    pub fn from_raw(file: Option<&Path>, mut raw: RawConfig) -> Result<Self, Refusal> {
        use values::{ip_address, port, port_or_none, text};
        let said = keys::KEYS
            .iter()
            .filter_map(|key| {
                let said = raw.values.get(key.name)?;
                Some((*key, said.value.plain(), said.place.clone()))
            })
            .collect();
        let mut taken = values::Taker { values: &mut raw.values };

        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        let path = |raw: RawValue| match raw {
            // A flag or a variable is meant relative to where the person stands, the file's own word relative to the file.
            RawValue::Word(_) => text(raw).map(PathBuf::from),
            said => text(said).map(|path| base.join(path)),
        };
        let data_dir = taken.take(&keys::DATA_DIR, path)?;
        let data_dir = data_dir.map_or_else(|| PathBuf::from(DATA_DIR_DEFAULT), |said| said.value);
        let peer_secret_file = taken.take(&keys::PEER_SECRET_FILE, path)?;
        let peer_secret_file = peer_secret_file.map_or_else(|| data_dir.join(SECRET_FILE), |said| said.value);
        let listen = taken.take(&keys::LISTEN, ip_address)?;
        let client_port = taken.take(&keys::CLIENT_PORT, port)?;
        let core_port_base = taken.take(&keys::CORE_PORT_BASE, port_or_none)?;
        let peer_port = taken.take(&keys::PEER_PORT, port)?;
        let tuning = Tuning::take(&mut taken)?;

        let place = file.map_or_else(|| "the command line".to_owned(), |file| file.display().to_string());
        let claims = Claims::take(&mut taken, &raw.members, &place)?;
        assert!(raw.values.is_empty(), "every key is taken by someone");

        let (listen, ports) = match claims.own_member() {
            Some(own) => {
                let own = own.clone();
                let agree = |said: &Option<Said<u16>>, key: &Key, port: u16| match said {
                    Some(said) if said.value != port => Err(Refusal::ConfigInvalid {
                        place: said.place.clone(),
                        why: format!(
                            "{} is {}, but the members list tells everybody {port} for node {}; make them equal, or leave \
                             {} out",
                            key.name, said.value, own.id, key.name
                        ),
                    }),
                    _ => Ok(()),
                };
                agree(&client_port, &keys::CLIENT_PORT, own.client_port)?;
                agree(&core_port_base, &keys::CORE_PORT_BASE, own.core_port_base)?;
                agree(&peer_port, &keys::PEER_PORT, own.peer_port)?;
                let listen = match (listen, own.host.parse::<IpAddr>()) {
                    (Some(said), _) => said.value,
                    (None, Ok(host)) => host,
                    (None, Err(_)) => {
                        return Err(Refusal::ConfigInvalid {
                            place,
                            why: format!(
                                "the host of node {} is the name \"{}\", so node.listen must say which IP address to \
                                 listen on",
                                own.id, own.host
                            ),
                        });
                    }
                };
                let ports = OwnPorts {
                    client_port: own.client_port,
                    core_port_base: own.core_port_base,
                    peer_port: own.peer_port,
                };
                (listen, ports)
            }
            None => {
                let client = client_port.map_or(CLIENT_PORT_DEFAULT, |port| port.value);
                let ports = OwnPorts {
                    client_port: client,
                    core_port_base: core_port_base.map_or(0, |port| port.value),
                    // A node alone has no peers and listens for none; the number is written down all the same. Ports above
                    // 55535 have no room above them.
                    peer_port: peer_port.map_or_else(
                        || client.checked_add(10_000).unwrap_or_else(|| client - 10_000),
                        |port| port.value,
                    ),
                };
                let listen = listen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |said| said.value);
                (listen, ports)
            }
        };
        let file = file.map(Path::to_owned);
        let config = Self { file, claims, data_dir, peer_secret_file, listen, ports, tuning, said };
        if let Some(cores) = &config.claims.cores {
            config.check_own_ports(cores.value)?;
        }
        Ok(config)
    }

    /// Whether the configuration names the cluster its node belongs to: then its directory must be formatted by `format`.
    pub fn names_cluster(&self) -> bool {
        self.file.is_some() || self.claims.cluster.is_some() || self.claims.members.is_some()
    }

    /// The founding members with their addresses, once the facts are known.
    pub fn members(&self, facts: &ClusterFacts, cores: u16) -> Result<Vec<Member>, Refusal> {
        if let Some(members) = &self.claims.members {
            return Ok(members.value.clone());
        }
        let &[id] = facts.founders.as_slice() else {
            return Err(Refusal::ConfigInvalid {
                place: self.place(),
                why: format!(
                    "the data directory {} belongs to a cluster of {} members, so their addresses must be configured: give \
                     the [[members]] of this cluster in a file with --config",
                    self.data_dir.display(),
                    facts.founders.len()
                ),
            });
        };
        self.check_own_ports(cores)?;
        let OwnPorts { client_port, core_port_base, peer_port } = self.ports;
        Ok(vec![Member { id, host: self.listen.to_string(), client_port, core_port_base, peer_port, cores }])
    }

    /// Whether nobody but this machine can reach the nodes of the cluster, as far as this one knows.
    pub fn is_of_one_machine(&self, members: &[Member]) -> bool {
        let is_loopback = |host: &str| match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost",
        };
        self.listen.is_loopback() && members.iter().all(|member| is_loopback(&member.host))
    }

    /// The node's options, once the facts are known.
    pub fn options(&self, facts: &ClusterFacts) -> Result<NodeOptions, Refusal> {
        let tuning = &self.tuning;
        // One lost heartbeat must not end a lease.
        if tuning.heartbeat_ms.value * 2 > u64::from(facts.lease_ms) {
            return Err(Refusal::ConfigValue {
                place: tuning.heartbeat_ms.place.clone(),
                why: format!(
                    "heartbeats every {} ms leave no room for a lost one in a lease of {} ms; make the heartbeat at most \
                     half the lease",
                    tuning.heartbeat_ms.value, facts.lease_ms
                ),
            });
        }
        Ok(NodeOptions {
            timing: Timing {
                heartbeat: Nanos::from_ms(tuning.heartbeat_ms.value),
                lease: Nanos::from_ms(u64::from(facts.lease_ms)),
                drift: Nanos::from_ms(u64::from(facts.drift_ms)),
                election_jitter: Nanos::from_ms(tuning.election_jitter_ms),
                rank_delay: Nanos::from_ms(tuning.rank_delay_ms),
                resend: Nanos::from_ms(tuning.resend_ms),
                patience: Nanos::from_ms(tuning.patience_ms),
                skew_max_ms: tuning.skew_max_ms,
            },
            durability: tuning.durability,
            redirect: tuning.redirect,
            leadership: tuning.leadership,
            // All of these are bounded by their ranges far below the width of a usize.
            cache_bytes: (tuning.cache_mib << 20) as usize,
            segment_bytes: tuning.segment_mib << 20,
            // Whole segments; the range keeps the number small.
            reserve_segments: tuning.reserve_mib.div_ceil(tuning.segment_mib) as u32,
            connections_max: tuning.connections as usize,
            pending_bytes_max: (tuning.pending_mib << 20) as usize,
            pipeline_slots: tuning.pipeline_slots,
            access: tuning.access.clone(),
        })
    }

    /// Where leaders are to be.
    pub fn leadership(&self) -> Leadership {
        self.tuning.leadership
    }

    /// Every setting with its value and where it came from, one line each.
    pub fn explain(&self) -> String {
        let mut out = String::new();
        for key in keys::KEYS {
            let line = match self.said.iter().find(|(said, ..)| std::ptr::eq(*said, *key)) {
                Some((_, value, place)) => format!("{:<26} = {value:<24} # {place}\n", key.name),
                None => format!("{:<26} = {:<24} # default\n", key.name, key.default),
            };
            out.push_str(&line);
        }
        out
    }

    /// The file, or "the command line".
    pub fn place(&self) -> String {
        self.file.as_ref().map_or_else(|| "the command line".to_owned(), |file| file.display().to_string())
    }

    fn check_own_ports(&self, cores: u16) -> Result<(), Refusal> {
        let OwnPorts { client_port, core_port_base, peer_port } = self.ports;
        let member = Member {
            id: synod_types::NodeId::new(1),
            host: String::new(),
            client_port,
            core_port_base,
            peer_port,
            cores,
        };
        claims::check_ports(&[member]).map_err(|why| Refusal::ConfigInvalid { place: self.place(), why })
    }
}

/// Where a node keeps its data unless told otherwise.
pub const DATA_DIR_DEFAULT: &str = "synod-data";
/// Where Redis clients look first.
pub const CLIENT_PORT_DEFAULT: u16 = 6379;

impl Tuning {
    fn take(taken: &mut values::Taker<'_>) -> Result<Self, Refusal> {
        use limits::{
            CACHE_MIB_MAX, CONNECTIONS_MAX, HEARTBEAT_MS_MIN, PENDING_MIB_MAX, PENDING_MIB_MIN,
            PIPELINE_SLOTS_MAX, RESERVE_MIB_MAX, SEGMENT_MIB_MAX, SEGMENT_MIB_MIN, SPAN_MS_MAX,
        };
        let mut number = |key, low, high, default| -> Result<Said<u64>, Refusal> {
            let said = taken.take(key, |raw| values::range(&raw, low, high))?;
            Ok(said.unwrap_or_else(|| Said { value: default, place: format!("{} (default)", key.name) }))
        };
        let heartbeat_ms = number(&keys::HEARTBEAT_MS, HEARTBEAT_MS_MIN, SPAN_MS_MAX, 50)?;
        let tuning = Self {
            durability: Durability::Sync,
            redirect: Redirect::Proxy,
            leadership: Leadership::default(),
            cache_mib: number(&keys::CACHE_MIB, 1, CACHE_MIB_MAX, 256)?.value,
            segment_mib: number(&keys::SEGMENT_MIB, SEGMENT_MIB_MIN, SEGMENT_MIB_MAX, 64)?.value,
            reserve_mib: number(&keys::RESERVE_MIB, 0, RESERVE_MIB_MAX, 128)?.value,
            heartbeat_ms,
            election_jitter_ms: number(&keys::ELECTION_JITTER_MS, 1, SPAN_MS_MAX, 120)?.value,
            rank_delay_ms: number(&keys::RANK_DELAY_MS, 0, SPAN_MS_MAX, 60)?.value,
            resend_ms: number(&keys::RESEND_MS, 1, SPAN_MS_MAX, 100)?.value,
            patience_ms: number(&keys::PATIENCE_MS, 1, SPAN_MS_MAX, 4000)?.value,
            skew_max_ms: number(&keys::SKEW_MAX_MS, 1, 3_600_000, 60_000)?.value,
            connections: number(&keys::CONNECTIONS, 1, CONNECTIONS_MAX, 4096)?.value,
            pending_mib: number(&keys::PENDING_MIB, PENDING_MIB_MIN, PENDING_MIB_MAX, 16)?.value,
            pipeline_slots: number(&keys::PIPELINE_SLOTS, 1, PIPELINE_SLOTS_MAX, 8)?.value,
            access: Access::default(),
        };
        let password = taken.take(&keys::PASSWORD, values::secret)?;
        let old = taken.take(&keys::PASSWORD_OLD, values::secret)?;
        if let (None, Some(old)) = (&password, &old) {
            return Err(Refusal::ConfigInvalid {
                place: old.place.clone(),
                why: "there is an old password and no new one; set security.password".to_owned(),
            });
        }
        let is_protected = taken.take(&keys::PROTECTED_MODE, values::yes_or_no)?;
        let durability = taken.take(&keys::DURABILITY, values::durability)?;
        let redirect = taken.take(&keys::REDIRECT, values::redirect)?;
        let leadership = taken.take(&keys::LEADERSHIP, values::leadership)?;
        Ok(Self {
            durability: durability.map_or(Durability::Sync, |said| said.value),
            redirect: redirect.map_or(Redirect::Proxy, |said| said.value),
            leadership: leadership.map_or(Leadership::default(), |said| said.value),
            access: Access::new(
                password.iter().chain(&old).map(|said| said.value.bytes()),
                is_protected.is_none_or(|said| said.value),
            ),
            ..tuning
        })
    }
}

#[cfg(test)]
mod tests;
