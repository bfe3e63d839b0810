//! Recovery: follow the segments and the chain of blocks to their end, then look up what that end means.
//!
//! ```text
//!   1. settle: make durable what is about to be read, or a crash could take back what recovery acted on
//!   2. links:  from the newest segment back through `previous` to the first; other segments are not part of
//!              the log
//!   3. chain:  from the first block on, number by number, checksum by checksum; every record goes to the
//!              caller (`walk`)
//!   4. end:    collect the facts at the first block that does not fit; look them up in the decision table
//! ```
//! Recovery changes nothing on disk. The log continues in a fresh segment whose header names the last valid
//! block ([`Continues`]), so that the blocks that were cut off cannot come back at a later recovery.

use crate::chain::Chain;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::layout::{BadSegmentHeader, ChecksumKey, Continues, FORMAT_VERSION, PAGE_BYTES, SegmentHeader};
use crate::options::{WalOptions, WhenEmpty};
use crate::report::{RecordView, RecoveryReport, TailReport};
use crate::scan::Scan;
use crate::table::{Facts, Verdict};
use crate::walk::{End, Walk};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use synod_types::SegmentId;

/// The result of recovery: where the log continues, and which files it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Recovered {
    pub report: RecoveryReport,
    pub continues: Continues,
    /// The chain up to that block.
    pub chain: Chain,
    /// The segment that holds that block; 0 for none.
    pub previous: SegmentId,
    pub segment_next: SegmentId,
    pub generation_next: u64,
    /// Segments that hold records, with their generations: those that were read, and those before the start,
    /// which a checkpoint may point into.
    pub live: BTreeMap<SegmentId, u64>,
    /// Segments outside the log that can be recycled, newest first: taking them one by one in that order
    /// never breaks a link.
    pub recyclable: Vec<SegmentId>,
    /// Segments outside the log that have another size.
    pub removable: Vec<SegmentId>,
}

/// Reads the whole log.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    visit: impl FnMut(RecordView<'_>),
) -> Result<Recovered, OpenError> {
    let mut ids = disk.list().map_err(io_error("list", disk.describe(None)))?;
    ids.sort_unstable();
    // A directory that is read while it changes may name a file twice.
    ids.dedup();
    let Some(&newest) = ids.last() else {
        return match options.when_empty {
            WhenEmpty::Create => {
                let recovered = fresh();
                recovered.assert_invariants();
                Ok(recovered)
            }
            WhenEmpty::Refuse => Err(OpenError::Empty { place: disk.describe(None) }),
        };
    };
    let from = options.replay_from.unwrap_or(SegmentId::new(0));
    let settled: Vec<_> = ids.iter().copied().filter(|&id| id >= from).collect();
    disk.settle(&settled).map_err(io_error("sync", disk.describe(None)))?;

    let links = links(disk, options, &ids, newest)?;
    let end = follow_chain(disk, options, &links, visit)?;
    let row = end.facts.decide();
    if row.verdict == Verdict::Refuse {
        return Err(refusal(disk, end.facts, end.segment, end.offset, &end.detail()));
    }
    let files = sort_files(disk, options, &ids, &links, end.last_segment)?;
    let newest_generation = links.last().map_or(0, |header| header.generation);
    let recovered = Recovered {
        report: RecoveryReport {
            segments: end.segments,
            tail: Some(TailReport {
                label: row.label,
                verdict: row.verdict,
                facts: end.facts,
                segment: end.segment,
                offset: end.offset,
                sequence: end.last.sequence,
                discarded_count: end.beyond.block_count + u64::from(end.beyond.begun),
            }),
            unused: files.outside,
        },
        continues: end.last,
        chain: end.chain,
        previous: end.last_segment,
        segment_next: SegmentId::new(newest.get() + 1),
        generation_next: newest_generation + 1,
        live: files.live,
        recyclable: files.recyclable,
        removable: files.removable,
    };
    recovered.assert_invariants();
    Ok(recovered)
}

/// Walks the chain of blocks through all segments of the log.
fn follow_chain<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    links: &[SegmentHeader],
    mut visit: impl FnMut(RecordView<'_>),
) -> Result<End, OpenError> {
    debug_assert!(!links.is_empty(), "a log without a segment is new");
    let mut walk = Walk::new(options);
    for (index, header) in links.iter().enumerate() {
        let image =
            disk.image(header.segment).map_err(io_error("read", disk.describe(Some(header.segment))))?;
        if image.len() as u64 != u64::from(header.size) {
            let facts = Facts { segment_bad: true, ..Facts::default() };
            let detail = "the file changed its size while it was read";
            return Err(refusal(disk, facts, header.segment, 0, detail));
        }
        let scan = Scan {
            bytes: &image,
            header,
            key: ChecksumKey::new(&options.tag, options.core, header.generation),
        };
        walk.segment(&scan, links.get(index + 1), &mut visit);
    }
    Ok(walk.finish(links))
}

/// The files of a log, by what becomes of them.
struct SortedFiles {
    live: BTreeMap<SegmentId, u64>,
    /// Segments that are not part of the log any more, newest first.
    outside: Vec<SegmentId>,
    recyclable: Vec<SegmentId>,
    removable: Vec<SegmentId>,
}

