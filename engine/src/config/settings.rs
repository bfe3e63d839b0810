//! Every setting: one row for each.
//!
//! ```text
//!          ┌▶ the file's schema, SYNOD_* variables, flags, suggestions for misspelt keys
//!   ROWS ──┼▶ checks of values, their error messages, defaults
//!          └▶ `config keys`, `config explain`, --help, docs/configuration.md, files of `dev` and `bench`
//! ```
//! A new setting needs a row here and the code that uses it. Rules between settings are in `relations.rs`.

use super::choice::{Durability, Redirect};
use super::facts::KeyHash;
use super::limits::{
    CACHE_MIB_MAX, CLIENTS_MIB_MAX, CLIENTS_MIB_MIN, COMMAND_S_MAX, CONNECTIONS_MAX, CORE_COUNT_MAX,
    DRAIN_S_MAX, HEARTBEAT_MS_MIN, PENDING_MIB_MAX, PENDING_MIB_MIN, PIPELINE_SLOTS_MAX, REQUESTS_MIB_MAX,
    REQUESTS_MIB_MIN, RESERVE_MIB_MAX, SEGMENT_MIB_MAX, SEGMENT_MIB_MIN, SPAN_MS_MAX, TCP_KEEPALIVE_S_MAX,
};
use super::row::DefaultValue::{Described, Required, Word};
use super::row::{Row, Scope, Setting};
use super::shape::{
    ClusterIdDigits, ClusterName, CpuList, FilePath, Host, IpAddress, LogLevels, Number, OneOf, Password,
    PowerOfTwo, YesOrNo,
};
use crate::voice::Format;
use std::ops::RangeInclusive;
use synod_net::access::HIDDEN;
use synod_shard::Leadership;
use synod_types::limits::GROUP_COUNT_MAX;

/// The sections of the file that hold settings.
pub const SECTIONS: [&str; 6] = ["cluster", "node", "timing", "limits", "security", "log"];
/// The array of tables that lists the members.
pub const MEMBERS: &str = "members";

/// Node ids.
const IDS: RangeInclusive<u64> = 1..=u16::MAX as u64;
/// Ports that can be listened on.
const PORTS: RangeInclusive<u64> = 1..=u16::MAX as u64;
/// The same ports, or 0 for none.
const PORTS_OR_NONE: RangeInclusive<u64> = 0..=u16::MAX as u64;
/// Numbers of cores of a node.
const CORE_COUNTS: RangeInclusive<u64> = 1..=CORE_COUNT_MAX as u64;

