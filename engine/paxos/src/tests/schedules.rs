//! Random schedules: whatever the network, the disks, the clocks and the processes do, the cluster's checks
//! hold after every step. Once the faults end, it makes progress again.

use super::cluster::Cluster;
use crate::AheadLimits;
use proptest::prelude::*;
use std::format;
use std::vec;
use std::vec::Vec;

#[derive(Clone, Debug)]
enum Act {
    Deliver(u16),
    Duplicate(u16),
    Drop(u16),
    Disk {
        node: u16,
        records: u16,
    },
    Tick(u16),
    Pass {
        ms: u16,
    },
    Propose(u16),
    Crash(u16),
    Start(u16),
    Cut(u16, u16),
    Heal,
    Run {
        ms: u16,
    },
    ReadIndex(u16),
    TransferLeadership(u16, u16),
    /// A read of the log comes back, or fails.
    Read {
        node: u16,
        which: u16,
        is_good: bool,
    },
    /// `node` receives no `Learn` any more, or receives them again.
    Tell {
        node: u16,
        is_told: bool,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        40 => any::<u16>().prop_map(Act::Deliver),
        4 => any::<u16>().prop_map(Act::Duplicate),
        4 => any::<u16>().prop_map(Act::Drop),
        20 => (any::<u16>(), 1..4_u16).prop_map(|(node, records)| Act::Disk { node, records }),
        12 => any::<u16>().prop_map(Act::Tick),
        8 => (1..80_u16).prop_map(|ms| Act::Pass { ms }),
        10 => any::<u16>().prop_map(Act::Propose),
        1 => any::<u16>().prop_map(Act::Crash),
        2 => any::<u16>().prop_map(Act::Start),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Act::Cut(a, b)),
        1 => Just(Act::Heal),
        3 => (5..500_u16).prop_map(|ms| Act::Run { ms }),
        2 => any::<u16>().prop_map(Act::ReadIndex),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(from, target)| Act::TransferLeadership(from, target)),
        20 => (any::<u16>(), any::<u16>(), 0..8_u8)
            .prop_map(|(node, which, luck)| Act::Read { node, which, is_good: luck > 0 }),
        2 => (any::<u16>(), any::<bool>()).prop_map(|(node, is_told)| Act::Tell { node, is_told }),
    ]
}

/// Limits so small that most values accepted behind a gap are in the log alone.
fn limits() -> impl Strategy<Value = AheadLimits> {
    let bytes = prop_oneof![Just(0), Just(8), Just(8 << 20)];
    let slots = prop_oneof![Just(4), Just(1 << 20), Just(1 << 20)];
    (prop_oneof![Just(1), Just(1024)], slots, bytes).prop_map(|(near_slots, slots, bytes)| AheadLimits {
        near_slots,
        slots,
        bytes,
    })
}

fn perform(cluster: &mut Cluster, act: &Act, number: usize) {
    let ids = cluster.ids();
    let pick = |raw: u16| ids[usize::from(raw) % ids.len()];
    let wire = |raw: u16, cluster: &Cluster| usize::from(raw) % cluster.wires.len().max(1);
    match *act {
        Act::Deliver(which) if !cluster.wires.is_empty() => {
            cluster.deliver_at(wire(which, cluster));
        }
        Act::Duplicate(which) if !cluster.wires.is_empty() => {
            let packet = cluster.wires[wire(which, cluster)].clone();
            cluster.deliver(packet);
        }
        Act::Drop(which) if !cluster.wires.is_empty() => {
            cluster.wires.remove(wire(which, cluster));
        }
        Act::Deliver(_) | Act::Duplicate(_) | Act::Drop(_) => {}
        Act::Disk { node, records } => cluster.disk_some(pick(node), records.into()),
        Act::Tick(node) => cluster.tick(pick(node)),
        Act::Pass { ms } => cluster.pass_ms(ms.into()),
        Act::Propose(node) => {
            cluster.propose(pick(node), &format!("v{number}"));
        }
        Act::Crash(node) => {
            if cluster.is_up(pick(node)) {
                cluster.crash(pick(node));
            }
        }
        Act::Start(node) => {
            if !cluster.is_up(pick(node)) {
                cluster.start(pick(node));
            }
        }
        Act::Cut(a, b) => {
            if pick(a) != pick(b) {
                cluster.cut_between(pick(a), pick(b));
            }
        }
        Act::Read { node, which, is_good } => {
            let id = pick(node);
            if cluster.read_count(id) > 0 {
                cluster.read_done(id, usize::from(which) % cluster.read_count(id), is_good);
            }
        }
        Act::Tell { node, is_told: true } => {
            cluster.untold.remove(&pick(node));
        }
        Act::Tell { node, is_told: false } => {
            cluster.untold.insert(pick(node));
        }
        Act::Heal => cluster.heal(),
        Act::Run { ms } => cluster.run_ms(ms.into()),
        Act::ReadIndex(node) => {
            let id = pick(node);
            if cluster.is_up(id) {
                cluster.read_index(id);
            }
        }
        Act::TransferLeadership(from, target) => {
            if cluster.is_up(pick(from)) {
                cluster.transfer(pick(from), pick(target));
            }
        }
    }
}

fn play(count: u16, ahead: AheadLimits, acts: &[Act]) {
    let mut cluster = Cluster::with_ahead_limits(count, 10_000, ahead);
    for (number, act) in acts.iter().enumerate() {
        perform(&mut cluster, act, number);
    }
    // The faults end: within a few timeouts a leader serves, all replicas follow it, and no chosen value is
    // missing.
    cluster.heal();
    cluster.untold.clear();
    for id in cluster.ids() {
        if !cluster.is_up(id) {
            cluster.start(id);
        }
    }
    cluster.until_leader();
    // Messages were lost and no link broke: whoever pulls takes the peer for slow.
    cluster.run_ms(crate::pull::PATIENCE_MAX.as_ms() + 1_500);
    let leader = cluster.leader().expect("a leader stays");
    // A read that comes now is served soon.
    let served = cluster.reads_served;
    assert!(cluster.read_index(leader).is_some());
    cluster.run_ms(100);
    assert!(cluster.reads_served > served, "a read is not served");
    cluster.write("last");
    cluster.run_ms(500);
    for id in cluster.ids() {
        assert_eq!(cluster.applied(id), cluster.applied(leader), "n{id} did not catch up");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// P-01, P-02, P-03, P-05, P-06 and P-07 together.
    #[test]
    fn three_replicas_agree_and_recover_whatever_happens(
        ahead in limits(),
        acts in proptest::collection::vec(act(), 1..500),
    ) {
        play(3, ahead, &acts);
    }

    #[test]
    fn five_replicas_agree_and_recover_whatever_happens(
        ahead in limits(),
        acts in proptest::collection::vec(act(), 1..300),
    ) {
        play(5, ahead, &acts);
    }
}

/// The same schedule gives the same trace: nothing in the machine depends on anything but its inputs.
#[test]
fn the_same_schedule_gives_the_same_trace() {
    let run = || {
        let mut cluster = Cluster::new(3);
        cluster.until_leader();
        for number in 0..20 {
            cluster.write(&format!("v{number}"));
        }
        let victim = cluster.leader().unwrap();
        cluster.crash(victim);
        cluster.until_leader();
        cluster.start(victim);
        cluster.run_ms(1_000);
        cluster.trace
    };
    let (first, second): (Vec<_>, Vec<_>) = (run(), run());
    assert_eq!(first, second);
}
