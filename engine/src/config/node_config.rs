//! `Config`: the configuration of a node, consistent in itself.
//!
//! ```text
//! RawConfig ──▶ Values ──────────────▶ DeclaredFacts, NodeOptions, addresses ──▶ Config
//!               each valid by itself   valid together
//! ```

use super::declared::DeclaredFacts;
use super::explained::{DEFAULT_SOURCE, Explained};
use super::facts::ClusterFacts;
use super::raw::Sourced;
use super::relations;
use super::row::Row;
use super::settings::{self, ROWS};
use super::sources::{self, Flags};
use super::values::{ShownValues, Values};
use super::variables;
use crate::identity::secret::SECRET_FILE;
use crate::node::{Member, NodeOptions};
use crate::refusal::Refusal;
use crate::voice::VoiceOptions;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use synod_net::access::Access;
use synod_shard::{Leadership, Timing};
use synod_types::{Nanos, NodeId};

/// No rank waits longer for the one before it, unless it is told to.
const RANK_DELAY_MAX: Nanos = Nanos::from_ms(60);

/// A configuration that is consistent in itself. [`DeclaredFacts::verify`] checks whether it fits the data
/// directory, `preflight` whether it fits the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// The configured facts, which are fixed at format.
    pub declared: DeclaredFacts,
    /// The path of the data directory.
    pub data_dir: PathBuf,
    /// The path of the peer secret's file.
    pub peer_secret_file: PathBuf,
    /// The address to listen on.
    pub listen: IpAddr,
    /// Ports of a node whose configuration lists no members.
    pub ports: OwnPorts,
    /// All other options. The lease and the drift in it are the configured ones; [`Config::options`] replaces
    /// them by the cluster's.
    options: NodeOptions,
    /// The given values and their sources, for `synod config explain`.
    shown: ShownValues,
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

