//! What a pretend provider reads of a chat request, and what it counts of it.
//!
//! Input tokens are counted by the sandbox's own tokenizer: [`PRIMING`] for the request, [`PER_MESSAGE`] for each
//! message, the text of every message, [`PER_IMAGE`] and [`PER_SOUND`] for other parts, and the JSON text of tool calls,
//! tools and the response format.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::dice::mix;
use super::refusal::Refusal;
use super::tokens::count;
use crate::canonical::{Feature, Features};

/// Tokens that every request costs.
pub(super) const PRIMING: u64 = 3;
/// Tokens of a message beside its text.
pub(super) const PER_MESSAGE: u64 = 4;
/// Tokens of an image, whatever its size.
pub(super) const PER_IMAGE: u64 = 85;
/// Tokens of a sound or a file, whatever its length.
pub(super) const PER_SOUND: u64 = 100;

/// The members of a chat request that the sandbox acts on; others are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest<'b> {
    #[serde(borrow)]
    pub(super) model: Cow<'b, str>,
    #[serde(borrow)]
    messages: Vec<WireMessage<'b>>,
    stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) max_tokens: Option<u64>,
    pub(super) max_completion_tokens: Option<u64>,
    n: Option<u64>,
    stop: Option<Stop>,
    #[serde(borrow)]
    tools: Option<&'b RawValue>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    #[serde(borrow)]
    response_format: Option<&'b RawValue>,
    logprobs: Option<bool>,
    top_logprobs: Option<u64>,
    reasoning_effort: Option<String>,
    thinking: Option<Thinking>,
    enable_thinking: Option<bool>,
    chat_template_kwargs: Option<TemplateArguments>,
    sandbox: Option<Directions>,
}

/// What a test may ask of the sandbox itself, in the request's `sandbox` member.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Directions {
    /// The length of the answer's text in tokens, at least.
    output_tokens: Option<u64>,
    /// How often tools are called, one result after another, before the answer comes in words.
    tool_rounds: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Thinking {
    r#type: Option<String>,
}

/// Arguments of a model's template.
#[derive(Debug, Deserialize)]
struct TemplateArguments {
    enable_thinking: Option<bool>,
    thinking: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct WireMessage<'b> {
    #[serde(borrow)]
    role: Cow<'b, str>,
    #[serde(borrow)]
    content: Option<&'b RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'b RawValue>,
}

#[derive(Debug, Deserialize)]
struct Part<'b> {
    #[serde(borrow)]
    r#type: Cow<'b, str>,
    #[serde(borrow)]
    text: Option<Cow<'b, str>>,
}

/// A function tool on offer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Value,
}

#[derive(Debug, Deserialize)]
struct Tool {
    function: Option<Function>,
}

/// What shape the answer's text must have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Format {
    Text,
    JsonObject,
    JsonSchema(Value),
}

/// The messages of a request, counted.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    /// Everything the provider bills as input.
    pub(super) input_tokens: u64,
    /// After each message: a fold of everything up to there, and its tokens. A later request that begins alike finds
    /// its prefix by these.
    pub(super) prefixes: Vec<(u64, u64)>,
    /// The text of the last message of the user.
    pub(super) last_user_text: String,
    /// How many times tools were asked for and answered since the user last spoke.
    pub(super) tool_rounds: u64,
    /// What the tools of the last round answered; empty unless the conversation ends with it.
    pub(super) tool_results: Vec<String>,
    /// The last message is a tool's result.
    pub(super) after_tool: bool,
    /// What the parts of its messages need of a model.
    pub(super) parts: Features,
    pub(super) has_developer_role: bool,
}

impl<'b> ChatRequest<'b> {
    /// Reads a body; what is wrong with it goes to the client.
    pub(super) fn read(body: &'b [u8]) -> Result<Self, Refusal> {
        let request: Self =
            serde_json::from_slice(body).map_err(|error| Refusal::malformed(&format!("invalid request body: {error}")))?;
        if request.messages.is_empty() {
            return Err(Refusal::malformed("messages must not be empty"));
        }
        if request.choices() == 0 || request.choices() > 16 {
            return Err(Refusal::malformed("n must be from 1 to 16"));
        }
        Ok(request)
    }

