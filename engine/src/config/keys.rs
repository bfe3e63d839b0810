//! Every setting, once: its key in the file, its flag, its default and what it means.
//!
//! The file's schema, the environment variables, the flags with their help, `synod config keys` and the suggestions for
//! misspelt keys all come from this table.

use synod_net::access::HIDDEN;

/// What kind of setting it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// Fixed at format and equal on all nodes; another value later is refused.
    ClusterFact,
    /// Fixed at format, this node's own; another value later is refused.
    NodeFact,
    /// May differ from node to node and from start to start.
    Node,
}

/// One setting.
#[derive(PartialEq, Eq, Debug)]
pub struct Key {
    /// `section.name`, as in the file.
    pub name: &'static str,
    /// The long flag, without the dashes; empty where there is none: a command line is for everybody to see.
    pub flag: &'static str,
    /// When it may change.
    pub kind: KeyKind,
    /// The default, as a person reads it.
    pub default: &'static str,
    /// What it means.
    pub help: &'static str,
}

impl Key {
    /// Its environment variable.
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.name.replace('.', "_").to_uppercase())
    }
    /// Whether its value is never shown.
    pub fn is_secret(&self) -> bool {
        self.flag.is_empty()
    }
    /// The table of the file it stands in, and its name there.
    pub fn section(&self) -> (&'static str, &'static str) {
        // Every name in the table has exactly one dot (tested).
        self.name.split_once('.').unwrap_or(("", self.name))
    }
}

/// What every environment variable of ours begins with.
pub const ENV_PREFIX: &str = "SYNOD_";
/// The tables of the file that hold settings.
pub const SECTIONS: [&str; 5] = ["cluster", "node", "timing", "limits", "security"];
/// The array of tables that lists the members.
pub const MEMBERS: &str = "members";
/// The keys of one member.
pub const MEMBER_KEYS: [&str; 6] = ["id", "host", "client_port", "core_port_base", "peer_port", "cores"];

macro_rules! keys {
    ($($konst:ident = $name:literal, $flag:literal, $kind:ident, $default:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $konst: Key =
                Key { name: $name, flag: $flag, kind: KeyKind::$kind, default: $default, help: $help };
        )*
        /// The table.
        pub static KEYS: &[&Key] = &[$(&$konst),*];
    };
}

