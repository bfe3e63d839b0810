//! The shell of a driver: one glommio executor, its sockets, and the clock. The only module of this crate
//! that uses glommio.
//!
//! ```text
//!   ticker thread ──wake──▶ ┌ turn: connect, plan, flush ┐ ──▶ sockets, one write each
//!                           └──────────▲─────────────────┘
//!                reader tasks ──wake───┘  one per connection: bytes ──▶ driver
//! ```
//!
//! A turn runs at each tick and after bytes have arrived, so that planned requests are sent at most one tick
//! late and answers are handled when they arrive. The driver is borrowed only for the length of one call,
//! never across an await.

#[cfg(test)]
pub(crate) mod fault;
mod ticker;

use crate::clock::monotonic_ns;
use crate::driver::{Driver, Order};
use crate::environment::thread_cpu_ns;
use crate::error::LoadError;
use crate::fleet::{Command, Farewell, News, Orders, Pieces};
use futures_lite::future::poll_fn;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::{LocalExecutorBuilder, Placement, Task};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use ticker::Ticker;

/// Time between turns when nothing else triggers one. A request is sent at most this late, as long as the
/// thread gets enough processor time; shorter ticks cost more processor time than they gain.
const TICK: Duration = Duration::from_micros(500);
/// With a short preemption timer this executor can park with work to do; no task here runs long enough to
/// need a short one.
const PREEMPT: Duration = Duration::from_millis(10);
/// Most bytes of one read.
const READ_BYTES: usize = 128 << 10;
/// Most reads of one connection in a row; then other connections get their turn.
const READS_MAX: u32 = 16;
/// The history is handed on in pieces of about this size.
const HISTORY_BYTES: usize = 256 << 10;

/// The parameters of a generator thread.
pub(crate) struct Worker {
    pub(crate) thread: u32,
    pub(crate) driver: Driver,
    pub(crate) connect_timeout: Duration,
    pub(crate) orders: Arc<Orders>,
    pub(crate) news: Sender<News>,
    pub(crate) history: Option<Pieces>,
    pub(crate) farewell: Farewell,
    #[cfg(test)]
    pub(crate) fault: Option<fault::Fault>,
}

thread_local! {
    /// Dropped when the thread ends, even by a panic. After a panic it is not certain that the executor drops
    /// what its tasks hold.
    static FAREWELL: RefCell<Option<Farewell>> = const { RefCell::new(None) };
}

/// A running generator thread.
pub(crate) struct Running {
    handle: glommio::ExecutorJoinHandle<()>,
}

impl Running {
    /// Waits until the thread has ended; called after its [`Farewell`] has arrived.
    pub(crate) fn join(self) -> Result<(), LoadError> {
        self.handle.join().map_err(|error| LoadError::Thread(error.to_string()))
    }
}

/// Starts a generator thread.
pub(crate) fn start(worker: Worker) -> Result<Running, LoadError> {
    let handle = LocalExecutorBuilder::new(Placement::Unbound)
        .name("loadgen")
        .preempt_timer(PREEMPT)
        // The minimum that the executor takes: no files are read or written here.
        .io_memory(64 << 10)
        .spawn(move || run(worker))
        .map_err(|error| LoadError::Thread(error.to_string()))?;
    Ok(Running { handle })
}

async fn run(worker: Worker) {
    let ticker = Ticker::start(TICK);
    let Worker { thread, driver, connect_timeout, orders, news, history, farewell, .. } = worker;
    FAREWELL.set(Some(farewell));
    let shell = Rc::new(RefCell::new(Shell {
        links: (0..driver.link_count()).map(|_| Link::Idle).collect(),
        driver: Some(driver),
        thread,
        connect_timeout,
        orders,
        news,
        history,
        #[cfg(test)]
        fault: worker.fault,
        #[cfg(test)]
        fault_due: false,
        order_seen: 0,
        order_open: false,
        stop_seen: false,
        cpu_before_ns: None,
        waker: None,
        scratch: vec![0; READ_BYTES],
    }));
    poll_fn(|cx| {
        ticker.set(cx.waker());
        turn(&shell, cx)
    })
    .await;
    // The tasks of the links share ownership of the shell, so it is emptied rather than taken.
    let mut shell = shell.borrow_mut();
    shell.links.clear();
    shell.hand_on_history(1);
    shell.history = None;
    if let Some(driver) = shell.driver.take() {
        let result = Box::new(driver.finish());
        let _ = shell.news.send(News::Ended { thread: shell.thread, result });
    }
}

