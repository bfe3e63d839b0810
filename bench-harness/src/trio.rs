//! A group of three replicas in one thread, without disks, sockets and codecs: what the machines alone cost.
//!
//! ```text
//!   turn of a replica: everything in its inbox ─▶ TurnEnd ─▶ its records are durable ─▶ what rode on them is sent
//!   settle: turns in rotation, until every inbox is empty and every record durable
//! ```
//! A turn is the engine's: poll, steps, submit. Time stands still while the trio settles, so that no resend and no election
//! comes into a measurement. It may not drop, reorder or delay: the simulator does that.

use crate::GROUP;
use std::collections::VecDeque;
use synod_shard::{AheadLimits, Effect, Input, Leadership, Shard, ShardConfig, Timing};
use synod_types::Level;
use synod_types::{
    Boot, Command, Consistency, CoreId, GroupConfig, Location, Lsn, Members, Mono, Nanos, NodeId, Now,
    PeerMessage, Reply, RequestId, SegmentId, Shared, Slot, WallMs,
};

/// The replica that leads.
pub const LEADER: usize = 0;
const REPLICAS: usize = 3;
/// Offsets in a log are 32 bits: the made-up log begins a new segment here.
const SEGMENT_BYTES: u32 = 1 << 30;
/// Slots in flight before what arrives gathers: the engine's default.
const PIPELINE_SLOTS: u64 = 8;
const TICK_MS: u64 = 5;
/// A node that is alone in ticking leads within a few election timeouts.
const ELECTION_TICKS_MAX: u32 = 2_000;

/// Three replicas of one group.
#[derive(Debug)]
pub struct Trio {
    replicas: [Replica; REPLICAS],
    /// Scratch: what a replica sent in the step under way.
    outbox: Vec<(NodeId, PeerMessage<Shared>)>,
    now: Now,
    next_request: u64,
    answered: u64,
}

#[derive(Debug)]
struct Replica {
    shard: Shard<Shared>,
    inbox: VecDeque<Input<Shared>>,
    /// The last record written, the last one durable, and what rides on those between.
    written: Lsn,
    durable: Lsn,
    then: Vec<(NodeId, PeerMessage<Shared>)>,
    /// Segment and offset at which the made-up log ends.
    log_end: (u32, u32),
    /// Scratch: places of the records of the step under way.
    places: VecDeque<(Lsn, Location)>,
}

impl Trio {
    /// Three replicas, the first of which serves.
    ///
    /// # Panics
    /// When it is not elected, which is a fault of the machines.
    pub fn new(cache_bytes: usize) -> Self {
        let replicas = [1, 2, 3].map(|id| Replica::new(NodeId::new(id), cache_bytes));
        let now = Now { mono: Mono(Nanos::from_ms(1_000).0), wall: WallMs(1_700_000_000_000) };
        let mut trio = Self { replicas, outbox: Vec::new(), now, next_request: 0, answered: 0 };
        for replica in &mut trio.replicas {
            replica.shard.start(now);
        }
        for _ in 0..ELECTION_TICKS_MAX {
            if trio.serves() {
                return trio;
            }
            trio.tick(&[LEADER]);
        }
        panic!("the first replica was not elected");
    }

    /// Hands one request to the leader; it is proposed with others when the trio settles.
    pub fn submit(&mut self, command: Command<Shared>) {
        self.next_request += 1;
        let id = RequestId::new(self.next_request);
        let consistency = Consistency::Linearizable;
        let request = Input::Request { id, group: GROUP, consistency, command };
        self.replicas[LEADER].inbox.push_back(request);
    }

    /// Runs turns until nothing moves: every request is answered then, after its commit and its apply at the leader.
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

    /// Lets a tick's time pass for all replicas and the named ones notice.
    pub fn tick(&mut self, who: &[usize]) {
        self.now.mono = self.now.mono.plus(Nanos::from_ms(TICK_MS));
        self.now.wall = self.now.wall.plus_ms(TICK_MS);
        for &index in who {
            self.replicas[index].inbox.push_back(Input::Tick);
        }
        self.settle();
    }

    /// Writes answered as done since the trio was made.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// How far each replica has applied, and the digest of its state there.
    pub fn digests(&self) -> [Option<(Slot, u64)>; REPLICAS] {
        [0, 1, 2].map(|index: usize| self.replicas[index].shard.digest(GROUP))
    }

