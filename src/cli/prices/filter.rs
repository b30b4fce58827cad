//! Which backends are meant: names and patterns as they are typed, and what is said about a name that the table lacks.

use std::collections::BTreeSet;

use clap::Args;

use crate::canonical::{Direct, QualityTier};
use crate::catalog::{Backend, Provider, Quality, Snapshot};
use crate::document::nearest;

/// Which rows there are.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only this provider: its id, or a pattern with `*` and `?`. May be repeated.
    #[arg(long, value_name = "ID")]
    pub provider: Vec<String>,
    /// Only models whose name, alias or id holds this, or matches it where it has `*` or `?`. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    pub model: Vec<String>,
    /// Only backends that serve from this region. May be repeated.
    #[arg(long, value_name = "REGION")]
    pub region: Vec<String>,
    /// Only providers under this law: a country's code, or `local`. May be repeated.
    #[arg(long, value_name = "CODE")]
    pub jurisdiction: Vec<String>,
    /// Only providers that can be used here: those whose key is set, and those that need none.
    #[arg(long)]
    pub on: bool,
    /// At least this quality: economy, standard, premium, or a score from 0 to 100.
    #[arg(long, value_name = "FLOOR", value_parser = floor)]
    pub quality: Option<Floor>,
    /// Only what serves this in place of conversations: embeddings, completions, rerank, images, speech, transcriptions. Without it such a model is listed where `--model` names it.
    #[arg(long, value_name = "WHAT", value_parser = direct)]
    pub serves: Option<&'static Direct>,
    /// Only rows that hold each of these words, in whichever column.
    #[arg(long, value_name = "WORDS")]
    pub search: Option<String>,
    /// Also what is switched off or has no price, and why.
    #[arg(long)]
    pub all: bool,
}

/// A floor under the quality, on the table's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor(u8);

/// Reads a tier's word or a score.
fn floor(text: &str) -> Result<Floor, String> {
    let tier = QualityTier::from_word(text).map(Quality::floor_of);
    let score = text.parse::<u8>().ok().filter(|score| *score <= 100);
    tier.or(score).map(Floor).ok_or_else(|| "economy, standard, premium, or a whole number from 0 to 100".to_owned())
}

fn direct(word: &str) -> Result<&'static Direct, String> {
    let known = || Direct::ALL.iter().map(|direct| direct.word).collect::<Vec<_>>().join(", ");
    Direct::named(word).ok_or_else(|| format!("there are {}", known()))
}

/// Whether a backend is what the options ask for.
pub(super) fn wanted(args: &FilterArgs, backend: &Backend, provider: &Provider) -> bool {
    let any = |patterns: &[String], fits: &dyn Fn(&str) -> bool| patterns.is_empty() || patterns.iter().any(|p| fits(p));
    let score = backend.quality.score.unwrap_or(0);
    any(&args.provider, &|pattern| named(pattern, &provider.id))
        && any(&args.model, &|pattern| names(backend).any(|name| holds(pattern, name)))
        && any(&args.region, &|region| region.eq_ignore_ascii_case(&provider.region))
        && any(&args.jurisdiction, &|code| code.eq_ignore_ascii_case(&provider.jurisdiction))
        && (backend.serves == args.serves || (args.serves.is_none() && !args.model.is_empty()))
        && args.quality.is_none_or(|Floor(floor)| score >= floor)
}

