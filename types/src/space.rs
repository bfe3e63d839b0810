//! How much a log can still take when it can get no further segment.

/// What a log has room for, from least to most. It is below [`Space::Free`] only if no further segment can be
/// made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Space {
    /// Not even enough for an election: the replica must begin nothing that has to be written.
    Spent,
    /// Enough for promises, and for the slots a new leader needs before it can serve; for nothing else.
    Reserve,
    /// Running out: nothing new is proposed, and peers are told so. Slots in flight still fit.
    Low,
    /// Enough for everything.
    #[default]
    Free,
}

/// A log's report of its room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRoom {
    /// The room left.
    pub space: Space,
    /// The bytes that can be written before it falls below [`Space::Free`].
    pub free_bytes: u64,
    /// Whether the waiting writes wait only for a segment that cannot be made: the disk itself has no work.
    pub is_starved: bool,
}

impl LogRoom {
    /// Unlimited room.
    pub const FREE: Self = Self { space: Space::Free, free_bytes: u64::MAX, is_starved: false };
}

impl Default for LogRoom {
    fn default() -> Self {
        Self::FREE
    }
}
