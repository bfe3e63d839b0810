//! What monitors ask of a Redis server: answers that are true here, mostly "none", and clear words where there is no such
//! thing.

use super::resp::Session;
use super::{LocalAnswer, LocalQuery, ServerConfig, cluster, info};
use crate::resp::number::parse_i64;
use crate::resp::parser::Args;
use crate::resp::plan::lossy;
use crate::resp::reply::Writer;
use crate::resp::spec::{Spec, Verb};

/// There is one user, with or without a password.
fn acl_line(server: &ServerConfig) -> String {
    let word = if server.access.wants_password() { "sanitize-payload" } else { "nopass" };
    format!("user default on {word} ~* &* +@all")
}
const CATEGORIES: [&str; 5] = ["read", "write", "string", "connection", "admin"];
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

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
        (LocalQuery::Replicas { with_local: false }, LocalAnswer::Int(count)) => writer.int(*count),
        (LocalQuery::Replicas { with_local: true }, LocalAnswer::Int(count)) => {
            writer.array(2);
            writer.int(1);
            writer.int(*count);
        }
        (LocalQuery::Cluster(query), LocalAnswer::Cluster(view)) => {
            cluster::write(writer, server, query, view);
        }
        (LocalQuery::LastSave, LocalAnswer::Time { micros }) => {
            writer.int((micros / 1_000_000).cast_signed());
        }
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
    /// WAIT replicas timeout, WAITAOF local replicas timeout. What was acknowledged is on a majority's disks already, so
    /// there is nothing to wait for; replies come in order, so what this connection sent before is acknowledged.
    pub(super) fn wait(&mut self, out: &mut Vec<u8>, spec: &Spec, args: &Args<'_>) -> Option<LocalQuery> {
        match wait_error(spec, args) {
            Some(error) => {
                self.write(out, |writer| writer.error(error));
                None
            }
            None => Some(LocalQuery::Replicas { with_local: spec.verb == Verb::WaitAof }),
        }
    }

    pub(super) fn refuse(&mut self, out: &mut Vec<u8>, spec: &Spec) {
        self.write(out, |writer| {
            writer.error(match spec.verb {
                Verb::Shutdown => {
                    "ERR SHUTDOWN is not for clients: stop the node's process on its own machine"
                }
                Verb::Monitor => "ERR MONITOR is not supported: a node sees only what it is asked itself",
                _ => "ERR DEBUG is not supported: it would stall the other clients of this core",
            });
        });
    }

    pub(super) fn about(
        &mut self,
        server: &ServerConfig,
        out: &mut Vec<u8>,
        spec: &'static Spec,
        args: &Args<'_>,
    ) {
        let sub = if args.len() > 1 { args.get(1).to_ascii_lowercase() } else { Vec::new() };
        let mut known = true;
        self.write(out, |writer| {
            known = match spec.verb {
                Verb::Role => write_role(writer),
                Verb::SlowLog => write_slow_log(writer, &sub, args),
                Verb::Latency => write_latency(writer, &sub, args),
                Verb::Memory => write_memory(writer, &sub),
                Verb::Acl => write_acl(writer, server, &sub, args),
                _ => write_function(writer, &sub),
            };
            if !known {
                let name = spec.name.to_ascii_uppercase();
                writer.error(&format!("ERR unknown subcommand '{}'. Try {name} HELP.", lossy(args.get(1))));
            }
        });
    }
}

/// What is wrong with the numbers of WAIT and WAITAOF, in the order in which Redis looks at them.
fn wait_error(spec: &Spec, args: &Args<'_>) -> Option<&'static str> {
    let is_aof = spec.verb == Verb::WaitAof;
    if is_aof {
        match parse_i64(args.get(1)) {
            None => return Some(NOT_AN_INTEGER),
            Some(0 | 1) => {}
            Some(_) => return Some("ERR value is out of range, value must between 0 and 1"),
        }
    }
    match parse_i64(args.get(args.len() - 2)) {
        None | Some(..0) if is_aof => return Some("ERR value is out of range, must be positive"),
        None => return Some(NOT_AN_INTEGER),
        Some(_) => {} // WAIT takes any number, as Redis does
    }
    match parse_i64(args.get(args.len() - 1)) {
        None => Some("ERR timeout is not an integer or out of range"),
        Some(..0) => Some("ERR timeout is negative"),
        Some(_) => None,
    }
}

/// Any node takes writes; the other nodes are its equals, not its replicas.
fn write_role(writer: &mut Writer<'_>) -> bool {
    writer.array(3);
    writer.bulk(b"master");
    writer.int(0);
    writer.array(0);
    true
}

fn write_slow_log(writer: &mut Writer<'_>, sub: &[u8], args: &Args<'_>) -> bool {
    match (sub, args.len()) {
        (b"get", 2) => writer.array(0),
        (b"get", 3) => match parse_i64(args.get(2)) {
            Some(-1..) => writer.array(0),
            _ => writer.error("ERR count should be greater than or equal to -1"),
        },
        (b"len", 2) => writer.int(0),
        (b"reset", 2) => writer.simple("OK"),
        _ => return false,
    }
    true
}

fn write_latency(writer: &mut Writer<'_>, sub: &[u8], args: &Args<'_>) -> bool {
    match (sub, args.len()) {
        (b"latest", 2) | (b"history", 3) => writer.array(0),
        (b"reset", _) => writer.int(0),
        (b"doctor", 2) => {
            writer.verbatim("No latency events are kept here: see INFO and the metrics of the node.")
        }
        (b"histogram", _) => writer.map(0),
        (b"graph", 3) => {
            writer.error(&format!("ERR No samples available for event '{}'", lossy(args.get(2))));
        }
        _ => return false,
    }
    true
}

fn write_memory(writer: &mut Writer<'_>, sub: &[u8]) -> bool {
    match sub {
        b"doctor" => writer
            .verbatim("The index lives in memory, values in the log; the cache never passes its budget."),
        b"stats" => writer.map(0),
        b"purge" => writer.simple("OK"),
        b"malloc-stats" => writer.bulk(b"Stats not supported for the current allocator"),
        _ => return false,
    }
    true
}

fn write_acl(writer: &mut Writer<'_>, server: &ServerConfig, sub: &[u8], args: &Args<'_>) -> bool {
    let write_list = |writer: &mut Writer<'_>, items: &[&str]| {
        writer.array(items.len());
        items.iter().for_each(|item| writer.bulk(item.as_bytes()));
    };
    match (sub, args.len()) {
        (b"whoami", 2) => writer.bulk(b"default"),
        (b"list", 2) => write_list(writer, &[&acl_line(server)]),
        (b"users", 2) => write_list(writer, &["default"]),
        (b"cat", 2) => write_list(writer, &CATEGORIES),
        (b"cat", 3) => {
            writer.error(&format!("ERR Unknown category '{}'", lossy(args.get(2))));
        }
        (b"log", 2) => writer.array(0),
        (b"log", 3) if args.get(2).eq_ignore_ascii_case(b"reset") => writer.simple("OK"),
        (b"log", 3) => match parse_i64(args.get(2)) {
            Some(_) => writer.array(0),
            None => writer.error(NOT_AN_INTEGER),
        },
        (b"getuser", 3) => writer.nil_array(),
        (b"setuser" | b"deluser" | b"save" | b"load", _) => {
            writer.error("ERR users are not kept here: the one password is in the node's configuration");
        }
        _ => return false,
    }
    true
}

fn write_function(writer: &mut Writer<'_>, sub: &[u8]) -> bool {
    match sub {
        b"flush" => writer.simple("OK"),
        b"list" => writer.array(0),
        _ => return false,
    }
    true
}
