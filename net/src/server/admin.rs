//! RESP commands about the connection and the server: HELLO, AUTH, CLIENT, COMMAND, CONFIG, INFO and their like.

use super::resp::Session;
use super::{ConnectionConfig, LocalAnswer, LocalQuery, ServerConfig, cluster, info, password_fits};
use crate::resp::glob;
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::plan::{lossy, wrong_arity};
use crate::resp::reply::{Proto, Writer};
use crate::resp::scripts;
use crate::resp::spec::{self, SPECS, Spec, Verb};

/// The version of Redis whose commands and texts are followed; some clients choose features by it.
pub(super) const REDIS_VERSION: &str = "7.2.0";

const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                           your configuration is correct?";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const HELLO_NO_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
                             AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol \
                             version at the same time";
const BAD_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Writes what the shell answered to a query.
pub(super) fn write_answer(
    writer: &mut Writer<'_>,
    server: &ServerConfig,
    query: &LocalQuery,
    answer: &LocalAnswer,
) {
    match (query, answer) {
        (LocalQuery::Info { sections }, LocalAnswer::Status(status)) => {
            writer.verbatim(&info::render(server, status, sections));
        }
        (LocalQuery::Info { .. }, LocalAnswer::Text(text)) => writer.verbatim(text),
        (LocalQuery::Cluster(query), LocalAnswer::Topology(topology)) => {
            cluster::write(writer, server, query, topology);
        }
        (LocalQuery::DbSize, LocalAnswer::Int(count)) => writer.int(*count),
        (LocalQuery::Time, LocalAnswer::Time { micros }) => {
            writer.array(2);
            writer.bulk((micros / 1_000_000).to_string().as_bytes());
            writer.bulk((micros % 1_000_000).to_string().as_bytes());
        }
        (_, LocalAnswer::Unavailable(why)) => {
            writer.error(&format!("ERR not available at the moment: {why}"))
        }
        _ => writer.error("ERR not available"),
    }
}

