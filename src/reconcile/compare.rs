//! A bill and the books side by side, with what most likely makes a difference.
//!
//! A cause is found by what it would explain to the last token and the last unit, the surest first: same tokens and other money
//! is a price, and one of our own price rows may fit; same sums in other parts is how caching was split; what is off one day and
//! back the next is a border of days; what estimated rows could be off by is laid at their door. What is left is rows that one
//! side does not have. A cause is a judgement, and the figures stand beside it.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;

use super::bill::{Bill, Billed};
use super::books::{Booked, Gathered};
use crate::ledger::BookedPrices;
use crate::units::{Currency, Usage};

/// An estimate may lie so many hundredths of itself below the truth.
const ESTIMATE_SHORT: i128 = 25;
/// Days over which what is off may come back.
const BORDER_DAYS: usize = 4;

/// What makes a difference, as far as figures tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// There is none.
    Agrees,
    /// No more than the bill's own last places.
    Rounding,
    /// Same tokens, other money. The row of the price book that would make it the bill's, if one of those in the books does.
    PriceVersion { fits: Option<String> },
    /// Same tokens, and the bill has what a free quota spared.
    FreeQuota,
    /// Same input and output, of which other parts were cached.
    CachedSplit,
    /// Off by what comes back within the next days, or came from the days before.
    DayBorder,
    /// No more than so many estimated rows can be off by.
    Estimated { rows: u64 },
    /// The bill has more: requests that did not come through here, or rows that are lost.
    MissingRows { requests: Option<i128> },
    /// The books have more: what the vendor did not bill, or bills elsewhere.
    NotBilled,
    /// Bill and books are in other currencies.
    OtherCurrency,
    /// Only money is told, and it differs by nothing that is known here.
    Unknown,
}

impl Cause {
    /// Its word in JSON.
    pub const fn word(&self) -> &'static str {
        match self {
            Cause::Agrees => "agrees",
            Cause::Rounding => "rounding",
            Cause::PriceVersion { .. } => "price_version",
            Cause::FreeQuota => "free_quota",
            Cause::CachedSplit => "cached_split",
            Cause::DayBorder => "day_border",
            Cause::Estimated { .. } => "estimated",
            Cause::MissingRows { .. } => "missing_rows",
            Cause::NotBilled => "not_billed",
            Cause::OtherCurrency => "other_currency",
            Cause::Unknown => "unknown",
        }
    }

    /// In words, for people.
    pub fn told(&self) -> String {
        match self {
            Cause::Agrees => "agrees".to_owned(),
            Cause::Rounding => "rounding of the bill".to_owned(),
            Cause::PriceVersion { fits: Some(row) } => format!("price: the bill is what price row {row} gives"),
            Cause::PriceVersion { fits: None } => "price: same tokens, other money".to_owned(),
            Cause::FreeQuota => "the bill has what a free quota spared here".to_owned(),
            Cause::CachedSplit => "cached split: same input, other parts of it cached".to_owned(),
            Cause::DayBorder => "border of days: comes back on a day beside it".to_owned(),
            Cause::Estimated { rows } => format!("{rows} estimated rows"),
            Cause::MissingRows { requests: Some(requests) } => format!("missing rows: {requests} requests are on the bill only"),
            Cause::MissingRows { requests: None } => "missing rows: the bill has more".to_owned(),
            Cause::NotBilled => "not billed: the books have more".to_owned(),
            Cause::OtherCurrency => "other currencies".to_owned(),
            Cause::Unknown => "unknown: add the export that tells tokens".to_owned(),
        }
    }

    /// Whether nobody needs to look.
    pub const fn is_settled(&self) -> bool {
        matches!(self, Cause::Agrees | Cause::Rounding)
    }
}

/// One day and model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub day: Date,
    pub model: String,
    pub bill: Option<Billed>,
    pub books: Option<Booked>,
    pub cause: Cause,
}

