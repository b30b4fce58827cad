//! The client's bytes with only what must differ: never a re-serialised copy.
//!
//! The frontend noted where the members stand. Here each difference becomes an edit (a range and what replaces it), and
//! the edits are laid over the body with one allocation. No difference: the same bytes, shared.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::chat_request::{loses_depth, thinking_beside_template, thinking_members};
use super::{Outgoing, SEALS_WANTED};
use crate::canonical::request::Member;
use crate::canonical::{ReasoningWish, Request, Shape, TemplateSaid, ThinkingSaid};
use crate::catalog::capability::{OutputBoundField, Reasoning, RefusedThoughts, StreamUsage, ThinkingSwitch};

/// The body that goes out to chat completions.
pub(super) fn chat(request: &Request, out: &Outgoing<'_>) -> Bytes {
    let mut edits = Edits::of(request, out);
    edits.ask_for_usage(request, out.quirks.stream_usage);
    edits.bound_output(request, out, out.quirks.output_bound);
    edits.tell_thinking(request, out);
    if let Some(seed) = request.members.seed.as_ref().filter(|_| out.quirks.random_seed) {
        edits.replaced.push((seed.key.clone(), Cow::Borrowed("\"random_seed\"")));
    }
    if !request.members.forced_word.is_empty() {
        // Each site knows one of the two words, whichever the client used.
        let word = if out.quirks.required_is_any { "\"any\"" } else { "\"required\"" };
        edits.replace_if_other(&request.members.forced_word, word.to_owned());
    }
    if !out.quirks.developer_role {
        let roles = request.members.developer_roles.iter();
        edits.replaced.extend(roles.map(|role| (role.clone(), Cow::Borrowed("\"system\""))));
    }
    if out.quirks.reasoning_returned {
        // Such a site refuses calls without their thoughts, and takes an empty text for one that nobody knows (providers.md 3). Many
        // clients have no word for thoughts and drop them.
        let places = request.members.thoughtless.iter();
        edits.replaced.extend(places.map(|place| (*place..*place, Cow::Borrowed(",\"reasoning_content\":\"\""))));
    }
    if !out.own_thoughts {
        let texts = request.members.folded.iter();
        edits.replaced.extend(texts.map(|folded| (folded.text.clone(), Cow::Owned(folded.said.clone()))));
    }
    let refused = |member| out.quirks.thoughts_refused.contains(member);
    edits.cut.extend(request.members.thoughts.iter().filter(|(member, _)| refused(*member)).map(|(_, place)| place));
    // Such a site takes no member of messages that it does not know.
    edits.cut.extend(request.members.annotations.iter().filter(|_| out.quirks.thoughts_refused != RefusedThoughts::NONE));
    edits.apply(&request.body)
}

/// The body that goes out to Messages.
pub(super) fn messages(request: &Request, out: &Outgoing<'_>) -> Bytes {
    let mut edits = Edits::of(request, out);
    edits.bound_output(request, out, OutputBoundField::MaxTokens);
    edits.untell_thinking(request, out);
    edits.apply(&request.body)
}

/// The body that goes out to an endpoint that is for no conversation.
pub(super) fn direct(request: &Request, out: &Outgoing<'_>) -> Bytes {
    Edits::of(request, out).apply(&request.body)
}

/// The form that goes out, in which a value is written as it is.
pub(super) fn form(request: &Request, out: &Outgoing<'_>) -> Bytes {
    let mut edits = Edits { body: &request.body, replaced: Vec::new(), cut: Vec::new() };
    if request.model != out.upstream_model {
        edits.replaced.push((request.members.model.clone(), out.upstream_model.to_owned().into()));
    }
    edits.apply(&request.body)
}

/// The same to one whose model writes: with its bound, whoever set it, and a report at the end of a stream.
pub(super) fn written(request: &Request, out: &Outgoing<'_>) -> Bytes {
    let mut edits = Edits::of(request, out);
    edits.ask_for_usage(request, out.quirks.stream_usage);
    edits.bound_output(request, out, OutputBoundField::MaxTokens);
    edits.apply(&request.body)
}

/// The body that goes out to Responses. Nothing is to be stored at the provider, for nobody could refer to it here; so what it
/// thought is asked for as what can be sent back.
pub(super) fn responses(request: &Request, out: &Outgoing<'_>) -> Bytes {
    let mut edits = Edits::of(request, out);
    edits.bound_response(request, out);
    edits.store_nothing(request);
    edits.untell_thinking(request, out);
    if out.quirks.encrypted_reasoning && out.reasoning != Reasoning::Never {
        edits.include_seals(request);
    }
    edits.apply(&request.body)
}

