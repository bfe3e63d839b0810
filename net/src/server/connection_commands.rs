//! Commands about the connection itself: PING, HELLO, AUTH, SELECT, READONLY and the like.

use super::client_commands;
use super::client_state::{ClientState, Replies};
use super::config::{ConnectionConfig, REDIS_VERSION};
use super::responder::Responder;
use crate::resp::error_line::{ErrorLine, SYNTAX, lossy, wrong_arity};
use crate::resp::number::{check_database, parse_i64};
use crate::resp::parser::Args;
use crate::resp::reply::{Proto, Writer};
use crate::resp::spec::ConnectionCommand;
use std::borrow::Cow;

const NO_PASSWORD: ErrorLine = Cow::Borrowed(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
     configuration is correct?",
);
const WRONG_PASSWORD: ErrorLine =
    Cow::Borrowed("WRONGPASS invalid username-password pair or user is disabled.");
const HELLO_NO_AUTH: ErrorLine = Cow::Borrowed(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
     <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
     same time",
);

/// Executes a command; its arity was checked.
pub(super) fn execute(
    command: ConnectionCommand,
    client: &mut ClientState,
    config: &ConnectionConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Result<(), ErrorLine> {
    match command {
        ConnectionCommand::Ping => match args.len() {
            1 => reply.write(|writer| writer.simple("PONG")),
            2 => reply.write(|writer| writer.bulk(args.get(1))),
            _ => return Err(wrong_arity("ping")),
        },
        ConnectionCommand::Echo => reply.write(|writer| writer.bulk(args.get(1))),
        ConnectionCommand::Select => {
            check_database(args.get(1))?;
            reply.ok();
        }
        ConnectionCommand::Asking => {
            client.asking = true;
            reply.ok();
        }
        ConnectionCommand::ReadOnly => {
            client.read_only = true;
            reply.ok();
        }
        ConnectionCommand::ReadWrite => {
            client.read_only = false;
            reply.ok();
        }
        ConnectionCommand::Auth => {
            auth(client, config, args)?;
            reply.ok();
        }
        ConnectionCommand::Hello => {
            let proto = hello(client, config, reply.proto(), args)?;
            reply.speak(proto);
            reply.write(|writer| write_hello(writer, config, proto));
        }
        ConnectionCommand::Quit => {
            reply.ok();
            client.over = true;
        }
        ConnectionCommand::Reset => {
            client.asking = false;
            client.read_only = false;
            client.name.clear();
            client.replies = Replies::On;
            client.authenticated = false; // whether a password is wanted is checked each time
            reply.speak(Proto::Resp2);
            reply.unmute();
            reply.write(|writer| writer.simple("RESET"));
        }
    }
    Ok(())
}

/// AUTH [user] password
fn auth(client: &mut ClientState, config: &ConnectionConfig, args: &Args<'_>) -> Result<(), ErrorLine> {
    match args.len() {
        2 if !config.server.access.wants_password() => Err(NO_PASSWORD),
        2 => authenticate(client, config, b"default", args.get(1)),
        3 => authenticate(client, config, args.get(1), args.get(2)),
        _ => Err(SYNTAX),
    }
}

/// There is one user, called `default` as in Redis. Without a password any password is accepted.
fn authenticate(
    client: &mut ClientState,
    config: &ConnectionConfig,
    user: &[u8],
    given: &[u8],
) -> Result<(), ErrorLine> {
    if user != b"default" || !config.server.access.admits(config.is_loopback, given) {
        return Err(WRONG_PASSWORD);
    }
    client.authenticated = true;
    Ok(())
}

/// HELLO [version [AUTH user password] [SETNAME name]]: returns the protocol version used from here on.
fn hello(
    client: &mut ClientState,
    config: &ConnectionConfig,
    spoken: Proto,
    args: &Args<'_>,
) -> Result<Proto, ErrorLine> {
    let mut proto = spoken;
    if args.len() > 1 {
        proto = match parse_i64(args.get(1)) {
            Some(2) => Proto::Resp2,
            Some(3) => Proto::Resp3,
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
        };
    }
    let (mut name, mut credentials) = (None, None);
    let mut options = args.iter_from(2);
    while let Some(option) = options.next() {
        let syntax = || ErrorLine::from(format!("ERR Syntax error in HELLO option '{}'", lossy(option)));
        if option.eq_ignore_ascii_case(b"AUTH") {
            let user = options.next().ok_or_else(syntax)?;
            credentials = Some((user, options.next().ok_or_else(syntax)?));
        } else if option.eq_ignore_ascii_case(b"SETNAME") {
            name = Some(client_commands::name(options.next().ok_or_else(syntax)?)?);
        } else {
            return Err(syntax());
        }
    }
    if let Some((user, given)) = credentials {
        authenticate(client, config, user, given)?;
    }
    if !client.is_let_in(config) {
        return Err(HELLO_NO_AUTH);
    }
    if let Some(name) = name {
        client.name = name;
    }
    Ok(proto)
}

fn write_hello(writer: &mut Writer<'_>, config: &ConnectionConfig, proto: Proto) {
    writer.map(7);
    for (name, text) in [("server", "synod"), ("version", REDIS_VERSION)] {
        writer.bulk(name.as_bytes());
        writer.bulk(text.as_bytes());
    }
    writer.bulk(b"proto");
    writer.int(proto.number());
    writer.bulk(b"id");
    writer.int(config.id.cast_signed());
    for (name, text) in [("mode", "cluster"), ("role", "master")] {
        writer.bulk(name.as_bytes());
        writer.bulk(text.as_bytes());
    }
    writer.bulk(b"modules");
    writer.array(0);
}
