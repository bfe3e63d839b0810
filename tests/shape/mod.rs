//! The shape of the code itself: which file uses which, how long files and functions are, and how many
//! assertions there are.
//!
//! ```text
//!   files ─lex─▶ tokens ─parse─▶ modules of each crate target ─resolve─▶ edges between files ─▶ circles
//!                                     └─▶ functions, assertions, lines ─▶ figures
//! ```
//! An *edge* goes from a file to the file that defines an item it names. The rules:
//! - Every path counts, in a `use` and anywhere else, that begins with `crate`, `self`, `super`, a child
//!   module, or a name that a `use` of the file brings in. It is followed through re-exports and aliases to
//!   the item itself. Importing a module makes no edge yet; the items then named through it do.
//! - `mod child;` and `pub use child::Item;` are wiring and make no edge. A re-exported name that the
//!   parent's own code mentions does.
//! - So a parent that uses its child is above it, a child that uses an item of its parent's file is above the
//!   parent, and both at once are a circle.
//! - Tests may use anything: code under `#[cfg(test)]`, inline or in a file of its own, has no edges.
//! - A method is not named by a path. So the inherent methods of a type should be in the type's own file. If
//!   they are not, the type is *spread*, which is reported beside the circles.
//!
//! The parser knows only as much of Rust as this takes: it sees a macro call as the tokens of its arguments.

mod edges;
mod figures;
mod lex;
mod modules;
mod packages;
mod resolve;

pub use edges::{Edges, Spread, circles};
pub use figures::{Figures, Function, figures};
pub use lex::{Kind, Token, lex};
pub use modules::{Crate, Module, read_crates};
pub use packages::{Package, arrows_up, packages};
