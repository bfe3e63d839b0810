//! P-09e: a log that lacks a part of what was written is not replayed.

use super::lab::*;
use synod_shard::{Effect, ReplayError, Shard};
use synod_types::record::encode_mark;
use synod_types::{Consistency, GroupId, GroupMark, Location, RecordHead, Slot};

/// Two groups, some writes in each, all of it on disk.
fn written() -> (Lab, Records) {
    let mut lab = Lab::led_by_n1(Setup { groups: 2, ..Setup::default() });
    for number in 0..4 {
        for group in [G1, G2] {
            let key = format!("k{number}");
            lab.request_as(1, group, Consistency::Linearizable, set(&key, "v"));
            lab.settle();
        }
    }
    let (_, records) = lab.to_replay(1);
    (lab, records)
}

fn replay(lab: &Lab, records: &Records) -> Result<Shard<Bytes>, ReplayError> {
    let (mut shard, _) = lab.to_replay(1);
    for (head, payload, at) in records {
        let mut nothing = |_: Effect<'_, Bytes>| panic!("short values are not read");
        shard.replay(*head, payload.clone(), *at, &mut nothing)?;
    }
    Ok(shard)
}

fn mark(bytes: &[u8]) -> (RecordHead, Bytes, Location) {
    let (head, payload) = RecordHead::decode(bytes).expect("a mark");
    (head, Bytes::new(payload.to_vec()), Location::default())
}

#[test]
fn a_record_that_is_missing_or_there_twice_is_named() {
    let (lab, records) = written();
    replay(&lab, &records).expect("the whole log");
    for gone in 0..records.len() {
        let mut rest = records.clone();
        let (head, ..) = rest.remove(gone);
        let next = rest.iter().skip(gone).find(|(other, ..)| other.group == head.group);
        let want = next.map(|(next, ..)| ReplayError::Missing {
            group: head.group,
            wanted: head.number,
            found: next.number,
        });
        assert_eq!(replay(&lab, &rest).err(), want, "without record {} of {}", head.number, head.group);
    }
    let mut twice = records.clone();
    twice.insert(3, records[2].clone());
    assert!(matches!(replay(&lab, &twice), Err(ReplayError::Missing { .. })));
}

/// Only a mark can tell that records are missing at the end. It also says what was chosen, so that nothing
/// has to be asked again.
#[test]
fn a_mark_tells_of_records_that_are_missing_before_it_and_of_all_that_was_chosen() {
    let (lab, mut records) = written();
    let chosen = |shard: &Shard<Bytes>| shard.status().map(|status| status.chosen).collect::<Vec<_>>();
    let noted = lab.shard(1).mark();
    let before = chosen(&replay(&lab, &records).expect("the whole log"));
    records.push(mark(&noted));
    let after = chosen(&replay(&lab, &records).expect("the whole log, marked"));
    assert_eq!(after, chosen(lab.shard(1)));
    assert!(before < after, "the last slots were chosen after their records were written");
    for group in [G1, G2] {
        let mut rest = records.clone();
        let last = rest.iter().rposition(|(head, ..)| head.group == group && head.number > 0);
        let (head, ..) = rest.remove(last.expect("it has records"));
        let (wanted, found) = (head.number - 1, head.number);
        assert_eq!(replay(&lab, &rest).err(), Some(ReplayError::Missing { group, wanted, found }));
    }
}

#[test]
fn what_belongs_to_no_group_of_this_core_is_refused() {
    let (lab, mut records) = written();
    let alien = GroupId::new(77);
    let (mut head, payload, at) = records[0].clone();
    head.group = alien;
    assert_eq!(replay(&lab, &vec![(head, payload, at)]).err(), Some(ReplayError::Alien { group: alien }));
    let of = GroupMark { group: alien, number: 0, chosen: Slot::ZERO };
    records.push(mark(&encode_mark(core::iter::once(of))));
    assert_eq!(replay(&lab, &records).err(), Some(ReplayError::Alien { group: alien }));
    let last = records.last_mut().expect("the mark");
    last.1 = last.1.slice(0, last.1.len() - 1);
    assert_eq!(replay(&lab, &records).err(), Some(ReplayError::Malformed));
}
