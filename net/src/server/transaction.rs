//! MULTI … EXEC without support for transactions: the whole bracket fails, not only its first command.
//!
//! ```text
//!  MULTI ─▶ error        what follows ─▶ error, not executed        EXEC ─▶ EXECABORT
//!                                                                   DISCARD, RESET, QUIT end it, too
//! ```
//! Clients send the bracket in one piece. If MULTI were only refused like any unknown command, everything up
//! to EXEC would be executed command by command, which is just what the client asked not to happen. So a
//! connection remembers that it is inside a bracket, as Redis does after an error there. Commands are noted
//! in the order in which they were sent. Commands sent before MULTI and not answered yet are not affected.

use crate::resp::spec::{CommandAction, ConnectionCommand, TransactionCommand};

const NOT_SUPPORTED: &str =
    "ERR MULTI is not supported yet: nothing up to EXEC or DISCARD is executed on this connection";
const NESTED: &str = "ERR MULTI calls can not be nested";
const NOT_EXECUTED: &str =
    "ERR not executed: MULTI was refused, as transactions are not supported yet; EXEC or DISCARD ends this";
const ABORTED: &str = "EXECABORT Transaction discarded because of previous errors.";
const NO_EXEC: &str = "ERR EXEC without MULTI";
const NO_DISCARD: &str = "ERR DISCARD without MULTI";
const NO_WATCH: &str = "ERR WATCH is not supported yet: there are no transactions; SET IFEQ and DELEX \
     compare and act in one step";

/// Whether a connection is inside a refused bracket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Transaction {
    /// After a refused MULTI, before the command that ends the bracket.
    refused: bool,
}

/// What happens to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It is executed, or refused for reasons of its own.
    Execute,
    /// It is answered with this error and not executed.
    Refuse(&'static str),
    /// `+OK`: nothing was executed, as DISCARD asks.
    Discarded,
}

impl Transaction {
    /// Whether a bracket was begun and not ended.
    pub(super) fn is_open(self) -> bool {
        self.refused
    }

    /// Notes a command in its turn. `is_whole`: it has a valid number of arguments. `is_admitted`: the client
    /// has shown its password, if there is one.
    pub(super) fn note(&mut self, action: CommandAction, is_whole: bool, is_admitted: bool) -> Verdict {
        let inside = self.refused;
        match action {
            CommandAction::Transaction(command) => self.note_bracket(command, is_whole),
            CommandAction::Connection(ConnectionCommand::Quit) => Verdict::Execute,
            CommandAction::Connection(ConnectionCommand::Reset) if is_whole => {
                self.refused = false;
                Verdict::Execute
            }
            // A client without rights may still authenticate; it gains no more rights inside than outside.
            CommandAction::Connection(ConnectionCommand::Auth | ConnectionCommand::Hello) if !is_admitted => {
                Verdict::Execute
            }
            _ if inside => Verdict::Refuse(NOT_EXECUTED),
            _ => Verdict::Execute,
        }
    }

    fn note_bracket(&mut self, command: TransactionCommand, is_whole: bool) -> Verdict {
        let inside = self.refused;
        match command {
            // Also a MULTI that is refused for other reasons: the client goes on to EXEC anyway.
            TransactionCommand::Multi => {
                self.refused = true;
                Verdict::Refuse(if inside { NESTED } else { NOT_SUPPORTED })
            }
            TransactionCommand::Exec => {
                self.refused = false;
                Verdict::Refuse(if inside { ABORTED } else { NO_EXEC })
            }
            TransactionCommand::Discard if is_whole => {
                self.refused = false;
                if inside { Verdict::Discarded } else { Verdict::Refuse(NO_DISCARD) }
            }
            _ if inside => Verdict::Refuse(NOT_EXECUTED),
            TransactionCommand::Watch => Verdict::Refuse(NO_WATCH),
            // DISCARD has arguments here, and the error about them comes first.
            TransactionCommand::Discard | TransactionCommand::Unwatch => Verdict::Execute,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::spec::KeyCommand;

    const MULTI: CommandAction = CommandAction::Transaction(TransactionCommand::Multi);
    const EXEC: CommandAction = CommandAction::Transaction(TransactionCommand::Exec);
    const DISCARD: CommandAction = CommandAction::Transaction(TransactionCommand::Discard);
    const RESET: CommandAction = CommandAction::Connection(ConnectionCommand::Reset);
    const QUIT: CommandAction = CommandAction::Connection(ConnectionCommand::Quit);
    const AUTH: CommandAction = CommandAction::Connection(ConnectionCommand::Auth);
    const HELLO: CommandAction = CommandAction::Connection(ConnectionCommand::Hello);
    const SET: CommandAction = CommandAction::Key(KeyCommand::Set);

    #[test]
    fn every_command_but_those_that_end_it_is_refused_inside() {
        for spec in crate::resp::spec::SPECS {
            let mut transaction = Transaction::default();
            assert_eq!(transaction.note(MULTI, true, true), Verdict::Refuse(NOT_SUPPORTED));
            let (verdict, ended) = match spec.action {
                MULTI => (Verdict::Refuse(NESTED), false),
                EXEC => (Verdict::Refuse(ABORTED), true),
                DISCARD => (Verdict::Discarded, true),
                RESET => (Verdict::Execute, true),
                QUIT => (Verdict::Execute, false), // the connection ends
                _ => (Verdict::Refuse(NOT_EXECUTED), false),
            };
            assert_eq!(transaction.note(spec.action, true, true), verdict, "{}", spec.name);
            assert_eq!(transaction == Transaction::default(), ended, "{}", spec.name);
        }
    }

    #[test]
    fn a_malformed_word_opens_and_does_not_close() {
        let mut transaction = Transaction::default();
        transaction.note(MULTI, false, true);
        transaction.note(DISCARD, false, true);
        transaction.note(RESET, false, true);
        assert_eq!(transaction.note(SET, true, true), Verdict::Refuse(NOT_EXECUTED));
        // As in Redis, which aborts then: the client believes that it is outside.
        transaction.note(EXEC, false, true);
        assert_eq!(transaction.note(SET, true, true), Verdict::Execute);
    }

    #[test]
    fn a_client_that_was_not_let_in_can_say_its_password_inside() {
        let mut transaction = Transaction::default();
        transaction.note(MULTI, true, false);
        assert_eq!(transaction.note(AUTH, true, false), Verdict::Execute);
        assert_eq!(transaction.note(HELLO, true, false), Verdict::Execute);
        assert_eq!(transaction.note(SET, true, true), Verdict::Refuse(NOT_EXECUTED));
        assert_eq!(transaction.note(AUTH, true, true), Verdict::Refuse(NOT_EXECUTED));
    }
}
