//! Everything an effect touches, and the carrying out of effects as they are pushed.
//!
//! A reply is encoded straight into its connection's output buffer, a peer message into its link's, a record into the open
//! log block: one copy each, no queue in between.

use crate::runtime::client::Clients;
use crate::runtime::core::fatal;
use crate::runtime::http::Waiters;
use crate::runtime::links::Links;
use crate::runtime::mailbox::{Mail, Outboxes};
use crate::runtime::snapshot::Errors;
use std::collections::VecDeque;
use synod_net::server::Tag;
use synod_shard::{Effect, ReadToken, Sink};
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{CoreId, Location, Lsn, NodeId, PeerMessage, Reply, RequestId, Shared};
use synod_wal::uring::UringDisk;
use synod_wal::{ReadError, Wal};

/// Bytes that may wait for the disk before peers' accepts are dropped (they come again) and nothing more is proposed: what clients write
/// waits then, and is refused only when too much waits (P-14b).
///
/// The log itself refuses nothing: a record it is given is one that a machine has taken as written, and there is no way back from
/// there. What goes beyond the limit is bounded by where it comes from: what one step proposes, one promise per group (P-18e), and
/// what one winner proposes anew, which waits in memory anyway.
pub(crate) const LOG_BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Who awaits a reply.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Requester {
    /// A connection of this core.
    Connection {
        /// The connection.
        connection: u64,
        /// Its name for the request.
        tag: Tag,
    },
    /// An HTTP request of this core.
    Http {
        /// Its number among those that wait.
        waiter: u64,
    },
    /// Another core of this node.
    Core {
        /// Which.
        core: CoreId,
        /// Its number for the request.
        id: RequestId,
    },
}

/// Open requests by number; numbers are places, reused after the reply.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    places: Vec<Option<Requester>>,
    free: Vec<u32>,
}

impl Requests {
    /// A number for a request.
    pub fn open(&mut self, requester: Requester) -> RequestId {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(None);
                (self.places.len() - 1) as u32 // bounded by connections times their open requests
            }
        };
        self.places[place as usize] = Some(requester);
        RequestId::new(u64::from(place))
    }
    /// Who asked; the number is free again.
    pub fn close(&mut self, id: RequestId) -> Requester {
        let place = id.get() as usize;
        let requester = self.places[place].take().expect("a request is answered once");
        self.free.push(place as u32);
        requester
    }
}

/// Messages that must not leave before their record is durable.
type Then = Vec<(NodeId, PeerMessage<Shared>)>;

/// Everything an effect touches.
pub(crate) struct Io {
    /// The log.
    pub wal: Wal<UringDisk>,
    /// Records placed since the last step, to be told to the shard.
    pub appended: VecDeque<(Lsn, Location)>,
    /// What waits for a record's durability, in record order.
    thens: VecDeque<(Lsn, Then)>,
    /// Links to peers.
    pub links: Links,
    /// Client connections.
    pub clients: Clients,
    /// Open requests.
    pub requests: Requests,
    /// Mail for other cores.
    pub outboxes: Outboxes,
    /// HTTP requests that wait for their reply.
    pub http: Waiters,
    /// Replies pushed, for statistics.
    pub commands: u64,
    /// Of those, errors.
    pub errors: Errors,
    /// Reads answered from memory, to be told to the shard.
    pub read_now: VecDeque<(ReadToken, Shared)>,
}

impl Io {
    pub fn new(wal: Wal<UringDisk>, links: Links, clients: Clients, outboxes: Outboxes) -> Self {
        Self {
            wal,
            appended: VecDeque::new(),
            thens: VecDeque::new(),
            links,
            clients,
            requests: Requests::default(),
            outboxes,
            http: Waiters::default(),
            commands: 0,
            errors: Errors::default(),
            read_now: VecDeque::new(),
        }
    }

    /// Every record up to `lsn` is durable: what waited for it may leave (P-01).
    pub fn release(&mut self, lsn: Lsn) {
        while let Some((waits_for, _)) = self.thens.front()
            && *waits_for <= lsn
        {
            let Some((_, then)) = self.thens.pop_front() else { return };
            for (to, message) in then {
                self.links.send(to, &message);
            }
        }
    }

    /// What the log has read, or why it could not.
    pub fn take_read(&mut self) -> Option<(ReadToken, Result<Vec<u8>, ReadError>)> {
        let (token, result) = self.wal.take_read()?;
        Some((ReadToken(token), result))
    }

    /// Whether the log is so far behind that what peers want written must be dropped.
    pub fn overloaded(&self) -> bool {
        self.wal.held_bytes() > LOG_BACKLOG_BYTES_MAX
    }

    /// Answers a request.
    pub fn reply(&mut self, to: RequestId, reply: Reply<&[u8]>) {
        self.commands += 1;
        if let Reply::Error(kind) = reply {
            self.errors.record(kind);
        }
        match self.requests.close(to) {
            Requester::Connection { connection, tag } => self.clients.reply(connection, tag, reply),
            Requester::Http { waiter } => self.http.reply(waiter, reply),
            Requester::Core { core, id } => {
                let reply = reply.map(<[u8]>::to_vec);
                self.outboxes.post(core, Mail::Reply { id, reply });
            }
        }
    }
}

impl Sink<Shared> for Io {
    fn push(&mut self, effect: Effect<'_, Shared>) {
        match effect {
            Effect::Append { lsn, head, payload, then } => {
                let head = head.encode();
                let crc = payload.as_ref().and_then(Shared::crc);
                let payload: &[u8] = payload.as_ref().map_or(&[], AsRef::as_ref);
                let appended = match self.wal.append_summed(&[&head, payload], crc) {
                    Ok(appended) => appended,
                    // Not for want of memory, see above: a write has failed, or the record is longer than any may be.
                    Err(error) => fatal(&format!("the log takes no more records: {error}")),
                };
                assert!(appended.lsn == lsn, "the log and the shard number records differently");
                let payload_at = appended.location.part(RECORD_HEAD_BYTES as u32, payload.len() as u32);
                self.appended.push_back((lsn, payload_at));
                if !then.is_empty() {
                    self.thens.push_back((lsn, then));
                }
            }
            Effect::Send { to, message } => self.links.send(to, &message),
            Effect::Reply { to, reply } => self.reply(to, reply),
            Effect::ReadEntry { token, location } => {
                if let Some(bytes) = self.wal.read_ram(location) {
                    self.read_now.push_back((token, Shared::new(bytes.to_vec())));
                } else {
                    self.wal.read_checked(token.0, location, RECORD_HEAD_BYTES as u32);
                }
            }
            Effect::Read { token, location } => {
                if let Some(bytes) = self.wal.read_ram(location) {
                    self.read_now.push_back((token, Shared::new(bytes.to_vec())));
                } else {
                    self.wal.read(token.0, location);
                }
            }
        }
    }
}
