//! How much a log can still take on a disk that gives it no further segment.

/// What a log has room for, from most to least. Only a log that cannot make segments is ever less than [`Space::Free`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Space {
    /// Not even for what an election takes: nothing may be begun that has to be written.
    Spent,
    /// For promises, and for what a new leader needs before it can serve; nothing else.
    Reserve,
    /// Running out: nothing new is proposed, and everybody is told. What is under way still fits.
    Low,
    /// For everything.
    #[default]
    Free,
}

/// What a log says of its room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRoom {
    /// How much there is.
    pub space: Space,
    /// Bytes that can be written before it falls below [`Space::Free`].
    pub free_bytes: u64,
    /// What waits to be written waits for a segment that cannot be made, and for nothing else: the disk has no work.
    pub is_starved: bool,
}

impl LogRoom {
    /// No end in sight.
    pub const FREE: Self = Self { space: Space::Free, free_bytes: u64::MAX, is_starved: false };
}

impl Default for LogRoom {
    fn default() -> Self {
        Self::FREE
    }
}
