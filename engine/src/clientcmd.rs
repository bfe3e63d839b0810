//! `synod get`, `set` and `del`: one request to a running cluster, through the client library.
//!
//! Answers go to standard output unchanged, so that they can be piped. Everything else goes to standard
//! error.

use crate::config::Secret;
use crate::exit::Exit;
use crate::node::RunError;
use crate::output;
use crate::refusal::Refusal;
use std::io::{self, Read};
use std::time::Duration;
use synod_net::binary::FailureCode;
use synod_net::client::{Client, ClientConfig, ClientError, ConnectError, TcpDial};
use synod_types::limits::VALUE_BYTES_MAX;
use synod_types::{Command, Condition, Consistency, Expiry, Nanos, Op, Reply};

/// The cluster to ask, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Some of its nodes, `host:port`.
    pub addresses: Vec<String>,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// The password that the cluster requires, if any.
    pub password: Option<Secret>,
}

impl Target {
    /// A client of the cluster.
    ///
    /// # Errors
    /// When no node of it can be reached or none lets this client in.
    pub fn connect(&self) -> Result<Client, RunError> {
        let deadline = Nanos(u64::try_from(self.timeout.as_nanos()).unwrap_or(u64::MAX));
        let config = ClientConfig { deadline, password: self.password.clone(), ..ClientConfig::default() };
        Client::connect_with(&self.addresses, config, Box::new(TcpDial)).map_err(|error| match error {
            ConnectError::Address(bad) => RunError::Refused(Refusal::Usage(format!("--target: {bad}"))),
            ConnectError::Client(error @ ClientError::NotAdmitted(_)) => failed(&error),
            ConnectError::Client(error) => RunError::Ended {
                exit: exit_of(&error),
                why: format!("no answer from {}: {error}", self.addresses.join(" or ")),
            },
        })
    }
}

/// The exit code of a command whose request has no reply.
fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Unknown => Exit::Unknown,
        ClientError::NotExecuted(_) | ClientError::NotAdmitted(FailureCode::Unavailable) => Exit::NotReady,
        ClientError::Unreachable => Exit::NoServer,
        ClientError::NotAdmitted(_) => Exit::NotAdmitted,
        ClientError::Refused { .. } | ClientError::OverLimit | ClientError::WrongAnswer => Exit::Failed,
    }
}

/// A request without a reply, as the end of a command.
pub fn failed(error: &ClientError) -> RunError {
    let why = match error {
        ClientError::NotAdmitted(FailureCode::AuthRequired) => {
            "the cluster wants a password: give it in the variable SYNOD_PASSWORD".to_owned()
        }
        ClientError::NotAdmitted(FailureCode::AuthFailed) => {
            "the cluster wants another password than the one in SYNOD_PASSWORD".to_owned()
        }
        ClientError::NotAdmitted(FailureCode::Protected) => {
            "the node has no password and accepts only clients on its own machine (protected mode)".to_owned()
        }
        error => error.to_string(),
    };
    RunError::Ended { exit: exit_of(error), why }
}

/// Prints the value of `key`. A missing key has an exit code of its own, so that scripts can test for it.
pub fn get(target: &Target, key: Vec<u8>, consistency: Consistency) -> Result<(), RunError> {
    let reply = target.connect()?.command(consistency, Command::plain(key, Op::Get));
    match reply.map_err(|error| failed(&error))? {
        Reply::Value { value, .. } => print_line(&value),
        Reply::Nil => Err(RunError::Ended { exit: Exit::Absent, why: "there is no such key".to_owned() }),
        _ => Err(failed(&ClientError::WrongAnswer)),
    }
}

/// The options of a SET.
#[derive(Clone, Debug)]
pub struct SetOptions {
    /// The key.
    pub key: Vec<u8>,
    /// The value; `None` to read it from standard input.
    pub value: Option<Vec<u8>>,
    /// The condition under which the key is set.
    pub condition: Condition,
    /// The time after which the key expires, if it expires.
    pub expires_in: Option<Duration>,
}

/// Sets a key and prints OK once the write is durable on a quorum.
pub fn set(target: &Target, options: SetOptions) -> Result<(), RunError> {
    let value = match options.value {
        Some(value) => value,
        None => read_value(io::stdin().lock())?,
    };
    let expiry = match options.expires_in {
        // Rounded up: a key must not vanish before its time.
        Some(span) => Expiry::After(u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)),
        None => Expiry::None,
    };
    let set = target.connect()?.set_if(&options.key, &value, options.condition, expiry);
    match set.map_err(|error| failed(&error))? {
        Some(_) => print_line(b"OK"),
        None => {
            let why = "not set: the condition does not hold".to_owned();
            Err(RunError::Ended { exit: Exit::ConditionUnmet, why })
        }
    }
}

fn read_value(source: impl Read) -> Result<Vec<u8>, RunError> {
    let mut value = Vec::new();
    let read = source.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value);
    read.map_err(|error| RunError::Failed(format!("cannot read the value from standard input: {error}")))?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(RunError::Refused(Refusal::Usage(format!(
            "a value has at most {VALUE_BYTES_MAX} bytes"
        ))));
    }
    Ok(value)
}

/// Removes keys and prints how many of them existed.
pub fn del(target: &Target, keys: &[Vec<u8>]) -> Result<(), RunError> {
    let mut client = target.connect()?;
    let mut count = 0_u64;
    for key in keys {
        let existed = client.del(key).map_err(|error| {
            let key = String::from_utf8_lossy(key);
            RunError::Ended {
                exit: exit_of(&error),
                why: format!("{key}: {error} ({count} removed before it)"),
            }
        })?;
        count += u64::from(existed);
    }
    print_line(count.to_string().as_bytes())
}

fn print_line(bytes: &[u8]) -> Result<(), RunError> {
    output::write(&[bytes, b"\n"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_types::ErrorKind;

    #[test]
    fn a_value_from_standard_input_is_bounded() {
        assert_eq!(read_value(&b"abc"[..]).unwrap(), b"abc");
        assert!(read_value(io::repeat(0)).unwrap_err().to_string().contains("at most 1048576 bytes"));
    }

    #[test]
    fn each_reason_why_there_is_no_reply_has_its_exit_code() {
        let refused = ClientError::Refused { kind: ErrorKind::Malformed, text: String::new() };
        for (error, wanted) in [
            (ClientError::Unknown, Exit::Unknown),
            (ClientError::NotExecuted(ErrorKind::NoLeader), Exit::NotReady),
            (ClientError::NotExecuted(ErrorKind::Busy), Exit::NotReady),
            (ClientError::NotAdmitted(FailureCode::Unavailable), Exit::NotReady),
            (ClientError::Unreachable, Exit::NoServer),
            (ClientError::NotAdmitted(FailureCode::AuthFailed), Exit::NotAdmitted),
            (ClientError::NotAdmitted(FailureCode::Protected), Exit::NotAdmitted),
            (refused, Exit::Failed),
            (ClientError::WrongAnswer, Exit::Failed),
        ] {
            assert_eq!(failed(&error).exit(), wanted, "{error:?}");
        }
    }
}
