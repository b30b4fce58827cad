//! What a request will cost at a backend, at the prices and exchange rates of one instant: what is expected, and what
//! it is at most until it must be over. Costs are computed in the vendor's currency from whole tokens and converted once
//! each.
//!
//! The expected cost is by the hour of the instant. Where prices go by the answer's length and it was learned how long the
//! model's answers are, it is what the answers of each cell cost, weighed by how many they are; else it is by the cell that
//! the expected tokens fall in. The worst case looks at every cell that can still apply, and at both sides of every hour,
//! day or price row that begins before the request must be over: a vendor may bill by completion, and a later attempt
//! arrives later.
//!
//! What a free quota bears of the expected tokens is not expected to cost anything: the first quota that bears any of it
//! bears what is left of it. The worst case counts no quota, which others may have used up by the time it is settled.
//!
//! The worst case is the one that a hold must cover: the upper bound of the input at its dearest kind, and every choice
//! as long as its bound. Where the client set no bound, ours is sent to the provider: what the model writes, what the
//! window leaves, and what the request's maximum cost bears, but never less than the expected answer. A bound that the
//! client did set is kept as it is; a request whose own bound could cost too much is refused, not cut short.

use std::cell::OnceCell;

use jiff::{SignedDuration, Timestamp};

use super::adequate::Unfit;
use super::facts::{Facts, InputTokens};
use super::learned::OutputStretch;
use super::needs::Needs;
use crate::canonical::ReasoningWish;
use crate::catalog::calendar::{Calendar, Hour, Outlook};
use crate::catalog::price::{ImagePoint, PricePoint};
use crate::catalog::{Backend, Limits, PriceRow, QuotaIndex, Reasoning};
use crate::units::{Amount, ExchangeRate, FreePart, Most, Pieces, Sheet, Thinking, TokenPrice, Tokens, Usage, Usd};

/// What one request costs at one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Which prices of the backend's schedule are in force.
    pub price: PricePoint,
    /// From the currency of those prices.
    pub exchange_rate: ExchangeRate,
    /// The tokens that are expected, all choices together.
    pub usage: Usage,
    /// Whether it will think, as far as that is decided.
    pub thinking: Thinking,
    /// What the expected tokens cost, what is free of them left out.
    pub expected: Usd,
    /// What of them is free.
    pub free: Option<FreeQuote>,
    /// A prepaid balance that is to be used before other money bears the request.
    pub prepaid: bool,
    /// What the request costs at most with `input_upper` and `output_bound`; at least `expected`.
    pub worst: Usd,
    /// The input is not above this.
    pub input_upper: Tokens,
    /// The bound on each choice that the worst case counts with: to be sent to the provider.
    pub output_bound: Tokens,
    /// What may be billed by the piece; nothing where the price does not go by it.
    pub most_pieces: u64,
}

/// The part of a quote that a free quota bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeQuote {
    pub quota: QuotaIndex,
    /// What it would cost otherwise.
    pub spared: Usd,
}

/// Quotes one request at many backends: what does not depend on the backend is looked up once.
#[derive(Debug)]
pub struct Quoter<'a> {
    facts: &'a Facts<'a>,
    needs: &'a Needs,
    /// When the request must be over.
    until: Timestamp,
    /// By the calendar's place in the snapshot.
    outlooks: Vec<OnceCell<Outlook>>,
}

impl<'a> Quoter<'a> {
    pub fn new(facts: &'a Facts<'a>, needs: &'a Needs) -> Self {
        let longest = SignedDuration::try_from(facts.settings.longest).unwrap_or(SignedDuration::MAX);
        let until = facts.at.checked_add(longest).unwrap_or(Timestamp::MAX);
        let outlooks = vec![OnceCell::new(); facts.snapshot.calendars.len()];
        Self { facts, needs, until, outlooks }
    }

