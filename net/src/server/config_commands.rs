//! CONFIG: the few parameters that clients and tools look for, and the two that can be changed.

use super::config::ServerConfig;
use super::responder::Responder;
use crate::access::{Change, HIDDEN, check_password};
use crate::resp::error_line::{ErrorLine, lossy, wrong_arity};
use crate::resp::glob::{Case, Pattern};
use crate::resp::parser::Args;
use crate::resp::spec::ConfigCommand;

/// Executes a subcommand; its arity was checked.
pub(super) fn execute(
    command: ConfigCommand,
    server: &ServerConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<(), ErrorLine> {
    match command {
        ConfigCommand::Get => get(server, reply, args)?,
        ConfigCommand::Set if !args.len().is_multiple_of(2) => return Err(wrong_arity("config|set")),
        ConfigCommand::Set => {
            server.access.change(settings(&parameters(server), args)?);
            reply.ok();
        }
        ConfigCommand::ResetStat => reply.ok(),
        ConfigCommand::Rewrite => return Err("ERR The server is running without a config file".into()),
    }
    Ok(())
}

/// CONFIG GET pattern ...
fn get(server: &ServerConfig, reply: &mut Responder<'_>, args: &Args<'_>) -> Result<(), ErrorLine> {
    let patterns = args.iter_from(2).map(|pattern| Pattern::new(pattern, Case::Ignored));
    let patterns = patterns.collect::<Result<Vec<Pattern>, String>>()?;
    let all = parameters(server);
    let found: Vec<_> =
        all.iter().filter(|(name, _)| patterns.iter().any(|pattern| pattern.fits(name.as_bytes()))).collect();
    reply.write(|writer| {
        writer.map(found.len());
        for (name, value) in found {
            writer.bulk(name.as_bytes());
            writer.bulk(value.as_bytes());
        }
    });
    Ok(())
}

/// The changes that CONFIG SET makes on this node until its restart: all of them or, as in Redis, none. Few
/// parameters can be set; setting one to the value it already has is always allowed.
fn settings<'a>(all: &[(&str, String)], args: &Args<'a>) -> Result<Vec<Change<'a>>, String> {
    let given: Vec<&[u8]> = args.iter_from(2).collect();
    let names = || given.iter().step_by(2);
    if let Some((_, twice)) = names()
        .enumerate()
        .find(|(at, name)| names().take(*at).any(|earlier| earlier.eq_ignore_ascii_case(name)))
    {
        let name = lossy(twice);
        return Err(format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter"
        ));
    }
    let changes = given.chunks_exact(2).map(|pair| setting(all, pair[0], pair[1]));
    changes.filter_map(Result::transpose).collect()
}

fn setting<'a>(all: &[(&str, String)], given: &[u8], value: &'a [u8]) -> Result<Option<Change<'a>>, String> {
    let name = lossy(given);
    let failed =
        |why: &str| Err(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"));
    if given.eq_ignore_ascii_case(b"requirepass") {
        // A client that sets the value shown by CONFIG GET changes nothing.
        let is_as_shown =
            all.iter().any(|(known, shown)| *known == "requirepass" && shown.as_bytes() == value);
        return match check_password(value) {
            _ if is_as_shown => Ok(None),
            _ if value.is_empty() => Ok(Some(Change::Password(None))),
            Ok(()) => Ok(Some(Change::Password(Some(value)))),
            Err(why) => failed(why),
        };
    }
    if given.eq_ignore_ascii_case(b"protected-mode") {
        return match value.to_ascii_lowercase().as_slice() {
            b"yes" => Ok(Some(Change::Protected(true))),
            b"no" => Ok(Some(Change::Protected(false))),
            _ => failed("argument must be 'yes' or 'no'"),
        };
    }
    match all.iter().find(|(known, _)| given.eq_ignore_ascii_case(known.as_bytes())) {
        None => Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")),
        Some((_, held)) if held.as_bytes().eq_ignore_ascii_case(value) => Ok(None),
        Some(_) => failed("can't set immutable config"),
    }
}

fn yes_or_no(holds: bool) -> String {
    if holds { "yes" } else { "no" }.to_owned()
}

/// The parameters that CONFIG GET shows: those that clients and tools look for, then those that the shell
/// adds.
fn parameters(server: &ServerConfig) -> Vec<(&str, String)> {
    let mut all = vec![
        ("appendfsync", "always".to_owned()),
        ("appendonly", "yes".to_owned()),
        ("cluster-enabled", "yes".to_owned()),
        ("databases", "1".to_owned()),
        ("maxmemory", "0".to_owned()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("port", server.port.to_string()),
        ("proto-max-bulk-len", synod_types::limits::VALUE_BYTES_MAX.to_string()),
        ("protected-mode", yes_or_no(server.access.is_protected())),
        // Shows whether there is a password, never the password.
        ("requirepass", if server.access.wants_password() { HIDDEN.to_owned() } else { String::new() }),
        ("save", String::new()),
        ("timeout", "0".to_owned()),
    ];
    all.retain(|(name, _)| !server.parameters.iter().any(|(other, _)| other == name));
    all.extend(server.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
    all
}
