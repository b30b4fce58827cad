//! The `api.json` of models.dev: an object of providers, each with an object of models, dollars per million tokens under
//! `cost`. Longer requests have a list `tiers` (`tier.type` "context", `tier.size`), or the older member
//! `context_over_200k` beside or instead of it. A tier says its figures itself: what it leaves out is not said, since the
//! base figure would be too low.

use super::Unreadable;
use super::decimal::{PER_MILLION, exact};
use super::json::{self, Members, Value};
use super::proposal::{Entry, Figures, Kind, Offer, Reading};
use super::reason::Reason;
use super::steps;
use crate::units::Currency;

const MEMBERS: [(&str, Kind); 7] = [
    ("input", Kind::Input),
    ("output", Kind::Output),
    ("reasoning", Kind::Reasoning),
    ("cache_read", Kind::CacheRead),
    ("cache_write", Kind::CacheWrite),
    ("input_audio", Kind::AudioInput),
    ("output_audio", Kind::AudioOutput),
];

pub(super) fn read(text: &str) -> Result<Reading, Unreadable> {
    let providers: Members = json::read(text).map_err(|e| Unreadable(format!("not models.dev's api.json: {e}")))?;
    let mut reading = Reading::default();
    for (id, raw) in &providers.0 {
        if let Err(wrong) = provider(&mut reading, id, raw.get()) {
            reading.refuse(Entry { provider: id, model: "", place: id }, Reason::Shape(wrong));
        }
    }
    Ok(reading)
}

fn provider(reading: &mut Reading, id: &str, text: &str) -> Result<(), String> {
    let provider: Members = json::read(text)?;
    let models: Members = json::read(provider.get("models").ok_or("the provider has no models")?.get())?;
    for (name, raw) in &models.0 {
        let place = format!("{id}.models.{name}");
        let entry = Entry { provider: id, model: name, place: &place };
        let read = json::value(raw).map_err(Reason::Shape).and_then(|model| model.get("cost").map(offer).transpose());
        reading.take(entry, read);
    }
    Ok(())
}

fn offer(cost: &Value<'_>) -> Result<Offer, Reason> {
    let mut edges = vec![(0, figures(cost)?)];
    for tier in tiers(cost)? {
        if !edges.iter().any(|(above, _)| *above == tier.0) {
            edges.push(tier);
        }
    }
    Ok(Offer::new(Currency::Usd, steps::by_edge(edges)))
}

/// Figures above a number of input tokens. The list wins over the older members.
fn tiers(cost: &Value<'_>) -> Result<Vec<(u64, Figures)>, Reason> {
    let listed = cost.get("tiers").map(Value::items).unwrap_or_default();
    if !listed.is_empty() {
        return listed.iter().map(listed_tier).collect();
    }
    let older = cost.members().iter().filter_map(|(name, value)| Some((threshold(name)?, value)));
    older.map(|(above, value)| Ok((above, figures(value)?))).collect()
}

fn listed_tier(tier: &Value<'_>) -> Result<(u64, Figures), Reason> {
    let bound = tier.get("tier");
    let kind = bound.and_then(|bound| bound.get("type")).and_then(Value::text);
    let size = bound.and_then(|bound| bound.get("size")).and_then(Value::number);
    let (Some("context"), Some(size)) = (kind, size) else {
        return Err(Reason::Shape("a tier is not bounded by the length of the context".into()));
    };
    let above = exact(size, 0).map_err(|wrong| Reason::figure("tier.size", size, wrong))?;
    Ok((above, figures(tier)?))
}

/// `context_over_200k` and its like.
fn threshold(name: &str) -> Option<u64> {
    let size = name.strip_prefix("context_over_")?;
    let (count, times) =
        size.strip_suffix('k').map(|count| (count, 1_000)).or(size.strip_suffix('m').map(|count| (count, 1_000_000)))?;
    let count: u32 = count.parse().ok()?;
    Some(u64::from(count) * times).filter(|above| *above > 0)
}

fn figures(cost: &Value<'_>) -> Result<Figures, Reason> {
    steps::figures(cost, &MEMBERS, PER_MILLION, "cost")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, fixture};
    use super::super::{Format, decode};

    #[test]
    fn the_fixture_is_read_entry_by_entry() {
        check(Format::ModelsDev, "models_dev.json");
    }

    #[test]
    fn what_is_no_list_of_providers_is_refused_whole() {
        let whole = fixture("models_dev.json");
        for bad in ["", "[]", "{\"a\"", &whole[..whole.len() - 3]] {
            assert!(decode(Format::ModelsDev, bad.as_bytes()).is_err(), "{bad:.40}");
        }
    }
}
