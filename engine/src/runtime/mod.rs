//! The shell around the machines: one executor per core, with its log, its sockets and its shard.
//!
//! ```text
//!  client task ─┐                         ┌─▶ log (append, submit)        ─┐
//!  peer task  ──┼─ inputs ─▶ Shard::step ─┼─▶ peer link buffers             ├─ one flush per turn
//!  mailbox    ──┤            (effects run  └─▶ connection output buffers   ─┘
//!  timer, disk ─┘             as pushed)
//! ```
//! Readers put inputs in as they come; the turn task, woken once however many they are, ends the turn: it collects what the
//! disk finished, lets the shard propose what gathered, starts log writes, and wakes the writers. That is all the batching
//! there is: whatever arrives while one turn runs is the next turn's batch.
//!
//! Import law: only this room of the engine names glommio. Its remedies for glommio 0.9.0's known bugs are marked
//! `docs/known-failures.md` where they stand.

mod begun;
mod client;
mod clock;
mod complaints;
mod core;
mod gather;
mod http;
mod io;
mod links;
mod local;
mod mailbox;
mod metrics;
mod notify;
mod pace;
mod pages;
mod peer;
mod replay;
mod room;
mod routes;
mod slow;
mod snapshot;
mod stream;
mod ticker;

use crate::identity::SecretBook;
use crate::node::{NodeSetup, RunError};
use crate::runtime::core::Core;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use mailbox::Ends;
use snapshot::Board;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use synod_net::access::{Access, Admission};
use synod_types::{CoreId, Mono};
use ticker::{Ticker, TickerSlot};

/// Preempt timer of an executor. Not below 5 ms: with a shorter one glommio parks with runnable tasks (known-failures).
const PREEMPT: Duration = Duration::from_millis(5);
/// Memory an executor keeps for I/O buffers: as much as a busy core's log has under way, so that its blocks lie in memory that was
/// used before (docs/performance.md). Registered with the kernel where memlock allows it, which is charged per user over all
/// processes and three times per executor: an ordinary user's 8 MiB do not, and glommio then uses it as it is. Beyond it comes
/// plain aligned memory.
const IO_MEMORY_BYTES: usize = 8 << 20;
/// Entries of an executor's rings.
const RING_DEPTH: usize = 256;

/// What the executors of one node share.
struct Shared {
    setup: NodeSetup,
    /// When the node started, boot-time clock.
    started: Mono,
    board: Board,
    /// Whom it lets in; the same for all cores, whichever was told to change it.
    access: Access,
    /// Executors that have tried all peers.
    introduced: AtomicU16,
    /// Executors that serve; the last one prints the line.
    ready: AtomicU16,
}

/// Runs a node until its stop is requested. Returns when every executor has ended.
///
/// # Errors
/// [`RunError::Refused`] before anything was touched, [`RunError::Failed`] when an executor could not start or a log
/// could not be opened. A log that fails while serving ends the process at once: an acknowledgement must not follow.
pub fn run(setup: NodeSetup) -> Result<(), RunError> {
    let cores = setup.cores();
    let ticker = Ticker::start(usize::from(cores))
        .map_err(|error| RunError::Failed(format!("cannot start the ticker thread: {error}")))?;
    let board = Board::new(usize::from(cores));
    let access = setup.options.access.clone();
    if access.admission(setup.listen.is_loopback()) == Admission::TurnedAway {
        eprintln!(
            "synod: listening on {} without a password: clients of other machines are turned away; set security.password, or \
             security.protected_mode = \"no\" if nobody but your own can reach this port",
            setup.listen
        );
    } else if !access.wants_password() && !setup.listen.is_loopback() {
        eprintln!(
            "synod: listening on {} without a password and without protected mode: whoever reaches it reads and writes",
            setup.listen
        );
    }
    if let Some(secrets) = &setup.peer_secrets {
        warn_if_open(secrets);
    }
    let started = clock::now().mono;
    let (introduced, ready) = (AtomicU16::new(0), AtomicU16::new(0));
    let shared = Arc::new(Shared { setup, started, board, access, introduced, ready });
    let mut mesh = mailbox::mesh(usize::from(cores)).into_iter();
    let mut executors = Vec::new();
    let mut failed = None;
    for (core, ends) in (0..cores).map(CoreId::new).zip(&mut mesh) {
        let placement = match shared.setup.pins().cpu_of(core) {
            Some(cpu) => Placement::Fixed(cpu as usize),
            None => Placement::Unbound,
        };
        let (theirs, slot) = (Arc::clone(&shared), ticker.slot(usize::from(core.get())));
        let handle = LocalExecutorBuilder::new(placement)
            .name(&format!("synod-core-{}", core.get()))
            .preempt_timer(PREEMPT)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            // The default thread shares the executor's CPU.
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
                // The executors that did start must not wait for this one for ever.
                shared.setup.stop.request();
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
    outcome
}

/// Says so if others can have the peers' secret.
fn warn_if_open(secrets: &SecretBook) {
    if secrets.is_open_to_others() {
        let file = secrets.file().display();
        eprintln!(
            "synod: others can have what is in {file}, and with it be any node of the cluster; chmod 600 {file}"
        );
    }
}

/// One core: open the log, replay it, serve, stop.
async fn run_core(core: CoreId, shared: Arc<Shared>, ends: Ends, slot: TickerSlot) -> Result<(), RunError> {
    glommio::spawn_local(slot.park()).detach();
    let running = Core::open(core, Arc::clone(&shared)).await?;
    // Peers first: they may know that this is an old copy, and then nothing may be said.
    let introductions = peer::listen(&running)?;
    introductions.made(&shared.setup.stop).await;
    // All cores as one: what one of them is told holds for all.
    shared.introduced.fetch_add(1, Ordering::SeqCst);
    while shared.introduced.load(Ordering::SeqCst) < shared.setup.cores() && !shared.setup.stop.requested() {
        glommio::timer::sleep(Duration::from_millis(5)).await;
    }
    mailbox::carry(&running, ends);
    client::listen(&running)?;
    Core::start(&running);
    introductions.end();
    if shared.ready.fetch_add(1, Ordering::SeqCst) + 1 == shared.setup.cores() {
        shared.setup.announce();
    }
    while !shared.setup.stop.requested() {
        glommio::timer::sleep(Duration::from_millis(20)).await;
    }
    Core::finish(&running).await;
    if let Err(refusal) = shared.setup.heard.flush() {
        eprintln!("synod: core {core}: what is known of other nodes' logs is not durable: {refusal}");
    }
    Ok(())
}
