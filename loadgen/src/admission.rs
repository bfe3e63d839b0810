//! Whether a server admits the generator. If it does not, retrying does not help: the run ends with one
//! sentence that names the server and says what to do.
//!
//! This module never repeats a server's reply: a server that does not know AUTH may echo the password.

use std::os::unix::ffi::OsStringExt;
use synod_net::access::Secret;
use synod_net::binary::FailureCode;

/// The environment variable with the target's password. There is no flag, because all users can see a command
/// line.
const PASSWORD_VARIABLE: &str = "SYNOD_PASSWORD";

/// The target's password from the environment variable SYNOD_PASSWORD; `None` if it is empty or not set.
pub fn password_of_environment() -> Option<Secret> {
    let given = std::env::var_os(PASSWORD_VARIABLE).filter(|given| !given.is_empty());
    given.map(|given| Secret::new(given.into_vec()))
}

/// Why a server does not admit the generator. The message is printed after the server's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// The server has a password, and none was given.
    #[error("wants a password: set SYNOD_PASSWORD to it")]
    PasswordWanted,
    /// A wrong password was given.
    #[error("refuses the password in SYNOD_PASSWORD: set it to the one that is wanted there")]
    PasswordWrong,
    /// A password was given, but the server has none.
    #[error("has no password and refuses the one in SYNOD_PASSWORD: unset it")]
    PasswordUnwanted,
    /// The server has no password, and the generator runs on another machine.
    #[error(
        "has no password and accepts only clients on its own machine (protected mode): give it a password and set \
         SYNOD_PASSWORD to it, or switch protected mode off there"
    )]
    Protected,
}

impl NotAdmitted {
    /// The meaning of a failure in the binary protocol.
    pub(crate) fn of_failure(failure: FailureCode) -> Option<Self> {
        match failure {
            FailureCode::AuthRequired => Some(Self::PasswordWanted),
            FailureCode::AuthFailed => Some(Self::PasswordWrong),
            FailureCode::Protected => Some(Self::Protected),
            FailureCode::Protocol | FailureCode::Version | FailureCode::Unavailable => None,
        }
    }
    /// The meaning of a RESP error reply, without its leading `-`, to any command but AUTH.
    pub(crate) fn of_reply(text: &[u8]) -> Option<Self> {
        match text.split(|&byte| byte == b' ').next().unwrap_or_default() {
            b"NOAUTH" => Some(Self::PasswordWanted),
            b"WRONGPASS" => Some(Self::PasswordWrong),
            b"DENIED" => Some(Self::Protected),
            _ => None,
        }
    }
    /// The same for a reply to AUTH, which servers without a password, and Redis before version 6, refuse
    /// with other words.
    pub(crate) fn of_reply_to_auth(text: &[u8]) -> Option<Self> {
        let says = |part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
        let is_unwanted =
            || ["without any password", "no password is set", "unknown command"].into_iter().any(says);
        match Self::of_reply(text) {
            None if says("invalid password") => Some(Self::PasswordWrong),
            None if is_unwanted() => Some(Self::PasswordUnwanted),
            known => known,
        }
    }
    /// Its name among the errors of a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PasswordWanted => "authentication required",
            Self::PasswordWrong => "authentication failed",
            Self::PasswordUnwanted => "authentication not wanted",
            Self::Protected => "protected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_refuse_the_generator_in_many_words() {
        use NotAdmitted::{PasswordUnwanted, PasswordWanted, PasswordWrong, Protected};
        let cases: [(&str, Option<NotAdmitted>, Option<NotAdmitted>); 10] = [
            ("NOAUTH Authentication required.", Some(PasswordWanted), Some(PasswordWanted)),
            ("WRONGPASS invalid username-password pair …", Some(PasswordWrong), Some(PasswordWrong)),
            ("DENIED … because … no password is set for …", Some(Protected), Some(Protected)),
            ("ERR invalid password", None, Some(PasswordWrong)),
            (
                "ERR AUTH <password> called without any password configured for …",
                None,
                Some(PasswordUnwanted),
            ),
            ("ERR Client sent AUTH, but no password is set", None, Some(PasswordUnwanted)),
            ("ERR unknown command 'AUTH', with args beginning with: 'pw'", None, Some(PasswordUnwanted)),
            // These are temporary, or mean something else.
            ("ERR max number of clients reached", None, None),
            ("LOADING Redis is loading the dataset in memory", None, None),
            ("", None, None),
        ];
        for (text, to_others, to_auth) in cases {
            assert_eq!(NotAdmitted::of_reply(text.as_bytes()), to_others, "{text}");
            assert_eq!(NotAdmitted::of_reply_to_auth(text.as_bytes()), to_auth, "{text}");
        }
    }

    #[test]
    fn each_sentence_says_what_to_do() {
        let failures = [FailureCode::AuthRequired, FailureCode::AuthFailed, FailureCode::Protected];
        let whys = failures.map(|failure| NotAdmitted::of_failure(failure).expect("it keeps one out"));
        for why in whys.into_iter().chain([NotAdmitted::PasswordUnwanted]) {
            assert!(why.to_string().contains(PASSWORD_VARIABLE), "{why}");
        }
        for passing in [FailureCode::Protocol, FailureCode::Version, FailureCode::Unavailable] {
            assert_eq!(NotAdmitted::of_failure(passing), None);
        }
    }
}
