//! The slow, dumb twin of the store: one sorted map of keys, one of sessions, and a page of rules.

use crate::sessions::{REPLY_BYTES, SMALL_VALUE_BYTES, SessionLimits};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::ToString,
    vec,
    vec::Vec,
};
use synod_types::operand::{pairs, ranges, split_compared, version_bytes};
use synod_types::{
    Boot, Command, Compare, Condition, CoreId, ErrorKind, Expiry, ExpiryTest, IfEqualAction, Level,
    Namespace, NodeId, Op, Reply, SessionId, Version,
};

/// Small enough that runs reach every bound.
pub(super) const LIMITS: SessionLimits = SessionLimits {
    sessions_max: 3,
    replies_max: 4,
    session_bytes_max: 4 * REPLY_BYTES + 3_000,
    group_bytes_max: 2 * (4 * REPLY_BYTES + 3_000),
    node_reply_bytes_max: 1_500,
};

/// A reply with its bytes.
pub(super) type Full = Reply<Vec<u8>>;

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) value: Vec<u8>,
    pub(super) version: Version,
    pub(super) expire_at: Option<u64>,
}

#[derive(Default)]
pub(super) struct TwinSession {
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
pub(super) struct Twin {
    pub(super) now: u64,
    pub(super) keys: BTreeMap<(Namespace, Vec<u8>), Key>,
    pub(super) sessions: BTreeMap<SessionId, TwinSession>,
    /// By node: its last boot, and its cores' sessions.
    pub(super) holders: BTreeMap<NodeId, (Boot, BTreeMap<CoreId, SessionId>)>,
    /// Whether the writes of a node's session are executed in order only.
    pub(super) in_order: bool,
}

impl Twin {
    fn of_clients(&self) -> impl Iterator<Item = (&SessionId, &TwinSession)> {
        self.sessions.iter().filter(|(id, _)| !id.is_of_node())
    }

    fn open(&mut self, version: Version) -> Full {
        if self.of_clients().count() == LIMITS.sessions_max {
            self.evict();
        }
        let id = SessionId::new(version.slot.get() * 65536 + u64::from(version.position));
        self.sessions.insert(id, TwinSession { last_used: version, ..TwinSession::default() });
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
        self.sessions.entry(id).or_insert(TwinSession { last_used: version, ..TwinSession::default() });
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
        // Sequences that the stamp itself closes are closed only after this.
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

    pub(super) fn pass(&mut self, ts: u64) {
        let now = self.now.max(ts);
        self.now = now;
        self.keys.retain(|_, key| key.expire_at.is_none_or(|at| at > now));
    }

    pub(super) fn apply(&mut self, command: &Command<Vec<u8>>, version: Version) -> Full {
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
        // A close sees the sequences that its own stamp closes.
        if !(closes && !is_closed && held.is_none() && open_count < LIMITS.replies_max) {
            session.replies.retain(|&sequence, _| sequence >= lowest_open);
        }
        if is_closed {
            return Reply::Error(ErrorKind::SequenceClosed);
        }
        if let Some((as_before, reply)) = held {
            return if as_before == asked(command) { reply } else { Reply::Error(ErrorKind::Malformed) };
        }
        let is_early = (lowest_open.max(1)..stamp.sequence)
            .any(|before| !session.replies.contains_key(&before) && !session.closed.contains(&before));
        if self.in_order && stamp.session.is_of_node() && !closes && is_early {
            return Reply::Error(ErrorKind::NoLeader);
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
                    IfEqualAction::Delete => Some(self.now),
                    IfEqualAction::RenewFor(_) | IfEqualAction::ExtendBy(_) if key.expire_at.is_none() => {
                        return Reply::Int(0);
                    }
                    IfEqualAction::ExpireAfter(ms) | IfEqualAction::RenewFor(ms) => self.now.checked_add(*ms),
                    IfEqualAction::ExtendBy(ms) => key.expire_at.and_then(|at| at.checked_add(*ms)),
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
                // The rest is a SET that is done always or (if the key exists) never.
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
            Op::RaiseLevel(level) => {
                self.in_order |= *level >= Level::IN_ORDER;
                Reply::Done { version }
            }
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
