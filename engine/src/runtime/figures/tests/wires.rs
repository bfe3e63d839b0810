//! No wires are crossed: the pages here have another value in each field, and each row shows the value of its
//! own field in each face. What no client can drive from outside is driven here: a log that stalls, fails or
//! is full, clocks that differ, slow turns.

use super::text;
use crate::runtime::figures::collected::{Figures, NodeFacts};
use crate::runtime::figures::table::ROWS;
use crate::runtime::figures::{counters, info, metrics};
use crate::runtime::rates::{Rates, Work};
use crate::runtime::slow::{SlowTurns, TurnWatch, WorkKind};
use crate::runtime::status_board::{CorePage, Errors};
use crate::sys::{CpuTimes, Memory};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use synod_net::server::{CallTotals, CountTotals, REDIS_VERSION};
use synod_shard::{CacheStats, CoreStats, GroupStats, GroupStatus, Histogram, PeerView, Role};
use synod_types::{Ballot, ErrorKind, GroupId, Mono, Nanos, NodeId, Slot, Space, WallMs};

/// The second core has this much more than the first one in each field, so that no field is the other's.
const MORE: u64 = 10_000;

/// Every error that is counted by its name.
const ERRORS: [(ErrorKind, &str); 11] = [
    (ErrorKind::Unknown, "unknown"),
    (ErrorKind::NoLeader, "no_leader"),
    (ErrorKind::Busy, "busy"),
    (ErrorKind::SessionExpired, "session_expired"),
    (ErrorKind::SequenceClosed, "sequence_closed"),
    (ErrorKind::NotAnInteger, "not_an_integer"),
    (ErrorKind::Overflow, "overflow"),
    (ErrorKind::BadExpiry, "bad_expiry"),
    (ErrorKind::ReadFailed, "read_failed"),
    (ErrorKind::Malformed, "malformed"),
    (ErrorKind::NoSpace, "no_space"),
];

/// Rows of a number of each core: the family, the same of the node, the field of INFO, the first core's number.
const OF_CORES: &[(&str, &str, &str, u64)] = &[
    ("synod_connections", "redis_connected_clients", "connected_clients", 101),
    (
        "synod_connections_accepted_total",
        "redis_connections_received_total",
        "total_connections_received",
        102,
    ),
    ("synod_connections_rejected_total", "redis_rejected_connections_total", "rejected_connections", 103),
    // Calls of `get` and requests of the other protocols.
    ("synod_commands_total", "redis_commands_processed_total", "total_commands_processed", 141 + 144),
    ("synod_commands_per_second", "redis_instantaneous_ops_per_sec", "instantaneous_ops_per_sec", 104),
    ("synod_input_bytes_total", "redis_net_input_bytes_total", "total_net_input_bytes", 105),
    ("synod_output_bytes_total", "redis_net_output_bytes_total", "total_net_output_bytes", 106),
    ("synod_error_lines_total", "", "total_error_replies", 145),
    ("synod_replies_total", "", "replies", 107),
    ("synod_log_backlog_bytes", "", "log_backlog_bytes", 108),
    ("synod_log_written_bytes_total", "", "log_written_bytes", 121),
    ("synod_log_reads_failed_total", "", "log_reads_failed", 123),
    ("synod_log_reads_late_total", "", "log_reads_late", 157),
    ("synod_log_reads_repaired_total", "", "log_reads_repaired", 124),
    ("synod_follower_reads_total", "", "follower_reads", 125),
    ("synod_forwards_total", "", "forwards", 126),
    ("synod_reads_deferred_total", "", "reads_deferred", 152),
    ("synod_sleeps_total", "", "sleeps", 153),
    ("synod_client_bytes", "", "client_bytes", 154),
    ("synod_client_bytes_max", "", "client_bytes_max", 155),
    ("synod_command_bytes", "", "command_bytes", 156),
    ("synod_cache_bytes", "", "cache_bytes", 131),
    ("synod_cache_bytes_max", "", "cache_bytes_max", 132),
    ("synod_cache_cells", "", "cache_cells", 133),
    ("synod_cache_hits_total", "", "cache_hits", 134),
    ("synod_cache_misses_total", "", "cache_misses", 135),
    ("synod_cache_inserts_total", "", "cache_inserts", 136),
    ("synod_cache_evictions_total", "", "cache_evictions", 137),
];

