//! The command table: one row per command and subcommand. Nothing else in this crate lists them.
//!
//! ```text
//!  arguments ─▶ lookup: name, arity, subcommand ─▶ row ─▶ row.action ─▶ the module that executes it
//!                                                   └▶ the rest of it: COMMAND, HELP, docs/redis.md
//! ```
//! `table` defines the rows, and from them the enums that the modules match on: a row without a handler does
//! not compile, and neither does a handler without a row.

mod keys;
mod lookup;
mod table;

pub use keys::{Keys, NoKeys};
pub use lookup::{FoundCommand, LOCAL_ARGUMENTS_MAX, find, find_full, lookup};
pub use table::{
    CATEGORIES, ClientCommand, ClusterCommand, CommandAction, ConfigCommand, ConnectionCommand, Family,
    KeyCommand, ROW_COUNT, SPECS, SUBCOMMANDS, ServerCommand, Spec, TableCommand, TransactionCommand,
};

#[cfg(test)]
mod tests {
    use super::lookup::NAME_BYTES_MAX;
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write;

    fn all() -> impl Iterator<Item = &'static Spec> {
        SPECS.iter().chain(SUBCOMMANDS)
    }

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
    fn every_subcommand_is_found_at_its_container_and_by_its_full_name() {
        assert!(SUBCOMMANDS.is_sorted_by(|a, b| a.name < b.name));
        for row in SUBCOMMANDS {
            let (container, name) = row.parts();
            let container = find(container.as_bytes()).expect("a container in the table");
            assert!(container.is_container(), "{}", row.name);
            assert_eq!(container.subcommand(name.to_ascii_uppercase().as_bytes()), Some(row));
            assert_eq!(find_full(row.name.to_ascii_uppercase().as_bytes()), Some(row));
            assert!(row.arity.unsigned_abs() >= 2, "{} counts both names", row.name);
        }
        for spec in SPECS {
            assert_eq!(spec.is_container(), !spec.subcommands().is_empty(), "{}", spec.name);
            assert_eq!(spec.is_container(), spec.subcommand(b"help").is_some(), "{}", spec.name);
            assert_eq!(find_full(spec.name.as_bytes()), Some(spec));
        }
        let counted: usize = SPECS.iter().map(|spec| spec.subcommands().len()).sum();
        assert_eq!(counted, SUBCOMMANDS.len());
        for unknown in [&b"client|"[..], b"client|nope", b"nope|id", b"get|id", b"|", b"client|id|x"] {
            assert_eq!(find_full(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn every_row_has_a_number_of_its_own() {
        assert_eq!(all().map(|row| row.number).collect::<Vec<_>>(), (0..ROW_COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn arity_counts_the_name() {
        let takes = |name: &[u8], count| find(name).is_some_and(|spec| spec.takes(count));
        assert!(takes(b"get", 2) && !takes(b"get", 1) && !takes(b"get", 3));
        assert!(takes(b"set", 3) && takes(b"set", 9) && !takes(b"set", 2));
    }

    /// A command on keys has either the flag for reads or the flag for writes. A command that names keys is
    /// executed on them.
    #[test]
    fn flags_and_keys_agree_with_the_room_that_executes_a_command() {
        for row in all() {
            let [reads, writes] = ["readonly", "write"].map(|flag| row.flags.contains(&flag));
            assert!(!row.is_on_keys() || reads != writes, "{} reads or writes", row.name);
            assert!(!row.is_on_keys() || row.keys != Keys::None, "{} asks no group", row.name);
            let is_watch = row.action == CommandAction::Transaction(TransactionCommand::Watch);
            let names_keys = row.keys.positions() != (0, 0, 0);
            assert!(
                !names_keys || row.is_on_keys() || row.is_container() || is_watch,
                "{} has keys",
                row.name
            );
        }
    }

    #[test]
    fn categories_are_known_and_every_one_has_commands() {
        let known: BTreeSet<&str> = CATEGORIES.into_iter().collect();
        let used: BTreeSet<&str> = all().flat_map(|row| row.categories()).collect();
        assert_eq!(used, known);
        for row in all() {
            assert!(row.family.categories.iter().all(|category| known.contains(category)), "{}", row.name);
        }
        let of = |name: &[u8]| find_full(name).expect("known").categories().collect::<Vec<_>>();
        assert_eq!(of(b"get"), ["read", "string", "fast"]);
        assert_eq!(of(b"set"), ["write", "string", "slow"]);
        assert_eq!(of(b"config|set"), ["slow", "admin", "dangerous"]);
    }

    /// The table of docs/redis.md, made from this table.
    fn document() -> String {
        let mut text = String::from("| command | arguments | keys | categories | what it does |\n");
        text.push_str("|---|---|---|---|---|\n");
        for spec in SPECS {
            for row in std::iter::once(spec).chain(spec.subcommands()) {
                let keys = match row.keys {
                    Keys::None => "",
                    Keys::One(_) => "one",
                    Keys::Each { .. } => "each on its own",
                    Keys::Together { .. } | Keys::Counted { .. } => "of one group",
                    Keys::EveryGroup => "every group",
                    Keys::OfSlot => "a slot's group",
                };
                let name = row.name.to_ascii_uppercase().replace('|', " ");
                let arguments = if row.arguments.is_empty() {
                    String::new()
                } else {
                    format!("`{}`", row.arguments.replace('|', "\\|"))
                };
                let categories = row.categories().collect::<Vec<_>>().join(" ");
                // Writing to a String cannot fail.
                let _ = writeln!(text, "| {name} | {arguments} | {keys} | {categories} | {} |", row.summary);
            }
        }
        text
    }

    #[test]
    fn the_table_of_the_documentation_is_this_one() {
        let page = include_str!("../../../../docs/redis.md");
        let begin = page.find("| command | arguments |").expect("the table's head");
        let shown = &page[begin..];
        let shown = &shown[..shown.find("\n\n").map_or(shown.len(), |end| end + 1)];
        assert!(shown == document(), "the table of docs/redis.md is not:\n{}", document());
    }
}
