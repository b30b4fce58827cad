//! LiteLLM's price list: one object, a member per model, dollars per token. A model's key may begin with its provider
//! (`deepseek/deepseek-chat`); the provider's id stands in the entry, so the prefix is cut only where the two agree.
//!
//! Prices of longer requests stand beside the others with a suffix (`_above_200k_tokens`), each kind for itself, and price
//! the whole request; newer entries have a list `tiered_pricing` with ranges. Where a longer range has no figure of its own,
//! LiteLLM bills the base figure, so that is what is read. Other suffixes (`_priority`, `_flex`) are other services.

use super::Unreadable;
use super::decimal::{PER_TOKEN, exact};
use super::json::{self, Members, Value};
use super::proposal::{Bounds, Cell, Entry, Figures, Kind, Offer, Reading};
use super::reason::Reason;
use super::steps::{self, Said};
use crate::units::Currency;

/// Describes the members to people; no model.
const SPECIMEN: &str = "sample_spec";

/// Later names win over earlier ones of the same kind: the first is what older lists have.
const MEMBERS: [(&str, Kind); 10] = [
    ("input_cost_per_token_cache_hit", Kind::CacheRead),
    ("input_cost_per_token", Kind::Input),
    ("output_cost_per_token", Kind::Output),
    ("cache_read_input_token_cost", Kind::CacheRead),
    ("cache_creation_input_token_cost", Kind::CacheWrite),
    ("cache_creation_input_token_cost_above_1hr", Kind::CacheWriteLong),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("input_cost_per_image_token", Kind::ImageInput),
    ("input_cost_per_audio_token", Kind::AudioInput),
    ("output_cost_per_audio_token", Kind::AudioOutput),
];

pub(super) fn read(text: &str) -> Result<Reading, Unreadable> {
    let models: Members = json::read(text).map_err(|e| Unreadable(format!("not a LiteLLM price list: {e}")))?;
    let mut reading = Reading::default();
    for (key, raw) in models.0.iter().filter(|(key, _)| key != SPECIMEN) {
        match json::value(raw) {
            Ok(model) => entry(&mut reading, key, &model),
            Err(wrong) => reading.refuse(Entry { provider: "", model: key, place: key }, Reason::Shape(wrong)),
        }
    }
    Ok(reading)
}

fn entry(reading: &mut Reading, key: &str, model: &Value<'_>) {
    let Some(provider) = model.get("litellm_provider").and_then(Value::text) else {
        let wrong = Reason::Shape("the entry has no litellm_provider".into());
        return reading.refuse(Entry { provider: "", model: key, place: key }, wrong);
    };
    let own = key.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key);
    reading.take(Entry { provider, model: own, place: key }, offer(model));
}

fn offer(model: &Value<'_>) -> Result<Option<Offer>, Reason> {
    let (said, batch) = said(model)?;
    let base = steps::held_above(&said, 0);
    let tiers = model.get("tiered_pricing").map(Value::items).unwrap_or_default();
    if base.get(Kind::Input).is_none() && base.get(Kind::Output).is_none() && tiers.is_empty() {
        return Ok(None);
    }
    let mut offer = Offer::new(Currency::Usd, if tiers.is_empty() { steps::by_figure(&said) } else { ranged(tiers, &base)? });
    if !batch.is_empty() {
        offer.batch = steps::by_figure(&batch);
    }
    if let Some(fee) = model.get("input_cost_per_request").and_then(Value::number) {
        let fee = exact(fee, PER_TOKEN).map_err(|wrong| Reason::figure("input_cost_per_request", fee, wrong))?;
        offer.per_request = (fee > 0).then_some(fee);
    }
    Ok(Some(offer))
}

/// The members that are prices per token, in the order of [`MEMBERS`]: those of usual requests, and those of batches.
fn said(model: &Value<'_>) -> Result<(Vec<Said>, Vec<Said>), Reason> {
    let mut said = Vec::new();
    for (name, value) in model.members() {
        let Some((member, above, batch)) = meaning(name) else { continue };
        let Some(text) = value.number() else { continue };
        let figure = Said::read(MEMBERS[member].1, above, (name, text), PER_TOKEN)?;
        said.extend(figure.map(|figure| (member, batch, figure)));
    }
    said.sort_by_key(|(member, _, _)| *member);
    let of = |wanted: bool| said.iter().filter(|(_, batch, _)| *batch == wanted).map(|(_, _, figure)| *figure).collect();
    Ok((of(false), of(true)))
}

/// Which member of [`MEMBERS`] a name is, with its threshold.
fn meaning(name: &str) -> Option<(usize, u64, bool)> {
    let (name, batch) = name.strip_suffix("_batches").map_or((name, false), |name| (name, true));
    let by_name = |name: &str| MEMBERS.iter().position(|(known, _)| *known == name);
    if let Some(member) = by_name(name) {
        return Some((member, 0, batch));
    }
    let (name, threshold) = name.strip_suffix("k_tokens")?.rsplit_once("_above_")?;
    let thousands: u32 = threshold.parse().ok().filter(|thousands| *thousands > 0)?;
    Some((by_name(name)?, u64::from(thousands) * 1_000, batch))
}

/// The list `tiered_pricing`: ranges of input tokens, each with its figures.
fn ranged(tiers: &[Value<'_>], base: &Figures) -> Result<Vec<Cell>, Reason> {
    let mut cells = Vec::new();
    for tier in tiers {
        let range = tier.get("range").map(Value::items).unwrap_or_default();
        let edge = |value: Option<&Value<'_>>| match value {
            None | Some(Value::Nothing) => Ok(None),
            Some(value) => {
                let text = value.number().unwrap_or_default();
                exact(text, 0).map(Some).map_err(|wrong| Reason::figure("range", text, wrong))
            }
        };
        if range.is_empty() {
            return Err(Reason::Shape("a tier of tiered_pricing has no range".into()));
        }
        let bounds = Bounds::input(edge(range.first())?, edge(range.get(1))?);
        cells.push(Cell { bounds, figures: steps::held_above(&said(tier)?.0, 0).or(base) });
    }
    cells.sort_by_key(|cell| cell.bounds.input_above);
    Ok(cells)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, fixture, shown};
    use super::super::{Format, decode};

    #[test]
    fn the_fixture_is_read_entry_by_entry() {
        check(Format::LiteLlm, "litellm.json");
    }

    #[test]
    fn what_is_no_list_of_models_is_refused_whole() {
        let whole = fixture("litellm.json");
        for bad in ["", "[]", "{", "null", "{\"a\": {}", &whole[..whole.len() / 2]] {
            assert!(decode(Format::LiteLlm, bad.as_bytes()).is_err(), "{bad:.40}");
        }
        assert_eq!(shown(&decode(Format::LiteLlm, b"{}").unwrap()), "unpriced 0\n");
    }
}
