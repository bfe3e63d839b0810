//! Everything that can happen in a world.

use crate::sim::client::AttemptId;
use crate::sim::fault::Fault;
use crate::sim::queue::Instant;
use synod_types::{Command, Consistency, GroupId, PeerMessage, Reply, Shared};

/// Everything that can happen.
#[derive(Debug)]
pub(super) enum SimEvent {
    /// A core's clock ticks.
    Tick { core: usize, life: u64 },
    /// A core takes what waits for it.
    Turn { core: usize, life: u64 },
    /// A disk operation is complete.
    Disk { core: usize, life: u64 },
    /// A message arrives.
    Arrive { core: usize, from: usize, session: u32, message: Box<PeerMessage<Shared>> },
    /// A forward is delivered again.
    Resend { core: usize, message: Box<PeerMessage<Shared>> },
    /// One end of a broken link is told that it broke.
    LinkTold { core: usize, peer: usize, session: u32 },
    /// A client's request arrives.
    Request { node: usize, request: Box<ClientRequest> },
    /// A node's answer arrives.
    Answer { attempt: AttemptId, reply: Box<Reply<Vec<u8>>> },
    /// A client's connection was refused: no process listens there.
    Refused { attempt: AttemptId },
    /// A client gives an attempt up, or its connection breaks.
    GiveUp { attempt: AttemptId },
    /// A client's pause ends.
    Wake { client: usize },
    /// A pipeline's pause ends.
    Burst { pipeline: usize },
    /// Time for the next fault.
    NextFault,
    /// Time for an administrator to ask that another node lead a group.
    NextWish,
    /// A fault ends.
    FaultEnds(Box<Fault>),
    /// The second half of a betrayal: `bounced` is restarted, and `leader` cut off until then.
    Betray { leader: usize, bounced: usize, until: Instant },
    /// A node goes down, unless it went down since this was scheduled.
    Outage { node: usize, life: u64, power: bool, until: Instant },
    /// A look at a node that was told to stop: `until` is the latest time at which it does.
    Leaving { node: usize, life: u64, until: Instant },
    /// A node's machine comes back.
    Restart { node: usize, outage: u64 },
    /// Every node tells every other node how far its log is durable.
    Positions,
}

/// What a client sends to a node.
#[derive(Debug)]
pub(super) struct ClientRequest {
    pub(super) attempt: AttemptId,
    pub(super) group: GroupId,
    pub(super) consistency: Consistency,
    pub(super) command: Command<Shared>,
}
