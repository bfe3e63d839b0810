//! `Event`: what an operator should know and a machine notices first.
//!
//! ```text
//!   paxos, shard ─▶ Sink::tell ─▶ replica ─▶ Outlet::tell ─▶ the node's log (engine/src/voice)
//!                                                        └▶ nothing: simulator, fuzzer, benchmarks
//! ```
//! Events are rare: each marks a change of state, never a request, a message or a slot. A machine decides
//! nothing by them and hears nothing back, so a run is the same whether they are rendered or dropped.
//! docs/operations-log.md says for each one what it means and what to do; a test compares that table with
//! this list.

use crate::ids::{Ballot, GroupId, Level, NodeId, SegmentId, Slot};
use crate::time::Nanos;

/// Why a candidacy ended without a leadership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionEnd {
    /// Another replica stands or leads in a higher ballot.
    HigherBallot,
    /// No quorum promised in time.
    NoQuorum,
    /// It won, but is far behind this member, and gave the election away to it.
    GivenTo(NodeId),
}

/// Why a leadership ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeadershipEnd {
    /// It was transferred: the lease was given up, and the target has taken over.
    Transferred,
    /// Another replica stands or leads in a higher ballot.
    HigherBallot,
    /// Another leader had a value chosen in a slot that this leader was still using.
    Overtaken,
    /// No quorum has answered for two leases.
    NoQuorum,
    /// It could not apply what was chosen before it led.
    NotCaughtUp,
    /// It gave up its lease for a transfer and the target did not take over: it stands for election again.
    TransferFailed,
}

/// Declares [`Event`] and the list of its names, so that no event lacks a name and no name is used twice
/// unnoticed.
macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident = $name:literal {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty,)*
    })*) => {
        /// An event. Its group and its core, if not among the fields, are known to the one that renders it.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Event {
            $($(#[$doc])* $variant { $($(#[$field_doc])* $field: $kind,)* },)*
        }

        impl Event {
            /// The names of all events, in the order of their declaration.
            pub const NAMES: &[&str] = &[$($name),*];

            /// The name of the event, as logs have it.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)*
                }
            }
        }
    };
}

