//! Walking the top-level object of a request, whichever shape it is in: members that decide something are kept as slices of
//! the body, so that where they stand is known to the splice; long ones are walked by a [`Layout`]; the others are not
//! looked at.
//!
//! Names that decide money or routing must not stand twice (parsers disagree on which one counts) nor in another case (some
//! parsers do not mind the case, so a second model could be smuggled past the gateway).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::{Deserializer as _, Error, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::errors::{BadRequest, Position};
use super::json::{TOO_DEEP, nests_deeper, span_in};
use super::messages::Conversation;
use super::wishes;
use crate::canonical::request::Member;
use crate::canonical::{Parameter, Request, Wishes};

pub(super) const MAX_MODEL_BYTES: usize = 256;
/// No layout has more names.
const MOST_NAMES: usize = 31;

/// Names of members. Written by [`named!`].
pub(super) trait Named: Copy + PartialEq + 'static {
    /// Each with its key, in the order of their places.
    const ALL: &'static [(Self, &'static str)];
    /// The one that the model stands under.
    const MODEL: Self;

    fn place(self) -> usize;

    fn key(self) -> &'static str {
        Self::ALL[self.place()].1
    }
}

/// An enumeration of names of members, each with the key that it has in a body; one of them is `Model`.
macro_rules! named {
    ($(#[$about:meta])* $vis:vis enum $Name:ident { $($(#[$said:meta])* $name:ident = $key:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(usize)]
        $vis enum $Name {
            $($(#[$said])* $name,)+
        }

        impl $crate::frontend::top_level::Named for $Name {
            const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $key)),+];
            const MODEL: Self = Self::Model;

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}
pub(super) use named;

/// What one frontend acts on of the top-level object.
pub(super) trait Layout<'b> {
    /// Its members.
    type Name: Named;

    /// Whether a member of this name is acted on in this very request; of one that is not, only the bytes pass.
    fn acts_on(&self, _: Self::Name) -> bool {
        true
    }

    /// Whether a member is walked rather than kept.
    fn is_walked(name: Self::Name) -> bool;

    /// Reads the value of a member that is walked.
    fn walk<A: MapAccess<'b>>(&mut self, name: Self::Name, members: &mut A) -> Result<(), A::Error>;

    /// What was found in what is walked.
    fn conversation(&self) -> &Conversation<'b>;
}

/// Reads a request by `read`, which is handed the wishes that stand in headers, and keeps its bytes.
pub(super) fn keeping(
    body: Bytes,
    headers: &HeaderMap,
    read: impl FnOnce(&[u8], Wishes) -> Result<Request, BadRequest>,
) -> Result<Request, BadRequest> {
    let mut wishes = Wishes::default();
    wishes::from_headers(headers, &mut wishes)?;
    let mut request = read(&body, wishes)?;
    request.body = body;
    Ok(request)
}

/// The members found, as slices of the body.
pub(super) struct TopLevel<'b, L: Layout<'b>> {
    body: &'b str,
    /// Key and value of each known member, quotes included; the value of one that was walked is empty until its end is known.
    slots: [Option<(&'b str, &'b str)>; MOST_NAMES],
    pub(super) layout: L,
    /// What is wrong, where it has to be said better than the JSON reader can.
    wrong: Option<BadRequest>,
}

impl<'b, L: Layout<'b>> TopLevel<'b, L> {
    pub(super) fn read(body: &'b str, layout: L) -> Result<Self, BadRequest> {
        const { assert!(L::Name::ALL.len() <= MOST_NAMES) };
        let mut top = Self { body, slots: [None; MOST_NAMES], layout, wrong: None };
        let mut reader = serde_json::Deserializer::from_str(body);
        let outcome = reader.deserialize_map(Walk(&mut top)).and_then(|()| reader.end());
        match outcome {
            Err(error) => Err(top.explain(&error)),
            Ok(()) => Ok(top),
        }
    }

    /// Turns the JSON reader's complaint into ours.
    fn explain(&mut self, error: &serde_json::Error) -> BadRequest {
        let reported = || Position::of_line(self.body.as_bytes(), error.line(), error.column());
        let position = self.layout.conversation().wrong_at.map_or_else(reported, |at| Position::at(self.body.as_bytes(), at));
        if let Some(wrong) = self.wrong.take() {
            return wrong.at(position);
        }
        let full = error.to_string();
        let said = full.rsplit_once(" at line ").map_or(full.as_str(), |(said, _)| said);
        let param = self.layout.conversation().param();
        let (code, message) = match error.classify() {
            Category::Data if said.contains(TOO_DEEP) => ("nesting_too_deep", said.to_owned()),
            Category::Data => ("invalid_type", said.to_owned()),
            _ if said.contains("recursion limit") => ("nesting_too_deep", TOO_DEEP.to_owned()),
            Category::Syntax | Category::Eof | Category::Io => ("invalid_json", format!("the body is not valid JSON: {said}")),
        };
        let param = if code == "invalid_json" { None } else { param };
        BadRequest { message, param, code, position: Some(position) }
    }

    /// The member stands there, whatever its value.
    pub(super) fn has(&self, name: L::Name) -> bool {
        self.slots[name.place()].is_some()
    }

    /// The raw value of a member; null counts as absent.
    pub(super) fn value(&self, name: L::Name) -> Option<&'b str> {
        self.slots[name.place()].map(|(_, value)| value).filter(|value| *value != "null")
    }

    /// Where the value of a member stands; nowhere if there is none.
    pub(super) fn span(&self, name: L::Name) -> Range<usize> {
        self.value(name).filter(|value| !value.is_empty()).map(|value| span_in(self.body, value)).unwrap_or_default()
    }

    /// Takes the wishes that stand in the body.
    pub(super) fn take_wishes(&self, name: L::Name, wishes: &mut Wishes) -> Result<(), BadRequest> {
        self.value(name).map_or(Ok(()), |value| wishes::from_body(value, wishes).map_err(|bad| self.place(bad, value)))
    }

    /// Says where in the body a complaint about a value belongs.
    pub(super) fn place(&self, bad: BadRequest, value: &str) -> BadRequest {
        bad.at(Position::at(self.body.as_bytes(), span_in(self.body, value).start))
    }

    pub(super) fn wrong_type(&self, name: L::Name, value: &str, accepted: &str) -> BadRequest {
        let word = name.key();
        self.place(BadRequest::new("invalid_type", word, format!("`{word}` must be {accepted}")), value)
    }

    pub(super) fn model(&self) -> Result<Cow<'b, str>, BadRequest> {
        let missing =
            || BadRequest::new("missing_required_parameter", "model", "`model` must be given: a model's name, or `auto`");
        let raw = self.value(L::Name::MODEL).ok_or_else(missing)?;
        let model = string(raw).ok_or_else(|| self.wrong_type(L::Name::MODEL, raw, "a string"))?;
        if !fits_model(&model) {
            let message = format!("`model` must have 1 to {MAX_MODEL_BYTES} bytes and no control characters");
            return Err(self.place(BadRequest::new("invalid_value", "model", message), raw));
        }
        Ok(model)
    }

    pub(super) fn flag(&self, name: L::Name) -> Result<Option<bool>, BadRequest> {
        match self.value(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(self.wrong_type(name, other, "true or false")),
        }
    }

    pub(super) fn whole(&self, name: L::Name, least: u64, most: u64) -> Result<Option<u64>, BadRequest> {
        let Some(raw) = self.value(name) else {
            return Ok(None);
        };
        let number = raw.parse::<u64>().ok();
        match number.filter(|n| (least..=most).contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong_type(name, raw, &format!("a whole number from {least} to {most}"))),
        }
    }

    /// A small object read into a type of its own.
    pub(super) fn object<T: Deserialize<'b>>(&self, name: L::Name, accepted: &str) -> Result<Option<T>, BadRequest> {
        let Some(raw) = self.value(name) else {
            return Ok(None);
        };
        if !raw.starts_with('{') {
            return Err(self.wrong_type(name, raw, accepted));
        }
        serde_json::from_str(raw).map(Some).map_err(|_| self.wrong_type(name, raw, accepted))
    }

    /// Whether the options of a stream, in a member of this name, ask for a report of its usage.
    pub(super) fn include_usage(&self, name: L::Name) -> Result<bool, BadRequest> {
        #[derive(Deserialize)]
        struct StreamOptions {
            include_usage: Option<bool>,
        }
        let options: Option<StreamOptions> = self.object(name, "an object with `include_usage` true or false")?;
        Ok(options.and_then(|o| o.include_usage).unwrap_or(false))
    }

    /// Refuses a request without messages.
    pub(super) fn needs_messages(&self, name: L::Name, count: u32) -> Result<(), BadRequest> {
        if !self.has(name) {
            let message = "`messages` must be given: an array of at least one message";
            return Err(BadRequest::new("missing_required_parameter", "messages", message));
        }
        if count == 0 {
            let message = "`messages` must have at least one message";
            return Err(BadRequest::new("invalid_value", "messages", message));
        }
        Ok(())
    }

    /// Where a member stands; one that is null stands there all the same.
    pub(super) fn member(&self, name: L::Name) -> Option<Member> {
        self.slots[name.place()].map(|(key, value)| Member { key: span_in(self.body, key), value: span_in(self.body, value) })
    }

    /// Where members stand that say how to draw, as far as they say anything.
    pub(super) fn drawn(&self, named: &[(L::Name, Parameter)]) -> Vec<(Parameter, Member)> {
        let said = named.iter().filter(|(name, _)| self.value(*name).is_some());
        said.filter_map(|(name, parameter)| Some((*parameter, self.member(*name)?))).collect()
    }

    /// A value was walked that begins behind its key and ends before `end`, where the next key begins or the body ends:
    /// between them stand a colon, the value, and a comma or the last bracket.
    fn walked(&mut self, name: L::Name, key: &'b str, end: usize) {
        let between = self.body[span_in(self.body, key).end..end].trim();
        let value = between.strip_prefix(':').and_then(|rest| rest.strip_suffix([',', '}'])).unwrap_or_default().trim();
        self.slots[name.place()] = Some((key, value));
    }
}

