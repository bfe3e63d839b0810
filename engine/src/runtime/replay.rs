//! From a log on disk to a shard that knows what it knew.

use crate::node::{NodeSetup, RunError};
use crate::random::random;
use crate::runtime::io::{LOG_BACKLOG_BYTES_MAX, Requester};
use crate::runtime::notify::Notify;
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

/// Where it is noted that a core's log was begun: from then on an empty log is a lost one.
fn begun_file(setup: &NodeSetup, core: CoreId) -> PathBuf {
    setup.data.path().join(format!("core-{}.begun", core.get()))
}

/// A seed for jitter and hashing.
pub(crate) fn seed() -> Result<u64, RunError> {
    let bytes = random().map_err(|error| RunError::Failed(format!("cannot draw random bytes: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Opens the core's log, replays it into `shard`, and leaves the log ready to go on. Blocks the executor, which does nothing
/// else yet.
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
    // Who appends keeps the bound (`io::LOG_BACKLOG_BYTES_MAX`).
    options.ram_bytes_max = usize::MAX;
    options.when_empty = if used { WhenEmpty::Refuse } else { WhenEmpty::Create };
    let limits = ReplicaOptions { backlog_bytes_max: LOG_BACKLOG_BYTES_MAX, note_bytes: LOG_NOTE_BYTES };
    let opened = Replica::open(disk, options, limits, shard, |at| read_back(&dir, at), |_, _| ());
    let (replica, report) = opened.map_err(|error| failed(&error))?;
    eprintln!("synod: core {}: log: {report}", me.get());
    Ok(Opened { replica, begun: (!used).then_some(begun) })
}

/// Whose log it is: cluster and incarnation, which is random per format and so names node and life too.
fn tag(setup: &NodeSetup) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..16].copy_from_slice(&setup.facts().cluster.get().to_le_bytes());
    tag[16..].copy_from_slice(&setup.identity().incarnation.get().to_le_bytes());
    tag
}

/// A core's machine, which knows what its log says.
pub(crate) struct Opened {
    /// The machine.
    pub replica: Replica<UringDisk, Requester>,
    /// To be given to [`begin`] when the first record is durable and before anybody is told; nothing where that was done in
    /// an earlier life.
    pub begun: Option<PathBuf>,
}

/// Remembers that this core's log holds something. Not earlier: a node that is killed before its first segment exists has
/// promised nothing and may begin anew.
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
