//! P-17e: leaders go back to where they belong, one at a time, and nobody notices.

use super::lab::*;
use crate::{Input, Leadership};
use alloc::format;
use alloc::vec::Vec;
use synod_types::{GroupId, GroupMessage, NodeId, PeerMessage, Reply};

fn balanced(groups: u16) -> Setup {
    Setup { leadership: Leadership::Balance, groups, ..Setup::default() }
}

/// How many leaderships a replica handed over, and lost.
fn ended(lab: &Lab, id: u16) -> (u64, u64) {
    lab.shard(id).group_stats().fold((0, 0), |(handed_over, lost), stats| {
        (handed_over + stats.leaderships_handed_over, lost + stats.leaderships_lost)
    })
}

/// Who serves each group.
fn leaders(lab: &Lab) -> Vec<Option<u16>> {
    (1..=lab.config.groups)
        .map(|group| lab.ids().into_iter().find(|&id| lab.serves(id, GroupId::new(group))))
        .collect()
}

#[test]
fn every_group_comes_to_be_led_by_its_preferred_node() {
    let mut lab = Lab::led_by_n1(balanced(6));
    let mut clients = 0;
    lab.until("everybody leads a share", |lab| {
        leaders(lab) == [Some(1), Some(2), Some(3), Some(1), Some(2), Some(3)]
    });
    // What is handed over is not lost.
    let counts: Vec<_> = lab.ids().into_iter().map(|id| ended(&lab, id)).collect();
    assert_eq!(counts, [(4, 0), (0, 0), (0, 0)]);
    // Nothing moves any more.
    let changes = |lab: &Lab| lab.shard(1).status().map(|status| status.leader_changes).sum::<u64>();
    let before = changes(&lab);
    for _ in 0..100 {
        lab.run_ms(50);
        clients += 1;
        assert_eq!(lab.ask(1, increment("n")), Reply::Int(clients));
    }
    assert_eq!(changes(&lab), before);
}

#[test]
fn clients_do_not_notice() {
    let mut lab = Lab::led_by_n1(balanced(3));
    let mut asked = Vec::new();
    let mut rounds = 0;
    while leaders(&lab) != [Some(1), Some(2), Some(3)] {
        for id in lab.ids() {
            for group in [G1, G2, GroupId::new(3)] {
                let command = increment(&format!("n{}", group.get()));
                asked.push(lab.request_as(id, group, synod_types::Consistency::Linearizable, command));
            }
        }
        lab.run_ms(5);
        rounds += 1;
        assert!(rounds < 2_000, "{:?}", leaders(&lab));
    }
    lab.run_ms(100);
    assert_eq!(lab.unanswered(), 0);
    for request in asked {
        let reply = lab.reply(request).unwrap();
        assert!(matches!(reply, Reply::Int(_)), "{reply:?}");
    }
}

#[test]
fn leaders_stay_where_they_are_told_to() {
    let mut lab = Lab::led_by_n1(Setup { groups: 3, ..Setup::default() });
    lab.run_ms(5_000);
    assert_eq!(leaders(&lab), [Some(1), Some(1), Some(1)]);
}

/// One at a time: while one is under way the next one waits, for a hand-over that goes wrong costs its group up to a lease.
#[test]
fn one_group_moves_at_a_time() {
    let mut lab = Lab::led_by_n1(balanced(6));
    let mut told: Vec<(u64, GroupId)> = Vec::new();
    while told.len() < 3 {
        lab.pass_ms(5);
        for id in lab.ids() {
            lab.tick(id);
            lab.turn_end(id);
            lab.disk(id);
        }
        // No heir hears of it.
        for packet in lab.take(|packet| is_hand_over(&packet.message)) {
            let PeerMessage::Group { group, .. } = packet.message else { unreachable!("just looked") };
            // Another may come to lead what was handed over in vain, and hands it over for itself.
            if packet.from != 1 {
                continue;
            }
            told.push((lab.now().mono.since(synod_types::Mono::ZERO).as_ms(), group));
        }
        while !lab.wires.is_empty() {
            lab.deliver_at(0);
        }
    }
    let lease = crate::Timing::default().lease.as_ms();
    for pair in told.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 2 * lease, "{told:?}");
    }
}

fn is_hand_over(message: &PeerMessage<Bytes>) -> bool {
    matches!(message, PeerMessage::Group { message: GroupMessage::HandOver { .. }, .. })
}

/// A node that was away gets its groups back, though not before it has caught up; one whose link breaks again and again is waited
/// for longer.
#[test]
fn who_returns_leads_again() {
    let mut lab = Lab::led_by_n1(balanced(3));
    lab.until("balanced", |lab| leaders(lab) == [Some(1), Some(2), Some(3)]);
    lab.crash(2);
    lab.until("somebody else leads", |lab| leaders(lab)[1].is_some_and(|id| id != 2));
    for _ in 0..700 {
        lab.step(lab.leader().unwrap_or(1), Input::TurnEnd);
        let request = lab.request_as(3, G2, synod_types::Consistency::Linearizable, set("k", "v"));
        lab.settle();
        assert!(matches!(lab.reply(request), Some(Reply::Done { .. })));
    }
    lab.start(2);
    let mut waited = 0;
    while leaders(&lab)[1] != Some(2) {
        lab.run_ms(5);
        waited += 5;
        assert!(waited < 10_000, "{:?}", leaders(&lab));
    }
    assert!(waited >= 1_000, "it had been away, and is to be steady first: {waited} ms");
}

/// A node whose disk is slow is not given what others do faster.
#[test]
fn a_slower_node_is_not_preferred() {
    let mut lab = Lab::led_by_n1(balanced(2));
    lab.held_disks.insert(2);
    for round in 0..40 {
        let request =
            lab.request_as(1, G2, synod_types::Consistency::Linearizable, set("k", &format!("{round}")));
        lab.run_ms(50);
        assert!(matches!(lab.reply(request), Some(Reply::Done { .. })));
        // It writes, and late.
        if round % 4 == 3 {
            lab.disk(2);
        }
    }
    assert_eq!(leaders(&lab)[1], Some(1));
    lab.held_disks.clear();
    lab.run_ms(5);
    let heir = NodeId::new(2);
    for _ in 0..200 {
        lab.request_as(1, G2, synod_types::Consistency::Linearizable, set("k", "v"));
        lab.run_ms(50);
    }
    assert_eq!(leaders(&lab)[1], Some(heir.get()), "it is as fast as the others again");
}
