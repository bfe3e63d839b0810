//! Commands about the node: INFO, WAIT and those that monitoring tools send. Answers are true for this
//! server, mostly "none"; a feature that does not exist here is named as such.

use super::ask::LocalQuery;
use super::config::ServerConfig;
use super::responder::Responder;
use super::table_commands::{rows_in, write_names};
use crate::resp::error_line::{ErrorLine, NOT_AN_INTEGER, lossy, wrong_arity};
use crate::resp::number::{integer, parse_i64};
use crate::resp::parser::Args;
use crate::resp::reply::Writer;
use crate::resp::scripts;
use crate::resp::spec::{CATEGORIES, ServerCommand};
use std::borrow::Cow;

const NO_SHUTDOWN: ErrorLine =
    Cow::Borrowed("ERR SHUTDOWN is not for clients: stop the node's process on its own machine");
const NO_MONITOR: ErrorLine =
    Cow::Borrowed("ERR MONITOR is not supported: a node sees only what it is asked itself");
const NO_DEBUG: ErrorLine =
    Cow::Borrowed("ERR DEBUG is not supported: it would stall the other clients of this core");
const NO_USERS: ErrorLine =
    Cow::Borrowed("ERR users are not kept here: the one password is in the node's configuration");
const LATENCY_REPORT: &str = "No latency events are kept here: see INFO and the metrics of the node.";
const MEMORY_REPORT: &str =
    "The index lives in memory, values in the log; the cache never passes its budget.";

/// Executes a command, or returns the question that the shell must answer; its arity was checked.
pub(super) fn execute(
    command: ServerCommand,
    server: &ServerConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<Option<LocalQuery>, ErrorLine> {
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
        ServerCommand::Role => reply.write(write_role),
        ServerCommand::Shutdown => return Err(NO_SHUTDOWN),
        ServerCommand::Monitor => return Err(NO_MONITOR),
        ServerCommand::Debug => return Err(NO_DEBUG),
        ServerCommand::ScriptLoad => {
            let (_, digest) = scripts::by_text(args.get(2)).ok_or(ErrorLine::Borrowed(scripts::NO_ENGINE))?;
            reply.write(|writer| writer.bulk(digest.as_bytes()));
        }
        ServerCommand::ScriptExists => reply.write(|writer| {
            writer.array(args.len() - 2);
            args.iter_from(2).for_each(|digest| writer.int(scripts::by_digest(digest).is_some().into()));
        }),
        ServerCommand::ScriptFlush if args.len() > 3 => return Err(wrong_arity("script|flush")),
        ServerCommand::ScriptFlush
        | ServerCommand::FunctionFlush
        | ServerCommand::SlowLogReset
        | ServerCommand::MemoryPurge => reply.ok(),
        ServerCommand::SlowLogGet => write_slow_log(reply, args)?,
        ServerCommand::FunctionList | ServerCommand::LatencyLatest | ServerCommand::LatencyHistory => {
            reply.write(|writer| writer.array(0));
        }
        ServerCommand::SlowLogLen | ServerCommand::LatencyReset => reply.int(0),
        ServerCommand::LatencyHistogram | ServerCommand::MemoryStats => reply.write(|writer| writer.map(0)),
        ServerCommand::LatencyGraph => {
            return Err(format!("ERR No samples available for event '{}'", lossy(args.get(2))).into());
        }
        ServerCommand::LatencyDoctor => reply.write(|writer| writer.verbatim(LATENCY_REPORT)),
        ServerCommand::MemoryDoctor => reply.write(|writer| writer.verbatim(MEMORY_REPORT)),
        ServerCommand::MemoryMallocStats => {
            reply.write(|writer| writer.bulk(b"Stats not supported for the current allocator"));
        }
        ServerCommand::AclWhoAmI => reply.write(|writer| writer.bulk(b"default")),
        ServerCommand::AclList => reply.write(|writer| write_list(writer, &[&acl_line(server)])),
        ServerCommand::AclUsers => reply.write(|writer| write_list(writer, &["default"])),
        ServerCommand::AclCat => write_categories(reply, args)?,
        ServerCommand::AclLog => write_acl_log(reply, args)?,
        ServerCommand::AclGetUser if args.get(2) == b"default" => {
            reply.write(|writer| write_user(writer, server));
        }
        ServerCommand::AclGetUser => reply.write(|writer| writer.nil_array()),
        ServerCommand::AclSetUser
        | ServerCommand::AclDelUser
        | ServerCommand::AclSave
        | ServerCommand::AclLoad => return Err(NO_USERS),
    }
    Ok(None)
}

