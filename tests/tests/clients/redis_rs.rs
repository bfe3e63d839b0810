//! redis-rs: its plain and its cluster connection.

use crate::cluster::Nodes;
use crate::run::{Script, survive_a_killed_leader, targets};
use crate::worker::{Store, work};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{Client, Cmd, Connection, ConnectionLike, RedisResult};
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

/// The connection as long as it holds.
struct Kept<C: Connect> {
    connect: C,
    connection: Option<C::Connection>,
}

impl<C: Connect> Kept<C> {
    fn new(connect: C) -> Self {
        Self { connect, connection: None }
    }

    /// One command; a connection that fails is given up.
    fn ask<T: redis::FromRedisValue>(&mut self, command: &Cmd) -> Result<T, String> {
        if self.connection.is_none() {
            self.connection = Some(self.connect.connect().map_err(|error| error.to_string())?);
        }
        let result = command.query(self.connection.as_mut().expect("made above"));
        if let Err(error) = &result
            && (error.is_io_error() || error.is_connection_dropped() || error.is_timeout())
        {
            self.connection = None;
        }
        result.map_err(|error| error.to_string())
    }
}

impl<C: Connect> Store for Kept<C> {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let text: String = self.ask(&Cmd::set(key, value))?;
        assert_eq!(text, "OK");
        Ok(())
    }
    fn get(&mut self, key: &str) -> Result<Option<String>, String> {
        self.ask(&Cmd::get(key))
    }
}

fn urls(nodes: &mut Nodes) -> Vec<String> {
    targets(nodes).iter().map(|target| format!("redis://{target}")).collect()
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward() {
    let mut nodes = Nodes::start("redis-rs-proxy");
    let urls = urls(&mut nodes);
    let (plain, cluster) = (Kept::new(Plain { urls: urls.clone(), turn: 2 }), Kept::new(Cluster { urls }));
    let scripts = vec![
        Script::spawn("plain", move |stopped, account| work("plain", plain, stopped, account)),
        Script::spawn("cluster", move |stopped, account| work("cluster", cluster, stopped, account)),
    ];
    survive_a_killed_leader(&mut nodes, scripts);
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved() {
    let mut nodes = Nodes::with("redis-rs-moved", 2, &[("node.redirect", "moved")]);
    let cluster = Kept::new(Cluster { urls: urls(&mut nodes) });
    let script = Script::spawn("cluster", move |stopped, account| work("cluster", cluster, stopped, account));
    survive_a_killed_leader(&mut nodes, vec![script]);
}
