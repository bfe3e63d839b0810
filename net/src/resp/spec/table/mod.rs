//! The form of a row of the command table, and all rows. Each file of `table` lists the rows of a family;
//! here they become rows and enums, one for each module that executes commands.
//!
//! ```text
//!  commands! { Key(KeyCommand) in KEYS { Get = "get" 2 READ ONE STRINGS "key" "Returns …"; … } }
//!      ├─▶ enum KeyCommand { Get, … }        the module matches on it, without a default arm
//!      └─▶ const KEYS: &[Spec]               its rows; all modules' rows, sorted, are SPECS and SUBCOMMANDS
//! ```
//! A row reads: variant = name arity flags keys family arguments summary.

#[macro_use]
mod strings;
#[macro_use]
mod generic;
#[macro_use]
mod connection;
#[macro_use]
mod cluster;
#[macro_use]
mod server;
#[macro_use]
mod containers;

use super::keys::Keys;

/// One command or subcommand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Its name in lower case; a subcommand's name includes its container's, as `client|id`.
    pub name: &'static str,
    /// The module that executes it, and the command as that module knows it.
    pub action: CommandAction,
    /// Arguments, the name (and the subcommand's) included; negative for "at least".
    pub arity: i8,
    /// Flags as COMMAND reports them.
    pub flags: &'static [&'static str],
    /// The positions of its keys; they determine which groups are asked.
    pub keys: Keys,
    /// The family it belongs to.
    pub family: Family,
    /// Its arguments, as HELP and the documentation spell them.
    pub arguments: &'static str,
    /// One line for COMMAND DOCS and HELP.
    pub summary: &'static str,
    /// Its number among all rows: commands in order, then subcommands. What is counted by row is kept by it.
    pub number: usize,
}

/// A family of commands: its group in the documentation, and the categories that do not follow from flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// The group's name in COMMAND DOCS.
    pub group: &'static str,
    /// Categories of access control lists.
    pub categories: &'static [&'static str],
}

/// All categories, in the order in which they are listed.
pub const CATEGORIES: [&str; 11] = [
    "keyspace",
    "read",
    "write",
    "string",
    "fast",
    "slow",
    "admin",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

impl Spec {
    /// Whether `count` is a valid number of arguments, the name included.
    pub fn takes(&self, count: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }

    /// Whether the second argument, if there is one, names a subcommand.
    pub fn is_container(&self) -> bool {
        matches!(self.action, CommandAction::Container | CommandAction::Table(TableCommand::All))
    }

    /// Whether it is executed on keys, in one group or several.
    pub fn is_on_keys(&self) -> bool {
        matches!(self.action, CommandAction::Key(_))
    }

    /// Whether it is about the server, its clients or the connection, so that an operator needs it and an
    /// application does not.
    pub fn is_about_the_server(&self) -> bool {
        use CommandAction::{Client, Cluster, Config, Help, Server, Table};
        matches!(self.action, Client(_) | Cluster(_) | Config(_) | Help | Server(_) | Table(_))
            || self.wants_no_password()
    }

    /// Whether it is executed before the client has authenticated.
    pub fn wants_no_password(&self) -> bool {
        self.flags.contains(&"no_auth")
    }

    /// Its subcommands, ascending by name.
    pub fn subcommands(&self) -> &'static [Spec] {
        let start = SUBCOMMANDS.partition_point(|row| row.parts().0 < self.name);
        let end = SUBCOMMANDS.partition_point(|row| row.parts().0 <= self.name);
        &SUBCOMMANDS[start..end]
    }

    /// Its subcommand called `name`, in upper or lower case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Spec> {
        self.subcommands().iter().find(|row| row.parts().1.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The container's name and the subcommand's; for a command, its name and an empty string.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.name.split_once('|').unwrap_or((self.name, ""))
    }

    /// The categories it belongs to: those of its flags, as in Redis, and those of its family.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> {
        CATEGORIES.into_iter().filter(move |category| self.is_in(category))
    }

    /// Whether it belongs to `category`, in lower case.
    pub fn is_in(&self, category: &str) -> bool {
        let has = |flag: &str| self.flags.contains(&flag);
        let by_flag = match category {
            "read" => has("readonly"),
            "write" => has("write"),
            "fast" => has("fast"),
            "slow" => !has("fast"),
            "admin" | "dangerous" => has("admin"),
            _ => false,
        };
        by_flag || self.family.categories.contains(&category)
    }
}

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom"];
const REMOVE: &[&str] = &["write", "fast"];
const SCRIPT: &[&str] = &["noscript", "write", "movablekeys"];
const CONNECTION: &[&str] = &["noscript", "loading", "stale", "fast"];
const NOT_LOADING: &[&str] = &["noscript", "stale", "fast"];
const OPEN: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const ADMIN_WRITE: &[&str] = &["write"];
const STALE: &[&str] = &["loading", "stale"];

