//! One seed determines everything: cluster, limits (tiny, so that their edges are near), speeds, and which
//! faults are on (swarm testing, Groce et al. 2012: a random subset of features finds bugs that all features
//! together hide).

use super::fault::FaultKind;
use super::queue::{MS, US};
use super::rng::Rng;
use std::fmt;
use synod_replica::placement::succession;
use synod_shard::{AheadLimits, Canary, FollowLoad, Leadership, Timing};
use synod_types::limits::LOG_NOTE_BYTES;
use synod_types::{GroupId, Level, Nanos, NodeId};

/// The longest span after which a key expires, and the most by which its expiry may be extended.
pub const EXPIRY_SPAN_MAX: u64 = 5_000 * MS;

/// The evidence a run is judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Eyes {
    /// Everything: records, messages and cursors of every node, and what the clients see.
    #[default]
    All,
    /// Only what clients can see, and that replicas end up equal. A bug planted on purpose must be found in
    /// this way too: it shows that the faults are strong enough, and not only that the protocol's checkers
    /// know its rules.
    Clients,
}

/// The choices of a simulation's caller; everything else follows from the seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Simulated seconds with faults.
    pub seconds: u64,
    /// A known bug to plant.
    pub canary: Option<Canary>,
    /// Whether every event is printed as it happens.
    pub trace: bool,
    /// The evidence the run is judged by.
    pub eyes: Eyes,
}

impl Options {
    /// The seed, 60 simulated seconds, no bug.
    pub fn new(seed: u64) -> Self {
        Self { seed, seconds: 60, canary: None, trace: false, eyes: Eyes::All }
    }
}

/// Everything a run is made from.
#[derive(Clone, Debug)]
pub struct Params {
    /// The options it was derived from.
    pub options: Options,
    /// Nodes of the cluster.
    pub node_count: u16,
    /// Cores per node.
    pub core_count: u16,
    /// Data groups.
    pub group_count: u16,
    /// Whether the system group runs too.
    pub system_group: bool,
    /// Protocol timing, the same on all nodes.
    pub timing: Timing,
    /// Per-core limits.
    pub limits: Limits,
    /// The network.
    pub net: NetParams,
    /// The disks.
    pub disk: DiskParams,
    /// The clocks.
    pub clock: ClockParams,
    /// The clients.
    pub load: LoadParams,
    /// Faults that may happen.
    pub faults: Vec<FaultKind>,
    /// Mean time between two faults, nanoseconds.
    pub fault_interval: u64,
    /// An isolation lasts this many times longer than usual.
    pub isolation_times: u64,
    /// Mean time between two transfers of leadership asked for, nanoseconds; 0 for none.
    pub wish_interval: u64,
    /// Whether every node is asked for the same key when leaders change.
    pub read_bursts: bool,
    /// Whether there are connections that pipeline their writes.
    pub has_pipelines: bool,
    /// Whether an error is a fault where the client's node is up and in the majority.
    pub is_gray: bool,
}

/// Limits of one core.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Slab cache budget.
    pub cache_bytes: usize,
    /// Payload bytes that may wait in one group.
    pub pending_bytes_max: usize,
    /// Payload bytes of one core that may wait for the disk before nothing new is proposed.
    pub log_backlog_bytes_max: usize,
    /// Slots in flight per group.
    pub pipeline_slots: u64,
    /// The policy that moves leaders.
    pub leadership: Leadership,
    /// Limits of what a group holds above its applied slot.
    pub ahead: AheadLimits,
    /// Longest time between an input and the turn that takes it, nanoseconds.
    pub turn_delay_max: u64,
    /// Size of a log segment.
    pub segment_bytes: u32,
    /// Size at which a log block closes.
    pub block_bytes_max: u32,
    /// Log writes in flight.
    pub writes_in_flight: usize,
    /// Of those, blocks that are not full.
    pub small_writes_in_flight: usize,
    /// After this many bytes the log notes how many records each group has written.
    pub note_bytes: u64,
}

