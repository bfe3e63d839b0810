//! The exit codes of `synod`: one table, from which the help and the document are checked.
//!
//! May not: know a command. A refusal says which code is its own (`refusal.rs`), and so does a client's error
//! (`clientcmd.rs`).

/// How a command ended, as a script sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done, or the answer is yes.
    Done = 0,
    /// The command began and failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// `get`: there is no such key.
    Absent = 3,
    /// `set --nx`, `set --xx`: the condition does not hold.
    ConditionUnmet = 4,
    /// A server answers, and the cluster cannot execute the command now.
    NotReady = 5,
    /// No server could be reached.
    NoServer = 6,
    /// A write may or may not have taken effect.
    Unknown = 7,
    /// The server turns this client away.
    NotAdmitted = 8,
    /// `status --check`: the cluster is not healthy.
    Unhealthy = 9,
    /// The configuration is refused.
    Configuration = 10,
    /// The data directory is refused, or a file in it.
    DataDirectory = 11,
    /// The machine cannot run a node.
    Machine = 12,
    /// A port cannot be listened on.
    Port = 13,
    /// `bench --find-max`: the host is too noisy for a figure.
    NoisyHost = 14,
}

impl Exit {
    /// Every exit code with its meaning, ascending.
    pub const TABLE: [(Exit, &'static str); 15] = [
        (Exit::Done, "done"),
        (Exit::Failed, "the command began and failed"),
        (Exit::Usage, "the command line is wrong"),
        (Exit::Absent, "get: there is no such key"),
        (Exit::ConditionUnmet, "set: the condition of --nx or --xx does not hold"),
        (Exit::NotReady, "not executed: the cluster answers and is not ready (no leader, busy, no space)"),
        (Exit::NoServer, "not executed: no server could be reached, or none answered in time"),
        (Exit::Unknown, "the outcome is not known: the write may or may not have taken effect"),
        (Exit::NotAdmitted, "the server turns this client away (password, protected mode)"),
        (Exit::Unhealthy, "status --check: the cluster is not healthy"),
        (Exit::Configuration, "refused: the configuration (file, variable or setting)"),
        (Exit::DataDirectory, "refused: the data directory, or a file that belongs to it"),
        (Exit::Machine, "refused: this machine (io_uring, locked memory, CPUs)"),
        (Exit::Port, "refused: a port or an address to listen on"),
        (Exit::NoisyHost, "bench --find-max: the host is too noisy for a figure"),
    ];

    /// The number that the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The table as text, one line for each code.
    pub fn table() -> String {
        let lines = Self::TABLE.iter().map(|(exit, meaning)| format!("{:>4}  {meaning}\n", exit.code()));
        format!("Exit codes:\n{}", lines.collect::<String>())
    }
}

/// `loadgen` ends with the same code.
const _: () = assert!(Exit::NoisyHost as u8 == synod_loadgen::NOISY_HOST_EXIT);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_row_in_the_order_of_the_codes() {
        for (index, (exit, meaning)) in (0..).zip(Exit::TABLE) {
            assert_eq!(exit.code(), index, "{meaning}");
        }
        assert_eq!(usize::from(Exit::NoisyHost.code()) + 1, Exit::TABLE.len(), "the last one has a row too");
    }
}
