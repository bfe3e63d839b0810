//! The clients' requests: actions drawn at random, and the commands that carry them out.

use super::Clients;
use crate::check::history::Subject;
use crate::check::model::{Action, Datum, IfEqualAction, Instant, MEMBER_COUNT, Ttl, When};
use crate::sim::keys::Kind;
use crate::sim::params::EXPIRY_SPAN_MAX;
use crate::sim::queue::MS;
use crate::sim::value;
use synod_types::operand::{put_compared, put_pair, version_bytes};
use synod_types::{Compare, Condition, Expiry, ExpiryTest, Op, Shared, Version};

/// Flushes of one group with an unknown outcome; they stay open for each of its keys until the end.
const UNKNOWN_FLUSHES_MAX: u32 = 3;
/// How much an expiry is extended at a time.
const EXTEND_SPAN: u64 = 200 * MS;

fn condition_of(when: When) -> Condition {
    match when {
        When::Always => Condition::Always,
        When::Absent => Condition::IfAbsent,
        When::Present => Condition::IfPresent,
    }
}

fn digest_of(bytes: &[u8]) -> [u8; 8] {
    xxhash_rust::xxh3::xxh3_64(bytes).to_le_bytes()
}

impl Clients {
    pub(super) fn draw_action(&mut self, key: u32, now: Instant) -> Action {
        let kind = self.keys.get(key).kind;
        if self.rng.below(100) < self.params.load.read_percent {
            return match self.rng.below(12) {
                0 | 1 => Action::Exists,
                2 => Action::Ttl { absolute: self.rng.coin() },
                _ => Action::Get,
            };
        }
        let flush_one_in = self.params.load.flush_one_in;
        if flush_one_in > 0 && self.rng.below(flush_one_in) == 0 {
            let unknown = self.unknown_flushes.get(&self.keys.get(key).group).copied().unwrap_or(0);
            if unknown < UNKNOWN_FLUSHES_MAX {
                return Action::Flush;
            }
        }
        match kind {
            Kind::Counter => match self.rng.below(20) {
                0 => Action::Delete,
                1 => self.draw_set(Ttl::Clear, now),
                2 => Action::Increment(-3),
                _ => Action::Increment(1),
            },
            Kind::Register => self.draw_for_register(key, now),
            Kind::Family => self.draw_for_family(key, now),
            Kind::Expiring => match self.rng.below(16) {
                0 => Action::Delete,
                1 => Action::Expire(Ttl::Clear),
                2 => Action::Expire(self.draw_ttl(now)),
                3 => self.draw_set(Ttl::Keep, now),
                4 => self.draw_set(Ttl::Clear, now),
                5 => Action::GetExpire(Ttl::Clear),
                6 => Action::GetExpire(self.draw_ttl(now)),
                7 | 8 => Action::ExpireIf { ttl: self.draw_ttl(now), only_if_set: self.rng.coin() },
                9..=11 => match self.seen.get(&key) {
                    Some(&(wanted, _)) => Action::IfEqual { wanted, then: self.draw_then(key, now) },
                    None => Action::Expire(self.draw_ttl(now)),
                },
                _ => {
                    let ttl = self.draw_ttl(now);
                    self.draw_set(ttl, now)
                }
            },
        }
    }

    fn draw_for_register(&mut self, key: u32, now: Instant) -> Action {
        let seen = match self.seen.get(&key) {
            Some(&(wanted @ Datum::Blob(_), _)) => Some(wanted),
            _ => None,
        };
        match (self.rng.below(13), seen) {
            (0, _) => Action::Delete,
            (1, _) => Action::Increment(1),
            (2, _) => Action::GetDelete,
            (3, Some(wanted)) => Action::DeleteIf { wanted },
            (4, Some(wanted)) => Action::DeleteVersion { wanted },
            (5, Some(wanted)) => Action::IfEqual { wanted, then: IfEqualAction::Delete },
            (6, Some(unwanted)) => Action::SetUnless { unwanted, value: self.fresh_blob() },
            (7..=9, Some(wanted)) => Action::SetIf { wanted, value: self.fresh_blob() },
            _ => self.draw_set(Ttl::Clear, now),
        }
    }

    fn draw_for_family(&mut self, key: u32, now: Instant) -> Action {
        let member = self.keys.subject(key).member;
        let others = MEMBER_COUNT as u64 - 1;
        let target = (u64::from(member) + 1 + self.rng.below(others)) as u8 % MEMBER_COUNT as u8;
        let ttl = match self.rng.below(4) {
            0 => self.draw_ttl(now),
            1 => Ttl::Keep,
            _ => Ttl::Clear,
        };
        match self.rng.below(14) {
            0..=2 => Action::Rename { target, replace: self.rng.coin() },
            3..=5 => Action::Copy { target, replace: self.rng.coin() },
            6..=8 => {
                let mut values = [None; MEMBER_COUNT];
                for at in [member, target] {
                    values[usize::from(at)] = Some(self.fresh_blob());
                }
                let when = *self.rng.pick(&[When::Always, When::Absent, When::Present]);
                Action::SetMany { values, when, ttl }
            }
            9 => Action::Delete,
            10 => match self.seen.get(&key) {
                Some(&(wanted, _)) => Action::IfEqual { wanted, then: IfEqualAction::Delete },
                None => Action::GetDelete,
            },
            11 if ttl != Ttl::Keep => Action::Expire(ttl),
            _ => self.draw_set(ttl, now),
        }
    }

