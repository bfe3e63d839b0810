//! The node's voice: one line on standard error for each thing that an operator should know.
//!
//! ```text
//!   Event (machines)  ─▶ machine_events ─┐ tracing                    ┌─▶ filter: level, per module
//!   NodeEvent (shell) ─▶ node_events   ──┴─────────▶ subscriber ─▶ line ─▶ limiter ─▶ text or JSON
//! ```
//! Each event has a name, a level, a module and fields; docs/operations-log.md lists them all, and a test
//! compares the list with the code. An event marks a change of state: nothing here runs per request. The same
//! event about the same subject is written a few times, then only counted (`limiter`). A line is one write;
//! an output that does not take it at once loses it (`lossy_writer`), because a node does not stop, or wait, for
//! want of a reader.
//!
//! May not: decide anything. A command that is refused before the node runs prints its one sentence itself.

pub mod filter;
mod limiter;
mod line;
mod lossy_writer;
mod machine_events;
mod node_events;
mod options;
mod subscriber;

pub use filter::Filter;
pub use line::Format;
pub use machine_events::tell;
pub use node_events::{NodeEvent, say};
pub use options::VoiceOptions;
pub use subscriber::{name_node, start, sweep};

#[cfg(test)]
mod tests;
