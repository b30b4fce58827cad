//! Comma-separated values from outside: bounded in size, columns and rows, and told where they are wrong.

use std::collections::BTreeMap;
use std::io::Read;

use csv::{ReaderBuilder, StringRecord, Trim};

/// No file is longer, so this is what reading one takes at most.
pub const MOST_BYTES: u64 = 64 << 20;
/// No table is wider.
const MOST_COLUMNS: usize = 512;
/// What spreadsheets put before a text in UTF-8.
const MARK: &str = "\u{feff}";

/// Why a table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("it has more than {} MiB: split it by month", MOST_BYTES >> 20)]
    TooLong,
    #[error("it has {0} columns, and no bill has more than {MOST_COLUMNS}")]
    TooWide(usize),
    #[error("it has no heading")]
    Empty,
    #[error("line {line} is not in UTF-8: save it as such (a spreadsheet does, as \"CSV UTF-8\")")]
    NotUtf8 { line: u64 },
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    #[error("it is no table of comma-separated values: {0}")]
    Malformed(String),
}

/// A heading, and how to find a cell by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heading(BTreeMap<String, usize>);

impl Heading {
    /// The place of the first of these columns that is there. Case, and spaces around a name, do not count.
    pub(super) fn place(&self, names: &[String]) -> Option<usize> {
        names.iter().find_map(|name| self.0.get(&folded(name)).copied())
    }
}

fn folded(name: &str) -> String {
    name.trim_start_matches(MARK).trim().to_lowercase()
}

/// A row, and the line on which it begins.
pub(super) struct Row<'t> {
    pub(super) line: u64,
    record: &'t StringRecord,
}

impl Row<'_> {
    /// A cell; empty where the row is shorter than the heading.
    pub(super) fn cell(&self, place: Option<usize>) -> &str {
        place.and_then(|place| self.record.get(place)).unwrap_or("").trim()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.record.iter().all(|cell| cell.trim().is_empty())
    }
}

/// Reads a table: hands over its heading once, and then each row.
pub(super) fn read<T, E: From<TableError>>(
    from: impl Read,
    heading: impl FnOnce(&Heading) -> Result<T, E>,
    mut each: impl FnMut(&T, &Row<'_>) -> Result<(), E>,
) -> Result<T, E> {
    // One byte more than may be there shows that there is too much.
    let mut counted = Counted { inner: from.take(MOST_BYTES + 1), read: 0 };
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(&mut counted);
    let names = reader.headers().map_err(wrong)?.clone();
    if names.iter().all(|name| name.trim_start_matches(MARK).is_empty()) {
        return Err(TableError::Empty.into());
    }
    if names.len() > MOST_COLUMNS {
        return Err(TableError::TooWide(names.len()).into());
    }
    let mut places = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        places.entry(folded(name)).or_insert(place);
    }
    let made = heading(&Heading(places))?;
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(wrong)? {
        let line = record.position().map_or(0, csv::Position::line);
        each(&made, &Row { line, record: &record })?;
    }
    drop(reader);
    if counted.read > MOST_BYTES { Err(TableError::TooLong.into()) } else { Ok(made) }
}

fn wrong(error: csv::Error) -> TableError {
    let line = error.position().map_or(1, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(error) => TableError::Io(error),
        csv::ErrorKind::Utf8 { .. } => TableError::NotUtf8 { line },
        other => TableError::Malformed(format!("{other:?}")),
    }
}

struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let got = self.inner.read(into)?;
        self.read += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells of two columns of each row.
    fn cells(text: &[u8]) -> Result<Vec<(u64, String, String)>, TableError> {
        let mut found = Vec::new();
        read(
            text,
            |heading| Ok::<_, TableError>([heading.place(&["Day".into()]), heading.place(&["模型".into(), "model".into()])]),
            |places, row| {
                found.push((row.line, row.cell(places[0]).to_owned(), row.cell(places[1]).to_owned()));
                Ok(())
            },
        )?;
        Ok(found)
    }

    #[test]
    fn columns_are_found_by_any_of_their_names_and_short_rows_have_empty_cells() {
        let text = "\u{feff}DAY , x,模型\r\n 2026-11-01 ,1,\"a, \"\"b\"\"\"\n2026-11-02\n";
        let row = |line, day: &str, model: &str| (line, day.to_owned(), model.to_owned());
        assert_eq!(cells(text.as_bytes()).unwrap(), [row(2, "2026-11-01", "a, \"b\""), row(3, "2026-11-02", "")]);
    }

    #[test]
    fn what_is_no_such_table_is_refused_with_what_is_wrong() {
        let told = |bytes: &[u8]| cells(bytes).unwrap_err().to_string();
        assert!(told(b"").contains("no heading"));
        assert!(told(b"day,model\n2026-11-01,\xd6\xd0\n").contains("line 2 is not in UTF-8"));
        assert!(told(&vec![b','; 600]).contains("columns"));
        let long = [b"day,model\n".to_vec(), vec![b'a'; usize::try_from(MOST_BYTES).unwrap()]].concat();
        assert!(told(&long).contains("64 MiB"));
    }
}
