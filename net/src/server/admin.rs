//! RESP commands about the connection and the server: HELLO, AUTH, CLIENT, COMMAND, CONFIG, INFO and their like.

use super::client_commands::{BAD_NAME, client_name};
use super::resp::Replies;
use super::resp::Session;
use super::{ConnectionConfig, ServerConfig};
use crate::access::{Change, HIDDEN, check_password};
use crate::resp::glob::{Case, Pattern};
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::plan::{check_database, lossy, wrong_arity};
use crate::resp::reply::{Proto, Writer};
use crate::resp::scripts;
use crate::resp::spec::{Spec, Verb};

/// The version of Redis whose commands and texts are followed; some clients choose features by it.
pub(super) const REDIS_VERSION: &str = "7.2.0";

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                           your configuration is correct?";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const HELLO_NO_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
                             AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
                             version at the same time";

impl Session {
    pub(super) fn execute_admin(
        &mut self,
        config: &ConnectionConfig,
        out: &mut Vec<u8>,
        spec: &'static Spec,
        args: &Args<'_>,
    ) {
        match spec.verb {
            Verb::Auth => self.auth(config, out, args),
            Verb::Hello => self.hello(config, out, args),
            Verb::Client => self.client(config, out, args),
            Verb::Command => self.command(out, args),
            Verb::Config => self.config(config, out, args),
            Verb::Reset => {
                self.forget_redirects();
                self.proto = Proto::Resp2;
                self.name.clear();
                self.replies = Replies::On;
                self.unmute();
                self.authenticated = false; // whether one is wanted is asked each time
                self.write(out, |writer| writer.simple("RESET"));
            }
            Verb::Role | Verb::SlowLog | Verb::Latency | Verb::Memory | Verb::Acl | Verb::Function => {
                self.about(&config.server, out, spec, args);
            }
            Verb::Object => self.unknown_subcommand(out, "OBJECT", args),
            // Nothing is ever watched.
            Verb::Unwatch => self.write(out, |writer| writer.simple("OK")),
            Verb::Debug | Verb::Monitor | Verb::Shutdown => self.refuse(out, spec),
            // Every other verb is planned or answered before it gets here (a test walks the whole table).
            _ => self.write(out, |writer| writer.error("ERR not available")),
        }
    }

    pub(super) fn select(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        self.write(out, |writer| match check_database(args.get(1)) {
            Ok(()) => writer.simple("OK"),
            Err(error) => writer.error(&error),
        });
    }

    fn auth(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        let access = &config.server.access;
        let error = match args.len() {
            2 if !access.wants_password() => Err(NO_PASSWORD),
            2 => self.authenticate(config, b"default", args.get(1)),
            3 => self.authenticate(config, args.get(1), args.get(2)),
            _ => Err("ERR syntax error"),
        };
        self.write(out, |writer| match error {
            Ok(()) => writer.simple("OK"),
            Err(error) => writer.error(error),
        });
    }

