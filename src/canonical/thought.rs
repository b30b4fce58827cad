//! Thoughts that stand in a text, as local servers without a parser for them send them.

/// What closes a thought.
const CLOSES: &str = "</think>";
const OPENS: &str = "<think>";

/// The thought and what was said behind it, of a text that begins within a thought: templates write the opening tag themselves, so
/// that only the closing one is told (dialects.md 6, item 16). A text that speaks of the tags has the opening one before it, or
/// quotes.
pub fn unopened(text: &str) -> Option<(&str, &str)> {
    let (thought, said) = text.split_once(CLOSES)?;
    let quotes = |c: char| matches!(c, '`' | '"' | '\'');
    let spoken_of = thought.contains(OPENS) || thought.ends_with(quotes) || said.starts_with(quotes);
    (!spoken_of).then(|| (thought, said.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_that_nothing_opens_ends_at_its_tag() {
        assert_eq!(unopened("hm\n</think>\n\nyes"), Some(("hm\n", "yes")));
        assert_eq!(unopened("</think>yes"), Some(("", "yes")));
        assert_eq!(unopened("hm</think>"), Some(("hm", "")));
        for plain in ["yes", "", "Write <think> and </think>.", "End it with `</think>`.", "Say \"</think>\""] {
            assert_eq!(unopened(plain), None, "{plain}");
        }
    }
}
