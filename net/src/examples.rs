//! Tests that the example bytes in docs/wire-format.md are what this crate encodes and decodes. An example
//! block begins with ```` ```hex name ````; text after `;` is a comment.

use crate::binary::{self, PREAMBLE, Topology, TopologyGroup, TopologyNode};
use crate::peer::{self, Acceptor, Handshake, Initiator, LinkRefusal, PeerSecret, Secrets};
use synod_types::*;

const DOCUMENT: &str = include_str!("../../docs/wire-format.md");

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

fn set() -> Command<Vec<u8>> {
    Command {
        namespace: Namespace::new(0),
        key: b"color".to_vec(),
        op: Op::Set {
            value_crc: synod_types::checksum::crc32c(b"blue"),
            condition: Condition::IfAbsent,
            expiry: Expiry::After(60_000),
            return_old: false,
        },
        operand: b"blue".to_vec(),
        stamp: SessionStamp { session: SessionId::new(0x4D2), sequence: 1, lowest_open: 1 },
    }
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

fn topology() -> Topology {
    Topology {
        cluster: ClusterId::new(0xC1),
        epoch: 3,
        group_count: 1,
        nodes: vec![TopologyNode {
            node: NodeId::new(1),
            host: "n1".into(),
            port: 6379,
            core_port_base: 0,
            core_count: 1,
        }],
        groups: vec![TopologyGroup {
            group: GroupId::new(1),
            leader: Some(NodeId::new(1)),
            core: CoreId::new(0),
        }],
    }
}

#[test]
fn the_examples_in_the_document_are_what_is_sent() {
    let version = Version { slot: Slot::new(42), position: 0 };
    let get = Command::plain(b"color".to_vec(), Op::Get);
    let value = Reply::Value { value: b"blue".as_slice(), version };
    let examples = [
        ("preamble", PREAMBLE.to_vec()),
        ("open-session", encoded(|out| binary::encode_open_session(out, 1, GroupId::new(1)))),
        (
            "session",
            encoded(|out| {
                binary::encode_reply(out, 1, &Reply::<&[u8]>::Session(SessionId::new(0x4D2)), "");
            }),
        ),
        ("set", encoded(|out| binary::encode_request(out, 2, Consistency::Linearizable, &set()))),
        ("done", encoded(|out| binary::encode_reply(out, 2, &Reply::<&[u8]>::Done { version }, ""))),
        ("get", encoded(|out| binary::encode_request(out, 3, Consistency::Quorum, &get))),
        ("value", encoded(|out| binary::encode_reply(out, 3, &value, ""))),
        (
            "error",
            encoded(|out| {
                let busy = Reply::<&[u8]>::Error(ErrorKind::Busy);
                binary::encode_reply(out, 4, &busy, "later");
            }),
        ),
        ("ping", encoded(|out| binary::encode_ping(out, 5))),
        ("topology", encoded(|out| binary::encode_topology_answer(out, 6, &topology()))),
        ("peer-handshake", handshake()),
    ];
    for (name, bytes) in examples {
        assert_eq!(shown(&documented(name)), shown(&bytes), "block '{name}' should be\n{}", shown(&bytes));
    }
}

#[test]
fn the_examples_in_the_document_are_understood() {
    let decoded = binary::decode_request(&documented("set")).map(|(id, decoded)| match decoded {
        binary::Decoded::Request(binary::Request::Command { command, .. }) => {
            (id, Some(command.map(<[u8]>::to_vec)))
        }
        _ => (id, None),
    });
    assert_eq!(decoded, Ok((2, Some(set()))));
    let mut decoder = binary::ResponseDecoder::new();
    for name in ["session", "done", "value", "error", "topology"] {
        decoder.feed(&documented(name));
        let response = decoder.next();
        assert!(matches!(response, Ok(Some(_))), "{name}: {response:?}");
    }
}

#[test]
fn the_document_names_every_code() {
    for kind in 1..=10 {
        let kind = binary::error_of_code(kind).expect("defined");
        let row = format!("| {} | `{kind:?}` |", binary::error_code(kind));
        assert!(DOCUMENT.contains(&row), "{row}");
    }
    for failure in [
        binary::FailureCode::Protocol,
        binary::FailureCode::Version,
        binary::FailureCode::AuthRequired,
        binary::FailureCode::AuthFailed,
        binary::FailureCode::Unavailable,
    ] {
        let row = format!("| {} | `{failure:?}` |", failure.code());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
    for refusal in LinkRefusal::ALL {
        let row = format!("| {} | `{refusal:?}` |", refusal.code());
        assert!(DOCUMENT.contains(&row), "{row}");
    }
}
