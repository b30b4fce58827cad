//! Tokens of a whole conversation: what a model reads when a chat template has put its marks around the messages.
//!
//! For open weights the template is public, so [`rendered`] writes the prompt as the vendor's template does and its text is
//! counted like any other; a mark such as `<|im_start|>` is one token. For OpenAI it is the vendor's documented rule of so many
//! tokens a message and a tool ([`openai`]). For others the frame that was measured or documented is added to the text
//! (`coefficients`). A hosted API may add hidden text: this is the open prompt, not anyone's bill.

mod conversation;
mod json;
mod message;
mod openai;
mod prompt;
mod rendered;

pub use message::{Chat, Message};

use super::exact::{TokenCounter, Vocabularies};
use super::{calibrated, coefficients, estimate, sampled};
use crate::canonical::TextProfile;
use crate::catalog::TokenizerFamily;
use crate::units::Tokens;
use prompt::Prompt;

/// How a number of tokens came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// In the vendor's own vocabulary and by its template or rule.
    Exact,
    /// In another vocabulary, to which this one was fitted, or by a frame that was measured.
    Calibrated,
    /// From a part of the text, or from what it is made of.
    Estimate,
}

impl How {
    pub const fn word(self) -> &'static str {
        match self {
            How::Exact => "exact",
            How::Calibrated => "calibrated",
            How::Estimate => "estimate",
        }
    }
}

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

    /// Its tokens, and how they came about.
    pub fn count(&self, vocabularies: &Vocabularies, family: TokenizerFamily) -> (u64, How) {
        self.count_within(vocabularies, vocabularies.counter(family).as_deref(), family, usize::MAX)
    }

    /// The same with a counter of the caller's choice (`None`: nobody gave the vocabulary away) and a budget of so many bytes,
    /// beyond which the count is scaled by the estimate.
    pub fn count_within(
        &self,
        vocabularies: &Vocabularies,
        counter: Option<&dyn TokenCounter>,
        family: TokenizerFamily,
        budget: usize,
    ) -> (u64, How) {
        let (mut room, mut seen, mut beyond) = (budget, Vec::with_capacity(self.texts.len()), TextProfile::default());
        for text in &self.texts {
            let (first, rest) = text.split_at(text.floor_char_boundary(room));
            room -= first.len();
            seen.push(first);
            beyond.merge(&TextProfile::of(rest));
        }
        let (within, how) = match counter {
            Some(counter) => {
                let texts: u64 = seen.iter().map(|text| counter.count(text)).sum();
                (texts, if self.ruled { How::Exact } else { How::Calibrated })
            }
            // The fit has a constant for every text, so they are counted as one.
            None => {
                let whole = seen.concat();
                (calibrated::count(vocabularies, &whole, &TextProfile::of(&whole), family), How::Calibrated)
            }
        };
        if beyond.bytes() == 0 {
            return (self.marks + within, how);
        }
        let mut profile = TextProfile::default();
        seen.iter().for_each(|text| profile.merge(&TextProfile::of(text)));
        let told = |profile: &TextProfile| estimate::expected(profile, family);
        let rest = estimate::scaled(Tokens::new(within), told(&beyond), told(&profile));
        (self.marks + within + rest.get(), How::Estimate)
    }

    /// Its tokens within microseconds.
    pub fn estimate(&self, vocabularies: &Vocabularies, family: TokenizerFamily) -> u64 {
        self.marks + sampled::estimate(vocabularies, &self.texts.concat(), family).get()
    }
}

#[cfg(test)]
mod tests;
