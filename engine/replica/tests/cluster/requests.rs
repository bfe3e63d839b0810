//! P-12: which replica executes a request, what the request waits for, and that its answer is true.

use super::lab::*;
use synod_shard::Input;
use synod_types::{
    Command, Consistency, ErrorKind, GroupId, NodeId, Op, PeerMessage, Reply, RequestId, Slot,
};

/// P-12f: a forwarder that restarts must not take the answer to a request of its former run for the answer to
/// a new one: it would acknowledge a write that was never executed.
#[test]
fn an_answer_to_a_forward_from_before_a_restart_is_dropped() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    lab.request(2, set("old", "1"));
    let forwarded = lab.take(|packet| matches!(packet.message, PeerMessage::Forward { .. }));
    assert_eq!(forwarded.len(), 1);
    let PeerMessage::Forward { id, .. } = forwarded[0].message else { unreachable!() };

    // n1 has the command and n2 dies; n1 answers when n2 is back and has just forwarded something else.
    lab.crash(2);
    lab.start(2);
    lab.run_ms(100);
    let new = lab.request(2, set("new", "1"));
    let reply = synod_types::Reply::Done { version: Default::default() };
    lab.step(2, Input::Peer { from: NodeId::new(1), message: PeerMessage::ForwardReply { id, reply } });
    assert_eq!(lab.reply(new), None, "the answer to another request");
}

/// A malformed command that should have been rejected on receipt is answered. It reaches neither the log nor
/// a peer, which would refuse it with everything that comes after it.
#[test]
fn what_is_no_command_is_refused_wherever_it_is_asked() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let long = "x".repeat(synod_types::limits::VALUE_BYTES_MAX + 1);
    for id in [1, 2] {
        for command in [set("k", &long), set("", "v"), get("")] {
            let request = lab.request(id, command);
            assert_eq!(lab.reply(request), Some(&Reply::Error(ErrorKind::Malformed)));
        }
    }
    assert_eq!(lab.forwards(), [""; 0]);
}

/// P-12c: one hop; the forwarder looks for the leader again.
#[test]
fn a_forwarded_request_is_not_forwarded_again() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let consistency = synod_types::Consistency::Linearizable;
    let forward = PeerMessage::Forward { id: 9, group: G1, consistency, command: set("k", "1") };
    lab.step(2, Input::Peer { from: NodeId::new(3), message: forward });
    assert_eq!(lab.forwards(), [""; 0]);
    let answers = lab.take(|packet| matches!(packet.message, PeerMessage::ForwardReply { .. }));
    let refusal = Reply::Error(ErrorKind::NoLeader);
    assert_eq!(answers[0].message, PeerMessage::ForwardReply { id: 9, reply: refusal });
}

/// P-12g: a forward that arrives twice is executed once, even with other forwards in between.
#[test]
fn a_forward_that_arrives_twice_is_executed_once() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let consistency = synod_types::Consistency::Linearizable;
    let forward = |id, key: &str| {
        let command = synod_types::Command::plain(bytes(key), synod_types::Op::IncrementBy(1));
        let message = PeerMessage::Forward { id, group: G1, consistency, command };
        Input::Peer { from: NodeId::new(2), message }
    };
    for id in 1000..1050 {
        lab.step(1, forward(id, &format!("k{id}")));
    }
    lab.step(1, forward(1000, "k1000"));
    lab.step(1, forward(1049, "k1049"));
    // The same number from another peer is another request.
    let Input::Peer { message, .. } = forward(1000, "k1000") else { unreachable!() };
    lab.step(1, Input::Peer { from: NodeId::new(3), message });
    lab.settle();
    let count = |lab: &mut Lab, key: &str| match lab.ask(1, get(key)) {
        Reply::Value { value, .. } => String::from_utf8_lossy(&value).into_owned(),
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!(count(&mut lab, "k1049"), "1");
    assert_eq!(count(&mut lab, "k1000"), "2");
    // A link that breaks in between does not make it another request.
    lab.step(1, forward(1060, "k1060"));
    lab.step(1, Input::LinkLost { node: NodeId::new(2) });
    lab.step(1, forward(1060, "k1060"));
    lab.settle();
    assert_eq!(count(&mut lab, "k1060"), "1");
}

