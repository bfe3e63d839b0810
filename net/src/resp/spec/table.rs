//! The form of a row of the command table, and the rows, grouped by the module that executes them.
//!
//! ```text
//!  commands! { Key(KeyCommand) in KEYS { Get = "get" 2 READ ONE STRINGS "key" "Returns …"; … } }
//!      ├─▶ enum KeyCommand { Get, … }        the module matches on it, without a default arm
//!      └─▶ const KEYS: &[Spec]               its rows; all modules' rows, sorted, are SPECS and SUBCOMMANDS
//! ```
//! A row reads: variant = name arity flags keys family arguments summary.

use super::keys::Keys;

/// One command or subcommand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Its name in lower case; a subcommand's name includes its container's, as `client|id`.
    pub name: &'static str,
    /// The module that executes it, and the command as that module knows it.
    pub action: Action,
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
        matches!(self.action, Action::Container | Action::Table(TableCommand::All))
    }

    /// Whether it is executed on keys, in one group or several.
    pub fn is_on_keys(&self) -> bool {
        matches!(self.action, Action::Key(_))
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
pub enum Action {
    /// On keys: `resp::plan` turns it into asks of the groups.
    Key(KeyCommand),
    /// On the connection and its session.
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
    ($(#[$doc:meta])* $Room:ident($Command:ident) in $ROWS:ident {
        $($Variant:ident = $name:literal $arity:literal $flags:ident $keys:ident $family:ident
            $arguments:literal $summary:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $Command {
            $(#[doc = $summary] $Variant,)*
        }
        rows! { $ROWS { $($name $arity $flags $keys $family $arguments $summary
            => Action::$Room($Command::$Variant);)* } }
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
        },)*];
    };
}

commands! {
    /// Commands on keys.
    Key(KeyCommand) in KEYS {
        Append = "append" 3 WRITE ONE STRINGS
            "key value"
            "Appends to a value.";
        CountKeysInSlot = "cluster|countkeysinslot" 3 READ OF_SLOT CLUSTER
            "slot"
            "Counts the keys of a hash slot.";
        GetKeysInSlot = "cluster|getkeysinslot" 4 READ OF_SLOT CLUSTER
            "slot count"
            "Returns keys of a hash slot.";
        Copy = "copy" -3 WRITE BOTH GENERIC
            "source destination [DB 0] [REPLACE]"
            "Copies a key to another of its group.";
        DbSize = "dbsize" 1 READ EVERY_GROUP SERVER
            ""
            "Counts the keys.";
        Decr = "decr" 2 WRITE ONE STRINGS
            "key"
            "Subtracts one from the integer value of a key.";
        DecrBy = "decrby" 3 WRITE ONE STRINGS
            "key decrement"
            "Subtracts from the integer value of a key.";
        Del = "del" -2 REMOVE EACH GENERIC
            "key [key ...]"
            "Removes keys, each on its own.";
        DelEx = "delex" -2 REMOVE ONE STRINGS
            "key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]"
            "Removes a key if its value compares as wanted.";
        DelIfEq = "delifeq" 3 REMOVE ONE STRINGS
            "key value"
            "Removes a key if it has the given value.";
        Digest = "digest" 2 READ ONE STRINGS
            "key"
            "Returns the XXH3 of a value in hexadecimal digits.";
        Eval = "eval" -3 SCRIPT COUNTED SCRIPTING
            "script 1 key token [argument ...]"
            "Executes a lock script that the server knows by its text.";
        EvalSha = "evalsha" -3 SCRIPT COUNTED SCRIPTING
            "sha1 1 key token [argument ...]"
            "Executes a lock script that the server knows.";
        Exists = "exists" -2 READ EACH GENERIC
            "key [key ...]"
            "Counts which of the keys exist.";
        Expire = "expire" -3 REMOVE ONE GENERIC
            "key seconds [NX | XX | GT | LT]"
            "Sets the expiry of a key in seconds.";
        ExpireAt = "expireat" -3 REMOVE ONE GENERIC
            "key unix-time-seconds [NX | XX | GT | LT]"
            "Sets the expiry of a key to a Unix time in seconds.";
        ExpireTime = "expiretime" 2 READ ONE GENERIC
            "key"
            "Returns the Unix time in seconds at which a key expires.";
        FlushAll = "flushall" -1 ADMIN_WRITE EVERY_GROUP KEYSPACE
            "[ASYNC | SYNC]"
            "Removes all keys, group by group.";
        FlushDb = "flushdb" -1 ADMIN_WRITE EVERY_GROUP KEYSPACE
            "[ASYNC | SYNC]"
            "Removes all keys, group by group.";
        Get = "get" 2 READ ONE STRINGS
            "key"
            "Returns the value of a key, linearizably.";
        GetDel = "getdel" 2 REMOVE ONE STRINGS
            "key"
            "Removes a key and returns the value it had.";
        GetEx = "getex" -2 REMOVE ONE STRINGS
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | \
             PERSIST]"
            "Returns the value of a key and sets its expiry.";
        GetRange = "getrange" 4 READ ONE STRINGS
            "key start end"
            "Returns a part of a value.";
        GetSet = "getset" 3 WRITE ONE STRINGS
            "key value"
            "Sets the value of a key and returns the old one.";
        Incr = "incr" 2 WRITE ONE STRINGS
            "key"
            "Adds one to the integer value of a key.";
        IncrBy = "incrby" 3 WRITE ONE STRINGS
            "key increment"
            "Adds to the integer value of a key.";
        IncrByFloat = "incrbyfloat" 3 WRITE ONE STRINGS
            "key increment"
            "Adds to the decimal value of a key.";
        Keys = "keys" 2 READ EVERY_GROUP KEYSPACE
            "pattern"
            "Returns all keys that fit a pattern.";
        MemoryUsage = "memory|usage" -3 READ SECOND SERVER
            "key [SAMPLES count]"
            "Estimates the bytes that a key and its value take.";
        MGet = "mget" -2 READ EACH STRINGS
            "key [key ...]"
            "Returns the values of keys, each read on its own.";
        MSet = "mset" -3 WRITE EACH_PAIR STRINGS
            "key value [key value ...]"
            "Sets keys, each on its own.";
        MSetEx = "msetex" -4 WRITE COUNTED_PAIRS STRINGS
            "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT \
             unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"
            "Sets keys of one group with one expiry, all or none.";
        MSetNx = "msetnx" -3 WRITE PAIRS STRINGS
            "key value [key value ...]"
            "Sets keys of one group if none exists, all or none.";
        ObjectEncoding = "object|encoding" 3 READ SECOND GENERIC
            "key"
            "Tells how Redis would keep a value.";
        ObjectFreq = "object|freq" 3 READ SECOND GENERIC
            "key"
            "Is an error: use is not counted.";
        ObjectIdleTime = "object|idletime" 3 READ SECOND GENERIC
            "key"
            "Answers 0: use is not timed.";
        ObjectRefCount = "object|refcount" 3 READ SECOND GENERIC
            "key"
            "Answers 1.";
        Persist = "persist" 2 REMOVE ONE GENERIC
            "key"
            "Removes the expiry of a key.";
        PExpire = "pexpire" -3 REMOVE ONE GENERIC
            "key milliseconds [NX | XX | GT | LT]"
            "Sets the expiry of a key in milliseconds.";
        PExpireAt = "pexpireat" -3 REMOVE ONE GENERIC
            "key unix-time-milliseconds [NX | XX | GT | LT]"
            "Sets the expiry of a key to a Unix time in milliseconds.";
        PExpireTime = "pexpiretime" 2 READ ONE GENERIC
            "key"
            "Returns the Unix time in milliseconds at which a key expires.";
        PSetEx = "psetex" 4 WRITE ONE STRINGS
            "key milliseconds value"
            "Sets a value that expires, in milliseconds.";
        PTtl = "pttl" 2 READ ONE GENERIC
            "key"
            "Returns the milliseconds a key has left.";
        RandomKey = "randomkey" 1 READ EVERY_GROUP GENERIC
            ""
            "Returns some key.";
        Rename = "rename" 3 WRITE BOTH GENERIC
            "key newkey"
            "Renames a key within its group.";
        RenameNx = "renamenx" 3 WRITE BOTH GENERIC
            "key newkey"
            "Renames a key if the new name is free.";
        Scan = "scan" -2 READ EVERY_GROUP GENERIC
            "cursor [MATCH pattern] [COUNT count] [TYPE type]"
            "Walks the keys in bounded steps.";
        Set = "set" -3 WRITE ONE STRINGS
            "key value [NX | XX | IFEQ value | IFNE value | IFDEQ digest | IFDNE digest] [GET] [EX \
             seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]"
            "Sets the value of a key; OK means durable on a quorum.";
        SetEx = "setex" 4 WRITE ONE STRINGS
            "key seconds value"
            "Sets a value that expires, in seconds.";
        SetNx = "setnx" 3 WRITE ONE STRINGS
            "key value"
            "Sets the value of a key that does not exist.";
        SetRange = "setrange" 4 WRITE ONE STRINGS
            "key offset value"
            "Overwrites a part of a value.";
        StrLen = "strlen" 2 READ ONE STRINGS
            "key"
            "Returns the length of a value.";
        SubStr = "substr" 4 READ ONE STRINGS
            "key start end"
            "Returns a part of a value.";
        Touch = "touch" -2 READ EACH GENERIC
            "key [key ...]"
            "Counts which of the keys exist.";
        Ttl = "ttl" 2 READ ONE GENERIC
            "key"
            "Returns the seconds a key has left.";
        Type = "type" 2 READ ONE GENERIC
            "key"
            "Returns the type of a key: string or none.";
        Unlink = "unlink" -2 REMOVE EACH GENERIC
            "key [key ...]"
            "Removes keys, each on its own.";
    }
}

