//! The kinds of faults: how long each lasts, and which links it cuts.

use super::queue::{Instant, MS};
use super::rng::Rng;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FaultKind {
    /// A machine loses power: unsynced writes are lost or torn, and its boot-time clock starts over.
    PowerLoss,
    /// A process is killed: writes that it had given to the disk may still be completed.
    Kill,
    /// All machines lose power at once.
    Blackout,
    /// A node is told to stop: it hands over, finishes what its clients have asked for, stops, and is started again.
    PlannedStop,
    /// One node is cut off from all others.
    Isolate,
    /// The nodes fall into two halves.
    Halves,
    /// Some links carry messages in only one direction.
    OneWay,
    /// One node hears nobody, and all others hear it.
    Deaf,
    /// One node hears all others, and nobody hears it.
    Mute,
    /// All nodes reach one of them, and only that one (the quorum-loss and constrained-election cases of
    /// OmniPaxos).
    Star,
    /// Each node reaches its neighbours in a row only (the chained case of OmniPaxos).
    Chain,
    /// The leader loses contact with some followers. When these have lost their patience, one that still
    /// followed is killed and restarted at once, and the leader is cut off. Only the silence of the restarted
    /// node (P-07c) keeps the old lease valid.
    Betrayal,
    /// A process is paused while its clocks run (SIGSTOP, a long pause of the hypervisor).
    Pause,
    /// A disk completes no operation for a while.
    DiskStall,
    /// No disk completes an operation for a while.
    AllDisksStall,
    /// A disk takes long for each write.
    SlowDisk,
    /// The links of a node carry a megabyte per second.
    SlowLinks,
    /// A wall clock is stepped.
    WallStep,
    /// Every message takes longer.
    Congestion,
    /// A disk returns wrong bytes, or none.
    Rot,
    /// Foreign data fills the disk of one node or of all nodes: no segment can be made.
    FullDisk,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::PowerLoss,
        Self::Kill,
        Self::Blackout,
        Self::PlannedStop,
        Self::Isolate,
        Self::Halves,
        Self::OneWay,
        Self::Deaf,
        Self::Mute,
        Self::Star,
        Self::Chain,
        Self::Betrayal,
        Self::Pause,
        Self::DiskStall,
        Self::AllDisksStall,
        Self::SlowDisk,
        Self::SlowLinks,
        Self::WallStep,
        Self::Congestion,
        Self::Rot,
        Self::FullDisk,
    ];

    /// Its name in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power loss",
            Self::Kill => "kill",
            Self::Blackout => "blackout",
            Self::PlannedStop => "planned stop",
            Self::Isolate => "isolation",
            Self::Halves => "halves",
            Self::OneWay => "one-way links",
            Self::Deaf => "deafness",
            Self::Mute => "muteness",
            Self::Star => "star",
            Self::Chain => "chain",
            Self::Betrayal => "betrayal",
            Self::Pause => "pause",
            Self::DiskStall => "disk stall",
            Self::AllDisksStall => "stall of all disks",
            Self::SlowDisk => "slow disk",
            Self::SlowLinks => "slow links",
            Self::WallStep => "wall clock step",
            Self::Congestion => "congestion",
            Self::Rot => "rot",
            Self::FullDisk => "full disk",
        }
    }

    /// How long a fault of this kind lasts: mostly short, sometimes well past every timeout.
    pub fn duration(self, rng: &mut Rng) -> u64 {
        match self {
            // A supervisor restarts a process at once; its peers may not even have noticed.
            Self::Kill if rng.coin() => MS + rng.exponential(10 * MS),
            Self::PowerLoss | Self::Kill | Self::Blackout => 20 * MS + rng.exponential(500 * MS),
            Self::Pause | Self::DiskStall | Self::AllDisksStall => 30 * MS + rng.exponential(300 * MS),
            Self::WallStep => 0,
            // Until the room that is left is used up, and then for some time.
            Self::FullDisk => 1000 * MS + rng.exponential(6000 * MS),
            _ => 50 * MS + rng.exponential(800 * MS),
        }
    }

    /// Whether clients of the node that it strikes may get errors: it is down, stands still, or is cut off.
    pub fn troubles_clients(self) -> bool {
        matches!(
            self,
            Self::PowerLoss
                | Self::Kill
                | Self::Isolate
                | Self::OneWay
                | Self::Deaf
                | Self::Mute
                | Self::Pause
        )
    }

    /// The directions that a partition of this kind cuts; none for other kinds.
    pub fn cuts(self, victim: usize, node_count: usize, rng: &mut Rng) -> Vec<(usize, usize)> {
        let all = |cut: &dyn Fn(usize, usize) -> bool| {
            (0..node_count)
                .flat_map(|a| (0..node_count).map(move |b| (a, b)))
                .filter(|&(a, b)| a != b && cut(a, b))
                .collect::<Vec<_>>()
        };
        match self {
            Self::Isolate => all(&|a, b| a == victim || b == victim),
            Self::Deaf => all(&|_, b| b == victim),
            Self::Mute => all(&|a, _| a == victim),
            Self::Halves => {
                let side = rng.draw() | 1;
                all(&|a, b| (side >> a) & 1 != (side >> b) & 1)
            }
            Self::OneWay => {
                let mut cuts = all(&|a, b| a == victim || b == victim);
                let outgoing = rng.coin();
                cuts.retain(|&(a, _)| (a == victim) == outgoing && rng.below(3) > 0);
                cuts
            }
            Self::Star => all(&|a, b| a != victim && b != victim),
            Self::Chain => {
                // The victim is one end, so that over time every order occurs.
                let position = |node: usize| (node + node_count - victim) % node_count;
                all(&|a, b| position(a).abs_diff(position(b)) > 1)
            }
            // As many followers as can be missed: the leader and the others are still a quorum.
            Self::Betrayal => all(&|a, b| {
                let lost =
                    |node: usize| (1..=(node_count - 1) / 2).any(|i| node == (victim + i) % node_count);
                (a == victim && lost(b)) || (b == victim && lost(a))
            }),
            _ => Vec::new(),
        }
    }
}

