//! `synod-shard`: one core as one pure machine — its Paxos groups, their store, client sessions, batching and forwarding.
//!
//! May not: read a clock, draw a random number, touch a file, a socket or a thread. `no_std` is the witness.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;

pub use api::{Effect, GroupStatus, Input, ReadFailed, ReadToken, Role, ShardConfig, Sink, Timing};
pub use synod_types::{GroupConfig, Members};

use synod_types::{Location, Now, Payload, RecordHead};

/// One core.
#[derive(Debug)]
pub struct Shard<P> {
    _config: ShardConfig,
    _p: core::marker::PhantomData<P>,
}

impl<P: Payload> Shard<P> {
    /// A core with empty groups; call [`Shard::replay`] for every record of its log, in order, then [`Shard::start`].
    pub fn new(config: ShardConfig) -> Self {
        Self { _config: config, _p: core::marker::PhantomData }
    }
    /// Takes one record of the log back, in log order. Pushes nothing but `Effect::Read`, which is to be answered by
    /// [`Shard::step`] with `Input::ReadDone` before the next call.
    pub fn replay(&mut self, _head: RecordHead, _payload: P, _payload_at: Location, _out: &mut impl Sink<P>) {
    }
    /// Ends replay: elections may begin, after one silent lease (rule P-07).
    pub fn start(&mut self, _now: Now) {}
    /// Lets one thing happen.
    pub fn step(&mut self, _input: Input<P>, _now: Now, _out: &mut impl Sink<P>) {}
    /// Every group, ascending.
    pub fn status(&self) -> impl Iterator<Item = GroupStatus> {
        core::iter::empty()
    }
    /// Checks every invariant that holds between steps.
    ///
    /// # Panics
    /// When one does not.
    pub fn invariants(&self) {}
}
