//! `synod`: a replicated key-value store that answers in microseconds and loses nothing; the shell around its machines.
//!
//! ```text
//! main ─▶ cli ─▶ config ─▶ identity ─▶ preflight ─▶ node::NodeSetup ─▶ runtime::run
//!              └▶ supervise ─▶ dev, bench                (several nodes as processes)
//!              └▶ clientcmd                              (get, set, del, status)
//!              └▶ secretcmd                              (secret)
//! ```
//! Import law: only `runtime` may name the executor library. Everything before it is plain blocking code that reads,
//! judges and refuses ([`refusal::Refusal`]) before anything is touched.

pub mod bench;
pub mod cli;
pub mod clientcmd;
pub mod config;
pub mod dev;
pub mod identity;
pub mod node;
pub mod preflight;
mod random;
pub mod refusal;
pub mod runtime;
pub mod secretcmd;
pub mod serve;
pub mod settle;
pub mod stop;
pub mod supervise;
