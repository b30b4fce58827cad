//! Whether a conversation holds what only the provider that wrote it can read: signatures of thoughts, encrypted thoughts.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::{extra_content, reasoning_details, seals};
use crate::canonical::prefix::{absorb, seal_hash};
use crate::canonical::{Request, Shape};

/// Whether any is there that says something. Keys are looked for, not read: inside a text their quotes would be escaped, and a tool
/// that has such an argument only makes a conversation stay where it is.
pub fn is_sealed(request: &Request) -> bool {
    let none = |value: &[u8]| {
        let text = value.strip_prefix(b"\"").and_then(|text| Some(&text[..memchr::memchr(b'"', text)?]));
        text.is_some_and(seals::is_none)
    };
    values(request)
        .any(|value| !matches!(value, [b'"', b'"', ..] | [b'[', b']', ..] | [b'n', b'u', b'l', b'l', ..]) && !none(value))
}

/// The seals in it, each as a hash over it and those before it: what goes on with the same seals begins with the same hashes.
pub fn seal_chain(request: &Request, seed: u64) -> Vec<u64> {
    let mut seals = Vec::new();
    if request.may_hold_thoughts {
        each_seal(request.shape, messages_of(request), |seal| seals.extend(seal));
    }
    // As they stand in the conversation, whatever they are called.
    seals.sort_unstable_by_key(|seal| seal.as_ptr().addr());
    let (mut hash, older) = (seed, seals.len().saturating_sub(MOST_SEALS));
    let chained = seals.into_iter().map(|seal| {
        hash = absorb(hash, seal);
        hash
    });
    chained.skip(older).collect()
}

/// Whether thoughts stand in it, also without a seal: whoever did not make them may refuse them.
pub fn holds_thoughts(request: &Request) -> bool {
    values(request).next().is_some() || summaries(request) > 0 || thinking_blocks(request) > 0
}

/// Whether thoughts stand in it that were told in words of ours, from an API that has others for them.
pub fn holds_told_thoughts(request: &Request) -> bool {
    if !request.may_hold_thoughts {
        return false;
    }
    let messages = messages_of(request);
    let begins = |text: &str| memmem::find(messages, text.as_bytes()).is_some();
    match request.shape {
        Shape::OpenAiChat => {
            behind(messages, reasoning_details::ORIGIN_KEY).any(|value| value.starts_with(reasoning_details::OURS))
        }
        // Of whatever member it is the value; a text that begins so makes a conversation be rewritten, and nothing is lost.
        Shape::AnthropicMessages => seals::FOREIGN_IN_BLOCK.iter().any(|text| begins(text)),
        Shape::OpenAiResponses => seals::FOREIGN_IN_ITEM.iter().any(|text| begins(text)),
        // No client asks in it, and what is no conversation has no thoughts.
        Shape::GeminiGenerate
        | Shape::BedrockConverse
        | Shape::OpenAiEmbeddings
        | Shape::OpenAiCompletions
        | Shape::Rerank
        | Shape::OpenAiImages
        | Shape::OpenAiSpeech
        | Shape::OpenAiTranscriptions => false,
    }
}

/// Whether seals stand in it where Google's endpoint for chat tells them, and we do, who are not to be told apart by that.
pub fn holds_google_seals(request: &Request) -> bool {
    request.shape == Shape::OpenAiChat
        && request.may_hold_thoughts
        && behind(messages_of(request), extra_content::SIGNATURE_KEY).next().is_some()
}

/// Whether thoughts stand in it without a signature.
pub fn holds_unsigned_thoughts(request: &Request) -> bool {
    let is_signature = |value: &&[u8]| value.starts_with(b"\"") && !value.starts_with(b"\"\"");
    let signed = || values(request).filter(is_signature).count();
    match request.shape {
        // An item or a block may leave the member out.
        Shape::OpenAiResponses => summaries(request) > signed(),
        Shape::AnthropicMessages => thinking_blocks(request) > signed(),
        _ => values(request).any(|value| value.starts_with(b"\"\"")),
    }
}

