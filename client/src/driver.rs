//! Drives the client machine over the sockets: carries out its actions, tells it what happened and what time
//! it is. The blocking client calls it on its own thread, the async client on a thread of its own.

use crate::config::{Config, nanos};
use crate::error::{Cause, Error};
use crate::request::Task;
use crate::sockets::{Incident, Sockets};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};
use synod_net::client::{Address, ClientAction, ClientCore, Outcome};
use synod_types::{Nanos, NodeId};

/// The most operations in flight at once. More would not make a pipeline faster, and the machine looks at all
/// of them after each answer.
const IN_FLIGHT_MAX: usize = 256;
/// The most bytes of keys and values in flight at once, except for a single operation that is larger.
const IN_FLIGHT_BYTES_MAX: usize = 4 << 20;

/// The number of an operation in flight.
pub(crate) type Number = u64;

/// The machine and its sockets.
pub(crate) struct Driver {
    core: ClientCore,
    sockets: Sockets,
    clock: Clock,
    /// The operations in flight, and how many bytes each holds.
    in_flight: BTreeMap<Number, usize>,
    in_flight_bytes: usize,
    finished: VecDeque<(Number, Result<Outcome, Error>)>,
}

/// The machine's time, counted from the client's birth.
#[derive(Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn now(self) -> Nanos {
        nanos(self.0.elapsed())
    }
}

impl Driver {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self {
            core: ClientCore::new(config.machine(), config.addresses().to_vec()),
            sockets: Sockets::new(config.connect_span()).map_err(|error| Error::System(error.to_string()))?,
            clock: Clock(Instant::now()),
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            finished: VecDeque::new(),
        })
    }

    /// What other threads wake [`Driver::turn`] with.
    #[cfg(feature = "async")]
    pub(crate) fn waker(&self) -> Result<mio::Waker, Error> {
        self.sockets.waker().map_err(|error| Error::System(error.to_string()))
    }

    /// Whether this task may start now.
    pub(crate) fn has_room_for(&self, task: &Task) -> bool {
        let bytes = self.in_flight_bytes.saturating_add(task.byte_len());
        self.in_flight.is_empty() || (self.in_flight.len() < IN_FLIGHT_MAX && bytes <= IN_FLIGHT_BYTES_MAX)
    }

    /// Starts a task that was asked for at `asked`; its patience counts from then.
    pub(crate) fn start(&mut self, task: Task, asked: Instant) -> Result<Number, Error> {
        let waited = nanos(asked.elapsed());
        let patience = Nanos(task.patience().0.saturating_sub(waited.0));
        if patience == Nanos::ZERO {
            return Err(Error::NotExecuted(Cause::NotSent));
        }
        let (now, bytes) = (self.clock.now(), task.byte_len());
        let number = match task {
            Task::Command { command, consistency, .. } => {
                self.core.command_within(now, patience, consistency, command)
            }
            Task::Topology { .. } => self.core.topology_within(now, patience),
            Task::Status { of: None, .. } => self.core.status_within(now, patience, None),
            Task::Status { of: Some(node), .. } => {
                let address = self.address_of(node)?;
                self.core.status_within(now, patience, Some(address))
            }
        };
        self.in_flight.insert(number, bytes);
        self.in_flight_bytes += bytes;
        Ok(number)
    }

    fn address_of(&self, node: NodeId) -> Result<Address, Error> {
        let known = self.core.known_topology().and_then(|topology| topology.node(node));
        let known = known.ok_or_else(|| Error::InvalidArgument(format!("the cluster has no {node}")))?;
        Ok(Address { host: known.host.clone(), port: known.port })
    }

    /// Takes note of what has happened since the last turn, above all of connections that were closed: what is
    /// sent on one of those has an uncertain outcome for no good reason.
    pub(crate) fn catch_up(&mut self) -> Result<(), Error> {
        self.wait(Some(Duration::ZERO))
    }

    /// Does all there is to do, then waits for something to happen if no operation has ended; no longer than
    /// `limit`, if there is one.
    pub(crate) fn turn(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        // The machine names no deadline up to `now`, so what was due by then must be done before it is asked.
        let now = self.clock.now();
        self.core.tick(now);
        self.carry_out();
        if !self.finished.is_empty() {
            return Ok(());
        }
        let later = self.clock.now();
        let span = self.core.wakeup(now).map(|at| Duration::from_nanos(at.0.saturating_sub(later.0)));
        self.wait([span, limit].into_iter().flatten().min())?;
        self.carry_out();
        Ok(())
    }

    /// The next operation that has ended.
    pub(crate) fn finished(&mut self) -> Option<(Number, Result<Outcome, Error>)> {
        self.finished.pop_front()
    }

    fn wait(&mut self, span: Option<Duration>) -> Result<(), Error> {
        let waited = self.sockets.wait(span, &mut report_to(&mut self.core, self.clock));
        waited.map_err(|error| Error::System(error.to_string()))?;
        self.core.tick(self.clock.now());
        Ok(())
    }

    /// Carries out the machine's actions until there are none.
    fn carry_out(&mut self) {
        loop {
            while let Some(action) = self.core.action() {
                self.act(action);
            }
            // All that goes to one server leaves in one send.
            if self.sockets.flush(&mut report_to(&mut self.core, self.clock)) {
                return;
            }
        }
    }

    fn act(&mut self, action: ClientAction) {
        match action {
            ClientAction::Connect(to) => {
                if self.sockets.open(&to).is_err() {
                    self.core.disconnected(self.clock.now(), &to);
                }
            }
            ClientAction::Send { to, bytes } => self.sockets.send(&to, &bytes),
            ClientAction::Disconnect(to) => self.sockets.close(&to),
            ClientAction::Done { operation, result } => {
                if let Some(bytes) = self.in_flight.remove(&operation) {
                    self.in_flight_bytes -= bytes;
                }
                self.finished.push_back((operation, result.map_err(Error::from)));
            }
        }
    }
}

/// Tells the machine what happens on the sockets.
fn report_to(core: &mut ClientCore, clock: Clock) -> impl FnMut(Incident<'_>) {
    move |incident| match incident {
        Incident::Connected(to) => core.connected(clock.now(), to),
        Incident::Lost(to) => core.disconnected(clock.now(), to),
        Incident::Received(from, bytes) => core.received(clock.now(), from, bytes),
    }
}
