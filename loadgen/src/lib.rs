//! `synod-loadgen`: open-loop load, percentiles counted from the planned send time, and an audit that finds
//! lost writes.
//!
//! ```text
//!  schedule ─▶ workload ─▶ driver ─▶ bytes ─▶ client/ (glommio sockets) ─▶ cluster
//!  planned     key, op     routing,                                          │
//!  send times              sessions,  ◀─ bytes ◀─────────────────────────────┘
//!                          retries
//!                             │ every outcome
//!                             ▼
//!                  ledger (legal values of a key) · histogram · history ─▶ report
//! ```
//!
//! Requests: `workload` (mixes), `keys` and `zipf` (choice of keys), `sizes` (value sizes), over the binary
//! protocol or RESP. Output: `report` (table, JSON), `html`, `hdr` (interval log), `series` (seconds),
//! `saturation` (whether the generator was the bottleneck). `offer` says which rate to offer after a probe,
//! `host` how busy the machine was. `search` and `slo` find the highest rate that meets an objective;
//! `compare` separates a difference between two reports from noise; `admission` explains why a server does not
//! admit the generator. docs/loadgen.md is the user's manual.
//!
//! Everything but `client/`, the threads in `fleet`, and what reads the state of the machine (`environment`,
//! `host`) is pure: bytes and times in, bytes and verdicts out. Only `client/` uses glommio.

#![forbid(unsafe_code)]

mod admission;
mod client;
pub mod clock;
pub mod compare;
mod control;
pub mod driver;
mod duration;
pub mod environment;
pub mod error;
#[cfg(test)]
mod fake;
mod files;
mod fleet;
mod hdr;
pub mod histogram;
pub mod history;
pub mod host;
pub mod html;
pub mod keys;
pub mod ledger;
pub mod offer;
pub mod options;
mod phase;
pub mod random;
pub mod report;
mod run;
pub mod saturation;
pub mod schedule;
pub mod search;
pub mod series;
mod share;
pub mod sizes;
pub mod slo;
pub mod value;
pub mod workload;
pub mod zipf;

pub use admission::password_of_environment;
pub use duration::parse_duration;
pub use error::LoadError;
pub use files::write_files;
pub use fleet::Stop;
pub use offer::ProbeReport;
pub use options::{Arrivals, Options, Protocol, Switch};
pub use phase::Phase;
pub use report::{AuditReport, GeneratorReport, OperationReport, Progress, Report};
pub use run::{Evidence, audit, load, run, run_until};
pub use search::NOISY_HOST_EXIT;
pub use series::{Percentile, SecondReport};
