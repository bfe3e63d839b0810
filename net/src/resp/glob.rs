//! Glob patterns for KEYS, SCAN, CONFIG GET and COMMAND LIST, with the meaning they have in Redis 7.0.
//!
//! ```text
//!  *  any bytes     [abc] [a-c] [c-a]  one of them      \x  x itself, in a class too
//!  ?  any byte      [^a-c]             none of them     an unclosed class ends with the pattern
//! ```
//! A pattern is compiled once into a machine that is in many states at once: state `i` says "the first `i`
//! items match the bytes read so far". One byte of a text moves all states with a few instructions per 64
//! states, and there is no backtracking, so a match costs (items / 64) x (bytes of the text) for every
//! pattern. Backtracking to the last star would cost items x bytes: 16 million steps for one key of the
//! longest kind.
//!
//! ```text
//!   a*b     state  0 ──a──▶ 1 ──b──▶ 2        `steps` of a byte: the states it may leave
//!                           └─ any ┘ (loop)   `loops`: the states before a star, which any byte keeps
//! ```
//! Bytes count as 0 to 255 in ranges. (Redis compares them as C's `char`, whose sign depends on the
//! platform.)

/// Longest pattern. The table of a compiled pattern is 2 KiB for each 64 items.
pub const PATTERN_BYTES_MAX: usize = 1024;

const WORD_BITS: usize = u64::BITS as usize;
/// Words for the states of the longest pattern: one state more than it has items.
const WORDS_MAX: usize = PATTERN_BYTES_MAX / WORD_BITS + 1;
const BYTES: usize = 1 << u8::BITS;

/// Whether upper and lower case differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Case {
    /// `A` differs from `a`: for names of keys.
    Told,
    /// `A` equals `a`: for names of settings and commands. As in Redis, a letter that is escaped in a class
    /// keeps its case.
    Ignored,
}

/// A pattern ready to be matched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// Words per row of states.
    words: usize,
    /// A row per byte.
    steps: Box<[u64]>,
    /// One row.
    loops: Box<[u64]>,
    /// The state in which all items match.
    last: usize,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is too long; the text is the error for the client.
    pub fn new(pattern: &[u8], case: Case) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "ERR pattern too long: {} bytes, the limit is {PATTERN_BYTES_MAX}",
                pattern.len()
            ));
        }
        // Every item takes at least one byte of the pattern.
        let words = pattern.len() / WORD_BITS + 1;
        let mut compiled = Self {
            words,
            steps: vec![0; BYTES * words].into_boxed_slice(),
            loops: vec![0; words].into_boxed_slice(),
            last: 0,
        };
        let mut rest = pattern;
        while let Some((item, after)) = take_item(rest, case) {
            compiled.push(&item);
            rest = after;
        }
        Ok(compiled)
    }

    /// Whether all of `text` matches.
    pub fn fits(&self, text: &[u8]) -> bool {
        let mut states = [0; WORDS_MAX];
        let states = &mut states[..self.words];
        states[0] = 1;
        let (last_word, last_bit) = (self.last / WORD_BITS, 1 << (self.last % WORD_BITS));
        // With a star at its end the pattern matches whatever follows.
        let is_open = self.loops[last_word] & last_bit != 0;
        for &byte in text {
            if is_open && states[last_word] & last_bit != 0 {
                return true;
            }
            let steps = &self.steps[usize::from(byte) * self.words..][..self.words];
            let (mut carry, mut any) = (0, 0);
            for ((state, step), kept) in states.iter_mut().zip(steps).zip(&self.loops) {
                let taken = *state & step;
                *state = taken << 1 | carry | *state & kept;
                carry = taken >> (WORD_BITS - 1);
                any |= *state;
            }
            if any == 0 {
                return false;
            }
        }
        states[last_word] & last_bit != 0
    }

    /// Bytes of memory it holds.
    pub fn held_bytes(&self) -> usize {
        (self.steps.len() + self.loops.len()) * size_of::<u64>()
    }

    fn push(&mut self, item: &Item) {
        let (word, bit) = (self.last / WORD_BITS, 1 << (self.last % WORD_BITS));
        match item {
            Item::Star => self.loops[word] |= bit,
            Item::One(set) => {
                for byte in (0..BYTES).filter(|byte| set.0[*byte]) {
                    self.steps[byte * self.words + word] |= bit;
                }
                self.last += 1;
            }
        }
    }
}

