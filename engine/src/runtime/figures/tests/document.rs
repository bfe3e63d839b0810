//! Tests of the table: each row stands where it should, and docs/metrics.md is this table.

use super::text;
use crate::runtime::figures::collected::{Figures, NodeFacts};
use crate::runtime::figures::row::{Kind, Measure};
use crate::runtime::figures::table::ROWS;
use crate::runtime::figures::{counters, info, metrics};
use crate::runtime::slow::{TurnWatch, WorkKind};
use crate::runtime::status_board::CorePage;
use crate::sys::{CpuTimes, Memory};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use synod_net::server::{PARAMETERS, SECTIONS};
use synod_shard::{GroupStats, GroupStatus, Role};
use synod_types::{Ballot, ErrorKind, GroupId, Mono, Nanos, NodeId, Slot, WallMs};

/// A group with five keys, two of which expire.
fn group(number: u16, serving: bool) -> GroupStatus {
    GroupStatus {
        group: GroupId::new(number),
        role: if serving { Role::Leader } else { Role::Follower },
        leader: Some(NodeId::new(1)),
        serving,
        promised: Ballot::default(),
        chosen: Slot::new(9),
        applied: Slot::new(8),
        applied_ts: WallMs(1),
        clock_skew_ms: serving.then_some(-7),
        keys: 5,
        expiring: 2,
        leader_changes: 1,
    }
}

/// A node of two cores with a group each; it leads the first one.
fn figures() -> Figures {
    let page = |number, serving| {
        let mut stats =
            GroupStats { key_hits: 7, keys_expired: 9, keys_expired_led: 4, ..GroupStats::default() };
        stats.queue_us.record(100);
        let mut page = CorePage {
            groups: vec![group(number, serving)],
            ready: vec![true],
            group_stats: vec![stats],
            connections: 3,
            replies: 11,
            ..CorePage::default()
        };
        page.errors.record(ErrorKind::Busy);
        page.core_stats.flush_bytes.record(1000);
        let counts = Arc::make_mut(&mut page.counts);
        counts.others = 20;
        let get = counts.commands.entry("get").or_default();
        (get.calls, get.failed, get.rejected) = (10, 2, 1);
        counts.errors.insert("ERR".to_owned(), 3);
        let mut watch = TurnWatch::new(Mono(0));
        watch.look(Mono(5_000_000), WorkKind::Walk);
        page.slow.note(&watch, None);
        page
    };
    let facts = NodeFacts {
        node: 1,
        cluster: "abc".into(),
        uptime: Nanos::from_ms(90_500),
        clients_max: 8192,
        memory: Memory { resident_bytes: 3 << 20, own_bytes: 1 << 20 },
        cpu: CpuTimes { user_us: 1_500_000, system_us: 250_000 },
        ..NodeFacts::default()
    };
    Figures::new(facts, vec![page(3, true), page(4, false)])
}

/// The fields of INFO as lines.
fn info_lines() -> Vec<String> {
    let line = |field: synod_net::server::InfoField| {
        format!("{} {}:{}", field.section, field.name, text(&field.value))
    };
    info(&figures()).into_iter().map(line).collect()
}

#[test]
fn every_row_stands_in_each_face_that_can_show_it() {
    let mut families = BTreeSet::new();
    let mut fields = BTreeSet::new();
    for row in ROWS {
        for family in [row.metric, row.redis].into_iter().filter(|family| !family.is_empty()) {
            assert!(families.insert(family), "{family} comes twice");
            assert_eq!(family.ends_with("_total"), row.kind == Kind::Counter, "{family}");
        }
        if let Some((section, field)) = row.info {
            assert!(SECTIONS.contains(&section) && fields.insert((section, field)), "{section} {field}");
        }
        let (in_metrics, in_info) = (!row.metric.is_empty(), row.info.is_some());
        let wanted = match row.measure {
            // A number of the node belongs into both faces.
            Measure::Node(_) | Measure::Decimal(_) | Measure::Core(_) | Measure::Group(_) => (true, true),
            Measure::Samples(_) => (true, false),
            Measure::Text(_) | Measure::Fields(_) => (false, true),
        };
        assert_eq!((in_metrics, in_info), wanted, "{} {:?}", row.metric, row.info);
        assert!(!row.meaning.is_empty() && !row.source.is_empty(), "{} {:?}", row.metric, row.info);
    }
}

