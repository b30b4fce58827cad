//! What a client's model name means: any backend, one model, exactly one backend. An operator's alias comes first (so
//! that even `auto` can be redirected), then the `auto` words, then backend ids, then model names; a model's own name
//! may hold a slash, so an id that does not exist is still tried as a name. An alias is looked up once and never leads
//! to another alias: no cycle can exist.

use std::collections::BTreeMap;

use crate::canonical::QualityTier;
use crate::catalog::{BackendIndex, Snapshot};

/// The word for "any adequate backend".
const AUTO: &str = "auto";
/// Names are compared up to this many characters, so that a long wrong name costs no more than a short one.
const COMPARED_CHARS: usize = 80;
/// A part of a name says which one is meant from this many characters.
const SHORTEST_PART: usize = 3;
/// How many near names an error gives.
const NEAR_NAMES: usize = 3;

/// Which backends a request may go to, as far as its model name says. Belongs to the snapshot it was resolved in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Any adequate backend, perhaps with a quality floor.
    Auto(Option<QualityTier>),
    /// Any backend that serves this model.
    Model(String),
    /// Exactly this backend.
    Backend(BackendIndex),
}

impl Target {
    /// Those that are meant, where that is not everybody.
    pub fn backends<'a>(&'a self, snapshot: &'a Snapshot) -> Option<&'a [BackendIndex]> {
        match self {
            Target::Auto(_) => None,
            Target::Model(name) => Some(snapshot.serving(name)),
            Target::Backend(index) => Some(std::slice::from_ref(index)),
        }
    }
}

/// No backend, model or alias has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model `{name}` is not known here{}", suggestion(.near))]
pub struct UnknownModel {
    /// The name as the client sent it.
    pub name: String,
    /// Known names near to it, the nearest first.
    pub near: Vec<String>,
}

fn suggestion(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; near names: {}", near.join(", ")) }
}

/// Finds what a model name means. `aliases` are the operator's own names and what each stands for.
pub fn resolve(name: &str, snapshot: &Snapshot, aliases: &BTreeMap<String, String>) -> Result<Target, UnknownModel> {
    let meant = aliases.get(name).map_or(name, String::as_str);
    auto(meant)
        .or_else(|| snapshot.backend_named(meant).map(|backend| Target::Backend(backend.index)))
        .or_else(|| (!snapshot.serving(meant).is_empty()).then(|| Target::Model(meant.to_owned())))
        .ok_or_else(|| UnknownModel { name: name.to_owned(), near: near(meant, snapshot, aliases) })
}

fn auto(name: &str) -> Option<Target> {
    let rest = name.strip_prefix(AUTO)?;
    if rest.is_empty() {
        return Some(Target::Auto(None));
    }
    QualityTier::from_word(rest.strip_prefix(':')?).map(|tier| Target::Auto(Some(tier)))
}

/// The known names nearest to a wrong one: at most a third of it is to be edited, or it is a part of them, or nearly how they
/// begin.
fn near(name: &str, snapshot: &Snapshot, aliases: &BTreeMap<String, String>) -> Vec<String> {
    let comparable = |text: &str| text.chars().take(COMPARED_CHARS).collect::<String>().to_lowercase();
    let wrong = comparable(name);
    let length = wrong.chars().count();
    let tolerance = (length / 3).max(2);
    let auto_words = QualityTier::ALL.map(|tier| format!("{AUTO}:{}", tier.word()));
    let known = snapshot
        .model_names()
        .chain(snapshot.backends().iter().map(|backend| backend.id.as_str()))
        .chain(aliases.keys().map(String::as_str))
        .chain(auto_words.iter().map(String::as_str))
        .chain([AUTO]);
    let letters = Letters::of(&wrong);
    let within = |text: &str, most: usize| {
        (letters.fewest_edits(&Letters::of(text)) <= most)
            .then(|| strsim::osa_distance(&wrong, text))
            .filter(|edits| *edits <= most)
    };
    let distance = |known: &str| {
        let known = comparable(known);
        let begins = |more: usize| known.chars().take(length + more).collect::<String>();
        let is_nearly_a_beginning = || (0..=2).any(|more| within(&begins(more), length / 8).is_some());
        let is_part = || length >= SHORTEST_PART && (known.contains(&wrong) || is_nearly_a_beginning());
        within(&known, tolerance).or_else(|| is_part().then(|| strsim::osa_distance(&wrong, &known)))
    };
    let mut found: Vec<(usize, &str)> = known.filter_map(|known| Some((distance(known)?, known))).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(NEAR_NAMES).map(|(_, known)| known.to_owned()).collect()
}

