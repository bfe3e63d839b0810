//! `synod-client`: the Rust client of Synod, a replicated key-value store.
//!
//! ```no_run
//! use std::time::Duration;
//! use synod_client::{Client, Error, SetOptions};
//!
//! # fn main() -> Result<(), Error> {
//! let mut client = Client::connect("synod://:secret@node1,node2,node3/?timeout=2s")?;
//!
//! client.set("greeting", "hello")?; // durable on a quorum when this returns
//! assert_eq!(client.get("greeting")?.as_deref(), Some(&b"hello"[..]));
//!
//! let visits = client.increment("visits", 1)?; // executed once, even if a leader dies meanwhile
//! println!("{visits} visits");
//!
//! // A lock: taken if nobody has it, and given up by itself after 30 s.
//! let lock = SetOptions::new().if_absent().expire_in(Duration::from_secs(30));
//! match client.set_with("lock", "owner-1", lock) {
//!     Ok(_) => println!("released: {}", client.delete_if_equal("lock", "owner-1")?),
//!     Err(Error::ConditionNotMet) => println!("somebody else has the lock"),
//!     Err(error) => return Err(error),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Connection strings
//!
//! `synod://[:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…[/][?OPTION=VALUE[&…]]`. Some nodes of the cluster are
//! enough: the client learns of the others, and a node that does not answer is passed over. [`Config`] has a
//! method for each option.
//!
//! # Exactly once
//!
//! When a connection breaks before the answer to a write has come, nobody knows whether the write was
//! executed. So each client opens a session in each group of keys that it writes to, and numbers its writes.
//! It sends a lost write again with its number, and the cluster executes each number once and repeats the
//! first answer. All this is automatic. Only if a write is still unanswered at its timeout, or if the cluster
//! has forgotten the session, it ends as [`Error::Unknown`].
//!
//! # Reads
//!
//! A read returns the last value that was written before it began ([`Consistency::Linearizable`]). It relies
//! on the nodes' clocks running at nearly the same speed; [`Consistency::Quorum`] relies on no clock and costs
//! a round trip between nodes. There are no stale reads.
//!
//! # Many operations at once
//!
//! [`Client::execute_all`] executes requests of one type, [`Client::run`] a [`Pipeline`] of any. Up to 256
//! operations are in flight then, on the connections to all leaders at once.
//!
//! # Async
//!
//! With feature `async` there is `AsyncClient`. Its futures run on any executor.
//!
//! # The rooms of this crate
//!
//! ```text
//!  blocking ─┐                        ┌▶ synod_net::client::ClientCore: routing, sessions, retries (pure)
//!            ├▶ request ─▶ driver ────┤
//!  async ────┘                        └▶ sockets (mio)
//! ```

#![forbid(unsafe_code)]

#[cfg(feature = "async")]
mod asynchronous;
mod blocking;
mod config;
mod connection_string;
mod driver;
mod error;
mod options;
mod pipeline;
mod request;
#[cfg(feature = "async")]
mod response;
mod sockets;

#[cfg(feature = "async")]
pub use asynchronous::AsyncClient;
pub use blocking::Client;
pub use config::{Config, DEFAULT_PORT};
pub use error::{Admission, Cause, Error, Refusal};
pub use options::SetOptions;
pub use pipeline::{Answers, Pipeline, Ticket};
pub use request::{Request, Versioned};
#[cfg(feature = "async")]
pub use response::Response;
pub use synod_net::binary::{
    Durability, GroupRole, GroupState, NodeStatus, Topology, TopologyGroup, TopologyNode,
};
pub use synod_net::client::TimeToLive;
pub use synod_types::{Consistency, NodeId, Version};
