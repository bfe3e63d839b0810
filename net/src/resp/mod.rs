//! RESP: requests and replies as Redis clients speak them.
//!
//! `parser` turns bytes into arguments, `spec` knows the commands, `plan` turns arguments into a [`synod_types::Op`], `reply`
//! writes RESP2 and RESP3. Nothing here knows a connection: `server::resp` puts it together.

pub mod derive;
pub mod glob;
pub mod number;
pub mod parser;
pub mod plan;
pub mod reply;
pub mod scripts;
pub mod spec;
