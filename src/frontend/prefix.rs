//! A request's chain of prefixes, in one pass over its bytes: where each message begins was mostly seen as it was read, else it is
//! found by its quotes and brackets.
//!
//! What a provider caches is the prompt from its beginning, and that begins with the tools, whatever the order of members
//! in the body. So a chain begins with the tools' bytes, then those of a system prompt that stands outside of the messages,
//! and goes on with each message's. The bytes are taken as they
//! are: an SDK writes the same message the same way each time, and one that does not makes a prompt look colder than it
//! is, never warmer. The format of the answer and everything else outside both arrays is left out.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

use super::sealed;
use crate::canonical::prefix::{FIRST_LINKS, MOST_LINKS, WHOLE, absorb};
use crate::canonical::{Chain, Link, Members, Request};

/// The key that marks what is to be cached. Inside a text its quotes would be escaped.
const MARK: &[u8] = b"\"cache_control\"";
/// A string of more bytes may be an encoded image or file.
const LONG: usize = 5_000;
/// How much an image or a file in the body weighs as text, in bytes: encoded ones have few tokens for their length.
const DATA_WEIGHS: u64 = 4_000;

/// The chain of a request. `seed` must differ from one gateway key to another, so that none is told of another's prompts.
pub fn chain(request: &Request, seed: u64) -> Chain {
    let (body, members) = (&request.body[..], &request.members);
    let tools = body.get(members.tools.clone()).unwrap_or_default();
    let mut so_far = SoFar { hash: absorb(seed, tools), weight: tools.len() as u64 };
    let mut marked = if is_marked(tools) { so_far.weight } else { 0 };
    let system = body.get(members.system.clone()).unwrap_or_default();
    if !system.is_empty() {
        so_far = SoFar { hash: absorb(so_far.hash, system), weight: so_far.weight + system.len() as u64 };
        marked = if is_marked(system) { so_far.weight } else { marked };
    }
    let any_mark = !members.plain && body.get(members.messages.clone()).is_some_and(is_marked);
    let mut ends = Vec::with_capacity(MOST_LINKS.min(request.messages as usize + 1));
    for message in elements(body, members) {
        let bytes = &body[message.span.clone()];
        so_far = SoFar { hash: absorb(so_far.hash, bytes), weight: so_far.weight + message.weight };
        if any_mark && is_marked(bytes) {
            marked = so_far.weight;
        }
        if ends.len() == MOST_LINKS {
            ends.remove(FIRST_LINKS);
        }
        ends.push(so_far);
    }
    let share = |weight: u64| u32::try_from(weight * u64::from(WHOLE) / so_far.weight.max(1)).unwrap_or(WHOLE);
    let links = ends.iter().map(|end| Link { hash: end.hash, share: share(end.weight) }).collect();
    let session = request.wishes.session.as_deref().map(|session| absorb(seed ^ 1, session.as_bytes()));
    Chain { links, marked: share(marked), session, seals: sealed::hashes(request, seed) }
}

/// A prompt up to the end of some message.
#[derive(Clone, Copy)]
struct SoFar {
    hash: u64,
    weight: u64,
}

fn is_marked(bytes: &[u8]) -> bool {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));
    FINDER.find(bytes).is_some()
}

/// The messages, without what stands between them.
fn elements<'b>(body: &'b [u8], members: &'b Members) -> impl Iterator<Item = Element> + 'b {
    let Members { begins, messages, plain, .. } = members;
    let ends = begins.iter().skip(1).copied().chain([messages.end]);
    let seen = begins.iter().zip(ends).filter_map(|(begin, before)| Element::within(body, *begin, before, *plain));
    let at = if begins.is_empty() { messages.start + 1 } else { messages.end };
    seen.chain(Elements { body, at, end: messages.end })
}

/// The elements of an array that is known to be valid.
struct Elements<'b> {
    body: &'b [u8],
    at: usize,
    end: usize,
}

struct Element {
    span: Range<usize>,
    weight: u64,
}

impl Element {
    /// A message that begins at a place and is followed by nothing else before another; a `plain` one holds no file.
    fn within(body: &[u8], begin: usize, before: usize, plain: bool) -> Option<Self> {
        let end = begin + body.get(begin..before)?.iter().rposition(|byte| *byte == b'}')? + 1;
        if end - begin > LONG && !plain {
            return Elements { body, at: begin, end }.next();
        }
        Some(Self { span: begin..end, weight: (end - begin) as u64 })
    }
}

