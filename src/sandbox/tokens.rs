//! The sandbox's own tokenizer: simple enough to check by hand, and the whole truth about what its providers count.
//!
//! A token is a run of at most four ASCII letters or digits, or any other single character (a Han character, a sign, a
//! line end). One space directly before a token belongs to it; a space before another space is a token of its own. The
//! tokens of a text joined give the text again, so a stream of one chunk per token adds up to the whole answer. It
//! resembles no real vendor's tokenizer, on purpose: a gateway must take the provider's word for its count.

/// The most letters or digits that one token holds.
const WORD: usize = 4;

/// The tokens of a text, in order.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (token, after) = rest.split_at(first_length(rest));
        rest = after;
        Some(token)
    })
}

/// How many tokens a text is.
pub fn count(text: &str) -> u64 {
    tokens(text).map(|_| 1).sum()
}

fn first_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let joined = bytes.first() == Some(&b' ') && bytes.get(1).is_some_and(|next| *next != b' ');
    let start = usize::from(joined);
    let word = bytes[start..].iter().take(WORD).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if word > 0 {
        return start + word;
    }
    start + text[start..].chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(tokens(text).collect::<Vec<_>>(), expected, "{text:?}");
        assert_eq!(count(text), expected.len() as u64);
    }

    #[test]
    fn words_are_cut_at_four_and_signs_stand_alone() {
        check("", &[]);
        check("hello you", &["hell", "o", " you"]);
        check("你好, a", &["你", "好", ",", " a"]);
        check("a  b\n", &["a", " ", " b", "\n"]);
        check(" ", &[" "]);
        check(" é", &[" é"]);
        check("x=12345", &["x", "=", "1234", "5"]);
    }

    proptest! {
        #[test]
        fn the_tokens_joined_are_the_text(text in "\\PC{0,80}[ \\n]{0,3}\\PC{0,20}") {
            prop_assert_eq!(tokens(&text).collect::<String>(), text.clone());
            prop_assert!(tokens(&text).all(|token| !token.is_empty()));
        }
    }
}
