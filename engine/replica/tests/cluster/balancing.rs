//! P-17e: leadership returns to the preferred nodes, one group at a time, and clients do not notice.

use super::lab::*;
use synod_shard::{Input, Leadership};
use synod_types::{GroupId, GroupMessage, NodeId, PeerMessage, Reply};

fn balanced(groups: u16) -> Setup {
    Setup { leadership: Leadership::Balance, groups, ..Setup::default() }
}

/// How many leaderships a replica has transferred, and how many it has lost.
fn ended(lab: &Lab, id: u16) -> (u64, u64) {
    lab.shard(id).group_stats().fold((0, 0), |(transferred, lost), stats| {
        (transferred + stats.leaderships_transferred, lost + stats.leaderships_lost)
    })
}

/// The node that serves each group.
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
    // A transferred leadership does not count as lost.
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

/// Transfers run one at a time, because a transfer that goes wrong costs its group up to a lease: the next
/// one waits.
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
        // No target receives `TimeoutNow`.
        for packet in lab.take(|packet| is_timeout_now(&packet.message)) {
            let PeerMessage::Group { group, .. } = packet.message else { unreachable!("just looked") };
            // Another node may come to lead a group whose transfer failed, and transfers it itself.
            if packet.from != 1 {
                continue;
            }
            told.push((lab.now().mono.since(synod_types::Mono::ZERO).as_ms(), group));
        }
        while !lab.wires.is_empty() {
            lab.deliver_at(0);
        }
    }
    let lease = synod_shard::Timing::default().lease.as_ms();
    for pair in told.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= 2 * lease, "{told:?}");
    }
}

fn is_timeout_now(message: &PeerMessage<Bytes>) -> bool {
    matches!(message, PeerMessage::Group { message: GroupMessage::TimeoutNow { .. }, .. })
}

/// A node that was away gets its groups back once it has caught up. A node whose link breaks again and again
/// has to wait longer.
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

/// A node with a slow disk does not get groups that others serve faster.
#[test]
fn a_slower_node_is_not_preferred() {
    let mut lab = Lab::led_by_n1(balanced(2));
    lab.held_disks.insert(2);
    for round in 0..40 {
        let request =
            lab.request_as(1, G2, synod_types::Consistency::Linearizable, set("k", &format!("{round}")));
        lab.run_ms(50);
        assert!(matches!(lab.reply(request), Some(Reply::Done { .. })));
        // It writes, but late.
        if round % 4 == 3 {
            lab.disk(2);
        }
    }
    assert_eq!(leaders(&lab)[1], Some(1));
    lab.held_disks.clear();
    lab.run_ms(5);
    let target = NodeId::new(2);
    for _ in 0..200 {
        lab.request_as(1, G2, synod_types::Consistency::Linearizable, set("k", "v"));
        lab.run_ms(50);
    }
    assert_eq!(leaders(&lab)[1], Some(target.get()), "it is as fast as the others again");
}
