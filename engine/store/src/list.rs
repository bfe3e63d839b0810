//! Doubly linked lists threaded by u32 index through an array that the caller owns: no allocation per
//! element, O(1) removal.
//!
//! A list owns no element; it borrows the array for each change. It must not know what the elements are.

/// "No element".
pub(crate) const NIL: u32 = u32::MAX;

/// One element's neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    pub(crate) const NONE: Self = Self { prev: NIL, next: NIL };
}

/// An array whose elements carry links.
pub(crate) trait Linked {
    fn links(&self, at: u32) -> Links;
    fn links_mut(&mut self, at: u32) -> &mut Links;
}

/// A list: its front, its back and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    front: u32,
    back: u32,
    count: u32,
}

impl List {
    pub(crate) const EMPTY: Self = Self { front: NIL, back: NIL, count: 0 };

    pub(crate) fn push_front(&mut self, nodes: &mut impl Linked, at: u32) {
        debug_assert!(nodes.links(at) == Links::NONE, "an element is on one list at a time");
        debug_assert!(self.front != at, "an element is on a list once");
        *nodes.links_mut(at) = Links { prev: NIL, next: self.front };
        match self.front {
            NIL => self.back = at,
            front => nodes.links_mut(front).prev = at,
        }
        self.front = at;
        self.count += 1;
        debug_assert!(self.has_both_ends());
    }

    /// Appends all of another list.
    pub(crate) fn append(&mut self, nodes: &mut impl Linked, other: Self) {
        if other.is_empty() {
            return;
        }
        debug_assert!(nodes.links(other.front).prev == NIL, "an element before the front");
        debug_assert!(nodes.links(other.back).next == NIL, "an element behind the back");
        match self.back {
            NIL => self.front = other.front,
            back => {
                nodes.links_mut(back).next = other.front;
                nodes.links_mut(other.front).prev = back;
            }
        }
        self.back = other.back;
        self.count += other.count;
        debug_assert!(self.has_both_ends());
    }

    /// Removes an element of this list; an element of another list would break both.
    pub(crate) fn remove(&mut self, nodes: &mut impl Linked, at: u32) {
        debug_assert!(self.count > 0, "element of another list");
        let Links { prev, next } = core::mem::replace(nodes.links_mut(at), Links::NONE);
        debug_assert!(prev == NIL || nodes.links(prev).next == at, "neighbours that do not know each other");
        debug_assert!(next == NIL || nodes.links(next).prev == at, "neighbours that do not know each other");
        match prev {
            NIL => {
                assert!(self.front == at, "element of another list");
                self.front = next;
            }
            prev => nodes.links_mut(prev).next = next,
        }
        match next {
            NIL => {
                assert!(self.back == at, "element of another list");
                self.back = prev;
            }
            next => nodes.links_mut(next).prev = prev,
        }
        self.count -= 1;
        debug_assert!(self.has_both_ends());
    }

    /// A list with elements has a front and a back, an empty one has neither.
    fn has_both_ends(&self) -> bool {
        let is_empty = self.count == 0;
        is_empty == (self.front == NIL) && is_empty == (self.back == NIL)
    }

    pub(crate) fn back(&self) -> Option<u32> {
        (self.back != NIL).then_some(self.back)
    }

    pub(crate) fn front(&self) -> Option<u32> {
        (self.front != NIL).then_some(self.front)
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Front to back.
    pub(crate) fn iter<'a, L: Linked>(&self, nodes: &'a L) -> impl Iterator<Item = u32> + use<'a, L> {
        let mut at = self.front;
        core::iter::from_fn(move || {
            let here = (at != NIL).then_some(at)?;
            at = nodes.links(here).next;
            Some(here)
        })
    }
}
