//! Why an operation has no reply, and whether it was executed.

use crate::binary::FailureCode;
use synod_types::ErrorKind;

/// Why an operation has no reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The write may or may not have taken effect, now or later.
    #[error("the outcome is not known: the write may or may not have taken effect")]
    Unknown,
    /// Certainly not executed: the cluster did not accept it in time.
    #[error("not executed: {0:?} until the deadline")]
    NotExecuted(ErrorKind),
    /// Certainly not executed: no server could be reached in time.
    #[error("not executed: no server could be reached")]
    Unreachable,
    /// The server's final answer: nothing was changed, and a retry would not help.
    #[error("refused: {kind:?} {text}")]
    Refused {
        /// The kind of the error.
        kind: ErrorKind,
        /// The server's explanation.
        text: String,
    },
    /// Certainly not executed: the server refuses the connection, as for a wrong password.
    #[error("not executed: the server refuses the connection ({0:?})")]
    NotAdmitted(FailureCode),
    /// Certainly not executed: the key is empty, or key or value is over the limit.
    #[error("not executed: key or value is over the limit, or the key is empty")]
    OverLimit,
    /// The server's answer does not fit this operation.
    #[error("the server's answer does not fit the operation")]
    WrongAnswer,
}
