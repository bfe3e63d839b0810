//! A Rust file as tokens, without comments and blanks, each with its line.

/// The kind of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An identifier or a keyword.
    Word,
    /// A string, a character or a number.
    Literal,
    /// A lifetime or a label.
    Lifetime,
    /// `::`.
    Path,
    /// Any other sign, one character.
    Sign,
}

/// A token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its text.
    pub text: &'a str,
    /// The line it begins in, from 1.
    pub line: usize,
}

impl Token<'_> {
    /// Whether it is this word or sign.
    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }
}

/// All tokens of `text`, a file that compiles.
pub fn lex(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { rest: text, line: 1 };
    std::iter::from_fn(|| lexer.next_token()).collect()
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next_token(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let first = self.rest.chars().next()?;
        let (kind, len) = if let Some(len) = string_len(self.rest) {
            (Kind::Literal, len)
        } else if self.rest.starts_with('\'') {
            match char_len(self.rest) {
                Some(len) => (Kind::Literal, len),
                None => (Kind::Lifetime, 1 + word_len(&self.rest[1..])),
            }
        } else if first.is_ascii_digit() {
            (Kind::Literal, number_len(self.rest))
        } else if let Some(raw) = self.rest.strip_prefix("r#") {
            (Kind::Word, 2 + word_len(raw))
        } else if word_len(self.rest) > 0 {
            (Kind::Word, word_len(self.rest))
        } else if self.rest.starts_with("::") {
            (Kind::Path, 2)
        } else {
            (Kind::Sign, first.len_utf8())
        };
        let line = self.line;
        Some(Token { kind, text: self.take(len), line })
    }

    fn skip_blanks(&mut self) {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if self.rest.starts_with("//") {
                let len = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(len);
            } else if self.rest.starts_with("/*") {
                let len = block_comment_len(self.rest);
                self.take(len);
            } else {
                return;
            }
        }
    }

    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

/// Block comments nest.
fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest.chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at >= text.len() {
            return at;
        }
    }
}

fn word_len(text: &str) -> usize {
    let is_part = |symbol: char| symbol.is_alphanumeric() || symbol == '_';
    if text.starts_with(|symbol: char| symbol.is_ascii_digit()) {
        return 0;
    }
    text.find(|symbol: char| !is_part(symbol)).unwrap_or(text.len())
}

/// Digits, suffix and fraction; the two dots of a range are not part of it.
fn number_len(text: &str) -> usize {
    let part = |text: &str| text.find(|symbol: char| !(symbol.is_alphanumeric() || symbol == '_'));
    let whole = part(text).unwrap_or(text.len());
    let fraction = &text[whole..];
    let has_fraction =
        fraction.starts_with('.') && fraction[1..].starts_with(|symbol: char| symbol.is_ascii_digit());
    if has_fraction { whole + 1 + part(&fraction[1..]).unwrap_or(fraction.len() - 1) } else { whole }
}

/// The length of the string literal that `text` begins with, if it does.
fn string_len(text: &str) -> Option<usize> {
    let prefix = text.len() - text.trim_start_matches(['b', 'c', 'r']).len();
    if prefix > 2 {
        return None;
    }
    let is_raw = text[..prefix].ends_with('r');
    let body = &text[prefix..];
    if is_raw {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let inner = body[hashes..].strip_prefix('"')?;
        return Some(prefix + hashes + 1 + inner.find(&end)? + end.len());
    }
    let inner = body.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, symbol) in inner.char_indices() {
        match symbol {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    None
}

/// The length of the character literal that `text` begins with; none if it begins with a lifetime.
fn char_len(text: &str) -> Option<usize> {
    let inner = &text[1..];
    let first = inner.chars().next()?;
    if first == '\\' {
        // The escaped character may be a quote.
        return Some(inner[2..].find('\'')? + 2 + 2);
    }
    let after = first.len_utf8();
    inner[after..].starts_with('\'').then_some(1 + after + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        lex(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_blanks_are_left_out() {
        assert_eq!(texts("a // b \"\n /* c /* d */ e */ f"), ["a", "f"]);
        let lines: Vec<usize> = lex("a\n\n/*\n*/ b\n\"x\ny\" c").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 4, 5, 6]);
    }

    #[test]
    fn literals_are_whole() {
        let text = r####"x("a\"b", 'c', '\'', '\u{7f}', b'\\', r#"d"e"#, br"f", 1..2, 1.5e3, 0xff_u8)"####;
        let literals: Vec<_> = lex(text).into_iter().filter(|token| token.kind == Kind::Literal).collect();
        assert_eq!(literals.len(), 11, "{literals:?}");
    }

    #[test]
    fn lifetimes_are_no_characters() {
        use Kind::{Lifetime, Literal, Sign, Word};
        let kinds: Vec<Kind> = lex("&'a T<'_> 'b'").iter().map(|token| token.kind).collect();
        assert_eq!(kinds, [Sign, Lifetime, Word, Sign, Lifetime, Sign, Literal]);
    }

    #[test]
    fn paths_are_words_and_double_colons() {
        assert_eq!(texts("crate::a::r#type<B>"), ["crate", "::", "a", "::", "r#type", "<", "B", ">"]);
        assert_eq!(texts("b(c)"), ["b", "(", "c", ")"]);
    }
}
