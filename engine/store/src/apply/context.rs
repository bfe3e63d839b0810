//! The state that one command may read and change, and the steps that operations are made of.
//!
//! Nothing here knows an operation. A step that may fail or ask for a read changes nothing; a step that
//! changes state cannot fail.

use crate::api::CacheHint;
use crate::group::{Buried, Group};
use crate::index::{RecordId, Value};
use crate::list::NIL;
use crate::slab::{Owner, Slab};
use crate::version::PackedVersion;
use alloc::vec::Vec;
use synod_types::limits::INLINE_VALUE_BYTES_MAX;
use synod_types::{Expiry, Location, Namespace, Reply, Version, WallMs};

/// The latest valid expiry: the time left must fit the signed reply of TTL, as in Redis.
pub(crate) const EXPIRE_AT_MAX: u64 = i64::MAX as u64; // lossless

/// The outcome of a command; `()` stands for the bytes left in [`ApplyContext::old_value`].
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

/// The expiry that a command asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    Forever,
    AsBefore,
    Time(WallMs),
    /// At or before applied time: the key must not exist.
    Past,
}

/// A value that is to be written.
#[derive(Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) crc: u32,
    /// Its place in the log; ignored if the value is kept in the index.
    pub(crate) at: Location,
    pub(crate) until: Until,
}

/// Everything that one command may read and change.
pub(crate) struct ApplyContext<'a> {
    pub(crate) group: &'a mut Group,
    pub(crate) group_at: u16,
    pub(crate) slab: &'a mut Slab,
    /// Cleared indexes that are to be freed.
    pub(crate) buried: &'a mut Vec<Buried>,
    pub(crate) version: Version,
    /// The place of the command's operand in the log.
    pub(crate) value_at: Location,
    pub(crate) keep: CacheHint,
    /// The bytes that an earlier `Read` asked for.
    pub(crate) old: Option<&'a [u8]>,
    /// Receives the value of a reply.
    pub(crate) old_value: &'a mut Vec<u8>,
}

impl ApplyContext<'_> {
    /// The key at applied time. An expired key is removed on the way; it was absent already, so nothing
    /// observable changes.
    pub(crate) fn find(&mut self, namespace: Namespace, key: &[u8]) -> Option<RecordId> {
        let index = &self.group.index;
        let id = index.find(index.hash(namespace, key), namespace, key)?;
        if self.group.is_expired(id) {
            self.remove(id);
            self.group.expired += 1;
            return None;
        }
        debug_assert!(
            self.group.index.record(id).version <= PackedVersion::pack(self.version),
            "a key was written by a later command"
        );
        Some(id)
    }

    /// Whether the key was last written at `version`. The comparison is unpacked, because a version that a
    /// client sends need not fit the packed form.
    pub(crate) fn is_at(&self, id: RecordId, version: Version) -> bool {
        self.group.index.record(id).version.unpack() == version
    }

    /// The expiry as a time; `None` if it is out of range.
    pub(crate) fn resolve(&self, expiry: Expiry) -> Option<Until> {
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

    /// Copies the key's value into `old_value`, or returns the read that it needs.
    pub(crate) fn take_old(&mut self, id: RecordId) -> Outcome {
        debug_assert!(self.old_value.is_empty(), "a reply holds one value");
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

    /// Writes a value to an existing or a new key; removes the key if its expiry has already passed.
    pub(crate) fn put(
        &mut self,
        namespace: Namespace,
        key: &[u8],
        found: Option<RecordId>,
        write: Write<'_>,
    ) {
        let Write { value, until, .. } = write;
        let expire_at = match (until, found) {
            (Until::Past, Some(id)) => return self.remove(id),
            (Until::Past, None) => return,
            (Until::Forever, _) | (Until::AsBefore, None) => None,
            (Until::AsBefore, Some(id)) => self.group.index.expire_at(id),
            (Until::Time(time), _) => Some(time),
        };
        debug_assert!(
            expire_at.is_none_or(|at| at > self.group.applied_ts),
            "a key that has expired already is not written"
        );
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

    /// Caches a copy of a new value, or none. The copy of the previous value, perhaps in `before`, is dropped
    /// either way.
    fn renew_copy(&mut self, id: RecordId, before: u32, value: &[u8]) {
        let owner = Owner { record: id.0, group: self.group_at };
        match &mut self.group.index.record_mut(id).value {
            Value::Log { crc, cell, .. } if self.keep == CacheHint::Keep => {
                *cell = self.slab.replace(before, owner, *crc, value);
            }
            _ => self.slab.release(before, owner),
        }
        debug_assert!(
            self.group.index.record(id).value.cell() == before || !self.slab.is_owner(before, owner),
            "the copy of the previous value is left"
        );
    }

    pub(crate) fn remove(&mut self, id: RecordId) {
        remove(self.group, self.group_at, self.slab, id);
    }

    /// Changes a key's expiry; false if there was nothing to change.
    pub(crate) fn give_expiry(&mut self, id: RecordId, until: Until) -> bool {
        debug_assert!(until != Until::AsBefore, "no change of an expiry");
        let expire_at = match until {
            Until::Forever if self.group.index.expire_at(id).is_none() => return false,
            Until::Forever | Until::AsBefore => None,
            Until::Time(time) => Some(time),
            Until::Past => {
                self.remove(id);
                return true;
            }
        };
        debug_assert!(expire_at.is_none_or(|at| at > self.group.applied_ts), "an expiry in the past");
        self.group.index.set_expiry(id, expire_at);
        self.group.index.record_mut(id).version = PackedVersion::pack(self.version);
        true
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
    let owner = Owner { record: id.0, group: group_at };
    slab.release(value.cell(), owner);
    debug_assert!(!slab.is_owner(value.cell(), owner), "the copy of a removed key is left");
}
