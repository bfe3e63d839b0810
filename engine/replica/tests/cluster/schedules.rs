//! Random schedules of messages, disks, reads, crashes and cuts. The answers to clients must be true,
//! whatever happens:
//! - every request gets one answer, none gets two (the lab checks), and none waits without end once faults
//!   stop (P-12a);
//! - a write that was answered `Done` is there; one that was answered `NoLeader` or `Busy` is not (P-08,
//!   P-12b);
//! - a read that began after a write was acknowledged sees it, on any node, at both consistencies (P-07).

use super::lab::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use synod_types::{Consistency, ErrorKind, Reply, RequestId};

#[derive(Clone, Debug)]
enum Act {
    Deliver(u16),
    Disk { node: u16, records: u16 },
    ReadBack(u16),
    Tick(u16),
    TurnEnd(u16),
    Pass { ms: u16 },
    Write { node: u16, long: bool },
    Swap { node: u16, key: u16 },
    Count(u16),
    Read { node: u16, key: u16, quorum: bool },
    ReadCount { node: u16, quorum: bool },
    Crash(u16),
    Start(u16),
    Cut(u16, u16),
    Heal,
    Run { ms: u16 },
    TransferLeadership { from: u16, target: u16 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        40 => any::<u16>().prop_map(Act::Deliver),
        16 => (any::<u16>(), 1..4_u16).prop_map(|(node, records)| Act::Disk { node, records }),
        8 => any::<u16>().prop_map(Act::ReadBack),
        8 => any::<u16>().prop_map(Act::Tick),
        16 => any::<u16>().prop_map(Act::TurnEnd),
        6 => (1..80_u16).prop_map(|ms| Act::Pass { ms }),
        8 => (any::<u16>(), any::<bool>()).prop_map(|(node, long)| Act::Write { node, long }),
        3 => (any::<u16>(), any::<u16>()).prop_map(|(node, key)| Act::Swap { node, key }),
        4 => any::<u16>().prop_map(Act::Count),
        6 => (any::<u16>(), any::<u16>(), any::<bool>())
            .prop_map(|(node, key, quorum)| Act::Read { node, key, quorum }),
        4 => (any::<u16>(), any::<bool>()).prop_map(|(node, quorum)| Act::ReadCount { node, quorum }),
        1 => any::<u16>().prop_map(Act::Crash),
        2 => any::<u16>().prop_map(Act::Start),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Act::Cut(a, b)),
        1 => Just(Act::Heal),
        3 => (5..700_u16).prop_map(|ms| Act::Run { ms }),
        2 => (any::<u16>(), any::<u16>()).prop_map(|(from, target)| Act::TransferLeadership { from, target }),
    ]
}

