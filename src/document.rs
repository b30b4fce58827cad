//! Reading a TOML file so that every problem is found at once, each with its place and with what would be accepted.
//!
//! serde stops at the first wrong value; an operator with five typos would need five runs. So configuration and table
//! are read from the parsed tree through [`Section`], which notes a [`Problem`] and goes on. A name nobody asked for is
//! a problem too (with the nearest name that exists). Values set by environment variables are laid over the tree
//! before it is read and are named by their variable.

mod plain;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use plain::Plain;

/// What is accepted where the syntax is wrong.
const SYNTAX: &str = "valid TOML";

/// Where a wrong value stands. An option of the command line goes by what is typed for it (`--listen`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    File {
        file: String,
        line: usize,
        column: usize,
    },
    /// A file that has no lines to point at, as it cannot be read.
    Unread {
        file: String,
    },
    Environment {
        variable: String,
    },
    Option {
        option: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Unread { file } => f.write_str(file),
            Place::Environment { variable } => write!(f, "environment variable {variable}"),
            Place::Option { option } => write!(f, "option {option}"),
        }
    }
}

/// One thing that is wrong in a file, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub place: Place,
    /// The dotted path of the value (`providers.deepseek.base_url`); empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub wrong: String,
    /// What would be accepted.
    pub accepted: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.wrong)?;
        if !self.accepted.is_empty() {
            write!(f, "; accepted: {}", self.accepted)?;
        }
        Ok(())
    }
}

/// A parsed file and the problems found in it so far.
#[derive(Debug)]
pub struct Document<'t> {
    file: String,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
    /// Dotted path to the variable that set it.
    variables: BTreeMap<String, String>,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Document<'t> {
    /// Parses a file. A syntax error becomes a problem and what could be read stays readable.
    pub fn parse(file: &str, text: &'t str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self { file: file.to_owned(), text, root, variables: BTreeMap::new(), problems: RefCell::default() };
        for error in errors {
            document.note(error.span(), "", error.message().to_owned(), SYNTAX.into());
        }
        document
    }

    /// Lays a value over the tree, as an environment variable does. The text is read as a TOML value where it is one,
    /// else as a string.
    pub fn set(&mut self, path: &[String], variable: &str, text: &'t str) {
        let value = match DeValue::parse(text) {
            Ok(value) => value,
            Err(_) => Spanned::new(0..0, DeValue::String(text.into())),
        };
        self.variables.insert(path.join("."), variable.to_owned());
        let Some((last, parents)) = path.split_last() else {
            return;
        };
        let mut table = self.root.get_mut();
        for parent in parents {
            let key = Spanned::new(0..0, parent.clone().into());
            let entry = table.entry(key).or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
            if !entry.get_ref().is_table() {
                *entry.get_mut() = DeValue::Table(DeTable::new());
            }
            let DeValue::Table(inner) = entry.get_mut() else {
                return;
            };
            table = inner;
        }
        table.insert(Spanned::new(0..0, last.clone().into()), value);
    }

    /// The whole file as a section.
    pub fn root(&self) -> Section<'_, 't> {
        Section { document: self, table: self.root.get_ref(), path: String::new(), span: 0..0, asked: RefCell::default() }
    }

    /// Every problem found, [`in_order`].
    pub fn into_problems(self) -> Vec<Problem> {
        in_order(self.problems.into_inner())
    }

    fn note(&self, span: Option<Range<usize>>, path: &str, wrong: String, accepted: String) {
        let place = self.place(span, path);
        self.problems.borrow_mut().push(Problem { place, path: path.to_owned(), wrong, accepted });
    }

    /// A table that only variables made has no place in the file: any variable inside it, or beside what is missing in
    /// it, tells where it comes from.
    fn variable_near(&self, path: &str) -> Option<&String> {
        let within = |table: &str| {
            let inside = |set: &str| set.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
            self.variables.iter().find(|(set, _)| inside(set)).map(|(_, variable)| variable)
        };
        within(path).or_else(|| within(path.rsplit_once('.')?.0))
    }

    fn place(&self, span: Option<Range<usize>>, path: &str) -> Place {
        let from_file = span.as_ref().is_some_and(|span| !span.is_empty());
        let exact = self.variables.get(path);
        let variable = if from_file { exact } else { exact.or_else(|| self.variable_near(path)) };
        if let Some(variable) = variable {
            return Place::Environment { variable: variable.clone() };
        }
        let before = self.text.get(..span.map_or(0, |s| s.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place::File { file: self.file.clone(), line, column }
    }
}

/// Problems in the order of their files, each once. Of a line that is no TOML only the first is told: the others are what the
/// parser made of the pieces.
pub fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort();
    let line = |problem: &Problem| match &problem.place {
        Place::File { file, line, .. } => Some((file.clone(), *line)),
        Place::Unread { .. } | Place::Environment { .. } | Place::Option { .. } => None,
    };
    let broken: BTreeSet<_> = problems.iter().filter(|problem| problem.accepted == SYNTAX).filter_map(line).collect();
    let mut told = BTreeSet::new();
    problems.retain(|problem| line(problem).is_none_or(|line| !broken.contains(&line) || told.insert(line)));
    problems.dedup();
    problems
}

