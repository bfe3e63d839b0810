//! Admission over RESP and the binary protocol, and the settings that change it while the node runs.

use super::*;
use crate::access::{Access, Change};
use crate::binary::{self, FailureCode, ResponseBody, ResponseDecoder};

pub(crate) fn far(access: Access) -> Connection {
    Connection::new(ConnectionConfig {
        server: Rc::new(ServerConfig { access, ..server() }),
        id: 7,
        peer_address: "10.0.0.1:5000".into(),
        is_loopback: false,
        local_address: "10.0.0.2:6379".into(),
        is_core_port: false,
        service: Service::Full,
    })
}

/// The answer of a connection, and whether it ends.
fn answer(connection: &mut Connection, bytes: &[u8]) -> (Vec<u8>, bool) {
    let (asks, out) = converse(connection, &mut Toy::default(), bytes, core::iter::empty());
    (out, asks.contains(&Ask::Close))
}

#[test]
fn without_a_password_clients_of_other_machines_are_turned_away() {
    let access = Access::default();
    for line in ["PING\r\n", "AUTH x\r\n", "*1\r\n$4\r\nPING\r\n", "SET k v\r\nGET k\r\n"] {
        let (out, is_over) = answer(&mut far(access.clone()), line.as_bytes());
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with("-DENIED Redis is running in protected mode"), "{line}: {text}");
        assert!(text.ends_with("port.\r\n") && text.matches('\n').count() == 1 && is_over, "{line}: {text}");
    }
    let mut hello = binary::PREAMBLE.to_vec();
    binary::encode_hello(&mut hello, 1, "me");
    let (out, is_over) = answer(&mut far(access.clone()), &hello);
    let mut decoder = ResponseDecoder::new();
    decoder.feed(&out);
    let told = decoder.next().expect("sound").expect("an answer");
    assert_eq!(told.body, ResponseBody::Failed(FailureCode::Protected));
    assert!(is_over);

    access.change([Change::Protected(false)]);
    assert_eq!(answer(&mut far(access.clone()), b"PING\r\n").0, b"+PONG\r\n");
    access.change([Change::Protected(true), Change::Password(Some(b"pw"))]);
    assert_eq!(answer(&mut far(access), b"AUTH pw\r\nPING\r\n").0, b"+OK\r\n+PONG\r\n");
}

#[test]
fn a_password_is_set_and_taken_away_while_the_node_runs_and_never_shown() {
    let access = Access::default();
    let config = || ServerConfig { access: access.clone(), ..server() };
    let say = |line: &str| said(&mut connect(config()), &mut Toy::default(), line);
    assert_eq!(say("CONFIG GET requirepass"), "*2|$11|requirepass|$0||");
    // Either all of it or nothing.
    let both = "CONFIG SET requirepass secret appendfsync no";
    assert!(say(both).starts_with("-ERR CONFIG SET failed"), "{}", say(both));
    assert_eq!(say("PING"), "+PONG|");
    let mut before = connect(config());
    assert_eq!(said(&mut before, &mut Toy::default(), "CONFIG SET requirepass secret"), "+OK|");
    assert_eq!(said(&mut before, &mut Toy::default(), "PING"), "+PONG|", "who was let in stays");
    assert_eq!(say("PING"), "-NOAUTH Authentication required.|");
    assert_eq!(say("AUTH wrong"), "-WRONGPASS invalid username-password pair or user is disabled.|");
    assert_eq!(say("AUTH secret\nCONFIG GET requirepass"), "+OK|*2|$11|requirepass|$8|********|");
    assert_eq!(say("HELLO 2 AUTH default secret\nCONFIG SET requirepass ''").matches("+OK|").count(), 1);
    assert_eq!(say("PING"), "+PONG|");
    // The text that CONFIG GET shows is no password.
    assert!(say("CONFIG SET requirepass ********").contains("stands for a password and is none"));
    assert_eq!(say("CONFIG SET requirepass secret"), "+OK|");
    assert_eq!(say("AUTH secret\nCONFIG SET requirepass ********"), "+OK|+OK|");
    assert_eq!(say("AUTH secret"), "+OK|", "it is as it was");
    // A client that connected while there was a password is let in when the password is removed.
    let mut waiting = connect(config());
    assert_eq!(said(&mut waiting, &mut Toy::default(), "PING"), "-NOAUTH Authentication required.|");
    assert_eq!(say("AUTH secret\nCONFIG SET requirepass ''"), "+OK|+OK|");
    assert_eq!(said(&mut waiting, &mut Toy::default(), "PING"), "+PONG|");
    // It gets the limits of admitted clients; RESET does not change them while no password is wanted.
    let large = format!("SET k {}\nDEL 1 2 3 4 5 6 7 8 9 10 11 12", "x".repeat(20_000));
    assert_eq!(said(&mut waiting, &mut Toy::default(), &large), "+OK|:0|");
    assert_eq!(say(&format!("RESET\n{large}")), "+RESET|+OK|:0|");
    for (line, why) in [
        ("CONFIG SET", "wrong number of arguments for 'config|set' command"),
        ("CONFIG SET requirepass a requirepass b", "duplicate parameter"),
        ("CONFIG SET requirepass none", "none is the word for no password"),
    ] {
        assert!(say(line).contains(why), "{}", say(line));
    }
    assert_eq!(say("PING"), "+PONG|");
    let long = format!("CONFIG SET requirepass {}", "x".repeat(1025));
    assert!(say(&long).contains("a password is a string of 1 to 1024 bytes"), "{}", say(&long));
}

