//! Custom tools of chat and Responses, which take a text as it is in the place of JSON: told as functions of one text, since that is
//! what every model that can call something has, and their calls told back as what the client declared.
//!
//! A grammar that the text must keep to is said in the description, and nobody holds the model to it: the client is told so by name.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::canonical::conversation::{Json, Tool};

/// The schema of the one text.
const PARAMETERS: &str = r#"{"type":"object","properties":{"input":{"type":"string","description":"All that the tool gets, as plain text."}},"required":["input"]}"#;
/// What the member is called, with the quote that ends its name.
const KEY: &[u8] = b"input\"";
/// Characters of `\uD83D`.
const CODE: usize = 6;

/// What a tool's text must keep to.
#[derive(Debug, Deserialize)]
pub(super) struct Grammar {
    syntax: String,
    definition: String,
}

/// Reads a tool's `format`: of Responses a grammar's members stand in it, of chat in an object of their own. Answers what it is where
/// it cannot be told.
pub(super) fn grammar(format: Option<&RawValue>) -> Result<Option<Grammar>, String> {
    #[derive(Deserialize)]
    struct Format {
        #[serde(rename = "type")]
        kind: String,
        grammar: Option<Grammar>,
        syntax: Option<String>,
        definition: Option<String>,
    }
    let Some(format) = format else { return Ok(None) };
    let Format { kind, grammar, syntax, definition } = serde_json::from_str(format.get()).map_err(|_| " as it is".to_owned())?;
    match (kind.as_str(), grammar, syntax.zip(definition)) {
        ("text", _, _) => Ok(None),
        ("grammar", Some(grammar), _) => Ok(Some(grammar)),
        ("grammar", None, Some((syntax, definition))) => Ok(Some(Grammar { syntax, definition })),
        ("grammar", None, None) => Err(" of type `grammar` as it is".to_owned()),
        (kind, _, _) => Err(format!(" of type `{kind}`")),
    }
}

/// The function that stands for a tool.
pub(super) fn function(name: String, description: Option<String>, grammar: Option<&Grammar>) -> Tool {
    let form =
        grammar.map(|Grammar { syntax, definition }| format!("`input` must keep to this grammar ({syntax}):\n{definition}"));
    let said: Vec<String> = description.into_iter().chain(form).filter(|text| !text.is_empty()).collect();
    let description = (!said.is_empty()).then(|| said.join("\n\n"));
    Tool { name, description, parameters: Json::parse(PARAMETERS.to_owned()), strict: None, cached: None }
}

/// The function's arguments for a text.
pub(super) fn arguments(input: &str) -> String {
    #[derive(Serialize)]
    struct Arguments<'i> {
        input: &'i str,
    }
    // A string: it cannot fail to become JSON.
    serde_json::to_string(&Arguments { input }).unwrap_or_default()
}

/// The text in a function's arguments.
pub(super) fn input(arguments: &str) -> String {
    let mut unwrapping = Unwrapping::default();
    let mut input = unwrapping.push(arguments);
    input.push_str(&unwrapping.end());
    input
}

/// Reads the text out of arguments that come in pieces, however they are cut.
///
/// What is no object that begins with the text is the text itself, as it was written. Within it an escape that is none stands for
/// itself, and so does a quote behind which the object does not end: models forget to escape them, and what follows a text that has
/// ended is not lost.
#[derive(Debug, Default)]
pub(super) struct Unwrapping {
    state: State,
    /// What was read and is not told, since what it is depends on what follows.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Begin,
    /// Behind the brace.
    Opened,
    /// Behind so many characters of the member's name.
    Key(usize),
    Named,
    /// Behind the colon.
    Value,
    Text,
    Escape,
    /// Within the digits of an escaped character, perhaps of the second half of one.
    Code {
        digits: u8,
        code: u16,
        first: Option<u16>,
    },
    /// Behind the first half of a character.
    Half(u16),
    /// Behind that and a backslash.
    HalfEscape(u16),
    /// Behind the quote that ends the text, if it does.
    Closed,
    /// Behind the brace that ends the object, if it does.
    Ended,
    /// Behind an object without members.
    Empty,
    /// No such object.
    Raw,
}

