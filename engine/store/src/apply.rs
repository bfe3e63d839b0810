//! Applying one command: what it means, exactly once, and the same on every replica.
//!
//! Every operation runs in two halves. The first looks and may refuse or ask for a read; it changes nothing. The second
//! changes and cannot fail. Expiry is judged by applied time alone. May not: read a clock, let the cache decide anything but
//! whether a read is needed.

use crate::api::CacheHint;
use crate::group::Group;
use crate::index::{RecordId, Value};
use crate::list::NIL;
use crate::number;
use crate::sessions::Verdict;
use crate::slab::{Owner, Slab};
use crate::store::Buried;
use crate::version::PackedVersion;
use alloc::vec::Vec;
use synod_types::limits::INLINE_VALUE_BYTES_MAX;
use synod_types::{
    CommandRef, Condition, ErrorKind, Expiry, Location, Namespace, Op, Reply, SessionId, Version, WallMs,
};

mod compare;
mod many;
mod single;

/// Past this an expiry is no time: what is left of it must fit the signed reply of TTL, as in Redis.
pub(crate) const EXPIRE_AT_MAX: u64 = i64::MAX as u64; // lossless

/// What came of a command; `()` stands for the bytes left in `Turn::old_value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Reply(Reply<()>),
    /// The session has the reply.
    Recall,
    Read {
        location: Location,
        crc: u32,
    },
}

/// What a command asks the expiry to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Until {
    Forever,
    AsBefore,
    Time(WallMs),
    /// At or before applied time: the key is not to exist.
    Past,
}

/// A value that is to be written.
#[derive(Clone, Copy)]
struct Write<'a> {
    value: &'a [u8],
    crc: u32,
    /// Where it lies in the log; of no account if it is kept in the index.
    at: Location,
    until: Until,
}

/// Everything one command may look at and change.
pub(crate) struct Turn<'a> {
    pub(crate) group: &'a mut Group,
    pub(crate) group_at: u16,
    pub(crate) slab: &'a mut Slab,
    /// Indexes that were cleared.
    pub(crate) buried: &'a mut Vec<Buried>,
    pub(crate) version: Version,
    /// Where the command's operand lies in the log.
    pub(crate) value_at: Location,
    pub(crate) keep: CacheHint,
    /// What an earlier `Read` brought.
    pub(crate) old: Option<&'a [u8]>,
    /// Where a reply's value is put.
    pub(crate) old_value: &'a mut Vec<u8>,
}

