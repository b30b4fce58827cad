//! The targets of `fuzz/`, as they stand there, on what they begin with and on damaged forms of it.
//!
//! libFuzzer, which lets itself be guided by coverage, wants everything compiled once more (`scripts/fuzz`). Here a stand-in for
//! its macro makes a function of each target, so that a target that no longer compiles or holds fails with all the other tests.
//! What is drawn is the same in every run; a failure tells its input, made as small as proptest can.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "what cannot be read is a failed test")]

// The targets import their macro from the crate of this name.
extern crate self as libfuzzer_sys;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use tokenbroker::coding::Coding;

pub(crate) use stand_in::fuzz_target;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Inputs for each target.
const CASES: u32 = 1_024;

mod stand_in {
    /// A target as a function of bytes.
    macro_rules! fuzz_target {
        (|$input:ident: $kind:ty| $body:block) => {
            pub(crate) fn run(bytes: &[u8]) {
                let $input = <$kind as crate::Input>::of(bytes);
                $body
            }
        };
    }
    pub(crate) use fuzz_target;
}

/// What a target takes, out of bytes: first what has a size, then the rest.
trait Input<'b> {
    fn of(bytes: &'b [u8]) -> Self;
}

impl<'b> Input<'b> for &'b [u8] {
    fn of(bytes: &'b [u8]) -> Self {
        bytes
    }
}

impl<'b> Input<'b> for (bool, &'b [u8]) {
    fn of(bytes: &'b [u8]) -> Self {
        let (first, rest) = <(u8, &[u8])>::of(bytes);
        (first % 2 == 1, rest)
    }
}

impl<'b> Input<'b> for (u8, &'b [u8]) {
    fn of(bytes: &'b [u8]) -> Self {
        bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
    }
}

impl<'b> Input<'b> for (u16, &'b [u8]) {
    fn of(bytes: &'b [u8]) -> Self {
        bytes.split_first_chunk().map_or((0, bytes), |(first, rest)| (u16::from_be_bytes(*first), rest))
    }
}

impl<'b> Input<'b> for (bool, u8, &'b [u8]) {
    fn of(bytes: &'b [u8]) -> Self {
        let (first, rest) = <(bool, &[u8])>::of(bytes);
        let (second, rest) = <(u8, &[u8])>::of(rest);
        (first, second, rest)
    }
}

/// A test for each target: its file, and what it begins with.
macro_rules! targets {
    ($($name:ident $path:literal $begins:expr;)*) => {
        $(
            #[expect(unused_attributes, reason = "that it has no `main` is said of a crate")]
            #[path = $path]
            mod $name;

            #[test]
            fn $name() {
                check($name::run, $begins);
            }
        )*

        /// Without extension and in order.
        const TARGETS: &[&str] = &[$(stringify!($name)),*];
    };
}

/// Something that happens to bytes on their way.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Drop(Index, Index),
    Twice(Index, Index),
    Insert(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    // What parsers look for, and what they do not expect.
    let words =
        ["\"", "\\", "{", "}", "[", "]", ",", ":", "\n", "\r\n\r\n", "data: ", "null", "-1", "1e999", "0.", "\u{0}", "\u{fffd}"];
    let text = select(words.map(|word| word.as_bytes().to_vec()).to_vec());
    prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, byte)| Damage::Flip(at, byte)),
        place().prop_map(Damage::Cut),
        (place(), place()).prop_map(|(from, to)| Damage::Drop(from, to)),
        (place(), place()).prop_map(|(from, to)| Damage::Twice(from, to)),
        (place(), prop_oneof![text, vec(any::<u8>(), 1..8)]).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn damaged(mut bytes: Vec<u8>, all: &[Damage]) -> Vec<u8> {
    for damage in all {
        // One place beyond the last byte is one too.
        let at = |place: &Index, bytes: &[u8]| place.index(bytes.len() + 1);
        let between = |from: &Index, to: &Index, bytes: &[u8]| {
            let (from, to) = (at(from, bytes), at(to, bytes));
            // Short pieces: of a whole document little would be left.
            from.min(to)..from.max(to).min(from.min(to) + 64)
        };
        match damage {
            Damage::Flip(place, byte) => {
                let place = at(place, &bytes);
                if let Some(found) = bytes.get_mut(place) {
                    *found ^= byte;
                }
            }
            Damage::Cut(place) => bytes.truncate(at(place, &bytes)),
            Damage::Drop(from, to) => drop(bytes.drain(between(from, to, &bytes))),
            Damage::Twice(from, to) => {
                let range = between(from, to, &bytes);
                let piece = bytes[range.clone()].to_vec();
                bytes.splice(range.start..range.start, piece);
            }
            Damage::Insert(place, piece) => {
                let place = at(place, &bytes);
                bytes.splice(place..place, piece.iter().copied());
            }
        }
    }
    bytes
}