/// Whether a text holds each of the words, whatever their case.
pub(super) fn mentions(words: &str, text: &str) -> bool {
    let text = text.to_lowercase();
    words.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

/// What to say of the first name that nothing in the table answers to.
pub(super) fn unknown_name(args: &FilterArgs, snapshot: &Snapshot) -> Option<String> {
    let of_providers = |name: fn(&Provider) -> &str| snapshot.providers().iter().map(name).collect::<BTreeSet<&str>>();
    let ids = of_providers(|provider| &provider.id);
    let regions = of_providers(|provider| &provider.region);
    let codes = of_providers(|provider| &provider.jurisdiction);
    let lacks = |typed: &String, known: &BTreeSet<&str>| !known.iter().any(|name| named(typed, name));
    let first = |what, typed: &[String], known: &BTreeSet<&str>| {
        typed.iter().find(|typed| lacks(typed, known)).map(|typed| unknown(what, typed, known))
    };
    first("provider", &args.provider, &ids)
        .or_else(|| first("region", &args.region, &regions))
        .or_else(|| first("jurisdiction", &args.jurisdiction, &codes))
        .or_else(|| args.model.iter().find_map(|pattern| unknown_model(pattern, snapshot)))
}

fn unknown(what: &str, typed: &str, known: &BTreeSet<&str>) -> String {
    let hint = nearest(typed, known.iter().copied()).map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default();
    let list = known.iter().copied().collect::<Vec<_>>().join(", ");
    format!("the table knows no {what} {typed:?}{hint}; it knows: {list}")
}

fn unknown_model(pattern: &str, snapshot: &Snapshot) -> Option<String> {
    if snapshot.backends().iter().flat_map(names).any(|name| holds(pattern, name)) {
        return None;
    }
    let near = snapshot.near_models(pattern, 3);
    let near = near.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let hint = if near.is_empty() { String::new() } else { format!("; near names: {near}") };
    Some(format!("no model of the table fits {pattern:?}{hint}"))
}

/// Every name that a backend's model goes by.
fn names(backend: &Backend) -> impl Iterator<Item = &str> {
    let own = [backend.id.as_str(), &backend.model, &backend.upstream_model];
    own.into_iter().chain(backend.aliases.iter().map(String::as_str))
}

/// The name itself, or a pattern for it.
fn named(pattern: &str, name: &str) -> bool {
    if is_pattern(pattern) { matches(pattern, name) } else { pattern.eq_ignore_ascii_case(name) }
}

/// A part of the name, or a pattern for the whole of it.
fn holds(pattern: &str, name: &str) -> bool {
    if is_pattern(pattern) { matches(pattern, name) } else { name.to_lowercase().contains(&pattern.to_lowercase()) }
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a pattern fits a whole name, whatever the case: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.to_lowercase().chars().collect(), name.to_lowercase().chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star stood, and up to where it has swallowed the name: only that one is ever tried again.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(c), _) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            (_, Some((at, swallowed))) => {
                star = Some((at, swallowed + 1));
                (p, n) = (at + 1, swallowed + 1);
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }

    #[test]
    fn a_pattern_fits_the_whole_name() {
        check("qwen3*", "Qwen3-Max", true);
        check("qwen3", "qwen3-max", false);
        check("*-max", "qwen3-max", true);
        check("*max*", "qwen3-max-2026", true);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-b-b-", false);
        check("gpt-?", "gpt-5", true);
        check("gpt-?", "gpt-5.1", false);
        check("", "", true);
        check("*", "", true);
        check("?", "", false);
    }

    #[test]
    fn a_floor_is_a_tier_or_a_score() {
        assert_eq!((floor("premium"), floor("40"), floor("0")), (Ok(Floor(65)), Ok(Floor(40)), Ok(Floor(0))));
        assert!(["101", "-1", "best", ""].iter().all(|bad| floor(bad).is_err()));
    }

    proptest! {
        #[test]
        fn a_name_fits_what_is_made_of_it(name in "[a-z/.-]{0,20}", cut in 0_usize..20) {
            let (head, tail) = name.split_at(cut.min(name.len()));
            let (begins, ends, longer) = (format!("{head}*"), format!("*{tail}"), format!("{name}?"));
            prop_assert!(matches(&begins, &name) && matches(&ends, &name));
            prop_assert!(matches(&"?".repeat(name.len()), &name));
            prop_assert!(!matches(&longer, &name));
        }
    }
}
