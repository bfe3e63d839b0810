//! Glob patterns as CONFIG GET and KEYS take them: `*`, `?`, `[a-c]`, `[^a]`, `\x`; linear in the text per star.

/// Whether `text` fits `pattern`, regardless of ASCII case.
pub fn fits(pattern: &[u8], text: &[u8]) -> bool {
    walk(pattern, text, |byte| byte.to_ascii_lowercase())
}

/// Whether `text` fits `pattern`, letters being what they are.
pub fn fits_exactly(pattern: &[u8], text: &[u8]) -> bool {
    walk(pattern, text, |byte| byte)
}

fn walk(pattern: &[u8], text: &[u8], fold: impl Fn(u8) -> u8 + Copy) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    // Where to go on after the last star when the rest does not fit: one byte further into the text.
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            at_pattern += 1;
            retry = Some((at_pattern, at_text));
            continue;
        }
        if let Some(used) = fits_one(&pattern[at_pattern..], text[at_text], fold) {
            at_pattern += used;
            at_text += 1;
        } else if let Some((pattern_at, text_at)) = retry {
            (at_pattern, at_text) = (pattern_at, text_at + 1);
            retry = Some((pattern_at, at_text));
        } else {
            return false;
        }
    }
    pattern[at_pattern..].iter().all(|&byte| byte == b'*')
}

/// If the first item of `pattern` fits `byte`: how long the item is.
fn fits_one(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    let same = |a: u8, b: u8| fold(a) == fold(b);
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => same(*escaped, byte).then_some(2),
        [b'[', ..] => fits_class(pattern, fold(byte), fold),
        [plain, ..] => same(*plain, byte).then_some(1),
        [] => None,
    }
}

fn fits_class(pattern: &[u8], byte: u8, fold: impl Fn(u8) -> u8 + Copy) -> Option<usize> {
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = if negated { 2 } else { 1 };
    let mut found = false;
    loop {
        match pattern.get(at..)? {
            [b']', ..] => return (found != negated).then_some(at + 1),
            [low, b'-', high, ..] if *high != b']' => {
                let (low, high) = (fold(*low), fold(*high));
                found |= (low.min(high)..=low.max(high)).contains(&byte);
                at += 3;
            }
            [one, ..] => {
                found |= fold(*one) == byte;
                at += 1;
            }
            [] => return None, // a class that never closes fits nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_redis_users_expect() {
        let cases = [
            ("*", "anything", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("save", "SAVE", true),
            ("max*", "maxmemory", true),
            ("*memory*", "maxmemory-policy", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[ab", "a", false),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a*b*c", "a--b--b-c", true),
            ("a*b*c", "a--b--b-", false),
            ("**a", "ba", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), want, "{pattern} {text}");
        }
    }

    #[test]
    fn exact_patterns_tell_letters_apart() {
        assert!(fits_exactly(b"k[a-c]*", b"kb1"));
        assert!(!fits_exactly(b"K*", b"kb1") && !fits_exactly(b"k[A-C]*", b"kb1"));
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let pattern = "*a".repeat(1000);
        assert!(!fits(pattern.as_bytes(), "a".repeat(999).as_bytes()));
    }
}
