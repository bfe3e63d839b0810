//! The cost of bytes: entries, peer frames, and both client protocols, with checksums and checks as in
//! production. A value has 4 KiB, a key 16 bytes.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::rc::Rc;
use synod_bench::{GROUP, bytes, key, set_command};
use synod_net::binary::{self, Decoded, ResponseDecoder};
use synod_net::peer;
use synod_net::server::{Ask, Connection, ConnectionConfig, ServerConfig, Service};
use synod_types::{
    Ballot, Command, Consistency, Entry, EntryBuilder, GroupMessage, NodeId, Op, PeerMessage, Reply, Shared,
    Slot, Version, WallMs,
};

const VALUE_BYTES: usize = 4096;
const ORIGIN: Ballot = Ballot::new(5, NodeId::new(1));
/// Commands that a pipelining client has sent when its bytes are read.
const PIPELINED: u64 = 16;
const VERSION: Version = Version { slot: Slot::new(42), position: 0 };

/// Time per entry of this many 4 KiB SETs: built by the leader; checked, which every receiver does once; and
/// walked through, which apply does.
fn entry(c: &mut Criterion) {
    let command = set_command(&key(1), &bytes(VALUE_BYTES));
    let mut group = c.benchmark_group("codecs/entry");
    for count in [1_u64, 16] {
        let mut builder = EntryBuilder::new();
        let mut build = || {
            for _ in 0..count {
                builder.push(command.clone());
            }
            builder.finish(ORIGIN, WallMs(1))
        };
        let built = build();
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("build_{count}x4KiB"), |b| b.iter(&mut build));
        group.bench_function(format!("check_{count}x4KiB"), |b| {
            b.iter(|| Entry::check(black_box(built.as_slice())).expect("an entry").command_count());
        });
        let checked = Entry::check(built.as_slice()).expect("an entry");
        group.bench_function(format!("iterate_{count}x4KiB"), |b| {
            b.iter(|| {
                let mut seen = 0;
                for command in black_box(&checked).commands() {
                    seen += u64::from(black_box(command).key.len() == 16);
                }
                assert!(seen == count, "commands are missing");
            });
        });
    }
    group.finish();
}

/// Time per `Accept` of one 4 KiB command: into a link's buffer with its checksum, and out of one, checked
/// down to the entry's last span.
fn peer_accept(c: &mut Criterion) {
    let mut builder = EntryBuilder::new();
    builder.push(set_command(&key(1), &bytes(VALUE_BYTES)));
    let payload = Shared::new(builder.finish(ORIGIN, WallMs(1)));
    let ballot = Ballot::new(7, NodeId::new(1));
    let message = GroupMessage::Accept { ballot, slot: Slot::new(42), chosen: Slot::new(41), payload };
    let message = PeerMessage::Group { group: GROUP, message };
    let mut out = Vec::new();
    peer::encode(&mut out, &message);
    let frame = out.clone();
    let mut decoder = peer::Decoder::new();
    let mut group = c.benchmark_group("codecs/peer_accept_4KiB");
    group.bench_function("encode", |b| {
        b.iter(|| {
            out.clear();
            peer::encode(&mut out, black_box(&message));
        });
    });
    group.bench_function("decode", |b| {
        b.iter(|| {
            decoder.feed(black_box(&frame));
            decoder.next().expect("a sound frame").expect("a whole frame")
        });
    });
    group.finish();
}

/// Time for the commands of one read from the socket, one after the other: each is parsed, its key and value
/// are copied into one allocation, and the answer is written into the output buffer.
fn serve(connection: &mut Connection, bytes: &[u8], reply: Reply<&[u8]>) -> u64 {
    connection.received(bytes);
    let mut served = 0;
    while let Some(ask) = connection.next() {
        let Ask::Command { tag, command, .. } = ask else { panic!("not a command: {ask:?}") };
        black_box(command);
        connection.reply(tag, reply);
        served += 1;
    }
    black_box(connection.out()).clear();
    served
}

fn connection() -> Connection {
    Connection::new(ConnectionConfig {
        server: Rc::new(ServerConfig::default()),
        id: 1,
        peer_address: "10.0.0.1:5000".to_owned(),
        is_loopback: true,
        local_address: "10.0.0.2:6379".to_owned(),
        is_core_port: false,
        service: Service::Full,
    })
}

