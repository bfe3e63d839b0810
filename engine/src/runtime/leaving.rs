//! The planned stop of a core (P-17g): its groups go to other nodes, its clients go when they have been answered,
//! and the log is closed last.
//!
//! ```text
//!   asked to stop ─▶ hand over ─┬─ all cores ─▶ close the doors, let clients go ─┬─ all cores ─▶ finish the log
//!                               └─ half of the time                              └─ all of the time
//! ```
//! What cannot be done in time is left: other nodes elect leaders, and clients see their connections break.

use crate::runtime::client_sockets::Doors;
use crate::runtime::clock;
use crate::runtime::port::CorePort;
use crate::voice::{self, NodeEvent};
use std::sync::atomic::Ordering;
use std::time::Duration;
use synod_types::{Mono, Nanos};

/// Interval between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// Requests that are on their way come within this time.
const ON_THEIR_WAY: Nanos = Nanos::from_ms(200);

/// Hands over, closes the doors and lets the clients go, all cores together.
pub(crate) async fn leave(port: &CorePort, doors: Doors) {
    let node = &port.node;
    let began = clock::mono();
    let limit = node.setup.options.drain_limit;
    let half = began.plus(Nanos(limit.0 / 2));
    port.leave();
    wait(half, || port.has_left()).await;
    let led = port.led();
    node.handed_over.fetch_add(1, Ordering::SeqCst);
    wait(half, || node.handed_over.load(Ordering::SeqCst) >= node.setup.cores()).await;
    let took_ms = clock::mono().since(began).as_ms();
    voice::say(Some(port.me), NodeEvent::HandedOver { led, took_ms });
    drop(doors);
    port.clients(|clients| clients.let_go());
    let end = began.plus(limit);
    while clock::mono() < end && port.clients(|clients| clients.count()) > 0 {
        let look = clock::mono().plus(ON_THEIR_WAY);
        wait(end.min(look), || port.clients(|clients| clients.count()) == 0).await;
        port.clients(|clients| clients.end_silent());
    }
    node.alone.fetch_add(1, Ordering::SeqCst);
    wait(end, || node.alone.load(Ordering::SeqCst) >= node.setup.cores()).await;
    let left = port.clients(|clients| clients.count());
    if left > 0 {
        voice::say(Some(port.me), NodeEvent::ClientsLeft { count: left });
    }
}

async fn wait(until: Mono, mut is_over: impl FnMut() -> bool) {
    while !is_over() && clock::mono() < until {
        glommio::timer::sleep(LOOK).await;
    }
}
