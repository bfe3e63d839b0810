//! Tests that the example bytes in docs/wire-format.md are what this crate encodes and decodes, and that no
//! kind of frame, no error code and no figure of that page is missing or wrong. An example block begins with
//! ```` ```hex name ````; text after `;` is a comment.

use crate::access::Secret;
use crate::binary::{
    self, Decoded, Durability, FailureCode, GroupRole, GroupState, NodeStatus, PREAMBLE, Request, Response,
    ResponseBody, ServerInfo, Topology, TopologyGroup, TopologyNode,
};
use crate::peer::{self, Acceptor, Handshake, Initiator, LinkRefusal, PeerSecret, Secrets};
use std::collections::BTreeSet;
use synod_types::*;

const DOCUMENT: &str = include_str!("../../docs/wire-format.md");
/// The table of kinds: the document must have a section and an example for each of its rows.
const CODES: &str = include_str!("binary/codes.rs");

/// The names of all blocks of bytes, in order.
fn names() -> Vec<&'static str> {
    DOCUMENT.lines().filter_map(|line| line.trim_start().strip_prefix("```hex ")).collect()
}

fn documented(name: &str) -> Vec<u8> {
    let start = format!("```hex {name}\n");
    let (_, block) =
        DOCUMENT.split_once(&start).unwrap_or_else(|| panic!("no block '{name}' in the document"));
    let (block, _) = block.split_once("```").unwrap_or_else(|| panic!("block '{name}' does not end"));
    let digits = block.lines().flat_map(|line| line.split(';').next()).collect::<Vec<_>>().join(" ");
    digits.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits")).collect()
}

