//! Round trips, damage and limits of the client protocol.

use super::*;
use crate::ProtocolError;
use crate::access::Secret;
use proptest::prelude::*;
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::*;

pub(crate) fn set(key: &[u8], value: &[u8]) -> Command<Vec<u8>> {
    let op = Op::Set {
        value_crc: synod_types::checksum::crc32c(value),
        condition: Condition::Always,
        expiry: Expiry::None,
        return_old: false,
    };
    Command::new(key.to_vec(), op, value.to_vec())
}

/// All numbers that are not refused.
fn times() -> impl Strategy<Value = u64> {
    1..=i64::MAX.cast_unsigned()
}

fn expiries() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        Just(Expiry::None),
        times().prop_map(|at| Expiry::At(WallMs(at))),
        times().prop_map(Expiry::After),
    ]
}

/// Operations with their operands.
fn ops() -> impl Strategy<Value = (Op, Vec<u8>)> {
    let versions =
        any::<(u64, u32)>().prop_map(|(slot, position)| Version { slot: Slot::new(slot), position });
    let conditions = prop_oneof![
        Just(Condition::Always),
        Just(Condition::IfAbsent),
        Just(Condition::IfPresent),
        versions.clone().prop_map(Condition::IfVersion),
    ];
    let plain = prop_oneof![
        Just(Op::Get),
        Just(Op::Exists),
        Just(Op::Ttl),
        Just(Op::Delete),
        versions.prop_map(Op::DeleteIfVersion),
        any::<i64>().prop_map(Op::IncrementBy),
        expiries().prop_map(Op::SetExpiry),
    ];
    let value = || prop::collection::vec(any::<u8>(), 0..300);
    let sets = (conditions, prop_oneof![Just(Expiry::Keep), expiries()], any::<bool>());
    prop_oneof![
        7 => plain.prop_map(|op| (op, Vec::new())),
        1 => (value(), thens()).prop_map(|(value, then)| (Op::IfEqual { then }, value)),
        1 => (value(), sets).prop_map(|(value, (condition, expiry, return_old))| {
            let value_crc = synod_types::checksum::crc32c(&value);
            (Op::Set { value_crc, condition, expiry, return_old }, value)
        }),
    ]
}

fn thens() -> impl Strategy<Value = IfEqualAction> {
    prop_oneof![
        Just(IfEqualAction::Delete),
        times().prop_map(IfEqualAction::ExpireAfter),
        times().prop_map(IfEqualAction::RenewFor),
        times().prop_map(IfEqualAction::ExtendBy),
    ]
}

fn commands() -> impl Strategy<Value = Command<Vec<u8>>> {
    (any::<u16>(), prop::collection::vec(any::<u8>(), 1..80), ops(), stamps()).prop_map(
        |(namespace, key, (op, operand), stamp)| Command {
            namespace: Namespace::new(namespace),
            key,
            op,
            operand,
            stamp,
        },
    )
}

/// No stamp, or one that is not refused.
fn stamps() -> impl Strategy<Value = SessionStamp> {
    let stamp = (1..=u64::MAX, 1..=u64::MAX, any::<u64>()).prop_map(|(session, sequence, lowest_open)| {
        let lowest_open = lowest_open % sequence.saturating_add(1);
        SessionStamp { session: SessionId::new(session), sequence, lowest_open }
    });
    prop_oneof![Just(SessionStamp::default()), stamp]
}

fn replies() -> impl Strategy<Value = Reply<Vec<u8>>> {
    let version = |(slot, position): (u64, u32)| Version { slot: Slot::new(slot), position };
    prop_oneof![
        any::<(u64, u32)>().prop_map(move |at| Reply::Done { version: version(at) }),
        Just(Reply::Skipped),
        (prop::collection::vec(any::<u8>(), 0..300), any::<(u64, u32)>())
            .prop_map(move |(value, at)| Reply::Value { value, version: version(at) }),
        Just(Reply::Nil),
        any::<i64>().prop_map(Reply::Int),
        any::<u64>().prop_map(|id| Reply::Session(SessionId::new(id))),
        (1_u32..=10).prop_map(|code| Reply::Error(error_of_code(code).expect("a defined code"))),
    ]
}

