//! Replies in the order of requests, and how certain they are.

use super::*;

#[test]
fn errors_keep_redis_prefixes_apart_by_what_may_have_happened() {
    for (kind, prefix) in [
        (ErrorKind::Unknown, "-UNKNOWN "),
        (ErrorKind::NoLeader, "-CLUSTERDOWN "),
        (ErrorKind::Busy, "-BUSY "),
        (ErrorKind::NoSpace, "-BUSY no space left"),
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

/// A client whose write is refused is told what the shell says of this node's disk.
#[test]
fn a_refusal_for_want_of_room_says_what_is_known() {
    let server = server();
    let notice = server.notice.clone();
    let refused = |line: &str| {
        let mut connection = connect(server.clone());
        connection.received(line.as_bytes());
        for tag in tags_of(&mut connection) {
            connection.reply(tag, Reply::Error(ErrorKind::NoSpace));
        }
        String::from_utf8(connection.out().clone()).expect("ASCII")
    };
    let elsewhere = refused("SET k v\r\n");
    assert!(elsewhere.starts_with("-BUSY ") && elsewhere.contains("nothing was executed"), "{elsewhere}");
    notice.set("12 bytes free in /data");
    assert_eq!(refused("SET k v\r\n"), "-BUSY 12 bytes free in /data; nothing was executed\r\n");
    assert!(refused("MSET a 1 b 2\r\n").starts_with("-BUSY "));
    notice.set("");
    assert_eq!(refused("SET k v\r\n"), elsewhere);
}

#[test]
fn a_command_on_many_keys_is_as_uncertain_as_its_parts() {
    let outcome = |line: &str, replies: &[Reply<&[u8]>]| {
        let mut connection = connect(server());
        connection.received(line.as_bytes());
        let tags = tags_of(&mut connection);
        assert_eq!(tags.len(), replies.len());
        // Backwards, so that tags tell the parts apart.
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
    // One part executed, one certainly not: "not executed" would be false.
    assert!(outcome("DEL a b\n", &[Reply::Int(1), none]).starts_with("-UNKNOWN "));
    assert!(outcome("MSET a 1 b 2\n", &[Reply::Done { version }, none]).starts_with("-UNKNOWN "));
    assert!(outcome("MSET a 1 b 2\n", &[none, none]).starts_with("-CLUSTERDOWN "));
    assert!(outcome("EXISTS a b\n", &[Reply::Int(1), none]).starts_with("-CLUSTERDOWN "));
    assert!(outcome("MGET a b\n", &[value(b"1"), none]).starts_with("-CLUSTERDOWN "));
}

#[test]
fn a_reply_given_twice_or_without_a_request_shifts_nothing() {
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
                Some(Ask::Close | Ask::Pause) => {}
            }
        }
        prop_assert_eq!(String::from_utf8_lossy(&sent), String::from_utf8_lossy(&want));
    }
}
