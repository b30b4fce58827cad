//! Frames: where bytes are cut, how lines and streams end, what is no frame at all.

use super::{Told, frames, retold};
use crate::harness::provider::{begun, stream, then, whole};
use crate::harness::{Call, Gateway, Provider, Site, Step, alone, chat, chats, gemini, messages, responses};

#[tokio::test]
async fn corner_01_bytes_are_cut_anywhere_within_a_character_too() {
    let pair = chats().await;
    // The second byte of U+0085 is a line end to whoever splits by Latin-1, and none here.
    let said = "你好\u{85}é😀";
    let bytes = chat::joined(&[chat::role(), chat::text(said), chat::finish(), chat::DONE.to_owned()]);
    for cut in 1..bytes.len() {
        assert_eq!(retold(&pair, &[&bytes[..cut], &bytes[cut..]]).await, Told::said(said), "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(retold(&pair, &single).await, Told::said(said));
}

#[tokio::test]
async fn corner_02_lines_end_in_three_ways_and_the_last_event_needs_no_blank_line() {
    let pieces = [
        format!("\u{feff}{}", chat::role()),
        chat::text("H").replace('\n', "\r\n"),
        chat::text("e").replace('\n', "\r"),
        chat::text("l").replace("data: ", "data:"),
        "data: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"lo\"}}]}\n\n".to_owned(),
        chat::delta(r#"{"content":"."}"#, r#""stop""#).trim_end().to_owned(),
    ];
    assert_eq!(retold(&chats().await, &pieces).await, Told::said("Hello."));
}

#[tokio::test]
async fn corner_03_what_keeps_a_connection_open_is_no_content_and_kills_no_turn() {
    let silence = [": keep-alive\n\n", ": OPENROUTER PROCESSING\n\n", "data:\n\n", "data: \n\n", messages::PING].concat();
    let pieces = [silence.clone(), chat::text("Hel"), silence.clone(), chat::text("lo."), chat::finish(), silence.clone()];
    assert_eq!(retold(&chats().await, &pieces).await, Told::said("Hello."));

    // It is no first token either: there is still time for another provider.
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    east.next(then(begun(&[silence]), [Step::Close]));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"));
}

#[tokio::test]
async fn corner_04_the_mark_of_the_end_may_be_missing_twice_or_padded_but_silence_is_no_end() {
    let pair = chats().await;
    let marks = ["", chat::DONE, "data: [DONE]\n\ndata: [DONE]\n\n", "data: [DONE]  \n\n", "data:[DONE]\n\n"];
    for mark in marks {
        let pieces = [chat::role(), chat::text("Hello."), chat::finish(), mark.to_owned()];
        assert_eq!(retold(&pair, &pieces).await, Told::said("Hello."), "{mark:?}");
    }
    let (east, gateway) = &pair;
    east.next(stream(&[chat::role(), chat::text("Hello.")]));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    assert!(answer.text().contains("upstream_truncated") && !answer.text().contains("[DONE]"), "{}", answer.text());
    assert_eq!(gateway.row_of(&answer).await.outcome, "cut");

    // Responses and Gemini have none.
    assert_eq!(retold(&alone(Site::only_responses).await, &responses::hello()).await, Told::said("Hello."));
    assert_eq!(retold(&alone(Site::only_gemini).await, &gemini::hello()).await, Told::said("Hello."));
}

#[tokio::test]
async fn corner_05_a_body_may_begin_with_blank_lines_and_a_stream_may_come_as_json() {
    let (east, west) = (Provider::start("east").await, Provider::start("west").await);
    let gateway = Gateway::of([Site::of(&east), Site::of(&west).price("3", "6")]);
    east.next(whole(&format!("\n\r\n\n{}", chat::answer("Hello.", 9, 4))));
    let answer = gateway.chat(&chat::ask("auto")).await;
    let row = gateway.row_of(&answer).await;
    assert_eq!((answer.header("x-tokenbroker-backend"), row.cost.to_exact().as_str()), ("east/jade-v3", "0.000017"));

    // What it says counts, not what was asked for: an error is one, and an answer is told as the stream that was asked for.
    east.next(whole(&chat::error("overloaded")));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"));
    let row = gateway.row_of(&answer).await;
    assert!(row.attempts[0].cause.as_deref().unwrap().starts_with("overloaded"), "{:?}", row.attempts[0]);

    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "east/jade-v3"));
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    let text = answer.text();
    assert!(
        text.contains(r#""content":"Hello.""#)
            && text.contains(r#""finish_reason":"stop""#)
            && text.ends_with("data: [DONE]\n\n"),
        "{text}"
    );
    let row = gateway.row_of(&answer).await;
    assert_eq!((row.attempts.len(), row.cost.to_exact().as_str()), (1, "0.000017"));

    // Not where only its own API has words for what may stand in it.
    let takes = |provider| Site::of(provider).quirk("custom_tools = true");
    let both = Gateway::of([takes(&east), takes(&west).price("3", "6")]);
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let tools = r#""stream":true,"tools":[{"type":"custom","custom":{"name":"patch"}}]"#;
    let answer = both.chat(&chat::ask_with("auto", tools)).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "west/jade-v3"), "{}", answer.text());
    let row = both.row_of(&answer).await;
    assert!(row.attempts[0].cause.as_deref().unwrap().starts_with("malformed"), "{:?}", row.attempts[0]);

    // The same in another API's words.
    east.next(whole(&chat::answer("Hello.", 9, 4)));
    let answer = gateway.ask(&Call::messages(messages::ask_stream("auto"))).await;
    assert_eq!((answer.status, answer.header("x-tokenbroker-backend")), (200, "east/jade-v3"));
    let events = messages::events(answer.text());
    assert_eq!(events.first().unwrap().1["message"]["usage"]["input_tokens"], 9);
    assert!(answer.text().contains(r#""text":"Hello.""#) && events.last().unwrap().0 == "message_stop", "{events:?}");
}

#[tokio::test]
async fn corner_06_a_line_may_be_megabytes_long() {
    let pair = chats().await;
    let long = "x".repeat(3 << 20);
    let call = format!(
        r#"{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"draw","arguments":"{{\"data\":\"{long}\"}}"}}}}]}}"#
    );
    let told = retold(&pair, &frames(&[&call], "tool_calls")).await;
    assert!(told.called() == [("draw", format!("{{\"data\":\"{long}\"}}").as_str())]);
    // But not without end.
    let (east, gateway) = &pair;
    east.next(stream(&[chat::text(&"x".repeat(9 << 20))]));
    let answer = gateway.chat(&chat::ask_stream("auto")).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(gateway.row_of(&answer).await.attempts[0].cause.as_deref().unwrap().starts_with("malformed"));
}