    /// The quote of one backend; refused where it has no price, no exchange rate, or is too dear even at the shortest.
    pub fn quote(&self, backend: &Backend) -> Result<Quote, Unfit> {
        let place = backend.prices.place_at(self.facts.at).ok_or(Unfit::Unpriced)?;
        let row = &backend.prices.rows()[place];
        let outlook = row.calendar.as_deref().map(|calendar| self.outlook(calendar));
        let factor = outlook.map_or(0, |outlook| outlook.now.factor);
        let image = row.image(self.needs.image).ok_or(Unfit::ImageUnpriced)?;
        let sheet: &Sheet = row.sheet_of(image, factor);
        let exchange_rate = self.facts.board.rate(sheet.currency()).ok_or(Unfit::NoExchangeRate(sheet.currency()))?;
        let input = if self.needs.sound { heard(backend, sheet) } else { self.facts.input.at(backend.index, backend.tokenizer) };
        let priced_up_to = sheet.priced_input();
        if input.upper() > priced_up_to {
            return Err(Unfit::InputUnpriced { priced_up_to, needed: input.upper() });
        }
        let figures = self.facts.output_of(backend.index, backend.reasoning);
        let range = output_range(&backend.limits, self.needs, figures.mean, input.upper());
        let thinking = thinking(backend.reasoning, self.needs.reasoning);
        let output = self.needs.all_choices(range.expected);
        let later = self.later_sheets(backend, (row, image), outlook);
        let by_piece = sheet.has_pieces() || later.iter().any(|sheet| sheet.has_pieces());
        let pieces = if by_piece { self.needs.pieces } else { Pieces::default() };
        let usage = self.expected_usage(backend, sheet, input.expected(), output, thinking);
        let audio_input = if self.needs.sound { usage.fresh_input } else { Tokens::ZERO };
        let usage = Usage { pieces: pieces.expected, audio_input, ..usage };
        // Where nobody decided, it is taken to think, as the forecast takes it.
        let priced = sheet.cost(&usage, thinking != Thinking::Off);
        if !priced.listed {
            return Err(Unfit::Unpriced);
        }
        let worst_with = |bound| {
            let most = Most { input: input.upper(), output: self.needs.all_choices(bound), thinking, pieces: pieces.most };
            let worst = |sheet: &Sheet| self.usd(sheet.worst_cost(&most)).unwrap_or(Usd::MAX);
            later.iter().map(|sheet| worst(sheet)).fold(worst(sheet), Usd::max)
        };
        let (output_bound, worst) = self.affordable(range, worst_with)?;
        let free = self.free(backend, &usage);
        let costs =
            Costs { listed: priced.amount.pico(), spared: free.map_or(0, |(_, part)| sheet.spared(priced.tariff, &usage, part)) };
        let answer = Answer { thinking, most: self.needs.all_choices(output_bound), quota: free.map(|(quota, _)| quota) };
        let costs = self.over_lengths(backend, sheet, &usage, &answer).unwrap_or(costs);
        let in_usd = |pico| self.usd(Amount::from_pico(pico, sheet.currency())).map(|usd| usd.min(worst));
        let listed = in_usd(costs.listed)?;
        let expected = if costs.spared == 0 { listed } else { in_usd(costs.listed - costs.spared)? };
        let free = free.map(|(quota, _)| FreeQuote { quota, spared: listed - expected });
        let price = PricePoint { row: u32::try_from(place).unwrap_or(u32::MAX), factor, image };
        let (input_upper, prepaid) = (input.upper(), self.is_prepaid(backend, worst));
        let most_pieces = pieces.most;
        Ok(Quote {
            price,
            exchange_rate,
            usage,
            thinking,
            expected,
            free,
            prepaid,
            worst,
            input_upper,
            output_bound,
            most_pieces,
        })
    }

    /// What is free of a usage, by the first of the backend's quotas that bears any of it.
    fn free(&self, backend: &Backend, usage: &Usage) -> Option<(QuotaIndex, FreePart)> {
        let left = |quota: &QuotaIndex| Some((*quota, self.facts.allowances.free_of(*quota).bears(usage)?));
        backend.quotas.iter().find_map(left)
    }

