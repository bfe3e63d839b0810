//! The outlet of a core: to clients, to peers, to the other cores.
//!
//! A reply is encoded directly into its connection's output buffer, a peer message into its link's buffer:
//! one copy each, and no queue in between.

use crate::runtime::clients::Clients;
use crate::runtime::links::PeerLinks;
use crate::runtime::mail::{Mail, Outboxes};
use crate::runtime::requester::Requester;
use crate::runtime::status_board::Errors;
use crate::runtime::waiters::Waiters;
use crate::voice::{self, NodeEvent};
use synod_replica::{LogEvent, Outlet};
use synod_shard::Unsent;
use synod_types::{Command, Consistency, CoreId, Event, NodeId, PeerMessage, Reply, Shared};

/// The outlet of one core.
pub(crate) struct CoreOutlet {
    me: CoreId,
    /// Links to peers.
    pub links: PeerLinks,
    /// Client connections.
    pub clients: Clients,
    /// Mail for other cores.
    pub outboxes: Outboxes,
    /// HTTP requests that wait for their reply.
    pub waiters: Waiters,
    /// Number of replies to clients of this core, for statistics.
    pub replies: u64,
    /// The error replies among them.
    pub errors: Errors,
}

impl CoreOutlet {
    /// An outlet with links to these peers, and outboxes for `cores` cores.
    pub fn new(me: CoreId, peers: impl Iterator<Item = NodeId>, cores: u16) -> Self {
        Self {
            me,
            links: PeerLinks::new(peers),
            clients: Clients::default(),
            outboxes: Outboxes::new(usize::from(cores)),
            waiters: Waiters::default(),
            replies: 0,
            errors: Errors::default(),
        }
    }

    /// Wakes the tasks that send what has gathered for peers and clients.
    pub fn flush(&mut self) {
        self.links.flush();
        self.clients.flush();
    }
}

impl Outlet<Requester> for CoreOutlet {
    fn send(&mut self, to: NodeId, message: PeerMessage<Shared>) {
        self.links.send(to, &message);
    }
    fn reply(&mut self, to: Requester, reply: Reply<&[u8]>) {
        // What goes to another core is counted there.
        if !matches!(to, Requester::Core { .. }) {
            self.replies += 1;
            if let Reply::Error(kind) = reply {
                self.errors.record(kind);
            }
        }
        match to {
            Requester::Connection { connection, tag, bytes } => {
                self.clients.reply(connection, tag, bytes as usize, reply);
            }
            Requester::Http { waiter, bytes } => {
                self.clients.end(bytes as usize);
                self.waiters.reply(waiter, reply);
            }
            Requester::Core { core, id, .. } => {
                let reply = reply.map(<[u8]>::to_vec);
                self.outboxes.post(core, Mail::Reply { id, reply });
            }
        }
    }
    fn reserve(&mut self, to: &Requester, bytes: usize) -> bool {
        match *to {
            Requester::Connection { connection, tag, .. } => self.clients.reserve(connection, tag, bytes),
            // It has reserved room for a value of any length before it asked.
            Requester::Http { .. } => true,
            Requester::Core { room, .. } => bytes <= room as usize,
        }
    }
    fn ask_again(
        &mut self,
        to: Requester,
        consistency: Consistency,
        command: Command<Shared>,
        answer_bytes: usize,
    ) {
        match to {
            Requester::Connection { connection, tag, bytes } => {
                self.clients.defer(connection, tag, bytes as usize, (consistency, command), answer_bytes);
            }
            Requester::Http { .. } => unreachable!("an HTTP request has room for its answer"),
            Requester::Core { core, id, .. } => {
                let command = command.map(|bytes| bytes.as_ref().to_vec());
                self.outboxes.post(core, Mail::AskAgain { id, consistency, command, bytes: answer_bytes });
            }
        }
    }
    fn unsent(&mut self) -> Option<Unsent> {
        self.links.take_unsent()
    }
    fn tell(&mut self, event: Event) {
        voice::tell(self.me, &event);
    }
    fn watch(&mut self, event: LogEvent<'_>) {
        if let LogEvent::ReadFailed(error) = event {
            voice::say(Some(self.me), NodeEvent::ReadFailed { why: error });
        }
    }
}
