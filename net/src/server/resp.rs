//! RESP on a connection: arguments become asks or, where no shard is needed, replies.

use super::cluster::{self, Parsed};
use super::job::Job;
use super::slots::{PARTS_MAX, Slots};
use super::transaction::{Transaction, Verdict};
use super::{
    Ask, ConnectionConfig, LOCAL_ARGUMENTS_MAX, Limits, LocalAnswer, LocalQuery, ServerConfig, Tag, own,
};
use crate::access::Admission;
use crate::resp::parser::{Args, Caps, Parser, Step};
use crate::resp::plan::{self, Many, Plan, Work, part_op};
use crate::resp::reply::{Proto, Writer};
use crate::resp::spec::{self, Spec, Verb};
use crate::server::connection::PROTECTED;
use std::borrow::Cow;
use std::ops::Range;
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{Bucket, Command, Consistency, Op, Reply, Shared, bucket_of, group_of};

/// Commands answered in here at a stretch: some ten microseconds. A long answer and many arguments count as more.
const LOCAL_WORK_MAX: usize = 128;
const BYTES_PER_WORK: usize = 1 << 10;
const ARGUMENTS_PER_WORK: usize = 8;
/// Whatever the configuration says: offsets within a command are `u32`.
const COMMAND_BYTES_CEILING: usize = 1 << 30;

/// State of a connection that speaks RESP.
#[derive(Debug)]
pub(super) struct RespFace {
    parser: Parser,
    session: Session,
}

/// Everything but the parser: what commands see and change.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) proto: Proto,
    pub(super) authenticated: bool,
    pub(super) name: String,
    pub(super) library_name: String,
    pub(super) library_version: String,
    /// The client said goodbye or broke the protocol: nothing more is parsed.
    pub(super) over: bool,
    /// What CLIENT REPLY asked for.
    pub(super) replies: Replies,
    /// The command before was ASKING: the next one is executed here, whoever leads its group.
    asking: bool,
    /// Where in the input the operand of the last command lies, which the connection puts in.
    lent: Option<Range<usize>>,
    /// After READONLY: reads are executed here, whoever leads their group.
    read_only: bool,
    /// Whether a refused MULTI keeps commands from being executed.
    transaction: Transaction,
    slots: Slots,
    parts: Option<Parts>,
    job: Option<Box<Job>>,
    /// Jobs so far: what RANDOMKEY draws from.
    jobs: u64,
    /// The last command that was begun.
    doing: &'static str,
}

/// Which replies the client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Replies {
    On,
    Off,
    /// All but the one to the next command.
    Skip,
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
}

impl RespFace {
    pub(super) fn new(authenticated: bool) -> Self {
        let session = Session {
            proto: Proto::default(),
            authenticated,
            name: String::new(),
            library_name: String::new(),
            library_version: String::new(),
            over: false,
            replies: Replies::On,
            asking: false,
            lent: None,
            read_only: false,
            transaction: Transaction::default(),
            slots: Slots::default(),
            parts: None,
            job: None,
            jobs: 0,
            doing: "",
        };
        Self { parser: Parser::new(), session }
    }

    /// Where in the input the operand of the last command lies, if it is left to the connection.
    pub(super) fn take_lent(&mut self) -> Option<Range<usize>> {
        self.session.lent.take()
    }

