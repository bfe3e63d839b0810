//! Opens a core's log and replays it into its shard.

use crate::node::{NodeSetup, RunError};
use crate::random::random;
use crate::runtime::notify::Notify;
use crate::runtime::requester::Requester;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use synod_replica::{Replica, ReplicaOptions};
use synod_shard::Shard;
use synod_types::limits::LOG_NOTE_BYTES;
use synod_types::{CoreId, Location, Shared};
use synod_wal::uring::{UringDisk, UringOptions};
use synod_wal::{WalOptions, WhenEmpty};

/// The limit on bytes that wait for the disk. Beyond it, accepts from peers are dropped (they are resent) and
/// nothing more is proposed. Client writes wait then, and are refused only when too many wait (P-14b).
///
/// The log itself refuses no record: the machine has already taken the record as written and cannot go back.
/// The sources bound the bytes beyond the limit: the proposals of one step, one promise per group (P-18e),
/// and the entries that one new leader proposes again, which wait in memory anyway.
pub(crate) const LOG_BACKLOG_BYTES_MAX: usize = 64 << 20;

/// The file that notes that a core's log was begun. Once it exists, an empty log is a lost log.
fn begun_file(setup: &NodeSetup, core: CoreId) -> PathBuf {
    setup.data.path().join(format!("core-{}.begun", core.get()))
}

/// A random seed for jitter and hashing.
pub(crate) fn seed() -> Result<u64, RunError> {
    let bytes = random().map_err(|error| RunError::Failed(format!("cannot draw random bytes: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Opens the core's log, replays it into `shard`, and leaves the log ready to append to. Blocks the executor,
/// which has no other work yet.
pub(crate) async fn open(
    me: CoreId,
    setup: &NodeSetup,
    shard: Shard<Shared>,
    turn: Rc<Notify>,
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
    let opened = Replica::open(disk, options, limits, shard, |at| read_back(&dir, at), |_, _| ());
    let (replica, report) = opened.map_err(|error| failed(&error))?;
    eprintln!("synod: core {}: log: {report}", me.get());
    Ok(Opened { replica, begun: (!used).then_some(begun) })
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
