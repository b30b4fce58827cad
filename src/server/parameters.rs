//! Parameters of a path: `name=value&…` with percent signs decoded. A name that is not known is an error and not dropped:
//! a question with a misspelt filter would be answered as if it had none.

/// A parameter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrongParameter {
    pub(super) name: String,
    /// What would be read.
    pub(super) expected: String,
}

impl WrongParameter {
    pub(super) fn new(name: &str, expected: impl Into<String>) -> Self {
        Self { name: name.to_owned(), expected: expected.into() }
    }
}

/// What was given, by name.
pub(super) struct Given(Vec<(String, String)>);

impl Given {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Reads the part of a path behind its question mark; each of the `known` names may stand in it once.
pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Given, WrongParameter> {
    let mut given = Given(Vec::new());
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let shown = decoded(name).unwrap_or_else(|| name.to_owned());
        if !known.contains(&shown.as_str()) {
            return Err(WrongParameter::new(&shown, format!("one of {}", known.join(", "))));
        }
        if given.get(&shown).is_some() {
            return Err(WrongParameter::new(&shown, "it once"));
        }
        let Some(value) = decoded(value) else {
            return Err(WrongParameter::new(&shown, "UTF-8 with two hexadecimal digits after each percent sign"));
        };
        given.0.push((shown, value));
    }
    Ok(given)
}

/// The same, but for names that are not known, which pass by.
pub(super) fn parse_known(query: Option<&str>, known: &[&str]) -> Result<Given, WrongParameter> {
    let is_known = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        decoded(name).is_some_and(|name| known.contains(&name.as_str()))
    };
    let pairs: Vec<&str> = query.unwrap_or_default().split('&').filter(is_known).collect();
    parse(Some(&pairs.join("&")), known)
}

/// As forms encode: a plus is a blank. `None` where it is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))?.try_into().ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_decoded() {
        let given = parse(Some("a=x%2Cy+z&b=%e4%bb%b7&&c"), &["a", "b", "c"]).ok().unwrap();
        assert_eq!([given.get("a"), given.get("b"), given.get("c")], [Some("x,y z"), Some("价"), Some("")]);
        assert!(parse(None, &[]).is_ok());
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "\\PC{0,40}|[a%0-9=&+]{0,20}") {
            if let Ok(given) = parse(Some(&text), &["a"]) {
                prop_assert!(text.contains('a') || text.contains('%') || given.get("a").is_none());
            }
        }
    }
}
