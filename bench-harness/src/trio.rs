//! A group of three replicas in one thread, without sockets and codecs, over a disk that takes no time: it
//! shows the cost of the state machines.
//!
//! ```text
//!   turn of a replica: completions of its disk ─▶ everything in its inbox ─▶ end of turn
//!   settle: turns in rotation, until every inbox is empty and every record durable
//! ```
//! A turn is the one that ships ([`Replica`]). Time stands still while the trio settles, so that no resend
//! and no election gets into a measurement. May not: drop, reorder or delay messages; the simulator does
//! that.

use crate::GROUP;
use crate::disk::NullDisk;
use std::collections::VecDeque;
use std::io;
use synod_replica::placement::group_config;
use synod_replica::{Failed, Outlet, Replica, ReplicaOptions};
use synod_shard::{AheadLimits, Input, Leadership, Shard, ShardConfig, Timing};
use synod_types::limits::LOG_NOTE_BYTES;
use synod_types::{
    Boot, Command, Consistency, CoreId, Level, Location, Mono, Nanos, NodeId, Now, PeerMessage, Reply,
    Shared, Slot, WallMs,
};
use synod_wal::{SEGMENT_BYTES_MAX, WalOptions};

/// The replica that leads.
pub const LEADER: usize = 0;
const REPLICAS: usize = 3;
/// Bytes that may wait for the disk: the engine's number. It is never reached: the disk takes no time.
const LOG_BACKLOG_BYTES_MAX: usize = 64 << 20;
/// Slots in flight before commands gather in a batch: the engine's default.
const PIPELINE_SLOTS: u64 = 8;
const TICK_MS: u64 = 5;
/// A node that alone gets ticks leads within a few election timeouts.
const ELECTION_TICKS_MAX: u32 = 2_000;

/// Three replicas of one group.
pub struct Trio {
    members: [Member; REPLICAS],
    outbox: Outbox,
    now: Now,
}

/// One replica, and the input for its next turn.
struct Member {
    replica: Replica<NullDisk, ()>,
    inbox: VecDeque<Incoming>,
}

enum Incoming {
    Request(Command<Shared>),
    Peer(NodeId, PeerMessage<Shared>),
    Tick,
}

/// The output of the replicas.
#[derive(Default)]
struct Outbox {
    /// Scratch: the messages of the current turn.
    messages: Vec<(NodeId, PeerMessage<Shared>)>,
    answered: u64,
}

impl Outlet<()> for Outbox {
    fn send(&mut self, to: NodeId, message: PeerMessage<Shared>) {
        self.messages.push((to, message));
    }
    fn reply(&mut self, (): (), reply: Reply<&[u8]>) {
        assert!(matches!(reply, Reply::Done { .. }), "a request was not done: {reply:?}");
        self.answered += 1;
    }
}

impl Trio {
    /// Three replicas, the first of which serves.
    ///
    /// # Panics
    /// When the first replica is not elected, which would be a fault of the machines.
    pub fn new(cache_bytes: usize) -> Self {
        let now = Now { mono: Mono(Nanos::from_ms(1_000).0), wall: WallMs(1_700_000_000_000) };
        let members = [1, 2, 3].map(|id| Member::new(NodeId::new(id), cache_bytes, now));
        let mut trio = Self { members, outbox: Outbox::default(), now };
        for _ in 0..ELECTION_TICKS_MAX {
            if trio.serves() {
                return trio;
            }
            trio.tick(&[LEADER]);
        }
        panic!("the first replica was not elected");
    }

    /// Hands one request to the leader, which proposes it with others when the trio settles.
    pub fn submit(&mut self, command: Command<Shared>) {
        self.members[LEADER].inbox.push_back(Incoming::Request(command));
    }

