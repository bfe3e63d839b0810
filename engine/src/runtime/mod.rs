//! The shell around the state machines: one executor per core, with its log, its sockets and its shard.
//!
//! ```text
//!  client task ─┐                           ┌─▶ log (append, submit)        ─┐
//!  peer task  ──┼─ inputs ─▶ Replica::step ─┼─▶ peer link buffers             ├─ one flush per turn
//!  mailbox    ──┤              (effects run  └─▶ connection output buffers   ─┘
//!  timer, disk ─┘               as pushed)
//! ```
//! Readers put inputs in as they arrive. The turn task, woken once for any number of inputs, ends the turn:
//! it collects finished disk operations, lets the shard propose the gathered commands, starts log writes and
//! wakes the writers. There is no other batching: everything that arrives while one turn runs is the next
//! turn's batch.
//!
//! Arrows between the files point down only:
//! ```text
//!  mod                                                            executors, one per core
//!   └▶ leaving                                                    a planned stop
//!   └▶ client_sockets · http · peer · mailbox                     tasks at sockets and channels
//!       └▶ port                                                   their operations on the core
//!           └▶ core                                               the machine, the parts around it, the loop
//!               └▶ machine                                        the shard and its log
//!                   └▶ outlet ▶ clients · links · mail · waiters  where output goes
//!               └▶ routes · begun · space_watch · skew_watch …    the core's own state
//!               └▶ node_context ▶ early_clients                   the ports until the cores serve them
//!                   └▶ clock · notify · pace · slow · stream …    tools
//! ```
//! Import law: only this room of the engine names glommio. Each workaround for a known bug of glommio 0.9.0
//! is marked `docs/known-failures.md` at its place.

mod begun;
mod client_connection;
mod client_memory;
mod client_sockets;
mod clients;
mod clock;
mod command_room;
mod core;
mod early_clients;
mod fatal;
mod figures;
mod give_back;
mod http;
mod leaving;
mod links;
mod machine;
mod mail;
mod mailbox;
mod memory_bound;
mod node_context;
mod node_view;
mod notify;
mod outlet;
mod pace;
mod pages;
mod peer;
mod peer_inbox;
mod port;
mod positions;
mod rates;
mod replay;
mod requester;
mod routes;
mod skew_watch;
mod slow;
mod space_watch;
mod stat_base;
mod status_board;
mod stream;
mod ticker;
mod waiters;
mod write_vec;

use crate::node::{NodeSetup, RunError};
use crate::voice::{self, NodeEvent};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use mailbox::MeshEnds;
pub(crate) use memory_bound::memory_bytes_max;
use node_context::NodeContext;
use port::CorePort;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use synod_net::access::Admission;
use synod_types::CoreId;
use ticker::{Ticker, TickerSlot};

/// Preempt timer of an executor. Not below 5 ms: with a shorter one glommio parks with runnable tasks
/// (known-failures).
const PREEMPT: Duration = Duration::from_millis(5);
/// Memory that an executor keeps for I/O buffers: as much as a busy core's log has in flight, so that its
/// blocks lie in memory that was used before (docs/experiments). It is registered with the kernel where
/// memlock allows it. Memlock is charged per user over all processes, and three times per executor; an
/// ordinary user's 8 MiB are not enough, and glommio then uses the memory unregistered. Requests beyond this
/// size get plain aligned memory.
const IO_MEMORY_BYTES: usize = 8 << 20;
/// Number of entries in each of an executor's rings.
const RING_DEPTH: usize = 256;

