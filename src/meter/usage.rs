//! What an attempt is booked at: the provider's report where there is one, else what we counted.
//!
//! The report wins even where our count differs, because it is what the vendor bills; a report above what was possible is
//! booked in full as well, but marked, so that the operator hears of it (promise 2's one exception). A report of nothing
//! at all for an answer that had text is not a report: some servers send zeros when they do not count.

use super::tokenizer::Count;
use crate::units::{Provenance, Tokens, Usage};

/// Tokens of one attempt, with where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metered {
    pub usage: Usage,
    /// The weakest source among its parts.
    pub provenance: Provenance,
}

/// What the attempt is booked at. `input` and `output` are our own figures, used where nothing was reported.
pub fn metered(reported: Option<Usage>, input: Count, output: Count) -> Metered {
    if let Some(usage) = reported.filter(|usage| says_something(usage, output)) {
        return Metered { usage, provenance: Provenance::Reported };
    }
    let usage = Usage::fresh(input.tokens, output.tokens);
    Metered { usage, provenance: input.provenance.max(output.provenance) }
}

/// Tokens that a report claims beyond what the attempt could have cost at most.
pub fn overage(usage: &Usage, most_input: Tokens, most_output: Tokens) -> Tokens {
    usage.input().saturating_sub(most_input) + usage.output.saturating_sub(most_output)
}

fn says_something(usage: &Usage, output: Count) -> bool {
    usage.input() + usage.output > Tokens::ZERO || output.tokens == Tokens::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Count = Count { tokens: Tokens::new(100), provenance: Provenance::Estimated };
    const OUTPUT: Count = Count { tokens: Tokens::new(7), provenance: Provenance::Counted };

    #[test]
    fn a_report_wins_and_its_absence_is_marked() {
        let reported = Usage::fresh(Tokens::new(120), Tokens::new(9));
        let check = |given, usage, provenance| {
            assert_eq!(metered(given, INPUT, OUTPUT), Metered { usage, provenance });
        };
        check(Some(reported), reported, Provenance::Reported);
        let ours = Usage::fresh(Tokens::new(100), Tokens::new(7));
        check(None, ours, Provenance::Estimated);
        check(Some(Usage::default()), ours, Provenance::Estimated);
    }

    #[test]
    fn both_parts_counted_is_counted() {
        assert_eq!(metered(None, OUTPUT, OUTPUT).provenance, Provenance::Counted);
    }

    #[test]
    fn zeros_for_an_empty_answer_are_a_report() {
        let nothing = Count { tokens: Tokens::ZERO, provenance: Provenance::Counted };
        assert_eq!(metered(Some(Usage::default()), INPUT, nothing).provenance, Provenance::Reported);
    }

    #[test]
    fn overage_counts_each_side_by_itself() {
        let usage = Usage::fresh(Tokens::new(120), Tokens::new(9));
        assert_eq!(overage(&usage, Tokens::new(100), Tokens::new(50)), Tokens::new(20));
        assert_eq!(overage(&usage, Tokens::new(500), Tokens::new(4)), Tokens::new(5));
        assert_eq!(overage(&usage, Tokens::new(120), Tokens::new(9)), Tokens::ZERO);
    }
}
