//! The `data.json` of genai-prices: a list of providers, each with a list of models, dollars per million tokens under
//! `prices`. A price is a number, or a base with tiers that price the whole request from a length of the input on, each kind
//! for itself. `prices` may be a list of prices with a condition each: from a date on (UTC), or within hours of a day; the
//! last whose condition holds counts, and the first where none does. Batch prices stand in `price_variants`.
//!
//! A model is known by its id here. The rules by which the package matches other names (`starts_with`, patterns) are its own
//! guesses and are not followed.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Unreadable;
use super::decimal::{PER_MILLION, PER_TOKEN, exact};
use super::json::{self, Items, Members, Value};
use super::proposal::{Cell, Entry, Hours, Kind, Offer, Reading};
use super::reason::Reason;
use super::steps::{self, Said};
use crate::units::Currency;

const MEMBERS: [(&str, Kind); 9] = [
    ("input_mtok", Kind::Input),
    ("output_mtok", Kind::Output),
    ("cache_read_mtok", Kind::CacheRead),
    ("cache_write_mtok", Kind::CacheWrite),
    ("cache_write_1h_mtok", Kind::CacheWriteLong),
    ("output_reasoning_mtok", Kind::Reasoning),
    ("input_image_mtok", Kind::ImageInput),
    ("input_audio_mtok", Kind::AudioInput),
    ("output_audio_mtok", Kind::AudioOutput),
];

/// A fee is said per thousand requests.
const PER_THOUSAND: i32 = PER_TOKEN - 3;

pub(super) fn read(text: &str) -> Result<Reading, Unreadable> {
    let providers: Items = json::read(text).map_err(|e| Unreadable(format!("not the data of genai-prices: {e}")))?;
    let mut reading = Reading::default();
    for (n, raw) in providers.0.iter().enumerate() {
        let place = format!("[{n}]");
        if let Err(wrong) = provider(&mut reading, &place, raw.get()) {
            reading.refuse(Entry { provider: "", model: "", place: &place }, Reason::Shape(wrong));
        }
    }
    Ok(reading)
}

fn provider(reading: &mut Reading, place: &str, text: &str) -> Result<(), String> {
    let provider: Members = json::read(text)?;
    let id = provider.get("id").map(json::value).transpose()?;
    let id = id.as_ref().and_then(Value::text).ok_or("the provider has no id")?;
    let models: Items = json::read(provider.get("models").ok_or("the provider has no models")?.get())?;
    for (n, raw) in models.0.iter().enumerate() {
        let place = format!("{place}.models[{n}]");
        match json::value(raw) {
            Ok(value) => model(reading, id, &place, &value),
            Err(wrong) => reading.refuse(Entry { provider: id, model: "", place: &place }, Reason::Shape(wrong)),
        }
    }
    Ok(())
}

fn model(reading: &mut Reading, provider: &str, place: &str, model: &Value<'_>) {
    let name = model.get("id").and_then(Value::text).unwrap_or_default();
    let entry = Entry { provider, model: name, place };
    match model.get("prices") {
        Some(prices @ Value::Table(_)) => reading.take(entry, offer(prices, model, Hours::Same)),
        Some(Value::List(rows)) => dated(reading, entry, model, rows),
        _ => reading.refuse(entry, Reason::Shape("the model has no prices".into())),
    }
}

/// What a row of a list depends on.
#[derive(Clone, Copy)]
enum Condition {
    Always,
    From(Timestamp),
    Hours,
}

