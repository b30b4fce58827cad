//! What a request needs of a backend, read from its top-level members: features and thinking.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::chat_request;
use super::errors::BadRequest;
use super::openai_chat::{Chat, Name};
use super::top_level::{TopLevel, string};
use crate::canonical::schema::may_be_an_object;
use crate::canonical::{Feature, Features, ReasoningWish, TemplateSaid, ThinkingSaid, ThinkingWord};

impl<'b> TopLevel<'b, Chat<'b>> {
    pub(super) fn features(&self, choices: u64, format: Option<&ResponseFormat<'_>>) -> Result<Features, BadRequest> {
        let wanted = [
            (Feature::Tools, self.layout.conversation.tools > 0),
            (Feature::ForcedTool, self.forces_tool()?),
            (Feature::JsonSchema, format.is_some_and(|f| f.kind == "json_schema")),
            (Feature::JsonObject, format.is_some_and(|f| f.kind == "json_object")),
            (Feature::Logprobs, self.wants_logprobs()?),
            (Feature::ManyChoices, choices > 1),
            (Feature::ImageInput, self.layout.conversation.images > 0),
            (Feature::AudioInput, self.layout.conversation.audios > 0),
            (Feature::FileInput, self.layout.conversation.files > 0),
            (Feature::AudioOutput, self.wants_audio()?),
        ];
        Ok(wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(feature, _)| feature).collect())
    }

    pub(super) fn response_format(&self) -> Result<Option<ResponseFormat<'b>>, BadRequest> {
        self.object(Name::ResponseFormat, "an object with a `type`")
    }

    fn forces_tool(&self) -> Result<bool, BadRequest> {
        if self.value(Name::FunctionCall).is_some_and(|call| call.starts_with('{')) {
            return Ok(true);
        }
        match self.value(Name::ToolChoice) {
            None => Ok(false),
            Some(word) if word.starts_with('"') => Ok(is_forced(word)),
            Some(_) => {
                let choice: Option<ToolChoice<'_>> = self.object(Name::ToolChoice, "a string or an object with a `type`")?;
                Ok(choice.is_some_and(|c| c.forces()))
            }
        }
    }

    fn wants_logprobs(&self) -> Result<bool, BadRequest> {
        let top = self.whole(Name::TopLogprobs, 0, 1000)?.unwrap_or(0);
        Ok(self.flag(Name::Logprobs)?.unwrap_or(false) || top > 0)
    }

    fn wants_audio(&self) -> Result<bool, BadRequest> {
        let Some(raw) = self.value(Name::Modalities) else {
            return Ok(false);
        };
        let wrong = |_| self.wrong_type(Name::Modalities, raw, "an array of strings");
        let modalities: Vec<Cow<'_, str>> = serde_json::from_str(raw).map_err(wrong)?;
        Ok(modalities.iter().any(|m| m == "audio"))
    }

    /// Whether there are tools, or a choice among them, that only `OpenAI`'s chat has.
    pub(super) fn has_own_tools(&self) -> bool {
        #[derive(Deserialize)]
        struct Tool<'b> {
            #[serde(borrow, rename = "type")]
            kind: Option<Cow<'b, str>>,
        }
        let custom = |tools: &str| {
            let tools: Vec<Tool<'_>> = serde_json::from_str(tools).unwrap_or_default();
            tools.iter().any(|tool| tool.kind.as_deref() == Some("custom"))
        };
        // Most tools are functions: they are not read once more.
        let tools = self.value(Name::Tools).filter(|tools| memchr::memmem::find(tools.as_bytes(), b"\"custom\"").is_some());
        let allowed = |choice: &str| choice.starts_with('{') && choice.contains("\"allowed_tools\"");
        tools.is_some_and(custom) || self.value(Name::ToolChoice).is_some_and(allowed)
    }

    /// How the client wants it thought, and where it says so; nothing where it does not.
    pub(super) fn thinking(&self, wish: ReasoningWish) -> Option<Box<ThinkingSaid>> {
        let words = [
            (Name::ReasoningEffort, ThinkingWord::ReasoningEffort),
            (Name::Thinking, ThinkingWord::Thinking),
            (Name::EnableThinking, ThinkingWord::EnableThinking),
            (Name::ThinkingBudget, ThinkingWord::EnableThinking),
            (Name::Reasoning, ThinkingWord::Reasoning),
        ];
        let said = words.into_iter().filter(|(name, _)| self.value(*name).is_some());
        let members: Vec<_> = said.filter_map(|(name, word)| Some((word, self.member(name)?))).collect();
        let template = self.template();
        if members.is_empty() && template.is_none() {
            return None;
        }
        let object = |name| self.value(name).and_then(|raw| serde_json::from_str::<chat_request::Thinking<'_>>(raw).ok());
        let effort = self.value(Name::ReasoningEffort).and_then(string);
        let budget = self.value(Name::ThinkingBudget).and_then(|raw| raw.parse().ok());
        let objects = [object(Name::Thinking), object(Name::Reasoning)];
        let wish = chat_request::thinking_wish(wish, effort.as_deref(), objects.each_ref().map(Option::as_ref), budget);
        Some(Box::new(ThinkingSaid { wish, members, template }))
    }

    /// The arguments of a template; what is no object is left to whoever knows it.
    fn template(&self) -> Option<TemplateSaid> {
        let arguments = self.template_arguments()?;
        let switches = arguments.iter().filter(|(name, value)| thinks(name, value).is_some()).count();
        let member = self.member(Name::ChatTemplateKwargs)?;
        Some(TemplateSaid { member, switch: switches > 0, more: switches < arguments.len() })
    }

    fn template_arguments(&self) -> Option<BTreeMap<Cow<'b, str>, &'b RawValue>> {
        serde_json::from_str(self.value(Name::ChatTemplateKwargs)?).ok()
    }

    /// Any member that says "off" settles it: a model that cannot stop thinking would then be wrong.
    pub(super) fn reasoning(&self) -> Result<ReasoningWish, BadRequest> {
        #[derive(Deserialize)]
        struct Thinking<'b> {
            #[serde(borrow, rename = "type")]
            kind: Option<Cow<'b, str>>,
            #[serde(borrow)]
            effort: Option<Cow<'b, str>>,
            enabled: Option<bool>,
        }
        let mut said = Vec::new();
        if let Some(raw) = self.value(Name::ReasoningEffort) {
            let effort = string(raw).ok_or_else(|| self.wrong_type(Name::ReasoningEffort, raw, "a string"))?;
            said.push(effort != "none");
        }
        said.extend(self.flag(Name::EnableThinking)?);
        for name in [Name::Thinking, Name::Reasoning] {
            let Some(thinking) = self.object::<Thinking<'_>>(name, "an object that says how to think")? else {
                continue;
            };
            said.extend(thinking.kind.map(|kind| kind != "disabled"));
            said.extend(thinking.effort.map(|effort| effort != "none"));
            said.extend(thinking.enabled);
        }
        // A template's arguments are a server's own: what does not read as the switch we know says nothing to us.
        let template = self.template_arguments().unwrap_or_default();
        said.extend(template.iter().filter_map(|(name, value)| thinks(name, value)));
        Ok(match (said.is_empty(), said.contains(&false)) {
            (true, _) => ReasoningWish::Unsaid,
            (false, true) => ReasoningWish::Off,
            (false, false) => ReasoningWish::On,
        })
    }
}