/// Rows of a number of each group, likewise. Each core has one group.
const OF_GROUPS: &[(&str, &str, &str, u64)] = &[
    ("synod_expirations_total", "redis_expired_keys_total", "expired_keys", 201),
    ("synod_key_hits_total", "redis_keyspace_hits_total", "keyspace_hits", 202),
    ("synod_key_misses_total", "redis_keyspace_misses_total", "keyspace_misses", 203),
    ("synod_keys", "", "keys", 204),
    ("synod_keys_expiring", "", "keys_expiring", 205),
    ("synod_expired_keys_total", "", "expired_keys_held", 206),
    ("synod_leader_changes_total", "", "leader_changes", 207),
    ("synod_elections_won_total", "", "elections_won", 208),
    ("synod_leaderships_transferred_total", "", "leaderships_transferred", 209),
    ("synod_leaderships_lost_total", "", "leaderships_lost", 210),
    ("synod_chosen_slot", "", "chosen_slots", 211),
    ("synod_applied_slot", "", "applied_slots", 212),
];

fn histogram(value: u64) -> Histogram {
    let mut histogram = Histogram::default();
    histogram.record(value);
    histogram
}

/// Each kind of slow turn once more than the one before it.
fn slow_turns() -> SlowTurns {
    let mut slow = SlowTurns::default();
    for (place, (kind, _)) in WorkKind::ALL.into_iter().enumerate() {
        let mut watch = TurnWatch::new(Mono(0));
        watch.look(Mono(Nanos::from_ms(5).0), kind);
        (0..=place).for_each(|_| drop(slow.note(&watch, None)));
    }
    slow
}

/// Each kind of error once more than the one before it.
fn errors() -> Errors {
    let mut errors = Errors::default();
    for (place, (kind, _)) in ERRORS.into_iter().enumerate() {
        (0..=place).for_each(|_| errors.record(kind));
    }
    errors
}

/// The work of one second.
fn rates(commands: u64, input_bytes: u64, output_bytes: u64) -> Rates {
    let mut rates = Rates::default();
    rates.look(Mono(0), Work::default());
    rates.look(Mono(Nanos::from_ms(1000).0), Work { commands, input_bytes, output_bytes });
    rates
}

/// The group of a core. That of the first core is led by this node.
fn status(core: u64) -> GroupStatus {
    let more = core * MORE;
    GroupStatus {
        group: GroupId::new(3 + core as u16),
        role: if core == 0 { Role::Leader } else { Role::Follower },
        leader: (core == 0).then_some(NodeId::new(7)),
        serving: core == 0,
        promised: Ballot::new(221 + more, NodeId::new(8)),
        chosen: Slot::new(211 + more),
        applied: Slot::new(212 + more),
        applied_ts: WallMs(222 + more),
        clock_skew_ms: (core == 0).then_some(-223),
        keys: 204 + more,
        expiring: 205 + more,
        leader_changes: 207 + more,
    }
}

fn group_stats(more: u64) -> GroupStats {
    GroupStats {
        requests: [231 + more, 232 + more, 233 + more, 234 + more],
        key_hits: 202 + more,
        key_misses: 203 + more,
        keys_expired: 206 + more,
        keys_expired_led: 201 + more,
        elections_won: 208 + more,
        leaderships_transferred: 209 + more,
        leaderships_lost: 210 + more,
        batch_commands: histogram(241 + more),
        queue_us: histogram(242 + more),
        quorum_us: histogram(243 + more),
        apply_us: histogram(244 + more),
    }
}

