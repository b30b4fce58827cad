//! Answers of chat, read whole and chunk by chunk, by the corner cases of dialects.md 6.

use proptest::prelude::*;

use super::*;
use crate::canonical::Answer;
use crate::canonical::conversation::{Call, Part, Thought};
use crate::dialect::testing::told;
use crate::dialect::{Dialect, OpenAiChat};

fn whole(body: &str) -> Answer {
    Answer::of(Deltas::default().whole(serde_json::from_str(body).unwrap()))
}

/// An answer's chunks, by their deltas; the last has a finish reason.
fn streamed(deltas: &[&str], finish: &str) -> Answer {
    let (mut reader, mut out) = (Deltas::default(), Vec::new());
    let mut read = |choices: &str| {
        let frame = format!("data: {{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{choices}]}}\n\n");
        reader.read(frame.as_bytes(), &mut out);
    };
    for delta in deltas {
        read(&format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#));
    }
    read(&format!(r#"{{"index":0,"delta":{{}},"finish_reason":"{finish}"}}"#));
    read("");
    reader.end(&mut out);
    Answer::of(out)
}

fn calls(deltas: &[&str]) -> Vec<(String, String, String)> {
    let answer = streamed(deltas, "tool_calls");
    answer.calls().map(|call| (call.id.clone(), call.name.clone(), call.arguments.clone())).collect()
}

fn check_calls(deltas: &[&str], expected: &[(&str, &str, &str)]) {
    let found = calls(deltas);
    let found: Vec<_> = found.iter().map(|(id, name, arguments)| (id.as_str(), name.as_str(), arguments.as_str())).collect();
    assert_eq!(found, expected, "{deltas:?}");
}

#[test]
fn an_answer_is_read_alike_whole_and_as_a_stream() {
    let body = r#"{"id":"c1","object":"chat.completion","model":"m","choices":[
        {"index":1,"message":{"content":"another"},"finish_reason":"stop"},
        {"index":0,"message":{"role":"assistant","content":"One 一 moment.","refusal":null,"reasoning_content":"Use it.",
        "tool_calls":[{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Oslo\"}"}},
        {"id":"call_2","type":"function","function":{"name":"now","arguments":""}}]},"finish_reason":"tool_calls"}]}"#;
    let deltas = [
        r#"{"role":"assistant","content":""}"#,
        r#"{"reasoning_content":"Use "}"#,
        r#"{"reasoning_content":"it.","content":null}"#,
        r#"{"content":"One 一","reasoning_content":null,"tool_calls":[]}"#,
        r#"{"content":" moment."}"#,
        r#"{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]}"#,
        r#"{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"now","arguments":""}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"Oslo\"}"}}]}"#,
    ];
    let answer = streamed(&deltas, "tool_calls");
    assert_eq!(whole(body), answer);
    let call = |id: &str, name: &str, arguments: &str| {
        Part::Call(Call { id: id.into(), name: name.into(), arguments: arguments.into(), seal: None, cached: None })
    };
    let expected = [
        Part::Thought(Thought { text: "Use it.".into(), seal: None }),
        Part::text("One 一 moment."),
        call("call_1", "weather", r#"{"city":"Oslo"}"#),
        call("call_2", "now", ""),
    ];
    assert_eq!((answer.parts.as_slice(), answer.finish, answer.id.as_deref()), (&expected[..], Finish::Calls, Some("c1")));
}

#[test]
fn item_11_chunks_without_choices_say_nothing_and_do_not_begin_twice() {
    let (mut reader, mut out) = (Deltas::default(), Vec::new());
    for chunk in [
        r#"{"id":"","model":"","choices":[],"prompt_filter_results":[]}"#,
        r#"{"id":"c1","model":"m","choices":[{"index":0,"delta":{"role":"assistant"}}]}"#,
        r#"{"id":"c2","model":"other","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#,
        r#"{"id":"c1","choices":null,"usage":{"total_tokens":3}}"#,
        r#"{"error":{"message":"x"}}"#,
        "[DONE]",
    ] {
        reader.read(format!("data: {chunk}\n\n").as_bytes(), &mut out);
    }
    reader.end(&mut out);
    let begun = Delta::Begin { id: Some("c1".into()), model: Some("m".into()) };
    assert_eq!(out, [begun, Delta::Text("a".into()), Delta::Finish(Finish::Stop)]);
}

#[test]
fn item_12_members_may_be_null_empty_or_of_another_type() {
    let odd = [
        r#"{"role":"","content":null,"tool_calls":null}"#,
        r#"{"content":7,"reasoning":{},"reasoning_details":"x","tool_calls":{}}"#,
        r#"{"role":"assistant","content":"yes","refusal":""}"#,
    ];
    assert_eq!(streamed(&odd, "stop").parts, [Part::text("yes")]);
    let parts = [r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"text","text":"yes"}]}"#];
    assert_eq!(streamed(&parts, "stop").parts, [Part::Thought(Thought { text: "hm".into(), seal: None }), Part::text("yes")]);
}

