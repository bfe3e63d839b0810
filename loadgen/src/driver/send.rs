//! Sends operations: to the leader of their group if it is known and reachable, else to any node. Also
//! handles what happens to them when a connection breaks.

use super::answer::{ReadFate, WriteFate};
use super::link::LinkState;
use super::op::{Op, OpId, Spot, Stage, Work};
use super::resp_wire;
use super::state::Driver;
use crate::admission::NotAdmitted;
use crate::clock::nanos;
use crate::options::{Protocol, Switch};
use synod_net::binary;
use synod_types::{Command, Condition, Consistency, Expiry, GroupId, NodeId, Op as Action, SessionStamp};

/// How often each node is asked for the leaders.
const TOPOLOGY_NS: u64 = 1_000_000_000;
/// The same after something went wrong.
const TOPOLOGY_URGENT_NS: u64 = 20_000_000;
/// A link with this many bytes to send takes no more operations: the peer does not read, and memory must stay
/// bounded.
const OUT_BYTES_MAX: usize = 4 << 20;
/// First pause before an operation is sent again; it doubles up to 64 times this value.
const RETRY_NS: u64 = 2_000_000;
/// Sessions that one thread opens at the same time.
const OPENING_MAX: usize = 256;
/// Operations waiting for a session that are tried in one turn.
const UNSTAMPED_LOOKS: usize = 256;

impl Driver {
    /// Sends the operation, or puts it where it has to wait.
    pub(super) fn dispatch(&mut self, id: OpId, now_ns: u64) {
        let Some(op) = self.ops.get_mut(id) else { return };
        op.spot = Spot::Moving;
        let group = op.group;
        if let Work::Write { place: place @ None, .. } = &mut op.work
            && self.options.sessions == Switch::On
        {
            *place = self.sessions.take(group);
            if place.is_none() {
                op.spot = Spot::Unstamped;
                self.unstamped.push_back(id);
                return;
            }
        }
        let Some(endpoint) = self.route(group) else {
            self.set_spot(id, Spot::Parked);
            self.parked.push_back(id);
            return;
        };
        // Operations that already wait go first.
        let link = if self.queues[endpoint].is_empty() { self.free_link(endpoint) } else { None };
        match link {
            Some(link) => self.send(id, link, now_ns),
            None => {
                self.set_spot(id, Spot::Queued(endpoint));
                self.queues[endpoint].push_back(id);
            }
        }
    }

    /// Sends the operation again after a pause.
    pub(super) fn rest(&mut self, id: OpId, reason: &'static str, now_ns: u64) {
        self.tally.count_error(reason);
        self.tally.retries += 1;
        let Some(op) = self.ops.get_mut(id) else { return };
        let pause_ns = RETRY_NS << op.attempts.min(6);
        op.attempts += 1;
        op.spot = Spot::Resting;
        self.resting.push(std::cmp::Reverse((now_ns + pause_ns, id)));
    }

    /// Moves on operations that wait: for their pause to end, for a connection, for a session, or for room.
    pub(super) fn move_waiting(&mut self, now_ns: u64) {
        while let Some(&std::cmp::Reverse((due_ns, id))) = self.resting.peek()
            && due_ns <= now_ns
        {
            self.resting.pop();
            if self.spot(id) == Some(Spot::Resting) {
                self.dispatch(id, now_ns);
            }
        }
        if !self.parked.is_empty() && self.links.iter().any(super::Link::is_up) {
            for id in std::mem::take(&mut self.parked) {
                if self.spot(id) == Some(Spot::Parked) {
                    self.dispatch(id, now_ns);
                }
            }
        }
        for _ in 0..self.unstamped.len().min(UNSTAMPED_LOOKS) {
            let Some(id) = self.unstamped.pop_front() else { break };
            if self.spot(id) == Some(Spot::Unstamped) {
                self.dispatch(id, now_ns);
            }
        }
        for endpoint in 0..self.queues.len() {
            self.drain_queue(endpoint, now_ns);
        }
    }

    fn drain_queue(&mut self, endpoint: usize, now_ns: u64) {
        while let Some(&id) = self.queues[endpoint].front() {
            let group = match self.ops.get(id) {
                Some(op) if op.spot == Spot::Queued(endpoint) => op.group,
                _ => {
                    self.queues[endpoint].pop_front();
                    continue;
                }
            };
            let leader = self.routes.leader_endpoint(group).filter(|&leader| self.is_endpoint_up(leader));
            let belongs_here = match leader {
                Some(leader) => leader == endpoint,
                // It was queued here because there was no better place; moving it again would not help.
                None => self.is_endpoint_up(endpoint),
            };
            if belongs_here {
                let Some(link) = self.free_link(endpoint) else { break };
                self.queues[endpoint].pop_front();
                self.send(id, link, now_ns);
            } else {
                // It certainly goes to another queue, so this loop ends.
                self.queues[endpoint].pop_front();
                self.dispatch(id, now_ns);
            }
        }
    }

