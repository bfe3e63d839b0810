//! The figures that are more than one number: samples with labels of their own, histograms, and fields of
//! INFO whose names depend on what there is.

use super::collected::Figures;
use crate::runtime::client_connection::SlowClient;
use crate::runtime::slow::WorkKind;
use std::fmt::Display;
use synod_net::http::Exposition;
use synod_net::server::{CallTotals, InfoValue};
use synod_shard::{Histogram, PeerView, RequestKind, Role};
use synod_types::{ErrorKind, Nanos};

/// Buckets of time spans: from 16 us to 8 s.
const SPAN_BITS: (usize, usize) = (4, 23);
/// Buckets of sizes: from 512 bytes to 8 MiB.
const BYTES_BITS: (usize, usize) = (9, 23);
/// Buckets of counts: from 1 to 4096.
const COUNT_BITS: (usize, usize) = (0, 12);
/// Buckets of commands per entry: from 1 to 512.
const BATCH_BITS: (usize, usize) = (0, 9);
/// A divisor, so that bucket bounds come out as short decimal numbers.
const MICROSECONDS: f64 = 1e6;

/// The errors by their names in the metrics.
const ERRORS: [(ErrorKind, &str); 11] = [
    (ErrorKind::Unknown, "unknown"),
    (ErrorKind::NoLeader, "no_leader"),
    (ErrorKind::Busy, "busy"),
    (ErrorKind::SessionExpired, "session_expired"),
    (ErrorKind::SequenceClosed, "sequence_closed"),
    (ErrorKind::NotAnInteger, "not_an_integer"),
    (ErrorKind::Overflow, "overflow"),
    (ErrorKind::BadExpiry, "bad_expiry"),
    (ErrorKind::ReadFailed, "read_failed"),
    (ErrorKind::Malformed, "malformed"),
    (ErrorKind::NoSpace, "no_space"),
];

pub(super) fn identity(figures: &Figures, out: &mut Exposition) {
    let facts = &figures.node;
    let labels: [(&str, &dyn Display); 3] =
        [("node", &facts.node), ("cluster", &facts.cluster), ("version", &env!("CARGO_PKG_VERSION"))];
    out.sample(&labels, 1);
}

pub(super) fn requests(figures: &Figures, out: &mut Exposition) {
    for (core, status, stats) in figures.groups() {
        for ((_, kind), count) in RequestKind::ALL.iter().zip(stats.requests) {
            out.sample(&[("core", &core), ("group", &status.group.get()), ("kind", kind)], count);
        }
    }
}

pub(super) fn errors(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        for (kind, name) in ERRORS {
            out.sample(&[("core", &core), ("kind", &name)], page.errors.count(kind));
        }
    }
}

pub(super) fn slow_turns(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        for (kind, count) in page.slow.counts() {
            out.sample(&[("core", &core), ("kind", &kind)], count);
        }
    }
}

/// The turns that took too long: the total, and the nonzero counts by kind of work.
pub(super) fn slow_turn_fields(figures: &Figures) -> Vec<(String, InfoValue)> {
    let of_kind =
        |index: usize| figures.of_cores(|page| page.slow.counts().nth(index).map_or(0, |(_, count)| count));
    let kinds = WorkKind::ALL.into_iter().enumerate().map(|(index, (_, name))| (name, of_kind(index)));
    let kinds: Vec<_> = kinds.filter(|(_, count)| *count > 0).collect();
    let all = kinds.iter().map(|(_, count)| count).sum();
    let each = kinds.into_iter().map(|(name, count)| (format!("slow_turns_{name}"), InfoValue::Count(count)));
    std::iter::once(("slow_turns".to_owned(), InfoValue::Count(all))).chain(each).collect()
}

/// One sample for each command that was counted.
fn of_commands(figures: &Figures, out: &mut Exposition, of: impl Fn(&CallTotals) -> u64) {
    for (name, totals) in &figures.counts.commands {
        out.sample(&[("cmd", name)], of(totals));
    }
}

pub(super) fn calls(figures: &Figures, out: &mut Exposition) {
    of_commands(figures, out, |totals| totals.calls);
}

pub(super) fn failed_calls(figures: &Figures, out: &mut Exposition) {
    of_commands(figures, out, |totals| totals.failed);
}

pub(super) fn rejected_calls(figures: &Figures, out: &mut Exposition) {
    of_commands(figures, out, |totals| totals.rejected);
}

/// The two counts of `cmdstat_` stand alone: monitors take the second and third of three for times.
pub(super) fn call_fields(figures: &Figures) -> Vec<(String, InfoValue)> {
    let called = figures.counts.commands.iter().filter(|(_, totals)| totals.calls > 0);
    let field = |(name, totals): (&&str, &CallTotals)| {
        let counts = vec![("calls", totals.calls), ("failed_calls", totals.failed)];
        (format!("cmdstat_{name}"), InfoValue::Counts(counts))
    };
    called.map(field).collect()
}

pub(super) fn rejected_fields(figures: &Figures) -> Vec<(String, InfoValue)> {
    let rejected = figures.counts.commands.iter().filter(|(_, totals)| totals.rejected > 0);
    let field = |(name, totals): (&&str, &CallTotals)| {
        (format!("rejected_{name}"), InfoValue::Counts(vec![("calls", totals.rejected)]))
    };
    rejected.map(field).collect()
}

pub(super) fn error_lines(figures: &Figures, out: &mut Exposition) {
    for (code, count) in &figures.counts.errors {
        out.sample(&[("err", code)], count);
    }
}

pub(super) fn error_fields(figures: &Figures) -> Vec<(String, InfoValue)> {
    let errors = figures.counts.errors.iter();
    errors
        .map(|(code, count)| (format!("errorstat_{code}"), InfoValue::Counts(vec![("count", *count)])))
        .collect()
}

