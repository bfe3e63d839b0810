//! The positions of a command's keys among its arguments, and the groups that are asked for them.

use crate::resp::number::parse_i64;

/// The positions of a command's keys; they determine which groups are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// None. The receiving node answers.
    None,
    /// One argument, counted from the name. The key's group is asked.
    One(u8),
    /// Every `step`-th argument from the first on. Each key's group is asked on its own, so the command as a
    /// whole is not atomic.
    Each {
        /// 1, or 2 if values stand between the keys.
        step: u8,
    },
    /// The arguments `first` to `last` (negative from the end) with this step. All keys must lie in one
    /// group.
    Together {
        /// The first key.
        first: u8,
        /// The last key.
        last: i8,
        /// The distance from one key to the next.
        step: u8,
    },
    /// The argument `count_at` holds the number of keys, which follow it. All keys must lie in one group.
    Counted {
        /// The argument that holds the number of keys.
        count_at: u8,
        /// The distance from one key to the next.
        step: u8,
    },
    /// None, but every group is asked, one after the other.
    EveryGroup,
    /// None, but the group of the hash slot in an argument is asked.
    OfSlot,
}

/// Why a command's keys cannot be named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoKeys {
    /// It takes no keys.
    Never,
    /// The argument with the number of keys does not fit the other arguments.
    BadCount,
}

impl Keys {
    /// First key, last key (negative from the end) and step, as COMMAND reports them; all 0 if the positions
    /// are not fixed.
    pub fn positions(self) -> (i8, i8, i8) {
        match self {
            Self::One(at) => (at.cast_signed(), at.cast_signed(), 1),
            Self::Each { step } => (1, -1, step.cast_signed()),
            Self::Together { first, last, step } => (first.cast_signed(), last, step.cast_signed()),
            Self::None | Self::Counted { .. } | Self::EveryGroup | Self::OfSlot => (0, 0, 0),
        }
    }

    /// Whether all keys must lie in one group; if they do not, the command is refused with CROSSSLOT.
    pub fn go_together(self) -> bool {
        matches!(self, Self::Together { .. } | Self::Counted { .. })
    }

    /// Whether there is exactly one key.
    pub fn is_one(self) -> bool {
        matches!(self, Self::One(_))
    }

    /// The keys among `args`: the command's name and arguments, in a valid number.
    ///
    /// # Errors
    /// When the command has no keys, or they cannot be named.
    pub fn among<'a>(self, args: &[&'a [u8]]) -> Result<Vec<&'a [u8]>, NoKeys> {
        let (first, last, step) = match self {
            Self::None | Self::EveryGroup | Self::OfSlot => return Err(NoKeys::Never),
            Self::Counted { count_at, step } => {
                let (at, step) = (usize::from(count_at), usize::from(step));
                let count = args.get(at).and_then(|count| parse_i64(count));
                let count = count.and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
                let last = count.and_then(|count| (count - 1).checked_mul(step)?.checked_add(at + 1));
                (at + 1, last.filter(|last| *last < args.len()).ok_or(NoKeys::BadCount)?, step)
            }
            Self::One(_) | Self::Each { .. } | Self::Together { .. } => {
                let (first, last, step) = self.positions();
                let from_end = args.len().saturating_sub(usize::from(last.unsigned_abs()));
                let last = if last < 0 { from_end } else { usize::from(last.unsigned_abs()) };
                (usize::from(first.unsigned_abs()), last, usize::from(step.unsigned_abs()))
            }
        };
        Ok(args.iter().take(last + 1).skip(first).step_by(step.max(1)).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_the_table_says() {
        let among = |keys: Keys, line: &str| -> Result<String, NoKeys> {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            let found = keys.among(&args)?;
            Ok(String::from_utf8_lossy(&found.join(&b' ')).into_owned())
        };
        let counted = Keys::Counted { count_at: 1, step: 2 };
        for (keys, line, want) in [
            (Keys::One(1), "get a", Ok("a")),
            (Keys::One(2), "object encoding a", Ok("a")),
            (Keys::One(2), "object x", Ok("")),
            (Keys::Each { step: 1 }, "del a b c", Ok("a b c")),
            (Keys::Each { step: 2 }, "mset a 1 b 2", Ok("a b")),
            (Keys::Together { first: 1, last: 2, step: 1 }, "copy a b replace", Ok("a b")),
            (counted, "msetex 2 a 1 b 2 ex 1", Ok("a b")),
            (counted, "msetex 3 a 1 b 2", Err(NoKeys::BadCount)),
            (counted, "msetex 0 a 1", Err(NoKeys::BadCount)),
            (counted, "msetex x a 1", Err(NoKeys::BadCount)),
            (counted, "msetex 9223372036854775807 a 1", Err(NoKeys::BadCount)),
            (Keys::Counted { count_at: 2, step: 1 }, "eval s 1 a b", Ok("a")),
            (Keys::None, "ping a", Err(NoKeys::Never)),
            (Keys::EveryGroup, "keys a", Err(NoKeys::Never)),
        ] {
            assert_eq!(among(keys, line), want.map(str::to_owned), "{line}");
        }
    }
}
