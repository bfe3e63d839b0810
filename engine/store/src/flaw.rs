//! Known bugs that tests plant, to see that the checkers find them.

/// Known bugs to be planted (tests only).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Writes of a node's session are executed in any order.
    AnyOrder,
    /// An earlier boot of a node opens sessions in place of a later one's.
    AnyBootOpens,
    /// Commands executed in a node's session are not remembered.
    Forgets,
}
