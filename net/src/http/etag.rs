//! Versions as entity tags: `"<slot>-<position>"`, strong, as GET and PUT return them.

use synod_types::{Slot, Version};

/// The tag of a version.
pub(super) fn spell(version: Version) -> String {
    format!("\"{}-{}\"", version.slot.get(), version.position)
}

/// The version of a tag that [`spell`] made; `None` for any other text, including weak tags.
pub(super) fn parse(text: &str) -> Option<Version> {
    let (slot, position) = text.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
    Some(Version { slot: Slot::new(number(slot)?), position: u32::try_from(number(position)?).ok()? })
}

/// Digits only and no leading zero, so that every version has one spelling.
fn number(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}
