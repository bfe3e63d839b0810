//! How far nodes know each other's logs (P-20).
//!
//! The positions are not sent as messages: they draw on no stream of random numbers and appear in no trace. A
//! refusal of an honest node is a violation in every run.

use super::event::SimEvent;
use super::machines::Machines;
use super::timeline::Timeline;
use crate::check::{Checked, Violation};
use crate::sim::net::Network;
use crate::sim::node::log_holds;
use crate::sim::params::Params;
use crate::sim::queue::SECOND;
use synod_types::LogPosition;
use synod_wal::mem::MemCopy;

/// What one core knows of its peers' logs, by node.
struct PeerLogs {
    /// How far this core knows the peer's log.
    known: Vec<LogPosition>,
    /// Which part of that it has noted durably.
    noted: Vec<LogPosition>,
}

/// What every core knows of its peers' logs.
pub(super) struct Positions {
    /// By core.
    cores: Vec<PeerLogs>,
}

impl Positions {
    pub(super) fn new(params: &Params) -> Self {
        let (node_count, core_count) = (usize::from(params.node_count), usize::from(params.core_count));
        let nothing = || vec![LogPosition::default(); node_count];
        let logs = |_| PeerLogs { known: nothing(), noted: nothing() };
        Self { cores: (0..node_count * core_count).map(logs).collect() }
    }

    /// Every node welcomes the nodes that reach it, and then tells its position. The durable notes lag one
    /// telling behind.
    pub(super) fn on_positions(
        &mut self,
        machines: &Machines,
        net: &Network,
        time: &mut Timeline,
    ) -> Checked {
        time.queue.after(SECOND, SimEvent::Positions);
        for logs in &mut self.cores {
            logs.noted.clone_from(&logs.known);
        }
        for core in 0..machines.slots.len() {
            let node = machines.node_index(core);
            for peer in 0..machines.nodes.len() {
                self.welcome(core, peer, machines, net)?;
                let target = machines.facing(core, peer);
                if peer != node
                    && net.connected(node, peer)
                    && machines.slots[target].running.is_some()
                    && let Some(running) = &machines.slots[core].running
                {
                    self.cores[target].known[node] = running.position();
                }
            }
        }
        Ok(())
    }

    /// A node that was started is told what its peers know of its log, by every peer within reach.
    pub(super) fn welcome_node(&self, node: usize, machines: &Machines, net: &Network) -> Checked {
        for core in machines.cores_of(node) {
            for peer in 0..machines.nodes.len() {
                self.welcome(core, peer, machines, net)?;
            }
        }
        Ok(())
    }

    /// When a node stops, it forgets the positions that it had not noted durably.
    pub(super) fn forget(&mut self, core: usize) {
        let logs = &mut self.cores[core];
        logs.known.clone_from(&logs.noted);
    }

    /// A bug planted on purpose: the notes are gone too.
    pub(super) fn forget_notes(&mut self, core: usize) {
        let logs = &mut self.cores[core];
        logs.known.fill(LogPosition::default());
        logs.noted.fill(LogPosition::default());
    }

    fn welcome(&self, core: usize, peer: usize, machines: &Machines, net: &Network) -> Checked {
        let (node, there) = (machines.node_index(core), machines.facing(core, peer));
        let is_linked = net.connected(node, peer) && net.connected(peer, node);
        let Some(running) = &machines.slots[core].running else { return Ok(()) };
        let known = self.cores[there].known[node];
        if peer == node || !is_linked || machines.slots[there].running.is_none() || running.holds(known) {
            return Ok(());
        }
        let (place, own) = (machines.slots[core].place, running.position());
        let detail =
            format!("{place}, whose log ends at {own:?}, does not hold {known:?}, which n{} knows", peer + 1);
        Err(Violation::new("honest-node-condemned", detail))
    }

    /// An old copy of a node's disks is put back while the node is down. Each peer alone has to recognise it
    /// as old. Then the node has its newest disks again.
    ///
    /// # Errors
    /// When a peer takes the old copy for the node.
    pub(super) fn meet_old_copy(
        &self,
        node: usize,
        old: &[MemCopy],
        machines: &Machines,
        params: &Params,
    ) -> Checked {
        let newest = machines.copy_of(node);
        machines.put_back(node, old);
        for peer in (0..machines.nodes.len()).filter(|&peer| peer != node) {
            let mut is_noticed = false;
            for core in machines.cores_of(node) {
                let known = self.cores[machines.facing(core, peer)].known[node];
                let slot = &machines.slots[core];
                is_noticed |= !log_holds(params, slot.place, &slot.image, known)?;
            }
            if !is_noticed {
                let detail = format!("n{} takes n{} for what it was", peer + 1, node + 1);
                return Err(Violation::new("old-copy-believed", detail));
            }
            machines.put_back(node, old);
        }
        machines.put_back(node, &newest);
        Ok(())
    }
}
