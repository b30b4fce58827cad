//! What we count of an answer that is told in other words than its provider's: what its client is told where the provider reports
//! nothing. An estimate, as the books have it while an answer runs; at the end they count exactly, so the two may differ by a few
//! tokens.

use super::estimate;
use super::tokenizer::Count;
use super::usage::{Metered, metered};
use crate::canonical::{Delta, TextProfile};
use crate::catalog::TokenizerFamily;
use crate::units::{Provenance, Tokens, Usage};

/// One answer's count.
#[derive(Debug, Clone)]
pub struct OwnCount {
    input: Tokens,
    family: TokenizerFamily,
    written: TextProfile,
}

impl OwnCount {
    /// Of a request with so many input tokens, by our estimate.
    pub fn new(input: Tokens, family: TokenizerFamily) -> Self {
        Self { input, family, written: TextProfile::default() }
    }

    /// Takes the next piece of what the model wrote.
    pub fn add(&mut self, piece: &str) {
        self.written.add(piece);
    }

    /// Takes what a piece of the answer holds of that.
    pub fn hear(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(piece) | Delta::Thought(piece) | Delta::Refusal(piece) | Delta::Arguments { piece, .. } => {
                self.add(piece);
            }
            Delta::Call { name, .. } => self.add(name),
            Delta::Begin { .. } | Delta::Sealed(_) | Delta::Cited(_) | Delta::Finish(_) | Delta::Usage(_) => {}
        }
    }

    /// What the provider reports, or, where that says nothing, what was counted.
    pub fn or_ours(&self, reported: Option<Usage>) -> Usage {
        self.metered(reported).usage
    }

    /// The same, with where it comes from.
    pub fn metered(&self, reported: Option<Usage>) -> Metered {
        let count = |tokens| Count { tokens, provenance: Provenance::Estimated };
        metered(reported, count(self.input), count(estimate::expected(&self.written, self.family)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_unless_it_says_nothing_of_an_answer_that_does() {
        let mut own = OwnCount::new(Tokens::new(90), TokenizerFamily::O200k);
        assert_eq!(own.or_ours(None), Usage::fresh(Tokens::new(90), Tokens::ZERO));
        assert_eq!(own.or_ours(Some(Usage::default())), Usage::default());
        own.hear(&Delta::Text("Four words of text.".into()));
        own.hear(&Delta::Arguments { slot: 0, piece: "{\"city\":\"Oslo\"}".into() });
        let ours = own.or_ours(None);
        assert!(ours.fresh_input.get() == 90 && ours.output > Tokens::new(4), "{ours:?}");
        assert_eq!(own.or_ours(Some(Usage::default())), ours);
        let reported = Usage::fresh(Tokens::new(7), Tokens::new(3));
        assert_eq!(own.or_ours(Some(reported)), reported);
    }
}
