//! What waits for an answer when a leader goes: it is asked of the next one, executed once, and in order (P-12b,
//! P-21i).

use super::lab::*;
use synod_shard::Input;
use synod_types::{
    Command, Consistency, ErrorKind, GroupMessage, NodeId, Op, PeerMessage, Reply, RequestId, SessionId,
    SessionStamp,
};

fn is_forward(packet: &Packet) -> bool {
    matches!(packet.message, PeerMessage::Forward { .. })
}

fn is_reply(packet: &Packet) -> bool {
    matches!(packet.message, PeerMessage::ForwardReply { .. })
}

/// n2 and n3 get what is on its way to them, and write it; n1 gets nothing.
fn settle_without_n1(lab: &mut Lab) {
    for _ in 0..5 {
        for id in [2, 3] {
            lab.turn_end(id);
            lab.disk(id);
        }
        lab.take(|packet| packet.to == 1);
        while !lab.wires.is_empty() {
            lab.deliver_at(0);
            lab.take(|packet| packet.to == 1);
        }
    }
}

/// The next leader, and the follower that is left.
fn next_leader(lab: &mut Lab) -> (u16, u16) {
    let next = lab.until_leader();
    (next, if next == 2 { 3 } else { 2 })
}

fn counted(lab: &mut Lab, id: u16) -> i64 {
    match lab.ask(id, increment("n")) {
        Reply::Int(sum) => sum - 1,
        other => panic!("{other:?}"),
    }
}

/// The leader dies with a forwarded write: before it has the write, when all have accepted it, and when it has
/// answered. The client gets the result of the one execution.
#[test]
fn a_forwarded_write_outlives_its_leader_wherever_it_is() {
    for far in ["forwarded", "accepted", "answered"] {
        let mut lab = Lab::led_by_n1(Setup::default());
        lab.run_ms(100);
        let request = lab.request(2, increment("n"));
        match far {
            "forwarded" => assert_eq!(lab.take(is_forward).len(), 1),
            "accepted" => {
                lab.deliver_at(0);
                lab.turn_end(1);
                let accepts = lab.take(|packet| {
                    matches!(&packet.message, PeerMessage::Group { message: GroupMessage::Accept { .. }, .. })
                });
                assert_eq!(accepts.len(), 2);
                lab.wires.extend(accepts);
                (0..2).for_each(|_| lab.deliver_at(0));
                lab.ids().into_iter().for_each(|id| lab.disk(id));
                lab.take(|_| true);
            }
            _ => {
                lab.deliver_at(0);
                while !lab.wires.iter().any(is_reply) {
                    lab.ids().into_iter().for_each(|id| {
                        lab.turn_end(id);
                        lab.disk(id);
                    });
                    lab.deliver_at(0);
                }
                lab.take(is_reply);
            }
        }
        lab.crash(1);
        next_leader(&mut lab);
        lab.run_ms(100);
        assert_eq!(lab.reply(request), Some(&Reply::Int(1)), "{far}");
        assert_eq!(counted(&mut lab, 3), 1, "{far}");
    }
}

/// The leader's own clients: what it has proposed when it is cut off may be chosen or not. Their answers come
/// when the cut heals.
#[test]
fn writes_of_a_leader_that_is_overtaken_are_asked_of_the_next() {
    for is_accepted in [false, true] {
        let mut lab = Lab::led_by_n1(Setup::default());
        lab.run_ms(100);
        let requests: Vec<RequestId> = (0..3).map(|_| lab.request(1, increment("n"))).collect();
        lab.turn_end(1);
        let pending = lab.request(1, increment("n"));
        if !is_accepted {
            lab.take(|_| true);
        }
        settle_without_n1(&mut lab);
        lab.isolate(1);
        lab.until("another leader", |lab| lab.leads(2, G1) || lab.leads(3, G1));
        lab.run_ms(500);
        assert!(requests.iter().all(|&request| lab.reply(request).is_none()), "nobody can know");
        lab.heal();
        lab.run_ms(1_000);
        let replies: Vec<_> = requests.iter().map(|&request| lab.reply(request).cloned()).collect();
        assert_eq!(replies, [Some(Reply::Int(1)), Some(Reply::Int(2)), Some(Reply::Int(3))]);
        assert_eq!(lab.reply(pending), Some(&Reply::Int(4)));
        assert_eq!(counted(&mut lab, 2), 4);
    }
}

