//! DeepSeek V4, which V3's vocabulary serves; V3 itself differs in its words for tools.

use super::super::json::{Layout, laid_out};
use super::super::message::{Chat, Message};
use super::super::prompt::Prompt;
use super::{system_first, without_reasoning};

pub(super) const MARKS: &[&str] =
    &["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "｜DSML｜"];

const TOOLS: &str = "## Tools\n\nYou have access to a set of tools to help answer the user's question. You can invoke tools by \
                     writing a \"<｜DSML｜tool_calls>\" block like the following:\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke \
                     name=\"$TOOL_NAME\">\n<｜DSML｜parameter name=\"$PARAMETER_NAME\" \
                     string=\"true|false\">$PARAMETER_VALUE</｜DSML｜parameter>\n...\n</｜DSML｜invoke>\n<｜DSML｜invoke \
                     name=\"$TOOL_NAME2\">\n...\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>\n\nString parameters should be \
                     specified as is and set `string=\"true\"`. For all other types (numbers, booleans, arrays, objects), pass \
                     the value in JSON format and set `string=\"false\"`.\n\nIf thinking_mode is enabled (triggered by \
                     <think>), you MUST output your complete reasoning inside <think>...</think> BEFORE any tool calls or \
                     final response.\n\nOtherwise, output directly after </think> with tool calls or final response.\n\n### \
                     Available Tool Schemas\n\n";
const TOOLS_END: &str = "\n\nYou MUST strictly follow the above defined tool name and parameter schemas to invoke tool calls.\n";

pub(super) fn write(chat: &Chat, out: &mut Prompt) {
    let (system, rest) = system_first(chat);
    out.fixed("<｜begin▁of▁sentence｜>");
    if let Some(system) = system {
        out.text(&system.text());
    }
    if !chat.tools.is_empty() {
        out.text("\n\n");
        out.fixed(TOOLS);
        let schemas: Vec<String> = chat.tools.iter().map(|tool| laid_out(tool.function(), Layout::Spaced)).collect();
        out.text(&schemas.join("\n"));
        out.text(TOOLS_END);
    }
    for (at, message) in rest.iter().enumerate() {
        if message.is("assistant") {
            answered(message, out);
            continue;
        }
        asked(message, at > 0 && !rest[at - 1].is("assistant"), out);
        if rest.get(at + 1).is_none_or(|next| next.is("assistant")) {
            out.fixed("<｜Assistant｜></think>");
        }
    }
}

/// A user's message, or what a tool answered, which stands in one.
fn asked(message: &Message, goes_on: bool, out: &mut Prompt) {
    if goes_on {
        out.text("\n\n");
    } else {
        out.fixed("<｜User｜>");
    }
    if message.is("tool") {
        out.text(&format!("<tool_result>{}</tool_result>", message.text()));
    } else {
        out.text(&message.text());
    }
}

fn answered(message: &Message, out: &mut Prompt) {
    let (text, _) = without_reasoning(message, "<think>", "</think>");
    out.text(&text);
    if !message.tool_calls.is_empty() {
        out.fixed("\n\n<｜DSML｜tool_calls>\n");
        for (nth, call) in message.tool_calls.iter().enumerate() {
            out.text(if nth > 0 { "\n" } else { "" });
            out.fixed("<｜DSML｜invoke");
            out.text(&format!(" name=\"{}\">\n", call.function.name));
            for (nth, (name, value)) in super::arguments(&call.function.arguments).into_iter().enumerate() {
                out.text(if nth > 0 { "\n" } else { "" });
                out.fixed("<｜DSML｜parameter");
                out.text(&format!(" name=\"{name}\" string=\"true\">{value}"));
                out.fixed("</｜DSML｜parameter>");
            }
            out.fixed("\n</｜DSML｜invoke>");
        }
        out.fixed("\n</｜DSML｜tool_calls>");
    }
    out.fixed("<｜end▁of▁sentence｜>");
}
