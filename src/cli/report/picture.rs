//! A report as a picture: the spend of each day, by provider one upon the other, and what the baseline would have cost; below, where
//! days were compared whole, what was saved against it. Plain SVG on a white ground.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::ToSpan;
use jiff::civil::Date;

use crate::ledger::{UsageLine, UsageQuery};
use crate::simulate::picture::{escaped, round_step};
use crate::units::{Amount, Currency, Usd};

const WIDTH: i128 = 1000;
const HEIGHT: i128 = 430;
/// The frame of the columns.
const LEFT: i128 = 90;
const RIGHT: i128 = 760;
const TOP: i128 = 66;
const BOTTOM: i128 = 370;
/// Between two lines of the legend.
const LINE: i128 = 20;
/// Days whose date stands below the axis, at the most.
const DATES: usize = 8;
/// One for each provider that is told by name, the one that was paid most first; the last is of all others.
const COLOURS: [&str; 8] = ["#0b7a4b", "#4a6fb5", "#b87400", "#7a4fb0", "#c8324a", "#2a9aa8", "#8a8a2a", "#999999"];
const OTHERS: &str = "others";
const BASELINE: &str = "#222222";

/// What is drawn, by day.
struct Drawn {
    days: Vec<Date>,
    /// The names in the order of their colours.
    names: Vec<String>,
    /// Spend by day and place in `names`, in 10⁻¹² dollars.
    spend: BTreeMap<Date, Vec<i128>>,
    /// What the baseline would have cost, where every request of the day was compared.
    baseline: BTreeMap<Date, i128>,
}

/// Draws lines that are told apart by day and provider.
pub(super) fn picture(query: &UsageQuery, lines: &[UsageLine]) -> String {
    let drawn = Drawn::of(query, lines);
    let saved = drawn.saved();
    let height = if saved.is_some() { 2 * HEIGHT } else { HEIGHT };
    let last = query.until.yesterday().unwrap_or(query.until);
    let key = query.key.as_ref().map_or_else(String::new, |key| format!(" of {}", escaped(key.as_str())));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222222\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">Spend by day and provider</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"26\" font-size=\"18\" font-weight=\"bold\">Spend by day and provider{key}</text>\n\
         <text x=\"{LEFT}\" y=\"46\" fill=\"#555555\">US dollars, {} to {last} (UTC)</text>\n",
        query.from
    );
    drawn.draw(&mut svg);
    if let Some(saved) = saved {
        put(&mut svg, format_args!("<g transform=\"translate(0 {HEIGHT})\">"));
        put(
            &mut svg,
            format_args!(
                "<text x=\"{LEFT}\" y=\"26\" font-size=\"18\" font-weight=\"bold\">Saved against the baseline by day</text>"
            ),
        );
        saved.draw(&mut svg);
        put(&mut svg, format_args!("</g>"));
    }
    svg += "</svg>\n";
    svg
}

impl Drawn {
    fn of(query: &UsageQuery, lines: &[UsageLine]) -> Self {
        let mut totals: BTreeMap<&str, Usd> = BTreeMap::new();
        for line in lines {
            *totals.entry(name(line)).or_default() += line.sums.cost;
        }
        let mut ranked: Vec<(&str, Usd)> = totals.into_iter().filter(|(_, spent)| *spent > Usd::ZERO).collect();
        ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut names: Vec<String> = ranked.iter().take(COLOURS.len() - 1).map(|(name, _)| (*name).to_owned()).collect();
        if ranked.len() > names.len() {
            names.push(OTHERS.to_owned());
        }
        let (mut spend, mut compared) = (BTreeMap::<Date, Vec<i128>>::new(), BTreeMap::<Date, (u64, u64, i128)>::new());
        for line in lines {
            let Some(day) = line.day else { continue };
            let parts = spend.entry(day).or_insert_with(|| vec![0; names.len()]);
            let place = names.iter().position(|known| known == name(line)).unwrap_or(names.len().saturating_sub(1));
            if let Some(part) = parts.get_mut(place) {
                *part += line.sums.cost.pico();
            }
            let (requests, with_baseline, pico) = compared.entry(day).or_default();
            *requests += line.sums.requests;
            *with_baseline += line.sums.compared;
            *pico += line.sums.baseline.pico();
        }
        let whole = |(day, (requests, compared, pico))| (compared > 0 && requests == compared).then_some((day, pico));
        let baseline = compared.into_iter().filter_map(whole).collect();
        let days = (0..).map_while(|n| query.from.checked_add(i64::from(n).days()).ok().filter(|day| *day < query.until));
        Self { days: days.collect(), names, spend, baseline }
    }

    /// What days cost less than the baseline, of those that were compared whole; `None` where none was. A day that cost more has no
    /// column, and counts in the sum.
    fn saved(&self) -> Option<Self> {
        let cost = |day: &Date| self.spend.get(day).into_iter().flatten().sum::<i128>();
        let saved = self.baseline.iter().map(|(day, baseline)| (*day, vec![baseline - cost(day)]));
        let names = vec!["saved".to_owned()];
        let drawn = Self { days: self.days.clone(), names, spend: saved.collect(), baseline: BTreeMap::new() };
        (!self.baseline.is_empty()).then_some(drawn)
    }

    fn draw(&self, svg: &mut String) {
        let sums = self.spend.values().map(|parts| parts.iter().sum::<i128>());
        let most = sums.chain(self.baseline.values().copied()).max().unwrap_or(0).max(1) * 105 / 100;
        self.axes(svg, most);
        self.columns(svg, most);
        self.legend(svg);
    }

