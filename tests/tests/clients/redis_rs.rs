//! redis-rs: its plain and its cluster connection.

use crate::cluster::Nodes;
use crate::run::{Account, Script, survive_a_killed_leader, targets, value_of};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Client, Cmd, Connection, ConnectionLike, RedisResult};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(6);

/// Makes connections, the next one after a broken one.
trait Connect: Send + 'static {
    type Connection: ConnectionLike;
    fn connect(&mut self) -> RedisResult<Self::Connection>;
}

/// One node at a time.
struct Plain {
    urls: Vec<String>,
    turn: usize,
}

impl Connect for Plain {
    type Connection = Connection;
    fn connect(&mut self) -> RedisResult<Connection> {
        self.turn += 1;
        let url = self.urls[self.turn % self.urls.len()].as_str();
        let connection = Client::open(url)?.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        Ok(connection)
    }
}

/// All nodes.
struct Cluster {
    urls: Vec<String>,
}

impl Connect for Cluster {
    type Connection = ClusterConnection;
    fn connect(&mut self) -> RedisResult<ClusterConnection> {
        let connection = ClusterClient::new(self.urls.clone())?.get_connection()?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        Ok(connection)
    }
}

/// One command; a connection that fails is given up.
fn ask<C: Connect, T: redis::FromRedisValue>(
    connect: &mut C,
    connection: &mut Option<C::Connection>,
    command: &Cmd,
) -> RedisResult<T> {
    if connection.is_none() {
        *connection = Some(connect.connect()?);
    }
    let result = command.query(connection.as_mut().expect("made above"));
    if let Err(error) = &result
        && (error.is_io_error() || error.is_connection_dropped() || error.is_timeout())
    {
        *connection = None;
    }
    result
}

fn work<C: Connect>(prefix: &str, mut connect: C, stopped: &AtomicBool, account: &Mutex<Account>) {
    let tell =
        |change: &dyn Fn(&mut Account)| change(&mut account.lock().unwrap_or_else(PoisonError::into_inner));
    let failed = |error: redis::RedisError| {
        tell(&|account| *account.errors.entry(error.to_string()).or_default() += 1);
        std::thread::sleep(Duration::from_millis(20));
    };
    let key = |number: u64| format!("{prefix}:{number}");
    let mut connection = None;
    let mut number = 0;
    let mut acked = BTreeMap::new();
    while !stopped.load(Ordering::Relaxed) {
        number += 1;
        match ask::<_, String>(&mut connect, &mut connection, &Cmd::set(key(number), value_of(number))) {
            Ok(text) => {
                assert_eq!(text, "OK");
                acked.insert(number, value_of(number));
                tell(&|account| assert!(account.acked.insert(number), "numbers rise"));
            }
            Err(error) => failed(error),
        }
        let Some((&last, value)) = acked.last_key_value().filter(|_| number % 10 == 0) else { continue };
        match ask::<_, Option<String>>(&mut connect, &mut connection, &Cmd::get(key(last))) {
            Ok(found) if found.as_ref() == Some(value) => {}
            Ok(_) => tell(&|account| account.stale.push(last)),
            Err(error) => failed(error),
        }
    }
    for &number in acked.keys() {
        for _ in 0..20 {
            match ask::<_, Option<String>>(&mut connect, &mut connection, &Cmd::get(key(number))) {
                Ok(found) => {
                    tell(&|account| drop(account.read.insert(number, found.clone())));
                    break;
                }
                Err(error) => failed(error),
            }
        }
    }
    tell(&|account| account.done = true);
}

fn urls(nodes: &mut Nodes) -> Vec<String> {
    targets(nodes).iter().map(|target| format!("redis://{target}")).collect()
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward() {
    let mut nodes = Nodes::start("redis-rs-proxy");
    let urls = urls(&mut nodes);
    let (plain, cluster) = (Plain { urls: urls.clone(), turn: 2 }, Cluster { urls });
    let scripts = vec![
        Script::spawn("plain", move |stopped, account| work("plain", plain, stopped, account)),
        Script::spawn("cluster", move |stopped, account| work("cluster", cluster, stopped, account)),
    ];
    survive_a_killed_leader(&mut nodes, scripts);
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved() {
    let mut nodes = Nodes::with("redis-rs-moved", 2, &[("node.redirect", "moved")]);
    let cluster = Cluster { urls: urls(&mut nodes) };
    let script = Script::spawn("cluster", move |stopped, account| work("cluster", cluster, stopped, account));
    survive_a_killed_leader(&mut nodes, vec![script]);
}
