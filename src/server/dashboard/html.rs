//! Writes HTML that cannot be broken out of: markup is only ever a literal of this program, everything else is text and is
//! escaped. The types see to it: [`Html::raw`] takes `&'static str`, and what a client or a table says is none.
//!
//! A template engine would be one more dependency for four short pieces of markup.

use crate::feed::words::plain;

/// Markup that is being written.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of this program's own.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// A text, or the value of an attribute in double quotes.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for character in plain(text).chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
        self
    }

    /// A text between markup of this program's own.
    pub(super) fn around(&mut self, before: &'static str, text: &str, after: &'static str) -> &mut Self {
        self.raw(before).text(text).raw(after)
    }

    /// Markup that was written before.
    pub(super) fn append(&mut self, other: &Html) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut html = Html::default();
        html.text(text);
        html.into_string()
    }

    #[test]
    fn a_text_is_shown_and_never_read_as_markup() {
        assert_eq!(
            written("<script>alert('1')</script>&\"x\""),
            "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;x&quot;"
        );
        assert_eq!(written("a\0b\u{202e}c"), "a\u{fffd}b\u{fffd}c");
    }

    proptest! {
        #[test]
        fn no_text_ends_an_attribute_or_begins_a_tag(text in any::<String>()) {
            let html = written(&text);
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
            prop_assert!(!html.chars().any(char::is_control), "an event of the feed is one line");
            let back = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'").replace("&amp;", "&");
            prop_assert_eq!(back, plain(&text));
        }
    }
}
