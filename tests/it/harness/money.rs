//! What things cost, worked out again from the text of the table, in integers, without any of the gateway's code.

use std::collections::BTreeMap;

use super::rows::AttemptRow;

/// What a backend asks for, per token in 10⁻¹² of its currency, and how many millionths of that currency make a dollar.
#[derive(Debug, Clone)]
pub(crate) struct Prices {
    input: i128,
    cache_read: i128,
    output: i128,
    micro_per_usd: i128,
}

impl Prices {
    /// What an attempt's tokens cost, in 10⁻¹² of the vendor's currency and of a dollar.
    pub(crate) fn cost(&self, attempt: &AttemptRow) -> (i128, i128) {
        let [fresh, cached, output] = [attempt.fresh_input, attempt.cache_read, attempt.output].map(i128::from);
        assert_eq!(attempt.cache_write, 0, "no table of these tests has a price for it");
        let amount = fresh * self.input + cached * self.cache_read + output * self.output;
        (amount, half_even(amount * 1_000_000, self.micro_per_usd))
    }
}

/// The prices of every backend of a table by its id. Of several the first counts.
pub(crate) fn prices(table: &str) -> BTreeMap<String, Prices> {
    let table: toml::Table = table.parse().unwrap();
    let priced = table["backends"].as_array().unwrap().iter().map(|backend| {
        let provider = backend["provider"].as_str().unwrap();
        let currency = table["providers"][provider]["currency"].as_str().unwrap();
        let price = |kind: &str| backend.get("prices").and_then(|prices| prices[0].get(kind)).map(millionths);
        let input = price("input").unwrap_or(0);
        let prices = Prices {
            input,
            cache_read: price("cache_read").unwrap_or(input),
            output: price("output").unwrap_or(0),
            micro_per_usd: if currency == "USD" { 1_000_000 } else { rate(&table, currency) },
        };
        let model = backend.get("upstream_model").unwrap_or(&backend["model"]).as_str().unwrap();
        (format!("{provider}/{model}"), prices)
    });
    priced.collect()
}

/// 10⁻¹² dollars as the cost header shows them.
pub(crate) fn shown(pico: i64) -> String {
    let text = format!("{}.{:012}", pico / 1_000_000_000_000, pico % 1_000_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn rate(table: &toml::Table, currency: &str) -> i128 {
    let rates = table["fx"].as_array().unwrap();
    let rate = rates.iter().find(|rate| rate["currency"].as_str() == Some(currency)).expect("a rate");
    millionths(&rate["per_usd"])
}

/// A decimal of at most six digits after its point, in millionths. A price per million tokens is 10⁻¹² of its currency per
/// token by the same figure.
fn millionths(decimal: &toml::Value) -> i128 {
    let text = decimal.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<6}").parse().unwrap()
}

/// Divides and rounds to the nearest, a tie to the even neighbour.
fn half_even(amount: i128, by: i128) -> i128 {
    let (whole, twice_rest) = (amount / by, amount % by * 2);
    whole + i128::from(twice_rest > by || (twice_rest == by && whole % 2 == 1))
}
