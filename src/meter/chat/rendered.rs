//! The chat templates of open weights, written out. Each follows its vendor's template file (Jinja, or Python for DeepSeek and
//! Mistral) for text, tools on offer, calls and their results, with the words at the end that let the model begin its answer.

mod deepseek;
mod gemma;
mod glm;
mod kimi;
mod llama;
mod minimax;
mod mistral;
mod qwen;

use super::message::{Chat, Message};
use super::prompt::Prompt;
use crate::catalog::TokenizerFamily;

/// The marks of a family's template, each one token; `None` where the template is not known.
pub(super) fn marks(family: TokenizerFamily) -> Option<&'static [&'static str]> {
    Some(match family {
        TokenizerFamily::Qwen23 | TokenizerFamily::Qwen35 => qwen::MARKS,
        TokenizerFamily::Glm47Glm5 => glm::MARKS,
        TokenizerFamily::MinimaxM3 => minimax::MARKS,
        TokenizerFamily::DeepseekV3 => deepseek::MARKS,
        TokenizerFamily::KimiK2 => kimi::MARKS,
        TokenizerFamily::Llama3 => llama::MARKS,
        TokenizerFamily::MistralTekken | TokenizerFamily::MistralSpmV7 => mistral::MARKS,
        TokenizerFamily::Gemma3Gemini => gemma::MARKS,
        TokenizerFamily::O200k
        | TokenizerFamily::Cl100k
        | TokenizerFamily::Claude3Recon
        | TokenizerFamily::Claude47Recon
        | TokenizerFamily::Unknown => return None,
    })
}

/// Writes a conversation by the template of a family that has [`marks`].
pub(super) fn write(chat: &Chat, family: TokenizerFamily, out: &mut Prompt) {
    match family {
        TokenizerFamily::Qwen23 => qwen::write_3(chat, out),
        TokenizerFamily::Qwen35 => qwen::write_35(chat, out),
        TokenizerFamily::Glm47Glm5 => glm::write(chat, out),
        TokenizerFamily::MinimaxM3 => minimax::write(chat, out),
        TokenizerFamily::DeepseekV3 => deepseek::write(chat, out),
        TokenizerFamily::KimiK2 => kimi::write(chat, out),
        TokenizerFamily::Llama3 => llama::write(chat, out),
        TokenizerFamily::MistralTekken | TokenizerFamily::MistralSpmV7 => mistral::write(chat, out),
        TokenizerFamily::Gemma3Gemini => gemma::write(chat, out),
        TokenizerFamily::O200k
        | TokenizerFamily::Cl100k
        | TokenizerFamily::Claude3Recon
        | TokenizerFamily::Claude47Recon
        | TokenizerFamily::Unknown => {}
    }
}

/// The system message that a conversation may begin with, and what follows it.
fn system_first(chat: &Chat) -> (Option<&Message>, &[Message]) {
    match chat.messages.split_first() {
        Some((first, rest)) if first.is("system") || first.is("developer") => (Some(first), rest),
        _ => (None, &chat.messages),
    }
}

/// What a message says aside from reasoning between two marks, and that reasoning, where it stands in the text or by itself.
fn without_reasoning(message: &Message, begin: &str, end: &str) -> (String, String) {
    let text = message.text();
    if let Some(reasoning) = &message.reasoning_content {
        return (text, reasoning.clone());
    }
    let Some((before, _)) = text.split_once(end) else { return (text, String::new()) };
    let after = text.rsplit(end).next().unwrap_or_default().trim_start_matches('\n');
    let reasoning = before.trim_end_matches('\n').rsplit(begin).next().unwrap_or_default().trim_start_matches('\n');
    (after.to_owned(), reasoning.to_owned())
}

/// The members of a call's arguments with their values as text: a string as it is, others as JSON.
fn arguments(raw: &str) -> Vec<(String, String)> {
    use super::json::{Layout, laid_out};
    let Ok(members) = serde_json::from_str::<Members>(raw) else { return vec![("arguments".to_owned(), raw.to_owned())] };
    let text = |raw: &str| serde_json::from_str::<String>(raw).unwrap_or_else(|_| laid_out(raw, Layout::Spaced));
    members.0.into_iter().map(|(name, value)| (name, text(value.get()))).collect()
}

/// The members of an object in their order.
struct Members(Vec<(String, Box<serde_json::value::RawValue>)>);

impl<'de> serde::Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