/// How many blocks of Messages say that they are thoughts with a text.
fn thinking_blocks(request: &Request) -> usize {
    const KIND: &[u8] = b"\"thinking\"";
    const KEY: &[u8] = b"\"type\"";
    if request.shape != Shape::AnthropicMessages || !request.may_hold_thoughts {
        return 0;
    }
    let messages = messages_of(request);
    // Not the member of that name, nor a tool's name or argument.
    let is_kind = |at: &usize| {
        let key = messages[..*at].trim_ascii_end().strip_suffix(b":");
        key.is_some_and(|key| key.trim_ascii_end().ends_with(KEY))
    };
    memmem::find_iter(messages, KIND).filter(is_kind).count()
}

/// How many thoughts are told as items of Responses, each of which has a summary, if an empty one.
fn summaries(request: &Request) -> usize {
    if request.shape == Shape::OpenAiResponses && request.may_hold_thoughts {
        behind(messages_of(request), "\"summary\"").count()
    } else {
        0
    }
}

/// What follows each key that a seal has in the request's shape.
fn values(request: &Request) -> impl Iterator<Item = &[u8]> {
    let keys: &[&str] = match request.shape {
        _ if !request.may_hold_thoughts => &[],
        Shape::OpenAiChat => &["\"reasoning_details\"", extra_content::SIGNATURE_KEY],
        Shape::OpenAiResponses => &["\"encrypted_content\""],
        Shape::AnthropicMessages => &["\"signature\"", "\"redacted_thinking\""],
        Shape::GeminiGenerate => &["\"thoughtSignature\""],
        Shape::BedrockConverse => &["\"reasoningContent\""],
        Shape::OpenAiEmbeddings
        | Shape::OpenAiCompletions
        | Shape::Rerank
        | Shape::OpenAiImages
        | Shape::OpenAiSpeech
        | Shape::OpenAiTranscriptions => &[],
    };
    let messages = messages_of(request);
    keys.iter().flat_map(move |key| behind(messages, key))
}

/// How far behind the word that says what it is the member of a thought stands that is sealed as a whole.
const NEAR: usize = 256;

/// The keys of seals in one shape: of those that stand beside a thought, and the word of a thought that is nothing but one, whose seal
/// is the next `data`.
struct Keys {
    beside: Vec<Finder<'static>>,
    whole: Option<Finder<'static>>,
}

/// The shapes in which clients hold conversations.
static KEYS: LazyLock<[(Shape, Keys); 3]> = LazyLock::new(|| {
    let keys = |beside: &[&'static str], whole: Option<&'static str>| Keys {
        beside: beside.iter().map(|key| Finder::new(*key)).collect(),
        whole: whole.map(Finder::new),
    };
    [
        (Shape::OpenAiChat, keys(&["\"signature\"", extra_content::SIGNATURE_KEY], Some("\"reasoning.encrypted\""))),
        (Shape::OpenAiResponses, keys(&["\"encrypted_content\""], None)),
        (Shape::AnthropicMessages, keys(&["\"signature\""], Some("\"redacted_thinking\""))),
    ]
});

/// Hashes each seal in a piece of a conversation, be it a request's or an answer's: both are the client's words. `None` is one that cannot
/// be read. `seed` must differ from one gateway key to another.
pub fn hash_seals(shape: Shape, said: &[u8], seed: u64, mut found: impl FnMut(Option<u64>)) {
    each_seal(shape, said, |seal| found(seal.map(|text| seal_hash(seed, text))));
}

/// Each seal that says something, as it is written; `None` is one that cannot be read.
fn each_seal<'s>(shape: Shape, said: &'s [u8], mut found: impl FnMut(Option<&'s [u8]>)) {
    let Some((_, keys)) = KEYS.iter().find(|(of, _)| *of == shape) else { return };
    let mut tell = |value: Option<&'s [u8]>| match value {
        Some(text) if text.is_empty() || seals::is_none(text) => {}
        value => found(value),
    };
    for key in &keys.beside {
        key.find_iter(said).for_each(|at| tell(text_behind(&said[at + key.needle().len()..])));
    }
    if let Some(word) = &keys.whole {
        for at in word.find_iter(said) {
            let near = &said[at..said.len().min(at + NEAR)];
            let data = memmem::find(near, DATA).map(|data| at + data + DATA.len());
            tell(data.and_then(|data| text_behind(&said[data..])));
        }
    }
}