/// Runs a target on every beginning as it is, and on damaged ones.
fn check(target: fn(&[u8]), begins: Vec<Vec<u8>>) {
    for bytes in &begins {
        target(bytes);
    }
    let config = ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let inputs = (select(begins), vec(damage(), 0..6)).prop_map(|(bytes, all)| damaged(bytes, &all));
    let told = runner.run(&inputs, |bytes| {
        target(&bytes);
        Ok(())
    });
    match told {
        Ok(()) => {}
        Err(TestError::Fail(why, bytes)) => panic!("{why}\n{}\n{bytes:?}", String::from_utf8_lossy(&bytes)),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// Every file of a folder whose name ends so, each behind these bytes.
fn files(folder: &str, ending: &str, before: &[u8]) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).expect("a folder of fixtures");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    assert!(!paths.is_empty(), "no {ending} in {folder}");
    paths.iter().map(|path| [before, &fs::read(path).expect("a fixture")].concat()).collect()
}

const WIRE: &str = "tests/fixtures/openai-chat";
const MESSAGES: &str = "tests/fixtures/anthropic-messages";
const RESPONSES: &str = "tests/fixtures/openai-responses";
const GEMINI: &str = "tests/fixtures/gemini-generate-content";
const BEDROCK: &str = "tests/fixtures/bedrock-converse";

#[path = "it/harness/eventstream.rs"]
mod eventstream;

/// Streams of Bedrock's, each in its own framing and behind these bytes.
fn bedrock_streams(before: &[u8]) -> Vec<Vec<u8>> {
    let written = |text: Vec<u8>| [before, &eventstream::written(&String::from_utf8(text).expect("a text")).concat()].concat();
    files(BEDROCK, ".events", b"").into_iter().map(written).collect()
}

