//! The connection with a toy store: its asks, its answers and their order, and the faults that no bytes can
//! cause.

mod binary_clients;
mod bounds;
mod brackets;
mod cluster;
mod faces;
mod long;
mod memory;
mod numbers;
mod order;
mod redis;
pub(crate) mod strangers;
mod table;
mod values;

use super::*;
use crate::binary;
use crate::binary::ServerInfo;
use crate::binary::tests::{status, topology};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use synod_types::{
    Command, Condition, Consistency, ErrorKind, Expiry, GroupId, Namespace, Op, Reply, SessionId,
    SessionStamp, Shared, Slot, Version, WallMs,
};

pub(crate) fn server() -> ServerConfig {
    ServerConfig {
        info: ServerInfo { group_count: 4, version: "0.1.0".into(), ..ServerInfo::default() },
        port: 6379,
        shown: ShownSettings {
            clients_max: 8192,
            bind: "127.0.0.1".into(),
            dir: "/data".into(),
            tcp_keepalive_s: 300,
        },
        ..ServerConfig::default()
    }
}

pub(crate) fn connect(server: ServerConfig) -> Connection {
    connect_as(Service::Full, server)
}

pub(crate) fn connect_as(service: Service, server: ServerConfig) -> Connection {
    Connection::new(ConnectionConfig {
        server: Rc::new(server),
        id: 7,
        peer_address: "10.0.0.1:5000".into(),
        is_loopback: true,
        local_address: "10.0.0.2:6379".into(),
        is_core_port: false,
        service,
    })
}

/// Enough of a store to make every reply differ.
#[derive(Default)]
pub(crate) struct Toy {
    pub(crate) values: BTreeMap<Vec<u8>, Vec<u8>>,
    /// When each key was last written.
    versions: BTreeMap<Vec<u8>, Version>,
    slot: u64,
}

impl Toy {
    pub(crate) fn execute(&mut self, command: &Command<Shared>) -> Reply<Vec<u8>> {
        let key = command.key.as_ref().to_vec();
        self.slot += 1;
        let version = Version { slot: Slot::new(self.slot), position: 0 };
        let old = self.values.get(&key).cloned();
        let held = self.versions.get(&key).copied().unwrap_or(version);
        if command.op.is_write() {
            self.versions.insert(key.clone(), version);
        }
        match &command.op {
            Op::Get => old.map_or(Reply::Nil, |value| Reply::Value { value, version: held }),
            Op::Exists => Reply::Int(i64::from(old.is_some())),
            Op::Ttl => Reply::Int(if old.is_some() { -1 } else { -2 }),
            Op::Set { condition, return_old, .. } => {
                let holds = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => old.is_none(),
                    Condition::IfPresent => old.is_some(),
                    Condition::IfVersion(_) => false, // the toy keeps no versions
                };
                if holds {
                    self.values.insert(key, command.operand.as_ref().to_vec());
                }
                match (return_old, old) {
                    (true, Some(value)) => Reply::Value { value, version },
                    (true, None) => Reply::Nil,
                    (false, _) if holds => Reply::Done { version },
                    (false, _) => Reply::Skipped,
                }
            }
            Op::Delete => Reply::Int(i64::from(self.values.remove(&key).is_some())),
            Op::IncrementBy(delta) => {
                let text = old.unwrap_or_else(|| b"0".to_vec());
                let Some(number) = crate::resp::number::parse_i64(&text) else {
                    return Reply::Error(ErrorKind::NotAnInteger);
                };
                let Some(sum) = number.checked_add(*delta) else { return Reply::Error(ErrorKind::Overflow) };
                self.values.insert(key, sum.to_string().into_bytes());
                Reply::Int(sum)
            }
            Op::SetExpiry(_) => Reply::Int(i64::from(old.is_some())),
            Op::DeleteIfVersion(_) => old.map_or(Reply::Int(0), |_| Reply::Skipped),
            Op::OpenSession => Reply::Session(SessionId::new(self.slot)),
            Op::IfEqual { then } => {
                let is_equal = old.as_deref() == Some(command.operand.as_ref());
                if is_equal && *then == synod_types::IfEqualAction::Delete {
                    self.values.remove(&key);
                }
                Reply::Int(is_equal.into())
            }
            _ => self.execute_more(command, old, held, version),
        }
    }
}

