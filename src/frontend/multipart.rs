//! Reading a form with files (`multipart/form-data`, RFC 7578 over RFC 2046) that lies whole in memory: where each field stands, so
//! that its bytes can be sent on as they are but for the few that must differ.
//!
//! By our own hand: the crates for it (`multer` first) read a stream and hand out copies, and none says where a field stands in the
//! bytes that came. It is stricter than the RFCs where readers disagree, as another one will read the same bytes and must not find
//! another model in them: nothing stands before the first boundary or behind the last, no head is folded, no field is encoded once
//! more, and no name is quoted in a way that could be read in two.

use std::ops::Range;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use memchr::memmem;

use super::errors::BadRequest;

/// More than any API has.
const MOST_FIELDS: usize = 128;
/// The head of a field: its name, its file's name and type.
const MOST_HEAD: usize = 4_096;
/// RFC 2046, section 5.1.1.
const MOST_BOUNDARY: usize = 70;

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'b> {
    pub name: &'b str,
    /// It is a file.
    pub is_file: bool,
    /// Where its value stands in the body.
    pub value: Range<usize>,
}

/// The boundary that the headers tell.
///
/// # Errors
/// Where they tell none, or none that could be one.
pub fn boundary(headers: &HeaderMap) -> Result<String, BadRequest> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let named = kind.split_once(';').and_then(|(_, rest)| parameters(rest).ok());
    let mut told = named.into_iter().flatten().filter(|(name, _)| name.eq_ignore_ascii_case("boundary"));
    let fits = |boundary: &str| {
        let plain = boundary.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b));
        (1..=MOST_BOUNDARY).contains(&boundary.len()) && plain && !boundary.ends_with(' ')
    };
    match (told.next(), told.next()) {
        (Some((_, boundary)), None) if fits(boundary) => Ok(boundary.to_owned()),
        _ => Err(wrong("the content type must be `multipart/form-data` with one `boundary` of 1 to 70 plain characters")),
    }
}

/// Every field, in the order of the form.
///
/// # Errors
/// When the bytes are no form that everybody reads alike, with what is wrong.
pub fn fields<'b>(body: &'b [u8], boundary: &str) -> Result<Vec<Field<'b>>, BadRequest> {
    let line = format!("\r\n--{boundary}");
    let delimiter = memmem::Finder::new(&line);
    let first = body.strip_prefix(b"\r\n").unwrap_or(body);
    if !first.starts_with(&line.as_bytes()[2..]) {
        return Err(wrong("the body must begin with the boundary of its content type"));
    }
    let mut at = body.len() - first.len() + line.len() - 2;
    let mut fields = Vec::new();
    loop {
        let behind = &body[at..];
        if let Some(rest) = behind.strip_prefix(b"--") {
            let ended = rest.trim_ascii().is_empty();
            return if ended { Ok(fields) } else { Err(wrong("something stands behind the last boundary")) };
        }
        let Some(part) = behind.strip_prefix(b"\r\n") else {
            return Err(wrong("a boundary must end its line, or be the last one with `--` behind it"));
        };
        if fields.len() == MOST_FIELDS {
            return Err(wrong(format!("there are more than {MOST_FIELDS} fields")));
        }
        let begins = body.len() - part.len();
        let head_end = memmem::find(&part[..part.len().min(MOST_HEAD)], b"\r\n\r\n");
        let Some(head_end) = head_end else { return Err(wrong("the head of a field is not closed by an empty line")) };
        let (name, is_file) = head(&part[..head_end])?;
        let value = begins + head_end + 4;
        let Some(end) = delimiter.find(&body[value..]) else { return Err(wrong(format!("the field `{name}` does not end"))) };
        fields.push(Field { name, is_file, value: value..value + end });
        at = value + end + line.len();
    }
}

