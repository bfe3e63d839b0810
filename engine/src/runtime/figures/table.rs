//! The rows: every figure of a node, in the order in which the faces show them.

use super::row::Measure::{Core, Decimal, Fields, Group, Node, Samples, Text};
use super::row::Row;
use super::samples;
use synod_net::server::REDIS_VERSION;
use synod_types::Space;

const MIB: f64 = (1 << 20) as f64;
/// Bytes of a Redis kilobyte per second.
const KIB: f64 = 1024.0;

/// All figures.
pub(super) const ROWS: &[Row] = &[
    // --- server ---
    Row::gauge(
        "synod_info",
        Samples(samples::identity),
        "The node, its cluster and its version; always 1.",
        "the identity of the data directory, the build",
    )
    .labels("node, cluster, version"),
    Row::gauge(
        "redis_up",
        Samples(|_, out| out.sample(&[], 1)),
        "Always 1: the node answers.",
        "the answer itself",
    ),
    Row::field(
        "server",
        "redis_version",
        Text(|_| REDIS_VERSION.to_owned()),
        "The version of Redis whose commands are followed.",
        "a constant",
    ),
    Row::field(
        "server",
        "redis_mode",
        Text(|_| "cluster".to_owned()),
        "`cluster`.",
        "a constant: CLUSTER answers",
    ),
    Row::field(
        "server",
        "synod_version",
        Text(|_| env!("CARGO_PKG_VERSION").to_owned()),
        "The version of Synod.",
        "the build",
    ),
    Row::field(
        "server",
        "os",
        Text(|f| format!("Linux {} {}", f.node.kernel, std::env::consts::ARCH)),
        "The system.",
        "the kernel's release, the build",
    ),
    Row::field("server", "arch_bits", Text(|_| usize::BITS.to_string()), "Bits of an address.", "the build"),
    Row::field(
        "server",
        "multiplexing_api",
        Text(|_| "io_uring".to_owned()),
        "How sockets and disks are used.",
        "a constant",
    ),
    Row::field(
        "server",
        "process_id",
        Text(|_| std::process::id().to_string()),
        "The process.",
        "the kernel",
    ),
    Row::field(
        "server",
        "run_id",
        Text(|f| f.node.run_id.clone()),
        "Names this start of the node.",
        "the incarnation of the data directory, a number drawn at each start",
    ),
    Row::field(
        "server",
        "tcp_port",
        Text(|f| f.node.port.to_string()),
        "The client port.",
        "the member list",
    ),
    Row::field(
        "server",
        "server_time_usec",
        Text(|f| f.node.wall_us.to_string()),
        "Wall clock, microseconds since 1970.",
        "the kernel",
    ),
    Row::gauge(
        "synod_uptime_seconds",
        Node(|f| f.node.uptime.as_ms() / 1000),
        "Whole seconds since the node started.",
        "the clock of the boot time",
    )
    .redis("redis_uptime_in_seconds")
    .info("server", "uptime_in_seconds"),
    Row::field(
        "server",
        "uptime_in_days",
        Text(|f| (f.node.uptime.as_ms() / 86_400_000).to_string()),
        "Whole days since the node started.",
        "the clock of the boot time",
    ),
    // --- clients ---
    Row::gauge(
        "synod_connections",
        Core(|page| page.connections),
        "Open client connections.",
        "the table of connections, of all protocols",
    )
    .redis("redis_connected_clients")
    .info("clients", "connected_clients"),
    Row::gauge(
        "synod_connections_max",
        Node(|f| f.node.clients_max),
        "Client connections that the node takes at once.",
        "the setting `limits.connections`, which is per core, times the cores",
    )
    .redis("redis_config_maxclients")
    .info("clients", "maxclients"),
    Row::gauge("redis_blocked_clients", Node(|_| 0), "Always 0: no command blocks.", "a constant")
        .info("clients", "blocked_clients"),
    // --- memory ---
    Row::gauge(
        "synod_memory_bytes",
        Node(|f| f.node.memory.own_bytes),
        "Memory of the process's own, in bytes: what it holds without mapped files.",
        "/proc/self/statm, resident minus shared",
    )
    .redis("redis_memory_used_bytes")
    .info("memory", "used_memory"),
    Row::field(
        "memory",
        "used_memory_human",
        Text(|f| format!("{:.2}M", f.node.memory.own_bytes as f64 / MIB)),
        "The same in MiB.",
        "as `used_memory`",
    ),
    Row::gauge(
        "synod_resident_bytes",
        Node(|f| f.node.memory.resident_bytes),
        "Memory that the process holds, in bytes.",
        "/proc/self/statm, resident",
    )
    .redis("redis_memory_used_rss_bytes")
    .info("memory", "used_memory_rss"),
    Row::field(
        "memory",
        "used_memory_rss_human",
        Text(|f| format!("{:.2}M", f.node.memory.resident_bytes as f64 / MIB)),
        "The same in MiB.",
        "as `used_memory_rss`",
    ),
    Row::gauge(
        "synod_memory_bound_bytes",
        Node(|f| f.node.memory_bytes_max),
        "Memory that clients, links, logs and caches take at most, in bytes; the index of keys comes beside it.",
        "the settings of the limits and the cache",
    )
    .info("synod", "memory_bound_bytes"),
    Row::gauge("redis_memory_max_bytes", Node(|_| 0), "0: keys are not bounded by memory.", "a constant")
        .info("memory", "maxmemory"),
    Row::field("memory", "maxmemory_human", Text(|_| "0B".to_owned()), "The same.", "a constant"),
    Row::field(
        "memory",
        "maxmemory_policy",
        Text(|_| "noeviction".to_owned()),
        "`noeviction`: no key is ever evicted.",
        "a constant",
    ),
    Row::field("memory", "mem_allocator", Text(|_| "mimalloc".to_owned()), "The allocator.", "the build"),
    Row::gauge(
        "synod_client_bytes",
        Core(|page| page.client_bytes),
        "Bytes that connections hold of what they share: what they have sent, answers that wait to be sent, \
             and room reserved for answers.",
        "the table of connections",
    )
    .info("synod", "client_bytes"),
    Row::gauge(
        "synod_client_bytes_max",
        Core(|page| page.client_bytes_max),
        "Bytes that they may hold; beyond that they wait.",
        "the setting `limits.clients_mib`",
    )
    .info("synod", "client_bytes_max"),
    Row::gauge(
        "synod_command_bytes",
        Core(|page| page.command_bytes),
        "Bytes of clients' commands under way; at `limits.requests_mib` clients wait.",
        "each command, until its answer",
    )
    .info("synod", "command_bytes"),
    Row::gauge(
        "synod_cache_bytes",
        Core(|page| page.cache.bytes),
        "Bytes of the cache in use.",
        "the cache of long values",
    )
    .info("synod", "cache_bytes"),
    Row::gauge(
        "synod_cache_bytes_max",
        Core(|page| page.cache.bytes_max),
        "Bytes that the cache may use.",
        "the setting `node.cache_mib`",
    )
    .info("synod", "cache_bytes_max"),
    Row::gauge(
        "synod_cache_cells",
        Core(|page| page.cache.cells),
        "Copies held.",
        "the cache of long values",
    )
    .info("synod", "cache_cells"),
    Row::counter(
        "synod_cache_hits_total",
        Core(|page| page.cache.hits),
        "Lookups of a long value that found a copy in memory.",
        "the cache of long values",
    )
    .info("synod", "cache_hits"),
    Row::counter(
        "synod_cache_misses_total",
        Core(|page| page.cache.misses),
        "Lookups of a long value that went to the log.",
        "the cache of long values",
    )
    .info("synod", "cache_misses"),
    Row::counter(
        "synod_cache_inserts_total",
        Core(|page| page.cache.inserts),
        "Copies made.",
        "the cache of long values",
    )
    .info("synod", "cache_inserts"),
    Row::counter(
        "synod_cache_evictions_total",
        Core(|page| page.cache.evictions),
        "Copies dropped to make room.",
        "the cache of long values",
    )
    .info("synod", "cache_evictions"),
    // --- persistence ---
    Row::gauge(
        "redis_loading_dump_file",
        Node(|_| 0),
        "0 once the log is replayed; until then INFO says 1, and `/metrics` answers 503.",
        "a constant",
    )
    .info("persistence", "loading"),
    Row::field(
        "persistence",
        "rdb_changes_since_last_save",
        Text(|_| "0".to_owned()),
        "`0`: an acknowledged write is durable.",
        "a constant",
    ),
    Row::field(
        "persistence",
        "rdb_bgsave_in_progress",
        Text(|_| "0".to_owned()),
        "`0`: there are no snapshots to make.",
        "a constant",
    ),
    Row::field(
        "persistence",
        "rdb_last_save_time",
        Text(|f| (f.node.wall_us / 1_000_000).to_string()),
        "Now, as LASTSAVE: an acknowledged write is durable.",
        "the wall clock",
    ),
    Row::field(
        "persistence",
        "aof_enabled",
        Text(|_| "1".to_owned()),
        "`1`: every write is in the log.",
        "a constant",
    ),
    Row::field(
        "persistence",
        "aof_rewrite_in_progress",
        Text(|_| "0".to_owned()),
        "`0`: the log is not rewritten.",
        "a constant",
    ),
    Row::field(
        "persistence",
        "aof_last_write_status",
        Text(|f| if f.pages.iter().any(|page| page.log_error.is_some()) { "err" } else { "ok" }.to_owned()),
        "`err` while `synod_log_failing` is not 0.",
        "the log",
    ),
    Row::gauge(
        "synod_log_backlog_bytes",
        Core(|page| page.log_backlog_bytes),
        "Bytes that wait for the disk.",
        "the log",
    )
    .info("synod", "log_backlog_bytes"),
    Row::gauge(
        "synod_log_stalled",
        Core(|page| u64::from(page.log_stalled)),
        "1 while the log makes no progress.",
        "no flush for a whole lease",
    )
    .info("synod", "log_stalled"),
    Row::gauge(
        "synod_log_failing",
        Core(|page| u64::from(page.log_error.is_some())),
        "1 while no further log segment can be made, as on a full disk.",
        "the last attempt to make one",
    )
    .info("synod", "log_failing"),
    Row::gauge(
        "synod_log_full",
        Core(|page| u64::from(page.log_space < Space::Free)),
        "1 while the log takes no writes because it can get no segment.",
        "the room left in the log",
    )
    .info("synod", "log_full"),
    Row::gauge(
        "synod_log_age_seconds",
        Samples(samples::log_age),
        "How long the oldest record has waited to become durable; over a lease is a stall.",
        "the records on their way to the disk",
    )
    .labels("core"),
    Row::gauge(
        "synod_log_read_age_seconds",
        Samples(samples::read_age),
        "How long the oldest read of the log has been under way; none that ends for a lease is a stall.",
        "the reads that the disk has not answered",
    )
    .labels("core"),
    Row::gauge(
        "synod_peer_log_age_seconds",
        Samples(samples::peer_log_ages),
        "How long a peer has owed the oldest of its answers to what must be written: the worst of the groups \
             that are led here.",
        "the accepts sent to the peer",
    )
    .labels("core, peer"),
    Row::gauge(
        "synod_peer_round_trip_seconds",
        Samples(samples::round_trips),
        "How long a peer recently took to answer heartbeats: the worst of the groups that are led here.",
        "the replies to heartbeats",
    )
    .labels("core, peer"),
    Row::counter(
        "synod_sleeps_total",
        Core(|page| page.core_stats.sleeps),
        "Times that a core did nothing for a lease: it was not scheduled, or the process was stopped.",
        "the time between two ticks",
    )
    .info("synod", "sleeps"),
    Row::counter(
        "synod_log_written_bytes_total",
        Core(|page| page.core_stats.flush_bytes.sum()),
        "Payload bytes that became durable in the log.",
        "each flush that ended",
    )
    .info("synod", "log_written_bytes"),
    Row::counter(
        "synod_log_reads_failed_total",
        Core(|page| page.core_stats.reads_failed),
        "Reads of the log that failed or brought other bytes than were written.",
        "each such read",
    )
    .info("synod", "log_reads_failed"),
    Row::counter(
        "synod_log_reads_late_total",
        Core(|page| page.core_stats.reads_late),
        "Reads of the log that did not end within a request's patience; another replica is asked.",
        "each such read",
    )
    .info("synod", "log_reads_late"),
    Row::counter(
        "synod_log_reads_repaired_total",
        Core(|page| page.core_stats.reads_repaired),
        "Reads of the log that failed or were late, and that another replica made up for.",
        "each repair",
    )
    .info("synod", "log_reads_repaired"),
    // --- stats ---
    Row::counter(
        "synod_connections_accepted_total",
        Core(|page| page.connections_total),
        "Client connections taken since the start.",
        "each accept, of all protocols",
    )
    .redis("redis_connections_received_total")
    .info("stats", "total_connections_received"),
    Row::counter(
        "synod_clients_closed_total",
        Samples(samples::closed_clients),
        "Connections of slow clients that were closed, by the reason.",
        "each of them; the event `client_closed` names it",
    )
    .labels("core, reason"),
    Row::counter(
        "synod_connections_rejected_total",
        Core(|page| page.connections_rejected),
        "Client connections closed because there were too many.",
        "each connection that is told so; not those that are served in the spare places",
    )
    .redis("redis_rejected_connections_total")
    .info("stats", "rejected_connections"),
    Row::counter(
        "synod_commands_total",
        Core(|page| page.counts.calls()),
        "Commands and requests taken up, those that no key is asked for included.",
        "each RESP command that nothing speaks against, each request of the binary protocol, \
             each HTTP request for a key; at the core of the connection",
    )
    .redis("redis_commands_processed_total")
    .info("stats", "total_commands_processed"),
    Row::gauge(
        "synod_commands_per_second",
        Core(|page| page.rates.per_second().commands),
        "Commands per second lately.",
        "`synod_commands_total` over the last 1.5 s",
    )
    .redis("redis_instantaneous_ops_per_sec")
    .info("stats", "instantaneous_ops_per_sec"),
    Row::counter(
        "synod_input_bytes_total",
        Core(|page| page.input_bytes),
        "Bytes received from clients.",
        "each read of a socket",
    )
    .redis("redis_net_input_bytes_total")
    .info("stats", "total_net_input_bytes"),
    Row::counter(
        "synod_output_bytes_total",
        Core(|page| page.output_bytes),
        "Bytes sent to clients.",
        "each reply handed to a socket",
    )
    .redis("redis_net_output_bytes_total")
    .info("stats", "total_net_output_bytes"),
    Row::gauge(
        "redis_instantaneous_input_kbps",
        Decimal(|f| f.of_cores(|page| page.rates.per_second().input_bytes) as f64 / KIB),
        "KiB received from clients per second lately.",
        "`synod_input_bytes_total` over the last 1.5 s",
    )
    .info("stats", "instantaneous_input_kbps"),
    Row::gauge(
        "redis_instantaneous_output_kbps",
        Decimal(|f| f.of_cores(|page| page.rates.per_second().output_bytes) as f64 / KIB),
        "KiB sent to clients per second lately.",
        "`synod_output_bytes_total` over the last 1.5 s",
    )
    .info("stats", "instantaneous_output_kbps"),
    Row::counter(
        "synod_expirations_total",
        Group(|_, stats| stats.keys_expired_led),
        "Keys removed after their expiry while this node led their group: each counts at one node.",
        "each removal by the sweep or by a command that finds the key expired; not during replay",
    )
    .redis("redis_expired_keys_total")
    .info("stats", "expired_keys"),
    Row::counter(
        "redis_evicted_keys_total",
        Node(|_| 0),
        "Always 0: eviction drops cached copies, never keys.",
        "a constant",
    )
    .info("stats", "evicted_keys"),
    Row::counter(
        "synod_key_hits_total",
        Group(|_, stats| stats.key_hits),
        "Reads of a value that found one.",
        "each read of a value, where it is answered; EXISTS, TTL and commands that write do not \
             count",
    )
    .redis("redis_keyspace_hits_total")
    .info("stats", "keyspace_hits"),
    Row::counter(
        "synod_key_misses_total",
        Group(|_, stats| stats.key_misses),
        "Reads of a value that found none.",
        "as `synod_key_hits_total`",
    )
    .redis("redis_keyspace_misses_total")
    .info("stats", "keyspace_misses"),
    Row::counter(
        "synod_error_lines_total",
        Core(|page| page.counts.errors.values().sum()),
        "Error lines sent to Redis clients, redirections included.",
        "each error line that is written; not those that CLIENT REPLY turned off",
    )
    .info("stats", "total_error_replies"),
    // --- replication ---
    Row::field(
        "replication",
        "role",
        Text(|_| "master".to_owned()),
        "`master`: any node takes writes.",
        "a constant",
    ),
    Row::field(
        "replication",
        "connected_slaves",
        Text(|_| "0".to_owned()),
        "`0`: the other nodes are equals, not replicas of Redis's kind.",
        "a constant",
    ),
    // --- cpu ---
    Row::counter(
        "redis_cpu_sys_seconds_total",
        Decimal(|f| f.node.cpu.system_us as f64 / 1e6),
        "Processor time of the kernel for this process, seconds.",
        "getrusage",
    )
    .info("cpu", "used_cpu_sys"),
    Row::counter(
        "redis_cpu_user_seconds_total",
        Decimal(|f| f.node.cpu.user_us as f64 / 1e6),
        "Processor time of this process, seconds.",
        "getrusage",
    )
    .info("cpu", "used_cpu_user"),
    // --- commandstats, errorstats ---
    Row::counter(
        "redis_commands_total",
        Samples(samples::calls),
        "RESP commands taken up, redirected ones included.",
        "each command that nothing speaks against; a subcommand as `config|get`",
    )
    .labels("cmd"),
    Row::counter(
        "redis_commands_failed_calls_total",
        Samples(samples::failed_calls),
        "Those of them that were answered by an error line, redirections included.",
        "each error line that is written in reply to one",
    )
    .labels("cmd"),
    Row::counter(
        "redis_commands_rejected_calls_total",
        Samples(samples::rejected_calls),
        "RESP commands refused before they were taken up.",
        "a wrong number of arguments, no password, an aborted transaction",
    )
    .labels("cmd"),
    Row::field(
        "commandstats",
        "cmdstat_…",
        Fields(samples::call_fields),
        "`calls` and `failed_calls` of a command. Times are not measured per command.",
        "as `redis_commands_total` and `redis_commands_failed_calls_total`",
    ),
    Row::field(
        "commandstats",
        "rejected_…",
        Fields(samples::rejected_fields),
        "`calls` of a command that were refused before.",
        "as `redis_commands_rejected_calls_total`",
    ),
    Row::counter(
        "redis_errors_total",
        Samples(samples::error_lines),
        "Error lines by their first word.",
        "as `synod_error_lines_total`",
    )
    .labels("err"),
    Row::field(
        "errorstats",
        "errorstat_…",
        Fields(samples::error_fields),
        "`count` of error lines by their first word.",
        "as `redis_errors_total`",
    ),
    // --- cluster, keyspace ---
    Row::field("cluster", "cluster_enabled", Text(|_| "1".to_owned()), "`1`: CLUSTER answers.", "a constant"),
    Row::gauge(
        "redis_db_keys",
        Samples(samples::keys_led),
        "Keys of the groups that this node leads: over all nodes, as many as DBSIZE says.",
        "the index, groups that this node leads",
    )
    .labels("db"),
    Row::gauge(
        "redis_db_keys_expiring",
        Samples(samples::expiring_led),
        "Those of them that have an expiry.",
        "the timers, groups that this node leads",
    )
    .labels("db"),
    Row::field(
        "keyspace",
        "db0",
        Fields(samples::databases),
        "`keys` and `expires`: all keys that this node holds, as DBSIZE, and those with an \
             expiry. Absent without keys.",
        "the index and the timers, all data groups",
    ),
    Row::gauge(
        "synod_keys_held",
        Node(|f| f.of_data(|status| status.keys)),
        "Keys that this node holds; every node holds a copy of each.",
        "the index, all data groups",
    )
    .info("synod", "keys_held"),
    Row::gauge(
        "synod_keys",
        Group(|status, _| status.keys),
        "Keys held. An expired key counts until it is swept.",
        "the index",
    )
    .info("synod", "keys"),
    Row::gauge(
        "synod_keys_expiring",
        Group(|status, _| status.expiring),
        "Those of them that have an expiry.",
        "the timers",
    )
    .info("synod", "keys_expiring"),
    Row::counter(
        "synod_expired_keys_total",
        Group(|_, stats| stats.keys_expired),
        "Keys removed after their expiry, at every replica, replay included.",
        "each removal",
    )
    .info("synod", "expired_keys_held"),
    // --- synod ---
    Row::field("synod", "node", Text(|f| f.node.node.to_string()), "The node's id.", "the data directory"),
    Row::field(
        "synod",
        "cluster",
        Text(|f| f.node.cluster.clone()),
        "The cluster's id.",
        "the data directory",
    ),
    Row::field(
        "synod",
        "incarnation",
        Text(|f| f.node.incarnation.clone()),
        "The incarnation of the data directory.",
        "the data directory",
    ),
    Row::field(
        "synod",
        "cores",
        Text(|f| f.pages.len().to_string()),
        "Cores of the node.",
        "the data directory",
    ),
    Row::field(
        "synod",
        "durability",
        Text(|_| "sync".to_owned()),
        "`sync`: a write is acknowledged when a majority has it on disk.",
        "a constant",
    ),
    Row::counter(
        "synod_requests_total",
        Samples(samples::requests),
        "Requests of clients, at the core that holds the group: `read`, `set`, `delete`, `other`.",
        "each command on a key, at the node that was asked",
    )
    .labels("core, group, kind"),
    Row::counter(
        "synod_replies_total",
        Core(|page| page.replies),
        "Commands on keys answered; parts of a command on many keys count each.",
        "each reply of a group, at the core of the connection",
    )
    .info("synod", "replies"),
    Row::counter(
        "synod_errors_total",
        Samples(samples::errors),
        "Those of them that were answered by an error.",
        "as `synod_replies_total`",
    )
    .labels("core, kind"),
    Row::counter(
        "synod_follower_reads_total",
        Core(|page| page.core_stats.follower_reads),
        "Linearizable reads answered by a replica that did not lead.",
        "each such read",
    )
    .info("synod", "follower_reads"),
    Row::counter(
        "synod_forwards_total",
        Core(|page| page.core_stats.forwards),
        "Requests passed to a leader on another node; the sessions that nodes open count too.",
        "each sending, at the node that was asked",
    )
    .info("synod", "forwards"),
    Row::counter(
        "synod_reads_deferred_total",
        Core(|page| page.core_stats.sent_back),
        "Reads of long values that had to wait, because their client has too much unread.",
        "each time that one is put off",
    )
    .info("synod", "reads_deferred"),
    Row::gauge(
        "synod_leader",
        Group(|status, _| u64::from(status.serving)),
        "1 where this node leads and serves.",
        "the group's state",
    )
    .info("synod", "groups_led"),
    Row::gauge(
        "synod_group_ready",
        Samples(samples::ready),
        "1 where a leader is known that answers.",
        "the group's state",
    )
    .labels("core, group"),
    Row::counter(
        "synod_leader_changes_total",
        Group(|status, _| status.leader_changes),
        "Changes of leader seen.",
        "each change that this replica learns of",
    )
    .info("synod", "leader_changes"),
    Row::counter(
        "synod_elections_won_total",
        Group(|_, stats| stats.elections_won),
        "Elections this node won.",
        "each time that this replica becomes leader",
    )
    .info("synod", "elections_won"),
    Row::counter(
        "synod_leaderships_transferred_total",
        Group(|_, stats| stats.leaderships_transferred),
        "Leaderships this node transferred; no client notices.",
        "each transfer that this replica began and ended",
    )
    .info("synod", "leaderships_transferred"),
    Row::counter(
        "synod_leaderships_lost_total",
        Group(|_, stats| stats.leaderships_lost),
        "Leaderships this node lost; what was open may have ended as unknown.",
        "each end of leading without a transfer",
    )
    .info("synod", "leaderships_lost"),
    Row::gauge(
        "synod_chosen_slot",
        Group(|status, _| status.chosen.get()),
        "Contiguous chosen prefix of the log.",
        "the group's state",
    )
    .info("synod", "chosen_slots"),
    Row::gauge(
        "synod_applied_slot",
        Group(|status, _| status.applied.get()),
        "Applied prefix of the log.",
        "the group's state",
    )
    .info("synod", "applied_slots"),
    Row::gauge(
        "synod_clock_skew_milliseconds",
        Samples(samples::clock_skew),
        "How far the clock of a group that this node leads is ahead of the wall clocks of a \
             majority that agree (P-16); absent if too few agree.",
        "the clocks that followers report",
    )
    .labels("core, group"),
    Row::counter(
        "synod_slow_turns_total",
        Samples(samples::slow_turns),
        "Turns of a core that took over 5 ms, by the work that took most of the turn.",
        "the clock, at the end of each turn",
    )
    .labels("core, kind"),
    Row::field(
        "synod",
        "slow_turns…",
        Fields(samples::slow_turn_fields),
        "Slow turns, all and by kind.",
        "as `synod_slow_turns_total`",
    ),
    Row::field(
        "synod",
        "group…",
        Fields(samples::group_fields),
        "The state of each group.",
        "the group's state",
    ),
    // --- histograms ---
    Row::histogram(
        "synod_stage_seconds",
        samples::stages,
        "Time of a write's stages: queue (arrival to proposal), quorum (to chosen), apply; per \
             core: log (append to durable), reply (turn's end to socket, sampled).",
        "the clock of the steps",
    )
    .labels("core, group, stage"),
    Row::histogram("synod_batch_commands", samples::batches, "Commands per proposed entry.", "each proposal")
        .labels("core, group"),
    Row::histogram(
        "synod_flush_bytes",
        samples::flush_bytes,
        "Payload bytes that became durable at once.",
        "each flush that ended",
    )
    .labels("core"),
    Row::histogram(
        "synod_flush_records",
        samples::flush_records,
        "Log records that became durable at once.",
        "each flush that ended",
    )
    .labels("core"),
];
