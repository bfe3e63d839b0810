//! The options that say when a key expires: EX, PX, EXAT, PXAT, KEEPTTL.

use super::{Refusal, SYNTAX, positive_ms};
use synod_types::{Expiry, WallMs};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Keep,
    Ex,
    Px,
    ExAt,
    PxAt,
}

/// What was said so far.
#[derive(Default)]
pub(super) struct Times<'a> {
    said: Option<(Unit, &'a [u8])>,
}

impl<'a> Times<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_none()
    }

    /// Takes KEEPTTL; whether `option` was that.
    pub(super) fn keep(&mut self, option: &[u8]) -> Result<bool, Refusal> {
        if !option.eq_ignore_ascii_case(b"KEEPTTL") {
            return Ok(false);
        }
        self.note(Unit::Keep, b"").map(|()| true)
    }

    /// Takes one of the others and its argument; whether `option` was one.
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
        self.note(unit, argument).map(|()| true)
    }

    /// The same unit twice is Redis's last-one-wins; two units are an error there and here.
    fn note(&mut self, unit: Unit, argument: &'a [u8]) -> Result<(), Refusal> {
        if self.said.is_some_and(|(before, _)| before != unit) {
            return Err(SYNTAX);
        }
        self.said = Some((unit, argument));
        Ok(())
    }

    /// The expiry of the command called `name`.
    pub(super) fn expiry(&self, name: &str) -> Result<Expiry, Refusal> {
        Ok(match self.said {
            None => Expiry::None,
            Some((Unit::Keep, _)) => Expiry::Keep,
            Some((Unit::Ex, amount)) => Expiry::After(positive_ms(amount, false, name)?),
            Some((Unit::Px, amount)) => Expiry::After(positive_ms(amount, true, name)?),
            Some((Unit::ExAt, amount)) => Expiry::At(WallMs(positive_ms(amount, false, name)?)),
            Some((Unit::PxAt, amount)) => Expiry::At(WallMs(positive_ms(amount, true, name)?)),
        })
    }
}
