//! Kimi K2.

use super::super::json::{Layout, laid_out};
use super::super::message::{Chat, Message};
use super::super::prompt::Prompt;
use super::system_first;

pub(super) const MARKS: &[&str] = &[
    "<|im_system|>",
    "<|im_user|>",
    "<|im_assistant|>",
    "<|im_middle|>",
    "<|im_end|>",
    "<|tool_calls_section_begin|>",
    "<|tool_calls_section_end|>",
    "<|tool_call_begin|>",
    "<|tool_call_argument_begin|>",
    "<|tool_call_end|>",
];

pub(super) fn write(chat: &Chat, out: &mut Prompt) {
    if !chat.tools.is_empty() {
        out.fixed("<|im_system|>tool_declare<|im_middle|>");
        let tools: Vec<String> = chat.tools.iter().map(|tool| laid_out(tool.raw(), Layout::Dense)).collect();
        out.text(&format!("[{}]", tools.join(",")));
        out.fixed("<|im_end|>");
    }
    if system_first(chat).0.is_none() {
        out.fixed("<|im_system|>system<|im_middle|>You are Kimi, an AI assistant created by Moonshot AI.<|im_end|>");
    }
    for message in &chat.messages {
        said(message, out);
    }
    out.fixed("<|im_assistant|>assistant<|im_middle|>");
}

fn said(message: &Message, out: &mut Prompt) {
    out.fixed(match message.role.as_str() {
        "user" => "<|im_user|>",
        "assistant" => "<|im_assistant|>",
        _ => "<|im_system|>",
    });
    out.text(message.name.as_ref().unwrap_or(&message.role));
    out.fixed("<|im_middle|>");
    if message.is("tool") {
        out.text(&format!("## Return of {}\n", message.tool_call_id.as_deref().unwrap_or_default()));
    }
    out.text(&message.text());
    if !message.tool_calls.is_empty() {
        out.fixed("<|tool_calls_section_begin|>");
        for call in &message.tool_calls {
            out.fixed("<|tool_call_begin|>");
            out.text(call.id.as_deref().unwrap_or_default());
            out.fixed("<|tool_call_argument_begin|>");
            out.text(&call.function.arguments);
            out.fixed("<|tool_call_end|>");
        }
        out.fixed("<|tool_calls_section_end|>");
    }
    out.fixed("<|im_end|>");
}
