//! A model list as OpenRouter serves it: `data`, a list of models, prices per token as texts under `pricing`. The list is one
//! site's and names no provider; the map of the feed says whose it is. A price of -1 stands for "depends on where it is
//! routed", which is no price. `overrides` hold what differs from a number of prompt tokens on (that number included).
//!
//! `image` is passed over: it has been a price per image and a price per token.

use super::Unreadable;
use super::decimal::{PER_TOKEN, exact};
use super::json::{self, Items, Members, Value};
use super::proposal::{Entry, Figures, Kind, NO_PROVIDER, Offer, Reading};
use super::reason::Reason;
use super::steps;
use crate::units::Currency;

const MEMBERS: [(&str, Kind); 8] = [
    ("prompt", Kind::Input),
    ("completion", Kind::Output),
    ("internal_reasoning", Kind::Reasoning),
    ("input_cache_read", Kind::CacheRead),
    ("input_cache_write", Kind::CacheWrite),
    ("input_cache_write_1h", Kind::CacheWriteLong),
    ("audio", Kind::AudioInput),
    ("audio_output", Kind::AudioOutput),
];

pub(super) fn read(text: &str) -> Result<Reading, Unreadable> {
    let unreadable = |e: String| Unreadable(format!("not a model list: {e}"));
    let document: Members = json::read(text).map_err(unreadable)?;
    let data = document.get("data").ok_or_else(|| unreadable("it has no data".into()))?;
    let models: Items = json::read(data.get()).map_err(unreadable)?;
    let mut reading = Reading::default();
    for (n, raw) in models.0.iter().enumerate() {
        let place = format!("data[{n}]");
        let model = json::value(raw);
        let id = model.as_ref().ok().and_then(|model| model.get("id")).and_then(Value::text).unwrap_or_default();
        let entry = Entry { provider: NO_PROVIDER, model: id, place: &place };
        let pricing = model.as_ref().map_err(|wrong| Reason::Shape(wrong.clone())).map(|model| model.get("pricing"));
        reading.take(entry, pricing.and_then(|pricing| pricing.map(offer).transpose()));
    }
    Ok(reading)
}

fn offer(pricing: &Value<'_>) -> Result<Offer, Reason> {
    let mut edges = vec![(0, figures(pricing)?)];
    for longer in pricing.get("overrides").map(Value::items).unwrap_or_default() {
        let from = longer.get("min_prompt_tokens").and_then(Value::number).unwrap_or_default();
        let from = exact(from, 0).map_err(|wrong| Reason::figure("min_prompt_tokens", from, wrong))?;
        edges.push((from.saturating_sub(1), figures(longer)?));
    }
    let mut cells = steps::by_edge(edges);
    let mut so_far = Figures::default();
    for cell in &mut cells {
        so_far = cell.figures.or(&so_far);
        cell.figures = so_far;
    }
    let mut offer = Offer::new(Currency::Usd, cells);
    if let Some(fee) = pricing.get("request").and_then(Value::number) {
        let fee = exact(fee, PER_TOKEN).map_err(|wrong| Reason::figure("request", fee, wrong))?;
        offer.per_request = (fee > 0).then_some(fee);
    }
    Ok(offer)
}

fn figures(pricing: &Value<'_>) -> Result<Figures, Reason> {
    steps::figures(pricing, &MEMBERS, PER_TOKEN, "pricing")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, fixture};
    use super::super::{Format, decode};

    #[test]
    fn the_fixture_is_read_entry_by_entry() {
        check(Format::RouterModels, "openrouter.json");
    }

    #[test]
    fn what_is_no_list_of_models_is_refused_whole() {
        let whole = fixture("openrouter.json");
        for bad in ["", "[]", "{}", "{\"data\": {}}", &whole[..whole.len() - 3]] {
            assert!(decode(Format::RouterModels, bad.as_bytes()).is_err(), "{bad:.40}");
        }
    }
}