events! {
    /// A follower has not heard its leader for an election timeout, and asks the others whether it could win
    /// an election. If it happens again and again, look at that node, its disk and the links to it.
    LeaderMissed = "leader_missed" {
        /// The group.
        group: GroupId,
        /// The ballot of the leader that fell silent.
        ballot: Ballot,
    }
    /// This replica stands for election. Nothing is to be done.
    ElectionBegun = "election_begun" {
        /// The group.
        group: GroupId,
        /// The ballot it stands in.
        ballot: Ballot,
    }
    /// This replica leads. It serves as soon as `slot` is applied. Nothing is to be done.
    ElectionWon = "election_won" {
        /// The group.
        group: GroupId,
        /// The ballot it leads in.
        ballot: Ballot,
        /// Its first own slot.
        slot: Slot,
    }
    /// A candidacy ended without a leadership. If it repeats, too few members can be reached, or two of them
    /// stand against each other.
    ElectionLost = "election_lost" {
        /// The group.
        group: GroupId,
        /// The ballot it stood in.
        ballot: Ballot,
        /// Why it ended.
        why: ElectionEnd,
    }
    /// A leadership of this replica ended. The reason says whether anything is to be done.
    LeadershipEnded = "leadership_ended" {
        /// The group.
        group: GroupId,
        /// The ballot it led in.
        ballot: Ballot,
        /// Why it ended.
        why: LeadershipEnd,
    }
    /// This follower follows a new leader. Nothing is to be done.
    LeaderFollowed = "leader_followed" {
        /// The group.
        group: GroupId,
        /// The ballot of the leader.
        ballot: Ballot,
    }
    /// This leader begins to hand over to another node: a group goes to its preferred node or to the node
    /// that its load comes from, or this node's log is full. Nothing is to be done.
    TransferBegun = "transfer_begun" {
        /// The group.
        group: GroupId,
        /// The ballot it leads in.
        ballot: Ballot,
        /// The node that is to lead.
        target: NodeId,
    }
    /// This leader's log makes no progress, or no read of it comes back, while the logs of enough others move: it
    /// hands over at once, without finishing what is open. Look at this node's disk.
    StalledHandover = "stalled_handover" {
        /// The group.
        group: GroupId,
        /// The ballot it led in.
        ballot: Ballot,
        /// The node that is to lead.
        target: NodeId,
    }
    /// A member cannot reach this leader, which another member has noticed: that one hears both, and is to lead.
    /// Look at the network between this node and that member.
    CutOff = "cut_off" {
        /// The group.
        group: GroupId,
        /// The member that cannot reach this leader.
        peer: NodeId,
        /// The node that is to lead.
        target: NodeId,
    }
    /// This replica was told by its leader to take over, and stands at once. Nothing is to be done.
    TransferTaken = "transfer_taken" {
        /// The group.
        group: GroupId,
        /// The ballot of the leader that hands over.
        ballot: Ballot,
    }
    /// A transfer was given up: the target did not keep up, did not answer, or its link broke. The leader
    /// goes on. If it repeats, look at the target's disk and link.
    TransferGivenUp = "transfer_given_up" {
        /// The group.
        group: GroupId,
        /// The ballot of the leader that goes on.
        ballot: Ballot,
        /// The node that was to lead.
        target: NodeId,
    }
    /// A leader's lease has ended: no quorum answered its heartbeats in time. Reads wait until one answers.
    /// Look at the other members and at the links to them.
    LeaseLost = "lease_lost" {
        /// The group.
        group: GroupId,
        /// The ballot it leads in.
        ballot: Ballot,
    }
    /// A leader that had lost its lease has one again. Nothing is to be done.
    LeaseRegained = "lease_regained" {
        /// The group.
        group: GroupId,
        /// The ballot it leads in.
        ballot: Ballot,
    }
    /// After a restart this acceptor promises nothing for one lease, because it has forgotten which leases
    /// it granted. Nothing is to be done.
    SilenceBegun = "silence_begun" {
        /// The group.
        group: GroupId,
    }
    /// That time is over. Nothing is to be done.
    SilenceEnded = "silence_ended" {
        /// The group.
        group: GroupId,
    }
    /// A new leader's clock is not set, because too few wall clocks agree. Nothing is proposed until a
    /// majority agrees, but three seconds at most: look at the members that cannot be reached, and at the
    /// clocks of the others.
    ClockUnset = "clock_unset" {
        /// The group.
        group: GroupId,
        /// The ballot it leads in.
        ballot: Ballot,
    }
    /// This follower lacks many chosen slots, and fetches them. It catches up by itself; if it never does,
    /// its disk or its link is too slow for the load.
    FellBehind = "fell_behind" {
        /// The group.
        group: GroupId,
        /// The last slot of its chosen prefix.
        slot: Slot,
        /// Chosen slots that it lacks.
        missing: u64,
    }
    /// It has caught up. Nothing is to be done.
    CaughtUp = "caught_up" {
        /// The group.
        group: GroupId,
        /// The last slot of its chosen prefix.
        slot: Slot,
    }
    /// The log has made no progress for a whole lease. The leaders of this core stop their heartbeats, so
    /// that others can lead. Look at the disk.
    LogStalled = "log_stalled" {
        /// Records that wait for the disk.
        records: u64,
    }
    /// The log makes progress again. Nothing is to be done now; look at the disk if it repeats.
    LogResumed = "log_resumed" {
        /// How long it had stalled, beyond the first lease.
        took: Nanos,
    }
    /// This core did nothing for a lease or longer: its thread was not scheduled, or the process was stopped.
    /// Leaders may have changed meanwhile. If it happens again, look at what else uses the processor.
    Slept = "slept" {
        /// The time between two ticks.
        took: Nanos,
    }
    /// A write to the log took long: half a lease or more until it was durable. Leases are in danger; look
    /// at the disk and at what else uses it.
    SlowFlush = "slow_flush" {
        /// How long the slowest record waited.
        took: Nanos,
        /// Records that became durable together.
        records: u64,
    }
    /// The group has more waiting than it may hold: it answers requests with "busy". Clients must slow down,
    /// or `limits.pending_mib` must grow.
    OverloadBegun = "overload_begun" {
        /// The group.
        group: GroupId,
    }
    /// The group has refused nothing for a second.
    OverloadEnded = "overload_ended" {
        /// The group.
        group: GroupId,
        /// Requests that were refused meanwhile.
        refused: u64,
    }
    /// The level of the group was raised: every member reads it, and older builds no longer can. Nothing is
    /// to be done.
    LevelRaised = "level_raised" {
        /// The group.
        group: GroupId,
        /// The level.
        level: Level,
        /// The slot that raised it.
        slot: Slot,
    }
    /// Bytes of this core's log are damaged or cannot be read. They are fetched from a peer for the read
    /// that found them; the damage stays. Replace the disk, and this node's data.
    ReadDamaged = "read_damaged" {
        /// The group.
        group: GroupId,
        /// The segment that holds the bytes.
        segment: SegmentId,
        /// Their offset in it.
        offset: u32,
    }
    /// A peer's copy has served a read that found damage. Nothing more than above is to be done.
    ReadRepaired = "read_repaired" {
        /// The group.
        group: GroupId,
        /// The slot whose entry was fetched.
        slot: Slot,
    }
    /// A core opens its log, and begins to replay it. Nothing is to be done.
    LogOpened = "log_opened" {
        /// Segment files of the log.
        segments: u64,
        /// Their bytes.
        bytes: u64,
    }
    /// A long replay goes on; said every few seconds. Nothing is to be done.
    ReplayProgress = "replay_progress" {
        /// Records replayed so far.
        records: u64,
        /// Bytes replayed so far.
        bytes: u64,
    }
    /// A core has replayed its log. Nothing is to be done.
    LogReplayed = "log_replayed" {
        /// Records replayed.
        records: u64,
        /// Their bytes.
        bytes: u64,
        /// Segments that held them.
        segments: u64,
        /// How long it took.
        took: Nanos,
        /// How the log ended, as the recovery table of docs/disk-format.md labels it.
        end: &'static str,
    }
    /// The end of the log was torn, as after a power failure or `kill -9`: blocks that were written in part,
    /// and never acknowledged, were cut off. Nothing is to be done.
    TailCut = "tail_cut" {
        /// Blocks that were cut off.
        blocks: u64,
        /// The segment in which the log now ends.
        segment: SegmentId,
        /// The offset there.
        offset: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_a_name_of_its_own() {
        for (place, name) in Event::NAMES.iter().enumerate() {
            assert!(!Event::NAMES[..place].contains(name), "{name} twice");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        }
        let event = Event::SilenceEnded { group: GroupId::new(7) };
        assert_eq!(event.name(), "silence_ended");
        assert!(Event::NAMES.contains(&event.name()));
    }

    /// They are copied from room to room.
    #[test]
    fn an_event_is_small() {
        assert!(core::mem::size_of::<Event>() <= 64, "{}", core::mem::size_of::<Event>());
    }
}
