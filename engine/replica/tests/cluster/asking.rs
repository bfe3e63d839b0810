//! P-07g: reads that a follower answers from its own store, up to a point that it got from the leader.

use super::lab::*;
use synod_types::{Consistency, ErrorKind, Expiry, GroupMessage, Op, PeerMessage, Reply, RequestId};

fn value(lab: &Lab, request: RequestId) -> Option<&[u8]> {
    match lab.reply(request)? {
        Reply::Value { value, .. } => Some(value),
        other => panic!("{request} was answered with {other:?}"),
    }
}

fn is_question(packet: &Packet) -> bool {
    matches!(packet.message, PeerMessage::ReadIndex { .. })
}
fn is_word(packet: &Packet) -> bool {
    matches!(packet.message, PeerMessage::ReadIndexReply { .. })
}

/// Delivers packets that were taken from the wires, and nothing else.
fn deliver(lab: &mut Lab, packets: Vec<Packet>) {
    for packet in packets {
        lab.wires.insert(0, packet);
        lab.deliver_at(0);
    }
}

/// n1 leads under a lease.
fn led_with(cache_bytes: usize) -> Lab {
    let mut lab = Lab::led_by_n1(Setup { cache_bytes, ..Setup::default() });
    lab.run_ms(100);
    lab
}
fn led() -> Lab {
    led_with(0)
}

/// The follower has the write but was not told that it is chosen: the leader's answer says that too. All
/// reads of a turn share one question.
#[test]
fn a_follower_answers_from_its_own_store() {
    let mut lab = led();
    lab.ask(1, set("k", "short"));
    let reads = [lab.request(2, get("k")), lab.request(2, get("k"))];
    let exists = lab.request(2, synod_types::Command::plain(bytes("k"), Op::Exists));
    lab.turn_end(2);
    assert_eq!(lab.forwards(), [""; 0]);
    assert_eq!(lab.wires.iter().filter(|packet| is_question(packet)).count(), 1);
    lab.settle();
    assert!(reads.iter().all(|&read| value(&lab, read) == Some(b"short")));
    assert_eq!(lab.reply(exists), Some(&Reply::Int(1)));
    assert_eq!(lab.shard(2).core_stats().follower_reads, 3);
}

/// A long value that is not in the follower's cache comes from the leader's cache. It is kept only if there
/// is room to spare: no other copy is evicted for it.
#[test]
fn a_value_that_was_fetched_from_the_leader_is_kept_if_there_is_room() {
    for (cache_bytes, kept) in [(1 << 20, true), (0, false)] {
        let mut lab = led_with(cache_bytes);
        lab.ask(1, set("k", LONG));
        lab.run_ms(100);
        for is_first in [true, false] {
            let read = lab.request(2, get("k"));
            lab.turn_end(2);
            let forwarded = !lab.forwards().is_empty();
            assert_eq!(forwarded, is_first || !kept);
            assert_eq!(lab.wires.iter().any(is_question), !forwarded);
            lab.settle();
            assert_eq!(value(&lab, read), Some(LONG.as_bytes()));
        }
        // Once the key is overwritten, the copy is useless.
        lab.ask(1, set("k", &[LONG, "!"].concat()));
        assert_eq!(
            lab.ask(2, get("k")).map(|value| value.len()),
            lab.ask(1, get("k")).map(|value| value.len())
        );
    }
}

/// The leader's answer covers writes that were acknowledged before the question. A read that came after the
/// question may have to see newer ones, so it gets a question of its own.
#[test]
fn a_read_does_not_use_the_answer_to_an_earlier_question() {
    let mut lab = led();
    lab.ask(1, set("k", "old"));
    let early = lab.request(2, get("k"));
    lab.turn_end(2);
    while !lab.wires.iter().any(is_word) {
        lab.deliver_at(0);
    }
    let word = lab.take(is_word);
    // The write is acknowledged without n2, which has only the older answer.
    let accepts = |packet: &Packet| {
        packet.to == 2
            && matches!(packet.message, PeerMessage::Group { message: GroupMessage::Accept { .. }, .. })
    };
    let write = lab.request(1, set("k", "new"));
    lab.turn_end(1);
    let held = lab.take(accepts);
    assert_eq!(held.len(), 1);
    lab.settle();
    assert!(matches!(lab.reply(write), Some(Reply::Done { .. })));
    let late = lab.request(2, get("k"));
    deliver(&mut lab, word);
    assert_eq!(value(&lab, early), Some(&b"old"[..]), "concurrent with the write");
    assert_eq!(value(&lab, late), None, "the write was acknowledged before this read came");
    lab.turn_end(2);
    deliver(&mut lab, held);
    lab.settle();
    assert_eq!(value(&lab, late), Some(&b"new"[..]));
}

