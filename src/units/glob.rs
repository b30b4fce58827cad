//! Names with `*` for any run of characters, as operators write lists of models.

/// Whether a pattern says this name, all of it. Takes no longer than the product of their lengths, whatever the pattern.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Behind the last star, and what it stands for so far ends here.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((behind, end)) = star {
            star = Some((behind, end + 1));
            (p, n) = (behind, end + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        for (pattern, name, expected) in [
            ("gpt-5", "gpt-5", true),
            ("gpt-5", "gpt-5-mini", false),
            ("gpt-*", "gpt-5-mini", true),
            ("*-mini", "gpt-5-mini", true),
            ("*/gpt-*-m*i", "openai/gpt-5-mini", true),
            ("*/gpt-*-m*x", "openai/gpt-5-mini", false),
            ("a*b*c", "abcbc", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("**", "x", true),
            ("qwen*", "千问", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    /// What a pattern says, in other words.
    fn spelled(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|skipped| spelled(rest, &name[skipped..])),
            [byte, rest @ ..] => name.first() == Some(byte) && spelled(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_star_means(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(matches(&pattern, &name), spelled(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
