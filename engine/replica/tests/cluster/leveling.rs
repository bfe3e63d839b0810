//! P-19: commands of a later level are written once every member reads that level, and not before.

use super::lab::*;
use synod_shard::{Effect, Input, ReplayError};
use synod_types::{Command, Consistency, ErrorKind, Level, NodeId, Op, PeerMessage, Reply};

const LATER: Level = Level::new(Level::OWN.get() + 1);

fn restart_at(lab: &mut Lab, id: u16, level: Level) {
    lab.levels.insert(id, level);
    lab.crash(id);
    lab.start(id);
    lab.until("a leader", |lab| lab.leader().is_some());
    lab.run_ms(500);
}

/// n2 or n3 leads; n1 is down and will read the later level when it starts.
fn all_but_n1_later() -> (Lab, u16) {
    let mut lab = Lab::led_by_n1(Setup::default());
    restart_at(&mut lab, 3, LATER);
    restart_at(&mut lab, 2, LATER);
    lab.levels.insert(1, LATER);
    lab.crash(1);
    lab.until("another leader", |lab| lab.leads(2, G1) || lab.leads(3, G1));
    let leader = lab.until_leader();
    (lab, leader)
}

fn levels(lab: &Lab) -> [Level; 3] {
    [1, 2, 3].map(|id| lab.shard(id).level(G1).expect("its group"))
}

#[test]
fn a_level_is_raised_when_the_last_member_reads_it_and_stays() {
    let mut lab = Lab::led_by_n1(Setup::default());
    assert_eq!(levels(&lab), [Level::OWN; 3]);
    for id in [3, 2] {
        restart_at(&mut lab, id, LATER);
        assert_eq!(levels(&lab), [Level::OWN; 3], "n1 does not read it");
    }
    // A node that is not heard does not count as one that reads the level, however long that lasts.
    lab.isolate(1);
    lab.until("another leader", |lab| lab.leads(2, G1) || lab.leads(3, G1));
    lab.run_ms(3_000);
    assert_eq!(lab.shard(2).level(G1), Some(Level::OWN));
    lab.heal();
    restart_at(&mut lab, 1, LATER);
    lab.until("all follow", |lab| levels(lab) == [LATER; 3]);
    // The log says so from here on.
    restart_at(&mut lab, 2, LATER);
    assert_eq!(levels(&lab), [LATER; 3]);
}

#[test]
fn a_log_of_a_later_level_is_not_replayed() {
    let mut lab = Lab::led_by_n1(Setup::default());
    for id in [3, 2, 1] {
        restart_at(&mut lab, id, LATER);
    }
    lab.until("all follow", |lab| levels(lab) == [LATER; 3]);
    lab.run_ms(500);
    lab.levels.clear();
    let (mut shard, records) = lab.to_replay(2);
    let mut nothing = |_: Effect<'_, Bytes>| {};
    let replayed =
        records.into_iter().try_for_each(|(head, payload, at)| shard.replay(head, payload, at, &mut nothing));
    assert_eq!(replayed, Err(ReplayError::Level { group: G1, found: LATER, known: Level::OWN }));
}

/// Traffic does not prevent it: the group needs no quiet moment.
#[test]
fn a_busy_group_raises_its_level() {
    let (mut lab, leader) = all_but_n1_later();
    lab.start(1);
    for _ in 0..200 {
        // Whenever the leader looks, something is under way.
        lab.request(leader, set("k", "v"));
        lab.turn_end(leader);
        lab.pass_ms(5);
        lab.ids().into_iter().for_each(|id| lab.tick(id));
        lab.settle();
    }
    assert!(lab.leads(leader, G1), "nothing happened to the leader");
    assert_eq!(levels(&lab), [LATER; 3]);
}

/// A proposal under way is not repeated at each tick until it is chosen.
#[test]
fn a_level_is_proposed_once() {
    let (mut lab, leader) = all_but_n1_later();
    let chosen = |lab: &Lab| lab.shard(leader).status().next().expect("its group").chosen;
    let before = chosen(&lab);
    lab.held_disks.extend([2, 3]);
    lab.start(1);
    lab.run_ms(500);
    assert!(lab.leads(leader, G1), "nothing happened to the leader");
    assert_eq!(chosen(&lab), before, "one vote is no quorum");
    lab.held_disks.clear();
    lab.until("all follow", |lab| levels(lab) == [LATER; 3]);
    lab.run_ms(200);
    assert_eq!(chosen(&lab).since(before), 2, "the level, and the session of n1");
}

/// Only a leader may propose it: from a client, directly or through a peer, it is refused.
#[test]
fn only_a_leader_raises_a_level() {
    let mut lab = Lab::led_by_n1(Setup::default());
    let raise = || Command::plain(Bytes::default(), Op::RaiseLevel(LATER));
    assert_eq!(lab.ask(1, raise()), Reply::Error(ErrorKind::Malformed));
    let forward =
        PeerMessage::Forward { id: 9, group: G1, consistency: Consistency::default(), command: raise() };
    lab.step(1, Input::Peer { from: NodeId::new(2), message: forward });
    lab.run_ms(500);
    assert_eq!(levels(&lab), [Level::OWN; 3]);
}
