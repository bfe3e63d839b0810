//! The commands this server knows over RESP: name, arity, flags and where their keys are.

/// What a command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// ASKING: the next command is executed here.
    Asking,
    /// AUTH.
    Auth,
    /// CLIENT.
    Client,
    /// CLUSTER.
    Cluster,
    /// COMMAND.
    Command,
    /// CONFIG.
    Config,
    /// DBSIZE.
    DbSize,
    /// DECR.
    Decr,
    /// DECRBY.
    DecrBy,
    /// DEL and UNLINK.
    Del,
    /// ECHO.
    Echo,
    /// EVAL.
    Eval,
    /// EVALSHA.
    EvalSha,
    /// EXISTS and TOUCH.
    Exists,
    /// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT.
    Expire {
        /// The argument is a point in time.
        absolute: bool,
        /// The argument counts milliseconds.
        milliseconds: bool,
    },
    /// GET.
    Get,
    /// GETSET.
    GetSet,
    /// HELLO.
    Hello,
    /// INCR.
    Incr,
    /// INCRBY.
    IncrBy,
    /// INFO.
    Info,
    /// MGET.
    MGet,
    /// MSET.
    MSet,
    /// PERSIST.
    Persist,
    /// PING.
    Ping,
    /// PTTL.
    PTtl,
    /// QUIT.
    Quit,
    /// READONLY (true) and READWRITE.
    ReadOnly(bool),
    /// RESET.
    Reset,
    /// SCRIPT.
    Script,
    /// SELECT.
    Select,
    /// SET.
    Set,
    /// SETEX and PSETEX.
    SetEx {
        /// The argument counts milliseconds.
        milliseconds: bool,
    },
    /// SETNX.
    SetNx,
    /// STRLEN.
    StrLen,
    /// TIME.
    Time,
    /// TTL.
    Ttl,
    /// TYPE.
    Type,
}

/// One command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    /// Its name, lower case.
    pub name: &'static str,
    /// What it is.
    pub verb: Verb,
    /// Arguments, the name included; negative for "at least".
    pub arity: i8,
    /// Flags as COMMAND reports them.
    pub flags: &'static [&'static str],
    /// First key, last key (negative from the end), step; all 0 without keys.
    pub keys: (i8, i8, i8),
    /// One line for COMMAND DOCS.
    pub summary: &'static str,
}

impl Spec {
    /// Whether `count` arguments, the name included, are right.
    pub fn takes(&self, count: usize) -> bool {
        let wanted = usize::from(self.arity.unsigned_abs());
        if self.arity < 0 { count >= wanted } else { count == wanted }
    }
}

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom"];
const REMOVE: &[&str] = &["write", "fast"];
const SCRIPT: &[&str] = &["noscript", "write", "movablekeys"];
const CONNECTION: &[&str] = &["noscript", "loading", "stale", "fast"];
const OPEN: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const NONE: (i8, i8, i8) = (0, 0, 0);
const ONE: (i8, i8, i8) = (1, 1, 1);
const ALL: (i8, i8, i8) = (1, -1, 1);

const fn spec(
    name: &'static str,
    verb: Verb,
    arity: i8,
    flags: &'static [&'static str],
    keys: (i8, i8, i8),
    summary: &'static str,
) -> Spec {
    Spec { name, verb, arity, flags, keys, summary }
}

const fn expire(absolute: bool, milliseconds: bool) -> Verb {
    Verb::Expire { absolute, milliseconds }
}

