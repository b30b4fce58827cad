//! Reading a request that is no conversation in one borrowed pass over the client's bytes: one reader for all of them, by the
//! row of its shape ([`Direct`]). The member that is billed is walked, to profile its texts and count its tokens;
//! `top_level.rs` says what becomes of the other members.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::errors::{BadRequest, ClientError};
use super::messages::Conversation;
use super::models::{self, ListedModel};
use super::top_level::{Layout, TopLevel, keeping, string, utf8};
use super::{About, Frontend, wishes};
use crate::canonical::{
    self, Answer, Delta, Direct, Features, Members, ReasoningWish, Request, Shape, StreamWriter, TextProfile, Untranslatable,
    Wishes,
};
use crate::units::Tokens;

/// Above the length of any vectors that are sold or announced.
const MOST_DIMENSIONS: u64 = 1 << 20;
/// How numbers of a vector may be written (`dialects.md` section 1.5, 2026-11-22).
const ENCODINGS: [&str; 2] = ["float", "base64"];

/// Choices of one prompt that are believed; providers allow 128 at most, and 20 to choose from.
const MOST_CHOICES: u64 = 128;
/// Tokens of an answer whose request does not say how many (OpenAI's reference of `POST /completions`, stored copy).
const DEFAULT_MAX_TOKENS: u64 = 16;

/// The top-level members that the gateway acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Name {
    Model,
    Input,
    Prompt,
    Suffix,
    Dimensions,
    EncodingFormat,
    MaxTokens,
    N,
    BestOf,
    Stream,
    StreamOptions,
    Tokenbroker,
}

/// Each name as a key of the body, in the order of [`Name`].
const NAMES: [(Name, &str); 12] = [
    (Name::Model, "model"),
    (Name::Input, "input"),
    (Name::Prompt, "prompt"),
    (Name::Suffix, "suffix"),
    (Name::Dimensions, "dimensions"),
    (Name::EncodingFormat, "encoding_format"),
    (Name::MaxTokens, "max_tokens"),
    (Name::N, "n"),
    (Name::BestOf, "best_of"),
    (Name::Stream, "stream"),
    (Name::StreamOptions, "stream_options"),
    (Name::Tokenbroker, "tokenbroker"),
];

/// What is read of a request beside the members that are kept.
#[derive(Debug)]
struct Billed<'b> {
    direct: &'static Direct,
    texts: Conversation<'b>,
    /// Tokens that came as numbers.
    tokens: u64,
}

impl<'b> Layout<'b> for Billed<'b> {
    type Name = Name;
    const NAMES: &'static [(Name, &'static str)] = &NAMES;
    const MODEL: Name = Name::Model;

    fn place(name: Name) -> usize {
        name as usize
    }

    fn acts_on(&self, name: Name) -> bool {
        matches!(name, Name::Model | Name::Tokenbroker) || self.direct.members.contains(&NAMES[name as usize].1)
    }

    fn is_walked(name: Name) -> bool {
        matches!(name, Name::Input | Name::Prompt)
    }

    fn walk<A: MapAccess<'b>>(&mut self, _: Name, members: &mut A) -> Result<(), A::Error> {
        self.texts.reading_member(self.direct.input);
        members.next_value_seed(Inputs(self))?;
        self.texts.done();
        Ok(())
    }

    fn conversation(&self) -> &Conversation<'b> {
        &self.texts
    }
}

const ACCEPTED: &str = "a string, an array of strings, an array of tokens (whole numbers), or an array of such arrays";

/// Reads the value of `input`.
struct Inputs<'c, 'b>(&'c mut Billed<'b>);

