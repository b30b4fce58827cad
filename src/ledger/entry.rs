//! What the books hold, as plain values: a request, its attempts, how each began and how each ended. No I/O; how these
//! become bytes says `codec`, how they become rows says `sqlite`.
//!
//! Prices and exchange rate travel together as [`Terms`], checked once when they are made, so that no later stage can
//! find an amount it cannot convert.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;

use super::marks::Marks;
use crate::units::{
    Amount, BackendId, Course, ExchangeRate, Free, FreePart, KeyName, Pieces, Pricing, Provenance, RequestId, Tariff, Thinking,
    Tokens, Usage, Usd,
};

/// How many output tokens may have passed to a client beyond the last checkpoint that is in the journal. The stream
/// waits for the journal before it gets further ahead; see `OpenAttempt::progress`.
pub const LEAD_TOKENS: u64 = 256;

/// How many output tokens a provider may have made (and will bill) that had not yet reached us.
pub const IN_FLIGHT_TOKENS: u64 = 256;

/// What an answer cut by a kill is booked above its last checkpoint, so that truth ≤ booked ≤ truth + margin.
///
/// A checkpoint that rests on an estimate may itself be short: its share of [`ESTIMATE_MARGIN_PERCENT`] comes on top. It may be
/// long by as much, and by [`ESTIMATE_BESIDE_TOKENS`], which is then booked above the margin.
pub const MARGIN_TOKENS: u64 = LEAD_TOKENS + IN_FLIGHT_TOKENS;

/// How far an estimate of output tokens may lie below the truth, in hundredths of the estimate: above the 99th percentile
/// of the measured error for texts of a kilobyte and more.
pub const ESTIMATE_MARGIN_PERCENT: u64 = 25;

/// By how many tokens, beside its share, the estimate of a short text may lie above the truth: rounding, and what a backend's first
/// reports seem to say stands beside every answer (two of the errors that the prior of that gives it, see
/// [`calibration`](crate::meter::calibration)).
pub const ESTIMATE_BESIDE_TOKENS: u64 = 64;

/// The most that a lost answer is booked above the output that its last checkpoint said.
pub const fn lost_margin(checkpoint: Tokens, provenance: Provenance) -> Tokens {
    let doubt = match provenance {
        Provenance::Reported | Provenance::Counted => 0,
        Provenance::Estimated => checkpoint.get() * ESTIMATE_MARGIN_PERCENT / 100,
    };
    Tokens::new(MARGIN_TOKENS + doubt)
}

/// At what prices an attempt is settled, and how its cost becomes dollars. Made only of parts in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pricing: Pricing,
    exchange_rate: ExchangeRate,
    rate_date: String,
}

impl Terms {
    /// Joins prices and a dated rate. `None` when the rate is for another currency than the prices.
    ///
    /// `rate_date` is the day the rate was published (`2026-11-20`), as the books will show it.
    pub fn new(pricing: Pricing, exchange_rate: ExchangeRate, rate_date: impl Into<String>) -> Option<Self> {
        (pricing.currency() == exchange_rate.currency()).then(|| Self { pricing, exchange_rate, rate_date: rate_date.into() })
    }

    pub const fn pricing(&self) -> &Pricing {
        &self.pricing
    }

    pub const fn exchange_rate(&self) -> ExchangeRate {
        self.exchange_rate
    }

    pub fn rate_date(&self) -> &str {
        &self.rate_date
    }

    /// What a usage costs that took a course: exactly in the vendor's currency, then converted once.
    pub fn cost(&self, usage: &Usage, thinking: Thinking, course: Course) -> (Cost, AppliedPrice) {
        self.cost_beyond(None, usage, thinking, course)
    }

    /// The same where a part of it was free.
    pub fn cost_beyond(&self, free: Option<FreePart>, usage: &Usage, thinking: Thinking, course: Course) -> (Cost, AppliedPrice) {
        let billed = self.pricing.cost(usage, thinking, course);
        let spared = free.map_or(0, |part| billed.sheet.spared(billed.tariff, usage, part));
        let amount = Amount::from_pico(billed.amount.pico() - spared, billed.amount.currency());
        // The currencies are the same by construction; were they not, the row would be dear and seen, not free and unseen.
        let usd = self.exchange_rate.convert(amount).unwrap_or(Usd::MAX);
        let spared = Amount::from_pico(spared, amount.currency());
        let applied = AppliedPrice { id: Arc::clone(billed.price), tariff: *billed.tariff, listed: billed.listed, spared };
        (Cost { amount, usd }, applied)
    }
}