const DATA: &[u8] = b"\"data\"";

/// The text that follows a key, as it is written.
fn text_behind(rest: &[u8]) -> Option<&[u8]> {
    let value = rest.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    if value.starts_with(b"null") {
        return Some(b"");
    }
    let text = value.strip_prefix(b"\"")?;
    Some(&text[..memchr::memchr(b'"', text)?])
}

/// So many seals of a conversation are looked up, the newest: each takes a lock that others wait for.
const MOST_SEALS: usize = 1_024;

/// The hash of each of a request's newest seals, in their order; one that cannot be read has that which none has.
pub(super) fn hashes(request: &Request, seed: u64) -> Vec<u64> {
    let mut seals = Vec::new();
    if request.may_hold_thoughts {
        each_seal(request.shape, messages_of(request), |seal| seals.push(seal));
    }
    // One that cannot be read comes first, as by nobody known.
    seals.sort_unstable_by_key(|seal| seal.map(|seal| seal.as_ptr().addr()));
    let newest = seals.len().saturating_sub(MOST_SEALS);
    seals[newest..].iter().map(|seal| seal.map_or(0, |text| seal_hash(seed, text))).collect()
}

fn messages_of(request: &Request) -> &[u8] {
    request.body.get(request.members.messages.clone()).unwrap_or_default()
}

/// What follows each place of a key, without the colon between.
fn behind<'m>(messages: &'m [u8], key: &str) -> impl Iterator<Item = &'m [u8]> {
    let length = key.len();
    let places: Vec<usize> = memmem::find_iter(messages, key.as_bytes()).collect();
    places.into_iter().map(move |at| value_at(messages, at + length))
}