/// Whether to think, where an argument of a template says so: templates have one of two names for it.
fn thinks(name: &str, value: &RawValue) -> Option<bool> {
    if !matches!(name, "enable_thinking" | "thinking") {
        return None;
    }
    value.get().parse().ok()
}

/// Whether a word, quotes included, says that some tool must be called: in `OpenAI`'s way or in Mistral's.
pub(super) fn is_forced(word: &str) -> bool {
    matches!(word, "\"required\"" | "\"any\"")
}

/// What the answer must look like.
#[derive(Deserialize)]
pub(super) struct ResponseFormat<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    #[serde(borrow)]
    pub(super) json_schema: Option<&'b RawValue>,
}

impl ResponseFormat<'_> {
    pub(super) fn is_of_no_object(&self) -> bool {
        #[derive(Deserialize)]
        struct Named<'b> {
            #[serde(borrow)]
            schema: Option<&'b RawValue>,
        }
        if self.kind != "json_schema" {
            return false;
        }
        let named = self.json_schema.and_then(|named| serde_json::from_str::<Named<'_>>(named.get()).ok());
        !named.and_then(|named| named.schema).is_some_and(|schema| may_be_an_object(schema.get()))
    }
}

#[derive(Deserialize)]
struct ToolChoice<'b> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'b, str>,
    #[serde(borrow)]
    allowed_tools: Option<AllowedTools<'b>>,
}

#[derive(Deserialize)]
struct AllowedTools<'b> {
    #[serde(borrow)]
    mode: Cow<'b, str>,
}

impl ToolChoice<'_> {
    fn forces(&self) -> bool {
        match self.kind.as_ref() {
            "auto" | "none" => false,
            "allowed_tools" => self.allowed_tools.as_ref().is_some_and(|a| a.mode == "required"),
            _ => true,
        }
    }
}
