//! `Machine`: the shard of a core, its log, and the outlet for their messages.
//!
//! ```text
//!   requests, peers' messages, ticks ─▶ Replica ─▶ CoreOutlet ─▶ clients, links, waiters, outboxes
//!                                          │ log
//!                              durable ─▶ BegunNote ─▶ what waited for it leaves
//! ```
//! A step returns no result: a log that has failed ends the process.

use crate::node::{NodeSetup, RunError};
use crate::runtime::begun::{BegunNote, Told};
use crate::runtime::clock;
use crate::runtime::fatal::sound;
use crate::runtime::mail::Mail;
use crate::runtime::notify::Notify;
use crate::runtime::outlet::CoreOutlet;
use crate::runtime::replay::{self, LOG_BACKLOG_BYTES_MAX, Opened};
use crate::runtime::requester::Requester;
use crate::voice::{self, NodeEvent};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use synod_net::server::Ask;
use synod_replica::placement::{core_of, groups_of};
use synod_replica::{Durable, Outlet, Replica};
use synod_shard::{AheadLimits, FREE_REPLY_BYTES, Input, Shard, ShardConfig};
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{
    Bucket, Command, Consistency, CoreId, ErrorKind, GroupId, Level, Mono, NodeId, Now, Op, PeerMessage,
    Reply, RequestId, Shared, group_of,
};
use synod_wal::Wal;
use synod_wal::uring::UringDisk;

/// The machine of one core.
pub(crate) struct Machine {
    me: CoreId,
    core_count: u16,
    group_count: u16,
    replica: Replica<UringDisk, Requester>,
    /// The outlet for its messages.
    pub out: CoreOutlet,
    begun: BegunNote<Durable>,
}

