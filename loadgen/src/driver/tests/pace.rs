//! Tests of rate, concurrency and duration, and of what is reported about them.

use super::*;
use crate::phase::Phase;

#[test]
fn an_overloaded_open_loop_counts_from_the_planned_time() {
    // Few requests at a time, about 2 ms each: far fewer per second than the four thousand offered.
    let told = Options { rate: Some(4000), connections: 3, inflight: 1, ..options() };
    for kind in [Kind::Write, Kind::Read] {
        let (tally, _) = World::run(told.clone(), Faults::default(), 15, Mix::Only(kind));
        assert_sums(&tally);
        let counted = &tally.measured[kind.index()];
        assert_eq!(counted.offered, 4000, "nothing is skipped");
        assert!(counted.achieved_in_time < 3000, "a rate is what came in time: {}", counted.achieved_in_time);
        assert!(counted.latencies.quantile_us(0.99) > 200_000, "waiting counts");
        assert!(tally.late.quantile_us(0.99) > 200_000, "and is shown as lateness");
        assert!(tally.own_late.quantile_us(0.99) <= 1000, "but not as the generator's own");
    }
}

#[test]
fn a_generator_that_gets_no_turns_says_so() {
    let mut world = World::new(options(), Faults::default(), 33);
    world.open();
    world.preload();
    let order = world.load(Mix::Only(Kind::Read), 1000);
    world.perform_with(order, |world| {
        if world.random.below(20) == 0 {
            world.now_ns += 30 * MS;
        }
    });
    let measured = world.driver.take_measured();
    let late_us = measured.own_late.quantile_us(0.99);
    assert!(crate::saturation::warning(late_us, None).is_some(), "{late_us}");
    assert_eq!(world.driver.take_measured().own_late.count(), 0, "taken once");
}

#[test]
fn the_closed_loop_keeps_its_connections_busy() {
    let told = Options { closed: true, connections: 6, inflight: 2, ..options() };
    let mut world = World::new(told, Faults::default(), 16);
    world.open();
    world.preload();
    let order = world.load(Mix::ReadShare(0.5), 1000);
    let (mut busy, mut turns, mut most) = (0, 0, 0);
    let start_ns = world.now_ns + 10 * MS;
    world.perform_with(order, |world| {
        if (start_ns..start_ns + 1000 * MS).contains(&world.now_ns) {
            let outstanding = world.driver.traffic.links.iter().map(|link| link.outstanding).sum::<u32>();
            busy += outstanding;
            turns += 1;
            most = most.max(outstanding);
        }
    });
    assert_eq!(most, 12, "connections times inflight, no more");
    assert!(busy / turns >= 6, "{}", busy / turns);
    world.audit();
    let (tally, _) = world.driver.finish();
    assert_sums(&tally);
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
    assert!(tally.measured[0].achieved_in_time > 1000);
}

#[test]
fn a_cluster_that_is_behind_is_not_sent_more_and_more() {
    // Only topology requests are answered. Every request is given up after 100 ms, a connection after 300 ms.
    let told = Options { timeout: Duration::from_millis(100), ..options() };
    let mut world = World::new(told, Faults::default(), 23);
    world.open();
    world.preload();
    world.cluster.faults = Faults { swallow: 1000, ..Faults::default() };
    let order = world.load(Mix::Only(Kind::Read), 1000);
    let before = world.cluster.requests;
    world.perform(order);
    let asked = world.cluster.requests - before;
    let lives = world.connects.values().sum::<u64>();
    assert!(asked <= lives * 8, "{asked} requests on {lives} connections with room for 8 each");
    let (tally, _) = world.driver.finish();
    assert_sums(&tally);
    assert!(tally.error_kinds.contains_key("connection silent"), "{:?}", tally.error_kinds);
    assert_eq!((tally.measured[1].offered, tally.measured[1].errors), (2000, 2000));
}

