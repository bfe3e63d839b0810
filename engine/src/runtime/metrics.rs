//! `/metrics`: the content of the cores' pages, in the text format of Prometheus.
//!
//! Names are `synod_*` with labels `core` and `group`. Values that Redis has too are repeated, summed over
//! the cores, under the names that redis_exporter uses, so that existing dashboards work. docs/http.md lists
//! them. Pure: pages in, text out.

use crate::runtime::status_board::CorePage;
use std::fmt::Display;
use synod_net::http::Exposition;
use synod_shard::{CacheStats, GroupStats, GroupStatus, Histogram, RequestKind};
use synod_types::{ErrorKind, Space};

/// The values of the whole process.
pub(crate) struct ProcessFigures {
    /// The node's id.
    pub node: u16,
    /// The cluster's id.
    pub cluster: String,
    /// Time since the start.
    pub uptime_seconds: f64,
    /// Resident memory of the process.
    pub resident_bytes: u64,
}

/// Buckets of time spans: from 16 us to 8 s.
const SPAN_BITS: (usize, usize) = (4, 23);
/// Buckets of sizes: from 512 bytes to 8 MiB.
const BYTES_BITS: (usize, usize) = (9, 23);
/// Buckets of counts: from 1 to 4096.
const COUNT_BITS: (usize, usize) = (0, 12);
/// A divisor, so that bucket bounds come out as short decimal numbers.
const MICROSECONDS: f64 = 1e6;

/// The errors by their names in the metrics.
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

/// The metrics text. The index of a page is its core.
pub(crate) fn render(process: &ProcessFigures, pages: &[CorePage]) -> String {
    let mut out = Exposition::new();
    of_process(&mut out, process);
    of_requests(&mut out, pages);
    of_stages(&mut out, pages);
    of_groups(&mut out, pages);
    of_cores(&mut out, pages);
    of_caches(&mut out, pages);
    of_redis(&mut out, process, pages);
    out.finish()
}

fn of_process(out: &mut Exposition, process: &ProcessFigures) {
    out.gauge("synod_info", "The node, its cluster and its version; always 1.");
    let labels: [(&str, &dyn Display); 3] =
        [("node", &process.node), ("cluster", &process.cluster), ("version", &env!("CARGO_PKG_VERSION"))];
    out.sample(&labels, 1);
    out.gauge("synod_uptime_seconds", "Time since the node started.");
    out.sample(&[], process.uptime_seconds);
    out.gauge("synod_resident_bytes", "Memory the process holds.");
    out.sample(&[], process.resident_bytes);
}

fn of_requests(out: &mut Exposition, pages: &[CorePage]) {
    out.counter("synod_requests_total", "Requests of clients by kind, at the core that holds the group.");
    for (core, status, stats) in groups(pages) {
        for ((_, kind), count) in RequestKind::ALL.iter().zip(stats.requests) {
            out.sample(&[("core", &core), ("group", &status.group.get()), ("kind", kind)], count);
        }
    }
    out.counter("synod_replies_total", "Commands answered.");
    per_core(out, pages, |page| page.commands);
    out.counter("synod_follower_reads_total", "Linearizable reads answered by a replica that did not lead.");
    per_core(out, pages, |page| page.core_stats.follower_reads);
    out.counter("synod_errors_total", "Commands answered by an error.");
    for (core, page) in pages.iter().enumerate() {
        for (kind, name) in ERRORS {
            out.sample(&[("core", &core), ("kind", &name)], page.errors.count(kind));
        }
    }
}