/// A flag, or `None` if the row has "".
const fn flag(word: &'static str) -> Option<&'static str> {
    if word.is_empty() { None } else { Some(word) }
}

/// Rows, each as
/// ```text
/// CONSTANT: type = "section.key", "flag", scope,
///     which values, default,
///     "what it means";
/// ```
macro_rules! rows {
    ($(#[$doc:meta])* $table:ident:
     $($setting:ident: $shape:ty = $name:literal, $flag:literal, $scope:ident,
         $takes:expr, $default:expr,
         $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $setting: Setting<$shape> = {
                static SHAPE: $shape = $takes;
                Setting {
                    row: Row {
                        name: $name,
                        flag: flag($flag),
                        scope: Scope::$scope,
                        default: $default,
                        shape: &SHAPE,
                        help: $help,
                    },
                    shape: &SHAPE,
                }
            };
        )*
        $(#[$doc])*
        pub static $table: &[&Row] = &[$(&$setting.row),*];
    };
}

rows! {
    /// The settings.
    ROWS:

    CLUSTER_NAME: ClusterName = "cluster.name", "cluster", ClusterFact,
        ClusterName, Described("none"),
        "Name of the cluster; nodes with the same name have the same cluster id";
    CLUSTER_ID: ClusterIdDigits = "cluster.id", "cluster-id", ClusterFact,
        ClusterIdDigits, Described("from the name"),
        "Id of the cluster, instead of the one its name gives";
    GROUPS: PowerOfTwo = "cluster.groups", "groups", ClusterFact,
        PowerOfTwo { max: GROUP_COUNT_MAX }, Word("16"),
        "Number of Paxos groups the keys are spread over";
    HASH: OneOf<KeyHash> = "cluster.hash", "hash", ClusterFact,
        OneOf::NEW, Word("crc16"),
        "How keys find their group";
    LEASE_MS: Number<u32> = "cluster.lease_ms", "lease-ms", ClusterFact,
        Number::ms(20..=60_000), Word("300"),
        "How long a heartbeat binds the follower that answers it";
    DRIFT_MS: Number<u32> = "cluster.drift_ms", "drift-ms", ClusterFact,
        Number::ms(1..=10_000), Word("10"),
        "How far two clocks may drift apart within one lease; at most a quarter of it";

    NODE_ID: Number<u16> = "node.id", "node", NodeFact,
        Number::within(IDS), Word("1"),
        "Id of this node, unique for the life of the cluster";
    DATA_DIR: FilePath = "node.data_dir", "data-dir", Node,
        FilePath, Word("synod-data"),
        "Directory of this node's data; in a file it is relative to the file";
    CORES: Number<u16> = "node.cores", "cores", NodeFact,
        Number::within(CORE_COUNTS), Described("the CPUs of one node, 1 per node of a cluster"),
        "Number of cores (executors, each with its own log); equal on all members";
    PINS: CpuList = "node.pins", "pins", NodeFact,
        CpuList, Word("none"),
        "CPUs the cores are bound to, one each";
    LISTEN: IpAddress = "node.listen", "listen", Node,
        IpAddress, Described("this member's host, or 127.0.0.1"),
        "IP address to listen on, for clients and peers";
    CLIENT_PORT: Number<u16> = "node.client_port", "client-port", Node,
        // The port that Redis clients try first.
        Number::within(PORTS), Word("6379"),
        "Client port shared by all cores";
    CORE_PORT_BASE: Number<u16> = "node.core_port_base", "core-port-base", Node,
        Number::within(PORTS_OR_NONE), Word("0"),
        "Core j also listens for clients on this plus j; 0 for none";
    PEER_PORT: Number<u16> = "node.peer_port", "peer-port", Node,
        Number::within(PORTS), Described("client port + 10000"),
        "Core j listens for its peers on this plus j";
    DURABILITY: OneOf<Durability> = "node.durability", "durability", Node,
        OneOf::NEW, Word("sync"),
        "When a write counts as durable";
    REDIRECT: OneOf<Redirect> = "node.redirect", "redirect", Node,
        OneOf::NEW, Word("proxy"),
        "How a Redis client's command for a key that is led elsewhere is answered";
    LEADERSHIP: OneOf<Leadership> = "node.leadership", "leadership", Node,
        OneOf::NEW, Word("balance"),
        "The node that leads a group when nothing is wrong";
    CACHE_MIB: Number<u64> = "node.cache_mib", "cache-mib", Node,
        Number::mib(1..=CACHE_MIB_MAX), Word("256"),
        "Value cache of one core";
    SEGMENT_MIB: Number<u64> = "node.segment_mib", "segment-mib", Node,
        Number::mib(SEGMENT_MIB_MIN..=SEGMENT_MIB_MAX), Word("64"),
        "Size of a log segment";
    RESERVE_MIB: Number<u64> = "node.reserve_mib", "reserve-mib", Node,
        Number::mib(0..=RESERVE_MIB_MAX), Word("128"),
        "Log space of one core that format writes in advance";

    HEARTBEAT_MS: Number<u64> = "timing.heartbeat_ms", "heartbeat-ms", Node,
        Number::ms(HEARTBEAT_MS_MIN..=SPAN_MS_MAX), Word("50"),
        "Time between two heartbeats of a leader; at most half a lease";
    ELECTION_JITTER_MS: Number<u64> = "timing.election_jitter_ms", "election-jitter-ms", Node,
        Number::ms(1..=SPAN_MS_MAX), Word("30"),
        "Spread of election timeouts";
    RANK_DELAY_MS: Number<u64> = "timing.rank_delay_ms", "rank-delay-ms", Node,
        Number::ms(0..=SPAN_MS_MAX), Described("a fifth of the lease, 60 at most"),
        "Added to the election timeout per rank of preference";
    RESEND_MS: Number<u64> = "timing.resend_ms", "resend-ms", Node,
        Number::ms(1..=SPAN_MS_MAX), Word("100"),
        "An unanswered proposal is sent again after this long";
    PATIENCE_MS: Number<u64> = "timing.patience_ms", "patience-ms", Node,
        Number::ms(1..=SPAN_MS_MAX), Word("4000"),
        "How long a request waits while its group makes no progress";
    REQUEST_MAX_MS: Number<u64> = "timing.request_max_ms", "request-max-ms", Node,
        Number::ms(1..=SPAN_MS_MAX), Word("30000"),
        "How long a request waits at most, even if its group makes progress";
    SKEW_MAX_MS: Number<u64> = "timing.skew_max_ms", "skew-max-ms", Node,
        // An hour: a clock that is further off is set wrong.
        Number::ms(1..=3_600_000), Word("60000"),
        "A group's clock that is further than this from the wall clocks that agree is reported";

    CONNECTIONS: Number<u64> = "limits.connections", "connections-max", Node,
        Number::within(1..=CONNECTIONS_MAX), Word("4096"),
        "Open client connections of one core";
    TCP_KEEPALIVE_S: Number<u32> = "limits.tcp_keepalive_s", "tcp-keepalive-s", Node,
        Number::within(0..=TCP_KEEPALIVE_S_MAX), Word("300"),
        "Seconds of silence after which a client's machine is probed; 0 never probes";
    PENDING_MIB: Number<u64> = "limits.pending_mib", "pending-mib", Node,
        Number::mib(PENDING_MIB_MIN..=PENDING_MIB_MAX), Word("16"),
        "Other nodes' requests that may wait in one group; beyond that they are sent again later";
    REQUESTS_MIB: Number<u64> = "limits.requests_mib", "requests-mib", Node,
        Number::mib(REQUESTS_MIB_MIN..=REQUESTS_MIB_MAX), Word("32"),
        "Clients' commands under way on one core; beyond that it reads no more until some are answered";
    CLIENTS_MIB: Number<u64> = "limits.clients_mib", "clients-mib", Node,
        Number::mib(CLIENTS_MIB_MIN..=CLIENTS_MIB_MAX), Word("128"),
        "Memory that the clients of one core share: what they have sent and what waits to be sent to them";
    COMMAND_S: Number<u64> = "limits.command_s", "command-s", Node,
        Number::within(1..=COMMAND_S_MAX), Word("60"),
        "Seconds in which a command must be complete; its connection is closed otherwise";
    DRAIN_S: Number<u64> = "limits.drain_s", "drain-timeout", Node,
        Number::within(0..=DRAIN_S_MAX), Word("8"),
        "Seconds in which a node that is told to stop hands over and lets its clients go; 0 stops at once";
    PIPELINE_SLOTS: Number<u64> = "limits.pipeline_slots", "pipeline-slots", Node,
        Number::within(1..=PIPELINE_SLOTS_MAX), Word("8"),
        "Log slots of one group in flight";

    PASSWORD: Password = "security.password", "", Node,
        Password, Described("none"),
        "Password that clients must give; better set by the variable than in a file that others read";
    PASSWORD_OLD: Password = "security.password_old", "", Node,
        Password, Described("none"),
        "Another password that is still accepted, until all clients know the new one";
    PEER_SECRET_FILE: FilePath = "security.peer_secret_file", "peer-secret-file", Node,
        FilePath, Described("peers.secret in the data directory"),
        "File with the secret that nodes prove to each other; in a file it is relative to the file";
    PROTECTED_MODE: YesOrNo = "security.protected_mode", "protected-mode", Node,
        YesOrNo, Word("yes"),
        "Whether clients of other machines are turned away while there is no password";

    LOG_LEVEL: LogLevels = "log.level", "log-level", Node,
        LogLevels, Word("info"),
        "Which events the node writes to standard error, for all modules and for single ones";
    LOG_FORMAT: OneOf<Format> = "log.format", "log-format", Node,
        OneOf::NEW, Word("text"),
        "How it writes them";
}

rows! {
    /// The keys of one member, which only a file has.
    MEMBER_ROWS:

    MEMBER_ID: Number<u16> = "members.id", "", ClusterFact,
        Number::within(IDS), Required,
        "Id of the member";
    MEMBER_HOST: Host = "members.host", "", Node,
        Host, Required,
        "Where the other nodes and clients reach it";
    MEMBER_CLIENT_PORT: Number<u16> = "members.client_port", "", Node,
        Number::within(PORTS), Required,
        "Its node.client_port";
    MEMBER_CORE_PORT_BASE: Number<u16> = "members.core_port_base", "", Node,
        Number::within(PORTS_OR_NONE), Word("0"),
        "Its node.core_port_base";
    MEMBER_PEER_PORT: Number<u16> = "members.peer_port", "", Node,
        Number::within(PORTS), Required,
        "Its node.peer_port";
    MEMBER_CORES: Number<u16> = "members.cores", "", NodeFact,
        Number::within(CORE_COUNTS), Described("node.cores, or 1"),
        "Its node.cores";
}

/// The setting called `name`.
pub fn find(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == name).copied()
}

/// The value of the setting called `name` as it may be shown.
pub fn shown<'v>(name: &str, value: &'v str) -> &'v str {
    if find(name).is_some_and(Row::is_secret) { HIDDEN } else { value }
}

