//! Addresses with places that are filled by whoever runs the gateway: `https://{resource}.example.com/v1`. A place stands in
//! braces; the table says which variable holds what belongs there, for the host of a site is not the same for everybody
//! (providers.md 1, 2026-11-22). One place is no variable's: [`DEPLOYMENT`].

/// The place of what a provider calls the model that is asked for, where it stands in the path.
pub const DEPLOYMENT: &str = "deployment";

/// The longest label of a host (RFC 1035, 2.3.4).
const LONGEST_LABEL: usize = 63;

/// The names of the places in an address, in their order; `None` where a brace lacks its other or holds no plain name.
pub fn places(address: &str) -> Option<Vec<&str>> {
    let (mut names, mut rest) = (Vec::new(), address);
    while let Some(at) = rest.find(['{', '}']) {
        let (name, behind) = rest[at..].strip_prefix('{')?.split_once('}')?;
        let fit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name.is_empty() || !name.bytes().all(fit) {
            return None;
        }
        names.push(name);
        rest = behind;
    }
    Some(names)
}

/// Puts a value at every place that `value` has one for; other places stay.
pub fn filled<'v>(address: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let names = places(address).unwrap_or_default();
    names.into_iter().fold(address.to_owned(), |text, name| match value(name) {
        Some(value) => text.replace(&format!("{{{name}}}"), value),
        None => text,
    })
}

/// Whether a text can be (a part of) a label of a host: 1 to 63 letters, digits and dashes, no dash at either end. Nothing else
/// gets into an address, so that no value can lead to another host than the table's.
pub fn is_label(text: &str) -> bool {
    let fit = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=LONGEST_LABEL).contains(&text.len()) && text.bytes().all(fit) && !text.starts_with('-') && !text.ends_with('-')
}

/// Whether a text can be what a provider calls a model of ours, alone between two slashes of a path: 1 to 128 letters, digits,
/// dashes, underscores, colons and dots, and not dots alone.
pub fn is_deployment(text: &str) -> bool {
    let fit = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(fit) && !text.bytes().all(|b| b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_found_and_filled() {
        let address = "https://{region}-x.example.com/{project}/{region}/{deployment}";
        assert_eq!(places(address).unwrap(), ["region", "project", "region", "deployment"]);
        let value = |name: &str| [("region", "eu"), ("project", "p-1")].into_iter().find(|(n, _)| *n == name).map(|(_, v)| v);
        assert_eq!(filled(address, value), "https://eu-x.example.com/p-1/eu/{deployment}");
        assert_eq!(places("https://example.com").unwrap(), [""; 0]);
        for wrong in ["{", "}", "{}", "{a", "a}", "}{", "{A}", "{a b}", "{{a}}", "{a}}"] {
            assert_eq!(places(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_value_is_one_label() {
        for fit in ["a", "my-resource", "ws0", "A1", &"a".repeat(63)] {
            assert!(is_label(fit), "{fit}");
        }
        for wrong in ["", "-a", "a-", "a.b", "a/b", "a@b", "a:1", "a b", "é", "{a}", "a#", "a?", "a%2e", &"a".repeat(64)] {
            assert!(!is_label(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_deployment_is_one_segment_of_a_path() {
        for fit in ["gpt-5.4", "my_chat", "ep-20260101-x", "a..b", "us.x-v1:0"] {
            assert!(is_deployment(fit), "{fit}");
        }
        for wrong in ["", ".", "..", "a/b", "a b", "a?b", "a#b", "a%2fb", &"a".repeat(129)] {
            assert!(!is_deployment(wrong), "{wrong}");
        }
    }

    proptest! {
        /// Whatever a variable holds: either it is refused, or the address leads into the domain that the table names.
        #[test]
        fn no_value_leads_to_another_domain(value in ".{0,70}") {
            if is_label(&value) {
                let address = filled("https://{resource}.example.com/v1", |_| Some(&value));
                let uri: http::Uri = address.parse().unwrap();
                prop_assert!(uri.host().unwrap().ends_with(".example.com"));
                prop_assert_eq!(uri.path(), "/v1");
            }
        }
    }
}
