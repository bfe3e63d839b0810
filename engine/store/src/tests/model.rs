//! The store against its twin. Three replicas with other hash seeds, cache budgets, cache hints and expiry
//! schedules must answer alike and agree on the digest.

use super::rig::{GROUP, Rig};
use super::steps::{Act, acts, aim, command_of, name};
use super::twin::{LIMITS, Twin};
use crate::{CacheAdmission, CacheHint, FoundValue};
use alloc::vec::Vec;
use proptest::prelude::*;
use synod_types::{Command, Namespace, Reply, Version, WallMs};

proptest! {
    #[test]
    fn three_replicas_and_a_sorted_map_agree(
        start in prop_oneof![Just(1_u64), Just(1_790_000_000_000_u64)],
        acts in proptest::collection::vec(acts(), 1..120),
    ) {
        let mut twin = Twin::default();
        let mut replicas = [
            Rig::with(40_000, 1, LIMITS),
            Rig::with(0, 0xDEAD_BEEF, LIMITS),
            Rig::with(400_000, 2024, LIMITS),
        ];
        let mut sessions = Vec::new();
        let mut said: Vec<Command<Vec<u8>>> = Vec::new();
        let mut reads: Vec<(Namespace, Vec<u8>, Version, Vec<u8>)> = Vec::new();
        twin.pass(start);
        for replica in &mut replicas {
            replica.at(start);
        }
        for (step, act) in acts.iter().enumerate() {
            match act {
                Act::Slot { later_ms, earlier_ms } => {
                    let ts = (twin.now + later_ms).saturating_sub(*earlier_ms);
                    twin.pass(ts);
                    for replica in &mut replicas {
                        replica.at(ts);
                    }
                }
                // Only the first replica is asked to remove what has expired.
                Act::Expire { budget } => {
                    let mut budget = *budget;
                    replicas[0].store.expire(GROUP, &mut budget);
                }
                Act::Admit { read } => {
                    let Some((namespace, key, version, value)) =
                        (!reads.is_empty()).then(|| &reads[read.index(reads.len())])
                    else {
                        continue;
                    };
                    for replica in &mut replicas[..2] {
                        let found = FoundValue::new(*version, value);
                        replica.store.admit(GROUP, *namespace, key, found, CacheAdmission::MayEvict);
                    }
                }
                Act::Command { .. } | Act::Open | Act::OpenForNode { .. } | Act::Close { .. } | Act::Again { .. } => {
                    let command = match act {
                        Act::Again { which } if !said.is_empty() => said[which.index(said.len())].clone(),
                        act => {
                            let Some(mut command) = command_of(act, step, &twin, &sessions) else { continue };
                            aim(&mut command, &twin);
                            command
                        }
                    };
                    said.push(command.clone());
                    for (at, replica) in replicas.iter_mut().enumerate() {
                        let keep = [step % 5 != 0, false, step % 2 == 0][at];
                        replica.keep = if keep { CacheHint::Keep } else { CacheHint::Skip };
                    }
                    let replies = replicas.each_mut().map(|replica| replica.run(command.clone()));
                    let expected = twin.apply(&command, replicas[0].version);
                    for reply in replies {
                        prop_assert_eq!(&reply, &expected, "{:?}", command);
                    }
                    let name = (command.namespace, command.key.clone());
                    if let Some(held) = twin.keys.get(&name) {
                        reads.push((name.0, name.1, held.version, held.value.clone()));
                    }
                    if let Reply::Session(id) = expected {
                        sessions.push(id);
                    }
                }
            }
            let digest = replicas[0].store.digest(GROUP);
            for replica in &mut replicas {
                replica.store.invariants();
                prop_assert_eq!(replica.store.digest(GROUP), digest);
                prop_assert_eq!(replica.store.applied_ts(GROUP), WallMs(twin.now));
                for key in 0..5 {
                    let (namespace, key) = name(key);
                    let expected = twin.keys.get(&(namespace, key.clone()));
                    let got = replica.get_in(namespace, &key);
                    let flat = expected.map(|key| {
                        (key.value.clone(), key.version, WallMs(key.expire_at.unwrap_or(0)))
                    });
                    prop_assert_eq!(got, flat);
                    prop_assert_eq!(replica.store.exists(GROUP, namespace, &key), expected.is_some());
                    let clock = twin.now + 3;
                    let ttl = expected.map_or(-2, |key| {
                        key.expire_at.map_or(-1, |at| at.saturating_sub(clock) as i64)
                    });
                    prop_assert_eq!(replica.store.ttl_ms(GROUP, namespace, &key, WallMs(clock)), ttl);
                }
                let next = replica.store.next_expiry(GROUP);
                prop_assert!(next.is_none_or(|next| next.0 > twin.now));
                let earliest = twin.keys.values().filter_map(|key| key.expire_at).min();
                if let Some(earliest) = earliest {
                    prop_assert!(next.is_some_and(|next| next.0 <= earliest));
                }
            }
        }
        for replica in &mut replicas {
            loop {
                let mut left = 3;
                replica.store.expire(GROUP, &mut left);
                if left > 0 {
                    break;
                }
            }
            replica.store.invariants();
            prop_assert_eq!(replica.store.keys(GROUP) as usize, twin.keys.len());
        }
        prop_assert_eq!(replicas[0].store.digest(GROUP), replicas[1].store.digest(GROUP));
    }
}