    /// Whether a balance that is to be used first bears the request at its worst.
    fn is_prepaid(&self, backend: &Backend, worst: Usd) -> bool {
        let left = self.facts.allowances.to_be_used(backend.provider);
        left.and_then(|left| self.usd(left).ok()).is_some_and(|left| left >= worst)
    }

    /// What a quoted request would cost at the same prices with another input.
    pub fn cost_of(&self, backend: &Backend, quote: &Quote, usage: &Usage) -> Usd {
        let sheet = backend.prices.point(quote.price).map(|(_, sheet)| sheet);
        let cost = |sheet: &Sheet| {
            let answer = Answer { thinking: quote.thinking, most: self.needs.all_choices(quote.output_bound), quota: None };
            let costs = self.over_lengths(backend, sheet, usage, &answer);
            let pico = costs.map_or_else(|| sheet.cost(usage, answer.thinks()).amount.pico(), |costs| costs.listed);
            self.usd(Amount::from_pico(pico, sheet.currency())).ok()
        };
        sheet.and_then(cost).unwrap_or(Usd::MAX)
    }

    /// What a usage costs over the lengths that its answer may have: what the answers of each stretch cost, by its own cell,
    /// weighed by how many they are. `None` where the sheet has one cell or nobody knows how lengths spread.
    fn over_lengths(&self, backend: &Backend, sheet: &Sheet, usage: &Usage, answer: &Answer) -> Option<Costs> {
        if sheet.cells().len() < 2 {
            return None;
        }
        let mut spread = self.facts.learned.spread_of(backend.index).peekable();
        spread.peek()?;
        let left = answer.quota.map(|quota| self.facts.allowances.free_of(quota));
        let (mut listed, mut spared) = (0, 0);
        for OutputStretch { share, mean } in spread {
            let usage = with_output(usage, mean.min(answer.most));
            let priced = sheet.cost(&usage, answer.thinks());
            let free = left.and_then(|left| left.bears(&usage));
            listed += priced.amount.pico() * i128::from(share);
            spared += free.map_or(0, |part| sheet.spared(priced.tariff, &usage, part)) * i128::from(share);
        }
        let whole = i128::from(OutputStretch::WHOLE);
        // A bound of this backend alone may cut the long answers and none of the expected tokens, which are told beside this.
        let (cheapest, dearest) = sheet.cost_between(usage);
        let listed = (listed / whole).clamp(cheapest.pico(), dearest.pico());
        Some(Costs { listed, spared: (spared / whole).min(listed) })
    }

    /// The tokens to expect, by how they will likely be billed.
    fn expected_usage(&self, backend: &Backend, sheet: &Sheet, input: Tokens, output: Tokens, thinking: Thinking) -> Usage {
        let cell = sheet.cell(input, output, thinking != Thinking::Off);
        let writes_cost = cell.is_some_and(|cell| cell.tariff.cache_write > cell.tariff.input);
        let reasoning = self.facts.output_of(backend.index, backend.reasoning).reasoning.min(output);
        Usage { output, reasoning, ..self.facts.affinity.usage(backend.index, input, writes_cost) }
    }

    fn usd(&self, amount: Amount) -> Result<Usd, Unfit> {
        let rate = self.facts.board.rate(amount.currency());
        rate.and_then(|rate| rate.convert(amount)).ok_or(Unfit::NoExchangeRate(amount.currency()))
    }

    /// What a calendar says until the request must be over; asked once for all backends.
    fn outlook(&self, calendar: &Calendar) -> &Outlook {
        let look = || calendar.outlook(self.facts.at, self.until);
        self.outlooks[calendar.index].get_or_init(look)
    }

