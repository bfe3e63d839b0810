//! RESP on a connection: the parse loop. It hands commands to the dispatcher, answers with the error lines of
//! those that are refused, and stops where the shell must act or other connections must have their turn.

use super::ask::{Ask, LocalAnswer, Tag};
use super::config::{ConnectionConfig, Limits, ServerConfig};
use super::counts::CommandCounts;
use super::dispatch::Dispatcher;
use super::slots::PARTS_MAX;
use crate::resp::error_line::ErrorLine;
use crate::resp::parser::{Caps, Parser, Step};
use std::fmt::Write;
use std::ops::Range;
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{Bucket, Reply};

/// Most commands answered in here at a stretch: about ten microseconds of work. A long answer or many
/// arguments count as more than one.
const LOCAL_WORK_MAX: usize = 128;
const BYTES_PER_WORK: usize = 1 << 10;
const ARGUMENTS_PER_WORK: usize = 8;
/// Holds whatever the configuration says: offsets within a command are `u32`.
const COMMAND_BYTES_CEILING: usize = 1 << 30;

/// State of a connection that speaks RESP.
#[derive(Debug)]
pub(super) struct RespConnection {
    parser: Parser,
    dispatcher: Dispatcher,
}

impl RespConnection {
    /// Commands and errors are counted in `counts`.
    pub(super) fn new(authenticated: bool, counts: CommandCounts) -> Self {
        Self { parser: Parser::new(), dispatcher: Dispatcher::new(authenticated, counts) }
    }

    /// Where in the input the operand of the last command lies, if the connection is to fill it in.
    pub(super) fn take_lent(&mut self) -> Option<Range<usize>> {
        self.dispatcher.lent.take()
    }

    /// The last command that was begun.
    pub(super) fn doing(&self) -> &'static str {
        self.dispatcher.doing
    }

    /// The name that the client gave itself.
    pub(super) fn name(&self) -> &str {
        &self.dispatcher.client.name
    }

    /// Writes what CLIENT LIST says of a RESP client alone.
    pub(super) fn describe(&self, text: &mut String) {
        let client = &self.dispatcher.client;
        let version = self.dispatcher.requests.proto().number();
        let (library, of_version) = (&client.library_name, &client.library_version);
        // Writing to a String cannot fail.
        let _ = write!(text, " resp={version} lib-name={library} lib-ver={of_version}");
    }

    pub(super) fn is_idle(&self) -> bool {
        self.dispatcher.requests.is_idle()
    }

    /// Whether the client has sent MULTI and not the end of that bracket.
    pub(super) fn is_in_bracket(&self) -> bool {
        self.dispatcher.client.transaction.is_open()
    }

    /// Whether the reply to `tag` would be the next one to be written.
    pub(super) fn is_next(&self, tag: Tag) -> bool {
        self.dispatcher.requests.is_next(tag)
    }

    /// The known length of what is being received, from the start of the unused input on; 0 if unknown.
    pub(super) fn wanted(&self) -> usize {
        self.parser.wanted()
    }

    /// Frees the memory that is kept for later commands.
    pub(super) fn shrink(&mut self) {
        self.parser.shrink();
        self.dispatcher.requests.shrink();
    }

    /// Writes an error in its turn, as the last reply: nothing more will be parsed.
    pub(super) fn end_with(&mut self, out: &mut Vec<u8>, error: &str) {
        self.dispatcher.begin();
        self.dispatcher.client.over = true;
        self.dispatcher.requests.responder(out).error(error);
    }

    /// Bytes of memory that it holds.
    /// Bytes of answers that wait for their turn.
    pub(super) fn parked_bytes(&self) -> usize {
        self.dispatcher.requests.parked_bytes()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.parser.held_bytes() + self.dispatcher.requests.held_bytes()
    }

    pub(super) fn is_full(&self, limits: &Limits, out_len: usize) -> bool {
        self.dispatcher.requests.is_full(limits, out_len)
    }

    /// Parses commands until one needs the shell, too much is open or the input ends. Returns the number of
    /// bytes used.
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
            let dispatcher = &mut self.dispatcher;
            if dispatcher.requests.write_on(out) {
                // Output must be sent before anything else is done. A muted reply makes no output, so there
                // is more to do.
                return (out.is_empty().then_some(Ask::Pause), used);
            }
            if let Some(asked) = dispatcher.requests.next(limits, out) {
                return (asked, used);
            }
            if *draining || dispatcher.requests.is_full(limits, out.len()) {
                return (None, used);
            }
            if work >= LOCAL_WORK_MAX {
                return (Some(Ask::Pause), used);
            }
            let before = out.len();
            let caps = Caps {
                bulk_bytes: VALUE_BYTES_MAX,
                command_bytes: limits.command_bytes_max.min(COMMAND_BYTES_CEILING),
                arguments: limits.arguments_max.min(PARTS_MAX),
                trusted: dispatcher.client.is_let_in(config),
            };
            let done = match self.parser.parse(&input[used..], &caps) {
                Step::More { used: more } => return (None, used + more),
                Step::Empty { used: more } => {
                    used += more;
                    Ok(None)
                }
                Step::Command { used: more, args } => {
                    used += more;
                    work += args.len() / ARGUMENTS_PER_WORK;
                    dispatcher.execute(config, input, out, &args)
                }
                Step::Refused { used: more, error } => {
                    used += more;
                    dispatcher.begin();
                    Err(ErrorLine::Owned(error))
                }
                // Nothing more is parsed.
                Step::Broken { error } => {
                    dispatcher.requests.comes("", false);
                    dispatcher.client.over = true;
                    Err(error)
                }
            };
            let ask = done.unwrap_or_else(|error| {
                dispatcher.requests.responder(out).error(&error);
                None
            });
            *draining |= dispatcher.client.over;
            if ask.is_some() {
                return (ask, used);
            }
            work += 1 + (out.len() - before) / BYTES_PER_WORK;
        }
    }

    pub(super) fn reply(&mut self, server: &ServerConfig, out: &mut Vec<u8>, tag: Tag, reply: Reply<&[u8]>) {
        self.dispatcher.requests.reply(server, out, tag, reply);
    }

    pub(super) fn redirect(
        &mut self,
        out: &mut Vec<u8>,
        tag: Tag,
        bucket: Bucket,
        host: &str,
        port: u16,
    ) -> bool {
        self.dispatcher.requests.redirect(out, tag, bucket, host, port)
    }

    pub(super) fn answer(
        &mut self,
        server: &ServerConfig,
        out: &mut Vec<u8>,
        tag: Tag,
        answer: &LocalAnswer,
    ) {
        self.dispatcher.requests.answer(server, out, tag, answer);
    }
}