    pub(super) fn is_endpoint_up(&self, endpoint: usize) -> bool {
        self.links_of[endpoint].iter().any(|&link| self.links[link].is_up())
    }

    fn is_node_up(&self, node: NodeId) -> bool {
        let endpoints = self.routes.endpoints().iter().enumerate();
        endpoints.filter(|(_, endpoint)| endpoint.node == node).any(|(index, _)| self.is_endpoint_up(index))
    }

    /// The endpoint of the leader if it is up, else one of the endpoints that are up, in rotation.
    fn route(&mut self, group: GroupId) -> Option<usize> {
        if let Some(leader) = self.routes.leader_endpoint(group)
            && self.is_endpoint_up(leader)
        {
            return Some(leader);
        }
        let count = self.queues.len();
        let found = (0..count)
            .map(|step| (self.any_cursor + step) % count)
            .find(|&endpoint| self.is_endpoint_up(endpoint))?;
        self.any_cursor = found + 1;
        Some(found)
    }

    /// A link to the endpoint that has room. In one turn of the driver this is the same link as long as it
    /// has room, so that operations of one turn leave in one write. The next turn starts with the next link.
    fn free_link(&mut self, endpoint: usize) -> Option<usize> {
        let links = &self.links_of[endpoint];
        let has_room = |link: usize| {
            let link = &self.links[link];
            link.is_up() && link.outstanding < self.options.inflight && link.out.len() < OUT_BYTES_MAX
        };
        let cursor = self.cursors[endpoint];
        let step = (0..links.len()).find(|step| has_room(links[(cursor + step) % links.len()]))?;
        self.cursors[endpoint] = (cursor + step) % links.len();
        Some(links[self.cursors[endpoint]])
    }

    /// Moves on to the next link of each endpoint.
    pub(super) fn turn_links(&mut self) {
        for (cursor, links) in self.cursors.iter_mut().zip(&self.links_of) {
            *cursor = if *cursor + 1 < links.len() { *cursor + 1 } else { 0 };
        }
    }

    /// Makes this link the first choice for its endpoint.
    pub(super) fn prefer_link(&mut self, link: usize) {
        let endpoint = self.links[link].endpoint;
        let position = self.links_of[endpoint].iter().position(|&other| other == link);
        self.cursors[endpoint] = position.expect("a link is among those of its endpoint");
    }

    fn send(&mut self, id: OpId, link: usize, now_ns: u64) {
        let target = &mut self.links[link];
        assert!(target.is_up(), "an operation for a connection that is not up");
        target.note_sent(now_ns);
        let op = self.ops.get_mut(id).expect("an operation is sent while it is open");
        op.spot = Spot::Sent(link);
        op.sent_ns = now_ns;
        let is_first = op.first_sent_ns == 0;
        if is_first {
            op.first_sent_ns = now_ns;
            if !std::mem::replace(&mut op.late_noted, true) && op.stage == Stage::Measured {
                self.tally.late.record_ns(now_ns.saturating_sub(op.planned_ns));
            }
        }
        let out = &mut target.out;
        let is_resp = self.options.protocol == Protocol::Resp;
        if is_resp {
            target.asked.push_back(id.to_wire());
        }
        match &mut op.work {
            Work::OpenSession { .. } => binary::encode_open_session(out, id.to_wire(), op.group),
            Work::Read { ticket, .. } => {
                *ticket = Some(self.ledger.begin_read(op.key));
                self.names.write(&mut self.name, op.key);
                if is_resp {
                    return resp_wire::encode(out, &[b"GET", &self.name]);
                }
                let command = Command::plain(self.name.as_slice(), Action::Get);
                binary::encode_request(out, id.to_wire(), Consistency::Linearizable, &command);
            }
            Work::Write { ticket, place } => {
                self.names.write(&mut self.name, op.key);
                let value_crc = self.values.write(&mut self.value, u64::from(op.key), ticket.sequence());
                if is_resp {
                    return resp_wire::encode(out, &[b"SET", &self.name, &self.value]);
                }
                let action = Action::Set {
                    value_crc,
                    condition: Condition::Always,
                    expiry: Expiry::None,
                    return_old: false,
                };
                let stamp =
                    place.map_or(SessionStamp::default(), |place| self.sessions.stamp(op.group, place));
                let command =
                    Command { stamp, ..Command::new(self.name.as_slice(), action, self.value.as_slice()) };
                binary::encode_request(out, id.to_wire(), Consistency::Linearizable, &command);
            }
        }
    }

    /// Handles a connection that is lost or given up: its unanswered operations are sent again elsewhere,
    /// where that is allowed.
    pub(super) fn lose(&mut self, link: usize, reason: &'static str, now_ns: u64) {
        self.tally.count_error(reason);
        self.links[link].go_down(now_ns);
        self.topology_urgent = true;
        for id in self.ops.select(|op| op.spot == Spot::Sent(link)) {
            let op = self.ops.get_mut(id).expect("selected just now");
            op.spot = Spot::Moving;
            if let Work::Write { place, .. } = &op.work {
                op.doubtful = true;
                if place.is_none() {
                    self.end_write(id, WriteFate::Unknown(reason), now_ns);
                    continue;
                }
            }
            self.tally.retries += 1;
            self.dispatch(id, now_ns);
        }
    }

