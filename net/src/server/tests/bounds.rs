//! For all bytes, however they are cut: the same asks, bounded memory, the password first.

use super::*;
use crate::access::Access;

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
            let set = binary::tests::set(b"key", &value);
            binary::encode_request(&mut out, id, Consistency::Quorum, &set);
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
        let config = || ServerConfig { access: Access::new(with_password.then_some(&b"pw"[..]), true), ..server() };
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
fn a_client_that_does_not_read_is_not_read_from_and_gets_what_it_asked_for_in_the_end() {
    let limits = Limits { out_bytes_soft: 1000, ..Limits::default() };
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
    assert_eq!(out.matches("$900").count(), 6, "what was brought is kept");
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
fn a_password_stands_before_everything() {
    let config = || ServerConfig { access: Access::new([&b"secret"[..]], true), ..server() };
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
    // Clients that have not authenticated get small buffers only.
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
