//! Why a figure, an entry or a proposal is not believed, with the numbers: for the list of what is held back, the log and a
//! metric's label.

use std::fmt;

use super::decimal::Inexact;
use super::proposal::{Kind, clip};
use crate::units::{Amount, Currency, TokenPrice};

/// A price in another unit than it claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slip {
    /// A thousand times too high.
    ThousandTimes,
    /// A thousandth.
    Thousandth,
    MillionTimes,
    Millionth,
}

impl Slip {
    const fn words(self) -> &'static str {
        match self {
            Slip::ThousandTimes => "about 1,000 times as much, as where a price per million stands for one per thousand",
            Slip::Thousandth => "about a 1,000th, as where a price per thousand stands for one per million",
            Slip::MillionTimes => "about 1,000,000 times as much, as where a price per million stands for one per token",
            Slip::Millionth => "about a 1,000,000th, as where a price per token stands for one per million",
        }
    }
}

/// Why something is held back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A name that is empty, too long, or has blanks or control characters.
    Unnamed,
    /// The entry is not shaped as the format has it: what it is instead.
    Shape(String),
    /// A figure is no number, or none that our unit holds: its name, its text and why.
    Figure {
        name: String,
        text: String,
        why: &'static str,
    },
    /// Input or output has no price.
    Missing(Kind),
    /// The feed says two things about one model.
    SaidTwice,
    UnknownProvider,
    UnknownModel,
    /// Several backends go by the name: how many.
    Ambiguous(usize),
    /// The backend has no price in force to hold it against.
    NoPriceInForce,
    Currency {
        feed: Currency,
        table: Currency,
    },
    Zero(Kind),
    Free,
    Jump {
        kind: Kind,
        before: TokenPrice,
        after: TokenPrice,
        factor: String,
    },
    UnitSlip {
        kind: Kind,
        before: TokenPrice,
        after: TokenPrice,
        slip: Slip,
    },
    /// A price that the table does not have, out of proportion to what such a token costs now.
    Unlikely {
        kind: Kind,
        instead_of: TokenPrice,
        after: TokenPrice,
    },
    CacheAboveInput {
        cache: TokenPrice,
        input: TokenPrice,
    },
    /// The table's price has a shape that the feed's has not: what it lacks.
    Flatter(&'static str),
    /// The feed's price has a shape that the table's has not: what it adds.
    MoreShaped(&'static str),
    /// Both have cells or calendars, but not the same.
    OtherShape(&'static str),
    /// The fee or the least charge of a request differs.
    Fee {
        before: Option<Amount>,
        after: Amount,
    },
}

impl Reason {
    /// A figure that cannot be read.
    pub(super) fn figure(name: &str, text: &str, inexact: Inexact) -> Self {
        let why = match inexact {
            Inexact::NoNumber => "no number",
            Inexact::Negative => "negative",
            Inexact::Finer => "finer than 10^-12 per token",
            Inexact::Larger => "beyond any price",
        };
        Reason::Figure { name: clip(name), text: clip(text), why }
    }

    /// One word for a metric's label and a machine.
    pub const fn word(&self) -> &'static str {
        match self {
            Reason::Unnamed | Reason::Shape(_) => "unreadable",
            Reason::Figure { .. } => "figure",
            Reason::Missing(_) => "missing",
            Reason::SaidTwice => "said_twice",
            Reason::UnknownProvider | Reason::UnknownModel | Reason::Ambiguous(_) => "unknown_backend",
            Reason::NoPriceInForce => "no_price_in_force",
            Reason::Currency { .. } => "currency",
            Reason::Zero(_) | Reason::Free => "zero",
            Reason::Jump { .. } | Reason::Unlikely { .. } => "jump",
            Reason::UnitSlip { .. } => "unit",
            Reason::CacheAboveInput { .. } => "cache_above_input",
            Reason::Flatter(_) | Reason::MoreShaped(_) | Reason::OtherShape(_) => "shape",
            Reason::Fee { .. } => "fee",
        }
    }

    /// Every word that [`Reason::word`] gives.
    pub const WORDS: [&'static str; 13] = [
        "unreadable",
        "figure",
        "missing",
        "said_twice",
        "unknown_backend",
        "no_price_in_force",
        "currency",
        "zero",
        "jump",
        "unit",
        "cache_above_input",
        "shape",
        "fee",
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let million = |price: &TokenPrice| price.to_per_million();
        match self {
            Reason::Unnamed => f.write_str("a name that is empty, longer than 200 bytes, or has blanks in it"),
            Reason::Shape(what) => f.write_str(what),
            Reason::Figure { name, text, why } => write!(f, "{name} {text}: {why}"),
            Reason::Missing(kind) => write!(f, "{} has no price", kind.word()),
            Reason::SaidTwice => f.write_str("the feed has two different prices for it"),
            Reason::UnknownProvider => f.write_str("unknown backend: no provider of the table goes by this name"),
            Reason::UnknownModel => f.write_str("unknown backend: the provider has no model by this name"),
            Reason::Ambiguous(count) => write!(f, "unknown backend: {count} backends go by this name"),
            Reason::NoPriceInForce => f.write_str("the backend has no price in force to compare it with"),
            Reason::Currency { feed, table } => write!(f, "the feed's price is in {feed}, the table's in {table}"),
            Reason::Zero(kind) => write!(f, "{} costs nothing", kind.word()),
            Reason::Free => f.write_str("a feed cannot make a backend free"),
            Reason::Jump { kind, before, after, factor } => {
                let (kind, before, after) = (kind.word(), million(before), million(after));
                write!(f, "{kind} from {before} to {after} per million: more than {factor} times apart")
            }
            Reason::UnitSlip { kind, before, after, slip } => {
                write!(f, "{} from {} to {} per million: {}", kind.word(), million(before), million(after), slip.words())
            }
            Reason::Unlikely { kind, instead_of, after } => {
                let (kind, after, instead_of) = (kind.word(), million(after), million(instead_of));
                write!(f, "{kind} at {after} per million, where such tokens cost {instead_of} now: out of proportion")
            }
            Reason::CacheAboveInput { cache, input } => {
                write!(f, "cached input at {} per million is dearer than input at {}", million(cache), million(input))
            }
            Reason::Flatter(what) => write!(f, "flatter than the table: {what}"),
            Reason::MoreShaped(what) => write!(f, "the table's price is simpler: {what}"),
            Reason::OtherShape(what) => write!(f, "not shaped as the table's price: {what}"),
            Reason::Fee { before, after } => {
                let before = before.map_or_else(|| "none".to_owned(), |before| before.to_string());
                write!(f, "a charge of {after} per request, {before} in force")
            }
        }
    }
}
