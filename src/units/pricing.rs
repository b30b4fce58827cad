//! The prices that one attempt may be billed at: a sheet for each span of time in which the vendor may bill it. Taken from
//! the price book once, when the attempt begins, and kept with it, so that it is settled by them whatever the price book
//! says by then, also by a gateway that was killed and started again.

use std::sync::Arc;

use jiff::Timestamp;

use super::money::{Amount, Currency};
use super::sheet::{Most, Priced, Sheet, Thinking};
use super::tariff::Tariff;
use super::tokens::Usage;

/// Which instant of a request decides about its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BilledAt {
    /// When the request reaches the vendor.
    #[default]
    Arrival,
    /// When its answer is complete.
    Completion,
}

/// A sheet and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Until just before here; `None` for the last span.
    pub until: Option<Timestamp>,
    /// The identity of the price row.
    pub price: Arc<str>,
    pub sheet: Arc<Sheet>,
}

/// What an attempt is settled by. All spans are in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    billed_at: BilledAt,
    /// At least one, in the order of time.
    spans: Box<[Span]>,
}

/// When an attempt reached its vendor and when its answer was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    pub arrived: Timestamp,
    /// `None` where nobody knows: the dearest span is charged.
    pub completed: Option<Timestamp>,
}

impl Course {
    /// Over as soon as it arrives.
    pub const fn at(instant: Timestamp) -> Self {
        Self { arrived: instant, completed: Some(instant) }
    }
}

/// What an attempt cost, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed<'p> {
    pub amount: Amount,
    /// The identity of the price row.
    pub price: &'p Arc<str>,
    pub tariff: &'p Tariff,
    /// The list that the tariff stands in.
    pub sheet: &'p Sheet,
    /// Whether the vendor lists a price for it; the dearest was charged where not.
    pub listed: bool,
}

impl Pricing {
    /// Joins spans. `None` without any, or where they are not in one currency.
    pub fn new(billed_at: BilledAt, spans: Vec<Span>) -> Option<Self> {
        let currency = spans.first()?.sheet.currency();
        let one_currency = spans.iter().all(|span| span.sheet.currency() == currency);
        one_currency.then(|| Self { billed_at, spans: spans.into() })
    }

    /// One price whenever it is billed.
    pub fn flat(price: &str, tariff: Tariff) -> Self {
        Self::steady(price.into(), Arc::new(Sheet::flat(tariff)))
    }

    /// One sheet whenever it is billed.
    pub fn steady(price: Arc<str>, sheet: Arc<Sheet>) -> Self {
        Self { billed_at: BilledAt::Arrival, spans: [Span { until: None, price, sheet }].into() }
    }

    pub fn currency(&self) -> Currency {
        self.spans[0].sheet.currency()
    }

    pub const fn billed_at(&self) -> BilledAt {
        self.billed_at
    }

