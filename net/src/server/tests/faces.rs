//! What a client sees of the server: connections beyond the limit, a node that loads, the list of clients, and the
//! share of the keys that is found at the port of one core.

use super::*;
use crate::access::Access;
use crate::binary::{FailureCode, ResponseBody, ResponseDecoder};
use crate::resp::spec::{SPECS, SUBCOMMANDS};
use synod_types::operand::{put_scan_key, start_scan_page};

const REFUSED: &str = "-ERR max number of clients reached|";
const LOADING: &str = "-LOADING Synod is loading the dataset in memory|";

fn with(service: Service, is_loopback: bool) -> Connection {
    Connection::new(ConnectionConfig {
        server: Rc::new(ServerConfig { access: Access::new([], false), ..server() }),
        id: 7,
        peer_address: "10.0.0.1:5000".into(),
        is_loopback,
        local_address: "10.0.0.2:6379".into(),
        is_core_port: false,
        service,
    })
}

/// What a connection answers to inline commands, and whether it ends.
fn answered(connection: &mut Connection, lines: &str) -> (String, bool) {
    (said(connection, &mut Toy::default(), lines), connection.closing())
}

/// What a connection answers to requests of the binary protocol, and whether it ends.
fn answered_binary(
    connection: &mut Connection,
    requests: impl FnOnce(&mut Vec<u8>),
) -> (Vec<(u64, ResponseBody)>, bool) {
    let mut bytes = binary::PREAMBLE.to_vec();
    requests(&mut bytes);
    let (_, out) = converse(connection, &mut Toy::default(), &bytes, core::iter::empty());
    let mut decoder = ResponseDecoder::new();
    decoder.feed(&out);
    let mut told = Vec::new();
    while let Some(response) = decoder.next().expect("sound") {
        told.push((response.id, response.body));
    }
    (told, connection.closing())
}

fn get(bytes: &mut Vec<u8>) {
    let command = Command::plain(b"k".to_vec(), Op::Get);
    binary::encode_request(bytes, 1, Consistency::Linearizable, &command);
}

#[test]
fn a_connection_beyond_the_limit_is_told_so_and_ends() {
    for is_loopback in [false, true] {
        for line in ["PING", "GET k", "ECHO a", "SET k v"] {
            let said = answered(&mut with(Service::Spare, is_loopback), line);
            assert_eq!(said, (REFUSED.to_owned(), true), "{line} {is_loopback}");
        }
        let (told, is_over) = answered_binary(&mut with(Service::Spare, is_loopback), get);
        assert_eq!(told, [(0, ResponseBody::Failed(FailureCode::Unavailable))]);
        assert!(is_over);
        // The page, or the refusal, is given where HTTP is handled.
        let mut connection = with(Service::Spare, is_loopback);
        connection.received(b"GET /healthz HTTP/1.1\r\n");
        assert_eq!(connection.next(), None);
        assert!(connection.speaks_http());
    }
}

#[test]
fn an_operator_on_this_machine_may_look_around_beyond_the_limit() {
    for line in ["INFO", "CLIENT LIST", "CONFIG GET maxclients", "HELLO 2", "CLUSTER INFO", "COMMAND COUNT"] {
        let (said, is_over) = answered(&mut with(Service::Spare, true), line);
        assert!(!said.starts_with('-') && !is_over, "{line}: {said}");
        assert_eq!(answered(&mut with(Service::Spare, false), line), (REFUSED.to_owned(), true), "{line}");
    }
    let (said, is_over) = answered(&mut with(Service::Spare, true), "CLIENT ID\nGET k\nCLIENT ID");
    assert_eq!((said, is_over), (format!(":7|{REFUSED}"), true));
    let (told, is_over) = answered_binary(&mut with(Service::Spare, true), |bytes| {
        binary::encode_hello(bytes, 1, "operator");
        binary::encode_status(bytes, 2);
    });
    assert!(matches!(told.as_slice(), [(1, _), (2, ResponseBody::Status(_))]) && !is_over, "{told:?}");
}

