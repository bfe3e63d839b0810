//! The identity of a data directory: `synod.id` (cluster facts, node, incarnation, cores, pins), `peers.id`,
//! one directory per core.
//!
//! ```text
//! synod-data/
//!   synod.id    the identity; `format` writes it last, so that it exists only in a complete directory
//!   peers.id    the known incarnations of other nodes
//!   peers.heard the log positions that other nodes have reported
//!   boots       the number of starts of this node
//!   condemned   marks this directory as an old copy; never removed
//!   peers.secret  the secret that nodes of this cluster prove to each other (may lie elsewhere)
//!   core-0/ …   one log each
//!   core-0.begun …  notes that this log was begun (written by `runtime`)
//! ```
//! Reading and checking ([`inspect`], [`DataDir::open`]) write nothing. Only [`DataDir::format`],
//! [`DataDir::begin`], [`DataDir::condemn`], [`PeerBook::check_or_learn`], [`HeardBook::flush`] and
//! [`mod@secret`] write.

mod boots;
mod dir;
mod durable;
mod heard;
mod layout;
mod lock;
mod peers;
pub mod secret;
mod slots;
mod who;

pub use dir::{CLUSTER_MARKER, DataDir, DirState, ID_FILE, inspect};
pub use heard::HeardBook;
pub use layout::ID_FORMAT_VERSION;
pub(crate) use lock::DirLock;
pub use peers::PeerBook;
pub use secret::SecretBook;
pub use who::{Identity, Pins};