    /// The width of a day.
    fn pace(&self) -> i128 {
        (RIGHT - LEFT) * 1000 / i128::try_from(self.days.len().max(1)).unwrap_or(1)
    }

    /// Where a day begins, in thousandths.
    fn across(&self, place: usize) -> i128 {
        LEFT * 1000 + self.pace() * i128::try_from(place).unwrap_or(0)
    }

    fn axes(&self, svg: &mut String, most: i128) {
        let (step, mut amount) = (round_step(most / 6), 0);
        while amount <= most {
            let y = up(amount, most);
            put(svg, format_args!("<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#e6e6e6\"/>"));
            let label = Amount::from_pico(amount, Currency::Usd).to_exact();
            put(svg, format_args!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>", LEFT - 8, y + 4));
            amount += step;
        }
        for (place, day) in self.days.iter().enumerate().step_by(self.days.len().div_ceil(DATES).max(1)) {
            let x = (self.across(place) + self.pace() / 2) / 1000;
            put(svg, format_args!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{day}</text>", BOTTOM + 20));
        }
        put(svg, format_args!("<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#222222\"/>"));
    }

    fn columns(&self, svg: &mut String, most: i128) {
        let gap = self.pace() / 10;
        for (place, day) in self.days.iter().enumerate() {
            let (x, width) = (self.across(place) + gap, self.pace() - 2 * gap);
            let mut below = 0;
            for (part, colour) in self.spend.get(day).into_iter().flatten().zip(COLOURS) {
                let (top, bottom) = (up(below + part, most), up(below, most));
                below += part;
                if top < bottom {
                    put(
                        svg,
                        format_args!(
                            "<rect x=\"{}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"{colour}\"/>",
                            thousandths(x),
                            thousandths(width),
                            bottom - top
                        ),
                    );
                }
            }
            if let Some(pico) = self.baseline.get(day) {
                let (y, from, to) = (up(*pico, most), thousandths(x - gap / 2), thousandths(x + width + gap / 2));
                put(
                    svg,
                    format_args!(
                        "<path d=\"M{from} {y}H{to}\" stroke=\"{BASELINE}\" stroke-width=\"2\" stroke-dasharray=\"4 2\"/>"
                    ),
                );
            }
        }
    }

    fn legend(&self, svg: &mut String) {
        let x = RIGHT + 24;
        let mut y = TOP + 10;
        for (name, colour) in self.names.iter().zip(COLOURS) {
            let spent: i128 = self.spend.values().filter_map(|parts| parts.get(self.place_of(name))).sum();
            let cents = Amount::from_pico(spent, Currency::Usd).to_rounded(4);
            put(svg, format_args!("<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>", y - 10));
            put(svg, format_args!("<text x=\"{}\" y=\"{y}\">{} {cents}</text>", x + 18, escaped(name)));
            y += LINE;
        }
        if !self.baseline.is_empty() {
            let sum = Amount::from_pico(self.baseline.values().sum(), Currency::Usd).to_rounded(4);
            let (to, line) = (x + 12, y - 4);
            put(
                svg,
                format_args!("<path d=\"M{x} {line}H{to}\" stroke=\"{BASELINE}\" stroke-width=\"2\" stroke-dasharray=\"4 2\"/>"),
            );
            put(svg, format_args!("<text x=\"{}\" y=\"{y}\">baseline {sum}</text>", x + 18));
        }
    }

    fn place_of(&self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or(0)
    }
}

fn name(line: &UsageLine) -> &str {
    line.provider.as_deref().unwrap_or("-")
}

/// Where an amount stands.
fn up(pico: i128, most: i128) -> i128 {
    BOTTOM - (BOTTOM - TOP) * pico / most.max(1)
}

fn thousandths(length: i128) -> String {
    format!("{}.{:03}", length / 1000, length % 1000)
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::ledger::UsageSums;

    #[test]
    fn each_provider_of_each_day_has_its_column_and_the_rest_is_of_others() {
        let query =
            UsageQuery { key: None, from: date(2026, 11, 1), until: date(2026, 11, 4), group_by: Vec::new(), most_lines: 9 };
        let line = |day, provider: &str, dollars: i128, compared| {
            let (cost, baseline) = (Usd::from_pico(dollars * 1_000_000_000_000), Usd::from_pico(20_000_000_000_000));
            let sums = UsageSums { requests: 1, cost, compared, baseline, ..UsageSums::default() };
            UsageLine { day: Some(date(2026, 11, day)), provider: Some(provider.to_owned()), sums, ..UsageLine::default() }
        };
        let mut lines: Vec<UsageLine> = (1..=9).map(|n| line(1, &format!("site-{n}"), 20 - n, 1)).collect();
        lines.push(line(3, "a<b", 30, 0));
        let drawn = picture(&query, &lines);
        // Seven of the first day, one of the third, the legend; below, what the first day saved (180 - 135), and its legend.
        assert_eq!(drawn.matches("<rect x=").count(), 7 + 1 + 8 + 1 + 1, "{drawn}");
        assert!(drawn.contains("Saved against the baseline") && drawn.contains("saved 45.0000"), "{drawn}");
        for told in ["others 36.0000", "a&lt;b 30.0000", "site-6 14.0000", ">2026-11-03<", "baseline 180.0000"] {
            assert!(drawn.contains(told), "{told}\n{drawn}");
        }
        assert!(!drawn.contains("site-7"), "{drawn}");
        assert!(picture(&query, &[]).contains("</svg>"));
    }
}