impl<'de> DeserializeSeed<'de> for Inputs<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to be {ACCEPTED}", self.0.direct.input)
    }

    /// Null counts as absent.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.texts.add_text(text);
        self.0.texts.messages = 1;
        Ok(())
    }

    /// The first element says what all of them are.
    fn visit_seq<A: SeqAccess<'de>>(self, mut inputs: A) -> Result<(), A::Error> {
        let mut all = None;
        loop {
            self.0.texts.reading_message("");
            let Some(kind) = inputs.next_element_seed(Input(self.0))? else { break };
            if *all.get_or_insert(kind) != kind {
                let input = self.0.direct.input;
                return Err(A::Error::custom(format!("all of `{input}` must be alike: it must be {ACCEPTED}")));
            }
            self.0.texts.messages += 1;
        }
        if all == Some(Kind::Token) {
            self.0.texts.messages = 1;
        }
        Ok(())
    }
}

/// What an element of `input` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Token,
    Tokens,
}

/// Reads one element of `input`.
struct Input<'c, 'b>(&'c mut Billed<'b>);

impl<'de> DeserializeSeed<'de> for Input<'_, '_> {
    type Value = Kind;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Kind, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Input<'_, '_> {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to be {ACCEPTED}", self.0.direct.input)
    }

    fn visit_str<E>(self, text: &str) -> Result<Kind, E> {
        self.0.texts.add_text(text);
        Ok(Kind::Text)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Kind, E> {
        self.0.tokens += 1;
        Ok(Kind::Token)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<Kind, A::Error> {
        while tokens.next_element::<u64>()?.is_some() {
            self.0.tokens += 1;
        }
        Ok(Kind::Tokens)
    }
}

/// The frontend of a path whose requests are no conversation.
#[derive(Debug, Clone, Copy)]
pub struct OpenAiDirect(&'static Direct);

impl OpenAiDirect {
    /// One for each row.
    pub const ALL: [OpenAiDirect; Direct::ALL.len()] = [OpenAiDirect(&Direct::ALL[0]), OpenAiDirect(&Direct::ALL[1])];
}

impl Frontend for OpenAiDirect {
    fn shape(&self) -> Shape {
        self.0.shape
    }

    fn word(&self) -> &'static str {
        let Direct { booked, .. } = self.0;
        booked
    }

    fn parse(&self, body: Bytes, headers: &HeaderMap) -> Result<Request, BadRequest> {
        keeping(body, headers, |body, wishes| read(self.0, body, wishes))
    }

    fn conversation(&self, _: &Request) -> Result<canonical::Conversation, Untranslatable> {
        Err(Untranslatable { what: format!("a request for {}", self.0.word), shape: "another shape" })
    }

    /// Never asked: no answer is told in other words than the provider's.
    fn answer_body(&self, _: &Answer, _: &About) -> Bytes {
        Bytes::new()
    }

    /// Never asked either.
    fn stream_writer(&self, _: About) -> Box<dyn StreamWriter> {
        Box::new(Silent)
    }

    fn hosts(&self, _: &str) -> bool {
        false
    }

    fn error_body(&self, error: &ClientError, _: &str) -> Bytes {
        error.body()
    }

    fn error_event(&self, error: &ClientError, _: &About) -> Bytes {
        error.sse_frame()
    }

    fn model_list(&self, models: &[ListedModel]) -> Bytes {
        models::list_body(models)
    }

    fn model_item(&self, model: &ListedModel) -> Bytes {
        models::item_body(model)
    }
}

struct Silent;

impl StreamWriter for Silent {
    fn write(&mut self, _: Delta, _: &mut BytesMut) {}

    fn end(&mut self, _: &mut BytesMut) {}

    fn held(&self) -> usize {
        0
    }
}

/// Everything but the bytes themselves.
fn read(direct: &'static Direct, body: &[u8], mut wishes: Wishes) -> Result<(Request, Members), BadRequest> {
    let text = utf8(body)?;
    let billed = Billed { direct, texts: Conversation::within(text, direct.input), tokens: 0 };
    let mut top = TopLevel::read(text, billed)?;
    if let Some(value) = top.value(Name::Tokenbroker) {
        wishes::from_body(value, &mut wishes).map_err(|bad| top.place(bad, value))?;
    }
    let members = Members {
        model: top.member(Name::Model).map(|m| m.value).unwrap_or_default(),
        wishes: top.member(Name::Tokenbroker),
        stream_options: top.member(Name::StreamOptions),
        max_tokens: top.member(Name::MaxTokens),
        ..Members::default()
    };
    top.check_input()?;
    top.check_encoding()?;
    top.add_suffix()?;
    let stream = top.flag(Name::Stream)?.unwrap_or(false);
    let Billed { texts, tokens, .. } = &top.layout;
    let request = Request {
        shape: direct.shape,
        body: Bytes::new(),
        members: Members::default(),
        model: top.model()?.into_owned(),
        stream,
        wants_usage_frame: top.include_usage(Name::StreamOptions)? && stream,
        output_bound: top.output_bound()?,
        choices: top.choices()?,
        features: Features::NONE,
        reasoning: ReasoningWish::Unsaid,
        thinking_budget: None,
        may_hold_thoughts: false,
        unpriced: None,
        text: texts.profile,
        token_input: Tokens::new(*tokens),
        dimensions: top.whole(Name::Dimensions, 1, MOST_DIMENSIONS)?.and_then(|length| u32::try_from(length).ok()),
        messages: texts.messages,
        tools: 0,
        images: 0,
        wishes,
    };
    Ok((request, members))
}

impl<'b> TopLevel<'b, Billed<'b>> {
    fn check_input(&self) -> Result<(), BadRequest> {
        if self.layout.texts.messages > 0 {
            return Ok(());
        }
        let input = self.layout.direct.input;
        let given = self.has(Name::Input) || self.has(Name::Prompt);
        let code = if given { "invalid_value" } else { "missing_required_parameter" };
        let what = if given { "must not be empty" } else { "must be given" };
        Err(BadRequest::new(code, input, format!("`{input}` {what}: it must be {ACCEPTED}")))
    }

    /// What is to stand behind the text is read by the model as well, once for each prompt.
    fn add_suffix(&mut self) -> Result<(), BadRequest> {
        let Some(raw) = self.value(Name::Suffix) else { return Ok(()) };
        let suffix = string(raw).ok_or_else(|| self.wrong_type(Name::Suffix, raw, "a string"))?;
        let read = TextProfile::of(&suffix).times(self.layout.texts.messages);
        self.layout.texts.profile.merge(&read);
        Ok(())
    }

    /// The bound on each choice: there is always one, the API's own where the request says nothing.
    fn output_bound(&self) -> Result<Option<Tokens>, BadRequest> {
        let bound = self.whole(Name::MaxTokens, 0, u64::from(u32::MAX))?;
        Ok(self.layout.direct.writes.then(|| Tokens::new(bound.unwrap_or(DEFAULT_MAX_TOKENS))))
    }

    /// How many are written, all prompts together; those that the best are chosen from are billed too.
    fn choices(&self) -> Result<u32, BadRequest> {
        if !self.layout.direct.writes {
            return Ok(1);
        }
        let [n, best_of] = [Name::N, Name::BestOf].map(|name| self.whole(name, 1, MOST_CHOICES));
        let each = n?.unwrap_or(1).max(best_of?.unwrap_or(1));
        Ok(u32::try_from(each).unwrap_or(u32::MAX).saturating_mul(self.layout.texts.messages))
    }

    fn check_encoding(&self) -> Result<(), BadRequest> {
        let Some(raw) = self.value(Name::EncodingFormat) else { return Ok(()) };
        let accepted = || format!("one of {}", ENCODINGS.map(|word| format!("\"{word}\"")).join(", "));
        let word = string(raw).ok_or_else(|| self.wrong_type(Name::EncodingFormat, raw, &accepted()))?;
        if ENCODINGS.contains(&&*word) {
            return Ok(());
        }
        let message = format!("`encoding_format` must be {}", accepted());
        Err(self.place(BadRequest::new("invalid_value", "encoding_format", message), raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(body: &str) -> Result<Request, BadRequest> {
        OpenAiDirect::ALL[0].parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new())
    }

    fn completion(members: &str) -> Result<Request, BadRequest> {
        OpenAiDirect::ALL[1].parse(format!(r#"{{"model":"m",{members}}}"#).into(), &HeaderMap::new())
    }

    #[test]
    fn a_completion_is_bounded_and_every_choice_of_every_prompt_counts() {
        let check = |members: &str, (bound, choices, inputs): (u64, u32, u32)| {
            let request = completion(members).unwrap();
            let found = (request.output_bound.unwrap().get(), request.choices, request.messages);
            assert_eq!(found, (bound, choices, inputs), "{members}");
        };
        check(r#""prompt":"hello""#, (16, 1, 1));
        check(r#""prompt":"hello","max_tokens":null,"n":null"#, (16, 1, 1));
        check(r#""prompt":"hello","max_tokens":0"#, (0, 1, 1));
        check(r#""prompt":["a","b","c"],"max_tokens":9,"n":2"#, (9, 6, 3));
        check(r#""prompt":[1,2,3],"n":2,"best_of":5"#, (16, 5, 1));
        check(r#""prompt":[[1],[2,3]],"best_of":3,"n":1"#, (16, 6, 2));
        let filled = completion(r#""prompt":["ab","c"],"suffix":"xy z","input":7,"dimensions":"x""#).unwrap();
        assert_eq!((filled.text.bytes(), filled.dimensions), (3 + 2 * 4, None), "read with each prompt");
        let streamed = completion(r#""prompt":"a","stream":true,"stream_options":{"include_usage":true}"#).unwrap();
        assert!(streamed.stream && streamed.wants_usage_frame && streamed.members.stream_options.is_some());
        let bad = |members: &str, code: &str, param: &str| {
            let found = completion(members).unwrap_err();
            assert_eq!((found.code, found.param.as_deref()), (code, Some(param)), "{members}: {}", found.message);
        };
        bad(r#""stream":true"#, "missing_required_parameter", "prompt");
        bad(r#""prompt":null"#, "invalid_value", "prompt");
        bad(r#""prompt":["a",1]"#, "invalid_type", "prompt[1]");
        bad(r#""prompt":"a","max_tokens":-1"#, "invalid_type", "max_tokens");
        bad(r#""prompt":"a","n":0"#, "invalid_type", "n");
        bad(r#""prompt":"a","best_of":129"#, "invalid_type", "best_of");
        bad(r#""prompt":"a","suffix":1"#, "invalid_type", "suffix");
        bad(r#""prompt":"a","stream":1"#, "invalid_type", "stream");
        bad(r#""prompt":"a","Max_Tokens":1"#, "unknown_parameter", "Max_Tokens");
        bad(r#""prompt":"a","max_tokens":1,"max_tokens":900"#, "duplicate_parameter", "max_tokens");
    }

    #[test]
    fn members_of_other_apis_only_pass() {
        let request = parsed(r#"{"model":"m","input":"a","prompt":7,"prompt":[],"n":"x","stream":"y","MAX_TOKENS":1}"#).unwrap();
        assert_eq!((request.messages, request.choices, request.stream, request.output_bound), (1, 1, false, None));
    }

    fn check(input: &str, inputs: u32, text: &str, tokens: u64) {
        let request = parsed(&format!(r#"{{"model":"m","input":{input}}}"#)).unwrap();
        let mut profile = canonical::TextProfile::default();
        for piece in text.split('|').filter(|piece| !piece.is_empty()) {
            profile.add(piece);
            profile.end_text();
        }
        assert_eq!((request.messages, request.token_input.get()), (inputs, tokens), "{input}");
        assert_eq!(request.text, profile, "{input}");
    }

    #[test]
    fn there_is_a_frontend_for_each_row() {
        for (frontend, direct) in OpenAiDirect::ALL.iter().zip(Direct::ALL) {
            assert_eq!((frontend.shape(), frontend.word()), (direct.shape, direct.booked));
        }
    }

    #[test]
    fn input_is_text_or_tokens_one_or_many() {
        check(r#""hello you""#, 1, "hello you", 0);
        check(r#"["hello","y\u006fu"]"#, 2, "hello|you", 0);
        check("[1,2,3]", 1, "", 3);
        check("[[1,2],[3],[]]", 3, "", 3);
        check(r#""""#, 1, "", 0);
    }

    #[test]
    fn wrong_input_is_told_with_its_place() {
        let check = |members: &str, code: &str, param: &str, says: &str| {
            let bad = parsed(&format!(r#"{{"model":"m",{members}}}"#)).unwrap_err();
            assert_eq!((bad.code, bad.param.as_deref()), (code, Some(param)), "{members}: {}", bad.message);
            assert!(bad.message.contains(says), "{members}: {}", bad.message);
        };
        check(r#""user":"u""#, "missing_required_parameter", "input", "must be given");
        check(r#""input":null"#, "invalid_value", "input", "an array of strings");
        check(r#""input":[]"#, "invalid_value", "input", "must not be empty");
        check(r#""input":7"#, "invalid_type", "input", "`input` to be a string");
        check(r#""input":{"text":"a"}"#, "invalid_type", "input", "`input` to be a string");
        check(r#""input":["a",1]"#, "invalid_type", "input[1]", "alike");
        check(r#""input":[1,[2]]"#, "invalid_type", "input[1]", "alike");
        check(r#""input":["a",null]"#, "invalid_type", "input[1]", "`input` to be a string");
        check(r#""input":[-1]"#, "invalid_type", "input[0]", "`input` to be a string");
        check(r#""input":[[1.5]]"#, "invalid_type", "input[0]", "u64");
        check(r#""input":"a","dimensions":0"#, "invalid_type", "dimensions", "a whole number from 1");
        check(r#""input":"a","dimensions":"9""#, "invalid_type", "dimensions", "a whole number from 1");
        check(r#""input":"a","encoding_format":"int8""#, "invalid_value", "encoding_format", "\"float\", \"base64\"");
        check(r#""input":"a","encoding_format":3"#, "invalid_type", "encoding_format", "\"float\", \"base64\"");
        check(r#""input":"a","input":"b""#, "duplicate_parameter", "input", "twice");
        check(r#""input":"a","Model":"b""#, "unknown_parameter", "Model", "lower case");
        check(r#""input":"a","tokenbroker":{"max_cost":1}"#, "unknown_parameter", "tokenbroker.max_cost", "max_cost");
    }

    #[test]
    fn what_decides_is_read_and_the_rest_passes() {
        let body = r#"{"input":"a","user":"u","dimensions":256,"encoding_format":"base64","model":"m","tokenbroker":{"max_cost_usd":1}}"#;
        let request = parsed(body).unwrap();
        assert_eq!((request.model.as_str(), request.dimensions), ("m", Some(256)));
        assert_eq!(&body[request.members.model.clone()], "\"m\"");
        assert!(request.wishes.max_cost.is_some() && request.members.wishes.is_some());
        assert_eq!(request.body, body);
        assert!(!request.stream && request.output_bound.is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..80), input in "[\\[\\]\\{\\}0-9a-z\",: .-]{0,40}") {
            let _ = OpenAiDirect::ALL[0].parse(body.into(), &HeaderMap::new());
            let _ = parsed(&format!(r#"{{"model":"m","input":{input}}}"#));
        }

        #[test]
        fn every_token_is_counted_once(lists in prop::collection::vec(prop::collection::vec(any::<u32>(), 0..9), 1..9)) {
            let request = parsed(&serde_json::json!({"model": "m", "input": lists}).to_string()).unwrap();
            prop_assert_eq!(request.token_input.get(), lists.iter().map(Vec::len).sum::<usize>() as u64);
            prop_assert_eq!(request.messages as usize, lists.len());
        }
    }
}