#[test]
fn item_14_content_may_follow_the_reason_to_stop() {
    let (mut reader, mut out) = (Deltas::default(), Vec::new());
    for choice in [r#"{"delta":{"content":"a"},"finish_reason":"length"}"#, r#"{"delta":{"content":"b"},"finish_reason":""}"#] {
        reader.read(format!("data: {{\"choices\":[{choice}]}}\n\n").as_bytes(), &mut out);
    }
    reader.end(&mut out);
    assert_eq!(Answer::of(out), Answer { parts: vec![Part::text("ab")], finish: Finish::Length, ..Answer::default() });
}

#[test]
fn item_16_reasoning_comes_under_three_names_and_once() {
    let thought = |text: &str, seal| vec![Part::Thought(Thought { text: text.into(), seal }), Part::text("yes")];
    let seal = |kind| Some(Seal { kind, value: "sig".into() });
    for (delta, expected) in [
        (r#"{"reasoning":"hm"}"#, thought("hm", None)),
        (r#"{"reasoning_content":"hm","reasoning":"hm"}"#, thought("hm", None)),
        (
            r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","format":"unknown"}]}"#,
            thought("hm", None),
        ),
        (r#"{"reasoning_details":[{"type":"reasoning.summary","summary":"hm"}]}"#, thought("hm", None)),
        (
            r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"sig","format":"anthropic-claude-v1"}]}"#,
            thought("hm", seal(SealKind::AnthropicSignature)),
        ),
        (
            r#"{"reasoning":"hm","reasoning_details":[{"type":"reasoning.encrypted","data":"sig","format":"openai-responses-v1"}]}"#,
            thought("hm", seal(SealKind::OpenAiEncrypted)),
        ),
        (r#"{"content":"<think>hm</think>"}"#, thought("hm", None)),
    ] {
        assert_eq!(streamed(&[delta, r#"{"content":"yes"}"#], "stop").parts, expected, "{delta}");
    }
}

#[test]
fn a_calls_seal_comes_before_it_or_with_it() {
    let sealed = |deltas: &[&str]| {
        streamed(deltas, "stop").calls().map(|call| call.seal.clone().map(|seal| seal.value)).collect::<Vec<_>>()
    };
    let details = r#"{"reasoning_details":[{"type":"reasoning.encrypted","id":"b","data":"sig","format":"google-gemini-v1"}]}"#;
    let two = r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"b","function":{"name":"f","arguments":"{}"}}]}"#;
    assert_eq!(sealed(&[details, two]), [None, Some("sig".to_owned())]);
    let extra = r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"sig"}}}]}"#;
    assert_eq!(sealed(&[extra]), [Some("sig".to_owned())]);
}

