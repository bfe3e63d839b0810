//! The store as its caller sees it.

mod cold;
mod digests;
mod edges;
mod locks;
mod model;
mod node_sessions;
mod retries;
mod rig;
mod scans;