/// The page of a core. Every field is named, so that a new one does not compile before it has its value.
fn page(core: u64) -> CorePage {
    let more = core * MORE;
    let get = CallTotals { calls: 141 + more, failed: 142 + more, rejected: 143 + more };
    CorePage {
        at: Mono(109 + more),
        groups: vec![status(core)],
        ready: vec![core == 0],
        group_stats: vec![group_stats(more)],
        core_stats: CoreStats {
            log_us: histogram(120 + more),
            flush_bytes: histogram(121 + more),
            flush_records: histogram(122 + more),
            forwards: 126 + more,
            sent_back: 152 + more,
            sleeps: 153 + more,
            follower_reads: 125 + more,
            reads_failed: 123 + more,
            reads_late: 157 + more,
            reads_repaired: 124 + more,
            damaged_at: None,
        },
        log_stalled: false,
        log_space: Space::Free,
        log_error: None,
        log_backlog_bytes: 108 + more,
        log_age: Nanos::from_ms(1_500),
        read_age: Nanos::from_ms(2_500),
        peers: vec![PeerView {
            node: NodeId::new(9),
            round_trip: Nanos::from_ms(2),
            log_age: Nanos::from_ms(30),
        }],
        client_bytes: 154 + more,
        client_bytes_max: 155 + more,
        command_bytes: 156 + more,
        closed_slow: [157 + more, 158, 159],
        cache: CacheStats {
            hits: 134 + more,
            misses: 135 + more,
            inserts: 136 + more,
            evictions: 137 + more,
            page_moves: 138 + more,
            refused: 139 + more,
            cells: 133 + more,
            bytes: 131 + more,
            bytes_max: 132 + more,
        },
        linked: Vec::new(),
        refused: Vec::new(),
        connections: 101 + more,
        connections_total: 102 + more,
        connections_rejected: 103 + more,
        counts: Arc::new(CountTotals {
            commands: BTreeMap::from([("get", get)]),
            others: 144,
            turned_away: 146 + more,
            errors: BTreeMap::from([("ERR".to_owned(), 145 + more)]),
        }),
        rates: rates(104 + more, 1024 * (150 + more), 1024 * (151 + more)),
        replies: 107 + more,
        errors: errors(),
        reply_us: histogram(110 + more),
        input_bytes: 105 + more,
        output_bytes: 106 + more,
        slow: slow_turns(),
    }
}

fn facts() -> NodeFacts {
    NodeFacts {
        node: 7,
        cluster: "the cluster".to_owned(),
        incarnation: "the incarnation".to_owned(),
        run_id: "the run".to_owned(),
        port: 301,
        clients_max: 302,
        memory_bytes_max: 310,
        uptime: Nanos::from_ms(3 * 86_400_000 + 303_999),
        wall_us: 304_000_305,
        memory: Memory { resident_bytes: 307 << 20, own_bytes: 306 << 20 },
        cpu: CpuTimes { user_us: 308_000, system_us: 309_000 },
        kernel: "the kernel".to_owned(),
    }
}

/// Both faces, and the names that were looked up there.
struct Faces {
    lines: BTreeSet<String>,
    fields: BTreeMap<String, String>,
    counters: BTreeMap<String, u64>,
    seen: BTreeSet<String>,
}

impl Faces {
    fn of(figures: &Figures) -> Self {
        let fields = info(figures).into_iter();
        Self {
            lines: metrics(figures).lines().map(str::to_owned).collect(),
            fields: fields.map(|field| (field.name.to_string(), text(&field.value))).collect(),
            counters: counters(figures).into_iter().collect(),
            seen: BTreeSet::new(),
        }
    }

