//! A conversation in nobody's words as the one that templates are written for: so that a request of any shape is counted alike.

use serde_json::value::RawValue;

use super::message::{Called, Chat, Content, Message, Tool, ToolCall};
use crate::canonical::conversation::{self, Conversation, Part, Role, ToolResult, Turn};

impl Chat {
    /// The messages and tools of a conversation. What is no text is left out.
    pub fn of(conversation: &Conversation) -> Self {
        let system = texts(&conversation.system);
        let first = (!system.is_empty()).then(|| Message::saying("system", system));
        let turns = conversation.turns.iter().flat_map(of_turn);
        Self {
            messages: first.into_iter().chain(turns).collect(),
            tools: conversation.tools.iter().filter_map(Tool::of).collect(),
        }
    }
}

fn of_turn(turn: &Turn) -> Vec<Message> {
    match turn.role {
        Role::System => vec![Message::saying("system", texts(&turn.parts))],
        Role::User => of_user(&turn.parts),
        Role::Assistant => vec![of_assistant(&turn.parts)],
    }
}

/// What tools answered is a message each, in front of what the user says.
fn of_user(parts: &[Part]) -> Vec<Message> {
    let result = |part: &Part| match part {
        Part::Result(ToolResult { id, parts, .. }) => {
            Some(Message { tool_call_id: Some(id.clone()), ..Message::saying("tool", texts(parts)) })
        }
        _ => None,
    };
    let mut messages: Vec<Message> = parts.iter().filter_map(result).collect();
    if messages.len() < parts.len() || parts.is_empty() {
        messages.push(Message::saying("user", texts(parts)));
    }
    messages
}

fn of_assistant(parts: &[Part]) -> Message {
    let call = |part: &Part| match part {
        Part::Call(conversation::Call { id, name, arguments, .. }) => {
            Some(ToolCall { id: Some(id.clone()), function: Called { name: name.clone(), arguments: arguments.clone() } })
        }
        _ => None,
    };
    let mut thoughts = String::new();
    for part in parts {
        if let Part::Thought(thought) = part {
            thoughts.push_str(&thought.text);
        }
    }
    Message {
        reasoning_content: (!thoughts.is_empty()).then_some(thoughts),
        tool_calls: parts.iter().filter_map(call).collect(),
        ..Message::saying("assistant", texts(parts))
    }
}

/// The texts of parts, in one.
fn texts(parts: &[Part]) -> String {
    let text = |part: &Part| match part {
        Part::Text(text) => Some(text.text.clone()),
        Part::Refusal(text) => Some(text.clone()),
        Part::Document(document) => match &document.source {
            conversation::Source::Text(text) => Some(text.clone()),
            _ => None,
        },
        Part::Image(_) | Part::Audio(_) | Part::Call(_) | Part::Result(_) | Part::Thought(_) => None,
    };
    parts.iter().filter_map(text).collect()
}

impl Message {
    fn saying(role: &str, text: String) -> Self {
        Self {
            role: role.to_owned(),
            content: Content::Text(text),
            name: None,
            reasoning_content: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
        }
    }
}

impl Tool {
    /// As chat's clients offer one.
    fn of(tool: &conversation::Tool) -> Option<Self> {
        let quoted = |text: &String| serde_json::to_string(text).ok();
        let name = quoted(&tool.name)?;
        let description = tool.description.as_ref().and_then(quoted);
        let description = description.map_or_else(String::new, |text| format!(r#""description":{text},"#));
        let schema = tool.parameters.as_ref().map_or("{}", |schema| schema.get());
        let text = format!(r#"{{"type":"function","function":{{"name":{name},{description}"parameters":{schema}}}}}"#);
        RawValue::from_string(text).ok().map(Self::from_raw)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::exact::Vocabularies;
    use super::super::Framed;
    use super::*;
    use crate::canonical::conversation::{Call, Json, Medium, Source, Text, Thought};
    use crate::catalog::TokenizerFamily;
    use serde_json::json;

    fn conversation() -> Conversation {
        let call = Call {
            id: "call_1".into(),
            name: "weather".into(),
            arguments: r#"{"city":"Oslo"}"#.into(),
            seal: None,
            cached: None,
        };
        let result = ToolResult { id: "call_1".into(), parts: vec![Part::text("4 °C")], is_error: false, cached: None };
        let image = Medium { source: Source::Url("x".into()), media_type: None, name: None, detail: None, cached: None };
        let turn = |role, parts| Turn { role, parts };
        Conversation {
            system: vec![Part::text("Be brief.")],
            turns: [
                turn(Role::User, vec![Part::text("How cold is "), Part::text("Oslo?"), Part::Image(image)]),
                turn(Role::Assistant, vec![Part::Thought(Thought { text: "Ask.".into(), seal: None }), Part::Call(call)]),
                turn(Role::User, vec![Part::Result(result)]),
            ]
            .into_iter()
            .collect(),
            tools: vec![conversation::Tool {
                name: "weather".into(),
                description: Some("Tells \"it\".".into()),
                parameters: Some(Json::parse(r#"{"type":"object","properties":{"city":{"type":"string"}}}"#.into()).unwrap()),
                strict: None,
                cached: None,
            }],
            ..Conversation::default()
        }
    }

    /// The same as a client of chat would have sent it is counted the same, by every template.
    #[test]
    fn a_conversation_counts_as_the_chat_that_it_is() {
        let sent = json!({
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "How cold is Oslo?"},
                {"role": "assistant", "content": "", "reasoning_content": "Ask.",
                 "tool_calls": [{"id": "call_1", "function": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}}]},
                {"role": "tool", "tool_call_id": "call_1", "content": "4 °C"},
            ],
            "tools": [{"type": "function", "function": {"name": "weather", "description": "Tells \"it\".",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
        });
        let sent: Chat = serde_json::from_str(&sent.to_string()).unwrap();
        let vocabularies = Vocabularies::keeping(1);
        for (family, word) in TokenizerFamily::WORDS {
            let count = |chat: &Chat| Framed::of(chat, family).count(&vocabularies, family).0;
            let (expected, found) = (count(&sent), count(&Chat::of(&conversation())));
            // The members of an object may stand in another order.
            assert!(expected.abs_diff(found) <= 1 + expected / 50, "{word}: {found} for {expected}");
        }
    }

    #[test]
    fn what_is_said_beside_a_result_stands_behind_it_and_an_empty_turn_stays_one() {
        let result =
            |id: &str| Part::Result(ToolResult { id: id.into(), parts: vec![Part::text("ok")], is_error: false, cached: None });
        let text = Part::Text(Text { text: "go on".into(), cached: None });
        let check = |parts: Vec<Part>, expected: &[(&str, &str)]| {
            let turns = [Turn { role: Role::User, parts }].into_iter().collect();
            let chat = Chat::of(&Conversation { turns, ..Conversation::default() });
            let found: Vec<(String, String)> = chat.messages.iter().map(|one| (one.role.clone(), one.text())).collect();
            let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            assert_eq!(found, expected);
        };
        check(vec![result("a"), text, result("b")], &[("tool", "ok"), ("tool", "ok"), ("user", "go on")]);
        check(vec![result("a")], &[("tool", "ok")]);
        check(vec![], &[("user", "")]);
    }
}
