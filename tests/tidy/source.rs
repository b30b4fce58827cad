//! One source file as text: comments, literals and tests blanked, and the words and paths in what is left.
//!
//! Not a parser: it knows where a literal, a comment and an item end, and no more.

use std::collections::BTreeSet;

/// One file of `src`.
pub(crate) struct Source {
    /// Below `src`, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Comments and literals blanked, tests kept.
    pub(crate) whole: String,
    /// Comments, literals and tests blanked.
    pub(crate) code: String,
    /// Literals outside tests.
    pub(crate) literals: Vec<String>,
    /// Files that only tests compile, without the `.rs`.
    pub(crate) test_files: Vec<String>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let (whole, literals) = blank_words(text);
        let (mut code, mut test_files) = (whole.clone(), Vec::new());
        let mut from = 0;
        while let Some(start) = code[from..].find("#[cfg(test)]").map(|i| from + i) {
            let end = item_end(&code, start + "#[cfg(test)]".len());
            let item = code[start..end].to_owned();
            if let Some((_, name)) = item.strip_suffix(';').and_then(|item| item.split_once("mod ")) {
                test_files.push(format!("{}{}", folder_of(path), name.trim()));
            }
            blank(&mut code, start, end);
            from = end;
        }
        let outside = |at: usize| code.as_bytes().get(at) == Some(&b'"');
        let literals = literals.into_iter().filter(|(at, _)| outside(*at)).map(|(_, literal)| literal).collect();
        Self { path: path.to_owned(), text: text.to_owned(), whole, code, literals, test_files }
    }

    /// The first name in the file's path: the top-level module.
    pub(crate) fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// How many `super` lead from this file to the crate's root.
    pub(crate) fn depth(&self) -> usize {
        match self.path.as_str() {
            "lib.rs" | "main.rs" => 0,
            path => path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count(),
        }
    }

    /// The files of the modules that it declares, without the `.rs`.
    pub(crate) fn declared(&self) -> Vec<String> {
        let names = behind(&self.whole, "mod").filter_map(|after| after.strip_prefix(' ')?.split_once(';'));
        let names = names.map(|(name, _)| name).filter(|name| name.chars().all(is_word));
        names.map(|name| format!("{}{name}", folder_of(&self.path))).collect()
    }

    /// Its path without the ending that says it is a file.
    pub(crate) fn stem(&self) -> &str {
        let stem = self.path.trim_end_matches(".rs");
        stem.strip_suffix("/mod").unwrap_or(stem)
    }

    /// The same file with nothing in it but its text: what only tests compile is not held to the borders.
    pub(crate) fn without_code(mut self) -> Self {
        self.code.clear();
        self.literals.clear();
        self
    }
}

/// Where the modules declared in a file live.
fn folder_of(path: &str) -> String {
    let stem = path.trim_end_matches(".rs");
    match stem.trim_end_matches("mod") {
        "lib" | "main" => String::new(),
        folder if folder.ends_with('/') => folder.to_owned(),
        _ => format!("{stem}/"),
    }
}

/// The text with comments and the insides of literals as blanks, and the string literals with where they begin.
fn blank_words(text: &str) -> (String, Vec<(usize, String)>) {
    let bytes = text.as_bytes();
    let mut code = text.to_owned();
    let mut literals = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let (kept, length) = match bytes[at] {
            b'/' if rest.starts_with("//") => (0, rest.find('\n').unwrap_or(rest.len())),
            b'/' if rest.starts_with("/*") => (0, block_comment(rest)),
            b'"' => (1, string_literal(&text[..at], rest)),
            b'\'' => (1, char_literal(rest)),
            _ => (0, 0),
        };
        if length == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        if bytes[at] == b'"' {
            literals.push((at, rest[1..length].trim_end_matches('#').trim_end_matches('"').to_owned()));
        }
        blank(&mut code, at + kept, at + length);
        at += length;
    }
    (code, literals)
}

/// Blanks a range, but keeps its lines.
pub(crate) fn blank(code: &mut String, start: usize, end: usize) {
    let blanks: String = code[start..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    code.replace_range(start..end, &blanks);
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let step = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

/// The length of a string literal, plain or raw, from its opening quote on.
fn string_literal(before: &str, rest: &str) -> usize {
    let opening = before.trim_end_matches('#');
    if opening.ends_with('r') {
        let close = format!("\"{}", "#".repeat(before.len() - opening.len()));
        return rest[1..].find(&close).map_or(rest.len(), |i| 1 + i + close.len());
    }
    let mut escaped = false;
    let end = rest.bytes().skip(1).position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    });
    end.map_or(rest.len(), |i| i + 2)
}

/// The length of a character literal; 0 for a lifetime.
fn char_literal(rest: &str) -> usize {
    let mut inside = rest[1..].chars();
    match inside.next() {
        Some('\\') => rest[3..].find('\'').map_or(0, |i| i + 4),
        Some(first) if inside.next() == Some('\'') => 2 + first.len_utf8(),
        _ => 0,
    }
}

/// Where the item behind an attribute ends: at its semicolon or its closing brace.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_i32;
    for (i, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && matches!(byte, b';' | b'}') {
            return i + 1;
        }
    }
    code.len()
}

// === words and paths ===

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What follows each place where `word` stands alone.
pub(crate) fn behind<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = &'c str> {
    code.match_indices(word).filter_map(move |(at, _)| {
        let after = &code[at + word.len()..];
        let joined = code[..at].ends_with(is_word) || word.ends_with(is_word) && after.starts_with(is_word);
        (!joined).then_some(after)
    })
}

pub(crate) fn has_word(code: &str, word: &str) -> bool {
    behind(code, word).next().is_some()
}

/// The first name of a path, or of every path in a group.
pub(crate) fn first_names(path: &str) -> BTreeSet<&str> {
    let path = path.trim_start();
    let Some(group) = path.strip_prefix('{') else {
        return path.split(|c| !is_word(c)).next().into_iter().filter(|name| !name.is_empty()).collect();
    };
    let (mut depth, mut names, mut start) = (0_i32, BTreeSet::new(), 0);
    for (i, byte) in group.bytes().enumerate() {
        if depth == 0 && matches!(byte, b',' | b'}') {
            names.extend(first_names(&group[start..i]));
            start = i + 1;
        }
        match byte {
            b'}' if depth == 0 => break,
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    names
}