/// How the network behaves when nothing is cut.
#[derive(Clone, Copy, Debug)]
pub struct NetParams {
    /// Shortest delay, nanoseconds.
    pub delay_min: u64,
    /// Mean of the delay on top of `delay_min`.
    pub delay_mean: u64,
    /// How often a message takes `tail_max` or less instead, per million.
    pub tail_ppm: u64,
    /// Longest delay of such a message.
    pub tail_max: u64,
    /// Lost messages per million.
    pub loss_ppm: u64,
    /// Messages that arrive twice, per million.
    pub duplicate_ppm: u64,
    /// Whether a link delivers in order (a TCP connection) or not.
    pub ordered: bool,
    /// Links that break and are made again without a cause, per million messages.
    pub flap_ppm: u64,
    /// Answers to candidates that arrive up to [`NetParams::late_vote_max`] late, per million.
    pub late_vote_ppm: u64,
    /// More than a lease and an election together.
    pub late_vote_max: u64,
    /// Promises that arrive a second time when their candidate stands again, per million.
    pub kept_vote_ppm: u64,
    /// Answered forwards that arrive a second time, per million.
    pub resend_ppm: u64,
}

/// How the disks behave when nothing stalls.
#[derive(Clone, Copy, Debug)]
pub struct DiskParams {
    /// Range of the time a write takes, nanoseconds. A wide range makes completions overtake each other.
    pub write_ns: (u64, u64),
    /// Range of the time a read takes.
    pub read_ns: (u64, u64),
    /// Range of the time it takes to make a segment.
    pub prepare_ns: (u64, u64),
    /// How often an operation takes `stall_ns` longer, per million.
    pub stall_ppm: u32,
    /// See `stall_ppm`.
    pub stall_ns: u64,
}

/// How wrong the clocks are.
#[derive(Clone, Copy, Debug)]
pub struct ClockParams {
    /// Whether they run further apart than leases allow for: then only writes and quorum reads are promised
    /// (P-07f).
    pub is_loose: bool,
    /// Boot-time clocks run at most this much fast or slow, parts per million.
    pub drift_ppm_max: u64,
    /// Wall clocks are off by at most this much, milliseconds.
    pub wall_ms_max: u64,
    /// Wall clocks move in steps of this size, milliseconds: a whole second where nodes are to give different
    /// entries the same time.
    pub wall_grain_ms: u64,
}

/// The clients' load.
#[derive(Clone, Copy, Debug)]
pub struct LoadParams {
    /// Clients.
    pub client_count: u32,
    /// How many of them use sessions.
    pub session_client_count: u32,
    /// Keys of each kind, per group.
    pub keys_per_kind: u32,
    /// Longest burst of requests without a pause.
    pub burst_max: u64,
    /// Mean pause between bursts, nanoseconds.
    pub pause_mean: u64,
    /// How long a client waits for an answer before it calls it unknown or retries.
    pub timeout: u64,
    /// Longest value of ordinary size.
    pub value_bytes_max: u64,
    /// Largest value, drawn for one write in a hundred; 0 for none.
    pub large_value_bytes_max: u64,
    /// Reads among operations, percent.
    pub read_percent: u64,
    /// Requests of a session sent to a second node as well, percent.
    pub hedge_percent: u64,
    /// One write in this many empties a group instead; 0 for none.
    pub flush_one_in: u64,
}

