//! What a request will cost at a backend, at the prices and exchange rates of one instant: what is expected, and what
//! it is at most. Costs are computed in the vendor's currency from whole tokens and converted once each.
//!
//! The worst case is the one that a hold must cover: the upper bound of the input at its dearest kind, and every choice
//! as long as its bound. Where the client set no bound, ours is sent to the provider: what the model writes, what the
//! window leaves, and what the request's maximum cost bears, but never less than the expected answer. A bound that the
//! client did set is kept as it is; a request whose own bound could cost too much is refused, not cut short.

use super::adequate::Unfit;
use super::facts::Facts;
use super::needs::Needs;
use crate::catalog::Backend;
use crate::units::{Currency, ExchangeRate, Tariff, Tokens, Usage, Usd};

/// What one request costs at one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// The prices in force.
    pub tariff: Tariff,
    /// From the tariff's currency.
    pub exchange_rate: ExchangeRate,
    /// The tokens that are expected, all choices together.
    pub usage: Usage,
    /// What those cost.
    pub expected: Usd,
    /// What the request costs at most with `input_upper` and `output_bound`; at least `expected`.
    pub worst: Usd,
    /// The input is not above this.
    pub input_upper: Tokens,
    /// The bound on each choice that the worst case counts with: to be sent to the provider.
    pub output_bound: Tokens,
}

/// Quotes one request at many backends: what does not depend on the backend is looked up once.
#[derive(Debug)]
pub struct Quoter<'a> {
    facts: &'a Facts<'a>,
    needs: &'a Needs,
    /// By the currency's discriminant.
    rates: [Option<ExchangeRate>; Currency::ALL.len()],
}

impl<'a> Quoter<'a> {
    pub fn new(facts: &'a Facts<'a>, needs: &'a Needs) -> Self {
        let rates = Currency::ALL.map(|currency| facts.snapshot.fx.at(currency, facts.at));
        Self { facts, needs, rates }
    }

    /// The quote of one backend; refused where it has no price, no exchange rate, or is too dear even at the shortest.
    pub fn quote(&self, backend: &Backend) -> Result<Quote, Unfit> {
        let tariff = self.tariff(backend).ok_or(Unfit::Unpriced)?;
        let exchange_rate = self.rates[tariff.currency as usize].ok_or(Unfit::NoExchangeRate(tariff.currency))?;
        let input = self.facts.input.of(backend.tokenizer);
        let range = self.output_range(backend, input.upper());
        let writes_cost = tariff.cache_write > tariff.input;
        let output = self.all_choices(range.expected);
        let reasoning = self.facts.output_of(backend).reasoning.min(output);
        let prompt = self.facts.affinity.usage(backend.index, input.expected(), writes_cost);
        let usage = Usage { output, reasoning, ..prompt };
        let expected = tariff.cost_usd(&usage, exchange_rate).ok_or(Unfit::NoExchangeRate(tariff.currency))?;
        let worst_with = |bound| {
            let most = Usage::fresh(input.upper(), self.all_choices(bound));
            exchange_rate.convert(tariff.worst_cost(&most)).unwrap_or(Usd::MAX)
        };
        let (output_bound, worst) = self.affordable(range, worst_with)?;
        Ok(Quote { tariff, exchange_rate, usage, expected, worst, input_upper: input.upper(), output_bound })
    }

    /// What a quoted request would cost with other tokens at the same prices.
    pub fn cost_of(&self, quote: &Quote, usage: &Usage) -> Usd {
        quote.tariff.cost_usd(usage, quote.exchange_rate).unwrap_or(Usd::MAX)
    }

    /// A free backend costs nothing in dollars, so that it needs no exchange rate.
    fn tariff(&self, backend: &Backend) -> Option<Tariff> {
        if backend.free {
            return Some(Tariff::free(Currency::Usd));
        }
        backend.prices.at(self.facts.at).map(|row| row.tariff)
    }

    fn output_range(&self, backend: &Backend, input: Tokens) -> OutputRange {
        let room = backend.limits.context.saturating_sub(input);
        let bound = self.needs.output_bound.unwrap_or(room).min(backend.limits.max_output);
        let forecast = self.facts.output_of(backend).mean;
        let one_choice = Tokens::new(forecast.get().div_ceil(self.needs.choices));
        OutputRange { expected: one_choice.min(bound), bound }
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
        let share = range.between((max - least).pico(), (full - least).pico());
        let fits = |bound: &Tokens| worst_with(*bound) <= max;
        let bound = Some(share).filter(fits).unwrap_or(range.expected);
        Ok((bound, worst_with(bound)))
    }

    fn all_choices(&self, tokens: Tokens) -> Tokens {
        Tokens::new(tokens.get().saturating_mul(self.needs.choices))
    }
}

/// Output tokens of one choice.
#[derive(Debug, Clone, Copy)]
struct OutputRange {
    expected: Tokens,
    bound: Tokens,
}

impl OutputRange {
    /// The point `part ÷ whole` of the way from the expected to the bound, less one token: conversion rounds both ends
    /// of the way, and the point must not lie beyond what was meant.
    fn between(self, part: i128, whole: i128) -> Tokens {
        let span = i128::from(self.bound.saturating_sub(self.expected).get());
        let way = span.saturating_mul(part).checked_div(whole).unwrap_or(0);
        self.expected + Tokens::new(u64::try_from(way).unwrap_or(0).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::affinity::Warm;
    use super::super::testing::{Case, Price, Spec};
    use super::*;
    use crate::catalog::{BackendIndex, Reasoning};
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
        check(|c| c.limits.max_cost = Some(max("0.0054")), Ok(("0.003000", "0.005390", 299)));
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
