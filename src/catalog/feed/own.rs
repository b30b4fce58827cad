//! Our own list: rows `prices`, each with a provider, a model and the members that a price row of the table has, in TOML or
//! JSON. It is what `prices export` writes, and what an operator's own tool may serve as a feed. Unlike the table it is read
//! leniently: a member that is not known is passed over, a row that is wrong is refused by itself.

use jiff::Timestamp;

use super::Unreadable;
use super::decimal::{PER_MILLION, PER_TOKEN, exact};
use super::json::{self, Items, MOST_ENTRIES, Members, Value};
use super::proposal::{Bounds, Cell, Entry, Figures, Hours, Kind, Offer, Reading};
use super::reason::Reason;
use crate::units::{Currency, TokenPrice};

pub(super) fn read_json(text: &str) -> Result<Reading, Unreadable> {
    let unreadable = |e: String| Unreadable(format!("not a list of prices: {e}"));
    let document: Members = json::read(text).map_err(unreadable)?;
    let rows = document.get("prices").ok_or_else(|| unreadable("it has no prices".into()))?;
    let rows: Items = json::read(rows.get()).map_err(unreadable)?;
    let mut reading = Reading::default();
    for (n, raw) in rows.0.iter().enumerate() {
        match json::value(raw) {
            Ok(row) => take(&mut reading, n, &row),
            Err(wrong) => {
                let entry = Entry { provider: "", model: "", place: &format!("prices[{n}]") };
                reading.refuse(entry, Reason::Shape(wrong));
            }
        }
    }
    Ok(reading)
}

pub(super) fn read_toml(text: &str) -> Result<Reading, Unreadable> {
    let unreadable = |e: String| Unreadable(format!("not a list of prices: {e}"));
    let document = Value::from_toml(text).map_err(unreadable)?;
    let rows = match document.get("prices") {
        Some(Value::List(rows)) if rows.len() <= MOST_ENTRIES => rows,
        Some(Value::List(_)) => return Err(unreadable(format!("more than {MOST_ENTRIES} rows"))),
        _ => return Err(unreadable("it has no rows [[prices]]".into())),
    };
    let mut reading = Reading::default();
    for (n, row) in rows.iter().enumerate() {
        take(&mut reading, n, row);
    }
    Ok(reading)
}

fn take(reading: &mut Reading, n: usize, row: &Value<'_>) {
    let place = format!("prices[{n}]");
    let text = |name| row.get(name).and_then(Value::text).unwrap_or_default();
    let entry = Entry { provider: text("provider"), model: text("model"), place: &place };
    let dates = instant(row, "from").and_then(|from| Ok((from, instant(row, "until")?)));
    match dates {
        Ok((Some(from), Some(until))) if until <= from => {
            reading.refuse(entry, Reason::Shape("the price ends before it begins".into()));
        }
        Ok((from, until)) => reading.take_dated(entry, from, until, offer(row).map(Some)),
        Err(reason) => reading.refuse(entry, reason),
    }
}

fn offer(row: &Value<'_>) -> Result<Offer, Reason> {
    let currency = row.get("currency").and_then(Value::text).unwrap_or("USD");
    let currency: Currency = currency.parse().map_err(|()| {
        let known = Currency::ALL.map(Currency::code).join(", ");
        Reason::Shape(format!("currency {:?} is not known; accepted: {known}", super::proposal::clip(currency)))
    })?;
    let hours = match row.get("calendar").and_then(Value::text) {
        Some(name) => Hours::Calendar(super::proposal::clip(name)),
        None => Hours::Same,
    };
    let marginal = match row.get("tiers").and_then(Value::text) {
        None => None,
        Some("whole") => Some(false),
        Some("marginal") => Some(true),
        Some(_) => return Err(Reason::Shape("tiers is neither \"whole\" nor \"marginal\"".into())),
    };
    let free = row.get("free").and_then(Value::truth).unwrap_or(false);
    let all = if free { vec![Cell::default()] } else { cells(row)? };
    Ok(Offer {
        batch: row.get("batch").map(cells).transpose()?.unwrap_or_default(),
        marginal,
        hours,
        free,
        per_request: money(row, "per_request")?,
        minimum: money(row, "minimum")?,
        ..Offer::new(currency, all)
    })
}

fn cells(row: &Value<'_>) -> Result<Vec<Cell>, Reason> {
    let Some(listed) = row.get("cells") else {
        return Ok(vec![Cell { bounds: Bounds::ALL, figures: figures(row)? }]);
    };
    let cells: Vec<Cell> = listed.items().iter().map(cell).collect::<Result<_, _>>()?;
    if cells.is_empty() { Err(Reason::Shape("cells is no list of cells".into())) } else { Ok(cells) }
}

fn cell(cell: &Value<'_>) -> Result<Cell, Reason> {
    let tokens = |name: &str| match cell.get(name).map(|value| value.number().unwrap_or("no number")) {
        None => Ok(None),
        Some(text) => exact(text, 0).map(Some).map_err(|wrong| Reason::figure(name, text, wrong)),
    };
    let bounds = Bounds {
        output_above: tokens("output_above")?.filter(|above| *above > 0),
        output_to: tokens("output_to")?,
        thinking: cell.get("thinking").and_then(Value::truth),
        ..Bounds::input(tokens("input_above")?, tokens("input_to")?)
    };
    Ok(Cell { bounds, figures: figures(cell)? })
}

/// Here a zero is said on purpose: the row is ours.
fn figures(row: &Value<'_>) -> Result<Figures, Reason> {
    let mut figures = Figures::default();
    for kind in Kind::ALL {
        let Some(value) = row.get(kind.word()) else { continue };
        let text = value.number().ok_or_else(|| Reason::Shape(format!("{} is no number", kind.word())))?;
        let price = exact(text, PER_MILLION).map_err(|wrong| Reason::figure(kind.word(), text, wrong))?;
        figures.set(kind, TokenPrice::from_pico(price));
    }
    Ok(figures)
}

fn money(row: &Value<'_>, name: &str) -> Result<Option<u64>, Reason> {
    let Some(text) = row.get(name).map(|value| value.number().unwrap_or("no number")) else {
        return Ok(None);
    };
    let money = exact(text, PER_TOKEN).map_err(|wrong| Reason::figure(name, text, wrong))?;
    Ok((money > 0).then_some(money))
}

fn instant(row: &Value<'_>, name: &str) -> Result<Option<Timestamp>, Reason> {
    let Some(value) = row.get(name) else {
        return Ok(None);
    };
    let instant = value.text().and_then(|text| text.parse().ok());
    instant.map(Some).ok_or_else(|| Reason::Shape(format!("{name} is no instant with its offset")))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, fixture, shown};
    use super::super::{Format, decode};

    #[test]
    fn both_spellings_are_read_alike_row_by_row() {
        check(Format::Toml, "own.toml");
        let toml = shown(&decode(Format::Toml, fixture("own.toml").as_bytes()).unwrap());
        let json = shown(&decode(Format::Json, fixture("own.json").as_bytes()).unwrap());
        assert_eq!(toml, json);
    }

    #[test]
    fn what_is_no_list_of_prices_is_refused_whole() {
        for bad in ["", "prices = 1", "[prices]", "[[prices]]\nprovider = \"p", "[[price]]"] {
            assert!(decode(Format::Toml, bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in ["", "{}", "[]", "{\"prices\": 1}"] {
            assert!(decode(Format::Json, bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
