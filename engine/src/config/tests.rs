//! What a configuration may say, and every reason to refuse one.
