//! Gateway keys as the file tells them: who may ask, and what each may spend, reach and risk. Only hashes are
//! configured, so that neither the file nor a backup of it lets anybody in. What a key means at run time is `policy`'s.

use crate::canonical::QualityTier;
use crate::document::Section;
use crate::policy::{BudgetWindow, KeyLimits};
use crate::units::{KeyName, Tokens, Usd};

/// The name that stands for clients of an open gateway, in rows and metrics; no key may have it.
pub const ANONYMOUS: &str = "anonymous";

const NAME_SHAPE: &str = "a name of 1 to 64 letters, digits, `-`, `_` and `.`, other than `anonymous`";
const HASH_SHAPE: &str = "the 64 hexadecimal digits that `tokenbroker keys new` prints";

/// One gateway key and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayKey {
    pub name: KeyName,
    /// SHA-256 of the key's text; see [`crate::policy::keys::hash`].
    pub sha256: [u8; 32],
    pub limits: KeyLimits,
    /// What all requests of the key together may cost, and when that begins anew.
    pub budget: Option<(Usd, BudgetWindow)>,
}

/// The quality tiers with their words in the file.
pub(super) const QUALITY_WORDS: [(QualityTier, &str); 3] = [
    (QualityTier::Economy, QualityTier::Economy.word()),
    (QualityTier::Standard, QualityTier::Standard.word()),
    (QualityTier::Premium, QualityTier::Premium.word()),
];

/// Reads `[keys.NAME]` for every name.
pub(super) fn read(root: &Section<'_, '_>) -> Vec<GatewayKey> {
    let Some(keys) = root.section("keys") else {
        return Vec::new();
    };
    let mut found: Vec<GatewayKey> = Vec::new();
    for name in keys.names() {
        if !is_key_name(name) {
            keys.problem(name, format!("{name:?} cannot name a key"), NAME_SHAPE);
        }
        let Some(key) = keys.named_section(name).and_then(|section| one(name, section)) else {
            continue;
        };
        match found.iter().find(|other| other.sha256 == key.sha256) {
            Some(other) => keys.problem(name, format!("the same key as {:?}", other.name.as_str()), "a key of its own"),
            None => found.push(key),
        }
    }
    found
}

/// Whether a key may be called so: it stands in metrics, rows and environment variables.
pub fn is_key_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed) && name != ANONYMOUS
}

fn one(name: &str, section: Section<'_, '_>) -> Option<GatewayKey> {
    let sha256 = sha256(&section);
    let limits = limits(&section);
    let budget = budget(&section);
    if let Some(both) = limits.providers.iter().find(|provider| limits.excluded_providers.contains(provider)) {
        section.problem("exclude_providers", format!("{both:?} is allowed and excluded"), "each provider in one of the lists");
    }
    section.finish();
    Some(GatewayKey { name: KeyName::new(name), sha256: sha256?, limits, budget })
}

fn limits(section: &Section<'_, '_>) -> KeyLimits {
    KeyLimits {
        providers: section.texts("providers"),
        excluded_providers: section.texts("exclude_providers"),
        regions: section.texts("regions"),
        quality: section.word("quality", &QUALITY_WORDS),
        max_cost: usd(section, "max_cost_usd"),
        max_output: section.whole("max_output_tokens", 1..=10_000_000).map(Tokens::new),
        no_training: section.truth("may_train") == Some(false),
    }
}

fn sha256(section: &Section<'_, '_>) -> Option<[u8; 32]> {
    let (plain, file) = (section.text("sha256"), section.text("sha256_file"));
    if section.has("sha256") && section.has("sha256_file") {
        section.problem("sha256_file", "`sha256` is given too", "one of the two");
        return None;
    }
    if !section.has("sha256") && !section.has("sha256_file") {
        section.problem("sha256", "missing", format!("{HASH_SHAPE}, or `sha256_file`, a file that holds them"));
        return None;
    }
    let member = if file.is_some() { "sha256_file" } else { "sha256" };
    let text = match file {
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                section.problem(member, format!("cannot read {path}: {error}"), "a readable file");
                return None;
            }
        },
        None => plain?,
    };
    let hash = from_hex(text.trim());
    if hash.is_none() {
        // The value is not repeated: somebody may have put the key itself here.
        section.problem(member, "this is no SHA-256", HASH_SHAPE);
    }
    hash
}

fn budget(section: &Section<'_, '_>) -> Option<(Usd, BudgetWindow)> {
    let window = section.word("budget_window", &BudgetWindow::WORDS);
    let amount = usd(section, "budget_usd");
    if section.has("budget_window") && !section.has("budget_usd") {
        section.problem("budget_usd", "missing beside `budget_window`", "an amount in US dollars, such as 25.00");
    }
    Some((amount?, window.unwrap_or(BudgetWindow::Month)))
}

fn usd(section: &Section<'_, '_>, name: &'static str) -> Option<Usd> {
    match Usd::parse(&section.decimal(name)?) {
        Ok(amount) if amount > Usd::ZERO => Some(amount),
        _ => {
            section.problem(name, "this is no amount", "US dollars above zero as a plain decimal, such as 0.25");
            None
        }
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut hash = [0_u8; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// A hash as it stands in a configuration: 64 hexadecimal digits.
pub fn to_hex(sha256: &[u8; 32]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    sha256.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
