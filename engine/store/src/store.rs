//! The store of one core: its groups and the cache they share.

use crate::api::{Applied, CacheAdmission, CacheHint, CacheStats, FoundValue, Lookup, StoreConfig};
use crate::apply::{self, ApplyContext, Outcome};
#[cfg(feature = "canary")]
use crate::flaw::Flaw;
use crate::group::{Buried, Group};
use crate::index::{self, Value};
use crate::scan::{self, RandomKey};
use crate::sessions::{SESSION_LIMITS, SessionLimits};
use crate::slab::{Owner, Slab};
use alloc::vec::Vec;
use synod_types::limits::{GROUP_COUNT_MAX, INLINE_VALUE_BYTES_MAX};
use synod_types::{CommandRef, GroupId, Level, Location, Namespace, Reply, SessionId, Version, WallMs};

/// Stands for "not on this core".
const ABSENT: u16 = u16::MAX;
const _: () = assert!(GROUP_COUNT_MAX < ABSENT);

/// The replicated state of one core's groups.
///
/// Every call panics for a group that the store was not made with: that is a bug of the caller.
#[derive(Debug)]
pub struct Store {
    groups: Vec<Group>,
    /// Index in `groups` by group id.
    places: Vec<u16>,
    slab: Slab,
    /// Indexes that FLUSHALL has cleared and [`Store::bury`] has not freed yet.
    buried: Vec<Buried>,
    /// Marks the scan positions that this store hands out.
    scan_tag: u16,
    /// The old value of the last reply, if it has one.
    old_value: Vec<u8>,
    /// Scratch of [`Store::warm`].
    warmed: Vec<u32>,
}

impl Store {
    /// Empty groups.
    ///
    /// # Panics
    /// When a group is named twice or its id is past the limit, or the cache budget is more than cell numbers
    /// can address (256 GiB).
    pub fn new(config: StoreConfig) -> Self {
        Self::with_limits(config, SESSION_LIMITS)
    }

    pub(crate) fn with_limits(config: StoreConfig, limits: SessionLimits) -> Self {
        let hasher = index::hasher(config.hash_seed);
        let mut places = Vec::new();
        let mut groups = Vec::new();
        for group in config.groups {
            let id = usize::from(group.get());
            assert!(group.get() <= GROUP_COUNT_MAX, "{group} is past the limit");
            if places.len() <= id {
                places.resize(id + 1, ABSENT);
            }
            assert!(places[id] == ABSENT, "{group} is named twice");
            places[id] = groups.len() as u16; // at most GROUP_COUNT_MAX + 1
            groups.push(Group::new(hasher.clone(), limits));
        }
        assert!(places.iter().filter(|&&place| place != ABSENT).count() == groups.len());
        let scan_tag = (crate::digest::mix(config.hash_seed) >> 48) as u16 | 1; // 0 marks no store
        assert!(scan_tag != 0);
        let slab = Slab::new(config.cache_bytes);
        Self { groups, places, slab, buried: Vec::new(), scan_tag, old_value: Vec::new(), warmed: Vec::new() }
    }

    /// Plants a known bug (tests only).
    #[cfg(feature = "canary")]
    pub fn set_flaw(&mut self, flaw: Flaw) {
        for group in &mut self.groups {
            group.sessions.flaw = Some(flaw);
        }
    }

    /// Begins a slot: the group's applied time becomes `max(applied time, ts)`. It never goes back and is
    /// equal on all replicas that have applied the same slots. Call it for slots without commands too: they
    /// advance time.
    pub fn begin_slot(&mut self, group: GroupId, ts: WallMs) {
        let group = self.group_mut(group);
        group.applied_ts = group.applied_ts.max(ts);
        debug_assert!(group.applied_ts >= ts, "a slot before its time");
    }

