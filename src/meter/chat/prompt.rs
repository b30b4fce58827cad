//! A prompt while a template writes it.

/// What a template has written: texts, and how many marks stand between them.
pub(super) struct Prompt {
    /// The words that are one token each, where the template writes them.
    known: &'static [&'static str],
    texts: Vec<String>,
    open: String,
    marks: u64,
}

impl Prompt {
    pub(super) fn new(known: &'static [&'static str]) -> Self {
        Self { known, texts: Vec::new(), open: String::new(), marks: 0 }
    }

    /// What somebody said: ordinary text, whatever it looks like.
    pub(super) fn text(&mut self, text: &str) {
        self.open.push_str(text);
    }

    /// The template's own words, in which its marks are marks.
    pub(super) fn fixed(&mut self, words: &str) {
        let mut rest = words;
        while let Some((at, mark)) = self.next_mark(rest) {
            self.open.push_str(&rest[..at]);
            self.end_text();
            self.marks += 1;
            rest = &rest[at + mark.len()..];
        }
        self.open.push_str(rest);
    }

    fn next_mark(&self, text: &str) -> Option<(usize, &'static str)> {
        self.known.iter().filter_map(|mark| Some((text.find(mark)?, *mark))).min_by_key(|(at, _)| *at)
    }

    fn end_text(&mut self) {
        let text = std::mem::take(&mut self.open);
        if !text.is_empty() {
            self.texts.push(text);
        }
    }

    /// The texts, to be counted each by itself, and the marks.
    pub(super) fn into_parts(mut self) -> (Vec<String>, u64) {
        self.end_text();
        (self.texts, self.marks)
    }
}
