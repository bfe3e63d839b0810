//! `synod`: a replicated key-value store that answers in microseconds and loses nothing. This crate is the
//! shell around its state machines.
//!
//! ```text
//! main ─▶ cli ─▶ config ─▶ identity ─▶ preflight ─▶ node::NodeSetup ─▶ runtime::run
//!              └▶ dev, bench ─▶ supervise                (several nodes as processes)
//!              └▶ clientcmd, statuscmd                   (get, set, del, status)
//!              └▶ secretcmd, explaincmd, manual          (secret, config explain, completions and man)
//!              └▶ output, exit                           (what a command prints, and how it ends)
//! voice: what a running node tells its operator         (used by runtime and serve)
//! ```
//! Import law: only `runtime` may name the executor library. Everything before it is plain blocking code that
//! reads, checks and refuses ([`refusal::Refusal`]) before it touches anything. Only `sys` has unsafe code.

#![deny(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod clientcmd;
pub mod config;
pub mod dev;
pub mod disk_quiesce;
pub mod examples;
pub mod exit;
pub mod explaincmd;
pub mod identity;
pub mod manual;
pub mod node;
pub mod output;
pub mod preflight;
mod random;
pub mod refusal;
pub mod runtime;
pub mod secretcmd;
pub mod serve;
pub mod statuscmd;
pub mod stop;
pub mod supervise;
mod sys;
pub mod voice;
