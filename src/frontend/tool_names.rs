//! What the functions are called that stand for a client's tools. A tool of chat or Responses that takes a text, or that stands in a
//! namespace, is told as a function, and two that the client tells apart may come to one name: each gets its own, so that a call
//! leads back to the tool that is meant. Functions of no namespace keep the client's names.
//!
//! The same tools become the same names always, so that what is cached of a prompt stays good.

use std::collections::{BTreeMap, BTreeSet};

use super::content::cannot;
use crate::canonical::Untranslatable;
use crate::canonical::conversation::OwnTool;

/// The names of a request's tools.
#[derive(Debug, Default)]
pub(super) struct ToolNames {
    /// Those that are told as functions, and are none to the client.
    pub(super) own: Vec<OwnTool>,
    /// Where each tool stands.
    places: BTreeMap<Known, String>,
    /// What functions are called already.
    taken: BTreeSet<String>,
    /// By a name that was wanted again, the number behind it that was given last.
    numbers: BTreeMap<String, usize>,
    /// Tools whose functions are not called as they would be by themselves.
    others: BTreeMap<Known, String>,
}

/// What a client knows a tool by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    custom: bool,
    namespace: Option<String>,
    name: String,
}

impl ToolNames {
    /// Those of a request that has these functions, which stand in no namespace.
    pub(super) fn beside(functions: impl Iterator<Item = String>) -> Self {
        Self { taken: functions.collect(), ..Self::default() }
    }

    /// The name of the function that the tool at this place is told as.
    ///
    /// # Errors
    /// When the client has another tool of the same kind and name beside it, so that nothing tells them apart.
    pub(super) fn add(
        &mut self,
        place: &str,
        namespace: Option<&str>,
        name: String,
        custom: bool,
    ) -> Result<String, Untranslatable> {
        let known = Known { custom, namespace: namespace.map(str::to_owned), name };
        if let Some(first) = self.places.get(&known) {
            return Err(cannot(format!(
                "two tools of one name (`{place}.name` is `{}`, as is `{first}.name`: call one otherwise)",
                known.name
            )));
        }
        self.places.insert(known.clone(), place.to_owned());
        if !custom && namespace.is_none() {
            return Ok(known.name);
        }
        let wanted = called(namespace, known.name.clone());
        let function = self.made(&wanted);
        let (name, namespace) = (known.name.clone(), known.namespace.clone());
        self.own.push(OwnTool { function: function.clone(), name, namespace, custom });
        if function != wanted {
            self.others.insert(known, function.clone());
        }
        Ok(function)
    }

    /// What the function of a tool is called that a call or a choice names; of one that is not there, what it would be by itself.
    pub(super) fn of(&self, namespace: Option<&str>, name: String, custom: bool) -> String {
        if self.others.is_empty() {
            return called(namespace, name);
        }
        let known = Known { custom, namespace: namespace.map(str::to_owned), name };
        self.others.get(&known).cloned().unwrap_or_else(|| called(namespace, known.name))
    }

    fn made(&mut self, wanted: &str) -> String {
        if self.taken.insert(wanted.to_owned()) {
            return wanted.to_owned();
        }
        let number = self.numbers.entry(wanted.to_owned()).or_insert(1);
        loop {
            *number += 1;
            let other = format!("{wanted}_{number}");
            if self.taken.insert(other.clone()) {
                return other;
            }
        }
    }
}

/// What the function of a tool in a namespace is called by itself.
fn called(namespace: Option<&str>, name: String) -> String {
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) if namespace.ends_with("__") => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    type Tool = (Option<&'static str>, &'static str, bool);

    fn named(tools: &[Tool]) -> (ToolNames, Vec<String>) {
        let plain = tools.iter().filter(|(namespace, _, custom)| namespace.is_none() && !custom);
        let mut names = ToolNames::beside(plain.map(|(_, name, _)| (*name).to_owned()));
        let mut add = |(at, (namespace, name, custom)): (usize, &Tool)| {
            names.add(&format!("tools[{at}]"), *namespace, (*name).to_owned(), *custom).unwrap()
        };
        let functions = tools.iter().enumerate().map(&mut add).collect();
        (names, functions)
    }

    #[test]
    fn tools_that_come_to_one_name_are_told_apart_and_functions_keep_theirs() {
        let tools = [
            (None, "patch", true),
            (Some("a"), "b__c", false),
            (Some("a__b"), "c", false),
            (Some("a__b__"), "c", true),
            (None, "patch", false),
            (None, "patch_2", false),
            (None, "a__b__c", false),
            (Some(""), "patch", false),
        ];
        let (names, functions) = named(&tools);
        let expected =
            ["patch_3", "a__b__c_2", "a__b__c_3", "a__b__c_4", "patch", "patch_2", "a__b__c", "patch_4"].map(str::to_owned);
        assert_eq!(functions, expected);
        for ((namespace, name, custom), function) in tools.iter().zip(&functions) {
            assert_eq!(names.of(*namespace, (*name).to_owned(), *custom), *function);
            let own = names.own.iter().find(|own| own.function == *function);
            let found = own.map(|own| (own.namespace.as_deref(), own.name.as_str(), own.custom));
            assert_eq!(found, (namespace.is_some() || *custom).then_some((*namespace, *name, *custom)));
        }
        assert_eq!(names.of(Some("n"), "gone".into(), false), "n__gone");
    }

    #[test]
    fn two_that_the_client_calls_alike_are_refused() {
        for tool in [(None, "f", false), (None, "f", true), (Some("n"), "f", false)] {
            let (mut names, _) = named(&[tool]);
            let (namespace, name, custom) = tool;
            let refused = names.add("tools[1]", namespace, name.to_owned(), custom).unwrap_err();
            assert_eq!(refused.what, "two tools of one name (`tools[1].name` is `f`, as is `tools[0].name`: call one otherwise)");
        }
    }

    proptest! {
        #[test]
        fn every_tool_has_a_name_of_its_own(tools in proptest::collection::hash_set((proptest::option::of("[a_]{0,3}"), "[a_]{1,3}(_2)?", any::<bool>()), 0..20)) {
            let plain = tools.iter().filter(|(namespace, _, custom)| namespace.is_none() && !custom);
            let mut names = ToolNames::beside(plain.map(|(_, name, _)| name.clone()));
            let functions: Vec<String> = tools
                .iter()
                .map(|(namespace, name, custom)| names.add("tools[0]", namespace.as_deref(), name.clone(), *custom).unwrap())
                .collect();
            prop_assert_eq!(functions.iter().collect::<HashSet<_>>().len(), tools.len(), "{:?}", functions);
            for ((namespace, name, custom), function) in tools.iter().zip(&functions) {
                prop_assert_eq!(&names.of(namespace.as_deref(), name.clone(), *custom), function);
            }
        }
    }
}
