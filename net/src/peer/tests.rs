//! Round trips, damage and limits of the peer protocol.

use super::handshake::Transcript;
use super::head::{CHECKED, HandshakeKind};
use super::identity::IDENTITY_BYTES;
use super::secret::MAC_BYTES;
use super::*;
use crate::ProtocolError;
use proptest::prelude::*;
use synod_types::limits::{COALESCED_MAX, KEY_BYTES_MAX, PEER_FRAME_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::operand::{put_compared, put_range, version_bytes};
use synod_types::*;

fn entry(value: &[u8]) -> Vec<u8> {
    let mut builder = EntryBuilder::new();
    let (op, operand) = set(value);
    builder.push(Command::new(b"key".to_vec(), op, operand));
    builder.finish(Ballot::new(2, NodeId::new(1)), WallMs(7))
}

fn set(value: &[u8]) -> (Op, Vec<u8>) {
    let op = Op::Set {
        value_crc: synod_types::checksum::crc32c(value),
        condition: Condition::Always,
        expiry: Expiry::None,
        return_old: false,
    };
    (op, value.to_vec())
}

fn ballots() -> impl Strategy<Value = Ballot> {
    (any::<u64>(), any::<u16>()).prop_map(|(round, node)| Ballot::new(round, NodeId::new(node)))
}
fn slots() -> impl Strategy<Value = Slot> {
    any::<u64>().prop_map(Slot::new)
}
fn entries() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..200).prop_map(|value| entry(&value))
}
fn ops() -> impl Strategy<Value = (Op, Vec<u8>)> {
    let plain = prop_oneof![
        Just(Op::Get),
        Just(Op::Exists),
        Just(Op::Ttl),
        Just(Op::Delete),
        any::<i64>().prop_map(Op::IncrementBy),
        any::<u64>().prop_map(|at| Op::SetExpiry(Expiry::At(WallMs(at)))),
    ];
    prop_oneof![
        6 => plain.prop_map(|op| (op, Vec::new())),
        1 => (prop::collection::vec(any::<u8>(), 0..80), any::<u64>())
            .prop_map(|(value, ms)| (Op::IfEqual { then: IfEqualAction::ExtendBy(ms) }, value)),
        1 => prop::collection::vec(any::<u8>(), 0..99).prop_map(|value| set(&value)),
    ]
}
fn group_messages() -> impl Strategy<Value = GroupMessage<Vec<u8>>> {
    prop_oneof![
        (ballots(), ballots()).prop_map(|(ballot, after)| GroupMessage::PreVote { ballot, after }),
        (ballots(), any::<bool>(), ballots(), slots()).prop_map(|(ballot, granted, promised, chosen)| {
            GroupMessage::PreVoteReply { ballot, granted, promised, chosen }
        }),
        (ballots(), ballots(), slots()).prop_map(|(ballot, after, from)| GroupMessage::Prepare {
            ballot,
            after,
            from
        }),
        (ballots(), slots()).prop_map(|(ballot, chosen)| GroupMessage::TimeoutNow { ballot, chosen }),
        (ballots(), slots(), any::<u64>(), prop::collection::vec((slots(), ballots(), entries()), 0..4))
            .prop_map(|(ballot, chosen, answer, list)| GroupMessage::Promise {
                ballot,
                chosen,
                answer,
                part: 1,
                part_count: 3,
                time: TimeReport {
                    ballot,
                    time: WallMs(answer),
                    age: Nanos(!answer),
                    wall: WallMs(answer / 3)
                },
                reported: list
                    .into_iter()
                    .map(|(slot, ballot, payload)| Reported { slot, ballot, payload })
                    .collect(),
            }),
        (ballots(), slots(), slots(), entries()).prop_map(|(ballot, slot, chosen, payload)| {
            GroupMessage::Accept { ballot, slot, chosen, payload }
        }),
        (ballots(), slots()).prop_map(|(ballot, slot)| GroupMessage::Accepted { ballot, slot }),
        (ballots(), ballots()).prop_map(|(ballot, promised)| GroupMessage::Nack { ballot, promised }),
        slots().prop_map(|from| GroupMessage::Fetch { from }),
        (slots(), prop::collection::vec((slots(), ballots(), entries()), 0..4)).prop_map(|(chosen, list)| {
            GroupMessage::Learn {
                chosen,
                entries: list
                    .into_iter()
                    .map(|(slot, ballot, payload)| Learned { slot, ballot, payload })
                    .collect(),
            }
        }),
    ]
}
fn messages() -> impl Strategy<Value = PeerMessage<Vec<u8>>> {
    prop_oneof![
        (any::<u16>(), group_messages())
            .prop_map(|(group, message)| PeerMessage::Group { group: GroupId::new(group), message }),
        prop::collection::vec((any::<u16>(), ballots(), slots(), any::<u64>()), 0..20).prop_map(|list| {
            PeerMessage::Heartbeats(
                list.into_iter()
                    .map(|(group, ballot, chosen, at)| Heartbeat {
                        group: GroupId::new(group),
                        ballot,
                        chosen,
                        sent_at: Mono(at),
                        time: WallMs(!at),
                    })
                    .collect(),
            )
        }),
        prop::collection::vec((any::<u16>(), ballots(), slots(), any::<u64>()), 0..20).prop_map(|list| {
            PeerMessage::HeartbeatReplies(
                list.into_iter()
                    .map(|(group, ballot, chosen, at)| HeartbeatReply {
                        group: GroupId::new(group),
                        ballot,
                        chosen,
                        sent_at: Mono(at),
                        is_low: at % 2 == 1,
                        level: Level::new(at as u16),
                        wall: WallMs(!at),
                    })
                    .collect(),
            )
        }),
        (any::<u64>(), any::<u32>())
            .prop_map(|(sequence, crc)| PeerMessage::Position(LogPosition { sequence, crc })),
        (any::<u64>(), prop::collection::vec(any::<u8>(), 1..50), ops(), any::<u64>()).prop_map(
            |(id, key, (op, operand), sequence)| {
                let mut command = Command::new(key, op, operand);
                command.stamp = SessionStamp { session: SessionId::new(3), sequence, lowest_open: 1 };
                PeerMessage::Forward { id, group: GroupId::new(2), consistency: Consistency::Quorum, command }
            }
        ),
        (any::<u64>(), prop::collection::vec(any::<u8>(), 0..50)).prop_map(|(id, value)| {
            PeerMessage::ForwardReply { id, reply: Reply::Value { value, version: Version::default() } }
        }),
        any::<u64>().prop_map(|id| PeerMessage::ForwardReply { id, reply: Reply::Error(ErrorKind::Unknown) }),
        (any::<u64>(), prop::collection::vec(any::<u16>().prop_map(GroupId::new), 0..20))
            .prop_map(|(id, groups)| PeerMessage::ReadIndex { id, groups }),
        (any::<u64>(), prop::collection::vec((any::<u16>(), ballots(), slots()), 0..20)).prop_map(
            |(id, list)| {
                let point =
                    |(group, ballot, chosen)| ReadPoint { group: GroupId::new(group), ballot, chosen };
                PeerMessage::ReadIndexReply { id, points: list.into_iter().map(point).collect() }
            }
        ),
    ]
}

