//! Structured output at a backend that does not have it: asked for by a tool that must be called, or by a mode that promises some
//! JSON and by words, and checked here before the client is told that the answer is whole.
//!
//! Where the backend has it none of this is made. An answer that was cut for its length, was held back, declines or calls the
//! client's own tools is none to check: its finish says so.

use crate::canonical::closed::{Closed, closed};
use crate::canonical::conversation::{AnswerSchema, Conversation, Format, Part, Tool, ToolChoice};
use crate::canonical::schema::may_be_an_object;
use crate::canonical::{Delta, Finish, Mismatch, Schema, SchemaBy, Untranslatable};

/// What the tool is called whose arguments are the answer, where the client's schema has no name that a tool may have.
const SOME_NAME: &str = "answer";
/// What is said of the tool where the client describes nothing.
const CALL_IT: &str = "Gives the answer. Call it once, with the whole answer.";
/// What is said of the mode that promises some JSON.
const KEEP_TO: &str = "Answer with one JSON object and nothing else. It must keep to this JSON schema:";

/// The way in which one answer is structured.
#[derive(Debug)]
pub struct Structured {
    /// The tool whose arguments are the answer, if that is the way.
    tool: Option<String>,
    schema: Schema,
}

impl Structured {
    /// What is asked instead of a schema, and how its answer is to be read: as it is where the client makes the model call a tool
    /// of its own. `None` where the conversation asks for no schema.
    ///
    /// The turns are shared with the client's conversation, not copied.
    ///
    /// # Errors
    /// When the schema is no object's: neither way has words for others.
    pub fn ask(conversation: &Conversation, by: SchemaBy) -> Result<Option<(Option<Self>, Conversation)>, Untranslatable> {
        let Format::JsonSchema(wanted) = &conversation.format else { return Ok(None) };
        let schema = Some(wanted.schema.get()).filter(|schema| may_be_an_object(schema)).and_then(Schema::parse);
        let no_object = || Untranslatable { what: "a schema of something that is no object".to_owned(), shape: by_what(by) };
        let schema = schema.ok_or_else(no_object)?;
        let mut asked = Conversation { format: Format::Text, ..conversation.clone() };
        match by {
            SchemaBy::Native => Ok(None),
            SchemaBy::JsonObject => {
                asked.format = Format::JsonObject;
                asked.system.push(Part::text(format!("{KEEP_TO}\n{}", wanted.schema.get())));
                Ok(Some((Some(Self { tool: None, schema }), asked)))
            }
            SchemaBy::Tool => {
                asked.tool_choice = match &conversation.tool_choice {
                    ToolChoice::Required | ToolChoice::Named(_) => return Ok(Some((None, asked))),
                    ToolChoice::Auto if !conversation.tools.is_empty() => ToolChoice::Required,
                    ToolChoice::Auto | ToolChoice::None => ToolChoice::Named(name_for(wanted, &conversation.tools)),
                };
                let name = name_for(wanted, &conversation.tools);
                let tool = Tool {
                    name: name.clone(),
                    description: Some(wanted.description.clone().unwrap_or_else(|| CALL_IT.to_owned())),
                    parameters: Some(wanted.schema.clone()),
                    strict: None,
                    cached: None,
                };
                asked.tools.push(tool);
                Ok(Some((Some(Self { tool: Some(name), schema }), asked)))
            }
        }
    }

    /// The same where the provider takes schemas, but none with bounds or open objects
    /// ([`closes_schemas`](crate::canonical::Shape::closes_schemas)): what is left out of it is checked, and one that cannot be told at
    /// all is asked for by a tool, where one can be forced. `None` where the schema is taken as it is, or nothing better is known.
    pub fn held(conversation: &Conversation, forces_tools: bool) -> Option<(Option<Self>, Conversation)> {
        let Format::JsonSchema(wanted) = &conversation.format else { return None };
        match closed(wanted.schema.get()) {
            Closed::Told(_) => {
                let schema = Schema::parse(wanted.schema.get())?;
                Some((Some(Self { tool: None, schema }), conversation.clone()))
            }
            Closed::No if forces_tools => Self::ask(conversation, SchemaBy::Tool).ok().flatten(),
            Closed::AsItIs | Closed::No => None,
        }
    }

