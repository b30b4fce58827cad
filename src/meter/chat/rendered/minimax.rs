//! `MiniMax` M3. The mark that its template puts before each element is written `]<]ns[>[` here: a mark is one token, however it is
//! spelt.

use super::super::json::{Layout, laid_out};
use super::super::message::{Chat, Message};
use super::super::prompt::Prompt;
use super::{arguments, system_first, without_reasoning};
use serde_json::value::RawValue;

pub(super) const MARKS: &[&str] =
    &["]~!b[", "]~b]", "[e~[", "]<]ns[>[", "<tool_call>", "</tool_call>", "<mm:think>", "</mm:think>"];

const SYSTEM: &str = "]~!b[]~b]system\nYour model version is MiniMax-M3, developed by MiniMax. Knowledge cutoff: January 2026. \
                      Founded in early 2022, MiniMax is a global AI foundation model company committed to advancing the \
                      frontiers of AI towards AGI.\n\n<thinking_instructions>\nYou have a thinking capability that allows you \
                      to reason step by step before responding. When thinking is enabled, wrap your reasoning in \
                      <mm:think></mm:think> tags before your response. When thinking is disabled, begin your response directly \
                      after the </mm:think> prefix. When thinking is adaptive, decide on your own whether to think for the \
                      current turn.\nCurrent thinking mode: adaptive. You are encouraged to think for complex decision-making, \
                      multi-step reasoning, or when analyzing function/tool results.\n</thinking_instructions>[e~[\n";
const TOOLS: &str = "\n\n# Tools\nYou may call one or more tools to assist with the user query.\nHere are the tools available in \
                     JSONSchema format:\n\n<tools>\n";
const CALLS: &str = "</tools>\n\nTo call tools, wrap all invocations in a single \
                     ]<]ns[>[<tool_call>]<]ns[>[</tool_call> block. Parameter values containing nested objects or \
                     arrays are recursively expanded into XML elements. Example:\n\n]<]ns[>[<tool_call>\n\
                     ]<]ns[>[<invoke name=\"tool-name-1\">]<]ns[>[<param-1>value-1]<]ns[>[</param-1>\
                     ]<]ns[>[<param-2>]<]ns[>[<item>]<]ns[>[<key-a>val-a]<]ns[>[</key-a>\
                     ]<]ns[>[<key-b>val-b]<]ns[>[</key-b>]<]ns[>[</item>]<]ns[>[</param-2>\
                     ]<]ns[>[</invoke>\n]<]ns[>[<invoke name=\"tool-name-2\">]<]ns[>[<param-1>value-1\
                     ]<]ns[>[</param-1>]<]ns[>[</invoke>\n]<]ns[>[</tool_call>";

pub(super) fn write(chat: &Chat, out: &mut Prompt) {
    let (system, rest) = system_first(chat);
    let system = system.map(Message::text).filter(|text| !text.is_empty());
    out.fixed(SYSTEM);
    out.fixed("]~b]developer\n");
    out.text(system.as_deref().unwrap_or("You are a helpful assistant."));
    if !chat.tools.is_empty() {
        out.fixed(TOOLS);
        for tool in &chat.tools {
            out.text("<tool>");
            out.text(&laid_out(tool.function(), Layout::Spaced));
            out.text("</tool>\n");
        }
        out.fixed(CALLS);
    }
    out.fixed("[e~[\n");
    for (at, message) in rest.iter().enumerate() {
        match message.role.as_str() {
            "assistant" => answered(message, out),
            "tool" => {
                if at == 0 || !rest[at - 1].is("tool") {
                    out.fixed("]~b]tool");
                }
                out.text("\n<response>");
                out.text(&message.text());
                out.text("</response>");
                if rest.get(at + 1).is_none_or(|next| !next.is("tool")) {
                    out.fixed("[e~[\n");
                }
            }
            _ => {
                out.fixed("]~b]user\n");
                out.text(&message.text());
                out.fixed("[e~[\n");
            }
        }
    }
    out.fixed("]~b]ai\n");
}

fn answered(message: &Message, out: &mut Prompt) {
    let (text, reasoning) = without_reasoning(message, "<mm:think>", "</mm:think>");
    out.fixed("]~b]ai\n");
    if !reasoning.is_empty() {
        out.fixed("<mm:think>");
        out.text(&reasoning);
    }
    out.fixed("</mm:think>");
    out.text(&text);
    if !message.tool_calls.is_empty() {
        out.fixed("]<]ns[>[<tool_call>\n");
        for call in &message.tool_calls {
            out.fixed("]<]ns[>[");
            out.text(&format!("<invoke name=\"{}\">", call.function.name));
            for argument in arguments(&call.function.arguments).iter().filter(|argument| argument.raw.get() != "null") {
                element(&argument.name, argument.raw.get(), 0, out);
            }
            out.fixed("]<]ns[>[</invoke>\n");
        }
        out.fixed("]<]ns[>[</tool_call>");
    }
    out.fixed("[e~[\n");
}

/// How deep values become elements; what is deeper stays JSON.
const MOST_DEPTH: usize = 32;

/// A value as an element: members and items are elements of their own.
fn element(name: &str, raw: &str, depth: usize, out: &mut Prompt) {
    out.fixed("]<]ns[>[");
    out.text(&format!("<{name}>"));
    let inner = depth + 1;
    if depth < MOST_DEPTH && raw.starts_with('{') {
        for member in &arguments(raw) {
            element(&member.name, member.raw.get(), inner, out);
        }
    } else if depth < MOST_DEPTH && raw.starts_with('[') {
        let items = serde_json::from_str::<Vec<&RawValue>>(raw).unwrap_or_default();
        for item in &items {
            element("item", item.get(), inner, out);
        }
    } else {
        out.text(&serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()));
    }
    out.fixed("]<]ns[>[");
    out.text(&format!("</{name}>"));
}
