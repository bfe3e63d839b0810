//! The store against a slow, dumb twin: one sorted map of keys, one of sessions, and a page of rules. Three replicas with
//! other hash seeds, cache budgets, cache hints and expiry schedules must answer alike and agree on the digest.

use super::rig::{GROUP, Rig};
use crate::sessions::{REPLY_BYTES, SMALL_VALUE_BYTES, SessionLimits};
use crate::{CacheHint, FoundValue, Room};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::ToString,
    vec,
    vec::Vec,
};
use proptest::prelude::*;
use proptest::sample::Index;
use synod_types::Level;
use synod_types::operand::{
    are_ranges, pairs, put_compared, put_pair, put_range, ranges, split_compared, version_bytes,
};
use synod_types::{
    Boot, Command, Compare, Condition, CoreId, ErrorKind, Expiry, ExpiryTest, Namespace, NodeId, Op, Reply,
    SessionId, SessionStamp, Slot, Then, Version, WallMs,
};

const LIMITS: SessionLimits = SessionLimits {
    sessions_max: 3,
    replies_max: 4,
    session_bytes_max: 4 * REPLY_BYTES + 3_000,
    group_bytes_max: 2 * (4 * REPLY_BYTES + 3_000),
    node_reply_bytes_max: 1_500,
};

type Full = Reply<Vec<u8>>;

#[derive(Clone, Debug)]
struct Key {
    value: Vec<u8>,
    version: Version,
    expire_at: Option<u64>,
}

#[derive(Default)]
struct Session {
    lowest_open: u64,
    replies: BTreeMap<u64, (Asked, Full)>,
    last_used: Version,
    closed: BTreeSet<u64>,
}

/// A command without its stamp.
type Asked = (Namespace, Vec<u8>, Op, Vec<u8>);

fn asked(command: &Command<Vec<u8>>) -> Asked {
    (command.namespace, command.key.clone(), command.op, command.operand.clone())
}

fn value_len(reply: &Full) -> u64 {
    if let Reply::Value { value, .. } = reply { value.len() as u64 } else { 0 }
}

fn bytes_of(replies: &BTreeMap<u64, (Asked, Full)>) -> u64 {
    replies.values().map(|(_, reply)| REPLY_BYTES + value_len(reply)).sum()
}

#[derive(Default)]
struct Twin {
    now: u64,
    keys: BTreeMap<(Namespace, Vec<u8>), Key>,
    sessions: BTreeMap<SessionId, Session>,
    /// Of nodes: their last start, and their cores' sessions.
    holders: BTreeMap<NodeId, (Boot, BTreeMap<CoreId, SessionId>)>,
}

impl Twin {
    fn of_clients(&self) -> impl Iterator<Item = (&SessionId, &Session)> {
        self.sessions.iter().filter(|(id, _)| !id.is_of_node())
    }

    fn open(&mut self, version: Version) -> Full {
        if self.of_clients().count() == LIMITS.sessions_max {
            self.evict();
        }
        let id = SessionId::new(version.slot.get() * 65536 + u64::from(version.position));
        self.sessions.insert(id, Session { last_used: version, ..Session::default() });
        Reply::Session(id)
    }

    fn open_for_node(&mut self, node: NodeId, core: CoreId, boot: Boot, version: Version) -> Full {
        if let Some((held, cores)) = self.holders.get(&node)
            && *held != boot
        {
            if held.counter >= boot.counter {
                return Reply::Error(ErrorKind::SessionExpired);
            }
            self.sessions.retain(|id, _| !cores.values().any(|of| of == id));
            self.holders.remove(&node);
        }
        let (_, cores) = self.holders.entry(node).or_insert((boot, BTreeMap::new()));
        let raw = version.slot.get() * 65536 + u64::from(version.position);
        let id = *cores.entry(core).or_insert(SessionId::of_node(raw));
        self.sessions.entry(id).or_insert(Session { last_used: version, ..Session::default() });
        Reply::Session(id)
    }

    fn close(&mut self, command: &Command<Vec<u8>>, version: Version) -> Full {
        let stamp = command.stamp;
        let session = self.sessions.get_mut(&stamp.session).filter(|_| stamp.session.is_of_node());
        let Some(session) = session else { return Reply::Error(ErrorKind::Malformed) };
        let all: Vec<u64> =
            ranges(&command.operand).flat_map(|(first, count)| first..first + u64::from(count)).collect();
        if all.iter().any(|&sequence| sequence >= stamp.sequence) {
            return Reply::Error(ErrorKind::Malformed);
        }
        // What the stamp itself closes is closed only after this.
        let before = session.lowest_open;
        if all.iter().any(|sequence| *sequence < before || session.closed.contains(sequence)) {
            return Reply::Error(ErrorKind::SequenceClosed);
        }
        let mut value = vec![0_u8; all.len().div_ceil(8)];
        for (at, sequence) in all.iter().enumerate() {
            if session.replies.remove(sequence).is_some() {
                value[at / 8] |= 1 << (at % 8);
            }
            session.closed.insert(*sequence);
        }
        Reply::Value { value, version }
    }