#[test]
fn item_17_calls_are_told_apart_where_indexes_are_missing_equal_or_growing() {
    // Gemini's chat endpoint: no index, each call whole.
    check_calls(
        &[
            r#"{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}},{"id":"b","function":{"name":"f","arguments":"{\"x\":1}"}}]}"#,
            r#"{"tool_calls":[{"id":"","function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        &[("a", "f", "{}"), ("b", "f", r#"{"x":1}"#), ("call_c1_2", "g", "{}")],
    );
    // Ollama: always 0, other ids; and without ids a name behind a whole call is the next.
    check_calls(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        &[("a", "f", "{}"), ("b", "f", r#"{"x":1}"#), ("call_c1_2", "g", "{}")],
    );
    // Nebius, Cerebras: the index grows with each piece.
    check_calls(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"index":2,"function":{"arguments":"1}"}}]}"#,
        ],
        &[("a", "f", r#"{"x":1}"#)],
    );
    // Interleaved, as they should be.
    check_calls(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":"{\"y\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"1}"}},{"index":1,"function":{"arguments":"2}"}}]}"#,
        ],
        &[("a", "f", r#"{"x":1}"#), ("b", "g", r#"{"y":2}"#)],
    );
}

/// Found by an audit: the second of these was lost in the first, whose arguments were no JSON any more.
#[test]
fn item_17_another_name_behind_a_whole_call_is_the_next_whatever_its_id_and_index() {
    let piece = |index: u64, id: &str, name: &str, arguments: &str| {
        let function = format!(r#"{{"name":{name},"arguments":"{arguments}"}}"#);
        format!(r#"{{"tool_calls":[{{"index":{index},"id":{id},"function":{function}}}]}}"#)
    };
    let check = |pieces: &[String], expected: &[(&str, &str, &str)]| {
        check_calls(&pieces.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    };
    for index in [0, 1] {
        let first = piece(0, r#""a""#, r#""f""#, "{}");
        // Ids are told apart where an answer is put together.
        let both = [("a", "f", "{}"), ("", "g", r#"{"x":1}"#)];
        check(&[first.clone(), piece(index, r#""a""#, r#""g""#, r#"{\"x\":1}"#)], &both);
        let begun = piece(index, r#""a""#, r#""g""#, r#"{\"x\""#);
        check(&[first.clone(), begun.clone(), piece(index, r#""a""#, "null", ":1}")], &both);
        check(&[first, begun, piece(index, r#""a""#, r#""g""#, ":1}")], &both);
    }
    // The same tool twice, where the index says so.
    let twice = [piece(0, r#""a""#, r#""f""#, "{}"), piece(1, r#""a""#, r#""f""#, r#"{\"x\":1}"#)];
    check(&twice, &[("a", "f", "{}"), ("", "f", r#"{"x":1}"#)]);
    // What is repeated begins nothing.
    check(&[piece(0, r#""a""#, r#""f""#, "{}"), piece(0, r#""a""#, r#""f""#, "")], &[("a", "f", "{}")]);
    check(&[piece(0, r#""a""#, r#""f""#, "{}"), piece(1, r#""a""#, r#""f""#, "")], &[("a", "f", "{}")]);
}

#[test]
fn item_18_an_id_may_be_a_number() {
    check_calls(
        &[
            r#"{"tool_calls":[{"index":0,"id":7,"function":{"name":"f","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":7,"function":{"arguments":"}"}},{"index":1,"id":{},"function":{"name":"g","arguments":"{}"}}]}"#,
        ],
        &[("7", "f", "{}"), ("call_c1_1", "g", "{}")],
    );
}

#[test]
fn item_18_ids_and_names_may_be_missing_repeated_or_in_pieces() {
    check_calls(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"wea","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"ther","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"weather","arguments":"{"}}]}"#,
            r#"{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":null,"arguments":"}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"function":{"name":"now"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"late","function":{"arguments":"{}"}}]}"#,
        ],
        &[("a", "weather", "{}"), ("late", "now", "{}")],
    );
    check_calls(&[r#"{"tool_calls":[{"function":{"arguments":"{}"}}]}"#], &[]);
}

#[test]
fn item_19_arguments_may_be_empty_whole_or_an_object() {
    check_calls(
        &[
            r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":{"x":1.0}}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"b","function":{"name":"g","arguments":""}},{"index":2,"id":"c","function":{"name":"h"}}]}"#,
        ],
        &[("a", "f", r#"{"x":1.0}"#), ("b", "g", ""), ("c", "h", "")],
    );
    check_calls(
        &[r#"{"function_call":{"name":"f","arguments":"{"}}"#, r#"{"function_call":{"arguments":"}"}}"#],
        &[("call_c1_0", "f", "{}")],
    );
}

#[test]
fn item_21_cut_arguments_pass_as_they_are() {
    let cut = streamed(&[r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"a"}}]}"#], "length");
    assert_eq!((cut.calls().next().unwrap().arguments.as_str(), cut.finish.clone()), (r#"{"x":"a"#, Finish::Length));
}

#[test]
fn reasons_to_stop_have_many_words() {
    for (reason, expected) in [
        ("stop", Finish::Stop),
        ("eos", Finish::Stop),
        ("length", Finish::Length),
        ("tool_calls", Finish::Calls),
        ("function_call", Finish::Calls),
        ("content_filter", Finish::Filtered),
        ("sensitive", Finish::Filtered),
    ] {
        assert_eq!(streamed(&[r#"{"content":"a"}"#], reason).finish, expected, "{reason}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4), cut in 0_usize..200, to in any::<u8>()) {
        let (mut reader, mut out) = (Deltas::default(), Vec::new());
        let mut odd = br#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"<think>a","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}],"reasoning_details":[{"id":"a"}]}}]}"#.to_vec();
        let at = cut % odd.len();
        odd[at] = to;
        for frame in frames.iter().chain([&odd]) {
            reader.read(frame, &mut out);
        }
        reader.end(&mut out);
        let _ = Answer::of(out);
    }

    #[test]
    fn calls_keep_their_arguments_however_they_are_cut(lengths in prop::collection::vec(0_usize..40, 1..4), cuts in prop::collection::vec((0_usize..4, 1_usize..9), 0..40)) {
        let texts: Vec<String> = lengths.iter().map(|length| format!("{{\"x\":\"{}\"}}", "a".repeat(*length))).collect();
        let mut left: Vec<&str> = texts.iter().map(String::as_str).collect();
        let begin = |n: usize| format!(r#"{{"tool_calls":[{{"index":{n},"id":"id{n}","function":{{"name":"f","arguments":""}}}}]}}"#);
        let mut deltas: Vec<String> = (0..texts.len()).map(begin).collect();
        let rest = (0..texts.len()).map(|n| (n, usize::MAX));
        for (which, length) in cuts.into_iter().map(|(n, length)| (n % texts.len(), length)).chain(rest) {
            let (piece, behind) = left[which].split_at(length.min(left[which].len()));
            left[which] = behind;
            let piece = serde_json::to_string(piece).unwrap();
            deltas.push(format!(r#"{{"tool_calls":[{{"index":{which},"function":{{"arguments":{piece}}}}}]}}"#));
        }
        let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
        let found: Vec<String> = calls(&deltas).into_iter().map(|(_, _, arguments)| arguments).collect();
        prop_assert_eq!(found, texts);
    }
}

/// Found by a reviewer: the sequence that vLLM tells was not told to clients that ask which it was.
#[test]
fn the_stop_sequence_is_told_where_it_is_known() {
    let finish = |stop: &str, reason: &str| {
        let body = format!(
            r#"{{"choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"{reason}","stop_reason":{stop}}}]}}"#
        );
        OpenAiChat.read_deltas(body.as_bytes()).unwrap().pop()
    };
    let at = |sequence: &str| Some(Delta::Finish(Finish::StopSequence(Some(sequence.into()))));
    assert_eq!(finish(r#""END""#, "stop"), at("END"));
    assert_eq!(finish("null", "stop"), Some(Delta::Finish(Finish::Stop)));
    assert_eq!(finish("128009", "stop"), Some(Delta::Finish(Finish::Stop)));
    assert_eq!(finish(r#""end_turn""#, "stop"), Some(Delta::Finish(Finish::Stop)));
    assert_eq!(finish(r#""END""#, "length"), Some(Delta::Finish(Finish::Length)));
}

/// Found by a reviewer: what a local server thought was told as its answer, where its template opens the thought.
#[test]
fn a_thought_that_nothing_opens_is_told_apart() {
    let whole = |message: &str| {
        let body = format!(r#"{{"choices":[{{"index":0,"message":{message},"finish_reason":"stop"}}]}}"#);
        told(&OpenAiChat.read_deltas(body.as_bytes()).unwrap())
    };
    assert_eq!(whole(r#"{"content":"hm</think>\n\nyes"}"#), "begin - -\nthought hm\ntext yes\nfinish Stop\n");
    let parsed = whole(r#"{"reasoning_content":"hm","content":"Close it: </think>"}"#);
    assert_eq!(parsed, "begin - -\nthought hm\ntext Close it: </think>\nfinish Stop\n");
    let quirks = Quirks { unopened_thoughts: true, ..Quirks::default() };
    let mut reader = OpenAiChat.delta_reader_at(quirks);
    let mut out = Vec::new();
    for piece in ["hm", "</think>", "yes"] {
        let frame = format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}}}}]}}\n\n");
        reader.read(frame.as_bytes(), &mut out);
    }
    reader.end(&mut out);
    assert_eq!(told(&out), "begin - -\nthought hm\ntext yes\n");
}

/// The deltas of an answer's pieces, at a site with these quirks.
fn pieces(quirks: Quirks, deltas: &[String]) -> Vec<Delta> {
    let (mut reader, mut out) = (OpenAiChat.delta_reader_at(quirks), Vec::new());
    for delta in deltas {
        reader.read(format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n").as_bytes(), &mut out);
    }
    reader.end(&mut out);
    out.into_iter().filter(|delta| !matches!(delta, Delta::Begin { .. })).collect()
}

fn source(url: &str) -> Delta {
    Delta::Cited(Citation { url: url.into(), title: String::new(), start: 0, end: 0 })
}

/// A piece of a text with the sources that are told beside it.
fn with_sources(content: &str, urls: &[&str]) -> String {
    let listed: Vec<String> = urls.iter().map(|url| format!(r#"{{"url":"{url}"}}"#)).collect();
    format!(r#"{{"content":"{content}","annotations":[{}]}}"#, listed.join(","))
}

/// Found by a reviewer: a source that was told before any text was lost, for there was nothing yet that could name it.
#[test]
fn a_source_that_is_told_before_the_text_is_told_behind_its_first_piece() {
    let (text, thought) = (|text: &str| Delta::Text(text.into()), |text: &str| Delta::Thought(text.into()));
    let told = [with_sources("", &["a"]), with_sources("x", &["a"]), with_sources("y", &["a", "b"])];
    let out = pieces(Quirks::default(), &told);
    assert_eq!(out, [text("x"), source("a"), text("y"), source("b")]);
    assert_eq!(Answer::of(out).cited.len(), 2);
    let in_a_thought = [with_sources("<think>h", &["a"]), with_sources("m</think>", &["a", "b"]), with_sources("yes", &[])];
    let out = pieces(Quirks::default(), &in_a_thought);
    assert_eq!(out, [thought("h"), thought("m"), text("yes"), source("a"), source("b")]);
    assert_eq!(pieces(Quirks::default(), &[with_sources("<thi", &["a"])]), [text("<thi"), source("a")], "at the end");
    let call = r#"{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}"#.to_owned();
    let out = pieces(Quirks::default(), &[with_sources("<thi", &["a"]), call]);
    assert_eq!(out[..2], [text("<thi"), source("a")], "before a call");
    let many: Vec<String> = (0..Citation::MOST + 9).map(|nth| with_sources("x", &[&nth.to_string()])).collect();
    let out = pieces(Quirks::default(), &many);
    assert_eq!(out.iter().filter(|delta| matches!(delta, Delta::Cited(_))).count(), Citation::MOST);
}

/// Found by a reviewer: a source beside a tag that was cut made the thought the answer, or the answer the thought.
#[test]
fn a_source_within_a_thought_does_not_end_it() {
    let (text, thought) = (|text: &str| Delta::Text(text.into()), |text: &str| Delta::Thought(text.into()));
    let unopened = Quirks { unopened_thoughts: true, ..Quirks::default() };
    let opened = [with_sources("<think>hm</th", &["a"]), with_sources("ink>yes", &[])];
    assert_eq!(pieces(Quirks::default(), &opened), [thought("hm"), text("yes"), source("a")]);
    let cut = [with_sources("hm</th", &["a"]), with_sources("ink>yes", &[])];
    assert_eq!(pieces(unopened, &cut), [thought("hm"), text("yes"), source("a")]);
    assert_eq!(pieces(unopened, &[with_sources("yes", &["a"])]), [text("yes"), source("a")], "it did not think");
}