fn owned(message: PeerMessage<Shared>) -> PeerMessage<Vec<u8>> {
    message.map(|bytes| bytes.as_ref().to_vec())
}

fn decode_all(
    bytes: &[u8],
    mut cuts: impl Iterator<Item = usize>,
) -> Result<Vec<PeerMessage<Vec<u8>>>, ProtocolError> {
    let mut decoder = Decoder::new();
    let mut got = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        decoder.feed(head);
        while let Some(message) = decoder.next().map_err(|refused| refused.error)? {
            got.push(owned(message));
        }
        rest = tail;
    }
    Ok(got)
}

fn frame_of(message: &PeerMessage<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, message);
    out
}

/// Makes the checksum match again after damage, so that the checks behind it are reached.
fn repair(frame: &mut [u8]) {
    let crc = synod_types::checksum::crc32c(&frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #[test]
    fn messages_come_back_whole_however_they_are_cut(
        list in prop::collection::vec(messages(), 1..6),
        cuts in prop::collection::vec(1_usize..300, 0..40),
    ) {
        let mut bytes = Vec::new();
        for message in &list {
            encode(&mut bytes, message);
        }
        prop_assert_eq!(decode_all(&bytes, cuts.into_iter()), Ok(list));
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_a_frame_that_never_ends(
        message in messages(), at in any::<prop::sample::Index>(), bit in 0_u8..8,
    ) {
        let mut bytes = frame_of(&message);
        let index = at.index(bytes.len());
        bytes[index] ^= 1 << bit;
        match decode_all(&bytes, core::iter::empty()) {
            Err(_) => {}
            // Only a larger length asks for more bytes.
            Ok(list) => { prop_assert!(list.is_empty()); prop_assert!(index < 4); }
        }
    }

    #[test]
    fn damage_under_a_fitting_checksum_never_panics(
        message in messages(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = frame_of(&message);
        for (at, value) in flips {
            let index = 8 + at.index(bytes.len() - 8);
            bytes[index] = value;
        }
        repair(&mut bytes);
        let _ = decode_all(&bytes, core::iter::empty());
    }

    #[test]
    fn random_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(1_usize..64, 0..20),
    ) {
        let _ = decode_all(&bytes, cuts.into_iter());
        if let Some(chunk) = bytes.first_chunk::<HANDSHAKE_HEAD_BYTES>() {
            prop_assert!(Head::decode(chunk).is_err());
        }
    }

    /// No link comes of a handshake that an attacker without the secret has changed in any way.
    #[test]
    fn a_damaged_handshake_comes_to_nothing(frame in 0_usize..4, at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let shaken = shake_with(both(), both(), |number, bytes| {
            if number == frame {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
        });
        prop_assert!(shaken.is_err());
    }
}

fn accept(payload: Vec<u8>) -> PeerMessage<Vec<u8>> {
    let (slot, chosen) = (Slot::new(9), Slot::new(8));
    let message = GroupMessage::Accept { ballot: Ballot::new(1, NodeId::new(1)), slot, chosen, payload };
    PeerMessage::Group { group: GroupId::new(1), message }
}

fn refused(message: &PeerMessage<Vec<u8>>) -> ProtocolError {
    decode_all(&frame_of(message), core::iter::empty()).expect_err("refused")
}

#[test]
fn a_malformed_entry_is_refused_at_the_border() {
    let mut payload = entry(b"value");
    payload[0] ^= 1;
    let error = refused(&accept(payload.clone()));
    assert_eq!(error, ProtocolError::Entry(EntryError::Version));
    let learned = vec![Learned { slot: Slot::new(1), ballot: Ballot::ZERO, payload: payload.clone() }];
    let message = GroupMessage::Learn { chosen: Slot::new(1), entries: learned };
    assert_eq!(refused(&PeerMessage::Group { group: GroupId::new(1), message }), error);
    let reported = vec![Reported { slot: Slot::new(1), ballot: Ballot::ZERO, payload }];
    let (ballot, chosen) = (Ballot::ZERO, Slot::ZERO);
    let time = unheard();
    let message = GroupMessage::Promise { ballot, chosen, answer: 7, part: 0, part_count: 1, time, reported };
    assert_eq!(refused(&PeerMessage::Group { group: GroupId::new(1), message }), error);
}

#[test]
fn forwarded_commands_and_replies_are_held_to_the_limits() {
    let forward = |key: Vec<u8>, (op, operand)| PeerMessage::Forward {
        id: 1,
        group: GroupId::new(1),
        consistency: Consistency::Linearizable,
        command: Command::new(key, op, operand),
    };
    let plain = |op| (op, Vec::new());
    assert_eq!(refused(&forward(vec![0; KEY_BYTES_MAX + 1], plain(Op::Get))), ProtocolError::Limit);
    assert_eq!(refused(&forward(Vec::new(), plain(Op::Get))), ProtocolError::Body);
    assert_eq!(refused(&forward(vec![1], plain(Op::OpenSession))), ProtocolError::Body);
    assert_eq!(refused(&forward(vec![1], set(&vec![0; VALUE_BYTES_MAX + 1]))), ProtocolError::Limit);
    let compared = |len: usize| {
        let mut compared = Vec::new();
        put_compared(&mut compared, &version_bytes(Version::default()), &vec![0; len]);
        let (compare, expiry) = (Compare::Version, Expiry::Keep);
        (Op::SetIf { value_crc: 0, compare, expiry, return_old: false }, compared)
    };
    assert_eq!(refused(&forward(vec![1], compared(VALUE_BYTES_MAX + 1))), ProtocolError::Limit);
    assert_eq!(refused(&forward(vec![1], plain(Op::SetExpiry(Expiry::Keep)))), ProtocolError::Body);
    assert_eq!(refused(&forward(Vec::new(), (Op::CloseSequences, vec![0; 12]))), ProtocolError::Body);
    assert_eq!(refused(&forward(Vec::new(), plain(Op::RaiseLevel(Level::OWN)))), ProtocolError::Body);
    let boot = Boot { counter: 7, random: 8 };
    let open_own = Op::OpenNodeSession { node: NodeId::new(1), core: CoreId::new(0), boot };
    let mut ranges = Vec::new();
    put_range(&mut ranges, 7, 2);
    let value = vec![0; VALUE_BYTES_MAX + 1];
    let reply = Reply::Value { value, version: Version::default() };
    assert_eq!(refused(&PeerMessage::ForwardReply { id: 1, reply }), ProtocolError::Limit);
    for message in [
        forward(vec![0; KEY_BYTES_MAX], set(&vec![0; VALUE_BYTES_MAX])),
        forward(vec![0; KEY_BYTES_MAX], compared(VALUE_BYTES_MAX)),
        forward(Vec::new(), plain(Op::OpenSession)),
        forward(Vec::new(), plain(open_own)),
        forward(Vec::new(), (Op::CloseSequences, ranges)),
    ] {
        assert_eq!(decode_all(&frame_of(&message), core::iter::empty()), Ok(vec![message]));
    }
}

#[test]
fn lists_and_parts_are_held_to_sane_counts() {
    let heartbeat = |_| heartbeat();
    assert_eq!(refused(&PeerMessage::Heartbeats((0..1026).map(heartbeat).collect())), ProtocolError::Limit);
    let (ballot, chosen) = (Ballot::ZERO, Slot::ZERO);
    let (time, reported) = (unheard(), Vec::new());
    let message = GroupMessage::Promise { ballot, chosen, answer: 7, part: 1, part_count: 1, time, reported };
    assert_eq!(refused(&PeerMessage::Group { group: GroupId::new(1), message }), ProtocolError::Body);
}

/// A report of a broken link must name the message that broke it.
#[test]
fn a_refused_message_is_named() {
    let heartbeat = |_| heartbeat();
    let mut decoder = Decoder::new();
    decoder.feed(&frame_of(&PeerMessage::Heartbeats((0..=COALESCED_MAX).map(heartbeat).collect())));
    let refused = decoder.next().expect_err("one heartbeat too many");
    assert_eq!((refused.kind, refused.error), (Some("Heartbeats"), ProtocolError::Limit));
    assert_eq!(refused.to_string(), "Heartbeats: a limit is passed");
    let mut decoder = Decoder::new();
    let mut broken = entry(b"v");
    let last = broken.len() - 1;
    broken.truncate(last);
    decoder.feed(&frame_of(&accept(broken)));
    assert_eq!(decoder.next().expect_err("a torn entry").kind, Some("Accept"));
}

#[test]
fn spans_that_do_not_cover_the_body_are_refused() {
    // One byte more of body than the spans cover, with matching lengths and checksum.
    let mut frame = frame_of(&accept(entry(b"v")));
    frame.push(0);
    let len = frame.len() as u32;
    frame[0..4].copy_from_slice(&len.to_le_bytes());
    let body = u32::from_le_bytes([frame[16], frame[17], frame[18], frame[19]]) + 1;
    frame[16..20].copy_from_slice(&body.to_le_bytes());
    repair(&mut frame);
    assert_eq!(decode_all(&frame, core::iter::empty()), Err(ProtocolError::Length));
}

#[test]
fn an_impossible_length_is_refused_by_its_four_bytes_and_takes_no_memory() {
    for len in [0_u32, 23, (FRAME_HEADER_BYTES + PEER_FRAME_BYTES_MAX) as u32 + 1, u32::MAX] {
        let mut decoder = Decoder::new();
        decoder.feed(&len.to_le_bytes());
        assert_eq!(decoder.next(), Err(ProtocolError::Length.into()));
        decoder.feed(&[0; 100]);
        assert_eq!(decoder.next(), Err(ProtocolError::Length.into()), "a broken link stays broken");
    }
}

#[test]
fn what_came_before_a_broken_frame_is_still_given() {
    let mut bytes = frame_of(&accept(entry(b"v")));
    bytes.extend_from_slice(&[0; 8]);
    let mut decoder = Decoder::new();
    decoder.feed(&bytes);
    assert!(decoder.next().expect("first is sound").is_some());
    assert_eq!(decoder.next(), Err(ProtocolError::Length.into()));
}

#[test]
fn another_version_is_named_as_such() {
    let mut frame = frame_of(&accept(entry(b"v")));
    frame[8] = PEER_VERSION.to_le_bytes()[0] + 1;
    repair(&mut frame);
    assert_eq!(decode_all(&frame, core::iter::empty()), Err(ProtocolError::Version));
}

fn heartbeat() -> Heartbeat {
    let (group, ballot, chosen) = (GroupId::new(1), Ballot::ZERO, Slot::ZERO);
    Heartbeat { group, ballot, chosen, sent_at: Mono(1), time: WallMs(2) }
}

fn unheard() -> TimeReport {
    TimeReport { ballot: Ballot::ZERO, time: WallMs::ZERO, age: Nanos::ZERO, wall: WallMs(3) }
}

fn ours() -> Handshake {
    Handshake {
        cluster: ClusterId::new(0xC1),
        facts: 77,
        node: NodeId::new(1),
        incarnation: Incarnation::new(0x11),
        core: CoreId::new(0),
        core_count: 2,
        target: NodeId::new(2),
    }
}

fn theirs() -> Handshake {
    Handshake { node: NodeId::new(2), incarnation: Incarnation::new(0x22), target: NodeId::new(1), ..ours() }
}

fn secret(first: u8) -> PeerSecret {
    PeerSecret::new([
        first, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15,
    ])
}

/// The acceptor's knowledge of an initiator's log.
const HEARD: LogPosition = LogPosition { sequence: 0x0102_0304_0506_0708, crc: 0x090A_0B0C };

/// The first secret replaces the second.
fn both() -> Secrets {
    Secrets::one(secret(2)).rotated(secret(1)).expect("one is replaced by another")
}

/// Takes a frame off the front.
fn cut(bytes: &mut Vec<u8>) -> Result<(Head, Vec<u8>), HandshakeError> {
    let head = Head::decode(bytes.first_chunk().expect("a whole head"))?;
    let rest = bytes.split_off(HANDSHAKE_HEAD_BYTES + head.tail_bytes());
    let tail = bytes.split_off(HANDSHAKE_HEAD_BYTES);
    *bytes = rest;
    Ok((head, tail))
}

/// A handshake of two nodes with these secrets, whose frames `touch` may change on their way. Returns what
/// each learnt of the other, and whether both mean the same secret.
fn shake_with(
    of_initiator: Secrets,
    of_acceptor: Secrets,
    mut touch: impl FnMut(usize, &mut Vec<u8>),
) -> Result<(Handshake, Handshake, bool), HandshakeError> {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let initiator = Initiator::hello(ours(), of_initiator, [0xA0; 32], &mut there);
    touch(0, &mut there);
    let (hello, tail) = cut(&mut there)?;
    assert!(tail.is_empty());
    let acceptor = Acceptor::challenge(&hello, of_acceptor, [0xB0; 32], &mut back)?;
    touch(1, &mut back);
    let (challenge, tail) = cut(&mut back)?;
    let introduced = initiator.on_challenge(&challenge, &tail, &mut there)?;
    touch(2, &mut there);
    let (intro, tail) = cut(&mut there)?;
    let proved = acceptor.on_intro(&intro, &tail, &mut back)?;
    let (heard, secret) = (*proved.theirs(), proved.secret().clone());
    proved.welcome(&theirs(), HEARD, &mut back);
    touch(3, &mut back);
    let (welcome, tail) = cut(&mut back)?;
    let Welcomed { theirs: answered, secret: by, heard: told } = introduced.on_answer(&welcome, &tail)?;
    assert_eq!(told, HEARD);
    assert!(there.is_empty() && back.is_empty(), "something was said and not heard");
    Ok((heard, answered, by == secret))
}

#[test]
fn two_nodes_with_a_secret_in_common_shake_hands() {
    let (new, old) = (Secrets::one(secret(1)), Secrets::one(secret(2)));
    for (a, b) in [(&new, &new), (&both(), &both()), (&new, &both()), (&both(), &old), (&old, &both())] {
        let shaken = shake_with(a.clone(), b.clone(), |_, _| ());
        assert_eq!(shaken, Ok((ours(), theirs(), true)), "{a:?} {b:?}");
    }
    let mut said = 0;
    assert_eq!(shake_with(new, old, |number, _| said = number), Err(HandshakeError::OtherSecret));
    assert_eq!(said, 1, "who cannot prove anything is not told anything");
}

#[test]
fn a_stranger_is_told_nothing_and_believed_nothing() {
    let says_nothing = |bytes: &[u8]| {
        let mut identity = Vec::new();
        ours().encode(&mut identity);
        [&identity[..16], &identity[24..40]].iter().all(|part| !bytes.windows(16).any(|w| w == *part))
    };
    // A stranger that knows all facts and dials.
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let stranger = Initiator::hello(ours(), Secrets::one(secret(9)), [1; 32], &mut there);
    assert!(says_nothing(&there));
    let (hello, _) = cut(&mut there).expect("a hello");
    let acceptor = Acceptor::challenge(&hello, both(), [2; 32], &mut back).expect("a challenge");
    assert!(says_nothing(&back));
    let (challenge, tail) = cut(&mut back).expect("whole");
    let error = stranger.on_challenge(&challenge, &tail, &mut there).unwrap_err();
    assert_eq!(error, HandshakeError::OtherSecret);
    // It then sends either a refusal with the reason, or an introduction with an invented proof.
    let (refusal, tail) = cut(&mut there).expect("whole");
    assert_eq!((tail.len(), there.len()), (0, 0));
    let refused = acceptor.on_intro(&refusal, &tail, &mut back).unwrap_err();
    assert_eq!(refused, HandshakeError::Refused(LinkRefusal::OtherSecret));
    let acceptor = Acceptor::challenge(&hello, both(), [2; 32], &mut Vec::new()).expect("a challenge");
    let mut transcript = Transcript::new();
    let head = Head::new(HandshakeKind::Intro, 0, IDENTITY_BYTES + MAC_BYTES, [0; 32]);
    transcript.say(&head, &ours(), None, &secret(9), &mut there);
    let (intro, tail) = cut(&mut there).expect("whole");
    assert_eq!(acceptor.on_intro(&intro, &tail, &mut back).unwrap_err(), HandshakeError::Unproved);
    let (refusal, tail) = cut(&mut back).expect("whole");
    assert_eq!((refusal.code, tail.len(), back.len()), (LinkRefusal::OtherSecret.code(), 0, 0));

    // An attacker that listens where a node dials, and replays frames that it has recorded of another
    // handshake.
    let mut recorded = Vec::new();
    shake_with(both(), both(), |_, bytes| recorded.push(bytes.clone())).expect("they shake hands");
    let initiator = Initiator::hello(ours(), both(), [0xA1; 32], &mut there);
    let (challenge, tail) = cut(&mut recorded[1]).expect("whole");
    let error = initiator.on_challenge(&challenge, &tail, &mut there).unwrap_err();
    assert_eq!(error, HandshakeError::OtherSecret);
    assert!(says_nothing(&there));
    // And one that dials and replays.
    let (hello, _) = cut(&mut recorded[0]).expect("whole");
    let acceptor = Acceptor::challenge(&hello, both(), [0xB1; 32], &mut back).expect("a challenge");
    let (intro, tail) = cut(&mut recorded[2]).expect("whole");
    assert_eq!(acceptor.on_intro(&intro, &tail, &mut back).unwrap_err(), HandshakeError::Unproved);
}

#[test]
fn a_refusal_says_why_and_only_one_that_is_proved_says_more_than_that_there_is_no_link() {
    let refused = |refusal: LinkRefusal, touch: &dyn Fn(&mut Vec<u8>)| {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let initiator = Initiator::hello(ours(), both(), [1; 32], &mut there);
        let (hello, _) = cut(&mut there).expect("whole");
        let acceptor = Acceptor::challenge(&hello, both(), [2; 32], &mut back).expect("a challenge");
        let (challenge, tail) = cut(&mut back).expect("whole");
        let introduced = initiator.on_challenge(&challenge, &tail, &mut there).expect("a secret in common");
        let (intro, tail) = cut(&mut there).expect("whole");
        acceptor.on_intro(&intro, &tail, &mut back).expect("proved").refuse(&theirs(), refusal, &mut back);
        touch(&mut back);
        let (answer, tail) = cut(&mut back)?;
        introduced.on_answer(&answer, &tail).map(|_| ())
    };
    for refusal in LinkRefusal::ALL {
        assert_eq!(refused(refusal, &|_| ()), Err(HandshakeError::Refused(refusal)));
        let forged = refused(refusal, &|bytes| {
            bytes.clear();
            Head::new(HandshakeKind::Refusal, refusal.code(), 0, [0; 32]).encode(bytes);
        });
        let believed = [LinkRefusal::VersionMismatch, LinkRefusal::OtherSecret, LinkRefusal::Unavailable];
        let wanted = match believed.contains(&refusal) {
            true => HandshakeError::Refused(refusal),
            false => HandshakeError::Unproved,
        };
        assert_eq!(forged, Err(wanted));
    }
}

#[test]
fn another_version_is_named_and_refused_with_nothing_else_said() {
    let mut out = Vec::new();
    Initiator::hello(ours(), both(), [1; 32], &mut out);
    out[8] = 9;
    let head = Head::decode(out.first_chunk().expect("whole"));
    assert_eq!(head, Err(HandshakeError::Version { theirs: 9 }), "whatever its checksum");
    out[0] = b'G';
    assert_eq!(Head::decode(out.first_chunk().expect("whole")), Err(ProtocolError::Magic.into()));
    let mut out = Vec::new();
    refuse_version(&mut out);
    assert_eq!(out.len(), HANDSHAKE_HEAD_BYTES);
    assert_eq!(out[8..10], PEER_VERSION.to_le_bytes());
    assert!(out[16..CHECKED].iter().all(|&byte| byte == 0));
}

#[test]
fn a_handshake_is_judged_by_every_fact() {
    let here = Handshake { node: NodeId::new(2), target: NodeId::new(1), ..ours() };
    let known = KnownPeer::As(Incarnation::new(0x11));
    let theirs = ours();
    assert_eq!(here.judge(&theirs, known), Ok(()));
    assert_eq!(here.judge(&theirs, KnownPeer::Unseen), Ok(()));
    assert_eq!(here.judge(&theirs, KnownPeer::Stranger), Err(LinkRefusal::UnknownNode));
    assert_eq!(here.judge(&theirs, KnownPeer::As(Incarnation::new(9))), Err(LinkRefusal::WrongIncarnation));
    let cases = [
        (Handshake { cluster: ClusterId::new(9), ..theirs }, LinkRefusal::WrongCluster),
        (Handshake { facts: 9, ..theirs }, LinkRefusal::WrongFacts),
        (Handshake { node: NodeId::new(2), ..theirs }, LinkRefusal::SameNode),
        (Handshake { target: NodeId::new(9), ..theirs }, LinkRefusal::WrongTarget),
        (Handshake { core: CoreId::new(1), ..theirs }, LinkRefusal::WrongCore),
        (Handshake { core_count: 3, ..theirs }, LinkRefusal::WrongCore),
    ];
    for (theirs, refusal) in cases {
        assert_eq!(here.judge(&theirs, known), Err(refusal));
    }
}

#[test]
fn a_payload_that_knows_its_checksum_makes_the_same_frame_and_knows_it_again_at_the_other_end() {
    for len in [0, 100, 4 << 10, 100 << 10] {
        let payload = Shared::new(entry(&vec![7; len])).sealed();
        let accept = |payload| PeerMessage::Group {
            group: GroupId::new(3),
            message: GroupMessage::Accept {
                ballot: Ballot::new(2, NodeId::new(1)),
                slot: Slot::new(5),
                chosen: Slot::new(4),
                payload,
            },
        };
        let (mut plain, mut summed) = (Vec::new(), Vec::new());
        encode(&mut plain, &accept(payload.clone()));
        let behind = encode_head(&mut summed, &accept(payload.clone()));
        assert_eq!(behind.is_some(), payload.crc().is_some());
        summed.extend_from_slice(behind.as_ref().map_or(&[], AsRef::as_ref));
        assert_eq!(plain, summed);
        let mut decoder = Decoder::new();
        decoder.feed(&summed);
        let Ok(Some(PeerMessage::Group { message: GroupMessage::Accept { payload: received, .. }, .. })) =
            decoder.next()
        else {
            panic!("one accept of {len} bytes")
        };
        assert_eq!(received, payload);
        assert_eq!(received.crc(), payload.crc());
        assert_eq!(received.crc().is_some(), len >= 4 << 10);
    }
}

/// A long payload that is sent behind its head, or a short one that is not: the bytes are those of the whole
/// frame.
#[test]
fn a_frame_in_two_pieces_is_the_same_frame() {
    for (len, known) in [(10, false), (4 << 10, false), (4 << 10, true)] {
        let mut value = Shared::new(vec![7; len]);
        if known {
            value = value.sealed();
        }
        let group = GroupId::new(3);
        let op = Op::Set {
            value_crc: synod_types::checksum::crc32c(value.as_ref()),
            condition: Condition::Always,
            expiry: Expiry::None,
            return_old: false,
        };
        let command = Command::new(Shared::new(b"key".to_vec()), op, value.clone());
        let reply = Reply::Value { value: value.clone(), version: Version::default() };
        for message in [
            PeerMessage::Forward { id: 7, group, consistency: Consistency::Linearizable, command },
            PeerMessage::ForwardReply { id: 7, reply },
            PeerMessage::ReadIndex { id: 7, groups: vec![group] },
        ] {
            let (mut whole, mut pieces) = (Vec::new(), Vec::new());
            encode(&mut whole, &message);
            let behind = encode_head(&mut pieces, &message);
            let is_long = len > 10 && !matches!(message, PeerMessage::ReadIndex { .. });
            assert_eq!(behind.is_some(), is_long);
            pieces.extend_from_slice(behind.as_ref().map_or(&[], AsRef::as_ref));
            assert_eq!(whole, pieces);
        }
    }
}
