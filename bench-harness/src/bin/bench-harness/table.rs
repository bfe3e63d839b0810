//! Rows of text as a table of Markdown that is also aligned for a terminal.

/// The table: the first column left-aligned, the others right-aligned.
///
/// # Panics
/// When a row does not have as many cells as the heading.
pub fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        assert_eq!(cells.len(), widths.len(), "a row of another length");
        let mut out = String::from("|");
        for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            if column == 0 {
                out.push_str(&format!(" {cell:<width$} |"));
            } else {
                out.push_str(&format!(" {cell:>width$} |"));
            }
        }
        out + "\n"
    };
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, &width)| {
            let dashes = "-".repeat(width);
            if column == 0 { dashes } else { format!("{}:", &dashes[..width.saturating_sub(1)]) }
        })
        .collect();
    let mut out = line(heading.to_vec());
    out += &line(rule.iter().map(String::as_str).collect());
    for row in rows {
        out += &line(row.iter().map(String::as_str).collect());
    }
    out
}

/// Microseconds as milliseconds.
pub fn milliseconds(us: f64) -> String {
    if us < 10_000.0 { format!("{:.2} ms", us / 1e3) } else { format!("{:.1} ms", us / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "12345".to_owned()]];
        let expected = "\
| name   |   n/s |
| ------ | ----: |
| a      |     1 |
| longer | 12345 |
";
        assert_eq!(table(&["name", "n/s"], &rows), expected);
    }
}