    /// Loads the keys and sessions of `commands` into the processor's caches ahead of [`Store::apply`].
    /// Changes nothing that can be observed.
    pub fn warm(&mut self, group: GroupId, commands: &[CommandRef<'_>]) {
        let group = &self.groups[usize::from(self.place(group))];
        let keys = commands.iter().map(|command| (command.namespace, command.key));
        group.index.warm(keys, &mut self.warmed);
        let sessions =
            commands.iter().map(|command| command.stamp).filter(|stamp| stamp.session != SessionId::NONE);
        group.sessions.warm(sessions, &mut self.warmed);
    }

    /// Applies one command of the slot that was begun.
    ///
    /// `value_at` is the place of the command's operand in the log ([`synod_types::Command::operand`]); it is
    /// ignored for commands that write nothing of it and for values that are kept in the index. `old` is
    /// `None`, or after [`Applied::Read`] the bytes that it asked for, checked by the caller. The bytes of a
    /// reply are valid until the next call.
    ///
    /// The semantics of commands (those of Redis for the commands that Redis has):
    /// - A key whose expiry is at or below applied time is absent for every purpose.
    /// - `version` becomes the key's version whenever anything about the key changes, value or expiry.
    /// - An expiry past `i64::MAX` milliseconds is `BadExpiry`, whatever the condition; nothing is changed.
    /// - `Set` with an expiry that has passed deletes the key and replies `Done`; `SetExpiry` with one
    ///   deletes it and replies 1.
    /// - `SetExpiry(Keep)` is `Malformed`. `SetExpiry` on an absent key, and PERSIST on a key without an
    ///   expiry, reply 0.
    /// - `return_old` replies the old value or `Nil`, whether or not the condition held.
    /// - `SetIf` and `DeleteIf` compare first and act only if the comparison holds. An absent key is equal to
    ///   nothing.
    /// - `SetMany` sets all of its keys or none. If a key is named twice, its last value counts.
    /// - `Rename` onto itself replies 1 and changes nothing (0 if it may not replace). `Copy` onto itself
    ///   replies 0.
    /// - `Flush` keeps applied time and sessions.
    /// - In a session, `SequenceClosed`, `SessionExpired`, `Busy` and a malformed stamp are refused without
    ///   executing or remembering anything; every other reply is remembered, errors included. `Busy` means
    ///   that too many replies (or bytes of them) are open: once the client has closed some, the same
    ///   sequence may be sent again. `OpenSession` with a client's stamp is `Malformed`. A sequence of 0, or
    ///   below its own `lowest_open`, is malformed, and so is one that was used for another command.
    /// - In a node's session the bytes of replies never cause a refusal: a reply that is too large is
    ///   dropped, and `ReplyDropped` is remembered in its place.
    ///
    /// # Panics
    /// When `version` is not above the last one applied in this group, or a long value's `value_at` has
    /// another length.
    pub fn apply(
        &mut self,
        group: GroupId,
        command: &CommandRef<'_>,
        version: Version,
        value_at: Location,
        keep: CacheHint,
        old: Option<&[u8]>,
    ) -> Applied<'_> {
        debug_assert!(
            old.is_none_or(|old| old.len() > INLINE_VALUE_BYTES_MAX),
            "the index keeps short values"
        );
        let group_at = self.place(group);
        // The sweep runs before the command and not after it, because the reply borrows from the store.
        let mut owed = self.groups[usize::from(group_at)].index.take_owed();
        if owed > 0 {
            self.expire_at(group_at, &mut owed);
        }
        let group = &mut self.groups[usize::from(group_at)];
        let mut context = ApplyContext {
            group,
            group_at,
            slab: &mut self.slab,
            buried: &mut self.buried,
            version,
            value_at,
            keep,
            old,
            old_value: &mut self.old_value,
        };
        match apply::apply(&mut context, command) {
            Outcome::Reply(reply) => {
                let value = self.old_value.as_slice();
                Applied::Reply(reply.map(|()| value))
            }
            Outcome::Recall => {
                Applied::Reply(self.groups[usize::from(group_at)].sessions.recall(&command.stamp))
            }
            Outcome::Read { location, crc } => Applied::Read { location, crc },
        }
    }

