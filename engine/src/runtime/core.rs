//! One running core: the machine, the parts around it, and the turn loop.
//!
//! ```text
//!   clients' asks ──┐
//!   peers' messages ┼─▶ Machine: shard and log ─▶ clients, links, waiters, outboxes
//!   mail, tick ─────┘
//!
//!   beside it, with the timer: SpaceWatch · SkewWatch · ToldPosition · Routes · the core's page on the board
//! ```
//! Each part has its own state and its own file. This file decides what happens to several of them, and in
//! which order. `port` has the operations that the tasks of clients, peers and HTTP may call on a core.

use crate::node::RunError;
use crate::runtime::clock;
use crate::runtime::fatal::condemn;
use crate::runtime::give_back::GiveBack;
use crate::runtime::machine::Machine;
use crate::runtime::mail::Mail;
use crate::runtime::node_context::NodeContext;
use crate::runtime::node_view;
use crate::runtime::notify::Notify;
use crate::runtime::pace::{STEPS_PER_LOOK, TaskPace};
use crate::runtime::peer_inbox::PeerInbox;
use crate::runtime::positions::ToldPosition;
use crate::runtime::rates::{Rates, Work};
use crate::runtime::requester::Requester;
use crate::runtime::routes::Routes;
use crate::runtime::skew_watch::SkewWatch;
use crate::runtime::slow::{SlowTurns, TurnWatch, WorkKind};
use crate::runtime::space_watch::SpaceWatch;
use crate::runtime::status_board::CorePage;
use crate::sys;
use crate::voice::{self, NodeEvent};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use synod_net::RefusedMessage;
use synod_net::binary::ServerInfo;
use synod_net::server::{Ask, LocalAnswer, LocalQuery, ServerConfig, ShownSettings, Tag};
use synod_shard::{Input, Role};
use synod_types::{
    Bucket, CoreId, GroupId, LogPosition, Mono, Nanos, NodeId, Now, PeerMessage, Shared, Space, bucket_of,
};

/// Interval between two ticks of the machines.
const TICK: Duration = Duration::from_millis(5);
/// Interval between two refreshes of the core's page on the status board.
const PAGE_REFRESH: Nanos = Nanos::from_ms(20);
/// Interval between two checks whether the log is idle and its end is not marked yet.
const MARK_INTERVAL: Nanos = Nanos::from_ms(100);
/// Interval between two looks at all clients, while there is memory for all.
const SWEEP_INTERVAL: Nanos = Nanos::from_ms(500);
/// Number of turns, one tick apart, that a stop waits for the disk: one second.
const FINISH_TURNS: u32 = 200;

/// A core while it runs. One task at a time borrows it, never across an await.
pub(crate) struct RunningCore {
    me: CoreId,
    node: Arc<NodeContext>,
    /// The shard, its log, and the outlet for their messages.
    pub machine: Machine,
    /// The configuration that all client connections share.
    pub server: Rc<ServerConfig>,
    space: SpaceWatch,
    skew: SkewWatch,
    told: ToldPosition,
    /// The addresses to which clients are redirected.
    routes: Routes,
    slow: SlowTurns,
    rates: Rates,
    /// It writes what it has taken and takes nothing more: peers are not heard, and get no answer.
    is_closed: bool,
    page_at: Mono,
    mark_at: Mono,
    swept_at: Mono,
    give_back: GiveBack,
}

/// Starts the machines, the turn task and the timer task. `turn` is notified when a turn is due.
pub(crate) fn start(core: &Rc<RefCell<RunningCore>>, turn: &Rc<Notify>) {
    core.borrow_mut().start();
    let (turning, due) = (Rc::clone(core), Rc::clone(turn));
    glommio::spawn_local(async move {
        loop {
            due.notified().await;
            turning.borrow_mut().turn();
        }
    })
    .detach();
    let (ticking, due) = (Rc::clone(core), Rc::clone(turn));
    glommio::spawn_local(async move {
        loop {
            glommio::timer::sleep(TICK).await;
            ticking.borrow_mut().tick();
            due.notify();
        }
    })
    .detach();
}

/// Stops cleanly: the log's buffers are written and the log's end is marked, so that the next start finds a
/// clean end and can tell damage to the newest records from a torn tail. No acknowledged write depends on it.
pub(crate) async fn finish(core: &RefCell<RunningCore>) {
    let began = clock::mono();
    core.borrow_mut().is_closed = true;
    let mut is_clean = core.borrow_mut().last_turn();
    for _ in 1..FINISH_TURNS {
        if is_clean {
            break;
        }
        glommio::timer::sleep(TICK).await;
        is_clean = core.borrow_mut().last_turn();
    }
    let core = core.borrow();
    let led = core.led();
    let took_ms = clock::mono().since(began).as_ms();
    voice::say(Some(core.me), NodeEvent::LogClosed { is_clean, led, took_ms });
}

