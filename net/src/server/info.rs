//! INFO: the node's status as the text Redis tools read.

use super::config::{REDIS_VERSION, ServerConfig};
use crate::binary::{Durability, GroupRole, NodeStatus};
use core::fmt::Write;

/// Sections in the order in which they are printed.
const SECTIONS: [&str; 8] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cluster", "keyspace"];
/// Counters that belong to one of Redis's own sections; all others are printed under `# Synod`.
const PLACED: [(&str, &str); 12] = [
    ("connected_clients", "clients"),
    ("blocked_clients", "clients"),
    ("used_memory", "memory"),
    ("used_memory_rss", "memory"),
    ("total_connections_received", "stats"),
    ("total_commands_processed", "stats"),
    ("instantaneous_ops_per_sec", "stats"),
    ("total_net_input_bytes", "stats"),
    ("total_net_output_bytes", "stats"),
    ("keyspace_hits", "stats"),
    ("keyspace_misses", "stats"),
    ("process_id", "server"),
];

/// The text of INFO for `sections`, given in lower case; none means the default ones, which are all.
pub(super) fn render(server: &ServerConfig, status: &NodeStatus, sections: &[String]) -> String {
    let all = sections.is_empty()
        || sections.iter().any(|section| matches!(section.as_str(), "all" | "default" | "everything"));
    let wanted = |name: &str| all || sections.iter().any(|section| section == name);
    let mut text = String::new();
    for section in SECTIONS {
        if wanted(section) {
            heading(&mut text, section);
            fields(&mut text, server, status, section);
        }
    }
    if wanted("synod") {
        heading(&mut text, "synod");
        synod(&mut text, status);
    }
    text
}

fn heading(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push_str("\r\n");
    }
    text.push_str("# ");
    let (first, rest) = name.split_at(1);
    text.push_str(&first.to_ascii_uppercase());
    text.push_str(rest);
    text.push_str("\r\n");
}

fn field(text: &mut String, name: &str, value: impl core::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{name}:{value}\r\n");
}

fn fields(text: &mut String, server: &ServerConfig, status: &NodeStatus, section: &str) {
    let counter = |name: &str| status.counters.iter().find(|(n, _)| n == name).map_or(0, |(_, value)| *value);
    let keys: u64 = status.groups.iter().map(|group| group.keys).sum();
    match section {
        "server" => {
            field(text, "redis_version", REDIS_VERSION);
            field(text, "redis_mode", "cluster");
            field(text, "synod_version", &status.version);
            field(text, "run_id", format_args!("{}{:08x}", status.incarnation, status.node.get()));
            field(text, "tcp_port", server.port);
            field(text, "uptime_in_seconds", status.uptime_ms / 1000);
            field(text, "uptime_in_days", status.uptime_ms / 86_400_000);
        }
        "clients" => field(text, "maxclients", 0),
        "memory" => {
            let used = counter("used_memory");
            field(text, "used_memory_human", format_args!("{:.2}M", used as f64 / (1 << 20) as f64));
            field(text, "used_memory_peak", used);
            field(text, "maxmemory", 0);
            field(text, "maxmemory_policy", "noeviction");
            field(text, "mem_fragmentation_ratio", "1.00");
        }
        "stats" => {
            for name in [
                "rejected_connections",
                "expired_keys",
                "evicted_keys",
                "pubsub_channels",
                "latest_fork_usec",
            ] {
                field(text, name, counter(name));
            }
        }
        "persistence" => {
            field(text, "loading", 0);
            field(text, "aof_enabled", u8::from(status.durability != Durability::None));
            field(text, "rdb_changes_since_last_save", 0);
            field(text, "rdb_bgsave_in_progress", 0);
            field(text, "rdb_last_bgsave_status", "ok");
            field(text, "aof_rewrite_in_progress", 0);
            let status = if counter("log_failing") == 0 { "ok" } else { "err" };
            field(text, "aof_last_write_status", status);
        }
        "replication" => {
            field(text, "role", "master");
            field(text, "connected_slaves", 0);
            field(text, "master_repl_offset", 0);
        }
        "cluster" => field(text, "cluster_enabled", 1),
        "keyspace" if keys > 0 => field(text, "db0", format_args!("keys={keys},expires=0,avg_ttl=0")),
        _ => {}
    }
    for (name, place) in PLACED {
        if place == section {
            field(text, name, counter(name));
        }
    }
}

fn synod(text: &mut String, status: &NodeStatus) {
    field(text, "node", status.node.get());
    field(text, "incarnation", status.incarnation);
    field(text, "cores", status.core_count);
    field(
        text,
        "durability",
        match status.durability {
            Durability::Sync => "sync",
            Durability::Async => "async",
            Durability::None => "none",
        },
    );
    for (name, value) in &status.counters {
        if !PLACED.iter().any(|(placed, _)| placed == name) {
            field(text, name, value);
        }
    }
    for group in &status.groups {
        let role = match group.role {
            GroupRole::Follower => "follower",
            GroupRole::Candidate => "candidate",
            GroupRole::Leader => "leader",
        };
        let leader = group.leader.map_or("none".to_owned(), |node| node.get().to_string());
        let _ = write!(
            text,
            "group{}:role={role},serving={},leader={leader},core={},promised={}.{},chosen={},applied={},\
             keys={},leader_changes={}\r\n",
            group.group.get(),
            u8::from(group.serving),
            group.core.get(),
            group.promised.round(),
            group.promised.node().get(),
            group.chosen.get(),
            group.applied.get(),
            group.keys,
            group.leader_changes,
        );
    }
}
