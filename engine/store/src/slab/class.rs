//! Size classes: how pages are cut into cells, and the lists of each class.

use super::cell::Cell;
use crate::list::List;
use alloc::vec::Vec;

/// Bytes of the smallest cell; much shorter values are kept in the index.
pub(super) const CELL_BYTES_MIN: usize = 64;
/// The value size that this store is benchmarked with: it gets a class without waste.
const CELL_BYTES_EXACT: usize = 4096;

/// Cells of one size.
#[derive(Debug)]
pub(super) struct SizeClass {
    pub(super) cell_bytes: usize,
    cells_per_page: u32,
    pub(super) page_count: u32,
    pub(super) free: List,
    /// Copies used once since they came, most recent in front.
    pub(super) probation: List,
    /// Copies used again, most recent in front.
    pub(super) protected: List,
    /// Evictions since the class last looked for a page of another class.
    pub(super) evictions: u32,
}

impl SizeClass {
    pub(super) fn cells_per_page(&self) -> u32 {
        self.cells_per_page
    }
    /// Bytes that a page of this class takes from the budget.
    pub(super) fn page_cost(&self, page_bytes: usize) -> usize {
        page_bytes + self.cells_per_page as usize * size_of::<Cell>()
    }
    /// Four fifths of the class: in the last fifth new copies can prove themselves.
    pub(super) fn protected_max(&self) -> u64 {
        u64::from(self.page_count) * u64::from(self.cells_per_page) * 4 / 5
    }
    pub(super) fn is_protected_over(&self) -> bool {
        u64::from(self.protected.count()) > self.protected_max()
    }
    /// The copy to evict first.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.probation.back().or(self.protected.back())
    }
}

/// The classes for a page size, smallest first. The page is cut into 2, 3, 4, 5, 7, 9, 12 … cells: the cells
/// of each class are about a fifth smaller than those of the next larger one.
pub(super) fn cut(page_bytes: usize) -> Vec<SizeClass> {
    let exact = page_bytes / CELL_BYTES_EXACT;
    let mut classes = Vec::new();
    let mut count = 2;
    while page_bytes / count >= CELL_BYTES_MIN {
        let cell_bytes = page_bytes / count / 8 * 8;
        let cells_per_page = count as u32; // at most a page of the smallest cells
        assert!(cell_bytes > 0 && cell_bytes * count <= page_bytes, "cells that do not fit their page");
        classes.push(SizeClass {
            cell_bytes,
            cells_per_page,
            page_count: 0,
            free: List::EMPTY,
            probation: List::EMPTY,
            protected: List::EMPTY,
            evictions: 0,
        });
        let next = (count + 1).max((count * 5).div_ceil(4));
        count = if count < exact && exact < next { exact } else { next };
    }
    classes.reverse();
    assert!(
        classes.is_sorted_by(|smaller, larger| smaller.cell_bytes < larger.cell_bytes),
        "two classes of one size"
    );
    assert!(
        classes.first().is_some_and(|smallest| smallest.cell_bytes >= CELL_BYTES_MIN),
        "no class of cells"
    );
    classes
}

/// The smallest class whose cells hold `len` bytes; `None` past half a page.
pub(super) fn of(classes: &[SizeClass], len: usize) -> Option<usize> {
    let at = classes.partition_point(|class| class.cell_bytes < len);
    (at < classes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_grow_by_about_a_quarter_and_one_fits_4_kib() {
        for page_bytes in [16 << 10, 64 << 10, 1 << 20] {
            let classes = cut(page_bytes);
            assert!(classes.iter().any(|class| class.cell_bytes == 4096), "{page_bytes}");
            assert_eq!(classes.last().map(|class| class.cell_bytes), Some(page_bytes / 2));
            assert!(classes[0].cell_bytes <= 80);
            for pair in classes.windows(2) {
                assert!(pair[0].cell_bytes < pair[1].cell_bytes);
                let few = pair[1].cells_per_page <= 4; // halves, thirds and quarters lie further apart
                assert!(few || pair[1].cell_bytes * 100 <= pair[0].cell_bytes * 142, "{pair:?}");
            }
            for class in &classes {
                assert!(class.cell_bytes * class.cells_per_page as usize <= page_bytes);
            }
            for len in [23, 64, 4095, 4096, 4097, page_bytes / 2] {
                assert!(of(&classes, len).is_some_and(|at| classes[at].cell_bytes >= len));
            }
            assert_eq!(of(&classes, page_bytes / 2 + 1), None);
        }
        assert_eq!(cut(1 << 20)[of(&cut(1 << 20), 4096).expect("fits")].cells_per_page, 256);
    }
}
