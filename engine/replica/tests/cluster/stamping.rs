//! Sessions of nodes (P-21): commands that clients send outside of sessions go under a session of their node,
//! and are executed once.

use super::lab::*;
use synod_shard::Input;
use synod_types::{
    Boot, Command, Consistency, CoreId, ErrorKind, GroupId, NodeId, Op, PeerMessage, Reply, RequestId,
    SessionId, SessionStamp,
};

/// Takes forwards off the wires and returns their commands.
fn forwarded(lab: &mut Lab) -> Vec<Command<Bytes>> {
    let packets = lab.take(|packet| matches!(packet.message, PeerMessage::Forward { .. }));
    let command = |packet: Packet| match packet.message {
        PeerMessage::Forward { command, .. } => Some(command),
        _ => None,
    };
    packets.into_iter().filter_map(command).collect()
}

/// A forward of `from` reaches `to` under an unused number.
fn again(lab: &mut Lab, from: u16, to: u16, id: u64, command: &Command<Bytes>) {
    let (group, consistency, command) = (G1, Consistency::default(), command.clone());
    let message = PeerMessage::Forward { id: id | 1 << 62, group, consistency, command };
    lab.step(to, Input::Peer { from: NodeId::new(from), message });
}

/// Takes node 1's answers to forwards off the wires and returns them.
fn answers(lab: &mut Lab, to: u16) -> Vec<Reply<Bytes>> {
    let packets =
        lab.take(|packet| packet.to == to && matches!(packet.message, PeerMessage::ForwardReply { .. }));
    let reply = |packet: Packet| match packet.message {
        PeerMessage::ForwardReply { reply, .. } => Some(reply),
        _ => None,
    };
    packets.into_iter().filter_map(reply).collect()
}

/// Lets the cluster settle, except for the answers to forwards of `to`, which are taken and returned.
fn settled_answers(lab: &mut Lab, to: u16) -> Vec<Reply<Bytes>> {
    let mut all = Vec::new();
    for _ in 0..20 {
        lab.ids().into_iter().for_each(|id| {
            lab.turn_end(id);
            lab.disk(id);
        });
        all.extend(answers(lab, to));
        while !lab.wires.is_empty() {
            lab.deliver_at(0);
            all.extend(answers(lab, to));
        }
    }
    all
}

fn count(lab: &mut Lab, key: &str) -> Answer {
    lab.ask(1, get(key))
}

fn is_value(reply: &Answer, wanted: &[u8]) -> bool {
    matches!(reply, Reply::Value { value, .. } if value == wanted)
}

#[test]
fn a_write_without_a_session_goes_under_its_nodes() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    lab.request(2, increment("a"));
    lab.request(2, increment("b"));
    let stamps: Vec<SessionStamp> = forwarded(&mut lab).iter().map(|command| command.stamp).collect();
    let session = stamps[0].session;
    assert!(session.is_of_node());
    let stamp = |sequence, lowest_open| SessionStamp { session, sequence, lowest_open };
    assert_eq!(stamps, [stamp(1, 1), stamp(2, 1)]);
    // A command of a client with its own session is not changed, and a read needs no session.
    let own = SessionStamp { session: SessionId::new(5), sequence: 7, lowest_open: 3 };
    lab.request(2, stamped(increment("a"), own));
    lab.request_as(2, G1, Consistency::Quorum, get("a"));
    let stamps: Vec<SessionStamp> = forwarded(&mut lab).iter().map(|command| command.stamp).collect();
    assert_eq!(stamps, [own, SessionStamp::default()]);
}

#[test]
fn what_comes_again_is_answered_again_and_not_executed() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let request = lab.request(2, increment("n"));
    let Some(PeerMessage::Forward { command, .. }) = lab.wires.last().map(|packet| packet.message.clone())
    else {
        panic!("a forward")
    };
    lab.settle();
    assert_eq!(lab.reply(request), Some(&Reply::Int(1)));
    again(&mut lab, 2, 1, 7, &command);
    assert_eq!(settled_answers(&mut lab, 2), [Reply::Int(1)]);
    assert!(is_value(&count(&mut lab, "n"), b"1"));
    // Likewise through another leader. After the node has said that it is answered, it is not executed at
    // all.
    lab.crash(1);
    let next = lab.until_leader();
    let other = if next == 2 { 3 } else { 2 };
    again(&mut lab, other, next, 8, &command);
    assert_eq!(settled_answers(&mut lab, other), [Reply::Int(1)]);
    assert_eq!(lab.ask(2, increment("n")), Reply::Int(2));
    assert_eq!(lab.ask(2, increment("n")), Reply::Int(3));
    again(&mut lab, other, next, 9, &command);
    assert_eq!(settled_answers(&mut lab, other), [Reply::Error(ErrorKind::SequenceClosed)]);
    assert!(is_value(&lab.ask(next, get("n")), b"3"));
}

#[test]
fn no_client_uses_the_session_of_a_node() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    lab.request(2, increment("n"));
    let stamp = forwarded(&mut lab)[0].stamp;
    for id in [1, 2] {
        let stolen = SessionStamp { sequence: 9, lowest_open: 9, ..stamp };
        assert_eq!(lab.ask(id, stamped(increment("n"), stolen)), Reply::Error(ErrorKind::SessionExpired));
    }
    let open = Op::OpenNodeSession {
        node: NodeId::new(2),
        core: CoreId::new(0),
        boot: Boot { counter: 1 << 40, random: 0 },
    };
    assert_eq!(lab.ask(2, Command::plain(Bytes::default(), open)), Reply::Error(ErrorKind::Malformed));
    // Nor may one node open a session for another.
    again(&mut lab, 3, 1, 1, &Command::plain(Bytes::default(), open));
    assert_eq!(settled_answers(&mut lab, 3), [Reply::Error(ErrorKind::Malformed)]);
    assert_eq!(lab.shard(2).superseded(), None);
}

