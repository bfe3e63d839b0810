//! The clients' dice, and the values that are made with them.

use crate::check::model::Datum;
use crate::sim::params::{LoadParams, Params};
use crate::sim::rng::Rng;
use crate::sim::value;
use std::collections::BTreeMap;
use synod_types::GroupId;

/// Everything that requests are drawn with. All draws of all clients come from one stream.
#[derive(Debug)]
pub(super) struct Dice {
    pub(super) rng: Rng,
    pub(super) load: LoadParams,
    /// See [`Params::expiry_slack`].
    pub(super) expiry_slack: u64,
    node_count: usize,
    next_blob: u32,
    /// Lengths of the blobs written, by name.
    blob_lens: BTreeMap<u32, usize>,
    /// By how much, in all, the expiry of a key may have been extended.
    pub(super) put_off: BTreeMap<u32, u64>,
    /// Flushes of a group that were not answered.
    pub(super) unknown_flushes: BTreeMap<GroupId, u32>,
}

impl Dice {
    /// The dice of a run.
    pub(super) fn new(params: &Params) -> Self {
        Self {
            rng: Rng::named(params.options.seed, "clients"),
            load: params.load,
            expiry_slack: params.expiry_slack(),
            node_count: usize::from(params.node_count),
            next_blob: 0,
            blob_lens: BTreeMap::new(),
            put_off: BTreeMap::new(),
            unknown_flushes: BTreeMap::new(),
        }
    }

    /// Any node.
    pub(super) fn node(&mut self) -> usize {
        self.rng.index(self.node_count)
    }

    /// A value that was never written.
    pub(super) fn fresh_blob(&mut self) -> Datum {
        self.next_blob += 1;
        Datum::Blob(self.next_blob)
    }

    /// The bytes of a value; a blob gets its length the first time.
    pub(super) fn bytes_of(&mut self, datum: Datum) -> Vec<u8> {
        match datum {
            Datum::Number(number) => number.to_string().into_bytes(),
            Datum::Blob(name) => {
                let drawn = self.draw_len();
                value::blob(name, *self.blob_lens.entry(name).or_insert(drawn))
            }
        }
    }

    fn draw_len(&mut self) -> usize {
        let load = self.load;
        if load.large_value_bytes_max > 0 && self.rng.below(100) == 0 {
            return self.rng.between(8_000, load.large_value_bytes_max) as usize;
        }
        // Most values are short enough to live in the index; the others are read back from the log sooner or
        // later.
        if self.rng.below(5) < 2 { 0 } else { self.rng.below(load.value_bytes_max) as usize }
    }
}