impl RunningCore {
    /// Opens the core's log and replays it into a fresh shard. The disk notifies `turn`.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub async fn open(me: CoreId, node: Arc<NodeContext>, turn: Rc<Notify>) -> Result<Self, RunError> {
        let setup = &node.setup;
        let machine = Machine::open(me, setup, turn, &node.replayed).await?;
        let server = Rc::new(ServerConfig {
            info: ServerInfo {
                cluster: setup.facts().cluster,
                node: setup.node(),
                group_count: setup.facts().group_count,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            port: setup.own().client_port,
            core: me,
            access: node.access.clone(),
            shown: ShownSettings {
                clients_max: setup.options.connections_max as u64 * u64::from(setup.cores()),
                bind: setup.listen.to_string(),
                tcp_keepalive_s: setup.options.tcp_keepalive_s,
                dir: setup.data.path().display().to_string(),
            },
            ..ServerConfig::default()
        });
        Ok(Self {
            me,
            node,
            machine,
            server,
            space: SpaceWatch::default(),
            skew: SkewWatch::default(),
            told: ToldPosition::default(),
            routes: Routes::default(),
            slow: SlowTurns::default(),
            rates: Rates::default(),
            is_closed: false,
            page_at: Mono::ZERO,
            mark_at: Mono::ZERO,
            swept_at: Mono::ZERO,
            give_back: GiveBack::default(),
        })
    }

    fn start(&mut self) {
        let now = clock::now();
        self.machine.start(now);
        self.refresh_page(now);
    }

    // --- the turn ------------------------------------------------------------------------------------

    fn turn(&mut self) {
        let mut watch = TurnWatch::new(clock::mono());
        self.machine.poll();
        let now = clock::now();
        watch.look(now.mono, WorkKind::Apply);
        self.machine.end_turn(now);
        watch.look(clock::mono(), WorkKind::Propose);
        self.note_turn(&watch, None);
    }

    /// The number of groups that it leads.
    pub fn led(&self) -> u64 {
        self.machine.shard().status().filter(|group| group.role == Role::Leader).count() as u64
    }

    /// A turn of a core that is stopping. Returns whether everything is written.
    fn last_turn(&mut self) -> bool {
        self.turn();
        self.machine.mark();
        self.machine.wal().backlog().block_count == 0
    }

    /// Records the end of a turn, or of an uninterrupted stretch of work by a task.
    fn note_turn(&mut self, watch: &TurnWatch, command: Option<&str>) {
        if let Some(line) = self.slow.note(watch, command) {
            voice::say(Some(self.me), NodeEvent::SlowTurn { what: &line });
        }
    }

    // --- the timer -----------------------------------------------------------------------------------

    fn tick(&mut self) {
        let now = clock::now();
        self.machine.step(Input::Tick, now);
        self.watch_space(now);
        if let Some(group) = self.machine.shard().superseded() {
            self.condemn_as_superseded(group);
        }
        self.machine.tell_durable();
        if now.mono.since(self.page_at) >= PAGE_REFRESH {
            self.refresh_page(now);
        }
        if now.mono.since(self.mark_at) >= MARK_INTERVAL {
            self.mark_at = now.mono;
            self.machine.mark();
            self.watch_skew(now.mono);
            self.sweep_clients(now.mono);
            voice::sweep();
        }
        self.tell_position(now.mono);
        let mut watch = TurnWatch::new(now.mono);
        watch.look(clock::mono(), WorkKind::Tick);
        self.note_turn(&watch, None);
    }

    /// Retries the preparation of a log segment after a failure, and reports the failure.
    fn watch_space(&mut self, now: Now) {
        let space = self.machine.wal().log_room().space;
        let error = self.machine.wal().prepare_error();
        let look = self.space.look(error, space, now.mono);
        if look.retry || look.line.is_some() {
            let notice = error.filter(|_| space < Space::Free);
            let notice = notice.map(|error| format!("no space left for the log: {error}"));
            self.server.notice.set(&notice.unwrap_or_default());
        }
        if let Some(what) = &look.line {
            let event =
                if error.is_some() { NodeEvent::LogShort { what } } else { NodeEvent::LogShortOver { what } };
            voice::say(Some(self.me), event);
        }
        if look.retry {
            self.machine.retry_prepare();
        }
    }

    /// Frees memory of idle clients, and closes slow ones.
    fn sweep_clients(&mut self, now: Mono) {
        let is_due = now.since(self.swept_at) >= SWEEP_INTERVAL;
        if is_due || self.machine.out.clients.memory().is_short() {
            self.swept_at = now;
            for (client, why) in self.machine.out.clients.sweep(now) {
                voice::say(Some(self.me), NodeEvent::ClientClosed { client, why: why.text() });
            }
        }
        if self.give_back.is_due(self.machine.out.clients.memory().bytes()) {
            sys::give_memory_back();
        }
    }