pub(crate) fn topology() -> Topology {
    Topology {
        cluster: ClusterId::new(0xABCD),
        epoch: 4,
        group_count: 2,
        nodes: vec![TopologyNode {
            node: NodeId::new(1),
            host: "node-1".into(),
            port: 6379,
            core_port_base: 7000,
            core_count: 2,
        }],
        groups: vec![
            TopologyGroup { group: GroupId::new(1), leader: Some(NodeId::new(1)), core: CoreId::new(0) },
            TopologyGroup { group: GroupId::new(2), leader: None, core: CoreId::new(1) },
        ],
    }
}

pub(crate) fn status() -> NodeStatus {
    NodeStatus {
        node: NodeId::new(3),
        incarnation: Incarnation::new(0xFEED),
        core_count: 2,
        uptime_ms: 12_345,
        version: "0.1.0".into(),
        durability: Durability::Async,
        groups: vec![GroupState {
            group: GroupId::new(1),
            core: CoreId::new(1),
            role: GroupRole::Leader,
            serving: true,
            leader: Some(NodeId::new(3)),
            promised: Ballot::new(8, NodeId::new(3)),
            chosen: Slot::new(100),
            applied: Slot::new(99),
            keys: 50,
            leader_changes: 1,
        }],
        counters: vec![("connected_clients".into(), 2)],
    }
}

fn decode_all(bytes: &[u8], mut cuts: impl Iterator<Item = usize>) -> Result<Vec<Response>, ProtocolError> {
    let mut decoder = ResponseDecoder::new();
    let mut got = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        decoder.feed(head);
        while let Some(response) = decoder.next()? {
            got.push(response);
        }
        rest = tail;
    }
    Ok(got)
}