/// The price that an attempt turned out to be billed at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedPrice {
    /// The identity of the row in the price book.
    pub id: Arc<str>,
    pub tariff: Tariff,
    /// Whether the vendor lists a price for such a request; the dearest was charged where not.
    pub listed: bool,
    /// What a free quota spared of it.
    pub spared: Amount,
}

/// One cost, as the vendor bills it and as the ledger counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub amount: Amount,
    pub usd: Usd,
}

/// A configured model to compare with: what the same tokens would have cost there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    pub model: String,
    pub terms: Terms,
}

/// A request as it is when the books open its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOpened {
    pub id: RequestId,
    /// The client's own `x-request-id`; cut at 128 bytes.
    pub client_request_id: Option<String>,
    pub key: KeyName,
    /// What shape of API the client speaks.
    pub frontend: Cow<'static, str>,
    /// The model name as the client sent it; cut at 256 bytes.
    pub requested_model: String,
    pub stream: bool,
    /// The client's session; cut at 128 bytes.
    pub session: Option<String>,
    pub arrived_at: Timestamp,
    /// Which price book the request was quoted and is settled from.
    pub book_version: String,
    pub input_estimate: Tokens,
    pub expected_output: Tokens,
    /// What the chosen backend was expected to cost.
    pub quoted: Usd,
    /// What the second candidate was expected to cost.
    pub runner_up: Option<Usd>,
    pub baseline: Option<Baseline>,
    /// What the decision was made from, in the decider's own form, so that it can be explained later; empty where it is
    /// not to be.
    pub facts: Vec<u8>,
    pub marks: Marks,
}

/// An attempt at one backend as it is just before it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOpened {
    pub backend: BackendId,
    pub provider: String,
    pub model: String,
    pub terms: Terms,
    pub quoted: Usd,
    /// Money set aside for this attempt.
    pub held: Usd,
    pub input_estimate: Tokens,
    /// The input is no more than this.
    pub input_upper: Tokens,
    pub expected_output: Tokens,
    /// The output of all choices together is no more than this.
    pub output_bound: Tokens,
    pub started_at: Timestamp,
    /// Whether it thinks, as far as that was known.
    pub thinking: Thinking,
    /// What is billed by the piece.
    pub pieces: Pieces,
}

impl AttemptOpened {
    /// When the vendor got it, and when it was through with it.
    fn course(&self, end: &AttemptEnd) -> Course {
        let took = jiff::SignedDuration::from_millis(i64::try_from(end.duration_ms).unwrap_or(i64::MAX));
        // Where we gave up on an answer, its vendor may have gone on.
        let given_up = match end.ending {
            Ending::Lost | Ending::TimedOut => true,
            Ending::Failed => end.provenance == Provenance::Estimated,
            Ending::Complete | Ending::Cut | Ending::Abandoned | Ending::Superseded => false,
        };
        let completed = self.started_at.checked_add(took).ok().filter(|_| !given_up);
        Course { arrived: self.started_at, completed }
    }
}

/// What bears an attempt beside the money held for it: a vendor's free quota, a balance that was paid in advance. Told of the
/// attempt's end once, in this order; dropped untold, nothing was drawn on it.
pub trait Purse: Send + Sync {
    /// Draws what is free on it.
    fn bear(&mut self, usage: &Usage) -> Option<Free>;

    /// The vendor charges this.
    fn pay(&mut self, amount: Amount);
}

/// Defines a closed list of words that stand in rows, metrics and reports.
macro_rules! words {
    ($(#[$docs:meta])* $name:ident { $($(#[$variant_docs:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_docs])* $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The word in rows, metrics and reports.
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// The value of a word; `None` for a word that is not in the list.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.word() == word)
            }
        }
    };
}

pub(super) use words;

words! {
    /// How an attempt ended.
    Ending {
        /// The whole answer came.
        Complete = "complete",
        /// The provider refused or failed before an answer; usually not billed.
        Failed = "failed",
        /// No answer in time; may have been billed.
        TimedOut = "timed_out",
        /// The stream broke after its first byte.
        Cut = "cut",
        /// The client left or we cancelled.
        Abandoned = "abandoned",
        /// Another attempt at the same request was kept instead.
        Superseded = "superseded",
        /// The gateway died; booked at the next start from the last checkpoint plus a margin.
        Lost = "lost",
    }
}