/// P-14b: a group that has too much waiting answers peers `Busy`. They send again later, in order, and their
/// clients do not notice.
#[test]
fn what_a_full_queue_refuses_is_sent_again() {
    let mut lab = Lab::led_by_n1(Setup { pending_bytes_max: 300, ..Setup::default() });
    lab.run_ms(100);
    let requests: Vec<RequestId> = (0..6).map(|_| lab.request(2, increment("n"))).collect();
    while let Some(at) =
        lab.wires.iter().position(|packet| matches!(packet.message, PeerMessage::Forward { .. }))
    {
        lab.deliver_at(at);
    }
    let busy = |packet: &Packet| {
        matches!(packet.message, PeerMessage::ForwardReply { reply: Reply::Error(ErrorKind::Busy), .. })
    };
    assert!(lab.wires.iter().any(busy), "there is no room for six");
    lab.run_ms(200);
    let replies: Vec<_> = requests.iter().map(|&request| lab.reply(request).cloned()).collect();
    assert!(replies.iter().zip(1..).all(|(reply, sum)| *reply == Some(Reply::Int(sum))), "{replies:?}");
    // A client of the leader is not refused: what it sends is bounded where it is read.
    let own: Vec<RequestId> = (0..6).map(|_| lab.request(1, increment("m"))).collect();
    lab.settle();
    assert!(own.iter().all(|&request| matches!(lab.reply(request), Some(Reply::Int(_)))));
}

/// P-14b: while the disk stands still, the bytes that wait for it are bounded. Requests that wait for room
/// there continue by themselves afterwards.
#[test]
fn a_log_that_is_behind_takes_no_new_proposals() {
    let setup = Setup { log_backlog_bytes_max: 1_000, ..Setup::default() };
    let mut lab = Lab::led_by_n1(Setup { pipeline_slots: 64, ..setup });
    lab.held_disks.insert(1);
    let before = lab.shard(1).undurable();
    let mut taken = Vec::new();
    while taken.len() < 100 {
        let request = lab.request(1, set("k", LONG));
        lab.turn_end(1);
        lab.settle();
        if lab.reply(request).is_none() {
            taken.push(request);
        }
    }
    let records = lab.shard(1).undurable() - before;
    assert!(records < 20, "{records} records wait for the disk");
    assert!(taken.len() > records, "nothing waits in the queue");
    lab.held_disks.clear();
    lab.run_ms(20);
    assert!(taken.iter().all(|&request| matches!(lab.reply(request), Some(Reply::Done { .. }))));
}

/// P-12b: a write that was forwarded to a leader whose link breaks is unknown when its time ends; one that
/// never found a leader is refused.
#[test]
fn what_was_handed_over_is_unknown_in_the_end_and_what_was_not_is_refused() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let handed = lab.request(2, set("a", "1"));
    assert_eq!(lab.forwards(), ["n2 -> n1: a"]);
    lab.isolate(2);
    lab.run_ms(1_000);
    assert_eq!(lab.reply(handed), None, "it waits for a leader to ask");
    let kept = lab.request(2, set("b", "1"));
    lab.run_ms(5_000);
    assert_eq!(lab.reply(handed), Some(&Reply::Error(ErrorKind::Unknown)));
    assert_eq!(lab.reply(kept), Some(&Reply::Error(ErrorKind::NoLeader)));
}

/// P-12b: a request that was not sent to the leader, because there is no link, is certainly not executed and
/// finds the next leader.
#[test]
fn what_could_not_be_sent_waits_for_a_leader_that_can_be_reached() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    lab.crash(1);
    lab.cut_between(1, 2);
    let request = lab.request(2, set("a", "1"));
    assert_eq!(lab.forwards(), [""; 0], "the leader it knows cannot be reached");
    lab.settle();
    assert_eq!(lab.reply(request), None);
    lab.until_leader();
    lab.run_ms(100);
    assert!(matches!(lab.reply(request), Some(Reply::Done { .. })), "{:?}", lab.reply(request));
}

/// A GET whose bytes cannot be read back is answered with an error.
#[test]
fn a_failed_read_is_an_error_where_there_is_no_other_copy() {
    let mut lab = Lab::led_by_n1(Setup { nodes: 1, ..Setup::default() });
    lab.ask(1, set("cold", LONG));
    lab.held_reads.insert(1);
    let read = lab.request(1, get("cold"));
    lab.settle();
    lab.read_fails(1);
    assert_eq!(lab.reply(read), Some(&Reply::Error(ErrorKind::ReadFailed)));
}

/// A core that stood still for seconds finds many heartbeats of every group. It answers them all in one turn,
/// in messages that fit a peer's limit.
#[test]
fn whatever_gathers_in_a_turn_is_sent_in_messages_that_peers_take() {
    let groups = 40;
    let mut lab = Lab::led_by_n1(Setup { groups, ..Setup::default() });
    lab.run_ms(100);
    let rounds = 30;
    for _ in 0..rounds {
        lab.pass_ms(60);
        lab.tick(1);
        lab.turn_end(1);
        // n3 answers, so that n1 keeps leading; n2 only listens.
        while let Some(at) = lab.wires.iter().position(|packet| packet.to != 1 || packet.from == 3) {
            lab.deliver_at(at);
        }
        lab.turn_end(3);
    }
    lab.take(|_| true);
    lab.turn_end(2);
    let sizes: Vec<usize> = lab
        .take(|packet| packet.from == 2 && packet.to == 1)
        .into_iter()
        .filter_map(|packet| match packet.message {
            PeerMessage::HeartbeatReplies(replies) => Some(replies.len()),
            _ => None,
        })
        .collect();
    assert!(sizes.iter().all(|&size| size <= synod_types::limits::COALESCED_MAX), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), usize::from(groups) * rounds, "{sizes:?}");
}

