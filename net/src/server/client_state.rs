//! The client's own state on a RESP connection: what it has said of itself and of the commands to come.
//! Commands see and change it. Open requests and the order of their replies belong to `requests`.

use super::config::ConnectionConfig;
use super::transaction::Transaction;
use crate::access::{Admission, PROTECTED};
use crate::resp::error_line::ErrorLine;
use crate::resp::spec::Spec;

/// The state of the client of one connection.
#[derive(Debug)]
pub(super) struct ClientState {
    pub(super) authenticated: bool,
    pub(super) name: String,
    pub(super) library_name: String,
    pub(super) library_version: String,
    /// The client said goodbye or broke the protocol: nothing more is parsed.
    pub(super) over: bool,
    /// The mode that CLIENT REPLY set.
    pub(super) replies: Replies,
    /// The previous command was ASKING: the next one is executed here, even if another node leads its group.
    pub(super) asking: bool,
    /// After READONLY: reads are executed here, even if another node leads their group.
    pub(super) read_only: bool,
    /// Whether a refused MULTI keeps commands from being executed.
    pub(super) transaction: Transaction,
}

/// Which replies the client wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Replies {
    On,
    Off,
    /// All but the one to the next command.
    Skip,
}

/// What earlier commands ask of the one that begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Begun {
    /// Its reply is not wanted.
    pub(super) is_muted: bool,
    /// It is executed here, even if another node leads its group.
    pub(super) is_asking: bool,
}

impl ClientState {
    pub(super) fn new(authenticated: bool) -> Self {
        Self {
            authenticated,
            name: String::new(),
            library_name: String::new(),
            library_version: String::new(),
            over: false,
            replies: Replies::On,
            asking: false,
            read_only: false,
            transaction: Transaction::default(),
        }
    }

    /// Begins a command, even one that is refused later: uses up what the previous one asked for it.
    pub(super) fn begin(&mut self) -> Begun {
        let is_muted = self.replies != Replies::On;
        if self.replies == Replies::Skip {
            self.replies = Replies::On;
        }
        Begun { is_muted, is_asking: core::mem::take(&mut self.asking) }
    }

    /// Whether the client has shown a password, or none is wanted any more.
    pub(super) fn is_let_in(&self, config: &ConnectionConfig) -> bool {
        self.authenticated || config.server.access.admission(config.is_loopback) == Admission::Open
    }

    /// Checks that the client may execute `spec`.
    ///
    /// # Errors
    /// The error line to answer with.
    pub(super) fn admit(&mut self, config: &ConnectionConfig, spec: &Spec) -> Result<(), ErrorLine> {
        if self.authenticated {
            return Ok(());
        }
        match config.server.access.admission(config.is_loopback) {
            Admission::Open => self.authenticated = true, // clients that were let in stay
            Admission::WantsPassword if spec.wants_no_password() => {}
            Admission::WantsPassword => return Err(ErrorLine::Borrowed("NOAUTH Authentication required.")),
            Admission::TurnedAway => {
                // The client was asked for a password that has since been removed.
                self.over = true;
                return Err(ErrorLine::Borrowed(PROTECTED));
            }
        }
        Ok(())
    }

    /// Whether the client of a command on a key may be sent to the key's leader instead of being served here.
    pub(super) fn may_redirect(&self, is_asking: bool, is_write: bool) -> bool {
        !is_asking && (!self.read_only || is_write)
    }
}
