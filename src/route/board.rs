//! The table as a decision first looks at it: what each backend can do, how much fits, and between which bounds the price
//! of a token lies, in few bytes a row and in one piece of memory. With it most of a large table is refused, and most
//! of the rest known to be too dear, without following a pointer; only who may be among the first is quoted in exact money
//! ([`sieve`](super::sieve)).
//!
//! A board is made for an instant and holds until the next step: a price row that begins or ends, an exchange rate of
//! another day. Hours of calendars are no steps, since the bounds are over all hours of a row. It is read by many and
//! changed by nobody; who needs a later one makes it and puts it in its place.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::screen::Screen;
use crate::canonical::{Features, Form, Manner, SchemaBy, Shape, Shapes};
use crate::catalog::{Backend, BackendIndex, Dimensions, Limits, PriceRow, ProviderIndex, Reasoning, Snapshot, TokenizerFamily};
use crate::units::{Amount, Bounds, Cell, Currency, ExchangeRate, Sheet, Tariff, TokenPrice, Tokens, Usd};

/// Every backend of a table at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// From this instant on, and until just before the other.
    holds: (Timestamp, Timestamp),
    /// By [`BackendIndex`].
    rows: Vec<Row>,
    /// The same, as a decision goes over them.
    screens: Vec<Screen>,
    /// All of them in the order of their ids.
    by_id: Vec<BackendIndex>,
    /// By the currency's discriminant.
    rates: [Option<ExchangeRate>; Currency::ALL.len()],
}

/// One backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct Row {
    pub index: BackendIndex,
    pub provider: ProviderIndex,
    /// Its place among all ids, sorted.
    pub by_id: u32,
    /// What it can be asked in.
    pub shapes: Shapes,
    /// One of these is Messages, and knows no forms of answers beside a chat that does.
    pub formless: bool,
    /// Its chat refuses tools while it thinks, and its Responses take them.
    pub tools_apart: bool,
    /// How it is made to answer by a schema.
    pub schema_by: SchemaBy,
    /// Of its vectors.
    pub dimensions: Option<Dimensions>,
    pub features: Features,
    pub reasoning: Reasoning,
    pub tokenizer: TokenizerFamily,
    pub quality: Option<u8>,
    pub speaks_chinese: bool,
    pub has_quotas: bool,
    pub limits: Limits,
    pub price: Price,
}

/// What is known of a backend's price at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// None is in force.
    Unlisted,
    /// It is in a currency for which there is no exchange rate.
    Unconverted(Currency),
    Bounded(PriceBounds),
}

/// Bounds of what a request costs, from the tokens it is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceBounds {
    /// The longest input that is priced.
    pub priced_input: Tokens,
    /// No bound says enough: short answers have another price, or some requests none.
    pub loose: bool,
    pub least: Rates,
    pub most: Rates,
}

impl PriceBounds {
    /// Of a price that bounds nothing.
    pub(super) const NONE: Self = Self { priced_input: Tokens::ZERO, loose: true, least: Rates::FREE, most: Rates::FREE };
}

/// Prices in 10⁻¹² dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// A token of input that no cache has: the least with what it may be written for, the most without.
    pub input: u64,
    /// A token of input, wherever it is read from and written to.
    pub cached: u64,
    pub output: u64,
    pub request: u64,
}

impl Rates {
    const FREE: Self = Self { input: 0, cached: 0, output: 0, request: 0 };

    /// What a request costs whose prompt is cached nowhere.
    pub const fn cold(&self, input: Tokens, output: Tokens) -> u64 {
        self.sum(self.input, input, output)
    }

    /// What it costs wherever its prompt is read from.
    pub const fn warm(&self, input: Tokens, output: Tokens) -> u64 {
        self.sum(self.cached, input, output)
    }

    /// A request that uses nothing is not billed, whatever its fee.
    const fn sum(&self, each: u64, input: Tokens, output: Tokens) -> u64 {
        let request = if input.get() == 0 && output.get() == 0 { 0 } else { self.request };
        let (input, output) = (input.get().saturating_mul(each), output.get().saturating_mul(self.output));
        input.saturating_add(output).saturating_add(request)
    }
}

