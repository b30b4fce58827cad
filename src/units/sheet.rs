//! A price list of one hour: cells over length of the input, length of the output and thinking. Many vendors price so, and
//! some sell short answers cheaper, so which cell a request is billed at may be known only when it has ended.
//!
//! The first cell whose bounds all hold prices the whole request. Where a vendor prices by parts instead (each part of the
//! input at the price of its own cell, as income tax does), the sheet is [`Extent::Part`].

use super::money::{Amount, Currency, TokenPrice};
use super::pieces::PiecePrice;
use super::tariff::{Factor, Tariff};
use super::tokens::{Tokens, Usage};

/// A range of token counts: above one (exclusive) up to another (inclusive). From zero it holds zero as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    pub above: u64,
    pub to: u64,
}

impl Bounds {
    /// Any length.
    pub const ALL: Bounds = Bounds { above: 0, to: u64::MAX };

    /// Whether a length lies within.
    pub const fn hold(self, tokens: Tokens) -> bool {
        let count = tokens.get();
        (count > self.above || self.above == 0) && count <= self.to
    }

    /// The longest length within that is at most `most`; `None` where all of the range is longer.
    fn longest(self, most: Tokens) -> Option<Tokens> {
        let reached = self.above == 0 || most.get() > self.above;
        reached.then(|| Tokens::new(most.get().min(self.to)))
    }

    /// How much of a length lies within.
    fn share(self, tokens: u64) -> u64 {
        tokens.min(self.to).saturating_sub(self.above)
    }
}

/// Prices, and for which requests they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// All input, however it was cached.
    pub input: Bounds,
    /// All output, reasoning included.
    pub output: Bounds,
    /// For requests that thought, that did not, or for either.
    pub thinking: Option<bool>,
    pub tariff: Tariff,
}

impl Cell {
    /// One that holds for every request.
    pub const fn any(tariff: Tariff) -> Self {
        Self { input: Bounds::ALL, output: Bounds::ALL, thinking: None, tariff }
    }

    fn holds(&self, input: Tokens, output: Tokens, thinking: bool) -> bool {
        self.input.hold(input) && self.output.hold(output) && self.thinking.is_none_or(|wanted| wanted == thinking)
    }
}

/// Whether a request thinks, as far as that is known before it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Thinking {
    On,
    Off,
    /// The model decides, or the vendor's default does.
    #[default]
    Unsaid,
}

impl Thinking {
    /// Whether a request that has ended thought: as it was told to, else as its reasoning tokens say.
    pub fn of(self, usage: &Usage) -> bool {
        match self {
            Thinking::On => true,
            Thinking::Off => false,
            Thinking::Unsaid => usage.reasoning > Tokens::ZERO,
        }
    }

    /// Whether it can come out so.
    pub(super) const fn may_be(self, thinking: bool) -> bool {
        match self {
            Thinking::On => thinking,
            Thinking::Off => !thinking,
            Thinking::Unsaid => true,
        }
    }
}

/// How far the price of a cell extends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Extent {
    /// Over the whole request.
    #[default]
    Whole,
    /// Over the part of the input that lies within the cell; the output goes by the cell of the whole length.
    Part,
}

/// What a request may come to at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    pub input: Tokens,
    pub output: Tokens,
    pub thinking: Thinking,
    /// What is billed by the piece.
    pub pieces: u64,
}

/// All prices of one row in one window of the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    currency: Currency,
    /// At least one, all in the sheet's currency.
    cells: Box<[Cell]>,
    extent: Extent,
    /// A fee for each request, in 10⁻¹² units of the currency.
    per_request: u64,
    /// The least that a request costs, in 10⁻¹² units of the currency.
    minimum: u64,
}

/// What a request costs by a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priced<'s> {
    pub amount: Amount,
    /// The prices that applied; of a request priced by parts those of its last part.
    pub tariff: &'s Tariff,
    /// Whether the sheet has a cell for it. Where it has none, the dearest was charged.
    pub listed: bool,
}

impl Sheet {
    /// Joins cells. `None` without any, or where they are not in one currency.
    pub fn new(cells: Vec<Cell>, extent: Extent, per_request: u64, minimum: u64) -> Option<Self> {
        let currency = cells.first()?.tariff.currency;
        let one_currency = cells.iter().all(|cell| cell.tariff.currency == currency);
        one_currency.then(|| Self { currency, cells: cells.into(), extent, per_request, minimum })
    }

