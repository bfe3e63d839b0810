//! The commands this server knows over RESP: name, arity, flags and where their keys are.

mod table;

pub use table::SPECS;

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
    /// ACL.
    Acl,
    /// APPEND.
    Append,
    /// COPY.
    Copy,
    /// DEBUG: refused.
    Debug,
    /// DELEX.
    DelEx,
    /// DELIFEQ.
    DelIfEq,
    /// DIGEST.
    Digest,
    /// DISCARD.
    Discard,
    /// EXEC.
    Exec,
    /// EXPIRETIME and PEXPIRETIME.
    ExpireTime {
        /// The reply counts milliseconds.
        milliseconds: bool,
    },
    /// FLUSHALL and FLUSHDB.
    Flush,
    /// FUNCTION.
    Function,
    /// GETDEL.
    GetDel,
    /// GETEX.
    GetEx,
    /// GETRANGE and SUBSTR.
    GetRange,
    /// INCRBYFLOAT.
    IncrByFloat,
    /// KEYS.
    Keys,
    /// LASTSAVE.
    LastSave,
    /// LATENCY.
    Latency,
    /// MEMORY.
    Memory,
    /// MONITOR: refused.
    Monitor,
    /// MSETEX.
    MSetEx,
    /// MSETNX.
    MSetNx,
    /// MULTI: refused, with all that follows up to EXEC.
    Multi,
    /// OBJECT.
    Object,
    /// RANDOMKEY.
    RandomKey,
    /// RENAME and RENAMENX.
    Rename {
        /// A key of the new name is overwritten.
        replace: bool,
    },
    /// ROLE.
    Role,
    /// SCAN.
    Scan,
    /// SETRANGE.
    SetRange,
    /// SHUTDOWN: refused.
    Shutdown,
    /// SLOWLOG.
    SlowLog,
    /// UNWATCH.
    Unwatch,
    /// WAIT.
    Wait,
    /// WAITAOF.
    WaitAof,
    /// WATCH: refused.
    Watch,
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
