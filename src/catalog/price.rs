//! Dated prices. A schedule is a list of rows, each in force from an instant (and perhaps until one); within a row a
//! calendar may make some hours dearer or cheaper, and its cells tell requests apart by length and thinking. So the price
//! of any backend at any instant follows from it, and what a request may be billed at until it ends: its [`Pricing`].

use std::sync::Arc;

use jiff::Timestamp;

use super::calendar::{Calendar, FactorIndex, Outlook};
use crate::units::{BilledAt, Currency, ImageKind, ImageWish, Pricing, Sheet, Span, Tariff, Tokens};

/// Prices, when they are in force and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    /// Names the row in the books: the model's id and when the row began.
    pub id: Arc<str>,
    /// In force from here; `None` for "as far back as we know".
    pub from: Option<Timestamp>,
    /// In force until just before here.
    pub until: Option<Timestamp>,
    /// Document and date the prices were taken from.
    pub source: String,
    /// Which instant of a request decides about window and row.
    pub billed_at: BilledAt,
    /// The hours at which the price is another.
    pub calendar: Option<Arc<Calendar>>,
    /// Prices by the factors of the calendar; the first are the list's. At least one. Where prices go by what an image is, those of the
    /// dearest.
    pub sheets: Vec<Arc<Sheet>>,
    /// Prices by what an image is, where they go by that.
    pub images: ImagePrices,
    /// Prices of requests that the vendor answers when it has time, by the same factors; empty where it sells none.
    pub batch: Vec<Arc<Sheet>>,
}

impl PriceRow {
    /// One price at all hours.
    pub fn flat(id: Arc<str>, tariff: Tariff, source: impl Into<String>) -> Self {
        Self {
            id,
            from: None,
            until: None,
            source: source.into(),
            billed_at: BilledAt::Arrival,
            calendar: None,
            sheets: vec![Arc::new(Sheet::flat(tariff))],
            images: ImagePrices::default(),
            batch: Vec::new(),
        }
    }

    /// A row that costs nothing. In dollars, so that it needs no exchange rate.
    pub fn free(id: Arc<str>) -> Self {
        Self::flat(id, Tariff::free(Currency::Usd), "marked free by the operator")
    }

    pub fn currency(&self) -> Currency {
        self.list().currency()
    }

    /// The prices as they are listed, outside of all windows.
    pub fn list(&self) -> &Sheet {
        &self.sheets[0]
    }

    /// The prices by one factor of the calendar.
    pub fn sheet(&self, factor: FactorIndex) -> &Arc<Sheet> {
        self.sheets.get(usize::from(factor)).unwrap_or(&self.sheets[0])
    }

    /// The prices at an instant in which the row is in force.
    pub fn sheet_at(&self, instant: Timestamp) -> &Arc<Sheet> {
        self.sheet(self.calendar.as_ref().map_or(0, |calendar| calendar.at(instant).factor))
    }

    /// The prices of images that are wished so: in the place of the row's, where they go by that.
    pub fn image(&self, wish: ImageWish) -> Option<ImagePoint> {
        self.images.of(wish)
    }

    /// The prices of such images by one factor of the calendar.
    pub fn sheet_of(&self, image: ImagePoint, factor: FactorIndex) -> &Arc<Sheet> {
        let sheets = self.sheets_of(image);
        sheets.get(usize::from(factor)).unwrap_or(&sheets[0])
    }

    fn sheets_of(&self, image: ImagePoint) -> &[Arc<Sheet>] {
        let apart = image.0.checked_sub(1).and_then(|place| self.images.all.get(usize::from(place)));
        apart.map_or(&self.sheets, |apart| &apart.sheets)
    }

    fn in_force(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }
}

/// Prices of images that go by what an image is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImagePrices {
    /// No image is of two of them. Empty where prices do not go by that.
    pub all: Vec<ImagePrice>,
    /// What an image is that a request says nothing of, where that is known.
    pub unsaid: ImageKind,
}

/// Prices of one kind of image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePrice {
    pub kind: ImageKind,
    /// By the factors of the calendar, as those of its row. At least one.
    pub sheets: Vec<Arc<Sheet>>,
}

impl ImagePrices {
    /// The dearest that an image may be that is wished so: what a vendor chooses is told too late. `None` where no price is for it.
    fn of(&self, wish: ImageWish) -> Option<ImagePoint> {
        if self.all.is_empty() {
            return Some(ImagePoint::default());
        }
        let wish = wish.or(self.unsaid);
        let dearness = |price: &ImagePrice| price.sheets.iter().map(|sheet| sheet.dearest_piece()).max();
        let may_be = (1_u8..).zip(&self.all).filter(|(_, price)| price.kind.may_be(wish));
        may_be.max_by_key(|(_, price)| dearness(price)).map(|(place, _)| ImagePoint(place))
    }
}

/// Prices of a row for images of one kind; by default the row's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImagePoint(u8);

