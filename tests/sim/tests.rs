//! The simulator as a test: a bounded number of seeds, the same trace for the same seed, every canary caught.
//!
//! `SYNOD_SIM_SEEDS=from..to` chooses other seeds (CI derives them from the commit).

use std::ops::Range;
use synod_shard::Canary;
use synod_tests::check::coverage::Coverage;
use synod_tests::sim::{
    ClockCase, Eyes, FaultKind, Options, report, run, run_clocks, run_crashes, run_far_behind, run_gray,
    run_loose, run_old_copy, run_partition, run_pipelined,
};

/// Enough to meet each of [`WANTED`] several times over, few enough for every `cargo test`.
const SEEDS: Range<u64> = 0..40;

/// Marks that the seeds above must meet: rare paths that would otherwise go untested unnoticed.
const WANTED: &[&str] = &[
    "power loss",
    "kill",
    "blackout",
    "isolation",
    "halves",
    "one-way links",
    "star",
    "chain",
    "pause",
    "disk stall",
    "wall clock step",
    "congestion",
    "rot",
    "full disk",
    "a log is running out of room",
    "a log has no room at all",
    "refused for lack of room",
    "stopped with a gap in what is written",
    "a vote came later than a lease",
    "dropped because the log is behind",
    "a promise came as its candidate stood again",
    "a stamped write came again",
    "a node's session was asked for again",
    "every node was asked as leaders changed",
    "an entry read for a peer",
    "message lost",
    "message doubled",
    "message of a session that is over: dropped",
    "message of a session that is over: a straggler",
    "torn_tail",
    "clean_end",
    "read from disk",
    "a mark was replayed",
    "a level was raised",
    "replay reads an old value",
    "batch of several commands",
    "stamped write answered again",
    "write never answered",
    "asked again after a refusal",
    "asked again after silence",
    "Nack",
    "Learn",
    "Forward",
    "ReadIndex",
    "ReadIndexReply",
    "TimeoutNow",
    "two leaders, one of the past",
    "a replica was more than 1024 slots behind",
    "not an integer",
    "a comparison held",
    "a group was flushed",
    "a key was renamed",
    "a key was copied",
    "several keys were written at once",
    "several keys were not written",
    "a version was deleted",
    "an expiry was set on a condition",
    "an equal value was deleted",
    "an equal value was made to expire",
    "an equal value was renewed",
    "an equal value was extended",
];

/// Runs `seeds` on two threads; returns the coverage, and the reports of failures in the order of seeds.
fn run_seeds(seeds: Range<u64>, options: fn(u64) -> Options) -> (Coverage, Vec<String>) {
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    let half = |seeds: Range<u64>| {
        let mut coverage = Coverage::new();
        let mut failures = Vec::new();
        for seed in seeds {
            match run(options(seed)) {
                Ok(summary) => coverage.add(&summary.coverage),
                Err(failure) => failures.push(failure.report),
            }
        }
        (coverage, failures)
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| half(middle..seeds.end));
        let (mut coverage, mut failures) = half(seeds.start..middle);
        let (more, late) = second.join().expect("a failed run is caught");
        coverage.add(&more);
        failures.extend(late);
        (coverage, failures)
    })
}