/// Whether a text may name a model.
pub(super) fn fits_model(model: &str) -> bool {
    !model.trim().is_empty() && model.len() <= MAX_MODEL_BYTES && !model.contains(char::is_control)
}

/// What is said of bytes that are no text.
pub(super) fn utf8(body: &[u8]) -> Result<&str, BadRequest> {
    std::str::from_utf8(body).map_err(|error| {
        let message = "the body is not valid UTF-8".to_owned();
        let position = Some(Position::at(body, error.valid_up_to()));
        BadRequest { message, param: None, code: "invalid_json", position }
    })
}

/// The text of a raw JSON string.
pub(super) fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(raw).ok().map(Cow::Owned) } else { Some(inner.into()) }
}

/// Walks the members of the top-level object.
struct Walk<'t, 'b, L: Layout<'b>>(&'t mut TopLevel<'b, L>);

impl<'b, L: Layout<'b>> Walk<'_, 'b, L> {
    /// What a key stands for; `None` for a member that only passes.
    fn name(&mut self, key: &'b str) -> Result<Option<L::Name>, BadRequest> {
        let word = string(key).unwrap_or_default();
        let mut acted_on = L::Name::ALL.iter().filter(|(name, _)| self.0.layout.acts_on(*name));
        if let Some((name, _)) = acted_on.clone().find(|(_, known)| *known == word) {
            return match self.0.slots[name.place()] {
                None => Ok(Some(*name)),
                Some(_) => Err(self.refuse(key, "duplicate_parameter", &word, "stands twice")),
            };
        }
        if acted_on.any(|(_, known)| known.eq_ignore_ascii_case(&word)) {
            return Err(self.refuse(key, "unknown_parameter", &word, "must be written in lower case"));
        }
        Ok(None)
    }

