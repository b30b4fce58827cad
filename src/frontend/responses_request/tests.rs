//! Requests of Responses in nobody's words.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::testing::{any_json, conversation as read, refused, survives};
use super::super::{FrontendRef, OpenAiResponses};
use super::*;
use crate::canonical::conversation::{CacheLifetime, Call, Hints, Medium, Seal, SealKind, Source, Thought, ToolResult, Turn};
use crate::units::Tokens;

const FRONTEND: FrontendRef = &OpenAiResponses;

fn of(members: &str) -> Conversation {
    read(FRONTEND, &format!(r#"{{"model":"m",{members}}}"#)).unwrap()
}

/// The turns that items become.
fn check(items: &str, expected: &[Turn]) {
    assert_eq!(*of(&format!(r#""input":[{items}]"#)).turns, expected, "{items}");
}

fn user(parts: Vec<Part>) -> Turn {
    Turn { role: Role::User, parts }
}

fn assistant(parts: Vec<Part>) -> Turn {
    Turn { role: Role::Assistant, parts }
}

fn called(id: &str, arguments: &str, seal: Option<Seal>) -> Part {
    Part::Call(Call { id: id.into(), name: "f".into(), arguments: arguments.into(), seal, cached: None })
}

fn result(id: &str, parts: Vec<Part>) -> Part {
    Part::Result(ToolResult { id: id.into(), parts, is_error: false, cached: None })
}

#[test]
fn a_text_is_one_turn_and_instructions_stand_before_it() {
    let said =
        of(r#""input":"hi","instructions":"Be brief.","max_output_tokens":64,"stream":true,"user":"u","safety_identifier":"s""#);
    assert_eq!((said.system, said.turns.to_vec()), (vec![Part::text("Be brief.")], vec![user(vec![Part::text("hi")])]));
    assert_eq!((said.output_bound, said.stream, said.user.as_deref()), (Some(Tokens::new(64)), true, Some("s")));
    let all = of(
        r#""instructions":"a","input":[{"role":"developer","content":"b"},{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]},{"role":"system","content":[{"type":"input_text","text":"c"}]}]"#,
    );
    assert_eq!(all.system, ["a", "b"].map(Part::text));
    let later = Turn { role: Role::System, parts: vec![Part::text("c")] };
    assert_eq!(*all.turns, [user(vec![Part::text("hi")]), later]);
}

/// Found by a reviewer: what says which cache, how soon and how long an answer was lost although the other API has the same words.
#[test]
fn hints_are_read_and_a_breakpoint_is_a_mark() {
    let part = r#"{"type":"input_text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}}"#;
    let read = of(&format!(
        r#""input":[{{"role":"user","content":[{part}]}}],"prompt_cache_key":"k","service_tier":"flex","text":{{"verbosity":"low"}}"#
    ));
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(read.hints, Hints { cache_key: said("k"), tier: said("flex"), verbosity: said("low") });
    assert!(read.unsaid.is_empty());
    assert_eq!(read.turns[0].parts[0].cached(), Some(CacheLifetime::Minutes));
    assert_eq!(of(r#""input":"hi","service_tier":"default","text":{"verbosity":null}"#).hints, Hints::default());
}

/// Found by a reviewer: two messages of the assistant became one without anything between them.
#[test]
fn neighbouring_messages_of_the_assistant_are_told_apart() {
    let said = |text: &str| format!(r#"{{"role":"assistant","content":"{text}"}}"#);
    check(&format!("{},{}", said("A."), said("B.")), &[assistant(vec![Part::text("A."), Part::text("\nB.")])]);
    check(
        &format!(r#"{},{{"role":"user","content":"?"}},{}"#, said("A."), said("B.")),
        &[assistant(vec![Part::text("A.")]), user(vec![Part::text("?")]), assistant(vec![Part::text("B.")])],
    );
}

#[test]
fn what_the_assistant_did_is_one_turn_and_what_tools_answered_another() {
    let thought = |text: &str, seal| Part::Thought(Thought { text: text.into(), seal });
    let encrypted = Some(Seal { kind: SealKind::OpenAiEncrypted, value: "gAAA".into() });
    let items = r#"{"role":"user","content":"Weather?"},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"a"},{"type":"summary_text","text":"b"}],"encrypted_content":"gAAA"},
        {"type":"message","id":"msg_1","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Let me see.","annotations":[]}]},
        {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"a\":1}"},
        {"type":"function_call","call_id":"c2","name":"f","arguments":""},
        {"type":"function_call_output","call_id":"c1","output":"4"},
        {"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"5"},{"type":"input_image","image_url":"data:image/png;base64,AA=="}]},
        {"role":"assistant","content":"4 and 5."},
        {"role":"user","content":"And"},{"role":"user","content":"now?"}"#;
    let image = Medium {
        source: Source::Base64("AA==".into()),
        media_type: Some("image/png".into()),
        name: None,
        detail: None,
        cached: None,
    };
    check(
        items,
        &[
            user(vec![Part::text("Weather?")]),
            assistant(vec![
                thought("a\n\nb", encrypted),
                Part::text("Let me see."),
                called("c1", "{\"a\":1}", None),
                called("c2", "", None),
            ]),
            user(vec![result("c1", vec![Part::text("4")]), result("c2", vec![Part::text("5"), Part::Image(image)])]),
            assistant(vec![Part::text("4 and 5.")]),
            user(vec![Part::text("And")]),
            user(vec![Part::text("now?")]),
        ],
    );
}

#[test]
fn seals_come_back_to_what_they_sealed() {
    let reasoning = |members: &str| format!(r#"{{"type":"reasoning","id":"r","summary":[],{members}}}"#);
    let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#;
    let sealed = |kind, text: &str| Part::Thought(Thought { text: text.into(), seal: Some(Seal { kind, value: "s".into() }) });
    let gemini = Some(Seal { kind: SealKind::GeminiSignature, value: "s".into() });
    let of_call = format!("{},{call}", reasoning(r#""encrypted_content":"google-gemini-v1:s""#));
    check(&of_call, &[assistant(vec![called("c", "{}", gemini)])]);
    let own = format!("{},{call}", reasoning(r#""encrypted_content":"s""#));
    check(&own, &[assistant(vec![sealed(SealKind::OpenAiEncrypted, ""), called("c", "{}", None)])]);
    let whole = r#""content":[{"type":"reasoning_text","text":"hm"}],"encrypted_content":"anthropic-claude-v1:s""#;
    check(&reasoning(whole), &[assistant(vec![sealed(SealKind::AnthropicSignature, "hm")])]);
    let redacted = reasoning(r#""encrypted_content":"anthropic-redacted-v1:s""#);
    check(&redacted, &[assistant(vec![sealed(SealKind::AnthropicRedacted, "")])]);
    check(
        &format!("{},{}", reasoning(r#""encrypted_content":null"#), r#"{"role":"user","content":"hi"}"#),
        &[user(vec![Part::text("hi")])],
    );
}

#[test]
fn parts_are_media_where_they_are_and_empty_ones_are_left_out() {
    let parts = r#"{"role":"user","content":[{"type":"input_text","text":""},{"type":"input_image","image_url":"https://a/b.png","detail":"low"},
        {"type":"input_file","file_data":"JVBE","filename":"a.pdf"},{"type":"input_file","file_url":"https://a/b.pdf"},{"type":"input_file","file_id":"f1"},
        {"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]},{"role":"user","content":""}"#;
    let medium = |source, media_type: Option<&str>| Medium {
        source,
        media_type: media_type.map(str::to_owned),
        name: None,
        detail: None,
        cached: None,
    };
    check(
        parts,
        &[user(vec![
            Part::Image(Medium { detail: Some("low".into()), ..medium(Source::Url("https://a/b.png".into()), None) }),
            Part::Document(Medium {
                name: Some("a.pdf".into()),
                ..medium(Source::Base64("JVBE".into()), Some("application/pdf"))
            }),
            Part::Document(medium(Source::Url("https://a/b.pdf".into()), None)),
            Part::Document(medium(Source::FileId("f1".into()), None)),
            Part::Audio(medium(Source::Base64("AA".into()), Some("audio/wav"))),
        ])],
    );
    let declined = r#"{"role":"assistant","content":[{"type":"refusal","refusal":"No."}]}"#;
    check(declined, &[assistant(vec![Part::Refusal("No.".into())])]);
}

#[test]
fn tools_are_flat_and_those_that_are_not_allowed_are_not_offered() {
    let tools = r#""input":"hi","tools":[{"type":"function","name":"f","description":"d","parameters":{"type":"object"},"strict":true},{"type":"function","name":"g","parameters":null}]"#;
    let choice = |choice: &str| of(&format!(r#"{tools},"tool_choice":{choice}"#));
    let plain = of(&format!(r#"{tools},"parallel_tool_calls":false"#));
    let f = Tool {
        name: "f".into(),
        description: Some("d".into()),
        parameters: Json::parse(r#"{"type":"object"}"#.into()),
        strict: Some(true),
        cached: None,
    };
    let g = Tool { name: "g".into(), description: None, parameters: None, strict: None, cached: None };
    assert_eq!((&plain.tools, &plain.tool_choice, plain.parallel_calls), (&vec![f.clone(), g], &ToolChoice::Auto, Some(false)));
    for (word, expected) in [("auto", ToolChoice::Auto), ("none", ToolChoice::None), ("required", ToolChoice::Required)] {
        assert_eq!(choice(&format!("\"{word}\"")).tool_choice, expected);
    }
    assert_eq!(choice(r#"{"type":"function","name":"g"}"#).tool_choice, ToolChoice::Named("g".into()));
    let allowed = choice(r#"{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]}"#);
    assert_eq!((allowed.tools, allowed.tool_choice), (vec![f], ToolChoice::Required));
}

#[test]
fn formats_thinking_and_sampling_are_what_they_say() {
    let format = |format: &str| of(&format!(r#""input":"hi","text":{{"format":{format},"verbosity":"low"}}"#)).format;
    assert_eq!(
        (format(r#"{"type":"text"}"#), format(r#"{"type":"json_object"}"#), format("null")),
        (Format::Text, Format::JsonObject, Format::Text)
    );
    let schema = AnswerSchema {
        name: "a".into(),
        description: None,
        schema: Json::parse("{\"a\": 1}".into()).unwrap(),
        strict: Some(true),
    };
    assert_eq!(format(r#"{"type":"json_schema","name":"a","schema":{"a": 1},"strict":true}"#), Format::JsonSchema(schema));
    let thinking = |reasoning: &str| of(&format!(r#""input":"hi","reasoning":{reasoning}"#)).thinking;
    let wish = |wish, effort| ThinkingWish { wish, effort, budget: None, off_by_default: false };
    assert_eq!(thinking(r#"{"effort":"low","summary":"auto"}"#), wish(ReasoningWish::On, Some(Effort::Low)));
    assert_eq!(thinking(r#"{"effort":"none"}"#), wish(ReasoningWish::Off, None));
    assert_eq!(thinking(r#"{"summary":"auto"}"#), wish(ReasoningWish::Unsaid, None));
    let sampling = of(r#""input":"hi","temperature":0.20,"top_p":1"#).sampling;
    assert_eq!((sampling.temperature.as_ref().map(Json::get), sampling.top_p.as_ref().map(Json::get)), (Some("0.20"), Some("1")));
}

#[test]
fn what_only_responses_can_say_is_refused() {
    let with = |members: &str, what: &str| refused(FRONTEND, &format!(r#"{{"model":"m","input":"hi",{members}}}"#), what);
    with(r#""prompt":{"id":"p"}"#, "`prompt`");
    with(r#""max_tool_calls":3"#, "`max_tool_calls`");
    with(r#""truncation":"auto""#, "`truncation`");
    with(r#""top_logprobs":2"#, "`top_logprobs`");
    with(r#""include":["message.output_text.logprobs"]"#, "`top_logprobs`");
    with(r#""context_management":[{"type":"compaction"}]"#, "`context_management`");
    with(r#""tools":[{"type":"web_search"}]"#, "`tools[0]` of type `web_search`");
    with(r#""tools":[{"type":"custom","name":"a"}]"#, "`tools[0]` of type `custom`");
    with(r#""tool_choice":{"type":"file_search"}"#, "`tool_choice` of type `file_search`");
    with(r#""text":{"format":{"type":"json_schema","name":"a"}}"#, "`text.format` without a schema");
    let item = |item: &str, what: &str| refused(FRONTEND, &format!(r#"{{"model":"m","input":[{item}]}}"#), what);
    item(r#"{"type":"web_search_call","id":"w","status":"completed"}"#, "`input[0]` of type `web_search_call`");
    item(r#"{"type":"function_call","name":"f","arguments":""}"#, "`input[0]` of type `function_call` as it is");
    item(r#"{"id":"x"}"#, "`input[0]` without a type");
    item(r#"{"role":"critic","content":"x"}"#, "the role `critic`");
    item(r#"{"role":"user","content":[{"type":"input_video"}]}"#, "`input[0].content[0]` of type `input_video`");
    item(r#"{"role":"system","content":[{"type":"input_image","image_url":"https://a/b"}]}"#, "not text for the system");
    item(r#"{"role":"user","content":[{"type":"input_image"}]}"#, "`input[0].content[0]` of type `input_image` as it is");
}

#[test]
fn what_merely_hints_or_concerns_what_is_stored_is_left_out() {
    let hints = r#""metadata":{"a":"b"},"store":true,"include":["reasoning.encrypted_content"],"service_tier":"auto",
        "truncation":"disabled","background":false,"context_management":[],"top_logprobs":0,"stream_options":{"include_obfuscation":false}"#;
    assert_eq!(of(&format!(r#""input":"hi",{hints}"#)), of(r#""input":"hi""#));
}

const WORDS: &[&str] = &[
    "type",
    "role",
    "content",
    "text",
    "name",
    "call_id",
    "arguments",
    "output",
    "summary",
    "encrypted_content",
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "input_text",
    "output_text",
    "input_image",
    "input_file",
    "image_url",
    "file_data",
    "user",
    "assistant",
    "system",
    "tools",
    "tool_choice",
    "format",
    "json_schema",
    "function",
    "mode",
    "allowed_tools",
    "service_tier",
    "verbosity",
    "prompt_cache_breakpoint",
];

fn any_body() -> impl Strategy<Value = String> {
    let item =
        (proptest::collection::vec((proptest::sample::select(WORDS), any_json(WORDS)), 0..5), proptest::sample::select(WORDS));
    let item = item.prop_map(|(members, kind)| {
        let mut item: Map<String, Value> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        item.insert("type".into(), json!(kind));
        Value::Object(item)
    });
    let said = Just(json!({"role": "user", "content": "hi"}));
    let input =
        prop_oneof![4 => proptest::collection::vec(prop_oneof![item, said], 0..4).prop_map(Value::from), 1 => any_json(WORDS)];
    let beside = proptest::collection::vec((proptest::sample::select(WORDS), any_json(WORDS)), 0..3);
    (input, beside).prop_map(|(input, beside)| {
        let mut body: Map<String, Value> = beside.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        body.extend([("model".into(), json!("m")), ("input".into(), input)]);
        Value::Object(body).to_string()
    })
}

proptest! {
    #[test]
    fn no_request_is_too_odd_to_be_read_or_refused(body in any_body()) {
        survives(FRONTEND, &body);
    }

    #[test]
    fn neither_are_bytes(body in "\\PC{0,60}") {
        survives(FRONTEND, &body);
    }
}
