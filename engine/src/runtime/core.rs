//! One running core: the shard, what its effects touch, and the turn.

use super::Shared as Node;
use crate::config;
use crate::identity::DataDir;
use crate::node::RunError;
use crate::refusal::Refusal;
use crate::runtime::begun::{Begun, Told};
use crate::runtime::client::Clients;
use crate::runtime::clock;
use crate::runtime::io::{Io, LOG_BACKLOG_BYTES_MAX, Requester};
use crate::runtime::links::Links;
use crate::runtime::mailbox::{Mail, Outboxes};
use crate::runtime::notify::Notify;
use crate::runtime::pace::{Pace, STEPS_PER_LOOK};
use crate::runtime::replay::{self, Opened};
use crate::runtime::room::RoomWatch;
use crate::runtime::routes::Routes;
use crate::runtime::slow::{SlowTurns, Watch, Work};
use crate::runtime::snapshot::CorePage;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use synod_net::binary::ServerInfo;
use synod_net::peer::Decoder;
use synod_net::server::ServerConfig;
use synod_net::{ProtocolError, RefusedMessage};
use synod_replica::placement::{core_of, groups_of};
use synod_replica::{Durable, Failed, Replica};
use synod_shard::{AheadLimits, FollowLoad, Input, Leadership, Shard, ShardConfig};
use synod_types::{
    Command, Consistency, CoreId, ErrorKind, GroupId, Level, LogPosition, Mono, Nanos, NodeId, Now,
    PeerMessage, Reply, Shared, Space,
};
use synod_wal::uring::UringDisk;

/// Between two ticks of the machines.
const TICK: Duration = Duration::from_millis(5);
/// Between two refreshes of the core's page on the board.
const PAGE_REFRESH: Nanos = Nanos::from_ms(20);
/// Between two looks whether the log is quiet and its end not marked yet.
const MARK_INTERVAL: Nanos = Nanos::from_ms(100);
/// Between two lines about the same clock.
const SKEW_SILENCE: Nanos = Nanos::from_ms(60_000);
/// Between two times that the peers are told how far the log is durable.
const POSITION_INTERVAL: Nanos = Nanos::from_ms(100);
/// The same while it does not change.
const POSITION_INTERVAL_IDLE: Nanos = Nanos::from_ms(1_000);
/// Turns that a stop waits for the disk, one tick apart: a second.
const FINISH_TURNS: u32 = 200;

/// Ends the process: acknowledging anything after this would be a lie. `panic = "abort"` would do; this says why first.
pub(crate) fn fatal(why: &str) -> ! {
    eprintln!("synod: fatal: {why}");
    std::process::exit(1)
}

/// What came of a step; the process ends if the log is of no use any more.
fn sound<T>(result: Result<T, Failed>) -> T {
    result.unwrap_or_else(|failed| fatal(&failed.to_string()))
}

/// Ends the process for good: its data are an old copy of the node's, and are refused from now on.
pub(crate) fn condemn(data: &DataDir, me: CoreId, why: String) -> ! {
    if let Err(refusal) = data.condemn(&why) {
        eprintln!("synod: core {}: {refusal}", me.get());
    }
    fatal(&Refusal::Condemned { path: data.path().to_owned(), why }.to_string())
}

/// A core while it runs; borrowed by one task at a time and never across an await.
pub(crate) struct Core {
    me: CoreId,
    node: Arc<Node>,
    /// The machine: shard and log.
    pub(super) replica: Replica<UringDisk, Requester>,
    /// Where its words go.
    pub io: Io,
    begun: Begun<Durable>,
    watch: RoomWatch,
    /// What all client connections have in common.
    pub server: Rc<ServerConfig>,
    page_at: Mono,
    mark_at: Mono,
    /// When it was last said that a group's clock is off.
    skew_said_at: Option<Mono>,
    /// When, and what, the peers were told of the log.
    told: (Mono, LogPosition),
    /// Where clients are sent.
    pub routes: Routes,
    slow: SlowTurns,
}

/// The handle tasks hold.
#[derive(Clone)]
pub(crate) struct Running {
    core: Rc<RefCell<Core>>,
    turn: Rc<Notify>,
    /// The node's shared part.
    pub node: Arc<Node>,
    /// Which core this is.
    pub me: CoreId,
}

