//! The requests that the demo sends, and what each of them shows.

use serde_json::{Value, json};

/// One request of the tour.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stop {
    pub(super) title: &'static str,
    /// What to look at in its decision.
    pub(super) shows: &'static str,
    /// The prompt as it is shown.
    pub(super) prompt: String,
    pub(super) body: Value,
    /// The backend that would be chosen is made to fail.
    pub(super) breaks_first_choice: bool,
}

impl Stop {
    fn new(title: &'static str, shows: &'static str, prompt: &str, body: Value) -> Self {
        Self { title, shows, prompt: prompt.to_owned(), body, breaks_first_choice: false }
    }

    pub(super) fn streamed(&self) -> bool {
        self.body["stream"] == true
    }
}

/// Every stop, in order.
pub(super) fn stops() -> Vec<Stop> {
    vec![short_chat(), chinese_chat(), stream(), long_context(), tools(), json_schema(), premium(), failing()]
}

/// About as many tokens as chats usually get, and as the gateway therefore expects.
const USUAL_ANSWER: u64 = 180;

fn chat(model: &str, prompt: &str) -> Value {
    let directions = json!({"output_tokens": USUAL_ANSWER});
    json!({"model": model, "messages": [{"role": "user", "content": prompt}], "sandbox": directions})
}

fn with(mut body: Value, more: Value) -> Value {
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    body
}

fn short_chat() -> Stop {
    let prompt = "In one sentence: what does a broker do?";
    Stop::new("A short chat", "the cheapest backend that is good enough", prompt, chat("auto", prompt))
}

fn chinese_chat() -> Stop {
    let prompt = "请用三句话介绍一下算盘的历史。";
    Stop::new("A chat in Chinese", "backends that are not good at Chinese are left out", prompt, chat("auto", prompt))
}

fn stream() -> Stop {
    let prompt = "Tell me about lighthouses, as long as you like.";
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    Stop::new("A stream", "the price comes behind the last byte, in a trailer", prompt, with(chat("auto", prompt), more))
}

fn long_context() -> Stop {
    let shown = "(a ledger of 9,000 lines) Which entry is out of order?";
    let entry = |line: u64| {
        let coins = (line * 7_919 + 13) % 9_973;
        format!("entry {line}: boat {} brought {coins} coins to the harbour at dusk\n", line % 61)
    };
    let entries: Vec<String> = (0..9_000).map(entry).collect();
    let prompt = entries.concat() + "Which entry is out of order?";
    Stop::new("A long context", "small windows are left out", shown, chat("auto", &prompt))
}

fn tools() -> Stop {
    let prompt = "How is the weather in Oslo, and how many kroner is a euro?";
    let tool = |name: &str, about: &str, member: &str| {
        json!({"type": "function", "function": {"name": name, "description": about, "parameters": {
            "type": "object", "properties": {member: {"type": "string"}}, "required": [member]}}})
    };
    let offered = json!([tool("weather", "The weather in a city", "city"), tool("rate", "An exchange rate", "currency")]);
    Stop::new("Two tools", "only backends that can call tools", prompt, with(chat("auto", prompt), json!({"tools": offered})))
}

fn json_schema() -> Stop {
    let prompt = "Draft an invoice of twelve lines for a boat yard.";
    let line = json!({"type": "object", "additionalProperties": false, "required": ["what", "pieces", "each"], "properties": {
        "what": {"enum": ["anchor", "sail", "rope", "lamp"]},
        "pieces": {"type": "integer", "minimum": 1, "maximum": 20},
        "each": {"type": "integer", "minimum": 5, "maximum": 900}}});
    let schema = json!({"type": "object", "additionalProperties": false, "required": ["due", "currency", "lines"], "properties": {
        "due": {"type": "string", "format": "date"},
        "currency": {"enum": ["EUR", "USD", "CNY"]},
        "lines": {"type": "array", "minItems": 12, "maxItems": 12, "items": line}}});
    let format = json!({"type": "json_schema", "json_schema": {"name": "invoice", "strict": true, "schema": schema}});
    let body = with(chat("auto", prompt), json!({"response_format": format}));
    Stop::new("A JSON schema", "only backends that keep to a schema", prompt, body)
}

fn premium() -> Stop {
    let prompt = "Should we sign this contract? Weigh the risks.";
    Stop::new("A critical decision", "a floor under the quality: auto:premium", prompt, chat("auto:premium", prompt))
}

fn failing() -> Stop {
    let prompt = "Name three rivers.";
    let stop = Stop::new("A provider fails", "the next best answers; the client notices nothing", prompt, chat("auto", prompt));
    Stop { breaks_first_choice: true, ..stop }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tour_shows_what_the_demo_promises() {
        let stops = stops();
        assert!(stops.iter().any(Stop::streamed));
        assert!(stops.iter().any(|stop| stop.body["tools"].is_array()));
        assert!(stops.iter().any(|stop| stop.body["response_format"]["type"] == "json_schema"));
        assert!(stops.iter().any(|stop| stop.body.to_string().len() > 500_000));
        assert_eq!(stops.iter().filter(|stop| stop.breaks_first_choice).count(), 1);
        assert!(stops.iter().all(|stop| stop.prompt.len() < 70 && stop.title.len() + stop.shows.len() < 72));
    }
}
