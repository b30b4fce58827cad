//! OpenAI's rule: three tokens a message beside its text and role, one more with a name, three to begin the answer; tools are
//! shown to the model in a form of their own, of which the vendor's cookbook gives the tokens by part.

use serde::Deserialize;
use serde_json::Value;

use super::message::{Chat, Tool};

const PER_MESSAGE: u64 = 3;
const PER_NAME: u64 = 1;
const ANSWER: u64 = 3;

const FUNCTION: u64 = 7;
const PROPERTIES: u64 = 3;
const PROPERTY: u64 = 3;
const CHOICE: u64 = 3;
const TOOLS_END: u64 = 12;

/// The texts of a conversation and the tokens beside them.
pub(super) fn framed(chat: &Chat) -> (Vec<String>, u64) {
    let mut texts = Vec::new();
    let mut marks = ANSWER;
    for message in &chat.messages {
        marks += PER_MESSAGE;
        texts.push(message.role.clone());
        texts.push(message.text());
        if let Some(name) = &message.name {
            marks += PER_NAME;
            texts.push(name.clone());
        }
        for call in &message.tool_calls {
            marks += PER_MESSAGE;
            texts.extend([call.function.name.clone(), call.function.arguments.clone()]);
        }
    }
    for tool in &chat.tools {
        marks += declare(tool, &mut texts);
    }
    marks += if chat.tools.is_empty() { 0 } else { TOOLS_END };
    (texts, marks)
}

#[derive(Deserialize)]
struct Declared {
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Value,
}

/// The texts of a tool and the tokens beside them.
fn declare(tool: &Tool, texts: &mut Vec<String>) -> u64 {
    let Ok(declared) = serde_json::from_str::<Declared>(tool.function()) else {
        texts.push(tool.raw().to_owned());
        return FUNCTION;
    };
    texts.push(format!("{}:{}", declared.name, without_stop(&declared.description)));
    let Some(properties) = declared.parameters["properties"].as_object().filter(|properties| !properties.is_empty()) else {
        return FUNCTION;
    };
    let mut marks = FUNCTION + PROPERTIES;
    for (name, property) in properties {
        marks += PROPERTY;
        if let Some(choices) = property["enum"].as_array() {
            marks += (CHOICE * choices.len() as u64).saturating_sub(CHOICE);
            texts.extend(choices.iter().map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned)));
        }
        let word = |member: &str| property[member].as_str().unwrap_or_default();
        texts.push(format!("{name}:{}:{}", word("type"), without_stop(word("description"))));
    }
    marks
}

fn without_stop(text: &str) -> &str {
    text.strip_suffix('.').unwrap_or(text)
}