#[cfg(test)]
mod tests {
    use super::super::raw::{RawValue, Sourced};
    use super::super::row::DefaultValue;
    use super::super::shape::TomlKind;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_flags_and_variables_are_unique_and_every_name_has_a_section() {
        let with_flags: Vec<_> = ROWS.iter().filter(|row| row.flag.is_some()).collect();
        let flags: BTreeSet<_> = with_flags.iter().map(|row| row.flag).collect();
        let envs: BTreeSet<_> = ROWS.iter().map(|row| row.env()).collect();
        assert_eq!((flags.len(), envs.len()), (with_flags.len(), ROWS.len()));
        assert_eq!(ROWS.iter().filter(|row| row.is_secret()).count(), 2);
        for row in ROWS {
            let (section, name) = row.section();
            assert!(SECTIONS.contains(&section) && !name.is_empty() && !name.contains('.'), "{}", row.name);
            assert_eq!(row.flag.is_none(), row.is_secret(), "{}: no password is a flag", row.name);
        }
        let keys: BTreeSet<_> = MEMBER_ROWS.iter().map(|row| row.key()).collect();
        assert_eq!(keys.len(), MEMBER_ROWS.len());
        for row in MEMBER_ROWS {
            assert_eq!(row.section(), (MEMBERS, row.key()), "{}", row.name);
            assert!(row.flag.is_none() && !row.key().contains('.'), "{}", row.name);
        }
        assert_eq!(DATA_DIR.row.env(), "SYNOD_NODE_DATA_DIR");
    }

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        let mut values = 0;
        for row in ROWS.iter().chain(MEMBER_ROWS) {
            if let DefaultValue::Word(word) = row.default {
                let given = RawValue::Word(word.to_owned());
                assert_eq!(row.shape.check(&given), Ok(()), "{}", row.name);
                values += 1;
            }
        }
        assert!(values > ROWS.len() / 2);
        assert_eq!((CACHE_MIB.default_value(), GROUPS.default_value()), (256, 16));
        assert_eq!(REDIRECT.default_value(), Redirect::Proxy);
    }

    #[test]
    fn each_kind_of_value_is_spelled_as_a_file_has_it() {
        for (row, word, literal) in [
            (&CLUSTER_NAME.row, "2024", "\"2024\""),
            (&CACHE_MIB.row, "30", "30"),
            (&GROUPS.row, "16", "16"),
            (&PINS.row, "0,1", "[0,1]"),
            (&PINS.row, "none", "\"none\""),
            (&REDIRECT.row, "moved", "\"moved\""),
            (&PROTECTED_MODE.row, "no", "\"no\""),
        ] {
            assert_eq!(row.shape.toml_kind().literal(word), literal, "{}", row.name);
        }
        assert_eq!(TomlKind::String.literal("none"), "\"none\"");
    }

    #[test]
    fn complaints_name_the_place_and_what_would_be_right() {
        let given = Sourced { value: RawValue::Word("ask".to_owned()), place: "--redirect".to_owned() };
        assert_eq!(
            REDIRECT.row.check(&given).unwrap_err().to_string(),
            "--redirect: 'ask' is no redirect; use proxy, which serves any key at any node, or moved, which \
             sends Redis Cluster clients to the key's leader"
        );
        assert_eq!(CACHE_MIB.row.describe(), "Value cache of one core [1 to 1048576 MiB; default: 256]");
    }
}
