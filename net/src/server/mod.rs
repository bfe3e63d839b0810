//! The server side of one client connection as a pure state machine: bytes in, asks out; replies in, bytes
//! out.
//!
//! ```text
//!  received(bytes) ─▶ ┌────────────┐ ─▶ next() ─▶ Ask::Command / Ask::Local / Ask::Close
//!                     │ Connection │
//!  out()  ◀────────── └────────────┘ ◀─ reply(tag, …) / answer(tag, …)
//! ```
//!
//! Contract with the shell, the code that owns the socket:
//! - read from the socket into the room that `lend` gives, and give it back with `put` (or hand bytes to
//!   `received`);
//! - after `put`, `received`, `received_end`, `reply`, `answer` and whenever part of `out` was sent, call
//!   `next` until it gives `None`. Work that was held back, because the connection was full or the work is
//!   long, comes out then. Other connections may have their turn between two calls: no call does more than
//!   about a millisecond's work;
//! - answer each `Ask::Command` with one `reply` (or with a `redirect` that was taken) and each `Ask::Local`
//!   with one `answer`, in any order; the order that RESP needs is kept in here;
//! - send the bytes in `out` (swap it with an empty buffer); read the socket only while `wants_read`;
//! - once `closing`, send the bytes in `out` and close.
//!
//! Commands that need no shard (PING, HELLO, CLIENT, COMMAND, CONFIG) and all errors are answered in here.
//! Authentication is checked before any dispatch.
//!
//! Memory is bounded by waiting, not by errors. Past [`Limits`] nothing more is read, parsed or asked. What is
//! brought is kept, so the shell that is short of memory brings a long value later, but at any time the one
//! that is next (`is_next`): it is written at once, or behind no more than 256 KiB of the same reply. Before
//! it reads, it can ask what that would allocate (`wanted_bytes`).
//!
//! ```text
//!  connection ─▶ resp ─▶ dispatch ─┬▶ plan (crate::resp) ─▶ requests ─▶ Ask        commands on keys
//!       │                          └▶ *_commands ─▶ responder                      answered in here
//!       └──────▶ binary            client_state: what the client has said of itself
//!                                  requests: the open requests: slots (order of replies), parts, a job
//!                                  values: the reply to MGET, which is written as its values come
//! ```

mod ask;
mod binary;
mod client_commands;
mod client_state;
mod cluster;
mod cluster_commands;
mod config;
mod config_commands;
mod connection;
mod connection_commands;
mod counts;
mod dispatch;
mod info;
mod jobs;
mod lend;
mod local_answers;
mod many;
mod order;
mod parked;
mod redis_nodes;
mod requests;
mod resp;
mod responder;
mod server_commands;
mod shapes;
mod slots;
mod table_commands;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;
mod values;

pub use crate::resp::spec::LOCAL_ARGUMENTS_MAX;
pub use ask::{Ask, ClusterQuery, ClusterView, LocalAnswer, LocalQuery, Tag};
pub use config::{CONNECTION_REFUSED, ConnectionConfig, Limits, Notice, OwnGroups, REDIS_VERSION};
pub use config::{ServerConfig, Service, ShownSettings};
pub use config_commands::{PARAMETERS, Parameter};
pub use connection::Connection;
pub use counts::{CallTotals, CommandCounts, CountTotals};
pub use info::{InfoField, InfoValue, SECTIONS};
pub use order::CommandOrder;