fn shown(bytes: &[u8]) -> String {
    let lines = bytes
        .chunks(8)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn stamp(sequence: u64) -> SessionStamp {
    SessionStamp { session: SessionId::new(1234), sequence, lowest_open: sequence }
}

fn command(key: &[u8], op: Op, operand: &[u8], stamp: SessionStamp) -> Command<Vec<u8>> {
    Command { stamp, ..Command::new(key.to_vec(), op, operand.to_vec()) }
}

fn set(value: &[u8], condition: Condition, expiry: Expiry, return_old: bool) -> Op {
    Op::Set { value_crc: checksum::crc32c(value), condition, expiry, return_old }
}

const VERSION: Version = Version { slot: Slot::new(42), position: 0 };

/// The requests on a key, with their ids: block by block what the document says in words.
fn requests_on_a_key() -> Vec<(&'static str, u64, Consistency, Command<Vec<u8>>)> {
    let (color, plain) = (b"color", SessionStamp::default());
    let at = Expiry::At(WallMs(1_800_000_000_000));
    let then = IfEqualAction::Delete;
    let first = set(b"blue", Condition::IfAbsent, Expiry::After(60_000), false);
    let second = set(b"red", Condition::IfVersion(VERSION), Expiry::Keep, true);
    let linearizable = [
        ("exists", 4, command(color, Op::Exists, b"", plain)),
        ("ttl", 5, command(color, Op::Ttl, b"", plain)),
        ("set", 2, command(color, first, b"blue", stamp(1))),
        ("set-if-version", 6, command(color, second, b"red", stamp(2))),
        ("delete", 7, command(color, Op::Delete, b"", plain)),
        ("increment", 8, command(b"hits", Op::IncrementBy(-2), b"", stamp(3))),
        ("set-expiry", 9, command(color, Op::SetExpiry(at), b"", plain)),
        ("if-equal", 10, command(color, Op::IfEqual { then }, b"blue", stamp(4))),
        ("delete-if", 11, command(color, Op::DeleteIfVersion(VERSION), b"", plain)),
    ];
    let get = ("get", 3, Consistency::Quorum, command(color, Op::Get, b"", plain));
    let rest = linearizable.map(|(name, id, command)| (name, id, Consistency::Linearizable, command));
    [get].into_iter().chain(rest).collect()
}

/// The other requests, with their ids.
fn requests_about_the_server() -> Vec<(&'static str, u64, Request<'static>)> {
    vec![
        ("open-session", 1, Request::OpenSession { group: GroupId::new(1) }),
        ("hello", 12, Request::Hello { name: "tool" }),
        ("auth", 13, Request::Auth { password: Secret::new(&b"secret"[..]) }),
        ("topology-request", 14, Request::Topology),
        ("status-request", 15, Request::Status),
        ("ping", 16, Request::Ping),
    ]
}

/// The responses.
fn responses() -> Vec<(&'static str, Response)> {
    let reply = |id, reply| (id, ResponseBody::Reply(reply), "");
    let value = Reply::Value { value: b"blue".to_vec(), version: VERSION };
    let all = [
        ("done", reply(2, Reply::Done { version: VERSION })),
        ("skipped", reply(11, Reply::Skipped)),
        ("value", reply(3, value)),
        ("nil", reply(3, Reply::Nil)),
        ("int", reply(5, Reply::Int(-2))),
        ("session", reply(1, Reply::Session(SessionId::new(1234)))),
        ("error", (4, ResponseBody::Reply(Reply::Error(ErrorKind::Busy)), "later")),
        ("error-id-0", (0, ResponseBody::Failed(FailureCode::Protocol), "checksum mismatch")),
        ("hello-answer", (12, ResponseBody::Hello(server_info()), "")),
        ("ok", (13, ResponseBody::Ok, "")),
        ("topology", (14, ResponseBody::Topology(topology()), "")),
        ("status", (15, ResponseBody::Status(status()), "")),
        ("pong", (16, ResponseBody::Pong, "")),
    ];
    all.into_iter().map(|(name, (id, body, text))| (name, Response { id, body, text: text.into() })).collect()
}

fn server_info() -> ServerInfo {
    let (cluster, node) = (ClusterId::new(0xC1), NodeId::new(1));
    ServerInfo { cluster, node, group_count: 2, version: "0.1.0".into() }
}

fn topology() -> Topology {
    let node = |number, port, core_port_base| TopologyNode {
        node: NodeId::new(number),
        host: format!("n{number}"),
        port,
        core_port_base,
        core_count: 2,
    };
    let led = |number, core| TopologyGroup {
        group: GroupId::new(number),
        leader: Some(NodeId::new(number)),
        core: CoreId::new(core),
    };
    Topology {
        cluster: ClusterId::new(0xC1),
        epoch: 3,
        group_count: 2,
        nodes: vec![node(1, 6379, 7100), node(2, 6380, 7102)],
        groups: vec![led(1, 0), led(2, 1)],
    }
}

fn status() -> NodeStatus {
    let node = NodeId::new(1);
    let replica = GroupState {
        group: GroupId::new(1),
        core: CoreId::new(0),
        role: GroupRole::Leader,
        serving: true,
        leader: Some(node),
        promised: Ballot::new(3, node),
        chosen: Slot::new(42),
        applied: Slot::new(42),
        keys: 1,
        leader_changes: 1,
    };
    NodeStatus {
        node,
        incarnation: Incarnation::new(0xA5),
        core_count: 2,
        uptime_ms: 61_000,
        version: "0.1.0".into(),
        durability: Durability::Sync,
        groups: vec![replica],
        counters: vec![("turns".into(), 9)],
    }
}

fn encode_about_the_server(out: &mut Vec<u8>, id: u64, request: &Request<'_>) {
    match request {
        Request::Command { consistency, command } => binary::encode_request(out, id, *consistency, command),
        Request::OpenSession { group } => binary::encode_open_session(out, id, *group),
        Request::Hello { name } => binary::encode_hello(out, id, name),
        Request::Auth { password } => binary::encode_auth(out, id, password.bytes()),
        Request::Topology => binary::encode_topology(out, id),
        Request::Status => binary::encode_status(out, id),
        Request::Ping => binary::encode_ping(out, id),
    }
}

fn encode_response(out: &mut Vec<u8>, Response { id, body, text }: &Response) {
    match body {
        ResponseBody::Reply(reply) => binary::encode_reply(out, *id, reply, text),
        ResponseBody::Failed(failure) => binary::encode_failure(out, *id, *failure, text),
        ResponseBody::Hello(info) => binary::encode_hello_answer(out, *id, info),
        ResponseBody::Topology(topology) => binary::encode_topology_answer(out, *id, topology),
        ResponseBody::Status(status) => binary::encode_status_answer(out, *id, status),
        ResponseBody::Ok => binary::encode_ok(out, *id),
        ResponseBody::Pong => binary::encode_pong(out, *id),
    }
}

/// Every example with its bytes.
fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![("preamble", PREAMBLE.to_vec()), ("peer-handshake", handshake())];
    for (name, id, consistency, command) in requests_on_a_key() {
        all.push((name, encoded(|out| binary::encode_request(out, id, consistency, &command))));
    }
    for (name, id, request) in requests_about_the_server() {
        all.push((name, encoded(|out| encode_about_the_server(out, id, &request))));
    }
    for (name, response) in responses() {
        all.push((name, encoded(|out| encode_response(out, &response))));
    }
    all
}