    pub(super) fn stream(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The client's bound on the output of one choice.
    pub(super) fn output_bound(&self) -> Option<u64> {
        self.max_completion_tokens.into_iter().chain(self.max_tokens).min()
    }

    pub(super) fn choices(&self) -> u64 {
        self.n.unwrap_or(1)
    }

    pub(super) fn stops(&self) -> &[String] {
        match &self.stop {
            None => &[],
            Some(Stop::One(stop)) => std::slice::from_ref(stop),
            Some(Stop::Several(stops)) => stops,
        }
    }

    pub(super) fn parallel_calls(&self) -> bool {
        self.parallel_tool_calls.unwrap_or(true)
    }

    pub(super) fn logprobs(&self) -> Option<u64> {
        self.logprobs.unwrap_or(false).then(|| self.top_logprobs.unwrap_or(0).min(20))
    }

    pub(super) fn wanted_tokens(&self) -> Option<u64> {
        self.sandbox.and_then(|directions| directions.output_tokens)
    }

    /// The model asks for (further) tools, where there are any.
    pub(super) fn wants_tools(&self, prompt: &Prompt) -> bool {
        let rounds = self.sandbox.and_then(|directions| directions.tool_rounds).unwrap_or(1);
        self.call_forced() || !prompt.after_tool || prompt.tool_rounds < rounds
    }

    /// The client said that the model must not think.
    pub(super) fn thinking_off(&self) -> bool {
        let kind = self.thinking.as_ref().and_then(|thinking| thinking.r#type.as_deref());
        let template = self.chat_template_kwargs.as_ref().and_then(|arguments| arguments.enable_thinking.or(arguments.thinking));
        let switches = [self.enable_thinking, template];
        self.reasoning_effort.as_deref() == Some("none") || kind == Some("disabled") || switches.contains(&Some(false))
    }

    /// The functions on offer that the model may call: none, one that is named, or all.
    pub(super) fn callable(&self) -> Result<Vec<Function>, Refusal> {
        let offered: Vec<Tool> = match self.tools {
            Some(raw) => serde_json::from_str(raw.get()).map_err(|error| Refusal::malformed(&format!("tools: {error}")))?,
            None => Vec::new(),
        };
        let functions = offered.into_iter().filter_map(|tool| tool.function);
        let Some(choice) = &self.tool_choice else {
            return Ok(functions.collect());
        };
        if choice == "none" {
            return Ok(Vec::new());
        }
        match choice.pointer("/function/name").and_then(Value::as_str) {
            None => Ok(functions.collect()),
            Some(name) => match functions.into_iter().find(|function| function.name == name) {
                Some(function) => Ok(vec![function]),
                None => Err(Refusal::malformed(&format!("tool_choice names {name:?}, which is not among the tools"))),
            },
        }
    }

    /// The client insists on a tool call, even after a tool's result.
    pub(super) fn call_forced(&self) -> bool {
        self.tool_choice.as_ref().is_some_and(|choice| choice == "required" || choice.is_object())
    }

    pub(super) fn format(&self) -> Result<Format, Refusal> {
        let Some(raw) = self.response_format else {
            return Ok(Format::Text);
        };
        let mut format: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        match format.get("type").and_then(Value::as_str) {
            Some("text") => Ok(Format::Text),
            Some("json_object") => Ok(Format::JsonObject),
            Some("json_schema") => match format.pointer_mut("/json_schema/schema") {
                Some(schema) => Ok(Format::JsonSchema(schema.take())),
                None => Err(Refusal::malformed("response_format.json_schema.schema is missing")),
            },
            _ => Err(Refusal::malformed("response_format.type must be text, json_object or json_schema")),
        }
    }

    /// What the request needs of a model, its messages' parts aside.
    pub(super) fn needs(&self, format: &Format) -> Features {
        let has_tools = self.tools.is_some_and(|tools| tools.get() != "[]");
        let needed = [
            (Feature::Tools, has_tools),
            (Feature::ForcedTool, has_tools && self.call_forced()),
            (Feature::JsonSchema, matches!(format, Format::JsonSchema(_))),
            (Feature::JsonObject, *format == Format::JsonObject),
            (Feature::Logprobs, self.logprobs().is_some()),
            (Feature::ManyChoices, self.choices() > 1),
        ];
        needed.into_iter().filter_map(|(feature, needed)| needed.then_some(feature)).collect()
    }

    /// Counts the prompt. `seed` tells the prompts of different models apart.
    pub(super) fn prompt(&self, seed: u64) -> Result<Prompt, Refusal> {
        let mut prompt = Prompt { input_tokens: PRIMING, ..Prompt::default() };
        let mut fold = seed;
        for raw in self.tools.into_iter().chain(self.response_format) {
            prompt.input_tokens += count(raw.get());
            fold = mix(fold, raw.get().as_bytes());
        }
        for message in &self.messages {
            prompt.input_tokens += PER_MESSAGE;
            fold = mix(fold, message.role.as_bytes());
            for raw in message.content.into_iter().chain(message.tool_calls) {
                fold = mix(fold, raw.get().as_bytes());
            }
            prompt.add(message)?;
            prompt.prefixes.push((fold, prompt.input_tokens));
        }
        Ok(prompt)
    }
}

impl Prompt {
    fn add(&mut self, message: &WireMessage<'_>) -> Result<(), Refusal> {
        self.has_developer_role |= message.role == "developer";
        self.follow_rounds(&message.role);
        if message.role == "user" {
            self.last_user_text.clear();
        }
        if let Some(calls) = message.tool_calls {
            self.input_tokens += count(calls.get());
        }
        match message.content.map(RawValue::get) {
            None => Ok(()),
            Some(raw) if raw.starts_with('[') => self.add_parts(raw, &message.role),
            Some(raw) => {
                let text: Cow<'_, str> =
                    serde_json::from_str(raw).map_err(|_| Refusal::malformed("content must be text or parts"))?;
                self.add_text(&text, &message.role);
                Ok(())
            }
        }
    }

    /// Tools that are called at once answer in messages behind one another: that is one round.
    fn follow_rounds(&mut self, role: &str) {
        let is_result = role == "tool";
        if !(is_result && self.after_tool) {
            self.tool_results.clear();
        }
        match role {
            "user" => self.tool_rounds = 0,
            "tool" if !self.after_tool => self.tool_rounds += 1,
            _ => {}
        }
        self.after_tool = is_result;
    }

    fn add_parts(&mut self, raw: &str, role: &str) -> Result<(), Refusal> {
        let parts: Vec<Part<'_>> =
            serde_json::from_str(raw).map_err(|error| Refusal::malformed(&format!("content parts: {error}")))?;
        for part in parts {
            match (part.r#type.as_ref(), part.text) {
                ("image_url", _) => self.add_part(Feature::ImageInput, PER_IMAGE),
                ("input_audio", _) => self.add_part(Feature::AudioInput, PER_SOUND),
                ("file", _) => self.add_part(Feature::FileInput, PER_SOUND),
                (_, Some(text)) => self.add_text(&text, role),
                (kind, None) => return Err(Refusal::malformed(&format!("unknown content part {kind:?}"))),
            }
        }
        Ok(())
    }

    fn add_part(&mut self, feature: Feature, tokens: u64) {
        self.parts = self.parts.with(feature);
        self.input_tokens += tokens;
    }

    fn add_text(&mut self, text: &str, role: &str) {
        self.input_tokens += count(text);
        match role {
            "user" => self.last_user_text.push_str(text),
            "tool" => self.tool_results.push(text.to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tokens_of(body: &Value) -> u64 {
        let bytes = serde_json::to_vec(body).unwrap();
        ChatRequest::read(&bytes).unwrap().prompt(0).unwrap().input_tokens
    }

    #[test]
    fn input_is_counted_by_the_rule_in_the_module_doc() {
        let plain = json!({"model": "m", "messages": [{"role": "user", "content": "hello you"}]});
        assert_eq!(tokens_of(&plain), PRIMING + PER_MESSAGE + 2);
        let parts = json!({"model": "m", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "hello you"}, {"type": "image_url", "image_url": {"url": "x"}}]}]});
        assert_eq!(tokens_of(&parts), PRIMING + PER_MESSAGE + 2 + PER_IMAGE);
        let null = json!({"model": "m", "messages": [{"role": "assistant", "content": null}]});
        assert_eq!(tokens_of(&null), PRIMING + PER_MESSAGE);
        let escaped = json!({"model": "m", "messages": [{"role": "user", "content": "a\n\"b\""}]});
        assert_eq!(tokens_of(&escaped), PRIMING + PER_MESSAGE + 5);
    }

    #[test]
    fn equal_beginnings_have_equal_prefixes() {
        let ask = |last: &str| json!({"model": "m", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": last}]});
        let prefixes = |body: &Value| {
            let bytes = serde_json::to_vec(body).unwrap();
            ChatRequest::read(&bytes).unwrap().prompt(9).unwrap().prefixes
        };
        let (one, two) = (prefixes(&ask("one")), prefixes(&ask("two")));
        assert_eq!(one[0], two[0]);
        assert_ne!(one[1].0, two[1].0);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"model":"m"}"#,
            r#"{"model":"m","messages":[]}"#,
            r#"{"model":"m","messages":[{"role":"user"}],"n":0}"#,
        ] {
            assert_eq!(ChatRequest::read(body.as_bytes()).unwrap_err().status, 400, "{body}");
        }
    }

    #[test]
    fn a_named_tool_is_the_only_callable_one() {
        let body = json!({"model": "m", "messages": [{"role": "user"}], "tool_choice": {"type": "function", "function": {"name": "b"}},
            "tools": [{"type": "function", "function": {"name": "a"}}, {"type": "function", "function": {"name": "b"}}]});
        let bytes = serde_json::to_vec(&body).unwrap();
        let request = ChatRequest::read(&bytes).unwrap();
        let names: Vec<String> = request.callable().unwrap().into_iter().map(|function| function.name).collect();
        assert_eq!(names, ["b"]);
        assert!(request.call_forced());
    }
}