impl Line {
    /// The bill's input and output tokens less the books'; `None` where the bill tells none.
    pub fn tokens_off(&self) -> Option<(i128, i128)> {
        let none = (Some(0), Some(0));
        let (input, output) = self.bill.map_or(none, |bill| (bill.counts.all_input(), bill.counts.output));
        let usage = self.books.as_ref().map(|books| books.usage).unwrap_or_default();
        if input.is_none() && output.is_none() {
            return None;
        }
        let off = |told: Option<i128>, ours: u64| told.map_or(0, |told| told - i128::from(ours));
        Some((off(input, usage.input().get()), off(output, usage.output.get())))
    }

    /// The currency of the line.
    pub fn currency(&self) -> Option<Currency> {
        let ours = || self.books.as_ref()?.amounts.keys().next()?.parse().ok();
        self.bill.and_then(|bill| bill.currency).or_else(ours)
    }

    /// The books' amount in that currency.
    pub fn booked_amount(&self) -> i128 {
        let Some((currency, books)) = self.currency().zip(self.books.as_ref()) else { return 0 };
        books.amounts.get(currency.code()).copied().unwrap_or(0)
    }

    /// The bill's money less the books'; `None` where the bill tells none.
    pub fn money_off(&self) -> Option<i128> {
        let billed = self.bill.map_or(Some(0), |bill| bill.amount)?;
        Some(billed - self.booked_amount())
    }
}

/// Bill and books, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    pub lines: Vec<Line>,
}

/// Puts them side by side, by day and model. Only days that the bill covers are compared.
pub fn compare(bill: &Bill, gathered: &Gathered) -> Comparison {
    let Some((first, last)) = bill.days() else { return Comparison { lines: Vec::new() } };
    let within = |day: &Date| (first..=last).contains(day);
    let mut names: Vec<&(Date, String)> = bill.lines.keys().chain(gathered.lines.keys().filter(|(day, _)| within(day))).collect();
    names.sort_unstable();
    names.dedup();
    let line = |name: &&(Date, String)| {
        let (billed, booked) = (bill.lines.get(*name), gathered.lines.get(*name));
        let (day, model) = (*name).clone();
        let mut line = Line { day, model, bill: billed.copied(), books: booked.cloned(), cause: Cause::Unknown };
        line.cause = cause(&line, gathered);
        line
    };
    let mut lines: Vec<Line> = names.iter().map(line).collect();
    borders(&mut lines);
    Comparison { lines }
}

fn cause(line: &Line, gathered: &Gathered) -> Cause {
    let (bill, books) = match (&line.bill, &line.books) {
        (Some(bill), Some(books)) => (bill, books),
        (Some(bill), None) => {
            let nothing = bill.amount.unwrap_or(0) == 0 && line.tokens_off().is_none_or(|off| off == (0, 0));
            return if nothing { Cause::Agrees } else { Cause::MissingRows { requests: bill.counts.requests } };
        }
        (None, Some(books)) if books.estimated == books.attempts => return Cause::Estimated { rows: books.estimated },
        (None, _) => return Cause::NotBilled,
    };
    if bill.amount.is_some()
        && line.booked_amount() == 0
        && books.amounts.keys().any(|code| Some(code.as_str()) != line.currency().map(Currency::code))
    {
        return Cause::OtherCurrency;
    }
    let money = line.money_off();
    if !bill.counts.has_tokens() {
        return by_money_alone(line, bill, books, gathered);
    }
    let tokens = line.tokens_off().unwrap_or_default();
    let split = split_off(bill, &books.usage);
    match (tokens == (0, 0), split, money) {
        (true, false, None | Some(0)) => Cause::Agrees,
        (true, false, Some(off)) if off.abs() <= bill.rounding => Cause::Rounding,
        (true, false, Some(off)) => price_or_quota(line, off, books, gathered),
        (true, true, _) => Cause::CachedSplit,
        (false, ..) => by_tokens(tokens, bill, books),
    }
}

/// Whether parts of the input differ that the bill tells apart.
fn split_off(bill: &Billed, usage: &Usage) -> bool {
    let counts = &bill.counts;
    let parts =
        [(counts.cache_read, usage.cache_read), (counts.cache_write, usage.cache_write), (counts.fresh_input, usage.fresh_input)];
    parts.into_iter().any(|(told, ours)| told.is_some_and(|told| told != i128::from(ours.get())))
}

