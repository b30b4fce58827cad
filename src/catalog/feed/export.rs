//! Prices in our own form, as [`super::own`] reads them: for another gateway's feed, or to look at what a foreign list says.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::proposal::{Bounds, Cell, Hours, Kind, Offer};
use crate::units::Amount;

/// A price of a model of a provider.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    pub provider: &'a str,
    pub model: &'a str,
    pub offer: &'a Offer,
}

/// The rows as JSON; figures are texts, so that no reader makes floats of them.
pub fn json(rows: &[Listed<'_>]) -> Value {
    let rows = rows.iter().map(|row| Value::Object(members(row)));
    Value::Object(Map::from_iter([("prices".to_owned(), rows.collect())]))
}

/// The rows as TOML.
pub fn toml(rows: &[Listed<'_>]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str("[[prices]]\n");
        let members = members(row);
        let whose = |name: &str| matches!(name, "provider" | "model");
        let first = ["provider", "model"].into_iter().filter_map(|name| members.get_key_value(name));
        for (name, value) in first.chain(members.iter().filter(|(name, _)| !whose(name))) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name} = {}", written(name, value));
        }
        text.push('\n');
    }
    text
}

fn members(row: &Listed<'_>) -> Map<String, Value> {
    let offer = row.offer;
    let mut members = Map::new();
    let mut set = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    set("provider", row.provider.into());
    set("model", row.model.into());
    set("currency", offer.currency.code().into());
    if let Hours::Calendar(name) = &offer.hours {
        set("calendar", name.as_str().into());
    }
    if offer.marginal == Some(true) {
        set("tiers", "marginal".into());
    }
    for (name, pico) in [("per_request", offer.per_request), ("minimum", offer.minimum)] {
        if let Some(pico) = pico {
            set(name, Amount::from_pico(pico.into(), offer.currency).to_exact().into());
        }
    }
    if offer.free {
        set("free", true.into());
        return members;
    }
    for (name, value) in cells(&offer.cells) {
        set(&name, value);
    }
    if !offer.batch.is_empty() {
        set("batch", Value::Object(cells(&offer.batch)));
    }
    members
}

/// Figures alone where there is one cell for everything, else a list.
fn cells(cells: &[Cell]) -> Map<String, Value> {
    match cells {
        [one] if one.bounds == Bounds::ALL => cell(one),
        cells => Map::from_iter([("cells".to_owned(), cells.iter().map(|one| Value::Object(cell(one))).collect())]),
    }
}

fn cell(cell: &Cell) -> Map<String, Value> {
    let b = &cell.bounds;
    let bounds =
        [("input_above", b.input_above), ("input_to", b.input_to), ("output_above", b.output_above), ("output_to", b.output_to)];
    let bounds = bounds.into_iter().filter_map(|(name, bound)| Some((name.to_owned(), Value::from(bound?))));
    let thinking = b.thinking.map(|thinking| ("thinking".to_owned(), Value::from(thinking)));
    let figure = |kind: Kind| Some((kind.word().to_owned(), Value::from(cell.figures.get(kind)?.to_per_million())));
    bounds.chain(thinking).chain(Kind::ALL.into_iter().filter_map(figure)).collect()
}

/// A value as TOML writes it; what is a number there is one.
fn written(name: &str, value: &Value) -> String {
    let inner = |map: &Map<String, Value>| {
        let members: Vec<String> = map.iter().map(|(name, value)| format!("{name} = {}", written(name, value))).collect();
        format!("{{ {} }}", members.join(", "))
    };
    match value {
        Value::String(text) if matches!(name, "provider" | "model" | "currency" | "calendar" | "tiers") => format!("{text:?}"),
        Value::String(figure) => figure.clone(),
        Value::Object(map) => inner(map),
        Value::Array(items) => {
            let items: Vec<String> =
                items.iter().map(|item| format!("  {},\n", item.as_object().map(inner).unwrap_or_default())).collect();
            format!("[\n{}]", items.concat())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::fixture;
    use super::super::{Format, Proposal, decode};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for (format, name) in
            [(Format::Toml, "own.toml"), (Format::GenaiPrices, "genai_prices.json"), (Format::LiteLlm, "litellm.json")]
        {
            let mut reading = decode(format, fixture(name).as_bytes()).unwrap();
            reading.proposals.retain(|p| p.from.is_none() && p.offer.hours != Hours::Windows);
            let rows: Vec<Listed<'_>> =
                reading.proposals.iter().map(|p| Listed { provider: &p.provider, model: &p.model, offer: &p.offer }).collect();
            let offers = |proposals: &[Proposal]| -> Vec<Offer> {
                // When a batch begins and that tiers are whole is not written.
                let plain =
                    |p: &Proposal| Offer { batch_from: None, marginal: p.offer.marginal.filter(|m| *m), ..p.offer.clone() };
                proposals.iter().map(plain).collect()
            };
            let toml = decode(Format::Toml, toml(&rows).as_bytes()).unwrap();
            let json = decode(Format::Json, json(&rows).to_string().as_bytes()).unwrap();
            assert_eq!(offers(&toml.proposals), offers(&reading.proposals), "{name}");
            assert_eq!(offers(&json.proposals), offers(&reading.proposals), "{name}");
        }
    }
}
