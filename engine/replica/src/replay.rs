//! Opens the log of a replica and replays it into the shard.

use std::collections::VecDeque;
use std::io;
use synod_shard::{Effect, Input, ReadToken, Shard};
#[cfg(feature = "canary")]
use synod_types::GroupId;
use synod_types::record::RECORD_HEAD_BYTES;
use synod_types::{Location, Now, RecordHead, Shared};
use synod_wal::{Disk, RecoveryReport, Wal, WalOptions};

/// Why a replica does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] synod_wal::OpenError),
    /// A record of the log cannot be replayed.
    #[error("{0}")]
    Replay(String),
}

/// Opens the log on `disk` and replays it into `shard`, which must be new. If replay needs bytes of earlier
/// records, `read_back` reads them. Each record is shown to `seen` first. Blocks.
pub(crate) fn open_log<D: Disk>(
    disk: D,
    log: WalOptions,
    shard: &mut Shard<Shared>,
    mut read_back: impl FnMut(Location) -> io::Result<Vec<u8>>,
    mut seen: impl FnMut(&RecordHead, &[u8]),
) -> Result<(Wal<D>, RecoveryReport), OpenError> {
    let mut wrong = None;
    let opened = Wal::open(disk, log, |record| {
        if wrong.is_some() {
            return;
        }
        let at = record.location;
        let Some((head, payload)) = RecordHead::decode(record.bytes) else {
            wrong = Some(format!(
                "the record at {at:?} is of a kind this version does not know; run the version that wrote it"
            ));
            return;
        };
        seen(&head, payload);
        #[cfg(feature = "canary")]
        if shard.canary() == Some(synod_shard::Canary::ReplaySkipsGroup) && head.group == GroupId::new(1) {
            return;
        }
        wrong = replay_one(shard, head, payload, at, &mut read_back).err();
    })?;
    wrong.map_or(Ok(opened), |wrong| Err(OpenError::Replay(wrong)))
}

/// Replays one record and answers the reads that it asks for: an old value that a command of the entry needs
/// (SET … GET in a session), or entries above a former gap that are applied now. They are in the part of the
/// log that was read already.
fn replay_one(
    shard: &mut Shard<Shared>,
    head: RecordHead,
    payload: &[u8],
    at: Location,
    read_back: &mut impl FnMut(Location) -> io::Result<Vec<u8>>,
) -> Result<(), String> {
    let offset = RECORD_HEAD_BYTES as u32;
    assert!(at.len as usize == RECORD_HEAD_BYTES + payload.len(), "a record is its head and its payload");
    let payload_at = at.part(offset, at.len - offset);
    let mut wanted: VecDeque<(ReadToken, Location)> = VecDeque::new();
    let mut note = |effect: Effect<'_, Shared>| wanted.extend(read_of(&effect));
    shard
        .replay(head, Shared::new(payload.to_vec()), payload_at, &mut note)
        .map_err(|error| format!("the record at {at:?}: {error}"))?;
    while let Some((token, location)) = wanted.pop_front() {
        let bytes = read_back(location).map_err(|error| format!("{location:?}: {error}"))?;
        let input = Input::ReadDone { token, result: Ok(Shared::new(bytes)) };
        let mut note = |effect: Effect<'_, Shared>| wanted.extend(read_of(&effect));
        shard.step(input, Now::default(), &mut note);
    }
    assert!(shard.undurable() == 0, "replay wrote a record");
    Ok(())
}

/// The read that replay asks for; it asks for nothing else.
fn read_of(effect: &Effect<'_, Shared>) -> Option<(ReadToken, Location)> {
    match *effect {
        Effect::Read { token, location } | Effect::ReadEntry { token, location } => Some((token, location)),
        ref other => panic!("replay asks for nothing but reads: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_shard::{AheadLimits, Leadership, ShardConfig, Timing};
    use synod_types::{
        Ballot, Boot, Command, Condition, CoreId, EntryBuilder, Expiry, GroupConfig, IfEqualAction, Level,
        Members, NodeId, Op, RecordKind, SegmentId, Slot, WallMs, checksum::crc32c,
    };

    const NODE: NodeId = NodeId::new(1);
    const GROUP: synod_types::GroupId = synod_types::GroupId::new(1);
    /// Longer than the values that the store's index holds itself.
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

    /// Deletes the key if it has this value, which replay must read back.
    fn unset(key: &str, fill: u8) -> Command<Shared> {
        Command::new(
            shared(key.as_bytes()),
            Op::IfEqual { then: IfEqualAction::Delete },
            shared(&[fill; VALUE]),
        )
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
            let (head, payload) = RecordHead::decode(record).unwrap();
            let mut read = |at: Location| {
                reads.push(at.len as usize);
                Ok(bytes[at.offset as usize..][..at.len as usize].to_vec())
            };
            replay_one(&mut shard, head, payload, at, &mut read).unwrap();
        }
        assert_eq!(reads, [VALUE; 3], "each value that was compared was read back");
        shard.start(Now::default()); // panics if a read is not answered
    }

    #[test]
    fn a_read_that_fails_stops_the_start_and_says_where() {
        let (bytes, places) = log(vec![vec![set("key", 1)], vec![unset("key", 1)]]);
        let mut shard = shard();
        let mut said = Ok(());
        for at in places {
            let record = &bytes[at.offset as usize..][..at.len as usize];
            let (head, payload) = RecordHead::decode(record).unwrap();
            let fails = |_| Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            said = said.and_then(|()| replay_one(&mut shard, head, payload, at, &mut { fails }));
        }
        let said = said.unwrap_err();
        assert!(said.contains("seg1") && said.contains("end of file"), "{said}");
    }
}
