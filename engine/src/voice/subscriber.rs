//! The subscriber of `tracing` that writes the node's lines to standard error.

use super::limiter::Limiter;
use super::line::Line;
use super::lossy_writer::LossyWriter;
use super::options::VoiceOptions;
use crate::sys;
use nix::time::ClockId;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use synod_types::NodeId;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

/// The voice of this process.
static VOICE: OnceLock<Voice> = OnceLock::new();
/// The node that speaks; 0 until it is known.
static NODE: AtomicU16 = AtomicU16::new(0);

/// The state of the voice.
struct Voice {
    options: VoiceOptions,
    outgoing: Mutex<Outgoing>,
    /// Whether lines were counted that are not reported yet.
    owes: AtomicBool,
}

/// What all lines pass, one after the other.
#[derive(Default)]
struct Outgoing {
    limiter: Limiter,
    writer: LossyWriter,
}

/// From now on events are written. Only the first call in a process counts.
pub fn start(options: VoiceOptions) {
    let voice =
        VOICE.get_or_init(|| Voice { options, outgoing: Mutex::default(), owes: AtomicBool::new(false) });
    // An error means that a test has set a subscriber of its own.
    let _ = tracing::subscriber::set_global_default(Ear(voice));
}

/// From now on lines name the node that speaks.
pub fn name_node(node: NodeId) {
    NODE.store(node.get(), Ordering::Relaxed);
}

/// Reports what was counted and not written, once its interval is over or the output is read again. To be called
/// now and then; it does nothing as long as everything was written.
pub fn sweep() {
    if let Some(voice) = VOICE.get().filter(|voice| voice.owes.load(Ordering::Relaxed)) {
        voice.write(|limiter| limiter.sweep(now_ms()));
    }
}

impl Voice {
    /// Writes the lines that the limiter lets through. The lock is held meanwhile, so that lines of several
    /// cores come out one after the other. It is never held for long: the writer does not wait.
    fn write(&self, lines: impl FnOnce(&mut Limiter) -> Vec<Line>) {
        let mut outgoing = self.outgoing();
        let Outgoing { limiter, writer } = &mut *outgoing;
        let (mut output, format) = (std::io::stderr(), self.options.format);
        for line in lines(limiter) {
            writer.write(&mut output, &line, format);
        }
        if writer.owes() {
            writer.report(&mut output, now_ms(), NODE.load(Ordering::Relaxed), format);
        }
        self.owes.store(limiter.owes() || writer.owes(), Ordering::Relaxed);
    }

    /// Limiter and writer are valid at every moment, even if a thread has panicked while it held the lock.
    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the wire that `tracing` holds.
struct Ear(&'static Voice);

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // The filter does not change while the node runs.
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && self.0.options.filter.lets_through(metadata.target(), *metadata.level())
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.0.options.filter.most())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut line =
            Line::new(now_ms(), *metadata.level(), metadata.target(), NODE.load(Ordering::Relaxed));
        event.record(&mut line);
        self.0.write(|limiter| limiter.take(line));
    }

    // Nothing here makes spans: a step of a machine is too short to have one.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The wall clock.
fn now_ms() -> u64 {
    let now = sys::now(ClockId::CLOCK_REALTIME);
    // A clock before 1970 is shown as 1970.
    u64::try_from(now.tv_sec()).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec()).unwrap_or(0) / 1_000_000
}