#[test]
fn an_answer_that_comes_late_makes_room_and_nothing_else() {
    // The network is slower than the timeout for half of the requests.
    let told = Options { inflight: 2, ..options() };
    let mut world = World::new(told, Faults::default(), 24);
    world.open();
    world.preload();
    world.driver.options.timeout = Duration::from_millis(1);
    let order = world.load(Mix::ReadShare(0.5), 1000);
    world.perform(order);
    world.driver.options.timeout = Duration::from_secs(2);
    world.audit();
    let (tally, ledger) = world.driver.finish();
    assert_sums(&tally);
    assert!(tally.replies_late > 100, "{}", tally.replies_late);
    assert!(tally.measured[1].achieved > 10 && ledger.unknown() > 10);
    assert_eq!(tally.reconnects, 0);
    assert_eq!((tally.verify_failures, tally.audit.missing()), (0, 0), "{:?}", tally.findings);
}

#[test]
fn one_key_for_all_is_written_one_at_a_time_and_loses_nothing() {
    let told = Options { keys: 1, rate: Some(200), ..options() };
    let (tally, ledger) = World::run(told, Faults::default(), 17, Mix::ReadShare(0.5));
    assert_sums(&tally);
    assert_eq!(tally.measured.iter().map(|kind| kind.achieved).sum::<u64>(), 200);
    assert_eq!(tally.verify_failures, 0, "{:?}", tally.findings);
    assert!(ledger.acked() > 50);
    assert_eq!(tally.audit.keys, 1);
}

#[test]
fn every_workload_and_every_size_is_audited() {
    let sizes: crate::sizes::ValueSizes = "40:1,64:1,900:1".parse().expect("good");
    for (workload, seed) in [(Ycsb::A, 1), (Ycsb::B, 2), (Ycsb::C, 3), (Ycsb::D, 4), (Ycsb::F, 5)] {
        let told = Options { workload: Some(workload), value_size: sizes.clone(), ..options() };
        let (tally, ledger) = World::run(told.clone(), Faults::default(), seed, Mix::Ycsb(workload));
        assert_sums(&tally);
        assert_eq!(tally.verify_failures, 0, "{:?}", tally.findings);
        for kind in Kind::ALL {
            let (share, counted) = (workload.share(kind), &tally.measured[kind.index()]);
            assert!((counted.achieved as f64 / 2000.0 - share).abs() < 0.04, "{workload:?}: {counted:?}");
            assert_eq!(tally.measured_ns[kind.index()] > 0, share > 0.0);
        }
        let inserted = u64::from(ledger.range().end) - 500;
        assert!(inserted >= tally.measured[Kind::Insert.index()].achieved);
        assert_eq!(tally.audit, AuditTally { keys: 500 + inserted, ..AuditTally::default() });
        let (tally, _) = World::run(told, trouble(), seed + 10, Mix::Ycsb(workload));
        assert_sums(&tally);
        assert_eq!((tally.verify_failures, tally.audit.missing()), (0, 0), "{:?}", tally.findings);
    }
}

#[test]
fn a_read_modify_write_is_one_operation_with_the_latency_of_both_parts() {
    let told = Options { workload: Some(Ycsb::F), ..options() };
    let (tally, ledger) = World::run(told.clone(), Faults::default(), 31, Mix::Ycsb(Ycsb::F));
    let [_, reads, _, both] = &tally.measured;
    let (read_us, both_us) = (reads.latencies.quantile_us(0.5), both.latencies.quantile_us(0.5));
    assert!(both_us * 10 > read_us * 16, "{read_us} us and {both_us} us");
    assert!(ledger.acked() >= 500 + both.achieved);
    assert!(tally.late.quantile_us(0.99) <= 1000, "only the first part is late or not");
    let lost = Faults { lose_write: 20, ..Faults::default() };
    let (tally, _) = World::run(told, lost, 32, Mix::Ycsb(Ycsb::F));
    assert!(tally.audit.stale > 0, "its writes are audited: {:?}", tally.audit);
}

#[test]
fn stopping_ends_the_load_and_leaves_nothing_open() {
    let mut world = World::new(options(), Faults::default(), 18);
    world.open();
    world.preload();
    let order = world.load(Mix::Only(Kind::Write), 1000);
    let stop_ns = world.now_ns + 705 * MS;
    world.perform_with(order, |world| {
        if world.now_ns > stop_ns {
            world.driver.stop(world.now_ns);
        }
    });
    assert!(world.now_ns < stop_ns + 100 * MS);
    world.audit();
    let (tally, _) = world.driver.finish();
    assert_sums(&tally);
    assert!((950..1050).contains(&tally.measured[0].offered), "{}", tally.measured[0].offered);
    assert!((490 * MS..510 * MS).contains(&tally.measured_ns[0]));
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}

