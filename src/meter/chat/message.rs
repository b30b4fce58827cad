//! A conversation as OpenAI's clients write it, as far as it becomes text.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Layout, laid_out};

/// Messages and the tools on offer.
#[derive(Debug, Deserialize)]
pub struct Chat {
    pub messages: Vec<Message>,
    #[serde(default, deserialize_with = "nullable")]
    pub tools: Vec<Tool>,
}

/// One message.
#[derive(Debug, Deserialize)]
pub struct Message {
    pub role: String,
    #[serde(default, deserialize_with = "nullable")]
    pub content: Content,
    pub name: Option<String>,
    pub reasoning_content: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub tool_calls: Vec<ToolCall>,
    pub tool_call_id: Option<String>,
}

/// What a message says: a text, or parts of which some are texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Part>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// A part of a message; what is no text has none.
#[derive(Debug, Deserialize)]
pub struct Part {
    #[serde(default)]
    pub text: String,
}

/// A tool that the model called.
#[derive(Debug, Deserialize)]
pub struct ToolCall {
    pub id: Option<String>,
    pub function: Called,
}

#[derive(Debug, Deserialize)]
pub struct Called {
    pub name: String,
    /// JSON in a string, as the protocol has it.
    #[serde(default)]
    pub arguments: String,
}

/// A tool on offer, with its bytes as they came.
#[derive(Debug, Deserialize)]
pub struct Tool(Box<RawValue>);

/// The part of a tool that templates take by itself.
#[derive(Deserialize)]
struct Function<'t> {
    #[serde(borrow)]
    function: &'t RawValue,
}

impl Tool {
    pub(super) fn from_raw(raw: Box<RawValue>) -> Self {
        Self(raw)
    }

    /// The whole of it.
    pub(super) fn raw(&self) -> &str {
        self.0.get()
    }

    /// What the function is; all of it where it is not wrapped.
    pub(super) fn function(&self) -> &str {
        serde_json::from_str::<Function<'_>>(self.raw()).map_or(self.raw(), |tool| tool.function.get())
    }
}

impl Message {
    /// All its text in one.
    pub(super) fn text(&self) -> String {
        match &self.content {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => parts.iter().map(|part| part.text.as_str()).collect(),
        }
    }

    pub(super) fn is(&self, role: &str) -> bool {
        self.role == role
    }
}

impl Chat {
    /// Everything that is text, where no template says how it stands in a prompt.
    pub(super) fn texts(&self) -> Vec<String> {
        let said = self.messages.iter().flat_map(|message| {
            let calls = message.tool_calls.iter().flat_map(|call| [call.function.name.clone(), call.function.arguments.clone()]);
            message.reasoning_content.clone().into_iter().chain([message.text()]).chain(calls)
        });
        let tools = self.tools.iter().map(|tool| laid_out(tool.function(), Layout::Spaced));
        said.chain(tools).filter(|text| !text.is_empty()).collect()
    }
}

/// A member that may be there as `null`.
fn nullable<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
