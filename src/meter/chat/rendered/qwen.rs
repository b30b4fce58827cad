//! Qwen 3 and Qwen 3.5.

use super::super::json::{Layout, laid_out};
use super::super::message::{Chat, Message};
use super::super::prompt::Prompt;
use super::{arguments, system_first, without_reasoning};

pub(super) const MARKS: &[&str] =
    &["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"];

const TOOLS_3: &str = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with \
                       function signatures within <tools></tools> XML tags:\n<tools>";
const CALLS_3: &str = "\n</tools>\n\nFor each function call, return a json object with function name and arguments within \
                       <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": \
                       <args-json-object>}\n</tool_call><|im_end|>\n";
const TOOLS_35: &str = "<|im_start|>system\n# Tools\n\nYou have access to the following functions:\n\n<tools>";
const CALLS_35: &str = "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n\
                        <tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n\
                        <parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple \
                        lines\n</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n- Function calls MUST follow \
                        the specified format: an inner <function=...></function> block must be nested within \
                        <tool_call></tool_call> XML tags\n- Required parameters MUST be specified\n- You may provide optional \
                        reasoning for your function call in natural language BEFORE the function call, but NOT after\n- If \
                        there is no function call available, answer the question like normal with your current knowledge and \
                        do not tell the user about function calls\n</IMPORTANT>";

fn tools(chat: &Chat, out: &mut Prompt) {
    for tool in &chat.tools {
        out.text("\n");
        out.text(&laid_out(tool.raw(), Layout::Spaced));
    }
}

pub(super) fn write_3(chat: &Chat, out: &mut Prompt) {
    let (system, rest) = system_first(chat);
    if !chat.tools.is_empty() {
        out.fixed("<|im_start|>system\n");
        if let Some(system) = system {
            out.text(&system.text());
            out.text("\n\n");
        }
        out.fixed(TOOLS_3);
        tools(chat, out);
        out.fixed(CALLS_3);
    } else if let Some(system) = system {
        said("system", &system.text(), out);
    }
    turns(rest, out, false);
    out.fixed("<|im_start|>assistant\n");
}

pub(super) fn write_35(chat: &Chat, out: &mut Prompt) {
    let (system, rest) = system_first(chat);
    let system = system.map(|system| system.text().trim().to_owned());
    if !chat.tools.is_empty() {
        out.fixed(TOOLS_35);
        tools(chat, out);
        out.fixed(CALLS_35);
        if let Some(system) = system.filter(|system| !system.is_empty()) {
            out.text("\n\n");
            out.text(&system);
        }
        out.fixed("<|im_end|>\n");
    } else if let Some(system) = system {
        said("system", &system, out);
    }
    turns(rest, out, true);
    out.fixed("<|im_start|>assistant\n<think>\n");
}

fn said(role: &str, text: &str, out: &mut Prompt) {
    out.fixed("<|im_start|>");
    out.text(role);
    out.text("\n");
    out.text(text);
    out.fixed("<|im_end|>\n");
}

fn turns(messages: &[Message], out: &mut Prompt, later: bool) {
    let last_query = messages.iter().rposition(|message| message.is("user")).unwrap_or(messages.len());
    for (at, message) in messages.iter().enumerate() {
        match message.role.as_str() {
            "assistant" => answered(message, at > last_query, at + 1 == messages.len(), out, later),
            "tool" => {
                if at == 0 || !messages[at - 1].is("tool") {
                    out.fixed("<|im_start|>user");
                }
                out.fixed("\n<tool_response>\n");
                out.text(&message.text());
                out.fixed("\n</tool_response>");
                if messages.get(at + 1).is_none_or(|next| !next.is("tool")) {
                    out.fixed("<|im_end|>\n");
                }
            }
            role if later => said(role, message.text().trim(), out),
            role => said(role, &message.text(), out),
        }
    }
}

fn answered(message: &Message, current: bool, last: bool, out: &mut Prompt, later: bool) {
    let (mut text, reasoning) = without_reasoning(message, "<think>", "</think>");
    if later {
        text = text.trim().to_owned();
    }
    out.fixed("<|im_start|>assistant\n");
    if current && (later || last || !reasoning.is_empty()) {
        out.fixed("<think>\n");
        out.text(reasoning.trim_matches('\n'));
        out.fixed("\n</think>\n\n");
        text = text.trim_start_matches('\n').to_owned();
    }
    out.text(&text);
    for (nth, call) in message.tool_calls.iter().enumerate() {
        if later {
            out.text(if nth > 0 {
                "\n"
            } else if text.is_empty() {
                ""
            } else {
                "\n\n"
            });
            out.fixed("<tool_call>\n");
            out.text(&format!("<function={}>\n", call.function.name));
            for (name, value) in arguments(&call.function.arguments) {
                out.text(&format!("<parameter={name}>\n{value}\n</parameter>\n"));
            }
            out.fixed("</function>\n</tool_call>");
        } else {
            out.text(if nth > 0 || !text.is_empty() { "\n" } else { "" });
            out.fixed("<tool_call>\n");
            out.text(&format!("{{\"name\": \"{}\", \"arguments\": {}}}", call.function.name, call.function.arguments));
            out.fixed("\n</tool_call>");
        }
    }
    out.fixed("<|im_end|>\n");
}
