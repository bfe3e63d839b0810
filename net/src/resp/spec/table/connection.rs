//! The rows of the commands on the connection, of CLIENT and of the brackets of transactions.

/// Makes the rows.
macro_rules! connection_rows {
    ($make:ident) => {
        $make! {
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
                Ping = "ping" -1 NOT_LOADING NONE CLIENTS
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
        $make! {
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
                    "[ID id [id ...] | TYPE NORMAL | MASTER | REPLICA | PUBSUB]"
                    "Describes the connections of the core that serves this one.";
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
        $make! {
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
    };
}
