//! What a price war came to, in words and as JSON.

use serde_json::{Value, json};

use super::PriceWarArgs;
use crate::canonical::QualityTier;
use crate::catalog::Snapshot;
use crate::cli::table::{Align, Table};
use crate::simulate::peers::Policy;
use crate::simulate::steps::Step;
use crate::simulate::war::{Outcome, Spend};
use crate::units::Usd;

/// What stands below every table.
pub(super) const HONESTY: &str = "
Simulated: lengths of answers and of reasoning, cache hits and failures are drawn from the seed; prices, exchange rates,
tokens of the prompts, decisions and the arithmetic of the bills are real. Free backends and the operator's own are left out.";

/// How many reasons are told.
const REASONS: usize = 5;

/// The optimum's name.
const OPTIMUM: &str = "clairvoyant optimum";

/// Everybody by what they spent, the optimum first.
fn ranked(outcome: &Outcome) -> Vec<(&'static str, &Spend)> {
    let mut all: Vec<(&str, &Spend)> = outcome.spends.iter().map(|(policy, spend)| (policy.word(), spend)).collect();
    all.sort_by_key(|(_, spend)| spend.total);
    all.insert(0, (OPTIMUM, &outcome.optimum));
    all
}

/// A table for people.
pub(super) fn table(args: &PriceWarArgs, snapshot: &Snapshot, outcome: &Outcome) -> String {
    let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
    let mut parts = vec![format!(
        "Price war: {} requests in {} sessions, {} to {}, table {}, seed {}",
        outcome.served,
        outcome.sessions,
        day(args.from),
        day(args.until),
        snapshot.version,
        args.seed
    )];
    parts.push(spends(outcome).to_string());
    parts.push(floors(outcome).to_string());
    let regret = total(outcome, Policy::Broker) - outcome.optimum.total;
    parts.push(format!("Of tokenbroker's regret of {} (negative: made good elsewhere):\n{}", dollars(regret), reasons(outcome)));
    if outcome.unserved > 0 {
        parts.push(format!("{} more requests were left out: no backend was adequate when they came.", outcome.unserved));
    }
    if outcome.inexact > 0 {
        parts.push(format!("In {} sessions the optimum is not proven: it is at most what stands here.", outcome.inexact));
    }
    parts.join("\n\n")
}

fn total(outcome: &Outcome, policy: Policy) -> Usd {
    outcome.spends.get(&policy).map_or(Usd::ZERO, |spend| spend.total)
}

fn spends(outcome: &Outcome) -> Table {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([left, right, right, right, right, right, right]);
    table.row(["policy", "spend", "per 1,000", "over the optimum", "", "to list price", "failures"]);
    let (optimum, list) = (outcome.optimum.total, total(outcome, Policy::ListNominal));
    for (name, spend) in ranked(outcome) {
        let is_optimum = name == OPTIMUM;
        table.row([
            name.to_owned(),
            dollars(spend.total),
            dollars(per_thousand(spend, outcome)),
            if is_optimum { String::new() } else { dollars(spend.total - optimum) },
            if is_optimum { String::new() } else { percent(spend.total - optimum, optimum) },
            if name == Policy::ListNominal.word() { String::new() } else { percent(spend.total - list, list) },
            if is_optimum { String::new() } else { spend.failures.to_string() },
        ]);
    }
    table
}

/// The same by floor: dear requests would else hide what happens to the cheap ones.
fn floors(outcome: &Outcome) -> Table {
    let mut table = Table::new([Align::Left, Align::Right, Align::Right, Align::Right, Align::Right]);
    let columns = [("optimum", &outcome.optimum)].into_iter();
    let shown = [Policy::Broker, Policy::ListConverted, Policy::ListNominal];
    let named = shown.into_iter().filter_map(|policy| Some((policy.word(), outcome.spends.get(&policy)?)));
    let columns: Vec<(&str, &Spend)> = columns.chain(named).collect();
    let heading = ["by quality floor".to_owned()].into_iter().chain(columns.iter().map(|(name, _)| (*name).to_owned()));
    table.row(heading);
    for floor in QualityTier::ALL {
        let least = outcome.optimum.floors.get(&floor).copied().unwrap_or(Usd::ZERO);
        let cell = |(place, (_, spend)): (usize, &(&str, &Spend))| {
            let spent = spend.floors.get(&floor).copied().unwrap_or(Usd::ZERO);
            if place == 0 { dollars(spent) } else { format!("{} {}", dollars(spent), percent(spent - least, least)) }
        };
        table.row([floor.word().to_owned()].into_iter().chain(columns.iter().enumerate().map(cell)));
    }
    table
}