fn is_bulk_for_n2(packet: &Packet) -> bool {
    use GroupMessage::{Accept, Learn};
    packet.to == 2
        && matches!(packet.message, PeerMessage::Group { message: Accept { .. } | Learn { .. }, .. })
}

/// The follower has not applied the leader's point: it answers once it has.
#[test]
fn a_read_waits_until_its_point_is_applied() {
    let mut lab = led();
    lab.ask(1, set("k", "old"));
    lab.request(1, set("k", "new"));
    lab.turn_end(1);
    let mut held = lab.take(is_bulk_for_n2);
    lab.settle();
    let read = lab.request(2, get("k"));
    lab.turn_end(2);
    while !lab.wires.is_empty() {
        held.extend(lab.take(is_bulk_for_n2));
        if !lab.wires.is_empty() {
            lab.deliver_at(0);
        }
    }
    assert_eq!(value(&lab, read), None, "n2 knows of a newer value, and has only the old one");
    deliver(&mut lab, held);
    lab.settle();
    assert_eq!(value(&lab, read), Some(&b"new"[..]));
}

/// A read does not wait at a replica that is still catching up.
#[test]
fn a_follower_that_is_far_behind_hands_its_reads_on() {
    let mut lab = led();
    lab.ask(1, set("k", "1"));
    lab.run_ms(100);
    for _ in 0..70 {
        lab.request(1, set("other", "1"));
        while {
            lab.turn_end(1);
            lab.disk(1);
            lab.disk(3);
            lab.take(is_bulk_for_n2);
            !lab.wires.is_empty()
        } {
            lab.deliver_at(0);
        }
    }
    let read = lab.request(2, get("k"));
    lab.turn_end(2);
    let question = lab.take(is_question);
    deliver(&mut lab, question);
    let word = lab.take(is_word);
    deliver(&mut lab, word);
    assert_eq!(lab.forwards(), ["n2 -> n1: k"]);
    lab.run_ms(100);
    assert_eq!(value(&lab, read), Some(&b"1"[..]));
}

/// A leader that no quorum hears may have been overtaken. It vouches for nothing, and the read is routed like
/// any request.
#[test]
fn a_leader_without_a_lease_gives_no_word() {
    let mut lab = led();
    lab.ask(1, set("k", "1"));
    for (a, b) in [(1, 3), (2, 1)] {
        lab.cut.insert((a, b)); // n2's answers to heartbeats are lost, and n3 hears nothing
    }
    lab.run_ms(400);
    assert!(lab.leads(1, G1) && !lab.shard(1).holds_lease(G1, lab.now().mono));
    lab.cut.remove(&(2, 1));
    let read = lab.request(2, get("k"));
    lab.turn_end(2);
    let question = lab.take(is_question);
    deliver(&mut lab, question);
    let PeerMessage::ReadIndexReply { points, .. } = &lab.wires.iter().find(|p| is_word(p)).unwrap().message
    else {
        unreachable!()
    };
    assert!(points.is_empty(), "{points:?}");
    let word = lab.take(is_word);
    deliver(&mut lab, word);
    assert_eq!(lab.forwards(), ["n2 -> n1: k"]);
    lab.heal();
    lab.run_ms(100);
    assert_eq!(value(&lab, read), Some(&b"1"[..]));
}

/// P-07g: a leader vouches for nothing before it serves: it has a lease already, but lacks values that were
/// chosen before it led.
#[test]
fn a_leader_that_has_not_caught_up_gives_no_word() {
    let mut lab = led();
    lab.ask(1, set("k", "old"));
    lab.run_ms(100);
    lab.cut_between(1, 2);
    lab.cut_between(2, 3);
    assert!(matches!(lab.ask(1, set("k", "new")), Reply::Done { .. }));
    lab.run_ms(100);
    lab.crash(1);
    lab.heal();
    // n2 is elected by n3 and pulls from it, in vain.
    let is_pulled = |packet: &Packet| {
        packet.to == 2
            && matches!(packet.message, PeerMessage::Group { message: GroupMessage::Learn { .. }, .. })
    };
    for _ in 0..400 {
        lab.pass_ms(5);
        lab.tick(2);
        for _ in 0..20 {
            for id in [2, 3] {
                lab.turn_end(id);
                lab.disk(id);
            }
            lab.take(is_pulled);
            while !lab.wires.is_empty() {
                lab.deliver_at(0);
                lab.take(is_pulled);
            }
        }
        if lab.shard(2).holds_lease(G1, lab.now().mono) {
            break;
        }
    }
    assert!(lab.shard(2).holds_lease(G1, lab.now().mono) && !lab.leads(2, G1));
    let read = lab.request(3, get("k"));
    lab.turn_end(3);
    let question = lab.take(is_question);
    assert_eq!(question.len(), 1);
    deliver(&mut lab, question);
    let word = lab.take(is_word);
    let PeerMessage::ReadIndexReply { points, .. } = &word[0].message else { unreachable!("just looked") };
    assert!(points.is_empty(), "{points:?}");
    deliver(&mut lab, word);
    lab.run_ms(1_000);
    assert_eq!(value(&lab, read), Some(&b"new"[..]));
}

