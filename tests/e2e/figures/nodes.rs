//! What nodes do among themselves: forwards, reads of followers, the log, copies of long values.

use super::faces::{alike, family, field, labelled, over_nodes, samples, set, steadily, sum};
use crate::cluster::{Nodes, until};
use crate::damage;
use crate::resp::{RespClient, command};
use std::io::Write;

pub(super) fn forwards_and_follower_reads_are_counted(targets: &[String]) {
    let value = [b'x'; 1000];
    // The first write of a node opens its session with the key's group.
    for target in targets {
        assert_eq!(RespClient::connect(target).set("one", &value), "+OK");
    }
    // A leader may move to its place right after the start: then once more.
    let forwarded = (0..10).any(|_| {
        let changes = over_nodes(targets, "synod_leader_changes_total");
        let before = over_nodes(targets, "synod_forwards_total");
        let written: Vec<f64> =
            targets.iter().map(|target| family(target, "synod_log_written_bytes_total")).collect();
        for target in targets {
            let mut client = RespClient::connect(target);
            (0..10).for_each(|_| assert_eq!(client.set("one", &value), "+OK"));
        }
        for (target, written) in targets.iter().zip(written) {
            until("every node writes what is chosen", || {
                family(target, "synod_log_written_bytes_total") >= written + 30_000.0
            });
            let mut client = RespClient::connect(target);
            assert!(field(&mut client, "log_written_bytes") >= written + 30_000.0);
        }
        let stable = over_nodes(targets, "synod_leader_changes_total") == changes;
        // Two of the three nodes do not lead the key's group. Now and then a node forwards something of its own.
        let forwards = over_nodes(targets, "synod_forwards_total") - before;
        assert!(!stable || forwards >= 20.0, "{forwards}");
        stable && forwards == 20.0
    });
    assert!(forwarded, "never exactly the twenty that two nodes forward");
    alike(targets, "forwards", &["synod_forwards_total"]);
    alike(targets, "log_written_bytes", &["synod_log_written_bytes_total"]);
    // Short values are read where they are asked for: two of the three nodes do not lead the key's group.
    assert_eq!(RespClient::connect(&targets[0]).set("short", b"v"), "+OK");
    let reads = steadily(targets, |_| {
        let before = alike(targets, "follower_reads", &["synod_follower_reads_total"]);
        for target in targets {
            let mut client = RespClient::connect(target);
            (0..10).for_each(|_| assert_eq!(client.get("short"), Ok(b"v".to_vec())));
        }
        alike(targets, "follower_reads", &["synod_follower_reads_total"]) - before
    });
    assert_eq!(reads, 20.0);
}

/// The slots that each node knows to be chosen, then those that each has applied.
pub(super) fn slots(targets: &[String]) -> Vec<f64> {
    let figures = [("chosen_slots", "synod_chosen_slot"), ("applied_slots", "synod_applied_slot")];
    let of_nodes = figures.iter().flat_map(|(field, family)| {
        targets.iter().map(move |target| alike(std::slice::from_ref(target), field, &[*family]))
    });
    of_nodes.collect()
}

/// Every write passes each stage, and is in every log.
pub(super) fn writes_are_counted_on_their_way_to_the_log(targets: &[String]) {
    const WRITES: usize = 200;
    let before: Vec<_> = targets.iter().map(|target| samples(target)).collect();
    let slots_before = slots(targets);
    let mut client = RespClient::connect(&targets[0]);
    // One after the other, each in a slot of its own.
    set(&mut client, "{w}", 20, &[]);
    until("every node has them", || {
        slots(targets).iter().zip(&slots_before).all(|(now, before)| *now >= before + 20.0)
    });
    // All at once, so that many share a slot.
    let each = |number: usize| command(&[b"SET", format!("{{w}}:{number}").as_bytes(), b"v"]);
    client.0.write_all(&(0..WRITES).flat_map(each).collect::<Vec<u8>>()).expect("sent");
    (0..WRITES).for_each(|_| assert_eq!(client.line(), "+OK"));
    let after: Vec<_> = targets.iter().map(|target| samples(target)).collect();
    let grown = |node: usize, name: &str| sum(&after[node], name) - sum(&before[node], name);
    let timed = |node: usize, stage: &str| {
        let (name, label) = ("synod_stage_seconds_count", format!("stage=\"{stage}\""));
        labelled(&after[node], name, &label) - labelled(&before[node], name, &label)
    };
    let over_all = |name: &str| (0..targets.len()).map(|node| grown(node, name)).sum::<f64>();
    let (commands, entries) = (over_all("synod_batch_commands_sum"), over_all("synod_batch_commands_count"));
    assert!(commands >= (20 + WRITES) as f64, "{commands} commands were proposed");
    assert!(entries >= 21.0 && entries < commands, "{commands} commands in {entries} entries");
    for stage in ["queue", "quorum", "apply"] {
        let count: f64 = (0..targets.len()).map(|node| timed(node, stage)).sum();
        assert!(count >= 21.0, "{stage} was timed {count} times");
    }
    for (node, target) in targets.iter().enumerate() {
        let records = grown(node, "synod_flush_records_sum");
        assert!(records >= 20.0, "{target}: {records} records");
        assert_eq!(timed(node, "log"), records, "{target}: each record is timed");
        let flushes = grown(node, "synod_flush_records_count");
        assert!(flushes >= 1.0 && flushes == grown(node, "synod_flush_bytes_count"), "{target}: {flushes}");
        let bytes = grown(node, "synod_flush_bytes_sum");
        assert_eq!(bytes, grown(node, "synod_log_written_bytes_total"), "{target}");
    }
    // Replies are timed by sample, at the node that the client talks to.
    assert!(timed(0, "reply") >= 1.0, "no reply was timed");
}

