//! What the table of clients promises.

use super::*;
use synod_net::server::{ConnectionConfig, ServerConfig};
use synod_types::limits::KEY_BYTES_MAX;
use synod_types::operand::{put_scan_key, set_scan_next, start_scan_page};
use synod_types::{Version, bucket_of};

fn open(clients: &mut Clients) -> u64 {
    let opened = clients.open(Service::Full, |id| {
        let (peer_address, local_address) = (String::new(), String::new());
        Connection::new(ConnectionConfig {
            server: Rc::new(ServerConfig::default()),
            id,
            peer_address,
            is_loopback: true,
            local_address,
            is_core_port: false,
            service: Service::Full,
        })
    });
    opened.connection
}

fn send(clients: &mut Clients, connection: u64, bytes: &[u8]) {
    let mut room = clients.lend(connection).expect("an idle connection reads");
    room[..bytes.len()].copy_from_slice(bytes);
    clients.put(connection, room, bytes.len());
}

/// Sends bytes of any number.
fn send_whole(clients: &mut Clients, connection: u64, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let mut room = clients.lend(connection).expect("a connection with nothing under way reads");
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        clients.put(connection, room, count);
        bytes = &bytes[count..];
    }
}

/// The tag and the operation of the next command, if one may be executed.
fn next(clients: &mut Clients, connection: u64) -> Option<(Tag, Op)> {
    match clients.next_ask(connection, Mono::ZERO)? {
        Ask::Command { tag, command, .. } => Some((tag, command.op)),
        other => panic!("no command: {other:?}"),
    }
}

#[test]
fn no_command_begins_while_too_many_bytes_are_under_way_and_all_go_on_in_turn() {
    let mut clients = Clients::default();
    // Room for three quarters of a megabyte of long commands, and for an eighth of short ones.
    clients.set_limits(MIB, usize::MAX, Nanos::from_ms(60_000));
    let [first, second, third, short] = [(); 4].map(|()| open(&mut clients));
    let long = set_of(MIB / 2);
    let under_way = |clients: &mut Clients, connection| {
        let Some(Ask::Command { tag, command, .. }) = clients.next_ask(connection, Mono::ZERO) else {
            return None;
        };
        Some((tag, clients.begin(&command) as usize))
    };
    let mut tags = Vec::new();
    for connection in [first, second, third] {
        send_whole(&mut clients, connection, &long);
        send_whole(&mut clients, connection, &long);
        tags.extend(under_way(&mut clients, connection));
    }
    let [(tag, bytes), _] = tags[..] else { panic!("two begin, and then there is no room: {tags:?}") };
    assert_eq!(clients.command_bytes(), 2 * bytes);
    for connection in [second, first, third, second] {
        assert!(clients.next_ask(connection, Mono::ZERO).is_none());
        assert!(clients.lend(connection).is_none(), "nothing more is read");
    }
    // Short commands do not stand in line behind long ones.
    send(&mut clients, short, b"SET k v\r\n");
    assert!(next(&mut clients, short).is_some());
    clients.reply(first, tag, bytes, Reply::Done { version: Version::default() });
    clients.flush();
    assert!(clients.lend(second).is_none() && clients.lend(first).is_none(), "it is the turn of another");
    assert!(under_way(&mut clients, third).is_some());
    clients.close(second);
    clients.end(bytes);
    clients.end(bytes);
    clients.flush();
    assert!(under_way(&mut clients, first).is_some(), "who is gone holds nobody up");
}

#[test]
fn a_read_goes_when_the_write_before_it_is_answered() {
    let mut clients = Clients::default();
    let connection = open(&mut clients);
    send(&mut clients, connection, b"SET k v\r\nGET k\r\n");
    let (tag, op) = next(&mut clients, connection).expect("the write");
    assert!(op.is_write() && next(&mut clients, connection).is_none());
    assert!(!clients.is_dirty());
    clients.reply(connection, tag, 0, Reply::Done { version: Version::default() });
    assert!(clients.is_dirty());
    assert_eq!(next(&mut clients, connection).map(|(_, op)| op), Some(Op::Get));
    clients.close(connection);
    assert!(next(&mut clients, connection).is_none());
}