fn owned(decoded: Decoded<'_>) -> Option<(Consistency, Command<Vec<u8>>)> {
    match decoded {
        Decoded::Request(Request::Command { consistency, command }) => {
            Some((consistency, command.map(<[u8]>::to_vec)))
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn requests_survive_their_bytes(id in any::<u64>(), command in commands(), quorum in any::<bool>()) {
        let consistency = if quorum { Consistency::Quorum } else { Consistency::Linearizable };
        let mut out = vec![1, 2, 3]; // frames are appended to the bytes already there
        encode_request(&mut out, id, consistency, &command);
        let frame = split(&out[3..]).expect("sound").expect("whole");
        prop_assert_eq!(frame.len(), out.len() - 3);
        let (got_id, decoded) = decode_request(frame).expect("sound");
        prop_assert_eq!(got_id, id);
        prop_assert_eq!(owned(decoded), Some((consistency, command)));
    }

    #[test]
    fn responses_survive_their_bytes_however_they_are_cut(
        list in prop::collection::vec((any::<u64>(), replies()), 1..8),
        cuts in prop::collection::vec(1_usize..100, 0..50),
    ) {
        let mut out = Vec::new();
        for (id, reply) in &list {
            encode_reply(&mut out, *id, reply, "");
        }
        let want: Vec<_> = list
            .into_iter()
            .map(|(id, reply)| Response { id, body: ResponseBody::Reply(reply), text: String::new() })
            .collect();
        prop_assert_eq!(decode_all(&out, cuts.into_iter()), Ok(want));
    }

    #[test]
    fn a_flipped_bit_in_a_request_is_refused(
        command in commands(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let mut out = Vec::new();
        encode_request(&mut out, 1, Consistency::default(), &command);
        let index = 4 + at.index(out.len() - 4); // `split` checks the length itself
        out[index] ^= 1 << bit;
        prop_assert!(decode_request(&out).is_err(), "byte {}", index);
    }

    #[test]
    fn a_flipped_bit_in_a_response_is_refused(
        reply in replies(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let mut out = Vec::new();
        encode_reply(&mut out, 1, &reply, "text");
        let index = at.index(out.len());
        out[index] ^= 1 << bit;
        match decode_all(&out, core::iter::empty()) {
            Err(_) => {}
            Ok(list) => { prop_assert!(list.is_empty()); prop_assert!(index < 4); }
        }
    }

    #[test]
    fn damage_under_a_fitting_checksum_never_panics(
        command in commands(), reply in replies(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut frames = vec![Vec::new(); 4];
        encode_request(&mut frames[0], 1, Consistency::default(), &command);
        encode_reply(&mut frames[1], 1, &reply, "");
        encode_topology_answer(&mut frames[2], 1, &topology());
        encode_status_answer(&mut frames[3], 1, &status());
        for mut frame in frames {
            for (at, value) in &flips {
                let index = 8 + at.index(frame.len() - 8);
                frame[index] = *value;
            }
            let crc = synod_types::checksum::crc32c(&frame[8..]);
            frame[4..8].copy_from_slice(&crc.to_le_bytes());
            let _ = decode_request(&frame);
            let _ = decode_all(&frame, core::iter::empty());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_request(&bytes);
        let _ = decode_all(&bytes, core::iter::repeat(3));
    }
}

#[test]
fn the_other_requests_survive_their_bytes() {
    type Encoder = fn(&mut Vec<u8>);
    let cases: [(Encoder, Request<'_>); 6] = [
        (|out| encode_open_session(out, 9, GroupId::new(5)), Request::OpenSession { group: GroupId::new(5) }),
        (|out| encode_hello(out, 9, "tool"), Request::Hello { name: "tool" }),
        (|out| encode_auth(out, 9, b"pw"), Request::Auth { password: Secret::new(&b"pw"[..]) }),
        (|out| encode_topology(out, 9), Request::Topology),
        (|out| encode_status(out, 9), Request::Status),
        (|out| encode_ping(out, 9), Request::Ping),
    ];
    for (encode, want) in cases {
        let mut out = Vec::new();
        encode(&mut out);
        assert_eq!(decode_request(&out), Ok((9, Decoded::Request(want))));
    }
}

#[test]
fn a_request_that_is_shown_shows_no_password() {
    let mut out = Vec::new();
    encode_auth(&mut out, 9, b"Rosebud");
    assert_eq!(format!("{:?}", decode_request(&out)), "Ok((9, Request(Auth { password: ******** })))");
}

#[test]
fn the_other_responses_survive_their_bytes() {
    let mut out = Vec::new();
    let info = ServerInfo {
        cluster: ClusterId::new(7),
        node: NodeId::new(1),
        group_count: 16,
        version: "0.1.0".into(),
    };
    encode_hello_answer(&mut out, 1, &info);
    encode_ok(&mut out, 2);
    encode_topology_answer(&mut out, 3, &topology());
    encode_status_answer(&mut out, 4, &status());
    encode_pong(&mut out, 5);
    encode_failure(&mut out, 6, FailureCode::AuthRequired, "authenticate first");
    encode_reply(&mut out, 7, &Reply::<Vec<u8>>::Error(ErrorKind::Malformed), "the key is empty");
    let response = |id, body, text: &str| Response { id, body, text: text.into() };
    let want = vec![
        response(1, ResponseBody::Hello(info), ""),
        response(2, ResponseBody::Ok, ""),
        response(3, ResponseBody::Topology(topology()), ""),
        response(4, ResponseBody::Status(status()), ""),
        response(5, ResponseBody::Pong, ""),
        response(6, ResponseBody::Failed(FailureCode::AuthRequired), "authenticate first"),
        response(7, ResponseBody::Reply(Reply::Error(ErrorKind::Malformed)), "the key is empty"),
    ];
    assert_eq!(decode_all(&out, core::iter::repeat(7)), Ok(want));
}

#[test]
fn codes_are_distinct_and_come_back() {
    let kinds = [
        ErrorKind::Unknown,
        ErrorKind::NoLeader,
        ErrorKind::Busy,
        ErrorKind::SessionExpired,
        ErrorKind::SequenceClosed,
        ErrorKind::NotAnInteger,
        ErrorKind::Overflow,
        ErrorKind::BadExpiry,
        ErrorKind::ReadFailed,
        ErrorKind::Malformed,
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        assert_eq!(error_code(kind) as usize, index + 1);
        assert_eq!(error_of_code(error_code(kind)), Ok(kind));
    }
    // Clients of version 1 know no number for it; they handle `Busy` correctly.
    assert_eq!(error_code(ErrorKind::NoSpace), error_code(ErrorKind::Busy));
    for code in [0, 11, 99, u32::MAX] {
        assert_eq!(error_of_code(code), Err(ProtocolError::Kind));
    }
}

#[test]
fn a_key_or_value_one_byte_too_long_is_refused_and_the_frame_is_sound() {
    let decode = |key: usize, value: usize| {
        let mut out = Vec::new();
        let command = set(&vec![1; key], &vec![2; value]);
        encode_request(&mut out, 1, Consistency::default(), &command);
        match decode_request(&out).expect("sound").1 {
            Decoded::Request(_) => "",
            Decoded::Refused(_, text) => text,
        }
        .to_owned()
    };
    assert_eq!(decode(KEY_BYTES_MAX, VALUE_BYTES_MAX), "");
    assert_eq!(decode(KEY_BYTES_MAX + 1, 1), "the key is over 16384 bytes");
    assert_eq!(decode(1, VALUE_BYTES_MAX + 1), "the value is over 1048576 bytes");
    assert_eq!(decode(0, 1), "the key is empty");
}

#[test]
fn an_impossible_length_is_refused_by_its_four_bytes() {
    for len in [0, HEADER_BYTES - 1, FRAME_BYTES_MAX + 1, u32::MAX as usize] {
        let bytes = (len as u32).to_le_bytes();
        assert_eq!(split(&bytes), Err(ProtocolError::Length));
        let mut decoder = ResponseDecoder::new();
        decoder.feed(&bytes);
        assert_eq!(decoder.next(), Err(ProtocolError::Length));
        assert_eq!(decoder.next(), Err(ProtocolError::Length), "a broken connection stays broken");
    }
}

#[test]
fn a_value_that_does_not_fit_its_own_checksum_is_refused() {
    let mut out = Vec::new();
    encode_request(&mut out, 1, Consistency::default(), &set(b"k", b"value"));
    let last = out.len() - 1;
    out[last] ^= 1;
    assert_eq!(decode_request(&out), Err(ProtocolError::Checksum));
}

/// The verdict on one request: valid, or the error that the client gets.
fn verdict(command: &Command<Vec<u8>>) -> Result<(), (ErrorKind, &'static str)> {
    let mut out = Vec::new();
    encode_request(&mut out, 1, Consistency::default(), command);
    verdict_of_frame(&out)
}

fn verdict_of_frame(frame: &[u8]) -> Result<(), (ErrorKind, &'static str)> {
    match decode_request(frame).expect("sound").1 {
        Decoded::Request(_) => Ok(()),
        Decoded::Refused(kind, text) => Err((kind, text)),
    }
}

/// Every other number that a request carries, at 0, at its largest value, and one past that or as -1 where
/// the wire has room for it.
#[test]
fn numbers_at_their_ends_are_taken_or_refused_by_name() {
    const MAX: u64 = i64::MAX as u64;
    let bad_expiry = |text| Err((ErrorKind::BadExpiry, text));
    let malformed = |text| Err((ErrorKind::Malformed, text));
    let plain = |op| Command::plain(b"k".to_vec(), op);
    let set_with = |wanted| {
        let mut command = set(b"k", b"v");
        if let Op::Set { expiry, .. } = &mut command.op {
            *expiry = wanted;
        }
        command
    };
    let set_expiry = |expiry| plain(Op::SetExpiry(expiry));
    let if_equal = |then| Command::new(b"k".to_vec(), Op::IfEqual { then }, b"v".to_vec());
    let (too_much, zero_at, zero_after) = (
        "an expiry over 9223372036854775807 ms",
        "an expiry at time 0; to delete the key send DELETE",
        "an expiry after 0 ms; to delete the key send DELETE",
    );
    let zero_then = "an expiry of 0 ms; to delete the key send IF_EQUAL with then 0";
    type Make<'a> = (&'static str, &'static str, Box<dyn Fn(u64) -> Command<Vec<u8>> + 'a>);
    let times: [Make<'_>; 7] = [
        ("SET at", zero_at, Box::new(|ms| set_with(Expiry::At(WallMs(ms))))),
        ("SET after", zero_after, Box::new(|ms| set_with(Expiry::After(ms)))),
        ("SET_EXPIRY at", zero_at, Box::new(|ms| set_expiry(Expiry::At(WallMs(ms))))),
        ("SET_EXPIRY after", zero_after, Box::new(|ms| set_expiry(Expiry::After(ms)))),
        ("IF_EQUAL expire", zero_then, Box::new(|ms| if_equal(IfEqualAction::ExpireAfter(ms)))),
        ("IF_EQUAL renew", zero_then, Box::new(|ms| if_equal(IfEqualAction::RenewFor(ms)))),
        ("IF_EQUAL extend", zero_then, Box::new(|ms| if_equal(IfEqualAction::ExtendBy(ms)))),
    ];
    for (name, zero, make) in times {
        assert_eq!(verdict(&make(0)), bad_expiry(zero), "{name}");
        for good in [1, MAX] {
            assert_eq!(verdict(&make(good)), Ok(()), "{name} {good}");
        }
        for bad in [MAX + 1, u64::MAX] {
            assert_eq!(verdict(&make(bad)), bad_expiry(too_much), "{name} {bad}");
        }
    }
    // An expiry that sets no time is not a time of 0.
    for expiry in [Expiry::None, Expiry::Keep] {
        assert_eq!(verdict(&set_with(expiry)), Ok(()));
    }
    assert_eq!(verdict(&set_expiry(Expiry::None)), Ok(()));
    assert_eq!(verdict(&if_equal(IfEqualAction::Delete)), Ok(()));

    for delta in [0, -1, i64::MIN, i64::MAX] {
        assert_eq!(verdict(&plain(Op::IncrementBy(delta))), Ok(()), "{delta}");
    }
    // A version that was never given out matches nothing, and that is a valid request.
    for (slot, position) in [(0, 0), (u64::MAX, u32::MAX)] {
        let version = Version { slot: Slot::new(slot), position };
        assert_eq!(verdict(&plain(Op::DeleteIfVersion(version))), Ok(()));
    }

    for (argument, want) in [
        (0, Ok(())),
        (u32::from(u16::MAX), Ok(())),
        (1 << 16, malformed("no such group")),
        (u32::MAX, malformed("no such group")),
    ] {
        // The server decides which groups exist.
        let mut out = Vec::new();
        encode_open_session(&mut out, 1, GroupId::new(1));
        out[12..16].copy_from_slice(&argument.to_le_bytes());
        let crc = synod_types::checksum::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(verdict_of_frame(&out), want, "group {argument}");
    }
}

#[test]
fn a_stamp_that_names_no_session_or_no_number_is_refused_on_every_command() {
    let malformed = |text| Err((ErrorKind::Malformed, text));
    let none = malformed("the stamp names session 0, which is none: open one, or leave the stamp out");
    let no_sequence = malformed("the stamp's sequence is 0; sequences begin at 1");
    let above = malformed("the stamp's lowest open is above its sequence");
    for (session, sequence, lowest_open, want) in [
        (0, 1, 1, none),
        (0, 0, 1, none),
        (0, u64::MAX, 0, none),
        (1, 0, 0, no_sequence),
        (1, 1, 0, Ok(())),
        (1, 1, 1, Ok(())),
        (1, 1, 2, above),
        (u64::MAX, u64::MAX, u64::MAX, Ok(())),
        (u64::MAX, u64::MAX - 1, u64::MAX, above),
    ] {
        let plain = [Op::Get, Op::Exists, Op::Ttl, Op::Delete, Op::IncrementBy(1)];
        let plain = plain.map(|op| Command::plain(b"k".to_vec(), op));
        for command in plain.into_iter().chain([set(b"k", b"v")]) {
            let stamp = SessionStamp { session: SessionId::new(session), sequence, lowest_open };
            let command = Command { stamp, ..command };
            assert_eq!(verdict(&command), want, "{command:?}");
        }
    }
}

/// `encode_request` leaves a stamp of zeros out, so this frame is built by hand.
#[test]
fn a_flag_that_announces_a_session_and_a_stamp_of_zeros_is_refused() {
    let plain = |op| Command::plain(b"k".to_vec(), op);
    for command in [plain(Op::Get), set(b"k", b"v"), plain(Op::Delete)] {
        let mut out = Vec::new();
        let stamp = SessionStamp { session: SessionId::new(1), sequence: 1, lowest_open: 1 };
        let unchecked = command.operand.len();
        encode_request(&mut out, 1, Consistency::default(), &Command { stamp, ..command });
        out[24..48].fill(0);
        let crc = synod_types::checksum::crc32c(&out[8..out.len() - unchecked]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        let (kind, text) = verdict_of_frame(&out).expect_err("refused");
        assert_eq!(kind, ErrorKind::Malformed);
        assert!(text.contains("session 0"), "{text}");
    }
}