    fn watch_skew(&mut self, now: Mono) {
        let clocks = self.machine.shard().status().map(|status| (status.group, status.clock_skew_ms));
        let most_ms = self.node.setup.options.timing.skew_max_ms;
        if let Some((group, line)) = self.skew.look(clocks, most_ms, now) {
            voice::say(Some(self.me), NodeEvent::ClockSkewed { group, what: &line });
        }
    }

    /// Tells the peers up to which position the log is durable.
    fn tell_position(&mut self, now: Mono) {
        let position = self.machine.wal().position();
        if self.told.is_due(position, now) {
            self.machine.out.links.send_to_all(&PeerMessage::Position(position));
            self.machine.out.links.flush();
        }
    }

    /// A later start of this same node is already at work (P-21).
    fn condemn_as_superseded(&self, group: GroupId) -> ! {
        let why = format!(
            "in group {} another process has said that it is this node, after at least as many starts as are \
             counted here ({})",
            group.get(),
            self.node.setup.boot.counter
        );
        condemn(&self.node.setup.data, self.me, why)
    }

    /// Writes the core's page on the board, and updates from the board where clients are redirected.
    fn refresh_page(&mut self, now: Now) {
        self.page_at = now.mono;
        let page = self.page(now);
        self.node.board.write(usize::from(self.me.get()), page);
        self.routes.refresh(&self.node.setup, &self.node.board);
        // As CLUSTER SLOTS shows them: those without a known leader are the answering node's.
        let me = self.node.setup.node();
        let own =
            self.machine.shard().status().filter(|status| status.leader.is_none_or(|leader| leader == me));
        self.server.own_groups.set(own.map(|status| status.group));
    }

    fn page(&mut self, now: Now) -> CorePage {
        let counts = self.server.counts.totals();
        let clients = &self.machine.out.clients;
        let (input_bytes, output_bytes) = (clients.input_bytes, clients.output_bytes);
        self.rates.look(now.mono, Work { commands: counts.calls(), input_bytes, output_bytes });
        let (shard, wal, out) = (self.machine.shard(), self.machine.wal(), &self.machine.out);
        CorePage {
            at: now.mono,
            groups: shard.status().collect(),
            ready: shard.ready(now.mono).collect(),
            group_stats: shard.group_stats().copied().collect(),
            core_stats: *shard.core_stats(),
            log_stalled: shard.log_stalled(now.mono),
            log_age: shard.log_age(now.mono),
            read_age: shard.read_age(now.mono),
            peers: shard.peer_views(now.mono),
            log_backlog_bytes: wal.backlog().bytes as u64,
            log_space: wal.log_room().space,
            log_error: wal.prepare_error().map(str::to_owned),
            cache: shard.cache_stats(),
            linked: out.links.connected().collect(),
            refused: out.links.refused().collect(),
            connections: out.clients.count(),
            connections_total: out.clients.total,
            client_bytes: out.clients.memory().bytes() as u64,
            client_bytes_max: out.clients.memory().bytes_max() as u64,
            command_bytes: out.clients.command_bytes() as u64,
            closed_slow: out.clients.closed_slow,
            connections_rejected: counts.turned_away,
            counts: Arc::new(counts),
            rates: self.rates,
            replies: out.replies,
            errors: out.errors,
            reply_us: out.clients.reply_us,
            input_bytes: out.clients.input_bytes,
            output_bytes: out.clients.output_bytes,
            slow: self.slow,
        }
    }

    /// All pages of the board, with this core's own page refreshed.
    pub fn pages(&mut self) -> Vec<CorePage> {
        self.refresh_page(clock::now());
        self.node.board.read()
    }

    // --- clients -------------------------------------------------------------------------------------

    /// Executes what a connection asks for now, within one stretch at most. Returns whether a turn is due for
    /// it. Commands that are answered at once, as most reads are, need no turn.
    pub fn serve_client(&mut self, connection: u64) -> bool {
        let now = clock::now();
        let (mut turn, mut unseen) = (false, None);
        let (mut watch, mut steps) = (TurnWatch::new(now.mono), 0);
        let mut slow_command = None;
        while let Some(ask) = self.machine.next_ask(connection, watch.looked()) {
            let answered = self.machine.out.replies;
            let is_command = matches!(ask, Ask::Command { .. });
            let work = WorkKind::of_ask(&ask);
            self.ask(connection, ask, now);
            turn |= is_command && self.machine.out.replies == answered;
            steps += 1;
            if !work.is_long() && steps % STEPS_PER_LOOK != 0 {
                unseen = Some(work);
            } else {
                unseen = None;
                if watch.look(clock::mono(), work) {
                    slow_command = self.machine.out.clients.doing(connection);
                }
            }
        }
        // Once per received chunk of bytes, not once per command.
        if let Some(work) = unseen
            && watch.look(clock::mono(), work)
        {
            slow_command = self.machine.out.clients.doing(connection);
        }
        self.note_turn(&watch, slow_command);
        self.machine.out.clients.wake_if_due(connection);
        turn || self.machine.out.clients.is_dirty()
    }

