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

impl Metered {
    /// As the provider says it.
    pub const fn reported(usage: Usage) -> Self {
        Self { usage, provenance: Provenance::Reported }
    }
}

/// What the attempt is booked at. `input` and `output` are our own figures, used where nothing was reported.
pub fn metered(reported: Option<Usage>, input: Count, output: Count) -> Metered {
    if let Some(usage) = reported.filter(|usage| says_something(usage, output)) {
        return Metered::reported(usage);
    }
    let usage = Usage::fresh(input.tokens, output.tokens);
    Metered { usage, provenance: input.provenance.max(output.provenance) }
}

/// What is known of an attempt beside its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Heard {
    /// Bytes of the answer's text.
    pub text_bytes: u64,
    /// Those of them that were reasoning, where it is not decided otherwise whether the attempt thought.
    pub reasoning_bytes: u64,
    /// The request asked a cache to keep some of it for an hour or more, and the report does not say how long it does.
    pub long_writes: bool,
    /// What was to be billed by the piece, where the price goes by it.
    pub pieces: u64,
}

/// A report with what it leaves unsaid, at the dearer side. Where reasoning was heard and none is reported, the output is
/// reasoning as far as the text was, and some of it at least: vendors bill thinking by whether there was any. What was
/// written to a cache that was asked to keep some of it for an hour, was written for an hour. Pieces that nobody counted are those
/// that were expected.
pub fn completed(mut usage: Usage, heard: &Heard) -> Usage {
    if usage.reasoning == Tokens::ZERO && heard.reasoning_bytes > 0 {
        let output = u128::from(usage.output.get());
        let part = (output * u128::from(heard.reasoning_bytes)).div_ceil(u128::from(heard.text_bytes.max(1)));
        usage.reasoning = Tokens::new(u64::try_from(part).unwrap_or(u64::MAX)).min(usage.output);
    }
    if heard.long_writes && usage.cache_write_long == Tokens::ZERO {
        usage.cache_write_long = usage.cache_write;
    }
    if usage.pieces == 0 {
        usage.pieces = heard.pieces;
    }
    usage
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
    fn a_report_without_reasoning_thought_as_far_as_it_was_heard() {
        let check = |output: u64, reported: u64, (reasoning_bytes, text_bytes): (u64, u64), expected: u64| {
            let usage = Usage { reasoning: Tokens::new(reported), ..Usage::fresh(Tokens::new(5), Tokens::new(output)) };
            let heard = Heard { text_bytes, reasoning_bytes, long_writes: false, pieces: 0 };
            let found = completed(usage, &heard);
            assert_eq!(found, Usage { reasoning: Tokens::new(expected), ..usage }, "{output} {reported} {heard:?}");
        };
        check(40, 0, (30, 40), 30);
        check(40, 0, (1, 400), 1);
        check(40, 0, (1, 0), 40);
        check(40, 7, (30, 40), 7);
        check(40, 0, (0, 40), 0);
        check(0, 0, (30, 40), 0);
    }

    #[test]
    fn what_was_written_to_a_cache_is_kept_as_long_as_was_asked_where_nobody_says() {
        let check = |long: u64, long_writes, expected: u64| {
            let usage = Usage { cache_write: Tokens::new(9), cache_write_long: Tokens::new(long), ..Usage::default() };
            let found = completed(usage, &Heard { long_writes, ..Heard::default() });
            assert_eq!(found.cache_write_long.get(), expected);
        };
        check(0, false, 0);
        check(0, true, 9);
        check(4, true, 4);
    }

    #[test]
    fn pieces_that_nobody_counted_are_those_that_were_expected() {
        let check = |told: u64, pieces, expected: u64| {
            let usage = Usage { pieces: told, ..Usage::fresh(Tokens::new(5), Tokens::ZERO) };
            assert_eq!(completed(usage, &Heard { pieces, ..Heard::default() }).pieces, expected);
        };
        check(0, 0, 0);
        check(0, 3, 3);
        check(2, 3, 2);
    }

    #[test]
    fn overage_counts_each_side_by_itself() {
        let usage = Usage::fresh(Tokens::new(120), Tokens::new(9));
        assert_eq!(overage(&usage, Tokens::new(100), Tokens::new(50)), Tokens::new(20));
        assert_eq!(overage(&usage, Tokens::new(500), Tokens::new(4)), Tokens::new(5));
        assert_eq!(overage(&usage, Tokens::new(120), Tokens::new(9)), Tokens::ZERO);
    }
}