fn answer_to(query: &LocalQuery) -> LocalAnswer {
    match query {
        LocalQuery::Clients { .. } => LocalAnswer::Text(String::new()),
        LocalQuery::Info { .. } => LocalAnswer::Info(vec![
            InfoField::new("server", "redis_version", InfoValue::Text(REDIS_VERSION.to_owned())),
            InfoField::new("keyspace", "db0", InfoValue::Text("keys=50,expires=3".to_owned())),
        ]),
        LocalQuery::Status => LocalAnswer::Status(status()),
        LocalQuery::ResetStat => LocalAnswer::Done,
        LocalQuery::Replicas { .. } => LocalAnswer::Int(1),
        LocalQuery::Topology => LocalAnswer::Topology(topology()),
        LocalQuery::Cluster(_) => {
            LocalAnswer::Cluster(ClusterView { topology: topology(), ..ClusterView::default() })
        }
        LocalQuery::Time | LocalQuery::LastSave => LocalAnswer::Time { micros: 12_000_034 },
    }
}

/// Feeds `bytes` in pieces and executes asks at once. Returns the asks and the bytes sent.
fn converse(
    connection: &mut Connection,
    toy: &mut Toy,
    bytes: &[u8],
    mut cuts: impl Iterator<Item = usize>,
) -> (Vec<Ask>, Vec<u8>) {
    let mut asks = Vec::new();
    let mut sent = Vec::new();
    let mut rest = bytes;
    loop {
        let size = cuts.next().unwrap_or(rest.len()).clamp(rest.len().min(1), rest.len());
        let (head, tail) = rest.split_at(size);
        connection.received(head);
        rest = tail;
        loop {
            while let Some(ask) = connection.next() {
                match &ask {
                    Ask::Command { tag, command, .. } => {
                        connection.reply(*tag, toy.execute(command).borrow());
                    }
                    Ask::Local { tag, query: LocalQuery::Clients { ids } } => {
                        let mut text = String::new();
                        if ids.as_ref().is_none_or(|ids| ids.contains(&connection.id())) {
                            connection.describe(&mut text, 5, 2);
                        }
                        connection.answer(*tag, LocalAnswer::Text(text));
                    }
                    Ask::Local { tag, query } => connection.answer(*tag, answer_to(query)),
                    Ask::Close => {}
                    // Its place depends on how the input was cut.
                    Ask::Pause => continue,
                }
                asks.push(ask);
            }
            if connection.out().is_empty() {
                break;
            }
            sent.append(connection.out());
        }
        if rest.is_empty() {
            return (asks, sent);
        }
    }
}

