//! The cache of one core: copies of long values in cells of pages, within a byte budget that is never
//! exceeded.
//!
//! ```text
//!  class 4096  ─ probation ⇄ protected      page ┌──────┬──────┬── … ──┬──────┐  bytes: only values
//!  class 4519  ─ probation ⇄ protected           └──────┴──────┴── … ──┴──────┘
//!  …                                        cells │owner │owner │   …   │ free │  beside: owner, len, links
//! ```
//! The bookkeeping is kept beside the page, so a class of exactly 4096 bytes holds a 4 KiB value, and a page
//! holds 256 of them. A cell knows its owner, and a handle is valid only as long as the cell names that
//! owner. So a cell can be given away without telling the index: a stale handle finds another owner and is a
//! miss.
//!
//! Recency is kept per class in two lists. A copy enters on probation and is protected from the second use
//! on, so that one scan does not evict the copies in use. A class without a page takes one from the class
//! with the oldest copy; so does a class that evicts much younger copies than another class keeps.
//!
//! Dropping a copy costs a read, never a record. The cache must not affect a reply or know a key.

mod cell;
mod class;

pub(crate) use cell::Owner;

use crate::api::CacheStats;
use crate::list::{Linked, Links, List, NIL};
use alloc::{vec, vec::Vec};
use cell::{Cell, CellState, FREE_CELL};
use class::{CELL_BYTES_MIN, SizeClass};
use core::fmt;

/// Bytes of a page when the budget allows.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// The smallest size of a page, however small the budget.
const PAGE_BYTES_MIN: usize = 16 << 10;
/// A budget is cut into about this many pages, so that each of some forty classes can have one.
const PAGE_COUNT_WANTED: usize = 64;

