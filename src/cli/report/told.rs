//! A report in words: columns for people, comma-separated lines for programs.

use std::io;

use crate::cli::output::Output;
use crate::cli::table::{Align, Table};
use crate::ledger::{UsageBy, UsageLine, UsageQuery, UsageSums};
use crate::units::{Amount, Currency, Tokens, Usd};

/// Columns behind those that tell lines apart, as programs get them.
const FIGURES: [&str; 14] = [
    "requests",
    "attempts",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_usd",
    "compared_requests",
    "baseline_usd",
    "reported",
    "counted",
    "estimated",
    "served_model_changes",
];

/// The report for people, with a line of sums at its end.
pub(super) fn table(query: &UsageQuery, lines: &[UsageLine], total: &UsageSums, output: &mut Output) -> io::Result<()> {
    if lines.is_empty() {
        let last = query.until.yesterday().unwrap_or(query.until);
        return output.line(format!("Nothing was booked from {} to {last}.", query.from));
    }
    let places = places(total.cost.max(total.baseline));
    let told_apart = query.group_by.len();
    let mut table = Table::new((0..told_apart).map(|_| Align::Left).chain([Align::Right; 7]));
    let headings = ["requests", "input", "cached", "output", "cost USD", "baseline USD", "saved"];
    table.row(query.group_by.iter().map(|by| word(*by)).chain(headings));
    for line in lines {
        table.row(query.group_by.iter().map(|by| of(line, *by)).chain(figures(&line.sums, places)));
    }
    let sums = (0..told_apart).map(|at| if at == 0 { "all".to_owned() } else { String::new() });
    table.row(sums.chain(figures(total, places)));
    output.line(table.to_string())
}

/// The report for programs: amounts with every digit that counts.
pub(super) fn csv(query: &UsageQuery, lines: &[UsageLine]) -> String {
    let headings: Vec<&str> = query.group_by.iter().map(|by| word(*by)).chain(FIGURES).collect();
    let mut text = headings.join(",") + "\n";
    for line in lines {
        let sums = &line.sums;
        let usage = &sums.usage;
        let [reported, counted, estimated] = sums.provenance;
        let tokens = [usage.input(), usage.cache_read, usage.cache_write, usage.output, usage.reasoning].map(Tokens::get);
        let cells: Vec<String> = (query.group_by.iter().map(|by| quoted(&of(line, *by))))
            .chain([sums.requests, sums.attempts].into_iter().chain(tokens).map(|count| count.to_string()))
            .chain([sums.cost.to_exact(), sums.compared.to_string(), sums.baseline.to_exact()])
            .chain([reported, counted, estimated, sums.model_changes].map(|count| count.to_string()))
            .collect();
        text += &cells.join(",");
        text.push('\n');
    }
    text
}

fn figures(sums: &UsageSums, places: u32) -> [String; 7] {
    let compared = sums.compared > 0;
    // What was not compared has no baseline that its cost could be held against.
    let all_compared = compared && sums.compared == sums.requests && sums.baseline > Usd::ZERO;
    let saved = || format!("{}%", (sums.baseline - sums.cost).pico() * 100 / sums.baseline.pico());
    [
        sums.requests.to_string(),
        sums.usage.input().get().to_string(),
        sums.usage.cache_read.get().to_string(),
        sums.usage.output.get().to_string(),
        rounded(sums.cost, places),
        if compared { rounded(sums.baseline, places) } else { "-".to_owned() },
        if all_compared { saved() } else { "-".to_owned() },
    ]
}

/// Digits behind the point: as many as tell amounts of this size apart.
fn places(largest: Usd) -> u32 {
    const DOLLAR: i128 = 1_000_000_000_000;
    match largest.pico() {
        pico if pico >= 100 * DOLLAR => 2,
        pico if pico >= DOLLAR => 4,
        _ => 6,
    }
}

fn rounded(amount: Usd, places: u32) -> String {
    Amount::from_pico(amount.pico(), Currency::Usd).to_rounded(places)
}

pub(super) fn word(by: UsageBy) -> &'static str {
    UsageBy::WORDS.into_iter().find(|(known, _)| *known == by).map_or("", |(_, word)| word)
}

/// A request without any attempt has neither model, provider nor backend.
fn of(line: &UsageLine, by: UsageBy) -> String {
    let text = match by {
        UsageBy::Day => line.day.map(|day| day.to_string()),
        UsageBy::Key => line.key.clone(),
        UsageBy::Model => line.model.clone(),
        UsageBy::Provider => line.provider.clone(),
        UsageBy::Backend => line.backend.clone(),
        UsageBy::Team => line.team.clone(),
        UsageBy::Project => line.project.clone(),
        UsageBy::Tag => line.tag.clone(),
    };
    text.unwrap_or_else(|| "-".to_owned())
}

/// As RFC 4180 wants it.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::units::Usage;

    fn query() -> UsageQuery {
        let group_by = vec![UsageBy::Day, UsageBy::Key];
        UsageQuery { key: None, from: date(2026, 11, 1), until: date(2026, 12, 1), group_by, most_lines: 9 }
    }

    fn line(key: Option<&str>, requests: u64, compared: u64) -> UsageLine {
        let usage = Usage { cache_read: Tokens::new(40), ..Usage::fresh(Tokens::new(60), Tokens::new(7)) };
        let (cost, baseline) = (Usd::from_pico(1_250_000_000), Usd::from_pico(5_000_000_000));
        let sums = UsageSums { requests, attempts: 3, usage, cost, compared, baseline, ..UsageSums::default() };
        UsageLine { day: Some(date(2026, 11, 2)), key: key.map(str::to_owned), sums, ..UsageLine::default() }
    }

    #[test]
    fn programs_get_every_digit_and_names_as_they_are() {
        let told = csv(&query(), &[line(Some("a \"b\", c"), 2, 2)]);
        let mut lines = told.lines();
        assert_eq!(lines.next().unwrap().split(',').count(), 2 + FIGURES.len());
        assert_eq!(lines.next(), Some("2026-11-02,\"a \"\"b\"\", c\",2,3,100,40,0,7,0,0.00125,2,0.005,0,0,0,0"));
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn what_was_saved_is_told_only_where_all_was_compared() {
        assert_eq!(figures(&line(None, 2, 2).sums, 6), ["2", "100", "40", "7", "0.001250", "0.005000", "75%"]);
        assert_eq!(figures(&line(None, 2, 1).sums, 4)[4..], ["0.0012", "0.0050", "-"]);
        assert_eq!(figures(&line(None, 2, 0).sums, 2)[5..], ["-", "-"]);
    }

    #[test]
    fn amounts_have_as_many_digits_as_their_size_wants() {
        let dollars = |n: i128| Usd::from_pico(n * 1_000_000_000_000);
        assert_eq!([dollars(0), dollars(1), dollars(99), dollars(100)].map(places), [6, 4, 4, 2]);
    }
}