/// P-12e: a command of a session that is retried at another leader is executed once and gets the first
/// answer.
#[test]
fn a_retry_after_a_change_of_leader_is_not_executed_again() {
    let mut lab = Lab::led_by_n1(Setup::default());
    let Reply::Session(session) =
        lab.ask(1, synod_types::Command::plain(Bytes::default(), synod_types::Op::OpenSession))
    else {
        panic!("no session")
    };
    let stamp = synod_types::SessionStamp { session, sequence: 1, lowest_open: 1 };
    assert_eq!(lab.ask(1, stamped(increment("count"), stamp)), Reply::Int(1));
    lab.run_ms(100);
    lab.crash(1);
    let next = lab.until_leader();
    assert_eq!(lab.ask(next, stamped(increment("count"), stamp)), Reply::Int(1));
    assert!(matches!(lab.ask(next, get("count")), Reply::Value { value, .. } if value == b"1"));
}

/// P-04: writes that arrive while the pipeline is full become one batch, and no clock has to tick for it.
#[test]
fn what_arrives_while_the_pipeline_is_full_is_one_batch() {
    let mut lab = Lab::led_by_n1(Setup { pipeline_slots: 1, ..Setup::default() });
    let requests: Vec<RequestId> = ["a", "b", "c"]
        .into_iter()
        .map(|key| {
            let request = lab.request(1, set(key, "1"));
            lab.turn_end(1);
            request
        })
        .collect();
    lab.settle();
    let slots: Vec<Slot> = requests
        .iter()
        .map(|&request| match lab.reply(request) {
            Some(Reply::Done { version }) => version.slot,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(slots[1], slots[0].next());
    assert_eq!(slots[2], slots[1]);
}

/// P-09a.
#[test]
fn heartbeats_of_all_groups_travel_together() {
    let mut lab = Lab::led_by_n1(Setup { groups: 2, ..Setup::default() });
    lab.pass_ms(50);
    lab.tick(1);
    lab.turn_end(1);
    let sent = lab.take(|packet| packet.to == 2);
    let groups: Vec<_> = sent
        .iter()
        .map(|packet| match &packet.message {
            PeerMessage::Heartbeats(heartbeats) => {
                heartbeats.iter().map(|heartbeat| heartbeat.group).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(groups, [[G1, G2]]);
}

/// Scans that waited for one confirmation are not all run in the turn that brings it: each page takes up to a
/// millisecond.
#[test]
fn pages_that_waited_together_are_read_over_several_turns() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let scan = || Command::plain(Bytes::default(), Op::Scan { position: 0, count: 10 });
    let asked: Vec<RequestId> = (0..10).map(|_| lab.request_as(1, G1, Consistency::Quorum, scan())).collect();
    let answered = |lab: &Lab| asked.iter().filter(|request| lab.reply(**request).is_some()).count();
    lab.turn_end(1);
    let deliver_all = |lab: &mut Lab| {
        while !lab.wires.is_empty() {
            lab.deliver_at(0);
        }
    };
    deliver_all(&mut lab);
    lab.turn_end(2);
    lab.turn_end(3);
    deliver_all(&mut lab);
    assert_eq!(answered(&lab), 2);
    lab.tick(1);
    assert_eq!(answered(&lab), 4);
    lab.run_ms(100);
    assert_eq!(answered(&lab), 10);
}

/// A busy disk is shared: the groups of a core propose in turn, however many writes wait in the first.
#[test]
fn where_the_log_is_behind_no_group_is_always_first() {
    let setup = Setup { groups: 3, log_backlog_bytes_max: 1_000, pipeline_slots: 1_000, ..Setup::default() };
    let mut lab = Lab::led_by_n1(setup);
    lab.run_ms(100);
    lab.held_disks.insert(1);
    let value = "v".repeat(150_000); // two of them are more than an entry holds
    for number in 0..10 {
        for group in 1..=3 {
            let write = set(&format!("key {number}"), &value);
            lab.request_as(1, GroupId::new(group), Consistency::Linearizable, write);
        }
    }
    let proposed = |lab: &Lab, group| {
        let status = lab.shard(1).status().find(|status| status.group == GroupId::new(group));
        status.expect("n1 holds it").chosen.get()
    };
    let before: Vec<u64> = (1..=3).map(|group| proposed(&lab, group)).collect();
    for _ in 0..15 {
        lab.settle();
        lab.disk_some(1, 1);
    }
    let after: Vec<u64> = (1..=3).map(|group| proposed(&lab, group)).collect();
    let gained: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let (least, most) = (gained.iter().min(), gained.iter().max());
    assert!(least > Some(&0) && most.zip(least).is_some_and(|(most, least)| most - least <= 2), "{gained:?}");
}