const NONE: Keys = Keys::None;
const ONE: Keys = Keys::One(1);
const SECOND: Keys = Keys::One(2);
const EACH: Keys = Keys::Each { step: 1 };
const EACH_PAIR: Keys = Keys::Each { step: 2 };
const BOTH: Keys = Keys::Together { first: 1, last: 2, step: 1 };
const PAIRS: Keys = Keys::Together { first: 1, last: -1, step: 2 };
const COUNTED: Keys = Keys::Counted { count_at: 2, step: 1 };
const COUNTED_PAIRS: Keys = Keys::Counted { count_at: 1, step: 2 };
const EVERY_GROUP: Keys = Keys::EveryGroup;
const OF_SLOT: Keys = Keys::OfSlot;

const STRINGS: Family = Family { group: "string", categories: &["string"] };
const GENERIC: Family = Family { group: "generic", categories: &["keyspace"] };
const KEYSPACE: Family = Family { group: "generic", categories: &["keyspace", "dangerous"] };
const SCRIPTING: Family = Family { group: "scripting", categories: &["scripting"] };
const CLIENTS: Family = Family { group: "connection", categories: &["connection"] };
const TRANSACTIONS: Family = Family { group: "transactions", categories: &["transaction"] };
const CLUSTER: Family = Family { group: "cluster", categories: &[] };
const SERVER: Family = Family { group: "server", categories: &[] };

/// The module that executes a row, and the command as that module knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandAction {
    /// On keys: `resp::plan` turns it into asks of the groups.
    Key(KeyCommand),
    /// On the connection and what its client has said of itself.
    Connection(ConnectionCommand),
    /// CLIENT.
    Client(ClientCommand),
    /// Brackets of transactions.
    Transaction(TransactionCommand),
    /// CLUSTER, except for the commands that walk through a slot's keys.
    Cluster(ClusterCommand),
    /// CONFIG.
    Config(ConfigCommand),
    /// COMMAND: this table.
    Table(TableCommand),
    /// About the node.
    Server(ServerCommand),
    /// None: the subcommand is executed.
    Container,
    /// HELP of a container.
    Help,
}

/// Makes rows, and the enum of their commands.
macro_rules! commands {
    ($(#[$doc:meta])* $Module:ident($Command:ident) in $ROWS:ident {
        $($Variant:ident = $name:literal $arity:literal $flags:ident $keys:ident $family:ident
            $arguments:literal $summary:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $Command {
            $(#[doc = $summary] $Variant,)*
        }
        rows! { $ROWS { $($name $arity $flags $keys $family $arguments $summary
            => CommandAction::$Module($Command::$Variant);)* } }
    };
}

/// Makes rows.
macro_rules! rows {
    ($ROWS:ident {
        $($name:literal $arity:literal $flags:ident $keys:ident $family:ident
            $arguments:literal $summary:literal => $action:expr;)*
    }) => {
        const $ROWS: &[Spec] = &[$(Spec {
            name: $name,
            action: $action,
            arity: $arity,
            flags: $flags,
            keys: $keys,
            family: $family,
            arguments: $arguments,
            summary: $summary,
            number: 0, // given out when the rows are sorted
        },)*];
    };
}

generic_rows!(commands);
connection_rows!(commands);
cluster_rows!(commands);
server_rows!(commands);
container_rows!(rows);

const MODULES: [&[Spec]; 10] =
    [KEYS, CONNECTIONS, CLIENT, TRANSACTION, TOPOLOGY, CONFIG, TABLE, NODE, CONTAINERS, HELP];

/// All commands, ascending by name.
pub const SPECS: &[Spec] = &sorted::<{ count(false) }>(false);

/// All subcommands, ascending by name.
pub const SUBCOMMANDS: &[Spec] = &sorted::<{ count(true) }>(true);

/// Number of all rows.
pub const ROW_COUNT: usize = SPECS.len() + SUBCOMMANDS.len();

/// Number of rows that are, or are not, subcommands.
const fn count(of_subcommands: bool) -> usize {
    let (mut found, mut module) = (0, 0);
    while module < MODULES.len() {
        let mut row = 0;
        while row < MODULES[module].len() {
            if is_subcommand(&MODULES[module][row]) == of_subcommands {
                found += 1;
            }
            row += 1;
        }
        module += 1;
    }
    found
}

/// The rows that are, or are not, subcommands, in order: sorted by insertion at compile time.
const fn sorted<const COUNT: usize>(of_subcommands: bool) -> [Spec; COUNT] {
    let mut all = [KEYS[0]; COUNT];
    let (mut filled, mut module) = (0, 0);
    while module < MODULES.len() {
        let mut row = 0;
        while row < MODULES[module].len() {
            let spec = MODULES[module][row];
            if is_subcommand(&spec) == of_subcommands {
                let mut at = filled;
                while at > 0 && is_before(spec.name.as_bytes(), all[at - 1].name.as_bytes()) {
                    all[at] = all[at - 1];
                    at -= 1;
                }
                all[at] = spec;
                filled += 1;
            }
            row += 1;
        }
        module += 1;
    }
    let (mut at, first) = (0, if of_subcommands { count(false) } else { 0 });
    while at < COUNT {
        all[at].number = first + at;
        at += 1;
    }
    all
}

const fn is_subcommand(spec: &Spec) -> bool {
    let name = spec.name.as_bytes();
    let mut at = 0;
    while at < name.len() {
        if name[at] == b'|' {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_before(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}