fn bulk_command(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The output for inline commands, one per line.
fn said(connection: &mut Connection, toy: &mut Toy, lines: &str) -> String {
    let bytes: Vec<u8> = lines.lines().flat_map(|line| [line.trim().as_bytes(), b"\r\n"].concat()).collect();
    let (_, sent) = converse(connection, toy, &bytes, core::iter::empty());
    String::from_utf8(sent).expect("ASCII").replace("\r\n", "|")
}

fn say(lines: &str) -> String {
    said(&mut connect(server()), &mut Toy::default(), lines)
}

fn tags_of(connection: &mut Connection) -> Vec<Tag> {
    let mut tags = Vec::new();
    while let Some(ask) = connection.next() {
        match ask {
            Ask::Command { tag, .. } | Ask::Local { tag, .. } => tags.push(tag),
            Ask::Close | Ask::Pause => {}
        }
    }
    tags
}

#[test]
fn every_command_on_keys_is_answered_as_redis_answers() {
    for (line, want) in [
        ("GET k", "$-1|"),
        ("SET k v", "+OK|"),
        ("set k v", "+OK|"),
        ("SET k v\nGET k", "+OK|$1|v|"),
        ("SET k v XX", "$-1|"),
        ("SET k v NX\nSET k w NX\nGET k", "+OK|$-1|$1|v|"),
        ("SET k v GET\nSET k w GET", "$-1|$1|v|"),
        ("SET k v EX 10", "+OK|"),
        ("SET k v EX 0", "-ERR invalid expire time in 'set' command|"),
        ("SET k v PX -5", "-ERR invalid expire time in 'set' command|"),
        ("SET k v EX 9223372036854775807", "-ERR invalid expire time in 'set' command|"),
        ("SET k v EX x", "-ERR value is not an integer or out of range|"),
        ("SET k v EX", "-ERR syntax error|"),
        ("SET k v EX 1 PX 1", "-ERR syntax error|"),
        ("SET k v EX 1 KEEPTTL", "-ERR syntax error|"),
        ("SET k v KEEPTTL EX 1", "-ERR syntax error|"),
        ("SET k v NX XX", "-ERR syntax error|"),
        ("SET k v FOO", "-ERR syntax error|"),
        ("SET k", "-ERR wrong number of arguments for 'set' command|"),
        ("SETNX k v\nSETNX k w", ":1|:0|"),
        ("SETEX k 10 v\nGET k", "+OK|$1|v|"),
        ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command|"),
        ("PSETEX k -1 v", "-ERR invalid expire time in 'psetex' command|"),
        ("GETSET k v\nGETSET k w", "$-1|$1|v|"),
        ("SET a 1\nDEL a b\nEXISTS a", "+OK|:1|:0|"),
        ("SET a 1\nEXISTS a a b\nUNLINK a", "+OK|:2|:1|"),
        ("INCR n\nINCRBY n 10\nDECR n\nDECRBY n 5", ":1|:11|:10|:5|"),
        ("SET n x\nINCR n", "+OK|-ERR value is not an integer or out of range|"),
        ("SET n 9223372036854775807\nINCR n", "+OK|-ERR increment or decrement would overflow|"),
        ("INCRBY n 1.5", "-ERR value is not an integer or out of range|"),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow|"),
        ("EXPIRE k 10\nSET k v\nEXPIRE k 10", ":0|+OK|:1|"),
        ("EXPIRE k x", "-ERR value is not an integer or out of range|"),
        ("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command|"),
        ("EXPIRE k 1 FOO", "-ERR Unsupported option FOO|"),
        ("PERSIST k", ":0|"),
        ("TTL k\nSET k v\nTTL k\nPTTL k", ":-2|+OK|:-1|:-1|"),
        ("MSET a 1 b 2\nMGET a x b", "+OK|*3|$1|1|$-1|$1|2|"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command|"),
        ("STRLEN k\nSET k four\nSTRLEN k", ":0|+OK|:4|"),
        ("TYPE k\nSET k v\nTYPE k", "+none|+OK|+string|"),
        ("GET \"\"", "-ERR empty keys are not supported|"),
        ("GET", "-ERR wrong number of arguments for 'get' command|"),
    ] {
        assert_eq!(say(line), want, "{line}");
    }
}

/// Options and numbers come before the key, except where Redis looks the key up first.
#[test]
fn of_two_faults_the_same_one_is_told_each_time() {
    let empty = "-ERR empty keys are not supported|";
    for (line, want) in [
        ("SET \"\" v EX 0", "-ERR invalid expire time in 'set' command|"),
        ("SET \"\" v FOO", "-ERR syntax error|"),
        ("SETEX \"\" 0 v", "-ERR invalid expire time in 'setex' command|"),
        ("INCRBY \"\" x", "-ERR value is not an integer or out of range|"),
        ("DECRBY \"\" -9223372036854775808", "-ERR decrement would overflow|"),
        ("INCRBYFLOAT \"\" x", "-ERR value is not a valid float|"),
        ("SETRANGE \"\" -1 v", "-ERR offset is out of range|"),
        ("GETRANGE \"\" x 1", "-ERR value is not an integer or out of range|"),
        ("EXPIRE \"\" x FOO", "-ERR Unsupported option FOO|"),
        ("EXPIRE \"\" x", "-ERR value is not an integer or out of range|"),
        ("MEMORY USAGE \"\" FOO", "-ERR syntax error|"),
        ("EVALSHA x 1 \"\" t", "-NOSCRIPT No matching script. Please use EVAL.|"),
        ("MSET \"\" 1 b", "-ERR wrong number of arguments for 'mset' command|"),
        ("MSETEX 1 \"\" v EX 0", "-ERR invalid expire time in 'msetex' command|"),
        ("GETEX \"\" FOO", empty),
        ("DELEX \"\" FOO 1", empty),
        ("COPY \"\" b FOO", empty),
        ("COPY a \"\" FOO", empty),
        ("RENAME a \"\"", empty),
        ("APPEND \"\" v", empty),
        ("MSET a 1 \"\" 2", empty),
        ("MSETNX a 1 \"\" 2", empty),
    ] {
        assert_eq!(say(line), want, "{line}");
    }
}

#[test]
fn connection_and_server_commands_are_answered_as_redis_answers() {
    for (line, want) in [
        ("PING", "+PONG|"),
        ("PING hello", "$5|hello|"),
        ("PING a b", "-ERR wrong number of arguments for 'ping' command|"),
        ("ECHO x", "$1|x|"),
        (
            "SELECT 0\nSELECT 1\nSELECT x",
            "+OK|-ERR DB index is out of range|-ERR value is not an integer or out of range|",
        ),
        ("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b' |"),
        (
            "AUTH x",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                    configuration is correct?|",
        ),
        ("AUTH default x", "+OK|"),
        ("AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled.|"),
        ("CLIENT ID", ":7|"),
        ("CLIENT GETNAME\nCLIENT SETNAME me\nCLIENT GETNAME", "$-1|+OK|$2|me|"),
        (
            "CLIENT SETNAME \"a b\"",
            "-ERR Client names cannot contain spaces, newlines or special characters.|",
        ),
        ("CLIENT SETINFO LIB-NAME x\nCLIENT SETINFO lib-ver 1.0", "+OK|+OK|"),
        ("CLIENT SETINFO other x", "-ERR Unrecognized option 'other'|"),
        ("CLIENT NO-EVICT on\nCLIENT NO-TOUCH OFF\nCLIENT NO-TOUCH maybe", "+OK|+OK|-ERR syntax error|"),
        ("CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.|"),
        ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command|"),
        ("CONFIG GET save", "*2|$4|save|$0||"),
        ("CONFIG GET append*", "*4|$11|appendfsync|$6|always|$10|appendonly|$3|yes|"),
        ("CONFIG GET nothing", "*0|"),
        (
            "CONFIG GET maxclients bind PORT nothing",
            "*6|$4|bind|$9|127.0.0.1|$10|maxclients|$4|8192|$4|port|$4|6379|",
        ),
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command|"),
        ("COMMAND COUNT", ":85|"),
        ("COMMAND INFO nope", "*1|*-1|"),
        ("COMMAND FOO", "-ERR unknown subcommand 'FOO'. Try COMMAND HELP.|"),
        ("DBSIZE", ":0|"),
        ("TIME", "*2|$2|12|$2|34|"),
        ("HELLO 4", "-NOPROTO unsupported protocol version|"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range|"),
        ("HELLO 2 FOO", "-ERR Syntax error in HELLO option 'FOO'|"),
        ("RESET", "+RESET|"),
        ("QUIT\nPING", "+OK|"),
    ] {
        assert_eq!(say(line), want, "{line}");
    }
}

#[test]
fn hello_3_changes_nils_maps_and_texts_from_the_next_reply_on() {
    let said = say("GET k\nHELLO 3 SETNAME me\nGET k\nCONFIG GET save\nCLIENT GETNAME\nHELLO 2\nGET k");
    let hello = |proto, mark, count| {
        format!(
            "{mark}{count}|$6|server|$5|synod|$7|version|$5|7.2.0|$5|proto|:{proto}|$2|id|:7|$4|mode|$7|cluster|\
             $4|role|$6|master|$7|modules|*0|"
        )
    };
    let want = format!("$-1|{}_|%1|$4|save|$0||$2|me|{}$-1|", hello(3, '%', 7), hello(2, '*', 14));
    assert_eq!(said, want);
}

#[test]
fn info_tells_the_status_and_its_sections() {
    let all = say("INFO");
    for part in ["# Server|redis_version:7.2.0|", "# Keyspace|db0:keys=50,expires=3|"] {
        assert!(all.contains(part), "{part} in {all}");
    }
    // Asked for by name, the keyspace is as new as the question: a read of each group comes first.
    let bytes = b"SET k v\r\nINFO Keyspace\r\n";
    let (asks, _) = converse(&mut connect(server()), &mut Toy::default(), bytes, core::iter::empty());
    let groups = asks.iter().filter_map(|ask| match ask {
        Ask::Command { group: Some(group), command, .. } if command.op == Op::Exists => Some(group.get()),
        _ => None,
    });
    assert_eq!(groups.collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(matches!(asks.last(), Some(Ask::Local { query: LocalQuery::Info { .. }, .. })), "{asks:?}");
    let one = say("INFO Keyspace");
    assert!(one.contains("# Keyspace|db0:") && !one.contains("# Server"), "{one}");
}

/// The counts of a conversation: `name calls failed rejected` of each command, and the error codes.
fn counted(lines: &str) -> (Vec<String>, BTreeMap<String, u64>) {
    let server = server();
    let counts = server.counts.clone();
    let bytes = [lines.replace('\n', "\r\n").as_bytes(), b"\r\n"].concat();
    converse(&mut connect(server), &mut Toy::default(), &bytes, core::iter::empty());
    let totals = counts.totals();
    let commands = totals.commands.iter().map(|(name, totals)| {
        let CallTotals { calls, failed, rejected } = totals;
        format!("{name} {calls} {failed} {rejected}")
    });
    (commands.collect(), totals.errors)
}

#[test]
fn commands_and_errors_are_counted_by_what_became_of_them() {
    let errors = |pairs: &[(&str, u64)]| pairs.iter().map(|(code, n)| ((*code).to_owned(), *n)).collect();
    let (commands, found) = counted("SET a x\nINCR a\nGET a\nGET\nSET a\nNOPE\nMGET a b\nSET a 1 FOO\nGET b");
    assert_eq!(commands, ["get 2 0 1", "incr 1 1 0", "mget 1 0 0", "set 2 1 1"]);
    assert_eq!(found, errors(&[("ERR", 5)]));
    // Subcommands count for themselves; what is refused before one is found counts for its container.
    let (commands, _) = counted("CONFIG GET save\nCONFIG GET\nCLIENT NOPE\nRENAME none other\nPING");
    assert_eq!(commands, ["client 0 0 1", "config 0 0 1", "config|get 1 0 0", "ping 1 0 0", "rename 1 1 0"]);
    // Transactions: what an error of MULTI holds back was never taken up.
    let (commands, found) = counted("MULTI\nSET a 1\nEXEC");
    assert_eq!(
        commands.iter().map(|line| line.split(' ').nth(1).unwrap_or("")).filter(|&n| n != "0").count(),
        0
    );
    assert!(found.values().sum::<u64>() >= 2, "{found:?}");
}

#[test]
fn every_command_in_the_table_has_an_answer_of_its_own() {
    for spec in crate::resp::spec::SPECS {
        let mut line = spec.name.to_owned();
        for _ in 1..spec.arity.unsigned_abs() {
            line.push_str(" 1");
        }
        let said = say(&line);
        assert!(!said.is_empty() && !said.contains("not available"), "{line}: {said}");
        assert!(!said.contains("unknown command") && !said.contains("wrong number"), "{line}: {said}");
    }
}

#[test]
fn operations_carry_what_the_command_said() {
    let asked = |line: &str| {
        let bytes = [line.as_bytes(), b"\r\n"].concat();
        let (mut asks, _) =
            converse(&mut connect(server()), &mut Toy::default(), &bytes, core::iter::empty());
        match asks.remove(0) {
            Ask::Command { command, group: None, .. } => {
                let operand: &[u8] = if let Op::Set { .. } = command.op { b"v" } else { b"" };
                assert_eq!(command.operand.as_ref(), operand, "{line}");
                command.op
            }
            other => panic!("{other:?}"),
        }
    };
    let set = |condition, expiry, return_old| Op::Set {
        value_crc: synod_types::checksum::crc32c(b"v"),
        condition,
        expiry,
        return_old,
    };
    use Condition::{Always, IfAbsent, IfPresent};
    assert_eq!(asked("SET k v"), set(Always, Expiry::None, false));
    assert_eq!(asked("SET k v nx ex 2"), set(IfAbsent, Expiry::After(2000), false));
    assert_eq!(asked("SET k v PX 7 XX GET"), set(IfPresent, Expiry::After(7), true));
    assert_eq!(asked("SET k v EXAT 2"), set(Always, Expiry::At(WallMs(2000)), false));
    assert_eq!(asked("SET k v PXAT 2 "), set(Always, Expiry::At(WallMs(2)), false));
    assert_eq!(asked("SET k v KEEPTTL"), set(Always, Expiry::Keep, false));
    assert_eq!(asked("SETEX k 3 v"), set(Always, Expiry::After(3000), false));
    assert_eq!(asked("PSETEX k 3 v"), set(Always, Expiry::After(3), false));
    assert_eq!(asked("EXPIRE k 3"), Op::SetExpiry(Expiry::After(3000)));
    assert_eq!(asked("PEXPIRE k 3"), Op::SetExpiry(Expiry::After(3)));
    assert_eq!(asked("EXPIREAT k 3"), Op::SetExpiry(Expiry::At(WallMs(3000))));
    assert_eq!(asked("PEXPIREAT k 3"), Op::SetExpiry(Expiry::At(WallMs(3))));
    // Redis deletes the key then, also for a time that has passed; 0 would mean "never".
    for line in ["EXPIRE k 0", "EXPIRE k -1", "PEXPIREAT k 0", "EXPIREAT k -9223372036854775"] {
        assert_eq!(asked(line), Op::SetExpiry(Expiry::At(WallMs(1))), "{line}");
    }
    assert_eq!(asked("PERSIST k"), Op::SetExpiry(Expiry::None));
    assert_eq!(asked("DECRBY k 3"), Op::IncrementBy(-3));
}
