//! Random steps of a run: commands of every kind, mostly meaningful ones, and other events between them.

use super::twin::{Key, Twin};
use alloc::{vec, vec::Vec};
use proptest::prelude::*;
use proptest::sample::Index;
use synod_types::operand::{are_ranges, put_compared, put_pair, put_range, version_bytes};
use synod_types::{
    Boot, Command, Compare, Condition, CoreId, Expiry, ExpiryTest, IfEqualAction, Level, Namespace, NodeId,
    Op, SessionId, SessionStamp, Slot, Version, WallMs,
};

/// One step of a run. Times are relative to applied time; sessions are picked among those opened so far.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Slot {
        later_ms: u64,
        earlier_ms: u64,
    },
    Command {
        key: u8,
        op: Op,
        seed: Seed,
        session: Option<Index>,
        sequence: u64,
        lowest_open: u64,
    },
    Open,
    OpenForNode {
        node: u16,
        core: u16,
        boot: Boot,
    },
    Close {
        session: Index,
        held: Vec<(u64, u32)>,
        sequence: u64,
        lowest_open: u64,
    },
    Expire {
        budget: usize,
    },
    /// Sends an earlier command again, unchanged.
    Again {
        which: Index,
    },
    /// Admits a value that was read some time ago, perhaps of a version that is gone.
    Admit {
        read: Index,
    },
}

/// A value to be made: `len` bytes that differ from step to step, or a text.
#[derive(Clone, Debug)]
pub(super) enum Seed {
    Bytes(usize),
    Text(&'static str),
}

impl Seed {
    fn make(&self, step: usize) -> Vec<u8> {
        match self {
            Self::Bytes(len) => (0..*len).map(|at| (at ^ (step * 29)) as u8).collect(),
            Self::Text(text) => text.as_bytes().to_vec(),
        }
    }
}

fn seeds() -> impl Strategy<Value = Seed> {
    prop_oneof![
        2 => (0..23_usize).prop_map(Seed::Bytes),
        3 => (23..300_usize).prop_map(Seed::Bytes),
        1 => (300..9_000_usize).prop_map(Seed::Bytes),
        2 => proptest::sample::select(vec![
            "0", "10", "-7", "9223372036854775807", "-9223372036854775808", "01", "-0", "+1", "",
        ])
        .prop_map(Seed::Text),
    ]
}

/// Relative to applied time; made absolute when the step is run.
fn expiries() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        3 => Just(Expiry::None),
        2 => Just(Expiry::Keep),
        3 => (0..30_u64).prop_map(|at| Expiry::At(WallMs(at))),
        3 => (0..30_u64).prop_map(Expiry::After),
        1 => (30..1_000_000_u64).prop_map(Expiry::After),
        1 => proptest::sample::select(vec![i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX])
            .prop_flat_map(|at| prop_oneof![Just(Expiry::At(WallMs(at))), Just(Expiry::After(at))]),
    ]
}

/// Stands for the version that the key has when the command is run; for an absent key, a version that it
/// never had.
const CURRENT: Version = Version { slot: Slot::new(u64::MAX), position: 0 };

pub(super) fn aim(command: &mut Command<Vec<u8>>, twin: &Twin) {
    let name = (command.namespace, command.key.clone());
    let current = twin.keys.get(&name).map_or(CURRENT, |key| key.version);
    match &mut command.op {
        Op::Set { condition: Condition::IfVersion(version), .. } | Op::DeleteIfVersion(version)
            if *version == CURRENT =>
        {
            *version = current;
        }
        _ => {}
    }
}

