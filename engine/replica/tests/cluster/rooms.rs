//! P-18 with clients: how a full disk affects reads and writes.

use super::lab::*;
use synod_shard::Input;
use synod_types::{Consistency, ErrorKind, LogRoom, NodeId, PeerMessage, Reply, Space};

/// Every core starts with a leader that knows the state of the others.
fn lab() -> Lab {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    assert!(matches!(lab.ask(1, set("k", "v")), Reply::Done { .. }));
    lab
}

fn no_space() -> Answer {
    Reply::Error(ErrorKind::NoSpace)
}

/// P-18b, P-18d: all disks are full. As long as that lasts, every node serves reads and refuses writes.
#[test]
fn with_all_disks_full_reads_go_on_and_writes_are_refused() {
    let mut lab = lab();
    for id in lab.ids() {
        lab.room(id, Space::Spent, true);
        lab.held_disks.insert(id);
    }
    lab.run_ms(100);
    for round in 0..20 {
        for id in lab.ids() {
            assert!(matches!(lab.ask(id, get("k")), Reply::Value { .. }), "round {round} at n{id}");
            let quorum = lab.request_as(id, G1, Consistency::Quorum, get("k"));
            let write = lab.request(id, set("k", "w"));
            lab.run_ms(200);
            assert!(matches!(lab.reply(quorum), Some(Reply::Value { .. })));
            assert_eq!(lab.reply(write), Some(&no_space()));
        }
    }
    assert!(lab.serves(1, G1), "no other node has led");
    assert!(!lab.shard(1).log_stalled(lab.now().mono));
    // There is room again, without a restart or a new leader.
    lab.held_disks.clear();
    for id in lab.ids() {
        lab.room(id, Space::Free, false);
    }
    lab.run_ms(100);
    assert!(matches!(lab.ask(2, set("k", "w")), Reply::Done { .. }));
    assert!(lab.serves(1, G1));
}

/// P-18c: with the reserve a leader can be elected, and it serves reads.
#[test]
fn a_leader_that_dies_among_full_disks_is_followed_by_another() {
    let mut lab = lab();
    for id in lab.ids() {
        lab.room(id, Space::Reserve, false);
    }
    lab.run_ms(100);
    lab.crash(1);
    let next = lab.until_leader();
    assert!(next != 1);
    assert!(matches!(lab.ask(5 - next, get("k")), Reply::Value { .. }));
    let write = lab.request(next, set("k", "w"));
    lab.run_ms(100);
    assert_eq!(lab.reply(write), Some(&no_space()));
}

/// P-18d: only the leader's disk is full: another node takes over, and no client gets an error.
#[test]
fn a_leader_whose_disk_alone_is_full_hands_over() {
    for space in [Space::Low, Space::Reserve, Space::Spent] {
        let mut lab = lab();
        if space == Space::Spent {
            lab.held_disks.insert(1);
        }
        lab.room(1, space, space == Space::Spent);
        let mut asked = Vec::new();
        for round in 0..10 {
            for id in lab.ids() {
                asked.push(lab.request(id, set(&format!("k{round}"), "v")));
            }
            lab.run_ms(10);
        }
        lab.run_ms(200);
        let leader = lab.leader().expect("somebody leads");
        assert!(leader != 1, "{space:?}");
        for request in asked {
            assert!(matches!(lab.reply(request), Some(Reply::Done { .. })), "{:?}", lab.reply(request));
        }
        // Leadership stays there, and the full node serves clients like any other.
        lab.run_ms(2_000);
        assert_eq!(lab.leader(), Some(leader));
        assert!(matches!(lab.ask(1, get("k3")), Reply::Value { .. }));
        assert!(matches!(lab.ask(1, set("k3", "w")), Reply::Done { .. }));
        lab.held_disks.clear();
        lab.room(1, Space::Free, false);
        lab.run_ms(200);
        assert_eq!(lab.shard(1).digest(G1), lab.shard(leader).digest(G1), "it has caught up");
    }
}

/// P-18d: the others have room, but none of them takes over: a write does not wait without end.
#[test]
fn a_write_that_waits_for_a_target_in_vain_is_refused_in_the_end() {
    let mut lab = lab();
    lab.loses_timeout_now = true;
    lab.room(1, Space::Low, false);
    lab.run_ms(1_000);
    assert!(lab.serves(1, G1), "it leads again");
    assert!(matches!(lab.ask(1, get("k")), Reply::Value { .. }));
    let write = lab.request(1, set("k", "w"));
    lab.run_ms(1_000);
    assert_eq!(lab.reply(write), None);
    lab.run_ms(3_100);
    assert_eq!(lab.reply(write), Some(&no_space()));
    lab.loses_timeout_now = false;
    lab.run_ms(12_000);
    assert!(lab.leader() != Some(1), "it tries again");
}