    fn serves(&self) -> bool {
        let leader = &self.replicas[LEADER].shard;
        leader.status().all(|status| status.serving) && leader.holds_lease(GROUP, self.now.mono)
    }

    /// One turn of a replica, if there is anything to do.
    fn turn(&mut self, index: usize) -> bool {
        let Self { replicas, outbox, now, answered, .. } = self;
        let replica = &mut replicas[index];
        if replica.inbox.is_empty() {
            return false;
        }
        while let Some(input) = replica.inbox.pop_front() {
            replica.step(input, *now, outbox, answered);
        }
        replica.step(Input::TurnEnd, *now, outbox, answered);
        while replica.durable < replica.written {
            replica.durable = replica.written;
            outbox.append(&mut replica.then);
            replica.step(Input::Durable { lsn: replica.durable }, *now, outbox, answered);
            // What became free in the pipeline is proposed now; its records are durable in the next round.
            replica.step(Input::TurnEnd, *now, outbox, answered);
        }
        let from = NodeId::new(index as u16 + 1); // one of three
        for (to, message) in self.outbox.drain(..) {
            let to = usize::from(to.get() - 1);
            assert!(to != index, "a message to oneself");
            self.replicas[to].inbox.push_back(Input::Peer { from, message });
        }
        true
    }
}

impl Replica {
    fn new(node: NodeId, cache_bytes: usize) -> Self {
        let voters = [1, 2, 3].map(NodeId::new).to_vec();
        let group = GroupConfig {
            group: GROUP,
            node,
            members: Members::majority(voters),
            preferred: node,
            priority_rank: 0,
        };
        let shard = Shard::new(ShardConfig {
            node,
            core: CoreId::new(0),
            groups: vec![group],
            timing: Timing::default(),
            cache_bytes,
            pending_bytes_max: 16 << 20,
            log_backlog_bytes_max: 64 << 20,
            pipeline_slots: PIPELINE_SLOTS,
            leadership: Leadership::Stay,
            ahead: AheadLimits::default(),
            level: Level::OWN,
            boot: Boot { counter: 1, random: 1 },
            seed: u64::from(node.get()),
        });
        Self {
            shard,
            inbox: VecDeque::new(),
            written: Lsn::ZERO,
            durable: Lsn::ZERO,
            then: Vec::new(),
            log_end: (1, 0),
            places: VecDeque::new(),
        }
    }

    /// One step and the execution of its effects; records get their places after that, in order.
    fn step(
        &mut self,
        input: Input<Shared>,
        now: Now,
        outbox: &mut Vec<(NodeId, PeerMessage<Shared>)>,
        answered: &mut u64,
    ) {
        let Self { shard, then, written, log_end, places, .. } = self;
        let mut next = Some(input);
        while let Some(input) = next.take() {
            shard.step(input, now, &mut |effect: Effect<'_, Shared>| match effect {
                Effect::Append { lsn, payload, then: messages, .. } => {
                    assert!(lsn == written.next(), "record numbers have no gaps");
                    *written = lsn;
                    places.push_back((lsn, place(log_end, payload.as_ref().map_or(0, Shared::len))));
                    then.extend(messages);
                }
                Effect::Send { to, message } => outbox.push((to, message)),
                Effect::Reply { to, reply } => {
                    assert!(matches!(reply, Reply::Done { .. }), "{to} was not done: {reply:?}");
                    *answered += 1;
                }
                Effect::Read { location, .. } | Effect::ReadEntry { location, .. } => {
                    panic!("nothing is cold here: {location:?}")
                }
            });
            next = places.pop_front().map(|(lsn, payload_at)| Input::Appended { lsn, payload_at });
        }
    }
}

/// Where a payload of `len` bytes would lie.
fn place(end: &mut (u32, u32), len: usize) -> Location {
    let len = u32::try_from(len).expect("an entry is far below 4 GiB");
    if end.1 > SEGMENT_BYTES - len {
        *end = (end.0 + 1, 0);
    }
    let location = Location { segment: SegmentId::new(end.0), offset: end.1, len };
    end.1 += len;
    location
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
        // The followers learn of the last batch by the next heartbeat.
        for _ in 0..20 {
            trio.tick(&[0, 1, 2]);
        }
        let [first, second, third] = trio.digests();
        assert!(first.is_some_and(|(applied, _)| applied > Slot::new(7)), "{first:?}");
        assert_eq!(first, second);
        assert_eq!(first, third);
    }
}
