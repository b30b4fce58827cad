//! Price feeds, as pure code: bytes of somebody else's price list into proposals ([`decode`]), the backend that a proposal is
//! for ([`mapping`]), and whether it may be believed ([`guard`]). Nothing here fetches, keeps or applies anything.
//!
//! A feed is foreign and may be wrong, damaged or hostile, so decoders are total: any bytes give proposals or a refusal, in
//! memory bounded by a count of entries, without recursion that the input could drive. Two kinds of fault are told apart: a
//! document that is not what it claims to be (cut short, another format) is refused whole, since a part of it proves
//! nothing; an entry that is wrong is refused by itself, with its place, and the others stand. Members that nobody here
//! knows are passed over, as these lists grow without notice.
//!
//! Numbers are read as their text and are exact or refused: `1.5e-07` per token is exactly 0.15 per million.
//!
//! What a foreign list writes as zero for anything but input and output is read as unsaid (`steps`): nothing should become free
//! because somebody did not know its price.

mod decimal;
pub mod export;
mod genai_prices;
pub mod guard;
mod json;
mod litellm;
pub mod mapping;
mod models_dev;
mod openrouter;
mod own;
#[cfg(test)]
mod properties;
pub mod proposal;
pub mod rates;
mod reason;
pub mod review;
#[cfg(test)]
mod samples;
mod steps;
#[cfg(test)]
mod testing;

pub use guard::{Change, FigureChange, Guards, Verdict, judge};
pub use mapping::Mapping;
pub use proposal::{Bounds, Cell, Figures, Hours, Kind, Offer, Proposal, Reading, Refused};
pub use reason::{Reason, Slip};
pub use review::{Held, OwnFigures, Review, Source, Subject, review};

/// What a feed is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// LiteLLM's `model_prices_and_context_window.json`.
    LiteLlm,
    /// The `api.json` of models.dev.
    ModelsDev,
    /// A model list as OpenRouter serves it at `/api/v1/models`.
    RouterModels,
    /// The `data.json` of genai-prices.
    GenaiPrices,
    /// Our own, in TOML.
    Toml,
    /// Our own, in JSON.
    Json,
}

impl Format {
    /// Every format with the word that settings and the command line use.
    pub const WORDS: [(Format, &str); 6] = [
        (Format::LiteLlm, "litellm"),
        (Format::ModelsDev, "models-dev"),
        (Format::RouterModels, "openrouter-models"),
        (Format::GenaiPrices, "genai-prices"),
        (Format::Toml, "toml"),
        (Format::Json, "json"),
    ];

    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(format, _)| *format == self).map_or("", |(_, word)| word)
    }
}

/// A document that is not what it claims to be: what is wrong, where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// What a feed proposes. Fails only when the document as a whole is not in this format.
pub fn decode(format: Format, bytes: &[u8]) -> Result<Reading, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|e| Unreadable(format!("this is not UTF-8 from byte {}", e.valid_up_to())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let reading = match format {
        Format::LiteLlm => litellm::read(text),
        Format::ModelsDev => models_dev::read(text),
        Format::RouterModels => openrouter::read(text),
        Format::GenaiPrices => genai_prices::read(text),
        Format::Toml => own::read_toml(text),
        Format::Json => own::read_json(text),
    }?;
    Ok(reading.finish())
}
