//! CLIENT: the client's description of itself, and its questions about other clients.

use super::ask::LocalQuery;
use super::client_state::{ClientState, Replies};
use super::config::ConnectionConfig;
use super::responder::Responder;
use crate::resp::error_line::{ErrorLine, SYNTAX, lossy, wrong_arity};
use crate::resp::number::{integer, parse_i64};
use crate::resp::parser::Args;
use crate::resp::spec::ClientCommand;
use std::borrow::Cow;

const BAD_NAME: ErrorLine =
    Cow::Borrowed("ERR Client names cannot contain spaces, newlines or special characters.");
const NO_PAUSE: ErrorLine =
    Cow::Borrowed("ERR CLIENT PAUSE is not supported: a node cannot hold back the others' clients");
const NO_TRACKING: ErrorLine = Cow::Borrowed("ERR CLIENT TRACKING is not supported");

/// Executes a subcommand, or returns the question that the shell must answer; its arity was checked.
pub(super) fn execute(
    command: ClientCommand,
    client: &mut ClientState,
    config: &ConnectionConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<Option<LocalQuery>, ErrorLine> {
    match command {
        ClientCommand::Id => reply.int(config.id.cast_signed()),
        ClientCommand::GetName if client.name.is_empty() => reply.write(|writer| writer.nil()),
        ClientCommand::GetName => reply.write(|writer| writer.bulk(client.name.as_bytes())),
        ClientCommand::SetName => {
            client.name = name(args.get(2))?;
            reply.ok();
        }
        ClientCommand::SetInfo => {
            set_info(client, args)?;
            reply.ok();
        }
        ClientCommand::Info => return Ok(Some(LocalQuery::Clients { ids: Some(vec![config.id]) })),
        ClientCommand::List => return Ok(Some(LocalQuery::Clients { ids: listed(args)? })),
        ClientCommand::NoEvict | ClientCommand::NoTouch => {
            let word = args.get(2);
            if !word.eq_ignore_ascii_case(b"on") && !word.eq_ignore_ascii_case(b"off") {
                return Err(SYNTAX);
            }
            reply.ok();
        }
        ClientCommand::Capa => reply.ok(),
        ClientCommand::Reply => set_replies(client, reply, args.get(2))?,
        ClientCommand::Kill => kill(client, config, reply, args)?,
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
    Ok(None)
}

/// CLIENT LIST [ID id [id ...] | TYPE type]: the numbers of the connections; `None` for all.
fn listed(args: &Args<'_>) -> Result<Option<Vec<u64>>, ErrorLine> {
    if args.len() == 2 {
        return Ok(None);
    }
    let (option, value) = (args.get(2), args.iter_from(3).next().ok_or(SYNTAX)?);
    if option.eq_ignore_ascii_case(b"id") {
        let ids = args.iter_from(3).map(|id| parse_i64(id).map(i64::cast_unsigned));
        return ids.collect::<Option<_>>().map(Some).ok_or("ERR Invalid client ID".into());
    }
    if !option.eq_ignore_ascii_case(b"type") || args.len() != 4 {
        return Err(SYNTAX);
    }
    match value.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(None),
        // Nodes speak with each other on ports of their own, and there are no subscriptions.
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(Some(Vec::new())),
        _ => Err(format!("ERR Unknown client type '{}'", lossy(value)).into()),
    }
}

fn set_info(client: &mut ClientState, args: &Args<'_>) -> Result<(), ErrorLine> {
    let option = args.get(2);
    let attribute = if option.eq_ignore_ascii_case(b"lib-name") {
        &mut client.library_name
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        &mut client.library_version
    } else {
        return Err(format!("ERR Unrecognized option '{}'", lossy(option)).into());
    };
    *attribute = printable(args.get(3)).ok_or_else(|| {
        ErrorLine::from(format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            lossy(option)
        ))
    })?;
    Ok(())
}

/// CLIENT REPLY ON | OFF | SKIP
fn set_replies(client: &mut ClientState, reply: &mut Responder<'_>, word: &[u8]) -> Result<(), ErrorLine> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => {
            client.replies = Replies::On;
            reply.unmute();
            reply.ok();
        }
        b"off" => client.replies = Replies::Off,
        b"skip" if client.replies == Replies::On => client.replies = Replies::Skip,
        b"skip" => {}
        _ => return Err(SYNTAX),
    }
    Ok(())
}

/// CLIENT KILL: a connection can only end itself; all others count as not found.
fn kill(
    client: &mut ClientState,
    config: &ConnectionConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<(), ErrorLine> {
    if args.len() == 3 {
        if args.get(2) != config.peer_address.as_bytes() {
            return Err(ErrorLine::Borrowed("ERR No such client"));
        }
        reply.ok();
        client.over = true;
        return Ok(());
    }
    let filters: Vec<&[u8]> = args.iter_from(2).collect();
    let is_id = |filter: &[&[u8]]| filter[0].eq_ignore_ascii_case(b"id");
    if filters.chunks_exact(2).any(|filter| is_id(filter) && parse_i64(filter[1]).is_none_or(|id| id < 1)) {
        return Err(ErrorLine::Borrowed("ERR client-id should be greater than 0"));
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
    client.over |= is_killed;
    Ok(())
}

/// Checks CLIENT UNBLOCK id [TIMEOUT | ERROR].
fn check_unblock(args: &Args<'_>) -> Result<(), ErrorLine> {
    let is_known = |word: &[u8]| word.eq_ignore_ascii_case(b"timeout") || word.eq_ignore_ascii_case(b"error");
    if args.len() == 4 && !is_known(args.get(3)) {
        return Err(ErrorLine::Borrowed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    integer(args.get(2)).map(|_| ())
}

/// A name that a client gives itself.
pub(super) fn name(bytes: &[u8]) -> Result<String, ErrorLine> {
    printable(bytes).ok_or(BAD_NAME)
}

/// Printable ASCII without blanks, at most 256 bytes.
fn printable(bytes: &[u8]) -> Option<String> {
    if bytes.len() > 256 || !bytes.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
}