enum Link {
    Idle,
    /// Dropping the task cancels the attempt.
    Connecting {
        _task: Task<()>,
    },
    /// Dropping the reader and the stream closes the connection.
    Open {
        stream: Rc<RefCell<TcpStream>>,
        _reader: Task<()>,
    },
}

struct Shell {
    /// `None` after the end.
    driver: Option<Driver>,
    links: Vec<Link>,
    thread: u32,
    connect_timeout: Duration,
    orders: Arc<Orders>,
    news: Sender<News>,
    history: Option<Pieces>,
    #[cfg(test)]
    fault: Option<fault::Fault>,
    #[cfg(test)]
    fault_due: bool,
    order_seen: u64,
    order_open: bool,
    stop_seen: bool,
    /// Processor time and clock when a phase of load began.
    cpu_before_ns: Option<(u64, u64)>,
    waker: Option<Waker>,
    scratch: Vec<u8>,
}

/// One turn of the thread; ready when the thread is told to end.
fn turn(shared: &Rc<RefCell<Shell>>, cx: &mut Context<'_>) -> Poll<()> {
    let now_ns = monotonic_ns();
    let mut to_connect = Vec::new();
    if shared.borrow_mut().turn(cx, now_ns, &mut to_connect).is_ready() {
        return Poll::Ready(());
    }
    for (link, addr) in to_connect {
        // The shell must not be borrowed here: spawning polls the new task at once, and it may even end at
        // once.
        let task = glommio::spawn_local(connect(Rc::clone(shared), link, addr));
        let shell = &mut *shared.borrow_mut();
        if shell.driver.as_ref().is_some_and(|driver| driver.is_connecting(link)) {
            shell.links[link] = Link::Connecting { _task: task };
        }
    }
    Poll::Pending
}

async fn connect(shared: Rc<RefCell<Shell>>, link: usize, addr: SocketAddr) {
    let timeout = shared.borrow().connect_timeout;
    let connected = TcpStream::connect_timeout(addr, timeout).await;
    let connected = connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    // The shell must not be borrowed here: spawning polls the new task at once, and the reader borrows it
    // too.
    let connected = connected.map(|stream| {
        let stream = Rc::new(RefCell::new(stream));
        let reader = glommio::spawn_local(read(Rc::clone(&shared), Rc::clone(&stream), link));
        (stream, reader)
    });
    let now_ns = monotonic_ns();
    let shell = &mut *shared.borrow_mut();
    let Some(driver) = &mut shell.driver else { return };
    // Replacing the link drops the handle of this task itself, which has nothing left to await.
    match connected {
        Ok((stream, reader)) => {
            shell.links[link] = Link::Open { stream, _reader: reader };
            driver.on_connected(link, now_ns);
        }
        Err(_) => {
            shell.links[link] = Link::Idle;
            driver.on_closed(link, now_ns);
        }
    }
    shell.wake();
}