/// How often each letter stands in a name: it tells of most names that they are far off, without comparing them.
struct Letters([u8; 64]);

impl Letters {
    fn of(text: &str) -> Self {
        let mut counts = [0_u8; 64];
        // Letters that share a place only make names look nearer than they are.
        text.chars().for_each(|letter| counts[letter as usize % 64] += 1);
        Self(counts)
    }

    /// No fewer edits lead from one to the other, for an edit takes one letter away and adds one at most.
    fn fewest_edits(&self, other: &Self) -> usize {
        let (mut gone, mut come) = (0_usize, 0_usize);
        for (one, other) in self.0.iter().zip(&other.0) {
            gone += usize::from(one.saturating_sub(*other));
            come += usize::from(other.saturating_sub(*one));
        }
        gone.max(come)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Spec, table};
    use super::*;

    proptest! {
        #[test]
        fn no_name_is_nearer_than_its_letters_tell(one in "[a-e/\u{4f60}-\u{4f65}-]{0,40}", other in "[a-e/\u{4f60}-\u{4f65}-]{0,40}", at in 0_usize..40) {
            let mut edited: Vec<char> = one.chars().collect();
            edited.get_mut(at).into_iter().for_each(|letter| *letter = 'x');
            for text in [other, edited.iter().collect(), one.chars().rev().collect()] {
                prop_assert!(Letters::of(&one).fewest_edits(&Letters::of(&text)) <= strsim::osa_distance(&one, &text), "{one} {text}");
            }
        }
    }

    fn check(name: &str, expected: Result<Target, &[&str]>) {
        let specs = ["north/mist-7b", "south/mist-7b", "south/lab/fog-1"].map(Spec::named);
        let aliases = [("best", "auto:premium"), ("old", "gone"), ("twice", "best")];
        let aliases = aliases.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        let found = resolve(name, &table(&specs), &aliases).map_err(|unknown| {
            assert_eq!(unknown.name, name);
            unknown.near
        });
        assert_eq!(found, expected.map_err(|near| near.iter().map(ToString::to_string).collect()), "{name}");
    }

    #[test]
    fn a_name_means_any_backend_a_model_or_one_backend() {
        check("auto", Ok(Target::Auto(None)));
        check("auto:standard", Ok(Target::Auto(Some(QualityTier::Standard))));
        check("best", Ok(Target::Auto(Some(QualityTier::Premium))));
        check("mist-7b", Ok(Target::Model("mist-7b".into())));
        check("south/mist-7b", Ok(Target::Backend(BackendIndex(1))));
        check("lab/fog-1", Ok(Target::Model("lab/fog-1".into())));
        check("south/lab/fog-1", Ok(Target::Backend(BackendIndex(2))));
    }

    #[test]
    fn an_unknown_name_is_answered_with_near_ones() {
        check("Mist-7", Err(&["mist-7b", "north/mist-7b", "south/mist-7b"]));
        check("auto:premuim", Err(&["auto:premium"]));
        check("fog", Err(&["lab/fog-1", "south/lab/fog-1"]));
        check("north/mist-8b", Err(&["north/mist-7b", "south/mist-7b"]));
        check("nort/mist", Err(&["north/mist-7b"]));
        check("automatic", Err(&[]));
        check("quite-another-model", Err(&[]));
        check(&"m".repeat(10_000), Err(&[]));
    }

    #[test]
    fn an_alias_never_leads_to_another_alias() {
        check("twice", Err(&["best"]));
        check("old", Err(&[]));
    }
}