words! {
    /// How a request ended, as its client saw it.
    Outcome {
        Answered = "answered",
        /// Every attempt failed.
        Failed = "failed",
        /// The answer broke off after its first byte.
        Cut = "cut",
        /// The client left.
        Abandoned = "abandoned",
        /// The gateway itself said no.
        Refused = "refused",
        /// The gateway died before the request ended.
        Lost = "lost",
    }
}

/// How one attempt ended and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptEnd {
    pub ending: Ending,
    pub usage: Usage,
    /// Where `usage` comes from.
    pub provenance: Provenance,
    /// The model that the provider says it served; cut at 256 bytes.
    pub served_model: Option<String>,
    /// The model that the same backend had named before, where this answer names another; cut as well.
    pub served_before: Option<String>,
    pub http_status: Option<u16>,
    /// A short reason without secrets; cut at 256 bytes.
    pub cause: Option<String>,
    pub first_byte_ms: Option<u64>,
    /// From start to end; of no meaning where the attempt was lost.
    pub duration_ms: u64,
    /// What a free quota bore of it; whoever ends an attempt leaves that to the attempt's purse.
    pub free: Option<Free>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestEnd {
    pub outcome: Outcome,
    /// The status the client got; 0 where none is known.
    pub status: u16,
    pub first_byte_ms: Option<u64>,
    pub duration_ms: u64,
    /// What the gateway itself added before the upstream call.
    pub overhead_us: u64,
}

/// An attempt that has ended: what its caller, the cost header and the metrics need of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledAttempt {
    /// 0, 1, 2… in the order the attempts began.
    pub number: u32,
    pub backend: BackendId,
    pub ending: Ending,
    pub usage: Usage,
    pub provenance: Provenance,
    pub cost: Cost,
    pub quoted: Usd,
    pub held: Usd,
    /// When the vendor got it, and when it was through with it.
    pub course: Course,
}

/// A whole attempt, ready to become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedAttempt {
    pub number: u32,
    pub opened: AttemptOpened,
    pub end: AttemptEnd,
    pub cost: Cost,
    pub price: AppliedPrice,
}

impl ClosedAttempt {
    /// Prices what an attempt used.
    pub fn settle(number: u32, opened: AttemptOpened, end: AttemptEnd) -> Self {
        let (course, free) = (opened.course(&end), end.free.as_ref().map(|free| free.part));
        let priced = |thinking| opened.terms.cost_beyond(free, &end.usage, thinking, course);
        let (cost, price) = match (opened.thinking, end.provenance) {
            // Nobody told whether it thought, so the dearer counts: what was heard of an answer does not say how it is billed.
            (Thinking::Unsaid, Provenance::Counted | Provenance::Estimated) => {
                let (on, off) = (priced(Thinking::On), priced(Thinking::Off));
                if on.0.amount.pico() > off.0.amount.pico() { on } else { off }
            }
            (thinking, _) => priced(thinking),
        };
        Self { number, opened, end, cost, price }
    }

    pub fn settled(&self) -> SettledAttempt {
        SettledAttempt {
            number: self.number,
            backend: self.opened.backend.clone(),
            ending: self.end.ending,
            usage: self.end.usage,
            provenance: self.end.provenance,
            cost: self.cost,
            quoted: self.opened.quoted,
            held: self.opened.held,
            course: self.opened.course(&self.end),
        }
    }
}

/// A request of which every attempt has ended: it and they become rows in one transaction.
#[derive(Debug, Clone)]
pub struct ClosedRequest {
    pub opened: Arc<RequestOpened>,
    pub end: RequestEnd,
    pub attempts: Vec<Arc<ClosedAttempt>>,
}

impl ClosedRequest {
    /// The cost of all attempts, converted row by row.
    pub fn cost(&self) -> Usd {
        self.attempts.iter().map(|attempt| attempt.cost.usd).sum()
    }

    /// The tokens of all attempts.
    pub fn usage(&self) -> Usage {
        self.attempts.iter().fold(Usage::default(), |sum, attempt| sum.plus(&attempt.end.usage))
    }

