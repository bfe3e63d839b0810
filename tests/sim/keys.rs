//! The keys clients fight over: few, of four kinds, in every group. A key that has gathered too many unknown
//! writes is replaced by a new one (a new *generation*), so that the linearizability checker stays fast.

use crate::check::history::Subject;
use crate::check::model::MEMBER_COUNT;
use synod_types::{GroupId, bucket_of, group_of};

/// Unknown writes a key may gather before it is replaced.
const UNKNOWN_MAX: u32 = 6;
/// Operations a key may gather before it is replaced.
const OPERATIONS_MAX: u32 = 4000;

/// The commands a key is used with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SET, SET NX/XX, SET GET, DEL, EXISTS.
    Register,
    /// Mostly INCRBY.
    Counter,
    /// SET with short expiries, PEXPIRE, PERSIST.
    Expiring,
    /// One of a few keys that RENAME, COPY and MSET link.
    Family,
}

/// One key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its bytes.
    pub name: Vec<u8>,
    /// Its group.
    pub group: GroupId,
    /// Its kind.
    pub kind: Kind,
    /// The first key of its family; the key itself if it is not of that kind.
    pub first: u32,
    unknown_count: u32,
    operation_count: u32,
    place: usize,
}

impl Key {
    /// Whether a value of the key keeps the version it was written at: setting an expiry writes the key anew,
    /// and so does giving it another name.
    pub fn keeps_versions(&self) -> bool {
        !matches!(self.kind, Kind::Expiring | Kind::Family)
    }
}

/// All keys there ever were.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<Key>,
    /// The keys in use.
    live: Vec<u32>,
    next_name: u64,
    group_count: u16,
}

impl Keys {
    /// `per_kind` keys of each kind in each of `group_count` groups.
    pub fn new(group_count: u16, per_kind: u32) -> Self {
        let mut keys = Self { keys: Vec::new(), live: Vec::new(), next_name: 0, group_count };
        for group in 1..=group_count {
            for kind in [Kind::Register, Kind::Counter, Kind::Expiring, Kind::Family] {
                // A family already is several keys.
                let count = if kind == Kind::Family { per_kind.div_ceil(2) } else { per_kind };
                for _ in 0..count {
                    let place = keys.live.len();
                    let key = keys.make(GroupId::new(group), kind, place);
                    keys.live.push(key);
                }
            }
        }
        keys
    }
    /// The keys in use; for a family, its first key.
    pub fn live(&self) -> &[u32] {
        &self.live
    }
    /// The subject of an operation on `key`, as the checker names it.
    pub fn subject(&self, key: u32) -> Subject {
        let Key { group, first, .. } = self.keys[key as usize];
        Subject { group: group.get(), key: first, member: (key - first) as u8 } // below MEMBER_COUNT
    }
    /// How many keys there ever were: their numbers are `0..count`.
    pub fn count(&self) -> u32 {
        self.keys.len() as u32 // a few hundred
    }
    /// One key.
    pub fn get(&self, key: u32) -> &Key {
        &self.keys[key as usize]
    }
    /// A fresh key of `group`, not among those in use.
    pub fn fresh(&mut self, group: GroupId) -> u32 {
        self.make(group, Kind::Register, usize::MAX)
    }
    /// An operation on `key` begins.
    pub fn on_operation(&mut self, key: u32) {
        let key = self.keys[key as usize].first;
        let entry = &mut self.keys[key as usize];
        entry.operation_count += 1;
        if entry.operation_count >= OPERATIONS_MAX {
            self.rotate(key);
        }
    }
    /// A write of `key` ended without an answer.
    pub fn on_unknown(&mut self, key: u32) {
        let key = self.keys[key as usize].first;
        let entry = &mut self.keys[key as usize];
        entry.unknown_count += 1;
        if entry.unknown_count >= UNKNOWN_MAX {
            self.rotate(key);
        }
    }

    fn rotate(&mut self, key: u32) {
        let Key { group, kind, place, .. } = self.keys[key as usize];
        if self.live.get(place) == Some(&key) {
            self.live[place] = self.make(group, kind, place);
        }
    }

    fn make(&mut self, group: GroupId, kind: Kind, place: usize) -> u32 {
        let first = self.count();
        let count = if kind == Kind::Family { MEMBER_COUNT } else { 1 };
        for _ in 0..count {
            let name = self.name(group);
            self.keys.push(Key { name, group, kind, first, unknown_count: 0, operation_count: 0, place });
        }
        first
    }

    fn name(&mut self, group: GroupId) -> Vec<u8> {
        loop {
            self.next_name += 1;
            let name = format!("k{}", self.next_name).into_bytes();
            if group_of(bucket_of(&name), self.group_count) == group {
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_every_kind_and_a_key_with_unknown_writes_is_left() {
        let mut keys = Keys::new(4, 2);
        assert_eq!(keys.live().len(), 28);
        for &key in keys.live() {
            assert_eq!(group_of(bucket_of(&keys.get(key).name), 4), keys.get(key).group);
        }
        let family = *keys.live().iter().find(|&&key| keys.get(key).kind == Kind::Family).expect("one");
        let last = family + MEMBER_COUNT as u32 - 1;
        assert_eq!(keys.subject(last).key, family);
        assert_eq!(usize::from(keys.subject(last).member), MEMBER_COUNT - 1);
        assert_eq!(keys.get(last).group, keys.get(family).group);
        let first = keys.live()[0];
        for _ in 0..UNKNOWN_MAX {
            keys.on_unknown(first);
        }
        let next = keys.live()[0];
        assert_ne!(first, next);
        assert_eq!(
            (keys.get(first).group, keys.get(first).kind),
            (keys.get(next).group, keys.get(next).kind)
        );
        keys.on_unknown(first);
        assert_eq!(keys.live()[0], next, "a key is left once");
    }
}