    /// The last command that was begun.
    pub(super) fn doing(&self) -> &'static str {
        self.session.doing
    }

    pub(super) fn is_idle(&self) -> bool {
        self.session.slots.len() == 0 && self.session.parts.is_none() && self.session.job.is_none()
    }

    pub(super) fn held_bytes(&self) -> usize {
        let parts =
            self.session.parts.as_ref().map_or(0, |parts| parts.arguments.len() + 8 * parts.ranges.len());
        let job = self.session.job.as_ref().map_or(0, |job| job.held_bytes());
        self.parser.held_bytes() + self.session.slots.parked_bytes() + parts + job
    }

    pub(super) fn is_full(&self, limits: &Limits, out_len: usize) -> bool {
        let slots = &self.session.slots;
        // A job has the connection to itself, and so has a long reply.
        self.session.job.is_some()
            || slots.is_in_pieces()
            || slots.len() >= limits.open_asks_max
            || slots.open() >= limits.open_asks_max
            || out_len + slots.parked_bytes() >= limits.out_bytes_soft
    }

    /// Parses commands until one needs the shell, too much is open or the input ends. Returns the bytes used.
    pub(super) fn parse(
        &mut self,
        config: &ConnectionConfig,
        input: &[u8],
        out: &mut Vec<u8>,
        draining: &mut bool,
    ) -> (Option<Ask>, usize) {
        let limits = &config.server.limits;
        let (mut used, mut work) = (0, 0);
        loop {
            if self.session.slots.is_in_pieces() {
                self.session.slots.write_on(out);
                if self.session.slots.is_in_pieces() {
                    // With output there is nothing to be done before it is sent; what is muted makes none.
                    return (out.is_empty().then_some(Ask::Pause), used);
                }
            }
            if let Some(asked) = self.session.next_part(limits).or_else(|| self.session.next_of_job(out)) {
                return (asked, used);
            }
            if *draining || self.is_full(limits, out.len()) {
                return (None, used);
            }
            if work >= LOCAL_WORK_MAX {
                return (Some(Ask::Pause), used);
            }
            let before = out.len();
            let session = &mut self.session;
            let caps = Caps {
                bulk_bytes: VALUE_BYTES_MAX,
                command_bytes: limits.command_bytes_max.min(COMMAND_BYTES_CEILING),
                arguments: limits.arguments_max.min(PARTS_MAX),
                trusted: session.is_let_in(config),
            };
            let ask = match self.parser.parse(&input[used..], &caps) {
                Step::More { used: more } => return (None, used + more),
                Step::Empty { used: more } => {
                    used += more;
                    None
                }
                Step::Command { used: more, args } => {
                    used += more;
                    work += args.len() / ARGUMENTS_PER_WORK;
                    session.execute(config, input, out, &args)
                }
                Step::Refused { used: more, error } => {
                    used += more;
                    session.begin();
                    session.write(out, |writer| writer.error(&error));
                    None
                }
                Step::Broken { error } => {
                    session.write(out, |writer| writer.error(&error));
                    session.over = true;
                    None
                }
            };
            *draining |= session.over;
            if ask.is_some() {
                return (ask, used);
            }
            work += 1 + (out.len() - before) / BYTES_PER_WORK;
        }
    }

    pub(super) fn reply(&mut self, server: &ServerConfig, out: &mut Vec<u8>, tag: Tag, reply: Reply<&[u8]>) {
        match &mut self.session.job {
            Some(job) if job.tag == tag => {
                if job.asked
                    && let Some(answer) = job.take(reply)
                {
                    self.session.job = None;
                    answer.finish(&mut self.session.slots, out, tag);
                }
            }
            _ => self.session.slots.reply(server, out, tag, reply),
        }
    }

    pub(super) fn redirect(
        &mut self,
        out: &mut Vec<u8>,
        tag: Tag,
        bucket: Bucket,
        host: &str,
        port: u16,
    ) -> bool {
        let taken = self.session.slots.redirect(out, tag, bucket, host, port);
        // What a job does to a key it does in its last step: up to then nothing has happened.
        if taken && self.session.job.as_ref().is_some_and(|job| job.tag == tag) {
            self.session.job = None;
        }
        taken
    }

    pub(super) fn answer(
        &mut self,
        server: &ServerConfig,
        out: &mut Vec<u8>,
        tag: Tag,
        answer: &LocalAnswer,
    ) {
        self.session.slots.answer(server, out, tag, answer);
    }
}

