//! `CorePort`: the operations that the tasks of clients, peers, HTTP and the other cores may call on the core
//! they run beside.
//!
//! ```text
//!  client_sockets   peer   http   mailbox
//!         └──────────┴──┬───┴───────┘
//!                    CorePort ─▶ RunningCore ─▶ the parts
//! ```
//! The core is borrowed for one call at a time and never across an await. A call that gives the machines work
//! makes the turn end soon; any other call leaves the turn task asleep.

use crate::node::RunError;
use crate::runtime::clients::{AfterReading, Clients};
use crate::runtime::clock;
use crate::runtime::core::{self, RunningCore};
use crate::runtime::links::{RefusedLink, Way};
use crate::runtime::mail::Mail;
use crate::runtime::node_context::NodeContext;
use crate::runtime::notify::Notify;
use crate::runtime::pace::TaskPace;
use crate::runtime::peer_inbox::PeerInbox;
use crate::runtime::requester::Requester;
use crate::runtime::status_board::CorePage;
use crate::runtime::waiters::AwaitedReply;
use crate::runtime::write_vec::WriteVec;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use synod_net::server::ServerConfig;
use synod_net::{ReadBuffer, RefusedMessage};
use synod_shard::Input;
use synod_types::{Command, Consistency, CoreId, LogPosition, NodeId, Shared, bucket_of};

/// The handle that tasks hold.
#[derive(Clone)]
pub(crate) struct CorePort {
    core: Rc<RefCell<RunningCore>>,
    turn: Rc<Notify>,
    /// The state that the cores of the node share.
    pub node: Arc<NodeContext>,
    /// The number of this core.
    pub me: CoreId,
}

impl CorePort {
    /// Opens a core, which does nothing until it is started.
    ///
    /// # Errors
    /// When its log cannot be opened.
    pub async fn open(me: CoreId, node: Arc<NodeContext>) -> Result<Self, RunError> {
        let turn = Rc::new(Notify::default());
        let core = RunningCore::open(me, Arc::clone(&node), Rc::clone(&turn)).await?;
        Ok(Self { core: Rc::new(RefCell::new(core)), turn, node, me })
    }

    /// Starts the machines.
    pub fn start(&self) {
        core::start(&self.core, &self.turn);
    }

    /// The node is about to stop: what this core leads goes to other nodes.
    pub fn leave(&self) {
        self.with(|core| core.machine.step(Input::Leave, clock::now()));
    }

    /// Whether it leads nothing more, or nothing that anybody takes.
    pub fn has_left(&self) -> bool {
        self.with_quiet(|core| core.machine.shard().has_left(clock::mono()))
    }

    /// The number of groups that it leads.
    pub fn led(&self) -> u64 {
        self.with_quiet(|core| core.led())
    }

    /// Stops cleanly.
    pub async fn finish(&self) {
        core::finish(&self.core).await;
    }

    /// Runs `work` on the core and notifies the turn task, so that the turn ends soon.
    fn with<T>(&self, work: impl FnOnce(&mut RunningCore) -> T) -> T {
        let result = work(&mut self.core.borrow_mut());
        self.turn.notify();
        result
    }

    /// The same for work that gives the machines nothing to do.
    fn with_quiet<T>(&self, work: impl FnOnce(&mut RunningCore) -> T) -> T {
        work(&mut self.core.borrow_mut())
    }

    // --- clients -------------------------------------------------------------------------------------

    /// The configuration that all client connections share.
    pub fn server(&self) -> Rc<ServerConfig> {
        self.with_quiet(|core| Rc::clone(&core.server))
    }

    /// Runs `work` on the table of client connections.
    pub fn clients<T>(&self, work: impl FnOnce(&mut Clients) -> T) -> T {
        self.with_quiet(|core| work(&mut core.machine.out.clients))
    }

    /// Executes what a connection asks for.
    pub fn go_on(&self, connection: u64) {
        if self.with_quiet(|core| core.serve_client(connection)) {
            self.turn.notify();
        }
    }