fn of_stages(out: &mut Exposition, pages: &[CorePage]) {
    out.histogram(
        "synod_stage_seconds",
        "Time of a write's stages: queue (arrival to proposal), quorum (to chosen), apply; per core: log \
         (append to durable), reply (turn's end to socket, sampled).",
    );
    for (core, status, stats) in groups(pages) {
        let stages = [("queue", &stats.queue_us), ("quorum", &stats.quorum_us), ("apply", &stats.apply_us)];
        for (stage, histogram) in stages {
            let labels: [(&str, &dyn Display); 3] =
                [("core", &core), ("group", &status.group.get()), ("stage", &stage)];
            put(out, &labels, histogram, SPAN_BITS, MICROSECONDS);
        }
    }
    for (core, page) in pages.iter().enumerate() {
        for (stage, histogram) in [("log", &page.core_stats.log_us), ("reply", &page.reply_us)] {
            put(out, &[("core", &core), ("stage", &stage)], histogram, SPAN_BITS, MICROSECONDS);
        }
    }
    out.histogram("synod_batch_commands", "Commands per proposed entry.");
    for (core, status, stats) in groups(pages) {
        let labels: [(&str, &dyn Display); 2] = [("core", &core), ("group", &status.group.get())];
        put(out, &labels, &stats.batch_commands, (0, 9), 1.0);
    }
    out.histogram("synod_flush_bytes", "Payload bytes that became durable at once.");
    for (core, page) in pages.iter().enumerate() {
        put(out, &[("core", &core)], &page.core_stats.flush_bytes, BYTES_BITS, 1.0);
    }
    out.histogram("synod_flush_records", "Log records that became durable at once.");
    for (core, page) in pages.iter().enumerate() {
        put(out, &[("core", &core)], &page.core_stats.flush_records, COUNT_BITS, 1.0);
    }
}

fn of_groups(out: &mut Exposition, pages: &[CorePage]) {
    let mut family = |name, help, counter: bool, of: fn(&GroupStatus, &GroupStats) -> u64| {
        if counter {
            out.counter(name, help)
        } else {
            out.gauge(name, help)
        }
        for (core, status, stats) in groups(pages) {
            out.sample(&[("core", &core), ("group", &status.group.get())], of(status, stats));
        }
    };
    family("synod_leader", "1 where this node leads and serves.", false, |status, _| {
        u64::from(status.serving)
    });
    family("synod_leader_changes_total", "Changes of leader seen.", true, |status, _| status.leader_changes);
    family("synod_elections_won_total", "Elections this node won.", true, |_, stats| stats.elections_won);
    family("synod_leaderships_transferred_total", "Leaderships this node transferred.", true, |_, stats| {
        stats.leaderships_transferred
    });
    family(
        "synod_leaderships_lost_total",
        "Leaderships this node lost; what was open may have ended as unknown.",
        true,
        |_, stats| stats.leaderships_lost,
    );
    family("synod_chosen_slot", "Contiguous chosen prefix of the log.", false, |status, _| {
        status.chosen.get()
    });
    family("synod_applied_slot", "Applied prefix of the log.", false, |status, _| status.applied.get());
    family("synod_keys", "Keys held.", false, |status, _| status.keys);
    family("synod_expired_keys_total", "Keys removed after their expiry.", true, |_, stats| {
        stats.keys_expired
    });
    out.gauge(
        "synod_clock_skew_milliseconds",
        "How far the clock of a group that this node leads is ahead of the wall clocks of a majority that \
         agree.",
    );
    for (core, status, _) in groups(pages) {
        if let Some(skew) = status.clock_skew_ms {
            out.sample(&[("core", &core), ("group", &status.group.get())], skew);
        }
    }
    out.gauge("synod_group_ready", "1 where a leader is known that answers.");
    for (core, page) in pages.iter().enumerate() {
        for (status, ready) in page.groups.iter().zip(&page.ready) {
            out.sample(&[("core", &core), ("group", &status.group.get())], u8::from(*ready));
        }
    }
}