    fn pass(&mut self, ts: u64) {
        let now = self.now.max(ts);
        self.now = now;
        self.keys.retain(|_, key| key.expire_at.is_none_or(|at| at > now));
    }

    fn apply(&mut self, command: &Command<Vec<u8>>, version: Version) -> Full {
        let stamp = command.stamp;
        if command.op == Op::OpenSession && stamp.session != SessionId::NONE && !stamp.session.is_of_node() {
            return Reply::Error(ErrorKind::Malformed);
        }
        if let Op::OpenNodeSession { node, core, boot } = command.op {
            return match stamp.session {
                SessionId::NONE => self.open_for_node(node, core, boot, version),
                _ => Reply::Error(ErrorKind::Malformed),
            };
        }
        if stamp.session == SessionId::NONE {
            return self.execute(command, version);
        }
        let old_len =
            self.keys.get(&(command.namespace, command.key.clone())).map_or(0, |key| key.value.len());
        let Some(session) = self.sessions.get_mut(&stamp.session) else {
            return Reply::Error(ErrorKind::SessionExpired);
        };
        if stamp.sequence == 0 || stamp.lowest_open > stamp.sequence {
            return Reply::Error(ErrorKind::Malformed);
        }
        session.last_used = version;
        let closes = command.op == Op::CloseSequences;
        let lowest_before = session.lowest_open;
        session.lowest_open = session.lowest_open.max(stamp.lowest_open);
        let lowest_open = session.lowest_open;
        let is_closed = stamp.sequence < lowest_open || session.closed.contains(&stamp.sequence);
        let held = session.replies.get(&stamp.sequence).cloned();
        let open_count = session.replies.range(lowest_open..).count();
        // A close sees what its own stamp closes.
        if !(closes && !is_closed && held.is_none() && open_count < LIMITS.replies_max) {
            session.replies.retain(|&sequence, _| sequence >= lowest_open);
        }
        if is_closed {
            return Reply::Error(ErrorKind::SequenceClosed);
        }
        if let Some((as_before, reply)) = held {
            return if as_before == asked(command) { reply } else { Reply::Error(ErrorKind::Malformed) };
        }
        let returns_old = matches!(
            command.op,
            Op::Set { return_old: true, .. }
                | Op::SetIf { return_old: true, .. }
                | Op::GetDelete
                | Op::GetExpire(_)
        );
        let old_len = if returns_old { old_len } else { 0 };
        let is_of_node = stamp.session.is_of_node();
        let open = session.replies.range(lowest_open..);
        let open_bytes: u64 = open.map(|(_, (_, reply))| REPLY_BYTES + value_len(reply)).sum();
        let too_long = open_bytes + REPLY_BYTES + old_len as u64 > LIMITS.session_bytes_max;
        if open_count == LIMITS.replies_max || !is_of_node && too_long {
            session.replies.retain(|&sequence, _| sequence >= lowest_open);
            return Reply::Error(ErrorKind::Busy);
        }
        let reply = if closes {
            let session = self.sessions.get_mut(&stamp.session).expect("found above");
            session.lowest_open = lowest_before;
            let reply = self.close(command, version);
            let session = self.sessions.get_mut(&stamp.session).expect("found above");
            session.lowest_open = lowest_open;
            session.replies.retain(|&sequence, _| sequence >= lowest_open);
            reply
        } else {
            self.execute(command, version)
        };
        let session = self.sessions.get_mut(&stamp.session).expect("still there");
        let reserved = LIMITS.replies_max as u64 * (REPLY_BYTES + SMALL_VALUE_BYTES);
        let larger = session.replies.values().map(|(_, reply)| value_len(reply));
        let shared: u64 = larger.map(|len| len.saturating_sub(SMALL_VALUE_BYTES)).sum();
        let len = value_len(&reply);
        let is_kept = len <= SMALL_VALUE_BYTES
            || len <= LIMITS.node_reply_bytes_max as u64
                && reserved + shared + (len - SMALL_VALUE_BYTES) <= LIMITS.session_bytes_max;
        let kept = if is_of_node && !is_kept { Reply::Error(ErrorKind::ReplyDropped) } else { reply.clone() };
        session.replies.insert(stamp.sequence, (asked(command), kept));
        while self.of_clients().map(|(_, session)| bytes_of(&session.replies)).sum::<u64>()
            > LIMITS.group_bytes_max
        {
            self.evict();
        }
        reply
    }

