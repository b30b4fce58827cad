//! Requests as they go out.

use serde_json::{Value, json};

use super::*;
use crate::canonical::conversation::{CacheLifetime, Efforts, Medium, Seal, SealKind, Source, Text, Thought, ToolResult, Turn};
use crate::catalog::capability::Quirks;
use crate::catalog::{BudgetBounds, Steering};
use crate::dialect::testing::{call, model, of, raw, user};
use crate::dialect::{BedrockConverse, Dialect};
use crate::units::Tokens;

fn out(converse: ConverseFields) -> Outgoing<'static> {
    let steering = Steering { converse, ..Steering::UNKNOWN };
    let quirks = Quirks { adaptive_thinking: true, ..Quirks::default() };
    Outgoing { reasoning: Reasoning::Switchable, steering, max_output: Tokens::new(8_000), ..Outgoing::to("m", quirks) }
}

fn sent_to(conversation: &Conversation, out: &Outgoing<'_>) -> Value {
    serde_json::from_slice(&BedrockConverse.write(conversation, out).unwrap()).unwrap()
}

fn sent(conversation: &Conversation) -> Value {
    sent_to(conversation, &out(ConverseFields::Messages))
}

fn refused(parts: Vec<Part>, what: &str) {
    let refusal = BedrockConverse.write(&of([user(parts)]), &out(ConverseFields::None)).unwrap_err();
    assert_eq!(refusal.to_string(), format!("{what} cannot be said in bedrock-converse"));
}

fn asked() -> Conversation {
    of([user([Part::text("Hi.")])])
}

fn answered(id: &str, parts: impl Into<Vec<Part>>, is_error: bool) -> Part {
    Part::Result(ToolResult { id: id.into(), parts: parts.into(), is_error, cached: None })
}

fn medium(source: Source, media_type: &str, name: Option<&str>) -> Medium {
    Medium { source, media_type: Some(media_type.into()), name: name.map(Into::into), detail: None, cached: None }
}

fn base64(media_type: &str) -> Medium {
    medium(Source::Base64("AAAA".into()), media_type, None)
}

fn tool(name: &str) -> Tool {
    Tool { name: name.into(), description: None, parameters: None, strict: None, cached: None }
}

fn marked(text: &str, lifetime: CacheLifetime) -> Part {
    Part::Text(Text { text: text.into(), cached: Some(lifetime) })
}

fn thought(text: &str, kind: SealKind) -> Part {
    Part::Thought(Thought { text: text.into(), seal: Some(Seal { kind, value: "c2ln".into() }) })
}

/// What the turns become.
fn messages(turns: impl Into<Vec<Turn>>, expected: &Value) {
    assert_eq!(&sent(&of(turns))["messages"], expected);
}

