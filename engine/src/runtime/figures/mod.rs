//! The figures of a node, each in one row: what /metrics, INFO and the binary STATUS show, and where it
//! is counted.
//!
//! ```text
//!  the cores' pages ─▶ Figures ─▶ ROWS ─┬▶ metrics   /metrics, the text format of Prometheus
//!  the process ──────────┘              ├▶ info      the fields of INFO ─▶ counters   STATUS
//!                                       └▶ docs/metrics.md, which a test compares
//! ```
//! A figure is added by its row in `table`: it appears everywhere, or the tests fail. A field that monitors
//! know from Redis is right or absent.

mod collected;
mod faces;
mod row;
mod samples;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use collected::Figures;
pub(crate) use faces::{counters, info, metrics};