    fn evict(&mut self) {
        let oldest = self.of_clients().min_by_key(|(_, session)| session.last_used).map(|(&id, _)| id);
        self.sessions.remove(&oldest.expect("evicted only where there is one"));
    }

    fn execute(&mut self, command: &Command<Vec<u8>>, version: Version) -> Full {
        let name = (command.namespace, command.key.clone());
        let found = self.keys.get(&name).cloned();
        let at = |expiry| match expiry {
            Expiry::At(at) => Some(Some(at.0)),
            Expiry::After(ms) => Some(self.now.checked_add(ms)),
            Expiry::None | Expiry::Keep => None,
        };
        let bad = |expiry| at(expiry).is_some_and(|at| at.is_none_or(|at| at > i64::MAX as u64));
        match &command.op {
            Op::Set { condition, expiry, return_old, .. } => {
                if bad(*expiry) {
                    return Reply::Error(ErrorKind::BadExpiry);
                }
                let holds = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => found.is_none(),
                    Condition::IfPresent => found.is_some(),
                    Condition::IfVersion(wanted) => found.as_ref().is_some_and(|key| key.version == *wanted),
                };
                let expire_at = match expiry {
                    Expiry::Keep => found.as_ref().and_then(|key| key.expire_at),
                    other => at(*other).flatten(),
                };
                if holds && expire_at.is_some_and(|at| at <= self.now) {
                    self.keys.remove(&name);
                } else if holds {
                    self.keys.insert(name, Key { value: command.operand.clone(), version, expire_at });
                }
                match (return_old, found) {
                    (true, Some(key)) => Reply::Value { value: key.value, version: key.version },
                    (true, None) => Reply::Nil,
                    (false, _) if holds => Reply::Done { version },
                    (false, _) => Reply::Skipped,
                }
            }
            Op::Delete => Reply::Int(i64::from(self.keys.remove(&name).is_some())),
            Op::DeleteIfVersion(wanted) => match found {
                None => Reply::Int(0),
                Some(key) if key.version != *wanted => Reply::Skipped,
                Some(_) => {
                    self.keys.remove(&name);
                    Reply::Int(1)
                }
            },
            Op::IncrementBy(delta) => {
                let text = found.as_ref().map_or(b"0".to_vec(), |key| key.value.clone());
                let number = str::from_utf8(&text)
                    .ok()
                    .and_then(|text| text.parse::<i64>().ok().filter(|number| number.to_string() == text));
                let Some(number) = number else {
                    return Reply::Error(ErrorKind::NotAnInteger);
                };
                let Some(sum) = number.checked_add(*delta) else {
                    return Reply::Error(ErrorKind::Overflow);
                };
                let expire_at = found.and_then(|key| key.expire_at);
                self.keys.insert(name, Key { value: sum.to_string().into_bytes(), version, expire_at });
                Reply::Int(sum)
            }
            Op::IfEqual { then } => {
                let Some(key) = found.filter(|key| key.value == command.operand) else {
                    return Reply::Int(0);
                };
                let expire_at = match then {
                    Then::Delete => Some(self.now),
                    Then::RenewFor(_) | Then::ExtendBy(_) if key.expire_at.is_none() => return Reply::Int(0),
                    Then::ExpireAfter(ms) | Then::RenewFor(ms) => self.now.checked_add(*ms),
                    Then::ExtendBy(ms) => key.expire_at.and_then(|at| at.checked_add(*ms)),
                };
                match expire_at.filter(|&at| at <= i64::MAX as u64) {
                    None => return Reply::Error(ErrorKind::BadExpiry),
                    Some(at) if at <= self.now => drop(self.keys.remove(&name)),
                    Some(at) => {
                        let key = Key { value: key.value, version, expire_at: Some(at) };
                        self.keys.insert(name, key);
                    }
                }
                Reply::Int(1)
            }
            Op::SetExpiry(Expiry::Keep) => Reply::Error(ErrorKind::Malformed),
            Op::SetExpiry(expiry) => {
                if bad(*expiry) {
                    return Reply::Error(ErrorKind::BadExpiry);
                }
                let expire_at = at(*expiry).flatten();
                match found {
                    None => Reply::Int(0),
                    Some(key) if expire_at.is_none() && key.expire_at.is_none() => Reply::Int(0),
                    Some(_) if expire_at.is_some_and(|at| at <= self.now) => {
                        self.keys.remove(&name);
                        Reply::Int(1)
                    }
                    Some(key) => {
                        self.keys.insert(name, Key { expire_at, version, ..key });
                        Reply::Int(1)
                    }
                }
            }
            Op::GetDelete => match self.keys.remove(&name) {
                Some(key) => Reply::Value { value: key.value, version: key.version },
                None => Reply::Nil,
            },
            Op::GetExpire(expiry) => {
                let op = Op::SetExpiry(*expiry);
                let changed = self.execute(&Command { op, ..command.clone() }, version);
                match (changed, found) {
                    (Reply::Error(kind), _) => Reply::Error(kind),
                    (_, Some(key)) => Reply::Value { value: key.value, version: key.version },
                    (_, None) => Reply::Nil,
                }
            }
            Op::SetExpiryIf { expiry: Expiry::None | Expiry::Keep, .. } => Reply::Error(ErrorKind::Malformed),
            Op::SetExpiryIf { expiry, .. } if bad(*expiry) => Reply::Error(ErrorKind::BadExpiry),
            Op::SetExpiryIf { expiry, test } => {
                let Some(key) = found else { return Reply::Int(0) };
                let new = at(*expiry).flatten().unwrap_or(0);
                let old = key.expire_at.unwrap_or(u64::MAX);
                let holds = match test {
                    ExpiryTest::Unset => key.expire_at.is_none(),
                    ExpiryTest::Set => key.expire_at.is_some(),
                    ExpiryTest::Later => new > old,
                    ExpiryTest::Earlier => new < old,
                    ExpiryTest::SetEarlier => key.expire_at.is_some() && new < old,
                };
                if !holds {
                    return Reply::Int(0);
                }
                self.execute(&Command { op: Op::SetExpiry(*expiry), ..command.clone() }, version)
            }
            Op::SetIf { compare, expiry, return_old, .. } => {
                let (wanted, _, value) = split_compared(&command.operand).expect("made well formed");
                let holds = compares(found.as_ref(), wanted, *compare);
                let value = value.to_vec();
                // The rest is a SET that is done always or (on a key in its place) never.
                let set =
                    |condition| Op::Set { value_crc: 0, condition, expiry: *expiry, return_old: *return_old };
                let never = if found.is_some() { Condition::IfAbsent } else { Condition::IfPresent };
                let op = set(if holds { Condition::Always } else { never });
                self.execute(&Command { op, operand: value, ..command.clone() }, version)
            }
            Op::DeleteIf { compare } => {
                let holds = found.is_some() && compares(found.as_ref(), &command.operand, *compare);
                if holds {
                    self.keys.remove(&name);
                }
                Reply::Int(i64::from(holds))
            }
            Op::SetMany { condition, expiry } => {
                let packed = &command.operand;
                if bad(*expiry) {
                    return Reply::Error(ErrorKind::BadExpiry);
                }
                let at = |key: &[u8]| self.keys.get(&(command.namespace, key.to_vec()));
                let refused = pairs(packed).any(|pair| match condition {
                    Condition::Always => false,
                    Condition::IfAbsent => at(pair.key).is_some(),
                    Condition::IfPresent => at(pair.key).is_none(),
                    Condition::IfVersion(wanted) => at(pair.key).is_none_or(|key| key.version != *wanted),
                });
                if refused {
                    return Reply::Int(0);
                }
                for pair in pairs(packed) {
                    let op = Op::Set {
                        value_crc: pair.value_crc,
                        condition: Condition::Always,
                        expiry: *expiry,
                        return_old: false,
                    };
                    let (key, operand) = (pair.key.to_vec(), pair.value.to_vec());
                    self.execute(&Command { key, op, operand, ..command.clone() }, version);
                }
                Reply::Int(1)
            }
            Op::Rename { replace } | Op::Copy { replace } => {
                let renames = matches!(command.op, Op::Rename { .. });
                let Some(key) = found else { return if renames { Reply::Nil } else { Reply::Int(0) } };
                let other = (command.namespace, command.operand.clone());
                if self.keys.contains_key(&other) && !replace {
                    return Reply::Int(0);
                }
                if other == name {
                    return Reply::Int(i64::from(renames));
                }
                if renames {
                    self.keys.remove(&name);
                }
                self.keys.insert(other, Key { version, ..key });
                Reply::Int(1)
            }
            Op::Flush => {
                self.keys.clear();
                Reply::Done { version }
            }
            Op::RaiseLevel(_) => Reply::Done { version },
            Op::Get
            | Op::Exists
            | Op::Ttl
            | Op::ExpireTime
            | Op::CountKeys
            | Op::Scan { .. }
            | Op::RandomKey { .. }
            | Op::OpenNodeSession { .. } => Reply::Error(ErrorKind::Malformed),
            Op::OpenSession => self.open(version),
            // Outside of a session.
            Op::CloseSequences => Reply::Error(ErrorKind::Malformed),
        }
    }
}