impl Iterator for Elements<'_> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        let body = self.body.get(..self.end)?;
        let start = self.at + body.get(self.at..)?.iter().position(|byte| matches!(byte, b'{' | b'[' | b'"'))?;
        let (mut at, mut depth, mut spared) = (start, 0_usize, 0_u64);
        loop {
            match *body.get(at)? {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                b'"' => {
                    let end = string_end(body, at + 1)?;
                    let is_data = end - at > LONG && holds_data(body, at);
                    spared += if is_data { (end - at) as u64 - DATA_WEIGHS } else { 0 };
                    at = end;
                }
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        self.at = at;
        Some(Element { span: start..at, weight: (at - start) as u64 - spared })
    }
}

/// Whether the string that begins with the quote at `at` is an encoded image or file: a data URL, or what a member `data`
/// says.
fn holds_data(body: &[u8], at: usize) -> bool {
    let key = || body[..at].trim_ascii_end().strip_suffix(b":").map(<[u8]>::trim_ascii_end);
    body[at + 1..].starts_with(b"data:") || key().is_some_and(|key| key.ends_with(b"\"data\""))
}

/// Where the quote stands that ends a string whose text begins at `start`: the first one with an even number of backslashes
/// before it. Texts have more line ends than quotes, so looking for quotes alone is faster than for backslashes too.
fn string_end(body: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at += memchr(b'"', body.get(at..)?)?;
        let escapes = body[start..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::openai_chat::parse;
    use super::*;
    use bytes::Bytes;
    use http::HeaderMap;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn request(body: &str) -> Request {
        parse(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new()).unwrap()
    }

    fn of(body: &str) -> Chain {
        chain(&request(body), 7)
    }

    /// How many links two bodies' chains share from the beginning.
    fn check(one: &str, other: &str, expected: usize) {
        let (one, other) = (of(one), of(other));
        let shared = one.links.iter().zip(&other.links).take_while(|(a, b)| a.hash == b.hash).count();
        assert_eq!(shared, expected);
        assert!(one.links[shared..].iter().all(|link| other.links.iter().all(|far| far.hash != link.hash)), "and none behind");
    }

    const TURN: &str = r#"{"model":"m","messages":[{"role":"system","content":"a \"b\" [{"},{"role":"user","content":"c\\"}]}"#;

    #[test]
    fn two_turns_of_a_conversation_share_what_was_said() {
        let next = r#"{"messages": [ {"role":"system","content":"a \"b\" [{"} ,{"role":"user","content":"c\\"},
            {"role":"assistant","content":null,"tool_calls":[{"a":[1,"]"]}]}, {"role":"tool","content":"d"}],"model":"other","n":1}"#;
        check(TURN, TURN, 2);
        check(TURN, next, 2);
        assert_eq!(of(next).links.len(), 4);
        check(TURN, &TURN.replace("c\\\\", "d"), 1);
        check(TURN, &TURN.replace("a \\\"b", "b \\\"b"), 0);
    }

    #[test]
    fn tools_are_the_beginning_wherever_they_stand() {
        let tools = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
        let (before, behind) =
            (TURN.replace("\"model\"", &format!("{tools},\"model\"")), TURN.replace("]}", &format!("],{tools} }}")));
        check(&before, &behind, 2);
        check(&before, TURN, 0);
        check(&before, &before.replace("\"f\"", "\"g\""), 0);
    }

    #[test]
    fn another_key_or_session_has_another_chain() {
        let (one, other) = (chain(&request(TURN), 7), chain(&request(TURN), 8));
        assert!(one.links.iter().zip(&other.links).all(|(a, b)| a.hash != b.hash && a.share == b.share));
        let named = |name: &str| of(&TURN.replace("\"model\"", &format!("\"tokenbroker\":{{\"session\":\"{name}\"}},\"model\"")));
        assert_eq!(named("s").session, named("s").session);
        assert_ne!(named("s").session, named("t").session);
        assert_eq!(named("s").links, of(TURN).links);
    }

    #[test]
    fn a_mark_says_how_much_is_to_be_cached() {
        assert_eq!(of(TURN).marked, 0);
        assert_eq!(of(&TURN.replace("a \\", "\\\"cache_control\\\" \\")).marked, 0, "a text that speaks of it");
        let marked = of(&TURN.replace("\"role\":\"system\"", "\"cache_control\":{\"type\":\"ephemeral\"},\"role\":\"system\""));
        assert_eq!(marked.marked, marked.links[0].share);
        assert!(marked.marked > 0 && marked.marked < WHOLE);
    }

    #[test]
    fn an_image_weighs_as_the_few_tokens_it_has() {
        let image = format!(
            r#"{{"messages":[{{"content":[{{"image_url":{{"url":"data:image/png;base64,{}"}}}}]}},{{"content":"{}"}}],"model":"m"}}"#,
            "A".repeat(400_000),
            "word ".repeat(800)
        );
        let share = of(&image).links[0].share;
        assert!((450_000..550_000).contains(&share), "{share}");
    }

    #[test]
    fn a_system_prompt_outside_of_the_messages_stands_before_them() {
        let of = |body: &str| {
            let parsed =
                super::super::anthropic_messages::parse_prompt(Bytes::copy_from_slice(body.as_bytes()), &HeaderMap::new());
            chain(&parsed.unwrap(), 7)
        };
        let body = |system: &str, data: &str| {
            let image = format!(r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data" : "{data}"}}}}"#);
            let said = "word ".repeat(800);
            let turns = format!(r#"[{{"role":"user","content":[{image}]}},{{"role":"user","content":"{said}"}}]"#);
            format!(r#"{{"model":"m","messages":{turns},"system":{system}}}"#)
        };
        let plain = of(&body(r#""You are brief.""#, "A"));
        assert_eq!((plain.links.len(), plain.marked), (2, 0));
        let shared = |other: &Chain| plain.links.iter().zip(&other.links).take_while(|(a, b)| a.hash == b.hash).count();
        assert_eq!(shared(&of(&body(r#""You are brief.""#, "A").replace(r#""m","messages""#, r#""n","messages""#))), 2);
        assert_eq!(shared(&of(&body(r#""You are long.""#, "A"))), 0);
        let marked = of(&body(r#"[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}]"#, "A"));
        assert!(marked.marked > 0 && marked.marked < marked.links[0].share);
        let share = of(&body("\"\"", &"A".repeat(400_000))).links[0].share;
        assert!((450_000..550_000).contains(&share), "{share}");
    }

    #[test]
    fn a_long_conversation_keeps_its_beginning_and_its_end() {
        let messages: Vec<Value> = (0..500).map(|n| json!({"role":"user","content":n.to_string()})).collect();
        let long = of(&json!({"model":"m","messages":messages}).to_string());
        let longer: Vec<Value> = messages.into_iter().chain([json!({"role":"user","content":"last"})]).collect();
        let longer = of(&json!({"model":"m","messages":longer}).to_string());
        assert_eq!((long.links.len(), longer.links.len()), (MOST_LINKS, MOST_LINKS));
        assert_eq!(
            long.links[..FIRST_LINKS].iter().map(|l| l.hash).collect::<Vec<_>>(),
            longer.links[..FIRST_LINKS].iter().map(|l| l.hash).collect::<Vec<_>>()
        );
        assert_eq!(long.links[MOST_LINKS - 1].hash, longer.links[MOST_LINKS - 2].hash);
    }

    proptest! {
        #[test]
        fn where_messages_begin_is_seen_as_they_are_read(texts in prop::collection::vec("\\PC{0,40}", 1..12), gap in "[ \n\t]{0,3}", last: bool) {
            let message = |text: &String| {
                let (role, text) = (format!("{gap}\"role\"{gap}:{gap}\"user\"{gap}"), json!(text).to_string());
                if last { format!("{{\"content\":{text},{role}}}") } else { format!("{{{role},\"content\":{gap}{text}{gap}}}") }
            };
            let messages: Vec<String> = texts.iter().map(message).collect();
            let body = format!("{{\"model\":\"m\",\"messages\":[{gap}{}{gap}]}}", messages.join(&format!("{gap},{gap}")));
            let mut request = request(&body);
            let begins: Vec<&str> = request.members.begins.iter().map(|begin| &body[*begin..=*begin]).collect();
            prop_assert_eq!(begins, if last { vec![] } else { vec!["{"; texts.len()] });
            let seen = chain(&request, 7);
            request.members.begins.clear();
            prop_assert_eq!(seen, chain(&request, 7));
        }

        #[test]
        fn there_is_a_link_for_each_message_whatever_it_holds(texts in prop::collection::vec("\\PC{0,40}", 1..12), tools: bool) {
            let messages: Vec<Value> = texts.iter().map(|text| json!({"role":"user","content":[{"type":"text","text":text}]})).collect();
            let mut body = json!({"model":"m","messages":messages});
            if tools {
                body["tools"] = json!([{"type":"function","function":{"name":"f","description":texts[0]}}]);
            }
            let chain = of(&body.to_string());
            prop_assert_eq!(chain.links.len(), texts.len());
            prop_assert!(chain.links.windows(2).all(|pair| pair[0].share <= pair[1].share));
            prop_assert_eq!(chain.links.last().map(|link| link.share), Some(WHOLE));
        }
    }
}
