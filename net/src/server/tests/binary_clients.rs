//! The binary protocol on the same port.

use super::*;
use crate::access::Access;

fn responses(sent: &[u8]) -> Vec<binary::Response> {
    let mut decoder = binary::ResponseDecoder::new();
    decoder.feed(sent);
    let mut all = Vec::new();
    while let Some(response) = decoder.next().expect("sound") {
        all.push(response);
    }
    all
}

#[test]
fn binary_requests_become_asks_and_replies_come_in_any_order() {
    let mut bytes = binary::PREAMBLE.to_vec();
    let mut command = binary::tests::set(b"key", b"value");
    command.namespace = Namespace::new(2);
    command.stamp = SessionStamp { session: SessionId::new(5), sequence: 2, lowest_open: 1 };
    binary::encode_request(&mut bytes, 11, Consistency::Linearizable, &command);
    let read = Command::plain(b"key".to_vec(), Op::Get);
    binary::encode_request(&mut bytes, 12, Consistency::Quorum, &read);
    binary::encode_open_session(&mut bytes, 13, GroupId::new(4));
    binary::encode_open_session(&mut bytes, 14, GroupId::new(5));
    binary::encode_open_session(&mut bytes, 15, GroupId::SYSTEM);
    binary::encode_topology(&mut bytes, 16);
    binary::encode_ping(&mut bytes, 17);
    let mut connection = connect(server());
    connection.received(&bytes);
    let asks: Vec<Ask> = core::iter::from_fn(|| connection.next()).collect();
    assert_eq!(asks.len(), 4);
    assert_eq!(
        responses(&core::mem::take(connection.out())).iter().map(|r| r.id).collect::<Vec<_>>(),
        [14, 15, 17]
    );
    let Ask::Command { tag: tag_set, group: None, command: got, .. } = &asks[0] else { panic!("{asks:?}") };
    assert_eq!(got.clone().map(|bytes| bytes.as_ref().to_vec()), command);
    let Ask::Command { tag: tag_get, consistency: Consistency::Quorum, .. } = asks[1] else {
        panic!("{asks:?}")
    };
    let Ask::Command { tag: tag_open, group: Some(group), .. } = asks[2] else { panic!("{asks:?}") };
    assert_eq!(group, GroupId::new(4));
    let Ask::Local { tag: tag_topology, query: LocalQuery::Topology } = asks[3] else { panic!("{asks:?}") };
    let version = Version { slot: Slot::new(9), position: 1 };
    connection.answer(tag_topology, LocalAnswer::Topology(topology()));
    connection.reply(tag_get, Reply::Value { value: b"value", version });
    connection.reply(tag_open, Reply::Session(SessionId::new(77)));
    connection.reply(*tag_set, Reply::Error(ErrorKind::NoLeader));
    let got: Vec<_> = responses(connection.out()).into_iter().map(|r| (r.id, r.body)).collect();
    let want = [
        (16, binary::ResponseBody::Topology(topology())),
        (12, binary::ResponseBody::Reply(Reply::Value { value: b"value".to_vec(), version })),
        (13, binary::ResponseBody::Reply(Reply::Session(SessionId::new(77)))),
        (11, binary::ResponseBody::Reply(Reply::Error(ErrorKind::NoLeader))),
    ];
    assert_eq!(got, want);
}

#[test]
fn binary_nonsense_gets_a_failure_and_the_end() {
    let mut connection = connect(server());
    connection.received(&[&binary::PREAMBLE[..], &[9, 0, 0, 0]].concat());
    assert_eq!(connection.next(), Some(Ask::Close));
    let answers = responses(connection.out());
    assert_eq!(answers[0].body, binary::ResponseBody::Failed(binary::FailureCode::Protocol));
    let mut newer = connect(server());
    let mut preamble = binary::PREAMBLE;
    preamble[6] = 2;
    newer.received(&preamble);
    assert_eq!(newer.next(), Some(Ask::Close));
    assert_eq!(responses(newer.out())[0].body, binary::ResponseBody::Failed(binary::FailureCode::Version));
}

#[test]
fn binary_clients_need_the_password_too() {
    let mut connection = connect(ServerConfig { access: Access::new([&b"pw"[..]], true), ..server() });
    let mut bytes = binary::PREAMBLE.to_vec();
    binary::encode_status(&mut bytes, 1);
    binary::encode_auth(&mut bytes, 2, b"pw");
    binary::encode_status(&mut bytes, 3);
    binary::encode_auth(&mut bytes, 4, b"wrong");
    binary::encode_status(&mut bytes, 5);
    let (_, sent) = converse(&mut connection, &mut Toy::default(), &bytes, core::iter::empty());
    let got: Vec<_> = responses(&sent).into_iter().map(|r| (r.id, r.body)).collect();
    let want = [
        (1, binary::ResponseBody::Failed(binary::FailureCode::AuthRequired)),
        (2, binary::ResponseBody::Ok),
        (3, binary::ResponseBody::Status(status())),
        (4, binary::ResponseBody::Failed(binary::FailureCode::AuthFailed)),
    ];
    assert_eq!(got, want);
    assert!(connection.closing());
}

/// Decision 0025: what is open is answered, what comes yet is certainly not executed.
#[test]
fn binary_clients_are_told_that_the_node_is_about_to_stop() {
    let get = Command::plain(b"key".to_vec(), Op::Get);
    let mut bytes = binary::PREAMBLE.to_vec();
    binary::encode_request(&mut bytes, 11, Consistency::Linearizable, &get);
    let mut connection = connect(server());
    connection.received(&bytes);
    let Some(Ask::Command { tag, .. }) = connection.next() else { panic!("a command") };
    connection.let_go();
    connection.let_go();
    assert!(!connection.is_idle(), "it waits for an answer");
    let mut bytes = Vec::new();
    binary::encode_request(&mut bytes, 12, Consistency::Linearizable, &get);
    connection.received(&bytes);
    assert_eq!(connection.next(), None, "it is not executed");
    connection.reply(tag, Reply::Nil);
    let got: Vec<_> = responses(connection.out()).into_iter().map(|r| (r.id, r.body)).collect();
    let want = [
        (12, binary::ResponseBody::Failed(binary::FailureCode::Unavailable)),
        (11, binary::ResponseBody::Reply(Reply::Nil)),
    ];
    assert_eq!(got, want);
    assert!(connection.is_idle());
    connection.end();
    assert!(connection.closing());
}

#[test]
fn a_resp_client_is_let_go_when_all_it_sent_is_answered() {
    let mut connection = connect(server());
    connection.received(b"GET k\r\nPI");
    let Some(Ask::Command { tag, .. }) = connection.next() else { panic!("a command") };
    connection.let_go();
    assert!(connection.out().is_empty() && !connection.is_idle());
    connection.reply(tag, Reply::Nil);
    assert_eq!(connection.next(), None);
    assert!(!connection.is_idle(), "a command has begun to come");
    connection.received(b"NG\r\nMULTI\r\n");
    assert_eq!(connection.next(), None);
    assert!(!connection.is_idle(), "a bracket is open");
    connection.received(b"DISCARD\r\n");
    assert_eq!(connection.next(), None);
    assert!(connection.is_idle());
}