    /// A sample of /metrics, with its labels.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let line = format!("{name}{labels} {value}");
        assert!(self.lines.contains(&line), "{line} is missing in\n{:#?}", self.lines);
        self.seen.insert(name.strip_suffix("_sum").unwrap_or(name).to_owned());
    }

    /// A field of INFO that is no whole number.
    fn field(&mut self, name: &str, value: &str) {
        assert_eq!(self.fields.get(name).map(String::as_str), Some(value), "{name}");
        self.seen.insert(name.to_owned());
    }

    /// A number of the whole node in all faces.
    fn number(&mut self, redis: &str, field: &str, value: u64) {
        if !redis.is_empty() {
            self.sample(redis, "", value);
        }
        self.field(field, &value.to_string());
        assert_eq!(self.counters.get(field), Some(&value), "{field} in STATUS");
    }

    /// Fields whose names depend on what there is, by the row that shows them.
    fn fields(&mut self, row: &str, fields: &[(&str, &str)]) {
        fields.iter().for_each(|(name, value)| self.field(name, value));
        self.seen.insert(row.to_owned());
    }
}

#[test]
fn every_row_shows_the_value_of_its_own_field() {
    let mut faces = Faces::of(&Figures::new(facts(), vec![page(0), page(1)]));
    for &(family, redis, field, first) in OF_CORES {
        faces.sample(family, "{core=\"0\"}", first);
        faces.sample(family, "{core=\"1\"}", first + MORE);
        faces.number(redis, field, 2 * first + MORE);
    }
    for &(family, redis, field, first) in OF_GROUPS {
        faces.sample(family, "{core=\"0\",group=\"3\"}", first);
        faces.sample(family, "{core=\"1\",group=\"4\"}", first + MORE);
        faces.number(redis, field, 2 * first + MORE);
    }
    flags_and_states(&mut faces);
    histograms(&mut faces);
    counts_by_name(&mut faces);
    facts_of_the_node(&mut faces);
    for row in ROWS {
        let names = [row.metric, row.redis, row.info.map_or("", |(_, field)| field)];
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            assert!(faces.seen.contains(name), "nothing here says what {name} must show");
        }
    }
}

fn flags_and_states(faces: &mut Faces) {
    for (family, field) in [
        ("synod_log_stalled", "log_stalled"),
        ("synod_log_failing", "log_failing"),
        ("synod_log_full", "log_full"),
    ] {
        // Each of them alone is set below.
        faces.sample(family, "{core=\"0\"}", 0);
        faces.number("", field, 0);
    }
    faces.sample("synod_log_age_seconds", "{core=\"0\"}", 1.5);
    faces.sample("synod_log_read_age_seconds", "{core=\"0\"}", 2.5);
    faces.sample("synod_peer_log_age_seconds", "{core=\"0\",peer=\"9\"}", 0.03);
    faces.sample("synod_peer_round_trip_seconds", "{core=\"1\",peer=\"9\"}", 0.002);
    faces.sample("synod_clients_closed_total", "{core=\"1\",reason=\"command_late\"}", 157 + MORE);
    faces.sample("synod_clients_closed_total", "{core=\"0\",reason=\"slow_sending\"}", 158);
    faces.sample("synod_clients_closed_total", "{core=\"0\",reason=\"slow_reading\"}", 159);
    faces.field("aof_last_write_status", "ok");
    faces.sample("synod_leader", "{core=\"0\",group=\"3\"}", 1);
    faces.sample("synod_leader", "{core=\"1\",group=\"4\"}", 0);
    faces.number("", "groups_led", 1);
    faces.sample("synod_group_ready", "{core=\"0\",group=\"3\"}", 1);
    faces.sample("synod_group_ready", "{core=\"1\",group=\"4\"}", 0);
    faces.sample("synod_clock_skew_milliseconds", "{core=\"0\",group=\"3\"}", -223);
    let skews = faces.lines.iter().filter(|line| line.starts_with("synod_clock_skew_milliseconds{")).count();
    assert_eq!(skews, 1, "a group without a skew has no sample");
    let led = "role=leader,serving=1,leader=7,core=0,promised=221.8,chosen=211,applied=212,keys=204,\
               leader_changes=207";
    let followed = "role=follower,serving=0,leader=none,core=1,promised=10221.8,chosen=10211,applied=10212,\
                    keys=10204,leader_changes=10207";
    faces.fields("group…", &[("group3", led), ("group4", followed)]);
    // Of the keys that it holds, this node leads those of the first core.
    faces.sample("redis_db_keys", "{db=\"db0\"}", 204);
    faces.sample("redis_db_keys_expiring", "{db=\"db0\"}", 205);
    faces.field("db0", "keys=10408,expires=10410");
    faces.sample("synod_keys_held", "", 10_408);
    faces.number("", "keys_held", 10_408);
}

