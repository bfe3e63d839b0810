//! Finds the known word that a misspelt word probably means.

/// The word of `known` that `wrong` probably means.
pub fn nearest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|word| (edit_distance(wrong, word), word))
        .filter(|&(distance, word)| distance <= 2.max(word.len() / 3))
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein distance, one row at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::ROWS;

    #[test]
    fn misspelt_keys_find_their_neighbours() {
        let names = || ROWS.iter().map(|row| row.name);
        assert_eq!(nearest("node.coers", names()), Some("node.cores"));
        assert_eq!(nearest("node.data-dir", names()), Some("node.data_dir"));
        assert_eq!(nearest("node.x", names()), Some("node.id"));
        assert_eq!(nearest("completely.different", names()), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }
}
