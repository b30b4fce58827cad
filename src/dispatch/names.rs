//! Names of tools that an API does not take: told in ones that it takes, and told back. A client of Messages may name a tool in 128
//! characters, which servers of tools make use of; everywhere else a name has 64 (dialects.md 5.2).
//!
//! The same name becomes the same always, so that what is cached of a prompt stays good.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::canonical::conversation::{Part, ToolChoice};
use crate::canonical::{Conversation, Delta, Shape};

/// Characters that any name may have.
const CHARS: usize = 64;
/// And at Anthropic.
const MESSAGES_CHARS: usize = 128;

/// What tools are called in one letter, where that is not as the client calls them.
#[derive(Debug, Default)]
pub struct Names {
    /// Ours and the client's.
    changed: Vec<(String, String)>,
}

impl Names {
    /// The names of a conversation that an API of this shape does not take, with the conversation in which they are changed; `None`
    /// where it takes all. What the client's names are is still told apart: two never become one.
    pub fn fit(conversation: &Conversation, shape: Shape) -> Option<(Self, Conversation)> {
        let names: BTreeSet<&str> = names(conversation).collect();
        let unfit = names.iter().filter(|name| !fits(name, shape));
        let changed: Vec<(String, String)> = unfit.map(|name| (fitted(name, shape, &names), (*name).to_owned())).collect();
        if changed.is_empty() {
            return None;
        }
        let renaming = Self { changed };
        let mut told = conversation.clone();
        for tool in &mut told.tools {
            renaming.change(&mut tool.name);
        }
        if let ToolChoice::Named(name) = &mut told.tool_choice {
            renaming.change(name);
        }
        for part in told.turns.iter_mut().flat_map(|turn| &mut turn.parts) {
            if let Part::Call(call) = part {
                renaming.change(&mut call.name);
            }
        }
        Some((renaming, told))
    }

    /// Whether the client's names are told.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    fn change(&self, name: &mut String) {
        if let Some((ours, _)) = self.changed.iter().find(|(_, clients)| *clients == *name) {
            name.clone_from(ours);
        }
    }

    /// A piece of the answer in the client's names.
    #[must_use]
    pub fn told(&self, delta: Delta) -> Delta {
        match delta {
            Delta::Call { slot, id, name, seal } => {
                let clients = self.changed.iter().find(|(ours, _)| *ours == name).map(|(_, clients)| clients.clone());
                Delta::Call { slot, id, name: clients.unwrap_or(name), seal }
            }
            other => other,
        }
    }
}

/// Of all tools, and of all calls.
fn names(conversation: &Conversation) -> impl Iterator<Item = &str> {
    let parts = conversation.turns.iter().flat_map(|turn| &turn.parts);
    let called = parts.filter_map(|part| if let Part::Call(call) = part { Some(call.name.as_str()) } else { None });
    conversation.tools.iter().map(|tool| tool.name.as_str()).chain(called)
}

const fn most_chars(shape: Shape) -> usize {
    match shape {
        Shape::AnthropicMessages => MESSAGES_CHARS,
        _ => CHARS,
    }
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// Gemini's begin with a letter or a line, and may have dots and colons.
fn fits(name: &str, shape: Shape) -> bool {
    let gemini = shape == Shape::GeminiGenerate;
    let begins = !gemini || name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let known = name.chars().all(|c| is_allowed(c) || gemini && matches!(c, '.' | ':'));
    begins && known && !name.is_empty() && name.len() <= most_chars(shape)
}

/// As much of the name as there is room for beside a mark of its own.
fn fitted(name: &str, shape: Shape, taken: &BTreeSet<&str>) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let said: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).take(most_chars(shape) - 18).collect();
    let mark = hasher.finish();
    let mut fitted = format!("{said}_{mark:016x}");
    if !fitted.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        fitted.insert(0, '_');
    }
    while taken.contains(fitted.as_str()) {
        fitted.pop();
    }
    fitted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::canonical::conversation::{Call, Role, Tool, Turn};

    fn with(names: &[&str]) -> Conversation {
        let tool = |name: &&str| Tool { name: (*name).into(), description: None, parameters: None, strict: None, cached: None };
        let call = |name: &&str| {
            Part::Call(Call { id: "a".into(), name: (*name).into(), arguments: String::new(), seal: None, cached: None })
        };
        let turns = vec![Turn { role: Role::Assistant, parts: names.iter().map(call).collect() }];
        Conversation { tools: names.iter().map(tool).collect(), turns: turns.into(), ..Conversation::default() }
    }

    fn call(name: &str) -> Delta {
        Delta::Call { slot: 0, id: None, name: name.to_owned(), seal: None }
    }

    /// Found by a reviewer: the long names of a server of tools were refused by every API but Anthropic's.
    #[test]
    fn a_name_that_is_too_long_is_told_in_another_and_told_back() {
        let long = format!("mcp__{}__{}", "server".repeat(8), "tool".repeat(8));
        let mut said = with(&["weather", &long]);
        said.tool_choice = ToolChoice::Named(long.clone());
        assert!(Names::fit(&said, Shape::AnthropicMessages).is_none());
        for shape in [Shape::OpenAiChat, Shape::OpenAiResponses, Shape::GeminiGenerate, Shape::BedrockConverse] {
            let (names, told) = Names::fit(&said, shape).unwrap();
            let ours = told.tools[1].name.clone();
            assert!(ours.len() <= 64 && ours.starts_with("mcp__server"), "{ours}");
            assert_eq!((&*told.tools[0].name, &told.tool_choice), ("weather", &ToolChoice::Named(ours.clone())));
            assert!(matches!(&told.turns[0].parts[1], Part::Call(call) if call.name == ours));
            assert_eq!((names.told(call(&ours)), names.told(call("weather"))), (call(&long), call("weather")));
            assert_eq!(Names::fit(&said, shape).unwrap().1.tools[1].name, ours, "the same each time");
        }
    }

    #[test]
    fn each_api_has_its_own_letters() {
        let fit = |name: &str, shape| Names::fit(&with(&[name]), shape).is_none();
        for (name, expected) in
            [("a.b", [false, false, true]), ("1a", [true, true, false]), ("a b", [false; 3]), ("", [false; 3])]
        {
            let shapes = [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::GeminiGenerate];
            assert_eq!(shapes.map(|shape| fit(name, shape)), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn fitted_names_fit_and_stay_apart(one in ".{0,140}", other in "[a-z._]{0,80}") {
            for shape in [Shape::OpenAiChat, Shape::AnthropicMessages, Shape::GeminiGenerate] {
                let said = with(&[&one, &other]);
                let told = Names::fit(&said, shape).map_or(said, |(_, told)| told);
                let names: Vec<&str> = told.tools.iter().map(|tool| tool.name.as_str()).collect();
                prop_assert!(names.iter().all(|name| fits(name, shape)), "{names:?}");
                prop_assert_eq!(names[0] == names[1], one == other);
            }
        }
    }
}
