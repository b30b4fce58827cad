//! What an answer's report is against what was estimated of it: heard by what learns from reports, and told where they leave
//! their usual band, with the money at stake.

use super::desk::Desk;
use super::settlement::AnswerBasis;
use crate::canonical::{Feature, Request, TextProfile};
use crate::catalog::TokenizerFamily;
use crate::ledger::OpenAttempt;
use crate::meter::calibration::{Heard, Report, Side, Turn, Verdict};
use crate::meter::{Estimate, estimate};
use crate::units::{BackendId, Thinking, Tokens, Usage, Usd};

/// A prompt that can be compared with what is reported of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    pub text: TextProfile,
    /// The estimate before anything learned.
    pub estimate: Tokens,
}

impl Compared {
    /// Of a conversation in words: what pictures and sound come to is not known well enough to judge a report by.
    pub fn of(request: &Request, family: TokenizerFamily) -> Option<Self> {
        let other = [Feature::ImageInput, Feature::AudioInput, Feature::FileInput];
        let in_words = !other.iter().any(|feature| request.features.contains(*feature));
        let comparable = in_words && request.shape.direct().is_none();
        comparable.then(|| Self { text: request.text, estimate: Estimate::expected_in(request, family) })
    }
}

/// What was heard of a whole answer beside its report.
pub(super) struct Written<'a> {
    pub(super) text: &'a TextProfile,
    pub(super) reasoning_bytes: u64,
}

/// Hears a report, at so many seconds since the Unix epoch; answers whether it is one that nothing is to be learned from.
pub(super) fn heard(
    desk: &Desk,
    basis: &AnswerBasis,
    page: &OpenAttempt,
    written: &Written<'_>,
    (usage, at): (&Usage, u64),
) -> bool {
    let Some(prompt) = &basis.compared else { return false };
    let input = Heard { text: prompt.text, estimate: prompt.estimate, reported: usage.input() };
    let report =
        Report { backend: &basis.backend, family: basis.family, input: Some(input), output: output(basis, written, usage), at };
    let verdict = desk.reports.heard(&report);
    let mut at_stake = Usd::ZERO;
    if verdict.expected.iter().any(Option::is_some) {
        let more = page.would_cost(usage) - page.would_cost(&instead(usage, verdict.expected));
        at_stake = desk.reports.stake(&basis.backend, more);
    }
    tell(&basis.backend, at_stake, &verdict);
    verdict.flagged
}

/// Whether a part of what was written may not have been read.
pub(super) fn is_hidden(basis: &AnswerBasis, reasoning_bytes: u64, usage: &Usage) -> bool {
    reasoning_bytes > 0 || basis.thinking == Thinking::On && usage.reasoning == Tokens::ZERO
}

/// The answer's text and what is reported of it; `None` where a part of what was written cannot have been read.
fn output(basis: &AnswerBasis, written: &Written<'_>, usage: &Usage) -> Option<Heard> {
    let hidden = is_hidden(basis, written.reasoning_bytes, usage);
    let (text, reported) = (*written.text, usage.output.saturating_sub(usage.reasoning));
    (!hidden && reported > Tokens::ZERO).then(|| Heard { text, estimate: estimate::expected(&text, basis.family), reported })
}

/// Tells what a report turned.
pub(super) fn tell(backend: &BackendId, at_stake: Usd, verdict: &Verdict) {
    for (side, turn) in &verdict.turns {
        let side = side.word();
        match turn {
            Turn::Began(way) => {
                let way = way.word();
                tracing::warn!(
                    %backend, side, way, at_stake_usd = %at_stake,
                    "a provider's reports have left their usual band: it reports another number of tokens than is counted here"
                );
            }
            Turn::Ended => tracing::info!(%backend, side, "a provider's reports are back in their usual band"),
        }
    }
}

/// A usage with what was expected in place of what was reported. What a cache is said to have read or written stays.
fn instead(usage: &Usage, expected: [Option<Tokens>; 2]) -> Usage {
    let mut instead = *usage;
    if let Some(input) = expected[Side::Input as usize] {
        instead.fresh_input = input.saturating_sub(usage.input().saturating_sub(usage.fresh_input));
    }
    if let Some(output) = expected[Side::Output as usize] {
        instead.output = output + usage.reasoning;
    }
    instead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_expected_stands_in_place_of_what_was_reported() {
        let t = Tokens::new;
        let usage = Usage { cache_read: t(40), reasoning: t(5), ..Usage::fresh(t(60), t(30)) };
        let check = |expected: [Option<u64>; 2], fresh: u64, output: u64| {
            let found = instead(&usage, expected.map(|one| one.map(t)));
            assert_eq!(found, Usage { fresh_input: t(fresh), output: t(output), ..usage });
        };
        check([None, None], 60, 30);
        check([Some(80), None], 40, 30);
        check([Some(30), Some(10)], 0, 15);
    }
}
