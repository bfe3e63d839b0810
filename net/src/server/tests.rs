//! The connection against a toy store: what is asked, what is answered, in which order, and what bytes cannot do to it.

mod redis;

use super::*;
use crate::binary;
use crate::binary::tests::{status, topology};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use synod_types::{
    Condition, ErrorKind, Expiry, Namespace, Op, Reply, SessionId, SessionStamp, Slot, Version, WallMs,
};

pub(crate) fn server() -> ServerConfig {
    ServerConfig {
        info: ServerInfo { group_count: 4, version: "0.1.0".into(), ..ServerInfo::default() },
        port: 6379,
        ..ServerConfig::default()
    }
}

pub(crate) fn connect(server: ServerConfig) -> Connection {
    Connection::new(ConnectionConfig {
        server: Rc::new(server),
        id: 7,
        peer_address: "10.0.0.1:5000".into(),
        local_address: "10.0.0.2:6379".into(),
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
            Op::Set { value, condition, return_old, .. } => {
                let holds = match condition {
                    Condition::Always => true,
                    Condition::IfAbsent => old.is_none(),
                    Condition::IfPresent => old.is_some(),
                    Condition::IfVersion(_) => false, // the toy keeps no versions
                };
                if holds {
                    self.values.insert(key, value.as_ref().to_vec());
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
            Op::IfEqual { value, then } => {
                let is_equal = old.as_deref() == Some(value.as_ref());
                if is_equal && *then == synod_types::Then::Delete {
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
        LocalQuery::Info { .. } | LocalQuery::Status => LocalAnswer::Status(status()),
        LocalQuery::Replicas { .. } => LocalAnswer::Int(1),
        LocalQuery::Topology | LocalQuery::Cluster(_) => LocalAnswer::Topology(topology()),
        LocalQuery::Time | LocalQuery::LastSave => LocalAnswer::Time { micros: 12_000_034 },
    }
}

/// Feeds `bytes` in pieces, executes at once, and gives the asks and the bytes sent.
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
                    Ask::Local { tag, query } => connection.answer(*tag, answer_to(query)),
                    Ask::Close => {}
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

/// What is sent for inline commands, one per line.
fn said(connection: &mut Connection, toy: &mut Toy, lines: &str) -> String {
    let bytes: Vec<u8> = lines.lines().flat_map(|line| [line.trim().as_bytes(), b"\r\n"].concat()).collect();
    let (_, sent) = converse(connection, toy, &bytes, core::iter::empty());
    String::from_utf8(sent).expect("ASCII").replace("\r\n", "|")
}

fn say(lines: &str) -> String {
    said(&mut connect(server()), &mut Toy::default(), lines)
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
        ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command|"),
        ("COMMAND COUNT", ":80|"),
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
    for part in [
        "# Server|redis_version:7.2.0|",
        "connected_clients:2|",
        "db0:keys=50,expires=0,avg_ttl=0|",
        "# Synod|node:3|",
        "group1:role=leader,serving=1,leader=3,core=1,promised=8.3,chosen=100,applied=99,keys=50,leader_changes=1|",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    let one = say("INFO Keyspace");
    assert!(one.contains("# Keyspace|db0:") && !one.contains("# Server"), "{one}");
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
            Ask::Command { command, group: None, .. } => command.map(|bytes| bytes.as_ref().to_vec()).op,
            other => panic!("{other:?}"),
        }
    };
    let set = |condition, expiry, return_old| Op::Set {
        value: b"v".to_vec(),
        value_crc: crc32c::crc32c(b"v"),
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
    // Redis deletes the key then, and so does a time that has passed; 0 would mean "never".
    for line in ["EXPIRE k 0", "EXPIRE k -1", "PEXPIREAT k 0", "EXPIREAT k -9223372036854775"] {
        assert_eq!(asked(line), Op::SetExpiry(Expiry::At(WallMs(1))), "{line}");
    }
    assert_eq!(asked("PERSIST k"), Op::SetExpiry(Expiry::None));
    assert_eq!(asked("DECRBY k 3"), Op::IncrementBy(-3));
}

#[test]
fn errors_keep_redis_prefixes_apart_by_what_may_have_happened() {
    for (kind, prefix) in [
        (ErrorKind::Unknown, "-UNKNOWN "),
        (ErrorKind::NoLeader, "-CLUSTERDOWN "),
        (ErrorKind::Busy, "-BUSY "),
        (ErrorKind::BadExpiry, "-ERR invalid expire time in 'set' command"),
        (ErrorKind::ReadFailed, "-ERR "),
        (ErrorKind::Malformed, "-ERR "),
    ] {
        let mut connection = connect(server());
        connection.received(b"SET k v\r\n");
        let Some(Ask::Command { tag, .. }) = connection.next() else { panic!("a command") };
        connection.reply(tag, Reply::Error(kind));
        let out = String::from_utf8(connection.out().clone()).expect("ASCII");
        assert!(out.starts_with(prefix), "{kind:?}: {out}");
    }
}

fn tags_of(connection: &mut Connection) -> Vec<Tag> {
    let mut tags = Vec::new();
    while let Some(ask) = connection.next() {
        match ask {
            Ask::Command { tag, .. } | Ask::Local { tag, .. } => tags.push(tag),
            Ask::Close => {}
        }
    }
    tags
}

#[test]
fn a_command_on_many_keys_is_as_uncertain_as_its_parts() {
    let outcome = |line: &str, replies: &[Reply<&[u8]>]| {
        let mut connection = connect(server());
        connection.received(line.as_bytes());
        let tags = tags_of(&mut connection);
        assert_eq!(tags.len(), replies.len());
        // Backwards, so that parts are told apart by their tags.
        for (tag, reply) in tags.into_iter().zip(replies).rev() {
            connection.reply(tag, *reply);
        }
        String::from_utf8(core::mem::take(connection.out())).expect("ASCII").replace("\r\n", "|")
    };
    let version = Version::default();
    let value = |value: &'static [u8]| Reply::Value { value, version };
    let (unknown, none) = (Reply::Error(ErrorKind::Unknown), Reply::Error(ErrorKind::NoLeader));
    assert_eq!(outcome("MGET a b c\n", &[value(b"1"), Reply::Nil, value(b"3")]), "*3|$1|1|$-1|$1|3|");
    assert_eq!(outcome("DEL a b c\n", &[Reply::Int(1), Reply::Int(0), Reply::Int(1)]), ":2|");
    assert!(outcome("DEL a b c\n", &[Reply::Int(1), unknown, none]).starts_with("-UNKNOWN "));
    assert!(outcome("DEL a b c\n", &[none, none, unknown]).starts_with("-UNKNOWN "));
    assert!(outcome("DEL a b c\n", &[unknown, none, none]).starts_with("-UNKNOWN "));
    // One part done, one certainly not: "not executed" would be a lie.
    assert!(outcome("DEL a b\n", &[Reply::Int(1), none]).starts_with("-UNKNOWN "));
    assert!(outcome("MSET a 1 b 2\n", &[Reply::Done { version }, none]).starts_with("-UNKNOWN "));
    assert!(outcome("MSET a 1 b 2\n", &[none, none]).starts_with("-CLUSTERDOWN "));
    assert!(outcome("EXISTS a b\n", &[Reply::Int(1), none]).starts_with("-CLUSTERDOWN "));
    assert!(outcome("MGET a b\n", &[value(b"1"), none]).starts_with("-CLUSTERDOWN "));
}

#[test]
fn a_reply_given_twice_or_to_nobody_shifts_nothing() {
    let mut connection = connect(server());
    connection.received(b"INCR a\nINCR b\nINCR c\n");
    let tags = tags_of(&mut connection);
    connection.reply(tags[1], Reply::Int(2));
    connection.reply(tags[1], Reply::Int(9));
    connection.reply(tags[0], Reply::Int(1));
    connection.reply(tags[0], Reply::Int(9));
    connection.reply(Tag::new(u64::MAX), Reply::Int(9));
    connection.answer(tags[2], LocalAnswer::Int(9));
    connection.reply(tags[2], Reply::Int(3));
    assert_eq!(connection.out(), b":1\r\n:2\r\n:3\r\n");
    assert!(connection.wants_read());
}

proptest! {
    #[test]
    fn replies_come_in_the_order_of_requests_in_whatever_order_they_are_known(
        kinds in prop::collection::vec(0_u8..6, 1..40), seed in any::<u64>(), late in any::<bool>(),
    ) {
        let lines: Vec<&str> = kinds
            .iter()
            .map(|kind| ["GET k", "PING", "MGET a b c", "DBSIZE", "NONSENSE", "DEL a b"][usize::from(*kind)])
            .collect();
        let bytes = lines.join("\r\n") + "\r\n";
        let want = converse(&mut connect(server()), &mut Toy::default(), bytes.as_bytes(), core::iter::empty()).1;
        let mut connection = connect(server());
        connection.received(bytes.as_bytes());
        let mut open = VecDeque::new();
        let (mut sent, mut random) = (Vec::new(), seed);
        loop {
            while let Some(ask) = connection.next() {
                open.push_back(ask);
                if !late {
                    break;
                }
            }
            sent.append(connection.out());
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let index = (random >> 33) as usize % open.len().max(1);
            match open.swap_remove_back(index) {
                None => break,
                Some(Ask::Command { tag, command, .. }) => {
                    let reply = Toy::default().execute(&command);
                    connection.reply(tag, reply.borrow());
                }
                Some(Ask::Local { tag, query }) => connection.answer(tag, answer_to(&query)),
                Some(Ask::Close) => {}
            }
        }
        prop_assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&want));
    }
}

fn resp_streams() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "GET", "SET", "DEL", "MGET", "MSET", "EXISTS", "INCR", "EXPIRE", "HELLO", "3", "2", "CLIENT", "ID",
        "INFO", "CONFIG", "*", "COMMAND", "DOCS", "NX", "EX", "10", "key", "QUIT", "AUTH", "DBSIZE", "TIME",
        "RESET", "", "x y",
    ]);
    let piece = prop_oneof![
        8 => prop::collection::vec(words.clone(), 1..7)
            .prop_map(|args| bulk_command(&args.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>())),
        2 => prop::collection::vec(words, 1..5).prop_map(|args| (args.join(" ") + "\r\n").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (0_usize..70_000).prop_map(|len| bulk_command(&[b"ECHO", &vec![b'e'; len]])),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn binary_streams() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u64>(), prop::collection::vec(any::<u8>(), 0..2000)).prop_map(|(id, value)| {
            let mut out = Vec::new();
            let op = binary::tests::set(&value);
            binary::encode_request(&mut out, id, Consistency::Quorum, &Command::plain(b"key".to_vec(), op));
            out
        }),
        any::<u64>().prop_map(|id| {
            let mut out = Vec::new();
            let command = Command::plain(b"key".to_vec(), Op::Get);
            binary::encode_request(&mut out, id, Consistency::Linearizable, &command);
            binary::encode_open_session(&mut out, id, GroupId::new((id % 7) as u16));
            binary::encode_topology(&mut out, id);
            binary::encode_status(&mut out, id);
            binary::encode_hello(&mut out, id, "name");
            binary::encode_ping(&mut out, id);
            out
        }),
    ];
    prop::collection::vec(piece, 0..8)
        .prop_map(|pieces| [binary::PREAMBLE.to_vec(), pieces.concat()].concat())
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let damaged = prop_oneof![resp_streams(), binary_streams()].prop_flat_map(|stream| {
        let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (Just(stream), flips).prop_map(|(mut stream, flips)| {
            for (at, value) in flips {
                if !stream.is_empty() {
                    let index = at.index(stream.len());
                    stream[index] = value;
                }
            }
            stream
        })
    });
    prop_oneof![
        4 => resp_streams(),
        2 => binary_streams(),
        4 => damaged,
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => Just(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_same_bytes_ask_and_answer_the_same_however_they_are_cut(
        stream in streams(), cuts in prop::collection::vec(1_usize..900, 0..60), with_password in any::<bool>(),
    ) {
        let config = || ServerConfig { password: with_password.then(|| b"pw".to_vec()), ..server() };
        let mut whole = connect(config());
        let want = converse(&mut whole, &mut Toy::default(), &stream, core::iter::empty());
        let mut cut = connect(config());
        let got = converse(&mut cut, &mut Toy::default(), &stream, cuts.into_iter());
        prop_assert_eq!(&got.0, &want.0);
        prop_assert_eq!(String::from_utf8_lossy(&got.1), String::from_utf8_lossy(&want.1));
        prop_assert_eq!(cut.closing(), whole.closing());
        let closes = got.0.iter().filter(|ask| matches!(ask, Ask::Close)).count();
        prop_assert_eq!(closes, usize::from(cut.closing()), "Close is told once");
        prop_assert!(cut.held_bytes() < (4 << 20), "{}", cut.held_bytes());
    }
}

#[test]
fn a_value_one_byte_too_long_is_refused_and_the_connection_lives() {
    use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
    let (mut connection, mut toy) = (connect(server()), Toy::default());
    let mut stream = Vec::new();
    stream.extend(bulk_command(&[b"SET", b"k", &vec![b'v'; VALUE_BYTES_MAX]]));
    stream.extend(bulk_command(&[b"SET", b"k", &vec![b'v'; VALUE_BYTES_MAX + 1]]));
    stream.extend(bulk_command(&[b"GET", &vec![b'k'; KEY_BYTES_MAX]]));
    stream.extend(bulk_command(&[b"GET", &vec![b'k'; KEY_BYTES_MAX + 1]]));
    stream.extend(bulk_command(&[b"STRLEN", b"k"]));
    let (_, sent) = converse(&mut connection, &mut toy, &stream, core::iter::repeat(16 << 10));
    let want = "+OK\r\n-ERR argument too long: 1048577 bytes, the limit is 1048576\r\n$-1\r\n\
                -ERR key too long: 16385 bytes, the limit is 16384\r\n:1048576\r\n";
    assert_eq!(String::from_utf8(sent).expect("ASCII"), want);
    assert!(!connection.closing());
}

#[test]
fn skipping_a_huge_bulk_holds_no_memory() {
    let mut connection = connect(server());
    connection.received(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n");
    assert_eq!(connection.next(), None);
    let chunk = vec![b'v'; 1 << 16];
    for _ in 0..500 {
        connection.received(&chunk);
        assert_eq!(connection.next(), None);
        assert!(connection.held_bytes() < 1 << 19, "{}", connection.held_bytes());
    }
    assert!(connection.out().is_empty());
}

#[test]
fn at_most_so_many_asks_are_open_and_the_rest_waits() {
    let limits = Limits { open_asks_max: 4, ..Limits::default() };
    let mut connection = connect(ServerConfig { limits, ..server() });
    let keys: Vec<String> = (0..9).map(|key| format!(" k{key}")).collect();
    connection.received(format!("GET a\r\nMGET{}\r\nGET b\r\n", keys.concat()).as_bytes());
    let mut open: VecDeque<Tag> = tags_of(&mut connection).into();
    let mut asked = open.len();
    assert_eq!(asked, 4);
    assert!(!connection.wants_read());
    while let Some(tag) = open.pop_back() {
        connection.reply(tag, Reply::Nil);
        let more = tags_of(&mut connection);
        asked += more.len();
        open.extend(more);
        assert!(open.len() <= 4);
    }
    assert_eq!(asked, 11);
    let nils = "$-1\r\n".repeat(9);
    assert_eq!(String::from_utf8_lossy(connection.out()), format!("$-1\r\n*9\r\n{nils}$-1\r\n"));
    assert!(connection.wants_read());
}

#[test]
fn a_client_that_does_not_read_is_not_read_from_and_gets_busy_in_the_end() {
    let limits = Limits { out_bytes_soft: 1000, out_bytes_hard: 3000, ..Limits::default() };
    let mut connection = connect(ServerConfig { limits, ..server() });
    connection.received("GET k\r\n".repeat(6).as_bytes());
    let tags = tags_of(&mut connection);
    assert_eq!(tags.len(), 6);
    let value = [b'v'; 900];
    for tag in tags {
        connection.reply(tag, Reply::Value { value: &value, version: Version::default() });
    }
    assert!(!connection.wants_read());
    connection.received(b"GET k\r\nPING\r\n");
    assert_eq!(connection.next(), None, "nothing is parsed while too much waits");
    let out = String::from_utf8(core::mem::take(connection.out())).expect("ASCII");
    assert_eq!(out.matches("$900").count(), 3);
    assert_eq!(out.matches("-BUSY").count(), 3);
    assert!(connection.wants_read());
    assert_eq!(tags_of(&mut connection).len(), 1, "what waited comes when there is room");
}

#[test]
fn replies_that_waited_their_turn_are_forgotten_once_they_are_written() {
    let limits = Limits { out_bytes_soft: 10_000, ..Limits::default() };
    let mut connection = connect(ServerConfig { limits, ..server() });
    for _ in 0..10 {
        connection.received(b"GET a\r\nGET b\r\nMGET c d\r\n");
        let tags = tags_of(&mut connection);
        assert_eq!(tags.len(), 4);
        for tag in tags.into_iter().rev() {
            connection.reply(tag, Reply::Value { value: &[b'v'; 2000], version: Version::default() });
        }
        assert!(connection.out().len() > 8000);
        connection.out().clear();
        assert!(connection.wants_read(), "nothing waits any more");
    }
}

#[test]
fn an_old_value_that_cannot_be_kept_makes_the_outcome_unknown_not_busy() {
    let limits = Limits { out_bytes_soft: 1000, out_bytes_hard: 1000, ..Limits::default() };
    let mut connection = connect(ServerConfig { limits, ..server() });
    connection.received(b"GETSET k v\r\n");
    let tag = tags_of(&mut connection)[0];
    connection.reply(tag, Reply::Value { value: &[0; 2000], version: Version::default() });
    assert!(connection.out().starts_with(b"-UNKNOWN "));
}

#[test]
fn a_password_stands_before_everything() {
    let config = || ServerConfig { password: Some(b"secret".to_vec()), ..server() };
    let (mut connection, mut toy) = (connect(config()), Toy::default());
    let said = said(
        &mut connection,
        &mut toy,
        "GET k\nPING\nDBSIZE\nHELLO 3\nAUTH wrong\nAUTH secret\nGET k\nRESET\nGET k\nHELLO 3 AUTH default secret",
    );
    let answers: Vec<&str> = said.split('|').collect();
    assert!(answers[..3].iter().all(|answer| *answer == "-NOAUTH Authentication required."), "{said}");
    assert!(answers[3].starts_with("-NOAUTH HELLO must be called"), "{said}");
    assert_eq!(answers[4], "-WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(answers[5..9], ["+OK", "$-1", "+RESET", "-NOAUTH Authentication required."]);
    assert_eq!(answers[9], "%7");
    // Strangers get small buffers only.
    for (stream, error) in [
        (bulk_command(&[b"DEL".as_slice(); 11]), "unauthenticated multibulk length"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n".to_vec(), "unauthenticated bulk length"),
    ] {
        let mut connection = connect(config());
        let (asks, sent) = converse(&mut connection, &mut toy, &stream, core::iter::empty());
        assert_eq!(asks, [Ask::Close]);
        assert_eq!(String::from_utf8(sent).expect("ASCII"), format!("-ERR Protocol error: {error}\r\n"));
    }
}

#[test]
fn nonsense_gets_an_error_behind_the_replies_before_it_and_then_the_end() {
    let mut connection = connect(server());
    connection.received(b"GET k\r\n*x\r\nGET l\r\n");
    let tags = tags_of(&mut connection);
    assert_eq!(tags.len(), 1);
    assert!(connection.out().is_empty() && !connection.closing() && !connection.wants_read());
    connection.reply(tags[0], Reply::Nil);
    assert_eq!(connection.next(), Some(Ask::Close));
    assert_eq!(connection.next(), None);
    assert!(connection.closing());
    assert_eq!(connection.out(), b"$-1\r\n-ERR Protocol error: invalid multibulk length\r\n");
}

#[test]
fn what_was_sent_before_the_end_is_still_answered() {
    let mut connection = connect(server());
    connection.received(b"GET k\r\nGET l\r\nGET");
    connection.received_end();
    let tags = tags_of(&mut connection);
    assert!(!connection.closing());
    for tag in tags {
        connection.reply(tag, Reply::Nil);
    }
    assert_eq!(connection.next(), Some(Ask::Close));
    assert_eq!(connection.out(), b"$-1\r\n$-1\r\n");
    let mut silent = connect(server());
    silent.received_end();
    assert_eq!(silent.next(), Some(Ask::Close));
}

#[test]
fn a_web_page_cannot_make_a_browser_talk_to_it() {
    let said = said(&mut connect(server()), &mut Toy::default(), "POST / x\nSET k v");
    assert!(said.starts_with("-ERR unknown command 'POST'") && !said.contains("+OK"), "{said}");
}

#[test]
fn an_http_stream_is_handed_over_from_its_first_byte() {
    let mut connection = connect(server());
    let bytes = b"GET /v1/kv/key HTTP/1.1\r\nHost: x\r\n\r\n";
    for piece in bytes.chunks(3) {
        connection.received(piece);
        assert_eq!(connection.next(), None);
    }
    assert!(connection.speaks_http() && !connection.wants_read() && connection.out().is_empty());
    assert_eq!(connection.take_input(), bytes);
}

fn responses(sent: &[u8]) -> Vec<binary::Response> {
    let mut decoder = binary::ResponseDecoder::new();
    decoder.feed(sent);
    let mut all = Vec::new();
    while let Some(response) = decoder.next().expect("sound") {
        all.push(response);
    }
    all
}

#[test]
fn binary_requests_become_asks_and_replies_come_in_any_order() {
    let mut bytes = binary::PREAMBLE.to_vec();
    let mut command = Command::plain(b"key".to_vec(), binary::tests::set(b"value"));
    command.namespace = Namespace::new(2);
    command.stamp = SessionStamp { session: SessionId::new(5), sequence: 2, lowest_open: 1 };
    binary::encode_request(&mut bytes, 11, Consistency::Linearizable, &command);
    let read = Command::plain(b"key".to_vec(), Op::Get);
    binary::encode_request(&mut bytes, 12, Consistency::Quorum, &read);
    binary::encode_open_session(&mut bytes, 13, GroupId::new(4));
    binary::encode_open_session(&mut bytes, 14, GroupId::new(5));
    binary::encode_open_session(&mut bytes, 15, GroupId::SYSTEM);
    binary::encode_topology(&mut bytes, 16);
    binary::encode_ping(&mut bytes, 17);
    let mut connection = connect(server());
    connection.received(&bytes);
    let asks: Vec<Ask> = core::iter::from_fn(|| connection.next()).collect();
    assert_eq!(asks.len(), 4);
    assert_eq!(
        responses(&core::mem::take(connection.out())).iter().map(|r| r.id).collect::<Vec<_>>(),
        [14, 15, 17]
    );
    let Ask::Command { tag: tag_set, group: None, command: got, .. } = &asks[0] else { panic!("{asks:?}") };
    assert_eq!(got.clone().map(|bytes| bytes.as_ref().to_vec()), command);
    let Ask::Command { tag: tag_get, consistency: Consistency::Quorum, .. } = asks[1] else {
        panic!("{asks:?}")
    };
    let Ask::Command { tag: tag_open, group: Some(group), .. } = asks[2] else { panic!("{asks:?}") };
    assert_eq!(group, GroupId::new(4));
    let Ask::Local { tag: tag_topology, query: LocalQuery::Topology } = asks[3] else { panic!("{asks:?}") };
    let version = Version { slot: Slot::new(9), position: 1 };
    connection.answer(tag_topology, LocalAnswer::Topology(topology()));
    connection.reply(tag_get, Reply::Value { value: b"value", version });
    connection.reply(tag_open, Reply::Session(SessionId::new(77)));
    connection.reply(*tag_set, Reply::Error(ErrorKind::NoLeader));
    let got: Vec<_> = responses(connection.out()).into_iter().map(|r| (r.id, r.body)).collect();
    let want = [
        (16, binary::ResponseBody::Topology(topology())),
        (12, binary::ResponseBody::Reply(Reply::Value { value: b"value".to_vec(), version })),
        (13, binary::ResponseBody::Reply(Reply::Session(SessionId::new(77)))),
        (11, binary::ResponseBody::Reply(Reply::Error(ErrorKind::NoLeader))),
    ];
    assert_eq!(got, want);
}

#[test]
fn binary_nonsense_gets_a_failure_and_the_end() {
    let mut connection = connect(server());
    connection.received(&[&binary::PREAMBLE[..], &[9, 0, 0, 0]].concat());
    assert_eq!(connection.next(), Some(Ask::Close));
    let answers = responses(connection.out());
    assert_eq!(answers[0].body, binary::ResponseBody::Failed(binary::Failure::Protocol));
    let mut newer = connect(server());
    let mut preamble = binary::PREAMBLE;
    preamble[6] = 2;
    newer.received(&preamble);
    assert_eq!(newer.next(), Some(Ask::Close));
    assert_eq!(responses(newer.out())[0].body, binary::ResponseBody::Failed(binary::Failure::Version));
}

#[test]
fn binary_clients_need_the_password_too() {
    let mut connection = connect(ServerConfig { password: Some(b"pw".to_vec()), ..server() });
    let mut bytes = binary::PREAMBLE.to_vec();
    binary::encode_status(&mut bytes, 1);
    binary::encode_auth(&mut bytes, 2, b"pw");
    binary::encode_status(&mut bytes, 3);
    binary::encode_auth(&mut bytes, 4, b"wrong");
    binary::encode_status(&mut bytes, 5);
    let (_, sent) = converse(&mut connection, &mut Toy::default(), &bytes, core::iter::empty());
    let got: Vec<_> = responses(&sent).into_iter().map(|r| (r.id, r.body)).collect();
    let want = [
        (1, binary::ResponseBody::Failed(binary::Failure::AuthRequired)),
        (2, binary::ResponseBody::Ok),
        (3, binary::ResponseBody::Status(status())),
        (4, binary::ResponseBody::Failed(binary::Failure::AuthFailed)),
    ];
    assert_eq!(got, want);
    assert!(connection.closing());
}
