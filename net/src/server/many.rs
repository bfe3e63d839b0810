//! The outcome of DEL, EXISTS or MSET: one reply made of those to all parts.

use super::shapes::write_error;
use crate::resp::plan::Many;
use crate::resp::reply::Writer;
use synod_types::{ErrorKind, Reply};

/// What is known of the parts.
#[derive(Debug)]
pub(super) struct ManyState {
    many: Many,
    /// Replies still to come.
    pub(super) missing: usize,
    sum: i64,
    /// Whether a part was, or may have been, executed.
    executed: bool,
    error: Option<ErrorKind>,
}

impl ManyState {
    /// Nothing is known of `count` parts.
    pub(super) fn new(many: Many, count: usize) -> Self {
        Self { many, missing: count, sum: 0, executed: false, error: None }
    }

    /// Takes the reply to one part.
    pub(super) fn take(&mut self, reply: Reply<&[u8]>) {
        self.missing -= 1;
        match (self.many, reply) {
            (_, Reply::Error(kind)) => {
                // An unknown outcome outweighs every other error; otherwise the first error counts.
                if kind == ErrorKind::Unknown || self.error.is_none() {
                    self.error = Some(kind);
                }
            }
            (Many::Delete | Many::Exists, Reply::Int(count)) => {
                self.sum += count;
                self.executed = true;
            }
            (Many::Set, Reply::Done { .. }) => self.executed = true,
            _ => self.error = Some(ErrorKind::Unknown), // not an answer to this question
        }
    }

    /// Writes the reply.
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        match self.error {
            None if self.many == Many::Set => writer.simple("OK"),
            None => writer.int(self.sum),
            Some(ErrorKind::Unknown) => write_error(writer, ErrorKind::Unknown, ""),
            Some(_) if self.many.is_write() && self.executed => {
                writer.error("UNKNOWN some keys were written and some were not");
            }
            Some(kind) => write_error(writer, kind, ""),
        }
    }
}