pub(super) fn keys_led(figures: &Figures, out: &mut Exposition) {
    out.sample(&[("db", &"db0")], figures.of_data(|status| if status.serving { status.keys } else { 0 }));
}

pub(super) fn expiring_led(figures: &Figures, out: &mut Exposition) {
    out.sample(&[("db", &"db0")], figures.of_data(|status| if status.serving { status.expiring } else { 0 }));
}

/// A database without keys is left out, as in Redis.
pub(super) fn databases(figures: &Figures) -> Vec<(String, InfoValue)> {
    let (keys, expires) = (figures.of_data(|status| status.keys), figures.of_data(|status| status.expiring));
    let text = format!("keys={keys},expires={expires}");
    if keys > 0 { vec![("db0".to_owned(), InfoValue::Text(text))] } else { Vec::new() }
}

pub(super) fn clock_skew(figures: &Figures, out: &mut Exposition) {
    for (core, status, _) in figures.groups() {
        if let Some(skew) = status.clock_skew_ms {
            out.sample(&[("core", &core), ("group", &status.group.get())], skew);
        }
    }
}

pub(super) fn log_age(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        out.sample(&[("core", &core)], seconds(page.log_age));
    }
}

pub(super) fn read_age(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        out.sample(&[("core", &core)], seconds(page.read_age));
    }
}

fn of_peers(figures: &Figures, out: &mut Exposition, of: impl Fn(&PeerView) -> Nanos) {
    for (core, page) in figures.pages.iter().enumerate() {
        for view in &page.peers {
            out.sample(&[("core", &core), ("peer", &view.node.get())], seconds(of(view)));
        }
    }
}

pub(super) fn round_trips(figures: &Figures, out: &mut Exposition) {
    of_peers(figures, out, |view| view.round_trip);
}

pub(super) fn peer_log_ages(figures: &Figures, out: &mut Exposition) {
    of_peers(figures, out, |view| view.log_age);
}

fn seconds(span: Nanos) -> f64 {
    span.0 as f64 / 1e9
}

pub(super) fn closed_clients(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        for (why, count) in SlowClient::ALL.iter().zip(page.closed_slow) {
            out.sample(&[("core", &core), ("reason", &why.name())], count);
        }
    }
}

pub(super) fn ready(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        for (status, ready) in page.groups.iter().zip(&page.ready) {
            out.sample(&[("core", &core), ("group", &status.group.get())], u8::from(*ready));
        }
    }
}

/// The state of each group, ascending.
pub(super) fn group_fields(figures: &Figures) -> Vec<(String, InfoValue)> {
    let mut groups: Vec<_> = figures.groups().collect();
    groups.sort_by_key(|(_, status, _)| status.group);
    let field = |(core, status, _): (usize, &synod_shard::GroupStatus, _)| {
        let role = match status.role {
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        };
        let leader = status.leader.map_or("none".to_owned(), |node| node.get().to_string());
        let text = format!(
            "role={role},serving={},leader={leader},core={core},promised={}.{},chosen={},applied={},keys={},\
             leader_changes={}",
            u8::from(status.serving),
            status.promised.round(),
            status.promised.node().get(),
            status.chosen.get(),
            status.applied.get(),
            status.keys,
            status.leader_changes,
        );
        (format!("group{}", status.group.get()), InfoValue::Text(text))
    };
    groups.into_iter().map(field).collect()
}

pub(super) fn stages(figures: &Figures, out: &mut Exposition) {
    for (core, status, stats) in figures.groups() {
        let stages = [("queue", &stats.queue_us), ("quorum", &stats.quorum_us), ("apply", &stats.apply_us)];
        for (stage, histogram) in stages {
            let labels: [(&str, &dyn Display); 3] =
                [("core", &core), ("group", &status.group.get()), ("stage", &stage)];
            put(out, &labels, histogram, SPAN_BITS, MICROSECONDS);
        }
    }
    for (core, page) in figures.pages.iter().enumerate() {
        for (stage, histogram) in [("log", &page.core_stats.log_us), ("reply", &page.reply_us)] {
            put(out, &[("core", &core), ("stage", &stage)], histogram, SPAN_BITS, MICROSECONDS);
        }
    }
}

pub(super) fn batches(figures: &Figures, out: &mut Exposition) {
    for (core, status, stats) in figures.groups() {
        let labels: [(&str, &dyn Display); 2] = [("core", &core), ("group", &status.group.get())];
        put(out, &labels, &stats.batch_commands, BATCH_BITS, 1.0);
    }
}

pub(super) fn flush_bytes(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        put(out, &[("core", &core)], &page.core_stats.flush_bytes, BYTES_BITS, 1.0);
    }
}

pub(super) fn flush_records(figures: &Figures, out: &mut Exposition) {
    for (core, page) in figures.pages.iter().enumerate() {
        put(out, &[("core", &core)], &page.core_stats.flush_records, COUNT_BITS, 1.0);
    }
}

/// Writes a histogram that counts `per_unit` for one of the family's unit. An empty histogram is left out, as
/// in groups led elsewhere.
fn put(
    out: &mut Exposition,
    labels: &[(&str, &dyn Display)],
    histogram: &Histogram,
    (low, high): (usize, usize),
    per_unit: f64,
) {
    if histogram.count() == 0 {
        return;
    }
    let bounds = (low..=high).map(|bits| (1_u64 << bits) as f64 / per_unit);
    let counts: Vec<u64> = histogram.between(low, high).collect();
    out.buckets(labels, bounds, &counts, histogram.sum() as f64 / per_unit);
}
