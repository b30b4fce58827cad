//! A document of the repository as somebody reads it who types what it says: its fenced blocks, the commands in them, what
//! stands in backticks, where its links lead.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A document in Markdown.
pub(crate) struct Page {
    /// Its path in the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block.
pub(crate) struct Block {
    /// What stands behind the fence; empty for a block without a language.
    pub(crate) language: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// Every document that people follow: those at the root and in `docs`. Decisions and results lie in folders below, the
    /// changelog tells and asks for nothing.
    pub(crate) fn all() -> Vec<Self> {
        let within = fs::read_dir(Path::new(ROOT).join("docs")).unwrap();
        let names = within.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let is_page = |name: &String| Path::new(name).extension().is_some_and(|ending| ending == "md");
        let mut paths: Vec<String> = names.filter(is_page).map(|name| format!("docs/{name}")).collect();
        paths.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// The fenced blocks, in order. A fence may be indented, as below a point of a list.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for line in self.text.lines() {
            match (line.trim_start().strip_prefix("```"), open.take()) {
                (Some(_), Some(block)) => blocks.push(block),
                (Some(language), None) => open = Some(Block { language: language.trim().to_owned(), text: String::new() }),
                (None, Some(block)) => open = Some(Block { text: block.text + line + "\n", ..block }),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.path);
        blocks
    }

    /// The text without its fenced blocks.
    fn prose(&self) -> String {
        self.text.split("```").step_by(2).collect()
    }

    /// What stands in backticks in the prose and begins like this.
    pub(crate) fn quoted(&self, beginning: &str) -> Vec<String> {
        let prose = self.prose();
        prose.split('`').skip(1).step_by(2).filter(|text| text.starts_with(beginning)).map(str::to_owned).collect()
    }

    /// Where the links lead that stay within the repository, without the place within the page.
    pub(crate) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        let within = targets.filter(|target| !target.contains("://") && !target.starts_with('#'));
        within.map(|target| target.split('#').next().unwrap_or_default().to_owned()).collect()
    }
}

/// The commands of a block: continued lines joined, lines of comments left out.
pub(crate) fn commands(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The words of a command as a shell takes it: quotes, variables and a comment behind it. An operator is a word of its own.
pub(crate) fn words(line: &str, variables: &BTreeMap<String, String>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('$', None | Some('"')) => {
                let mut name = String::new();
                while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                    name.push(c);
                }
                let value = variables.get(&name).unwrap_or_else(|| panic!("{line}: nothing has set {name:?}"));
                word.get_or_insert_default().push_str(value);
            }
            ('#', None) if word.is_none() => break,
            (' ' | '\t', None) => words.extend(word.take()),
            ('|' | '>' | '<' | '&' | ';', None) => {
                words.extend(word.take());
                words.push(c.to_string());
            }
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "{line}: a quote is not closed");
    words.extend(word);
    words
}
