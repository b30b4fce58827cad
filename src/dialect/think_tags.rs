//! Thoughts that stand in the text between `<think>` and `</think>`, as `MiniMax`, Qwen and local servers send them (dialects.md 6,
//! item 16): only at its beginning, with tags that may be cut anywhere.

use crate::canonical::Delta;

const OPENS: &str = "<think>";
const CLOSES: &str = "</think>";
/// After more white space than this no tag is waited for.
const MOST_BLANKS: usize = 1024;

/// How far a text has been read.
#[derive(Debug, Default)]
pub(super) struct ThinkTags {
    state: State,
    /// What may be the beginning of a tag.
    held: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was said yet that decides.
    #[default]
    Undecided,
    Thinking,
    /// The thought has ended: the line ends behind it are not part of the text.
    Closed,
    Plain,
}

impl ThinkTags {
    /// Takes a piece of text.
    pub(super) fn take(&mut self, piece: &str, out: &mut Vec<Delta>) {
        if self.state == State::Plain {
            return say(piece, Delta::Text, out);
        }
        self.held.push_str(piece);
        if self.state == State::Undecided {
            let begun = self.held.trim_start();
            if let Some(thought) = begun.strip_prefix(OPENS) {
                self.held = thought.to_owned();
                self.state = State::Thinking;
            } else if !OPENS.starts_with(begun) || self.held.len() > MOST_BLANKS {
                self.state = State::Plain;
                return say(&std::mem::take(&mut self.held), Delta::Text, out);
            }
        }
        if self.state == State::Thinking {
            self.think(out);
        }
        if self.state == State::Closed {
            let text = std::mem::take(&mut self.held);
            let text = text.trim_start();
            if !text.is_empty() {
                self.state = State::Plain;
                say(text, Delta::Text, out);
            }
        }
    }

    fn think(&mut self, out: &mut Vec<Delta>) {
        if let Some((thought, text)) = self.held.split_once(CLOSES) {
            say(thought, Delta::Thought, out);
            self.held = text.to_owned();
            self.state = State::Closed;
            return;
        }
        let cut = (1..CLOSES.len()).rev().find(|length| self.held.ends_with(&CLOSES[..*length])).unwrap_or(0);
        let held = self.held.split_off(self.held.len() - cut);
        say(&std::mem::replace(&mut self.held, held), Delta::Thought, out);
    }

    /// Bytes that are held back.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// The text has ended, or something else begins: what was held back was no tag.
    pub(super) fn end(&mut self, out: &mut Vec<Delta>) {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => say(&held, Delta::Thought, out),
            State::Undecided | State::Closed | State::Plain => say(&held, Delta::Text, out),
        }
    }
}

fn say(piece: &str, as_delta: impl FnOnce(String) -> Delta, out: &mut Vec<Delta>) {
    if !piece.is_empty() {
        out.push(as_delta(piece.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The thought and the text of pieces.
    fn read(pieces: &[&str]) -> (String, String) {
        let (mut tags, mut out) = (ThinkTags::default(), Vec::new());
        for piece in pieces {
            tags.take(piece, &mut out);
        }
        tags.end(&mut out);
        let (mut thought, mut text) = (String::new(), String::new());
        for delta in out {
            match delta {
                Delta::Thought(piece) => thought.push_str(&piece),
                Delta::Text(piece) => text.push_str(&piece),
                other => panic!("{other:?}"),
            }
        }
        (thought, text)
    }

    fn check(text: &str, expected: (&str, &str)) {
        let (thought, said) = read(&[text]);
        assert_eq!((thought.as_str(), said.as_str()), expected, "{text}");
    }

    #[test]
    fn item_16_thoughts_in_tags_are_told_from_the_text() {
        check("plain", ("", "plain"));
        check("<think>hm</think>\n\nyes", ("hm", "yes"));
        check("\n<think>\nhm\n</think>yes </think>", ("\nhm\n", "yes </think>"));
        check("a <think>b</think>", ("", "a <think>b</think>"));
        check("<thin", ("", "<thin"));
        check("<think>cut</th", ("cut</th", ""));
        check("<think></think>", ("", ""));
        check("", ("", ""));
    }

    proptest! {
        #[test]
        fn tags_may_be_cut_anywhere(text in "(<think>)?[a<>/thinkü\n ]{0,12}(</think>)?[a<ü\n]{0,9}", cuts in prop::collection::vec(0_usize..60, 0..6)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[&text]));
        }
    }
}
