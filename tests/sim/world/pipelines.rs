//! Connections that send several writes of one key without waiting for the answers. The writes must be executed
//! in the order in which they were sent, through every change of leader (P-21i); and where it is `strict`, a
//! connection to a node that nothing happens to gets no error.

use super::event::{ClientRequest, SimEvent};
use super::machines::Machines;
use super::timeline::Timeline;
use crate::check::{Checked, Violation};
use crate::sim::client::AttemptId;
use crate::sim::params::Params;
use crate::sim::queue::{Instant, MS, SECOND};
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use synod_types::{
    Command, Condition, Consistency, ErrorKind, Expiry, GroupId, Level, Op, Reply, Shared, Version, checksum,
};

/// Attempts from here on are those of pipelines.
const FIRST_ATTEMPT: AttemptId = 1 << 40;
/// The most writes of one burst.
const BURST_MAX: u64 = 6;

/// One connection, and the burst that is under way on it.
#[derive(Debug)]
struct Pipeline {
    node: usize,
    group: GroupId,
    key: String,
    began: Instant,
    /// By position in the burst: the version that a write got, once it is answered.
    versions: Vec<Option<Version>>,
    open: usize,
    /// What is under way is a read of what was written before.
    is_read: bool,
    /// The version of the last write of an earlier burst that was answered.
    before: Version,
}

/// All pipelines.
#[derive(Debug)]
pub(super) struct Pipelines {
    rng: Rng,
    pipelines: Vec<Pipeline>,
    open: BTreeMap<AttemptId, (usize, usize)>,
    last: AttemptId,
    pause_mean: u64,
    is_strict: bool,
    is_stopped: bool,
    acknowledged: u64,
    /// The longest that a write or a read of a connection to a node which nothing happened to has waited.
    longest: u64,
}

impl Pipelines {
    /// A connection for each group, at each node.
    pub(super) fn new(params: &Params) -> Self {
        let nodes = 0..if params.has_pipelines { usize::from(params.node_count) } else { 0 };
        let pipelines = nodes.flat_map(|node| {
            (1..=params.group_count).map(move |group| Pipeline {
                node,
                group: GroupId::new(group),
                key: format!("pipeline {node}"),
                began: 0,
                versions: Vec::new(),
                open: 0,
                is_read: false,
                before: Version::default(),
            })
        });
        Self {
            rng: Rng::named(params.options.seed, "pipelines"),
            pipelines: pipelines.collect(),
            open: BTreeMap::new(),
            last: FIRST_ATTEMPT,
            pause_mean: 4 * params.load.pause_mean,
            is_strict: params.is_gray,
            is_stopped: false,
            acknowledged: 0,
            longest: 0,
        }
    }

    /// Whether an attempt is one of a pipeline.
    pub(super) fn has(attempt: AttemptId) -> bool {
        attempt >= FIRST_ATTEMPT
    }

    pub(super) fn count(&self) -> usize {
        self.pipelines.len()
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn longest(&self) -> u64 {
        self.longest
    }

    /// No further bursts begin.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
    }

    pub(super) fn any_busy(&self) -> bool {
        !self.open.is_empty()
    }

    /// The next burst of a pipeline.
    pub(super) fn on_burst(&mut self, at: usize, machines: &Machines, time: &mut Timeline) {
        let pipeline = &mut self.pipelines[at];
        if self.is_stopped || pipeline.open > 0 {
            return;
        }
        // Before that level writes may change places, and a node that is down says nothing.
        let level = machines.level(pipeline.node, pipeline.group);
        if level.is_none_or(|level| level < Level::IN_ORDER) {
            return time.queue.after(100 * MS, SimEvent::Burst { pipeline: at });
        }
        pipeline.is_read = self.is_strict && pipeline.before > Version::default() && self.rng.coin();
        let count = if pipeline.is_read { 1 } else { self.rng.between(1, BURST_MAX) as usize };
        (pipeline.began, pipeline.open) = (time.now(), count);
        pipeline.versions = vec![None; count];
        // The bytes of a connection arrive in order.
        let delay = time.client_delay();
        for position in 0..count {
            self.last += 1;
            self.open.insert(self.last, (at, position));
            // Too long for the index: without a copy in the cache it is read from the log.
            let value = if self.is_strict { format!("{:>64}", self.last) } else { self.last.to_string() };
            let value = if pipeline.is_read { Vec::new() } else { value.into_bytes() };
            let value_crc = checksum::crc32c(&value);
            let set =
                Op::Set { value_crc, condition: Condition::Always, expiry: Expiry::None, return_old: false };
            let op = if pipeline.is_read { Op::Get } else { set };
            let key = Shared::new(pipeline.key.clone().into_bytes());
            let request = ClientRequest {
                attempt: self.last,
                group: pipeline.group,
                consistency: Consistency::Linearizable,
                command: Command::new(key, op, Shared::new(value)),
            };
            let (node, request) = (pipeline.node, Box::new(request));
            time.queue.after(delay, SimEvent::Request { node, request });
            // A node that goes down may have read it and not begun it.
            let longest = time.params.timing.request_max.0 * 11 / 10 + 5 * SECOND;
            time.queue.after(longest, SimEvent::GiveUp { attempt: self.last });
        }
    }