    /// One price for every request.
    pub fn flat(tariff: Tariff) -> Self {
        Self { currency: tariff.currency, cells: [Cell::any(tariff)].into(), extent: Extent::Whole, per_request: 0, minimum: 0 }
    }

    pub const fn currency(&self) -> Currency {
        self.currency
    }

    pub const fn cells(&self) -> &[Cell] {
        &self.cells
    }

    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// A fee for each request, in 10⁻¹² units of the currency.
    pub const fn per_request(&self) -> u64 {
        self.per_request
    }

    /// The least that a request costs, in 10⁻¹² units of the currency.
    pub const fn minimum(&self) -> u64 {
        self.minimum
    }

    /// The sheet of hours in which every rate is multiplied; fees and minimum stay. `None` where a rate would not be exact.
    pub fn times(&self, factor: Factor) -> Option<Self> {
        let cell = |cell: &Cell| Some(Cell { tariff: cell.tariff.times(factor)?, ..*cell });
        Some(Self { cells: self.cells.iter().map(cell).collect::<Option<_>>()?, ..self.clone() })
    }

    /// Whether anything is billed by the piece.
    pub fn has_pieces(&self) -> bool {
        self.cells.iter().any(|cell| !cell.tariff.pieces.is_free())
    }

    /// Whether tokens of the answer have a price.
    pub fn bills_output(&self) -> bool {
        self.cells.iter().any(|cell| cell.tariff.dearest_output() != TokenPrice::FREE)
    }

    /// Whether any token has a price.
    pub fn bills_tokens(&self) -> bool {
        self.bills_output() || self.cells.iter().any(|cell| cell.tariff.dearest_input() != TokenPrice::FREE)
    }

    /// The same with another price by the piece.
    #[must_use]
    pub fn with_pieces(&self, pieces: PiecePrice) -> Self {
        let cell = |cell: &Cell| Cell { tariff: Tariff { pieces, ..cell.tariff }, ..*cell };
        Self { cells: self.cells.iter().map(cell).collect(), ..self.clone() }
    }

    /// What a piece costs at most, in 10⁻¹² units of the currency.
    pub fn dearest_piece(&self) -> i128 {
        self.cells.iter().map(|cell| cell.tariff.pieces.cost(1)).max().unwrap_or(0)
    }

    /// The longest input that any cell prices.
    pub fn priced_input(&self) -> Tokens {
        Tokens::new(self.cells.iter().map(|cell| cell.input.to).max().unwrap_or(u64::MAX))
    }

