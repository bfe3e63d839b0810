//! The head of a request: what it asks, or why it cannot be done.

use super::answer::{self, HttpError};
use super::etag;
use crate::access::{Access, Admission};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{Method, Response};
use synod_types::limits::{KEY_BYTES_MAX, TTL_MS_MAX, VALUE_BYTES_MAX};
use synod_types::{Command, Condition, Consistency, Expiry, Illegal, Op, Reply, Shared, Version, command};

/// The path below which keys are.
const KEY_PATH: &str = "/v1/kv/";
const KEY_METHODS: &str = "GET, HEAD, PUT, DELETE, OPTIONS";
const PAGE_METHODS: &str = "GET, HEAD, OPTIONS";

/// The destination of a request.
#[derive(Debug)]
pub enum Route {
    /// A command on a key.
    Key(KeyPlan),
    /// A page about the node.
    Page(HttpPage),
    /// The answer; the engine is not needed.
    Done(Response<Vec<u8>>),
}

/// A page on which the node reports about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HttpPage {
    /// `/`: for people.
    Status,
    /// `/metrics`: for Prometheus.
    Metrics,
    /// `/healthz`: the process serves.
    Health,
    /// `/readyz`: every group of the node has a leader that answers, and no log stands still or is full.
    Ready,
}

/// A command on a key, as far as the head determines it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyPlan {
    key: Vec<u8>,
    action: KeyAction,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum KeyAction {
    Get {
        consistency: Consistency,
        known: IfNoneMatch,
    },
    Put {
        condition: Condition,
        expiry: Expiry,
    },
    /// `must_exist` for `If-Match: *`.
    Delete {
        version: Option<Version>,
        must_exist: bool,
    },
}

/// What the client already has (If-None-Match).
#[derive(Clone, PartialEq, Eq, Debug)]
enum IfNoneMatch {
    Nothing,
    Anything,
    Versions(Vec<Version>),
}

/// Routes a request by its head alone. If there is a password, keys, metrics and status require it, as
/// `Authorization: Bearer <password>` or Basic with the user `default` or none. The two probes do not,
/// because the tools that send them have no secrets. `is_loopback`: the client is on this machine.
pub fn route(head: &Parts, access: &Access, is_loopback: bool) -> Route {
    try_route(head, access, is_loopback).unwrap_or_else(|failure| Route::Done(failure.response()))
}

fn try_route(head: &Parts, access: &Access, is_loopback: bool) -> Result<Route, HttpError> {
    let path = head.uri.path();
    let page = match path {
        "/" => Some(HttpPage::Status),
        "/metrics" => Some(HttpPage::Metrics),
        "/healthz" => Some(HttpPage::Health),
        "/readyz" => Some(HttpPage::Ready),
        _ => None,
    };
    let key = path.strip_prefix(KEY_PATH);
    let allow = if page.is_some() { PAGE_METHODS } else { KEY_METHODS };
    if head.method == Method::OPTIONS {
        return Ok(Route::Done(answer::options(allow)));
    }
    if page.is_none() && key.is_none() {
        return Err(HttpError::new(
            404,
            "no_such_path",
            "there is nothing at this path; keys are at /v1/kv/{key}",
        ));
    }
    if !matches!(page, Some(HttpPage::Health | HttpPage::Ready)) {
        authorize(head, access, is_loopback)?;
    }
    let is_read = head.method == Method::GET || head.method == Method::HEAD;
    match (page, key) {
        (Some(page), _) if is_read => Ok(Route::Page(page)),
        (None, Some(key)) => plan_key(head, key).map(Route::Key),
        _ => Err(HttpError::method(allow)),
    }
}

fn authorize(head: &Parts, access: &Access, is_loopback: bool) -> Result<(), HttpError> {
    match access.admission(is_loopback) {
        Admission::Open => Ok(()),
        Admission::TurnedAway => Err(HttpError::PROTECTED),
        Admission::WantsPassword => match one_of(head, AUTHORIZATION)?.and_then(credentials) {
            Some(given) if access.admits(is_loopback, &given) => Ok(()),
            _ => Err(HttpError::UNAUTHORIZED),
        },
    }
}

/// The password of an Authorization header (RFC 6750, RFC 7617). There is one user, called `default` as in
/// Redis; the name may be left out.
fn credentials(header: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let both = BASE64_STANDARD.decode(rest.trim()).ok()?;
    let colon = both.iter().position(|&byte| byte == b':')?;
    matches!(&both[..colon], b"" | b"default").then(|| both[colon + 1..].to_vec())
}

