//! The words of Gemini's `generateContent`: answers and frames as a provider writes them. No client asks in it.

/// A whole answer of these parts that ended for this reason; a frame of a stream is one too.
pub(crate) fn answer(parts: &str, finish: &str, usage: &str) -> String {
    let finish = if finish.is_empty() { String::new() } else { format!(r#""finishReason":"{finish}","#) };
    format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{parts}]}},{finish}"index":0}}],"usageMetadata":{usage},"modelVersion":"served","responseId":"r-1"}}"#
    )
}

/// A part with text.
pub(crate) fn text(piece: &str) -> String {
    format!(r#"{{"text":"{piece}"}}"#)
}

/// A part with a piece of a thought.
pub(crate) fn thought(piece: &str) -> String {
    format!(r#"{{"text":"{piece}","thought":true}}"#)
}

/// A part with a call; `seal` may be empty, as it is of all calls of an answer but the first.
pub(crate) fn call(name: &str, args: &str, seal: &str) -> String {
    let seal = if seal.is_empty() { String::new() } else { format!(r#","thoughtSignature":"{seal}""#) };
    format!(r#"{{"functionCall":{{"name":"{name}","args":{args}}}{seal}}}"#)
}

/// The counts of an answer without thoughts.
pub(crate) fn usage(input: u64, output: u64) -> String {
    format!(r#"{{"promptTokenCount":{input},"candidatesTokenCount":{output},"totalTokenCount":{}}}"#, input + output)
}

/// An error body; `details` are objects with a comma between.
pub(crate) fn error(code: u16, word: &str, message: &str, details: &str) -> String {
    format!(r#"{{"error":{{"code":{code},"message":"{message}","status":"{word}","details":[{details}]}}}}"#)
}

/// Any frame.
pub(crate) fn frame(json: &str) -> String {
    format!("data: {json}\n\n")
}

/// The frames of a stream with these parts, one in each, and a last one with nothing but the end.
pub(crate) fn frames(parts: &[String], usage: &str) -> Vec<String> {
    let said = parts.iter().map(|part| frame(&answer(part, "", usage)));
    said.chain([frame(&answer(&text(""), "STOP", usage))]).collect()
}

/// A stream's frames with two pieces of text and a usage of 9 tokens in, 4 out.
pub(crate) fn hello() -> Vec<String> {
    frames(&[text("Hel"), text("lo.")], &usage(9, 4))
}