    /// A client has sent `count` bytes, which are in `room`. Executes what it asks for.
    pub fn client_sent(&self, connection: u64, room: ReadBuffer, count: usize) -> AfterReading {
        let (turn, after) = self.with_quiet(|core| {
            core.machine.out.clients.put(connection, room, count);
            let turn = core.serve_client(connection);
            (turn, core.machine.out.clients.after_reading(connection))
        });
        if turn {
            self.turn.notify();
        }
        after
    }

    /// A client will send no more. Executes what it asked for before.
    pub fn client_gone(&self, connection: u64) {
        let turn = self.with_quiet(|core| {
            core.machine.out.clients.received_end(connection);
            core.serve_client(connection)
        });
        if turn {
            self.turn.notify();
        }
    }

    /// A connection has ended. If others wait for memory, the next of them does not wait until something happens.
    pub fn close(&self, connection: u64) {
        let is_awaited = self.clients(|clients| {
            clients.close(connection);
            clients.memory().is_short()
        });
        if is_awaited {
            self.turn.notify();
        }
    }

    /// A command on a key, received by HTTP. Returns where its reply will appear.
    pub fn request(&self, consistency: Consistency, command: Command<Shared>) -> AwaitedReply {
        self.with(|core| {
            core.server.counts.asked();
            let group = core.machine.group_of(bucket_of(command.key.as_ref()));
            let (waiter, answer) = core.machine.out.waiters.open();
            let bytes = core.machine.out.clients.begin(&command);
            let requester = Requester::Http { waiter, bytes };
            core.machine.request(requester, group, consistency, command, clock::now());
            answer
        })
    }

    /// The status pages of the node's cores, with this core's page refreshed.
    pub fn pages(&self) -> Vec<CorePage> {
        self.with_quiet(RunningCore::pages)
    }

    // --- other cores ---------------------------------------------------------------------------------

    /// Mail from another core.
    pub fn on_mail(&self, mail: Mail) {
        self.with(|core| core.mail(mail));
    }

    /// Takes the oldest message for another core.
    pub fn take_mail(&self, to: usize) -> Option<Mail> {
        self.core.borrow().machine.out.outboxes.take(to)
    }

    /// The notify that is raised when there is mail for a core.
    pub fn outbox_wake(&self, to: usize) -> Rc<Notify> {
        self.core.borrow().machine.out.outboxes.wake_of(to)
    }

    // --- peers ---------------------------------------------------------------------------------------

    /// Executes the messages that a peer has sent, within one stretch at most. Returns whether there are
    /// more.
    ///
    /// # Errors
    /// When the bytes are not valid messages: the link must be closed.
    pub fn peer_messages(&self, inbox: &mut PeerInbox, pace: &TaskPace) -> Result<bool, RefusedMessage> {
        self.with(|core| core.peer_messages(inbox, pace))
    }

    /// A way of the link to a peer is up. Returns the notify that wakes its sender.
    pub fn link_up(&self, node: NodeId, way: Way) -> Rc<Notify> {
        self.with(|core| core.machine.out.links.reset(node, way, true))
    }

    /// A way of the link to a peer is down. The machines are told of a link that is lost, if they `have_begun`.
    pub fn link_down(&self, node: NodeId, way: Way, have_begun: bool) {
        self.with(|core| {
            core.machine.out.links.reset(node, way, false);
            if have_begun && way == Way::Bulk {
                core.link_lost(node);
            }
        });
    }

    /// An attempt to link to a peer has ended; whether it was refused is shown in the status.
    pub fn link_tried(&self, node: NodeId, refused: Option<RefusedLink>) {
        self.with_quiet(|core| core.machine.out.links.note_attempt(node, refused));
    }

    /// Takes the messages gathered for a peer, in exchange for an empty buffer.
    pub fn take_outbox(&self, node: NodeId, way: Way, empty: &mut WriteVec) {
        self.with_quiet(|core| core.machine.out.links.take(node, way, empty));
    }

    /// Whether this core's log holds the position that a peer knows as durable.
    pub fn log_holds(&self, position: LogPosition) -> bool {
        self.with_quiet(|core| core.log_holds(position))
    }

    /// The position up to which this core's log is durable.
    pub fn log_position(&self) -> LogPosition {
        self.with_quiet(|core| core.log_position())
    }
}
