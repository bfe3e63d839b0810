//! The memory of a connection: counted in full, known before it is allocated, given back when idle. And its
//! end for a reason of the shell's.

use super::*;

const KIB: usize = 1 << 10;

/// Hands `bytes` over as a socket would, in the room that is lent. Returns the asks.
fn read(connection: &mut Connection, mut bytes: &[u8], may_grow: bool) -> Vec<Ask> {
    let mut asks = Vec::new();
    while !bytes.is_empty() {
        let (wanted, before) = (connection.wanted_bytes(true), connection.held_bytes());
        let mut room = connection.lend(may_grow);
        if may_grow {
            assert!(connection.held_bytes() <= before + wanted, "no more than was announced");
        }
        let (now, later) = bytes.split_at(bytes.len().min(room.len()));
        room[..now.len()].copy_from_slice(now);
        connection.put(room, now.len());
        bytes = later;
        asks.extend(core::iter::from_fn(|| connection.next()));
    }
    asks
}

fn set_in_binary(value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    binary::encode_request(&mut bytes, 1, Consistency::Linearizable, &binary::tests::set(b"key", value));
    bytes
}

#[test]
fn a_value_of_known_length_gets_room_for_itself() {
    let value = vec![b'v'; 1000 * KIB];
    let resp = (connect(server()), bulk_command(&[b"SET", b"k", &value]));
    let mut binary = connect(server());
    binary.received(&binary::PREAMBLE);
    for (mut connection, request) in [resp, (binary, set_in_binary(&value))] {
        assert_eq!(read(&mut connection, &request[..60], true), []);
        let wanted = connection.wanted_bytes(true);
        assert!((1000 * KIB..1010 * KIB).contains(&wanted), "{wanted}");
        let room = connection.lend(true);
        assert!(room.len() >= request.len() - 60, "all of it is read in one piece");
        connection.put(room, 0);
        assert_eq!(connection.wanted_bytes(true), 0, "the room is there");
        assert!(connection.held_bytes() < 1040 * KIB, "{}", connection.held_bytes());
        let mut calls = 0;
        for piece in request[60..].chunks(30 * KIB) {
            let room = connection.lend(true);
            assert!(room.len() >= piece.len(), "it is not moved before its end");
            connection.put(room, 0);
            calls += read(&mut connection, piece, true).len();
        }
        assert_eq!(calls, 1);
        assert!(connection.held_bytes() < 1040 * KIB, "{}", connection.held_bytes());
    }
}

#[test]
fn a_stranger_gets_no_room_for_what_it_announces() {
    let access = crate::access::Access::new([&b"secret"[..]], true);
    let mut connection = connect(ServerConfig { access, ..server() });
    connection.received(&[binary::PREAMBLE.to_vec(), set_in_binary(&[0; 1 << 20])[..100].to_vec()].concat());
    assert_eq!(connection.next(), None);
    assert!(connection.lend(true).len() < 64 * KIB);
}

#[test]
fn input_is_counted_for_as_long_as_commands_refer_to_it() {
    let mut connection = connect(server());
    let set = bulk_command(&[b"SET", b"k", &[b'v'; 40 << 10]]);
    let mut asks = Vec::new();
    for count in 1..=20 {
        asks.extend(read(&mut connection, &set, true));
        assert_eq!(asks.len(), count);
        assert!(connection.held_bytes() >= 40 * KIB * count, "{} bytes", connection.held_bytes());
    }
    assert!(connection.held_bytes() <= 2 * 20 * 64 * KIB);
    drop(asks);
    assert!(connection.held_bytes() <= 256 * KIB, "{} bytes", connection.held_bytes());
}

#[test]
fn without_memory_to_grow_the_room_stays_small_and_goes_on() {
    let mut quiet = connect(server());
    for _ in 0..100 {
        read(&mut quiet, &b"PING\r\n".repeat(2000), false);
        quiet.out().clear();
        assert!(quiet.lend(false).len() <= 8 * KIB);
    }
    let value = vec![b'v'; 1000 * KIB];
    assert_eq!(read(&mut quiet, &bulk_command(&[b"SET", b"k", &value]), false).len(), 1, "it still comes");
}

#[test]
fn an_idle_connection_holds_no_memory() {
    let mut connection = connect(server());
    let asks = read(&mut connection, &bulk_command(&[b"SET", b"k", &[b'v'; 40 << 10]]), true);
    let Some(Ask::Command { tag, .. }) = asks.first() else { panic!("{asks:?}") };
    connection.shrink();
    assert!(connection.held_bytes() >= 40 * KIB, "the command refers to it");
    connection.reply(*tag, Reply::Done { version: Version::default() });
    drop(asks);
    connection.received(b"*2\r\n$3\r\nGET\r\n$1\r\nk");
    assert_eq!(connection.next(), None);
    connection.out().clear();
    connection.shrink();
    assert!(connection.held_bytes() > 0, "half a command is kept");
    connection.received(b"\r\n");
    let tags = tags_of(&mut connection);
    connection.reply(tags[0], Reply::Value { value: &[b'v'; 100 << 10], version: Version::default() });
    connection.out().clear();
    connection.shrink();
    assert_eq!(connection.held_bytes(), 0);
    assert_eq!(said(&mut connection, &mut Toy::default(), "PING"), "+PONG|");
}

