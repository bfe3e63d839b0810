//! Room for answers, as the connections of the server have it: some clients have none when a read is about to
//! fetch a long value, and it is asked again a turn later. No long value comes without room.

use super::client::AttemptId;
use super::trace::CorePlace;
use crate::check::{Checked, Violation};
use std::collections::{BTreeMap, BTreeSet};
use synod_shard::FREE_REPLY_BYTES;
use synod_types::{Command, Consistency, GroupId, Op, Reply, Shared, bucket_of, group_of};

/// The reads of one core's clients that may bring a long value.
#[derive(Debug, Default)]
pub struct ReplyRoom {
    group_count: u16,
    /// Reads that are under way.
    reads: BTreeSet<AttemptId>,
    reserved: BTreeMap<AttemptId, usize>,
    /// Those that have had to wait once.
    refused: BTreeSet<AttemptId>,
    waiting: Vec<(AttemptId, Consistency, Command<Shared>)>,
}

impl ReplyRoom {
    /// Nothing is under way.
    pub fn new(group_count: u16) -> Self {
        Self { group_count, ..Self::default() }
    }

    /// A request begins.
    pub fn asked(&mut self, attempt: AttemptId, op: Op) {
        if op == Op::Get {
            self.reads.insert(attempt);
        }
    }

    /// Reserves room; one client in three has none at first.
    pub fn reserve(&mut self, attempt: AttemptId, bytes: usize) -> bool {
        if attempt.is_multiple_of(3) && self.refused.insert(attempt) {
            return false;
        }
        let reserved = self.reserved.entry(attempt).or_default();
        *reserved = bytes.max(*reserved);
        true
    }

    /// The read is to be asked again.
    pub fn ask_again(&mut self, attempt: AttemptId, consistency: Consistency, command: Command<Shared>) {
        self.waiting.push((attempt, consistency, command));
    }

    /// Those that wait to be asked again.
    pub fn waiting(&self) -> impl Iterator<Item = AttemptId> {
        self.waiting.iter().map(|(attempt, ..)| *attempt)
    }

    /// Takes them out.
    pub fn take_waiting(
        &mut self,
    ) -> impl Iterator<Item = (AttemptId, GroupId, Consistency, Command<Shared>)> {
        let group_count = self.group_count;
        std::mem::take(&mut self.waiting).into_iter().map(move |(attempt, consistency, command)| {
            let group = group_of(bucket_of(command.key.as_ref()), group_count);
            (attempt, group, consistency, command)
        })
    }

    /// A request is answered.
    ///
    /// # Errors
    /// When a read brings a long value for which there is no room.
    pub fn answered(&mut self, at: CorePlace, attempt: AttemptId, reply: &Reply<&[u8]>) -> Checked {
        let is_read = self.reads.remove(&attempt);
        self.refused.remove(&attempt);
        let reserved = self.reserved.remove(&attempt).unwrap_or(0).max(FREE_REPLY_BYTES);
        match reply {
            Reply::Value { value, .. } if is_read && value.len() > reserved => {
                let detail = format!("{at}: a value of {} bytes, and room for {reserved}", value.len());
                Err(Violation::new("no-room-reserved", detail))
            }
            _ => Ok(()),
        }
    }
}