/// Admits a connection while one may be open: how much it is served, and its number.
fn admit(clients: &mut Clients, is_loopback: bool) -> Option<(Service, u64)> {
    let admitted = clients.admit(1, is_loopback, |id, service| {
        Connection::new(ConnectionConfig {
            server: Rc::new(ServerConfig::default()),
            id,
            peer_address: String::new(),
            is_loopback,
            local_address: String::new(),
            is_core_port: false,
            service,
        })
    });
    admitted.map(|(service, opened)| (service, opened.connection))
}

#[test]
fn beyond_the_limit_there_are_a_few_places_and_the_last_are_for_this_machine() {
    let mut clients = Clients::default();
    assert_eq!(admit(&mut clients, false), Some((Service::Full, 1)));
    for number in 0..SPARE_PLACES - LOOPBACK_PLACES {
        assert_eq!(admit(&mut clients, false), Some((Service::Spare, 2 + number)));
    }
    assert_eq!(admit(&mut clients, false), None);
    for number in SPARE_PLACES - LOOPBACK_PLACES..SPARE_PLACES {
        assert_eq!(admit(&mut clients, true), Some((Service::Spare, 2 + number)));
    }
    assert_eq!(admit(&mut clients, true), None);
    // The place within the limit goes to the oldest beyond it, whose own place is free then.
    clients.close(1);
    assert_eq!(admit(&mut clients, true), Some((Service::Spare, 2 + SPARE_PLACES)));
    assert_eq!(admit(&mut clients, true), None);
    // With nobody beyond the limit, the next one gets the place.
    for number in 2..3 + SPARE_PLACES {
        clients.close(number);
    }
    assert_eq!(clients.count(), 0);
    assert_eq!(admit(&mut clients, false), Some((Service::Full, 3 + SPARE_PLACES)));
}

#[test]
fn who_waits_beyond_the_limit_is_served_once_there_is_a_place() {
    let mut clients = Clients::default();
    let [_, (_, http), (_, refused), (_, pool)] =
        [(); 4].map(|()| admit(&mut clients, true).expect("a place"));
    let mut buffer = Vec::new();
    let mut asked = |clients: &mut Clients, connection, line: &[u8]| {
        send(clients, connection, line);
        let ask = clients.next_ask(connection, Mono::ZERO);
        let asks = matches!(ask, Some(Ask::Command { .. }));
        clients.take_output(connection, &mut buffer);
        (asks, String::from_utf8(std::mem::take(&mut buffer)).expect("text"))
    };
    // HTTP is served elsewhere, and a client that was refused is on its way out.
    assert_eq!(asked(&mut clients, http, b"GET / HTTP/1.1\r\n"), (false, String::new()));
    let (asks, said) = asked(&mut clients, refused, b"GET k\r\n");
    assert!(!asks && said.starts_with("-ERR max number of clients"), "{said}");
    assert_eq!(asked(&mut clients, pool, b"CLIENT ID\r\n"), (false, format!(":{pool}\r\n")));
    clients.close(1);
    assert_eq!(asked(&mut clients, pool, b"GET k\r\n"), (true, String::new()));
    // Its patience ran out only for those that wait.
    let (_, silent) = admit(&mut clients, true).expect("a place");
    clients.close(pool);
    clients.give_up_waiting(silent);
    assert_eq!(asked(&mut clients, silent, b"GET k\r\n"), (true, String::new()));
    assert_eq!(admit(&mut clients, true).map(|(service, _)| service), Some(Service::Spare));
}

const MIB: usize = 1 << 20;

/// Clients that share so many bytes, and `count` connections.
fn sharing<const COUNT: usize>(bytes: usize) -> (Clients, [u64; COUNT]) {
    let mut clients = Clients::default();
    clients.set_limits(usize::MAX, bytes, Nanos::from_ms(60_000));
    let connections = [(); COUNT].map(|()| open(&mut clients));
    (clients, connections)
}

/// Sends as much of `bytes` as is read now, and asks for commands; how much it was.
fn feed(clients: &mut Clients, connection: u64, mut bytes: &[u8]) -> usize {
    let whole = bytes.len();
    while !bytes.is_empty()
        && let Some(mut room) = clients.lend(connection)
    {
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        clients.put(connection, room, count);
        bytes = &bytes[count..];
        if next(clients, connection).is_some() {
            break;
        }
        clients.wake_if_due(connection);
    }
    whole - bytes.len()
}

fn set_of(len: usize) -> Vec<u8> {
    let mut command = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n").into_bytes();
    command.resize(command.len() + len, b'v');
    command.extend_from_slice(b"\r\n");
    command
}