#[test]
fn all_of_a_conversation_is_written() {
    let parameters = r##"{"type":"object","properties":{"city":{"$ref":"#/$defs/city"}}}"##;
    let mut conversation = of([user([Part::text("Weather in Oslo?")])]);
    conversation.system = vec![marked("Be brief.", CacheLifetime::Hour), Part::text(" ")];
    conversation.tools = vec![
        Tool {
            description: Some("by city".into()),
            parameters: Some(raw(parameters)),
            cached: Some(CacheLifetime::Minutes),
            ..tool("weather")
        },
        tool("time"),
    ];
    conversation.tool_choice = ToolChoice::Named("weather".into());
    conversation.parallel_calls = Some(false);
    conversation.output_bound = Some(Tokens::new(400));
    conversation.user = Some("u".into());
    conversation.stream = true;
    conversation.sampling.temperature = Some(raw("0.70"));
    conversation.sampling.top_k = Some(raw("40"));
    conversation.sampling.seed = Some(raw("7"));
    conversation.sampling.stop = vec!["END".into(), "\n".into()];
    conversation.format = Format::JsonSchema(AnswerSchema {
        name: "a".into(),
        description: None,
        schema: raw(r#"{"type": "object"}"#),
        strict: None,
    });
    let out = Outgoing { output_bound: Some(Tokens::new(300)), ..out(ConverseFields::Messages) };
    let body = String::from_utf8(BedrockConverse.write(&conversation, &out).unwrap().to_vec()).unwrap();
    let expected = r#"{"messages":[{"role":"user","content":[{"text":"Weather in Oslo?"}]}],"system":[{"text":"Be brief."},{"cachePoint":{"type":"default","ttl":"1h"}},{"text":"Call at most one tool at a time."}],"inferenceConfig":{"maxTokens":300,"temperature":0.70,"stopSequences":["END"]},"toolConfig":{"tools":[{"toolSpec":{"name":"weather","description":"by city","inputSchema":{"json":PARAMETERS}}},{"cachePoint":{"type":"default"}},{"toolSpec":{"name":"time","inputSchema":{"json":{"properties":{},"type":"object"}}}}],"toolChoice":{"tool":{"name":"weather"}}},"additionalModelRequestFields":{"top_k":40},"additionalModelResponseFieldPaths":["/stop_sequence"],"outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":{"schema":"{\"type\": \"object\"}","name":"a"}}}}}"#;
    assert_eq!(body, expected.replace("PARAMETERS", parameters));
}

#[test]
fn what_was_not_said_is_not_sent() {
    let expected = json!({"messages": [{"role": "user", "content": [{"text": "Hi."}]}], "inferenceConfig": {"maxTokens": 8000}});
    for fields in [ConverseFields::None, ConverseFields::Messages, ConverseFields::Nova] {
        assert_eq!(sent_to(&asked(), &out(fields)), expected);
    }
}

#[test]
fn the_sides_take_turns_and_nothing_is_empty() {
    messages(
        [
            model([Part::text("Hello.")]),
            user([Part::text("a")]),
            user([Part::text(" "), Part::text("b")]),
            model([Part::text("")]),
        ],
        &json!([
            {"role": "user", "content": [{"text": "Go on."}]},
            {"role": "assistant", "content": [{"text": "Hello."}]},
            {"role": "user", "content": [{"text": "a"}, {"text": "b"}]},
        ]),
    );
}

#[test]
fn media_are_written_where_bedrock_knows_them_and_refused_elsewhere() {
    let named = |name| Part::Document(medium(Source::Base64("AAAA".into()), "application/pdf", name));
    messages(
        [user([
            Part::Image(base64("image/png")),
            Part::Audio(base64("audio/wav")),
            named(Some("a/b_ c.pdf")),
            named(None),
            named(None),
            Part::Document(medium(Source::Text("Words.".into()), "text/plain", None)),
        ])],
        &json!([{"role": "user", "content": [
            {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
            {"audio": {"format": "wav", "source": {"bytes": "AAAA"}}},
            {"document": {"format": "pdf", "name": "a b c pdf", "source": {"bytes": "AAAA"}}},
            {"document": {"format": "pdf", "name": "document", "source": {"bytes": "AAAA"}}},
            {"document": {"format": "pdf", "name": "document (2)", "source": {"bytes": "AAAA"}}},
            {"text": "Words."},
        ]}]),
    );
    // One without a text beside it is refused there.
    messages(
        [user([Part::Document(base64("text/csv"))])],
        &json!([{"role": "user", "content": [
            {"document": {"format": "csv", "name": "document", "source": {"bytes": "AAAA"}}}, {"text": "A document is attached."},
        ]}]),
    );
    // Found by a reader: a client could have pictures of the operator's S3 described to it.
    for link in ["https://x.example/a.png", "s3://bucket/a.png"] {
        refused(vec![Part::Image(medium(Source::Url(link.into()), "image/png", None))], "an image behind a link");
    }
    refused(vec![Part::Image(base64("image/bmp"))], "an image of type `image/bmp`");
    refused(
        vec![Part::Document(medium(Source::FileId("f".into()), "application/pdf", None))],
        "a document that another provider keeps",
    );
    refused(vec![Part::Audio(Medium { media_type: None, ..base64("") })], "a sound without its media type");
}

#[test]
fn calls_and_their_answers_are_told_with_what_stands_in_them() {
    let turns = [
        user([Part::text("Look.")]),
        model([call("a", "see", r#"{"n": 1}"#), call("b:1", "see", "no json"), call("c", "see", "")]),
        user([
            Part::text("Here."),
            answered("a", [Part::text("seen"), Part::Image(base64("image/webp"))], false),
            answered("b:1", [], true),
            answered("c", [marked("kept", CacheLifetime::Minutes)], false),
        ]),
    ];
    let conversation = Conversation { tools: vec![tool("see")], ..of(turns) };
    let told = sent(&conversation);
    let second = told["messages"][1]["content"].as_array().unwrap();
    assert_eq!(second[0], json!({"toolUse": {"toolUseId": "a", "name": "see", "input": {"n": 1}}}));
    assert_eq!(second[1]["toolUse"]["input"], json!({"_raw": "no json"}));
    assert_eq!(second[2]["toolUse"]["input"], json!({}));
    let odd = &second[1]["toolUse"]["toolUseId"];
    let image = json!({"image": {"format": "webp", "source": {"bytes": "AAAA"}}});
    let expected = json!([
        {"toolResult": {"toolUseId": "a", "content": [{"text": "seen"}, image]}},
        {"toolResult": {"toolUseId": odd, "content": [{"text": "(nothing)"}], "status": "error"}},
        {"toolResult": {"toolUseId": "c", "content": [{"text": "kept"}]}},
        {"cachePoint": {"type": "default"}},
        {"text": "Here."},
    ]);
    assert_eq!(told["messages"][2]["content"], expected);
}

#[test]
fn which_tools_are_to_be_called_is_told_or_said() {
    let choose = |choice, history: bool| {
        let mut conversation = asked();
        if history {
            conversation.turns.extend([model([call("a", "f", "{}")]), user([answered("a", [Part::text("4")], false)])]);
        }
        conversation.tools = vec![tool("f")];
        conversation.tool_choice = choice;
        sent(&conversation)
    };
    assert_eq!(choose(ToolChoice::Auto, false)["toolConfig"]["toolChoice"], Value::Null);
    assert_eq!(choose(ToolChoice::Required, false)["toolConfig"]["toolChoice"], json!({"any": {}}));
    assert_eq!(choose(ToolChoice::Named("f".into()), false)["toolConfig"]["toolChoice"], json!({"tool": {"name": "f"}}));
    let none = choose(ToolChoice::None, false);
    assert_eq!((&none["toolConfig"], &none["system"]), (&Value::Null, &Value::Null));
    let none = choose(ToolChoice::None, true);
    assert_eq!(none["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
    assert_eq!(none["system"], json!([{"text": NO_CALLS}]));
    // Those that were called where there are none any more.
    let history = of([user([Part::text("a")]), model([call("a", "g", "{}")]), user([answered("a", [Part::text("4")], false)])]);
    let told = sent(&history);
    assert_eq!(
        (&told["toolConfig"]["tools"][0]["toolSpec"]["name"], &told["system"]),
        (&json!("g"), &json!([{"text": NO_CALLS}]))
    );
}

#[test]
fn own_thoughts_go_back_with_their_seals_and_those_of_others_do_not() {
    let thoughts = [
        thought("hm", SealKind::BedrockSignature),
        thought("", SealKind::BedrockRedacted),
        thought("hm", SealKind::AnthropicSignature),
        thought("", SealKind::AnthropicRedacted),
        thought("hm", SealKind::GeminiSignature),
        thought("hm", SealKind::OpenAiEncrypted),
        Part::Thought(Thought { text: "hm".into(), seal: None }),
        Part::text("So."),
    ];
    let conversation = of([user([Part::text("a")]), model(thoughts), user([Part::text("b")])]);
    let said = |conversation: &Conversation| sent(conversation)["messages"][1]["content"].clone();
    let expected = json!([
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "c2ln"}},
        {"text": "So."},
    ]);
    assert_eq!(said(&conversation), expected);
    // A provider that did not make them gets none.
    assert_eq!(said(&conversation.with_seals(|_| false)), json!([{"text": "So."}]));
    // And Bedrock's are told to no other.
    for shape in [Shape::AnthropicMessages, Shape::OpenAiResponses, Shape::GeminiGenerate, Shape::OpenAiChat] {
        let told = crate::dialect::of(shape).write(&conversation, &out(ConverseFields::None)).unwrap();
        let own = usize::from(shape != Shape::OpenAiChat);
        assert!(String::from_utf8_lossy(&told).matches("c2ln").count() <= own * 2, "{shape:?}");
        assert!(!String::from_utf8_lossy(&told).contains("bedrock"), "{shape:?}");
    }
}

#[test]
fn only_a_model_that_is_known_to_cache_is_told_where() {
    let mut conversation = of([user([marked("a", CacheLifetime::Hour), marked("b", CacheLifetime::Minutes)])]);
    conversation.system = vec![marked("s", CacheLifetime::Minutes)];
    conversation.tools =
        vec![Tool { cached: Some(CacheLifetime::Hour), ..tool("f") }, Tool { cached: Some(CacheLifetime::Hour), ..tool("g") }];
    let points = |fields| {
        let told = sent_to(&conversation, &out(fields));
        let of = |list: &Value| {
            list.as_array().unwrap().iter().filter_map(|entry| entry.get("cachePoint").cloned()).collect::<Vec<_>>()
        };
        [of(&told["toolConfig"]["tools"]), of(&told["system"]), of(&told["messages"][0]["content"])]
    };
    let (short, long) = (json!({"type": "default"}), json!({"type": "default", "ttl": "1h"}));
    assert_eq!(points(ConverseFields::None), [const { Vec::<Value>::new() }; 3]);
    // Four at most, the last ones.
    assert_eq!(points(ConverseFields::Messages), [vec![long.clone()], vec![short.clone()], vec![long, short.clone()]]);
    assert_eq!(points(ConverseFields::Nova), [vec![], vec![short.clone()], vec![short.clone(), short]]);
}

/// Found by a reviewer: marks of tools that were not told took the place of others.
#[test]
fn marks_of_tools_that_are_not_told_do_not_count() {
    let all = ["a", "b", "c"].map(|text| marked(text, CacheLifetime::Minutes));
    let mut conversation = of([user(all)]);
    conversation.tools = ["f", "g"].map(|name| Tool { cached: Some(CacheLifetime::Minutes), ..tool(name) }).to_vec();
    conversation.tool_choice = ToolChoice::None;
    let told = sent_to(&conversation, &out(ConverseFields::Messages));
    let points = told["messages"][0]["content"].as_array().unwrap().iter().filter(|block| block.get("cachePoint").is_some());
    assert_eq!((points.count(), told.get("toolConfig")), (3, None));
}

#[test]
fn thinking_is_told_in_the_words_of_the_models_maker() {
    let wish = |wish, effort, budget: Option<u64>| {
        let thinking = ThinkingWish { wish, effort, budget: budget.map(Tokens::new), off_by_default: false };
        Conversation { thinking, ..asked() }
    };
    let fields = |conversation: &Conversation, out: &Outgoing<'_>| {
        let told = sent_to(conversation, out);
        (told["additionalModelRequestFields"].clone(), told["outputConfig"]["effort"].clone())
    };
    let (hard, off) = (wish(ReasoningWish::Unsaid, Some(Effort::High), None), wish(ReasoningWish::Off, None, None));
    let budget = wish(ReasoningWish::On, None, Some(2_000));
    let words: Efforts = [Effort::Low, Effort::High].into_iter().collect();
    let bounds = BudgetBounds { least: Tokens::new(1_024), most: Tokens::new(32_000) };
    let of = |converse, efforts, budget| {
        let out = out(converse);
        Outgoing { steering: Steering { efforts, budget, ..out.steering }, ..out }
    };
    let (adaptive, numbered) =
        (of(ConverseFields::Messages, words, None), of(ConverseFields::Messages, Efforts::NONE, Some(bounds)));
    assert_eq!(fields(&hard, &adaptive), (json!({"thinking": {"type": "adaptive"}}), json!("high")));
    assert_eq!(fields(&budget, &numbered), (json!({"thinking": {"type": "enabled", "budget_tokens": 2000}}), Value::Null));
    assert_eq!(fields(&off, &numbered), (json!({"thinking": {"type": "disabled"}}), Value::Null));
    let nova = out(ConverseFields::Nova);
    let config = |effort: &str| (json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}}), Value::Null);
    assert_eq!(fields(&hard, &nova), config("medium"));
    assert_eq!(fields(&budget, &nova), config("low"));
    assert_eq!(fields(&off, &nova), (json!({"reasoningConfig": {"type": "disabled"}}), Value::Null));
    for conversation in [&hard, &budget, &off] {
        assert_eq!(fields(conversation, &out(ConverseFields::None)), (Value::Null, Value::Null));
    }
    let drawn = Conversation {
        sampling: crate::canonical::conversation::Sampling { top_k: Some(raw("5")), ..Default::default() },
        ..asked()
    };
    assert_eq!(fields(&drawn, &nova).0, json!({"inferenceConfig": {"topK": 5}}));
}

#[test]
fn a_loop_of_tools_is_thought_on_only_with_its_own_thought() {
    let wished = |kind| {
        let history = [
            user([Part::text("a")]),
            model([thought("hm", kind), call("a", "f", "{}")]),
            user([answered("a", [Part::text("4")], false)]),
        ];
        let thinking = ThinkingWish { effort: Some(Effort::Low), ..ThinkingWish::default() };
        sent(&Conversation { thinking, tools: vec![tool("f")], ..of(history) })["additionalModelRequestFields"]["thinking"]["type"].clone()
    };
    assert_eq!(wished(SealKind::BedrockSignature), "adaptive");
    assert_eq!(wished(SealKind::AnthropicSignature), "disabled");
}

#[test]
fn what_is_left_out_is_told() {
    let told = |change: fn(&mut Conversation), fields| {
        let mut conversation = asked();
        change(&mut conversation);
        let words = BedrockConverse.leaves_out(&conversation, &out(fields));
        words.iter().map(|parameter| parameter.word(Shape::OpenAiChat)).collect::<Vec<_>>()
    };
    let drawn: fn(&mut Conversation) = |said| {
        said.sampling.temperature = Some(raw("0.5"));
        said.sampling.top_p = Some(raw("0.5"));
        said.sampling.top_k = Some(raw("5"));
        said.sampling.seed = Some(raw("7"));
        said.sampling.presence_penalty = Some(raw("1"));
    };
    assert_eq!(told(drawn, ConverseFields::None), ["top_k", "seed", "presence_penalty"]);
    assert_eq!(told(drawn, ConverseFields::Nova), ["seed", "presence_penalty"]);
    assert_eq!(told(drawn, ConverseFields::Messages), ["top_p", "seed", "presence_penalty"]);
    let hard: fn(&mut Conversation) = |said| {
        said.thinking.effort = Some(Effort::High);
        said.sampling.temperature = Some(raw("0.5"));
    };
    assert_eq!(told(hard, ConverseFields::None), ["reasoning_effort"]);
    assert_eq!(told(hard, ConverseFields::Nova), [""; 0]);
    assert_eq!(told(hard, ConverseFields::Messages), ["temperature"]);
    let off: fn(&mut Conversation) = |said| said.thinking.wish = ReasoningWish::Off;
    assert_eq!(told(off, ConverseFields::None), ["reasoning_effort"]);
    assert_eq!(told(off, ConverseFields::Nova), [""; 0]);
    assert_eq!(told(|said| said.sampling.temperature = Some(raw("1.5")), ConverseFields::None), ["temperature"]);
}
