//! Values that identify themselves: a client writes bytes derived from a number. From the bytes alone a
//! reader can tell which write they come from, and that every one of them is right.

use crate::check::model::Datum;

/// The bytes of blob `name`, `len` of them (at least its header).
pub fn blob(name: u32, len: usize) -> Vec<u8> {
    let header = format!("v{name}.{len}.");
    let mut bytes = header.into_bytes();
    let mut state = u64::from(name) + 1;
    while bytes.len() < len {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let word = (state >> 16).to_le_bytes();
        let take = word.len().min(len - bytes.len());
        bytes.extend_from_slice(&word[..take]);
    }
    bytes
}

/// Which value these bytes are.
///
/// # Errors
/// When no client ever wrote these bytes: they are altered, cut or mixed.
pub fn parse(bytes: &[u8]) -> Result<Datum, String> {
    let text = std::str::from_utf8(&bytes[..bytes.len().min(40)])
        .unwrap_or_else(|error| std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default());
    if let Ok(number) = text.parse::<i64>()
        && number.to_string().as_bytes() == bytes
    {
        return Ok(Datum::Number(number));
    }
    let mut parts = text.strip_prefix('v').unwrap_or_default().splitn(3, '.');
    let name = parts.next().and_then(|part| part.parse::<u32>().ok());
    let len = parts.next().and_then(|part| part.parse::<usize>().ok());
    match (name, len) {
        (Some(name), Some(len)) if len <= 1 << 20 && blob(name, len) == bytes => Ok(Datum::Blob(name)),
        _ => Err(format!("{} bytes that no client wrote, beginning {text:?}", bytes.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_name_themselves_and_show_damage() {
        for len in [0, 12, 22, 23, 5000] {
            let bytes = blob(77, len);
            assert_eq!(parse(&bytes), Ok(Datum::Blob(77)));
            for at in [0, bytes.len() / 2, bytes.len() - 1] {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert_ne!(parse(&bad), Ok(Datum::Blob(77)), "byte {at} of {len}");
            }
        }
        assert_eq!(parse(b"-12"), Ok(Datum::Number(-12)));
        assert!(parse(b"012").is_err());
        assert!(parse(b"").is_err());
    }
}
