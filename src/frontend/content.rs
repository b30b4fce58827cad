//! What both shapes write alike in a request: a text or parts of one, links to media, and what to say of something that no other
//! shape has a word for.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

use crate::canonical::Untranslatable;
use crate::canonical::conversation::Source;

/// A frontend does not know in which shape its request would go out.
const ANOTHER: &str = "another shape";

/// Complains of a member or part, named in the client's words.
pub(super) fn cannot(what: impl Into<String>) -> Untranslatable {
    Untranslatable { what: what.into(), shape: ANOTHER }
}

/// Complains of a body that passed as it was and does not read as what its shape is made of.
pub(super) fn unreadable(error: &serde_json::Error) -> Untranslatable {
    cannot(format!("a request that does not read as one ({error})"))
}

/// A text, or an array.
#[derive(Debug)]
pub(super) enum Content<P> {
    Text(String),
    Parts(Vec<P>),
}

impl<'de, P: Deserialize<'de>> Deserialize<'de> for Content<P> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_any(TextOrParts(PhantomData))
    }
}

struct TextOrParts<P>(PhantomData<P>);

impl<'de, P: Deserialize<'de>> Visitor<'de> for TextOrParts<P> {
    type Value = Content<P>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or an array")
    }

    fn visit_str<E>(self, text: &str) -> Result<Content<P>, E> {
        Ok(Content::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Content<P>, E> {
        Ok(Content::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content<P>, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = items.next_element()? {
            parts.push(part);
        }
        Ok(Content::Parts(parts))
    }
}

/// Reads a link, which may hold what it leads to (`data:image/png;base64,...`), with the media type that it tells. `None` where it
/// holds something that is not in base64.
pub(super) fn link(url: String) -> Option<(Source, Option<String>)> {
    let Some(rest) = strip_prefix_ignoring_case(&url, "data:") else {
        return Some((Source::Url(url), None));
    };
    let (head, data) = rest.split_once(',')?;
    let (parameters, coding) = head.rsplit_once(';')?;
    if !coding.trim().eq_ignore_ascii_case("base64") {
        return None;
    }
    let media_type = parameters.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some((Source::Base64(data.to_owned()), Some(media_type).filter(|media_type| !media_type.is_empty())))
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_may_hold_what_it_leads_to() {
        let check = |url: &str, expected: Option<(Source, Option<&str>)>| {
            assert_eq!(link(url.to_owned()), expected.map(|(source, kind)| (source, kind.map(str::to_owned))), "{url}");
        };
        let held = |data: &str| Source::Base64(data.to_owned());
        check("data:image/png;base64,AA==", Some((held("AA=="), Some("image/png"))));
        check("DATA:Image/PNG;charset=utf-8;BASE64,AA==", Some((held("AA=="), Some("image/png"))));
        check("data:;base64,AA==", Some((held("AA=="), None)));
        check("data:text/plain,hello", None);
        check("data:text/plain;charset=utf-8,hello", None);
        check("data:", None);
        check("https://a/b.png?c=data:x;base64,", Some((Source::Url("https://a/b.png?c=data:x;base64,".into()), None)));
        check("é", Some((Source::Url("é".into()), None)));
    }

    #[test]
    fn content_is_a_text_or_an_array() {
        let read = |json: &str| serde_json::from_str::<Option<Content<String>>>(json);
        assert!(matches!(read(r#""a\n""#), Ok(Some(Content::Text(text))) if text == "a\n"));
        assert!(matches!(read(r#"["a","b"]"#), Ok(Some(Content::Parts(parts))) if parts == ["a", "b"]));
        assert!(matches!(read("null"), Ok(None)));
        assert!(read("5").is_err() && read("{}").is_err());
    }
}