    /// Ends the run, because the server does not admit the generator.
    pub(super) fn on_not_admitted(&mut self, link: usize, why: NotAdmitted, now_ns: u64) {
        let addr = self.routes.endpoints()[self.links[link].endpoint].addr;
        self.failure.get_or_insert_with(|| format!("{addr} {why}"));
        self.lose(link, why.name(), now_ns);
    }

    /// Gives up operations past their deadline, and connections that owe replies and are silent.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        let stall_ns = nanos(self.options.stall);
        for link in 0..self.links.len() {
            if self.links[link].is_stalled(now_ns, stall_ns) {
                self.lose(link, "connection silent", now_ns);
            } else if matches!(self.links[link].state, LinkState::Connecting { until_ns } if until_ns <= now_ns)
            {
                self.lose(link, "not connected", now_ns);
            }
        }
        for id in self.ops.select(|op| op.deadline_ns <= now_ns) {
            let op = self.ops.get(id).expect("selected just now");
            let is_sent = matches!(op.spot, Spot::Sent(_));
            if let Spot::Sent(link) = op.spot {
                // It still counts as outstanding on the connection, so that a slow cluster is not sent more
                // and more requests.
                self.links[link].given_up += 1;
            }
            match op.work {
                Work::Write { .. } if is_sent || op.doubtful => {
                    self.end_write(id, WriteFate::Unknown("timeout"), now_ns);
                }
                Work::Write { .. } => self.end_write(id, WriteFate::Refused("not sent in time"), now_ns),
                Work::Read { .. } => self.end_read(id, ReadFate::NoAnswer("timeout"), now_ns),
                Work::OpenSession { lane } => {
                    let group = op.group;
                    self.ops.remove(id);
                    self.tally.count_error("session not opened in time");
                    self.to_open.push((group, lane));
                }
            }
        }
    }

    pub(super) fn open_sessions(&mut self, now_ns: u64) {
        while self.ops.open() - self.load_open < OPENING_MAX
            && let Some((group, lane)) = self.to_open.pop()
        {
            let op = Op {
                work: Work::OpenSession { lane },
                kind: None,
                key: 0,
                group,
                stage: Stage::Preload,
                planned_ns: now_ns,
                deadline_ns: now_ns + nanos(self.options.timeout),
                late_noted: true,
                first_sent_ns: 0,
                sent_ns: 0,
                attempts: 0,
                doubtful: false,
                spot: Spot::Moving,
            };
            let id = self.ops.insert(op);
            self.dispatch(id, now_ns);
        }
    }

    /// Asks every node for the leaders, at intervals, and sooner when something went wrong.
    pub(super) fn ask_topology(&mut self, now_ns: u64) {
        if self.options.protocol == Protocol::Resp {
            return;
        }
        let urgent = self.topology_urgent && now_ns >= self.topology_asked_ns + TOPOLOGY_URGENT_NS;
        if now_ns < self.next_topology_ns && !urgent {
            return;
        }
        self.topology_urgent = false;
        self.topology_asked_ns = now_ns;
        self.next_topology_ns = now_ns + TOPOLOGY_NS;
        let mut asked: Vec<NodeId> = Vec::new();
        for endpoint in 0..self.queues.len() {
            let node = self.routes.endpoints()[endpoint].node;
            let up = self.links_of[endpoint].iter().copied().find(|&link| self.links[link].is_up());
            if let Some(link) = up
                && !asked.contains(&node)
            {
                asked.push(node);
                self.ask_topology_on(link, now_ns);
            }
        }
    }

    pub(super) fn ask_topology_on(&mut self, link: usize, now_ns: u64) {
        let target = &mut self.links[link];
        assert!(matches!(target.state, LinkState::Probing | LinkState::Up), "asked where nobody listens");
        target.note_asked(now_ns);
        binary::encode_topology(&mut target.out, OpId::CONTROL | link as u64);
    }

    pub(super) fn learn(&mut self, link: usize, view: &binary::Topology, now_ns: u64) {
        let teller = self.routes.endpoints()[self.links[link].endpoint].node;
        let up: Vec<NodeId> =
            view.nodes.iter().map(|node| node.node).filter(|&n| self.is_node_up(n)).collect();
        self.routes.learn(teller, view, |node| up.contains(&node), now_ns);
    }

    fn spot(&self, id: OpId) -> Option<Spot> {
        self.ops.get(id).map(|op| op.spot)
    }

    fn set_spot(&mut self, id: OpId, spot: Spot) {
        if let Some(op) = self.ops.get_mut(id) {
            op.spot = spot;
        }
    }
}
