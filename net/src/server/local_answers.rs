//! Writes the shell's answers about the node.

use super::ask::{LocalAnswer, LocalQuery};
use super::config::ServerConfig;
use super::{cluster, info};
use crate::resp::reply::Writer;

/// Writes the shell's answer to a query.
pub(super) fn write(
    writer: &mut Writer<'_>,
    server: &ServerConfig,
    query: &LocalQuery,
    answer: &LocalAnswer,
) {
    match (query, answer) {
        (LocalQuery::Info { sections }, LocalAnswer::Info(fields)) => {
            writer.verbatim(&info::render(fields, sections));
        }
        (LocalQuery::Clients { .. }, LocalAnswer::Text(text)) => writer.verbatim(text),
        (LocalQuery::ResetStat, LocalAnswer::Done) => writer.simple("OK"),
        (LocalQuery::Replicas { with_local: false }, LocalAnswer::Int(count)) => writer.int(*count),
        (LocalQuery::Replicas { with_local: true }, LocalAnswer::Int(count)) => {
            writer.array(2);
            writer.int(1);
            writer.int(*count);
        }
        (LocalQuery::Cluster(query), LocalAnswer::Cluster(view)) => {
            cluster::write(writer, server, query, view);
        }
        (LocalQuery::LastSave, LocalAnswer::Time { micros }) => {
            writer.int((micros / 1_000_000).cast_signed());
        }
        (LocalQuery::Time, LocalAnswer::Time { micros }) => {
            writer.array(2);
            writer.bulk((micros / 1_000_000).to_string().as_bytes());
            writer.bulk((micros % 1_000_000).to_string().as_bytes());
        }
        (_, LocalAnswer::Unavailable(why)) => {
            writer.error(&format!("ERR not available at the moment: {why}"))
        }
        _ => writer.error("ERR not available"),
    }
}
