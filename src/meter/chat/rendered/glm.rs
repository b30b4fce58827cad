//! GLM 4.7 and 5.

use super::super::json::{Layout, laid_out};
use super::super::message::{Chat, Message};
use super::super::prompt::Prompt;
use super::{arguments, without_reasoning};

pub(super) const MARKS: &[&str] = &[
    "[gMASK]",
    "<sop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
];

const TOOLS: &str = "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided \
                     with function signatures within <tools></tools> XML tags:\n<tools>\n";
const CALLS: &str = "</tools>\n\nFor each function call, output the function name and arguments within the following XML \
                     format:\n<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>\
                     <arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>";

pub(super) fn write(chat: &Chat, out: &mut Prompt) {
    out.fixed("[gMASK]<sop>");
    if !chat.tools.is_empty() {
        out.fixed(TOOLS);
        for tool in &chat.tools {
            out.text(&laid_out(tool.raw(), Layout::Spaced));
            out.text("\n");
        }
        out.fixed(CALLS);
    }
    let last_user = chat.messages.iter().rposition(|message| message.is("user"));
    for (at, message) in chat.messages.iter().enumerate() {
        match message.role.as_str() {
            "user" => {
                out.fixed("<|user|>");
                out.text(&message.text());
            }
            "assistant" => answered(message, last_user.is_none_or(|last| at > last), out),
            "tool" => {
                if at == 0 || !chat.messages[at - 1].is("tool") {
                    out.fixed("<|observation|>");
                }
                out.fixed("<tool_response>");
                out.text(&message.text());
                out.fixed("</tool_response>");
            }
            _ => {
                out.fixed("<|system|>");
                out.text(&message.text());
            }
        }
    }
    out.fixed("<|assistant|><think>");
}

fn answered(message: &Message, current: bool, out: &mut Prompt) {
    let (text, reasoning) = without_reasoning(message, "<think>", "</think>");
    out.fixed("<|assistant|>");
    if current && !reasoning.is_empty() {
        out.fixed("<think>");
        out.text(reasoning.trim());
    }
    out.fixed("</think>");
    out.text(text.trim());
    for call in &message.tool_calls {
        out.fixed("<tool_call>");
        out.text(&call.function.name);
        for (name, value) in arguments(&call.function.arguments) {
            out.fixed("<arg_key>");
            out.text(&name);
            out.fixed("</arg_key><arg_value>");
            out.text(&value);
            out.fixed("</arg_value>");
        }
        out.fixed("</tool_call>");
    }
}