/// P-18d: a follower with a full disk costs clients nothing.
#[test]
fn a_full_follower_is_left_out() {
    let mut lab = lab();
    lab.room(3, Space::Reserve, false);
    lab.run_ms(100);
    for round in 0..50 {
        assert!(matches!(lab.ask(1, set(&format!("k{round}"), "v")), Reply::Done { .. }));
    }
    assert!(lab.serves(1, G1));
    assert!(matches!(lab.ask(3, get("k49")), Reply::Value { .. }), "reads through it go to the leader");
}

/// P-18d: two of three are full, so nothing can be chosen though the leader's own disk has room.
#[test]
fn a_leader_without_a_quorum_that_has_room_refuses() {
    let mut lab = lab();
    for id in [2, 3] {
        lab.room(id, Space::Reserve, false);
    }
    // The leader was not told yet: it proposes, no peer answers, and in the end the outcome is unknown.
    let first = lab.request(1, set("k", "first"));
    lab.turn_end(1);
    lab.run_ms(100);
    let second = lab.request(1, set("k", "second"));
    lab.turn_end(1);
    lab.run_ms(50);
    assert_eq!((lab.reply(first), lab.reply(second)), (None, Some(&no_space())));
    assert!(matches!(lab.ask(2, get("k")), Reply::Value { .. }));
    lab.run_ms(4_000);
    assert_eq!(lab.reply(first), Some(&Reply::Error(ErrorKind::Unknown)));
    // It is decided when there is room.
    lab.room(3, Space::Free, false);
    lab.run_ms(300);
    let Reply::Value { value, .. } = lab.ask(1, get("k")) else { panic!("a value") };
    assert_eq!(value, b"first");
    assert!(matches!(lab.ask(1, set("k", "third")), Reply::Done { .. }));
}

/// P-09b: a disk that has stalled silences its leader, full or not. A disk that is only full does not, and
/// its earlier records count from the moment when they could be written.
#[test]
fn a_log_that_waits_for_a_segment_alone_has_not_stalled() {
    let mut lab = lab();
    lab.held_disks.insert(1);
    lab.request(1, set("k", "w"));
    lab.turn_end(1);
    lab.pass_ms(400);
    assert!(lab.shard(1).log_stalled(lab.now().mono));
    lab.room(1, Space::Spent, true);
    assert!(!lab.shard(1).log_stalled(lab.now().mono));
    lab.room(1, Space::Free, false);
    assert!(!lab.shard(1).log_stalled(lab.now().mono), "it was just given a segment");
    lab.pass_ms(400);
    assert!(lab.shard(1).log_stalled(lab.now().mono));
}

/// P-18: a step that fills the remaining room notices it and proposes no more.
#[test]
fn what_one_turn_proposes_stops_where_the_room_ends() {
    let mut lab = Lab::led_by_n1(Setup { groups: 2, pipeline_slots: 100, ..Setup::default() });
    lab.run_ms(100);
    let room = LogRoom { space: Space::Free, free_bytes: 500 << 10, is_starved: false };
    lab.step(1, Input::Room { room });
    let before = lab.shard(1).undurable();
    let value = "x".repeat(150 << 10);
    for round in 0..6 {
        lab.request(1, set(&format!("k{round}"), &value));
    }
    lab.turn_end(1);
    assert_eq!(lab.shard(1).undurable() - before, 4, "one entry each, until nothing was left");
}

/// P-18e: one disk stalls for ten minutes while other nodes stand for election again and again.
#[test]
fn what_a_standing_disk_gathers_is_bounded() {
    let mut lab = Lab::new(Setup { groups: 2, ..Setup::default() });
    lab.held_disks.insert(1);
    lab.isolate(1);
    for round in 1..20_000_u64 {
        lab.pass_ms(30);
        lab.tick(1);
        lab.turn_end(1);
        for group in [G1, G2] {
            let ballot = synod_types::Ballot::new(round, NodeId::new(2 + (round % 2) as u16));
            let (after, from) = (synod_types::Ballot::ZERO, synod_types::Slot::new(1));
            let message = synod_types::GroupMessage::Prepare { ballot, after, from };
            let from = ballot.node();
            lab.step(1, Input::Peer { from, message: PeerMessage::Group { group, message } });
            let (chosen, sent_at, time) = (synod_types::Slot::ZERO, lab.now().mono, lab.now().wall);
            let heartbeat = synod_types::Heartbeat { group, ballot, chosen, sent_at, time };
            lab.step(1, Input::Peer { from, message: PeerMessage::Heartbeats(Vec::from([heartbeat])) });
        }
    }
    assert!(lab.shard(1).undurable() <= 2, "{} records", lab.shard(1).undurable());
}
