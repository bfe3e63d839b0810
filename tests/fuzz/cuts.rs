//! An input, cut into pieces by its own first bytes.

/// Cuts the input into pieces.
pub(super) struct Cuts<'a> {
    rest: &'a [u8],
    sizes: &'a [u8],
    at: usize,
}

impl<'a> Cuts<'a> {
    /// The first byte says how many of the following bytes are sizes.
    pub(super) fn new(data: &'a [u8]) -> Self {
        let count = data.first().map_or(0, |&count| usize::from(count % 8));
        let body = data.get(1..).unwrap_or(&[]);
        let (sizes, rest) = body.split_at(count.min(body.len()));
        Self { rest, sizes, at: 0 }
    }
    /// All the input, uncut.
    pub(super) fn whole(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Cuts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let size = match self.sizes.get(self.at % self.sizes.len().max(1)) {
            Some(&size) => usize::from(size) + 1,
            None => self.rest.len(),
        };
        self.at += 1;
        let (piece, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}
