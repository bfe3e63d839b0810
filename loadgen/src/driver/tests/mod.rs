//! The driver against a fake cluster in the same thread: time is a number, the network is two buffers for
//! each link, and one seed determines everything.

mod admission;
mod pace;

use super::*;
use crate::fake::{After, FakeCluster, Faults, ServerEnd};
use crate::options::{Options, Switch};
use crate::random::Random;
use crate::workload::{Kind, Mix, Ycsb};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use synod_types::NodeId;

const MS: u64 = 1_000_000;

struct World {
    driver: Driver,
    cluster: FakeCluster,
    ends: Vec<Option<(u16, ServerEnd)>>,
    /// Answers in flight: arrival time, link, bytes.
    flying: Vec<(u64, usize, Vec<u8>)>,
    down_nodes: Vec<u16>,
    mute_nodes: Vec<u16>,
    random: Random,
    now_ns: u64,
    connects: BTreeMap<usize, u64>,
}

fn options() -> Options {
    Options {
        target: vec!["fake:1".into()],
        rate: Some(2000),
        duration: Duration::from_secs(1),
        warmup: Duration::from_millis(200),
        connections: 6,
        inflight: 8,
        value_size: 64.into(),
        keys: 500,
        timeout: Duration::from_secs(2),
        stall: Duration::from_millis(300),
        ..Options::default()
    }
}

impl World {
    fn new(options: Options, faults: Faults, seed: u64) -> Self {
        let nodes = (1..=3).map(|node| (format!("node{node}"), node)).collect();
        let cluster = FakeCluster::new(nodes, 4, seed);
        let endpoints: Vec<_> = (1..=3)
            .map(|node| {
                let addr = SocketAddr::from(([127, 0, 0, 1], node));
                Endpoint { node: NodeId::new(node), core: None, addr }
            })
            .collect();
        let connections: Vec<_> = (0..options.connections as usize).map(|link| link % 3).collect();
        let ledger = Ledger::new(0..options.keys);
        let links = connections.len();
        let setup = Setup {
            options,
            thread: 0,
            run: 99,
            topology: cluster.topology(),
            endpoints,
            connections,
            with_history: true,
        };
        let now_ns = 1000 * MS;
        let mut world = Self {
            driver: Driver::new(setup, ledger, now_ns),
            cluster,
            ends: (0..links).map(|_| None).collect(),
            flying: Vec::new(),
            down_nodes: Vec::new(),
            mute_nodes: Vec::new(),
            random: Random::new(seed, 5),
            now_ns,
            connects: BTreeMap::new(),
        };
        world.cluster.faults = faults;
        world
    }

    /// Does what the shell does in a turn, with a network that takes up to 2 ms.
    fn step(&mut self) {
        self.now_ns += self.random.below(MS);
        for index in 0..self.ends.len() {
            if !self.driver.is_open(index) {
                self.close(index);
            }
        }
        self.driver.turn(self.now_ns);
        while let Some((link, addr)) = self.driver.next_connect(self.now_ns) {
            *self.connects.entry(link).or_default() += 1;
            let node = addr.port();
            if self.down_nodes.contains(&node) {
                self.driver.on_closed(link, self.now_ns);
            } else {
                self.ends[link] = Some((node, ServerEnd::default()));
                self.driver.on_connected(link, self.now_ns);
            }
        }
        for link in 0..self.ends.len() {
            self.serve(link);
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.flying).into_iter().partition(|(at, ..)| *at <= self.now_ns);
        self.flying = later;
        for (_, link, bytes) in due {
            // In two pieces, so that frames are torn.
            let cut = self.random.below(bytes.len() as u64 + 1) as usize;
            self.driver.on_bytes(link, &bytes[..cut], self.now_ns);
            self.driver.on_bytes(link, &bytes[cut..], self.now_ns);
        }
    }

    fn serve(&mut self, link: usize) {
        let Some((node, end)) = &mut self.ends[link] else { return };
        if self.mute_nodes.contains(node) {
            self.driver.out(link).clear();
            return;
        }
        let sent = std::mem::take(self.driver.out(link));
        let mut out = Vec::new();
        let after = end.feed(&mut self.cluster, *node, &sent, &mut out);
        if after == After::Break || self.down_nodes.contains(node) {
            self.driver.on_closed(link, self.now_ns);
            self.close(link);
        } else if !out.is_empty() {
            // In order on each link: never before an answer that was sent earlier.
            let last = self.flying.iter().filter(|(_, l, _)| *l == link).map(|(at, ..)| *at).max();
            let at = (self.now_ns + self.random.below(2 * MS)).max(last.unwrap_or(0));
            self.flying.push((at, link, out));
            self.flying.sort_by_key(|(at, ..)| *at);
        }
    }