commands! {
    /// Commands on the connection.
    Connection(ConnectionCommand) in CONNECTIONS {
        Asking = "asking" 1 CONNECTION NONE CLUSTER
            ""
            "Has the next command executed here, not redirected.";
        Auth = "auth" -2 OPEN NONE CLIENTS
            "[username] password"
            "Authenticates the connection.";
        Echo = "echo" 2 CONNECTION NONE CLIENTS
            "message"
            "Returns the given string.";
        Hello = "hello" -1 OPEN NONE CLIENTS
            "[version [AUTH username password] [SETNAME name]]"
            "Shakes hands and chooses the protocol version.";
        Ping = "ping" -1 CONNECTION NONE CLIENTS
            "[message]"
            "Answers PONG or the given string.";
        Quit = "quit" -1 OPEN NONE CLIENTS
            ""
            "Closes the connection.";
        ReadOnly = "readonly" 1 CONNECTION NONE CLUSTER
            ""
            "Has reads executed here, not redirected.";
        ReadWrite = "readwrite" 1 CONNECTION NONE CLUSTER
            ""
            "Undoes READONLY.";
        Reset = "reset" 1 OPEN NONE CLIENTS
            ""
            "Puts the connection back to its first state.";
        Select = "select" 2 CONNECTION NONE CLIENTS
            "0"
            "Accepts database 0, the only one.";
    }
}

