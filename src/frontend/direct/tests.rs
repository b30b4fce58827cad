//! Requests that are no conversation, read by their rows.

use super::*;
use proptest::prelude::*;

fn parsed(body: &str) -> Result<Request, BadRequest> {
    OpenAiDirect::ALL[0].parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new())
}

fn completion(members: &str) -> Result<Request, BadRequest> {
    OpenAiDirect::ALL[1].parse(format!(r#"{{"model":"m",{members}}}"#).into(), &HeaderMap::new())
}

#[test]
fn a_completion_is_bounded_and_every_choice_of_every_prompt_counts() {
    let check = |members: &str, (bound, choices, inputs): (u64, u32, u32)| {
        let request = completion(members).unwrap();
        let found = (request.output_bound.unwrap().get(), request.choices, request.messages);
        assert_eq!(found, (bound, choices, inputs), "{members}");
    };
    check(r#""prompt":"hello""#, (16, 1, 1));
    check(r#""prompt":"hello","max_tokens":null,"n":null"#, (16, 1, 1));
    check(r#""prompt":"hello","max_tokens":0"#, (0, 1, 1));
    check(r#""prompt":["a","b","c"],"max_tokens":9,"n":2"#, (9, 6, 3));
    check(r#""prompt":[1,2,3],"n":2,"best_of":5"#, (16, 5, 1));
    check(r#""prompt":[[1],[2,3]],"best_of":3,"n":1"#, (16, 6, 2));
    let filled = completion(r#""prompt":["ab","c"],"suffix":"xy z","input":7,"dimensions":"x""#).unwrap();
    assert_eq!((filled.text.bytes(), filled.dimensions), (3 + 2 * 4, None), "read with each prompt");
    let streamed = completion(r#""prompt":"a","stream":true,"stream_options":{"include_usage":true}"#).unwrap();
    assert!(streamed.stream && streamed.wants_usage_frame && streamed.members.stream_options.is_some());
    // Found by a reader: another tier has another price, and was held at the usual one.
    let tier = |tier: &str| completion(&format!(r#""prompt":"a","service_tier":"{tier}""#)).unwrap().unpriced;
    assert_eq!(["auto", "default", "flex", "priority"].map(tier), [None, None, None, Some("service_tier")]);
    let bad = |members: &str, code: &str, param: &str| {
        let found = completion(members).unwrap_err();
        assert_eq!((found.code, found.param.as_deref()), (code, Some(param)), "{members}: {}", found.message);
    };
    bad(r#""stream":true"#, "missing_required_parameter", "prompt");
    bad(r#""prompt":null"#, "invalid_value", "prompt");
    bad(r#""prompt":["a",1]"#, "invalid_type", "prompt[1]");
    bad(r#""prompt":"a","max_tokens":-1"#, "invalid_type", "max_tokens");
    bad(r#""prompt":"a","n":0"#, "invalid_type", "n");
    bad(r#""prompt":"a","best_of":129"#, "invalid_type", "best_of");
    bad(r#""prompt":"a","suffix":1"#, "invalid_type", "suffix");
    bad(r#""prompt":"a","stream":1"#, "invalid_type", "stream");
    bad(r#""prompt":"a","Max_Tokens":1"#, "unknown_parameter", "Max_Tokens");
    bad(r#""prompt":"a","max_tokens":1,"max_tokens":900"#, "duplicate_parameter", "max_tokens");
}

fn ranking(members: &str) -> Result<Request, BadRequest> {
    OpenAiDirect::ALL[2].parse(format!(r#"{{"model":"m",{members}}}"#).into(), &HeaderMap::new())
}

#[test]
fn a_query_is_read_with_each_document_and_comes_to_searches() {
    let request = ranking(r#""query":"ab","documents":["xyz",{"text":"uvw","id":"7"},""],"top_n":2"#).unwrap();
    // An object counts as it is written.
    assert_eq!((request.messages, request.text.bytes(), request.pieces), (3, 3 + 23 + 3 * 2, Pieces::exactly(1)));
    // Found by a reader: what stood under some names was not held for.
    let long = ranking(&format!(r#""query":"ab","documents":[{{"id":"{}"}}]"#, "x".repeat(60_000))).unwrap();
    assert!(long.pieces.most > 1, "{:?}", long.pieces);
    let many = vec!["word"; 101];
    let request = ranking(&format!(r#""documents":{},"query":"ab""#, serde_json::to_string(&many).unwrap())).unwrap();
    assert_eq!((request.messages, request.pieces), (101, Pieces::exactly(2)));
    let bad = |members: &str, code: &str, param: &str| {
        let found = ranking(members).unwrap_err();
        assert_eq!((found.code, found.param.as_deref()), (code, Some(param)), "{members}: {}", found.message);
    };
    bad(r#""documents":["a"]"#, "missing_required_parameter", "query");
    bad(r#""query":7,"documents":["a"]"#, "invalid_type", "query");
    bad(r#""query":"a""#, "missing_required_parameter", "documents");
    bad(r#""query":"a","documents":[]"#, "invalid_value", "documents");
    bad(r#""query":"a","documents":"b""#, "invalid_type", "documents");
    bad(r#""query":"a","documents":["b",7]"#, "invalid_type", "documents[1]");
    bad(r#""query":"a","query":"b","documents":["b"]"#, "duplicate_parameter", "query");
    let beyond = serde_json::to_string(&vec![""; 10_001]).unwrap();
    bad(&format!(r#""query":"a","documents":{beyond}"#), "invalid_type", "documents[10000]");
}

fn drawing(members: &str) -> Request {
    OpenAiDirect::ALL[3].parse(format!(r#"{{"model":"m","prompt":"a cat",{members}}}"#).into(), &HeaderMap::new()).unwrap()
}

#[test]
fn images_are_as_many_as_are_wished_and_of_the_kind_that_is_said() {
    use crate::units::{Pixels, Quality, Wanted};
    let check = |members: &str, (n, size, quality): (u64, Wanted<Pixels>, Wanted<Quality>)| {
        let request = drawing(members);
        let found = (request.pieces, u64::from(request.choices), request.image.size, request.image.quality);
        assert_eq!(found, (Pieces::exactly(n), n, size, quality), "{members}");
        assert_eq!((request.output_bound, request.text.bytes()), (None, 5));
    };
    let square = Wanted::This(Pixels { width: 1024, height: 1024 });
    check(r#""user":"u""#, (1, Wanted::Unsaid, Wanted::Unsaid));
    check(r#""n":4,"size":"1024x1024","quality":"h\u0064""#, (4, square, Wanted::This(Quality::Hd)));
    check(r#""n":null,"size":"auto","quality":"best","best_of":9"#, (1, Wanted::Auto, Wanted::Other));
    assert!(drawing(r#""stream":true,"n":1"#).stream && !drawing(r#""input":7"#).stream);
    let unpriced = |members: &str| drawing(members).unpriced;
    assert_eq!((unpriced(r#""partial_images":0"#), unpriced(r#""partial_images":2"#)), (None, Some("partial_images")));
}

#[test]
fn speech_is_as_many_characters_as_its_text_has() {
    let spoken = |input: &str, more: &str| {
        let body = format!(r#"{{"model":"m","input":{input}{more}}}"#);
        OpenAiDirect::ALL[4].parse(body.into(), &HeaderMap::new()).unwrap()
    };
    let check = |input: &str, characters| assert_eq!(spoken(input, "").pieces, Pieces::exactly(characters), "{input}");
    check(r#""hello""#, 5);
    check(r#""""#, 0);
    check(r#""h\u00e9llo 你好 😀""#, 10);
    let told = spoken(r#""hi""#, r#","instructions":"slowly","stream":null,"n":"x""#);
    assert_eq!((told.pieces, told.text.bytes(), told.choices, told.stream), (Pieces::exactly(2), 8, 1, true));
}

#[test]
fn members_of_other_apis_only_pass() {
    let request = parsed(r#"{"model":"m","input":"a","prompt":7,"prompt":[],"n":"x","stream":"y","MAX_TOKENS":1}"#).unwrap();
    assert_eq!((request.messages, request.choices, request.stream, request.output_bound), (1, 1, false, None));
}

fn check(input: &str, inputs: u32, text: &str, tokens: u64) {
    let request = parsed(&format!(r#"{{"model":"m","input":{input}}}"#)).unwrap();
    let mut profile = canonical::TextProfile::default();
    for piece in text.split('|').filter(|piece| !piece.is_empty()) {
        profile.add(piece);
        profile.end_text();
    }
    assert_eq!((request.messages, request.token_input.get()), (inputs, tokens), "{input}");
    assert_eq!(request.text, profile, "{input}");
}

#[test]
fn there_is_a_frontend_for_each_row() {
    for (frontend, direct) in OpenAiDirect::ALL.iter().zip(Direct::ALL) {
        assert_eq!((frontend.shape(), frontend.word()), (direct.shape, direct.booked));
    }
}

#[test]
fn input_is_text_or_tokens_one_or_many() {
    check(r#""hello you""#, 1, "hello you", 0);
    check(r#"["hello","y\u006fu"]"#, 2, "hello|you", 0);
    check("[1,2,3]", 1, "", 3);
    check("[[1,2],[3],[]]", 3, "", 3);
    check(r#""""#, 1, "", 0);
}

#[test]
fn wrong_input_is_told_with_its_place() {
    let check = |members: &str, code: &str, param: &str, says: &str| {
        let bad = parsed(&format!(r#"{{"model":"m",{members}}}"#)).unwrap_err();
        assert_eq!((bad.code, bad.param.as_deref()), (code, Some(param)), "{members}: {}", bad.message);
        assert!(bad.message.contains(says), "{members}: {}", bad.message);
    };
    check(r#""user":"u""#, "missing_required_parameter", "input", "must be given");
    check(r#""input":null"#, "invalid_value", "input", "an array of strings");
    check(r#""input":[]"#, "invalid_value", "input", "must not be empty");
    check(r#""input":7"#, "invalid_type", "input", "`input` to be a string");
    check(r#""input":{"text":"a"}"#, "invalid_type", "input", "`input` to be a string");
    check(r#""input":["a",1]"#, "invalid_type", "input[1]", "alike");
    check(r#""input":[1,[2]]"#, "invalid_type", "input[1]", "alike");
    check(r#""input":["a",null]"#, "invalid_type", "input[1]", "`input` to be a string");
    check(r#""input":[-1]"#, "invalid_type", "input[0]", "`input` to be a string");
    check(r#""input":[[1.5]]"#, "invalid_type", "input[0]", "u64");
    check(r#""input":"a","dimensions":0"#, "invalid_type", "dimensions", "a whole number from 1");
    check(r#""input":"a","dimensions":"9""#, "invalid_type", "dimensions", "a whole number from 1");
    check(r#""input":"a","encoding_format":"int8""#, "invalid_value", "encoding_format", "\"float\", \"base64\"");
    check(r#""input":"a","encoding_format":3"#, "invalid_type", "encoding_format", "\"float\", \"base64\"");
    check(r#""input":"a","input":"b""#, "duplicate_parameter", "input", "twice");
    check(r#""input":"a","Model":"b""#, "unknown_parameter", "Model", "lower case");
    check(r#""input":"a","tokenbroker":{"max_cost":1}"#, "unknown_parameter", "tokenbroker.max_cost", "max_cost");
}

#[test]
fn what_decides_is_read_and_the_rest_passes() {
    let body =
        r#"{"input":"a","user":"u","dimensions":256,"encoding_format":"base64","model":"m","tokenbroker":{"max_cost_usd":1}}"#;
    let request = parsed(body).unwrap();
    assert_eq!((request.model.as_str(), request.dimensions), ("m", Some(256)));
    assert_eq!(&body[request.members.model.clone()], "\"m\"");
    assert!(request.wishes.max_cost.is_some() && request.members.wishes.is_some());
    assert_eq!(request.body, body);
    assert!(!request.stream && request.output_bound.is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..80), input in "[\\[\\]\\{\\}0-9a-z\",: .-]{0,40}") {
        let _ = OpenAiDirect::ALL[0].parse(body.into(), &HeaderMap::new());
        let _ = parsed(&format!(r#"{{"model":"m","input":{input}}}"#));
    }

    #[test]
    fn every_token_is_counted_once(lists in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..9), 1..9)) {
        let request = parsed(&serde_json::json!({"model": "m", "input": lists}).to_string()).unwrap();
        prop_assert_eq!(request.token_input.get(), lists.iter().map(Vec::len).sum::<usize>() as u64);
        prop_assert_eq!(request.messages as usize, lists.len());
    }
}
