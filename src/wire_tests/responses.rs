//! A request of Responses for a provider that speaks it too: the client's bytes but for what must differ, and where they cannot pass,
//! the same conversation in the same words.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::canonical::Request;
use crate::catalog::Reasoning;
use crate::catalog::capability::Quirks;
use crate::dialect::{self, Dialect, Outgoing};
use crate::frontend::{self, Frontend};
use crate::units::Tokens;

fn read(body: &str) -> Request {
    frontend::OpenAiResponses.parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new()).unwrap()
}

fn out(seals: bool, bound: Option<u64>) -> Outgoing<'static> {
    let quirks = Quirks { encrypted_reasoning: seals, ..Quirks::default() };
    Outgoing { output_bound: bound.map(Tokens::new), reasoning: Reasoning::Switchable, ..Outgoing::to("up", quirks) }
}

fn sent(body: &str, seals: bool, bound: Option<u64>) -> String {
    String::from_utf8(dialect::OpenAiResponses.encode(&read(body), &out(seals, bound)).to_vec()).unwrap()
}

#[test]
fn a_request_that_needs_no_change_is_the_same_bytes() {
    let body = r#" { "model" : "up", "input":"hi", "store":false, "max_output_tokens": 5, "x":1e400, "include":["reasoning.encrypted_content"] } "#;
    let request = read(body);
    let passed = dialect::OpenAiResponses.encode(&request, &out(true, Some(9)));
    assert_eq!((passed.as_ptr(), &*passed), (request.body.as_ptr(), body.as_bytes()), "shared, not copied");
}

#[test]
fn each_difference_alone() {
    let i = r#""input":"hi""#;
    let (kept, wanted) = (r#""store":false"#, r#""reasoning.encrypted_content""#);
    let cases = [
        (false, None, r#"{"model":"m",I,K}"#, r#"{"model":"up",I,K}"#),
        (false, None, r#"{"model":"up",I}"#, r#"{"model":"up",K,I}"#),
        (false, None, r#"{I,"model":"up"}"#, r#"{I,"model":"up",K}"#),
        (false, None, r#"{"model":"up",I,"store": true }"#, r#"{"model":"up",I,"store": false }"#),
        (false, None, r#"{"model":"up",I,"store":null}"#, r#"{"model":"up",I,K}"#),
        (false, None, r#"{"model":"up",I,K,"tokenbroker":{"race":2}}"#, r#"{"model":"up",I,K}"#),
        (false, Some(7), r#"{"model":"up",I,K}"#, r#"{"model":"up","max_output_tokens":7,I,K}"#),
        (false, Some(7), r#"{"model":"up",I,K,"max_output_tokens":9}"#, r#"{"model":"up",I,K,"max_output_tokens":7}"#),
        (false, Some(7), r#"{"model":"up",I,K,"max_output_tokens":null}"#, r#"{"model":"up",I,K,"max_output_tokens":7}"#),
        (true, None, r#"{"model":"up",I,K}"#, r#"{"model":"up","include":[W],I,K}"#),
        (true, None, r#"{"model":"up",I,K,"include":[]}"#, r#"{"model":"up",I,K,"include":[W]}"#),
        (true, None, r#"{"model":"up",I,K,"include":null}"#, r#"{"model":"up",I,K,"include":[W]}"#),
        (true, None, r#"{"model":"up",I,K,"include":["a"]}"#, r#"{"model":"up",I,K,"include":[W,"a"]}"#),
        (true, None, r#"{"model":"up",I,K,"include":["a",W]}"#, r#"{"model":"up",I,K,"include":["a",W]}"#),
        // What is no list of words is the provider's to refuse.
        (true, None, r#"{"model":"up",I,K,"include":7}"#, r#"{"model":"up",I,K,"include":7}"#),
    ];
    for (seals, bound, body, expected) in cases {
        let [body, expected] = [body, expected].map(|text: &str| text.replace('I', i).replace('K', kept).replace('W', wanted));
        assert_eq!(sent(&body, seals, bound), expected, "{body}");
    }
}

#[test]
fn a_model_that_never_thinks_is_not_asked_for_seals() {
    let request = read(r#"{"model":"up","input":"hi","store":false}"#);
    let never = Outgoing { reasoning: Reasoning::Never, ..out(true, None) };
    assert_eq!(dialect::OpenAiResponses.encode(&request, &never), request.body);
}

#[test]
fn what_cannot_pass_is_the_same_conversation() {
    let request = read(
        r#"{"model":"up","stream":true,"instructions":"Be brief.","max_output_tokens":9,"reasoning":{"effort":"high"},"tool_choice":"required",
        "tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":false}],"text":{"format":{"type":"json_object"}},"input":[
        {"role":"user","content":[{"type":"input_text","text":"See"},{"type":"input_image","image_url":"data:image/png;base64,AAAA","detail":"low"}]},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gAAAA"},
        {"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}"},
        {"type":"function_call_output","call_id":"c","output":"4"},
        {"type":"message","role":"assistant","content":[{"type":"output_text","text":"4.","annotations":[]}]},
        {"role":"user","content":"?"}]}"#,
    );
    let said = frontend::OpenAiResponses.conversation(&request).unwrap();
    let written = dialect::OpenAiResponses.write(&said, &out(true, None)).unwrap();
    let again = frontend::OpenAiResponses.conversation(&read(std::str::from_utf8(&written).unwrap())).unwrap();
    assert_eq!(again, said);
}

proptest! {
    #[test]
    fn nothing_else_differs(members in prop::collection::btree_map(prop::sample::select(vec!["text", "metadata", "prompt_cache_key", "service_tier", "x"]), ".{0,6}", 0..4), include in prop::option::of(prop::collection::vec("[a-z]{0,3}", 0..3)), store in prop::option::of(any::<Option<bool>>()), own in prop::option::of(1_u64..99), bound in prop::option::of(1_u64..99), seals in any::<bool>(), wishes in any::<bool>()) {
        let mut body: Map<String, Value> = members.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        if let Some(value) = body.remove("text") {
            body.insert("text".into(), json!({"verbosity": value}));
        }
        body.extend([("model".into(), json!("m")), ("input".into(), json!([{"role": "user", "content": "hi"}]))]);
        body.extend(include.clone().map(|include| ("include".into(), json!(include))));
        body.extend(store.map(|store| ("store".into(), json!(store))));
        body.extend(own.map(|own| ("max_output_tokens".into(), json!(own))));
        let mut expected = body.clone();
        body.extend(wishes.then(|| ("tokenbroker".into(), json!({"prefer": "fastest"}))));
        expected.extend([("model".into(), json!("up")), ("store".into(), json!(false))]);
        expected.extend(own.into_iter().chain(bound).min().map(|bound| ("max_output_tokens".into(), json!(bound))));
        if seals {
            let all: Vec<String> = ["reasoning.encrypted_content".to_owned()].into_iter().chain(include.into_iter().flatten()).collect();
            expected.insert("include".into(), json!(all));
        }
        let passed: Value = serde_json::from_str(&sent(&Value::Object(body).to_string(), seals, bound)).unwrap();
        prop_assert_eq!(passed, Value::Object(expected));
    }
}
