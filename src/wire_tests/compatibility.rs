//! `docs/compatibility.md`, made by asking the codecs: what becomes of each member of a request at an endpoint of each shape.
//! `TOKENBROKER_WRITE_DOCS=1 cargo test --lib compatibility` writes it; without that the test compares.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderMap;

use crate::canonical::{Direct, Request, Shape};
use crate::catalog::capability::{Hint, Quirks};
use crate::catalog::{ConverseFields, Reasoning, Steering};
use crate::dialect::{self, Outgoing, Path};
use crate::frontend::{self, FrontendRef};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");

/// A member: what it is called on the page, the request without it and what is added.
type Row = (&'static str, &'static str, &'static str);

/// In the order of the page's columns.
const ENDPOINTS: [Shape; Shape::ENDPOINTS.len()] =
    [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::OpenAiResponses, Shape::GeminiGenerate, Shape::BedrockConverse];

/// A place for turns, in a request that is written out as a whole.
const SAYS: &str = "MESSAGES";

const CHAT: &[Row] = &[
    ("`max_completion_tokens`, `max_tokens`", "", r#""max_completion_tokens":9"#),
    ("`temperature`", "", r#""temperature":0.5"#),
    ("`top_p`", "", r#""top_p":0.5"#),
    ("`stop`", "", r#""stop":["END"]"#),
    ("`presence_penalty`, `frequency_penalty`", "", r#""presence_penalty":1,"frequency_penalty":1"#),
    ("`seed`", "", r#""seed":7"#),
    ("`n` above 1", "", r#""n":2"#),
    ("`logprobs`", "", r#""logprobs":true"#),
    ("`logit_bias`", "", r#""logit_bias":{"1":1}"#),
    ("`stream`", "", r#""stream":true"#),
    ("`tools` (functions)", "", r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#),
    ("`tools` (custom)", "", CUSTOM_TOOL),
    (
        GRAMMAR,
        CUSTOM_TOOL,
        r#""tools":[{"type":"custom","custom":{"name":"f","format":{"type":"grammar","grammar":{"syntax":"regex","definition":"a+"}}}}]"#,
    ),
    ("`functions`", "", r#""functions":[{"name":"f","parameters":{"type":"object"}}]"#),
    ("`tool_choice`: none", TOOLS, r#""tool_choice":"none""#),
    ("`tool_choice`: required", TOOLS, r#""tool_choice":"required""#),
    ("`tool_choice`: a function", TOOLS, r#""tool_choice":{"type":"function","function":{"name":"f"}}"#),
    ("`tool_choice`: a custom tool", CUSTOM_TOOL, r#""tool_choice":{"type":"custom","custom":{"name":"f"}}"#),
    (
        "`tool_choice`: allowed tools",
        r#""tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}]"#,
        r#""tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}"#,
    ),
    ("`parallel_tool_calls`: false", TOOLS, r#""parallel_tool_calls":false"#),
    ("`response_format`: json_object", "", r#""response_format":{"type":"json_object"}"#),
    (
        "`response_format`: json_schema",
        "",
        r#""response_format":{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object"}}}"#,
    ),
    ("`reasoning_effort`", "", r#""reasoning_effort":"high""#),
    ("`reasoning_effort`: none", "", r#""reasoning_effort":"none""#),
    ("`thinking`", "", r#""thinking":{"type":"enabled","budget_tokens":2000}"#),
    ("`enable_thinking`", "", r#""enable_thinking":true"#),
    ("`chat_template_kwargs`: whether to think", "", r#""chat_template_kwargs":{"enable_thinking":true}"#),
    ("`chat_template_kwargs`: other arguments", "", r#""chat_template_kwargs":{"x":1}"#),
    ("`verbosity`", "", r#""verbosity":"low""#),
    ("`top_k`", "", r#""top_k":5"#),
    ("`min_p` and other members of single sites", "", r#""min_p":0.1"#),
    ("`modalities`, `audio`", "", r#""modalities":["text","audio"],"audio":{"voice":"alloy","format":"wav"}"#),
    ("`prediction`", "", r#""prediction":{"type":"content","content":"x"}"#),
    ("`web_search_options`", "", r#""web_search_options":{}"#),
    ("`service_tier`", "", r#""service_tier":"flex""#),
    ("`store`, `metadata`", "", r#""store":true,"metadata":{"a":"b"}"#),
    ("`prompt_cache_key`", "", r#""prompt_cache_key":"k""#),
    ("`safety_identifier`, `user`", "", r#""safety_identifier":"u""#),
    ("a message of `system` or `developer`, anywhere", SAYS, r#"{"role":"developer","content":"Be brief."}"#),
    (
        "`prompt_cache_breakpoint` of a part",
        r#"{"role":"user","content":[{"type":"text","text":"x"}]}"#,
        r#"{"role":"user","content":[{"type":"text","text":"x","prompt_cache_breakpoint":{"mode":"explicit"}}]}"#,
    ),
    (
        "`detail`: low of an `image_url`",
        r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}"#,
        r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]}"#,
    ),
    (
        "`image_url` behind a link",
        SAYS,
        r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}"#,
    ),
    (
        "`image_url` with its data",
        SAYS,
        r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}"#,
    ),
    ("`input_audio`", SAYS, r#"{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]}"#),
    (
        "`file` with its data",
        SAYS,
        r#"{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,AAAA"}}]}"#,
    ),
    ("`file` by its id", SAYS, r#"{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}"#),
    (
        "`tool_calls` and a `tool` message",
        SAYS,
        r#"{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"4"}"#,
    ),
    (
        "`reasoning_content` of an answer",
        r#"{"role":"assistant","content":"x"},{"role":"user","content":"y"}"#,
        r#"{"role":"assistant","content":"x","reasoning_content":"hm"},{"role":"user","content":"y"}"#,
    ),
];

const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]"#;

const MESSAGES: &[Row] = &[
    ("`system`", "", r#""system":"Be brief.""#),
    (
        "`cache_control`",
        r#""system":[{"type":"text","text":"Be brief."}]"#,
        r#""system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}]"#,
    ),
    ("`cache_control` of the whole request", "", r#""cache_control":{"type":"ephemeral"}"#),
    ("a message of `system`, anywhere", SAYS, r#"{"role":"system","content":"Be brief."}"#),
    ("`temperature`", "", r#""temperature":0.5"#),
    ("`top_p`", "", r#""top_p":0.5"#),
    ("`top_k`", "", r#""top_k":5"#),
    ("`stop_sequences`", "", r#""stop_sequences":["END"]"#),
    ("`stream`", "", r#""stream":true"#),
    ("`tools`", "", r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#),
    ("`tools` that the provider runs", "", r#""tools":[{"type":"web_search_20250305","name":"web_search"}]"#),
    ("`tool_choice`: any", OWN_TOOLS, r#""tool_choice":{"type":"any"}"#),
    ("`tool_choice`: a tool", OWN_TOOLS, r#""tool_choice":{"type":"tool","name":"f"}"#),
    ("`tool_choice`: none", OWN_TOOLS, r#""tool_choice":{"type":"none"}"#),
    ("`disable_parallel_tool_use`", OWN_TOOLS, r#""tool_choice":{"type":"auto","disable_parallel_tool_use":true}"#),
    ("`thinking`: enabled", "", r#""thinking":{"type":"enabled","budget_tokens":2000}"#),
    ("`thinking`: disabled", r#""thinking":{"type":"enabled","budget_tokens":2000}"#, r#""thinking":{"type":"disabled"}"#),
    ("`output_config.effort`", "", r#""output_config":{"effort":"high"}"#),
    ("`output_config.format`", "", r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#),
    ("`service_tier`", "", r#""service_tier":"flex""#),
    ("`metadata.user_id`", "", r#""metadata":{"user_id":"u"}"#),
    ("`container`", "", r#""container":"c""#),
    ("`mcp_servers`", "", r#""mcp_servers":[{"type":"url","url":"https://example.com","name":"m"}]"#),
    (
        "an image behind a link",
        SAYS,
        r#"{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}]}"#,
    ),
    (
        "an image with its data",
        SAYS,
        r#"{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}"#,
    ),
    (
        "a document with its data",
        SAYS,
        r#"{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}]}"#,
    ),
    (
        "a document as text",
        SAYS,
        r#"{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"Words."}}]}"#,
    ),
    (
        "an image or a document by its id",
        SAYS,
        r#"{"role":"user","content":[{"type":"image","source":{"type":"file","file_id":"f"}}]}"#,
    ),
    (
        "`tool_use` and `tool_result`",
        SAYS,
        r#"{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"4"}]}"#,
    ),
    (
        "`thinking` and `redacted_thinking` of an answer",
        r#"{"role":"assistant","content":[{"type":"text","text":"x"}]},{"role":"user","content":"y"}"#,
        r#"{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"x"}]},{"role":"user","content":"y"}"#,
    ),
    ("an answer that is begun", SAYS, r#"{"role":"assistant","content":"{"}"#),
    (
        "`search_result`",
        SAYS,
        r#"{"role":"user","content":[{"type":"search_result","source":"https://example.com","title":"t","content":[{"type":"text","text":"x"}]}]}"#,
    ),
];

const OWN_TOOLS: &str = r#""tools":[{"name":"f","input_schema":{"type":"object"}}]"#;

const RESPONSES: &[Row] = &[
    ("`instructions`", "", r#""instructions":"Be brief.""#),
    ("`max_output_tokens`", "", r#""max_output_tokens":99"#),
    ("`temperature`", "", r#""temperature":0.5"#),
    ("`top_p`", "", r#""top_p":0.5"#),
    ("`top_logprobs`", "", r#""top_logprobs":2"#),
    ("`stream`", "", r#""stream":true"#),
    ("`tools` (functions)", "", FLAT_TOOLS),
    ("`tools` (custom)", "", FLAT_CUSTOM_TOOL),
    (
        GRAMMAR,
        FLAT_CUSTOM_TOOL,
        r#""tools":[{"type":"custom","name":"f","format":{"type":"grammar","syntax":"lark","definition":"start: /a+/"}}]"#,
    ),
    ("`tools` (in a namespace)", "", r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}]"#),
    ("`tools` that the provider runs", "", r#""tools":[{"type":"web_search"}]"#),
    (
        "`tools`: `web_search` beside the client's",
        FLAT_TOOLS,
        r#""tools":[{"type":"function","name":"f","parameters":{"type":"object"}},{"type":"web_search"}]"#,
    ),
    ("`tool_choice`: required", FLAT_TOOLS, r#""tool_choice":"required""#),
    ("`tool_choice`: a function", FLAT_TOOLS, r#""tool_choice":{"type":"function","name":"f"}"#),
    ("`tool_choice`: a custom tool", FLAT_CUSTOM_TOOL, r#""tool_choice":{"type":"custom","name":"f"}"#),
    ("`parallel_tool_calls`: false", FLAT_TOOLS, r#""parallel_tool_calls":false"#),
    ("`reasoning.effort`", "", r#""reasoning":{"effort":"high"}"#),
    ("`text.verbosity`", "", r#""text":{"verbosity":"low"}"#),
    ("`service_tier`", "", r#""service_tier":"flex""#),
    ("`text.format`: json_schema", "", r#""text":{"format":{"type":"json_schema","name":"a","schema":{"type":"object"}}}"#),
    ("`previous_response_id`", "", r#""previous_response_id":"resp_1""#),
    ("`background`", "", r#""background":true"#),
    ("`include`", "", r#""include":["reasoning.encrypted_content"]"#),
    ("`store`, `metadata`, `client_metadata`", "", r#""store":true,"metadata":{"a":"b"},"client_metadata":{"a":"b"}"#),
    ("`prompt_cache_key`", "", r#""prompt_cache_key":"k""#),
    ("`safety_identifier`, `user`", "", r#""user":"u""#),
    (
        "`prompt_cache_breakpoint` of a part",
        r#"{"role":"user","content":[{"type":"input_text","text":"x"}]}"#,
        r#"{"role":"user","content":[{"type":"input_text","text":"x","prompt_cache_breakpoint":{"mode":"explicit"}}]}"#,
    ),
    (
        "`input_image` behind a link",
        SAYS,
        r#"{"role":"user","content":[{"type":"input_image","image_url":"https://example.com/a.png"}]}"#,
    ),
    (
        "`input_image` with its data",
        SAYS,
        r#"{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AAAA"}]}"#,
    ),
    (
        "`input_file` with its data",
        SAYS,
        r#"{"role":"user","content":[{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,AAAA"}]}"#,
    ),
    (
        "`function_call` and its output",
        SAYS,
        r#"{"type":"function_call","call_id":"a","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"a","output":"4"}"#,
    ),
    (
        "`custom_tool_call` and its output",
        SAYS,
        r#"{"type":"custom_tool_call","call_id":"a","name":"f","input":"x"},{"type":"custom_tool_call_output","call_id":"a","output":"4"}"#,
    ),
    (
        "`reasoning` items of an answer",
        r#"{"role":"assistant","content":"x"},{"role":"user","content":"y"}"#,
        r#"{"type":"reasoning","id":"r","summary":[],"encrypted_content":"s"},{"role":"assistant","content":"x"},{"role":"user","content":"y"}"#,
    ),
    ("`item_reference`", SAYS, r#"{"type":"item_reference","id":"r"}"#),
];

const CUSTOM_TOOL: &str = r#""tools":[{"type":"custom","custom":{"name":"f"}}]"#;
const FLAT_CUSTOM_TOOL: &str = r#""tools":[{"type":"custom","name":"f"}]"#;
/// What is told although it is dropped: in words, to which nobody holds the model.
const GRAMMAR: &str = "`format` of a custom tool: a grammar";

const FLAT_TOOLS: &str = r#""tools":[{"type":"function","name":"f","parameters":{"type":"object"}}]"#;

/// A request with some members beside what every one has, and turns behind the first.
fn body(shape: Shape, members: &str, turns: &str) -> String {
    let comma = |text: &str| if text.is_empty() { "" } else { "," };
    let first = r#"{"role":"user","content":"hi"}"#;
    let (before, turns) = (comma(members), format!("[{first}{}{turns}]", comma(turns)));
    match shape {
        Shape::AnthropicMessages => format!(r#"{{"model":"m","max_tokens":9000,"messages":{turns}{before}{members}}}"#),
        Shape::OpenAiResponses => format!(r#"{{"model":"m","input":{turns}{before}{members}}}"#),
        _ => format!(r#"{{"model":"m","messages":{turns}{before}{members}}}"#),
    }
}

fn read(frontend: FrontendRef, body: String) -> Option<Request> {
    frontend.parse(Bytes::from(body), &HeaderMap::new()).ok()
}

/// What goes out to an endpoint of another shape, where to, and what is dropped on the way.
#[derive(PartialEq, Eq)]
struct Written {
    path: String,
    body: Bytes,
    dropped: Vec<String>,
}

fn written(frontend: FrontendRef, body: String, endpoint: Shape) -> Option<Written> {
    let conversation = frontend.conversation(&read(frontend, body)?).ok()?;
    // At Bedrock, one of the models that take the words of Messages.
    let steering = Steering { converse: ConverseFields::Messages, cache_marks: true, ..Steering::UNKNOWN };
    // In chat and Responses, a site that knows what OpenAI's does.
    let quirks = Quirks { hints: Hint::WORDS.into_iter().map(|(hint, _)| hint).collect(), ..Quirks::default() };
    let out = Outgoing { reasoning: Reasoning::Switchable, steering, ..Outgoing::to("up", quirks) };
    let dialect = dialect::of(endpoint);
    let path = match dialect.path() {
        Path::Fixed(path) => path.to_owned(),
        Path::OfModel(path) => path("up", conversation.stream),
    };
    let words = dialect.leaves_out(&conversation, &out).iter().map(|parameter| parameter.word(frontend.shape()).to_owned());
    let dropped = conversation.unsaid.iter().cloned().chain(words).collect();
    Some(Written { path, body: dialect.write(&conversation, &out).ok()?, dropped })
}

fn becomes(shape: Shape, (name, before, member): &Row, endpoint: Shape) -> &'static str {
    let frontend = frontend::of(Some(shape), true, &HeaderMap::new());
    let (without, with) = match *before {
        SAYS => (body(shape, "", ""), body(shape, "", member)),
        turn if turn.starts_with('{') => (body(shape, "", turn), body(shape, "", member)),
        // What stands there already is replaced.
        before if !before.is_empty() && before.split(':').next() == member.split(':').next() => {
            (body(shape, before, ""), body(shape, member, ""))
        }
        "" => (body(shape, "", ""), body(shape, member, "")),
        before => (body(shape, before, ""), body(shape, &format!("{before},{member}"), "")),
    };
    if shape == endpoint {
        return if read(frontend, with).is_some() { "passed" } else { "refused" };
    }
    match (written(frontend, without, endpoint), written(frontend, with, endpoint)) {
        (_, None) => "refused",
        (Some(before), Some(after)) if after.dropped != before.dropped && *name == GRAMMAR => {
            assert_ne!(before.body, after.body, "{member}: it is told");
            "in words"
        }
        (Some(before), Some(after)) if after.dropped != before.dropped => {
            assert_eq!(before.body, after.body, "{member}: what is said is not dropped");
            "dropped"
        }
        (Some(before), Some(after)) if before == after => "left out",
        _ => "translated",
    }
}

fn page() -> String {
    let mut page = String::from(
        "# What becomes of a request at a provider of each API\n\
         Made from the code by its tests (`src/wire_tests/compatibility.rs`), which fail where it is no longer true.\n\n\
         - **passed**: the provider speaks the client's API, and gets its bytes (but for `store` of Responses, which goes out as false).\n\
         - **translated**: it is said in the provider's words.\n\
         - **dropped**: there is no word for it there. It is left out and named in `x-tokenbroker-dropped`; for a strict key, refused.\n\
         - **in words**: it is said in the tool's description, and nobody holds the model to it. Named and refused as what is dropped.\n\
         - **left out**: there is no word for it there, and the answer is the same without it; or it is a thought that another model had,\n\
         which is of use to its maker alone (its text is told in chat at sites with the quirk `reasoning_returned`,\n\
         and in Messages with `unsigned_thoughts`).\n\
         - **refused**: the provider is not asked; where nobody else is adequate the client gets 400 `untranslatable`.\n\n\
         Bedrock is told in the words of a model with `converse_fields = \"messages\"`; where none are known, `top_k` and thinking are\n\
         dropped there, and marks of a cache left out. Chat and Responses are told as at a site whose `hints` have `prompt_cache_key`,\n\
         `service_tier` and `verbosity`, with a model that has `cache_marks`; elsewhere these are dropped, and what concerns a cache is\n\
         left out. `chat_template_kwargs` passes to chats of servers that take it; another chat is told of it what\n\
         endpoints of other APIs are.\n",
    );
    let clients = [
        (Shape::OpenAiChat, "Chat completions", CHAT),
        (Shape::AnthropicMessages, "Messages", MESSAGES),
        (Shape::OpenAiResponses, "Responses", RESPONSES),
    ];
    for (shape, title, rows) in clients {
        let _ = write!(
            page,
            "\n## {title}\n| | chat completions | Messages | Responses | Gemini | Bedrock |\n| --- | --- | --- | --- | --- | --- |\n"
        );
        for row in rows {
            let cells = ENDPOINTS.map(|to| becomes(shape, row, to));
            let _ = writeln!(page, "| {} | {} |", row.0, cells.join(" | "));
        }
    }
    page += "\n## What is no conversation\n\
        Passed as it is to backends that serve it, but for the model's name and the wishes; each API has its own part in [api.md](api.md). Beside the model these members are read:\n\n\
        | path | `serves` | members |\n| --- | --- | --- |\n";
    for direct in Direct::ALL {
        let members: Vec<String> = direct.members.iter().map(|member| format!("`{member}`")).collect();
        let _ = writeln!(page, "| `/v1{}` | `{}` | {} |", direct.path, direct.word, members.join(", "));
    }
    page
}

#[test]
fn the_page_of_compatibility_is_what_the_codecs_do() {
    let page = page();
    if std::env::var_os("TOKENBROKER_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let there = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert_eq!(there, page, "write it anew: TOKENBROKER_WRITE_DOCS=1 cargo test --lib compatibility");
}

/// What is left out without a word is what is said to be harmless, and nothing else.
#[test]
fn only_harmless_members_are_left_out_in_silence() {
    let clients = [(Shape::OpenAiChat, CHAT), (Shape::AnthropicMessages, MESSAGES), (Shape::OpenAiResponses, RESPONSES)];
    let mut silent = 0;
    for (shape, rows) in clients {
        for row in rows {
            let left = Shape::ENDPOINTS.into_iter().any(|endpoint| becomes(shape, row, endpoint) == "left out");
            let named = |name: &&&str| row.0.split('`').any(|word| word.split('.').next() == Some(name));
            // Thoughts are given up with the model that had them.
            let thoughts = row.0.ends_with("of an answer");
            assert!(!left || thoughts || frontend::HARMLESS.iter().any(|name| named(&name)), "{shape:?} {}", row.0);
            silent += u32::from(left && !thoughts);
        }
    }
    assert!(silent > 5);
}
