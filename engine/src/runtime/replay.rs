//! From a log on disk to a shard that knows what it knew.

use crate::node::{NodeSetup, RunError};
use crate::runtime::notify::Notify;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use synod_shard::{Effect, Input, Shard};
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{CoreId, Location, Now, RecordHead, Shared};
use synod_wal::uring::{UringDisk, UringOptions};
use synod_wal::{Wal, WalOptions, WhenEmpty};

/// Where it is noted that a core's log was begun: from then on an empty log is a lost one.
fn begun_file(setup: &NodeSetup, core: CoreId) -> PathBuf {
    setup.data.path().join(format!("core-{}.begun", core.get()))
}

/// A seed for jitter and hashing.
pub(crate) fn seed() -> Result<u64, RunError> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| RunError::Failed(format!("cannot draw random bytes: {error}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Opens the core's log, replays it into `shard`, and leaves the log ready to go on. Blocks the executor, which does nothing
/// else yet.
pub(crate) async fn open(
    me: CoreId,
    setup: &NodeSetup,
    mut shard: Shard<Shared>,
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
    let mut unreadable = None;
    let opened = Wal::open(disk, options, |record| {
        if unreadable.is_none() {
            unreadable = replay_record(&mut shard, &dir, record.bytes, record.location).err();
        }
    });
    let (wal, report) = opened.map_err(|error| failed(&error))?;
    if let Some(error) = unreadable {
        return Err(failed(&error));
    }
    eprintln!("synod: core {}: log: {report}", me.get());
    Ok(Opened { wal, shard, begun: (!used).then_some(begun) })
}

/// Whose log it is: cluster and incarnation, which is random per format and so names node and life too.
fn tag(setup: &NodeSetup) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..16].copy_from_slice(&setup.facts().cluster.get().to_le_bytes());
    tag[16..].copy_from_slice(&setup.identity().incarnation.get().to_le_bytes());
    tag
}

/// A core's log, open, and what it says.
pub(crate) struct Opened {
    /// The log.
    pub wal: Wal<UringDisk>,
    /// The shard that knows what the log says.
    pub shard: Shard<Shared>,
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

fn replay_record(shard: &mut Shard<Shared>, dir: &Path, bytes: &[u8], at: Location) -> Result<(), String> {
    let (head, payload) = RecordHead::decode(bytes).ok_or_else(|| {
        format!("the record at {at:?} is of a kind this version does not know; run the version that wrote it")
    })?;
    let offset = RECORD_HEAD_BYTES as u32;
    let payload_at = at.part(offset, at.len - offset);
    let mut wanted = VecDeque::new();
    let mut note = |effect: Effect<'_, Shared>| {
        if let Effect::Read { token, location } | Effect::ReadEntry { token, location } = effect {
            wanted.push_back((token, location));
        }
    };
    shard.replay(head, Shared::new(payload.to_vec()), payload_at, &mut note);
    // A command in the entry needs an old value (SET … GET in a session), or entries that lay above a gap are applied now. They lie in
    // the part of the log that was read.
    while let Some((token, location)) = wanted.pop_front() {
        let result =
            read_back(dir, location).map(Shared::new).map_err(|error| format!("{location:?}: {error}"))?;
        let mut note = |effect: Effect<'_, Shared>| {
            if let Effect::Read { token, location } | Effect::ReadEntry { token, location } = effect {
                wanted.push_back((token, location));
            }
        };
        shard.step(Input::ReadDone { token, result: Ok(result) }, Now::default(), &mut note);
    }
    Ok(())
}

fn read_back(dir: &Path, location: Location) -> std::io::Result<Vec<u8>> {
    let file = File::open(dir.join(format!("{:010}.seg", location.segment.get())))?;
    let mut bytes = vec![0; location.len as usize];
    file.read_exact_at(&mut bytes, u64::from(location.offset))?;
    Ok(bytes)
}
