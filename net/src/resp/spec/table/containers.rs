//! The rows of the commands that only have subcommands, and of HELP.

/// Makes the rows.
macro_rules! container_rows {
    ($make:ident) => {
        $make! { CONTAINERS {
            "acl" -2 ADMIN NONE SERVER "subcommand" "Describes the one user." => CommandAction::Container;
            "client" -2 CONNECTION NONE CLIENTS
                "subcommand" "Names and describes the connection." => CommandAction::Container;
            "cluster" -2 CONNECTION NONE CLUSTER
                "subcommand" "Tells which core of which node serves which slots." => CommandAction::Container;
            "config" -2 ADMIN NONE SERVER "subcommand" "Shows configuration parameters." => CommandAction::Container;
            "function" -2 ADMIN NONE SCRIPTING
                "subcommand" "Answers that there are no functions." => CommandAction::Container;
            "latency" -2 ADMIN NONE SERVER
                "subcommand" "Answers that no latency events are kept." => CommandAction::Container;
            "memory" -2 READ NONE SERVER "subcommand" "Estimates the memory of a key." => CommandAction::Container;
            "object" -2 READ SECOND GENERIC "subcommand" "Describes how a value is kept." => CommandAction::Container;
            "script" -2 CONNECTION NONE SCRIPTING
                "subcommand" "Tells which lock scripts the server knows." => CommandAction::Container;
            "slowlog" -2 ADMIN NONE SERVER "subcommand" "Answers that no slow log is kept." => CommandAction::Container;
        } }
        $make! { HELP {
            "acl|help" 2 STALE NONE SERVER "" "Prints this help." => CommandAction::Help;
            "client|help" 2 STALE NONE CLIENTS "" "Prints this help." => CommandAction::Help;
            "cluster|help" 2 STALE NONE CLUSTER "" "Prints this help." => CommandAction::Help;
            "command|help" 2 STALE NONE SERVER "" "Prints this help." => CommandAction::Help;
            "config|help" 2 STALE NONE SERVER "" "Prints this help." => CommandAction::Help;
            "function|help" 2 STALE NONE SCRIPTING "" "Prints this help." => CommandAction::Help;
            "latency|help" 2 STALE NONE SERVER "" "Prints this help." => CommandAction::Help;
            "memory|help" 2 STALE NONE SERVER "" "Prints this help." => CommandAction::Help;
            "object|help" 2 STALE NONE GENERIC "" "Prints this help." => CommandAction::Help;
            "script|help" 2 STALE NONE SCRIPTING "" "Prints this help." => CommandAction::Help;
            "slowlog|help" 2 STALE NONE SERVER "" "Prints this help." => CommandAction::Help;
        } }
    };
}
