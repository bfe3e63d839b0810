//! The largest keys and values work; one byte more is a clear error, and the connection lives on.

use crate::cluster::Nodes;
use crate::resp::{RespClient, command};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use synod_net::binary::{PREAMBLE, Response, ResponseBody, ResponseDecoder, encode_request};
use synod_net::client::{Client, ClientError};
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{Command, Condition, Consistency, ErrorKind, Expiry, Op, Reply};

#[test]
fn the_largest_key_and_value_work_and_one_byte_more_does_not() {
    let mut nodes = Nodes::start("limits");
    for target in nodes.targets() {
        let mut client = RespClient::connect(&target);
        let value: Vec<u8> = (0..VALUE_BYTES_MAX).map(|index| (index % 251) as u8).collect();
        let key = vec![b'k'; KEY_BYTES_MAX];
        assert_eq!(client.ask(&[b"SET", &key, &value]), "+OK");
        assert_eq!(client.bulk(&[b"GET", &key]).as_ref(), Ok(&value));
        let mut longer_value = value.clone();
        longer_value.push(0);
        let answer = client.ask(&[b"SET", b"k", &longer_value]);
        assert!(answer.starts_with("-ERR"), "{answer}");
        let mut longer_key = key.clone();
        longer_key.push(b'k');
        let answer = client.ask(&[b"SET", &longer_key, b"v"]);
        assert!(answer.starts_with("-ERR"), "{answer}");
        assert_eq!(client.ask(&[b"PING"]), "+PONG", "the connection lives");
        assert_eq!(client.bulk(&[b"GET", &key]).as_ref(), Ok(&value));
        assert_eq!(client.ask(&[b"DEL", &key]), ":1");
    }
}

/// A command that makes a value longer carries the old value along. Up to the very last byte this stops no
/// leader and breaks no link, through any node.
#[test]
fn values_grow_up_to_the_largest_there_may_be_and_no_further() {
    let mut nodes = Nodes::start("growing");
    for (target, key) in nodes.targets().into_iter().zip([b"a", b"b", b"c"]) {
        let mut client = RespClient::connect(&target);
        for command in [&b"SETRANGE"[..], b"APPEND"] {
            let max = VALUE_BYTES_MAX;
            let mut value = vec![b'v'; max - 5];
            assert_eq!(client.ask(&[b"SET", key, &value]), "+OK");
            let mut grow = |more: &[u8]| match command {
                b"APPEND" => client.ask(&[command, key, more]),
                _ => client.ask(&[command, key, (max - 5).to_string().as_bytes(), more]),
            };
            let answer = grow(b"sixsix");
            assert!(answer.starts_with("-ERR"), "{answer}");
            assert_eq!(grow(b"five5"), format!(":{max}"));
            value.extend(b"five5");
            assert_eq!(client.bulk(&[b"GET", key]).as_ref(), Ok(&value));
            let answer = client.ask(&[b"APPEND", key, b"1"]);
            assert!(answer.starts_with("-ERR"), "{answer}");
        }
    }
    assert!(nodes.get().death().is_none());
}

#[test]
fn a_connection_that_pipelines_sees_its_own_writes() {
    let mut nodes = Nodes::start("pipeline");
    for target in nodes.targets() {
        let mut client = RespClient::connect(&target);
        for round in 0..20 {
            let mut burst = Vec::new();
            for number in 0..50 {
                let (key, value) = (format!("p{}", number % 7), format!("{round}:{number}"));
                burst.extend(command(&[b"SET", key.as_bytes(), value.as_bytes()]));
                burst.extend(command(&[b"GET", key.as_bytes()]));
            }
            client.0.write_all(&burst).expect("sent");
            for number in 0..50 {
                let value = format!("{round}:{number}");
                assert_eq!(client.line(), "+OK");
                assert_eq!(client.line(), format!("${}", value.len()));
                assert_eq!(client.line(), value);
            }
        }
    }
}

/// Sends the frame of a request, and returns the node's answer.
fn exchange(stream: &mut TcpStream, command: &Command<Vec<u8>>) -> Response {
    let mut frame = Vec::new();
    encode_request(&mut frame, 7, Consistency::Linearizable, command);
    stream.write_all(&frame).expect("sent");
    let mut decoder = ResponseDecoder::new();
    let mut bytes = [0; 65536];
    loop {
        if let Some(response) = decoder.next().expect("a sound frame") {
            assert_eq!(response.id, 7);
            return response;
        }
        let count = stream.read(&mut bytes).expect("an answer");
        assert!(count > 0, "the node closed the connection");
        decoder.feed(&bytes[..count]);
    }
}

fn set(key: &[u8], value: &[u8]) -> Command<Vec<u8>> {
    let value_crc = synod_types::checksum::crc32c(value);
    let (condition, expiry) = (Condition::Always, Expiry::None);
    let op = Op::Set { value_crc, condition, expiry, return_old: false };
    Command::new(key.to_vec(), op, value.to_vec())
}

#[test]
fn the_same_limits_hold_over_the_binary_protocol() {
    let mut nodes = Nodes::start("binary-limits");
    let value: Vec<u8> = (0..VALUE_BYTES_MAX).map(|index| (index % 241) as u8).collect();
    let key = vec![b'b'; KEY_BYTES_MAX];
    let longer = |bytes: &[u8]| [bytes, b"x"].concat();
    for target in nodes.targets() {
        let mut client = Client::connect(&[&target]).expect("connects");
        client.set(&key, &value).expect("the largest are taken");
        assert_eq!(client.get(&key).expect("a read").as_deref(), Some(&value[..]));
        // The library does not even send it;
        assert!(matches!(client.set(b"k", &longer(&value)), Err(ClientError::OverLimit)));
        assert!(matches!(client.set(&longer(&key), b"v"), Err(ClientError::OverLimit)));
        assert!(client.del(&key).expect("the client goes on"));
        // a client that does send it gets an error.
        let mut stream = TcpStream::connect(&target).expect("the node takes clients");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream.write_all(&PREAMBLE).expect("sent");
        for refused in [set(b"k", &longer(&value)), set(&longer(&key), b"v")] {
            let refusal = exchange(&mut stream, &refused);
            assert_eq!(refusal.body, ResponseBody::Reply(Reply::Error(ErrorKind::Malformed)));
            assert!(refusal.text.contains("is over"), "{}", refusal.text);
            let answer = exchange(&mut stream, &Command::plain(b"k".to_vec(), Op::Exists));
            assert_eq!(answer.body, ResponseBody::Reply(Reply::Int(0)), "the connection lives");
        }
    }
}
