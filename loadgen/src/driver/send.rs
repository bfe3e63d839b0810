//! How operations reach a connection: to the leader of their group where one is known and reached, else anywhere. And what
//! becomes of them when the connection breaks.

use super::answer::{ReadFate, WriteFate};
use super::link::State;
use super::op::{Op, OpId, Spot, Stage, Work};
use super::plan::ns;
use super::resp;
use super::{Driver, TOPOLOGY_NS, TOPOLOGY_URGENT_NS};
use crate::admission::NotAdmitted;
use crate::options::{Protocol, Switch};
use synod_net::binary;
use synod_types::{Command, Condition, Consistency, Expiry, GroupId, NodeId, Op as Action, SessionStamp};

/// A link with this much to send takes no more: the other side does not read, and memory is bounded.
const OUT_BYTES_MAX: usize = 4 << 20;
/// First pause before an operation is sent again; doubles up to 64 times as much.
const RETRY_NS: u64 = 2_000_000;
/// Sessions that one thread opens at the same time.
const OPENING_MAX: usize = 256;
/// Operations without a session that are looked at in one turn.
const UNSTAMPED_LOOKS: usize = 256;

impl Driver {
    /// Sends the operation, or lets it wait where it has to.
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
        // What waits already goes first.
        let link = if self.queues[endpoint].is_empty() { self.free_link(endpoint) } else { None };
        match link {
            Some(link) => self.send(id, link, now_ns),
            None => {
                self.set_spot(id, Spot::Queued(endpoint));
                self.queues[endpoint].push_back(id);
            }
        }
    }

    /// Sends again after a pause.
    pub(super) fn rest(&mut self, id: OpId, reason: &'static str, now_ns: u64) {
        self.tally.count_error(reason);
        self.tally.retries += 1;
        let Some(op) = self.ops.get_mut(id) else { return };
        let pause_ns = RETRY_NS << op.attempts.min(6);
        op.attempts += 1;
        op.spot = Spot::Resting;
        self.resting.push(std::cmp::Reverse((now_ns + pause_ns, id)));
    }

    /// Moves on what waits: for its time, for a connection, for a session, for room.
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
                // It came here because it can go nowhere better; moving it about would help nobody.
                None => self.is_endpoint_up(endpoint),
            };
            if belongs_here {
                let Some(link) = self.free_link(endpoint) else { break };
                self.queues[endpoint].pop_front();
                self.send(id, link, now_ns);
            } else {
                // To another queue for certain, so this ends.
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

    /// The endpoint of the leader, else any that is up, in turn.
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

    /// A link to the endpoint that has room: in one turn of the driver the same one as long as it has, so that what leaves
    /// together leaves in one write; in the next turn the next one.
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

    /// What leaves from now on leaves over the next links.
    pub(super) fn turn_links(&mut self) {
        for (cursor, links) in self.cursors.iter_mut().zip(&self.links_of) {
            *cursor = if *cursor + 1 < links.len() { *cursor + 1 } else { 0 };
        }
    }

    /// What leaves next to the link's endpoint leaves over this link, if it has room.
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
                    return resp::encode(out, &[b"GET", &self.name]);
                }
                let command = Command::plain(self.name.as_slice(), Action::Get);
                binary::encode_request(out, id.to_wire(), Consistency::Linearizable, &command);
            }
            Work::Write { ticket, place } => {
                self.names.write(&mut self.name, op.key);
                let value_crc = self.values.write(&mut self.value, u64::from(op.key), ticket.sequence());
                if is_resp {
                    return resp::encode(out, &[b"SET", &self.name, &self.value]);
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

    /// The connection is gone, or given up: what it owed is asked again elsewhere, if it may be.
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

    /// The server does not let the generator in, now or later: the run is over.
    pub(super) fn on_not_admitted(&mut self, link: usize, why: NotAdmitted, now_ns: u64) {
        let addr = self.routes.endpoints()[self.links[link].endpoint].addr;
        self.failure.get_or_insert_with(|| format!("{addr} {why}"));
        self.lose(link, why.name(), now_ns);
    }

    /// Gives up what is past its deadline, and connections that owe and are silent.
    pub(super) fn sweep(&mut self, now_ns: u64) {
        let stall_ns = ns(self.options.stall);
        for link in 0..self.links.len() {
            if self.links[link].is_stalled(now_ns, stall_ns) {
                self.lose(link, "connection silent", now_ns);
            } else if matches!(self.links[link].state, State::Connecting { until_ns } if until_ns <= now_ns) {
                self.lose(link, "not connected", now_ns);
            }
        }
        for id in self.ops.select(|op| op.deadline_ns <= now_ns) {
            let op = self.ops.get(id).expect("selected just now");
            let is_sent = matches!(op.spot, Spot::Sent(_));
            if let Spot::Sent(link) = op.spot {
                // It keeps its place on the connection: a cluster that is behind must not be sent more and more.
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
                deadline_ns: now_ns + ns(self.options.timeout),
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

    /// Asks every node who leads, now and then, and soon when something went wrong.
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
        assert!(matches!(target.state, State::Probing | State::Up), "asked where nobody listens");
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
