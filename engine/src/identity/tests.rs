//! What is written into a data directory, and every reason to refuse one.
