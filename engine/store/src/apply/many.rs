//! Operations on several keys of one group, each atomic in its one command: MSETNX, MSETEX, RENAME, COPY, FLUSHALL.
//!
//! A value that is renamed or copied stays where it lies in the log: the index names the place a second time. So a place
//! in the log may have more than one owner, and none whose key is the one written beside it.

use super::{Turn, Write};
use crate::index::{RecordId, Value};
use crate::list::NIL;
use crate::slab::Owner;
use crate::store::Buried;
use crate::version::PackedVersion;
use synod_types::operand::{are_pairs, pairs};
use synod_types::{CommandRef, Condition, ErrorKind, Expiry, Namespace, Reply, WallMs};

/// What RENAME and COPY take from one key to another.
struct Taken {
    value: Value,
    expire_at: Option<WallMs>,
}

impl Turn<'_> {
    pub(super) fn execute_set_many(
        &mut self,
        command: &CommandRef<'_>,
        condition: Condition,
        expiry: Expiry,
    ) -> Reply<()> {
        let packed = command.operand;
        if !are_pairs(packed) {
            return Reply::Error(ErrorKind::Malformed);
        }
        let Some(until) = self.resolve(expiry) else {
            return Reply::Error(ErrorKind::BadExpiry);
        };
        let holds = pairs(packed).all(|pair| {
            let found = self.find(command.namespace, pair.key);
            match condition {
                Condition::Always => true,
                Condition::IfAbsent => found.is_none(),
                Condition::IfPresent => found.is_some(),
                Condition::IfVersion(version) => found.is_some_and(|id| self.is_at(id, version)),
            }
        });
        if !holds {
            return Reply::Int(0);
        }
        for pair in pairs(packed) {
            // Looked up again: a key may be named twice, and the last one counts.
            let found = self.find(command.namespace, pair.key);
            let at = self.value_at.part(pair.value_at as u32, pair.value.len() as u32); // within VALUE_BYTES_MAX
            let write = Write { value: pair.value, crc: pair.value_crc, at, until };
            self.put(command.namespace, pair.key, found, write);
        }
        Reply::Int(1)
    }

    pub(super) fn execute_rename(
        &mut self,
        command: &CommandRef<'_>,
        found: Option<RecordId>,
        replace: bool,
    ) -> Reply<()> {
        let Some(id) = found else { return Reply::Nil };
        let target = command.operand;
        let there = self.find(command.namespace, target);
        if there.is_some() && !replace {
            return Reply::Int(0);
        }
        if there == Some(id) {
            return Reply::Int(1);
        }
        let taken = self.take(id);
        self.remove(id);
        self.give(command.namespace, target, there, taken);
        Reply::Int(1)
    }

    pub(super) fn execute_copy(
        &mut self,
        command: &CommandRef<'_>,
        found: Option<RecordId>,
        replace: bool,
    ) -> Reply<()> {
        let Some(id) = found else { return Reply::Int(0) };
        let target = command.operand;
        let there = self.find(command.namespace, target);
        if there == Some(id) || (there.is_some() && !replace) {
            return Reply::Int(0);
        }
        let taken = self.take(id);
        self.give(command.namespace, target, there, taken);
        Reply::Int(1)
    }

    /// Every key goes at once, whatever their number: no key is visited. What held them, and the cache's copies, are given back
    /// piece by piece, see [`crate::Store::bury`].
    pub(super) fn execute_flush(&mut self) -> Reply<()> {
        let cleared = self.group.index.clear();
        self.buried.push(Buried { group_at: self.group_at, index: cleared });
        Reply::Done { version: self.version }
    }

    fn take(&self, id: RecordId) -> Taken {
        let value = match self.group.index.record(id).value {
            // The copy in the cache is the other key's.
            Value::Log { location, crc, .. } => Value::Log { location, crc, cell: NIL },
            other => other,
        };
        Taken { value, expire_at: self.group.index.expire_at(id) }
    }

    fn give(&mut self, namespace: Namespace, key: &[u8], there: Option<RecordId>, taken: Taken) {
        let version = PackedVersion::pack(self.version);
        let index = &mut self.group.index;
        let id = match there {
            Some(id) => {
                let record = index.record_mut(id);
                let cell = record.value.cell();
                (record.version, record.value) = (version, taken.value);
                self.slab.release(cell, Owner { record: id.0, group: self.group_at });
                id
            }
            None => index.insert(index.hash(namespace, key), namespace, key, version, taken.value),
        };
        index.set_expiry(id, taken.expire_at);
    }
}