/// ROLE: any node takes writes; the other nodes are its equals, not its replicas.
fn write_role(writer: &mut Writer<'_>) {
    writer.array(3);
    writer.bulk(b"master");
    writer.int(0);
    writer.array(0);
}

/// WAIT replicas timeout. An acknowledged write is already on the disks of a majority, so there is nothing to
/// wait for. Replies come in order, so everything this connection sent before is acknowledged.
fn check_wait(args: &Args<'_>) -> Result<(), ErrorLine> {
    integer(args.get(1))?; // any number, as in Redis
    check_timeout(args.get(2))
}

/// WAITAOF local replicas timeout, checked in the order in which Redis checks them.
fn check_wait_aof(args: &Args<'_>) -> Result<(), ErrorLine> {
    if !matches!(integer(args.get(1))?, 0 | 1) {
        return Err("ERR value is out of range, value must between 0 and 1".into());
    }
    if !matches!(parse_i64(args.get(2)), Some(0..)) {
        return Err("ERR value is out of range, must be positive".into());
    }
    check_timeout(args.get(3))
}

fn check_timeout(text: &[u8]) -> Result<(), ErrorLine> {
    match parse_i64(text) {
        None => Err("ERR timeout is not an integer or out of range".into()),
        Some(..0) => Err("ERR timeout is negative".into()),
        Some(_) => Ok(()),
    }
}

/// SLOWLOG GET [count]
fn write_slow_log(reply: &mut Responder<'_>, args: &Args<'_>) -> Result<(), ErrorLine> {
    match args.len() {
        2 => {}
        3 if matches!(parse_i64(args.get(2)), Some(-1..)) => {}
        3 => return Err("ERR count should be greater than or equal to -1".into()),
        _ => return Err(wrong_arity("slowlog|get")),
    }
    reply.write(|writer| writer.array(0));
    Ok(())
}

/// There is one user, with or without a password.
fn acl_line(server: &ServerConfig) -> String {
    let word = if server.access.wants_password() { "sanitize-payload" } else { "nopass" };
    format!("user default on {word} ~* &* +@all")
}

/// The one user in the form of ACL GETUSER. The digests of its passwords are not shown.
fn write_user(writer: &mut Writer<'_>, server: &ServerConfig) {
    let flag = if server.access.wants_password() { "sanitize-payload" } else { "nopass" };
    writer.map(6);
    writer.bulk(b"flags");
    write_list(writer, &["on", flag]);
    writer.bulk(b"passwords");
    writer.array(0);
    for (name, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        writer.bulk(name.as_bytes());
        writer.bulk(rule.as_bytes());
    }
    writer.bulk(b"selectors");
    writer.array(0);
}

fn write_list(writer: &mut Writer<'_>, items: &[&str]) {
    writer.array(items.len());
    items.iter().for_each(|item| writer.bulk(item.as_bytes()));
}

/// ACL CAT [category]
fn write_categories(reply: &mut Responder<'_>, args: &Args<'_>) -> Result<(), ErrorLine> {
    match args.len() {
        2 => reply.write(|writer| write_list(writer, &CATEGORIES)),
        3 => {
            let unknown = || ErrorLine::from(format!("ERR Unknown category '{}'", lossy(args.get(2))));
            let rows = rows_in(args.get(2)).ok_or_else(unknown)?;
            reply.write(|writer| write_names(writer, &rows));
        }
        _ => return Err(wrong_arity("acl|cat")),
    }
    Ok(())
}

/// ACL LOG [count | RESET]
fn write_acl_log(reply: &mut Responder<'_>, args: &Args<'_>) -> Result<(), ErrorLine> {
    match args.len() {
        2 => reply.write(|writer| writer.array(0)),
        3 if args.get(2).eq_ignore_ascii_case(b"reset") => reply.ok(),
        3 if parse_i64(args.get(2)).is_some() => reply.write(|writer| writer.array(0)),
        3 => return Err(NOT_AN_INTEGER),
        _ => return Err(wrong_arity("acl|log")),
    }
    Ok(())
}
