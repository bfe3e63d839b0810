//! The walk of one RESP command: its arguments become an ask, or a reply if no shard is needed.
//!
//! ```text
//!  name ─▶ row of the table ─▶ may it? ─▶ row of the subcommand ─┬▶ plan ─▶ one ask, parts of many, or a job
//!                                                               └▶ the module that answers it in here
//! ```
//! Every step either goes on or ends in an error line. The error line is written in one place.

use super::ask::{Ask, LocalQuery};
use super::config::{ConnectionConfig, LOCAL_ARGUMENTS_MAX};
use super::lend::own;
use super::requests::Requests;
use super::session::Session;
use super::transaction::Verdict;
use super::{client_commands, cluster_commands, config_commands, connection_commands};
use super::{server_commands, table_commands};
use crate::resp::parser::Args;
use crate::resp::plan::{self, Plan};
use crate::resp::refusal::{Refusal, unknown_command, unknown_subcommand, wrong_arity};
use crate::resp::spec::{self, Action, Spec};
use std::borrow::Cow;
use std::ops::Range;
use synod_types::{Command, Consistency, Op, Shared, bucket_of, group_of};

const CROSS_SLOT: Refusal = Cow::Borrowed("CROSSSLOT Keys in request don't hash to the same slot");

/// Everything of a RESP connection except its parser.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) session: Session,
    pub(super) requests: Requests,
    /// Where in the input the operand of the last command lies. The connection fills it in.
    pub(super) lent: Option<Range<usize>>,
    /// The last command that was begun.
    pub(super) doing: &'static str,
}

/// A command that was found in the table, with its arguments.
struct Call<'a> {
    spec: &'static Spec,
    args: &'a Args<'a>,
    /// The received bytes, in which long arguments lie.
    input: &'a [u8],
    is_asking: bool,
}

impl Dispatcher {
    pub(super) fn new(authenticated: bool) -> Self {
        let session = Session::new(authenticated);
        Self { session, requests: Requests::default(), lent: None, doing: "" }
    }

    /// Begins a command, even one that is refused later. Returns whether the previous command was ASKING.
    fn begin(&mut self) -> bool {
        let begun = self.session.begin();
        self.requests.mute(begun.is_muted);
        begun.is_asking
    }

    /// Answers a command that the parser gave up on with an error.
    pub(super) fn refuse(&mut self, out: &mut Vec<u8>, error: &str) {
        self.begin();
        self.requests.responder(out).error(error);
    }

    /// Answers input that is no command with an error, and parses nothing more.
    pub(super) fn break_off(&mut self, out: &mut Vec<u8>, error: &str) {
        self.requests.responder(out).error(error);
        self.session.over = true;
    }

    /// Executes a command as far as it can be executed here.
    pub(super) fn execute(
        &mut self,
        config: &ConnectionConfig,
        input: &[u8],
        out: &mut Vec<u8>,
        args: &Args<'_>,
    ) -> Option<Ask> {
        let is_asking = self.begin();
        let done = match spec::find(args.get(0)) {
            Some(spec) => self.walk(config, out, &Call { spec, args, input, is_asking }),
            None => Err(self.unknown(args)),
        };
        match done {
            Ok(ask) => ask,
            Err(error) => {
                self.requests.responder(out).error(&error);
                None
            }
        }
    }

