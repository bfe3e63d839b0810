//! Complete inputs, as written and sent today, for the fuzzers to begin with. A change of format would make
//! old inputs worthless without notice. So `cargo test` compares the files of the corpus with these, and
//! `fuzz_seeds` writes them.

use synod_types::Level;
use synod_types::operand::put_range;
use synod_types::record::encode_mark;
use synod_types::{
    Ballot, Boot, ClusterId, Command, Condition, Consistency, CoreId, EntryBuilder, Expiry, GroupId,
    GroupMark, GroupMessage, Heartbeat, HeartbeatReply, IfEqualAction, Incarnation, Learned, Mono, Nanos,
    NodeId, Op, PeerMessage, ReadPoint, RecordHead, RecordKind, Reply, Reported, SessionId, SessionStamp,
    Shared, Slot, TimeReport, Version, WallMs,
};

const GROUP: GroupId = GroupId::new(3);
const BALLOT: Ballot = Ballot::new(7, NodeId::new(2));
const EARLIER: Ballot = Ballot::new(5, NodeId::new(1));

fn shared(bytes: &[u8]) -> Shared {
    Shared::new(bytes.to_vec())
}

fn set() -> Command<Shared> {
    let op = Op::Set {
        value_crc: synod_types::checksum::crc32c(b"blue"),
        condition: Condition::IfAbsent,
        expiry: Expiry::After(60_000),
        return_old: true,
    };
    let stamp = SessionStamp { session: SessionId::new(9), sequence: 4, lowest_open: 2 };
    Command { stamp, ..Command::new(shared(b"color"), op, shared(b"blue")) }
}

fn entry() -> Vec<u8> {
    let mut builder = EntryBuilder::new();
    builder.push(set());
    builder.push(Command::plain(shared(b"count"), Op::IncrementBy(-3)));
    builder.push(Command::new(
        shared(b"lock"),
        Op::IfEqual { then: IfEqualAction::ExtendBy(500) },
        shared(b"token"),
    ));
    builder.push(Command::new(shared(b"color"), Op::Copy { replace: true }, shared(b"colour")));
    builder.push(Command::plain(shared(b""), open_own()));
    builder.push(close_own());
    builder.finish(EARLIER, WallMs(1_790_000_000_000))
}

fn record() -> Vec<u8> {
    let head = RecordHead {
        kind: RecordKind::Accept,
        group: GROUP,
        slot: Slot::new(12),
        ballot: BALLOT,
        chosen: Slot::new(11),
        number: 40,
    };
    [&head.encode()[..], &entry()].concat()
}

fn mark() -> Vec<u8> {
    let of = |group| GroupMark { group: GroupId::new(group), number: 40, chosen: Slot::new(12) };
    encode_mark((0..3).map(of))
}