/// The answer to a read of `connection`, if there is room for it.
fn answer(clients: &mut Clients, connection: u64, tag: Tag, value: &[u8]) -> bool {
    let has_room = clients.reserve(connection, tag, value.len());
    if has_room {
        clients.reply(connection, tag, 0, Reply::Value { value, version: Version::default() });
    } else {
        let read = Command::new(Shared::new(b"k".to_vec()), Op::Get, Shared::default());
        clients.defer(connection, tag, 0, (Consistency::default(), read), value.len());
    }
    has_room
}

/// The writer takes the output and the socket all of it.
fn send_all(clients: &mut Clients, connection: u64) -> usize {
    let mut buffer = Vec::new();
    clients.take_output(connection, &mut buffer);
    clients.sent(connection);
    buffer.len()
}

#[test]
fn what_would_pass_the_memory_waits_unread_and_small_commands_do_not() {
    let (mut clients, [first, second, third, small]) = sharing(MIB + MIB / 2);
    let half = &set_of(MIB)[..MIB / 2];
    assert_eq!(feed(&mut clients, first, half), half.len());
    assert_eq!(feed(&mut clients, second, half), half.len(), "one may go beyond the bound");
    let unread = feed(&mut clients, third, half);
    assert!(unread < 64 << 10, "{unread} bytes were read of what there is no memory for");
    assert!(clients.lend(third).is_none());
    send(&mut clients, small, b"SET k v\r\n");
    assert!(next(&mut clients, small).is_some(), "there is memory of its own for a small command");
    let held = clients.memory().bytes();
    let about = 2 * MIB - (64 << 10)..2 * MIB + (256 << 10);
    assert!(about.contains(&held), "{held}");
    clients.close(first);
    clients.flush();
    assert!(clients.lend(third).is_some(), "its turn has come");
    clients.close(second);
    clients.close(third);
    assert_eq!(clients.memory().bytes(), 0);
}

#[test]
fn a_value_waits_until_its_client_has_read_the_others() {
    let (mut clients, [reader]) = sharing(64 * MIB);
    send(&mut clients, reader, &b"GET k\r\n".repeat(8));
    let tags = [(); 8].map(|()| next(&mut clients, reader).expect("a read").0);
    let value = vec![b'v'; MIB];
    let answered = tags.iter().filter(|tag| answer(&mut clients, reader, **tag, &value)).count();
    assert!((3..=4).contains(&answered), "{answered} MiB wait for a client that does not read");
    assert!(clients.lend(reader).is_none(), "nor is it read from");
    assert!(clients.next_ask(reader, Mono::ZERO).is_none());
    let mut sent = send_all(&mut clients, reader);
    let mut rest = answered;
    while let Some(ask) = clients.next_ask(reader, Mono::ZERO) {
        let Ask::Command { tag, .. } = ask else { panic!("{ask:?}") };
        assert_eq!(tag, tags[rest], "in their order");
        assert!(answer(&mut clients, reader, tag, &value));
        sent += send_all(&mut clients, reader);
        rest += 1;
    }
    assert_eq!((rest, sent), (8, 8 * (MIB + "$1048576\r\n\r\n".len())));
    assert!(clients.lend(reader).is_some());
}

#[test]
fn the_answer_whose_turn_it_is_comes_although_later_ones_fill_the_window() {
    let (mut clients, [reader]) = sharing(64 * MIB);
    send(&mut clients, reader, &b"GET k\r\n".repeat(5));
    let tags = [(); 5].map(|()| next(&mut clients, reader).expect("a read").0);
    let value = vec![b'v'; MIB];
    for &tag in &tags[1..] {
        assert!(clients.reserve(reader, tag, value.len()));
    }
    assert!(clients.reserve(reader, tags[0], value.len()), "all others wait for it");
    let held = clients.memory().bytes();
    for &tag in tags.iter().rev() {
        assert!(answer(&mut clients, reader, tag, &value), "what was reserved counts");
    }
    assert!(clients.memory().bytes() < held + MIB);
    assert!(send_all(&mut clients, reader) > 5 * MIB);
}

