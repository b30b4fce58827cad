//! Golden files of every pair of a client's shape and a provider's: `tests/fixtures/pairs/CLIENT/PROVIDER.*`. Each holds, under a
//! line `=== NAMES` for every case, the exact bytes that go out; `tests/fixtures/pairs/README.md` says how they are laid out, and
//! against what they were reviewed.
//!
//! `TOKENBROKER_WRITE_GOLDEN=1 cargo test --lib pairs` writes them anew, for the next reader to review: without that the tests
//! compare.

mod answers;
mod errors;
mod requests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use http::HeaderMap;

use crate::canonical::Shape;
use crate::canonical::conversation::OwnTool;
use crate::frontend::{self, About, FrontendRef};

/// Lines of a difference that are shown, on each side.
const SHOWN: usize = 12;

/// What goes out in a pair's cases, each by its name.
struct Golden {
    file: PathBuf,
    cases: Vec<(String, String)>,
}

impl Golden {
    /// Of a client and of what it is told by, or of whom it is told to.
    fn of(client: FrontendRef, file: &str) -> Self {
        Self { file: folder(client).join(file), cases: Vec::new() }
    }

    fn add(&mut self, name: &str, told: String) {
        self.cases.push((name.to_owned(), told));
    }

    /// Cases that end alike stand together, where the first of them does.
    fn text(&self) -> String {
        let mut alike: Vec<(Vec<&str>, &str)> = Vec::new();
        for (name, told) in &self.cases {
            match alike.iter_mut().find(|(_, other)| other == told) {
                Some((names, _)) => names.push(name),
                None => alike.push((vec![name], told)),
            }
        }
        let mut text = String::new();
        for (names, told) in alike {
            let _ = write!(text, "=== {}\n{}\n\n", names.join(", "), told.trim_end_matches('\n'));
        }
        text
    }

    /// Answers what differs from the file, which is written anew where that is asked for.
    fn differs(&self) -> Option<String> {
        let text = self.text();
        if std::env::var_os("TOKENBROKER_WRITE_GOLDEN").is_some() {
            std::fs::write(&self.file, &text).unwrap();
        }
        let there = std::fs::read_to_string(&self.file).unwrap_or_default();
        (there != text).then(|| format!("{}\n{}", self.file.display(), difference(&there, &text)))
    }
}

/// Holds all files of a kind to what goes out.
fn hold(files: impl IntoIterator<Item = Golden>) {
    let differing: Vec<String> = files.into_iter().filter_map(|golden| golden.differs()).collect();
    assert!(
        differing.is_empty(),
        "{}\nwrite them anew and review what changed: TOKENBROKER_WRITE_GOLDEN=1 cargo test --lib pairs",
        differing.join("\n")
    );
}

/// The first place where two texts part, with the case that it is in.
fn difference(there: &str, here: &str) -> String {
    let (there, here): (Vec<&str>, Vec<&str>) = (there.lines().collect(), here.lines().collect());
    let same = there.iter().zip(&here).take_while(|(there, here)| there == here).count();
    let case = here[..same.min(here.len())].iter().rev().find(|line| line.starts_with("=== ")).unwrap_or(&"=== (the first)");
    let shown = |lines: &[&str], sign: char| {
        lines.iter().skip(same).take(SHOWN).fold(String::new(), |shown, line| shown + &format!("{sign} {line}\n"))
    };
    format!("line {}, in {case}\n{}{}", same + 1, shown(&there, '-'), shown(&here, '+'))
}

fn folder(client: FrontendRef) -> PathBuf {
    fixtures().join("pairs").join(client.shape().word())
}

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The files of a folder with this extension, by their names.
fn files(folder: &PathBuf, extension: &str) -> BTreeMap<String, Vec<u8>> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|other| other == extension));
    wanted.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap())).collect()
}

fn clients() -> impl Iterator<Item = FrontendRef> {
    Shape::CLIENTS.into_iter().map(|shape| frontend::of(Some(shape), true, &HeaderMap::new()))
}

/// Every client with every shape of a provider.
fn pairs() -> impl Iterator<Item = (FrontendRef, Shape)> {
    clients().flat_map(|client| Shape::ENDPOINTS.into_iter().map(move |shape| (client, shape)))
}

/// The answer's own facts, the same in every case.
fn about() -> About {
    About {
        id: "req_1".to_owned(),
        model: "up".to_owned(),
        created: 1_790_000_000,
        wants_usage: true,
        asked: Bytes::from_static(br#"{"model":"auto","input":"Hi."}"#),
        // Fixtures with a call of it are of a client that declared it so; others have none.
        own_tools: vec![OwnTool {
            function: "apply_patch".to_owned(),
            name: "apply_patch".to_owned(),
            namespace: None,
            custom: true,
        }],
    }
}

/// JSON in lines that can be read, its members in their order and its values as they were written: what fits in a line stands in one.
fn laid_out(json: &str) -> String {
    const WIDTH: usize = 140;
    fn lay(json: &str, indent: usize, out: &mut String) {
        let json = json.trim();
        let inner = json.get(1..json.len().saturating_sub(1)).filter(|inner| !inner.trim().is_empty());
        let (Some(inner), true) = (inner, json.starts_with(['{', '['])) else { return out.push_str(json) };
        if indent + json.chars().count() <= WIDTH {
            return out.push_str(json);
        }
        out.push_str(&json[..1]);
        for (nth, member) in members(inner, ',').into_iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            let _ = write!(out, "{comma}\n{:1$}", "", indent + 2);
            match (json.starts_with('{'), &members(member, ':')[..]) {
                (true, [key, ..]) => {
                    let _ = write!(out, "{}: ", key.trim());
                    lay(&member[key.len() + 1..], indent + 2, out);
                }
                _ => lay(member, indent + 2, out),
            }
        }
        let _ = write!(out, "\n{:1$}{2}", "", indent, &json[json.len() - 1..]);
    }
    let mut out = String::new();
    lay(json, 0, &mut out);
    out
}

/// What stands between the signs that are in no string and in no further bracket.
fn members(json: &str, sign: char) -> Vec<&str> {
    let (mut parts, mut from, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0_u32, false, false);
    for (at, c) in json.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ if c == sign && depth == 0 => {
                parts.push(&json[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&json[from..]);
    parts
}

#[test]
fn what_is_laid_out_says_the_same_in_the_same_order() {
    let long = format!(r#"{{"b":[1.0,{{"x":"a,b:{{\"","y":[]}}],"a":"{}","c":{{}}}}"#, "é".repeat(140));
    let laid = laid_out(&long);
    let expected =
        format!("{{\n  \"b\": [1.0,{{\"x\":\"a,b:{{\\\"\",\"y\":[]}}],\n  \"a\": \"{}\",\n  \"c\": {{}}\n}}", "é".repeat(140));
    assert_eq!(laid, expected);
    assert_eq!(laid_out(r#" {"a":1} "#), r#"{"a":1}"#);
}