/// One message of every kind.
fn messages() -> Vec<PeerMessage<Shared>> {
    let payload = || Shared::new(entry());
    let (ballot, slot, chosen) = (BALLOT, Slot::new(12), Slot::new(11));
    let group = [
        GroupMessage::PreVote { ballot, after: EARLIER },
        GroupMessage::PreVoteReply { ballot, granted: true, promised: EARLIER, chosen },
        GroupMessage::Prepare { ballot, after: Ballot::ZERO, from: slot },
        GroupMessage::Promise {
            ballot,
            chosen,
            answer: 77,
            part: 0,
            part_count: 1,
            time: TimeReport { ballot: EARLIER, time: WallMs(7), age: Nanos::from_ms(3), wall: WallMs(8) },
            reported: vec![Reported { slot, ballot: EARLIER, payload: payload() }],
        },
        GroupMessage::Accept { ballot, slot, chosen, payload: payload() },
        GroupMessage::Accepted { ballot, slot },
        GroupMessage::Nack { ballot: EARLIER, promised: ballot },
        GroupMessage::Fetch { from: slot },
        GroupMessage::Learn { chosen, entries: vec![Learned { slot, ballot, payload: payload() }] },
        GroupMessage::TimeoutNow { ballot, chosen },
    ];
    let (time, wall) = (WallMs(1_790_000_000_000), WallMs(1_790_000_000_007));
    let heartbeat = Heartbeat { group: GROUP, ballot, chosen, sent_at: Mono(5), time };
    let answer = HeartbeatReply {
        group: GROUP,
        ballot,
        sent_at: Mono(5),
        chosen,
        is_low: true,
        level: Level::OWN,
        wall,
    };
    let reply = Reply::Value { value: shared(b"blue"), version: Version { slot, position: 1 } };
    let mut all: Vec<_> =
        group.into_iter().map(|message| PeerMessage::Group { group: GROUP, message }).collect();
    all.extend([
        PeerMessage::Heartbeats(vec![heartbeat]),
        PeerMessage::HeartbeatReplies(vec![answer]),
        PeerMessage::Forward { id: 6, group: GROUP, consistency: Consistency::Quorum, command: set() },
        PeerMessage::Forward {
            id: 7,
            group: GROUP,
            consistency: Consistency::Linearizable,
            command: Command::plain(shared(b""), open_own()),
        },
        PeerMessage::Forward {
            id: 8,
            group: GROUP,
            consistency: Consistency::Linearizable,
            command: close_own(),
        },
        PeerMessage::ForwardReply { id: 6, reply },
        PeerMessage::ReadIndex { id: 8, groups: vec![GROUP] },
        PeerMessage::ReadIndexReply { id: 8, points: vec![ReadPoint { group: GROUP, ballot, chosen }] },
        PeerMessage::Position(synod_types::LogPosition { sequence: 9, crc: 10 }),
    ]);
    all
}

fn open_own() -> Op {
    let boot = Boot { counter: 9, random: 0x0123_4567_89AB_CDEF };
    Op::OpenNodeSession { node: NodeId::new(2), core: CoreId::new(1), boot }
}

fn close_own() -> Command<Shared> {
    let mut ranges = Vec::new();
    put_range(&mut ranges, 3, 2);
    put_range(&mut ranges, 9, 1);
    let stamp = SessionStamp { session: SessionId::of_node(1 << 16), sequence: 12, lowest_open: 2 };
    Command { stamp, ..Command::new(shared(b""), Op::CloseSequences, shared(&ranges)) }
}

/// Both ends of a handshake as peers with another secret would send them: the initiator's bytes and the
/// acceptor's.
fn handshakes() -> [Vec<u8>; 2] {
    use synod_net::peer::{Acceptor, HANDSHAKE_HEAD_BYTES, Handshake, Head, Initiator, PeerSecret, Secrets};
    let ours = Handshake {
        cluster: ClusterId::new(1),
        facts: 2,
        node: NodeId::new(2),
        incarnation: Incarnation::new(3),
        core: CoreId::new(0),
        core_count: 1,
        target: NodeId::new(1),
    };
    let secrets = || Secrets::one(PeerSecret::new(*b"what a fuzzer begins with is bad"));
    let head = |bytes: &[u8]| bytes.first_chunk().map(Head::decode).and_then(Result::ok).expect("a head");
    let (mut there, mut back) = (Vec::new(), Vec::new());
    let initiator = Initiator::hello(ours, secrets(), [5; 32], &mut there);
    Acceptor::challenge(&head(&there), secrets(), [6; 32], &mut back).expect("a challenge");
    let challenge = head(&back);
    initiator.on_challenge(&challenge, &back[HANDSHAKE_HEAD_BYTES..], &mut there).expect("the same secret");
    [there, back]
}

/// Each seed as its target, its name in that target's corpus, and its bytes.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut all = vec![3, 9, 60, 200]; // how the rest is cut
    for message in messages() {
        synod_net::peer::encode(&mut all, &message);
    }
    let [initiator, acceptor] = handshakes();
    vec![
        ("entry", "entry", entry()),
        ("entry", "record", record()),
        ("entry", "mark", mark()),
        ("peer", "all", all),
        ("peer", "initiator", initiator),
        ("peer", "acceptor", acceptor),
    ]
}
