//! Why an operation has no result, by what the caller can do about it.

use synod_net::binary::FailureCode;
use synod_net::client::ClientError;
use synod_types::ErrorKind;

/// Why an operation has no result.
///
/// | error | was it executed? | what to do |
/// |---|---|---|
/// | [`NotExecuted`](Error::NotExecuted) | certainly not | try again later |
/// | [`Unknown`](Error::Unknown) | perhaps, now or later | read the key to find out |
/// | [`ConditionNotMet`](Error::ConditionNotMet) | no: the condition did not hold | read, decide again |
/// | [`Refused`](Error::Refused) | nothing changed | correct the operation; a retry gets the same answer |
/// | [`NotAdmitted`](Error::NotAdmitted) | certainly not | correct the password or the cluster's settings |
/// | [`InvalidArgument`](Error::InvalidArgument) | certainly not: nothing was sent | correct the argument |
/// | [`UnexpectedAnswer`](Error::UnexpectedAnswer) | perhaps | client and server do not fit; report it |
/// | [`System`](Error::System) | certainly not | free resources of this process |
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Certainly not executed; a later attempt may succeed. The client has already retried for as long as the
    /// timeout allowed.
    #[error("not executed: {0}")]
    NotExecuted(Cause),
    /// The write may or may not have taken effect, or may do so later. The client does not send it again.
    #[error("the outcome is not known: the write may or may not have taken effect")]
    Unknown,
    /// The condition of a conditional write did not hold. Nothing was changed.
    #[error("the condition did not hold, and nothing was changed")]
    ConditionNotMet,
    /// The server's final answer: nothing was changed, and a retry would not help.
    #[error("refused: {text} ({reason:?})")]
    Refused {
        /// What is wrong with the operation.
        reason: Refusal,
        /// The server's explanation.
        text: String,
    },
    /// Certainly not executed: the server does not let this client in.
    #[error("not admitted: {0}")]
    NotAdmitted(Admission),
    /// Nothing was sent: an argument, a setting or a connection string is wrong. The text says which and why;
    /// it never contains a password.
    #[error("invalid argument: {0}")]
    InvalidArgument(String),
    /// The server's answer does not fit the operation.
    #[error("the server's answer does not fit the operation; client and server may be of different versions")]
    UnexpectedAnswer,
    /// The operating system gave no socket, thread or memory. Nothing was sent.
    #[error("the operating system refuses what the client needs: {0}")]
    System(String),
}

/// Why an operation was not executed within its timeout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// No node could be reached.
    #[error("no node could be reached before the timeout")]
    Unreachable,
    /// The key's group had no leader, as when most nodes are down.
    #[error("the key's group had no leader until the timeout; are most nodes up?")]
    NoLeader,
    /// The server had too many requests waiting.
    #[error("the server was too busy until the timeout")]
    Busy,
    /// The logs of too many nodes have no room.
    #[error("the cluster's disks had no room until the timeout")]
    NoSpace,
    /// It waited behind other operations of this client until its timeout, or too many wait already.
    #[error("it was not sent: too many operations of this client are ahead of it")]
    NotSent,
}

/// What a server finds wrong with an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The value is no decimal 64-bit integer, so nothing can be added to it.
    NotAnInteger,
    /// The sum does not fit a signed 64-bit integer.
    Overflow,
    /// The expiry is no time that can be represented.
    BadExpiry,
    /// The value could not be read back intact from the disk.
    ReadFailed,
    /// A rule about keys, values or options is broken.
    Malformed,
}

/// Why a server does not let a client in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Admission {
    /// The cluster wants a password and none was given.
    #[error("the cluster wants a password: put it into the connection string, synod://:PASSWORD@HOST")]
    PasswordWanted,
    /// The password is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// The cluster has no password and admits only clients of its own machine.
    #[error(
        "the cluster has no password and admits only clients of its own machine (protected mode); set a password"
    )]
    ProtectedMode,
    /// The server speaks another version of the protocol, or another protocol.
    #[error("the server speaks another version of the protocol")]
    OtherVersion,
}

