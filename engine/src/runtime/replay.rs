//! Opens a core's log and replays it into its shard.

use crate::node::{NodeSetup, RunError};
use crate::random::random;
use crate::runtime::clock;
use crate::runtime::notify::Notify;
use crate::runtime::requester::Requester;
use crate::voice;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use synod_replica::{Replica, ReplicaOptions};
use synod_shard::Shard;
use synod_types::limits::LOG_NOTE_BYTES;
use synod_types::{CoreId, Event, Location, Mono, Nanos, RecordHead, Shared};
use synod_wal::uring::{UringDisk, UringOptions};
use synod_wal::{RecoveryReport, WalOptions, WhenEmpty};

/// The limit on bytes that wait for the disk. Beyond it, accepts from peers are dropped (they are resent) and
/// nothing more is proposed. Client writes wait then, and are refused only when too many wait (P-14b).
///
/// The log itself refuses no record: the machine has already taken the record as written and cannot go back.
/// The sources bound the bytes beyond the limit: the proposals of one step, one promise per group (P-18e),
/// and the entries that one new leader proposes again, which wait in memory anyway.
pub(crate) const LOG_BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Bytes of replayed records that one core may not have told about yet.
const COUNT_BYTES: u64 = 64 << 10;

/// The file that notes that a core's log was begun. Once it exists, an empty log is a lost log.
fn begun_file(setup: &NodeSetup, core: CoreId) -> PathBuf {
    setup.data.path().join(format!("core-{}.begun", core.get()))
}

/// A random seed for jitter and hashing.
pub(crate) fn seed() -> Result<u64, RunError> {
    let bytes = random().map_err(|error| RunError::Failed(format!("cannot draw random bytes: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Opens the core's log, replays it into `shard`, and leaves the log ready to append to. The bytes are counted in
/// `replayed`. Blocks the executor,
/// which has no other work yet.
pub(crate) async fn open(
    me: CoreId,
    setup: &NodeSetup,
    shard: Shard<Shared>,
    turn: Rc<Notify>,
    replayed: &AtomicU64,
) -> Result<Opened, RunError> {
    let failed = |error: &dyn std::fmt::Display| RunError::Failed(format!("core {}: {error}", me.get()));
    let dir = setup.core_dir(me);
    let begun = begun_file(setup, me);
    let used = begun.exists();
    let options = UringOptions { wake: Rc::new(move || turn.notify()), background_cpus: Vec::new() };
    let disk = UringDisk::open(&dir, options).await.map_err(|error| failed(&error))?;
    let mut options = WalOptions::new(me, tag(setup));
    options.segment_bytes = u32::try_from(setup.options.segment_bytes)
        .map_err(|_| failed(&"the segment size does not fit 32 bits"))?;
    // The callers that append keep the bound (`LOG_BACKLOG_BYTES_MAX`).
    options.ram_bytes_max = usize::MAX;
    options.when_empty = if used { WhenEmpty::Refuse } else { WhenEmpty::Create };
    let limits = ReplicaOptions { backlog_bytes_max: LOG_BACKLOG_BYTES_MAX, note_bytes: LOG_NOTE_BYTES };
    let (segments, bytes) = segments_of(&dir);
    voice::tell(me, &Event::LogOpened { segments, bytes });
    let mut progress = Progress::new(me, replayed);
    let seen = |_: &RecordHead, payload: &[u8]| progress.seen(payload.len());
    let opened = Replica::open(disk, options, limits, shard, |at| read_back(&dir, at), seen);
    let (replica, report) = opened.map_err(|error| failed(&error))?;
    progress.end(&report);
    Ok(Opened { replica, begun: (!used).then_some(begun) })
}

/// The number of segment files in a core's directory, and their bytes. Only the operator is told, so a file
/// that cannot be looked at counts as none; recovery says what is wrong with it.
fn segments_of(dir: &Path) -> (u64, u64) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let segments = entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "seg"));
    let sizes = segments.filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
}

/// What the operator and the clients hear of a replay.
struct Progress<'a> {
    me: CoreId,
    /// The bytes that all cores have replayed. They share the count, so each adds to it rarely.
    replayed: &'a AtomicU64,
    uncounted: u64,
    began: Mono,
    said: Mono,
    records: u64,
    bytes: u64,
}

impl<'a> Progress<'a> {
    /// Interval between two lines.
    const INTERVAL: Nanos = Nanos::from_ms(3_000);
    /// Records between two looks at the clock.
    const RECORDS_PER_LOOK: u64 = 1024;

    fn new(me: CoreId, replayed: &'a AtomicU64) -> Self {
        let began = clock::mono();
        Self { me, replayed, uncounted: 0, began, said: began, records: 0, bytes: 0 }
    }

    /// A record with a payload of this size is about to be replayed.
    fn seen(&mut self, payload_bytes: usize) {
        self.records += 1;
        self.bytes += payload_bytes as u64;
        self.uncounted += payload_bytes as u64;
        if self.uncounted >= COUNT_BYTES {
            self.replayed.fetch_add(std::mem::take(&mut self.uncounted), Ordering::Relaxed);
        }
        if !self.records.is_multiple_of(Self::RECORDS_PER_LOOK) {
            return;
        }
        let now = clock::mono();
        if now.since(self.said) >= Self::INTERVAL {
            self.said = now;
            voice::tell(self.me, &Event::ReplayProgress { records: self.records, bytes: self.bytes });
        }
    }

    /// The replay is over.
    fn end(&self, report: &RecoveryReport) {
        let took = clock::mono().since(self.began);
        let (records, bytes) = (report.record_count(), report.record_bytes());
        let segments = report.segments.len() as u64;
        let end = report.tail.as_ref().map_or("new", |tail| tail.label.name());
        voice::tell(self.me, &Event::LogReplayed { records, bytes, segments, took, end });
        if let Some(tail) = report.tail.as_ref().filter(|tail| tail.discarded_count > 0) {
            let (blocks, segment, offset) = (tail.discarded_count, tail.segment, tail.offset);
            voice::tell(self.me, &Event::TailCut { blocks, segment, offset });
        }
    }
}

/// The owner of the log: cluster and incarnation. The incarnation is random per format, so it also identifies
/// the node and this format of its disk.
fn tag(setup: &NodeSetup) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..16].copy_from_slice(&setup.facts().cluster.get().to_le_bytes());
    tag[16..].copy_from_slice(&setup.identity().incarnation.get().to_le_bytes());
    tag
}

/// A core's replica after the replay of its log.
pub(crate) struct Opened {
    /// The replica.
    pub replica: Replica<UringDisk, Requester>,
    /// The file to pass to [`begin`] when the first record is durable, before that is reported to the
    /// replica. `None` if an earlier start of the node has written it.
    pub begun: Option<PathBuf>,
}

/// Notes that this core's log holds a record. This must not happen earlier: a node that is killed before its
/// first segment exists has promised nothing and may start afresh.
pub(crate) fn begin(file: &Path) -> std::io::Result<()> {
    File::create(file)?.sync_all()?;
    let dir = file.parent().expect("the file lies in the data directory");
    File::open(dir)?.sync_all()
}

fn read_back(dir: &Path, location: Location) -> std::io::Result<Vec<u8>> {
    let file = File::open(dir.join(format!("{:010}.seg", location.segment.get())))?;
    let mut bytes = vec![0; location.len as usize];
    file.read_exact_at(&mut bytes, u64::from(location.offset))?;
    Ok(bytes)
}