/// Sorts all files into those that belong to the log, whose last segment is `last`, and those that can be
/// reused or removed.
fn sort_files<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    ids: &[SegmentId],
    links: &[SegmentHeader],
    last: SegmentId,
) -> Result<SortedFiles, OpenError> {
    let from = options.replay_from.unwrap_or(SegmentId::new(0));
    let inside: BTreeSet<_> = links.iter().map(|header| header.segment).filter(|&id| id <= last).collect();
    let outside: Vec<_> =
        ids.iter().rev().copied().filter(|&id| id >= from && !inside.contains(&id)).collect();
    let (mut recyclable, mut removable) = (Vec::new(), Vec::new());
    for &id in &outside {
        let head = disk.head(id).map_err(io_error("read", disk.describe(Some(id))))?;
        let usable = head.size == u64::from(options.segment_bytes);
        if usable { recyclable.push(id) } else { removable.push(id) }
    }
    let mut live: BTreeMap<_, _> = links
        .iter()
        .filter(|header| inside.contains(&header.segment))
        .map(|header| (header.segment, header.generation))
        .collect();
    for &id in ids.iter().filter(|&&id| id < from) {
        live.insert(id, read_header(disk, options, id)?.generation);
    }
    assert!(live.len() + outside.len() == ids.len(), "every file is kept or not");
    assert!(recyclable.len() + removable.len() == outside.len(), "every file outside is reused or removed");
    Ok(SortedFiles { live, outside, recyclable, removable })
}

impl Recovered {
    /// What holds however damaged the files were: otherwise recovery has refused them.
    fn assert_invariants(&self) {
        assert!(self.previous < self.segment_next, "the log continues in a segment of its own");
        assert!(self.chain.last().sequence == self.continues.sequence, "the chain ends at the last block");
        let newest = self.live.keys().next_back();
        assert!(
            newest.is_none_or(|&newest| newest < self.segment_next),
            "a new segment is named like an old"
        );
        let mut unused = self.recyclable.iter().chain(&self.removable);
        assert!(unused.all(|file| !self.live.contains_key(file)), "a file is needed and not needed");
        assert!(
            self.recyclable.is_sorted_by(|newer, older| newer > older),
            "the newest file is reused first"
        );
    }
}

fn fresh() -> Recovered {
    Recovered {
        report: RecoveryReport::default(),
        continues: Continues { sequence: 0, crc: 0 },
        chain: Chain::default(),
        previous: SegmentId::new(0),
        segment_next: SegmentId::new(1),
        generation_next: 1,
        live: BTreeMap::new(),
        recyclable: Vec::new(),
        removable: Vec::new(),
    }
}

/// The headers of the log's segments in log order, found by following `previous` back from the newest.
fn links<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    ids: &[SegmentId],
    newest: SegmentId,
) -> Result<Vec<SegmentHeader>, OpenError> {
    let mut links: Vec<SegmentHeader> = Vec::new();
    let mut id = newest;
    loop {
        let header = read_header(disk, options, id)?;
        let newer_generation = links.last().map_or(u64::MAX, |newer| newer.generation);
        if header.generation >= newer_generation || header.previous >= id {
            let facts = Facts { segment_bad: true, ..Facts::default() };
            return Err(refusal(disk, facts, id, 0, "its header contradicts that of a newer segment"));
        }
        links.push(header);
        if options.replay_from == Some(id) {
            break;
        }
        let missing = match options.replay_from {
            None if header.previous.get() == 0 => break,
            None => header.previous,
            Some(from) if header.previous < from => from,
            Some(_) => header.previous,
        };
        if ids.binary_search(&header.previous).is_err()
            || header.previous < options.replay_from.unwrap_or_default()
        {
            let facts = Facts { link_broken: true, ..Facts::default() };
            let detail = format!("{} follows upon it, but it is not there", disk.describe(Some(id)));
            return Err(refusal(disk, facts, missing, 0, &detail));
        }
        id = header.previous;
    }
    links.reverse();
    assert!(
        links.is_sorted_by(|older, newer| older.segment < newer.segment && older.generation < newer.generation),
        "segments follow upon each other"
    );
    Ok(links)
}

fn read_header<D: Disk>(
    disk: &mut D,
    options: &WalOptions,
    id: SegmentId,
) -> Result<SegmentHeader, OpenError> {
    let file = disk.describe(Some(id));
    let head = disk.head(id).map_err(io_error("read", file.clone()))?;
    let damaged = |disk: &D, detail: &str| {
        refusal(disk, Facts { segment_bad: true, ..Facts::default() }, id, 0, detail)
    };
    let header = match SegmentHeader::decode(&head.page) {
        Ok(header) => header,
        Err(BadSegmentHeader::Damaged(detail)) => return Err(damaged(disk, detail)),
        Err(BadSegmentHeader::Version(found)) => {
            return Err(OpenError::Version { file, found, expected: FORMAT_VERSION });
        }
    };
    if header.tag != options.tag {
        return Err(OpenError::Foreign { file });
    }
    if header.core != options.core {
        return Err(OpenError::WrongCore { file, found: header.core, expected: options.core });
    }
    if header.segment != id {
        return Err(damaged(disk, &format!("it is named {id} and its header says {}", header.segment)));
    }
    if u64::from(header.size) != head.size
        || header.size < 2 * PAGE_BYTES
        || !header.size.is_multiple_of(PAGE_BYTES)
    {
        return Err(damaged(disk, &format!("it has {} bytes, its header says {}", head.size, header.size)));
    }
    Ok(header)
}

fn refusal<D: Disk>(disk: &D, facts: Facts, segment: SegmentId, offset: u32, detail: &str) -> OpenError {
    let row = facts.decide();
    debug_assert!(row.verdict == Verdict::Refuse, "refused on facts that the table does not refuse");
    OpenError::Corrupt {
        label: row.label,
        segment,
        file: disk.describe(Some(segment)),
        offset: u64::from(offset),
        detail: detail.to_owned(),
    }
}

fn io_error(operation: &'static str, file: String) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { operation, file, source }
}