#[test]
fn a_password_is_set_even_where_no_reply_is_wanted() {
    for quiet in ["CLIENT REPLY SKIP", "CLIENT REPLY OFF"] {
        let access = Access::default();
        let config = || ServerConfig { access: access.clone(), ..server() };
        let say = |lines: &str| said(&mut connect(config()), &mut Toy::default(), lines);
        assert_eq!(say(&format!("{quiet}\nCONFIG SET requirepass secret")), "");
        assert_eq!(say("PING"), "-NOAUTH Authentication required.|", "{quiet}");
    }
}

#[test]
fn protected_mode_is_switched_while_the_node_runs() {
    let access = Access::default();
    let config = || ServerConfig { access: access.clone(), ..server() };
    let say = |line: &str| said(&mut connect(config()), &mut Toy::default(), line);
    assert_eq!(say("CONFIG GET protected-mode"), "*2|$14|protected-mode|$3|yes|");
    assert!(say("CONFIG SET protected-mode maybe").contains("argument must be 'yes' or 'no'"));
    assert_eq!(say("CONFIG SET protected-mode no"), "+OK|");
    assert_eq!(say("CONFIG GET protected-mode"), "*2|$14|protected-mode|$2|no|");
    assert_eq!(answer(&mut far(access.clone()), b"PING\r\n").0, b"+PONG\r\n");
}

#[test]
fn every_command_before_the_password_answers_noauth_and_asks_for_nothing() {
    let access = Access::new([&b"pw"[..]], true);
    for spec in crate::resp::spec::SPECS {
        let arguments = vec![" 1"; usize::from(spec.arity.unsigned_abs()) - 1].concat();
        let line = format!("{}{arguments}\r\n", spec.name);
        let mut connection = connect(ServerConfig { access: access.clone(), ..server() });
        let (asks, sent) =
            converse(&mut connection, &mut Toy::default(), line.as_bytes(), core::iter::empty());
        let said = String::from_utf8(sent).expect("text");
        match spec.name {
            // The commands that authenticate, and those about the connection only.
            "auth" => assert!(said.starts_with("-WRONGPASS"), "{said}"),
            "hello" => assert!(said.starts_with("-NOAUTH HELLO must be called"), "{said}"),
            "quit" => assert_eq!(said, "+OK\r\n"),
            "reset" => assert_eq!(said, "+RESET\r\n"),
            // A transaction is judged when it ends; its commands are refused one by one.
            _ => {
                assert_eq!(said, "-NOAUTH Authentication required.\r\n", "{line}");
                assert!(asks.is_empty(), "{line}: {asks:?}");
            }
        }
    }
}

/// A client that connected while there was a password is not let in by any command once the password is
/// removed.
#[test]
fn a_stranger_who_waits_is_not_let_in_when_the_password_goes() {
    let access = Access::new([&b"pw"[..]], true);
    let mut waiting = far(access.clone());
    assert_eq!(answer(&mut waiting, b"PING\r\n").0, b"-NOAUTH Authentication required.\r\n");
    let mut binary_waits = far(access.clone());
    assert_eq!(answer(&mut binary_waits, &binary::PREAMBLE).0, b"");
    access.change([Change::Password(None)]);
    let lines = b"RESET\r\nPING\r\nAUTH default x\r\nPING\r\nHELLO 2 AUTH default x\r\nPING\r\n";
    let said = String::from_utf8(answer(&mut waiting, lines).0).expect("text");
    assert!(said.starts_with("-DENIED Redis is running in protected mode"), "{said}");
    assert_eq!(said.matches('\n').count(), 1, "and nothing more: {said}");
    let mut guess = Vec::new();
    binary::encode_auth(&mut guess, 1, b"x");
    let (out, is_over) = answer(&mut binary_waits, &guess);
    let mut decoder = ResponseDecoder::new();
    decoder.feed(&out);
    let told = decoder.next().expect("sound").expect("an answer");
    assert_eq!((told.body, is_over), (ResponseBody::Failed(FailureCode::Protected), true));
}

/// A client that was served once is never told that none of its commands was executed.
#[test]
fn who_was_let_in_without_a_password_stays_when_the_door_is_closed() {
    let access = Access::new([&b"pw"[..]], true);
    let mut resp = far(access.clone());
    assert_eq!(answer(&mut resp, b"PING\r\n").0, b"-NOAUTH Authentication required.\r\n");
    let mut binary_waits = far(access.clone());
    assert_eq!(answer(&mut binary_waits, &binary::PREAMBLE).0, b"");
    let mut ping = |id| {
        let mut bytes = Vec::new();
        binary::encode_ping(&mut bytes, id);
        let mut decoder = ResponseDecoder::new();
        decoder.feed(&answer(&mut binary_waits, &bytes).0);
        decoder.next().expect("sound").expect("an answer").body
    };
    access.change([Change::Password(None), Change::Protected(false)]);
    assert_eq!((answer(&mut resp, b"PING\r\n").0, ping(1)), (b"+PONG\r\n".to_vec(), ResponseBody::Pong));
    for change in [Change::Protected(true), Change::Password(Some(b"other"))] {
        access.change([change]);
        assert_eq!((answer(&mut resp, b"PING\r\n").0, ping(2)), (b"+PONG\r\n".to_vec(), ResponseBody::Pong));
    }
}
