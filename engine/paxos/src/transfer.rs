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

/// The transfers of a leader in one ballot: the one under way, and the last that it gave up.
#[derive(Debug, Default)]
pub(crate) struct Transfers {
    under_way: Option<Transfer>,
    /// The last target that did not get ready, and when that was seen.
    unready: Option<(NodeId, Mono)>,
}

impl Transfers {
    /// A transfer begins; where the lease is given up at once, in place of one that waited.
    pub fn begin(&mut self, transfer: Transfer) {
        let is_free = self.under_way.is_none_or(|before| transfer.is_released() && !before.is_released());
        assert!(is_free, "two transfers are under way");
        self.under_way = Some(transfer);
    }

    pub fn under_way(&self) -> Option<Transfer> {
        self.under_way
    }

    /// The lease was given up for the transfer that is under way; its target has until then.
    pub fn release(&mut self, until: Mono) {
        self.under_way.as_mut().expect("a transfer is under way").release(until);
    }

    /// The target does not take over. Returns whether the lease was given up for it.
    pub fn refused(&mut self, by: NodeId, now: Mono) -> bool {
        let released =
            self.under_way.as_mut().filter(|transfer| transfer.is_released() && transfer.target == by);
        released.map(|transfer| transfer.until = now).is_some()
    }

    /// Ends the transfer that is under way, if any; returns its target.
    pub fn give_up(&mut self, now: Mono) -> Option<NodeId> {
        let target = self.under_way.take()?.target();
        self.unready = Some((target, now));
        Some(target)
    }

    /// Whether `target` did not get ready a short while ago: each attempt costs the group up to a lease.
    pub fn was_unready(&self, target: NodeId, lease: Nanos, now: Mono) -> bool {
        let pause = Nanos(HEIR_PAUSE_LEASES * lease.0);
        self.unready.is_some_and(|(node, at)| node == target && now.since(at) < pause)
    }
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
    fn release(&mut self, until: Mono) {
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