impl Core {
    /// Opens the core's log and replays it into a fresh shard.
    pub async fn open(me: CoreId, node: Arc<Node>) -> Result<Running, RunError> {
        let setup = &node.setup;
        let cores = setup.cores();
        let nodes: Vec<NodeId> = setup.members.iter().map(|member| member.id).collect();
        let all = (0..=setup.facts().group_count).map(GroupId::new);
        let groups = groups_of(me, cores, all, &nodes, setup.node());
        let shard = Shard::new(ShardConfig {
            node: setup.node(),
            core: me,
            groups,
            timing: setup.options.timing,
            cache_bytes: setup.options.cache_bytes,
            pending_bytes_max: setup.options.pending_bytes_max,
            log_backlog_bytes_max: LOG_BACKLOG_BYTES_MAX,
            pipeline_slots: setup.options.pipeline_slots,
            leadership: match setup.options.leadership {
                config::Leadership::Stay => Leadership::Stay,
                config::Leadership::Follow => Leadership::Follow(FollowLoad::default()),
                config::Leadership::Balance => Leadership::Balance,
            },
            ahead: AheadLimits::default(),
            level: Level::OWN,
            boot: setup.boot,
            seed: replay::seed()?,
        });
        let turn = Rc::new(Notify::default());
        let Opened { replica, begun } = replay::open(me, setup, shard, Rc::clone(&turn)).await?;
        let links = Links::new(setup.peers().map(|member| member.id));
        let io = Io::new(me, links, Clients::default(), Outboxes::new(usize::from(cores)));
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
            ..ServerConfig::default()
        });
        let core = Self {
            me,
            node: Arc::clone(&node),
            replica,
            io,
            begun: Begun::new(begun),
            watch: RoomWatch::default(),
            server,
            page_at: Mono::ZERO,
            mark_at: Mono::ZERO,
            skew_said_at: None,
            told: (Mono::ZERO, LogPosition::default()),
            routes: Routes::default(),
            slow: SlowTurns::default(),
        };
        Ok(Running { core: Rc::new(RefCell::new(core)), turn, node, me })
    }

    /// Starts the machines, the turn task and the timer task.
    pub fn start(running: &Running) {
        {
            let mut core = running.core.borrow_mut();
            let now = clock::now();
            core.replica.start(now);
            core.refresh_page(now);
        }
        let turning = running.clone();
        glommio::spawn_local(async move {
            loop {
                turning.turn.notified().await;
                turning.core.borrow_mut().turn();
            }
        })
        .detach();
        let ticking = running.clone();
        glommio::spawn_local(async move {
            loop {
                glommio::timer::sleep(TICK).await;
                ticking.with(|core| core.tick());
            }
        })
        .detach();
    }

    /// Stops in good order: what is in the log's buffers is written and marked, so that the next start finds a clean end and can
    /// tell damage to the newest records from a torn tail. Nothing that was acknowledged depends on it.
    pub async fn finish(running: &Running) {
        for _ in 0..FINISH_TURNS {
            let written = running.with_quiet(|core| {
                core.turn();
                core.mark();
                core.replica.wal().backlog().block_count == 0
            });
            if written {
                return;
            }
            glommio::timer::sleep(TICK).await;
        }
    }

    fn mark(&mut self) {
        sound(self.replica.mark());
    }

    fn step(&mut self, input: Input<Shared>, now: Now) {
        sound(self.replica.step(input, now, &mut self.io));
    }

    fn turn(&mut self) {
        let mut watch = Watch::new(clock::mono());
        if let Some(durable) = sound(self.replica.poll()) {
            self.durable(durable);
        }
        sound(self.replica.feed_reads(clock::now, &mut self.io));
        let now = clock::now();
        watch.look(now.mono, Work::Apply);
        sound(self.replica.end_turn(now, &mut self.io));
        self.io.links.flush();
        self.io.clients.flush();
        watch.look(clock::mono(), Work::Propose);
        self.end_turn(&watch, None);
    }

    /// A turn, or what a task did to the core at a stretch, has ended.
    pub fn end_turn(&mut self, watch: &Watch, command: Option<&str>) {
        if let Some(line) = self.slow.note(watch, command) {
            eprintln!("synod: core {}: {line}", self.me.get());
        }
    }

    /// Records are durable: what waits for that may be told, once it is noted that the log was begun.
    fn durable(&mut self, durable: Durable) {
        let now = clock::now();
        match self.begun.durable(durable, now.mono, replay::begin) {
            Told::UpTo(durable) => sound(self.replica.durable(durable, now, &mut self.io)),
            Told::Nothing => {}
            Told::Failed(said) => self.say(&said),
        }
    }

    fn say(&self, what: &str) {
        eprintln!("synod: core {}: {what}", self.me.get());
    }

    /// Tries again to make a segment where that failed, and says so.
    fn mind_room(&mut self, now: Now) {
        let space = self.replica.wal().log_room().space;
        let error = self.replica.wal().prepare_error();
        let look = self.watch.look(error, space, now.mono);
        if look.retry || look.line.is_some() {
            let notice = error.filter(|_| space < Space::Free);
            let notice = notice.map(|error| format!("no space left for the log: {error}"));
            self.server.notice.set(&notice.unwrap_or_default());
        }
        if let Some(line) = look.line {
            self.say(&line);
        }
        if look.retry {
            self.replica.retry_prepare();
        }
    }

    fn tick(&mut self) {
        let now = clock::now();
        self.step(Input::Tick, now);
        self.mind_room(now);
        if let Some(group) = self.replica.shard().superseded() {
            self.condemn(group);
        }
        if let Some(durable) = self.begun.waits() {
            self.durable(durable);
        }
        if now.mono.since(self.page_at) >= PAGE_REFRESH {
            self.refresh_page(now);
        }
        if now.mono.since(self.mark_at) >= MARK_INTERVAL {
            self.mark_at = now.mono;
            self.mark();
            self.mind_skew(now.mono);
        }
        self.tell_position(now.mono);
        let mut watch = Watch::new(now.mono);
        watch.look(clock::mono(), Work::Tick);
        self.end_turn(&watch, None);
    }

    /// Says so when the clock of a group is far from the wall clocks: it follows them slowly, and what has a time to live is judged
    /// by it (P-16).
    fn mind_skew(&mut self, now: Mono) {
        let most = self.node.setup.options.timing.skew_max_ms;
        let skew = |skew: Option<i64>| skew.filter(|skew| skew.unsigned_abs() > most);
        let far = self
            .replica
            .shard()
            .status()
            .find_map(|status| Some((status.group, skew(status.clock_skew_ms)?)));
        if let Some((group, skew)) = far
            && self.skew_said_at.is_none_or(|at| now.since(at) >= SKEW_SILENCE)
        {
            self.skew_said_at = Some(now);
            let (off, way) = (skew.unsigned_abs() / 1000, if skew > 0 { "ahead of" } else { "behind" });
            eprintln!(
                "synod: core {}: the clock of group {} is {off} s {way} the wall clocks of most nodes, and goes towards them by \
                 20 ms per second; if they are right now, stopping and starting all nodes sets it forward at once",
                self.me.get(),
                group.get()
            );
        }
    }

    /// A later start of this node than this one has been at work (P-21).
    fn condemn(&self, group: GroupId) -> ! {
        let why = format!(
            "in group {} another process has said that it is this node, after at least as many starts as are counted here ({})",
            group.get(),
            self.node.setup.boot.counter
        );
        condemn(&self.node.setup.data, self.me, why)
    }

    fn refresh_page(&mut self, now: Now) {
        self.page_at = now.mono;
        let (shard, wal) = (self.replica.shard(), self.replica.wal());
        let page = CorePage {
            at: now.mono,
            groups: shard.status().collect(),
            ready: shard.ready(now.mono).collect(),
            group_stats: shard.group_stats().copied().collect(),
            core_stats: *shard.core_stats(),
            log_stalled: shard.log_stalled(now.mono),
            log_backlog_bytes: wal.backlog().bytes as u64,
            log_space: wal.log_room().space,
            log_error: wal.prepare_error().map(str::to_owned),
            cache: shard.cache_stats(),
            linked: self.io.links.connected().collect(),
            connections: self.io.clients.count(),
            connections_total: self.io.clients.total,
            commands: self.io.commands,
            errors: self.io.errors,
            reply_us: self.io.clients.reply_us,
            input_bytes: self.io.clients.input_bytes,
            output_bytes: self.io.clients.output_bytes,
            slow: self.slow,
        };
        self.node.board.write(usize::from(self.me.get()), page);
        self.refresh_routes();
    }

    /// The board with this core's own page as of now.
    pub fn board(&mut self) -> Vec<CorePage> {
        self.refresh_page(clock::now());
        self.node.board.read()
    }

    /// A command of a client: to the core of its group.
    pub fn command(
        &mut self,
        requester: Requester,
        group: GroupId,
        consistency: Consistency,
        command: Command<Shared>,
        now: Now,
    ) {
        if group.get() > self.node.setup.facts().group_count {
            self.io.reply(requester, Reply::Error(ErrorKind::Malformed));
            return;
        }
        let core = core_of(group, self.node.setup.cores());
        if core == self.me {
            let replica = &mut self.replica;
            sound(replica.request(requester, group, consistency, command, now, &mut self.io));
        } else {
            let id = self.replica.requests.open(requester);
            let command = command.map(|bytes| bytes.as_ref().to_vec());
            self.io.outboxes.post(core, Mail::Request { from: self.me, id, group, consistency, command });
        }
    }

    fn mail(&mut self, mail: Mail) {
        match mail {
            Mail::Request { from, id, group, consistency, command } => {
                let requester = Requester::Core { core: from, id };
                let command = command.map(Shared::new);
                let (work, now) = (Work::of(command.op), clock::now());
                let replica = &mut self.replica;
                sound(replica.request(requester, group, consistency, command, now, &mut self.io));
                if work.is_long() {
                    let mut watch = Watch::new(now.mono);
                    watch.look(clock::mono(), work);
                    self.end_turn(&watch, None);
                }
            }
            Mail::Reply { id, reply } => {
                let requester = self.replica.requests.close(id);
                self.io.reply(requester, reply.borrow());
            }
        }
    }

    /// A peer's message.
    pub fn peer_message(&mut self, from: NodeId, message: PeerMessage<Shared>, now: Now) {
        sound(self.replica.peer_message(from, message, now, &mut self.io));
    }

    /// Executes what a peer has sent, for a stretch at most; whether there is more.
    ///
    /// # Errors
    /// When the bytes are no messages.
    pub fn peer_messages(
        &mut self,
        from: NodeId,
        heard: &Cell<LogPosition>,
        decoder: &mut Decoder,
        pace: &Pace,
    ) -> Result<bool, RefusedMessage> {
        let mut now = clock::now();
        let (mut watch, mut steps) = (Watch::new(now.mono), 0);
        let more = loop {
            if pace.is_over(now.mono) {
                break true;
            }
            let Some(message) = decoder.next()? else { break false };
            if let PeerMessage::Position(position) = message {
                self.hear_position(from, heard, position)?;
                continue;
            }
            let work = Work::of_message(&message);
            self.peer_message(from, message, now);
            steps += 1;
            if work.is_long() || steps % STEPS_PER_LOOK == 0 {
                now = clock::now();
                watch.look(now.mono, work);
            }
        };
        watch.look(clock::mono(), Work::Peer);
        self.end_turn(&watch, None);
        Ok(more)
    }

    /// What a peer says of its log. It was told at the beginning of the link what was known of that.
    fn hear_position(
        &self,
        from: NodeId,
        heard: &Cell<LogPosition>,
        position: LogPosition,
    ) -> Result<(), RefusedMessage> {
        let setup = &self.node.setup;
        let known = setup.peer_book.get(from);
        let last = heard.replace(position);
        if known.is_some_and(|incarnation| setup.heard.hear(from, incarnation, self.me, last, position)) {
            return Ok(());
        }
        // It is not what it was. When it links again it will be told.
        Err(RefusedMessage { kind: Some("Position"), error: ProtocolError::Body })
    }

    /// Tells the peers how far the log is durable.
    fn tell_position(&mut self, now: Mono) {
        let position = self.replica.wal().position();
        let (at, last) = self.told;
        let interval = if position == last { POSITION_INTERVAL_IDLE } else { POSITION_INTERVAL };
        if now.since(at) < interval {
            return;
        }
        self.told = (now, position);
        let peers: Vec<NodeId> = self.io.links.connected().collect();
        for node in peers {
            self.io.links.send(node, &PeerMessage::Position(position));
        }
        self.io.links.flush();
    }

    /// The link to a peer broke.
    pub fn link_lost(&mut self, node: NodeId) {
        let now = clock::now();
        self.step(Input::LinkLost { node }, now);
        let mut watch = Watch::new(now.mono);
        watch.look(clock::mono(), Work::Peer);
        self.end_turn(&watch, None);
    }
}