/// How a request of chat says how to think, where the site does not know all of that.
struct Strange<'r> {
    said: &'r ThinkingSaid,
    /// It is told in the site's own word instead.
    retold: bool,
    /// The arguments for the template, which the site does not know.
    template: Option<&'r TemplateSaid>,
}

fn strange_thinking<'r>(request: &'r Request, out: &Outgoing<'_>) -> Option<Strange<'r>> {
    let said = request.members.thinking.as_deref()?;
    let knows = |word| out.quirks.knows_thinking_word(word, (out.reasoning, &out.steering), request.reasoning);
    let template = said.template.as_ref().filter(|_| !out.quirks.knows_template_arguments());
    // Where the site cannot be told, the words of others pass, and only the template's are taken out.
    let tells = out.quirks.thinking_switch != ThinkingSwitch::None || out.reasoning == Reasoning::Never;
    let retold =
        !said.members.iter().all(|(word, _)| knows(*word)) || (tells && template.is_some_and(|template| template.switch));
    (retold || template.is_some()).then_some(Strange { said, retold, template })
}

/// Whether what a client asks of thinking is left out at a site of its own shape: the model does not think, or chat has no word there
/// for how deep.
pub fn loses_thinking(request: &Request, out: &Outgoing<'_>) -> bool {
    let Some(said) = request.members.thinking.as_deref() else { return false };
    if out.reasoning == Reasoning::Never {
        return said.wish.is_said() && said.wish.wish != ReasoningWish::Off;
    }
    request.shape == Shape::OpenAiChat
        && strange_thinking(request, out).is_some_and(|strange| strange.retold && loses_depth(said.wish, out))
}

/// Whether some of the arguments for the template are told to a site of the client's own shape in no way: all but whether to think,
/// and that as well where the site cannot be told.
pub fn loses_template_arguments(request: &Request, out: &Outgoing<'_>) -> bool {
    let mute = out.quirks.thinking_switch == ThinkingSwitch::None && out.reasoning == Reasoning::Switchable;
    let template = strange_thinking(request, out).and_then(|strange| strange.template);
    template.is_some_and(|template| template.more || template.switch && mute)
}

struct Edits<'r> {
    body: &'r [u8],
    /// What stands at a range is replaced; an empty range inserts.
    replaced: Vec<(Range<usize>, Cow<'static, str>)>,
    /// Members that go, with a comma beside them.
    cut: Vec<&'r Member>,
}

impl<'r> Edits<'r> {
    /// What differs in every shape: the model's name, the wishes, which are ours, and what says how to draw where the model refuses it.
    fn of(request: &'r Request, out: &Outgoing<'_>) -> Self {
        let mut edits = Edits { body: &request.body, replaced: Vec::new(), cut: Vec::new() };
        edits.set_model(request, out.upstream_model);
        edits.cut.extend(request.members.wishes.as_ref());
        let refused = request.members.drawn.iter().filter(|_| !out.draws(request.reasoning));
        edits.cut.extend(refused.map(|(_, member)| member));
        edits
    }

    fn set_model(&mut self, request: &Request, upstream_model: &str) {
        if request.model != upstream_model {
            let quoted = serde_json::Value::from(upstream_model).to_string();
            self.replaced.push((request.members.model.clone(), quoted.into()));
        }
    }

    /// Right behind the model, which every request has: the place is always that of a whole member.
    fn insert(&mut self, request: &Request, member: String) {
        let behind = request.members.model.end;
        self.replaced.push((behind..behind, member.into()));
    }

    /// What the site does not know is told in its own word.
    fn tell_thinking(&mut self, request: &'r Request, out: &Outgoing<'_>) {
        let Some(Strange { said, retold, template }) = strange_thinking(request, out) else { return };
        self.cut.extend(template.map(|template| &template.member));
        if !retold {
            return;
        }
        self.cut.extend(said.members.iter().map(|(_, member)| member));
        let told = match said.template.as_ref().filter(|_| template.is_none()) {
            Some(kept) => {
                let (told, added) = thinking_beside_template(said.wish, out);
                // What it says itself stays as it is.
                if !kept.switch && !added.is_empty() {
                    let (comma, inside) = (if kept.more { "," } else { "" }, kept.member.value.start + 1);
                    self.replaced.push((inside..inside, format!("{added}{comma}").into()));
                }
                told
            }
            None => thinking_members(said.wish, out),
        };
        if !told.is_empty() {
            self.insert(request, format!(",{told}"));
        }
    }