    fn close(&mut self, link: usize) {
        self.ends[link] = None;
        self.flying.retain(|(_, l, _)| *l != link);
    }

    fn perform(&mut self, order: Order) {
        self.perform_with(order, |_| {});
    }

    /// Performs the order; fails if it takes longer than its bounds allow.
    fn perform_with(&mut self, order: Order, mut each_step: impl FnMut(&mut Self)) {
        self.driver.begin(order, self.now_ns);
        let limit_ns = self.now_ns + 60_000 * MS;
        while !self.driver.is_done() {
            assert!(self.now_ns < limit_ns, "{order:?} does not end: {}", self.describe());
            self.step();
            each_step(self);
        }
    }

    fn describe(&self) -> String {
        let Traffic { ops, links, waiting, .. } = &self.driver.traffic;
        let links: Vec<_> =
            links.iter().map(|link| format!("{:?} {}", link.state, link.outstanding)).collect();
        format!("{} open, {} of them load; {waiting:?}; {links:?}", ops.open(), ops.load_open())
    }

    fn open(&mut self) {
        let until_ns = self.now_ns + 5000 * MS;
        self.perform(Order::Open { until_ns });
    }
    fn preload(&mut self) {
        let until_ns = self.now_ns + 20_000 * MS;
        self.perform(Order::Preload { until_ns });
    }
    fn load(&self, mix: Mix, length_ms: u64) -> Order {
        let start_ns = self.now_ns + 5 * MS;
        let measured_ns = start_ns + 200 * MS;
        let Options { closed, rate, .. } = self.driver.options;
        let pace = if closed {
            Pace::Closed
        } else {
            Pace::Open { rate_per_s: rate.expect("these tests name their rate") }
        };
        Order::Load { mix, pace, start_ns, measured_ns, end_ns: measured_ns + length_ms * MS }
    }
    fn audit(&mut self) {
        // The audit runs without faults, as on a cluster that has recovered.
        self.cluster.faults = Faults::default();
        let until_ns = self.now_ns + 10_000 * MS;
        self.perform(Order::Audit { until_ns });
    }
    fn run(options: Options, faults: Faults, seed: u64, mix: Mix) -> (Tally, Ledger) {
        let mut world = Self::new(options, Faults::default(), seed);
        world.open();
        assert_eq!(world.driver.failure(), None);
        world.preload();
        world.cluster.faults = faults;
        let order = world.load(mix, 1000);
        world.perform(order);
        world.audit();
        world.driver.finish()
    }
}

fn assert_sums(tally: &Tally) {
    for kind in &tally.measured {
        let ends = kind.achieved + kind.errors + kind.unknown + kind.verify_failures;
        assert_eq!(kind.offered, ends, "every operation ends once");
        assert_eq!(kind.achieved, kind.latencies.count());
    }
}

fn trouble() -> Faults {
    Faults {
        break_connection: 4,
        no_leader: 10,
        busy: 5,
        unknown: 10,
        execute_late: 500,
        forget_sessions: 1,
        swallow: 1,
        ..Faults::default()
    }
}

#[test]
fn a_sound_cluster_is_found_sound_and_every_planned_request_is_made() {
    let (tally, ledger) = World::run(options(), Faults::default(), 1, Mix::ReadShare(0.5));
    assert_sums(&tally);
    let offered: u64 = tally.measured.iter().map(|kind| kind.offered).sum();
    assert_eq!(offered, 2000, "2000 per second for a second");
    let achieved: u64 = tally.measured.iter().map(|kind| kind.achieved).sum();
    assert_eq!(achieved, 2000);
    let in_time: u64 = tally.measured.iter().map(|kind| kind.achieved_in_time).sum();
    assert!((1990..=2010).contains(&in_time), "{in_time}");
    assert_eq!(tally.measured_ns, [1000 * MS, 1000 * MS, 0, 0]);
    assert_eq!(tally.verify_failures, 0, "{:?}", tally.findings);
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
    assert_eq!(tally.error_kinds, BTreeMap::new());
    assert_eq!((tally.retries, tally.reconnects, tally.replies_late), (0, 0, 0));
    assert!(ledger.acked() > 1000);
    assert!(tally.own_late.count() == 2000 && tally.own_late.max_us() <= 1000, "{}", tally.own_late.max_us());
    assert!(tally.late.max_us() <= 1000, "sent within a step of their time: {}", tally.late.max_us());
}

