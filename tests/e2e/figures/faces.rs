//! What a node shows in either face, and sums over the nodes.

use crate::cluster::until;
use crate::resp::RespClient;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long leaders may take until they are spread over the nodes.
pub(super) const SPREAD_MAX: Duration = Duration::from_secs(30);

/// The text of `INFO all`.
pub(super) fn info_text(client: &mut RespClient) -> String {
    let text = client.bulk(&[b"INFO", b"all"]).expect("a bulk string");
    String::from_utf8(text).expect("UTF-8")
}

/// The fields of `INFO all`.
pub(super) fn info(client: &mut RespClient) -> BTreeMap<String, String> {
    fields(&info_text(client))
}

pub(super) fn fields(text: &str) -> BTreeMap<String, String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A field of INFO that is a number; 0 if it is absent.
pub(super) fn field(client: &mut RespClient, name: &str) -> f64 {
    info(client).get(name).map_or(0.0, |value| value.parse().expect("a number"))
}

/// The text of /metrics.
pub(super) fn metrics_text(target: &str) -> String {
    let mut stream = TcpStream::connect(target).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n").expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// The samples of /metrics.
pub(super) fn samples(target: &str) -> BTreeMap<String, f64> {
    let text = metrics_text(target);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// A family summed over its labels.
pub(super) fn sum(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    let is_of =
        |sample: &str| sample.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
    samples.iter().filter(|(sample, _)| is_of(sample)).map(|(_, value)| value).sum()
}

/// Those samples of a family that have this label, summed over the others.
pub(super) fn labelled(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let is_of = |sample: &str| {
        sample.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    };
    samples.iter().filter(|(sample, _)| is_of(sample)).map(|(_, value)| value).sum()
}

/// A family of one node, summed over its labels.
pub(super) fn family(target: &str, name: &str) -> f64 {
    sum(&samples(target), name)
}

/// A family summed over the nodes.
pub(super) fn over_nodes(targets: &[String], name: &str) -> f64 {
    targets.iter().map(|target| family(target, name)).sum()
}

/// A field of INFO summed over the nodes.
pub(super) fn fields_over_nodes(targets: &[String], name: &str) -> f64 {
    targets.iter().map(|target| field(&mut RespClient::connect(target), name)).sum()
}

/// What `field` of INFO says, summed over the nodes, as soon as each of these families says the same.
pub(super) fn alike(targets: &[String], field: &str, families: &[&str]) -> f64 {
    let mut said = 0.0;
    until(&format!("{field} is {families:?}"), || {
        said = fields_over_nodes(targets, field);
        families.iter().all(|family| over_nodes(targets, family) == said)
    });
    said
}

/// Repeats an attempt until no leader has changed meanwhile, because only then its counts are exact.
pub(super) fn steadily<T>(targets: &[String], mut attempt: impl FnMut(usize) -> T) -> T {
    for number in 0..10 {
        let before = over_nodes(targets, "synod_leader_changes_total");
        let found = attempt(number);
        if alike(targets, "leader_changes", &["synod_leader_changes_total"]) == before {
            return found;
        }
    }
    panic!("leaders change all the time");
}

/// Sets `count` keys.
pub(super) fn set(client: &mut RespClient, name: &str, count: usize, options: &[&[u8]]) {
    for number in 0..count {
        let key = format!("{name}:{number}");
        let answer = client.ask(&[&[b"SET", key.as_bytes(), b"v"][..], options].concat());
        assert_eq!(answer, "+OK");
    }
}