#[test]
fn seeds_are_clean_and_meet_what_they_must() {
    let chosen = std::env::var("SYNOD_SIM_SEEDS").ok().map(|text| {
        let (from, to) = text.split_once("..").expect("SYNOD_SIM_SEEDS is from..to");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let (coverage, failures) = run_seeds(chosen.clone().unwrap_or(SEEDS), Options::new);
    assert!(failures.is_empty(), "{} failures, the first:\n{}", failures.len(), failures[0]);
    if chosen.is_none() {
        let missing = coverage.missing(WANTED);
        assert!(missing.is_empty(), "these seeds no longer meet {missing:?}:\n{coverage}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let short = |seed| Options { seconds: 10, ..Options::new(seed) };
    let once = run(short(3)).expect("clean");
    let again = run(short(3)).expect("clean");
    assert_eq!(once, again);
    assert_ne!(once.trace_hash, run(short(4)).expect("clean").trace_hash);
}

/// One run per seed under lasting partitions of `kind`. The seeds are chosen so that there are clusters of
/// three and of five nodes.
fn partitions(kind: FaultKind) {
    for seed in 0..6 {
        if let Err(failure) = run_partition(Options::new(seed), kind) {
            panic!("{}", failure.report);
        }
    }
}

#[test]
fn a_cluster_goes_on_while_all_nodes_reach_only_one() {
    partitions(FaultKind::Star);
}

#[test]
fn a_cluster_goes_on_while_nodes_reach_only_their_neighbours() {
    partitions(FaultKind::Chain);
}

#[test]
fn a_cluster_goes_on_while_links_carry_one_way() {
    partitions(FaultKind::OneWay);
}

/// P-12b, P-21i: while something is slow, stalled or gone, a client whose node is up waits, and gets no error.
#[test]
fn clients_of_nodes_that_are_up_see_latency_and_no_errors() {
    for seed in 0..3 {
        if let Err(failure) = run_gray(Options::new(seed)) {
            panic!("{}", failure.report);
        }
    }
}

/// Gray runs catch each of these bugs as a breach of this invariant. The seeds begin with one that catches it.
fn gray_catches(bugs: &[(Canary, &str, u64)]) {
    for &(canary, invariant, first) in bugs {
        let with = |seed| run_gray(Options { canary: Some(canary), ..Options::new(seed) });
        let failure = (first..first + 3).find_map(|seed| with(seed).err()).expect("a planted bug is found");
        assert_eq!(failure.violation.invariant, invariant, "{canary:?}");
    }
}

#[test]
fn leaders_that_do_not_go_where_they_should_are_caught() {
    gray_catches(&[
        (Canary::SilentWhenStalled, "stillness", 0),
        (Canary::LeadsThoughStalled, "handover", 0),
        (Canary::KeepsCutOff, "reach", 0),
        (Canary::LeavesSilently, "farewell", 0),
        (Canary::AsksThoughStalled, "patience", 0),
        (Canary::HandsOverInVain, "patience", 0),
        (Canary::StopsLeading, "planned-stop", 0),
    ]);
}

/// One of these takes a read in the right hundredth of a second, one large values.
#[test]
fn clients_that_wait_for_too_long_or_see_what_is_over_are_caught() {
    gray_catches(&[
        (Canary::GivesUpWithLeader, "error-while-up", 0),
        (Canary::WaitsForReads, "latency", 1),
        (Canary::LeaseThoughSlept, "linearizability", 13),
        (Canary::FetchesOnTheClock, "backlog", 8),
    ]);
}

#[test]
fn pipelined_writes_that_change_places_are_caught() {
    for seed in 0..2 {
        if let Err(failure) = run_pipelined(Options::new(seed)) {
            panic!("{}", failure.report);
        }
    }
    let with = |seed| run_pipelined(Options { canary: Some(Canary::AnyOrder), ..Options::new(seed) });
    let failure = (2..12).find_map(|seed| with(seed).err()).expect("a planted bug is found");
    assert_eq!(failure.violation.invariant, "pipeline-order");
}

/// The first of `seeds` that catches `canary`, with the invariant. A range begins at a seed that catches it:
/// the rest is for a change after which the same seed draws another run.
fn caught(canary: Canary, eyes: Eyes, mut seeds: Range<u64>) -> Option<(u64, &'static str)> {
    seeds.find_map(|seed| {
        let options = Options { canary: Some(canary), eyes, ..Options::new(seed) };
        let failure = run(options).err()?;
        assert!(failure.report.contains(&report::replay_command(&options)));
        Some((seed, failure.violation.invariant))
    })
}

#[test]
fn a_value_that_is_fetched_for_a_client_without_room_is_caught() {
    let found = caught(Canary::CreditNotReserved, Eyes::All, 0..3);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("no-room-reserved"));
}

#[test]
fn a_promise_answered_before_it_is_durable_is_caught() {
    let found = caught(Canary::PromiseBeforeDurable, Eyes::All, 0..3);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("revealed-before-durable"));
}

#[test]
fn a_ballot_reused_after_restart_is_caught() {
    let found = caught(Canary::BallotReuse, Eyes::All, 0..3);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("revealed-before-durable"));
}

#[test]
fn a_quorum_of_half_is_caught_with_and_without_inside_knowledge() {
    let found = caught(Canary::HalfQuorum, Eyes::All, 0..3);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("agreement"));
    assert!(caught(Canary::HalfQuorum, Eyes::Clients, 0..10).is_some());
}

