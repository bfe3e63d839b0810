//! The options of a SET: its condition and the key's expiry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use synod_types::{Condition, Expiry, Version, WallMs};

/// When a SET takes effect, and when the key expires. Of two options that exclude each other, the later call
/// counts.
///
/// ```
/// use std::time::Duration;
/// use synod_client::SetOptions;
///
/// let lease = SetOptions::new().if_absent().expire_in(Duration::from_secs(30));
/// assert_ne!(lease, SetOptions::new());
/// assert_eq!(lease.if_present().if_absent(), lease);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetOptions {
    condition: Condition,
    expiry: Expiry,
}

impl SetOptions {
    /// Always, and the key does not expire.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only if the key does not exist.
    #[must_use]
    pub fn if_absent(mut self) -> Self {
        self.condition = Condition::IfAbsent;
        self
    }

    /// Only if the key exists.
    #[must_use]
    pub fn if_present(mut self) -> Self {
        self.condition = Condition::IfPresent;
        self
    }

    /// Only if the key was last written at this version.
    #[must_use]
    pub fn if_version(mut self, version: Version) -> Self {
        self.condition = Condition::IfVersion(version);
        self
    }

    /// The key expires after this long, which is rounded up to milliseconds and counted from the moment when
    /// the cluster accepts the write.
    #[must_use]
    pub fn expire_in(mut self, span: Duration) -> Self {
        self.expiry = Expiry::After(ms_of(span));
        self
    }

    /// The key expires at this time.
    #[must_use]
    pub fn expire_at(mut self, at: SystemTime) -> Self {
        self.expiry = Expiry::At(wall_ms_of(at));
        self
    }

    /// The key keeps the expiry that it has.
    #[must_use]
    pub fn keep_ttl(mut self) -> Self {
        self.expiry = Expiry::Keep;
        self
    }

    pub(crate) fn condition(self) -> Condition {
        self.condition
    }

    pub(crate) fn expiry(self) -> Expiry {
        self.expiry
    }
}

/// Milliseconds, rounded up: a key never expires earlier than was asked for.
pub(crate) fn ms_of(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The time as the cluster counts it. A time before 1970 becomes 0, which no server accepts.
pub(crate) fn wall_ms_of(at: SystemTime) -> WallMs {
    at.duration_since(UNIX_EPOCH).map_or(WallMs::ZERO, |since| WallMs(ms_of(since)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_the_protocol_knows() {
        let version = Version::default();
        let options = SetOptions::new().if_version(version).expire_in(Duration::from_micros(1_001));
        assert_eq!(
            (options.condition(), options.expiry()),
            (Condition::IfVersion(version), Expiry::After(2))
        );
        let at = UNIX_EPOCH + Duration::from_secs(7);
        assert_eq!(SetOptions::new().expire_at(at).expiry(), Expiry::At(WallMs(7_000)));
        assert_eq!(wall_ms_of(UNIX_EPOCH - Duration::from_secs(1)), WallMs::ZERO);
        assert_eq!(SetOptions::new().expire_in(Duration::ZERO).keep_ttl().expiry(), Expiry::Keep);
        assert_eq!(SetOptions::new().if_present().condition(), Condition::IfPresent);
        assert_eq!(ms_of(Duration::MAX), u64::MAX);
    }
}
