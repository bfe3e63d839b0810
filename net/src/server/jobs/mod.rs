//! Commands that take several asks, one after the other: SCAN, KEYS, RANDOMKEY, DBSIZE and FLUSHALL walk the
//! groups, and so does INFO keyspace; CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT walk one group; APPEND,
//! SETRANGE and INCRBYFLOAT are an `update`.
//!
//! ```text
//!  next() ─▶ a command, of which group ─▶ (shard) ─▶ take(reply) ─▶ nothing: next() again, or the outcome
//! ```
//! While a job runs, the connection parses nothing more, so commands sent after it are executed after it.

mod update;

use super::ask::{LocalQuery, Tag};
use super::config::OwnGroups;
use crate::resp::glob::Pattern;
use crate::resp::plan::Work;
use crate::resp::reply::{Proto, Writer};
use std::collections::{HashSet, VecDeque};
use synod_types::operand::{SCAN_END, scan_page};
use synod_types::{Bucket, Command, ErrorKind, GroupId, Op, Reply, Shared, bucket_of, group_of};
use update::{Update, UpdateError, Updated};
use xxhash_rust::xxh3::xxh3_64;

/// Keys per ask of KEYS and of the walk through a slot.
const KEYS_PAGE: u32 = 1024;
/// A block of gathered keys is closed once it holds this many bytes.
const BLOCK_BYTES: usize = 64 << 10;
/// Groups that one SCAN may look into.
const SCAN_GROUPS_MAX: u16 = 16;
/// A scan's cursor: the group in the upper bits; below them the position within the group, whose upper 16
/// bits are 0.
const POSITION_BITS: u32 = 48;

/// Memory of a digest in a set that is as full as it gets.
const DIGEST_MEMORY: usize = 11;

/// The key that INFO asks for in each group. Whether there is such a key does not matter.
const FRESHEN_KEY: &[u8] = b"keyspace";

/// The groups that a job walks through.
#[derive(Debug)]
pub(super) struct Reach {
    /// Data groups of the cluster; they are numbered from 1.
    pub(super) group_count: u16,
    /// At the port of one core: the groups that a cluster client finds there. SCAN, KEYS and DBSIZE keep to
    /// them, so that a client that asks every master sees each key once.
    pub(super) own: Option<OwnGroups>,
}

impl Reach {
    /// The first group from `group` on that is within reach. A group that is not found is past the end.
    fn from(&self, group: u16) -> u16 {
        let is_within = |group: &u16| self.own.as_ref().is_none_or(|own| own.contain(*group));
        let past_the_end = self.group_count.saturating_add(1).max(group);
        (group..=self.group_count).find(is_within).unwrap_or(past_the_end)
    }
}

/// A job of one connection.
#[derive(Debug)]
pub(super) struct CommandJob {
    pub(super) tag: Tag,
    /// An ask is under way.
    pub(super) asked: bool,
    reach: Reach,
    /// Most bytes that may be gathered.
    bytes_max: usize,
    state: JobState,
}

#[derive(Debug)]
enum JobState {
    Update(Update),
    Scan {
        group: u16,
        position: u64,
        left: u16,
        pattern: Option<Pattern>,
        count: u32,
        strings: bool,
        keys: Gathered,
    },
    Keys {
        group: u16,
        position: u64,
        pattern: Pattern,
        keys: Gathered,
    },
    RandomKey {
        group: u16,
        left: u16,
        draw: u64,
        /// How many times the walk through this group has reached its end.
        ends: u32,
    },
    Count {
        group: u16,
        sum: i64,
    },
    Flush {
        group: u16,
    },
    Freshen {
        group: u16,
        sections: Vec<String>,
    },
    Slot {
        bucket: Bucket,
        position: u64,
        keys_max: Option<u64>,
        keys: Gathered,
        /// Digests of the keys found: a scan that restarts under a new leader shows keys twice.
        seen: HashSet<u64>,
    },
}

/// Keys as they are sent, in blocks. Blocks are written one after the other, and no key is moved when more
/// come.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) count: usize,
    pub(super) blocks: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The memory that the blocks take.
    memory: usize,
}