/// The counters of the cache, over all nodes: copies made, dropped and held, lookups with and without one.
pub(super) fn cache_counts(targets: &[String]) -> [f64; 5] {
    let figures = [
        ("cache_inserts", "synod_cache_inserts_total"),
        ("cache_evictions", "synod_cache_evictions_total"),
        ("cache_cells", "synod_cache_cells"),
        ("cache_hits", "synod_cache_hits_total"),
        ("cache_misses", "synod_cache_misses_total"),
    ];
    figures.map(|(field, family)| alike(targets, field, &[family]))
}

/// Long values: copied when written, evicted when there are too many, read from the log then, and from another
/// node when the log is damaged.
pub(super) fn copies_of_long_values_are_counted(nodes: &mut Nodes) {
    const VALUES: usize = 600;
    let targets = nodes.targets();
    let value =
        |attempt: usize, number: usize| format!("{attempt}-{number};").repeat(1000)[..3000].to_owned();
    let key = |attempt: usize, number: usize| format!("{{long}}{attempt}:{number}");
    let bytes_max = alike(&targets, "cache_bytes_max", &["synod_cache_bytes_max"]);
    assert_eq!(bytes_max, 3.0 * f64::from(1 << 20));
    let mut client = RespClient::connect(&targets[0]);
    // All keys are in one slot, so they have one leader: only that one keeps copies of what is written.
    let (attempt, inserts, evictions, cells) = steadily(&targets, |attempt| {
        let before = cache_counts(&targets);
        let each = |number: usize| {
            command(&[b"SET", key(attempt, number).as_bytes(), value(attempt, number).as_bytes()])
        };
        client.0.write_all(&(0..VALUES).flat_map(each).collect::<Vec<u8>>()).expect("sent");
        (0..VALUES).for_each(|_| assert_eq!(client.line(), "+OK"));
        let after = cache_counts(&targets);
        (attempt, after[0] - before[0], after[1] - before[1], after[2] - before[2])
    });
    assert_eq!(inserts, VALUES as f64);
    assert!(evictions > 100.0, "{evictions} of {VALUES} copies of 3000 bytes left a cache of a MiB");
    assert_eq!(cells, inserts - evictions);
    let bytes = alike(&targets, "cache_bytes", &["synod_cache_bytes"]);
    assert!(bytes >= 3000.0 * cells && bytes <= bytes_max, "{bytes} of {bytes_max} for {cells}");
    let dropped = |target: &String| family(target, "synod_cache_evictions_total") > 0.0;
    let leader = targets.iter().position(dropped).expect("the leader has dropped copies");
    // The oldest copies are gone. A value that was read has a copy again.
    let mut client = RespClient::connect(&targets[leader]);
    let mut number = 0;
    let (hits, misses) = steadily(&targets, |_| {
        let before = cache_counts(&targets);
        for _ in 0..3 {
            assert_eq!(client.get(&key(attempt, number)), Ok(value(attempt, number).into_bytes()));
        }
        number += 1;
        let after = cache_counts(&targets);
        (after[3] - before[3], after[4] - before[4])
    });
    assert_eq!((hits, misses), (2.0, 1.0));
    // The log of the leader is damaged where the next value without a copy is.
    let failed = || alike(&targets, "log_reads_failed", &["synod_log_reads_failed_total"]);
    let repaired = || alike(&targets, "log_reads_repaired", &["synod_log_reads_repaired_total"]);
    assert_eq!((failed(), repaired()), (0.0, 0.0));
    let damaged = value(attempt, number);
    let data = nodes.get().data_dir(leader);
    let (path, at) = damage::place(&data, damaged.as_bytes()).expect("the value is in the log");
    damage::flip(&path, at + 1000);
    assert_eq!(client.get(&key(attempt, number)), Ok(damaged.into_bytes()), "another node has it");
    assert_eq!((failed(), repaired()), (1.0, 1.0));
    // A node with a damaged log might not start again.
    damage::flip(&path, at + 1000);
}
