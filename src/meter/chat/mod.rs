//! Tokens of a whole conversation: what a model reads when a chat template has put its marks around the messages.
//!
//! For open weights the template is public, so [`rendered`] writes the prompt as the vendor's template does and its text is
//! counted like any other; a mark such as `<|im_start|>` is one token. For OpenAI it is the vendor's documented rule of so many
//! tokens a message and a tool ([`openai`]). For others the frame that was measured or documented is added to the text
//! (`coefficients`). A hosted API may add hidden text: this is the open prompt, not anyone's bill.

mod json;
mod message;
mod openai;
mod prompt;
mod rendered;

pub use message::{Chat, Message};

use super::exact::Vocabularies;
use super::{calibrated, coefficients, sampled};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use prompt::Prompt;

/// The prompt of a conversation, ready to be counted.
pub struct Framed {
    /// Texts that end where a mark or a message does, and are counted by themselves.
    texts: Vec<String>,
    /// Tokens that are no text: marks, or what a rule says.
    marks: u64,
    /// The vendor's template or rule was followed.
    ruled: bool,
}

impl Framed {
    /// A conversation as a family's template has it.
    pub fn of(chat: &Chat, family: TokenizerFamily) -> Self {
        if matches!(family, TokenizerFamily::O200k | TokenizerFamily::Cl100k) {
            let (texts, marks) = openai::framed(chat);
            return Self { texts, marks, ruled: true };
        }
        if let Some(marks) = rendered::marks(family) {
            let mut prompt = Prompt::new(marks);
            rendered::write(chat, family, &mut prompt);
            let (texts, marks) = prompt.into_parts();
            return Self { texts, marks, ruled: true };
        }
        let rule = coefficients::of(family).framing;
        let tools = chat.tools.len() as u64;
        let for_tools = if tools > 0 { rule.tools + rule.per_tool * tools } else { 0 };
        let marks = rule.base + rule.per_message * chat.messages.len() as u64 + for_tools;
        Self { texts: chat.texts(), marks, ruled: false }
    }

    /// Its tokens, and whether they are exact: the vocabulary is at hand and the vendor's template or rule was followed.
    pub fn count(&self, vocabularies: &Vocabularies, family: TokenizerFamily) -> (u64, bool) {
        if let Some(counter) = vocabularies.counter(family) {
            let texts: u64 = self.texts.iter().map(|text| counter.count(text)).sum();
            return (self.marks + texts, self.ruled);
        }
        // The fit has a constant for every text, so they are counted as one.
        let whole = self.texts.concat();
        (self.marks + calibrated::count(vocabularies, &whole, &TextProfile::of(&whole), family), false)
    }

    /// Its tokens within microseconds.
    pub fn estimate(&self, vocabularies: &Vocabularies, family: TokenizerFamily) -> u64 {
        self.marks + sampled::estimate(vocabularies, &self.texts.concat(), family).get()
    }
}

#[cfg(test)]
mod tests;
