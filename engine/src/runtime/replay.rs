//! From a log on disk to a shard that knows what it knew.

use crate::node::{NodeSetup, RunError};
use crate::random::random;
use crate::runtime::notify::Notify;
use std::collections::VecDeque;
use std::fs::File;
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
    let bytes = random().map_err(|error| RunError::Failed(format!("cannot draw random bytes: {error}")))?;
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
            unreadable =
                replay_record(&mut shard, record.bytes, record.location, |at| read_back(&dir, at)).err();
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

fn replay_record(
    shard: &mut Shard<Shared>,
    bytes: &[u8],
    at: Location,
    mut read: impl FnMut(Location) -> std::io::Result<Vec<u8>>,
) -> Result<(), String> {
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
    shard
        .replay(head, Shared::new(payload.to_vec()), payload_at, &mut note)
        .map_err(|error| format!("the record at {at:?}: {error}"))?;
    // A command in the entry needs an old value (SET … GET in a session), or entries that lay above a gap are applied now. They lie in
    // the part of the log that was read.
    while let Some((token, location)) = wanted.pop_front() {
        let result = read(location).map(Shared::new).map_err(|error| format!("{location:?}: {error}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use synod_shard::{AheadLimits, Leadership, ShardConfig, Timing};
    use synod_types::{
        Ballot, Boot, Command, Condition, EntryBuilder, Expiry, GroupConfig, GroupId, Level, Members, NodeId,
        Op, RecordKind, SegmentId, Slot, Then, WallMs, checksum::crc32c,
    };

    const NODE: NodeId = NodeId::new(1);
    const GROUP: GroupId = GroupId::new(1);
    /// Longer than what the store keeps beside a key.
    const VALUE: usize = 3000;

    fn shard() -> Shard<Shared> {
        let group = GroupConfig {
            group: GROUP,
            node: NODE,
            members: Members::majority(vec![NODE]),
            preferred: NODE,
            priority_rank: 0,
        };
        Shard::new(ShardConfig {
            node: NODE,
            core: CoreId::new(0),
            groups: vec![group],
            timing: Timing::default(),
            cache_bytes: 1,
            pending_bytes_max: 1 << 20,
            log_backlog_bytes_max: 1 << 20,
            pipeline_slots: 4,
            leadership: Leadership::Stay,
            ahead: AheadLimits::default(),
            level: Level::OWN,
            boot: Boot { counter: 1, random: 1 },
            seed: 7,
        })
    }

    /// The bytes of a log that holds one entry per list of commands, all chosen, and where each record lies.
    fn log(entries: Vec<Vec<Command<Shared>>>) -> (Vec<u8>, Vec<Location>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for (number, commands) in (1..).zip(entries) {
            let mut entry = EntryBuilder::new();
            for command in commands {
                entry.push(command);
            }
            let head = RecordHead {
                kind: RecordKind::Learned,
                group: GROUP,
                slot: Slot::new(number),
                ballot: Ballot::new(1, NODE),
                chosen: Slot::new(number - 1),
                number,
            };
            let record = [&head.encode()[..], &entry.finish(head.ballot, WallMs(1_000))].concat();
            let offset = bytes.len() as u32;
            places.push(Location { segment: SegmentId::new(1), offset, len: record.len() as u32 });
            bytes.extend(record);
        }
        (bytes, places)
    }

    fn shared(bytes: &[u8]) -> Shared {
        Shared::new(bytes.to_vec())
    }

    fn set(key: &str, fill: u8) -> Command<Shared> {
        let value = [fill; VALUE];
        let op = Op::Set {
            value_crc: crc32c(&value),
            condition: Condition::Always,
            expiry: Expiry::None,
            return_old: false,
        };
        Command::new(shared(key.as_bytes()), op, shared(&value))
    }

    /// Deletes the key if it has this value: a replay has to look.
    fn unset(key: &str, fill: u8) -> Command<Shared> {
        Command::new(shared(key.as_bytes()), Op::IfEqual { then: Then::Delete }, shared(&[fill; VALUE]))
    }

    #[test]
    fn every_read_that_one_record_asks_for_is_answered() {
        let keys = ["a", "b", "c"];
        let (bytes, places) =
            log(vec![keys.map(|key| set(key, 1)).to_vec(), keys.map(|key| unset(key, 1)).to_vec()]);
        let mut shard = shard();
        let mut reads = Vec::new();
        for at in places {
            let record = &bytes[at.offset as usize..][..at.len as usize];
            let mut read = |at: Location| {
                reads.push(at.len as usize);
                Ok(bytes[at.offset as usize..][..at.len as usize].to_vec())
            };
            replay_record(&mut shard, record, at, &mut read).unwrap();
        }
        assert_eq!(reads, [VALUE; 3], "each value that was compared was read back");
        shard.start(Now::default()); // panics where a read is owed
    }

    #[test]
    fn a_read_that_fails_stops_the_start_and_says_where() {
        let (bytes, places) = log(vec![vec![set("key", 1)], vec![unset("key", 1)]]);
        let mut shard = shard();
        let mut said = Ok(());
        for at in places {
            let record = &bytes[at.offset as usize..][..at.len as usize];
            let fails = |_| Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            said = said.and_then(|()| replay_record(&mut shard, record, at, fails));
        }
        let said = said.unwrap_err();
        assert!(said.contains("seg1") && said.contains("end of file"), "{said}");
    }
}
