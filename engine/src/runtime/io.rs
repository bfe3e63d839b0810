//! Where a core's words go: to clients, to peers, to the other cores.
//!
//! A reply is encoded straight into its connection's output buffer, a peer message into its link's: one copy each, no queue in between.

use crate::runtime::client::Clients;
use crate::runtime::http::Waiters;
use crate::runtime::links::Links;
use crate::runtime::mailbox::{Mail, Outboxes};
use crate::runtime::snapshot::Errors;
use synod_net::server::Tag;
use synod_replica::{LogEvent, Outlet};
use synod_types::{CoreId, NodeId, PeerMessage, Reply, RequestId, Shared};

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

/// Where a core's words go.
pub(crate) struct Io {
    me: CoreId,
    /// Links to peers.
    pub links: Links,
    /// Client connections.
    pub clients: Clients,
    /// Mail for other cores.
    pub outboxes: Outboxes,
    /// HTTP requests that wait for their reply.
    pub http: Waiters,
    /// Replies pushed, for statistics.
    pub commands: u64,
    /// Of those, errors.
    pub errors: Errors,
}

impl Io {
    pub fn new(me: CoreId, links: Links, clients: Clients, outboxes: Outboxes) -> Self {
        Self {
            me,
            links,
            clients,
            outboxes,
            http: Waiters::default(),
            commands: 0,
            errors: Errors::default(),
        }
    }

    /// Answers who asked.
    pub fn reply(&mut self, to: Requester, reply: Reply<&[u8]>) {
        self.commands += 1;
        if let Reply::Error(kind) = reply {
            self.errors.record(kind);
        }
        match to {
            Requester::Connection { connection, tag } => self.clients.reply(connection, tag, reply),
            Requester::Http { waiter } => self.http.reply(waiter, reply),
            Requester::Core { core, id } => {
                let reply = reply.map(<[u8]>::to_vec);
                self.outboxes.post(core, Mail::Reply { id, reply });
            }
        }
    }
}

impl Outlet<Requester> for Io {
    fn send(&mut self, to: NodeId, message: PeerMessage<Shared>) {
        self.links.send(to, &message);
    }
    fn reply(&mut self, to: Requester, reply: Reply<&[u8]>) {
        Io::reply(self, to, reply);
    }
    fn unsent(&mut self) -> Option<u64> {
        self.links.take_unsent()
    }
    fn watch(&mut self, event: LogEvent<'_>) {
        if let LogEvent::ReadFailed(error) = event {
            eprintln!("synod: core {}: {error}", self.me.get());
        }
    }
}
