//! The open requests of a RESP connection: the slots of replies, a command on many keys that is asked part by
//! part, and a job that has the connection to itself.

use super::ask::{Ask, LocalAnswer, LocalQuery, Tag};
use super::config::{ConnectionConfig, Limits, ServerConfig};
use super::counts::CommandCounts;
use super::jobs::{CommandJob, JobOutcome, JobStep, Reach};
use super::responder::Responder;
use super::shapes::error_text;
use super::slots::Slots;
use crate::resp::parser::Args;
use crate::resp::plan::{Many, ReplyShape, Work};
use crate::resp::reply::{Proto, Writer};
use synod_types::checksum::crc32c;
use synod_types::{Bucket, Command, Consistency, Reply, Shared};

/// The open requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Slots,
    parts: Option<Parts>,
    job: Option<Box<CommandJob>>,
    /// Number of jobs so far: RANDOMKEY draws from it.
    jobs: u64,
}

/// A command on many keys whose parts are being asked.
#[derive(Debug)]
struct Parts {
    tag: Tag,
    many: Many,
    arguments: Shared,
    ranges: Vec<(u32, u32)>,
    /// The argument where the next part begins.
    next: usize,
}

impl Parts {
    fn argument(&self, index: usize) -> Shared {
        let (start, len) = self.ranges[index];
        self.arguments.slice(start as usize, len as usize)
    }

    fn held_bytes(&self) -> usize {
        self.arguments.len() + self.ranges.capacity() * size_of::<(u32, u32)>()
    }
}

impl Requests {
    /// Nothing is open yet; error lines are counted in `counts`.
    pub(super) fn new(counts: CommandCounts) -> Self {
        Self { slots: Slots::new(counts), ..Self::default() }
    }

    /// The command called `name` comes now; it is refused unless it `is_called`, that is, taken up.
    pub(super) fn comes(&mut self, name: &'static str, is_called: bool) {
        self.slots.comes(name, is_called);
    }

