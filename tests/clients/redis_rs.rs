//! redis-rs: its plain and its cluster connection, the latter also reading from replicas.

use crate::cluster::Nodes;
use crate::leaders::{Leaders, nodes_led};
use crate::run::{Script, survive_a_killed_leader, targets};
use crate::worker::{Store, work};
use redis::cluster::{ClusterClient, ClusterConnection};
use redis::cluster_read_routing::RandomReplicaStrategy;
use redis::{Client, Cmd, Connection, ConnectionLike, RedisResult};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(6);

/// Makes connections; after a broken one, to the next node.
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
    /// Reads go to a replica if there is one.
    from_replicas: bool,
}

impl Connect for Cluster {
    type Connection = ClusterConnection;
    fn connect(&mut self) -> RedisResult<ClusterConnection> {
        let mut builder = ClusterClient::builder(self.urls.clone());
        if self.from_replicas {
            builder = builder.read_routing_strategy(RandomReplicaStrategy);
        }
        let connection = builder.build()?.get_connection()?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        Ok(connection)
    }
}

/// Keeps a connection as long as it works.
struct Kept<C: Connect> {
    connect: C,
    connection: Option<C::Connection>,
}

impl<C: Connect> Kept<C> {
    fn new(connect: C) -> Self {
        Self { connect, connection: None }
    }

    /// Sends one command; a connection that fails is dropped.
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

fn nodes_forward(leaders: Leaders) {
    let mut nodes = nodes_led(leaders, "redis-rs-proxy", 1, "proxy");
    let urls = urls(&mut nodes);
    let plain = Kept::new(Plain { urls: urls.clone(), turn: 2 });
    let cluster = Kept::new(Cluster { urls, from_replicas: false });
    let scripts = vec![
        Script::spawn("plain", move |stopped, account| work("plain", plain, stopped, account)),
        Script::spawn("cluster", move |stopped, account| work("cluster", cluster, stopped, account)),
    ];
    survive_a_killed_leader(&mut nodes, scripts);
}

fn every_core_says_moved(leaders: Leaders) {
    let mut nodes = nodes_led(leaders, "redis-rs-moved", 2, "moved");
    let urls = urls(&mut nodes);
    let script = |name: &'static str, from_replicas| {
        let cluster = Kept::new(Cluster { urls: urls.clone(), from_replicas });
        Script::spawn(name, move |stopped, account| work(name, cluster, stopped, account))
    };
    let scripts = vec![script("cluster", false), script("cluster-replicas", true)];
    survive_a_killed_leader(&mut nodes, scripts);
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward() {
    nodes_forward(Leaders::Elected);
}

#[test]
fn plain_and_cluster_clients_lose_nothing_where_nodes_forward_and_one_leads_all() {
    nodes_forward(Leaders::OnOneNode);
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved() {
    every_core_says_moved(Leaders::Elected);
}

#[test]
fn cluster_clients_lose_nothing_where_every_core_says_moved_and_one_leads_all() {
    every_core_says_moved(Leaders::OnOneNode);
}