/// Two writes of one key are in two slots. The first slot is accepted by the dying leader alone, the second by
/// a quorum: the next leader keeps the second and fills the first with nothing. The second must wait for the
/// first all the same.
#[test]
fn a_write_that_lost_its_predecessor_is_executed_after_it() {
    for from in [1, 2] {
        let mut lab = Lab::led_by_n1(Setup { pipeline_slots: 8, ..Setup::default() });
        lab.run_ms(100);
        let forward = |lab: &mut Lab| {
            while let Some(at) = lab.wires.iter().position(is_forward) {
                lab.deliver_at(at);
            }
            lab.turn_end(1);
        };
        let first = lab.request(from, set("k", "1"));
        forward(&mut lab);
        lab.take(|_| true);
        let second = lab.request(from, set("k", "2"));
        forward(&mut lab);
        let third = lab.request(from, set("k", "3"));
        forward(&mut lab);
        settle_without_n1(&mut lab);
        if from == 1 {
            lab.isolate(1);
        } else {
            lab.crash(1);
        }
        lab.until("another leader", |lab| lab.leads(2, G1) || lab.leads(3, G1));
        lab.run_ms(200);
        lab.heal();
        lab.run_ms(500);
        let versions: Vec<_> = [first, second, third]
            .iter()
            .map(|&request| match lab.reply(request) {
                Some(Reply::Done { version }) => *version,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(versions.is_sorted(), "{versions:?}");
        assert!(matches!(lab.ask(3, get("k")), Reply::Value { value, .. } if value == b"3"));
    }
}

/// The leader's answer is lost, and nothing else happens. The forwarder has the result from its own replica.
#[test]
fn the_answer_comes_from_ones_own_replica_too() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let request = lab.request(2, increment("n"));
    for _ in 0..40 {
        lab.run_ms(5);
        lab.take(is_reply);
    }
    assert_eq!(lab.reply(request), Some(&Reply::Int(1)));
}

/// The answer is lost, and so is what the forwarder would apply. It asks again, and the write is answered from
/// what is remembered, without another entry.
#[test]
fn a_write_without_an_answer_is_sent_again_and_leaves_no_second_entry() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let request = lab.request(2, increment("n"));
    let to_n2 = |packet: &Packet| packet.to == 2 && !matches!(packet.message, PeerMessage::Heartbeats(_));
    let chosen = |lab: &Lab| lab.shard(1).status().next().expect("its group").chosen;
    let (mut sent, mut executed) = (0, chosen(&lab));
    while lab.reply(request).is_none() && sent < 3 {
        lab.pass_ms(5);
        for id in lab.ids() {
            lab.tick(id);
            lab.turn_end(id);
            lab.disk(id);
        }
        sent += lab.wires.iter().filter(|packet| is_forward(packet)).count();
        if sent < 2 {
            executed = chosen(&lab);
        }
        while !lab.wires.is_empty() {
            lab.take(|packet| to_n2(packet) && (sent < 2 || !is_reply(packet)));
            if !lab.wires.is_empty() {
                lab.deliver_at(0);
            }
        }
    }
    assert_eq!(lab.reply(request), Some(&Reply::Int(1)));
    assert_eq!((sent, chosen(&lab)), (2, executed));
    lab.run_ms(100);
    assert_eq!(counted(&mut lab, 1), 1);
}

/// A client's own session: the command is asked again under the client's stamp, and executed once.
#[test]
fn a_command_of_a_clients_session_is_asked_again_under_its_own_stamp() {
    for from in [1, 2] {
        let mut lab = Lab::led_by_n1(Setup::default());
        lab.run_ms(100);
        let Reply::Session(session) = lab.ask(2, Command::plain(Bytes::default(), Op::OpenSession)) else {
            panic!("no session")
        };
        let stamp = SessionStamp { session, sequence: 1, lowest_open: 1 };
        let request = lab.request(from, stamped(increment("n"), stamp));
        while let Some(at) = lab.wires.iter().position(is_forward) {
            lab.deliver_at(at);
        }
        lab.turn_end(1);
        settle_without_n1(&mut lab);
        lab.take(is_reply);
        lab.isolate(1);
        lab.until("another leader", |lab| lab.leads(2, G1) || lab.leads(3, G1));
        lab.run_ms(100);
        lab.heal();
        lab.run_ms(500);
        assert_eq!(lab.reply(request), Some(&Reply::Int(1)));
        assert_eq!(lab.ask(3, stamped(increment("n"), stamp)), Reply::Int(1));
        // A session that is gone when it is asked again says nothing about the first time.
        let gone = SessionStamp { session: SessionId::new(77), sequence: 1, lowest_open: 1 };
        assert_eq!(lab.ask(3, stamped(increment("n"), gone)), Reply::Error(ErrorKind::SessionExpired));
    }
}

