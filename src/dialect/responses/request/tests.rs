//! Requests as they go out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::canonical::conversation::{
    CacheLifetime, Hints, Medium, Part, Role, Seal, SealKind, Source, Text, Thought, ToolResult, Turn,
};
use crate::catalog::Steering;
use crate::catalog::capability::{Hint, Quirks};
use crate::dialect::testing::{call, model, of, raw, user};
use crate::dialect::{Dialect, OpenAiResponses};

/// A site that tells thoughts encrypted.
fn seals() -> Quirks {
    Quirks { encrypted_reasoning: true, ..Quirks::default() }
}

fn write(conversation: &Conversation, quirks: Quirks, reasoning: Reasoning, bound: Option<u64>) -> Result<Value, String> {
    let out = Outgoing { reasoning, output_bound: bound.map(Tokens::new), ..Outgoing::to("gpt-6-luna", quirks) };
    let body = OpenAiResponses.write(conversation, &out).map_err(|refused| refused.to_string())?;
    Ok(serde_json::from_slice(&body).unwrap())
}

fn sent(conversation: &Conversation) -> Value {
    write(conversation, seals(), Reasoning::Switchable, None).unwrap()
}

fn thought(text: &str, kind: Option<SealKind>) -> Part {
    Part::Thought(Thought { text: text.into(), seal: kind.map(|kind| Seal { kind, value: "c2ln".into() }) })
}

fn answered(id: &str, parts: impl Into<Vec<Part>>) -> Part {
    Part::Result(ToolResult { id: id.into(), parts: parts.into(), is_error: false, cached: None })
}

fn medium(source: Source, media_type: Option<&str>) -> Medium {
    Medium { source, media_type: media_type.map(Into::into), name: None, detail: None, cached: None }
}

fn says(role: &str, text: &str) -> Value {
    json!({"type": "message", "role": role, "content": text})
}

/// What the turns become.
fn input(turns: impl Into<Vec<Turn>>, expected: &Value) {
    assert_eq!(&sent(&of(turns))["input"], expected);
}

fn refused(conversation: &Conversation, what: &str) {
    let said = write(conversation, seals(), Reasoning::Switchable, None).unwrap_err();
    assert_eq!(said, format!("{what} cannot be said in openai-responses"));
}

