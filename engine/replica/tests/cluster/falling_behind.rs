//! P-14d with clients: a replica that is far behind keeps the group writing, catches up, and ends up equal.
//! P-09c: it gets the values that it lacks in batches.

use super::lab::*;
use synod_shard::{AheadLimits, Input};
use synod_types::{Ballot, GroupMessage, Learned, NodeId, PeerMessage, Reply, Slot};

const MISSED: u64 = 2_000;

fn short_of_memory() -> Setup {
    Setup {
        cache_bytes: 1 << 20,
        pipeline_slots: 64,
        ahead: AheadLimits { near_slots: 16, slots: 1 << 20, bytes: 8 << 10 },
        ..Setup::default()
    }
}

/// Writes `count` values by way of `id`, each in a slot of its own; all are acknowledged.
fn write(lab: &mut Lab, id: u16, name: &str, count: u64) {
    let mut asked = Vec::new();
    for number in 0..count {
        // Few keys, because the store too is checked after every step.
        asked.push(lab.request(id, set(&format!("{name}{}", number % 16), LONG)));
        lab.turn_end(id);
        if number % 32 == 31 {
            lab.settle();
        }
    }
    lab.settle();
    for request in asked {
        assert!(matches!(lab.reply(request), Some(Reply::Done { .. })), "{name}: {:?}", lab.reply(request));
    }
}

fn applied(lab: &Lab, id: u16) -> u64 {
    lab.shard(id).digest(G1).map_or(0, |(slot, _)| slot.get())
}

/// n1 leads. n3 has missed much, and the reads of that from the peers' logs are held back.
fn far_behind() -> Lab {
    let mut lab = Lab::led_by_n1(short_of_memory());
    lab.run_ms(100);
    lab.isolate(3);
    write(&mut lab, 1, "missed", MISSED);
    lab.heal();
    lab.held_reads.extend([1, 2]);
    lab.run_ms(200);
    write(&mut lab, 1, "before", 200);
    assert!(applied(&lab, 3) < 100, "n3 is behind");
    lab
}

fn ends_equal(lab: &mut Lab) {
    lab.held_reads.clear();
    lab.until("all are equal", |lab| {
        let digests: Vec<_> = lab.ids().iter().map(|&id| lab.shard(id).digest(G1)).collect();
        digests[0].is_some_and(|(slot, _)| slot.get() > MISSED)
            && digests.iter().all(|one| *one == digests[0])
    });
}

/// The leader dies at once. The other two continue, though one of them lacks thousands of slots; it restarts
/// in the middle.
#[test]
fn writes_go_on_while_one_of_two_is_far_behind() {
    let mut lab = far_behind();
    lab.crash(1);
    let before = lab.now().mono;
    lab.elect(2);
    write(&mut lab, 2, "during", 100);
    let stood = lab.now().mono.since(before).as_ms();
    assert!(stood < 1_000, "the group stood for {stood} ms");
    assert!(applied(&lab, 3) < 100, "n3 is still behind");
    lab.crash(3);
    lab.start(3);
    lab.run_ms(500);
    write(&mut lab, 2, "after", 100);
    assert!(applied(&lab, 3) < 100, "n3 is still behind");
    lab.start(1);
    ends_equal(&mut lab);
}

/// A read that fails here is repaired from a peer: nothing stops, and nothing is lost.
#[test]
fn what_the_own_log_does_not_give_comes_from_a_peer() {
    let mut lab = far_behind();
    lab.held_reads.clear();
    lab.held_reads.insert(3);
    let (mut done, mut failed) = (0, 0);
    for _ in 0..400 {
        lab.run_ms(5);
        while lab.reads(3) > 0 {
            if done % 3 == 0 {
                lab.read_done(3);
            } else {
                lab.read_fails(3);
                failed += 1;
            }
            done += 1;
        }
    }
    assert!(failed > 50, "n3 could not read its own log {failed} times");
    ends_equal(&mut lab);
}

/// P-09c: one fetch, one answer, in slot order; one value that cannot be read ends it.
#[test]
fn a_fetch_is_answered_by_one_batch_up_to_the_first_value_that_cannot_be_read() {
    let mut lab = Lab::led_by_n1(short_of_memory());
    lab.run_ms(100);
    write(&mut lab, 1, "k", 1_000);
    lab.held_reads.insert(1);
    let fetch = PeerMessage::Group { group: G1, message: GroupMessage::Fetch { from: Slot::new(5) } };
    let answers = |lab: &mut Lab| -> Vec<Vec<u64>> {
        let answers = lab.take(|packet| {
            matches!(&packet.message, PeerMessage::Group { message: GroupMessage::Learn { .. }, .. })
        });
        let slots = |entries: Vec<Learned<Bytes>>| entries.into_iter().map(|one| one.slot.get()).collect();
        answers
            .into_iter()
            .map(|packet| match packet.message {
                PeerMessage::Group { message: GroupMessage::Learn { entries, .. }, .. } => slots(entries),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    for failing in [None, Some(7)] {
        lab.step(1, Input::Peer { from: NodeId::new(3), message: fetch.clone() });
        let reads = lab.reads(1);
        assert_eq!(reads, 128);
        for number in 0..reads {
            assert_eq!(answers(&mut lab), [[0; 0]; 0], "nothing before all are there");
            if failing == Some(number) { lab.read_fails(1) } else { lab.read_done(1) }
        }
        let told = failing.unwrap_or(reads) as u64;
        assert_eq!(answers(&mut lab), [(5..5 + told).collect::<Vec<_>>()]);
    }
}

/// P-09c: a replica that pulls asks for more as soon as it has an answer, so catching up needs no tick.
#[test]
fn catching_up_does_not_wait_for_ticks() {
    let mut lab = far_behind();
    lab.held_reads.clear();
    let before = lab.now().mono;
    lab.until("n3 has caught up", |lab| applied(lab, 3) == applied(lab, 1));
    let took = lab.now().mono.since(before).as_ms();
    assert!(took <= 50, "{took} ms without a disk or a network that takes any");
}

/// A recalled value that came back damaged from the own log is not reported in a promise.
#[test]
fn a_recall_that_is_no_entry_is_not_reported() {
    let mut lab = far_behind();
    let theirs = Ballot::new(1_000, NodeId::new(2));
    lab.cut_between(1, 3);
    lab.held_reads.insert(3);
    lab.run_ms(1_000);
    lab.take(|_| true);
    let message = GroupMessage::Prepare { ballot: theirs, after: Ballot::ZERO, from: Slot::new(1) };
    let prepare = PeerMessage::Group { group: G1, message };
    lab.step(3, Input::Peer { from: NodeId::new(2), message: prepare.clone() });
    let promised = |lab: &Lab| lab.shard(3).status().next().unwrap().promised == theirs;
    for damaged in [true, false] {
        while lab.reads(3) > 0 {
            if damaged {
                let (token, location) = lab.take_read(3);
                let damage = Bytes::new(vec![0xff; location.len as usize]);
                lab.step(3, Input::ReadDone { token, result: Ok(damage) });
            } else {
                lab.read_done(3);
            }
        }
        lab.step(3, Input::Peer { from: NodeId::new(2), message: prepare.clone() });
        assert_eq!(promised(&lab), !damaged);
    }
}
