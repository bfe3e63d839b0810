//! Why an input changed nothing. A stale or foreign input is no error: it is dropped for one of these
//! reasons, and counted.

/// Why a replica did nothing on an input, or only refused it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ignored {
    /// The sender is not another member of the group (P-10).
    Stranger,
    /// The sender uses a ballot of another node (P-02a).
    ForeignBallot,
    /// Its ballot is below the promise in force (P-02b). It is refused as soon as that promise is durable.
    OldBallot,
    /// It is about another ballot than the one in use: an earlier candidacy or term (P-06b).
    OtherBallot,
    /// The leader of its ballot transferred leadership to this replica, which stands for election already
    /// (P-17).
    Transferred,
    /// A lease that this replica granted or holds, or its silence after a restart, forbids it (P-07).
    Bound,
    /// The record it asks about, or one that must be durable before, is not durable yet (P-01).
    AwaitingDisk,
    /// A value that the promise must report is being read back from the log (P-02f).
    AwaitingRecall,
    /// The log has no room for what it needs written (P-18).
    NoRoom,
    /// Its slot is too far ahead to be held (P-14d).
    TooFar,
    /// Its slot is known to be chosen.
    AlreadyChosen,
    /// It is for a follower.
    NotFollowing,
    /// It is for a candidate.
    NotStanding,
    /// It is for a leader.
    NotLeading,
    /// It is for a leader that has caught up (P-06e).
    NotServing,
    /// It answers a heartbeat that this leader has not sent.
    UnknownHeartbeat,
    /// The transfer target cannot be reached, is too far behind, or is low on room (P-17).
    UnfitTarget,
    /// It asks a leader to give way to one that reaches all, but this leader hears all others (P-09f).
    NobodyCutOff,
    /// It would make a replica lead whose node is about to stop (P-17g).
    Leaving,
    /// A transfer is under way already.
    TransferUnderWay,
    /// It is impossible: it names slot 0, or a part beyond the last.
    Malformed,
}

/// The outcome of handling an input.
pub(crate) type Handled = Result<(), Ignored>;

impl Ignored {
    /// All reasons, in order.
    pub const ALL: [Self; 21] = [
        Self::Stranger,
        Self::ForeignBallot,
        Self::OldBallot,
        Self::OtherBallot,
        Self::Transferred,
        Self::Bound,
        Self::AwaitingDisk,
        Self::AwaitingRecall,
        Self::NoRoom,
        Self::TooFar,
        Self::AlreadyChosen,
        Self::NotFollowing,
        Self::NotStanding,
        Self::NotLeading,
        Self::NotServing,
        Self::UnknownHeartbeat,
        Self::UnfitTarget,
        Self::NobodyCutOff,
        Self::Leaving,
        Self::TransferUnderWay,
        Self::Malformed,
    ];

    /// Its name in metrics and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::ForeignBallot => "foreign_ballot",
            Self::OldBallot => "old_ballot",
            Self::OtherBallot => "other_ballot",
            Self::Transferred => "transferred",
            Self::Bound => "bound",
            Self::AwaitingDisk => "awaiting_disk",
            Self::AwaitingRecall => "awaiting_recall",
            Self::NoRoom => "no_room",
            Self::TooFar => "too_far",
            Self::AlreadyChosen => "already_chosen",
            Self::NotFollowing => "not_following",
            Self::NotStanding => "not_standing",
            Self::NotLeading => "not_leading",
            Self::NotServing => "not_serving",
            Self::UnknownHeartbeat => "unknown_heartbeat",
            Self::UnfitTarget => "unfit_target",
            Self::NobodyCutOff => "nobody_cut_off",
            Self::Leaving => "leaving",
            Self::TransferUnderWay => "transfer_under_way",
            Self::Malformed => "malformed",
        }
    }
}

// A reason is counted at its index in the list.
const _: () = {
    let mut index = 0;
    while index < Ignored::ALL.len() {
        assert!(Ignored::ALL[index] as usize == index, "the list of reasons is out of order");
        index += 1;
    }
};

/// How many inputs were ignored since the start, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IgnoredCounts {
    counts: [u64; Ignored::ALL.len()],
}

impl IgnoredCounts {
    pub(crate) fn note(&mut self, reason: Ignored) {
        self.counts[reason as usize] += 1;
    }

    /// How many were ignored for this reason.
    pub fn of(&self, reason: Ignored) -> u64 {
        self.counts[reason as usize]
    }

    /// All reasons and their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Ignored, u64)> {
        Ignored::ALL.into_iter().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_reason_has_a_name_and_a_count_of_its_own() {
        let names: BTreeSet<_> = Ignored::ALL.map(Ignored::name).into();
        assert_eq!(names.len(), Ignored::ALL.len());
        let mut counts = IgnoredCounts::default();
        for (times, reason) in Ignored::ALL.into_iter().enumerate() {
            for _ in 0..times {
                counts.note(reason);
            }
        }
        for (times, (reason, count)) in counts.iter().enumerate() {
            assert_eq!((count, counts.of(reason)), (times as u64, times as u64), "{reason:?}");
        }
    }
}