    /// The prices that may come into force before the request must be over, beside those of the instant.
    fn later_sheets<'b>(
        &self,
        backend: &'b Backend,
        (row, image): (&'b PriceRow, ImagePoint),
        outlook: Option<&Outlook>,
    ) -> Vec<&'b Sheet> {
        let changes = outlook.map_or(&[][..], |outlook| &outlook.changes);
        let mut sheets: Vec<&Sheet> = changes.iter().map(|(_, Hour { factor, .. })| &**row.sheet_of(image, *factor)).collect();
        let mut instant = self.facts.at;
        while let Some(next) = backend.prices.next_step(instant, self.until) {
            let row = backend.prices.at(next);
            sheets.extend(row.iter().flat_map(|row| &row.sheets).map(|sheet| &**sheet));
            instant = next;
        }
        sheets
    }

    /// The bound on the output that the request's maximum cost bears, and the worst case with it.
    fn affordable(&self, range: OutputRange, worst_with: impl Fn(Tokens) -> Usd) -> Result<(Tokens, Usd), Unfit> {
        let full = worst_with(range.bound);
        let Some(max) = self.needs.max_cost.filter(|max| full > *max) else {
            return Ok((range.bound, full));
        };
        if self.needs.output_bound.is_some() {
            return Err(Unfit::TooDear { worst: full, max });
        }
        let least = worst_with(range.expected);
        if least > max {
            return Err(Unfit::TooDear { worst: least, max });
        }
        let bound = range.longest(|bound| worst_with(bound) <= max);
        Ok((bound, worst_with(bound)))
    }
}

/// Whether a request will think at such a model.
const fn thinking(model: Reasoning, wish: ReasoningWish) -> Thinking {
    match (model, wish) {
        (Reasoning::Never, _) | (Reasoning::Switchable, ReasoningWish::Off) => Thinking::Off,
        (Reasoning::Always, _) | (Reasoning::Switchable, ReasoningWish::On) => Thinking::On,
        (Reasoning::Switchable, ReasoningWish::Unsaid) => Thinking::Unsaid,
    }
}

/// The tokens of sound that is written down: how many it comes to is the model's to say, so as many as it takes at most, where
/// tokens of it have a price at all.
fn heard(backend: &Backend, sheet: &Sheet) -> InputTokens {
    let billed = sheet.cells().iter().any(|cell| cell.tariff.dearest_input() != TokenPrice::FREE);
    let most = if billed { backend.limits.context } else { Tokens::ZERO };
    InputTokens::new(most, most)
}

/// What one choice may have at a backend of such limits, of whose answers `mean` tokens are expected, all choices together.
#[inline]
pub(super) fn output_range(limits: &Limits, needs: &Needs, mean: Tokens, input: Tokens) -> OutputRange {
    // Nobody can ask for less: what is not reported is taken for the most as well.
    if needs.media {
        return OutputRange { expected: limits.max_output, bound: limits.max_output };
    }
    let room = limits.context.saturating_sub(input);
    let bound = needs.output_bound.unwrap_or(room).min(limits.max_output);
    // Nearly always one; a division takes longer than all the rest of this.
    let one_choice = if needs.choices == 1 { mean } else { Tokens::new(mean.get().div_ceil(needs.choices)) };
    OutputRange { expected: one_choice.min(bound), bound }
}

/// What is known of an answer beside how long it is expected to be.
#[derive(Debug, Clone, Copy)]
struct Answer {
    thinking: Thinking,
    /// It is not longer, all choices together.
    most: Tokens,
    /// The free quota that bears what it can of it.
    quota: Option<QuotaIndex>,
}

impl Answer {
    /// Whether it is priced as one that thinks.
    fn thinks(&self) -> bool {
        self.thinking != Thinking::Off
    }
}

/// What a request costs by its list, and what a free quota bears of it; in 10⁻¹² units of the vendor's currency.
#[derive(Debug, Clone, Copy)]
struct Costs {
    listed: i128,
    spared: i128,
}

/// A usage with another output, as much of it reasoning in proportion.
fn with_output(usage: &Usage, output: Tokens) -> Usage {
    let reasoning = u128::from(usage.reasoning.get()) * u128::from(output.get()) / u128::from(usage.output.get().max(1));
    let reasoning = Tokens::new(u64::try_from(reasoning).unwrap_or(u64::MAX)).min(output);
    Usage { output, reasoning, ..*usage }
}