    /// Writes the reply to the command at hand in its place.
    pub(super) fn responder<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Responder<'a> {
        Responder::new(&mut self.slots, out)
    }

    /// Opens one command on a key. If it `may_redirect`, the client may be sent elsewhere instead of being
    /// served here.
    pub(super) fn open_one(&mut self, name: &'static str, shape: ReplyShape, may_redirect: bool) -> Tag {
        let tag = self.slots.open_one(name, shape);
        if may_redirect {
            self.slots.let_redirect(tag);
        }
        tag
    }

    /// Opens a command on many keys: `next` asks its parts one by one.
    pub(super) fn open_parts(&mut self, limits: &Limits, name: &'static str, many: Many, args: &Args<'_>) {
        assert!(self.parts.is_none(), "one command is taken apart at a time");
        let count = (args.len() - 1) / many.stride();
        let tag = self.slots.open_many(name, many, count, limits.out_bytes_soft);
        let arguments = Shared::new(args.bytes().to_vec());
        self.parts = Some(Parts { tag, many, arguments, ranges: args.ranges().to_vec(), next: 1 });
    }

    /// Opens a job. Nothing more is parsed until the job is done.
    pub(super) fn open_job(
        &mut self,
        config: &ConnectionConfig,
        name: &'static str,
        work: Work,
        may_redirect: bool,
    ) {
        assert!(self.job.is_none(), "one job at a time");
        let tag = self.slots.open_job(name);
        if may_redirect {
            self.slots.let_redirect(tag);
        }
        self.jobs += 1;
        let draw = scatter(config.id.rotate_left(32) ^ self.jobs);
        let reach = Reach {
            group_count: config.server.info.group_count.max(1),
            own: config.is_core_port.then(|| config.server.own_groups.clone()),
        };
        let bytes_max = config.server.limits.gathered_bytes_max;
        self.job = Some(Box::new(CommandJob::new(tag, work, reach, bytes_max, draw)));
    }

    /// Opens a question that only the shell can answer.
    pub(super) fn open_local(&mut self, query: LocalQuery) -> Tag {
        self.slots.open_local(query)
    }

    /// The protocol version of the replies to the commands that come now.
    pub(super) fn proto(&self) -> Proto {
        self.slots.proto()
    }

    /// Sets whether the replies to the commands that come now are left out.
    pub(super) fn mute(&mut self, is_muted: bool) {
        self.slots.mute(is_muted);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.slots.len() == 0 && self.parts.is_none() && self.job.is_none()
    }

    /// Whether the reply to `tag` would be the next one to be written.
    pub(super) fn is_next(&self, tag: Tag) -> bool {
        self.slots.is_next(tag)
    }

    /// Bytes of memory that it holds.
    /// Bytes of answers that wait for their turn.
    pub(super) fn parked_bytes(&self) -> usize {
        self.slots.parked_bytes()
    }

    pub(super) fn held_bytes(&self) -> usize {
        let parts = self.parts.as_ref().map_or(0, Parts::held_bytes);
        let job = self.job.as_ref().map_or(0, |job| job.held_bytes());
        self.slots.held_bytes() + parts + job
    }

    /// Frees the memory that is kept for later requests, if nothing is open.
    pub(super) fn shrink(&mut self) {
        self.slots.shrink();
    }

    pub(super) fn is_full(&self, limits: &Limits, out_len: usize) -> bool {
        // A job has the connection to itself, and so has a long reply.
        self.job.is_some()
            || self.slots.is_in_pieces()
            || self.slots.len() >= limits.open_asks_max
            || self.slots.open() >= limits.open_asks_max
            || out_len + self.slots.parked_bytes() >= limits.out_bytes_soft
    }

    /// Continues a long reply whose turn it is. Returns whether nothing else can be done before more of it has
    /// left. Parts that are not asked yet can be asked meanwhile.
    pub(super) fn write_on(&mut self, out: &mut Vec<u8>) -> bool {
        if self.slots.is_in_pieces() {
            self.slots.write_on(out);
        }
        self.parts.is_none() && self.slots.is_in_pieces()
    }

    /// The next ask of the open requests: `None` when there is none, `Some(None)` when it has to wait.
    pub(super) fn next(&mut self, limits: &Limits, out: &mut Vec<u8>) -> Option<Option<Ask>> {
        self.next_part(limits, out.len()).or_else(|| self.next_of_job(out))
    }

    /// The next part of a command on many keys. Bytes that wait hold back the values of MGET. The other
    /// commands bring none, and only their last part frees what they hold.
    fn next_part(&mut self, limits: &Limits, out_len: usize) -> Option<Option<Ask>> {
        let waiting = out_len + self.slots.parked_bytes();
        let parts = self.parts.as_mut()?;
        let brings_values = parts.many == Many::Get;
        if self.slots.open() >= limits.open_asks_max || (brings_values && waiting >= limits.out_bytes_soft) {
            return Some(None);
        }
        let stride = parts.many.stride();
        let index = (parts.next - 1) / stride;
        let value = if stride > 1 { parts.argument(parts.next + 1) } else { Shared::default() };
        let op = parts.many.part_op(crc32c(value.as_ref()));
        let command = Command::new(parts.argument(parts.next), op, value);
        let tag = self.slots.part(parts.tag, index);
        parts.next += stride;
        if parts.next >= parts.ranges.len() {
            self.parts = None;
        }
        Some(Some(Ask::Command { tag, group: None, consistency: Consistency::default(), command }))
    }

    /// The next ask of the job.
    fn next_of_job(&mut self, out: &mut Vec<u8>) -> Option<Option<Ask>> {
        let job = self.job.as_mut()?;
        if job.asked || (job.goes_alone() && self.slots.open() > 1) {
            return Some(None);
        }
        match job.next() {
            JobStep::Ask(group, command) => {
                job.asked = true;
                let consistency = Consistency::default();
                Some(Some(Ask::Command { tag: job.tag, group, consistency, command }))
            }
            JobStep::Local(query) => {
                let tag = job.tag;
                self.job = None;
                self.slots.becomes_local(tag, query.clone());
                Some(Some(Ask::Local { tag, query }))
            }
            JobStep::Over(answer) => {
                self.finish_job(out, answer);
                None
            }
        }
    }

    /// Writes the answer of the job in its turn; keys are written in pieces.
    fn finish_job(&mut self, out: &mut Vec<u8>, answer: JobOutcome) {
        let Some(job) = self.job.take() else { return };
        match answer {
            JobOutcome::Keys(keys) => {
                let count = keys.count;
                self.slots.finish_long(out, job.tag, |writer| writer.array(count), keys.blocks);
            }
            JobOutcome::Page { cursor, keys } => {
                let head = |writer: &mut Writer<'_>| {
                    writer.array(2);
                    writer.bulk(cursor.to_string().as_bytes());
                    writer.array(keys.count);
                };
                self.slots.finish_long(out, job.tag, head, keys.blocks);
            }
            JobOutcome::Ok => self.slots.finish(out, job.tag, |writer, _| writer.simple("OK")),
            JobOutcome::Int(number) => self.slots.finish(out, job.tag, |writer, _| writer.int(number)),
            JobOutcome::Bulk(bytes) => self.slots.finish(out, job.tag, |writer, _| writer.bulk(&bytes)),
            JobOutcome::Nil => self.slots.finish(out, job.tag, |writer, _| writer.nil()),
            JobOutcome::Error(text) => self.slots.finish(out, job.tag, |writer, _| writer.error(&text)),
            JobOutcome::Failed(kind) => {
                self.slots.finish(out, job.tag, |writer, name| writer.error(&error_text(kind, name)));
            }
        }
    }

    /// Takes the reply to a command, to a part of one or to an ask of the job.
    pub(super) fn reply(&mut self, server: &ServerConfig, out: &mut Vec<u8>, tag: Tag, reply: Reply<&[u8]>) {
        match &mut self.job {
            Some(job) if job.tag == tag => {
                if job.asked
                    && let Some(answer) = job.take(reply)
                {
                    self.finish_job(out, answer);
                }
            }
            _ => {
                self.slots.reply(server, out, tag, reply);
                self.parts.take_if(|parts| !self.slots.wants_part(parts.tag));
            }
        }
    }

    /// Answers a command with the place where its key is served, if that is allowed.
    pub(super) fn redirect(
        &mut self,
        out: &mut Vec<u8>,
        tag: Tag,
        bucket: Bucket,
        host: &str,
        port: u16,
    ) -> bool {
        let taken = self.slots.redirect(out, tag, bucket, host, port);
        // A job changes a key only in its last step: nothing has happened before that.
        if taken && self.job.as_ref().is_some_and(|job| job.tag == tag) {
            self.job = None;
        }
        taken
    }

    /// Takes the answer to a question that only the shell can answer.
    pub(super) fn answer(
        &mut self,
        server: &ServerConfig,
        out: &mut Vec<u8>,
        tag: Tag,
        answer: &LocalAnswer,
    ) {
        self.slots.answer(server, out, tag, answer);
    }
}

/// Spreads a counter over 64 bits.
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