/// How a request is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purchase {
    /// As it comes; what it wishes of images decides where prices go by that.
    Usual(ImageWish),
    /// Answered when the vendor has time, for less.
    Batch,
}

impl Default for Purchase {
    fn default() -> Self {
        Purchase::Usual(ImageWish::default())
    }
}

/// Some prices of a schedule: a row, and the hours of its calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PricePoint {
    /// The row's place.
    pub row: u32,
    pub factor: FactorIndex,
    /// Of what images.
    pub image: ImagePoint,
}

/// All price rows of one backend, past, present and announced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriceSchedule {
    rows: Vec<PriceRow>,
    output_borders: Box<[Tokens]>,
}

impl PriceSchedule {
    pub fn new(mut rows: Vec<PriceRow>) -> Self {
        rows.sort_by_key(|row| row.from);
        let sheets = rows.iter().flat_map(|row| &row.sheets);
        let mut borders: Vec<Tokens> = sheets.flat_map(|sheet| sheet.output_borders()).collect();
        borders.sort_unstable();
        borders.dedup();
        Self { rows, output_borders: borders.into() }
    }

    /// Where one of its prices is another for longer answers: each border is the last length of what is shorter. None of a
    /// backend whose price does not go by the answer's length.
    pub fn output_borders(&self) -> &[Tokens] {
        &self.output_borders
    }

    /// The row in force at an instant: of several, the one that began last. `None`: no price, so not to be used.
    pub fn at(&self, instant: Timestamp) -> Option<&PriceRow> {
        self.place_at(instant).map(|place| &self.rows[place])
    }

    /// The same by its place among the rows.
    pub fn place_at(&self, instant: Timestamp) -> Option<usize> {
        self.rows.iter().rposition(|row| row.in_force(instant))
    }

    /// All rows, the oldest first.
    pub fn rows(&self) -> &[PriceRow] {
        &self.rows
    }

    /// The row of a point of this schedule, and its sheet in those hours.
    pub fn point(&self, point: PricePoint) -> Option<(&PriceRow, &Sheet)> {
        let row = self.rows.get(usize::try_from(point.row).ok()?)?;
        Some((row, row.sheet_of(point.image, point.factor)))
    }

    /// The first instant after `from`, until `until` (inclusive), at which a row begins or ends.
    pub fn next_step(&self, from: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let edges = self.rows.iter().flat_map(|row| [row.from, row.until]).flatten();
        edges.filter(|edge| *edge > from && *edge <= until).min()
    }

    /// What a request may be billed at that arrives at one instant and is complete until another. `None` where no price is
    /// in force when it arrives, or it is not sold so.
    pub fn pricing(&self, purchase: Purchase, arrives: Timestamp, until: Timestamp) -> Option<Pricing> {
        let first = self.at(arrives)?;
        let until = if first.billed_at == BilledAt::Arrival { arrives } else { until };
        let mut spans: Vec<Span> = Vec::new();
        let (mut row, mut from) = (first, arrives);
        loop {
            let step = self.next_step(from, until);
            add_spans(&mut spans, row, purchase, from, step.unwrap_or(until))?;
            let Some(next) = step else { break };
            from = next;
            // Where nothing is in force any more, or the next price is in another currency, the last one goes on.
            row = self.at(next).filter(|next| next.currency() == first.currency()).unwrap_or(row);
        }
        if let Some(last) = spans.last_mut() {
            last.until = None;
        }
        Pricing::new(first.billed_at, spans)
    }
}