commands! {
    /// CLIENT: the client's description of itself, and its questions about other clients.
    Client(ClientCommand) in CLIENT {
        Capa = "client|capa" -3 CONNECTION NONE CLIENTS
            "capability [capability ...]"
            "Accepts what the client says it can do.";
        GetName = "client|getname" 2 CONNECTION NONE CLIENTS
            ""
            "Returns the connection's name.";
        GetRedir = "client|getredir" 2 CONNECTION NONE CLIENTS
            ""
            "Answers -1: there is no tracking.";
        Id = "client|id" 2 CONNECTION NONE CLIENTS
            ""
            "Returns the connection's number.";
        Info = "client|info" 2 CONNECTION NONE CLIENTS
            ""
            "Describes the connection.";
        Kill = "client|kill" -3 CONNECTION NONE CLIENTS
            "address | [ID id] [TYPE NORMAL] [USER username] [ADDR address] [LADDR address] [SKIPME YES | NO]"
            "Ends this connection; others are not found.";
        List = "client|list" -2 CONNECTION NONE CLIENTS
            "[ID id [id ...]]"
            "Describes this connection: others are out of its sight.";
        NoEvict = "client|no-evict" 3 CONNECTION NONE CLIENTS
            "ON | OFF"
            "Answers OK: no connection is evicted.";
        NoTouch = "client|no-touch" 3 CONNECTION NONE CLIENTS
            "ON | OFF"
            "Answers OK: use is not timed.";
        Pause = "client|pause" -3 CONNECTION NONE CLIENTS
            "timeout [WRITE | ALL]"
            "Is refused.";
        Reply = "client|reply" 3 CONNECTION NONE CLIENTS
            "ON | OFF | SKIP"
            "Says which replies the client wants.";
        SetInfo = "client|setinfo" 4 CONNECTION NONE CLIENTS
            "LIB-NAME name | LIB-VER version"
            "Names the client's library.";
        SetName = "client|setname" 3 CONNECTION NONE CLIENTS
            "name"
            "Names the connection.";
        Tracking = "client|tracking" -3 CONNECTION NONE CLIENTS
            "OFF"
            "Answers OK to OFF; ON is refused.";
        Unblock = "client|unblock" -3 CONNECTION NONE CLIENTS
            "id [TIMEOUT | ERROR]"
            "Answers 0: nothing blocks.";
        Unpause = "client|unpause" 2 CONNECTION NONE CLIENTS
            ""
            "Answers OK: nothing is paused.";
    }
}