fn reasons(outcome: &Outcome) -> Table {
    let mut table = Table::new([Align::Right, Align::Left, Align::Left]);
    for (reason, sum, requests) in outcome.losses.largest().into_iter().take(REASONS) {
        table.row([dollars(sum), reason.words().to_owned(), format!("dearer for it: {requests} requests")]);
    }
    table
}

fn per_thousand(spend: &Spend, outcome: &Outcome) -> Usd {
    Usd::from_pico(spend.total.pico() * 1000 / i128::from(outcome.served.max(1)))
}

/// Dollars and cents, with more digits for less than ten dollars.
fn dollars(amount: Usd) -> String {
    let (sign, pico) = (if amount < Usd::ZERO { "-" } else { "" }, amount.pico().unsigned_abs());
    if pico < 10_000_000_000_000 {
        let units = (pico + 50_000_000) / 100_000_000;
        return format!("{sign}${}.{:04}", units / 10_000, units % 10_000);
    }
    let cents = (pico + 5_000_000_000) / 10_000_000_000;
    format!("{sign}${}.{:02}", cents / 100, cents % 100)
}

/// A part of a whole, with a sign.
fn percent(part: Usd, whole: Usd) -> String {
    let tenths = (part.pico() * 1000).checked_div(whole.pico()).unwrap_or(0);
    let sign = if tenths < 0 { '-' } else { '+' };
    format!("{sign}{}.{}%", tenths.abs() / 10, tenths.abs() % 10)
}

/// The same for a script.
pub(super) fn report(args: &PriceWarArgs, snapshot: &Snapshot, outcome: &Outcome, steps: &[Step]) -> Value {
    let optimum = outcome.optimum.total;
    let policy = |(name, spend): (&str, &Spend)| {
        json!({
            "policy": name,
            "spend_usd": spend.total.to_exact(),
            "regret_usd": (spend.total - optimum).to_exact(),
            "failures": spend.failures,
            "seconds_lost": spend.seconds_lost,
            "cumulative_usd": spend.course.iter().map(|sum| sum.to_exact()).collect::<Vec<_>>(),
            "answered": answered(spend, snapshot),
        })
    };
    let reason = |(reason, sum, requests): (crate::simulate::losses::Reason, Usd, u64)| json!({"reason": reason.words(), "usd": sum.to_exact(), "requests": requests});
    let step = |step: &Step| {
        let backend = snapshot.backend(step.backend).id.as_str();
        json!({"at": step.at.to_string(), "backend": backend, "percent_of_before": step.percent.map(|p| p.to_string())})
    };
    json!({
        "simulated": true,
        "from": args.from.to_string(),
        "until": args.until.to_string(),
        "seed": args.seed,
        "table": snapshot.version,
        "requests": outcome.served,
        "unserved": outcome.unserved,
        "sessions": outcome.sessions,
        "inexact_sessions": outcome.inexact,
        "policies": ranked(outcome).into_iter().map(policy).collect::<Vec<_>>(),
        "losses": outcome.losses.largest().into_iter().map(reason).collect::<Vec<_>>(),
        "steps": steps.iter().map(step).collect::<Vec<_>>(),
    })
}

/// Requests by backend, the most first.
fn answered(spend: &Spend, snapshot: &Snapshot) -> Vec<Value> {
    let mut all: Vec<_> =
        spend.answered.iter().map(|(backend, count)| (*count, snapshot.backend(*backend).id.as_str())).collect();
    all.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    all.into_iter().map(|(requests, backend)| json!({"backend": backend, "requests": requests})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_sums_keep_their_digits() {
        let check = |text: &str, expected: &str| assert_eq!(dollars(Usd::parse(text).unwrap()), expected);
        check("0.12345", "$0.1235");
        check("9.99", "$9.9900");
        check("12.344", "$12.34");
        check("12.345", "$12.35");
        assert_eq!(dollars(Usd::ZERO - Usd::parse("0.5").unwrap()), "-$0.5000");
    }

    #[test]
    fn parts_are_told_with_their_sign() {
        let usd = |text: &str| Usd::parse(text).unwrap();
        assert_eq!(percent(usd("0.5"), usd("2")), "+25.0%");
        assert_eq!(percent(usd("1") - usd("1.5"), usd("2")), "-25.0%");
        assert_eq!(percent(usd("1"), Usd::ZERO), "+0.0%");
    }
}
