//! Prices that step with the length of the input, as foreign lists write them: figures under names of their own, some above a
//! number of tokens. Here they become the cells of an offer, whatever a list calls its members and however it says its steps.
//!
//! These lists write 0 for what they do not know. So a zero is read as unsaid, but for input and output, which have no
//! neighbour whose price would stand in.

use std::collections::BTreeSet;

use super::decimal::exact;
use super::json::Value;
use super::proposal::{Bounds, Cell, Figures, Kind};
use super::reason::Reason;
use crate::units::TokenPrice;

/// A figure that holds above a number of input tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) kind: Kind,
    pub(super) above: u64,
    price: TokenPrice,
}

impl Said {
    /// Reads a figure of `places` decimals (see [`exact`]) under the name that the list gives it; `None` where it says nothing.
    pub(super) fn read(kind: Kind, above: u64, (name, text): (&str, &str), places: i32) -> Result<Option<Self>, Reason> {
        let pico = exact(text, places).map_err(|wrong| Reason::figure(name, text, wrong))?;
        let says = pico > 0 || kind.otherwise().is_none();
        Ok(says.then_some(Self { kind, above, price: TokenPrice::from_pico(pico) }))
    }
}

/// The figures that an object says by the names of its members. `within` is what the list calls the object.
pub(super) fn figures(of: &Value<'_>, members: &[(&str, Kind)], places: i32, within: &str) -> Result<Figures, Reason> {
    let mut figures = Figures::default();
    for (name, kind) in members {
        let Some(value) = of.get(name) else { continue };
        let text = value.number().ok_or_else(|| Reason::Shape(format!("{within}.{name} is no number")))?;
        if let Some(said) = Said::read(*kind, 0, (name, text), places)? {
            figures.set(said.kind, said.price);
        }
    }
    Ok(figures)
}

/// What holds above a number of input tokens: of each kind the figure with the highest threshold that is not above it; of two
/// with the same threshold the later.
pub(super) fn held_above<'s>(said: impl IntoIterator<Item = &'s Said>, above: u64) -> Figures {
    let mut that_hold: Vec<&Said> = said.into_iter().filter(|figure| figure.above <= above).collect();
    that_hold.sort_by_key(|figure| figure.above);
    let mut figures = Figures::default();
    for figure in that_hold {
        figures.set(figure.kind, figure.price);
    }
    figures
}

/// The cells of figures that have a threshold each for itself.
pub(super) fn by_figure(said: &[Said]) -> Vec<Cell> {
    let edges: BTreeSet<u64> = said.iter().map(|figure| figure.above).chain([0]).collect();
    by_edge(edges.into_iter().map(|above| (above, held_above(said, above))).collect())
}

/// The cells of sets of figures, each from above its number of input tokens up to the next one.
pub(super) fn by_edge(mut edges: Vec<(u64, Figures)>) -> Vec<Cell> {
    edges.sort_by_key(|(above, _)| *above);
    let to: Vec<Option<u64>> = edges.iter().skip(1).map(|(above, _)| Some(*above)).chain([None]).collect();
    let cell = |((above, figures), to)| Cell { bounds: Bounds::input(Some(above), to), figures };
    edges.into_iter().zip(to).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: Kind, above: u64, text: &str) -> Option<Said> {
        Said::read(kind, above, ("a figure", text), super::super::decimal::PER_MILLION).unwrap()
    }

    #[test]
    fn zero_is_unsaid_where_another_price_stands_in() {
        assert_eq!(said(Kind::CacheRead, 0, "0"), None);
        assert_eq!(said(Kind::Reasoning, 0, "0.0"), None);
        assert_eq!(said(Kind::Input, 0, "0").map(|said| said.price), Some(TokenPrice::FREE));
        assert_eq!(said(Kind::Output, 0, "0").map(|said| said.price), Some(TokenPrice::FREE));
    }

    #[test]
    fn each_cell_has_the_figures_that_began_last() {
        let all = [(Kind::Input, 200, "4"), (Kind::Input, 0, "2"), (Kind::Output, 0, "8"), (Kind::CacheRead, 300, "0.4")];
        let all: Vec<Said> = all.into_iter().filter_map(|(kind, above, text)| said(kind, above, text)).collect();
        let told = |cell: &Cell| {
            let price = |kind| cell.figures.get(kind).map_or("-".to_owned(), TokenPrice::to_per_million);
            let (above, to) = (cell.bounds.input_above.unwrap_or(0), cell.bounds.input_to.unwrap_or(0));
            format!("{above}..{to}: {} {} {}", price(Kind::Input), price(Kind::CacheRead), price(Kind::Output))
        };
        let cells: Vec<String> = by_figure(&all).iter().map(told).collect();
        assert_eq!(cells, ["0..200: 2 - 8", "200..300: 4 - 8", "300..0: 4 0.4 8"]);
        assert_eq!(by_figure(&[]), [Cell { bounds: Bounds::ALL, figures: Figures::default() }]);
    }
}
