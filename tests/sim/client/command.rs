//! The commands that carry out the clients' actions.

use super::answer::Answers;
use super::dice::Dice;
use crate::check::model::{Action, Datum, IfEqualAction, Instant, MEMBER_COUNT, Ttl, When};
use crate::sim::keys::Keys;
use crate::sim::queue::MS;
use synod_types::operand::{put_compared, put_pair, version_bytes};
use synod_types::{Compare, Condition, Expiry, ExpiryTest, Op, Shared};

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

/// Draws one command: what it is drawn with, and what it depends on.
pub(super) struct CommandDraw<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) keys: &'a Keys,
    pub(super) answers: &'a Answers,
    pub(super) now: Instant,
}

impl CommandDraw<'_> {
    /// The command's key.
    pub(super) fn name_of(&self, key: u32, action: Action) -> Vec<u8> {
        match action {
            Action::Flush => Vec::new(),
            // The first of the keys it writes.
            Action::SetMany { values, .. } => {
                let first_written = values.iter().position(Option::is_some).unwrap_or(0);
                self.member_name(key, first_written)
            }
            _ => self.keys.get(key).name.clone(),
        }
    }

    /// The operation to send. Because a blob is written under one name once, asking for its value says as
    /// much as asking for the version it was seen in, where a key keeps that version: the client may do
    /// either.
    pub(super) fn op_of(&mut self, key: u32, action: Action) -> (Op, Shared) {
        let op = match action {
            Action::Rename { target, replace } => {
                return (Op::Rename { replace }, Shared::new(self.member_name(key, usize::from(target))));
            }
            Action::Copy { target, replace } => {
                return (Op::Copy { replace }, Shared::new(self.member_name(key, usize::from(target))));
            }
            Action::SetMany { values, when, ttl } => return self.set_many(key, &values, when, ttl),
            Action::Flush => Op::Flush,
            Action::Ttl { absolute: false } => Op::Ttl,
            Action::Ttl { absolute: true } => Op::ExpireTime,
            Action::ExpireIf { ttl, only_if_set } => {
                let test = if only_if_set { ExpiryTest::Set } else { ExpiryTest::Unset };
                Op::SetExpiryIf { expiry: self.expiry_of(ttl), test }
            }
            Action::DeleteVersion { wanted } => Op::DeleteIfVersion(self.answers.version_seen(key, wanted)),
            Action::IfEqual { wanted, then } => {
                let then = self.then_of(then);
                return (Op::IfEqual { then }, Shared::new(self.dice.bytes_of(wanted)));
            }
            Action::SetUnless { unwanted, value } => return self.set_unless(unwanted, value),
            Action::Get | Action::GetLate => Op::Get,
            Action::Exists => Op::Exists,
            Action::Set { value, when, ttl, return_old } => {
                return self.set(value, condition_of(when), self.expiry_of(ttl), return_old);
            }
            Action::Delete => Op::Delete,
            Action::Increment(delta) => Op::IncrementBy(delta),
            Action::Expire(ttl) => Op::SetExpiry(self.expiry_of(ttl)),
            Action::GetDelete => Op::GetDelete,
            Action::GetExpire(ttl) => Op::GetExpire(self.expiry_of(ttl)),
            Action::SetIf { wanted, value } => return self.set_if(key, wanted, value),
            Action::DeleteIf { wanted } => {
                let (compare, wanted) = self.comparison(key, wanted);
                return (Op::DeleteIf { compare }, Shared::new(wanted));
            }
        };
        (op, Shared::default())
    }

    /// The name of a member of the family that `key` belongs to.
    fn member_name(&self, key: u32, member: usize) -> Vec<u8> {
        let first = self.keys.subject(key).key;
        self.keys.get(first + member as u32).name.clone()
    }

    /// The inverse of `ActionDraw::draw_ttl`: the span that is asked for.
    fn expiry_of(&self, ttl: Ttl) -> Expiry {
        match ttl {
            Ttl::Clear => Expiry::None,
            Ttl::Keep => Expiry::Keep,
            Ttl::From(from) => Expiry::After(self.span_until(from)),
        }
    }

    fn span_until(&self, from: Instant) -> u64 {
        let span = (from + self.dice.expiry_slack).saturating_sub(self.now) / MS;
        span.max(1)
    }

    fn then_of(&self, then: IfEqualAction) -> synod_types::IfEqualAction {
        match then {
            IfEqualAction::Delete => synod_types::IfEqualAction::Delete,
            IfEqualAction::ExpireFrom(from) => synod_types::IfEqualAction::ExpireAfter(self.span_until(from)),
            IfEqualAction::RenewFrom(from) => synod_types::IfEqualAction::RenewFor(self.span_until(from)),
            IfEqualAction::ExtendBy(span) => synod_types::IfEqualAction::ExtendBy(span / MS),
        }
    }

    fn set(&mut self, value: Datum, condition: Condition, expiry: Expiry, return_old: bool) -> (Op, Shared) {
        let bytes = self.dice.bytes_of(value);
        let value_crc = synod_types::checksum::crc32c(&bytes);
        (Op::Set { value_crc, condition, expiry, return_old }, Shared::new(bytes))
    }

    fn set_many(
        &mut self,
        key: u32,
        values: &[Option<Datum>; MEMBER_COUNT],
        when: When,
        ttl: Ttl,
    ) -> (Op, Shared) {
        let mut pairs = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let Some(value) = *value else { continue };
            let name = self.member_name(key, at);
            put_pair(&mut pairs, &name, &self.dice.bytes_of(value));
        }
        let expiry = self.expiry_of(ttl);
        (Op::SetMany { condition: condition_of(when), expiry }, Shared::new(pairs))
    }

    fn set_unless(&mut self, unwanted: Datum, value: Datum) -> (Op, Shared) {
        let digest = self.dice.rng.coin();
        let compare = if digest { Compare::DigestNotEqual } else { Compare::NotEqual };
        let unwanted = self.dice.bytes_of(unwanted);
        let unwanted = if digest { digest_of(&unwanted).to_vec() } else { unwanted };
        self.compared(&unwanted, value, compare)
    }

    fn set_if(&mut self, key: u32, wanted: Datum, value: Datum) -> (Op, Shared) {
        if self.keys.get(key).keeps_versions() && self.dice.rng.below(4) == 0 {
            let condition = Condition::IfVersion(self.answers.version_seen(key, wanted));
            return self.set(value, condition, Expiry::None, false);
        }
        let (compare, wanted) = self.comparison(key, wanted);
        self.compared(&wanted, value, compare)
    }

    fn compared(&mut self, wanted: &[u8], value: Datum, compare: Compare) -> (Op, Shared) {
        let bytes = self.dice.bytes_of(value);
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
        match self.dice.rng.below(4) {
            0 | 1 if self.keys.get(key).keeps_versions() => {
                (Compare::Version, version_bytes(self.answers.version_seen(key, wanted)).to_vec())
            }
            0 => (Compare::DigestEqual, digest_of(&self.dice.bytes_of(wanted)).to_vec()),
            _ => (Compare::Equal, self.dice.bytes_of(wanted)),
        }
    }
}
