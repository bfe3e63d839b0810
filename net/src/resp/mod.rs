//! RESP: requests and replies of Redis clients.
//!
//! `parser` turns bytes into arguments, `spec` is the table of commands, `plan` turns arguments into a
//! [`synod_types::Op`], `reply` writes RESP2 and RESP3. Nothing here knows about connections: `server::resp`
//! puts the parts together.

pub mod derive;
pub mod error_line;
pub mod glob;
pub mod number;
pub mod parser;
pub mod plan;
pub mod reply;
pub mod scripts;
pub mod spec;
