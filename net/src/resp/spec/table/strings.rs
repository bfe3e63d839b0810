//! The rows of the commands on strings.

/// Makes the rows of all commands on keys: those on strings, and those that are given.
macro_rules! string_rows {
    ($make:ident { $($others:tt)* }) => {
        $make! {
            /// Commands on keys.
            Key(KeyCommand) in KEYS {
                $($others)*
                Append = "append" 3 WRITE ONE STRINGS
                    "key value"
                    "Appends to a value.";
                Decr = "decr" 2 WRITE ONE STRINGS
                    "key"
                    "Subtracts one from the integer value of a key.";
                DecrBy = "decrby" 3 WRITE ONE STRINGS
                    "key decrement"
                    "Subtracts from the integer value of a key.";
                DelEx = "delex" -2 REMOVE ONE STRINGS
                    "key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]"
                    "Removes a key if its value compares as wanted.";
                DelIfEq = "delifeq" 3 REMOVE ONE STRINGS
                    "key value"
                    "Removes a key if it has the given value.";
                Digest = "digest" 2 READ ONE STRINGS
                    "key"
                    "Returns the XXH3 of a value in hexadecimal digits.";
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
                PSetEx = "psetex" 4 WRITE ONE STRINGS
                    "key milliseconds value"
                    "Sets a value that expires, in milliseconds.";
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
            }
        }
    };
}