/// One part of a pattern.
enum Item {
    /// Any bytes.
    Star,
    /// One byte of a set.
    One(Box<Set>),
}

struct Set([bool; BYTES]);

impl Set {
    fn of(fits: impl Fn(u8) -> bool) -> Item {
        Item::One(Box::new(Self(core::array::from_fn(|byte| fits(byte as u8))))) // below 256
    }
}

/// The first item of a pattern and the rest behind it; `None` at the end.
fn take_item(pattern: &[u8], case: Case) -> Option<(Item, &[u8])> {
    let fold = |byte: u8| if case == Case::Ignored { byte.to_ascii_lowercase() } else { byte };
    let plain = |wanted: u8| Set::of(|byte| fold(byte) == fold(wanted));
    Some(match pattern {
        [] => return None,
        [b'*', rest @ ..] => (Item::Star, rest),
        [b'?', rest @ ..] => (Set::of(|_| true), rest),
        [b'[', b'^', rest @ ..] => take_class(rest, true, fold),
        [b'[', rest @ ..] => take_class(rest, false, fold),
        // A backslash at the very end stands for itself.
        [b'\\', escaped, rest @ ..] => (plain(*escaped), rest),
        [byte, rest @ ..] => (plain(*byte), rest),
    })
}

/// Reads the inside of a class at the start of `rest`. Returns the class and the rest behind its end.
fn take_class(mut rest: &[u8], is_negated: bool, fold: impl Fn(u8) -> u8) -> (Item, &[u8]) {
    let mut set = [false; BYTES];
    loop {
        rest = match rest {
            [b'\\', escaped, after @ ..] => {
                set[usize::from(*escaped)] = true;
                after
            }
            [b']', after @ ..] => {
                rest = after;
                break;
            }
            [] => break,
            // A bracket may be the end of a range, as in `[a-]`: then it does not close the class.
            [one, b'-', other, after @ ..] => {
                let (low, high) = (fold(*one.min(other)), fold(*one.max(other)));
                (0..=u8::MAX).filter(|&byte| (low..=high).contains(&fold(byte))).for_each(|byte| {
                    set[usize::from(byte)] = true;
                });
                after
            }
            [one, after @ ..] => {
                (0..=u8::MAX).filter(|&byte| fold(byte) == fold(*one)).for_each(|byte| {
                    set[usize::from(byte)] = true;
                });
                after
            }
        };
    }
    (Set::of(|byte| set[usize::from(byte)] != is_negated), rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fits(pattern: &str, text: &str, case: Case) -> bool {
        Pattern::new(pattern.as_bytes(), case).expect("not too long").fits(text.as_bytes())
    }

    /// The rules of the documentation, one after the other, without regard to time.
    fn fits_slowly(pattern: &[u8], text: &[u8], case: Case) -> bool {
        let lower = |byte: u8| if case == Case::Ignored { byte.to_ascii_lowercase() } else { byte };
        let Some((&mark, rest)) = pattern.split_first() else { return text.is_empty() };
        if mark == b'*' {
            return (0..=text.len()).any(|skipped| fits_slowly(rest, &text[skipped..], case));
        }
        let Some((&byte, text)) = text.split_first() else { return false };
        match mark {
            b'?' => fits_slowly(rest, text, case),
            b'[' => {
                let is_negated = rest.first() == Some(&b'^');
                let mut at = usize::from(is_negated);
                let mut is_in = false;
                while at < rest.len() && rest[at] != b']' {
                    if rest[at] == b'\\' && at + 1 < rest.len() {
                        is_in |= rest[at + 1] == byte;
                        at += 2;
                    } else if at + 2 < rest.len() && rest[at + 1] == b'-' {
                        let mut ends = [rest[at], rest[at + 2]];
                        ends.sort_unstable();
                        is_in |= lower(ends[0]) <= lower(byte) && lower(byte) <= lower(ends[1]);
                        at += 3;
                    } else {
                        is_in |= lower(rest[at]) == lower(byte);
                        at += 1;
                    }
                }
                let after = rest.get(at + 1..).unwrap_or(&[]);
                is_in != is_negated && fits_slowly(after, text, case)
            }
            b'\\' if !rest.is_empty() => lower(rest[0]) == lower(byte) && fits_slowly(&rest[1..], text, case),
            _ => lower(mark) == lower(byte) && fits_slowly(rest, text, case),
        }
    }

    fn case() -> impl Strategy<Value = Case> {
        prop_oneof![Just(Case::Told), Just(Case::Ignored)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn patterns_mean_what_the_slow_twin_says(
            pattern in "[abcB\\[\\]^\\\\*?-]{0,10}",
            text in "[abcB\\[\\]^\\\\*?-]{0,7}",
            case in case(),
        ) {
            let compiled = Pattern::new(pattern.as_bytes(), case).expect("not too long");
            prop_assert_eq!(compiled.fits(text.as_bytes()), fits_slowly(pattern.as_bytes(), text.as_bytes(), case));
        }

        #[test]
        fn bytes_of_every_kind_are_told_apart(
            pattern in proptest::collection::vec(
                prop_oneof![any::<u8>(), Just(b'['), Just(b'-'), Just(b'\\')],
                0..8,
            ),
            text in proptest::collection::vec(any::<u8>(), 0..4),
            case in case(),
        ) {
            let compiled = Pattern::new(&pattern, case).expect("not too long");
            prop_assert_eq!(compiled.fits(&text), fits_slowly(&pattern, &text, case));
        }
    }

    proptest! {
        #[test]
        fn patterns_of_many_words_too(
            parts in proptest::collection::vec(("[ab]", 1..90_usize), 1..6),
            star in 0..4_usize,
            cut in any::<proptest::sample::Index>(),
            tail in "[ab]{0,3}",
        ) {
            let text: String = parts.iter().map(|(byte, count)| byte.repeat(*count)).collect::<String>() + &tail;
            // The text itself with a part replaced by a star, or with one byte changed: it matches or nearly
            // does.
            let mut pattern: Vec<u8> = text.bytes().collect();
            let at = cut.index(pattern.len());
            match star {
                0 => pattern[at] = b'?',
                1 => drop(pattern.splice(at.., [b'*'])),
                2 => drop(pattern.splice(..at, [b'*'])),
                _ => pattern[at] = b'a',
            }
            let compiled = Pattern::new(&pattern, Case::Told).expect("not too long");
            prop_assert_eq!(compiled.fits(text.as_bytes()), fits_slowly(&pattern, text.as_bytes(), Case::Told));
        }
    }

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
            ("[c-a]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[ab", "a", true),
            ("[^ab", "a", false),
            ("[^", "a", true),
            ("[", "[", false),
            ("[]", "]", false),
            ("[^]", "]", true),
            ("[\\]a]", "]", true),
            ("[\\", "\\", true),
            ("[\\A]", "a", false),
            ("[a-]", "_", true),
            ("[-a]", "-", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("a\\", "a\\", true),
            ("a*b*c", "a--b--b-c", true),
            ("a*b*c", "a--b--b-", false),
            ("**a", "ba", true),
            ("a**", "a", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(fits(pattern, text, Case::Ignored), want, "{pattern} {text}");
        }
    }

    #[test]
    fn exact_patterns_tell_letters_apart() {
        assert!(fits("k[a-c]*", "kb1", Case::Told));
        assert!(!fits("K*", "kb1", Case::Told) && !fits("k[A-C]*", "kb1", Case::Told));
    }

    #[test]
    fn a_pattern_has_a_limit() {
        assert!(
            Pattern::new(&[b'a'; PATTERN_BYTES_MAX], Case::Told).expect("at the limit").fits(&[b'a'; 1024])
        );
        let refused = Pattern::new(&[b'['; PATTERN_BYTES_MAX + 1], Case::Told);
        assert_eq!(refused, Err("ERR pattern too long: 1025 bytes, the limit is 1024".to_owned()));
    }

    #[test]
    fn the_worst_patterns_on_the_longest_keys_take_no_time() {
        let key = [b'a'; synod_types::limits::KEY_BYTES_MAX];
        let worst = [
            "*a".repeat(511) + "*b",
            "*".to_owned() + &"a".repeat(1022) + "b",
            "*".to_owned() + &"?".repeat(1022) + "b",
            "*[".to_owned() + &"a-b".repeat(340) + "]b",
            "*a]".repeat(341),
        ];
        let began = std::time::Instant::now();
        for pattern in &worst {
            assert!(!fits(pattern, str::from_utf8(&key).expect("ASCII"), Case::Told));
        }
        // 0.3 ms each when optimized. Backtracking to stars takes 16 million steps for the second and third
        // alone, and trying all ways never ends. The bound lies far above the one and below the other, for
        // machines that are busy with other work.
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}