impl Default for Board {
    /// One that holds at no instant.
    fn default() -> Self {
        Self {
            holds: (Timestamp::MAX, Timestamp::MIN),
            rows: Vec::new(),
            screens: Vec::new(),
            by_id: Vec::new(),
            rates: [None; Currency::ALL.len()],
        }
    }
}

impl Board {
    /// Looks at a table at an instant.
    pub fn of(snapshot: &Snapshot, at: Timestamp) -> Self {
        let rates = Currency::ALL.map(|currency| snapshot.fx.at(currency, at));
        let mut by_id: Vec<&Backend> = snapshot.backends().iter().collect();
        by_id.sort_unstable_by_key(|backend| backend.id.as_str());
        let mut rows: Vec<Row> = snapshot.backends().iter().map(|backend| Row::of(backend, snapshot, at, &rates)).collect();
        for (backend, place) in by_id.iter().zip(0..) {
            rows[backend.index.0 as usize].by_id = place;
        }
        let by_id = by_id.into_iter().map(|backend| backend.index).collect();
        let screens = rows.iter().map(Screen::of).collect();
        Self { holds: (at, next_step(snapshot, at)), rows, screens, by_id, rates }
    }

    /// Whether it is that of a table at an instant, as far as that is seen.
    pub fn is_of(&self, snapshot: &Snapshot, at: Timestamp) -> bool {
        self.holds_at(at) && self.rows.len() == snapshot.backends().len()
    }

    /// Whether it tells the truth at an instant.
    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.holds.0 <= at && at < self.holds.1
    }

    pub fn row(&self, BackendIndex(n): BackendIndex) -> &Row {
        &self.rows[n as usize]
    }

    pub(super) fn screen(&self, BackendIndex(n): BackendIndex) -> &Screen {
        &self.screens[n as usize]
    }

    /// The row at a place among all ids.
    pub fn by_id(&self, place: usize) -> &Row {
        self.row(self.by_id[place])
    }

    /// The exchange rate of a currency.
    pub const fn rate(&self, currency: Currency) -> Option<ExchangeRate> {
        self.rates[currency as usize]
    }
}

/// The board that holds, kept until it holds no longer. Reading takes no lock: who looks after a step makes the next one, and
/// nobody waits for another to make it.
#[derive(Debug, Default)]
pub struct BoardInForce(ArcSwap<Board>);

impl BoardInForce {
    /// That of a table, always the same one, at an instant.
    pub fn at(&self, snapshot: &Snapshot, at: Timestamp) -> Arc<Board> {
        let board = self.0.load_full();
        if board.holds_at(at) {
            return board;
        }
        let other = Arc::new(Board::of(snapshot, at));
        // A request that comes late does not put an older one in the place of a newer.
        if board.holds.0 < at || board.rows.is_empty() {
            self.0.store(Arc::clone(&other));
        }
        other
    }
}

/// The first instant after another at which a price row begins or ends, or another exchange rate is published.
fn next_step(snapshot: &Snapshot, at: Timestamp) -> Timestamp {
    let prices = snapshot.backends().iter().filter_map(|backend| backend.prices.next_step(at, Timestamp::MAX));
    prices.chain(snapshot.fx.next_step(at)).min().unwrap_or(Timestamp::MAX)
}

impl Row {
    /// Whether a request that asks so goes out in other words than the client's: its provider has no endpoint for its shape, or one
    /// that does not know its form, or refuses its tools, or the form is asked for by hand.
    pub fn rewords(&self, manner: Manner) -> bool {
        let Manner { shape, form, tools, thinks: _ } = manner;
        if shape == Shape::OpenAiChat && tools && self.tools_apart {
            return true;
        }
        let by_hand = || form == Form::Schema && self.schema_by != SchemaBy::Native;
        let formless = || self.formless && shape == Shape::AnthropicMessages;
        !self.shapes.contains(shape) || form != Form::Text && (by_hand() || formless())
    }