    fn draw_then(&mut self, key: u32, now: Instant) -> IfEqualAction {
        let put_off = self.put_off.get(&key).copied().unwrap_or(0);
        match (self.rng.below(8), self.draw_ttl(now)) {
            (0, _) => IfEqualAction::Delete,
            (1 | 2, Ttl::From(from)) => IfEqualAction::ExpireFrom(from),
            (3 | 4, Ttl::From(from)) => IfEqualAction::RenewFrom(from),
            _ if put_off + EXTEND_SPAN <= EXPIRY_SPAN_MAX => {
                self.put_off.insert(key, put_off + EXTEND_SPAN);
                IfEqualAction::ExtendBy(EXTEND_SPAN)
            }
            _ => IfEqualAction::Delete,
        }
    }

    fn draw_set(&mut self, ttl: Ttl, _now: Instant) -> Action {
        let value = if self.rng.below(12) == 0 {
            Datum::Number(self.rng.below(1000) as i64)
        } else {
            self.fresh_blob()
        };
        let when = match self.rng.below(8) {
            0 | 1 => When::Absent,
            2 => When::Present,
            _ => When::Always,
        };
        Action::Set { value, when, ttl, return_old: self.rng.below(6) == 0 }
    }

    /// A span of 20 ms to 4.8 s, as the earliest instant at which the key may be gone (see
    /// [`Self::expiry_of`]).
    fn draw_ttl(&mut self, now: Instant) -> Ttl {
        let span = (20 * MS + self.rng.exponential(400 * MS) / MS * MS).min(EXPIRY_SPAN_MAX);
        Ttl::From((now + span).saturating_sub(self.params.expiry_slack()))
    }

    /// The inverse of `draw_ttl`: the span that is asked for.
    fn expiry_of(&self, ttl: Ttl, now: Instant) -> Expiry {
        match ttl {
            Ttl::Clear => Expiry::None,
            Ttl::Keep => Expiry::Keep,
            Ttl::From(from) => {
                let span = (from + self.params.expiry_slack()).saturating_sub(now) / MS;
                Expiry::After(span.max(1))
            }
        }
    }

    /// The command's key.
    pub(super) fn name_of(&self, key: u32, action: Action) -> Vec<u8> {
        let Subject { key: first, .. } = self.keys.subject(key);
        match action {
            Action::Flush => Vec::new(),
            // The first of the keys it writes.
            Action::SetMany { values, .. } => {
                let first_written = values.iter().position(Option::is_some).unwrap_or(0);
                self.keys.get(first + first_written as u32).name.clone()
            }
            _ => self.keys.get(key).name.clone(),
        }
    }