impl Turn<'_> {
    pub(crate) fn apply(&mut self, command: &CommandRef<'_>) -> Outcome {
        let version = PackedVersion::pack(self.version);
        assert!(version > self.group.applied, "a command applied twice or out of order");
        self.old_value.clear();
        let outcome = self.apply_once(command, version);
        if !matches!(outcome, Outcome::Read { .. }) {
            self.group.applied = version;
        }
        outcome
    }

    /// The session's part.
    fn apply_once(&mut self, command: &CommandRef<'_>, version: PackedVersion) -> Outcome {
        let stamp = &command.stamp;
        match command.op {
            // Not within a client's session: the reply would have to outlive an eviction that it may itself have caused.
            Op::OpenSession if stamp.session != SessionId::NONE && !stamp.session.is_of_node() => {
                return Outcome::Reply(Reply::Error(ErrorKind::Malformed));
            }
            Op::OpenNodeSession { node, core, boot } => {
                if stamp.session != SessionId::NONE {
                    return Outcome::Reply(Reply::Error(ErrorKind::Malformed));
                }
                let opened = self.group.sessions.open_for_node(node, core, boot, version);
                return Outcome::Reply(match opened {
                    Some(id) => Reply::Session(id),
                    None => Reply::Error(ErrorKind::SessionExpired),
                });
            }
            _ => {}
        }
        let found = self.find(command.namespace, command.key);
        let verdict = self.group.sessions.judge(command, self.reply_value_len(command.op, found));
        let outcome = match verdict {
            Verdict::Execute => self.execute(command, found),
            Verdict::Repeat => Outcome::Recall,
            Verdict::Refuse(kind) => Outcome::Reply(Reply::Error(kind)),
        };
        if stamp.session == SessionId::NONE || matches!(outcome, Outcome::Read { .. }) {
            return outcome;
        }
        self.group.sessions.touch(stamp, version);
        if let (Verdict::Execute, Outcome::Reply(reply)) = (verdict, outcome) {
            let value = self.old_value.as_slice();
            self.group.sessions.remember(command, reply.map(|()| value));
        }
        outcome
    }

    /// The key as it is at applied time. One that has expired is removed on the way: it is gone already, so nothing that
    /// counts is changed.
    fn find(&mut self, namespace: Namespace, key: &[u8]) -> Option<RecordId> {
        let index = &self.group.index;
        let id = index.find(index.hash(namespace, key), namespace, key)?;
        if self.group.is_expired(id) {
            self.remove(id);
            return None;
        }
        Some(id)
    }

    fn reply_value_len(&self, op: Op, found: Option<RecordId>) -> usize {
        match (op, found) {
            (
                Op::Set { return_old: true, .. }
                | Op::SetIf { return_old: true, .. }
                | Op::GetDelete
                | Op::GetExpire(_),
                Some(id),
            ) => self.group.index.record(id).value.len(),
            _ => 0,
        }
    }

    fn execute(&mut self, command: &CommandRef<'_>, found: Option<RecordId>) -> Outcome {
        match command.op {
            Op::Set { .. } => self.execute_set(command, found),
            Op::Delete => Outcome::Reply(self.execute_delete(found)),
            Op::DeleteIfVersion(version) => Outcome::Reply(match found {
                Some(id) if !self.is_at(id, version) => Reply::Skipped,
                found => self.execute_delete(found),
            }),
            Op::IncrementBy(delta) => Outcome::Reply(self.execute_increment(command, found, delta)),
            Op::SetExpiry(expiry) => Outcome::Reply(self.execute_set_expiry(found, expiry)),
            Op::IfEqual { then } => self.execute_if_equal(found, command.operand, then),
            Op::GetDelete => self.execute_get_delete(found),
            Op::GetExpire(expiry) => self.execute_get_expire(found, expiry),
            Op::SetExpiryIf { expiry, test } => {
                Outcome::Reply(self.execute_set_expiry_if(found, expiry, test))
            }
            Op::SetIf { .. } => self.execute_set_if(command, found),
            Op::DeleteIf { compare } => self.execute_delete_if(found, command.operand, compare),
            Op::SetMany { condition, expiry } => {
                Outcome::Reply(self.execute_set_many(command, condition, expiry))
            }
            Op::Rename { replace } => Outcome::Reply(self.execute_rename(command, found, replace)),
            Op::Copy { replace } => Outcome::Reply(self.execute_copy(command, found, replace)),
            Op::Flush => Outcome::Reply(self.execute_flush()),
            Op::RaiseLevel(level) => {
                self.group.level = self.group.level.max(level);
                Outcome::Reply(Reply::Done { version: self.version })
            }
            Op::OpenSession => {
                let version = PackedVersion::pack(self.version);
                Outcome::Reply(Reply::Session(self.group.sessions.open(version)))
            }
            Op::CloseSequences => {
                let closed = self.group.sessions.close(command, self.old_value);
                Outcome::Reply(match closed {
                    Ok(()) => Reply::Value { value: (), version: self.version },
                    Err(kind) => Reply::Error(kind),
                })
            }
            // Reads are refused as entries and nodes' sessions are opened above; an answer is kinder than a crash.
            Op::Get
            | Op::Exists
            | Op::Ttl
            | Op::ExpireTime
            | Op::CountKeys
            | Op::Scan { .. }
            | Op::RandomKey { .. }
            | Op::OpenNodeSession { .. } => Outcome::Reply(Reply::Error(ErrorKind::Malformed)),
        }
    }

    fn execute_set(&mut self, command: &CommandRef<'_>, found: Option<RecordId>) -> Outcome {
        let Op::Set { value_crc, condition, expiry, return_old } = command.op else {
            unreachable!("called for Set only")
        };
        // An expiry that is no time is refused whatever the condition says, as in Redis.
        let Some(until) = self.resolve(expiry) else {
            return Outcome::Reply(Reply::Error(ErrorKind::BadExpiry));
        };
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => found.is_none(),
            Condition::IfPresent => found.is_some(),
            Condition::IfVersion(version) => found.is_some_and(|id| self.is_at(id, version)),
        };
        let reply = match (return_old, found) {
            (true, Some(id)) => match self.take_old(id) {
                Outcome::Reply(reply) => reply,
                read => return read,
            },
            (true, None) => Reply::Nil,
            (false, _) if holds => Reply::Done { version: self.version },
            (false, _) => Reply::Skipped,
        };
        // Nothing was changed up to here, and nothing below can fail.
        if holds {
            let write = Write { value: command.operand, crc: value_crc, at: self.value_at, until };
            self.put(command.namespace, command.key, found, write);
        }
        Outcome::Reply(reply)
    }

    /// Whether the key was last written at `version`. Compared unpacked: what a client sends need not fit the packed form.
    fn is_at(&self, id: RecordId, version: Version) -> bool {
        self.group.index.record(id).version.unpack() == version
    }

    fn execute_delete(&mut self, found: Option<RecordId>) -> Reply<()> {
        let Some(id) = found else {
            return Reply::Int(0);
        };
        self.remove(id);
        Reply::Int(1)
    }

    fn execute_increment(
        &mut self,
        command: &CommandRef<'_>,
        found: Option<RecordId>,
        delta: i64,
    ) -> Reply<()> {
        let before = match found.map(|id| &self.group.index.record(id).value) {
            None => Some(0),
            Some(Value::Inline { len, bytes }) => number::parse(&bytes[..usize::from(*len)]),
            // Longer than any number: no need to look.
            Some(Value::Log { .. }) => None,
            Some(Value::Free { .. }) => unreachable!("a free record was found"),
        };
        let Some(before) = before else {
            return Reply::Error(ErrorKind::NotAnInteger);
        };
        let Some(sum) = before.checked_add(delta) else {
            return Reply::Error(ErrorKind::Overflow);
        };
        let mut digits = [0; INLINE_VALUE_BYTES_MAX];
        let len = number::spell(sum, &mut digits);
        let write = Write { value: &digits[..len], crc: 0, at: Location::default(), until: Until::AsBefore };
        self.put(command.namespace, command.key, found, write);
        Reply::Int(sum)
    }

    fn execute_set_expiry(&mut self, found: Option<RecordId>, expiry: Expiry) -> Reply<()> {
        let Some(until) = self.resolve(expiry) else {
            return Reply::Error(ErrorKind::BadExpiry);
        };
        if until == Until::AsBefore {
            return Reply::Error(ErrorKind::Malformed);
        }
        let Some(id) = found else {
            return Reply::Int(0);
        };
        Reply::Int(i64::from(self.give_expiry(id, until)))
    }

    /// `None` where the time does not fit.
    fn resolve(&self, expiry: Expiry) -> Option<Until> {
        let applied_ts = self.group.applied_ts;
        let time = match expiry {
            Expiry::None => return Some(Until::Forever),
            Expiry::Keep => return Some(Until::AsBefore),
            Expiry::At(time) => time.0,
            Expiry::After(ms) => applied_ts.0.checked_add(ms)?,
        };
        if time > EXPIRE_AT_MAX {
            return None;
        }
        Some(if time <= applied_ts.0 { Until::Past } else { Until::Time(WallMs(time)) })
    }

    /// Copies the key's value into `old_value`, or says what to read.
    pub(crate) fn take_old(&mut self, id: RecordId) -> Outcome {
        let owner = Owner { record: id.0, group: self.group_at };
        let record = self.group.index.record(id);
        match &record.value {
            Value::Inline { len, bytes } => {
                self.old_value.extend_from_slice(&bytes[..usize::from(*len)]);
            }
            Value::Log { location, crc, cell } => {
                if let Some(old) = self.old {
                    assert!(old.len() == location.len as usize, "bytes read are not the value asked for");
                    self.old_value.extend_from_slice(old);
                } else if let Some(copy) = self.slab.get(*cell, owner, location.len, *crc) {
                    self.old_value.extend_from_slice(copy);
                } else {
                    return Outcome::Read { location: *location, crc: *crc };
                }
            }
            Value::Free { .. } => unreachable!("a free record was found"),
        }
        Outcome::Reply(Reply::Value { value: (), version: record.version.unpack() })
    }

    /// Writes a value, over the key's present one or as a new key; or removes the key if it is to be gone at once.
    fn put(&mut self, namespace: Namespace, key: &[u8], found: Option<RecordId>, write: Write<'_>) {
        let Write { value, until, .. } = write;
        let expire_at = match (until, found) {
            (Until::Past, Some(id)) => return self.remove(id),
            (Until::Past, None) => return,
            (Until::Forever, _) | (Until::AsBefore, None) => None,
            (Until::AsBefore, Some(id)) => self.group.index.expire_at(id),
            (Until::Time(time), _) => Some(time),
        };
        let version = PackedVersion::pack(self.version);
        let stored = stored(&write);
        let (id, cell) = match found {
            Some(id) => {
                let record = self.group.index.record_mut(id);
                let cell = record.value.cell();
                (record.version, record.value) = (version, stored);
                (id, cell)
            }
            None => {
                let hash = self.group.index.hash(namespace, key);
                (self.group.index.insert(hash, namespace, key, version, stored), NIL)
            }
        };
        if until != Until::AsBefore || found.is_none() {
            self.group.index.set_expiry(id, expire_at);
        }
        self.renew_copy(id, cell, value);
    }

    /// Keeps a copy of a new value, or none; the one of the value before, perhaps in `before`, is gone either way.
    fn renew_copy(&mut self, id: RecordId, before: u32, value: &[u8]) {
        let owner = Owner { record: id.0, group: self.group_at };
        match &mut self.group.index.record_mut(id).value {
            Value::Log { crc, cell, .. } if self.keep == CacheHint::Keep => {
                *cell = self.slab.replace(before, owner, *crc, value);
            }
            _ => self.slab.release(before, owner),
        }
    }

    pub(crate) fn remove(&mut self, id: RecordId) {
        remove(self.group, self.group_at, self.slab, id);
    }
}

fn stored(write: &Write<'_>) -> Value {
    if write.value.len() <= INLINE_VALUE_BYTES_MAX {
        return Value::inline(write.value);
    }
    assert!(write.at.len as usize == write.value.len(), "the value does not lie where it is said to");
    Value::Log { location: write.at, crc: write.crc, cell: NIL }
}

/// Removes a key and its cached copy.
pub(crate) fn remove(group: &mut Group, group_at: u16, slab: &mut Slab, id: RecordId) {
    let value = group.index.remove(id);
    slab.release(value.cell(), Owner { record: id.0, group: group_at });
}