impl Running {
    /// Lets `work` happen to the core and has the turn ended soon.
    pub fn with<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        let result = work(&mut self.core.borrow_mut());
        self.turn.notify();
        result
    }

    /// Has the turn ended soon.
    pub fn wake(&self) {
        self.turn.notify();
    }

    /// The same for work that gives the machines nothing to do.
    pub fn with_quiet<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        work(&mut self.core.borrow_mut())
    }

    /// Mail from another core.
    pub fn on_mail(&self, mail: Mail) {
        self.with(|core| core.mail(mail));
    }
    /// The oldest message for another core.
    pub fn take_mail(&self, to: usize) -> Option<Mail> {
        self.core.borrow().io.outboxes.take(to)
    }
    /// Notified when there is mail for a core.
    pub fn outbox_wake(&self, to: usize) -> Rc<Notify> {
        self.core.borrow().io.outboxes.wake_of(to)
    }
}

impl Core {
    /// The node this core belongs to.
    pub fn node(&self) -> &Node {
        &self.node
    }
    /// Which core this is.
    pub fn me(&self) -> CoreId {
        self.me
    }
    /// Whether one of this core's own groups is served by it at this moment.
    pub fn leads(&self, group: GroupId) -> bool {
        self.replica.shard().serves(group)
    }
}