    fn ask(&mut self, connection: u64, ask: Ask, now: Now) {
        match ask {
            Ask::Command { tag, group, consistency, command } => {
                let bucket = bucket_of(command.key.as_ref());
                let group = group.unwrap_or_else(|| self.machine.group_of(bucket));
                if self.redirect(connection, tag, bucket, group) {
                    return;
                }
                let bytes = self.machine.out.clients.begin(&command);
                let requester = Requester::Connection { connection, tag, bytes };
                self.machine.request(requester, group, consistency, command, now);
            }
            Ask::Local { tag, query } => {
                let answer = self.local(&query);
                self.machine.out.clients.answer(connection, tag, answer);
            }
            // Once everything is sent, the writer sees the close in the result of `closing`.
            Ask::Close | Ask::Pause => {}
        }
    }

    fn local(&mut self, query: &LocalQuery) -> LocalAnswer {
        if let LocalQuery::Clients { ids } = query {
            return LocalAnswer::Text(self.machine.out.clients.describe(ids.as_deref(), clock::mono()));
        }
        let node = Arc::clone(&self.node);
        node_view::answer(&node, query, || self.pages())
    }

    /// Redirects the client of a command where that is wanted, possible and accepted by its connection.
    fn redirect(&mut self, connection: u64, tag: Tag, bucket: Bucket, group: GroupId) -> bool {
        let leads = || self.machine.shard().serves(group);
        match self.routes.elsewhere(&self.node.setup, self.me, group, leads) {
            Some((host, port)) => self.machine.out.clients.redirect(connection, tag, bucket, host, port),
            None => false,
        }
    }

    // --- other cores ---------------------------------------------------------------------------------

    /// Mail from another core of this node.
    pub fn mail(&mut self, mail: Mail) {
        match mail {
            Mail::Request { from, id, group, consistency, command, room } => {
                let requester = Requester::Core { core: from, id, room };
                let command = command.map(Shared::new);
                let (work, now) = (WorkKind::of(command.op), clock::now());
                self.machine.own_request(requester, group, consistency, command, now);
                if work.is_long() {
                    let mut watch = TurnWatch::new(now.mono);
                    watch.look(clock::mono(), work);
                    self.note_turn(&watch, None);
                }
            }
            Mail::AskAgain { id, consistency, command, bytes } => {
                self.machine.ask_again(id, consistency, command.map(Shared::new), bytes);
            }
            Mail::Reply { id, reply } => self.machine.answered_elsewhere(id, reply.borrow()),
        }
    }

    // --- peers ---------------------------------------------------------------------------------------

    /// Executes the messages that a peer has sent, within one stretch at most. Returns whether there are
    /// more.
    ///
    /// # Errors
    /// When the bytes are not valid messages.
    pub fn peer_messages(&mut self, inbox: &mut PeerInbox, pace: &TaskPace) -> Result<bool, RefusedMessage> {
        let from = inbox.from;
        let mut now = clock::now();
        let (mut watch, mut steps) = (TurnWatch::new(now.mono), 0);
        let more = loop {
            if pace.is_over(now.mono) {
                break true;
            }
            let Some(message) = inbox.next_message(self.me, &self.node.setup)? else { break false };
            if self.is_closed {
                continue;
            }
            let work = WorkKind::of_message(&message);
            self.machine.peer_message(from, message, now);
            steps += 1;
            if work.is_long() || steps % STEPS_PER_LOOK == 0 {
                now = clock::now();
                watch.look(now.mono, work);
            }
        };
        watch.look(clock::mono(), WorkKind::Peer);
        self.note_turn(&watch, None);
        Ok(more)
    }

    /// The link to a peer broke.
    pub fn link_lost(&mut self, node: NodeId) {
        let now = clock::now();
        self.machine.step(Input::LinkLost { node }, now);
        let mut watch = TurnWatch::new(now.mono);
        watch.look(clock::mono(), WorkKind::Peer);
        self.note_turn(&watch, None);
    }

    /// Whether this core's log holds the position that a peer knows as durable.
    pub fn log_holds(&self, position: LogPosition) -> bool {
        self.machine.wal().holds(position)
    }

    /// The position up to which the log is durable.
    pub fn log_position(&self) -> LogPosition {
        self.machine.wal().position()
    }
}
