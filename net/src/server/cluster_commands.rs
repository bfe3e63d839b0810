//! CLUSTER: the questions about the topology. `cluster` writes the answers.

use super::ask::{ClusterAsk, ClusterQuery, LocalQuery};
use super::config::ConnectionConfig;
use super::responder::Responder;
use crate::resp::error_line::lossy;
use crate::resp::parser::Args;
use crate::resp::spec::ClusterCommand;
use std::net::SocketAddr;
use synod_types::bucket_of;

/// Executes a subcommand, or returns the question that the shell must answer; its arity was checked.
pub(super) fn execute(
    command: ClusterCommand,
    config: &ConnectionConfig,
    reply: &mut Responder<'_>,
    args: &Args<'_>,
) -> Option<LocalQuery> {
    let ask = match command {
        ClusterCommand::KeySlot => {
            reply.int(i64::from(bucket_of(args.get(2)).get()));
            return None;
        }
        ClusterCommand::Slots => ClusterAsk::Slots,
        ClusterCommand::Shards => ClusterAsk::Shards,
        ClusterCommand::Nodes => ClusterAsk::Nodes,
        ClusterCommand::Info => ClusterAsk::Info,
        ClusterCommand::MyId => ClusterAsk::MyId,
        ClusterCommand::MyShardId => ClusterAsk::MyShardId,
        ClusterCommand::Links => ClusterAsk::Links,
        ClusterCommand::Replicas | ClusterCommand::Slaves => ClusterAsk::Replicas(lossy(args.get(2))),
    };
    let reached_at =
        config.local_address.parse::<SocketAddr>().map_or(String::new(), |at| at.ip().to_string());
    Some(LocalQuery::Cluster(ClusterQuery { ask, reached_at }))
}
