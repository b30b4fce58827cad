//! Sound written down: a form whose bytes pass, billed by the time of the sound or by the token.
//!
//! Prices are of the tests' own table.

use serde_json::json;
use tokenbroker::units::{Tokens, Usd};

use crate::harness::provider::{raw, status, stream, whole};
use crate::harness::{Call, Crowd, Gateway, Provider, Setup, Site, Step, chat, crowd, rows};

const PATH: &str = "/v1/audio/transcriptions";
const KIND: &str = "multipart/form-data; boundary=\"--odd boundary\"";

/// A form with these fields beside its file.
fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("----odd boundary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    body.extend(b"----odd boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.wav\"\r\nContent-Type: audio/wav\r\n\r\n");
    body.extend(file);
    body.extend(b"\r\n----odd boundary--\r\n");
    body
}

fn post(body: Vec<u8>) -> Call {
    Call::new("POST", PATH, body).header("content-type", KIND)
}

fn ask(fields: &[(&str, &str)], file: &[u8]) -> Call {
    post(form(&[&[("model", "ear")], fields].concat(), file))
}

/// So many seconds of silence, as plain samples of 16,000 bytes a second.
fn wav(seconds: u32) -> Vec<u8> {
    let samples = seconds * 16_000;
    let head = |name: &[u8], number: u32| [name, &number.to_le_bytes()].concat();
    let format = [1_u16, 1].map(u16::to_le_bytes).concat();
    let format = [format, head(&8_000_u32.to_le_bytes(), 16_000), [2_u16, 16].map(u16::to_le_bytes).concat()].concat();
    let chunks = [b"WAVE".to_vec(), head(b"fmt ", 16), format, head(b"data", samples), vec![0; samples as usize]].concat();
    [head(b"RIFF", 36 + samples), chunks].concat()
}

/// Six tenths of a cent a minute.
fn by_minute(provider: &Provider) -> Site {
    Site::of(provider).serves("transcriptions", "ear", "", "per_minute = 0.006")
}

/// Text and sound in, text out; no more than 8,191 tokens go in and 2,000 come out.
fn by_token(provider: &Provider) -> Site {
    Site::of(provider).serves("transcriptions", "ear", "max_output_tokens = 2_000", "input = 2.5\naudio_input = 6\noutput = 10")
}

fn usd(text: &str) -> Usd {
    Usd::parse(text).unwrap()
}

