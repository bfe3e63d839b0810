//! MULTI … EXEC while there are no transactions: the whole bracket fails, not only its first word.
//!
//! ```text
//!  MULTI ─▶ error        what follows ─▶ error, not executed        EXEC ─▶ EXECABORT
//!                                                                   DISCARD, RESET, QUIT end it, too
//! ```
//! Clients send the bracket in one piece. Were MULTI only refused, as any unknown command is, everything up to EXEC would be
//! executed command by command: just what the client asked not to happen. So a connection remembers that it is inside, as
//! Redis does after an error there. Commands are noted in the order in which they were sent; what was sent before and is
//! not answered yet is not touched.

use crate::resp::spec::Verb;

const NOT_SUPPORTED: &str =
    "ERR MULTI is not supported yet: nothing up to EXEC or DISCARD is executed on this connection";
const NESTED: &str = "ERR MULTI calls can not be nested";
const NOT_EXECUTED: &str =
    "ERR not executed: MULTI was refused, as transactions are not supported yet; EXEC or DISCARD ends this";
const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
const NO_EXEC: &str = "ERR EXEC without MULTI";
const NO_DISCARD: &str = "ERR DISCARD without MULTI";
const NO_WATCH: &str = "ERR WATCH is not supported yet: there are no transactions; SET IFEQ and DELEX compare and act in one step";

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Transaction {
    /// After a refused MULTI, before what ends it.
    refused: bool,
}

/// What becomes of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is executed, or refused for reasons of its own.
    Execute,
    /// It is answered with this error and not executed.
    Refuse(&'static str),
    /// `+OK`: nothing was executed, as DISCARD wishes.
    Discarded,
}

impl Transaction {
    /// Notes a command in its turn. `is_whole`: it has as many arguments as it must. `is_admitted`: the client has said its
    /// password, if there is one.
    pub(super) fn note(&mut self, verb: Verb, is_whole: bool, is_admitted: bool) -> Verdict {
        let inside = self.refused;
        match verb {
            // Even one that is refused for other reasons, too: the client goes on to EXEC all the same.
            Verb::Multi => {
                self.refused = true;
                Verdict::Refuse(if inside { NESTED } else { NOT_SUPPORTED })
            }
            Verb::Exec => {
                self.refused = false;
                Verdict::Refuse(if inside { ABORTED } else { NO_EXEC })
            }
            Verb::Discard if is_whole => {
                self.refused = false;
                if inside { Verdict::Discarded } else { Verdict::Refuse(NO_DISCARD) }
            }
            Verb::Quit => Verdict::Execute,
            Verb::Reset if is_whole => {
                self.refused = false;
                Verdict::Execute
            }
            // Who may do nothing yet is let in; he may do nothing more inside than outside.
            Verb::Auth | Verb::Hello if !is_admitted => Verdict::Execute,
            _ if inside => Verdict::Refuse(NOT_EXECUTED),
            Verb::Watch => Verdict::Refuse(NO_WATCH),
            _ => Verdict::Execute,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_but_those_that_end_it_is_refused_inside() {
        for spec in crate::resp::spec::SPECS {
            let mut transaction = Transaction::default();
            assert_eq!(transaction.note(Verb::Multi, true, true), Verdict::Refuse(NOT_SUPPORTED));
            let (verdict, ended) = match spec.verb {
                Verb::Multi => (Verdict::Refuse(NESTED), false),
                Verb::Exec => (Verdict::Refuse(ABORTED), true),
                Verb::Discard => (Verdict::Discarded, true),
                Verb::Reset => (Verdict::Execute, true),
                Verb::Quit => (Verdict::Execute, false), // the connection ends
                _ => (Verdict::Refuse(NOT_EXECUTED), false),
            };
            assert_eq!(transaction.note(spec.verb, true, true), verdict, "{}", spec.name);
            assert_eq!(transaction == Transaction::default(), ended, "{}", spec.name);
        }
    }

    #[test]
    fn a_malformed_word_opens_and_does_not_close() {
        let mut transaction = Transaction::default();
        transaction.note(Verb::Multi, false, true);
        transaction.note(Verb::Discard, false, true);
        transaction.note(Verb::Reset, false, true);
        assert_eq!(transaction.note(Verb::Set, true, true), Verdict::Refuse(NOT_EXECUTED));
        // As in Redis, which aborts then: the client believes that it is outside.
        transaction.note(Verb::Exec, false, true);
        assert_eq!(transaction.note(Verb::Set, true, true), Verdict::Execute);
    }

    #[test]
    fn a_client_that_was_not_let_in_can_say_its_password_inside() {
        let mut transaction = Transaction::default();
        transaction.note(Verb::Multi, true, false);
        assert_eq!(transaction.note(Verb::Auth, true, false), Verdict::Execute);
        assert_eq!(transaction.note(Verb::Hello, true, false), Verdict::Execute);
        assert_eq!(transaction.note(Verb::Set, true, true), Verdict::Refuse(NOT_EXECUTED));
        assert_eq!(transaction.note(Verb::Auth, true, true), Verdict::Refuse(NOT_EXECUTED));
    }
}
