//! What is counted of an answer and its prompt off the reactor, beside everything else: where a provider reports nothing, where a
//! stream broke, and of a bounded sample of whole answers, to tell how exact reports are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::desk::Desk;
use super::reports;
use super::settlement::{AnswerBasis, estimated, seen};
use crate::canonical::Shape;
use crate::meter::calibration::{CountedReport, Side};
use crate::meter::chat::Chat;
use crate::meter::tokenizer::{BUDGET_BYTES, Count, Whose};
use crate::meter::usage::{Metered, metered};
use crate::meter::{How, RunningCount};
use crate::units::{Provenance, Tokens, Usage, Usd};

/// A longer body is not read to be counted.
const LONGEST_PROMPT: usize = 8 * BUDGET_BYTES;
/// Of an answer or a prompt that is longer than this no sample is counted: three thousandths of a second of one core.
const SAMPLED_BYTES: usize = 64 * 1024;

/// Counts what was not reported: the answer's text as far as it was kept, and the prompt where nobody told its length and
/// it is not too long.
pub(super) async fn count(desk: &Desk, running: RunningCount, reported: Option<Usage>, basis: &AnswerBasis) -> Metered {
    let (kept, whole) = running.into_parts();
    let of = whose(basis);
    let output = desk.tokenizer.count_beginning(kept, whole, of.clone()).await;
    let output = as_reported(desk, basis, Side::Output, output);
    if let Some(usage) = reported {
        let provenance = if output.tokens > usage.output { output.provenance } else { Provenance::Reported };
        return Metered { usage: seen(reported, basis.input_estimate, output.tokens), provenance };
    }
    // Of pictures and sound a count knows nothing, the estimate at least something.
    let in_words = basis.compared.is_some() || basis.asked_in.direct().is_some();
    let readable = in_words && !basis.prompt.is_empty() && basis.prompt.len() <= LONGEST_PROMPT;
    let counted = if readable { prompt(desk, basis, of).await } else { None };
    metered(None, counted.unwrap_or(estimated(basis.input_estimate)), output)
}

/// The prompt as its model reads it, where it is a conversation; else its texts.
async fn prompt(desk: &Desk, basis: &AnswerBasis, of: Whose) -> Option<Count> {
    let (body, asked_in, conversation) = (basis.prompt.clone(), basis.asked_in, desk.conversation);
    let counted = desk.tokenizer.count_chat(move || conversation(&body, asked_in).as_ref().map(Chat::of), of.clone()).await;
    if let Some((tokens, how)) = counted {
        let provenance = if how == How::Exact { Provenance::Counted } else { Provenance::Estimated };
        return Some(as_reported(desk, basis, Side::Input, Count { tokens, provenance }));
    }
    let (body, prompt_text) = (basis.prompt.clone(), desk.prompt_text);
    desk.tokenizer.count_made(move || prompt_text(&body), of).await
}

/// A count in a vocabulary that is not certainly the model's own, as its reports taught.
fn as_reported(desk: &Desk, basis: &AnswerBasis, side: Side, count: Count) -> Count {
    if count.provenance != Provenance::Estimated {
        return count;
    }
    Count { tokens: desk.reports.counted(&basis.backend, side, count.tokens), ..count }
}

fn whose(basis: &AnswerBasis) -> Whose {
    Whose { backend: basis.backend.clone(), family: basis.family }
}

/// Which whole answers are counted although they were reported: so many a minute, whatever the traffic, and as many again of those
/// whose provider's reports are out of their band.
#[derive(Debug)]
pub struct Sampler {
    /// In milliseconds; nothing where none is counted.
    every: Option<u64>,
    /// When the last one was taken, on the monotonic clock, in milliseconds: of all, and of the suspected.
    last: [AtomicU64; 2],
}

impl Sampler {
    /// So many a minute, the first after the first part of it.
    pub fn new(a_minute: u32, now: Duration) -> Self {
        let every = 60_000_u64.checked_div(a_minute.into()).map(|every| every.max(1));
        Self { every, last: [(); 2].map(|()| AtomicU64::new(millis(now))) }
    }

    /// Whether an answer that ends now is counted.
    fn takes(&self, flagged: bool, now: Duration) -> bool {
        let Some(every) = self.every else { return false };
        let (last, now) = (&self.last[usize::from(flagged)], millis(now));
        let before = last.load(Ordering::Relaxed);
        now.saturating_sub(before) >= every && last.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// A whole answer that is to be counted, with what was reported of it.
pub(super) struct Sample {
    of: Whose,
    prompt: Option<(Bytes, Shape)>,
    text: Option<String>,
    input: Tokens,
    output: Tokens,
}

impl Sample {
    /// Taken of an answer now and then.
    pub(super) fn of(
        desk: &Desk,
        basis: &AnswerBasis,
        (running, usage): (RunningCount, &Usage),
        (reasoning_bytes, flagged): (u64, bool),
        now: Duration,
    ) -> Option<Self> {
        let comparable = basis.compared.is_some() && !basis.prompt.is_empty();
        if !comparable || !desk.sampler.takes(flagged, now) || !desk.tokenizer.is_idle() {
            return None;
        }
        let prompt = (basis.prompt.len() <= SAMPLED_BYTES).then(|| (basis.prompt.clone(), basis.asked_in));
        let whole = !reports::is_hidden(basis, reasoning_bytes, usage) && running.profile().bytes() <= SAMPLED_BYTES as u64;
        let text = whole.then(|| running.into_parts().0);
        Some(Self { of: whose(basis), prompt, text, input: usage.input(), output: usage.output.saturating_sub(usage.reasoning) })
    }

    /// Counts it and tells what that says of the provider's reports.
    pub(super) async fn count(self, desk: Arc<Desk>) {
        let Self { of, prompt, text, input, output } = self;
        let mut counted = [None; 2];
        if let Some((body, asked_in)) = prompt {
            let conversation = desk.conversation;
            let make = move || conversation(&body, asked_in).as_ref().map(Chat::of);
            counted[0] = desk.tokenizer.count_chat(make, of.clone()).await.map(|(tokens, _)| (tokens, input));
        }
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            counted[1] = desk.tokenizer.count_made(move || text, of.clone()).await.map(|count| (count.tokens, output));
        }
        let [input, output] = counted;
        let at = u64::try_from(desk.clock.wall().as_second()).unwrap_or(0);
        let verdict = desk.reports.heard_counted(&CountedReport { backend: &of.backend, family: of.family, input, output, at });
        reports::tell(&of.backend, desk.reports.stake(&of.backend, Usd::ZERO), &verdict);
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_minute_are_taken_whatever_the_traffic() {
        let check = |a_minute: u32, flagged: &[bool], expected: usize| {
            let sampler = Sampler::new(a_minute, Duration::ZERO);
            let answers = (0..120_000).step_by(50).map(Duration::from_millis);
            let taken = answers.flat_map(|now| flagged.iter().map(move |flagged| (*flagged, now)));
            let taken = taken.filter(|(flagged, now)| sampler.takes(*flagged, *now)).count();
            assert_eq!(taken, expected, "{a_minute} {flagged:?}");
        };
        check(0, &[false, true], 0);
        check(10, &[false], 19);
        check(10, &[false, false, true], 38);
        check(60, &[true], 119);
    }
}