/// All commands, ascending by name.
pub const SPECS: &[Spec] = &[
    spec("asking", Verb::Asking, 1, CONNECTION, NONE, "Has the next command executed here, not redirected."),
    spec("auth", Verb::Auth, -2, OPEN, NONE, "Authenticates the connection."),
    spec("client", Verb::Client, -2, CONNECTION, NONE, "Names and describes the connection."),
    spec(
        "cluster",
        Verb::Cluster,
        -2,
        CONNECTION,
        NONE,
        "Tells which core of which node serves which slots.",
    ),
    spec("command", Verb::Command, -1, CONNECTION, NONE, "Describes the commands."),
    spec("config", Verb::Config, -2, ADMIN, NONE, "Shows configuration parameters."),
    spec("dbsize", Verb::DbSize, 1, READ, NONE, "Counts the keys."),
    spec("decr", Verb::Decr, 2, WRITE, ONE, "Subtracts one from the integer value of a key."),
    spec("decrby", Verb::DecrBy, 3, WRITE, ONE, "Subtracts from the integer value of a key."),
    spec("del", Verb::Del, -2, REMOVE, ALL, "Removes keys, each on its own."),
    spec("echo", Verb::Echo, 2, CONNECTION, NONE, "Returns the given string."),
    spec("eval", Verb::Eval, -3, SCRIPT, NONE, "Executes a lock script that the server knows by its text."),
    spec("evalsha", Verb::EvalSha, -3, SCRIPT, NONE, "Executes a lock script that the server knows."),
    spec("exists", Verb::Exists, -2, READ, ALL, "Counts which of the keys exist."),
    spec("expire", expire(false, false), -3, REMOVE, ONE, "Sets the expiry of a key in seconds."),
    spec(
        "expireat",
        expire(true, false),
        -3,
        REMOVE,
        ONE,
        "Sets the expiry of a key to a Unix time in seconds.",
    ),
    spec("get", Verb::Get, 2, READ, ONE, "Returns the value of a key, linearizably."),
    spec("getset", Verb::GetSet, 3, WRITE, ONE, "Sets the value of a key and returns the old one."),
    spec("hello", Verb::Hello, -1, OPEN, NONE, "Shakes hands and chooses the protocol version."),
    spec("incr", Verb::Incr, 2, WRITE, ONE, "Adds one to the integer value of a key."),
    spec("incrby", Verb::IncrBy, 3, WRITE, ONE, "Adds to the integer value of a key."),
    spec("info", Verb::Info, -1, CONNECTION, NONE, "Describes the server."),
    spec("mget", Verb::MGet, -2, READ, ALL, "Returns the values of keys, each read on its own."),
    spec("mset", Verb::MSet, -3, WRITE, (1, -1, 2), "Sets keys, each on its own."),
    spec("persist", Verb::Persist, 2, REMOVE, ONE, "Removes the expiry of a key."),
    spec("pexpire", expire(false, true), -3, REMOVE, ONE, "Sets the expiry of a key in milliseconds."),
    spec(
        "pexpireat",
        expire(true, true),
        -3,
        REMOVE,
        ONE,
        "Sets the expiry of a key to a Unix time in milliseconds.",
    ),
    spec("ping", Verb::Ping, -1, CONNECTION, NONE, "Answers PONG or the given string."),
    spec(
        "psetex",
        Verb::SetEx { milliseconds: true },
        4,
        WRITE,
        ONE,
        "Sets a value that expires, in milliseconds.",
    ),
    spec("pttl", Verb::PTtl, 2, READ, ONE, "Returns the milliseconds a key has left."),
    spec("quit", Verb::Quit, -1, OPEN, NONE, "Closes the connection."),
    spec("readonly", Verb::ReadOnly(true), 1, CONNECTION, NONE, "Has reads executed here, not redirected."),
    spec("readwrite", Verb::ReadOnly(false), 1, CONNECTION, NONE, "Undoes READONLY."),
    spec("reset", Verb::Reset, 1, OPEN, NONE, "Puts the connection back to its first state."),
    spec("script", Verb::Script, -2, CONNECTION, NONE, "Tells which lock scripts the server knows."),
    spec("select", Verb::Select, 2, CONNECTION, NONE, "Accepts database 0, the only one."),
    spec("set", Verb::Set, -3, WRITE, ONE, "Sets the value of a key; OK means durable on a quorum."),
    spec(
        "setex",
        Verb::SetEx { milliseconds: false },
        4,
        WRITE,
        ONE,
        "Sets a value that expires, in seconds.",
    ),
    spec("setnx", Verb::SetNx, 3, WRITE, ONE, "Sets the value of a key that does not exist."),
    spec("strlen", Verb::StrLen, 2, READ, ONE, "Returns the length of a value."),
    spec("time", Verb::Time, 1, CONNECTION, NONE, "Returns the server's wall clock."),
    spec("touch", Verb::Exists, -2, READ, ALL, "Counts which of the keys exist."),
    spec("ttl", Verb::Ttl, 2, READ, ONE, "Returns the seconds a key has left."),
    spec("type", Verb::Type, 2, READ, ONE, "Returns the type of a key: string or none."),
    spec("unlink", Verb::Del, -2, REMOVE, ALL, "Removes keys, each on its own."),
];

const GET: usize = place_of("get");
const SET: usize = place_of("set");

const fn place_of(name: &str) -> usize {
    let mut place = 0;
    loop {
        if SPECS[place].name.len() == name.len() && is_equal(SPECS[place].name.as_bytes(), name.as_bytes()) {
            return place;
        }
        place += 1; // past the end is a build failure
    }
}

const fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Longest name.
const NAME_BYTES_MAX: usize = 16;

/// The command called `name`, in any case.
pub fn find(name: &[u8]) -> Option<&'static Spec> {
    let mut lower = [0_u8; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    // Nearly everything that is asked is one of these two.
    match &*lower {
        b"get" => return Some(&SPECS[GET]),
        b"set" => return Some(&SPECS[SET]),
        _ => {}
    }
    let found = SPECS.binary_search_by(|spec| spec.name.as_bytes().cmp(lower)).ok()?;
    Some(&SPECS[found])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_every_name_is_found_in_any_case() {
        assert!(SPECS.is_sorted_by(|a, b| a.name < b.name));
        for spec in SPECS {
            assert!(spec.name.len() <= NAME_BYTES_MAX);
            assert_eq!(find(spec.name.to_ascii_uppercase().as_bytes()), Some(spec));
        }
        assert_eq!(find(b"gett"), None);
        assert_eq!(find(&[b'a'; 1000]), None);
        assert_eq!(find(b""), None);
    }

    #[test]
    fn arity_counts_the_name() {
        let takes = |name: &[u8], count| find(name).is_some_and(|spec| spec.takes(count));
        assert!(takes(b"get", 2) && !takes(b"get", 1) && !takes(b"get", 3));
        assert!(takes(b"set", 3) && takes(b"set", 9) && !takes(b"set", 2));
    }
}
