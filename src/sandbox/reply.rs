//! What a pretend model answers: decided whole before the first token leaves, from the request and a seed, and cut into
//! the tokens that are sent and billed one by one.

use serde_json::Value;

use super::dice::{Dice, mix};
use super::refusal::Refusal;
use super::request::{ChatRequest, Format, Function, Prompt};
use super::speech::{self, Tongue};
use super::{schema, tokens};

/// How many tokens of thinking come before each token of an answer.
const THOUGHT_PER_ANSWER: u64 = 3;
/// The longest answer that is made, whatever was asked for.
const LONGEST: u64 = 1_000_000;

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) choices: Vec<Choice>,
}

/// One choice, in the order of its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) pieces: Vec<Piece>,
    pub(super) finish: Finish,
}

/// One step of a choice. All but [`Piece::Call`] are one token each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Reasoning(String),
    Content(String),
    /// A tool call begins; costs the tokens of its name.
    Call {
        place: usize,
        id: String,
        name: String,
    },
    Arguments {
        place: usize,
        text: String,
    },
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Stop,
    Length,
    ToolCalls,
}

impl Finish {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool_calls",
        }
    }
}

impl Piece {
    /// The output tokens that this piece is billed as.
    pub(super) fn tokens(&self) -> u64 {
        match self {
            Piece::Call { name, .. } => tokens::count(name),
            Piece::Reasoning(_) | Piece::Content(_) | Piece::Arguments { .. } => 1,
        }
    }

    pub(super) fn is_reasoning(&self) -> bool {
        matches!(self, Piece::Reasoning(_))
    }
}

impl Reply {
    /// Every piece with the number of its choice, in the order of a stream: the choices take turns.
    pub(super) fn in_turns(&self) -> impl Iterator<Item = (usize, &Piece)> {
        let longest = self.choices.iter().map(|choice| choice.pieces.len()).max().unwrap_or(0);
        let turn = |at: usize| self.choices.iter().enumerate().filter_map(move |(n, choice)| Some((n, choice.pieces.get(at)?)));
        (0..longest).flat_map(turn)
    }

    /// Output tokens of all choices, and how many of them are reasoning.
    pub(super) fn output_tokens(&self) -> (u64, u64) {
        let pieces = self.choices.iter().flat_map(|choice| &choice.pieces);
        pieces.fold((0, 0), |(all, reasoning), piece| {
            (all + piece.tokens(), reasoning + if piece.is_reasoning() { piece.tokens() } else { 0 })
        })
    }
}

/// Answers a request: each choice at most `bound` tokens, thinking first where `thinks`.
pub(super) fn reply(request: &ChatRequest<'_>, prompt: &Prompt, thinks: bool, bound: u64, seed: u64) -> Result<Reply, Refusal> {
    let functions = request.callable()?;
    let format = request.format()?;
    let calls = !functions.is_empty() && request.wants_tools(prompt);
    let asked = prompt.prefixes.last().map_or(0, |(fold, _)| *fold);
    let choice = |n: u64| {
        let mut dice = Dice::new(mix(seed ^ asked, &n.to_le_bytes()));
        let tongue = Tongue::of(&prompt.last_user_text);
        let wanted = request.wanted_tokens().unwrap_or_else(|| 16 + dice.below(48)).min(bound.saturating_add(1)).min(LONGEST);
        let mut pieces = if thinks { reasoning(tongue, wanted, &mut dice) } else { Vec::new() };
        let finish = if calls {
            pieces.extend(tool_calls(&functions, request.parallel_calls(), &mut dice));
            Finish::ToolCalls
        } else {
            let text = until_stop(text(&format, prompt, wanted, &mut dice), request.stops());
            pieces.extend(tokens::tokens(&text).map(|token| Piece::Content(token.to_owned())));
            Finish::Stop
        };
        cut(pieces, finish, bound)
    };
    Ok(Reply { choices: (0..request.choices()).map(choice).collect() })
}

fn reasoning(tongue: Tongue, answer_tokens: u64, dice: &mut Dice) -> Vec<Piece> {
    let thought = speech::thought(tongue, answer_tokens.saturating_mul(THOUGHT_PER_ANSWER), dice);
    tokens::tokens(&thought).map(|token| Piece::Reasoning(token.to_owned())).collect()
}

fn text(format: &Format, prompt: &Prompt, wanted: u64, dice: &mut Dice) -> String {
    match format {
        Format::Text => speech::answer(Tongue::of(&prompt.last_user_text), &prompt.tool_results, wanted, dice),
        Format::JsonObject => {
            let answer = speech::phrase(dice);
            serde_json::json!({"answer": answer, "sandbox": true}).to_string()
        }
        Format::JsonSchema(schema) => schema::instance(schema, dice).to_string(),
    }
}

fn until_stop(mut text: String, stops: &[String]) -> String {
    let first = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    text.truncate(first.unwrap_or(text.len()));
    text
}

fn tool_calls(functions: &[Function], parallel: bool, dice: &mut Dice) -> Vec<Piece> {
    let most = if parallel { 2 } else { 1 };
    let mut pieces = Vec::new();
    for (place, function) in functions.iter().take(most).enumerate() {
        let id = format!("call_sandbox_{:012x}", dice.roll() >> 16);
        let arguments = match schema::instance(&function.parameters, dice) {
            Value::Object(members) => Value::Object(members).to_string(),
            _ => "{}".to_owned(),
        };
        pieces.push(Piece::Call { place, id, name: function.name.clone() });
        pieces.extend(tokens::tokens(&arguments).map(|token| Piece::Arguments { place, text: token.to_owned() }));
    }
    pieces
}