/// The result of a job.
#[derive(Debug)]
pub(super) enum JobOutcome {
    Ok,
    Int(i64),
    Bulk(Vec<u8>),
    Nil,
    Keys(Gathered),
    Page { cursor: u64, keys: Gathered },
    Error(String),
    Failed(ErrorKind),
}

/// What a job does next.
#[derive(Debug)]
pub(super) enum JobStep {
    /// It asks a group; without one, that of the key.
    Ask(Option<GroupId>, Command<Shared>),
    /// It has done its part: the shell answers the rest.
    Local(LocalQuery),
    /// It is over.
    Over(JobOutcome),
}

impl CommandJob {
    /// `draw` chooses the key of RANDOMKEY.
    pub(super) fn new(tag: Tag, work: Work, reach: Reach, bytes_max: usize, draw: u64) -> Self {
        let count = reach.group_count;
        let state = match work {
            Work::Derive { key, how } => JobState::Update(Update::new(key, how)),
            Work::Scan { cursor, pattern, count: wanted, strings } => JobState::Scan {
                // A cursor that was never given out may name any group: beyond the last group the scan is
                // over.
                group: u16::try_from(cursor >> POSITION_BITS)
                    .map_or(u16::MAX, |group| group.saturating_add(1)),
                position: cursor & ((1 << POSITION_BITS) - 1),
                left: SCAN_GROUPS_MAX,
                pattern,
                count: wanted,
                strings,
                keys: Gathered::default(),
            },
            Work::Keys { pattern } => {
                JobState::Keys { group: 1, position: 0, pattern, keys: Gathered::default() }
            }
            Work::RandomKey => {
                let group = (draw >> 32) % u64::from(count) + 1;
                JobState::RandomKey { group: group as u16, left: count, draw, ends: 0 } // at most `count`
            }
            Work::Count => JobState::Count { group: 1, sum: 0 },
            Work::Flush => JobState::Flush { group: 1 },
            Work::Freshen { sections } => JobState::Freshen { group: 1, sections },
            Work::Slot { bucket, keys_max } => JobState::Slot {
                bucket,
                position: 0,
                keys_max,
                keys: Gathered::default(),
                seen: HashSet::new(),
            },
        };
        Self { tag, asked: false, reach, bytes_max, state }
    }

    /// Whether it begins only when all that was asked before is answered.
    pub(super) fn goes_alone(&self) -> bool {
        matches!(self.state, JobState::Freshen { .. })
    }

