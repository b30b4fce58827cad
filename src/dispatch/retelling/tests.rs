//! Streams of one shape told in another, by the codecs that are used.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::catalog::TokenizerFamily;
use crate::catalog::capability::Quirks;
use crate::dialect::{Dialect, FrameReader, OpenAiChat};
use crate::frontend::{About, AnthropicMessages, FrontendRef, OpenAiResponses};
use crate::units::Tokens;

/// A stream of chat on its way to a client of another shape.
struct Told {
    reader: Box<dyn FrameReader>,
    retelling: Retelling,
    client: Vec<u8>,
}

impl Told {
    fn to(client: FrontendRef) -> Self {
        let count = OwnCount::new(Tokens::new(90), TokenizerFamily::O200k);
        let retelling =
            Retelling::new(OpenAiChat.delta_reader(), client.stream_writer(About::of_nobody()), count, Reading::default());
        Self { reader: OpenAiChat.frame_reader(Quirks::default(), 1), retelling, client: Vec::new() }
    }

    fn frame(&mut self, data: &str) -> Result<(), HeldTooMuch> {
        let bytes = Bytes::from(format!("data: {data}\n\n"));
        let facts = self.reader.read(&bytes, &mut |_| {});
        self.client.extend_from_slice(&self.retelling.tell(Frame { bytes, facts })?.bytes);
        Ok(())
    }

    fn delta(&mut self, delta: &str) -> Result<(), HeldTooMuch> {
        self.frame(&format!(r#"{{"id":"c1","model":"m","choices":[{{"index":0,"delta":{delta}}}]}}"#))
    }

    /// The data of the client's events of a type.
    fn events(&self, kind: &str) -> Vec<Value> {
        let text = String::from_utf8(self.client.clone()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        events.filter(|event| event["type"] == kind).collect()
    }
}

const STOP: &str = r#"{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

/// Found by a reviewer: the client was told zeros where the provider reported nothing, while the books had an estimate.
#[test]
fn a_client_is_told_our_count_where_the_provider_reports_none() {
    let end = |client, usage: &str| {
        let mut told = Told::to(client);
        told.delta(r#"{"content":"Four words of text."}"#).unwrap();
        told.frame(STOP).unwrap();
        told.frame(&format!(r#"{{"id":"c1","choices":[]{usage}}}"#)).unwrap();
        told.frame("[DONE]").unwrap();
        told
    };
    let zeros = r#","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
    for nothing in ["", zeros] {
        let usage = end(&AnthropicMessages, nothing).events("message_delta")[0]["usage"].clone();
        assert_eq!(usage["input_tokens"], 90, "{usage}");
        assert!(usage["output_tokens"].as_u64().unwrap() >= 4, "{usage}");
        let usage = end(&OpenAiResponses, nothing).events("response.completed")[0]["response"]["usage"].clone();
        assert!(usage["input_tokens"] == 90 && usage["output_tokens"].as_u64().unwrap() >= 4, "{usage}");
    }
    let reported = r#","usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}"#;
    let usage = end(&AnthropicMessages, reported).events("message_delta")[0]["usage"].clone();
    assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(7), &json!(5)));
}

/// Pieces of a 32nd of what may be held until the stream is given up, at most so many.
fn pieces_until_given_up(told: &mut Told, most: usize, delta: impl Fn(usize, &str) -> String) -> Option<usize> {
    let piece = "a".repeat(8 * 1024);
    told.retelling.most_held = 32 * piece.len();
    (0..most).find(|at| told.delta(&delta(*at, &piece)) == Err(HeldTooMuch))
}

/// Found by a reviewer: a provider could make the gateway keep as much as it liked.
#[test]
fn a_provider_cannot_make_us_keep_more_than_a_bound() {
    // The first call stays open, so that the second waits for its turn.
    let mut interleaved = Told::to(&AnthropicMessages);
    interleaved.delta(r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}"#).unwrap();
    interleaved.delta(r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]}"#).unwrap();
    let call = |_, piece: &str| format!(r#"{{"tool_calls":[{{"index":1,"function":{{"arguments":"{piece}"}}}}]}}"#);
    assert!(pieces_until_given_up(&mut interleaved, 40, call).is_some_and(|at| at < 33));
    // What is told again at the end.
    let text = |_, piece: &str| format!(r#"{{"content":"{piece}"}}"#);
    assert!(pieces_until_given_up(&mut Told::to(&OpenAiResponses), 40, text).is_some_and(|at| at < 33));
    // Text that passes as it comes is not kept, however long it gets.
    assert_eq!(pieces_until_given_up(&mut Told::to(&AnthropicMessages), 40, text), None);
    // Calls that never begin, each with an id of its own.
    let ids = |at, piece: &str| format!(r#"{{"tool_calls":[{{"index":{at},"id":"{at}{piece}"}}]}}"#);
    assert!(pieces_until_given_up(&mut Told::to(&AnthropicMessages), 40, ids).is_some_and(|at| at < 33));
    // White space that may stand before a tag.
    let blanks = |_, piece: &str| format!(r#"{{"content":"{}"}}"#, " ".repeat(piece.len()));
    let mut blank = Told::to(&AnthropicMessages);
    assert_eq!(pieces_until_given_up(&mut blank, 40, blanks), None);
    assert!(!blank.events("content_block_delta").is_empty(), "it is told as text");
    assert_eq!(HeldTooMuch.to_string(), "more than 16 MiB of the answer would have to be kept to tell it in other words");
}
