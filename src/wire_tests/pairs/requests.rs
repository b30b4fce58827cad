//! Requests: `tests/fixtures/pairs/CLIENT/CASE.json` as each provider is sent it, with what is told as dropped; or why it cannot be
//! said. A provider of the client's shape is sent the client's bytes, but for what must differ.

use bytes::Bytes;
use http::HeaderMap;

use super::{Golden, clients, files, folder, hold, laid_out};
use crate::canonical::conversation::{Effort, Efforts};
use crate::canonical::{Request, Shape};
use crate::catalog::capability::{Hint, OutputBoundField, Quirks, StreamUsage, ThinkingDepth, ThinkingSwitch};
use crate::catalog::{BudgetBounds, ConverseFields, Reasoning, Steering};
use crate::dialect::{self, Outgoing, Path};
use crate::frontend::FrontendRef;
use crate::units::Tokens;

/// A provider that is asked.
struct Site {
    /// Of the file: its shape, and how it differs from the first of that shape.
    name: &'static str,
    shape: Shape,
    out: Outgoing<'static>,
    /// The cases that it is of interest in, by what their names begin with.
    cases: &'static [&'static str],
}

const ALL: &[&str] = &[""];
const THINKING: &[&str] = &["agent", "choice", "thinking", "thoughts"];
const OF_OPENAI: &[&str] = &["agent", "cached", "choice", "in-the-middle", "sampling", "thinking", "thoughts"];

fn site(name: &'static str, shape: Shape, quirks: Quirks, reasoning: Reasoning, steering: Steering) -> Site {
    let out = Outgoing { reasoning, steering, max_output: Tokens::new(32_000), ..Outgoing::to("up", quirks) };
    Site { name, shape, out, cases: ALL }
}

/// Steered by words.
fn words(efforts: &[Effort]) -> Steering {
    Steering { efforts: efforts.iter().copied().collect::<Efforts>(), ..Steering::UNKNOWN }
}

/// Steered by a number of tokens.
fn tokens(least: u64, most: u64) -> Steering {
    Steering { budget: Some(BudgetBounds { least: Tokens::new(least), most: Tokens::new(most) }), ..Steering::UNKNOWN }
}

/// Of a model that takes marks of a cache.
fn marked(steering: Steering) -> Steering {
    Steering { cache_marks: true, ..steering }
}

/// As OpenAI's row is.
fn of_openai() -> Quirks {
    Quirks {
        output_bound: OutputBoundField::MaxCompletionTokens,
        developer_role: true,
        encrypted_reasoning: true,
        instructions_anywhere: true,
        call_id_chars: Some(40),
        hints: Hint::WORDS.into_iter().map(|(hint, _)| hint).collect(),
        ..Quirks::default()
    }
}

/// All that a chat may want otherwise at once.
fn contrary() -> Quirks {
    Quirks {
        output_bound: OutputBoundField::MaxCompletionTokens,
        stream_usage: StreamUsage::Always,
        thinking_switch: ThinkingSwitch::Thinking,
        reasoning_returned: true,
        short_call_ids: true,
        ..Quirks::default()
    }
}

/// One of each shape, as rows of the table are, and some that differ.
fn sites() -> Vec<Site> {
    use Shape::{AnthropicMessages, BedrockConverse, GeminiGenerate, OpenAiChat, OpenAiResponses};
    let (plain, switchable, always) = (Quirks::default(), Reasoning::Switchable, Reasoning::Always);
    let adaptive = Quirks { adaptive_thinking: true, ..plain };
    let level = Quirks { thinking_depth: ThinkingDepth::Level, ..plain };
    let all = || words(&[Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max]);
    let three = || words(&[Effort::Low, Effort::Medium, Effort::High]);
    let claude = Steering { converse: ConverseFields::Messages, ..all() };
    let nova = Steering { converse: ConverseFields::Nova, ..three() };
    let only = |cases, site| Site { cases, ..site };
    vec![
        site("openai-chat", OpenAiChat, plain, switchable, Steering::UNKNOWN),
        only(OF_OPENAI, site("openai-chat-of-openai", OpenAiChat, of_openai(), always, marked(all()))),
        only(
            &["agent", "ids", "thinking", "thoughts"],
            site("openai-chat-contrary", OpenAiChat, contrary(), switchable, Steering::UNKNOWN),
        ),
        site("anthropic-messages", AnthropicMessages, adaptive, switchable, all()),
        only(THINKING, site("anthropic-messages-by-tokens", AnthropicMessages, plain, switchable, tokens(1_024, 24_000))),
        site("openai-responses", OpenAiResponses, of_openai(), switchable, marked(three())),
        site("gemini-generate-content", GeminiGenerate, level, always, three()),
        only(THINKING, site("gemini-generate-content-by-tokens", GeminiGenerate, plain, switchable, tokens(0, 24_576))),
        site("bedrock-converse", BedrockConverse, adaptive, switchable, claude),
        only(
            &["agent", "cached", "sampling", "thinking"],
            site("bedrock-converse-nova", BedrockConverse, adaptive, switchable, nova),
        ),
    ]
}

/// What goes out for a request.
fn sent(client: FrontendRef, request: &Request, site: &Site) -> String {
    let dialect = dialect::of(site.shape);
    if client.shape() == site.shape {
        return String::from_utf8(dialect.encode(request, &site.out).to_vec()).unwrap();
    }
    let conversation = match client.conversation(request) {
        Ok(conversation) => conversation,
        Err(why) => return format!("refused: {why}"),
    };
    let path = match dialect.path() {
        Path::Fixed(path) => path.to_owned(),
        Path::OfModel(path) => path("up", conversation.stream),
    };
    let words = dialect.leaves_out(&conversation, &site.out).iter().map(|parameter| parameter.word(client.shape()).to_owned());
    let dropped: Vec<String> = conversation.unsaid.iter().cloned().chain(words).collect();
    let told = if dropped.is_empty() { String::new() } else { format!("dropped: {}\n", dropped.join(", ")) };
    match dialect.write(&conversation, &site.out) {
        Ok(body) => format!("POST {path}\n{told}{}", laid_out(std::str::from_utf8(&body).unwrap())),
        Err(why) => format!("refused: {why}"),
    }
}

#[test]
fn requests_go_out_as_they_were_reviewed() {
    let mut all = Vec::new();
    for client in clients() {
        let cases = files(&folder(client), "json");
        assert!(cases.len() >= 20, "{} cases of {}", cases.len(), client.word());
        for site in sites() {
            let mut golden = Golden::of(client, &format!("{}.requests", site.name));
            for (name, body) in &cases {
                if site.cases.iter().any(|begins| name.starts_with(begins)) {
                    let request = client.parse(Bytes::from(body.clone()), &HeaderMap::new()).unwrap();
                    golden.add(name, sent(client, &request, &site));
                }
            }
            all.push(golden);
        }
    }
    hold(all);
}
