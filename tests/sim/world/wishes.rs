//! The wishes of an administrator: that another node lead a group. They are no faults, but they come at the
//! worst moments.

use super::event::SimEvent;
use super::machines::Machines;
use super::timeline::Timeline;
use crate::sim::node::Incoming;
use crate::sim::params::Params;
use crate::sim::rng::Rng;
use synod_shard::Role;
use synod_types::{GroupId, NodeId};

/// The wishes, drawn at random.
#[derive(Debug)]
pub(super) struct Wishes {
    rng: Rng,
}

impl Wishes {
    pub(super) fn new(params: &Params) -> Self {
        Self { rng: Rng::named(params.options.seed, "wish") }
    }

    /// The leader of some group is told to transfer its leadership to another node; returns the group.
    pub(super) fn on_next_wish(&mut self, machines: &mut Machines, time: &mut Timeline) -> Option<GroupId> {
        let interval = time.params.wish_interval;
        if !time.faults_on || interval == 0 {
            return None;
        }
        let next = self.rng.exponential(interval);
        time.queue.after(next, SimEvent::NextWish);
        let group = GroupId::new(self.rng.between(1, u64::from(time.params.group_count)) as u16);
        let target = NodeId::new(self.rng.between(1, u64::from(time.params.node_count)) as u16);
        for core in 0..machines.slots.len() {
            let slot = &machines.slots[core];
            let Some(running) = slot.running.as_ref() else { continue };
            let leads = running.shard().status().any(|it| it.group == group && it.role == Role::Leader);
            if leads && slot.place.node != target {
                machines.hand(core, Incoming::TransferLeadership(group, target), time);
            }
        }
        Some(group)
    }
}
