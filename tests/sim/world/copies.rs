//! How far nodes know each other's logs, and old copies of a node (P-20).
//!
//! The positions are not sent as messages: they draw on no stream of random numbers and appear in no trace. A
//! refusal of an honest node is a violation in every run.

use super::{Event, World};
use crate::check::{Checked, Violation};
use crate::sim::node::log_holds;
use crate::sim::queue::SECOND;
use synod_shard::Canary;
use synod_types::LogPosition;
use synod_wal::mem::MemCopy;

impl World {
    /// Every node welcomes the nodes that reach it, and then tells its position. The durable notes lag one
    /// telling behind.
    pub(super) fn on_positions(&mut self) -> Checked {
        self.queue.after(SECOND, Event::Positions);
        for slot in &mut self.slots {
            slot.noted.clone_from(&slot.known);
        }
        for core in 0..self.slots.len() {
            let node = self.node_index(core);
            for peer in 0..self.nodes.len() {
                self.welcome(core, peer)?;
                let target = self.facing(core, peer);
                if peer != node
                    && self.net.connected(node, peer)
                    && self.slots[target].running.is_some()
                    && let Some(running) = &self.slots[core].running
                {
                    let position = running.position();
                    self.slots[target].known[node] = position;
                }
            }
        }
        Ok(())
    }

    /// A node that was started is told what its peers know of its log, by every peer within reach.
    pub(super) fn welcome_node(&self, node: usize) -> Checked {
        for core in self.cores_of(node) {
            for peer in 0..self.nodes.len() {
                self.welcome(core, peer)?;
            }
        }
        Ok(())
    }

    /// When a node stops, it forgets the positions that it had not noted durably.
    pub(super) fn forget_positions(&mut self, core: usize) {
        let slot = &mut self.slots[core];
        slot.known.clone_from(&slot.noted);
        if self.params.options.canary == Some(Canary::PositionsForgotten) {
            slot.known.fill(LogPosition::default());
            slot.noted.fill(LogPosition::default());
        }
    }

    /// The core of `peer` that holds the same groups as `core`.
    fn facing(&self, core: usize, peer: usize) -> usize {
        let core_count = usize::from(self.params.core_count);
        peer * core_count + core % core_count
    }

    fn welcome(&self, core: usize, peer: usize) -> Checked {
        let (node, there) = (self.node_index(core), &self.slots[self.facing(core, peer)]);
        let is_linked = self.net.connected(node, peer) && self.net.connected(peer, node);
        let Some(running) = &self.slots[core].running else { return Ok(()) };
        let known = there.known[node];
        if peer == node || !is_linked || there.running.is_none() || running.holds(known) {
            return Ok(());
        }
        let (place, own) = (self.slots[core].place, running.position());
        let detail =
            format!("{place}, whose log ends at {own:?}, does not hold {known:?}, which n{} knows", peer + 1);
        Err(Violation::new("honest-node-condemned", detail))
    }

    /// A copy of a node's disks as they are now.
    pub fn copy_of(&self, node: usize) -> Vec<MemCopy> {
        self.cores_of(node).map(|core| self.slots[core].image.copy()).collect()
    }

    fn put_back(&self, node: usize, copies: &[MemCopy]) {
        for (core, copy) in self.cores_of(node).zip(copies) {
            self.slots[core].image.put_back(copy);
        }
    }

    /// The node's machine goes down, and an old copy of its disks is put back. Each peer alone has to
    /// recognise it as old. Then the node comes back with its newest disks.
    ///
    /// # Errors
    /// When a peer takes the old copy for the node, or does not accept the newest disks.
    pub fn meet_old_copy(&mut self, node: usize, old: &[MemCopy]) -> Checked {
        self.stop_node(node, true);
        let newest = self.copy_of(node);
        self.put_back(node, old);
        for peer in (0..self.nodes.len()).filter(|&peer| peer != node) {
            let mut is_noticed = false;
            for core in self.cores_of(node) {
                let known = self.slots[self.facing(core, peer)].known[node];
                let slot = &self.slots[core];
                is_noticed |= !log_holds(&self.params, slot.place, &slot.image, known)?;
            }
            if !is_noticed {
                let detail = format!("n{} takes n{} for what it was", peer + 1, node + 1);
                return Err(Violation::new("old-copy-believed", detail));
            }
            self.put_back(node, old);
        }
        self.put_back(node, &newest);
        self.start_node(node)
    }
}
