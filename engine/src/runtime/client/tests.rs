//! What of a pipeline waits for what: a connection sees its own writes, whatever keys they name.

use super::*;
use synod_net::server::ServerConfig;
use synod_types::operand::put_pair;
use synod_types::{Command, Condition, Consistency, Expiry, Op, Shared};

fn bytes(text: &str) -> Shared {
    Shared::new(text.as_bytes().to_vec())
}

fn pairs(keys: &[&str]) -> Shared {
    let mut packed = Vec::new();
    for key in keys {
        put_pair(&mut packed, key.as_bytes(), b"v");
    }
    Shared::new(packed)
}

fn ask(tag: u64, key: &str, op: Op) -> Ask {
    ask_with(tag, key, op, Shared::default())
}

fn ask_with(tag: u64, key: &str, op: Op, operand: Shared) -> Ask {
    let command = Command::new(bytes(key), op, operand);
    Ask::Command { tag: Tag::new(tag), group: None, consistency: Consistency::Linearizable, command }
}

fn clients() -> (Clients, u64) {
    let mut clients = Clients::default();
    let (number, ..) = clients.open(|id| {
        let (peer_address, local_address) = (String::new(), String::new());
        Connection::new(ConnectionConfig {
            server: Rc::new(ServerConfig::default()),
            id,
            peer_address,
            is_loopback: true,
            local_address,
        })
    });
    (clients, number)
}

impl Clients {
    fn waits(&mut self, connection: u64, ask: &Ask) -> bool {
        self.connections.get_mut(&connection).expect("it is open").must_wait(ask, |_, _| None)
    }
}

#[test]
fn a_read_waits_for_every_open_write_that_names_its_key() {
    let many = Op::SetMany { condition: Condition::Always, expiry: Expiry::None };
    for (op, operand, named) in [
        (Op::Rename { replace: true }, bytes("new"), &["old", "new"][..]),
        (Op::Copy { replace: false }, bytes("new"), &["old", "new"]),
        (many, pairs(&["old", "new", "third"]), &["old", "new", "third"]),
    ] {
        let (mut clients, connection) = clients();
        assert!(!clients.waits(connection, &ask_with(1, "old", op, operand)), "a write waits for nothing");
        assert!(!clients.waits(connection, &ask(2, "new", Op::Delete)), "a write after it neither");
        for key in named {
            for read in [Op::Get, Op::Exists, Op::Ttl, Op::ExpireTime] {
                assert!(clients.waits(connection, &ask(3, key, read)), "{key} after {op:?}");
            }
        }
        assert!(!clients.waits(connection, &ask(3, "other", Op::Get)), "other keys go on");
        assert!(clients.waits(connection, &ask(3, "", Op::CountKeys)), "the whole group has that key too");

        // Its answer frees all its keys but not those that a later write names too.
        clients.reply(connection, Tag::new(1), Reply::Int(1));
        assert!(!clients.waits(connection, &ask(3, "old", Op::Get)));
        assert!(clients.waits(connection, &ask(3, "new", Op::Get)), "the second write is still open");
        clients.reply(connection, Tag::new(2), Reply::Int(1));
        assert!(!clients.waits(connection, &ask(3, "new", Op::Get)));
        assert!(!clients.waits(connection, &ask(3, "", Op::CountKeys)));
    }
}

#[test]
fn each_of_many_keys_is_waited_for() {
    let names: Vec<String> = (0..300).map(|key| format!("k{key}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = |tag| {
        let op = Op::SetMany { condition: Condition::Always, expiry: Expiry::None };
        ask_with(tag, "k0", op, pairs(&names))
    };
    let (mut clients, connection) = clients();
    assert!(!clients.waits(connection, &many(1)));
    for name in &names {
        assert!(clients.waits(connection, &ask(2, name, Op::Get)), "{name}");
    }
    assert!(!clients.waits(connection, &ask(2, "k300", Op::Get)));
    clients.reply(connection, Tag::new(1), Reply::Int(1));
    for name in &names {
        assert!(!clients.waits(connection, &ask(3, name, Op::Get)), "{name}");
        assert!(clients.waits(connection, &many(4)), "a read of {name} is open");
        clients.reply(connection, Tag::new(3), Reply::Nil);
    }
}

/// A pipeline sees its own writes, and none that it sent later.
#[test]
fn a_read_waits_for_earlier_writes_of_its_key_and_a_write_for_earlier_reads() {
    let command = |key: &str, op| Command::plain(key.as_bytes().to_vec(), op);
    let get = |key| command(key, Op::Get);
    let delete = |key| command(key, Op::Delete);
    let rename = |from: &str, to: &str| {
        let [from, to] = [from, to].map(|key| key.as_bytes().to_vec());
        Command::new(from, Op::Copy { replace: true }, to)
    };
    let flush = || command("", Op::Flush);
    let tag = Tag::new;
    let mut open = OpenCommands::default();
    assert!(open.admit(tag(1), &delete("k"), || None) && open.admit(tag(2), &get("other"), || None));
    assert!(!open.admit(tag(3), &get("k"), || None), "it would miss the write before it");
    assert!(open.admit(tag(3), &delete("k"), || None), "writes are executed in order");
    open.answered(tag(1));
    assert!(!open.admit(tag(4), &get("k"), || None), "of two writes one is open");
    open.answered(tag(3));
    assert!(open.admit(tag(4), &get("k"), || None));
    assert!(!open.admit(tag(5), &delete("k"), || None), "the read before it would see it");
    assert!(!open.admit(tag(5), &rename("x", "k"), || None), "and by its other key too");
    assert!(!open.admit(tag(5), &flush(), || None), "and with all keys");
    open.answered(tag(4));
    open.answered(tag(2));
    assert!(open.admit(tag(5), &rename("x", "k"), || None));
    assert!(
        !open.admit(tag(6), &get("k"), || None)
            && !open.admit(tag(6), &get("x"), || None)
            && open.admit(tag(6), &get("y"), || None)
    );
    open.answered(tag(5));
    open.answered(tag(6));
    assert!(open.admit(tag(7), &flush(), || None));
    assert!(!open.admit(tag(8), &get("k"), || None));
    open.answered(tag(7));
    assert!(open.reads.is_empty() && open.writes.is_empty(), "{open:?}");
}

/// Two writes of a key that go to one leader keep their order; one that would go to another waits until the first is answered.
#[test]
fn a_write_does_not_overtake_one_that_is_under_way_to_the_leader_of_before() {
    let set = |key: &str| Command::plain(key.as_bytes().to_vec(), Op::Delete);
    let flush = Command::plain(Vec::new(), Op::Flush);
    let ballot = |round| Some(Ballot::new(round, synod_types::NodeId::new(1)));
    let tag = Tag::new;
    for (before, after) in [(ballot(1), ballot(2)), (ballot(1), None), (None, ballot(2))] {
        let mut open = OpenCommands::default();
        assert!(open.admit(tag(1), &set("k"), || before) && open.admit(tag(2), &set("k"), || before));
        assert!(!open.admit(tag(3), &set("k"), || after));
        assert!(!open.admit(tag(3), &flush, || after));
        assert!(open.admit(tag(3), &set("other"), || after));
        open.answered(tag(1));
        assert!(!open.admit(tag(4), &set("k"), || after), "the second is still under way");
        open.answered(tag(2));
        assert!(open.admit(tag(4), &set("k"), || after));
    }
}