fn plan_key(head: &Parts, encoded: &str) -> Result<KeyPlan, HttpError> {
    let is_read = head.method == Method::GET || head.method == Method::HEAD;
    if !is_read && head.method != Method::PUT && head.method != Method::DELETE {
        return Err(HttpError::method(KEY_METHODS));
    }
    let key = percent_decoded(encoded).ok_or(HttpError::new(
        400,
        "bad_key",
        "the key has a % that two hexadecimal digits do not follow",
    ))?;
    command::check_key(&key).map_err(|illegal| match illegal {
        Illegal::KeyEmpty => HttpError::new(400, "bad_key", "the key is empty; name one after /v1/kv/"),
        _ => HttpError::new(400, "key_too_long", "the key is over 16384 bytes"),
    })?;
    let query = Query::parse(head.uri.query().unwrap_or(""))?;
    let (if_match, if_none_match) = (one_of(head, IF_MATCH)?, one_of(head, IF_NONE_MATCH)?);
    let action = if is_read {
        query.refuse_ttl()?;
        if if_match.is_some() {
            return Err(HttpError::new(400, "bad_condition", "If-Match belongs to PUT and DELETE"));
        }
        KeyAction::Get { consistency: query.consistency.unwrap_or_default(), known: known(if_none_match) }
    } else if head.method == Method::PUT {
        query.refuse_consistency()?;
        announced_fits(head)?;
        let condition = put_condition(if_match, if_none_match)?;
        KeyAction::Put { condition, expiry: query.expiry.unwrap_or_default() }
    } else {
        query.refuse_ttl()?;
        query.refuse_consistency()?;
        if if_none_match.is_some() {
            return Err(HttpError::new(400, "bad_condition", "If-None-Match belongs to GET and PUT"));
        }
        match if_match.map(str::trim) {
            None => KeyAction::Delete { version: None, must_exist: false },
            Some("*") => KeyAction::Delete { version: None, must_exist: true },
            Some(tag) => KeyAction::Delete { version: Some(version_of(tag)?), must_exist: true },
        }
    };
    Ok(KeyPlan { key, action })
}

/// An announced length that is too long is refused before any byte of the body is read.
fn announced_fits(head: &Parts) -> Result<(), HttpError> {
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse::<u64>().ok());
    let announced = announced.map(|len| usize::try_from(len).unwrap_or(usize::MAX));
    match announced.map_or(Ok(()), command::check_value_len) {
        Ok(()) => Ok(()),
        Err(_) => Err(HttpError::TOO_LARGE),
    }
}

fn known(if_none_match: Option<&str>) -> IfNoneMatch {
    match if_none_match.map(str::trim) {
        None => IfNoneMatch::Nothing,
        Some("*") => IfNoneMatch::Anything,
        // Tags that this server did not give match nothing. A weak tag matches like a strong one here (RFC
        // 9110, 13.1.2).
        Some(list) => IfNoneMatch::Versions(
            list.split(',').filter_map(|tag| etag::parse(tag.trim().trim_start_matches("W/"))).collect(),
        ),
    }
}

fn put_condition(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Condition, HttpError> {
    match (if_match.map(str::trim), if_none_match.map(str::trim)) {
        (None, None) => Ok(Condition::Always),
        (Some("*"), None) => Ok(Condition::IfPresent),
        (Some(tag), None) => Ok(Condition::IfVersion(version_of(tag)?)),
        (None, Some("*")) => Ok(Condition::IfAbsent),
        (None, Some(_)) => Err(HttpError::new(
            400,
            "bad_condition",
            "PUT takes If-None-Match: * (create only); to write over one version, send If-Match with its ETag",
        )),
        (Some(_), Some(_)) => {
            Err(HttpError::new(400, "bad_condition", "send If-Match or If-None-Match, not both"))
        }
    }
}

fn version_of(tag: &str) -> Result<Version, HttpError> {
    etag::parse(tag).ok_or(HttpError::new(
        400,
        "bad_condition",
        "If-Match takes * or one ETag exactly as GET or PUT gave it, such as \"17-0\"",
    ))
}

/// The value of a header that may occur once.
fn one_of(head: &Parts, name: HeaderName) -> Result<Option<&str>, HttpError> {
    let mut values = head.headers.get_all(&name).iter();
    let value = values.next().map(|value| value.to_str()).transpose();
    match (value, values.next()) {
        (Ok(value), None) => Ok(value),
        _ => Err(HttpError::new(
            400,
            "bad_header",
            "a condition or authorization header is doubled or not ASCII",
        )),
    }
}

/// The parameters after `?`, each at most once.
#[derive(Default)]
struct Query {
    consistency: Option<Consistency>,
    expiry: Option<Expiry>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, HttpError> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let doubled = match name {
                "consistency" => query.consistency.replace(consistency_of(value)?).is_some(),
                "ttl" => query.expiry.replace(expiry_of(value)?).is_some(),
                // If a misspelt ttl were ignored, the key would never expire.
                _ => {
                    return Err(HttpError::new(
                        400,
                        "bad_query",
                        "a parameter is unknown; there are ttl (PUT) and consistency (GET)",
                    ));
                }
            };
            if doubled {
                return Err(HttpError::new(400, "bad_query", "a parameter is given twice"));
            }
        }
        Ok(query)
    }
    fn refuse_ttl(&self) -> Result<(), HttpError> {
        match self.expiry {
            None => Ok(()),
            Some(_) => Err(HttpError::new(400, "bad_query", "ttl belongs to PUT")),
        }
    }
    fn refuse_consistency(&self) -> Result<(), HttpError> {
        match self.consistency {
            None => Ok(()),
            Some(_) => Err(HttpError::new(
                400,
                "bad_query",
                "consistency belongs to GET; every write is durable on a quorum",
            )),
        }
    }
}

