//! The rows of the commands on keys that do not look at the value, and of those on all keys.

/// Makes the rows of all commands on keys.
macro_rules! generic_rows {
    ($make:ident) => {
        string_rows! { $make {
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
            Del = "del" -2 REMOVE EACH GENERIC
                "key [key ...]"
                "Removes keys, each on its own.";
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
            Keys = "keys" 2 READ EVERY_GROUP KEYSPACE
                "pattern"
                "Returns all keys that fit a pattern.";
            MemoryUsage = "memory|usage" -3 READ SECOND SERVER
                "key [SAMPLES count]"
                "Estimates the bytes that a key and its value take.";
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
        } }
    };
}