/// All four frames of a handshake between two nodes whose secret and nonces are known.
fn handshake() -> Vec<u8> {
    let (mut said, mut at) = (Vec::new(), 0);
    let mut frame = |said: &[u8]| {
        let head = said[at..].first_chunk().map(peer::Head::decode).expect("whole").expect("sound");
        let tail = at + peer::HANDSHAKE_HEAD_BYTES;
        at = tail + head.tail_bytes();
        (head, said[tail..at].to_vec())
    };
    let secrets = || Secrets::one(PeerSecret::new(*b"0123456789abcdef0123456789ABCDEF"));
    let initiator = Initiator::hello(identity(), secrets(), [0xA1; 32], &mut said);
    let (hello, _) = frame(&said);
    let acceptor = Acceptor::challenge(&hello, secrets(), [0xB2; 32], &mut said).expect("a hello");
    let (challenge, tail) = frame(&said);
    let introduced = initiator.on_challenge(&challenge, &tail, &mut said).expect("the same secret");
    let (intro, tail) = frame(&said);
    let proved = acceptor.on_intro(&intro, &tail, &mut said).expect("the same secret");
    assert_eq!(*proved.theirs(), identity());
    let theirs = Handshake {
        node: NodeId::new(2),
        incarnation: Incarnation::new(0xB6),
        target: NodeId::new(1),
        ..identity()
    };
    let known = LogPosition { sequence: 500, crc: 0xC0FF_EE00 };
    proved.welcome(&theirs, known, &mut said);
    let (welcome, tail) = frame(&said);
    let answer = introduced.on_answer(&welcome, &tail).map(|answer| (answer.theirs, answer.heard));
    assert_eq!(answer, Ok((theirs, known)));
    said
}

fn identity() -> Handshake {
    Handshake {
        cluster: ClusterId::new(0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF),
        facts: 0x0102_0304_0506_0708,
        node: NodeId::new(1),
        incarnation: Incarnation::new(0xA5),
        core: CoreId::new(0),
        core_count: 2,
        target: NodeId::new(2),
    }
}

