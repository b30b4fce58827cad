//! The words of Bedrock's Converse: answers and messages as the provider writes them. No client asks in it.

use super::eventstream::written;

/// A whole answer of these blocks that ended for this reason.
pub(crate) fn answer(blocks: &str, stop: &str, usage: &str) -> String {
    format!(
        r#"{{"metrics":{{"latencyMs":9}},"output":{{"message":{{"role":"assistant","content":[{blocks}]}}}},"stopReason":"{stop}","usage":{usage}}}"#
    )
}

/// The counts of an answer without a cache.
pub(crate) fn usage(input: u64, output: u64) -> String {
    format!(r#"{{"inputTokens":{input},"outputTokens":{output},"totalTokens":{}}}"#, input + output)
}

/// A piece of a block of a stream.
pub(crate) fn delta(block: u32, json: &str) -> String {
    format!("contentBlockDelta {{\"contentBlockIndex\":{block},\"delta\":{json},\"p\":\"abcd\"}}\n")
}

/// A call begins as a block of a stream.
pub(crate) fn begins(block: u32, id: &str, name: &str) -> String {
    format!(
        "contentBlockStart {{\"contentBlockIndex\":{block},\"start\":{{\"toolUse\":{{\"toolUseId\":\"{id}\",\"name\":\"{name}\"}}}}}}\n"
    )
}

/// A block of a stream ends.
pub(crate) fn ends(block: u32) -> String {
    format!("contentBlockStop {{\"contentBlockIndex\":{block}}}\n")
}

/// How every stream begins.
pub(crate) const START: &str = "messageStart {\"role\":\"assistant\"}\n";

/// The messages of a stream that ended for this reason, around those of its blocks.
pub(crate) fn frames(blocks: &[String], stop: &str, usage: &str) -> Vec<Vec<u8>> {
    let end =
        format!("messageStop {{\"stopReason\":\"{stop}\"}}\nmetadata {{\"usage\":{usage},\"metrics\":{{\"latencyMs\":9}}}}\n");
    written(&format!("{START}{}{end}", blocks.concat()))
}

/// A stream with two pieces of text and a usage of 9 tokens in, 4 out.
pub(crate) fn hello() -> Vec<Vec<u8>> {
    let blocks = [r#"{"text":"Hel"}"#, r#"{"text":"lo."}"#].map(|piece| delta(0, piece));
    frames(&blocks, "end_turn", &usage(9, 4))
}
