//! `synod-paxos`: one group's Multi-Paxos as a pure machine.
//!
//! ```text
//!   Message, Heartbeat … ──┐                          ┌─▶ Append { record, then: messages }
//!   Propose, Durable, Tick ┼─▶ Paxos::step ───────────┼─▶ Send, Heartbeat, HeartbeatReply
//!   Room, Recalled … ──────┘   (input, now, out)      ├─▶ ReadBack (old values a peer asked for)
//!                                   │                 └─▶ Recall (a value needed here)
//!                          next_apply / applied           chosen entries, in slot order
//! ```
//!
//! Each role is a part with its own state, methods and file. State that the parts share during a step is
//! borrowed (`context`); `roles` moves values from one part to another. An arrow points from a part to one
//! that it uses; there are no cycles:
//!
//! ```text
//!   paxos ──▶ roles ──▶ role_state ──▶ candidate, leader ──▶ learner ──▶ log, recall, pull
//!               ├─────▶ acceptor ─────────────────────────────▲
//!               └─────▶ election                 leader ──▶ heirs ──▶ peers
//!                                              └─────▶ timekeeper, transfer
//!   below all: context, setup, space, clock, ignored, api
//! ```
//! The rules have ids in `docs/protocol.md` (P-01 …) and are cited where they are enforced. A stale or
//! foreign input is [`Ignored`]; the reason is counted. Impossible states are asserted.
//!
//! May not: read a clock, draw a random number from outside, know a disk, a socket or a thread, read the
//! commands in a payload.
//! Contract: the caller makes one step, executes every effect in order, then makes the next step. Time never
//! goes back.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod acceptor;
mod api;
mod candidate;
mod clock;
mod context;
mod election;
mod heirs;
mod ignored;
mod leader;
mod learner;
mod log;
mod pace;
mod paxos;
mod peers;
mod pull;
mod recall;
mod role_state;
mod roles;
mod settled;
mod setup;
mod space;
#[cfg(test)]
mod tests;
mod timekeeper;
mod transfer;

#[cfg(feature = "canary")]
pub use api::Canary;
pub use api::{AheadLimits, Effect, Input, LogState, PeerView, ReadBack, Receipt, Role, Timing};
pub use heirs::Heir;
pub use ignored::{Ignored, IgnoredCounts};
pub use pace::Pace;
pub use paxos::Paxos;
pub use space::Writable;
pub use transfer::{FAR_BEHIND_SLOTS, HEIR_PAUSE_LEASES};
