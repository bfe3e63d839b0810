//! Responses: values, versions, and errors as JSON with a code for programs and a sentence for people.

use super::etag;
use core::fmt::Write;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};
use synod_types::{ErrorKind, Version};

const NO_SPACE: &str = "the logs of the nodes that hold this key have no room, as on a full disk; \
 nothing was executed; /readyz of a \
                        node says more";

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HttpError {
    status: u16,
    code: &'static str,
    message: &'static str,
    allow: Option<&'static str>,
}

impl HttpError {
    /// The body is longer than a value may be.
    pub const TOO_LARGE: Self =
        Self::new(413, "value_too_long", "the value is over 1048576 bytes; nothing was written");
    /// The body did not end in time.
    pub const BODY_LATE: Self =
        Self::new(408, "body_timeout", "the body did not arrive in time; nothing was written");
    /// The body broke off or was framed wrongly.
    pub const BODY_BROKEN: Self =
        Self::new(400, "bad_body", "the body broke off or is framed wrongly; nothing was written");
    /// The connection is beyond the limit.
    pub const OVER_LIMIT: Self = Self::new(
        503,
        "too_many_connections",
        "this core of the node has as many connections as limits.connections allows; \
         nothing was executed, retry later or at another node",
    );
    /// The node has not replayed its log yet.
    pub const LOADING: Self = Self::new(
        503,
        "loading",
        "the node replays its log; nothing was executed, retry later or at another node",
    );
    pub(super) const NO_SUCH_KEY: Self = Self::new(404, "no_such_key", "the key does not exist");
    pub(super) const PRECONDITION: Self = Self::new(
        412,
        "precondition_failed",
        "the key is not at the version, or not in the state, that was asked for; nothing was changed",
    );

    pub(super) const fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, allow: None }
    }
    pub(super) const fn method(allow: &'static str) -> Self {
        let message = "this path does not take this method; the Allow header names those it takes";
        Self { status: 405, code: "method_not_allowed", message, allow: Some(allow) }
    }
    pub(super) const UNAUTHORIZED: Self = Self::new(
        401,
        "unauthorized",
        "send the password as Authorization: Bearer <password>, or by Basic authentication with the user 'default'",
    );
    pub(super) const PROTECTED: Self = Self::new(
        403,
        "protected",
        "no password is set, so this node answers its own machine only; \
         set security.password in its configuration, or security.protected_mode to no",
    );
    /// The failure of a command that was not executed, or whose outcome is unknown.
    pub(super) const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unknown | ErrorKind::ReplyDropped => Self::new(
                504,
                "unknown",
                "the outcome is not known: the command may or may not have taken effect; read the key to find out",
            ),
            ErrorKind::NoLeader => Self::new(
                503,
                "no_leader",
                "no leader is known for this key at the moment; nothing was executed, retry",
            ),
            ErrorKind::Busy => {
                Self::new(503, "busy", "too much is waiting; nothing was executed, retry later")
            }
            ErrorKind::NoSpace => Self::new(507, "no_space", NO_SPACE),
            ErrorKind::BadExpiry => {
                Self::new(400, "bad_ttl", "the ttl leads to no representable time; nothing was changed")
            }
            ErrorKind::ReadFailed => Self::new(
                500,
                "read_failed",
                "the value could not be read back from the log or failed its checksum",
            ),
            ErrorKind::Malformed => Self::new(400, "malformed", "the request is malformed or over a limit"),
            ErrorKind::SessionExpired
            | ErrorKind::SequenceClosed
            | ErrorKind::NotAnInteger
            | ErrorKind::Overflow => Self::new(500, "internal", "the answer does not fit the question"),
        }
    }

    /// The status code.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The failure as a response.
    pub fn response(&self) -> Response<Vec<u8>> {
        let mut body = String::from("{\"error\":{\"code\":");
        json_string(&mut body, self.code);
        body.push_str(",\"message\":");
        json_string(&mut body, self.message);
        body.push_str("}}\n");
        let mut response = page(self.status, "application/json", body);
        let headers = response.headers_mut();
        match self.status {
            401 => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"synod\""));
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"synod\""));
            }
            503 | 507 => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// A response with a text of this type.
pub fn page(status: u16, content_type: &'static str, text: String) -> Response<Vec<u8>> {
    let mut response = bare(status, text.into_bytes());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn value(value: Vec<u8>, version: Version) -> Response<Vec<u8>> {
    let mut response = bare(200, value);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // A stored value is data, even if it looks like something else to a browser.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    tag(response, version)
}

pub(super) fn version_only(status: u16, version: Version) -> Response<Vec<u8>> {
    tag(bare(status, Vec::new()), version)
}

pub(super) fn empty(status: u16) -> Response<Vec<u8>> {
    bare(status, Vec::new())
}

pub(super) fn options(allow: &'static str) -> Response<Vec<u8>> {
    let mut response = empty(204);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn bare(status: u16, body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    // Only numbers below 100 are no valid status, and none here is that low.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn tag(mut response: Response<Vec<u8>>, version: Version) -> Response<Vec<u8>> {
    // Digits, a dash and quotes: always a header value.
    if let Ok(value) = HeaderValue::try_from(etag::spell(version)) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

/// Appends `text` as a JSON string.
pub fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