fn cut(mut pieces: Vec<Piece>, finish: Finish, bound: u64) -> Choice {
    let mut spent = 0;
    let fitting = pieces.iter().take_while(|piece| {
        spent += piece.tokens();
        spent <= bound
    });
    let kept = fitting.count();
    let finish = if kept < pieces.len() { Finish::Length } else { finish };
    pieces.truncate(kept);
    Choice { pieces, finish }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(body: &Value, thinks: bool, bound: u64) -> Reply {
        let bytes = serde_json::to_vec(body).unwrap();
        let request = ChatRequest::read(&bytes).unwrap();
        let prompt = request.prompt(1).unwrap();
        reply(&request, &prompt, thinks, bound, 1).unwrap()
    }

    fn content(choice: &Choice) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Content(text) => Some(text.clone()),
            _ => None,
        };
        choice.pieces.iter().filter_map(text).collect()
    }

    fn arguments(choice: &Choice, of: usize) -> Value {
        let text = |piece: &Piece| match piece {
            Piece::Arguments { place, text } if *place == of => Some(text.clone()),
            _ => None,
        };
        serde_json::from_str(&choice.pieces.iter().filter_map(text).collect::<String>()).unwrap()
    }

    fn ask(extra: &Value) -> Value {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    }

    #[test]
    fn the_same_request_gets_the_same_answer() {
        let plain = ask(&json!({}));
        assert_eq!(answer(&plain, true, 1000), answer(&plain, true, 1000));
        let two = answer(&ask(&json!({"n": 2})), false, 1000);
        assert_ne!(content(&two.choices[0]), content(&two.choices[1]));
        assert!(content(&two.choices[0]).starts_with(speech::LABEL));
    }

    #[test]
    fn the_bound_cuts_and_says_so() {
        let long = ask(&json!({"sandbox": {"output_tokens": 300}}));
        let whole = answer(&long, false, 1000);
        assert!(whole.output_tokens().0 >= 300);
        assert_eq!(whole.choices[0].finish, Finish::Stop);
        let short = answer(&long, false, 17);
        assert_eq!(short.output_tokens(), (17, 0));
        assert_eq!(short.choices[0].finish, Finish::Length);
        let thinking = answer(&long, true, 10);
        assert_eq!(thinking.output_tokens(), (10, 10));
    }

    #[test]
    fn a_stop_text_ends_the_answer_before_it() {
        let reply = answer(&ask(&json!({"stop": [".", "x"], "sandbox": {"output_tokens": 90}})), false, 1000);
        assert!(!content(&reply.choices[0]).contains('.'));
        assert_eq!(reply.choices[0].finish, Finish::Stop);
    }

    #[test]
    fn two_tools_are_called_at_once_unless_forbidden() {
        let tool = |name: &str| {
            json!({"type": "function", "function": {"name": name, "parameters": {"type": "object",
                "properties": {"city": {"type": "string"}}, "required": ["city"]}}})
        };
        let both = ask(&json!({"tools": [tool("weather"), tool("time")]}));
        let reply = answer(&both, false, 1000);
        assert_eq!(reply.choices[0].finish, Finish::ToolCalls);
        assert!(arguments(&reply.choices[0], 0)["city"].is_string());
        assert!(arguments(&reply.choices[0], 1)["city"].is_string());
        let mut one = both.clone();
        one["parallel_tool_calls"] = json!(false);
        let calls = answer(&one, false, 1000).choices[0].pieces.iter().filter(|p| matches!(p, Piece::Call { .. })).count();
        assert_eq!(calls, 1);
        let mut after = both;
        after["messages"] = json!([{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": "c", "content": "4"}]);
        assert_eq!(answer(&after, false, 1000).choices[0].finish, Finish::Stop);
    }

    #[test]
    fn an_agents_loop_goes_on_for_as_many_rounds_as_asked_and_ends_with_what_the_tools_said() {
        let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}});
        let result = |text: &str| json!({"role": "tool", "tool_call_id": "c", "content": text});
        let assistant = json!({"role": "assistant", "content": null});
        let talk = |rounds: u64| {
            let mut messages = vec![json!({"role": "user", "content": "hi"})];
            for round in 0..rounds {
                messages.extend([assistant.clone(), result(&format!("{round} degrees")), result("rain")]);
            }
            ask(&json!({"tools": [tool], "messages": messages, "sandbox": {"tool_rounds": 2}}))
        };
        let finish = |rounds| answer(&talk(rounds), false, 1000).choices[0].finish;
        assert_eq!([0, 1, 2].map(finish), [Finish::ToolCalls, Finish::ToolCalls, Finish::Stop]);
        let last = content(&answer(&talk(2), false, 1000).choices[0]);
        assert!(last.contains("1 degrees") && last.contains("rain") && !last.contains("0 degrees"), "{last}");
        assert!(last.starts_with(speech::LABEL));
    }

    #[test]
    fn structured_answers_are_json() {
        let object = answer(&ask(&json!({"response_format": {"type": "json_object"}})), false, 1000);
        assert_eq!(serde_json::from_str::<Value>(&content(&object.choices[0])).unwrap()["sandbox"], true);
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
        let body = ask(&json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}));
        let value: Value = serde_json::from_str(&content(&answer(&body, false, 1000).choices[0])).unwrap();
        assert!(value["n"].is_i64());
    }

    #[test]
    fn choices_take_turns_in_a_stream() {
        let reply = answer(&ask(&json!({"n": 2})), false, 5);
        let order: Vec<usize> = reply.in_turns().map(|(choice, _)| choice).collect();
        assert_eq!(order, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    }
}