    fn of(backend: &Backend, snapshot: &Snapshot, at: Timestamp, rates: &[Option<ExchangeRate>]) -> Self {
        let languages = &backend.languages;
        Self {
            index: backend.index,
            provider: backend.provider,
            by_id: 0,
            shapes: snapshot.shapes_of(backend),
            formless: snapshot.provider_of(backend).is_formless(),
            tools_apart: !backend.steering.chat_tools && snapshot.shapes_of(backend).contains(Shape::OpenAiResponses),
            schema_by: backend.schema_by,
            dimensions: backend.dimensions,
            features: backend.features,
            reasoning: backend.reasoning,
            tokenizer: backend.tokenizer,
            quality: backend.quality.score,
            // A table row that names no language says nothing against any.
            speaks_chinese: languages.is_empty() || languages.contains("zh") || languages.contains("*"),
            has_quotas: !backend.quotas.is_empty(),
            limits: backend.limits,
            price: backend.prices.at(at).map_or(Price::Unlisted, |row| {
                // How many tokens images and sound come to is the model's to say, which no bound by the request's sizes knows.
                Price::of(row, rates, backend.serves.is_some_and(|direct| direct.shape.is_media()))
            }),
        }
    }
}

impl Price {
    fn of(row: &PriceRow, rates: &[Option<ExchangeRate>], media: bool) -> Self {
        let currency = row.currency();
        let Some(rate) = rates[currency as usize] else { return Price::Unconverted(currency) };
        let sheets = || row.sheets.iter().map(|sheet| &**sheet);
        let tariffs = || sheets().flat_map(Sheet::cells).map(|cell| &cell.tariff);
        let least =
            |price: fn(&Tariff) -> TokenPrice| floor(tariffs().map(price).min().unwrap_or(TokenPrice::FREE), currency, rate);
        let most =
            |price: fn(&Tariff) -> TokenPrice| ceiling(tariffs().map(price).max().unwrap_or(TokenPrice::FREE), currency, rate);
        let fees = || sheets().map(|sheet| TokenPrice::from_pico(sheet.per_request()));
        let dearest = sheets().map(|sheet| TokenPrice::from_pico(sheet.per_request().saturating_add(sheet.minimum()))).max();
        Price::Bounded(PriceBounds {
            priced_input: row.list().priced_input(),
            loose: media || sheets().any(is_loose),
            least: Rates {
                input: least(|tariff| tariff.input.min(tariff.cache_write)),
                cached: least(|tariff| tariff.input.min(tariff.cache_write).min(tariff.cache_read)),
                output: least(|tariff| tariff.output.min(tariff.reasoning)),
                request: floor(fees().min().unwrap_or(TokenPrice::FREE), currency, rate),
            },
            most: Rates {
                input: most(|tariff| tariff.input),
                cached: most(|tariff| tariff.input.max(tariff.cache_write).max(tariff.cache_read)),
                output: most(|tariff| tariff.output.max(tariff.reasoning)),
                request: ceiling(dearest.unwrap_or(TokenPrice::FREE), currency, rate),
            },
        })
    }
}

/// In dollars, not above the truth. A conversion rounds by half of a unit at most.
fn floor(price: TokenPrice, currency: Currency, rate: ExchangeRate) -> u64 {
    let pico = in_dollars(price, currency, rate);
    u64::try_from(if rate == ExchangeRate::USD { pico } else { pico - 1 }).unwrap_or(0)
}

/// In dollars, not below the truth.
fn ceiling(price: TokenPrice, currency: Currency, rate: ExchangeRate) -> u64 {
    let pico = in_dollars(price, currency, rate);
    u64::try_from(if rate == ExchangeRate::USD || price == TokenPrice::FREE { pico } else { pico + 1 }).unwrap_or(u64::MAX)
}

fn in_dollars(price: TokenPrice, currency: Currency, rate: ExchangeRate) -> i128 {
    rate.convert(Amount::from_pico(price.pico().into(), currency)).unwrap_or(Usd::ZERO).pico()
}

