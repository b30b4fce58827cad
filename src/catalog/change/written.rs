//! Changes as they stand in the text of a table, and on the disk: what `load/change.rs` reads.

use std::fmt::Write as _;

use super::PriceChange;
use crate::catalog::fx::DatedRate;

/// The changes as tables `[[changes]]`, to be put behind the text of a table.
pub fn to_toml<'c>(changes: impl IntoIterator<Item = &'c PriceChange>) -> String {
    let mut text = String::new();
    for change in changes {
        let quoted = |text: &str| toml_text(text);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\n[[changes]]\nbackend = {}\nlayer = \"{}\"\nby = {}\nsource = {}\ntaken = {}\nfrom = {}",
            quoted(&change.backend),
            change.layer.word(),
            quoted(&change.by),
            quoted(&change.source),
            change.taken,
            change.from
        );
        if let Some(until) = change.until {
            let _ = writeln!(text, "until = {until}");
        }
        let _ = writeln!(text, "figures = [");
        for (place, price) in &change.figures {
            let cell = if place.cell > 0 { format!("cell = {}, ", place.cell) } else { String::new() };
            let batch = if place.batch { "batch = true, " } else { "" };
            let _ = writeln!(text, "  {{ {cell}{batch}kind = \"{}\", price = {} }},", place.kind.word(), price.to_per_million());
        }
        let _ = writeln!(text, "]");
    }
    text
}

/// Exchange rates as tables `[[fx]]`.
pub fn rates_to_toml<'r>(rates: impl IntoIterator<Item = &'r DatedRate>) -> String {
    let mut text = String::new();
    for DatedRate { date, rate, source } in rates {
        let (currency, per_usd, source) = (rate.currency(), rate.per_usd(), toml_text(source));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n[[fx]]\ncurrency = \"{currency}\"\nper_usd = {per_usd}\ndate = {date}\nsource = {source}");
    }
    text
}

/// A text in quotes. Control characters never get here; the rest is what TOML's basic strings escape.
fn toml_text(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}