#[test]
fn a_long_value_makes_the_output_grow_by_its_own_length() {
    let mut connection = connect(server());
    connection.received(&b"GET k\r\n".repeat(10));
    for tag in tags_of(&mut connection) {
        connection.reply(tag, Reply::Value { value: &[b'v'; 300 << 10], version: Version::default() });
        let (length, capacity) = (connection.out().len(), connection.out().capacity());
        assert!(capacity <= length + length / 8 + 8 * KIB, "{capacity} bytes for {length}");
    }
}

#[test]
fn half_a_command_is_told_from_none() {
    let limits = Limits { open_asks_max: 2, ..Limits::default() };
    let mut preamble = connect(server());
    preamble.received(&binary::PREAMBLE);
    let resp = (connect(ServerConfig { limits, ..server() }), b"GET k\r\n".to_vec());
    for (mut connection, request) in [resp, (preamble, set_in_binary(b"v"))] {
        assert_eq!(connection.next(), None);
        assert!(!connection.is_incomplete());
        connection.received(&request[..5]);
        assert_eq!(connection.next(), None);
        assert!(connection.is_incomplete());
        connection.received(&request[5..]);
        let tags = tags_of(&mut connection);
        assert!(!connection.is_incomplete());
        assert_eq!(tags.len(), 1);
    }
    let mut full = connect(ServerConfig { limits, ..server() });
    full.received(b"GET a\r\nGET b\r\nGET");
    assert_eq!(tags_of(&mut full).len(), 2);
    assert!(!full.is_incomplete(), "it is this side that does not go on");
}

#[test]
fn an_end_for_a_reason_is_told_behind_the_open_replies() {
    let config = server();
    let counts = config.counts.clone();
    let mut connection = connect(config);
    connection.received(b"PING\r\nGET a\r\nMGET b c\r\nGET");
    let tags = tags_of(&mut connection);
    connection.end_with("out of\r\nmemory");
    connection.end_with("again");
    assert!(!connection.wants_read() && !connection.closing());
    connection.received(b" d\r\n");
    tags.into_iter().for_each(|tag| connection.reply(tag, Reply::Nil));
    assert_eq!(connection.next(), Some(Ask::Close));
    let sent = String::from_utf8(connection.out().clone()).expect("ASCII");
    assert_eq!(sent, "+PONG\r\n$-1\r\n*2\r\n$-1\r\n$-1\r\n-ERR out of  memory\r\n");
    assert_eq!(counts.totals().errors.get("ERR"), Some(&1));
    let mut undecided = connect(server());
    undecided.end_with("too late");
    assert_eq!(undecided.next(), Some(Ask::Close));
    assert_eq!(undecided.out(), b"-ERR too late\r\n");
}

#[test]
fn an_end_for_a_reason_leaves_no_part_unasked_and_is_muted_like_a_reply() {
    let limits = Limits { open_asks_max: 1, ..Limits::default() };
    let mut connection = connect(ServerConfig { limits, ..server() });
    connection.received(b"MGET a b c\r\nGET d\r\n");
    let mut tags = tags_of(&mut connection);
    connection.end_with("late");
    while let Some(tag) = tags.pop() {
        connection.reply(tag, Reply::Nil);
        tags.extend(tags_of(&mut connection));
    }
    assert!(connection.closing());
    assert_eq!(connection.out(), b"*3\r\n$-1\r\n$-1\r\n$-1\r\n-ERR late\r\n");
    let mut muted = connect(server());
    muted.received(b"CLIENT REPLY OFF\r\n");
    assert_eq!(muted.next(), None);
    muted.end_with("late");
    assert!(muted.closing() && muted.out().is_empty());
}

#[test]
fn an_end_for_a_reason_is_a_failure_in_the_binary_protocol() {
    let mut connection = connect(server());
    connection.received(&binary::PREAMBLE);
    assert_eq!(connection.next(), None);
    connection.end_with("too late");
    let mut decoder = binary::ResponseDecoder::new();
    decoder.feed(connection.out());
    let response = decoder.next().expect("sound").expect("a response");
    assert_eq!(response.body, binary::ResponseBody::Failed(binary::FailureCode::Unavailable));
    assert_eq!((response.id, response.text.as_str()), (0, "too late"));
    assert!(connection.closing());
}