    pub const fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// What a usage costs that took this course. Where nobody knows when it was complete, the dearest that it can be.
    pub fn cost(&self, usage: &Usage, thinking: Thinking, course: Course) -> Billed<'_> {
        let thought = thinking.of(usage);
        match (self.billed_at, course.completed) {
            (BilledAt::Arrival, Some(_)) => Self::billed(self.span(course.arrived), usage, thought),
            (BilledAt::Completion, Some(completed)) => Self::billed(self.span(completed), usage, thought),
            (BilledAt::Arrival, None) => Self::dearest(std::slice::from_ref(self.span(course.arrived)), usage, thinking),
            (BilledAt::Completion, None) => Self::dearest(&self.spans, usage, thinking),
        }
    }

    fn billed<'p>(span: &'p Span, usage: &Usage, thinking: bool) -> Billed<'p> {
        let Priced { amount, tariff, listed } = span.sheet.cost(usage, thinking);
        Billed { amount, price: &span.price, tariff, sheet: &span.sheet, listed }
    }

    fn dearest<'p>(spans: &'p [Span], usage: &Usage, thinking: Thinking) -> Billed<'p> {
        let thoughts = || [false, true].into_iter().filter(|thought| thinking.may_be(*thought));
        let all = spans.iter().flat_map(|span| thoughts().map(move |thought| Self::billed(span, usage, thought)));
        let dearer = |a: Billed<'p>, b: Billed<'p>| if b.amount.pico() > a.amount.pico() { b } else { a };
        all.fold(Self::billed(&spans[0], usage, thinking.of(usage)), dearer)
    }

    fn span(&self, instant: Timestamp) -> &Span {
        let last = self.spans.len() - 1;
        self.spans[..last].iter().find(|span| span.until.is_none_or(|until| instant < until)).unwrap_or(&self.spans[last])
    }

    /// What it costs at most, whichever span it falls in.
    pub fn worst_cost(&self, most: &Most) -> Amount {
        let worst = self.spans.iter().map(|span| span.sheet.worst_cost(most).pico()).max();
        Amount::from_pico(worst.unwrap_or_default(), self.currency())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Cell, Extent, TokenPrice, Tokens};

    fn sheet(output: &str) -> Arc<Sheet> {
        let price = |text| TokenPrice::per_million(text).unwrap();
        Arc::new(Sheet::flat(Tariff::flat(Currency::Cny, price("1"), price(output))))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Dear until 100, then cheap.
    fn pricing(billed_at: BilledAt) -> Pricing {
        let span =
            |until: Option<i64>, price: &str, output| Span { until: until.map(at), price: price.into(), sheet: sheet(output) };
        Pricing::new(billed_at, vec![span(Some(100), "peak", "8"), span(None, "list", "4")]).unwrap()
    }

    fn check(billed_at: BilledAt, arrived: i64, completed: Option<i64>, expected: &str) {
        let course = Course { arrived: at(arrived), completed: completed.map(at) };
        let usage = Usage::fresh(Tokens::new(1), Tokens::new(1));
        let pricing = pricing(billed_at);
        let billed = pricing.cost(&usage, Thinking::Unsaid, course);
        assert_eq!(&**billed.price, expected, "{billed_at:?} {arrived} {completed:?}");
    }

    #[test]
    fn the_instant_that_counts_picks_the_span() {
        check(BilledAt::Completion, 50, Some(99), "peak");
        check(BilledAt::Completion, 50, Some(100), "list");
        check(BilledAt::Arrival, 50, Some(100), "peak");
        check(BilledAt::Arrival, 100, Some(100), "list");
    }

    #[test]
    fn an_end_that_nobody_saw_is_charged_at_the_dearest() {
        check(BilledAt::Completion, 150, None, "peak");
        check(BilledAt::Arrival, 150, None, "list");
        let cell = |output| sheet(output).cells()[0];
        let thinking = |thinking| Cell { thinking: Some(thinking), ..cell(if thinking { "8" } else { "4" }) };
        let sheet = Sheet::new(vec![thinking(false), thinking(true)], Extent::Whole, 0, 0).unwrap();
        let pricing = Pricing::steady("p".into(), Arc::new(sheet));
        let usage = Usage::fresh(Tokens::ZERO, Tokens::new(1));
        let cost = |thinking, completed| pricing.cost(&usage, thinking, Course { arrived: at(0), completed }).amount.pico();
        assert_eq!(cost(Thinking::Unsaid, None), 8_000_000);
        assert_eq!(cost(Thinking::Off, None), 4_000_000);
        assert_eq!(cost(Thinking::Unsaid, Some(at(1))), 4_000_000);
    }

    #[test]
    fn the_worst_case_covers_both_sides_of_a_boundary() {
        let most = Most { input: Tokens::new(1), output: Tokens::new(1), thinking: Thinking::Unsaid, pieces: 0 };
        assert_eq!(pricing(BilledAt::Completion).worst_cost(&most).pico(), 9_000_000);
    }
}