#[test]
fn the_examples_in_the_document_are_what_is_sent() {
    let examples = examples();
    for (name, bytes) in &examples {
        assert_eq!(shown(&documented(name)), shown(bytes), "block '{name}' should be\n{}", shown(bytes));
    }
    let wanted: BTreeSet<_> = examples.iter().map(|(name, _)| *name).collect();
    let written = names();
    assert_eq!(written.iter().copied().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(written.len(), wanted.len(), "a block is there twice");
}

#[test]
fn the_examples_in_the_document_are_understood() {
    for (name, id, consistency, wanted) in requests_on_a_key() {
        let bytes = documented(name);
        let command = wanted.as_ref().map(Vec::as_slice);
        let request = Request::Command { consistency, command };
        assert_eq!(binary::decode_request(&bytes), Ok((id, Decoded::Request(request))), "{name}");
    }
    for (name, id, wanted) in requests_about_the_server() {
        assert_eq!(binary::decode_request(&documented(name)), Ok((id, Decoded::Request(wanted))), "{name}");
    }
    let mut decoder = binary::ResponseDecoder::new();
    for (name, wanted) in responses() {
        decoder.feed(&documented(name));
        assert_eq!(decoder.next(), Ok(Some(wanted)), "{name}");
    }
}

#[test]
fn every_kind_of_frame_has_a_section_and_an_example() {
    let shown: BTreeSet<u8> = names().iter().filter_map(|name| documented(name).get(8).copied()).collect();
    let kinds: Vec<(&str, u8)> = CODES
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(crate) const ")?.split_once(": u8 = 0x"))
        .map(|(name, rest)| {
            let digits = rest.trim_end_matches(';');
            (name.trim_end_matches("_ANSWER"), u8::from_str_radix(digits, 16).expect("a kind"))
        })
        .collect();
    assert!(kinds.len() >= 27, "the kinds in codes.rs are not found: {kinds:?}");
    for (name, kind) in kinds {
        let title = format!("#### `{kind:02X}` {name}\n");
        assert!(DOCUMENT.contains(&title), "no section {title}");
        assert!(shown.contains(&kind), "{name} ({kind:#x}) has no example");
    }
}

#[test]
fn the_document_names_every_code() {
    for code in 0..1000 {
        let name = match (binary::error_of_code(code), FailureCode::of_code(code)) {
            (Ok(kind), None) => format!("{kind:?}"),
            (Err(_), Some(failure)) => format!("{failure:?}"),
            (Err(_), None) => continue,
            (Ok(kind), Some(failure)) => panic!("{code} is both {kind:?} and {failure:?}"),
        };
        let row = format!("\n| {code} | `{name}` |");
        assert!(DOCUMENT.contains(&row), "{row}");
    }
    for refusal in LinkRefusal::ALL {
        let row = format!("| {} | `{refusal:?}` |", refusal.code());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}

#[test]
fn the_places_of_keys_in_the_document_are_where_they_are_sent() {
    let topology = topology();
    let mut rows = 0;
    for line in DOCUMENT.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [key, _, crc, bucket, group, address] = cells[..] else { continue };
        if !crc.starts_with("`0x") {
            continue;
        }
        let key = key.trim_matches('`');
        let placed = bucket_of(key.as_bytes());
        let led = group_of(placed, topology.group_count);
        let leader = topology.group(led).and_then(|group| Some((topology.node(group.leader?)?, group.core)));
        let (node, core) = leader.expect("every group is led");
        let found = [
            placed.get().to_string(),
            led.get().to_string(),
            format!("{}:{}", node.host, node.port_of(core)),
        ];
        assert_eq!([bucket, group, address], found.each_ref().map(String::as_str), "{key}");
        rows += 1;
    }
    assert!(rows >= 6, "{rows} keys");
    assert_eq!(group_of(bucket_of(b"{a}b"), 16), GroupId::new(16), "the example in words");
}

#[test]
fn the_limits_in_the_document_are_those_of_the_code() {
    let spaced = |number: usize| {
        let digits = number.to_string();
        let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
        groups.collect::<Vec<_>>().join(" ")
    };
    let server = crate::server::Limits::default();
    let rows = [
        format!("| frame | {} to {} bytes |", binary::HEADER_BYTES, spaced(binary::FRAME_BYTES_MAX)),
        format!("| key | 1 to {} bytes |", spaced(limits::KEY_BYTES_MAX)),
        format!(
            "| value, also the expected one of IF_EQUAL | 0 to {} bytes |",
            spaced(limits::VALUE_BYTES_MAX)
        ),
        format!("| open requests of a connection | {} |", server.open_asks_max),
        format!(
            "| unsent responses of a connection | {} MiB | nothing more is read",
            server.out_bytes_soft >> 20
        ),
        format!("| data groups | 1 to {}, a power of two |", limits::GROUP_COUNT_MAX),
        format!("| sessions of a group | {} |", limits::SESSIONS_PER_GROUP_MAX),
        format!("| replies of a session | {} |", limits::SESSION_REPLIES_MAX),
        format!("The key space has {} *buckets*", limits::BUCKET_COUNT),
    ];
    for row in rows {
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}