    /// What the answer's tokens would have cost at the baseline. Only the attempt that answered counts (the last complete
    /// one, else the last that used anything): failures on the way to it are no part of what another model would bill.
    pub fn baseline_cost(&self) -> Option<Usd> {
        let baseline = self.opened.baseline.as_ref()?;
        let complete = self.attempts.iter().rev().find(|a| a.end.ending == Ending::Complete);
        let used = || self.attempts.iter().rev().find(|a| a.end.usage != Usage::default());
        let answered = complete.or_else(used);
        let course = answered.map_or(Course::at(self.opened.arrived_at), |a| a.opened.course(&a.end));
        let usage = answered.map(|a| a.end.usage).unwrap_or_default();
        Some(baseline.terms.cost(&usage, Thinking::Unsaid, course).0.usd)
    }
}

/// Shortens a text to at most `bytes` bytes at a character's border.
pub(super) fn clip(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let border = (0..=bytes).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(border.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixtures::{attempt_end, attempt_opened, request_opened};
    use crate::units::{Cell, Currency, Extent, Sheet, TokenPrice};

    #[test]
    fn terms_take_one_currency_only() {
        let rate = ExchangeRate::parse(Currency::Cny, "7").unwrap();
        let free = |currency| Pricing::flat("p", Tariff::free(currency));
        assert_eq!(Terms::new(free(Currency::Usd), rate, "2026-11-20"), None);
        assert!(Terms::new(free(Currency::Cny), rate, "2026-11-20").is_some());
    }

    #[test]
    fn what_nobody_reported_is_booked_as_if_it_had_thought_where_that_is_dearer() {
        let price = |pico| TokenPrice::from_pico(pico);
        let cell = |thinking, output| Cell {
            thinking: Some(thinking),
            ..Cell::any(Tariff::flat(Currency::Usd, price(1), price(output)))
        };
        let sheet = Sheet::new(vec![cell(false, 2), cell(true, 8)], Extent::Whole, 0, 0).unwrap();
        let pricing = Pricing::steady("p".into(), Arc::new(sheet));
        let terms = Terms::new(pricing, ExchangeRate::USD, "2026-11-20").unwrap();
        let check = |thinking, provenance, expected: i128| {
            let opened = AttemptOpened { terms: terms.clone(), thinking, ..attempt_opened() };
            let end = AttemptEnd { provenance, ..attempt_end(0, 10) };
            assert_eq!(ClosedAttempt::settle(0, opened, end).cost.usd.pico(), expected, "{thinking:?} {provenance:?}");
        };
        check(Thinking::Unsaid, Provenance::Reported, 20);
        check(Thinking::Unsaid, Provenance::Counted, 80);
        check(Thinking::Unsaid, Provenance::Estimated, 80);
        check(Thinking::Off, Provenance::Estimated, 20);
    }

    #[test]
    fn an_answer_that_we_gave_up_on_may_be_complete_at_any_later_hour() {
        let course = |ending, provenance| attempt_opened().course(&AttemptEnd { ending, provenance, ..attempt_end(1, 1) });
        let known = |ending, provenance| course(ending, provenance).completed.is_some();
        assert!(known(Ending::Complete, Provenance::Estimated) && known(Ending::Failed, Provenance::Reported));
        assert!(!known(Ending::TimedOut, Provenance::Estimated) && !known(Ending::Failed, Provenance::Estimated));
        assert!(!known(Ending::Lost, Provenance::Estimated));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut text = "价格价格".to_owned();
        clip(&mut text, 7);
        assert_eq!(text, "价格");
    }

    #[test]
    fn the_baseline_counts_the_answer_and_not_the_failures_before_it() {
        let ended = |number, ending, output| {
            let end = AttemptEnd { ending, ..attempt_end(10, output) };
            Arc::new(ClosedAttempt::settle(number, attempt_opened(), end))
        };
        let opened = Arc::new(request_opened(1));
        let terms = opened.baseline.clone().unwrap().terms;
        let end = RequestEnd { outcome: Outcome::Answered, status: 200, first_byte_ms: None, duration_ms: 1, overhead_us: 1 };
        let attempts = vec![ended(0, Ending::TimedOut, 99), ended(1, Ending::Complete, 5), ended(2, Ending::Superseded, 7)];
        let request = ClosedRequest { opened, end, attempts };
        let answer = Usage::fresh(Tokens::new(10), Tokens::new(5));
        let course = Course::at(request.opened.arrived_at);
        assert_eq!(request.baseline_cost(), Some(terms.cost(&answer, Thinking::Unsaid, course).0.usd));
        assert_eq!(request.usage().output, Tokens::new(111));
    }
}
