//! Requests of Responses in nobody's words.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::testing::{any_json, conversation as read, refused, survives};
use super::super::{FrontendRef, OpenAiResponses};
use super::*;
use crate::canonical::conversation::{
    CacheLifetime, Call, Hints, Medium, OwnTool, Seal, SealKind, Source, Thought, Tool, ToolChoice, ToolResult, Turn,
};
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

fn own(function: &str, name: &str, namespace: Option<&str>, custom: bool) -> OwnTool {
    OwnTool { function: function.into(), name: name.into(), namespace: namespace.map(str::to_owned), custom }
}

fn names(said: &Conversation) -> Vec<&str> {
    said.tools.iter().map(|tool| tool.name.as_str()).collect()
}

/// Found by a reviewer: Codex could ask nobody but who speaks Responses, as its tool for patches is a custom one.
#[test]
fn a_custom_tool_is_a_function_of_one_text() {
    let grammar = r#"{"type":"grammar","syntax":"lark","definition":"start: /.+/"}"#;
    let tools = format!(
        r#""input":"hi","tools":[{{"type":"custom","name":"patch","description":"d","format":{grammar}}},{{"type":"custom","name":"note"}}]"#
    );
    let said = of(&tools);
    assert_eq!(said.own_tools, [own("patch", "patch", None, true), own("note", "note", None, true)]);
    assert_eq!(said.tools[0].description.as_deref(), Some("d\n\n`input` must keep to this grammar (lark):\nstart: /.+/"));
    assert_eq!((said.tools[1].description.as_deref(), said.tools[1].strict), (None, None));
    assert_eq!(said.tools[0].parameters, said.tools[1].parameters);
    // Nobody holds the model to it, so it is told; what takes any text loses nothing.
    assert_eq!(said.unsaid, ["tools.format"]);
    let text = of(r#""input":"hi","tools":[{"type":"custom","name":"a","format":{"type":"text"}}]"#);
    assert!(text.unsaid.is_empty());
    let choice = |choice: &str| of(&format!(r#"{tools},"tool_choice":{choice}"#));
    assert_eq!(choice(r#"{"type":"custom","name":"note"}"#).tool_choice, ToolChoice::Named("note".into()));
    let allowed = choice(r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"custom","name":"note"}]}"#);
    assert_eq!((names(&allowed), &allowed.tool_choice), (vec!["note"], &ToolChoice::Auto));
}

/// More than a minute, where each tool is looked for among all that are allowed, or what a tool is called among all others.
#[test]
fn very_many_tools_that_are_allowed_are_found_in_one_go() {
    const TOOLS: usize = 300_000;
    let tool =
        |nth: usize| [("function", nth), ("custom", nth)].map(|(kind, nth)| format!(r#"{{"type":"{kind}","name":"f{nth}"}}"#));
    let all: Vec<String> = (0..TOOLS / 2).flat_map(tool).collect();
    let allowed: Vec<&str> = all[1..].iter().rev().map(String::as_str).collect();
    let choice = format!(r#"{{"type":"allowed_tools","mode":"auto","tools":[{}]}}"#, allowed.join(","));
    let said = of(&format!(r#""input":"hi","tools":[{}],"tool_choice":{choice}"#, all.join(",")));
    assert_eq!((said.tools.len(), said.tools[0].name.as_str(), said.own_tools.len()), (TOOLS - 1, "f0_2", TOOLS / 2));
}

#[test]
fn calls_of_custom_tools_are_calls_with_one_text() {
    let text = |text: &str| Part::text(text);
    check(
        r#"{"role":"user","content":"hi"},{"type":"custom_tool_call","id":"ctc_1","call_id":"a","name":"f","input":"say \"hi\"\n"},
        {"type":"custom_tool_call_output","call_id":"a","output":"no"},{"type":"custom_tool_call","call_id":"b","name":"f","input":""},
        {"type":"custom_tool_call_output","call_id":"b","output":[{"type":"input_text","text":"x"},{"type":"input_text","text":"y"}]}"#,
        &[
            user(vec![text("hi")]),
            assistant(vec![called("a", r#"{"input":"say \"hi\"\n"}"#, None)]),
            user(vec![result("a", vec![text("no")])]),
            assistant(vec![called("b", r#"{"input":""}"#, None)]),
            user(vec![result("b", vec![text("x"), text("y")])]),
        ],
    );
}

#[test]
fn tools_in_a_namespace_are_functions_with_its_name_before_theirs() {
    let tools = r#""tools":[{"type":"namespace","name":"mcp__files__","description":"Files.","tools":[
        {"type":"function","name":"read","description":"d","strict":true},{"type":"custom","name":"edit"}]},
        {"type":"namespace","name":"agents","tools":[{"type":"function","name":"read"}]},{"type":"function","name":"read"}]"#;
    let said = of(&format!(
        r#""input":[{{"role":"user","content":"hi"}},{{"type":"function_call","call_id":"a","namespace":"agents","name":"read","arguments":"{{}}"}}],{tools}"#
    ));
    assert_eq!(names(&said), ["mcp__files__read", "mcp__files__edit", "agents__read", "read"]);
    assert_eq!(
        said.own_tools,
        [
            own("mcp__files__read", "read", Some("mcp__files__"), false),
            own("mcp__files__edit", "edit", Some("mcp__files__"), true),
            own("agents__read", "read", Some("agents"), false),
        ]
    );
    assert_eq!((said.tools[0].description.as_deref(), said.tools[0].strict), (Some("Files.\n\nd"), Some(true)));
    assert!(matches!(&said.turns[1].parts[0], Part::Call(call) if call.name == "agents__read"));
    let choice = |choice: &str| of(&format!(r#""input":"hi",{tools},"tool_choice":{choice}"#));
    let named = choice(r#"{"type":"function","namespace":"agents","name":"read"}"#);
    assert_eq!(named.tool_choice, ToolChoice::Named("agents__read".into()));
    let allowed = choice(r#"{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"read"}]}"#);
    assert_eq!(names(&allowed), ["read"]);
}

#[test]
fn a_search_of_the_providers_is_left_out_beside_other_tools_and_told() {
    let tools = r#""tools":[{"type":"web_search","external_web_access":true},{"type":"function","name":"f"}]"#;
    let said = of(&format!(r#""input":"hi",{tools}"#));
    assert_eq!((names(&said), &said.unsaid), (vec!["f"], &vec!["tools.web_search".to_owned()]));
    let named = of(&format!(r#""input":"hi",{tools},"tool_choice":{{"type":"function","name":"f"}}"#));
    assert_eq!(named.tool_choice, ToolChoice::Named("f".into()));
    let with = |choice: &str| {
        let what =
            if choice.contains("required") { "`tools[0]` of type `web_search`" } else { "`tool_choice` of type `web_search`" };
        refused(FRONTEND, &format!(r#"{{"model":"m","input":"hi",{tools},"tool_choice":{choice}}}"#), what);
    };
    with(r#""required""#);
    with(r#"{"type":"web_search"}"#);
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
    with(r#""tools":[{"type":"local_shell"}]"#, "`tools[0]` of type `local_shell`");
    with(r#""tools":[{"type":"custom"}]"#, "`tools[0]` of type `custom`");
    with(r#""tools":[{"type":"custom","name":"a","format":{"type":"html"}}]"#, "`tools[0].format` of type `html`");
    with(r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"mcp"}]}]"#, "`tools[0].tools[0]` of type `mcp`");
    with(r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"namespace","name":"m"}]}]"#, "of type `namespace`");
    with(r#""tools":[{"type":"namespace","name":"n","tools":5}]"#, "`tools[0].tools` as they are");
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
    "custom",
    "custom_tool_call",
    "custom_tool_call_output",
    "namespace",
    "input",
    "grammar",
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