#[test]
fn a_cluster_that_never_gets_ready_is_an_error_that_says_why() {
    let mut world = World::new(options(), Faults::default(), 19);
    world.down_nodes = vec![1, 2, 3];
    world.open();
    let failure = world.driver.failure().expect("no node was there").to_owned();
    assert!(failure.contains("0 of 6 connections up"), "{failure}");
    assert!(failure.contains("not connected"), "{failure}");
}

#[test]
fn one_dead_node_does_not_keep_the_rest_from_being_loaded() {
    let mut world = World::new(options(), Faults::default(), 20);
    world.down_nodes = vec![3];
    world.open();
    assert_eq!(world.driver.failure(), None);
}

#[test]
fn garbage_for_an_answer_breaks_the_connection_only() {
    let mut world = World::new(options(), Faults::default(), 21);
    world.open();
    world.preload();
    let order = world.load(Mix::Only(Kind::Write), 1000);
    world.perform_with(order, |world| {
        if world.random.below(100) == 0 {
            for (_, _, bytes) in &mut world.flying {
                let at = bytes.len() / 2;
                bytes[at] ^= 0x10;
            }
        }
    });
    world.audit();
    let (tally, _) = world.driver.finish();
    assert_sums(&tally);
    assert!(tally.error_kinds.keys().any(|kind| kind.contains("answer")), "{:?}", tally.error_kinds);
    assert_eq!(tally.verify_failures, 0, "{:?}", tally.findings);
    assert_eq!(tally.measured[0].achieved, 2000);
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let history = |seed| {
        let mut world = World::new(options(), Faults::default(), seed);
        world.open();
        world.preload();
        world.cluster.faults = trouble();
        let order = world.load(Mix::ReadShare(0.5), 500);
        world.perform(order);
        std::mem::take(world.driver.history().expect("kept"))
    };
    let one = history(5);
    assert!(one == history(5));
    assert!(one != history(6));
    let text = String::from_utf8(one).expect("ASCII");
    assert!(text.lines().count() > 1000);
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(line["invoke"].as_u64() <= line["complete"].as_u64() || line["complete"].is_null(), "{line}");
    }
}

#[test]
fn seconds_tell_the_phase_and_the_offered_rate() {
    let mut world = World::new(options(), Faults::default(), 22);
    world.open();
    world.preload();
    world.driver.take_seconds();
    let order = world.load(Mix::Only(Kind::Write), 2500);
    world.perform(order);
    let mut seconds = world.driver.take_seconds();
    let achieved: u64 = seconds.iter().map(|second| second.achieved).sum();
    assert_eq!(achieved, 2700 * 2, "parts of seconds are told too, for the interval log");
    seconds.retain(|second| second.is_long);
    let phases: Vec<_> = seconds.iter().map(|second| second.phase).collect();
    assert_eq!(
        phases,
        [Phase::Write, Phase::Write],
        "the parts of a second at the ends are not worth a line"
    );
    for second in &seconds {
        let per_s = second.offered as f64 * 1e9 / (second.end_ns - second.start_ns) as f64;
        assert!((1990.0..2010.0).contains(&per_s), "{per_s}");
        assert!(second.achieved > 1900);
    }
}

#[test]
fn one_connection_with_one_request_in_flight_is_just_that() {
    let told = Options { closed: true, connections: 3, inflight: 1, ..options() };
    let mut world = World::new(told.clone(), Faults::default(), 18);
    // There are links to all three nodes, but only one request at a time is allowed.
    world.driver.options.connections = 1;
    world.open();
    world.preload();
    let order = world.load(Mix::ReadShare(0.5), 500);
    let (mut most, start_ns) = (0, world.now_ns + 10 * MS);
    let mut used = [false; 3];
    world.perform_with(order, |world| {
        if (start_ns..start_ns + 500 * MS).contains(&world.now_ns) {
            most = most.max(world.driver.traffic.links.iter().map(|link| link.outstanding).sum::<u32>());
            for (used, link) in used.iter_mut().zip(world.driver.traffic.links.iter()) {
                *used |= link.outstanding > 0;
            }
        }
    });
    assert_eq!((most, used), (1, [true; 3]));
}