impl Session {
    /// Writes a reply in its turn.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, write: impl FnOnce(&mut Writer<'_>)) {
        self.slots.write(out, self.proto, write);
    }

    /// Replies are written again.
    pub(super) fn unmute(&mut self) {
        self.slots.mute(false);
    }

    /// The next part of a command on many keys: `None` when there is no such command, `Some(None)` when it has to wait.
    fn next_part(&mut self, limits: &Limits) -> Option<Option<Ask>> {
        let parts = self.parts.as_mut()?;
        // Only the number of open asks holds parts back. Bytes must not: they are given free by the last part.
        if self.slots.open() >= limits.open_asks_max {
            return Some(None);
        }
        let stride = parts.many.stride();
        let index = (parts.next - 1) / stride;
        let value = if stride > 1 { parts.argument(parts.next + 1) } else { Shared::default() };
        let op = part_op(parts.many, synod_types::checksum::crc32c(value.as_ref()));
        let command = Command::new(parts.argument(parts.next), op, value);
        let tag = self.slots.part(parts.tag, index);
        parts.next += stride;
        if parts.next >= parts.ranges.len() {
            self.parts = None;
        }
        Some(Some(Ask::Command { tag, group: None, consistency: Consistency::default(), command }))
    }

    /// What the job asks next: `None` when there is no job, `Some(None)` when it waits for a reply.
    fn next_of_job(&mut self, out: &mut Vec<u8>) -> Option<Option<Ask>> {
        let job = self.job.as_mut()?;
        if job.asked {
            return Some(None);
        }
        match job.next() {
            Ok((group, command)) => {
                job.asked = true;
                let consistency = Consistency::default();
                Some(Some(Ask::Command { tag: job.tag, group, consistency, command }))
            }
            Err(answer) => {
                let tag = job.tag;
                self.job = None;
                answer.finish(&mut self.slots, out, tag);
                None
            }
        }
    }

    /// Begins a command, whatever becomes of it: uses up what the one before it asked for it. Whether that was ASKING.
    fn begin(&mut self) -> bool {
        self.slots.mute(self.replies != Replies::On);
        if self.replies == Replies::Skip {
            self.replies = Replies::On;
        }
        core::mem::take(&mut self.asking)
    }

    /// Executes a command as far as it can be done here.
    fn execute(
        &mut self,
        config: &ConnectionConfig,
        input: &[u8],
        out: &mut Vec<u8>,
        args: &Args<'_>,
    ) -> Option<Ask> {
        let asking = self.begin();
        let Some(spec) = spec::find(args.get(0)) else {
            self.refuse_unknown(out, args);
            return None;
        };
        self.doing = spec.name;
        let is_whole = spec.takes(args.len());
        let verdict = self.transaction.note(spec.verb, is_whole, self.is_let_in(config));
        if !is_whole {
            self.write(out, |writer| writer.error(&plan::wrong_arity(spec.name)));
            return None;
        }
        if !self.authenticated {
            match config.server.access.admission(config.is_loopback) {
                Admission::Open => self.authenticated = true, // who was let in stays
                Admission::WantsPassword => {
                    if !matches!(spec.verb, Verb::Auth | Verb::Hello | Verb::Quit | Verb::Reset) {
                        self.write(out, |writer| writer.error("NOAUTH Authentication required."));
                        return None;
                    }
                }
                Admission::TurnedAway => {
                    // The password that it was asked for is gone.
                    self.write(out, |writer| writer.error(PROTECTED));
                    self.over = true;
                    return None;
                }
            }
        }
        match verdict {
            Verdict::Execute => {}
            Verdict::Refuse(error) => {
                self.write(out, |writer| writer.error(error));
                return None;
            }
            Verdict::Discarded => {
                self.write(out, |writer| writer.simple("OK"));
                return None;
            }
        }
        match plan::plan(spec, args) {
            Some(Ok(Plan::One { key, op, operand, shape })) => {
                if !of_one_group(config.server.info.group_count, key, op, &operand) {
                    self.write(out, |writer| writer.error(CROSS_SLOT));
                    return None;
                }
                let tag = self.slots.open_one(self.proto, spec.name, shape);
                if self.may_redirect(asking, op.is_write()) {
                    self.slots.let_redirect(tag);
                }
                let command = match operand {
                    Cow::Borrowed(operand) => own(Command::new(key, op, operand), input, &mut self.lent),
                    Cow::Owned(made) => Command::new(Shared::new(key.to_vec()), op, Shared::new(made)),
                };
                Some(Ask::Command { tag, group: None, consistency: Consistency::default(), command })
            }
            Some(Ok(Plan::Many(many))) => {
                self.open_parts(spec, many, args);
                None
            }
            Some(Ok(Plan::Job(work))) => {
                let has_key = matches!(work, Work::Derive { .. });
                let tag = self.begin_job(config, spec, work);
                if has_key && self.may_redirect(asking, true) {
                    self.slots.let_redirect(tag);
                }
                None
            }
            Some(Err(error)) => {
                self.write(out, |writer| writer.error(&error));
                None
            }
            None if args.len() > LOCAL_ARGUMENTS_MAX => {
                let text = format!(
                    "ERR too many arguments for '{}' command: {}, the limit is {LOCAL_ARGUMENTS_MAX}",
                    spec.name,
                    args.len()
                );
                self.write(out, |writer| writer.error(&text));
                None
            }
            None => {
                let query = self.execute_local(config, out, spec, args)?;
                let tag = self.slots.open_local(self.proto, query.clone());
                Some(Ask::Local { tag, query })
            }
        }
    }

    /// Whether it has shown a password, or none is wanted any more.
    pub(super) fn is_let_in(&self, config: &ConnectionConfig) -> bool {
        self.authenticated || config.server.access.admission(config.is_loopback) == Admission::Open
    }

    /// Forgets what ASKING and READONLY asked for.
    pub(super) fn forget_redirects(&mut self) {
        self.asking = false;
        self.read_only = false;
    }

    /// From here on nothing is parsed until the job is done.
    fn begin_job(&mut self, config: &ConnectionConfig, spec: &'static Spec, work: Work) -> Tag {
        assert!(self.job.is_none(), "one job at a time");
        let tag = self.slots.open_job(self.proto, spec.name);
        self.jobs += 1;
        let draw = scatter(config.id.rotate_left(32) ^ self.jobs);
        let bytes_max = config.server.limits.out_bytes_hard;
        self.job = Some(Box::new(Job::new(tag, work, config.server.info.group_count, bytes_max, draw)));
        tag
    }

    /// Whether the client of a command on a key may be sent to the key's leader instead of being served.
    fn may_redirect(&self, asking: bool, is_write: bool) -> bool {
        !asking && (!self.read_only || is_write)
    }

    fn open_parts(&mut self, spec: &'static Spec, many: Many, args: &Args<'_>) {
        assert!(self.parts.is_none(), "one command is taken apart at a time");
        let count = (args.len() - 1) / many.stride();
        let tag = self.slots.open_many(self.proto, spec.name, many, count);
        let arguments = Shared::new(args.bytes().to_vec());
        self.parts = Some(Parts { tag, many, arguments, ranges: args.ranges().to_vec(), next: 1 });
    }

    fn refuse_unknown(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        let name = args.get(0);
        // What a browser sends when a page makes it talk to this port: not a mistake, an attack.
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            self.over = true;
        }
        self.write(out, |writer| writer.error(&plan::unknown_command(args)));
    }

    fn execute_local(
        &mut self,
        config: &ConnectionConfig,
        out: &mut Vec<u8>,
        spec: &'static Spec,
        args: &Args<'_>,
    ) -> Option<LocalQuery> {
        match spec.verb {
            Verb::Wait | Verb::WaitAof => return self.wait(out, spec, args),
            Verb::LastSave => return Some(LocalQuery::LastSave),
            Verb::Time => return Some(LocalQuery::Time),
            Verb::Info => {
                let section = |arg: &[u8]| plan::lossy(arg).to_ascii_lowercase();
                return Some(LocalQuery::Info { sections: args.iter_from(1).map(section).collect() });
            }
            Verb::Ping => match args.len() {
                1 => self.write(out, |writer| writer.simple("PONG")),
                2 => self.write(out, |writer| writer.bulk(args.get(1))),
                _ => self.write(out, |writer| writer.error(&plan::wrong_arity(spec.name))),
            },
            Verb::Cluster => match cluster::parse(config, args) {
                Parsed::Ask(query) => return Some(LocalQuery::Cluster(query)),
                Parsed::KeySlot(slot) => self.write(out, |writer| writer.int(i64::from(slot))),
                Parsed::Work(work) => drop(self.begin_job(config, spec, work)),
                Parsed::Refused(error) => self.write(out, |writer| writer.error(&error)),
                Parsed::Unknown => self.unknown_subcommand(out, "CLUSTER", args),
            },
            Verb::Asking => {
                self.asking = true;
                self.write(out, |writer| writer.simple("OK"));
            }
            Verb::ReadOnly(read_only) => {
                self.read_only = read_only;
                self.write(out, |writer| writer.simple("OK"));
            }
            Verb::Script => self.script(out, args),
            Verb::Echo => self.write(out, |writer| writer.bulk(args.get(1))),
            Verb::Select => self.select(out, args),
            Verb::Quit => {
                self.write(out, |writer| writer.simple("OK"));
                self.over = true;
            }
            _ => self.execute_admin(config, out, spec, args),
        }
        None
    }
}

const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";

/// Whether all keys of a command lie in one group. A cluster of one group has no limit.
fn of_one_group(group_count: u16, key: &[u8], op: Op, operand: &[u8]) -> bool {
    if group_count <= 1 {
        return true;
    }
    let of = |key| group_of(bucket_of(key), group_count);
    op.other_keys(operand).all(|other| of(other) == of(key))
}

/// Spreads a counter over 64 bits.
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
