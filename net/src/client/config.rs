//! Settings of a client: deadlines, pauses, sessions, routing.

use crate::access::Secret;
use synod_types::Nanos;

/// The settings of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientConfig {
    /// An operation is given up after this long.
    pub deadline: Nanos,
    /// A single attempt is given up after this long, and the connection it was sent on is closed. Longer than
    /// the server's own timeouts, so that its answer comes first.
    pub attempt_timeout: Nanos,
    /// An operation is given up after this many attempts.
    pub attempts_max: u32,
    /// Pause before the second attempt. It doubles with each attempt, up to [`ClientConfig::pause_max`].
    pub pause: Nanos,
    /// Longest pause between two attempts.
    pub pause_max: Nanos,
    /// The topology is asked for again after this long.
    pub topology_refresh: Nanos,
    /// Whether writes go through sessions, so that a retry is not executed twice. Without sessions, a write
    /// with an unknown outcome is not retried.
    pub sessions: bool,
    /// Whether to talk to leaders directly. Without routing, everything goes to the given addresses, which
    /// forward it.
    pub routing: bool,
    /// The password, if the cluster has one.
    pub password: Option<Secret>,
}

impl ClientConfig {
    /// The pause after so many attempts: it doubles with each.
    pub(super) fn pause_after(&self, attempts: u32) -> Nanos {
        let factor = 1_u64 << attempts.saturating_sub(1).min(20);
        Nanos(self.pause.0.saturating_mul(factor).min(self.pause_max.0))
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            deadline: Nanos::from_ms(10_000),
            attempt_timeout: Nanos::from_ms(5_000),
            attempts_max: 100,
            pause: Nanos::from_ms(5),
            pause_max: Nanos::from_ms(500),
            topology_refresh: Nanos::from_ms(10_000),
            sessions: true,
            routing: true,
            password: None,
        }
    }
}
