//! Options for the expiry of a key: EX, PX, EXAT, PXAT, KEEPTTL.

use crate::resp::check;
use crate::resp::refusal::{Refusal, SYNTAX, bad_expiry};
use synod_types::{Expiry, WallMs};

/// The meaning of a number as a time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds from now.
    Ex,
    /// Milliseconds from now.
    Px,
    /// Seconds since the epoch.
    ExAt,
    /// Milliseconds since the epoch.
    PxAt,
}

impl Unit {
    /// `amount` in milliseconds, if they fit.
    pub(super) fn in_ms(self, amount: i64) -> Option<i64> {
        match self {
            Self::Ex | Self::ExAt => amount.checked_mul(1000),
            Self::Px | Self::PxAt => Some(amount),
        }
    }

    /// The expiry at, or after, this many milliseconds.
    pub(super) fn expiry(self, ms: u64) -> Expiry {
        match self {
            Self::Ex | Self::Px => Expiry::After(ms),
            Self::ExAt | Self::PxAt => Expiry::At(WallMs(ms)),
        }
    }
}

/// A positive span or time in milliseconds, for the command called `name`.
pub(super) fn positive_ms(text: &[u8], unit: Unit, name: &str) -> Result<u64, Refusal> {
    let amount = check::integer(text)?;
    match unit.in_ms(amount).and_then(|ms| u64::try_from(ms).ok()) {
        Some(ms @ 1..) => Ok(ms),
        _ => Err(bad_expiry(name)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said<'a> {
    Keep,
    Time(Unit, &'a [u8]),
}

/// The expiry options seen so far.
#[derive(Default)]
pub(super) struct Times<'a> {
    said: Option<Said<'a>>,
}

impl<'a> Times<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_none()
    }

    /// Takes KEEPTTL. Returns whether `option` was KEEPTTL.
    pub(super) fn keep(&mut self, option: &[u8]) -> Result<bool, Refusal> {
        if !option.eq_ignore_ascii_case(b"KEEPTTL") {
            return Ok(false);
        }
        self.note(Said::Keep).map(|()| true)
    }

    /// Takes one of the other options and its argument. Returns whether `option` was one.
    pub(super) fn take(
        &mut self,
        option: &[u8],
        rest: &mut impl Iterator<Item = &'a [u8]>,
    ) -> Result<bool, Refusal> {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let unit = if is("EX") {
            Unit::Ex
        } else if is("PX") {
            Unit::Px
        } else if is("EXAT") {
            Unit::ExAt
        } else if is("PXAT") {
            Unit::PxAt
        } else {
            return Ok(false);
        };
        let argument = rest.next().ok_or(SYNTAX)?;
        self.note(Said::Time(unit, argument)).map(|()| true)
    }

    /// If one unit is given twice, the last one wins, as in Redis; two different units are an error there and
    /// here.
    fn note(&mut self, said: Said<'a>) -> Result<(), Refusal> {
        let clashes = |before: Said<'a>| match (before, said) {
            (Said::Keep, Said::Keep) => false,
            (Said::Time(before, _), Said::Time(unit, _)) => before != unit,
            (Said::Keep, Said::Time(..)) | (Said::Time(..), Said::Keep) => true,
        };
        if self.said.is_some_and(clashes) {
            return Err(SYNTAX);
        }
        self.said = Some(said);
        Ok(())
    }

    /// The expiry of the command called `name`.
    pub(super) fn expiry(&self, name: &str) -> Result<Expiry, Refusal> {
        Ok(match self.said {
            None => Expiry::None,
            Some(Said::Keep) => Expiry::Keep,
            Some(Said::Time(unit, amount)) => unit.expiry(positive_ms(amount, unit, name)?),
        })
    }
}
