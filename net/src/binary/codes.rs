//! The numbers on the wire for everything that is an enum in memory. They are never reused and never
//! renumbered.

use crate::error::ProtocolError;
use synod_types::ErrorKind;

/// Kinds of frames.
pub(crate) mod kind {
    pub(crate) const GET: u8 = 0x01;
    pub(crate) const EXISTS: u8 = 0x02;
    pub(crate) const TTL: u8 = 0x03;
    pub(crate) const SET: u8 = 0x10;
    pub(crate) const DELETE: u8 = 0x11;
    pub(crate) const INCREMENT: u8 = 0x12;
    pub(crate) const SET_EXPIRY: u8 = 0x13;
    pub(crate) const OPEN_SESSION: u8 = 0x14;
    pub(crate) const DELETE_IF: u8 = 0x1F;
    pub(crate) const IF_EQUAL: u8 = 0x18;
    pub(crate) const HELLO: u8 = 0x20;
    pub(crate) const AUTH: u8 = 0x21;
    pub(crate) const TOPOLOGY: u8 = 0x22;
    pub(crate) const STATUS: u8 = 0x23;
    pub(crate) const PING: u8 = 0x24;
    pub(crate) const DONE: u8 = 0x81;
    pub(crate) const SKIPPED: u8 = 0x82;
    pub(crate) const VALUE: u8 = 0x83;
    pub(crate) const NIL: u8 = 0x84;
    pub(crate) const INT: u8 = 0x85;
    pub(crate) const SESSION: u8 = 0x86;
    pub(crate) const ERROR: u8 = 0x87;
    pub(crate) const HELLO_ANSWER: u8 = 0xA0;
    pub(crate) const OK: u8 = 0xA1;
    pub(crate) const TOPOLOGY_ANSWER: u8 = 0xA2;
    pub(crate) const STATUS_ANSWER: u8 = 0xA3;
    pub(crate) const PONG: u8 = 0xA4;
}

/// A refusal that concerns the connection or the server rather than a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureCode {
    /// The bytes break the protocol; the server closes the connection after this answer.
    Protocol,
    /// The server does not speak the version in the preamble; it closes the connection after this answer.
    Version,
    /// The connection has to authenticate first.
    AuthRequired,
    /// The password is wrong.
    AuthFailed,
    /// The server cannot answer this at the moment (a topology or status that is not known yet).
    Unavailable,
    /// The server has no password and only admits clients of its own machine; it closes the connection after
    /// this answer.
    Protected,
}

impl FailureCode {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        match self {
            FailureCode::Protocol => 100,
            FailureCode::Version => 101,
            FailureCode::AuthRequired => 102,
            FailureCode::AuthFailed => 103,
            FailureCode::Unavailable => 104,
            FailureCode::Protected => 105,
        }
    }
    pub(crate) const fn of_code(code: u32) -> Option<Self> {
        Some(match code {
            100 => FailureCode::Protocol,
            101 => FailureCode::Version,
            102 => FailureCode::AuthRequired,
            103 => FailureCode::AuthFailed,
            104 => FailureCode::Unavailable,
            105 => FailureCode::Protected,
            _ => return None,
        })
    }
}

/// The number on the wire of an error.
pub const fn error_code(kind: ErrorKind) -> u32 {
    match kind {
        // `ReplyDropped` answers a command that a node sent again; to the client, which sent it once, the
        // outcome is unknown.
        ErrorKind::Unknown | ErrorKind::ReplyDropped => 1,
        ErrorKind::NoLeader => 2,
        // A number that clients of version 1 do not know would end their connections. They treat this error
        // as they treat `Busy`; the text beside it tells the difference.
        ErrorKind::Busy | ErrorKind::NoSpace => 3,
        ErrorKind::SessionExpired => 4,
        ErrorKind::SequenceClosed => 5,
        ErrorKind::NotAnInteger => 6,
        ErrorKind::Overflow => 7,
        ErrorKind::BadExpiry => 8,
        ErrorKind::ReadFailed => 9,
        ErrorKind::Malformed => 10,
    }
}

/// The reverse of [`error_code`].
///
/// # Errors
/// [`ProtocolError::Kind`] for a number this version does not define.
pub const fn error_of_code(code: u32) -> Result<ErrorKind, ProtocolError> {
    Ok(match code {
        1 => ErrorKind::Unknown,
        2 => ErrorKind::NoLeader,
        3 => ErrorKind::Busy,
        4 => ErrorKind::SessionExpired,
        5 => ErrorKind::SequenceClosed,
        6 => ErrorKind::NotAnInteger,
        7 => ErrorKind::Overflow,
        8 => ErrorKind::BadExpiry,
        9 => ErrorKind::ReadFailed,
        10 => ErrorKind::Malformed,
        _ => return Err(ProtocolError::Kind),
    })
}