fn ops() -> impl Strategy<Value = (Op, Seed)> {
    let plain = |op| (op, Seed::Bytes(0));
    let condition = proptest::sample::select(vec![
        Condition::Always,
        Condition::Always,
        Condition::IfAbsent,
        Condition::IfPresent,
        Condition::IfVersion(CURRENT),
        Condition::IfVersion(Version { slot: Slot::new(3), position: u32::MAX }),
    ]);
    let conditions = condition.clone();
    let tests = proptest::sample::select(vec![
        ExpiryTest::Unset,
        ExpiryTest::Set,
        ExpiryTest::Later,
        ExpiryTest::Earlier,
        ExpiryTest::SetEarlier,
    ]);
    let compares = proptest::sample::select(vec![
        Compare::Equal,
        Compare::NotEqual,
        Compare::DigestEqual,
        Compare::DigestNotEqual,
        Compare::Version,
    ]);
    prop_oneof![
        8 => (seeds(), condition, expiries(), any::<bool>()).prop_map(|(value, condition, expiry, return_old)| {
            (Op::Set { value_crc: 0, condition, expiry, return_old }, value)
        }),
        2 => Just(plain(Op::Delete)),
        1 => Just(plain(Op::DeleteIfVersion(CURRENT))),
        1 => Just(plain(Op::DeleteIfVersion(Version { slot: Slot::new(u64::MAX), position: 1 }))),
        3 => proptest::sample::select(vec![1, -1, 0, i64::MAX, i64::MIN])
            .prop_map(move |delta| plain(Op::IncrementBy(delta))),
        3 => expiries().prop_map(move |expiry| plain(Op::SetExpiry(expiry))),
        2 => Just(plain(Op::GetDelete)),
        2 => expiries().prop_map(move |expiry| plain(Op::GetExpire(expiry))),
        3 => (expiries(), tests).prop_map(move |(expiry, test)| plain(Op::SetExpiryIf { expiry, test })),
        6 => (seeds(), compares.clone(), expiries(), any::<bool>()).prop_map(|(compared, compare, expiry, return_old)| {
            (Op::SetIf { value_crc: 0, compare, expiry, return_old }, compared)
        }),
        3 => (seeds(), compares).prop_map(|(wanted, compare)| (Op::DeleteIf { compare }, wanted)),
        3 => (seeds(), conditions, expiries()).prop_map(|(pairs, condition, expiry)| {
            (Op::SetMany { condition, expiry }, pairs)
        }),
        3 => (seeds(), any::<bool>()).prop_map(|(target, replace)| (Op::Rename { replace }, target)),
        3 => (seeds(), any::<bool>()).prop_map(|(target, replace)| (Op::Copy { replace }, target)),
        1 => Just(plain(Op::Flush)),
        1 => (0..5_u16).prop_map(move |level| plain(Op::RaiseLevel(Level::new(level)))),
        4 => (seeds(), thens()).prop_map(|(value, then)| (Op::IfEqual { then }, value)),
    ]
}

fn thens() -> impl Strategy<Value = IfEqualAction> {
    let span = || prop_oneof![4 => 0..30_u64, 1 => Just(i64::MAX as u64), 1 => Just(u64::MAX)];
    prop_oneof![
        Just(IfEqualAction::Delete),
        span().prop_map(IfEqualAction::ExpireAfter),
        span().prop_map(IfEqualAction::RenewFor),
        span().prop_map(IfEqualAction::ExtendBy),
    ]
}

pub(super) fn acts() -> impl Strategy<Value = Act> {
    let later = prop_oneof![4 => 0..8_u64, 2 => 8..100_u64, 1 => 100..2_000_000_u64];
    let session = proptest::option::of(any::<Index>());
    prop_oneof![
        12 => (0..5_u8, ops(), session, 0..7_u64, 0..6_u64).prop_map(|(key, (op, seed), session, sequence, open)| {
            Act::Command { key, op, seed, session, sequence, lowest_open: open }
        }),
        4 => (later, 0..3_u64).prop_map(|(later_ms, earlier_ms)| Act::Slot { later_ms, earlier_ms }),
        1 => Just(Act::Open),
        2 => (0..2_u16, 0..2_u16, 0..4_u64, 0..2_u64).prop_map(|(node, core, counter, random)| {
            Act::OpenForNode { node, core, boot: Boot { counter, random } }
        }),
        2 => (any::<Index>(), proptest::collection::vec((1..8_u64, 1..3_u32), 0..3), 1..9_u64, 0..6_u64).prop_map(
            |(session, held, sequence, lowest_open)| Act::Close { session, held, sequence, lowest_open }
        ),
        3 => any::<Index>().prop_map(|which| Act::Again { which }),
        2 => (0..6_usize).prop_map(|budget| Act::Expire { budget }),
        2 => any::<Index>().prop_map(|read| Act::Admit { read }),
    ]
}

pub(super) fn name(key: u8) -> (Namespace, Vec<u8>) {
    // Two namespaces, and one key that is empty.
    (Namespace::new(u16::from(key / 3)), vec![b'k'; usize::from(key % 3) * 9])
}

/// The value to compare with: two times of three the key's own, else one close to it.
fn wanted(held: Option<&Key>, compare: Compare, step: usize) -> Vec<u8> {
    let mut bytes = match (held, compare) {
        (None, _) => vec![7; 12],
        (Some(key), Compare::Equal | Compare::NotEqual) => key.value.clone(),
        (Some(key), Compare::DigestEqual | Compare::DigestNotEqual) => {
            xxhash_rust::xxh3::xxh3_64(&key.value).to_le_bytes().to_vec()
        }
        (Some(key), Compare::Version) => version_bytes(key.version).to_vec(),
    };
    if step.is_multiple_of(3)
        && let Some(byte) = bytes.last_mut()
    {
        *byte ^= 1;
    }
    bytes
}