    /// The lengths of the output after which another cell may hold, in no order.
    pub fn output_borders(&self) -> impl Iterator<Item = Tokens> + '_ {
        let edges = self.cells.iter().flat_map(|cell| [cell.output.above, cell.output.to]);
        edges.filter(|edge| *edge != Bounds::ALL.above && *edge != Bounds::ALL.to).map(Tokens::new)
    }

    /// The cell of a request that came to this; `None` where the vendor has no price for it.
    pub fn cell(&self, input: Tokens, output: Tokens, thinking: bool) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.holds(input, output, thinking))
    }

    /// What a request costs that came to this. One that used nothing was not billed. One that no cell holds is charged the
    /// dearest of all, since the vendor will bill it somehow.
    pub fn cost(&self, usage: &Usage, thinking: bool) -> Priced<'_> {
        let cell = self.cell(usage.input(), usage.output, thinking);
        let charged = |cell: &Cell| self.charge(&cell.tariff, usage);
        let (tariff, pico) = match cell {
            Some(cell) => (&cell.tariff, charged(cell)),
            None => self.dearest(charged),
        };
        Priced { amount: Amount::from_pico(pico, self.currency), tariff, listed: cell.is_some() }
    }

    /// What a usage costs at the prices of the cheapest cell and of the dearest, whichever cells hold it.
    pub fn cost_between(&self, usage: &Usage) -> (Amount, Amount) {
        let costs = || self.cells.iter().map(|cell| self.charge(&cell.tariff, usage));
        let (least, most) = (costs().min().unwrap_or_default(), costs().max().unwrap_or_default());
        (Amount::from_pico(least, self.currency), Amount::from_pico(most, self.currency))
    }

    fn dearest(&self, charged: impl Fn(&Cell) -> i128) -> (&Tariff, i128) {
        let dearest = self.cells.iter().max_by_key(|cell| charged(cell)).unwrap_or(&self.cells[0]);
        (&dearest.tariff, charged(dearest))
    }

    pub(super) fn charge(&self, tariff: &Tariff, usage: &Usage) -> i128 {
        if *usage == Usage::default() {
            return 0;
        }
        let sum = self.tokens_pico(tariff, usage).saturating_add(tariff.pieces.cost(usage.pieces));
        sum.saturating_add(i128::from(self.per_request)).max(i128::from(self.minimum))
    }

    /// What the tokens cost, in 10⁻¹² units of the currency.
    pub(super) fn tokens_pico(&self, tariff: &Tariff, usage: &Usage) -> i128 {
        let input = match self.extent {
            Extent::Whole => tariff.input_pico(usage),
            Extent::Part => self.by_parts(usage),
        };
        input + tariff.output_pico(usage)
    }

    /// The input part by part. A cache holds the beginning of a prompt: what was read from it comes first, then what was
    /// written to it, then the rest.
    fn by_parts(&self, usage: &Usage) -> i128 {
        let mut cells: Vec<&Cell> = self.cells.iter().collect();
        cells.sort_by_key(|cell| cell.input.above);
        cells.dedup_by_key(|cell| cell.input.above);
        let last = cells.last().map(|cell| cell.input.above);
        let part = |cell: &Cell| {
            // What is beyond the last cell costs what the last one does: the vendor will bill it somehow.
            let to = if Some(cell.input.above) == last { u64::MAX } else { cell.input.to };
            let bounds = Bounds { to, ..cell.input };
            let within = |from: Tokens, count: Tokens| {
                let end = from + count;
                Tokens::new(bounds.share(end.get()) - bounds.share(from.get()))
            };
            let (read, written) = (usage.cache_read, usage.cache_read + usage.cache_write);
            let (_, long) = usage.writes();
            let (image, audio) = usage.fresh_media();
            cell.tariff.input_pico(&Usage {
                fresh_input: within(written, usage.fresh_input),
                cache_read: within(Tokens::ZERO, read),
                cache_write: within(read, usage.cache_write),
                cache_write_long: within(read, long),
                image_input: within(written, image),
                audio_input: within(written + image, audio),
                ..Usage::default()
            })
        };
        cells.into_iter().map(part).sum()
    }

    /// What a request costs at most that comes to no more than this: the dearest cell that can still be its own, with as
    /// much as that cell holds, every token at its dearest kind.
    pub fn worst_cost(&self, most: &Most) -> Amount {
        let possible = |cell: &Cell| {
            let thinking = cell.thinking.is_none_or(|thinking| most.thinking.may_be(thinking));
            let (input, output) = (cell.input.longest(most.input)?, cell.output.longest(most.output)?);
            thinking.then(|| self.at_most(&cell.tariff, input, output, most.pieces))
        };
        let listed = self.cells.iter().filter_map(possible).max();
        // Where the vendor lists no price for the longest, or for thinking with it, the dearest may be charged.
        let holes = [false, true].into_iter().filter(|thinking| most.thinking.may_be(*thinking));
        let unlisted = holes.into_iter().any(|thinking| self.cell(most.input, most.output, thinking).is_none());
        let dearest = || self.cells.iter().map(|cell| self.at_most(&cell.tariff, most.input, most.output, most.pieces)).max();
        let pico = if unlisted { listed.max(dearest()) } else { listed };
        Amount::from_pico(pico.unwrap_or_default(), self.currency)
    }

    fn at_most(&self, tariff: &Tariff, input: Tokens, output: Tokens, pieces: u64) -> i128 {
        let dearest_input = match self.extent {
            Extent::Whole => tariff.dearest_input(),
            Extent::Part => self.cells.iter().map(|cell| cell.tariff.dearest_input()).max().unwrap_or(TokenPrice::FREE),
        };
        let tokens = input * dearest_input + output * tariff.dearest_output();
        let sum = tokens.saturating_add(tariff.pieces.cost(pieces)).saturating_add(i128::from(self.per_request));
        sum.max(i128::from(self.minimum))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tariff(input: &str, output: &str) -> Tariff {
        let price = |text| TokenPrice::per_million(text).unwrap();
        Tariff::flat(Currency::Cny, price(input), price(output))
    }

    fn bounds(above: u64, to: u64) -> Bounds {
        Bounds { above, to }
    }

    /// A vendor's list as several Chinese ones write it: a cheap cell for short answers, dearer long prompts, thinking.
    fn sheet() -> Sheet {
        let cell =
            |input, output, thinking, prices: (&str, &str)| Cell { input, output, thinking, tariff: tariff(prices.0, prices.1) };
        let cells = vec![
            cell(bounds(0, 32_000), bounds(0, 200), Some(false), ("1", "2")),
            cell(bounds(0, 32_000), Bounds::ALL, None, ("1", "8")),
            cell(bounds(32_000, 128_000), Bounds::ALL, None, ("3", "16")),
        ];
        Sheet::new(cells, Extent::Whole, 0, 0).unwrap()
    }

    /// In 10⁻⁶ units of the currency.
    fn check(input: u64, output: u64, thinking: bool, expected: i128) {
        let sheet = sheet();
        let usage = Usage::fresh(Tokens::new(input), Tokens::new(output));
        assert_eq!(sheet.cost(&usage, thinking).amount.pico(), expected * 1_000_000, "{input} in, {output} out");
    }

    #[test]
    fn the_first_cell_that_holds_prices_the_whole_request() {
        check(32_000, 200, false, 32_000 + 400);
        check(32_000, 201, false, 32_000 + 201 * 8);
        check(32_000, 200, true, 32_000 + 1600);
        check(32_001, 200, false, 32_001 * 3 + 3200);
        check(0, 0, false, 0);
    }

    #[test]
    fn beyond_the_last_cell_the_dearest_is_charged_and_told() {
        let sheet = sheet();
        let usage = Usage::fresh(Tokens::new(128_001), Tokens::new(10));
        let priced = sheet.cost(&usage, false);
        assert_eq!((priced.amount.pico(), priced.listed), ((128_001 * 3 + 160) * 1_000_000, false));
        assert_eq!(sheet.priced_input(), Tokens::new(128_000));
        assert_eq!(sheet.cell(Tokens::new(128_001), Tokens::ZERO, false), None);
    }

    #[test]
    fn parts_are_priced_one_by_one_with_the_cached_beginning_first() {
        let cells = [(0, 100, "1"), (100, u64::MAX, "3")]
            .map(|(above, to, input)| Cell { input: bounds(above, to), ..Cell::any(tariff(input, "10")) });
        let mut cells = cells.to_vec();
        cells[0].tariff.cache_read = TokenPrice::per_million("0.5").unwrap();
        let sheet = Sheet::new(cells, Extent::Part, 0, 0).unwrap();
        let t = Tokens::new;
        let usage = Usage { fresh_input: t(70), cache_read: t(50), output: t(1), ..Usage::default() };
        assert_eq!(sheet.cost(&usage, false).amount.pico(), (25 + 50 + 20 * 3 + 10) * 1_000_000);
    }

    /// Fixed once: what lay beyond the last cell of a list by parts cost nothing.
    #[test]
    fn input_beyond_the_last_marginal_cell_costs_what_the_last_one_does() {
        let cells = [(0, 100, "1"), (100, 300, "3")]
            .map(|(above, to, input)| Cell { input: bounds(above, to), ..Cell::any(tariff(input, "10")) });
        let sheet = Sheet::new(cells.to_vec(), Extent::Part, 0, 0).unwrap();
        let cost = |input| sheet.cost(&Usage::fresh(Tokens::new(input), Tokens::ZERO), false);
        assert_eq!([300, 301, 500].map(|input| cost(input).amount.pico() / 1_000_000), [700, 703, 100 + 400 * 3]);
        assert_eq!([300, 301].map(|input| cost(input).listed), [true, false]);
        let cached = Usage { cache_read: Tokens::new(400), ..Usage::default() };
        assert_eq!(sheet.cost(&cached, false).amount.pico() / 1_000_000, 100 + 300 * 3);
    }

    #[test]
    fn a_hold_covers_a_hole_in_the_list() {
        let cell = |input, thinking, prices: (&str, &str)| Cell {
            input,
            thinking: Some(thinking),
            ..Cell::any(tariff(prices.0, prices.1))
        };
        // Thinking is sold for short prompts only.
        let cells = vec![cell(bounds(0, 100), true, ("1", "9")), cell(Bounds::ALL, false, ("2", "4"))];
        let sheet = Sheet::new(cells, Extent::Whole, 0, 0).unwrap();
        let most = |input, thinking| Most { input: Tokens::new(input), output: Tokens::new(10), thinking, pieces: 0 };
        let worst = |input, thinking| sheet.worst_cost(&most(input, thinking)).pico() / 1_000_000;
        assert_eq!(worst(100, Thinking::On), 100 + 90);
        assert_eq!(worst(200, Thinking::Off), 400 + 40);
        let thought = sheet.cost(&Usage::fresh(Tokens::new(200), Tokens::new(10)), true);
        assert!(!thought.listed && thought.amount.pico() <= worst(200, Thinking::Unsaid) * 1_000_000);
    }

    #[test]
    fn fees_and_minimum_count_for_whatever_was_billed() {
        let sheet = Sheet::new(vec![Cell::any(tariff("1", "1"))], Extent::Whole, 5_000_000, 20_000_000).unwrap();
        let cost = |tokens| sheet.cost(&Usage::fresh(Tokens::new(tokens), Tokens::ZERO), false).amount.pico();
        assert_eq!((cost(0), cost(1), cost(15), cost(16)), (0, 20_000_000, 20_000_000, 21_000_000));
    }

    #[test]
    fn a_sheet_has_one_currency() {
        let other = Cell::any(Tariff::free(Currency::Eur));
        assert_eq!(Sheet::new(vec![Cell::any(tariff("1", "1")), other], Extent::Whole, 0, 0), None);
        assert_eq!(Sheet::new(Vec::new(), Extent::Whole, 0, 0), None);
    }

    proptest! {
        #[test]
        fn nothing_within_the_bounds_costs_more_than_the_worst_case(
            input in 0_u64..140_000, output in 0_u64..1000, input_slack in 0_u64..50_000, output_slack in 0_u64..500,
            read in 0_u64..140_000, thought: bool, told: bool, by_parts: bool, fee in 0_u64..5_000_000,
            pieces in (0_u64..1_000, 0_u64..1_000, any::<u64>(), 1_u32..5_000),
        ) {
            let extent = if by_parts { Extent::Part } else { Extent::Whole };
            let mut cells = sheet().cells().to_vec();
            let (used, slack, pico, per) = pieces;
            cells[1].tariff.pieces = PiecePrice::new(pico, per).unwrap();
            let sheet = Sheet::new(cells, extent, fee, fee * 3).unwrap();
            let read = read.min(input);
            let t = Tokens::new;
            let usage = Usage { fresh_input: t(input - read), cache_read: t(read), output: t(output), pieces: used, ..Usage::default() };
            let thinking = match (told, thought) { (false, _) => Thinking::Unsaid, (true, true) => Thinking::On, (true, false) => Thinking::Off };
            let most = Most { input: t(input + input_slack), output: t(output + output_slack), thinking, pieces: used + slack };
            let priced = sheet.cost(&usage, thought);
            let covered = priced.listed || sheet.cell(most.input, most.output, thought).is_none();
            prop_assert!(!covered || priced.amount.pico() <= sheet.worst_cost(&most).pico());
        }

        #[test]
        fn the_cost_is_monotone_in_every_price(input in 0_u64..140_000, output in 0_u64..1000, thinking: bool, n in 0_usize..3) {
            let cheap = sheet();
            let mut cells = cheap.cells().to_vec();
            cells[n].tariff = cells[n].tariff.times(Factor::parse("1.5").unwrap()).unwrap();
            let dear = Sheet::new(cells, Extent::Whole, 0, 0).unwrap();
            let usage = Usage::fresh(Tokens::new(input), Tokens::new(output));
            prop_assert!(cheap.cost(&usage, thinking).amount.pico() <= dear.cost(&usage, thinking).amount.pico());
        }
    }
}
