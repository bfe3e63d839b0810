//! The store as its caller sees it.

mod cold;
mod edges;
mod model;
mod retries;
mod rig;