    /// The reply of a write of a session, if it was executed as far as is applied and the reply is remembered.
    pub fn executed(&self, group: GroupId, command: &CommandRef<'_>) -> Option<Reply<&[u8]>> {
        self.group(group).sessions.executed(command)
    }

    /// The lowest sequence of a node's session that is neither executed nor closed at applied time; none if
    /// there is no such session.
    pub fn frontier(&self, group: GroupId, session: SessionId) -> Option<u64> {
        self.group(group).sessions.frontier(session)
    }

    /// Finds a key's value at applied time. A value from the cache counts as used.
    pub fn lookup(&mut self, group: GroupId, namespace: Namespace, key: &[u8]) -> Lookup<'_> {
        let group_at = self.place(group);
        let group = &self.groups[usize::from(group_at)];
        let Some(id) = group.find_live(namespace, key) else {
            return Lookup::Missing;
        };
        let expire_at = group.index.expire_at(id).unwrap_or(WallMs::ZERO);
        let record = group.index.record(id);
        debug_assert!(record.version <= group.applied, "a key was written by no command");
        let version = record.version.unpack();
        match &record.value {
            Value::Inline { len, bytes } => {
                Lookup::Hit { value: &bytes[..usize::from(*len)], version, expire_at }
            }
            Value::Log { location, crc, cell } => {
                debug_assert!(location.len as usize > INLINE_VALUE_BYTES_MAX, "the index keeps short values");
                let owner = Owner { record: id.0, group: group_at };
                match self.slab.get(*cell, owner, location.len, *crc) {
                    Some(value) => Lookup::Hit { value, version, expire_at },
                    None => Lookup::Cold { location: *location, value_crc: *crc, version, expire_at },
                }
            }
            Value::Free { .. } => unreachable!("a free record was found"),
        }
    }

    /// The level that all members of the group read, as its log says.
    pub fn level(&self, group: GroupId) -> Level {
        self.group(group).level
    }

    /// Whether the key exists at applied time.
    pub fn exists(&self, group: GroupId, namespace: Namespace, key: &[u8]) -> bool {
        self.group(group).find_live(namespace, key).is_some()
    }

    /// Milliseconds until the key expires: -2 without the key, -1 without an expiry, else
    /// `max(0, expire_at - max(applied time, clock))`. Applied time decides whether the key exists, so a key
    /// that has expired only by `clock` still answers 0.
    pub fn ttl_ms(&self, group: GroupId, namespace: Namespace, key: &[u8], clock: WallMs) -> i64 {
        let group = self.group(group);
        let Some(id) = group.find_live(namespace, key) else {
            return -2;
        };
        let Some(expire_at) = group.index.expire_at(id) else {
            return -1;
        };
        debug_assert!(expire_at > group.applied_ts, "an expired key exists");
        let left = expire_at.0.saturating_sub(group.applied_ts.max(clock).0);
        i64::try_from(left).unwrap_or(i64::MAX) // an expiry is never past i64::MAX
    }

    /// Puts the value of a key, read from the log or another replica, into the cache; true if a copy is held
    /// now. Does nothing unless the key still has exactly this version, and the bytes are those in the log.
    pub fn admit(
        &mut self,
        group: GroupId,
        namespace: Namespace,
        key: &[u8],
        found: FoundValue<'_>,
        admission: CacheAdmission,
    ) -> bool {
        let group_at = self.place(group);
        let group = &mut self.groups[usize::from(group_at)];
        let Some(id) = group.find_live(namespace, key) else {
            return false;
        };
        let owner = Owner { record: id.0, group: group_at };
        let record = group.index.record_mut(id);
        if record.version.unpack() != found.version {
            return false;
        }
        match &mut record.value {
            Value::Log { location, crc, cell } if location.len as usize == found.bytes.len() => {
                let is_wanted = !self.slab.is_owner(*cell, owner)
                    && (admission == CacheAdmission::MayEvict || self.slab.has_room(found.bytes.len()));
                // The checksum is computed last, because it reads the whole value.
                if is_wanted && found.crc() == *crc {
                    *cell = self.slab.insert(owner, *crc, found.bytes);
                }
                self.slab.is_owner(*cell, owner)
            }
            _ => false,
        }
    }

    /// Whether [`Store::lookup`] would need no read from disk. Does not count as a use.
    pub fn is_at_hand(&self, group: GroupId, namespace: Namespace, key: &[u8]) -> bool {
        let group_at = self.place(group);
        let group = &self.groups[usize::from(group_at)];
        let Some(id) = group.find_live(namespace, key) else {
            return true;
        };
        match &group.index.record(id).value {
            Value::Log { cell, .. } => self.slab.is_owner(*cell, Owner { record: id.0, group: group_at }),
            _ => true,
        }
    }

    /// The length of a key's value, 0 without the key.
    pub fn value_bytes(&self, group: GroupId, namespace: Namespace, key: &[u8]) -> usize {
        let group = self.group(group);
        let Some(id) = group.find_live(namespace, key) else { return 0 };
        match &group.index.record(id).value {
            Value::Inline { len, .. } => usize::from(*len),
            Value::Log { location, .. } => location.len as usize,
            Value::Free { .. } => unreachable!("a free record was found"),
        }
    }

    /// A time after applied time that is not later than the earliest expiry after it; `None` if no key
    /// expires after it. When that time has come, applied time must advance, even if earlier expired keys are
    /// not removed yet. While [`Store::expire`] has not sorted out what has expired, it is the next
    /// millisecond.
    pub fn next_expiry(&self, group: GroupId) -> Option<WallMs> {
        let group = self.group(group);
        let next = group.index.next_expiry(group.applied_ts);
        debug_assert!(next.is_none_or(|next| next >= group.applied_ts), "a time that has passed comes");
        next
    }

    /// When the key expires, in milliseconds since the epoch: -2 without the key, -1 without an expiry.
    pub fn expire_time(&self, group: GroupId, namespace: Namespace, key: &[u8]) -> i64 {
        let group = self.group(group);
        let Some(id) = group.find_live(namespace, key) else { return -2 };
        let WallMs(time) = group.index.expire_at(id).unwrap_or(WallMs(u64::MAX));
        i64::try_from(time).unwrap_or(-1) // an expiry is never past i64::MAX
    }

    /// Writes one page of a group's keys to `page` (see [`synod_types::operand::scan_page`]): about `count`
    /// of them, starting at `position`, which is 0 or taken from the last page. A page may be empty before
    /// the end.
    pub fn scan(&self, group: GroupId, namespace: Namespace, position: u64, count: u32, page: &mut Vec<u8>) {
        scan::page(self.group(group), self.scan_tag, namespace, position, count, page);
    }

    /// A key of the group, chosen by `draw`. Not all keys are equally likely: a key that follows removed ones
    /// is chosen in their place too.
    pub fn random_key(&self, group: GroupId, namespace: Namespace, draw: u64) -> RandomKey<'_> {
        scan::random_key(self.group(group), namespace, draw)
    }

    /// Removes keys whose expiry is at or below applied time, in at most `budget` steps of work (a step
    /// removes a key or brings one closer). If any budget is left afterwards, nothing is left to do. Nothing
    /// observable changes, since such keys are absent already. [`Store::apply`] makes such steps too, for
    /// each expiry that it sets.
    pub fn expire(&mut self, group: GroupId, budget: &mut usize) {
        let group_at = self.place(group);
        self.expire_at(group_at, budget);
    }

    /// The number of keys that were removed because they had expired.
    pub fn expired(&self, group: GroupId) -> u64 {
        self.group(group).expired
    }

    /// Frees what FLUSHALL cleared, in at most `budget` steps of work (a step frees some hundred keys, with
    /// their copies in the cache). Nothing observable changes.
    pub fn bury(&mut self, budget: usize) {
        for _ in 0..budget {
            let Some(Buried { group_at, index }) = self.buried.last_mut() else { return };
            // The cell may by now belong to a newer record with the same number; then that record loses its
            // copy, no more.
            let slab = &mut self.slab;
            let group = *group_at;
            let is_left =
                index.drop_some(|id, value| slab.release(value.cell(), Owner { record: id.0, group }));
            if !is_left {
                self.buried.pop();
            }
        }
    }

    /// Keys in the index. An expired key counts until it is removed, so replicas may differ by those. They
    /// are few or soon gone: see [`Store::expire`].
    pub fn keys(&self, group: GroupId) -> u64 {
        self.group(group).index.count()
    }

    /// Those of the keys in the index that have an expiry.
    pub fn expiring(&self, group: GroupId) -> u64 {
        self.group(group).index.expiring()
    }

    /// The group's applied time.
    pub fn applied_ts(&self, group: GroupId) -> WallMs {
        self.group(group).applied_ts
    }

    /// The statistics of the cache.
    pub fn cache_stats(&self) -> CacheStats {
        self.slab.stats()
    }

    /// A hash of the group's replicated state, equal on replicas that applied the same slots: applied time,
    /// keys, versions, expiries, values (long ones by length and CRC), sessions with their replies and order
    /// of use. Walks all keys.
    pub fn digest(&self, group: GroupId) -> u64 {
        self.group(group).digest()
    }

    /// Checks every invariant that holds between calls. Walks everything.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn invariants(&self) {
        self.slab.invariants();
        for group in &self.groups {
            group.invariants();
            for (id, ..) in group.index.iter() {
                let record = group.index.record(id);
                assert!(record.version <= group.applied);
                if let Value::Log { location, .. } = record.value {
                    assert!(location.len as usize > INLINE_VALUE_BYTES_MAX);
                }
            }
        }
        let stats = self.slab.stats();
        assert!(stats.bytes <= stats.bytes_max && stats.cells == self.slab.owners().count() as u64);
        for (cell, owner) in self.slab.owners() {
            let cleared = self.buried.iter().filter(|buried| buried.group_at == owner.group);
            let mut owners = cleared
                .map(|buried| &buried.index)
                .chain([&self.groups[usize::from(owner.group)].index])
                .filter_map(|index| index.value(index::RecordId(owner.record)));
            assert!(
                owners.any(|value| matches!(value, Value::Log { cell: held, .. } if *held == cell)),
                "a cell's owner does not know it"
            );
        }
    }

    fn expire_at(&mut self, group_at: u16, budget: &mut usize) {
        let group = &mut self.groups[usize::from(group_at)];
        let (keys, expired) = (group.index.count(), group.expired);
        while let Some(id) = group.index.pop_due(group.applied_ts, budget) {
            apply::remove(group, group_at, &mut self.slab, id);
            group.expired += 1;
        }
        debug_assert!(
            group.index.count() + (group.expired - expired) == keys,
            "every key that has expired is removed, and no other"
        );
    }

    fn place(&self, group: GroupId) -> u16 {
        let place = self.places.get(usize::from(group.get())).copied().unwrap_or(ABSENT);
        assert!(place != ABSENT, "{group} is not on this core");
        debug_assert!(usize::from(place) < self.groups.len());
        place
    }
    fn group(&self, group: GroupId) -> &Group {
        &self.groups[usize::from(self.place(group))]
    }
    fn group_mut(&mut self, group: GroupId) -> &mut Group {
        let place = self.place(group);
        &mut self.groups[usize::from(place)]
    }
}
