//! The generator as a state machine: times and received bytes in, bytes to send and verdicts out. It has no
//! sockets, no clock and no threads; `client/` provides those.
//!
//! ```text
//!  order ──▶ plan ──▶ send ──▶ link.out ──▶ (shell)
//!              ▲        ▲                      │
//!       one per reply   │ again                ▼
//!              └──── answer ◀── decoder ◀── (shell)
//!                       │
//!                       ▼
//!              ledger · tally · history
//! ```
//!
//! Every operation that is begun ends exactly once: answered, refused, unknown, or in contradiction to what
//! is known. No operation is waited for longer than its deadline.

mod answer;
mod link;
mod op;
mod plan;
mod resp;
mod resp_wire;
mod route;
mod send;
mod session;
mod state;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use resp_wire::encode as encode_resp;
pub use route::{Endpoint, spread};
pub use state::{Driver, Order, Setup};
pub use tally::{AuditTally, KindSecond, KindTally, Measured, Second, Tally};

use crate::clock::nanos;
use crate::ledger::Ledger;
use crate::options::Protocol;
use link::{Link, LinkState};
use op::OpId;
use state::Active;
use std::net::SocketAddr;
use synod_net::binary;

/// How often deadlines and silent connections are checked.
const SWEEP_NS: u64 = 20_000_000;

impl Driver {
    /// Begins a part of the run. The one before must be done.
    pub fn begin(&mut self, order: Order, now_ns: u64) {
        assert!(self.is_done(), "an order was given before the last was done");
        self.active = match order {
            Order::Open { until_ns } => Active::Open { until_ns },
            Order::Preload { until_ns } => Active::Preload { until_ns, next: self.workload.keys().start },
            Order::Load { mix, rate_per_s, start_ns, measured_ns, end_ns } => {
                assert!(start_ns <= measured_ns && measured_ns < end_ns, "the parts of a phase are in order");
                let schedule = self.schedule(rate_per_s, start_ns, end_ns);
                self.blocked_until_ns = 0;
                Active::Load { mix, measured_ns, end_ns, schedule, held: None }
            }
            Order::Audit { until_ns } => {
                let keys: Vec<_> = self.ledger.written_keys().collect();
                self.tally.audit.keys += keys.len() as u64;
                Active::Audit { until_ns, keys, next: 0 }
            }
        };
        self.planned_before = 0;
        self.phase_start_ns = now_ns;
        self.second = Second::new(self.phase_at(now_ns), now_ns, now_ns);
    }

    /// Why the order failed; every later order fails too.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
    /// Stops beginning load and preload operations; open ones complete.
    pub fn stop(&mut self, now_ns: u64) {
        match &mut self.active {
            Active::Load { end_ns, schedule, held, measured_ns, .. } => {
                *end_ns = (*end_ns).min(now_ns);
                *measured_ns = (*measured_ns).min(*end_ns);
                *held = None;
                if let Some(schedule) = schedule {
                    schedule.stop(now_ns);
                }
            }
            Active::Preload { until_ns, .. } => *until_ns = (*until_ns).min(now_ns),
            Active::Idle | Active::Open { .. } | Active::Audit { .. } => {}
        }
    }

    /// One turn: does everything that is due. Afterwards the shell connects, sends and closes.
    pub fn turn(&mut self, now_ns: u64) {
        if now_ns >= self.next_sweep_ns {
            self.next_sweep_ns = now_ns + SWEEP_NS;
            self.sweep(now_ns);
        }
        self.turn_links();
        self.move_waiting(now_ns);
        self.ask_topology(now_ns);
        self.open_sessions(now_ns);
        self.plan(now_ns);
        self.turn_second(now_ns);
    }

    /// A link to connect now, and its address. The shell reports the result with [`Driver::on_connected`] or
    /// [`Driver::on_closed`].
    pub fn next_connect(&mut self, now_ns: u64) -> Option<(usize, SocketAddr)> {
        if self.failure.is_some() {
            return None; // the run is over
        }
        let due = |link: &Link| matches!(link.state, LinkState::Down { until_ns } if until_ns <= now_ns);
        let index = self.links.iter().position(due)?;
        let link = &mut self.links[index];
        // The shell has a shorter timeout of its own.
        link.state = LinkState::Connecting { until_ns: now_ns.saturating_add(2 * nanos(self.options.stall)) };
        Some((index, self.routes.endpoints()[link.endpoint].addr))
    }
    /// The shell calls this when the link is connected.
    pub fn on_connected(&mut self, link: usize, now_ns: u64) {
        let reconnected = self.links[link].was_tried;
        self.tally.reconnects += u64::from(reconnected);
        let state = &mut self.links[link];
        state.state = LinkState::Probing;
        if self.options.protocol == Protocol::Resp {
            return self.greet_resp(link, now_ns);
        }
        state.out.extend_from_slice(&binary::PREAMBLE);
        if let Some(password) = &self.options.password {
            state.note_asked(now_ns);
            binary::encode_auth(&mut state.out, OpId::AUTH, password.bytes());
        }
        self.ask_topology_on(link, now_ns);
    }
    /// The shell calls this when the link is closed, or could not be connected.
    pub fn on_closed(&mut self, link: usize, now_ns: u64) {
        if !matches!(self.links[link].state, LinkState::Down { .. }) {
            let name = if self.is_connecting(link) { "not connected" } else { "connection lost" };
            self.lose(link, name, now_ns);
        }
    }
    /// Whether the driver waits for the shell to connect the link.
    pub fn is_connecting(&self, link: usize) -> bool {
        matches!(self.links[link].state, LinkState::Connecting { .. })
    }
    /// The bytes to send on the link; the shell removes the bytes it has sent from the front.
    pub fn out(&mut self, link: usize) -> &mut Vec<u8> {
        &mut self.links[link].out
    }
    /// The number of links.
    pub fn link_count(&self) -> usize {
        self.links.len()
    }
    /// Takes the seconds that have ended.
    pub fn take_seconds(&mut self) -> Vec<Second> {
        std::mem::take(&mut self.seconds)
    }
    /// The history that was not taken yet, if one is kept.
    pub fn history(&mut self) -> Option<&mut Vec<u8>> {
        self.history.as_mut()
    }
    /// Counts the processor time of the thread in a phase of load that took `wall_ns`.
    pub fn count_cpu(&mut self, cpu_ns: u64, wall_ns: u64) {
        *self.tally.cpu_ns.get_or_insert(0) += cpu_ns;
        let share = cpu_ns as f64 / wall_ns.max(1) as f64;
        self.tally.cpu_share = Some(self.tally.cpu_share.map_or(share, |before| before.max(share)));
    }
    /// Takes what was measured since the last call.
    pub fn take_measured(&mut self) -> Measured {
        self.tally.take_measured()
    }
    /// Ends the driver; returns the counts and the ledger.
    pub fn finish(self) -> (Tally, Ledger) {
        (self.tally, self.ledger)
    }
}