impl Session {
    pub(super) fn execute_admin(
        &mut self,
        config: &ConnectionConfig,
        out: &mut Vec<u8>,
        spec: &Spec,
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
                self.authenticated = config.server.password.is_none();
                self.write(out, |writer| writer.simple("RESET"));
            }
            // Every other verb is planned or answered before it gets here (a test walks the whole table).
            _ => self.write(out, |writer| writer.error("ERR not available")),
        }
    }

    pub(super) fn select(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        self.write(out, |writer| match parse_i64(args.get(1)) {
            Some(0) => writer.simple("OK"),
            Some(_) => writer.error("ERR DB index is out of range"),
            None => writer.error("ERR value is not an integer or out of range"),
        });
    }

    fn auth(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        let wanted = config.server.password.as_deref();
        let error = match args.len() {
            2 if wanted.is_none() => Err(NO_PASSWORD),
            2 => self.authenticate(wanted, b"default", args.get(1)),
            3 => self.authenticate(wanted, args.get(1), args.get(2)),
            _ => Err("ERR syntax error"),
        };
        self.write(out, |writer| match error {
            Ok(()) => writer.simple("OK"),
            Err(error) => writer.error(error),
        });
    }

    /// There is one user, called `default` as in Redis; without a password it takes any.
    fn authenticate(&mut self, wanted: Option<&[u8]>, user: &[u8], given: &[u8]) -> Result<(), &'static str> {
        if user != b"default" || !password_fits(wanted, given) {
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
            self.authenticate(config.server.password.as_deref(), user, given)?;
        }
        if !self.authenticated {
            return Err(HELLO_NO_AUTH.into());
        }
        Ok((proto, name))
    }

    fn client(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        let sub = args.get(1).to_ascii_lowercase();
        let arity_error = |name: &str| wrong_arity(&format!("client|{name}"));
        match (sub.as_slice(), args.len()) {
            (b"id", 2) => self.write(out, |writer| writer.int(config.id.cast_signed())),
            (b"getname", 2) => {
                let name = self.name.clone();
                self.write(
                    out,
                    |writer| if name.is_empty() { writer.nil() } else { writer.bulk(name.as_bytes()) },
                );
            }
            (b"setname", 3) => match client_name(args.get(2)) {
                Some(name) => {
                    self.name = name;
                    self.write(out, |writer| writer.simple("OK"));
                }
                None => self.write(out, |writer| writer.error(BAD_NAME)),
            },
            (b"setinfo", 4) => self.client_set_info(out, args),
            // LIST knows this connection only: the others may live on other cores.
            (b"info", 2) | (b"list", _) => {
                let line = self.describe(config);
                self.write(out, |writer| writer.verbatim(&line));
            }
            (b"no-evict" | b"no-touch", 3) => {
                let known =
                    [b"on".as_slice(), b"off"].iter().any(|word| args.get(2).eq_ignore_ascii_case(word));
                self.write(
                    out,
                    |writer| {
                        if known { writer.simple("OK") } else { writer.error("ERR syntax error") }
                    },
                );
            }
            (b"capa", 3..) => self.write(out, |writer| writer.simple("OK")),
            (b"reply", 3) if args.get(2).eq_ignore_ascii_case(b"on") => {
                self.write(out, |writer| writer.simple("OK"));
            }
            (b"id" | b"getname" | b"setname" | b"setinfo" | b"info" | b"no-evict" | b"no-touch", _) => {
                let error = arity_error(&String::from_utf8_lossy(&sub));
                self.write(out, |writer| writer.error(&error));
            }
            _ => self.unknown_subcommand(out, "CLIENT", args),
        }
    }

    fn client_set_info(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        let (option, value) = (args.get(2), client_name(args.get(3)));
        let attribute = if option.eq_ignore_ascii_case(b"lib-name") {
            &mut self.library_name
        } else if option.eq_ignore_ascii_case(b"lib-ver") {
            &mut self.library_version
        } else {
            let error = format!("ERR Unrecognized option '{}'", lossy(option));
            return self.write(out, |writer| writer.error(&error));
        };
        if let Some(value) = value {
            *attribute = value;
            self.write(out, |writer| writer.simple("OK"));
        } else {
            let error =
                format!("ERR {} cannot contain spaces, newlines or special characters.", lossy(option));
            self.write(out, |writer| writer.error(&error));
        }
    }

    fn describe(&self, config: &ConnectionConfig) -> String {
        format!(
            "id={} addr={} laddr={} name={} age=0 idle=0 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 cmd=client|info \
             user=default resp={} lib-name={} lib-ver={}\n",
            config.id,
            config.peer_address,
            config.local_address,
            self.name,
            if self.proto == Proto::Resp3 { 3 } else { 2 },
            self.library_name,
            self.library_version,
        )
    }

    fn command(&mut self, out: &mut Vec<u8>, args: &Args<'_>) {
        if args.len() == 1 {
            return self.write(out, |writer| {
                writer.array(SPECS.len());
                SPECS.iter().for_each(|spec| write_spec(writer, spec));
            });
        }
        let sub = args.get(1).to_ascii_lowercase();
        match (sub.as_slice(), args.len()) {
            (b"count", 2) => self.write(out, |writer| writer.count(SPECS.len())),
            (b"info", 2) => self.write(out, |writer| {
                writer.array(SPECS.len());
                SPECS.iter().for_each(|spec| write_spec(writer, spec));
            }),
            (b"info", _) => self.write(out, |writer| {
                writer.array(args.len() - 2);
                for name in args.iter_from(2) {
                    match spec::find(name) {
                        Some(spec) => write_spec(writer, spec),
                        None => writer.nil_array(),
                    }
                }
            }),
            (b"docs", 2) => self.write(out, |writer| write_docs(writer, &SPECS.iter().collect::<Vec<_>>())),
            (b"docs", _) => {
                let found: Vec<_> = args.iter_from(2).filter_map(spec::find).collect();
                self.write(out, |writer| write_docs(writer, &found));
            }
            (b"list", 2) => self.write(out, |writer| {
                writer.array(SPECS.len());
                SPECS.iter().for_each(|spec| writer.bulk(spec.name.as_bytes()));
            }),
            _ => self.unknown_subcommand(out, "COMMAND", args),
        }
    }

    fn config(&mut self, config: &ConnectionConfig, out: &mut Vec<u8>, args: &Args<'_>) {
        let sub = args.get(1).to_ascii_lowercase();
        match (sub.as_slice(), args.len()) {
            (b"get", 3..) => {
                let all = parameters(&config.server);
                let found: Vec<_> = all
                    .iter()
                    .filter(|(name, _)| args.iter_from(2).any(|pattern| glob::fits(pattern, name.as_bytes())))
                    .collect();
                self.write(out, |writer| {
                    writer.map(found.len());
                    for (name, value) in found {
                        writer.bulk(name.as_bytes());
                        writer.bulk(value.as_bytes());
                    }
                });
            }
            (b"get" | b"set", 2) | (b"set", 3) => {
                let error = wrong_arity(&format!("config|{}", String::from_utf8_lossy(&sub)));
                self.write(out, |writer| writer.error(&error));
            }
            (b"set", _) => self.write(out, |writer| {
                writer.error(
                    "ERR CONFIG SET is not supported: parameters are in the node's configuration file",
                );
            }),
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

/// A client's name for itself: printable ASCII without blanks, and not long.
fn client_name(bytes: &[u8]) -> Option<String> {
    if bytes.len() > 256 || !bytes.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    String::from_utf8(bytes.to_vec()).ok()
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

/// One command as COMMAND tells it, in the ten fields of Redis 7.
fn write_spec(writer: &mut Writer<'_>, spec: &Spec) {
    writer.array(10);
    writer.bulk(spec.name.as_bytes());
    writer.int(i64::from(spec.arity));
    writer.set(spec.flags.len());
    spec.flags.iter().for_each(|flag| writer.simple(flag));
    let (first, last, step) = spec.keys;
    for number in [first, last, step] {
        writer.int(i64::from(number));
    }
    writer.set(0); // ACL categories
    writer.array(0); // tips
    writer.array(0); // key specifications
    writer.array(0); // subcommands
}

fn write_docs(writer: &mut Writer<'_>, specs: &[&Spec]) {
    writer.map(specs.len());
    for spec in specs {
        let group = match (spec.keys.0, spec.flags.contains(&"admin")) {
            (0, true) => "server",
            (0, false) => "connection",
            _ => "string",
        };
        writer.bulk(spec.name.as_bytes());
        writer.map(3);
        for (name, text) in [("summary", spec.summary), ("since", "1.0.0"), ("group", group)] {
            writer.bulk(name.as_bytes());
            writer.bulk(text.as_bytes());
        }
    }
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
        ("save", String::new()),
        ("timeout", "0".to_owned()),
    ];
    all.retain(|(name, _)| !server.parameters.iter().any(|(other, _)| other == name));
    all.extend(server.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())));
    all
}