fn compares(found: Option<&Key>, wanted: &[u8], compare: Compare) -> bool {
    let digest = |key: &Key| xxhash_rust::xxh3::xxh3_64(&key.value).to_le_bytes();
    match compare {
        Compare::Equal => found.is_some_and(|key| key.value == wanted),
        Compare::NotEqual => found.is_none_or(|key| key.value != wanted),
        Compare::DigestEqual => found.is_some_and(|key| digest(key) == wanted),
        Compare::DigestNotEqual => found.is_none_or(|key| digest(key) != wanted),
        Compare::Version => found.is_some_and(|key| version_bytes(key.version) == wanted),
    }
}

/// One step of a run. Times are relative to applied time, sessions are picked among those opened so far.
#[derive(Clone, Debug)]
enum Act {
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
    /// A command that was sent before comes again as it was.
    Again {
        which: Index,
    },
    /// What was read some time ago, perhaps of a version that is gone.
    Admit {
        read: Index,
    },
}

/// A value to be made: `len` bytes that differ from step to step, or a text.
#[derive(Clone, Debug)]
enum Seed {
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
        2 => proptest::sample::select(vec!["0", "10", "-7", "9223372036854775807", "-9223372036854775808", "01", "-0", "+1", ""])
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

/// Stands for the version the key has when the command is run; of a key that is not there, one it never had.
const CURRENT: Version = Version { slot: Slot::new(u64::MAX), position: 0 };

fn aim(command: &mut Command<Vec<u8>>, twin: &Twin) {
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
        3 => proptest::sample::select(vec![1, -1, 0, i64::MAX, i64::MIN]).prop_map(move |delta| plain(Op::IncrementBy(delta))),
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

fn thens() -> impl Strategy<Value = Then> {
    let span = || prop_oneof![4 => 0..30_u64, 1 => Just(i64::MAX as u64), 1 => Just(u64::MAX)];
    prop_oneof![
        Just(Then::Delete),
        span().prop_map(Then::ExpireAfter),
        span().prop_map(Then::RenewFor),
        span().prop_map(Then::ExtendBy),
    ]
}

fn acts() -> impl Strategy<Value = Act> {
    let later = prop_oneof![4 => 0..8_u64, 2 => 8..100_u64, 1 => 100..2_000_000_u64];
    let session = proptest::option::of(any::<Index>());
    prop_oneof![
        12 => (0..5_u8, ops(), session, 0..7_u64, 0..6_u64).prop_map(|(key, (op, seed), session, sequence, lowest_open)| {
            Act::Command { key, op, seed, session, sequence, lowest_open }
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

fn name(key: u8) -> (Namespace, Vec<u8>) {
    // Two namespaces, and one key that is empty.
    (Namespace::new(u16::from(key / 3)), vec![b'k'; usize::from(key % 3) * 9])
}

/// What the key is compared with: as it is, two times of three, or close to it.
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
fn command_of(act: &Act, step: usize, twin: &Twin, sessions: &[SessionId]) -> Option<Command<Vec<u8>>> {
    let now = twin.now;
    let (key, op, seed, session, sequence, lowest_open) = match act {
        Act::Command { key, op, seed, session, sequence, lowest_open } => {
            (key, op, seed, session, sequence, lowest_open)
        }
        Act::Open => {
            // Now and then under the session of a node.
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
        // Now and then a session that never was.
        session: if sessions.is_empty() { SessionId::new(5) } else { sessions[at.index(sessions.len())] },
        sequence: *sequence,
        lowest_open: *lowest_open,
    });
    Some(Command { namespace, key, op, operand, stamp })
}

proptest! {
    #[test]
    fn three_replicas_and_a_sorted_map_agree(start in prop_oneof![Just(1_u64), Just(1_790_000_000_000_u64)], acts in proptest::collection::vec(acts(), 1..120)) {
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
                        replica.store.admit(GROUP, *namespace, key, found, Room::Made);
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
