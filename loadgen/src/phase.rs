//! The parts of a run.

use serde::{Deserialize, Serialize};

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Every key is written once.
    Preload,
    /// A short closed loop that finds out what the target holds now.
    Probe,
    /// Load that is not in the table.
    Warmup,
    /// Measured writes.
    Write,
    /// Measured reads.
    Read,
    /// Measured reads and writes together.
    Mixed,
    /// No more requests are planned; the outstanding ones complete.
    Drain,
    /// Every written key is read back.
    Audit,
}

impl Phase {
    /// Whether its figures are in the table.
    pub const fn is_measured(self) -> bool {
        matches!(self, Self::Write | Self::Read | Self::Mixed)
    }
    /// The name in tables and progress lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preload => "preload",
            Self::Probe => "probe",
            Self::Warmup => "warmup",
            Self::Write => "write",
            Self::Read => "read",
            Self::Mixed => "mixed",
            Self::Drain => "drain",
            Self::Audit => "audit",
        }
    }
}