fn resp_command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// RESP through the server's connection, 16 commands pipelined; an element is a command. The SET includes the
/// value's checksum, the GET the copy of a 4 KiB answer.
fn resp(c: &mut Criterion) {
    let value = bytes(VALUE_BYTES);
    let set = resp_command(&[b"SET", &key(1), &value]).repeat(PIPELINED as usize);
    let get = resp_command(&[b"GET", &key(1)]).repeat(PIPELINED as usize);
    let found = Reply::Value { value: value.as_slice(), version: VERSION };
    let mut group = c.benchmark_group("codecs/resp_pipeline_of_16");
    group.throughput(Throughput::Elements(PIPELINED));
    for (name, bytes, reply) in
        [("set_4KiB", set, Reply::Done { version: VERSION }), ("get_4KiB", get, found)]
    {
        let mut connection = connection();
        group.bench_function(name, |b| {
            b.iter(|| assert!(serve(&mut connection, &bytes, reply) == PIPELINED, "commands were lost"));
        });
    }
    group.finish();
}

/// The same through the binary protocol: the difference is the cost of parsing RESP.
fn binary_server(c: &mut Criterion) {
    let value = bytes(VALUE_BYTES);
    let set = set_command(&key(1), &value);
    let get = Command::plain(key(1).to_vec(), Op::Get);
    let (mut sets, mut gets) = (Vec::new(), Vec::new());
    for id in 0..PIPELINED {
        binary::encode_request(&mut sets, id + 1, Consistency::Linearizable, &set);
        binary::encode_request(&mut gets, id + 1, Consistency::Linearizable, &get);
    }
    let found = Reply::Value { value: value.as_slice(), version: VERSION };
    let mut group = c.benchmark_group("codecs/binary_pipeline_of_16");
    group.throughput(Throughput::Elements(PIPELINED));
    for (name, bytes, reply) in
        [("set_4KiB", sets, Reply::Done { version: VERSION }), ("get_4KiB", gets, found)]
    {
        let mut connection = connection();
        connection.received(&binary::PREAMBLE);
        assert!(connection.next().is_none(), "a preamble asks nothing");
        group.bench_function(name, |b| {
            b.iter(|| assert!(serve(&mut connection, &bytes, reply) == PIPELINED, "commands were lost"));
        });
    }
    group.finish();
}

/// Time per message at the client, and for the bare decoder: a SET request of 4 KiB, and a response that
/// carries 4 KiB.
fn binary_messages(c: &mut Criterion) {
    let value = bytes(VALUE_BYTES);
    let set = set_command(&key(1), &value);
    let found = Reply::Value { value: value.as_slice(), version: VERSION };
    let (mut request, mut response) = (Vec::new(), Vec::new());
    let mut group = c.benchmark_group("codecs/binary");
    group.bench_function("encode_set_4KiB", |b| {
        b.iter(|| {
            request.clear();
            binary::encode_request(&mut request, 1, Consistency::Linearizable, black_box(&set));
        });
    });
    group.bench_function("encode_value_4KiB", |b| {
        b.iter(|| {
            response.clear();
            binary::encode_reply(&mut response, 1, black_box(&found), "");
        });
    });
    // Encoded here as well: a filter on the command line may have left out the benches above.
    let (mut request, mut response) = (Vec::new(), Vec::new());
    binary::encode_request(&mut request, 1, Consistency::Linearizable, &set);
    binary::encode_reply(&mut response, 1, &found, "");
    group.bench_function("decode_set_4KiB", |b| {
        b.iter(|| {
            let (id, decoded) = binary::decode_request(black_box(&request)).expect("a sound frame");
            assert!(matches!(decoded, Decoded::Request(_)), "refused");
            id
        });
    });
    let mut decoder = ResponseDecoder::new();
    group.bench_function("decode_value_4KiB", |b| {
        b.iter(|| {
            decoder.feed(black_box(&response));
            decoder.next_ref().expect("a sound frame").expect("a whole frame").id
        });
    });
    group.finish();
}

criterion_group!(benches, entry, peer_accept, resp, binary_server, binary_messages);
criterion_main!(benches);