fn redis_replies() -> Vec<Vec<u8>> {
    let all = ["+OK\r\n", "-ERR no\r\n", ":-7\r\n", "$-1\r\n", "*2\r\n$2\r\nok\r\n*2\r\n:1\r\n*0\r\n", "$4\r\na\r\nb\r\n+more"];
    all.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn requests() -> Vec<Vec<u8>> {
    let all = [
        r#"{"model":"auto","messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":9,"messages":[{"role":"developer","content":"be brief"},{"role":"user","content":[{"type":"text","text":"\u00e9"},{"type":"image_url","image_url":{"url":"data:,"}}]}]}"#,
        r#"{"model":"a/b","n":2,"max_completion_tokens":1,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"tool_choice":"required","tokenbroker":{"max_cost_usd":1e-5,"regions":["EU"],"prefer":"fastest"},"messages":[{"role":"assistant","tool_calls":[]},{"role":"tool","content":"x"}]}"#,
        r#"{"model":"m","input":["a","\u00e9"],"dimensions":2,"tokenbroker":{"race":2}}"#,
        r#"{"input":[[1,2],[3]],"model":"m"}"#,
    ];
    [0x00, 0x41, 0x84, 0xc8].iter().flat_map(|choice| all.map(|text| [&[*choice], text.as_bytes()].concat())).collect()
}

/// With the boundary `x`: samples of WAV, and a file of another kind with what may stand beside it.
fn forms() -> Vec<Vec<u8>> {
    let field = |head: &str, value: &[u8]| {
        [format!("--x\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(), value, b"\r\n"].concat()
    };
    let format = [b"fmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0", &b"data\x08\0\0\0samples."[..]].concat();
    let wav = [b"RIFF\x2c\0\0\0WAVE", &format[..]].concat();
    let model = || field("name=\"model\"", b"ear");
    let plain =
        [model(), field("name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav", &wav), b"--x--\r\n".to_vec()].concat();
    let more =
        [field("filename=a; name=file", b"ID3\r\n--"), field("name=stream", b"true"), field("name=prompt", b"names"), model()]
            .concat();
    vec![wav, plain, [more, b"--x--".to_vec()].concat()]
}

fn media() -> Vec<Vec<u8>> {
    let all = [
        r#"{"created":1,"data":[{"b64_json":"iVBORw0K"},{"url":"x"}],"usage":{"input_tokens":9,"input_tokens_details":{"text_tokens":9,"image_tokens":0},"output_tokens":272,"total_tokens":281}}"#,
        r#"{"text":"hello","duration":8.47,"usage":{"type":"duration","seconds":9},"segments":[{"id":0}]}"#,
        r#"data: {"type":"transcript.text.done","text":"hi","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":3}}"#,
        r#"data: {"type":"image_generation.completed","b64_json":"iVBORw0K","usage":{"input_tokens":9,"output_tokens":272}}"#,
        r#"{"error":{"message":"no","code":"rate_limit_exceeded"}}"#,
        "WEBVTT",
    ];
    (0..4).flat_map(|kind| all.map(|text| [&[kind], text.as_bytes()].concat())).collect()
}

fn messages_requests() -> Vec<Vec<u8>> {
    let all = [
        r#"{"model":"auto","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"model":"m","max_tokens":400,"stream":true,"system":[{"type":"text","text":"\u00e9","cache_control":{"type":"ephemeral","ttl":"1h"}}],"thinking":{"type":"enabled","budget_tokens":100},"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":""}}]},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"4"}]}]}"#,
        r#"{"messages":[],"max_tokens":1,"model":"a/b","tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"},"tokenbroker":{"max_cost_usd":1e-5}}"#,
    ];
    [0, 1].iter().flat_map(|bounded| all.map(|text| [&[*bounded], text.as_bytes()].concat())).collect()
}

/// Of each shape that clients ask in, in the order of `Shape::CLIENTS`, for models that think and that do not.
fn conversations() -> Vec<Vec<u8>> {
    let all = ["chat.json", "messages.json", "responses.json"];
    let of = |(name, client): (&str, u8)| {
        [0, 3, 6, 0xc3].map(|more| files("tests/fixtures/conversations", name, &[client + more])).concat()
    };
    all.into_iter().zip(0..).flat_map(of).collect()
}

/// Conversations with seals, and answers that tell some, for a client of each shape in the order of `Shape::CLIENTS`.
fn sealed() -> Vec<Vec<u8>> {
    let all = [
        r#"{"model":"m","messages":[{"role":"assistant","content":"x","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s"},{"type":"reasoning.encrypted","data":"d","origin":"tokenbroker"}],"extra_content":{"google":{"thought_signature":"g"}}}]}"#,
        r#"{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"thinking","thinking":"u","signature":""},{"type":"redacted_thinking","data":"google-gemini-v1:g"}]}]}"#,
        r#"{"model":"m","input":[{"type":"reasoning","summary":[],"encrypted_content":"e"},{"type":"reasoning","summary":[{"type":"summary_text","text":"t"}],"encrypted_content":null}]}"#,
    ];
    let requests = all.iter().zip(0_u8..).map(|(text, client)| [&[client], text.as_bytes()].concat());
    let told = [(0, WIRE), (1, MESSAGES), (2, RESPONSES)].map(|(client, folder)| files(folder, ".sse", &[client])).concat();
    requests.chain(conversations()).chain(told).collect()
}

/// A provider's streams of each shape, in the order of `Shape::ENDPOINTS`, for a client of each.
fn streams() -> Vec<Vec<u8>> {
    const CLIENTS: [u8; 4] = [0, 5, 10, 0x82];
    let of = |provider: u8, folder| CLIENTS.map(|client| files(folder, ".sse", &[client + provider])).concat();
    let bedrock = CLIENTS.map(|client| bedrock_streams(&[client + 4])).concat();
    [of(0, WIRE), of(1, MESSAGES), of(2, RESPONSES), of(3, GEMINI), bedrock].concat()
}

fn errors() -> Vec<Vec<u8>> {
    let statuses = [200_u16, 400, 401, 402, 404, 429, 500, 503];
    statuses.iter().flat_map(|status| files(WIRE, ".json", &status.to_be_bytes())).collect()
}

fn coded() -> Vec<Vec<u8>> {
    let plain = "a text that is said again, a text that is said again, and then no more ".repeat(40);
    let both = [(1, Coding::Gzip), (0, Coding::Brotli)];
    let coded = both.map(|(gzip, coding)| (gzip, coding.encode(plain.as_bytes()).expect("a text that becomes shorter")));
    coded.iter().flat_map(|(gzip, bytes)| [0, 6, 255].map(|piece| [&[*gzip, piece], &bytes[..]].concat())).collect()
}

/// In the order of `Format::WORDS`; what comes after the last is read as exchange rates.
fn price_lists() -> Vec<Vec<u8>> {
    let lists = ["litellm.json", "models_dev.json", "openrouter.json", "genai_prices.json", "own.toml", "own.json"];
    let all = lists.iter().zip(0_u8..).flat_map(|(list, n)| files("tests/fixtures/feeds", list, &[n]));
    all.chain([b"\x06Date,USD,CNY,\n2026-11-20,1.15,7.9,\n2026-11-19,1.16,8.0,\n".to_vec()]).collect()
}

fn kept_facts() -> Vec<Vec<u8>> {
    let digits: Vec<u8> = include_bytes!("../src/route/kept_1.hex").iter().copied().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).expect("a digit");
    vec![digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()]
}

/// In the order of the shipped mappings; then readings of a balance, then a mapping.
fn bills() -> Vec<Vec<u8>> {
    let all = [
        "账单日期,实例ID,用量,用量单位,应付金额,币种\n2026-11-01,text_token;llm-1;qwen-max;output_token;app,1.5,千tokens,0.0036,CNY\n",
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_read,usage_output_tokens\n2026-11-01,m,1,2,3\n",
        "utc_date,model,type,amount\n2026-11-01,m,output_tokens,7\n2026-11-02,m,request_count,1\n",
        "start_time,amount_value,amount_currency,line_item\n1790553600,0.00383598,usd,\"m, input\"\n",
        "账单日期,实例名称,计费项,用量,单位,应付金额\n2026-11-01,m,推理输入,1.5,千tokens,0.0036\n",
        "time,balance\n2026-11-01T00:00:00Z,\"1,234.50\"\n2026-11-02,1e3\n",
        "name = \"x\"\nproviders = [\"x\"]\ncurrency = \"USD\"\n[[files]]\nname = \"a\"\nday = [\"d\"]\nmodel = [\"m\"]\namount = [\"a\"]\n",
    ];
    all.iter().zip(0_u8..).map(|(text, which)| [&[which], text.as_bytes()].concat()).collect()
}

targets! {
    answer "../fuzz/fuzz_targets/answer.rs" files(WIRE, ".json", b"");
    bedrock_answer "../fuzz/fuzz_targets/bedrock_answer.rs" files(BEDROCK, ".json", b"");
    bedrock_stream "../fuzz/fuzz_targets/bedrock_stream.rs" bedrock_streams(b"");
    bill "../fuzz/fuzz_targets/bill.rs" bills();
    classify "../fuzz/fuzz_targets/classify.rs" errors();
    coding "../fuzz/fuzz_targets/coding.rs" coded();
    conversation "../fuzz/fuzz_targets/conversation.rs" conversations();
    form "../fuzz/fuzz_targets/form.rs" forms();
    gemini_answer "../fuzz/fuzz_targets/gemini_answer.rs" files(GEMINI, ".json", b"");
    gemini_stream "../fuzz/fuzz_targets/gemini_stream.rs" files(GEMINI, ".sse", b"");
    kept "../fuzz/fuzz_targets/kept.rs" kept_facts();
    media_answer "../fuzz/fuzz_targets/media_answer.rs" media();
    messages_answer "../fuzz/fuzz_targets/messages_answer.rs" files(MESSAGES, ".json", b"");
    messages_request "../fuzz/fuzz_targets/messages_request.rs" messages_requests();
    messages_stream "../fuzz/fuzz_targets/messages_stream.rs" files(MESSAGES, ".sse", &[1]);
    price_feed "../fuzz/fuzz_targets/price_feed.rs" price_lists();
    redis_reply "../fuzz/fuzz_targets/redis_reply.rs" redis_replies();
    request "../fuzz/fuzz_targets/request.rs" requests();
    responses_answer "../fuzz/fuzz_targets/responses_answer.rs" files(RESPONSES, ".json", b"");
    responses_stream "../fuzz/fuzz_targets/responses_stream.rs" files(RESPONSES, ".sse", b"");
    retelling "../fuzz/fuzz_targets/retelling.rs" streams();
    seals "../fuzz/fuzz_targets/seals.rs" sealed();
    seen "../fuzz/fuzz_targets/seen.rs" files(RESPONSES, ".sse", b"");
    sse "../fuzz/fuzz_targets/sse.rs" files(WIRE, ".sse", &[7]);
    stream "../fuzz/fuzz_targets/stream.rs" files(WIRE, ".sse", &[1]);
}

#[test]
fn every_target_is_here_and_can_be_built_by_its_name() {
    let manifest = fs::read_to_string(Path::new(ROOT).join("fuzz/Cargo.toml")).expect("the manifest of the targets");
    let entries = fs::read_dir(Path::new(ROOT).join("fuzz/fuzz_targets")).expect("the folder of the targets");
    let mut found: Vec<String> =
        entries.map(|entry| entry.expect("a file").file_name().to_string_lossy().replace(".rs", "")).collect();
    found.sort();
    assert_eq!(found, TARGETS);
    for name in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
