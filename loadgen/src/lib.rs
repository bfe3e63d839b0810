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
//! What is asked: `workload` (mixes), `keys` and `zipf` (which key), `sizes` (how large), over the binary protocol or RESP. What comes
//! out: `report` (table, JSON), `html`, `hdr` (interval log), `series` (seconds), `saturation` (was it the generator?). `search` and
//! `slo` find the highest rate that holds an objective; `compare` tells two reports apart from noise; `admission` says why a server
//! that wants a password lets nobody in. docs/loadgen.md is for users.
//!
//! Everything but `client/` and the threads in `fleet` is pure: bytes and times in, bytes and verdicts out. Glommio is
//! named in `client/` only.

mod admission;
mod client;
pub mod clock;
pub mod compare;
mod control;
pub mod driver;
pub mod environment;
pub mod error;
#[cfg(test)]
mod fake;
mod fleet;
mod hdr;
pub mod histogram;
pub mod history;
pub mod html;
pub mod keys;
pub mod ledger;
pub mod options;
pub mod random;
pub mod report;
mod run;
pub mod saturation;
pub mod schedule;
pub mod search;
pub mod series;
pub mod sizes;
pub mod slo;
pub mod value;
pub mod workload;
pub mod zipf;

pub use admission::password_of_environment;
pub use error::LoadError;
pub use fleet::Stop;
pub use options::{Arrivals, Options, Protocol, Switch, parse_duration};
pub use report::{AuditReport, GeneratorReport, OperationReport, Phase, Progress, Report};
pub use run::{Evidence, audit, load, run, run_until};
pub use series::{Percentile, SecondReport};
