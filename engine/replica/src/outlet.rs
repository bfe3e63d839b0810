//! The outputs of a replica.

use synod_shard::{ReadToken, Unsent};
use synod_types::{
    Command, Consistency, Event, Location, Lsn, NodeId, PeerMessage, RecordHead, Reply, Shared,
};
use synod_wal::ReadError;

/// Takes the outputs of a replica. Calls are made in order while an input is handled.
pub trait Outlet<R> {
    /// Sends to the peer core that holds the same groups. May be lost.
    fn send(&mut self, to: NodeId, message: PeerMessage<Shared>);
    /// Answers a requester. Borrowed bytes are valid during the call only.
    fn reply(&mut self, to: R, reply: Reply<&[u8]>);
    /// Reserves room for the value of so many bytes that answers a request, until the reply
    /// ([`synod_shard::Sink::reserve`]). Most outlets have room.
    fn reserve(&mut self, to: &R, bytes: usize) -> bool {
        let _ = (to, bytes);
        true
    }
    /// A read that was not done, because [`Outlet::reserve`] had no room: it is to be made anew.
    ///
    /// # Panics
    /// In an outlet that always has room.
    fn ask_again(&mut self, to: R, consistency: Consistency, command: Command<Shared>, bytes: usize) {
        let _ = (to, consistency, command);
        panic!("there was room for {bytes} bytes");
    }
    /// Returns a message that was given to [`Outlet::send`] and did not leave, because there was no link or
    /// no room on it, if [`Unsent::of`] identifies it. Called after each input until it returns none.
    fn unsent(&mut self) -> Option<Unsent> {
        None
    }
    /// Takes an event for the operator. Most outlets have no operator.
    fn tell(&mut self, event: Event) {
        let _ = event;
    }
    /// Takes an event of the log, for observers.
    fn watch(&mut self, event: LogEvent<'_>) {
        let _ = event;
    }
}

/// An event of a replica's log.
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
        /// The shard's token of the read.
        token: ReadToken,
        /// Which bytes.
        location: Location,
        /// Whether they are still in memory.
        is_at_hand: bool,
        /// Whether it is a whole entry, to be checked against its record.
        is_entry: bool,
    },
    /// A peer's message was dropped, because too much waits for the disk.
    Behind,
    /// Bytes could not be read back.
    ReadFailed(&'a ReadError),
}
