//! The clients' actions, drawn at random.

use super::answer::Answers;
use super::dice::Dice;
use crate::check::model::{Action, Datum, IfEqualAction, Instant, MEMBER_COUNT, Ttl, When};
use crate::sim::keys::{Keys, Kind};
use crate::sim::params::EXPIRY_SPAN_MAX;
use crate::sim::queue::MS;

/// Flushes of one group with an unknown outcome; they stay open for each of its keys until the end.
const UNKNOWN_FLUSHES_MAX: u32 = 3;
/// How much an expiry is extended at a time.
const EXTEND_SPAN: u64 = 200 * MS;

/// Draws one action: what it is drawn with, and what it depends on.
pub(super) struct ActionDraw<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) keys: &'a Keys,
    pub(super) answers: &'a Answers,
    pub(super) now: Instant,
}

impl ActionDraw<'_> {
    /// An action on `key`.
    pub(super) fn draw_action(&mut self, key: u32) -> Action {
        let kind = self.keys.get(key).kind;
        if self.dice.rng.below(100) < self.dice.load.read_percent {
            return match self.dice.rng.below(12) {
                0 | 1 => Action::Exists,
                2 => Action::Ttl { absolute: self.dice.rng.coin() },
                _ => Action::Get,
            };
        }
        let flush_one_in = self.dice.load.flush_one_in;
        if flush_one_in > 0 && self.dice.rng.below(flush_one_in) == 0 {
            let unknown = self.dice.unknown_flushes.get(&self.keys.get(key).group).copied().unwrap_or(0);
            if unknown < UNKNOWN_FLUSHES_MAX {
                return Action::Flush;
            }
        }
        match kind {
            Kind::Counter => match self.dice.rng.below(20) {
                0 => Action::Delete,
                1 => self.draw_set(Ttl::Clear),
                2 => Action::Increment(-3),
                _ => Action::Increment(1),
            },
            Kind::Register => self.draw_for_register(key),
            Kind::Family => self.draw_for_family(key),
            Kind::Expiring => match self.dice.rng.below(16) {
                0 => Action::Delete,
                1 => Action::Expire(Ttl::Clear),
                2 => Action::Expire(self.draw_ttl()),
                3 => self.draw_set(Ttl::Keep),
                4 => self.draw_set(Ttl::Clear),
                5 => Action::GetExpire(Ttl::Clear),
                6 => Action::GetExpire(self.draw_ttl()),
                7 | 8 => Action::ExpireIf { ttl: self.draw_ttl(), only_if_set: self.dice.rng.coin() },
                9..=11 => match self.answers.seen(key) {
                    Some(wanted) => Action::IfEqual { wanted, then: self.draw_then(key) },
                    None => Action::Expire(self.draw_ttl()),
                },
                _ => {
                    let ttl = self.draw_ttl();
                    self.draw_set(ttl)
                }
            },
        }
    }

    fn draw_for_register(&mut self, key: u32) -> Action {
        let seen = match self.answers.seen(key) {
            Some(wanted @ Datum::Blob(_)) => Some(wanted),
            _ => None,
        };
        match (self.dice.rng.below(13), seen) {
            (0, _) => Action::Delete,
            (1, _) => Action::Increment(1),
            (2, _) => Action::GetDelete,
            (3, Some(wanted)) => Action::DeleteIf { wanted },
            (4, Some(wanted)) => Action::DeleteVersion { wanted },
            (5, Some(wanted)) => Action::IfEqual { wanted, then: IfEqualAction::Delete },
            (6, Some(unwanted)) => Action::SetUnless { unwanted, value: self.dice.fresh_blob() },
            (7..=9, Some(wanted)) => Action::SetIf { wanted, value: self.dice.fresh_blob() },
            _ => self.draw_set(Ttl::Clear),
        }
    }

    fn draw_for_family(&mut self, key: u32) -> Action {
        let member = self.keys.subject(key).member;
        let others = MEMBER_COUNT as u64 - 1;
        let target = (u64::from(member) + 1 + self.dice.rng.below(others)) as u8 % MEMBER_COUNT as u8;
        let ttl = match self.dice.rng.below(4) {
            0 => self.draw_ttl(),
            1 => Ttl::Keep,
            _ => Ttl::Clear,
        };
        match self.dice.rng.below(14) {
            0..=2 => Action::Rename { target, replace: self.dice.rng.coin() },
            3..=5 => Action::Copy { target, replace: self.dice.rng.coin() },
            6..=8 => {
                let mut values = [None; MEMBER_COUNT];
                for at in [member, target] {
                    values[usize::from(at)] = Some(self.dice.fresh_blob());
                }
                let when = *self.dice.rng.pick(&[When::Always, When::Absent, When::Present]);
                Action::SetMany { values, when, ttl }
            }
            9 => Action::Delete,
            10 => match self.answers.seen(key) {
                Some(wanted) => Action::IfEqual { wanted, then: IfEqualAction::Delete },
                None => Action::GetDelete,
            },
            11 if ttl != Ttl::Keep => Action::Expire(ttl),
            _ => self.draw_set(ttl),
        }
    }

    fn draw_then(&mut self, key: u32) -> IfEqualAction {
        let put_off = self.dice.put_off.get(&key).copied().unwrap_or(0);
        match (self.dice.rng.below(8), self.draw_ttl()) {
            (0, _) => IfEqualAction::Delete,
            (1 | 2, Ttl::From(from)) => IfEqualAction::ExpireFrom(from),
            (3 | 4, Ttl::From(from)) => IfEqualAction::RenewFrom(from),
            _ if put_off + EXTEND_SPAN <= EXPIRY_SPAN_MAX => {
                self.dice.put_off.insert(key, put_off + EXTEND_SPAN);
                IfEqualAction::ExtendBy(EXTEND_SPAN)
            }
            _ => IfEqualAction::Delete,
        }
    }

    fn draw_set(&mut self, ttl: Ttl) -> Action {
        let value = if self.dice.rng.below(12) == 0 {
            Datum::Number(self.dice.rng.below(1000) as i64)
        } else {
            self.dice.fresh_blob()
        };
        let when = match self.dice.rng.below(8) {
            0 | 1 => When::Absent,
            2 => When::Present,
            _ => When::Always,
        };
        Action::Set { value, when, ttl, return_old: self.dice.rng.below(6) == 0 }
    }

    /// A span of 20 ms to 4.8 s, as the earliest instant at which the key may be gone (see
    /// `CommandDraw::expiry_of`).
    fn draw_ttl(&mut self) -> Ttl {
        let span = (20 * MS + self.dice.rng.exponential(400 * MS) / MS * MS).min(EXPIRY_SPAN_MAX);
        Ttl::From((self.now + span).saturating_sub(self.dice.expiry_slack))
    }
}
