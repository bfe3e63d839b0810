//! How long to wait for a server.

use std::time::Duration;

/// How long a server may take until it serves: a Synod node writes its log space first.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two polls of a server that does not serve yet.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