impl Config {
    /// Reads the file, if one is named, the process's environment and `flags`.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, Refusal> {
        let text = file
            .map(|path| {
                std::fs::read_to_string(path).map_err(|error| Refusal::ConfigUnreadable {
                    path: path.to_owned(),
                    why: error.to_string(),
                })
            })
            .transpose()?;
        let env = variables::of_process()?.into_iter();
        Self::read(file.zip(text.as_deref()), env, flags)
    }

    /// Reads the contents of a file, an environment and flags. It does no I/O.
    pub fn read(
        file: Option<(&Path, &str)>,
        env: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, Refusal> {
        let raw = sources::gather(file, env, flags)?;
        let file = file.map(|(path, _)| path);
        let place = place_of(file);
        let values = Values::check(raw.values)?;
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        let data_dir = values.value(&settings::DATA_DIR).resolve(base);
        let peer_secret_file = values
            .given(&settings::PEER_SECRET_FILE)
            .map_or_else(|| data_dir.join(SECRET_FILE), |given| given.value.resolve(base));
        let options = node_options(&values)?;
        let declared = DeclaredFacts::read(&values, &raw.members, &place)?;
        let (listen, ports) = match declared.own_member() {
            Some(own) => listed_addresses(own, &values, &place)?,
            None => lone_addresses(&values),
        };
        let file = file.map(Path::to_owned);
        let shown = values.shown();
        let config = Self { file, declared, data_dir, peer_secret_file, listen, ports, options, shown };
        if let Some(cores) = &config.declared.cores {
            config.check_own_ports(cores.value)?;
        }
        Ok(config)
    }

    /// Whether the configuration names the cluster that its node belongs to. If it does, only `format` may
    /// format the data directory.
    pub fn names_cluster(&self) -> bool {
        self.file.is_some() || self.declared.cluster.is_some() || self.declared.members.is_some()
    }

    /// The founding members with their addresses, once the facts are known.
    pub fn members(&self, facts: &ClusterFacts, cores: u16) -> Result<Vec<Member>, Refusal> {
        if let Some(members) = &self.declared.members {
            return Ok(members.value.clone());
        }
        let &[id] = facts.founders.as_slice() else {
            return Err(Refusal::ConfigInvalid {
                place: self.place(),
                why: format!(
                    "the data directory {} belongs to a cluster of {} members, so their addresses must be \
                     configured: give the [[members]] of this cluster in a file with --config",
                    self.data_dir.display(),
                    facts.founders.len()
                ),
            });
        };
        self.check_own_ports(cores)?;
        Ok(vec![self.lone_member(id, self.listen.to_string(), cores)])
    }

    /// Whether all nodes of the cluster can be reached from this machine only, as far as this node knows.
    pub fn is_of_one_machine(&self, members: &[Member]) -> bool {
        let is_loopback = |host: &str| match host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => host == "localhost",
        };
        self.listen.is_loopback() && members.iter().all(|member| is_loopback(&member.host))
    }

    /// The node's options, once the facts are known.
    pub fn options(&self, facts: &ClusterFacts) -> Result<NodeOptions, Refusal> {
        let mut options = self.options.clone();
        let source = || self.source_of(&settings::HEARTBEAT_MS.row);
        relations::a_lease_outlives_a_heartbeat(options.timing.heartbeat.as_ms(), facts.lease_ms)
            .map_err(|why| Refusal::ConfigValue { place: source(), why })?;
        options.timing.lease = Nanos::from_ms(u64::from(facts.lease_ms));
        options.timing.drift = Nanos::from_ms(u64::from(facts.drift_ms));
        options.timing.rank_delay = self.rank_delay(facts);
        Ok(options)
    }

    /// The delay of a rank, once the facts are known.
    pub fn rank_delay(&self, facts: &ClusterFacts) -> Nanos {
        let is_given = self.shown.contains_key(settings::RANK_DELAY_MS.row.name);
        let of_lease = rank_delay(Nanos::from_ms(u64::from(facts.lease_ms)));
        if is_given { self.options.timing.rank_delay } else { of_lease }
    }

    /// What the node tells its operator, and how.
    pub fn voice(&self) -> &VoiceOptions {
        &self.options.voice
    }

    /// The leadership policy.
    pub fn leadership(&self) -> Leadership {
        self.options.leadership
    }

    /// Every setting with the value in force and its source, as far as the configuration alone says it: a fact
    /// that is not given may come from the data directory or the machine.
    pub fn explained(&self) -> Vec<Explained> {
        let derived = self.derived();
        let explain = |row: &&'static Row| {
            let name = row.name;
            if let Some(given) = self.shown.get(name) {
                let value = self.resolved(row).unwrap_or_else(|| given.value.clone());
                return Explained { name, value, source: given.place.clone(), is_given: true };
            }
            let known =
                derived.iter().find(|(known, ..)| *known == name).map(|(_, value, source)| (value, source));
            let (value, source) = match known {
                Some((value, source)) => (value.clone(), source.clone()),
                None => (row.default.text().to_owned(), DEFAULT_SOURCE.to_owned()),
            };
            Explained { name, value, source, is_given: false }
        };
        ROWS.iter().map(explain).collect()
    }

    /// A path setting with the directory that it is relative to.
    fn resolved(&self, row: &Row) -> Option<String> {
        let paths = [
            (&settings::DATA_DIR.row, &self.data_dir),
            (&settings::PEER_SECRET_FILE.row, &self.peer_secret_file),
        ];
        paths.into_iter().find(|(path, _)| path.name == row.name).map(|(_, path)| path.display().to_string())
    }

    /// The settings whose value follows from others where it is not given: name, value, source.
    fn derived(&self) -> Vec<(&'static str, String, String)> {
        let mut all = Vec::new();
        let mut add = |row: &Row, value: String, source: &str| all.push((row.name, value, source.to_owned()));
        if let Some(cluster) = &self.declared.cluster {
            add(&settings::CLUSTER_ID.row, cluster.value.to_string(), "from cluster.name");
        }
        if let Some(cores) = &self.declared.cores {
            add(&settings::CORES.row, cores.value.to_string(), "from [[members]]");
        }
        let (is_listed, ports) = (self.declared.own_member().is_some(), self.ports);
        if is_listed {
            add(&settings::LISTEN.row, self.listen.to_string(), "from [[members]]");
            add(&settings::CLIENT_PORT.row, ports.client_port.to_string(), "from [[members]]");
            add(&settings::CORE_PORT_BASE.row, ports.core_port_base.to_string(), "from [[members]]");
        } else {
            add(&settings::LISTEN.row, self.listen.to_string(), DEFAULT_SOURCE);
        }
        let of_port = if is_listed { "from [[members]]" } else { "from node.client_port" };
        add(&settings::PEER_PORT.row, ports.peer_port.to_string(), of_port);
        let secret = self.peer_secret_file.display().to_string();
        add(&settings::PEER_SECRET_FILE.row, secret, "from node.data_dir");
        let rank_delay = self.options.timing.rank_delay.as_ms().to_string();
        add(&settings::RANK_DELAY_MS.row, rank_delay, "from cluster.lease_ms");
        all
    }

    /// The file, or "the command line".
    pub fn place(&self) -> String {
        place_of(self.file.as_deref())
    }

    /// The source of a setting's value, as the beginning of a sentence.
    fn source_of(&self, row: &Row) -> String {
        let given = self.shown.get(row.name);
        given.map_or_else(|| format!("{} (default)", row.name), |given| given.place.clone())
    }

    /// This node as the only member of its cluster.
    fn lone_member(&self, id: NodeId, host: String, cores: u16) -> Member {
        let OwnPorts { client_port, core_port_base, peer_port } = self.ports;
        Member { id, host, client_port, core_port_base, peer_port, cores }
    }

    fn check_own_ports(&self, cores: u16) -> Result<(), Refusal> {
        let member = self.lone_member(NodeId::new(1), String::new(), cores);
        relations::ports_are_apart(&[member])
            .map_err(|why| Refusal::ConfigInvalid { place: self.place(), why })
    }
}

fn place_of(file: Option<&Path>) -> String {
    file.map_or_else(|| "the command line".to_owned(), |file| file.display().to_string())
}

