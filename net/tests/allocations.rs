//! The hot path allocates no memory beyond each command's own bytes: counted, not assumed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::rc::Rc;
use synod_net::binary;
use synod_net::server::{Ask, Connection, ConnectionConfig, ServerConfig, Service};
use synod_types::{Command, Condition, Consistency, Expiry, Op, Reply, Version};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged. Counting touches a constant-initialised
// thread-local of a type without a destructor, which neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's obligations are passed on unchanged.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are passed on unchanged.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's obligations are passed on unchanged.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations per command of a pipeline, after a warm-up, with replies in the given order.
fn per_command(preamble: &[u8], one: &[u8], backwards: bool) -> f64 {
    const DEPTH: usize = 16;
    const ROUNDS: usize = 100;
    let mut connection = Connection::new(ConnectionConfig {
        server: Rc::new(ServerConfig::default()),
        id: 1,
        peer_address: String::new(),
        is_loopback: true,
        local_address: String::new(),
        is_core_port: false,
        service: Service::Full,
    });
    connection.received(preamble);
    let pipeline = one.repeat(DEPTH);
    let value = [b'v'; 4096];
    let mut tags = Vec::with_capacity(DEPTH);
    let mut round = || {
        connection.received(&pipeline);
        while let Some(ask) = connection.next() {
            let Ask::Command { tag, command, .. } = ask else { panic!("a command") };
            tags.push((tag, command.op.is_write()));
        }
        assert_eq!(tags.len(), DEPTH);
        if backwards {
            tags.reverse();
        }
        for (tag, is_write) in tags.drain(..) {
            let version = Version::default();
            let reply = if is_write {
                Reply::Done { version }
            } else {
                Reply::Value { value: value.as_slice(), version }
            };
            connection.reply(tag, reply);
        }
        connection.out().clear();
    };
    (0..10).for_each(|_| round());
    let before = COUNT.get();
    (0..ROUNDS).for_each(|_| round());
    (COUNT.get() - before) as f64 / (ROUNDS * DEPTH) as f64
}

fn bulk_command(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The key. The chunks that hold the requests are shared by the whole pipeline.
const OF_ITS_OWN: std::ops::RangeInclusive<f64> = 1.0..=1.25;
/// The key, and the reference count of the value, which stays where it was received.
const LONG_VALUE: std::ops::RangeInclusive<f64> = 2.0..=2.25;
/// Key and value in one piece, and its reference count.
const SHORT_VALUE: std::ops::RangeInclusive<f64> = 2.0..=2.25;

fn within(range: std::ops::RangeInclusive<f64>, count: f64) {
    assert!(range.contains(&count), "{count} allocations per command, not {range:?}");
}

#[test]
fn resp_set_and_get_take_their_own_memory_only() {
    for backwards in [false, true] {
        let set = bulk_command(&[b"SET", b"key", &[b'v'; 4096]]);
        within(LONG_VALUE, per_command(b"", &set, backwards));
        let short = bulk_command(&[b"SET", b"key", &[b'v'; 100]]);
        within(SHORT_VALUE, per_command(b"", &short, backwards));
        let get = bulk_command(&[b"GET", b"key"]);
        within(OF_ITS_OWN, per_command(b"", &get, backwards));
    }
}

#[test]
fn binary_set_and_get_take_their_own_memory_only() {
    let value = vec![b'v'; 4096];
    let op = Op::Set {
        value_crc: synod_types::checksum::crc32c(&value),
        condition: Condition::Always,
        expiry: Expiry::None,
        return_old: false,
    };
    for (op, operand, range) in [(op, value, LONG_VALUE), (Op::Get, Vec::new(), OF_ITS_OWN)] {
        let mut one = Vec::new();
        binary::encode_request(
            &mut one,
            1,
            Consistency::Linearizable,
            &Command::new(b"key".to_vec(), op, operand),
        );
        for backwards in [false, true] {
            within(range.clone(), per_command(&binary::PREAMBLE, &one, backwards));
        }
    }
}
