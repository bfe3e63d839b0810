//! Where a replica's words go.

use synod_types::{Lsn, NodeId, PeerMessage, RecordHead, Reply, Shared};
use synod_wal::ReadError;

/// What a replica says, and to whom. Each call is made while an input is dealt with, in order.
pub trait Outlet<R> {
    /// Sends to the peer core that holds the same groups. May be lost.
    fn send(&mut self, to: NodeId, message: PeerMessage<Shared>);
    /// Answers who asked. Borrowed bytes are valid during the call only.
    fn reply(&mut self, to: R, reply: Reply<&[u8]>);
    /// The number of a forward or a question that was sent and did not leave, for want of a link or of room on it. Asked for after each
    /// input until there is none.
    fn unsent(&mut self) -> Option<u64> {
        None
    }
    /// Something happens in the log; for who watches.
    fn watch(&mut self, event: LogEvent<'_>) {
        let _ = event;
    }
}

/// What happens in a replica's log.
#[derive(Debug)]
pub enum LogEvent<'a> {
    /// A record was appended.
    Appended {
        /// Its number.
        lsn: Lsn,
        /// Its head.
        head: &'a RecordHead,
        /// The entry, empty if it carries none.
        payload: &'a [u8],
    },
    /// Every record up to here is durable.
    Durable(Lsn),
    /// Bytes are read back.
    Read {
        /// Whether they are still in memory.
        is_at_hand: bool,
        /// Whether it is a whole entry, to be checked against its record.
        is_entry: bool,
    },
    /// A peer's message was dropped, for too much waits for the disk.
    Behind,
    /// Bytes could not be read back.
    ReadFailed(&'a ReadError),
}
