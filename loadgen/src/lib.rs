//! `synod-loadgen`: open-loop load, percentiles from the planned send time, and an audit that finds lost writes.
//!
//! ```text
//!  schedule ─▶ workload ─▶ driver ─▶ bytes ─▶ client/ (glommio sockets) ─▶ cluster
//!  planned     key, op     routing,                                          │
//!  send times              sessions,  ◀─ bytes ◀─────────────────────────────┘
//!                          retries
//!                             │ every outcome
//!                             ▼
//!                  ledger (what a key may hold) · histogram · history ─▶ report
//! ```
//!
//! Everything but `client/` and the threads in `fleet` is pure: bytes and times in, bytes and verdicts out. Glommio is
//! named in `client/` only.

pub mod clock;
pub mod driver;
pub mod environment;
pub mod error;
pub mod histogram;
pub mod history;
pub mod ledger;
pub mod options;
pub mod random;
pub mod report;
pub mod schedule;
pub mod value;
pub mod workload;

pub use error::LoadError;
pub use options::{Arrivals, Options, Switch, parse_duration};
pub use report::{AuditReport, GeneratorReport, OperationReport, Phase, Progress, Report};

/// Runs the whole: every key is written once, warm-up, the measured phases, and the audit.
///
/// `progress` is called about once a second on the caller's thread. The run always ends within its bounds, whatever the
/// cluster does.
///
/// # Errors
/// [`LoadError`] when the run could not be done. What a run that was done found is in the report, good or bad.
pub fn run(options: &Options, progress: &mut dyn FnMut(&Progress)) -> Result<Report, LoadError> {
    options.check()?;
    let _ = progress;
    Err(LoadError::Cluster("no client is in place yet".into()))
}