impl Params {
    /// The parameters of a seed.
    pub fn derive(options: Options) -> Self {
        let mut rng = Rng::named(options.seed, "params");
        let rng = &mut rng;
        let node_count = if rng.below(3) == 0 { 5 } else { 3 };
        let core_count = if rng.below(6) == 0 { 2 } else { 1 };
        let mut group_count = *rng.pick(&[1, 1, 2, 2, 4]);
        let system_group = rng.below(3) == 0;
        let timing = derive_timing(rng);
        let mut limits = derive_limits(rng, options.seed);
        let net = derive_net(rng, options.seed, &timing);
        let disk = derive_disk(rng);
        let clock = derive_clock(rng, options.seed, &timing);
        let mut load = derive_load(rng, node_count);
        let flushes = &mut Rng::named(options.seed, "flush");
        load.flush_one_in = if flushes.coin() { flushes.between(100, 400) } else { 0 };
        let mut faults = derive_faults(rng);
        let rooms = &mut Rng::named(options.seed, "rooms");
        if rooms.below(4) == 0 {
            faults.push(FaultKind::FullDisk);
            // Clients that are quick enough, and segments small enough to be filled by them.
            load.pause_mean /= 8;
            load.value_bytes_max = 8000;
            limits.segment_bytes = 512 << 10;
        }
        let gray = &mut Rng::named(options.seed, "gray");
        for kind in [FaultKind::AllDisksStall, FaultKind::SlowDisk, FaultKind::SlowLinks] {
            if !faults.is_empty() && gray.below(4) == 0 {
                faults.push(kind);
            }
        }
        let read_bursts = Rng::named(options.seed, "read bursts").coin();
        let mut fault_interval = rng.between(150, 4000) * MS;
        let wishes = &mut Rng::named(options.seed, "wishes");
        let wish_interval = if wishes.coin() { wishes.between(50, 2000) * MS } else { 0 };
        // Now and then isolations are long enough, and clients quick enough, for a replica to miss thousands
        // of slots.
        let is_exile = Rng::named(options.seed, "exile").below(8) == 0;
        let isolation_times = if is_exile { 20 } else { 1 };
        if is_exile {
            faults = vec![FaultKind::Isolate, FaultKind::Kill];
            load.pause_mean /= 8;
            group_count = 1;
            fault_interval = 12_000 * MS; // rarely two at once: the others must go on
        }
        // Every core has a group of its own, except where there is to be only one group.
        let group_count = if is_exile { group_count } else { group_count.max(core_count) };
        Self {
            options,
            node_count,
            core_count,
            group_count,
            system_group,
            timing,
            limits,
            net,
            disk,
            clock,
            load,
            faults,
            fault_interval,
            isolation_times,
            wish_interval,
            read_bursts,
            has_pipelines: Rng::named(options.seed, "pipelining").below(3) == 0,
            is_gray: false,
        }
    }

    /// The level of a node in a life. In some runs a node is restarted as a later build, and stays one.
    pub fn level(&self, node: NodeId, life: u64) -> Level {
        let mut upgrades = Rng::named(self.options.seed, "upgrades");
        if upgrades.below(3) != 0 {
            return Level::OWN;
        }
        let mut own = Rng::named(self.options.seed, &format!("upgrade of {node}"));
        let is_later = life >= own.below(8);
        if is_later { Level::new(Level::OWN.get() + 1) } else { Level::OWN }
    }

    /// The node that leads a group when all is well.
    pub fn preferred(&self, group: GroupId) -> NodeId {
        let nodes: Vec<NodeId> = (1..=self.node_count).map(NodeId::new).collect();
        succession(group, self.core_count, &nodes)[0]
    }

    /// How far apart the times by which two nodes judge expiry can be at the end of the run, in nanoseconds.
    pub fn expiry_slack(&self) -> u64 {
        let wall = 2 * (self.clock.wall_ms_max + self.clock.wall_grain_ms) * MS;
        let run = (self.options.seconds + 60) * super::queue::SECOND;
        // The clock is steered by up to two hundredths either way, and a new leader's clock is behind by the
        // time a heartbeat was under way. The clock is set from wall clocks only where no node has heard the
        // old leader.
        let steered = 4 * EXPIRY_SPAN_MAX / 50 + 200 * MS;
        // Milliseconds are rounded at several places; 5 ms cover them.
        wall + steered + run / 1_000_000 * 2 * self.clock.drift_ppm_max + 5 * MS
    }
}

fn derive_leadership(rng: &mut Rng) -> Leadership {
    let window = Nanos::from_ms(rng.between(50, 1000));
    match rng.below(3) {
        // Few clients ask, so a handful of requests must be enough.
        0 => Leadership::Follow(FollowLoad { window, requests_min: rng.between(1, 4) }),
        1 => Leadership::Balance,
        _ => Leadership::Stay,
    }
}

/// Small limits, so that a replica that misses a message has a gap, and holds most of what lies behind the
/// gap only in its log.
fn derive_ahead(rng: &mut Rng) -> AheadLimits {
    AheadLimits {
        near_slots: *rng.pick(&[1, 8, 64, 1024]),
        slots: *rng.pick(&[16, 1 << 20, 1 << 20]),
        bytes: *rng.pick(&[0, 1 << 10, 16 << 10, 8 << 20]),
    }
}

