//! CONFIG: the few parameters that clients and tools look for, each with where its value comes from, and the
//! two that can be changed.

use super::ask::LocalQuery;
use super::config::ServerConfig;
use super::responder::Responder;
use crate::access::{Change, HIDDEN, check_password};
use crate::resp::error_line::{ErrorLine, lossy, wrong_arity};
use crate::resp::glob::{Case, Pattern};
use crate::resp::parser::Args;
use crate::resp::spec::ConfigCommand;

/// Executes a subcommand, or returns the question that the shell must answer; its arity was checked.
pub(super) fn execute(
    command: ConfigCommand,
    server: &ServerConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<Option<LocalQuery>, ErrorLine> {
    match command {
        ConfigCommand::Get => get(server, reply, args)?,
        ConfigCommand::Set if !args.len().is_multiple_of(2) => return Err(wrong_arity("config|set")),
        ConfigCommand::Set => {
            server.access.change(settings(&parameters(server), args)?);
            reply.ok();
        }
        ConfigCommand::ResetStat => return Ok(Some(LocalQuery::ResetStat)),
        ConfigCommand::Rewrite => return Err("ERR The server is running without a config file".into()),
    }
    Ok(None)
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

/// A parameter that CONFIG GET shows.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What its value is, or where it comes from.
    pub source: &'static str,
    value: fn(&ServerConfig) -> String,
}

/// The parameters that CONFIG GET shows, ascending by name. A parameter of Redis that means nothing here is
/// absent: a tool must not take a made-up value for a setting.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "appendfsync",
        source: "`always`: a write is acknowledged when a majority has it on disk",
        value: |_| "always".to_owned(),
    },
    Parameter { name: "appendonly", source: "`yes`: every write is in the log", value: |_| "yes".to_owned() },
    Parameter {
        name: "bind",
        source: "the setting `node.listen`",
        value: |server| server.shown.bind.clone(),
    },
    Parameter {
        name: "cluster-enabled",
        source: "`yes`: CLUSTER answers, and clients may be redirected",
        value: |_| "yes".to_owned(),
    },
    Parameter { name: "databases", source: "`1`: SELECT takes 0 only", value: |_| "1".to_owned() },
    Parameter { name: "dir", source: "the data directory", value: |server| server.shown.dir.clone() },
    Parameter {
        name: "maxclients",
        source: "the setting `limits.connections`, which is per core, times the cores",
        value: |server| server.shown.clients_max.to_string(),
    },
    Parameter { name: "maxmemory", source: "`0`: memory for keys has no bound", value: |_| "0".to_owned() },
    Parameter {
        name: "maxmemory-policy",
        source: "`noeviction`: no key is ever evicted",
        value: |_| "noeviction".to_owned(),
    },
    Parameter {
        name: "port",
        source: "the client port of this node",
        value: |server| server.port.to_string(),
    },
    Parameter {
        name: "protected-mode",
        source: "the setting `security.protected_mode`, or what CONFIG SET made of it",
        value: |server| if server.access.is_protected() { "yes" } else { "no" }.to_owned(),
    },
    Parameter {
        name: "proto-max-bulk-len",
        source: "the longest value, in bytes",
        value: |_| synod_types::limits::VALUE_BYTES_MAX.to_string(),
    },
    Parameter {
        name: "requirepass",
        source: "empty without a password, `********` with one: the password is not shown",
        value: |server| if server.access.wants_password() { HIDDEN } else { "" }.to_owned(),
    },
    Parameter { name: "save", source: "empty: there are no snapshots", value: |_| String::new() },
    Parameter {
        name: "tcp-keepalive",
        source: "the setting `limits.tcp_keepalive_s`",
        value: |server| server.shown.tcp_keepalive_s.to_string(),
    },
    Parameter {
        name: "timeout",
        source: "`0`: idle connections of Redis clients stay open",
        value: |_| "0".to_owned(),
    },
];

/// The parameters with their values.
fn parameters(server: &ServerConfig) -> Vec<(&'static str, String)> {
    PARAMETERS.iter().map(|parameter| (parameter.name, (parameter.value)(server))).collect()
}
