//! How a client wants the numbers of its vectors written, for whoever has to know how long an answer will be.

use std::borrow::Cow;

use serde::Deserialize;

use crate::canonical::Request;

/// Whether a request wants the numbers of its vectors in base64 (four bytes each, little-endian; `dialects.md` section 1.5,
/// 2026-11-22), and not written out. To be asked where it matters: it reads the request again.
pub fn wants_base64(request: &Request) -> bool {
    #[derive(Deserialize)]
    struct Wanted<'b> {
        #[serde(borrow)]
        encoding_format: Option<Cow<'b, str>>,
    }
    let wanted = serde_json::from_slice::<Wanted<'_>>(&request.body);
    wanted.is_ok_and(|wanted| wanted.encoding_format.as_deref() == Some("base64"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_encoding_is_read_however_it_is_written() {
        let check = |members: &'static str, expected: bool| {
            let request = Request { body: Bytes::from_static(members.as_bytes()), ..Request::saying("") };
            assert_eq!(wants_base64(&request), expected, "{members}");
        };
        check(r#"{"model":"m","input":["a",{}],"encoding_format":"base64"}"#, true);
        check(r#"{"encoding_format":"b\u0061se64","input":"a"}"#, true);
        check(r#"{"input":"a","encoding_format":"float"}"#, false);
        check(r#"{"input":"\"encoding_format\":\"base64\"","encoding_format":null}"#, false);
        check(r#"{"input":"a"}"#, false);
    }
}
