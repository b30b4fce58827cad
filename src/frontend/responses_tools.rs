//! Reading the tools of Responses and which of them are to be called. Functions are what every API has; custom tools, and those that
//! stand in a namespace, are told as functions and told back as what they are.
//!
//! A search of the provider's own that stands beside the client's tools is an offer that agents make by habit: it is left out and
//! told by name. Where nothing else is offered, or something must be called, the request is about it, and cannot be said.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::content::cannot;
use super::freeform;
use super::tool_names::ToolNames;
use super::top_level::string;
use crate::canonical::Untranslatable;
use crate::canonical::conversation::{Json, Tool, ToolChoice};

/// What is told of a grammar that nobody enforces, and of a search that is not offered.
const GRAMMAR: &str = "tools.format";
const SEARCH: &str = "tools.web_search";

#[derive(Deserialize)]
pub(super) struct WireTool<'b> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'b, str>>,
    name: Option<String>,
    /// Of a tool that is named by a choice.
    namespace: Option<String>,
    description: Option<String>,
    parameters: Option<Json>,
    strict: Option<bool>,
    /// Of other types something else.
    #[serde(borrow)]
    format: Option<&'b RawValue>,
    #[serde(borrow)]
    tools: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct Choice<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    name: Option<String>,
    namespace: Option<String>,
    #[serde(borrow)]
    mode: Option<Cow<'b, str>>,
    #[serde(borrow)]
    tools: Option<Vec<WireTool<'b>>>,
}

/// What may be called.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) offered: Vec<Tool>,
    pub(super) names: ToolNames,
    pub(super) choice: ToolChoice,
    /// What could not be said of them, by name.
    pub(super) unsaid: Vec<&'static str>,
    /// The first search of the provider's: where it stands, and its type.
    search: Option<(String, String)>,
}

impl Tools {
    pub(super) fn read(tools: Option<Vec<WireTool<'_>>>, choice: Option<&RawValue>) -> Result<Self, Untranslatable> {
        let tools = tools.unwrap_or_default();
        let functions = tools.iter().filter(|tool| tool.kind.as_deref() == Some("function")).filter_map(|tool| tool.name.clone());
        let mut read = Self { names: ToolNames::beside(functions), ..Self::default() };
        for (at, tool) in tools.into_iter().enumerate() {
            read.add(&format!("tools[{at}]"), None, tool)?;
        }
        let alone = read.offered.is_empty();
        if let Some(choice) = choice {
            read.choice = read_choice(choice, &read.names, &mut read.offered)?;
        }
        match read.search.take() {
            Some((place, kind)) if alone || read.choice == ToolChoice::Required => Err(of_type(&place, &kind)),
            Some(_) => {
                read.unsaid.push(SEARCH);
                Ok(read)
            }
            None => Ok(read),
        }
    }

    fn add(&mut self, place: &str, namespace: Option<&str>, tool: WireTool<'_>) -> Result<(), Untranslatable> {
        let WireTool { kind, name, description, parameters, strict, format, tools, namespace: _ } = tool;
        match (kind.as_deref(), name) {
            (Some("function"), Some(name)) => {
                let name = self.names.add(place, namespace, name, false)?;
                self.offered.push(Tool { name, description, parameters, strict, cached: None });
            }
            (Some("custom"), Some(name)) => {
                let grammar = freeform::grammar(format).map_err(|what| cannot(format!("`{place}.format`{what}")))?;
                self.unsaid.extend(grammar.as_ref().map(|_| GRAMMAR));
                let name = self.names.add(place, namespace, name, true)?;
                self.offered.push(freeform::function(name, description, grammar.as_ref()));
            }
            (Some("namespace"), Some(name)) if namespace.is_none() => {
                let tools = tools.map_or(Ok(Vec::new()), |tools| serde_json::from_str::<Vec<WireTool<'_>>>(tools.get()));
                let tools = tools.map_err(|_| cannot(format!("`{place}.tools` as they are")))?;
                let first = self.offered.len();
                for (nth, tool) in tools.into_iter().enumerate() {
                    self.add(&format!("{place}.tools[{nth}]"), Some(&name), tool)?;
                }
                self.describe(first, description);
            }
            (Some(kind), _) if kind.starts_with("web_search") && namespace.is_none() => {
                self.search.get_or_insert_with(|| (place.to_owned(), kind.to_owned()));
            }
            (Some(kind), _) => return Err(of_type(place, kind)),
            (None, _) => return Err(cannot(format!("`{place}` without a type"))),
        }
        Ok(())
    }

    /// Says what a namespace is of before what its first tool does: there is no other place for it.
    fn describe(&mut self, first: usize, namespace: Option<String>) {
        let Some((tool, said)) = self.offered.get_mut(first).zip(namespace.filter(|text| !text.is_empty())) else { return };
        let described = tool.description.take().filter(|text| !text.is_empty());
        tool.description = Some(described.map_or_else(|| said.clone(), |text| format!("{said}\n\n{text}")));
    }
}

fn of_type(place: &str, kind: &str) -> Untranslatable {
    cannot(format!("`{place}` of type `{kind}`"))
}

/// Where only some tools are allowed, the others are not offered.
fn read_choice(raw: &RawValue, names: &ToolNames, tools: &mut Vec<Tool>) -> Result<ToolChoice, Untranslatable> {
    let of_word = |word: &str| match word {
        "auto" => Ok(ToolChoice::Auto),
        "none" => Ok(ToolChoice::None),
        "required" => Ok(ToolChoice::Required),
        _ => Err(cannot(format!("`tool_choice` with the value `{word}`"))),
    };
    if let Some(word) = string(raw.get()) {
        return of_word(&word);
    }
    let choice: Choice<'_> = serde_json::from_str(raw.get()).map_err(|_| cannot("`tool_choice` that is no choice"))?;
    match (&*choice.kind, choice.name, choice.tools) {
        (kind @ ("function" | "custom"), Some(name), _) => {
            Ok(ToolChoice::Named(names.of(choice.namespace.as_deref(), name, kind == "custom")))
        }
        ("allowed_tools", _, Some(allowed)) => {
            let function = |WireTool { kind, name, namespace, .. }: WireTool<'_>| {
                name.map(|name| names.of(namespace.as_deref(), name, kind.as_deref() == Some("custom")))
            };
            let allowed: HashSet<String> = allowed.into_iter().filter_map(function).collect();
            tools.retain(|tool| allowed.contains(&tool.name));
            of_word(choice.mode.as_deref().unwrap_or("auto"))
        }
        (kind, _, _) => Err(cannot(format!("`tool_choice` of type `{kind}`"))),
    }
}
