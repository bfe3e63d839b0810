//! RESP on a connection: arguments become asks or, where no shard is needed, replies.

use super::cluster::{self, Parsed};
use super::slots::{PARTS_MAX, Slots};
use super::{Ask, ConnectionConfig, Limits, LocalAnswer, LocalQuery, ServerConfig, Tag, own};
use crate::resp::parser::{Args, Caps, Parser, Step};
use crate::resp::plan::{self, Many, Plan, part_op};
use crate::resp::reply::{Proto, Writer};
use crate::resp::spec::{self, Spec, Verb};
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{Bucket, Command, Consistency, Reply, Shared};

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
    /// The command before was ASKING: the next one is executed here, whoever leads its group.
    asking: bool,
    /// After READONLY: reads are executed here, whoever leads their group.
    read_only: bool,
    slots: Slots,
    parts: Option<Parts>,
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
    pub(super) fn new(server: &ServerConfig) -> Self {
        let session = Session {
            proto: Proto::default(),
            authenticated: server.password.is_none(),
            name: String::new(),
            library_name: String::new(),
            library_version: String::new(),
            over: false,
            asking: false,
            read_only: false,
            slots: Slots::default(),
            parts: None,
        };
        Self { parser: Parser::new(), session }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.session.slots.len() == 0 && self.session.parts.is_none()
    }

    pub(super) fn held_bytes(&self) -> usize {
        let parts =
            self.session.parts.as_ref().map_or(0, |parts| parts.arguments.len() + 8 * parts.ranges.len());
        self.parser.held_bytes() + self.session.slots.parked_bytes() + parts
    }

    pub(super) fn is_full(&self, limits: &Limits, out_len: usize) -> bool {
        let slots = &self.session.slots;
        slots.len() >= limits.open_asks_max
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
        let mut used = 0;
        loop {
            if let Some(asked) = self.session.next_part(limits) {
                return (asked, used);
            }
            if *draining || self.is_full(limits, out.len()) {
                return (None, used);
            }
            let session = &mut self.session;
            let caps = Caps {
                bulk_bytes: VALUE_BYTES_MAX,
                command_bytes: limits.command_bytes_max.min(COMMAND_BYTES_CEILING),
                arguments: limits.arguments_max.min(PARTS_MAX),
                trusted: session.authenticated,
            };
            let ask = match self.parser.parse(&input[used..], &caps) {
                Step::More { used: more } => return (None, used + more),
                Step::Empty { used: more } => {
                    used += more;
                    None
                }
                Step::Command { used: more, args } => {
                    used += more;
                    session.execute(config, out, &args)
                }
                Step::Refused { used: more, error } => {
                    used += more;
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
        }
    }

    pub(super) fn reply(&mut self, limits: &Limits, out: &mut Vec<u8>, tag: Tag, reply: Reply<&[u8]>) {
        self.session.slots.reply(limits, out, tag, reply);
    }

    pub(super) fn redirect(
        &mut self,
        out: &mut Vec<u8>,
        tag: Tag,
        bucket: Bucket,
        host: &str,
        port: u16,
    ) -> bool {
        self.session.slots.redirect(out, tag, bucket, host, port)
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

    /// The next part of a command on many keys: `None` when there is no such command, `Some(None)` when it has to wait.
    fn next_part(&mut self, limits: &Limits) -> Option<Option<Ask>> {
        let parts = self.parts.as_mut()?;
        // Only the number of open asks holds parts back. Bytes must not: they are given free by the last part.
        if self.slots.open() >= limits.open_asks_max {
            return Some(None);
        }
        let stride = parts.many.stride();
        let index = (parts.next - 1) / stride;
        let op = part_op(parts.many, || {
            let value = parts.argument(parts.next + 1);
            let crc = crc32c::crc32c(value.as_ref());
            (value, crc)
        });
        let command = Command::plain(parts.argument(parts.next), op);
        let tag = self.slots.part(parts.tag, index);
        parts.next += stride;
        if parts.next >= parts.ranges.len() {
            self.parts = None;
        }
        Some(Some(Ask::Command { tag, group: None, consistency: Consistency::default(), command }))
    }

    /// Executes a command as far as it can be done here.
    fn execute(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) -> Option<Ask> {
        let Some(spec) = spec::find(args.get(0)) else {
            self.refuse_unknown(out, args);
            return None;
        };
        if !spec.takes(args.len()) {
            self.write(out, |writer| writer.error(&plan::wrong_arity(spec.name)));
            return None;
        }
        if !self.authenticated && !matches!(spec.verb, Verb::Auth | Verb::Hello | Verb::Quit | Verb::Reset) {
            self.write(out, |writer| writer.error("NOAUTH Authentication required."));
            return None;
        }
        let asking = core::mem::take(&mut self.asking);
        match plan::plan(spec, args) {
            Some(Ok(Plan::One { key, op, shape })) => {
                let tag = self.slots.open_one(self.proto, spec.name, shape);
                if !asking && (!self.read_only || op.is_write()) {
                    self.slots.let_redirect(tag);
                }
                let command = own(&Command::plain(key, op));
                Some(Ask::Command { tag, group: None, consistency: Consistency::default(), command })
            }
            Some(Ok(Plan::Many(many))) => {
                self.open_parts(spec, many, args);
                None
            }
            Some(Err(error)) => {
                self.write(out, |writer| writer.error(&error));
                None
            }
            None => {
                let query = self.execute_local(config, out, spec, args)?;
                let tag = self.slots.open_local(self.proto, query.clone());
                Some(Ask::Local { tag, query })
            }
        }
    }

    /// Forgets what ASKING and READONLY asked for.
    pub(super) fn forget_redirects(&mut self) {
        self.asking = false;
        self.read_only = false;
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
        spec: &Spec,
        args: &Args<'_>,
    ) -> Option<LocalQuery> {
        match spec.verb {
            Verb::DbSize => return Some(LocalQuery::DbSize),
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