/// A page cut into cells of one class; it has no cells after it was given back.
#[derive(Default)]
struct SlabPage {
    class: usize,
    /// Capacity for the whole page, filled up to the last cell ever used: memory that was never written is
    /// not resident yet.
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

/// The pages that cell numbers refer to.
struct Pages {
    pages: Vec<SlabPage>,
    /// A cell's number is `page << cell_bits | place`.
    cell_bits: u32,
}

impl Pages {
    fn page_of(&self, cell: u32) -> usize {
        (cell >> self.cell_bits) as usize
    }
    fn place_of(&self, cell: u32) -> usize {
        (cell & ((1 << self.cell_bits) - 1)) as usize
    }
    fn number(&self, page: usize, place: usize) -> u32 {
        debug_assert!(place >> self.cell_bits == 0, "more cells in a page than a number can tell apart");
        (page as u32) << self.cell_bits | place as u32 // both bounded when the slab is made
    }
    /// The cell, if one of this number exists now.
    fn get(&self, cell: u32) -> Option<&Cell> {
        self.pages.get(self.page_of(cell))?.cells.get(self.place_of(cell))
    }
    fn cell_mut(&mut self, cell: u32) -> &mut Cell {
        let (page, place) = (self.page_of(cell), self.place_of(cell));
        &mut self.pages[page].cells[place]
    }
    fn cell(&self, cell: u32) -> &Cell {
        &self.pages[self.page_of(cell)].cells[self.place_of(cell)]
    }
}

impl Linked for Pages {
    fn links(&self, at: u32) -> Links {
        self.cell(at).links
    }
    fn links_mut(&mut self, at: u32) -> &mut Links {
        &mut self.cell_mut(at).links
    }
}

pub(crate) struct Slab {
    page_bytes: usize,
    bytes_max: usize,
    bytes: usize,
    classes: Vec<SizeClass>,
    pages: Pages,
    /// Numbers of pages that were given back.
    pages_free: Vec<u32>,
    /// Counts uses; ages are measured in it.
    clock: u32,
    stats: CacheStats,
}

impl Slab {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let wanted = (bytes_max / PAGE_COUNT_WANTED).clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX);
        let page_bytes: usize = 1 << wanted.ilog2();
        let cell_bits = (page_bytes / CELL_BYTES_MIN).ilog2();
        let page_count_max = bytes_max / page_bytes;
        assert!(page_bytes.is_power_of_two() && page_bytes >= PAGE_BYTES_MIN);
        assert!(page_count_max < (NIL >> cell_bits) as usize, "cache budget over what cell numbers can name");
        Self {
            page_bytes,
            bytes_max,
            bytes: 0,
            classes: class::cut(page_bytes),
            pages: Pages { pages: Vec::new(), cell_bits },
            pages_free: Vec::new(),
            clock: 0,
            stats: CacheStats::default(),
        }
    }

    /// Keeps a copy of `value`. Returns the cell's number, or [`NIL`] if the value is too long or the budget
    /// too small.
    pub(crate) fn insert(&mut self, owner: Owner, crc: u32, value: &[u8]) -> u32 {
        let Some(class) = class::of(&self.classes, value.len()) else {
            self.stats.refused += 1;
            return NIL;
        };
        let Some(cell) = self.free_cell(class) else {
            self.stats.refused += 1;
            return NIL;
        };
        let free = self.pages.cell(cell);
        debug_assert!(free.state == CellState::Free && free.links == Links::NONE, "a cell that is in use");
        self.clock = self.clock.wrapping_add(1);
        *self.pages.cell_mut(cell) = Cell {
            owner_record: owner.record,
            owner_group: owner.group,
            state: CellState::Probation,
            links: Links::NONE,
            len: 0,
            crc: 0,
            used_at: self.clock,
        };
        self.classes[class].probation.push_front(&mut self.pages, cell);
        self.fill(cell, crc, value);
        self.stats.inserts += 1;
        self.stats.cells += 1;
        debug_assert!(self.is_owner(cell, owner), "a copy that its owner does not find");
        cell
    }

    /// Whether a copy of `len` bytes fits without an eviction.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        class::of(&self.classes, len).is_some_and(|class| {
            let class = &self.classes[class];
            !class.free.is_empty() || self.bytes + class.page_cost(self.page_bytes) <= self.bytes_max
        })
    }

    /// Keeps a copy of `owner`'s new value instead of the one in `cell`, if that still belongs to `owner`. A
    /// value that fits is overwritten in place: that counts as a use, so the copy stays as recent as one that
    /// is read.
    pub(crate) fn replace(&mut self, cell: u32, owner: Owner, crc: u32, value: &[u8]) -> u32 {
        if !self.is_owner(cell, owner) {
            return self.insert(owner, crc, value);
        }
        let class = self.pages.pages[self.pages.page_of(cell)].class;
        if class::of(&self.classes, value.len()) != Some(class) {
            self.release(cell, owner);
            return self.insert(owner, crc, value);
        }
        self.use_cell(cell);
        self.fill(cell, crc, value);
        self.stats.inserts += 1;
        debug_assert!(self.is_owner(cell, owner), "a copy that its owner does not find");
        cell
    }

    /// The copy in `cell`, if it is still `owner`'s. Counts as a use.
    pub(crate) fn get(&mut self, cell: u32, owner: Owner, len: u32, crc: u32) -> Option<&[u8]> {
        if !self.is_owner(cell, owner) {
            self.stats.misses += 1;
            return None;
        }
        self.stats.hits += 1;
        self.use_cell(cell);
        let held = self.pages.cell(cell);
        // The owner's copy is dropped or replaced whenever its value is, so a mismatch would mean another
        // value.
        assert!(held.len == len && held.crc == crc, "a cached copy is not of its owner's value");
        let page = &self.pages.pages[self.pages.page_of(cell)];
        let at = self.pages.place_of(cell) * self.classes[page.class].cell_bytes;
        Some(&page.bytes[at..at + len as usize])
    }

    /// Whether `cell` holds `owner`'s copy.
    pub(crate) fn is_owner(&self, cell: u32, owner: Owner) -> bool {
        cell != NIL
            && self.pages.get(cell).is_some_and(|held| held.state != CellState::Free && held.owner() == owner)
    }

    /// Drops the copy in `cell`, if it is still `owner`'s.
    pub(crate) fn release(&mut self, cell: u32, owner: Owner) {
        if self.is_owner(cell, owner) {
            let class = self.vacate(cell);
            self.classes[class].free.push_front(&mut self.pages, cell);
        }
        debug_assert!(!self.is_owner(cell, owner), "a copy that was dropped is found");
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats { bytes: self.bytes as u64, bytes_max: self.bytes_max as u64, ..self.stats }
    }

    fn fill(&mut self, cell: u32, crc: u32, value: &[u8]) {
        let held = self.pages.cell_mut(cell);
        debug_assert!(held.state != CellState::Free, "a copy in a cell of no owner");
        (held.len, held.crc) = (value.len() as u32, crc); // at most a page
        let (page, place) = (self.pages.page_of(cell), self.pages.place_of(cell));
        let page = &mut self.pages.pages[page];
        let cell_bytes = self.classes[page.class].cell_bytes;
        debug_assert!(value.len() <= cell_bytes, "a value that is longer than its cell");
        let at = place * cell_bytes;
        if page.bytes.len() < at {
            page.bytes.resize(at, 0); // a gap behind a shorter value
        }
        let (over, new) = value.split_at(value.len().min(page.bytes.len() - at));
        page.bytes[at..at + over.len()].copy_from_slice(over);
        page.bytes.extend_from_slice(new);
        debug_assert!(page.bytes.len() <= self.page_bytes, "a page grew");
    }

    fn use_cell(&mut self, cell: u32) {
        self.clock = self.clock.wrapping_add(1);
        let cell_class = self.pages.pages[self.pages.page_of(cell)].class;
        let class = &mut self.classes[cell_class];
        let held = self.pages.cell_mut(cell);
        held.used_at = self.clock;
        let before = core::mem::replace(&mut held.state, CellState::Protected);
        match before {
            CellState::Free => unreachable!("a free cell has no owner"),
            CellState::Probation => class.probation.remove(&mut self.pages, cell),
            CellState::Protected => class.protected.remove(&mut self.pages, cell),
        }
        class.protected.push_front(&mut self.pages, cell);
        if class.is_protected_over() {
            self.demote_one(cell_class);
        }
        debug_assert!(!self.classes[cell_class].is_protected_over(), "too many copies are protected");
    }

    /// Puts the oldest protected copy of a class on probation again.
    fn demote_one(&mut self, class: usize) {
        let class = &mut self.classes[class];
        if let Some(oldest) = class.protected.back() {
            class.protected.remove(&mut self.pages, oldest);
            self.pages.cell_mut(oldest).state = CellState::Probation;
            class.probation.push_front(&mut self.pages, oldest);
        }
    }

    /// A free cell of `class`, taken off its free list. It comes from a new page, from another class's page,
    /// or from the class's oldest copy, which is evicted.
    fn free_cell(&mut self, class: usize) -> Option<u32> {
        if self.classes[class].free.is_empty() {
            if self.bytes + self.classes[class].page_cost(self.page_bytes) <= self.bytes_max {
                self.add_page(class, Vec::new());
            } else if let Some(victim) = self.page_to_take(class) {
                self.take_pages(class, victim);
            } else {
                let oldest = self.classes[class].oldest()?;
                self.vacate(oldest);
                self.stats.evictions += 1;
                self.classes[class].evictions += 1;
                return Some(oldest);
            }
        }
        let cell = self.classes[class].free.front()?;
        self.classes[class].free.remove(&mut self.pages, cell);
        Some(cell)
    }

    /// The page that `class` should take instead of evicting its own oldest copy.
    fn page_to_take(&mut self, class: usize) -> Option<usize> {
        let starving = self.classes[class].page_count == 0;
        if !starving {
            // A page's worth of evictions must pass between checks: moving a page must stay rarer than the
            // evictions that it saves.
            if self.classes[class].evictions < self.classes[class].cells_per_page() {
                return None;
            }
            self.classes[class].evictions = 0;
        }
        let (age, page) = self.oldest_page(class, if starving { 1 } else { 2 })?;
        let own = self.classes[class].oldest().map_or(0, |cell| self.age(cell));
        // The other copy must be at least a quarter older, or pages would wander between equal classes.
        (starving || age > own + own / 4).then_some(page)
    }

    /// The page of the oldest copy of all classes but `class` that have `page_count_min` pages, and that
    /// copy's age. A class without any copy comes first.
    fn oldest_page(&self, class: usize, page_count_min: u32) -> Option<(u64, usize)> {
        let others = self.classes.iter().enumerate();
        others
            .filter(|(other, lists)| *other != class && lists.page_count >= page_count_min)
            .filter_map(|(_, lists)| match lists.oldest() {
                Some(oldest) => Some((self.age(oldest), oldest)),
                None => lists.free.front().map(|free| (u64::MAX, free)),
            })
            .max_by_key(|&(age, _)| age)
            .map(|(age, cell)| (age, self.pages.page_of(cell)))
            .inspect(|&(_, page)| assert!(self.pages.pages[page].class != class, "a cell on another's list"))
    }

    fn age(&self, cell: u32) -> u64 {
        u64::from(self.clock.wrapping_sub(self.pages.cell(cell).used_at))
    }

    /// Gives `class` the page `victim`, and takes further pages from other classes while its bookkeeping
    /// would exceed the budget. May end without a page, if the whole budget has no room for one of this
    /// class.
    fn take_pages(&mut self, class: usize, victim: usize) {
        assert!(self.pages.pages[victim].class != class, "a class takes no page of its own");
        let mut bytes = self.drop_page(victim);
        self.stats.page_moves += 1;
        let cost = self.classes[class].page_cost(self.page_bytes);
        while self.bytes + cost > self.bytes_max {
            let Some((_, oldest)) = self.oldest_page(class, 1) else {
                return;
            };
            bytes = self.drop_page(oldest);
            self.stats.page_moves += 1;
        }
        self.add_page(class, bytes);
    }

    fn add_page(&mut self, class: usize, bytes: Vec<u8>) {
        let bytes = if bytes.capacity() == 0 { Vec::with_capacity(self.page_bytes) } else { bytes };
        let cell_count = self.classes[class].cells_per_page() as usize;
        let page = SlabPage { class, bytes, cells: vec![FREE_CELL; cell_count] };
        let at = match self.pages_free.pop() {
            Some(at) => at as usize,
            None => {
                self.pages.pages.push(SlabPage::default());
                self.pages.pages.len() - 1
            }
        };
        assert!(self.pages.pages[at].cells.is_empty(), "a page in use is cut anew");
        assert!(page.bytes.capacity() >= self.page_bytes, "a page of another size");
        self.pages.pages[at] = page;
        self.bytes += self.classes[class].page_cost(self.page_bytes);
        assert!(self.bytes <= self.bytes_max, "cache budget passed");
        self.classes[class].page_count += 1;
        for place in (0..cell_count).rev() {
            let cell = self.pages.number(at, place);
            self.classes[class].free.push_front(&mut self.pages, cell);
        }
    }

    /// Drops a page and every copy in it; returns its bytes for reuse.
    fn drop_page(&mut self, at: usize) -> Vec<u8> {
        let class = self.pages.pages[at].class;
        assert!(!self.pages.pages[at].cells.is_empty(), "a page dropped twice");
        for place in 0..self.pages.pages[at].cells.len() {
            let cell = self.pages.number(at, place);
            if self.pages.cell(cell).state == CellState::Free {
                self.classes[class].free.remove(&mut self.pages, cell);
            } else {
                self.vacate(cell);
                self.stats.evictions += 1;
            }
        }
        let page = core::mem::take(&mut self.pages.pages[at]);
        self.pages_free.push(at as u32); // bounded when the slab is made
        let cost = self.classes[class].page_cost(self.page_bytes);
        assert!(self.bytes >= cost && self.classes[class].page_count > 0, "a page that was not counted");
        self.bytes -= cost;
        self.classes[class].page_count -= 1;
        while self.classes[class].is_protected_over() {
            self.demote_one(class);
        }
        page.bytes
    }

    /// Takes a cell in use off its list; then it has no owner and is on no list. Returns its class.
    fn vacate(&mut self, cell: u32) -> usize {
        let class = self.pages.pages[self.pages.page_of(cell)].class;
        let lists = &mut self.classes[class];
        match self.pages.cell(cell).state {
            CellState::Free => unreachable!("a free cell vacated"),
            CellState::Probation => lists.probation.remove(&mut self.pages, cell),
            CellState::Protected => lists.protected.remove(&mut self.pages, cell),
        }
        *self.pages.cell_mut(cell) = FREE_CELL;
        debug_assert!(self.stats.cells > 0, "more copies dropped than made");
        self.stats.cells -= 1;
        class
    }

    /// # Panics
    /// When pages, lists and counters contradict each other.
    pub(crate) fn invariants(&self) {
        assert!(self.bytes <= self.bytes_max);
        let mut page_counts = vec![0_u32; self.classes.len()];
        let mut bytes = 0;
        for page in self.pages.pages.iter().filter(|page| !page.cells.is_empty()) {
            let class = &self.classes[page.class];
            page_counts[page.class] += 1;
            bytes += class.page_cost(self.page_bytes);
            assert!(page.bytes.capacity() >= self.page_bytes && page.bytes.len() <= self.page_bytes);
            assert!(page.cells.len() == class.cells_per_page() as usize);
            assert!(page.cells.iter().all(|cell| cell.len as usize <= class.cell_bytes));
        }
        assert!(bytes == self.bytes);
        let mut cells = 0;
        for (at, class) in self.classes.iter().enumerate() {
            assert!(class.page_count == page_counts[at]);
            let count = |list: &List, state| {
                let counted = list.iter(&self.pages).inspect(|&cell| {
                    assert!(self.pages.pages[self.pages.page_of(cell)].class == at);
                    assert!(self.pages.cell(cell).state == state);
                });
                let counted = counted.count();
                assert!(counted == list.count() as usize);
                counted
            };
            let used =
                count(&class.probation, CellState::Probation) + count(&class.protected, CellState::Protected);
            let free = count(&class.free, CellState::Free);
            assert!(class.free.iter(&self.pages).all(|cell| self.pages.cell(cell).len == 0));
            assert!(used + free == (class.page_count * class.cells_per_page()) as usize);
            assert!(!class.is_protected_over());
            cells += used as u64;
        }
        assert!(cells == self.stats.cells);
        let given_back = self.pages.pages.iter().filter(|page| page.cells.is_empty()).count();
        assert!(given_back == self.pages_free.len(), "every page is cut or free");
    }

    /// Every cell in use with its owner.
    pub(crate) fn owners(&self) -> impl Iterator<Item = (u32, Owner)> {
        self.classes
            .iter()
            .flat_map(|class| class.probation.iter(&self.pages).chain(class.protected.iter(&self.pages)))
            .map(|cell| (cell, self.pages.cell(cell).owner()))
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} cells, {} of {} bytes)", self.stats.cells, self.bytes, self.bytes_max)
    }
}

#[cfg(test)]
mod tests;
