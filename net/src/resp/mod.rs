//! RESP: requests and replies as Redis clients speak them.