/// Adds what a row says of a time; `until` is the end of the last span that begins in it.
fn add_spans(spans: &mut Vec<Span>, row: &PriceRow, purchase: Purchase, from: Timestamp, until: Timestamp) -> Option<()> {
    let sheets = match purchase {
        Purchase::Usual(image) => row.sheets_of(row.image(image)?),
        Purchase::Batch => &row.batch,
    };
    let outlook = match &row.calendar {
        Some(calendar) => calendar.outlook(from, until),
        None => Outlook::default(),
    };
    let begins = std::iter::once((from, outlook.now)).chain(outlook.changes);
    for (begin, hour) in begins {
        let sheet = sheets.get(usize::from(hour.factor)).or(sheets.first())?;
        // A window that opens as a row ends was never that row's.
        if spans.len() >= 2 && spans[spans.len() - 2].until == Some(begin) {
            spans.pop();
        }
        match spans.last_mut() {
            Some(last) if last.sheet == *sheet && last.price == row.id => {}
            last => {
                if let Some(last) = last {
                    last.until = Some(begin);
                }
                spans.push(Span { until: None, price: Arc::clone(&row.id), sheet: Arc::clone(sheet) });
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::units::{Course, Factor, Thinking, TokenPrice, Tokens, Usage};

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    fn row(from: Option<i64>, until: Option<i64>, input: &str) -> PriceRow {
        let price = TokenPrice::per_million(input).unwrap();
        let tariff = Tariff::flat(Currency::Usd, price, price);
        PriceRow { from: from.map(at), until: until.map(at), ..PriceRow::flat(input.into(), tariff, "test") }
    }

    fn check(rows: Vec<PriceRow>, instant: i64, expected: Option<&str>) {
        let schedule = PriceSchedule::new(rows);
        let found = schedule.at(at(instant)).map(|r| r.list().cells()[0].tariff.input.to_per_million());
        assert_eq!(found.as_deref(), expected, "at {instant}");
    }

    #[test]
    fn the_row_in_force_is_the_one_that_began_last() {
        let rows = || vec![row(Some(100), None, "2"), row(None, None, "1"), row(Some(200), Some(300), "3")];
        check(rows(), 99, Some("1"));
        check(rows(), 100, Some("2"));
        check(rows(), 299, Some("3"));
        check(rows(), 300, Some("2"));
        check(vec![row(Some(100), None, "2")], 99, None);
    }

    /// What one token costs, in 10⁻⁶ dollars, of a request that arrives at 150 and is complete at the instant.
    fn billed(rows: &[PriceRow], completed: i64) -> Option<i128> {
        let pricing = PriceSchedule::new(rows.to_vec()).pricing(Purchase::Usual(ImageWish::default()), at(150), at(1000))?;
        let usage = Usage::fresh(Tokens::new(1), Tokens::ZERO);
        let course = Course { arrived: at(150), completed: Some(at(completed)) };
        Some(pricing.cost(&usage, Thinking::Unsaid, course).amount.pico() / 1_000_000)
    }

    #[test]
    fn the_instant_that_counts_is_the_rows_to_say() {
        let arrival = vec![row(None, Some(200), "1"), row(Some(200), None, "2")];
        let completion: Vec<PriceRow> =
            arrival.iter().cloned().map(|row| PriceRow { billed_at: BilledAt::Completion, ..row }).collect();
        assert_eq!([199, 200].map(|end| billed(&arrival, end)), [Some(1), Some(1)]);
        assert_eq!([199, 200].map(|end| billed(&completion, end)), [Some(1), Some(2)]);
        assert_eq!(billed(&[row(Some(151), None, "1")], 200), None);
    }

    #[test]
    fn where_the_prices_end_the_last_one_goes_on() {
        let mut ending = row(None, Some(200), "1");
        ending.billed_at = BilledAt::Completion;
        assert_eq!(billed(&[ending.clone()], 300), Some(1));
        let mut yuan = row(Some(200), None, "2");
        yuan.sheets = vec![Arc::new(Sheet::flat(Tariff::free(Currency::Cny)))];
        assert_eq!(billed(&[ending, yuan], 300), Some(1));
    }

    #[test]
    fn windows_and_rows_together() {
        let twice = Factor::parse("2").unwrap();
        // The minute from 300 to 360 costs double, and from 330 another row is in force.
        let windows = vec![([true; 7], 300, 360, twice)];
        let calendar = Arc::new(Calendar::new("c".into(), TimeZone::UTC, windows, None, "test".into()));
        let with = |mut row: PriceRow| {
            row.billed_at = BilledAt::Completion;
            row.sheets.push(Arc::new(row.sheets[0].times(twice).unwrap()));
            PriceRow { calendar: Some(Arc::clone(&calendar)), ..row }
        };
        let rows = [with(row(None, None, "1")), with(row(Some(330), None, "5"))];
        assert_eq!([299, 300, 329, 330, 359, 360, 5000].map(|end| billed(&rows, end).unwrap()), [1, 2, 2, 10, 10, 5, 5]);
        assert_eq!(rows[0].sheet_at(at(300)), rows[0].sheet(1));
    }

    #[test]
    fn a_window_that_opens_as_a_row_ends_is_not_that_rows() {
        let twice = Factor::parse("2").unwrap();
        let calendar =
            Arc::new(Calendar::new("c".into(), TimeZone::UTC, vec![([true; 7], 300, 400, twice)], None, "test".into()));
        let with = |mut row: PriceRow| {
            row.billed_at = BilledAt::Completion;
            row.sheets.push(Arc::new(row.sheets[0].times(twice).unwrap()));
            PriceRow { calendar: Some(Arc::clone(&calendar)), ..row }
        };
        let rows = vec![with(row(None, None, "5")), with(row(Some(300), None, "1"))];
        let pricing = PriceSchedule::new(rows).pricing(Purchase::Usual(ImageWish::default()), at(290), at(310)).unwrap();
        let inputs: Vec<String> = pricing.spans().iter().map(|s| s.sheet.cells()[0].tariff.input.to_per_million()).collect();
        assert_eq!(inputs, ["5", "2"]);
    }

    #[test]
    fn a_batch_is_sold_only_where_it_has_a_price() {
        let mut cheaper = row(None, None, "4");
        let batch = |row: &PriceRow| PriceSchedule::new(vec![row.clone()]).pricing(Purchase::Batch, at(1), at(1)).is_some();
        assert!(!batch(&cheaper));
        cheaper.batch = cheaper.sheets.clone();
        assert!(batch(&cheaper));
    }
}
