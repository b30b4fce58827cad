//! What is no conversation, parsed and sent on: the client's bytes with another model's name and without our wishes.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;

use crate::canonical::Shape;
use crate::catalog::capability::Quirks;
use crate::dialect::{self, Outgoing};
use crate::frontend::{Frontend, OpenAiDirect};
use crate::units::Tokens;

fn send(body: &str) -> String {
    let frontend = OpenAiDirect::ALL[0];
    let request = frontend.parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new()).unwrap();
    assert_eq!(request.body, body);
    let out = Outgoing { output_bound: Some(Tokens::new(7)), ..Outgoing::to("up", Quirks::default()) };
    let sent = dialect::of(Shape::OpenAiEmbeddings).encode(&request, &out);
    String::from_utf8(sent.to_vec()).unwrap()
}

#[test]
fn only_the_model_and_the_wishes_differ_and_no_bound_is_sent() {
    let check = |body: &str, expected: &str| assert_eq!(send(body), expected);
    check(r#" {"model" : "m","input":[1,2]} "#, r#" {"model" : "up","input":[1,2]} "#);
    check(r#"{"input":"a","tokenbroker":{"race":2} ,"model":"up"}"#, r#"{"input":"a","model":"up"}"#);
    check(r#"{"input":"a","model":"up","max_tokens":9}"#, r#"{"input":"a","model":"up","max_tokens":9}"#);
}

/// A request for a text to be written on, as it goes out with a bound of ours.
fn written(body: &str, bound: Option<u64>) -> String {
    let request = OpenAiDirect::ALL[1].parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new()).unwrap();
    let out = Outgoing { output_bound: bound.map(Tokens::new), ..Outgoing::to("up", Quirks::default()) };
    String::from_utf8(dialect::of(Shape::OpenAiCompletions).encode(&request, &out).to_vec()).unwrap()
}

#[test]
fn a_completion_goes_out_with_its_bound_and_a_stream_reports() {
    let check = |body: &str, bound, expected: &str| assert_eq!(written(body, bound), expected);
    check(
        r#"{"model":"m","prompt":"a","max_tokens":9,"temperature" : 0}"#,
        None,
        r#"{"model":"up","prompt":"a","max_tokens":9,"temperature" : 0}"#,
    );
    check(r#"{"model":"up","prompt":"a"}"#, None, r#"{"model":"up","max_tokens":16,"prompt":"a"}"#);
    check(r#"{"model":"up","prompt":"a","max_tokens":900}"#, Some(70), r#"{"model":"up","prompt":"a","max_tokens":70}"#);
    check(r#"{"model":"up","prompt":"a","max_tokens":null}"#, Some(7), r#"{"model":"up","prompt":"a","max_tokens":7}"#);
    check(
        r#"{"model":"up","prompt":"a","max_tokens":5,"stream":true}"#,
        None,
        r#"{"model":"up","stream_options":{"include_usage":true},"prompt":"a","max_tokens":5,"stream":true}"#,
    );
}

/// A member that passes, as its bytes.
fn member() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("1e400".to_owned()),
        Just(r#"{ "model":"x","input" : [ ] }"#.to_owned()),
        Just(r#""\u00e9\"}""#.to_owned()),
        "[a-z]{0,6}".prop_map(|text| format!("\"{text}\"")),
    ];
    ("x[a-z]{1,5}", value, " {0,2}").prop_map(|(key, value, space)| format!("\"{key}\"{space}:{space}{value}"))
}

fn input() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -!#-\\[\\]-~é中]{0,20}".prop_map(|text| format!("\"{text}\"")),
        prop::collection::vec("[a-zé ]{0,8}", 1..5).prop_map(|texts| serde_json::to_string(&texts).unwrap()),
        prop::collection::vec(any::<u32>(), 1..9).prop_map(|tokens| format!("{tokens:?}")),
        prop::collection::vec(prop::collection::vec(any::<u32>(), 0..4), 1..4).prop_map(|lists| format!("{lists:?}")),
    ]
}

proptest! {
    #[test]
    fn every_other_byte_passes(others in prop::collection::vec(member(), 0..4), input in input(), at in any::<prop::sample::Index>(), model_at in any::<prop::sample::Index>(), space in " {0,2}") {
        let mut members = others;
        members.insert(at.index(members.len() + 1), format!("\"input\":{space}{input}"));
        let place = model_at.index(members.len() + 1);
        let body = |model: &str| {
            let mut members = members.clone();
            members.insert(place, format!("\"model\":{space}\"{model}\""));
            format!("{{{space}{}{space}}}", members.join(&format!("{space},")))
        };
        prop_assert_eq!(send(&body("a/b")), body("up"));
        prop_assert_eq!(send(&body("up")), body("up"));
    }
}
