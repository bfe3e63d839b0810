//! Tests of the store through its public interface.

mod cold;
mod digests;
mod edges;
mod locks;
mod model;
mod node_sessions;
mod retries;
mod rig;
mod scans;
mod steps;
mod twin;