#[test]
fn every_sample_follows_its_family_and_every_family_comes_once() {
    let text = metrics(&figures());
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
    let of_table = ROWS.iter().flat_map(|row| [row.metric, row.redis]).filter(|family| !family.is_empty());
    assert_eq!(seen, of_table.collect());
    for line in [
        "redis_commands_processed_total 60",
        "synod_commands_total{core=\"1\"} 30",
        "redis_commands_total{cmd=\"get\"} 20",
        "redis_errors_total{err=\"ERR\"} 6",
        "redis_keyspace_hits_total 14",
        "redis_expired_keys_total 8",
        "redis_db_keys{db=\"db0\"} 5",
        "redis_db_keys_expiring{db=\"db0\"} 2",
        "synod_keys_held 10",
        "redis_cpu_user_seconds_total 1.5",
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

#[test]
fn info_and_status_show_the_same_numbers() {
    let lines = info_lines();
    for line in [
        "server uptime_in_seconds:90",
        "clients connected_clients:6",
        "clients maxclients:8192",
        "memory used_memory:1048576",
        "memory used_memory_rss:3145728",
        "stats total_commands_processed:60",
        "stats expired_keys:8",
        "stats keyspace_hits:14",
        "stats total_error_replies:6",
        "cpu used_cpu_user:1.500",
        "cpu used_cpu_sys:0.250",
        "commandstats cmdstat_get:calls=20,failed_calls=4",
        "commandstats rejected_get:calls=2",
        "errorstats errorstat_ERR:count=6",
        "keyspace db0:keys=10,expires=4",
        "synod slow_turns:2",
        "synod slow_turns_walk:2",
        "synod log_written_bytes:2000",
        "synod groups_led:1",
        "synod group3:role=leader,serving=1,leader=1,core=0,promised=0.0,chosen=9,applied=8,keys=5,leader_changes=1",
    ] {
        assert!(lines.iter().any(|other| other == line), "{line} is missing in {lines:#?}");
    }
    let counters = counters(&figures());
    for (name, value) in [("connected_clients", 6), ("total_commands_processed", 60), ("slow_turns_walk", 2)]
    {
        assert!(counters.contains(&(name.to_owned(), value)), "{name} {value} is missing in {counters:?}");
    }
    let empty = Figures::new(NodeFacts::default(), Vec::new());
    assert!(!info(&empty).iter().any(|field| field.section == "keyspace"), "no keys, no database");
}

/// The tables of docs/metrics.md, made from the tables of the code.
fn document() -> String {
    let mut text = String::from("| family | type | labels | meaning | source |\n|---|---|---|---|---|\n");
    for row in ROWS.iter().filter(|row| !row.metric.is_empty()) {
        let kind = format!("{:?}", row.kind).to_lowercase();
        let (meaning, source) = (row.meaning, row.source);
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "| `{}` | {kind} | {} | {meaning} | {source} |", row.metric, row.labels);
        if !row.redis.is_empty() {
            let _ = writeln!(
                text,
                "| `{}` | {kind} |  | `{}` of the whole node. | {source} |",
                row.redis, row.metric
            );
        }
    }
    text.push_str("\n| section | field | meaning | source |\n|---|---|---|---|\n");
    for section in SECTIONS {
        for row in ROWS {
            let Some((_, field)) = row.info.filter(|(of, _)| *of == section) else { continue };
            let _ = writeln!(text, "| {section} | `{field}` | {} | {} |", row.meaning, row.source);
        }
    }
    text.push_str("\n| parameter | value |\n|---|---|\n");
    assert!(PARAMETERS.is_sorted_by_key(|parameter| parameter.name));
    for parameter in PARAMETERS {
        let _ = writeln!(text, "| `{}` | {} |", parameter.name, parameter.source);
    }
    // A bar within a cell would end it.
    text.replace("config|get", "config\\|get")
}

#[test]
fn the_tables_of_the_documentation_are_these() {
    let page = include_str!("../../../../../docs/metrics.md");
    let want = document();
    for table in want.split("\n\n") {
        let table = table.trim_end();
        assert!(page.contains(&format!("\n{table}\n\n")), "a table of docs/metrics.md is not:\n{table}");
    }
}
