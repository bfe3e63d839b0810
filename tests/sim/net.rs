//! The network between nodes: delay, loss, duplication, reordering, links that break, and cuts in one or both
//! directions.
//!
//! A link is a *session*, as a TCP connection is: when it breaks, both ends are told before they hear of each
//! other again, and the messages of the old session are lost. (On an unordered network a straggler of the old
//! session may still come, unless it is a forwarded request or its answer: those live and die with their
//! session.)

use super::params::NetParams;
use super::queue::{Instant, MS};
use super::rng::Rng;

/// What a slow link carries in a millisecond: a megabyte in a second.
const SLOW_BYTES_PER_MS: u64 = 1_000;

/// The fate of one message: when it arrives (twice if duplicated, never if lost) and in which session of its
/// link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Arrivals.
    pub arrivals: [Option<Instant>; 2],
    /// The session it belongs to.
    pub session: u32,
}

/// A link broke: both ends are to be told of the new session at these instants, if the network can tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The session that begins.
    pub session: u32,
    /// When the two ends hear of it.
    pub told: [Instant; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    session: u32,
    /// A message was lost on an ordered link: the session ends with the next message.
    dirty: bool,
    /// Last arrival per direction (ordered links only), of heartbeats and of all else: they have a way of their
    /// own.
    last_arrival: [[Instant; 2]; 2],
}

/// The network.
#[derive(Debug)]
pub struct Network {
    params: NetParams,
    rng: Rng,
    vote_rng: Rng,
    node_count: usize,
    core_count: usize,
    /// By direction: how many cuts lie on it.
    cuts: Vec<u32>,
    /// Extra delay while congested.
    congestion: u64,
    /// By node: whether its links carry only [`SLOW_BYTES_PER_MS`].
    slow: Vec<bool>,
    links: Vec<Link>,
}

impl Network {
    /// A network between `node_count` nodes of `core_count` cores each.
    pub fn new(params: NetParams, seed: u64, node_count: usize, core_count: usize) -> Self {
        Self {
            params,
            rng: Rng::named(seed, "network"),
            vote_rng: Rng::named(seed, "votes"),
            node_count,
            core_count,
            cuts: vec![0; node_count * node_count],
            congestion: 0,
            slow: vec![false; node_count],
            links: vec![Link::default(); node_count * node_count * core_count],
        }
    }

    /// Cuts the direction `from -> to`, or takes one cut away.
    pub fn cut(&mut self, from: usize, to: usize, on: bool) {
        let cuts = &mut self.cuts[from * self.node_count + to];
        *cuts = if on { *cuts + 1 } else { cuts.checked_sub(1).expect("only a cut is mended") };
    }

    /// Adds `delay` to every message, until another call changes it.
    pub fn congest(&mut self, delay: u64) {
        self.congestion = delay;
    }

    /// The links of a node are slow, or no longer.
    pub fn slow(&mut self, node: usize, on: bool) {
        self.slow[node] = on;
    }

    /// When the last of what is under way from or to a node arrives.
    pub fn drained_at(&self, node: usize) -> Instant {
        let peers = (0..self.node_count).filter(|&peer| peer != node);
        let links = peers.flat_map(|peer| {
            (0..self.core_count).map(move |core| self.links[self.link_index(node, peer, core)])
        });
        links.flat_map(|link| link.last_arrival.into_iter().flatten()).max().unwrap_or(0)
    }

    /// From now on nothing is lost, doubled or delayed beyond the ordinary.
    pub fn heal(&mut self) {
        self.cuts.fill(0);
        self.congestion = 0;
        self.slow.fill(false);
        self.params.loss_ppm = 0;
        self.params.duplicate_ppm = 0;
        self.params.flap_ppm = 0;
        self.params.tail_ppm = 0;
        self.params.late_vote_ppm = 0;
    }

    /// The extra delay of a promise or a pre-vote's answer.
    pub fn vote_delay(&mut self) -> u64 {
        let is_late = self.params.late_vote_ppm > 0 && self.vote_rng.chance(self.params.late_vote_ppm);
        if is_late { self.vote_rng.below(self.params.late_vote_max) } else { 0 }
    }

