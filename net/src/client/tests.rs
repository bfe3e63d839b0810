//! The client core in a small simulated world that loses, delays, refuses and forgets; and the blocking
//! client over real sockets. The invariant is the product's: an operation reported as "not executed" was
//! never executed, and no operation is executed twice.

use super::*;
use crate::access::{Access, Secret};
use crate::binary::{FailureCode, Topology, TopologyGroup, TopologyNode};
use crate::server::tests::{Toy, connect, connect_as, server};
use crate::server::{Ask, Connection, LocalAnswer, LocalQuery, ServerConfig, Service};
use proptest::prelude::*;
use std::collections::BTreeMap;
use synod_types::{
    Command, Consistency, CoreId, ErrorKind, GroupId, Nanos, NodeId, Op, Reply, SessionId, Shared, bucket_of,
    group_of,
};

const GROUPS: u16 = 4;

fn address(node: u16) -> Address {
    Address { host: format!("node{node}"), port: 6379 }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
    fn one_in(&mut self, rate: u64) -> bool {
        rate != 0 && self.below(rate) == 0
    }
}

/// The replicated state of the simulated cluster: values and sessions per group.
#[derive(Default)]
struct Cluster {
    toy: Toy,
    sessions: BTreeMap<(GroupId, SessionId), Remembered>,
    next_session: u64,
    leaders: BTreeMap<GroupId, u16>,
    epoch: u64,
    /// No group can open a session: there is no quorum.
    has_no_quorum: bool,
}

#[derive(Default)]
struct Remembered {
    replies: BTreeMap<u64, Reply<Vec<u8>>>,
    lowest_open: u64,
}

impl Cluster {
    fn execute(&mut self, group: GroupId, command: &Command<Shared>) -> Reply<Vec<u8>> {
        if matches!(command.op, Op::OpenSession) && self.has_no_quorum {
            return Reply::Error(ErrorKind::NoLeader);
        }
        if matches!(command.op, Op::OpenSession) {
            self.next_session += 1;
            let id = SessionId::new(self.next_session);
            self.sessions.insert((group, id), Remembered::default());
            return Reply::Session(id);
        }
        let stamp = command.stamp;
        if !command.op.is_write() || stamp.session == SessionId::NONE {
            return self.toy.execute(command);
        }
        let Some(session) = self.sessions.get_mut(&(group, stamp.session)) else {
            return Reply::Error(ErrorKind::SessionExpired);
        };
        session.lowest_open = session.lowest_open.max(stamp.lowest_open);
        let lowest_open = session.lowest_open;
        session.replies.retain(|number, _| *number >= lowest_open);
        if stamp.sequence < lowest_open {
            return Reply::Error(ErrorKind::SequenceClosed);
        }
        if let Some(reply) = session.replies.get(&stamp.sequence) {
            return reply.clone();
        }
        let reply = self.toy.execute(command);
        session.replies.insert(stamp.sequence, reply.clone());
        reply
    }

    fn topology(&self) -> Topology {
        let node = |node| TopologyNode {
            node: NodeId::new(node),
            host: format!("node{node}"),
            port: 6379,
            core_port_base: 0,
            core_count: 1,
        };
        let group = |group| TopologyGroup {
            group: GroupId::new(group),
            leader: self.leaders.get(&GroupId::new(group)).map(|node| NodeId::new(*node)),
            core: CoreId::new(0),
        };
        Topology {
            group_count: GROUPS,
            epoch: self.epoch,
            nodes: (1..=3).map(node).collect(),
            groups: (1..=GROUPS).map(group).collect(),
            ..Topology::default()
        }
    }
}

/// How often (once in this many times) each fault happens; 0 for never.
#[derive(Clone, Copy, Debug)]
struct Faults {
    refuse_connect: u64,
    break_link: u64,
    turn_away: u64,
    lose_before: u64,
    lose_after: u64,
    evict: u64,
    move_leader: u64,
    hang: u64,
}

struct Wire {
    connection: Connection,
    to_server: Vec<u8>,
    hangs: bool,
}

struct World {
    cluster: Cluster,
    wires: BTreeMap<Address, Wire>,
    random: Random,
    faults: Faults,
    /// These nodes take the client for one of another machine, and have no password.
    protected: Vec<Address>,
    /// These nodes replay their logs.
    loading: Vec<Address>,
    connects: u64,
}