impl Error {
    /// Whether the operation was certainly not executed and a later attempt may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::NotExecuted(_) | Error::System(_))
    }

    /// Whether the operation may have been executed, although it has no result.
    pub fn may_have_been_executed(&self) -> bool {
        matches!(self, Error::Unknown | Error::UnexpectedAnswer)
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Unknown => Error::Unknown,
            ClientError::NotExecuted(kind) => Error::NotExecuted(cause_of(kind)),
            ClientError::Unreachable => Error::NotExecuted(Cause::Unreachable),
            ClientError::Refused { kind, text } => refused(kind, text),
            ClientError::NotAdmitted(code) => not_admitted(code),
            ClientError::OverLimit => {
                Error::InvalidArgument("the key is empty, or key or value is over the limit".into())
            }
            ClientError::WrongAnswer => Error::UnexpectedAnswer,
        }
    }
}

/// Why attempts were put off until the timeout.
fn cause_of(kind: ErrorKind) -> Cause {
    match kind {
        ErrorKind::Busy => Cause::Busy,
        ErrorKind::NoSpace => Cause::NoSpace,
        // Other kinds end an operation at once, so they are never the cause of a timeout.
        _ => Cause::NoLeader,
    }
}

fn refused(kind: ErrorKind, text: String) -> Error {
    let reason = match kind {
        ErrorKind::NotAnInteger => Refusal::NotAnInteger,
        ErrorKind::Overflow => Refusal::Overflow,
        ErrorKind::BadExpiry => Refusal::BadExpiry,
        ErrorKind::ReadFailed => Refusal::ReadFailed,
        ErrorKind::Malformed => Refusal::Malformed,
        ErrorKind::Unknown
        | ErrorKind::NoLeader
        | ErrorKind::Busy
        | ErrorKind::SessionExpired
        | ErrorKind::SequenceClosed
        | ErrorKind::NoSpace
        | ErrorKind::ReplyDropped => return Error::UnexpectedAnswer,
    };
    Error::Refused { reason, text }
}

fn not_admitted(code: FailureCode) -> Error {
    Error::NotAdmitted(match code {
        FailureCode::AuthRequired => Admission::PasswordWanted,
        FailureCode::AuthFailed => Admission::WrongPassword,
        FailureCode::Protected => Admission::ProtectedMode,
        FailureCode::Version => Admission::OtherVersion,
        // The server does not understand this client, or has no answer of this kind.
        FailureCode::Protocol | FailureCode::Unavailable => return Error::UnexpectedAnswer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_machine_says_what_the_caller_can_do() {
        let refused = |kind| ClientError::Refused { kind, text: "why".into() };
        let table = [
            (ClientError::Unknown, Error::Unknown, false, true),
            (ClientError::Unreachable, Error::NotExecuted(Cause::Unreachable), true, false),
            (ClientError::NotExecuted(ErrorKind::NoLeader), Error::NotExecuted(Cause::NoLeader), true, false),
            (ClientError::NotExecuted(ErrorKind::Busy), Error::NotExecuted(Cause::Busy), true, false),
            (ClientError::NotExecuted(ErrorKind::NoSpace), Error::NotExecuted(Cause::NoSpace), true, false),
            (
                refused(ErrorKind::Overflow),
                Error::Refused { reason: Refusal::Overflow, text: "why".into() },
                false,
                false,
            ),
            (
                ClientError::NotAdmitted(FailureCode::AuthFailed),
                Error::NotAdmitted(Admission::WrongPassword),
                false,
                false,
            ),
            (ClientError::WrongAnswer, Error::UnexpectedAnswer, false, true),
        ];
        for (given, wanted, is_retryable, may_have_been_executed) in table {
            let error = Error::from(given);
            assert_eq!(error, wanted);
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
            assert_eq!(error.may_have_been_executed(), may_have_been_executed, "{error}");
        }
    }
}