fn derive_timing(rng: &mut Rng) -> Timing {
    let lease_ms = *rng.pick(&[150, 300, 300, 600]);
    let (resend, patience) = (rng.between(20, 150), rng.between(500, 4000));
    Timing {
        heartbeat: Nanos::from_ms(lease_ms / 6),
        lease: Nanos::from_ms(lease_ms),
        drift: Nanos::from_ms(lease_ms / 30),
        election_jitter: Nanos::from_ms(lease_ms * 2 / 5),
        rank_delay: Nanos::from_ms(lease_ms / 5),
        resend: Nanos::from_ms(resend),
        patience: Nanos::from_ms(patience),
        request_max: Nanos::from_ms(2 * patience),
        skew_max_ms: 30_000,
    }
}

/// Two clocks may differ in speed by so much that a lease less its drift, counted by the slowest, still ends
/// before a lease counted by the fastest. Nine tenths of that, to allow for rounding.
fn drift_ppm_allowed(timing: &Timing) -> u64 {
    timing.drift.0 * 1_000_000 / timing.lease.0 / 2 * 9 / 10
}

/// A fast clock runs up to four times as fast as a slow one.
pub const DRIFT_PPM_LOOSE: u64 = 600_000;

fn derive_limits(rng: &mut Rng, seed: u64) -> Limits {
    Limits {
        cache_bytes: 1 << rng.between(16, 21),
        // At least room for the largest value, which would never be accepted otherwise.
        pending_bytes_max: *rng.pick(&[128 << 10, 1 << 20, 4 << 20]),
        log_backlog_bytes_max: *Rng::named(seed, "backlog").pick(&[16 << 10, 256 << 10, 64 << 20]),
        pipeline_slots: *rng.pick(&[1, 2, 4, 16, 64]),
        leadership: derive_leadership(&mut Rng::named(seed, "follow load")),
        ahead: derive_ahead(&mut Rng::named(seed, "ahead")),
        turn_delay_max: rng.between(1, 300) * US,
        segment_bytes: *rng.pick(&[512 << 10, 1 << 20, 4 << 20]),
        block_bytes_max: *rng.pick(&[4 << 10, 16 << 10, 64 << 10]),
        writes_in_flight: rng.between(1, 8) as usize,
        small_writes_in_flight: Rng::named(seed, "small writes").between(1, 4) as usize,
        note_bytes: *Rng::named(seed, "notes").pick(&[1 << 10, 64 << 10, LOG_NOTE_BYTES]),
    }
}

fn derive_net(rng: &mut Rng, seed: u64, timing: &Timing) -> NetParams {
    let ordered = rng.below(3) == 0;
    let lossy = !ordered && rng.coin();
    let slow = rng.below(4) == 0;
    let mut net = NetParams {
        delay_min: rng.between(20, 200) * US,
        delay_mean: if slow { rng.between(1, 15) * MS } else { rng.between(20, 500) * US },
        tail_ppm: if rng.coin() { rng.between(100, 30_000) } else { 0 },
        tail_max: rng.between(5, 300) * MS,
        loss_ppm: if lossy { rng.between(1_000, 200_000) } else { 0 },
        duplicate_ppm: if !ordered && rng.coin() { rng.between(1_000, 100_000) } else { 0 },
        ordered,
        flap_ppm: if rng.below(3) == 0 { rng.between(10, 1000) } else { 0 },
        late_vote_ppm: 0,
        late_vote_max: 0,
        kept_vote_ppm: 0,
        resend_ppm: 0,
    };
    let votes = &mut Rng::named(seed, "late votes");
    if !net.ordered && votes.below(3) == 0 {
        net.late_vote_ppm = votes.between(10_000, 500_000);
        net.late_vote_max = votes.between(1, 6) * timing.lease.0;
    }
    let kept = &mut Rng::named(seed, "kept votes drawn");
    if !net.ordered && kept.coin() {
        net.kept_vote_ppm = kept.between(100_000, 1_000_000);
    }
    let resends = &mut Rng::named(seed, "resends drawn");
    if resends.coin() {
        net.resend_ppm = resends.between(50_000, 1_000_000);
    }
    net
}

