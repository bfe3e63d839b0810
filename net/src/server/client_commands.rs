//! CLIENT: the client's description of itself, and its questions about other clients.

use super::config::ConnectionConfig;
use super::responder::Responder;
use super::session::{Replies, Session};
use crate::resp::check;
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::refusal::{Refusal, SYNTAX, lossy, wrong_arity};
use crate::resp::reply::Proto;
use crate::resp::spec::ClientCommand;
use std::borrow::Cow;

const BAD_NAME: Refusal =
    Cow::Borrowed("ERR Client names cannot contain spaces, newlines or special characters.");
const NO_PAUSE: Refusal =
    Cow::Borrowed("ERR CLIENT PAUSE is not supported: a node cannot hold back the others' clients");
const NO_TRACKING: Refusal = Cow::Borrowed("ERR CLIENT TRACKING is not supported");

/// Executes a subcommand; its arity was checked.
pub(super) fn execute(
    command: ClientCommand,
    session: &mut Session,
    config: &ConnectionConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<(), Refusal> {
    match command {
        ClientCommand::Id => reply.int(config.id.cast_signed()),
        ClientCommand::GetName if session.name.is_empty() => reply.write(|writer| writer.nil()),
        ClientCommand::GetName => reply.write(|writer| writer.bulk(session.name.as_bytes())),
        ClientCommand::SetName => {
            session.name = name(args.get(2))?;
            reply.ok();
        }
        ClientCommand::SetInfo => {
            set_info(session, args)?;
            reply.ok();
        }
        ClientCommand::List if args.len() > 3 && args.get(2).eq_ignore_ascii_case(b"id") => {
            let ids: Option<Vec<i64>> = args.iter_from(3).map(parse_i64).collect();
            let ids = ids.ok_or(Refusal::Borrowed("ERR Invalid client ID"))?;
            let is_named = ids.contains(&config.id.cast_signed());
            let line = if is_named { describe(session, config, reply.proto()) } else { String::new() };
            reply.write(|writer| writer.verbatim(&line));
        }
        // LIST shows this connection only: the others may live on other cores.
        ClientCommand::Info | ClientCommand::List => {
            let line = describe(session, config, reply.proto());
            reply.write(|writer| writer.verbatim(&line));
        }
        ClientCommand::NoEvict | ClientCommand::NoTouch => {
            let word = args.get(2);
            if !word.eq_ignore_ascii_case(b"on") && !word.eq_ignore_ascii_case(b"off") {
                return Err(SYNTAX);
            }
            reply.ok();
        }
        ClientCommand::Capa => reply.ok(),
        ClientCommand::Reply => set_replies(session, reply, args.get(2))?,
        ClientCommand::Kill => kill(session, config, reply, args)?,
        ClientCommand::Unpause => reply.ok(),
        ClientCommand::Pause if args.len() > 4 => return Err(wrong_arity("client|pause")),
        ClientCommand::Pause => return Err(NO_PAUSE),
        ClientCommand::Tracking if args.get(2).eq_ignore_ascii_case(b"off") => reply.ok(),
        ClientCommand::Tracking => return Err(NO_TRACKING),
        ClientCommand::GetRedir => reply.int(-1),
        ClientCommand::Unblock if args.len() > 4 => return Err(wrong_arity("client|unblock")),
        ClientCommand::Unblock => {
            check_unblock(args)?;
            reply.int(0); // nothing blocks
        }
    }
    Ok(())
}

fn set_info(session: &mut Session, args: &Args<'_>) -> Result<(), Refusal> {
    let option = args.get(2);
    let attribute = if option.eq_ignore_ascii_case(b"lib-name") {
        &mut session.library_name
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        &mut session.library_version
    } else {
        return Err(format!("ERR Unrecognized option '{}'", lossy(option)).into());
    };
    *attribute = printable(args.get(3)).ok_or_else(|| {
        Refusal::from(format!("ERR {} cannot contain spaces, newlines or special characters.", lossy(option)))
    })?;
    Ok(())
}

fn describe(session: &Session, config: &ConnectionConfig, proto: Proto) -> String {
    format!(
        "id={} addr={} laddr={} name={} age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 \
         cmd=client|info user=default resp={} lib-name={} lib-ver={}\n",
        config.id,
        config.peer_address,
        config.local_address,
        session.name,
        if proto == Proto::Resp3 { 3 } else { 2 },
        session.library_name,
        session.library_version,
    )
}

/// CLIENT REPLY ON | OFF | SKIP
fn set_replies(session: &mut Session, reply: &mut Responder<'_>, word: &[u8]) -> Result<(), Refusal> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => {
            session.replies = Replies::On;
            reply.unmute();
            reply.ok();
        }
        b"off" => session.replies = Replies::Off,
        b"skip" if session.replies == Replies::On => session.replies = Replies::Skip,
        b"skip" => {}
        _ => return Err(SYNTAX),
    }
    Ok(())
}

/// CLIENT KILL: a connection can only end itself; all others count as not found.
fn kill(
    session: &mut Session,
    config: &ConnectionConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<(), Refusal> {
    if args.len() == 3 {
        if args.get(2) != config.peer_address.as_bytes() {
            return Err(Refusal::Borrowed("ERR No such client"));
        }
        reply.ok();
        session.over = true;
        return Ok(());
    }
    let filters: Vec<&[u8]> = args.iter_from(2).collect();
    let is_id = |filter: &[&[u8]]| filter[0].eq_ignore_ascii_case(b"id");
    if filters.chunks_exact(2).any(|filter| is_id(filter) && parse_i64(filter[1]).is_none_or(|id| id < 1)) {
        return Err(Refusal::Borrowed("ERR client-id should be greater than 0"));
    }
    if !filters.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let (mut is_own, mut skips_own) = (true, true);
    for filter in filters.chunks_exact(2) {
        match filter[0].to_ascii_lowercase().as_slice() {
            b"id" => is_own &= parse_i64(filter[1]) == Some(config.id.cast_signed()),
            b"addr" => is_own &= filter[1] == config.peer_address.as_bytes(),
            b"laddr" => is_own &= filter[1] == config.local_address.as_bytes(),
            b"user" => is_own &= filter[1] == b"default",
            b"type" => is_own &= filter[1].eq_ignore_ascii_case(b"normal"),
            b"skipme" => skips_own = !filter[1].eq_ignore_ascii_case(b"no"),
            _ => return Err(SYNTAX),
        }
    }
    let is_killed = is_own && !skips_own;
    reply.int(i64::from(is_killed));
    session.over |= is_killed;
    Ok(())
}

/// Checks CLIENT UNBLOCK id [TIMEOUT | ERROR].
fn check_unblock(args: &Args<'_>) -> Result<(), Refusal> {
    let is_known = |word: &[u8]| word.eq_ignore_ascii_case(b"timeout") || word.eq_ignore_ascii_case(b"error");
    if args.len() == 4 && !is_known(args.get(3)) {
        return Err(Refusal::Borrowed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    check::integer(args.get(2)).map(|_| ())
}

/// A name that a client gives itself.
pub(super) fn name(bytes: &[u8]) -> Result<String, Refusal> {
    printable(bytes).ok_or(BAD_NAME)
}

/// Printable ASCII without blanks, at most 256 bytes.
fn printable(bytes: &[u8]) -> Option<String> {
    if bytes.len() > 256 || !bytes.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}