    /// There is one user, called `default` as in Redis; without a password it takes any.
    fn authenticate(
        &mut self,
        config: &ConnectionConfig,
        user: &[u8],
        given: &[u8],
    ) -> Result<(), &'static str> {
        if user != b"default" || !config.server.access.admits(config.is_loopback, given) {
            return Err(WRONG_PASSWORD);
        }
        self.authenticated = true;
        Ok(())
    }

    /// HELLO [version [AUTH user password] [SETNAME name]]
    fn hello(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        match self.hello_options(config, args) {
            Ok((proto, name)) => {
                self.proto = proto;
                if let Some(name) = name {
                    self.name = name;
                }
                self.write(out, |writer| write_hello(writer, config, proto));
            }
            Err(error) => self.write(out, |writer| writer.error(&error)),
        }
    }

    fn hello_options(
        &mut self,
        config: &ConnectionConfig,
        args: &Args<'_>,
    ) -> Result<(Proto, Option<String>), String> {
        let mut proto = self.proto;
        if args.len() > 1 {
            proto = match parse_i64(args.get(1)) {
                Some(2) => Proto::Resp2,
                Some(3) => Proto::Resp3,
                Some(_) => return Err("NOPROTO unsupported protocol version".into()),
                None => return Err("ERR Protocol version is not an integer or out of range".into()),
            };
        }
        let mut name = None;
        let mut credentials = None;
        let mut options = args.iter_from(2);
        while let Some(option) = options.next() {
            let syntax = || format!("ERR Syntax error in HELLO option '{}'", lossy(option));
            if option.eq_ignore_ascii_case(b"AUTH") {
                let user = options.next().ok_or_else(syntax)?;
                credentials = Some((user, options.next().ok_or_else(syntax)?));
            } else if option.eq_ignore_ascii_case(b"SETNAME") {
                name = Some(client_name(options.next().ok_or_else(syntax)?).ok_or(BAD_NAME)?);
            } else {
                return Err(syntax());
            }
        }
        if let Some((user, given)) = credentials {
            self.authenticate(config, user, given)?;
        }
        if !self.is_let_in(config) {
            return Err(HELLO_NO_AUTH.into());
        }
        Ok((proto, name))
    }

    fn config(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        let sub = args.get(1).to_ascii_lowercase();
        match (sub.as_slice(), args.len()) {
            (b"get", 3..) => {
                let patterns = args.iter_from(2).map(|pattern| Pattern::new(pattern, Case::Ignored));
                let patterns: Vec<Pattern> = match patterns.collect() {
                    Ok(patterns) => patterns,
                    Err(error) => return self.write(out, |writer| writer.error(&error)),
                };
                let all = parameters(&config.server);
                let found: Vec<_> = all
                    .iter()
                    .filter(|(name, _)| patterns.iter().any(|pattern| pattern.fits(name.as_bytes())))
                    .collect();
                self.write(out, |writer| {
                    writer.map(found.len());
                    for (name, value) in found {
                        writer.bulk(name.as_bytes());
                        writer.bulk(value.as_bytes());
                    }
                });
            }
            (b"set", len @ 4..) if len.is_multiple_of(2) => {
                let changes = settings(&parameters(&config.server), args);
                self.write(out, |writer| match changes {
                    Err(error) => writer.error(&error),
                    Ok(changes) => {
                        config.server.access.change(changes);
                        writer.simple("OK");
                    }
                });
            }
            (b"resetstat", 2) => self.write(out, |writer| writer.simple("OK")),
            (b"rewrite", 2) => {
                self.write(out, |writer| writer.error("ERR The server is running without a config file"));
            }
            (b"get", 2) | (b"set" | b"resetstat" | b"rewrite", _) => {
                let error = wrong_arity(&format!("config|{}", String::from_utf8_lossy(&sub)));
                self.write(out, |writer| writer.error(&error));
            }
            _ => self.unknown_subcommand(out, "CONFIG", args),
        }
    }

    /// SCRIPT LOAD, EXISTS and FLUSH: the known scripts are always there, and nothing else can be.
    pub(super) fn script(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        let sub = args.get(1).to_ascii_lowercase();
        match (sub.as_slice(), args.len()) {
            (b"load", 3) => self.write(out, |writer| match scripts::by_text(args.get(2)) {
                Some((_, digest)) => writer.bulk(digest.as_bytes()),
                None => writer.error(scripts::NO_ENGINE),
            }),
            (b"exists", 3..) => self.write(out, |writer| {
                writer.array(args.len() - 2);
                args.iter_from(2).for_each(|digest| writer.int(scripts::by_digest(digest).is_some().into()));
            }),
            (b"flush", 2 | 3) => self.write(out, |writer| writer.simple("OK")),
            (b"load" | b"exists" | b"flush", _) => {
                let error = wrong_arity(&format!("script|{}", String::from_utf8_lossy(&sub)));
                self.write(out, |writer| writer.error(&error));
            }
            _ => self.unknown_subcommand(out, "SCRIPT", args),
        }
    }

    pub(super) fn unknown_subcommand(&mut self, out: &mut Vec<u8>, name: &str, args: &Args<'_>) {
        let error = format!("ERR unknown subcommand '{}'. Try {name} HELP.", lossy(args.get(1)));
        self.write(out, |writer| writer.error(&error));
    }
}

fn write_hello(writer: &mut Writer<'_>, config: &ConnectionConfig, proto: Proto) {
    writer.map(7);
    for (name, text) in [("server", "synod"), ("version", REDIS_VERSION)] {
        writer.bulk(name.as_bytes());
        writer.bulk(text.as_bytes());
    }
    writer.bulk(b"proto");
    writer.int(if proto == Proto::Resp3 { 3 } else { 2 });
    writer.bulk(b"id");
    writer.int(config.id.cast_signed());
    for (name, text) in [("mode", "cluster"), ("role", "master")] {
        writer.bulk(name.as_bytes());
        writer.bulk(text.as_bytes());
    }
    writer.bulk(b"modules");
    writer.array(0);
}

/// What CONFIG SET changes, on this node until it is restarted: all of it or, as in Redis, nothing. Few things can be set, and what is so already may be asked for.
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
        // Who puts back what CONFIG GET showed changes nothing.
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

/// What CONFIG GET shows: what clients and tools look for, then what the shell adds.
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
        // Whether there is one, never which.
        ("requirepass", if server.access.wants_password() { HIDDEN.to_owned() } else { String::new() }),
        ("save", String::new()),
        ("timeout", "0".to_owned()),
    ];
    all.retain(|(name, _)| !server.parameters.iter().any(|(other, _)| other == name));
    all.extend(server.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
    all
}