/// What follows a key that ends here, without the colon between.
fn value_at(messages: &[u8], end: usize) -> &[u8] {
    let value = messages.get(end..).unwrap_or_default().trim_ascii_start();
    value.strip_prefix(b":").map_or(value, <[u8]>::trim_ascii_start)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::super::{AnthropicMessages, Frontend, OpenAiChat, OpenAiResponses};
    use super::*;

    fn check(frontend: &dyn Frontend, message: &str, expected: bool) {
        let body = format!(r#"{{"model":"m","max_tokens":9,"tools":[{{"name":"signature"}}],"messages":[{message}]}}"#);
        let request = frontend.parse(Bytes::from(body), &HeaderMap::new()).unwrap();
        assert_eq!(is_sealed(&request), expected, "{message}");
    }

    #[test]
    fn what_googles_chat_tells_is_a_seal_wherever_it_stands() {
        let extra = |value: &str| format!(r#""extra_content":{{"google":{{"thought_signature":"{value}"}}}}"#);
        let message = |value: &str| format!(r#"{{"role":"assistant","content":"x",{}}}"#, extra(value));
        let call = |value: &str| {
            format!(
                r#"{{"role":"assistant","tool_calls":[{{"id":"c","function":{{"name":"f","arguments":"{{}}"}},{}}}]}}"#,
                extra(value)
            )
        };
        for told in [&message as &dyn Fn(&str) -> String, &call] {
            check(&OpenAiChat, &told("c2ln"), true);
            check(&OpenAiChat, &told(""), false);
        }
        let body = format!(r#"{{"model":"m","messages":[{}]}}"#, call("c2ln"));
        assert!(holds_google_seals(&OpenAiChat.parse(Bytes::from(body), &HeaderMap::new()).unwrap()));
        let said = r#"{"model":"m","messages":[{"role":"user","content":"the \"thought_signature\""}]}"#;
        assert!(!holds_google_seals(&OpenAiChat.parse(Bytes::from(said), &HeaderMap::new()).unwrap()));
    }

    /// The number of seals in these messages, and how many of them stand in `other` too, from the first on.
    #[track_caller]
    fn check_chain(frontend: &dyn Frontend, (messages, other): (&str, &str), seals: usize, alike: usize) {
        let chain = |messages: &str, seed| {
            let list = if frontend.shape() == Shape::OpenAiResponses { "input" } else { "messages" };
            let body = format!(r#"{{"model":"m","max_tokens":9,"{list}":[{messages}]}}"#);
            seal_chain(&frontend.parse(Bytes::from(body), &HeaderMap::new()).unwrap(), seed)
        };
        let (one, two) = (chain(messages, 1), chain(other, 1));
        let same = one.iter().zip(&two).take_while(|(one, two)| one == two).count();
        assert_eq!((one.len(), same), (seals, alike), "{messages} and {other}");
        assert!(one.iter().all(|hash| !chain(messages, 2).contains(hash)));
    }

    #[test]
    fn conversations_are_alike_as_far_as_their_seals_are() {
        let said = |blocks: &str| format!(r#"{{"role":"user","content":"u"}},{{"role":"assistant","content":[{blocks}]}}"#);
        let east = r#"{"type":"thinking","thinking":"hm","signature":"east"}"#;
        let west = r#"{"type":"thinking","thinking":"hm","signature": "west"}"#;
        let hidden = r#"{"type":"redacted_thinking","data":"hid"}"#;
        let image = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBO"}}"#;
        let none = r#"{"type":"thinking","thinking":"hm","signature":""},{"type":"thinking","thinking":"","signature":"google-gemini-v1:"}"#;
        let of = |blocks: &[&str]| said(&blocks.join(","));
        let check = |one: &[&str], two: &[&str], seals, alike| {
            check_chain(&AnthropicMessages, (&of(one), &of(two)), seals, alike);
        };
        check(&[east, hidden, west], &[east, hidden, west, east], 3, 3);
        check(&[east, hidden, west], &[east, west], 3, 1);
        check(&[hidden, east], &[east, hidden], 2, 0);
        check(&[west], &[east, west], 1, 0);
        // What has no seal, and images, change nothing.
        check(&[none, east, image, hidden], &[east, hidden, none], 2, 2);
        check(&[none], &[east], 0, 0);
        // The text beside it is not what is refused.
        check(&[east], &[&east.replace("hm", "ah")], 1, 1);

        let item = |seal: &str| format!(r#"{{"type":"reasoning","summary":[],"encrypted_content":"{seal}"}}"#);
        check_chain(&OpenAiResponses, (&[item("a"), item("b")].join(","), &item("a")), 2, 1);
        let detail = |seal: &str| {
            format!(
                r#"{{"role":"assistant","content":"x","reasoning_details":[{{"type":"reasoning.text","text":"t","signature":"{seal}"}},{{"type":"reasoning.encrypted","data":"{seal}"}}]}}"#
            )
        };
        check_chain(&OpenAiChat, (&[detail("a"), detail("b")].join(","), &detail("a")), 4, 2);
    }

    #[test]
    fn signatures_and_encrypted_thoughts_are_seals() {
        let said = |block: &str| format!(r#"{{"role":"assistant","content":[{block}]}}"#);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature":"s"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"redacted_thinking","data":"AAAA"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"text","text":"the \"signature\" is"}"#), false);
        check(&OpenAiChat, r#"{"role":"assistant","content":"x","reasoning_details":[{"type":"reasoning.encrypted"}]}"#, true);
        check(&OpenAiChat, r#"{"role":"assistant","content":"x","reasoning_content":"hm"}"#, false);
        // Found by a reader: a key without a value kept conversations at home.
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature": ""}"#), false);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature": "google-gemini-v1:"}"#), false);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature": "tokenbroker-unsigned-v1:"}"#), false);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature": "google-gemini-v1:s"}"#), true);
        check(&OpenAiChat, r#"{"role":"assistant","content":"x","reasoning_details":[]}"#, false);
    }

    /// The seals of a message or of an answer, as many as can be read.
    fn hashed(shape: Shape, said: &str) -> Vec<Option<u64>> {
        let mut hashes = Vec::new();
        hash_seals(shape, said.as_bytes(), 7, |hash| hashes.push(hash));
        hashes
    }

    #[test]
    fn an_answers_seals_are_known_again_in_the_next_request() {
        let told = |text: &str| Some(seal_hash(7, text.as_bytes()));
        let check = |shape, answer: &str, request: &str, expected: &[Option<u64>]| {
            assert_eq!(hashed(shape, answer), expected, "{answer}");
            assert_eq!(hashed(shape, request), expected, "{request}");
        };
        check(
            Shape::AnthropicMessages,
            r#"data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln/+=="}}"#,
            r#"{"signature" : "c2ln/+==", "thinking":"hm","type":"thinking"}"#,
            &[told("c2ln/+==")],
        );
        check(
            Shape::AnthropicMessages,
            r#"{"type":"redacted_thinking","data":"AAAA"},{"type":"image","data":"BBBB"}"#,
            r#"{"type": "redacted_thinking", "data": "AAAA"}"#,
            &[told("AAAA")],
        );
        check(Shape::AnthropicMessages, r#"{"type":"thinking","thinking":"","signature":""}"#, r#"{"signature":null}"#, &[]);
        check(
            Shape::AnthropicMessages,
            r#"{"signature":"tokenbroker-unsigned-v1:"}"#,
            r#"{"text":"the \"signature\":\"x\" "}"#,
            &[],
        );
        check(
            Shape::OpenAiResponses,
            r#"{"type":"reasoning","summary":[],"encrypted_content":"gAAA"}"#,
            r#"{"encrypted_content":"gAAA","type":"reasoning"}"#,
            &[told("gAAA")],
        );
        check(
            Shape::OpenAiChat,
            r#"{"reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"s"},{"type":"reasoning.encrypted","id":"c","data":"d"}]}"#,
            r#"{"extra_content":{"google":{"thought_signature":"s"}},"x":[{"type":"reasoning.encrypted","data":"d"}]}"#,
            &[told("s"), told("d")],
        );
        // There, and not to be read: by nobody known.
        assert_eq!(hashed(Shape::AnthropicMessages, r#"{"data":"AAAA","type":"redacted_thinking"}"#), [None]);
        assert_eq!(hashed(Shape::OpenAiEmbeddings, r#"{"signature":"s"}"#), []);
    }

    #[test]
    fn a_block_without_a_signature_is_an_unsigned_thought() {
        let check = |block: &str, expected: (bool, bool)| {
            let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"assistant","content":[{block}]}}]}}"#);
            let request = AnthropicMessages.parse(Bytes::from(body), &HeaderMap::new()).unwrap();
            assert_eq!((holds_thoughts(&request), holds_unsigned_thoughts(&request)), expected, "{block}");
        };
        check(r#"{"type":"thinking","thinking":"hm"}"#, (true, true));
        check(r#"{"type":"thinking","thinking":"hm","signature":null}"#, (true, true));
        check(r#"{"type":"thinking","thinking":"hm","signature":""}"#, (true, true));
        check(r#"{"type":"thinking","thinking":"hm","signature":"s"}"#, (true, false));
        check(r#"{"type":"thinking","thinking":"a","signature":"s"},{"thinking":"b","type":"thinking"}"#, (true, true));
        check(r#"{"type":"redacted_thinking","data":"AAAA"}"#, (true, false));
        check(r#"{"type":"text","text":"\"thinking\""}"#, (false, false));
        // Found by a reader: a tool of that name counted.
        check(r#"{"type":"tool_use","id":"c","name":"thinking","input":{"mode":"thinking"}}"#, (false, false));
    }

    /// Each seal takes a lock that others wait for, and a request may hold as many as its body has room for. The chain goes on as it was.
    #[test]
    fn of_many_seals_the_newest_are_looked_up() {
        let request = |seals: usize| {
            let block = |nth| format!(r#"{{"type":"thinking","thinking":"hm","signature":"seal-{nth}"}}"#);
            let blocks: Vec<String> = (0..seals).map(block).collect();
            let said = format!(r#"{{"role":"assistant","content":[{}]}}"#, blocks.join(","));
            let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{said}]}}"#);
            AnthropicMessages.parse(Bytes::from(body), &HeaderMap::new()).unwrap()
        };
        let seal = |nth: usize| hashed(Shape::AnthropicMessages, &format!(r#"{{"signature":"seal-{nth}"}}"#))[0].unwrap();
        let (all, older) = (MOST_SEALS + 9, 9);
        assert_eq!(hashes(&request(MOST_SEALS), 7), (0..MOST_SEALS).map(seal).collect::<Vec<_>>());
        assert_eq!(hashes(&request(all), 7), (older..all).map(seal).collect::<Vec<_>>());
        let [before, whole, longer] = [MOST_SEALS, all - 1, all].map(|seals| seal_chain(&request(seals), 7));
        assert_eq!([before.len(), whole.len(), longer.len()], [MOST_SEALS; 3]);
        assert_eq!(before[older..], longer[..MOST_SEALS - older], "each is over all those before it, looked up or not");
        assert_eq!(whole[1..], longer[..MOST_SEALS - 1]);
    }

    /// Found by a reader: the next `data` was looked for to the end of the body, once for each word.
    #[test]
    fn the_seal_of_a_redacted_thought_stands_near_it() {
        let words = format!("[{}]", vec![r#""redacted_thinking""#; 40].join(","));
        let block = format!(r#"{{"type":"tool_use","id":"c","name":"f","input":{{"x":{words},"data":"far"}}}}"#);
        let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"assistant","content":[{block}]}}]}}"#);
        let request = AnthropicMessages.parse(Bytes::from(body), &HeaderMap::new()).unwrap();
        assert!((1..40).contains(&seal_chain(&request, 1).len()));
    }

    /// Found by a reader: after a restart words of ours went to providers as if they were their own.
    #[test]
    fn what_was_told_in_our_words_is_known_without_a_memory() {
        let check = |frontend: &dyn Frontend, message: &str, expected: bool| {
            let body = format!(r#"{{"model":"m","max_tokens":9,"messages":[{message}]}}"#);
            let request = frontend.parse(Bytes::from(body), &HeaderMap::new()).unwrap();
            assert_eq!(holds_told_thoughts(&request), expected, "{message}");
        };
        let said = |block: &str| format!(r#"{{"role":"assistant","content":[{block}]}}"#);
        check(&AnthropicMessages, &said(r#"{"type":"redacted_thinking","data": "google-gemini-v1:c2ln"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature":"openai-responses-v1:s"}"#), true);
        check(&AnthropicMessages, &said(r#"{"type":"thinking","thinking":"hm","signature":"c2ln"}"#), false);
        let details = |entry: &str| format!(r#"{{"role":"assistant","content":"x","reasoning_details":[{entry}]}}"#);
        check(&OpenAiChat, &details(r#"{"type":"reasoning.encrypted","data":"s","origin": "tokenbroker"}"#), true);
        check(&OpenAiChat, &details(r#"{"type":"reasoning.encrypted","data":"s"}"#), false);
    }
}
