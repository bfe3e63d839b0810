//! The walk of one RESP command: its arguments become an ask, or a reply if no shard is needed.
//!
//! ```text
//!  arguments ─▶ row of the table ─▶ may it? ─┬▶ plan ─▶ one ask, parts of many, or a job
//!                                            └▶ the module that answers it in here
//! ```
//! Every step either goes on or ends in an error line, which the caller writes.

use super::ask::{Ask, LocalQuery};
use super::client_state::ClientState;
use super::config::{ConnectionConfig, Service};
use super::counts::CommandCounts;
use super::lend::own;
use super::requests::Requests;
use super::transaction::Verdict;
use super::{client_commands, cluster_commands, config_commands, connection_commands};
use super::{server_commands, table_commands};
use crate::resp::error_line::{ErrorLine, unknown_subcommand};
use crate::resp::parser::Args;
use crate::resp::plan::{self, Plan, Work};
use crate::resp::spec::{self, CommandAction, FoundCommand, Spec};
use std::borrow::Cow;
use std::ops::Range;
use synod_types::{Command, Consistency, Op, Shared, bucket_of, group_of};

const CROSS_SLOT: ErrorLine = Cow::Borrowed("CROSSSLOT Keys in request don't hash to the same slot");

/// Everything of a RESP connection except its parser.
#[derive(Debug)]
pub(super) struct Dispatcher {
    pub(super) client: ClientState,
    pub(super) requests: Requests,
    /// Where in the input the operand of the last command lies. The connection fills it in.
    pub(super) lent: Option<Range<usize>>,
    /// The last command that was begun.
    pub(super) doing: &'static str,
}

impl Dispatcher {
    pub(super) fn new(authenticated: bool, counts: CommandCounts) -> Self {
        let client = ClientState::new(authenticated);
        Self { client, requests: Requests::new(counts), lent: None, doing: "" }
    }

    /// Begins a command, even one that is refused later. Returns whether the previous command was ASKING.
    pub(super) fn begin(&mut self) -> bool {
        let begun = self.client.begin();
        self.requests.mute(begun.is_muted);
        self.requests.comes("", false);
        begun.is_asking
    }

    /// Executes a command as far as it can be executed here. Long arguments lie in `input`, the received
    /// bytes.
    ///
    /// # Errors
    /// The error line to answer with.
    pub(super) fn execute(
        &mut self,
        config: &ConnectionConfig,
        input: &[u8],
        out: &mut Vec<u8>,
        args: &Args<'_>,
    ) -> Result<Option<Ask>, ErrorLine> {
        let is_asking = self.begin();
        let FoundCommand { named, arity, row } = spec::lookup(args).inspect_err(|_| {
            self.client.over |= is_sent_by_browsers(args.get(0));
        })?;
        self.doing = named.name;
        self.requests.comes(row.as_ref().map_or(named.name, |row| row.name), false);
        // Noted first: a command that is refused for other reasons opens and closes brackets, too.
        let is_let_in = self.client.is_let_in(config);
        let verdict = self.client.transaction.note(named.action, arity.is_ok(), is_let_in);
        arity?;
        self.client.admit(config, named)?;
        match verdict {
            Verdict::Execute => {}
            Verdict::Refuse(error) => return Err(Cow::Borrowed(error)),
            Verdict::Discarded => {
                config.server.counts.called(named);
                self.requests.responder(out).ok();
                return Ok(None);
            }
        }
        let row = row?;
        self.doing = row.name;
        if config.service != Service::Full {
            config.service.admits(row).inspect_err(|_| self.end_spare(config))?;
        }
        config.server.counts.called(row);
        self.requests.comes(row.name, true);
        if let CommandAction::Key(command) = row.action {
            let plan = plan::plan(command, row, args)?;
            return self.ask(config, input, row, is_asking, plan);
        }
        let (client, mut reply) = (&mut self.client, self.requests.responder(out));
        let mut query = None;
        match row.action {
            CommandAction::Connection(command) => {
                connection_commands::execute(command, client, config, &mut reply, args)?;
            }
            CommandAction::Client(command) => {
                query = client_commands::execute(command, client, config, &mut reply, args)?;
            }
            CommandAction::Config(command) => {
                query = config_commands::execute(command, &config.server, &mut reply, args)?
            }
            CommandAction::Table(command) => table_commands::execute(command, &mut reply, args)?,
            CommandAction::Help => table_commands::help(named, &mut reply),
            CommandAction::Cluster(command) => {
                query = cluster_commands::execute(command, config, &mut reply, args)
            }
            CommandAction::Server(command) => {
                query = server_commands::execute(command, &config.server, &mut reply, args)?;
            }
            // UNWATCH: nothing is ever watched. The other commands were answered by their verdict.
            CommandAction::Transaction(_) => reply.ok(),
            // Its arity requires a subcommand, which has a row of its own.
            CommandAction::Container | CommandAction::Key(_) => {
                return Err(unknown_subcommand(row.name, b""));
            }
        }
        if let Some(LocalQuery::Info { sections }) = &query
            && sections.iter().any(|section| section == "keyspace")
        {
            let work = Work::Freshen { sections: sections.clone() };
            self.requests.open_job(config, row.name, work, false);
            return Ok(None);
        }
        Ok(query.map(|query| Ask::Local { tag: self.requests.open_local(query.clone()), query }))
    }

    /// A connection beyond the limit on connections asks for more than it is served: it ends.
    fn end_spare(&mut self, config: &ConnectionConfig) {
        if config.service == Service::Spare {
            self.client.over = true;
            config.server.counts.turned_away();
        }
    }

    /// Turns the plan into an ask, parts of a command on many keys, or a job.
    fn ask(
        &mut self,
        config: &ConnectionConfig,
        input: &[u8],
        row: &'static Spec,
        is_asking: bool,
        plan: Plan<'_>,
    ) -> Result<Option<Ask>, ErrorLine> {
        match plan {
            Plan::One { key, op, operand, shape } => {
                let group_count = config.server.info.group_count;
                if row.keys.go_together() && !is_of_one_group(group_count, key, op, &operand) {
                    return Err(CROSS_SLOT);
                }
                let may_redirect = self.client.may_redirect(is_asking, op.is_write());
                let tag = self.requests.open_one(row.name, shape, may_redirect);
                let command = match operand {
                    Cow::Borrowed(operand) => own(Command::new(key, op, operand), input, &mut self.lent),
                    Cow::Owned(made) => Command::new(Shared::new(key.to_vec()), op, Shared::new(made)),
                };
                Ok(Some(Ask::Command { tag, group: None, consistency: Consistency::default(), command }))
            }
            Plan::Many(many, args) => {
                self.requests.open_parts(&config.server.limits, row.name, many, &args);
                Ok(None)
            }
            Plan::Job(work) => {
                let may_redirect = row.keys.is_one() && self.client.may_redirect(is_asking, true);
                self.requests.open_job(config, row.name, work, may_redirect);
                Ok(None)
            }
        }
    }
}

/// Whether a browser sends this word when a page makes it talk to this port: an attack, not a mistake.
fn is_sent_by_browsers(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Whether all keys of a command lie in one group. A cluster of one group has no such limit.
fn is_of_one_group(group_count: u16, key: &[u8], op: Op, operand: &[u8]) -> bool {
    if group_count <= 1 {
        return true;
    }
    let of = |key| group_of(bucket_of(key), group_count);
    op.other_keys(operand).all(|other| of(other) == of(key))
}