impl World {
    fn answer(&mut self, ask: Ask, from: &Address) {
        let Some(wire) = self.wires.get_mut(from) else { return };
        match ask {
            Ask::Command { tag, group, command, .. } => {
                let group = group.unwrap_or_else(|| group_of(bucket_of(command.key.as_ref()), GROUPS));
                if self.random.one_in(self.faults.evict) {
                    self.cluster.sessions.clear();
                }
                let faults = self.faults;
                if self.random.one_in(faults.turn_away) {
                    let kinds = [ErrorKind::NoLeader, ErrorKind::Busy];
                    let kind = kinds[self.random.below(2) as usize];
                    wire.connection.reply(tag, Reply::Error(kind));
                } else if self.random.one_in(faults.lose_before) {
                    wire.connection.reply(tag, Reply::Error(ErrorKind::Unknown));
                } else {
                    let reply = self.cluster.execute(group, &command);
                    if self.random.one_in(faults.lose_after) {
                        wire.connection.reply(tag, Reply::Error(ErrorKind::Unknown));
                    } else {
                        wire.connection.reply(tag, reply.borrow());
                    }
                }
            }
            Ask::Local { tag, query: LocalQuery::Topology } => {
                wire.connection.answer(tag, LocalAnswer::Topology(self.cluster.topology()));
            }
            Ask::Local { tag, .. } => {
                wire.connection.answer(tag, LocalAnswer::Unavailable("not here".into()))
            }
            Ask::Close | Ask::Pause => {}
        }
    }

    /// One millisecond: some bytes move, some faults happen.
    fn step(&mut self, now: Nanos, core: &mut ClientCore) {
        if self.random.one_in(self.faults.move_leader) {
            let group = GroupId::new(self.random.below(u64::from(GROUPS)) as u16 + 1);
            self.cluster.leaders.insert(group, self.random.below(3) as u16 + 1);
            self.cluster.epoch += 1;
        }
        let ends: Vec<Address> = self.wires.keys().cloned().collect();
        for end in ends {
            let Some(wire) = self.wires.get_mut(&end) else { continue };
            if self.random.one_in(self.faults.break_link) {
                self.wires.remove(&end);
                core.disconnected(now, &end);
                continue;
            }
            wire.hangs |= self.random.one_in(self.faults.hang);
            let count = self.random.below(wire.to_server.len() as u64 + 1) as usize;
            let bytes: Vec<u8> = wire.to_server.drain(..count).collect();
            wire.connection.received(&bytes);
            while let Some(ask) = self.wires.get_mut(&end).and_then(|wire| wire.connection.next()) {
                self.answer(ask, &end);
            }
            let Some(wire) = self.wires.get_mut(&end) else { continue };
            if wire.hangs {
                wire.connection.out().clear(); // executed, but the replies are lost
                continue;
            }
            let count = self.random.below(wire.connection.out().len() as u64 + 1) as usize;
            let bytes: Vec<u8> = wire.connection.out().drain(..count).collect();
            core.received(now, &end, &bytes);
        }
        core.tick(now);
    }

    /// Carries out the core's actions. Returns the operations that have ended.
    fn act(&mut self, now: Nanos, core: &mut ClientCore) -> Vec<(u64, Result<Outcome, ClientError>)> {
        let mut ended = Vec::new();
        while let Some(action) = core.action() {
            match action {
                ClientAction::Connect(to) => {
                    assert!(!self.wires.contains_key(&to), "connected twice");
                    if self.random.one_in(self.faults.refuse_connect) {
                        core.disconnected(now, &to);
                        continue;
                    }
                    self.connects += 1;
                    let connection = if self.protected.contains(&to) {
                        crate::server::tests::strangers::far(Access::default())
                    } else if self.loading.contains(&to) {
                        connect_as(Service::Loading, server())
                    } else {
                        connect(server())
                    };
                    self.wires.insert(to.clone(), Wire { connection, to_server: Vec::new(), hangs: false });
                    core.connected(now, &to);
                }
                ClientAction::Send { to, bytes } => {
                    if let Some(wire) = self.wires.get_mut(&to) {
                        wire.to_server.extend(bytes);
                    }
                }
                ClientAction::Disconnect(to) => {
                    // Bytes that were sent may still arrive.
                    if let Some(mut wire) = self.wires.remove(&to) {
                        let bytes = core::mem::take(&mut wire.to_server);
                        wire.connection.received(&bytes);
                        self.wires.insert(to.clone(), wire);
                        while let Some(ask) = self.wires.get_mut(&to).and_then(|wire| wire.connection.next())
                        {
                            self.answer(ask, &to);
                        }
                        self.wires.remove(&to);
                    }
                }
                ClientAction::Done { operation, result } => ended.push((operation, result)),
            }
        }
        ended
    }
}