    /// Runs turns until nothing moves. By then every request has been committed, applied at the leader, and
    /// answered.
    pub fn settle(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..REPLICAS {
                moved |= self.turn(index);
            }
            if !moved {
                return;
            }
        }
    }

    /// Lets the time of one tick pass for all replicas, and gives the tick to those in `who`.
    pub fn tick(&mut self, who: &[usize]) {
        self.now.mono = self.now.mono.plus(Nanos::from_ms(TICK_MS));
        self.now.wall = self.now.wall.plus_ms(TICK_MS);
        for &index in who {
            self.members[index].inbox.push_back(Incoming::Tick);
        }
        self.settle();
    }

    /// Writes answered as done since the trio was made.
    pub fn answered(&self) -> u64 {
        self.outbox.answered
    }

    /// The applied slot of each replica, and the digest of its state there.
    pub fn digests(&self) -> [Option<(Slot, u64)>; REPLICAS] {
        [0, 1, 2].map(|index: usize| self.members[index].replica.shard().digest(GROUP))
    }

    fn serves(&self) -> bool {
        let leader = self.members[LEADER].replica.shard();
        leader.status().all(|status| status.serving) && leader.holds_lease(GROUP, self.now.mono)
    }

    /// One turn of a replica, if there is work; returns whether there was.
    fn turn(&mut self, index: usize) -> bool {
        let member = &mut self.members[index];
        if member.is_idle() {
            return false;
        }
        if let Err(failed) = member.turn(self.now, &mut self.outbox) {
            panic!("a disk that does nothing cannot fail: {failed}");
        }
        let from = NodeId::new(index as u16 + 1); // one of three
        for (to, message) in self.outbox.messages.drain(..) {
            let to = usize::from(to.get() - 1);
            assert!(to != index, "a message to oneself");
            self.members[to].inbox.push_back(Incoming::Peer(from, message));
        }
        true
    }
}

impl Member {
    fn new(node: NodeId, cache_bytes: usize, now: Now) -> Self {
        let nodes = [1, 2, 3].map(NodeId::new);
        let shard = Shard::new(ShardConfig {
            node,
            core: CoreId::new(0),
            groups: vec![group_config(GROUP, 1, &nodes, node)],
            timing: Timing::default(),
            cache_bytes,
            pending_bytes_max: 16 << 20,
            log_backlog_bytes_max: LOG_BACKLOG_BYTES_MAX,
            pipeline_slots: PIPELINE_SLOTS,
            leadership: Leadership::Stay,
            ahead: AheadLimits::default(),
            level: Level::OWN,
            boot: Boot { counter: 1, random: 1 },
            seed: u64::from(node.get()),
        });
        let mut log = WalOptions::new(CoreId::new(0), [1; 32]);
        // Segments are never released here, so they are few and long.
        log.segment_bytes = SEGMENT_BYTES_MAX;
        log.ram_bytes_max = usize::MAX;
        let options = ReplicaOptions { backlog_bytes_max: LOG_BACKLOG_BYTES_MAX, note_bytes: LOG_NOTE_BYTES };
        // An empty log has nothing to read.
        let read_back = |_: Location| -> io::Result<Vec<u8>> { Err(io::ErrorKind::NotFound.into()) };
        let opened = Replica::open(NullDisk::default(), log, options, shard, read_back, |_, _| ());
        let (mut replica, _) = opened.unwrap_or_else(|error| panic!("an empty log does not open: {error}"));
        replica.start(now);
        Self { replica, inbox: VecDeque::new() }
    }

    /// Whether a turn would find no work.
    fn is_idle(&self) -> bool {
        let wal = self.replica.wal();
        self.inbox.is_empty() && wal.durable() == wal.appended()
    }

    fn turn(&mut self, now: Now, out: &mut Outbox) -> Result<(), Failed> {
        let Self { replica, inbox } = self;
        replica.begin_turn(|| now, out)?;
        while let Some(incoming) = inbox.pop_front() {
            match incoming {
                Incoming::Request(command) => {
                    replica.request((), GROUP, Consistency::Linearizable, command, now, out)?;
                }
                Incoming::Peer(from, message) => replica.peer_message(from, message, now, out)?,
                Incoming::Tick => replica.step(Input::Tick, now, out)?,
            }
        }
        replica.end_turn(now, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key, set_command};

    #[test]
    fn every_write_is_answered_and_all_replicas_come_to_the_same_state() {
        let mut trio = Trio::new(1 << 20);
        for number in 0..500 {
            trio.submit(set_command(&key(number % 100), b"value"));
            if number % 64 == 63 {
                trio.settle();
            }
        }
        trio.settle();
        assert_eq!(trio.answered(), 500);
        // The followers learn with the next heartbeat that the last batch is chosen.
        for _ in 0..20 {
            trio.tick(&[0, 1, 2]);
        }
        let [first, second, third] = trio.digests();
        assert!(first.is_some_and(|(applied, _)| applied > Slot::new(7)), "{first:?}");
        assert_eq!(first, second);
        assert_eq!(first, third);
    }
}
