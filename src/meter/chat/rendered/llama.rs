//! Llama 3: plain without tools, as its first release has it; with tools as 3.1 to 3.3 have it, which alone know some. These also
//! begin without tools with 25 tokens of two dates, which servers leave out as often as not.

use super::super::json::{Layout, laid_out};
use super::super::message::{Chat, Message};
use super::super::prompt::Prompt;
use super::system_first;

pub(super) const MARKS: &[&str] = &["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];

const CALLS: &str = "Given the following functions, please respond with a JSON for a function call with its proper arguments that \
                     best answers the given prompt.\n\nRespond in the format {\"name\": function name, \"parameters\": \
                     dictionary of argument name and its value}.Do not use variables.\n\n";

const DATES: &str = "Environment: ipython\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";

pub(super) fn write(chat: &Chat, out: &mut Prompt) {
    let (system, rest) = system_first(chat);
    out.fixed("<|begin_of_text|>");
    if system.is_some() || !chat.tools.is_empty() {
        out.fixed("<|start_header_id|>system<|end_header_id|>\n\n");
        if !chat.tools.is_empty() {
            out.fixed(DATES);
        }
        out.text(system.map(Message::text).unwrap_or_default().trim());
        out.fixed("<|eot_id|>");
    }
    let first_user = rest.iter().position(|message| message.is("user"));
    for (at, message) in rest.iter().enumerate() {
        out.fixed("<|start_header_id|>");
        out.text(if message.is("tool") { "ipython" } else { &message.role });
        out.fixed("<|end_header_id|>\n\n");
        if first_user == Some(at) && !chat.tools.is_empty() {
            out.fixed(CALLS);
            for tool in &chat.tools {
                out.text(&laid_out(tool.raw(), Layout::Lines));
                out.text("\n\n");
            }
        }
        said(message, out);
        out.fixed("<|eot_id|>");
    }
    out.fixed("<|start_header_id|>assistant<|end_header_id|>\n\n");
}

fn said(message: &Message, out: &mut Prompt) {
    match message.tool_calls.first() {
        Some(call) => out.text(&format!(
            "{{\"name\": \"{}\", \"parameters\": {}}}",
            call.function.name,
            laid_out(&call.function.arguments, Layout::Spaced)
        )),
        None => out.text(message.text().trim()),
    }
}
