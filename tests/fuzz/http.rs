//! A client that speaks HTTP. Its bytes take the same path as in the engine: the connection that tells the
//! protocols apart, hyper as the engine sets it up, and `synod_net::http`. The engine's runtime has no part
//! in it: bytes, time and replies come from this file. A task that no waker wakes is not polled, so that a
//! connection that hangs is seen to hang.

use super::border;
use super::cuts::Cuts;
use super::http_client::{Exchange, check_answers};
use ::http::{Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Sleep, Timer, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use synod_net::access::Access;
use synod_net::http::{
    DRAIN_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, HttpError, KeyPlan, Route, Upload, page, route,
};
use synod_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use synod_types::{ErrorKind, Reply, SessionId, Slot, Version};

/// Bytes that may be read ahead of the last request understood: a head, and what one read adds to it.
const AHEAD_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX;
/// Bytes that may wait for a client that takes nothing.
const OWED_BYTES_MAX: usize = HEAD_BYTES_MAX + LONG_VALUE.len() + (4 << 10);
static LONG_VALUE: [u8; 20 << 10] = [b'v'; 20 << 10];

/// A client's bytes from the start of its connection. Every request that is understood is answered once and
/// in order, with a status and a form that docs/http.md knows; memory is bounded; and neither requests nor
/// answers depend on how the bytes were cut.
///
/// # Panics
/// When one of these does not hold.
pub fn http(data: &[u8]) {
    let traits = data.first().copied().unwrap_or(0);
    let site = |late, long| Site {
        password: (traits & 8 != 0).then_some(b"secret".as_slice()),
        late,
        long,
        draw: usize::from(traits >> 4),
        ..Site::default()
    };
    let cuts = Cuts::new(data);
    let Some(whole) = sniffed([cuts.whole()].into_iter()) else { return };
    let once = serve(site(0, false), whole, usize::MAX);
    let in_pieces = sniffed(cuts).unwrap_or_else(|| panic!("the protocol depends on how the bytes were cut"));
    let pieces = serve(site(2, false), in_pieces, 11);
    // If a client waits for `100 Continue` and sends more without it, timing decides whether that is taken as
    // a body.
    let common = if once.iter().any(|exchange| exchange.expects) {
        once.len().min(pieces.len()).min(1)
    } else {
        once.len().max(pieces.len())
    };
    assert_eq!(
        once.get(..common),
        pieces.get(..common),
        "what is asked or answered depends on how the bytes were cut"
    );
    if let Some(whole) = sniffed([Cuts::new(data).whole()].into_iter()) {
        serve(site(1, true), whole, 0);
    }
}

/// The connection that tells protocols apart gets the first bytes. Returns what it hands over to HTTP, with
/// the rest of the input, or `None` if it is not HTTP.
fn sniffed<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> Option<VecDeque<Vec<u8>>> {
    let mut connection = border::connect();
    for piece in pieces.by_ref() {
        connection.received(piece);
        while connection.next().is_some() {}
        if connection.speaks_http() {
            let first = connection.take_input();
            return Some(std::iter::once(first).chain(pieces.map(<[u8]>::to_vec)).collect());
        }
    }
    None
}

/// Serves a connection to its end. The client takes `room` bytes at a time; with 0 it takes nothing until
/// everything else stands still.
fn serve(site: Site, pieces: VecDeque<Vec<u8>>, room: usize) -> Vec<Exchange> {
    let site = Rc::new(site);
    let line = Rc::new(Line { pieces: RefCell::new(pieces), ..Line::default() });
    line.room.set(room);
    let (of_handler, of_line) = (Rc::clone(&site), Rc::clone(&line));
    let service = service_fn(move |request| handle(Rc::clone(&of_handler), Rc::clone(&of_line), request));
    let connection = http1::Builder::new()
        .timer(NoTime)
        .header_read_timeout(Duration::from_secs(30))
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(true)
        .serve_connection(Wire(Rc::clone(&line)), service);
    let mut connection = pin!(connection);
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let gave_up = loop {
        if woken.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(ended) = connection.as_mut().poll(&mut context) {
                break ended.is_err();
            }
            let owed = site.answered_bytes.get().saturating_sub(line.out.borrow().len());
            assert!(owed <= OWED_BYTES_MAX, "{owed} bytes wait for a client that takes none");
            continue;
        }
        let moves = site.reply_one() || line.arrive() || line.end() || line.make_room(room);
        assert!(moves, "the connection waits and nothing will wake it");
    };
    let out = line.out.borrow();
    // hyper also drops the answer to a request that asks for an upgrade and whose body ends early.
    let may_break_off = site.upgrades.get() || (gave_up && room != usize::MAX);
    check_answers(&site.exchanges.borrow(), &out, may_break_off);
    site.exchanges.take()
}