#[test]
fn trouble_is_counted_and_is_no_violation() {
    for seed in 0..40 {
        for sessions in [Switch::On, Switch::Off] {
            let told = Options { sessions, ..options() };
            let (tally, ledger) = World::run(told, trouble(), seed, Mix::ReadShare(0.5));
            assert_sums(&tally);
            assert_eq!(tally.verify_failures, 0, "seed {seed} {sessions:?}: {:?}", tally.findings);
            let expected = AuditTally { keys: 500, ..AuditTally::default() };
            assert_eq!(tally.audit, expected, "seed {seed} {sessions:?}: {:?}", tally.findings);
            assert!(tally.retries > 0 && tally.reconnects > 0);
            assert!(tally.error_kinds.contains_key("connection lost"));
            if sessions == Switch::Off {
                assert!(ledger.unknown() > 0, "without sessions a lost connection leaves writes unknown");
            }
        }
    }
}

#[test]
fn with_sessions_lost_connections_leave_nothing_unknown() {
    let faults = Faults { break_connection: 10, unknown: 20, no_leader: 20, ..Faults::default() };
    let (tally, ledger) = World::run(options(), faults, 3, Mix::Only(Kind::Write));
    assert_sums(&tally);
    assert_eq!((ledger.unknown(), tally.measured[0].unknown, tally.measured[0].errors), (0, 0, 0));
    assert_eq!(tally.measured[0].achieved, 2000);
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}

#[test]
fn much_trouble_on_few_keys_is_no_violation() {
    // Few keys, so that a doubtful write is read before it is settled, and sessions are forgotten meanwhile.
    let faults = Faults {
        break_connection: 30,
        no_leader: 30,
        busy: 30,
        malformed: 30,
        unknown: 30,
        execute_late: 500,
        forget_sessions: 30,
        ..Faults::default()
    };
    for seed in 0..20 {
        for sessions in [Switch::On, Switch::Off] {
            let told = Options { sessions, keys: 10, ..options() };
            let (tally, ledger) = World::run(told, faults, seed, Mix::ReadShare(0.6));
            assert_sums(&tally);
            assert_eq!(tally.verify_failures, 0, "seed {seed} {sessions:?}: {:?}", tally.findings);
            assert_eq!(tally.audit, AuditTally { keys: 10, ..AuditTally::default() }, "{:?}", tally.findings);
            assert!(ledger.unknown() > 0, "a forgotten session leaves doubtful writes unknown");
        }
    }
}

#[test]
fn a_busy_cluster_does_not_leave_doubtful_writes_unknown() {
    let faults = Faults { break_connection: 20, busy: 100, ..Faults::default() };
    let (tally, ledger) = World::run(options(), faults, 4, Mix::Only(Kind::Write));
    assert_sums(&tally);
    assert!(tally.measured[0].errors > 0, "a first answer of busy is shown, not retried away");
    assert_eq!(ledger.unknown(), 0);
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}

/// Runs with faults that a correct cluster does not have; they must be found.
fn found(faults: Faults, mix: Mix) -> (Tally, Ledger) {
    let (tally, ledger) = World::run(options(), faults, 7, mix);
    assert_sums(&tally);
    (tally, ledger)
}

#[test]
fn a_lost_write_is_found_by_the_audit() {
    let faults = Faults { lose_write: 10, ..Faults::default() };
    let (tally, _) = found(faults, Mix::Only(Kind::Write));
    assert!(tally.audit.stale > 0, "{:?}", tally.audit);
    assert!(tally.findings.iter().any(|finding| finding.contains("overwritten before")));
}

#[test]
fn a_wiped_cluster_is_found_by_the_audit() {
    let mut world = World::new(options(), Faults::default(), 7);
    world.open();
    world.preload();
    world.cluster.wipe();
    world.audit();
    let (tally, ledger) = world.driver.finish();
    assert_eq!(ledger.acked(), 500);
    assert_eq!(tally.audit, AuditTally { keys: 500, absent: 500, ..AuditTally::default() });
}

#[test]
fn an_audit_that_cannot_read_says_so() {
    let mut world = World::new(options(), Faults::default(), 7);
    world.open();
    world.preload();
    world.down_nodes = vec![1, 2, 3];
    world.audit();
    let (tally, _) = world.driver.finish();
    assert_eq!(tally.audit, AuditTally { keys: 500, unread: 500, ..AuditTally::default() });
}

