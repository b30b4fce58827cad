//! A text spoken: billed by its characters, which are known before, or by the token. Sound passes as it comes.
//!
//! Prices are of the tests' own table.

use serde_json::json;
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{Script, begun_as, raw, status, stream, stream_as, then, whole};
use crate::harness::{Call, Crowd, Gate, Gateway, Provider, Setup, Site, Step, chat, crowd, rows};

const PATH: &str = "/v1/audio/speech";
/// No text, and nothing that a reader of events would like.
const SOUND: [&[u8]; 3] = [b"ID3\x04\x00\xff\xfb\n\n", b"\x00data: \r\n\r\n{\"error\":", b"\xfe\xff last"];

fn ask(text: &str, members: &str) -> Call {
    Call::post(PATH, format!(r#"{{"model":"voice","input":{},"voice":"alloy"{members}}}"#, json!(text)))
}

/// Fifteen dollars for a million characters.
fn by_character(provider: &Provider) -> Site {
    Site::of(provider).serves("speech", "voice", "", "per_million_characters = 15")
}

/// Sixty cents a million tokens in and twelve dollars out, of which there are 2,000 at most.
fn by_token(provider: &Provider) -> Site {
    Site::of(provider).serves("speech", "voice", "max_output_tokens = 2_000", "input = 0.6\noutput = 12")
}

fn spoken() -> Script {
    stream_as("audio/mpeg", &SOUND)
}

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

#[tokio::test]
async fn sound_passes_as_it_is_and_characters_are_booked_at_their_price() {
    let east = Provider::start("east").await;
    east.always(spoken());
    let gateway = Gateway::of([by_character(&east)]);
    let body = r#"{"voice":"alloy" ,"input":"h\u00e9llo 你好 😀","model":"voice","response_format":"mp3","speed":1.5}"#;

    let answered = gateway.ask(&Call::post(PATH, body)).await;

    assert_eq!((answered.status, answered.complete, &answered.body[..]), (200, true, &SOUND.concat()[..]));
    assert_eq!(answered.header("content-type"), "audio/mpeg");
    let asked = east.call(0).await;
    assert_eq!((asked.path.as_str(), asked.text()), (PATH, body.replace(r#""voice","resp"#, r#""voice-v1","resp"#).as_str()));
    assert_eq!(asked.header("accept"), "*/*");
    let row = gateway.row_of(&answered).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.provenance.as_str(), attempt.usage.pieces), ("answered", "counted", 10));
    assert_eq!((attempt.cost, attempt.quoted), (usd("0.00015"), usd("0.00015")));
    let counted =
        gateway.sample(&format!(r#"requests_total{{backend="east/voice-v1",outcome="answered",route="{PATH}"}}"#)).await;
    assert_eq!(counted, Some(1.0));
    // One that comes in one piece, of a length that is told.
    east.next(raw("HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: 4\r\n\r\nRIFF"));
    let whole = gateway.ask(&ask("a", r#","response_format":"wav""#)).await;
    assert_eq!((whole.complete, whole.text(), whole.header("content-type")), (true, "RIFF", "audio/wav"));
    assert_eq!(gateway.row_of(&whole).await.cost, usd("0.000015"));
}

#[tokio::test]
async fn sound_is_heard_before_it_has_ended_and_its_end_waits_for_the_books() {
    let east = Provider::start("east").await;
    let gate = Gate::shut();
    let end = [Step::Wait(gate.clone())].into_iter().chain(stream_as("audio/mpeg", &SOUND[2..]).into_iter().skip(1));
    east.next(then(begun_as("audio/mpeg", &SOUND[..2]), end));
    let gateway = Gateway::of([by_character(&east)]);
    let mut answer = gateway.call(&ask("hello", "").header("te", "trailers")).await;
    assert_eq!(answer.chunk().await.as_deref(), Some(SOUND[0]), "what came is passed on but for the last of it");
    gate.open();
    let rest = answer.whole().await;
    assert_eq!(
        (rest.complete, &rest.body[..], rest.trailer("x-tokenbroker-cost-usd")),
        (true, &SOUND[1..].concat()[..], "0.000075")
    );
    assert_eq!(gateway.row_of(&rest).await.outcome, "answered");
}

/// Nothing in sound could say that it was cut, so the connection does.
#[tokio::test]
async fn sound_that_is_cut_never_looks_whole_and_is_booked() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_character(&east)]);
    for end in [Step::Close, Step::Reset] {
        // Not before the answer has begun: else there would be none.
        let gate = Gate::shut();
        east.next(then(begun_as("audio/mpeg", &SOUND), [Step::Wait(gate.clone()), end]));
        let begun = gateway.call(&ask("hello", "")).await;
        gate.open();
        let cut = begun.whole().await;
        assert_eq!((cut.status, cut.complete), (200, false));
        assert!(SOUND.concat().starts_with(&cut.body), "nothing is added");
        let row = gateway.row_of(&cut).await;
        assert_eq!((row.outcome.as_str(), row.attempts[0].usage.pieces, row.cost), ("cut", 5, usd("0.000075")));
    }
}

#[tokio::test]
async fn a_client_that_leaves_has_spent_the_characters() {
    let east = Provider::start("east").await;
    east.next(then(begun_as("audio/mpeg", &SOUND), [Step::Stall]));
    let gateway = Gateway::of([by_character(&east)]);
    let mut answer = gateway.call(&ask("hello", "")).await;
    answer.chunk().await.unwrap();
    drop(answer);
    east.call(0).await.hung_up().await;
    let row = gateway.all_booked(1).await.remove(0);
    assert_eq!((row.outcome.as_str(), row.attempts[0].usage.pieces, row.cost), ("abandoned", 5, usd("0.000075")));
}

#[tokio::test]
async fn tokens_are_booked_as_events_tell_them_and_else_at_the_most() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_token(&east)]);
    let frames = [
        "data: {\"type\":\"speech.audio.delta\",\"audio\":\"SUQz\"}\n\n",
        "data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":14,\"output_tokens\":101,\"total_tokens\":115}}\n\n",
    ];
    east.next(stream(&frames));
    let told = gateway.ask(&ask("hello", r#","stream_format":"sse""#)).await;
    assert_eq!((told.status, told.text(), told.complete), (200, frames.concat().as_str(), true));
    assert!(told.header("content-type").starts_with("text/event-stream"));
    let attempt = &gateway.row_of(&told).await.attempts[0];
    assert_eq!((attempt.usage.fresh_input.get(), attempt.usage.output.get(), attempt.provenance.as_str()), (14, 101, "reported"));
    assert_eq!(attempt.cost, usd("0.0012204"));

    east.next(spoken());
    let untold = gateway.ask(&ask("hello", r#","instructions":"in a whisper""#)).await;
    let attempt = &gateway.row_of(&untold).await.attempts[0];
    assert_eq!((attempt.usage.output, attempt.provenance.as_str()), (Tokens::new(2_000), "estimated"));
    assert_eq!(attempt.cost, attempt.quoted);
}

#[tokio::test]
async fn what_is_no_sound_moves_on_to_another_host_of_the_model_alone() {
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    east.always(spoken());
    let cheaper = Site::of(&west).serves("speech", "voice", "", "per_million_characters = 1");
    let other = Site::of(&south).serves("speech", "other", "", "per_million_characters = 0.1");
    let gateway = Gateway::of([by_character(&east), cheaper, other]);
    let said = r#"{"error":{"message":"no such voice","code":"invalid_voice","type":"t","param":null}}"#;
    west.next(status(400, &[], said));
    let refused = gateway.ask(&ask("hello", "")).await;
    assert_eq!((refused.status, refused.text()), (400, said));
    for odd in [
        status(503, &[], &chat::error("no")),
        whole(&chat::error("the server is overloaded, try again")),
        whole(r#"{"audio":"SUQz"}"#),
        raw("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"),
        stream_as::<&str>("audio/mpeg", &[]),
        then(begun_as("audio/mpeg", &SOUND[..1]), [Step::Close]),
    ] {
        west.next(odd);
        let answered = gateway.ask(&ask("hello", "")).await;
        assert_eq!(
            (answered.status, answered.header("x-tokenbroker-backend")),
            (200, "east/voice-v1"),
            "{answered:?}",
            answered = answered.headers
        );
        assert_eq!(answered.body, SOUND.concat());
    }
    let talks = gateway.ask(&Call::post(PATH, r#"{"model":"jade","input":"a","voice":"b"}"#)).await;
    assert_eq!(talks.error("message"), json!("`jade` does not serve speech; these models do: other, voice"));
    assert!(south.calls().is_empty());
}

#[tokio::test]
async fn wrong_requests_are_refused_before_anything_is_sent() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_character(&east)]);
    for (members, code, param) in [
        (r#""voice":"b""#, "missing_required_parameter", "input"),
        (r#""input":["a"]"#, "invalid_type", "input"),
        (r#""input":"a","input":"b""#, "duplicate_parameter", "input"),
        (r#""input":"a","instructions":7"#, "invalid_type", "instructions"),
    ] {
        let refused = gateway.ask(&Call::post(PATH, format!(r#"{{"model":"voice",{members}}}"#))).await;
        assert_eq!(
            (refused.status, refused.error("code"), refused.error("param")),
            (400, json!(code), json!(param)),
            "{members}"
        );
    }
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn requests_at_the_same_time_hold_their_characters_and_never_overrun_the_budget() {
    let east = Provider::start("east").await;
    let setup = Setup::of([by_character(&east)]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.05").set("keys.team.budget_window", "total").start();
    let call = ask(&"x".repeat(1_000), "").key("tb-team");
    let Crowd { answered, refused } = crowd(&gateway, &east, (&call, 8), spoken()).await;
    let booked = rows::attempts(&gateway.setup.data());
    assert_eq!((answered.len(), refused.len()), (3, 5), "a cent and a half each");
    assert!(booked.iter().all(|row| (row.held, row.cost) == (15_000_000_000, 15_000_000_000)), "{booked:?}");
}

/// Promise 1: what a kill interrupts is booked at the next start, before sound came and after.
#[tokio::test]
async fn a_killed_gateways_speech_is_in_the_books_of_the_next() {
    let east = Provider::start("east").await;
    for script in [vec![Step::Stall], then(begun_as("audio/mpeg", &SOUND), [Step::Stall])] {
        let begun = script.len() > 1;
        east.next(script);
        let gateway = Gateway::of([by_character(&east)]);
        let client = gateway.sent(&ask("hello", "")).await;
        if begun {
            client.answer().await.chunk().await.unwrap();
        } else {
            east.call(0).await;
            gateway.journaled("east/voice-v1").await;
            drop(client);
        }
        let again = gateway.kill().start();
        let row = again.all_booked(1).await.remove(0);
        assert_eq!(row.attempts[0].usage.pieces, 5, "{begun}");
        assert_eq!(row.cost, usd("0.000075"));
    }
}
