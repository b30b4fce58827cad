//! Chunks: what may be missing, empty, repeated or in another place.

use super::{Told, frames, retold};
use crate::harness::provider::stream;
use crate::harness::{chat, chats};

const NO_CHOICE: &str =
    r#"{"id":"","object":"","created":0,"model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#;

/// A frame with a further member.
fn with(frame: &str, member: &str) -> String {
    format!("{},{member}}}\n\n", frame.strip_suffix("}\n\n").unwrap())
}

#[tokio::test]
async fn corner_11_chunks_without_choices_are_no_beginning_and_no_end() {
    let pair = chats().await;
    let pieces = [
        chat::frame(NO_CHOICE),
        chat::role(),
        chat::text("Hel"),
        chat::usage(9, 1),
        chat::frame(NO_CHOICE),
        chat::text("lo."),
        chat::finish(),
        chat::usage(9, 4),
        chat::DONE.to_owned(),
    ];
    assert_eq!(retold(&pair, &pieces).await, Told::said("Hello."));
    let (_, gateway) = &pair;
    assert_eq!(gateway.all_booked(1).await[0].cost.to_exact(), "0.000017", "the last report counts");
}

#[tokio::test]
async fn corner_12_a_delta_may_lack_anything_say_it_empty_or_say_it_again() {
    let pair = chats().await;
    let ways: [&[&str]; 6] = [
        &[r#"{"role":"assistant"}"#, r#"{"content":"Hello."}"#],
        &[r#"{"role":"assistant","content":"Hello."}"#],
        &[r#"{"content":"Hello."}"#],
        &[
            r#"{"role":"assistant","content":null}"#,
            r#"{"role":"assistant","content":"Hel"}"#,
            r#"{"role":"","content":"lo.","tool_calls":[]}"#,
        ],
        &[r#"{"content":""}"#, r"{}", r#"{"content":"Hello.","tool_calls":null,"function_call":null}"#],
        &[r#"{"role":"assistant","content":"","tool_calls":[]}"#, r#"{"content":"Hello.","tool_calls":[]}"#],
    ];
    for deltas in ways {
        assert_eq!(retold(&pair, &frames(deltas, "stop")).await, Told::said("Hello."), "{deltas:?}");
    }
    for finish in ["null", r#""""#] {
        let pieces = [chat::delta(r#"{"content":"Hello."}"#, finish), chat::finish(), chat::DONE.to_owned()];
        assert_eq!(retold(&pair, &pieces).await, Told::said("Hello."), "{finish}");
    }
}

#[tokio::test]
async fn corner_13_the_last_usage_counts_wherever_it_stands() {
    let (east, gateway) = chats().await;
    let usage = |output: u64| format!(r#""usage":{}"#, chat::usage_object(9, output));
    let (said, finish) = (chat::text("Hello."), chat::finish());
    let in_choice = finish.replace(r#""finish_reason":"stop""#, &format!(r#""finish_reason":"stop",{}"#, usage(4)));
    let cases = [
        ("a chunk of its own", vec![said.clone(), finish.clone(), chat::usage(9, 4)]),
        ("null until then", vec![with(&said, r#""usage":null"#), with(&finish, r#""usage":null"#), chat::usage(9, 4)]),
        ("every chunk", vec![with(&said, &usage(2)), with(&finish, &usage(4))]),
        ("null after it", vec![said.clone(), with(&finish, &usage(4)), with(&chat::delta("{}", "null"), r#""usage":null"#)]),
        ("the last content", vec![said.clone(), with(&finish, &usage(4))]),
        ("the choice", vec![said.clone(), in_choice]),
        ("a member of the vendor's", vec![said.clone(), with(&finish, &format!(r#""x_groq":{{"id":"r",{}}}"#, usage(4)))]),
    ];
    for (place, pieces) in cases {
        east.next(stream(&[pieces, vec![chat::DONE.to_owned()]].concat()));
        let row = gateway.row_of(&gateway.chat(&chat::ask_stream("auto")).await).await;
        let attempt = &row.attempts[0];
        let booked = (attempt.usage.input().get(), attempt.usage.output.get(), attempt.provenance.as_str());
        assert_eq!(booked, (9, 4, "reported"), "{place}");
    }
    east.next(stream(&[said, finish, chat::DONE.to_owned()]));
    let row = gateway.row_of(&gateway.chat(&chat::ask_stream("auto")).await).await;
    assert_eq!((row.attempts[0].provenance.as_str(), row.attempts[0].usage.output.get()), ("counted", 2), "never");
}

#[tokio::test]
async fn corner_14_content_may_come_with_the_reason_to_stop_and_behind_it_and_choices_interleave() {
    let pair = chats().await;
    let done = || chat::DONE.to_owned();
    let end = |text: &str| chat::delta(&format!(r#"{{"content":"{text}"}}"#), r#""stop""#);
    assert_eq!(retold(&pair, &[chat::text("Hel"), end("lo."), done()]).await, Told::said("Hello."));
    assert_eq!(retold(&pair, &[end("Hel"), chat::text("lo."), done()]).await, Told::said("Hello."));

    let second = |frame: String| frame.replace(r#""index":0"#, r#""index":1"#);
    let pieces = [
        chat::text("Hel"),
        second(chat::text("Good ")),
        chat::text("lo."),
        chat::finish(),
        second(chat::text("day.")),
        second(chat::finish()),
        done(),
    ];
    assert_eq!(retold(&pair, &pieces).await, Told::said("Hello."), "the first choice");
    let (east, gateway) = &pair;
    east.next(stream(&pieces));
    let answer = gateway.chat(&chat::ask_with("auto", r#""stream":true,"n":2"#)).await;
    assert_eq!(answer.text(), pieces.concat());
    assert_eq!(gateway.row_of(&answer).await.outcome, "answered");
}

#[tokio::test]
async fn corner_15_a_stream_may_change_its_name() {
    let pair = chats().await;
    let renamed =
        |frame: String| frame.replace("c-1", "c-2").replace("served", "another").replace(r#""created":1"#, r#""created":7"#);
    let pieces = [chat::role(), chat::text("Hel"), renamed(chat::text("lo.")), renamed(chat::finish()), chat::DONE.to_owned()];
    assert_eq!(retold(&pair, &pieces).await, Told::said("Hello."));
    let (east, gateway) = &pair;
    east.next(stream(&pieces));
    assert_eq!(gateway.chat(&chat::ask_stream("auto")).await.text(), pieces.concat());
}

#[tokio::test]
async fn corner_16_thoughts_come_under_many_names_and_in_tags_that_are_cut() {
    let pair = chats().await;
    let ways: [&[&str]; 6] = [
        &[r#"{"reasoning_content":"h"}"#, r#"{"reasoning_content":"m","content":null}"#],
        &[r#"{"reasoning":"hm"}"#],
        &[r#"{"reasoning":"hm","reasoning_content":"hm"}"#],
        &[r#"{"reasoning_details":[{"type":"reasoning.text","text":"hm"}]}"#],
        &[r#"{"content":"<think>hm</think>\n\n"}"#],
        &[r#"{"content":"<th"}"#, r#"{"content":"ink>h"}"#, r#"{"content":"m</thi"}"#, r#"{"content":"nk>"}"#],
    ];
    for deltas in ways {
        let deltas = [deltas, &[r#"{"content":"Hello."}"#]].concat();
        let expected = Told { thoughts: "hm".to_owned(), ..Told::said("Hello.") };
        assert_eq!(retold(&pair, &frames(&deltas, "stop")).await, expected, "{deltas:?}");
    }
}