impl Unwrapping {
    /// Takes the next piece of the arguments, and answers the next piece of the text.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let (mut out, mut rest) = (String::with_capacity(piece.len()), piece);
        loop {
            let plain = match self.state {
                State::Raw => rest.len(),
                State::Text => rest.find(['"', '\\']).unwrap_or(rest.len()),
                _ => 0,
            };
            out.push_str(&rest[..plain]);
            let mut left = rest[plain..].chars();
            let Some(c) = left.next() else { return out };
            self.take(c, &mut out);
            rest = left.as_str();
        }
    }

    /// The arguments have ended: answers what is left of the text.
    pub(super) fn end(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Text | State::Closed | State::Ended | State::Empty | State::Raw => String::new(),
            State::Begin
            | State::Opened
            | State::Key(_)
            | State::Named
            | State::Value
            | State::Escape
            | State::Code { .. }
            | State::Half(_)
            | State::HalfEscape(_) => held,
        }
    }

    /// Bytes that it keeps.
    pub(super) const fn held(&self) -> usize {
        self.held.len()
    }

    fn take(&mut self, c: char, out: &mut String) {
        let blank = matches!(c, ' ' | '\t' | '\n' | '\r');
        match (self.state, c) {
            (State::Begin | State::Opened | State::Named | State::Value, _) if blank => self.hold(c, self.state),
            (State::Begin, '{') => self.hold(c, State::Opened),
            (State::Opened, '"') => self.hold(c, State::Key(0)),
            (State::Opened, '}') => self.hold(c, State::Empty),
            (State::Key(at), _) if KEY.get(at).copied().map(char::from) == Some(c) => {
                self.hold(c, if at + 1 == KEY.len() { State::Named } else { State::Key(at + 1) });
            }
            (State::Named, ':') => self.hold(c, State::Value),
            (State::Value, '"') => self.forget(State::Text),
            (State::Empty, _) if blank => self.hold(c, State::Empty),
            (State::Begin | State::Opened | State::Key(_) | State::Named | State::Value | State::Empty | State::Raw, _) => {
                self.tell(State::Raw, out);
                out.push(c);
            }
            (State::Text, '"') => self.hold(c, State::Closed),
            (State::Text, '\\') => self.hold(c, State::Escape),
            (State::Text, _) => out.push(c),
            (State::Closed, '}') => self.hold(c, State::Ended),
            (State::Closed | State::Ended, _) if blank => self.hold(c, self.state),
            (State::Escape, 'u') => self.hold(c, State::Code { digits: 0, code: 0, first: None }),
            (State::Escape, _) => self.escaped(c, out),
            (State::Code { digits, code, first }, _) => match c.to_digit(16).and_then(|digit| u16::try_from(digit).ok()) {
                Some(digit) => {
                    self.hold(c, State::Code { digits: digits + 1, code: code << 4 | digit, first });
                    if digits == 3 {
                        self.coded(code << 4 | digit, first, out);
                    }
                }
                None => self.again(c, out),
            },
            (State::Half(first), '\\') => self.hold(c, State::HalfEscape(first)),
            // It was no end, or no half.
            (State::Closed | State::Ended | State::Half(_), _) => self.again(c, out),
            (State::HalfEscape(first), 'u') => self.hold(c, State::Code { digits: 0, code: 0, first: Some(first) }),
            (State::HalfEscape(_), _) => {
                self.tell_half(out);
                self.state = State::Escape;
                self.take(c, out);
            }
        }
    }

    fn hold(&mut self, c: char, state: State) {
        self.held.push(c);
        self.state = state;
    }

    fn forget(&mut self, state: State) {
        self.held.clear();
        self.state = state;
    }

    /// Tells what was held as it was written.
    fn tell(&mut self, state: State, out: &mut String) {
        out.push_str(&self.held);
        self.forget(state);
    }

    /// What was held is of the text, and so is what follows.
    fn again(&mut self, c: char, out: &mut String) {
        self.tell(State::Text, out);
        self.take(c, out);
    }

    /// Tells the first half of a character, which has no second, as it was written.
    fn tell_half(&mut self, out: &mut String) {
        out.extend(self.held.drain(..CODE));
    }

    fn escaped(&mut self, c: char, out: &mut String) {
        let meant = match c {
            '"' | '\\' | '/' => Some(c),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            _ => None,
        };
        match meant {
            Some(meant) => {
                self.forget(State::Text);
                out.push(meant);
            }
            None => self.again(c, out),
        }
    }

    /// All digits of a character are there.
    fn coded(&mut self, code: u16, first: Option<u16>, out: &mut String) {
        let pair = first.map(|first| char::decode_utf16([first, code]).next());
        if let Some(Some(Ok(meant))) = pair.filter(|_| matches!(code, 0xDC00..=0xDFFF)) {
            self.forget(State::Text);
            return out.push(meant);
        }
        if first.is_some() {
            self.tell_half(out);
        }
        match (char::from_u32(u32::from(code)), code) {
            (Some(meant), _) => {
                self.forget(State::Text);
                out.push(meant);
            }
            (None, 0xD800..=0xDBFF) => self.state = State::Half(code),
            (None, _) => self.tell(State::Text, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(arguments: &str, expected: &str) {
        assert_eq!(input(arguments), expected, "{arguments}");
        // One character at a time.
        let mut unwrapping = Unwrapping::default();
        let pieces: String = arguments.chars().map(|c| unwrapping.push(&c.to_string())).collect();
        assert_eq!(pieces + &unwrapping.end(), expected, "{arguments}");
        assert_eq!(unwrapping.held(), 0);
    }

    #[test]
    fn the_text_is_what_stands_in_the_object() {
        check(r#"{"input":"*** Begin Patch\n+a \"b\"\n*** End Patch"}"#, "*** Begin Patch\n+a \"b\"\n*** End Patch");
        check(" {\n \"input\" : \"a\" }\n ", "a");
        check(r#"{"input":""}"#, "");
        check(r#"{"input":"\b\f\n\r\t\/\\\"\u00e9\u0041"}"#, "\u{8}\u{c}\n\r\t/\\\"éA");
        check(r#"{"input":"\uD83D\uDE00é😀"}"#, "😀é😀");
        check("{\"input\":\"a\nb\"}", "a\nb");
    }

    #[test]
    fn what_is_no_such_object_is_the_text_as_it_was_written() {
        for written in [
            "*** Begin Patch\n*** End Patch",
            r#"{"patch":"a"}"#,
            r#"{"workdir":"/","input":"a"}"#,
            r#"{"input":{"a":1}}"#,
            r#"{"input":null}"#,
            r#"{"inputs":"a"}"#,
            r#""a\n""#,
            r#"["input"]"#,
            "{}{",
            "{} x",
            " {{",
        ] {
            check(written, written);
        }
        // Nothing is said in these.
        check("", "");
        check(" { } ", "");
    }

    #[test]
    fn what_follows_the_text_is_not_lost_and_a_quote_that_ends_nothing_is_one() {
        check(r#"{"input":"say("hi")\n"}"#, "say(\"hi\")\n");
        check(r#"{"input":"a""}"#, "a\"");
        check(r#"{"input":"{"a":"b"})"}"#, r#"{"a":"b"})"#);
        check(r#"{"input":"a","workdir":"/b"}"#, r#"a","workdir":"/b"#);
        check(r#"{"input":"a"} and more"#, r#"a"} and more"#);
    }

    #[test]
    fn an_answer_that_was_cut_keeps_what_there_is() {
        check(r#"{"input":"ab"#, "ab");
        check(r#"{"input":"ab""#, "ab");
        check(r#"{"input":"ab\"#, "ab\\");
        check(r#"{"input":"ab\u00"#, "ab\\u00");
        check(r#"{"input":"ab\ud83d\"#, "ab\\ud83d\\");
        check(r#"{"inp"#, r#"{"inp"#);
    }

    #[test]
    fn an_escape_that_is_none_stands_for_itself() {
        check(r#"{"input":"\d \x41 \u12g4"}"#, r"\d \x41 \u12g4");
        check(
            r#"{"input":"\udc00 \ud83d \ud83d\n \ud83dA \ud83d\u0041 \ud83d\ud83d\ude00"}"#,
            "\\udc00 \\ud83d \\ud83d\n \\ud83dA \\ud83dA \\ud83d😀",
        );
        check(r#"{"input":"\u00"}"#, r"\u00");
    }

    #[test]
    fn a_tool_is_a_function_whose_description_says_its_grammar() {
        let format = |format: &str| {
            let raw: Box<RawValue> = serde_json::from_str(format).unwrap();
            grammar(Some(&raw))
        };
        for (written, expected) in [
            (
                r#"{"type":"grammar","syntax":"lark","definition":"start: /a+/"}"#,
                "`input` must keep to this grammar (lark):\nstart: /a+/",
            ),
            (
                r#"{"type":"grammar","grammar":{"syntax":"regex","definition":"a+"}}"#,
                "`input` must keep to this grammar (regex):\na+",
            ),
        ] {
            let read = format(written).unwrap();
            assert_eq!(function("f".into(), None, read.as_ref()).description.as_deref(), Some(expected));
            let described = function("f".into(), Some("Repeats.".into()), read.as_ref()).description.unwrap();
            assert_eq!(described, format!("Repeats.\n\n{expected}"));
        }
        assert!(format(r#"{"type":"text"}"#).unwrap().is_none() && grammar(None).unwrap().is_none());
        let plain = function("f".into(), Some("Repeats.".into()), None);
        assert_eq!((plain.name.as_str(), plain.description.as_deref(), plain.strict), ("f", Some("Repeats."), None));
        assert!(plain.parameters.unwrap().get().contains(r#""required":["input"]"#));
        assert_eq!(format(r#"{"type":"grammar"}"#).unwrap_err(), " of type `grammar` as it is");
        assert_eq!(format(r#"{"type":"html"}"#).unwrap_err(), " of type `html`");
        assert_eq!(format("5").unwrap_err(), " as it is");
    }

    /// Arguments as models write them: whole or cut, of a text or of something else, with blanks between and escapes of each kind.
    fn written() -> impl Strategy<Value = String> {
        let text = || prop_oneof!["\\PC{0,12}", "[a\"\\\\{}u0d8,:\n ]{0,16}"];
        prop_oneof![
            4 => text().prop_map(|text| arguments(&text)),
            2 => text().prop_map(|text| format!(" {{\n\"input\" : \"{text}\" }} ")),
            1 => text().prop_map(|text| json!({ "other": text, "input": text }).to_string()),
            1 => text(),
            1 => "(\\\\u[dD][89abcdefABCDEF]?[0-9a-f]{0,3}|a|\\\\){0,4}".prop_map(|codes| format!("{{\"input\":\"{codes}\"}}")),
        ]
    }

    proptest! {
        #[test]
        fn a_text_comes_back_as_it_went(text in "\\PC*|[\u{0}-\u{1f}\"\\\\\u{10000}-\u{10010}]{0,20}") {
            prop_assert_eq!(input(&arguments(&text)), text.clone());
            // Also where all that is not ASCII is escaped, as many serializers do.
            let escaped = text.encode_utf16().fold(String::new(), |escaped, unit| format!("{escaped}\\u{unit:04x}"));
            prop_assert_eq!(input(&format!("{{\"input\":\"{escaped}\"}}")), text);
        }

        #[test]
        fn it_does_not_matter_where_the_pieces_are_cut(written in written(), whole in any::<bool>(), cuts in proptest::collection::vec(1_usize..6, 0..20)) {
            let written: String = if whole { written } else { written.chars().take(written.chars().count() * 2 / 3).collect() };
            let (mut unwrapping, mut told, mut rest) = (Unwrapping::default(), String::new(), written.as_str());
            for cut in cuts {
                let at = rest.char_indices().nth(cut).map_or(rest.len(), |(at, _)| at);
                told.push_str(&unwrapping.push(&rest[..at]));
                rest = &rest[at..];
            }
            told.push_str(&unwrapping.push(rest));
            told.push_str(&unwrapping.end());
            prop_assert_eq!(told, input(&written));
        }

        #[test]
        fn what_does_not_begin_as_the_object_passes_as_it_was_written(written in "[^{ \t\r\n].{0,30}") {
            prop_assert_eq!(input(&written), written);
        }
    }
}