fn derive_disk(rng: &mut Rng) -> DiskParams {
    DiskParams {
        write_ns: (rng.between(20, 200) * US, rng.between(200, 3000) * US),
        read_ns: (rng.between(10, 100) * US, rng.between(100, 1500) * US),
        prepare_ns: (MS, rng.between(1, 50) * MS),
        stall_ppm: if rng.coin() { rng.between(100, 20_000) as u32 } else { 0 },
        stall_ns: rng.between(1, 200) * MS,
    }
}

fn derive_clock(rng: &mut Rng, seed: u64, timing: &Timing) -> ClockParams {
    let is_loose = Rng::named(seed, "loose clocks").below(8) == 0;
    let drift_ppm_max = if rng.coin() { drift_ppm_allowed(timing) } else { 0 };
    ClockParams {
        is_loose,
        drift_ppm_max: if is_loose { DRIFT_PPM_LOOSE } else { drift_ppm_max },
        wall_ms_max: *rng.pick(&[0, 5, 200, 2000]),
        wall_grain_ms: *Rng::named(seed, "wall grain").pick(&[1, 1, 1, 1, 1, 1000, 30_000, 30_000]),
    }
}

fn derive_load(rng: &mut Rng, node_count: u16) -> LoadParams {
    let client_count = rng.between(3, 8) as u32;
    LoadParams {
        client_count,
        session_client_count: rng.between(0, u64::from(client_count)) as u32,
        keys_per_kind: rng.between(1, 4) as u32,
        burst_max: rng.between(1, 30),
        // Five nodes cost more per operation: let them idle a little longer.
        pause_mean: rng.between(100, 600) * MS * u64::from(node_count) / 3,
        timeout: rng.between(200, 5000) * MS,
        value_bytes_max: *rng.pick(&[30, 300, 2000, 8000]),
        large_value_bytes_max: *rng.pick(&[0, 0, 20_000, 100_000]),
        read_percent: rng.between(15, 70),
        hedge_percent: if rng.below(3) == 0 { rng.between(1, 20) } else { 0 },
        flush_one_in: 0,
    }
}

fn derive_faults(rng: &mut Rng) -> Vec<FaultKind> {
    if rng.below(12) == 0 {
        return Vec::new(); // now and then nothing at all goes wrong
    }
    let share = rng.between(2, 8);
    let is_gray = |kind| {
        use FaultKind::{AllDisksStall, Deaf, Mute, PlannedStop, SlowDisk, SlowLinks};
        matches!(kind, AllDisksStall | SlowDisk | SlowLinks | Deaf | Mute | PlannedStop)
    };
    let drawn = FaultKind::ALL.into_iter().filter(|&kind| kind != FaultKind::FullDisk && !is_gray(kind));
    drawn.filter(|_| rng.below(10) < share).collect()
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { seed, seconds, canary, .. } = self.options;
        write!(f, "seed {seed}, {seconds} s")?;
        if let Some(canary) = canary {
            write!(f, ", canary {canary:?}")?;
        }
        if self.options.eyes == Eyes::Clients {
            write!(f, ", judged by clients only")?;
        }
        writeln!(
            f,
            ": {} nodes x {} cores, {} data groups{}",
            self.node_count,
            self.core_count,
            self.group_count,
            if self.system_group { " and the system group" } else { "" }
        )?;
        writeln!(f, "  {:?}\n  {:?}\n  {:?}", self.timing, self.limits, self.net)?;
        writeln!(f, "  {:?}\n  {:?}\n  {:?}", self.disk, self.clock, self.load)?;
        write!(f, "  faults {:?}, one per {} ms; ", self.faults, self.fault_interval / MS)?;
        if self.isolation_times > 1 {
            write!(f, "isolations last {} times longer; ", self.isolation_times)?;
        }
        if self.read_bursts {
            write!(f, "reads where leaders change; ")?;
        }
        match self.wish_interval {
            0 => write!(f, "no wishes for other leaders"),
            span => write!(f, "a wish for another leader per {} ms", span / MS),
        }
    }
}