fn world(seed: u64, faults: Faults) -> World {
    let mut cluster = Cluster::default();
    for group in 1..=GROUPS {
        cluster.leaders.insert(GroupId::new(group), group % 3 + 1);
    }
    World {
        cluster,
        wires: BTreeMap::new(),
        random: Random(seed),
        faults,
        protected: Vec::new(),
        loading: Vec::new(),
        connects: 0,
    }
}

const CALM: Faults = Faults {
    refuse_connect: 0,
    break_link: 0,
    turn_away: 0,
    lose_before: 0,
    lose_after: 0,
    evict: 0,
    move_leader: 0,
    hang: 0,
};

/// Each operation increments a key of its own: if it were executed twice, the key would show 2.
fn run(
    seed: u64,
    faults: Faults,
    config: ClientConfig,
    count: u64,
) -> Result<Vec<Result<(), ClientError>>, TestCaseError> {
    let mut world = world(seed, faults);
    let deadline_ms = config.deadline.as_ms();
    let mut core = ClientCore::new(config, vec![address(1), address(2)]);
    let mut names = BTreeMap::new();
    let mut results = BTreeMap::new();
    let mut ms = 0;
    while results.len() < count as usize {
        let now = Nanos::from_ms(ms);
        if (names.len() as u64) < count && ms % 2 == 0 {
            let key = format!("key{}", names.len()).into_bytes();
            let command = Command::plain(key.clone(), Op::IncrementBy(1));
            let id = core.command(now, Consistency::Linearizable, command);
            names.insert(id, key);
        }
        world.step(now, &mut core);
        for (id, result) in world.act(now, &mut core) {
            prop_assert!(results.insert(id, result).is_none(), "ended twice");
        }
        if results.len() < names.len() {
            prop_assert!(core.wakeup(now).is_some(), "something is open and nothing would wake the core");
        }
        ms += 1;
        prop_assert!(ms < 2 * count + deadline_ms + 100, "an operation outlived its deadline");
    }
    // The bytes still in flight arrive now.
    let ends: Vec<Address> = world.wires.keys().cloned().collect();
    for end in ends {
        let Some(wire) = world.wires.get_mut(&end) else { continue };
        let bytes = core::mem::take(&mut wire.to_server);
        wire.connection.received(&bytes);
        while let Some(ask) = world.wires.get_mut(&end).and_then(|wire| wire.connection.next()) {
            world.answer(ask, &end);
        }
    }
    let mut list = Vec::new();
    for (id, result) in results {
        let executed = world.cluster.toy.values.get(&names[&id]).map_or(&b"0"[..], |value| value);
        match &result {
            Ok(Outcome::Reply(Reply::Int(1))) => prop_assert_eq!(executed, b"1"),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(ClientError::Unknown) => prop_assert!(executed == b"0" || executed == b"1", "executed twice"),
            Err(ClientError::NotExecuted(_) | ClientError::Unreachable) => prop_assert_eq!(executed, b"0"),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
        list.push(result.map(drop));
    }
    Ok(list)
}

fn faults() -> impl Strategy<Value = Faults> {
    let rate = || prop_oneof![2 => Just(0_u64), 1 => 2_u64..6, 2 => 6_u64..80];
    (rate(), rate(), rate(), rate(), rate(), rate(), rate(), rate()).prop_map(
        |(refuse_connect, break_link, turn_away, lose_before, lose_after, evict, move_leader, hang)| Faults {
            refuse_connect,
            break_link: break_link * 4,
            turn_away,
            lose_before,
            lose_after,
            evict: evict * 4,
            move_leader,
            hang: hang * 20,
        },
    )
}

fn quick() -> ClientConfig {
    ClientConfig {
        deadline: Nanos::from_ms(400),
        attempt_timeout: Nanos::from_ms(60),
        pause: Nanos::from_ms(1),
        pause_max: Nanos::from_ms(20),
        topology_refresh: Nanos::from_ms(50),
        ..ClientConfig::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nothing_is_executed_twice_and_not_executed_means_it(
        seed in any::<u64>(), faults in faults(), sessions in any::<bool>(), routing in any::<bool>(),
        deadline in prop::sample::select(vec![20, 60, 400]), attempt in prop::sample::select(vec![10, 60, 1000]),
    ) {
        let (deadline, attempt_timeout) = (Nanos::from_ms(deadline), Nanos::from_ms(attempt));
        run(seed, faults, ClientConfig { sessions, routing, deadline, attempt_timeout, ..quick() }, 40)?;
    }

    #[test]
    fn random_bytes_from_a_server_do_no_harm(
        seed in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 1..100),
    ) {
        let mut world = world(seed, CALM);
        let mut core = ClientCore::new(quick(), vec![address(1)]);
        core.command(Nanos::ZERO, Consistency::Linearizable, Command::plain(b"k".to_vec(), Op::Delete));
        let mut ended = 0;
        for ms in 0..600 {
            let now = Nanos::from_ms(ms);
            if ms % 7 == 0 {
                core.received(now, &address(1), &bytes);
            }
            ended += world.act(now, &mut core).len();
            core.tick(now);
        }
        prop_assert_eq!(ended, 1);
    }
}

#[test]
fn without_faults_everything_is_done_and_goes_to_the_leaders() {
    for sessions in [true, false] {
        let config = ClientConfig { sessions, ..quick() };
        let results = run(1, CALM, config, 40).expect("invariants hold");
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    }
    let mut world = world(1, CALM);
    let mut core = ClientCore::new(quick(), vec![address(2)]);
    for key in 0..20 {
        let key = format!("key{key}").into_bytes();
        core.command(Nanos::ZERO, Consistency::Linearizable, Command::plain(key, Op::Get));
    }
    let mut to_leader = 0;
    for ms in 0..20 {
        world.step(Nanos::from_ms(ms), &mut core);
        while let Some(action) = core.action() {
            match action {
                ClientAction::Connect(to) => {
                    let connection = connect(server());
                    world.wires.insert(to.clone(), Wire { connection, to_server: Vec::new(), hangs: false });
                    core.connected(Nanos::from_ms(ms), &to);
                }
                ClientAction::Send { to, bytes } => {
                    let mut rest = bytes.as_slice();
                    rest = rest.strip_prefix(&crate::binary::PREAMBLE[..]).unwrap_or(rest);
                    if !rest.is_empty()
                        && let Ok((_, decoded)) = crate::binary::decode_request(rest)
                        && let crate::binary::Decoded::Request(crate::binary::Request::Command {
                            command,
                            ..
                        }) = decoded
                    {
                        let leader = world.cluster.leaders[&group_of(bucket_of(command.key), GROUPS)];
                        assert_eq!(to, address(leader));
                        to_leader += 1;
                    }
                    world.wires.get_mut(&to).expect("connected").to_server.extend(bytes);
                }
                ClientAction::Disconnect(_) => panic!("no reason to"),
                ClientAction::Done { .. } => {}
            }
        }
    }
    assert_eq!(to_leader, 20);
}

#[test]
fn sessions_make_most_lost_answers_harmless() {
    let faults = Faults { lose_after: 3, ..CALM };
    let config = quick();
    let with = run(5, faults, config.clone(), 60).expect("invariants hold");
    assert!(with.iter().all(Result::is_ok), "{with:?}");
    let without = run(5, faults, ClientConfig { sessions: false, ..config }, 60).expect("invariants hold");
    assert!(without.contains(&Err(ClientError::Unknown)));
}

/// The result that a client gets for a write that was executed, whose answer was lost, and that is sent again
/// after `change`.
fn told_after_a_lost_answer(change: impl FnOnce(&mut Cluster)) -> Result<Outcome, ClientError> {
    let mut core = ClientCore::new(quick(), vec![address(1)]);
    let mut calm = world(1, CALM);
    let now = Nanos::from_ms;
    let id =
        core.command(now(0), Consistency::Linearizable, Command::plain(b"k".to_vec(), Op::IncrementBy(1)));
    // Up to the moment when the command itself is on the wire.
    let mut ms = 0;
    while !core.waits_for_operation(id) {
        calm.step(now(ms), &mut core);
        assert!(calm.act(now(ms), &mut core).is_empty());
        ms += 1;
        assert!(ms < 100);
    }
    calm.faults = Faults { lose_after: 1, ..CALM };
    while calm.cluster.toy.values.is_empty() {
        calm.step(now(ms), &mut core);
        assert!(calm.act(now(ms), &mut core).is_empty());
        ms += 1;
        assert!(ms < 200);
    }
    calm.faults = CALM;
    change(&mut calm.cluster);
    let mut ended = Vec::new();
    while ended.is_empty() {
        calm.step(now(ms), &mut core);
        ended = calm.act(now(ms), &mut core);
        ms += 1;
        assert!(ms < 600);
    }
    assert_eq!(calm.cluster.toy.values[&b"k"[..]], b"1");
    assert_eq!((ended.len(), ended[0].0), (1, id));
    ended.remove(0).1
}

#[test]
fn a_session_evicted_after_a_lost_answer_is_not_simply_replaced() {
    let told = told_after_a_lost_answer(|cluster| cluster.sessions.clear());
    assert_eq!(told, Err(ClientError::Unknown));
}

/// Servers give these answers before they look at the session; a server of another version may have executed
/// the write.
#[test]
fn a_refusal_at_the_border_after_a_lost_answer_says_nothing_about_the_first_attempt() {
    for kind in [ErrorKind::Malformed, ErrorKind::BadExpiry] {
        let told = told_after_a_lost_answer(|cluster| {
            let remembered = cluster.sessions.values_mut().flat_map(|session| session.replies.values_mut());
            remembered.for_each(|reply| *reply = Reply::Error(kind));
        });
        assert_eq!(told, Err(ClientError::Unknown), "{kind:?}");
    }
}

/// The leader turns this machine away: the node that the caller gave forwards the command, and no outcome
/// becomes unknown.
#[test]
fn a_leader_that_turns_this_machine_away_is_passed_over() {
    for sessions in [true, false] {
        let mut core = ClientCore::new(ClientConfig { sessions, ..quick() }, vec![address(1)]);
        let mut calm = world(1, CALM);
        calm.protected = vec![address(2), address(3)];
        let mut ms = 0;
        for (number, op) in [(1_u64, Op::IncrementBy(1)), (1, Op::Get), (2, Op::IncrementBy(1))] {
            for key in [&b"a"[..], b"b", b"c", b"d", b"e"] {
                let command = Command::plain(key.to_vec(), op);
                let id = core.command(Nanos::from_ms(ms), Consistency::Linearizable, command);
                let mut ended = calm.act(Nanos::from_ms(ms), &mut core);
                while ended.is_empty() {
                    calm.step(Nanos::from_ms(ms), &mut core);
                    ended = calm.act(Nanos::from_ms(ms), &mut core);
                    ms += 1;
                }
                let (done, result) = ended.remove(0);
                assert_eq!(done, id);
                assert!(matches!(result, Ok(Outcome::Reply(_))), "{key:?}: {result:?}");
                assert_eq!(calm.cluster.toy.values[key], number.to_string().as_bytes());
            }
        }
        // Each is tried once in a while.
        let most = 1 + 2 * (1 + ms / 50);
        assert!(calm.connects <= most, "{} connections in {ms} ms", calm.connects);
    }
}

/// Gives the client a command and lets the world run from `ms` on until it has ended.
fn outcome(
    world: &mut World,
    core: &mut ClientCore,
    ms: &mut u64,
    command: Command<Vec<u8>>,
) -> Result<Outcome, ClientError> {
    core.command(Nanos::from_ms(*ms), Consistency::Linearizable, command);
    let mut ended = world.act(Nanos::from_ms(*ms), core);
    while ended.is_empty() {
        world.step(Nanos::from_ms(*ms), core);
        ended = world.act(Nanos::from_ms(*ms), core);
        *ms += 1;
        assert!(*ms < 10_000, "an operation never ends");
    }
    ended.remove(0).1
}

fn increment() -> Command<Vec<u8>> {
    Command::plain(b"k".to_vec(), Op::IncrementBy(1))
}

/// Every way to use a client.
fn ways() -> impl Iterator<Item = ClientConfig> {
    let modes = [(true, true), (true, false), (false, true), (false, false)];
    modes.into_iter().map(|(sessions, routing)| ClientConfig { sessions, routing, ..quick() })
}

/// All groups are led by one node.
fn lead(cluster: &mut Cluster, node: u16) {
    cluster.leaders.values_mut().for_each(|leader| *leader = node);
    cluster.epoch += 1;
}

/// A node that replays its log answers every request, but serves none. The next address does.
#[test]
fn a_node_that_replays_its_log_is_passed_over() {
    for config in ways() {
        let shown = format!("sessions {}, routing {}", config.sessions, config.routing);
        // A client that comes while the node loads.
        let mut calm = world(1, CALM);
        lead(&mut calm.cluster, 2);
        calm.loading = vec![address(1)];
        let mut core = ClientCore::new(config.clone(), vec![address(1), address(2)]);
        let mut ms = 0;
        let result = outcome(&mut calm, &mut core, &mut ms, increment());
        assert!(matches!(result, Ok(Outcome::Reply(Reply::Int(1)))), "{shown}: {result:?}");

        // A client that has known the node as the leader, and was idle while it was restarted.
        let mut calm = world(1, CALM);
        lead(&mut calm.cluster, 1);
        let mut core = ClientCore::new(config, vec![address(1), address(2)]);
        let mut ms = 0;
        let result = outcome(&mut calm, &mut core, &mut ms, increment());
        assert!(matches!(result, Ok(Outcome::Reply(Reply::Int(1)))), "{shown}: {result:?}");
        lead(&mut calm.cluster, 2);
        calm.loading = vec![address(1)];
        calm.wires.remove(&address(1));
        core.disconnected(Nanos::from_ms(ms), &address(1));
        ms += 100;
        let result = outcome(&mut calm, &mut core, &mut ms, increment());
        assert!(matches!(result, Ok(Outcome::Reply(Reply::Int(2)))), "{shown}: {result:?}");
    }
}

/// There is no other node: the client asks again, ever more seldom, until this one serves.
#[test]
fn a_single_node_that_replays_its_log_is_waited_for() {
    for config in ways() {
        let shown = format!("sessions {}, routing {}", config.sessions, config.routing);
        let mut core = ClientCore::new(config, vec![address(1)]);
        let mut calm = world(1, CALM);
        lead(&mut calm.cluster, 1);
        calm.loading = vec![address(1)];
        core.command(Nanos::ZERO, Consistency::Linearizable, increment());
        let mut ended = Vec::new();
        for ms in 0..399 {
            if ms == 200 {
                assert!(calm.connects <= 40, "{shown}: {} connections", calm.connects);
                assert!(ended.is_empty(), "{shown}: {ended:?}");
                calm.loading.clear();
            }
            ended.extend(calm.act(Nanos::from_ms(ms), &mut core));
            calm.step(Nanos::from_ms(ms), &mut core);
        }
        assert!(matches!(&ended[..], [(_, Ok(Outcome::Reply(Reply::Int(1))))]), "{shown}: {ended:?}");
    }
}

#[test]
fn a_node_without_a_place_is_tried_ever_more_seldom() {
    let mut core = ClientCore::new(ClientConfig::default(), vec![address(1)]);
    let mut refusal = Vec::new();
    crate::binary::encode_failure(&mut refusal, 0, FailureCode::Unavailable, "full");
    core.command(Nanos::ZERO, Consistency::Linearizable, increment());
    let mut connects = 0;
    for ms in 0..5_000 {
        let now = Nanos::from_ms(ms);
        core.tick(now);
        while let Some(action) = core.action() {
            if let ClientAction::Connect(to) = action {
                connects += 1;
                core.connected(now, &to);
                core.received(now, &to, &refusal);
            }
        }
    }
    // The pauses are 5 ms, 10 ms and so on up to 500 ms.
    assert!((10..=20).contains(&connects), "{connects} connections");
}

#[test]
fn a_deadline_that_meets_an_attempt_under_way_leaves_the_outcome_unknown() {
    for sessions in [true, false] {
        let config = ClientConfig { sessions, attempt_timeout: Nanos::from_ms(5_000), ..quick() };
        let mut core = ClientCore::new(config, vec![address(1)]);
        let mut calm = world(1, CALM);
        let command = Command::plain(b"k".to_vec(), Op::IncrementBy(1));
        let id = core.command(Nanos::ZERO, Consistency::Linearizable, command);
        let mut ms = 0;
        let mut ended = Vec::new();
        while ended.is_empty() {
            if core.waits_for_operation(id) {
                core.tick(Nanos::from_ms(ms)); // the network stands still from here on
            } else {
                calm.step(Nanos::from_ms(ms), &mut core);
            }
            ended = calm.act(Nanos::from_ms(ms), &mut core);
            ms += 1;
        }
        assert_eq!(ended, [(id, Err(ClientError::Unknown))]);
    }
}

#[test]
fn what_is_over_a_limit_is_not_even_sent() {
    let mut core = ClientCore::new(quick(), vec![address(1)]);
    let long = vec![0; synod_types::limits::KEY_BYTES_MAX + 1];
    for key in [Vec::new(), long] {
        let operation = core.command(Nanos::ZERO, Consistency::Linearizable, Command::plain(key, Op::Get));
        assert_eq!(
            core.action(),
            Some(ClientAction::Done { operation, result: Err(ClientError::OverLimit) })
        );
        assert_eq!(core.action(), None);
    }
}

#[test]
fn a_node_that_is_not_there_is_unreachable_and_nothing_was_executed() {
    let results = run(3, Faults { refuse_connect: 1, ..CALM }, quick(), 3).expect("invariants hold");
    assert!(results.iter().all(|result| *result == Err(ClientError::Unreachable)), "{results:?}");
    // Attempts run out before the deadline: none is in flight when the operation ends.
    let config = ClientConfig { sessions: false, attempts_max: 5, ..quick() };
    let results = run(3, Faults { turn_away: 1, ..CALM }, config, 3).expect("invariants hold");
    assert!(results.iter().all(|result| matches!(result, Err(ClientError::NotExecuted(_)))), "{results:?}");
}

mod over_sockets {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use synod_types::{Condition, Expiry};

    /// A one-node server: a thread per connection around `Connection`, until the client leaves.
    fn serve(password: Option<&'static [u8]>) -> String {
        serve_cluster(Cluster::default(), password)
    }

    fn serve_cluster(cluster: Cluster, password: Option<&'static [u8]>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let cluster = Arc::new(Mutex::new(cluster));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let cluster = Arc::clone(&cluster);
                std::thread::spawn(move || talk(stream, &cluster, port, password));
            }
        });
        format!("127.0.0.1:{port}")
    }

    fn talk(mut stream: TcpStream, cluster: &Mutex<Cluster>, port: u16, password: Option<&[u8]>) {
        let mut connection = connect(ServerConfig { access: Access::new(password, true), ..server() });
        let mut buffer = [0; 4096];
        loop {
            while let Some(ask) = connection.next() {
                let mut cluster = cluster.lock().expect("no panic elsewhere");
                match ask {
                    Ask::Command { tag, group, command, .. } => {
                        let group =
                            group.unwrap_or_else(|| group_of(bucket_of(command.key.as_ref()), GROUPS));
                        let reply = cluster.execute(group, &command);
                        connection.reply(tag, reply.borrow());
                    }
                    Ask::Local { tag, query: LocalQuery::Topology } => {
                        connection.answer(tag, LocalAnswer::Topology(own_topology(port)));
                    }
                    Ask::Local { tag, .. } => {
                        let status = crate::binary::tests::status();
                        connection.answer(tag, LocalAnswer::Status(status));
                    }
                    Ask::Close | Ask::Pause => {}
                }
            }
            if stream.write_all(connection.out()).is_err() || connection.closing() {
                return;
            }
            connection.out().clear();
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => connection.received(&buffer[..count]),
            }
        }
    }

    fn own_topology(port: u16) -> Topology {
        let node = TopologyNode {
            node: NodeId::new(1),
            host: "127.0.0.1".into(),
            port,
            core_port_base: 0,
            core_count: 1,
        };
        let leader = Some(NodeId::new(1));
        let groups = (1..=GROUPS)
            .map(|group| TopologyGroup { group: GroupId::new(group), leader, core: CoreId::new(0) })
            .collect();
        Topology { group_count: GROUPS, nodes: vec![node], groups, ..Topology::default() }
    }

    #[test]
    fn every_operation_works() {
        let mut client = Client::connect(&[serve(None)]).expect("connected");
        assert_eq!(client.get(b"k"), Ok(None));
        assert!(client.set(b"k", b"value").is_ok());
        assert_eq!(client.get(b"k"), Ok(Some(b"value".to_vec())));
        assert_eq!(client.exists(b"k"), Ok(true));
        assert_eq!(client.set_if(b"k", b"other", Condition::IfAbsent, Expiry::None), Ok(None));
        assert_eq!(client.ttl(b"k"), Ok(TimeToLive::Forever));
        assert_eq!(client.ttl(b"absent"), Ok(TimeToLive::NoKey));
        assert_eq!(client.expire(b"k", Duration::from_secs(5)), Ok(true));
        assert_eq!(client.persist(b"k"), Ok(true));
        assert_eq!(client.del(b"k"), Ok(true));
        assert_eq!(client.del(b"k"), Ok(false));
        assert_eq!(client.incr(b"n", 5), Ok(5));
        assert_eq!(client.incr(b"n", -7), Ok(-2));
        let large = vec![7; synod_types::limits::VALUE_BYTES_MAX];
        assert!(client.set(b"large", &large).is_ok());
        assert_eq!(client.get(b"large"), Ok(Some(large)));
        assert!(client.set(b"text", b"x").is_ok());
        let refused = client.incr(b"text", 1);
        assert!(matches!(refused, Err(ClientError::Refused { kind: ErrorKind::NotAnInteger, .. })));
        assert_eq!(client.topology().map(|topology| topology.group_count), Ok(GROUPS));
        assert_eq!(client.status().map(|status| status.version), Ok("0.1.0".into()));
        assert!(client.status_of(NodeId::new(1)).is_ok());
        assert_eq!(client.status_of(NodeId::new(9)), Err(ClientError::Unreachable));
        let swap =
            Op::Set { value_crc: 0, condition: Condition::Always, expiry: Expiry::None, return_old: true };
        let old =
            client.command(Consistency::Linearizable, Command::new(b"text".to_vec(), swap, b"new".to_vec()));
        assert!(matches!(old, Ok(Reply::Value { value, .. }) if value == b"x"));
    }

    #[test]
    fn a_write_whose_session_is_refused_has_reached_a_server() {
        let address = serve_cluster(Cluster { has_no_quorum: true, ..Cluster::default() }, None);
        let mut client = Client::connect(&[&address]).expect("the server answers");
        client.set_patience(Duration::from_millis(300));
        assert_eq!(client.set(b"k", b"value"), Err(ClientError::NotExecuted(ErrorKind::NoLeader)));
        assert_eq!(client.get(b"k"), Ok(None), "nothing was executed");
    }

    #[test]
    fn the_password_is_given_and_its_absence_is_told() {
        let address = serve(Some(b"pw"));
        let with = |password: Option<&[u8]>| {
            let password = password.map(|given| Secret::new(given.to_vec()));
            let config = ClientConfig { password, ..ClientConfig::default() };
            Client::connect_with(&[&address], config, Box::new(TcpDial)).map(|mut client| client.get(b"k"))
        };
        assert_eq!(with(Some(b"pw")).expect("admitted"), Ok(None));
        for wrong in [None, Some(&b"no"[..])] {
            let refused = with(wrong).map(drop);
            assert!(
                matches!(refused, Err(ConnectError::Client(ClientError::NotAdmitted(_)))),
                "{wrong:?}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_dead_address_among_good_ones_is_passed_over_and_alone_it_is_unreachable() {
        // A port that was free a moment ago and has no listener.
        let dead =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let mut client = Client::connect(&[dead.to_string(), serve(None)]).expect("connected");
        assert_eq!(client.incr(b"n", 1), Ok(1));
        let config = ClientConfig { deadline: Nanos::from_ms(50), ..ClientConfig::default() };
        let alone = Client::connect_with(&[dead.to_string()], config, Box::new(TcpDial)).map(drop);
        assert_eq!(alone, Err(ConnectError::Client(ClientError::Unreachable)));
        let none: [&str; 0] = [];
        assert!(matches!(Client::connect(&none).map(drop), Err(ConnectError::Address(_))));
    }
}
