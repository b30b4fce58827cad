//! Columns for people: as wide as their widest cell, numbers to the right.

use std::fmt;

/// Which side of its column a cell stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows of cells in aligned columns. The first row may be a heading; nothing sets it apart but its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    columns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no row yet.
    pub fn new(columns: impl IntoIterator<Item = Align>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row. Cells beyond the columns are dropped; missing ones are empty.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().filter_map(|row| row.get(column)).map(|cell| columns_of(cell)).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        for (n, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.columns).zip(&widths) {
                let gap = " ".repeat(width - columns_of(cell));
                match align {
                    Align::Left => line.extend([cell, gap.as_str(), "  "]),
                    Align::Right => line.extend([gap.as_str(), cell, "  "]),
                }
            }
            write!(f, "{}{}", if n > 0 { "\n" } else { "" }, line.trim_end())?;
        }
        Ok(())
    }
}

/// Items one after the other, a comma between them, on lines of at most `width`. An item stays whole where it fits a line; one
/// that does not begins a line of its own and is broken between its words.
pub fn flowed(items: impl IntoIterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        let whole = columns_of(&item) < width;
        let words: Vec<&str> = if whole { vec![&item] } else { item.split(' ').collect() };
        for (n, word) in words.into_iter().enumerate() {
            let glue = if n == 0 { ", " } else { " " };
            // A comma may still follow whatever stands on a line.
            let fits = |line: &String| columns_of(line) + glue.len() + columns_of(word) < width;
            match lines.last_mut() {
                Some(line) if (whole || n > 0) && fits(line) => line.extend([glue, word]),
                Some(line) => {
                    line.push_str(if n == 0 { "," } else { "" });
                    lines.push(word.to_owned());
                }
                None => lines.push(word.to_owned()),
            }
        }
    }
    lines
}

/// How many columns of a terminal a text takes: Han and other wide characters take two.
pub(super) fn columns_of(text: &str) -> usize {
    let wide = |c: char| matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe4f}' | '\u{ff00}'..='\u{ff60}' | '\u{20000}'..='\u{3fffd}');
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_flow_within_their_width() {
        let check = |items: &[&str], expected: &[&str]| {
            let lines = flowed(items.iter().map(ToString::to_string), 12);
            assert_eq!(lines, expected);
            assert!(lines.iter().all(|line| columns_of(line) <= 12), "{lines:?}");
        };
        check(&[], &[]);
        check(&["a", "b"], &["a, b"]);
        check(&["aaaaaaaaaa", "b"], &["aaaaaaaaaa,", "b"]);
        check(&["aaaa", "bbbb", "c"], &["aaaa, bbbb,", "c"]);
        check(&["a", "none is set up here", "b"], &["a,", "none is set", "up here, b"]);
        check(&["中文中文", "中"], &["中文中文,", "中"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        table.row(["backend", "cost", "note"]);
        table.row(["a/b", "10.5", ""]);
        table.row(["中文", "1", "x"]);
        assert_eq!(table.to_string(), "backend  cost  note\na/b      10.5\n中文        1  x");
    }
}