fn by_tokens((input, output): (i128, i128), bill: &Billed, books: &Booked) -> Cause {
    // The books may have all of it too much that was estimated, or a part of it too little.
    let could = |off: i128, estimated: u64| {
        let estimated = i128::from(estimated);
        (-estimated..=estimated * ESTIMATE_SHORT / 100).contains(&off)
    };
    let estimated = &books.estimated_usage;
    if books.estimated > 0 && could(input, estimated.input().get()) && could(output, estimated.output.get()) {
        return Cause::Estimated { rows: books.estimated };
    }
    if input >= 0 && output >= 0 {
        let requests = bill.counts.requests.map(|requests| requests - i128::from(books.attempts)).filter(|more| *more > 0);
        return Cause::MissingRows { requests };
    }
    Cause::NotBilled
}

fn by_money_alone(line: &Line, bill: &Billed, books: &Booked, gathered: &Gathered) -> Cause {
    let Some(off) = line.money_off() else { return Cause::Unknown };
    if off == 0 {
        return Cause::Agrees;
    }
    if off.abs() <= bill.rounding {
        return Cause::Rounding;
    }
    if let price @ (Cause::PriceVersion { fits: Some(_) } | Cause::FreeQuota) = price_or_quota(line, off, books, gathered) {
        return price;
    }
    let code = line.currency().map_or("", Currency::code);
    let estimated = books.estimated_amounts.get(code).copied().unwrap_or(0);
    if books.estimated > 0 && (-estimated..=estimated * ESTIMATE_SHORT / 100).contains(&off) {
        return Cause::Estimated { rows: books.estimated };
    }
    Cause::Unknown
}

/// For the same tokens: what a quota spared, or a price that another row has.
fn price_or_quota(line: &Line, off: i128, books: &Booked, gathered: &Gathered) -> Cause {
    let Some((currency, bill)) = line.currency().zip(line.bill) else { return Cause::Unknown };
    let spared = books.spared.get(currency.code()).copied().unwrap_or(0);
    if spared > 0 && (off - spared).abs() <= bill.rounding {
        return Cause::FreeQuota;
    }
    let rows = gathered.priced.get(&line.model).into_iter().flatten();
    let fits = rows.filter(|((_, code), _)| code == currency.code()).find(|(_, prices)| {
        let amount = at(prices, &books.usage);
        bill.amount.is_some_and(|billed| (billed - amount).abs() <= bill.rounding)
    });
    Cause::PriceVersion { fits: fits.map(|((row, _), _)| row.clone()) }
}

/// What a usage costs at these prices, pieces and parts that are billed apart aside.
fn at(prices: &BookedPrices, usage: &Usage) -> i128 {
    usage.fresh_input * prices.input
        + usage.cache_read * prices.cache_read
        + usage.cache_write * prices.cache_write
        + usage.output * prices.output
}

/// Runs of days of one model that are off, and together are not.
fn borders(lines: &mut [Line]) {
    let mut by_model: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, line) in lines.iter().enumerate() {
        by_model.entry(&line.model).or_default().push(place);
    }
    let mut at_borders: Vec<usize> = Vec::new();
    for places in by_model.values() {
        let mut begin = 0;
        while begin < places.len() {
            let end = border_run(lines, &places[begin..]);
            at_borders.extend_from_slice(&places[begin..begin + end]);
            begin += end.max(1);
        }
    }
    for place in at_borders {
        lines[place].cause = Cause::DayBorder;
    }
}