#[test]
fn values_that_wait_for_one_which_was_put_off_do_not_keep_it_off() {
    let (mut clients, [reader]) = sharing(64 * MIB);
    send(&mut clients, reader, &b"GET k\r\n".repeat(9));
    let tags = [(); 9].map(|()| next(&mut clients, reader).expect("a read").0);
    let value = vec![b'v'; MIB];
    let parked = tags[1..].iter().filter(|&&tag| answer(&mut clients, reader, tag, &value)).count();
    assert!(parked >= 3);
    assert!(!clients.reserve(reader, tags[8], value.len()));
    // The first one is put off last.
    let read = Command::new(Shared::new(b"k".to_vec()), Op::Get, Shared::default());
    clients.defer(reader, tags[0], 0, (Consistency::default(), read), value.len());
    let (mut sent, mut order) = (0, Vec::new());
    while let Some(Ask::Command { tag, .. }) = clients.next_ask(reader, Mono::ZERO) {
        order.push(tag);
        assert!(answer(&mut clients, reader, tag, &value));
        sent += send_all(&mut clients, reader);
    }
    assert_eq!((order[0], order.len()), (tags[0], 9 - parked));
    assert_eq!(sent, 9 * (MIB + "$1048576\r\n\r\n".len()));
}

#[test]
fn whoever_stands_in_line_goes_on_when_its_turn_comes_whatever_waits_for_it() {
    let (mut clients, [reader, other, third]) = sharing(2 * MIB + MIB / 2);
    send(&mut clients, reader, &b"GET k\r\n".repeat(2));
    let tags = [(); 2].map(|()| next(&mut clients, reader).expect("a read").0);
    let value = vec![b'v'; MIB];
    assert!(answer(&mut clients, reader, tags[1], &value), "it waits for the first");
    feed(&mut clients, other, &set_of(MIB)[..MIB / 2]);
    feed(&mut clients, third, &set_of(MIB)[..MIB / 2]);
    assert!(!answer(&mut clients, reader, tags[0], &value), "there is no memory");
    assert!(clients.next_ask(reader, Mono::ZERO).is_none() && clients.memory().is_short());
    clients.close(other);
    clients.close(third);
    clients.flush();
    let ask = clients.next_ask(reader, Mono::ZERO);
    assert!(matches!(ask, Some(Ask::Command { tag, .. }) if tag == tags[0]), "{ask:?}");
    assert!(answer(&mut clients, reader, tags[0], &value) && send_all(&mut clients, reader) > 2 * MIB);
}

#[test]
fn a_write_that_returns_a_value_has_its_room_before_it_is_asked() {
    let (mut clients, [client]) = sharing(64 * MIB);
    send(&mut clients, client, &b"GETSET k v\r\n".repeat(6));
    let tags: Vec<Tag> = std::iter::from_fn(|| next(&mut clients, client).map(|(tag, _)| tag)).collect();
    assert_eq!(tags.len(), 4, "no more values than the window holds");
    clients.reply(client, tags[0], 0, Reply::Nil);
    send_all(&mut clients, client);
    assert!(next(&mut clients, client).is_some());
}

/// Keys are gathered page by page; what a job has gathered counts, and its next page waits for room.
#[test]
fn a_list_of_keys_waits_for_the_room_of_each_page() {
    let (mut clients, [first, second, waits]) = sharing(3 * SCAN_PAGE_BYTES_MAX);
    let mut page = Vec::new();
    start_scan_page(&mut page);
    (0..8).for_each(|number| put_scan_key(&mut page, &vec![b'a' + number; KEY_BYTES_MAX]));
    set_scan_next(&mut page, 1 << 32);
    for connection in [first, second] {
        send(&mut clients, connection, b"KEYS *\r\n");
        let (tag, op) = next(&mut clients, connection).expect("a page");
        assert!(matches!(op, Op::Scan { .. }));
        assert_eq!(clients.reserve_foreseen(connection, tag), SCAN_PAGE_BYTES_MAX);
        clients.reply(connection, tag, 0, Reply::Value { value: &page, version: Version::default() });
        assert!(clients.memory().bytes() >= 7 * KEY_BYTES_MAX, "what is gathered counts");
    }
    // Another page fits, and one may go beyond the bound.
    assert!(next(&mut clients, first).is_some() && next(&mut clients, second).is_some());
    send(&mut clients, waits, b"KEYS *\r\n");
    let waiting = next(&mut clients, waits);
    assert!(waiting.is_none() && clients.memory().is_short(), "{waiting:?} {:?}", clients.memory());
}

