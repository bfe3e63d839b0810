//! Computes a value from the old one: a read, then a write that is done only if no other write came between.
//!
//! ```text
//!  read ─▶ derive ─▶ write if the key is still in that version ─▶ done
//!   ▲                     └ skipped: another write came between
//!   └─────────────────────┘ at most so many times, then Busy
//! ```
//! Sans-I/O: commands go out, replies come in.

use crate::resp::derive::{Derive, Derived};
use crate::resp::error_line::ErrorLine;
use synod_types::checksum::crc32c;
use synod_types::operand::{put_compared, version_bytes};
use synod_types::{Command, Compare, Condition, ErrorKind, Expiry, Op, Reply, Shared, Version};

/// Attempts before the update gives up because other clients write the key in between each time.
const TRIES_MAX: u32 = 128;

/// One update of one key.
#[derive(Debug)]
pub(super) struct Update {
    key: Shared,
    how: Derive,
    tries: u32,
    /// The write to be done, once it is known.
    write: Option<Write>,
}

#[derive(Debug)]
struct Write {
    op: Op,
    operand: Shared,
    derived: Derived,
}

/// The result of an update.
#[derive(Debug)]
pub(super) enum Updated {
    /// The length of the new value.
    Length(usize),
    /// The new value.
    Value(Vec<u8>),
}

/// Why an update failed.
#[derive(Debug)]
pub(super) enum UpdateError {
    /// There is no new value.
    Refused(ErrorLine),
    /// The read or the write failed, or other writes came between each time.
    Failed(ErrorKind),
}

impl Update {
    pub(super) fn new(key: Vec<u8>, how: Derive) -> Self {
        Self { key: Shared::new(key), how, tries: 0, write: None }
    }

    /// Bytes it holds: the argument, the new value, and the operand that contains it.
    pub(super) fn held_bytes(&self) -> usize {
        self.how.held_bytes() + self.write.as_ref().map_or(0, |write| 2 * write.operand.len())
    }

    /// The next command to execute.
    pub(super) fn next(&self) -> Command<Shared> {
        let (op, operand) = match &self.write {
            Some(write) => (write.op, write.operand.clone()),
            None => (Op::Get, Shared::default()),
        };
        Command::new(self.key.clone(), op, operand)
    }

    /// Takes the reply to the last command, which is no error. Returns the result, if the update is over.
    ///
    /// # Errors
    /// Why there will be no new value.
    pub(super) fn take(&mut self, reply: Reply<&[u8]>) -> Result<Option<Updated>, UpdateError> {
        match (self.write.take(), reply) {
            (None, Reply::Nil) => self.derive(None),
            (None, Reply::Value { value, version }) => self.derive(Some((value, version))),
            (Some(write), Reply::Done { .. }) => Ok(Some(Updated::of(write.derived))),
            // Another client wrote the key: start again.
            (Some(_), Reply::Skipped) => {
                self.tries += 1;
                if self.tries >= TRIES_MAX { Err(UpdateError::Failed(ErrorKind::Busy)) } else { Ok(None) }
            }
            _ => Err(UpdateError::Failed(ErrorKind::Unknown)), // not an answer to this question
        }
    }

    fn derive(&mut self, old: Option<(&[u8], Version)>) -> Result<Option<Updated>, UpdateError> {
        let derived = self.how.apply(old.map(|(value, _)| value)).map_err(UpdateError::Refused)?;
        match &derived.value {
            None => Ok(Some(Updated::of(derived))),
            Some(value) => {
                let (op, operand) = write_of(old.map(|(_, version)| version), value);
                self.write = Some(Write { op, operand, derived });
                Ok(None)
            }
        }
    }
}

impl Updated {
    fn of(derived: Derived) -> Self {
        match derived.length {
            Some(length) => Self::Length(length),
            None => Self::Value(derived.value.unwrap_or_default()),
        }
    }
}

/// A write of `value` that takes effect only if the key still has this version, or is still absent.
fn write_of(version: Option<Version>, value: &[u8]) -> (Op, Shared) {
    let value_crc = crc32c(value);
    let Some(version) = version else {
        let condition = Condition::IfAbsent;
        let op = Op::Set { value_crc, condition, expiry: Expiry::None, return_old: false };
        return (op, Shared::new(value.to_vec()));
    };
    let mut compared = Vec::with_capacity(value.len() + 16);
    put_compared(&mut compared, &version_bytes(version), value);
    let op = Op::SetIf { value_crc, compare: Compare::Version, expiry: Expiry::Keep, return_old: false };
    (op, Shared::new(compared))
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::Slot;

    fn version(slot: u64) -> Version {
        Version { slot: Slot::new(slot), position: 0 }
    }

    #[test]
    fn what_is_written_is_made_of_what_was_read_last() {
        let mut update = Update::new(b"k".to_vec(), Derive::Append(b"b".to_vec()));
        assert_eq!(update.next().op, Op::Get);
        let read = |value: &'static [u8]| Reply::Value { value, version: version(5) };
        assert!(matches!(update.take(read(b"a")), Ok(None)));
        assert!(matches!(update.next().op, Op::SetIf { compare: Compare::Version, .. }));
        assert!(matches!(update.take(Reply::Skipped), Ok(None)), "another write came between");
        assert_eq!(update.next().op, Op::Get);
        assert!(matches!(update.take(read(b"aa")), Ok(None)));
        let done = update.take(Reply::Done { version: version(6) });
        assert!(matches!(done, Ok(Some(Updated::Length(3)))), "{done:?}");
    }

    #[test]
    fn an_absent_key_is_written_only_while_it_is_absent() {
        let mut update = Update::new(b"k".to_vec(), Derive::Append(b"b".to_vec()));
        assert!(matches!(update.take(Reply::Nil), Ok(None)));
        assert!(matches!(update.next().op, Op::Set { condition: Condition::IfAbsent, .. }));
    }

    #[test]
    fn it_gives_up_where_others_are_faster_each_time_and_on_what_is_no_answer() {
        let mut update = Update::new(b"k".to_vec(), Derive::Append(b"b".to_vec()));
        for tries in 1..=TRIES_MAX {
            assert!(matches!(update.take(Reply::Nil), Ok(None)));
            let skipped = update.take(Reply::Skipped);
            let is_over = matches!(skipped, Err(UpdateError::Failed(ErrorKind::Busy)));
            assert_eq!(is_over, tries == TRIES_MAX, "{skipped:?}");
        }
        let mut update = Update::new(b"k".to_vec(), Derive::Append(b"b".to_vec()));
        assert!(matches!(update.take(Reply::Int(1)), Err(UpdateError::Failed(ErrorKind::Unknown))));
    }
}
