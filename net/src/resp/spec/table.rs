//! The table of commands.

use super::{Spec, Verb};

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom"];
const REMOVE: &[&str] = &["write", "fast"];
const SCRIPT: &[&str] = &["noscript", "write", "movablekeys"];
const CONNECTION: &[&str] = &["noscript", "loading", "stale", "fast"];
const OPEN: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const ADMIN_WRITE: &[&str] = &["write"];
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
    spec("acl", Verb::Acl, -2, ADMIN, NONE, "Describes the one user."),
    spec("append", Verb::Append, 3, WRITE, ONE, "Appends to a value."),
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
    spec("copy", Verb::Copy, -3, WRITE, (1, 2, 1), "Copies a key to another of its group."),
    spec("dbsize", Verb::DbSize, 1, READ, NONE, "Counts the keys."),
    spec("debug", Verb::Debug, -2, ADMIN, NONE, "Is refused."),
    spec("decr", Verb::Decr, 2, WRITE, ONE, "Subtracts one from the integer value of a key."),
    spec("decrby", Verb::DecrBy, 3, WRITE, ONE, "Subtracts from the integer value of a key."),
    spec("del", Verb::Del, -2, REMOVE, ALL, "Removes keys, each on its own."),
    spec("delex", Verb::DelEx, -2, REMOVE, ONE, "Removes a key if its value compares as wanted."),
    spec("delifeq", Verb::DelIfEq, 3, REMOVE, ONE, "Removes a key if it has the given value."),
    spec("digest", Verb::Digest, 2, READ, ONE, "Returns the XXH3 of a value in hexadecimal digits."),
    spec("discard", Verb::Discard, 1, CONNECTION, NONE, "Ends what a refused MULTI began."),
    spec("echo", Verb::Echo, 2, CONNECTION, NONE, "Returns the given string."),
    spec("eval", Verb::Eval, -3, SCRIPT, NONE, "Executes a lock script that the server knows by its text."),
    spec("evalsha", Verb::EvalSha, -3, SCRIPT, NONE, "Executes a lock script that the server knows."),
    spec("exec", Verb::Exec, 1, CONNECTION, NONE, "Ends what a refused MULTI began, with an error."),
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
    spec(
        "expiretime",
        Verb::ExpireTime { milliseconds: false },
        2,
        READ,
        ONE,
        "Returns the Unix time in seconds at which a key expires.",
    ),
    spec("flushall", Verb::Flush, -1, ADMIN_WRITE, NONE, "Removes all keys, group by group."),
    spec("flushdb", Verb::Flush, -1, ADMIN_WRITE, NONE, "Removes all keys, group by group."),
    spec("function", Verb::Function, -2, ADMIN, NONE, "Answers that there are no functions."),
    spec("get", Verb::Get, 2, READ, ONE, "Returns the value of a key, linearizably."),
    spec("getdel", Verb::GetDel, 2, REMOVE, ONE, "Removes a key and returns the value it had."),
    spec("getex", Verb::GetEx, -2, REMOVE, ONE, "Returns the value of a key and sets its expiry."),
    spec("getrange", Verb::GetRange, 4, READ, ONE, "Returns a part of a value."),
    spec("getset", Verb::GetSet, 3, WRITE, ONE, "Sets the value of a key and returns the old one."),
    spec("hello", Verb::Hello, -1, OPEN, NONE, "Shakes hands and chooses the protocol version."),
    spec("incr", Verb::Incr, 2, WRITE, ONE, "Adds one to the integer value of a key."),
    spec("incrby", Verb::IncrBy, 3, WRITE, ONE, "Adds to the integer value of a key."),
    spec("incrbyfloat", Verb::IncrByFloat, 3, WRITE, ONE, "Adds to the decimal value of a key."),
    spec("info", Verb::Info, -1, CONNECTION, NONE, "Describes the server."),
    spec("keys", Verb::Keys, 2, READ, NONE, "Returns all keys that fit a pattern."),
    spec("lastsave", Verb::LastSave, 1, CONNECTION, NONE, "Returns the time: what is acknowledged is saved."),
    spec("latency", Verb::Latency, -2, ADMIN, NONE, "Answers that no latency events are kept."),
    spec("memory", Verb::Memory, -2, READ, NONE, "Estimates the memory of a key."),
    spec("mget", Verb::MGet, -2, READ, ALL, "Returns the values of keys, each read on its own."),
    spec("monitor", Verb::Monitor, 1, ADMIN, NONE, "Is refused."),
    spec("mset", Verb::MSet, -3, WRITE, (1, -1, 2), "Sets keys, each on its own."),
    spec("msetex", Verb::MSetEx, -4, WRITE, NONE, "Sets keys of one group with one expiry, all or none."),
    spec(
        "msetnx",
        Verb::MSetNx,
        -3,
        WRITE,
        (1, -1, 2),
        "Sets keys of one group if none exists, all or none.",
    ),
    spec("multi", Verb::Multi, 1, CONNECTION, NONE, "Is refused, with all that follows up to EXEC."),
    spec("object", Verb::Object, -2, READ, (2, 2, 1), "Describes how a value is kept."),
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
    spec(
        "pexpiretime",
        Verb::ExpireTime { milliseconds: true },
        2,
        READ,
        ONE,
        "Returns the Unix time in milliseconds at which a key expires.",
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
    spec("randomkey", Verb::RandomKey, 1, READ, NONE, "Returns some key."),
    spec("readonly", Verb::ReadOnly(true), 1, CONNECTION, NONE, "Has reads executed here, not redirected."),
    spec("readwrite", Verb::ReadOnly(false), 1, CONNECTION, NONE, "Undoes READONLY."),
    spec("rename", Verb::Rename { replace: true }, 3, WRITE, (1, 2, 1), "Renames a key within its group."),
    spec(
        "renamenx",
        Verb::Rename { replace: false },
        3,
        WRITE,
        (1, 2, 1),
        "Renames a key if the new name is free.",
    ),
    spec("reset", Verb::Reset, 1, OPEN, NONE, "Puts the connection back to its first state."),
    spec("role", Verb::Role, 1, CONNECTION, NONE, "Answers that any node takes writes."),
    spec("scan", Verb::Scan, -2, READ, NONE, "Walks the keys in bounded steps."),
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
    spec("setrange", Verb::SetRange, 4, WRITE, ONE, "Overwrites a part of a value."),
    spec("shutdown", Verb::Shutdown, -1, ADMIN, NONE, "Is refused."),
    spec("slowlog", Verb::SlowLog, -2, ADMIN, NONE, "Answers that no slow log is kept."),
    spec("strlen", Verb::StrLen, 2, READ, ONE, "Returns the length of a value."),
    spec("substr", Verb::GetRange, 4, READ, ONE, "Returns a part of a value."),
    spec("time", Verb::Time, 1, CONNECTION, NONE, "Returns the server's wall clock."),
    spec("touch", Verb::Exists, -2, READ, ALL, "Counts which of the keys exist."),
    spec("ttl", Verb::Ttl, 2, READ, ONE, "Returns the seconds a key has left."),
    spec("type", Verb::Type, 2, READ, ONE, "Returns the type of a key: string or none."),
    spec("unlink", Verb::Del, -2, REMOVE, ALL, "Removes keys, each on its own."),
    spec("unwatch", Verb::Unwatch, 1, CONNECTION, NONE, "Answers OK: nothing is watched."),
    spec("wait", Verb::Wait, 3, CONNECTION, NONE, "Tells how many other nodes have what was acknowledged."),
    spec(
        "waitaof",
        Verb::WaitAof,
        4,
        CONNECTION,
        NONE,
        "Tells how many nodes have what was acknowledged on disk.",
    ),
    spec("watch", Verb::Watch, -2, CONNECTION, ALL, "Is refused."),
];