/// Output tokens of one choice.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutputRange {
    pub(super) expected: Tokens,
    bound: Tokens,
}

impl OutputRange {
    /// The longest output from the expected to the bound that fits, where the expected one does and a longer one fits no
    /// better than a shorter one.
    fn longest(self, fits: impl Fn(Tokens) -> bool) -> Tokens {
        let (mut fitting, mut beyond) = (self.expected.get(), self.bound.get());
        while beyond - fitting > 1 {
            let middle = fitting + (beyond - fitting) / 2;
            if fits(Tokens::new(middle)) {
                fitting = middle;
            } else {
                beyond = middle;
            }
        }
        Tokens::new(fitting)
    }
}

#[cfg(test)]
mod lengths;

#[cfg(test)]
mod tests {
    use super::super::affinity::Warm;
    use super::super::board::Board;
    use super::super::facts::Prepaid;
    use super::super::testing::{Case, Price, Spec};
    use super::*;
    use crate::catalog::{BackendIndex, Reasoning, Snapshot};
    use crate::units::{Counted, Currency, Grant};
    use proptest::prelude::*;

    /// 1,000 tokens in (at most 1,200) and 100 out (300 with thinking), at 2 and 10 dollars per million.
    fn case() -> Case {
        let mut case = Case::of(vec![Spec { max_output: 500, ..Spec::named("north/mist") }.costing("2", "10")]);
        case.input = (1000, 1200);
        (case.forecast.plain, case.forecast.thinking) = (Tokens::new(100), Tokens::new(300));
        case
    }

    /// Expected and worst in micro-dollars, and the output bound.
    fn check(change: impl FnOnce(&mut Case), expected: Result<(&str, &str, u64), Unfit>) {
        let mut case = case();
        change(&mut case);
        let found = case.quote("north/mist").map(|q| (q.expected.to_micros(), q.worst.to_micros(), q.output_bound.get()));
        assert_eq!(found, expected.map(|(e, w, b)| (e.to_owned(), w.to_owned(), b)));
    }

    #[test]
    fn expected_and_worst_follow_from_tokens_and_prices() {
        check(|_| {}, Ok(("0.003000", "0.007400", 500)));
        check(|c| c.request.output_bound = Some(Tokens::new(50)), Ok(("0.002500", "0.002900", 50)));
        check(|c| c.specs[0].reasoning = Reasoning::Always, Ok(("0.005000", "0.007400", 500)));
        check(|c| c.specs[0].free = true, Ok(("0.000000", "0.000000", 500)));
    }

    #[test]
    fn choices_share_the_forecast_and_each_may_reach_the_bound() {
        let choices =
            |n, bound: Option<u64>| move |c: &mut Case| (c.request.choices, c.request.output_bound) = (n, bound.map(Tokens::new));
        check(choices(4, None), Ok(("0.003000", "0.022400", 500)));
        check(choices(4, Some(10)), Ok(("0.002400", "0.002800", 10)));
    }

    #[test]
    fn our_bound_leaves_the_prompt_its_room() {
        check(|c| c.specs[0].context = 1500, Ok(("0.003000", "0.005400", 300)));
    }

    #[test]
    fn yuan_are_converted_at_the_dated_rate() {
        let yuan = |c: &mut Case| c.specs[0].price.as_mut().unwrap().currency = Currency::Cny;
        check(yuan, Ok(("0.000429", "0.001057", 500)));
        check(|c| c.specs[0].price.as_mut().unwrap().currency = Currency::Eur, Err(Unfit::NoExchangeRate(Currency::Eur)));
    }

    #[test]
    fn a_warm_prefix_is_cheaper_where_it_is_warm_and_the_worst_case_stays() {
        let warm = |n| vec![Warm { backend: BackendIndex(n), known: Tokens::new(900), likely: Tokens::new(800) }];
        check(|c| c.affinity.warm = warm(0), Ok(("0.001560", "0.007400", 500)));
        check(|c| c.affinity.warm = warm(1), Ok(("0.003000", "0.007400", 500)));
    }