/// How many of these lines, from the first one on, are off and together are not; 0 where that is not so.
fn border_run(lines: &[Line], places: &[usize]) -> usize {
    let (mut input, mut output) = (0, 0);
    for (length, place) in (1..=BORDER_DAYS).zip(places) {
        let line = &lines[*place];
        let movable = matches!(line.cause, Cause::MissingRows { .. } | Cause::NotBilled | Cause::Estimated { .. });
        let next = length == 1 || lines[places[length - 2]].day.saturating_add(1.day()) == line.day;
        let Some((more_input, more_output)) = line.tokens_off().filter(|_| movable && next) else { return 0 };
        input += more_input;
        output += more_output;
        if length > 1 && (input, output) == (0, 0) {
            return length;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::BookedAttempt;
    use crate::ledger::fixtures::{attempt_end, attempt_opened};
    use crate::ledger::{ClosedAttempt, Ending};
    use crate::reconcile::{Mapping, shipped};
    use crate::units::{Free, FreePart, Provenance, TokenPrice, Tokens};

    fn mapping() -> Mapping {
        Mapping::read("deepseek", shipped("deepseek").unwrap()).unwrap()
    }

    /// An attempt of `fast-1` on a day of November 2026, at 2 and 8 yuan a million, cached 0.2.
    fn attempt(day: i64, fresh: u64, cached: u64, output: u64) -> BookedAttempt {
        let mut end = attempt_end(fresh, output);
        end.usage.cache_read = Tokens::new(cached);
        let mut booked = BookedAttempt::from(&ClosedAttempt::settle(0, attempt_opened(), end));
        booked.started_at = format!("2026-11-{day:02}T12:00:00Z").parse().unwrap();
        booked
    }

    fn estimated(mut attempt: BookedAttempt) -> BookedAttempt {
        (attempt.provenance, attempt.ending) = (Provenance::Estimated.word().into(), Ending::Lost.word().into());
        attempt
    }

    /// Rows of the two exports: day, cached, fresh, output, requests, and the money as it is written.
    fn bill(rows: &[(u8, i64, i64, i64, i64, &str)]) -> Bill {
        let mut amount = "utc_date,model,type,amount\n".to_owned();
        let mut cost = "utc_date,model,cost,currency\n".to_owned();
        for (day, cached, fresh, output, requests, money) in rows {
            let counts = [
                ("input_cache_hit_tokens", cached),
                ("input_cache_miss_tokens", fresh),
                ("output_tokens", output),
                ("request_count", requests),
            ];
            for (word, count) in counts {
                amount += &format!("2026-11-{day:02},fast-1,{word},{count}\n");
            }
            if !money.is_empty() {
                cost += &format!("2026-11-{day:02},fast-1,{money},CNY\n");
            }
        }
        let mut bill = Bill::default();
        bill.add(&mapping(), amount.as_bytes()).unwrap();
        bill.add(&mapping(), cost.as_bytes()).unwrap();
        bill
    }

    fn causes(bill: &Bill, attempts: &[BookedAttempt]) -> Vec<Cause> {
        let mut gathered = Gathered::against(bill);
        attempts.iter().for_each(|attempt| gathered.add(&mapping(), "v1", attempt));
        compare(bill, &gathered).lines.into_iter().map(|line| line.cause).collect()
    }

    #[test]
    fn what_is_the_same_agrees_and_a_bill_of_four_places_is_rounded() {
        // 100 × 2 + 50 × 0.2 + 10 × 8 yuan a million.
        let books = [attempt(1, 100, 50, 10)];
        assert_eq!(causes(&bill(&[(1, 50, 100, 10, 1, "0.00029")]), &books), [Cause::Agrees]);
        assert_eq!(causes(&bill(&[(1, 50, 100, 10, 1, "0.0003")]), &books), [Cause::Rounding]);
        assert_eq!(causes(&bill(&[(1, 50, 100, 10, 1, "")]), &books), [Cause::Agrees]);
    }

    #[test]
    fn an_old_price_is_found_among_the_price_rows_of_the_books() {
        let dearer = |mut attempt: BookedAttempt| {
            attempt.prices.output = TokenPrice::per_million("16").unwrap();
            attempt.price = "acme/fast@november".into();
            attempt.amount_pico += 10 * 8_000_000;
            attempt
        };
        // The second day is booked at the new price and billed at the old one.
        let books = [attempt(1, 100, 0, 10), dearer(attempt(2, 100, 0, 10))];
        let bills = bill(&[(1, 0, 100, 10, 1, "0.00028"), (2, 0, 100, 10, 1, "0.00028")]);
        let fits = Cause::PriceVersion { fits: Some("acme/fast".to_owned()) };
        assert_eq!(causes(&bills, &books), [Cause::Agrees, fits]);
        let none = Cause::PriceVersion { fits: None };
        assert_eq!(causes(&bill(&[(1, 0, 100, 10, 1, "0.00099")]), &books[..1]), [none]);
    }

    #[test]
    fn other_parts_cached_and_rows_that_are_not_there_are_told_apart() {
        let books = [attempt(1, 100, 50, 10)];
        assert_eq!(causes(&bill(&[(1, 80, 70, 10, 1, "0.000236")]), &books), [Cause::CachedSplit]);
        let missing = Cause::MissingRows { requests: Some(2) };
        assert_eq!(causes(&bill(&[(1, 50, 300, 40, 3, "0.00093")]), &books), [missing]);
        assert_eq!(causes(&bill(&[(1, 50, 60, 7, 1, "0.000186")]), &books), [Cause::NotBilled]);
        // Days of one side only.
        let two = bill(&[(1, 50, 100, 10, 1, "0.00029"), (3, 5, 5, 5, 1, "0.000051")]);
        let only = [attempt(1, 100, 50, 10), attempt(2, 9, 9, 9)];
        assert_eq!(causes(&two, &only), [Cause::Agrees, Cause::NotBilled, Cause::MissingRows { requests: Some(1) }]);
    }

    #[test]
    fn rows_of_a_kill_explain_what_they_can_be_off_by_and_no_more() {
        let books = [attempt(1, 100, 0, 10), estimated(attempt(1, 100, 0, 600))];
        let rows = Cause::Estimated { rows: 1 };
        // Booked with a margin above what the vendor counted.
        assert_eq!(causes(&bill(&[(1, 0, 200, 120, 2, "0.00136")]), &books), [rows.clone()]);
        // Never billed at all.
        assert_eq!(causes(&bill(&[(1, 0, 100, 10, 1, "0.00028")]), &books), [rows]);
        assert_eq!(causes(&bill(&[(1, 0, 200, 2_000, 2, "0.0164")]), &books), [Cause::MissingRows { requests: None }]);
    }

    #[test]
    fn what_comes_back_on_the_next_day_is_a_border_and_a_spared_amount_a_quota() {
        let books = [attempt(1, 100, 0, 10), attempt(1, 30, 0, 3), attempt(2, 200, 0, 20)];
        let moved = bill(&[(1, 0, 100, 10, 1, "0.00028"), (2, 0, 230, 23, 2, "0.000644")]);
        assert_eq!(causes(&moved, &books), [Cause::DayBorder, Cause::DayBorder]);

        let mut end = attempt_end(100, 10);
        end.free = Some(Free { quota: "day".into(), part: FreePart::Whole });
        let mut free = BookedAttempt::from(&ClosedAttempt::settle(0, attempt_opened(), end));
        free.started_at = "2026-11-01T12:00:00Z".parse().unwrap();
        assert_eq!(free.amount_pico, 0);
        assert_eq!(causes(&bill(&[(1, 0, 100, 10, 1, "0.00028")]), &[free]), [Cause::FreeQuota]);
    }

    #[test]
    fn money_alone_tells_less_and_says_so() {
        let mut only = Bill::default();
        only.add(&mapping(), "utc_date,model,cost,currency\n2026-11-01,fast-1,0.00099,CNY\n".as_bytes()).unwrap();
        assert_eq!(causes(&only, &[attempt(1, 100, 0, 10)]), [Cause::Unknown]);
        let mut dollars = Bill::default();
        dollars.add(&mapping(), "utc_date,model,cost,currency\n2026-11-01,fast-1,0.00004,USD\n".as_bytes()).unwrap();
        assert_eq!(causes(&dollars, &[attempt(1, 100, 0, 10)]), [Cause::OtherCurrency]);
    }

    #[test]
    fn a_day_is_the_vendors() {
        let mut far = mapping();
        far.zone = jiff::tz::TimeZone::get("Asia/Shanghai").unwrap();
        let mut late = attempt(1, 1, 1, 1);
        late.started_at = "2026-11-01T15:59:59.99Z".parse().unwrap();
        let mut gathered = Gathered::default();
        gathered.add(&far, "v1", &late);
        // It ended after midnight there.
        assert_eq!(gathered.lines.keys().next().unwrap().0.to_string(), "2026-11-02");
        assert_eq!(gathered.lines.keys().next().unwrap().1, "fast");
    }
}