commands! {
    /// Commands that open and close a transaction.
    Transaction(TransactionCommand) in TRANSACTION {
        Discard = "discard" 1 CONNECTION NONE TRANSACTIONS
            ""
            "Ends what a refused MULTI began.";
        Exec = "exec" 1 CONNECTION NONE TRANSACTIONS
            ""
            "Ends what a refused MULTI began, with an error.";
        Multi = "multi" 1 CONNECTION NONE TRANSACTIONS
            ""
            "Is refused, with all that follows up to EXEC.";
        Unwatch = "unwatch" 1 CONNECTION NONE TRANSACTIONS
            ""
            "Answers OK: nothing is watched.";
        Watch = "watch" -2 CONNECTION EACH TRANSACTIONS
            "key [key ...]"
            "Is refused.";
    }
}

commands! {
    /// Questions that the topology answers.
    Cluster(ClusterCommand) in TOPOLOGY {
        Info = "cluster|info" 2 CONNECTION NONE CLUSTER
            ""
            "Tells whether every slot is served.";
        KeySlot = "cluster|keyslot" 3 CONNECTION NONE CLUSTER
            "key"
            "Returns the hash slot of a key.";
        Links = "cluster|links" 2 CONNECTION NONE CLUSTER
            ""
            "Answers that there is no cluster bus.";
        MyId = "cluster|myid" 2 CONNECTION NONE CLUSTER
            ""
            "Returns the id of the core that serves the connection.";
        MyShardId = "cluster|myshardid" 2 CONNECTION NONE CLUSTER
            ""
            "Returns the id of that core's master.";
        Nodes = "cluster|nodes" 2 CONNECTION NONE CLUSTER
            ""
            "Describes every core of every node.";
        Replicas = "cluster|replicas" 3 CONNECTION NONE CLUSTER
            "id"
            "Describes the replicas of a master.";
        Shards = "cluster|shards" 2 CONNECTION NONE CLUSTER
            ""
            "Returns the slots, masters and replicas, by master.";
        Slaves = "cluster|slaves" 3 CONNECTION NONE CLUSTER
            "id"
            "Describes the replicas of a master.";
        Slots = "cluster|slots" 2 CONNECTION NONE CLUSTER
            ""
            "Returns the slots, masters and replicas, by slot.";
    }
}

commands! {
    /// Commands on the configuration.
    Config(ConfigCommand) in CONFIG {
        Get = "config|get" -3 ADMIN NONE SERVER
            "pattern [pattern ...]"
            "Returns configuration parameters.";
        ResetStat = "config|resetstat" 2 ADMIN NONE SERVER
            ""
            "Answers OK; the counters go on.";
        Rewrite = "config|rewrite" 2 ADMIN NONE SERVER
            ""
            "Is an error: there is no file to write.";
        Set = "config|set" -4 ADMIN NONE SERVER
            "parameter value [parameter value ...]"
            "Changes configuration parameters until the node is restarted.";
    }
}

commands! {
    /// Questions about this table.
    Table(TableCommand) in TABLE {
        All = "command" -1 CONNECTION NONE SERVER
            ""
            "Describes the commands.";
        Count = "command|count" 2 STALE NONE SERVER
            ""
            "Counts the commands.";
        Docs = "command|docs" -2 STALE NONE SERVER
            "[command ...]"
            "Returns summaries of commands.";
        GetKeys = "command|getkeys" -3 STALE NONE SERVER
            "command [argument ...]"
            "Returns the keys among a command's arguments.";
        Info = "command|info" -2 STALE NONE SERVER
            "[command ...]"
            "Describes these commands.";
        List = "command|list" -2 STALE NONE SERVER
            "[FILTERBY MODULE name | ACLCAT category | PATTERN pattern]"
            "Returns the names of commands.";
    }
}

