//! One replica with a log to read back from: the shard's part in a store's work, in a few lines.

use crate::sessions::{SESSION_LIMITS, SessionLimits};
use crate::{Applied, CacheAdmission, CacheHint, FoundValue, Lookup, Store, StoreConfig};
use alloc::{vec, vec::Vec};
use synod_types::{
    Command, CommandRef, Condition, Expiry, GroupId, Location, Namespace, Op, Reply, SegmentId, SessionId,
    SessionStamp, Slot, Version, WallMs,
};

pub(super) const GROUP: GroupId = GroupId::new(3);
pub(super) const NS: Namespace = Namespace::new(0);

pub(super) struct Rig {
    pub(super) store: Store,
    pub(super) keep: CacheHint,
    pub(super) version: Version,
    /// How often the store asked for a read.
    pub(super) reads: usize,
    log: Vec<u8>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(1 << 20, 7, SESSION_LIMITS)
    }

    pub(super) fn with(cache_bytes: usize, hash_seed: u64, limits: SessionLimits) -> Self {
        let groups = vec![GroupId::new(9), GROUP];
        let config = StoreConfig { groups, cache_bytes, hash_seed };
        // The log of each replica starts elsewhere: locations are not replicated.
        let log = vec![0xEE; hash_seed as usize % 1000];
        let version = Version { slot: Slot::new(1), position: 0 };
        Self { store: Store::with_limits(config, limits), keep: CacheHint::Keep, version, reads: 0, log }
    }

    /// Begins a slot of its own at `ts`.
    pub(super) fn at(&mut self, ts: u64) -> &mut Self {
        self.version = Version { slot: self.version.slot.next(), position: 0 };
        self.store.begin_slot(GROUP, WallMs(ts));
        self
    }

    pub(super) fn run(&mut self, command: Command<Vec<u8>>) -> Reply<Vec<u8>> {
        let mut value_at = Location::default();
        let value = command.operand.as_slice();
        if !value.is_empty() {
            value_at = Location {
                segment: SegmentId::new(1),
                offset: self.log.len() as u32,
                len: value.len() as u32,
            };
            self.log.extend_from_slice(value);
        }
        self.version.position += 1;
        let command = CommandRef {
            position: self.version.position,
            namespace: command.namespace,
            key: &command.key,
            op: command.op,
            operand: &command.operand,
            stamp: command.stamp,
            value_offset: 0,
        };
        let before = self.store.digest(GROUP);
        let (version, keep) = (self.version, self.keep);
        let (location, crc) = match self.store.apply(GROUP, &command, version, value_at, keep, None) {
            Applied::Reply(reply) => return reply.map(<[u8]>::to_vec),
            Applied::Read { location, crc } => (location, crc),
        };
        assert_eq!(self.store.digest(GROUP), before, "a command that asks for a read has changed something");
        self.reads += 1;
        let old = self.read(location);
        assert_eq!(synod_types::checksum::crc32c(&old), crc);
        match self.store.apply(GROUP, &command, version, value_at, keep, Some(&old)) {
            Applied::Reply(reply) => reply.map(<[u8]>::to_vec),
            Applied::Read { .. } => panic!("asked twice"),
        }
    }

    pub(super) fn admit(
        &mut self,
        key: &str,
        version: Version,
        value: &[u8],
        admission: CacheAdmission,
    ) -> bool {
        self.store.admit(GROUP, NS, key.as_bytes(), FoundValue::new(version, value), admission)
    }

    pub(super) fn read(&self, location: Location) -> Vec<u8> {
        let at = location.offset as usize;
        self.log[at..at + location.len as usize].to_vec()
    }

    /// The result of a read: value, version, expiry. A cold value comes from the log.
    pub(super) fn get_in(&mut self, namespace: Namespace, key: &[u8]) -> Option<(Vec<u8>, Version, WallMs)> {
        match self.store.lookup(GROUP, namespace, key) {
            Lookup::Missing => None,
            Lookup::Hit { value, version, expire_at } => Some((value.to_vec(), version, expire_at)),
            Lookup::Cold { location, value_crc, version, expire_at } => {
                let value = self.read(location);
                assert_eq!(synod_types::checksum::crc32c(&value), value_crc);
                Some((value, version, expire_at))
            }
        }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        self.get_in(NS, key.as_bytes()).map(|(value, ..)| value)
    }

    pub(super) fn is_cold(&mut self, key: &str) -> bool {
        matches!(self.store.lookup(GROUP, NS, key.as_bytes()), Lookup::Cold { .. })
    }

    pub(super) fn ttl(&self, key: &str) -> i64 {
        self.store.ttl_ms(GROUP, NS, key.as_bytes(), WallMs::ZERO)
    }

    pub(super) fn open(&mut self) -> SessionId {
        match self.run(command("", Op::OpenSession)) {
            Reply::Session(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn set(&mut self, key: &str, value: &[u8]) -> Reply<Vec<u8>> {
        self.run(command(key, set(value)))
    }
}

/// An operation and its operand.
#[derive(Clone, Debug)]
pub(super) struct Asked(pub Op, pub Vec<u8>);

impl From<Op> for Asked {
    fn from(op: Op) -> Self {
        Self(op, Vec::new())
    }
}

pub(super) fn command(key: &str, asked: impl Into<Asked>) -> Command<Vec<u8>> {
    let Asked(op, operand) = asked.into();
    Command::new(key.as_bytes().to_vec(), op, operand)
}

pub(super) fn stamped(
    mut command: Command<Vec<u8>>,
    session: SessionId,
    sequence: u64,
    lowest_open: u64,
) -> Command<Vec<u8>> {
    command.stamp = SessionStamp { session, sequence, lowest_open };
    command
}

pub(super) fn set(value: &[u8]) -> Asked {
    set_with(value, Condition::Always, Expiry::None)
}

pub(super) fn set_with(value: &[u8], condition: Condition, expiry: Expiry) -> Asked {
    let value_crc = synod_types::checksum::crc32c(value);
    Asked(Op::Set { value_crc, condition, expiry, return_old: false }, value.to_vec())
}

pub(super) fn set_get(value: &[u8], condition: Condition, expiry: Expiry) -> Asked {
    let value_crc = synod_types::checksum::crc32c(value);
    Asked(Op::Set { value_crc, condition, expiry, return_old: true }, value.to_vec())
}