    fn unknown(&mut self, args: &Args<'_>) -> Refusal {
        let name = args.get(0);
        // A browser sends these words when a page makes it talk to this port: an attack, not a mistake.
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            self.session.over = true;
        }
        unknown_command(args)
    }

    fn walk(
        &mut self,
        config: &ConnectionConfig,
        out: &mut Vec<u8>,
        call: &Call<'_>,
    ) -> Result<Option<Ask>, Refusal> {
        let Call { spec, args, .. } = *call;
        self.doing = spec.name;
        match self.admit(config, call)? {
            Verdict::Execute => {}
            Verdict::Refuse(error) => return Err(Cow::Borrowed(error)),
            Verdict::Discarded => {
                self.requests.responder(out).ok();
                return Ok(None);
            }
        }
        let row = resolve(spec, args)?;
        if let Action::Key(command) = row.action {
            let plan = plan::plan(command, row, args)?;
            return self.ask(config, call, row, plan);
        }
        let query = self.answer(config, out, row, call)?;
        Ok(query.map(|query| Ask::Local { tag: self.requests.open_local(query.clone()), query }))
    }

    /// Checks the number of arguments and the client's rights. Returns what the transaction says of the
    /// command.
    fn admit(&mut self, config: &ConnectionConfig, call: &Call<'_>) -> Result<Verdict, Refusal> {
        let spec = call.spec;
        let is_whole = spec.takes(call.args.len());
        let is_let_in = self.session.is_let_in(config);
        // Noted first: a command that is refused for other reasons opens and closes brackets, too.
        let verdict = self.session.transaction.note(spec.action, is_whole, is_let_in);
        if !is_whole {
            return Err(wrong_arity(spec.name));
        }
        self.session.admit(config, spec)?;
        Ok(verdict)
    }

    /// Turns the plan into an ask, parts of a command on many keys, or a job.
    fn ask<'a>(
        &mut self,
        config: &ConnectionConfig,
        call: &Call<'a>,
        row: &'static Spec,
        plan: Plan<'a>,
    ) -> Result<Option<Ask>, Refusal> {
        match plan {
            Plan::One { key, op, operand, shape } => {
                let group_count = config.server.info.group_count;
                if row.keys.go_together() && !is_of_one_group(group_count, key, op, &operand) {
                    return Err(CROSS_SLOT);
                }
                let may_redirect = self.session.may_redirect(call.is_asking, op.is_write());
                let tag = self.requests.open_one(row.name, shape, may_redirect);
                let command = match operand {
                    Cow::Borrowed(operand) => own(Command::new(key, op, operand), call.input, &mut self.lent),
                    Cow::Owned(made) => Command::new(Shared::new(key.to_vec()), op, Shared::new(made)),
                };
                Ok(Some(Ask::Command { tag, group: None, consistency: Consistency::default(), command }))
            }
            Plan::Many(many) => {
                self.requests.open_parts(row.name, many, call.args);
                Ok(None)
            }
            Plan::Job(work) => {
                let may_redirect = row.keys.is_one() && self.session.may_redirect(call.is_asking, true);
                self.requests.open_job(config, row.name, work, may_redirect);
                Ok(None)
            }
        }
    }

    /// Answers a command that needs no shard, or returns the question that the shell must answer.
    fn answer(
        &mut self,
        config: &ConnectionConfig,
        out: &mut Vec<u8>,
        row: &'static Spec,
        call: &Call<'_>,
    ) -> Result<Option<LocalQuery>, Refusal> {
        let args = call.args;
        let session = &mut self.session;
        let mut reply = self.requests.responder(out);
        match row.action {
            Action::Connection(command) => {
                connection_commands::execute(command, session, config, &mut reply, args)?;
            }
            Action::Client(command) => {
                client_commands::execute(command, session, config, &mut reply, args)?;
            }
            Action::Config(command) => config_commands::execute(command, &config.server, &mut reply, args)?,
            Action::Table(command) => table_commands::execute(command, &mut reply, args)?,
            Action::Help => table_commands::help(call.spec, &mut reply),
            Action::Cluster(command) => {
                return Ok(cluster_commands::execute(command, config, &mut reply, args));
            }
            Action::Server(command) => {
                return server_commands::execute(command, &config.server, &mut reply, args);
            }
            // UNWATCH: nothing is ever watched. The other commands were answered by their verdict.
            Action::Transaction(_) => reply.ok(),
            // Its arity requires a subcommand, which has a row of its own.
            Action::Container | Action::Key(_) => return Err(unknown_subcommand(row.name, b"")),
        }
        Ok(None)
    }
}

/// The row that is executed: the command's own or that of its subcommand.
fn resolve(spec: &'static Spec, args: &Args<'_>) -> Result<&'static Spec, Refusal> {
    if !spec.is_container() && args.len() <= LOCAL_ARGUMENTS_MAX {
        return Ok(spec); // its arity was checked
    }
    let names_subcommand = spec.is_container() && args.len() > 1;
    let row = if names_subcommand { spec.subcommand(args.get(1)) } else { Some(spec) };
    if args.len() > LOCAL_ARGUMENTS_MAX && !row.is_some_and(Spec::is_on_keys) {
        let (name, count) = (spec.name, args.len());
        let limit = LOCAL_ARGUMENTS_MAX;
        return Err(
            format!("ERR too many arguments for '{name}' command: {count}, the limit is {limit}").into()
        );
    }
    match row {
        Some(row) if row.takes(args.len()) => Ok(row),
        Some(row) => Err(wrong_arity(row.name)),
        None => Err(unknown_subcommand(spec.name, args.get(1))),
    }
}

/// Whether all keys of a command lie in one group. A cluster of one group has no such limit.
fn is_of_one_group(group_count: u16, key: &[u8], op: Op, operand: &[u8]) -> bool {
    if group_count <= 1 {
        return true;
    }
    let of = |key| group_of(bucket_of(key), group_count);
    op.other_keys(operand).all(|other| of(other) == of(key))
}