/// The delay of a rank where none is given. It lets the next in rank be elected before the one after it stands:
/// long beside a few messages and writes, short beside the lease.
fn rank_delay(lease: Nanos) -> Nanos {
    Nanos::from_ms(lease.as_ms() / 5).min(RANK_DELAY_MAX)
}

/// The settings that depend on no other setting, or on the lease.
fn node_options(values: &Values) -> Result<NodeOptions, Refusal> {
    let ms = Nanos::from_ms;
    let lease = ms(values.value(&settings::LEASE_MS).into());
    let (segment_mib, reserve_mib) =
        (values.value(&settings::SEGMENT_MIB), values.value(&settings::RESERVE_MIB));
    Ok(NodeOptions {
        timing: Timing {
            heartbeat: ms(values.value(&settings::HEARTBEAT_MS)),
            lease,
            drift: ms(values.value(&settings::DRIFT_MS).into()),
            election_jitter: ms(values.value(&settings::ELECTION_JITTER_MS)),
            rank_delay: values
                .given(&settings::RANK_DELAY_MS)
                .map_or(rank_delay(lease), |given| ms(given.value)),
            resend: ms(values.value(&settings::RESEND_MS)),
            patience: ms(values.value(&settings::PATIENCE_MS)),
            request_max: ms(values.value(&settings::REQUEST_MAX_MS)),
            skew_max_ms: values.value(&settings::SKEW_MAX_MS),
        },
        durability: values.value(&settings::DURABILITY),
        redirect: values.value(&settings::REDIRECT),
        leadership: values.value(&settings::LEADERSHIP),
        // Their ranges bound all of these far below the width of a usize.
        cache_bytes: (values.value(&settings::CACHE_MIB) << 20) as usize,
        segment_bytes: segment_mib << 20,
        // Whole segments; the range keeps the number small.
        reserve_segments: reserve_mib.div_ceil(segment_mib) as u32,
        connections_max: values.value(&settings::CONNECTIONS) as usize,
        tcp_keepalive_s: values.value(&settings::TCP_KEEPALIVE_S),
        command_bytes_max: (values.value(&settings::REQUESTS_MIB) << 20) as usize,
        client_bytes_max: (values.value(&settings::CLIENTS_MIB) << 20) as usize,
        command_limit: Nanos::from_ms(1_000 * values.value(&settings::COMMAND_S)),
        drain_limit: Nanos::from_ms(1_000 * values.value(&settings::DRAIN_S)),
        pending_bytes_max: (values.value(&settings::PENDING_MIB) << 20) as usize,
        pipeline_slots: values.value(&settings::PIPELINE_SLOTS),
        access: access(values)?,
        voice: VoiceOptions {
            filter: values.value(&settings::LOG_LEVEL),
            format: values.value(&settings::LOG_FORMAT),
        },
    })
}

/// The clients that the node admits.
fn access(values: &Values) -> Result<Access, Refusal> {
    let (new, old) = (values.given(&settings::PASSWORD), values.given(&settings::PASSWORD_OLD));
    if let Some(old) = &old {
        relations::an_old_password_has_a_new_one(new.as_ref())
            .map_err(|why| Refusal::ConfigInvalid { place: old.place.clone(), why })?;
    }
    let passwords = new.iter().chain(&old).map(|given| given.value.bytes());
    Ok(Access::new(passwords, values.value(&settings::PROTECTED_MODE)))
}

/// The listen address and the ports of a node that is in the member list.
fn listed_addresses(own: &Member, values: &Values, place: &str) -> Result<(IpAddr, OwnPorts), Refusal> {
    let Member { client_port, core_port_base, peer_port, .. } = *own;
    for (setting, listed) in [
        (&settings::CLIENT_PORT, client_port),
        (&settings::CORE_PORT_BASE, core_port_base),
        (&settings::PEER_PORT, peer_port),
    ] {
        if let Some(Sourced { value: port, place }) = values.given(setting) {
            relations::a_port_is_as_listed(setting.row.name, port, listed, own.id)
                .map_err(|why| Refusal::ConfigInvalid { place, why })?;
        }
    }
    let given = values.given(&settings::LISTEN).map(|given| given.value);
    let listen = relations::listen_address(given, own)
        .map_err(|why| Refusal::ConfigInvalid { place: place.to_owned(), why })?;
    Ok((listen, OwnPorts { client_port, core_port_base, peer_port }))
}

/// The listen address and the ports of a node that is a cluster by itself.
fn lone_addresses(values: &Values) -> (IpAddr, OwnPorts) {
    let listen = values.given(&settings::LISTEN).map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |given| given.value);
    let client_port = values.value(&settings::CLIENT_PORT);
    // A node without peers does not listen for peers; the number is recorded anyway. Client ports above 55535
    // have no room for a peer port 10000 above.
    let peer_port = values.given(&settings::PEER_PORT).map_or_else(
        || client_port.checked_add(10_000).unwrap_or_else(|| client_port - 10_000),
        |given| given.value,
    );
    let core_port_base = values.value(&settings::CORE_PORT_BASE);
    (listen, OwnPorts { client_port, core_port_base, peer_port })
}
