//! Tests of the real binary, for everything it refuses: exit code 2, one clear sentence, nothing touched.

mod machine;
mod refusals;
mod run;
mod secrets;