#[test]
fn a_client_beyond_the_limit_that_says_nothing_is_not_waited_for() {
    let mut silent = with(Service::Spare, false);
    silent.give_up_waiting();
    assert_eq!(silent.out(), b"-ERR max number of clients reached\r\n");
    assert!(silent.closing());
    // One that has said what it wants is left alone.
    let mut operator = with(Service::Spare, true);
    assert_eq!(answered(&mut operator, "CLIENT ID"), (":7|".to_owned(), false));
    operator.give_up_waiting();
    assert!(operator.out().is_empty() && !operator.closing());
}

#[test]
fn a_connection_that_gets_a_place_is_served_like_any_other() {
    let mut waiting = with(Service::Spare, true);
    assert_eq!(answered(&mut waiting, "CLIENT ID"), (":7|".to_owned(), false));
    assert!(waiting.serve_fully());
    assert_eq!(waiting.service(), Service::Full);
    assert_eq!(answered(&mut waiting, "PING"), ("+PONG|".to_owned(), false));
    // There is nothing more to give, and one that was refused ends.
    assert!(!waiting.serve_fully());
    let mut refused = with(Service::Spare, true);
    assert_eq!(answered(&mut refused, "PING"), (REFUSED.to_owned(), true));
    assert!(!refused.serve_fully());
    assert!(!with(Service::Loading, true).serve_fully());
}

#[test]
fn while_the_node_loads_exactly_the_commands_with_that_flag_are_served() {
    for row in SPECS.iter().filter(|row| !row.is_container()).chain(SUBCOMMANDS) {
        let mut line = row.name.replace('|', " ");
        let named = row.name.split('|').count();
        for _ in named..usize::from(row.arity.unsigned_abs()) {
            line.push_str(" 1");
        }
        // They answer before the row is looked at.
        if row.family.group == "transactions" {
            continue;
        }
        let (said, _) = answered(&mut with(Service::Loading, true), &line);
        assert_eq!(said == LOADING, !row.flags.contains(&"loading"), "{line}: {said}");
    }
    let (said, is_over) = answered(&mut with(Service::Loading, true), "PING\nGET k\nCLIENT ID");
    assert_eq!((said, is_over), (format!("{LOADING}{LOADING}:7|"), false));
    let (told, is_over) = answered_binary(&mut with(Service::Loading, true), |bytes| {
        get(bytes);
        binary::encode_status(bytes, 2);
    });
    let no_leader = ResponseBody::Reply(Reply::Error(ErrorKind::NoLeader));
    assert_eq!(told, [(1, no_leader), (2, ResponseBody::Failed(FailureCode::Unavailable))]);
    assert!(!is_over);
}