/// Reads that wait for a leader's answer are asked of the next one at once.
#[test]
fn reads_are_asked_of_the_next_leader() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.ask(1, set("k", "v"));
    lab.run_ms(100);
    let read = lab.request_as(2, G1, Consistency::Quorum, get("k"));
    lab.take(is_forward);
    lab.isolate(1); // the link to n1 seems fine to n2 until then
    lab.until("another leader", |lab| lab.leads(2, G1) || lab.leads(3, G1));
    lab.run_ms(100);
    assert!(matches!(lab.reply(read), Some(Reply::Value { .. })), "{:?}", lab.reply(read));
}

/// A leader that stands still without a broken link: its forwarders go to the next one and are answered long
/// before their patience ends; what the old leader says later changes nothing.
#[test]
fn a_silent_leader_keeps_nobody_waiting() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let writes: Vec<RequestId> = (0..3).map(|_| lab.request(2, increment("n"))).collect();
    // n1 is paused: it neither sends nor receives, and no link breaks.
    let mut kept = Vec::new();
    let mut waited = 0;
    while writes.iter().any(|&write| lab.reply(write).is_none()) {
        lab.pass_ms(5);
        waited += 5;
        for id in [2, 3] {
            lab.tick(id);
            lab.turn_end(id);
            lab.disk(id);
        }
        kept.extend(lab.take(|packet| packet.to == 1));
        while !lab.wires.is_empty() {
            lab.deliver_at(0);
            kept.extend(lab.take(|packet| packet.to == 1));
        }
        assert!(waited < 1_500, "{waited} ms");
    }
    lab.wires.extend(kept);
    lab.run_ms(500);
    let replies: Vec<_> = writes.iter().map(|&write| lab.reply(write).cloned()).collect();
    assert_eq!(replies, [Some(Reply::Int(1)), Some(Reply::Int(2)), Some(Reply::Int(3))]);
    assert_eq!(counted(&mut lab, 1), 3);
}

/// A peer's write that arrives before its predecessor is refused without an entry; one that is under way is
/// left alone.
#[test]
fn a_leader_takes_the_writes_of_a_stream_in_order_and_each_once() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    (0..2).for_each(|_| {
        lab.request(2, increment("n"));
    });
    let forwards = lab.take(is_forward);
    let again = |lab: &mut Lab, at: usize, number: u64| {
        let PeerMessage::Forward { group, consistency, command, .. } = forwards[at].message.clone() else {
            unreachable!("they are forwards")
        };
        let message = PeerMessage::Forward { id: number | 1 << 62, group, consistency, command };
        lab.step(1, Input::Peer { from: NodeId::new(2), message });
    };
    again(&mut lab, 1, 1);
    let refused = lab.take(is_reply);
    let no_leader = Reply::Error(ErrorKind::NoLeader);
    assert_eq!(refused[0].message, PeerMessage::ForwardReply { id: 1 | 1 << 62, reply: no_leader });
    for number in 2..5 {
        again(&mut lab, 0, number);
        again(&mut lab, 1, number + 10);
    }
    assert!(lab.take(is_reply).is_empty(), "under way");
    let before = lab.shard(1).status().next().expect("its group").chosen;
    lab.run_ms(50);
    let after = lab.shard(1).status().next().expect("its group").chosen;
    assert_eq!(after.since(before), 1);
    again(&mut lab, 0, 30);
    let answered = lab.take(is_reply);
    assert_eq!(answered[0].message, PeerMessage::ForwardReply { id: 30 | 1 << 62, reply: Reply::Int(1) });
}
