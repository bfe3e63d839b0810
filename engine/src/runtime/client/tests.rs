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

fn ask(tag: u64, key: &str, op: Op<Shared>) -> Ask {
    let command = Command::plain(bytes(key), op);
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
            local_address,
        })
    });
    (clients, number)
}

impl Clients {
    fn waits(&mut self, connection: u64, ask: &Ask) -> bool {
        self.connections.get_mut(&connection).expect("it is open").must_wait(ask)
    }
}

#[test]
fn a_read_waits_for_every_open_write_that_names_its_key() {
    let rename = Op::Rename { target: bytes("new"), replace: true };
    let copy = Op::Copy { target: bytes("new"), replace: false };
    let many = Op::SetMany {
        pairs: pairs(&["old", "new", "third"]),
        condition: Condition::Always,
        expiry: Expiry::None,
    };
    for (op, named) in
        [(rename, &["old", "new"][..]), (copy, &["old", "new"]), (many, &["old", "new", "third"])]
    {
        let (mut clients, connection) = clients();
        assert!(!clients.waits(connection, &ask(1, "old", op.clone())), "a write waits for nothing");
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