    #[test]
    fn without_a_price_there_is_no_quote() {
        check(|c| c.specs[0].price = None, Err(Unfit::Unpriced));
    }

    #[test]
    fn a_maximum_cost_shortens_our_bound_but_not_the_clients() {
        let max = |text| Usd::parse(text).unwrap();
        check(|c| c.limits.max_cost = Some(max("0.0054")), Ok(("0.003000", "0.005400", 300)));
        let dear = |worst, limit| Err(Unfit::TooDear { worst: max(worst), max: max(limit) });
        check(|c| c.limits.max_cost = Some(max("0.0033")), dear("0.0034", "0.0033"));
        check(
            |c| {
                c.request.wishes.max_cost = Some(max("0.0054"));
                c.request.output_bound = Some(Tokens::new(400));
            },
            dear("0.0064", "0.0054"),
        );
    }

    /// Of the case's 1,000 tokens in at 2 and 100 out at 10; what is free of them in dollars, expected and worst in micro-dollars.
    fn check_free(granted: &[(Counted, u64)], expected: (Option<&str>, &str, &str)) {
        let mut case = case();
        case.specs[0].quotas = vec![QuotaIndex(1), QuotaIndex(2)];
        let grant = Grant::by(|counted| granted.iter().find(|(word, _)| *word == counted).map(|(_, n)| *n));
        case.allowances.free = vec![Grant::by(|_| Some(9999)), grant];
        let quote = case.quote("north/mist").unwrap();
        let spared = quote.free.map(|free| free.spared.to_exact());
        assert_eq!((spared.as_deref(), &*quote.expected.to_micros(), &*quote.worst.to_micros()), expected, "{granted:?}");
        assert!(quote.free.is_none_or(|free| free.quota == QuotaIndex(1)));
    }

    #[test]
    fn a_free_quota_bears_what_is_expected_as_far_as_it_goes_and_nothing_of_the_worst_case() {
        check_free(&[(Counted::Requests, 1)], (Some("0.003"), "0.000000", "0.007400"));
        check_free(&[(Counted::Requests, 0)], (None, "0.003000", "0.007400"));
        check_free(&[(Counted::Tokens, 1100)], (Some("0.003"), "0.000000", "0.007400"));
        check_free(&[(Counted::Tokens, 1050)], (Some("0.0025"), "0.000500", "0.007400"));
        check_free(&[(Counted::InputTokens, 600)], (Some("0.0012"), "0.001800", "0.007400"));
        check_free(&[(Counted::Tokens, 0)], (None, "0.003000", "0.007400"));
    }

    #[test]
    fn a_balance_is_used_first_where_it_bears_the_worst_case_and_would_be_left_over() {
        let prepaid = |pico: i128, currency, outlasts| {
            move |case: &mut Case| {
                case.allowances.prepaid = vec![Some(Prepaid { left: Amount::from_pico(pico, currency), outlasts })];
            }
        };
        let check = |change: &dyn Fn(&mut Case), expected: bool| {
            let mut case = case();
            change(&mut case);
            let quote = case.quote("north/mist").unwrap();
            assert_eq!((quote.prepaid, quote.expected.to_micros().as_str()), (expected, "0.003000"));
        };
        check(&|_| {}, false);
        check(&prepaid(7_400_000_000, Currency::Usd, true), true);
        check(&prepaid(7_399_999_999, Currency::Usd, true), false);
        check(&prepaid(7_400_000_000, Currency::Usd, false), false);
        check(&prepaid(51_800_000_000, Currency::Cny, true), true);
        check(&prepaid(51_000_000_000, Currency::Cny, true), false);
    }

