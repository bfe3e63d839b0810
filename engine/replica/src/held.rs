//! Messages that must not leave before their record is durable (rule P-01).

use crate::outlet::Outlet;
use std::collections::VecDeque;
use synod_types::{Lsn, NodeId, PeerMessage, Shared};
use synod_wal::Durable;

type Messages = Vec<(NodeId, PeerMessage<Shared>)>;

/// Messages that wait for records, in record order.
#[derive(Debug, Default)]
pub(crate) struct Held(VecDeque<(Lsn, Messages)>);

impl Held {
    /// Holds these messages until that record is durable.
    pub(crate) fn hold(&mut self, lsn: Lsn, messages: Messages) {
        assert!(self.0.back().is_none_or(|(last, _)| *last < lsn), "records are numbered upwards");
        if !messages.is_empty() {
            self.0.push_back((lsn, messages));
        }
    }

    /// Sends the messages whose records are durable now.
    pub(crate) fn release<R>(&mut self, durable: Durable, out: &mut impl Outlet<R>) {
        while let Some((_, messages)) = self.0.pop_front_if(|(lsn, _)| *lsn <= durable.lsn()) {
            debug_assert!(!messages.is_empty(), "nothing was held");
            for (to, message) in messages {
                out.send(to, message);
            }
        }
        debug_assert!(self.0.front().is_none_or(|(lsn, _)| *lsn > durable.lsn()), "a message stays behind");
    }
}