#[test]
fn all_of_a_conversation_is_written() {
    let tool = |name: &str, parameters: Option<&str>, strict| Tool {
        name: name.into(),
        description: parameters.map(|_| "by city".into()),
        parameters: parameters.map(raw),
        strict,
        cached: None,
    };
    let mut conversation = of([user([Part::text("Weather in Oslo?")])]);
    conversation.system = vec![Part::Text(Text { text: "Be brief.".into(), cached: Some(CacheLifetime::Hour) }), Part::text("")];
    conversation.tools = vec![tool("weather", Some(r#"{"type":"object"}"#), None), tool("time", None, Some(true))];
    conversation.tool_choice = ToolChoice::Named("weather".into());
    conversation.parallel_calls = Some(false);
    conversation.output_bound = Some(Tokens::new(400));
    conversation.user = Some("u".into());
    conversation.stream = true;
    conversation.sampling.temperature = Some(raw("0.70"));
    conversation.sampling.top_p = Some(raw("1e-1"));
    conversation.sampling.top_k = Some(raw("40"));
    conversation.sampling.seed = Some(raw("7"));
    conversation.thinking.effort = Some(Effort::Max);
    conversation.format = Format::JsonSchema(AnswerSchema {
        name: String::new(),
        description: None,
        schema: raw(r#"{"type":"object"}"#),
        strict: Some(true),
    });
    let expected = json!({
        "model": "gpt-6-luna", "instructions": "Be brief.", "input": [says("user", "Weather in Oslo?")],
        "tools": [
            {"type": "function", "name": "weather", "description": "by city", "parameters": {"type": "object"}, "strict": false},
            {"type": "function", "name": "time", "parameters": {"type": "object", "properties": {}}, "strict": true},
        ],
        "tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": false,
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": true}},
        "reasoning": {"effort": "high"}, "temperature": 0.70, "top_p": 1e-1, "max_output_tokens": 400,
        "stream": true, "store": false, "include": ["reasoning.encrypted_content"], "user": "u",
    });
    assert_eq!(sent(&conversation), expected);
    assert_eq!(write(&conversation, seals(), Reasoning::Switchable, Some(99)).unwrap()["max_output_tokens"], 99);
    conversation.user = Some("u".repeat(65));
    conversation.format = Format::JsonObject;
    let shorter = sent(&conversation);
    assert_eq!((shorter.get("user"), &shorter["text"]), (None, &json!({"format": {"type": "json_object"}})));
}

#[test]
fn seals_are_asked_for_where_they_can_be_had() {
    let asked = of([user([Part::text("hi")])]);
    let least = json!({"model": "gpt-6-luna", "input": [says("user", "hi")], "store": false});
    for (quirks, reasoning) in [(seals(), Reasoning::Never), (Quirks::default(), Reasoning::Always)] {
        assert_eq!(write(&asked, quirks, reasoning, None).unwrap(), least);
    }
    assert_eq!(write(&asked, seals(), Reasoning::Always, None).unwrap()["include"], json!(["reasoning.encrypted_content"]));
}

#[test]
fn thinking_is_told_as_an_effort() {
    let effort = |wish, effort, budget: Option<u64>, reasoning| {
        let thinking = ThinkingWish { wish, effort, budget: budget.map(Tokens::new), ..ThinkingWish::default() };
        let conversation = Conversation { thinking, ..of([user([Part::text("hi")])]) };
        write(&conversation, seals(), reasoning, None)
            .unwrap()
            .get("reasoning")
            .map(|told| told["effort"].as_str().unwrap().to_owned())
    };
    let (unsaid, on, off) = (ReasoningWish::Unsaid, ReasoningWish::On, ReasoningWish::Off);
    assert_eq!(effort(unsaid, None, None, Reasoning::Always), None);
    assert_eq!(effort(on, None, None, Reasoning::Switchable).as_deref(), Some("medium"));
    assert_eq!(effort(off, Some(Effort::High), None, Reasoning::Switchable).as_deref(), Some("none"));
    assert_eq!(effort(on, Some(Effort::Minimal), None, Reasoning::Always).as_deref(), Some("low"));
    assert_eq!(effort(unsaid, None, Some(8_000), Reasoning::Always).as_deref(), Some("medium"));
    assert_eq!(effort(on, Some(Effort::High), None, Reasoning::Never), None);
}

#[test]
fn turns_become_items_in_their_order() {
    let ours = Some(SealKind::OpenAiEncrypted);
    let turns = [
        user([Part::text("Weather?"), Part::text("Now.")]),
        model([
            thought("Use it.", ours),
            thought("", ours),
            Part::text("Let me see."),
            call("call_1", "weather", r#"{"city":"Oslo"}"#),
            call("call_2", "time", " "),
        ]),
        user([Part::text("Go on."), answered("call_1", [Part::text("4"), Part::text("5")]), answered("call_2", [])]),
    ];
    let sealed = |summary: Value| json!({"type": "reasoning", "summary": summary, "encrypted_content": "c2ln"});
    input(
        turns,
        &json!([
            says("user", "Weather?\nNow."),
            sealed(json!([{"type": "summary_text", "text": "Use it."}])),
            sealed(json!([])),
            says("assistant", "Let me see."),
            {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": r#"{"city":"Oslo"}"#},
            {"type": "function_call", "call_id": "call_2", "name": "time", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_1", "output": "4\n5"},
            {"type": "function_call_output", "call_id": "call_2", "output": ""},
            says("user", "Go on."),
        ]),
    );
}

#[test]
fn thoughts_that_nobody_there_can_read_are_not_sent() {
    let foreign = [None, Some(SealKind::AnthropicSignature), Some(SealKind::AnthropicRedacted), Some(SealKind::GeminiSignature)];
    for kind in foreign {
        input(
            [model([thought("hm", kind), Part::Refusal("No.".into())]), user([Part::text("?")])],
            &json!([says("assistant", "No."), says("user", "?")]),
        );
    }
    // One that led to nothing would be refused.
    let ours = Some(SealKind::OpenAiEncrypted);
    input(
        [model([Part::text("x"), thought("hm", ours)]), user([Part::text("?")])],
        &json!([says("assistant", "x"), says("user", "?")]),
    );
}

#[test]
fn there_is_always_an_item() {
    let alone = Conversation { system: vec![Part::text("Be brief.")], ..of([user([Part::text("")])]) };
    let told = sent(&alone);
    assert_eq!((&told["input"], told.get("instructions")), (&json!([says("system", "Be brief.")]), None));
}

#[test]
fn media_have_parts_of_their_own() {
    let image = |source, detail: Option<&str>| {
        Part::Image(Medium { detail: detail.map(Into::into), ..medium(source, Some("image/jpeg")) })
    };
    let named = Medium { name: Some("a.pdf".into()), ..medium(Source::Base64("AAAA".into()), None) };
    let (text, link) = (Source::Text("Words.".into()), Source::Url("https://x.example/a".into()));
    let content = [
        Part::text("See:"),
        image(Source::Base64("AAAA".into()), Some("low")),
        image(link.clone(), None),
        Part::Document(named),
        Part::Document(Medium { name: Some("b".into()), ..medium(link, None) }),
        Part::Document(medium(text, None)),
        Part::Document(medium(Source::Base64("SGkh".into()), Some("text/markdown"))),
    ];
    let expected = json!([
        {"type": "input_text", "text": "See:"},
        {"type": "input_image", "image_url": "data:image/jpeg;base64,AAAA", "detail": "low"},
        {"type": "input_image", "image_url": "https://x.example/a", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_text", "text": "b"},
        {"type": "input_file", "file_url": "https://x.example/a"},
        {"type": "input_text", "text": "Words."},
        {"type": "input_text", "text": "Hi!"},
    ]);
    input([user(content.clone())], &json!([{"type": "message", "role": "user", "content": expected}]));
    let turns = [model([call("c", "f", "{}")]), user([answered("c", content)])];
    assert_eq!(sent(&of(turns))["input"][1], json!({"type": "function_call_output", "call_id": "c", "output": expected}));
}

#[test]
fn what_has_no_word_here_is_refused() {
    let mut stops = of([user([Part::text("hi")])]);
    stops.sampling.stop = vec!["END".into()];
    refused(&stops, "a stop sequence");
    refused(&of([user([Part::text("hi")]), model([Part::text("{")])]), "an answer that is begun already");
    let kept = || Source::FileId("f".into());
    refused(&of([user([Part::Image(medium(kept(), None))])]), "an image that another provider keeps");
    refused(&of([user([Part::Document(medium(kept(), None))])]), "a document that another provider keeps");
    refused(&of([user([Part::Audio(medium(Source::Base64("AAAA".into()), None))])]), "sound");
}

/// Found by a reviewer: each reminder changed the instructions, so that all of the cached prompt was lost.
#[test]
fn instructions_between_the_turns_keep_their_place() {
    let later = Turn { role: Role::System, parts: vec![Part::text("b"), Part::text("c")] };
    let said = Conversation { system: vec![Part::text("a")], ..of([user([Part::text("hi")]), model([Part::text("ho")]), later]) };
    let anywhere = Quirks { instructions_anywhere: true, ..seals() };
    let told = write(&said, anywhere, Reasoning::Switchable, None).unwrap();
    assert_eq!(told["instructions"], "a");
    assert_eq!(told["input"], json!([says("user", "hi"), says("assistant", "ho"), says("system", "b\n\nc")]));
    let begun = write(&said, seals(), Reasoning::Switchable, None).unwrap_err();
    assert_eq!(begun, "an answer that is begun already cannot be said in openai-responses");
    let mut asked = said;
    asked.turns.push(user([Part::text("?")]));
    assert_eq!(write(&asked, seals(), Reasoning::Switchable, None).unwrap()["instructions"], "a\n\nb\n\nc");
}

/// Found by a reviewer: which cache, how soon, how long an answer and where the prompt is marked was lost on the way from chat.
#[test]
fn hints_and_marks_are_told_to_those_that_know_them() {
    let said = |text: &str| Some(text.to_owned());
    let marked = |text: &str| Part::Text(Text { text: text.into(), cached: Some(CacheLifetime::Minutes) });
    let mut conversation = of([user([Part::text("hi"), marked("ho")])]);
    conversation.system = vec![marked("a")];
    conversation.hints = Hints { cache_key: said("k"), tier: said("flex"), verbosity: said("low") };
    let plain = sent(&conversation);
    assert_eq!((&plain["instructions"], &plain["input"]), (&json!("a"), &json!([says("user", "hi\nho")])));
    assert!(["prompt_cache_key", "service_tier", "text"].iter().all(|name| plain.get(name).is_none()), "{plain}");
    let quirks = Quirks { hints: Hint::WORDS.into_iter().map(|(hint, _)| hint).collect(), ..seals() };
    let steering = Steering { cache_marks: true, ..Steering::UNKNOWN };
    let out = Outgoing { reasoning: Reasoning::Always, steering, ..Outgoing::to("gpt-6-luna", quirks) };
    let told: Value = serde_json::from_slice(&OpenAiResponses.write(&conversation, &out).unwrap()).unwrap();
    assert_eq!((&told["prompt_cache_key"], &told["service_tier"]), (&json!("k"), &json!("flex")));
    assert_eq!(told["text"], json!({"verbosity": "low"}));
    let piece = |text: &str| json!({"type": "input_text", "text": text, "prompt_cache_breakpoint": {"mode": "explicit"}});
    let content = |role: &str, parts: Value| json!({"type": "message", "role": role, "content": parts});
    let first = content("system", json!([piece("a")]));
    let second = content("user", json!([{"type": "input_text", "text": "hi"}, piece("ho")]));
    assert_eq!((&told["input"], told.get("instructions")), (&json!([first, second]), None));
}

/// Found by a reviewer: a tool that failed without a word looked like one that had nothing to say, and documents lost their titles.
#[test]
fn failures_and_titles_are_said() {
    let failed = Part::Result(ToolResult { id: "c".into(), parts: vec![], is_error: true, cached: None });
    let titled = Part::Document(Medium { name: Some("A".into()), ..medium(Source::Text("Words.".into()), None) });
    let told = sent(&of([model([call("c", "f", "{}")]), user([failed, titled])]));
    assert_eq!(told["input"][1]["output"], "Error: the tool failed.");
    assert_eq!(told["input"][2], says("user", "A\nWords."));
}

fn a_part() -> impl Strategy<Value = Part> {
    let seal = prop::sample::select(vec![None, Some(SealKind::OpenAiEncrypted), Some(SealKind::GeminiSignature)]);
    prop_oneof![
        ".{0,4}".prop_map(Part::text),
        (".{0,4}", seal).prop_map(|(text, kind)| thought(&text, kind)),
        ("[a-z]{1,2}", ".{0,4}").prop_map(|(name, arguments)| call("c", &name, &arguments)),
        ".{0,4}".prop_map(|text| answered("c", [Part::text(text)])),
    ]
}

proptest! {
    #[test]
    fn every_sealed_thought_stands_before_what_it_led_to(turns in prop::collection::vec((any::<bool>(), prop::collection::vec(a_part(), 0..5)), 0..5)) {
        let turn = |(ours, parts)| if ours { user(parts) } else { model(parts) };
        let mut turns: Vec<Turn> = turns.into_iter().map(turn).collect();
        turns.push(user([Part::text("?")]));
        let told = sent(&of(turns));
        let items = told["input"].as_array().unwrap();
        for (item, next) in items.iter().zip(items.iter().skip(1)) {
            let led = next["role"] == "assistant" || next["type"] == "function_call" || next["type"] == "reasoning";
            prop_assert!(item["type"] != "reasoning" || led, "{}", told["input"]);
        }
        prop_assert!(items.iter().all(|item| item["content"] != ""), "nothing is said without a word");
        prop_assert_eq!(&items[items.len() - 1], &says("user", "?"));
    }
}

/// Found by fuzzing, as with chat.
#[test]
fn a_conversation_in_which_nobody_says_anything_is_not_sent() {
    refused(&of([Turn { role: Role::User, parts: Vec::new() }]), SILENCE);
}