/// The clients' requests, and the answers that they may get.
#[derive(Default)]
struct Oracle {
    /// Each key is written once, except for swaps with the same value.
    writes: Vec<(RequestId, &'static str)>,
    counts: Vec<RequestId>,
    /// Each read, and the minimum that it must see: whether the key is there, or the count.
    reads: BTreeMap<RequestId, Expect>,
}

#[derive(Clone, Copy, Debug)]
enum Expect {
    Present,
    Anything,
    AtLeast(i64),
}

impl Oracle {
    fn acknowledged(&self, lab: &Lab, write: usize) -> bool {
        matches!(lab.reply(self.writes[write].0), Some(Reply::Done { .. }))
    }
    fn counted(&self, lab: &Lab) -> i64 {
        let counts = self.counts.iter().filter_map(|&request| match lab.reply(request) {
            Some(Reply::Int(count)) => Some(*count),
            _ => None,
        });
        counts.max().unwrap_or(0)
    }
}

fn perform(lab: &mut Lab, oracle: &mut Oracle, act: &Act) {
    let ids = lab.ids();
    let pick = |raw: u16| ids[usize::from(raw) % ids.len()];
    let consistency = |quorum| if quorum { Consistency::Quorum } else { Consistency::Linearizable };
    match *act {
        Act::Deliver(which) => {
            // Links keep their order: a packet overtakes those of other links only.
            if !lab.wires.is_empty() {
                let packet = &lab.wires[usize::from(which) % lab.wires.len()];
                let link = (packet.from, packet.to);
                let first = lab.wires.iter().position(|packet| (packet.from, packet.to) == link);
                lab.deliver_at(first.unwrap());
            }
        }
        Act::Disk { node, records } => lab.disk_some(pick(node), records.into()),
        Act::ReadBack(node) => {
            if lab.reads(pick(node)) > 0 {
                lab.read_done(pick(node));
            }
        }
        Act::Tick(node) => lab.tick(pick(node)),
        Act::TransferLeadership { from, target } => {
            let target = synod_types::NodeId::new(pick(target));
            lab.step(pick(from), synod_shard::Input::TransferLeadership { group: G1, target });
        }
        Act::TurnEnd(node) => lab.turn_end(pick(node)),
        Act::Pass { ms } => lab.pass_ms(ms.into()),
        Act::Write { node, long } if lab.is_up(pick(node)) => {
            let value = if long { LONG } else { "short" };
            let key = format!("k{}", oracle.writes.len());
            oracle.writes.push((lab.request(pick(node), set(&key, value)), value));
        }
        Act::Swap { node, key } if lab.is_up(pick(node)) && !oracle.writes.is_empty() => {
            let key = usize::from(key) % oracle.writes.len();
            if oracle.acknowledged(lab, key) {
                let value = oracle.writes[key].1;
                let command = set_op(&format!("k{key}"), value, synod_types::Expiry::None, true);
                let request = lab.request(pick(node), command);
                oracle.reads.insert(request, Expect::Present);
            }
        }
        Act::Count(node) if lab.is_up(pick(node)) => {
            oracle.counts.push(lab.request(pick(node), increment("count")));
        }
        Act::Read { node, key, quorum } if lab.is_up(pick(node)) && !oracle.writes.is_empty() => {
            let key = usize::from(key) % oracle.writes.len();
            let expect = if oracle.acknowledged(lab, key) { Expect::Present } else { Expect::Anything };
            let request = lab.request_as(pick(node), G1, consistency(quorum), get(&format!("k{key}")));
            oracle.reads.insert(request, expect);
        }
        Act::ReadCount { node, quorum } if lab.is_up(pick(node)) => {
            let expect = Expect::AtLeast(oracle.counted(lab));
            let request = lab.request_as(pick(node), G1, consistency(quorum), get("count"));
            oracle.reads.insert(request, expect);
        }
        Act::Crash(node) => {
            if lab.is_up(pick(node)) {
                lab.crash(pick(node));
            }
        }
        Act::Start(node) => {
            if !lab.is_up(pick(node)) {
                lab.start(pick(node));
            }
        }
        Act::Cut(a, b) => {
            if pick(a) != pick(b) {
                lab.cut_between(pick(a), pick(b));
            }
        }
        Act::Heal => lab.heal(),
        Act::Run { ms } => lab.run_ms(ms.into()),
        Act::Write { .. } | Act::Swap { .. } | Act::Count(_) | Act::Read { .. } | Act::ReadCount { .. } => {}
    }
}

fn check_reads(lab: &Lab, oracle: &Oracle) {
    for (&request, expect) in &oracle.reads {
        let Some(reply) = lab.reply(request) else { continue };
        let truthful = match (expect, reply) {
            (_, Reply::Error(ErrorKind::NoLeader | ErrorKind::Unknown | ErrorKind::Busy)) => true,
            (Expect::Present, Reply::Value { .. }) => true,
            (Expect::Anything, Reply::Value { .. } | Reply::Nil) => true,
            (Expect::AtLeast(least), Reply::Nil) => *least == 0,
            (Expect::AtLeast(least), Reply::Value { value, .. }) => {
                core::str::from_utf8(value).unwrap().parse::<i64>().unwrap() >= *least
            }
            _ => false,
        };
        assert!(truthful, "{request} was to see {expect:?} and was told {reply:?}");
    }
}

fn play(acts: &[Act]) {
    let mut lab = Lab::new(Setup { pending_bytes_max: 1_500, ..Setup::default() });
    let mut oracle = Oracle::default();
    for act in acts {
        perform(&mut lab, &mut oracle, act);
    }
    lab.heal();
    for id in lab.ids() {
        if !lab.is_up(id) {
            lab.start(id);
        }
    }
    lab.until("an answer for every request", |lab| lab.unanswered() == 0);
    let leader = lab.until_leader();
    check_reads(&lab, &oracle);

    for (number, (request, _)) in oracle.writes.iter().enumerate() {
        let reply = lab.reply(*request).cloned();
        let present = matches!(lab.ask(leader, get(&format!("k{number}"))), Reply::Value { .. });
        match reply {
            Some(Reply::Done { .. }) => assert!(present, "k{number} was acknowledged and is lost"),
            Some(Reply::Error(ErrorKind::NoLeader | ErrorKind::Busy)) => {
                assert!(!present, "k{number} was refused and is there");
            }
            // Without an answer its node has crashed.
            Some(Reply::Error(ErrorKind::Unknown)) | None => {}
            other => panic!("k{number} was answered {other:?}"),
        }
    }
    // Each acknowledged count happened once: all answers differ.
    let mut counts: Vec<i64> = Vec::new();
    for request in &oracle.counts {
        if let Some(Reply::Int(count)) = lab.reply(*request) {
            counts.push(*count);
        }
    }
    let answered = counts.len();
    counts.sort_unstable();
    counts.dedup();
    assert_eq!(counts.len(), answered, "two increments were told the same count");

    // `until` fails if they never agree; at one slot two digests never differ.
    lab.until("replicas that agree", |lab| {
        let digests: Vec<_> = lab.ids().iter().filter_map(|&id| lab.shard(id).digest(G1)).collect();
        for pair in digests.windows(2) {
            assert!(pair[0].0 != pair[1].0 || pair[0].1 == pair[1].1, "replicas differ: {digests:?}");
        }
        digests.len() == lab.ids().len() && digests.windows(2).all(|pair| pair[0] == pair[1])
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn clients_are_told_the_truth_whatever_happens(acts in proptest::collection::vec(act(), 1..400)) {
        play(&acts);
    }
}