#[test]
fn a_no_op_over_a_reported_value_is_caught_with_and_without_inside_knowledge() {
    let found = caught(Canary::NoopOverReported, Eyes::All, 0..6);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("agreement"));
    assert!(caught(Canary::NoopOverReported, Eyes::Clients, 0..10).is_some());
}

#[test]
fn a_promise_of_an_earlier_candidacy_that_counts_in_a_later_one_is_caught_with_and_without_inside_knowledge()
{
    let found = caught(Canary::PromiseOfAnotherBallot, Eyes::All, 11..51);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("agreement"));
    assert!(caught(Canary::PromiseOfAnotherBallot, Eyes::Clients, 216..226).is_some());
}

#[test]
fn a_level_raised_before_every_member_reads_it_is_caught() {
    // Caught by the machine that would have to write a record it cannot read.
    assert!(caught(Canary::LevelByQuorum, Eyes::All, 6..26).is_some());
}

#[test]
fn a_value_taken_for_another_that_looks_like_it_is_caught() {
    let found = caught(Canary::EqualBytes, Eyes::All, 0..40);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("agreement"));
}

#[test]
fn entries_named_by_a_counter_that_begins_anew_are_caught() {
    for seed in 0..2 {
        if let Err(failure) = run_crashes(Options::new(seed)) {
            panic!("{}", failure.report);
        }
    }
    let with = |seed| run_crashes(Options { canary: Some(Canary::OriginRestarts), ..Options::new(seed) });
    let found = (7..47).find_map(|seed| Some(with(seed).err()?.violation.invariant));
    assert_eq!(found, Some("agreement"));
}

#[test]
fn a_watermark_applied_to_another_ballot_is_caught_with_and_without_inside_knowledge() {
    let found = caught(Canary::WatermarkOtherBallot, Eyes::All, 1..11);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("agreement"));
    assert!(caught(Canary::WatermarkOtherBallot, Eyes::Clients, 3..123).is_some());
}

#[test]
fn a_watermark_applied_to_another_ballot_behind_a_gap_is_caught() {
    let found = caught(Canary::WatermarkOtherBallotAhead, Eyes::All, 3..13);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("agreement"));
}

#[test]
fn a_promise_without_what_was_shed_is_caught_with_and_without_inside_knowledge() {
    let found = caught(Canary::ShedUnreported, Eyes::All, 0..10);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("agreement"));
    assert!(caught(Canary::ShedUnreported, Eyes::Clients, 9..39).is_some());
}

#[test]
fn a_lease_kept_after_handing_over_is_caught() {
    // Only the checkers that see inside catch it: the new leader's first message ends the old one's reads.
    let found = caught(Canary::LeaseAfterTransfer, Eyes::All, 0..10);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("lease-overlap"));
}

#[test]
fn a_lease_granted_before_its_promise_is_durable_is_caught() {
    let found = caught(Canary::GrantBeforeDurable, Eyes::All, 0..3);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("revealed-before-durable"));
}

#[test]
fn an_answer_that_confirms_a_later_heartbeat_is_caught() {
    // Two leaders that hold a lease are seen as such, or by what comes of it.
    assert!(caught(Canary::HeartbeatConfirmsLast, Eyes::All, 162..166).is_some());
}

#[test]
fn a_point_from_a_leader_that_does_not_serve_yet_is_caught_by_clients() {
    let found = caught(Canary::PointBeforeServing, Eyes::Clients, 19..29);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("linearizability"));
}

#[test]
fn a_forward_executed_twice_is_caught_by_clients() {
    assert!(caught(Canary::ForwardTwice, Eyes::Clients, 0..10).is_some());
}

#[test]
fn a_write_answered_by_the_entry_of_another_is_caught_by_clients() {
    assert!(caught(Canary::ResolvedByAnother, Eyes::Clients, 0..3).is_some());
}

#[test]
fn a_write_sent_again_under_another_sequence_is_caught_by_clients() {
    assert!(caught(Canary::ResentAnew, Eyes::Clients, 0..10).is_some());
}

#[test]
fn a_message_that_leaves_before_its_record_is_durable_is_caught() {
    let found = caught(Canary::ReleasesEarly, Eyes::All, 0..3);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("revealed-before-durable"));
}