    /// Whether `from` reaches `to`.
    pub fn connected(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.node_count + to] == 0
    }

    /// The session of the link between two nodes' cores.
    pub fn session(&self, a: usize, b: usize, core: usize) -> u32 {
        self.links[self.link_index(a, b, core)].session
    }

    /// Whether a message of an old session may still be delivered.
    pub fn stragglers(&self) -> bool {
        !self.params.ordered
    }

    /// Sends a message of so many bytes, a heartbeat if it `is_urgent`. If the link turns out to be broken, its
    /// two ends have to be told.
    pub fn send(
        &mut self,
        now: Instant,
        (from, to, core): (usize, usize, usize),
        (bytes, is_urgent): (usize, bool),
    ) -> (Way, Option<Broken>) {
        let index = self.link_index(from, to, core);
        let mut broken = None;
        let lost = Way { arrivals: [None, None], session: 0 };
        if !self.connected(from, to) {
            self.links[index].dirty |= self.params.ordered;
            return (lost, None);
        }
        if self.params.flap_ppm > 0 && self.rng.chance(self.params.flap_ppm) {
            return (lost, Some(self.break_link(now, from, to, core)));
        }
        if self.links[index].dirty {
            broken = Some(self.break_link(now, from, to, core));
        }
        let session = self.links[index].session;
        if self.params.loss_ppm > 0 && self.rng.chance(self.params.loss_ppm) {
            return (lost, broken);
        }
        let mut first = now + self.delay();
        let is_slow = self.slow[from] || self.slow[to];
        let takes = if is_slow { bytes as u64 * MS / SLOW_BYTES_PER_MS } else { 0 };
        if self.params.ordered {
            let direction = usize::from(from > to);
            let last = &mut self.links[index].last_arrival[usize::from(is_urgent)][direction];
            first = first.max(*last + 1) + takes;
            *last = first;
        } else {
            first += takes;
        }
        let second = (self.params.duplicate_ppm > 0 && self.rng.chance(self.params.duplicate_ppm))
            .then(|| now + self.delay() + self.delay());
        (Way { arrivals: [Some(first), second], session }, broken)
    }

    /// Ends the session between two nodes' cores.
    pub fn break_link(&mut self, now: Instant, a: usize, b: usize, core: usize) -> Broken {
        let index = self.link_index(a, b, core);
        let link = &mut self.links[index];
        link.session += 1;
        link.dirty = false;
        let session = link.session;
        let told = [now + self.rng.exponential(5 * MS), now + self.rng.exponential(5 * MS)];
        Broken { session, told }
    }

    /// The time one message takes.
    pub fn delay(&mut self) -> u64 {
        let NetParams { delay_min, delay_mean, tail_ppm, tail_max, .. } = self.params;
        let mut delay = delay_min + self.rng.exponential(delay_mean);
        if tail_ppm > 0 && self.rng.chance(tail_ppm) {
            delay = self.rng.between(delay_min, tail_max);
        }
        delay + self.congestion
    }

    fn link_index(&self, a: usize, b: usize, core: usize) -> usize {
        let (low, high) = (a.min(b), a.max(b));
        (low * self.node_count + high) * self.core_count + core
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: NetParams = NetParams {
        delay_min: 10,
        delay_mean: 1000,
        tail_ppm: 0,
        tail_max: 0,
        loss_ppm: 0,
        duplicate_ppm: 0,
        ordered: true,
        flap_ppm: 0,
        late_vote_ppm: 0,
        late_vote_max: 0,
        kept_vote_ppm: 0,
        resend_ppm: 0,
    };
    #[test]
    fn an_ordered_link_keeps_order_and_a_cut_ends_its_session() {
        let mut net = Network::new(CALM, 1, 3, 1);
        let mut last = 0;
        for now in 0..200 {
            let (way, _) = net.send(now, (0, 1, 0), (1, false));
            let arrival = way.arrivals[0].expect("nothing is lost");
            assert!(arrival > last && arrival >= now + 10);
            last = arrival;
        }
        net.cut(0, 1, true);
        assert_eq!(net.send(300, (0, 1, 0), (1, false)).0.arrivals, [None, None]);
        assert!(net.send(300, (1, 0, 0), (1, false)).0.arrivals[0].is_some(), "the other way is open");
        net.cut(0, 1, false);
        let (way, broken) = net.send(400, (0, 1, 0), (1, false));
        assert_eq!(way.session, net.session(0, 1, 0));
        assert!(broken.is_none(), "the message the other way noticed it first");
        assert_eq!(net.session(1, 0, 0), 1);
    }

    #[test]
    fn a_slow_link_carries_a_megabyte_in_a_second() {
        let mut net = Network::new(CALM, 1, 3, 1);
        net.slow(1, true);
        let last = (0..10).filter_map(|_| net.send(0, (0, 1, 0), (100_000, false)).0.arrivals[0]).max();
        assert!(last.is_some_and(|last| (1_000 * MS..1_001 * MS).contains(&last)), "{last:?}");
        assert!(net.send(0, (0, 2, 0), (100_000, false)).0.arrivals[0] < Some(MS), "another link");
        assert_eq!((Some(net.drained_at(1)), net.drained_at(2) < MS), (last, true));
        net.slow(1, false);
        assert!(net.send(2_000 * MS, (0, 1, 0), (100_000, false)).0.arrivals[0] < Some(2_001 * MS));
    }

    #[test]
    fn loss_and_duplication_come_about_as_often_as_asked() {
        let params = NetParams { loss_ppm: 100_000, duplicate_ppm: 100_000, ordered: false, ..CALM };
        let mut net = Network::new(params, 1, 3, 1);
        let ways: Vec<_> = (0..10_000).map(|now| net.send(now, (0, 1, 0), (1, false)).0).collect();
        let lost = ways.iter().filter(|way| way.arrivals[0].is_none()).count();
        let twice = ways.iter().filter(|way| way.arrivals[1].is_some()).count();
        assert!((900..1100).contains(&lost) && (800..1000).contains(&twice), "{lost} {twice}");
    }
}