    /// An attempt was answered.
    ///
    /// # Errors
    /// When two writes have changed places, or an error is one that nobody should have seen.
    pub(super) fn on_reply(
        &mut self,
        attempt: AttemptId,
        reply: &Reply<Vec<u8>>,
        machines: &Machines,
        time: &mut Timeline,
    ) -> Checked {
        let Some((at, position)) = self.open.remove(&attempt) else { return Ok(()) };
        let pipeline = &mut self.pipelines[at];
        let is_excused = machines.nodes[pipeline.node].trouble_until >= pipeline.began;
        let waited = time.now() - pipeline.began;
        // Not counting the time in which its links brought what they had gathered.
        let awaited = time.now().saturating_sub(machines.nodes[pipeline.node].late_until.max(pipeline.began));
        match reply {
            Reply::Value { version, .. } if pipeline.is_read => {
                if *version < pipeline.before {
                    let (key, before) = (&pipeline.key, pipeline.before);
                    let detail = format!("{key} was read at {version:?}, and written at {before:?} before");
                    return Err(Violation::new("pipeline-order", detail));
                }
                if !is_excused {
                    self.longest = self.longest.max(awaited);
                }
            }
            Reply::Done { version } => {
                self.acknowledged += 1;
                pipeline.versions[position] = Some(*version);
                let before = pipeline.versions[..position].iter().flatten().max();
                let after = pipeline.versions[position + 1..].iter().flatten().min();
                let is_late = before.is_some_and(|before| before >= version) || pipeline.before >= *version;
                if is_late || after.is_some_and(|after| after <= version) {
                    let detail = format!(
                        "write {position} of a burst of {} was executed at {version:?}, after {:?}: {:?}",
                        pipeline.key, pipeline.before, pipeline.versions
                    );
                    return Err(Violation::new("pipeline-order", detail));
                }
                if !is_excused {
                    self.longest = self.longest.max(awaited);
                }
            }
            Reply::Error(kind @ (ErrorKind::Unknown | ErrorKind::NoLeader | ErrorKind::Busy)) => {
                time.observer.coverage.meet("a pipelined write was not answered");
                if self.is_strict && !is_excused {
                    let detail = format!(
                        "{kind:?} after {} ms for a {} at n{}, which was up and in the majority",
                        waited / MS,
                        if pipeline.is_read { "read" } else { "write" },
                        pipeline.node + 1
                    );
                    return Err(Violation::new("error-while-up", detail));
                }
            }
            Reply::Error(ErrorKind::NoSpace) => {}
            other => {
                let asked = if pipeline.is_read { "GET" } else { "SET" };
                return Err(Violation::new("wrong-answer", format!("{asked} was answered {other:?}")));
            }
        }
        self.done(at, time);
        Ok(())
    }

    /// The connection broke, or was refused.
    pub(super) fn on_broken(&mut self, attempt: AttemptId, time: &mut Timeline) {
        if let Some((at, _)) = self.open.remove(&attempt) {
            self.done(at, time);
        }
    }

    fn done(&mut self, at: usize, time: &mut Timeline) {
        let pipeline = &mut self.pipelines[at];
        pipeline.open -= 1;
        if pipeline.open == 0 {
            let last = pipeline.versions.iter().flatten().copied().max();
            pipeline.before = last.unwrap_or(pipeline.before);
            let pause = self.rng.exponential(self.pause_mean);
            time.queue.after(pause, SimEvent::Burst { pipeline: at });
        }
    }
}
