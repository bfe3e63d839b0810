//! The division of the keys among the generator threads.

use crate::options::{KEYS_MAX, Options};
use crate::workload::Kind;
use std::ops::Range;

/// The keys of one thread of several: contiguous shares whose sizes differ by at most one.
pub fn share_of_keys(keys: u32, thread: u32, threads: u32) -> Range<u32> {
    assert!(thread < threads, "a thread outside the threads");
    let border = |thread: u32| (u64::from(keys) * u64::from(thread) / u64::from(threads)) as u32; // <= `keys`
    border(thread)..border(thread + 1)
}

/// The keys that one thread begins with. If the load inserts keys, the threads' keys lie far apart, so that
/// each thread can add to its own.
pub fn keys_of_thread(options: &Options, thread: u32) -> Range<u32> {
    let share = share_of_keys(options.keys, thread, options.threads);
    if options.mixes().iter().any(|mix| mix.share(Kind::Insert) > 0.0) {
        let start = u32::MAX / options.threads * thread;
        return start..start + (share.end - share.start);
    }
    share
}

/// The most keys that one thread may have after all inserts.
pub fn keys_of_thread_max(options: &Options) -> u32 {
    KEYS_MAX / options.threads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Ycsb;

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
    fn threads_that_insert_do_not_meet() {
        let options = Options { keys: 10, threads: 3, workload: Some(Ycsb::D), ..Options::default() };
        let ranges: Vec<_> = (0..3).map(|thread| keys_of_thread(&options, thread)).collect();
        assert_eq!(ranges.iter().map(Range::len).collect::<Vec<_>>(), [3, 3, 4]);
        assert!(ranges[1].start - ranges[0].end > keys_of_thread_max(&options));
        assert!(ranges[2].start - ranges[1].end > keys_of_thread_max(&options));
        let options = Options { workload: Some(Ycsb::A), ..options };
        assert_eq!(keys_of_thread(&options, 1), 3..6);
    }
}
