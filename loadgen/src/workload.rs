//! The operations of a load: the keys and their names, the choice of the next key, and what is done with it.
//! Pure: one seed determines the whole sequence.

use crate::keys::{KeysDist, Sampler};
use crate::random::Random;
use crate::zipf::THETA_USUAL;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::ops::Range;

/// The kind of an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Writes a key.
    Write,
    /// Reads a key.
    Read,
    /// Writes a key that was never written.
    Insert,
    /// Reads a key and then writes it: one operation, one latency.
    ReadModifyWrite,
}

impl Kind {
    /// The number of kinds.
    pub const COUNT: usize = 4;
    /// All kinds, in the order in which they index arrays.
    pub const ALL: [Self; Self::COUNT] = [Self::Write, Self::Read, Self::Insert, Self::ReadModifyWrite];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Insert => "insert",
            Self::ReadModifyWrite => "read_modify_write",
        }
    }
    /// Its place in [`Kind::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Write => 0,
            Self::Read => 1,
            Self::Insert => 2,
            Self::ReadModifyWrite => 3,
        }
    }
}

/// How reads and writes are mixed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Mix {
    /// One kind only.
    Only(Kind),
    /// This share of reads, the rest writes.
    ReadShare(f64),
    /// A mix of YCSB.
    Ycsb(Ycsb),
}

impl Mix {
    /// The share of one kind, 0 to 1.
    pub fn share(self, kind: Kind) -> f64 {
        match (self, kind) {
            (Self::Only(only), kind) => f64::from(u8::from(only == kind)),
            (Self::ReadShare(reads), Kind::Read) => reads,
            (Self::ReadShare(reads), Kind::Write) => 1.0 - reads,
            (Self::ReadShare(_), Kind::Insert | Kind::ReadModifyWrite) => 0.0,
            (Self::Ycsb(ycsb), kind) => ycsb.share(kind),
        }
    }
    /// Whether a phase of this mix measures the kind. A mixed phase always shows reads and writes, even with
    /// a share of 0.
    pub fn measures(self, kind: Kind) -> bool {
        matches!((self, kind), (Self::ReadShare(_), Kind::Read | Kind::Write)) || self.share(kind) > 0.0
    }
}

/// The core workloads of YCSB (Cooper et al., "Benchmarking cloud serving systems with YCSB", SoCC 2010,
/// table 2, and F of the same suite). E is missing: it scans ranges, which this store does not support.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Ycsb {
    /// Half reads, half writes, zipfian keys.
    A,
    /// 95 % reads, 5 % writes, zipfian keys.
    B,
    /// Reads only, zipfian keys.
    C,
    /// 95 % reads, 5 % inserts, the latest keys most.
    D,
    /// Half reads, half read-modify-writes, zipfian keys.
    F,
}

impl Ycsb {
    /// The share of one kind, 0 to 1.
    pub const fn share(self, kind: Kind) -> f64 {
        match (self, kind) {
            (Self::A, Kind::Read | Kind::Write) | (Self::F, Kind::Read | Kind::ReadModifyWrite) => 0.5,
            (Self::B | Self::D, Kind::Read) => 0.95,
            (Self::B, Kind::Write) | (Self::D, Kind::Insert) => 0.05,
            (Self::C, Kind::Read) => 1.0,
            _ => 0.0,
        }
    }
    /// How its keys are drawn, unless an option overrides it.
    pub const fn keys_dist(self) -> KeysDist {
        match self {
            Self::A | Self::B | Self::C | Self::F => KeysDist::Zipfian { theta: THETA_USUAL },
            Self::D => KeysDist::Latest { theta: THETA_USUAL },
        }
    }
}

/// The sequence of operations of one generator thread.
#[derive(Clone, Debug)]
pub struct Workload {
    random: Random,
    keys: Range<u32>,
    sampler: Sampler,
    /// Keys whose insert is in progress. They are not drawn, nor is any key that was added after them.
    inserting: BTreeSet<u32>,
}

impl Workload {
    /// Operations on the keys of `keys`, drawn by `dist`.
    ///
    /// # Panics
    /// When there is no key.
    pub fn new(keys: Range<u32>, dist: KeysDist, mut random: Random) -> Self {
        assert!(!keys.is_empty(), "a workload without keys");
        let sampler = Sampler::new(dist, keys.len() as u64, random.next_u64());
        Self { random, keys, sampler, inserting: BTreeSet::new() }
    }
    /// The kind of the next operation.
    pub fn draw_kind(&mut self, mix: Mix) -> Kind {
        match mix {
            Mix::Only(kind) => kind,
            Mix::ReadShare(_) | Mix::Ycsb(_) => {
                let mut left = self.random.unit();
                let drawn = [Kind::Read, Kind::Insert, Kind::ReadModifyWrite].into_iter().find(|&kind| {
                    left -= mix.share(kind);
                    left < 0.0
                });
                // The shares add up to 1 except for rounding. The remainder are writes, if the mix has any.
                let rest = if mix.measures(Kind::Write) { Kind::Write } else { Kind::Read };
                drawn.unwrap_or(rest)
            }
        }
    }
    /// A key for the next operation. The caller may draw again if it cannot use the key.
    pub fn draw_key(&mut self) -> u32 {
        // The drawn position is below the number of keys, which has 32 bits.
        let settled = self.inserting.first().unwrap_or(&self.keys.end) - self.keys.start;
        self.keys.start + self.sampler.draw(&mut self.random, u64::from(settled)) as u32
    }
    /// A new key; `None` when there are `most` already. It can be drawn after [`Workload::inserted`].
    pub fn insert(&mut self, most: u32) -> Option<u32> {
        let key = self.keys.end;
        if self.keys.len() >= most as usize || key == u32::MAX {
            return None;
        }
        self.keys.end += 1;
        self.inserting.insert(key);
        Some(key)
    }
    /// Notes that the insert of the key has ended, successfully or not.
    pub fn inserted(&mut self, key: u32) {
        self.inserting.remove(&key);
    }
    /// The keys.
    pub fn keys(&self) -> Range<u32> {
        self.keys.clone()
    }
}

