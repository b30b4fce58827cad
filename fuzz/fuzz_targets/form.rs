//! Any bytes as a form with a file of sound: refused, or sent on as a form that says the same, of a length that is held for.
#![no_main]

use bytes::Bytes;
use http::HeaderMap;
use libfuzzer_sys::fuzz_target;
use tokenbroker::canonical::{Direct, Takes};
use tokenbroker::catalog::capability::Quirks;
use tokenbroker::dialect::{Dialect, OpenAiDirect as Speaks, Outgoing};
use tokenbroker::frontend::{Frontend, OpenAiDirect, multipart, sound};

fuzz_target!(|body: &[u8]| {
    let length = sound::length(body);
    assert!(length.expected <= length.most, "what is expected is held for");
    let fields = multipart::fields(body, "x").unwrap_or_default();
    assert!(fields.windows(2).all(|pair| pair[0].value.end < pair[1].value.start), "fields stand one behind another");
    let headers: HeaderMap =
        [(http::header::CONTENT_TYPE, "multipart/form-data; boundary=x".parse().expect("a header"))].into_iter().collect();
    for ((frontend, dialect), _) in
        OpenAiDirect::ALL.iter().zip(Speaks::ALL).zip(Direct::ALL).filter(|(_, direct)| direct.takes == Takes::Sound)
    {
        let Ok(request) = frontend.parse(Bytes::copy_from_slice(body), &headers) else { continue };
        let out = Outgoing::to("up", Quirks::default());
        let sent = dialect.encode(&request, &out);
        let again = frontend.parse(sent.clone(), &headers).expect("what goes out is a form");
        assert_eq!((again.model.as_str(), again.pieces, again.stream), ("up", request.pieces, request.stream));
        assert_eq!(dialect.encode(&again, &out), sent);
        let file = |body: &[u8]| {
            let fields = multipart::fields(body, "x").expect("a form");
            let file = fields.iter().find(|field| field.name == "file").expect("a file").value.clone();
            body[file].to_vec()
        };
        assert_eq!(file(&sent), file(body), "the file passes as it is");
    }
});