    /// What a request of 1,000 tokens and 100 is quoted at the peak backend at an instant: expected, worst and the calendar's
    /// hours, with a request over after so many minutes.
    fn at_the_peak(instant: &str, minutes: u64) -> (String, String, u8) {
        let table = Snapshot::parse("hours.toml", include_str!("../../tests/fixtures/tables/hours.toml")).unwrap();
        let mut case = Case { target: "east/peak".into(), specs: Vec::new(), input: (1000, 1000), ..Case::default() };
        case.request.output_bound = Some(Tokens::new(100));
        case.settings.longest = std::time::Duration::from_mins(minutes);
        case.with_facts_of(&table, |facts| {
            let at = instant.parse().unwrap();
            let facts = &Facts { at, board: &Board::of(&table, at), ..facts.clone() };
            let quote = Quoter::new(facts, &Needs::of(facts)).quote(table.backend_named("east/peak").unwrap()).unwrap();
            (quote.expected.to_exact(), quote.worst.to_exact(), quote.price.factor)
        })
    }

    #[test]
    fn a_hold_covers_the_dearer_side_of_a_boundary_that_the_answer_may_cross() {
        // 1,000 tokens at 1 yuan a million and 100 at 4, twice that at the peak, at 7.1 yuan a dollar.
        let (list, peak) = ("0.000197183099", "0.000394366197");
        let quoted = |instant, minutes, expected: (&str, &str, u8)| {
            let (low, high, factor) = expected;
            assert_eq!(at_the_peak(instant, minutes), (low.to_owned(), high.to_owned(), factor), "{instant} {minutes}");
        };
        // Monday, 2026-11-23: the peak begins at 09:00 and ends at 12:00.
        quoted("2026-11-23T08:49:59+08:00", 10, (list, list, 0));
        quoted("2026-11-23T08:50:00+08:00", 10, (list, peak, 0));
        quoted("2026-11-23T09:00:00+08:00", 10, (peak, peak, 1));
        quoted("2026-11-23T11:55:00+08:00", 10, (peak, peak, 1));
        quoted("2026-11-23T12:00:00+08:00", 10, (list, list, 0));
        quoted("2026-11-22T08:55:00+08:00", 10, (list, list, 0));
        // A day of time: Sunday's request may still be answered on Monday.
        quoted("2026-11-22T08:55:00+08:00", 24 * 60 + 5, (list, peak, 0));
    }

    proptest! {
        #[test]
        fn the_worst_case_covers_what_is_expected_and_what_may_be_spent(
            input in 0_u64..50_000, slack in 0_u64..5_000, plain in 0_u64..5_000, warm in 0_u64..60_000,
            bound in proptest::option::of(1_u64..500), max_pico in proptest::option::of(1_i128..20_000_000_000),
            prices in (1_u64..9_000_000, 1_u64..9_000_000, 1_u64..9_000_000), yuan: bool, choices in 1_u32..4,
        ) {
            let mut case = case();
            case.input = (input, input + slack);
            case.specs[0].context = 100_000;
            case.specs[0].max_output = 20_000;
            case.forecast.plain = Tokens::new(plain);
            case.request.output_bound = bound.map(Tokens::new);
            case.request.choices = choices;
            case.request.wishes.max_cost = max_pico.map(Usd::from_pico);
            case.affinity.warm = vec![Warm { backend: BackendIndex(0), known: Tokens::new(warm), likely: Tokens::new(warm) }];
            let currency = if yuan { Currency::Cny } else { Currency::Usd };
            case.specs[0].price = Some(Price { input: prices.0, cache_read: prices.1, output: prices.2, currency });
            match case.quote("north/mist") {
                Ok(quote) => {
                    prop_assert!(quote.worst >= quote.expected);
                    prop_assert!(max_pico.is_none_or(|max| quote.worst.pico() <= max));
                    prop_assert!(bound.is_none_or(|bound| quote.output_bound.get() == bound));
                    prop_assert!(quote.usage.output.get() <= quote.output_bound.get() * u64::from(choices));
                    prop_assert_eq!(quote.usage.input().get(), input);
                }
                Err(Unfit::TooDear { worst, max }) => prop_assert!(worst > max && Some(max.pico()) == max_pico),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