/// One table of a document, read member by member.
#[derive(Debug)]
pub struct Section<'d, 't> {
    document: &'d Document<'t>,
    table: &'d DeTable<'t>,
    path: String,
    span: Range<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'d, 't> Section<'d, 't> {
    /// The dotted path of this section.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The names of this section's members, for tables whose names are the operator's own.
    pub fn names(&self) -> impl Iterator<Item = &'d str> {
        self.table.keys().map(|k| k.get_ref().as_ref())
    }

    /// A text, where present.
    pub fn text(&self, name: &'static str) -> Option<String> {
        self.value(name)?;
        self.named_text(name)
    }

    /// A text whose name is the operator's own; see [`Section::names`].
    pub fn named_text(&self, name: &str) -> Option<String> {
        let (_, value) = self.table.iter().find(|(key, _)| key.get_ref() == name)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            // A variable's value such as `8080` reads as a number before anybody knows that a text is wanted.
            DeValue::Integer(number) if self.set_by_variable(name) => Some(number.as_str().to_owned()),
            DeValue::Float(number) if self.set_by_variable(name) => Some(number.as_str().to_owned()),
            DeValue::Boolean(truth) if self.set_by_variable(name) => Some(truth.to_string()),
            other => self.wrong_type(name, other, "a text in quotes"),
        }
    }

    /// A text that must be there; its absence is a problem.
    pub fn required_text(&self, name: &'static str, accepted: &str) -> Option<String> {
        self.present(name, accepted).then(|| self.text(name)).flatten()
    }

    /// A number written as a decimal, as its own digits: exact, never a float. Also accepted in quotes.
    pub fn decimal(&self, name: &'static str) -> Option<String> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => self.wrong_type(name, other, "a plain decimal number"),
        }
    }

    /// A whole number of zero or more, within `range`.
    pub fn whole(&self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(name)?;
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = value.get_ref() else {
            return self.wrong_type(name, value.get_ref(), &accepted);
        };
        let digits = number.as_str().replace('_', "");
        match u64::from_str_radix(&digits, number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                self.problem(name, format!("{digits} is out of range"), accepted);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn truth(&self, name: &'static str) -> Option<bool> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::Boolean(truth) => Some(*truth),
            other => self.wrong_type(name, other, "true or false"),
        }
    }

    /// A date or an instant, as it is written.
    pub fn date_text(&self, name: &'static str) -> Option<String> {
        let value = self.value(name)?;
        match value.get_ref() {
            DeValue::Datetime(date) => Some(date.to_string()),
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => self.wrong_type(name, other, "a date (2026-11-22) or an instant (2026-11-22T00:00:00Z)"),
        }
    }

    /// A list of dates, each as it is written; empty where absent.
    pub fn date_texts(&self, name: &'static str) -> Vec<String> {
        const ACCEPTED: &str = "a list of dates, such as [2026-10-01, 2026-10-02]";
        self.items(name, ACCEPTED, |item| match item {
            DeValue::Datetime(date) => Some(date.to_string()),
            DeValue::String(text) => Some(text.clone().into_owned()),
            _ => None,
        })
    }

    /// A list of pairs of a date and a decimal, both as they are written; empty where absent.
    pub fn dated_decimals(&self, name: &'static str) -> Vec<(String, String)> {
        const ACCEPTED: &str = "a list of pairs, such as [[\"2026-10-30\", 6.6529]]";
        self.items(name, ACCEPTED, |item| {
            let DeValue::Array(pair) = item else { return None };
            let [date, number] = pair.iter().map(Spanned::get_ref).collect::<Vec<_>>()[..] else { return None };
            let date = match date {
                DeValue::Datetime(date) => date.to_string(),
                DeValue::String(text) => text.clone().into_owned(),
                _ => return None,
            };
            let number = match number {
                DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
                DeValue::Float(number) => number.as_str(),
                _ => return None,
            };
            Some((date, number.to_owned()))
        })
    }

    /// The items of a list that `read` understands; the others are problems.
    fn items<T>(&self, name: &'static str, accepted: &str, read: impl Fn(&DeValue<'_>) -> Option<T>) -> Vec<T> {
        let Some(value) = self.value(name) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type::<()>(name, value.get_ref(), accepted);
            return Vec::new();
        };
        let one = |item: &Spanned<DeValue<'_>>| read(item.get_ref()).or_else(|| self.wrong_type(name, item.get_ref(), accepted));
        items.iter().filter_map(one).collect()
    }

    /// A list of texts; empty where absent.
    pub fn texts(&self, name: &'static str) -> Vec<String> {
        const ACCEPTED: &str = "a list of texts, such as [\"a\", \"b\"]";
        self.items(name, ACCEPTED, |item| item.as_str().map(str::to_owned))
    }

    /// One of a closed list of words. `words` gives each value's word.
    pub fn word<T: Copy>(&self, name: &'static str, words: &[(T, &str)]) -> Option<T> {
        let text = self.text(name)?;
        let found = words.iter().find(|(_, word)| *word == text).map(|(value, _)| *value);
        if found.is_none() {
            let list = words.iter().map(|(_, word)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
            let near = nearest(&text, words.iter().map(|(_, word)| *word));
            let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
            self.problem(name, format!("{text:?} is not known{hint}"), list);
        }
        found
    }

    /// A table inside this one, where present.
    pub fn section(&self, name: &'static str) -> Option<Section<'d, 't>> {
        self.value(name)?;
        self.named_section(name)
    }

    /// A table whose name is the operator's own; see [`Section::names`].
    pub fn named_section(&self, name: &str) -> Option<Section<'d, 't>> {
        let (_, value) = self.table.iter().find(|(key, _)| key.get_ref() == name)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.inner(table, self.path_of(name), value.span())),
            other => {
                let wrong = format!("this is {}", article(other.type_str()));
                self.document.note(Some(value.span()), &self.path_of(name), wrong, format!("a table [{}]", self.path_of(name)));
                None
            }
        }
    }

    /// The tables of an array of tables (`[[name]]`); empty where absent.
    pub fn sections(&self, name: &'static str) -> Vec<Section<'d, 't>> {
        let Some(value) = self.value(name) else {
            return Vec::new();
        };
        let path = self.path_of(name);
        let accepted = format!("tables [[{path}]]");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type::<()>(name, value.get_ref(), &accepted);
            return Vec::new();
        };
        let table = |(n, item): (usize, &'d Spanned<DeValue<'t>>)| match item.get_ref() {
            DeValue::Table(table) => Some(self.inner(table, format!("{path}[{n}]"), item.span())),
            other => self.wrong_type(name, other, &accepted),
        };
        items.iter().enumerate().filter_map(table).collect()
    }

    /// Notes a problem with one member (or, where it is absent, with this section).
    pub fn problem(&self, name: &str, wrong: impl Into<String>, accepted: impl Into<String>) {
        let span = self.table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value.span());
        self.document.note(Some(span.unwrap_or(self.span.clone())), &self.path_of(name), wrong.into(), accepted.into());
    }

    /// Whether a member is there.
    pub fn has(&self, name: &str) -> bool {
        self.table.keys().any(|key| key.get_ref() == name)
    }

    /// Ends the reading: every name that nobody asked for is a problem.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for (key, value) in self.table.iter().filter(|(key, _)| !asked.contains(&key.get_ref().as_ref())) {
            let near = nearest(key.get_ref(), asked.iter().copied());
            let hint = near.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
            let span = if key.span().is_empty() { value.span() } else { key.span() };
            let mut known = asked.clone();
            known.sort_unstable();
            self.document.note(Some(span), &self.path_of(key.get_ref()), format!("unknown name{hint}"), known.join(", "));
        }
    }

    fn inner(&self, table: &'d DeTable<'t>, path: String, span: Range<usize>) -> Section<'d, 't> {
        Section { document: self.document, table, path, span, asked: RefCell::default() }
    }

    fn value(&self, name: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(name);
        self.table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    fn present(&self, name: &'static str, accepted: &str) -> bool {
        let there = self.has(name);
        if !there {
            self.asked.borrow_mut().push(name);
            self.problem(name, "missing", accepted);
        }
        there
    }

    fn set_by_variable(&self, name: &str) -> bool {
        self.document.variables.contains_key(&self.path_of(name))
    }

    fn wrong_type<T>(&self, name: &str, value: &DeValue<'_>, accepted: &str) -> Option<T> {
        self.problem(name, format!("this is {}", article(value.type_str())), accepted);
        None
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}

/// The known name nearest to a mistyped one, where one is near enough to be meant.
pub fn nearest<'n>(typed: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let score = |name: &&str| (strsim::jaro_winkler(&typed.to_lowercase(), &name.to_lowercase()) * 1000.0).round();
    let best = known.into_iter().map(|name| (score(&name), name)).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))?;
    (best.0 >= 800.0).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(&Section<'_, '_>)) -> Vec<String> {
        let document = Document::parse("t.toml", text);
        let root = document.root();
        read(&root);
        root.finish();
        document.into_problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_problem_is_found_at_once_with_its_place() {
        let found = problems("port = \"x\"\nhots = 1\n[inner]\nflag = 3\n", |root| {
            root.whole("port", 1..=65_535);
            root.text("host");
            let inner = root.section("inner").unwrap();
            inner.truth("flag");
            inner.required_text("name", "a name");
            inner.finish();
        });
        assert_eq!(
            found,
            [
                "t.toml:1:8: port: this is a string; accepted: a whole number from 1 to 65535",
                "t.toml:2:1: hots: unknown name (did you mean \"host\"?); accepted: host, inner, port",
                "t.toml:3:1: inner.name: missing; accepted: a name",
                "t.toml:4:8: inner.flag: this is an integer; accepted: true or false",
            ]
        );
    }

    #[test]
    fn a_decimal_keeps_its_digits() {
        let document = Document::parse("t.toml", "a = 0.10\nb = 1_000\nc = \"2.5\"\n");
        let root = document.root();
        assert_eq!(root.decimal("a").as_deref(), Some("0.10"));
        assert_eq!(root.decimal("b").as_deref(), Some("1000"));
        assert_eq!(root.decimal("c").as_deref(), Some("2.5"));
    }

    #[test]
    fn a_variable_overrides_the_file_and_is_named() {
        let mut document = Document::parse("t.toml", "[server]\nlisten = \"a\"\nlimit = 1\n");
        document.set(&["server".into(), "listen".into()], "X__SERVER__LISTEN", "8080");
        document.set(&["server".into(), "limit".into()], "X__SERVER__LIMIT", "many");
        let root = document.root();
        let server = root.section("server").unwrap();
        assert_eq!(server.text("listen").as_deref(), Some("8080"));
        server.whole("limit", 0..=9);
        drop((root, server));
        let found: Vec<_> = document.into_problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["environment variable X__SERVER__LIMIT: server.limit: this is a string; accepted: a whole number from 0 to 9"]
        );
    }

    #[test]
    fn broken_syntax_is_a_problem_with_its_line() {
        let found = problems("a = 1\nb = = 2\n", |root| {
            root.whole("a", 0..=9);
        });
        assert!(found.iter().any(|p| p.starts_with("t.toml:2:")), "{found:?}");
    }

    #[test]
    fn a_line_that_is_no_toml_is_told_once_and_other_lines_still_are() {
        let found = problems("listen = 127.0.0.1:8080\nhost = \"a\"\nflag = x[1]\nport = \"x\"\n", |root| {
            root.text("listen");
            root.text("host");
            root.texts("flag");
            root.whole("port", 0..=9);
        });
        assert_eq!(found.len(), 3, "{found:?}");
        for (problem, line) in found.iter().zip([1, 3, 4]) {
            assert!(problem.starts_with(&format!("t.toml:{line}:")), "{found:?}");
        }
        assert!(found[0].contains("accepted: a text in quotes"), "{found:?}");
    }
}