    /// A reader of the answer.
    pub fn reader(self) -> Unfolding {
        Unfolding {
            structured: self,
            ours: None,
            others: Vec::new(),
            withheld: String::new(),
            text: String::new(),
            refused: false,
            checked: false,
        }
    }
}

/// What a schema would have to be said in.
const fn by_what(by: SchemaBy) -> &'static str {
    match by {
        SchemaBy::Native => "this dialect",
        SchemaBy::Tool => "a tool's arguments",
        SchemaBy::JsonObject => "the json_object mode",
    }
}

/// A name that a tool may have and none of the client's has.
fn name_for(wanted: &AnswerSchema, tools: &[Tool]) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let fit = (1..=48).contains(&wanted.name.len()) && wanted.name.bytes().all(allowed);
    let mut name = if fit { wanted.name.clone() } else { SOME_NAME.to_owned() };
    while tools.iter().any(|tool| tool.name == name) {
        name.push('_');
    }
    name
}

/// Reads an answer back: the tool's arguments become its text, which is checked before the answer finishes.
#[derive(Debug)]
pub struct Unfolding {
    structured: Structured,
    /// The slot of the call that is the answer.
    ours: Option<u32>,
    /// Slots of the client's own calls, which are counted anew.
    others: Vec<u32>,
    /// What was said beside the tool: the answer only if the tool is not called.
    withheld: String,
    /// The answer's text so far.
    text: String,
    refused: bool,
    checked: bool,
}

impl Unfolding {
    /// Takes the next piece of the answer, and appends what the client is to be told of it.
    ///
    /// # Errors
    /// When the answer finishes and does not keep to its schema, or begins anew: two answers are none.
    pub fn take(&mut self, delta: Delta, out: &mut Vec<Delta>) -> Result<(), Mismatch> {
        match delta {
            Delta::Text(piece) if self.structured.tool.is_some() => self.withheld.push_str(&piece),
            Delta::Text(piece) => self.say(piece, out),
            Delta::Call { slot, ref name, .. } if self.structured.tool.as_ref() == Some(name) => {
                if self.ours.replace(slot).is_some() {
                    return Err(Mismatch { at: String::new(), what: "it is given twice".to_owned() });
                }
            }
            Delta::Call { slot, id, name, seal } => {
                let anew = u32::try_from(self.others.len()).unwrap_or(u32::MAX);
                self.others.push(slot);
                out.push(Delta::Call { slot: anew, id, name, seal });
            }
            Delta::Arguments { slot, piece } if self.ours == Some(slot) => self.say(piece, out),
            Delta::Arguments { slot, piece } => {
                let anew = self.others.iter().position(|other| *other == slot).and_then(|at| u32::try_from(at).ok());
                out.extend(anew.map(|slot| Delta::Arguments { slot, piece }));
            }
            Delta::Finish(finish) => {
                self.end_text(&finish, out)?;
                let finish = if finish == Finish::Calls && self.others.is_empty() { Finish::Stop } else { finish };
                out.push(Delta::Finish(finish));
            }
            Delta::Refusal(_) => {
                self.refused = true;
                out.push(delta);
            }
            Delta::Begin { .. } | Delta::Thought(_) | Delta::Sealed(_) | Delta::Cited(_) | Delta::Usage(_) => out.push(delta),
        }
        Ok(())
    }

