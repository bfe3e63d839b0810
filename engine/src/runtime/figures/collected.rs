//! `Figures`: everything that the rows of the table take their values from, collected at one moment.

use crate::runtime::clock;
use crate::runtime::memory_bytes_max;
use crate::runtime::node_context::NodeContext;
use crate::runtime::status_board::CorePage;
use crate::sys::{self, CpuTimes, Memory};
use std::time::{SystemTime, UNIX_EPOCH};
use synod_net::server::CountTotals;
use synod_shard::{GroupStats, GroupStatus};
use synod_types::{GroupId, Nanos};

/// The figures of a node at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// The facts of the node and its process.
    pub node: NodeFacts,
    /// The pages of its cores. The index of a page is its core.
    pub pages: Vec<CorePage>,
    /// The counts of commands and errors of all cores.
    pub counts: CountTotals,
}

/// The facts of a node and its process.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeFacts {
    /// The node's id.
    pub node: u16,
    /// The cluster's id, as text.
    pub cluster: String,
    /// The incarnation of its disk, as text.
    pub incarnation: String,
    /// Names this start of the node: forty digits, others at each start.
    pub run_id: String,
    /// Its client port.
    pub port: u16,
    /// Client connections that it takes at once.
    pub clients_max: u64,
    /// The memory that the node takes at most beside its index.
    pub memory_bytes_max: u64,
    /// Time since the start.
    pub uptime: Nanos,
    /// Wall clock, microseconds since the Unix epoch.
    pub wall_us: u64,
    /// Memory of the process.
    pub memory: Memory,
    /// Processor time of the process.
    pub cpu: CpuTimes,
    /// The kernel's release.
    pub kernel: String,
}

impl Figures {
    /// The figures of the node now, with the content of its cores' pages.
    pub fn collect(node: &NodeContext, pages: Vec<CorePage>) -> Self {
        let setup = &node.setup;
        let incarnation = setup.identity().incarnation.to_string();
        let facts = NodeFacts {
            node: setup.node().get(),
            cluster: format!("{:032x}", setup.facts().cluster.get()),
            run_id: format!(
                "{:032x}{:08x}",
                setup.identity().incarnation.get(),
                setup.boot.random & 0xffff_ffff
            ),
            incarnation,
            port: setup.own().client_port,
            clients_max: setup.options.connections_max as u64 * u64::from(setup.cores()),
            memory_bytes_max: memory_bytes_max(&setup.options, setup.cores(), setup.members.len()),
            uptime: clock::now().mono.since(node.started),
            wall_us: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64),
            memory: sys::memory(),
            cpu: sys::cpu_times(),
            kernel: sys::kernel_release(),
        };
        Self::new(facts, pages)
    }

    /// The figures of these facts and pages.
    pub fn new(node: NodeFacts, pages: Vec<CorePage>) -> Self {
        let mut counts = CountTotals::default();
        pages.iter().for_each(|page| counts.add(&page.counts));
        Self { node, pages, counts }
    }

    /// Every group with its core.
    pub fn groups(&self) -> impl Iterator<Item = (usize, &GroupStatus, &GroupStats)> {
        self.pages.iter().enumerate().flat_map(|(core, page)| {
            page.groups.iter().zip(&page.group_stats).map(move |(status, stats)| (core, status, stats))
        })
    }

    /// A sum over the data groups.
    pub fn of_data(&self, of: impl Fn(&GroupStatus) -> u64) -> u64 {
        self.groups()
            .filter(|(_, status, _)| status.group != GroupId::SYSTEM)
            .map(|(_, status, _)| of(status))
            .sum()
    }

    /// A sum over the cores.
    pub fn of_cores(&self, of: impl Fn(&CorePage) -> u64) -> u64 {
        self.pages.iter().map(of).sum()
    }
}
