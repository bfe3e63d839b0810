//! Whether a server lets the generator in. Where it does not, nothing that is tried again changes it: the run ends with one sentence
//! that says where and what to do.
//!
//! May not: repeat the words of a server. One that does not know AUTH may repeat what it was told.

use std::os::unix::ffi::OsStringExt;
use synod_net::access::Secret;
use synod_net::binary::Failure;

/// The variable with the password that the target wants. There is no flag: a command line is for everybody to see.
const PASSWORD_VARIABLE: &str = "SYNOD_PASSWORD";

/// The password that the environment has for a target, in the variable SYNOD_PASSWORD; an empty one is none.
pub fn password_of_environment() -> Option<Secret> {
    let given = std::env::var_os(PASSWORD_VARIABLE).filter(|given| !given.is_empty());
    given.map(|given| Secret::new(given.into_vec()))
}

/// Why the generator is not let in. The sentence follows the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// There is a password, and none was given.
    #[error("wants a password: set SYNOD_PASSWORD to it")]
    PasswordWanted,
    /// Another one was given.
    #[error("refuses the password in SYNOD_PASSWORD: set it to the one that is wanted there")]
    PasswordWrong,
    /// One was given where there is none.
    #[error("has no password and refuses the one in SYNOD_PASSWORD: unset it")]
    PasswordUnwanted,
    /// There is no password, and this is another machine.
    #[error(
        "has no password and lets clients of its own machine in only (protected mode): give it a password and set \
         SYNOD_PASSWORD to it, or switch protected mode off there"
    )]
    Protected,
}

impl NotAdmitted {
    /// Of a failure in the binary protocol.
    pub(crate) fn of_failure(failure: Failure) -> Option<Self> {
        match failure {
            Failure::AuthRequired => Some(Self::PasswordWanted),
            Failure::AuthFailed => Some(Self::PasswordWrong),
            Failure::Protected => Some(Self::Protected),
            Failure::Protocol | Failure::Version | Failure::Unavailable => None,
        }
    }
    /// Of an error reply in RESP, without its mark, to anything but AUTH.
    pub(crate) fn of_reply(text: &[u8]) -> Option<Self> {
        match text.split(|&byte| byte == b' ').next().unwrap_or_default() {
            b"NOAUTH" => Some(Self::PasswordWanted),
            b"WRONGPASS" => Some(Self::PasswordWrong),
            b"DENIED" => Some(Self::Protected),
            _ => None,
        }
    }
    /// The same to AUTH, which servers without a password, and Redis before version 6, refuse in words of their own.
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
    /// What it is called among the errors of a report.
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
    fn servers_say_in_many_words_that_nobody_is_let_in() {
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
            // These pass, or mean something else.
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
        let failures = [Failure::AuthRequired, Failure::AuthFailed, Failure::Protected];
        let whys = failures.map(|failure| NotAdmitted::of_failure(failure).expect("it keeps one out"));
        for why in whys.into_iter().chain([NotAdmitted::PasswordUnwanted]) {
            assert!(why.to_string().contains(PASSWORD_VARIABLE), "{why}");
        }
        for passing in [Failure::Protocol, Failure::Version, Failure::Unavailable] {
            assert_eq!(NotAdmitted::of_failure(passing), None);
        }
    }
}
