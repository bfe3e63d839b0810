//! One generator thread as its coordinator sees it.

use crate::client::Running;
use crate::driver::{Measured, Order, Second, Tally};
use crate::ledger::Ledger;
use crate::workload::Kind;
use std::collections::VecDeque;

pub(super) struct Member {
    standing: Standing,
    running: Option<Running>,
    keys: u64,
    /// Seconds that were reported but not shown yet.
    seconds: VecDeque<Second>,
    order: Option<Order>,
    /// Measurements summed up from the reported seconds of the current order; used if the thread is lost.
    told: Measured,
    verify_failures: u64,
    /// Whether the thread has terminated.
    gone: bool,
}

enum Standing {
    Resting,
    Busy,
    Ended(Box<(Tally, Ledger)>),
    Lost(String),
}

/// What is left of a thread that did not end.
pub(super) struct Lost {
    pub(super) why: String,
    pub(super) keys: u64,
    pub(super) verify_failures: u64,
}

impl Member {
    pub(super) fn new(running: Running, keys: u64) -> Self {
        Self {
            standing: Standing::Resting,
            running: Some(running),
            keys,
            seconds: VecDeque::new(),
            order: None,
            told: Measured::default(),
            verify_failures: 0,
            gone: false,
        }
    }
    /// Notes that an order was given to all threads.
    pub(super) fn begin(&mut self, order: Order) {
        self.order = Some(order);
        self.told = Measured::default();
        if matches!(self.standing, Standing::Resting) {
            self.standing = Standing::Busy;
        }
    }
    /// Notes that the thread has finished its order.
    pub(super) fn is_done(&mut self) {
        self.standing = Standing::Resting;
    }
    /// Takes in a second that the thread reported.
    pub(super) fn tell(&mut self, second: Box<Second>) {
        if !self.is_busy() {
            return;
        }
        self.verify_failures += second.verify_failures;
        if let Some(Order::Load { mix, measured_ns, .. }) = self.order
            && second.phase.is_measured()
        {
            self.told.add_second(&second);
            for kind in Kind::ALL.into_iter().filter(|&kind| mix.measures(kind)) {
                self.told.measured_ns[kind.index()] = second.end_ns.saturating_sub(measured_ns).max(1);
            }
        }
        self.seconds.push_back(*second);
    }
    /// Takes the result of a thread that ended as ordered.
    pub(super) fn leave(&mut self, result: Box<(Tally, Ledger)>) {
        if !self.is_lost() {
            self.standing = Standing::Ended(result);
        }
    }
    /// Notes that the thread has terminated.
    pub(super) fn is_gone(&mut self) {
        self.gone = true;
        // Joining does not block: the thread has nothing left to do.
        let joined = self.running.take().map_or(Ok(()), Running::join);
        if matches!(self.standing, Standing::Resting | Standing::Busy) {
            let why = joined.err().map_or_else(String::new, |error| format!(" ({error})"));
            self.standing = Standing::Lost(format!("broke off{why}"));
        }
    }
    /// Gives the thread up: nothing more is expected of it.
    pub(super) fn lose(&mut self, part: &str, why: &str) {
        self.standing = Standing::Lost(format!("{why} ({part})"));
    }
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.standing, Standing::Busy)
    }
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.standing, Standing::Lost(_))
    }
    /// Whether the thread is still expected to terminate.
    pub(super) fn is_awaited(&self) -> bool {
        !self.is_lost() && !self.gone
    }
    /// The measurements of the current order from the reported seconds, if the thread is lost.
    pub(super) fn take_told(&mut self) -> Option<Measured> {
        self.is_lost().then(|| std::mem::take(&mut self.told))
    }
    pub(super) fn front(&self) -> Option<&Second> {
        self.seconds.front()
    }
    pub(super) fn pop_front_if(&mut self, matches: impl FnOnce(&mut Second) -> bool) -> Option<Second> {
        self.seconds.pop_front_if(matches)
    }
    /// The thread's final result, or what is left of it.
    pub(super) fn end(self) -> Result<(Tally, Ledger), Lost> {
        let lost = |why| Lost { why, keys: self.keys, verify_failures: self.verify_failures };
        match self.standing {
            Standing::Ended(result) => Ok(*result),
            Standing::Resting | Standing::Busy => Err(lost("did not end when it was told to".into())),
            Standing::Lost(why) => Err(lost(why)),
        }
    }
}