/// An answer that is no JSON.
fn plain(kind: &str, text: &str) -> Vec<Step> {
    raw(&format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
}

#[tokio::test]
async fn the_form_passes_but_for_the_models_name_and_the_time_is_booked() {
    let east = Provider::start("east").await;
    let said = r#"{"text":"hello \u00e9","usage":{"type":"duration","seconds":9}}"#;
    east.always(whole(said));
    let gateway = Gateway::of([by_minute(&east)]);
    let fields = [("language", "en"), ("response_format", "json"), ("temperature", "0.2"), ("timestamp_granularities[]", "word")];
    let file = [&wav(2)[..], b"\r\n--odd\0\xff"].concat();

    let answered = gateway.ask(&ask(&fields, &file)).await;

    assert_eq!((answered.status, answered.text(), answered.header("content-type")), (200, said, "application/json"));
    let asked = east.call(0).await;
    let sent = form(&[&[("model", "ear-v1")], &fields[..]].concat(), &file);
    assert_eq!((asked.path.as_str(), asked.header("content-type"), &asked.body[..]), (PATH, KIND, &sent[..]));
    let row = gateway.row_of(&answered).await;
    let attempt = &row.attempts[0];
    assert_eq!((row.outcome.as_str(), attempt.provenance.as_str(), attempt.usage.pieces), ("answered", "reported", 9_000));
    assert_eq!((attempt.cost, answered.header("x-tokenbroker-cost-usd")), (usd("0.0009"), "0.0009"));
    let counted = gateway.sample(&format!(r#"requests_total{{backend="east/ear-v1",outcome="answered",route="{PATH}"}}"#)).await;
    assert_eq!(counted, Some(1.0));
}

#[tokio::test]
async fn any_form_of_a_transcript_passes_and_time_that_nobody_tells_is_that_of_the_file() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_minute(&east)]);
    let compressed = vec![7; 60_000];
    for (kind, text, file, seconds, provenance) in [
        ("text/plain; charset=utf-8", "hello\n", wav(3), 3, "counted"),
        ("application/x-subrip", "1\n00:00:00,000 --> 00:00:02,500\nhello\n", wav(3), 3, "counted"),
        ("text/vtt", "WEBVTT\n\n00:00.000 --> 00:02.500\nhello\n", compressed.clone(), 15, "estimated"),
        ("text/plain", "{not json", compressed.clone(), 15, "estimated"),
        ("application/json", r#"{"text":""}"#, compressed.clone(), 15, "estimated"),
        ("application/json", r#"{"task":"transcribe","duration":8.47,"text":"hello","segments":[]}"#, compressed, 0, "reported"),
    ] {
        east.next(plain(kind, text));
        let answered = gateway.ask(&ask(&[("stream", "false")], &file)).await;
        assert_eq!((answered.status, answered.text(), answered.header("content-type")), (200, text, kind));
        let attempt = &gateway.row_of(&answered).await.attempts[0];
        let expected = if seconds == 0 { 8_470 } else { seconds * 1_000 };
        assert_eq!((attempt.usage.pieces, attempt.provenance.as_str()), (expected, provenance), "{kind} {text}");
        assert_eq!(attempt.cost.pico(), i128::from(expected) * 100_000);
    }
    // What is held is the time of the bytes at the lowest rate.
    let held = &rows::attempts(&gateway.setup.data())[3];
    assert_eq!((held.held, held.cost), (80 * 100_000_000, 15 * 100_000_000), "{held:?}");
}

#[tokio::test]
async fn a_stream_passes_and_is_booked_by_its_last_event_and_one_that_comes_whole_is_none() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_token(&east)]);
    let frames = [
        "data: {\"type\":\"transcript.text.delta\",\"delta\":\"hel\"}\n\n",
        "data: {\"type\":\"transcript.text.done\",\"text\":\"hello\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"input_token_details\":{\"text_tokens\":4,\"audio_tokens\":10},\"output_tokens\":3,\"total_tokens\":17}}\n\n",
    ];
    east.next(stream(&frames));
    let streamed = gateway.ask(&ask(&[("stream", "true")], &wav(1))).await;
    assert_eq!((streamed.status, streamed.text(), streamed.complete), (200, frames.concat().as_str(), true));
    let attempt = &gateway.row_of(&streamed).await.attempts[0];
    assert_eq!((attempt.usage.input().get(), attempt.usage.audio_input.get(), attempt.usage.output.get()), (14, 10, 3));
    assert_eq!((attempt.cost, attempt.provenance.as_str()), (usd("0.0001"), "reported"));

    east.next(whole(r#"{"text":"hello"}"#));
    let came_whole = gateway.ask(&ask(&[("stream", "True"), ("prompt", "names: Ann")], &wav(1))).await;
    assert_eq!((came_whole.status, came_whole.text()), (200, r#"{"text":"hello"}"#));
    let attempt = &gateway.row_of(&came_whole).await.attempts[0];
    assert_eq!((attempt.usage.audio_input, attempt.usage.output), (Tokens::new(8_191), Tokens::new(2_000)), "the most");
    assert_eq!((attempt.provenance.as_str(), attempt.cost), ("estimated", usd("0.069146")));
}

#[tokio::test]
async fn what_is_no_transcript_moves_on_to_another_host_of_the_model_alone() {
    let (east, west, south) = (Provider::start("east").await, Provider::start("west").await, Provider::start("south").await);
    east.always(whole(r#"{"text":"hello"}"#));
    let cheaper = Site::of(&west).serves("transcriptions", "ear", "", "per_hour = 0.04");
    let other = Site::of(&south).serves("transcriptions", "other", "", "per_second = 0.000001");
    let gateway = Gateway::of([by_minute(&east), cheaper, other]);
    let said = r#"{"error":{"message":"unsupported file","type":"t","param":null,"code":null}}"#;
    west.next(status(400, &[], said));
    let refused = gateway.ask(&ask(&[], b"odd")).await;
    assert_eq!((refused.status, refused.text()), (400, said));
    for odd in [
        status(503, &[], &chat::error("no")),
        whole(&chat::error("the server is overloaded, try again")),
        whole(r#"{"words":[]}"#),
        whole("[]"),
        plain("text/html", "<html>"),
    ] {
        west.next(odd);
        let answered = gateway.ask(&ask(&[], &wav(1))).await;
        assert_eq!((answered.status, answered.header("x-tokenbroker-backend")), (200, "east/ear-v1"), "{}", answered.text());
    }
    let talks = gateway.ask(&post(form(&[("model", "jade")], b"x"))).await;
    assert_eq!(talks.error("message"), json!("`jade` does not serve transcriptions; these models do: ear, other"));
    let open = gateway.ask(&post(form(&[("model", "auto")], b"x"))).await;
    assert_eq!((open.status, open.error("param")), (400, json!("model")), "{}", open.text());
    assert!(south.calls().is_empty());
}

#[tokio::test]
async fn forms_that_could_be_read_otherwise_are_refused_before_anything_is_sent() {
    let east = Provider::start("east").await;
    let gateway = Gateway::of([by_minute(&east)]);
    for (fields, code, param) in [
        (&[][..], "missing_required_parameter", json!("model")),
        (&[("model", " ")][..], "invalid_value", json!("model")),
        (&[("model", "ear"), ("model", "dear")][..], "duplicate_parameter", json!("model")),
        (&[("model", "ear"), ("Model", "dear")][..], "unknown_parameter", json!("Model")),
        (&[("model", "ear"), ("file", "x")][..], "duplicate_parameter", json!("file")),
        (&[("model", "ear"), ("stream", "maybe")][..], "invalid_type", json!("stream")),
        (&[("model", "ear"), ("tokenbroker", "{}")][..], "unknown_parameter", json!("tokenbroker")),
        (&[("model", "ear"), ("a\"; name=\"model", "dear")][..], "invalid_multipart", json!(null)),
    ] {
        let refused = gateway.ask(&post(form(fields, b"x"))).await;
        let told = (refused.status, refused.error("code"), refused.error("param"));
        assert_eq!(told, (400, json!(code), param), "{fields:?}: {}", refused.text());
    }
    let empty = gateway.ask(&ask(&[], b"")).await;
    assert_eq!((empty.status, empty.error("param")), (400, json!("file")));
    let large = gateway.ask(&ask(&[], &vec![0; (25 << 20) + 1])).await;
    assert_eq!((large.status, large.error("param")), (400, json!("file")), "{}", large.text());
    let json = gateway.ask(&Call::post(PATH, r#"{"model":"ear"}"#)).await;
    let small = Setup::of([by_minute(&east)]).set("server.max_upload_bytes", "2000").start();
    let larger = small.ask(&ask(&[], &[0; 2_000])).await;
    assert_eq!((larger.status, larger.error("code")), (413, json!("request_too_large")), "{}", larger.text());
    assert!(larger.text().contains("server.max_upload_bytes"));
    assert_eq!((json.status, json.error("code")), (415, json!("unsupported_media_type")), "{}", json.text());
    assert!(east.calls().is_empty());
}

#[tokio::test]
async fn requests_at_the_same_time_hold_the_longest_time_and_never_overrun_the_budget() {
    let east = Provider::start("east").await;
    let setup = Setup::of([by_minute(&east)]).key("team", "tb-team");
    let gateway = setup.set("keys.team.budget_usd", "0.2").set("keys.team.budget_window", "total").start();
    // Ten minutes at the lowest rate.
    let call = ask(&[], &vec![1; 450_000]).key("tb-team");
    let said = whole(r#"{"text":"","usage":{"type":"duration","seconds":600}}"#);
    let Crowd { answered, refused } = crowd(&gateway, &east, (&call, 8), said).await;
    let booked = rows::attempts(&gateway.setup.data());
    assert_eq!((answered.len(), refused.len()), (3, 5), "six cents each");
    assert!(booked.iter().all(|row| (row.held, row.cost) == (60_000_000_000, 60_000_000_000)), "{booked:?}");
}

/// Promise 1: what a kill interrupts is booked at the next start, with what is billed by the piece.
#[tokio::test]
async fn a_killed_gateways_sound_is_in_the_books_of_the_next() {
    let east = Provider::start("east").await;
    east.next(vec![Step::Stall]);
    let gateway = Gateway::of([by_minute(&east)]);
    let client = gateway.sent(&ask(&[], &wav(90))).await;
    east.call(0).await;
    gateway.journaled("east/ear-v1").await;
    let again = gateway.kill().start();
    drop(client);
    let row = again.all_booked(1).await.remove(0);
    assert_eq!((row.outcome.as_str(), row.attempts[0].usage.pieces, row.cost), ("lost", 90_000, usd("0.009")));
}