#[test]
fn the_list_of_clients_is_filtered_and_says_what_is_so() {
    let line = say("CLIENT SETNAME me\nCLIENT SETINFO LIB-NAME lib\nCLIENT LIST");
    for part in [
        "id=7 addr=10.0.0.1:5000 laddr=10.0.0.2:6379 name=me age=5 idle=2 flags=N ",
        " cmd=client|list user=default ",
        " resp=2 lib-name=lib lib-ver=\n",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert!(say("CLIENT INFO").contains("id=7 ") && say("CLIENT INFO").contains(" cmd=client|info "));
    for listed in
        ["CLIENT LIST ID 7", "CLIENT LIST ID 3 7", "CLIENT LIST TYPE normal", "client list type NORMAL"]
    {
        assert!(say(listed).contains("id=7 "), "{listed}");
    }
    for (line, want) in [
        ("CLIENT LIST ID 3 4", "$0||"),
        ("CLIENT LIST TYPE master", "$0||"),
        ("CLIENT LIST TYPE replica", "$0||"),
        ("CLIENT LIST TYPE slave", "$0||"),
        ("CLIENT LIST TYPE pubsub", "$0||"),
        ("CLIENT LIST TYPE x", "-ERR Unknown client type 'x'|"),
        ("CLIENT LIST TYPE normal x", "-ERR syntax error|"),
        ("CLIENT LIST ID", "-ERR syntax error|"),
        ("CLIENT LIST ID a", "-ERR Invalid client ID|"),
        ("CLIENT LIST FOO", "-ERR syntax error|"),
    ] {
        assert_eq!(say(line), want, "{line}");
    }
}

#[test]
fn the_one_user_is_described() {
    let said = say("ACL GETUSER default");
    assert!(
        said.starts_with("*12|$5|flags|*2|$2|on|$6|nopass|$9|passwords|*0|$8|commands|$5|+@all|"),
        "{said}"
    );
    assert_eq!(say("ACL GETUSER nobody"), "*-1|");
}

/// A connection at the port of a core that has these groups.
fn at_core_port(own: &[u16]) -> Connection {
    let server = server();
    server.own_groups.set(own.iter().map(|&group| GroupId::new(group)));
    Connection::new(ConnectionConfig {
        server: Rc::new(server),
        id: 7,
        peer_address: "10.0.0.1:5000".into(),
        is_loopback: true,
        local_address: "10.0.0.2:7000".into(),
        is_core_port: true,
        service: Service::Full,
    })
}

/// The groups that a command asks, and its answer. Each group holds one key, named after it.
fn walked(connection: &mut Connection, line: &str) -> (Vec<u16>, String) {
    connection.received(format!("{line}\r\n").as_bytes());
    let mut groups = Vec::new();
    let mut out = Vec::new();
    loop {
        while let Some(ask) = connection.next() {
            let Ask::Command { tag, group: Some(group), command, .. } = ask else { continue };
            groups.push(group.get());
            let mut page = Vec::new();
            start_scan_page(&mut page);
            put_scan_key(&mut page, group.get().to_string().as_bytes());
            let version = Version::default();
            connection.reply(
                tag,
                match command.op {
                    Op::Scan { .. } => Reply::Value { value: &page, version },
                    Op::Flush => Reply::Done { version },
                    _ => Reply::Int(1),
                },
            );
        }
        if connection.out().is_empty() {
            return (groups, String::from_utf8(out).expect("ASCII").replace("\r\n", "|"));
        }
        out.append(connection.out());
    }
}

#[test]
fn at_the_port_of_a_core_a_client_finds_that_cores_share_of_the_keys() {
    for (own, count, keys) in [
        (&[2, 4][..], ":2|", "*2|$1|2|$1|4|"),
        (&[1][..], ":1|", "*1|$1|1|"),
        (&[][..], ":0|", "*0|"),
        (&[0, 1, 2, 3, 4][..], ":4|", "*4|$1|1|$1|2|$1|3|$1|4|"),
    ] {
        let asked: Vec<u16> = own.iter().copied().filter(|group| *group > 0).collect();
        let mut connection = at_core_port(own);
        assert_eq!(walked(&mut connection, "DBSIZE"), (asked.clone(), count.to_owned()), "{own:?}");
        assert_eq!(walked(&mut connection, "KEYS *"), (asked.clone(), keys.to_owned()), "{own:?}");
        let page = format!("*2|$1|0|{keys}");
        assert_eq!(walked(&mut connection, "SCAN 0 COUNT 100"), (asked, page), "{own:?}");
        // All keys are gone when it is answered, wherever it was sent.
        assert_eq!(walked(&mut connection, "FLUSHALL"), (vec![1, 2, 3, 4], "+OK|".to_owned()));
    }
    // At the shared port the same core shows all keys.
    let server = server();
    server.own_groups.set([GroupId::new(2)]);
    assert_eq!(walked(&mut connect(server), "DBSIZE"), (vec![1, 2, 3, 4], ":4|".to_owned()));
}

#[test]
fn a_scan_goes_on_in_the_group_that_it_has_begun_and_passes_over_those_of_others() {
    let mut connection = at_core_port(&[1, 3]);
    // One key per call: the cursor names the next group of this core.
    let (groups, said) = walked(&mut connection, "SCAN 0 COUNT 1");
    assert_eq!(groups, [1]);
    let cursor = said.split('|').nth(2).expect("a cursor");
    assert_ne!(cursor, "0");
    let (groups, said) = walked(&mut connection, &format!("SCAN {cursor} COUNT 1"));
    assert_eq!((groups, said.as_str()), (vec![3], "*2|$1|0|*1|$1|3|"));
    // Within group 2, whose leader was here when the walk began.
    let within = (1_u64 << 48) | 5;
    let (groups, said) = walked(&mut connection, &format!("SCAN {within} COUNT 1"));
    assert_eq!(groups, [2], "{said}");
}