commands! {
    /// Questions about the node.
    Server(ServerCommand) in NODE {
        AclCat = "acl|cat" -2 STALE NONE SERVER
            "[category]"
            "Returns the categories, or the commands of one.";
        AclDelUser = "acl|deluser" -2 ADMIN NONE SERVER
            "username [username ...]"
            "Is refused: the one password is in the node's configuration.";
        AclGetUser = "acl|getuser" 3 ADMIN NONE SERVER
            "username"
            "Answers that there is no such user.";
        AclList = "acl|list" 2 ADMIN NONE SERVER
            ""
            "Describes the one user.";
        AclLoad = "acl|load" -2 ADMIN NONE SERVER
            ""
            "Is refused: the one password is in the node's configuration.";
        AclLog = "acl|log" -2 ADMIN NONE SERVER
            "[count | RESET]"
            "Answers that no denials are kept.";
        AclSave = "acl|save" -2 ADMIN NONE SERVER
            ""
            "Is refused: the one password is in the node's configuration.";
        AclSetUser = "acl|setuser" -2 ADMIN NONE SERVER
            "username [rule ...]"
            "Is refused: the one password is in the node's configuration.";
        AclUsers = "acl|users" 2 ADMIN NONE SERVER
            ""
            "Names the one user.";
        AclWhoAmI = "acl|whoami" 2 STALE NONE SERVER
            ""
            "Names the one user.";
        Debug = "debug" -2 ADMIN NONE SERVER
            "subcommand [argument ...]"
            "Is refused.";
        FunctionFlush = "function|flush" -2 ADMIN_WRITE NONE SCRIPTING
            "[ASYNC | SYNC]"
            "Answers OK: there are no functions.";
        FunctionList = "function|list" -2 STALE NONE SCRIPTING
            ""
            "Answers that there are no functions.";
        Info = "info" -1 CONNECTION NONE SERVER
            "[section ...]"
            "Describes the server.";
        LastSave = "lastsave" 1 CONNECTION NONE SERVER
            ""
            "Returns the time: what is acknowledged is saved.";
        LatencyDoctor = "latency|doctor" 2 ADMIN NONE SERVER
            ""
            "Answers that no latency events are kept.";
        LatencyGraph = "latency|graph" 3 ADMIN NONE SERVER
            "event"
            "Is an error: there are no samples.";
        LatencyHistogram = "latency|histogram" -2 ADMIN NONE SERVER
            "[command ...]"
            "Answers that no histograms are kept.";
        LatencyHistory = "latency|history" 3 ADMIN NONE SERVER
            "event"
            "Answers that no latency events are kept.";
        LatencyLatest = "latency|latest" 2 ADMIN NONE SERVER
            ""
            "Answers that no latency events are kept.";
        LatencyReset = "latency|reset" -2 ADMIN NONE SERVER
            "[event ...]"
            "Answers 0: no latency events are kept.";
        MemoryDoctor = "memory|doctor" -2 READ NONE SERVER
            ""
            "Says where the memory goes.";
        MemoryMallocStats = "memory|malloc-stats" -2 READ NONE SERVER
            ""
            "Answers that the allocator tells nothing.";
        MemoryPurge = "memory|purge" -2 READ NONE SERVER
            ""
            "Answers OK; nothing is done.";
        MemoryStats = "memory|stats" -2 READ NONE SERVER
            ""
            "Answers that no statistics are kept.";
        Monitor = "monitor" 1 ADMIN NONE SERVER
            ""
            "Is refused.";
        Role = "role" 1 CONNECTION NONE SERVER
            ""
            "Answers that any node takes writes.";
        ScriptExists = "script|exists" -3 CONNECTION NONE SCRIPTING
            "sha1 [sha1 ...]"
            "Tells which of the scripts the server knows.";
        ScriptFlush = "script|flush" -2 CONNECTION NONE SCRIPTING
            "[ASYNC | SYNC]"
            "Answers OK; the known scripts stay known.";
        ScriptLoad = "script|load" 3 CONNECTION NONE SCRIPTING
            "script"
            "Returns the digest of a script that the server knows.";
        Shutdown = "shutdown" -1 ADMIN NONE SERVER
            "[argument ...]"
            "Is refused.";
        SlowLogGet = "slowlog|get" -2 ADMIN NONE SERVER
            "[count]"
            "Answers that no slow log is kept.";
        SlowLogLen = "slowlog|len" 2 ADMIN NONE SERVER
            ""
            "Answers 0: no slow log is kept.";
        SlowLogReset = "slowlog|reset" 2 ADMIN NONE SERVER
            ""
            "Answers OK: no slow log is kept.";
        Time = "time" 1 CONNECTION NONE SERVER
            ""
            "Returns the server's wall clock.";
        Wait = "wait" 3 CONNECTION NONE CLIENTS
            "numreplicas timeout"
            "Tells how many other nodes have what was acknowledged.";
        WaitAof = "waitaof" 4 CONNECTION NONE CLIENTS
            "numlocal numreplicas timeout"
            "Tells how many nodes have what was acknowledged on disk.";
    }
}

