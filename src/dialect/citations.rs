//! `annotations` of a text in chat and Responses: of their kinds the one that every client can use, a page that the text names as its
//! source. Chat has it in a member of its own, Responses on the top level. Files and the like are known to their provider alone.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::canonical::Citation;

#[derive(Debug, Deserialize)]
struct Annotation<'b> {
    #[serde(borrow, default)]
    url_citation: Option<&'b RawValue>,
}

#[derive(Debug, Deserialize)]
struct UrlCitation<'b> {
    #[serde(borrow)]
    url: Cow<'b, str>,
    #[serde(borrow, default)]
    title: Option<Cow<'b, str>>,
    #[serde(default)]
    start_index: Option<u64>,
    #[serde(default)]
    end_index: Option<u64>,
}

/// A page of more bytes than these is not told: nobody follows it, and all are kept until the answer ends.
const MOST_BYTES: usize = 8 * 1024;

/// The pages in a text's annotations, whatever else stands there.
pub(super) fn all(annotations: Option<&RawValue>) -> Vec<Citation> {
    let Some(raw) = annotations.map(RawValue::get).filter(|raw| !matches!(*raw, "[]" | "null")) else { return Vec::new() };
    let each = serde_json::from_str::<Vec<&RawValue>>(raw).unwrap_or_default();
    each.into_iter().filter_map(one).collect()
}

/// The page that an annotation is, if it is one.
pub(super) fn one(annotation: &RawValue) -> Option<Citation> {
    let nested = serde_json::from_str::<Annotation<'_>>(annotation.get()).ok()?.url_citation;
    let UrlCitation { url, title, start_index, end_index } = serde_json::from_str(nested.unwrap_or(annotation).get()).ok()?;
    let start = start_index.unwrap_or(0);
    let (title, end) = (title.unwrap_or_default().into_owned(), end_index.unwrap_or(start).max(start));
    (!url.is_empty() && url.len() + title.len() <= MOST_BYTES).then(|| Citation { url: url.into_owned(), title, start, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_in_either_form_and_nothing_else_is() {
        let read = |raw: &str| all(Some(&serde_json::from_str::<Box<RawValue>>(raw).unwrap()));
        let page = |title: &str, start, end| Citation { url: "https://a.test".into(), title: title.into(), start, end };
        let flat = r#"{"type":"url_citation","url":"https://a.test","title":"A","start_index":2,"end_index":5}"#;
        let nested = r#"{"type":"url_citation","url_citation":{"url":"https://a.test","end_index":5}}"#;
        let file = r#"{"type":"file_citation","file_id":"f","index":1}"#;
        assert_eq!(read(&format!("[{flat},{file},{nested},7]")), [page("A", 2, 5), page("", 0, 5)]);
        for none in ["[]", "null", "{}", r#"[{"type":"url_citation"}]"#, r#"[{"url":""}]"#, r#"[{"url":"a","start_index":-1}]"#] {
            assert_eq!(read(none), [], "{none}");
        }
        assert_eq!(read(&format!(r#"[{{"url":"{}"}}]"#, "a".repeat(MOST_BYTES + 1))), []);
        let pretty =
            serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&format!("[{nested}]")).unwrap()).unwrap();
        assert_eq!(read(&pretty), [page("", 0, 5)], "{pretty}");
    }
}