    /// The answer has ended: checks what no finish did.
    ///
    /// # Errors
    /// When it does not keep to its schema.
    pub fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), Mismatch> {
        self.end_text(&Finish::Stop, out)
    }

    /// Bytes that it keeps: the text is checked as a whole.
    pub fn held(&self) -> usize {
        self.text.len() + self.withheld.len()
    }

    fn say(&mut self, piece: String, out: &mut Vec<Delta>) {
        self.text.push_str(&piece);
        out.push(Delta::Text(piece));
    }

    fn end_text(&mut self, finish: &Finish, out: &mut Vec<Delta>) -> Result<(), Mismatch> {
        if std::mem::replace(&mut self.checked, true) {
            return Ok(());
        }
        let withheld = std::mem::take(&mut self.withheld);
        if self.ours.is_none() && !withheld.is_empty() {
            self.say(withheld, out);
        }
        let cut = matches!(finish, Finish::Length | Finish::Filtered);
        if cut || self.refused || (self.ours.is_none() && !self.others.is_empty()) {
            return Ok(());
        }
        // Arguments that hold nothing are often not written at all.
        if self.ours.is_some() && self.text.trim().is_empty() {
            self.say("{}".to_owned(), out);
        }
        self.structured.schema.check_text(self.text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::conversation::{Json, Role, Turn};

    const SCHEMA: &str =
        r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}"#;

    fn asking(schema: &str, change: impl FnOnce(&mut Conversation)) -> Conversation {
        let wanted = AnswerSchema {
            name: "place".into(),
            description: None,
            schema: Json::parse(schema.to_owned()).unwrap(),
            strict: Some(true),
        };
        let turns = vec![Turn { role: Role::User, parts: vec![Part::text("Where?")] }];
        let mut conversation =
            Conversation { turns: turns.into(), format: Format::JsonSchema(wanted), ..Conversation::default() };
        change(&mut conversation);
        conversation
    }

    fn tool(name: &str) -> Tool {
        Tool { name: name.into(), description: None, parameters: None, strict: None, cached: None }
    }

    fn call(slot: u32, name: &str) -> Delta {
        Delta::Call { slot, id: Some(format!("call_{slot}")), name: name.into(), seal: None }
    }

    fn arguments(slot: u32, piece: &str) -> Delta {
        Delta::Arguments { slot, piece: piece.into() }
    }

    fn text(piece: &str) -> Delta {
        Delta::Text(piece.into())
    }

    /// What a client is told of an answer, or what is wrong with it.
    fn told(
        by: SchemaBy,
        change: impl FnOnce(&mut Conversation),
        deltas: impl IntoIterator<Item = Delta>,
    ) -> Result<Vec<Delta>, String> {
        let (structured, _) = Structured::ask(&asking(SCHEMA, change), by).unwrap().unwrap();
        let (mut reader, mut out) = (structured.unwrap().reader(), Vec::new());
        for delta in deltas {
            reader.take(delta, &mut out).map_err(|wrong| wrong.to_string())?;
        }
        reader.end(&mut out).map_err(|wrong| wrong.to_string())?;
        Ok(out)
    }

    /// Found by a reader: arguments that hold nothing were no answer.
    #[test]
    fn a_call_without_arguments_is_an_empty_object() {
        let (asked, finish) = (asking(r#"{"type":"object","properties":{}}"#, |_| {}), Delta::Finish(Finish::Calls));
        let (structured, sent) = Structured::ask(&asked, SchemaBy::Tool).unwrap().unwrap();
        let name = sent.tools.last().unwrap().name.clone();
        let (mut reader, mut out) = (structured.unwrap().reader(), Vec::new());
        for delta in [call(0, &name), finish] {
            reader.take(delta, &mut out).unwrap();
        }
        assert_eq!(out, [text("{}"), Delta::Finish(Finish::Stop)]);
    }

    #[test]
    fn a_schema_is_asked_for_by_a_tool_that_must_be_called() {
        let (_, asked) = Structured::ask(&asking(SCHEMA, |_| {}), SchemaBy::Tool).unwrap().unwrap();
        assert_eq!((asked.format, asked.tool_choice), (Format::Text, ToolChoice::Named("place".into())));
        assert_eq!((asked.tools[0].name.as_str(), asked.tools[0].parameters.as_ref().unwrap().get()), ("place", SCHEMA));
        let with_tools = |said: &mut Conversation| said.tools = vec![tool("place"), tool("weather")];
        let (_, asked) = Structured::ask(&asking(SCHEMA, with_tools), SchemaBy::Tool).unwrap().unwrap();
        assert_eq!((asked.tools[2].name.as_str(), asked.tool_choice), ("place_", ToolChoice::Required));
        // What the client itself makes the model call is not called instead.
        let forced = |said: &mut Conversation| (said.tools, said.tool_choice) = (vec![tool("weather")], ToolChoice::Required);
        let (structured, asked) = Structured::ask(&asking(SCHEMA, forced), SchemaBy::Tool).unwrap().unwrap();
        assert!(structured.is_none());
        assert_eq!((asked.format, asked.tools.len(), asked.tool_choice), (Format::Text, 1, ToolChoice::Required));
        let unnamed = |said: &mut Conversation| {
            if let Format::JsonSchema(wanted) = &mut said.format {
                wanted.name = "größe".into();
            }
        };
        let (_, asked) = Structured::ask(&asking(SCHEMA, unnamed), SchemaBy::Tool).unwrap().unwrap();
        assert_eq!(asked.tools[0].name, SOME_NAME);
    }

    /// A known defect: the whole conversation was copied for it.
    #[test]
    fn the_turns_are_not_copied() {
        let asking = asking(SCHEMA, |_| {});
        for by in [SchemaBy::Tool, SchemaBy::JsonObject] {
            let (_, asked) = Structured::ask(&asking, by).unwrap().unwrap();
            assert!(std::ptr::eq(asked.turns.as_ptr(), asking.turns.as_ptr()), "{by:?}");
        }
    }

    #[test]
    fn a_schema_is_asked_for_in_words_where_some_json_is_promised() {
        let (_, asked) = Structured::ask(&asking(SCHEMA, |_| {}), SchemaBy::JsonObject).unwrap().unwrap();
        assert_eq!((asked.format, asked.tools.len()), (Format::JsonObject, 0));
        let Part::Text(said) = &asked.system[0] else { panic!("it is said") };
        assert!(said.text.ends_with(SCHEMA), "{}", said.text);
    }

    /// Found by an audit: bounds and open objects were told to who refuses them.
    #[test]
    fn what_a_grammar_cannot_hold_a_model_to_is_checked_or_asked_for_by_a_tool() {
        assert!(Structured::held(&asking(SCHEMA, |_| {}), true).is_none(), "it is taken as it is");
        let bounded = r#"{"type":"object","properties":{"n":{"type":"integer","minimum":3}},"required":["n"]}"#;
        let check = |answer: &str| {
            let (structured, asked) = Structured::held(&asking(bounded, |_| {}), false).unwrap();
            assert!(matches!(asked.format, Format::JsonSchema(_)) && asked.tools.is_empty());
            let (mut reader, mut out) = (structured.unwrap().reader(), Vec::new());
            reader.take(text(answer), &mut out).unwrap();
            reader.take(Delta::Finish(Finish::Stop), &mut out).map_err(|wrong| wrong.to_string())
        };
        assert_eq!(check(r#"{"n":3}"#), Ok(()));
        assert!(check(r#"{"n":2}"#).unwrap_err().contains("/n"));
        let open = r#"{"type":"object","additionalProperties":{"type":"integer"}}"#;
        let (structured, asked) = Structured::held(&asking(open, |_| {}), true).unwrap();
        assert!(structured.is_some_and(|structured| structured.tool.is_some()) && asked.format == Format::Text);
        assert!(Structured::held(&asking(open, |_| {}), false).is_none(), "nothing better is known");
    }

    #[test]
    fn what_asks_for_no_schema_is_left_as_it_is_and_what_is_no_object_is_refused() {
        let plain = |said: &mut Conversation| said.format = Format::JsonObject;
        assert!(Structured::ask(&asking(SCHEMA, plain), SchemaBy::Tool).unwrap().is_none());
        for by in [SchemaBy::Tool, SchemaBy::JsonObject] {
            let refused = Structured::ask(&asking(r#"{"type":"array"}"#, |_| {}), by).unwrap_err().to_string();
            assert!(refused.contains("no object") && refused.contains(by.word()), "{refused}");
        }
        assert!(Structured::ask(&asking(r##"{"$ref":"#/$defs/a"}"##, |_| {}), SchemaBy::Tool).unwrap().is_some());
    }

    #[test]
    fn the_tools_arguments_are_the_text_and_what_was_said_beside_it_is_not() {
        let deltas = [
            text("Let me see."),
            call(0, "place"),
            arguments(0, r#"{"city":"#),
            arguments(0, r#""Oslo"}"#),
            Delta::Finish(Finish::Calls),
        ];
        let expected = vec![text(r#"{"city":"#), text(r#""Oslo"}"#), Delta::Finish(Finish::Stop)];
        assert_eq!(told(SchemaBy::Tool, |_| {}, deltas), Ok(expected));
        // Without a call what was said is the answer, if it is one.
        let said = [text(r#"{"city":"Oslo"}"#), Delta::Finish(Finish::Stop)];
        assert_eq!(told(SchemaBy::Tool, |_| {}, said.clone()), Ok(said.to_vec()));
    }

    #[test]
    fn the_clients_own_calls_keep_their_order_and_count_anew() {
        let own = |said: &mut Conversation| said.tools = vec![tool("weather")];
        let deltas = [
            call(0, "place"),
            call(1, "weather"),
            arguments(1, "{}"),
            arguments(0, r#"{"city":"Oslo"}"#),
            Delta::Finish(Finish::Calls),
        ];
        let weather = Delta::Call { slot: 0, id: Some("call_1".into()), name: "weather".into(), seal: None };
        let expected = vec![weather.clone(), arguments(0, "{}"), text(r#"{"city":"Oslo"}"#), Delta::Finish(Finish::Calls)];
        assert_eq!(told(SchemaBy::Tool, own, deltas), Ok(expected));
        let only = [text("One moment."), call(0, "weather"), arguments(0, "{}"), Delta::Finish(Finish::Calls)];
        let called = Delta::Call { slot: 0, id: Some("call_0".into()), name: "weather".into(), seal: None };
        let expected = vec![called, arguments(0, "{}"), text("One moment."), Delta::Finish(Finish::Calls)];
        assert_eq!(told(SchemaBy::Tool, own, only), Ok(expected));
    }

    #[test]
    fn an_answer_that_does_not_keep_to_its_schema_never_finishes() {
        // A known defect: their arguments were joined.
        let twice = [call(0, "place"), arguments(0, r#"{"city":"Oslo"}"#), call(1, "place"), arguments(1, r#"{"city":"Rome"}"#)];
        let twice: Vec<Delta> = twice.into_iter().chain([Delta::Finish(Finish::Calls)]).collect();
        for (by, deltas, why) in [
            (SchemaBy::JsonObject, vec![text(r#"{"town":"Oslo"}"#), Delta::Finish(Finish::Stop)], "`city` is missing"),
            (SchemaBy::JsonObject, vec![text("Oslo"), Delta::Finish(Finish::Stop)], "no JSON"),
            (SchemaBy::JsonObject, vec![text("{}")], "missing"),
            (SchemaBy::Tool, vec![Delta::Finish(Finish::Stop)], "no JSON"),
            (SchemaBy::Tool, twice.clone(), "twice"),
            (SchemaBy::Tool, vec![call(0, "place"), arguments(0, r#"{"city":4}"#), Delta::Finish(Finish::Calls)], "/city"),
        ] {
            let wrong = told(by, |_| {}, deltas).unwrap_err();
            assert!(wrong.contains(why), "{wrong}");
        }
    }

    #[test]
    fn what_was_cut_held_back_or_declined_is_no_answer_to_check() {
        for end in [Finish::Length, Finish::Filtered] {
            let deltas = vec![text("{\"ci"), Delta::Finish(end)];
            assert_eq!(told(SchemaBy::JsonObject, |_| {}, deltas.clone()), Ok(deltas));
        }
        let declined = vec![Delta::Refusal("No.".into()), Delta::Finish(Finish::Stop)];
        assert_eq!(told(SchemaBy::JsonObject, |_| {}, declined.clone()), Ok(declined));
    }
}
