//! The cost of agreement without I/O: one follower's step, and whole commits of three replicas in one thread.
//!
//! Neither number contains a disk, a socket, a codec or a system call: the difference to a running cluster is
//! the cost of the engine around them and of the hardware. A whole commit contains the log's own work:
//! framing, checksums, blocks.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use synod_bench::{GROUP, Trio, bytes, key, set_command};
use synod_paxos::{Effect, Input, Paxos, Timing};
use synod_types::{
    Ballot, EntryBuilder, GroupConfig, GroupMessage, Location, Members, Mono, NodeId, Now, SegmentId, Shared,
    Slot, WallMs,
};

const LEADER: NodeId = NodeId::new(1);
const FOLLOWER: NodeId = NodeId::new(2);
const ORIGIN: Ballot = Ballot::new(5, LEADER);

/// Time per slot at a follower in the steady state: the `Accept` (its watermark makes the slot before it
/// chosen), the place of its record, the receipt of its durability, and the note that the slot before was
/// applied. The time of applying is not included. The machine does not look at the payload, so its size does
/// not matter.
fn follower_accept(c: &mut Criterion) {
    let mut builder = EntryBuilder::new();
    builder.push(set_command(&key(1), &bytes(16)));
    let payload = Shared::new(builder.finish(ORIGIN, WallMs(1)));
    let ballot = Ballot::new(1, LEADER);
    let now = Now { mono: Mono(1_000_000_000), wall: WallMs(1_700_000_000_000) };
    let voters = [1, 2, 3].map(NodeId::new).to_vec();
    let members = Members::majority(voters);
    let config = GroupConfig { group: GROUP, node: FOLLOWER, members, preferred: LEADER, priority_rank: 1 };
    let mut paxos = Paxos::new(config, Timing::default(), 1);
    paxos.start(now);
    let mut effects: Vec<Effect<Shared>> = Vec::new();
    let mut slot = Slot::ZERO;
    let at = Location { segment: SegmentId::new(1), offset: 0, len: payload.len() as u32 };
    c.bench_function("consensus/follower_accept", |b| {
        b.iter(|| {
            let chosen = slot;
            slot = slot.next();
            let message = GroupMessage::Accept { ballot, slot, chosen, payload: payload.clone() };
            paxos.step(Input::Message { from: LEADER, message }, now, &mut effects);
            while let Some(applied) = paxos.next_apply().map(|(slot, ..)| slot) {
                paxos.applied(applied);
            }
            let Some(Effect::Append { receipt, then, .. }) = effects.pop() else {
                panic!("the accept was not written")
            };
            paxos.step(Input::Located { slot, ballot, at }, now, &mut effects);
            paxos.step(Input::Durable { receipt }, now, &mut effects);
            effects.clear();
            black_box(then)
        });
    });
    assert!(paxos.applied_slot().next() >= slot, "the follower fell behind");
}

/// Commits per second of one core that does the work of all three replicas: route, batch, encode the entry,
/// propose, log it three times, tally, apply three times, answer. One command is 16 bytes of key and value,
/// and commands are submitted one by one. `of_64` gives the leader up to 64 commands before its turn ends, so
/// that they share a slot; `of_1` gives each a slot of its own. The disk takes no time: a record appended in
/// one turn is durable in the next. A real cluster gives each replica a core of its own.
fn three_replica_commit(c: &mut Criterion) {
    let commands: Vec<_> =
        (0_u64..1024).map(|number| set_command(&key(number)[8..], &number.to_le_bytes())).collect();
    let mut group = c.benchmark_group("consensus/three_replica_commit_16B");
    for batch in [1_usize, 64] {
        let mut trio = Trio::new(1 << 20);
        let mut rounds = commands.chunks_exact(batch).cycle();
        let mut wanted = 0;
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("of_{batch}"), |b| {
            b.iter(|| {
                for command in rounds.next().into_iter().flatten() {
                    trio.submit(command.clone());
                }
                wanted += batch as u64;
                trio.settle();
                assert!(trio.answered() == wanted, "not everything was answered");
            });
        });
    }
    group.finish();
}

/// The same with 4 KiB values in batches of 16, kept in the leader's cache: it shows what copying adds.
fn three_replica_commit_4k(c: &mut Criterion) {
    let commands: Vec<_> = (0..256).map(|number| set_command(&key(number), &bytes(4096))).collect();
    let mut trio = Trio::new(16 << 20);
    let mut rounds = commands.chunks_exact(16).cycle();
    let mut group = c.benchmark_group("consensus/three_replica_commit_4KiB");
    group.throughput(Throughput::Elements(16));
    group.bench_function("of_16", |b| {
        b.iter(|| {
            for command in rounds.next().into_iter().flatten() {
                trio.submit(command.clone());
            }
            trio.settle();
        });
    });
    group.finish();
}

criterion_group!(benches, follower_accept, three_replica_commit, three_replica_commit_4k);
criterion_main!(benches);
