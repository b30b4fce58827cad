//! Requests of Anthropic's Messages: what is read of them, what is refused, and that they go out as they came but for what
//! must differ.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::canonical::{Feature, Features, QualityTier, ReasoningWish, Request, Shape, TextProfile};
use crate::catalog::capability::{Quirks, Reasoning};
use crate::dialect::{AnthropicMessages as Messages, Dialect, Outgoing};
use crate::frontend::anthropic_messages::parse_prompt;
use crate::frontend::{AnthropicMessages, BadRequest, Frontend};
use crate::units::Tokens;

fn read(body: &str) -> Result<Request, BadRequest> {
    AnthropicMessages.parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new())
}

/// A request with these members beside model, bound and messages.
fn with(members: &str) -> Request {
    read(&format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],{members}}}"#))
        .unwrap_or_else(|e| panic!("{members}: {e}"))
}

fn send(request: &Request, bound: Option<u64>) -> String {
    let out = Outgoing { output_bound: bound.map(Tokens::new), ..thinker() };
    String::from_utf8(Messages.encode(request, &out).to_vec()).unwrap()
}

const AGENT: &str = r#"{"model":"auto","max_tokens":400,
 "system":[{"type":"text","text":"Answer in one line.","cache_control":{"type":"ephemeral"}}],
 "messages":[{"role":"user","content":"Weather in Oslo?"},
  {"role":"assistant","content":[{"type":"thinking","thinking":"Use the tool.","signature":"sig"},
   {"type":"redacted_thinking","data":"AAAA"},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Oslo"}}]},
  {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"4"},
    {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},
   {"source":{"data":"A contract.","type":"text","media_type":"text/plain"},"title":"Contract","type":"document"},
   {"type":"document","source":{"type":"url","url":"https://example.com/a.pdf"}}]}],
 "tools":[{"name":"weather","input_schema":{"type":"object"}}],
 "tool_choice":{"type":"auto","disable_parallel_tool_use":true},"thinking":{"type":"adaptive"},"stream":true,
 "metadata":{"user_id":"nobody"},"tokenbroker":{"quality":"premium"},"unknown":[1,{"deep":[]}]}"#;