fn histograms(faces: &mut Faces) {
    for core in 0..2 {
        let (more, group) = (core * MORE, core + 3);
        let seconds = |micros: u64| (micros + more) as f64 / 1e6;
        for (stage, micros) in [("queue", 242), ("quorum", 243), ("apply", 244)] {
            let labels = format!("{{core=\"{core}\",group=\"{group}\",stage=\"{stage}\"}}");
            faces.sample("synod_stage_seconds_sum", &labels, seconds(micros));
        }
        for (stage, micros) in [("log", 120), ("reply", 110)] {
            let labels = format!("{{core=\"{core}\",stage=\"{stage}\"}}");
            faces.sample("synod_stage_seconds_sum", &labels, seconds(micros));
        }
        let labels = format!("{{core=\"{core}\",group=\"{group}\"}}");
        faces.sample("synod_batch_commands_sum", &labels, 241 + more);
        let labels = format!("{{core=\"{core}\"}}");
        faces.sample("synod_flush_bytes_sum", &labels, 121 + more);
        faces.sample("synod_flush_records_sum", &labels, 122 + more);
    }
}

fn counts_by_name(faces: &mut Faces) {
    for (core, group) in [(0, 3), (1, 4)] {
        for (kind, first) in [("read", 231), ("set", 232), ("delete", 233), ("other", 234)] {
            let labels = format!("{{core=\"{core}\",group=\"{group}\",kind=\"{kind}\"}}");
            faces.sample("synod_requests_total", &labels, first + core * MORE);
        }
        for (place, (_, kind)) in ERRORS.into_iter().enumerate() {
            let labels = format!("{{core=\"{core}\",kind=\"{kind}\"}}");
            faces.sample("synod_errors_total", &labels, place + 1);
        }
        for (place, (_, kind)) in WorkKind::ALL.into_iter().enumerate() {
            let labels = format!("{{core=\"{core}\",kind=\"{kind}\"}}");
            faces.sample("synod_slow_turns_total", &labels, place + 1);
        }
    }
    let kinds = WorkKind::ALL.len();
    faces.number("", "slow_turns", (kinds * (kinds + 1)) as u64);
    for (place, (_, kind)) in WorkKind::ALL.into_iter().enumerate() {
        faces.number("", &format!("slow_turns_{kind}"), 2 * (place as u64 + 1));
    }
    faces.fields("slow_turns…", &[]);
    faces.sample("redis_commands_total", "{cmd=\"get\"}", 2 * 141 + MORE);
    faces.sample("redis_commands_failed_calls_total", "{cmd=\"get\"}", 2 * 142 + MORE);
    faces.sample("redis_commands_rejected_calls_total", "{cmd=\"get\"}", 2 * 143 + MORE);
    faces.sample("redis_errors_total", "{err=\"ERR\"}", 2 * 145 + MORE);
    faces.fields("cmdstat_…", &[("cmdstat_get", "calls=10282,failed_calls=10284")]);
    faces.fields("rejected_…", &[("rejected_get", "calls=10286")]);
    faces.fields("errorstat_…", &[("errorstat_ERR", "count=10290")]);
}