/// The names of the keys: a prefix and ten digits.
#[derive(Clone, Debug)]
pub struct KeyNames {
    prefix: String,
}

impl KeyNames {
    /// Names that begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }
    /// Replaces the contents of `out` with the name of `key`.
    pub fn write(&self, out: &mut Vec<u8>, key: u32) {
        out.clear();
        out.extend_from_slice(self.prefix.as_bytes());
        write!(out, "{key:010}").expect("a Vec takes all that is written to it");
    }
    /// The key with this name.
    pub fn parse(&self, name: &[u8]) -> Option<u32> {
        let digits = name.strip_prefix(self.prefix.as_bytes()).filter(|digits| digits.len() == 10)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_keys_are_all_drawn_about_as_often() {
        let mut workload = Workload::new(5..15, KeysDist::Uniform, Random::new(1, 2));
        let mut count = [0_u32; 10];
        for _ in 0..50_000 {
            count[(workload.draw_key() - 5) as usize] += 1;
        }
        assert!(count.iter().all(|&n| (4_700..5_300).contains(&n)), "{count:?}");
    }

    #[test]
    fn the_mix_has_its_share_of_reads() {
        let mut workload = Workload::new(0..1, KeysDist::Uniform, Random::new(1, 3));
        let reads = (0..100_000).filter(|_| workload.draw_kind(Mix::ReadShare(0.3)) == Kind::Read).count();
        assert!((29_000..31_000).contains(&reads), "{reads}");
        assert!((0..100).all(|_| workload.draw_kind(Mix::ReadShare(0.0)) == Kind::Write));
        assert!((0..100).all(|_| workload.draw_kind(Mix::ReadShare(1.0)) == Kind::Read));
        assert_eq!(workload.draw_kind(Mix::Only(Kind::Read)), Kind::Read);
    }

    #[test]
    fn the_workloads_of_ycsb_have_their_shares() {
        let table = [
            (Ycsb::A, [0.5, 0.5, 0.0, 0.0]),
            (Ycsb::B, [0.05, 0.95, 0.0, 0.0]),
            (Ycsb::C, [0.0, 1.0, 0.0, 0.0]),
            (Ycsb::D, [0.0, 0.95, 0.05, 0.0]),
            (Ycsb::F, [0.0, 0.5, 0.0, 0.5]),
        ];
        for (ycsb, shares) in table {
            let mut workload = Workload::new(0..10, ycsb.keys_dist(), Random::new(1, 4));
            let mut counts = [0_u32; Kind::COUNT];
            (0..100_000).for_each(|_| counts[workload.draw_kind(Mix::Ycsb(ycsb)).index()] += 1);
            for (count, share) in counts.iter().zip(shares) {
                let difference = (f64::from(*count) / 1e5 - share).abs();
                assert!(difference < if share == 0.0 { 1e-9 } else { 0.01 }, "{ycsb:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn an_inserted_key_is_drawn_once_its_insert_is_over() {
        let mut workload = Workload::new(5..8, KeysDist::Latest { theta: 0.9 }, Random::new(1, 5));
        let (one, two) = (workload.insert(5), workload.insert(5));
        assert_eq!((one, two, workload.insert(5)), (Some(8), Some(9), None));
        assert!((0..1000).all(|_| workload.draw_key() < 8));
        workload.inserted(9);
        assert!((0..1000).all(|_| workload.draw_key() < 8), "not before the one that was inserted earlier");
        workload.inserted(8);
        let drawn: BTreeSet<_> = (0..1000).map(|_| workload.draw_key()).collect();
        assert_eq!(drawn, (5..10).collect());
    }

    #[test]
    fn names_lead_back_to_keys() {
        let names = KeyNames::new("load:");
        let mut name = Vec::new();
        for key in [0, 7, 99_999, u32::MAX] {
            names.write(&mut name, key);
            assert_eq!(names.parse(&name), Some(key));
        }
        names.write(&mut name, 42);
        assert_eq!(name, b"load:0000000042");
        assert_eq!(names.parse(b"load:42"), None);
        assert_eq!(names.parse(b"else:0000000042"), None);
    }
}