/// P-07f: a quorum read trusts no clock, so the lease is not enough for it.
#[test]
fn a_quorum_read_waits_for_a_quorum_under_a_lease_too() {
    let mut lab = led();
    lab.ask(1, set("k", "1"));
    assert!(lab.shard(1).holds_lease(G1, lab.now().mono));
    let sure = lab.request_as(1, G1, Consistency::Quorum, get("k"));
    let by_lease = lab.request(1, get("k"));
    assert_eq!((value(&lab, sure), value(&lab, by_lease)), (None, None), "in the order of their coming");
    lab.turn_end(1);
    assert_eq!(value(&lab, sure), None);
    lab.settle();
    assert_eq!((value(&lab, sure), value(&lab, by_lease)), (Some(&b"1"[..]), Some(&b"1"[..])));
}

/// A read that gets no point in time is handed to the leader; a late point answers no read twice (the lab
/// panics at that).
#[test]
fn a_lost_question_is_not_waited_for() {
    let mut lab = led();
    lab.ask(1, set("k", "1"));
    let read = lab.request(2, get("k"));
    lab.turn_end(2);
    let question = lab.take(is_question);
    assert_eq!(question.len(), 1);
    lab.pass_ms(60);
    lab.tick(2);
    assert_eq!(lab.forwards(), ["n2 -> n1: k"]);
    lab.settle();
    assert_eq!(value(&lab, read), Some(&b"1"[..]));
    deliver(&mut lab, question);
    lab.settle();
}

/// The link is broken or missing: nothing was executed, so the read finds the next leader.
#[test]
fn a_read_outlives_the_leader_it_asked() {
    let mut lab = led();
    lab.ask(1, set("k", "1"));
    lab.run_ms(100);
    let asked = lab.request(2, get("k"));
    lab.turn_end(2);
    lab.crash(1);
    lab.cut_between(1, 2);
    let unsent = lab.request(2, get("k"));
    lab.settle();
    assert_eq!((lab.reply(asked), lab.reply(unsent)), (None, None));
    lab.until_leader();
    lab.run_ms(100);
    assert_eq!((value(&lab, asked), value(&lab, unsent)), (Some(&b"1"[..]), Some(&b"1"[..])));
}

/// A leader knows more as chosen than it has applied while it waits for a cold value. A follower may have
/// answered from the later state already, so the leader's own reads wait.
#[test]
fn a_leader_that_is_parked_does_not_answer_with_less_than_a_follower_did() {
    let mut lab = led();
    lab.ask(1, set("cold", LONG));
    lab.ask(1, set("k", "old"));
    lab.held_reads.insert(1);
    let parked = lab.request(1, set_op("cold", "short", Expiry::None, true));
    lab.settle();
    let behind = lab.request(1, set("k", "new"));
    lab.settle();
    assert_eq!((lab.reply(parked), lab.reply(behind)), (None, None), "both wait for the old value");
    let far = lab.request(2, get("k"));
    lab.settle();
    assert_eq!(value(&lab, far), Some(&b"new"[..]));
    let near = lab.request(1, get("k"));
    let sure = lab.request_as(1, G1, Consistency::Quorum, get("k"));
    lab.settle();
    assert_eq!((value(&lab, near), value(&lab, sure)), (None, None), "a step back in time");
    lab.held_reads.clear();
    lab.read_done(1);
    lab.settle();
    assert_eq!((value(&lab, near), value(&lab, sure)), (Some(&b"new"[..]), Some(&b"new"[..])));
}

/// Only the leader can confirm a quorum read.
#[test]
fn a_quorum_read_is_forwarded() {
    let mut lab = led();
    lab.ask(1, set("k", "1"));
    let read = lab.request_as(2, G1, Consistency::Quorum, get("k"));
    assert_eq!(lab.forwards(), ["n2 -> n1: k"]);
    lab.run_ms(100);
    assert_eq!(value(&lab, read), Some(&b"1"[..]));
    assert_ne!(lab.reply(read), Some(&Reply::Error(ErrorKind::NoLeader)));
}
