//! The rows of the commands about the node: its configuration, this table and the node itself.

/// Makes the rows.
macro_rules! server_rows {
    ($make:ident) => {
        $make! {
            /// Commands on the configuration.
            Config(ConfigCommand) in CONFIG {
                Get = "config|get" -3 ADMIN NONE SERVER
                    "pattern [pattern ...]"
                    "Returns configuration parameters.";
                ResetStat = "config|resetstat" 2 ADMIN NONE SERVER
                    ""
                    "Makes the counts of INFO start anew.";
                Rewrite = "config|rewrite" 2 ADMIN NONE SERVER
                    ""
                    "Is an error: there is no file to write.";
                Set = "config|set" -4 ADMIN NONE SERVER
                    "parameter value [parameter value ...]"
                    "Changes configuration parameters until the node is restarted.";
            }
        }
        $make! {
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
        $make! {
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
                    "Describes the one user, default.";
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
                Wait = "wait" 3 NOT_LOADING NONE CLIENTS
                    "numreplicas timeout"
                    "Tells how many other nodes have what was acknowledged.";
                WaitAof = "waitaof" 4 NOT_LOADING NONE CLIENTS
                    "numlocal numreplicas timeout"
                    "Tells how many nodes have what was acknowledged on disk.";
            }
        }
    };
}