#[test]
fn an_agents_request_is_understood() {
    let request = read(AGENT).unwrap();
    assert_eq!((request.shape, request.model.as_str(), request.stream), (Shape::AnthropicMessages, "auto", true));
    assert_eq!((request.messages, request.tools, request.images, request.choices), (3, 1, 1, 1));
    assert_eq!((request.output_bound, request.reasoning), (Some(Tokens::new(400)), ReasoningWish::On));
    assert_eq!(request.wishes.quality, Some(QualityTier::Premium));
    let expected: Features = [Feature::Tools, Feature::ImageInput, Feature::FileInput].into_iter().collect();
    assert_eq!(request.features, expected);
    let at = |range: &std::ops::Range<usize>| &AGENT[range.clone()];
    let members = &request.members;
    assert_eq!(at(&members.model), "\"auto\"");
    assert!(at(&members.system).starts_with("[{\"type\":\"text\"") && at(&members.system).ends_with("}}]"));
    assert!(at(&members.messages).starts_with("[{\"role\":\"user\"") && at(&members.messages).ends_with("}}]}]"));
    assert_eq!(at(&members.tools), r#"[{"name":"weather","input_schema":{"type":"object"}}]"#);
    assert_eq!(request.body, AGENT);
}

#[test]
fn the_profile_is_of_the_text_that_a_model_reads() {
    let mut expected = TextProfile::default();
    let texts = [
        "Answer in one line.",
        "Weather in Oslo?",
        "Use the tool.",
        "AAAA",
        "weather",
        r#"{"city":"Oslo"}"#,
        "4",
        "Contract",
        "A contract.",
    ];
    for text in texts.into_iter().chain([r#"{"name":"weather","input_schema":{"type":"object"}}"#]) {
        expected.add(text);
        expected.end_text();
    }
    assert_eq!(read(AGENT).unwrap().text, expected);
    let schema = with(
        r#""system":"Be \"brief\".","output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}}"#,
    );
    let mut expected = TextProfile::default();
    for text in ["x", "Be \"brief\".", r#"{"type":"object"}"#] {
        expected.add(text);
        expected.end_text();
    }
    assert_eq!(schema.text, expected);
}

#[test]
fn needs_are_read_from_the_members() {
    let one = |feature: Feature| Features::NONE.with(feature);
    for (members, expected) in [
        (r#""tools":[],"tool_choice":null,"thinking":null,"output_config":null,"system":null"#, Features::NONE),
        (r#""tools":[{"name":"f"}]"#, one(Feature::Tools)),
        (r#""system":[{"type":"document","source":{"type":"base64","data":"AAAA"}}]"#, one(Feature::FileInput)),
        // Every model reads what is a text, or blocks.
        (r#""system":[{"source":{"type":"text","media_type":"text/plain","data":"Words."},"type":"document"}]"#, Features::NONE),
        (r#""system":[{"type":"document","source":{"type":"content","content":[{"type":"text","text":"x"}]}}]"#, Features::NONE),
        (r#""system":[{"type":"document","source":{"type":"content","content":[{"type":"image"}]}}]"#, one(Feature::ImageInput)),
        (r#""tool_choice":{"type":"any"}"#, one(Feature::ForcedTool)),
        (r#""tool_choice":{"type":"tool","name":"f"}"#, one(Feature::ForcedTool)),
        (r#""tool_choice":{"type":"none"}"#, Features::NONE),
        (r#""output_config":{"effort":"high"}"#, Features::NONE),
        (r#""output_config":{"format":{"type":"json_schema","schema":{}}}"#, one(Feature::JsonSchema)),
        (r#""output_format":{"type":"json_schema","schema":{}}"#, one(Feature::JsonSchema)),
    ] {
        assert_eq!(with(members).features, expected, "{members}");
    }
    for (members, expected) in [
        (r#""x":1"#, ReasoningWish::Unsaid),
        (r#""thinking":{"type":"disabled"}"#, ReasoningWish::Off),
        (r#""thinking":{"type":"enabled","budget_tokens":1024}"#, ReasoningWish::On),
    ] {
        assert_eq!(with(members).reasoning, expected, "{members}");
    }
}

#[test]
fn tokens_can_be_counted_without_a_bound() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"x"}]}"#;
    let bad = read(body).unwrap_err();
    assert_eq!((bad.code, bad.param.as_deref()), ("missing_required_parameter", Some("max_tokens")));
    assert_eq!(parse_prompt(Bytes::from_static(body.as_bytes()), &HeaderMap::new()).unwrap().output_bound, None);
}

#[test]
fn a_thread_is_refused_but_where_tokens_are_counted() {
    let of = |thread: &str| {
        format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],"thread":{thread}}}"#)
    };
    for thread in [r#"{"type":"create"}"#, r#"{"type":"continue","previous_message_id":"msg_1"}"#] {
        let bad = read(&of(thread)).unwrap_err();
        assert_eq!((bad.code, bad.param.as_deref()), ("unsupported_parameter", Some("thread")));
        assert!(parse_prompt(Bytes::from(of(thread)), &HeaderMap::new()).is_ok());
    }
    assert!(read(&of("null")).is_ok());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let m = r#""max_tokens":9,"messages":[{}]"#;
    for (body, code, param, place) in [
        ("", "invalid_json", None, ""),
        (r#"{"model":"m",M} x"#, "invalid_json", None, "x"),
        (r"{M}", "missing_required_parameter", Some("model"), ""),
        (r#"{"model":"m","max_tokens":9}"#, "missing_required_parameter", Some("messages"), ""),
        (r#"{"model":"m","max_tokens":9,"messages":[]}"#, "invalid_value", Some("messages"), ""),
        (r#"{"model":"m","max_tokens":9,"messages":{}}"#, "invalid_type", Some("messages"), "}}"),
        (r#"{"model":"m","max_tokens":9,"messages":["x"]}"#, "invalid_type", Some("messages[0]"), "\"]}"),
        (r#"{"model":"m","max_tokens":9,"messages":[{},{"content":7}]}"#, "invalid_type", Some("messages[1].content"), "7}]}"),
        (r#"{"model":"m","max_tokens":9,"messages":[{"content":[7]}]}"#, "invalid_type", Some("messages[0].content"), "7]}]}"),
        (r#"{"model":"m","max_tokens":9,"messages":[{"role":7}]}"#, "invalid_type", Some("messages[0].role"), "7}]}"),
        (r#"{"model":"m",M,"system":7}"#, "invalid_type", Some("system"), "7}"),
        (r#"{"model":"m",M,"tools":[{},7]}"#, "invalid_type", Some("tools[1]"), "7]}"),
        (r#"{"model":"m",M,"tool_choice":"any"}"#, "invalid_type", Some("tool_choice"), "\"any\"}"),
        (r#"{"model":"m",M,"thinking":{}}"#, "invalid_type", Some("thinking"), "{}}"),
        (r#"{"model":"m",M,"max_tokens":8}"#, "duplicate_parameter", Some("max_tokens"), "\"max_t"),
        (r#"{"model":"m",M,"System":"x"}"#, "unknown_parameter", Some("System"), "\"Syste"),
        (r#"{"model":"m","messages":[{}],"max_tokens":0}"#, "invalid_type", Some("max_tokens"), "0}"),
        (r#"{"model":"m",M,"stream":1}"#, "invalid_type", Some("stream"), "1}"),
        (r#"{"model":"m",M,"tokenbroker":{"race":9}}"#, "invalid_value", Some("tokenbroker.race"), "{\"race"),
    ] {
        let body = body.replace('M', m);
        let bad = read(&body).err().unwrap_or_else(|| panic!("read: {body}"));
        let found = bad.position.map_or("", |at| body.get(at.offset..).unwrap_or_default());
        let found: String = found.chars().take(6).collect();
        let place: String = place.chars().take(6).collect();
        assert_eq!((bad.code, bad.param.as_deref(), found), (code, param, place), "{body}");
    }
    let deep = format!(r#"{{"model":"m",{m},"system":{}"x"{}}}"#, r#"[{"content":"#.repeat(60), "}]".repeat(60));
    assert_eq!(read(&deep).unwrap_err().code, "nesting_too_deep");
    let deep = format!(r#"{{"model":"m",{m},"x":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(read(&deep).unwrap_err().code, "nesting_too_deep");
}

#[test]
fn a_request_goes_out_as_it_came_but_for_model_wishes_and_bound() {
    let request = read(AGENT).unwrap();
    let expected = AGENT.replacen("\"auto\"", "\"up\"", 1).replace("\"tokenbroker\":{\"quality\":\"premium\"},", "");
    assert_eq!(send(&request, None), expected);
    assert_eq!(send(&request, Some(500)), expected, "the client's bound is the smaller one");
    assert_eq!(send(&request, Some(300)), expected.replace("\"max_tokens\":400", "\"max_tokens\":300"));
    let same = read(&expected).unwrap();
    assert_eq!(Messages.encode(&same, &thinker()).as_ptr(), same.body.as_ptr(), "no copy");
}

/// To a model that thinks.
fn thinker() -> Outgoing<'static> {
    Outgoing { reasoning: Reasoning::Switchable, ..Outgoing::to("up", Quirks::default()) }
}

/// Sent to one that does not, `thinking` may be refused.
#[test]
fn a_model_that_does_not_think_is_not_told_to() {
    let request = read(AGENT).unwrap();
    let told = Messages.encode(&request, &Outgoing::to("auto", Quirks::default()));
    let expected =
        AGENT.replace("\"thinking\":{\"type\":\"adaptive\"},", "").replace("\"tokenbroker\":{\"quality\":\"premium\"},", "");
    assert_eq!(told, expected);
}

/// A request with members in any order and blocks of any kind.
fn any_request() -> impl Strategy<Value = Map<String, Value>> {
    let text = "\\PC{0,20}";
    let block = prop_oneof![
        text.prop_map(|text| json!({"type":"text","text":text})),
        text.prop_map(|text| json!({"cache_control":{"type":"ephemeral"},"thinking":text,"type":"thinking","signature":"c2ln"})),
        text.prop_map(|text| json!({"type":"tool_use","id":"t","name":"f","input":{"a":[text,{}]}})),
        text.prop_map(|text| json!({"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":text}]})),
        text.prop_map(|text| json!({"type":"image","source":{"type":"base64","data":text}})),
        text.prop_map(|text| json!({"type":"of tomorrow","x":[text]})),
    ];
    let content = prop_oneof![text.prop_map(Value::from), prop::collection::vec(block, 0..4).prop_map(Value::from)];
    let turns = prop::collection::vec(content.clone().prop_map(|content| json!({"role":"user","content":content})), 1..4);
    let more = prop::option::of(prop::sample::select(vec![json!({"session":"s"}), json!({}), Value::Null]));
    (turns, prop::option::of(content), 1_u64..6000, any::<bool>(), more, text).prop_map(
        |(turns, system, bound, stream, wishes, x)| {
            let mut object = Map::new();
            object.insert("x1".into(), json!([x]));
            object.extend(system.map(|system| ("system".to_owned(), system)));
            object.insert("messages".into(), turns.into());
            object.insert("stream".into(), stream.into());
            object.extend(wishes.map(|wishes| ("tokenbroker".to_owned(), wishes)));
            object.insert("max_tokens".into(), bound.into());
            object.insert("model".into(), "auto".into());
            object
        },
    )
}

proptest! {
    #[test]
    fn nothing_else_changes(object in any_request(), ours in prop::option::of(1_u64..6000), spaced: bool) {
        let value = Value::Object(object.clone());
        let text = if spaced { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let request = read(&text).map_err(|bad| TestCaseError::fail(format!("{bad}: {text}")))?;
        prop_assert_eq!(request.messages as usize, object["messages"].as_array().unwrap().len());
        let sent = send(&request, ours);
        let mut expected = object;
        expected.insert("model".into(), "up".into());
        expected.remove("tokenbroker");
        let bound = expected["max_tokens"].as_u64().unwrap();
        expected.insert("max_tokens".into(), ours.map_or(bound, |ours| ours.min(bound)).into());
        prop_assert_eq!(serde_json::from_str::<Value>(&sent).unwrap(), Value::Object(expected));
        prop_assert_eq!(send(&read(&sent).unwrap(), ours), sent, "what went out needs no second splice");
    }

    #[test]
    fn a_damaged_request_is_refused_or_still_sent_whole(object in any_request(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = Value::Object(object).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(request) = AnthropicMessages.parse(bytes.into(), &HeaderMap::new()) {
            let sent = send(&request, Some(3));
            prop_assert!(serde_json::from_str::<&RawValue>(&sent).is_ok(), "{}", sent);
            let _ = crate::frontend::prefix::chain(&request, 7);
        }
    }
}

/// Found by a reader: what a program printed counted nothing, an escaped type hid an image, and the images within a document
/// counted as prose.
#[test]
fn whatever_a_model_may_read_counts_and_images_are_told_however_they_are_written() {
    let of = |blocks: &str| {
        let body = format!(r#"{{"model":"auto","max_tokens":9,"messages":[{{"role":"user","content":[{blocks}]}}]}}"#);
        let request = read(&body).unwrap();
        (request.text.bytes(), request.images, request.features)
    };
    let none = Features::NONE;
    let (image, file) = (none.with(Feature::ImageInput), none.with(Feature::FileInput));
    let printed = r#"{"type":"bash_code_execution_tool_result","tool_use_id":"srvtoolu_1","content":{"type":"bash_code_execution_result","stdout":"12345","stderr":"678","return_code":0}}"#;
    assert_eq!(of(printed), (8, 0, none));
    let source = r#""source":{"type":"base64","media_type":"image/png","data":"AAAAAAAAAAAA"}"#;
    assert_eq!(of(&format!(r#"{{"type":"im\u0061ge",{source}}}"#)), (0, 1, image));
    let blocks = format!(r#"[{{"type":"text","text":"four"}},{{"type":"image",{source}}}]"#);
    let document = format!(r#"{{"type":"document","source":{{"type":"content","content":{blocks}}}}}"#);
    assert_eq!(of(&document), (4, 1, image));
    assert_eq!(of(r#"{"type":"document","source":{"type":"te\u0078t","data":"four"}}"#), (4, 0, none));
    // Which of two counts is not for us to guess, so all of it does.
    let twice = r#"{"type":"base64","type":"text","data":"four"}"#;
    assert_eq!(of(&format!(r#"{{"type":"document","source":{twice}}}"#)), (twice.len() as u64, 0, file));
    let marked = r#"{"type":"text","text":"four","cache_control":{"type":"ephemeral"},"citations":[{"cited_text":"not read"}]}"#;
    assert_eq!(of(marked), (4, 0, none));
}

/// Found by a reviewer: of a request that is told again in Messages (its thoughts are another provider's) only the marks of texts
/// were left, and an agent's prompt was read at the full price from then on.
#[test]
fn marks_of_the_cache_stay_on_every_block_that_is_told_again() {
    let check = |block: &str| {
        let marked = r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#;
        let body = format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}},
                {{"role":"assistant","content":[{{"type":"tool_use","id":"a","name":"f","input":{{}}}}]}},
                {{"role":"user","content":[{{{block},{marked}}}]}}]}}"#
        );
        let conversation = AnthropicMessages.conversation(&read(&body).unwrap()).unwrap().with_seals(|_| false);
        let told = Messages.write(&conversation, &Outgoing::to("up", Quirks::default())).unwrap();
        let told: Value = serde_json::from_slice(&told).unwrap();
        let block = told["messages"].as_array().unwrap().last().unwrap()["content"].as_array().unwrap().last().unwrap();
        assert_eq!(block["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}), "{told}");
    };
    check(r#""type":"text","text":"a""#);
    check(r#""type":"image","source":{"type":"url","url":"https://a/b.png"}"#);
    check(r#""type":"document","source":{"type":"text","data":"a"}"#);
    check(r#""type":"tool_result","tool_use_id":"a","content":"b""#);
    check(r#""type":"search_result","source":"https://a","title":"t","content":[{"type":"text","text":"a"}]"#);
    let called = r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[
        {"type":"tool_use","id":"a","name":"f","input":{},"cache_control":{"type":"ephemeral"}}]}],
        "tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}]}"#;
    let conversation = AnthropicMessages.conversation(&read(called).unwrap()).unwrap();
    let told = Messages.write(&conversation, &Outgoing::to("up", Quirks::default())).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told["messages"][1]["content"][0]["cache_control"], json!({"type": "ephemeral"}), "{told}");
    assert_eq!(told["tools"][0]["cache_control"], json!({"type": "ephemeral"}), "{told}");
}