fn facts_of_the_node(faces: &mut Faces) {
    let version = env!("CARGO_PKG_VERSION");
    let identity = format!("{{node=\"7\",cluster=\"the cluster\",version=\"{version}\"}}");
    faces.sample("synod_info", &identity, 1);
    faces.sample("redis_up", "", 1);
    for (family, redis, field, value) in [
        ("synod_uptime_seconds", "redis_uptime_in_seconds", "uptime_in_seconds", 3 * 86_400 + 303),
        ("synod_connections_max", "redis_config_maxclients", "maxclients", 302),
        ("synod_memory_bound_bytes", "", "memory_bound_bytes", 310),
        ("synod_memory_bytes", "redis_memory_used_bytes", "used_memory", 306 << 20),
        ("synod_resident_bytes", "redis_memory_used_rss_bytes", "used_memory_rss", 307 << 20),
    ] {
        faces.sample(family, "", value);
        faces.number(redis, field, value);
    }
    // What there is nothing of.
    faces.number("redis_blocked_clients", "blocked_clients", 0);
    faces.number("redis_memory_max_bytes", "maxmemory", 0);
    faces.number("redis_loading_dump_file", "loading", 0);
    faces.number("redis_evicted_keys_total", "evicted_keys", 0);
    faces.sample("redis_cpu_user_seconds_total", "", 0.308);
    faces.sample("redis_cpu_sys_seconds_total", "", 0.309);
    faces.sample("redis_instantaneous_input_kbps", "", 2 * 150 + MORE);
    faces.sample("redis_instantaneous_output_kbps", "", 2 * 151 + MORE);
    let os = format!("Linux the kernel {}", std::env::consts::ARCH);
    let process = std::process::id().to_string();
    for (field, value) in [
        ("redis_version", REDIS_VERSION),
        ("redis_mode", "cluster"),
        ("synod_version", version),
        ("os", os.as_str()),
        ("arch_bits", "64"),
        ("multiplexing_api", "io_uring"),
        ("process_id", process.as_str()),
        ("run_id", "the run"),
        ("tcp_port", "301"),
        ("server_time_usec", "304000305"),
        ("uptime_in_days", "3"),
        ("used_memory_human", "306.00M"),
        ("used_memory_rss_human", "307.00M"),
        ("maxmemory_human", "0B"),
        ("maxmemory_policy", "noeviction"),
        ("mem_allocator", "mimalloc"),
        ("rdb_changes_since_last_save", "0"),
        ("rdb_bgsave_in_progress", "0"),
        ("rdb_last_save_time", "304"),
        ("aof_enabled", "1"),
        ("aof_rewrite_in_progress", "0"),
        ("instantaneous_input_kbps", "10300.000"),
        ("instantaneous_output_kbps", "10302.000"),
        ("role", "master"),
        ("connected_slaves", "0"),
        ("used_cpu_user", "0.308"),
        ("used_cpu_sys", "0.309"),
        ("cluster_enabled", "1"),
        ("node", "7"),
        ("cluster", "the cluster"),
        ("incarnation", "the incarnation"),
        ("cores", "2"),
        ("durability", "sync"),
    ] {
        faces.field(field, value);
    }
}

/// A log that stalls, one that gets no further segment, and one that takes no writes are three things: each of
/// them alone is shown as itself.
#[test]
fn each_trouble_of_a_log_is_shown_alone_and_where_it_is() {
    type Trouble = (&'static str, fn(&mut CorePage));
    let troubles: [Trouble; 3] = [
        ("log_stalled", |page| page.log_stalled = true),
        ("log_failing", |page| page.log_error = Some("no space left".to_owned())),
        ("log_full", |page| page.log_space = Space::Low),
    ];
    for (trouble, make) in troubles {
        let mut pages = vec![page(0), page(1)];
        make(&mut pages[1]);
        let mut faces = Faces::of(&Figures::new(facts(), pages));
        for (other, _) in troubles {
            let shown = u64::from(other == trouble);
            faces.sample(&format!("synod_{other}"), "{core=\"0\"}", 0);
            faces.sample(&format!("synod_{other}"), "{core=\"1\"}", shown);
            faces.number("", other, shown);
        }
        faces.field("aof_last_write_status", if trouble == "log_failing" { "err" } else { "ok" });
    }
    for space in [Space::Spent, Space::Reserve] {
        let mut pages = vec![page(0), page(1)];
        pages[0].log_space = space;
        Faces::of(&Figures::new(facts(), pages)).sample("synod_log_full", "{core=\"0\"}", 1);
    }
}