    /// Bytes of memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.state {
            JobState::Scan { keys, pattern, .. } => {
                keys.memory + pattern.as_ref().map_or(0, Pattern::held_bytes)
            }
            JobState::Keys { keys, pattern, .. } => keys.memory + pattern.held_bytes(),
            JobState::Slot { keys, seen, .. } => keys.memory + DIGEST_MEMORY * seen.capacity(),
            JobState::Update(update) => update.held_bytes(),
            _ => 0,
        }
    }

    /// Passes over the groups that are out of reach. A group whose walk has begun is walked to its end, even if
    /// its leader has changed meanwhile.
    fn skip_groups(&mut self) {
        match &mut self.state {
            JobState::Scan { group, position: 0, .. }
            | JobState::Keys { group, position: 0, .. }
            | JobState::Count { group, .. } => *group = self.reach.from(*group),
            _ => {}
        }
    }

    /// What comes next.
    pub(super) fn next(&mut self) -> JobStep {
        let of_group =
            |group: u16, op| JobStep::Ask(Some(GroupId::new(group)), Command::plain(Shared::default(), op));
        self.skip_groups();
        match &mut self.state {
            JobState::Update(update) => JobStep::Ask(None, update.next()),
            JobState::Scan { group, keys, .. } if *group > self.reach.group_count => {
                JobStep::Over(JobOutcome::Page { cursor: 0, keys: std::mem::take(keys) })
            }
            JobState::Keys { group, keys, .. } if *group > self.reach.group_count => {
                JobStep::Over(JobOutcome::Keys(std::mem::take(keys)))
            }
            JobState::Count { group, sum } if *group > self.reach.group_count => {
                JobStep::Over(JobOutcome::Int(*sum))
            }
            JobState::Scan { group, position, count, .. } => {
                of_group(*group, Op::Scan { position: *position, count: *count })
            }
            JobState::Keys { group, position, .. } => {
                of_group(*group, Op::Scan { position: *position, count: KEYS_PAGE })
            }
            JobState::RandomKey { group, draw, .. } => of_group(*group, Op::RandomKey { draw: *draw }),
            JobState::Count { group, .. } => of_group(*group, Op::CountKeys),
            JobState::Flush { group } => of_group(*group, Op::Flush),
            JobState::Freshen { group, sections } if *group > self.reach.group_count => {
                JobStep::Local(LocalQuery::Info { sections: std::mem::take(sections) })
            }
            // A replica answers this from its own state, once that is as new as the question.
            JobState::Freshen { group, .. } => {
                let key = Shared::new(FRESHEN_KEY.to_vec());
                JobStep::Ask(Some(GroupId::new(*group)), Command::plain(key, Op::Exists))
            }
            JobState::Slot { keys_max: Some(0), .. } => JobStep::Over(JobOutcome::Keys(Gathered::default())),
            JobState::Slot { bucket, position, .. } => of_group(
                group_of(*bucket, self.reach.group_count).get(),
                Op::Scan { position: *position, count: KEYS_PAGE },
            ),
        }
    }

    /// Takes the reply to the last ask. Returns the answer, if the job is over.
    pub(super) fn take(&mut self, reply: Reply<&[u8]>) -> Option<JobOutcome> {
        self.asked = false;
        if let JobState::Freshen { group, .. } = &mut self.state {
            // Without a leader INFO says what this node has, and does not wait for the other groups.
            *group = if matches!(reply, Reply::Error(_)) { u16::MAX } else { *group + 1 };
            return None;
        }
        if let Reply::Error(kind) = reply {
            let in_part =
                matches!(self.state, JobState::Flush { group } if group > 1) && kind != ErrorKind::Unknown;
            let error = "UNKNOWN some groups were flushed and some were not".to_owned();
            return Some(if in_part { JobOutcome::Error(error) } else { JobOutcome::Failed(kind) });
        }
        match (&mut self.state, reply) {
            (JobState::Update(update), reply) => match update.take(reply) {
                Ok(None) => None,
                Ok(Some(Updated::Length(length))) => {
                    Some(JobOutcome::Int(i64::try_from(length).unwrap_or(i64::MAX)))
                }
                Ok(Some(Updated::Value(value))) => Some(JobOutcome::Bulk(value)),
                Err(UpdateError::Refused(error)) => Some(JobOutcome::Error(error.into_owned())),
                Err(UpdateError::Failed(kind)) => Some(JobOutcome::Failed(kind)),
            },
            (
                JobState::Scan { .. } | JobState::Keys { .. } | JobState::Slot { .. },
                Reply::Value { value, .. },
            ) => self.take_page(value),
            (JobState::RandomKey { .. }, Reply::Value { value, .. }) => {
                Some(JobOutcome::Bulk(value.to_vec()))
            }
            // No key was found among the first ones: the walk goes on from `next`. After its second end it
            // has seen the whole group, whatever has changed meanwhile.
            (JobState::RandomKey { draw, ends, .. }, Reply::Int(next)) if *ends < 2 => {
                *draw = next.cast_unsigned();
                *ends += u32::from(next == 0);
                None
            }
            (JobState::RandomKey { group, left, ends, .. }, Reply::Nil | Reply::Int(_)) => {
                *left -= 1;
                *ends = 0;
                *group = *group % self.reach.group_count + 1;
                (*left == 0).then_some(JobOutcome::Nil)
            }
            (JobState::Count { group, sum }, Reply::Int(count)) => {
                *sum = sum.saturating_add(count);
                *group = self.reach.from(*group + 1);
                (*group > self.reach.group_count).then_some(JobOutcome::Int(*sum))
            }
            (JobState::Flush { group }, Reply::Done { .. }) => {
                *group += 1;
                (*group > self.reach.group_count).then_some(JobOutcome::Ok)
            }
            _ => Some(JobOutcome::Failed(ErrorKind::Unknown)), // not an answer to this question
        }
    }

    fn take_page(&mut self, page: &[u8]) -> Option<JobOutcome> {
        let Some((next, found)) = scan_page(page) else {
            return Some(JobOutcome::Failed(ErrorKind::ReadFailed));
        };
        let reach = &self.reach;
        let group_count = reach.group_count;
        let step = |group: &mut u16, position: &mut u64| {
            let ended = next == SCAN_END;
            (*group, *position) = if ended { (reach.from(*group + 1), 0) } else { (*group, next) };
            ended
        };
        match &mut self.state {
            JobState::Keys { group, position, pattern, keys } => {
                keys.gather(found.filter(|key| pattern.fits(key)));
                if keys.bytes > self.bytes_max {
                    let limit = size_text(self.bytes_max);
                    return Some(JobOutcome::Error(format!(
                        "ERR the reply would be larger than {limit}; use SCAN"
                    )));
                }
                step(group, position);
                (*group > group_count).then(|| JobOutcome::Keys(std::mem::take(keys)))
            }
            JobState::Scan { group, position, left, pattern, count, strings, keys } => {
                let fits = |key: &&[u8]| *strings && pattern.as_ref().is_none_or(|pattern| pattern.fits(key));
                let mut seen = 0_u32;
                keys.gather(found.inspect(|_| seen += 1).filter(fits));
                *count = count.saturating_sub(seen);
                let ended = step(group, position);
                *left -= 1;
                if ended && *count > 0 && *left > 0 && *group <= group_count {
                    return None; // few keys so far: the next group
                }
                let over = *group > group_count;
                let cursor = if over { 0 } else { u64::from(*group - 1) << POSITION_BITS | *position };
                Some(JobOutcome::Page { cursor, keys: std::mem::take(keys) })
            }
            JobState::Slot { bucket, position, keys_max, keys, seen } => {
                let wanted = keys_max.unwrap_or(u64::MAX);
                for key in found.filter(|key| bucket_of(key) == *bucket) {
                    if (seen.len() as u64) < wanted && seen.insert(xxh3_64(key)) && keys_max.is_some() {
                        keys.gather(core::iter::once(key));
                    }
                }
                if slot_bytes(keys, seen) > self.bytes_max {
                    let limit = size_text(self.bytes_max);
                    return Some(JobOutcome::Error(format!(
                        "ERR the slot holds more keys than fit into {limit}; use SCAN"
                    )));
                }
                *position = next;
                let found = seen.len() as u64;
                (next == SCAN_END || found >= wanted).then(|| match keys_max {
                    Some(_) => JobOutcome::Keys(std::mem::take(keys)),
                    None => JobOutcome::Int(i64::try_from(found).unwrap_or(i64::MAX)),
                })
            }
            _ => Some(JobOutcome::Failed(ErrorKind::Unknown)),
        }
    }
}

/// A limit in words.
fn size_text(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}

/// Bytes gathered while the keys of a slot are collected.
fn slot_bytes(keys: &Gathered, seen: &HashSet<u64>) -> usize {
    keys.bytes + 2 * size_of::<u64>() * seen.len()
}

impl Gathered {
    fn gather<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) {
        for key in keys {
            if self.blocks.back().is_none_or(|block| block.len() >= BLOCK_BYTES) {
                self.blocks.push_back(Vec::new());
            }
            let Some(block) = self.blocks.back_mut() else { return };
            let (before, memory) = (block.len(), block.capacity());
            // A bulk string is the same in both protocol versions.
            Writer::new(block, Proto::Resp2).bulk(key);
            self.bytes += block.len() - before;
            self.memory += block.capacity() - memory;
            self.count += 1;
        }
    }
}
