//! Gemma 3. It knows no tools; where some are offered, their schemas stand with the system's words.

use super::super::json::{Layout, laid_out};
use super::super::message::Chat;
use super::super::prompt::Prompt;
use super::system_first;

pub(super) const MARKS: &[&str] = &["<bos>", "<start_of_turn>", "<end_of_turn>"];

pub(super) fn write(chat: &Chat, out: &mut Prompt) {
    let (system, rest) = system_first(chat);
    out.fixed("<bos>");
    for (at, message) in rest.iter().enumerate() {
        out.fixed("<start_of_turn>");
        out.text(if message.is("assistant") { "model\n" } else { "user\n" });
        if at == 0 {
            if let Some(system) = system {
                out.text(&format!("{}\n\n", system.text()));
            }
            for tool in &chat.tools {
                out.text(&format!("{}\n\n", laid_out(tool.raw(), Layout::Spaced)));
            }
        }
        out.text(message.text().trim());
        for call in &message.tool_calls {
            out.text(&format!("{}\n{}", call.function.name, call.function.arguments));
        }
        out.fixed("<end_of_turn>\n");
    }
    out.fixed("<start_of_turn>model\n");
}
