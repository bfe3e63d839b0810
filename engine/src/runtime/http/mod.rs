//! HTTP connections of one core: hyper's HTTP/1 server on this executor's sockets.
//!
//! ```text
//!  client.rs ── first line is HTTP's ─▶ serve ─▶ hyper ─▶ handle ─▶ synod_net::http::route ─┬▶ a page of the node
//!                                                                                          └▶ Core::command ─▶ Waiters
//! ```
//! hyper has no runtime of its own: [`stream`] gives it bytes, [`alarm`] time. What requests mean is in `synod_net::http`. The
//! connection stays in the core's table of clients while it is served here, so one limit counts them all.

mod alarm;
mod stream;
mod waiters;

use crate::runtime::clock;
use crate::runtime::core::Running;
use crate::runtime::io::Requester;
use crate::runtime::pages;
use crate::runtime::stream::{Reader, Stream, Writer};
use ::http::request::Parts;
use ::http::{Request, Response};
use alarm::Alarm;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::time::Duration;
use stream::HttpStream;
use synod_net::http::{DRAIN_BYTES_MAX, Failure, HEAD_BYTES_MAX, HEADERS_MAX, KeyPlan, Route, Upload};
use synod_types::{bucket_of, group_of};

pub(crate) use waiters::Waiters;

/// A request's head must be whole this long after the connection was made or the last response given.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// A request's body must be whole this long after its head.
const BODY_LIMIT: Duration = Duration::from_secs(60);

/// Serves one connection to its end; `first` was read from it already.
pub(crate) async fn serve<S: Stream>(
    running: &Running,
    is_loopback: bool,
    first: Vec<u8>,
    reader: Reader<S>,
    writer: Writer<S>,
) {
    let alarm = Alarm::default();
    let stream = HttpStream::new(first, reader, writer, running.clone(), alarm.clone());
    let service = service_fn(|request| handle(running.clone(), is_loopback, request));
    let connection = http1::Builder::new()
        .timer(alarm.clone())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(true) // what was sent before the client's end is still answered, as in RESP
        // No pipeline_flush: with bytes left in the buffer it would hold the answer to a broken request back for ever.
        .serve_connection(stream, service);
    // How it ended is the client's affair: bytes that are no HTTP, a timeout, a broken socket.
    let serving = async { drop(connection.await) };
    futures_lite::future::or(serving, alarm.guard()).await;
}

async fn handle(
    running: Running,
    is_loopback: bool,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let route = running.with_quiet(|core| synod_net::http::route(&head, &core.server.access, is_loopback));
    let response = match route {
        Route::Done(response) => {
            skip(&head, body).await;
            response
        }
        Route::Page(page) => {
            skip(&head, body).await;
            pages::of(&running, page)
        }
        Route::Key(plan) if plan.wants_body() => match upload(&plan, body).await {
            Ok(upload) => execute(&running, &plan, upload).await,
            Err(failure) => failure.response(),
        },
        Route::Key(plan) => {
            skip(&head, body).await;
            execute(&running, &plan, Upload::new(&plan, None)).await
        }
    };
    Ok(response.map(|body| Full::new(Bytes::from(body))))
}

/// Passes over a body that nobody wants, so that the connection can go on with the next request. A client that waits for
/// `100 Continue` sends none.
async fn skip(head: &Parts, body: Incoming) {
    if !body.is_end_stream() && !head.headers.contains_key("expect") {
        drain(body).await;
    }
}

/// Collects the body.
async fn upload(plan: &KeyPlan, mut body: Incoming) -> Result<Upload, Failure> {
    let mut upload = Upload::new(plan, body.size_hint().exact());
    let collecting = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Failure::BODY_BROKEN)?;
            if frame.data_ref().is_some_and(|data| upload.push(data).is_err()) {
                drain(body).await;
                return Err(Failure::TOO_LARGE);
            }
        }
        Ok(upload)
    };
    let late = async {
        glommio::timer::sleep(BODY_LIMIT).await;
        Err(Failure::BODY_LATE)
    };
    futures_lite::future::or(collecting, late).await
}

/// Reads on and keeps nothing, within bounds of bytes and time.
async fn drain(mut body: Incoming) {
    let draining = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    futures_lite::future::or(draining, glommio::timer::sleep(HEAD_LIMIT)).await;
}

async fn execute(running: &Running, plan: &KeyPlan, upload: Upload) -> Response<Vec<u8>> {
    let (consistency, command) = upload.finish(plan);
    let answer = running.with(|core| {
        let groups = core.node().setup.facts().group_count;
        let group = group_of(bucket_of(command.key.as_ref()), groups);
        let (waiter, answer) = core.io.http.open();
        core.command(Requester::Http { waiter }, group, consistency, command, clock::now());
        answer
    });
    plan.respond(answer.reply().await)
}