/// Whether prices differ by the length of the answer or go by the piece, or some request within what is priced has no cell.
fn is_loose(sheet: &Sheet) -> bool {
    let cells = sheet.cells();
    let lengths = |side: fn(&Cell) -> Bounds| {
        let mut lengths: Vec<u64> =
            cells.iter().map(side).flat_map(|edge| [edge.above, edge.above.saturating_add(1), edge.to]).collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    };
    let (inputs, outputs) = (lengths(|cell| cell.input), lengths(|cell| cell.output));
    let within = |tokens: &&u64| Tokens::new(**tokens) <= sheet.priced_input();
    let listed = |input: u64, output: u64| {
        [false, true].into_iter().all(|thinking| sheet.cell(Tokens::new(input), Tokens::new(output), thinking).is_some())
    };
    let holes = || inputs.iter().filter(within).any(|input| outputs.iter().any(|output| !listed(*input, *output)));
    cells.iter().any(|cell| cell.output != Bounds::ALL) || sheet.has_pieces() || holes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{Extent, Usage};

    fn tariff(currency: Currency) -> impl Strategy<Value = Tariff> {
        let price = || prop_oneof![1 => Just(0_u64), 4 => 1_u64..20, 8 => 1_u64..90_000_000];
        (price(), price(), price(), price(), price()).prop_map(move |prices| {
            let [input, cache_read, cache_write, output, reasoning] = <[u64; 5]>::from(prices).map(TokenPrice::from_pico);
            Tariff { cache_read, cache_write, reasoning, ..Tariff::flat(currency, input, output) }
        })
    }

    /// Up to three cells over the length of the input, without holes, with a fee and a minimum.
    fn sheet() -> impl Strategy<Value = Sheet> {
        let currency = prop_oneof![Just(Currency::Usd), Just(Currency::Cny)];
        currency.prop_flat_map(|currency| {
            let charge = || prop_oneof![Just(0_u64), 1_u64..50_000_000_000];
            (prop::collection::vec(tariff(currency), 1..4), any::<bool>(), charge(), charge()).prop_map(
                |(tariffs, by_parts, fee, minimum)| {
                    let last = tariffs.len() - 1;
                    let edge = |n: usize| if n > last { u64::MAX } else { n as u64 * 1_000 };
                    let cells = tariffs
                        .into_iter()
                        .enumerate()
                        .map(|(n, tariff)| Cell { input: Bounds { above: edge(n), to: edge(n + 1) }, ..Cell::any(tariff) });
                    let extent = if by_parts { Extent::Part } else { Extent::Whole };
                    Sheet::new(cells.collect(), extent, fee, minimum).unwrap()
                },
            )
        })
    }

    fn usage() -> impl Strategy<Value = Usage> {
        let tokens = || prop_oneof![2 => Just(0_u64), 3 => 0_u64..5_000, 1 => 0_u64..2_000_000];
        (tokens(), tokens(), tokens(), tokens(), tokens()).prop_map(|(fresh, read, written, output, reasoning)| {
            let [fresh_input, cache_read, cache_write, output] = [fresh, read, written, output].map(Tokens::new);
            Usage {
                fresh_input,
                cache_read,
                cache_write,
                output,
                reasoning: Tokens::new(reasoning).min(output),
                ..Usage::default()
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_a_request_costs_lies_within_the_bounds(sheet in sheet(), usage in usage(), micros in 100_000_u32..20_000_000) {
            let yuan = ExchangeRate::parse(Currency::Cny, &format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)).unwrap();
            let rates = Currency::ALL.map(|currency| match currency {
                Currency::Usd => Some(ExchangeRate::USD),
                Currency::Cny => Some(yuan),
                Currency::Eur => None,
            });
            let cost = sheet.cost(&usage, false).amount;
            let cost = rates[sheet.currency() as usize].and_then(|rate| rate.convert(cost)).unwrap();
            let row = PriceRow { sheets: vec![Arc::new(sheet)], ..PriceRow::free("a price".into()) };
            let Price::Bounded(bounds) = Price::of(&row, &rates, false) else { panic!("it has a price and a rate") };
            prop_assert!(!bounds.loose);
            let usd = |pico: u64| Usd::from_pico(pico.into());
            let (input, output) = (usage.input(), usage.output);
            prop_assert!(usd(bounds.least.warm(input, output)) <= cost && cost <= usd(bounds.most.warm(input, output)));
            if usage.cache_read == Tokens::ZERO {
                prop_assert!(usd(bounds.least.cold(input, output)) <= cost, "cold");
            }
            if usage.cache_read + usage.cache_write == Tokens::ZERO {
                prop_assert!(cost <= usd(bounds.most.cold(input, output)), "cold, and nothing is written");
            }
        }
    }
}