#[test]
fn whoever_is_sent_elsewhere_needs_no_room() {
    let mut clients = Clients::default();
    let connection = open(&mut clients);
    for _ in 0..8 {
        send(&mut clients, connection, b"GETSET k v\r\n");
        let (tag, _) = next(&mut clients, connection).expect("there is room");
        assert!(clients.redirect(connection, tag, bucket_of(b"k"), "host", 1));
        send_all(&mut clients, connection);
        assert_eq!(clients.memory().bytes(), 0, "what was reserved is free again");
    }
}

#[test]
fn slow_clients_are_closed_while_others_wait_for_their_memory_and_not_before() {
    let (mut clients, [sender, reader, beyond, waits]) = sharing(2 * MIB);
    assert!(feed(&mut clients, sender, &set_of(MIB)[..MIB - 1]) > 0);
    send(&mut clients, reader, b"GET k\r\n");
    let (tag, _) = next(&mut clients, reader).expect("a read");
    assert!(answer(&mut clients, reader, tag, &vec![b'v'; MIB]));
    let mut with_the_writer = Vec::new();
    clients.take_output(reader, &mut with_the_writer);
    let later = clock::mono().plus(Nanos::from_ms(5_000));
    assert!(clients.sweep(later).is_empty(), "nobody else wants the memory");
    feed(&mut clients, beyond, &set_of(MIB)[..MIB / 2]);
    assert!(!clients.memory().is_short(), "one may go beyond the bound");
    feed(&mut clients, waits, &set_of(MIB / 2)[..MIB / 4]);
    assert!(clients.memory().is_short());
    assert!(clients.sweep(clock::mono()).is_empty(), "they may be about to go on");
    let closed = clients.sweep(later);
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert_eq!(closed[0].1, SlowClient::Sending, "the one that has waited for longer");
    let mut said = Vec::new();
    assert!(clients.take_output(sender, &mut said), "it is to be closed");
    assert!(said.starts_with(b"-ERR the rest of the command does not come"));
}

#[test]
fn a_command_that_does_not_become_complete_ends_its_connection() {
    let (mut clients, [client, other]) = sharing(64 * MIB);
    send(&mut clients, client, b"*2\r\n$3\r\nGET\r\n$1\r\n");
    assert!(next(&mut clients, client).is_none());
    send(&mut clients, other, b"*2\r\n$3\r\nGET\r\n$1\r\n");
    assert!(next(&mut clients, other).is_none());
    let at = |seconds: u64| Mono(Nanos::from_ms(1_000_000 + 1_000 * seconds).0);
    assert!(clients.sweep(at(0)).is_empty() && clients.sweep(at(59)).is_empty());
    send(&mut clients, other, b"k\r\nGE");
    assert!(next(&mut clients, other).is_some());
    let closed = clients.sweep(at(61));
    assert_eq!(closed.iter().map(|(_, why)| *why).collect::<Vec<_>>(), [SlowClient::CommandLate]);
    let mut said = Vec::new();
    assert!(clients.take_output(client, &mut said));
    assert!(said.starts_with(b"-ERR the command did not come whole"));
}

#[test]
fn a_connection_that_has_been_idle_for_a_while_holds_nothing() {
    let (mut clients, [client]) = sharing(64 * MIB);
    for _ in 0..20 {
        feed(&mut clients, client, &set_of(100 << 10));
    }
    let tags = std::iter::from_fn(|| next(&mut clients, client).map(|(tag, _)| tag));
    drop(tags.collect::<Vec<_>>());
    assert!(clients.memory().bytes() > 0);
    clients.sweep(clock::mono().plus(Nanos::from_ms(60_000_000)));
    assert_eq!(clients.memory().bytes(), 0);
    send(&mut clients, client, b"GET k\r\n");
    assert!(clients.lend(client).is_some());
}

#[test]
fn a_connection_that_sends_short_commands_for_a_while_gives_the_memory_of_long_ones_back() {
    let (mut clients, [client]) = sharing(64 * MIB);
    for _ in 0..20 {
        feed(&mut clients, client, &set_of(100 << 10));
    }
    let (now, later) = (clock::mono(), clock::mono().plus(Nanos::from_ms(10_000)));
    while next(&mut clients, client).is_some() {}
    assert!(clients.next_ask(client, now).is_none(), "it has said all");
    clients.sweep(now);
    assert!(clients.memory().bytes() > 0);
    send(&mut clients, client, b"GET q\r\n");
    assert!(next(&mut clients, client).is_some());
    assert!(clients.next_ask(client, later).is_none(), "it has said all");
    clients.sweep(later);
    assert_eq!(clients.memory().bytes(), 0, "although it is not idle");
}