#[test]
fn a_write_waits_for_the_session_and_keeps_its_place() {
    let mut lab = Lab::new(Setup::default());
    let requests: Vec<RequestId> = (0..3).map(|_| lab.request(2, increment("n"))).collect();
    lab.settle();
    assert!(requests.iter().all(|&request| lab.reply(request).is_none()));
    lab.elect(1);
    lab.run_ms(50);
    let replies: Vec<_> = requests.iter().filter_map(|&request| lab.reply(request).cloned()).collect();
    assert_eq!(replies, [Reply::Int(1), Reply::Int(2), Reply::Int(3)]);
}

#[test]
fn patience_with_a_session_that_does_not_come_ends() {
    let mut lab = Lab::new(Setup::default());
    lab.isolate(2);
    let request = lab.request(2, increment("n"));
    lab.run_ms(60_000);
    assert_eq!(lab.reply(request), Some(&Reply::Error(ErrorKind::NoLeader)));
    assert_eq!(lab.unanswered(), 0);
}

#[test]
fn more_than_a_window_waits_and_is_executed_once_each() {
    let mut lab = Lab::led_by_n1(Setup { pending_bytes_max: 64 << 20, ..Setup::default() });
    lab.is_walked = false;
    lab.run_ms(100);
    let requests: Vec<RequestId> = (0..1_100).map(|_| lab.request(2, increment("n"))).collect();
    assert_eq!(lab.forwards().len(), 1_023);
    lab.settle();
    let mut sums: Vec<i64> = Vec::new();
    for &request in &requests {
        match lab.reply(request) {
            Some(Reply::Int(sum)) => sums.push(*sum),
            other => panic!("{other:?}"),
        }
    }
    assert!(sums.iter().copied().eq(1..=1_100), "in order");
}

#[test]
fn a_node_that_was_restarted_has_another_session_and_the_old_one_is_over() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    let request = lab.request(2, increment("n"));
    let old = forwarded(&mut lab);
    assert!(lab.reply(request).is_none(), "on its way");
    lab.crash(2);
    lab.start(2);
    lab.run_ms(500);
    assert_eq!(lab.ask(2, increment("n")), Reply::Int(1));
    again(&mut lab, 2, 1, 5, &old[0]);
    assert_eq!(settled_answers(&mut lab, 2), [Reply::Error(ErrorKind::SessionExpired)]);
    // A late open of its earlier boot changes nothing.
    let boot = Boot { counter: 0, random: 2 };
    let open = Op::OpenNodeSession { node: NodeId::new(2), core: CoreId::new(0), boot };
    again(&mut lab, 2, 1, 6, &Command::plain(Bytes::default(), open));
    assert_eq!(settled_answers(&mut lab, 2), [Reply::Error(ErrorKind::SessionExpired)]);
    assert_eq!(lab.ask(2, increment("n")), Reply::Int(2));
    assert_eq!((lab.shard(2).superseded(), lab.shard(2).sessions_lost()), (None, 0));
}

#[test]
fn an_old_copy_of_a_node_learns_that_it_is_one() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    assert_eq!(lab.ask(2, increment("n")), Reply::Int(1));
    lab.crash(2);
    lab.boots.insert(2, Boot { counter: 1, random: 99 });
    lab.start(2);
    let request = lab.request(2, increment("n"));
    lab.until("it knows", |lab| lab.shard(2).superseded() == Some(G1));
    assert_eq!(lab.reply(request), Some(&Reply::Error(ErrorKind::NoLeader)));
    assert_eq!(lab.ask(2, increment("n")), Reply::Error(ErrorKind::NoLeader));
    assert!(is_value(&count(&mut lab, "n"), b"1"));
}

#[test]
fn a_quiet_node_tells_what_was_answered() {
    let mut lab = Lab::led_by_n1(Setup::default());
    lab.run_ms(100);
    assert_eq!(lab.ask(2, increment("n")), Reply::Int(1));
    let before = lab.shard(1).digest(G1);
    lab.run_ms(900);
    assert_eq!(lab.shard(1).digest(G1), before);
    lab.run_ms(200);
    let after = lab.shard(1).digest(G1);
    assert_eq!(after.map(|(slot, _)| slot), before.map(|(slot, _)| slot.next()), "one close");
    lab.run_ms(5_000);
    assert_eq!(lab.shard(1).digest(G1), after, "and no more");
}

#[test]
fn groups_have_sessions_of_their_own_and_the_systems_has_none() {
    let mut lab = Lab::led_by_n1(Setup { groups: 2, ..Setup::default() });
    lab.run_ms(100);
    let mut sessions = Vec::new();
    for group in [G1, G2] {
        lab.request_as(2, group, Consistency::default(), increment("n"));
        sessions.extend(forwarded(&mut lab).iter().map(|command| command.stamp));
    }
    assert!(sessions.iter().all(|stamp| stamp.session.is_of_node() && stamp.sequence == 1));
    let refused = lab.request_as(2, GroupId::SYSTEM, Consistency::default(), increment("n"));
    assert_eq!(lab.reply(refused), Some(&Reply::Error(ErrorKind::Malformed)));
}