/// Handles a request as the engine does.
async fn handle(
    site: Rc<Site>,
    line: Rc<Line>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    line.ahead.set(0);
    let (head, body) = request.into_parts();
    let expects = head.headers.contains_key("expect");
    site.upgrades.set(site.upgrades.get() || head.headers.contains_key("upgrade"));
    let number = site.open(head.method.as_str() == "HEAD", expects);
    let skips = !body.is_end_stream() && !expects;
    let response = match route(&head, &Access::new(site.password, true), true) {
        Route::Key(plan) if plan.wants_body() => match upload(&line, &plan, body).await {
            Ok(upload) => execute(&site, number, &plan, upload).await,
            Err(failure) => failure.response(),
        },
        other => {
            if skips {
                drain(&line, body).await;
            }
            match other {
                Route::Key(plan) => execute(&site, number, &plan, Upload::new(&plan, None)).await,
                Route::Done(response) => response,
                Route::Page(asked) => page(200, "text/plain", format!("{asked:?}")),
            }
        }
    };
    site.close(number, &response);
    Ok(response.map(|body| Full::new(Bytes::from(body))))
}

async fn upload(line: &Line, plan: &KeyPlan, mut body: Incoming) -> Result<Upload, HttpError> {
    let mut upload = Upload::new(plan, body.size_hint().exact());
    while let Some(frame) = body.frame().await {
        line.ahead.set(0);
        let frame = frame.map_err(|_| HttpError::BODY_BROKEN)?;
        if frame.data_ref().is_some_and(|data| upload.push(data).is_err()) {
            drain(line, body).await;
            return Err(HttpError::TOO_LARGE);
        }
    }
    Ok(upload)
}