fn of_cores(out: &mut Exposition, pages: &[CorePage]) {
    out.gauge("synod_log_backlog_bytes", "Bytes that wait for the disk.");
    per_core(out, pages, |page| page.log_backlog_bytes);
    out.gauge("synod_log_stalled", "1 while the log makes no progress.");
    per_core(out, pages, |page| u64::from(page.log_stalled));
    out.counter(
        "synod_slow_turns_total",
        "Turns of a core that took over 5 ms, by the work that took most of the turn.",
    );
    for (core, page) in pages.iter().enumerate() {
        for (kind, count) in page.slow.counts() {
            out.sample(&[("core", &core), ("kind", &kind)], count);
        }
    }
    out.counter(
        "synod_log_reads_failed_total",
        "Reads of the log that failed or brought other bytes than were written.",
    );
    per_core(out, pages, |page| page.core_stats.reads_failed);
    out.counter("synod_log_reads_repaired_total", "Of those, how many another replica made up for.");
    per_core(out, pages, |page| page.core_stats.reads_repaired);
    out.gauge("synod_log_failing", "1 while no further log segment can be made, as on a full disk.");
    per_core(out, pages, |page| u64::from(page.log_error.is_some()));
    out.gauge("synod_log_full", "1 while the log takes no writes because it can get no segment.");
    per_core(out, pages, |page| u64::from(page.log_space < Space::Free));
    out.gauge("synod_connections", "Open client connections.");
    per_core(out, pages, |page| page.connections);
    out.counter("synod_connections_accepted_total", "Client connections ever.");
    per_core(out, pages, |page| page.connections_total);
    out.counter("synod_input_bytes_total", "Bytes received from clients.");
    per_core(out, pages, |page| page.input_bytes);
    out.counter("synod_output_bytes_total", "Bytes sent to clients.");
    per_core(out, pages, |page| page.output_bytes);
}

fn of_caches(out: &mut Exposition, pages: &[CorePage]) {
    let mut family = |name, help, counter: bool, of: fn(&CacheStats) -> u64| {
        if counter {
            out.counter(name, help)
        } else {
            out.gauge(name, help)
        }
        per_core(out, pages, |page| of(&page.cache));
    };
    family("synod_cache_hits_total", "Lookups of a long value that found a copy in memory.", true, |c| {
        c.hits
    });
    family("synod_cache_misses_total", "Lookups of a long value that went to the log.", true, |c| c.misses);
    family("synod_cache_inserts_total", "Copies made.", true, |c| c.inserts);
    family("synod_cache_evictions_total", "Copies dropped to make room.", true, |c| c.evictions);
    family("synod_cache_cells", "Copies held.", false, |c| c.cells);
    family("synod_cache_bytes", "Bytes of the cache in use.", false, |c| c.bytes);
    family("synod_cache_bytes_max", "Bytes the cache may use.", false, |c| c.bytes_max);
}

fn of_redis(out: &mut Exposition, process: &ProcessFigures, pages: &[CorePage]) {
    let cores = |of: fn(&CorePage) -> u64| pages.iter().map(of).sum::<u64>();
    let stats = |of: fn(&GroupStats) -> u64| groups(pages).map(|(_, _, stats)| of(stats)).sum::<u64>();
    let mut gauge = |name, help, value: u64| {
        out.gauge(name, help);
        out.sample(&[], value);
    };
    gauge("redis_up", "Always 1: the node answers.", 1);
    gauge("redis_uptime_in_seconds", "Time since the node started.", process.uptime_seconds as u64);
    gauge("redis_connected_clients", "Open client connections.", cores(|page| page.connections));
    gauge("redis_memory_used_bytes", "Memory the process holds.", process.resident_bytes);
    gauge("redis_memory_max_bytes", "0: keys are not bounded by memory.", 0);
    let keys: u64 = pages.iter().flat_map(|page| &page.groups).map(|group| group.keys).sum();
    out.gauge("redis_db_keys", "Keys held.");
    out.sample(&[("db", &"db0")], keys);
    let mut counter = |name, help, value: u64| {
        out.counter(name, help);
        out.sample(&[], value);
    };
    counter("redis_commands_processed_total", "Commands answered.", cores(|page| page.commands));
    counter(
        "redis_connections_received_total",
        "Client connections ever.",
        cores(|page| page.connections_total),
    );
    counter("redis_keyspace_hits_total", "Values asked for and found.", stats(|stats| stats.key_hits));
    counter(
        "redis_keyspace_misses_total",
        "Values asked for and not found.",
        stats(|stats| stats.key_misses),
    );
    counter("redis_evicted_keys_total", "Always 0: eviction drops cached copies, never keys.", 0);
    counter(
        "redis_expired_keys_total",
        "Keys removed after their expiry.",
        stats(|stats| stats.keys_expired),
    );
    counter("redis_net_input_bytes_total", "Bytes received from clients.", cores(|page| page.input_bytes));
    counter("redis_net_output_bytes_total", "Bytes sent to clients.", cores(|page| page.output_bytes));
}

