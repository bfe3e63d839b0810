//! Commands about the node: INFO, WAIT and those that monitoring tools send. Answers are true for this
//! server, mostly "none"; a feature that does not exist here is named as such.

use super::ask::LocalQuery;
use super::config::ServerConfig;
use super::responder::Responder;
use super::table_commands::{rows_in, write_names};
use crate::resp::check;
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::refusal::{NOT_AN_INTEGER, Refusal, lossy, wrong_arity};
use crate::resp::reply::Writer;
use crate::resp::scripts;
use crate::resp::spec::{CATEGORIES, ServerCommand};
use std::borrow::Cow;

const NO_SHUTDOWN: Refusal =
    Cow::Borrowed("ERR SHUTDOWN is not for clients: stop the node's process on its own machine");
const NO_MONITOR: Refusal =
    Cow::Borrowed("ERR MONITOR is not supported: a node sees only what it is asked itself");
const NO_DEBUG: Refusal =
    Cow::Borrowed("ERR DEBUG is not supported: it would stall the other clients of this core");
const NO_USERS: Refusal =
    Cow::Borrowed("ERR users are not kept here: the one password is in the node's configuration");

/// Executes a command, or returns the question that the shell must answer; its arity was checked.
pub(super) fn execute(
    command: ServerCommand,
    server: &ServerConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<Option<LocalQuery>, Refusal> {
    match command {
        ServerCommand::Info => {
            let section = |arg: &[u8]| lossy(arg).to_ascii_lowercase();
            return Ok(Some(LocalQuery::Info { sections: args.iter_from(1).map(section).collect() }));
        }
        ServerCommand::Wait => {
            check_wait(args)?;
            return Ok(Some(LocalQuery::Replicas { with_local: false }));
        }
        ServerCommand::WaitAof => {
            check_wait_aof(args)?;
            return Ok(Some(LocalQuery::Replicas { with_local: true }));
        }
        ServerCommand::LastSave => return Ok(Some(LocalQuery::LastSave)),
        ServerCommand::Time => return Ok(Some(LocalQuery::Time)),
        // Any node takes writes; the other nodes are its equals, not its replicas.
        ServerCommand::Role => reply.write(|writer| {
            writer.array(3);
            writer.bulk(b"master");
            writer.int(0);
            writer.array(0);
        }),
        ServerCommand::Shutdown => return Err(NO_SHUTDOWN),
        ServerCommand::Monitor => return Err(NO_MONITOR),
        ServerCommand::Debug => return Err(NO_DEBUG),
        ServerCommand::ScriptLoad => {
            let (_, digest) = scripts::by_text(args.get(2)).ok_or(Refusal::Borrowed(scripts::NO_ENGINE))?;
            reply.write(|writer| writer.bulk(digest.as_bytes()));
        }
        ServerCommand::ScriptExists => reply.write(|writer| {
            writer.array(args.len() - 2);
            args.iter_from(2).for_each(|digest| writer.int(scripts::by_digest(digest).is_some().into()));
        }),
        ServerCommand::ScriptFlush if args.len() > 3 => return Err(wrong_arity("script|flush")),
        ServerCommand::ScriptFlush | ServerCommand::FunctionFlush => reply.ok(),
        ServerCommand::FunctionList => reply.write(|writer| writer.array(0)),
        ServerCommand::SlowLogGet => {
            check_slow_log(args)?;
            reply.write(|writer| writer.array(0));
        }
        ServerCommand::SlowLogLen => reply.int(0),
        ServerCommand::SlowLogReset => reply.ok(),
        ServerCommand::LatencyLatest | ServerCommand::LatencyHistory => {
            reply.write(|writer| writer.array(0));
        }
        ServerCommand::LatencyReset => reply.int(0),
        ServerCommand::LatencyDoctor => reply.write(|writer| {
            writer.verbatim("No latency events are kept here: see INFO and the metrics of the node.");
        }),
        ServerCommand::LatencyHistogram => reply.write(|writer| writer.map(0)),
        ServerCommand::LatencyGraph => {
            return Err(format!("ERR No samples available for event '{}'", lossy(args.get(2))).into());
        }
        ServerCommand::MemoryDoctor => reply.write(|writer| {
            writer
                .verbatim("The index lives in memory, values in the log; the cache never passes its budget.");
        }),
        ServerCommand::MemoryStats => reply.write(|writer| writer.map(0)),
        ServerCommand::MemoryPurge => reply.ok(),
        ServerCommand::MemoryMallocStats => {
            reply.write(|writer| writer.bulk(b"Stats not supported for the current allocator"));
        }
        ServerCommand::AclWhoAmI => reply.write(|writer| writer.bulk(b"default")),
        ServerCommand::AclList => reply.write(|writer| write_list(writer, &[&acl_line(server)])),
        ServerCommand::AclUsers => reply.write(|writer| write_list(writer, &["default"])),
        ServerCommand::AclCat => write_categories(reply, args)?,
        ServerCommand::AclLog => write_acl_log(reply, args)?,
        ServerCommand::AclGetUser => reply.write(|writer| writer.nil_array()),
        ServerCommand::AclSetUser
        | ServerCommand::AclDelUser
        | ServerCommand::AclSave
        | ServerCommand::AclLoad => return Err(NO_USERS),
    }
    Ok(None)
}

/// WAIT replicas timeout. An acknowledged write is already on the disks of a majority, so there is nothing to
/// wait for. Replies come in order, so everything this connection sent before is acknowledged.
fn check_wait(args: &Args<'_>) -> Result<(), Refusal> {
    check::integer(args.get(1))?; // any number, as in Redis
    check_timeout(args.get(2))
}

/// WAITAOF local replicas timeout, checked in the order in which Redis checks them.
fn check_wait_aof(args: &Args<'_>) -> Result<(), Refusal> {
    if !matches!(check::integer(args.get(1))?, 0 | 1) {
        return Err("ERR value is out of range, value must between 0 and 1".into());
    }
    if !matches!(parse_i64(args.get(2)), Some(0..)) {
        return Err("ERR value is out of range, must be positive".into());
    }
    check_timeout(args.get(3))
}

fn check_timeout(text: &[u8]) -> Result<(), Refusal> {
    match parse_i64(text) {
        None => Err("ERR timeout is not an integer or out of range".into()),
        Some(..0) => Err("ERR timeout is negative".into()),
        Some(_) => Ok(()),
    }
}

/// SLOWLOG GET [count]
fn check_slow_log(args: &Args<'_>) -> Result<(), Refusal> {
    match args.len() {
        2 => Ok(()),
        3 if matches!(parse_i64(args.get(2)), Some(-1..)) => Ok(()),
        3 => Err("ERR count should be greater than or equal to -1".into()),
        _ => Err(wrong_arity("slowlog|get")),
    }
}

/// There is one user, with or without a password.
fn acl_line(server: &ServerConfig) -> String {
    let word = if server.access.wants_password() { "sanitize-payload" } else { "nopass" };
    format!("user default on {word} ~* &* +@all")
}

fn write_list(writer: &mut Writer<'_>, items: &[&str]) {
    writer.array(items.len());
    items.iter().for_each(|item| writer.bulk(item.as_bytes()));
}

/// ACL CAT [category]
fn write_categories(reply: &mut Responder<'_>, args: &Args<'_>) -> Result<(), Refusal> {
    match args.len() {
        2 => reply.write(|writer| write_list(writer, &CATEGORIES)),
        3 => {
            let unknown = || Refusal::from(format!("ERR Unknown category '{}'", lossy(args.get(2))));
            let rows = rows_in(args.get(2)).ok_or_else(unknown)?;
            reply.write(|writer| write_names(writer, &rows));
        }
        _ => return Err(wrong_arity("acl|cat")),
    }
    Ok(())
}

/// ACL LOG [count | RESET]
fn write_acl_log(reply: &mut Responder<'_>, args: &Args<'_>) -> Result<(), Refusal> {
    match args.len() {
        2 => reply.write(|writer| writer.array(0)),
        3 if args.get(2).eq_ignore_ascii_case(b"reset") => reply.ok(),
        3 if parse_i64(args.get(2)).is_some() => reply.write(|writer| writer.array(0)),
        3 => return Err(NOT_AN_INTEGER),
        _ => return Err(wrong_arity("acl|log")),
    }
    Ok(())
}
