//! Mistral's third version of its format, in Tekken's vocabulary.

use super::super::json::{Layout, laid_out};
use super::super::message::{Chat, Message};
use super::super::prompt::Prompt;
use super::system_first;
use serde::Deserialize;
use serde_json::value::RawValue;

pub(super) const MARKS: &[&str] = &[
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
];

#[derive(Deserialize)]
struct Function<'t> {
    #[serde(borrow)]
    name: Option<&'t RawValue>,
    #[serde(borrow)]
    description: Option<&'t RawValue>,
    #[serde(borrow)]
    parameters: Option<&'t RawValue>,
}

/// A tool with the members that the vendor's own type has, in its order.
fn declared(function: &str) -> String {
    let Ok(members) = serde_json::from_str::<Function<'_>>(function) else { return laid_out(function, Layout::Spaced) };
    let member = |value: Option<&RawValue>, missing: &str| laid_out(value.map_or(missing, RawValue::get), Layout::Spaced);
    format!(
        "{{\"type\": \"function\", \"function\": {{\"name\": {}, \"description\": {}, \"parameters\": {}}}}}",
        member(members.name, "\"\""),
        member(members.description, "\"\""),
        member(members.parameters, "{}")
    )
}

pub(super) fn write(chat: &Chat, out: &mut Prompt) {
    let (system, rest) = system_first(chat);
    out.fixed("<s>");
    let last_user = rest.iter().rposition(|message| message.is("user"));
    for (at, message) in rest.iter().enumerate() {
        match message.role.as_str() {
            "assistant" => answered(message, out),
            "tool" => {
                out.fixed("[TOOL_RESULTS]");
                let content = message.text();
                let content = serde_json::from_str::<&RawValue>(&content).map_or_else(
                    |_| serde_json::Value::from(content.as_str()).to_string(),
                    |raw| laid_out(raw.get(), Layout::Spaced),
                );
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                out.text(&format!("{{\"content\": {content}, \"call_id\": \"{id}\"}}"));
                out.fixed("[/TOOL_RESULTS]");
            }
            _ => {
                let last = last_user == Some(at);
                if last && !chat.tools.is_empty() {
                    let tools: Vec<String> = chat.tools.iter().map(|tool| declared(tool.function())).collect();
                    out.fixed("[AVAILABLE_TOOLS]");
                    out.text(&format!("[{}]", tools.join(", ")));
                    out.fixed("[/AVAILABLE_TOOLS]");
                }
                out.fixed("[INST]");
                if let Some(system) = system.filter(|_| last) {
                    out.text(&format!("{}\n\n", system.text()));
                }
                out.text(&message.text());
                out.fixed("[/INST]");
            }
        }
    }
}

fn answered(message: &Message, out: &mut Prompt) {
    if message.tool_calls.is_empty() {
        out.text(message.text().trim_end_matches(' '));
    } else {
        let calls = message.tool_calls.iter().map(|call| {
            let arguments = laid_out(&call.function.arguments, Layout::Spaced);
            let id = call.id.as_deref().map_or(String::new(), |id| format!(", \"id\": \"{id}\""));
            format!("{{\"name\": \"{}\", \"arguments\": {arguments}{id}}}", call.function.name)
        });
        out.fixed("[TOOL_CALLS]");
        out.text(&format!("[{}]", calls.collect::<Vec<_>>().join(", ")));
    }
    out.fixed("</s>");
}
