//! The configuration of a node: from a file, the environment and flags to checked values.
//!
//! ```toml
//! [cluster]                 # facts: fixed at format, equal on all nodes, part of every handshake
//! name = "demo"
//! groups = 16
//!
//! [node]                    # this node's own; cores and pins are fixed at format, the rest may change
//! id = 1
//! data_dir = "n1"
//! cores = 1
//!
//! [[members]]               # the founding members, the same list on every node
//! id = 1
//! host = "10.0.0.1"
//! client_port = 6379
//! peer_port = 16379
//! ```
//! `[timing]`, `[limits]`, `[security]` and `[log]` hold the rest; [`settings`] has a row for every setting. A setting
//! may also come from a `SYNOD_*` variable and, except for passwords, from a flag. The order of precedence is
//! flag, environment, file, default. A fact that is not given is taken from the data directory; a fact that
//! is given must agree with the data directory.
//!
//! ```text
//!   file, environment, flags
//!     └▶ sources      RawConfig: the value in force for each setting, and its place
//!          └▶ values      Values: each valid by itself, by its row in settings
//!               └▶ declared, members      facts and members, valid together, by relations
//!                    └▶ node_config           Config: the node's configuration
//! ```
//! Each of these uses those above it and the table (`settings`, made of `row`, `shape`, `choice`, `limits`,
//! `raw`, `variables`), never one below it. `explained` says where each value comes from.
//!
//! May not: look at the data directory or the machine. It reads one file, once.

pub mod choice;
mod declared;
mod explained;
pub mod facts;
mod file;
pub mod limits;
mod members;
mod node_config;
pub mod raw;
mod relations;
pub mod row;
pub mod settings;
pub mod shape;
mod sources;
pub mod spelling;
mod values;
pub mod variables;

pub use choice::{Durability, Redirect};
pub use declared::{DeclaredFacts, GeneratedFacts};
pub use explained::{DEFAULT_SOURCE, Explained};
pub use node_config::{Config, OwnPorts};
pub use raw::Sourced;
pub use sources::Flags;
pub use synod_net::access::Secret;

#[cfg(test)]
mod tests;
