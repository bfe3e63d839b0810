//! The HTTP pages of a node: metrics, two probes, and a page for people.

use crate::runtime::clock;
use crate::runtime::figures::{self, Figures};
use crate::runtime::node_context::NodeContext;
use crate::runtime::status_board::CorePage;
use ::http::Response;
use std::fmt::Write;
use synod_net::http::{Exposition, HttpPage, json_string, page};
use synod_types::{Mono, Nanos, Space};

/// A core that has not written its page for this long is not running.
const PAGE_AGE_MAX: Nanos = Nanos::from_ms(1000);

/// The page `which`. `pages` returns the current pages of the node's cores, for the HTTP pages that need
/// them.
pub(crate) fn of(
    node: &NodeContext,
    which: HttpPage,
    pages: impl FnOnce() -> Vec<CorePage>,
) -> Response<Vec<u8>> {
    match which {
        HttpPage::Health => page(200, "text/plain; charset=utf-8", "ok\n".to_owned()),
        HttpPage::Ready if node.stopping_for().is_some() => stops(),
        HttpPage::Ready => ready(&pages(), clock::now().mono),
        HttpPage::Metrics => {
            page(200, Exposition::CONTENT_TYPE, figures::metrics(&Figures::collect(node, pages())))
        }
        HttpPage::Status => page(200, "text/html; charset=utf-8", status(&Figures::collect(node, pages()))),
    }
}

/// 503: the node is about to stop.
fn stops() -> Response<Vec<u8>> {
    let body =
        "{\"ready\":false,\"error\":{\"code\":\"not_ready\",\"message\":\"the node is about to stop\"}}\n";
    page(503, "application/json", body.to_owned())
}

/// 200 when every group of this node has a leader that answers, and every core's log makes progress and has
/// room. Otherwise 503 with what is missing.
fn ready(pages: &[CorePage], now: Mono) -> Response<Vec<u8>> {
    let mut groups: Vec<u16> = Vec::new();
    let (mut cores, mut full) = (Vec::new(), Vec::new());
    for (core, page) in pages.iter().enumerate() {
        if page.log_space < Space::Free {
            full.push((core, page.log_error.as_deref().unwrap_or_default()));
        }
        if page.log_stalled || now.since(page.at) > PAGE_AGE_MAX {
            cores.push(core);
        }
        let waiting = page.groups.iter().zip(&page.ready).filter(|(_, ready)| !**ready);
        groups.extend(waiting.map(|(status, _)| status.group.get()));
    }
    groups.sort_unstable();
    if groups.is_empty() && cores.is_empty() && full.is_empty() {
        return page(200, "application/json", format!("{{\"ready\":true{}}}\n", damage(pages)));
    }
    let mut message =
        "some groups have no leader that answers, or a core's log makes no progress or has no room"
            .to_owned();
    for (core, why) in &full {
        // Writing to a String cannot fail.
        let _ = write!(message, "; core {core} takes no writes: {why}");
    }
    let full: Vec<usize> = full.iter().map(|(core, _)| *core).collect();
    let mut body = format!(
        "{{\"ready\":false,\"groups_without_leader\":{groups:?},\"cores_stalled\":{cores:?},\
         \"cores_full\":{full:?},\"error\":{{\"code\":\"not_ready\",\"message\":"
    );
    json_string(&mut body, &message);
    body.push('}');
    body.push_str(&damage(pages));
    body.push_str("}\n");
    page(503, "application/json", body)
}

/// Names the cores whose disks returned other bytes than were written, if any. Other replicas repair the
/// reads, but the operator must check the disk.
fn damage(pages: &[CorePage]) -> String {
    let damaged = pages.iter().enumerate().filter_map(|(core, page)| {
        let stats = &page.core_stats;
        let at = stats.damaged_at.filter(|_| stats.reads_failed > 0)?;
        Some(format!(
            "{{\"core\":{core},\"reads_failed\":{},\"reads_repaired\":{},\"last_segment\":{},\"last_offset\":{}}}",
            stats.reads_failed,
            stats.reads_repaired,
            at.segment.get(),
            at.offset
        ))
    });
    let damaged: Vec<String> = damaged.collect();
    if damaged.is_empty() { String::new() } else { format!(",\"damaged\":[{}]", damaged.join(",")) }
}

fn status(figures: &Figures) -> String {
    let (facts, pages) = (&figures.node, &figures.pages);
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Synod</title><style>\
         body{font:14px system-ui,sans-serif;margin:2em auto;max-width:60em;color:#222}\
         table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}\
         .no{color:#b00}</style>",
    );
    let keys = figures.of_data(|status| status.keys);
    let connections = figures.of_cores(|page| page.connections);
    // Writing to a String cannot fail, here and below. Everything written is a number.
    let _ = write!(
        html,
        "<h1>Synod node {}</h1><p>cluster {}, version {}, up {} s, {} cores, {keys} keys, \
         {connections} connections, {} MiB in memory</p>\
         <p><a href=\"/metrics\">metrics</a> <a href=\"/healthz\">health</a> \
         <a href=\"/readyz\">readiness</a></p>\
         <table><tr><th>group<th>core<th>role<th>leader<th>ready<th>chosen<th>applied<th>keys\
         <th>leader changes</tr>",
        facts.node,
        facts.cluster,
        env!("CARGO_PKG_VERSION"),
        facts.uptime.as_ms() / 1000,
        pages.len(),
        facts.memory.resident_bytes >> 20,
    );
    for (core, page) in pages.iter().enumerate() {
        for (group, ready) in page.groups.iter().zip(&page.ready) {
            let leader = group.leader.map_or_else(|| "none".to_owned(), |leader| leader.get().to_string());
            let ready = if *ready { "<td>yes" } else { "<td class=\"no\">no" };
            let _ = write!(
                html,
                "<tr><td>{}<td>{core}<td>{:?}<td>{leader}{ready}<td>{}<td>{}<td>{}<td>{}</tr>",
                group.group.get(),
                group.role,
                group.chosen.get(),
                group.applied.get(),
                group.keys,
                group.leader_changes,
            );
        }
    }
    html.push_str("</table></html>\n");
    html
}