/// Steps with their times made absolute and their sessions named.
pub(super) fn command_of(
    act: &Act,
    step: usize,
    twin: &Twin,
    sessions: &[SessionId],
) -> Option<Command<Vec<u8>>> {
    let now = twin.now;
    let (key, op, seed, session, sequence, lowest_open) = match act {
        Act::Command { key, op, seed, session, sequence, lowest_open } => {
            (key, op, seed, session, sequence, lowest_open)
        }
        Act::Open => {
            // Sometimes under the session of a node.
            let of_node = sessions.iter().rfind(|id| id.is_of_node() && step.is_multiple_of(2));
            let (session, sequence) = (of_node.copied().unwrap_or(SessionId::NONE), 1 + step as u64 % 5);
            let stamp = match of_node {
                Some(_) => SessionStamp { session, sequence, lowest_open: 0 },
                None => SessionStamp::default(),
            };
            return Some(Command { stamp, ..Command::plain(Vec::new(), Op::OpenSession) });
        }
        Act::OpenForNode { node, core, boot } => {
            let (node, core, boot) = (NodeId::new(*node), CoreId::new(*core), *boot);
            return Some(Command::plain(Vec::new(), Op::OpenNodeSession { node, core, boot }));
        }
        Act::Close { session, held, sequence, lowest_open } if !sessions.is_empty() => {
            let mut operand = Vec::new();
            for &(first, count) in held {
                put_range(&mut operand, first, count);
            }
            let operand = if are_ranges(&operand) { operand } else { Vec::new() };
            let session = sessions[session.index(sessions.len())];
            let stamp = SessionStamp { session, sequence: *sequence, lowest_open: *lowest_open };
            return Some(Command { stamp, ..Command::new(Vec::new(), Op::CloseSequences, operand) });
        }
        _ => return None,
    };
    let absolute = |expiry| match expiry {
        // Around now, the past included.
        Expiry::At(at) if at.0 < 1000 => Expiry::At(WallMs((now + at.0).saturating_sub(8))),
        other => other,
    };
    let (namespace, key) = name(*key);
    let held = twin.keys.get(&(namespace, key.clone()));
    let wanted = |compare| wanted(held, compare, step);
    let value = seed.make(step);
    let (op, operand) = match *op {
        Op::SetIf { compare, expiry, return_old, .. } => {
            let mut compared = Vec::new();
            put_compared(&mut compared, &wanted(compare), &value);
            let value_crc = synod_types::checksum::crc32c(&value);
            (Op::SetIf { value_crc, compare, expiry: absolute(expiry), return_old }, compared)
        }
        Op::DeleteIf { compare } => (Op::DeleteIf { compare }, wanted(compare)),
        Op::GetExpire(expiry) => (Op::GetExpire(absolute(expiry)), Vec::new()),
        Op::SetExpiryIf { expiry, test } => (Op::SetExpiryIf { expiry: absolute(expiry), test }, Vec::new()),
        Op::SetMany { condition, expiry } => {
            let mut pairs = Vec::new();
            for other in 0..=step % 3 {
                let key = name((step + other * 2) as u8 % 5).1;
                put_pair(
                    &mut pairs,
                    if key.is_empty() { b"z".as_slice() } else { &key },
                    &value[..value.len() / (other + 1)],
                );
            }
            (Op::SetMany { condition, expiry: absolute(expiry) }, pairs)
        }
        op @ (Op::Rename { .. } | Op::Copy { .. }) => (op, name(step as u8 % 5).1),
        Op::Set { condition, expiry, return_old, .. } => {
            let value_crc = synod_types::checksum::crc32c(&value);
            (Op::Set { value_crc, condition, expiry: absolute(expiry), return_old }, value)
        }
        Op::SetExpiry(expiry) => (Op::SetExpiry(absolute(expiry)), Vec::new()),
        other => (other, value),
    };
    let stamp = session.map_or(SessionStamp::default(), |at| SessionStamp {
        // Sometimes a session that never existed.
        session: if sessions.is_empty() { SessionId::new(5) } else { sessions[at.index(sessions.len())] },
        sequence: *sequence,
        lowest_open: *lowest_open,
    });
    Some(Command { namespace, key, op, operand, stamp })
}
