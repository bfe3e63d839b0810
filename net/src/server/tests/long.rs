//! Long work is cut: long replies are sent in pieces, and many commands that need no shard are executed with
//! pauses.

use super::*;

/// No call adds more output: a piece begun below 256 KiB, and the bytes it adds.
const GROWTH_MAX: usize = (256 << 10) + (128 << 10);

/// Feeds `bytes`, executes asks at once, and sends the output whenever there are no further asks. Returns the
/// bytes sent and the number of pauses.
fn pieces_of(connection: &mut Connection, toy: &mut Toy, bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut sent, mut pauses) = (Vec::new(), 0);
    for chunk in bytes.chunks(64 << 10) {
        connection.received(chunk);
        loop {
            let before = connection.out().len();
            match connection.next() {
                Some(Ask::Command { tag, command, .. }) => {
                    connection.reply(tag, toy.execute(&command).borrow())
                }
                Some(Ask::Local { tag, query }) => connection.answer(tag, answer_to(&query)),
                Some(Ask::Pause) => pauses += 1,
                Some(Ask::Close) => {}
                None if before > 0 => {
                    sent.append(connection.out());
                    continue;
                }
                None if connection.out().is_empty() => break,
                None => {}
            }
            let grown = connection.out().len() - before;
            assert!(grown <= GROWTH_MAX, "{grown} bytes at once");
        }
    }
    (sent, pauses)
}

/// A connection of a cluster of one group: the toy keeps all keys together.
fn connect_one() -> Connection {
    connect(ServerConfig { info: ServerInfo { group_count: 1, ..ServerInfo::default() }, ..server() })
}

fn full(count: usize, value: &[u8]) -> Toy {
    let mut toy = Toy::default();
    toy.values.extend((0..count).map(|key| (format!("key:{key:06}").into_bytes(), value.to_vec())));
    toy
}

#[test]
fn keys_leave_in_pieces_and_what_was_sent_behind_is_answered_behind() {
    let mut toy = full(60_000, b"v");
    let mut connection = connect_one();
    let (sent, _) = pieces_of(&mut connection, &mut toy, b"KEYS *5\r\nPING\r\nKEYS *\r\nECHO x\r\n");
    let text = String::from_utf8(sent).expect("ASCII");
    let (some, rest) = text.split_once("+PONG\r\n").expect("the PING is answered");
    assert!(some.starts_with("*6000\r\n$10\r\nkey:") && some.matches("key:").count() == 6000);
    assert!(rest.starts_with("*60000\r\n") && rest.matches("key:").count() == 60_000);
    assert!(rest.ends_with("\r\n$1\r\nx\r\n"));
    assert_eq!(connection.held_bytes() >> 20, 0, "nothing is left behind");
}

#[test]
fn values_of_mget_leave_in_pieces() {
    let mut toy = full(5000, &[b'v'; 1000]);
    let keys: Vec<String> = (0..5000).map(|key| format!("key:{:06}", key * 2)).collect();
    let mut words: Vec<&[u8]> = vec![b"MGET"];
    words.extend(keys.iter().map(|key| key.as_bytes()));
    let (sent, _) =
        pieces_of(&mut connect(server()), &mut toy, &[bulk_command(&words), b"PING\r\n".to_vec()].concat());
    let want = "*5000\r\n".to_owned()
        + &format!("$1000\r\n{}\r\n", "v".repeat(1000)).repeat(2500)
        + &"$-1\r\n".repeat(2500)
        + "+PONG\r\n";
    assert!(String::from_utf8(sent).expect("ASCII") == want);
}

#[test]
fn a_long_reply_that_is_not_wanted_is_dropped_in_pieces() {
    let mut toy = full(60_000, b"v");
    let (sent, pauses) =
        pieces_of(&mut connect_one(), &mut toy, b"CLIENT REPLY OFF\r\nKEYS *\r\nCLIENT REPLY ON\r\n");
    assert_eq!(String::from_utf8(sent).expect("ASCII"), "+OK\r\n");
    assert!(pauses > 1, "others had their turn");
}

#[test]
fn many_commands_that_need_no_shard_are_done_with_pauses() {
    for (line, count) in [("PING\r\n", 10_000), ("COMMAND\r\n", 7000), ("\r\n", 30_000)] {
        let stream = line.repeat(count).into_bytes();
        let (sent, pauses) = pieces_of(&mut connect(server()), &mut Toy::default(), &stream);
        assert!(pauses >= count / 200, "{line:?}: {pauses} pauses, {} bytes", sent.len());
    }
}

#[test]
fn what_is_looked_at_at_once_has_a_limit() {
    let words = |count: usize, name: &'static [u8]| {
        let mut words: Vec<&[u8]> = vec![name];
        words.resize(count, b"x");
        bulk_command(&words)
    };
    let stream = [
        words(1024, b"INFO"),
        words(1025, b"INFO"),
        words(1 + 2 * 8192, b"MSETNX"),
        words(3 + 2 * 8192, b"MSETNX"),
    ];
    let (sent, _) = pieces_of(&mut connect(server()), &mut Toy::default(), &stream.concat());
    let text = String::from_utf8(sent).expect("ASCII");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with('-')).collect();
    assert_eq!(
        errors,
        [
            "-ERR too many arguments for 'info' command: 1025, the limit is 1024",
            "-ERR too many keys: 8193, the limit is 8192"
        ]
    );
}

#[test]
fn patterns_have_a_limit_wherever_they_stand() {
    let long = vec![b'['; 1025];
    for words in [
        &[b"KEYS".as_slice(), &long][..],
        &[b"SCAN", b"0", b"MATCH", &long],
        &[b"CONFIG", b"GET", b"save", &long],
        &[b"COMMAND", b"LIST", b"FILTERBY", b"PATTERN", &long],
    ] {
        let (sent, _) = pieces_of(&mut connect(server()), &mut Toy::default(), &bulk_command(words));
        let text = String::from_utf8(sent).expect("ASCII");
        assert_eq!(text, "-ERR pattern too long: 1025 bytes, the limit is 1024\r\n");
    }
}

#[test]
fn a_draw_that_found_nothing_goes_on_and_ends() {
    let mut connection = connect(server());
    connection.received(b"RANDOMKEY\r\n");
    let mut draws = Vec::new();
    // Four groups: in each group the walk goes on, past its end twice, and then is over.
    for _ in 0..100 {
        match connection.next() {
            Some(Ask::Command { tag, group, command, .. }) => {
                let Op::RandomKey { draw } = command.op else { panic!("{:?}", command.op) };
                draws.push((group.expect("of a group").get(), draw));
                let next = if draw == 5000 { 0 } else { 5000 };
                connection.reply(tag, Reply::Int(next));
            }
            _ => break,
        }
    }
    assert_eq!(connection.out(), b"$-1\r\n");
    assert!(draws.len() >= 16 && draws.len() <= 24, "{draws:?}");
    connection.out().clear();
    connection.received(b"RANDOMKEY\r\n");
    for (reply, asks) in [
        (Reply::Int(77), true),
        (Reply::Value { value: b"k".as_slice(), version: Version::default() }, false),
    ] {
        let Some(Ask::Command { tag, command, .. }) = connection.next() else { panic!("it goes on") };
        assert_eq!(matches!(command.op, Op::RandomKey { draw: 77 }), !asks, "where it was told to");
        connection.reply(tag, reply);
    }
    assert_eq!(connection.out(), b"$1\r\nk\r\n");
}