fn consistency_of(text: &str) -> Result<Consistency, HttpError> {
    match text {
        "linearizable" => Ok(Consistency::Linearizable),
        "quorum" => Ok(Consistency::Quorum),
        _ => Err(HttpError::new(400, "bad_query", "consistency is linearizable (the default) or quorum")),
    }
}

/// `keep`, or a whole number of ms, s (the default), m, h or d.
fn expiry_of(text: &str) -> Result<Expiry, HttpError> {
    if text == "keep" {
        return Ok(Expiry::Keep);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let ms = unit_ms.and_then(|unit_ms| number.parse::<u64>().ok()?.checked_mul(unit_ms));
    match ms {
        Some(ms @ 1..=TTL_MS_MAX) => Ok(Expiry::After(ms)),
        _ => Err(HttpError::new(
            400,
            "bad_ttl",
            "ttl is a whole number from 1, in seconds or with a unit (500ms, 10s, 5m, 2h, 7d), or keep",
        )),
    }
}

/// The bytes of a percent-encoded path; `None` if a `%` is not followed by two hexadecimal digits.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (&[high, low], tail) = rest.split_first_chunk::<2>()?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push((digit(high)? * 16 + digit(low)?) as u8); // two hexadecimal digits
        rest = tail;
    }
    Some(bytes)
}

impl KeyPlan {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
    /// Whether the request's body is the value.
    pub fn wants_body(&self) -> bool {
        matches!(self.action, KeyAction::Put { .. })
    }
    /// How fresh a read must be.
    pub fn consistency(&self) -> Consistency {
        match self.action {
            KeyAction::Get { consistency, .. } => consistency,
            _ => Consistency::default(),
        }
    }
    /// The command; `value` is ignored if the command takes none.
    pub fn command(&self, key: Shared, value: Shared) -> Command<Shared> {
        match self.action {
            KeyAction::Get { .. } => Command::plain(key, Op::Get),
            KeyAction::Put { condition, expiry } => {
                let value_crc = synod_types::checksum::crc32c(value.as_ref());
                Command::new(key, Op::Set { value_crc, condition, expiry, return_old: false }, value)
            }
            KeyAction::Delete { version: None, .. } => Command::plain(key, Op::Delete),
            KeyAction::Delete { version: Some(version), .. } => {
                Command::plain(key, Op::DeleteIfVersion(version))
            }
        }
    }
    /// The response to the command's reply.
    pub fn respond(&self, reply: Reply<Vec<u8>>) -> Response<Vec<u8>> {
        match (&self.action, reply) {
            (_, Reply::Error(kind)) => HttpError::of(kind).response(),
            (KeyAction::Get { known, .. }, Reply::Value { value, version }) => {
                let has = match known {
                    IfNoneMatch::Nothing => false,
                    IfNoneMatch::Anything => true,
                    IfNoneMatch::Versions(versions) => versions.contains(&version),
                };
                if has { answer::version_only(304, version) } else { answer::value(value, version) }
            }
            (KeyAction::Get { .. }, Reply::Nil) => HttpError::NO_SUCH_KEY.response(),
            (KeyAction::Put { condition, .. }, Reply::Done { version }) => {
                let created = *condition == Condition::IfAbsent;
                answer::version_only(if created { 201 } else { 204 }, version)
            }
            (KeyAction::Put { .. } | KeyAction::Delete { .. }, Reply::Skipped) => {
                HttpError::PRECONDITION.response()
            }
            (KeyAction::Delete { must_exist: true, .. }, Reply::Int(0)) => HttpError::PRECONDITION.response(),
            (KeyAction::Delete { .. }, Reply::Int(0)) => HttpError::NO_SUCH_KEY.response(),
            (KeyAction::Delete { .. }, Reply::Int(_)) => answer::empty(204),
            // Not an answer to this question: the outcome is unknown.
            _ => HttpError::of(synod_types::ErrorKind::Unknown).response(),
        }
    }
}

const _: () = assert!(KEY_BYTES_MAX == 16_384 && VALUE_BYTES_MAX == 1_048_576); // as the texts say