/// Rows in force from dates on, one after the other. Windows of a day are no rows of their own: they make what they stand
/// beside depend on the hour.
fn dated(reading: &mut Reading, entry: Entry<'_>, model: &Value<'_>, rows: &[Value<'_>]) {
    let conditions: Vec<Condition> = match rows.iter().map(condition).collect() {
        Ok(conditions) => conditions,
        Err(reason) => return reading.refuse(entry, reason),
    };
    let hours = if conditions.iter().any(|c| matches!(c, Condition::Hours)) { Hours::Windows } else { Hours::Same };
    for (n, (row, condition)) in rows.iter().zip(&conditions).enumerate() {
        let Some(begins) = begins(*condition, &conditions[n + 1..], n == 0) else { continue };
        let from = if let Condition::From(from) = begins { Some(from) } else { None };
        let place = format!("{}.prices[{n}]", entry.place);
        let read = row.get("prices").ok_or_else(|| Reason::Shape("the row has no prices".into()));
        let read = read.and_then(|prices| offer(prices, model, hours.clone()));
        reading.take_dated(Entry { place: &place, ..entry }, from, None, read);
    }
}

/// When a row begins, where it is ever the last whose condition holds; the first counts also where none does.
fn begins(own: Condition, later: &[Condition], first: bool) -> Option<Condition> {
    let own = match own {
        Condition::Hours if !first => return None,
        Condition::Always | Condition::From(_) | Condition::Hours if first => Condition::Always,
        Condition::Always | Condition::From(_) | Condition::Hours => own,
    };
    let hides = |later: &Condition| match (later, own) {
        (Condition::Always, _) => true,
        (Condition::From(later), Condition::From(from)) => *later <= from,
        (Condition::From(_) | Condition::Hours, _) => false,
    };
    (!later.iter().any(hides)).then_some(own)
}

fn condition(row: &Value<'_>) -> Result<Condition, Reason> {
    let Some(constraint) = row.get("constraint") else {
        return Ok(Condition::Always);
    };
    if constraint.get("start_time").is_some() {
        return Ok(Condition::Hours);
    }
    let date = constraint.get("start_date").and_then(Value::text).and_then(|date| date.parse::<Date>().ok());
    let begins = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let unknown = || Reason::Shape("a price has a condition that is neither a date nor hours".into());
    begins.map(|midnight| Condition::From(midnight.timestamp())).ok_or_else(unknown)
}

fn offer(prices: &Value<'_>, model: &Value<'_>, hours: Hours) -> Result<Option<Offer>, Reason> {
    let cells = cells(prices)?;
    if cells.iter().all(|c| c.figures.get(Kind::Input).is_none() && c.figures.get(Kind::Output).is_none()) {
        return Ok(None);
    }
    let mut offer = Offer { hours, ..Offer::new(Currency::Usd, cells) };
    if let Some(fee) = prices.get("requests_kcount").and_then(Value::number) {
        let fee = exact(fee, PER_THOUSAND).map_err(|wrong| Reason::figure("requests_kcount", fee, wrong))?;
        offer.per_request = (fee > 0).then_some(fee);
    }
    let variants = model.get("price_variants").map(Value::items).unwrap_or_default();
    // Of several batch prices it depends on the day which one holds: that is not said here.
    if let [batch] = variants.iter().filter(|variant| is_batch(variant)).collect::<Vec<_>>().as_slice() {
        offer.batch = batch.get("prices").map(self::cells).transpose()?.unwrap_or_default();
        match condition(batch)? {
            Condition::Always => {}
            Condition::From(from) => offer.batch_from = Some(from),
            Condition::Hours => offer.batch.clear(),
        }
    }
    Ok(Some(offer))
}

/// Whether a variant is the batch price and nothing narrower.
fn is_batch(variant: &Value<'_>) -> bool {
    let when = variant.get("when").map(Value::members).unwrap_or_default();
    matches!(when, [(name, Value::Text(text))] if name == "processing" && text == "batch")
}

fn cells(prices: &Value<'_>) -> Result<Vec<Cell>, Reason> {
    let mut said = Vec::new();
    for (name, kind) in MEMBERS {
        let Some(value) = prices.get(name) else { continue };
        said.push(one(name, kind, 0, if let Value::Table(_) = value { value.get("base") } else { Some(value) })?);
        for tier in value.get("tiers").map(Value::items).unwrap_or_default() {
            let start = tier.get("start").and_then(Value::number).unwrap_or_default();
            let above = exact(start, 0).map_err(|wrong| Reason::figure("tiers.start", start, wrong))?;
            said.push(one(name, kind, above, tier.get("price"))?);
        }
    }
    Ok(steps::by_figure(&said.into_iter().flatten().collect::<Vec<_>>()))
}

fn one(name: &str, kind: Kind, above: u64, value: Option<&Value<'_>>) -> Result<Option<Said>, Reason> {
    let text = value.and_then(Value::number).ok_or_else(|| Reason::Shape(format!("{name} is no price")))?;
    Said::read(kind, above, (name, text), PER_MILLION)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, fixture};
    use super::super::{Format, decode};

    #[test]
    fn the_fixture_is_read_entry_by_entry() {
        check(Format::GenaiPrices, "genai_prices.json");
    }

    #[test]
    fn what_is_no_list_of_providers_is_refused_whole() {
        let whole = fixture("genai_prices.json");
        for bad in ["", "{}", "[", &whole[..whole.len() - 3]] {
            assert!(decode(Format::GenaiPrices, bad.as_bytes()).is_err(), "{bad:.40}");
        }
    }
}
