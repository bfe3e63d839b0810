//! Options that several commands share: the expiry of a key (EX, PX, EXAT, PXAT, KEEPTTL), and the comparison
//! with its value (IFEQ, IFNE, IFDEQ, IFDNE).

use crate::resp::error_line::{ErrorLine, SYNTAX, bad_expiry};
use crate::resp::number::integer;
use synod_types::{Compare, Expiry, WallMs};

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
pub(super) fn positive_ms(text: &[u8], unit: Unit, name: &str) -> Result<u64, ErrorLine> {
    let amount = integer(text)?;
    match unit.in_ms(amount).and_then(|ms| u64::try_from(ms).ok()) {
        Some(ms @ 1..) => Ok(ms),
        _ => Err(bad_expiry(name)),
    }
}

/// One expiry option as it was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExpireOption<'a> {
    Keep,
    Time(Unit, &'a [u8]),
}

/// The expiry options seen so far.
pub(super) struct ExpireOptions<'a> {
    /// KEEPTTL is one of them.
    may_keep: bool,
    given: Option<ExpireOption<'a>>,
}

impl<'a> ExpireOptions<'a> {
    /// None so far. `may_keep`: the command knows KEEPTTL.
    pub(super) fn new(may_keep: bool) -> Self {
        Self { may_keep, given: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.given.is_none()
    }

    /// Takes `option`, and from `rest` its argument. Returns whether it was an expiry option.
    pub(super) fn take(
        &mut self,
        option: &[u8],
        rest: &mut impl Iterator<Item = &'a [u8]>,
    ) -> Result<bool, ErrorLine> {
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let unit = if self.may_keep && is("KEEPTTL") {
            return self.note(ExpireOption::Keep).map(|()| true);
        } else if is("EX") {
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
        self.note(ExpireOption::Time(unit, argument)).map(|()| true)
    }

    /// If one unit is given twice, the last one wins, as in Redis; two different units are an error there and
    /// here.
    fn note(&mut self, option: ExpireOption<'a>) -> Result<(), ErrorLine> {
        let clashes = |before: ExpireOption<'a>| match (before, option) {
            (ExpireOption::Keep, ExpireOption::Keep) => false,
            (ExpireOption::Time(before, _), ExpireOption::Time(unit, _)) => before != unit,
            (ExpireOption::Keep, ExpireOption::Time(..)) | (ExpireOption::Time(..), ExpireOption::Keep) => {
                true
            }
        };
        if self.given.is_some_and(clashes) {
            return Err(SYNTAX);
        }
        self.given = Some(option);
        Ok(())
    }

    /// The expiry of the command called `name`.
    pub(super) fn expiry(&self, name: &str) -> Result<Expiry, ErrorLine> {
        Ok(match self.given {
            None => Expiry::None,
            Some(ExpireOption::Keep) => Expiry::Keep,
            Some(ExpireOption::Time(unit, amount)) => unit.expiry(positive_ms(amount, unit, name)?),
        })
    }
}

/// A comparison as SET and DELEX spell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CompareOption {
    pub(super) compare: Compare,
    pub(super) bytes: Vec<u8>,
}

impl CompareOption {
    /// The comparison that `option` begins, if it is one.
    pub(super) fn of(option: &[u8], argument: Option<&[u8]>) -> Option<Result<Self, ErrorLine>> {
        let compare = match option.to_ascii_uppercase().as_slice() {
            b"IFEQ" => Compare::Equal,
            b"IFNE" => Compare::NotEqual,
            b"IFDEQ" => Compare::DigestEqual,
            b"IFDNE" => Compare::DigestNotEqual,
            _ => return None,
        };
        let Some(bytes) = argument else { return Some(Err(SYNTAX)) };
        if matches!(compare, Compare::Equal | Compare::NotEqual) {
            return Some(Ok(Self { compare, bytes: bytes.to_vec() }));
        }
        let digits = str::from_utf8(bytes).ok().filter(|text| text.len() == 16);
        let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        Some(match digits.and_then(|text| u64::from_str_radix(text, 16).ok()) {
            Some(digest) => Ok(Self { compare, bytes: digest.to_le_bytes().to_vec() }),
            None => Err("ERR must be exactly 16 hexadecimal characters".into()),
        })
    }
}
