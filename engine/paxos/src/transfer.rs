//! Leadership transfer (P-17; section 3.10 of the Raft dissertation).
//!
//! ```text
//!   leader L of b                    target T                              the others
//!   proposes no more ─── drained ─▶ TimeoutNow(b) ─▶ PreVote(c, after b) ─▶ a grant to L in b does not bind
//!   holds no lease in b any more       └──────────▶ Prepare(c, after b) ─▶ against messages that name b
//! ```
//! Without it a new leader would have to wait until the lease of the old one has ended. The old leader gives
//! up its lease for good in that ballot *before* it says so. A message that names the ballot as given up
//! therefore proves that no read relies on its grants any more.

use synod_types::{Mono, Nanos, NodeId, limits};

/// A replica that lacks at most this many chosen slots is fit to lead. A peer reports its prefix once per
/// heartbeat, so some of these slots were only chosen since. A peer that is further behind is catching up,
/// and would lead long before it serves.
pub const FAR_BEHIND_SLOTS: u64 = 2 * limits::WINDOW_SLOTS_MAX;

/// Leases for which nothing is handed over anew after a peer has not taken over.
pub const HEIR_PAUSE_LEASES: u64 = 16;

/// A target's log may take this much longer than twice this node's: turns and links add to the figure of an
/// idle disk.
const SLOWER_SLACK: Nanos = Nanos::from_ms(10);

/// Whether a log with write latency `its` is too slow compared with one with `own`.
pub(crate) fn is_slower(its: Nanos, own: Nanos) -> bool {
    its.0 > 2 * own.0 + SLOWER_SLACK.0
}

/// A transfer of leadership that is under way at the leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    target: NodeId,
    /// When it is given up. Before the lease is given up, the leader then simply goes on; afterwards it
    /// stands again.
    until: Mono,
    /// Whether the lease is given up and the target told to stand.
    is_released: bool,
    /// Whether that happened with slots open, because the log makes no progress (P-09b).
    leaves_open: bool,
}

impl Transfer {
    /// Begins a transfer to `target`.
    pub fn new(target: NodeId, until: Mono) -> Self {
        Self { target, until, is_released: false, leaves_open: false }
    }

    /// A transfer to `target` whose lease is given up at once, whatever is open.
    pub fn at_once(target: NodeId, until: Mono) -> Self {
        Self { target, until, is_released: true, leaves_open: true }
    }

    /// Whether slots may be open though the lease is given up.
    pub fn leaves_open(&self) -> bool {
        self.leaves_open
    }

    pub fn target(&self) -> NodeId {
        self.target
    }

    /// Whether the lease is given up.
    pub fn is_released(&self) -> bool {
        self.is_released
    }

    /// Whether `node` is the target and the lease is not given up yet.
    pub fn is_to(&self, node: NodeId) -> bool {
        self.target == node && !self.is_released
    }

    /// The lease was given up.
    pub fn release(&mut self, until: Mono) {
        assert!(!self.is_released, "a lease is given up once");
        assert!(self.until <= until, "the target gets less time than was planned");
        self.is_released = true;
        self.until = until;
    }

    /// Whether the target did not take over in time.
    pub fn is_over(&self, now: Mono) -> bool {
        now >= self.until
    }
}
