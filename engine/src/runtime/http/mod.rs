//! HTTP connections of one core: hyper's HTTP/1 server on this executor's sockets.
//!
//! ```text
//!  client_sockets ─ first line is HTTP's ─▶ serve ─▶ hyper ─▶ handle ─▶ synod_net::http::route
//!                                                              ├▶ a page of the node
//!                                                              └▶ CorePort::request
//! ```
//! hyper has no runtime of its own: [`stream`] gives it bytes, [`alarm`] time. `synod_net::http` defines the
//! meaning of requests. The connection stays in the core's table of clients while it is served here, so one
//! limit counts all connections.

mod alarm;
mod stream;

use crate::runtime::notify::Notify;
use crate::runtime::pages;
use crate::runtime::port::CorePort;
use crate::runtime::stream::{ReadEnd, Stream, WriteEnd};
use ::http::header::{CONNECTION, HeaderValue};
use ::http::request::Parts;
use ::http::{Request, Response};
use alarm::Alarm;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use stream::HttpStream;
use synod_net::http::{DRAIN_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, HttpError, KeyPlan, Route, Upload};
use synod_net::server::Service;
use synod_types::limits::VALUE_BYTES_MAX;

/// A request's head must be complete this long after the connection was made or the last response sent.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// The same for a client beyond the limit on connections, whose place others wait for.
const SPARE_HEAD_LIMIT: Duration = Duration::from_secs(1);
/// A request's body must be complete this long after its head.
const BODY_LIMIT: Duration = Duration::from_secs(60);

/// Memory for a request of any length, or for its answer.
const REQUEST_BYTES: usize = VALUE_BYTES_MAX + HEAD_BYTES_MAX;

/// What is known of a client before its first request.
#[derive(Clone)]
pub(crate) struct HttpClient {
    /// Its number in the core's table of clients.
    pub connection: u64,
    /// It is on this machine.
    pub is_loopback: bool,
    /// How much it is served: beyond the limit on connections, only pages of the node.
    pub service: Service,
    /// Wakes it when there is memory for it.
    pub memory: Rc<Notify>,
}

/// Serves one connection to its end. `first` holds the bytes already read from it.
pub(crate) async fn serve<S: Stream>(
    port: &CorePort,
    client: HttpClient,
    first: Vec<u8>,
    reader: ReadEnd<S>,
    writer: WriteEnd<S>,
) {
    let alarm = Alarm::default();
    let stream = HttpStream::new((first, reader, writer), port.clone(), client.connection, alarm.clone());
    let service = service_fn(|request| handle(port.clone(), client.clone(), request));
    let is_spare = client.service == Service::Spare;
    let connection = http1::Builder::new()
        .timer(alarm.clone())
        .header_read_timeout(if is_spare { SPARE_HEAD_LIMIT } else { HEAD_LIMIT })
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        // A place beyond the limit is free again after one answer.
        .keep_alive(!is_spare)
        .half_close(true) // requests sent before the client's end of input are still answered, as in RESP
        // No pipeline_flush: with bytes left in the buffer it would hold back the answer to a broken request
        // forever.
        .serve_connection(stream, service);
    // The result does not matter here: bytes that are not HTTP, a timeout, a broken socket.
    let serving = async { drop(connection.await) };
    futures_lite::future::or(serving, alarm.guard()).await;
}

async fn handle(
    port: CorePort,
    client: HttpClient,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let route = match synod_net::http::route(&head, &port.node.access, client.is_loopback) {
        Route::Key(_) if client.service == Service::Spare => {
            port.server().counts.turned_away();
            Route::Done(HttpError::OVER_LIMIT.response())
        }
        route => route,
    };
    let response = match route {
        Route::Done(response) => {
            skip(&head, body).await;
            response
        }
        Route::Page(page) => {
            skip(&head, body).await;
            pages::of(&port.node, page, || port.pages())
        }
        Route::Key(plan) => {
            let response = serve_key(&port, &client, &plan, &head, body).await;
            let bytes = response.body().len();
            port.clients(|clients| clients.http_waits(client.connection, false, bytes));
            response
        }
    };
    let mut response = response.map(|body| Full::new(Bytes::from(body)));
    if port.node.stopping_for().is_some() {
        // hyper says so and ends the connection.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Skips an unused body, so that the connection can go on with the next request. A client that waits for `100
/// Continue` sends no body.
async fn skip(head: &Parts, body: Incoming) {
    if !body.is_end_stream() && !head.headers.contains_key("expect") {
        drain(body).await;
    }
}

/// Collects the body of an upload.
async fn upload(plan: &KeyPlan, mut body: Incoming) -> Result<Upload, HttpError> {
    let mut upload = Upload::new(plan, body.size_hint().exact());
    let collecting = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| HttpError::BODY_BROKEN)?;
            if frame.data_ref().is_some_and(|data| upload.push(data).is_err()) {
                drain(body).await;
                return Err(HttpError::TOO_LARGE);
            }
        }
        Ok(upload)
    };
    let late = async {
        glommio::timer::sleep(BODY_LIMIT).await;
        Err(HttpError::BODY_LATE)
    };
    futures_lite::future::or(collecting, late).await
}

/// Reads and discards the rest of a body, within bounds of bytes and time.
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

/// Serves a request for a key, once there is memory for it.
async fn serve_key(
    port: &CorePort,
    client: &HttpClient,
    plan: &KeyPlan,
    head: &Parts,
    body: Incoming,
) -> Response<Vec<u8>> {
    if !plan.wants_body() {
        skip(head, body).await;
        take_memory(port, client).await;
        return execute(port, client, plan, Upload::new(plan, None)).await;
    }
    take_memory(port, client).await;
    match upload(plan, body).await {
        Ok(upload) => execute(port, client, plan, upload).await,
        Err(failure) => failure.response(),
    }
}

/// Waits for memory for a request of any length, or for its answer.
async fn take_memory(port: &CorePort, client: &HttpClient) {
    while !port.clients(|clients| clients.take_for_http(client.connection, REQUEST_BYTES)) {
        client.memory.notified().await;
    }
}

async fn execute(port: &CorePort, client: &HttpClient, plan: &KeyPlan, upload: Upload) -> Response<Vec<u8>> {
    let (consistency, command) = upload.finish(plan);
    port.clients(|clients| clients.http_waits(client.connection, true, REQUEST_BYTES));
    plan.respond(port.request(consistency, command).reply().await)
}