/// Name of a field, and whether it is a file.
fn head(head: &[u8]) -> Result<(&str, bool), BadRequest> {
    let head = std::str::from_utf8(head).map_err(|_| wrong("the head of a field is not valid UTF-8"))?;
    let mut told = None;
    for line in head.split("\r\n") {
        let named = line.split_once(':').filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token));
        let Some((name, value)) = named else { return Err(wrong("a line in the head of a field has no name")) };
        if line.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return Err(wrong("the head of a field has control characters"));
        }
        if name.eq_ignore_ascii_case("content-transfer-encoding") {
            let plain = ["binary", "8bit", "7bit"].iter().any(|plain| value.trim().eq_ignore_ascii_case(plain));
            if !plain {
                return Err(wrong("a field is encoded once more (content-transfer-encoding): send it as it is"));
            }
        }
        if name.eq_ignore_ascii_case("content-disposition") && told.replace(disposition(value)?).is_some() {
            return Err(wrong("a field says twice what it is (content-disposition)"));
        }
    }
    told.ok_or_else(|| wrong("a field does not say what it is (content-disposition)"))
}

/// What a field is: `form-data; name="file"; filename="a.wav"`.
fn disposition(value: &str) -> Result<(&str, bool), BadRequest> {
    let (kind, rest) = value.split_once(';').unwrap_or((value, ""));
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(wrong("a field is no form-data (content-disposition)"));
    }
    let (mut name, mut is_file) = (None, false);
    for (parameter, text) in parameters(rest)? {
        if parameter.eq_ignore_ascii_case("name") && name.replace(text).is_some() || parameter.eq_ignore_ascii_case("name*") {
            return Err(wrong("a field has two names, or one that is encoded"));
        }
        is_file |= parameter.eq_ignore_ascii_case("filename") || parameter.eq_ignore_ascii_case("filename*");
    }
    let plain = |name: &&str| !name.is_empty() && !name.contains(['\\', '%']);
    name.filter(plain).map(|name| (name, is_file)).ok_or_else(|| wrong("a field has no plain name"))
}

/// Parameters as they follow a value, `; name=value; name="value"`.
fn parameters(mut rest: &str) -> Result<Vec<(&str, &str)>, BadRequest> {
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Ok(all);
        }
        let Some((name, behind)) = rest.split_once('=').filter(|(name, _)| !name.is_empty() && name.bytes().all(is_token)) else {
            return Err(wrong("a parameter in a head has no name"));
        };
        let (value, after) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or_else(|| wrong("a quoted text in a head does not end"))?,
            None => behind.split_at(behind.find([';', ' ', '\t']).unwrap_or(behind.len())),
        };
        // Whether such a quote ends the text is what readers disagree about.
        if value.ends_with('\\') || value.contains('"') || !matches!(after.trim_start().as_bytes().first(), None | Some(b';')) {
            return Err(wrong("a quoted text in a head can be read in two ways"));
        }
        all.push((name, value));
        rest = after;
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte)
}

