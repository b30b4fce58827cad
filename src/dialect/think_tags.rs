//! Thoughts that stand in the text between `<think>` and `</think>`, as `MiniMax`, Qwen and local servers send them (dialects.md 6,
//! item 16): only at its beginning, with tags that may be cut anywhere.

use crate::canonical::{Delta, thought};

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
    /// It is known to begin within a thought, if it thinks: all is kept until the tag that ends it.
    Unopened,
    Thinking,
    /// The thought has ended: the line ends behind it are not part of the text.
    Closed,
    Plain,
}

impl ThinkTags {
    /// Of a site whose template writes the opening tag itself.
    pub(super) fn unopened() -> Self {
        Self { state: State::Unopened, held: String::new() }
    }

    /// Takes a text that is whole, which may begin within a thought.
    pub(super) fn take_whole(&mut self, text: &str, out: &mut Vec<Delta>) {
        match thought::unopened(text) {
            Some((thought, said)) if matches!(self.state, State::Undecided | State::Unopened) && self.held.is_empty() => {
                self.state = State::Plain;
                say(thought, Delta::Thought, out);
                say(said, Delta::Text, out);
            }
            _ => self.take(text, out),
        }
    }

    /// Takes a piece of text.
    pub(super) fn take(&mut self, piece: &str, out: &mut Vec<Delta>) {
        if self.state == State::Plain {
            return say(piece, Delta::Text, out);
        }
        let looked_at = self.held.len().saturating_sub(CLOSES.len());
        self.held.push_str(piece);
        if self.state == State::Unopened {
            // One that opens its thought all the same is read as it is told.
            if self.held.trim_start().starts_with(OPENS) {
                self.state = State::Undecided;
            } else if self.held[self.held.floor_char_boundary(looked_at)..].contains(CLOSES) {
                self.state = State::Thinking;
            } else {
                return;
            }
        }
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

    /// It is known to be in the middle of a thought.
    pub(super) fn thinks(&self) -> bool {
        self.state == State::Thinking
    }

    /// The text has ended, or something else begins: what was held back was no tag.
    pub(super) fn end(&mut self, out: &mut Vec<Delta>) {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => say(&held, Delta::Thought, out),
            State::Undecided | State::Unopened | State::Closed | State::Plain => say(&held, Delta::Text, out),
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

    /// Neighbours of one kind as one.
    fn joined(deltas: Vec<Delta>) -> Vec<Delta> {
        let mut all: Vec<Delta> = Vec::new();
        for delta in deltas {
            match (all.last_mut(), delta) {
                (Some(Delta::Text(text)), Delta::Text(piece)) | (Some(Delta::Thought(text)), Delta::Thought(piece)) => {
                    text.push_str(&piece);
                }
                (_, delta) => all.push(delta),
            }
        }
        all
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

    /// Found by a reviewer: a template that opens the thought itself made what was thought the answer.
    #[test]
    fn item_16_a_thought_that_nothing_opens_is_none_of_the_answer() {
        let whole = |text: &str| {
            let (mut tags, mut out) = (ThinkTags::default(), Vec::new());
            tags.take_whole(text, &mut out);
            tags.end(&mut out);
            out
        };
        let (thought, text) = (|text: &str| Delta::Thought(text.into()), |text: &str| Delta::Text(text.into()));
        assert_eq!(whole("hm\n</think>\n\nyes"), [thought("hm\n"), text("yes")]);
        assert_eq!(whole("<think>hm</think>yes"), [thought("hm"), text("yes")]);
        assert_eq!(whole("Write <think> and </think>."), [text("Write <think> and </think>.")]);
        let streamed = |pieces: &[&str]| {
            let (mut tags, mut out) = (ThinkTags::unopened(), Vec::new());
            for piece in pieces {
                tags.take(piece, &mut out);
            }
            tags.end(&mut out);
            joined(out)
        };
        assert_eq!(streamed(&["h", "m\n</th", "ink>", "\n\nye", "s"]), [thought("hm\n"), text("yes")]);
        assert_eq!(streamed(&["<thi", "nk>hm</think>", "yes"]), [thought("hm"), text("yes")]);
        assert_eq!(streamed(&["ye", "s"]), [text("yes")], "it did not think");
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