/// Runs a node until a stop is requested. Returns when every executor has ended.
///
/// # Errors
/// [`RunError::Refused`] before anything was touched; [`RunError::Failed`] when an executor could not start
/// or a log could not be opened. If a log fails while the node serves, the process ends at once, because no
/// acknowledgement may follow.
pub fn run(setup: NodeSetup) -> Result<(), RunError> {
    let cores = setup.cores();
    let ticker = Ticker::start(usize::from(cores))
        .map_err(|error| RunError::Failed(format!("cannot start the ticker thread: {error}")))?;
    say_what_starts(&setup);
    let access = &setup.options.access;
    if access.admission(setup.listen.is_loopback()) == Admission::TurnedAway {
        voice::say(None, NodeEvent::ClientsTurnedAway { listen: setup.listen });
    } else if !access.wants_password() && !setup.listen.is_loopback() {
        voice::say(None, NodeEvent::OpenToAll { listen: setup.listen });
    }
    if let Some(secrets) = &setup.peer_secrets {
        peer::warn_if_open(secrets);
    }
    let node = Arc::new(NodeContext::new(setup)?);
    let mut mesh = mailbox::mesh(usize::from(cores)).into_iter();
    let mut executors = Vec::new();
    let mut failed = None;
    for (core, ends) in (0..cores).map(CoreId::new).zip(&mut mesh) {
        let placement = match node.setup.pins().cpu_of(core) {
            Some(cpu) => Placement::Fixed(cpu as usize),
            None => Placement::Unbound,
        };
        let (theirs, slot) = (Arc::clone(&node), ticker.slot(usize::from(core.get())));
        let handle = LocalExecutorBuilder::new(placement)
            .name(&format!("synod-core-{}", core.get()))
            .preempt_timer(PREEMPT)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            // By default that thread shares the executor's CPU.
            .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
            .spawn(move || async move {
                let stop = theirs.setup.stop.clone();
                let result = run_core(core, theirs, ends, slot).await;
                if result.is_err() {
                    stop.request();
                }
                result
            });
        match handle {
            Ok(handle) => executors.push(handle),
            Err(error) => {
                // The executors that did start must not wait forever for this one.
                node.setup.stop.request();
                failed = Some(RunError::Failed(format!("cannot start an executor for core {core}: {error}")));
                break;
            }
        }
    }
    let mut outcome = failed.map_or(Ok(()), Err);
    for executor in executors {
        let result = executor
            .join()
            .map_err(|error| RunError::Failed(format!("an executor ended badly: {error}")))
            .and_then(|result| result);
        if outcome.is_ok() {
            outcome = result;
        }
    }
    if let Some(took) = node.stopping_for() {
        voice::say(None, NodeEvent::NodeStopped { took_ms: took.as_ms() });
    }
    outcome
}

/// Tells the operator what was found and what will be opened.
fn say_what_starts(setup: &NodeSetup) {
    let members: Vec<String> = setup
        .members
        .iter()
        .map(|member| format!("{} {}:{}", member.id, member.host, member.client_port))
        .collect();
    voice::say(
        None,
        NodeEvent::NodeStarting {
            version: env!("CARGO_PKG_VERSION"),
            data_dir: setup.data.path(),
            cluster: &setup.identity().cluster_label(),
            boot: setup.boot.counter,
            members: &members.join(", "),
            cores: setup.cores(),
            groups: setup.facts().group_count,
            cache_bytes: setup.options.cache_bytes as u64 * u64::from(setup.cores()),
            memory_bytes_max: memory_bytes_max(&setup.options, setup.cores(), setup.members.len()),
        },
    );
    let ports: Vec<String> =
        setup.listeners().iter().map(|listener| format!("{} on {}", listener.role, listener.addr)).collect();
    voice::say(None, NodeEvent::NodeListening { ports: &ports.join(", ") });
}

/// One core: open the log, replay it, serve, stop.
async fn run_core(
    core: CoreId,
    node: Arc<NodeContext>,
    ends: MeshEnds,
    slot: TickerSlot,
) -> Result<(), RunError> {
    let stop = &node.setup.stop;
    slot.enter().await;
    glommio::spawn_local(slot.park()).detach();
    let port = CorePort::open(core, Arc::clone(&node)).await?;
    // Peers come first: they may know that this data directory is an old copy, and then this node must not
    // say anything.
    let introductions = peer::listen(&port)?;
    introductions.made(stop).await;
    // All cores go on together: what one core learns from a peer holds for all of them.
    node.introduced.fetch_add(1, Ordering::SeqCst);
    while node.introduced.load(Ordering::SeqCst) < node.setup.cores() && !stop.requested() {
        glommio::timer::sleep(Duration::from_millis(5)).await;
    }
    mailbox::carry(&port, ends);
    let doors = client_sockets::listen(&port)?;
    port.start();
    introductions.end();
    if node.ready.fetch_add(1, Ordering::SeqCst) + 1 == node.setup.cores() {
        let took_ms = clock::mono().since(node.started).as_ms();
        voice::say(None, NodeEvent::NodeServing { took_ms });
        node.setup.announce();
    }
    while !stop.requested() {
        glommio::timer::sleep(Duration::from_millis(20)).await;
    }
    if node.begin_stopping() {
        voice::say(None, NodeEvent::NodeStopping { cause: stop.cause() });
    }
    let is_whole = node.ready.load(Ordering::SeqCst) == node.setup.cores();
    if stop.is_planned() && is_whole {
        leaving::leave(&port, doors).await;
    } else {
        // Cores that do leave need not wait for this one.
        node.handed_over.fetch_add(1, Ordering::SeqCst);
        node.alone.fetch_add(1, Ordering::SeqCst);
    }
    port.finish().await;
    if let Err(refusal) = node.setup.heard.flush() {
        voice::say(Some(core), NodeEvent::PositionsNotKept { why: &refusal });
    }
    Ok(())
}
