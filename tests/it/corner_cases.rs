//! The 32 corner cases of the table of dialects (`dialects.md` section 6, 2026-11-22), each a test that is named after its number: what
//! providers really send, and what becomes of it in front of a client and in the books. All of them run the real binary over real
//! sockets.
//!
//! A provider of chat is mostly shown to a client of Messages, since what is said alike on both sides passes as it came.

mod calls;
mod chunks;
mod errors;
mod framing;
mod history;
mod http;
mod metering;

use serde_json::Value;

use crate::harness::provider::stream;
use crate::harness::{Call, Gateway, Provider, Whole, chat, messages};

/// What a client of Messages is told by a stream, put together as strictly as its SDKs do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    text: String,
    thoughts: String,
    /// Of each call its id, its name and its input as it came.
    calls: Vec<(String, String, String)>,
    stop: String,
}

impl Told {
    fn said(text: &str) -> Self {
        Self { text: text.to_owned(), stop: "end_turn".to_owned(), ..Self::default() }
    }

    /// Name and input of each call.
    fn called(&self) -> Vec<(&str, &str)> {
        self.calls.iter().map(|(_, name, input)| (name.as_str(), input.as_str())).collect()
    }
}

/// Reads a whole stream of Messages, which has one beginning, one block at a time and one end.
fn told(answer: &Whole) -> Told {
    let (mut told, mut open, mut names) = (Told::default(), None, Vec::new());
    for (name, event) in messages::events(answer.text()) {
        match name.as_str() {
            "content_block_start" => {
                assert_eq!(open.replace(event["index"].clone()), None, "{}", answer.text());
                let block = &event["content_block"];
                let word = |member: &str| block[member].as_str().unwrap_or_default().to_owned();
                if block["type"] == "tool_use" {
                    told.calls.push((word("id"), word("name"), String::new()));
                }
            }
            "content_block_delta" => {
                assert_eq!(open.as_ref(), Some(&event["index"]), "{}", answer.text());
                let piece = |member: &str| event["delta"][member].as_str().unwrap_or_default();
                told.text += piece("text");
                told.thoughts += piece("thinking");
                if let Some((_, _, input)) = told.calls.last_mut() {
                    *input += piece("partial_json");
                }
            }
            "content_block_stop" => assert_eq!(open.take().as_ref(), Some(&event["index"]), "{}", answer.text()),
            "message_delta" => event["delta"]["stop_reason"].as_str().unwrap().clone_into(&mut told.stop),
            _ => {}
        }
        if name.starts_with("message_") {
            names.push(name);
        }
    }
    assert_eq!((names, open), (["message_start", "message_delta", "message_stop"].map(str::to_owned).to_vec(), None::<Value>));
    told
}

/// What a client of Messages is told where a provider of chat sends these pieces.
async fn retold<P: AsRef<[u8]>>((east, gateway): &(Provider, Gateway), pieces: &[P]) -> Told {
    east.next(stream(pieces));
    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
    told(&answer)
}

/// The frames of a stream of chat: these deltas, and the reason to stop.
fn frames(deltas: &[&str], finish: &str) -> Vec<String> {
    let delta = |delta: &&str| chat::delta(delta, "null");
    deltas.iter().map(delta).chain([chat::delta("{}", &format!("\"{finish}\"")), chat::DONE.to_owned()]).collect()
}
