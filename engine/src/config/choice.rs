//! The settings whose value is one of a few words: the meaning and the spelling of each word.

use super::facts::KeyHash;
use crate::voice::Format;
use synod_shard::{FollowLoad, Leadership};

/// A setting with one word for each of its values.
pub trait Choice: Copy + 'static {
    /// The kind of thing that a wrong word is not, for error messages.
    const WHAT: &'static str;
    /// Each value, its word, and the rest of the sentence "the word, which …".
    const WORDS: &'static [(Self, &'static str, &'static str)];
    /// Words that are planned for a later version.
    const PLANNED: &'static [&'static str] = &[];
}

/// The point at which a write counts as durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// Once it is flushed on a quorum.
    Sync,
}

impl Choice for Durability {
    const WHAT: &'static str = "durability";
    const WORDS: &'static [(Self, &'static str, &'static str)] =
        &[(Self::Sync, "sync", "acknowledges only what is flushed")];
    const PLANNED: &'static [&'static str] = &["async", "none"];
}

/// The handling of a Redis client's command when another node or core leads the key's group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// The command is forwarded: every client may connect anywhere.
    Proxy,
    /// The client is redirected: for Redis Cluster clients, which follow redirects by themselves.
    Moved,
}

impl Choice for Redirect {
    const WHAT: &'static str = "redirect";
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Proxy, "proxy", "serves any key at any node"),
        (Self::Moved, "moved", "sends Redis Cluster clients to the key's leader"),
    ];
}

impl Choice for Format {
    const WHAT: &'static str = "log format";
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Text, "text", "is one line for people"),
        (Self::Json, "json", "is one JSON object per line"),
    ];
}

impl Choice for Leadership {
    const WHAT: &'static str = "leadership";
    const WORDS: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Balance, "balance", "spreads the leaders over the nodes"),
        (
            Self::Follow(FollowLoad::DEFAULT),
            "follow",
            "lets a group be led by the node that most of its requests come through",
        ),
        (Self::Stay, "stay", "leaves it with the node that was elected"),
    ];
}

impl Choice for KeyHash {
    const WHAT: &'static str = "key hash";
    const WORDS: &'static [(Self, &'static str, &'static str)] =
        &[(Self::Crc16, Self::Crc16.name(), "spreads keys as Redis Cluster does")];
}