impl Machine {
    /// Opens the core's log and replays it into a fresh shard. The disk notifies `turn`; what is replayed is
    /// counted in `replayed`.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub async fn open(
        me: CoreId,
        setup: &NodeSetup,
        turn: Rc<Notify>,
        replayed: &AtomicU64,
    ) -> Result<Self, RunError> {
        let shard = Shard::new(shard_config(me, setup)?);
        let Opened { replica, begun } = replay::open(me, setup, shard, turn, replayed).await?;
        let mut out = CoreOutlet::new(me, setup.peers().map(|member| member.id), setup.cores());
        let options = &setup.options;
        out.clients.set_limits(options.command_bytes_max, options.client_bytes_max, options.command_limit);
        Ok(Self {
            me,
            core_count: setup.cores(),
            group_count: setup.facts().group_count,
            replica,
            out,
            begun: BegunNote::new(begun),
        })
    }

    /// The shard, read-only.
    pub fn shard(&self) -> &Shard<Shared> {
        self.replica.shard()
    }

    /// The log, read-only.
    pub fn wal(&self) -> &Wal<UringDisk> {
        self.replica.wal()
    }

    /// Starts the replica: from now on elections may begin.
    pub fn start(&mut self, now: Now) {
        self.replica.start(now);
    }

    /// Collects finished disk operations and feeds the results of disk reads to the shard.
    pub fn poll(&mut self) {
        if let Some(durable) = sound(self.replica.poll()) {
            self.durable(durable);
        }
        sound(self.replica.feed_reads(clock::now, &mut self.out));
    }

    /// Retries to report durable records that could not be reported yet.
    pub fn tell_durable(&mut self) {
        if let Some(durable) = self.begun.waits() {
            self.durable(durable);
        }
    }

    /// Records are durable. They are reported to the replica once it is noted on disk that the log was begun.
    fn durable(&mut self, durable: Durable) {
        let now = clock::now();
        match self.begun.durable(durable, now.mono, replay::begin) {
            Told::UpTo(durable) => sound(self.replica.durable(durable, now, &mut self.out)),
            Told::Nothing => {}
            Told::Failed(why) => voice::say(Some(self.me), NodeEvent::LogNotBegun { why: &why }),
        }
    }

    /// Feeds one input to the replica.
    pub fn step(&mut self, input: Input<Shared>, now: Now) {
        sound(self.replica.step(input, now, &mut self.out));
    }

    /// Proposes, writes and sends what has gathered.
    pub fn end_turn(&mut self, now: Now) {
        sound(self.replica.end_turn(now, &mut self.out));
        self.out.flush();
    }

    /// Marks the end of an idle log.
    pub fn mark(&mut self) {
        sound(self.replica.mark());
    }

    /// Retries the preparation of a log segment.
    pub fn retry_prepare(&mut self) {
        self.replica.retry_prepare();
    }

    /// A message of a peer.
    pub fn peer_message(&mut self, from: NodeId, message: PeerMessage<Shared>, now: Now) {
        sound(self.replica.peer_message(from, message, now, &mut self.out));
    }

    /// The next ask of a connection that may be executed now; `None` once the connection has used up its
    /// stretch.
    pub fn next_ask(&mut self, connection: u64, now: Mono) -> Option<Ask> {
        self.out.clients.next_ask(connection, now)
    }

    /// The group that holds the keys of a bucket.
    pub fn group_of(&self, bucket: Bucket) -> GroupId {
        group_of(bucket, self.group_count)
    }

    /// Passes a client's command to the core of its group.
    pub fn request(
        &mut self,
        requester: Requester,
        group: GroupId,
        consistency: Consistency,
        command: Command<Shared>,
        now: Now,
    ) {
        if group.get() > self.group_count {
            self.out.reply(requester, Reply::Error(ErrorKind::Malformed));
            return;
        }
        let core = core_of(group, self.core_count);
        if core == self.me {
            self.own_request(requester, group, consistency, command, now);
        } else {
            let room = self.reserved_for(requester, &command) as u32; // a value's length
            let id = self.replica.requests.open(requester);
            let command = command.map(|bytes| bytes.as_ref().to_vec());
            let request = Mail::Request { from: self.me, id, group, consistency, command, room };
            self.out.outboxes.post(core, request);
        }
    }

    /// The longest value that may answer a command which goes to another core.
    fn reserved_for(&mut self, requester: Requester, command: &Command<Shared>) -> usize {
        let reserved = match requester {
            Requester::Connection { connection, tag, .. } if command.op == Op::Get => {
                self.out.clients.reserve_foreseen(connection, tag)
            }
            Requester::Http { .. } => VALUE_BYTES_MAX,
            // A write's old value has found its room before.
            Requester::Connection { .. } | Requester::Core { .. } => 0,
        };
        reserved.max(FREE_REPLY_BYTES)
    }

    /// Executes a command for a group of this core.
    pub fn own_request(
        &mut self,
        requester: Requester,
        group: GroupId,
        consistency: Consistency,
        command: Command<Shared>,
        now: Now,
    ) {
        sound(self.replica.request(requester, group, consistency, command, now, &mut self.out));
    }

    /// Another core has answered a request that was sent to it.
    pub fn answered_elsewhere(&mut self, id: RequestId, reply: Reply<&[u8]>) {
        let requester = self.replica.requests.close(id);
        self.out.reply(requester, reply);
    }

    /// Another core did not execute a request, because there was no room for its value.
    pub fn ask_again(
        &mut self,
        id: RequestId,
        consistency: Consistency,
        command: Command<Shared>,
        bytes: usize,
    ) {
        let requester = self.replica.requests.close(id);
        self.out.ask_again(requester, consistency, command, bytes);
    }
}

fn shard_config(me: CoreId, setup: &NodeSetup) -> Result<ShardConfig, RunError> {
    let nodes: Vec<NodeId> = setup.members.iter().map(|member| member.id).collect();
    let all = (0..=setup.facts().group_count).map(GroupId::new);
    Ok(ShardConfig {
        node: setup.node(),
        core: me,
        groups: groups_of(me, setup.cores(), all, &nodes, setup.node()),
        timing: setup.options.timing,
        cache_bytes: setup.options.cache_bytes,
        pending_bytes_max: setup.options.pending_bytes_max,
        log_backlog_bytes_max: LOG_BACKLOG_BYTES_MAX,
        pipeline_slots: setup.options.pipeline_slots,
        leadership: setup.options.leadership,
        ahead: AheadLimits::default(),
        level: Level::OWN,
        boot: setup.boot,
        seed: replay::seed()?,
    })
}