    fn refuse(&self, key: &str, code: &'static str, word: &str, what: &str) -> BadRequest {
        self.0.place(BadRequest::new(code, word, format!("`{word}` {what}")), key)
    }

    fn read<A: MapAccess<'b>>(&mut self, name: Option<L::Name>, key: &'b str, members: &mut A) -> Result<(), A::Error> {
        let value = match name.filter(|name| L::is_walked(*name)) {
            Some(walked) => self.0.layout.walk(walked, members).map(|()| "")?,
            None => members.next_value::<&RawValue>()?.get(),
        };
        if nests_deeper(value) {
            self.0.wrong = Some(self.refuse(value, "nesting_too_deep", &string(key).unwrap_or_default(), "nests too deep"));
            return Err(A::Error::custom(TOO_DEEP));
        }
        if let Some(name) = name {
            self.0.slots[name.place()] = Some((key, value));
        }
        Ok(())
    }
}

impl<'b, L: Layout<'b>> Visitor<'b> for Walk<'_, 'b, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body to be a JSON object")
    }

    fn visit_map<A: MapAccess<'b>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut walked = None;
        while let Some(key) = members.next_key::<&RawValue>()? {
            if let Some((name, before)) = walked.take() {
                self.0.walked(name, before, span_in(self.0.body, key.get()).start);
            }
            match self.name(key.get()) {
                Ok(name) => {
                    self.read(name, key.get(), &mut members)?;
                    walked = name.filter(|name| L::is_walked(*name)).map(|name| (name, key.get()));
                }
                Err(wrong) => {
                    self.0.wrong = Some(wrong);
                    return Err(A::Error::custom("refused"));
                }
            }
        }
        if let Some((name, before)) = walked {
            self.0.walked(name, before, self.0.body.len());
        }
        Ok(())
    }
}