#[test]
fn wrong_answers_are_found_by_the_reads_themselves() {
    let reads = Mix::ReadShare(0.5);
    let one = |change: fn(&mut Faults)| {
        let mut faults = Faults::default();
        change(&mut faults);
        faults
    };
    let cases: [(&str, Faults, &str); 7] = [
        ("stale", one(|f| f.stale_read = 20), "overwritten before"),
        ("corrupt", one(|f| f.corrupt_read = 20), "holds a value"),
        ("wrong key", one(|f| f.wrong_key = 20), "written to key"),
        ("absent", one(|f| f.absent_read = 20), "is absent"),
        ("twice", one(|f| (f.break_connection, f.execute_twice) = (20, 1000)), "executed twice"),
        ("busy", one(|f| f.lie_busy = 50), "certainly not executed"),
        ("absurd", one(|f| f.absurd = 20), "wrong kind"),
    ];
    for (name, faults, finding) in cases {
        let (tally, _) = found(faults, reads);
        assert!(tally.verify_failures > 0, "{name} was not found");
        assert!(tally.findings.iter().any(|found| found.contains(finding)), "{name}: {:?}", tally.findings);
    }
}

#[test]
fn writes_follow_their_leader() {
    let mut world = World::new(options(), Faults::default(), 9);
    world.open();
    world.preload();
    let before = world.cluster.forwarded;
    assert_eq!(before, 0, "everything goes straight to its leader");
    world.cluster.move_leaders();
    let order = world.load(Mix::Only(Kind::Write), 3000);
    let mut after_a_second = None;
    let start_ns = world.now_ns;
    world.perform_with(order, |world| {
        if world.now_ns > start_ns + 1500 * MS {
            after_a_second.get_or_insert(world.cluster.forwarded);
        }
    });
    assert!(world.cluster.forwarded > 0);
    assert_eq!(
        after_a_second,
        Some(world.cluster.forwarded),
        "the new leaders are known within a second or so"
    );
}

#[test]
fn a_dead_node_delays_its_groups_only_until_others_lead_them() {
    let mut world = World::new(options(), Faults::default(), 11);
    world.open();
    world.preload();
    let order = world.load(Mix::Only(Kind::Write), 2000);
    let kill_ns = world.now_ns + 700 * MS;
    world.perform_with(order, |world| {
        if world.now_ns > kill_ns && world.down_nodes.is_empty() {
            world.down_nodes = vec![2];
            let targets = world.cluster.leaders.iter_mut().filter(|leader| **leader == 2);
            targets.for_each(|leader| *leader = 3);
        }
    });
    world.audit();
    let (tally, ledger) = world.driver.finish();
    assert_sums(&tally);
    assert_eq!((tally.measured[0].achieved, ledger.unknown()), (4000, 0));
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}

#[test]
fn a_frozen_node_is_given_up_and_not_trusted_until_it_answers() {
    let mut world = World::new(options(), Faults::default(), 12);
    world.open();
    world.preload();
    let order = world.load(Mix::Only(Kind::Write), 4000);
    let freeze_ns = world.now_ns + 700 * MS;
    world.perform_with(order, |world| {
        if world.now_ns > freeze_ns && world.mute_nodes.is_empty() {
            world.mute_nodes = vec![2];
            let targets = world.cluster.leaders.iter_mut().filter(|leader| **leader == 2);
            targets.for_each(|leader| *leader = 3);
        }
    });
    let connects = world.connects.values().sum::<u64>();
    assert!((8..200).contains(&connects), "tried again, with pauses: {connects}");
    world.audit();
    let (tally, ledger) = world.driver.finish();
    assert_sums(&tally);
    assert!(tally.error_kinds.contains_key("connection silent"));
    assert_eq!((tally.measured[0].achieved, ledger.unknown()), (8000, 0), "{:?}", tally.error_kinds);
    assert!(tally.measured[0].latencies.max_us() < 1_000_000, "one stall and a bit");
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}

#[test]
fn with_no_cluster_left_the_load_still_ends_and_the_ledger_is_truthful() {
    let mut world = World::new(options(), Faults::default(), 13);
    world.open();
    world.preload();
    let order = world.load(Mix::Only(Kind::Write), 1000);
    let kill_ns = world.now_ns + 400 * MS;
    world.perform_with(order, |world| {
        if world.now_ns > kill_ns {
            world.down_nodes = vec![1, 2, 3];
        }
    });
    world.down_nodes.clear();
    world.audit();
    let (tally, ledger) = world.driver.finish();
    assert_sums(&tally);
    let writes = &tally.measured[0];
    assert!(writes.achieved > 0 && writes.errors > 0, "{writes:?}");
    assert_eq!(writes.offered, 2000);
    assert!(ledger.unknown() < 20, "only what was outstanding is unknown; what never left is not");
    assert_eq!(tally.audit, AuditTally { keys: 500, ..AuditTally::default() });
}