async fn drain(line: &Line, mut body: Incoming) {
    let mut left = DRAIN_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        line.ahead.set(0);
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

async fn execute(site: &Site, number: usize, plan: &KeyPlan, upload: Upload) -> Response<Vec<u8>> {
    let (consistency, command) = upload.finish(plan);
    assert!((1..=KEY_BYTES_MAX).contains(&command.key.len()), "a key of {} bytes", command.key.len());
    assert!(command.check().is_ok(), "an illegal command");
    if let synod_types::Op::Set { value_crc, .. } = command.op {
        assert!(command.operand.len() <= VALUE_BYTES_MAX);
        assert_eq!(synod_types::checksum::crc32c(command.operand.as_ref()), value_crc);
    }
    let told = command.map(|bytes| (bytes.len(), synod_types::checksum::crc32c(bytes.as_ref())));
    site.exchanges.borrow_mut()[number].asked = format!("{consistency:?} {told:?}");
    let wait = Rc::new(WaitingReply { left: Cell::new(site.late), ..WaitingReply::default() });
    site.waiting.borrow_mut().push_back(Rc::clone(&wait));
    std::future::poll_fn(|context| wait.poll(context)).await;
    plan.respond(site.reply(number))
}

/// The node behind the connection: the requests it got, and those that wait for a reply.
#[derive(Default)]
struct Site {
    password: Option<&'static [u8]>,
    /// How many other steps happen before a reply comes.
    late: usize,
    /// Whether every value read is long.
    long: bool,
    /// At which of the replies it begins.
    draw: usize,
    exchanges: RefCell<Vec<Exchange>>,
    waiting: RefCell<VecDeque<Rc<WaitingReply>>>,
    answered_bytes: Cell<usize>,
    /// Whether a request asked for another protocol.
    upgrades: Cell<bool>,
}

#[derive(Default)]
struct WaitingReply {
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl WaitingReply {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.left.get() == 0 {
            return Poll::Ready(());
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Site {
    fn open(&self, is_head: bool, expects: bool) -> usize {
        let mut exchanges = self.exchanges.borrow_mut();
        exchanges.push(Exchange { is_head, expects, ..Exchange::default() });
        exchanges.len() - 1
    }

    fn close(&self, number: usize, response: &Response<Vec<u8>>) {
        let mut exchanges = self.exchanges.borrow_mut();
        let exchange = &mut exchanges[number];
        assert!(exchange.status == 0, "a request is answered twice");
        exchange.status = response.status().as_u16();
        exchange.body.clone_from(response.body());
        let sent = if exchange.is_head { 0 } else { response.body().len() };
        self.answered_bytes.set(self.answered_bytes.get() + sent);
    }

    /// Time passes for the oldest reply that waits; false if none waits.
    fn reply_one(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|wait| wait.left.get() > 0);
        let Some(wait) = waiting.front() else { return false };
        wait.left.set(wait.left.get() - 1);
        if wait.left.get() == 0
            && let Some(waker) = wait.waker.take()
        {
            waker.wake();
        }
        true
    }

    fn reply(&self, number: usize) -> Reply<Vec<u8>> {
        let version = Version { slot: Slot::new(number as u64 + 17), position: 3 };
        if self.long {
            return Reply::Value { value: LONG_VALUE.to_vec(), version };
        }
        match (self.draw + number * 5) % 17 {
            0 | 1 => Reply::Value { value: b"a value of some length".to_vec(), version },
            2 => Reply::Nil,
            3 => Reply::Int(0),
            4 => Reply::Int(1),
            5 => Reply::Done { version },
            6 => Reply::Skipped,
            7 => Reply::Session(SessionId::new(7)),
            8 => Reply::Error(ErrorKind::Unknown),
            9 => Reply::Error(ErrorKind::NoLeader),
            10 => Reply::Error(ErrorKind::Busy),
            11 => Reply::Error(ErrorKind::SessionExpired),
            12 => Reply::Error(ErrorKind::NotAnInteger),
            13 => Reply::Error(ErrorKind::BadExpiry),
            14 => Reply::Error(ErrorKind::ReadFailed),
            15 => Reply::Error(ErrorKind::Malformed),
            _ => Reply::Value { value: Vec::new(), version },
        }
    }
}

/// A stream between the client and the server, in memory.
#[derive(Default)]
struct Line {
    /// The bytes the client will send, one read's worth each.
    pieces: RefCell<VecDeque<Vec<u8>>>,
    arrived: RefCell<VecDeque<u8>>,
    ended: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    out: RefCell<Vec<u8>>,
    /// The bytes the client still takes before it has to be woken.
    room: Cell<usize>,
    writer: RefCell<Option<Waker>>,
    /// Bytes read since a request or a piece of a body was last understood.
    ahead: Cell<usize>,
}

impl Line {
    fn arrive(&self) -> bool {
        let Some(piece) = self.pieces.borrow_mut().pop_front() else { return false };
        self.arrived.borrow_mut().extend(piece);
        self.wake_reader();
        true
    }

    fn end(&self) -> bool {
        let ends = !self.ended.replace(true);
        if ends {
            self.wake_reader();
        }
        ends
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// The client takes some more bytes, if the server waits for that.
    fn make_room(&self, room: usize) -> bool {
        let Some(waker) = self.writer.take() else { return false };
        self.room.set(if room == 0 { usize::MAX } else { room });
        waker.wake();
        true
    }
}

struct Wire(Rc<Line>);

impl Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let line = &self.0;
        let mut arrived = line.arrived.borrow_mut();
        if arrived.is_empty() && !line.ended.get() {
            *line.reader.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        let len = into.remaining().min(arrived.len());
        let bytes: Vec<u8> = arrived.drain(..len).collect();
        into.put_slice(&bytes);
        line.ahead.set(line.ahead.get() + len);
        assert!(line.ahead.get() <= AHEAD_BYTES_MAX, "{} bytes are held unread", line.ahead.get());
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let line = &self.0;
        let len = bytes.len().min(line.room.get());
        if len == 0 && !bytes.is_empty() {
            *line.writer.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        if line.room.get() != usize::MAX {
            line.room.set(line.room.get() - len);
        }
        line.out.borrow_mut().extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A timer that never fires: time limits never pass in this target.
struct NoTime;
struct Never;

impl Timer for NoTime {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Never)
    }
    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Never)
    }
}

impl Sleep for Never {}

impl Future for Never {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