/// Reads from the connection until it ends.
async fn read(shared: Rc<RefCell<Shell>>, stream: Rc<RefCell<TcpStream>>, link: usize) {
    poll_fn(|cx| {
        for _ in 0..READS_MAX {
            let shell = &mut *shared.borrow_mut();
            let got = Pin::new(&mut *stream.borrow_mut()).poll_read(cx, &mut shell.scratch);
            let Poll::Ready(result) = got else { return Poll::Pending };
            let Some(driver) = &mut shell.driver else { return Poll::Ready(()) };
            let now_ns = monotonic_ns();
            match result {
                Ok(count) if count > 0 => driver.on_bytes(link, &shell.scratch[..count], now_ns),
                Ok(_) | Err(_) => driver.on_closed(link, now_ns),
            }
            let is_open = driver.is_open(link);
            shell.wake();
            if !is_open {
                return Poll::Ready(());
            }
        }
        // A peer that sends without a pause must not keep the thread from its schedule and its deadlines.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Shell {
    /// One turn; the caller connects the links in `to_connect`.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        now_ns: u64,
        to_connect: &mut Vec<(usize, SocketAddr)>,
    ) -> Poll<()> {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        #[cfg(test)]
        if let Some(fault) = self.fault.filter(|_| self.fault_due) {
            return fault.strike();
        }
        if self.take_orders(now_ns).is_ready() {
            return Poll::Ready(());
        }
        let Some(driver) = &mut self.driver else { return Poll::Ready(()) };
        // Sockets of links that the driver has given up are closed before new ones are opened for them.
        for (index, link) in self.links.iter_mut().enumerate() {
            let is_kept = match link {
                Link::Idle => true,
                Link::Connecting { .. } => driver.is_connecting(index),
                Link::Open { .. } => driver.is_open(index),
            };
            if !is_kept {
                *link = Link::Idle;
            }
        }
        driver.turn(now_ns);
        to_connect.extend(std::iter::from_fn(|| driver.next_connect(now_ns)));
        self.flush(cx, now_ns);
        self.report();
        self.hand_on_history(HISTORY_BYTES);
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Sends the pending bytes, one write for each connection.
    fn flush(&mut self, cx: &mut Context<'_>, now_ns: u64) {
        let Some(driver) = &mut self.driver else { return };
        for (index, link) in self.links.iter().enumerate() {
            let Link::Open { stream, .. } = link else { continue };
            let out = driver.out(index);
            if out.is_empty() {
                continue;
            }
            // Bytes that do not fit into the socket now stay; the executor wakes this task when there is
            // room.
            match Pin::new(&mut *stream.borrow_mut()).poll_write(cx, out) {
                Poll::Ready(Ok(count)) if count > 0 => drop(out.drain(..count)),
                Poll::Ready(_) => driver.on_closed(index, now_ns),
                Poll::Pending => {}
            }
        }
    }

    /// Begins the coordinator's next order; ready when the command is to end.
    fn take_orders(&mut self, now_ns: u64) -> Poll<()> {
        let Some(driver) = &mut self.driver else { return Poll::Ready(()) };
        if self.orders.stop_wanted() && !self.stop_seen {
            self.stop_seen = true;
            driver.stop(now_ns);
        }
        let Some((number, command)) = self.orders.newer_than(self.order_seen) else {
            return Poll::Pending;
        };
        match command {
            // This can come while an order is open: then the run went on without this thread.
            Command::End => return Poll::Ready(()),
            Command::Do(_) if self.order_open => {}
            Command::Do(order) => {
                self.order_seen = number;
                if matches!(order, Order::Load { .. }) {
                    self.cpu_before_ns = thread_cpu_ns().map(|cpu_ns| (cpu_ns, now_ns));
                }
                self.order_open = true;
                driver.begin(order, now_ns);
                if self.stop_seen {
                    driver.stop(now_ns);
                }
            }
        }
        Poll::Pending
    }

    /// Sends messages to the coordinator. If the coordinator is gone, they are dropped.
    fn report(&mut self) {
        let thread = self.thread;
        let Some(driver) = &mut self.driver else { return };
        for second in driver.take_seconds() {
            #[cfg(test)]
            if second.phase.is_measured() {
                self.fault_due = true;
            }
            let _ = self.news.send(News::Second { thread, second: Box::new(second) });
        }
        if self.order_open && driver.is_done() {
            self.order_open = false;
            if let (Some((cpu_ns, then_ns)), Some(after_ns)) = (self.cpu_before_ns.take(), thread_cpu_ns()) {
                driver.count_cpu(after_ns.saturating_sub(cpu_ns), monotonic_ns().saturating_sub(then_ns));
            }
            let failure = driver.failure().map(str::to_owned);
            let measured = Box::new(driver.take_measured());
            let _ = self.news.send(News::Done { thread, number: self.order_seen, failure, measured });
        }
    }

    /// Hands the history on when there are at least `least` bytes of it.
    fn hand_on_history(&mut self, least: usize) {
        let (Some(writer), Some(driver)) = (&self.history, &mut self.driver) else { return };
        if let Some(history) = driver.history()
            && history.len() >= least
        {
            // A failed writer is reported elsewhere.
            writer.hand_on(std::mem::take(history));
        }
    }
}