/// A fault under way.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// The node concerned, for faults that concern one node.
    pub victim: usize,
    /// When it ends.
    pub until: Instant,
    /// The directions it cuts.
    pub cuts: Vec<(usize, usize)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cut_what_their_names_say() {
        let mut rng = Rng::new(1);
        assert_eq!(FaultKind::Isolate.cuts(0, 3, &mut rng), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        assert_eq!(FaultKind::Deaf.cuts(0, 3, &mut rng), [(1, 0), (2, 0)]);
        assert_eq!(FaultKind::Mute.cuts(0, 3, &mut rng), [(0, 1), (0, 2)]);
        assert_eq!(FaultKind::Star.cuts(0, 3, &mut rng), [(1, 2), (2, 1)]);
        assert_eq!(FaultKind::Chain.cuts(1, 3, &mut rng), [(0, 1), (1, 0)]);
        assert_eq!(FaultKind::Betrayal.cuts(2, 3, &mut rng), [(0, 2), (2, 0)]);
        assert_eq!(FaultKind::Betrayal.cuts(0, 5, &mut rng), [(0, 1), (0, 2), (1, 0), (2, 0)]);
        for _ in 0..50 {
            let cuts = FaultKind::Halves.cuts(0, 5, &mut rng);
            assert!(cuts.iter().all(|&(a, b)| cuts.contains(&(b, a))));
            assert!(FaultKind::OneWay.cuts(2, 5, &mut rng).iter().all(|&(a, b)| a == 2 || b == 2));
        }
        assert!(FaultKind::Pause.cuts(0, 3, &mut rng).is_empty());
    }
}
