//! Tests of the real binary: everything it refuses (an exit code, one clear sentence, nothing touched), what its
//! commands print, and how they end.

mod exits;
mod explain;
mod machine;
mod manual;
mod pipes;
mod refusals;
mod run;
mod secrets;
