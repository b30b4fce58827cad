//! What stands beside the question in chat and in Responses alike: which cache, how soon, how long an answer.

use serde_json::value::RawValue;

use super::top_level::string;
use crate::canonical::conversation::Hints;

/// Tiers that say what counts where nothing is said.
const USUAL: [&str; 2] = ["auto", "default"];

/// Reads the values of `prompt_cache_key`, `service_tier` and `verbosity`.
pub(super) fn read(cache_key: Option<&RawValue>, tier: Option<&RawValue>, verbosity: Option<&RawValue>) -> Hints {
    Hints { cache_key: word(cache_key), tier: word(tier).filter(|word| !USUAL.contains(&&**word)), verbosity: word(verbosity) }
}

/// A word; what is none is kept as it is written, for whoever is to judge it.
fn word(raw: Option<&RawValue>) -> Option<String> {
    let raw = raw.map(RawValue::get).filter(|raw| *raw != "null")?;
    Some(string(raw).map_or_else(|| raw.to_owned(), std::borrow::Cow::into_owned)).filter(|word| !word.is_empty())
}