rows! { CONTAINERS {
    "acl" -2 ADMIN NONE SERVER "subcommand" "Describes the one user." => Action::Container;
    "client" -2 CONNECTION NONE CLIENTS
        "subcommand" "Names and describes the connection." => Action::Container;
    "cluster" -2 CONNECTION NONE CLUSTER
        "subcommand" "Tells which core of which node serves which slots." => Action::Container;
    "config" -2 ADMIN NONE SERVER "subcommand" "Shows configuration parameters." => Action::Container;
    "function" -2 ADMIN NONE SCRIPTING
        "subcommand" "Answers that there are no functions." => Action::Container;
    "latency" -2 ADMIN NONE SERVER
        "subcommand" "Answers that no latency events are kept." => Action::Container;
    "memory" -2 READ NONE SERVER "subcommand" "Estimates the memory of a key." => Action::Container;
    "object" -2 READ SECOND GENERIC "subcommand" "Describes how a value is kept." => Action::Container;
    "script" -2 CONNECTION NONE SCRIPTING
        "subcommand" "Tells which lock scripts the server knows." => Action::Container;
    "slowlog" -2 ADMIN NONE SERVER "subcommand" "Answers that no slow log is kept." => Action::Container;
} }

rows! { HELP {
    "acl|help" 2 STALE NONE SERVER "" "Prints this help." => Action::Help;
    "client|help" 2 STALE NONE CLIENTS "" "Prints this help." => Action::Help;
    "cluster|help" 2 STALE NONE CLUSTER "" "Prints this help." => Action::Help;
    "command|help" 2 STALE NONE SERVER "" "Prints this help." => Action::Help;
    "config|help" 2 STALE NONE SERVER "" "Prints this help." => Action::Help;
    "function|help" 2 STALE NONE SCRIPTING "" "Prints this help." => Action::Help;
    "latency|help" 2 STALE NONE SERVER "" "Prints this help." => Action::Help;
    "memory|help" 2 STALE NONE SERVER "" "Prints this help." => Action::Help;
    "object|help" 2 STALE NONE GENERIC "" "Prints this help." => Action::Help;
    "script|help" 2 STALE NONE SCRIPTING "" "Prints this help." => Action::Help;
    "slowlog|help" 2 STALE NONE SERVER "" "Prints this help." => Action::Help;
} }

const ROOMS: [&[Spec]; 10] =
    [KEYS, CONNECTIONS, CLIENT, TRANSACTION, TOPOLOGY, CONFIG, TABLE, NODE, CONTAINERS, HELP];

/// All commands, ascending by name.
pub const SPECS: &[Spec] = &sorted::<{ count(false) }>(false);

/// All subcommands, ascending by name.
pub const SUBCOMMANDS: &[Spec] = &sorted::<{ count(true) }>(true);

/// Number of rows that are, or are not, subcommands.
const fn count(of_subcommands: bool) -> usize {
    let (mut found, mut room) = (0, 0);
    while room < ROOMS.len() {
        let mut row = 0;
        while row < ROOMS[room].len() {
            if is_subcommand(&ROOMS[room][row]) == of_subcommands {
                found += 1;
            }
            row += 1;
        }
        room += 1;
    }
    found
}

/// The rows that are, or are not, subcommands, in order: sorted by insertion at compile time.
const fn sorted<const COUNT: usize>(of_subcommands: bool) -> [Spec; COUNT] {
    let mut all = [KEYS[0]; COUNT];
    let (mut filled, mut room) = (0, 0);
    while room < ROOMS.len() {
        let mut row = 0;
        while row < ROOMS[room].len() {
            let spec = ROOMS[room][row];
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
        room += 1;
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
