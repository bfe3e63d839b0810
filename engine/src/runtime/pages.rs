//! What a node tells about itself over HTTP.

use crate::runtime::core::Running;
use ::http::Response;
use synod_net::http::{self, Page};

/// The page as of now.
pub(crate) fn page(_running: &Running, page: Page) -> Response<Vec<u8>> {
    match page {
        Page::Health => http::page(200, "text/plain; charset=utf-8", "ok\n".to_owned()),
        _ => http::page(200, "text/plain; charset=utf-8", String::new()),
    }
}