fn wrong(what: impl Into<String>) -> BadRequest {
    BadRequest {
        message: format!("the body cannot be read as a form: {}", what.into()),
        param: None,
        code: "invalid_multipart",
        position: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<Vec<(String, bool, String)>, String> {
        let text = |field: &Field<'_>| (field.name.to_owned(), field.is_file, body[field.value.clone()].to_owned());
        fields(body.as_bytes(), "x").map(|fields| fields.iter().map(text).collect()).map_err(|bad| bad.message)
    }

    fn told(kind: &str) -> Option<String> {
        let headers: HeaderMap = [(CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect();
        boundary(&headers).ok()
    }

    #[test]
    fn a_boundary_is_told_once_and_plainly() {
        assert_eq!(told("multipart/form-data; boundary=ab-1").as_deref(), Some("ab-1"));
        assert_eq!(told("multipart/form-data;charset=utf-8; BOUNDARY=\"a b:1\"").as_deref(), Some("a b:1"));
        for bad in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"a",
            "multipart/form-data; boundary=\"a \"",
            "multipart/form-data; boundary=a; boundary=b",
            "multipart/form-data; boundary=\"a\\\"b\"",
        ] {
            assert_eq!(told(bad), None, "{bad}");
        }
        assert_eq!(told(&format!("multipart/form-data; boundary={}", "a".repeat(71))), None);
        assert_eq!(boundary(&HeaderMap::new()).unwrap_err().code, "invalid_multipart");
    }

    #[test]
    fn fields_are_where_they_stand() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--x\r\ncontent-type: audio/wav\r\n\
            content-disposition: form-data; filename=\"a;b \\c.wav\"; name=file\r\nContent-Transfer-Encoding: binary\r\n\r\n\r\n--y\r\n\0\r\n--x\r\n\
            Content-Disposition: form-data; name=\"empty\"; filename*=utf-8''a\r\n\r\n\r\n--x--\r\n";
        let field = |name: &str, is_file, value: &str| (name.to_owned(), is_file, value.to_owned());
        let expected = vec![field("model", false, "whisper"), field("file", true, "\r\n--y\r\n\0"), field("empty", true, "")];
        assert_eq!(read(body), Ok(expected.clone()));
        assert_eq!(read(&format!("\r\n{}", body.trim_end())), Ok(expected));
        assert_eq!(read("--x--"), Ok(Vec::new()));
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        let check = |body: &str, says: &str| {
            let found = read(body).unwrap_err();
            assert!(found.contains(says), "{body:?}: {found}");
        };
        let with = |head: &str| format!("--x\r\n{head}\r\n\r\na\r\n--x--");
        check("", "must begin with");
        check("preamble\r\n--x--", "must begin with");
        check("--xy\r\n", "must end its line");
        check("--x\n", "must end its line");
        check("--x--\r\n--x\r\n", "behind the last");
        check("--x\r\nContent-Disposition: form-data; name=a\r\n\r\nvalue", "`a` does not end");
        check("--x\r\nContent-Disposition: form-data; name=a\r\n", "not closed");
        check(
            &format!("--x\r\nContent-Disposition: form-data; name=a\r\nA: {}\r\n\r\na\r\n--x--", "b".repeat(5_000)),
            "not closed",
        );
        check("--x\r\n\r\n\r\n\r\n--x--", "has no name");
        check(&with("Content-Type: text/plain"), "does not say what it is");
        check(&with("Content-Disposition: attachment; name=a"), "no form-data");
        check(&with("Content-Disposition: form-data"), "no plain name");
        check(&with("Content-Disposition: form-data; name=\"\""), "no plain name");
        check(&with("Content-Disposition: form-data; name=\"mod%65l\""), "no plain name");
        check(&with("Content-Disposition: form-data; name=a; name=b"), "two names");
        check(&with("Content-Disposition: form-data; name=a; name*=utf-8''b"), "two names");
        check(&with("Content-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b"), "says twice");
        check(&with("Content-Disposition: form-data;\r\n name=a"), "no plain name");
        check(&with("Content-Disposition: form-data; name=a; filename=\"b\\\"; name=\"model\""), "two ways");
        check(&with("Content-Disposition: form-data; name=\"a\"b"), "two ways");
        check(&with("Content-Disposition: form-data; name=\"a"), "does not end");
        check(&with("Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64"), "encoded once more");
        check(&with("Content-Disposition: form-data; name=a\u{0}b"), "control");
        let many = "--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n".repeat(129);
        check(&format!("{many}--x--"), "more than 128");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, piece in "(--x|\r\n|[a-z;=\": -]){0,40}") {
            let _ = fields(&bytes, "x");
            let _ = fields(format!("--x\r\nContent-Disposition: form-data; {piece}").as_bytes(), "x");
        }

        #[test]
        fn every_value_is_found_as_it_was_written(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..9)) {
            // No value has the boundary in it: whoever writes a form sees to that.
            let mut body = Vec::new();
            for (place, value) in values.iter().enumerate() {
                body.extend(format!("--bound\r\nContent-Disposition: form-data; name=\"f{place}\"\r\n\r\n").bytes());
                body.extend(value);
                body.extend(b"\r\n");
            }
            body.extend(b"--bound--\r\n");
            let found = fields(&body, "bound").unwrap();
            prop_assert_eq!(found.len(), values.len());
            for (place, (field, value)) in found.iter().zip(&values).enumerate() {
                prop_assert_eq!(field.name, format!("f{place}"));
                prop_assert_eq!(&body[field.value.clone()], &value[..]);
            }
        }
    }
}
