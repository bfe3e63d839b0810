//! What operations are made of: the kinds and keys that are drawn, the names and groups of the keys, and the
//! values.

use crate::keys::KeysDist;
use crate::random::Random;
use crate::value::ValueWriter;
use crate::workload::{KeyNames, Kind, Mix, Workload};
use std::ops::Range;
use synod_types::{GroupId, bucket_of, group_of};

/// The keys and values of one generator thread.
#[derive(Debug)]
pub(super) struct Stock {
    workload: Workload,
    names: KeyNames,
    values: ValueWriter,
    group_count: u16,
    /// The group of each key.
    groups: Vec<GroupId>,
    /// The name that was written last; kept for its memory.
    name: Vec<u8>,
    /// The value that was written last; kept for its memory.
    value: Vec<u8>,
}

/// A key's name and the value of one write of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) value_crc: u32,
}

impl Stock {
    /// The keys of `keys` in `group_count` groups; `dist` and `random` determine which are drawn.
    pub(super) fn new(
        keys: Range<u32>,
        dist: KeysDist,
        random: Random,
        names: KeyNames,
        values: ValueWriter,
        group_count: u16,
    ) -> Self {
        let workload = Workload::new(keys.clone(), dist, random);
        let (groups, name, value) = (Vec::new(), Vec::new(), Vec::new());
        let mut stock = Self { workload, names, values, group_count, groups, name, value };
        keys.for_each(|key| stock.add_group(key));
        stock
    }
    /// The keys.
    pub(super) fn keys(&self) -> Range<u32> {
        self.workload.keys()
    }
    /// The run that values are written for.
    pub(super) fn run(&self) -> u64 {
        self.values.run()
    }
    pub(super) fn draw_kind(&mut self, mix: Mix) -> Kind {
        self.workload.draw_kind(mix)
    }
    pub(super) fn draw_key(&mut self) -> u32 {
        self.workload.draw_key()
    }
    /// A new key; `None` when there are `most` already. It is not drawn before [`Stock::inserted`].
    pub(super) fn insert(&mut self, most: u32) -> Option<u32> {
        let key = self.workload.insert(most)?;
        self.add_group(key);
        Some(key)
    }
    /// Notes that the insert of the key has ended, successfully or not.
    pub(super) fn inserted(&mut self, key: u32) {
        self.workload.inserted(key);
    }
    pub(super) fn group_of(&self, key: u32) -> GroupId {
        self.groups[(key - self.workload.keys().start) as usize]
    }
    /// The name of the key.
    pub(super) fn name(&mut self, key: u32) -> &[u8] {
        self.names.write(&mut self.name, key);
        &self.name
    }
    /// The name of the key and the value of write `sequence` of it.
    pub(super) fn pair(&mut self, key: u32, sequence: u64) -> Pair<'_> {
        self.names.write(&mut self.name, key);
        let value_crc = self.values.write(&mut self.value, u64::from(key), sequence);
        Pair { name: &self.name, value: &self.value, value_crc }
    }

    fn add_group(&mut self, key: u32) {
        let group = group_of(bucket_of(self.name(key)), self.group_count);
        self.groups.push(group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::ValueSizes;
    use crate::value;

    fn stock() -> Stock {
        let values = ValueWriter::new(&ValueSizes::Fixed(64), 99);
        Stock::new(5..8, KeysDist::Uniform, Random::new(1, 2), KeyNames::new("k:"), values, 4)
    }

    #[test]
    fn every_key_has_the_group_of_its_name_and_a_new_one_too() {
        let mut stock = stock();
        assert_eq!(stock.insert(4), Some(8));
        assert_eq!(stock.insert(4), None, "no more than that many keys");
        assert_eq!(stock.keys(), 5..9);
        for key in 5..9 {
            let group = group_of(bucket_of(stock.name(key)), 4);
            assert_eq!(stock.group_of(key), group);
        }
    }

    #[test]
    fn a_pair_is_the_name_of_the_key_and_a_sound_value() {
        let mut stock = stock();
        let pair = stock.pair(7, 3);
        assert_eq!(pair.name, b"k:0000000007");
        let stamp = value::verify(pair.value).expect("just written");
        assert_eq!((stamp.run, stamp.key, stamp.sequence), (99, 7, 3));
        assert_eq!(pair.value_crc, synod_types::checksum::crc32c(pair.value));
        assert_eq!(stock.run(), 99);
    }
}