keys! {
    CLUSTER_NAME = "cluster.name", "cluster", ClusterFact, "none",
        "Name of the cluster; nodes with the same name have the same cluster id";
    CLUSTER_ID = "cluster.id", "cluster-id", ClusterFact, "from the name",
        "Id of the cluster, 32 hexadecimal digits, instead of the one its name gives";
    GROUPS = "cluster.groups", "groups", ClusterFact, "16",
        "Number of Paxos groups the keys are spread over: a power of two, 1 to 1024";
    HASH = "cluster.hash", "hash", ClusterFact, "crc16",
        "How keys find their group: crc16, as in Redis Cluster";
    LEASE_MS = "cluster.lease_ms", "lease-ms", ClusterFact, "300",
        "How long a heartbeat binds the follower that answers it";
    DRIFT_MS = "cluster.drift_ms", "drift-ms", ClusterFact, "10",
        "How far two clocks may drift apart within one lease";
    NODE_ID = "node.id", "node", NodeFact, "1",
        "Id of this node, 1 to 65535, unique for the life of the cluster";
    DATA_DIR = "node.data_dir", "data-dir", Node, "synod-data",
        "Directory of this node's data; in a file it is relative to the file";
    CORES = "node.cores", "cores", NodeFact, "the CPUs of one node, 1 per node of a cluster",
        "Number of cores (executors, each with its own log); equal on all members";
    PINS = "node.pins", "pins", NodeFact, "none",
        "CPUs the cores are bound to, one each ([0, 1] in a file, 0,1 as a flag), or none";
    LISTEN = "node.listen", "listen", Node, "this member's host, or 127.0.0.1",
        "IP address to listen on, for clients and peers";
    CLIENT_PORT = "node.client_port", "client-port", Node, "6379",
        "Client port shared by all cores";
    CORE_PORT_BASE = "node.core_port_base", "core-port-base", Node, "0",
        "Core j also listens for clients on this plus j; 0 for none";
    PEER_PORT = "node.peer_port", "peer-port", Node, "client port + 10000",
        "Core j listens for its peers on this plus j";
    DURABILITY = "node.durability", "durability", Node, "sync",
        "When a write counts as durable: sync, once it is flushed";
    REDIRECT = "node.redirect", "redirect", Node, "proxy",
        "A Redis client's command for a key led elsewhere: proxy forwards it, moved answers MOVED";
    LEADERSHIP = "node.leadership", "leadership", Node, "balance",
        "Who leads a group: balance, its share per node; follow, where most of its requests come through; stay, whoever was elected";
    CACHE_MIB = "node.cache_mib", "cache-mib", Node, "256",
        "Value cache of one core";
    SEGMENT_MIB = "node.segment_mib", "segment-mib", Node, "64",
        "Size of a log segment";
    RESERVE_MIB = "node.reserve_mib", "reserve-mib", Node, "128",
        "Log space of one core that format writes in advance";
    HEARTBEAT_MS = "timing.heartbeat_ms", "heartbeat-ms", Node, "50",
        "Time between two heartbeats of a leader; at most half a lease";
    ELECTION_JITTER_MS = "timing.election_jitter_ms", "election-jitter-ms", Node, "120",
        "Spread of election timeouts";
    RANK_DELAY_MS = "timing.rank_delay_ms", "rank-delay-ms", Node, "60",
        "Added to the election timeout per rank of preference";
    RESEND_MS = "timing.resend_ms", "resend-ms", Node, "100",
        "An unanswered proposal is sent again after this long";
    PATIENCE_MS = "timing.patience_ms", "patience-ms", Node, "4000",
        "How long a request waits for a leader, and a forwarded one for its answer";
    SKEW_MAX_MS = "timing.skew_max_ms", "skew-max-ms", Node, "60000",
        "A group's clock that is further than this from the wall clocks that agree is reported";
    CONNECTIONS = "limits.connections", "connections-max", Node, "4096",
        "Open client connections of one core";
    PENDING_MIB = "limits.pending_mib", "pending-mib", Node, "16",
        "MiB that may wait in one group before it answers busy, 2 or more";
    PASSWORD = "security.password", "", Node, "none",
        "What clients must know to be let in; better given by the variable than by a file that others read";
    PASSWORD_OLD = "security.password_old", "", Node, "none",
        "Another password that lets them in still, while they are told the new one";
    PEER_SECRET_FILE = "security.peer_secret_file", "peer-secret-file", Node, "peers.secret in the data directory",
        "File with what the nodes of the cluster prove to each other; in a file it is relative to the file";
    PROTECTED_MODE = "security.protected_mode", "protected-mode", Node, "yes",
        "Whether clients of other machines are turned away while there is no password: yes or no";
    PIPELINE_SLOTS = "limits.pipeline_slots", "pipeline-slots", Node, "8",
        "Log slots of one group in flight";
}

/// The setting called `name`.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name).copied()
}

/// What may be shown of the value of the setting called `name`.
pub fn shown<'v>(name: &str, value: &'v str) -> &'v str {
    if find(name).is_some_and(Key::is_secret) { HIDDEN } else { value }
}

/// The word of `known` that `wrong` probably meant.
pub fn nearest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|word| (edit_distance(wrong, word), word))
        .filter(|&(distance, word)| distance <= 2.max(word.len() / 3))
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein distance, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_flags_and_variables_are_unique_and_every_name_has_a_section() {
        let with_flags: Vec<_> = KEYS.iter().filter(|key| !key.flag.is_empty()).collect();
        let flags: BTreeSet<_> = with_flags.iter().map(|key| key.flag).collect();
        let envs: BTreeSet<_> = KEYS.iter().map(|key| key.env()).collect();
        assert_eq!((flags.len(), envs.len()), (with_flags.len(), KEYS.len()));
        assert_eq!(KEYS.iter().filter(|key| key.is_secret()).count(), 2);
        for key in KEYS {
            let (section, name) = key.section();
            assert!(SECTIONS.contains(&section) && !name.is_empty() && !name.contains('.'), "{}", key.name);
        }
        assert_eq!(DATA_DIR.env(), "SYNOD_NODE_DATA_DIR");
    }

    #[test]
    fn misspelt_keys_find_their_neighbours() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("node.coers", names()), Some("node.cores"));
        assert_eq!(nearest("node.data-dir", names()), Some("node.data_dir"));
        assert_eq!(nearest("node.x", names()), Some("node.id"));
        assert_eq!(nearest("completely.different", names()), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }
}