    /// To a model that does not think nothing is said of it: `OpenAI`'s refuse what they do not know.
    fn untell_thinking(&mut self, request: &'r Request, out: &Outgoing<'_>) {
        let said = request.members.thinking.as_deref().filter(|_| out.reasoning == Reasoning::Never);
        self.cut.extend(said.into_iter().flat_map(|said| &said.members).map(|(_, member)| member));
        // Nor is it asked for thoughts, encrypted or not.
        let Some(member) = request.members.include.as_ref().filter(|_| out.reasoning == Reasoning::Never) else { return };
        let words = self.body.get(member.value.clone()).map(serde_json::from_slice::<Option<Vec<Cow<'_, str>>>>);
        if let Some(Ok(Some(mut words))) = words
            && words.iter().any(|word| word == SEALS_WANTED)
        {
            words.retain(|word| word != SEALS_WANTED);
            self.replaced.push((member.value.clone(), serde_json::to_string(&words).unwrap_or_default().into()));
        }
    }

    fn ask_for_usage(&mut self, request: &'r Request, when: StreamUsage) {
        let options = request.members.stream_options.as_ref();
        match (when, options) {
            // Such a site may refuse a request with options it does not know.
            (StreamUsage::Always, _) => self.cut.extend(options),
            (StreamUsage::OnRequest, None) if request.stream => {
                self.insert(request, ",\"stream_options\":{\"include_usage\":true}".to_owned());
            }
            (StreamUsage::OnRequest, Some(options)) if request.stream && !request.wants_usage_frame => {
                self.merge_options(&options.value);
            }
            (StreamUsage::OnRequest | StreamUsage::Never, _) => {}
        }
    }

    /// Sets `include_usage` in an object of options and leaves its other members alone.
    fn merge_options(&mut self, options: &Range<usize>) {
        let text = self.body.get(options.clone()).and_then(|raw| std::str::from_utf8(raw).ok()).unwrap_or_default();
        let Ok(Entries(entries)) = serde_json::from_str(text) else {
            // Null: the one other thing that a parsed request has here.
            self.replaced.push((options.clone(), "{\"include_usage\":true}".into()));
            return;
        };
        let is_wanted = |key: &RawValue| serde_json::from_str::<Cow<'_, str>>(key.get()).is_ok_and(|k| k == "include_usage");
        let mut found = entries.iter().filter(|(key, _)| is_wanted(key)).map(|(_, value)| value.get()).peekable();
        if found.peek().is_none() {
            let member = if entries.is_empty() { "\"include_usage\":true" } else { "\"include_usage\":true," };
            self.replaced.push((options.start + 1..options.start + 1, member.into()));
        }
        for value in found {
            let start = options.start + (value.as_ptr().addr() - text.as_ptr().addr());
            self.replaced.push((start..start + value.len(), "true".into()));
        }
    }

    /// Sends the smaller of the client's bound and ours, in the one member that the site reads.
    fn bound_output(&mut self, request: &'r Request, out: &Outgoing<'_>, field: OutputBoundField) {
        let bound = [request.output_bound, out.output_bound].into_iter().flatten().min();
        let members = &request.members;
        let (tokens, completion) = (members.max_tokens.as_ref(), members.max_completion_tokens.as_ref());
        let name = match (field, completion) {
            (OutputBoundField::MaxCompletionTokens, _) | (OutputBoundField::Either, Some(_)) => "max_completion_tokens",
            (OutputBoundField::MaxTokens, _) | (OutputBoundField::Either, None) => "max_tokens",
        };
        let (kept, spare) = if name == "max_tokens" { (tokens, completion) } else { (completion, tokens) };
        let Some(member) = kept.or(spare) else {
            if let Some(bound) = bound {
                self.insert(request, format!(",\"{name}\":{bound}"));
            }
            return;
        };
        self.cut.extend(kept.and(spare));
        self.replace_if_other(&member.key, format!("\"{name}\""));
        if let Some(bound) = bound {
            self.replace_if_other(&member.value, bound.to_string());
        }
    }

    /// Sends the smaller of the client's bound and ours.
    fn bound_response(&mut self, request: &'r Request, out: &Outgoing<'_>) {
        let Some(bound) = [request.output_bound, out.output_bound].into_iter().flatten().min() else { return };
        match &request.members.max_output_tokens {
            Some(member) => self.replace_if_other(&member.value, bound.to_string()),
            None => self.insert(request, format!(",\"max_output_tokens\":{bound}")),
        }
    }

    fn store_nothing(&mut self, request: &'r Request) {
        match &request.members.store {
            Some(member) => self.replace_if_other(&member.value, "false".to_owned()),
            None => self.insert(request, ",\"store\":false".to_owned()),
        }
    }

    /// What is no list of words is left to the provider to refuse.
    fn include_seals(&mut self, request: &'r Request) {
        let Some(member) = &request.members.include else {
            return self.insert(request, format!(",\"include\":[\"{SEALS_WANTED}\"]"));
        };
        match self.body.get(member.value.clone()).map(serde_json::from_slice::<Option<Vec<Cow<'_, str>>>>) {
            Some(Ok(None)) => self.replaced.push((member.value.clone(), format!("[\"{SEALS_WANTED}\"]").into())),
            Some(Ok(Some(words))) if !words.iter().any(|word| word == SEALS_WANTED) => {
                let behind = member.value.start + 1;
                let comma = if words.is_empty() { "" } else { "," };
                self.replaced.push((behind..behind, format!("\"{SEALS_WANTED}\"{comma}").into()));
            }
            Some(Ok(Some(_)) | Err(_)) | None => {}
        }
    }

    fn replace_if_other(&mut self, at: &Range<usize>, wanted: String) {
        if self.body.get(at.clone()) != Some(wanted.as_bytes()) {
            self.replaced.push((at.clone(), wanted.into()));
        }
    }

    fn apply(mut self, whole: &Bytes) -> Bytes {
        let cuts = self.cut_ranges();
        self.replaced.extend(cuts.into_iter().map(|range| (range, Cow::Borrowed(""))));
        if self.replaced.is_empty() {
            return whole.clone();
        }
        self.replaced.sort_by_key(|(range, _)| (range.start, range.end));
        let added: usize = self.replaced.iter().map(|(_, new)| new.len()).sum();
        let mut spliced = Vec::with_capacity(whole.len() + added);
        let mut copied = 0;
        for (range, new) in &self.replaced {
            spliced.extend_from_slice(&whole[copied..range.start]);
            spliced.extend_from_slice(new.as_bytes());
            copied = range.end;
        }
        spliced.extend_from_slice(&whole[copied..]);
        spliced.into()
    }

    /// The ranges to cut, each with the one comma that goes with it. Neighbours are cut as one range, for each of
    /// them would claim the comma between them.
    fn cut_ranges(&mut self) -> Vec<Range<usize>> {
        self.cut.sort_by_key(|member| member.key.start);
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for member in &self.cut {
            match ranges.last_mut() {
                Some(last) if self.comma_after(last.end).is_some_and(|comma| self.next_token(comma + 1) == member.key.start) => {
                    last.end = member.value.end;
                }
                _ => ranges.push(member.key.start..member.value.end),
            }
        }
        for range in &mut ranges {
            if let Some(comma) = self.comma_after(range.end) {
                range.end = comma + 1;
            } else if let Some(comma) = self.comma_before(range.start) {
                range.start = comma;
            }
        }
        ranges
    }

    fn next_token(&self, from: usize) -> usize {
        let space = |b: &&u8| b.is_ascii_whitespace();
        from + self.body.get(from..).unwrap_or_default().iter().take_while(space).count()
    }

    fn comma_after(&self, end: usize) -> Option<usize> {
        let next = self.next_token(end);
        (self.body.get(next) == Some(&b',')).then_some(next)
    }

    fn comma_before(&self, start: usize) -> Option<usize> {
        let before = self.body.get(..start).unwrap_or_default().trim_ascii_end();
        before.ends_with(b",").then(|| before.len() - 1)
    }
}

/// The members of an object in their order, unread, doubles included.
struct Entries<'b>(Vec<(&'b RawValue, &'b RawValue)>);

impl<'de: 'b, 'b> Deserialize<'de> for Entries<'b> {
    fn deserialize<D: Deserializer<'de>>(object: D) -> Result<Self, D::Error> {
        object.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Entries<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = members.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