/// Every group with its core.
fn groups(pages: &[CorePage]) -> impl Iterator<Item = (usize, &GroupStatus, &GroupStats)> {
    pages.iter().enumerate().flat_map(|(core, page)| {
        page.groups.iter().zip(&page.group_stats).map(move |(status, stats)| (core, status, stats))
    })
}

fn per_core(out: &mut Exposition, pages: &[CorePage], of: impl Fn(&CorePage) -> u64) {
    for (core, page) in pages.iter().enumerate() {
        out.sample(&[("core", &core)], of(page));
    }
}

/// Writes a histogram that counts `per_unit` for one of the family's unit. An empty histogram is left out, as
/// in groups led elsewhere.
fn put(
    out: &mut Exposition,
    labels: &[(&str, &dyn Display)],
    histogram: &Histogram,
    (low, high): (usize, usize),
    per_unit: f64,
) {
    if histogram.count() == 0 {
        return;
    }
    let bounds = (low..=high).map(|bits| (1_u64 << bits) as f64 / per_unit);
    let counts: Vec<u64> = histogram.between(low, high).collect();
    out.buckets(labels, bounds, &counts, histogram.sum() as f64 / per_unit);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::slow::{TurnWatch, WorkKind};
    use std::collections::BTreeSet;
    use synod_shard::Role;
    use synod_types::{Ballot, GroupId, Mono, NodeId, Slot, WallMs};

    #[test]
    fn every_sample_follows_its_family_and_every_family_comes_once() {
        let status = GroupStatus {
            group: GroupId::new(3),
            role: Role::Leader,
            leader: Some(NodeId::new(1)),
            serving: true,
            promised: Ballot::default(),
            chosen: Slot::new(9),
            applied: Slot::new(8),
            applied_ts: WallMs(1),
            clock_skew_ms: Some(-7),
            keys: 5,
            leader_changes: 0,
        };
        let mut stats = GroupStats { key_hits: 7, ..GroupStats::default() };
        stats.queue_us.record(100);
        let mut page = CorePage {
            groups: vec![status],
            ready: vec![true],
            group_stats: vec![stats],
            commands: 11,
            ..CorePage::default()
        };
        page.errors.record(ErrorKind::Busy);
        let mut watch = TurnWatch::new(Mono(0));
        watch.look(Mono(5_000_000), WorkKind::Walk);
        page.slow.note(&watch, None);
        let process =
            ProcessFigures { node: 1, cluster: "abc".into(), uptime_seconds: 1.5, resident_bytes: 1 << 20 };
        let text = render(&process, &[page.clone(), page]);
        let (mut seen, mut family) = (BTreeSet::new(), "");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().expect("a name");
                assert!(seen.insert(family), "{family} comes twice");
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} in {family}");
                let value = line.rsplit(' ').next().expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        for line in [
            "redis_commands_processed_total 22",
            "redis_keyspace_hits_total 14",
            "redis_db_keys{db=\"db0\"} 10",
            "synod_errors_total{core=\"1\",kind=\"busy\"} 1",
            "synod_stage_seconds_bucket{core=\"0\",group=\"3\",stage=\"queue\",le=\"0.000128\"} 1",
            "synod_stage_seconds_sum{core=\"0\",group=\"3\",stage=\"queue\"} 0.0001",
            "synod_slow_turns_total{core=\"1\",kind=\"walk\"} 1",
            "synod_group_ready{core=\"0\",group=\"3\"} 1",
            "synod_clock_skew_milliseconds{core=\"0\",group=\"3\"} -7",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
    }
}
