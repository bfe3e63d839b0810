//! What is asked: which keys there are and what they are called, which is drawn next, and whether it is read or written.
//! Pure: one seed gives the whole sequence.

use crate::keys::{KeysDist, Sampler};
use crate::random::Random;
use std::io::Write as _;
use std::ops::Range;

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Writes a key.
    Write,
    /// Reads a key.
    Read,
}

impl Kind {
    /// Both, in the order in which they index arrays.
    pub const ALL: [Self; 2] = [Self::Write, Self::Read];

    /// The word in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
    /// Its place in [`Kind::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Write => 0,
            Self::Read => 1,
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
}

/// The sequence of operations of one generator thread.
#[derive(Clone, Debug)]
pub struct Workload {
    random: Random,
    keys: Range<u32>,
    sampler: Sampler,
}

impl Workload {
    /// Operations on the keys of `keys`, drawn by `dist`.
    ///
    /// # Panics
    /// When there is no key.
    pub fn new(keys: Range<u32>, dist: KeysDist, mut random: Random) -> Self {
        assert!(!keys.is_empty(), "a workload without keys");
        let sampler = Sampler::new(dist, keys.len() as u64, random.next_u64());
        Self { random, keys, sampler }
    }
    /// The kind of the next operation.
    pub fn draw_kind(&mut self, mix: Mix) -> Kind {
        match mix {
            Mix::Only(kind) => kind,
            Mix::ReadShare(share) if self.random.unit() < share => Kind::Read,
            Mix::ReadShare(_) => Kind::Write,
        }
    }
    /// A key for the next operation; may be asked again when the key will not do.
    pub fn draw_key(&mut self) -> u32 {
        // Below the number of keys, which has 32 bits.
        self.keys.start + self.sampler.draw(&mut self.random, self.keys.len() as u64) as u32
    }
    /// The keys.
    pub fn keys(&self) -> Range<u32> {
        self.keys.clone()
    }
}

/// The keys that one thread of several takes: contiguous shares that differ by at most one.
pub fn share_of_keys(keys: u32, thread: u32, threads: u32) -> Range<u32> {
    assert!(thread < threads, "a thread outside the threads");
    let border = |thread: u32| (u64::from(keys) * u64::from(thread) / u64::from(threads)) as u32; // at most `keys`
    border(thread)..border(thread + 1)
}

/// What the keys are called: a prefix and ten digits.
#[derive(Clone, Debug)]
pub struct KeyNames {
    prefix: String,
}

impl KeyNames {
    /// Names that begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }
    /// Replaces `out` by the name of `key`.
    pub fn write(&self, out: &mut Vec<u8>, key: u32) {
        out.clear();
        out.extend_from_slice(self.prefix.as_bytes());
        write!(out, "{key:010}").expect("a Vec takes all that is written to it");
    }
    /// The key called `name`.
    pub fn parse(&self, name: &[u8]) -> Option<u32> {
        let digits = name.strip_prefix(self.prefix.as_bytes()).filter(|digits| digits.len() == 10)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_all_keys_evenly() {
        for (keys, threads) in [(10, 3), (1, 1), (100_000, 7), (16_000_000, 64)] {
            let shares: Vec<_> = (0..threads).map(|thread| share_of_keys(keys, thread, threads)).collect();
            assert_eq!((shares[0].start, shares[shares.len() - 1].end), (0, keys));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            let (least, most) = (shares.iter().map(Range::len).min(), shares.iter().map(Range::len).max());
            assert!(most.expect("one") - least.expect("one") <= 1);
        }
    }

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