#[test]
fn places_that_are_told_late_are_caught() {
    assert!(caught(Canary::PlacesToldLate, Eyes::All, 0..3).is_some());
}

#[test]
fn a_replay_that_leaves_a_group_out_is_caught() {
    assert!(caught(Canary::ReplaySkipsGroup, Eyes::All, 0..10).is_some());
}

#[test]
fn a_node_that_forgets_what_it_executed_for_others_is_caught_by_clients() {
    assert!(caught(Canary::StampsForgotten, Eyes::Clients, 0..40).is_some());
}

#[test]
fn a_session_that_an_earlier_start_opens_is_caught() {
    let found = caught(Canary::AnyBootOpens, Eyes::All, 9..49);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("node-session"));
}

#[test]
fn a_groups_clock_is_neither_early_nor_late_whatever_wall_clocks_say() {
    for seed in 0..4 {
        for case in ClockCase::ALL {
            if let Err(failure) = run_clocks(Options::new(seed), case) {
                panic!("{case:?}: {}", failure.report);
            }
        }
    }
}

#[test]
fn a_winner_that_goes_by_its_own_wall_clock_is_caught() {
    let with = |case| run_clocks(Options { canary: Some(Canary::ClockOfTheWinner), ..Options::new(0) }, case);
    for case in [ClockCase::Apart, ClockCase::AheadAndCutOff, ClockCase::SetBack] {
        let found = with(case).err().map(|failure| failure.violation.invariant);
        assert_eq!(found, Some("cluster-time"), "{case:?}");
    }
}

#[test]
fn an_old_copy_is_taken_for_what_it_is_and_a_node_that_comes_back_for_itself() {
    for seed in 0..6 {
        if let Err(failure) = run_old_copy(Options::new(seed)) {
            panic!("{}", failure.report);
        }
    }
    let options = Options { canary: Some(Canary::PositionsForgotten), ..Options::new(0) };
    let caught = run_old_copy(options).err().map(|failure| failure.violation.invariant);
    assert_eq!(caught, Some("old-copy-believed"));
}

#[test]
fn a_key_that_outlives_its_expiry_is_caught_by_clients() {
    let found = caught(Canary::ExpiryUnwatched, Eyes::Clients, 0..12);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("linearizability"));
}

#[test]
fn a_write_refused_for_want_of_room_though_it_is_under_way_is_caught_by_clients() {
    let found = caught(Canary::RefusedUnderWay, Eyes::Clients, 76..86);
    assert_eq!(found.map(|(_, invariant)| invariant), Some("linearizability"));
}

#[test]
fn who_is_far_behind_catches_up_from_a_disk_that_rots_and_does_not_lead_meanwhile() {
    for seed in 0..6 {
        for leader_dies in [false, true] {
            if let Err(failure) = run_far_behind(Options::new(seed), leader_dies) {
                panic!("{}", failure.report);
            }
        }
    }
}

/// The invariant broken by the first of `seeds` whose run with a replica far behind catches `canary`.
fn caught_far_behind(canary: Canary, leader_dies: bool, mut seeds: Range<u64>) -> Option<&'static str> {
    seeds.find_map(|seed| {
        let options = Options { canary: Some(canary), ..Options::new(seed) };
        Some(run_far_behind(options, leader_dies).err()?.violation.invariant)
    })
}

#[test]
fn an_entry_read_back_without_a_check_is_caught() {
    assert!(caught_far_behind(Canary::UncheckedReadBack, false, 0..6).is_some());
}

#[test]
fn a_replica_that_leads_while_it_is_far_behind_is_caught() {
    assert_eq!(caught_far_behind(Canary::FarBehindLeads, true, 0..6), Some("far-behind"));
}

/// Even where clocks run further apart than leases allow for, quorum reads and writes stay correct. Only
/// there can a client tell that a quorum read was served by a lease.
#[test]
fn a_quorum_read_served_by_a_lease_is_caught() {
    let with = |seed, canary| run_loose(Options { canary, eyes: Eyes::Clients, ..Options::new(seed) });
    for seed in 0..4 {
        if let Err(failure) = with(seed, None) {
            panic!("{}", failure.report);
        }
    }
    let caught = (90..190)
        .find_map(|seed| Some(with(seed, Some(Canary::QuorumReadByLease)).err()?.violation.invariant));
    assert_eq!(caught, Some("linearizability"));
}