    /// The operation to send. Because a blob is written under one name once, asking for its value says as
    /// much as asking for the version it was seen in, where a key keeps that version: the client may do
    /// either.
    pub(super) fn op_of(&mut self, key: u32, action: Action, now: Instant) -> (Op, Shared) {
        let versioned = self.versioned(key);
        let member_name = |at: u8| {
            let Subject { key: first, .. } = self.keys.subject(key);
            Shared::new(self.keys.get(first + u32::from(at)).name.clone())
        };
        let op = match action {
            Action::Rename { target, replace } => return (Op::Rename { replace }, member_name(target)),
            Action::Copy { target, replace } => return (Op::Copy { replace }, member_name(target)),
            Action::SetMany { values, when, ttl } => {
                let mut pairs = Vec::new();
                for (at, value) in values.iter().enumerate() {
                    let Some(value) = *value else { continue };
                    let name = self.keys.get(self.keys.subject(key).key + at as u32).name.clone();
                    put_pair(&mut pairs, &name, &self.bytes_of(value));
                }
                let expiry = self.expiry_of(ttl, now);
                return (Op::SetMany { condition: condition_of(when), expiry }, Shared::new(pairs));
            }
            Action::Flush => Op::Flush,
            Action::Ttl { absolute: false } => Op::Ttl,
            Action::Ttl { absolute: true } => Op::ExpireTime,
            Action::ExpireIf { ttl, only_if_set } => {
                let test = if only_if_set { ExpiryTest::Set } else { ExpiryTest::Unset };
                Op::SetExpiryIf { expiry: self.expiry_of(ttl, now), test }
            }
            Action::DeleteVersion { wanted } => Op::DeleteIfVersion(self.version_seen(key, wanted)),
            Action::IfEqual { wanted, then } => {
                let span = |from| match self.expiry_of(Ttl::From(from), now) {
                    Expiry::After(ms) => ms,
                    _ => 1,
                };
                let then = match then {
                    IfEqualAction::Delete => synod_types::IfEqualAction::Delete,
                    IfEqualAction::ExpireFrom(from) => synod_types::IfEqualAction::ExpireAfter(span(from)),
                    IfEqualAction::RenewFrom(from) => synod_types::IfEqualAction::RenewFor(span(from)),
                    IfEqualAction::ExtendBy(span) => synod_types::IfEqualAction::ExtendBy(span / MS),
                };
                return (Op::IfEqual { then }, Shared::new(self.bytes_of(wanted)));
            }
            Action::SetUnless { unwanted, value } => {
                let digest = self.rng.coin();
                let compare = if digest { Compare::DigestNotEqual } else { Compare::NotEqual };
                let unwanted = self.bytes_of(unwanted);
                let unwanted = if digest { digest_of(&unwanted).to_vec() } else { unwanted };
                return self.compared(&unwanted, value, compare);
            }
            Action::Get | Action::GetLate => Op::Get,
            Action::Exists => Op::Exists,
            Action::Set { value, when, ttl, return_old } => {
                let bytes = self.bytes_of(value);
                let op = Op::Set {
                    value_crc: synod_types::checksum::crc32c(&bytes),
                    condition: condition_of(when),
                    expiry: self.expiry_of(ttl, now),
                    return_old,
                };
                return (op, Shared::new(bytes));
            }
            Action::Delete => Op::Delete,
            Action::Increment(delta) => Op::IncrementBy(delta),
            Action::Expire(ttl) => Op::SetExpiry(self.expiry_of(ttl, now)),
            Action::GetDelete => Op::GetDelete,
            Action::GetExpire(ttl) => Op::GetExpire(self.expiry_of(ttl, now)),
            Action::SetIf { wanted, value } if versioned && self.rng.below(4) == 0 => {
                let condition = Condition::IfVersion(self.version_seen(key, wanted));
                let bytes = self.bytes_of(value);
                let op = Op::Set {
                    value_crc: synod_types::checksum::crc32c(&bytes),
                    condition,
                    expiry: Expiry::None,
                    return_old: false,
                };
                return (op, Shared::new(bytes));
            }
            Action::SetIf { wanted, value } => {
                let (compare, wanted) = self.comparison(key, wanted);
                return self.compared(&wanted, value, compare);
            }
            Action::DeleteIf { wanted } => {
                let (compare, wanted) = self.comparison(key, wanted);
                return (Op::DeleteIf { compare }, Shared::new(wanted));
            }
        };
        (op, Shared::default())
    }

    fn bytes_of(&mut self, datum: Datum) -> Vec<u8> {
        match datum {
            Datum::Number(number) => number.to_string().into_bytes(),
            Datum::Blob(name) => {
                let drawn = self.draw_len();
                value::blob(name, *self.blob_lens.entry(name).or_insert(drawn))
            }
        }
    }

    fn compared(&mut self, wanted: &[u8], value: Datum, compare: Compare) -> (Op, Shared) {
        let bytes = self.bytes_of(value);
        let mut compared = Vec::new();
        put_compared(&mut compared, wanted, &bytes);
        let op = Op::SetIf {
            value_crc: synod_types::checksum::crc32c(&bytes),
            compare,
            expiry: Expiry::None,
            return_old: false,
        };
        (op, Shared::new(compared))
    }

    /// How to compare with a value: by its bytes, by their digest, or by the version it was seen in.
    fn comparison(&mut self, key: u32, wanted: Datum) -> (Compare, Vec<u8>) {
        match self.rng.below(4) {
            0 | 1 if self.versioned(key) => {
                (Compare::Version, version_bytes(self.version_seen(key, wanted)).to_vec())
            }
            0 => (Compare::DigestEqual, digest_of(&self.bytes_of(wanted)).to_vec()),
            _ => (Compare::Equal, self.bytes_of(wanted)),
        }
    }

    /// The version a value was seen in, or a version that never exists if it was not seen.
    fn version_seen(&self, key: u32, wanted: Datum) -> Version {
        let seen = self.seen.get(&key).filter(|(datum, _)| *datum == wanted);
        seen.map_or_else(Version::default, |(_, version)| *version)
    }

    fn draw_len(&mut self) -> usize {
        let load = self.params.load;
        if load.large_value_bytes_max > 0 && self.rng.below(100) == 0 {
            return self.rng.between(8_000, load.large_value_bytes_max) as usize;
        }
        // Most values are short enough to live in the index; the others are read back from the log sooner or
        // later.
        if self.rng.below(5) < 2 { 0 } else { self.rng.below(load.value_bytes_max) as usize }
    }
}
